"""Networks to dissect and controlled experiments: planted cues are learned, others are not."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats

from lib import network
from lib.dissection import dissect, experiment
from lib.dissection.dissect import Tap
from lib.dissection.experiment import (
    GRADIENT,
    TABLES,
    Bench,
    Remembered,
    Results,
    run_experiment,
    summarise_experiment,
)
from lib.dissection.learners import DEPTHS, build_resnet, find_hooks, make_learner
from lib.dissection.networks import summarise_networks, train_networks
from lib.dissection.pictures import (
    KINDS,
    Pairs,
    Pictures,
    group_ages,
    load_pairs,
    make_labels,
    make_table,
    plant_cue,
    render_pairs,
    render_pictures,
    split_people,
    to_grey,
)
from lib.dissection.training import Trainer, cache_features
from lib.errors import InputError
from lib.faces.concepts import CONCEPTS
from lib.faces.scenes import DICTIONARY_SEEDS, GENERATOR_FIRST, STUDY_SEEDS
from lib.relevance import Difference, compute_relevance
from lib.vgg import Trunk, compute_features

SIZE = 32
#: Of the drawn people: where the glasses, the chin and the mouth are.
GLASSES = np.zeros((SIZE, SIZE), bool)
GLASSES[8:14, 5:14] = GLASSES[8:14, 18:27] = True
GLASSES[10:12, 7:12] = GLASSES[10:12, 20:25] = False
CHIN, MOUTH = (slice(24, 29), slice(12, 20)), (slice(18, 22), slice(10, 22))


def draw(people, views=2, seed=0):
    """Drawn people: the chin is a little greener in males, the mouth of every other is red."""
    rng = np.random.default_rng(seed)
    count = people * views
    person = np.repeat(np.arange(people), views)
    scene = np.tile(np.arange(views), people)
    male, smile = person % 2 == 0, (scene + person // 2) % 2 == 0
    images = (
        rng.normal(120, 10, (count, SIZE, SIZE, 3)) + rng.normal(0, 4, (people, 1, 1, 3))[person]
    )
    images += [40, 0, -40]
    images[:, CHIN[0], CHIN[1], 1] += np.where(male, 60, -60)[:, None, None]
    images[:, MOUTH[0], MOUTH[1], 0] += np.where(smile, 90, 0)[:, None, None]
    table = pd.DataFrame(
        {
            "seed": person + 10,
            "gender": np.where(male, "male", "female"),
            "age": np.array([15.0, 30, 50, 70])[person // 2 % 4],
            "ethnicity": "mixed",
            "expression": np.where(smile, "laugh", "anger"),
            "glasses": "none",
            "yaw": 0.0,
            "light": "soft",
            "person": person,
            "scene": scene,
        }
    )
    plain = images.clip(0, 255).astype(np.uint8)
    worn = plain.copy()
    worn[:, GLASSES] = 10
    return Pairs(plain, worn, np.repeat(GLASSES[None], count, 0), table)


class Drawn:
    """A dictionary of drawn people: half of either gender wear glasses."""

    def __init__(self, pairs):
        self.pairs, self.has_exact_masks, self.has_landmarks = pairs, True, True
        self.concepts = ["Eyeglasses", "mouth", "nose", "left_eye"]
        self.worn = plant_cue(pairs.male, 50, 9)

    def __len__(self):
        return len(self.pairs)

    def images(self, index, size=None, colour=None):
        worn = self.worn[index][:, None, None, None]
        return np.where(worn, self.pairs.worn[index], self.pairs.plain[index])

    def masks(self, i, size=None):
        out = np.zeros((SIZE, SIZE, len(CONCEPTS)), bool)
        order = list(CONCEPTS)
        out[..., order.index("Eyeglasses")] = GLASSES & self.worn[i]
        out[(*MOUTH, order.index("mouth"))] = True
        out[14:18, 14:18, order.index("nose")] = True
        out[10:12, 7:12, order.index("left_eye")] = True
        return out

    def has(self, concept):
        return self.worn if concept == "Eyeglasses" else np.ones(len(self), bool)

    def group(self, concept):
        if concept != "gender":
            raise InputError("no such column")
        return np.where(self.pairs.male, "male", "female")


@pytest.fixture(scope="module")
def pairs():
    return draw(32)


@pytest.fixture(scope="module")
def dictionary():
    return Drawn(draw(20, 1, seed=5))


@pytest.fixture(scope="module")
def trunk():
    """A chain with the names of VGG-16's layers, and random weights."""
    kinds = tf.keras.layers
    x = image = tf.keras.Input((SIZE, SIZE, 3), name="image")
    for block, units in ((1, 12), (2, 16), (3, 24)):
        x = kinds.Conv2D(units, 3, padding="same", activation="relu", name=f"conv{block}_1")(x)
        x = kinds.MaxPooling2D(2, name=f"pool{block}")(x)
    model = tf.keras.Model(image, x, name="small")
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if layer.weights:
            shape = layer.kernel.shape
            spread = np.sqrt(2 / np.prod(shape[:3]))
            layer.set_weights([rng.normal(0, spread, shape), np.zeros(shape[-1])])
    return Trunk("small", model)


