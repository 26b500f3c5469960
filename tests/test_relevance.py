"""Maps of many readouts on the real trunks: equal to iNNvestigate's, and what is asked for."""

import dataclasses
import functools
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from skimage import data, transform

from lib import network, vgg
from lib.errors import InputError
from lib.relevance import (
    COMPOSITES,
    Composite,
    Difference,
    ZBoxRule,
    ZPlusRule,
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


TRUNKS = ("imagenet", "synthface")
PRESETS = ("a", "a_flat", "b", "b_flat")
SIZE = 48


@pytest.fixture(scope="module")
def real():
    """Maps of a real trunk for a colour and a grey picture, by engine; each is made once.

    The test is skipped where a trunk's weights cannot be had.
    """

    @functools.cache
    def model(name):
        try:
            trunk = vgg.load_trunk(name, SIZE)
        except InputError as error:
            pytest.skip(str(error))
        return trunk, make_readouts(trunk, (101,))

    @functools.cache
    def maps(name, composite, **settings):
        settings = {"precision": "float32", "sum_channels": False, **settings}
        stream = compute_relevance(
            *model(name), pictures(SIZE), composite=composite, progress=False, batch=2, **settings
        )
        (batch,) = stream
        return batch.relevance[:, 0], batch.target[:, 0], batch.score[:, 0]

    maps.model = model
    return maps


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


def departure(found, expected):
    """Largest difference over largest |R|, per map."""
    largest = np.abs(expected).max((1, 2, 3))
    return np.abs(found - expected).max((1, 2, 3)) / largest


def double_precision(trunk, readout, composite, x, target):
    """A preset in float64, step by step, each rule as it is printed; (y, x, channels)."""
    chain = network.read_chain(trunk.model)
    rules = composite.rules(chain)
    window = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"}

    def through(x, w):
        return tf.nn.conv2d(x, w, 1, "SAME")

    def back(s, w, shape):
        return tf.nn.conv2d_transpose(s, w, shape, 1, "SAME")

    x, records = tf.constant(x[None], tf.float64), []
    for layer in chain.layers:
        if isinstance(layer, network.Convolution):
            w, b = (tf.constant(value, tf.float64) for value in (layer.kernel, layer.bias))
            y = tf.nn.relu(through(x, w) + b)
            records.append((layer, x, w, b))
        else:
            y = tf.nn.max_pool2d(x, 2, 2, "VALID")
            records.append((layer, x, y, None))
        x = y
    w = readout.kernel[:, target].astype(np.float64).reshape(x.shape)
    z = float(tf.reduce_sum(x * w)) + float(readout.bias[target])
    r = x * w * z / (z + np.copysign(composite.dense.epsilon, z))
    for layer, x, w, b in reversed(records):
        if b is None:
            r = tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=w, grad=r, **window)
            continue
        rule = rules[layer.name]
        if rule.name == "flat":
            ones = tf.ones_like(w)
            r = back(r / through(tf.ones_like(x), ones), ones, x.shape)
            continue
        positive, negative = tf.nn.relu(w), -tf.nn.relu(-w)
        above, below = tf.nn.relu(x), -tf.nn.relu(-x)
        total = 0.0
        for share, u, v in ((rule.alpha, positive, negative), (-rule.beta, negative, positive)):
            if share:
                s = r / (through(above, u) + through(below, v) + b)
                total += share * (above * back(s, u, x.shape) + below * back(s, v, x.shape))
        r = total
    return r[0].numpy()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("composite", PRESETS)
@pytest.mark.parametrize("name", TRUNKS)
def test_presets_equal_innvestigate_on_the_real_trunks(real, name, composite):
    """Largest difference over largest |map| within 1e-6, colour and grey, biases and all."""
    ours, target, score = real(name, composite)
    theirs, same, other = real(name, composite, engine="innvestigate")
    assert np.array_equal(target, same)
    np.testing.assert_allclose(score, other, rtol=1e-5)
    assert departure(ours, theirs).max() <= 1e-6
    # Eager mode lives on, and so do models made before.
    assert tf.executing_eagerly()
    trunk, _ = real.model(name)
    assert trunk.model(np.zeros((1, SIZE, SIZE, 3), np.float32)).shape == (1, 1, 1, 512)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("composite", ["a_flat", "b"])
@pytest.mark.parametrize("name", TRUNKS)
def test_float32_is_as_far_from_float64_by_either_engine(real, name, composite):
    """Neither engine rounds worse than the other.

    Where a denominator nearly vanishes (contributions of one sign against a bias of the other)
    float32 is short of digits: measured here, maps depart from float64 by 3e-7 to 2e-5 of the
    largest relevance, those of ``b`` on ``synthface`` by 4e-2; by the same amount in both engines,
    which round in the same order and so are far nearer to each other (within 1e-6) than to the
    number both stand for.
    """
    trunk, (readout,) = real.model(name)
    ours, target, _ = real(name, composite)
    theirs = real(name, composite, engine="innvestigate")[0]
    x = trunk.prepare(pictures(SIZE))
    exact = [
        double_precision(trunk, readout, COMPOSITES[composite], *given)
        for given in zip(x, target, strict=True)
    ]
    mine, other = (departure(maps, np.stack(exact)) for maps in (ours, theirs))
    print(f"{name} {composite}: ours {mine}, iNNvestigate {other} from float64")
    assert (mine <= 1.05 * other + 1e-6).all()
    assert mine.max() <= (0.1 if (name, composite) == ("synthface", "b") else 1e-4)


