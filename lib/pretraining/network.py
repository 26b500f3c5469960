"""VGG-16 as it is trained: with batch normalisation, at any width, widened on the way.

Half the width costs a quarter of the time, so a trunk may learn at half width first.
:func:`widen` then doubles every layer without changing what the network computes (Net2Net, Chen,
Goodfellow & Shlens 2016, arXiv 1511.05641, section 2.1), and training goes on at full width. When
it is done, :func:`fold` turns each convolution and its normalisation into one plain convolution,
and the trunk is the architecture of :mod:`lib.vgg`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from lib.errors import InputError
from lib.vgg import BLOCKS, LAYERS
from lib.weights import Weights

#: Added to the variance under the root, as Keras does.
EPSILON = 1e-3
#: What a layer with normalisation holds, in this order.
PARTS = ("kernel", "gamma", "beta", "mean", "variance")
HEADS = ("identity", "auxiliary")

State = dict[str, dict[str, np.ndarray]]


def count_channels(width: float) -> list[int]:
    """Output channels of the thirteen convolutions at a share of the full width.

    Raises
    ------
    InputError
        The share gives no whole number of channels.
    """
    counts = [channels * width for block in BLOCKS for channels in block]
    if not 0 < width <= 1 or any(count != int(count) for count in counts):
        raise InputError(f"width is {width!r}: give 1, or 1/2, 1/4, ... down to 1/64.")
    return [int(count) for count in counts]


def initial_state(width: float, identities: int, auxiliary: int, seed: int) -> State:
    """Untrained weights: He-normal kernels (He et al. 2015, equation 10), small dense heads.

    Parameters
    ----------
    width : float
        Share of VGG-16's channels.
    identities : int
        Classes.
    auxiliary : int
        Targets of the auxiliary head.
    seed : int

    Returns
    -------
    dict
        Layer -> part -> array, float32.
    """
    rng = np.random.default_rng([seed, 20])
    state: State = {}
    before = 3
    for layer, count in zip(LAYERS, count_channels(width), strict=True):
        state[layer] = {
            "kernel": rng.normal(0, np.sqrt(2 / (9 * before)), (3, 3, before, count)),
            "gamma": np.ones(count),
            "beta": np.zeros(count),
            "mean": np.zeros(count),
            "variance": np.ones(count),
        }
        before = count
    for head, classes in zip(HEADS, (identities, auxiliary), strict=True):
        state[head] = {
            "kernel": rng.normal(0, 0.01, (before, classes)),
            "bias": np.zeros(classes),
        }
    return {k: {p: a.astype(np.float32) for p, a in v.items()} for k, v in state.items()}


def width_of(state: Mapping) -> float:
    """Share of VGG-16's channels that a state has."""
    return state[LAYERS[0]]["kernel"].shape[-1] / BLOCKS[0][0]


