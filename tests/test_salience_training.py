"""Synthetic faces, and detectors trained with and without human salience: known answers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from lib import network, params, vgg
from lib.errors import InputError
from lib.faces.labels import PARTS
from lib.faces.scenes import STUDY_SEEDS
from lib.salience import AMOUNTS, Explainer, comparison, compute_salience, detection, training
from lib.salience.detection import (
    DetectionSet,
    load_detection_folders,
    render_detection_set,
    simulate_salience,
)
from lib.salience.facespace import PATCH, fit_generator, fit_space
from lib.salience.training import (
    LOSSES,
    DetectorExplainer,
    DetectorTraining,
    build_base,
    compare_with_salience,
    compute_cam,
    compute_losses,
    resize_salience,
    score_detectors,
    summarise_detection,
    train_detectors,
)

SIZE = 32


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# ------------------------------------------------------------------------------------- generators


@pytest.mark.parametrize("shape", [(9, 40), (60, 12)])
def test_components_are_those_of_scikit_learn(rng, shape):
    vectors = rng.normal(size=shape) * np.linspace(3, 0.2, shape[1]) + 7
    space = fit_space(vectors, 5)
    expected = PCA(5, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(space.variance, expected.explained_variance_, rtol=1e-10)
    signs = np.sign((space.axes * expected.components_).sum(1))
    np.testing.assert_allclose(space.axes, expected.components_ * signs[:, None], atol=1e-9)
    new = rng.normal(size=(4, shape[1]))
    np.testing.assert_allclose(
        space.reconstruct(space.project(new)),
        expected.inverse_transform(expected.transform(new)),
        atol=1e-9,
    )


@pytest.mark.parametrize("channels", [(), (3,)])
def test_face_space_gives_back_what_lies_in_its_span(rng, channels):
    faces = rng.integers(0, 256, (7, 10, 11, *channels))
    generator = fit_generator("pca", faces, 6)
    np.testing.assert_array_equal(generator.resynthesise(faces), faces)
    # a mixture of faces lies in the span, other faces do not; fewer components lose some
    mixture = np.tensordot([0.5, 0.25, 0.25], faces[:3], 1)[None]
    np.testing.assert_allclose(generator.resynthesise(mixture), mixture, atol=0.51)
    other = rng.integers(0, 256, (3, 10, 11, *channels))
    assert (generator.resynthesise(other) != other).mean() > 0.9
    assert (fit_generator("pca", faces, 3).resynthesise(faces) != faces).mean() > 0.5


def test_coarse_face_space_gives_back_doubled_means(rng):
    faces = rng.integers(0, 256, (6, 9, 12))
    made = fit_generator("coarse", faces, 5).resynthesise(faces)
    padded = np.pad(faces, ((0, 0), (0, 1), (0, 0)), mode="edge")
    small = padded.reshape(6, 5, 2, 6, 2).mean((2, 4))
    expected = np.kron(small, np.ones((2, 2)))[:, :9]
    np.testing.assert_allclose(made, expected, atol=0.501)


def test_patches_with_all_components_change_nothing_and_never_reach_their_neighbours(rng):
    faces = rng.integers(0, 256, (4, 2 * PATCH + 3, 2 * PATCH, 3))
    grey = fit_generator("patches", faces[..., 0], 6)
    changed = faces.copy()
    changed[:, 0, 0] = 255 - changed[:, 0, 0]
    before, after = (grey.resynthesise(some[..., 0]) for some in (faces, changed))
    assert (before != after)[:, :PATCH, :PATCH].any()
    assert not (before != after)[:, PATCH:].any()
    assert not (before != after)[:, :, PATCH:].any()
    all_of_them = fit_generator("patches", rng.integers(0, 256, (8, 24, 24)), PATCH * PATCH)
    picture = rng.integers(0, 256, (2, 24, 24))
    np.testing.assert_array_equal(all_of_them.resynthesise(picture), picture)
    with pytest.raises(InputError, match="fit one to images of this shape"):
        grey.resynthesise(faces)


def test_generators_refuse(rng):
    faces = rng.integers(0, 256, (5, 16, 16))
    with pytest.raises(InputError, match="did you mean 'patches'"):
        fit_generator("patch", faces, 2)
    with pytest.raises(InputError, match="have 1 to 4"):
        fit_generator("pca", faces, 5)
    with pytest.raises(InputError, match="at least 8 x 8"):
        fit_generator("pca", faces[:, :7], 2)
    with pytest.raises(InputError, match="all alike"):
        fit_generator("pca", faces[[0, 0, 0]], 2)
    with pytest.raises(InputError, match="without NaN"):
        fit_space(np.full((3, 4), np.nan), 1)


# ------------------------------------------------------------------------------------------- data


def test_simulated_salience_is_on_eyes_nose_and_mouth():
    labels = np.full((3, 40, 40), PARTS["skin"], np.uint8)
    labels[0, 8:12, 8:32] = PARTS["eye"]
    labels[0, 20:26, 18:22] = PARTS["nose"]
    labels[1, :, :20] = PARTS["hair"]
    labels[2, 30:34, 14:26] = PARTS["lips"]
    maps = simulate_salience(labels)
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps.min((1, 2)), 0)
    np.testing.assert_array_equal(maps.max((1, 2)), [1, 0, 1])  # no such part: nothing
    assert maps[0, 10, 20] > 0.9 > maps[0, 23, 20] > 0.4 > maps[0, 36, 4]
    centre = np.unravel_index(maps[2].argmax(), (40, 40))
    assert abs(centre[0] - 31.5) <= 0.5 and abs(centre[1] - 19.5) <= 0.5


PEOPLE = dict(fitted=3, training=2, validation=1, test=2)
RENDER = dict(views=1, size=32, components={"pca": 3, "coarse": 3, "patches": 5}, processes=1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    return folder, render_detection_set(**PEOPLE, **RENDER, seed=4, folder=folder)


def test_rendered_set_has_disjoint_people_and_the_same_faces_in_both_classes(rendered):
    _, data = rendered
    people = {part: set(data.identity[data.split == part]) for part in detection.SPLITS}
    assert [len(people[part]) for part in detection.SPLITS] == [2, 1, 2]
    assert len(set.union(*people.values())) == 5
    assert not {int(name[1:]) for name in set.union(*people.values())} & set(STUDY_SEEDS)
    assert data.generators == ["pca", "coarse", "patches"]
    assert data.salience_kind == "simulated"
    for part in ("training", "validation"):
        assert set(data.source[data.split == part]) == {"genuine", "pca"}
    for generator in data.generators:
        rows = data.rows("test", generator)
        genuine, synthetic = (rows[data.label[rows] == label] for label in (0, 1))
        assert data.identity[genuine].tolist() == data.identity[synthetic].tolist()
        np.testing.assert_array_equal(data.salience[genuine], data.salience[synthetic])
        apart = np.abs(data.images[genuine].astype(int) - data.images[synthetic])
        assert 1 < apart.mean() < 60
    summary = data.summarise()
    assert summary["images"].tolist() == [2, 2, 1, 1, 2, 2, 2, 2]
    assert summary["with_salience"].equals(summary["images"])


def test_rendered_set_is_kept_and_mended(rendered, monkeypatch):
    folder, data = rendered
    monkeypatch.setattr(detection, "generate_faces", lambda *_, **__: pytest.fail("rendered again"))
    again = render_detection_set(**PEOPLE, **RENDER, seed=4, folder=folder)
    for name in ("images", "label", "source", "identity", "split", "salience"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
    (path,) = folder.glob("*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(pytest.fail.Exception, match="rendered again"):
        render_detection_set(**PEOPLE, **RENDER, seed=4, folder=folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"training": 0}, "training is 0"),
        ({"unseen": ("pca",)}, "named twice"),
        ({"seen": "gan"}, "no generator 'gan'"),
    ],
)
def test_rendered_set_refuses(change, sentence):
    with pytest.raises(InputError, match=sentence):
        render_detection_set(**{**PEOPLE, **RENDER, **change})


def write_folders(root, *, people=5, classes=("real", "fake"), colour=False):
    """A folder per class; people have the same names in all."""
    rng = np.random.default_rng(0)
    for name in classes:
        for person in range(people):
            (root / name / f"p{person}").mkdir(parents=True)
            for k in range(2):
                picture = rng.integers(0, 256, (40, 40, 3) if colour else (40, 40), np.uint8)
                Image.fromarray(picture).save(root / name / f"p{person}" / f"{k}.png")
    return [root / name for name in classes]


def test_folders_of_a_reader(tmp_path):
    real, fake, other = write_folders(tmp_path, classes=("real", "fake", "other"))
    (other / "stranger.png").write_bytes((other / "p0" / "0.png").read_bytes())
    maps = tmp_path / "maps"
    for place, source in ((real, "genuine"), (fake, "synthetic")):
        for path in place.rglob("*.png"):
            to = maps / source / path.relative_to(place).with_suffix(".jpg")
            to.parent.mkdir(parents=True, exist_ok=True)
            marked = Image.new("L", (40, 40), 255 if source == "genuine" else 51)
            marked.paste(0, (0, 0, 40, 20))
            marked.save(to, quality=100)
    data = load_detection_folders(real, fake, size=20, unseen={"other": other}, maps=maps, seed=1)
    assert data.salience_kind == "human"
    assert data.images.shape == (len(data), 20, 20)
    people = {part: set(data.identity[data.split == part]) for part in detection.SPLITS}
    assert not people["training"] & people["validation"]
    assert not (people["training"] | people["validation"]) & people["test"]
    # of the other generator only people who are new to the detector
    strange = data.source == "other"
    assert set(data.split[strange]) == {"test"}
    assert set(data.identity[strange]) == people["test"] and "stranger" in people["test"]
    assert np.isnan(data.salience[strange]).all()
    for source, value in (("genuine", 1), ("synthetic", 0.2)):
        found = data.salience[data.source == source]
        np.testing.assert_allclose(found[:, 12:], value, atol=0.005)
        np.testing.assert_allclose(found[:, :8], 0, atol=0.005)
    plain = load_detection_folders(real, fake, size=20)
    assert plain.salience_kind == "none" and np.isnan(plain.salience).all()
    with pytest.raises(InputError, match="no map of human salience"):
        train_detectors(plain, DetectorTraining(trainable_from="b"), base=tiny_base(20))
    wide = next((maps / "synthetic").rglob("*.jpg"))
    whole = wide.read_bytes()
    Image.new("L", (40, 30)).save(wide)
    with pytest.raises(InputError, match="40 x 30 pixels and its image 40 x 40"):
        load_detection_folders(real, fake, size=20, maps=maps, seed=1)
    Image.new("L", (40, 40), 80).save(wide)
    with pytest.raises(InputError, match="same everywhere and marks no place"):
        load_detection_folders(real, fake, size=20, maps=maps, seed=1)
    wide.write_bytes(whole)
    twin = wide.with_suffix(".png")
    Image.open(wide).save(twin)
    with pytest.raises(InputError, match=r"are both the map of the synthetic image .*keep one"):
        load_detection_folders(real, fake, size=20, maps=maps, seed=1)
    twin.unlink()
    path = next((maps / "genuine").rglob(f"{sorted(people['training'])[0]}/0.jpg"))
    path.unlink()
    # whose map would one in the root be, where both classes have an image of its name?
    root = maps / path.relative_to(maps / "genuine")
    root.parent.mkdir(parents=True)
    root.write_bytes(whole)
    with pytest.raises(
        InputError, match=r"no map for the genuine image .*: add 'genuine/[^']*' there"
    ):
        load_detection_folders(real, fake, size=20, maps=maps, seed=1)


def test_maps_of_flat_folders_find_the_image_of_their_name(tmp_path):
    rng = np.random.default_rng(1)
    marks = {}
    for source in ("real", "fake"):
        for k in range(4):
            for folder, ending in ((source, "png"), ("maps", "tif")):
                (tmp_path / folder).mkdir(exist_ok=True)
                picture = rng.integers(0, 256, (24, 24), np.uint8)
                Image.fromarray(picture).save(tmp_path / folder / f"{source}{k}.{ending}")
            marks[f"{source}{k}"] = picture / 255
    # what is hidden is nobody's
    (tmp_path / "real" / ".cache").mkdir()
    Image.new("L", (24, 24)).save(tmp_path / "real" / ".cache" / "x.png")
    data = load_detection_folders(
        tmp_path / "real", tmp_path / "fake", size=24, maps=tmp_path / "maps"
    )
    assert sorted(data.identity) == sorted(marks) and data.salience_kind == "human"
    for name, salience in zip(data.identity, data.salience, strict=True):
        np.testing.assert_allclose(salience, marks[name], atol=1e-6)


def test_folders_that_hold_the_same_files_are_refused(tmp_path):
    real, fake, other = write_folders(tmp_path, classes=("real", "fake", "other"))
    (real / "p0" / "inside").mkdir()

    def refused(*folders, **options):
        with pytest.raises(InputError, match="hold the same files"):
            load_detection_folders(*folders, size=20, **options)

    refused(real, real)
    refused(tmp_path, fake)
    refused(real, fake, unseen={"other": fake})
    refused(real, fake, unseen={"other": other, "again": other / "p1"})
    refused(real, fake, maps=real / "p0" / "inside")
    (tmp_path / "link").symlink_to(fake)
    refused(tmp_path / "link", fake)


def test_folders_refuse_in_one_sentence(tmp_path):
    real, fake = write_folders(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()

    def refused(match, *folders, **options):
        with pytest.raises(InputError, match=match) as error:
            load_detection_folders(*(folders or (real, fake)), **{"size": 20, **options})
        assert "\n" not in str(error.value)

    refused("holds no images", real, empty)
    refused("is no folder", real, tmp_path / "nowhere")
    refused("is no folder", maps=tmp_path / "nowhere")
    refused("leave people to train on", test=0.9)
    refused("size is 0", size=0)
    few = write_folders(tmp_path / "few", people=2)
    refused("too few for training, validation and test", *few)
    colour = write_folders(tmp_path / "colour", colour=True)
    refused("grey or all in colour", real, colour[1])
    odd = fake / "p1" / "0.png"
    Image.new("L", (41, 40)).save(odd)
    refused("41 x 40 pixels", real, fake)
    odd.write_bytes(b"no picture")
    refused("cannot be read as an image", real, fake)


# ------------------------------------------------------------------------------------------- loss


def literal_loss(features, kernel, bias, labels, salience, alpha):
    """The loss of Boyd et al. 2023, number by number; the CAM is that of the predicted class."""
    entropy = human = 0.0
    count, height, width, channels = features.shape
    for n in range(count):
        logits = []
        for c in range(kernel.shape[1]):
            mean = [features[n, :, :, k].sum() / (height * width) for k in range(channels)]
            logits.append(sum(mean[k] * kernel[k, c] for k in range(channels)) + bias[c])
        top = max(logits)
        entropy -= logits[labels[n]] - top - np.log(sum(np.exp(z - top) for z in logits))
        said = logits.index(top)
        cam = np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                cam[y, x] = sum(features[n, y, x, k] * kernel[k, said] for k in range(channels))
        cam -= cam.min()
        cam /= cam.max()
        wanted = salience[n] - salience[n].min()
        wanted /= wanted.max()
        human += sum((a - b) ** 2 for a, b in zip(cam.ravel(), wanted.ravel(), strict=True)) / (
            height * width
        )
    return alpha * entropy / count + (1 - alpha) * human / count, entropy / count, human / count


@pytest.fixture
def example(rng):
    features = rng.normal(1, 1, (5, 3, 4, 6))
    salience = rng.random((5, 3, 4))
    salience = (salience - salience.min((1, 2), keepdims=True)) / np.ptp(
        salience, (1, 2), keepdims=True
    )
    return features, rng.normal(size=(6, 2)), rng.normal(size=2), [0, 1, 1, 0, 1], salience


def loss_of(features, kernel, bias, labels, salience, alpha, of="predicted"):
    logits = tf.reduce_mean(features, (1, 2)) @ kernel + bias
    classes = tf.argmax(logits, -1) if of == "predicted" else tf.constant(labels)
    cams = compute_cam(features, kernel, classes)
    return compute_losses(logits, tf.constant(labels), cams, salience, alpha)


@pytest.mark.parametrize("alpha", [0.5, 0.2, 1.0])
def test_loss_and_its_gradient_are_those_of_the_printed_equation(example, rng, alpha):
    features, kernel, bias, labels, salience = example
    found = [float(x) for x in loss_of(*map(tf.constant, example[:3]), labels, salience, alpha)]
    expected = literal_loss(*example, alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert expected[2] > 0.05
    variables = [tf.Variable(part) for part in (features, kernel)]
    with tf.GradientTape() as tape:
        total = loss_of(*variables, bias, labels, salience, alpha)[0]
    for part, gradient in zip((0, 1), tape.gradient(total, variables), strict=True):
        direction = rng.normal(size=example[part].shape)
        moved = []
        for step in (1e-6, -1e-6):
            shifted = list(example)
            shifted[part] = example[part] + step * direction
            moved.append(literal_loss(*shifted, alpha)[0])
        slope = (moved[0] - moved[1]) / 2e-6
        assert float((gradient.numpy() * direction).sum()) == pytest.approx(slope, rel=1e-6)


def test_loss_of_the_true_class_and_of_images_without_a_map(example):
    features, kernel, bias, labels, salience = example
    said = (features.mean((1, 2)) @ kernel + bias).argmax(1)
    wrong = said != labels
    assert wrong.any() and not wrong.all()
    args = [tf.constant(part) for part in (features, kernel, bias)]
    predicted, true = (
        float(loss_of(*args, labels, salience, 0.5, of)[2]) for of in ("predicted", "true")
    )
    assert abs(predicted - true) > 1e-3
    right = [part[~wrong] if len(part) == 5 else part for part in (features, kernel, bias)]
    known = np.where(wrong[:, None, None], np.nan, salience)
    alone = loss_of(*right, np.array(labels)[~wrong], salience[~wrong], 0.5)[2]
    with tf.GradientTape() as tape:
        variable = tf.Variable(features)
        total, entropy, human = loss_of(variable, kernel, bias, labels, known, 0.5)
    assert float(human) == pytest.approx(float(alone), rel=1e-12)
    assert np.isfinite(tape.gradient(total, variable).numpy()).all()
    nothing = loss_of(*args, labels, np.full_like(salience, np.nan), 1.0)
    assert float(nothing[0]) == pytest.approx(float(entropy)) and float(nothing[2]) == 0
    # a constant map has no scale, and its gradient is finite
    with tf.GradientTape() as tape:
        flat = tf.Variable(np.ones_like(features))
        total = loss_of(flat, kernel, bias, labels, salience, 0.5)[0]
    assert np.isfinite(tape.gradient(total, flat).numpy()).all()


def test_salience_is_brought_to_cells_by_area(rng):
    maps = rng.random((2, 12, 12)).astype(np.float32)
    maps[1] = np.nan
    found = resize_salience(maps, (3, 4))
    cells = maps[0].reshape(3, 4, 4, 3).mean((1, 3))
    np.testing.assert_allclose(found[0], (cells - cells.min()) / np.ptp(cells), atol=1e-5)
    assert np.isnan(found[1]).all()


# --------------------------------------------------------------------------------------- training


def tiny_base(size=SIZE):
    """Two convolutions, the second to be trained: feature maps of a quarter of the size."""
    kinds = tf.keras.layers
    layers = [
        kinds.Input((size, size, 3)),
        kinds.Conv2D(8, 3, padding="same", activation="relu", name="a"),
        kinds.MaxPooling2D(4, name="pool"),
        kinds.Conv2D(12, 3, padding="same", activation="relu", name="b"),
    ]
    base = tf.keras.Sequential(layers)
    base = tf.keras.Model(base.input, base.output)
    training._draw_weights(base, 0)
    base.get_layer("a").set_weights([w / 50 for w in base.get_layer("a").get_weights()])
    return base


def planted_set(count=48, seed=0):
    """Synthetic images carry a grating everywhere; salience is a spot, at a place per image."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    images = 120 + rng.normal(0, 20, (count, SIZE, SIZE))
    images[label == 1] += 45 * (-1.0) ** np.arange(SIZE)
    y, x = np.mgrid[:SIZE, :SIZE]
    centre = rng.choice([8, 24], (2, count, 1, 1))
    # a bright spot where people would look, in both classes
    salience = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 40)
    images += 70 * salience
    split = np.repeat(["training", "validation", "test"], [count // 2, count // 4, count // 4])
    return DetectionSet(
        images=images.clip(0, 255).astype(np.uint8),
        label=label,
        source=np.where(label == 1, "planted", "genuine"),
        identity=np.arange(count).astype(str),
        split=split,
        seen="planted",
        salience=salience.astype(np.float32),
        salience_kind="simulated",
    )


SETTINGS = DetectorTraining(
    trainable_from="b", runs=2, epochs=6, batch=6, learning_rate=0.05, decay_every=4
)


@pytest.fixture(scope="module")
def base():
    return tiny_base()


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    data = planted_set()
    return data, folder, train_detectors(data, SETTINGS, base=base, folder=folder, progress=False)


def weights_of(detectors):
    return [b"".join(w.tobytes() for w in d.model.get_weights()) for d in detectors]


def test_detectors_learn_and_their_history_adds_up(trained):
    data, _, detectors = trained
    assert [d.name for d in detectors] == [f"{loss}-{k}" for loss in LOSSES for k in (0, 1)]
    for detector in detectors:
        table = detector.history
        assert table.columns.tolist() == list(training.HISTORY)
        assert table["epoch"].tolist() == np.repeat(np.arange(1, 7), 2).tolist()
        share = 1 if detector.loss == "cross_entropy" else 0.5
        total = share * table["cross_entropy"] + (1 - share) * table["salience"]
        np.testing.assert_allclose(table["total"], total)
        np.testing.assert_allclose(table["rate"].unique(), [0.05, 0.005])
        held = table[table["part"] == "validation"].set_index("epoch")["accuracy"]
        assert detector.epoch == held[held == held.max()].index[-1]
        # the weights are that epoch's: so is the loss
        rows = data.rows("validation")
        answers = detector.model(vgg.prepare(data.images[rows], vgg.MEANS["imagenet"])).numpy()
        total = np.log(np.exp(answers).sum(1)) - answers[np.arange(len(rows)), data.label[rows]]
        kept = table[(table["part"] == "validation") & (table["epoch"] == detector.epoch)]
        assert total.mean() == pytest.approx(kept["cross_entropy"].item(), rel=1e-4)
    summary = summarise_detection(score_detectors(detectors, data))
    assert (summary["accuracy"] >= 0.9).all()


def test_steps_are_those_of_stochastic_gradient_descent_by_hand(base, rng):
    """Decay joins the gradient, momentum gathers both, the rate comes last; after two steps."""
    settings = dataclasses.replace(SETTINGS, weight_decay=0.3, momentum=0.9)
    session = training._Session(base, settings)
    start = session.network.tapped.input_shape[1:]
    x = tf.constant(rng.normal(size=(6, *start)).astype(np.float32))
    labels = tf.constant([0, 1, 1, 0, 1, 0])
    salience = tf.constant(resize_salience(rng.random((6, 32, 32)), session.shape))
    model, kernel = session.tapped, session.dense.kernel
    weights = [v.numpy().astype(np.float64) for v in session.learning]
    speeds = [np.zeros_like(w) for w in weights]
    for rate in (0.05, 0.02):
        with tf.GradientTape() as tape:
            features, logits = model(x, training=True)
            cams = compute_cam(features, kernel, tf.argmax(logits, -1))
            total = compute_losses(logits, labels, cams, salience, 0.4)[0]
        gradients = tape.gradient(total, session.learning)
        for w, v, g in zip(weights, speeds, gradients, strict=True):
            v *= 0.9
            v += g.numpy() + 0.3 * w
            w -= rate * v
        session.step(x, labels, salience, tf.constant(0.4), tf.constant(rate))
        for w, variable in zip(weights, session.learning, strict=True):
            np.testing.assert_allclose(variable.numpy(), w, rtol=1e-4, atol=1e-6)


def test_scores_are_those_of_the_complete_model_and_of_scikit_learn(trained):
    data, _, detectors = trained
    scores = score_detectors(detectors, data)
    rows = data.rows("test")
    for detector in detectors:
        logits = detector.model(vgg.prepare(data.images[rows], vgg.MEANS["imagenet"])).numpy()
        mine = scores[scores["detector"] == detector.name]
        np.testing.assert_allclose(mine["score"], logits[:, 1] - logits[:, 0], atol=1e-4)
        assert mine["row"].tolist() == rows.tolist()
        np.testing.assert_array_equal(mine["correct"], logits.argmax(1) == data.label[rows])
    # area under the curve with ties, on answers that are not perfect
    noisy = scores.assign(score=np.random.default_rng(0).integers(0, 4, len(scores)) + scores.label)
    for row in summarise_detection(noisy).itertuples():
        some = noisy[noisy["detector"] == row.detector]
        assert row.auc == pytest.approx(roc_auc_score(some["label"], some["score"]))
        assert row.people == 12 and row.accuracy == some["correct"].mean()


def test_unseen_generator_is_scored_with_the_same_genuine_images(trained):
    data, _, detectors = trained
    # a generator without any trace: what it makes are the genuine images
    genuine = np.flatnonzero((data.split == "test") & (data.label == 0))
    more = {
        name: np.concatenate([getattr(data, name), getattr(data, name)[genuine]])
        for name in ("images", "label", "identity", "split", "salience", "source")
    }
    more["label"][-len(genuine) :] = 1
    more["source"] = more["source"].astype(object)
    more["source"][-len(genuine) :] = "perfect"
    both = dataclasses.replace(data, **more)
    assert both.generators == ["planted", "perfect"]
    table = summarise_detection(score_detectors(detectors, both)).set_index("generator")
    np.testing.assert_array_equal(table.loc["perfect", "accuracy"], 0.5)
    # every genuine image ties with its copy; rounding in other batches may break the six ties
    np.testing.assert_allclose(table.loc["perfect", "auc"], 0.5, atol=6 * 0.5 / 36)
    assert not table.loc["perfect", "seen"].any() and table.loc["planted", "seen"].all()
    old = summarise_detection(score_detectors(detectors, data))
    np.testing.assert_array_equal(table.loc["planted", "auc"], old["auc"])


def test_cyborg_with_alpha_1_is_cross_entropy_and_runs_differ(base, trained):
    data, _, detectors = trained
    alone = dataclasses.replace(SETTINGS, alpha=1.0)
    again = train_detectors(data, alone, losses=["cyborg"], base=base, progress=False)
    assert weights_of(again) == weights_of(detectors[:2])
    assert len(set(weights_of(detectors))) == 4


def test_same_settings_same_bytes_and_a_killed_run_goes_on(base, trained, tmp_path, monkeypatch):
    data, folder, detectors = trained
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(kept) == 4
    # killed in the third training: two are there
    calls = []
    learn = training._Session.train

    def counted(self, data, loss, run):
        calls.append((loss, run))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return learn(self, data, loss, run)

    monkeypatch.setattr(training._Session, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        train_detectors(data, SETTINGS, base=base, folder=tmp_path, progress=False)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[: name.rindex("-")] for name in names] == [
        "detector-cross_entropy-0",
        "detector-cross_entropy-1",
    ]
    # one is damaged meanwhile: it and the rest are trained, the other is read
    (tmp_path / names[0]).write_bytes(b"cut")
    calls.clear()
    calls.append("no kill")
    calls.append("no kill")
    calls.append("no kill")
    again = train_detectors(data, SETTINGS, base=base, folder=tmp_path, progress=False)
    assert calls[3:] == [("cross_entropy", 0), ("cyborg", 0), ("cyborg", 1)]
    assert weights_of(again) == weights_of(detectors)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    for a, b in zip(again, detectors, strict=True):
        assert a.history.equals(b.history) and a.epoch == b.epoch
    # other data or settings, other files in place of these; more runs only add to them
    other = dataclasses.replace(SETTINGS, epochs=1, runs=1)
    train_detectors(data, other, losses=["cyborg"], base=base, folder=tmp_path, progress=False)
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 4 and len(left - set(kept)) == 1
    about = training._digest(data, SETTINGS, base)
    turned = dataclasses.replace(data, images=data.images[:, ::-1])
    for change in ({"epochs": 7}, {"seed": 1}, {"cam_class": "true"}, {"learning_rate": 0.04}):
        assert training._digest(data, dataclasses.replace(SETTINGS, **change), base) != about
    assert training._digest(turned, SETTINGS, base) != about
    linear = tf.keras.models.clone_model(base)
    linear.set_weights(base.get_weights())
    assert training._digest(data, SETTINGS, linear) == about
    linear.get_layer("b").activation = tf.keras.activations.linear
    assert training._digest(data, SETTINGS, linear) != about
    assert training._digest(data, dataclasses.replace(SETTINGS, runs=9), base) == about


def test_measures_of_detectors_are_kept_for_the_latest_settings_alone(trained, tmp_path):
    data, _, detectors = trained
    options = dict(amounts=(0.1,), transforms=("flip left-right",), folder=tmp_path, progress=False)
    found = []
    for seed in (0, 0, 1):
        measured = comparison.measure_detectors(detectors, data, np.arange(3), seed=seed, **options)
        found.append(measured["value"].to_numpy())
        assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2], equal_nan=True)


