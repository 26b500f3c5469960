"""Eyeballs: a closed ball with a cornea, the gaze of a known rotation, iris and pupil by angle."""

import functools

import numpy as np
import pytest

from lib.faces.assets import load_assets
from lib.faces.camera import rotation
from lib.faces.eyes import IRIS_EDGE, PUPIL_EDGE, _ball, build_eye, eye_albedo
from lib.faces.head import build_head, place_head
from lib.faces.identity import average_identity
from lib.faces.labels import PARTS
from lib.faces.mesh import unit
from lib.faces.render import render_head

SIDES = ("left", "right")
FORWARD = np.array([0.0, 0.0, 1.0])
IRIS = (0.14, 0.20, 0.27)


@functools.cache
def resting():
    return place_head(average_identity().morphs)[0]


def shell_and_centre(side):
    helpers = load_assets().helpers
    return helpers[f"eye_{side}"], resting()[helpers[f"centre_{side}"]].mean(0)


def turned(side, turn):
    """The resting head with one eye turned about its centre."""
    shell, centre = shell_and_centre(side)
    points = resting().copy()
    points[shell] = centre + (points[shell] - centre) @ turn.T
    return points


def volume(points, triangles):
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return np.einsum("nk,nk->n", a, np.cross(b, c)).sum() / 6


def around_gaze(angles, gaze=FORWARD, count=360):
    """Unit vectors (angles, count, 3) at some angles from the gaze, all the way round it."""
    across = unit(np.cross([0, 1, 0], gaze))
    up = np.cross(gaze, across)
    turn = 2 * np.pi * np.arange(count) / count
    ring = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * up
    angles = np.asarray(angles)[:, None, None]
    return np.cos(angles) * gaze + np.sin(angles) * ring


def mean_albedo(angles, **settings):
    directions = around_gaze(angles)
    albedo, _ = eye_albedo(directions.reshape(-1, 3), FORWARD, IRIS, **settings)
    return albedo.reshape(*directions.shape).mean(1)


def test_the_ball_is_a_closed_sphere():
    points, triangles = _ball()
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    # A polyhedron within the sphere; were a triangle turned over, its share would be taken off.
    assert 0.97 < abs(volume(points, triangles)) / (4 / 3 * np.pi) < 1
    # Poles aside every edge belongs to two triangles, which run along it in opposite directions.
    solid = points.round(9)
    number = {tuple(p): k for k, p in enumerate(np.unique(solid, axis=0))}
    corner = np.array([number[tuple(p)] for p in solid])[triangles]
    corner = corner[[len(set(t)) == 3 for t in corner]]
    edges = [(t[k], t[(k + 1) % 3]) for t in corner.tolist() for k in range(3)]
    assert len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges)


@pytest.mark.parametrize("side", SIDES)
def test_at_rest_the_eye_looks_ahead_from_its_place(side):
    eye = build_eye(resting(), resting(), side)
    _, centre = shell_and_centre(side)
    np.testing.assert_allclose(eye.gaze, FORWARD, atol=1e-9)
    np.testing.assert_allclose(eye.centre, centre)
    assert (eye.centre[0] > 0) == (side == "left")
    # Eyeballs are 24 mm across, those of the mesh a little more; the line through both is .85 dm
    # in front of the turning axis.
    assert 0.12 < eye.radius < 0.17 and eye.centre[2] == pytest.approx(0.85, abs=0.02)
    away = np.linalg.norm(eye.points - eye.centre, axis=1)
    ahead = (eye.points - eye.centre) @ eye.gaze / away
    np.testing.assert_allclose(away[ahead < 0.86], eye.radius)
    assert away.max() == pytest.approx(1.05 * eye.radius) and ahead[away.argmax()] > 0.999
    np.testing.assert_allclose(eye.normals, (eye.points - eye.centre) / away[:, None], atol=1e-12)
    assert 1 < abs(volume(eye.points - eye.centre, eye.triangles)) / (4 * eye.radius**3) < 1.1


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("yaw", "pitch"), [(25, 0), (-25, 0), (0, 15), (20, -10)])
def test_the_gaze_is_the_rotation_of_the_eye(side, yaw, pitch):
    turn = rotation(yaw, pitch)
    eye = build_eye(turned(side, turn), resting(), side)
    np.testing.assert_allclose(eye.gaze, turn @ FORWARD, atol=1e-9)
    # The cornea is where the gaze is.
    tip = eye.points[np.linalg.norm(eye.points - eye.centre, axis=1).argmax()] - eye.centre
    np.testing.assert_allclose(unit(tip), eye.gaze, atol=1e-6)
    other = build_eye(turned(side, turn), resting(), SIDES[side == "left"])
    np.testing.assert_allclose(other.gaze, FORWARD, atol=1e-9)


