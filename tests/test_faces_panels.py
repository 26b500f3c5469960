"""Panels of faces: what is drawn is what was given, in its place."""

import functools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lib import figures
from lib.faces import panels
from lib.faces.concepts import CONCEPTS, REGIONS
from lib.faces.dataset import load_faces
from lib.faces.dictionary import load_dictionary
from lib.faces.labels import PARTS, colour_labels, load_labels
from lib.store import ROOT

SHIPPED = ROOT / "data" / "faces"


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@functools.cache
def study():
    return load_faces(SHIPPED / "study", size=32)


@functools.cache
def dictionary():
    return load_dictionary(SHIPPED / "dictionary")


def sheet(ax):
    """The picture on some axes."""
    return np.asarray(ax.images[0].get_array())


def tile(picture, row, column, side, gap=2):
    top, left = row * (side + gap), column * (side + gap)
    return picture[top : top + side, left : left + side]


def tick_words(ax):
    return [[text.get_text() for text in axis.get_ticklabels()] for axis in (ax.xaxis, ax.yaxis)]


# --- contact sheet


def test_a_contact_sheet_has_a_person_per_row_and_a_viewpoint_per_column():
    fig = panels.plot_contact_sheet(study(), identities=3, seed=1, viewpoints=5)
    picture = sheet(fig.axes[0])
    columns, names = tick_words(fig.axes[0])
    assert columns == ["-105°", "-45°", "+0°", "+45°", "+105°"]  # evenly spread of the fifteen
    assert len(set(names)) == 3 and names == sorted(names)
    table = study().table
    for row, name in enumerate(names):
        for column, view in enumerate((-105, -45, 0, 45, 105)):
            at = table.index[(table["identity"] == name) & (table["viewpoint"] == view)]
            expected = study().images(at.to_numpy())[0]
            np.testing.assert_array_equal(tile(picture, row, column, 32), expected)
    other = panels.plot_contact_sheet(study(), identities=3, seed=2, viewpoints=5)
    assert tick_words(other.axes[0])[1] != names
    assert tick_words(panels.plot_contact_sheet(study(), 3, 1, 5).axes[0])[1] == names


def test_a_viewpoint_that_a_person_lacks_stays_white(faces_folder):
    next(faces_folder.rglob("anna/*+045*")).unlink()
    faces = load_faces(faces_folder)
    fig = panels.plot_contact_sheet(faces, identities=9)
    columns, names = tick_words(fig.axes[0])
    assert columns == ["-45°", "+0°", "+45°"] and names == ["anna", "björn"]
    picture = sheet(fig.axes[0])
    assert (tile(picture, 0, 2, 64) == 255).all() and (tile(picture, 1, 2, 64) < 255).any()


