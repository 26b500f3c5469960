"""The answer in words. Every direction ("less", "more", "no clear difference") is read off the
numbers, so that a sentence stays true when a run comes out the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lib.summary.numbers import RELATIONS, SMALLEST, find_pair, select_contrasts, select_salience

Tables = Mapping[str, pd.DataFrame]

#: Lead of each sentence of the answer, and the chapters that it comes from.
LEADS = (
    ("Where they look", ("03_relevance",)),
    ("How far that is shared", ("03_relevance", "08_salience")),
    ("What it does to the decision", ("04_masking", "05_generalization")),
    ("What single units find", ("07_dissection",)),
    ("How sure", ("09_claims", "10_multiverse")),
)


def join_words(parts: Sequence[str]) -> str:
    """``"a"``, ``"a and b"``, ``"a, b and c"``."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _first_task(table: pd.DataFrame) -> str:
    tasks = list(dict.fromkeys(table["task"]))
    return "identity" if "identity" in tasks else tasks[0]


def state_answer(tables: Tables, confidence: float = 0.95) -> list[str]:
    """The answer in five sentences, in the order of :data:`LEADS`.

    Parameters
    ----------
    tables : mapping
        Of :func:`lib.summary.load_tables`.
    confidence : float
        Of the intervals of salience.
    """
    pair = find_pair(tables)
    return [
        _state_parts(tables, pair),
        _state_likeness(tables, pair, confidence),
        _state_masking(tables, pair),
        _state_units(tables, pair),
        _state_certainty(tables),
    ]


# ------------------------------------------------------------------------------------ the sentences


def _state_parts(tables: Tables, pair: tuple[str, ...]) -> str:
    parts = tables["parts"]
    parts = parts[parts["pretraining"].isin(pair)].dropna(subset=["absolute"])
    if parts.empty:
        return (
            "On which part of a face the relevance lies was not measured, for these faces carry no "
            "part labels."
        )
    task = _first_task(parts)
    mean = parts[parts["task"] == task].groupby(["pretraining", "part"], sort=False)
    mean = mean[["area", "absolute"]].mean()
    said, behind = [], []
    names = [name for name in pair if name in mean.index.get_level_values(0)]
    for name in names:
        mine = mean.loc[name]
        behind.append(mine["absolute"].get("background", np.nan))
        large = mine[mine["area"] >= SMALLEST]
        ratio = (large["absolute"] / large["area"]).sort_values(ascending=False, kind="stable")
        top = [f"the {part} ({value:.1f})" for part, value in ratio.head(2).items()]
        said.append(f"under {name} on {join_words(top)}")
    said[0] = said[0].replace(")", " times an even spread)", 1)
    text = f"To tell {task}, relevance is densest {join_words(said)}"
    if np.isfinite(behind).all():
        shares = join_words([_percent(share) for share in behind])
        text += f"; {shares} of it lies on the background"
    return f"{text}."


def _relations(tables: Tables) -> pd.DataFrame:
    groups = tables["groups"]
    found = groups[(groups["first"] == "all") & np.isfinite(groups["r"].astype(float))]
    return found.set_index("relation")


def _state_likeness(tables: Tables, pair: tuple[str, ...], confidence: float) -> str:
    found = _relations(tables)
    known = [name for name in RELATIONS if name in found.index]
    if not known:
        return "This run has one network, whose maps have none to be compared with."
    said = [
        f"{found.loc[name, 'r']:.2f} where the {name.removeprefix('other ')} does" for name in known
    ]
    said[0] = "r = " + said[0].replace(" does", " alone differs")
    text = f"Two networks' maps of a face correlate at {join_words(said)}"
    if {"other task", "other pretraining"} <= set(known):
        task, pretraining = found.loc["other task"], found.loc["other pretraining"]
        if pretraining["high"] < task["low"]:
            text += ": the pretraining moves them more than the task"
        elif pretraining["low"] > task["high"]:
            text += ": the pretraining moves them less than the task"
        else:
            text += ": whether pretraining or task moves them more, these faces cannot tell"
    contrasts = select_salience(tables, pair)
    contrasts = contrasts[np.isfinite(contrasts["difference"].astype(float))]
    if len(contrasts):
        clear = int(((contrasts["low"] > 0) | (contrasts["high"] < 0)).sum())
        luck = len(contrasts) * (1 - confidence)
        text += (
            f"; {clear} of {len(contrasts)} differences in their salience are clear, where luck "
            f"alone would give {luck:.1f}"
        )
    return f"{text}."