def test_cyborg_moves_the_map_to_salience_and_not_to_a_shuffled_one(base, trained):
    data, _, detectors = trained
    far, near = (
        compare_with_salience([d for d in detectors if d.loss == loss], data) for loss in LOSSES
    )
    assert near["distance"].mean() < 0.6 * far["distance"].mean()
    assert near["r"].mean() > far["r"].mean() + 0.2
    # maps of other images, among places: nothing to be learned from
    rng = np.random.default_rng(1)
    cells = data.salience.reshape(len(data), -1)
    shuffled = np.stack([rng.permutation(row) for row in cells[rng.permutation(len(data))]])
    wrong = dataclasses.replace(data, salience=shuffled.reshape(data.salience.shape))
    lost = train_detectors(wrong, SETTINGS, losses=["cyborg"], base=base, progress=False)
    assert compare_with_salience(lost, data)["r"].mean() < near["r"].mean() - 0.2


def test_frozen_features_and_trained_part_are_the_complete_model(base, trained):
    data, _, detectors = trained
    images = data.images[:5]
    x = vgg.prepare(images, vgg.MEANS["imagenet"])
    for detector in detectors:
        expected = detector.model(x).numpy()
        features = vgg.compute_features(detector.trunk, images, progress=False)
        np.testing.assert_allclose(detector.readout.logits(features), expected, atol=1e-4)
        chain = network.read_chain(detector.model)
        assert [layer.name for layer in chain.layers] == ["a", "pool", "b", "mean", "logits"]
        # what was frozen is as it was, what was not has learned
        np.testing.assert_array_equal(chain.layers[0].kernel, base.get_layer("a").kernel.numpy())
        assert np.abs(chain.layers[2].kernel - base.get_layer("b").kernel.numpy()).max() > 1e-3


