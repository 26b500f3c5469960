"""Masks, fills, baselines, and scores of masked faces: known answers."""

import json
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray as xr

from lib import masking, store, vgg
from lib.errors import InputError
from lib.generalization import check_scores, compute_expectation, summarise_curves
from lib.masking import masks as masks_module
from lib.masking import panels
from lib.masking import scores as scores_module
from lib.network import Readout
from lib.relevance import compute_relevance

SIDE, FACES = 16, 5
LEVELS = (0.0, 1.0, 10.0, 31.6, 100.0)


# ------------------------------------------------------------------------------- a small real study


def tiny_trunk(name, seed, means=vgg.MEANS["imagenet"], side=SIDE):
    """Two convolutions with random kernels: a real network, small."""
    rng = np.random.default_rng(seed)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((side, side, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1_1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2_1"),
            layers.MaxPooling2D(2, name="pool2"),
        ],
        name=name,
    )
    for layer in ("conv1_1", "conv2_1"):
        kernel, bias = model.get_layer(layer).get_weights()
        model.get_layer(layer).set_weights([rng.normal(size=kernel.shape) * 0.2, bias])
    return vgg.Trunk(name, model, means)


def smooth(rng, *shape):
    """Maps with a texture, positive and negative."""
    from scipy import ndimage

    sigma = (0,) * (len(shape) - 2) + (1.5, 1.5)
    return ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap").astype(np.float32)


def make_study(means=(vgg.MEANS["imagenet"],) * 2, instances=2, colour=False, names="ab"):
    rng = np.random.default_rng(3)
    shape = (FACES, SIDE, SIDE, 3) if colour else (FACES, SIDE, SIDE)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = {"identity": np.arange(FACES), "gender": np.arange(FACES) % 2}
    trunks = {n: tiny_trunk(n, k, m) for k, (n, m) in enumerate(zip(names, means, strict=True))}
    readouts, rows = {}, []
    for name, trunk in trunks.items():
        width = int(np.prod(trunk.model.output_shape[1:]))
        readouts[name] = [
            Readout(f"{task}-{i}", rng.normal(size=(width, classes)), rng.normal(size=classes))
            for task, classes in (("identity", FACES), ("gender", 2))
            for i in range(instances)
        ]
        rows += [(name, *r.name.split("-")) for r in readouts[name]]
    return trunks, readouts, images, labels, make_maps(rows, smooth(rng, len(rows), *shape[:3]))


def make_maps(rows, values):
    """Maps as chapter 03 stores them."""
    models = ["/".join(row) for row in rows]
    return xr.DataArray(
        values,
        dims=("model", "identity", "y", "x"),
        coords={
            "model": models,
            "pretraining": ("model", [r[0] for r in rows]),
            "task": ("model", [r[1] for r in rows]),
            "instance": ("model", [int(r[2]) for r in rows]),
            "identity": [f"id{k:03d}" for k in range(values.shape[1])],
        },
    )


def compute(study, **settings):
    return masking.compute_scores(
        *study, **({"levels": LEVELS, "precision": "float32", "progress": False} | settings)
    )


@pytest.fixture(scope="module")
def study():
    return make_study()


@pytest.fixture(scope="module")
def scores(study):
    return compute(study, draws=2, batch=32)


class Spy:
    """Every image that goes through a trunk, in order; may stop the computation."""

    def __init__(self, monkeypatch, stop=None):
        self.images, self.calls = {}, 0
        real = vgg.make_forward

        def make_forward(trunk, layers=None, precision="auto"):
            forward = real(trunk, layers, precision)

            def watched(block):
                self.calls += 1
                if stop is not None and self.calls > stop:
                    raise KeyboardInterrupt
                self.images.setdefault(trunk.name, []).extend(image.tobytes() for image in block)
                return forward(block)

            return watched

        monkeypatch.setattr(vgg, "make_forward", make_forward)


# -------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("side", [16, 64, 112, 224])
@pytest.mark.parametrize("level", [0, 0.3, 1.0, 3.2, 10.0, 12.5, 31.6, 50, 100])
def test_pixels_are_counted_exactly(level, side):
    share = Fraction(str(level)) * side * side / 100
    wanted = int(share + Fraction(1, 2))  # floor(x + 1/2): halves go up
    assert masking.count_pixels(level, side * side) == wanted
    maps = np.random.default_rng(0).normal(size=(1, side, side))
    assert masking.mask_pixels(masking.rank_pixels(maps), level).sum() == wanted


def test_halves_round_up_whatever_the_binary_form():
    assert [masking.count_pixels(0.3, 500), masking.count_pixels(0.1, 500)] == [2, 1]
    assert [masking.count_pixels(0.5, 100), masking.count_pixels(2.5, 100)] == [1, 3]
    assert masking.count_pixels(0.7, 500) == 4  # 3.5; in binary 0.7 * 500 is 3.4999...


def test_the_strongest_pixels_go_first_and_ties_row_by_row():
    one = np.array([[[1.0, -3.0, 2.0], [-2.0, 0.0, 3.0], [0.0, 1.0, -1.0]]])
    ranks = masking.rank_pixels(one)
    assert ranks[0].tolist() == [[4, 0, 2], [3, 7, 1], [8, 5, 6]]
    positive, negative = (masking.rank_pixels(one, sign)[0] for sign in masking.SIGNED)
    assert positive.tolist() == [[2, 9, 1], [9, 9, 0], [9, 3, 9]]
    assert negative.tolist() == [[9, 0, 9], [1, 9, 9], [9, 9, 2]]


def test_one_sign_is_removed_up_to_all_of_it():
    maps = smooth(np.random.default_rng(0), 3, 8, 8)
    maps[0, 2:] = -1
    for sign, of_sign in (("positive", maps > 0), ("negative", maps < 0)):
        ranks = masking.rank_pixels(maps, sign)
        for level in (1.0, 10.0, 31.6, 100.0):
            mask = masking.mask_pixels(ranks, level)
            assert not (mask & ~of_sign).any()
            wanted = np.minimum(of_sign.sum((1, 2)), masking.count_pixels(level, 64))
            assert mask.sum((1, 2)).tolist() == wanted.tolist()


