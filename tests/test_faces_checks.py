"""Shortcut checks: a planted cue is found, shuffled labels are not."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from lib.errors import InputError
from lib.faces.checks import (
    best_pixel,
    check_shortcuts,
    fit_stump,
    neighbour_accuracy,
    pixel_accuracy,
    probe_accuracy,
    scalar_cues,
    shuffle_genders,
    shuffled_maximum,
    split_by_identity,
)

PEOPLE, SIDE = 100, 12
VIEWS = np.array([-45, 0, 45])


@pytest.fixture
def people():
    """Noise images of 100 people from three views, half of them female; nothing tells gender."""
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(PEOPLE), len(VIEWS))
    gender = np.where(identity % 2, "male", "female")
    viewpoint = np.tile(VIEWS, PEOPLE)
    images = rng.normal(120, 20, (len(identity), SIDE, SIDE))
    return images, gender, identity, viewpoint


def plant(images, gender, rows, columns, amount=60):
    images = images.copy()
    images[np.ix_(gender == "male", rows, columns)] += amount
    return images


def test_stump_is_the_decision_tree_of_depth_one():
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(size=(41, 30)), 1)
    target = rng.random(41) < 0.5
    _, _, accuracy = fit_stump(values, target)
    threshold, above, _ = fit_stump(values, target)
    given = ((values > threshold) == above) == target[:, None]
    np.testing.assert_allclose(given.mean(axis=0), accuracy)
    for k in range(30):
        # The most accurate cut, by trying them all; a tree's own criterion never beats it.
        cuts = np.unique(values[:, k])
        hits = [((values[:, k] > cut) == target).mean() for cut in [cuts[0] - 1, *cuts]]
        assert accuracy[k] == pytest.approx(max(max(hits), 1 - min(hits)))
        tree = DecisionTreeClassifier(max_depth=1).fit(values[:, [k]], target)
        assert accuracy[k] >= tree.score(values[:, [k]], target) - 1e-12


def test_stumps_of_bytes_are_those_of_floats():
    rng = np.random.default_rng(2)
    values = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    target = rng.random(40) < 0.5
    for bytes_, floats in zip(
        fit_stump(values, target), fit_stump(values.astype(float), target), strict=True
    ):
        np.testing.assert_array_equal(bytes_, floats)


def test_no_person_is_on_both_sides_of_a_split(people):
    _, gender, identity, _ = people
    tested = np.zeros(len(identity), int)
    for train, test in split_by_identity(gender, identity):
        assert not set(identity[train]) & set(identity[test])
        tested[test] += 1
    assert (tested == 1).all()


def test_a_planted_pixel_is_found_and_luck_is_not_called_a_cue(people):
    images, gender, identity, viewpoint = people
    front = viewpoint == 0
    data = plant(images, gender, [7], [3])[front], gender[front], identity[front]
    accuracy, chosen = pixel_accuracy(*data)
    assert np.unravel_index(accuracy.argmax(), accuracy.shape) == (7, 3)
    assert accuracy.max() > 0.85 and chosen > 0.85
    lucky = shuffled_maximum(*data, draws=10)
    assert accuracy.max() > lucky.max()
    honest, chosen = pixel_accuracy(images[front], *data[1:])
    assert honest.max() <= lucky.max() + 0.05 and chosen < 0.7


def test_genders_are_dealt_out_by_person(people):
    _, gender, identity, _ = people
    dealt = shuffle_genders(gender, identity, np.random.default_rng(0))
    assert all(len(set(dealt[identity == k])) == 1 for k in range(PEOPLE))
    assert (dealt == "male").sum() == (gender == "male").sum()
    assert (dealt != gender).any()


def test_probe_finds_a_pattern_spread_over_the_image_but_not_identity(people):
    images, gender, identity, _ = people
    pattern = np.random.default_rng(3).normal(size=(SIDE, SIDE))
    spread = images + 10 * np.where(gender == "male", 1, -1)[:, None, None] * pattern
    assert probe_accuracy(spread, gender, identity) > 0.95
    # Each person has a pattern of their own: images split at random would score near 1.
    own = np.random.default_rng(4).normal(size=(PEOPLE, SIDE, SIDE))
    assert probe_accuracy(images + 40 * own[identity], gender, identity) < 0.65


def test_neighbours_by_hand(people):
    _, _, identity, viewpoint = people
    own = np.random.default_rng(5).uniform(0, 255, (PEOPLE, SIDE, SIDE))
    images = own[identity]
    images[viewpoint == 45] = own[np.roll(np.arange(PEOPLE), 1)]
    table = neighbour_accuracy(images, identity, viewpoint).set_index("viewpoint")
    assert table["accuracy"].to_dict() == {-45: 1, 45: 0}
    assert table["chance"].to_dict() == {-45: 1 / PEOPLE, 45: 1 / PEOPLE}


def test_scalar_cues_by_hand():
    image = np.full((8, 8), 50.0)
    image[2:, 3:5] = 100
    cues = scalar_cues(image[None], (image == 50)[None]).iloc[0]
    assert cues["background"] == 50
    assert cues["brightness"] == pytest.approx(50 + 50 * 12 / 64)
    assert (cues["area"], cues["top"], cues["width"]) == (12 / 64, 2 / 8, 2 / 8)


@pytest.mark.parametrize(
    ("rows", "columns", "name"),
    [
        ([5], [6], ("best pixel", "row 5, column 6")),
        ([11], range(SIDE), ("collar", "lowest eighth")),
        ([0], [0, 11], ("scalar cue", "background")),
        (range(SIDE), range(SIDE), ("scalar cue", "brightness")),
    ],
)
def test_each_planted_cue_fails_its_own_check(people, rows, columns, name):
    images, gender, identity, viewpoint = people
    planted = plant(images, gender, list(rows), list(columns))
    table = check_shortcuts(planted, gender, identity, viewpoint, draws=2)
    row = table[(table["check"] == name[0]) & (table["what"] == name[1])]
    assert not row["passed"].item() and row["value"].item() > 0.8


def test_a_pixel_that_tells_from_one_side_only_is_found(people):
    images, gender, identity, viewpoint = people
    aside = viewpoint == 45
    images[aside] = plant(images[aside], gender[aside], [5], [6])
    table = check_shortcuts(images, gender, identity, viewpoint, draws=2).set_index("check")
    assert table["passed"]["best pixel"] and not table["passed"]["best pixel, turned"]
    assert table["what"]["best pixel, turned"] == "+45 degrees"


def test_head_size_is_a_cue_when_planted(people):
    images, gender, identity, viewpoint = people
    background = np.ones(images.shape, bool)
    background[:, 4:, 4:8] = False
    larger = gender == "male"
    background[larger, 2:, 3:9] = False
    table = check_shortcuts(images, gender, identity, viewpoint, background=background, draws=2)
    failed = set(table["what"][~table["passed"]])
    assert {"area", "top", "width"} <= failed


def test_nothing_is_found_where_nothing_is(people):
    images, gender, identity, viewpoint = people
    table = check_shortcuts(images, gender, identity, viewpoint, draws=5)
    pixels = table["check"].str.startswith("best pixel")
    assert pixels.sum() == 2
    assert (table["value"] <= table["chance"] + 0.05)[pixels].all()
    others = table[table["limit"].eq(0.7) & ~pixels]
    assert (others["value"] < 0.7).all()


def test_one_gender_cannot_be_checked(people):
    images, _, identity, viewpoint = people
    with pytest.raises(InputError, match="each gender"):
        check_shortcuts(images, np.full(len(images), "male"), identity, viewpoint)
    with pytest.raises(InputError, match="frontal"):
        check_shortcuts(images, np.full(len(images), "male"), identity, viewpoint + 15)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_pixel_is_the_largest_of_the_map(seed):
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(20), 2)
    gender = np.where(identity % 2, "female", "male")
    images = rng.integers(0, 6, (40, 30, 40)).astype(np.uint8)
    if seed % 2:
        images[:, 11, 7] += (2 * (identity % 2)).astype(np.uint8)
    accuracy = pixel_accuracy(images, gender, identity)[0]
    best, y, x = best_pixel(images, gender, identity)
    assert best == accuracy.max()
    assert (y, x) == np.unravel_index(accuracy.argmax(), accuracy.shape)
