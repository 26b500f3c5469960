"""The experiment page of the ``ci`` run as it lies in the book, answered by a scripted observer."""

import hashlib

import pandas as pd
import pytest
from browser import Browser
from conftest import ROOT
from observer import answer_all, download, practise, prefer, start

from lib import humans, params, store
from lib.experiment import has_packages

PAGE = ROOT / "book" / "_build" / "ci" / "html" / "pages" / "experiment" / "index.html"


@pytest.fixture(scope="module")
def study():
    """Choices, disagreements and trials that the run's chapter wrote."""
    folder = store.run_folder("ci")
    if not (folder / "choices.csv").is_file():
        pytest.fail("there is no ci run: make book PROFILE=ci")
    choices = store.load_table(folder / "choices.csv", made_by="06_humans")
    trials = store.load_table(folder / "trials.csv", made_by="06_humans", dtype="str")
    trials = trials.astype({"observer": int, "trial": int})
    _, settings = params.resolve("ci")
    trained, chapter = settings["02_finetuning"], settings["06_humans"]
    pair = humans.choose_pair(trained.pretrainings, chapter.pair)
    return choices, humans.find_disagreements(choices, pair), trials, chapter


@pytest.fixture(scope="module")
def browser():
    if not has_packages():
        pytest.skip("jsPsych is not there, so the run has no experiment page to try")
    if not PAGE.is_file():
        pytest.fail("there is no book of the ci run with its page: make book PROFILE=ci")
    opened = Browser()
    yield opened
    opened.close()


def takes_first(number):
    """A choice per target that has nothing to do with the faces, another for each observer."""
    return lambda target: hashlib.sha256(f"{number} {target}".encode()).digest()[0] < 160


def test_a_scripted_observer_answers_the_whole_page_and_the_analysis_finds_just_that(
    browser, study, tmp_path
):
    choices, asked, trials, settings = study
    answers = tmp_path / "answers"
    for number, width in ((1, 1440), (2, 390)):
        touch = width < 600
        browser.open(PAGE.resolve().as_uri(), width, 844)
        browser.run("localStorage.clear()")
        browser.open("about:blank")
        browser.open(PAGE.resolve().as_uri(), width, 844)
        browser.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        # the cross and the empty page between the faces only cost time here
        browser.run("window.STUDY.fixation = window.STUDY.gap = 0")
        rule = prefer(asked, takes_first(number))
        planned = trials[trials["observer"] == number]
        start(browser, number)
        practise(browser, rule, touch, settings.practice)
        given = answer_all(browser, rule, len(planned), touch)
        shown = planned[["target", "left", "right"]].to_numpy().tolist()
        assert [row[:3] for row in given] == shown
        assert download(browser, answers).name == f"ci_observer-00{number}.csv"
        assert browser.problems == []
        browser.run("localStorage.clear()")

    table = humans.load_responses(answers, asked, faces=choices["identity"].unique())
    assert not table["simulated"].any()
    loose = humans.ExclusionRules(max_one_side=1, min_median_rt=0)
    analysis = humans.analyse_responses(table, asked, loose, splits=10)
    assert analysis.observers["catch"].tolist() == [1.0, 1.0]
    wanted = pd.DataFrame({t: [takes_first(n)(t) for n in (1, 2)] for t in asked["identity"]})
    share = wanted.mean(axis=1).tolist()
    assert analysis.observers["preference"].tolist() == pytest.approx(share)
    taken = analysis.identities.set_index("target")["taken"]
    assert taken.to_dict() == wanted.sum().to_dict()
    mean = analysis.preference.set_index("over").loc["observers", "mean"]
    assert mean == pytest.approx(sum(share) / 2)
    # the pictures are those of the run, and there are no others
    names = browser.run("window.STUDY.faces.map(face => face.name)")
    assert set(names) <= set(choices["identity"])
    assert set(trials[["target", "left", "right"]].to_numpy().ravel()) <= set(names)
