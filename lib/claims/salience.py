"""Claims of Crum et al. (2023), looked up in the tables of chapter 08."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.claims.evidence import Evidence, NotTestable
from lib.claims.here import Here
from lib.generalization.study import combine_means

#: The two kinds of training, the guided one last.
LOSSES = ("cross_entropy", "cyborg")
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
    columns = ["detector", "loss", "run", "generator", "seen", "accuracy"]
    return evidence.table("detection", columns)


def count_runs(evidence: Evidence) -> Here:
    """Training runs of a kind, the fewest."""
    return Here(int(_detectors(evidence).groupby("loss")["run"].nunique().min()))


def count_run_pairs(evidence: Evidence) -> Here:
    """Pairs of runs of a kind."""
    runs = int(count_runs(evidence).value)
    return Here(runs * (runs - 1) // 2)


# the two kinds of training
def compare_unseen(evidence: Evidence) -> Here:
    """Accuracy on generators not trained on, guided less cross-entropy, paired over runs."""
    table = _detectors(evidence)
    unseen = table.loc[~table["seen"].astype(str).str.lower().eq("true")]
    wide = unseen.pivot_table(index="run", columns="loss", values="accuracy")
    wide = wide.reindex(columns=list(LOSSES)).dropna()
    if wide.empty:
        raise NotTestable("no run of both kinds of training was scored on an unseen generator")
    gap = (wide[LOSSES[1]] - wide[LOSSES[0]]).to_numpy()
    value, low, high = combine_means([gap], [1.0])
    words = f"{value:+.3f}" + ("" if np.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")
    # without an interval a rise is a direction and no more
    verdict = "same direction" if np.isnan(low) and value > 0 else ""
    return Here(value, f"{words}, {len(gap)} run(s)", low=low, direction=value > 0, verdict=verdict)


def count_differing(evidence: Evidence) -> Here:
    """Measures, of five, whose difference between the two kinds has an interval off zero."""
    table = evidence.table("detection_contrasts", ["measure", "difference", "low", "high"])
    # S_resilience has two forms
    names = table["measure"].str.split().str[0]
    rows = table.loc[names.isin(MEASURES)]
    if rows["low"].isna().all():
        raise NotTestable("no difference has an interval")
    clear = set(names.loc[rows.index[(rows["low"] > 0) | (rows["high"] < 0)]])
    shown = ", ".join(name for name in MEASURES if name in clear) or "none"
    return Here(len(clear), f"{len(clear)} of {names.loc[rows.index].nunique()}: {shown}")
