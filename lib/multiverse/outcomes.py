"""Contrasts and verdicts of every specification, and what survives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lib import store
from lib.errors import InputError
from lib.generalization import CLAIMS, check_scores, compute_auc, compute_expectation
from lib.generalization.bins import DESTINATION, SOURCE
from lib.generalization.study import (
    compute_contrasts,
    compute_verdicts,
    list_studies,
    select_study,
)
from lib.multiverse.choices import FILLS, LAST, STATISTICS, Choice
from lib.multiverse.runs import Variant
from lib.progress import track

VERDICTS = ("reproduced", "same direction", "not reproduced", "not testable")
#: Contrast that orders the curve: what the paper's title claim is about.
HEADLINE = "other_pretraining"
#: The two pretrainings that a row speaks about.
PAIR = ("general", "face")


def name_columns(choices: Sequence[Choice]) -> list[str]:
    """Columns of a specification: run choices, then the analysis; those that several could vary."""
    runs = [c.name for c in choices if c.chapter < STATISTICS and c.name != FILLS]
    analysis = [c.field for c in choices if c.chapter == STATISTICS]
    return [*runs, *dict.fromkeys(["mask", "fill", "axis", "ends", *analysis])]


def read_settings(run: str) -> dict[str, dict[str, Any]]:
    """Settings of a run's chapters up to the statistics, from what those chapters made.

    Raises
    ------
    InputError
        A chapter has not run.
    """
    folder = store.run_folder(run)
    tables = {"01_faces": "faces.csv", STATISTICS: "auc.csv"}
    arrays = {"02_finetuning": "readouts.nc", "03_relevance": "relevance.nc", LAST: "scores.nc"}
    found = {}
    for chapter, name in tables.items():
        store.load_table(folder / name, made_by=chapter)
        found[chapter] = store.provenance_of(folder / name)["parameters"]
    for chapter, name in arrays.items():
        with store.load_dataset(folder / name, made_by=chapter) as data:
            found[chapter] = store.provenance_of(data)["parameters"]
    return dict(sorted(found.items()))


def compute_specifications(
    variants: Sequence[Variant],
    choices: Sequence[Choice],
    settings: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, xr.Dataset],
    read: Callable[..., pd.DataFrame],
) -> pd.DataFrame:
    """Every specification of the runs at hand: each run under every choice of the analysis.

    Parameters
    ----------
    variants : sequence of Variant
        From :func:`lib.multiverse.runs.find_variants`; the base run first.
    choices : sequence of Choice
    settings : mapping of chapter -> settings
        Of the base run, for the values that a specification does not depart from.
    data : mapping of run -> Dataset
        Scores of chapter 04.
    read : callable (dataset, mask=, fill=) -> DataFrame
        ``lib.masking.scores_table``.

    Returns
    -------
    DataFrame
        One row per specification, pair of pretrainings and claim: ``specification`` (number; 0 is
        the base run as it is analysed in chapter 05), ``run``, the columns of :func:`name_columns`
        as text, ``general`` and ``face`` (the pair), ``claim``, ``null_claim`` (whether it claims
        that there is no difference),
        ``estimate``, ``low``, ``high`` (see :func:`compute_contrasts`; NaN for claims that are no
        single difference), ``verdict_printed``, ``verdict_design``, ``note`` (why a specification
        cannot be computed).
    """
    base = {name: value for name, value in settings[STATISTICS].items() if name != "run"}
    # as chapter 05 has it: empty for the first
    base["fill"] = base["fill"] or data[variants[0].run]["fill"].to_numpy()[0].item()
    options = {field: [base[field]] for field in ("mask", "axis", "ends")}
    for choice in [c for c in choices if c.chapter == STATISTICS]:
        # the base first: it is a specification whatever the file of choices lists
        values = [base[choice.field], *choice.options]
        options[choice.field] = list(dict.fromkeys(values))
    listed = options.pop("fill", None)
    columns = name_columns(choices)
    plain = {c.name: settings[c.chapter][c.field] for c in choices if c.chapter < STATISTICS}
    todo = []
    for variant in variants:
        held = data[variant.run]["fill"].to_numpy().tolist()
        # a run made for another fill stands for that fill; the base run for all it has
        fills = [f for f in held if listed is None or f in listed or FILLS in variant.departures]
        for mask, fill in itertools.product(options["mask"], fills):
            todo.append((variant, mask, fill))
    pairs = _pairs_of(data[variants[0].run])
    rows = []
    rest = {field: values for field, values in options.items() if field != "mask"}
    for variant, mask, fill in track(todo, "specifications"):
        common = _words(plain | variant.departures | {"mask": mask, "fill": fill})
        curves, why = {}, ""
        try:
            scores = check_scores(read(data[variant.run], mask=mask, fill=fill), missing="drop")
            for pair in list_studies(scores):
                curves[pair] = compute_expectation(select_study(scores, *pair))
        except InputError as error:
            why = str(error)
            curves = dict.fromkeys(pairs)
        for combination in itertools.product(*rest.values()):
            analysis = base | dict(zip(rest, combination, strict=True))
            words = _words(analysis) | common
            found = [
                _judge(c, pair, analysis, why).assign(general=pair[0], face=pair[1])
                for pair, c in curves.items()
            ]
            found = pd.concat(found, ignore_index=True)
            rows.append(found.assign(run=variant.run, **{c: words[c] for c in columns}))
    table = pd.concat(rows, keys=range(len(rows)), names=["specification", None]).reset_index(0)
    # a fill that two runs hold is one specification
    table = table.drop_duplicates([*columns, *PAIR, "claim"])
    return _base_first(table, columns, _words(plain | base))


def _pairs_of(data: xr.Dataset) -> list[tuple[str, str]]:
    """Pairs of pretrainings of a run whose scores could not be read as a table."""
    if "source_pretraining" not in data.coords:
        return [("", "")]
    names = {SOURCE[0]: data["source_pretraining"].to_numpy().astype(str)}
    return list_studies(pd.DataFrame(names | {DESTINATION[0]: names[SOURCE[0]]}))


def write_value(value: Any) -> str:
    """A value of a choice for a table and a figure: lists by their entries."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def list_table_pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of pretrainings in a table of specifications, in order."""
    return list(dict.fromkeys(zip(table["general"], table["face"], strict=True)))


