"""What is done to an image to see whether its salience map stays.

Crum et al. 2023, section 3; the constants are those of the released code. Lengths in pixels are
given for images of 224 pixels and scale with the image.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lib.errors import InputError
from lib.resize import resize_maps

#: Shares of pixels that salt and pepper replaces.
AMOUNTS = (0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 1.0)
#: Shift, pixels at 224.
SHIFT = 16
REFERENCE_SIZE = 224
#: Salience in tenths: levels 0, 0.1, ... 10.
LEVELS = 101
#: Standard deviation of the smoothing of a map before it guides the blur, pixels at 224.
SMOOTHING = 5.0


def add_noise(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper: a share of the pixels becomes 0 or 255, as a coin decides.

    Parameters
    ----------
    image : ndarray, (y, x) or (y, x, channels)
        0..255. A pixel is replaced in all its channels.
    amount : float
        0 to 1. With generators in the same state a larger amount adds pixels to those of a smaller
        one.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray
        A changed copy.

    Raises
    ------
    InputError
        An amount outside 0 to 1.
    """
    if not 0 <= amount <= 1:
        raise InputError(f"A noise amount of {amount} is refused; it is a share, 0 to 1.")
    drawn, coin = rng.random((2, *image.shape[:2]))
    replaced = drawn < amount
    noisy = image.copy()
    noisy[replaced] = np.where(coin[replaced] < 0.5, 0, 255).reshape(-1, *(1,) * (image.ndim - 2))
    return noisy


class Transform(NamedTuple):
    """A transform of an image and its inverse on a map.

    ``image`` takes (y, x[, channels]), ``back`` a map (..., y, x) that may be coarser than the
    image, and the side of the image in pixels.
    """

    name: str
    image: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray, int], np.ndarray]


def shift_image(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Image moved by whole pixels; the edge it leaves is filled with its outermost pixels."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return image[rows][:, columns]


def _shift_step(size: int) -> int:
    return max(1, round(SHIFT * size / REFERENCE_SIZE))


def _shift(name: str, down: int, right: int) -> Transform:
    def forward(image: np.ndarray) -> np.ndarray:
        step = _shift_step(image.shape[0])
        return shift_image(image, down * step, right * step)

    def back(maps: np.ndarray, size: int) -> np.ndarray:
        # On a map coarser than the image the way back is a part of a cell: interpolated linearly.
        step = _shift_step(size) * maps.shape[-1] / size
        by = (0,) * (maps.ndim - 2) + (-down * step, -right * step)
        return ndimage.shift(np.asarray(maps, np.float64), by, order=1, mode="nearest")

    return Transform(name, forward, back)


def _rotation(name: str, quarter_turns: int) -> Transform:
    return Transform(
        name,
        lambda image: np.rot90(image, quarter_turns),
        lambda maps, size: np.rot90(maps, -quarter_turns, axes=(-2, -1)),
    )


#: The twelve transforms of S_geo.
TRANSFORMS = (
    Transform("flip left-right", lambda i: i[:, ::-1], lambda m, size: m[..., ::-1]),
    Transform("flip up-down", lambda i: i[::-1], lambda m, size: m[..., ::-1, :]),
    _rotation("rotate +90", 1),
    _rotation("rotate -90", -1),
    *(
        _shift(f"shift {name}", down, right)
        for name, down, right in (
            ("up", -1, 0),
            ("down", 1, 0),
            ("left", 0, -1),
            ("right", 0, 1),
            ("up left", -1, -1),
            ("up right", -1, 1),
            ("down left", 1, -1),
            ("down right", 1, 1),
        )
    ),
)


def choose_transforms(names: Sequence[str] | None = None) -> tuple[Transform, ...]:
    """Transforms by name, in the order of `TRANSFORMS`; all of them without names.

    Raises
    ------
    InputError
        An unknown name.
    """
    known = [transform.name for transform in TRANSFORMS]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f" - did you mean {near[0]!r}?" if near else ""
        raise InputError(f"There is no transform {unknown[0]!r}{hint}; known: {', '.join(known)}.")
    return tuple(t for t in TRANSFORMS if names is None or t.name in names)


def blur_sigma(level: np.ndarray | float, size: int) -> np.ndarray | float:
    """Standard deviation of the blur, pixels, at a salience level of 0 to 10: (10 - s)^4 / 1000."""
    return (10 - level) ** 4 / 1000 * size / REFERENCE_SIZE


def guide_levels(maps: np.ndarray, size: int) -> np.ndarray:
    """Salience maps as blur levels: smoothed, 0 to 10 in steps of 0.1.

    Parameters
    ----------
    maps : ndarray, (..., h, w)
        Brought to the size of the image bilinearly if they are coarser.
    size : int
        Side of the image, pixels.

    Returns
    -------
    ndarray (..., size, size), int
        Tenths, 0 to 100. A constant map has no salient place and gives 0 everywhere.
    """
    maps = resize_maps(maps, size)
    sigma = SMOOTHING * size / REFERENCE_SIZE
    smooth = ndimage.gaussian_filter(maps, (0,) * (maps.ndim - 2) + (sigma, sigma), mode="nearest")
    low = smooth.min((-2, -1), keepdims=True)
    span = smooth.max((-2, -1), keepdims=True) - low
    scaled = (smooth - low) / np.where(span == 0, 1, span)
    return np.rint(scaled * (LEVELS - 1)).astype(np.int64)


def blur_guided(image: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Blur an image by several guides: every pixel is taken from the image blurred at its level.

    Parameters
    ----------
    image : ndarray, (y, x) or (y, x, channels)
        Square, 0..255.
    levels : ndarray, (guides, y, x), int
        Tenths of salience, 0 to 100: at 100 a pixel stays as it is.

    Returns
    -------
    ndarray, (guides, y, x[, channels]), float32
        Each level is blurred once, however many guides use it.

    Raises
    ------
    InputError
        An image that is not square, or guides of another size.
    """
    if image.shape[0] != image.shape[1] or levels.shape[1:] != image.shape[:2]:
        raise InputError(
            f"A guide of {levels.shape[1:]} pixels does not fit a square image of "
            f"{image.shape[:2]}."
        )
    source = image.astype(np.float32)
    out = np.empty((len(levels), *image.shape), np.float32)
    for level in np.unique(levels):
        sigma = blur_sigma(level / 10, image.shape[0])
        sigmas = (sigma, sigma) + (0,) * (image.ndim - 2)
        blurred = ndimage.gaussian_filter(source, sigmas, mode="nearest") if sigma else source
        guide, y, x = np.nonzero(levels == level)
        out[guide, y, x] = blurred[y, x]
    return out
