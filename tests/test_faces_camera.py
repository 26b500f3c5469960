"""Projection by hand."""

import numpy as np
import pytest

from lib.faces.camera import CENTRE_BELOW_EYES, DISTANCE, HALF_HEIGHT, make_camera, rotation


def test_turning_axis_projects_to_the_middle():
    camera = make_camera(yaw=37, size=100)
    xy, away = camera.project(np.array([[0.0, -CENTRE_BELOW_EYES, 0.0]]))
    np.testing.assert_allclose(xy[0], [50, 50])
    assert away[0] == pytest.approx(DISTANCE)


def test_half_height_spans_half_the_picture():
    camera = make_camera(size=100)
    xy, _ = camera.project(np.array([[0.0, HALF_HEIGHT - CENTRE_BELOW_EYES, 0.0]]))
    np.testing.assert_allclose(xy[0], [50, 0], atol=1e-9)
    # One decimetre nearer everything grows by d / (d - 1).
    near, _ = camera.project(np.array([[0.5, -CENTRE_BELOW_EYES, 1.0]]))
    expected = 50 + 0.5 / HALF_HEIGHT * 50 * DISTANCE / (DISTANCE - 1)
    assert near[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("angles", "point", "turned"),
    [
        ({"yaw": 90}, [0, 0, 1], [1, 0, 0]),  # the nose points to the picture's right
        ({"yaw": -90}, [0, 0, 1], [-1, 0, 0]),
        ({"pitch": 90}, [0, 0, 1], [0, 1, 0]),  # and up
        ({"roll": 90}, [0, 1, 0], [-1, 0, 0]),  # the crown tips to the picture's left
    ],
)
def test_signs_of_the_angles(angles, point, turned):
    np.testing.assert_allclose(rotation(**angles) @ point, turned, atol=1e-12)


def test_rotations_are_rotations():
    turn = rotation(20, -35, 12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
