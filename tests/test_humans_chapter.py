"""The chapter's own cells on collected answers, and on a run with one pretraining."""

import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, run_cells

from lib import humans, params, store

CHAPTER = "06_humans"
NEEDED = ("faces.csv", "faces.csv.provenance.json", "readouts.nc", "logits.nc", "relevance.nc")


@pytest.fixture
def run(monkeypatch):
    """A run that starts where the ``ci`` run has come to before this chapter."""
    name = "test-humans"
    source, folder = store.run_folder("ci"), store.run_folder(name)
    if not all((source / file).is_file() for file in NEEDED):
        pytest.fail("there is no ci run: make book PROFILE=ci")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in NEEDED:
        shutil.copyfile(source / file, folder / file)
    # as under the runner: no bars, and no question whose settings the folder has
    monkeypatch.setenv(params.RUNNER, str(folder / "progress.json"))
    monkeypatch.chdir(ROOT)
    yield name
    shutil.rmtree(folder)
    plt.close("all")


def execute(run, **departures):
    """Run the notebook's code cells with small settings; its names, and all it printed."""
    _, settings = params.resolve("ci")
    small = {"studies": 2, "mixed_studies": 0, "permutations": 19, "splits": 5}
    given = settings[CHAPTER].model_dump() | small | departures | {"run": run}
    return run_cells(CHAPTER, given)


def words_of_figures():
    figures = [plt.figure(number) for number in plt.get_fignums()]
    texts = [text for figure in figures for text in figure.findobj(plt.Text)]
    return " ".join(text.get_text() for text in texts).lower()


def test_collected_answers_go_through_the_same_cells_as_simulated_ones(run, tmp_path):
    simulated, said = execute(run)
    assert simulated["simulated"] and "Simulated observers" in said
    assert "simulated observers" in words_of_figures()
    tables = {p.stem: p for p in store.run_folder(run).glob("*.csv")}
    assert {"choices", "trials", "answers", "humans", "coverage"} <= set(tables)
    assert "was planted" in simulated["findings"]["people"]
    mixed = store.load_table(tables["mixed"], made_by=CHAPTER)
    assert "planted" in mixed and mixed["simulated"].all()
    consistency = store.load_table(tables["consistency"], made_by=CHAPTER)
    assert consistency["quantity"][0] == "equal answers, pairs"
    assert set(simulated["predictors"]["predictor"]) == {"intercept", "whole map"}
    plt.close("all")

    asked, names = simulated["asked"], simulated["names"]
    trials = humans.make_trials(asked, 10, catch=2, seed=8)
    people = humans.simulate_observers(trials, asked, bias=0.7, seed=9)
    people["subj"] = people["subj"].str.replace("simulated", "person")
    people = people.drop(columns="simulated")
    for subj, rows in people.groupby("subj"):
        rows.to_csv(tmp_path / f"{subj}.csv", index=False)
    collected, said = execute(run, responses=str(tmp_path))
    assert not collected["simulated"]
    assert "simulated" not in words_of_figures()
    for line in said.splitlines():
        assert not line.startswith("Simulated observers"), line
    wanted = (
        humans.score_responses(humans.load_responses(tmp_path, asked, faces=names), asked)
        .groupby("subj")["prefers"]
        .mean()
    )
    kept = collected["analysis"].observers
    assert kept["preference"].tolist() == pytest.approx(wanted.tolist())
    stored = store.load_table(store.run_folder(run) / "answers.csv", made_by=CHAPTER)
    assert not stored["simulated"].any() and stored["subj"].nunique() == 10
    made = store.provenance_of(store.run_folder(run) / "answers.csv")
    assert sum(name.startswith("responses/") for name in made["inputs"]) == 10

    # simulated answers of another run, with another bias: this run did not plant it
    plt.close("all")
    foreign = tmp_path / "foreign.csv"
    humans.simulate_observers(trials, asked, bias=0.7, seed=9).to_csv(foreign, index=False)
    other, said = execute(run, responses=str(foreign))
    assert other["simulated"] and "it does not hold what was planted" in said
    assert "planted" not in other["findings"]["people"] + words_of_figures()
    assert "simulated observers" in words_of_figures()
    mixed = store.load_table(tables["mixed"], made_by=CHAPTER)
    assert "planted" not in mixed and mixed["simulated"].all()


def test_with_one_pretraining_the_chapter_says_what_is_impossible_and_gives_the_rest(run):
    path = store.run_folder(run) / "logits.nc"
    with store.load_dataset(path, made_by="02_finetuning") as data:
        one = data["model_identity"].to_numpy()[0].split("/")[0]
        keep = np.array([m.startswith(f"{one}/") for m in data["model_identity"].to_numpy()])
        data = data.isel(model_identity=keep).load()
    made = store.provenance_of(data)
    del data.attrs["provenance"]
    store.save_dataset(data, path, made)
    names, said = execute(run)
    assert "No observers, simulated or real: with one pretraining" in said
    assert names["analysis"] is None and names["trials"] is None
    assert not (store.run_folder(run) / "pages" / "experiment").exists()
    assert set(names["closeness"]["pretraining"]) == {one}
    table = store.load_table(store.run_folder(run) / "humans.csv", made_by=CHAPTER)
    assert "one pretraining" in table["why"][0]
    assert "one pretraining" in names["findings"]["people"]
