"""Carry a run from its settings to the book: ``make book`` calls this with the engine's Python.

It checks every setting, starts Snakemake, and ends with one sentence: where the book lies, or what
stopped it and where to read more.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lib import params  # noqa: E402
from lib.errors import InputError  # noqa: E402

LOCK = ROOT / ".cache" / "report.lock"


def _write_record(folder: Path, record: dict[str, str]) -> Path:
    """Keep what was asked for beside the run; unchanged content keeps its time of change."""
    path = folder / "run.json"
    text = json.dumps(record, indent=1) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / ".run.json.partial"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise InputError(
                f"Cannot write to {folder}: {error.strerror}; free space or make it writable, then "
                "run again (what was there is kept)."
            ) from None
    return path


def _lock() -> object:
    """One workflow at a time in one copy; the system frees it when the process dies."""
    try:
        LOCK.parent.mkdir(exist_ok=True)
        file = LOCK.open("a+")
    except OSError as error:
        raise InputError(f"Cannot write to {LOCK.parent}: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise InputError(
            f"Another run is going on in this folder (process {file.read().strip() or 'unknown'}): "
            "wait for it, stop it, or work in a second clone."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    environment["FACE_DECISIONS_LOCK"] = str(LOCK)
    environment["PYTHONPATH"] = str(ROOT)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Settings of a reader's own Jupyter must not reach the kernels of the report.
    environment["JUPYTER_PLATFORM_DIRS"] = "1"
    environment.pop("MPLBACKEND", None)
    return environment


def build(profile: str, set_: str, run: str, chapter: str) -> int:
    """Run the workflow up to the book, or up to one chapter; returns the exit status."""
    name, _ = params.resolve(profile, set_, run)
    if chapter and chapter not in params.CHAPTERS:
        params.validate(chapter, {})  # raises the sentence with the nearest name
    lock = _lock()
    folder = ROOT / "data" / "runs" / name
    record = _write_record(folder, {"profile": profile, "set": set_, "run": name})
    page = ROOT / "book" / "_build" / name / "html" / "index.html"
    target = f"data/runs/{name}/notebooks/{chapter}.ipynb" if chapter else "all"
    command = [
        str(ROOT / ".venv-dag" / "bin" / "snakemake"),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(ROOT)),
        *("--configfile", str(record), "--cores", "all"),
        *("--nolock", "--rerun-incomplete", "--keep-going"),
        *("--max-checksum-file-size", "100000000"),
        *("--quiet", "all", "--"),
        target,
    ]
    print(f"Run {name!r}: settings checked, {len(params.CHAPTERS)} chapters", flush=True)
    start = time.time()
    log = folder / "workflow.log"
    process = subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdout=None, stderr=subprocess.PIPE, text=True
    )
    try:
        with log.open("w", encoding="utf-8") as file:
            for line in process.stderr:
                file.write(line)
                if _worth_showing(line):
                    sys.stderr.write(line)
                    sys.stderr.flush()
    except OSError:
        # The log is a convenience; on a full disk the run itself says what is wrong.
        for _ in process.stderr:
            pass
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        print("\nStopped. What was finished is kept; the same command goes on.", file=sys.stderr)
        return 130
    status = process.wait()
    del lock
    spent = time.time() - start
    took = f"{spent // 60:.0f} min {spent % 60:.0f} s"
    if status:
        shown = os.path.relpath(log, ROOT)
        print(
            f"\nThe run {name!r} did not end ({took}); what was finished is kept, and the book of "
            f"an earlier run is unchanged. The workflow's own log is {shown}.",
            file=sys.stderr,
        )
        return 1
    lies = page if not chapter else ROOT / target
    print(f"{chapter or 'The book'} is ready ({took}): {lies}")
    return 0


def _worth_showing(line: str) -> bool:
    """Leave out what every kernel start says: its connection never leaves this machine."""
    return "Kernel is running over TCP" not in line


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="default")
    parser.add_argument("--set", default="", dest="set_")
    parser.add_argument("--run", default="")
    parser.add_argument("--chapter", default="")
    given = parser.parse_args()
    try:
        return build(given.profile, given.set_, given.run, given.chapter)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
