"""Claims of Crawford et al. (2020), looked up in the tables of chapters 01 to 06."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from lib.claims.evidence import Evidence, NotTestable
from lib.claims.here import Here
from lib.generalization.study import combine_means

#: Level of the bump, percent of pixels removed.
BUMP = 31.6
#: Level of a test, probability.
ALPHA = 0.05
DESTINATION = ["destination_pretraining", "destination_task", "destination_instance"]
TYPES = ["pretraining", "task"]


# the study's own numbers
def count_images(evidence: Evidence) -> Here:
    """Images that the networks learned from and were validated on."""
    table = evidence.table("predictions", ["image", "identity"])
    return Here(table["image"].nunique())


def count_people(evidence: Evidence) -> Here:
    """Identities among these images."""
    return Here(evidence.table("predictions", ["identity"])["identity"].nunique())


def count_viewpoints(evidence: Evidence) -> Here:
    """Viewpoints of an identity, the median over identities."""
    table = evidence.table("predictions", ["identity", "view"])
    return Here(float(table.groupby("identity")["view"].nunique().median()))


def find_viewpoint_step(evidence: Evidence) -> Here:
    """Angle between neighbouring viewpoints, degrees; the largest where they differ."""
    views = np.unique(evidence.table("predictions", ["view"])["view"].dropna())
    if len(views) < 2:
        raise NotTestable("the faces have no viewpoints")
    return Here(float(np.diff(views).max()))


def read_side(evidence: Evidence) -> Here:
    """Side of an image, pixels."""
    return Here(float(evidence.setting("faces", "size")))


def _networks(evidence: Evidence) -> pd.DataFrame:
    columns = ["pretraining", "task", "initialisation", "part", "accuracy"]
    table = evidence.table("accuracies", columns)
    return table.loc[table["part"] == "validation"]


def count_networks(evidence: Evidence) -> Here:
    """Networks of all pretrainings and tasks."""
    return Here(len(_networks(evidence)))


def count_initialisations(evidence: Evidence) -> Here:
    """Readouts of a trunk and task, the fewest."""
    return Here(int(_networks(evidence).groupby(TYPES).size().min()))


def count_epochs(evidence: Evidence) -> Here:
    """Passes over the training images."""
    return Here(int(evidence.table("history", ["epoch"])["epoch"].max()))


def count_levels(evidence: Evidence) -> Here:
    """Levels of masking between 0 and 100%."""
    levels = evidence.table("masks", ["level"])["level"]
    return Here(int(levels[(levels > 0) & (levels < 100)].nunique()))


def read_draws(evidence: Evidence) -> Here:
    """Sources drawn per destination and bin, beside the exact mean over them."""
    return Here(int(evidence.setting("auc", "draws")))


# networks and their relevance
def find_lowest_accuracy(evidence: Evidence) -> Here:
    """Lowest validation accuracy; in the direction when most of the networks are above .98."""
    accuracy = _networks(evidence)["accuracy"]
    above = int((accuracy > 0.98).sum())
    return Here(
        float(accuracy.min()),
        f"{accuracy.min():.3f}; {above} of {len(accuracy)} above .98",
        direction=above > len(accuracy) / 2,
    )


def _auc(evidence: Evidence) -> pd.DataFrame:
    table = evidence.table("auc", [*DESTINATION, "bin", "auc", "general", "face"])
    general, face = evidence.pair
    return table.loc[(table["general"] == general) & (table["face"] == face)]


def compare_other_pretraining_and_task(evidence: Evidence) -> Here:
    """Area under relevance of the other pretraining less that of the other task, with interval."""
    wide = _auc(evidence).pivot_table(index=DESTINATION, columns="bin", values="auc")
    wide = wide.reindex(columns=["other_task", "other_pretraining"]).dropna()
    if wide.empty:
        raise NotTestable("no network has a source of another task and one of another pretraining")
    difference = wide["other_pretraining"] - wide["other_task"]
    samples = [part.to_numpy() for _, part in difference.groupby(level=[0, 1])]
    value, low, high = combine_means(samples, [1 / len(samples)] * len(samples))
    words = f"{value:+.3f}" + ("" if np.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")
    return Here(value, words, low=low, direction=value > 0)


def count_stable_types(evidence: Evidence) -> Here:
    """Destination types in which another initialisation's relevance does as well as its own."""
    columns = ["analysis", *TYPES, "difference", "p_holm", "general", "face"]
    table = evidence.table("pairwise", columns)
    general, face = evidence.pair
    chosen = (table["general"] == general) & (table["face"] == face)
    rows = table.loc[chosen & (table["analysis"] == "initialisation")]
    # one difference in every network: no test is needed to say whether it is zero
    same = (rows["p_holm"] >= ALPHA) | (rows["p_holm"].isna() & (rows["difference"] == 0))
    untested = rows["p_holm"].isna() & (rows["difference"] != 0)
    if rows.empty or untested.any():
        raise NotTestable("no p: every bin needs two networks, with variance")
    shown = ", ".join(f"{v:+.3f}" for v in rows["difference"])
    return Here(int(same.sum()), f"{same.sum()} of {len(rows)}; differences of areas {shown}")


