"""The last convolution before a flat first layer, summed over its channels.

The flat rule hands every channel of a pixel the same, so only the sum over the channels is wanted.
And the sum over the channels of "a convolution, times something that all readouts share" is one
small vector per position and tap, the same for all readouts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import tensorflow as tf

from lib import memory
from lib.threads import run_side_by_side

#: MB that the vectors of a block of rows take at most.
_BLOCK = 20


@numba.njit(nogil=True, cache=True, fastmath=True)
def _collapse_rows(state, shape, quotient, weights, spread, top, low, high, out, size):
    """What all cells give to the rows ``low`` to ``high`` of an image, added to out.

    state, flat, of shape (readouts, y', x', c); quotient, flat, (y, x, c * branches), of the image;
    weights, flat, (rows, x, 9, c * branches) of a block of rows of which ``top`` is the first; out,
    flat, (readouts, *size). A cell of the state stands for spread x spread positions, and each of
    these reaches 3 x 3.
    """
    readouts, _, cells_x, channels = shape
    height, width = size
    together = quotient.size // (height * width)
    reach = spread + 2
    share = np.empty(reach * reach * channels, np.float32)
    strip = np.uint64(channels)
    for row in range(max(0, low - 1) // spread, min(shape[1], high // spread + 1)):
        first_y, last_y = row * spread, min((row + 1) * spread, height)
        for column in range(cells_x):
            first_x, last_x = column * spread, min((column + 1) * spread, width)
            share[:] = 0
            # All readouts share what a cell counts for each position around it.
            for y in range(first_y, last_y):
                for x in range(first_x, last_x):
                    for i in range(max(low, y - 1), min(high, y + 2)):
                        for j in range(max(0, x - 1), min(width, x + 2)):
                            tap = (y - i + 1) * 3 + x - j + 1
                            to = np.uint64(((i - first_y + 1) * reach + j - first_x + 1) * channels)
                            for b in range(0, together, channels):
                                q = np.uint64((y * width + x) * together + b)
                                w = np.uint64((((i - top) * width + j) * 9 + tap) * together + b)
                                for c in range(strip):
                                    share[to + c] += quotient[q + c] * weights[w + c]
            for r in range(readouts):
                g = np.uint64(((r * shape[1] + row) * cells_x + column) * channels)
                for i in range(max(low, first_y - 1), min(high, last_y + 1)):
                    for j in range(max(0, first_x - 1), min(width, last_x + 1)):
                        s = np.uint64(((i - first_y + 1) * reach + j - first_x + 1) * channels)
                        found = np.float32(0)
                        for c in range(strip):
                            found += state[g + c] * share[s + c]
                        out[(r * height + i) * width + j] += found


class Collapsed:
    """A 3 x 3 convolution of a product, times what all readouts share, summed over its channels.

    Parameters
    ----------
    kernel : ndarray, (3, 3, before, after), float32
    """

    def __init__(self, kernel: np.ndarray):
        before, after = kernel.shape[2:]
        self.kernel = tf.constant(np.asarray(kernel).reshape(9 * before, after).T.copy())
        self.before = before

    def __call__(
        self,
        state: np.ndarray,
        quotients: Sequence[np.ndarray],
        shared: tf.Tensor,
        spread: int = 1,
    ) -> np.ndarray:
        """The sum over the channels c of ``shared`` times the convolution of state times quotients.

        Parameters
        ----------
        state, quotients, spread
            As :class:`lib.winograd.Convolution` takes them.
        shared : Tensor, (images, y, x, after), float32
            Of every image, the same for all its readouts.

        Returns
        -------
        ndarray, (images * readouts, y, x), float32
        """
        images, height, width, after = shared.shape
        quotient = quotients[0] if len(quotients) == 1 else np.concatenate(quotients, -1)
        each = len(state) // images
        out = np.zeros((len(state), height, width), np.float32)
        rows = max(2, int(_BLOCK * 2**20 / (4 * 9 * width * self.before)))
        for image in range(images):
            mine = state[image * each : (image + 1) * each]
            to = out[image * each : (image + 1) * each].reshape(-1)
            for top in range(0, height, rows):
                some = min(rows, height - top)
                block = tf.reshape(shared[image, top : top + some], (-1, after))
                weights = memory.as_array(tf.matmul(block, self.kernel)).reshape(-1)
                of = quotient[image].reshape(-1), weights, spread, top
                run_side_by_side(
                    lambda low, high, of=of, m=mine, to=to: _collapse_rows(
                        m.reshape(-1), m.shape, *of, of[3] + low, of[3] + high, to, (height, width)
                    ),
                    some,
                )
        return out
