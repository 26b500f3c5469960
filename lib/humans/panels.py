"""Figures of ``06_humans``; every one that rests on simulated observers says so on itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lib import figures

#: Width of the chapter's figures, inches: their letters can be read on a phone.
WIDTH = 5.6
#: Share of the pixels of a map whose |relevance| the strongest colour stands for.
_SATURATION = 0.995


def mark_simulated(ax: Axes) -> None:
    """Write across the axes that nobody was asked."""
    ax.text(
        0.5,
        0.5,
        "SIMULATED OBSERVERS",
        transform=ax.transAxes,
        ha="center",
        va="center",
        rotation=18,
        fontsize=20,
        fontweight="bold",
        color="#000000",
        alpha=0.13,
        zorder=5,
    )


def overlay_relevance(image: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """A face with its relevance in colour: red speaks for the identity, blue against.

    Parameters
    ----------
    image : uint8 array (y, x) or (y, x, 3), 0 to 255
    relevance : float array (y, x)
        Any scale; colours are symmetric about zero and saturate at the 99.5th percentile of |R|.

    Returns
    -------
    uint8 array (y, x, 3)
    """
    grey = image if image.ndim == 2 else image.mean(axis=2)
    backdrop = 120 + 0.5 * grey[..., None].repeat(3, axis=2)
    limit = np.quantile(np.abs(relevance), _SATURATION)
    scaled = np.clip(relevance / limit, -1, 1) if limit > 0 else np.zeros(relevance.shape)
    colour = 255 * plt.get_cmap("RdBu_r")((scaled + 1) / 2)[..., :3]
    weight = np.sqrt(np.abs(scaled))[..., None]
    return np.round(weight * colour + (1 - weight) * backdrop).astype(np.uint8)


def plot_rank2(
    pictures: Mapping[str, np.ndarray],
    maps: Mapping[str, np.ndarray],
    target: str,
    choices: Mapping[str, str],
    title: str = "",
) -> Figure:
    """Target, its relevance in each network, and each network's rank-2 face (Figure 7 a, b).

    Parameters
    ----------
    pictures : mapping of str -> uint8 array
        Identity -> frontal picture.
    maps : mapping of str -> float array (y, x)
        Pretraining -> relevance of the target's own picture.
    target : str
    choices : mapping of str -> str
        Pretraining -> rank-2 identity, two of them.
    title : str

    Returns
    -------
    Figure
    """
    colours = figures.colours_of(choices)
    fig, axes = plt.subplots(len(choices), 3, figsize=(WIDTH, 1.98 * len(choices) + 0.3))
    for row, (pretraining, choice) in zip(axes, choices.items(), strict=True):
        heat = (
            overlay_relevance(pictures[target], maps[pretraining])
            if pretraining in maps
            else np.full((*pictures[target].shape[:2], 3), 235, np.uint8)
        )
        tiles = [(pictures[target], f"target {target}"), (heat, "relevance")]
        tiles.append((pictures[choice], f"chooses {choice}"))
        for ax, (picture, label) in zip(row, tiles, strict=True):
            ax.imshow(picture, vmin=0, vmax=255, interpolation="lanczos")
            figures._bare(ax)
            ax.set_xlabel(label, fontsize=9, labelpad=3)
        row[0].set_ylabel(pretraining, color=colours[pretraining], fontweight="bold")
    if title:
        fig.suptitle(title, x=0.02, ha="left", fontsize=10, fontweight="bold")
    return fig


def plot_agreement(ax: Axes, agreement: pd.DataFrame, models: pd.DataFrame) -> None:
    """Share of equal rank-2 choices of every pair of models, pretraining by pretraining.

    Parameters
    ----------
    ax : Axes
    agreement : DataFrame
        From `lib.humans.choices.compute_agreement` with the models' names.
    models : DataFrame
        Columns ``model``, ``pretraining``, ``initialisation``, in the order to be drawn.
    """
    names = models["model"].tolist()
    matrix = pd.DataFrame(np.nan, names, names)
    for row in agreement.itertuples():
        matrix.loc[row.first, row.second] = matrix.loc[row.second, row.first] = row.agreement
    values = 100 * matrix.to_numpy()
    shown = ax.imshow(values, vmin=0, vmax=100, cmap="cividis")
    ax.grid(False)
    letters = float(np.clip(60 / len(names), 6, 11))
    for i, j in itertools.permutations(range(len(names)), 2):
        dark = values[i, j] < 55
        text = f"{values[i, j]:.0f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=letters, color="w" if dark else "k")
    places = models.reset_index(drop=True).groupby("pretraining", sort=False)
    middles = [(name, rows.index.to_numpy().mean()) for name, rows in places]
    ends = np.cumsum([len(rows) for _, rows in places])[:-1]
    for end in ends:
        ax.axhline(end - 0.5, color="w", lw=2)
        ax.axvline(end - 0.5, color="w", lw=2)
    labels, ticks = zip(*middles, strict=True)
    ax.set_xticks(ticks, labels)
    ax.set_yticks(ticks, labels, rotation=90, va="center")
    ax.tick_params(length=0)
    for colour, text in zip(figures.colours_of(labels).values(), ax.get_xticklabels(), strict=True):
        text.set_color(colour)
    for colour, text in zip(figures.colours_of(labels).values(), ax.get_yticklabels(), strict=True):
        text.set_color(colour)
    bar = ax.figure.colorbar(shown, ax=ax, shrink=0.8)
    bar.set_label("equal rank-2 choices, %")
    bar.outline.set_visible(False)


def plot_preferences(
    ax: Axes, identities: pd.DataFrame, pair: Sequence[str], mean: float, simulated: bool
) -> None:
    """Preference of every identity with its interval, ranked (Figure 7 c).

    Parameters
    ----------
    ax : Axes
    identities : DataFrame
        From `lib.humans.statistics.summarise_identities`.
    pair : two str
        The pretraining whose preference is measured, then the other.
    mean : float
        Mean preference over observers, 0 to 1.
    simulated : bool
    """
    colours = figures.colours_of(pair)
    # With few identities the marks may be large, with a hundred they must not touch.
    size = float(np.clip(260 / len(identities), 2.5, 7))
    rank = np.arange(1, len(identities) + 1)
    share = identities["preference"].to_numpy()
    spans = 100 * np.abs(identities[["low", "high"]].to_numpy().T - share)
    kinds = [
        (
            identities["low"].to_numpy() > 0.5,
            colours[pair[0]],
            "o",
            f"{pair[0]}'s choice preferred",
        ),
        (
            identities["high"].to_numpy() < 0.5,
            colours[pair[1]],
            "s",
            f"{pair[1]}'s choice preferred",
        ),
    ]
    neither = ~(kinds[0][0] | kinds[1][0])
    kinds.append((neither, figures.HUES["grey"], "D", "interval includes 50%"))
    for chosen, colour, mark, label in kinds:
        ax.errorbar(
            rank[chosen],
            100 * share[chosen],
            spans[:, chosen],
            fmt=mark,
            ms=size,
            color=colour,
            elinewidth=max(0.8, size / 4),
            label=f"{label} ({chosen.sum()})",
        )
    ax.axhline(50, color="#222222", lw=1, ls=":")
    ax.axhline(100 * mean, color=colours[pair[0]], lw=1, ls="--")
    ax.text(
        len(rank) + 0.5,
        100 * mean + 1,
        f"mean {100 * mean:.1f}%",
        ha="right",
        va="bottom",
        fontsize=8,
    )
    ax.set_xlim(0, len(rank) + 1)
    ax.set_ylim(0, 100)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("identities, ranked")
    ax.set_ylabel(f"answers for {pair[0]}'s choice, %")
    ax.legend(loc="lower left", fontsize=8)
    ax.set_title(f"{'Simulated observers: ranked' if simulated else 'Ranked'} preferences")
    if simulated:
        mark_simulated(ax)


def plot_closeness(ax: Axes, closeness: pd.DataFrame) -> None:
    """How near the chosen faces are, measure by measure, one colour per pretraining.

    Parameters
    ----------
    ax : Axes
    closeness : DataFrame
        From `lib.humans.prediction.compute_closeness`, with a column ``pretraining``.
    """
    measures = list(dict.fromkeys(closeness["measure"]))
    names = list(dict.fromkeys(closeness["pretraining"]))
    colours = figures.colours_of(names)
    marks = itertools.cycle("osD^v")
    shift = np.linspace(-0.18, 0.18, len(names)) if len(names) > 1 else [0.0]
    for name, move, mark in zip(names, shift, marks, strict=False):
        rows = closeness[closeness["pretraining"] == name]
        y = np.array([measures.index(measure) for measure in rows["measure"]]) + move
        share = 100 * rows["closeness"].to_numpy()
        spans = figures.reach(share, 100 * rows["low"], 100 * rows["high"])
        ax.errorbar(share, y, xerr=spans, fmt=mark, ms=4.5, color=colours[name], label=name)
        ax.plot(100 * rows["chance"], y, "|", color="#222222", ms=9, mew=1.5)
    ax.plot([], [], "|", color="#222222", ms=9, mew=1.5, label="the same choices, dealt anew")
    ax.set_yticks(range(len(measures)), measures)
    ax.set_ylim(len(measures) - 0.5, -0.5)
    ax.set_xlabel("other faces that are farther than the chosen one, %")
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=2, fontsize=8)


def plot_representations(ax: Axes, table: pd.DataFrame) -> None:
    """Similarity of representations over the layers, one line per comparison.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        Columns ``layer``, ``first``, ``second`` (a pretraining or ``pixels``), ``rho``.
    """
    layers = list(dict.fromkeys(table["layer"]))
    names = [n for n in dict.fromkeys([*table["first"], *table["second"]]) if n != "pixels"]
    colours = figures.colours_of(names)
    spare = itertools.cycle([figures.HUES["black"], figures.HUES["grey"], figures.HUES["purple"]])
    for (first, second), rows in table.groupby(["first", "second"], sort=False):
        with_pixels = second == "pixels"
        ax.plot(
            [layers.index(layer) for layer in rows["layer"]],
            rows["rho"],
            marker="s" if with_pixels else "o",
            ms=4.5,
            ls=":" if with_pixels else "-",
            color=colours[first] if with_pixels else next(spare),
            label=f"{first} and {second}",
        )
    ax.axhline(0, color="#222222", lw=0.8)
    ax.set_xticks(range(len(layers)), layers)
    ax.set_xlabel("layer")
    ax.set_ylabel("Spearman's rho of dissimilarities")
    ax.set_ylim(min(-0.05, 1.1 * float(table["rho"].min())), 1)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.2), fontsize=8)


def plot_predictors(ax: Axes, predictors: pd.DataFrame, simulated: bool) -> None:
    """Coefficients of the predictors in the regression of people's choices, by pretraining.

    Parameters
    ----------
    ax : Axes
    predictors : DataFrame
        From `lib.humans.prediction.predict_choices`, with a column ``pretraining``.
    simulated : bool
    """
    parts = list(dict.fromkeys(predictors["predictor"]))
    names = list(dict.fromkeys(predictors["pretraining"]))
    colours = figures.colours_of(names)
    shift = np.linspace(-0.15, 0.15, len(names)) if len(names) > 1 else [0.0]
    for name, move, mark in zip(names, shift, itertools.cycle("osD^v"), strict=False):
        rows = predictors[predictors["pretraining"] == name]
        y = np.array([parts.index(part) for part in rows["predictor"]]) + move
        spans = figures.reach(rows["estimate"], rows["low"], rows["high"])
        ax.errorbar(
            rows["estimate"], y, xerr=spans, fmt=mark, ms=4.5, color=colours[name], label=name
        )
    ax.axvline(0, color="#222222", lw=1, ls=":")
    ax.set_yticks(range(len(parts)), parts)
    ax.set_ylim(len(parts) - 0.5, -0.5)
    ax.set_xlabel("log odds per standard deviation, 95% interval")
    handles, labels = ax.get_legend_handles_labels()
    labels = [f"relevance of {name}" for name in labels]
    # Outside of the axes, whose height goes with the number of parts.
    ax.figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2)
    if simulated:
        ax.set_title("Simulated observers")
        mark_simulated(ax)
