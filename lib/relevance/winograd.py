"""Minimal filtering: a 3 x 3 convolution with a quarter of the multiplications.

Winograd's algorithm F(4 x 4, 3 x 3) (Lavin & Gray 2016, CVPR, section 4.3) cuts the input into
tiles of 6 x 6 that overlap by two. Each tile is transformed, one small matrix product per position
of the tile takes the place of the convolution, and a second transform gives 4 x 4 outputs: 36
multiplications where the convolution has 144. All is float32; against the plain convolution the
largest difference is about 2e-5 of the largest value.

The backward pass of relevance hands the convolution a product: what arrives, for every readout,
times a quotient that all readouts share, and where a max pooling was folded in, what arrives is
repeated over the pooling's windows. Both are done while a tile is read, so that neither the product
nor the repetition is ever written down.

The last convolution before a flat first layer needs less still (:class:`Collapsed`): the flat rule
hands every channel of a pixel the same, so only the sum over the channels is wanted, and the sum
over the channels of "convolution times something that all readouts share" is one small vector per
position and tap, the same for all readouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numba
import numpy as np
import tensorflow as tf

from lib.relevance import memory
from lib.threads import run_side_by_side

#: Outputs along a tile's side, and inputs.
OUT, IN = 4, 6
#: Channels that a transform takes at a time: a tile of them stays in the first cache.
_STRIP = 64
#: Tiles that go through the products together, and MB that they take at most.
_TILES, _BLOCK = 256, 20
#: For a convolution of the state itself.
_NOTHING = np.empty(0, np.float32)
_NOTHING.flags.writeable = False
#: Kernel transform, G of the paper.
_G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)


def fits(kernel_shape: Sequence[int]) -> bool:
    """Whether a kernel (height, width, before, after) is 3 x 3 and takes more than colours."""
    return tuple(kernel_shape[:2]) == (3, 3) and min(kernel_shape[2:]) >= 4


def transform_kernel(kernel: np.ndarray) -> np.ndarray:
    """(3, 3, before, after) -> (36, before, after), float32; worked out in float64."""
    found = np.einsum("ia,abcd,jb->ijcd", _G, np.asarray(kernel, np.float64), _G)
    return np.ascontiguousarray(found.reshape(IN * IN, *kernel.shape[2:]), dtype=np.float32)


@numba.njit(fastmath=True, inline="always")
def _input_line(source, target, begin, step, strip):
    """B^T of the paper along one line of six entries ``step`` apart, for a strip of channels."""
    four, five, two = np.float32(4), np.float32(5), np.float32(2)
    for m in range(strip):
        c = begin + m
        c1 = c + step
        c2 = c1 + step
        c3 = c2 + step
        c4 = c3 + step
        c5 = c4 + step
        a, b, d, e, f, g = source[c], source[c1], source[c2], source[c3], source[c4], source[c5]
        target[c] = four * a - five * d + f
        even, odd = f - four * d, e - four * b
        target[c1] = even + odd
        target[c2] = even - odd
        even, odd = f - d, two * (e - b)
        target[c3] = even + odd
        target[c4] = even - odd
        target[c5] = four * b - five * e + g


# The compiled loops take flat arrays and unsigned positions: a slice of an array counts its owners,
# which two threads do in turns, and a signed position is asked whether it is negative.


@numba.njit(nogil=True, cache=True, fastmath=True)
def _read_tiles(
    state, shape, quotient, size, each, spread, first, low, high, tiles, count, begin, width
):
    """Transformed tiles ``low`` to ``high`` of a block of ``count`` that starts at tile ``first``.

    state, flat, of shape (n, y', x', c), each value standing for ``spread`` x ``spread`` positions;
    quotient, flat, (images, *size, c), ``each`` readouts to an image, or nothing; to tiles, flat,
    (36, count, width), from channel ``begin`` on.
    """
    rows, columns = (size[0] + OUT - 1) // OUT, (size[1] + OUT - 1) // OUT
    channels = shape[3]
    a = np.empty(IN * IN * _STRIP, np.float32)
    b = np.empty(IN * IN * _STRIP, np.float32)
    from_y, from_x = np.empty(IN, np.int64), np.empty(IN, np.int64)
    for k in range(low, high):
        n, rest = divmod(first + k, rows * columns)
        top, left = (rest // columns) * OUT - 1, (rest % columns) * OUT - 1
        image = n // each
        for i in range(IN):
            # Rows and columns beyond the edge, or that a pooling left over, get nothing.
            y, x = (top + i) // spread, (left + i) // spread
            from_y[i] = y if 0 <= top + i < size[0] and y < shape[1] else -1
            from_x[i] = x if 0 <= left + i < size[1] and x < shape[2] else -1
        for c in range(0, channels, _STRIP):
            strip = np.uint64(min(_STRIP, channels - c))
            for i in range(IN):
                for j in range(IN):
                    at = np.uint64((i * IN + j) * _STRIP)
                    if from_y[i] >= 0 and from_x[j] >= 0:
                        p = ((n * shape[1] + from_y[i]) * shape[2] + from_x[j]) * channels + c
                        q = ((image * size[0] + top + i) * size[1] + left + j) * channels + c
                        of, by = np.uint64(p), np.uint64(q)
                        if quotient.size:
                            for m in range(strip):
                                a[at + m] = state[of + m] * quotient[by + m]
                        else:
                            for m in range(strip):
                                a[at + m] = state[of + m]
                    else:
                        for m in range(strip):
                            a[at + m] = 0
            for j in range(IN):
                _input_line(a, b, np.uint64(j * _STRIP), np.uint64(IN * _STRIP), strip)
            for i in range(IN):
                _input_line(b, a, np.uint64(i * IN * _STRIP), np.uint64(_STRIP), strip)
            for e in range(IN * IN):
                at = np.uint64(e * _STRIP)
                to = np.uint64((e * count + k) * width + begin + c)
                for m in range(strip):
                    tiles[to + m] = a[at + m]


@numba.njit(fastmath=True, inline="always")
def _output_line(source, target, begin, step, end, stride, strip):
    """A^T of the paper: six entries ``step`` apart to four ``stride`` apart from ``end`` on."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    for m in range(strip):
        c, t = begin + m, end + m
        c1 = c + step
        c2 = c1 + step
        c3 = c2 + step
        c4 = c3 + step
        c5 = c4 + step
        a, b, d, e, f, g = source[c], source[c1], source[c2], source[c3], source[c4], source[c5]
        even, odd, even_2, odd_2 = b + d, b - d, e + f, e - f
        target[t] = a + even + even_2
        t1 = t + stride
        target[t1] = odd + two * odd_2
        t2 = t1 + stride
        target[t2] = even + four * even_2
        target[t2 + stride] = odd + eight * odd_2 + g