def count_directions(table: pd.DataFrame) -> tuple[int, int, int]:
    """Effects whose interval lies above zero, below zero, and all others."""
    above, below = int((table["low"] > 0).sum()), int((table["high"] < 0).sum())
    return above, below, len(table) - above - below


def _state_directions(table: pd.DataFrame) -> str:
    """E.g. ``"less in 1 and no clearly different harm in 3 of 4 kinds of network"``."""
    above, below, neither = count_directions(table)
    kinds = f"{len(table)} kind{'s' * (len(table) > 1)} of network"
    said = [f"less harm in {above}"] if above else []
    said += [f"more harm in {below}"] if below else []
    if not said:
        return f"no clearly different harm in any of {kinds}"
    said += [f"no clearly different harm in {neither}"] if neither else []
    return f"{join_words(said)} of {kinds}"


def _state_masking(tables: Tables, pair: tuple[str, ...]) -> str:
    found = select_contrasts(tables, pair)
    found = found[np.isfinite(found["estimate"].astype(float))]
    other = found[found["relation"] == "other pretraining"]
    if other.empty:
        return (
            "This run has one pretraining, so that whether another one's relevance does as much "
            "harm as a network's own was not asked."
        )
    text = (
        "Taking away the pixels that the other pretraining finds relevant, in place of a network's "
        f"own, does {_state_directions(other)} (area under the accuracy curve "
        f"{other['estimate'].mean():+.3f} on average)"
    )
    task = found[found["relation"] == "other task"]
    if len(task):
        text += f"; those of the other task do {_state_directions(task)} "
        text += f"({task['estimate'].mean():+.3f})"
    return f"{text}."


def _deepest(tables: Tables, pair: tuple[str, ...]) -> pd.DataFrame:
    levels = tables["chance"]
    return levels[levels["network"].isin(pair)].groupby("network", sort=False).last()


def _state_units(tables: Tables, pair: tuple[str, ...]) -> str:
    last = _deepest(tables, pair)
    names = [name for name in pair if name in last.index]
    if not names:
        return "The trunks of this run were not dissected."
    above = [f"{_percent(last.loc[n, 'chance'] / last.loc[n, 'units'])} under {n}" for n in names]
    above[0] = above[0].replace("%", "% of the units", 1)
    fixed = [_percent(last.loc[name, "fixed"] / last.loc[name, "units"]) for name in names]
    text = (
        f"In the deepest layer that was dissected, {join_words(above)} find a facial "
        f"concept better than chance ({join_words(fixed)} by the published limit)"
    )
    regions = tables["detectors"]
    regions = regions[regions["by"] == "region"]
    said = []
    for name in names:
        mine = regions[(regions["network"] == name) & (regions["layer"] == last.loc[name, "layer"])]
        if len(mine) and mine["detectors_above"].max() > 0:
            top = mine.loc[mine["detectors_above"].idxmax()]
            said.append(f"the {top['group']} under {name}")
    if said:
        text += f", most of them on {join_words(said)}"
    return f"{text}."


def _verdicts(tables: Tables) -> pd.Series:
    claims = tables["claims"]
    return claims.loc[claims["kind"] == "result", "verdict"].value_counts()


def _state_certainty(tables: Tables) -> str:
    counts = _verdicts(tables)
    tested = int(counts.sum() - counts.get("not testable", 0))
    if not tested:
        return (
            f"None of the {int(counts.sum())} printed results can be tested on these data, and "
            "what is said about a pretraining is said about one trunk."
        )
    return (
        f"Of the {int(counts.sum())} printed results {tested} can be tested here: "
        f"{counts.get('reproduced', 0)} came out as printed, {counts.get('same direction', 0)} in "
        f"the same direction, {counts.get('not reproduced', 0)} not; and what is said about a "
        "pretraining is said about one trunk."
    )


# ------------------------------------------------------------------------------- a line per chapter


