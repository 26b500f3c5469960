"""What later chapters open: the same faces, trunks and readouts, or a refusal."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import write_faces
from PIL import Image

from lib import inputs, store
from lib.errors import InputError

PEOPLE = ("ada", "ben", "cleo", "dan")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run ``r`` in a repository of its own: four people, seven views, chapter 01 done."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    write_faces(tmp_path / "faces", PEOPLE, (-60, -30, 0, 30, 60))
    return make_faces("r", tmp_path / "faces")


def make_faces(run, source, size=32):
    from lib.faces import dataset

    faces = dataset.load_faces(source, size=size)
    made = store.provenance(
        "01_faces", {"source": str(source), "size": size, "megapixels": 50.0}, {}
    )
    store.save_table(faces.table, store.run_folder(run) / "faces.csv", made)
    return run


def write_model(path, size=32, readout=True):
    """A small classifier with fixed random weights."""
    import tensorflow as tf

    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(0)
    parts = [
        tf.keras.Input((size, size, 3)),
        layers.Conv2D(4, 3, strides=4, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
    ]
    if readout:
        parts.append(layers.Dense(7, activation="softmax"))
    model = tf.keras.Sequential(parts)
    model.save(path)
    return model


def make_readouts(run, model_path, identities=0):
    """Chapter 02 in small: train on the trunk, save as it does."""
    from lib import finetuning, vgg

    faces = inputs.load_faces(run, identities)
    trunks = inputs.open_trunks([str(model_path)], 32)
    codes = pd.Categorical(faces.table["identity"]).codes.astype(int)
    ((name, trunk),) = trunks.items()
    features = vgg.compute_features(trunk, faces.images(), progress=False)
    split = finetuning.make_split("random", codes, faces.table["viewpoint"].to_numpy())
    done = finetuning.train_readouts(
        features,
        [finetuning.Task("identity", codes)],
        split,
        initialisations=2,
        epochs=1,
        progress=False,
    )
    settings = {
        "pretrainings": [str(model_path)],
        "means": "imagenet",
        "vggface_file": "",
        "vggface_sha256": "",
        "identities": identities,
    }
    made = store.provenance("02_finetuning", settings, inputs.trunk_digests(trunks))
    dataset = finetuning.to_dataset({name: done.readouts})
    store.save_dataset(dataset, store.run_folder(run) / "readouts.nc", made)
    return done.readouts


# ------------------------------------------------------------------------------------------ faces


def test_few_identities_are_balanced():
    table = pd.DataFrame(
        {
            "identity": list("abcdef") * 2,
            "gender": ["male"] * 4 + ["female"] * 2 + ["male"] * 4 + ["female"] * 2,
        }
    )
    assert inputs.choose_identities(table) == list("abcdef")
    assert inputs.choose_identities(table, 2) == ["a", "e"]
    assert inputs.choose_identities(table, 5) == ["a", "b", "c", "e", "f"]
    unknown = table.assign(gender=np.nan)
    assert inputs.choose_identities(unknown, 3) == ["a", "b", "c"]
    with pytest.raises(InputError, match="identities = 7 are asked for and the faces have 6"):
        inputs.choose_identities(table, 7)


def test_faces_are_those_of_the_run(run, tmp_path):
    faces = inputs.load_faces(run, 2)
    assert faces.size == 32 and len(faces) == 10
    assert faces.images().shape == (10, 32, 32)
    np.testing.assert_array_equal(faces.images([7])[0], inputs.load_faces(run, 0).images([7])[0])
    assert list(faces.table["identity"].iloc[inputs.frontal(faces)]) == ["ada", "ben"]
    assert (faces.table["viewpoint"].iloc[inputs.frontal(faces)] == 0).all()
    with pytest.raises(InputError, match=r"readouts\.nc is missing: run 02_finetuning"):
        inputs.load_faces(run)
    with pytest.raises(InputError, match=r"faces\.csv is missing: run 01_faces"):
        inputs.load_faces("other", 0)


def test_changed_images_are_refused(run, tmp_path):
    file = tmp_path / "faces" / "ada" / "yaw+000.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(file)
    with pytest.raises(InputError, match="no longer those that 01_faces listed"):
        inputs.load_faces(run, 0)
    file.unlink()
    with pytest.raises(InputError, match="no longer those that 01_faces listed"):
        inputs.load_faces(run, 0)


def test_an_identity_without_a_frontal_image_is_refused(run, tmp_path):
    (tmp_path / "faces" / "ben" / "yaw+000.png").unlink()
    make_faces(run, tmp_path / "faces")
    with pytest.raises(InputError, match="'ben' has no image with viewpoint 0"):
        inputs.frontal(inputs.load_faces(run, 0))


def test_landmarks_stay_with_their_images(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    folder = write_faces(tmp_path / "faces", ("ada", "ben"), (0, 30))
    rows = [
        f"{name}/yaw{view:+04d}.png,{name},{view},{k},{k},1"
        for k, (name, view) in enumerate((n, v) for n in ("ben", "ada") for v in (0, 30))
    ]
    (folder / "manifest.csv").write_text("\n".join(["path,identity,viewpoint,x0,y0,v0", *rows]))
    faces = inputs.load_faces(make_faces("r", folder), 1)
    assert list(faces.table["identity"]) == ["ada", "ada"]
    assert list(faces.points[:, 0, 0]) == [2, 3]


# --------------------------------------------------------------------------------------- networks


def test_the_readouts_of_a_run_fit_its_trunks(run, tmp_path):
    """Logits by the artefacts are those of the classifier that was trained."""
    from lib import vgg

    write_model(tmp_path / "my__net.keras")
    trained = make_readouts(run, tmp_path / "my__net.keras", identities=3)
    readouts, trunks = inputs.load_readouts(run), inputs.load_trunks(run)
    assert list(readouts) == list(trunks) == ["my__net"]
    assert [r.name for r in readouts["my__net"]] == ["identity-0", "identity-1"]
    faces = inputs.load_faces(run)
    rows = inputs.frontal(faces)
    assert faces.table["identity"].iloc[rows].tolist() == ["ada", "ben", "cleo"]
    features = vgg.compute_features(trunks["my__net"], faces.images(rows), progress=False)
    for found, expected in zip(readouts["my__net"], trained, strict=True):
        np.testing.assert_array_equal(found.kernel, expected.kernel)
        assert found.logits(features).shape == (3, 3)


def test_a_trunk_that_was_trained_again_is_refused(run, tmp_path):
    model = write_model(tmp_path / "net.keras")
    make_readouts(run, tmp_path / "net.keras")
    model.layers[0].bias.assign_add(np.ones(4, np.float32))
    model.save(tmp_path / "net.keras")
    with pytest.raises(InputError, match="weights of trunk net are no longer those"):
        inputs.load_trunks(run)


def test_the_trunk_of_a_classifier_is_what_lies_below_its_readout(tmp_path):
    model = write_model(tmp_path / "net.keras")
    trunk = inputs.open_trunks([str(tmp_path / "net.keras")], 32)["net"]
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    logits = trunk.model(x).numpy() @ model.layers[-1].kernel.numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(model(x), probabilities, rtol=1e-5)
    write_model(tmp_path / "bare.keras", readout=False)
    assert inputs.open_trunks([str(tmp_path / "bare.keras")], 32)["bare"].model.output_shape[1:]


def test_trunks_that_do_not_go_together_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_model(tmp_path / folder / "net.keras")
    paths = [str(tmp_path / folder / "net.keras") for folder in ("a", "b")]
    with pytest.raises(InputError, match="Two trunks are named 'net'"):
        inputs.open_trunks(paths, 32)
    with pytest.raises(InputError, match=r'takes images of 32 x 32 .* 64 x 64; .*SET="size=32"'):
        inputs.open_trunks(paths[:1], 64)
    with pytest.raises(InputError, match="no trunk 'imagenett'"):
        inputs.open_trunks(["imagenett"], 32)
    with pytest.raises(InputError, match=r"no VGGFace weight file .*none\.h5"):
        inputs.open_trunks(["vggface"], 32, vggface_file=str(tmp_path / "none.h5"))


def test_opening_faces_needs_no_tensorflow(root):
    code = "import sys; from lib import inputs; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
