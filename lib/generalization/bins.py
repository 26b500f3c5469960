"""Scores of source and destination models, and the bins that compare them.

A *source* model gives the relevance by which pixels are removed, a *destination* model is scored
on what is left. A table of scores has one row per (source, destination, level, mask, fill,
identity) with ``correct`` (0 or 1), or per (source, destination, level, mask, fill) with
``accuracy`` (0 to 1). A pretraining is the name of a trunk; ``synthface`` and ``synthface-2`` are
two trunks (two training seeds) of one *family*.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from lib.errors import InputError

SOURCE = ["source_pretraining", "source_task", "source_instance"]
DESTINATION = ["destination_pretraining", "destination_task", "destination_instance"]
#: Columns that tell one way of masking from another; a table may leave them out.
CONDITION = ["mask", "fill"]
#: The five bins of sources in the paper, from the nearest to the farthest.
BINS = (
    "same_instance",
    "other_initialisation",
    "other_task",
    "other_pretraining",
    "other_both",
)
#: Sources from another training seed of the same pretraining: beyond the paper, never in ``BINS``.
TRUNK_BINS = ("other_trunk", "other_trunk_and_task")


class Model(NamedTuple):
    """A network by its factors: trunk, task of the readout, initialisation of the readout."""

    pretraining: str
    task: str
    instance: str | int


def family_of(pretraining: str) -> str:
    """Pretraining without the number of its training seed: ``synthface-2`` gives ``synthface``."""
    return re.sub(r"-\d+$", "", str(pretraining))


def bin_of(source: Model, destination: Model) -> str:
    """Bin of a source model for a destination model.

    Parameters
    ----------
    source, destination : Model or (pretraining, task, instance)

    Returns
    -------
    str
        One of ``BINS`` [paper, section on generalization], or one of ``TRUNK_BINS`` when the two
        differ in the training seed of one pretraining only (``synthface`` and ``synthface-2``).
        With three or more pretrainings every pretraining but the destination's counts as "other";
        :func:`select_pair` keeps two of them.
    """
    source, destination = Model(*source), Model(*destination)
    same_task = source.task == destination.task
    if source.pretraining == destination.pretraining:
        if not same_task:
            return "other_task"
        same = str(source.instance) == str(destination.instance)
        return "same_instance" if same else "other_initialisation"
    if family_of(source.pretraining) == family_of(destination.pretraining):
        return "other_trunk" if same_task else "other_trunk_and_task"
    return "other_pretraining" if same_task else "other_both"


def _row(table: pd.DataFrame, mask: pd.Series) -> str:
    """The first offending row in words."""
    row = table.loc[mask].iloc[0]
    shown = [c for c in [*SOURCE, *DESTINATION, "level", "identity"] if c in table.columns]
    return f"{int(mask.sum())} rows, first " + ", ".join(f"{c} {row[c]}" for c in shown)


def _check_columns(scores: pd.DataFrame) -> str:
    """Name of the column of values; raises where the columns are not those of a score table."""
    known = [*SOURCE, *DESTINATION, "level", *CONDITION, "identity", "correct", "accuracy"]
    unknown = [c for c in scores.columns if c not in known]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}" if near else f"known are {', '.join(known)}"
        raise InputError(
            f"The table of scores has an unknown column {unknown[0]!r}; {hint}? "
            "Keep one value of it, then drop the column."
        )
    missing = [c for c in [*SOURCE, *DESTINATION, "level"] if c not in scores.columns]
    if missing:
        raise InputError(
            f"The table of scores has no column {', '.join(missing)}; chapter 04 writes them all."
        )
    values = [c for c in ("correct", "accuracy") if c in scores.columns]
    if len(values) != 1:
        raise InputError(
            "The table of scores needs either 'correct' (0 or 1 per identity) or 'accuracy' "
            f"(mean over identities), and has {' and '.join(values) or 'neither'}."
        )
    if ("identity" in scores.columns) != (values[0] == "correct"):
        raise InputError(
            "'correct' goes with a column 'identity' and 'accuracy' without one; "
            "name the identities, or average over them and drop the column."
        )
    return values[0]


def check_scores(scores: pd.DataFrame, missing: Literal["raise", "drop"] = "raise") -> pd.DataFrame:
    """A table of scores that the functions of this package can use.

    Parameters
    ----------
    scores : DataFrame
        Columns as described at the head of this module; ``level`` is the percentage of pixels
        masked, 0 to 100.
    missing : {"raise", "drop"}
        What to do about missing values. ``drop`` is listwise, so that all curves stay comparable:
        with ``correct``, an identity with any missing value is left out everywhere; with
        ``accuracy``, a (source, destination, mask, fill) with any missing level is left out.

    Returns
    -------
    DataFrame
        The same rows (less those dropped) with a fresh index; ``attrs["dropped"]`` says how many
        rows were left out.

    Raises
    ------
    InputError
        Unknown or missing columns, an empty table, unnamed models, levels or values out of range,
        missing values, or a row given twice.
    """
    value = _check_columns(scores)
    if scores.empty:
        raise InputError("The table of scores has no rows; run chapter 04 first.")
    table = scores.reset_index(drop=True)
    names = [c for c in [*SOURCE, *DESTINATION, *CONDITION, "identity"] if c in table.columns]
    unnamed = table[names].isna()
    if unnamed.to_numpy().any():
        column = unnamed.columns[unnamed.any()][0]
        raise InputError(
            f"{column} is empty in {_row(table, unnamed[column])}; name every model. A baseline "
            "without a source has no bin: give its curves to compute_auc directly."
        )
    for column, top in (("level", 100), (value, 1)):
        numbers = pd.to_numeric(table[column], errors="coerce").astype(float)
        nonsense = numbers.isna() & table[column].notna()
        outside = nonsense | (numbers < 0) | (numbers > top)
        if column == "level":
            outside |= numbers.isna()
        elif column == "correct":
            outside |= numbers.notna() & ~numbers.isin([0, 1])
        if outside.any():
            allowed = "0 or 1" if column == "correct" else f"0 to {top}"
            raise InputError(
                f"{column} = {table.loc[outside, column].iloc[0]!r} is refused in "
                f"{_row(table, outside)}; allowed is {allowed}."
            )
        table[column] = numbers
    keys = [c for c in [*names, "level"] if c in table.columns]
    twice = table.duplicated(keys)
    if twice.any():
        raise InputError(
            f"The table of scores holds the same row twice: {_row(table, twice)}; keep one."
        )
    before = len(table)
    empty = table[value].isna()
    if empty.any():
        if missing != "drop":
            raise InputError(
                f"{value} is missing (NaN) in {_row(table, empty)}; mend chapter 04, or pass "
                "missing='drop' to leave those identities or pairs out."
            )
        if value == "correct":
            lost = table["identity"].isin(table.loc[empty, "identity"].unique())
        else:
            pair = [c for c in [*SOURCE, *DESTINATION, *CONDITION] if c in table.columns]
            lost = empty.groupby([table[c] for c in pair]).transform("any")
        table = table.loc[~lost].reset_index(drop=True)
        if table.empty:
            raise InputError(f"No row is left once missing values of {value} are dropped.")
    table.attrs["dropped"] = before - len(table)
    return table


def _conditions(table: pd.DataFrame) -> list[str]:
    return [c for c in CONDITION if c in table.columns]


def compute_accuracy(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy over identities of every (source, destination, level, mask, fill).

    Parameters
    ----------
    scores : DataFrame
        From :func:`check_scores`; a table that has ``accuracy`` already comes back unchanged.
    """
    if "accuracy" in scores.columns:
        return scores
    keys = [*SOURCE, *DESTINATION, *_conditions(scores), "level"]
    mean = scores.groupby(keys, sort=True, observed=True)["correct"].mean()
    return mean.rename("accuracy").reset_index()


