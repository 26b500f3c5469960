"""The report on a real Slurm, against the same report without: ``make test-slurm``.

Two copies of the repository carry out one small run. The first does so here; the second hands every
job to the Slurm of :mod:`service`, a job of it is cancelled in the middle, and the same command
completes the run. Both must have made the same bytes, no finished job may have run twice, and the
chapters must have found the parts that jobs had computed for them.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests")]

from conftest import write_dictionary  # noqa: E402
from service import Slurm, missing  # noqa: E402

RUN = "small"
CHAPTER = "05_generalization"
#: Departures from the profile ci: as little computing as leaves every job something to do.
SET = (
    "source=data/faces/few dictionary=data/faces/blobs finetuning.identities=6 check_size=16 "
    "check_draws=1 show_identities=1 relevance.presets=[a_flat] relevance.methods=[] "
    "relevance.checked=[] relevance.subset=2 relevance.viewpoints=[] cue_methods=[]"
)
#: Faces of the study that are kept: people of either sex, viewpoints.
PEOPLE, VIEWS = 3, ("-30", "-15", "0", "15", "30")
PARTS = 2
#: What a run computes; notebooks and logs hold times.
COMPARED = {".nc", ".csv", ".json"}
#: Which maps the chapter computes itself, asked of its own cells in the copy that used Slurm.
ASKED = """
import nbformat
from lib.relevance import study
rows = []
study._explain = lambda *given: rows.append(given[5])
cells = nbformat.read("data/runs/{run}/notebooks/03_relevance.ipynb", 4).cells
space = {{"display": print}}
for cell in (c.source for c in cells if c.cell_type == "code"):
    exec(cell, space)
    if "compute_maps" in cell:
        break
print("computed itself:", rows)
"""


def copy_repository(target: Path) -> Path:
    """The repository's own files, data as second names, with the environments linked in."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        source = ROOT / name
        if not name or not source.is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            if not name.startswith("data/"):
                raise OSError
            os.link(source, target / name)
        except OSError:
            shutil.copy2(source, target / name)
    for environment in (".venv", ".venv-dag"):
        (target / environment).symlink_to((ROOT / environment).resolve())
    write_few(target / "data" / "faces")
    write_dictionary(target / "data" / "faces" / "blobs")
    return target


