"""Dissection: formulas worked by hand, a slow re-implementation, planted units."""

import resource
import signal

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray as xr

from lib.dissection import (
    adjust_p,
    compute_bias,
    compute_p,
    compute_ranks,
    compute_scores,
    compute_strength,
    dissect,
    find_detectors,
    list_layers,
    pair_units,
    standardise,
    summarise_bias,
    summarise_chance,
    summarise_detectors,
    tails,
    unit_gallery,
)
from lib.dissection.dissect import _Sets
from lib.dissection.tally import Tally, code_masks, stack_masks
from lib.errors import InputError
from lib.faces.dictionary import load_dictionary
from lib.store import ROOT
from lib.vgg import Trunk

SIZE = 32
CONCEPTS = ["left_eye", "right_eye", "mouth", "nose"]


class Drawn:
    """A dictionary made of arrays: pictures in which coloured patches are the concepts."""

    def __init__(self, images, masks, concepts=CONCEPTS, groups=None):
        self._images, self._masks, self.concepts = images, masks, list(concepts)
        self.groups = groups or {}
        self.has_exact_masks = self.has_landmarks = True

    def __len__(self):
        return len(self._images)

    def images(self, rows, size=None, colour=None):
        return self._images[rows]

    def masks(self, i, size=None):
        from lib.faces.concepts import CONCEPTS as EVERY

        out = np.zeros((SIZE, SIZE, len(EVERY)), bool)
        for k, name in enumerate(self.concepts):
            out[..., list(EVERY).index(name)] = self._masks[i, ..., k]
        return out

    def mask(self, concept, i, size=None):
        return self._masks[i, ..., self.concepts.index(concept)]

    def group(self, concept):
        if concept not in self.groups:
            raise InputError("no such column")
        return np.array(self.groups[concept])

    @property
    def carries(self):
        return self._masks.any((1, 2))


@pytest.fixture(scope="module")
def drawn():
    """Forty pictures: red patches are left eyes, green ones mouths; noses are not to be seen."""
    rng = np.random.default_rng(1)
    images = rng.integers(60, 90, (40, SIZE, SIZE, 3)).astype(np.uint8)
    masks = np.zeros((40, SIZE, SIZE, len(CONCEPTS)), bool)
    for k in range(40):
        for concept, channel in (("left_eye", 0), ("mouth", 1), ("nose", None)):
            if rng.random() < 0.25:
                continue
            y, x = 4 * rng.integers(0, 7, 2)
            place = (slice(y, y + 8), slice(x, x + 8))
            masks[(k, *place, CONCEPTS.index(concept))] = True
            if channel is not None:
                images[(k, *place)] = 40
                images[(k, *place, channel)] = rng.integers(200, 256)
        masks[k, 20:24, 2:6, 1] = k % 2
    groups = {"gender": ["female", "male"] * 20, "age": ["0-20", "20-40", "40-60", "60+"] * 10}
    return Drawn(images, masks, groups=groups)


@pytest.fixture(scope="module")
def network():
    """Units that are a left eye, a mouth, chance, and nothing; on maps of half the size."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((SIZE, SIZE, 3)),
            layers.AveragePooling2D(2, name="pool"),
            layers.Conv2D(5, 1, activation="relu", name="planted"),
            layers.Conv2D(3, 3, padding="same", name="second"),
            layers.Flatten(name="flat"),
        ]
    )
    # input is BGR
    kernel = np.zeros((1, 1, 3, 5), np.float32)
    kernel[0, 0, :, 0] = [-1, -1, 2]
    kernel[0, 0, :, 1] = [-1, 2, -1]
    kernel[0, 0, :, 2] = [1, 0, -1]
    kernel[0, 0, :, 3] = 0
    kernel[0, 0, :, 4] = [0, 1, 1]
    bias = np.array([-100, -100, 5, -1, 0], np.float32)
    model.get_layer("planted").set_weights([kernel, bias])
    rng = np.random.default_rng(2)
    weights = model.get_layer("second").get_weights()
    model.get_layer("second").set_weights([rng.normal(size=w.shape) for w in weights])
    return Trunk("planted", model)


@pytest.fixture(scope="module", params=["memory", "file"])
def found(request, network, drawn):
    """With the upper tails in memory, and in a temporary file."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "file":
            patch.setattr(tails, "MEMORY", 0)
        return dissect(network, drawn, ["planted", "second"], draws=20, tail=0.03, progress=False)


