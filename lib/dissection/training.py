"""Training of a network, or of its later layers on features that are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from lib import store
from lib.dissection.learners import SCALING
from lib.errors import InputError
from lib.progress import track
from lib.vgg import Trunk, choose_precision, iter_features, with_precision

#: Adam, as Keras' defaults.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
#: A readout on a pretrained trunk begins at nothing, so it takes larger steps than what it is on.
READOUT_FACTOR = 10.0
#: Steps at the start over which the learning rate rises, at most; share of it that is left in the
#: end.
WARM_UP, LEFT = 20, 0.05
#: Batches over which running means and variances settle after the last step.
SETTLE = 30

#: Rows (increasing) -> what a network takes, so that nothing has to be in memory at once.
Inputs = Callable[[np.ndarray], np.ndarray]


class Trainer:
    """A network with its training compiled once, for one training or many.

    Parameters
    ----------
    model : keras.Model
        Input -> logits; its weights are what is trained.
    precision : {"auto", "float32", "bfloat16"}
        Of the products; weights are float32.
    """

    def __init__(self, model: tf.keras.Model, precision: str = "auto"):
        self.model = model
        self.copy = copy = with_precision(model, choose_precision(precision))
        variables = copy.trainable_variables
        self.rate, self.count = tf.Variable(0.0), tf.Variable(0.0)
        self.moments = [[tf.Variable(tf.zeros_like(w)) for _ in range(2)] for w in variables]
        goes_on = any(layer.name == SCALING for layer in model.layers)
        factors = [
            READOUT_FACTOR if goes_on and w.name.startswith("logits") else 1.0 for w in variables
        ]
        kinds = tf.keras.layers
        self.normalised = any(isinstance(x, kinds.BatchNormalization) for x in model.layers)
        self.normalised &= not goes_on
        shape = (None, *model.input_shape[1:])
        takes = [tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None,), tf.int64)]

        @tf.function(input_signature=takes)
        def step(x, wanted):
            with tf.GradientTape() as tape:
                logits = tf.cast(copy(x, training=True), tf.float32)
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits)
                )
            gradients = tape.gradient(loss, variables)
            self.count.assign_add(1.0)
            powers = [tf.pow(beta, self.count) for beta in (BETA_1, BETA_2)]
            for weight, factor, (first, second), gradient in zip(
                variables, factors, self.moments, gradients, strict=True
            ):
                tf.raw_ops.ResourceApplyAdam(
                    var=weight.handle, m=first.handle, v=second.handle, beta1_power=powers[0],
                    beta2_power=powers[1], lr=factor * self.rate, beta1=BETA_1, beta2=BETA_2,
                    epsilon=EPSILON, grad=gradient,
                )  # fmt: skip
            right = tf.equal(tf.argmax(logits, -1), wanted)
            return loss, tf.reduce_mean(tf.cast(right, tf.float32))

        @tf.function(input_signature=takes[:1])
        def settle(x):
            copy(x, training=True)

        @tf.function(input_signature=takes[:1])
        def forward(x):
            return tf.cast(copy(x, training=False), tf.float32)

        self._step, self._settle, self._forward = step, settle, forward

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        rows: np.ndarray,
        *,
        epochs: int,
        batch: int,
        learning_rate: float,
        seed: Sequence[int] = (0,),
        mirror: bool = False,
        title: str = "",
    ) -> pd.DataFrame:
        """Train from the model's present weights: Adam on the cross-entropy.

        Parameters
        ----------
        inputs : function
            Rows (increasing) -> what the model takes.
        labels : ndarray of int, (n,)
        rows : ndarray of int
            To train on.
        epochs, batch : int
        learning_rate : float
            After a short warm-up; it falls along half a cosine to a twentieth.
        seed : sequence of int
            Of the order of images and of the mirroring.
        mirror : bool
            Whether half of the inputs, drawn anew, are mirrored left to right.
        title : str
            For the progress; "" shows none.

        Returns
        -------
        DataFrame
            Columns ``epoch`` (from 1), ``loss`` (nats), ``accuracy``, means over its batches.

        Raises
        ------
        InputError
            Nothing to train on, a setting out of range, or a loss that is not finite.
        """
        rows, labels = np.asarray(rows), np.asarray(labels, np.int64)
        if not rows.size:
            raise InputError("There is no image to train on; render more people.")
        if epochs < 1 or batch < 2 or not learning_rate > 0:
            raise InputError(
                f"epochs = {epochs}, batch = {batch}, learning_rate = {learning_rate}: give at "
                "least 1, 2 and a rate above 0."
            )
        self.copy.set_weights(self.model.get_weights())
        self.count.assign(0.0)
        for moment in (m for both in self.moments for m in both):
            moment.assign(tf.zeros_like(moment))
        rng = np.random.default_rng([*seed, 31])
        batches = max(1, len(rows) // batch)
        total, done, history = epochs * batches, 0, []
        for epoch in track(range(epochs), f"{title}: epochs") if title else range(epochs):
            sums = np.zeros(2)
            for some in np.array_split(rng.permutation(rows), batches):
                some = np.sort(some)
                x = _turn(np.array(inputs(some), np.float32), rng, mirror)
                self.rate.assign(learning_rate * _course(done, total))
                done += 1
                sums += [float(v) for v in self._step(tf.constant(x), tf.constant(labels[some]))]
            if not np.isfinite(sums).all():
                raise InputError(
                    f"The loss is no longer finite in epoch {epoch + 1}; lower learning_rate "
                    f"({learning_rate})."
                )
            history.append((epoch + 1, *(sums / batches)))
        if self.normalised:
            for _ in range(SETTLE):
                some = np.sort(rng.permutation(rows)[:batch])
                self._settle(tf.constant(_turn(np.array(inputs(some), np.float32), rng, mirror)))
        if self.copy is not self.model:
            self.model.set_weights(self.copy.get_weights())
        return pd.DataFrame(history, columns=["epoch", "loss", "accuracy"])

    def predict(self, inputs: Inputs, rows: np.ndarray, batch: int = 64) -> np.ndarray:
        """Logits of some rows, (rows, classes), float32."""
        rows = np.asarray(rows)
        parts = [np.empty((0, self.model.output_shape[-1]), np.float32)]
        for start in range(0, len(rows), batch):
            x = np.asarray(inputs(rows[start : start + batch]), np.float32)
            parts.append(self._forward(tf.constant(x)).numpy())
        return np.concatenate(parts)


def _course(done: int, total: int) -> float:
    """Share of the learning rate at a step: rising, then along half a cosine."""
    falling = LEFT + (1 - LEFT) * 0.5 * (1 + np.cos(np.pi * done / max(1, total - 1)))
    return float(falling * min(1, (done + 1) / max(1, min(WARM_UP, total // 4))))


def _turn(x: np.ndarray, rng: np.random.Generator, mirror: bool) -> np.ndarray:
    if mirror:
        turned = rng.random(len(x)) < 0.5
        x[turned] = x[turned, :, ::-1]
    return x


def cache_features(
    trunk: Trunk,
    images: np.ndarray,
    layer: str,
    path: Path | None = None,
    *,
    precision: str = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Features of one layer of all images as float16, in a file or in memory.

    Parameters
    ----------
    trunk : Trunk
    images : ndarray of uint8, (n, y, x, 3)
    layer : str
    path : Path, optional
        A ``.npy`` file, which is written batch by batch and then read from disk as needed; one
        that is there already is taken as it is. None keeps the features in memory.
    precision, progress
        As :func:`lib.vgg.iter_features`.

    Returns
    -------
    ndarray of float16, (n, height, width, channels)
        float16 rounds to 5e-4 of a value.

    Raises
    ------
    InputError
        A feature beyond the range of float16.
    """
    if path is not None and path.is_file() and store.is_sealed_right(path, True):
        return np.load(path, mmap_mode="r")
    shape = (len(images), *trunk.model.get_layer(layer).output_shape[1:])
    most = np.finfo(np.float16).max

    def fill(out):
        for rows, found in iter_features(
            trunk, images, [layer], precision=precision, progress=progress
        ):
            if not np.abs(found[layer]).max(initial=0) <= most:
                raise InputError(
                    f"Features of {layer} of {trunk.name} exceed {most:.0f} and cannot be kept as "
                    "float16; let the network learn from another layer on."
                )
            out[rows] = found[layer]
        return out

    if path is None:
        return fill(np.empty(shape, np.float16))
    with store.atomic_path(path) as temporary:
        fill(np.lib.format.open_memmap(temporary, "w+", np.float16, shape)).flush()
        store.seal(temporary)
    return np.load(path, mmap_mode="r")
