"""Eyeballs: a sphere with a cornea, its gaze, and the pattern of iris and sclera."""

import functools
from dataclasses import dataclass

import numpy as np

from lib.faces.assets import load_assets
from lib.faces.mesh import unit

# Angles from the pole of the eyeball, radians.
IRIS_EDGE = 0.495
PUPIL_EDGE = 0.185


@dataclass(frozen=True)
class Eye:
    """One eyeball.

    Attributes
    ----------
    points, normals : float64 arrays (n, 3)
    triangles : int32 array (m, 3)
    centre : float64 array (3,)
    radius : float, decimetres
    gaze : float64 array (3,), unit vector
    """

    points: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    centre: np.ndarray
    radius: float
    gaze: np.ndarray


@functools.cache
def _ball(rings=26, sectors=40):
    """A unit sphere round +z, finer near the pole: points (n, 3), triangles (m, 3)."""
    polar = np.pi * np.linspace(0, 1, rings + 1) ** 1.25
    around = 2 * np.pi * np.arange(sectors) / sectors
    p, a = np.meshgrid(polar, around, indexing="ij")
    points = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], -1)
    i, k = np.meshgrid(np.arange(rings), np.arange(sectors), indexing="ij")
    here, there = i * sectors + k, i * sectors + (k + 1) % sectors
    one = np.stack([here, there, there + sectors], -1).reshape(-1, 3)
    two = np.stack([here, there + sectors, here + sectors], -1).reshape(-1, 3)
    return points.reshape(-1, 3), np.concatenate([one, two]).astype(np.int32)


def build_eye(points, rest, side):
    """The eyeball of one side.

    Parameters
    ----------
    points, rest : arrays (v, 3)
        Base vertices in head space with and without expression: the difference gives the gaze.
    side : "left" or "right"

    Returns
    -------
    Eye
    """
    helpers = load_assets().helpers
    shell, joint = helpers[f"eye_{side}"], helpers[f"centre_{side}"]
    centre = points[joint].mean(0)
    radius = float(np.median(np.linalg.norm(points[shell] - centre, axis=1)))
    # The rotation that best carries the resting eyeball to the moved one (Kabsch 1976).
    before = rest[shell] - rest[shell].mean(0)
    after = points[shell] - points[shell].mean(0)
    left, _, right = np.linalg.svd(before.T @ after)
    gaze = (left @ right).T @ np.array([0.0, 0.0, 1.0])
    across = unit(np.cross([0, 1, 0], gaze))
    up = np.cross(gaze, across)
    ball, triangles = _ball()
    # The cornea stands out by about a twentieth of the radius.
    height = radius * (1 + 0.05 * np.clip((ball[:, 2] - 0.86) / 0.14, 0, 1))
    turned = ball @ np.stack([across, up, gaze])
    return Eye(
        points=centre + turned * height[:, None],
        normals=turned,
        triangles=triangles,
        centre=centre,
        radius=radius,
        gaze=gaze,
    )


def eye_albedo(direction, gaze, iris, openness=1.0, seed=0):
    """Reflectance of the eyeball.

    Parameters
    ----------
    direction : array (n, 3), unit vectors from the eye's centre
    gaze : array (3,), unit vector
    iris : array (3,), linear RGB
    openness : float
        Pupil size factor.
    seed : int
        Pattern of the iris.

    Returns
    -------
    albedo : float64 array (n, 3), linear RGB
    angle : float64 array (n,), radians from the gaze
    """
    angle = np.arccos(np.clip(direction @ gaze, -1, 1))
    across = unit(np.cross([0, 1, 0], gaze))
    up = np.cross(gaze, across)
    around = np.arctan2(direction @ up, direction @ across)
    rng = np.random.default_rng([int(seed), 77])
    # White with a warm rim towards the corners, where vessels show.
    corner = np.clip((angle - 0.5) / 0.65, 0, 1)[:, None]
    sclera = np.array([0.80, 0.76, 0.73]) * (1 - corner * np.array([0.16, 0.34, 0.34]))
    fibres = np.zeros(len(angle))
    for frequency in (9, 17, 29, 47):
        fibres += np.sin(around * frequency + rng.uniform(0, 6.28) + 6 * angle) / 4
    ring = np.interp(
        angle, [PUPIL_EDGE, 0.25, 0.31, 0.42, IRIS_EDGE], [0.75, 1.25, 1.05, 0.85, 0.25]
    )
    colour = np.asarray(iris) * (ring * (1 + 0.30 * fibres))[:, None]
    inner = np.clip((0.29 - angle) / 0.06, 0, 1)[:, None]
    colour = colour * (1 + inner * np.array([0.25, 0.05, -0.15]))
    inside = np.clip((IRIS_EDGE + 0.015 - angle) / 0.05, 0, 1)[:, None]
    albedo = sclera * (1 - inside) + colour * inside
    pupil = np.clip((PUPIL_EDGE * openness - angle) / 0.025, 0, 1)[:, None]
    return albedo * (1 - pupil) + 0.006 * pupil, angle
