"""Which modules a notebook needs: followed through imports, and nothing else."""

import json

import pytest

from lib import dependencies
from lib.errors import InputError


def project(tmp_path):
    files = {
        "lib/__init__.py": "",
        "lib/a.py": "from lib import b\n",
        "lib/b.py": "import numpy\n",
        "lib/c.py": "",
        "lib/pack/__init__.py": "from .inner import thing\n",
        "lib/pack/inner.py": "def thing():\n    from ..c import x\n",
        "lib/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def notebook(path, *sources):
    cells = [{"cell_type": "code", "source": [s]} for s in sources]
    cells.append({"cell_type": "markdown", "source": ["from lib import unused"]})
    path.write_text(json.dumps({"cells": cells}))
    return path


def test_direct_and_indirect_imports_are_found(tmp_path):
    start = notebook(project(tmp_path) / "n.ipynb", "%matplotlib inline\nfrom lib.a import f\n")
    found = dependencies.modules_of(start, tmp_path)
    assert found == ["lib/__init__.py", "lib/a.py", "lib/b.py"]


def test_relative_and_late_imports_are_found(tmp_path):
    start = notebook(project(tmp_path) / "n.ipynb", "import lib.pack")
    found = dependencies.modules_of(start, tmp_path)
    wanted = ["lib/__init__.py", "lib/c.py", "lib/pack/__init__.py", "lib/pack/inner.py"]
    assert found == wanted


def test_the_state_of_a_folder_follows_its_files(tmp_path):
    (tmp_path / "faces").mkdir()
    file = tmp_path / "faces" / "ä.png"
    file.write_bytes(b"1")
    before = dependencies.state_of("faces", tmp_path)
    assert before == dependencies.state_of(str(tmp_path / "faces"), tmp_path)
    file.write_bytes(b"22")
    changed = dependencies.state_of("faces", tmp_path)
    assert len({before, changed, dependencies.state_of("none", tmp_path)}) == 3


def test_the_state_of_a_manifest_follows_the_files_it_names(tmp_path):
    (tmp_path / "mine.csv").write_text("path,identity\na.png,anna\n")
    (tmp_path / "a.png").write_bytes(b"1")
    before = dependencies.state_of("mine.csv", tmp_path)
    (tmp_path / "other.png").write_bytes(b"1")
    assert dependencies.state_of("mine.csv", tmp_path) == before
    (tmp_path / "a.png").write_bytes(b"22")
    assert dependencies.state_of("mine.csv", tmp_path) != before


def test_a_module_that_is_not_python_is_named_with_its_line(tmp_path):
    start = notebook(project(tmp_path) / "n.ipynb", "import lib.a")
    (tmp_path / "lib" / "b.py").write_text("x = 1\ndef (\n")
    with pytest.raises(InputError, match=r"b\.py, line 2"):
        dependencies.modules_of(start, tmp_path)
    start.write_text('{"cells": [')
    with pytest.raises(InputError, match="not a notebook"):
        dependencies.modules_of(start, tmp_path)


def test_the_first_chapter_depends_on_the_reader_and_not_on_runner_or_renderer(root):
    found = dependencies.modules_of(root / "notebooks" / "01_faces.ipynb")
    assert {"lib/faces/dataset.py", "lib/faces/dictionary.py"} <= set(found)
    assert "lib/runner.py" not in found
    renderer = {f"lib/faces/{name}.py" for name in ("render", "head", "hair", "scenes", "study")}
    assert not renderer & set(found), "faces that are read need no renderer"


def test_book_sources_are_prose_and_not_what_a_run_makes(root):
    found = dependencies.book_sources()
    assert {"_config.yml", "_toc.yml", "book/index.md", "book/_static/report.css"} <= set(found)
    assert not [f for f in found if "executed" in f or "_build" in f]