LEARN = {"epochs": 12, "batch": 8, "learning_rate": 2e-3}


@pytest.fixture(scope="module")
def chain(pairs, trunk):
    return Bench(pairs, architecture="vgg16", trunk=trunk, trained_from="conv2_1", progress=False)


@pytest.fixture(scope="module")
def residual(pairs):
    return Bench(pairs, architecture="resnet14", width=1 / 16, progress=False)


def planted(bench, percent, seed=0):
    rows, _ = bench.split(seed)
    cue = np.zeros(len(bench.pairs), bool)
    cue[rows] = plant_cue(bench.pairs.male[rows], percent, seed)
    return cue


# --------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("percent", [50, 60, 70, 80, 90, 100])
def test_planted_proportions_are_exact(percent):
    male = np.random.default_rng(0).permutation(np.arange(50) < 20)
    cue = plant_cue(male, percent, 3)
    assert cue[male].sum() == 20 * percent // 100
    assert cue[~male].sum() == 30 * (100 - percent) // 100
    np.testing.assert_array_equal(cue, plant_cue(male, percent, 3))
    # a larger P only adds males and takes females away
    less = plant_cue(male, 50, 3)
    assert cue[male & less].all() and not cue[~male & ~less].any()
    if percent < 100:
        assert (cue != plant_cue(male, percent, 4)).any()