def test_saved_detector_is_a_trunk_of_the_library(trained, tmp_path):
    data, _, detectors = trained
    path = tmp_path / "detector.keras"
    detectors[0].model.save(path)
    trunk = vgg.load_trunk(str(path))
    np.testing.assert_allclose(
        trunk.model(trunk.prepare(data.images[:3])).numpy(),
        detectors[0].model(trunk.prepare(data.images[:3])).numpy(),
        atol=1e-5,
    )


def test_images_of_the_test_are_shown_once_for_scores_and_salience(trained, monkeypatch):
    data, _, detectors = trained
    blind = data.salience.copy()
    test = data.rows("test")
    blind[test[::3]] = np.nan
    data = dataclasses.replace(data, salience=blind)
    apart = score_detectors(detectors, data), compare_with_salience(detectors, data)
    shown = []
    enter = training._Together._enter

    def count(self, images):
        shown.append(len(images))
        return enter(self, images)

    monkeypatch.setattr(training._Together, "_enter", count)
    answers = training.ask_detectors(detectors, data)
    pd.testing.assert_frame_equal(score_detectors(detectors, data, answers=answers), apart[0])
    pd.testing.assert_frame_equal(compare_with_salience(detectors, data, answers=answers), apart[1])
    assert sum(shown) == len(test) and set(apart[1]["row"]) == set(test) - set(test[::3])
    # answers of others, or to other images, are not taken for these
    for some in (detectors[:2], detectors[::-1]):
        with pytest.raises(InputError, match="cross_entropy-0, cross_entropy-1, cyborg-0, cyb"):
            score_detectors(some, data, answers=answers)
    learned = data.rows("training")[0]
    for use in (score_detectors, compare_with_salience):
        with pytest.raises(InputError, match=f"do not hold image {learned} of the set"):
            use(detectors, data, "training", answers)
    # and literally: of one image, from the whole model and its last feature maps
    one, k = detectors[2], 1
    x = vgg.prepare(data.images[answers.rows[[k]]], vgg.MEANS["imagenet"])
    logits = one.model(x).numpy()
    np.testing.assert_allclose(answers.logits[2, k], logits[0], atol=1e-5)
    mean = tf.keras.Model(one.model.input, one.model.layers[-2].input)(x)[0]
    cam = (mean.numpy() @ one.readout.kernel)[..., logits.argmax()]
    np.testing.assert_allclose(answers.cams[2, k], cam, atol=1e-4 * np.abs(cam).max())
    # what one detector says of each image takes the part that did not learn once, too
    shown.clear()
    model = np.arange(5) % len(detectors)
    DetectorExplainer(detectors).explain_one(data.images[:5], model)
    assert shown == [5]


