"""Eyeglasses: tubes by their formulas, rims of the shape asked for, lenses before the eyes."""

import functools

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces.eyes import build_eye
from lib.faces.glasses import FRAMES, _tube, build_glasses
from lib.faces.head import place_head
from lib.faces.identity import average_identity, sample_identity
from lib.faces.mesh import build_surface

SIDES = ((1, "left"), (-1, "right"))
RIM = 48
# Corners around a tube, and where each begins: left rim and temple, right ones, bridge.
SIDED = 8
STARTS = np.array([0, RIM, 32, RIM, 32]).cumsum() * SIDED


@functools.cache
def face(seed=None):
    """Skin and eyes of the average person, or of one drawn by chance."""
    person = average_identity() if seed is None else sample_identity(seed)
    points = place_head(person.morphs)[0]
    return build_surface(points), [build_eye(points, points, side) for _, side in SIDES]


@functools.cache
def worn(name, seed=None):
    surface, eyes = face(seed)
    return build_glasses(surface, [eye.centre for eye in eyes], name)


def lens(glasses, k):
    """Hub (3,) and rim (48, 3) of the k-th lens."""
    part = glasses.lens_points[k * (RIM + 1) : (k + 1) * (RIM + 1)]
    return part[0], part[1:]


def volume(points, triangles):
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return np.einsum("nk,nk->n", a, np.cross(b, c)).sum() / 6


def test_a_straight_tube_is_a_cylinder():
    along = np.linspace(0, 2, 11)
    path = np.stack([0 * along, 0 * along, along], 1)
    points, normals, triangles = _tube(path, 0.1, closed=False)
    np.testing.assert_allclose(np.hypot(points[:, 0], points[:, 1]), 0.1)
    np.testing.assert_allclose(points, np.repeat(path, 8, 0) + 0.1 * normals)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert len(triangles) == 10 * 8 * 2 and triangles.max() == len(points) - 1
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    # The mantle of a prism on a regular octagon.
    assert area == pytest.approx(2 * 8 * 2 * 0.1 * np.sin(np.pi / 8))


def test_a_closed_tube_is_a_torus():
    turn = 2 * np.pi * np.arange(200) / 200
    path = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    points, normals, triangles = _tube(path, 0.1, closed=True)
    assert len(triangles) == 200 * 8 * 2
    # Pappus: the octagon's area times the way of its centre.
    octagon = 8 / 2 * 0.1**2 * np.sin(2 * np.pi / 8)
    assert abs(volume(points, triangles)) == pytest.approx(octagon * 2 * np.pi, rel=2e-3)
    ring = np.repeat(path, 8, 0)
    np.testing.assert_allclose(((points - ring) * normals).sum(1), 0.1)


@pytest.mark.parametrize("name", FRAMES)
def test_rims_have_the_shape_of_their_frame(name):
    half_width, half_height, roundness, _ = FRAMES[name]
    for k, (sign, _) in enumerate(SIDES):
        hub, rim = lens(worn(name), k)
        x, y = ((rim - hub)[:, :2] / (half_width, half_height)).T
        np.testing.assert_allclose(np.abs(x) ** roundness + np.abs(y) ** roundness, 1)
        # Within the tube of the frame, bent back towards the temple and level elsewhere.
        outer = rim[:, 0] * sign
        assert rim[outer.argmax(), 2] < rim[outer.argmin(), 2]
        tube = worn(name).points[STARTS[2 * k] :][: RIM * SIDED].reshape(RIM, SIDED, 3)
        away = np.linalg.norm(tube - rim[:, None], axis=2)
        np.testing.assert_allclose(away, FRAMES[name][3])


