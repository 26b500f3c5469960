"""The elliptical mask against scipy's own Gaussian."""

import numpy as np
import pytest
from scipy import stats

from lib.errors import InputError
from lib.faces.ellipse import (
    chi_square_quantile,
    compute_ellipse,
    ellipse_mask,
    intersection_over_union,
)

POINTS = np.random.default_rng(4).multivariate_normal([30, 22], [[40, 18], [18, 25]], 12)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_quantile_is_scipy_s(level):
    assert chi_square_quantile(level) == pytest.approx(stats.chi2.ppf(level, 2))


def test_mask_is_the_set_of_pixels_above_the_density_at_the_contour():
    mean, covariance = POINTS.mean(axis=0), np.cov(POINTS.T)
    density = stats.multivariate_normal(mean, covariance)
    # On the contour the density is (1 - level) times its peak.
    expected = [
        [density.pdf([x + 0.5, y + 0.5]) >= 0.05 * density.pdf(mean) for x in range(64)]
        for y in range(48)
    ]
    np.testing.assert_array_equal(ellipse_mask(POINTS, (48, 64)), expected)


def test_the_ellipse_holds_the_share_it_names():
    mean, covariance = POINTS.mean(axis=0), np.cov(POINTS.T)
    sample = np.random.default_rng(0).multivariate_normal(mean, covariance, 200_000)
    centre, semi_axes, axes = compute_ellipse(POINTS, level=0.95)
    inside = ((((sample - centre) @ axes.T) / semi_axes) ** 2).sum(axis=1) <= 1
    assert inside.mean() == pytest.approx(0.95, abs=0.002)


def test_area_of_the_mask_is_that_of_the_ellipse():
    points = np.array([[100, 100], [140, 100], [120, 90], [120, 110.0]])
    _, semi_axes, _ = compute_ellipse(points)
    assert ellipse_mask(points, (220, 260)).sum() == pytest.approx(
        np.pi * semi_axes.prod(), rel=0.01
    )


@pytest.mark.parametrize("shift", [(0, 0), (-25, 3), (20, -30), (30, 40), (-90, 0), (0, 300)])
def test_only_a_box_is_looked_at_and_the_mask_is_that_of_every_pixel(shift):
    points = POINTS + shift
    centre, semi_axes, axes = compute_ellipse(points)
    y, x = np.indices((48, 64)) + 0.5
    along = np.stack([x - centre[0], y - centre[1]], axis=-1) @ axes.T
    every = ((along / semi_axes) ** 2).sum(axis=-1) <= 1
    np.testing.assert_array_equal(ellipse_mask(points, (48, 64)), every)


def test_collinear_points_give_a_thin_mask_along_their_line():
    points = np.stack([np.linspace(10, 30, 5), np.full(5, 12.5)], axis=1)
    mask = ellipse_mask(points, (25, 40))
    assert set(np.flatnonzero(mask.any(axis=1))) == {11, 12, 13}
    _, semi_axes, axes = compute_ellipse(points)
    assert semi_axes[1] == pytest.approx(0.5 * np.sqrt(5.991), abs=1e-3)
    assert abs(axes[0, 0]) == pytest.approx(1)


def test_bad_points_and_levels_are_named():
    with pytest.raises(InputError, match="two or more points"):
        ellipse_mask([[1, 2]], (4, 4))
    with pytest.raises(InputError, match="finite"):
        ellipse_mask([[1, 2], [np.nan, 3]], (4, 4))
    with pytest.raises(InputError, match="between 0 and 1"):
        ellipse_mask(POINTS, (4, 4), level=1)


def test_overlap_by_hand():
    first, second = np.zeros((2, 3, 3), bool)
    first[0], second[:, 0] = True, True
    assert intersection_over_union(first, second) == 1 / 5
    assert np.isnan(intersection_over_union(first & False, second & False))
