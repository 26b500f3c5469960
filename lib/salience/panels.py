"""Panels of the chapter on salience: each draws what it is given and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib import figures

#: Task -> marker, beside its line style.
MARKERS = {"identity": "o", "gender": "s"}
#: Measure -> title of its panel.
TITLES = {
    "S_entropy": "S_entropy",
    "spatial_entropy": "spatial entropy",
    "S_noise": "S_noise",
    "S_unrelated": "S_unrelated\nother faces",
    "S_geo": "S_geo",
    "S_stability": "S_stability",
    "S_resilience background": "S_resilience\nbackground",
    "S_resilience object": "S_resilience\nobject",
}
#: What the axes of panels of `TITLES` hold.
SCALES = "entropies: share of the largest possible; others: structural similarity (SSIM)"
#: Looks of what is no pretraining: the hues that pretrainings have are left out.
HUES = ("black", "purple", "orange", "sky", "grey")
SHAPES = "osD^v"


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """One row per model and measure: means over conditions where there is one, else each."""
    averaged = table["measure"].isin(["S_noise", "S_geo"])
    some = table[~averaged | (table["condition"] == "all")]
    some = some[~some["measure"].isin(["accuracy", "constant"])]
    label = (some["measure"] + " " + some["condition"].replace("all", "")).str.strip()
    return some.assign(label=label)


def _bar(ax: Axes, value, low, high, at, vertical=False, **look) -> None:
    """A mean with its interval."""
    reach = figures.reach(value, low, high)
    style = {"capsize": 0, "lw": 1.5, "ms": 5, "ls": "none"} | look
    if vertical:
        ax.errorbar(at, value, yerr=reach, **style)
    else:
        ax.errorbar(value, at, xerr=reach, **style)


# ---------------------------------------------------------------------------------------- one page


def plot_page(table: pd.DataFrame, example: Sequence[tuple], title: str) -> Figure:
    """The measures of one network, or a few, on one page.

    Parameters
    ----------
    table : DataFrame
        Of `lib.salience.summarise_salience`.
    example : sequence of (words, picture, map)
        What was done to a face: the picture (y, x[, 3]) 0..255, and its map in [0, 1] brought back
        to the place of the face.
    title : str
    """
    models = [m for m in dict.fromkeys(table["model"]) if (table["model"] == m).sum() > 1]
    models = models or list(dict.fromkeys(table["model"]))
    looks = {
        name: {"color": figures.HUES[HUES[k % 5]], "marker": SHAPES[k % 5]}
        for k, name in enumerate(dict.fromkeys(table["model"]))
    }
    fig = plt.figure(figsize=(9, 7.8), layout="constrained")
    fig.get_layout_engine().set(h_pad=0.06, hspace=0.03)
    top, bottom = fig.subfigures(2, 1, height_ratios=[1, 1.62])
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    rows = top.subplots(2, len(example))
    for column, (words, picture, salience) in enumerate(example):
        for ax in rows[:, column]:
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            for spine in ax.spines.values():
                spine.set(visible=True, color="#C8C8C8", linewidth=0.6)
        rows[0, column].imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        rows[0, column].set_title(words, fontsize=9, fontweight="normal", loc="center")
        rows[1, column].imshow(salience, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
        if not np.ptp(salience):
            rows[1, column].text(
                0.5, 0.5, "the same\neverywhere", color="white", ha="center", va="center",
                fontsize=8, transform=rows[1, column].transAxes,
            )  # fmt: skip
    rows[0, 0].set_ylabel("what it saw")
    rows[1, 0].set_ylabel("its map")
    left, middle, right = bottom.subplots(1, 3, width_ratios=[1.15, 1, 1])
    _plot_scalars(left, table, looks)
    _plot_noise(middle, table, models, looks)
    _plot_turns(right, table, models, looks)
    if len(looks) > 1:
        names = [plt.Line2D([], [], ls="none", **look, label=n) for n, look in looks.items()]
        bottom.legend(handles=names, loc="outside lower center", ncols=4, fontsize=8.5)
    return fig


def _plot_scalars(ax: Axes, table: pd.DataFrame, looks: Mapping) -> None:
    some = _whole(table)
    labels = list(dict.fromkeys(some["label"]))
    models = list(dict.fromkeys(some["model"]))
    for k, model in enumerate(models):
        mine = some[some["model"] == model]
        at = mine["label"].map(labels.index) + (k - (len(models) - 1) / 2) * 0.6 / len(models)
        _bar(ax, mine["value"], mine["low"], mine["high"], at, **looks[model])
    ax.set_yticks(range(len(labels)), [_two_lines(label) for label in labels])
    left = some[["value", "low"]].min().min()
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlim=(min(0, left) - 0.03, 1.04))
    ax.tick_params(axis="y", length=0, labelsize=8.5)
    ax.grid(axis="y", visible=False)
    ax.set_title("measures")
    ax.set_xlabel("mean and interval over images")


def _two_lines(label: str) -> str:
    first, _, rest = label.partition(" ")
    return f"{first.replace('spatial_', 'spatial ')}\n{rest}" if rest else first.replace("l_", "l ")


def _plot_noise(ax: Axes, table: pd.DataFrame, models: Sequence, looks: Mapping) -> None:
    some = table[(table["measure"] == "S_noise") & (table["condition"] != "all")]
    bottom = some[["value", "low"]].min().min()
    for model in models:
        mine = some[some["model"] == model]
        x = 100 * mine["condition"].astype(float)
        ax.plot(x, mine["value"], ms=4.5, lw=1.3, **looks[model])
        ax.fill_between(x, mine["low"], mine["high"], color=looks[model]["color"], alpha=0.15, lw=0)
    ax.set(ylim=(min(0, bottom) - 0.03, 1.04), xlabel="salt and pepper, % of pixels")
    ax.set_ylabel("SSIM with the undisturbed map", fontsize=9)
    ax.set_title("S_noise (SSIM)")
    _say_empty(ax, some)


def _plot_turns(ax: Axes, table: pd.DataFrame, models: Sequence, looks: Mapping) -> None:
    some = table[(table["measure"] == "S_geo") & (table["condition"] != "all")]
    names = list(dict.fromkeys(some["condition"]))
    for k, model in enumerate(models):
        mine = some[some["model"] == model]
        at = mine["condition"].map(names.index) + (k - (len(models) - 1) / 2) * 0.6 / len(models)
        _bar(ax, mine["value"], mine["low"], mine["high"], at, **looks[model])
    ax.set_yticks(range(len(names)), names, fontsize=8.5)
    left = some[["value", "low"]].min().min()
    ax.set(ylim=(max(len(names), 1) - 0.5, -0.5), xlim=(min(0, left) - 0.03, 1.04))
    ax.set_xlabel("SSIM with the undisturbed map")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set_title("S_geo (SSIM)")
    _say_empty(ax, some)


def _say_empty(ax: Axes, table: pd.DataFrame) -> None:
    """Say why a panel shows nothing."""
    if not table["value"].notna().any():
        words = "nothing to compare:\nall maps are the same everywhere"
        ax.text(0.5, 0.5, words, ha="center", va="center", fontsize=9, transform=ax.transAxes)


# --------------------------------------------------------------------------- the networks of a run


def plot_conditions(summary: pd.DataFrame, single: pd.DataFrame) -> Figure:
    """Every measure by pretraining and task, and each network as a faint dot.

    Parameters
    ----------
    summary : DataFrame
        Of `lib.salience.study.summarise_conditions`.
    single : DataFrame
        ``pretraining``, ``task``, ``measure`` (as in `TITLES`), ``value``: means of the networks.
    """
    table = _tabulate(summary)
    names = [name for name in TITLES if name in set(table["label"])]
    conditions = list(dict.fromkeys(zip(summary["pretraining"], summary["task"], strict=True)))
    hues = figures.colours_of(summary["pretraining"])
    columns = 4
    rows = -(-len(names) // columns)
    height = 0.8 + 0.28 * len(conditions)
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(9, height * rows + 0.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, name in zip(axes.flat, names, strict=False):
        for y, (pretraining, task) in enumerate(conditions):
            look = {"marker": MARKERS.get(task, "D"), "color": hues[pretraining]}
            dots = single[
                (single["measure"] == name)
                & (single["pretraining"] == pretraining)
                & (single["task"] == task)
            ]
            ax.plot(dots["value"], np.full(len(dots), y - 0.24), "|", color=look["color"], ms=6)
            mine = table[
                (table["label"] == name)
                & (table["pretraining"] == pretraining)
                & (table["task"] == task)
            ]
            for row in mine.itertuples():
                filled = look["color"] if task == "identity" else "white"
                _bar(ax, row.value, row.low, row.high, y, mfc=filled, **look)
        ax.set_title(TITLES[name], fontsize=9.5)
        ax.grid(axis="y", visible=False)
        ax.locator_params(axis="x", nbins=4)
        ax.margins(x=0.12)
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(conditions)), [f"{p}, {t}" for p, t in conditions], fontsize=8.5)
        ax.set_ylim(len(conditions) - 0.5, -0.6)
    for ax in axes.flat:
        ax.tick_params(axis="y", length=0)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    fig.supxlabel(SCALES, fontsize=9)
    return fig


def _tabulate(summary):
    """Measures under the labels of the figures, out-of-set samples of all kinds in one."""
    table = _whole(summary.assign(model=summary["pretraining"] + summary["task"]))
    shown = table["label"].str.startswith("S_unrelated")
    return pd.concat([table[~shown], _pool_unrelated(table[shown])])


def _pool_unrelated(table: pd.DataFrame) -> pd.DataFrame:
    """Panels show other people's faces alone; objects and textures stand in the table."""
    kept = table[table["condition"] == "other faces"]
    return kept.assign(label="S_unrelated")


