"""Claims of Crum et al. (2023), looked up in the tables of chapter 08."""

from __future__ import annotations

import pandas as pd

from lib.claims.evidence import Evidence, NotTestable
from lib.claims.here import Here

#: Level of a test, probability.
ALPHA = 0.05
MEASURES = ("S_entropy", "S_noise", "S_geo", "S_stability", "S_resilience")


# the study's own numbers
def _conditions(evidence: Evidence, measure: str) -> pd.Series:
    table = evidence.table("salience", ["measure", "condition"])
    found = table.loc[table["measure"] == measure, "condition"].dropna().astype(str)
    found = found.loc[found != "all"]
    if found.empty:
        raise NotTestable(f"{measure} was not measured")
    return found


def count_transforms(evidence: Evidence) -> Here:
    """Transforms of S_geo."""
    return Here(int(_conditions(evidence, "S_geo").nunique()))


def count_amounts(evidence: Evidence) -> Here:
    """Amounts of salt and pepper of S_noise, none at all included."""
    amounts = set(pd.to_numeric(_conditions(evidence, "S_noise")))
    return Here(len(amounts | {0.0}))


def _detectors(evidence: Evidence) -> pd.DataFrame:
    return evidence.table("detection", ["loss", "run"])


def count_runs(evidence: Evidence) -> Here:
    """Training runs of a kind, the fewest."""
    return Here(int(_detectors(evidence).groupby("loss")["run"].nunique().min()))


def count_run_pairs(evidence: Evidence) -> Here:
    """Pairs of runs of a kind."""
    runs = int(count_runs(evidence).value)
    return Here(runs * (runs - 1) // 2)


# the two kinds of training
def compare_unseen(evidence: Evidence) -> Here:
    """Area under the ROC curve on unseen generators, guided less cross-entropy, over runs."""
    columns = ["generator", "seen", "difference", "low", "high", "runs"]
    table = evidence.table("detection_generalization", columns)
    unseen = table.loc[~table["seen"].astype(str).str.lower().eq("true")]
    mean = unseen.loc[unseen["generator"] == "mean of the unseen"]
    if unseen.empty:
        raise NotTestable("no detector was scored on a generator that it had not seen")
    # with one unseen generator there is no mean
    row = (mean if len(mean) else unseen).iloc[0]
    words = f"{row['difference']:+.3f}"
    if pd.isna(row["low"]):
        # one pair of runs: a rise is a direction and no more
        verdict = "same direction" if row["difference"] > 0 else ""
        return Here(float(row["difference"]), f"{words}, one run", verdict=verdict)
    return Here(
        float(row["difference"]),
        f"{words} [{row['low']:+.3f}, {row['high']:+.3f}], {row['runs']} runs",
        low=float(row["low"]),
        direction=row["difference"] > 0,
    )


def count_differing(evidence: Evidence) -> Here:
    """Measures, of five, in which the two kinds of training differ by Holm's p over runs below .05.

    S_resilience has two forms and counts once. S_stability has no runs to pair; its interval is
    over images and holds for these very runs, so it is a direction and no more, as any interval off
    zero is before the correction.
    """
    table = evidence.table("detection_contrasts", ["measure", "low", "high", "p_holm"])
    names = table["measure"].str.split().str[0]
    rows = table.loc[names.isin(MEASURES)]
    if rows["p_holm"].isna().all():
        raise NotTestable("no difference could be tested: it takes two runs of either kind")
    off = (rows["low"] > 0) | (rows["high"] < 0)
    found, hinted = (set(names.loc[rows.index[some]]) for some in (rows["p_holm"] < ALPHA, off))
    shown = ", ".join(name for name in MEASURES if name in found) or "none"
    words = f"{len(found)} of {names.loc[rows.index].nunique()}: {shown}"
    more = [name for name in MEASURES if name in hinted - found]
    if more:
        words += f"; by an interval alone {', '.join(more)}"
    return Here(len(found), words, direction=bool(hinted))
