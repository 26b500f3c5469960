"""The optional landmark detector, against the landmarks that a rendered face knows."""

import importlib.util

import numpy as np
import pytest
from skimage import data

from lib.errors import InputError
from lib.faces import detect


def test_every_point_has_one_vertex_and_sides_mirror():
    assert len(detect.IBUG_TO_MESH) == len(set(detect.IBUG_TO_MESH)) == 68
    assert min(detect.IBUG_TO_MESH) >= 0 and max(detect.IBUG_TO_MESH) < 468


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is not None, reason="mediapipe is installed"
)
def test_without_the_package_the_sentence_says_how_to_get_it():
    with pytest.raises(InputError, match=r"requirements-landmarks\.lock"):
        detect.detect_landmarks([np.zeros((8, 8), np.uint8)])


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="the extra 'landmarks' (mediapipe) is not installed",
)
class TestDetector:
    def test_a_photograph_has_its_points_in_their_order(self):
        face = data.astronaut()[:256, 96:352]
        points = detect.detect_landmarks([face, np.full((256, 256), 128, np.uint8)])
        assert np.isnan(points[1, :, :2]).all() and (points[1, :, 2] == 0).all()
        x, y = points[0, :, 0], points[0, :, 1]
        assert x[36:42].mean() < x[42:48].mean(), "the subject's right eye is on the left"
        assert y[17:27].mean() < y[36:48].mean() < y[30] < y[48:68].mean() < y[8]

    def test_a_rendered_face_agrees_with_its_own_landmarks(self):
        from lib.faces.head import build_head
        from lib.faces.identity import sample_identity
        from lib.faces.landmarks import find_landmarks
        from lib.faces.render import render_head

        head = build_head(sample_identity(7))
        picture = render_head(head, yaw=10, size=224, colour=True)
        truth = find_landmarks(head, picture)
        found = detect.detect_landmarks([picture.image])[0]
        eyes = np.linalg.norm(truth[36:42, :2].mean(0) - truth[42:48, :2].mean(0))
        inner = slice(17, 68)  # the jaw line is a matter of definition
        error = np.linalg.norm(found[inner, :2] - truth[inner, :2], axis=1) / eyes
        assert np.median(error) < 0.1

    def test_wrong_arrays_are_refused(self):
        with pytest.raises(InputError, match="float64"):
            detect.detect_landmarks([np.zeros((8, 8))])
