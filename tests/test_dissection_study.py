"""The chapter on dissection: a reader's dictionary and networks, tables, relevance of units."""

import shutil
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray as xr
from conftest import write_dictionary
from PIL import Image

from lib import figures as style
from lib import inputs, params
from lib.dissection import carriers, collection, dissect, panels, study, summarise_chance, words
from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, NON_LOCAL
from lib.faces.dictionary import load_dictionary
from lib.network import Readout
from lib.store import ROOT, load_dataset, save_dataset
from lib.vgg import Trunk, build_vgg16

SIZE = 32


@pytest.fixture(scope="module")
def whole():
    return load_dictionary(ROOT / "data/faces/dictionary")


@pytest.fixture(scope="module")
def few(whole):
    kept = collection.keep_images(whole, 40)
    return collection.ChosenDictionary(kept.faces, kept.carries, kept.codebook)


@pytest.fixture(scope="module")
def network():
    """Two convolutions with a skip connection, as a reader's own network may have."""
    tf.keras.utils.set_random_seed(3)
    layers = tf.keras.layers
    image = tf.keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(image)
    y = layers.MaxPooling2D(2, name="pool")(x)
    z = layers.Conv2D(6, 3, padding="same", name="second")(y)
    joined = layers.Add(name="sum")([y, z])
    out = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(joined))
    return tf.keras.Model(image, out)


@pytest.fixture(scope="module")
def trunk(network):
    return Trunk("own", network)


@pytest.fixture(scope="module")
def found(trunk, few):
    layers = {"own": ["first", "second"]}
    return study.dissect_networks({"own": trunk}, layers, few, draws=5, precision="float32")


# ------------------------------------------------------------------------------------- dictionary


def test_a_part_of_the_dictionary_is_balanced_as_the_whole(whole):
    share = whole.carries.mean()
    part = collection.keep_images(whole, 64, seed=1)
    assert len(part) == 64 and part.concepts == whole.concepts
    off = (part.carries.mean() - share).abs()
    random = np.random.default_rng(0).permutation(len(whole))[:64]
    assert off.mean() < 0.4 * (whole.carries.iloc[random].mean() - share).abs().mean()
    for concept, names in NON_LOCAL.items():
        for name in names:
            mean = (whole.group(concept) == name).mean()
            assert (part.group(concept) == name).mean() == pytest.approx(mean, abs=0.03)
    rows = collection.choose_images(whole, 64, seed=1)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, collection.choose_images(whole, 64, seed=1))
    assert (rows != collection.choose_images(whole, 64, seed=2)).any()
    # images, landmarks and concepts stay together
    np.testing.assert_array_equal(part.images([5], 32), whole.images(rows[[5]], 32))
    np.testing.assert_array_equal(part.faces.landmarks([5]), whole.faces.landmarks(rows[[5]]))
    np.testing.assert_array_equal(part.has("nose"), whole.has("nose")[rows])
    assert collection.keep_images(whole, 0) is whole


def test_too_few_or_too_many_images_are_refused(whole):
    with pytest.raises(InputError, match=r"images = 2 are too few.*carries"):
        collection.keep_images(whole, 2)
    with pytest.raises(InputError, match=r"images = 900 are asked for .* has 896"):
        collection.open_dictionary(ROOT / "data/faces/dictionary", 900)


def test_a_readers_dictionary_without_masks_is_dissected_by_its_ellipses(tmp_path, trunk):
    own = collection.open_dictionary(write_dictionary(tmp_path / "own"))
    assert own.concepts == ["nose", "Eyeglasses"] and not own.has_exact_masks
    layers = {"own": ["second"]}
    options = dict(draws=3, chance="shifted", tail=0.05, precision="float32")
    found = study.dissect_networks({"own": trunk}, layers, own, mask="ellipse", **options)
    pairs = study.list_pairs(found, study.carried(own))
    assert set(pairs["concept"]) == {"nose", "Eyeglasses"} and len(pairs) == 12
    summary, units = study.summarise_biased(found, own)
    assert set(summary["concept"]) == set(NON_LOCAL) and len(units) == 4 * 6
    with pytest.raises(InputError, match=r"no exact masks.*mask: ellipse"):
        study.dissect_networks({"own": trunk}, layers, own, mask="both", **options)