@pytest.mark.parametrize("mask", masking.MASKS)
def test_masks_are_nested_counted_and_repeatable(mask):
    maps = smooth(np.random.default_rng(1), 4, 16, 16)
    ranks = masking.make_ranks(maps, mask, seed=5)
    assert np.array_equal(ranks, masking.make_ranks(maps.copy(), mask, seed=5))
    before = np.zeros(maps.shape, bool)
    for level in (1.0, 3.2, 10.0, 31.6):
        now = masking.mask_pixels(ranks, level)
        assert (now | before == now).all()
        if mask not in masking.SIGNED:
            assert (now.sum((1, 2)) == masking.count_pixels(level, 256)).all()
        before = now
    if mask in ("shifted", "scrambled", "other_face", "random"):
        assert not np.array_equal(ranks, masking.make_ranks(maps, mask, seed=6))


# ---------------------------------------------------------------------------------------- baselines


def test_mirrored_and_shifted_masks_are_the_same_mask_elsewhere():
    maps = smooth(np.random.default_rng(2), 3, 12, 10)
    own = masking.mask_pixels(masking.make_ranks(maps, "relevance"), 10.0)
    mirrored = masking.mask_pixels(masking.make_ranks(maps, "mirrored"), 10.0)
    assert np.array_equal(mirrored, own[:, :, ::-1])
    shifted = masking.mask_pixels(masking.make_ranks(maps, "shifted", seed=1), 10.0)
    for before, after in zip(own, shifted, strict=True):
        found = [
            (dy, dx)
            for dy in range(12)
            for dx in range(10)
            if np.array_equal(np.roll(before, (dy, dx), (0, 1)), after)
        ]
        assert len(found) == 1 and found != [(0, 0)]


def test_all_shifts_but_none_are_drawn():
    spike = np.zeros((4000, 3, 4))
    spike[:, 0, 0] = 1
    places = masks_module.shift_maps(spike, 0).reshape(4000, 12).argmax(1)
    counts = np.bincount(places, minlength=12)
    assert counts[0] == 0
    # 4000 / 11 each: within five standard deviations
    assert (np.abs(counts[1:] - 4000 / 11) < 5 * np.sqrt(4000 / 11)).all()


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 15, 12)])
def test_scrambled_maps_keep_their_amplitudes_and_lose_their_place(shape):
    maps = smooth(np.random.default_rng(4), *shape) + np.float32(0.2)
    scrambled = masks_module.scramble_phases(maps, 0)
    amplitude = np.abs(np.fft.fft2(maps.astype(float)))
    assert np.allclose(np.abs(np.fft.fft2(scrambled)), amplitude, atol=1e-9 * amplitude.max())
    assert np.allclose(scrambled.mean((1, 2)), maps.mean((1, 2)))
    for before, after in zip(maps, scrambled, strict=True):
        assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.5


def test_nobody_keeps_their_own_map():
    maps = np.arange(2 * 7).reshape(7, 2, 1) * np.ones((7, 2, 3))
    for seed in range(20):
        given = masks_module.swap_faces(maps, seed)[:, 0, 0]
        assert sorted(given) == sorted(maps[:, 0, 0]) and (given != maps[:, 0, 0]).all()


def test_random_pixels_are_uniform_and_differ_between_draws():
    counts = np.zeros((8, 8))
    for draw in range(300):
        mask = masking.mask_pixels(masking.make_ranks(np.empty((4, 8, 8)), "random", 0, draw), 25.0)
        assert (mask.sum((1, 2)) == 16).all()
        counts += mask.sum(0)
    # 1200 times with probability 1/4
    assert (np.abs(counts - 300) < 5 * np.sqrt(1200 * 0.25 * 0.75)).all()


# -------------------------------------------------------------------------------------------- fills


def literal_fill(image, mask, fill, means):
    """One image (y, x, 3) RGB, slowly, pixel by pixel."""
    out = np.empty((*image.shape[:2], 3))
    for y, x in np.ndindex(image.shape[:2]):
        for c in range(3):  # BGR
            value = float(image[y, x, 2 - c])
            if mask[y, x]:
                if fill == "channel_mean":
                    value = means[c]
                elif fill == "black":
                    value = 0.0
                elif fill == "image_mean":
                    value = image[..., 2 - c].astype(float).mean()
            out[y, x, c] = value - means[c]
    return out


@pytest.mark.parametrize("fill", ["channel_mean", "black", "image_mean"])
def test_plain_fills_are_those_of_the_literal_loop(fill):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)
    masks = rng.random((2, 6, 6)) < 0.4
    means = vgg.MEANS["vggface"]
    found = masking.Filler(images, means, fill).apply(np.array([2, 0]), masks)
    for got, row, mask in zip(found, (2, 0), masks, strict=True):
        assert np.allclose(got, literal_fill(images[row], mask, fill, means), atol=1e-4)


def test_channel_mean_is_exactly_zero_and_the_rest_untouched():
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6), dtype=np.uint8)
    mask = np.eye(6, dtype=bool)[None]
    plain = vgg.prepare(images, vgg.MEANS["imagenet"])
    for fill in masking.FILLS:
        found = masking.Filler(images, vgg.MEANS["imagenet"], fill).apply(np.array([1]), mask)
        assert found.dtype == np.float32
        assert np.array_equal(found[0][~mask[0]], plain[1][~mask[0]]), fill
        if fill == "channel_mean":
            assert not found[0][mask[0]].any()


def test_blur_is_the_local_weighted_mean():
    images = np.random.default_rng(1).integers(0, 256, (1, 20, 20), dtype=np.uint8)
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 10, 9] = True
    found = masking.Filler(images, (0, 0, 0), "blur", blur=0.05).apply(np.array([0]), mask)
    offsets = np.arange(-4, 5)  # one pixel of standard deviation, cut at four
    weight = np.exp(-(offsets**2) / 2)
    weight = np.outer(weight, weight) / weight.sum() ** 2
    wanted = (weight * images[0, 6:15, 5:14]).sum()
    assert found[0, 10, 9, 0] == pytest.approx(wanted, rel=1e-5)


