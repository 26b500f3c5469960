"""Minimal filtering against plain convolutions, and what goes with it against TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from lib import memory, winograd
from lib.relevance import collapsed, denominators


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def repeat(state, spread, height, width):
    """Every value over its window; what a pooling left over is zero."""
    out = np.zeros((len(state), height, width, state.shape[-1]), np.float32)
    whole = state.repeat(spread, 1).repeat(spread, 2)
    out[:, : whole.shape[1], : whole.shape[2]] = whole[:, :height, :width]
    return out


def convolve(x, kernel):
    """3 x 3 with zeros around, tap by tap in float64."""
    height, width = x.shape[1:3]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )


def test_a_transformed_kernel_filters_a_line():
    """F(4, 3) along one axis, worked by hand: four outputs of six inputs."""
    kernel = np.zeros((3, 3, 1, 1))
    kernel[1, :, 0, 0] = (2.0, -1.0, 3.0)
    image = np.zeros((1, 4, 4, 1), np.float32)
    image[0, :, :, 0] = np.arange(16).reshape(4, 4)
    found = winograd.Convolution(kernel, memory.Buffers())(image)
    # the row 4 5 6 7: 2 left - 1 here + 3 right
    np.testing.assert_allclose(found[0, 1, :, 0], [-4 + 15, 8 - 5 + 18, 10 - 6 + 21, 12 - 7], 1e-5)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(
    ("height", "width", "before", "after", "spread", "branches"),
    [
        (8, 8, 4, 5, 1, 1),
        (7, 10, 70, 6, 1, 1),
        (9, 6, 5, 130, 2, 1),
        (8, 12, 16, 8, 2, 2),
        (7, 7, 6, 7, 3, 2),
        (3, 2, 4, 4, 1, 1),
    ],
)
def test_a_product_is_convolved(images, height, width, before, after, spread, branches):
    """Two readouts to an image; tiles at the edges, strips, and rows that a pooling left over."""
    state = draw(2 * images, height // spread, width // spread, before)
    quotients = [draw(images, height, width, before, seed=k) for k in range(branches)]
    kernel = draw(3, 3, before * branches, after)
    found = winograd.Convolution(kernel, memory.Buffers())(state, quotients, spread)
    whole = repeat(state, spread, height, width)
    product = np.concatenate([whole * q.repeat(2, 0) for q in quotients], -1)
    expected = convolve(product, kernel)
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (9, 6), (3, 2)])
@pytest.mark.parametrize("relu", [True, False])
def test_a_tile_is_finished_before_it_is_written(height, width, relu):
    """Bias, ReLU and the largest of 2 x 2, what is left over of a side left out."""
    state, kernel, biases = draw(3, height, width, 5), draw(3, 3, 5, 70), draw(70)
    convolution = winograd.Convolution(kernel, memory.Buffers(), biases, relu)
    expected = convolve(state, kernel) + biases
    expected = np.maximum(expected, 0) if relu else expected
    most = np.abs(expected).max()
    assert np.abs(convolution(state) - expected).max() <= 2e-5 * most
    rows, columns = height // 2, width // 2
    windows = expected[:, : 2 * rows, : 2 * columns].reshape(3, rows, 2, columns, 2, 70)
    assert np.abs(convolution(state, pool=2) - windows.max((2, 4))).max() <= 2e-5 * most


def test_many_blocks_are_one_convolution(monkeypatch):
    state, kernel = draw(2, 21, 18, 8), draw(3, 3, 8, 8)
    convolution = winograd.Convolution(kernel, memory.Buffers())
    whole = convolution(state).copy()
    monkeypatch.setattr(winograd, "_TILES", 16)
    for threads in (1, 3):
        monkeypatch.setattr("lib.threads.THREADS", threads)
        np.testing.assert_allclose(convolution(state), whole, atol=1e-5)
    assert np.array_equal(convolution(state), convolution(state))


@pytest.mark.parametrize(
    ("height", "width", "spread", "branches"), [(8, 8, 2, 1), (9, 7, 2, 1), (6, 5, 1, 2)]
)
def test_collapsed_is_the_sum_over_channels(monkeypatch, height, width, spread, branches):
    state = draw(4, height // spread, width // spread, 6)
    quotients = [draw(2, height, width, 6, seed=k) for k in range(branches)]
    shared, kernel = draw(2, height, width, 5), draw(3, 3, 6 * branches, 5)
    whole = repeat(state, spread, height, width)
    product = np.concatenate([whole * q.repeat(2, 0) for q in quotients], -1)
    expected = (convolve(product, kernel) * shared.repeat(2, 0)).sum(-1)
    for block in (1, 1e-9):
        monkeypatch.setattr(collapsed, "_BLOCK", block)
        found = collapsed.Collapsed(kernel)(state, quotients, tf.constant(shared), spread)
        assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


def test_quotients_are_outputs_over_denominators():
    fused, biases = draw(1, 3, 4, 15), draw(15)
    fused[0, 0, 0, 0] = -biases[0]
    fused[0, 1, 1, 12] = -biases[12]
    branches = [(1, 2.0, 0.0), (2, -1.0, 0.0), (0, 1.0, 0.1)]
    y, quotients = denominators.divide(fused, biases, 5, branches, relu=True, times=True)
    z, first, second = np.split(fused + biases, 3, -1)
    assert np.array_equal(y, np.maximum(z, 0))
    assert second[0, 1, 1, 2] == 0
    second[0, 1, 1, 2] = 1e-7
    np.testing.assert_allclose(quotients[0], 2 * y / first, rtol=1e-6)
    np.testing.assert_allclose(quotients[1], -y / second, rtol=1e-6)
    np.testing.assert_allclose(quotients[2], y / (z + np.where(z >= 0, 0.1, -0.1)), rtol=1e-5)
    own = np.ascontiguousarray(fused[..., :5])
    y, (quotient,) = denominators.divide(own, biases[:5], 5, branches[2:], relu=False, times=False)
    assert np.array_equal(y, z)
    np.testing.assert_allclose(quotient, 1 / (z + np.where(z >= 0, 0.1, -0.1)), rtol=1e-5)


def test_the_first_of_equals_wins():
    """As TensorFlow's gradient of max pooling routes it, ties and zeros among them."""
    y = np.random.default_rng(1).integers(0, 3, (2, 6, 8, 7)).astype(np.float32)
    quotients = draw(2, *y.shape)
    kept = quotients.copy()
    pooled = denominators.keep_winners(y, kept)
    expected = tf.nn.max_pool2d(y, 2, 2, "VALID")
    mask = tf.raw_ops.MaxPoolGrad(
        orig_input=y, orig_output=expected, grad=tf.ones_like(expected),
        ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID",
    )  # fmt: skip
    assert np.array_equal(pooled, expected)
    assert np.array_equal(kept, quotients * mask.numpy())


def test_memory_that_does_not_suit_tensorflow_is_copied():
    """TensorFlow would end the process over it."""
    flat = memory.empty((65,))
    for array in (flat[1:], flat[:64].reshape(8, 8).T):
        array[:] = 1
        tensor = memory.as_tensor(array)
        array[:] = 2
        assert np.array_equal(tensor, np.ones(array.shape))
    shared = memory.as_tensor(flat[:64])
    flat[:] = 3
    assert float(shared[5]) == 3
    with pytest.raises(ValueError, match="read-only"):
        memory.as_array(shared)[0] = 1
