"""Grad-CAM and integrated gradients, for comparison with relevance."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from lib import network
from lib.errors import InputError
from lib.network import Readout
from lib.relevance.composites import COMPOSITES
from lib.relevance.engine import SharedTrunk, check_readouts, check_width


class GradCam:
    """Grad-CAM (Selvaraju et al. 2017, ICCV, eq. 1 and 2).

    The last convolution's maps, weighted with the spatial mean of the target's gradient, summed,
    rectified, and brought to the size of the image bilinearly. It needs no rule for any layer, so
    the network may have skip connections; of such a one the last feature maps are taken.

    Parameters
    ----------
    trunk : keras.Model
    readouts : sequence of Readout
    layer : str, optional
        Whose output is weighted, in a plain chain of layers; by default the last convolution.

    Raises
    ------
    InputError
        Readouts for another trunk, no convolution, no such layer, or branches behind the last
        feature maps.
    """

    def __init__(
        self, trunk: tf.keras.Model, readouts: Sequence[Readout], layer: str | None = None
    ):
        self.readouts, self._size = list(readouts), trunk.input_shape[1:3]
        try:
            self.chain = network.read_chain(trunk)
        except InputError:
            if layer is not None:
                raise
            check_width(int(np.prod(trunk.output_shape[1:])), readouts, trunk.name)
            tapped, after = _find_last_maps(trunk)
            self._cut(trunk, tapped, after)
            return
        check_readouts(self.chain, readouts, trunk.name)
        names = [x.name for x in self.chain.layers if isinstance(x, network.Convolution)]
        known = [x.name for x in trunk.layers]
        if layer is None and not names:
            raise InputError(f"Trunk {trunk.name!r} has no convolution, so Grad-CAM has no maps.")
        layer = layer or names[-1]
        if layer not in known:
            raise InputError(f"Trunk {trunk.name!r} has no layer {layer!r} for Grad-CAM.")
        tapped = trunk.get_layer(layer).output
        self._cut(trunk, tapped, trunk.layers[known.index(layer) + 1 :])

    def _cut(self, trunk: tf.keras.Model, tapped, after: Sequence) -> None:
        self._head = tf.keras.Model(trunk.inputs, tapped)
        self._tail = tf.keras.Sequential([tf.keras.Input(tapped.shape[1:]), *after])

    def maps(self, x: np.ndarray, choose) -> tuple[np.ndarray, list[np.ndarray], tuple]:
        """Grad-CAM before it is resized.

        Returns
        -------
        maps : ndarray, (n, readouts, height, width), float32, not negative
        logits, target
            As :meth:`lib.relevance.engine.SharedTrunk.relevance`.
        """
        activation = self._head(x, training=False)
        features = tf.reshape(self._tail(activation, training=False), (len(x), -1)).numpy()
        logits = [readout.logits(features) for readout in self.readouts]
        first, second = choose(logits)
        found = []
        for index, readout in enumerate(self.readouts):
            weight = readout.kernel[:, first[:, index]].T
            other = readout.kernel[:, np.maximum(second[:, index], 0)].T
            weight = weight - np.where(second[:, index, None] >= 0, other, 0)
            with tf.GradientTape() as tape:
                tape.watch(activation)
                value = tf.reshape(self._tail(activation, training=False), (len(x), -1))
                score = tf.reduce_sum(value * tf.constant(weight, tf.float32))
            gradient = tape.gradient(score, activation)
            weights = tf.reduce_mean(gradient, (1, 2), keepdims=True)
            found.append(tf.nn.relu(tf.reduce_sum(weights * activation, -1)).numpy())
        return np.stack(found, axis=1), logits, (first, second)

    def relevance(self, x: np.ndarray, choose) -> tuple[np.ndarray, list[np.ndarray], tuple]:
        """Maps at the size of the image, in one channel; else as :meth:`maps`."""
        maps, logits, target = self.maps(x, choose)
        upright = np.moveaxis(maps, 1, -1)
        resized = tf.image.resize(upright, self._size, method="bilinear").numpy()
        return np.moveaxis(resized, -1, 1)[..., None], logits, target


def _find_last_maps(trunk: tf.keras.Model):
    """The last feature maps (n, h, w, channels) of any network, and the layers behind them."""
    tensor, after = trunk.output, []
    while len(tensor.shape) != 4:
        layer, node, _ = tensor._keras_history
        before = layer.inbound_nodes[node].keras_inputs
        if len(before) != 1:
            raise InputError(
                f"Trunk {trunk.name!r} has no feature maps that one chain of layers leads on from, "
                f"so Grad-CAM has none to weight: {layer.name!r} takes {len(before)} inputs."
            )
        after.append(layer)
        tensor = before[0]
    return tensor, after[::-1]


def _read_baseline(baseline: float | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A baseline as an array that goes with an image of ``shape``."""
    try:
        found = np.asarray(baseline, np.float32)
        fits = np.broadcast_shapes(found.shape, shape) == shape and np.isfinite(found).all()
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(
            "The baseline of integrated gradients is refused; give a number, or a prepared image "
            f"of shape {shape} without NaN or infinity."
        )
    return found


class IntegratedGradients:
    """Integrated gradients (Sundararajan et al. 2017, ICML, eq. 1), by the midpoint rule.

    Parameters
    ----------
    trunk : keras.Model
    readouts : sequence of Readout
    precision : {"float32", "winograd", "mixed"}
    steps : int
        Points on the way from the baseline to the image.
    baseline : float or ndarray
        Prepared image to start from; 0 is the channel mean.
    """

    def __init__(
        self,
        trunk: tf.keras.Model,
        readouts: Sequence[Readout],
        precision: str = "float32",
        steps: int = 32,
        baseline: float | np.ndarray = 0.0,
    ):
        if not isinstance(steps, numbers.Integral) or steps < 1:
            raise InputError(
                f"steps = {steps!r} of integrated gradients is refused; give a whole number from 1 "
                "on."
            )
        self.engine = SharedTrunk(trunk, readouts, COMPOSITES["gradient"], precision)
        self.steps = steps
        self.baseline = _read_baseline(baseline, self.engine.chain.input_shape)

    def relevance(self, x: np.ndarray, choose) -> tuple[np.ndarray, list[np.ndarray], tuple]:
        """As :meth:`lib.relevance.engine.SharedTrunk.relevance`; the target is the image's own."""
        logits, _, _ = self.engine.forward(x)
        first, second = choose(logits)
        total = 0.0
        for step in range(self.steps):
            share = (step + 0.5) / self.steps
            point = (self.baseline + share * (x - self.baseline)).astype(np.float32)
            total += self.engine.relevance(point, lambda _: (first, second))[0]
        difference = (x - self.baseline)[:, None]
        return total / self.steps * difference, logits, (first, second)
