"""Training of the rendered-face trunk: people, augmentation, network, resuming, probes, file."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.linear_model import Ridge

from lib import store, weights
from lib.errors import InputError
from lib.faces.identity import sample_identity
from lib.faces.scenes import DICTIONARY_SEEDS, STUDY_SEEDS
from lib.pretraining import chapter, images, network, probes, schedules, shipping, training
from lib.pretraining.images import Augmentation, People
from lib.pretraining.training import Stage, Training
from lib.vgg import LAYERS, build_vgg16, load_trunk

PEOPLE = People(identities=4, scenes=1, views=5, held_views=1, scene_views=1, size=40)
TINY = Training(
    stages=(
        Stage(4, 1 / 16, 32, 3, 3e-3, 1e-3, 4),
        Stage(4, 1 / 8, 40, 1.5, 1e-3, 5e-4, 4),
    ),
    components=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return images.render_people(PEOPLE, tmp_path_factory.mktemp("people"), shard=2, processes=1)


@pytest.fixture(scope="module")
def pictures(folder):
    return images.load_people(folder)


# ----------------------------------------------------------------------------------------- people


def test_the_people_are_none_of_the_study_and_each_trunk_has_its_own():
    seeds = [set(People(identities=2000, seed=k).seeds()) for k in range(3)]
    for k, these in enumerate(seeds):
        assert len(these) == 2000
        assert not these & set(STUDY_SEEDS)
        assert min(these) > max(DICTIONARY_SEEDS)
        assert all(not these & others for others in seeds[:k])


def test_pictures_have_the_parts_that_were_asked_for(pictures):
    count = pd.crosstab(pictures.table["person"], pictures.table["part"])
    assert (count["training"] == 4).all() and (count["view"] == 1).all()
    assert (count["scene"] == 1).all() and len(count) == 4
    assert pictures.images.shape == (24, 40, 40, 3) and pictures.images.dtype == np.uint8
    held = pictures.table["part"] == "scene"
    assert (pictures.table["scene"][held] == 1).all()
    assert (pictures.table["scene"][~held] == 0).all()
    assert set(pictures.table["seed"]) == set(PEOPLE.seeds())
    # Every image shows something of its own.
    assert len({image.tobytes() for image in pictures.images}) == 24


def test_a_killed_rendering_goes_on_and_gives_the_same(folder, pictures, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "people-0001.npz").unlink()
    kept = (tmp_path / "people-0000.npz").stat().st_mtime_ns
    images.render_people(PEOPLE, tmp_path, shard=2, processes=1)
    assert (tmp_path / "people-0000.npz").stat().st_mtime_ns == kept
    again = images.load_people(tmp_path)
    np.testing.assert_array_equal(again.images, pictures.images)
    pd.testing.assert_frame_equal(again.table, pictures.table)


def test_wrong_people_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="other settings"):
        images.render_people(
            People(identities=4, scenes=1, views=4, held_views=1, size=40), folder, shard=2
        )
    with pytest.raises(InputError, match="holds 4 people, 9 are asked for"):
        images.load_people(folder, 9)
    with pytest.raises(InputError, match="no rendered people"):
        images.load_people(tmp_path)
    (tmp_path / "people-0000.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="damaged"):
        images.load_people(tmp_path)
    with pytest.raises(InputError, match="at least 2"):
        People(identities=1)
    with pytest.raises(InputError, match="none to train on"):
        People(views=3, held_views=3)


# ------------------------------------------------------------------------------ auxiliary targets


def test_auxiliary_targets_do_not_know_the_sex():
    seeds = People(identities=120).seeds()
    assert not any(
        name.startswith("macro/") for seed in seeds[:5] for name in images.local_shape(seed)
    )
    # The person as rendered, of either sex, has the same chance part.
    for seed in seeds[:5]:
        shape = images.local_shape(seed)
        for male in (True, False):
            as_drawn = sample_identity(seed, male=male).morphs
            for name, weight in shape.items():
                assert as_drawn[name] == pytest.approx(weight, abs=1e-12)
    targets = images.shape_targets(seeds, 32)
    assert targets.shape == (120, 32)
    np.testing.assert_allclose(targets.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(targets.std(0), 1, rtol=1e-3)
    np.testing.assert_allclose(targets.T @ targets / 120, np.eye(32), atol=1e-3)
    # And a linear rule that was fitted to half of them does not tell the sex of the others.
    male = np.array([sample_identity(s, dimorphism=1.0).male > 0.5 for s in seeds], float)
    rule = Ridge(1.0).fit(targets[:60, :10], male[:60])
    right = ((rule.predict(targets[60:, :10]) > 0.5) == male[60:]).mean()
    assert 0.3 < right < 0.7


# ----------------------------------------------------------------------------------- augmentation


def augmented(image, settings, count=64, pixels=32, seed=0):
    padded = images.pad_images(np.repeat(image[None], count, 0))
    rng = np.random.default_rng(seed)
    return images.augment(padded, image.shape[0], pixels, settings, rng)[0]


def test_augmentation_hides_and_adds_nothing():
    # Of an even image an even one is left: no patch, no noise, no black border.
    even = np.full((112, 112, 3), 90, np.uint8)
    out = augmented(even, Augmentation())
    assert np.ptp(out, axis=(1, 2, 3)).max() < 1e-3
    assert np.ptp(out[:, 0, 0, 0]) > 10, "brightness and contrast do change"
    # Of a ramp a ramp is left, row by row, up to the rounding to 8 bits: nothing in it is replaced.
    ramp = np.repeat(np.linspace(20, 230, 112)[None, :, None], 112, 0).repeat(3, 2)
    out = augmented(ramp.astype(np.uint8), Augmentation(shift=0, zoom=0.2))
    inner = out[:, 4:-4, 4:-4]
    x = np.arange(inner.shape[2]) - (inner.shape[2] - 1) / 2
    slope = (inner * x[:, None]).sum(2, keepdims=True) / (x**2).sum()
    fitted = inner.mean(2, keepdims=True) + slope * x[:, None]
    assert np.abs(inner - fitted).max() < 2.5
    assert (slope < 0).any() and (slope > 0).any(), "half are mirrored"


def test_every_augmented_pixel_comes_from_the_image_by_one_rule():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    still = Augmentation(shift=0, zoom=0, grey=0)
    for out in augmented(image, still, count=8, pixels=64):
        plain = (
            image.astype(float)
            if np.corrcoef(out[:, :, 0].ravel(), image[:, :, 0].ravel())[0, 1] > 0.9
            else image[:, ::-1].astype(float)
        )
        gain, lift = np.polyfit(plain.ravel(), out.ravel().astype(float), 1)
        assert 0.79 < gain < 1.21
        np.testing.assert_allclose(out, gain * plain + lift, atol=1e-2)
    grey = augmented(image, Augmentation(shift=0, zoom=0, grey=1.0), count=4)
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], rtol=1e-6)


def test_the_network_gets_bgr_less_the_means():
    rgb = np.full((1, 2, 2, 3), [10, 20, 30], np.float32)
    np.testing.assert_allclose(images.to_network(rgb, (1, 2, 3))[0, 0, 0], [29, 18, 7])


# ---------------------------------------------------------------------------------------- network


def lively(width, seed=0):
    """A state whose normalisation is not the identity."""
    state = network.initial_state(width, 5, 3, seed)
    rng = np.random.default_rng(seed + 1)
    for layer in LAYERS:
        for part, low, high in (
            ("gamma", 0.5, 1.5), ("beta", -0.5, 0.5), ("mean", -0.3, 0.3), ("variance", 0.5, 2.0),
        ):  # fmt: skip
            count = state[layer][part].size
            state[layer][part] = rng.uniform(low, high, count).astype(np.float32)
    return state


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(3).normal(0, 50, (2, 64, 64, 3)).astype(np.float32)


def test_folded_and_unfolded_features_are_equal(inputs):
    state = lively(1.0)
    unfolded = network.Network(state).features(tf.constant(inputs), training=False).numpy()
    folded = build_vgg16(64, network.fold(state))(inputs).numpy()
    assert np.abs(folded - unfolded).max() < 2e-5 * np.abs(unfolded).max()
    assert shipping.compare_folded(lively(1 / 8), inputs) < 2e-5
    # Were the running mean forgotten, the difference would show.
    forgotten = {k: dict(v) for k, v in state.items()}
    forgotten["conv3_1"]["mean"] = np.zeros_like(state["conv3_1"]["mean"])
    other = shipping.apply_folded(network.fold(forgotten), tf.constant(inputs)).numpy()
    assert np.abs(other - unfolded).max() > 1e-3 * np.abs(unfolded).max()


def test_normalisation_is_the_formula_written_out(inputs):
    state = lively(1 / 32)
    net = network.Network(state)
    got = net._convolve(tf.constant(inputs), "conv1_1", False).numpy()
    part = state["conv1_1"]
    x = np.pad(inputs.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for y, column in ((0, 0), (10, 20), (63, 63)):
        window = x[:, y : y + 3, column : column + 3]
        value = np.einsum("nhwc,hwck->nk", window, part["kernel"].astype(np.float64))
        value = part["gamma"] * (value - part["mean"]) / np.sqrt(part["variance"] + 1e-3)
        want = np.maximum(value + part["beta"], 0)
        np.testing.assert_allclose(got[:, y, column], want, rtol=1e-4, atol=1e-4)


def test_running_statistics_follow_the_batches(inputs):
    net = network.Network(network.initial_state(1 / 32, 5, 3, 0), momentum=0.5)
    for _ in range(40):
        net._convolve(tf.constant(inputs), "conv1_1", training=True)
    parts = net.variables["conv1_1"]
    plain = tf.nn.conv2d(inputs, parts["kernel"], 1, "SAME").numpy().astype(np.float64)
    values = plain.reshape(-1, plain.shape[-1])
    np.testing.assert_allclose(parts["mean"], values.mean(0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(parts["variance"], values.var(0), rtol=1e-3)
    still = parts["mean"].numpy()
    net._convolve(tf.constant(-inputs), "conv1_1", training=False)
    np.testing.assert_array_equal(parts["mean"], still)


def test_widening_changes_nothing_and_makes_twins_that_differ(inputs):
    state = lively(1 / 32)
    wide = network.widen(state, seed=0)
    assert network.width_of(wide) == 1 / 16
    both = []
    for one in (state, wide):
        net = network.Network(one)
        both.append(net.heads(net.features(tf.constant(inputs), training=False)))
    for a, b in zip(*both, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * float(tf.reduce_max(tf.abs(a))))
    kernel = wide["conv2_1"]["kernel"]
    half = kernel.shape[-1] // 2
    assert np.abs(kernel[..., :half] - kernel[..., half:]).max() > 0.01
    with pytest.raises(InputError, match="half the full width"):
        network.widen(network.initial_state(1.0, 2, 2, 0), 0)


def test_widths_that_give_no_whole_channels_are_refused():
    assert network.count_channels(1 / 64)[0] == 1
    for width in (0, 0.3, 1.5, 1 / 128):
        with pytest.raises(InputError, match="width"):
            network.count_channels(width)


# --------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def undisturbed(pictures, tmp_path_factory):
    return training.train_trunk(
        pictures, PEOPLE, TINY, tmp_path_factory.mktemp("run"), precision="float32"
    )


def test_history_says_what_was_done(undisturbed):
    state, history = undisturbed
    assert network.width_of(state) == 1 / 8
    assert history["stage"].tolist() == [0, 0, 0, 1, 1]
    # 16 training images in batches of 4; the last stage is one pass and a half.
    assert history["steps"].tolist() == [4, 4, 4, 4, 2]
    assert history["images"].tolist() == [16, 16, 16, 16, 8]
    assert history["rate"].iloc[2] < 3e-3
    assert all(history[f"{part}_accuracy"].between(0, 1).all() for part in ("view", "scene"))


@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_a_killed_training_ends_where_an_undisturbed_one_ends(
    pictures, undisturbed, tmp_path, killed_after
):
    training.train_trunk(
        pictures, PEOPLE, TINY, tmp_path, precision="float32", stop_after=killed_after
    )
    # What a kill in the middle of writing would leave behind is not in the way.
    (tmp_path / ".checkpoint.npz.x.partial").write_bytes(b"half")
    state, history = training.train_trunk(pictures, PEOPLE, TINY, tmp_path, precision="float32")
    columns = ["stage", "epoch", "steps", "loss", "accuracy", "auxiliary"]
    pd.testing.assert_frame_equal(history[columns], undisturbed[1][columns], rtol=1e-3)
    for layer, parts in undisturbed[0].items():
        for part, value in parts.items():
            np.testing.assert_allclose(state[layer][part], value, rtol=1e-3, atol=1e-4)


def test_in_a_runs_own_folder_a_training_with_other_settings_makes_room_and_is_kept(
    pictures, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    folder = tmp_path / "data" / "runs" / "r" / "pretraining"
    training.train_trunk(pictures, PEOPLE, TINY, folder, precision="float32", stop_after=1)
    before = (folder / "checkpoint.npz").read_bytes()
    other = Training(stages=TINY.stages, components=3, decay=0.5)
    capsys.readouterr()
    _, history = training.train_trunk(
        pictures, PEOPLE, other, folder, precision="float32", stop_after=1
    )
    assert len(history) == 1, "it has begun anew"
    (kept,) = folder.glob("checkpoint-*.npz")
    assert kept.read_bytes() == before
    said = capsys.readouterr().out
    assert "begins anew; that with decay = " in said and f"is kept as {kept.name}" in said
    (folder / "checkpoint.npz").write_bytes(before[:-1000])
    _, history = training.train_trunk(
        pictures, PEOPLE, other, folder, precision="float32", stop_after=1
    )
    assert len(history) == 1, "nothing of the damaged one was used"
    assert (folder / "checkpoint-damaged.npz").read_bytes() == before[:-1000]
    assert "that which was damaged is kept" in capsys.readouterr().out


def test_other_settings_are_refused_and_stages_to_come_may_change(pictures, tmp_path):
    training.train_trunk(pictures, PEOPLE, TINY, tmp_path, precision="float32", stop_after=4)
    other = Training(stages=TINY.stages, components=3, decay=0.5)
    with pytest.raises(InputError, match="trained with decay"):
        training.train_trunk(pictures, PEOPLE, other, tmp_path, precision="float32")
    more = Training(stages=(*TINY.stages[:1], Stage(4, 1 / 8, 32, 2, 1e-3, 5e-4, 4)), components=3)
    _, history = training.train_trunk(pictures, PEOPLE, more, tmp_path, precision="float32")
    assert history["pixels"].tolist()[-1] == 32
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="damaged"):
        training.train_trunk(pictures, PEOPLE, TINY, tmp_path, precision="float32")


def test_stages_that_cannot_be_are_refused(pictures, tmp_path):
    with pytest.raises(InputError, match="keep the width or double it"):
        Training(stages=(Stage(4, 0.25, 32, 1), Stage(4, 1, 32, 1)))
    with pytest.raises(InputError, match="needs 32"):
        Stage(4, 1, 16, 1)
    with pytest.raises(InputError, match="4 are rendered"):
        few = Training(stages=(Stage(9, 1 / 16, 32, 1),))
        training.train_trunk(pictures, People(identities=9), few, tmp_path)
    with pytest.raises(InputError, match="no batch of 64"):
        big = Training(stages=(Stage(4, 1 / 16, 32, 1),))
        training.train_trunk(pictures, PEOPLE, big, tmp_path)


def test_it_learns_the_people(pictures, tmp_path):
    still = Augmentation(shift=0, zoom=0, mirror=False, contrast=0, brightness=0)
    settings = Training(
        stages=(Stage(4, 1 / 8, 32, 30, 4e-3, 1e-4, 8),), augmentation=still, components=3,
        smoothing=0.0, validate=30,
    )  # fmt: skip
    _, history = training.train_trunk(
        pictures, PEOPLE, settings, tmp_path / "a", precision="float32"
    )
    assert history["accuracy"].iloc[-5:].mean() > 0.9
    assert history["view_accuracy"].iloc[-1] >= 0.5


# ----------------------------------------------------------------------------------------- probes


def planted(strength, rng, people=12, width=80):
    views = np.array([-45.0, -15.0, 0.0, 15.0, 45.0])
    who = rng.normal(size=(people, 1, width))
    turned = rng.normal(size=(1, len(views), width))
    features = strength * who + turned + 0.5 * rng.normal(size=(people, len(views), width))
    identity = np.repeat(np.arange(people), len(views))
    return features.reshape(-1, width), identity, np.tile(views, people)


def test_a_probe_finds_what_is_planted_and_nothing_else():
    rng = np.random.default_rng(0)
    features, identity, view = planted(1.0, rng)
    found = probes.probe_trunks(
        {"a": features, "b": rng.normal(size=features.shape)}, identity, view
    )
    accuracy = found.groupby("trunk")["accuracy"].mean()
    assert accuracy["a"] > 0.95
    assert accuracy["b"] < 0.35
    assert set(found["view"]) == {-45.0, 45.0} and (found["images"] == 12).all()
    # Names of people have no order that could matter.
    names = np.array([f"p{(7 * k) % 12:02d}" for k in identity])
    again = probes.probe_identity(features, names, view)
    np.testing.assert_allclose(again["accuracy"], found[found["trunk"] == "a"]["accuracy"])


def test_a_probe_is_ridge_regression():
    rng = np.random.default_rng(1)
    features, identity, view = planted(0.4, rng)
    table = probes.probe_identity(features, identity, view)
    train = np.isin(view, probes.TRAINED)
    values = probes._standardise(features, np.flatnonzero(train))
    alpha = table["penalty"].iloc[0] * np.trace(values[train] @ values[train].T) / train.sum()
    model = Ridge(alpha).fit(values[train], np.eye(12)[identity[train]])
    for row in table.itertuples():
        asked = view == row.view
        right = (model.predict(values[asked]).argmax(1) == identity[asked]).mean()
        assert row.accuracy == pytest.approx(right)


def test_a_probe_without_its_views_is_refused():
    features, identity, view = planted(1.0, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"views \[90.0\]"):
        probes.probe_identity(features, identity, view, asked=(90.0,))
    with pytest.raises(InputError, match="two views"):
        probes.probe_identity(features, identity, view, trained=(0.0,))


# ------------------------------------------------------------------------------------------- file


def test_a_trunk_is_shipped_once_and_loaded(tmp_path, inputs):
    state = lively(1.0)
    history = pd.DataFrame({"epoch": [1]})
    arrays = network.fold(state)
    path = shipping.ship_trunk("synthface-7", arrays, {"what": "a test"}, history, tmp_path)
    trunk = load_trunk("synthface-7", 64, folder=tmp_path)
    assert trunk.provenance["training"] == {"what": "a test"}
    a = build_vgg16(64, arrays)(inputs).numpy()
    np.testing.assert_allclose(trunk.model(inputs).numpy(), a, atol=5e-3 * np.abs(a).max())
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert f"{store.sha256(path)}  synthface-7.npz" in lines and len(lines) == 2
    with pytest.raises(InputError, match="exists and is not replaced"):
        shipping.ship_trunk("synthface-7", arrays, {}, history, tmp_path)
    with pytest.raises(InputError, match="cannot be called"):
        shipping.ship_trunk("imagenet", arrays, {}, history, tmp_path)
    with pytest.raises(InputError, match="another network"):
        shipping.ship_trunk("synthface-8", network.fold(lively(0.5)), {}, history, tmp_path)


def test_what_is_told_of_a_trunk_is_told_of_its_rounded_weights(inputs):
    """Folded, rounded and unfolded it computes what the plain convolutions do, heads and all."""
    state = lively(1.0)
    rounded = weights.round_kernels(network.fold(state), shipping.BITS)
    again = network.unfold(rounded, state)
    found = network.Network(again).features(tf.constant(inputs), training=False).numpy()
    plain = build_vgg16(64, rounded)(inputs).numpy()
    assert np.abs(found - plain).max() <= 2e-5 * np.abs(plain).max()
    exact = network.Network(state).features(tf.constant(inputs), training=False).numpy()
    assert 1e-4 < np.abs(found - exact).max() / np.abs(exact).max() < 0.1
    assert all(
        np.array_equal(again[head]["kernel"], state[head]["kernel"]) for head in network.HEADS
    )


# -------------------------------------------------------------------------------------- schedules


def test_the_settings_of_a_shipped_trunk_can_be_read_back(pictures):
    people = replace(PEOPLE, identities=6)
    history = pd.DataFrame({"images": [3, 4], "seconds": [1.0, 2.0], "process_seconds": [1.0, 2.0]})
    about = shipping.describe_training(people, TINY, history, pictures, {"view": 0.5}, "float32")
    made = json.loads(json.dumps(about))
    assert made["people"]["identities"] == 4 and made["image_passes"] == 7
    assert schedules.choose_schedule("shipped", made) == (people, TINY)
    again, training_again = schedules.choose_schedule("shipped", made, seed=3)
    assert again.seed == training_again.seed == 3
    assert not set(again.seeds()) & set(people.seeds())
    with pytest.raises(InputError, match="does not say how it was trained"):
        schedules.choose_schedule("shipped", {})


def test_schedules_are_changed_by_their_settings():
    stage = [12, 0.25, 48, 2.5, 1e-3, 1e-4, 16]
    people, settings = schedules.choose_schedule("trial", {}, stages=[stage])
    assert settings.stages == (Stage(12, 0.25, 48, 2.5, 1e-3, 1e-4, 16),)
    assert people.identities == 12
    people, settings = schedules.choose_schedule("large", {}, identities=7)
    assert people.identities == 7 and {s.identities for s in settings.stages} == {7}
    with pytest.raises(InputError, match="seven numbers"):
        schedules.choose_schedule("trial", {}, stages=[[1, 2]])
    with pytest.raises(InputError, match="no schedule"):
        schedules.choose_schedule("tiny", {})


# ------------------------------------------------------------------------------------ shipped file


def test_the_shipped_trunk_says_how_it_was_made():
    trunk = load_trunk("synthface", 64)
    made = trunk.provenance["training"]
    people, plan = schedules.read_schedule(made)
    assert plan.stages[-1].width == 1
    assert not set(people.seeds()) & {*STUDY_SEEDS, *DICTIONARY_SEEDS}
    history = chapter.load_history("synthface")
    assert made["image_passes"] == history["images"].sum()
    done = history.groupby("stage")[["identities", "width", "pixels"]].first()
    planned = [[s.identities, s.width, s.pixels] for s in plan.stages]
    np.testing.assert_allclose(done.to_numpy(), planned)
    found = chapter.shipped_probes(made).groupby("trunk")["accuracy"].mean()
    assert found["synthface"] > found["imagenet"] + 0.2
    for line in (shipping.FOLDER / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert store.sha256(shipping.FOLDER / name) == digest
    assert (shipping.FOLDER / "synthface.npz").stat().st_size < 30e6