def plot_curves(axes: Sequence[Axes], summary: pd.DataFrame) -> None:
    """Draw S_noise against the amount, and S_geo per transform, by condition."""
    conditions = list(dict.fromkeys(zip(summary["pretraining"], summary["task"], strict=True)))
    hues = figures.colours_of(summary["pretraining"])
    noise = summary[(summary["measure"] == "S_noise") & (summary["condition"] != "all")]
    turns = summary[(summary["measure"] == "S_geo") & (summary["condition"] != "all")]
    names = list(dict.fromkeys(turns["condition"]))
    for k, (pretraining, task) in enumerate(conditions):
        look = {"color": hues[pretraining], "marker": MARKERS.get(task, "D"), "ms": 4.5}
        look["mfc"] = look["color"] if task == "identity" else "white"
        mine = _of(noise, pretraining, task)
        x = 100 * mine["condition"].astype(float)
        style = figures.TASK.get(task, ":")
        axes[0].plot(x, mine["value"], ls=style, lw=1.4, label=f"{pretraining}, {task}", **look)
        axes[0].fill_between(x, mine["low"], mine["high"], color=look["color"], alpha=0.1, lw=0)
        mine = _of(turns, pretraining, task)
        at = mine["condition"].map(names.index) + (k - (len(conditions) - 1) / 2) * 0.17
        _bar(axes[1], mine["value"], mine["low"], mine["high"], at, **look)
    axes[0].set(xlabel="salt and pepper, % of pixels", ylabel="SSIM with the undisturbed map")
    axes[0].set_title("S_noise")
    axes[1].set_yticks(range(len(names)), names)
    axes[1].set(ylim=(len(names) - 0.5, -0.5), xlabel="SSIM with the undisturbed map")
    axes[1].set_title("S_geo")
    axes[1].tick_params(axis="y", length=0)
    axes[1].grid(axis="y", visible=False)
    axes[0].legend(fontsize=8.5)


