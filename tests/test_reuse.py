"""What one run takes over from another: the same work, whole, and nothing else."""

import json
import os
import shutil

import pytest

from lib import params, reuse, runner, store
from lib.pages import name_page

CHAPTER = "01_faces"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A run ``one`` whose chapter made a table, and a run ``two`` that needs the same."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(params, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_faces.ipynb").write_text("code")
    for run in ("one", "two"):
        folder = tmp_path / "data" / "runs" / run
        folder.mkdir(parents=True)
        (folder / "before.csv").write_text("the same\n")
    (tmp_path / "data" / "runs" / "one" / "made.csv").write_text("1,2\n")
    note(tmp_path, "one")
    return tmp_path


def files(run):
    inputs = ["notebooks/01_faces.ipynb", f"data/runs/{run}/before.csv"]
    return {"outputs": [f"data/runs/{run}/made.csv"], "inputs": inputs, "state": ["abc"]}


def note(root, run, **departures):
    record = reuse.make_record(params.Faces(run=run, **departures), **files(run))
    path = params.record_path(CHAPTER, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def take(runs=("one",), state=None, **departures):
    given = files("two") | ({"state": state} if state else {})
    return reuse.take_over(params.Faces(run="two", **departures), CHAPTER, runs=runs, **given)


def test_the_same_work_is_linked_and_noted_as_its_own(repository):
    assert take() == "one"
    made = repository / "data" / "runs" / "two" / "made.csv"
    assert made.read_text() == "1,2\n"
    assert os.path.samefile(made, repository / "data" / "runs" / "one" / "made.csv")
    record = reuse.read_record(CHAPTER, "two")
    assert record["settings"]["run"] == "two" and record["taken_from"] == "one"
    assert reuse.is_whole(record)
    # from the second run a third one could take
    assert set(record["outputs"]) == {"data/runs/two/made.csv"}


def is_done(run="one", **departures):
    return reuse.is_done(params.Faces(run=run), CHAPTER, **(files(run) | departures))


def test_a_run_that_has_done_the_work_need_not_do_it_again(repository):
    assert is_done()
    assert not is_done("two"), "which has no record"
    assert not is_done(state=["abd"]) and not is_done(outputs=[])
    assert not is_done(outputs=[*files("one")["outputs"], "data/runs/one/more.csv"])
    assert not is_done(inputs=[]), "of nothing one cannot tell"
    before, made = (repository / "data" / "runs" / "one" / f"{n}.csv" for n in ("before", "made"))
    for path in (before, made):
        content = path.read_text()
        path.write_text(content + "x")
        assert not is_done()
        path.write_text(content)
        assert is_done()
    made.unlink()
    assert not is_done()


def test_replacing_an_artefact_of_one_run_leaves_the_other(repository):
    take()
    with store.atomic_path(repository / "data" / "runs" / "two" / "made.csv") as temporary:
        temporary.write_text("3\n")
    assert (repository / "data" / "runs" / "one" / "made.csv").read_text() == "1,2\n"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda root: (root / "notebooks" / "01_faces.ipynb").write_text("other code"),
        lambda root: (root / "data" / "runs" / "two" / "before.csv").write_text("another\n"),
        lambda root: (root / "data" / "runs" / "one" / "made.csv").write_text("1,3\n"),
        lambda root: (root / "data" / "runs" / "one" / "made.csv").unlink(),
        lambda root: params.record_path(CHAPTER, "one").write_text("{"),
        lambda root: params.record_path(CHAPTER, "one").write_text('{"settings": {}}'),
        lambda root: shutil.rmtree(root / "data" / "runs" / "one"),
        lambda root: note(root, "one", size=64),
    ],
    ids=["code", "input", "changed", "deleted", "damaged", "short", "no run", "settings"],
)
def test_any_difference_means_to_compute(repository, spoil):
    spoil(repository)
    assert take() is None
    assert not (repository / "data" / "runs" / "two" / "made.csv").exists()
    assert reuse.read_record(CHAPTER, "two") is None


def test_other_files_outside_the_repository_mean_to_compute(repository):
    assert take(state=["abd"]) is None


def test_the_first_run_that_fits_is_taken(repository):
    assert take(runs=("", "two", "missing", "one")) == "one"
    assert take(runs=("two",)) is None
    assert take(size=64) is None


def test_without_links_the_artefact_is_copied(repository, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert take() == "one"
    made = repository / "data" / "runs" / "two" / "made.csv"
    assert made.read_text() == "1,2\n"
    assert not os.path.samefile(made, repository / "data" / "runs" / "one" / "made.csv")


def test_the_runner_takes_over_only_when_it_is_told_from_where(repository, monkeypatch):
    def executed(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr("papermill.execute_notebook", executed)
    given = {"outputs": files("two")["outputs"], "inputs": files("two")["inputs"]}
    arguments = [CHAPTER, "--parameters", "{run: two}", "--outputs", *given["outputs"]]
    arguments += ["--inputs", *given["inputs"], "--state", CHAPTER, "{run: two}", "abc"]
    with pytest.raises(AssertionError, match="computed"):
        runner.main(arguments)
    monkeypatch.setenv(reuse.VARIABLE, os.pathsep.join(["other", "one"]))
    assert runner.main(arguments) == 0
    assert (repository / "data" / "runs" / "two" / "made.csv").read_text() == "1,2\n"


def test_a_page_that_only_some_runs_have_is_noted_taken_over_and_missed_when_damaged(repository):
    page = repository / "data" / "runs" / "one" / "pages" / "experiment"
    (page / "faces").mkdir(parents=True)
    (page / "faces" / "a.png").write_bytes(b"a")
    name_page(page, "one")
    given = [
        {**files(run), "pages": [f"data/runs/{run}/pages/experiment"]} for run in ("one", "two")
    ]
    record = reuse.make_record(params.Faces(run="one"), **given[0])
    params.record_path(CHAPTER, "one").write_text(json.dumps(record))
    old = repository / "data" / "runs" / "two" / "pages" / "experiment" / "old.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    assert reuse.take_over(params.Faces(run="two"), CHAPTER, runs=["one"], **given[1]) == "one"
    copy = repository / "data" / "runs" / "two" / "pages" / "experiment" / "faces" / "a.png"
    assert copy.read_bytes() == b"a" and not old.exists()
    # it is a page of this run now, and the other one is still one of that run
    named = copy.parents[1] / "run.js"
    assert named.read_text() == 'window.RUN = "two";\n'
    assert (page / "run.js").read_text() == 'window.RUN = "one";\n'
    record = reuse.read_record(CHAPTER, "two")
    made = ("faces/a.png", "run.js")
    assert set(record["pages"]) == {f"data/runs/two/pages/experiment/{name}" for name in made}
    assert reuse.is_whole(record)
    copy.unlink()
    assert not reuse.is_whole(record)
    # a run that made none is a record like any other
    record = reuse.make_record(params.Faces(run="two"), **{**given[1], "pages": ["nowhere"]})
    assert record["pages"] == {}
