"""A reader's own faces and network, as the tutorials show them."""

import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import write_faces

from lib import inputs, own, params, store
from lib.errors import InputError
from lib.faces.dataset import FaceSet, load_faces

EXAMPLES = store.ROOT / "data" / "faces" / "examples"


def ready(faces):
    return own.check_readiness(faces).set_index("part")["ready"].to_dict()


def test_a_folder_lacks_the_genders_that_a_manifest_has():
    folder = ready(load_faces(EXAMPLES / "folder_per_identity"))
    manifest = ready(load_faces(EXAMPLES / "manifest" / "manifest.csv"))
    assert [part for part in folder if folder[part] != manifest[part]] == ["02, gender"]
    assert manifest == {**dict.fromkeys(manifest, True), "03, parts of the face": False}


def test_what_is_missing_is_seen(tmp_path):
    faces = load_faces(write_faces(tmp_path / "turned", views=(-45, 45)))
    assert not ready(faces)["03 to 06, maps"]
    said = own.check_readiness(faces).set_index("part")["found"]
    assert said["03 to 06, maps"] == "Identity 'anna' has no image with viewpoint 0"
    single = ready(load_faces(write_faces(tmp_path / "single", views=(0,))))
    assert single["03 to 06, maps"] and not single["02, validation"]
    alone = ready(load_faces(write_faces(tmp_path / "alone", ("anna",))))
    assert not alone["02, who it is"] and alone["02, validation"]


def test_rendered_faces_have_everything():
    root = store.ROOT / "data" / "faces" / "study"
    assert all(ready(FaceSet(root, pd.read_csv(root / "manifest.csv"))).values())


def test_a_sentence_for_good_and_bad_folders(tmp_path):
    assert own.try_faces(write_faces(tmp_path / "good"), 64) == "6 images of 2 people"
    said = own.try_faces(store.ROOT / "data" / "faces" / "none", 64)
    assert said.startswith("'data/faces/none' does not exist")
    assert "at least 2 are needed" in own.try_faces(write_faces(tmp_path / "a", ("anna",)), 64)


def test_a_few_faces_are_those_of_the_later_chapters(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "run_folder", lambda run: tmp_path / "runs" / run)
    source = write_faces(tmp_path / "faces", ("anna", "björn", "carla"))
    made = {"source": str(source), "size": 32, "megapixels": 1.0}
    path = tmp_path / "runs" / "mine" / "faces.csv"
    store.save_table(load_faces(source).table, path, store.provenance("01_faces", made))
    few, known = own.load_few("mine", 2), inputs.load_faces("mine", 2)
    assert few.table["path"].tolist() == known.table["path"].tolist()
    assert few.size == 32 and (few.images() == known.images()).all()
    assert len(own.load_few("mine", 9)) == 9  # three people from three views
    with pytest.raises(InputError, match="run 01_faces first"):
        own.load_few("other", 2)


def test_the_network_is_the_same_file_for_one_seed_and_goes_through_the_report(tmp_path):
    one = own.write_network(tmp_path / "one.h5", 32, classes=3)
    again = own.write_network(tmp_path / "again.h5", 32, classes=3)
    other = own.write_network(tmp_path / "other.h5", 32, classes=3, seed=1)
    assert one.read_bytes() == again.read_bytes() != other.read_bytes()
    trunk = inputs.open_trunks([str(one)], 32)["one"]
    assert trunk.model.output_shape == (None, 4 * 4 * own.CHANNELS[-1])
    image = np.random.default_rng(0).normal(0, 1, (1, 32, 32, 3)).astype(np.float32)
    kernel, bias = trunk.model.get_layer("conv1").get_weights()
    padded = np.pad(image[0], ((1, 1), (1, 1), (0, 0)))
    found = np.zeros((32, 32, own.CHANNELS[0]))
    for y in range(3):
        for x in range(3):
            found += padded[y : y + 32, x : x + 32] @ kernel[y, x]
    pooled = np.maximum(found, 0).reshape(16, 2, 16, 2, -1).max((1, 3))
    import tensorflow as tf

    first = tf.keras.Model(trunk.model.input, trunk.model.get_layer("pool1").output)
    assert np.allclose(first(image)[0], pooled, atol=1e-4) and not bias.any()


def test_every_command_of_the_prose_is_one_that_the_report_takes(root):
    pages = [root / "README.md", *(root / "book").glob("*.md")]
    prose = [path.read_text(encoding="utf-8") for path in pages]
    for path in (root / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        prose += [cell.source for cell in cells if cell.cell_type == "markdown"]
    text = "\n".join(prose)
    settings = re.findall(r'SET="([^"]+)"', text)
    assert len(settings) > 8
    for given in set(settings):
        params.resolve("default", given)
    for profile in set(re.findall(r"PROFILE=(\w+)", text)):
        assert (root / "params" / f"{profile}.yml").is_file()
    assert set(re.findall(r"CHAPTER=(\w+)", text)) <= set(params.CHAPTERS)
