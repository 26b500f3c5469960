"""What another run has already made, taken over instead of computed once more.

Runs often differ in one late setting and share all that comes before it. A chapter whose settings,
inputs and code are those of another run would make the same artefacts again: they are linked, with
their provenance, which names the run that made them. A run with departures (SET) takes from its
profile's own run, a run of a multiverse from its base run; they are named in the environment. A
profile's own run computes all of its chapters itself.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib import params, store
from lib.pages import NAMED, name_page

#: Environment variable: names of the runs that artefacts may be taken from, nearest first.
VARIABLE = params.TAKE_FROM


def _local(name: str, run: str) -> str:
    """A path with the run's own folder called ``run``, so that two runs can be compared."""
    folder = f"data/runs/{run}/"
    return "run/" + name.removeprefix(folder) if name.startswith(folder) else name


def make_record(
    settings: params.Chapter,
    outputs: Sequence[str],
    inputs: Sequence[str] = (),
    state: Sequence[str] = (),
    pages: Sequence[str] = (),
) -> dict[str, Any]:
    """What a chapter was made of and what it made.

    Parameters
    ----------
    settings : Chapter
    outputs : sequence of str
        Files it has made, relative to the repository.
    inputs : sequence of str
        Files it depends on: notebook, modules, artefacts of its run.
    state : sequence of str
        Digests of what else it depends on, e.g. folders of images.
    pages : sequence of str
        Folders that it makes in some runs and not in others; all their files are noted.

    Returns
    -------
    dict
        ``settings``; ``outputs``, ``inputs``, ``pages``: path -> SHA-256, the run's own folder
        being called ``run`` among the inputs; ``state``.
    """
    files = [f for folder in pages for f in sorted((store.ROOT / folder).rglob("*")) if f.is_file()]
    return {
        "settings": settings.model_dump(mode="json"),
        "outputs": {name: store.sha256(store.ROOT / name) for name in outputs},
        "inputs": {_local(name, settings.run): store.sha256(store.ROOT / name) for name in inputs},
        "state": list(state),
        "pages": {f.relative_to(store.ROOT).as_posix(): store.sha256(f) for f in files},
    }


def read_record(chapter: str, run: str) -> dict[str, Any] | None:
    """Record of a finished chapter, or None where there is none that can be read."""
    try:
        record = json.loads(params.record_path(chapter, run).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    keys = {"settings", "outputs", "inputs", "state"}
    return record if isinstance(record, dict) and keys <= set(record) else None


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records are of the same work: all but the name of the run and what came out."""

    def work(record: Mapping[str, Any]) -> tuple:
        settings = {k: v for k, v in record["settings"].items() if k != "run"}
        return settings, record["inputs"], record["state"]

    return work(one) == work(other)


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether everything the chapter made is still there, to the byte."""
    return all(
        (store.ROOT / name).is_file() and store.sha256(store.ROOT / name) == digest
        for name, digest in {**record["outputs"], **record.get("pages", {})}.items()
    )


def is_done(
    settings: params.Chapter,
    chapter: str,
    outputs: Sequence[str],
    inputs: Sequence[str],
    state: Sequence[str],
) -> bool:
    """Whether the run itself has done this work, and all that came of it is there to the byte.

    The engine plans everything behind a chapter that it makes again; where that chapter came out
    the same, as after a fault, nothing behind it has to be computed.

    Parameters
    ----------
    settings, chapter, outputs, inputs, state
        See :func:`take_over`.
    """
    record = read_record(chapter, settings.run)
    if record is None or not inputs or set(record["outputs"]) != set(outputs):
        return False
    return is_same(record, make_record(settings, (), inputs, state)) and is_whole(record)


def take_over(
    settings: params.Chapter,
    chapter: str,
    outputs: Sequence[str],
    inputs: Sequence[str],
    state: Sequence[str],
    runs: Sequence[str],
    pages: Sequence[str] = (),
) -> str | None:
    """Link what the first of ``runs`` that has done the same work has made, and note it.

    Parameters
    ----------
    settings : Chapter
        Of this run.
    chapter : str
    outputs, inputs, state, pages
        See :func:`make_record`.
    runs : sequence of str

    Returns
    -------
    str or None
        The run taken from; None where the work has to be done.
    """
    folder = f"data/runs/{settings.run}/"
    records = {r: read_record(chapter, r) for r in runs if r and r != settings.run}
    records = {run: record for run, record in records.items() if record is not None}
    if not records or not inputs or not all(name.startswith(folder) for name in outputs):
        return None
    wanted = make_record(settings, (), inputs, state)
    for run, record in records.items():
        if not is_same(record, wanted):
            continue
        sources = {f"data/runs/{run}/{name.removeprefix(folder)}": name for name in outputs}
        if not set(sources) <= set(record["outputs"]) or not is_whole(record):
            continue
        theirs = f"data/runs/{run}/"
        sources |= {n: folder + n.removeprefix(theirs) for n in record.get("pages", {})}
        for page in pages:
            shutil.rmtree(store.ROOT / page, ignore_errors=True)
        for source, target in sources.items():
            _link(store.ROOT / source, store.ROOT / target)
        for page in pages:
            # which run it is of is all that differs
            if (store.ROOT / page / NAMED).is_file():
                name_page(store.ROOT / page, settings.run)
        record = make_record(settings, outputs, inputs, state, pages) | {"taken_from": run}
        with store.atomic_path(params.record_path(chapter, settings.run)) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        return run
    return None


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system has no links.

    Artefacts are replaced and never changed in place, so neither name can spoil the other.
    """
    with store.atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
