"""Faults of whole runs: every rule killed at a random moment, the clock put back, data that may
only be read, a disk that fills, a run made twice, and one in bfloat16. ``make test-nightly`` runs
this; it takes hours.

``FACE_DECISIONS_SEEDS`` says how often every rule is killed (once by default),
``FACE_DECISIONS_RULES`` names rules, separated by spaces (all by default).
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from test_workflow import copy_repository  # noqa: E402

from lib import params  # noqa: E402

#: Rules that make the book of what the chapters have made.
AFTER = ("summary", "book")
SEEDS = range(int(os.environ.get("FACE_DECISIONS_SEEDS", "1")))
RULES = os.environ.get("FACE_DECISIONS_RULES", "").split() or [*params.CHAPTERS, *AFTER]
#: Settings of the runs: the smallest profile.
PROFILE = "ci"
#: Everything that knows a coarser precision computed in it, and in the finest.
COARSE = (
    "finetuning.precision=bfloat16 relevance.precision=mixed masking.precision=bfloat16 "
    "humans.precision=bfloat16 dissection.precision=bfloat16 salience.precision=mixed"
)
FINE = COARSE.replace("bfloat16", "float32").replace("mixed", "float32")
#: Folders of a run that are no cache of a chapter's.
LASTING = {"logs", "notebooks", "pages"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy with its data; downloaded weights and the packages of the page are linked in."""
    folder = copy_repository(tmp_path_factory.mktemp("nightly"))
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("runs"))
    (folder / ".cache").mkdir()
    for name in (".cache/weights", "experiment/node_modules"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


def command(repository: Path, run: str, *extra: str) -> list[str]:
    engine = str(repository / ".venv-dag" / "bin" / "python")
    return [engine, "scripts/report.py", "--profile", PROFILE, "--run", run, *extra]


def carry_out(repository: Path, run: str, *extra: str, **options) -> str:
    done = subprocess.run(
        command(repository, run, *extra), cwd=repository, capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def carry_out_all(repository: Path, run: str) -> str:
    """The whole report, or up to the rules that were chosen; what was said."""
    if set(AFTER) & set(RULES):
        return carry_out(repository, run)
    return "".join(carry_out(repository, run, "--chapter", rule) for rule in RULES)


def records(repository: Path, run: str) -> dict[str, dict]:
    folder = repository / "data" / "runs" / run / "logs"
    notes = {chapter: folder / f"{chapter}.json" for chapter in params.CHAPTERS}
    return {c: json.loads(note.read_text()) for c, note in notes.items() if note.is_file()}


def digests(repository: Path, run: str) -> dict[str, str]:
    """SHA-256 of all that the chapters made, but for executed notebooks, which hold their times."""
    found = {}
    for record in records(repository, run).values():
        for name in (*record["outputs"], *record["pages"]):
            if "/notebooks/" not in name:
                found[name] = hashlib.sha256((repository / name).read_bytes()).hexdigest()
    for path in summary_files(repository, run):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def summary_files(repository: Path, run: str) -> list[Path]:
    """What the rule ``summary`` makes, as far as it is there."""
    folder = repository / "data" / "runs" / run
    tables = [path for name in ("summary", "findings") for path in folder.glob(f"{name}.csv*")]
    return sorted([*tables, *folder.glob("summary.svg")])


@pytest.fixture(scope="module")
def undisturbed(repository) -> dict[str, str]:
    """What a run that nothing disturbed has made; it stays, for the cases to damage."""
    carry_out_all(repository, "night")
    return digests(repository, "night")


def forget(repository: Path, rule: str) -> Path:
    """Undo a rule of the run, with what its chapter keeps for itself; returns a file of its log."""
    run = repository / "data" / "runs" / "night"
    if rule == "book":
        built = repository / "book" / "_build" / "night"
        shutil.rmtree(built)
        return built / "build.log"
    if rule == "summary":
        for path in summary_files(repository, "night"):
            path.unlink()
        return run / "run.json"  # which is there: the command starts, and soon the rule
    record = records(repository, "night")[rule]
    for name in (*record["outputs"], *record["pages"]):
        (repository / name).unlink(missing_ok=True)
    (run / "logs" / f"{rule}.json").unlink()
    (run / "logs" / f"{rule}.ipynb").unlink()
    for folder in run.iterdir():
        if folder.is_dir() and folder.name not in LASTING:
            shutil.rmtree(folder)
    return run / "logs" / f"{rule}.ipynb"


def seconds_of(repository: Path, rule: str) -> float:
    """How long the rule took when nothing disturbed it."""
    if rule in AFTER:
        return 15.0
    timings = json.loads((repository / ".cache" / "timings.json").read_text())
    return sum(timings[rule]["night"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_killed_at_a_random_moment_is_completed(repository, undisturbed, rule, seed):
    lasts = seconds_of(repository, rule)
    sign = forget(repository, rule)
    target = [] if rule in AFTER else ["--chapter", rule]
    process = subprocess.Popen(
        command(repository, "night", *target),
        cwd=repository,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not sign.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    moment = np.random.default_rng([seed, RULES.index(rule)]).uniform(0, lasts)
    time.sleep(moment)
    ended = process.poll() is not None
    os.killpg(process.pid, signal.SIGKILL) if not ended else None
    process.wait()
    print(f"{rule}, seed {seed}: killed {moment:.1f} s after its start (it lasts {lasts:.1f} s)")
    carry_out_all(repository, "night")
    assert digests(repository, "night") == undisturbed
    assert not list((repository / "data" / "runs" / "night").glob("*.partial"))
    assert "done in" not in carry_out_all(repository, "night"), "and then there is nothing to do"


@pytest.mark.parametrize(
    "name", ["faces.csv", "accuracies.csv", "readouts.nc", "relevance.nc", "scores.nc"]
)
@pytest.mark.parametrize("fault", ["cut", "flipped", "of another version", "of other settings"])
def test_a_spoilt_artefact_is_named_and_made_again(repository, undisturbed, name, fault):
    path = repository / "data" / "runs" / "night" / name
    if not path.is_file():
        pytest.skip("the rules that were chosen do not make it")
    content = bytearray(path.read_bytes())
    generator = np.random.default_rng([len(name), len(fault)])
    if fault == "cut":
        del content[generator.integers(len(content)) :]
    elif fault == "flipped":
        content[generator.integers(len(content))] ^= 1 << generator.integers(8)
    else:
        word, other = (
            (b'"numpy": "', b'"numpy": "0') if "version" in fault else (b'"seed": 0', b'"seed": 7')
        )
        where = path if path.suffix == ".nc" else path.with_name(f"{name}.provenance.json")
        path, content = where, bytearray(where.read_bytes())
        at = content.index(word)
        content[at : at + len(other)] = other
    path.write_bytes(content)
    said = carry_out_all(repository, "night")
    named = next(line for line in said.splitlines() if line.startswith("made again"))
    assert path.name in named
    assert digests(repository, "night") == undisturbed


def test_a_run_in_the_place_of_another_is_not_used(repository, undisturbed):
    """All that a run of other settings has made, down to its records, under this one's name."""
    rule = next(rule for rule in RULES if rule not in AFTER)
    field = "seed=7" if "seed" in params.CHAPTERS[rule].model_fields else "size=48"
    departure = f"{rule.partition('_')[2]}.{field}"
    carry_out(repository, "other", "--chapter", rule, "--set", departure)
    run, other = (repository / "data" / "runs" / name for name in ("night", "other"))
    about = (run / "run.json").read_text()
    shutil.rmtree(run)
    shutil.copytree(other, run)
    (run / "run.json").write_text(about)
    said = carry_out_all(repository, "night")
    assert f"made again, not what this run has made: data/runs/night/notebooks/{rule}" in said
    assert digests(repository, "night") == undisturbed


def test_a_clock_that_was_put_back_changes_nothing(repository, undisturbed):
    """Every file is of tomorrow; what is made now is older than what it is made of."""
    tomorrow = time.time() + 86_400
    for path in repository.rglob("*"):
        if path.is_file() and not path.is_symlink() and "node_modules" not in path.parts:
            os.utime(path, (tomorrow, tomorrow))
    shutil.rmtree(repository / "data" / "runs" / "night")
    carry_out_all(repository, "night")
    assert digests(repository, "night") == undisturbed
    assert "done in" not in carry_out_all(repository, "night")


def test_data_that_may_only_be_read_suffice(repository, undisturbed):
    """Faces and weights on a file system that is mounted read-only."""
    mounted = []
    try:
        for name in ("faces", "weights"):
            folder = str(repository / "data" / name)
            for options in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):
                done = subprocess.run(["mount", *options], capture_output=True)
                if done.returncode:
                    pytest.skip("mounting read-only is not allowed here")
                mounted += [folder] if options[0] == "--bind" else []
        with pytest.raises(OSError):
            (repository / "data" / "faces" / "x").write_text("")
        shutil.rmtree(repository / "data" / "runs" / "night")
        carry_out_all(repository, "night")
    finally:
        for folder in mounted:
            subprocess.run(["umount", folder], check=True)
    assert digests(repository, "night") == undisturbed


@pytest.mark.skipif("book" not in RULES, reason="the rules that were chosen make no book")
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_a_disk_that_fills_while_the_book_is_built_gets_a_sentence(repository, undisturbed, share):
    """While the pages are put together, while they are built, while they are put in place."""
    folder = repository / "book" / "_build" / "night"
    room = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    shutil.rmtree(folder)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(share * room)}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        done = subprocess.run(
            command(repository, "night"), cwd=repository, capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        assert done.returncode == 1 and "Traceback" not in said
        assert re.search("disk is full|No space left on device", said), said
        assert not (folder / "html").exists()
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    carry_out_all(repository, "night")
    assert (folder / "html" / "index.html").is_file()
    assert digests(repository, "night") == undisturbed


def test_two_runs_agree_to_the_bit(repository, undisturbed):
    """Tables byte by byte; arrays bit by bit (their files name the run)."""
    carry_out_all(repository, "night2")
    first, second = (repository / "data" / "runs" / run for run in ("night", "night2"))
    tables = sorted(p.name for p in first.glob("*.csv"))
    assert tables
    for name in tables:
        table = (second / name).read_bytes().replace(b"night2", b"night")  # which names its run
        assert table == (first / name).read_bytes(), name
    for path in first.glob("*.nc"):
        with xr.open_dataset(path) as one, xr.open_dataset(second / path.name) as other:
            xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())


@pytest.mark.skipif("book" not in RULES, reason="the rules that were chosen reach no verdict")
def test_float32_and_bfloat16_reach_the_same_verdicts(repository):
    """A small study of chapters 02 to 04 both ways: tests/test_precision.py."""
    for run, precisions in (("fine", FINE), ("coarse", COARSE)):
        carry_out(repository, run, "--chapter", "09_claims", "--set", precisions)
    runs = [repository / "data" / "runs" / run for run in ("fine", "coarse")]
    exact, coarse = (pd.read_csv(run / "claims.csv", index_col="id") for run in runs)
    pd.testing.assert_index_equal(exact.index, coarse.index)
    differ = exact["verdict"] != coarse["verdict"]
    print(pd.concat([exact, coarse], axis=1, keys=["float32", "bfloat16"])[differ].to_string())
    assert not differ.any()
    auc = [(run / "auc.csv").read_bytes() for run in runs]
    assert auc[0] != auc[1], "nothing was rounded"