def judged_in_05(claim: str) -> Callable[[Evidence], Here]:
    """Evaluator of a claim that chapter 05 has judged: its verdict in the form of the design."""

    def evaluate(evidence: Evidence) -> Here:
        columns = ["claim", "outcome_design", "verdict_printed", "verdict_design", "note"]
        table = evidence.table("generalization_claims", columns)
        general, face = evidence.pair
        chosen = (table["general"] == general) & (table["face"] == face)
        rows = table.loc[chosen & (table["claim"] == claim)]
        if rows.empty:
            raise NotTestable(f"05_generalization has no claim {claim}")
        row = rows.iloc[0].fillna("")
        if row["verdict_design"] == "not testable":
            raise NotTestable(row["note"] or "a test that it needs has no p")
        # effect sizes stand in chapter 05
        words = re.sub(r", np2 = \S+ \[[^]]*\]", "", row["outcome_design"])
        if ";" in words:
            words = re.sub(r"F\([^)]*\) = [^,]+, ", "", words)
        if row["verdict_printed"] != row["verdict_design"]:
            words += f" (in the printed form: {row['verdict_printed']})"
        return Here(words=words, verdict=row["verdict_design"])

    return evaluate


def find_bump(evidence: Evidence) -> Here:
    """Rise of the mean accuracy of general-gender networks from the level before to 31.6%."""
    columns = ["destination_pretraining", "destination_task", "mask", "fill", "level", "accuracy"]
    table = evidence.table("masks", columns)
    rows = table.loc[
        (table["destination_pretraining"] == evidence.pair[0])
        & (table["destination_task"] == "gender")
        & (table["mask"] == "relevance")
        & (table["fill"] == table["fill"].iloc[0])
    ]
    curve = rows.groupby("level")["accuracy"].mean()
    before = curve.loc[(curve.index > 0) & (curve.index < BUMP)]
    if BUMP not in curve.index or before.empty:
        raise NotTestable(f"no accuracy at {BUMP}% of the pixels and below")
    rise = float(curve[BUMP] - before.iloc[-1])
    return Here(rise, f"{rise:+.3f} from {before.index[-1]:g}% to {BUMP}%")


def compare_signs_left(evidence: Evidence) -> Here:
    """Share of negative less share of positive relevance left at the level before 31.6%."""
    columns = ["source_pretraining", "source_task", "order", "level", "positive", "negative"]
    table = evidence.table("signs", columns)
    rows = table.loc[
        (table["source_pretraining"] == evidence.pair[0])
        & (table["source_task"] == "gender")
        & (table["order"] == "magnitude")
        & (table["level"] > 0)
        & (table["level"] < BUMP)
    ]
    if rows.empty:
        raise NotTestable(f"no level between 0 and {BUMP}%, or no network for gender")
    rows = rows.loc[rows["level"] == rows["level"].max()]
    positive, negative = rows["positive"].mean(), rows["negative"].mean()
    words = f"{negative - positive:+.3f} ({negative:.2f} against {positive:.2f})"
    return Here(float(negative - positive), words)


# people
def share_differing(evidence: Evidence) -> Here:
    """Share of identities whose rank-2 choice is not the same for both pretrainings."""
    table = evidence.table("choices", ["pretraining", "identity", "rank2"])
    general, face = (
        table.loc[table["pretraining"] == name].set_index("identity")["rank2"]
        for name in evidence.pair
    )
    differ = general != face.reindex(general.index)
    words = f"{differ.mean():.3f} ({differ.sum()} of {len(differ)})"
    return Here(float(differ.mean()), words, direction=differ.mean() > 0.5)


def _people(evidence: Evidence) -> pd.Series:
    table = evidence.table("humans", ["quantity", "here", "simulated"])
    if table["simulated"].astype(str).str.lower().eq("true").any():
        raise NotTestable("nobody was asked: the observers are simulated")
    chosen = evidence.setting("humans", "pair") or list(evidence.pair[::-1])
    if list(chosen) != list(evidence.pair[::-1]):
        raise NotTestable(f"people compared {' with '.join(chosen)}")
    return table.set_index("quantity")["here"]


def read_people(quantity: str, null: float | None = None, digits: int = 1) -> Callable:
    """Evaluator of a number of chapter 06; in the direction when it is above ``null``."""

    def evaluate(evidence: Evidence) -> Here:
        value = float(_people(evidence)[quantity])
        return Here(value, f"{value:.{digits}f}", direction=null is not None and value > null)

    return evaluate


def test_preference(evidence: Evidence) -> Here:
    """p of the mean preference; in the direction when it is above 50%."""
    people = _people(evidence)
    mean = float(people["preference for the first pretraining, %"])
    p = float(people["p"])
    verdict = "" if mean > 50 else "not reproduced"
    return Here(p, f"p = {p:.2g}, mean {mean:.1f}%", direction=mean > 50, verdict=verdict)
