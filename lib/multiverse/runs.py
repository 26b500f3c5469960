"""Finished runs of a multiverse, known by the records of their chapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lib import params, reuse
from lib.multiverse.choices import LAST, STATISTICS, Choice, chapter_of


class Variant(NamedTuple):
    """A run that differs from its base in choices alone: name, and choice -> value."""

    run: str
    departures: dict[str, Any]


def find_variants(
    base: str, choices: Sequence[Choice], spared: Mapping[str, Any]
) -> tuple[list[Variant], list[tuple[str, str]]]:
    """Finished runs that differ from a base run in open choices alone.

    Nothing is taken on trust: what a run departs in is read from the records of its chapters, and
    what it made has to be there to the byte, by the code that made the base run.

    Parameters
    ----------
    base : str
    choices, spared
        From :func:`load_choices`.

    Returns
    -------
    variants : list of Variant
        The base run first (without departures), then by name.
    left_out : list of (run, why)
        Runs of that name that are no specifications.
    """
    chapters = [c for c in params.CHAPTERS if c < STATISTICS]
    records = {c: reuse.read_record(c, base) for c in chapters}
    found, left_out = [Variant(base, {})], []
    if not all(records.values()):
        return found, left_out
    left = [(chapter_of(name), name.rpartition(".")[2], value) for name, value in spared.items()]
    allowed = {(c.chapter, c.field): c for c in choices if c.chapter < STATISTICS}
    for folder in sorted((params.ROOT / "data" / "runs").glob(f"{base}.multiverse+*")):
        departures: dict[str, Any] = {}
        why = ""
        for chapter in chapters:
            record = reuse.read_record(chapter, folder.name)
            if record is None:
                why = why or f"{chapter} has not run"
                continue
            why = why or _compare(records[chapter], record, bool(departures))
            for field, value in _differences(records[chapter], record):
                choice = allowed.get((chapter, field))
                if (chapter, field, value) in left:
                    continue
                if choice is None or value not in choice.options:
                    why = why or f"{chapter}: {field} is {value!r}, which is no open choice"
                else:
                    departures[choice.name] = value
        record = reuse.read_record(LAST, folder.name)
        if not why and (record is None or not reuse.is_whole(record)):
            why = f"what {LAST} made is not there any more"
        if why:
            left_out.append((folder.name, why))
        elif departures:
            found.append(Variant(folder.name, departures))
    return found, left_out


def _differences(base: dict, record: dict) -> Iterator[tuple[str, Any]]:
    for field, value in record["settings"].items():
        if field != "run" and base["settings"].get(field) != value:
            yield field, value


def _compare(base: dict, record: dict, departed: bool) -> str:
    """Why a chapter of a run does not belong beside that of the base run, or nothing."""

    def code(r: dict) -> dict:
        return {name: d for name, d in r["inputs"].items() if not name.startswith("run/")}

    def numbers(r: dict) -> dict:
        # the arrays' files hold the name of their run beside the same numbers
        return {Path(name).name: d for name, d in r["outputs"].items() if name.endswith(".csv")}

    if code(base) != code(record):
        return "made by other code: run make multiverse again"
    if departed or dict(_differences(base, record)):
        return ""
    if base["state"] != record["state"] or numbers(base) != numbers(record):
        return "made from other files: run make multiverse again"
    return ""