def test_noise_has_the_grey_levels_of_the_image_and_one_form_for_all_levels():
    images = np.random.default_rng(1).integers(0, 256, (2, 20, 20), dtype=np.uint8)
    pair, all_of_it = np.array([0, 1]), np.ones((2, 20, 20), bool)
    twice = masking.Filler(images[[0, 0]], (0, 0, 0), "noise").apply(pair, all_of_it)
    assert not np.array_equal(*twice)
    filler = masking.Filler(images, (0, 0, 0), "noise", seed=3)
    full = filler.apply(np.array([0, 1]), np.ones((2, 20, 20), bool))[..., 0]
    assert [sorted(f.ravel()) for f in full] == [sorted(i.ravel()) for i in images]
    assert abs(np.corrcoef(full[0].ravel(), images[0].ravel())[0, 1]) < 0.2
    half = np.random.default_rng(2).random((2, 20, 20)) < 0.5
    again = masking.Filler(images, (0, 0, 0), "noise", seed=3).apply(np.array([0, 1]), half)
    assert np.array_equal(again[..., 0][half], full[half])
    other = masking.Filler(images, (0, 0, 0), "noise", seed=4).apply(np.array([0]), half[:1])
    assert not np.array_equal(other[0, ..., 0][half[0]], full[0][half[0]])


@pytest.mark.parametrize("colour", [False, True])
def test_inpainting_restores_a_ramp_and_needs_something_left(colour):
    ramp = np.add.outer(np.arange(20.0) * 4, np.arange(20.0) * 6)
    images = np.stack([ramp, ramp * 2 / 3, ramp / 2], -1)[None] if colour else ramp[None]
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 7:12, 8:13] = True
    filler = masking.Filler(images, vgg.MEANS["imagenet"], "inpaint")
    found = filler.apply(np.array([0]), mask)
    # a plane is biharmonic
    assert np.allclose(found[0], vgg.prepare(images, vgg.MEANS["imagenet"])[0], atol=0.02)
    nothing = filler.apply(np.array([0]), np.ones((1, 20, 20), bool))
    assert not nothing.any()
    same = filler.apply(np.array([0]), np.zeros((1, 20, 20), bool))
    assert np.array_equal(same, vgg.prepare(images, vgg.MEANS["imagenet"]))


@pytest.mark.parametrize("fill", masking.FILLS)
def test_images_filled_a_few_at_a_time_are_those_filled_together(fill):
    rng = np.random.default_rng(4)
    images, masks = rng.integers(0, 256, (5, 12, 12), np.uint8), rng.random((5, 12, 12)) < 0.3
    given = (vgg.MEANS["imagenet"], fill)
    together = masking.Filler(images.astype(np.float32), *given).apply(np.arange(5), masks)
    late = masking.Filler(images, *given)
    rows = np.array([4, 1])
    assert late.apply(rows, masks[rows]).tobytes() == together[rows].tobytes()


# ------------------------------------------------------------------------------------------- scores


