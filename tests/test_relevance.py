"""Maps of many readouts on the real trunk: equal to iNNvestigate's, and what is asked for."""

import numpy as np
import pytest
import tensorflow as tf
from skimage import data, transform

from lib import network, vgg
from lib.errors import InputError
from lib.relevance import (
    COMPOSITES,
    Difference,
    compute,
    compute_relevance,
    make_engine,
    normalise_maps,
)
from lib.relevance.engine import SharedTrunk


def pictures(size):
    """A colour and a grey picture, (2, size, size, 3), uint8."""
    colour = data.astronaut()[:300, 100:400]
    grey = np.repeat(data.camera()[50:350, 100:400, None], 3, -1)
    return np.stack(
        [
            transform.resize(picture, (size, size), preserve_range=True).astype(np.uint8)
            for picture in (colour, grey)
        ]
    )


def make_readouts(trunk, classes, seed=0):
    rng = np.random.default_rng(seed)
    width = int(np.prod(trunk.model.output_shape[1:]))
    return [
        network.Readout(f"r{i}", rng.normal(size=(width, n)) * 0.01, rng.normal(size=n) * 0.1)
        for i, n in enumerate(classes)
    ]


@pytest.fixture(scope="module")
def imagenet():
    """Weights by size; the test is skipped where they cannot be had."""

    def load(size):
        try:
            return vgg.load_trunk("imagenet", size)
        except InputError as error:
            pytest.skip(str(error))

    return load


@pytest.fixture(scope="module")
def small():
    """A small trunk with random weights and readouts of 5, 2 and 5 classes."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((16, 16, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="c1"),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="c2"),
            layers.MaxPooling2D(2),
        ]
    )
    rng = np.random.default_rng(4)
    for layer in (model.layers[0], model.layers[2]):
        kernel, bias = layer.get_weights()
        scale = np.sqrt(2 / kernel[..., 0].size)
        layer.set_weights([rng.normal(size=kernel.shape) * scale, rng.normal(size=bias.shape)])
    trunk = vgg.Trunk("small", model)
    images = rng.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    return trunk, make_readouts(trunk, (5, 2, 5), seed=1), images


def maps_of(*args, **settings):
    """All maps at once, with the batches' targets and scores."""
    batches = list(compute_relevance(*args, progress=False, precision="float32", **settings))
    return [
        np.concatenate([getattr(b, n) for b in batches]) for n in ("relevance", "target", "score")
    ]


# ------------------------------------------------------------------------------------- real trunk


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a_flat", "b"])
def test_presets_equal_innvestigate_on_the_imagenet_trunk(imagenet, name):
    """Largest difference over largest |map| within 1e-6, colour and grey, biases and all.

    a_flat and b hold between them each rule of the four presets; a and b_flat are compared on a
    small network in test_relevance_rules.py.
    """
    trunk = imagenet(112)
    readouts = make_readouts(trunk, (101,))
    settings = {"composite": name, "sum_channels": False}
    ours, target, score = maps_of(trunk, readouts, pictures(112), **settings)
    theirs, same, other = maps_of(trunk, readouts, pictures(112), engine="innvestigate", **settings)
    assert np.array_equal(target, same)
    np.testing.assert_allclose(score, other, rtol=1e-5)
    largest = np.abs(theirs).max((2, 3, 4))
    assert (np.abs(ours - theirs).max((2, 3, 4)) / largest).max() <= 1e-6
    # Eager mode lives on, and so do models made before.
    assert tf.executing_eagerly()
    assert trunk.model(np.zeros((1, 112, 112, 3), np.float32)).shape == (1, 3, 3, 512)


def test_bfloat16_backward_keeps_the_map(imagenet):
    """r >= .9999 with the exact map, and the same tenth of the pixels on top."""
    trunk = imagenet(64)
    readouts = make_readouts(trunk, (101, 2))
    x = trunk.prepare(pictures(64))

    def predicted(logits):
        first = np.stack([values.argmax(1) for values in logits], 1)
        return first, np.full(first.shape, -1)

    maps = [
        SharedTrunk(trunk.model, readouts, COMPOSITES["a_flat"], precision)
        .relevance(x, predicted)[0]
        .sum(-1)
        .reshape(4, -1)
        for precision in ("float32", "mixed")
    ]
    for exact, fast in zip(*maps, strict=True):
        assert np.corrcoef(exact, fast)[0, 1] >= 0.9999
        count = exact.size // 10
        top = [set(np.argsort(-np.abs(m), kind="stable")[:count]) for m in (exact, fast)]
        assert len(top[0] & top[1]) >= 0.98 * count