# --------------------------------------------------------------------------------------- explainer


def test_grad_cam_of_all_detectors_is_that_of_each(trained):
    data, _, detectors = trained
    images = data.images[:5]
    explainer = DetectorExplainer(detectors)
    found = explainer.explain(images)
    for k, detector in enumerate(detectors):
        alone = Explainer(detector.trunk, [detector.readout], "grad_cam").explain(images)
        np.testing.assert_allclose(found.maps[:, k], alone.maps[:, 0], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(found.predicted[:, k], alone.predicted[:, 0])
    model = np.array([3, 0, 0, 2, 1])
    one = explainer.explain_one(images, model)
    rows = np.arange(5)
    np.testing.assert_allclose(one.maps[:, 0], found.maps[rows, model], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(one.predicted[:, 0], found.predicted[rows, model])


def test_other_methods_explain_the_complete_models(trained):
    data, _, detectors = trained
    images = data.images[:3]
    explainer = DetectorExplainer(detectors[1:3], "gradient_x_input")
    found = explainer.explain(images)
    x = tf.constant(vgg.prepare(images, vgg.MEANS["imagenet"]))
    for k, detector in enumerate(detectors[1:3]):
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = detector.model(x)
            top = tf.reduce_sum(tf.reduce_max(logits, -1))
        expected = (x * tape.gradient(top, x)).numpy().sum(-1)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.maps[:, k], expected, atol=1e-4 * scale)
        np.testing.assert_array_equal(found.predicted[:, k], logits.numpy().argmax(1))
    one = explainer.explain_one(images, np.array([1, 0, 1]))
    rows = np.arange(3)
    np.testing.assert_allclose(one.maps[:, 0], found.maps[rows, [1, 0, 1]], atol=1e-4 * scale)


def test_measures_take_detectors(trained):
    data, _, detectors = trained
    explainer = DetectorExplainer(detectors)
    rows = data.rows("test")[:2]
    table = compute_salience(
        explainer,
        data.images[rows],
        [data.label[rows]] * 4,
        groups={d.name: d.loss for d in detectors},
        amounts=(0.1,),
        progress=False,
    )
    assert table["model"].to_numpy().tolist() == explainer.names
    assert table["group"].to_numpy().tolist() == list(LOSSES)
    assert np.isfinite(table["stability"]).all()


# ---------------------------------------------------------------------------------------- networks


def test_the_profile_of_the_published_sizes_is_as_published():
    """Every constant that is printed or released, in the profile or by default."""
    chapter = params.load_profile("published")["08_salience"]
    names = {"network": "detector", "weights": "detector_weights", "learning_rate": "detector_rate"}
    settings = dataclasses.asdict(DetectorTraining())
    for name, value in training.PUBLISHED.items():
        given = names.get(name, f"detector_{name}")
        settings.setdefault(name)
        assert chapter.get(given, settings[name]) == value, name
    assert chapter["cam_class"] == "predicted"
    assert tuple(chapter["amounts"]) == AMOUNTS and len(chapter["transforms"]) == 12


def test_vgg_is_cut_at_its_last_convolution():
    base = build_base("vgg16", 32, "random", seed=1)
    assert [layer.name for layer in base.layers if layer.weights] == list(vgg.LAYERS)
    assert base.output_shape == (None, 2, 2, 512)
    kernel = base.get_layer("conv3_1").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.01)
    parts = training._Network(base, "conv5_1")
    assert parts.frozen.layers[-1].name == "pool4"
    assert (
        sum(np.prod(v.shape) for v in parts.tapped.trainable_variables)
        == 3 * (9 * 512 * 512 + 512) + 2 * 513
    )