def literal_scores(study, mask, source, level, fill="channel_mean"):
    """The protocol as printed, one destination and one face at a time: (destination, identity)."""
    trunks, readouts, images, labels, relevance = study
    maps = relevance.sel(model=source).to_numpy()
    if mask == "mirrored":
        maps = np.array([[row[::-1] for row in one] for one in maps])
    rows = []
    for name, some in readouts.items():
        for readout in some:
            task = readout.name.split("-")[0]
            row = []
            for face, image in enumerate(images):
                ranked = sorted(
                    (-abs(float(v)), y * SIDE + x) for (y, x), v in np.ndenumerate(maps[face])
                )
                if mask == "positive":
                    ranked = sorted(
                        (-float(v), y * SIDE + x)
                        for (y, x), v in np.ndenumerate(maps[face])
                        if v > 0
                    )
                removed = [place for _, place in ranked[: int(level / 100 * SIDE**2 + 0.5)]]
                shown = trunks[name].prepare(image[None])
                if fill == "black":
                    blank = -np.array(trunks[name].means, np.float32)
                else:
                    blank = np.zeros(3, np.float32)
                for place in removed:
                    shown[0, place // SIDE, place % SIDE] = blank
                features = trunks[name].model(shown).numpy()
                row.append(readout.logits(features)[0].argmax() == labels[task][face])
            rows.append(row)
    return np.array(rows)


def test_scores_are_those_of_the_literal_loop(study, scores):
    for source in scores["source"].to_numpy()[[0, 6]]:
        for level in (0.0, 1.0, 31.6, 100.0):
            wanted = literal_scores(study, "relevance", source, level)
            found = scores["correct"].sel(mask="relevance", fill="channel_mean", source=source)
            assert np.array_equal(found.sel(level=level).to_numpy(), wanted), (source, level)
    # something happens along the way, else equal says little
    accuracy = scores["correct"].mean(["identity", "destination", "source"]).to_numpy().ravel()
    assert len(set(accuracy.round(6))) > 3


@pytest.mark.parametrize("mask", ["positive", "mirrored"])
def test_baselines_are_those_of_the_literal_loop(study, scores, mask):
    source = "b/gender/0"
    for level in (10.0, 100.0):
        wanted = literal_scores(study, mask, source, level)
        found = scores["correct_baseline"].sel(
            baseline=mask, fill="channel_mean", baseline_source=source, level=level
        )
        assert np.array_equal(found.to_numpy(), wanted)


def test_trunks_with_other_means_see_their_own_fill():
    study = make_study(means=(vgg.MEANS["imagenet"], (10.0, 200.0, 60.0)), instances=1)
    found = compute(study, baselines=[], fills=["channel_mean", "black"], levels=[10.0])
    for fill in ("channel_mean", "black"):
        for source in ("a/identity/0", "b/gender/0"):
            wanted = literal_scores(study, "relevance", source, 10.0, fill)
            one = found["correct"].sel(mask="relevance", fill=fill, source=source, level=10.0)
            assert np.array_equal(one.to_numpy(), wanted)


def test_each_masked_face_goes_through_each_trunk_once(study, monkeypatch):
    spy = Spy(monkeypatch)
    found = compute(study, draws=3, fills=["channel_mean", "noise"])
    sources, few, inner = 8, 4, 3
    per_trunk = FACES * (
        1  # unmasked, for all
        + 2  # fully masked, per fill
        + 2 * sources * inner  # relevance
        + 2 * few * 4 * inner  # mirrored, shifted, scrambled, other_face
        + 2 * few * 2 * (inner + 1)  # one sign: 100% of it is not the whole face
        + 2 * 3 * inner  # random
    )
    assert {name: len(seen) for name, seen in spy.images.items()} == dict.fromkeys("ab", per_trunk)
    assert found["passes"].sum("stage").to_numpy().tolist() == [per_trunk] * 2
    table = masking.summarise_passes(found).set_index("stage")["passes"]
    assert table["relevance"] == 2 * FACES * 2 * sources * inner
    assert table["unmasked"] == 2 * FACES and table["full"] == 2 * FACES * 2
    assert spy.images["a"] == spy.images["b"]


def test_no_face_is_masked_twice(study, monkeypatch):
    spy = Spy(monkeypatch)
    # at 100% all faces are the same blank
    compute(study, levels=LEVELS[:-1], baselines=["mirrored", "random"], draws=1)
    assert len(set(spy.images["a"])) == len(spy.images["a"])


def test_the_literal_protocol_needs_250_times_the_passes():
    """Twenty models, 101 faces, eight levels: counted on the plan, no network needed."""
    rows = [(p, t, i) for p in "ab" for t in ("identity", "gender") for i in range(5)]
    models = pd.DataFrame(rows, columns=["pretraining", "task", "instance"])
    models.insert(0, "model", ["/".join(map(str, row)) for row in rows])
    units = scores_module._plan(models, masking.LEVELS, [], ["channel_mean"], 1, 1)
    ours = 2 * 101 * sum(len(unit.levels) for unit in units)
    coords = scores_module._model_coords("source", models)
    coords |= scores_module._model_coords("destination", models)
    coords |= {"fill": ["channel_mean"], "level": list(masking.LEVELS), "identity": range(101)}
    literal = masking.count_literal(xr.Dataset(coords=coords))
    assert literal == 20 * 5 * 100 * 101 * 8
    assert literal / ours > 250
    assert literal / (2 * 20 * 101 * 8) == 250


def test_a_killed_run_goes_on_and_gives_the_same_bytes(study, scores, monkeypatch, tmp_path):
    settings = {"draws": 2, "checkpoints": tmp_path / "kept", "batch": 16}
    whole = compute(study, **settings | {"checkpoints": None})
    total = int(whole["passes"].sum())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Spy(patch, stop=40)
        compute(study, **settings)
    kept = len(list((tmp_path / "kept").glob("*.npz")))
    assert 3 < kept < 30
    (tmp_path / "kept" / "relevance_old-0.npz").write_bytes(b"of other settings")
    victim = sorted((tmp_path / "kept").glob("relevance_channel*"))[0]
    victim.write_bytes(victim.read_bytes()[:100])
    with monkeypatch.context() as patch:
        spy = Spy(patch)
        resumed = compute(study, **settings)
    assert 0 < sum(map(len, spy.images.values())) < total
    for name, data in (("whole", whole), ("resumed", resumed)):
        store.save_dataset(
            data, tmp_path / f"{name}.nc", {"chapter": "04_masking", "parameters": {}}
        )
    assert (tmp_path / "whole.nc").read_bytes() == (tmp_path / "resumed.nc").read_bytes()
    assert not (tmp_path / "kept" / "relevance_old-0.npz").exists()
    # all is there now
    with monkeypatch.context() as patch:
        spy = Spy(patch)
        again = compute(study, **settings)
    assert not spy.images and again.identical(whole)
    # a batch is no part of the numbers
    assert np.array_equal(whole["correct"], scores["correct"])


@pytest.mark.parametrize("what", ["readout", "trunk", "image", "map", "label", "seed", "blur"])
def test_stale_checkpoints_are_never_used(what, monkeypatch, tmp_path):
    settings = {"levels": [10.0], "baselines": ["shifted"], "checkpoints": tmp_path / "kept"}
    study = make_study(instances=1)
    first = compute(study, **settings)
    trunks, readouts, images, labels, relevance = study
    if what == "readout":
        old = readouts["b"][0]
        kernel = old.kernel.copy()
        kernel[0, 0] += 1
        readouts = readouts | {"b": [Readout(old.name, kernel, old.bias), *readouts["b"][1:]]}
    elif what == "trunk":
        trunks = trunks | {"b": tiny_trunk("b", 99)}
    elif what == "image":
        images = images.copy()
        images[0, 0, 0] ^= 1
    elif what == "map":
        relevance = relevance.copy(deep=True)
        relevance[1, 0, 0, 0] += 1
    elif what == "label":
        labels = labels | {"gender": labels["gender"][::-1].copy()}
        labels["gender"][0] = 1
    else:
        settings |= {what: 1 if what == "seed" else 0.1}
    spy = Spy(monkeypatch)
    compute((trunks, readouts, images, labels, relevance), **settings)
    fresh = int(first["passes"].sel(trunk="a").sum())
    # a changed map touches its own source alone, relevance and the baseline
    wanted = 2 * FACES if what == "map" else fresh
    assert len(spy.images["a"]) == wanted


def test_order_of_faces_and_names_reach_the_table(study, scores):
    table = masking.scores_table(scores)
    assert len(table) == 8 * 8 * len(LEVELS) * FACES
    row = table[
        (table["source_pretraining"] == "b")
        & (table["source_task"] == "gender")
        & (table["source_instance"] == 1)
        & (table["destination_pretraining"] == "a")
        & (table["destination_task"] == "identity")
        & (table["destination_instance"] == 0)
        & (table["level"] == 10.0)
        & (table["identity"] == "id003")
    ]
    wanted = scores["correct"].sel(
        source="b/gender/1", destination="a/identity/0", level=10.0, identity="id003"
    )
    assert len(row) == 1 and bool(row["correct"].item()) == bool(wanted.item())
    checked = check_scores(table)
    curves = compute_expectation(checked)
    assert set(curves["bin"]) == {
        "same_instance",
        "other_initialisation",
        "other_task",
        "other_pretraining",
        "other_both",
    }
    one = curves[
        (curves["destination_pretraining"] == "a")
        & (curves["destination_task"] == "gender")
        & (curves["destination_instance"] == 1)
        & (curves["bin"] == "other_both")
        & (curves["level"] == 31.6)
    ]
    both = scores["correct"].sel(destination="a/gender/1", level=31.6)
    both = both.sel(source=["b/identity/0", "b/identity/1"])
    assert one["accuracy"].item() == pytest.approx(float(both.mean()))
    check_scores(masking.scores_table(scores, ["relevance", "mirrored", "positive"]))


def test_curves_of_masks_come_from_the_same_sources(scores):
    curves = masking.compute_own_curves(scores)
    assert set(curves["mask"]) == set(masking.MASKS)
    assert len(curves) == 8 * len(masking.MASKS) * len(LEVELS)
    # baselines were made for the first initialisation alone, so relevance is taken from it too
    named = curves["destination_pretraining"] + "/" + curves["destination_task"] + "/"
    named += curves["destination_instance"].astype(str)
    found = curves.assign(model=named).set_index(["model", "mask", "level"])["accuracy"]
    for model in scores["destination"].to_numpy():
        for level in LEVELS:
            where = {"destination": model, "level": level}
            first = model[:-1] + "0"
            own = scores["correct"].sel(source=first, **where).mean()
            assert found[model, "relevance", level] == pytest.approx(float(own))
            for mask in masking.BASELINES[:-1]:
                one = scores["correct_baseline"].sel(baseline=mask, baseline_source=first, **where)
                assert found[model, mask, level] == pytest.approx(float(one.mean()))
            random = scores["correct_random"].sel(where).mean()
            assert found[model, "random", level] == pytest.approx(float(random))
    # at both ends every mask of whole pixels is the same
    for level in (0.0, 100.0):
        ends = curves[(curves["level"] == level) & ~curves["mask"].isin(masking.SIGNED)]
        spread = ends.groupby(
            ["destination_pretraining", "destination_task", "destination_instance"]
        )["accuracy"].nunique()
        assert (spread == 1).all()
    drawn = masking.compute_random_curves(scores)
    assert (drawn["draws"] == 2).all() and len(drawn) == 8 * len(LEVELS)
    assert masking.compute_chance(scores) == {"identity": 1 / FACES, "gender": 1 / 2}


# -------------------------------------------------------------------------------------------- signs


def test_shares_left_are_those_of_a_slow_loop():
    maps = smooth(np.random.default_rng(0), 1, 3, 8, 8)
    relevance = make_maps([("a", "gender", "0")], maps)
    table = masking.compute_shares_left(relevance, [0.0, 10.0, 31.6, 100.0])
    for row in table.itertuples():
        positive, negative, removed = [], [], []
        for one in maps[0]:
            values = [float(v) for v in one.ravel()]
            ranked = sorted(range(64), key=lambda k: (-abs(values[k]), k))
            if row.order != "magnitude":
                sign = 1 if row.order == "positive" else -1
                ranked = [k for k in ranked if values[k] * sign > 0]
            gone = set(ranked[: int(row.level * 0.64 + 0.5)])
            left = [values[k] for k in range(64) if k not in gone]
            positive.append(sum(v for v in left if v > 0) / sum(v for v in values if v > 0))
            negative.append(sum(v for v in left if v < 0) / sum(v for v in values if v < 0))
            if gone:
                removed.append(np.mean([values[k] > 0 for k in gone]))
        assert row.positive == pytest.approx(np.mean(positive), abs=1e-6)
        assert row.negative == pytest.approx(np.mean(negative), abs=1e-6)
        if removed:
            assert row.removed_positive == pytest.approx(np.mean(removed), abs=1e-6)
        else:
            assert np.isnan(row.removed_positive)


def test_a_map_without_one_sign_has_no_share_of_it():
    maps = np.abs(smooth(np.random.default_rng(0), 1, 2, 8, 8)) + 0.1
    table = masking.compute_shares_left(make_maps([("a", "gender", "0")], maps), [10.0])
    assert table["negative"].isna().all()
    assert table.set_index("order").loc["negative", "positive"] == 1


def test_rises_are_found_where_they_are():
    curves = pd.DataFrame(
        {
            "model": ["a"] * 4 + ["b"] * 4,
            "level": [100.0, 1.0, 31.6, 10.0] * 2,
            "accuracy": [0.1, 0.9, 0.6, 0.4, 0.2, 0.9, 0.5, 0.7],
        }
    )
    found = masking.summarise_rises(curves, ["model"]).set_index("model")
    assert found.loc["a", "rise"] == pytest.approx(0.2)
    assert found.loc["a", ["before", "after"]].tolist() == [10.0, 31.6]
    assert found.loc["b", "rise"] == 0 and np.isnan(found.loc["b", "before"])


# ----------------------------------------------------------------------------------- planted effect


def planted_study():
    """A network that looks at one patch: the mean of 4 x 4 pixels at the top right decides."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(2, 1, activation="relu", name="conv1_1"),
            layers.AveragePooling2D(4, name="pool1"),
        ],
        name="planted",
    )
    kernel = np.array([[[[1.0, -1.0]] * 3]])  # bright and dark, as two positive features
    model.get_layer("conv1_1").set_weights([kernel, np.zeros(2)])
    trunk = vgg.Trunk("planted", model)
    weights = np.zeros((4, 4, 2, 2))
    weights[0, 3] = [[1.0, 0.0], [0.0, 1.0]]
    # a dark patch must be seen: without any patch, class 0
    readout = Readout("gender-0", weights.reshape(-1, 2), np.array([1.0, 0.0]))
    labels = np.arange(8) % 2
    rng = np.random.default_rng(0)
    images = rng.integers(90, 140, (8, SIDE, SIDE), dtype=np.uint8)
    images[:, :4, 12:] = np.where(labels == 0, 200, 30)[:, None, None]
    maps = np.stack(
        [
            batch.relevance[:, 0]
            for batch in compute_relevance(
                trunk, [readout], images, labels, "integrated_gradients", steps=4, progress=False
            )
        ]
    )
    maps = np.concatenate(maps)[None]
    relevance = make_maps([("planted", "gender", "0")], maps)
    return {"planted": trunk}, {"planted": [readout]}, images, {"gender": labels}, relevance


def test_a_network_that_needs_one_patch_is_broken_there_and_nowhere_else():
    study = planted_study()
    patch = 100 * 16 / SIDE**2
    found = compute(
        study, levels=[0.0, patch, 100.0], baselines=["mirrored", "negative", "random"], draws=4
    )
    assert found["removed"].to_numpy().tolist() == [0, 16, 256]
    accuracy = masking.compute_own_curves(found).set_index(["mask", "level"])["accuracy"]
    assert accuracy["relevance", 0.0] == 1
    assert accuracy["relevance", patch] == 0.5  # class 0 for all
    assert accuracy["mirrored", patch] == 1
    assert accuracy["random", patch] == 1
    # the patch speaks for the class: nothing there is negative
    assert accuracy["negative", patch] == 1
    # and a network that was told nothing of the patch finds nothing there
    study[4][:] = study[4].to_numpy()[:, :, :, ::-1]
    shuffled = compute(study, levels=[patch], baselines=[])
    assert float(shuffled["correct"].mean()) == 1


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([1.0, 101.0], "level = 101 is refused"),
        ([-1.0], "level = -1 is refused"),
        ([float("nan")], "level = nan is refused"),
        ([1.0, 10, 1], "level 1 is given twice"),
        ([0.1], r"0.1% of 256 pixels is less than half a pixel"),
        ([], "There are no levels"),
    ],
)
def test_levels_out_of_range_are_refused(study, levels, said):
    with pytest.raises(InputError, match=said):
        compute(study, levels=levels)


@pytest.mark.parametrize("levels", [["x"], [None], 5, [[1, 2]]])
def test_levels_that_are_no_numbers_are_refused(study, levels):
    with pytest.raises(InputError, match="is refused; give a list of percentages"):
        compute(study, levels=levels)


def test_ends_alone_and_no_ends_are_levels_too(study):
    ends = compute(study, levels=[100, 0], baselines=["random"])
    assert ends["level"].to_numpy().tolist() == [0, 100]
    assert ends["passes"].sum().item() == 2 * 2 * FACES
    assert ends["correct"].std("source").to_numpy().max() == 0
    assert masking.compute_random_curves(ends).empty
    middle = compute(study, levels=[10.0], baselines=[])
    assert middle["passes"].sel(stage=["unmasked", "full"]).sum() == 0
    assert "correct_baseline" not in middle and "correct_random" not in middle


def changed(study, **parts):
    names = ("trunks", "readouts", "images", "labels", "relevance")
    return [parts.get(name, value) for name, value in zip(names, study, strict=True)]


def test_maps_that_rank_nothing_are_refused_before_anything_runs(study, monkeypatch):
    spy = Spy(monkeypatch)
    for value, said in ((0.5, "same everywhere"), (np.nan, "NaN"), (np.inf, "infinity")):
        relevance = study[4].copy(deep=True)
        relevance[7, 2] = value
        with pytest.raises(InputError, match=f"'id002' from b/gender/1 .*{said}"):
            compute(changed(study, relevance=relevance))
    assert not spy.images


def test_what_does_not_belong_together_is_refused(study):
    trunks, readouts, images, labels, relevance = study
    wrong = [
        ({"images": images[:, :8, :8]}, "8 x 8 pixels and relevance maps 16 x 16"),
        ({"images": images[:4]}, "4 images, maps of 5 faces"),
        ({"relevance": relevance.isel(identity=slice(4))}, "5 images, maps of 4 faces"),
        ({"relevance": relevance.rename(x="u")}, "dimensions model, identity, y, u"),
        ({"relevance": relevance.drop_vars("task")}, "coordinates pretraining, task"),
        ({"relevance": relevance.isel(model=[])}, "relevance of no model"),
        ({"relevance": relevance.isel(model=[0, 0])}, "a model twice"),
        ({"readouts": {"a": readouts["a"]}}, "relevance of b/identity/0 and no readout"),
        ({"trunks": {"a": trunks["a"]}}, "no trunk for the readouts of b"),
        ({"labels": {"identity": labels["identity"]}}, "readouts of 'gender' and no true"),
        ({"labels": labels | {"gender": np.zeros(3, int)}}, r"'gender' have shape \(3,\)"),
        ({"labels": labels | {"gender": labels["gender"] + 1}}, "'gender' is out of range"),
        ({"trunks": trunks | {"a": tiny_trunk("a", 0, side=24)}}, "images of another size"),
    ]
    for parts, said in wrong:
        with pytest.raises(InputError, match=said):
            compute(changed(study, **parts))
    with pytest.raises(InputError, match="did you mean 'mirrored'"):
        compute(study, baselines=["mirored"])
    with pytest.raises(InputError, match="did you mean 'black'"):
        compute(study, fills=["blak"])
    for name in ("initialisations", "draws", "batch"):
        with pytest.raises(InputError, match=f"{name} = 0 is refused"):
            compute(study, **{name: 0})
    with pytest.raises(InputError, match="blur = 0 is refused"):
        compute(study, blur=0)
    alone = changed(
        study,
        images=images[:1],
        labels={task: values[:1] for task, values in labels.items()},
        relevance=relevance.isel(identity=[0]),
    )
    with pytest.raises(InputError, match="at least two faces"):
        compute(alone)


def test_a_network_gone_wrong_is_named(study):
    trunks, *_ = study
    broken = tiny_trunk("b", 1)
    kernel, bias = broken.model.get_layer("conv2_1").get_weights()
    broken.model.get_layer("conv2_1").set_weights([kernel * np.float32(1e38), bias])
    with pytest.raises(InputError, match="trunk b gives logits that are not finite"):
        compute(changed(study, trunks=trunks | {"b": broken}))


def test_masks_that_were_not_computed_are_named(study):
    found = compute(study, levels=[10.0], baselines=["shifted"])
    with pytest.raises(InputError, match=r"'mirrored' was not computed.* relevance, shifted"):
        masking.scores_table(found, "mirrored")
    with pytest.raises(InputError, match="Random pixels have no source"):
        masking.scores_table(found, "random")
    with pytest.raises(InputError, match="'blur' was not computed"):
        masking.scores_table(found, fill="blur")
    assert json.dumps(masking.scores_table(found)["fill"].unique().tolist()) == '["channel_mean"]'


# ------------------------------------------------------------------------------------ explanations


def test_a_rise_is_set_beside_the_relevance_that_went():
    levels = [0.0, 1.0, 10.0, 31.6, 100.0]
    curve = {"itself": [0.9, 0.6, 0.4, 0.7, 1.0], "task": [0.9, 0.8, 0.7, 0.6, 1.0]}
    bins = pd.concat(
        pd.DataFrame(
            {
                "destination_pretraining": "a",
                "destination_task": "gender",
                "bin": name,
                "level": levels,
                "accuracy": values,
            }
        )
        for name, values in zip(("same_instance", "other_task"), curve.values(), strict=True)
    )
    shares = pd.DataFrame(
        [
            ("a", task, k, "magnitude", level, positive, negative)
            for task, k, at in (("gender", 0, 0.5), ("gender", 1, 0.3), ("identity", 0, 0.9))
            for level, positive, negative in ((10.0, at, 0.8), (31.6, at - 0.1, 0.2))
        ],
        columns=[
            *("source_pretraining", "source_task", "source_instance"),
            *("order", "level", "positive", "negative"),
        ],
    )
    found = masking.explain_rises(bins, shares)
    assert found["source"].tolist() == ["same instance", "other task"]
    row = found.iloc[0]
    # 100%, where a constant answer is right by luck, is no bump
    assert row["rise"] == pytest.approx(0.3) and (row["from"], row["to"]) == (10.0, 31.6)
    assert row["positive gone"] == pytest.approx(0.1)
    assert row["negative gone"] == pytest.approx(0.6)
    assert found.iloc[1]["rise"] == 0 and np.isnan(found.iloc[1]["negative gone"])
    areas = pd.DataFrame(
        {
            "pretraining": ["a", "b"],
            "task": ["gender"] * 2,
            "relevance": [0.5, 0.6],
            "mirrored": [0.6, 0.7],
            "shifted": [0.7, 0.5],
            "random": [0.4, 0.9],
        }
    )
    said = masking.summarise_findings(areas, found)
    assert said == {
        "n_types": 2,
        "area_relevance": pytest.approx(0.55),
        "area_scattered": pytest.approx(0.625),
        "area_random": pytest.approx(0.65),
        "n_scattered": 1,
        "n_random": 1,
        "rise": pytest.approx(0.3),
        "rise_where": "a, gender, source: same instance, from 10% to 31.6%",
    }
    bare = masking.summarise_findings(areas[["relevance"]], found.iloc[1:])
    assert np.isnan(bare["area_random"]) and bare["n_scattered"] == 0 and bare["rise"] == 0


def test_overlap_is_whole_for_a_symmetric_map_and_chance_for_independent_pixels():
    half = np.random.default_rng(0).normal(size=(1, 40, 32, 16))
    maps = np.concatenate([half, half[..., ::-1]], -1).astype(np.float32)
    relevance = make_maps([("a", "gender", "0")], maps)
    # an even number of pixels, so that no pair of mirrored ones is cut
    table = masking.compute_overlaps(relevance, ["mirrored", "random", "positive"], [0.0, 12.5])
    found = table.set_index("mask")
    assert found.index.tolist() == ["mirrored", "random"]
    assert found.loc["mirrored", "overlap"] == 1
    assert found.loc["random", "overlap"] == pytest.approx(0.125, abs=0.01)
    assert found["chance"].tolist() == [0.125] * 2


def test_example_masks_are_those_that_are_scored(study):
    maps = study[4].isel(model=0).to_numpy()
    rows = masking.example_rows(study[4], 2, ["random", "shifted", "positive"], LEVELS, seed=4)
    assert list(rows) == ["relevance,\na", "relevance,\nb", "random pixels", "map shifted"]
    wanted = masking.mask_pixels(masking.make_ranks(maps, "shifted", 4), 31.6)[2]
    assert np.array_equal(rows["map shifted"][-1], wanted)
    with pytest.raises(InputError, match="example = 5 is refused; there are 5 faces"):
        masking.example_rows(study[4], 5, [], LEVELS)
    pictures = masking.example_fills(study[2], maps, 2, 10.0, study[0])
    mask = masking.mask_pixels(masking.rank_pixels(maps), 10.0)[2]
    assert np.array_equal(pictures["unmasked"][..., 0], study[2][2])
    assert (pictures["black"][mask] == 0).all()
    assert (pictures["channel_mean"][mask] == [124, 117, 104]).all()


# ------------------------------------------------------------------------------------------ figures


def test_figures_draw_the_tables(scores, study):
    import matplotlib.pyplot as plt

    by = ["destination_pretraining", "destination_task"]
    own = masking.compute_own_curves(scores)
    curves = compute_expectation(check_scores(masking.scores_table(scores)))
    random = own[own["mask"] == "random"].assign(bin="random")
    bins = summarise_curves(pd.concat([curves, random]), [*by, "bin"])
    sources = masking.compute_source_curves(check_scores(masking.scores_table(scores)))
    sources = summarise_curves(sources, [*by, "bin", "other"])
    masks = summarise_curves(own, [*by, "mask"])
    chance = masking.compute_chance(scores)
    signs = masking.summarise_shares(masking.compute_shares_left(study[4], LEVELS))
    drawn = [
        (panels.plot_initialisations(bins, chance), "its own relevance", 0),
        (panels.plot_sources(sources, chance), "other task", 2),
        (panels.plot_baselines(masks, chance), "map shifted", 1),
        (panels.plot_signs(masks, chance), "negative only", 3),
        (panels.plot_shares(signs), "positive relevance left", 0),
    ]
    wanted = [
        bins[(bins["bin"] == "same_instance")],
        bins[(bins["bin"] == "other_task")],
        masks[masks["mask"] == "shifted"],
        masks[masks["mask"] == "negative"],
        signs.rename(columns={"positive": "accuracy"}),
    ]
    places = [("a", "identity"), ("b", "identity"), ("a", "gender"), ("b", "gender")]
    for (fig, label, panel), table in zip(drawn, wanted, strict=True):
        ax = fig.axes[panel]
        pretraining, task = places[panel]
        assert (ax.get_title() or ax.get_title("left")) == f"{pretraining}, {task}"
        side = "source" if "source_task" in table else "destination"
        mine = (table[f"{side}_pretraining"] == pretraining) & (table[f"{side}_task"] == task)
        part = table[mine & (table["level"] > 0)].sort_values("level")
        (line,) = [found for found in ax.get_lines() if found.get_label() == label]
        # 0 is no part of the line
        assert np.allclose(line.get_xdata(), part["level"])
        assert np.allclose(line.get_ydata(), part["accuracy"])
        ticks = [text.get_text() for text in fig.axes[-1].get_xticklabels()]
        assert ticks == ["0", "1", "10", "31.6", "100"]
        plt.close(fig)


def test_each_of_three_trunks_has_curves_of_its_own():
    import matplotlib.pyplot as plt

    from lib import figures

    three = make_study((vgg.MEANS["imagenet"],) * 3, instances=1, names=("a", "b", "b-2"))
    data = compute(three, levels=[10.0, 31.6], baselines=[])
    assert data.sizes["source"] == data.sizes["destination"] == 6
    scores = check_scores(masking.scores_table(data))
    curves = masking.compute_source_curves(scores)
    found = curves.set_index(
        ["destination_pretraining", "destination_task", "bin", "other", "level"]
    )["accuracy"]
    for (place, task, name, other, level), value in found.items():
        far = name in ("other_task", "other_both", "other_trunk_and_task")
        wanted = {"gender": "identity", "identity": "gender"}[task] if far else task
        one = data["correct"].sel(
            source=f"{other or place}/{wanted}/0", destination=f"{place}/{task}/0", level=level
        )
        assert value == pytest.approx(float(one.mean()))
    kinds = set(curves[["destination_pretraining", "bin", "other"]].itertuples(index=False))
    kinds = {k[::2] if k[0] == "a" else k for k in map(tuple, kinds) if k[1] == "other_pretraining"}
    assert kinds == {
        ("a", "b"),
        ("a", "b-2"),
        ("b", "other_pretraining", "a"),
        ("b-2", "other_pretraining", "a"),
    }
    by = ["destination_pretraining", "destination_task", "bin", "other"]
    fig = panels.plot_sources(summarise_curves(curves, by), masking.compute_chance(data))
    colours = figures.colours_of(["a", "b", "b-2"])
    panel = {ax.get_title("left") or ax.get_title(): ax for ax in fig.axes}
    lines = {
        name: [
            (line.get_label(), line.get_color(), round(line.get_linewidth(), 1))
            for line in ax.get_lines()
            if line.get_label() in panels.BIN_WORDS.values()
        ]
        for name, ax in panel.items()
    }
    other = [line for line in lines["a, gender"] if line[0] == "other pretraining"]
    assert other == [
        ("other pretraining", colours["b"], 1.8),
        ("other pretraining", colours["b"], 0.9),
    ]
    assert ("other training of the trunk", colours["b"], 0.9) in lines["b, identity"]
    assert ("other training of the trunk", colours["b"], 1.8) in lines["b-2, identity"]
    shown = [text.get_text() for text in fig.legends[0].get_texts()]
    assert {"source: a", "source: b", "source: b-2", "other pretraining"} <= set(shown)
    # no line without an entry
    entries = {h.get_color() for h in fig.legends[0].legend_handles}
    assert {line[1] for part in lines.values() for line in part} <= entries
    plt.close(fig)


def test_two_trunks_have_the_curves_of_their_bins(scores):
    table = check_scores(masking.scores_table(scores))
    one, all_ = masking.compute_source_curves(table), compute_expectation(table)
    keys = ["destination_pretraining", "destination_task", "destination_instance", "bin", "level"]
    pd.testing.assert_series_equal(
        one.set_index(keys)["accuracy"].sort_index(), all_.set_index(keys)["accuracy"].sort_index()
    )
    assert set(one.loc[one["destination_pretraining"] == "a", "other"]) == {"", "b"}


def test_a_sign_that_no_map_has_is_named():
    maps = np.abs(smooth(np.random.default_rng(0), 2, 3, SIDE, SIDE)) + 0.1
    maps[1, 0, 0, 0] = -1
    relevance = make_maps([("a", "gender", "0"), ("b", "gender", "0")], maps)
    lines = masking.list_missing_signs(masking.compute_shares_left(relevance, [10.0]))
    assert len(lines) == 1 and lines[0].startswith("no line of negative relevance for a, gender:")
    some = masking.compute_shares_left(relevance.isel(model=[1]), [10.0])
    assert masking.list_missing_signs(some) == []


# -------------------------------------------------------------------------------------- a whole run


def test_a_run_is_opened_and_matched(tmp_path, monkeypatch):
    from test_inputs import PEOPLE, make_faces, make_readouts, write_faces, write_model

    monkeypatch.setattr(store, "ROOT", tmp_path)
    write_faces(tmp_path / "faces", PEOPLE, (-30, 0, 30))
    make_faces("r", tmp_path / "faces")
    write_model(tmp_path / "net.keras")
    make_readouts("r", tmp_path / "net.keras")
    with pytest.raises(InputError, match=r"relevance\.nc is missing: run 03_relevance"):
        masking.load_study("r")
    values = smooth(np.random.default_rng(0), 2, 4, 32, 32)
    values[1, 2] = 0
    maps = make_maps([("net", "identity", "0"), ("net", "identity", "1")], values)

    def save(names):
        named = maps.assign_coords(identity=list(names)).rename("relevance").to_dataset()
        path = tmp_path / "data" / "runs" / "r" / "relevance.nc"
        store.save_dataset(named, path, {"chapter": "03_relevance", "parameters": {}})

    save(PEOPLE)
    found = masking.load_study("r")
    assert found.left_out == [PEOPLE[2]]
    assert found.labels["identity"].tolist() == [0, 1, 3]
    assert np.array_equal(found.relevance.to_numpy(), values[:, [0, 1, 3]])
    data = masking.compute_scores(*found[:5], levels=[0, 10], baselines=["other_face"])
    assert data["identity"].to_numpy().tolist() == [PEOPLE[0], PEOPLE[1], PEOPLE[3]]
    assert dict(data.sizes)["source"] == 2
    save(["x", *PEOPLE[1:]])
    with pytest.raises(InputError, match="maps of 4 faces that are not the 4 of the run 'r'"):
        masking.load_study("r")
    values[0] = 0
    save(PEOPLE)
    with pytest.raises(InputError, match="Every face has a relevance map that is the same"):
        masking.load_study("r")
