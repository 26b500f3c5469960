"""The ledger of printed claims, ``data/reported.csv``."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from lib.errors import InputError

#: Key of the bibliography -> paper in words, in the order of the report.
PAPERS = {
    "crawford2020": "Crawford et al. 2020",
    "teotia2022": "Teotia et al. 2022",
    "crum2023": "Crum et al. 2023",
}
#: ``result``: judged; ``statistic``: follows from other printed numbers, or they follow from it;
#: ``design``: a number of the study's own making.
KINDS = ("result", "statistic", "design")
OPERATORS = ("=", ">", ">=", "<", "<=")
TEXT = ("id", "paper", "place", "kind", "claim", "quantity", "operator", "unit", "needs")
NUMBERS = ("value", "tolerance")


def load_reported(path: str | os.PathLike) -> pd.DataFrame:
    """The printed claims, one row each.

    Parameters
    ----------
    path : path
        CSV with the columns below.

    Returns
    -------
    DataFrame
        ``id`` (unique), ``paper`` (key of :data:`PAPERS`), ``place`` (section or figure), ``kind``
        (:data:`KINDS`), ``claim`` (in words), ``quantity``, ``operator``, ``value``,
        ``tolerance`` (of ``=``: half a unit of the last printed digit, or where the value is an
        estimate the half-width of its 95% interval), ``unit``, ``needs``
        (keys of :data:`lib.claims.design.NEEDS`, separated by "; ").

    Raises
    ------
    InputError
        Missing or unreadable file, missing column, empty or repeated id, an unknown paper, kind or
        operator, or a value that is no number; the first wrong row is named.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except Exception as error:  # pandas has errors of its own, and of the csv module
        raise InputError(
            f"{path} cannot be read ({error}); restore it from the repository."
        ) from None
    absent = [name for name in (*TEXT, *NUMBERS) if name not in table.columns]
    if absent:
        raise InputError(f"{path} has no column {', '.join(absent)}; add it.")
    for column, known in (("paper", PAPERS), ("kind", KINDS), ("operator", OPERATORS)):
        wrong = table.loc[~table[column].isin(list(known))]
        if len(wrong):
            row = wrong.iloc[0]
            raise InputError(
                f"{path}, claim {row['id']!r}: {column} {row[column]!r} is not one of "
                f"{', '.join(known)}; correct it."
            )
    repeated = table["id"].duplicated() | (table["id"] == "")
    if repeated.any():
        raise InputError(
            f"{path}: the id {table.loc[repeated, 'id'].iloc[0]!r} is empty or given twice; "
            "give every claim one of its own."
        )
    for column in NUMBERS:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.isna().any():
            row = table.loc[numbers.isna()].iloc[0]
            raise InputError(
                f"{path}, claim {row['id']!r}: {column} {row[column]!r} is no number; correct it."
            )
        table[column] = numbers.astype(float)
    return table