def state_chapters(tables: Tables, confidence: float = 0.95) -> dict[str, str]:
    """One line of findings for each chapter: stem -> words, without a full stop."""
    pair = find_pair(tables)
    lines = {
        "01_faces": _line_faces(tables),
        "02_finetuning": _line_finetuning(tables, pair),
        "03_relevance": _line_relevance(tables),
        "04_masking": _line_masking(tables),
        "05_generalization": _line_generalization(tables, pair),
        "06_humans": _line_humans(tables, pair),
        "07_dissection": _state_units(tables, pair),
        "08_salience": _line_salience(tables, pair, confidence),
        "09_claims": _line_claims(tables),
        "10_multiverse": _line_multiverse(tables, pair),
        "11_own_faces": _line_own_faces(tables),
        "12_own_network": _line_own_network(tables),
        "00_pretraining": _line_pretraining(tables),
    }
    return {stem: line.removesuffix(".") for stem, line in lines.items()}


def _line_faces(tables: Tables) -> str:
    faces, checks = tables["faces"], tables["shortcuts"]
    limits = checks[checks["limit"].notna()] if "limit" in checks.columns else checks
    failed = int((~limits["passed"].astype(bool)).sum()) if len(limits) else 0
    text = f"{len(faces):,} images of {faces['identity'].nunique()} people; "
    if not len(limits):
        return text + "no check for shortcuts was possible"
    return text + f"{failed or 'none'} of {len(limits)} checks for shortcuts over its limit"


def _line_finetuning(tables: Tables, pair: tuple[str, ...]) -> str:
    seen = tables["accuracies"]
    seen = seen[(seen["part"] == "validation") & seen["pretraining"].isin(pair)]
    mean = seen.groupby(["task", "pretraining"], sort=False)["accuracy"].mean()
    said = []
    for task in dict.fromkeys(seen["task"]):
        known = [name for name in pair if (task, name) in mean.index]
        said.append(f"{task} " + join_words([f"{mean[task, n]:.3f} ({n})" for n in known]))
    return f"mean validation accuracy: {'; '.join(said)}"


def _line_relevance(tables: Tables) -> str:
    found = _relations(tables)
    said = [f"{name} {found.loc[name, 'r']:.2f}" for name in RELATIONS if name in found.index]
    if not said:
        return "one network, whose maps have none to be compared with"
    return f"likeness of two networks' maps, r: {', '.join(said)}"


def _line_masking(tables: Tables, percent: float = 10.0) -> str:
    masks = tables["masks"]
    if masks.empty:
        return "no pixels were removed"
    masks = masks[masks["fill"] == masks["fill"].iloc[0]]
    task = "identity" if (masks["destination_task"] == "identity").any() else "gender"
    masks = masks[masks["destination_task"] == task]
    levels = masks["level"].unique()
    level = levels[np.abs(levels - percent).argmin()]
    mean = masks[masks["level"] == level].groupby("mask", sort=False)["accuracy"].mean()
    known = [name for name in ("mirrored", "shifted", "scrambled", "other_face") if name in mean]
    text = (
        f"with the most relevant {level:g}% of the pixels gone, {task} is right in "
        f"{mean['relevance']:.2f}"
    )
    return text + (f"; with as scattered pixels gone, in {mean[known].mean():.2f}" if known else "")


def _line_generalization(tables: Tables, pair: tuple[str, ...]) -> str:
    found = select_contrasts(tables, pair)
    other = found[(found["relation"] == "other pretraining") & found["estimate"].notna()]
    if other.empty:
        return "one pretraining, so none to compare"
    return (
        f"relevance of the other pretraining does {_state_directions(other)} (area "
        f"{other['estimate'].mean():+.3f} on average)"
    )


def _line_humans(tables: Tables, pair: tuple[str, ...]) -> str:
    if len(pair) < 2:
        return "one pretraining, so no two choices to compare"
    if tables["choices"].empty:
        return "no choices to compare"
    wide = tables["choices"].pivot_table(
        index="identity", columns="pretraining", values="rank2", aggfunc="first"
    )
    if not set(pair) <= set(wide.columns):
        return "no choices to compare"
    both = wide[list(pair)].dropna()
    differ = int((both[pair[0]] != both[pair[1]]).sum())
    text = f"rank-2 choices differ for {differ} of {len(both)} people"
    people = tables["humans"]
    if people.empty or bool(people["simulated"].iloc[0]):
        return text + "; the observers are simulated"
    name = "preference for the first pretraining, %"
    row = people[people["quantity"] == name]
    return text + (
        f"; observers prefer {pair[0]}'s in {row['here'].iloc[0]:.1f}%" if len(row) else ""
    )


