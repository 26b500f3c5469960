"""Generators of synthetic faces that leave traces: linear, fitted to faces in closed form.

Each learns from faces of some people and re-synthesises faces of others. What it cannot carry is
its trace, and every kind leaves another:

``pca``
    A face space (Turk & Pentland 1991, J. Cogn. Neurosci. 3(1)): the whole image from a few
    components. Blurred, with ghosts of the faces it was fitted to, everywhere in the image.
``coarse``
    A face space at half the size, every pixel then doubled: ghosts as above, and a regular
    staircase of 2 x 2 pixels, as decoders leave that enlarge by a fixed step.
``patches``
    Components of small square patches, each re-synthesised by itself: no ghosts, a flat background
    stays flat, but fine texture is gone and edges break at the borders of the patches.

The three are stand-ins for generative networks, small enough to be fitted in a second; they make no
new people.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from lib.errors import InputError

#: Kinds of :func:`fit_generator`.
KINDS = ("pca", "coarse", "patches")
#: Side of the patches of ``patches``, pixels.
PATCH = 8
#: Patches that its components are computed from, at most.
MOST_PATCHES = 20_000


@dataclass(frozen=True)
class FaceSpace:
    """Principal components of vectors.

    Attributes
    ----------
    mean : ndarray, (d,), float64
    axes : ndarray, (components, d), float64
        Orthonormal, in order of falling variance; of each the entry with the largest magnitude is
        positive.
    variance : ndarray, (components,)
        Along each axis over the vectors it was fitted to (divisor n - 1).
    """

    mean: np.ndarray
    axes: np.ndarray
    variance: np.ndarray

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates (n, components) of vectors (n, d)."""
        return (np.asarray(vectors, np.float64) - self.mean) @ self.axes.T

    def reconstruct(self, coordinates: np.ndarray) -> np.ndarray:
        """Vectors (n, d) of coordinates (n, components)."""
        return coordinates @ self.axes + self.mean


def fit_space(vectors: np.ndarray, components: int) -> FaceSpace:
    """Principal components by singular value decomposition.

    Parameters
    ----------
    vectors : ndarray, (n, d)
    components : int
        1 to min(n - 1, d); those without variance are left out.

    Returns
    -------
    FaceSpace

    Raises
    ------
    InputError
        More components than the vectors have, vectors that are all alike, NaN or infinity.
    """
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise InputError(
            f"Vectors of shape {vectors.shape} cannot be fitted: give (n, d) without NaN or "
            "infinity."
        )
    count, width = vectors.shape
    most = min(count - 1, width)
    if not 1 <= components <= most:
        raise InputError(
            f"components = {components} is refused: {count} faces of {width} values have 1 to "
            f"{most}; ask for fewer, or fit to more faces."
        )
    mean = vectors.mean(0)
    centred = vectors - mean
    if count < width:
        # The same axes from the small matrix of inner products (Turk & Pentland 1991).
        values, left = np.linalg.eigh(centred @ centred.T)
        values, left = values[::-1], left[:, ::-1]
        kept = _carrying(values, components)
        axes = (left[:, kept].T @ centred) / np.sqrt(values[kept])[:, None]
        # Rounding in the small matrix is squared; one step of re-orthonormalising mends it.
        rest, triangle = np.linalg.qr(axes.T)
        axes = rest.T * np.sign(np.diag(triangle))[:, None]
    else:
        values, vectors_ = np.linalg.eigh(centred.T @ centred)
        values, axes = values[::-1], vectors_.T[::-1]
        kept = _carrying(values, components)
        axes = axes[kept]
    peak = np.abs(axes).argmax(1)
    axes = axes * np.sign(axes[np.arange(len(axes)), peak])[:, None]
    return FaceSpace(mean, axes, values[kept] / (count - 1))


def _carrying(values: np.ndarray, components: int) -> np.ndarray:
    """The first components, without those whose variance is nothing but rounding."""
    if not values[0] > 0:
        raise InputError("The faces to fit are all alike, so they span no space; give others.")
    return np.flatnonzero(values[:components] > values[0] * 1e-12)


