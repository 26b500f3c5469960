"""Subdivision, normals and the frame of the head against results worked by hand."""

import numpy as np
import pytest

from lib.faces.assets import load_assets
from lib.faces.mesh import (
    apply_morphs,
    average_macro,
    build_surface,
    catmull_clark,
    compute_normals,
    double_areas,
    head_frame,
    load_mesh,
    make_smoother,
    quads_to_triangles,
    split_corners,
    unit,
)

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_FACES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def test_cube_after_one_step():
    stencil, faces = catmull_clark(CUBE_FACES, 8)
    fine = stencil @ CUBE
    assert fine.shape == (8 + 6 + 12, 3) and faces.shape == (24, 4)
    # By hand: a corner goes to (Q + 2 R + (3 - 3) P) / 3 with Q the mean of its three face points
    # and R of its three edge midpoints: Q = P / 3, R = 2 P / 3, so P * 5 / 9.
    np.testing.assert_allclose(fine[:8], CUBE * 5 / 9)
    # A face point is the mean of its corners: the middles of the sides.
    np.testing.assert_allclose(np.sort(np.abs(fine[8:14]), 1), [[0, 0, 1]] * 6)
    # An edge point is the mean of two corners and two face points: (1, 1, 0) * 3 / 4.
    np.testing.assert_allclose(np.sort(np.abs(fine[14:]), 1), [[0, 0.75, 0.75]] * 12)


def test_open_sheet_keeps_its_rim_flat():
    # One square: its corners follow the B-spline rule (1, 6, 1) / 8 along the rim.
    square = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]], float)
    stencil, _ = catmull_clark(np.array([[0, 1, 2, 3]]), 4)
    fine = stencil @ square
    np.testing.assert_allclose(fine[0], [4 / 8, 4 / 8, 0])
    np.testing.assert_allclose(fine[4], [2, 2, 0])
    assert sorted(fine[5:].tolist()) == [[0, 2, 0], [2, 0, 0], [2, 4, 0], [4, 2, 0]]


def test_corner_values_split_like_the_faces():
    uv = np.array([[[0, 0], [2, 0], [2, 2], [0, 2]]], float)
    parts = split_corners(uv)
    np.testing.assert_allclose(parts[0], [[0, 0], [1, 0], [1, 1], [0, 1]])
    np.testing.assert_allclose(parts.mean(1), [[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [0.5, 1.5]])


def test_normals_point_out_of_a_cube():
    normals = compute_normals(CUBE, quads_to_triangles(CUBE_FACES))
    assert ((normals * CUBE).sum(1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)


def test_smoother_by_hand():
    # Two triangles share the edge 1-2; vertex 0 has the neighbours 1 and 2, vertex 1 has 0, 2, 3.
    smoother = make_smoother(np.array([[0, 1, 2], [1, 3, 2]]), 4)
    value = np.array([6.0, 0.0, 0.0, 12.0])
    np.testing.assert_allclose(smoother @ value, [3, 3, 3, 6])
    np.testing.assert_allclose(smoother @ np.ones(4), 1)


def test_morphs_add_up():
    assets = load_assets()
    name = "nose/nose-hump-incr"
    index, delta = assets.targets[name]
    once = apply_morphs({name: 0.25}) - assets.points
    np.testing.assert_allclose(once[index], 0.25 * delta, atol=1e-12)
    both = apply_morphs({name: 0.25, "chin/chin-width-incr": -0.5}) - assets.points
    other = apply_morphs({"chin/chin-width-incr": -0.5}) - assets.points
    np.testing.assert_allclose(both, once + other, atol=1e-12)


def test_average_head_is_its_own_canonical_head():
    points = apply_morphs(average_macro())
    origin, scale = head_frame(points)
    assert scale == pytest.approx(1, abs=1e-9)
    surface = build_surface((points - origin) * scale)
    np.testing.assert_allclose(surface.points, load_mesh().canonical, atol=1e-9)


def test_frame_undoes_shift_and_size():
    points = apply_morphs({**average_macro(), "head/head-oval": 0.4})
    origin, scale = head_frame(points)
    placed = (points - origin) * scale
    changed = points * 1.3 + np.array([0.5, -2.0, 0.25])
    origin, scale = head_frame(changed)
    np.testing.assert_allclose((changed - origin) * scale, placed, atol=1e-9)


def test_canonical_head_is_symmetric():
    canonical = load_mesh().canonical
    face = canonical[canonical[:, 2] > 0.5]
    mirrored = face * [-1, 1, 1]
    nearest = np.linalg.norm(face[None, :500] - mirrored[:, None], axis=2).min(0)
    assert np.quantile(nearest, 0.98) < 0.01


def test_triangle_areas_and_normals_are_those_of_numpy():
    rng = np.random.default_rng(1)
    points, triangles = rng.normal(size=(40, 3)), rng.integers(0, 40, (60, 3)).astype(np.int32)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    np.testing.assert_allclose(double_areas(points, triangles), np.linalg.norm(face, axis=1))
    total = np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], face)
    np.testing.assert_allclose(compute_normals(points, triangles), unit(total))
