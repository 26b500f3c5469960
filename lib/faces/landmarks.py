"""The 68 landmarks of the iBUG 300-W scheme, as places on the head's skin.

Each landmark is one vertex of the mesh, found by its canonical coordinates (`CANONICAL`, measured
on the average head), so that it follows every morph and expression. Eyebrows are painted and not
modelled: their ten points follow the shape of the person's own brows.

Their numbering is that of `lib.faces.ibug`.
"""

import functools

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from lib.faces.hair import brow_paint
from lib.faces.ibug import COUNT, MIRROR
from lib.faces.labels import PARTS
from lib.faces.mesh import load_mesh
from lib.faces.styles import get_brow

#: Landmarks of the line of the jaw.
JAW = slice(0, 17)
#: Of these, one hidden by skin is seen if it lies this near its edge, share of the image's side.
EDGE = 0.012

# Canonical x, y, z in decimetres of the landmarks in the middle and on the subject's left.
_LEFT = {
    8: (0.000, -1.078, 0.960),
    9: (0.203, -1.046, 0.875),
    10: (0.353, -0.968, 0.686),
    11: (0.479, -0.848, 0.542),
    12: (0.560, -0.700, 0.441),
    13: (0.612, -0.532, 0.349),
    14: (0.664, -0.324, 0.316),
    15: (0.682, -0.183, 0.308),
    16: (0.689, -0.004, 0.290),
    27: (0.000, 0.004, 1.082),
    28: (0.000, -0.111, 1.115),
    29: (0.000, -0.216, 1.184),
    30: (0.000, -0.337, 1.261),
    33: (0.000, -0.461, 1.173),
    34: (0.066, -0.445, 1.146),
    35: (0.140, -0.430, 1.101),
    42: (0.183, -0.029, 0.977),
    43: (0.255, 0.024, 1.017),
    44: (0.345, 0.028, 1.011),
    45: (0.413, -0.003, 0.955),
    46: (0.348, -0.050, 0.991),
    47: (0.260, -0.050, 0.999),
    51: (0.000, -0.577, 1.202),
    52: (0.049, -0.570, 1.194),
    53: (0.136, -0.600, 1.155),
    54: (0.221, -0.673, 1.061),
    55: (0.148, -0.759, 1.108),
    56: (0.061, -0.782, 1.139),
    57: (0.000, -0.786, 1.146),
    62: (0.000, -0.666, 1.126),
    63: (0.077, -0.662, 1.118),
    64: (0.209, -0.673, 1.050),
    65: (0.079, -0.670, 1.117),
    66: (0.000, -0.674, 1.126),
}


def landmark_positions(brow=None):
    """Canonical coordinates of the landmarks.

    Parameters
    ----------
    brow : lib.faces.styles.BrowShape, optional
        Default the natural one.

    Returns
    -------
    ndarray (68, 3) of float64
        Decimetres: x towards the subject's left, y up from the eyes, z out of the face.
    """
    brow = get_brow("natural") if brow is None else brow
    out = np.full((COUNT, 3), np.nan)
    for number, place in _LEFT.items():
        out[number] = place
    along = np.linspace(0, 1, 5)
    out[22:27, 0] = brow.inner + along * (brow.outer - brow.inner)
    out[22:27, 1] = _middle_of_brow(out[22:27, 0], brow)
    out[22:27, 2] = _front_of_skin(out[22:27, :2])
    empty = np.isnan(out[:, 0])
    out[empty] = out[MIRROR[empty]] * (-1, 1, 1)
    return out


def landmark_vertices(brow=None):
    """Vertex of the head mesh at each landmark, ndarray (68,); see `landmark_positions`."""
    return _tree().query(landmark_positions(brow))[1]


def find_landmarks(head, render):
    """Landmarks of a rendered head in the pixels of its image.

    Parameters
    ----------
    head : lib.faces.head.Head
    render : lib.faces.render.Render
        A picture of that head.

    Returns
    -------
    ndarray (68, 3) of float32
        x, y in pixels from the upper left corner of the image (pixel centres at half integers),
        and 1 where the skin at the landmark is seen, 0 where the head itself, hair or glasses hide
        it or it lies outside the image. A landmark of the jaw just behind the edge of the face, as
        some are from the front, counts as seen: it marks that edge.
    """
    points = landmark_points(head)
    xy, _ = render.project(points)
    seen = render.visible(points)
    seen[JAW] |= _at_edge(points[JAW], render)
    return np.column_stack([xy, seen]).astype(np.float32)


def landmark_points(head):
    """Landmarks of a head in head space, ndarray (68, 3), decimetres."""
    return head.surface.points[landmark_vertices(head.identity.brow)]


def _at_edge(points, render):
    """Whether skin hides a point so near its edge that what is behind is seen beside it."""
    xy, away = render.project(points)
    size = render.camera.size
    column, row = np.floor(xy).astype(int).T
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    # The farthest thing seen in a square around each pixel.
    farthest = maximum_filter(render.depth, 2 * round(EDGE * size) + 1)
    out = np.zeros(len(xy), bool)
    at = row[inside], column[inside]
    skin = ~np.isin(render.labels[at], [PARTS[name] for name in ("hair", "beard", "glasses")])
    out[inside] = skin & (farthest[at] >= away[inside])
    return out


@functools.cache
def _tree():
    return cKDTree(load_mesh().canonical)


def _middle_of_brow(x, brow):
    """Canonical height of the middle of the painted brow at canonical x."""
    y = np.linspace(0, 0.5, 501)
    grid = np.stack(np.broadcast_arrays(x[:, None], y, 1.0), axis=-1)
    paint = brow_paint(grid, brow)
    return (paint * y).sum(axis=1) / paint.sum(axis=1)


def _front_of_skin(xy):
    """Depth of the face's skin in front of the ears at canonical x, y."""
    canonical = load_mesh().canonical
    face = canonical[canonical[:, 2] > 0.45]
    near = cKDTree(face[:, :2]).query(xy, 3)[1]
    return face[near, 2].max(axis=1)
