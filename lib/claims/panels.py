"""The figure of chapter 09: draws what it is given and computes nothing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lib.claims.judge import NOT_RUN
from lib.claims.reported import PAPERS

#: Verdict -> (fill, ink, hatch): greys, because hue stands for pretrainings in every chapter; told
#: apart by the words in the tiles as well.
LOOKS = {
    "reproduced": ("#1A1A1A", "#FFFFFF", ""),
    "same direction": ("#8C8C8C", "#000000", ""),
    "not reproduced": ("#E9E9E9", "#000000", ""),
    "not testable": ("#FFFFFF", "#5A5A5A", "////"),
    "": ("#FFFFFF", "#5A5A5A", ""),
}


def plot_verdicts(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Draw one strip of tiles for each run, one tile for each result, by paper.

    Parameters
    ----------
    table : DataFrame
        From :func:`lib.claims.judge.compare_claims`.
    labels : dict
        Id of a claim -> short words.

    Returns
    -------
    Figure
    """
    results = table.loc[table["kind"] == "result"]
    papers = [paper for paper in PAPERS if (results["paper"] == paper).any()]
    counts = [int((results["paper"] == paper).sum()) for paper in papers]
    height = 0.29 * sum(counts) + 0.55 * len(papers) + 0.6
    fig, axes = plt.subplots(
        len(papers),
        figsize=(6.2, height),
        height_ratios=counts,
        squeeze=False,
        layout="constrained",
    )
    # room for the button that the book lays over the upper right corner
    fig.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.35 / height))
    for ax, paper in zip(axes[:, 0], papers, strict=True):
        rows = results.loc[results["paper"] == paper]
        for y, row in enumerate(rows.itertuples()):
            for x, verdict in enumerate((row.paper_verdict, row.verdict)):
                _draw_tile(ax, x, y, verdict)
        ax.set_yticks(range(len(rows)), [labels.get(i, i) for i in rows["id"]], fontsize=9.5)
        ax.set_ylim(len(rows) - 0.45, -0.55)
        ax.set_xlim(-0.5, 1.5)
        ax.set_xticks([0, 1], ["paper-scale run", "this run"])
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.set_title(PAPERS[paper], pad=6)
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
    return fig


def _draw_tile(ax, x: int, y: int, verdict: str) -> None:
    fill, ink, hatch = LOOKS[verdict]
    edge = "#C4C4C4" if hatch else "#8C8C8C"
    ax.bar(x, 0.82, 0.97, y - 0.41, color=fill, edgecolor=edge, linewidth=0.5, hatch=hatch)
    box = {"facecolor": fill, "edgecolor": "none", "pad": 1.2} if hatch else None
    ax.text(
        *(x, y, verdict or NOT_RUN),
        ha="center",
        va="center",
        color=ink,
        fontsize=9,
        bbox=box,
    )