def _of(table: pd.DataFrame, pretraining: str, task: str) -> pd.DataFrame:
    return table[(table["pretraining"] == pretraining) & (table["task"] == task)]


def plot_methods(summaries: Mapping[str, pd.DataFrame]) -> Figure:
    """Every measure by method, one mark per condition.

    Parameters
    ----------
    summaries : mapping
        Method -> table of `lib.salience.study.summarise_conditions`.
    """
    tables = {method: _tabulate(summary) for method, summary in summaries.items()}
    every = pd.concat(tables.values())
    names = [name for name in TITLES if name in set(every["label"])]
    conditions = list(dict.fromkeys(zip(every["pretraining"], every["task"], strict=True)))
    hues = figures.colours_of(every["pretraining"])
    columns = 4
    rows = -(-len(names) // columns)
    height = 0.75 + 0.42 * len(tables)
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(9, height * rows + 0.5),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, name in zip(axes.flat, names, strict=False):
        for y, table in enumerate(tables.values()):
            for k, (pretraining, task) in enumerate(conditions):
                mine = _of(table[table["label"] == name], pretraining, task)
                at = y + (k - (len(conditions) - 1) / 2) * 0.62 / len(conditions)
                for row in mine.itertuples():
                    colour = hues[pretraining]
                    filled = colour if task == "identity" else "white"
                    look = {"marker": MARKERS.get(task, "D"), "color": colour, "mfc": filled}
                    _bar(ax, row.value, row.low, row.high, at, **look | {"ms": 4.2, "lw": 1.2})
        ax.set_title(TITLES[name], fontsize=9.5)
        ax.grid(axis="y", visible=False)
        ax.locator_params(axis="x", nbins=4)
        ax.margins(x=0.1)
        ax.tick_params(axis="y", length=0)
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(tables)), list(tables), fontsize=8.5)
        ax.set_ylim(len(tables) - 0.45, -0.55)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    handles = [
        plt.Line2D(
            [],
            [],
            ls="none",
            marker=MARKERS.get(task, "D"),
            color=hues[pretraining],
            mfc=hues[pretraining] if task == "identity" else "white",
            label=f"{pretraining}, {task}",
        )
        for pretraining, task in conditions
    ]
    # under the axes there is room for one thing: what they hold is the legend's title
    look = {"ncols": 4, "fontsize": 8.5, "title_fontsize": 9}
    fig.legend(handles=handles, loc="outside lower center", title=SCALES, **look)
    return fig


