"""Panels of the chapter on faces: each draws what it is given and computes nothing."""

import matplotlib.pyplot as plt
import numpy as np

from lib import figures
from lib.faces.concepts import CONCEPTS, REGIONS
from lib.faces.ellipse import LEVEL
from lib.faces.labels import PARTS, colour_labels, load_labels

#: Region of the face -> colour, for the concepts.
REGION_HUES = dict(zip(REGIONS, ("blue", "orange", "green", "vermilion", "purple"), strict=True))


def plot_contact_sheet(faces, identities=8, seed=0, viewpoints=7):
    """Draw some identities, one per row, from up to ``viewpoints`` viewpoints, one per column.

    Parameters
    ----------
    faces : FaceSet
    identities : int
        Rows, drawn at random.
    seed : int
    viewpoints : int
        Most columns; without known viewpoints the first images of each identity are shown.

    Returns
    -------
    Figure
    """
    table = faces.table.reset_index(names="row")
    names = table["identity"].drop_duplicates().to_numpy()
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.choice(len(names), min(identities, len(names)), replace=False))
    names = names[chosen]
    known = np.sort(table["viewpoint"].dropna().unique())
    if len(known):
        spread = np.unique(np.linspace(0, len(known) - 1, viewpoints).round().astype(int))
        columns, labels = known[spread], [f"{v:+.0f}°" for v in known[spread]]
        column = table["viewpoint"]
    else:
        columns, labels = np.arange(viewpoints), []
        column = table.groupby("identity").cumcount()
    blank = np.full_like(faces.images([0]), 255)
    tiles = []
    for name in names:
        for value in columns:
            row = table.loc[(table["identity"] == name) & (column == value), "row"].head(1)
            tiles.append(faces.images(row.to_numpy()) if len(row) else blank)
    fig, ax = plt.subplots(figsize=figures.sheet_size(len(columns), len(names)))
    figures.plot_sheet(ax, np.concatenate(tiles), len(columns), labels, list(names))
    return fig


def plot_grey_levels(ax, table):
    """Draw the distribution of ``table.mean``, one line for each ``table.gender``."""
    low, high = table["mean"].min(), table["mean"].max()
    bins = np.linspace(low - 1, high + 1, 31)
    for hue, (gender, part) in zip(
        ("blue", "orange", "grey"), table.groupby("gender"), strict=False
    ):
        ax.hist(part["mean"], bins, histtype="step", lw=1.8, color=figures.HUES[hue], label=gender)
    ax.set(xlabel="mean grey level of an image (0 to 255)", ylabel="images")
    ax.legend(title="gender")


def plot_turnaround(faces, identity, columns=9):
    """Draw one head from its viewpoints: image, part labels, landmarks.

    Parameters
    ----------
    faces : FaceSet
        Of a rendered set, with labels and landmarks.
    identity : str
    columns : int
        Most viewpoints shown.

    Returns
    -------
    Figure
    """
    rows = faces.table.index[faces.table["identity"] == identity]
    rows = rows[np.argsort(faces.table.loc[rows, "viewpoint"])].to_numpy()
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, columns).round().astype(int))]
    images = faces.images(rows)
    size = images.shape[1]
    views = [f"{v:+.0f}" for v in faces.table.loc[rows, "viewpoint"]]
    shown = [np.repeat(image[..., None], 3, 2) for image in images]
    parts = [colour_labels(labels) for labels in load_labels(faces, rows, size)]
    fig, axes = plt.subplots(3, 1, figsize=(11, 11 * 3 / len(rows) + 0.5))
    for ax, pictures, name in zip(
        axes, (shown, parts, shown), ("image", "part", "landmarks"), strict=True
    ):
        figures.plot_sheet(
            ax, np.stack(pictures), len(rows), views if ax is axes[0] else (), [name]
        )
    points = faces.landmarks(rows)
    for k, face in enumerate(points):
        x, y, seen = face[:, 0] + k * (size + 2), face[:, 1], face[:, 2] > 0.5
        inside = (face[:, 0] > 0) & (face[:, 0] < size) & (face[:, 1] > 0) & (face[:, 1] < size)
        style = dict(s=4, linewidths=0.5, edgecolors=figures.HUES["orange"])
        axes[2].scatter(x[seen & inside], y[seen & inside], c=figures.HUES["yellow"], **style)
        axes[2].scatter(x[~seen & inside], y[~seen & inside], facecolors="none", **style)
    handles = [
        plt.Line2D([], [], marker="s", ls="", color=colour_labels(np.array(k)) / 255, label=name)
        for name, k in PARTS.items()
        if any((labels == colour_labels(np.array(k))).all(-1).any() for labels in parts)
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=9, fontsize=8, handletextpad=0.1)
    return fig