@pytest.mark.parametrize("seed", [None, 3, 4])
@pytest.mark.parametrize("name", FRAMES)
def test_lenses_lie_before_the_eyes(name, seed):
    surface, eyes = face(seed)
    skin, normals = surface.points, surface.normals
    for k, (eye, (sign, _)) in enumerate(zip(eyes, SIDES, strict=True)):
        hub, rim = lens(worn(name, seed), k)
        assert np.sign(hub[0]) == sign and (rim[:, 0] * sign > 0).all()
        assert hub[:2] == pytest.approx(eye.centre[:2], abs=0.04)
        front = eye.points[:, 2].max()
        assert hub[2] > front + 0.02 and rim[:, 2].min() > eye.centre[2]
        # Seen from the front the whole eyeball's cornea is within the rim.
        half_width, half_height, roundness, _ = FRAMES[name]
        cornea = eye.points[(eye.points - eye.centre) @ eye.gaze > 0.87 * eye.radius]
        x, y = ((cornea - hub)[:, :2] / (half_width, half_height)).T
        assert (np.abs(x) ** roundness + np.abs(y) ** roundness).max() < 1
        # No lens cuts into the lids.
        near = surface.tree.query(rim)[1]
        assert (((rim - skin[near]) * normals[near]).sum(1) > 0).all()


@pytest.mark.parametrize("seed", [None, 3, 4])
def test_temples_reach_the_ears_and_the_bridge_spans_the_nose(seed):
    glasses = worn("square", seed)
    surface, _ = face(seed)
    for k, (sign, _) in enumerate(SIDES):
        temple = glasses.points[STARTS[2 * k + 1] : STARTS[2 * k + 2]]
        temple = temple.reshape(32, SIDED, 3).mean(1)
        ear = surface.points[(surface.ear > 0.5) & (surface.points[:, 0] * sign > 0)]
        assert (temple[:, 0] * sign > 0).all() and (np.diff(temple[:, 2]) < 0).all()
        top = ear[ear[:, 1].argmax()]
        assert np.linalg.norm(temple[:, 1:] - top[1:], axis=1).min() < 0.12
        assert temple[-1, 1] < top[1] and temple[-1, 2] < top[2]
    bridge = glasses.points[STARTS[4] :].reshape(12, SIDED, 3).mean(1)
    assert bridge[0, 0] > 0 > bridge[-1, 0] and np.ptp(bridge[:, 0]) < 0.35
    root = surface.points[(np.abs(surface.points[:, 0]) < 0.03) & (surface.points[:, 2] > 0.9)]
    under = root[np.abs(root[:, 1] - bridge[:, 1].mean()) < 0.03]
    assert bridge[:, 2].min() > under[:, 2].max()


def test_on_a_symmetric_face_both_sides_mirror_each_other():
    glasses = worn("oval")
    hub, rim = lens(glasses, 0)
    other_hub, other_rim = lens(glasses, 1)
    mirror = np.array([-1, 1, 1])
    np.testing.assert_allclose(hub, other_hub * mirror, atol=2e-3)
    apart = np.linalg.norm(rim[:, None] - other_rim[None] * mirror, axis=2).min(1)
    assert apart.max() < 3e-3


@pytest.mark.parametrize("name", FRAMES)
def test_meshes_are_whole(name):
    glasses = worn(name)
    assert glasses.name == name
    for points, triangles in (
        (glasses.points, glasses.triangles),
        (glasses.lens_points, glasses.lens_triangles),
    ):
        assert triangles.dtype == np.int32 and set(triangles.ravel()) == set(range(len(points)))
    np.testing.assert_allclose(np.linalg.norm(glasses.normals, axis=1), 1)
    # A lens fills its rim: the area of the polygon is that of its 48 triangles.
    for k in range(2):
        hub, rim = lens(glasses, k)
        nearby = np.roll(rim, -1, 0)
        flat = np.cross((rim - hub)[:, :2], (nearby - hub)[:, :2])
        a, b, c = (glasses.lens_points[glasses.lens_triangles[k * RIM : (k + 1) * RIM, i]]
                   for i in range(3))  # fmt: skip
        filled = np.cross((b - a)[:, :2], (c - a)[:, :2])
        assert filled.sum() == pytest.approx(flat.sum()) and flat.min() > 0


@pytest.mark.parametrize("name", ["monocle", "", None, ["round"], {"round"}])
def test_unknown_glasses_are_refused(name):
    surface, eyes = face()
    with pytest.raises(InputError, match="glasses: choose one of round, square, oval"):
        build_glasses(surface, [eye.centre for eye in eyes], name)
