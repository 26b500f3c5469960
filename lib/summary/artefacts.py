"""What a run keeps of its first page, and the first page as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from lib import figures, store
from lib.errors import InputError
from lib.summary.numbers import TABLES, compute_summary, find_pair, load_tables
from lib.summary.panels import plot_summary
from lib.summary.words import ALT, LEADS, state_answer, state_caption, state_chapters

#: In the place of a chapter in provenance.
CHAPTER = "summary"


def write_summary(run: str) -> list[Path]:
    """Make ``summary.csv``, ``summary.svg`` and ``findings.csv`` of a finished run.

    The provenance of both tables holds the checksum of the figure.

    Raises
    ------
    InputError
        A table of the run is missing.
    """
    out = store.run_folder(run)
    tables = load_tables(out)
    settings = {
        name: store.provenance_of(out / f"{name}.csv")["parameters"]
        for name in ("faces", "salience_contrasts")
    }
    confidence = float(settings["salience_contrasts"].get("confidence", 0.95))
    summary = compute_summary(tables)
    figure = out / "summary.svg"
    with plt.rc_context():
        figures.apply_style()
        fig = plot_summary(summary, find_pair(tables))
        with store.atomic_path(figure) as temporary:
            # no date: the same tables give the same bytes
            fig.savefig(temporary, format="svg", metadata={"Date": None})
        plt.close(fig)
    made = store.provenance(CHAPTER, {"run": run}, [out / f"{name}.csv" for name in TABLES])
    made["figure"] = store.sha256(figure)
    sentences = state_answer(tables, confidence)
    rows = [("answer", lead, text) for (lead, _), text in zip(LEADS, sentences, strict=True)]
    rows += [("chapter", *item) for item in state_chapters(tables, confidence).items()]
    rows += [("figure", "caption", state_caption(tables, settings["faces"].get("size")))]
    rows += [("figure", "alt", ALT)]
    findings = pd.DataFrame(rows, columns=["kind", "name", "text"])
    return [
        figure,
        store.save_table(summary, out / "summary.csv", made),
        store.save_table(findings, out / "findings.csv", made),
    ]


def load_findings(run: str) -> dict[str, dict[str, str]]:
    """As :func:`read_findings`, of a run by its name."""
    return read_findings(store.run_folder(run))


def read_findings(folder: Path) -> dict[str, dict[str, str]]:
    """What ``findings.csv`` says: kind (``answer``, ``chapter``, ``figure``) -> name -> text.

    Raises
    ------
    InputError
        It is missing, or the figure beside it is not the one that it was made with.
    """
    path = Path(folder) / "findings.csv"
    table = store.load_table(path, made_by="`python -m lib.summary`", columns=("kind", "text"))
    figure = path.with_name("summary.svg")
    if not figure.is_file() or store.sha256(figure) != store.provenance_of(path)["figure"]:
        raise InputError(
            f"{figure} is not the figure that findings.csv was made with: delete both, then make "
            "the book again."
        )
    return {
        kind: dict(zip(some["name"], some["text"], strict=True))
        for kind, some in table.groupby("kind")
    }


def write_answer(found: Mapping[str, Mapping[str, str]], pages: str, figure: str) -> str:
    """The answer and its figure as Markdown.

    Parameters
    ----------
    found : mapping
        Of :func:`load_findings`.
    pages : str
        Folder of the chapters as links name it, with its slash.
    figure : str
        Markdown of the figure, put between the question and the sentences.
    """
    lines = []
    for lead, chapters in LEADS:
        links = ", ".join(f"[{stem[:2]}]({pages}{stem}.ipynb)" for stem in chapters)
        lines.append(f"{_lead_in(lead, found['answer'][lead])} ({links})")
    return "\n".join(lines) + f"\n\n{figure}\n"


def list_answer(answer: Mapping[str, str]) -> list[str]:
    """The sentences of an answer as lines of a list in Markdown, each after what it is about."""
    return [_lead_in(lead, text) for lead, text in answer.items()]


def _lead_in(lead: str, text: str) -> str:
    return f"- **{lead}.** {text}"


def write_page(found: Mapping[str, Mapping[str, str]], run: str) -> str:
    """Markdown that the first page of the book includes."""
    folder = f"executed/{run}/"
    about = found["figure"]
    figure = (
        f"```{{figure}} {folder}summary.svg\n:alt: {about['alt']}\n"
        f":name: the-answer\n\n{about['caption']}\n```"
    )
    return write_answer(found, folder, figure)


def write_chapters(
    found: Mapping[str, Mapping[str, str]],
    titles: Mapping[str, str],
    run: str,
    beside: Mapping[str, str] | None = None,
) -> str:
    """Markdown table of the chapters and what each found in this run.

    Parameters
    ----------
    found : mapping
        Of :func:`load_findings`.
    titles : mapping
        Stem of a chapter -> title, in the order of the book.
    run : str
    beside : mapping, optional
        Stem of a chapter -> what it found at the papers' scale.
    """
    columns = [found["chapter"]] if beside is None else [found["chapter"], beside]
    heads = ["chapter", "found in this run", "at the papers' scale"][: len(columns) + 1]
    rows = [heads, ["---"] * len(heads)]
    for stem, title in titles.items():
        texts = [column[stem].replace("|", "\\|") for column in columns]
        rows.append([f"[{stem[:2]} {title}](executed/{run}/{stem}.ipynb)", *texts])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