def test_a_readers_dictionary_without_landmarks_or_groups_is_dissected_by_its_masks(masked, trunk):
    (masked / "landmarks.csv").unlink()
    table = pd.read_csv(masked / "manifest.csv")
    groups = ["age", "age_group", "gender", "ethnicity", "skin_tone"]
    table.drop(columns=groups, errors="ignore").to_csv(masked / "manifest.csv", index=False)
    own = collection.open_dictionary(masked)
    options = dict(draws=3, chance="shifted", tail=0.05, precision="float32")
    with pytest.raises(InputError, match="use mask: exact"):
        study.dissect_networks({"own": trunk}, {"own": ["second"]}, own, mask="both", **options)
    found = study.dissect_networks(
        {"own": trunk}, {"own": ["second"]}, own, mask="exact", **options
    )
    assert found["own"]["second"]["image"].to_numpy().tolist() == table["path"].tolist()
    pairs = study.list_pairs(found, study.carried(own))
    assert len(pairs) == 6 * len(own.concepts) and pairs["iou"].max() > 0
    summary, units = study.summarise_biased(found, own)
    assert len(summary) == len(units) == 0 and list(units.columns) == study.BIAS_COLUMNS[1]
    told = words._state_bias(summary, ["own"])
    assert told == "The dictionary names no groups, so that no bias was computed."


def test_a_gallery_draws_the_masks_that_were_counted(few, trunk, found):
    chosen = pd.DataFrame(
        [("own", "second", 1, "nose")], columns=["network", "layer", "unit", "concept"]
    )
    shown = {
        mask: study.list_galleries({"own": trunk}, few, found, chosen, 3, mask=mask, level=0.5)[0]
        for mask in ("both", "ellipse")
    }
    for k, i in enumerate(shown["both"].rows):
        exact, ellipse = few.mask("nose", i, SIZE), few.ellipse_mask("nose", i, SIZE, 0.5)
        np.testing.assert_array_equal(shown["both"].mask[k], exact)
        np.testing.assert_array_equal(shown["ellipse"].mask[k], ellipse)


def test_a_concept_that_no_image_carries_is_refused(tmp_path):
    folder = write_dictionary(tmp_path / "own")
    table = pd.read_csv(folder / "manifest.csv")
    table.assign(mouth=0).to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(InputError, match="no image carries mouth; leave such a column out"):
        collection.open_dictionary(folder)


@pytest.fixture
def masked(tmp_path, whole):
    """Six images of the rendered dictionary with their masks, in a folder of their own."""
    source, folder = whole.faces.root, tmp_path / "masked"
    folder.mkdir()
    for name in ("images", "masks"):
        (folder / name).mkdir()
    table = pd.read_csv(source / "manifest.csv").iloc[:6]
    for name in [*table["path"], *table["mask_path"]]:
        shutil.copy(source / name, folder / name)
    named = [name for name in CONCEPTS if not table[name].any()]
    table.drop(columns=named).to_csv(folder / "manifest.csv", index=False)
    shutil.copy(source / "codebook.csv", folder)
    marks = pd.read_csv(source / "landmarks.csv")
    marks[marks["path"].isin(table["path"])].to_csv(folder / "landmarks.csv", index=False)
    return folder


def test_a_mask_of_another_size_is_refused(masked):
    assert collection.open_dictionary(masked).has_exact_masks
    Image.fromarray(np.zeros((100, 90), np.uint16)).save(masked / "masks" / "face0003.png")
    with pytest.raises(InputError, match=r"face0003.png.*90 x 100 pixels.*224 x 224"):
        collection.open_dictionary(masked)
    (masked / "masks" / "face0003.png").unlink()
    with pytest.raises(InputError, match=r"has no mask .masks.face0003\.png"):
        collection.open_dictionary(masked)


def test_masks_are_those_of_the_images_that_carry_a_concept(masked, trunk):
    """Overlaps, too, count the images alone of which the manifest says that it is there."""
    table = pd.read_csv(masked / "manifest.csv")
    before = collection.open_dictionary(masked)
    assert table["nose"].all() and before.mask("nose", 2).any()
    table.assign(nose=[1, 1, 0, 1, 1, 0]).to_csv(masked / "manifest.csv", index=False)
    after = collection.open_dictionary(masked)
    for i in range(6):
        expected = before.masks(i, SIZE)
        expected[..., list(CONCEPTS).index("nose")] &= i not in (2, 5)
        np.testing.assert_array_equal(after.masks(i, SIZE), expected)
    options = dict(mask="exact", draws=0, tail=0.05, precision="float32")
    data = study.dissect_networks({"own": trunk}, {"own": ["first"]}, after, **options)
    data = data["own"]["first"]
    maps = trunk.model.get_layer("first")(trunk.prepare(after.images(size=SIZE))).numpy()
    above = maps > data["threshold"].to_numpy()
    mask = np.stack([before.mask("nose", i, SIZE) for i in range(6)])[..., None]
    use = above.any((1, 2)) & np.isin(np.arange(6), [0, 1, 3, 4])[:, None]
    inter, union = ((x.sum((1, 2)) * use).sum(0) for x in (above & mask, above | mask))
    np.testing.assert_allclose(data["iou"].sel(concept="nose"), inter / union, atol=0.01)