def select_table_pair(table: pd.DataFrame, general: str, face: str) -> pd.DataFrame:
    """Rows of one pair of pretrainings."""
    chosen = (table["general"] == general) & (table["face"] == face)
    return table.loc[chosen].reset_index(drop=True)


def _words(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: write_value(value) for name, value in values.items()}


def _judge(
    curves: pd.DataFrame | None, pair: tuple[str, str], analysis: Mapping[str, Any], why: str
) -> pd.DataFrame:
    """Verdicts and contrasts of one specification, or why there are none."""
    if curves is not None:
        try:
            auc = compute_auc(curves, analysis["axis"], analysis["ends"])
            chosen = {name: analysis[name] for name in ("confidence", "alpha")}
            claims = compute_verdicts(auc, *pair, **chosen).claims
            claims = claims[["claim", "null_claim", "verdict_printed", "verdict_design"]]
            contrasts = compute_contrasts(auc, *pair, analysis["confidence"])
            found = claims.merge(contrasts[["claim", "estimate", "low", "high"]], how="left")
            return found.assign(note="")
        except InputError as error:
            why = str(error)
    untested = pd.DataFrame([(c.id, c.is_null) for c in CLAIMS], columns=["claim", "null_claim"])
    verdicts = dict.fromkeys(("verdict_printed", "verdict_design"), "not testable")
    return untested.assign(**verdicts, estimate=np.nan, low=np.nan, high=np.nan, note=why)


def _base_first(table: pd.DataFrame, columns: Sequence[str], own: Mapping[str, str]):
    """Specifications numbered from the base: the one that departs in nothing is 0."""
    specifications = table[["specification", *columns]].drop_duplicates()
    departs = sum((specifications[c] != own[c]).astype(int) for c in columns)
    order = specifications["specification"].iloc[np.argsort(departs, kind="stable")]
    number = {old: new for new, old in enumerate(order)}
    table = table.assign(
        specification=table["specification"].map(number),
        departs=table["specification"].map(
            dict(zip(specifications["specification"], departs, strict=True))
        ),
    )
    first = ["specification", "run", "departs", *columns, *PAIR, "claim", "null_claim"]
    return table.sort_values("specification", kind="stable")[
        [*first, "estimate", "low", "high", "verdict_printed", "verdict_design", "note"]
    ].reset_index(drop=True)


def summarise_survival(table: pd.DataFrame, form: str = "design") -> pd.DataFrame:
    """Which conclusions survive the choices.

    Parameters
    ----------
    table : DataFrame
        From :func:`compute_specifications`.
    form : {"design", "printed"}
        Which verdict.

    Returns
    -------
    DataFrame
        Per pair of pretrainings and claim: ``general``, ``face``, ``claim``, ``null_claim``, how
        many specifications give each verdict, ``lowest`` and ``highest`` estimate, and
        ``survives``, over the specifications in which it can be tested:
        ``everywhere`` (reproduced in all), ``in direction`` (that or the same direction in all),
        ``nowhere`` (neither in any), ``depends``; or ``not testable``.
    """
    rows = []
    for (*where, claim), part in table.groupby([*PAIR, "null_claim", "claim"], sort=False):
        count = part[f"verdict_{form}"].value_counts()
        numbers = {name: int(count.get(name, 0)) for name in VERDICTS}
        tested = len(part) - numbers["not testable"]
        if not tested:
            word = "not testable"
        elif numbers["reproduced"] == tested:
            word = "everywhere"
        elif numbers["not reproduced"] == tested:
            word = "nowhere"
        elif not numbers["not reproduced"]:
            word = "in direction"
        else:
            word = "depends"
        reach = {"lowest": part["estimate"].min(), "highest": part["estimate"].max()}
        general, face, null = where
        named = {"general": general, "face": face, "claim": claim, "null_claim": null}
        rows.append({**named, **numbers, **reach, "survives": word})
    return pd.DataFrame(rows)


