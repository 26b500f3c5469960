"""Every check, in the order in which a mistake is found soonest: what ``make test`` runs.

1. the linter;  2. a small run of the whole report, built strictly;  3. the tests;  4. nbval: the
committed notebooks replayed against ``tests/reference``. The first step that fails ends the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
ENGINE = ROOT / ".venv-dag" / "bin" / "python"
#: Test files that run at the same time, each on a processor of its own.
WORKERS = min(os.cpu_count() or 1, 4)
SOURCES = ["lib", "scripts", "tests", "benchmarks", "notebooks"]


def steps() -> list[tuple[str, list[str]]]:
    """Name and command of each check."""
    python = str(BIN / "python")
    notebooks = [str(p) for p in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    references = [str(p) for p in sorted((ROOT / "tests" / "reference").glob("*.ipynb"))]
    return [
        ("linter", [str(BIN / "ruff"), "check", "--quiet", *SOURCES]),
        ("format", [str(BIN / "ruff"), "format", "--quiet", "--check", *SOURCES]),
        ("notebooks without outputs", [str(BIN / "nbstripout"), "--verify", *notebooks]),
        ("report", [str(ENGINE), "scripts/report.py", "--profile", "ci"]),
        # a file's tests share what they have made, so a file goes to one worker; tests/conftest.py
        # puts the longest file first, which would otherwise run alone at the end
        (
            "tests",
            [
                *(python, "-m", "pytest", "-q", "--durations", "15", "-n", str(WORKERS)),
                *("--dist", "loadfile", "--no-loadscope-reorder", "tests"),
            ],
        ),
        (
            "nbval",
            [
                *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("-n", str(WORKERS), "--dist", "loadfile", "--nbval", *references),
            ],
        ),
    ]


def lay_out_artefacts() -> None:
    """Give the replayed run what the report has made, so that no replay waits for another.

    Both have the same settings; a replay replaces what its own chapter makes, and nothing that a
    chapter keeps for itself (a cache, a half-trained network) is handed over.
    """
    made, replayed = (ROOT / "data" / "runs" / name for name in ("ci", "reference"))
    shutil.rmtree(replayed, ignore_errors=True)
    replayed.mkdir(parents=True)
    for path in made.iterdir():
        if path.suffix in {".nc", ".csv", ".json"} and path.name != "run.json":
            shutil.copy2(path, replayed)


def main() -> int:
    """Run the checks; returns the exit status of the first that fails, else 0."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    environment["PATH"] = f"{BIN}{os.pathsep}{environment.get('PATH', '')}"
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # As under the runner: loops report to a file and draw no bar into the replayed notebooks.
    scratch = tempfile.TemporaryDirectory()
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
    tests = {**environment, **(threads if WORKERS > 1 else {})}
    replay = {**tests, "FACE_DECISIONS_PROGRESS": str(Path(scratch.name) / "progress.json")}
    begin = time.time()
    times = []
    for name, command in steps():
        print(f"\n=== {name}", flush=True)
        start = time.time()
        if name == "nbval":
            lay_out_artefacts()
        given = {"tests": tests, "nbval": replay}.get(name, environment)
        status = subprocess.run(command, cwd=ROOT, env=given).returncode
        times.append((name, time.time() - start))
        if status:
            print(f"\n{name} failed (exit status {status}).", file=sys.stderr)
            return status
    print()
    for name, seconds in times:
        print(f"{seconds:7.0f} s  {name}")
    print(f"{time.time() - begin:7.0f} s  in all: every check passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
