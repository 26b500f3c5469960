"""Panels of the chapter on relevance: each draws what it is given and computes nothing.

Maps are drawn symmetric about zero, red for and blue against the class, each on a scale of its own:
colours saturate at the percentile :data:`SATURATION` of |R|, for a few pixels stand out far above
the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from lib import figures
from lib.relevance.similarity import RELATIONS
from lib.relevance.truth import NETWORKS

#: Percentile of |R| at which colours saturate.
SATURATION = 99.5
#: Diverging, told apart with any common colour vision: blue, white, red.
COLOURS = "RdBu_r"
#: Marker of a task beside its line style.
MARKERS = {"identity": "o", "gender": "s"}


def scale_of(relevance: np.ndarray) -> float:
    """Where a map's colours saturate; 1 for a map that is zero everywhere."""
    size = np.abs(relevance)
    return float(np.percentile(size, SATURATION) or size.max() or 1.0)


def draw_map(ax: Axes, relevance: np.ndarray) -> None:
    """Draw one raw map (y, x)."""
    scale = scale_of(relevance)
    ax.imshow(relevance, cmap=COLOURS, vmin=-scale, vmax=scale, interpolation="nearest")
    _frame(ax)


def draw_face(ax: Axes, image: np.ndarray) -> None:
    """Draw one face (y, x) or (y, x, 3), uint8."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
    _frame(ax)


def _frame(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color="#C8C8C8", linewidth=0.6)


def _grid(rows: int, columns: int, tile: float, labels: float = 0.75):
    """Axes for square tiles of ``tile`` inches, with room for row labels."""
    size = (columns * tile + labels, rows * (tile + 0.05) + 0.3)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    return fig, axes


def plot_conditions(
    images: np.ndarray, maps: np.ndarray, models: pd.DataFrame, names: Sequence[str]
) -> plt.Figure:
    """Same face, other networks: conditions are rows, initialisations columns (Figure 4).

    Parameters
    ----------
    images : ndarray of uint8, (face, y, x)
    maps : ndarray, (model, face, y, x)
    models : DataFrame
        Columns ``pretraining``, ``task``, ``instance``, in the order of the maps.
    names : sequence of str
        Of the faces.
    """
    conditions = list(models.groupby(["pretraining", "task"], sort=False))
    columns = 1 + max(len(some) for _, some in conditions)
    rows = len(conditions) * len(images)
    fig, axes = _grid(rows, columns, tile=min(1.45, 8.2 / columns))
    for ax in axes.flat:
        ax.axis("off")
    for face, image in enumerate(images):
        for k, ((pretraining, task), some) in enumerate(conditions):
            row = axes[face * len(conditions) + k]
            if k == 0:
                row[0].axis("on")
                draw_face(row[0], image)
                row[0].set_title(names[face], fontsize=8.5, loc="center")
            for ax, j in zip(row[1:], some.index, strict=False):
                ax.axis("on")
                draw_map(ax, maps[j, face])
                if face == k == 0:
                    number = models.loc[j, "instance"]
                    ax.set_title(f"initialisation {number}", fontsize=8, fontweight="normal")
            row[1].set_ylabel(f"{pretraining}\n{task}", fontsize=8)
    return fig


def plot_matrix(ax: Axes, table: pd.DataFrame, models: pd.DataFrame) -> None:
    """Draw the matrix of ``table.r`` (:func:`lib.relevance.similarity.similarity_table`)."""
    names = models["model"]
    matrix = table.set_index(["first", "second"])["r"]
    matrix = np.array([[matrix[a, b] for b in names] for a in names])
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    low = min(0.0, float(np.nanmin(off))) if off.size else 0.0
    # Not grey: a missing r is.
    drawn = ax.imshow(matrix, cmap="viridis", vmin=low, vmax=1)
    ax.set_facecolor("#BBBBBB")
    conditions = (models["pretraining"] + "\n" + models["task"]).to_numpy()
    starts = np.flatnonzero(np.r_[True, conditions[1:] != conditions[:-1]])
    ends = np.r_[starts[1:], len(conditions)]
    for edge in starts[1:] - 0.5:
        ax.axhline(edge, color="white", lw=1.5)
        ax.axvline(edge, color="white", lw=1.5)
    middle, words = (starts + ends - 1) / 2, conditions[starts]
    ax.set_xticks(middle, words, fontsize=8, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(middle, words, fontsize=8)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.figure.colorbar(drawn, ax=ax, shrink=0.8, label="Pearson's r, mean over faces")


def plot_relations(ax: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    """Draw the mean r of each relation with its interval, one colour and marker per composite.

    Parameters
    ----------
    tables : mapping
        Composite -> table of :func:`lib.relevance.similarity.summarise_similarity`.
    """
    hues = ["blue", "vermilion", "green", "purple", "orange", "sky", "black"]
    place = {relation: k for k, relation in enumerate(RELATIONS)}
    for k, (name, table) in enumerate(tables.items()):
        some = table[table["first"] == "all"]
        y = some["relation"].map(place) + (k - (len(tables) - 1) / 2) * 0.16
        ax.errorbar(
            some["r"],
            y,
            xerr=figures.reach(some["r"], some["low"], some["high"]),
            fmt="osD^v<>"[k % 7],
            color=figures.HUES[hues[k % 7]],
            ms=5,
            lw=1.6,
            label=name,
        )
    seen = [r for r in RELATIONS if any((t["relation"] == r).any() for t in tables.values())]
    ax.set_yticks([place[r] for r in seen], seen)
    ax.set_ylim(len(RELATIONS) - 0.5, -0.5)
    ax.axvline(0, color="#888888", lw=0.8)
    ax.set(xlabel="Pearson's r between maps of the same face", xlim=(None, 1.02))
    ax.grid(axis="y", visible=False)
    if len(tables) > 1:
        ax.legend(title="composite", loc="best")


def plot_parts(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """Draw shares of relevance by part, one axes for each of ``table.share``.

    Hue is the pretraining, the marker the task; the grey bar is the part's share of the pixels.

    Parameters
    ----------
    axes : sequence of three Axes
    table : DataFrame
        Of :func:`lib.relevance.parts.summarise_parts`.
    """
    parts = list(dict.fromkeys(table["part"]))
    place = {part: k for k, part in enumerate(parts)}
    area = table.drop_duplicates("part").set_index("part")["area"]
    hues = figures.colours_of(table["pretraining"])
    conditions = list(dict.fromkeys(zip(table["pretraining"], table["task"], strict=True)))
    titles = {"absolute": "all, |R|", "positive": "positive", "negative": "negative"}
    for ax, (share, some) in zip(axes, table.groupby("share", sort=False), strict=True):
        ax.barh(
            [place[p] for p in parts], area[parts], 0.8, color="#DDDDDD", label="share of pixels"
        )
        for k, (pretraining, task) in enumerate(conditions):
            mine = some[(some["pretraining"] == pretraining) & (some["task"] == task)]
            y = mine["part"].map(place) + (k - (len(conditions) - 1) / 2) * 0.7 / len(conditions)
            bars = ax.errorbar(
                mine["mean"],
                y,
                xerr=figures.reach(mine["mean"], mine["low"], mine["high"]),
                fmt=MARKERS.get(task, "D"),
                ms=4,
                lw=1.1,
                color=hues[pretraining],
                mfc=hues[pretraining] if task == "identity" else "white",
                label=f"{pretraining}, {task}",
            )
            for line in bars[2]:
                line.set_linestyle(figures.TASK.get(task, "-"))
        ax.set_title(titles[share])
        ax.set(xlabel="share", ylim=(len(parts) - 0.5, -0.5))
        ax.set_yticks(range(len(parts)), parts)
        ax.set_xlim(0, None)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8.5)


def plot_views(
    images: np.ndarray, maps: np.ndarray, views: Sequence[float], models: pd.DataFrame
) -> plt.Figure:
    """One person from several viewpoints: the pictures, and below them one row for each model.

    Parameters
    ----------
    images : ndarray of uint8, (view, y, x)
    maps : ndarray, (model, view, y, x)
    views : sequence of float
        Degrees.
    models : DataFrame
        Columns ``pretraining``, ``task``, in the order of the maps.
    """
    fig, axes = _grid(1 + len(models), len(views), tile=min(1.5, 8.0 / len(views)))
    for column, view in enumerate(views):
        draw_face(axes[0, column], images[column])
        axes[0, column].set_title(f"{view:+.0f}°", fontsize=9, loc="center")
        for row, model in enumerate(models.itertuples(), 1):
            draw_map(axes[row, column], maps[row - 1, column])
            if column == 0:
                axes[row, 0].set_ylabel(f"{model.pretraining}\n{model.task}", fontsize=8)
    return fig


def plot_engines(images: np.ndarray, maps: Mapping[str, Mapping[str, np.ndarray]]) -> plt.Figure:
    """Face, map by iNNvestigate, map by the shared engine, and a million times their difference.

    Models take turns: the first face is shown with the first model, the second with the second.

    Parameters
    ----------
    images : ndarray of uint8, (face, y, x)
    maps : mapping
        Model -> ``innvestigate``, ``shared`` -> (face, y, x); see
        :func:`lib.relevance.study.compare_engines`.
    """
    titles = ["face", "iNNvestigate", "shared trunk", "difference x 10⁶"]
    rows = max(len(images), len(maps))
    fig, axes = _grid(rows, 4, tile=1.9, labels=0.1)
    models = list(maps)
    for row in range(rows):
        model, face = models[row % len(models)], row % len(images)
        theirs, ours = maps[model]["innvestigate"][face], maps[model]["shared"][face]
        draw_face(axes[row, 0], images[face])
        axes[row, 0].set_xlabel(model, fontsize=8)
        scale = scale_of(theirs)
        shown = (theirs, ours, (ours - theirs) * 1e6)
        for ax, values in zip(axes[row, 1:], shown, strict=True):
            ax.imshow(values, cmap=COLOURS, vmin=-scale, vmax=scale, interpolation="nearest")
            _frame(ax)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9, loc="center")
    return fig


def plot_cue_maps(
    image: np.ndarray, mask: np.ndarray, shown: Mapping[str, Mapping[str, np.ndarray]]
) -> plt.Figure:
    """One new face in glasses, explained by every method for both networks.

    Parameters
    ----------
    image : ndarray of uint8, (y, x)
    mask : ndarray of bool, (y, x)
        Outlined.
    shown : mapping
        Method -> network (``cue``, ``control``) -> (y, x).
    """
    methods = list(shown)
    columns = min(6, len(methods) + 1)
    blocks = -(-(len(methods) + 1) // columns)
    fig, axes = _grid(2 * blocks, columns, tile=8.2 / max(columns, 5))
    for ax in axes.flat:
        ax.axis("off")
    axes[0, 0].axis("on")
    draw_face(axes[0, 0], image)
    axes[0, 0].set_title("face", fontsize=8.5, loc="center")
    axes[1, 0].axis("on")
    axes[1, 0].imshow(mask, cmap=ListedColormap(["white", figures.HUES["black"]]))
    _frame(axes[1, 0])
    axes[1, 0].set_title("cue", fontsize=8.5, loc="center")
    for k, method in enumerate(methods, 1):
        block, column = divmod(k, columns)
        for row, network in enumerate(NETWORKS):
            ax = axes[2 * block + row, column]
            ax.axis("on")
            draw_map(ax, shown[method][network])
            if row == 0:
                words = method.replace("_", " ")
                ax.set_title(words, fontsize=8.5 if len(words) < 15 else 7, loc="center")
            if column == (1 if block == 0 else 0):
                ax.set_ylabel(network, fontsize=9)
    return fig


def plot_methods(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the share of positive relevance on the cue, by method, best on top.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        Of :func:`lib.relevance.truth.summarise_methods`.
    """
    y = np.arange(len(table))
    style = {
        "cue": ("vermilion", "o", "learned with the glasses"),
        "control": ("blue", "s", "control"),
        "random": ("grey", "|", "random map"),
    }
    ax.hlines(y, table["control"], table["cue"], color="#BBBBBB", lw=2)
    for network, (hue, marker, label) in style.items():
        size = 11 if marker == "|" else 6
        ax.plot(table[network], y, marker, color=figures.HUES[hue], ms=size, mew=1.8, label=label)
    ax.set_yticks(y, table["method"].str.replace("_", " "))
    ax.set(
        xlabel="share of the positive relevance on the glasses",
        ylim=(len(table) - 0.5, -0.5),
        xlim=(0, None),
    )
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2)
