"""Every rule and composite against a slow reading of its formula, and against iNNvestigate.

The reference here knows no convolution: each layer is written out as a matrix, entry by entry, and
each rule as two loops over inputs and outputs, in float64.
"""

import numpy as np
import pytest
import tensorflow as tf

from lib import network
from lib.errors import InputError
from lib.relevance import (
    COMPOSITES,
    AlphaBetaRule,
    Composite,
    EpsilonRule,
    FlatRule,
    GammaRule,
    WSquareRule,
    ZBoxRule,
    ZPlusRule,
)
from lib.relevance.engine import SharedTrunk
from lib.relevance.reference import Innvestigate

BOX = ZBoxRule((-3.0, -4.0, -5.0), (3.0, 4.0, 5.0))

# ------------------------------------------------------------------------------ the slow reference


def as_matrix(layer, shape):
    """A convolution as (inputs, outputs) weights, and whether the input is in the window at all."""
    height, width, channels = shape
    kh, kw, _, count = layer.kernel.shape
    (sy, sx), (dy, dx) = layer.strides, layer.dilation
    reach_y, reach_x = (kh - 1) * dy + 1, (kw - 1) * dx + 1
    if layer.padding == "SAME":
        oh, ow = -(-height // sy), -(-width // sx)
        top = max((oh - 1) * sy + reach_y - height, 0) // 2
        left = max((ow - 1) * sx + reach_x - width, 0) // 2
    else:
        oh, ow = (height - reach_y) // sy + 1, (width - reach_x) // sx + 1
        top = left = 0
    weights = np.zeros((height, width, channels, oh, ow, count))
    inside = np.zeros(weights.shape, bool)
    for oy in range(oh):
        for ox in range(ow):
            for ky in range(kh):
                for kx in range(kw):
                    y, x = oy * sy - top + ky * dy, ox * sx - left + kx * dx
                    if 0 <= y < height and 0 <= x < width:
                        weights[y, x, :, oy, ox] += layer.kernel[ky, kx]
                        inside[y, x, :, oy, ox] = True
    size = height * width * channels
    out = (oh, ow, count)
    return weights.reshape(size, -1), inside.reshape(size, -1), np.tile(layer.bias, oh * ow), out


def divide(a, b):
    return a / (b if b != 0 else 1e-7)


def propagate(rule, x, w, inside, b, r, channels):
    """Relevance of the inputs from that of the outputs, by the printed formula of each rule."""
    n, m = w.shape
    found = np.zeros(n)
    for k in range(m):
        c = x * w[:, k]
        if isinstance(rule, EpsilonRule):
            z = c.sum() + b[k]
            found += c / (z + (rule.epsilon if z >= 0 else -rule.epsilon)) * r[k]
        elif isinstance(rule, ZPlusRule):
            positive = np.where(c > 0, c, 0)
            found += divide(positive * r[k], positive.sum())
        elif isinstance(rule, AlphaBetaRule):
            positive, negative = np.where(c > 0, c, 0), np.where(c < 0, c, 0)
            found += rule.alpha * divide(positive * r[k], positive.sum() + b[k])
            found -= rule.beta * divide(negative * r[k], negative.sum() + b[k])
        elif isinstance(rule, GammaRule):
            c = x * (w[:, k] + rule.gamma * np.maximum(w[:, k], 0))
            found += divide(c * r[k], c.sum() + b[k] + rule.gamma * max(b[k], 0))
        elif isinstance(rule, WSquareRule):
            found += w[:, k] ** 2 / (w[:, k] ** 2).sum() * r[k]
        elif isinstance(rule, FlatRule):
            found += inside[:, k] / inside[:, k].sum() * r[k]
        elif isinstance(rule, ZBoxRule):
            assert len(rule.low) == channels  # the input's last axis, along which bounds repeat
            low, high = np.resize(rule.low, n), np.resize(rule.high, n)
            c = c - low * np.maximum(w[:, k], 0) - high * np.minimum(w[:, k], 0)
            found += divide(c * r[k], c.sum())
        else:
            raise AssertionError(rule)
    return found


def windows(layer, shape):
    height, width, channels = shape
    for oy in range((height - layer.size[0]) // layer.strides[0] + 1):
        for ox in range((width - layer.size[1]) // layer.strides[1] + 1):
            for c in range(channels):
                y, x = oy * layer.strides[0], ox * layer.strides[1]
                yield (oy, ox, c), (slice(y, y + layer.size[0]), slice(x, x + layer.size[1]), c)


def slow_relevance(trunk, readout, composite, image, target):
    """Relevance at the input, layer by layer."""
    chain = network.read_chain(trunk)
    rules = composite.rules(chain)
    x = image.astype(np.float64)
    records = []
    for layer in chain.layers:
        shape = x.shape
        if isinstance(layer, network.Convolution):
            w, inside, b, out = as_matrix(layer, shape)
            y = (x.ravel() @ w + b).reshape(out)
            records.append((layer, x, (w, inside, b)))
        elif isinstance(layer, network.Dense):
            w = layer.kernel.astype(np.float64)
            y = x @ w + layer.bias
            records.append((layer, x, (w, np.ones(w.shape, bool), layer.bias)))
        elif isinstance(layer, network.Pooling):
            pairs = list(windows(layer, shape))
            y = np.zeros([i + 1 for i in pairs[-1][0]])
            for at, window in pairs:
                y[at] = x[window].max() if layer.kind == "max" else x[window].mean()
            records.append((layer, x, pairs))
        elif isinstance(layer, network.GlobalAverage):
            y = x.mean((0, 1))
            records.append((layer, x, None))
        elif isinstance(layer, network.Padding):
            y = np.pad(x, (*layer.pads, (0, 0)))
            records.append((layer, x, None))
        elif isinstance(layer, network.Rectifier):
            y = np.maximum(x, 0)
            records.append((layer, x, None))
        else:
            y = x.ravel()
            records.append((layer, x, None))
        if getattr(layer, "relu", False):
            y = np.maximum(y, 0)
        x = y
    w = readout.kernel[:, [target]].astype(np.float64)
    score = x.ravel() @ w + readout.bias[target]
    r = propagate(
        composite.dense,
        x.ravel(),
        w,
        np.ones(w.shape, bool),
        readout.bias[[target]],
        score,
        x.size,
    ).reshape(x.shape)
    for layer, x, extra in reversed(records):
        if isinstance(layer, network.Convolution | network.Dense):
            rule = rules[layer.name]
            r = propagate(rule, x.ravel(), *extra, r.ravel(), x.shape[-1]).reshape(x.shape)
        elif isinstance(layer, network.Pooling):
            given = np.zeros(x.shape)
            for at, window in extra:
                if layer.kind == "max":
                    winner = np.unravel_index(x[window].argmax(), x[window].shape)
                    given[window][winner] += r[at]
                else:
                    given[window] += x[window] * divide(r[at], x[window].sum())
            r = given
        elif isinstance(layer, network.GlobalAverage):
            sums = x.sum((0, 1))
            r = x * np.array([divide(a, b) for a, b in zip(r, sums, strict=True)])
        elif isinstance(layer, network.Padding):
            (top, _), (left, _) = layer.pads
            r = r[top : top + x.shape[0], left : left + x.shape[1]]
        elif isinstance(layer, network.Flattening):
            r = r.reshape(x.shape)
    return r, score[0]


# --------------------------------------------------------------------------------------- networks


def fill(model, seed, bias=True):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = [rng.normal(size=w.shape) / np.sqrt(w[..., 0].size) for w in layer.get_weights()]
        if len(weights) == 2:
            weights[1] = rng.normal(size=weights[1].shape) * 0.3 * bias
            layer.set_weights(weights)
    return model


def plain_network(bias=True):
    """Like a small VGG: 3 x 3 convolutions with ReLU, max pooling, flattened."""
    layers = tf.keras.layers
    return fill(
        tf.keras.Sequential(
            [
                tf.keras.Input((8, 8, 3)),
                layers.Conv2D(4, 3, padding="same", activation="relu"),
                layers.Conv2D(5, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(6, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
            ]
        ),
        seed=1,
        bias=bias,
    )


def odd_network(bias=True):
    """What VGG has not: strides, dilation, valid padding, even kernels, overlapping and uneven
    pooling, averages, a linear layer, a ReLU on its own, dense layers in a row."""
    layers = tf.keras.layers
    return fill(
        tf.keras.Sequential(
            [
                tf.keras.Input((15, 13, 3)),
                layers.Conv2D(4, (3, 2), strides=2, padding="same", activation="relu"),
                layers.ZeroPadding2D(((1, 0), (2, 1))),
                layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
                layers.MaxPooling2D(3, strides=2),
                layers.ReLU(),
                layers.Conv2D(5, 2, padding="valid", activation="relu"),
                layers.AveragePooling2D(2, strides=1),
                layers.Flatten(),
                layers.Dense(7, activation="relu"),
                layers.Dropout(0.5),
                layers.Dense(6, activation="relu"),
            ]
        ),
        seed=2,
        bias=bias,
    )


def averaging_network(bias=True):
    """Batch normalisation to fold, uneven max pooling, and a global average."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((7, 7, 3)),
            layers.Conv2D(5, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    rng = np.random.default_rng(3)
    model.layers[0].set_weights([rng.normal(size=(3, 3, 3, 5)) / 5])
    scale = [rng.uniform(0.5, 2, 5), rng.normal(size=5) * 0.3 * bias]
    model.layers[1].set_weights([*scale, rng.normal(size=5) * bias, rng.uniform(0.5, 2, 5)])
    weights = rng.normal(size=(3, 3, 5, 6)) / 6
    model.layers[4].set_weights([weights, rng.normal(size=6) * 0.3 * bias])
    return model


def readouts_for(model, count=2, classes=4, bias=True, seed=5):
    rng = np.random.default_rng(seed)
    width = int(np.prod(model.output_shape[1:]))
    return [
        network.Readout(
            f"r{i}",
            rng.normal(size=(width, classes)) / np.sqrt(width),
            rng.normal(size=classes) * 0.3 * bias,
        )
        for i in range(count)
    ]


def images_for(model, count=2, seed=7):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, *model.input_shape[1:])) * 2).astype(np.float32)


def best(logits):
    """Explain the predicted class."""
    first = np.stack([values.argmax(1) for values in logits], 1)
    return first, np.full(first.shape, -1)


def everywhere(rule, name):
    return Composite(name, convolution=rule, dense=rule)


CASES = [
    *(COMPOSITES[name] for name in ("a", "b_flat", "epsilon", "w_square")),
    Composite("gamma box", GammaRule(0.4), EpsilonRule(0.01), first=BOX),
    Composite("z+ box", ZPlusRule(), ZPlusRule(), first=BOX),
    Composite("alpha 3", AlphaBetaRule(3, 2), AlphaBetaRule(2, 1)),
    everywhere(FlatRule(), "flat"),
    everywhere(WSquareRule(), "w2"),
    Composite("mixed up", WSquareRule(), FlatRule(), first=ZPlusRule()),
]


@pytest.mark.parametrize("precision", ["float32", "winograd"])
@pytest.mark.parametrize(
    ("build", "composite"),
    [
        *((odd_network, composite) for composite in CASES),
        *((plain_network, COMPOSITES[name]) for name in ("b", "b_flat", "epsilon")),
        (plain_network, everywhere(ZPlusRule(), "z+")),
        (averaging_network, COMPOSITES["a_flat"]),
        (averaging_network, everywhere(FlatRule(), "flat")),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "__name__", None)),
)
def test_composite_is_its_formula(build, composite, precision):
    model = build()
    readouts, images = readouts_for(model), images_for(model)
    engine = SharedTrunk(model, readouts, composite, precision)
    found, logits, (target, _) = engine.relevance(images, best)
    for i in range(len(images)):
        for j, readout in enumerate(readouts):
            slow, score = slow_relevance(model, readout, composite, images[i], target[i, j])
            assert logits[j][i, target[i, j]] == pytest.approx(score, rel=1e-4, abs=1e-5)
            assert np.abs(found[i, j] - slow).max() <= 5e-5 * np.abs(slow).max()


RULES = [AlphaBetaRule(), AlphaBetaRule(2, 1), ZPlusRule(), GammaRule(), WSquareRule(), FlatRule()]


@pytest.mark.parametrize("rule", [*RULES, BOX, EpsilonRule(1e-6)], ids=str)
def test_relevance_is_conserved_as_the_rule_says(rule):
    """The sum over the pixels is the score where the rule says that nothing is lost."""
    # Relevance of the readout's own neuron is handed down whole by the flat rule.
    composite = Composite("c", rule if rule is not BOX else ZPlusRule(), FlatRule(), first=rule)
    for bias in (False, True):
        model = plain_network(bias)
        readouts, images = readouts_for(model, bias=bias), images_for(model)
        found, logits, (target, _) = SharedTrunk(model, readouts, composite).relevance(images, best)
        score = np.stack([v[np.arange(2), target[:, j]] for j, v in enumerate(logits)], 1)
        kept = found.sum((2, 3, 4)) / score
        if rule.conserves_with_bias or (rule.conserves_without_bias and not bias):
            np.testing.assert_allclose(kept, 1, atol=2e-4)
        elif bias:
            assert np.abs(kept - 1).max() > 1e-2


def kept_of(rule, weights, image, bias=0.0, relu=True):
    """Sum of the map over the score, through two layers under one rule and a flat readout."""
    layers = tf.keras.layers
    activation = "relu" if relu else None
    model = tf.keras.Sequential(
        [
            tf.keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, padding="same", activation=activation),
            layers.Conv2D(5, 3, padding="same", activation=activation),
        ]
    )
    rng = np.random.default_rng(0)
    for layer in model.layers:
        shape = layer.get_weights()[0].shape
        layer.set_weights([weights(rng.random(shape)), np.full(shape[-1], bias)])
    readout = network.Readout("r", rng.random((180, 1)), np.zeros(1))
    composite = Composite("c", rule, FlatRule(), first=rule)
    found, (logits,), _ = SharedTrunk(model, [readout], composite).relevance(image, best)
    return float(found.sum() / logits[0, 0])


POSITIVE = np.random.default_rng(1).random((1, 6, 6, 3)).astype(np.float32)
BLACK = np.zeros((1, 6, 6, 3), np.float32)


def test_units_without_contributions_of_one_sign_do_not_conserve():
    """Two layers of units that all are the exception a rule's text names, by hand."""
    rules = (AlphaBetaRule(2, 1), AlphaBetaRule(3, 2))
    for rule in rules:
        assert "alpha times it in a unit without negative" in rule.conserves
        # alpha twice; with negative weights: -beta, then alpha (negative inputs, negative weights)
        both = kept_of(rule, lambda w: w, POSITIVE)
        assert both == pytest.approx(rule.alpha**2, rel=1e-4)
        turned = kept_of(rule, lambda w: -w, POSITIVE, relu=False)
        assert turned == pytest.approx(-rule.beta * rule.alpha, rel=1e-4)
    assert kept_of(AlphaBetaRule(2, 1), lambda w: w, POSITIVE) == pytest.approx(4, rel=1e-4)
    for rule in (AlphaBetaRule(), ZPlusRule(), GammaRule()):
        assert kept_of(rule, lambda w: w, POSITIVE) == pytest.approx(1, rel=1e-4)
    assert "nothing in a unit without positive" in ZPlusRule.conserves
    assert kept_of(ZPlusRule(), lambda w: -w, POSITIVE, relu=False) == 0


def test_a_black_image_has_no_contributions():
    """All that the biases made is lost under rules that share by contributions."""
    for rule in (ZPlusRule(), AlphaBetaRule(), AlphaBetaRule(2, 1), GammaRule(), EpsilonRule()):
        assert kept_of(rule, lambda w: w, BLACK, bias=0.5) == 0
    for rule in (FlatRule(), WSquareRule()):
        assert kept_of(rule, lambda w: w, BLACK, bias=0.5) == pytest.approx(1, rel=1e-4)
    # The box knows how dark black is: it conserves, unless every input is at its least.
    box = Composite("box", FlatRule(), FlatRule(), first=ZBoxRule((-1.0,), (1.0,)))
    assert "nothing in a unit whose inputs all have" in ZBoxRule.conserves
    model = plain_network()
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([np.abs(kernel), bias])
    for value, kept in ((0.0, 1.0), (-1.0, 0.0)):
        image = np.full((1, 8, 8, 3), value, np.float32)
        engine = SharedTrunk(model, readouts_for(model, 1), box)
        found, (logits,), (target, _) = engine.relevance(image, best)
        assert found.sum() == pytest.approx(kept * logits[0, target[0, 0]], rel=1e-3, abs=1e-6)
    assert "nothing in a unit whose weights are all 0" in WSquareRule.conserves
    assert kept_of(WSquareRule(), lambda w: 0 * w, POSITIVE, bias=0.5) == 0


def test_epsilon_alone_takes_relevance_away():
    """Without biases a large epsilon leaves z / (z + epsilon) of the score, one layer deep."""
    model = tf.keras.Sequential([tf.keras.Input((2, 2, 3)), tf.keras.layers.Flatten()])
    readout = network.Readout("r", np.ones((12, 1)), np.zeros(1))
    image = np.full((1, 2, 2, 3), 0.25, np.float32)  # z = 3
    composite = everywhere(EpsilonRule(1.0), "e")
    found = SharedTrunk(model, [readout], composite).relevance(image, best)[0]
    assert found.sum() == pytest.approx(3 * 3 / 4)


def test_sign_of_zero_is_positive():
    """Inputs 1 and -1 cancel to z = 0; the flat readout above hands it relevance 3 all the same."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [tf.keras.Input((1, 1, 2)), layers.Flatten(), layers.Dense(1, kernel_initializer="ones")]
    )
    readout = network.Readout("r", np.ones((1, 1)), np.array([3.0]))
    composite = Composite("e", EpsilonRule(0.5), FlatRule(), first=EpsilonRule(0.5))
    image = np.array([[[[1.0, -1.0]]]], np.float32)
    found = SharedTrunk(model, [readout], composite).relevance(image, best)[0]
    np.testing.assert_allclose(found.ravel(), [3 / 0.5, -3 / 0.5])


def test_zero_denominators_give_zero_relevance():
    """A black image without biases has zeros in every denominator and no NaN in its map."""
    model = plain_network(bias=False)
    readouts = readouts_for(model, bias=False)
    for name in ("b", "epsilon", "gamma"):
        composite = COMPOSITES[name].within((-128.0, 127.0, 127.0))
        for precision in ("float32", "winograd"):
            engine = SharedTrunk(model, readouts, composite, precision)
            found = engine.relevance(np.zeros((1, 8, 8, 3), np.float32), best)[0]
            assert np.array_equal(found, np.zeros_like(found))


@pytest.mark.parametrize("precision", ["float32", "winograd"])
def test_gradients_are_tensorflows(precision):
    for build in (plain_network, odd_network, averaging_network):
        model = build()
        readouts, images = readouts_for(model), images_for(model)
        engine = SharedTrunk(model, readouts, COMPOSITES["gradient"], precision)
        found, _, (target, _) = engine.relevance(images, best)
        for j, readout in enumerate(readouts):
            with tf.GradientTape() as tape:
                x = tf.Variable(images)
                features = tf.reshape(model(x, training=False), (len(images), -1))
                logits = features @ readout.kernel
                total = tf.reduce_sum(tf.gather(logits, target[:, j], axis=1, batch_dims=1))
            expected = tape.gradient(total, x).numpy()
            atol = 1e-6 if precision == "float32" else 1e-5
            np.testing.assert_allclose(found[:, j], expected, atol=atol)


def test_gradient_times_input_is_that_product():
    model = plain_network()
    readouts, images = readouts_for(model), images_for(model)
    found, gradient = (
        SharedTrunk(model, readouts, COMPOSITES[name]).relevance(images, best)[0]
        for name in ("gradient_x_input", "gradient")
    )
    np.testing.assert_allclose(found, gradient * images[:, None], rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a", "a_flat", "b", "b_flat", "epsilon", "z_plus", "gradient"])
def test_small_network_equals_innvestigate(name):
    model = plain_network()
    readouts, images = readouts_for(model), images_for(model)
    ours = SharedTrunk(model, readouts, COMPOSITES[name]).relevance(images, best)[0]
    engine = Innvestigate(model, readouts, COMPOSITES[name])
    theirs, _, targets = engine.relevance(images, best)
    # With the targets known, the same without a pass through the trunk.
    engine._trunk = None
    np.testing.assert_array_equal(engine.explain(images, *targets), theirs)
    # Its session goes with it, and all the weights that the session holds.
    session = engine._session
    del engine
    assert session._closed
    # Eager mode lives on, and so do models made before.
    assert tf.executing_eagerly()
    assert model(images).shape == (2, 2, 2, 6)
    assert np.abs(ours - theirs).max() <= 2e-6 * np.abs(theirs).max()


@pytest.mark.filterwarnings("ignore")
def test_difference_of_logits_equals_innvestigate():
    model = plain_network()
    readouts, images = readouts_for(model), images_for(model)

    def first_two(logits):
        order = np.stack([np.argsort(-values, 1)[:, :2] for values in logits], 1)
        return order[..., 0], order[..., 1]

    ours = SharedTrunk(model, readouts, COMPOSITES["epsilon"]).relevance(images, first_two)[0]
    engine = Innvestigate(model, readouts, COMPOSITES["epsilon"])
    theirs = engine.relevance(images, first_two)[0]
    assert np.abs(ours - theirs).max() <= 2e-6 * np.abs(theirs).max()


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        *((lambda v=v: EpsilonRule(v), "epsilon = ") for v in (0, NAN, INF, "1")),
        *((lambda v=v: AlphaBetaRule(*v), "alpha - beta must be 1") for v in ((2, 2), (0, -1))),
        *((lambda v=v: AlphaBetaRule(v, v), "alpha = ") for v in (NAN, INF, None)),
        *((lambda v=v: GammaRule(v), "gamma = ") for v in (-1, NAN, INF)),
        (lambda: ZPlusRule(2, 1), "no parameters"),
        *(
            (lambda v=v: ZBoxRule(*v), "give two tuples of one length")
            for v in (
                ((1.0,), (0.0,)),
                ((), ()),
                (0.0, 1.0),
                ((0.0,), 1.0),
                ((0.0, 0.0), (1.0,)),
                ((NAN,), (1.0,)),
                ((-INF,), (INF,)),
                (None, (1.0,)),
            )
        ),
        (lambda: everywhere(BOX, "x"), "beyond the first layer"),
        (lambda: Composite("x", ZPlusRule(), BOX), "beyond the first layer"),
        (lambda: ZBoxRule().branches(), "has no bounds"),
        (
            lambda: Composite("x", COMPOSITES["gradient"].convolution, EpsilonRule()),
            "mixes the gradient",
        ),
    ],
)
def test_settings_of_rules_are_checked(make, match):
    with pytest.raises(InputError, match=match) as refusal:
        make()
    assert str(refusal.value).count(". ") == 0 and str(refusal.value).endswith(".")


def test_table_lists_each_layer_once():
    table = COMPOSITES["b_flat"].table(plain_network())
    assert list(table["rule"]) == [
        "flat",
        "alpha 2 beta 1",
        "to the winner",
        "alpha 2 beta 1",
        "to the winner",
        "epsilon 0.1",
    ]
    assert table.loc[table["layer"] == "readout", "citation"].str.contains("Bach").all()