def show_survival(survival: pd.DataFrame, null: bool = False) -> pd.DataFrame:
    """Survival for reading: claims of a difference, or those that there is none.

    Parameters
    ----------
    survival : DataFrame
        From :func:`summarise_survival`, of one pair of pretrainings.
    null : bool
    """
    part = survival[survival["null_claim"].astype(bool) == null]
    return part.drop(columns=[*PAIR, "null_claim"])


def summarise_findings(
    table: pd.DataFrame, survival: pd.DataFrame, runs: int
) -> dict[str, int | str]:
    """Numbers of the chapter's last paragraph, for one pair of pretrainings.

    Parameters
    ----------
    table, survival : DataFrame
        Of that pair.
    runs : int

    Returns
    -------
    dict
        ``n_specifications``, ``n_runs``, ``general``, ``face``; ``lowest``, ``highest`` and
        ``positive`` of the headline contrast; for each answer of ``survives`` how many claims of a
        difference have it, with their names, and with ``null_`` before those of no difference.
    """
    headline = table.loc[table["claim"] == HEADLINE, "estimate"]
    found = {
        "n_specifications": int(table["specification"].nunique()),
        "n_runs": runs,
        "general": table["general"].iloc[0],
        "face": table["face"].iloc[0],
        "lowest": f"{headline.min():+.3f}" if headline.notna().any() else "none",
        "highest": f"{headline.max():+.3f}" if headline.notna().any() else "none",
        "positive": f"{(headline > 0).sum()} of {headline.notna().sum()}",
    }
    for null, prefix in ((False, ""), (True, "null_")):
        part = survival[survival["null_claim"].astype(bool) == null]
        for word in ("everywhere", "in direction", "depends", "nowhere", "not testable"):
            names = part.loc[part["survives"] == word, "claim"]
            text = f"{len(names)} ({', '.join(names)})" if len(names) else "0"
            found[prefix + word.replace(" ", "_")] = text
    return found


def summarise_departures(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What each value of each choice does, everything else being equal.

    Parameters
    ----------
    table : DataFrame
        From :func:`compute_specifications`.
    columns : sequence of str
        From :func:`name_columns`.

    Returns
    -------
    DataFrame
        Per choice and value that departs from the base: ``choice``, ``value``, ``pairs`` (of
        specifications that differ in this choice alone), ``shift`` (of the headline contrast, mean
        over pairs), ``largest`` (shift of any contrast in any pair, with its sign), ``verdicts``
        (how many of them change), ``of`` (how many there are). ``general`` and ``face`` name the
        pair of pretrainings.
    """
    names = ["choice", "value", "pairs", "shift", "largest", "verdicts", "of"]
    parts = [pd.DataFrame(columns=[*PAIR, *names])]
    for pair in list_table_pairs(table):
        found = _departures_of(select_table_pair(table, *pair), columns)
        parts.append(pd.DataFrame(found, columns=names).assign(general=pair[0], face=pair[1]))
    filled = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(filled, ignore_index=True)[[*PAIR, *names]]


def _departures_of(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    if 0 not in set(table["specification"]):
        # the base run does not have this pair, so that nothing departs from it
        return []
    own = table.loc[table["specification"] == 0, columns].iloc[0]
    rows = []
    for choice in columns:
        others = [c for c in columns if c != choice]
        standard = table.loc[table[choice] == own[choice]]
        for value in [v for v in dict.fromkeys(table[choice]) if v != own[choice]]:
            both = standard.merge(
                table.loc[table[choice] == value], on=[*others, "claim"], suffixes=("", "_other")
            )
            shift = both["estimate_other"] - both["estimate"]
            known = shift.dropna()
            changed = both["verdict_design_other"] != both["verdict_design"]
            rows.append(
                {
                    "choice": choice,
                    "value": value,
                    "pairs": len(both) // max(both["claim"].nunique(), 1),
                    "shift": shift[both["claim"] == HEADLINE].mean(),
                    "largest": known.loc[known.abs().idxmax()] if len(known) else np.nan,
                    "verdicts": int(changed.sum()),
                    "of": len(both),
                }
            )
    return rows
