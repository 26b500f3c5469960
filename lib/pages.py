"""What the finished pages of a run (experiment, explorer) have in common.

A chapter writes each page into a folder of its own under ``data/runs/<run>/pages/``. Which run it
is of stands in one small file of the page, so that another run that takes the page over
(:mod:`lib.reuse`) gives it its own name and leaves the rest as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

from lib import store

#: File of a page that holds the name of its run, for the page's own scripts: ``window.RUN``.
NAMED = "run.js"


def name_page(folder: Path, run: str) -> None:
    """Write the name of a page's run; a file that was linked from another run is not changed."""
    with store.atomic_path(Path(folder) / NAMED) as temporary:
        # "</script>" in a name must not end anything; the file is a script of its own
        text = json.dumps(run).replace("<", "\\u003c")
        temporary.write_text(f"window.RUN = {text};\n", encoding="utf-8")


def may_replace(folder: Path, mark: str) -> bool:
    """Whether a page may take the place of a folder: there is none, or a page, or no file in it.

    What lies under a run's own ``pages`` is the run's, in whatever state a fault has left it.

    Parameters
    ----------
    folder : Path
    mark : str
        File by which such a page is known.
    """
    folder = Path(folder).resolve()
    if not folder.exists() or store.of_a_run(folder.parent) == "pages":
        return True
    if not folder.is_dir():
        return False
    return (folder / mark).is_file() or not any(p.is_file() for p in folder.rglob("*"))
