"""Structural similarity of maps (Wang et al. 2004, IEEE TIP 13(4), eq. 13).

The local mean and variance of a map are the same in every pair that it is part of, so they are
computed once per map (`Moments`); a pair then costs one filter, that of the product. Comparing k
runs pairwise filters 2 k + k (k - 1) / 2 times instead of 5 k (k - 1) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from lib.errors import InputError

#: Stabilising constants and the Gaussian window (Wang et al. 2004, section III-B).
K1, K2, SIGMA, RADIUS = 0.01, 0.03, 1.5, 5
WINDOW = 2 * RADIUS + 1


def _kernel() -> np.ndarray:
    x = np.arange(-RADIUS, RADIUS + 1)
    weights = np.exp(-0.5 * (x / SIGMA) ** 2)
    return weights / weights.sum()


def _local_mean(maps: np.ndarray) -> np.ndarray:
    """Mean in the window around every cell that is a window's radius from the border.

    Maps smaller than the window are one window: the mean over the whole map, shape (..., 1, 1).
    """
    if min(maps.shape[-2:]) < WINDOW:
        return maps.mean((-2, -1), keepdims=True)
    kernel = _kernel()
    rows = ndimage.correlate1d(maps, kernel, axis=-2, mode="reflect")[..., RADIUS:-RADIUS, :]
    return ndimage.correlate1d(rows, kernel, axis=-1, mode="reflect")[..., RADIUS:-RADIUS]


@dataclass(frozen=True)
class Moments:
    """Maps with their local moments.

    Attributes
    ----------
    maps : ndarray, (..., y, x)
        In [0, 1].
    """

    maps: np.ndarray

    def __post_init__(self):
        maps = np.asarray(self.maps, np.float64)
        if maps.ndim < 2 or not np.isfinite(maps).all():
            raise InputError(
                f"Maps of shape {maps.shape} cannot be compared: give (..., y, x) without NaN."
            )
        object.__setattr__(self, "maps", maps)

    def __getitem__(self, index) -> Moments:
        """Some of the maps, with the moments that are known already."""
        part = Moments(self.maps[index])
        for name in ("mean", "variance"):
            if name in self.__dict__:
                part.__dict__[name] = self.__dict__[name][index]
        return part

    @cached_property
    def mean(self) -> np.ndarray:
        """Local mean, (..., y', x')."""
        return _local_mean(self.maps)

    @cached_property
    def variance(self) -> np.ndarray:
        """Local variance (divisor: the sum of weights), (..., y', x')."""
        return _local_mean(self.maps**2) - self.mean**2


def compute_ssim(first: np.ndarray | Moments, second: np.ndarray | Moments) -> np.ndarray:
    """Mean structural similarity of pairs of maps.

    Parameters
    ----------
    first, second : ndarray or Moments, (..., y, x)
        In [0, 1] (the dynamic range L is 1); leading axes broadcast.

    Returns
    -------
    ndarray (...)
        -1 to 1; 1 for equal maps. Windows are Gaussian, standard deviation 1.5 cells, 11 cells
        wide; on maps smaller than that the whole map is one window with equal weights.

    Raises
    ------
    InputError
        Maps of different size, or with NaN.
    """
    first = first if isinstance(first, Moments) else Moments(first)
    second = second if isinstance(second, Moments) else Moments(second)
    if first.maps.shape[-2:] != second.maps.shape[-2:]:
        raise InputError(
            f"Maps of {first.maps.shape[-2:]} and {second.maps.shape[-2:]} cells (y, x) cannot be "
            "compared; bring them to one size."
        )
    c1, c2 = K1**2, K2**2
    product = first.mean * second.mean
    covariance = _local_mean(first.maps * second.maps) - product
    value = (2 * product + c1) * (2 * covariance + c2)
    value /= (first.mean**2 + second.mean**2 + c1) * (first.variance + second.variance + c2)
    return value.mean((-2, -1))
