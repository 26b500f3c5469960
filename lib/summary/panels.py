"""The summary figure: draws the table of :func:`lib.summary.compute_summary`, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from lib import figures
from lib.summary.numbers import RELATIONS

#: Inches. A phone shows it 350 pixels wide, where the smallest type is then 8 pixels high.
WIDTH = 5.3
#: Where a number belongs to both pretrainings.
BOTH = "#333333"
LABELS = {
    "S_entropy": "entropy",
    "spatial_entropy": "spatial entropy",
    "S_noise": "noise",
    "S_unrelated": "unrelated noise",
    "S_geo": "geometry",
    "S_stability": "stability",
    "S_resilience background": "resilience, around",
    "S_resilience object": "resilience, on it",
}


def plot_rows(
    ax: Axes,
    table: pd.DataFrame,
    rows: Sequence[str],
    colours: dict[str, str],
    reference: float,
) -> None:
    """Points with intervals, one line for each row, marks of a row one below the other.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        ``row``, ``pretraining``, ``task``, ``value``, ``low``, ``high``.
    rows : sequence of str
        From above.
    colours : dict
        Pretraining -> colour; others are drawn in :data:`BOTH`.
    reference : float
        Where "no difference" lies, marked by a line.
    """
    ax.axvline(reference, color="#888888", linewidth=0.9, zorder=1)
    for y in range(1, len(rows)):
        ax.axhline(y - 0.5, color="#EDEDED", linewidth=0.7, zorder=0)
    for y, row in enumerate(rows):
        some = table[table["row"] == row]
        offsets = (np.arange(len(some)) - (len(some) - 1) / 2) * min(0.2, 0.8 / max(len(some), 1))
        for shift, mark in zip(offsets, some.itertuples(), strict=True):
            colour = colours.get(mark.pretraining, BOTH)
            line = figures.TASK.get(mark.task, "-")
            if np.isfinite([mark.low, mark.high]).all():
                ends = [mark.low, mark.high]
                ax.plot(ends, [y + shift] * 2, color=colour, linestyle=line, linewidth=1.3)
            fill = "white" if line != "-" else colour
            ax.plot(
                *([mark.value], [y + shift], "o"),
                markersize=3.8,
                color=colour,
                markerfacecolor=fill,
                markeredgewidth=1.1,
                zorder=3,
            )
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)


def plot_units(ax: Axes, table: pd.DataFrame, colours: dict[str, str]) -> None:
    """Share of units by depth: above chance (filled) and by the published limit (hollow)."""
    for panel, fill, line in (("units by limit", False, ":"), ("units", True, "-")):
        for name, some in table[table["panel"] == panel].groupby("pretraining", sort=False):
            depth = np.arange(1, len(some) + 1)
            ax.plot(
                *(depth, some["value"]),
                marker="o",
                markersize=3.8,
                linestyle=line,
                linewidth=1.3,
                color=colours[name],
                markerfacecolor=colours[name] if fill else "white",
            )
    deepest = int(table.groupby(["panel", "pretraining"]).size().max()) if len(table) else 1
    ax.set_xticks(range(1, deepest + 1))
    ax.set_xlim(0.7, deepest + 0.3)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlabel("dissected layer, from the input")


def _empty(ax: Axes, words: str) -> None:
    ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes, color="#555555")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)


def plot_summary(table: pd.DataFrame, pair: Sequence[str]) -> Figure:
    """Draw the figure of the first page.

    Parameters
    ----------
    table : DataFrame
        Of :func:`lib.summary.compute_summary`.
    pair : sequence of str
        The pretrainings that are compared, or one.
    """
    colours = figures.colours_of(pair)
    panel = {name: some for name, some in table.groupby("panel", sort=False)}
    none = table.iloc[:0]
    parts = list(dict.fromkeys(panel.get("parts", none)["row"]))
    measures = list(dict.fromkeys(panel.get("salience", none)["row"]))
    tasks = [t for t in dict.fromkeys(table["task"]) if t]
    heights = [0.185 * max(len(parts), 3) + 0.55, 1.8, 0.19 * max(len(measures), 6) + 0.6]
    fig = plt.figure(figsize=(WIDTH, sum(heights) + 0.45), layout="constrained")
    fig.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.36 / (sum(heights) + 0.45)), hspace=0.04)
    above, middle, below = fig.subfigures(3, height_ratios=heights)

    ax = above.subplots()
    if parts:
        plot_rows(ax, panel["parts"], parts, colours, 1.0)
        ax.set_yticks(range(len(parts)), parts)
        ax.set_xlim(left=0)
        ax.set_xlabel("relevance over an even spread")
    else:
        _empty(ax, "these faces carry no part labels")
    ax.set_title("Where relevance lies")

    left, right = middle.subplots(1, 2, sharey=True)
    if "likeness" in panel:
        plot_rows(left, panel["likeness"], RELATIONS, colours, 0.0)
        left.set_yticks(range(3), [name.replace(" ", "\n", 1) for name in RELATIONS])
        left.set_xlim(right=1.03)
        left.set_xlabel("r of two maps")
    else:
        _empty(left, "one network")
    left.set_title("How alike maps are")
    if "masking" in panel:
        plot_rows(right, panel["masking"], RELATIONS, colours, 0.0)
        right.set_xlabel("area, other's less own")
    else:
        _empty(right, "one pretraining")
    right.set_title("Removing by other maps")

    left, right = below.subplots(1, 2, width_ratios=(1, 1))
    units = table[table["panel"].str.startswith("units")]
    if len(units):
        plot_units(left, units, colours)
    else:
        _empty(left, "not dissected")
    left.set_title("Units with a concept")
    if measures:
        plot_rows(right, panel["salience"], measures, colours, 0.0)
        right.set_yticks(range(len(measures)), [LABELS.get(m, m) for m in measures])
        right.set_xlabel(f"{pair[1]} less {pair[0]}")
    else:
        _empty(right, "one pretraining")
    right.set_title("Salience")

    hues = [Line2D([], [], color=colours[n], marker="o", markersize=4, label=n) for n in pair]
    styles = [
        Line2D(
            *([], []),
            color=BOTH,
            marker="o",
            markersize=4,
            linestyle=figures.TASK.get(task, "-"),
            markerfacecolor="white" if figures.TASK.get(task, "-") != "-" else BOTH,
            label=task,
        )
        for task in tasks
    ]
    fig.legend(
        handles=[*hues, *styles],
        loc="upper left",
        ncols=len(hues) + len(styles),
        handlelength=2.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
    return fig
