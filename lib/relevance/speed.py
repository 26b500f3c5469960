"""What the benchmark of the relevance engine measured, as the project keeps it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
#: Written by ``make bench``, one row for each comparison and machine.
RESULTS = ROOT / "benchmarks" / "results.csv"
COLUMNS = ("name", "ours", "other", "other_name", "ratio", "unit", "machine")
#: Rows of this engine.
PREFIX = "lrp_"


def load_speeds(path: Path = RESULTS) -> pd.DataFrame:
    """The engine's rows of the table of benchmarks.

    Parameters
    ----------
    path : Path

    Returns
    -------
    DataFrame
        Columns ``name`` (without its prefix), ``ours``, ``other`` (medians, in ``unit``),
        ``other_name``, ``ratio`` (median over rounds; above 1 this engine is ahead), ``unit``,
        ``machine``; machine by machine.

    Raises
    ------
    InputError
        No such file, another file, or none of the engine's rows in it.
    """
    path = Path(path)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    remedy = "restore it from the repository, or run make bench"
    if not path.is_file():
        raise InputError(f"{shown} is missing; {remedy}.")
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{shown} is not a readable CSV ({error}); {remedy}.") from None
    absent = [column for column in COLUMNS if column not in table]
    if absent:
        raise InputError(f"{shown} has no column {', '.join(absent)}; {remedy}.")
    mine = table.loc[table["name"].astype(str).str.startswith(PREFIX), list(COLUMNS)]
    if not len(mine):
        raise InputError(f"{shown} has no row of the relevance engine ({PREFIX}...); {remedy}.")
    mine = mine.assign(name=mine["name"].str.removeprefix(PREFIX))
    return mine.sort_values("machine", ignore_index=True, kind="stable")
