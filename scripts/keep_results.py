"""Keep the results of a finished run under data/results: ``make results PROFILE=paper``.

What is kept, and how it is read, says ``lib/kept.py``. Figures are there if the run was made with
``FIGURES=svg``.
"""

from __future__ import annotations

import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from command_line import ask_git, make_parser  # noqa: E402

from lib import claims, kept, params, reuse, store, summary  # noqa: E402
from lib.errors import InputError  # noqa: E402
from lib.faces.setfolder import write_sums  # noqa: E402
from lib.machine import processor  # noqa: E402
from lib.runner import VECTOR  # noqa: E402

#: Bytes of a table above which it is kept only where a claim or the first page is read from it.
LARGEST_TABLE = 200_000
#: Bytes of a figure above which it is left out: one that holds pictures of faces.
LARGEST_FIGURE = 250_000


def keep_run(
    run: str, folder: Path, *, profile: str, departures: str, commit: str, date: str
) -> dict[str, Any]:
    """Copy a finished run's tables, first page and figures to a folder, in place of what was there.

    Parameters
    ----------
    run : str
    folder : Path
        E.g. ``data/results/paper``.
    profile, departures : str
        The run's profile and its SET.
    commit, date : str
        Of the code that made it, and of today.

    Returns
    -------
    dict
        What was written to ``about.json``.

    Raises
    ------
    InputError
        A chapter is not finished, or what it made was changed since; the folder is as it was.
    """
    source = store.run_folder(run)
    chapters, figures, images = {}, {}, []
    for stem in params.CHAPTERS:
        record = reuse.read_record(stem, run)
        if record is None or not reuse.is_whole(record):
            raise InputError(
                f"{stem} of the run {run!r} is not finished, or was changed since: make the book "
                "of that run first."
            )
        page = nbformat.read(source / "notebooks" / f"{stem}.ipynb", as_version=4)
        chapters[stem] = _cost(page)
        figures[stem] = _list_figures(page, source / kept.FIGURES)
        images += [source / kept.FIGURES / figure["file"] for figure in figures[stem]]
    summary.read_findings(source)  # refuses a figure of other tables
    read = {*claims.evidence.MADE_BY, *summary.TABLES, "findings", "summary"}
    tables, left_out = [], []
    for path in sorted(source.glob("*.csv")):
        if path.stem in read or path.stat().st_size <= LARGEST_TABLE:
            tables += [path, path.with_name(f"{path.name}.provenance.json")]
        else:
            left_out.append(path.name)
    about = {
        "run": run,
        "profile": profile,
        "set": departures,
        "commit": commit,
        "date": date,
        "licence": "CC0 1.0",
        "size": store.provenance_of(source / "faces.csv")["parameters"].get("size"),
        "chapters": chapters,
        "figures": figures,
        "left_out": left_out,
    }
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        (fresh / kept.FIGURES).mkdir(parents=True)
        for path in [*tables, source / "summary.svg"]:
            shutil.copyfile(path, fresh / path.name)
        for path in images:
            shutil.copyfile(path, fresh / kept.FIGURES / path.name)
        (fresh / kept.ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        write_sums(fresh, [str(p.relative_to(fresh)) for p in fresh.rglob("*") if p.is_file()])
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise InputError(f"The results cannot be written to {folder}: {error.strerror}.") from None
    return about


def _cost(page: nbformat.NotebookNode) -> dict[str, Any]:
    """Cost of an executed notebook; one that was run by hand tells its duration alone."""
    made = page.metadata.get("face_decisions", {})
    seconds = page.metadata["papermill"]["duration"]
    usual = {"seconds": seconds, "processor": 0.0, "memory": 0, "sittings": 1}
    return {**usual, **made.get("cost", {}), "machine": made.get("machine", processor())}


def _list_figures(page: nbformat.NotebookNode, folder: Path) -> list[dict[str, str]]:
    """Kept figures of an executed notebook that are small enough, with their words."""
    found = []
    for cell in page.cells:
        about = cell.metadata.get("mystnb", {})
        for out in cell.get("outputs", []):
            name = out.get("metadata", {}).get(VECTOR)
            path = folder / str(name)
            if name and path.is_file() and path.stat().st_size <= LARGEST_FIGURE:
                caption = about.get("figure", {}).get("caption", "")
                alt = about.get("image", {}).get("alt", "")
                found.append({"file": name, "caption": caption, "alt": alt})
    return found


def main() -> int:
    """Command line; returns the exit status."""
    given = make_parser(__doc__).parse_args()
    try:
        run, _ = params.resolve(given.profile, given.set_, given.run)
        folder = ROOT / kept.RESULTS / run
        about = keep_run(
            run,
            folder,
            profile=given.profile,
            departures=params.write_set(params.parse_set(given.set_)),
            commit=ask_git(ROOT, "rev-parse", "HEAD"),
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    figures = sum(map(len, about["figures"].values()))
    tables = len(list(folder.glob("*.csv")))
    print(f"wrote {folder}: {tables} tables and {figures} figures of the run {run!r}")
    if about["left_out"]:
        print(f"left out for their size: {', '.join(about['left_out'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