# ---------------------------------------------------------------------------------------- targets


def test_targets_mean_what_they_say(small):
    trunk, readouts, images = small
    predicted, target, score = maps_of(trunk, readouts, images)
    features = vgg.compute_features(trunk, images, progress=False)
    for j, readout in enumerate(readouts):
        logits = readout.logits(features)
        assert np.array_equal(target[:, j], logits.argmax(1))
        np.testing.assert_allclose(score[:, j], logits.max(1), rtol=1e-5)
        given = [target[:, i] for i in range(3)]
    np.testing.assert_array_equal(maps_of(trunk, readouts, images, given)[0], predicted)
    second, rank_2, lower = maps_of(trunk, readouts, images, "rank_2")
    assert (lower < score).all() and (rank_2 != target).all()
    assert np.abs(second - predicted).max() > 0
    per_readout = maps_of(trunk, readouts, images, ["predicted", 1, "rank_2"])[0]
    np.testing.assert_array_equal(per_readout[:, 0], predicted[:, 0])
    np.testing.assert_array_equal(per_readout[:, 2], second[:, 2])


def test_difference_is_the_readout_of_subtracted_weights(small):
    trunk, readouts, images = small
    target = Difference(2, 4)
    found, first, score = maps_of(trunk, readouts[:1], images, target, composite="b")
    kernel, bias = readouts[0].kernel, readouts[0].bias
    one = network.Readout("one", (kernel[:, 2] - kernel[:, 4])[:, None], bias[[2]] - bias[4])
    expected, _, value = maps_of(trunk, [one], images, 0, composite="b")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(score, value, rtol=1e-4, atol=1e-5)
    assert (first == 2).all()


def test_the_rival_is_the_best_of_the_other_classes(small):
    trunk, readouts, images = small
    first = np.array([0, 1, 2, 3, 4])
    features = vgg.compute_features(trunk, images, progress=False)
    logits = readouts[0].logits(features)
    rival = [
        max((c for c in range(5) if c != k), key=lambda c: v[c])
        for k, v in zip(first, logits, strict=True)
    ]
    found = maps_of(trunk, readouts[:1], images, Difference(first, "rival"))
    expected = maps_of(trunk, readouts[:1], images, Difference(first, np.array(rival)))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    # A shift of all logits changes the map of a logit, and not that of a difference.
    shifted = network.Readout(
        "s", readouts[0].kernel + features.reshape(5, -1)[[0]].T / 20, readouts[0].bias
    )
    both = maps_of(trunk, [readouts[0], shifted], images[:1], Difference(0, "rival"))[0][0]
    np.testing.assert_allclose(both[0], both[1], atol=1e-3 * np.abs(both[0]).max())
    both = maps_of(trunk, [readouts[0], shifted], images[:1], 0)[0][0]
    assert np.abs(both[0] - both[1]).max() > 0.1 * np.abs(both[0]).max()
    one = network.Readout("one", readouts[0].kernel[:, :1], readouts[0].bias[:1])
    refused("no second rank", trunk, [one], images, Difference(0, "rival"))
    refused("no target 'rival'", trunk, readouts, images, "rival")
    refused("no target 'rival'", trunk, readouts, images, Difference("rival", 0))


def test_batches_and_neighbours_change_nothing(small):
    """A map depends on its image and readout alone: not on the batch, nor on other readouts."""
    trunk, readouts, images = small
    together = maps_of(trunk, readouts, images, batch=5)[0]
    np.testing.assert_allclose(
        maps_of(trunk, readouts, images, batch=2, seeds=1)[0], together, rtol=1e-4, atol=1e-5
    )
    alone = maps_of(trunk, readouts[1:2], images[3:4])[0]
    np.testing.assert_allclose(alone[0, 0], together[3, 1], rtol=1e-4, atol=1e-5)
    ready = maps_of(trunk, readouts, trunk.prepare(images), prepared=True)[0]
    np.testing.assert_allclose(ready, together, rtol=1e-4, atol=1e-5)


