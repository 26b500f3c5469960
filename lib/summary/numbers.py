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
#: Table -> columns that are read. A chapter that could not compute a table writes one without them.
READ = {
    "probes": "trunk accuracy chance",
    "faces": "identity",
    "shortcuts": "limit passed",
    "accuracies": "pretraining task initialisation part accuracy",
    "groups": "relation first second r low high",
    "parts": "pretraining task part area absolute",
    "masks": "destination_task mask fill level accuracy",
    "identities": "task pretraining contrast estimate low high general face",
    "choices": "pretraining identity rank2",
    "humans": "quantity here simulated",
    "chance": "network layer units fixed chance",
    "detectors": "network layer by group detectors_above",
    "salience_contrasts": "measure factor within first second difference low high",
    "claims": "kind verdict",
    "survival": "general face null_claim survives",
    "own_faces": "identity",
    "own_network": "task part accuracy",
}
#: Columns of :func:`compute_summary`.
COLUMNS = ("panel", "row", "pretraining", "task", "value", "low", "high")
#: What may differ between the network whose map it is and the network that is asked.
RELATIONS = ("other initialisation", "other task", "other pretraining")
#: Parts smaller than this share of the pixels are left out: a few pixels give unsteady ratios.
SMALLEST = 0.002


def load_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Tables of a finished run, by name; one that its chapter could not compute is empty.

    Raises
    ------
    InputError
        One is missing or unreadable; the sentence names the chapter that makes it.
    """
    tables = {}
    for name, chapter in TABLES.items():
        path, columns = Path(folder) / f"{name}.csv", READ[name].split()
        bare = path.is_file() and not path.read_bytes().strip()
        table = pd.DataFrame() if bare else store.load_table(path, made_by=chapter)
        known = set(columns) <= set(table.columns)
        tables[name] = table if known else pd.DataFrame(columns=columns)
    return tables


def find_pair(tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """The pretrainings that the first page compares: the first pair of chapter 05.

    Returns
    -------
    tuple of str
        The general one first; one name alone where the run has nothing to compare.
    """
    trained = list(dict.fromkeys(tables["accuracies"]["pretraining"]))
    pairs = tables["identities"][["general", "face"]].dropna().drop_duplicates()
    # with one pretraining the second of the pair is a word that says so
    known = [pair for pair in pairs.itertuples(index=False, name=None) if {*pair} <= {*trained}]
    return known[0] if known else tuple(trained[:2])


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
    if len(pair) < 2 or found.empty:
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
