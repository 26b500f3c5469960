"""Skin paint: noise with its gradient, folds, borders of the parts, make-up."""

import numpy as np
import pytest

from lib.faces.identity import sample_identity
from lib.faces.labels import PARTS
from lib.faces.mesh import load_mesh
from lib.faces.skin import (
    Makeup,
    _curve,
    label_face,
    noise,
    paint_skin,
    smoothstep,
    wrinkle_depth,
)
from lib.faces.styles import STYLES

NO_MASKS = ("lips", "eyelids", "ears", "mouth")


def empty_masks(count):
    return {name: np.zeros(count) for name in NO_MASKS}


def front_points():
    mesh = load_mesh()
    return mesh.canonical[(mesh.canonical[:, 2] > 0.4) & (mesh.canonical[:, 1] > -1.1)]


def test_noise_gradient_is_its_slope():
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (200, 3))
    here = noise(points, 7.0, 4)
    step = 1e-6
    for axis in range(3):
        moved = points.copy()
        moved[:, axis] += step
        slope = (noise(moved, 7.0, 4)[:, 0] - here[:, 0]) / step
        np.testing.assert_allclose(slope, here[:, 1 + axis], atol=1e-3)


def test_noise_has_the_frequency_asked_for():
    # Two points farther apart than a cell are unrelated, much nearer ones alike.
    rng = np.random.default_rng(2)
    points = rng.uniform(-1, 1, (4000, 3))
    value = noise(points, 5.0, 9)[:, 0]
    near = noise(points + np.array([0.01, 0, 0]), 5.0, 9)[:, 0]
    far = noise(points + np.array([0.9, 0, 0]), 5.0, 9)[:, 0]
    assert np.corrcoef(value, near)[0, 1] > 0.95
    assert abs(np.corrcoef(value, far)[0, 1]) < 0.1


def test_distance_to_a_polyline_by_hand():
    x, y = np.array([0.5, 3.0, -1.0]), np.array([1.0, 2.0, 0.0])
    distance, place = _curve([(0, 0), (2, 0), (2, 2)], x, y)
    np.testing.assert_allclose(distance, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(place, [0.125, 1.0, 0.0])


def test_smoothstep_ends_and_middle():
    np.testing.assert_allclose(smoothstep(1, 3, np.array([0, 1, 2, 3, 9])), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(3, 1, np.array([0, 2, 4])), [1, 0.5, 0])


def test_wrinkles_deepen_with_age_and_stay_on_their_lines():
    points = front_points()
    young, old = (wrinkle_depth(points, s) for s in (0.05, 0.9))
    assert old.mean() > 3 * young.mean()
    lip = np.abs(points[:, 1] + 0.67) < 0.05
    middle = lip & (np.abs(points[:, 0]) < 0.1)
    assert old[middle].max() < 0.05


def test_parts_lie_where_anatomy_has_them():
    style = STYLES["buzz"]
    places = {
        "nose": (0, -0.33, 1.26),
        "forehead": (0.05, 0.42, 1.0),
        "cheek": (0.45, -0.33, 0.93),
        "chin": (0, -0.95, 1.08),
        "eyelid": (0.29, 0.07, 0.95),
        "skin": (0.0, -1.35, 0.4),
    }
    points = np.array(list(places.values()))
    labels = label_face(points, empty_masks(len(points)), style)
    assert [PARTS[name] for name in places] == labels.tolist()
    mirrored = label_face(points * [-1, 1, 1], empty_masks(len(points)), style)
    np.testing.assert_array_equal(labels, mirrored)


def test_borders_of_the_cheek_are_curved():
    # A straight cut would have the same height at all azimuths, or the same x at all heights.
    y, x = np.mgrid[-0.8:0.1:90j, 0.2:0.75:60j]
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.8)], 1)
    cheek = label_face(points, empty_masks(x.size), STYLES["buzz"]) == PARTS["cheek"]
    cheek = cheek.reshape(x.shape)
    columns = np.nonzero(cheek.any(0))[0]
    lower = np.array([np.nonzero(cheek[:, c])[0].min() for c in columns])
    upper = np.array([np.nonzero(cheek[:, c])[0].max() for c in columns])
    assert len(np.unique(lower)) > 8 and len(np.unique(upper)) > 4


def test_lipstick_reddens_lips_and_nothing_else():
    points = front_points()[:400]
    masks = empty_masks(400)
    masks["lips"][:100] = 1.0
    normals = np.tile([0.0, 0, 1], (400, 1))
    person = sample_identity(4)
    bare = paint_skin(person, points, masks, normals, style=None)
    red = paint_skin(person, points, masks, normals, Makeup(lipstick=1.0), style=None)
    np.testing.assert_array_equal(bare.albedo[100:], red.albedo[100:])
    ratio = red.albedo[:100, 0] / red.albedo[:100, 1]
    assert (ratio > 2 * bare.albedo[:100, 0] / bare.albedo[:100, 1]).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_paint_is_physical(seed):
    points = front_points()
    normals = np.tile([0.0, 0, 1], (len(points), 1))
    paint = paint_skin(
        sample_identity(seed), points, empty_masks(len(points)), normals, style=STYLES["bob"]
    )
    assert (paint.albedo > 0).all() and (paint.albedo < 1).all()
    np.testing.assert_allclose(np.linalg.norm(paint.normals, axis=1), 1)
    assert (paint.normals[:, 2] > 0.5).all()
