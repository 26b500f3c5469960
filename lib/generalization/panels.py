"""Panels of the chapter on generalization: each draws what it is given and computes nothing."""

import numpy as np

from lib import figures
from lib.generalization.bins import BINS, TRUNK_BINS
from lib.generalization.identities import CONTRASTS

#: Bin of sources -> words on an axis.
WORDS = {
    "same_instance": "itself",
    "other_initialisation": "other\ninitialisation",
    "other_task": "other\ntask",
    "other_pretraining": "other\npretraining",
    "other_both": "both\nother",
    "other_trunk": "other\ntrunk",
    "other_trunk_and_task": "other trunk\nand task",
    "random": "random\npixels",
}
#: Task -> marker, beside its line style; others take turns.
MARKERS = {"identity": "o", "gender": "s"}


def _marker(task):
    return MARKERS.get(task, "D")


def plot_areas(ax, summary, offset=0.09):
    """Draw the mean area with its interval per bin, one line per destination type.

    Parameters
    ----------
    ax : Axes
    summary : DataFrame
        ``destination_pretraining``, ``destination_task``, ``bin`` (``random`` for pixels that no
        source has chosen), ``auc``, ``low``, ``high``.
    offset : float
        Between neighbouring lines, in bins, so that intervals do not hide each other.
    """
    bins = [b for b in (*BINS, *TRUNK_BINS, "random") if b in set(summary["bin"])]
    sources = len(bins) - ("random" in bins)
    colours = figures.colours_of(summary["destination_pretraining"])
    groups = list(summary.groupby(["destination_pretraining", "destination_task"], sort=False))
    for k, ((pretraining, task), part) in enumerate(groups):
        part = part.set_index("bin").reindex(bins)
        x = np.arange(len(bins)) + (k - (len(groups) - 1) / 2) * offset
        look = {"color": colours[pretraining], "marker": _marker(task), "ms": 5.5, "lw": 1.3}
        reach = np.vstack([part["auc"] - part["low"], part["high"] - part["auc"]])
        ax.errorbar(x, part["auc"], reach, **{**look, "ls": "none"}, capsize=2.5)
        # the line stops before what is no source
        own = {**look, "ls": figures.TASK.get(task, ":"), "label": f"{pretraining}, {task}"}
        ax.plot(x[:sources], part["auc"].iloc[:sources], **own)
    ax.set_xticks(range(len(bins)), [WORDS[b] for b in bins])
    ax.set_xlim(-0.5, len(bins) - 0.5)
    ax.set_ylabel("area under the curve (0 to 1)")
    ax.grid(axis="x", visible=False)


def _contrast_words(first, second):
    return f"{WORDS[second]} - {WORDS[first]}".replace("\n", " ")


def plot_contrasts(ax, pairwise, identities, contrasts=CONTRASTS):
    """Draw every contrast of sources per destination type, in two ways, as a forest.

    Parameters
    ----------
    ax : Axes
    pairwise : DataFrame
        Paired over networks (filled): ``task``, ``pretraining``, ``first``, ``second``,
        ``difference``, ``low``, ``high``.
    identities : DataFrame
        Mixed model over faces and networks (open): ``task``, ``pretraining``, ``contrast``,
        ``estimate``, ``low``, ``high``.
    contrasts : sequence of (first, second)
    """
    colours = figures.colours_of(pairwise["pretraining"])
    types = list(pairwise[["pretraining", "task"]].drop_duplicates().itertuples(index=False))
    named = identities.set_index(["pretraining", "task", "contrast"])
    paired = pairwise.set_index(["pretraining", "task", "first", "second"])
    step = len(types) + 1.2
    for k, (first, second) in enumerate(contrasts):
        for j, (pretraining, task) in enumerate(types):
            y = k * step + j
            rows = []
            if (pretraining, task, first, second) in paired.index:
                rows.append((paired.loc[(pretraining, task, first, second)], "difference", True))
            if (pretraining, task, f"{second} - {first}") in named.index:
                row = named.loc[(pretraining, task, f"{second} - {first}")]
                rows.append((row, "estimate", False))
            for row, value, filled in rows:
                at = y + (-0.17 if filled else 0.17)
                colour = colours[pretraining]
                ax.plot([row["low"], row["high"]], [at, at], color=colour, lw=1.6)
                face = colour if filled else "white"
                ax.plot(row[value], at, _marker(task), ms=5.5, mfc=face, mec=colour)
    ax.axvline(0, color="#555555", lw=1)
    middle = (len(types) - 1) / 2
    ax.set_yticks(
        [k * step + middle for k in range(len(contrasts))],
        [_contrast_words(*c).replace(" - ", "\nless ") for c in contrasts],
    )
    ax.set_ylim(len(contrasts) * step - 1, -1)
    ax.set_xlabel("difference of areas")
    ax.grid(axis="y", visible=False)
    for pretraining, task in types:
        ax.plot([], [], _marker(task), color=colours[pretraining], label=f"{pretraining}, {task}")
    ax.plot([], [], "o", color="#555555", label="over networks")
    ax.plot([], [], "o", mfc="white", mec="#555555", label="over networks and faces")
