"""A chain of layers forward, its convolutions by minimal filtering where that is faster.

For features alone. Filtered activations differ from plain ones in the last digits, which decides
anew which of equal inputs of a max pooling won: their largest is the same, but relevance asks who.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from lib import memory, network, winograd

#: Tiles of a block of images below which the larger kernels cost more than they save.
FEWEST_TILES = 48


def _halves(layer: network.Layer | None) -> bool:
    """Whether a layer is a max pooling of 2 x 2 that leaves out what is left over."""
    return (
        isinstance(layer, network.Pooling)
        and layer.size == layer.strides == (2, 2)
        and layer.padding == "VALID"
    )


def _make_plain(layer: network.Layer) -> Callable[[tf.Tensor], tf.Tensor]:
    """A layer as TensorFlow computes it, bias and ReLU in one go with the convolution."""

    def pool(x):
        return tf.nn.max_pool2d(x, layer.size, layer.strides, layer.padding)

    def convolve(x):
        z = tf.nn.conv2d(x, layer.kernel, layer.strides, layer.padding, dilations=layer.dilation)
        z = tf.nn.bias_add(z, layer.bias)
        return tf.nn.relu(z) if layer.relu else z

    pools = isinstance(layer, network.Pooling)
    shape = (None, None, None, None if pools else layer.kernel.shape[2])
    graph = tf.function(pool if pools else convolve)
    # traced here: calls of many functions that trace themselves look like a mistake to TensorFlow
    return graph.get_concrete_function(tf.TensorSpec(shape, tf.float32))


@dataclass
class _Step:
    """A layer, by minimal filtering where that is possible, and else plainly."""

    layer: network.Layer
    filtered: winograd.Convolution | None = None
    #: Whether the filtered layer does the pooling that follows it.
    pools: bool = False

    @cached_property
    def plain(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return _make_plain(self.layer)


class ForwardPass:
    """Activations of chosen layers of a chain.

    Parameters
    ----------
    chain : lib.network.Chain
        One that :meth:`covers` says yes to.
    names : sequence of str
        The layers.
    """

    def __init__(self, chain: network.Chain, names: Sequence[str]):
        self.names = list(names)
        last = max(k for k, layer in enumerate(chain.layers) if layer.name in self.names)
        layers = chain.layers[: last + 1]
        buffers = memory.Buffers()
        self.steps = [_Step(layer) for layer in layers]
        for step, after in zip(self.steps, [*layers[1:], None], strict=True):
            layer = step.layer
            if winograd.fits(layer):
                step.filtered = winograd.Convolution(layer.kernel, buffers, layer.bias, layer.relu)
                step.pools = _halves(after) and layer.name not in self.names

    @staticmethod
    def covers(chain: network.Chain) -> bool:
        """Whether a chain is convolutions and max poolings alone, and some can be filtered."""
        kinds = network.Convolution | network.Pooling
        plain = all(isinstance(layer, kinds) for layer in chain.layers)
        largest = plain and all(getattr(layer, "kind", "max") == "max" for layer in chain.layers)
        return largest and any(map(winograd.fits, chain.layers))

    def __call__(self, block: np.ndarray) -> list[np.ndarray]:
        """Activations, in the order of the names.

        Parameters
        ----------
        block : ndarray, (n, y, x, channels), float32

        Returns
        -------
        list of ndarray, (n, ...), float32
        """
        found, state, pooled = {}, block, False
        for step in self.steps:
            if pooled:
                pooled = False
            elif step.filtered and winograd.count_tiles(state.shape) >= FEWEST_TILES:
                state = step.filtered(memory.as_array(state), pool=2 if step.pools else 1)
                pooled = step.pools
            else:
                state = step.plain(memory.as_tensor(state))
            if step.layer.name in self.names:
                # the layer after the next writes into the same memory
                found[step.layer.name] = np.array(state)
        return [found[name] for name in self.names]
