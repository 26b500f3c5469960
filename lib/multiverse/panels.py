"""The specification curve: draws what it is given and computes nothing."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lib.multiverse.outcomes import HEADLINE, VERDICTS

#: Verdict -> grey: hue stands for pretrainings everywhere in the report.
SHADES = dict(zip(VERDICTS, ("#1A1A1A", "#8C8C8C", "#E9E9E9", "#FFFFFF"), strict=True))
#: Claim -> words of an axis.
WORDS = {
    "identity_pretraining": "pretraining matters, identity",
    "identity_source": "initialisation does not, identity",
    "gender_pretraining": "pretraining matters, gender",
    "four_sources": "source matters, 4 of 4",
    "other_task": "other task as itself, 4 of 4",
    "other_pretraining": "other pretraining higher, 3 of 4",
    "exception": "but in ImageNet-gender",
    "both_other": "both other as other pretraining",
}


def plot_specifications(table: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Draw the specification curve: headline contrast, verdicts, and the choices behind them.

    Parameters
    ----------
    table : DataFrame
        From :func:`lib.multiverse.outcomes.compute_specifications`, one pair of pretrainings.
    columns : sequence of str
        Choices to show; those with one value in all specifications are left out.

    Returns
    -------
    Figure
        Specifications from the lowest estimate to the highest; those that cannot be computed last.
    """
    headline = table.loc[table["claim"] == HEADLINE].sort_values(
        ["estimate", "specification"], na_position="last"
    )
    order = headline["specification"].to_list()
    x = np.arange(len(order))
    # an open choice of pretrainings may leave this pair out of the base run
    base = order.index(0) if 0 in order else None
    varied = [c for c in columns if len(set(table[c])) > 1]
    rows = [(c, value) for c in varied for value in dict.fromkeys(table[c])]
    # claims of no difference last, below a line of their own
    null = dict(zip(table["claim"], table["null_claim"].astype(bool), strict=True))
    claims = sorted(null, key=null.get)
    heights = [2.2, 0.24 * len(claims), 0.24 * max(len(rows), 1)]
    fig, axes = plt.subplots(
        3, sharex=True, figsize=(9.0, sum(heights) + 1.4), height_ratios=heights
    )
    _plot_curve(axes[0], x, headline)
    _plot_verdicts(axes[1], table, order, claims, sum(null.values()))
    _plot_choices(axes[2], headline, rows)
    for ax in axes if base is not None else ():
        ax.axvspan(base - 0.5, base + 0.5, color="#F3E3B0", zorder=0)
    axes[2].set_xlabel("specification, from the lowest estimate to the highest (tinted: this run)")
    axes[2].set_xlim(-0.5, len(order) - 0.5)
    # a number under every specification would say nothing
    axes[2].set_xticks([])
    return fig


def _plot_curve(ax, x, headline) -> None:
    estimate = headline["estimate"].to_numpy()
    low, high = headline["low"].to_numpy(), headline["high"].to_numpy()
    ax.vlines(x, low, high, color="#8C8C8C", lw=1.2)
    shades = headline["verdict_design"].map(SHADES)
    ax.scatter(x, estimate, c=shades, edgecolors="#1A1A1A", lw=0.7, s=26, zorder=3)
    ax.axhline(0, color="#555555", lw=1)
    ax.set_ylabel("difference of areas,\nother pretraining less itself")
    ax.grid(axis="x", visible=False)


def _plot_verdicts(ax, table, order, claims, null) -> None:
    wide = table.pivot_table(
        index="claim", columns="specification", values="verdict_design", aggfunc="first"
    ).loc[claims, order]
    for y, claim in enumerate(claims):
        colours = wide.loc[claim].map(SHADES)
        ax.bar(range(len(order)), 0.78, 0.86, y - 0.39, color=colours, edgecolor="#8C8C8C", lw=0.4)
    ax.axhline(len(claims) - null - 0.5, color="#555555", lw=1)
    ax.set_yticks(range(len(claims)), [WORDS.get(c, c) for c in claims], fontsize=8.5)
    ax.set_ylim(len(claims) - 0.4, -0.6)
    ax.grid(visible=False)
    handles = [Patch(fc=SHADES[v], ec="#8C8C8C", label=v) for v in VERDICTS]
    ax.legend(handles=handles, ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0))


def _plot_choices(ax, headline, rows) -> None:
    for y, (choice, value) in enumerate(rows):
        taken = np.flatnonzero((headline[choice] == value).to_numpy())
        ax.plot(taken, np.full(len(taken), y), "o", color="#1A1A1A", ms=3.6)
        if y and rows[y - 1][0] != choice:
            ax.axhline(y - 0.5, color="#BBBBBB", lw=0.7)
    words = [f"{choice.rpartition('.')[2]}: {value}" for choice, value in rows]
    ax.set_yticks(range(len(rows)), words, fontsize=8.5)
    ax.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    ax.grid(visible=False)