# ------------------------------------------------------------------------------------ one by one


def test_iou_threshold_and_peaks_are_those_of_the_slow_way(network, drawn, found):
    images = drawn.images(np.arange(len(drawn)))
    for layer in ("planted", "second"):
        model = tf.keras.Model(network.model.inputs, network.model.get_layer(layer).output)
        maps = model(network.prepare(images)).numpy()
        data = found[layer]
        np.testing.assert_allclose(data["peak"], maps.max((1, 2)), rtol=1e-6)
        np.testing.assert_allclose(data["low"], maps.min((0, 1, 2)), rtol=1e-6)
        upsampled = tf.image.resize(maps, (SIZE, SIZE), method="bilinear").numpy()
        for unit in range(maps.shape[-1]):
            threshold = float(data["threshold"][unit])
            assert float(data["tail"][unit]) == (maps[..., unit] > threshold).mean()
            # within a hair of the threshold two ways of interpolating may differ
            sure = np.abs(upsampled[..., unit] - threshold) > 1e-4 * max(1, abs(threshold))
            above = upsampled[..., unit] > threshold
            for c in range(len(CONCEPTS)):
                mask = drawn._masks[..., c]
                use = mask.any((1, 2)) & (maps[..., unit].max((1, 2)) > threshold)
                inter, union = (above & mask)[use].sum(), (above | mask)[use].sum()
                expected = inter / union if union else np.nan
                slack = (~sure).sum() / max(union, 1) + 1e-12
                assert float(data["iou"][unit, c]) == pytest.approx(
                    expected, abs=slack, nan_ok=True
                )
                inter, union = (above & mask).sum(), (above | mask).sum()
                assert float(data["iou_all"][unit, c]) == pytest.approx(
                    inter / union if union else np.nan, abs=slack, nan_ok=True
                )


def test_thresholds_are_the_quantile(network, drawn, found):
    """Exactly the activation of its rank; above it, what was asked for to a cell."""
    for layer, tail in (("planted", 0.03), ("second", 0.03), ("second", 0.001)):
        data = found[layer]
        if tail != 0.03:
            data = dissect(network, drawn, [layer], draws=0, tail=tail, progress=False)[layer]
        maps = tf.keras.Model(network.model.inputs, network.model.get_layer(layer).output)(
            network.prepare(drawn.images(np.arange(40)))
        ).numpy()
        cells = np.sort(maps.reshape(-1, maps.shape[-1]), axis=0)[::-1]
        # sums in another order (batches) may move an activation by a last digit or two
        np.testing.assert_allclose(data["threshold"], cells[round(tail * len(cells))], rtol=1e-5)
        # patches of one colour give tied activations: fewer lie above, never more
        tied = np.isclose(cells, data["threshold"].to_numpy(), rtol=1e-5).sum(0)
        above = np.rint(data["tail"].to_numpy() * len(cells))
        asked = round(tail * len(cells))
        assert (above <= asked).all() and (above >= asked - tied).all()


def test_the_network_and_the_masks_are_asked_once(network, drawn):
    asked, drawn_masks = [], []

    class Asked(Drawn):
        def images(self, rows, size=None, colour=None):
            asked.extend(np.atleast_1d(rows).tolist())
            return super().images(rows, size, colour)

        def masks(self, i, size=None):
            drawn_masks.append(i)
            return super().masks(i, size)

    layers = ["pool", "planted", "second"]
    dissect(
        network, Asked(drawn._images, drawn._masks), layers, draws=3, chance="shifted", batch=7,
        progress=False,
    )  # fmt: skip
    assert sorted(asked) == sorted(drawn_masks) == list(range(40))