def test_a_concept_without_masks_is_refused(masked, trunk):
    book = pd.read_csv(masked / "codebook.csv")
    book.drop(columns="nose").to_csv(masked / "codebook.csv", index=False)
    own = collection.open_dictionary(masked)
    options = dict(draws=0, tail=0.05, precision="float32")
    with pytest.raises(InputError, match=r"carry nose, which no code.*or use mask: ellipse"):
        study.dissect_networks({"own": trunk}, {"own": ["second"]}, own, mask="both", **options)
    study.dissect_networks({"own": trunk}, {"own": ["second"]}, own, mask="ellipse", **options)


def test_ellipses_are_those_of_the_dictionary_or_of_the_readers_landmarks(whole, few, tmp_path):
    rows = collection.choose_images(whole, 40)
    for name in ("AU_2", "left_eye", "nose", "Double_Chin"):
        for i in (0, 7, 21):
            expected = whole.ellipse_mask(name, int(rows[i]), 48, 0.9)
            np.testing.assert_array_equal(few.ellipse_mask(name, i, 48, 0.9), expected)
    path = tmp_path / "own.csv"
    lines = ["concept,ellipse,landmark", *(f"nose,a,{k}" for k in CONCEPTS["mouth"].landmarks[0])]
    path.write_text("\n".join(lines) + "\n")
    own = collection.read_ellipses(path)
    assert own == {"nose": CONCEPTS["mouth"].landmarks}
    moved = collection.ChosenDictionary(few.faces, few.carries, few.codebook, own)
    i = int(np.flatnonzero(few.has("nose") & few.has("mouth"))[0])
    np.testing.assert_array_equal(
        moved.ellipse_mask("nose", i, 48), few.ellipse_mask("mouth", i, 48)
    )
    np.testing.assert_array_equal(
        moved.ellipse_mask("mouth", i, 48), few.ellipse_mask("mouth", i, 48)
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("concept,landmark\nnose,1\n", "no table of landmarks"),
        ("concept,ellipse,landmark\nnoze,a,1\nnoze,a,2\n", "did you mean 'nose'"),
        ("concept,ellipse,landmark\nnose,a,1\nnose,a,68\n", "landmark 68; there are 0 to 67"),
        ("concept,ellipse,landmark\nnose,a,1\nnose,a,1\n", "has one landmark"),
        ("concept,ellipse,landmark\nnose,,1\nnose,,1\n", "has one landmark"),
        ("concept,ellipse,landmark\n", "no rows"),
    ],
)
def test_tables_of_landmarks_that_cannot_be_used(tmp_path, text, match):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        collection.read_ellipses(tmp_path / "own.csv")


# --------------------------------------------------------------------------------------- networks


def test_a_readers_network_with_a_skip_connection_is_opened(network, tmp_path):
    network.save(tmp_path / "mine.keras")
    trunk = collection.load_network(tmp_path / "mine.keras")
    assert (trunk.name, trunk.size) == ("mine", SIZE) and len(trunk.provenance["sha256"]) == 64
    assert collection.standard_layers(trunk) == ["first", "second"]
    (tmp_path / "no.keras").write_text("no model")
    with pytest.raises(InputError, match="no Keras model"):
        collection.load_network(tmp_path / "no.keras")
    wide = tf.keras.Sequential([tf.keras.Input((16, 20, 3)), tf.keras.layers.Conv2D(2, 3)])
    wide.save(tmp_path / "wide.keras")
    with pytest.raises(InputError, match=r"20 x 16 pixels.*a square"):
        collection.load_network(tmp_path / "wide.keras")


