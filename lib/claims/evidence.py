"""Tables that claims are looked up in, and what is missing of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lib import store
from lib.errors import InputError

#: Table -> chapter that makes it.
MADE_BY = {
    "faces": "01_faces",
    "concepts": "01_faces",
    "accuracies": "02_finetuning",
    "history": "02_finetuning",
    "predictions": "02_finetuning",
    "masks": "04_masking",
    "signs": "04_masking",
    "auc": "05_generalization",
    "pairwise": "05_generalization",
    "generalization_claims": "05_generalization",
    "choices": "06_humans",
    "humans": "06_humans",
    "detectors": "07_dissection",
    "curves": "07_dissection",
    "trends": "07_dissection",
    "salience": "08_salience",
    "detection": "08_salience",
    "detection_generalization": "08_salience",
    "detection_contrasts": "08_salience",
}
#: The published pair of pretrainings, the general one first.
PUBLISHED = ("imagenet", "vggface")


class NotTestable(Exception):
    """A claim cannot be tested with these data; the message says why."""


class Evidence:
    """Tables of one run, read when they are asked for.

    Parameters
    ----------
    folder : path
        Of a run's tables, ``<name>.csv`` with or without provenance beside them.
    name : str
        What the folder is called in reasons, e.g. ``"this run"``.
    """

    def __init__(self, folder: Path, name: str = "this run"):
        self.folder, self.name = Path(folder), name
        self._tables: dict[str, pd.DataFrame] = {}

    def path(self, table: str) -> Path:
        """Where a table lies, or would lie."""
        return self.folder / f"{table}.csv"

    @property
    def exists(self) -> bool:
        """Whether any table of the report lies there."""
        return any(self.path(table).is_file() for table in MADE_BY)

    @property
    def found(self) -> list[Path]:
        """Tables that lie there, in the order of the report."""
        return [self.path(table) for table in MADE_BY if self.path(table).is_file()]

    def table(self, name: str, columns: Sequence[str] = ()) -> pd.DataFrame:
        """A table with the columns asked for.

        Raises
        ------
        NotTestable
            It is not there, or holds the reason why it is empty.
        InputError
            It is there and has other columns.
        """
        chapter = MADE_BY[name]
        if name not in self._tables:
            if not self.path(name).is_file():
                raise NotTestable(f"{name}.csv of {chapter} is not in {self.name}")
            # a table without columns is no CSV that could be read
            if not self.path(name).read_text(encoding="utf-8").strip():
                raise NotTestable(f"{name}.csv of {chapter} is empty in {self.name}")
            self._tables[name] = store.load_table(self.path(name), made_by=chapter)
        table = self._tables[name]
        if list(table.columns) == ["why"]:
            raise NotTestable(str(table["why"].iloc[0]) if len(table) else "not computed")
        absent = [column for column in columns if column not in table.columns]
        if absent:
            raise InputError(
                f"{self.path(name)} has no column {', '.join(absent)}; delete it and run "
                f"{chapter} again."
            )
        if table.empty:
            raise NotTestable(f"{name}.csv of {chapter} is empty in {self.name}")
        return table

    def setting(self, table: str, name: str) -> Any:
        """A setting of the chapter that made a table, from the provenance beside it.

        Raises
        ------
        NotTestable
            No provenance is there, or it does not have the setting.
        """
        self.table(table)
        try:
            parameters = store.provenance_of(self.path(table))["parameters"]
        except FileNotFoundError:
            raise NotTestable(f"{table}.csv has no provenance in {self.name}") from None
        if name not in parameters:
            raise NotTestable(f"{MADE_BY[table]} has no setting {name} in {self.name}")
        return parameters[name]

    @cached_property
    def pair(self) -> tuple[str, str]:
        """Pretrainings that stand for ImageNet and VGGFace: these, or the run's first pair.

        Raises
        ------
        NotTestable
            The run has one pretraining.
        """
        claims = self.table("generalization_claims", ["general", "face"])
        pairs = list(dict.fromkeys(zip(claims["general"], claims["face"], strict=True)))
        pair = PUBLISHED if PUBLISHED in pairs else pairs[0]
        known = set(self.table("accuracies", ["pretraining"])["pretraining"])
        if not set(pair) <= known:
            raise NotTestable("the run has one pretraining")
        return pair
