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

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

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
from lib.salience.explain import Explainer, Explanation, describe_layers
from lib.vgg import MEANS, Trunk

#: What a detector can be trained by; for ``cross_entropy`` alpha is 1.
LOSSES = ("cross_entropy", "cyborg")
NETWORKS = ("vgg16", "densenet121", "resnet50")
#: Of which class a CAM is compared with human salience: the released code takes the predicted one.
CAM_CLASSES = ("predicted", "true")
#: As published (the released code's settings; ten runs: Crum et al. 2023), for a GPU.
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
#: Of the running means of batch normalisation, as in the released code; Keras has .99, which takes
#: hundreds of steps to follow.
NORMALISATION_MOMENTUM = 0.9
#: Layer that brings images into the form that Keras' DenseNet takes; it does not learn.
ADAPT = "adapt"
#: Columns of `Detector.history`.
HISTORY = (
    "loss",
    "run",
    "epoch",
    "part",
    "total",
    "cross_entropy",
    "salience",
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


def _unknown(network: str) -> str:
    near = difflib.get_close_matches(str(network).lower().replace("-", ""), NETWORKS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"There is no network {network!r}{hint}; use {', '.join(NETWORKS)}."


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
            raise InputError(_unknown(self.network))
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

    @property
    def first(self) -> str | None:
        """First layer that learns; None where all do."""
        return self.trainable_from if self.network == "vgg16" else None


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
    cells = tf.image.resize(salience[..., None], shape, method="area").numpy()[..., 0]
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
    """CYBORG loss and its two terms (Boyd et al. 2023).

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
        raise InputError(_unknown(network))
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
    path = _fetch_published(network) if weight == "imagenet" else None
    image = tf.keras.Input((size, size, 3), name="image")
    # Keras' ResNet-50 takes what the trunks of this project take.
    entering = _normalise(image) if network == "densenet121" else image
    base = make(include_top=False, weights=None, input_tensor=entering)
    if path is not None:
        plain = make(include_top=False, weights=None, input_shape=(size, size, 3))
        plain.load_weights(path)
        for layer in plain.layers:
            if layer.weights:
                base.get_layer(layer.name).set_weights(layer.get_weights())
    for layer in base.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = NORMALISATION_MOMENTUM
    return base


def _normalise(image: tf.Tensor) -> tf.Tensor:
    """BGR less its means as normalised RGB, which DenseNet takes, by a 1 x 1 convolution."""
    std = 255 * np.array(vgg.TORCHVISION_STD)
    shift = np.array(MEANS["imagenet"])[::-1] - 255 * np.array(vgg.TORCHVISION_MEAN)
    layer = tf.keras.layers.Conv2D(3, 1, name=ADAPT, trainable=False)
    normalised = layer(image)
    layer.set_weights([np.diag(1 / std)[::-1][None, None], shift / std])
    return normalised


def _fetch_published(network: str) -> Path:
    """File of a network's ImageNet weights, as Keras distributes them."""
    url, md5 = KERAS_WEIGHTS[network]
    file = url.rpartition("/")[2]
    kept = Path.home() / ".keras" / "models" / file
    try:
        return weights.download(url, kept if kept.is_file() else weights.CACHE / file, md5=md5)
    except InputError as error:
        raise InputError(
            f"The ImageNet weights of {network} cannot be had ({str(error).rstrip('.')}); or use "
            "weights: random, or network: vgg16."
        ) from None


def _draw_weights(model: tf.keras.Model, seed: int) -> None:
    """Random kernels (He et al. 2015, ICCV, eq. 10) from one seed; biases and the rest as new."""
    rng = np.random.default_rng([seed, 41])
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.Conv2D) and layer.name != ADAPT:
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
    dense : keras.layers.Dense
        The last layer of ``tapped``.
    """

    def __init__(self, base: tf.keras.Model, first: str | None):
        kinds = tf.keras.layers
        start = 1 if first is None else [layer.name for layer in base.layers].index(first)
        self.base, self.start = base, start
        self.dense = kinds.Dense(len(CLASSES), name="logits")
        if start == 1:
            self.frozen = None
            copy = tf.keras.models.clone_model(base)
            copy.set_weights(base.get_weights())
            for layer in copy.layers:
                layer.trainable = layer.name != ADAPT
            given, features = copy.input, copy.output
        else:
            self.frozen = tf.keras.Model(base.input, base.layers[start - 1].output)
            given = tf.keras.Input(self.frozen.output_shape[1:])
            features = given
            for layer in base.layers[start:]:
                copy = type(layer).from_config(layer.get_config())
                features = copy(features)
                copy.set_weights(layer.get_weights())
                copy.trainable = True
        logits = self.dense(kinds.GlobalAveragePooling2D(name="mean")(features))
        self.tapped = tf.keras.Model(given, [features, logits])

    def complete(self) -> tf.keras.Model:
        """Prepared image -> logits, with the weights as they are now."""
        if self.frozen is None:
            return tf.keras.Model(self.tapped.input, self.tapped.outputs[1])
        # New layers, one after another: a layer that is part of two chains has no one output.
        x = self.frozen.output
        for layer in self.tapped.layers[1:]:
            copy = type(layer).from_config(layer.get_config())
            x = copy(x)
            copy.set_weights(layer.get_weights())
        return tf.keras.Model(self.frozen.input, x)


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
        the epoch's images as they were learned; ``validation``, after the epoch) the ``total`` loss
        and its terms ``cross_entropy`` and ``salience`` (the distance of CAM and human, or
        simulated, salience, also where it was not learned from; NaN where no image has a map), the
        share correct and the learning rate.
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
    base: tf.keras.Model | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> list[Detector]:
    """Train every run by every loss on the training people and the seen generator.

    As Boyd et al. 2023: stochastic gradient descent, the epoch with the best validation accuracy is
    kept.

    Parameters
    ----------
    data : DetectionSet
    training : DetectorTraining, optional
    losses : sequence of str
        Of :data:`LOSSES`.
    base : keras.Model, optional
        In place of the network and weights of the settings: any plain chain of layers from
        (n, size, size, 3), BGR with the means subtracted, to feature maps (n, h, w, channels), one
        of whose layers is ``trainable_from``.
    folder : path, optional
        Every finished training is kept there, under a digest of all that it depends on: what was
        stopped goes on with the next one. A folder holds one set of detectors; those of other
        settings or data are removed as the new ones are written.
    progress : bool

    Returns
    -------
    list of Detector
        Loss by loss, run by run.

    Raises
    ------
    InputError
        An unknown loss, images that are not square or so small that a class activation map has one
        cell, a class or human salience missing, weights that cannot be had, a loss that is no
        longer finite.
    """
    training = training or DetectorTraining()
    wrong = [loss for loss in losses if loss not in LOSSES]
    if wrong or not losses:
        raise InputError(f"Losses {list(losses)} are refused; use some of {', '.join(LOSSES)}.")
    _check_data(data, losses, training)
    if base is None:
        size = data.images.shape[1]
        base = build_base(training.network, size, training.weights, training.seed)
    _check_base(base, data, training)
    session = _Session(base, training)
    about = _digest(data, training, base)
    wanted = [(loss, run) for loss in dict.fromkeys(losses) for run in range(training.runs)]
    found = []
    for loss, run in track(wanted, "detectors") if progress else wanted:
        path = None
        if folder is not None:
            share = 1.0 if loss == "cross_entropy" else training.alpha
            key = hashlib.sha256(f"{about} {share!r} {run}".encode()).hexdigest()[:16]
            path = Path(folder) / f"detector-{loss}-{run}-{key}.npz"
        kept = _read(path, session)
        if kept is None:
            kept = session.train(data, loss, run)
            _write(path, *kept)
        found.append(_make_detector(base, training, loss, run, *kept))
    return found


def _check_data(data: DetectionSet, losses: Sequence[str], training: DetectorTraining) -> None:
    if data.images.shape[1] != data.images.shape[2]:
        raise InputError(
            f"Images are {data.images.shape[2]} x {data.images.shape[1]} pixels; detectors take "
            "square ones."
        )
    for part in ("training", "validation"):
        rows = data.rows(part)
        for label, name in enumerate(CLASSES):
            if not (data.label[rows] == label).any():
                raise InputError(
                    f"There are no {name} images among those for {part}; a detector needs both "
                    "classes."
                )
        blind = int((~np.isfinite(data.salience[rows]).all((1, 2))).sum())
        if blind and "cyborg" in losses and training.alpha < 1:
            raise InputError(
                f"{blind} of {len(rows)} images for {part} have no map of human salience, which "
                "CYBORG needs; give the maps, or train by cross_entropy alone."
            )


def _check_base(base: tf.keras.Model, data: DetectionSet, training: DetectorTraining) -> None:
    """Refuse a network of the reader's that does not fit."""
    side = data.images.shape[1]
    names = [layer.name for layer in base.layers[1:]]
    if base.input_shape[1:] != (side, side, 3) or len(base.output_shape) != 4:
        raise InputError(
            f"The network goes from {base.input_shape} to {base.output_shape}; for these images it "
            f"must go from (n, {side}, {side}, 3) to feature maps (n, h, w, channels)."
        )
    if base.output_shape[1:3] == (1, 1):
        raise InputError(
            f"Of images of {side} pixels the network makes feature maps of one cell, so a class "
            "activation map says nothing of places; give larger images (detector_size)."
        )
    if training.first is not None and training.first not in names:
        raise InputError(
            f"The network has no layer {training.first!r} to train from; it has {', '.join(names)}."
        )


def _digest(data: DetectionSet, training: DetectorTraining, base: tf.keras.Model) -> str:
    """Of all that every run depends on, this code included."""
    settings = asdict(training)
    # More runs, or another alpha, leave what was trained as it is.
    for name in ("runs", "alpha"):
        settings.pop(name)
    state = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    state.update(describe_layers(base).encode())
    # this code, and what draws weights, orders images and prepares them
    for file in (__file__, *(store.ROOT / "lib" / name for name in ("finetuning.py", "vgg.py"))):
        state.update(Path(file).read_bytes())
    for part in ("training", "validation"):
        rows = data.rows(part)
        arrays = (data.images, data.label, data.salience)
        for array in arrays:
            state.update(np.ascontiguousarray(array[rows]).tobytes())
    for array in base.get_weights():
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def _read(path: Path | None, session: _Session):
    """What :func:`_write` kept, or None."""
    if path is None or not path.is_file():
        return None
    try:
        stored = store.load_arrays(path)
        arrays = [stored[f"w{k}"] for k in range(len(session.begin))]
        history = pd.DataFrame(
            {name: stored[f"history_{name}"] for name in HISTORY}, columns=list(HISTORY)
        )
        epoch = int(stored["epoch"])
    except (ValueError, KeyError, TypeError):
        return None  # damaged: trained again
    shapes = [array.shape for array in arrays]
    return (arrays, history, epoch) if shapes == [b.shape for b in session.begin] else None


def _write(path: Path | None, arrays, history: pd.DataFrame, epoch: int) -> None:
    if path is None:
        return
    kept = {f"w{k}": array for k, array in enumerate(arrays)} | {"epoch": np.array(epoch)}
    for name in HISTORY:
        column = history[name].to_numpy()
        kept[f"history_{name}"] = column.astype(str) if name in ("loss", "part") else column
    with store.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **kept)
    # 28 MB each for VGG-16
    for old in path.parent.glob(f"{path.stem.rpartition('-')[0]}-*.npz"):
        if old != path:
            old.unlink()