def test_densenet_takes_the_input_of_the_project(rng):
    image = tf.keras.Input((8, 8, 3))
    adapted = tf.keras.Model(image, training._normalise(image))
    images = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    found = adapted(vgg.prepare(images, vgg.MEANS["imagenet"])).numpy()
    expected = tf.keras.applications.densenet.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not adapted.trainable_variables


def test_published_weights_without_a_network_are_refused_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(training.weights, "CACHE", tmp_path)
    monkeypatch.setattr(training.Path, "home", lambda: tmp_path)
    address = ("https://localhost:9/resnet50.h5", "0")
    monkeypatch.setitem(training.KERAS_WEIGHTS, "resnet50", address)
    with pytest.raises(InputError, match="use weights: random") as error:
        build_base("resnet50", 32)
    assert "No network reaches" in str(error.value) and "\n" not in str(error.value)


def test_networks_and_settings_refuse(base, trained):
    data, _, detectors = trained
    for change, sentence in (
        ({"network": "resnet"}, "no network 'resnet' .did you mean 'resnet50'"),
        ({"network": "DenseNet-121"}, "did you mean 'densenet121'"),
        ({"cam_class": "false"}, "predicted or true"),
        ({"epochs": 0}, "epochs = 0"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0"),
        ({"alpha": 1.2}, "alpha = 1.2"),
        ({"momentum": 1.0}, "momentum = 1.0"),
    ):
        with pytest.raises(InputError, match=sentence):
            DetectorTraining(**change)
    with pytest.raises(InputError, match="below 32"):
        build_base("vgg16", 16, "random")
    with pytest.raises(InputError, match="no weights 'imagnet'"):
        build_base("vgg16", 32, "imagnet")
    with pytest.raises(InputError, match="no weights 'vggface'"):
        build_base("resnet50", 32, "vggface")

    def refused(sentence, data=data, settings=SETTINGS, **options):
        with pytest.raises(InputError, match=sentence):
            train_detectors(data, settings, **{"base": base, "progress": False, **options})

    refused("Losses", losses=["mse"])
    refused("no layer 'conv5_1'", settings=DetectorTraining())
    refused("must go from", base=tiny_base(40))
    small = tf.keras.layers.MaxPooling2D(8)(base.output)
    refused("feature maps of one cell", base=tf.keras.Model(base.input, small))
    refused("detectors take square", dataclasses.replace(data, images=data.images[:, :-1]))
    refused("no genuine images", dataclasses.replace(data, label=np.ones(len(data), int)))
    missing = data.salience.copy()
    missing[0] = np.nan
    refused("1 of 24 images for training", dataclasses.replace(data, salience=missing))
    refused(
        "lower the learning_rate",
        settings=dataclasses.replace(SETTINGS, learning_rate=1e30, runs=1),
    )
    # in the training the batch's means count, in the validation those that follow them slowly
    kinds = tf.keras.layers
    normalised = tf.keras.Sequential(
        [
            kinds.Input((SIZE, SIZE, 3)),
            kinds.Conv2D(4, 3, strides=4, name="a"),
            kinds.Conv2D(4, 3, name="b"),
            kinds.BatchNormalization(),
        ]
    )
    normalised = tf.keras.Model(normalised.input, normalised.output)
    normalised.layers[-1].moving_mean.assign([np.inf] * 4)
    refused(
        "validation of epoch 1, where the running means of batch normalisation",
        base=normalised,
        settings=dataclasses.replace(SETTINGS, learning_rate=1e-6, runs=1),
    )
    with pytest.raises(InputError, match="of a generator 'gan'"):
        data.rows("test", "gan")
    with pytest.raises(InputError, match="no split 'all'"):
        data.rows("all")
    with pytest.raises(InputError, match="no detectors"):
        DetectorExplainer([])
    other = dataclasses.replace(detectors[0], _parts=training._Network(tiny_base(), "b"))
    with pytest.raises(InputError, match="several trainings"):
        score_detectors([detectors[1], other], data)
