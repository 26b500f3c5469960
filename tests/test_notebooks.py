"""The committed notebooks: form, no outputs, and references that match them."""

import ast
import json

import nbformat
import pytest
import yaml

from lib import params

CHAPTERS = list(params.CHAPTERS)


def cells_of(path, kind="code"):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def test_every_chapter_has_its_notebook_rule_and_page(root):
    found = sorted(p.stem for p in (root / "notebooks").glob("*.ipynb"))
    assert found == sorted(CHAPTERS)
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    pages = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    snakefile = (root / "Snakefile").read_text()
    for chapter in CHAPTERS:
        assert f"book/executed/default/{chapter}" in pages
        assert f'stem="{chapter}"' in snakefile
        for name in ("settings", "packages"):  # what a rule runs again for, beside files
            assert f'{name}={name}("{chapter}")' in snakefile


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_form_of_a_notebook(root, chapter):
    path = root / "notebooks" / f"{chapter}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    first, *_ = notebook.cells
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert "?**" in first.source, "the question, in bold"
    code = cells_of(path)
    assert all(not c.outputs and c.execution_count is None for c in code)
    assert [bool("parameters" in c.metadata.get("tags", [])) for c in code].count(True) == 1
    assert f'params.check("{chapter}", globals())' in code[2].source
    for cell in code:
        tree = ast.parse(cell.source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/home", "/root", "/tmp", "/work", "C:"))
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 6, "numerics belong in lib"
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert cell is code[0], "imports stand in the first code cell alone"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_has_caption_and_alternative_text(root, chapter):
    for cell in cells_of(root / "notebooks" / f"{chapter}.ipynb"):
        if "plt.show()" in cell.source:
            about = cell.metadata.get("mystnb", {})
            assert len(about.get("figure", {}).get("caption", "")) > 20, cell.source
            assert len(about.get("image", {}).get("alt", "")) > 20, cell.source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_source_and_reference_have_the_same_cells(root, chapter):
    source = root / "notebooks" / f"{chapter}.ipynb"
    reference = root / "tests" / "reference" / f"{chapter}.ipynb"
    assert reference.is_file(), "run `make reference`"
    replayed = [
        c
        for c in nbformat.read(reference, as_version=4).cells
        if "injected-parameters" not in c.metadata.get("tags", [])
    ]
    wanted = nbformat.read(source, as_version=4).cells
    assert [(c.cell_type, c.source) for c in replayed] == [(c.cell_type, c.source) for c in wanted]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_reference_has_outputs_to_compare_and_no_pictures(root, chapter):
    reference = root / "tests" / "reference" / f"{chapter}.ipynb"
    outputs = [o for c in cells_of(reference) for o in c.outputs]
    assert len(outputs) >= 3
    assert "image/png" not in json.dumps(outputs)
    injected = [c for c in cells_of(reference) if 'run = "reference"' in c.source]
    assert len(injected) == 1