def test_layers_of_a_pretrained_part_can_be_named(network, tmp_path):
    """The usual file of transfer learning: a network without its head, and a new head on it."""
    layers = tf.keras.layers
    part = tf.keras.Model(network.input, network.get_layer("sum").output, name="part")
    whole = tf.keras.Sequential(
        [part, layers.Conv2D(3, 1, name="new"), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    twice = tf.keras.Sequential([whole, layers.Dense(2, name="last")])
    x = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    for model in (whole, twice):
        model.save(tmp_path / "nested.keras")
        trunk = collection.load_network(tmp_path / "nested.keras")
        np.testing.assert_allclose(trunk.model(x), model(x), rtol=1e-5, atol=1e-6)
        assert collection.standard_layers(trunk) == ["first", "new"]
        chosen = collection.choose_layers({"nested": trunk}, ["nested:sum"])
        assert chosen == {"nested": ["sum"]}


def test_layers_of_a_part_that_is_called_like_a_layer_can_be_named(network, tmp_path):
    """Keras' own recipe: scaled input, the pretrained part as one layer, a head; and it twice."""
    layers = tf.keras.layers
    part = tf.keras.Model(network.input, network.get_layer("sum").output, name="part")
    image = tf.keras.Input((SIZE, SIZE, 3))
    y = part(layers.Rescaling(1 / 3, 1.0)(image), training=False)
    z = layers.Conv2D(6, 3, padding="same", name="first")(y)
    both = layers.Concatenate()([y, z, part(layers.Permute((2, 1, 3))(image))])
    pooled = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(both))
    whole = tf.keras.Model(image, layers.Dense(2, name="logits")(pooled))
    whole.save(tmp_path / "recipe.keras")
    trunk = collection.load_network(tmp_path / "recipe.keras")
    x = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(trunk.model(x), whole(x), rtol=1e-5, atol=1e-6)
    names = [layer.name for layer in trunk.model.layers]
    # of two layers of one name the nested one has its model's in front
    assert "part" not in names and {"first", "part_first", "second"} < set(names)
    for own, other in (("first", whole), ("part_first", part), ("second", part)):
        kernel = other.get_layer(own.removeprefix("part_")).kernel
        np.testing.assert_array_equal(trunk.model.get_layer(own).kernel, kernel)
    taps = tf.keras.Model(trunk.model.inputs, trunk.model.get_layer("sum").output)
    np.testing.assert_allclose(taps(x), part(x / 3 + 1), rtol=1e-5, atol=1e-6)
    chosen = collection.choose_layers({"recipe": trunk}, ["recipe:second"])
    assert chosen == {"recipe": ["second"]}


def test_single_cells_are_no_standard_layers(trunk):
    layers = tf.keras.layers
    image = tf.keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, name="maps")(image)
    weight = layers.Conv2D(4, 1, name="weigh")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    squeezing = Trunk("squeezing", tf.keras.Model(image, layers.Multiply()([x, weight])))
    assert collection.standard_layers(squeezing) == ["maps"]


def test_a_file_that_the_readouts_were_trained_on_is_that_trunk(tmp_path, monkeypatch):
    kinds = tf.keras.layers
    image = tf.keras.Input((SIZE, SIZE, 3))
    x = kinds.Flatten()(kinds.Conv2D(3, 3, 4, activation="relu", name="maps")(image))
    tf.keras.Model(image, kinds.Dense(2)(x)).save(tmp_path / "mine.keras")
    tf.keras.Model(image, kinds.Dense(3)(x)).save(tmp_path / "imagenet.keras")
    own = inputs.open_trunks([str(tmp_path / "mine.keras")], SIZE)
    own["imagenet"] = Trunk("imagenet", build_vgg16(SIZE), provenance={"digest": "0"})
    monkeypatch.setattr(inputs, "load_trunks", lambda run: own)
    opened = collection.open_networks(["imagenet", str(tmp_path / "mine.keras")], "run", SIZE)
    assert opened["mine"] is own["mine"] and opened["imagenet"] is own["imagenet"]
    # readouts of the run would be taken for this other network's
    with pytest.raises(InputError, match=r"called as the network 'imagenet' of this run"):
        collection.open_networks([str(tmp_path / "imagenet.keras")], "run", SIZE)


def test_layers_are_named_or_the_last_of_every_block(trunk):
    vgg = Trunk("vgg", build_vgg16(SIZE))
    both = {"own": trunk, "vgg": vgg}
    standard = ["conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"]
    assert collection.choose_layers(both, []) == {"own": ["first", "second"], "vgg": standard}
    asked = ["conv3_1", "own:sum", "conv3_1"]
    assert collection.choose_layers(both, asked) == {"own": ["sum"], "vgg": ["conv3_1"]}
    own = SimpleNamespace(trunk=trunk, hooks={"a": "first", "b": "second"}, learned=("b",))
    assert collection.choose_layers({"own": trunk}, [], {"gender": own}) == {"own": ["second"]}
    named = collection.choose_layers({"own": trunk}, ["gender:sum"], {"gender": own})
    assert named == {"own": ["sum"]}
    with pytest.raises(InputError, match="layer 'conv6_1' - did you mean 'conv"):
        collection.choose_layers(both, ["conv6_1"])
    with pytest.raises(InputError, match=r"layer .conv3_1."):
        collection.choose_layers(both, ["own:conv3_1"])
    with pytest.raises(InputError, match=r"names no network.*own, vgg"):
        collection.choose_layers(both, ["mine:conv3_1"])


