"""Figures of ``02_finetuning``: first-layer kernels, curves of training, accuracy by viewpoint.

Hue is the pretraining and line style the task, as everywhere. The functions draw tables and compute
nothing but the layout.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from lib import figures

#: Pixels of the picture per kernel weight.
ZOOM = 10


def plot_kernels(kernels: Mapping[str, np.ndarray], columns: int = 8) -> Figure:
    """First-layer kernels as colour pictures, one panel per trunk (Crawford et al. 2020, Figure 1).

    Parameters
    ----------
    kernels : mapping
        Trunk -> (count, height, width, 3), RGB, of :func:`lib.vgg.first_layer_kernels`. Each is
        divided by its largest absolute weight; mid-grey is 0.
    columns : int
        Kernels in a row.

    Returns
    -------
    Figure
    """
    fig, axes = plt.subplots(1, len(kernels), figsize=(9, 9 / len(kernels) + 0.3), squeeze=False)
    colours = figures.colours_of(kernels)
    for ax, (name, weights) in zip(axes.flat, kernels.items(), strict=True):
        largest = np.abs(weights).max((1, 2, 3), keepdims=True)
        shown = (127.5 * (1 + weights / np.where(largest > 0, largest, 1))).round().astype(np.uint8)
        shown = shown.repeat(ZOOM, 1).repeat(ZOOM, 2)
        ax.imshow(figures.montage(shown, columns, gap=ZOOM // 2), interpolation="nearest")
        ax.set_axis_off()
        ax.set_title(name, color=colours[name])
    fig.get_layout_engine().set(wspace=0.05)
    return fig


def _networks(table: pd.DataFrame):
    """(pretraining, task, rows) in the order of the table."""
    for (pretraining, task), rows in table.groupby(["pretraining", "task"], sort=False):
        yield pretraining, task, rows


def _legend(fig: Figure, table: pd.DataFrame) -> None:
    colours = figures.colours_of(table["pretraining"].unique())
    handles = [
        plt.Line2D([], [], color=colours[pretraining], ls=figures.TASK[task])
        for pretraining, task, _ in _networks(table)
    ]
    labels = [f"{pretraining}, {task}" for pretraining, task, _ in _networks(table)]
    fig.legend(handles, labels, loc="outside lower center", ncols=min(len(colours), 4))


def plot_curves(history: pd.DataFrame) -> Figure:
    """Loss and accuracy of every network by epoch, on training and validation images.

    Parameters
    ----------
    history : DataFrame
        Columns ``pretraining``, ``task``, ``initialisation``, ``epoch``, ``part``, ``loss``,
        ``accuracy``.

    Returns
    -------
    Figure
    """
    colours = figures.colours_of(history["pretraining"].unique())
    fig, axes = plt.subplots(2, 2, figsize=(9, 6.2), sharex=True, sharey="row")
    for column, part in zip(axes.T, ("training", "validation"), strict=True):
        some = history[history["part"] == part]
        for ax, value in zip(column, ("loss", "accuracy"), strict=True):
            for pretraining, task, rows in _networks(some):
                lines = rows.pivot_table(index="epoch", columns="initialisation", values=value)
                ax.plot(
                    *(lines.index, lines),
                    color=colours[pretraining],
                    ls=figures.TASK[task],
                    lw=1.1,
                    marker="." if len(lines) == 1 else None,
                )
        column[0].set(title=f"{part} images", yscale="log")
        column[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        column[0].yaxis.set_major_formatter("{x:g}")
        column[0].yaxis.set_minor_locator(NullLocator())
        column[1].set(xlabel="epoch")
    axes[0, 0].set_ylabel("loss (cross-entropy, nats)")
    axes[1, 0].set_ylabel("accuracy (share correct)")
    _legend(fig, history)
    return fig


def plot_views(by_view: pd.DataFrame) -> Figure:
    """Validation accuracy by viewpoint, mean over the initialisations.

    Parameters
    ----------
    by_view : DataFrame
        Of :func:`lib.finetuning.summarise_accuracy` by ``view`` (degrees); its validation images
        are drawn.

    Returns
    -------
    Figure
    """
    some = by_view[by_view["part"] == "validation"]
    colours = figures.colours_of(some["pretraining"].unique())
    fig, ax = figures.new_figure(height=3.6)
    for pretraining, task, rows in _networks(some):
        mean = rows.groupby("view")["accuracy"].mean()
        style = {"color": colours[pretraining], "ls": figures.TASK[task]}
        ax.plot(mean.index, mean, marker="o", ms=4, **style)
    ax.set(xlabel="viewpoint (degrees of yaw)", ylabel="accuracy (share correct)")
    ax.set_xticks(sorted(some["view"].unique()))
    ax.set_ylim(top=1.02)
    _legend(fig, some)
    return fig