def plot_neighbours(ax, shortcuts):
    """Draw the nearest-neighbour rows of the table of shortcut checks."""
    table = shortcuts[shortcuts["check"] == "nearest neighbour"]
    view = table["what"].str.split().str[0].astype(float)
    ax.plot(view, table["value"], "o-", color=figures.HUES["blue"], label="nearest neighbour")
    ax.plot(view, table["chance"], ":", color=figures.HUES["grey"], label="chance")
    limit = table["limit"].notna()
    ax.plot(
        *(view[limit], table["limit"][limit], "_"),
        color=figures.HUES["vermilion"],
        ms=18,
        mew=2,
        label="limit at ±45°",
    )
    ax.set(xlabel="viewpoint (degrees of yaw)", ylabel="identity found", ylim=(-0.03, 1.03))
    ax.set_xticks(view)
    ax.legend()


def plot_dictionary(dictionary, level=LEVEL, columns=8, size=112):
    """Draw one image of each concept with its exact mask (tinted) and ellipse (outlined).

    The image is the one that shows most of the concept nearest to a frontal view.

    Parameters
    ----------
    dictionary : Dictionary
    level : float
        Confidence of the ellipses, 0 to 1.
    columns : int
    size : int
        Side of an image, pixels.

    Returns
    -------
    Figure
    """
    names = dictionary.concepts
    rows = -(-len(names) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(11, 1.55 * rows))
    for ax in axes.flat:
        ax.axis("off")
    view = dictionary.table["viewpoint"].abs().fillna(0)
    light = dictionary.table.get("light")
    for turn, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
        carried = dictionary.has(name)
        if light is not None and (carried & (light == "soft")).any():
            carried = carried & (light == "soft").to_numpy()
        near = view[carried & (view <= view[carried].min() + 20)].index
        i = int(near[turn % len(near)])  # another face for each concept
        image = dictionary.images([i], size=size, colour=True)[0]
        hue = figures.HUES[REGION_HUES[CONCEPTS[name].region]]
        if dictionary.has_exact_masks:
            mask = dictionary.mask(name, i, size)
            tint = np.array([int(hue[k : k + 2], 16) for k in (1, 3, 5)])
            image = np.where(mask[..., None], 0.45 * image + 0.55 * tint, image).astype(np.uint8)
        ax.imshow(image, interpolation="lanczos")
        outline = dictionary.ellipse_mask(name, i, size, level=level)
        if outline.any():
            ax.contour(outline, [0.5], colors="white", linewidths=1.0)
        ax.set_title(name.replace("_", " "), fontsize=7.5, fontweight="normal", loc="center", pad=2)
    handles = [
        plt.Line2D([], [], marker="s", ls="", color=figures.HUES[hue], label=region)
        for region, hue in REGION_HUES.items()
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), title="region")
    return fig


def plot_overlap(ax, table):
    """Draw ``iou`` of each concept of the table of concepts as bars, best on top."""
    table = table.dropna(subset="iou").sort_values("iou")
    hues = [figures.HUES[REGION_HUES[region]] for region in table["region"]]
    ax.barh(table["concept"].str.replace("_", " "), table["iou"], color=hues, height=0.7)
    ax.set(xlabel="overlap of ellipse and exact mask (intersection over union)", xlim=(0, 1))
    ax.tick_params(axis="y", labelsize=8, length=0)
    ax.grid(axis="y", visible=False)
    handles = [
        plt.Rectangle((0, 0), 1, 1, color=figures.HUES[hue], label=region)
        for region, hue in REGION_HUES.items()
    ]
    ax.legend(handles=handles, title="region", loc="lower right")