def test_what_is_learned_here_has_a_task_and_an_architecture():
    assert collection.read_learner("smile") == ("vgg16", "smile")
    assert collection.read_learner("resnet50") == ("resnet50", "gender")
    assert collection.read_learner("resnet14/age") == ("resnet14", "age")
    assert [collection.read_learner(x) for x in ("imagenet", "own.keras", "vgg16/no")] == [None] * 3
    assert collection.train_learners(["imagenet"], None, "nowhere", people=8) == {}
    with pytest.raises(InputError, match="no network 'gendre' - did you mean 'gender'"):
        collection._check_name("gendre")


# ------------------------------------------------------------------------------------- dissection


def test_both_masks_in_one_pass_are_two_passes(trunk, few, found):
    for layer in ("first", "second"):
        options = dict(draws=0, precision="float32", progress=False)
        exact = dissect(trunk, few, [layer], mask="exact", **options)[layer]
        ellipse = dissect(trunk, few, [layer], mask="ellipse", **options)[layer]
        np.testing.assert_array_equal(found["own"][layer]["iou"], exact["iou"])
        np.testing.assert_array_equal(found["own"][layer]["iou_ellipse"], ellipse["iou"])
        assert (exact["iou"] != ellipse["iou"]).any()


def planted(iou, images=200, concepts=("left_eye", "AU_4", "mouth", "AU_25"), seed=0):
    """A layer with given overlaps (units, concepts) and small ones by chance."""
    rng = np.random.default_rng(seed)
    iou = np.array(iou, float)
    units = len(iou)
    peak = rng.random((images, units)).astype(np.float32)
    return xr.Dataset(
        {
            "iou": (("unit", "concept"), iou),
            "iou_all": (("unit", "concept"), iou / 2),
            "iou_ellipse": (("unit", "concept"), iou[:, ::-1]),
            "iou_chance": (
                ("draw", "unit", "concept"),
                rng.uniform(0, 0.02, (30, *iou.shape)),
            ),
            "threshold": ("unit", np.full(units, 0.5)),
            "tail": ("unit", np.full(units, 0.005)),
            "low": ("unit", np.zeros(units)),
            "high": ("unit", np.ones(units)),
            "peak": (("image", "unit"), peak),
        },
        coords={
            "concept": list(concepts),
            "region": ("concept", [CONCEPTS[name].region for name in concepts]),
            "kind": ("concept", [CONCEPTS[name].kind for name in concepts]),
            "draw": np.arange(30),
        },
    )


def test_units_and_detectors_by_both_rules():
    """An eye above both; a mouth above the fixed limit only; one above chance only; nothing."""
    quiet = np.full((40, 4), 0.005)
    rows = [[0.3, 0.02, 0, 0], [0, 0, 0.045, 0.044], [0.035, 0.001, 0, 0], [0, 0, 0, 0]]
    data = planted([*rows, *quiet])
    data["iou_chance"][:, 1] = 0.045
    carries = np.random.default_rng(1).random((200, 4)) < 0.6
    pairs = study.list_pairs({"net": {"layer": data}}, carries)
    units = study.list_units(pairs).set_index("unit")
    assert units["interpretable"].tolist()[:4] == [True, True, False, False]
    assert units["above"].tolist()[:4] == [True, False, True, False]
    assert not units["above"][4:].any() and not units["interpretable"][4:].any()
    assert units["concept"].tolist()[:4] == ["left_eye", "mouth", "left_eye", ""]
    assert units.loc[0, "detects"] == "left_eye" and units.loc[3, "detects"] == ""
    counts = study.count_detectors(pairs).set_index(["by", "group"])
    assert counts.loc[("region", "eye"), "detectors"] == 1
    assert counts.loc[("region", "eye"), "detectors_above"] == 2
    assert counts.loc[("region", "mouth"), "detectors_above"] == 0
    assert counts.loc[("kind", "part"), "share"] == counts.loc[("kind", "part"), "detectors"] / 44
    levels = summarise_chance(pairs).iloc[0]
    assert (levels["fixed"], levels["chance"], levels["both"]) == (2, 2, 1)
    chosen = study.choose_examples(study.list_units(pairs), 5)
    assert chosen["unit"].tolist() == [0, 1]


