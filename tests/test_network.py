"""A Keras model as a chain: the same numbers, and refusals that name the layer."""

import numpy as np
import pytest
import tensorflow as tf

from lib import network
from lib.errors import InputError

layers = tf.keras.layers


def chained(*inside, shape=(8, 8, 3)):
    return tf.keras.Sequential([tf.keras.Input(shape), *inside])


def test_layers_in_plain_terms():
    model = chained(
        layers.Conv2D(4, 3, strides=2, padding="same", name="c"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dropout(0.5),
        layers.MaxPooling2D(2, name="p"),
        layers.Flatten(name="f"),
        layers.Dense(5, activation="relu", name="d"),
        layers.Dense(3, name="z"),
    )
    chain = network.read_chain(model)
    assert [layer.name for layer in chain.layers] == ["c", "p", "f", "d", "z"]
    c, p, _, d, z = chain.layers
    assert (c.strides, c.padding, c.relu) == ((2, 2), "SAME", True)
    assert (p.kind, p.size) == ("max", (2, 2))
    assert d.relu and not z.relu


def test_folded_batch_normalisation_gives_the_same_numbers():
    model = chained(layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization())
    rng = np.random.default_rng(0)
    values = [rng.uniform(0.5, 2, 4), rng.normal(size=4), rng.normal(size=4)]
    model.layers[1].set_weights([*values, rng.uniform(0.5, 2, 4)])
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    folded = network.read_chain(model).layers[0]
    found = tf.nn.conv2d(x, folded.kernel, 1, "SAME") + folded.bias
    np.testing.assert_allclose(found, model(x, training=False), atol=1e-5)


def test_nested_model_is_unrolled():
    base = chained(layers.Conv2D(4, 3, activation="relu", name="inner"), layers.MaxPooling2D(2))
    model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), base, layers.Flatten(name="last")])
    names = [layer.name for layer in network.read_chain(model).layers]
    assert names[0] == "inner" and names[-1] == "last" and len(names) == 3


def skipping():
    x = tf.keras.Input((8, 8, 3))
    y = layers.Conv2D(3, 3, padding="same", name="first")(x)
    return tf.keras.Model(x, layers.Add(name="sum")([x, y]))


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (chained(layers.Conv2D(4, 3, activation="tanh", name="c")), "'c' applies 'tanh'"),
        (chained(layers.Conv2D(4, 3, activation="softmax", name="c")), "without_softmax"),
        (chained(layers.Flatten(), layers.Softmax(name="s")), "'s' applies softmax"),
        (chained(layers.DepthwiseConv2D(3, name="dw")), "'dw' is a DepthwiseConv2D"),
        (chained(layers.LeakyReLU(name="leaky")), "'leaky' is a LeakyReLU"),
        (chained(layers.ReLU(6, name="capped")), "'capped' is a capped"),
        (chained(layers.Lambda(lambda x: x, name="any")), "'any' is a Lambda"),
        (chained(layers.Conv2D(3, 3, groups=3, name="g")), "'g' is grouped"),
        (chained(layers.BatchNormalization(name="bn")), "'bn' does not directly follow"),
        (chained(layers.GlobalMaxPooling2D(name="gm")), "'gm' is a GlobalMaxPooling2D"),
        (chained(layers.Conv2D(4, 3), shape=(None, None, 3)), "fixed image size"),
        (skipping(), "'sum' takes its input from"),
    ],
)
def test_what_no_rule_covers_is_refused_by_name(model, match):
    with pytest.raises(InputError, match=match):
        network.read_chain(model)


@pytest.mark.parametrize("form", ["activation", "layer", "none"])
def test_without_softmax_gives_the_logits(form):
    rng = np.random.default_rng(1)
    parts = [layers.Flatten(), layers.Dense(3, activation="softmax" if form[0] == "a" else None)]
    model = chained(*parts, *([layers.Softmax()] if form == "layer" else []))
    kernel, bias = rng.normal(size=(192, 3)), rng.normal(size=3)
    model.layers[1].set_weights([kernel, bias])
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    found = network.without_softmax(model)(x)
    np.testing.assert_allclose(found, x.reshape(2, -1) @ kernel + bias, rtol=1e-4, atol=1e-4)


def test_classifier_is_split_into_trunk_and_readout():
    model = chained(
        layers.Conv2D(4, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(6, activation="relu"),
        layers.Dense(3, activation="softmax"),
    )
    x = np.random.default_rng(2).normal(size=(2, 8, 8, 3)).astype(np.float32)
    trunk, kernel, bias = network.split_classifier(model)
    readout = network.Readout("r", kernel, bias)
    logits = readout.logits(trunk(x).numpy())
    np.testing.assert_allclose(tf.nn.softmax(logits), model(x), rtol=1e-5)
    assert readout.classes == 3
    with pytest.raises(InputError, match="must end in one dense layer"):
        network.split_classifier(chained(layers.Conv2D(4, 3)))
    with pytest.raises(InputError, match="must give plain logits"):
        network.split_classifier(chained(layers.Flatten(), layers.Dense(2, activation="relu")))
