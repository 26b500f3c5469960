"""Memory that compiled loops and TensorFlow both work in, without copies between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

#: Bytes: TensorFlow takes memory as it is where it begins at a multiple of these.
_ALIGNED = 64


def empty(shape: Sequence[int]) -> np.ndarray:
    """An array of float32 without contents that TensorFlow can take as it is."""
    count = int(np.prod(shape))
    raw = np.empty(4 * count + _ALIGNED, np.uint8)
    begin = -raw.ctypes.data % _ALIGNED
    return raw[begin : begin + 4 * count].view(np.float32).reshape(shape)


def as_tensor(array: np.ndarray | tf.Tensor) -> tf.Tensor:
    """A tensor of an array; in the same memory, and changing with it, where that can be."""
    if not isinstance(array, np.ndarray):
        return array
    # TensorFlow ends the process over an address that does not suit it.
    suits = array.ctypes.data % _ALIGNED == 0 and array.flags.c_contiguous and array.flags.writeable
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__()) if suits else tf.constant(array)


def as_array(tensor: tf.Tensor | np.ndarray) -> np.ndarray:
    """An array in the same memory that cannot be written to; compiled loops know one kind only."""
    array = tensor.view() if isinstance(tensor, np.ndarray) else np.asarray(memoryview(tensor))
    array.flags.writeable = False
    return array


class Buffers:
    """Memory that is used again: fresh memory costs as much time as the transforms do.

    An array that was handed out is overwritten by the second one after it.
    """

    def __init__(self):
        self._flat: list = [None, None, None]
        self._turn = 0

    def _aligned(self, which: int, shape: Sequence[int]) -> np.ndarray:
        count = int(np.prod(shape))
        if self._flat[which] is None or self._flat[which].size < count:
            self._flat[which] = empty((count,))
        return self._flat[which][:count].reshape(shape)

    def tiles(self, shape: Sequence[int]) -> np.ndarray:
        """For transformed tiles; only one at a time."""
        return self._aligned(2, shape)

    def output(self, shape: Sequence[int]) -> np.ndarray:
        """For what a layer gives."""
        self._turn = 1 - self._turn
        return self._aligned(self._turn, shape)