def _make_detector(base, training, loss, run, arrays, history, epoch) -> Detector:
    parts = _Network(base, training.first)
    parts.tapped.set_weights(arrays)
    return Detector(loss, run, parts.complete(), training.network, history, epoch, parts)


class _Session:
    """One network, trained again and again from its first weights.

    So TensorFlow traces the steps once for all runs and losses.
    """

    def __init__(self, base: tf.keras.Model, training: DetectorTraining):
        self.training = training
        self.network = _Network(base, training.first)
        self.tapped, self.dense = self.network.tapped, self.network.dense
        self.begin = self.tapped.get_weights()
        self.learning = self.tapped.trainable_variables
        self.velocity = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self.learning]
        self.shape = self.tapped.output_shape[0][1:3]
        self._given: tuple[DetectionSet, dict] | None = None
        entering = tf.TensorSpec((None, *self.tapped.input_shape[1:]), tf.float32)
        labels = tf.TensorSpec((None,), tf.int32)
        maps = tf.TensorSpec((None, *self.shape), tf.float32)
        number = tf.TensorSpec((), tf.float32)
        self.step = tf.function(
            self._step, input_signature=[entering, labels, maps, number, number]
        )
        self.look = tf.function(self._look, input_signature=[entering, labels, maps])

    def _forward(self, x, labels, training: bool):
        features, logits = self.tapped(x, training=training)
        said = tf.argmax(logits, -1, tf.int32)
        shown = said if self.training.cam_class == "predicted" else labels
        return logits, compute_cam(features, self.dense.kernel, shown), tf.equal(said, labels)

    def _step(self, x, labels, salience, alpha, rate):
        with tf.GradientTape() as tape:
            logits, cams, right = self._forward(x, labels, True)
            terms = compute_losses(logits, labels, cams, salience, alpha)
        gradients = tape.gradient(terms[0], self.learning)
        # As torch.optim.SGD, of the released code: decay joins the gradient, the rate comes last.
        for variable, speed, gradient in zip(self.learning, self.velocity, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=speed.handle,
                lr=rate,
                grad=gradient + self.training.weight_decay * variable,
                momentum=self.training.momentum,
            )
        return terms[1], terms[2], tf.reduce_sum(tf.cast(right, tf.float32))

    def _look(self, x, labels, salience):
        logits, cams, right = self._forward(x, labels, False)
        terms = compute_losses(logits, labels, cams, salience)
        return terms[1], terms[2], tf.reduce_sum(tf.cast(right, tf.float32))

    def _prepare(self, data: DetectionSet) -> dict:
        """What enters the part that learns, per split; of one set, computed once."""
        if self._given is None or self._given[0] is not data:
            parts = {}
            for split in ("training", "validation"):
                rows = data.rows(split)
                images = data.images[rows]
                frozen = self.network.frozen
                if frozen is not None:
                    trunk = Trunk(self.training.network, frozen, MEANS["imagenet"])
                    images = vgg.compute_features(
                        trunk, images, precision="float32", progress=False
                    )
                maps = resize_salience(data.salience[rows], self.shape)
                parts[split] = (images, data.label[rows].astype(np.int32), maps)
            self._given = (data, parts)
        return self._given[1]

    def _enter(self, images: np.ndarray) -> np.ndarray:
        return images if self.network.frozen is not None else vgg.prepare(images, MEANS["imagenet"])

    def train(self, data: DetectionSet, loss: str, run: int):
        """Weights of the best epoch, history, and that epoch."""
        settings = self.training
        alpha = tf.constant(1.0 if loss == "cross_entropy" else settings.alpha, tf.float32)
        parts = self._prepare(data)
        self.tapped.set_weights(self.begin)
        width = self.dense.kernel.shape[0]
        self.dense.set_weights(initial_weights(width, len(CLASSES), (settings.seed, 42, run)))
        for speed in self.velocity:
            speed.assign(tf.zeros_like(speed))
        count = len(parts["training"][1])
        order = batch_order(np.arange(count), settings.epochs, settings.seed * 1000 + run)
        rows, best, kept = [], -1.0, None
        for epoch in range(settings.epochs):
            rate = settings.learning_rate * settings.decay ** (epoch // settings.decay_every)
            step = tf.constant(rate, tf.float32)

            def learn(*batch, step=step):
                return self.step(*batch, alpha, step)

            for part, shown, apply in (
                ("training", order[epoch], learn),
                ("validation", np.arange(len(parts["validation"][1])), self.look),
            ):
                terms = self._run(parts[part], shown, apply)
                if not all(np.isfinite(terms[:1])):
                    raise InputError(self._not_finite(f"{loss} training of run {run}", part, epoch))
                entropy, human, accuracy = terms
                share = float(alpha)
                total = entropy if share == 1 else share * entropy + (1 - share) * human
                rows.append((loss, run, epoch + 1, part, total, entropy, human, accuracy, rate))
            # Which of equals is not said; the last was learned longest.
            if accuracy >= best:
                best, kept = accuracy, (self.tapped.get_weights(), epoch + 1)
        return kept[0], pd.DataFrame(rows, columns=list(HISTORY)), kept[1]

    def _not_finite(self, what: str, part: str, epoch: int) -> str:
        rate = self.training.learning_rate
        kinds = [type(layer) for layer in self.tapped.layers]
        if part == "validation" and tf.keras.layers.BatchNormalization in kinds:
            # In the training the batch's own means count, so those can be far off unnoticed.
            return (
                f"The {what} left the finite numbers in the validation of epoch {epoch + 1}, where "
                "the running means of batch normalisation count: begin with weights: imagenet, "
                f"train on more images, or lower the learning_rate of {rate:g}."
            )
        return (
            f"The {what} left the finite numbers in epoch {epoch + 1}: lower the learning_rate of "
            f"{rate:g}."
        )

    def _run(self, part, shown: np.ndarray, apply: Callable) -> tuple[float, float, float]:
        """Mean cross-entropy, human term and accuracy over some images, batch by batch."""
        images, labels, maps = part
        known = np.isfinite(maps).all((1, 2))
        sums, mapped = np.zeros(3), 0
        for start in range(0, len(shown), self.training.batch):
            rows = shown[start : start + self.training.batch]
            batch = (self._enter(images[rows]), labels[rows], maps[rows])
            entropy, human, right = (float(value) for value in apply(*map(tf.constant, batch)))
            some = int(known[rows].sum())
            sums += (entropy * len(rows), human * some, right)
            mapped += some
        human = sums[1] / mapped if mapped else np.nan
        return sums[0] / len(shown), human, sums[2] / len(shown)


# --------------------------------------------------------------------------------------- answers


class _Together:
    """All detectors of a training on one image: the part that did not learn runs once."""

    def __init__(self, detectors: Sequence[Detector]):
        self.detectors = list(detectors)
        if not self.detectors:
            raise InputError("There are no detectors; train at least one.")
        shapes = {(d.network, d.size) for d in self.detectors}
        if len(shapes) > 1:
            raise InputError("Detectors of several trainings cannot be asked together.")
        frozen = [detector._parts.frozen for detector in self.detectors]
        # The same layers, not only equal ones: they were made by one training.
        last = {None if part is None else id(part.layers[-1]) for part in frozen}
        if len(last) > 1:
            raise InputError("Detectors of several trainings cannot be asked together.")
        self._frozen = frozen[0]
        self._heads = [detector._parts.tapped for detector in self.detectors]

    def ask(self, images: np.ndarray, batch: int = 16) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every detector: CAM of the winning class (n, h, w), and logits (n, 2).

        Feature maps are let go batch by batch, for those of all detectors would fill the memory.
        """
        kernels = [detector.readout.kernel for detector in self.detectors]
        found: list[tuple[list, list]] = [([], []) for _ in kernels]
        for start in range(0, len(images), batch):
            entering = self._enter(images[start : start + batch])
            for head, kernel, (cams, answers) in zip(self._heads, kernels, found, strict=True):
                features, logits = head(entering, training=False)
                cams.append(compute_cam(features, kernel, tf.argmax(logits, -1)).numpy())
                answers.append(logits.numpy())
        if not len(images):
            raise InputError("There are no images to show the detectors; give at least one.")
        return [(np.concatenate(cams), np.concatenate(answers)) for cams, answers in found]

    def ask_one(
        self, images: np.ndarray, which: np.ndarray, batch: int = 16
    ) -> tuple[np.ndarray, np.ndarray]:
        """CAM (n, h, w) and logits (n, 2) of one detector per image, by the detectors' indices."""
        if not len(images):
            raise InputError("There are no images to show the detectors; give at least one.")
        cams, answers = [], []
        for start in range(0, len(images), batch):
            whose = which[start : start + batch]
            entering = tf.convert_to_tensor(self._enter(images[start : start + batch]))
            parts = {}
            for k in np.unique(whose):
                mine = np.flatnonzero(whose == k)
                features, logits = self._heads[k](tf.gather(entering, mine), training=False)
                kernel = self.detectors[k].readout.kernel
                some = compute_cam(features, kernel, tf.argmax(logits, -1)).numpy()
                parts.update(
                    zip(mine.tolist(), zip(some, logits.numpy(), strict=True), strict=True)
                )
            for k in range(len(whose)):
                cams.append(parts[k][0])
                answers.append(parts[k][1])
        return np.stack(cams), np.stack(answers)

    def _enter(self, images: np.ndarray):
        """What enters the parts that learned."""
        x = vgg.prepare(np.asarray(images), MEANS["imagenet"], self.detectors[0].size)
        return x if self._frozen is None else self._frozen(x, training=False)


@dataclass(frozen=True)
class Answers:
    """What every detector makes of the images of a split.

    Attributes
    ----------
    rows : ndarray of int, (n,)
        Of the set, sorted.
    cams : ndarray of float32, (detectors, n, h, w)
        Class activation map of the winning class.
    logits : ndarray of float32, (detectors, n, 2)
    names : tuple of str
        Of the detectors.
    """

    rows: np.ndarray
    cams: np.ndarray
    logits: np.ndarray
    names: tuple[str, ...]

    def find(self, detectors: Sequence[Detector], rows: np.ndarray) -> np.ndarray:
        """Places of some rows of the set among those that were shown to these detectors.

        Raises
        ------
        InputError
            Other detectors answered, or one of the images was not shown.
        """
        if self.names != tuple(detector.name for detector in detectors):
            raise InputError(
                f"The answers are those of {', '.join(self.names)}, in this order; give these "
                "detectors, or ask others by ask_detectors."
            )
        unknown = np.setdiff1d(rows, self.rows)
        if unknown.size:
            raise InputError(
                f"The answers do not hold image {unknown[0]} of the set; ask the detectors by "
                "ask_detectors for this split."
            )
        return np.searchsorted(self.rows, rows)


def ask_detectors(
    detectors: Sequence[Detector], data: DetectionSet, split: str = "test"
) -> Answers:
    """Show all images of a split to all detectors, each once.

    Parameters
    ----------
    detectors : sequence of Detector
        Of one training.
    data : DetectionSet
    split : str

    Returns
    -------
    Answers
        For :func:`score_detectors` and :func:`compare_with_salience`.
    """
    together = _Together(detectors)
    rows = np.flatnonzero(data.split == split)
    found = together.ask(data.images[rows])
    cams, logits = (np.stack(kind) for kind in zip(*found, strict=True))
    return Answers(rows, cams, logits, tuple(detector.name for detector in detectors))


def score_detectors(
    detectors: Sequence[Detector],
    data: DetectionSet,
    split: str = "test",
    answers: Answers | None = None,
) -> pd.DataFrame:
    """Answers of all detectors, for every generator.

    Parameters
    ----------
    detectors : sequence of Detector
    data : DetectionSet
    split : str
    answers : Answers, optional
        Of :func:`ask_detectors` to these detectors, data and split, where they are known already.

    Returns
    -------
    DataFrame
        One row per detector, generator and image: ``detector``, ``loss``, ``run``, ``generator``,
        ``seen`` (bool: trained on), ``row`` (of the set), ``identity``, ``label``, ``score`` (logit
        of synthetic less that of genuine), ``correct`` (bool). The genuine images stand with every
        generator.
    """
    rows = {}
    for generator in data.generators:
        found = data.rows(split, generator)
        if data.label[found].any():
            rows[generator] = found
    if not rows:
        raise InputError(f"There are no synthetic images in the split {split!r} to score.")
    answers = answers or ask_detectors(detectors, data, split)
    places = {generator: answers.find(detectors, some) for generator, some in rows.items()}
    parts = []
    for detector, values in zip(detectors, answers.logits, strict=True):
        score = values[:, 1] - values[:, 0]
        for generator, some in rows.items():
            mine = score[places[generator]]
            parts.append(
                pd.DataFrame(
                    {
                        "detector": detector.name,
                        "loss": detector.loss,
                        "run": detector.run,
                        "generator": generator,
                        "seen": generator == data.seen,
                        "row": some,
                        "identity": data.identity[some],
                        "label": data.label[some],
                        "score": mine,
                        "correct": (mine > 0) == (data.label[some] == 1),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


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
    rows = []
    keys = ["detector", "loss", "run", "generator", "seen"]
    for key, some in scores.groupby(keys, sort=False):
        people, images = some["identity"].nunique(), len(some)
        auc = _area(some["score"].to_numpy(), some["label"].to_numpy() == 1)
        rows.append((*key, people, images, some["correct"].mean(), auc))
    return pd.DataFrame(rows, columns=[*keys, "people", "images", "accuracy", "auc"])


def _area(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, the share of pairs in order; NaN where there is no pair."""
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return np.nan
    above = stats.rankdata(score)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * others))


def compare_with_salience(
    detectors: Sequence[Detector],
    data: DetectionSet,
    split: str = "test",
    answers: Answers | None = None,
) -> pd.DataFrame:
    """How near the class activation maps come to human (or simulated) salience.

    Parameters
    ----------
    detectors, data, split, answers
        As of :func:`score_detectors`.

    Returns
    -------
    DataFrame
        One row per detector and image with a map: ``detector``, ``loss``, ``run``, ``row``,
        ``identity``, ``source``, ``distance`` (mean squared difference of the scaled maps, the
        salience term of the loss), ``r`` (Pearson, NaN for a constant map), of the predicted class.
    """
    rows = np.flatnonzero((data.split == split) & np.isfinite(data.salience).all((1, 2)))
    if not rows.size:
        raise InputError(
            f"No image of the split {split!r} has a map of human salience to compare with."
        )
    answers = answers or ask_detectors(detectors, data, split)
    mapped = answers.find(detectors, rows)
    target = resize_salience(data.salience[rows], answers.cams.shape[2:])
    parts = []
    for detector, cams in zip(detectors, answers.cams, strict=True):
        scaled = scale_cam(tf.constant(cams[mapped])).numpy()
        parts.append(
            pd.DataFrame(
                {
                    "detector": detector.name,
                    "loss": detector.loss,
                    "run": detector.run,
                    "row": rows,
                    "identity": data.identity[rows],
                    "source": data.source[rows],
                    "distance": ((scaled - target) ** 2).mean((1, 2)),
                    "r": _correlate(scaled, target),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's r of maps (n, h, w) with maps; NaN where one is constant."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (first, second))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return (a * b).sum(1) / np.where(scale == 0, np.nan, scale)


class _Weights:
    """The weights of several detectors, where one network is asked for its own."""

    def __init__(self, detectors: Sequence[Detector]):
        self.models = [detector.model for detector in detectors]

    def get_weights(self) -> list[np.ndarray]:
        return [array for model in self.models for array in model.get_weights()]


class DetectorExplainer:
    """Salience maps of detectors, as `lib.salience.Explainer` gives those of readouts.

    It takes that one's place in `lib.salience.compute_salience`. The detectors have trunks of their
    own, but share the part that did not learn, which Grad-CAM computes once per image.

    Parameters
    ----------
    detectors : sequence of Detector
        Of one training.
    method : str or Composite
        ``grad_cam``: of the last feature maps, for any network; as the mean over positions feeds
        one dense layer it is the rectified CAM over the number of cells (Selvaraju et al. 2017,
        section 3), so it takes no backward pass. Other methods of `lib.relevance` for vgg16.
    **settings
        As `lib.salience.Explainer`.

    Raises
    ------
    InputError
        No detectors, detectors of several trainings, another method for a network with skip
        connections.
    """

    def __init__(self, detectors: Sequence[Detector], method="grad_cam", **settings):
        self.detectors = list(detectors)
        self._together = _Together(self.detectors)
        self.method = getattr(method, "name", method)
        self.names = [detector.name for detector in self.detectors]
        self.readouts = [detector.readout for detector in self.detectors]
        first = self.detectors[0]
        #: All of them, for its name and weights.
        self.trunk = Trunk(first.network, _Weights(self.detectors), MEANS["imagenet"])
        self._single: list[Explainer] = []
        if method != "grad_cam":
            if first.network != "vgg16":
                raise InputError(
                    f"{self.method} maps of {first.network} cannot be computed, for there is no "
                    "rule for its skip connections; use grad_cam, or network: vgg16."
                )
            self._single = [
                Explainer(detector.trunk, [detector.readout], method, **settings)
                for detector in self.detectors
            ]
        of_one = self._single[0].settings if self._single else describe_layers(first.model)
        #: Everything that decides the maps, beside the images and the weights.
        self.settings = repr((self.method, sorted(settings.items()), of_one))

    def explain(self, images: np.ndarray, batch: int | None = None) -> Explanation:
        """Maps of all detectors for all images, of the winning class."""
        if self._single:
            found = [single.explain(images, batch) for single in self._single]
        else:
            found = [_rectify(*one) for one in self._together.ask(images, batch or 16)]
        maps, predicted = (
            np.concatenate([getattr(one, kind) for one in found], axis=1)
            for kind in ("maps", "predicted")
        )
        return Explanation(maps, predicted)

    def explain_one(self, images: np.ndarray, model: np.ndarray, batch: int = 10) -> Explanation:
        """One detector's map for each image; ``model`` holds the detectors' indices."""
        images, model = np.asarray(images), np.asarray(model)
        if not len(images):
            raise InputError("There are no images to explain; give at least one.")
        if not self._single:
            return _rectify(*self._together.ask_one(images, model))
        maps, predicted = None, np.empty((len(images), 1), int)
        for k in np.unique(model):
            rows = np.flatnonzero(model == k)
            found = self._single[k].explain(images[rows], batch)
            if maps is None:
                maps = np.empty((len(images), *found.maps.shape[1:]), np.float32)
            maps[rows], predicted[rows] = found.maps, found.predicted
        return Explanation(maps, predicted)


def _rectify(cams: np.ndarray, logits: np.ndarray) -> Explanation:
    """Grad-CAM of networks that end in the mean over positions and one dense layer."""
    maps = np.maximum(cams, 0) / np.prod(cams.shape[1:])
    return Explanation(maps[:, None].astype(np.float32), logits.argmax(1)[:, None])