def test_exact_masks_against_ellipses():
    data = planted([[0.3, 0.1, 0, 0], [0.2, 0, 0, 0.2001], [0.05, 0.05, 0.01, 0], [0, 0, 0, 0]])
    units, table = study.compare_masks({"net": {"layer": data}}, np.ones((200, 4), bool))
    # ellipses are the mirror image: left eye for an open mouth, AU 4 for the mouth
    assert units["same"].tolist() == [False, False, False, True]
    assert units["same_region"].tolist() == [False, False, False, True]
    row = table.iloc[0]
    assert (row["units"], row["exact"], row["ellipse"], row["both"]) == (4, 3, 3, 3)
    assert row["same"] == 0
    alone = {"net": {"layer": data.drop_vars("iou_ellipse")}}
    nothing = study.compare_masks(alone, np.ones((200, 4), bool))
    assert [list(t.columns) for t in nothing] == [study.UNIT_COLUMNS, study.MASK_COLUMNS]


class Grouped:
    """A dictionary that knows gender alone."""

    def __init__(self, gender):
        self.gender = np.array(gender)

    def group(self, concept):
        if concept != "gender":
            raise InputError("no such column")
        return self.gender


def test_planted_bias_is_found_and_dealt_groups_give_luck():
    gender = np.array(["female", "male"] * 300)
    data = planted(np.full((50, 4), 0.1), images=600)
    peak = data["peak"].to_numpy().copy()
    peak[gender == "male", :10] += 1
    data = data.assign(peak=(("image", "unit"), peak), high=("unit", peak.max(0)))
    summary, units = study.summarise_biased({"net": {"layer": data}}, Grouped(gender), draws=5)
    row = summary.iloc[0]
    assert (row["biased"], row["units"], row["towards"]) == (10, 50, "male")
    assert row["chance"] < 0.05 and row["limit"] == 0.55
    assert units["biased"].tolist() == [True] * 10 + [False] * 40
    dealt = np.random.default_rng(0).permutation(gender)
    nothing, _ = study.summarise_biased({"net": {"layer": data}}, Grouped(dealt), draws=5)
    assert nothing["biased"].item() <= 2


def test_all_layers_come_back_from_one_file(found, tmp_path):
    data = study.to_dataset(found)
    assert data.sizes["unit"] == 12 and set(data["layer"].to_numpy()) == {"first", "second"}
    path = save_dataset(
        data, tmp_path / "dissection.nc", {"chapter": "07_dissection", "parameters": {}}
    )
    with load_dataset(path, made_by="07_dissection") as back:
        part = back.isel(unit=back["layer"].to_numpy() == "second")
        np.testing.assert_allclose(part["iou"], found["own"]["second"]["iou"], rtol=1e-6)
        np.testing.assert_array_equal(part["peak"], found["own"]["second"]["peak"])


def test_without_a_planted_cue_there_are_no_curves():
    tables = study.plant_cues([], None, None, "nowhere", people=8)
    assert [len(table) for table in tables] == [0, 0, 0, 0]
    assert {"kind", "quantity", "block", "slope", "page_p"} <= set(tables[1].columns)


# -------------------------------------------------------------------------------------- relevance


@pytest.fixture(scope="module")
def chain():
    """A plain chain, and two readouts of three classes."""
    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 3)),
            layers.Conv2D(5, 3, padding="same", activation="relu", name="units"),
            layers.MaxPooling2D(2, name="pool"),
        ]
    )
    rng = np.random.default_rng(2)
    readouts = [
        Readout(f"{name}-0", rng.normal(size=(80, 3)), rng.normal(size=3))
        for name in ("identity", "gender")
    ]
    return Trunk("chain", model), readouts


def test_relevance_of_units_by_hand(chain):
    trunk, readouts = chain
    images = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)
    true = {"identity": np.arange(11) % 3, "gender": np.arange(11) % 2}
    found = carriers.compute_unit_relevance(trunk, readouts, images, true, "units")
    assert found.shape == (11, 2, 5)
    features = trunk.model(trunk.prepare(images)).numpy()
    for k, readout in enumerate(readouts):
        logits = readout.logits(features)
        for i in range(11):
            first = true[readout.name[:-2]][i]
            second = max((c for c in range(3) if c != first), key=lambda c: logits[i, c])
            weight = (readout.kernel[:, first] - readout.kernel[:, second]).reshape(4, 4, 5)
            z = logits[i, first] - logits[i, second]
            # epsilon rule of the readout; max pooling hands on within the channel
            expected = (features[i] * weight).sum((0, 1)) * z / (z + 0.1 * np.sign(z))
            np.testing.assert_allclose(found[i, k], expected, rtol=1e-3, atol=1e-3)


def make_units(labels):
    return pd.DataFrame(
        {"interpretable": [bool(x) for x in labels], "region": labels, "unit": range(len(labels))}
    )


