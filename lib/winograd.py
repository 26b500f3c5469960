"""Minimal filtering: a 3 x 3 convolution with a quarter of the multiplications.

Winograd's algorithm F(4 x 4, 3 x 3) (Lavin & Gray 2016, CVPR, section 4.3) cuts the input into
tiles of 6 x 6 that overlap by two. Each tile is transformed, one small matrix product per position
of the tile takes the place of the convolution, and a second transform gives 4 x 4 outputs: 36
multiplications where the convolution has 144. All is float32; against the plain convolution the
largest difference is about 2e-5 of the largest value.

Forward (:mod:`lib.forward`), biases, ReLU and max pooling are done before a tile is written.
Backward, relevance hands the convolution a product: what arrives, for every readout, times a
quotient that all readouts share, and where a max pooling was folded in, what arrives is repeated
over the pooling's windows. Both are done while a tile is read, so that neither the product nor the
repetition is ever written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numba
import numpy as np
import tensorflow as tf

from lib import memory, network
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


def fits(layer: network.Layer) -> bool:
    """Whether a layer is a 3 x 3 convolution, stride 1, zeros around, of more than colours."""
    return (
        isinstance(layer, network.Convolution)
        and layer.kernel.shape[:2] == (3, 3)
        and min(layer.kernel.shape[2:]) >= 4
        and layer.strides == layer.dilation == (1, 1)
        and layer.padding == "SAME"
    )


def count_tiles(shape: Sequence[int]) -> int:
    """Tiles of images (n, y, x, channels)."""
    return shape[0] * -(-shape[1] // OUT) * -(-shape[2] // OUT)


def transform_kernel(kernel: np.ndarray) -> np.ndarray:
    """(3, 3, before, after) -> (36, before, after), float32; worked out in float64."""
    kernel = np.asarray(kernel, np.float64)
    found = np.einsum("ia,abcd,jb->ijcd", _G, kernel, _G, optimize=True)
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
def _write_tiles(products, count, first, low, high, out, shape, biases, relu, pool):
    """Outputs, flat, of shape (n, y, x, c), of the tiles ``low`` to ``high`` of a block's products.

    products, flat, (36, count, c) of a block that starts with tile ``first``; biases, (c,), or
    nothing; ``pool`` 2 for the largest of 2 x 2 outputs, of which there are (n, y // 2, x // 2, c),
    else 1.
    """
    _, height, width, channels = shape
    rows, columns = (height + OUT - 1) // OUT, (width + OUT - 1) // OUT
    # what is written of a tile, at most, and of an image
    side, below, beside = OUT // pool, height // pool, width // pool
    a = np.empty(IN * IN * _STRIP, np.float32)
    b = np.empty(OUT * IN * _STRIP, np.float32)
    one, row, line = np.uint64(_STRIP), np.uint64(IN * _STRIP), np.uint64(OUT * _STRIP)
    lowest = np.float32(0 if relu else -np.inf)
    for k in range(low, high):
        n, rest = divmod(first + k, rows * columns)
        top, left = (rest // columns) * side, (rest % columns) * side
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
            for i in range(min(side, below - top)):
                for j in range(min(side, beside - left)):
                    at = np.uint64((i * OUT + j) * pool * _STRIP)
                    to = np.uint64(((n * below + top + i) * beside + left + j) * channels + c)
                    if pool == 2:
                        for m in range(strip):
                            p = at + m
                            q = p + line
                            a[p] = max(max(a[p], a[p + one]), max(a[q], a[q + one]))
                    if biases.size:
                        by = np.uint64(c)
                        for m in range(strip):
                            out[to + m] = max(a[at + m] + biases[by + m], lowest)
                    else:
                        for m in range(strip):
                            out[to + m] = a[at + m]


class Convolution:
    """A 3 x 3 convolution at stride 1 with zeros around, of a product.

    Parameters
    ----------
    kernel : ndarray, (3, 3, before, after), float32
    buffers : memory.Buffers
        Shared by the layers of a network.
    biases : ndarray, (after,), float32, optional
    relu : bool
        Of a layer with biases.
    """

    def __init__(
        self,
        kernel: np.ndarray,
        buffers: memory.Buffers,
        biases: np.ndarray = _NOTHING,
        relu: bool = False,
    ):
        self.kernel = tf.constant(transform_kernel(kernel))
        self.buffers = buffers
        self.biases, self.relu = memory.as_array(biases), relu

    def __call__(
        self,
        state: np.ndarray,
        quotients: Sequence[np.ndarray] = (),
        spread: int = 1,
        pool: int = 1,
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
        pool : {1, 2}
            With 2 the largest of 2 x 2 outputs, without a row or column that is left over.

        Returns
        -------
        ndarray, (images * readouts, y // pool, x // pool, after), float32
            In memory of the buffers.
        """
        _, before, after = self.kernel.shape
        height, width = quotients[0].shape[1:3] if quotients else state.shape[1:3]
        each = len(state) // len(quotients[0]) if quotients else 1
        shape = (len(state), height, width, after)
        out = self.buffers.output((len(state), height // pool, width // pool, after))
        total = count_tiles(shape)
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
                partial(
                    _write_tiles, products, some, first, out=to, shape=shape,
                    biases=self.biases, relu=self.relu, pool=pool,
                ),
                some,
            )  # fmt: skip
        return out
