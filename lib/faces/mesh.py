"""The head mesh: morphs, subdivision, normals.

Every head has the same topology. Quantities that must follow the face through all morphs (part
labels, paint, hairline, brows) are functions of the *canonical* coordinates: where the same point
lies on the average young adult in head space, in decimetres: mid-eye at (0, 0, .85), crown at
y = 1.05, tip of the nose at (0, -.35, 1.26), chin at y = -1.1.
"""

import functools
from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from lib.faces.assets import load_assets

GENDERS = ("male", "female")
ETHNICITIES = ("caucasian", "asian", "african")

# The turning axis of the head lies this far behind the eyes (decimetres).
AXIS_BEHIND_EYES = 0.85


@dataclass(frozen=True)
class HeadMesh:
    """What all heads share.

    Attributes
    ----------
    stencil : scipy.sparse.csr_matrix (n, body vertices)
        One Catmull-Clark step: `stencil @ coarse` gives the fine vertices.
    triangles : int32 array (m, 3)
        Corners of the fine triangles, anticlockwise seen from outside.
    corner_uv : float64 array (m, 3, 2)
        Texture coordinates of the triangles' corners.
    vertex_uv : float64 array (n, 2)
        Texture coordinates of the vertices (either one at a seam).
    canonical : float64 array (n, 3)
        Fine vertices of the average young adult, decimetres.
    neutral : float64 array (v, 3)
        Base vertices of the average young adult in head space, helpers included.
    ear : float64 array (n,), 0..1
        Ear mask.
    smoother : scipy.sparse.csr_matrix (n, n), float32
        Half a vertex, half the mean of its neighbours.
    """

    stencil: sp.csr_matrix
    triangles: np.ndarray
    corner_uv: np.ndarray
    vertex_uv: np.ndarray
    canonical: np.ndarray
    neutral: np.ndarray
    ear: np.ndarray
    smoother: sp.csr_matrix


@dataclass(frozen=True)
class Surface:
    """The skin of one head.

    Attributes
    ----------
    points, normals : float64 arrays (n, 3)
        Decimetres in head space (mid-eye at x = y = 0, z = .85; z out of the face), unit vectors.
    canonical : float64 array (n, 3)
        The same points on the average young adult, decimetres.
    triangles : int32 array (m, 3)
    uv : float64 array (m, 3, 2)
        Texture coordinates per corner.
    ear : float64 array (n,), 0..1
    """

    points: np.ndarray
    normals: np.ndarray
    canonical: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    ear: np.ndarray

    @functools.cached_property
    def double_areas(self):
        """Twice the area of each triangle: float64 array (m,)."""
        return double_areas(self.points, self.triangles)

    @functools.cached_property
    def tree(self):
        """The points in a k-d tree, to find the nearest ones."""
        return cKDTree(self.points)


@numba.njit(cache=True, nogil=True)
def _scale_to_unit(vectors):
    out = np.empty_like(vectors)
    for i in range(len(vectors)):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        # In the order in which numpy's einsum adds three products.
        length = max(np.sqrt(x * x + z * z + y * y), 1e-12)
        out[i, 0], out[i, 1], out[i, 2] = x / length, y / length, z / length
    return out


def unit(vectors):
    """Vectors scaled to length 1 along the last axis; zero vectors stay zero."""
    vectors = np.asarray(vectors)
    plain = vectors.dtype == np.float64 and vectors.flags.c_contiguous
    if plain and vectors.ndim > 1 and vectors.shape[-1] == 3:
        return _scale_to_unit(vectors.reshape(-1, 3)).reshape(vectors.shape)
    length = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))
    return vectors / np.maximum(length, 1e-12)[..., None]


@numba.njit(cache=True, nogil=True)
def _cross_edges(points, triangles):
    """Cross product of two edges of each triangle: float64 array (m, 3)."""
    out = np.empty((len(triangles), 3))
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        out[t, 0] = uy * vz - uz * vy
        out[t, 1] = uz * vx - ux * vz
        out[t, 2] = ux * vy - uy * vx
    return out


@numba.njit(cache=True, nogil=True)
def _add_corners(face, triangles, count):
    """Sum over the triangles at each vertex: float64 array (count, 3)."""
    total = np.zeros((count, 3))
    for t in range(len(triangles)):
        for corner in range(3):
            for axis in range(3):
                total[triangles[t, corner], axis] += face[t, axis]
    return total