def test_without_viewpoints_the_first_images_are_shown(faces_folder):
    for k, path in enumerate(sorted(faces_folder.rglob("*.png"))):
        path.rename(path.with_name(f"picture{'abcdef'[k]}.png"))
    faces = load_faces(faces_folder)
    assert faces.table["viewpoint"].isna().all()
    fig = panels.plot_contact_sheet(faces, viewpoints=2)
    picture = sheet(fig.axes[0])
    assert picture.shape == (2 * 66 - 2, 2 * 66 - 2)
    first = faces.table.groupby("identity").head(2).index.to_numpy()
    images = faces.images(first)
    for k in range(4):
        np.testing.assert_array_equal(tile(picture, k // 2, k % 2, 64), images[k])


# --- turnaround


def test_a_turnaround_shows_image_parts_and_landmarks_of_one_head():
    faces = study()
    fig = panels.plot_turnaround(faces, "id003", columns=5)
    rows = faces.table.index[faces.table["identity"] == "id003"].to_numpy()[[0, 4, 7, 10, 14]]
    rows = rows[np.argsort(faces.table.loc[rows, "viewpoint"])]
    images, labels = faces.images(rows), load_labels(faces, rows, 32)
    views = [f"{v:+.0f}" for v in sorted(faces.table.loc[rows, "viewpoint"])]
    assert tick_words(fig.axes[0])[0] == views and len(set(views)) == 5
    assert [tick_words(ax)[1] for ax in fig.axes] == [["image"], ["part"], ["landmarks"]]
    for k in range(5):
        grey = np.repeat(images[k][..., None], 3, 2)
        np.testing.assert_array_equal(tile(sheet(fig.axes[0]), 0, k, 32), grey)
        np.testing.assert_array_equal(tile(sheet(fig.axes[1]), 0, k, 32), colour_labels(labels[k]))
    # Every landmark within its image is drawn once: filled if it is seen, hollow if not.
    points = faces.landmarks(rows)
    inside = (points[..., :2] > 0).all(-1) & (points[..., :2] < 32).all(-1)
    offsets = [np.asarray(c.get_offsets()) for c in fig.axes[2].collections]
    assert len(offsets) == 10 and sum(map(len, offsets)) == inside.sum()
    for k in range(5):
        seen = inside[k] & (points[k, :, 2] > 0.5)
        np.testing.assert_allclose(offsets[2 * k], points[k, seen, :2] + (k * 34, 0), atol=1e-4)
        assert len(fig.axes[2].collections[2 * k + 1].get_facecolors()) == 0
    words = {text.get_text() for text in fig.legends[0].get_texts()}
    assert words == {name for name, number in PARTS.items() if (labels == number).any()}


# --- curves and bars


def test_grey_levels_are_counted_by_gender():
    table = pd.DataFrame(
        {"mean": [100.0, 100, 100, 130, 130], "gender": ["female"] * 3 + ["male"] * 2}
    )
    _, ax = plt.subplots()
    panels.plot_grey_levels(ax, table)
    heights = {}
    for patch in ax.patches:
        x, y = patch.get_xy().T
        heights[patch.get_label()] = (y.max(), x[y == y.max()].mean())
    assert heights["female"][0] == 3 and heights["male"][0] == 2
    assert heights["female"][1] == pytest.approx(100, abs=1.1)
    assert heights["male"][1] == pytest.approx(130, abs=1.1)
    assert "0 to 255" in ax.get_xlabel()


def test_neighbours_are_drawn_with_chance_and_limit():
    table = pd.DataFrame(
        {
            "check": ["nearest neighbour"] * 3 + ["one pixel"],
            "what": ["-45 degrees", "15 degrees", "45 degrees", "gender"],
            "value": [0.30, 0.9, 0.25, 0.6],
            "chance": [0.01, 0.01, 0.01, 0.5],
            "limit": [0.35, np.nan, 0.35, 0.7],
        }
    )
    _, ax = plt.subplots()
    panels.plot_neighbours(ax, table)
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    assert lines["nearest neighbour"] == [[-45, 0.30], [15, 0.9], [45, 0.25]]
    assert lines["chance"] == [[-45, 0.01], [15, 0.01], [45, 0.01]]
    assert lines["limit at ±45°"] == [[-45, 0.35], [45, 0.35]]


def test_overlaps_are_sorted_and_coloured_by_region():
    table = pd.DataFrame(
        {
            "concept": ["AU_1", "left_eye", "nose", "AU_6"],
            "region": ["eye", "eye", "nose", "cheek"],
            "iou": [0.5, 0.8, 0.6, np.nan],
        }
    )
    _, ax = plt.subplots()
    panels.plot_overlap(ax, table)
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.6, 0.8]
    assert tick_words(ax)[1] == ["AU 1", "nose", "left eye"]
    colours = [plt.matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    hues = [figures.HUES[panels.REGION_HUES[region]] for region in ("eye", "nose", "eye")]
    assert colours == hues and set(panels.REGION_HUES) == set(REGIONS)
    assert len(set(panels.REGION_HUES.values())) == len(REGIONS)


# --- dictionary


def test_the_dictionary_sheet_shows_each_concept_once_with_its_mask():
    fig = panels.plot_dictionary(dictionary(), columns=8, size=48)
    names = dictionary().concepts
    titled = [ax for ax in fig.axes if ax.get_title()]
    assert [ax.get_title() for ax in titled] == [name.replace("_", " ") for name in names]
    assert len(names) == 38 == len({name for name in names if name in CONCEPTS})
    table = dictionary().table
    for turn, (ax, name) in enumerate(zip(titled, names, strict=True)):
        picture = sheet(ax)
        assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
        if turn % 6:
            continue  # the rest are drawn by the same lines
        # The face is one that carries the concept, from as near the front as any; its mask is
        # tinted, and nothing else is changed.
        carried = dictionary().has(name) & (table["light"] == "soft").to_numpy()
        near = table["viewpoint"].abs()[carried]
        rows = near.index[near <= near.min() + 20].to_numpy()
        images = dictionary().images(rows, size=48, colour=True)
        masks = [dictionary().mask(name, int(row), 48) for row in rows]
        same = [
            (picture[~mask] == image[~mask]).all() and (picture[mask] != image[mask]).any()
            for image, mask in zip(images, masks, strict=True)
        ]
        assert sum(same) == 1, name
        chosen = int(np.argmax(same))
        hue = figures.HUES[panels.REGION_HUES[CONCEPTS[name].region]]
        tint = np.array([int(hue[k : k + 2], 16) for k in (1, 3, 5)])
        blend = 0.45 * images[chosen][masks[chosen]] + 0.55 * tint
        assert np.abs(picture[masks[chosen]] - blend).max() <= 1
        outline = dictionary().ellipse_mask(name, int(rows[chosen]), 48)
        assert bool(ax.collections) == outline.any()
    words = [text.get_text() for text in fig.legends[0].get_texts()]
    assert words == list(REGIONS)
