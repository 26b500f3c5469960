"""What learns: a residual network from scratch, or the later layers of a VGG-16 trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lib import network
from lib.dissection.pictures import nearest
from lib.errors import InputError
from lib.finetuning import initial_weights
from lib.vgg import Trunk

#: Bottlenecks in each of the four stages of a residual network.
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet14": (1, 1, 1, 1)}
ARCHITECTURES = ("vgg16", *DEPTHS)
#: Names of the last layer, and of the one that standardises what it gets during training.
READOUT, SCALING = "logits", "scaling"
#: Share of the running mean and variance that a step keeps: trainings are short.
MOMENTUM = 0.9
#: As in Keras' ResNet50.
BN_EPSILON = 1.001e-5


def build_resnet(
    size: int, classes: int, depths: Sequence[int] = DEPTHS["resnet50"], width: float = 1.0
) -> tf.keras.Model:
    """A residual network of bottlenecks, layers named as in Keras' ``ResNet50``.

    Parameters
    ----------
    size : int
        Side of the input, pixels; at least 32.
    classes : int
        Logits.
    depths : sequence of int
        Bottlenecks in each stage.
    width : float
        Share of the published channels (64, 128, 256, 512 inside the bottlenecks).

    Returns
    -------
    keras.Model
        (n, size, size, 3) BGR, mean-subtracted -> (n, classes) logits, untrained.
    """
    if size < 32:
        raise InputError(f"A residual network halves its input five times; size {size} is too few.")
    counts = [channels * width for channels in (64, 128, 256, 512)]
    if not 0 < width <= 1 or any(count != int(count) for count in counts):
        raise InputError(f"width is {width!r}: give 1, or 1/2, 1/4, ... down to 1/64.")
    kinds = tf.keras.layers

    def normalise(x, name):
        return kinds.BatchNormalization(epsilon=BN_EPSILON, momentum=MOMENTUM, name=name)(x)

    def bottleneck(x, channels, stride, name, project):
        before = x
        if project:
            before = kinds.Conv2D(4 * channels, 1, strides=stride, name=f"{name}_0_conv")(x)
            before = normalise(before, f"{name}_0_bn")
        x = kinds.Conv2D(channels, 1, strides=stride, name=f"{name}_1_conv")(x)
        x = kinds.Activation("relu", name=f"{name}_1_relu")(normalise(x, f"{name}_1_bn"))
        x = kinds.Conv2D(channels, 3, padding="same", name=f"{name}_2_conv")(x)
        x = kinds.Activation("relu", name=f"{name}_2_relu")(normalise(x, f"{name}_2_bn"))
        x = kinds.Conv2D(4 * channels, 1, name=f"{name}_3_conv")(x)
        x = kinds.Add(name=f"{name}_add")([before, normalise(x, f"{name}_3_bn")])
        return kinds.Activation("relu", name=f"{name}_out")(x)

    image = tf.keras.Input((size, size, 3), name="image", dtype="float32")
    x = kinds.ZeroPadding2D(3, name="conv1_pad")(image)
    x = kinds.Conv2D(int(counts[0]), 7, strides=2, name="conv1_conv")(x)
    x = kinds.Activation("relu", name="conv1_relu")(normalise(x, "conv1_bn"))
    x = kinds.ZeroPadding2D(1, name="pool1_pad")(x)
    x = kinds.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, (count, depth) in enumerate(zip(counts, depths, strict=True), 2):
        for block in range(1, depth + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            x = bottleneck(x, int(count), stride, f"conv{stage}_block{block}", block == 1)
    x = kinds.GlobalAveragePooling2D(name="avg_pool")(x)
    x = kinds.Dense(classes, name=READOUT)(x)
    return tf.keras.Model(image, x, name="resnet")


def initialise(model: tf.keras.Model, seed: Sequence[int]) -> None:
    """Weights from a seed: He-normal convolutions (He et al. 2015, equation 10), Glorot readout."""
    for number, layer in enumerate(model.layers):
        rng = np.random.default_rng([*seed, number])
        if isinstance(layer, tf.keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            spread = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([rng.normal(0, spread, kernel.shape), np.zeros_like(bias)])
        elif isinstance(layer, tf.keras.layers.BatchNormalization):
            count = layer.gamma.shape[0]
            layer.set_weights([np.full(count, v) for v in (1.0, 0.0, 0.0, 1.0)])
        elif isinstance(layer, tf.keras.layers.Dense):
            layer.set_weights(initial_weights(*layer.kernel.shape, [*seed, number]))


def find_hooks(model: tf.keras.Model) -> tuple[dict[str, str], dict[str, str]]:
    """Layers to dissect, block by block.

    Of a residual network the published ones: in the last bottleneck of each stage the first
    convolution, before normalisation and ReLU. Of VGG-16 the last convolution of each block.

    Returns
    -------
    hooks : dict
        Block -> layer.
    outputs : dict
        Block -> layer that ends it: the sum of a stage after ReLU, or the pooling layer.
    """
    hooks: dict[str, str] = {}
    outputs: dict[str, str] = {}
    residual = any(layer.name.endswith("_1_conv") for layer in model.layers)
    for layer in model.layers:
        name = layer.name
        if residual and "_block" in name:
            if name.endswith("_1_conv"):
                hooks[f"stage {int(name[4]) - 1}"] = name
            elif name.endswith("_out"):
                outputs[f"stage {int(name[4]) - 1}"] = name
        elif not residual and isinstance(layer, tf.keras.layers.Conv2D):
            last = name
        elif not residual and isinstance(layer, tf.keras.layers.MaxPooling2D):
            block = f"block {len(hooks) + 1}"
            hooks[block], outputs[block] = last, name
    return hooks, outputs


@dataclass(frozen=True)
class Learner:
    """What is trained, and the complete network that it is a part of.

    Attributes
    ----------
    complete : keras.Model
        Prepared image -> logits.
    part : keras.Model
        What learns: the complete network itself, or its later layers on frozen features. Its
        readout then sees the features standardised (see :meth:`standardise`).
    cut : str
        Layer of the complete network whose output the part takes; "" for the image.
    """

    complete: tf.keras.Model
    part: tf.keras.Model
    cut: str

    def standardise(self, features: np.ndarray) -> None:
        """Give the readout features of mean 0 and variance 1, from those before any training.

        A trunk's features are large and of very different sizes; a step that suits one would be
        far too long or too short for another.

        Parameters
        ----------
        features : ndarray, (n, height, width, channels)
            What the part takes, of some training images.
        """
        if not self.cut:
            return
        layer = self.part.get_layer(SCALING)
        before = tf.keras.Model(self.part.inputs, layer.input)
        pooled = before(np.asarray(features, np.float32), training=False).numpy()
        variance = pooled.var(0, dtype=np.float64)
        # A feature that hardly ever moves would be blown up to the size of the others.
        layer.set_weights([pooled.mean(0), np.maximum(variance, 0.01 * variance.mean() or 1.0)])

    def finish(self) -> tf.keras.Model:
        """The complete network with what was learned, the standardisation folded in."""
        if not self.cut:
            return self.complete
        for layer in self.part.layers:
            if layer.name == SCALING:
                mean, variance = (np.asarray(v, np.float64) for v in layer.get_weights())
            elif layer.name == READOUT:
                kernel, bias = layer.get_weights()
                kernel = kernel / np.sqrt(variance)[:, None]
                self.complete.get_layer(READOUT).set_weights([kernel, bias - mean @ kernel])
            elif layer.weights:
                self.complete.get_layer(layer.name).set_weights(layer.get_weights())
        return self.complete


def find_cut(trunk: Trunk, trained_from: str) -> str:
    """Name of the layer before the first that learns.

    Raises
    ------
    InputError
        No such layer, or it is the first; a trunk that is no plain chain.
    """
    network.read_chain(trunk.model)
    names = [layer.name for layer in trunk.model.layers]
    if trained_from not in names[2:]:
        raise InputError(
            f"Trunk {trunk.name} has no layer {trained_from!r} to learn from on"
            f"{nearest(trained_from, names[2:])}."
        )
    return names[names.index(trained_from) - 1]


def make_learner(
    architecture: str,
    classes: int,
    *,
    size: int,
    trunk: Trunk | None = None,
    trained_from: str = "conv5_1",
    width: float = 1.0,
    seed: Sequence[int] = (0,),
) -> Learner:
    """A network before its training.

    Parameters
    ----------
    architecture : str
        One of :data:`ARCHITECTURES`.
    classes : int
    size : int
        Side of the images, pixels.
    trunk : Trunk, optional
        For ``vgg16``.
    trained_from : str
        First layer of the trunk that learns; all after it do too.
    width : float
        Of a residual network, share of the published channels.
    seed : sequence of int
        Of the initial weights.

    Raises
    ------
    InputError
        An unknown architecture or layer, no trunk, or one of another size.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"There is no architecture {architecture!r}{nearest(architecture, ARCHITECTURES)}."
        )
    if architecture in DEPTHS:
        model = build_resnet(size, classes, DEPTHS[architecture], width)
        initialise(model, seed)
        return Learner(model, model, "")
    if trunk is None:
        raise InputError("The architecture vgg16 goes on from a trunk; give one, such as imagenet.")
    if trunk.size != size:
        raise InputError(
            f"Trunk {trunk.name} takes images of {trunk.size} pixels and the pictures have {size}."
        )
    cut = find_cut(trunk, trained_from)
    complete = _with_readout(tf.keras.models.clone_model(trunk.model), classes)
    for layer in trunk.model.layers:
        complete.get_layer(layer.name).set_weights(layer.get_weights())
    names = [layer.name for layer in complete.layers]
    x = features = tf.keras.Input(complete.get_layer(cut).output_shape[1:], name="features")
    for name in names[names.index(cut) + 1 :]:
        layer = complete.get_layer(name)
        if name == READOUT:
            x = tf.keras.layers.BatchNormalization(
                center=False, scale=False, epsilon=0.0, trainable=False, name=SCALING
            )(x)
        x = type(layer).from_config(layer.get_config() | {"trainable": True})(x)
    part = tf.keras.Model(features, x, name="later_layers")
    learner = Learner(complete, part, cut)
    restart(learner, trunk, seed)
    return learner


def restart(learner: Learner, trunk: Trunk | None, seed: Sequence[int]) -> None:
    """Put a learner back to the start: the trunk's weights, and others drawn from a seed."""
    if not learner.cut:
        initialise(learner.part, seed)
        return
    for layer in learner.part.layers:
        if layer.name == READOUT:
            layer.set_weights(initial_weights(*layer.kernel.shape, seed))
        elif layer.name != SCALING and layer.weights:
            layer.set_weights(trunk.model.get_layer(layer.name).get_weights())


def _with_readout(model: tf.keras.Model, classes: int) -> tf.keras.Model:
    x = model.output
    if len(x.shape) == 4:
        x = tf.keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = tf.keras.layers.Dense(classes, name=READOUT)(x)
    return tf.keras.Model(model.inputs, x, name="classifier")