@numba.njit(cache=True, nogil=True)
def _lengths(vectors):
    out = np.empty(len(vectors))
    for i in range(len(vectors)):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        out[i] = np.sqrt(x * x + y * y + z * z)
    return out


def double_areas(points, triangles):
    """Twice the area of each triangle: float64 array (m,)."""
    return _lengths(_cross_edges(np.ascontiguousarray(points, np.float64), triangles))


def compute_normals(points, triangles):
    """Area-weighted vertex normals.

    Parameters
    ----------
    points : array (n, 3)
    triangles : int array (m, 3)

    Returns
    -------
    float64 array (n, 3), unit vectors
    """
    face = _cross_edges(np.ascontiguousarray(points, np.float64), triangles)
    return unit(_add_corners(face, triangles, len(points)))


def catmull_clark(faces, count):
    """Stencil and faces of one Catmull-Clark step on quads.

    The new vertices are the old ones moved, then one per face, then one per edge. Rules of
    Catmull & Clark (1978); boundary edges and vertices follow the cubic B-spline curve, so an open
    mesh keeps its rim.

    Parameters
    ----------
    faces : int array (f, 4)
    count : int
        Number of vertices.

    Returns
    -------
    stencil : csr_matrix (count + f + e, count)
    fine : int array (4 f, 4)
    """
    total = len(faces)
    ends = np.stack([faces, np.roll(faces, -1, 1)], 2).reshape(-1, 2)
    owner = np.repeat(np.arange(total), 4)
    edges, edge_of = np.unique(np.sort(ends, 1), axis=0, return_inverse=True)
    edge_of = edge_of.ravel()
    count_edges = len(edges)
    real = edges[:, 0] != edges[:, 1]

    def incidence(rows, columns, shape, value=1.0):
        return sp.csr_matrix((np.full(len(rows), value), (rows, columns)), shape)

    def mean_rows(matrix):
        return sp.diags(1 / np.maximum(np.asarray(matrix.sum(1)).ravel(), 1)) @ matrix

    face_points = incidence(owner, faces.ravel(), (total, count), 0.25)
    midpoints = incidence(
        np.repeat(np.arange(count_edges), 2), edges.ravel(), (count_edges, count), 0.5
    )
    at_edge = real[edge_of]
    edge_faces = incidence(edge_of[at_edge], owner[at_edge], (count_edges, total))
    border = np.asarray(edge_faces.sum(1)).ravel() == 1
    inner = sp.diags(np.where(border, 0, 0.5))
    edge_points = sp.diags(np.where(border, 1.0, 0.5)) @ midpoints
    edge_points = edge_points + inner @ mean_rows(edge_faces) @ face_points

    vertex_faces = incidence(faces.ravel(), owner, (count, total))
    vertex_faces.data[:] = 1
    numbers = np.nonzero(real)[0]
    vertex_edges = incidence(edges[real].ravel(), np.repeat(numbers, 2), (count, count_edges))
    valence = np.maximum(np.asarray(vertex_faces.sum(1)).ravel(), 1)
    inside = (
        sp.diags(1 / valence) @ mean_rows(vertex_faces) @ face_points
        + sp.diags(2 / valence) @ mean_rows(vertex_edges) @ midpoints
        + sp.diags((valence - 3) / valence)
    )
    rim = np.nonzero(border)[0]
    on_rim = np.zeros(count)
    on_rim[edges[rim].ravel()] = 1
    rim_edges = incidence(edges[rim].ravel(), np.repeat(rim, 2), (count, count_edges))
    along = 0.5 * sp.identity(count) + 0.5 * mean_rows(rim_edges) @ midpoints
    moved = sp.diags(1 - on_rim) @ inside + sp.diags(on_rim) @ along

    edge_number = edge_of.reshape(total, 4) + count + total
    centre = np.arange(total) + count
    fine = [
        np.stack([faces[:, k], edge_number[:, k], centre, edge_number[:, k - 1]], 1)
        for k in range(4)
    ]
    stencil = sp.vstack([moved, face_points, edge_points]).tocsr()
    return stencil, np.stack(fine, 1).reshape(-1, 4)


def split_corners(corners):
    """Split per-corner values (f, 4, k) the way `catmull_clark` splits faces: (4 f, 4, k)."""
    centre = corners.mean(1)
    middle = (corners + np.roll(corners, -1, 1)) / 2
    parts = [np.stack([corners[:, k], middle[:, k], centre, middle[:, k - 1]], 1) for k in range(4)]
    return np.stack(parts, 1).reshape(-1, 4, corners.shape[-1])


