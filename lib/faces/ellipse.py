"""From a concept's landmarks to its mask: the confidence ellipse of a two-dimensional Gaussian.

The construction of the Face Dictionary (Teotia, Lapedriza, Ostadabbas 2022, section 3): mean and
covariance of the landmarks that belong to a concept, and the ellipse that holds a given share of
the Gaussian with these moments. The share is not printed in the paper; 95% is the default here.

Landmarks are in pixels from the upper left *corner* of the image: the centre of the first pixel
lies at (0.5, 0.5).
"""

import numpy as np

from lib.errors import InputError

LEVEL = 0.95
#: Smallest standard deviation along an axis, in pixels: collinear points still get a thin mask.
MIN_SD = 0.5


def chi_square_quantile(level):
    """Quantile of the chi-square distribution with two degrees of freedom, ``-2 ln(1 - level)``.

    Parameters
    ----------
    level : float
        Probability, between 0 and 1 exclusive. .95 gives 5.991.
    """
    if not 0 < level < 1:
        raise InputError(f"the confidence level is {level}: give a share between 0 and 1.")
    return -2 * np.log1p(-level)


def compute_ellipse(points, *, level=LEVEL, min_sd=MIN_SD):
    """Confidence ellipse of the Gaussian with the mean and covariance of some points.

    Parameters
    ----------
    points : array (k, 2)
        x, y in pixels, k >= 2.
    level : float
        Share of the Gaussian inside the ellipse.
    min_sd : float
        Lower bound of the standard deviation along each principal axis, in pixels.

    Returns
    -------
    centre : ndarray (2,)
        Mean of the points.
    semi_axes : ndarray (2,)
        In pixels, the longer first: sqrt(quantile x eigenvalue of the covariance), the covariance
        being the unbiased one (divisor k - 1).
    axes : ndarray (2, 2)
        Unit vectors of the axes, in rows.

    Raises
    ------
    InputError
        Fewer than two points, or a point that is not finite.
    """
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise InputError(f"an ellipse needs two or more points (x, y); got shape {points.shape}.")
    if not np.isfinite(points).all():
        raise InputError("an ellipse needs finite points: leave out landmarks that are missing.")
    variances, vectors = np.linalg.eigh(np.cov(points.T))
    variances = np.maximum(variances[::-1], min_sd**2)
    return points.mean(axis=0), np.sqrt(chi_square_quantile(level) * variances), vectors.T[::-1]


def ellipse_mask(points, shape, *, level=LEVEL, min_sd=MIN_SD):
    """Pixels whose centre lies inside the confidence ellipse of some landmarks.

    Parameters
    ----------
    points : array (k, 2)
        x, y in pixels.
    shape : tuple (height, width)
    level, min_sd : float
        As in `compute_ellipse`.

    Returns
    -------
    ndarray of bool (height, width)
    """
    centre, semi_axes, axes = compute_ellipse(points, level=level, min_sd=min_sd)
    # Half the width and height of the box around the ellipse; only the pixels in it are looked at.
    reach = np.hypot(*(semi_axes[:, None] * axes))
    low, high = np.floor(centre - reach).astype(int), np.ceil(centre + reach).astype(int)
    columns, rows = (slice(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))
    mask = np.zeros(shape, bool)
    y, x = np.ogrid[: shape[0], : shape[1]]
    x, y = x[:, columns] + 0.5 - centre[0], y[rows] + 0.5 - centre[1]
    along = ((x * u + y * v) / length for (u, v), length in zip(axes, semi_axes, strict=True))
    mask[rows, columns] = sum(distance**2 for distance in along) <= 1
    return mask


def intersection_over_union(first, second):
    """Overlap of two masks, 0 to 1; NaN where both are empty."""
    union = np.count_nonzero(np.logical_or(first, second))
    return np.count_nonzero(np.logical_and(first, second)) / union if union else np.nan