@dataclass(frozen=True)
class Generator:
    """A fitted generator.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    space : FaceSpace
        Of whole images, of halved ones, or of patches.
    shape : tuple of int
        (y, x) or (y, x, 3) of the images it takes.
    """

    kind: str
    space: FaceSpace
    shape: tuple[int, ...]

    def resynthesise(self, images: np.ndarray) -> np.ndarray:
        """Faces as the generator makes them.

        Parameters
        ----------
        images : ndarray, (n, *shape)
            0..255.

        Returns
        -------
        ndarray of uint8, (n, *shape)
            Rounded to whole grey levels.

        Raises
        ------
        InputError
            Images of another shape.
        """
        images = np.asarray(images)
        if images.shape[1:] != self.shape:
            raise InputError(
                f"Images have shape {images.shape[1:]} and this generator was fitted to "
                f"{self.shape}; fit one to images of this shape."
            )
        vectors = _take_apart(self.kind, images)
        made = self.space.reconstruct(self.space.project(vectors))
        made = _put_together(self.kind, made, images.shape)
        return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def fit_generator(kind: str, images: np.ndarray, components: int, seed: int = 0) -> Generator:
    """Fit a generator to faces.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`; see the module's description.
    images : ndarray, (n, y, x) or (n, y, x, 3)
        0..255. Use faces of people who appear nowhere else.
    components : int
        Fewer leave stronger traces. For ``pca`` and ``coarse`` at most n - 1.
    seed : int
        Of the choice of patches, where there are more than :data:`MOST_PATCHES`.

    Returns
    -------
    Generator

    Raises
    ------
    InputError
        An unknown kind, images too small or too few, more components than there are.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"There is no generator {kind!r}{hint}; use {', '.join(KINDS)}.")
    images = np.asarray(images)
    if images.ndim not in (3, 4) or len(images) < 2 or min(images.shape[1:3]) < PATCH:
        raise InputError(
            f"A generator cannot be fitted to images of shape {images.shape}: give two or more, "
            f"(n, y, x) or (n, y, x, 3), of at least {PATCH} x {PATCH} pixels."
        )
    vectors = _take_apart(kind, images)
    if kind == "patches" and len(vectors) > MOST_PATCHES:
        rows = np.random.default_rng([seed, 6]).choice(len(vectors), MOST_PATCHES, replace=False)
        vectors = vectors[np.sort(rows)]
    return Generator(kind, fit_space(vectors, components), images.shape[1:])


def _take_apart(kind: str, images: np.ndarray) -> np.ndarray:
    """Images as the vectors whose components a kind uses."""
    images = np.asarray(images, np.float64)
    if kind == "pca":
        return images.reshape(len(images), -1)
    if kind == "coarse":
        return _halve(images).reshape(len(images), -1)
    tiles = _pad(images, PATCH)
    count, height, width = tiles.shape[:3]
    rest = tiles.shape[3:]
    tiles = tiles.reshape(count, height // PATCH, PATCH, width // PATCH, PATCH, *rest)
    return tiles.swapaxes(2, 3).reshape(-1, PATCH * PATCH * int(np.prod(rest, dtype=int)))


def _put_together(kind: str, vectors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The images (n, y, x[, 3]) of the vectors of :func:`_take_apart`."""
    count, height, width, *rest = shape
    if kind == "pca":
        return vectors.reshape(shape)
    if kind == "coarse":
        small = vectors.reshape(count, -(-height // 2), -(-width // 2), *rest)
        return small.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    tiles = vectors.reshape(count, rows, columns, PATCH, PATCH, *rest).swapaxes(2, 3)
    return tiles.reshape(count, rows * PATCH, columns * PATCH, *rest)[:, :height, :width]


def _pad(images: np.ndarray, step: int) -> np.ndarray:
    """Images whose sides are multiples of a step, the outermost pixels repeated."""
    height, width = images.shape[1:3]
    wide = [(0, 0), (0, -height % step), (0, -width % step)] + [(0, 0)] * (images.ndim - 3)
    return np.pad(images, wide, mode="edge")


def _halve(images: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels."""
    images = _pad(images, 2)
    return sum(images[:, a::2, b::2] for a in (0, 1) for b in (0, 1)) / 4
