"""Numbers of the first page, read from the tables of the chapters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lib import store

#: Table -> chapter that makes it.
TABLES = {
    "probes": "00_pretraining",
    "faces": "01_faces",
    "shortcuts": "01_faces",
    "accuracies": "02_finetuning",
    "groups": "03_relevance",
    "parts": "03_relevance",
    "masks": "04_masking",
    "identities": "05_generalization",
    "choices": "06_humans",
    "humans": "06_humans",
    "chance": "07_dissection",
    "detectors": "07_dissection",
    "salience_contrasts": "08_salience",
    "claims": "09_claims",
    "survival": "10_multiverse",
    "own_faces": "11_own_faces",
    "own_network": "12_own_network",
}
#: Columns of :func:`compute_summary`.
COLUMNS = ("panel", "row", "pretraining", "task", "value", "low", "high")
#: What may differ between the network whose map it is and the network that is asked.
RELATIONS = ("other initialisation", "other task", "other pretraining")
#: Parts smaller than this share of the pixels are left out: a few pixels give unsteady ratios.
SMALLEST = 0.002


def load_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Tables of a finished run, by name.

    Raises
    ------
    InputError
        One is missing or unreadable; the sentence names the chapter that makes it.
    """
    return {
        name: store.load_table(Path(folder) / f"{name}.csv", made_by=chapter)
        for name, chapter in TABLES.items()
    }


def find_pair(tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """The pretrainings that the first page compares: the first pair of chapter 05.

    Returns
    -------
    tuple of str
        The general one first; one name alone where the run has nothing to compare.
    """
    found = tables["identities"]
    if len(found) and {"general", "face"} <= set(found.columns):
        first = found[["general", "face"]].dropna()
        if len(first):
            return tuple(first.iloc[0])
    return tuple(dict.fromkeys(tables["accuracies"]["pretraining"]))[:2]


def compute_summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Numbers of the summary figure, one row for every mark in it.

    Parameters
    ----------
    tables : mapping
        Of :func:`load_tables`.

    Returns
    -------
    DataFrame
        ``panel``; ``row``, its line in the panel; ``pretraining`` and ``task``, empty where the
        number belongs to both; ``value``, ``low``, ``high``. By panel:

        ``parts``
            Relevance on a part of the picture over the part's share of the pixels (1: spread
            evenly), mean and range over readouts.
        ``likeness``
            Pearson's r of two networks' maps that differ in one thing, interval over faces.
        ``masking``
            Change of the area under the accuracy curve when another network's relevance chooses
            the pixels, interval over faces and networks (crossed random effects).
        ``units``, ``units by limit``
            Share of a layer's units that find a concept better than chance; that pass the
            published limit.
        ``salience``
            Second pretraining less the first, interval over faces.
    """
    pair = find_pair(tables)
    makers = (_parts, _likeness, _masking, _units, _salience)
    rows = [row for make in makers for row in make(tables, pair)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table[np.isfinite(table["value"].astype(float))].reset_index(drop=True)


def _parts(tables, pair):
    parts = tables["parts"]
    parts = parts[parts["pretraining"].isin(pair) & (parts["area"] >= SMALLEST)]
    ratio = parts.assign(ratio=parts["absolute"] / parts["area"])
    names = ["part", "pretraining", "task"]
    for (part, pretraining, task), some in ratio.groupby(names, sort=False):
        found = some["ratio"]
        yield "parts", part, pretraining, task, found.mean(), found.min(), found.max()


def _likeness(tables, pair):
    groups = tables["groups"]
    for row in groups[(groups["first"] != "all") & groups["relation"].isin(RELATIONS)].itertuples():
        (one, task), (other, other_task) = (c.rsplit(" ", 1) for c in (row.first, row.second))
        if {one, other} <= set(pair):
            pretraining, kept = one if one == other else "", task if task == other_task else ""
            yield "likeness", row.relation, pretraining, kept, row.r, row.low, row.high


def _masking(tables, pair):
    found = select_contrasts(tables, pair)
    for row in found.itertuples():
        yield "masking", row.relation, row.pretraining, row.task, row.estimate, row.low, row.high


def select_contrasts(tables: Mapping[str, pd.DataFrame], pair: tuple[str, ...]) -> pd.DataFrame:
    """Rows of ``identities.csv`` for a pair: another network's relevance less a network's own.

    Returns
    -------
    DataFrame
        ``relation`` (of :data:`RELATIONS`), ``pretraining``, ``task``, ``estimate``, ``low``,
        ``high``; empty with one pretraining.
    """
    names = ["relation", "pretraining", "task", "estimate", "low", "high"]
    found = tables["identities"]
    if len(pair) < 2 or not {"general", "face", "contrast"} <= set(found.columns):
        return pd.DataFrame(columns=names)
    found = found[(found["general"] == pair[0]) & (found["face"] == pair[1])]
    ends = " - same_instance"
    found = found[found["contrast"].str.endswith(ends)]
    kinds = found["contrast"].str.removesuffix(ends).str.replace("_", " ")
    found = found.assign(relation=kinds)
    return found.loc[found["relation"].isin(RELATIONS), names].reset_index(drop=True)


def _units(tables, pair):
    levels = tables["chance"]
    for row in levels[levels["network"].isin(pair)].itertuples():
        for panel, count in (("units", row.chance), ("units by limit", row.fixed)):
            share = count / row.units
            yield panel, row.layer, row.network, "", share, np.nan, np.nan


def _salience(tables, pair):
    for row in select_salience(tables, pair).itertuples():
        yield "salience", row.measure, "", row.within, row.difference, row.low, row.high


def select_salience(tables: Mapping[str, pd.DataFrame], pair: tuple[str, ...]) -> pd.DataFrame:
    """Rows of ``salience_contrasts.csv`` between a pair of pretrainings, second less first."""
    found = tables["salience_contrasts"]
    if len(pair) < 2:
        return found.iloc[:0]
    mine = (found["factor"] == "pretraining") & (found["first"] == pair[0])
    return found[mine & (found["second"] == pair[1])]