class Network:
    """VGG-16 with batch normalisation and two dense heads on the mean of the last pooling layer.

    Parameters
    ----------
    state : dict
        As :func:`initial_state` gives it; any size of image.
    precision : {"float32", "bfloat16"}
        Of the convolutions; weights, normalisation statistics and heads stay float32.
    momentum : float
        Share of the running statistics that a step keeps.
    """

    def __init__(self, state: State, precision: str = "float32", momentum: float = 0.97):
        self.dtype = tf.as_dtype(precision)
        self.momentum = momentum
        self.variables = {
            layer: {
                part: tf.Variable(
                    array, name=f"{layer}_{part}", trainable=part not in ("mean", "variance")
                )
                for part, array in parts.items()
            }
            for layer, parts in state.items()
        }

    def trainable(self) -> list[tuple[str, str, tf.Variable]]:
        """(layer, part, variable) of what gradients change."""
        return [
            (layer, part, variable)
            for layer, parts in self.variables.items()
            for part, variable in parts.items()
            if variable.trainable
        ]

    def features(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """Last pooling layer of images as :func:`lib.vgg.prepare` gives them.

        In training the batch's own mean and variance normalise, and the running ones follow.
        """
        x = tf.cast(images, self.dtype)
        position = 0
        for channels in BLOCKS:
            for _ in channels:
                x = self._convolve(x, LAYERS[position], training)
                position += 1
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return x

    def _convolve(self, x, layer, training):
        parts = self.variables[layer]
        x = tf.nn.conv2d(x, tf.cast(parts["kernel"], self.dtype), 1, "SAME")
        x, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=parts["gamma"],
            offset=parts["beta"],
            mean=[] if training else parts["mean"],
            variance=[] if training else parts["variance"],
            epsilon=EPSILON,
            is_training=training,
        )
        if training:
            for name, value in (("mean", mean), ("variance", variance)):
                parts[name].assign_sub((1 - self.momentum) * (parts[name] - value))
        return tf.nn.relu(x)

    def heads(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits of the identities, and the auxiliary targets, from the last pooling layer."""
        pooled = tf.reduce_mean(tf.cast(features, tf.float32), (1, 2))
        return tuple(
            pooled @ self.variables[head]["kernel"] + self.variables[head]["bias"] for head in HEADS
        )

    def state(self) -> State:
        """The weights as arrays."""
        return {
            layer: {part: variable.numpy() for part, variable in parts.items()}
            for layer, parts in self.variables.items()
        }


def widen(state: State, seed: int, spread: float = 0.5) -> State:
    """A network of twice the width that computes the same.

    Every unit gets a twin. What leaves the two towards a unit of the next layer is a random split
    of what left the one, ``s w`` and ``(1 - s) w`` with ``s`` normal about 1/2, so the sum stays;
    because the splits differ, the gradients of the twins differ, and training makes them two.

    Parameters
    ----------
    state : dict
    seed : int
    spread : float
        Standard deviation of ``s``. With 1/2 the sum of the squared weights of a unit stays.

    Returns
    -------
    dict
    """
    if width_of(state) > 0.5:
        raise InputError("The network has more than half the full width already.")
    rng = np.random.default_rng([seed, 21])

    def split(kernel: np.ndarray) -> np.ndarray:
        share = rng.normal(0.5, spread, kernel.shape)
        return np.concatenate([share * kernel, (1 - share) * kernel], axis=-2)

    out: State = {}
    for layer, parts in state.items():
        kernel = parts["kernel"].astype(np.float64)
        if layer in HEADS:
            out[layer] = {"kernel": split(kernel), "bias": parts["bias"]}
            continue
        twins = np.concatenate([kernel, kernel], axis=-1)
        out[layer] = {"kernel": twins if layer == LAYERS[0] else split(twins)}
        for part in PARTS[1:]:
            out[layer][part] = np.concatenate([parts[part]] * 2)
    return {k: {p: np.asarray(a, np.float32) for p, a in v.items()} for k, v in out.items()}


def unfold(weights: Weights, state: State) -> State:
    """Plain convolutions as a network with normalisation that changes nothing, and a state's heads.

    So that what :func:`fold` gave, perhaps rounded since, can be asked what the network is asked.
    """
    out: State = {head: state[head] for head in HEADS}
    for layer in LAYERS:
        bias = weights[layer]["bias"]
        out[layer] = {
            "kernel": weights[layer]["kernel"],
            "gamma": np.full_like(bias, np.sqrt(1 + EPSILON)),
            "beta": bias,
            "mean": np.zeros_like(bias),
            "variance": np.ones_like(bias),
        }
    return out


def fold(state: State) -> Weights:
    """Plain convolutions that compute what the trained layers compute with running statistics.

    ``gamma (w x - mean) / sqrt(variance + eps) + beta`` is a convolution with the kernel
    ``w gamma / sqrt(variance + eps)`` and the bias ``beta - mean gamma / sqrt(variance + eps)``.

    Returns
    -------
    dict
        ``{layer: {"kernel": ..., "bias": ...}}`` for :func:`lib.vgg.build_vgg16`.
    """
    out: Weights = {}
    for layer in LAYERS:
        kernel, gamma, beta, mean, variance = (
            state[layer][part].astype(np.float64) for part in PARTS
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        out[layer] = {
            "kernel": (kernel * scale).astype(np.float32),
            "bias": (beta - mean * scale).astype(np.float32),
        }
    return out
