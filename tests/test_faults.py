"""What goes wrong on a real machine: a notebook that hangs, a kernel that the system ends, memory
that does not suffice, artefacts that somebody spoilt, a clock that was put back.

Faults of whole runs that cost more than a few seconds are in tests/nightly (``make test-nightly``).
"""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import time

import nbformat
import pytest

from lib import params, publish, runner, store

CHAPTER = "02_finetuning"


@pytest.fixture
def run_notebook(tmp_path, monkeypatch, capsys):
    """Run some code as a chapter's notebook under the runner: exit status and what it said."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(params, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "TIMINGS", tmp_path / "timings.json")
    monkeypatch.delenv(runner.LOCK, raising=False)
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")

    def run(*cells: str) -> tuple[int, str]:
        tags = {"tags": ["parameters"]}
        first = nbformat.v4.new_code_cell("run = 'default'", metadata=tags)
        rest = [nbformat.v4.new_code_cell(cell) for cell in cells]
        notebook = nbformat.v4.new_notebook(cells=[first, *rest])
        kernel = {"name": "python3", "display_name": "Python", "language": "python"}
        notebook.metadata["kernelspec"] = kernel
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        nbformat.write(notebook, tmp_path / "notebooks" / f"{CHAPTER}.ipynb")
        status = runner.main([CHAPTER, "--parameters", "{run: mine, batch: 32}"])
        return status, capsys.readouterr().out

    return run


def test_a_notebook_that_hangs_is_stopped_and_its_cell_named(run_notebook, tmp_path, monkeypatch):
    monkeypatch.setenv(params.TIMEOUT, "30")
    begin = runner.Display.start_cell

    def start_cell(display, index, cells):
        """The half hour is over as soon as the last cell has begun."""
        begin(display, index, cells)
        display.deadline = time.monotonic() - 1 if index + 1 == cells else display.deadline

    monkeypatch.setattr(runner.Display, "start_cell", start_cell)
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    status, said = run_notebook("1 + 1", deaf + "while True: time.sleep(1)")
    assert status == 1 and "Traceback" not in said
    assert f"{CHAPTER} took longer than the 30 minutes it may take and was stopped" in said
    assert "cell 4 of 4" in said and "TIMEOUT=<minutes>" in said
    # what it had done by then can be read, and nothing is published
    assert (tmp_path / "data" / "runs" / "mine" / "logs" / f"{CHAPTER}.ipynb").is_file()
    assert not (tmp_path / "data" / "runs" / "mine" / "notebooks" / f"{CHAPTER}.ipynb").exists()
    assert not params.record_path(CHAPTER, "mine").exists()


def test_figures_are_kept_as_svg_where_that_is_asked(run_notebook, tmp_path, monkeypatch):
    monkeypatch.setenv(params.FIGURES, "svg")
    run = tmp_path / "data" / "runs" / "mine"
    start = "import matplotlib.pyplot as plt\nplt.rcParams['svg.hashsalt'] = 'x'"
    draw = "plt.plot([1, 2])\nplt.show()"
    kept = []
    for cells in ((start, draw, draw), (start, draw)):
        assert run_notebook(*cells)[0] == 0
        kept.append({p.name: p.read_bytes() for p in sorted((run / "figures").iterdir())})
    assert list(kept[0]) == [f"{CHAPTER}-01.svg", f"{CHAPTER}-02.svg"]
    assert list(kept[1]) == [f"{CHAPTER}-01.svg"], "those of the run before are gone"
    assert kept[0][f"{CHAPTER}-01.svg"] == kept[1][f"{CHAPTER}-01.svg"], "to the byte"
    assert b"<svg" in kept[1][f"{CHAPTER}-01.svg"]
    page = nbformat.read(run / "notebooks" / f"{CHAPTER}.ipynb", 4)
    (shown,) = (o for cell in page.cells for o in cell.outputs if "image/png" in o.get("data", {}))
    assert "image/svg+xml" not in shown.data, "a page has one form of each figure"
    assert shown.metadata[runner.VECTOR] == f"{CHAPTER}-01.svg"
    assert page.metadata.face_decisions.cost.sittings == 1
    assert not (run / "logs" / f"{CHAPTER}.cost.json").exists()
    monkeypatch.setenv(params.FIGURES, "")
    assert run_notebook(start, draw)[0] == 0
    assert not list((run / "figures").iterdir()), "nor are those that it has not drawn"
    monkeypatch.setenv(params.FIGURES, "pdf")
    status, said = run_notebook(start)
    assert status == 1 and "FIGURES=pdf is not known; write FIGURES=svg" in said


def test_a_kernel_that_the_system_ends_gets_a_sentence_about_memory(run_notebook):
    status, said = run_notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert status == 1 and "Traceback" not in said
    assert f"{CHAPTER} was ended by the system in cell 3" in said
    assert (
        "memory did not suffice" in said and "a smaller batch, finetuning.batch=16 in SET" in said
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to a limit of address space")
def test_a_limit_of_memory_gets_a_sentence_and_a_smaller_batch(run_notebook):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
    status, said = run_notebook("import numpy as np", limit + "np.ones(2**28)")
    assert status == 1 and "Traceback" not in said
    assert "Unable to allocate 2.00 GiB" in said
    assert "Memory does not suffice" in said and "finetuning.batch=16 in SET" in said


def test_a_chapter_without_a_batch_is_told_to_take_smaller_images():
    said = runner._take_less("01_faces", params.Faces(size=112))
    assert said.endswith("smaller images, size=56 in SET")


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e400"])
def test_a_limit_of_time_that_is_no_number_is_refused(text):
    with pytest.raises(params.InputError, match=r"is no number of minutes; write e\.g\."):
        params.read_timeout(text)


def test_a_limit_of_time_is_a_day_unless_given():
    assert [params.read_timeout(t) for t in ("", " ", "90", "0", "1.5")] == [1440, 1440, 90, 0, 1.5]


def test_a_sentence_is_one_line_that_a_terminal_can_print():
    sentence = "the file 'a\nb\x1b[2J\u202e\udcff é 𝔘' is gone"
    said = str(params.InputError(sentence, "first", "second\r"))
    lines = said.split("\n")
    assert lines[0] == "the file 'a\\nb\\x1b[2J\\u202e\\udcff é 𝔘' is gone"
    assert lines[1:] == ["  first", "  second\\r"]
    said.encode()


def test_a_note_of_a_runs_settings_that_cannot_be_read_is_named(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "scripts"))
    report = importlib.import_module("report")
    record = {"profile": "ci", "set": "", "run": "mine"}
    path = report._write_record(tmp_path / "mine", record)
    for text in ("", "{", "[]", "3", '{"profile": "ci"}'):
        path.write_text(text)
        with pytest.raises(params.InputError, match=r"run\.json, .* cannot be read: delete it"):
            report._write_record(tmp_path / "mine", record)
    path.unlink()
    assert json.loads(report._write_record(tmp_path / "mine", record).read_text()) == record
    other = {"profile": "ci", "set": "seed=3", "run": "mine"}
    with pytest.raises(params.InputError, match='was made with PROFILE=ci SET=""'):
        report._write_record(tmp_path / "mine", other)
    # one of the multiverse's own gives way, whatever its note says
    for before in (json.dumps(record), "{"):
        path.write_text(before)
        report._write_record(tmp_path / "mine", other, replaces=True)
        assert json.loads(path.read_text()) == other
    # every profile has a run of its own name, and no other run may take that
    assert {"ci", "default", "paper", "published"} <= set(params.list_profiles())
    for name in params.list_profiles():
        other = {"profile": "ci", "set": "seed=3", "run": name}
        with pytest.raises(params.InputError, match="profile's own run"):
            report._write_record(tmp_path / name, other)
        report._write_record(tmp_path / name, {"profile": name, "set": "", "run": name})


def test_an_engine_that_cannot_write_its_notes_gets_a_sentence(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "scripts"))
    report = importlib.import_module("report")
    said = [
        "Cannot restore data/runs/mine/faces.csv: no backup found.\n",
        "WorkflowError:\n",
        "Error recording metadata for finished job ([Errno 28] No space left on device).\n",
    ]
    told = report._why(said)
    assert told.startswith("The workflow cannot write") and "(No space left on device)" in told
    assert "\n" not in told
    assert report._why(["one\n", "two\n"]) == "one\ntwo"


def test_files_of_the_future_count_as_of_now(root, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(root / "scripts"))
    report = importlib.import_module("report")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    past, future = time.time() - 9, time.time() + 86_400
    names = ("notebooks/01.ipynb", "lib/a/b.py", "data/faces/assets.npz", "data/runs/r/x/y.csv")
    for name in (*names, "data/runs/other/y.csv", "lib/old.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (past, past) if "old" in name else (future, future))
    report._mend_times("r")
    assert "4 files of the future count as of now" in capsys.readouterr().out
    assert all((tmp_path / name).stat().st_mtime <= time.time() for name in names)
    assert (tmp_path / "data/runs/other/y.csv").stat().st_mtime == pytest.approx(future, abs=1)
    assert (tmp_path / "lib/old.py").stat().st_mtime == pytest.approx(past, abs=1)
    report._mend_times("r")
    assert capsys.readouterr().out == "", "nothing is left to do"


def test_the_engine_is_told_of_what_is_spoilt_and_of_nothing_else(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "scripts"))
    report = importlib.import_module("report")
    for name in ("notebooks", "params", "_config.yml", "_toc.yml", "data/reported.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(root / name)
    for module in (report, params):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(report, "LOCK", tmp_path / ".cache" / "report.lock")
    run = tmp_path / "data" / "runs" / "mine"
    table, page = run / "own_faces.csv", run / "notebooks" / "11_own_faces.ipynb"
    for path in (table, page):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made")
    digest = hashlib.sha256(b"made").hexdigest()
    made = [str(path.relative_to(tmp_path)) for path in (table, page)]
    settings = params.resolve("ci", "", "mine")[1]["11_own_faces"].model_dump(mode="json")
    note = {"settings": settings, "outputs": dict.fromkeys(made, digest)}
    path = params.record_path("11_own_faces", "mine")
    path.parent.mkdir()

    def told(needed=("own_faces",)) -> list[str]:
        """What is to be made again, by the command that would start the engine."""
        commands = []

        def start(command, **_):
            commands.append(command)
            raise InterruptedError

        monkeypatch.setattr(report.subprocess, "Popen", start)
        monkeypatch.setattr(report, "_rules", lambda *_: needed)
        with pytest.raises(InterruptedError):
            report.build("ci", "", "mine", "11_own_faces")
        words = commands[0][: commands[0].index("--")]
        # above the largest artefact at the papers' scale, so that content decides and not its time
        assert int(words[words.index("--max-checksum-file-size") + 1]) >= 10**10
        return words[words.index("--forcerun") + 1 :] if "--forcerun" in words else []

    path.write_text(json.dumps(note))
    assert told() == []
    table.write_text("Made")
    assert told() == made[:1]
    table.write_text("made")
    for other in (note | {"settings": settings | {"size": 48}}, {"settings": settings}, []):
        path.write_text(json.dumps(other))
        assert told() == made[1:]
    path.unlink()
    assert told() == made[1:]
    path.write_text(json.dumps(note))
    assert told() == []
    # a chapter of other settings, which this one does not need: what is forced would be made
    beside = run / "notebooks" / "01_faces.ipynb"
    beside.write_text("made")
    assert told() == []
    assert told(("faces", "own_faces")) == [str(beside.relative_to(tmp_path))]


def test_a_disk_that_fills_while_a_book_is_put_in_place_keeps_the_old_one(tmp_path, monkeypatch):
    """The build itself on a full disk: tests/nightly/faults.py."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    made, folder = tmp_path / "made", tmp_path / "mine"
    for path in (made, folder):
        path.mkdir()
    for name in ("index.html", "other.html"):
        (made / name).write_text("new" * 30_000)
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        (folder / "html").mkdir()
        (folder / "html" / "index.html").write_text("old")
        with pytest.raises(params.InputError) as refused:
            publish.replace_book(made, folder, "mine")
        said = str(refused.value)
        assert said.startswith("The book cannot be written to mine (No space left on device): mend")
        assert "\n" not in said and len(said) < 200
        assert (folder / "html" / "index.html").read_text() == "old"
        assert [path.name for path in folder.iterdir()] == ["html"]
        subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)
        page = publish.replace_book(made, folder, "mine")
        assert page.read_text() == "new" * 30_000
        assert sorted(path.name for path in folder.iterdir()) == ["files.json", "html"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("fault", ["hangs", "cannot write", "warns"])
def test_a_build_of_the_book_that_fails_gets_a_sentence(fault, tmp_path, monkeypatch):
    """By a builder that fails as Jupyter Book does; the real one on a full disk: tests/nightly."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv(params.TIMEOUT, "0.05")
    (tmp_path / "work").mkdir()
    does = {
        "hangs": "exec sleep 600",
        "cannot write": "echo 'OSError: [Errno 28] No space left on device'; exit 1",
        "warns": "echo 'a.md:3: WARNING: no such page'; exit 1",
    }
    (tmp_path / "jupyter-book").write_text(f"#!/bin/sh\n{does[fault]}\n")
    (tmp_path / "jupyter-book").chmod(0o755)
    words = {
        "hangs": r"The book took longer than the 0\.05 minutes .* stopped .* TIMEOUT=<minutes>",
        "cannot write": r"The book cannot be written to \. \(No space left on device\): mend that",
        "warns": r"refused the pages \(log: build\.log\):\n  a\.md:3: WARNING: no such page$",
    }
    with pytest.raises(params.InputError, match=words[fault]):
        publish.render(tmp_path / "source", tmp_path)
    # what Sphinx has read of pages that it refused is forgotten
    assert not (tmp_path / "work").exists()
