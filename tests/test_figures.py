"""Panels that several chapters draw."""

import numpy as np
import pandas as pd

from lib import figures


def test_a_montage_puts_each_image_where_it_belongs():
    images = np.stack([np.full((2, 3), k, np.uint8) for k in (10, 20, 30)])
    sheet = figures.montage(images, columns=2, gap=1)
    wanted = [
        [10, 10, 10, 255, 20, 20, 20],
        [10, 10, 10, 255, 20, 20, 20],
        [255] * 7,
        [30, 30, 30, 255, 255, 255, 255],
        [30, 30, 30, 255, 255, 255, 255],
    ]
    np.testing.assert_array_equal(sheet, wanted)
    colour = figures.montage(np.repeat(images[..., None], 3, 3), columns=2, gap=1)
    np.testing.assert_array_equal(colour, np.repeat(sheet[..., None], 3, 2))


def test_a_table_is_rounded_and_shows_no_index():
    table = figures.Table(pd.DataFrame({"name": ["a"], "share": [1 / 3], "n": [7]}), decimals=2)
    assert repr(table).split() == ["name", "share", "n", "a", "0.33", "7"]
    html = table._repr_html_()
    assert "<td>0.33</td>" in html and "<th></th>" not in html


def test_an_interval_reaches_to_both_sides_or_nowhere():
    found = figures.reach(pd.Series([1.0, 2.0, 3.0]), [0.5, 2.5, np.nan], [1.25, 3.0, 4.0])
    np.testing.assert_array_equal(found, [[0.5, 0, np.nan], [0.25, 1, 1]])
    assert figures.reach(1, 1 + 1e-16, 2).tolist() == [[0], [1]]


def test_hues_differ_in_lightness_enough_to_be_told_apart_without_colour():
    def luminance(code):
        linear = [int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in linear]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    shades = sorted(luminance(c) for c in figures.PRETRAINING.values())
    assert np.diff(shades).min() > 0.03


def test_every_pretraining_has_a_colour_and_training_seeds_share_one():
    found = figures.colours_of(["imagenet", "own", "synthface-2", "synthface", "other-own"])
    assert found["synthface-2"] == found["synthface"] == figures.PRETRAINING["synthface"]
    assert len(set(found.values())) == 4


def test_a_caption_stands_above_the_table_and_is_no_markup():
    table = figures.Table(pd.DataFrame({"a": [1.0]}), decimals=1, caption="Simulated <observers>")
    assert repr(table).splitlines()[0] == "Simulated <observers>"
    html = table._repr_html_()
    assert "<caption>Simulated &lt;observers&gt;</caption>" in html
    assert html.index("<caption>") < html.index("<thead>")
    assert "caption" not in figures.Table(pd.DataFrame({"a": [1.0]}))._repr_html_()
