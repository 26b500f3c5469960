"""Results that are committed: what is kept of a run, and how it is shown beside a later one."""

import json
import re
import sys

import nbformat
import pytest
from conftest import ROOT
from test_summary import save_tables

from lib import kept, params, publish, reuse, runner, store, summary
from lib.errors import InputError

sys.path.insert(0, str(ROOT / "scripts"))
import keep_results

ABOUT = {"profile": "ci", "departures": "", "commit": "0123456789abcdef", "date": "2026-11-22"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


def write_chapter(root, stem, run, figures=1):
    """An executed notebook of a run, with its figures and its record."""
    folder = root / "data" / "runs" / run
    outputs = [
        nbformat.v4.new_output(
            "display_data",
            {"image/png": "AA=="},
            metadata={runner.VECTOR: f"{stem}-{k + 1:02d}.svg"},
        )
        for k in range(figures)
    ]
    words = {"figure": {"caption": f"What {stem} shows."}, "image": {"alt": "Some points."}}
    cell = nbformat.v4.new_code_cell("plot()", outputs=outputs, metadata={"mystnb": words})
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {stem}"), cell])
    page.metadata["papermill"] = {"duration": 60.0, "parameters": {"run": run}}
    cost = {"seconds": 1800.0, "processor": 3000.0, "memory": 2_000_000_000, "sittings": 2}
    page.metadata["face_decisions"] = {"versions": {}, "machine": "A machine", "cost": cost}
    path = folder / "notebooks" / f"{stem}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(page, path)
    (folder / "figures").mkdir(exist_ok=True)
    for k in range(figures):
        (folder / "figures" / f"{stem}-{k + 1:02d}.svg").write_text(SVG)
    settings = params.resolve("ci", "", run)[1][stem]
    record = reuse.make_record(settings, [path.relative_to(root).as_posix()])
    note = params.record_path(stem, run)
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps(record))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run called r."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(params, "ROOT", tmp_path)
    (tmp_path / "params").symlink_to(ROOT / "params")
    out = save_tables("r")
    summary.write_summary("r")
    for stem in params.CHAPTERS:
        write_chapter(tmp_path, stem, "r")
    return out


@pytest.fixture
def folder(run, tmp_path):
    """Its results, kept as those at the papers' scale."""
    folder = tmp_path / kept.RESULTS / kept.PAPER
    keep_results.keep_run("r", folder, **ABOUT)
    return folder


def test_tables_figures_and_costs_are_kept_and_read_again(run, folder):
    found = kept.load_kept()
    assert found.folder == folder and found.findings == summary.load_findings("r")
    for path in run.glob("*.csv*"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert found.about["commit"] == ABOUT["commit"] and found.about["size"] == 64
    assert found.title() == "run r, 64 px, commit 0123456789, 2026-11-22"
    hours = 0.5 * len(params.CHAPTERS)
    work = 3000 / 3600 * len(params.CHAPTERS)
    spent = f"{hours:.1f} hours, {work:.1f} of a processor's work"
    assert found.cost() == f"{spent}, at most 2.0 GB of memory, on A machine"
    assert [p.name for p in found.figures()] == [
        "summary.svg",
        *(f"{stem}-01.svg" for stem in params.CHAPTERS),
    ]
    assert all(path.is_file() for path in found.figures())


def test_what_is_large_and_read_by_nothing_is_left_out(run, tmp_path):
    (run / "long.csv").write_text("a\n" * keep_results.LARGEST_TABLE)
    (run / "long.csv.provenance.json").write_text("{}")
    faces = store.load_table(run / "faces.csv", made_by="x").assign(note="x" * 50_000)
    store.save_table(faces, run / "faces.csv", store.provenance("x", {"size": 64}))
    (run / "figures" / "03_relevance-01.svg").write_text(SVG + " " * keep_results.LARGEST_FIGURE)
    folder = tmp_path / "kept"
    about = keep_results.keep_run("r", folder, **ABOUT)
    assert about["left_out"] == ["long.csv"] and not (folder / "long.csv").exists()
    assert (folder / "faces.csv").is_file(), "a claim is read from it"
    assert about["figures"]["03_relevance"] == [] and len(about["figures"]["04_masking"]) == 1
    assert not (folder / "figures" / "03_relevance-01.svg").exists()


@pytest.mark.parametrize("fault", ["no record", "changed", "deleted"])
def test_a_run_that_is_not_finished_is_refused_and_nothing_lost(run, folder, fault):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    page = run / "notebooks" / "08_salience.ipynb"
    if fault == "no record":
        params.record_path("08_salience", "r").unlink()
    elif fault == "changed":
        page.write_text(page.read_text() + " ")
    else:
        page.unlink()
    with pytest.raises(InputError, match="08_salience of the run 'r' is not finished"):
        keep_results.keep_run("r", folder, **ABOUT)
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["findings.csv", "about.json", "figures/05_generalization-01.svg"])
def test_kept_results_that_were_changed_are_refused(folder, name):
    (folder / name).write_text((folder / name).read_text() + " ")
    with pytest.raises(InputError, match=f"'{name}' in .* was changed since it was made"):
        kept.load_kept()