def test_units_that_carry_relevance_are_told_from_others():
    labels = ["eye"] * 20 + ["mouth"] * 20 + [""] * 60
    rng = np.random.default_rng(0)
    relevance = rng.normal(size=(12, 4, 100))
    relevance[:, 2:, :20] *= 5
    tasks = ["identity", "identity", "gender", "gender"]
    table, each = carriers.summarise_carriers(relevance, tasks, make_units(labels), draws=300)
    rows = table.set_index(["task", "region"])
    np.testing.assert_allclose(table.groupby("task")[["units", "relevance"]].sum(), 1)
    assert rows.loc[("gender", "eye"), "p"] < 0.01
    assert rows.loc[("gender", "eye"), "relevance"] > 0.45
    assert rows.loc[("gender", "eye"), "low"] > 0.2
    assert rows.loc["identity"]["p"].min() > 0.05
    # of six tests
    least = table["p"].idxmin()
    assert table.loc[least, "p_holm"] == pytest.approx(6 * table.loc[least, "p"])
    assert (table["p_holm"] >= table["p"]).all()
    assert rows.loc[("identity", "none"), "units"] == 0.6
    top = each[(each["task"] == "gender") & (each["rank"] <= 20)]
    assert set(top["unit"]) == set(range(20))
    assert each["sign"].abs().max() <= 1


def test_preference_and_relevance_are_related_where_they_are():
    rng = np.random.default_rng(1)
    share = rng.random(80)
    each = pd.DataFrame({"task": "gender", "unit": range(80), "share": share})
    biased = pd.concat(
        [
            pd.DataFrame({"concept": "gender", "unit": range(80), "probability": share**2}),
            pd.DataFrame({"concept": "age", "unit": range(80), "probability": rng.random(80)}),
            pd.DataFrame({"concept": "skin_tone", "unit": range(80), "probability": 0.5}),
        ]
    )
    found = carriers.relate_bias(each, biased).set_index("concept")
    assert found.loc["gender", "rho"] == pytest.approx(1)
    assert abs(found.loc["age", "rho"]) < 0.3 and np.isnan(found.loc["skin_tone", "rho"])


# -------------------------------------------------------------------------------- words and panels


def test_words_claim_no_more_than_the_numbers():
    """No bias beyond luck, one test in ten that succeeds, networks that learned nothing."""
    biased = pd.DataFrame(
        [("a", "age", 0.5, 0.4), ("a", "gender", 0.2, 0.3), ("b", "age", 0.3, 0.3)],
        columns=["network", "concept", "share", "chance"],
    )
    told = words._state_bias(biased, ["a", "b"])
    assert told.startswith("Beyond luck, a is biased most in age (50% of")
    assert told.endswith("No more units than by luck are biased in b.")
    columns = ["task", "region", "units", "relevance", "p", "p_holm"]
    table = pd.DataFrame([("gender", "eye", 0.1, 0.2, 0.04, 0.4)], columns=columns)
    assert "could not be told from luck" in words._state_carriers({"net": table})
    sure = table.assign(p_holm=0.03)
    assert "the units of the eye, 10%" in words._state_carriers({"net": sure})
    learned = pd.DataFrame(
        [
            ("recognition", "validation", 0.5, 0.3, 0.02),
            ("recognition", "matching", 0.9, 0.8, 0.06),
            ("gender", "training", 1.0, 1.0, 0.5),
            ("gender", "validation", 0.55, 0.36, 0.5),
        ],
        columns=["network", "part", "accuracy", "low", "chance"],
    )
    assert words._state_learned(learned) == (
        "On other people the networks trained here are right in (by chance): "
        "recognition 90% (6%) and gender 55% (50%). That gender learned anything about them cannot "
        "be told from luck."
    )
    assert words._state_learned(learned.head(0)) == words._state_learned(None) == ""


def test_no_point_lies_beyond_its_axes():
    """Panels share an axis, and the second has the larger values."""
    tables = {
        name: pd.DataFrame(
            [("identity", "eye", share, share, share - 0.01, share + 0.01, 1.0, 1.0)],
            columns=carriers.CARRIER_COLUMNS,
        )
        for name, share in (("a", 0.2), ("b", 0.7))
    }
    fig = panels.plot_carriers(tables)
    for ax, share in zip(fig.axes, (0.2, 0.7), strict=True):
        low, high = ax.get_xlim()
        assert low == 0 and high > share + 0.01
    plt.close(fig)
    # an interval over two seeds reaches over all that there is: the means stay to be seen
    curves = pd.DataFrame(
        [("glasses", "biased units", "stage 1", p, m, 0.0, 200.0) for p, m in ((50, 3), (100, 5))],
        columns=["kind", "quantity", "block", "percent", "mean", "low", "high"],
    )
    fig = panels.plot_experiment(curves)
    low, high = fig.axes[0].get_ylim()
    assert -1 < low < 0 and 5 < high <= 15
    plt.close(fig)


