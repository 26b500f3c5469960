"""The README agrees with what it is taken from: benchmarks, chapters, and a run's figure."""

import hashlib
import json
import re
import sys

import pandas as pd
import pytest
from conftest import ROOT

from lib import kept, params, store, summary
from lib.errors import InputError

sys.path.insert(0, str(ROOT / "scripts"))
import write_readme

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = ROOT / "data" / "figures"


def region(mark, text=README):
    start, end = write_readme.find_region(text, mark)
    return text[start:end].strip()


def test_the_table_of_speeds_is_that_of_the_benchmarks():
    assert region("speeds") == write_readme.list_speeds(), "make readme"
    rows = region("speeds").splitlines()[2:]
    table = pd.read_csv(ROOT / "benchmarks" / "results.csv")
    assert len(rows) == len(table)
    for row, ratio in zip(rows, table["ratio"], strict=True):
        assert f"| {ratio:.2f} |" in row
    assert set(table["name"]) <= set(write_readme.TIMED), "every row in words"


def test_every_chapter_has_its_row_and_every_link_leads_somewhere():
    stems = re.findall(r"^\| \[\w+\]\(notebooks/(\w+)\.ipynb\)", region("chapters"), re.M)
    assert sorted(stems) == sorted(params.CHAPTERS)
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_answer_is_that_of_the_figure_beside_it():
    taken = FIGURES / "answer.json"
    if not taken.is_file():
        assert not region("answer") and not (FIGURES / "answer.svg").exists()
        pytest.skip("no run's figure has been taken over yet: make readme")
    about = json.loads(taken.read_text(encoding="utf-8"))
    assert store.sha256(FIGURES / "answer.svg") == about["sha256"]
    assert region("answer") == write_readme.write_answer(about)
    assert region("chapters") == write_readme.list_chapters(region("chapters"), about["chapters"])
    for line in (FIGURES / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert store.sha256(FIGURES / name) == digest


def test_the_answer_at_the_papers_scale_is_what_was_kept():
    assert region("scaled") == write_readme.write_scaled(kept.load_kept())


def test_without_kept_results_nothing_is_folded_up(run):
    assert write_readme.write_scaled(kept.load_kept()) == ""
    filled = write_readme.fill(README, None)
    assert region("scaled", filled) == ""


def test_it_begins_with_the_question_the_answer_and_two_commands():
    question, answer = README.index("?**"), README.index("<!-- answer")
    assert question < answer < README.index("make book ") < README.index("make test ")
    assert README.index("make test ") < README.index("## Chapters")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that has its summary, and no chapter."""
    from test_summary import save_tables

    monkeypatch.setattr(store, "ROOT", tmp_path)
    out = save_tables("r")
    summary.write_summary("r")
    return out


def test_a_runs_answer_is_taken_over_with_its_provenance(run, tmp_path):
    folder = tmp_path / "figures"
    about = write_readme.keep_figure("r", "ci", "size=96", folder)
    assert (folder / "answer.svg").read_bytes() == (run / "summary.svg").read_bytes()
    assert json.loads((folder / "answer.json").read_text()) == about
    assert about["sha256"] == hashlib.sha256((run / "summary.svg").read_bytes()).hexdigest()
    assert re.fullmatch(r"[0-9a-f]{40}", about["commit"])
    filled = write_readme.fill(README, about)
    assert write_readme.fill(filled, about) == filled, "once more changes nothing"
    shown = region("answer", filled)
    assert "(data/figures/answer.svg)" in shown and "profile `ci`, `size=96`" in shown
    assert about["caption"] in shown and all(text in shown for text in about["answer"].values())
    rows = region("chapters", filled).splitlines()
    assert rows[0].endswith("| found |")
    line = next(row for row in rows if "01_faces" in row)
    assert line.endswith("| 12 images of 4 people; 1 of 2 checks for shortcuts over its limit |")
    # nothing else is touched
    for mark in write_readme.MARKS:
        filled = write_readme.replace_region(filled, mark, "")
    bare = README
    for mark in write_readme.MARKS:
        bare = write_readme.replace_region(bare, mark, "")
    assert filled == bare


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(InputError, match=r"must hold <!-- speeds: make readme --> and"):
        write_readme.fill(README.replace("<!-- /speeds -->", ""), None)
