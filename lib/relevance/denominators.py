"""Outputs and quotients of a convolution under a rule, in one pass over its fused products.

What these loops write down is what TensorFlow would: the same float32 sums in the same order, so
that equal inputs of a max pooling stay equal. They save the passes in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numba
import numpy as np

from lib import memory
from lib.relevance.rules import ZERO_DENOMINATOR
from lib.threads import run_side_by_side

_ZERO = np.float32(ZERO_DENOMINATOR)


@numba.njit(nogil=True, cache=True)
def _divide(fused, biases, blocks, factors, epsilons, relu, times, low, high, y, out):
    """Outputs and quotients of the positions ``low`` to ``high``; see :func:`divide`."""
    width = biases.size
    positions = fused.size // width
    channels = y.size // positions
    strip = np.uint64(channels)
    for position in range(low, high):
        of, to = np.uint64(position * width), np.uint64(position * channels)
        for c in range(strip):
            z = fused[of + c] + biases[c]
            y[to + c] = max(z, np.float32(0)) if relu else z
        for k in range(blocks.size):
            begin = np.uint64(blocks[k] * channels)
            by, at = of + begin, np.uint64((k * positions + position) * channels)
            factor, epsilon = factors[k], epsilons[k]
            for c in range(strip):
                z = fused[by + c] + biases[begin + c]
                if epsilon > 0:
                    z += epsilon if z >= 0 else -epsilon
                elif z == 0:
                    z = _ZERO
                out[at + c] = factor * (y[to + c] if times else np.float32(1)) / z


def divide(
    fused: np.ndarray,
    biases: np.ndarray,
    channels: int,
    branches: Sequence[tuple[int, float, float]],
    *,
    relu: bool,
    times: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """A layer's output and the quotients of its branches, from its fused convolution.

    Parameters
    ----------
    fused : ndarray, (images, y, x, blocks * channels), float32
        Convolutions without ``biases`` side by side, the layer's own first.
    biases : ndarray, (blocks * channels,), float32
    channels : int
    branches : sequence of (block, factor, epsilon)
        Which block is a branch's denominator, and what the quotient is multiplied with and the
        denominator stabilised by.
    relu : bool
    times : bool
        Quotients are the output over the denominator, else 1 over it.

    Returns
    -------
    y : ndarray, (images, y, x, channels), float32
    quotients : ndarray, (branches, images, y, x, channels), float32
    """
    y = memory.empty((*fused.shape[:3], channels))
    quotients = np.empty((len(branches), *y.shape), np.float32)
    blocks, factors, epsilons = zip(*branches, strict=True)
    run_side_by_side(
        partial(
            _divide, fused.reshape(-1), biases, np.array(blocks, np.int64),
            np.array(factors, np.float32), np.array(epsilons, np.float32), relu, times,
            y=y.reshape(-1), out=quotients.reshape(-1),
        ),
        y.size // channels,
    )  # fmt: skip
    return y, quotients


@numba.njit(nogil=True, cache=True)
def _keep_winners(y, shape, quotients, low, high, pooled):
    """The rows ``low`` to ``high`` of all images' windows; see :func:`keep_winners`."""
    _, height, width, channels = shape
    rows, columns = height // 2, width // 2
    strip = np.uint64(channels)
    line = np.uint64(width * channels)
    for row in range(low, high):
        image, r = divmod(row, rows)
        for column in range(columns):
            to = np.uint64((row * columns + column) * channels)
            a = np.uint64(((image * height + 2 * r) * width + 2 * column) * channels)
            for c in range(strip):
                p = a + c
                q = p + line
                pooled[to + c] = max(max(y[p], y[p + strip]), max(y[q], y[q + strip]))
            for begin in range(0, quotients.size, y.size):
                b = a + np.uint64(begin)
                for c in range(strip):
                    p, m = a + c, pooled[to + c]
                    q, s = p + line, b + c
                    t = s + line
                    first, second, third = y[p] == m, y[p + strip] == m, y[q] == m
                    quotients[s] = quotients[s] if first else 0
                    quotients[s + strip] = quotients[s + strip] if second and not first else 0
                    third = third and not (first or second)
                    quotients[t] = quotients[t] if third else 0
                    last = not (first or second or third)
                    quotients[t + strip] = quotients[t + strip] if last else 0


def keep_winners(y: np.ndarray, quotients: np.ndarray) -> np.ndarray:
    """Max pooling by 2 x 2; quotients stay where an output won its window, the first of equals.

    Parameters
    ----------
    y : ndarray, (images, y, x, channels), float32
        Of even height and width.
    quotients : ndarray, (branches, images, y, x, channels), float32
        Changed in place.

    Returns
    -------
    ndarray, (images, y / 2, x / 2, channels), float32
    """
    images, height, width, channels = y.shape
    pooled = memory.empty((images, height // 2, width // 2, channels))
    run_side_by_side(
        partial(
            _keep_winners, y.reshape(-1), y.shape, quotients.reshape(-1), pooled=pooled.reshape(-1)
        ),
        images * (height // 2),
        least=1,
    )
    return pooled