def test_results_in_words():
    data = planted([[0.3, 0.02, 0, 0], [0, 0, 0.05, 0.02], [0, 0, 0, 0], [0.01, 0, 0, 0]])
    pairs = study.list_pairs({"net": {"layer": data}}, np.ones((200, 4), bool))
    units, levels = study.list_units(pairs), summarise_chance(pairs)
    _, ellipses = study.compare_masks({"net": {"layer": data}}, np.ones((200, 4), bool))
    biased, _ = study.summarise_biased(
        {"net": {"layer": data}}, Grouped(["female", "male"] * 100), draws=2
    )
    flow = np.ones((4, 1, 4))
    flow[..., 0] = 9
    table, _ = carriers.summarise_carriers(flow, ["gender"], units, draws=50)
    curves = pd.DataFrame(
        {"kind": "glasses", "quantity": "relevance on the glasses", "block": "",
         "percent": [50.0, 100.0], "mean": [0.1, 0.4]}
    )  # fmt: skip
    trends = curves.head(1).assign(slope=0.06, tau_p=np.nan, page_p=np.nan)
    told = words.state_findings(units, levels, ellipses, biased, {"net": table}, curves, trends)
    assert told["interpretable"] == "50% of the units in net"
    # ellipses are the mirror image here
    assert told["ellipse"].endswith("the same concept for 0% and the same region for 0%.")
    wanted = "From P = 50 to 100, relevance on the glasses (glasses planted): 10% and 40%."
    assert told["planted"] == wanted
    empty = words.state_findings(
        units, levels, ellipses.head(0), biased, {}, curves.head(0), trends.head(0)
    )
    assert (empty["ellipse"], empty["carried"]) == ("", "")
    assert empty["planted"] == "No cue was planted."


def test_every_panel_draws(found, few, trunk):
    style.apply_style()
    carries = study.carried(few)
    networks = {"own": found["own"], "second": {"first": found["own"]["first"]}}
    pairs = study.list_pairs(networks, carries, limit=0.001)
    units, levels = study.list_units(pairs), summarise_chance(pairs)
    counts = study.count_detectors(pairs)
    by_unit, _ = study.compare_masks(networks, carries)
    biased, _ = study.summarise_biased(networks, few, draws=2)
    chosen = study.choose_examples(units, 2)
    both = {"own": trunk, "second": trunk}
    galleries = study.list_galleries(both, few, networks, chosen, 3)
    flow = np.random.default_rng(0).random((5, 2, 6))
    mine = units[(units["network"] == "own") & (units["layer"] == "second")]
    table, _ = carriers.summarise_carriers(flow, ["identity", "gender"], mine, draws=20)
    curves = pd.DataFrame(
        [
            (kind, quantity, block, percent, value, value - 1, value + 1)
            for kind in ("glasses", "greyscale")
            for quantity, block in (("biased units", "stage 1"), ("biased units", "stage 2"),
                                    ("answers that follow the cue", ""))
            for percent, value in ((50, 2.0), (100, 4.0))
        ],
        columns=["kind", "quantity", "block", "percent", "mean", "low", "high"],
    )  # fmt: skip
    figures = [
        panels.plot_detectors(counts),
        panels.plot_interpretable(levels),
        panels.plot_chance(units, 0.04),
        panels.plot_hierarchy(chosen, pairs, 0.04),
        panels.plot_galleries(chosen, galleries),
        panels.plot_masks(by_unit, 0.04),
        panels.plot_bias(biased),
        panels.plot_carriers({"own, second": table}),
        panels.plot_experiment(curves),
    ]
    labels = [t.get_text() for t in figures[1].axes[0].get_xticklabels()]
    assert labels == ["first", "second"]
    # networks of other layers are numbered, not named by those of one of them
    another = pd.concat([levels, levels.head(1).assign(network="third", layer="other")])
    assert panels._depths(another)[1] == ["1", "2"]
    lines = [line for line in figures[1].axes[0].lines if len(line.get_xdata())]
    share = levels["fixed"] / levels["units"]
    np.testing.assert_allclose(np.concatenate([x.get_ydata() for x in lines]), share)
    shown = figures[8].axes[0].lines
    assert [list(line.get_ydata()) for line in shown] == [[2.0, 4.0]] * 2
    assert len(figures[4].axes) == 3 * len(chosen)
    for fig in figures:
        fig.canvas.draw()
        plt.close(fig)


def test_the_profile_of_published_sizes_is_complete():
    _, settings = params.resolve("published")
    chapter = settings["07_dissection"]
    assert (chapter.planted_in, chapter.width, chapter.images) == ("resnet50", 1.0, 0)
    assert len(chapter.percents) == 6