def _line_salience(tables: Tables, pair: tuple[str, ...], confidence: float) -> str:
    found = select_salience(tables, pair)
    found = found[np.isfinite(found["difference"].astype(float))]
    if found.empty:
        return "no two pretrainings to compare"
    above, below, _ = count_directions(found)
    return (
        f"{above + below} of {len(found)} differences between {pair[0]} and {pair[1]} are clear, "
        f"{above} up and {below} down; luck alone would give {len(found) * (1 - confidence):.1f}"
    )


def _line_claims(tables: Tables) -> str:
    counts = _verdicts(tables)
    names = ("reproduced", "same direction", "not reproduced", "not testable")
    return f"{int(counts.sum())} printed results: " + ", ".join(
        f"{counts.get(name, 0)} {name}" for name in names
    )


def _line_multiverse(tables: Tables, pair: tuple[str, ...]) -> str:
    found = tables["survival"]
    if found.empty or len(pair) < 2:
        return "one pretraining, so no claim to follow"
    found = found[(found["general"] == pair[0]) & (found["face"] == pair[1])]
    found = found[~found["null_claim"].astype(bool)]
    counts = found["survives"].value_counts()
    # a run by itself has few; `make multiverse` carries out the rest
    verdicts = ["reproduced", "same direction", "not reproduced", "not testable"]
    tried = int(found[verdicts].sum(axis=1).max()) if len(found) else 0
    words = {
        "everywhere": ("holds", "hold", " in every specification"),
        "in direction": ("keeps its", "keep their", " direction"),
        "depends": ("depends", "depend", " on the choices"),
        "nowhere": ("holds", "hold", " in none"),
        "not testable": ("cannot", "cannot", " be tested"),
    }
    said = [
        f"{counts[name]} {one if counts[name] == 1 else more}{rest}"
        for name, (one, more, rest) in words.items()
        if counts.get(name, 0)
    ]
    if not said:
        return "nothing to follow"
    return f"of {len(found)} printed differences {join_words(said)}; specifications: {tried}"


def _line_own_faces(tables: Tables) -> str:
    listed = tables["own_faces"]
    return f"{len(listed)} images of {listed['identity'].nunique()} people read from the manifest"


def _line_own_network(tables: Tables) -> str:
    seen = tables["own_network"]
    seen = seen[seen["part"] == "validation"]
    if seen.empty:
        return "no readouts were trained on it"
    said = [f"{row.accuracy:.2f} ({row.task})" for row in seen.itertuples()]
    return f"validation accuracy of readouts on it: {join_words(said)}"


def _line_pretraining(tables: Tables) -> str:
    probes = tables["probes"]
    if probes.empty:
        return "no probe was made"
    mean = probes.groupby("trunk", sort=False)[["accuracy", "chance"]].mean()
    said = join_words([f"{row.accuracy:.2f} on {name}" for name, row in mean.iterrows()])
    return f"a linear probe names turned strangers at {said} (chance {mean['chance'].mean():.2f})"


# ------------------------------------------------------------------------------------ of the figure


def state_caption(tables: Tables, size: int | None = None) -> str:
    """Caption of the figure: what is shown, of how many faces and networks."""
    seen = tables["accuracies"]
    names = ["pretraining", "task", "initialisation"]
    networks = len(seen[names].drop_duplicates())
    # the faces that maps are made of, of all that chapter 01 lists
    people = (tables["choices"] if len(tables["choices"]) else tables["faces"])[
        "identity"
    ].nunique()
    pair = find_pair(tables)
    trunks = join_words(pair)
    pixels = f" at {size} px" if size else ""
    difference = f" ({pair[1]} less {pair[0]})" if len(pair) > 1 else ""
    return (
        f"{networks} networks on {trunks}, faces of {people} people{pixels}. From above: relevance "
        "on a part over the part's share of the pixels; likeness of two networks' maps, and what "
        "another network's relevance does in place of one's own (right of zero: less harm); units "
        "of each dissected layer that find a concept better than chance, hollow by the published "
        f"limit; differences in measures of salience{difference}. Bars: in the first panel the "
        "range over readouts, below intervals over faces (for the area, over networks too)."
    )


ALT = (
    "Five panels of points with intervals: relevance by facial part; likeness of maps and the cost "
    "of masking by another initialisation, task and pretraining; shares of units that find a "
    "concept, by layer; differences in measures of salience. Colour tells the pretrainings apart, "
    "solid and dashed lines the tasks."
)
