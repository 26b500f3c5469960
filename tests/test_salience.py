"""Salience measures: known answers, second packages, planted networks."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import xarray as xr
from scipy import ndimage
from skimage.metrics import structural_similarity
from skimage.util import random_noise

from lib import figures
from lib.errors import InputError
from lib.network import Readout
from lib.relevance import compute_relevance
from lib.resize import resize_maps
from lib.salience import (
    AMOUNTS,
    TRANSFORMS,
    Explainer,
    Explanation,
    compute_entropy,
    compute_salience,
    compute_spatial_entropy,
    compute_ssim,
    compute_stability,
    perturb,
    report,
    salience_report,
    scale_maps,
    study,
    summarise_salience,
)
from lib.salience.similarity import Moments
from lib.vgg import Trunk

SIZE = 32


@pytest.fixture
def rng():
    return np.random.default_rng(5)


# ------------------------------------------------------------------------------------- similarity


@pytest.mark.parametrize("shape", [(11, 11), (24, 31)])
def test_ssim_is_that_of_scikit_image(rng, shape):
    a, b = rng.random((2, *shape))
    b = 0.6 * a + 0.4 * b
    expected = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert compute_ssim(a, b) == pytest.approx(expected, abs=1e-12)


def test_ssim_of_maps_smaller_than_the_window_is_one_window(rng):
    a, b = rng.random((2, 7, 7))
    covariance = np.cov(a.ravel(), b.ravel(), ddof=0)
    (va, cab), (_, vb) = covariance
    ma, mb = a.mean(), b.mean()
    expected = (2 * ma * mb + 1e-4) * (2 * cab + 9e-4)
    expected /= (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
    assert compute_ssim(a, b) == pytest.approx(expected, abs=1e-12)
    # the released code takes scikit-image as it comes: a window of 7, which a map of 7 x 7 fills
    released = structural_similarity(a, b, data_range=1)
    assert compute_ssim(a, b) == pytest.approx(released, abs=0.002)
    kept = structural_similarity(a, b, data_range=1, use_sample_covariance=False)
    assert compute_ssim(a, b) == pytest.approx(kept, abs=1e-12)


def test_ssim_broadcasts_and_refuses(rng):
    a = rng.random((3, 1, 12, 12))
    b = rng.random((2, 12, 12))
    found = compute_ssim(a, b)
    assert found.shape == (3, 2)
    assert found[2, 1] == pytest.approx(float(compute_ssim(a[2, 0], b[1])))
    np.testing.assert_allclose(compute_ssim(b, b), 1)
    with pytest.raises(InputError, match="bring them to one size"):
        compute_ssim(a, b[:, :-1])
    with pytest.raises(InputError, match="without NaN"):
        compute_ssim(np.full((4, 4), np.nan), np.ones((4, 4)))


def test_moments_of_a_part_are_those_of_the_whole(rng):
    maps = rng.random((4, 13, 13))
    whole = Moments(maps)
    _ = whole.mean, whole.variance
    np.testing.assert_array_equal(whole[2].mean, Moments(maps[2]).mean)
    np.testing.assert_array_equal(whole[2].variance, Moments(maps[2]).variance)


# --------------------------------------------------------------------------------------- entropy


def test_entropy_of_the_published_sample():
    """21 distinct values on 49 cells, H = 3.0413 bits, 3.0413 / log2(49) = 0.542."""
    counts = [25, 4, 2, *[1] * 18]
    values = np.repeat(np.linspace(0, 255, 21).round(), counts)
    assert len(counts) == 21 and len(values) == 49
    found = float(compute_entropy(values.reshape(7, 7)))
    assert found * np.log2(49) == pytest.approx(3.0413, abs=5e-5)
    assert round(found, 3) == 0.542


def test_no_other_histogram_has_the_printed_entropy():
    """49 cells in 21 values: of all ways to share them out one has 3.0413 bits."""
    bits = [-(c / 49) * np.log2(c / 49) if c else 0 for c in range(50)]
    found = []

    def share_out(left, values, most, total, counts):
        if values == 0:
            if left == 0 and abs(total - 3.0413) <= 5e-5:
                found.append(counts)
            return
        for c in range(-(-left // values), min(most, left - values + 1) + 1):
            share_out(left - c, values - 1, c, total + bits[c], (*counts, c))

    share_out(49, 21, 49, 0.0, ())
    assert found == [study.SAMPLE]


def test_entropy_knows_values_and_the_spatial_one_places(rng):
    delta, flat = np.zeros((7, 7)), np.ones((7, 7))
    delta[3, 2] = 5
    share = np.array([1, 48]) / 49
    assert compute_entropy(delta) == pytest.approx(-(share * np.log2(share)).sum() / np.log2(49))
    assert compute_entropy(flat) == 0
    assert compute_spatial_entropy(delta) == 0
    assert compute_spatial_entropy(flat) == pytest.approx(1)
    assert np.isnan(compute_spatial_entropy(np.zeros((7, 7))))
    maps = rng.random((7, 7))
    moved = rng.permutation(maps.ravel()).reshape(7, 7)
    assert compute_entropy(maps) == pytest.approx(compute_entropy(moved))
    for side in (7, 8, 16):
        different = np.arange(float(side**2)).reshape(side, side)
        assert compute_entropy(different) == pytest.approx(1)
    # values are cut to whole numbers: 1.4 and 1.6 of 255 are one
    cut = compute_entropy(np.array([[0, 1.4], [1.6, 255]]))
    assert cut == pytest.approx(1.5 / 2)


def test_entropy_takes_the_magnitude_and_any_leading_axes(rng):
    maps = rng.normal(size=(2, 3, 8, 8))
    found = compute_entropy(maps)
    assert found.shape == (2, 3)
    assert found[1, 2] == pytest.approx(float(compute_entropy(np.abs(maps[1, 2]))))


@pytest.mark.parametrize("maps", [np.full((3, 3), np.nan), np.ones(4), np.ones((0, 3, 3))])
def test_maps_that_cannot_be_scaled_are_refused(maps):
    with pytest.raises(InputError, match="cannot be scaled"):
        scale_maps(maps)


@pytest.mark.parametrize("measure", [compute_entropy, compute_spatial_entropy])
def test_a_map_of_one_cell_has_no_entropy(measure):
    with pytest.raises(InputError, match="one cell"):
        measure(np.ones((1, 1)))


def test_a_map_that_rounding_alone_varies_is_constant(rng):
    """In float32 its last digits would be scaled up to a full contrast."""
    maps = np.full((2, 7, 7), 0.1, np.float32)
    maps[0, 2, 3] = np.nextafter(maps[0, 2, 3], np.float32(1))
    maps[1, 2, 3] = 0.1001
    scaled = scale_maps(maps)
    assert (scaled[0] == 0).all() and scaled[1].max() == 1
    assert compute_entropy(maps)[0] == 0 < compute_entropy(maps)[1]
    # what is small all over is none the less a map
    faint = rng.random((7, 7)) * 1e-12
    np.testing.assert_allclose(scale_maps(faint), scale_maps(faint * 1e12))


# ------------------------------------------------------------------------------------- stability


def test_stability_is_the_mean_over_pairs(rng):
    maps = rng.random((4, 3, 12, 12))
    expected = np.mean(
        [
            [
                structural_similarity(
                    maps[a, k],
                    maps[b, k],
                    data_range=1,
                    gaussian_weights=True,
                    use_sample_covariance=False,
                )
                for k in range(3)
            ]
            for a, b in itertools.combinations(range(4), 2)
        ],
        axis=0,
    )
    np.testing.assert_allclose(compute_stability(maps), expected, atol=1e-12)


def test_identical_runs_are_stable_and_independent_ones_at_chance(rng):
    one = rng.random((1, 16, 16))
    assert compute_stability(np.repeat(one, 10, axis=0)) == pytest.approx(1)
    independent = compute_stability(rng.random((10, 50, 16, 16))).mean()
    # independent maps of the same mean share brightness alone; their covariance is 0 on average
    first, second = rng.random((2, 450, 16, 16))
    assert independent == pytest.approx(compute_ssim(first, second).mean(), abs=0.005)
    assert independent < 0.15


def test_stability_of_one_run_is_refused(rng):
    with pytest.raises(InputError, match="two or more"):
        compute_stability(rng.random((1, 8, 8)))


# --------------------------------------------------------------------------------- perturbations


def test_noise_replaces_the_share_asked_for():
    image = np.full((100, 100), 128.0)
    for amount in AMOUNTS:
        noisy = perturb.add_noise(image, amount, np.random.default_rng(1))
        changed = noisy != 128
        reference = random_noise(image / 255, mode="s&p", amount=amount, rng=1) != 128 / 255
        assert changed.mean() == pytest.approx(amount, abs=0.015)
        assert changed.mean() == pytest.approx(reference.mean(), abs=0.02)
        if amount:
            assert set(np.unique(noisy[changed])) <= {0.0, 255.0}
            assert (noisy[changed] == 255).mean() == pytest.approx(0.5, abs=0.1)
    less = perturb.add_noise(image, 0.1, np.random.default_rng(1)) != 128
    more = perturb.add_noise(image, 0.5, np.random.default_rng(1)) != 128
    assert (more | ~less).all()


def test_noise_keeps_grey_pixels_grey(rng):
    image = np.repeat(rng.integers(1, 255, (20, 20, 1)), 3, axis=2)
    noisy = perturb.add_noise(image, 0.5, rng)
    assert (noisy == noisy[..., :1]).all() and (noisy != image).any()


@pytest.mark.parametrize("amount", [-0.1, 1.5, np.nan])
def test_a_noise_amount_is_a_share(amount, rng):
    with pytest.raises(InputError, match="0 to 1"):
        perturb.add_noise(np.ones((4, 4)), amount, rng)


def test_there_are_twelve_transforms_and_their_inverses_undo_them(rng):
    assert len({t.name for t in TRANSFORMS}) == len(TRANSFORMS) == 12
    size = 56
    step = round(16 * size / 224)
    image = rng.random((size, size))
    inner = slice(step, size - step)
    for transform in TRANSFORMS:
        turned = transform.image(image)
        assert (turned != image).any()
        back = transform.back(turned, size)
        np.testing.assert_allclose(back[inner, inner], image[inner, inner])


def test_shifts_replicate_the_edge(rng):
    image = rng.random((6, 6))
    down_right = perturb.shift_image(image, 2, 1)
    for y, x in itertools.product(range(6), repeat=2):
        assert down_right[y, x] == image[max(y - 2, 0), max(x - 1, 0)]


def test_the_way_back_on_a_coarse_map_moves_a_part_of_a_cell():
    """16 of 224 pixels are half a cell of a 7 x 7 map."""
    maps = np.zeros((7, 7))
    maps[3, 3] = 1
    down = next(t for t in TRANSFORMS if t.name == "shift down")
    back = down.back(maps, 224)
    expected = np.zeros((7, 7))
    expected[2, 3] = expected[3, 3] = 0.5
    np.testing.assert_allclose(back, expected, atol=1e-12)


def test_resized_maps_are_those_of_tensorflow(rng):
    maps = rng.random((3, 7, 7))
    for size in (7, 32, 45):
        expected = tf.image.resize(maps[..., None], (size, size), method="bilinear")[..., 0]
        np.testing.assert_allclose(resize_maps(maps, size), expected, atol=1e-6)


def test_guided_blur_is_the_formula_pixel_by_pixel(rng):
    size = 28
    image = rng.integers(0, 256, (size, size)).astype(np.float32)
    salience = rng.random((size, size))
    levels = perturb.guide_levels(salience, size)
    smooth = ndimage.gaussian_filter(salience, 5 * size / 224, mode="nearest")
    s = np.round(10 * (smooth - smooth.min()) / np.ptp(smooth), 1)
    np.testing.assert_allclose(levels / 10, s)
    for guide in (levels, 100 - levels):
        found = perturb.blur_guided(image, guide[None])[0]
        for y, x in itertools.product(range(0, size, 5), repeat=2):
            sigma = (10 - guide[y, x] / 10) ** 4 / 1000 * size / 224
            blurred = ndimage.gaussian_filter(image, sigma, mode="nearest") if sigma else image
            assert found[y, x] == pytest.approx(blurred[y, x], rel=1e-5)
    untouched = perturb.blur_guided(image, np.full((1, size, size), 100))[0]
    np.testing.assert_array_equal(untouched, image)
    assert (perturb.guide_levels(np.ones((4, 4)), 4) == 0).all()
    with pytest.raises(InputError, match="square"):
        perturb.blur_guided(image[:-1], levels[None])


# -------------------------------------------------------------------------- a whole report, planted


class Planted:
    """Networks whose maps are known: what `Explainer` offers, without a network."""

    def __init__(self, rules, predict=lambda image: 0):
        self.rules, self.predict = list(rules.values()), predict
        self.names = list(rules)
        self.readouts = [Readout(n, np.zeros((1, 2)), np.zeros(2)) for n in self.names]
        self.method = self.settings = "planted"
        self.calls = 0
        self.trunk = Trunk("planted", tf.keras.Sequential([tf.keras.Input((1,))]))

    def explain(self, images, batch=None):
        self.calls += len(images)
        maps = np.array([[rule(image) for rule in self.rules] for image in images])
        who = np.array([[self.predict(image)] * len(self.rules) for image in images])
        return Explanation(maps, who)

    def explain_one(self, images, model, batch=10):
        maps = np.array([[self.rules[m](i)] for i, m in zip(images, model, strict=True)])
        return Explanation(maps, np.array([[self.predict(image)] for image in images]))


def _faces(rng, count=3, size=64):
    """Blobs away from the border, so that a shift loses nothing."""
    images = np.zeros((count, size, size))
    for image in images:
        y, x = rng.integers(24, 40, 2)
        image[y, x], image[y - 6, x + 3] = 255, 128
    images = ndimage.gaussian_filter(images, (0, 2, 2))
    return images / images.max() * 255


def _values(data, measure, condition):
    at = (data["measure"] == measure) & (data["condition"] == condition)
    return data["value"].isel(column=np.flatnonzero(at)[0]).to_numpy()


def test_an_equivariant_network_has_geometric_salience_and_a_fixed_one_has_not(rng):
    images = _faces(rng)
    fixed = np.zeros((64, 64))
    fixed[8:20, 30:50] = rng.random((12, 20))
    networks = Planted({"follows": lambda i: i, "fixed": lambda i: fixed})
    data = compute_salience(networks, images, [np.zeros(3, int)] * 2, progress=False)
    for transform in TRANSFORMS:
        follows, stays = _values(data, "S_geo", transform.name)
        np.testing.assert_allclose(follows, 1, atol=1e-9)
        assert (stays < 0.95).all()
    for amount in AMOUNTS:
        follows, stays = _values(data, "S_noise", f"{amount:g}")
        np.testing.assert_allclose(stays, 1)
        assert (follows < 0.9).all() if amount >= 0.05 else True
    np.testing.assert_allclose(_values(data, "S_noise", "0"), 1)
    noise = [_values(data, "S_noise", f"{a:g}")[0].mean() for a in AMOUNTS]
    assert noise == sorted(noise, reverse=True)


def test_an_anti_equivariant_network_is_found():
    """A network that looks at the other side: its maps go right when the image goes left."""
    size = 64
    rng = np.random.default_rng(2)
    images = _faces(rng, 2, size)
    networks = Planted({"against": lambda i: i[:, ::-1]})
    data = compute_salience(networks, images, [np.zeros(2, int)], progress=False)
    np.testing.assert_allclose(_values(data, "S_geo", "flip left-right"), 1, atol=1e-9)
    # moved by twice the shift, the wrong way
    expected = np.roll(images[0][:, ::-1], -2 * round(16 * size / 224), axis=1)
    expected = compute_ssim(scale_maps(images[0][:, ::-1]), scale_maps(expected))
    found = _values(data, "S_geo", "shift right")[0, 0]
    assert found == pytest.approx(float(expected), abs=0.02)
    assert found < 0.97


def test_guided_blur_keeps_what_the_network_looks_at(rng):
    """It answers by a fine pattern and looks at it; blurring the rest changes no answer."""
    images = rng.integers(100, 120, (2, 56, 56)).astype(float)
    patch = (slice(20, 36), slice(20, 36))
    for image in images:
        image[patch] = 255 * (np.indices((16, 16)).sum(0) % 2)
    inner = (slice(26, 30), slice(26, 30))
    mask = np.zeros((56, 56))
    mask[patch] = 1
    networks = Planted({"n": lambda i: mask}, lambda image: int(np.ptp(image[inner]) > 100))
    data = compute_salience(networks, images, [np.ones(2, int)], progress=False)
    assert _values(data, "accuracy", "none").all()
    assert _values(data, "accuracy", "background").all()
    assert not _values(data, "accuracy", "object").any()


def test_runs_stability_and_one_evaluation_per_run(rng):
    images = _faces(rng)
    noise = iter(rng.random((300, 64, 64)))
    networks = Planted(
        {
            "a-0": lambda i: i,
            "a-1": lambda i: i,
            "b-0": lambda i: next(noise),
            "b-1": lambda i: next(noise),
            "c-0": lambda i: i,
        }
    )
    groups = {name: name[0] for name in networks.names}
    data = compute_salience(networks, images, [np.zeros(3, int)] * 5, groups=groups, progress=False)
    assert data["group"].to_numpy().tolist() == ["a", "b"]
    np.testing.assert_allclose(data["stability"].sel(group="a"), 1)
    assert (data["stability"].sel(group="b") < 0.2).all()
    # once clean, seven amounts of noise, twelve transforms: pairs of runs cost no maps
    assert networks.calls == len(images) * (1 + 7 + 12)


def test_unrelated_images_are_compared(rng):
    images = _faces(rng)
    other = rng.random((2, 64, 64)) * 255
    networks = Planted({"n": lambda i: i})
    data = compute_salience(
        networks, images, [np.zeros(3, int)], unrelated={"noise": other}, progress=False
    )
    found = _values(data, "S_unrelated", "noise")[0]
    for value, options in zip(
        found,
        [[float(compute_ssim(scale_maps(i), scale_maps(o))) for o in other] for i in images],
        strict=True,
    ):
        assert value in [pytest.approx(option) for option in options]


def test_only_the_unrelated_images_that_are_drawn_have_maps_and_each_once(rng):
    images = _faces(rng, 4)
    others = {"noise": rng.random((40, 64, 64)) * 255, "few": rng.random((2, 64, 64)) * 255}
    networks = Planted({"n": lambda i: i})
    options = {"amounts": (0.1,), "transforms": ["flip up-down"], "progress": False, "seed": 5}
    data = compute_salience(networks, images, unrelated=others, **options)
    drawn = {name: [] for name in others}
    for k, image in enumerate(images):
        draws = np.random.default_rng([5, k])
        perturb.add_noise(image, 0.1, draws)
        for name, some in others.items():
            drawn[name].append(draws.integers(len(some)))
    for name, which in drawn.items():
        expected = [
            float(compute_ssim(scale_maps(i), scale_maps(o)))
            for i, o in zip(images, others[name][which], strict=True)
        ]
        np.testing.assert_allclose(_values(data, "S_unrelated", name)[0], expected, rtol=1e-12)
    assert networks.calls == 4 * (1 + 2) + sum(len(set(which)) for which in drawn.values())


# --------------------------------------------------------------------------------- real networks


@pytest.fixture(scope="module")
def network():
    """A trunk of two convolutions with random weights, and three readouts."""
    tf.keras.utils.set_random_seed(3)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((SIZE, SIZE, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(4),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(2),
        ]
    )
    rng = np.random.default_rng(4)
    shape = (int(np.prod(model.output_shape[1:])),)
    readouts = [
        Readout(name, rng.normal(size=(*shape, classes)), rng.normal(size=classes))
        for name, classes in (("gender-0", 2), ("gender-1", 2), ("identity-0", 5))
    ]
    return Trunk("toy", model), readouts


@pytest.mark.parametrize("method", ["grad_cam", "a_flat"])
def test_one_networks_map_is_the_one_among_all(network, method, rng):
    trunk, readouts = network
    images = rng.integers(0, 256, (4, SIZE, SIZE)).astype(np.uint8)
    explainer = Explainer(trunk, readouts, method, precision="float32")
    every = explainer.explain(images)
    which = np.array([2, 0, 1, 2])
    one = explainer.explain_one(images, which)
    np.testing.assert_array_equal(one.predicted[:, 0], every.predicted[range(4), which])
    np.testing.assert_allclose(
        one.maps[:, 0], every.maps[range(4), which], rtol=2e-4, atol=1e-5 * np.abs(every.maps).max()
    )
    side = 8 if method == "grad_cam" else SIZE
    assert every.maps.shape == (4, 3, side, side)
    if method != "grad_cam":
        batches = compute_relevance(
            trunk, readouts, images, "predicted", method, precision="float32", progress=False
        )
        expected = np.concatenate([batch.relevance for batch in batches])
        np.testing.assert_allclose(every.maps, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def measured(network, tmp_path_factory):
    trunk, readouts = network
    images = np.random.default_rng(8).integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)
    labels = [np.array([0, 1, 0])] * 2 + [np.array([0, 1, 2])]
    options = dict(groups={"gender-0": "gender", "gender-1": "gender"}, progress=False, seed=3)
    explainer = Explainer(trunk, readouts, "grad_cam", precision="float32")
    return (
        explainer,
        images,
        labels,
        options,
        compute_salience(explainer, images, labels, **options),
    )


def test_results_do_not_depend_on_the_other_images(measured):
    explainer, images, labels, options, data = measured
    alone = compute_salience(explainer, images[:1], [row[:1] for row in labels], **options)
    xr.testing.assert_allclose(alone, data.isel(image=[0]), rtol=1e-4)


def test_kept_results_depend_on_the_code_they_come_from(measured, monkeypatch):
    """On the engines of relevance and the resizing too, which these modules import."""
    explainer, images, labels, *_ = measured
    read = []
    monkeypatch.setattr(
        report.Path,
        "read_bytes",
        lambda path, original=report.Path.read_bytes: (read.append(path.name), original(path))[1],
    )
    report._digest(explainer, images, labels, {}, {}, [])
    needed = {"explain.py", "perturb.py", "report.py", "resize.py", "engine.py", "gradients.py"}
    assert needed <= set(read)


def test_kept_results_depend_on_the_network_beside_its_weights(rng, tmp_path):
    """Means, strides and activations change the maps and leave the weights as they are."""
    kinds = tf.keras.layers

    def build(means=(0.0, 0.0, 0.0), **settings):
        layers = [
            kinds.Conv2D(4, 3, padding="same", **{"activation": "relu", **settings}),
            kinds.MaxPooling2D(2 if "strides" in settings else 4),
        ]
        model = tf.keras.Sequential([tf.keras.Input((SIZE, SIZE, 3)), *layers])
        model.set_weights(weights)
        return Explainer(Trunk("toy", model, means), readouts, "gradient_x_input")

    weights = [rng.normal(size=(3, 3, 3, 4)), rng.normal(size=4)]
    readouts = [Readout("a", rng.normal(size=((SIZE // 4) ** 2 * 4, 2)), np.zeros(2))]
    images = rng.integers(0, 256, (1, SIZE, SIZE)).astype(np.uint8)
    options = {"amounts": (0.2,), "transforms": ["flip up-down"], "progress": False}
    found = []
    for change in ({}, {"means": (90.0, 100.0, 110.0)}, {"strides": 2}, {"activation": "linear"}):
        one = build(**change)
        kept = compute_salience(one, images, folder=tmp_path, **options)
        xr.testing.assert_identical(kept, compute_salience(one, images, **options))
        found.append(kept["value"].to_numpy())
    assert all(not np.array_equal(found[0], other) for other in found[1:])
    # the same network, built once more: other names of its layers, the same results
    assert build().settings == build().settings
    compute_salience(build(), images, folder=tmp_path, **options)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_stopped_run_goes_on_and_trusts_nothing_damaged(measured, tmp_path, monkeypatch):
    explainer, images, labels, options, data = measured
    written = []

    def stop_after_two(*args, original=report._measure_image, **kwargs):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(report, "_measure_image", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        compute_salience(explainer, images, labels, folder=tmp_path, **options)
    monkeypatch.undo()
    kept = sorted(tmp_path.rglob("*.npy"))
    assert len(kept) == 2
    kept[1].write_bytes(kept[1].read_bytes()[:-20])

    calls = []
    original = report._measure_image
    monkeypatch.setattr(
        report, "_measure_image", lambda *a, **k: (calls.append(1), original(*a, **k))[1]
    )
    again = compute_salience(explainer, images, labels, folder=tmp_path, **options)
    assert len(calls) == 2
    xr.testing.assert_identical(again, data)
    other = compute_salience(explainer, images, labels, folder=tmp_path, **options | {"seed": 4})
    assert len(calls) == 5
    assert not other.identical(data)


def test_summary_means_and_intervals(measured):
    *_, data = measured
    table = summarise_salience(data, draws=500).set_index(["model", "measure", "condition"])
    geo = np.mean([_values(data, "S_geo", t.name) for t in TRANSFORMS], axis=0)
    row = table.loc[("identity-0", "S_geo", "all")]
    assert row["value"] == pytest.approx(geo[2].mean())
    ends = geo[2].min() - 1e-12, geo[2].max() + 1e-12
    assert ends[0] <= row["low"] <= row["value"] <= row["high"] <= ends[1]
    noise = np.mean([_values(data, "S_noise", f"{a:g}") for a in AMOUNTS[1:]], axis=0)
    assert table.loc[("gender-0", "S_noise", "all"), "value"] == pytest.approx(noise[0].mean())
    # A Grad-CAM that is zero everywhere has no place of salience: its likeness is not known.
    empty = dict(zip(data["model"].to_numpy(), _values(data, "constant", ""), strict=True))
    both = (empty["gender-0"] == 0) & (empty["gender-1"] == 0)
    assert table.loc[("gender", "S_stability", ""), "images"] == both.sum() > 0
    for name, rows in empty.items():
        assert table.loc[(name, "S_geo", "all"), "images"] == (rows == 0).sum()
        assert table.loc[(name, "S_entropy", ""), "images"] == 3


def test_bootstrap_interval_covers_the_mean_and_is_no_wider_than_it_must_be():
    rng = np.random.default_rng(0)
    hits, widths = [], []
    for draw in range(60):
        values = rng.normal(0.5, 0.1, (1, 1, 40))
        data = xr.Dataset(
            {
                "value": (("model", "column", "image"), values),
                "stability": (("group", "image"), np.zeros((0, 40))),
            },
            coords={
                "model": ["m"],
                "measure": ("column", ["S_entropy"]),
                "condition": ("column", [""]),
                "group": [],
            },
        )
        row = summarise_salience(data, draws=400, seed=draw).iloc[0]
        hits.append(row["low"] <= 0.5 <= row["high"])
        widths.append((row["high"] - row["low"]) / values.std())
    assert 0.85 <= np.mean(hits) <= 1
    # of a mean of 40: the normal interval, which the bootstrap comes to
    assert np.mean(widths) == pytest.approx(2 * 1.96 / np.sqrt(40), rel=0.06)


def test_an_interval_needs_two_images_and_no_draw_without_a_value():
    weights = np.array([[2, 0, 1], [0, 3, 0], [1, 1, 1], [0, 1, 2]])
    nan = np.nan
    assert np.isnan(report.bootstrap_mean(np.array([nan, 4.0, nan]), weights, 0.95)).all()
    # the second draw holds the missing one alone: it is no mean of 0
    low, high = report.bootstrap_mean(np.array([1.0, nan, 4.0]), weights, 0.95)
    means = [(2 * 1 + 4) / 3, (1 + 4) / 2, 4]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert low > 0


def test_one_image_has_a_mean_and_no_interval(measured):
    *_, data = measured
    table = summarise_salience(data.isel(image=[0]), draws=50)
    known = table[table["images"] == 1]
    assert len(known) and known["value"].notna().all()
    assert known[["low", "high"]].isna().all().all()


def test_the_report_is_a_table_and_a_page(network, rng):
    trunk, readouts = network
    images = rng.integers(0, 256, (2, SIZE, SIZE)).astype(np.uint8)
    options = {"amounts": (0.1, 0.3), "progress": False, "draws": 50}
    labels = [np.array([0, 1])] * 2
    figures.apply_style()
    table, figure = salience_report((trunk, readouts[:2]), images, labels=labels, **options)
    assert set(table["model"]) == {"gender-0", "gender-1"}
    shown = [ax.get_title(loc="left") for part in figure.subfigs for ax in part.axes]
    assert {"measures", "S_noise (SSIM)", "S_geo (SSIM)"} <= set(shown)
    # a classifier as Keras has it: the same numbers
    dense = tf.keras.layers.Dense(2, activation="softmax")
    answer = dense(tf.keras.layers.Flatten()(trunk.model.output))
    dense.set_weights([readouts[0].kernel, readouts[0].bias])
    model = tf.keras.Model(trunk.model.inputs, answer)
    alone, _ = salience_report(model, images, **options)
    assert "accuracy" not in set(alone["measure"]), "nobody said what the answers should be"
    both = table[(table["model"] == "gender-0") & (table["measure"] != "accuracy")]
    np.testing.assert_allclose(alone["value"], both["value"], atol=1e-3)


def test_the_page_shows_an_image_with_a_map_and_says_where_there_is_none(network, rng, monkeypatch):
    trunk, readouts = network
    images = rng.integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)
    images[0] = 0
    options = {"amounts": (0.1,), "transforms": ["rotate +90"], "progress": False, "draws": 20}
    shown = []
    example = report.make_example
    monkeypatch.setattr(
        report,
        "make_example",
        lambda e, image, *more: shown.append(image) or example(e, image, *more),
    )
    explain = Explainer.explain

    def dark_is_empty(self, given, *more, **options):
        found = explain(self, given, *more, **options)
        found.maps[np.asarray(given).max(tuple(range(1, np.ndim(given)))) == 0] = 0
        return found

    monkeypatch.setattr(Explainer, "explain", dark_is_empty)
    _, page = salience_report((trunk, readouts[0]), images, **options)
    np.testing.assert_array_equal(shown[0], images[1])
    texts = [text.get_text() for part in page.subfigs for ax in part.axes for text in ax.texts]
    assert not any("nothing to compare" in text for text in texts)
    monkeypatch.setattr(report, "make_example", example)
    _, page = salience_report((trunk, readouts[0]), images[:1], **options | {"amounts": (0.0,)})
    texts = [text.get_text() for part in page.subfigs for ax in part.axes for text in ax.texts]
    assert sum("nothing to compare" in text for text in texts) == 2
    assert "the same\neverywhere" in texts


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": np.zeros((2, 8, 9))}, "square"),
        ({"images": np.zeros((0, 8, 8))}, "at least one"),
        ({"labels": [np.zeros(2, int)] * 2}, "true class"),
        ({"amounts": (0.5, 1.2)}, "0 to 1"),
        ({"unrelated": {"objects": np.zeros((3, 8, 8, 3))}}, "'objects'"),
        ({"groups": {"nobody": "a"}}, "no network 'nobody'"),
        ({"images": [np.zeros((8, 8)), np.zeros((8, 8, 3))]}, "grey and colour images are mixed"),
        ({"images": [np.zeros((8, 8)), np.zeros((9, 9))]}, "sizes differ"),
        ({"unrelated": {"a": [np.zeros((8, 8)), np.zeros((8, 8, 3))]}}, "grey and colour"),
        ({"amounts": (np.nan,)}, "0 to 1"),
        ({"labels": [np.array([0, 2])]}, "none of its classes, which are 0 to 1"),
        ({"labels": [np.array([0, -1])]}, "none of its classes"),
        ({"transforms": ["shift upp"]}, "did you mean 'shift up'"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(change, match):
    networks = Planted({"n": lambda i: i})
    call = {"images": np.zeros((2, 8, 8)), "labels": [np.zeros(2, int)], "progress": False}
    call |= change
    with pytest.raises(InputError, match=match):
        compute_salience(networks, call.pop("images"), call.pop("labels"), **call)
    assert networks.calls == 0


def test_what_is_no_network_is_refused(network):
    for model in (None, "imagenet", network[0]):
        with pytest.raises(InputError, match="give a Keras classifier, or a trunk"):
            salience_report(model, np.zeros((1, SIZE, SIZE)))


def test_images_may_come_one_by_one(network, rng):
    trunk, readouts = network
    images = rng.integers(0, 256, (2, SIZE, SIZE)).astype(np.uint8)
    options = {"amounts": (0.1,), "transforms": ["rotate +90"], "progress": False, "draws": 20}
    table, _ = salience_report((trunk, readouts[0]), (image for image in images), **options)
    same, _ = salience_report((trunk, readouts[0]), images, **options)
    assert table.equals(same)


def test_colour_is_shown_as_it_is(network, rng):
    """Blurred pictures are of floating point, which a figure takes for 0 to 1."""
    trunk, readouts = network
    image = rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    explainer = Explainer(trunk, readouts[:1], "grad_cam")
    example = report.make_example(explainer, image)
    assert len(example) == 6
    for words, picture, _ in example:
        assert picture.dtype == np.uint8 and picture.shape == image.shape
        assert picture.std() > 5, words


def test_a_network_with_skip_connections_has_grad_cam_and_no_relevance(rng):
    """Against the gradient of the whole network, and as a whole report."""
    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    image = tf.keras.Input((SIZE, SIZE, 3))
    first = layers.Conv2D(6, 3, 4, padding="same", activation="relu")(image)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(first))
    joined = layers.Add(name="joined")([first, x])
    pooled = layers.GlobalAveragePooling2D()(layers.Activation("relu")(joined))
    answer = layers.Dense(3, activation="softmax")(layers.Dense(5, activation="relu")(pooled))
    model = tf.keras.Model(image, answer, name="skipping")
    images = rng.integers(0, 256, (2, SIZE, SIZE)).astype(np.uint8)
    trunk, readouts = report.split_model(model)
    found = Explainer(trunk, readouts, "grad_cam").explain(images)
    rectified = next(x for x in model.layers if isinstance(x, layers.Activation)).output
    whole = tf.keras.Model(image, [rectified, answer])
    with tf.GradientTape() as tape:
        maps, shares = whole(trunk.prepare(images))
        # the gradient of a logit is that of its share's logarithm plus that of the normalisation
        hidden = model.layers[-2](model.layers[-3](maps))
        logits = hidden @ model.layers[-1].kernel + model.layers[-1].bias
        score = tf.reduce_sum(tf.reduce_max(logits, -1))
    gradient = tape.gradient(score, maps)
    expected = tf.nn.relu(tf.einsum("nk,nyxk->nyx", tf.reduce_mean(gradient, (1, 2)), maps))
    np.testing.assert_allclose(found.maps[:, 0], expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(found.predicted[:, 0], shares.numpy().argmax(1))
    assert found.maps.shape == (2, 1, 8, 8) and found.maps.max() > 0
    options = {"amounts": (0.1,), "transforms": ["rotate +90"], "progress": False, "draws": 20}
    table, _ = salience_report(model, images, **options)
    assert {"S_entropy", "S_noise", "S_geo", "S_resilience"} <= set(table["measure"])
    with pytest.raises(InputError, match="skip connections"):
        salience_report(model, images, "a_flat", **options)
    # two branches that meet behind the last maps: which of them is not said
    both = layers.Concatenate()([pooled, layers.GlobalMaxPooling2D()(joined)])
    torn = tf.keras.Model(image, layers.Dense(2)(both))
    with pytest.raises(InputError, match="takes 2 inputs"):
        salience_report(torn, images, **options)


def test_a_real_network_that_sees_one_pixel_at_a_time_follows_the_image(rng):
    """Convolutions of 1 x 1 and the mean over places: equivariant, so S_geo is 1."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((SIZE, SIZE, 3)),
            layers.Conv2D(4, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    kernel = np.array([[1, 2, 0.5, 1]] * 3, np.float32).reshape(1, 1, 3, 4) / 100
    model.layers[0].set_weights([kernel, np.full(4, 10, np.float32)])
    model.layers[-1].set_weights([np.array([[1, 0]] * 4, np.float32), np.zeros(2, np.float32)])
    table, _ = salience_report(model, _faces(rng, 2, SIZE * 2)[:, ::2, ::2], progress=False)
    geo = table[table["measure"] == "S_geo"]
    assert len(geo) == 13
    np.testing.assert_allclose(geo["value"], 1, atol=1e-6)


def test_no_readouts_is_refused(network):
    with pytest.raises(InputError, match="no readouts"):
        Explainer(network[0], [])


# ------------------------------------------------------------------- maps without a salient place


def test_a_constant_map_is_counted_and_compared_with_nothing(rng):
    """It would equal any other constant map, and so count as perfectly stable."""
    images = _faces(rng)
    networks = Planted(
        {
            "a-0": lambda i: np.zeros((64, 64)),
            "a-1": lambda i: np.zeros((64, 64)),
            "b-0": lambda i: i,
            "b-1": lambda i: i,
            "b-2": lambda i: np.full((64, 64), 3.0),
        }
    )
    groups = {name: name[0] for name in networks.names}
    other = {"noise": rng.random((2, 64, 64)) * 255}
    data = compute_salience(networks, images, groups=groups, unrelated=other, progress=False)
    empty = np.array([1, 1, 0, 0, 1])
    np.testing.assert_array_equal(_values(data, "constant", ""), np.repeat(empty, 3).reshape(5, 3))
    assert (_values(data, "S_entropy", "")[empty == 1] == 0).all()
    likeness = np.isin(data["measure"], ["S_noise", "S_geo", "S_unrelated", "S_resilience"])
    values = data["value"].to_numpy()[:, likeness]
    assert np.isnan(values[empty == 1]).all() and np.isfinite(values[empty == 0]).all()
    assert np.isnan(data["stability"].sel(group="a")).all()
    np.testing.assert_allclose(data["stability"].sel(group="b"), 1)
    table = summarise_salience(data, draws=20).set_index(["model", "measure", "condition"])
    assert table.loc[("a-0", "S_geo", "all"), "images"] == 0
    assert np.isnan(table.loc[("a-0", "S_geo", "all"), "value"])


def test_an_image_is_never_its_own_unrelated_one(rng):
    images = _faces(rng, 2)
    networks = Planted({"n": lambda i: i})
    data = compute_salience(networks, images, unrelated={"faces": images}, progress=False)
    assert (_values(data, "S_unrelated", "faces") < 0.99).all()
    alone = compute_salience(networks, images[:1], unrelated={"f": images[:1]}, progress=False)
    assert np.isnan(_values(alone, "S_unrelated", "f")).all()


def test_some_transforms_are_measured_alone(rng):
    images = _faces(rng, 1)
    networks = Planted({"n": lambda i: i})
    wanted = ["rotate -90", "flip up-down"]
    data = compute_salience(networks, images, transforms=wanted, amounts=[0.1], progress=False)
    conditions = data["condition"].to_numpy()[data["measure"].to_numpy() == "S_geo"]
    assert conditions.tolist() == ["flip up-down", "rotate -90"]
    assert networks.calls == 1 + 1 + 2
    every = compute_salience(networks, images, progress=False)
    for name in wanted:
        np.testing.assert_array_equal(_values(data, "S_geo", name), _values(every, "S_geo", name))


def test_more_networks_than_go_backward_together(network, rng):
    """Twelve: the engine takes ten at a time, and no map may be lost or mixed up."""
    trunk, readouts = network
    many = [Readout(f"n-{k}", r.kernel * (1 + k), r.bias) for k, r in enumerate([*readouts] * 4)]
    images = rng.integers(0, 256, (2, SIZE, SIZE)).astype(np.uint8)
    together = Explainer(trunk, many, "a_flat", precision="float32").explain(images)
    assert together.maps.shape[:2] == (2, 12)
    for k in (0, 9, 10, 11):
        alone = Explainer(trunk, [many[k]], "a_flat", precision="float32").explain(images)
        np.testing.assert_array_equal(alone.predicted[:, 0], together.predicted[:, k])
        scale = np.abs(alone.maps).max()
        np.testing.assert_allclose(alone.maps[:, 0], together.maps[:, k], atol=1e-5 * scale)