def write_few(folder: Path) -> None:
    """A few faces of the study as a set of their own."""
    with (folder / "study" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["viewpoint"] in VIEWS]
    people = {(row["gender"], row["identity"]): None for row in rows}
    kept = [
        name
        for gender in ("female", "male")
        for name in [identity for sex, identity in people if sex == gender][:PEOPLE]
    ]
    rows = [row for row in rows if row["identity"] in kept]
    for row in rows:
        for name in (row["path"], row["label_path"]):
            (folder / "few" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / "study" / name, folder / "few" / name)
    paths = {row["path"] for row in rows}
    with (folder / "study" / "landmarks.csv").open(encoding="utf-8", newline="") as file:
        points = [row for row in csv.DictReader(file) if row["path"] in paths]
    for name, some in (("manifest", rows), ("landmarks", points)):
        with (folder / "few" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(some[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(some)


def start(repository: Path, environment: dict[str, str], *more: str) -> subprocess.Popen:
    """The command of ``make chapter``, its words passed on."""
    return subprocess.Popen(
        [
            *(str(repository / ".venv-dag" / "bin" / "python"), "scripts/report.py"),
            *("--profile", "ci", "--set", SET, "--run", RUN, "--chapter", CHAPTER, *more),
        ],
        cwd=repository,
        env=environment,
    )


def digests(repository: Path) -> dict[str, str]:
    """SHA-256 of what the run has made for later chapters."""
    folder = repository / "data" / "runs" / RUN
    found = [p for p in folder.iterdir() if p.suffix in COMPARED]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(found)}


def write_profile(folder: Path, slurm: Slurm) -> Path:
    """The profile that the repository ships, cut down to these nodes."""
    text = (ROOT / "cluster" / "slurm" / "config.yaml").read_text(encoding="utf-8")
    profile = yaml.safe_load(text)
    profile["config"] = [f"shards={PARTS}"]
    profile["max-threads"] = slurm.processors
    for needs in profile["set-resources"].values():
        needs["mem_mb"] = min(needs["mem_mb"], slurm.memory)
    profile["default-resources"] = [f"mem_mb={min(4000, slurm.memory)}", "runtime=60"]
    # there is no accounting, and all nodes see one disk
    profile |= {"slurm-status-command": "squeue", "latency-wait": 10}
    profile["slurm-init-seconds-before-status-checks"] = 5
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    return folder


def cancel_in_the_middle(slurm: Slurm, process: subprocess.Popen, kept: Path) -> str:
    """Cancel the first job that masks faces as soon as it has done something; returns its id."""
    while process.poll() is None:
        for job in slurm.jobs():
            if job["rule"].startswith("masking_part") and job["state"] == "RUNNING":
                while not any(kept.glob("*.npz")) and process.poll() is None:
                    time.sleep(0.2)
                slurm.cancel(job["id"])
                return job["id"]
        time.sleep(0.5)
    raise SystemExit("The run ended before a job could be cancelled.")


def expect(what: str, holds: bool) -> None:
    """Say what was found; the first thing that does not hold ends the check."""
    print(f"{'yes' if holds else 'NO '}  {what}", flush=True)
    if not holds:
        raise SystemExit(1)


def carry_out(folder: Path) -> list[dict[str, str]]:
    """Both runs and what is asked of them; returns the job list."""
    print("--- the run without a cluster", flush=True)
    plain = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    here = copy_repository(folder / "here")
    expect("it ends well", start(here, plain).wait() == 0)
    there = copy_repository(folder / "there")
    with Slurm(folder / "slurm") as slurm:
        print(f"--- on {slurm.nodes} nodes of {slurm.processors} processors", flush=True)
        profile = write_profile(folder / "profile", slurm)
        given = (there, plain | slurm.environment, "--cluster", str(profile))
        kept = there / "data" / "runs" / RUN / "checkpoints" / "04_masking"
        process = start(*given)
        try:
            cancelled = cancel_in_the_middle(slurm, process, kept)
            expect("with a job cancelled it ends with exit status 1", process.wait() == 1)
            before = slurm.jobs()
            expect("the same command completes it", start(*given).wait() == 0)
            jobs = slurm.jobs()
            expect("and has nothing left to do", start(*given).wait() == 0)
            expect("no job is submitted then", len(slurm.jobs()) == len(jobs))
        finally:
            if process.poll() is None:
                process.terminate()
        expect_of_jobs(jobs, before, cancelled)
        (masking,) = [job for job in jobs if job["rule"] == "masking"]
        begin = time.mktime(time.strptime(masking["begin"], "%Y-%m-%dT%H:%M:%S"))
        files = list(kept.glob("*.npz"))
        units = sum(int(p.read_text()) for p in (kept.parents[1] / "parts/masking").glob("*.txt"))
        expect(
            f"{len(files)} masks were scored, all of them in the jobs of masking_part",
            len(files) == units and all(p.stat().st_mtime < begin for p in files),
        )
    asked = subprocess.run(
        [str(there / ".venv/bin/python"), "-c", ASKED.format(run=RUN)],
        cwd=there,
        env=plain | {"PYTHONPATH": str(there)},
        capture_output=True,
        text=True,
    )
    expect("all maps came from the jobs of relevance_part", "itself: []" in asked.stdout)
    mine, theirs = digests(here), digests(there)
    for name in sorted(set(mine) | set(theirs)):
        if mine.get(name) != theirs.get(name):
            print(f"differs: {name}")
    expect(f"all {len(mine)} artefacts have the same bytes", mine == theirs)
    return jobs


def expect_of_jobs(
    jobs: list[dict[str, str]], before: list[dict[str, str]], cancelled: str
) -> None:
    """What the job list must say."""
    states = {job["id"]: job["state"] for job in jobs}
    expect("the cancelled job is the only one that failed", states.pop(cancelled) == "CANCELLED")
    expect("all others were completed", set(states.values()) == {"COMPLETED"})
    done = [job["rule"] for job in jobs if job["id"] != cancelled]
    expect("none ran twice", len(done) == len(set(done)))
    first = {job["id"] for job in before}
    again = [job["rule"] for job in jobs if job["id"] not in first]
    print(f"     after the cancellation: {', '.join(again)}")
    expect("several nodes worked", len({job["node"] for job in jobs}) > 1)


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, help="CSV for the job list")
    parser.add_argument("--folder", type=Path, help="where to work, kept; a new one by default")
    given = parser.parse_args()
    absent = missing()
    if absent:
        print(f"{', '.join(absent)}: not found; install Debian's slurm-wlm and munge as root.")
        return 1
    start_time = time.time()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-"))
        )
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        jobs = carry_out(folder)
    print(f"\n{'job':>4}  {'rule':24} {'state':10} {'node':6} begin - end")
    for job in jobs:
        times = f"{job['begin'][11:]} - {job['end'][11:]}"
        print(f"{job['id']:>4}  {job['rule']:24} {job['state']:10} {job['node']:6} {times}")
    if given.record:
        with given.record.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(jobs[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(jobs)
    print(f"\nEvery check passed ({(time.time() - start_time) / 60:.0f} min).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