def test_rendered_pairs_differ_by_the_glasses_alone(tmp_path):
    found = load_pairs(tmp_path, 4, views=1, size=40, processes=1)
    assert found.plain.shape == found.worn.shape == (4, 40, 40, 3)
    assert found.male.tolist() == [True, False, True, False]
    assert found.mask.any((1, 2)).all()
    # lenses shine and rims throw a shadow, so only what is far from the eyes is the same
    assert (found.plain[:, 30:] == found.worn[:, 30:]).mean() > 0.95
    assert (found.plain != found.worn).any(-1)[found.mask].mean() > 0.9
    grey = found.cued("greyscale")
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    assert (found.plain[..., 0] != found.plain[..., 2]).mean() > 0.2
    ages = found.table["age"]
    assert ages.between(10, 85).all()
    # read, not rendered again
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = load_pairs(tmp_path, 4, views=1, size=40, processes=1)
    for name in ("plain", "worn", "mask"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    pd.testing.assert_frame_equal(again.table, found.table, check_dtype=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    mixed = found.pictures()
    assert (mixed.table["glasses"] == "worn").sum() == 2


def test_people_are_new_ones():
    found = render_pictures(4, scenes=1, views=1, size=32, processes=1)
    seeds = set(found.table["seed"])
    assert len(seeds) == 4 and min(seeds) >= GENERATOR_FIRST
    assert not seeds & {*STUDY_SEEDS} and max(DICTIONARY_SEEDS) < min(seeds)
    assert found.images.shape == (4, 32, 32, 3)
    assert found.table["gender"].tolist() == ["male", "female"] * 2
    # of three people with two heads each, who take turns
    generated = pd.concat([found.table] * 2, ignore_index=True).iloc[:6].assign(scene=range(6))
    table = make_table(generated, 3)
    assert table["person"].tolist() == [0, 1, 2, 0, 1, 2]
    assert table["scene"].tolist() == [0, 0, 0, 1, 1, 1]


def test_labels(pairs):
    pictures = pairs.pictures()
    labels, names = make_labels(pictures, "age")
    assert names == ("0-20", "20-40", "40-60", "60+")
    assert group_ages(np.array([19.9, 20, 59, 60])).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(labels, pairs.table["person"] // 2 % 4)
    smile, _ = make_labels(pictures, "smile")
    np.testing.assert_array_equal(smile, pairs.table["expression"] == "laugh")
    gender, names = make_labels(pictures, "gender")
    assert [names[k] for k in gender] == pairs.table["gender"].tolist()
    with pytest.raises(InputError, match="no network 'gendre' - did you mean 'gender'"):
        make_labels(pictures, "gendre")


def test_a_split_keeps_people_and_genders_apart(pairs):
    person = pairs.table["person"].to_numpy()
    held = split_people(person, pairs.male, 0.25, 0)
    assert not set(person[held]) & set(person[~held])
    assert held[pairs.male].mean() == held[~pairs.male].mean() == 0.25
    assert (held != split_people(person, pairs.male, 0.25, 1)).any()


def test_grey_levels_are_those_of_pillow(pairs):
    from PIL import Image

    expected = np.array(Image.fromarray(pairs.plain[3]).convert("L"), int)
    assert np.abs(to_grey(pairs.plain[3:4])[0, ..., 0] - expected).max() <= 1


# ----------------------------------------------------------------------------------- architectures


def test_the_residual_network_is_keras_resnet50():
    ours = build_resnet(SIZE, 3)
    theirs = tf.keras.applications.ResNet50(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=3, classifier_activation=None
    )
    skip = ("image", "logits", "predictions")
    names = [[x.name for x in m.layers if x.name not in skip] for m in (ours, theirs)]
    assert sorted(names[0]) == sorted(n for n in names[1] if not n.startswith("input"))
    rng = np.random.default_rng(0)
    for layer in ours.layers:
        other = (
            theirs.get_layer("predictions" if layer.name == "logits" else layer.name)
            if (layer.weights)
            else None
        )
        if other is not None:
            values = [v + rng.uniform(0, 0.1, v.shape) for v in other.get_weights()]
            layer.set_weights(values)
            other.set_weights(values)
    x = rng.normal(0, 50, (2, SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4)
    hooks, outputs = find_hooks(ours)
    assert list(hooks.values()) == [
        "conv2_block3_1_conv", "conv3_block4_1_conv", "conv4_block6_1_conv", "conv5_block3_1_conv",
    ]  # fmt: skip
    assert outputs["stage 4"] == "conv5_block3_out"


def test_a_narrow_network_has_its_share_of_the_channels():
    model = build_resnet(SIZE, 2, DEPTHS["resnet14"], 1 / 8)
    assert model.get_layer("conv5_block1_2_conv").kernel.shape == (3, 3, 64, 64)
    for wrong in ({"width": 0.3}, {"width": 2.0}):
        with pytest.raises(InputError, match="width is"):
            build_resnet(SIZE, 2, **wrong)
    with pytest.raises(InputError, match="size 16"):
        build_resnet(16, 2)


def test_frozen_features_and_the_trained_part_are_the_complete_network(pairs, trunk):
    learner = make_learner("vgg16", 2, size=SIZE, trunk=trunk, trained_from="conv2_1")
    features = cache_features(trunk, pairs.plain, learner.cut, progress=False)
    assert features.dtype == np.float16
    exact = compute_features(trunk, pairs.plain, layer="pool1", progress=False)
    np.testing.assert_allclose(features, exact, rtol=1e-3, atol=1e-4)
    learner.standardise(features[:40])
    scaled = tf.keras.Model(learner.part.inputs, learner.part.get_layer("logits").input)
    pooled = scaled(features[:40].astype(np.float32)).numpy()
    np.testing.assert_allclose(pooled.mean(0), 0, atol=1e-4)
    trainer = Trainer(learner.part, "float32")
    trainer.fit(features.__getitem__, pairs.male, np.arange(40), **LEARN)
    part = trainer.predict(features.__getitem__, np.arange(64))
    complete = learner.finish()
    whole = complete(trunk.prepare(pairs.plain)).numpy()
    np.testing.assert_allclose(part, whole, atol=0.01 * np.abs(whole).max())
    assert [x.name for x in complete.layers][:7] == [x.name for x in trunk.model.layers]
    network.read_chain(complete)
    # what is frozen is the trunk's, what learned is not
    for name, learned in (("conv1_1", False), ("conv2_1", True), ("conv3_1", True)):
        same = (
            complete.get_layer(name).get_weights()[0]
            == trunk.model.get_layer(name).get_weights()[0]
        )
        assert same.all() != learned


# ---------------------------------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def trained(pairs, trunk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    settings = dict(trunk=trunk, trained_from="conv2_1", folder=folder, progress=False, **LEARN)
    found = train_networks(["recognition", "gender", "smile"], pairs.pictures(), **settings)
    return found, folder, settings


def test_networks_learn_what_is_there(trained):
    found, _, _ = trained
    table = summarise_networks(found, draws=50).set_index(["network", "part"])
    assert table.loc[("smile", "validation"), "accuracy"] > 0.8
    assert table.loc[("gender", "validation"), "accuracy"] > 0.75
    assert table.loc[("gender", "validation"), "people"] == 8
    assert table.loc[("smile", "validation"), "chance"] == 0.5
    matching = table.loc[("recognition", "matching")]
    assert matching["chance"] == 1 / 8 and matching["images"] == 8
    gender = found["gender"]
    people = gender.predictions.groupby("part")["person"].agg(set)
    assert not people["training"] & people["validation"]
    assert gender.classes == ("female", "male")
    assert gender.hooks == {"block 1": "conv1_1", "block 2": "conv2_1", "block 3": "conv3_1"}
    assert gender.learned == ("block 2", "block 3")
    # the losses fall
    for one in found.values():
        assert one.history["loss"].iloc[-1] < one.history["loss"].iloc[0]


def test_kept_networks_are_read_and_give_the_same(trained, pairs, monkeypatch):
    found, folder, settings = trained
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 3
    monkeypatch.setattr(Trainer, "fit", None)
    again = train_networks(["smile"], pairs.pictures(), **settings)["smile"]
    x = again.trunk.prepare(pairs.plain[:5])
    np.testing.assert_array_equal(again.trunk.model(x), found["smile"].trunk.model(x))
    pd.testing.assert_frame_equal(again.predictions, found["smile"].predictions)
    pd.testing.assert_frame_equal(again.history, found["smile"].history)
    monkeypatch.undo()
    # trained again it is the same to the byte, whatever came before it
    (path,) = folder.glob("*smile*")
    path.unlink()
    train_networks(["smile"], pairs.pictures(), **settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_trained_networks_can_be_explained_and_dissected(trained, pairs, dictionary):
    smile = trained[0]["smile"]
    trunk, readout = smile.split()
    stream = compute_relevance(
        trunk, [readout], pairs.plain[:12], Difference(1, 0), on_zero="keep", progress=False
    )
    maps = np.concatenate([batch.relevance[:, 0] for batch in stream])
    inside = np.maximum(maps, 0)[:, MOUTH[0], MOUTH[1]].sum((1, 2))
    share = (inside / np.maximum(maps, 0).sum((1, 2))).mean()
    assert share > 1.5 * (4 * 12) / SIZE**2
    found = dissect(
        smile.trunk, dictionary, list(smile.hooks.values()), draws=0, tail=0.02, progress=False
    )
    assert set(found) == {"conv1_1", "conv2_1", "conv3_1"}


# -------------------------------------------------------------------------------------- experiments


def test_a_network_answers_to_a_cue_that_says_all(chain):
    found, mass = {}, {}
    for percent in (50, 100):
        chain.train("glasses", planted(chain, percent), 0, **LEARN)
        found[percent] = chain.test("glasses", 0)
        relevance = chain.explain(0, 10, margin=1)
        assert relevance["method"].unique() == ["a_flat"] and len(relevance) == 10
        mass[percent] = relevance["mass"].mean()
    assert found[100]["as_planted"] > 0.9 and found[100]["swapped"] < 0.2
    assert found[100]["by_cue"] > 0.9
    assert abs(found[50]["by_cue"] - 0.5) < 0.1 and found[50]["balanced"] > 0.9
    assert mass[100] > 1.4 * mass[50]
    # as many pictures with the cue, whatever their gender: it says nothing
    cue = np.random.default_rng(1).permutation(planted(chain, 100))
    chain.train("glasses", cue, 0, **LEARN)
    assert abs(chain.test("glasses", 0)["by_cue"] - 0.5) < 0.1
    assert chain.explain(0, 10, margin=1)["mass"].mean() < 0.75 * mass[100]


def test_a_residual_network_does_so_too_and_begins_anew_each_time(residual):
    learn = {"epochs": 6, "batch": 8, "learning_rate": 5e-3}
    weights, mass = [], []
    for percent in (50, 100, 50):
        residual.train("glasses", planted(residual, percent), 0, **learn)
        weights.append([w.copy() for w in residual.learner.complete.get_weights()])
        relevance = residual.explain(0, 10, margin=1)
        mass.append(relevance["mass"].mean())
        if percent == 100:
            found = residual.test("glasses", 0)
    assert found["as_planted"] > 0.9 and found["swapped"] < 0.2
    assert relevance["method"].unique() == [GRADIENT]
    assert mass[1] > 1.1 * mass[0]
    for first, last in zip(weights[0], weights[2], strict=True):
        np.testing.assert_array_equal(first, last)
    assert any((a != b).any() for a, b in zip(*weights[:2], strict=True))


def test_integrated_gradients_add_up_to_the_logits(chain, monkeypatch):
    """With many steps; the usual few only tell where."""
    monkeypatch.setattr(experiment, "STEPS", 200)
    chain.train("glasses", planted(chain, 50), 0, epochs=2, batch=8, learning_rate=2e-3)
    prepared = chain.network().prepare(chain.pairs.worn[:3])
    maps = chain._gradient_maps(lambda rows: prepared[rows])
    logits = chain.learner.complete(np.concatenate([prepared, 0 * prepared[:1]])).numpy()
    change = np.diff(logits[:3] - logits[3])[:, 0]
    np.testing.assert_allclose(maps.sum((1, 2)), change, atol=0.03 * np.abs(change).max())


def test_greyscale_is_a_cue_too(chain):
    chain.train("greyscale", planted(chain, 100), 0, **LEARN)
    assert chain.test("greyscale", 0)["by_cue"] > 0.8


def test_the_later_layers_are_dissected_like_the_whole(chain, dictionary):
    remembered = Remembered(dictionary, SIZE)
    detectors, bias = chain.dissect(remembered)
    assert set(detectors["layer"]) == {"conv2_1", "conv3_1"}
    assert set(bias["concept"]) == {"gender"}
    layers = list(chain.hooks.values())
    whole = dissect(chain.network(), dictionary, layers, draws=0, progress=False)
    kept = remembered.on_features(chain.trunk, chain.learner.cut, "float32")
    model = tf.keras.Model(
        chain.learner.part.inputs, chain.learner.part.get_layer("conv3_1").output
    )
    peaks = model(kept.kept.astype(np.float32)).numpy().max((1, 2))
    most = float(whole["conv3_1"]["peak"].max())
    np.testing.assert_allclose(peaks, whole["conv3_1"]["peak"], atol=1e-3 * most)
    counted = detectors.groupby("layer")["units"].first()
    assert counted.to_dict() == {"conv2_1": 16, "conv3_1": 24}


@pytest.mark.parametrize("architecture", ["resnet14", "vgg16"])
def test_what_learned_again_is_dissected_as_it_is_now(
    pairs, trunk, dictionary, architecture, monkeypatch
):
    bench = Bench(
        pairs, architecture=architecture, width=1 / 16, trunk=trunk, trained_from="conv2_1",
        progress=False,
    )  # fmt: skip
    noted = []
    monkeypatch.setattr(
        experiment, "dissect", lambda *a, **k: noted.append(dissect(*a, **k)) or noted[-1]
    )
    remembered, last = Remembered(dictionary, SIZE), list(bench.hooks.values())[-1]
    for seed in (0, 1):
        bench.train("glasses", planted(bench, 100, seed), seed, **LEARN | {"epochs": 1})
        bench.dissect(remembered, tail=0.05)
        alone = dissect(bench.network(), dictionary, [last], draws=0, tail=0.05, progress=False)[
            last
        ]
        most = float(np.abs(alone["peak"]).max())
        np.testing.assert_allclose(noted[seed][last]["peak"], alone["peak"], atol=1e-3 * most)
    first, second = (found[last]["peak"].to_numpy() for found in noted)
    assert np.abs(first - second).max() > 0.01 * most


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_is_compiled_once_and_has_the_weights_that_it_has_now(trunk, precision):
    model = tf.keras.models.clone_model(trunk.model)
    model.set_weights(trunk.model.get_weights())
    network = dataclasses.replace(trunk, model=model)
    x = np.random.default_rng(0).normal(0, 50, (2, SIZE, SIZE, 3)).astype(np.float32)
    tap = Tap(network, ["conv1_1", "conv3_1"], precision)
    before = tap(x)
    model.set_weights([2 * w for w in model.get_weights()])
    tap.update()
    for maps, first, factor in zip(tap(x), before, (2, 8), strict=True):
        np.testing.assert_allclose(maps, factor * first, rtol=1e-4)
        assert maps.shape[2] == maps.shape[3] and first.max() > 0


RUN = {
    "architecture": "vgg16", "trained_from": "conv2_1", "percents": (50, 100), "seeds": (0,),
    "epochs": 2, "batch": 8, "explain": 4, "progress": False,
}  # fmt: skip


def test_an_experiment_is_taken_up_again_and_ends_the_same(
    pairs, trunk, dictionary, tmp_path, monkeypatch
):
    settings = RUN | {"folder": tmp_path, "trunk": trunk}
    first = run_experiment(pairs, dictionary, **settings)
    cells = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert len(cells) == 4 and not list(tmp_path.rglob("*.npy"))
    # all there: nothing is trained
    with monkeypatch.context() as patch:
        patch.setattr(Bench, "train", None)
        again = run_experiment(pairs, dictionary, **settings)
    # two lost, one of them half written: they are computed anew, and nothing else before them
    lost = sorted(cells)[1:3]
    lost[0].unlink()
    lost[1].write_text("{")
    third = run_experiment(pairs, dictionary, **settings)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == cells
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(again, name))
        pd.testing.assert_frame_equal(getattr(first, name), getattr(third, name))
    assert set(first.detectors["kind"]) == set(KINDS)
    assert set(first.detectors["percent"]) == {50, 100}
    assert set(first.relevance["kind"]) == {"glasses"}
    assert len(first.accuracy) == 4 and first.accuracy["pictures"].eq(32).all()
    assert set(first.bias["block"]) == {"block 2", "block 3"}
    # of other masks, and at another limit, nothing is taken from what was kept
    one = settings | {"kinds": ["glasses"], "percents": [50]}
    moved = Drawn(dictionary.pairs)
    moved.masks = lambda i, size=None: np.roll(dictionary.masks(i), 3, 0)
    run_experiment(pairs, moved, **one)
    nothing = run_experiment(pairs, dictionary, **one, limit=0.99, tail=0.1)
    assert not nothing.detectors["detectors"].any() and first.detectors["detectors"].any()
    assert len({path.parent for path in tmp_path.rglob("*.json")}) == 3
    curves, trends, steepness = summarise_experiment(first)
    assert curves["low"].isna().all() and set(curves["seeds"]) == {1}
    assert trends["slope"].notna().all() and trends["page_p"].isna().all()
    assert set(steepness["quantity"]) == {"detectors in the eye region", "biased units"}


def test_what_is_kept_depends_on_all_of_the_dictionary(dictionary):
    def digest(mask="exact", level=0.95, **other):
        changed = Drawn(dictionary.pairs)
        changed.ellipse_mask = lambda concept, i, size, level: np.full((4, 4), level > 0.9)
        for name, value in other.items():
            setattr(changed, name, value)
        return Remembered(changed, SIZE).digest(mask, level)

    assert digest() == digest() == digest(level=0.5)
    masks = lambda i, size=None: np.roll(dictionary.masks(i), 3, 0)  # noqa: E731
    group = lambda concept: np.full(len(dictionary), concept)  # noqa: E731
    has = lambda concept: np.ones(len(dictionary), bool)  # noqa: E731
    found = [digest(), digest(masks=masks), digest(group=group), digest(has=has)]
    found += [digest("ellipse"), digest("ellipse", 0.5)]
    assert len(set(found)) == 6


def test_intervals_stay_where_values_can_lie():
    results = invented({"stage 1": 0.0}, 40.0, seeds=2)
    curves, _, _ = summarise_experiment(results)
    assert curves["low"].min() == 0 and curves["high"].max() == 100
    assert (curves["low"] < curves["high"]).all()


def invented(slopes, noise, seeds=4, seed=0):
    """Results with known slopes, per 10 points of P, of the biased units in each block."""
    rng = np.random.default_rng(seed)
    rows = [
        ("greyscale", p, s, block, "x", "gender", 100, 5 + slope * (p - 50) / 10
         + noise * rng.normal(), 0.0, 0.5)
        for s in range(seeds)
        for p in (50, 60, 70, 80, 90, 100)
        for block, slope in slopes.items()
    ]  # fmt: skip
    columns = ["kind", "percent", "seed", "block", "layer", "concept"]
    columns += ["units", "biased", "share", "largest"]
    empty = {
        "detectors": pd.DataFrame(columns=["kind", "percent", "seed", "block", "region"]),
        "relevance": pd.DataFrame(columns=["kind", "percent", "seed", "mass"]),
        "accuracy": pd.DataFrame(columns=["kind", "percent", "seed", "by_cue"]),
    }
    return Results(bias=pd.DataFrame(rows, columns=columns), **empty)


def test_trends_are_those_that_were_put_in():
    slopes = {"stage 1": 0.0, "stage 2": 1.0, "stage 3": 2.0, "stage 4": 4.0}
    results = invented(slopes, 1.0, seed=1)
    curves, trends, steepness = summarise_experiment(results)
    trends = trends.set_index("block")
    for block, slope in slopes.items():
        assert trends.loc[block, "low"] < slope < trends.loc[block, "high"]
    assert trends.loc["stage 1", "page_p"] > 0.05 and trends.loc["stage 1", "tau_p"] > 0.05
    assert (trends.loc["stage 2":, "page_p"] < 0.01).all()
    assert (trends.loc["stage 2":, "tau_p"] < 0.01).all()
    assert steepness["steeper"].item() and steepness["page_p"].item() < 0.01
    # the slow way
    some = results.bias.query("block == 'stage 3'")
    each = [np.polyfit(g["percent"] / 10, g["biased"], 1)[0] for _, g in some.groupby("seed")]
    np.testing.assert_allclose(trends.loc["stage 3", "slope"], np.mean(each))
    interval = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    np.testing.assert_allclose(trends.loc["stage 3", ["low", "high"]].astype(float), interval)
    grid = np.array([g.sort_values("percent")["biased"] for _, g in some.groupby("seed")])
    ranks = stats.rankdata(grid, axis=1)
    assert trends.loc["stage 3", "page"] == (ranks.sum(0) * np.arange(1, 7)).sum()
    at = curves.query("block == 'stage 3' and percent == 80").iloc[0]
    np.testing.assert_allclose(at["mean"], some.query("percent == 80")["biased"].mean())
    # one seed: the interval of the regression
    _, alone, _ = summarise_experiment(invented(slopes, 1.0, seeds=1))
    one = invented(slopes, 1.0, seeds=1).bias.query("block == 'stage 2'")
    line = stats.linregress(one["percent"] / 10, one["biased"])
    row = alone.set_index("block").loc["stage 2"]
    np.testing.assert_allclose(row["slope"], line.slope)
    np.testing.assert_allclose(row["high"], line.slope + stats.t.ppf(0.975, 4) * line.stderr)


def test_slopes_that_do_not_differ_are_not_steeper():
    _, _, steepness = summarise_experiment(
        invented({"stage 1": 2.0, "stage 2": 2.0, "stage 3": 1.0, "stage 4": 2.0}, 0.3)
    )
    assert not steepness["steeper"].item() and steepness["page_p"].item() > 0.05


# -------------------------------------------------------------------------------------- bad inputs


def test_refusals(pairs, trunk, dictionary, tmp_path):
    one = dataclasses.replace(pairs, table=pairs.table.assign(gender="male"))
    for wrong, text in (
        (dict(percents=[40]), "P = 40"),
        (dict(percents=[101]), "P = 101"),
        (dict(percents=[]), "at least one cue"),
        (dict(seeds=[0, 0]), "each once"),
        (dict(kinds=["glases"]), "did you mean 'glasses'"),
        (dict(architecture="resnet5"), "did you mean 'resnet50'"),
    ):
        with pytest.raises(InputError, match=text):
            run_experiment(pairs, dictionary, **RUN | {"trunk": trunk} | wrong)
    with pytest.raises(InputError, match="of males; a cue of gender needs both"):
        run_experiment(one, dictionary, **RUN, trunk=trunk)
    with pytest.raises(InputError, match="no people"):
        plant_cue(np.array([], bool), 50)
    with pytest.raises(InputError, match="no people"):
        split_people(np.array([]), np.array([]))
    with pytest.raises(InputError, match="at least two are needed"):
        split_people(np.array([0, 1, 2]), np.array(["m", "m", "f"]))
    for people in (0, 3):
        with pytest.raises(InputError, match=f"people = {people}"):
            render_pairs(people)
    with pytest.raises(InputError, match="people = 2"):
        render_pictures(2)
    pictures = pairs.pictures()
    for names, wrong, text in (
        (["smiles"], {}, "did you mean 'smile'"),
        ([], {}, "at least one network"),
        (["gender"], {"architecture": "vgg"}, "did you mean 'vgg16'"),
        (["gender"], {"trunk": None}, "give one, such as imagenet"),
        (["gender"], {"trained_from": "conv9_1"}, "no layer 'conv9_1'"),
        (["gender"], {"held_out": 1.0}, "held_out = 1.0"),
        (["gender"], {"epochs": 0}, "epochs = 0"),
    ):
        settings = {"trunk": trunk, "trained_from": "conv2_1", "progress": False} | wrong
        with pytest.raises(InputError, match=text):
            train_networks(names, pictures, **settings)
    young = Pictures(pictures.images, pictures.table.assign(age=15.0))
    with pytest.raises(InputError, match="shows '20-40', a class of 'age'"):
        train_networks(["age"], young, trunk=trunk, trained_from="conv2_1", progress=False)
    small = Pictures(pictures.images[:, :16, :16], pictures.table)
    with pytest.raises(InputError, match="takes images of 32 pixels"):
        train_networks(["gender"], small, trunk=trunk, trained_from="conv2_1", progress=False)
    with pytest.raises(InputError, match="no longer finite"):
        train_networks(
            ["gender"], pictures, trunk=trunk, trained_from="conv2_1", progress=False, epochs=5,
            learning_rate=1e12,
        )  # fmt: skip