def make_maps(rng, images=60):
    """Maps of units that are dense, rare, constant, silent, tied, negative, rising and falling."""
    maps = rng.normal(size=(images, 8, 7, 9)).astype(np.float32)
    maps[:, 1] *= rng.random((images, 1, 1)) < 0.05
    maps[:, 2] = 3.5
    maps[:, 3] = 0
    maps[images // 2, 3, 2, 2] = 5
    maps[:, 4] = np.round(maps[:, 4])
    maps[:, 5] = -np.exp(maps[:, 5])
    steps = np.arange(images, dtype=np.float32)[:, None, None]
    maps[:, 6] += steps
    # the first images have nothing below what is later above the threshold
    maps[:, 7] = np.maximum(maps[:, 7], 2 - steps / 4)
    return maps


@pytest.mark.parametrize("tail", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("batch", [1, 13])
def test_upper_tails_are_enough(tail, batch):
    maps = make_maps(np.random.default_rng(4))
    for memory in (0, 1 << 20):
        kept = tails.Tails(maps.shape[1:], len(maps), tail, memory)
        for start in range(0, len(maps), batch):
            kept.add(maps[start : start + batch])
        cells = np.sort(maps.swapaxes(0, 1).reshape(8, -1), axis=1)[:, ::-1]
        threshold = cells[:, round(tail * cells.shape[1])]
        np.testing.assert_array_equal(kept.select(), threshold)
        np.testing.assert_array_equal(kept.low, cells[:, -1])
        for k, one in enumerate(maps):
            back = kept.maps(k)
            wide, own = (
                tf.image.resize(x.transpose(1, 2, 0), (31, 40), method="bilinear").numpy()
                for x in (back, one)
            )
            np.testing.assert_array_equal(wide > threshold, own > threshold)
        kept.close()


def test_what_is_kept_of_many_images_is_little():
    rng = np.random.default_rng(5)
    with pytest.raises(
        InputError, match=r"8 x 8 cells has 64 activations in 1 images.*tail = 0\.005"
    ):
        tails.Tails((20, 8, 8), 1, 0.005)
    kept = tails.Tails((20, 16, 16), 2000, 0.005)
    for _ in range(40):
        kept.add(rng.normal(size=(50, 20, 16, 16)).astype(np.float32))
    dense = 4 * 2000 * 20 * 256
    # noise has a cell of its own for each that is above, with eight around it
    assert kept.end < 0.4 * dense
    late = [sum(n for _, n in parts) for parts in kept.places[-50:]]
    assert np.mean(late) < 0.09 * 20 * 256


def test_a_layer_that_is_not_computed_in_bfloat16_is_told_of(drawn):
    """Grouped convolutions are where the processor has bfloat16; elsewhere a sentence says so."""
    kinds = tf.keras.layers
    tf.keras.utils.set_random_seed(2)
    model = tf.keras.Sequential(
        [
            tf.keras.Input((SIZE, SIZE, 3)),
            kinds.Conv2D(4, 1, activation="relu"),
            kinds.DepthwiseConv2D(3, name="depthwise"),
            kinds.Conv2D(4, 3, groups=2, name="grouped"),
        ]
    )
    trunk = Trunk("small", model)
    options = dict(draws=0, tail=0.03, progress=False)
    exact = dissect(trunk, drawn, "grouped", precision="float32", **options)["grouped"]
    try:
        other = dissect(trunk, drawn, "grouped", precision="bfloat16", **options)["grouped"]
    except InputError as error:
        assert str(error) == (
            "Network small has a layer that TensorFlow does not compute in bfloat16 on this "
            "machine; use precision: float32."
        )
    else:
        size = np.abs(exact["threshold"]).max().item()
        np.testing.assert_allclose(other["threshold"], exact["threshold"], atol=0.02 * size)


def test_a_full_temporary_folder_is_told_of_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(tails.tempfile, "tempdir", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = tails.Tails((20, 16, 16), 40, 0.1, 1 << 12)
    maps = np.random.default_rng(5).normal(size=(40, 20, 16, 16)).astype(np.float32)
    # the system ends a process that writes too large a file unless it asked not to be
    told = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, before[1]))
        with pytest.raises(InputError, match=r"folder .*free some space .* TMPDIR") as raised:
            kept.add(maps)
        assert str(tmp_path) in str(raised.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, told)
    kept.close()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tails.tempfile, "tempdir", str(tmp_path / "nowhere"))
    other = tails.Tails((20, 16, 16), 40, 0.1, 1 << 12)
    with pytest.raises(InputError, match="nowhere"):
        other.add(maps)


