"""The chapter's own cells on a reader's photographs and a Keras model of their own."""

import typing

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import run_cells, write_faces
from test_inputs import make_faces, make_readouts, write_model

from lib import params, store
from lib.errors import InputError
from lib.relevance import COMPOSITES, METHODS, parts

CHAPTER = "03_relevance"
#: As cheap as the chapter gets: no other composite, no second engine, no planted cue.
SMALL = {
    "presets": ["a_flat"],
    "methods": [],
    "checked": [],
    "cue_methods": [],
    "subset": 2,
    "shown": 1,
    "draws": 20,
    "precision": "float32",
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of four people without part labels, on a small classifier."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setenv(params.RUNNER, str(tmp_path / "progress.json"))
    write_faces(tmp_path / "faces", ("ada", "ben", "cleo", "dan"), (-30, 0, 30))
    write_model(tmp_path / "own.h5")
    make_faces("r", tmp_path / "faces")
    make_readouts("r", tmp_path / "own.h5")
    yield "r"
    plt.close("all")


def execute(run, **departures):
    """Run the notebook's code cells; its names, and all it printed."""
    _, settings = params.resolve("ci")
    given = settings[CHAPTER].model_dump() | SMALL | departures | {"run": run}
    return run_cells(CHAPTER, given)


def test_photographs_without_labels_go_through_to_the_end(run):
    names, said = execute(run, viewpoints=[30.0, 75.0])
    for sentence in (
        "not measured: these faces carry no part labels",
        "not compared: the setting checked names no composite",
        "not tested: the setting cue_methods is empty",
    ):
        assert sentence in said
    folder = store.run_folder(run)
    table = store.load_table(folder / "parts.csv", made_by=CHAPTER)
    assert len(table) == 0 and tuple(table) == parts.COLUMNS
    schema = {"relevance": ("model", "identity", "y", "x"), "target": ("model", "identity")}
    with store.load_dataset(folder / "relevance.nc", made_by=CHAPTER, schema=schema) as maps:
        assert maps["relevance"].shape == (2, 4, 32, 32)
        assert maps["relevance"].dtype == np.float32
        assert maps["identity"].to_numpy().tolist() == ["ada", "ben", "cleo", "dan"]
        assert (maps["target"].to_numpy() == np.arange(4)).all()
        # raw: a map's scale is that of its logit
        assert np.abs(maps["relevance"]).max() != 1
    # One of the two viewpoints has pictures, of the one person who is looked at from there.
    assert dict(names["turned"].sizes)["identity"] == 1
    assert (folder / "pages" / "relevance" / "index.html").is_file()
    data = (folder / "pages" / "relevance" / "data.js").read_text()
    assert '"methods":[{"label":"LRP a flat"' in data
    assert "no part labels" in names["numbers"]["top_parts"]


def test_other_targets_and_a_composite_that_the_reference_does_not_have(run):
    names, said = execute(run, target="predicted", viewpoints=[])
    assert "the class explained: predicted" in said
    assert "no pictures of these people from the viewpoints []" in said
    # one condition: the pair of its two initialisations, as a relation and as a condition
    assert names["groups"]["pairs"].tolist() == [1, 1]
    with pytest.raises(InputError, match="iNNvestigate has no composite 'gamma'"):
        execute(run, composite="gamma", engine="innvestigate")


def test_what_the_reference_does_not_have_is_refused_before_anything_runs():
    named = typing.get_args(params.Counterpart)
    assert set(named) == {name for name, c in COMPOSITES.items() if c.innvestigate}
    for composite in ("gamma", "grad_cam"):
        with pytest.raises(InputError, match=f"has no composite '{composite}'"):
            params.validate(CHAPTER, {"composite": composite, "engine": "innvestigate"})
    with pytest.raises(InputError, match="checked"):
        params.validate(CHAPTER, {"checked": ["a", "gamma"]})
    for composite in named:
        found = {"composite": composite, "engine": "innvestigate", "checked": [composite]}
        assert params.validate(CHAPTER, found).checked == [composite]
    assert set(METHODS) | set(COMPOSITES) == set(params.Relevance().cue_methods)