# -------------------------------------------------------------------------------------- prediction


def plot_correlations(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the matrix of rank correlations between measures (`correlate_within`)."""
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    matrix = np.full((len(names), len(names)), np.nan)
    for row in table.itertuples():
        a, b = names.index(row.first), names.index(row.second)
        matrix[a, b] = matrix[b, a] = row.rho
    ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    for a in range(len(names)):
        for b in range(len(names)):
            if np.isfinite(matrix[a, b]):
                colour = "white" if abs(matrix[a, b]) > 0.6 else "#222222"
                text = f"{matrix[a, b]:.2f}".replace("-0.00", "0.00").replace("0.", ".")
                ax.text(b, a, text, ha="center", va="center", fontsize=8, color=colour)
    words = [TITLES.get(name, name) for name in names]
    ax.set_xticks(range(len(names)), words, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), words)
    ax.tick_params(length=0, labelsize=8.5)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def plot_prediction(ax: Axes, table: pd.DataFrame) -> None:
    """Draw rank correlations with the masking area, by measure and kind of map."""
    names = [name for name in TITLES if name in set(table["measure"])]
    kinds = list(dict.fromkeys(table["maps"]))
    for k, kind in enumerate(kinds):
        mine = table[(table["maps"] == kind) & np.isfinite(table["rho"])]
        at = mine["measure"].map(names.index) + (k - (len(kinds) - 1) / 2) * 0.6 / len(kinds)
        look = {"color": figures.HUES[HUES[k % 5]], "marker": SHAPES[k % 5]}
        _bar(ax, mine["rho"], mine["low"], mine["high"], at, label=kind, **look)
    ax.axvline(0, color="#555555", lw=1)
    ax.set_yticks(range(len(names)), [TITLES[name].replace("\n", ", ") for name in names])
    ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(-1, 1))
    ax.set_xlabel("rank correlation with the masking area, over faces")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    if len(kinds) > 1:
        ax.legend(title="maps", fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))


# ---------------------------------------------------------------------------------------- detectors


def look_of(loss: str) -> dict:
    """Colour and marker of a way to train; hues that no pretraining has."""
    looks = {"cross_entropy": ("black", "o"), "cyborg": ("purple", "D")}
    hue, marker = looks[loss]
    return {"color": figures.HUES[hue], "marker": marker}


def plot_faces(images: Mapping[str, np.ndarray], salience: np.ndarray, words: str) -> Figure:
    """The same people as genuine and from every generator, and the salience of the last row.

    Parameters
    ----------
    images : mapping
        Words for a row -> uint8 (people, y, x[, 3]).
    salience : ndarray, (people, y, x)
        0 to 1; NaN where there is no map, which leaves its place empty.
    words : str
        What kind of salience it is.
    """
    people = len(salience)
    count = len(images) + 1
    fig, axes = plt.subplots(
        count,
        people,
        figsize=(1.5 * people + 0.9, 1.5 * count),
        squeeze=False,
        layout="constrained",
    )
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for row, (name, some) in enumerate([*images.items(), (words, salience)]):
        for column in range(people):
            ax = axes[row, column]
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            for spine in ax.spines.values():
                spine.set(visible=True, color="#C8C8C8", linewidth=0.6)
            if row < len(images):
                ax.imshow(some[column], cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
            elif np.isfinite(some[column]).all():
                ax.imshow(some[column], cmap="magma", vmin=0, vmax=1)
            else:
                ax.text(0.5, 0.5, "no map", ha="center", transform=ax.transAxes, fontsize=8.5)
        label = name.replace(" ", "\n")
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return fig


def plot_losses(axes, numbers: pd.DataFrame, contrasts: pd.DataFrame, words: Mapping) -> None:
    """Draw every measure of every run, the two trainings of a run joined.

    Parameters
    ----------
    axes : array of Axes
    numbers : DataFrame
        ``pretraining`` (the loss), ``instance`` (the run), ``measure``, ``value``.
    contrasts : DataFrame
        Of `lib.salience.comparison.compare_losses`.
    words : mapping
        Loss -> words.
    """
    names = [name for name in TITLES if name in set(contrasts["measure"])]
    for ax, name in zip(np.ravel(axes), names, strict=False):
        mine = numbers[numbers["measure"] == name]
        _join_runs(ax, mine, "value", words)
        row = contrasts[contrasts["measure"] == name].iloc[0]
        said = f"{row['difference']:+.2f}"
        if np.isfinite(row["low"]):
            said += f" [{row['low']:+.2f}, {row['high']:+.2f}]"
        title = TITLES[name].split("\n")
        ax.set_title("\n".join([*title, ""]) if len(title) > 1 else f"\n{title[0]}\n", fontsize=9.5)
        ax.text(0, 1.02, said, transform=ax.transAxes, fontsize=8.5, color="#444444")
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("mean over images", fontsize=8.5)
    for ax in np.ravel(axes)[len(names) :]:
        ax.set_visible(False)


def _join_runs(ax: Axes, table: pd.DataFrame, value: str, words: Mapping) -> None:
    """Two columns of points, cross-entropy and CYBORG, a line per run."""
    losses = list(words)
    wide = table.set_index(["instance", "pretraining"])[value].unstack()  # noqa: PD010
    for _, row in wide.iterrows():
        ax.plot(range(len(losses)), row[losses], color="#BBBBBB", lw=1, zorder=1)
    for x, loss in enumerate(losses):
        ax.plot(np.full(len(wide), x), wide[loss], ls="none", ms=5.5, **look_of(loss))
    ax.set_xticks(range(len(losses)), [words[loss] for loss in losses], fontsize=8.5)
    ax.set_xlim(-0.45, len(losses) - 0.55)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.15)
    ax.locator_params(axis="y", nbins=4)


def plot_generalization(ax: Axes, detection: pd.DataFrame, words: Mapping) -> None:
    """Draw the area under the ROC curve per generator, runs of the two trainings joined.

    Parameters
    ----------
    detection : DataFrame
        Of `lib.salience.training.summarise_detection`.
    words : mapping
        Loss -> words.
    """
    order = detection.sort_values("seen", ascending=False, kind="stable")
    generators = list(dict.fromkeys(order["generator"]))
    seen = detection.drop_duplicates("generator").set_index("generator")["seen"]
    gap = 0.28
    for x, generator in enumerate(generators):
        some = detection[detection["generator"] == generator]
        wide = some.set_index(["run", "loss"])["auc"].unstack("loss")  # noqa: PD010
        places = {loss: x + (k - 0.5) * gap for k, loss in enumerate(words)}
        for _, row in wide.iterrows():
            ax.plot(list(places.values()), row[list(words)], color="#BBBBBB", lw=1, zorder=1)
        for loss, place in places.items():
            label = words[loss] if x == 0 else None
            ax.plot(
                np.full(len(wide), place), wide[loss], ls="none", ms=6, label=label, **look_of(loss)
            )
    names = [f"{g}\n{'trained on' if seen[g] else 'unseen'}" for g in generators]
    ax.set_xticks(range(len(generators)), names)
    ax.axhline(0.5, color="#767676", lw=1, ls=":")
    ax.text(len(generators) - 0.53, 0.505, "chance", ha="right", fontsize=8.5, color="#555555")
    ax.set(ylabel="area under the ROC curve", xlim=(-0.5, len(generators) - 0.5))
    ax.set_ylim(min(0.45, detection["auc"].min() - 0.04), 1.03)
    ax.grid(axis="x", visible=False)
    ax.legend(loc="lower left", fontsize=8.5)