def test_counts_do_not_depend_on_batches_or_order(network, drawn):
    one = dissect(network, drawn, ["planted"], draws=0, batch=1, progress=False)["planted"]
    many = dissect(network, drawn, ["planted"], draws=0, batch=40, progress=False)["planted"]
    xr.testing.assert_identical(one, many)
    back = np.arange(40)[::-1]
    turned = Drawn(drawn._images[back], drawn._masks[back])
    other = dissect(network, turned, ["planted"], draws=0, progress=False)["planted"]
    np.testing.assert_array_equal(other["peak"].to_numpy()[back], one["peak"])
    np.testing.assert_allclose(other["iou"], one["iou"], atol=1e-6)


@pytest.mark.parametrize("chance", ["shuffled", "shifted"])
def test_chance_does_not_depend_on_batches(network, drawn, chance):
    options = dict(draws=6, chance=chance, tail=0.03, precision="float32", progress=False)
    found = [
        dissect(network, drawn, ["planted"], batch=batch, **options)["planted"]
        for batch in (1, 9, 40)
    ]
    for other in found[1:]:
        xr.testing.assert_identical(found[0], other)
    assert len({float(x) for x in found[0]["iou_chance"][:, 0, 0]}) > 3


def test_every_draw_is_of_another_image(drawn):
    class Numbered:
        def __getitem__(self, i):
            return i

    order = np.random.default_rng(0).permutation(9)
    sets = _Sets([Numbered(), Numbered()], order, 8, "shuffled", None)
    found = sets.block(0, 4) + sets.block(4, 9)
    assert [s[0] for s in found] == order.tolist() == [s[-1] for s in found]
    for own, *others, _ in found:
        assert sorted([own, *others]) == list(range(9))


def test_one_image_one_concept_and_a_constant_unit(drawn):
    kinds = tf.keras.layers
    model = tf.keras.Sequential(
        [tf.keras.Input((SIZE, SIZE, 3)), kinds.Conv2D(2, 1, activation="relu", name="units")]
    )
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 2, 0] = 1
    model.get_layer("units").set_weights([kernel, np.array([0, 3], np.float32)])
    k = int(np.flatnonzero(drawn._masks[..., 0].any((1, 2)))[0])
    one = Drawn(drawn._images[[k]], drawn._masks[[k]][..., :1], CONCEPTS[:1])
    options = dict(draws=3, chance="shifted", tail=0.05, progress=False)
    data = dissect(Trunk("constant", model), one, "units", **options)["units"]
    assert data["peak"].shape == (1, 2) and float(data["iou"][0, 0]) > 0.4
    assert np.isnan(data["iou"][1]).all() and float(data["low"][1]) == float(data["high"][1])
    pairs = pair_units(data, one.carries)
    assert pairs["detects"].tolist() == [True, False] and pairs["p"][1] == 1
    with pytest.raises(InputError, match="3 shuffled draws need more than 3 images"):
        dissect(Trunk("constant", model), one, ["units"], draws=3, progress=False)


def test_threads_share_the_units(drawn, monkeypatch):
    rng = np.random.default_rng(2)
    maps = rng.random((70, 9, 6), np.float32)
    thresholds = rng.random(70, np.float32)
    masks = stack_masks([code_masks(drawn._masks[k]) for k in (3, 4, 5)])
    found = []
    for threads in (1, 4):
        monkeypatch.setattr("lib.threads.THREADS", threads)
        tally = Tally(thresholds, len(CONCEPTS), 3)
        tally.add(maps, masks)
        found.append([tally.inter, tally.union, tally.beyond, tally.native])
    assert found[0][0].any()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_codes_are_the_masks(drawn):
    coded = code_masks(drawn._masks[3])
    np.testing.assert_array_equal(coded.members[coded.codes], drawn._masks[3])
    np.testing.assert_array_equal(coded.area, drawn._masks[3].sum((0, 1)))
    with pytest.raises(InputError, match="concepts"):
        code_masks(np.ones((4, 4)))