def test_maps_are_a_stream(small):
    """Images are read as their maps are asked for."""
    trunk, readouts, images = small

    class Counted:
        seen = 0

        def __len__(self):
            return len(images)

        def __getitem__(self, rows):
            self.seen = max(self.seen, rows.stop)
            return images[rows]

    counted = Counted()
    stream = compute_relevance(trunk, readouts, counted, batch=1, progress=False)
    assert counted.seen == 0
    assert next(stream).rows == slice(0, 1) and counted.seen == 1
    assert next(stream).rows == slice(1, 2) and counted.seen == 2


# ------------------------------------------------------------------------------------ other methods


def test_integrated_gradients_are_complete(small):
    """Their sum is the score less the baseline's (Sundararajan et al. 2017, proposition 1)."""
    trunk, readouts, images = small
    settings = {"composite": "integrated_gradients", "steps": 200}
    found, target, score = maps_of(trunk, readouts, images[:2], **settings)
    black = np.zeros((1, 16, 16, 3), np.float32)
    features = trunk.model(black).numpy()
    for j, readout in enumerate(readouts):
        start = readout.logits(features)[0, target[:, j]]
        change = score[:, j] - start
        np.testing.assert_allclose(found[:, j].sum((1, 2)), change, rtol=0.02, atol=0.02)


def test_grad_cam_by_hand(small):
    trunk, readouts, images = small
    engine = make_engine(trunk, readouts, "grad_cam")
    x = trunk.prepare(images)

    def class_one(logits):
        return np.ones((5, 3), int), np.full((5, 3), -1)

    maps = engine.maps(x, class_one)[0]
    assert maps.shape == (5, 3, 8, 8)
    activation = tf.keras.Model(trunk.model.inputs, trunk.model.get_layer("c2").output)(x).numpy()
    for n in range(5):
        for j, readout in enumerate(readouts):
            kernel = readout.kernel[:, 1].reshape(4, 4, 8)
            expected = np.zeros((8, 8))
            for c in range(8):
                gradient = np.zeros((8, 8))
                for y in range(4):
                    for z in range(4):
                        window = activation[n, 2 * y : 2 * y + 2, 2 * z : 2 * z + 2, c]
                        dy, dz = np.unravel_index(window.argmax(), (2, 2))
                        gradient[2 * y + dy, 2 * z + dz] = kernel[y, z, c]
                expected += gradient.mean() * activation[n, :, :, c]
            np.testing.assert_allclose(maps[n, j], np.maximum(expected, 0), rtol=1e-3, atol=1e-3)
    resized = maps_of(trunk, readouts, images, 1, composite="grad_cam", on_zero="keep")[0]
    assert resized.shape == (5, 3, 16, 16)


# --------------------------------------------------------------------------------------- bad input


def refused(match, *args, **settings):
    with pytest.raises(InputError, match=match):
        list(compute_relevance(*args, progress=False, **settings))


def test_bad_input_is_refused_in_a_sentence(small):
    trunk, readouts, images = small
    refused("out of range: readout 'r1' has classes 0..1", trunk, readouts, images, 3)
    refused("image 2", trunk, readouts[:1], images, np.array([0, 0, 7, 0, 0]))
    refused("shape", trunk, readouts, images, np.array([0, 1]))
    refused("whole numbers", trunk, readouts, images, 0.5)
    refused("no target 'true'", trunk, readouts, images, "true")
    refused("2 targets for 3 readouts", trunk, readouts, images, [0, 1])
    refused("both sides", trunk, readouts, images, Difference("predicted", "predicted"))
    refused("no composite 'c'", trunk, readouts, images, composite="c")
    refused("no engine", trunk, readouts, images, engine="zennit")
    refused("has no composite", trunk, readouts, images, composite="gamma", engine="innvestigate")
    refused("no precision", trunk, readouts, images, precision="half")
    refused("no images", trunk, readouts, images[:0])
    refused("pixels", trunk, readouts, images[:, :8])
    broken = images.astype(np.float32)
    broken[3, 0, 0, 0] = np.nan
    refused("Image 3 holds NaN", trunk, readouts, broken, prepared=True)
    narrow = network.Readout("narrow", np.ones((5, 2)), np.zeros(2))
    refused("another trunk", trunk, [narrow], images)
    with pytest.raises(InputError, match="NaN"):
        network.Readout("bad", np.full((5, 2), np.nan), np.zeros(2))


