"""Figures of ``04_masking``: each draws what it is given and computes nothing but the layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib import figures
from lib.generalization.bins import family_of
from lib.masking.masks import WORDS

#: Mask -> (hue, marker) where masks are compared; relevance has the hue of its pretraining.
MASK_STYLE = {
    "relevance": (None, "o"),
    "mirrored": ("purple", "^"),
    "shifted": ("sky", "v"),
    "scrambled": ("orange", "s"),
    "other_face": ("green", "D"),
    "random": ("black", "x"),
}
#: Sign -> (colour, marker), the colours of the maps in the chapter on relevance.
SIGN_STYLE = {"positive": ("#B2182B", "^"), "negative": ("#2166AC", "v")}
#: Bin -> words.
BIN_WORDS = {
    "same_instance": "itself",
    "other_initialisation": "other initialisation",
    "other_task": "other task",
    "other_pretraining": "other pretraining",
    "other_both": "both other",
    "other_trunk": "other training of the trunk",
    "other_trunk_and_task": "other training and task",
}
#: The same where both belong to the destination's own pretraining and task.
OWN_WORDS = {
    "same_instance": "its own relevance",
    "other_initialisation": "another initialisation's",
}
_TINT = np.array([230, 159, 0])


# ------------------------------------------------------------------------------------------ images


def plot_masks(image: np.ndarray, masks: Mapping[str, np.ndarray], levels: Sequence[float]):
    """One face under several masks (rows) at several levels (columns); removed pixels in orange.

    Parameters
    ----------
    image : ndarray of uint8, (y, x) or (y, x, 3)
    masks : mapping
        Words for a row -> (level, y, x), True where a pixel is removed.
    levels : sequence of float
        Percent of pixels.

    Returns
    -------
    Figure
    """
    grey = image[..., None].repeat(3, -1) if image.ndim == 2 else image
    fig, axes = _tiles(len(masks), len(levels))
    for row, (name, stack) in zip(axes, masks.items(), strict=True):
        for ax, mask in zip(row, stack, strict=True):
            ax.imshow(np.where(mask[..., None], _TINT, grey).astype(np.uint8))
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for ax, level in zip(axes[0], levels, strict=True):
        ax.set_title(f"{level:g}%", fontsize=9.5, fontweight="normal", loc="center", pad=3)
    return fig


def plot_fills(pictures: Mapping[str, np.ndarray]) -> Figure:
    """One masked face, with several things in place of what was removed.

    Parameters
    ----------
    pictures : mapping
        Words -> uint8 (y, x, 3).
    """
    fig, axes = _tiles(1, len(pictures), labels=0)
    for ax, (name, picture) in zip(axes[0], pictures.items(), strict=True):
        ax.imshow(picture)
        ax.set_title(name.replace("_", " "), fontsize=9.5, fontweight="normal", loc="center", pad=3)
    return fig


def _tiles(rows: int, columns: int, labels: float = 1.1):
    side = (9 - labels) / columns
    fig, axes = plt.subplots(rows, columns, figsize=(9, rows * side + 0.2), squeeze=False)
    fig.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
    return fig, axes


# ------------------------------------------------------------------------------------------ curves


def draw_level_axis(ax: Axes, levels: Sequence[float]) -> None:
    """Logarithmic axis of percentages with 0, which has no logarithm, set apart on the left."""
    levels = sorted(levels)
    ticks = [_place(levels, level) for level in levels]
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{level:g}" for level in levels])
    ax.minorticks_off()
    ax.set_xlim(ticks[0] / 1.4, ticks[-1] * 1.4)
    ax.tick_params(axis="x", labelsize=8)


def _place(levels: Sequence[float], level: float) -> float:
    smallest = min(value for value in levels if value > 0)
    return level if level > 0 else smallest / 10**0.5


def draw_curve(ax: Axes, table: pd.DataFrame, value: str = "accuracy", band=True, **style) -> None:
    """One line over ``level``, with the band from ``low`` to ``high`` where the table has it.

    Level 0 is a point of its own, not joined to the others.
    """
    table = table.sort_values("level")
    levels = table["level"].to_numpy()
    x = np.array([_place(levels, level) for level in levels])
    y = table[value].to_numpy()
    zero = levels == 0
    style = {"lw": 1.6, "ms": 5, "marker": "o"} | style
    ax.plot(x[~zero], y[~zero], **style)
    ax.plot(x[zero], y[zero], **(style | {"ls": "", "label": None}))
    if not band or "low" not in table or table["low"].isna().all():
        return
    low, high = table["low"].clip(0, 1).to_numpy(), table["high"].clip(0, 1).to_numpy()
    if zero.any():
        ax.vlines(x[zero], low[zero], high[zero], color=style["color"], alpha=0.4, lw=3)
    ax.fill_between(x[~zero], low[~zero], high[~zero], color=style["color"], alpha=0.16, lw=0)


def _conditions(table: pd.DataFrame, side: str) -> list[tuple[str, str]]:
    columns = [f"{side}_pretraining", f"{side}_task"]
    return list(table[columns].drop_duplicates().itertuples(index=False, name=None))


def _in_order(tasks: Iterable[str]) -> list[str]:
    """Each task once, identity above gender as in the paper."""
    found = list(dict.fromkeys(tasks))
    return [t for t in dict.fromkeys([*figures.TASK, *found]) if t in found]


def plot_conditions(
    table: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, str, str], None],
    *,
    side: str = "destination",
    chance: Mapping[str, float] | None = None,
    ylabel: str = "accuracy",
    lines: Mapping[str, Mapping] | None = None,
) -> Figure:
    """One panel for each pretraining (columns) and task (rows) of a table of curves.

    Parameters
    ----------
    table : DataFrame
        ``<side>_pretraining``, ``<side>_task``, ``level`` and what ``draw`` needs.
    draw : callable (ax, rows, pretraining, task)
        Draws one panel; its labels make the legend.
    side : {"destination", "source"}
    chance : mapping of task -> float, optional
        Accuracy of guessing, drawn as a line.
    ylabel : str
    lines : mapping of words -> style, optional
        More lines for the legend.
    """
    conditions = _conditions(table, side)
    pretrainings = list(dict.fromkeys(p for p, _ in conditions))
    tasks = _in_order(task for _, task in conditions)
    fig, axes = plt.subplots(
        *(len(tasks), len(pretrainings)),
        figsize=(9, 2.75 * len(tasks) + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, task in zip(axes, tasks, strict=True):
        for ax, pretraining in zip(row, pretrainings, strict=True):
            mine = (table[f"{side}_pretraining"] == pretraining) & (table[f"{side}_task"] == task)
            if chance is not None and task in chance:
                ax.axhline(chance[task], color="#555555", lw=1, ls=(0, (1, 2)), label="chance")
            draw(ax, table[mine], pretraining, task)
            draw_level_axis(ax, table["level"].unique())
            ax.set(ylim=(-0.03, 1.03), title=f"{pretraining}, {task}")
        row[0].set_ylabel(ylabel)
    for ax in axes[-1]:
        ax.set_xlabel("pixels removed (%, log scale)")
    found = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    for label, style in (lines or {}).items():
        found[label] = plt.Line2D([], [], **({"lw": 1.8} | style))
    fig.legend(found.values(), found, loc="outside lower center", ncols=min(4, len(found)))
    return fig


def plot_initialisations(table: pd.DataFrame, chance: Mapping[str, float]) -> Figure:
    """Same and other initialisation beside random pixels (Crawford et al. 2020, Figure 5).

    Parameters
    ----------
    table : DataFrame
        ``destination_pretraining``, ``destination_task``, ``bin`` (``random`` for random pixels),
        ``level``, ``accuracy``, ``low``, ``high``.
    chance : mapping of task -> float
    """
    colours = figures.colours_of(table["destination_pretraining"])

    def draw(ax, rows, pretraining, task):
        line = figures.TASK.get(task, "-")
        for name, marker, face in (
            ("same_instance", "o", colours[pretraining]),
            ("other_initialisation", "s", "white"),
        ):
            part = rows[rows["bin"] == name]
            if len(part):
                style = {"marker": marker, "mfc": face, "color": colours[pretraining]}
                draw_curve(ax, part, **style, ls=line, label=OWN_WORDS[name])
        part = rows[rows["bin"] == "random"]
        if len(part):
            draw_curve(
                ax, part, color="#333333", marker="x", ls=(0, (1, 1.2)), label="random pixels"
            )

    fig = plot_conditions(table, draw, chance=chance)
    _black_markers(fig)
    return fig


def plot_sources(table: pd.DataFrame, chance: Mapping[str, float]) -> Figure:
    """Four sources for every type of destination (Crawford et al. 2020, Figure 6).

    Hue and line style are those of the *source*: its pretraining and its task. With more than two
    pretrainings each other one has lines of its own; another training of a trunk has its hue, in a
    thinner line.

    Parameters
    ----------
    table : DataFrame
        As of :func:`plot_initialisations`, with the four bins; ``other``, the pretraining of the
        sources where it is not the destination's own
        (:func:`lib.masking.compute_source_curves`).
    chance : mapping of task -> float
    """
    pretrainings = list(dict.fromkeys(table["destination_pretraining"]))
    tasks = _in_order(table["destination_task"])
    colours = figures.colours_of(pretrainings)
    markers = {"same_instance": "o", "other_task": "^", "other_pretraining": "s", "other_both": "D"}
    markers |= {"other_trunk": "v", "other_trunk_and_task": "P"}
    # hue is the family's: its second training is drawn thinner, its third thinner still
    families = [family_of(name) for name in pretrainings]
    widths = {n: 1.8 / (1 + families[:k].count(families[k])) for k, n in enumerate(pretrainings)}

    def draw(ax, rows, pretraining, task):
        second = next((t for t in tasks if t != task), task)
        for name, marker in markers.items():
            line = second if name in ("other_task", "other_both", "other_trunk_and_task") else task
            for other, part in rows[rows["bin"] == name].groupby("other", sort=False):
                source = other or pretraining
                style = {"color": colours[source], "lw": widths[source], "marker": marker}
                draw_curve(ax, part, **style, ls=figures.TASK.get(line, "-"), label=BIN_WORDS[name])

    lines = {
        f"source: {name}": {"color": colours[name], "lw": widths[name]} for name in pretrainings
    }
    lines |= {f"source: {t}": {"color": "#333333", "ls": figures.TASK.get(t, "-")} for t in tasks}
    fig = plot_conditions(table, draw, chance=chance, lines=lines)
    _black_markers(fig)
    return fig


def _black_markers(fig: Figure) -> None:
    """Leave markers alone in the legend: hues and line styles differ between panels."""
    for handle in fig.legends[0].legend_handles:
        if handle.get_marker() in ("None", None, "", "x"):
            continue
        filled = handle.get_markerfacecolor() != "white"
        handle.set(color="#333333", markerfacecolor="#333333" if filled else "white", linestyle="")


def plot_baselines(table: pd.DataFrame, chance: Mapping[str, float]) -> Figure:
    """Relevance beside masks that are as scattered, and random pixels.

    Parameters
    ----------
    table : DataFrame
        ``destination_pretraining``, ``destination_task``, ``mask``, ``level``, ``accuracy``,
        ``low``, ``high``.
    chance : mapping of task -> float
    """
    colours = figures.colours_of(table["destination_pretraining"])

    def draw(ax, rows, pretraining, task):
        for mask, (hue, marker) in MASK_STYLE.items():
            part = rows[rows["mask"] == mask]
            if not len(part):
                continue
            first = mask == "relevance"
            colour = colours[pretraining] if first else figures.HUES[hue]
            dotted = (0, (1, 1.2)) if mask == "random" else "-"
            draw_curve(
                *(ax, part),
                band=first,
                color=colour,
                marker=marker,
                ls=figures.TASK.get(task, "-") if first else dotted,
                lw=2.2 if first else 1.3,
                zorder=3 if first else 2,
                label=WORDS[mask].replace("\n", " "),
            )

    fig = plot_conditions(table, draw, chance=chance)
    for handle in fig.legends[0].legend_handles:
        if handle.get_label() == WORDS["relevance"]:
            handle.set(color="#333333", linestyle="-")
    return fig


def plot_shares(table: pd.DataFrame) -> Figure:
    """Positive and negative relevance left when pixels go by magnitude, whatever their sign.

    Parameters
    ----------
    table : DataFrame
        ``source_pretraining``, ``source_task``, ``level``, and for each sign ``<sign>`` (share
        left, 0 to 1), ``<sign>_low`` and ``<sign>_high``; ``removed_positive``, the share of
        positive pixels among those removed.
    """

    def draw(ax, rows, _, task):
        for sign, (colour, marker) in SIGN_STYLE.items():
            part = rows.rename(columns={f"{sign}_low": "low", f"{sign}_high": "high"})
            style = {"color": colour, "marker": marker, "ls": figures.TASK.get(task, "-")}
            draw_curve(ax, part, sign, **style, label=f"{sign} relevance left")
        part = rows[rows["removed_positive"].notna()]
        draw_curve(
            *(ax, part, "removed_positive"),
            band=False,
            color="#767676",
            marker=".",
            lw=1.1,
            ls=(0, (1, 1.2)),
            label="positive pixels among those removed",
        )

    fig = plot_conditions(table, draw, side="source", ylabel="share")
    for handle in fig.legends[0].legend_handles:
        if handle.get_label() != "positive pixels among those removed":
            handle.set_linestyle("-")
    return fig


def plot_signs(table: pd.DataFrame, chance: Mapping[str, float]) -> Figure:
    """Pixels of both signs, of positive and of negative relevance alone removed.

    Parameters
    ----------
    table : DataFrame
        As of :func:`plot_baselines`.
    chance : mapping of task -> float
    """

    def draw(ax, rows, _, task):
        styles = {"relevance": ("#333333", "o"), **SIGN_STYLE}
        for mask, (colour, marker) in styles.items():
            part = rows[rows["mask"] == mask]
            if len(part):
                both = mask == "relevance"
                style = {"color": colour, "marker": marker, "ls": figures.TASK.get(task, "-")}
                # wider, to be seen where the curve of positive pixels lies upon it
                style |= {"lw": 3.4, "ms": 8} if both else {}
                draw_curve(ax, part, **style, label="by magnitude" if both else WORDS[mask])

    fig = plot_conditions(table, draw, chance=chance)
    for handle in fig.legends[0].legend_handles:
        if handle.get_label() != "chance":
            handle.set_linestyle("-")
    return fig