# --------------------------------------------------------------------------------- planted units


def test_a_planted_eye_is_found_and_a_random_unit_is_not(drawn, found):
    pairs = pair_units(found["planted"], drawn.carries)
    best = pairs[pairs["best"]].set_index("unit")
    assert best.loc[0, "concept"] == "left_eye" and best.loc[0, "iou"] > 0.6
    assert best.loc[1, "concept"] == "mouth" and best.loc[1, "iou"] > 0.6
    assert best.loc[0, "q"] < 0.05 and best.loc[1, "q"] < 0.05
    detected = pairs[pairs["detects"]]
    assert set(detected[detected["unit"] == 0]["concept"]) == {"left_eye"}
    assert "mouth" in set(detected[detected["unit"] == 1]["concept"])
    # unit 2 fires at random, 3 never, and the nose cannot be seen
    assert not (pairs[pairs["unit"].isin([2, 3])]["q"] <= 0.05).any()
    assert 3 not in best.index
    assert not pairs[pairs["unit"] == 3]["interpretable"].any()
    assert pairs[pairs["concept"] == "nose"]["q"].min() > 0.05


@pytest.fixture(scope="module")
def crowd():
    """Four units that see red, sixteen that see what is in no mask."""
    kinds = tf.keras.layers
    model = tf.keras.Sequential(
        [tf.keras.Input((SIZE, SIZE, 3)), kinds.Conv2D(20, 3, 2, "same", name="units")]
    )
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 20))
    kernel[..., 2, :] = 0
    kernel[..., :4] = 0
    kernel[..., 2, :4] = rng.random((3, 3, 4))
    model.get_layer("units").set_weights([kernel, np.zeros(20)])
    return Trunk("crowd", model)


