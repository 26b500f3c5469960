"""Landmarks for photographs: MediaPipe's face mesh, reduced to the 68 iBUG points (optional).

Rendered faces know their landmarks. A reader's own photographs can get them here, with a detector
that carries its model in the package (``mediapipe``, the extra ``landmarks``).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import numpy as np

from lib.errors import InputError

#: Vertex of MediaPipe's 468-point mesh nearest to each iBUG point: jaw 0-16, brows 17-26, nose
#: 27-35, eyes 36-47, lips 48-67, from the subject's right to their left.
IBUG_TO_MESH = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)


def detect_landmarks(images: Iterable[np.ndarray]) -> np.ndarray:
    """Find the 68 iBUG landmarks in each image.

    Parameters
    ----------
    images : iterable of uint8 arrays (y, x) or (y, x, 3), 0 to 255
        One face each, as from ``FaceSet.iter_batches``; nothing is kept of an image.

    Returns
    -------
    float32 array (n, 68, 3)
        x, y in pixels of the image and visibility (1 found, 0 no face found; x, y are then NaN).
        The detector guesses hidden points as well and does not say which they are.

    Raises
    ------
    InputError
        The package is not installed, or an image is not of that form.
    """
    try:
        mediapipe = importlib.import_module("mediapipe")
    except ImportError:
        raise InputError(
            "Landmark detection needs the package mediapipe: install it with "
            "`.venv/bin/python -m pip install --require-hashes -r requirements-landmarks.lock`."
        ) from None
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, min_detection_confidence=0.5
    )
    found = []
    with mesh:
        for k, image in enumerate(images):
            image = np.asarray(image)
            if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or image.ndim < 2:
                raise InputError(
                    f"image {k} is {image.dtype} of shape {image.shape}: give uint8 arrays "
                    "(y, x) or (y, x, 3)."
                )
            colour = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image
            faces = mesh.process(np.ascontiguousarray(colour)).multi_face_landmarks
            points = np.full((len(IBUG_TO_MESH), 3), (np.nan, np.nan, 0), np.float32)
            if faces:
                height, width = image.shape[:2]
                every = faces[0].landmark
                points[:] = [(every[j].x * width, every[j].y * height, 1) for j in IBUG_TO_MESH]
            found.append(points)
    return np.array(found, np.float32).reshape(-1, len(IBUG_TO_MESH), 3)