def test_pupil_iris_and_white_follow_each_other_from_the_gaze_outwards():
    pupil, iris, white, corner = mean_albedo([0.05, 0.33, 0.70, 1.10])
    np.testing.assert_allclose(pupil, 0.006, rtol=1e-6)
    # Blue stays blue, darker than the white and brighter than the pupil.
    assert iris[2] > iris[1] > iris[0] > 10 * pupil.max() and iris.max() < 0.5 * white.min()
    assert white.min() > 0.6 and white[0] / white[2] < 1.25 < corner[0] / corner[2]
    limbus = mean_albedo([IRIS_EDGE - 0.03])[0]
    assert limbus.max() < 0.8 * iris.max()


def test_angles_are_those_from_the_gaze():
    gaze = unit(np.array([0.3, -0.2, 0.9]))
    angles = np.array([0.0, 0.1, IRIS_EDGE, 1.5])
    directions = around_gaze(angles, gaze, 8)
    albedo, found = eye_albedo(directions.reshape(-1, 3), gaze, IRIS)
    np.testing.assert_allclose(found.reshape(4, 8), angles[:, None] * np.ones(8), atol=1e-6)
    # The same pattern as about any other gaze: it turns with the eye.
    ahead, _ = eye_albedo(around_gaze(angles, count=8).reshape(-1, 3), FORWARD, IRIS)
    np.testing.assert_allclose(albedo, ahead, atol=1e-6)


@pytest.mark.parametrize("openness", [0.7, 1.0, 1.3])
def test_openness_is_the_width_of_the_pupil(openness):
    angles = np.linspace(0, 0.4, 401)
    dark = mean_albedo(angles, openness=openness).max(1) < 0.0061
    assert angles[dark].max() == pytest.approx(PUPIL_EDGE * openness - 0.025, abs=0.002)


def test_the_fibres_differ_from_person_to_person():
    ring = around_gaze([0.33])[0]
    patterns = [eye_albedo(ring, FORWARD, IRIS, seed=seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(patterns[0], patterns[1])
    assert np.corrcoef(patterns[0][:, 0], patterns[2][:, 0])[0, 1] < 0.9
    white = [eye_albedo(around_gaze([0.8])[0], FORWARD, IRIS, seed=s)[0] for s in (1, 2)]
    np.testing.assert_array_equal(*white)


def test_in_the_picture_the_iris_goes_where_the_eyes_look():
    place = {}
    for look in ("Left", "Right", None):
        # To look to the left the left eye turns out and the right eye in.
        other = {"Left": "Right", "Right": "Left"}.get(look)
        units = {f"eyeLookOut{look}": 0.8, f"eyeLookIn{other}": 0.8} if look else {}
        head = build_head(average_identity(), hair=None, expression=units, detail="fast")
        picture = render_head(
            head, size=96, zoom=3.5, light="flat", supersample=1, buffers=True, shift=(0.0, -0.09)
        )
        for side in (1, -1):
            eye = (picture.labels == PARTS["eye"]) & (picture.side == side)
            dark = eye & (picture.image < 90)
            assert eye.sum() > 100 and dark.sum() > 20
            columns = np.arange(96)[None, :]
            place[look, side] = (columns * dark).sum() / dark.sum()
    # The subject's left is the picture's right.
    for side in (1, -1):
        assert place["Left", side] > place[None, side] + 2
        assert place["Right", side] < place[None, side] - 2
