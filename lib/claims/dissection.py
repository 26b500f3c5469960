"""Claims of Teotia et al. (2022), looked up in the tables of chapters 01 and 07."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from lib.claims.evidence import Evidence, NotTestable
from lib.claims.here import Here

#: Level of a test, probability.
ALPHA = 0.05


# the study's own numbers
def count_concepts(kind: str = "") -> Callable[[Evidence], Here]:
    """Evaluator: local concepts of a kind in the Face Dictionary, or all of them."""

    def evaluate(evidence: Evidence) -> Here:
        table = evidence.table("concepts", ["concept", "kind"])
        return Here(int((table["kind"] == kind).sum() if kind else len(table)))

    return evaluate


def count_regions(evidence: Evidence) -> Here:
    """Regions of the face that the concepts belong to."""
    return Here(int(evidence.table("concepts", ["region"])["region"].nunique()))


def count_percents(evidence: Evidence) -> Here:
    """Shares P of the controlled experiments."""
    return Here(int(evidence.table("curves", ["percent"])["percent"].nunique()))


# what the networks are made of
def compare_tasks(evidence: Evidence) -> Here:
    """p of detectors per region against the network, last layers of networks trained for a task.

    Pearson's chi-squared of networks x regions; regions without any detector are left out.
    """
    table = evidence.table("detectors", ["network", "layer", "by", "group", "detectors"])
    trunks = set(evidence.table("accuracies", ["pretraining"])["pretraining"])
    rows = table.loc[(table["by"] == "region") & ~table["network"].isin(trunks)]
    if rows["network"].nunique() < 2:
        raise NotTestable("no two networks trained for tasks of their own were dissected")
    last = rows.groupby("network")["layer"].transform("last")
    rows = rows.loc[rows["layer"] == last]
    counts = rows.pivot_table(index="network", columns="group", values="detectors", fill_value=0)
    counts = counts.loc[counts.sum(axis=1) > 0, counts.sum() > 0]
    if min(counts.shape) < 2:
        raise NotTestable("fewer than two networks or regions have a detector")
    found = stats.chi2_contingency(counts.to_numpy())
    words = f"chi2({found.dof}) = {found.statistic:.1f}, p = {found.pvalue:.2g}"
    return Here(float(found.pvalue), f"{words}, {len(counts)} networks")


def _trends(evidence: Evidence, kind: str, quantity: str) -> pd.DataFrame:
    columns = ["kind", "quantity", "block", "seeds", "slope", "tau_p", "page_p"]
    table = evidence.table("trends", columns)
    rows = table.loc[(table["kind"] == kind) & (table["quantity"] == quantity)]
    if rows.empty:
        raise NotTestable(f"the experiment with {kind} was not made")
    if rows["slope"].isna().any():
        raise NotTestable("a slope needs two shares P")
    return rows


def _slopes(rows: pd.DataFrame) -> str:
    """Slopes in words, with what they are counted in."""
    shown = ", ".join(f"{v:+.2f}" for v in rows["slope"])
    return f"slopes by block {shown} units per 10 points of P, {rows['seeds'].iloc[0]} seed(s)"


def find_eye_slope(evidence: Evidence) -> Here:
    """Slope over P of the detectors in the eye region, summed over blocks.

    Blocks of one network are no independent samples, so the rise is tested block by block, with the
    smallest p times their number (Bonferroni).
    """
    rows = _trends(evidence, "glasses", "detectors in the eye region")
    total = float(rows["slope"].sum())
    p = rows["page_p"].fillna(rows["tau_p"])
    if p.isna().all():
        raise NotTestable("no block has a trend that could be tested")
    p = min(1.0, float(p.min()) * len(rows))
    verdict = "same direction" if total > 0 and p >= ALPHA else ""
    return Here(total, f"{total:+.2f}, p = {p:.2g}; {_slopes(rows)}", verdict=verdict)


def count_rising_blocks(evidence: Evidence) -> Here:
    """Blocks in which the units biased by gender rise with P; most of them is the direction."""
    rows = _trends(evidence, "greyscale", "biased units")
    rising = int((rows["slope"] > 0).sum())
    words = f"{rising} of {len(rows)}; {_slopes(rows)}"
    return Here(rising, words, direction=rising > len(rows) / 2)


def count_steeper_steps(evidence: Evidence) -> Here:
    """Steps from block to block in which the slope grows; the last above the first: direction."""
    rows = _trends(evidence, "greyscale", "biased units")
    steps = np.diff(rows["slope"].to_numpy())
    words = f"{int((steps > 0).sum())} of {len(steps)}; {_slopes(rows)}"
    return Here(int((steps > 0).sum()), words, direction=bool(steps.sum() > 0))