def test_a_map_that_is_zero_everywhere_is_refused_or_kept(small):
    trunk, readouts, images = small
    silent = network.Readout("silent", np.zeros((128, 2)), np.zeros(2))
    refused("zero everywhere", trunk, [readouts[0], silent], images)
    kept = maps_of(trunk, [readouts[0], silent], images, on_zero="keep")[0]
    assert not kept[:, 1].any() and kept[:, 0].any()
    with pytest.raises(InputError, match=r"Map \(0, 1\) is zero"):
        normalise_maps(kept)
    scaled = normalise_maps(kept, on_zero="keep")
    np.testing.assert_allclose(np.abs(scaled[:, 0]).max((1, 2)), 1)
    assert not scaled[:, 1].any()


def test_what_overflows_is_refused(small):
    trunk, readouts, images = small
    huge = network.Readout("huge", np.full((128, 2), 3e38), np.zeros(2))
    refused("Readout 'huge' gives logits that are not finite", trunk, [huge], images)
    maps = np.ones((2, 2, 4, 4), np.float32)
    maps[1, 0, 2, 3] = np.inf
    with pytest.raises(InputError, match="image 6, readout 'r0', is not finite: a denominator"):
        compute._check_maps(maps, slice(5, 7), readouts[:2], "keep")
    maps[1, 0, 2, 3] = np.nan
    with pytest.raises(InputError, match="holds NaN or infinity"):
        normalise_maps(maps)


def test_softmax_left_on_and_unknown_layers_are_named(small):
    _, readouts, images = small
    layers = tf.keras.layers
    first = [tf.keras.Input((16, 16, 3)), layers.Conv2D(8, 3, strides=4, name="c")]
    ends = {
        "Layer 'last' applies softmax; .*without_softmax": layers.Activation(
            "softmax", name="last"
        ),
        "Layer 'odd' is a LayerNormalization, for which": layers.LayerNormalization(name="odd"),
        "Layer 'soft' applies 'gelu'; only ReLU": layers.Activation("gelu", name="soft"),
    }
    for match, layer in ends.items():
        trunk = vgg.Trunk("other", tf.keras.Sequential([*first, layer]))
        refused(match, trunk, readouts, images)


# ------------------------------------------------------------------------------------- truth test


@pytest.mark.parametrize("composite", ["a", "b_flat", "epsilon", "gamma", "gradient_x_input"])
def test_relevance_finds_a_planted_cue(small, composite):
    """Evidence for a class lies where the readout was taught to look, not where it was not."""
    trunk, _, _ = small
    rng = np.random.default_rng(3)
    images = rng.normal(110, 25, (600, 16, 16, 3)).clip(0, 255)
    here, there = rng.random((2, 600)) < 0.5
    area = np.zeros((16, 16), bool)
    area[8:12, 4:8] = True
    images[np.ix_(here, range(8, 12), range(4, 8))] = 250
    images[np.ix_(there, range(2, 6), range(10, 14))] = 250
    features = vgg.compute_features(trunk, images, progress=False).reshape(600, -1)
    readouts = []
    for labels in (here, there):
        # A readout by ridge regression: evidence for the class is above zero, against it below.
        centred = features - features.mean(0)
        gram = centred.T @ centred + 1e4 * np.eye(128)
        weights = np.linalg.solve(gram, centred.T @ (2.0 * labels - 1))
        bias = -features.mean(0) @ weights
        readouts.append(network.Readout(f"cue {len(readouts)}", weights[:, None], bias[None]))
        assert (((features @ weights + bias) > 0) == labels).mean() > 0.97
    both = images[here & there][:20]
    found = maps_of(trunk, readouts, both, 0, composite=composite)[0]
    positive = np.maximum(found, 0)
    share = ((positive * area).sum((2, 3)) / positive.sum((2, 3))).mean(0)
    assert share[0] > 4 * area.mean()
    assert share[0] > 2 * share[1]