@pytest.mark.parametrize("composite", sorted(COMPOSITES))
@pytest.mark.parametrize("name", TRUNKS)
def test_bfloat16_backward_keeps_the_map(real, name, composite):
    """r >= .9999 with the exact map, and the same tenth of the pixels on top but for its edge.

    A pixel changes sides only if its |R| lies within a hundredth of the largest |R| of the mask's
    threshold; at most two in a hundred do.
    """
    exact, fast = (
        real(name, composite, precision=p)[0].sum(-1).reshape(2, -1).astype(np.float64)
        for p in ("float32", "mixed")
    )
    for a, b in zip(exact, fast, strict=True):
        r, count = np.corrcoef(a, b)[0, 1], a.size // 10
        top = [set(np.argsort(-np.abs(m), kind="stable")[:count]) for m in (a, b)]
        shared = len(top[0] & top[1]) / count
        swapped = np.abs(a)[sorted(top[0] ^ top[1])]
        edge = np.sort(np.abs(a))[-count]
        gap = np.abs(swapped - edge).max(initial=0) / np.abs(a).max()
        print(f"{name} {composite}: 1 - r {1 - r:.1e}, shared {shared:.4f}, gap {gap:.1e}")
        assert r >= 0.9999
        assert shared >= 0.98
        assert gap <= 1e-2


@pytest.mark.parametrize("composite", sorted(COMPOSITES))
@pytest.mark.parametrize("name", TRUNKS)
def test_the_short_way_keeps_the_map(real, name, composite):
    """Within 1e-5 of the largest |R|; alpha 2, beta 1, whose terms cancel, within 1e-4."""
    exact, short = (real(name, composite, precision=p)[0].sum(-1) for p in ("float32", "winograd"))
    largest = [np.abs(a - b).max() / np.abs(a).max() for a, b in zip(exact, short, strict=True)]
    print(f"{name} {composite}: {max(largest):.1e}")
    assert max(largest) <= (1e-4 if composite.startswith("b") else 1e-5)
    for a, b in zip(exact.reshape(2, -1), short.reshape(2, -1), strict=True):
        top = [set(np.argsort(-np.abs(m), kind="stable")[: a.size // 10]) for m in (a, b)]
        assert len(top[0] & top[1]) >= 0.995 * (a.size // 10)
    assert np.array_equal(real(name, composite)[2], real(name, composite, precision="winograd")[2])


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


@pytest.mark.parametrize("precision", ["winograd", "float32", "mixed"])
@pytest.mark.parametrize("composite", ["a_flat", "b"])
def test_an_engine_goes_with_its_last_name(small, composite, precision):
    """At 224 px it holds half a gigabyte, and a chapter makes dozens: none may wait for the
    collector."""
    trunk, readouts, images = small
    engine = SharedTrunk(trunk.model, readouts, COMPOSITES[composite], precision)
    engine.relevance(
        trunk.prepare(images[:1]), lambda logits: (np.zeros((1, 3), int), np.full((1, 3), -1))
    )
    parts = [weakref.ref(part) for part in (engine, *engine.steps) if hasattr(part, "__dict__")]
    gc.disable()
    try:
        del engine
        assert [part() for part in parts] == [None] * len(parts)
    finally:
        gc.enable()


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


@pytest.mark.parametrize("name", ["z_box", "gamma"])
def test_the_box_is_that_of_the_trunks_means(small, name):
    """Bounds are 0 and 255 less the means that this trunk subtracts."""
    model, readouts, images = small[0].model, small[1], small[2]
    trunk = vgg.Trunk("faces", model, vgg.MEANS["vggface"])
    found = maps_of(trunk, readouts, images, composite=name)[0]
    known = ((-93.594, -104.7624, -129.1863), (161.406, 150.2376, 125.8137))
    theirs = dataclasses.replace(COMPOSITES[name], first=ZBoxRule(*known))
    expected = maps_of(trunk, readouts, images, composite=theirs)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    others = dataclasses.replace(COMPOSITES[name], first=ZBoxRule().within(vgg.MEANS["imagenet"]))
    fixed = maps_of(trunk, readouts, images, composite=others)[0]
    assert np.abs(fixed - expected).max() > 1e-3 * np.abs(expected).max()
    given = theirs.within(vgg.MEANS["imagenet"])
    assert given is not None and given.first == ZBoxRule(*known)


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
    for steps in (1.5, 0, "4", None):
        settings = {"composite": "integrated_gradients", "steps": steps}
        refused("steps = .* whole number from 1", trunk, readouts, images, **settings)
    for baseline in (np.nan, np.zeros((4, 4, 3)), "black"):
        settings = {"composite": "integrated_gradients", "baseline": baseline}
        refused("baseline of integrated gradients", trunk, readouts, images, **settings)
    for bounds in ((0.0, 1.0), (0.0, 1.0, 2.0, 3.0)):
        box = ZBoxRule(bounds, tuple(b + 1 for b in bounds))
        box = Composite("box", ZPlusRule(), ZPlusRule(), first=box)
        match = f"{len(bounds)} bounds and the input of layer 'c1' 3 channels"
        refused(match, trunk, readouts, images, composite=box)
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
