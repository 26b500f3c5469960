"""The z-buffer against a slow loop over pixels and triangles."""

import numpy as np

from lib.faces.raster import interpolate, rasterise


def slow_raster(xy, z, triangles, width, height):
    """Nearest triangle and depth per pixel by solving for barycentric coordinates."""
    nearest = np.full((height, width), -1)
    depth = np.full((height, width), np.inf)
    for t, (a, b, c) in enumerate(triangles):
        matrix = np.array(
            [[xy[a, 0], xy[b, 0], xy[c, 0]], [xy[a, 1], xy[b, 1], xy[c, 1]], [1, 1, 1]]
        )
        for row in range(height):
            for column in range(width):
                w = np.linalg.solve(matrix, [column + 0.5, row + 0.5, 1])
                if (w >= 0).all():
                    here = w @ z[[a, b, c]]
                    if here < depth[row, column]:
                        nearest[row, column], depth[row, column] = t, here
    return nearest, depth


def test_agrees_with_the_slow_loop():
    rng = np.random.default_rng(3)
    xy = rng.uniform(-3, 19, (24, 2))
    z = rng.uniform(1, 5, 24)
    triangles = rng.permutation(24).reshape(8, 3)
    hits = rasterise(xy, z, triangles, 16, 12)
    nearest, depth = slow_raster(xy, z, triangles, 16, 12)
    found = np.full(16 * 12, -1)
    found[hits.pixel] = hits.triangle
    np.testing.assert_array_equal(found.reshape(12, 16), nearest)
    np.testing.assert_allclose(hits.depth, depth, rtol=1e-12)
    assert (nearest >= 0).sum() > 60


def test_orientation_does_not_matter():
    xy = np.array([[1.0, 1.0], [9.0, 2.0], [4.0, 9.0]])
    one = rasterise(xy, np.ones(3), np.array([[0, 1, 2]]), 10, 10)
    two = rasterise(xy, np.ones(3), np.array([[0, 2, 1]]), 10, 10)
    np.testing.assert_array_equal(one.pixel, two.pixel)


def test_empty_triangles_and_off_screen_ones_draw_nothing():
    xy = np.array([[1.0, 1.0], [1.0, 1.0], [5.0, 5.0], [30.0, 30.0], [35.0, 30.0], [30.0, 35.0]])
    hits = rasterise(xy, np.ones(6), np.array([[0, 1, 2], [3, 4, 5]]), 10, 10)
    assert len(hits.pixel) == 0 and np.isinf(hits.depth).all()


def test_interpolation_is_linear_in_the_plane():
    # A plane's values are the plane at every pixel centre.
    xy = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]])
    triangles = np.array([[0, 1, 2]], np.int32)
    hits = rasterise(xy, np.ones(3), triangles, 12, 12)
    values = 2 * xy[:, :1] - 3 * xy[:, 1:] + 1
    got = interpolate(values, triangles, hits.triangle, hits.weights)[:, 0]
    column, row = hits.pixel % 12 + 0.5, hits.pixel // 12 + 0.5
    np.testing.assert_allclose(got, 2 * column - 3 * row + 1, atol=1e-12)
