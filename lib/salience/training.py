"""Detectors of synthetic faces, trained by cross-entropy or with human salience (CYBORG).

CYBORG (Boyd et al. 2023, WACV, arXiv 2112.00686) adds to the cross-entropy the distance between a
network's class activation map (CAM; Zhou et al. 2016, CVPR, eq. 2) and a map of human salience::

    L = alpha CE + (1 - alpha) MSE(CAM, H)

Both maps are scaled from 0 to 1 image by image, H at the size of the CAM, and the gradient goes
through the CAM into all trained weights. Crum et al. 2023 (arXiv 2303.11969) compare ten such
networks with ten trained by cross-entropy alone.

A network here is a stack of convolutions, the mean over positions, and one dense layer, so that a
CAM is defined. By default it is VGG-16 up to ``conv5_3`` (as Zhou et al. cut it) of which the last
block learns: what the blocks before it make of an image is computed once. DenseNet-121 and
ResNet-50 learn as a whole, as published, and are meant for a GPU.

Runs differ in the weights that the dense layer begins with and in the order of images; the two
losses of a run share both, so their networks are pairs.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import stats

from lib import store, vgg, weights
from lib.errors import InputError
from lib.finetuning import batch_order, initial_weights
from lib.network import Readout
from lib.progress import track
from lib.salience.detection import CLASSES, DetectionSet
from lib.salience.explain import Explainer, Explanation
from lib.vgg import MEANS, Trunk

#: What a detector can be trained by; for ``cross_entropy`` alpha is 1.
LOSSES = ("cross_entropy", "cyborg")
NETWORKS = ("vgg16", "densenet121", "resnet50")
#: Of which class a CAM is compared with human salience: the released code takes the predicted one.
CAM_CLASSES = ("predicted", "true")
#: As published (the released code's settings; sizes and runs of Crum et al. 2023, section 4), for a
#: GPU.
PUBLISHED = {
    "network": "densenet121",
    "weights": "imagenet",
    "size": 224,
    "runs": 10,
    "epochs": 50,
    "batch": 20,
    "learning_rate": 0.005,
    "momentum": 0.9,
    "weight_decay": 1e-6,
    "decay_every": 12,
    "decay": 0.1,
    "alpha": 0.5,
}
#: Columns of `Detector.history`.
HISTORY = (
    "loss",
    "run",
    "epoch",
    "part",
    "total",
    "cross_entropy",
    "human",
    "accuracy",
    "rate",
)
#: Keras' addresses of the convolutions of the published networks, and their MD5.
KERAS_WEIGHTS = {
    "densenet121": (
        "https://storage.googleapis.com/tensorflow/keras-applications/densenet/"
        "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "30ee3e1110167f948a6b9946edeeb738",
    ),
    "resnet50": (
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
}


@dataclass(frozen=True)
class DetectorTraining:
    """Settings of all runs.

    Attributes
    ----------
    network : {"vgg16", "densenet121", "resnet50"}
    weights : str
        To begin with: ``random``; ``imagenet``; for ``vgg16`` also the other trunks that
        `lib.vgg.load_trunk` knows by name.
    trainable_from : str
        First convolution of ``vgg16`` that learns; those before it stay as they are. The others
        learn as a whole.
    runs : int
        Per loss.
    epochs, batch : int
        Passes over the training images, and images a step.
    learning_rate, momentum, weight_decay : float
        Of stochastic gradient descent.
    decay_every, decay : int, float
        Every so many epochs the learning rate is multiplied by ``decay``.
    alpha : float
        Share of the cross-entropy in CYBORG, 0 to 1.
    cam_class : {"predicted", "true"}
        Whose CAM is compared with human salience.
    seed : int
    """

    network: str = "vgg16"
    weights: str = "imagenet"
    trainable_from: str = "conv5_1"
    runs: int = 3
    epochs: int = 8
    batch: int = 20
    learning_rate: float = 0.0005
    momentum: float = 0.9
    weight_decay: float = 1e-6
    decay_every: int = 12
    decay: float = 0.1
    alpha: float = 0.5
    cam_class: str = "predicted"
    seed: int = 0

    def __post_init__(self):
        if self.network not in NETWORKS:
            raise InputError(f"There is no network {self.network!r}; use {', '.join(NETWORKS)}.")
        if self.network == "vgg16" and self.trainable_from not in vgg.LAYERS:
            raise InputError(
                f"VGG-16 has no convolution {self.trainable_from!r} to train from; it has "
                f"{', '.join(vgg.LAYERS)}."
            )
        if self.cam_class not in CAM_CLASSES:
            raise InputError(f"cam_class = {self.cam_class!r}; use {' or '.join(CAM_CLASSES)}.")
        for name in ("runs", "epochs", "batch", "decay_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} is refused; give at least 1.")
        for name in ("learning_rate", "decay"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} = {getattr(self, name)} is refused; it must be above 0.")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha = {self.alpha} is refused; it is a share, 0 to 1.")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise InputError(
                f"momentum = {self.momentum} and weight_decay = {self.weight_decay} are refused: "
                "give 0 to below 1, and 0 or more."
            )


# ------------------------------------------------------------------------------------------- loss


def compute_cam(features: tf.Tensor, kernel: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Class activation maps (Zhou et al. 2016, eq. 2): feature maps weighted by a class's weights.

    Parameters
    ----------
    features : (n, h, w, channels)
        Last feature maps, whose mean over positions the dense layer takes.
    kernel : (channels, classes)
        Of the dense layer.
    classes : (n,), int
        Whose map, per image.

    Returns
    -------
    (n, h, w)
        Their mean over positions is the class's logit less its bias.
    """
    return tf.einsum("nhwk,nk->nhw", features, tf.gather(tf.transpose(kernel), classes))


