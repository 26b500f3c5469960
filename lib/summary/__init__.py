"""The first page: the answer in five sentences, a line for every chapter, one figure.

Works on the tables of a finished run alone (no TensorFlow), so that it is made again in seconds:

``numbers``
    Which tables are read, and the numbers of the figure as one tidy table.
``words``
    The sentences; their direction follows from the numbers, whatever these are.
``panels``
    The figure.
``artefacts``
    What a run keeps of it: ``summary.csv``, ``summary.svg``, ``findings.csv``; and as Markdown.
"""

from lib.summary.artefacts import (
    CHAPTER,
    list_answer,
    load_findings,
    read_findings,
    write_answer,
    write_chapters,
    write_page,
    write_summary,
)
from lib.summary.numbers import TABLES, compute_summary, find_pair, load_tables
from lib.summary.words import LEADS, state_answer, state_caption, state_chapters

__all__ = [
    "CHAPTER",
    "LEADS",
    "TABLES",
    "compute_summary",
    "find_pair",
    "list_answer",
    "load_findings",
    "load_tables",
    "read_findings",
    "state_answer",
    "state_caption",
    "state_chapters",
    "write_answer",
    "write_chapters",
    "write_page",
    "write_summary",
]