def test_without_kept_results_there_is_nothing_to_show(run):
    assert kept.load_kept() is None


def assemble(run, monkeypatch):
    """Sources of the book of a run, which is returned as a folder."""
    monkeypatch.setattr(publish.dependencies, "book_sources", lambda: [])
    text = (ROOT / "_toc.yml").read_text()
    (store.ROOT / "_toc.yml").write_text(text)
    return publish.assemble(run) / "book" / "executed" / run


def test_every_page_shows_the_papers_scale_beside_its_own_run(run, folder, tmp_path, monkeypatch):
    # a second run, whose faces are others
    out = save_tables("s")
    faces = store.load_table(out / "faces.csv", made_by="x")
    store.save_table(faces.iloc[:5], out / "faces.csv", store.provenance("x", {"size": 64}))
    summary.write_summary("s")
    for stem in params.CHAPTERS:
        write_chapter(tmp_path, stem, "s", figures=0)
    book = assemble("s", monkeypatch)
    page = nbformat.read(book / "01_faces.ipynb", as_version=4)
    beside, footer = (cell.source for cell in page.cells[-2:])
    assert "How this page was made" in footer
    mine, theirs = (summary.load_findings(r)["chapter"]["01_faces"] for r in "sr")
    assert mine.startswith("5 images") and theirs.startswith("12 images")
    assert f"| this run, `s` | {mine} |" in beside
    title = "run r, 64 px, commit 0123456789, 2026-11-22"
    spent = "30.0 minutes, 2.0 GB of memory, A machine"
    assert f"| {title}; {spent} | {theirs} |" in beside
    assert "```{figure} scaled/01_faces-01.svg\n:alt: Some points.\n" in beside
    assert "What 01_faces shows." in beside
    lines = (book / "chapters.md").read_text().splitlines()
    assert lines[0] == "| chapter | found in this run | at the papers' scale |"
    assert any(mine in line and theirs in line for line in lines)
    answer = (book / "answer.md").read_text()
    assert "The same at the papers' scale (64 px)" in answer and "at most 2.0 GB" in answer
    for name in re.findall(r"\{figure\} executed/s/(\S+)", answer):
        assert (book / name).is_file()
    assert (book / "scaled" / "01_faces-01.svg").read_text() == SVG


def test_the_book_of_the_kept_run_itself_shows_it_once(run, folder, monkeypatch):
    book = assemble("r", monkeypatch)
    page = nbformat.read(book / "01_faces.ipynb", as_version=4)
    assert not any("papers' scale" in cell.source for cell in page.cells)
    assert "papers' scale" not in (book / "chapters.md").read_text()
    assert not (book / "scaled").exists()