def make_crowd(seed, planted):
    """Noise; red patches are left eyes where that is planted, all other masks lie anywhere."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 90, (40, SIZE, SIZE, 3)).astype(np.uint8)
    masks = np.zeros((40, SIZE, SIZE, len(CONCEPTS)), bool)
    for k in range(40):
        for c in range(len(CONCEPTS)):
            y, x = rng.integers(0, 25, 2)
            masks[k, y : y + 8, x : x + 8, c] = rng.random() < 0.7
        y, x = rng.integers(0, 25, 2)
        red = masks[k, ..., 0] if planted else np.zeros((SIZE, SIZE), bool)
        red[y : y + 8, x : x + 8] |= not planted
        images[k, red, 0] += 100
    return Drawn(images, masks)


def test_the_false_discovery_rate_is_held(crowd):
    """Over dictionaries: what is planted is found, hardly anything else is, and nothing in vain."""
    false, true, vain = [], 0, 0
    for seed in range(8):
        for planted in (True, False):
            some = make_crowd(seed, planted)
            options = dict(draws=10, tail=0.02, seed=seed, precision="float32", progress=False)
            pairs = pair_units(dissect(crowd, some, "units", **options)["units"], some.carries)
            above = pairs[pairs["q"] <= 0.05]
            if planted:
                right = (above["unit"] < 4) & (above["concept"] == "left_eye")
                true += right.sum()
                false.append((~right).sum() / max(len(above), 1))
            else:
                vain += len(above) > 0
    assert true == 8 * 4
    assert np.mean(false) <= 0.1
    assert vain <= 2


@pytest.mark.parametrize("chance", ["shuffled", "shifted"])
def test_both_kinds_of_chance(network, drawn, chance):
    data = dissect(network, drawn, ["planted"], draws=5, chance=chance, tail=0.02, progress=False)[
        "planted"
    ]
    assert data["iou_chance"].shape == (5, 5, 4)
    own, luck = float(data["iou"][0, 0]), data["iou_chance"][:, 0, 0].to_numpy()
    assert (luck < 0.5 * own).all()


def test_dead_and_constant_units_are_no_detectors(network, drawn, found):
    data = found["planted"]
    assert np.isnan(data["iou"][3]).all()
    assert float(data["tail"][3]) == 0
    pairs = pair_units(data, drawn.carries)
    dead = pairs[pairs["unit"] == 3]
    assert not dead["detects"].any() and (dead["p"] == 1).all()


def test_a_gallery_shows_the_strongest_images(network, drawn, found):
    data = found["planted"]
    gallery = unit_gallery(network, drawn, "planted", data, 0, "left_eye", count=4)
    peaks = data["peak"][:, 0].to_numpy()
    assert peaks[gallery.rows].min() >= np.sort(peaks)[-4]
    overlap = (gallery.above & gallery.mask).sum() / (gallery.above | gallery.mask).sum()
    assert overlap > 0.5
    with pytest.raises(InputError, match="units 0 to 4"):
        unit_gallery(network, drawn, "planted", data, 9, "mouth")


# ------------------------------------------------------------------------- formulas worked by hand


def test_scores_of_a_worked_example():
    """Two units, three images, three concepts in two regions."""
    peaks = np.array([[1.0, 4.0], [3.0, 2.0], [2.0, 0.0]])
    strength = compute_strength(peaks, np.array([0.0, 0.0]), np.array([4.0, 4.0]))
    np.testing.assert_allclose(strength, peaks / 4)
    np.testing.assert_allclose(compute_ranks(peaks)[:, 0], [1 / 3, 1, 2 / 3])
    carries = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    iou = np.array([[0.2, 0.3, 0.1], [0.05, 0.0, 0.4]])
    regions = np.array(["eye", "eye", "mouth"])
    best, score, probability = compute_scores(iou, peaks, strength, carries, regions)
    assert best.tolist() == [1, 2]
    # unit 0: images of the region eye are 0 and 1; ranks 1/2 and 1; a 1/4 and 3/4
    first = 0.2 * (0.5 * 0.25 + 1 * 0.75) / 2
    second = 0.3 * (1 * 0.75)
    np.testing.assert_allclose(score[0, :2], [first, second])
    assert np.isnan(score[0, 2])
    np.testing.assert_allclose(
        probability[0, :2], [first / (first + second), second / (first + second)]
    )
    # unit 1 never answers to the only image of its region: no probability
    assert np.isnan(probability[1]).all()
    detects = find_detectors(probability, regions, np.array([True, True]))
    assert detects.tolist() == [[False, probability[0, 1] > 0.75, False], [False] * 3]
    # the score of 2020 leaves IoU out
    _, old, _ = compute_scores(iou, peaks, strength, carries, regions, use_iou=False)
    np.testing.assert_allclose(old[0, :2], [first / 0.2, second / 0.3])
    assert not find_detectors(probability, regions, np.array([False, False])).any()


def test_in_a_region_with_one_concept_the_overlap_decides():
    """P is 1 by construction there, and 1.5 / 1 could never be exceeded."""
    probability = np.array([[1.0, np.nan], [1.0, np.nan]])
    found = find_detectors(probability, np.array(["nose", "eye"]), np.array([True, False]))
    assert found.tolist() == [[True, False], [False, False]]


def test_bias_of_a_worked_example():
    peaks = np.array([[1.0], [2.0], [3.0], [4.0]])
    strength = compute_strength(peaks, np.array([0.0]), np.array([4.0]))
    table = compute_bias(peaks, strength, np.array(["f", "m", "f", "m"]), ("f", "m"))
    f = (0.25 * 0.25 + 0.75 * 0.75) / 2
    m = (0.5 * 0.5 + 1 * 1) / 2
    np.testing.assert_allclose(table["probability"], [f / (f + m), m / (f + m)])
    assert table["biased"].tolist() == [False, True]
    with pytest.raises(InputError, match="'x' has no image"):
        compute_bias(peaks, strength, np.array(["f"] * 4), ("f", "x"))
    silent = compute_bias(np.zeros((4, 1)), np.zeros((4, 1)), np.array(list("fmfm")), ("f", "m"))
    assert not silent["biased"].any()


def test_bias_over_a_dictionary(drawn, found):
    table = summarise_bias(found["planted"], drawn)
    assert set(table["concept"]) == {"age", "gender"}
    sums = table.groupby(["concept", "unit"])["probability"].sum()
    np.testing.assert_allclose(sums, 1)
    with pytest.raises(InputError, match="no groups"):
        summarise_bias(found["planted"], Drawn(drawn._images, drawn._masks))


# -------------------------------------------------------------------------------- chance and tables


def test_standard_scores_are_those_of_leaving_one_out():
    rng = np.random.default_rng(0)
    iou, images = rng.random((7, 3, 2)), rng.integers(1, 50, (3, 2))
    z, null = standardise(iou, images)
    chance = iou[1:]
    common = chance.mean()
    for s in range(6):
        others = np.delete(chance, s, axis=0).mean(0)
        spread = np.sqrt((others + common) * (1 + 1 / 5) / images)
        np.testing.assert_allclose(null[s], (chance[s] - others) / spread)
    mean = chance.mean(0)
    np.testing.assert_allclose(z, (iou[0] - mean) / np.sqrt((mean + common) * (1 + 1 / 6) / images))
    with pytest.raises(InputError, match="at least 3"):
        standardise(iou[:3])


def test_five_draws_tell_a_few_planted_pairs_from_overlaps_that_come_and_go():
    """Units that fire in a few images overlap by chance rarely, and then widely."""
    rng = np.random.default_rng(3)
    images = np.repeat(rng.integers(4, 200, (300, 1)), 20, axis=1)
    hits = rng.binomial(images, 0.05, (6, 300, 20))
    iou = hits / images * rng.uniform(0.2, 0.6, hits.shape)
    nothing = adjust_p(compute_p(*standardise(iou, images)))
    assert (nothing <= 0.05).mean() < 0.001
    iou[0, :40, 3] = 0.4
    images[:40, 3] = 150
    found = adjust_p(compute_p(*standardise(iou, images))) <= 0.05
    assert found[:40, 3].all()
    assert found.sum() <= 45


def test_p_is_uniform_when_there_is_nothing():
    rng = np.random.default_rng(4)
    z, null = standardise(rng.normal(0.2, 0.05, (9, 60, 30)))
    p = compute_p(z, null)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)
    assert not (adjust_p(p) <= 0.05).any()


def test_false_discovery_rate_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(5).random((20, 7)) ** 3
    expected = multipletests(p.ravel(), method="fdr_bh")[1].reshape(p.shape)
    np.testing.assert_allclose(adjust_p(p), expected)


def test_tables_count_units_once(drawn, found):
    pairs = pd.concat(
        [
            pair_units(data, drawn.carries).assign(layer=layer, network="planted")
            for layer, data in found.items()
        ]
    )
    pairs = pairs[["network", "layer", *[c for c in pairs if c not in ("network", "layer")]]]
    table = summarise_detectors(pairs, "region").set_index(["layer", "region"])
    planted = pairs[(pairs["layer"] == "planted") & pairs["detects"]]
    for region in ("eye", "mouth"):
        expected = planted[planted["region"] == region]["unit"].nunique()
        assert table.loc[("planted", region), "detectors"] == expected
    assert table.loc[("planted", "eye"), "units"] == 5
    chance = summarise_chance(pairs).set_index("layer")
    assert chance.loc["planted", "units"] == 5 and chance.loc["second", "units"] == 3
    row = chance.loc["planted"]
    assert row["fixed"] == row["both"] + row["fixed_only"]
    assert row["chance"] == row["both"] + row["chance_only"] and row["both"] >= 2
    alone = summarise_chance(pairs[pairs["layer"] == "planted"].drop(columns=["network", "layer"]))
    assert alone["fixed"].item() == row["fixed"]


# ----------------------------------------------------------------------------- the real dictionary


@pytest.fixture(scope="module")
def rendered():
    return load_dictionary(ROOT / "data/faces/dictionary")


class Some:
    """A few images of a dictionary."""

    def __init__(self, dictionary, rows):
        self.dictionary, self.rows = dictionary, np.asarray(rows)
        self.concepts, self.has_exact_masks = dictionary.concepts, dictionary.has_exact_masks

    def __len__(self):
        return len(self.rows)

    def images(self, rows, size=None, colour=None):
        return self.dictionary.images(self.rows[rows], size=size, colour=colour)

    def masks(self, i, size=None):
        return self.dictionary.masks(int(self.rows[i]), size)

    def ellipse_mask(self, concept, i, size=None, level=0.95):
        return self.dictionary.ellipse_mask(concept, int(self.rows[i]), size, level)


@pytest.mark.parametrize("mask", ["exact", "ellipse"])
def test_the_rendered_dictionary_is_read_as_it_is(network, rendered, mask):
    some = Some(rendered, range(0, 800, 66))
    data = dissect(network, some, ["pool"], mask=mask, draws=0, tail=0.02, progress=False)["pool"]
    assert data["concept"].to_numpy().tolist() == rendered.concepts
    assert {"AU_1", "AU_12"} <= set(rendered.concepts)
    maps = network.model.get_layer("pool")(
        network.prepare(some.images(np.arange(len(some)), SIZE, True))
    ).numpy()
    upsampled = tf.image.resize(maps, (SIZE, SIZE), method="bilinear").numpy()
    concept = rendered.concepts.index("mouth")
    for unit in range(3):
        above = upsampled[..., unit] > float(data["threshold"][unit])
        masks = [
            some.masks(i, SIZE)[..., list_index("mouth")]
            if mask == "exact"
            else some.ellipse_mask("mouth", i, SIZE)
            for i in range(len(some))
        ]
        use = [
            k
            for k in range(len(some))
            if masks[k].any() and maps[k, ..., unit].max() > float(data["threshold"][unit])
        ]
        inter = sum((above[k] & masks[k]).sum() for k in use)
        union = sum((above[k] | masks[k]).sum() for k in use)
        expected = inter / union if union else np.nan
        assert float(data["iou"][unit, concept]) == pytest.approx(expected, abs=0.01, nan_ok=True)


def list_index(name):
    from lib.faces.concepts import CONCEPTS as EVERY

    return list(EVERY).index(name)


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layers": ["plantet"]}, "did you mean 'planted'"),
        ({"layers": ["flat"]}, "no spatial maps"),
        ({"layers": []}, "at least one layer of planted"),
        ({"mask": "round"}, "exact, ellipse"),
        ({"chance": "none"}, "shuffled or shifted"),
        ({"tail": 0.7}, "between 0 and 0.5"),
        ({"draws": 40}, "need more than 40 images"),
        ({"draws": -1}, "at least 0"),
    ],
)
def test_bad_settings_are_refused(network, drawn, options, match):
    call = {"layers": ["planted"], "progress": False} | options
    with pytest.raises(InputError, match=match):
        dissect(network, drawn, call.pop("layers"), **call)


def test_bad_dictionaries_are_refused(network, drawn):
    nothing = Drawn(drawn._images, drawn._masks[..., :0], concepts=[])
    with pytest.raises(InputError, match="carries a concept"):
        dissect(network, nothing, ["planted"], progress=False)
    without = Drawn(drawn._images, drawn._masks)
    without.has_exact_masks = False
    with pytest.raises(InputError, match="no exact masks"):
        dissect(network, without, ["planted"], progress=False)
    unmarked = Drawn(drawn._images, drawn._masks)
    unmarked.has_landmarks = False
    for mask in ("ellipse", "both"):
        with pytest.raises(InputError, match="no landmarks to draw ellipses by; use mask: exact"):
            dissect(network, unmarked, ["planted"], mask=mask, progress=False)
    wrong = Drawn(drawn._images, drawn._masks)
    wrong.masks = lambda i, size=None: np.zeros((SIZE // 2, SIZE, 38), bool)
    with pytest.raises(InputError, match="masks of image"):
        dissect(network, wrong, ["planted"], progress=False)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        compute_scores(
            np.ones((2, 3)), np.ones((4, 2)), np.ones((5, 2)), np.ones((4, 3)), np.ones(3)
        )
    with pytest.raises(InputError, match="regions"):
        compute_scores(
            np.ones((2, 3)), np.ones((4, 2)), np.ones((4, 2)), np.ones((4, 3)), np.ones(2)
        )
    with pytest.raises(InputError, match="finite"):
        Tally(np.array([1.0, np.nan]), 3)


def test_layers_with_maps_are_listed(network):
    assert list_layers(network) == ["pool", "planted", "second"]