@numba.njit(nogil=True, cache=True, fastmath=True)
def _write_tiles(products, count, first, low, high, out, shape):
    """Outputs, flat, of shape (n, y, x, c), of the tiles ``low`` to ``high`` of a block's products.

    products, flat, (36, count, c) of a block that starts with tile ``first``.
    """
    _, height, width, channels = shape
    rows, columns = (height + OUT - 1) // OUT, (width + OUT - 1) // OUT
    a = np.empty(IN * IN * _STRIP, np.float32)
    b = np.empty(OUT * IN * _STRIP, np.float32)
    one, row, line = np.uint64(_STRIP), np.uint64(IN * _STRIP), np.uint64(OUT * _STRIP)
    for k in range(low, high):
        n, rest = divmod(first + k, rows * columns)
        top, left = (rest // columns) * OUT, (rest % columns) * OUT
        for c in range(0, channels, _STRIP):
            strip = np.uint64(min(_STRIP, channels - c))
            for e in range(IN * IN):
                at = np.uint64(e * _STRIP)
                of = np.uint64((e * count + k) * channels + c)
                for m in range(strip):
                    a[at + m] = products[of + m]
            for j in range(np.uint64(IN)):
                _output_line(a, b, j * one, row, j * one, row, strip)
            for i in range(np.uint64(OUT)):
                _output_line(b, a, i * row, one, i * line, one, strip)
            for i in range(min(OUT, height - top)):
                for j in range(min(OUT, width - left)):
                    at = np.uint64((i * OUT + j) * _STRIP)
                    to = np.uint64(((n * height + top + i) * width + left + j) * channels + c)
                    for m in range(strip):
                        out[to + m] = a[at + m]


class Convolution:
    """A 3 x 3 convolution at stride 1 with zeros around, of a product.

    Parameters
    ----------
    kernel : ndarray, (3, 3, before, after), float32
    buffers : memory.Buffers
        Shared by the layers of a network.
    """

    def __init__(self, kernel: np.ndarray, buffers: memory.Buffers):
        self.kernel = tf.constant(transform_kernel(kernel))
        self.buffers = buffers

    def __call__(
        self, state: np.ndarray, quotients: Sequence[np.ndarray] = (), spread: int = 1
    ) -> np.ndarray:
        """Convolution of ``state`` times each quotient, the products' channels side by side.

        Parameters
        ----------
        state : ndarray, (images * readouts, y', x', channels), float32
            Readouts of one image side by side.
        quotients : sequence of ndarray, (images, y, x, channels), float32
            As many as make the kernel's channels together; without any the state itself is taken.
        spread : int
            Side of the window that a value of the state stands for; ``y' = y // spread``.

        Returns
        -------
        ndarray, (images * readouts, y, x, after), float32
            In memory of the buffers.
        """
        _, before, after = self.kernel.shape
        height, width = quotients[0].shape[1:3] if quotients else state.shape[1:3]
        each = len(state) // len(quotients[0]) if quotients else 1
        out = self.buffers.output((len(state), height, width, after))
        total = len(state) * -(-height // OUT) * -(-width // OUT)
        count = max(16, min(_TILES, int(_BLOCK * 2**20 / (4 * IN * IN * max(before, after)))))
        flat, to = state.reshape(-1), out.reshape(-1)
        for first in range(0, total, count):
            some = min(count, total - first)
            tiles = self.buffers.tiles((IN * IN, some, before))
            for k, quotient in enumerate(quotients or [_NOTHING]):
                run_side_by_side(
                    partial(
                        _read_tiles, flat, state.shape, quotient.reshape(-1), (height, width), each,
                        spread, first, tiles=tiles.reshape(-1), count=some,
                        begin=k * state.shape[-1], width=before,
                    ),
                    some,
                )  # fmt: skip
            products = tf.matmul(memory.as_tensor(tiles), self.kernel)
            products = memory.as_array(products).reshape(-1)
            run_side_by_side(
                partial(_write_tiles, products, some, first, out=to, shape=out.shape), some
            )
        return out


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
            As :class:`Convolution` takes them.
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