def scale_cam(maps: tf.Tensor) -> tf.Tensor:
    """Maps (n, h, w) from 0 to 1 image by image; a constant one becomes zero."""
    low = tf.reduce_min(maps, (1, 2), keepdims=True)
    span = tf.reduce_max(maps, (1, 2), keepdims=True) - low
    return (maps - low) / tf.where(span > 0, span, tf.ones_like(span))


def resize_salience(salience: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Human salience at the size of a CAM, scaled from 0 to 1.

    Parameters
    ----------
    salience : ndarray, (n, y, x)
        NaN where there is no map.
    shape : (h, w)

    Returns
    -------
    ndarray of float32, (n, h, w)
        Means over the area of each cell; NaN where there is no map.
    """
    salience = np.asarray(salience, np.float32)
    cells = tf.image.resize(salience[..., None], shape, method="area")[..., 0]
    low = np.min(cells, (1, 2), keepdims=True)
    span = np.max(cells, (1, 2), keepdims=True) - low
    return ((cells - low) / np.where(span == 0, 1, span)).astype(np.float32)


def compute_losses(
    logits: tf.Tensor,
    labels: tf.Tensor,
    cams: tf.Tensor,
    salience: tf.Tensor,
    alpha: float | tf.Tensor = 0.5,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """CYBORG loss and its two terms (Boyd et al. 2023, eq. 1).

    Parameters
    ----------
    logits : (n, classes)
    labels : (n,), int
    cams : (n, h, w)
        As :func:`compute_cam` gives them.
    salience : (n, h, w)
        Human, 0 to 1; NaN for an image without a map, which then counts in the cross-entropy alone.
    alpha : float
        Share of the cross-entropy; with 1 human salience plays no part.

    Returns
    -------
    total, cross_entropy, human : scalars
        ``human`` is the mean squared difference over cells and images, 0 where no image has a map.
    """
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    entropy = tf.reduce_mean(entropy)
    known = tf.reduce_all(tf.math.is_finite(salience), (1, 2))
    # NaN must go before it is multiplied: 0 times NaN is NaN, in the gradient too.
    target = tf.where(known[:, None, None], salience, tf.zeros_like(salience))
    distance = tf.reduce_mean(tf.square(scale_cam(cams) - target), (1, 2))
    count = tf.reduce_sum(tf.cast(known, cams.dtype))
    human = tf.reduce_sum(distance * tf.cast(known, cams.dtype)) / tf.maximum(
        count, tf.ones_like(count)
    )
    return alpha * entropy + (1 - alpha) * human, entropy, human


# --------------------------------------------------------------------------------------- networks


def build_base(network: str, size: int, weight: str = "imagenet", seed: int = 0) -> tf.keras.Model:
    """A network up to its last feature maps.

    Parameters
    ----------
    network : {"vgg16", "densenet121", "resnet50"}
    size : int
        Side of the input, pixels; at least 32.
    weight : str
        As `DetectorTraining.weights`.
    seed : int
        Of random weights.

    Returns
    -------
    keras.Model
        (n, size, size, 3) BGR, ImageNet's means subtracted -> (n, h, w, channels): VGG-16 a
        sixteenth of the size, the others a thirty-second.

    Raises
    ------
    InputError
        An unknown name, a size below 32, weights that cannot be had.
    """
    if network not in NETWORKS:
        raise InputError(f"There is no network {network!r}; use {', '.join(NETWORKS)}.")
    if size < 32:
        raise InputError(f"{network} halves its input five times; size {size} is below 32 pixels.")
    if network == "vgg16":
        if weight == "random":
            whole = vgg.build_vgg16(size)
        elif weight in vgg.NAMES or re.fullmatch(r"synthface-\d+", weight):
            whole = vgg.load_trunk(weight, size).model
        else:
            raise InputError(
                f"There are no weights {weight!r} for vgg16; use random, {', '.join(vgg.NAMES)}."
            )
        base = tf.keras.Model(whole.input, whole.get_layer(vgg.LAYERS[-1]).output, name="vgg16")
    else:
        if weight not in ("imagenet", "random"):
            raise InputError(
                f"There are no weights {weight!r} for {network}; use imagenet or random."
            )
        base = _build_published(network, size, weight)
    if weight == "random":
        _draw_weights(base, seed)
    return base


def _build_published(network: str, size: int, weight: str) -> tf.keras.Model:
    make = {
        "densenet121": tf.keras.applications.DenseNet121,
        "resnet50": tf.keras.applications.ResNet50,
    }[network]
    image = tf.keras.Input((size, size, 3), name="image")
    x = image
    if network == "densenet121":
        # Keras' DenseNet takes RGB in 0..1, normalised; a 1 x 1 convolution brings it there.
        adapt = tf.keras.layers.Conv2D(3, 1, name="adapt", trainable=False)
        x = adapt(image)
    base = make(include_top=False, weights=None, input_tensor=x)
    if network == "densenet121":
        std = 255 * np.array(vgg.TORCHVISION_STD)
        shift = np.array(MEANS["imagenet"])[::-1] - 255 * np.array(vgg.TORCHVISION_MEAN)
        adapt.set_weights([np.diag(1 / std)[::-1][None, None], shift / std])
    if weight == "imagenet":
        url, md5 = KERAS_WEIGHTS[network]
        file = url.rpartition("/")[2]
        kept = Path.home() / ".keras" / "models" / file
        path = kept if kept.is_file() else weights.CACHE / file
        try:
            weights.download(url, path, md5=md5)
        except InputError as error:
            raise InputError(
                f"The ImageNet weights of {network} cannot be had ({str(error).rstrip('.')}), or "
                "use weights: random, or network: vgg16."
            ) from None
        plain = make(include_top=False, weights=None, input_shape=(size, size, 3))
        plain.load_weights(path)
        for layer in plain.layers:
            if layer.weights:
                base.get_layer(layer.name).set_weights(layer.get_weights())
    return base


def _draw_weights(model: tf.keras.Model, seed: int) -> None:
    """Random kernels (He et al. 2015, ICCV, eq. 10) from one seed; biases and the rest as new."""
    rng = np.random.default_rng([seed, 41])
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.Conv2D) and layer.name != "adapt":
            kernel, *rest = layer.get_weights()
            spread = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights([rng.normal(0, spread, kernel.shape), *map(np.zeros_like, rest)])


class _Network:
    """One network to train: what stays, and what learns.

    Attributes
    ----------
    frozen : keras.Model or None
        Prepared image -> what enters the part that learns; None where all learns.
    tapped : keras.Model
        That, or the prepared image -> last feature maps and logits.
    model : keras.Model
        Prepared image -> logits.
    """

    def __init__(self, base: tf.keras.Model, first: str | None):
        kinds = tf.keras.layers
        names = [layer.name for layer in base.layers]
        start = 1 if first is None else names.index(first)
        pooling = kinds.GlobalAveragePooling2D(name="mean")
        self.dense = kinds.Dense(len(CLASSES), name="logits")
        if start == 1:
            self.frozen = None
            copy = tf.keras.models.clone_model(base)
            copy.set_weights(base.get_weights())
            for layer in copy.layers:
                layer.trainable = layer.name != "adapt"
            logits = self.dense(pooling(copy.output))
            self.tapped = tf.keras.Model(copy.input, [copy.output, logits])
            self.model = tf.keras.Model(copy.input, logits)
            return
        self.frozen = tf.keras.Model(base.input, base.layers[start - 1].output)
        learning = []
        for layer in base.layers[start:]:
            copy = type(layer).from_config(layer.get_config())
            copy.build(layer.input_shape)
            copy.set_weights(layer.get_weights())
            copy.trainable = True
            learning.append(copy)
        given = tf.keras.Input(self.frozen.output_shape[1:])
        features = given
        for layer in learning:
            features = layer(features)
        self.tapped = tf.keras.Model(given, [features, self.dense(pooling(features))])
        # Layer by layer, so that it reads as one plain chain.
        x = self.frozen.output
        for layer in [*learning, pooling, self.dense]:
            x = layer(x)
        self.model = tf.keras.Model(base.input, x)


# --------------------------------------------------------------------------------------- detectors


@dataclass(frozen=True)
class Detector:
    """A trained network that tells synthetic from genuine faces.

    Attributes
    ----------
    loss : {"cross_entropy", "cyborg"}
    run : int
        Networks of one run began alike and saw the same images in the same order.
    model : keras.Model
        (n, size, size, 3) as :meth:`lib.vgg.Trunk.prepare` gives it -> logits (n, 2), in the order
        of `lib.salience.detection.CLASSES`.
    network : str
    history : DataFrame
        Columns :data:`HISTORY`: per ``epoch`` (from 1) and ``part`` (``training``, the mean over
        the epoch's images as they were learned; ``validation``, after the epoch) the terms of the
        loss (``human`` is NaN where no image has a map), the share correct and the learning rate.
    epoch : int
        The kept one: best validation accuracy, of equals the last.
    """

    loss: str
    run: int
    model: tf.keras.Model
    network: str
    history: pd.DataFrame
    epoch: int
    _parts: _Network = field(repr=False)

    @property
    def name(self) -> str:
        """``<loss>-<run>``, unique among the detectors of a training."""
        return f"{self.loss}-{self.run}"

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        return self.model.input_shape[1]

    @cached_property
    def trunk(self) -> Trunk:
        """Everything before the dense layer, (n, channels), as the rest of ``lib`` takes it."""
        before = tf.keras.Model(self.model.input, self.model.layers[-2].output)
        return Trunk(self.name, before, MEANS["imagenet"])

    @property
    def readout(self) -> Readout:
        """The dense layer."""
        return Readout(self.name, *self._parts.dense.get_weights())


def train_detectors(
    data: DetectionSet,
    training: DetectorTraining | None = None,
    *,
    losses: Sequence[str] = LOSSES,
    folder: str | Path | None = None,
    progress: bool = True,
) -> list[Detector]:
    """Train every run by every loss on the training people and the seen generator.

    Boyd et al. 2023, section 4: stochastic gradient descent, the epoch with the best validation
    accuracy is kept.

    Parameters
    ----------
    data : DetectionSet
    training : DetectorTraining, optional
    losses : sequence of str
        Of :data:`LOSSES`.
    folder : path, optional
        Every finished training is kept there, under a digest of all that it depends on: what was
        stopped goes on with the next one.
    progress : bool

    Returns
    -------
    list of Detector
        Loss by loss, run by run.

    Raises
    ------
    InputError
        An unknown loss, images that are not square, a class or human salience missing, weights that
        cannot be had, a loss that is no longer finite.
    """
    raise NotImplementedError


def score_detectors(
    detectors: Sequence[Detector], data: DetectionSet, split: str = "test"
) -> pd.DataFrame:
    """Answers of all detectors, for every generator.

    Returns
    -------
    DataFrame
        One row per detector, generator and image: ``detector``, ``loss``, ``run``, ``generator``,
        ``seen`` (bool: trained on), ``row`` (of the set), ``identity``, ``label``, ``score`` (logit
        of synthetic less that of genuine), ``correct`` (bool). The genuine images stand with every
        generator.
    """
    raise NotImplementedError


def summarise_detection(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and area under the ROC curve of every detector, for every generator.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`score_detectors`.

    Returns
    -------
    DataFrame
        ``detector``, ``loss``, ``run``, ``generator``, ``seen``, ``people``, ``images``,
        ``accuracy`` (share correct; half of the images of either class is not assumed), ``auc``
        (chance .5; ties count half).
    """
    raise NotImplementedError


def compare_with_salience(
    detectors: Sequence[Detector], data: DetectionSet, split: str = "test"
) -> pd.DataFrame:
    """How near the class activation maps come to human (or simulated) salience.

    Returns
    -------
    DataFrame
        One row per detector and image with a map: ``detector``, ``loss``, ``run``, ``row``,
        ``identity``, ``source``, ``distance`` (mean squared difference of the scaled maps, the
        human term of the loss), ``r`` (Pearson, NaN for a constant map), of the predicted class.
    """
    raise NotImplementedError


class DetectorExplainer:
    """Salience maps of detectors, as `lib.salience.Explainer` gives those of readouts.

    It takes that one's place in `lib.salience.compute_salience`. The detectors have trunks of their
    own, but share the part that did not learn, which is computed once per image.

    Parameters
    ----------
    detectors : sequence of Detector
        Of one training.
    method : str
        ``grad_cam``: of the last feature maps, for any network; as the mean over positions feeds
        one dense layer it is the rectified CAM over the number of cells (Selvaraju et al. 2017,
        section 3.1), so it takes no backward pass. Other methods of `lib.relevance` for vgg16.
    **settings
        As `lib.salience.Explainer`.
    """

    def __init__(self, detectors: Sequence[Detector], method: str = "grad_cam", **settings):
        raise NotImplementedError

    def explain(self, images: np.ndarray, batch: int | None = None) -> Explanation:
        """Maps of all detectors for all images, of the winning class."""
        raise NotImplementedError

    def explain_one(self, images: np.ndarray, model: np.ndarray, batch: int = 10) -> Explanation:
        """One detector's map for each image; ``model`` holds the detectors' indices."""
        raise NotImplementedError
