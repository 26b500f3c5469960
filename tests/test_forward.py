"""Chains forward by minimal filtering, against Keras."""

import numpy as np
import pytest
import tensorflow as tf

from lib import forward, network, vgg, winograd

LAYERS = tf.keras.layers


def make_model(*layers, size=20, channels=3):
    model = tf.keras.Sequential([tf.keras.Input((size, size, channels)), *layers])
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) * 0.2 for w in model.get_weights()])
    return model


def convolution(channels, name, **options):
    return LAYERS.Conv2D(
        channels, 3, **{"padding": "same", "activation": "relu"} | options, name=name
    )


def chain():
    """Colours first, a pooling over an odd side, a stride, and a layer without ReLU."""
    return make_model(
        convolution(8, "a"),
        convolution(12, "b"),
        LAYERS.MaxPooling2D(2, name="p"),
        convolution(9, "c", activation=None),
        convolution(6, "d", strides=2),
        convolution(8, "e", padding="valid"),
        convolution(7, "f"),
        LAYERS.MaxPooling2D(3, 1, name="q"),
        size=27,
    )


def draw(model, count=4):
    return np.random.default_rng(1).normal(size=(count, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("names", [["q"], ["p"], ["b", "p", "c"], ["f", "a"]])
@pytest.mark.parametrize("fewest", [1, 48, 10**6])
def test_activations_are_those_of_keras(monkeypatch, names, fewest):
    """Filtered everywhere, where tiles are enough, nowhere; and what a pooling is fused to."""
    monkeypatch.setattr(forward, "FEWEST_TILES", fewest)
    model = chain()
    images = draw(model)
    run = forward.ForwardPass(network.read_chain(model), names)
    expected = [tf.keras.Model(model.inputs, model.get_layer(n).output)(images) for n in names]
    for _ in range(2):
        found = run(images)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.shape == theirs.shape
            assert np.abs(mine - theirs).max() <= 2e-5 * np.abs(theirs).max()
    assert all(array.base is None and array.flags.writeable for array in found)


def test_what_was_given_out_stays_as_it_is():
    model = chain()
    run = forward.ForwardPass(network.read_chain(model), ["b", "c"])
    first = run(draw(model))
    kept = [array.copy() for array in first]
    run(draw(model)[::-1])
    assert all(np.array_equal(*pair) for pair in zip(first, kept, strict=True))


@pytest.mark.parametrize(
    ("layers", "covered"),
    [
        ([convolution(8, "a"), convolution(8, "b")], True),
        ([convolution(8, "a")], False),  # three colours are too few for filtering to pay
        ([convolution(8, "a"), convolution(8, "b"), LAYERS.AveragePooling2D(2)], False),
        ([convolution(8, "a"), convolution(8, "b"), LAYERS.Flatten()], False),
    ],
)
def test_what_is_covered(layers, covered):
    assert forward.ForwardPass.covers(network.read_chain(make_model(*layers))) == covered


@pytest.mark.parametrize(
    ("layers", "filters"),
    [
        ([convolution(8, "a"), convolution(8, "b")], True),
        # a chain holds these as one layer, and b alone would be asked for
        ([convolution(8, "a"), convolution(8, "b", activation=None), LAYERS.ReLU()], False),
        ([convolution(8, "a"), convolution(8, "b", activation="tanh")], False),
    ],
)
def test_a_trunk_is_filtered_where_it_can_be(monkeypatch, layers, filters):
    trunk = vgg.Trunk("t", make_model(*layers))
    blocks = []
    original = winograd.Convolution.__call__
    monkeypatch.setattr(
        winograd.Convolution, "__call__", lambda *a, **k: blocks.append(1) or original(*a, **k)
    )
    images = draw(trunk.model)
    (found,) = vgg.make_forward(trunk, ["b"], "float32")(images)
    expected = tf.keras.Model(trunk.model.inputs, trunk.model.get_layer("b").output)(images)
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()
    assert bool(blocks) == filters
    blocks.clear()
    vgg.make_forward(trunk, ["b"], "bfloat16")(images)
    assert not blocks
