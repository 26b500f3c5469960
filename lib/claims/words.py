"""Claims in words: short labels, tables with links, and the findings."""

from __future__ import annotations

import html
from collections.abc import Mapping

import pandas as pd

from lib import figures
from lib.claims.evidence import Evidence
from lib.claims.judge import VERDICTS, anchor

#: Claim -> words of an axis.
LABELS = {
    "accuracy": "all networks above 98%",
    "stable_initialisations": "stable over initialisations",
    "less_across_pretraining": "less across pretrainings than tasks",
    "identity_pretraining": "pretraining matters, identity",
    "identity_source": "initialisation does not, identity",
    "gender_pretraining": "pretraining matters, gender",
    "four_sources": "source matters, 4 of 4",
    "other_task": "other task as itself, 4 of 4",
    "other_pretraining": "other pretraining higher, 3 of 4",
    "exception": "but not in ImageNet-gender",
    "both_other": "both other as other pretraining",
    "bump": "ImageNet-gender rises at 31.6%",
    "bump_sign": "positive relevance goes first",
    "rank2_differ": "rank-2 choices differ, 95 of 101",
    "preference": "VGGFace's choice taken in 51.8%",
    "preference_test": "which is above chance",
    "extreme_face": "76.1% on one identity",
    "extreme_general": "67.4% against on another",
    "tasks_differ": "tasks differ in their detectors",
    "glasses_detectors": "eye detectors rise with glasses",
    "grey_units": "biased units rise with grey, 4 of 4",
    "grey_slopes": "steeper in deeper blocks",
    "kinds_differ": "the two trainings differ",
    "guided_generalises": "guided training generalises better",
}


class LinkedTable(figures.Table):
    """A table of the report, some of whose cells are links to a place in another chapter.

    Parameters
    ----------
    table : DataFrame
    links : mapping
        Column -> one address per row; empty for none.
    decimals, caption
        See :class:`lib.figures.Table`.
    """

    def __init__(self, table: pd.DataFrame, links: Mapping[str, list[str]], **options):
        super().__init__(table, **options)
        self.links = links

    def _repr_html_(self) -> str:
        # a placeholder per link: the table is escaped as a whole, so that a reader's own names
        # cannot become markup
        shown, marks = self.table.astype({name: object for name in self.links}), {}
        for name, addresses in self.links.items():
            cells = []
            for text, address in zip(self.table[name], addresses, strict=True):
                mark = f"\0{len(marks)}\0"
                marks[mark] = (
                    f'<a href="{html.escape(address)}">{html.escape(str(text))}</a>'
                    if address
                    else html.escape(str(text))
                )
                cells.append(mark)
            shown[name] = cells
        text = figures.Table(shown, caption=self.caption)
        text.format = self.format
        page = text._repr_html_()
        for mark, link in marks.items():
            page = page.replace(mark, link)
        return page


def link_sections(table: pd.DataFrame) -> list[str]:
    """Address of the section that computes each claim, as pages of the book name it."""
    return [
        f"{row.chapter}.html#{anchor(row.section)}" if row.section else ""
        for row in table.itertuples()
    ]


def show_claims(table: pd.DataFrame) -> LinkedTable:
    """Published, paper-scale run, this run, verdict; the verdict links to what computes it.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`lib.claims.judge.compare_claims`.
    """
    scaled = [
        f"{words}: {verdict}" if verdict else words
        for words, verdict in zip(table["paper_words"], table["paper_verdict"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "published": table["claim"] + " (" + table["place"] + ")",
            "paper-scale run": scaled,
            "this run": table["words"].where(table["words"] != "", table["why"]),
            "verdict": table["verdict"],
        }
    )
    return LinkedTable(shown, {"verdict": link_sections(table)})


def show_design(table: pd.DataFrame) -> LinkedTable:
    """The study's own numbers: printed, paper-scale run, this run."""
    shown = pd.DataFrame(
        {
            "number": table["quantity"],
            "printed": table["printed"].map("{:g}".format),
            "paper-scale run": table["paper_words"],
            "this run": table["words"].where(table["words"] != "", table["why"]),
            "same": (table["verdict"] == "reproduced").map({True: "yes", False: "no"}),
        }
    )
    return LinkedTable(shown, {"number": link_sections(table)})


def show_statistics(table: pd.DataFrame) -> pd.DataFrame:
    """Printed numbers and what follows from the others, with the digits that they have."""
    shown = table[["claim", "printed", "recomputed", "low", "high", "agrees", "how"]].copy()
    for name in ("printed", "recomputed", "low", "high"):
        shown[name] = shown[name].map("{:.4g}".format)
    return shown.assign(agrees=shown["agrees"].map({True: "yes", False: "no"}))


def summarise_findings(
    table: pd.DataFrame, statistics: pd.DataFrame, paper: Evidence
) -> dict[str, str]:
    """Words for a conclusion: counts of verdicts, what was not reproduced, what is missing."""
    results = table.loc[table["kind"] == "result"]
    counts = results["verdict"].value_counts()
    found = {verdict.replace(" ", "_"): str(counts.get(verdict, 0)) for verdict in VERDICTS}
    empty = results["null_claim"] & (results["verdict"] == "reproduced")
    found["null_reproduced"] = str(int(empty.sum()))
    found["claims"] = str(len(results))
    found["tested"] = str(len(results) - counts.get("not testable", 0))
    wrong = results.loc[results["verdict"] == "not reproduced", "id"]
    names = [LABELS.get(claim, claim) for claim in wrong]
    found["failed"] = "; ".join(names) if names else "none"
    reasons = results.loc[results["verdict"] == "not testable", "why"].value_counts()
    found["reasons"] = "; ".join(f"{why} ({n})" for why, n in reasons.items()) or "none"
    found["agree"] = f"{int(statistics['agrees'].sum())} of {len(statistics)}"
    designs = table.loc[table["kind"] == "design"]
    same = int((designs["verdict"] == "reproduced").sum())
    found["design"] = f"{same} of {len(designs)}"
    if paper.exists:
        counts = results["paper_verdict"].value_counts()
        words = ", ".join(f"{counts.get(v, 0)} {v}" for v in VERDICTS)
        found["paper_run"] = f"the paper-scale run has {words}"
    else:
        found["paper_run"] = "the paper-scale run has not been made yet"
    return found