def assign_bins(scores: pd.DataFrame) -> pd.DataFrame:
    """The table with a column ``bin`` (see :func:`bin_of`)."""
    # once per pair of models, not once per row
    pairs = scores[[*SOURCE, *DESTINATION]].drop_duplicates()
    pairs["bin"] = [bin_of(row[:3], row[3:]) for row in pairs.itertuples(index=False, name=None)]
    return scores.merge(pairs, on=[*SOURCE, *DESTINATION], how="left", validate="m:1")


def list_pairs(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of pretrainings of different families, in order of appearance.

    Each is a study of the published design: pass it to :func:`select_pair`.
    """
    names = list(dict.fromkeys([*scores[SOURCE[0]], *scores[DESTINATION[0]]]))
    return [p for p in itertools.combinations(names, 2) if family_of(p[0]) != family_of(p[1])]


def list_trunk_pairs(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of training seeds of one pretraining (``synthface``, ``synthface-2``), in order."""
    names = list(dict.fromkeys([*scores[SOURCE[0]], *scores[DESTINATION[0]]]))
    return [p for p in itertools.combinations(names, 2) if family_of(p[0]) == family_of(p[1])]


def select_pair(scores: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Rows whose source and destination both have one of two pretrainings.

    Raises
    ------
    InputError
        A pretraining that the table does not have.
    """
    known = set(scores[SOURCE[0]]) & set(scores[DESTINATION[0]])
    for name in (first, second):
        if name not in known:
            raise InputError(
                f"No model with pretraining {name!r} is both source and destination; "
                f"the table has {', '.join(sorted(map(str, known)))}."
            )
    keep = scores[SOURCE[0]].isin([first, second]) & scores[DESTINATION[0]].isin([first, second])
    return scores.loc[keep].reset_index(drop=True)


def _check_balance(scores: pd.DataFrame) -> None:
    """Refuse sources that lack a level (or an identity) the others of their condition have."""
    keys = [*SOURCE, *DESTINATION, *_conditions(scores)]
    size = scores.groupby(keys, sort=False, observed=True).size().rename("rows").reset_index()
    conditions = _conditions(scores)
    most = size.groupby(conditions)["rows"].transform("max") if conditions else size["rows"].max()
    short = size.loc[size["rows"] < most]
    if len(short):
        row = short.iloc[0]
        raise InputError(
            f"Some sources lack a level or an identity ({len(short)} pairs of models), first "
            f"source {' '.join(str(row[c]) for c in SOURCE)} on destination "
            f"{' '.join(str(row[c]) for c in DESTINATION)}; score every pair alike, or drop it."
        )


def compute_expectation(scores: pd.DataFrame, by_identity: bool = False) -> pd.DataFrame:
    """Exact mean over the sources of each bin: what the 100 draws of the paper estimate.

    Every source of a bin is equally likely in a draw, so the expectation of the mean of the draws
    is the plain mean over the distinct sources (1 to 5 of them in the paper).

    Parameters
    ----------
    scores : DataFrame
        From :func:`check_scores`.
    by_identity : bool
        Keep identities apart (needs ``correct``).

    Returns
    -------
    DataFrame
        Per destination, bin, mask, fill, level [, identity]: ``accuracy`` (0 to 1), ``n_sources``
        and ``sd``, the standard deviation over those sources (divisor n).

    Raises
    ------
    InputError
        ``by_identity`` without identities, or pairs of models that lack a level or an identity.
    """
    if by_identity and "correct" not in scores.columns:
        raise InputError(
            "The table holds accuracies only; per-identity results need the column 'correct'."
        )
    _check_balance(scores)
    table = scores.rename(columns={"correct": "accuracy"}) if by_identity else None
    table = assign_bins(compute_accuracy(scores) if table is None else table)
    keys = [*DESTINATION, "bin", *_conditions(table), "level"]
    keys += ["identity"] if by_identity else []
    grouped = table.groupby(keys, sort=True, observed=True)["accuracy"]
    result = grouped.agg(["mean", "count", "var"]).reset_index()
    n = result["count"]
    variance = (result.pop("var") * (n - 1) / n).fillna(0.0)
    result = result.rename(columns={"mean": "accuracy", "count": "n_sources"})
    result["sd"] = np.sqrt(variance)
    return result


def compute_draws(
    scores: pd.DataFrame, generator: np.random.Generator, draws: int = 100
) -> pd.DataFrame:
    """The paper's estimate: mean over sources drawn with replacement from each bin.

    A draw is a source model, followed over all levels, masks and fills. Nothing is masked or
    scored again: a draw is a weight on rows of the table.

    Parameters
    ----------
    scores : DataFrame
        From :func:`check_scores`.
    generator : numpy.random.Generator
    draws : int
        Sources drawn per destination and bin; 100 in the paper.

    Returns
    -------
    DataFrame
        Columns as of :func:`compute_expectation` without ``sd``, and ``draws``. The same generator
        state gives the same draws whatever the order of the rows.
    """
    if draws < 1:
        raise InputError(f"draws = {draws} is refused; draw at least one source.")
    _check_balance(scores)
    table = assign_bins(compute_accuracy(scores))
    pairs = table[[*DESTINATION, "bin", *SOURCE]].drop_duplicates()
    pairs = pairs.sort_values([*DESTINATION, "bin", *SOURCE], key=lambda c: c.astype(str))
    cells = pairs.groupby([*DESTINATION, "bin"], sort=False, observed=True)
    weights = np.empty(len(pairs))
    for where in cells.indices.values():
        picked = generator.integers(0, len(where), draws)
        weights[where] = np.bincount(picked, minlength=len(where)) / draws
    pairs["weight"] = weights
    table = table.merge(pairs, on=[*DESTINATION, "bin", *SOURCE], validate="m:1")
    table["accuracy"] *= table["weight"]
    keys = [*DESTINATION, "bin", *_conditions(table), "level"]
    grouped = table.groupby(keys, sort=True, observed=True)["accuracy"]
    result = grouped.agg(["sum", "count"]).reset_index()
    result = result.rename(columns={"sum": "accuracy", "count": "n_sources"})
    return result.assign(draws=draws)


def compare_draws(expectation: pd.DataFrame, drawn: pd.DataFrame) -> pd.DataFrame:
    """How far the drawn means are from the exact ones, per bin.

    Returns
    -------
    DataFrame
        ``bin``, ``n_sources`` (smallest to largest, as text), ``cells`` (destinations x levels x
        conditions), ``largest`` and ``rms`` difference of accuracy, ``rms_expected`` =
        sqrt(mean sd**2 / draws), the standard error that theory gives, and ``r``, Pearson's
        correlation of drawn and exact accuracies (NaN where either is constant).
    """
    keys = [c for c in expectation.columns if c not in ("accuracy", "sd", "n_sources")]
    both = expectation.merge(
        drawn[[*keys, "accuracy", "draws"]], on=keys, suffixes=("", "_drawn"), validate="1:1"
    )
    rows = []
    for name in [b for b in (*BINS, *TRUNK_BINS) if b in set(both["bin"])]:
        part = both.loc[both["bin"] == name]
        difference = part["accuracy_drawn"] - part["accuracy"]
        constant = part["accuracy"].nunique() < 2 or part["accuracy_drawn"].nunique() < 2
        low, high = part["n_sources"].min(), part["n_sources"].max()
        rows.append(
            {
                "bin": name,
                "n_sources": str(low) if low == high else f"{low}-{high}",
                "cells": len(part),
                "largest": difference.abs().max(),
                "rms": np.sqrt((difference**2).mean()),
                "rms_expected": np.sqrt((part["sd"] ** 2 / part["draws"]).mean()),
                "r": np.nan if constant else part["accuracy"].corr(part["accuracy_drawn"]),
            }
        )
    return pd.DataFrame(rows)


def summarise_gaps(scores: pd.DataFrame, bins: Sequence[str] = BINS) -> pd.DataFrame:
    """Bins without any source, and what can therefore not be computed.

    Returns
    -------
    DataFrame
        One row per (destination pretraining, task, bin) that no source fills: ``destinations``
        (how many models lack it) and ``cannot`` (a sentence). Empty when the design is complete.
    """
    reasons = {
        "same_instance": "no comparison with a model's own relevance",
        "other_initialisation": "no effect of the initialisation: train a second initialisation",
        "other_task": "no generalization across tasks: train the other task",
        "other_pretraining": "no generalization across pretrainings: add a second pretraining",
        "other_both": "no generalization across pretraining and task together: add the models",
    }
    table = assign_bins(scores[[*SOURCE, *DESTINATION]].drop_duplicates())
    filled = {key: set(part) for key, part in table.groupby(DESTINATION)["bin"]}
    rows = [
        {"destination_pretraining": k[0], "destination_task": k[1], "bin": b}
        for k, present in filled.items()
        for b in bins
        if b not in present
    ]
    columns = ["destination_pretraining", "destination_task", "bin"]
    if not rows:
        return pd.DataFrame(columns=[*columns, "destinations", "cannot"])
    gaps = pd.DataFrame(rows).groupby(columns).size().rename("destinations").reset_index()
    return gaps.assign(cannot=gaps["bin"].map(reasons))
