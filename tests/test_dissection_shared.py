"""Networks with layers in common: the same overlaps as one by one, and what is common once."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from lib.dissection import collection, shared, study
from lib.faces.dictionary import load_dictionary
from lib.store import ROOT
from lib.vgg import Trunk

SIZE = 32
LAYERS = ["first", "second", "third"]


@pytest.fixture(scope="module")
def few():
    kept = collection.keep_images(load_dictionary(ROOT / "data/faces/dictionary"), 40)
    return collection.ChosenDictionary(kept.faces, kept.carries, kept.codebook)


def build(name, seed, like=None, common=(), means=(0.0, 0.0, 0.0)):
    """A chain of three convolutions; some layers have the weights of another network's."""
    tf.keras.utils.set_random_seed(seed)
    layers = tf.keras.layers
    image = tf.keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="second")(x)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="third")(x)
    model = tf.keras.Model(image, layers.Dense(2, name="logits")(layers.Flatten()(x)))
    for layer in common:
        model.get_layer(layer).set_weights(like.model.get_layer(layer).get_weights())
    return Trunk(name, model, means)


@pytest.fixture(scope="module")
def networks():
    one = build("one", 1)
    return {
        "one": one,
        "two": build("two", 2, one, ["first", "second"]),
        "three": build("three", 3, one, ["first", "second"]),
        "same": build("same", 4, one, ["first", "second", "third", "logits"]),
        "moved": build("moved", 5, one, ["first", "second"], means=(9.0, 9.0, 9.0)),
        "later": build("later", 6, one, ["second", "third"]),
        "deep": build("deep", 7, one, ["first"]),
    }


def test_a_digest_is_of_all_that_a_layer_sees(networks):
    digests = {name: shared.digest_layers(trunk) for name, trunk in networks.items()}

    def common(name):
        return [k for k, v in digests[name].items() if v in digests["one"].values()]

    assert [name for name in digests["one"] if name in LAYERS] == LAYERS
    assert common("two")[1:] == ["first", "pool", "second"]
    assert {*LAYERS, "logits"} < set(common("same"))
    # other means, and other weights before, make other maps
    assert common("moved") == [] and len(common("later")) == 1
    image = tf.keras.Input((SIZE, SIZE, 3))
    x = tf.keras.layers.Conv2D(3, 1)(image)
    skipping = tf.keras.Model(image, tf.keras.layers.Add()([image, x]))
    assert shared.digest_layers(Trunk("skipping", skipping)) == {}


def test_what_a_layer_is_called_with_counts(few):
    """Two networks that differ in the number by which an image is divided, and in nothing else."""
    layers = tf.keras.layers
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4))
    networks = {}
    for name, number in (("one", 255.0), ("two", 2.0)):
        image = tf.keras.Input((SIZE, SIZE, 3))
        x = layers.Conv2D(4, 3, activation="tanh", name="maps", use_bias=False)(image / number)
        networks[name] = Trunk(name, tf.keras.Model(image, x))
        networks[name].model.get_layer("maps").set_weights([kernel])
    every = {name: ["maps"] for name in networks}
    options = dict(draws=0, tail=0.03, precision="float32")
    found = study.dissect_networks(networks, every, few, **options)
    first, second = (found[name]["maps"]["threshold"].to_numpy() for name in networks)
    assert (np.abs(first - second) > 0.01).any()
    alone = study.dissect_networks({"two": networks["two"]}, every, few, **options)
    np.testing.assert_allclose(second, alone["two"]["maps"]["threshold"], rtol=1e-5)


def test_overlaps_are_those_of_each_network_by_itself(networks, few, monkeypatch):
    options = dict(mask="both", draws=3, tail=0.03, precision="float32")
    alone = {
        name: study.dissect_networks({name: trunk}, {name: LAYERS}, few, **options)[name]
        for name, trunk in networks.items()
    }
    asked = []
    dissect = shared.dissect

    def noting(trunk, dictionary, layers, **more):
        asked.append((trunk.name, list(layers), dictionary.kept.shape[1:]))
        return dissect(trunk, dictionary, layers, **more)

    monkeypatch.setattr(shared, "dissect", noting)
    features = []
    stream = shared.iter_features
    monkeypatch.setattr(
        shared, "iter_features", lambda *a, **k: features.append(a[2]) or stream(*a, **k)
    )
    every = {name: LAYERS for name in networks}
    together = study.dissect_networks(networks, every, few, **options)
    image, entry = (SIZE, SIZE, 3), (SIZE // 2, SIZE // 2, 5)
    assert asked == [
        ("one", LAYERS, image),
        ("two", ["third"], entry),
        ("three", ["third"], entry),
        ("moved", LAYERS, image),
        ("later", LAYERS, image),
        ("deep", ["second", "third"], (SIZE // 2, SIZE // 2, 4)),
    ]
    # what enters the later layers of two networks was kept while the first ran; what a third one
    # enters elsewhere is computed for it
    assert features == [["pool"]]
    for name, layers in together.items():
        assert list(layers) == LAYERS
        for layer, data in layers.items():
            other = alone[name][layer]
            assert set(data) == set(other) and "iou_ellipse" in data
            for variable in data:
                np.testing.assert_allclose(data[variable], other[variable], rtol=1e-4, atol=1e-5)
    first, second = together["one"]["third"], together["two"]["third"]
    assert not np.allclose(first["threshold"], second["threshold"], rtol=0.01)


def test_a_network_as_far_as_a_layer_needs_nothing_of_one_that_goes_farther(networks, few):
    options = dict(draws=0, tail=0.03, precision="float32")
    some = {name: networks[name] for name in ("two", "one")}
    found = study.dissect_networks(some, {"two": ["third"], "one": ["second"]}, few, **options)
    alone = study.dissect_networks({"one": some["one"]}, {"one": ["second"]}, few, **options)
    for variable in ("iou", "threshold"):
        np.testing.assert_allclose(
            found["one"]["second"][variable], alone["one"]["second"][variable], rtol=1e-4
        )


def test_masks_are_coded_once_for_all_networks(networks, few, monkeypatch):
    module = sys.modules["lib.dissection.dissect"]  # by name: the package's is the function
    coded = []
    code_masks = module.code_masks
    monkeypatch.setattr(module, "code_masks", lambda m: coded.append(m.shape) or code_masks(m))
    some = {name: networks[name] for name in ("one", "moved")}
    every = {name: ["third"] for name in some}
    study.dissect_networks(some, every, few, mask="both", draws=2, tail=0.03, precision="float32")
    assert len(coded) == 2 * len(few)


def test_a_large_dictionary_is_read_as_it_is_needed(networks, few, monkeypatch):
    options = dict(draws=2, tail=0.03, precision="float32")
    some = {name: networks[name] for name in ("one", "two")}
    layers = {"one": LAYERS, "two": LAYERS}
    rich = study.dissect_networks(some, layers, few, **options)
    monkeypatch.setattr(shared, "KEEP", 1000)
    read = []
    images = type(few).images

    def noting(self, index, *args, **more):
        read.append(len(np.atleast_1d(index)))
        return images(self, index, *args, **more)

    monkeypatch.setattr(type(few), "images", noting)
    poor = study.dissect_networks(some, layers, few, **options)
    assert max(read) < len(few)
    for name in some:
        for layer in LAYERS:
            np.testing.assert_allclose(
                poor[name][layer]["iou"], rich[name][layer]["iou"], rtol=1e-4, atol=1e-5
            )