def make_smoother(triangles, count):
    """Matrix (count, count) that takes a vertex halfway to the mean of its neighbours."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    near = sp.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    near.data[:] = 1
    mean = sp.diags(1 / np.maximum(np.asarray(near.sum(1)).ravel(), 1)) @ near
    return (0.5 * sp.identity(count) + 0.5 * mean).tocsr().astype(np.float32)


def quads_to_triangles(quads):
    """Two triangles per quad: first all (0, 1, 2), then all (0, 2, 3)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


@numba.njit(cache=True, nogil=True)
def _add_target(points, index, delta, weight):
    for i in range(len(index)):
        for axis in range(3):
            points[index[i], axis] += weight * delta[i, axis]


def add_targets(points, weights):
    """Move base vertices (v, 3) by weighted shape targets, in place; see `apply_morphs`."""
    targets = load_assets().targets
    for name, weight in weights.items():
        _add_target(points, *targets[name], float(weight))


def apply_morphs(weights):
    """Base vertices under weighted shape targets.

    Parameters
    ----------
    weights : mapping of str -> float
        Target name to weight, e.g. `{"nose/nose-hump-incr": 0.3, "unit/jawOpen": 0.5}`.

    Returns
    -------
    float64 array (v, 3), decimetres

    Raises
    ------
    KeyError
        For a name that is no target.
    """
    points = load_assets().points.copy()
    add_targets(points, weights)
    return points


def average_macro():
    """Weights of the average young adult: both genders, three ethnicities, average build."""
    weights = {f"macro/{e}-{g}-young": 1 / 6 for e in ETHNICITIES for g in GENDERS}
    build = {f"macro/universal-{g}-young-averagemuscle-averageweight": 1 / 2 for g in GENDERS}
    return {**weights, **build}


def _mid_eye(points):
    helpers = load_assets().helpers
    return (points[helpers["centre_left"]].mean(0) + points[helpers["centre_right"]].mean(0)) / 2


@functools.cache
def load_mesh():
    """Topology, stencil, texture coordinates and canonical shape, computed once per process."""
    assets = load_assets()
    stencil, quads = catmull_clark(assets.faces, assets.body_size)
    corners = split_corners(assets.uv[assets.face_uv])
    triangles = quads_to_triangles(quads).astype(np.int32)
    corner_uv = quads_to_triangles(corners)
    vertex_uv = np.zeros((stencil.shape[0], 2))
    vertex_uv[triangles.ravel()] = corner_uv.reshape(-1, 2)
    neutral = apply_morphs(average_macro())
    neutral = neutral - (_mid_eye(neutral) - np.array([0, 0, AXIS_BEHIND_EYES]))
    canonical = stencil @ neutral[: assets.body_size]
    ear = assets.masks["ears"].sample(vertex_uv).astype(float)
    smoother = make_smoother(triangles, len(canonical))
    return HeadMesh(stencil, triangles, corner_uv, vertex_uv, canonical, neutral, ear, smoother)


def head_frame(points):
    """Origin and scale that bring base vertices into head space.

    The mid-eye point goes to (0, 0, .85) and the face to the size of the average adult's, so that
    neither position nor size in the picture tells one head from another.

    Parameters
    ----------
    points : array (v, 3)
        Base vertices of an expressionless head.

    Returns
    -------
    origin : array (3,)
    scale : float
    """
    assets, mesh = load_assets(), load_mesh()
    # The face proper: in front of the ears, between chin and crown.
    base = mesh.neutral[: assets.body_size]
    face = np.nonzero((base[:, 2] > -0.2) & (base[:, 1] > -0.95))[0]

    def spread(shape):
        part = shape[face]
        return np.sqrt(((part - part.mean(0)) ** 2).sum(1).mean())

    scale = spread(base) / spread(points[: assets.body_size])
    return _mid_eye(points) - np.array([0, 0, AXIS_BEHIND_EYES]) / scale, float(scale)


def build_surface(points):
    """Skin of a head from base vertices already in head space, shape (v, 3)."""
    mesh, assets = load_mesh(), load_assets()
    fine = mesh.stencil @ points[: assets.body_size]
    normals = compute_normals(fine, mesh.triangles)
    return Surface(fine, normals, mesh.canonical, mesh.triangles, mesh.corner_uv, mesh.ear)
