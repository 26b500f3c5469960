"""Eyeglasses: two rims, a bridge, temples to the ears, and thin lenses."""

from dataclasses import dataclass

import numpy as np

from lib.errors import InputError
from lib.faces.mesh import unit

# Half width, half height, roundness (2 is an ellipse, more is squarer), half thickness; decimetres.
FRAMES = {
    "round": (0.235, 0.215, 2.0, 0.013),
    "square": (0.275, 0.190, 4.5, 0.022),
    "oval": (0.265, 0.175, 2.4, 0.016),
}


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses on a head.

    Attributes
    ----------
    points, normals : float64 arrays (n, 3)
    triangles : int32 array (m, 3)
        The frame.
    lens_points : float64 array (l, 3)
    lens_triangles : int32 array (k, 3)
    name : str
    """

    points: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    lens_points: np.ndarray
    lens_triangles: np.ndarray
    name: str


def _tube(path, radius, closed, sides=8):
    """A round tube along a path (n, 3): points, normals, triangles."""
    if closed:
        tangent = unit(np.roll(path, -1, 0) - np.roll(path, 1, 0))
        across = unit(np.cross(tangent, [0, 0, 1.0]))
    else:
        tangent = unit(np.gradient(path, axis=0))
        across = unit(np.cross(tangent, [0, 1.0, 0.03]))
    other = np.cross(tangent, across)
    turn = 2 * np.pi * np.arange(sides) / sides
    normals = across[:, None] * np.cos(turn)[:, None] + other[:, None] * np.sin(turn)[:, None]
    points = (path[:, None] + radius * normals).reshape(-1, 3)
    steps = len(path) if closed else len(path) - 1
    i, k = np.meshgrid(np.arange(steps), np.arange(sides), indexing="ij")
    j, r = (i + 1) % len(path), (k + 1) % sides
    one = np.stack([i * sides + k, i * sides + r, j * sides + r], -1).reshape(-1, 3)
    two = np.stack([i * sides + k, j * sides + r, j * sides + k], -1).reshape(-1, 3)
    return points, normals.reshape(-1, 3), np.concatenate([one, two])


def build_glasses(surface, eye_centres, name):
    """Fit a frame to a head.

    Parameters
    ----------
    surface : lib.faces.mesh.Surface
        The head without expression.
    eye_centres : sequence of two arrays (3,)
        Left and right.
    name : str
        A key of `FRAMES`.

    Returns
    -------
    Glasses

    Raises
    ------
    InputError
        For an unknown frame.
    """
    if not isinstance(name, str) or name not in FRAMES:
        raise InputError(f"There are no {name!r} glasses: choose one of {', '.join(FRAMES)}.")
    half_width, half_height, roundness, radius = FRAMES[name]
    skin = surface.points
    brow = (np.abs(skin[:, 0]) < 0.5) & (np.abs(skin[:, 0]) > 0.10) & (np.abs(skin[:, 1]) < 0.17)
    front = skin[brow][:, 2].max() + 0.06
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)

    def bend(x):
        """Rims curve back towards the temples."""
        return front - 0.20 * np.clip((np.abs(x) - 0.2) / 0.4, 0, None) ** 2

    tubes, lenses, inner = [], [], []
    for sign, centre in zip((1, -1), eye_centres, strict=True):
        middle_x, middle_y = centre[0] + sign * 0.012, centre[1] - 0.03
        cos, sin = np.cos(turn), np.sin(turn)
        x = middle_x + np.sign(cos) * np.abs(cos) ** (2 / roundness) * half_width
        y = middle_y + np.sign(sin) * np.abs(sin) ** (2 / roundness) * half_height
        rim = np.stack([x, y, bend(x)], 1)
        tubes.append(_tube(rim, radius, closed=True))
        hub = np.array([[middle_x, middle_y, bend(middle_x) + 0.015]])
        lenses.append(np.concatenate([hub, rim]))
        inner.append(middle_x - sign * half_width)

        ear = skin[(surface.ear > 0.5) & (skin[:, 0] * sign > 0)]
        top = ear[ear[:, 1].argmax()]
        hinge = np.array([middle_x + sign * half_width, middle_y + 0.09, 0])
        hinge[2] = bend(hinge[0])
        over = np.array([sign * abs(top[0]) * 0.97, top[1] + 0.015, top[2] + 0.10])
        behind = np.array([sign * abs(top[0]) * 0.95, top[1] - 0.12, top[2] - 0.10])
        corner = hinge + np.array([sign * 0.035, 0.0, -0.04])
        knots = np.stack([hinge, corner, (corner + over) / 2 + [sign * 0.02, 0, 0], over, behind])
        at = np.linspace(0, len(knots) - 1, 32)
        path = np.stack([np.interp(at, np.arange(len(knots)), knots[:, k]) for k in range(3)], 1)
        tubes.append(_tube(path, radius * 0.85, closed=False))
    along = np.linspace(0, 1, 12)
    height = (eye_centres[0][1] + eye_centres[1][1]) / 2 + 0.03
    bridge = np.stack(
        [
            inner[0] + (inner[1] - inner[0]) * along,
            height + 0.03 * np.sin(np.pi * along),
            front + 0.02 * np.sin(np.pi * along),
        ],
        1,
    )
    tubes.append(_tube(bridge, radius * 0.9, closed=False))

    starts = np.cumsum([0] + [len(t[0]) for t in tubes[:-1]])
    fan = np.stack([np.zeros(48, int), np.arange(48) + 1, (np.arange(48) + 1) % 48 + 1], 1)
    return Glasses(
        points=np.concatenate([t[0] for t in tubes]),
        normals=np.concatenate([t[1] for t in tubes]),
        triangles=np.concatenate([t[2] + s for t, s in zip(tubes, starts, strict=True)]).astype(
            np.int32
        ),
        lens_points=np.concatenate(lenses),
        lens_triangles=np.concatenate([fan, fan + 49]).astype(np.int32),
        name=name,
    )
