"""Results of a finished run that are committed, and shown beside those of the run of a book.

``data/results/<run>/`` holds the run's tables with their provenance, its first page
(``findings.csv``, ``summary.csv``, ``summary.svg``), figures as SVG, and ``about.json``: settings,
commit, day, machine, and what each chapter cost. ``SHA256SUMS`` covers them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import store, summary
from lib.faces.setfolder import SUMS, check_sums

#: Name of the run at the papers' scale, and of its folder under :data:`RESULTS`.
PAPER = "paper"
RESULTS = "data/results"
ABOUT = "about.json"
FIGURES = "figures"


@dataclass(frozen=True)
class Kept:
    """Results of a run as they were committed.

    Attributes
    ----------
    folder : Path
    about : dict
        ``run``, ``profile``, ``set``, ``commit``, ``date``, ``licence``, ``size`` (pixels),
        ``chapters`` (stem -> ``seconds``, ``processor``, ``memory``, ``sittings``, ``machine``),
        ``figures`` (stem -> list of ``file``, ``caption``, ``alt``), ``left_out`` (names).
    findings : dict
        Of :func:`lib.summary.read_findings`.
    """

    folder: Path
    about: dict[str, Any]
    findings: dict[str, dict[str, str]]

    def figures(self) -> list[Path]:
        """Its first page's figure and those of its chapters."""
        names = [figure["file"] for some in self.about["figures"].values() for figure in some]
        return [self.folder / "summary.svg", *(self.folder / FIGURES / name for name in names)]

    def cost(self) -> str:
        """Time, memory and machines of the whole in words."""
        chapters = self.about["chapters"].values()
        hours = sum(c["seconds"] for c in chapters) / 3600
        worked = sum(c["processor"] for c in chapters) / 3600
        memory = max(c["memory"] for c in chapters) / 1e9
        machines = ", ".join(dict.fromkeys(c["machine"] for c in chapters))
        return (
            f"{hours:.1f} hours, {worked:.1f} of a processor's work, at most {memory:.1f} GB of "
            f"memory, on {machines}"
        )

    def told(self) -> str:
        """Which run it is, what it cost and where it lies."""
        return (
            f"{self.title().capitalize()}: {self.cost()}. Its tables, figures and provenance lie "
            f"in `{RESULTS}/{PAPER}/`."
        )

    def title(self) -> str:
        """E.g. ``run paper, 224 px, commit 0123456789, 2026-11-22``."""
        about = self.about
        more = f", {about['set']}" if about["set"] else ""
        return (
            f"run {about['run']}{more}, {about['size']} px, commit {about['commit'][:10]}, "
            f"{about['date']}"
        )


def load_kept(folder: Path | None = None) -> Kept | None:
    """Committed results, checked; None where there are none.

    Parameters
    ----------
    folder : Path, optional
        By default those of the run at the papers' scale.

    Raises
    ------
    InputError
        A file is missing or was changed.
    """
    folder = store.ROOT / RESULTS / PAPER if folder is None else folder
    if not (folder / SUMS).is_file():
        return None
    check_sums(folder)
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return Kept(folder, about, summary.read_findings(folder))


def _write_figure(path: str, about: Mapping[str, str]) -> str:
    """Markdown of a figure with its ``caption`` and, where there is one, ``alt``."""
    options = f":alt: {about['alt']}\n" if about["alt"] else ""
    return f"```{{figure}} {path}\n{options}\n{about['caption']}\n```"


def write_beside(
    kept: Kept, chapter: str, mine: Mapping[str, Mapping[str, str]], run: str, place: str
) -> str:
    """End of a chapter's page: its finding in this run and in the kept one, and that one's figures.

    Parameters
    ----------
    kept : Kept
    chapter : str
        Notebook stem.
    mine : mapping
        Findings of this run.
    run : str
    place : str
        Folder of the kept figures as the page names it, with its slash.
    """
    spent = kept.about["chapters"][chapter]
    cost = f"{spent['seconds'] / 60:.1f} minutes, {spent['memory'] / 1e9:.1f} GB of memory"
    rows = [
        (f"this run, `{run}`", mine["chapter"][chapter]),
        (f"{kept.title()}; {cost}, {spent['machine']}", kept.findings["chapter"][chapter]),
    ]
    cells = [" | ".join(text.replace("|", "\\|") for text in row) for row in rows]
    lines = ["## This run and the papers' scale", "", "| | found |", "|---|---|"]
    lines += [f"| {row} |" for row in cells]
    figures = kept.about["figures"].get(chapter, [])
    if figures:
        lines += ["", "````{dropdown} Figures of the run at the papers' scale"]
        lines += [_write_figure(place + figure["file"], figure) for figure in figures]
        lines += ["````"]
    return "\n".join(lines)


def write_answer(kept: Kept, place: str) -> str:
    """The answer at the papers' scale as Markdown, for the first page."""
    return "\n".join(
        [
            f"````{{dropdown}} The same at the papers' scale ({kept.about['size']} px)",
            *summary.list_answer(kept.findings["answer"]),
            "",
            _write_figure(f"{place}summary.svg", kept.findings["figure"]),
            "",
            kept.told(),
            "````",
        ]
    )
