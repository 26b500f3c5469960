"""The workflow as a reader uses it, in a copy of the repository: what runs again, what a failure, a
kill, a full disk leave behind. Every case ends with the same bytes as an undisturbed run."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
import time
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import ROOT, write_dictionary, write_faces

from lib import publish, store

CHAPTER = "01_faces"
RUN = "mine"


def copy_repository(target: Path) -> Path:
    """The repository's own files without the images, with the environments linked in."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        source = ROOT / name
        if not name or name.startswith("data/") or not source.is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name)
    for environment in (".venv", ".venv-dag"):
        (target / environment).symlink_to(ROOT / environment)
    return target


def settings(repository: Path) -> str:
    return f"source={repository / 'faces'} dictionary={repository / 'dictionary'}"


def command(repository: Path, *extra: str, run: str = RUN) -> list[str]:
    return [
        *(str(repository / ".venv-dag" / "bin" / "python"), "scripts/report.py"),
        *("--profile", "ci", "--set", settings(repository), "--run", run),
        *("--chapter", CHAPTER, *extra),
    ]


def start(repository: Path, **options) -> subprocess.Popen:
    return subprocess.Popen(
        command(repository, **options),
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Ctrl-C works even if whoever started these tests has it ignored, as shells do for jobs in
        # the background.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def carry_out(repository: Path, **options) -> tuple[int, str]:
    process = start(repository, **options)
    try:
        said, _ = process.communicate(timeout=900)
    finally:
        if process.poll() is None:  # one that hangs would hold the lock, and fail all that follow
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def carry_out_in_a_terminal(repository: Path) -> tuple[int, str]:
    """The same with a terminal in place of a file: what is drawn there, control codes included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(command(repository), cwd=repository, stdout=theirs, stderr=theirs)
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last process
        while piece := os.read(ours, 4096):
            drawn += piece
    os.close(ours)
    return process.wait(timeout=60), drawn.decode()


def artefacts(repository: Path, run: str = RUN) -> dict[str, str]:
    """Digests of what a run made for later chapters (executed notebooks hold their times)."""
    folder = repository / "data" / "runs" / run
    found = [
        p for p in folder.rglob("*") if p.is_file() and p.parts[-2] not in {"logs", "notebooks"}
    ]
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in found
        if p.name != "workflow.log"
    }


def executed(repository: Path) -> Path:
    return repository / "data" / "runs" / RUN / "notebooks" / f"{CHAPTER}.ipynb"


def wait_for_kernel(repository: Path, process: subprocess.Popen) -> None:
    """Until the notebook is under way: its log copy is there, its table is not."""
    log = repository / "data" / "runs" / RUN / "logs" / f"{CHAPTER}.ipynb"
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        if log.is_file() and '"status": "running"' in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.02)
    pytest.fail("the notebook never started")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("clone"))
    write_faces(folder / "faces")
    write_dictionary(folder / "dictionary")
    return folder


@pytest.fixture(scope="module")
def drawn(repository):
    """What a run that nothing disturbed draws in a terminal."""
    status, drawn = carry_out_in_a_terminal(repository)
    assert status == 0, drawn
    return drawn


@pytest.fixture(scope="module")
def undisturbed(repository, drawn):
    """Digests of a run that nothing disturbed."""
    return artefacts(repository)


@pytest.fixture
def fresh(repository, undisturbed):
    """No trace of the run, as before its first time."""
    shutil.rmtree(repository / "data" / "runs" / RUN, ignore_errors=True)
    return repository


def test_a_terminal_shows_one_line_that_is_drawn_again(drawn):
    lines = drawn.split("\r\x1b[2K")[1:]
    bars = [re.match(rf"{CHAPTER} \[(#*)\.*\] cell (\d+) of (\d+)", line) for line in lines]
    bars = [bar for bar in bars if bar]
    assert len(bars) >= 3, drawn
    cells = [int(bar[2]) for bar in bars]
    assert cells == sorted(cells) and 0 < cells[0] < cells[-1] <= int(bars[-1][3])
    assert all(len(bar[1]) == round(20 * int(bar[2]) / int(bar[3])) for bar in bars)
    assert all(len(line.splitlines()[0]) < 100 for line in lines if line.startswith(CHAPTER))
    # and the last is wiped before the word that it is done
    assert drawn.rpartition("\x1b[2K")[2].startswith(f"{CHAPTER}: done in")


def test_a_log_that_cannot_be_written_stops_nothing(repository, undisturbed):
    log = repository / "data" / "runs" / RUN / "workflow.log"
    log.unlink()
    log.mkdir()
    try:
        status, said = carry_out(repository)
    finally:
        log.rmdir()
    assert status == 0, said
    assert "is ready" in said and "Traceback" not in said
    assert artefacts(repository) == undisturbed


@pytest.mark.parametrize("name", ["_toc.yml", "_config.yml"])
def test_a_broken_configuration_of_the_book_is_named_before_anything_runs(repository, name):
    path = repository / name
    text = path.read_text()
    try:
        for broken, words in [
            (text + "\n  : [", "is not readable YAML near line"),
            (text + "\n" + text, "a second time"),
            ("- 1\n", "'name: value' lines"),
        ]:
            path.write_text(broken)
            status, said = carry_out(repository, run="broken")
            assert status == 2
            assert str(path) in said and words in said and "Traceback" not in said
    finally:
        path.write_text(text)
    assert not (repository / "data" / "runs" / "broken").exists()


def test_what_a_mistaken_setting_says_and_that_nothing_ran(repository):
    wrong = command(repository)
    wrong[wrong.index("--set") + 1] = "sise=64"
    done = subprocess.run(wrong, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 2
    assert "'sise' - did you mean 'size'" in done.stderr
    assert "Traceback" not in done.stderr
    unknown = [*wrong[:-1], "01_face"]
    unknown[unknown.index("--set") + 1] = ""
    done = subprocess.run(unknown, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean '01_faces'" in done.stderr


def test_papermill_by_hand_refuses_the_same_mistakes(repository, tmp_path):
    by_hand = [
        *(str(repository / ".venv" / "bin" / "papermill"), f"notebooks/{CHAPTER}.ipynb"),
        *(str(tmp_path / "out.ipynb"), "--no-progress-bar", "-p", "run", "by-hand"),
        *("-p", "source", str(repository / "faces")),
        *("-p", "dictionary", str(repository / "dictionary")),
    ]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    for extra, words in [
        (("-p", "sise", "64"), "'sise' - did you mean 'size'"),
        (("-p", "size", "3"), "at least 32"),
        (("-p", "source", "nowhere"), "does not exist"),
    ]:
        done = subprocess.run(
            [*by_hand, *extra], cwd=repository, env=environment, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert words in done.stderr
    assert not (repository / "data" / "runs" / "by-hand" / "faces.csv").exists()
    done = subprocess.run(
        [*by_hand, "-p", "size", "48"], cwd=repository, env=environment, capture_output=True
    )
    assert done.returncode == 0
    assert (repository / "data" / "runs" / "by-hand" / "faces.csv").is_file()


def test_only_what_changed_runs_again(repository, undisturbed):
    """One on top of the other: nothing, unused module, used module, image, dictionary, package,
    artefact."""

    def runs_again() -> bool:
        before = executed(repository).stat().st_mtime_ns if executed(repository).exists() else 0
        status, said = carry_out(repository)
        assert status == 0, said
        return executed(repository).stat().st_mtime_ns != before

    if not executed(repository).exists():
        assert runs_again()
    assert not runs_again()
    (repository / "lib" / "unused.py").write_text('"""Used by no notebook."""\n')
    assert not runs_again()
    module = repository / "lib" / "faces" / "dataset.py"
    module.touch()
    assert not runs_again(), "a mere touch"
    text = module.read_text()
    module.write_text(text + "\n# changed\n")
    assert runs_again()
    assert artefacts(repository) == undisturbed
    module.write_text(text)
    picture = repository / "faces" / "anna" / "yaw+000.png"
    content = picture.read_bytes()
    picture.write_bytes((repository / "faces" / "anna" / "yaw+045.png").read_bytes())
    assert runs_again()
    assert artefacts(repository) != undisturbed
    picture.write_bytes(content)
    manifest = repository / "dictionary" / "manifest.csv"
    content = manifest.read_text()
    manifest.write_text(content.replace("dark,1,1", "dark,1,0", 1))
    assert runs_again()
    assert artefacts(repository) != undisturbed
    manifest.write_text(content)
    assert runs_again()
    lock = repository / "requirements.lock"
    content = lock.read_text()
    lock.write_text(content.replace("pytest==", "pytest==0.", 1))
    assert not runs_again(), "a package that computes nothing here"
    lock.write_text(content.replace("pandas==", "pandas==0.", 1))
    assert runs_again()
    lock.write_text(content)
    table = executed(repository).parents[1] / "concepts.csv"
    table.unlink()
    assert runs_again()
    table.write_text("junk")
    assert runs_again()
    assert artefacts(repository) == undisturbed


def test_another_setting_is_another_run_and_leaves_the_first_alone(repository, undisturbed):
    if not executed(repository).exists():
        carry_out(repository)
    before = {p: p.stat().st_mtime_ns for p in (repository / "data/runs" / RUN).rglob("*.csv")}
    runs = {p.name for p in (repository / "data" / "runs").iterdir()}
    other = command(repository, run="")
    other[other.index("--set") + 1] += " size=48"
    done = subprocess.run(other, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fresh = {p.name for p in (repository / "data" / "runs").iterdir()} - runs
    assert len(fresh) == 1 and fresh.pop().startswith("ci+dictionary=")
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_departure_takes_over_what_the_profiles_own_run_has_made(repository):
    write_faces(repository / "data" / "faces" / "study")
    write_dictionary(repository / "data" / "faces" / "dictionary")

    def carry_out(*departures: str) -> str:
        plain = [*command(repository)[:2], "--profile", "ci", "--chapter", CHAPTER]
        done = subprocess.run(
            [*plain, *departures], cwd=repository, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "done in" in carry_out()
    said = carry_out("--set", "masking.seed=3")
    assert "the same as in the run 'ci', taken from there" in said
    assert "done in" not in said
    other = "ci+masking.seed=3"
    made = {n: d for n, d in artefacts(repository, "ci").items() if n != "run.json"}
    assert made.items() <= artefacts(repository, other).items()
    page = nbformat.read(
        repository / "data" / "runs" / other / "notebooks" / f"{CHAPTER}.ipynb", as_version=4
    )
    assert page.metadata["face_decisions"]["versions"] == store.versions()
    assert "| computed in the run | `ci` |" in publish.footer(page, CHAPTER, other).source
    assert "computed in the run" not in publish.footer(page, CHAPTER, "ci").source


def test_a_name_given_to_other_settings_is_refused(repository, undisturbed):
    if not executed(repository).exists():
        carry_out(repository)
    other = command(repository)
    other[other.index("--set") + 1] += " size=48"
    taken = command(repository, run="default")
    for refused, words in [(other, "was made with PROFILE=ci"), (taken, "profile's own run")]:
        done = subprocess.run(refused, cwd=repository, capture_output=True, text=True)
        assert done.returncode == 2
        assert words in done.stderr
    assert artefacts(repository) == undisturbed


def test_a_syntax_error_in_a_module_is_named(repository, undisturbed):
    module = repository / "lib" / "figures.py"
    text = module.read_text()
    module.write_text(text + "\ndef (\n")
    try:
        status, said = carry_out(repository)
    finally:
        module.write_text(text)
    assert status == 2
    assert re.search(r"lib/figures\.py, line \d+: invalid syntax", said)
    assert "Traceback" not in said


def test_a_folder_with_odd_characters_is_read(repository):
    odd = write_faces(repository / "{odd} $HOME #2 'ä'")
    run = command(repository, run="odd")
    run[run.index("--set") + 1] = f'source="{odd}" dictionary={repository / "dictionary"}'
    done = subprocess.run(run, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (repository / "data" / "runs" / "odd" / "faces.csv").is_file()


def test_a_failed_notebook_is_kept_for_reading_and_never_published(repository, undisturbed):
    if not executed(repository).exists():
        carry_out(repository)
    published = executed(repository).read_bytes()
    broken = repository / "faces" / "anna" / "yaw+015.png"
    broken.write_bytes((repository / "faces" / "anna" / "yaw+000.png").read_bytes()[:300])
    try:
        status, said = carry_out(repository)
    finally:
        broken.unlink()
    assert status == 1
    assert "yaw+015.png' cannot be read" in said
    where = f"data/runs/{RUN}/logs/{CHAPTER}.ipynb"
    assert where in said
    cells = json.loads((repository / where).read_text())["cells"]
    errors = [o for c in cells for o in c.get("outputs", []) if o["output_type"] == "error"]
    assert [e["ename"] for e in errors] == ["InputError"]
    assert executed(repository).read_bytes() == published
    assert artefacts(repository) == undisturbed
    status, said = carry_out(repository)
    assert status == 0, said
    assert artefacts(repository) == undisturbed


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_after_an_interruption_the_same_command_completes(fresh, undisturbed, how):
    process = start(fresh)
    wait_for_kernel(fresh, process)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # Ctrl-C reaches the whole group
    else:
        os.kill(process.pid, how)  # only the driver: the rest has to notice by itself
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert not (fresh / "data" / "runs" / RUN / "faces.csv").exists()
    if how is signal.SIGINT:
        assert "Stopped" in said and "Traceback" not in said
    status, said = carry_out(fresh)
    assert status == 0, said
    assert artefacts(fresh) == undisturbed
    assert not list((fresh / "data").rglob("*.partial"))


def test_a_killed_engine_and_notebook_leave_nothing_half_written(fresh, undisturbed):
    """At a random moment; more moments, and every other rule, in tests/nightly."""
    process = start(fresh)
    wait_for_kernel(fresh, process)
    time.sleep(np.random.default_rng(20).uniform(0, 3))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    status, said = carry_out(fresh)
    assert status == 0, said
    assert artefacts(fresh) == undisturbed


def test_spoilt_and_foreign_artefacts_are_named_made_again_and_never_used(repository, undisturbed):
    if not executed(repository).exists():
        carry_out(repository)
    folder = executed(repository).parents[1]
    # one bit of a table, a table that ends too early, a provenance of another version, the note of
    # a run with other settings
    flipped = bytearray((folder / "faces.csv").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (folder / "faces.csv").write_bytes(flipped)
    cut = (folder / "shortcuts.csv").read_bytes()
    (folder / "shortcuts.csv").write_bytes(cut[: len(cut) // 2])
    about = folder / "concepts.csv.provenance.json"
    about.write_text(about.read_text().replace('"pandas": "', '"pandas": "0.'))
    note = folder / "logs" / f"{CHAPTER}.json"
    other = json.loads(note.read_text())
    other["settings"]["check_draws"] += 1
    note.write_text(json.dumps(other))
    status, said = carry_out(repository)
    assert status == 0, said
    line = next(ln for ln in said.splitlines() if ln.startswith("made again"))
    spoilt = ("faces.csv", "shortcuts.csv", "concepts.csv.provenance.json")
    for name in (*spoilt, f"notebooks/{CHAPTER}.ipynb"):
        assert f"data/runs/{RUN}/{name}" in line
    assert "done in" in said
    assert artefacts(repository) == undisturbed


def test_a_second_start_beside_a_running_one_is_refused(fresh, undisturbed):
    process = start(fresh)
    wait_for_kernel(fresh, process)
    status, said = carry_out(fresh)
    assert status == 2
    assert f"process {process.pid}" in said
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert artefacts(fresh) == undisturbed


@pytest.fixture
def disk(fresh):
    """data/runs/<run> on a file system of its own; needs the right to mount."""
    folder = fresh / "data" / "runs" / RUN
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("spoil", "mend", "word"),
    [("size=40k", "size=20m", "space|full"), ("ro", "rw", "[Rr]ead-only")],
)
def test_a_full_or_read_only_disk_gets_a_sentence_and_then_completes(
    disk, fresh, undisturbed, spoil, mend, word
):
    remount = ["mount", "-o"]
    subprocess.run([*remount, f"remount,{spoil}", str(disk)], check=True)
    status, said = carry_out(fresh)
    assert status in (1, 2)
    assert "Traceback" not in said
    assert re.search(word, said), said
    assert not (disk / "faces.csv").exists()
    subprocess.run([*remount, f"remount,{mend}", str(disk)], check=True)
    status, said = carry_out(fresh)
    assert status == 0, said
    assert artefacts(fresh) == undisturbed
