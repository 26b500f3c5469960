"""Carry a run from its settings to the book: ``make book`` calls this with the engine's Python.

It checks every setting, starts Snakemake, and ends with one sentence: where the book lies, or what
stopped it and where to read more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from command_line import make_parser  # noqa: E402

from lib import dependencies, params  # noqa: E402
from lib.errors import CANNOT_WRITE, InputError  # noqa: E402

#: Chapter that makes the experiment page.
EXPERIMENT = "06_humans"
#: Profiles of Snakemake for clusters.
CLUSTERS = ROOT / "cluster"
#: Folder of a run for what the jobs of a cluster have computed of a chapter.
PARTS = "parts"
#: What the reader is told of the engine's log while jobs run elsewhere.
TOLD = re.compile(
    r"Job \d+ has been submitted with (SLURM jobid \S+ \(log: .*\))|Error in rule .*"
    r"|\d+ of \d+ steps \(\d+%\) done|SLURM-job '\d+' failed.*"
)
LOCK = ROOT / ".cache" / "report.lock"


def _write_record(folder: Path, record: dict[str, str], replaces: bool = False) -> Path:
    """Keep what was asked for beside the run; unchanged content keeps its time of change.

    Other settings than those the run was made with are refused, unless it ``replaces`` them.
    """
    path = folder / "run.json"
    text = json.dumps(record, indent=1) + "\n"
    own = {"profile": record["run"], "set": "", "run": record["run"]}
    if record["run"] in params.list_profiles() and record != own:
        raise InputError(
            f"RUN={record['run']} is the name of a profile's own run; choose another name."
        )
    if path.is_file() and not replaces:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            made_with = f'PROFILE={before["profile"]} SET="{before["set"]}"'
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}, which says with what settings this run was made, cannot be read: delete "
                "it if they were the same, then run again, or choose another RUN."
            ) from None
        if before != record:
            raise InputError(
                f"The run {record['run']!r} was made with {made_with}: choose another RUN, or "
                f"delete {folder}."
            )
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


def _mend_times(run: str) -> None:
    """Date files of the future to now: the engine refuses what it makes of them as older than they.

    So it is when the clock was put back, or was wrong where the files come from. What depends on a
    file is made again by its content, not by its time.

    Raises
    ------
    InputError
        One cannot be changed.
    """
    kinds = ("notebooks/*.ipynb", "lib/**/*.py", "_*.yml", "data/*.csv", "data/faces/*.npz")
    kinds += ("data/results/**/*", "book/*", "book/_static/*", "book/scale/*")
    # a second for file systems whose clock is not quite that of the processor
    latest, ahead = time.time() + 1, []
    for path in (path for kind in (*kinds, f"data/runs/{run}/**/*") for path in ROOT.glob(kind)):
        if path.is_file() and path.stat().st_mtime > latest:
            try:
                os.utime(path)
            except OSError as error:
                raise InputError(
                    f"{path} is of the future and its time cannot be set ({error.strerror}): set "
                    "the clock of this machine, or make the file writable."
                ) from None
            ahead.append(path)
    if ahead:
        print(f"the clock was put back: {len(ahead)} files of the future count as of now")


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


def find_cluster(cluster: str) -> Path:
    """Folder of a cluster's Snakemake profile: a name under ``cluster/``, or a path."""
    for folder in (CLUSTERS / cluster, Path(cluster).expanduser()):
        if (folder / "config.yaml").is_file():
            return folder
    known = sorted(path.parent.name for path in CLUSTERS.glob("*/config.yaml"))
    raise InputError(
        f"CLUSTER={cluster} is neither {' nor '.join(known)} nor a folder with a config.yaml; copy "
        f"{os.path.relpath(CLUSTERS / 'slurm')} and adapt it."
    )


def _stages(
    profile: Path, command: list[str], here: list[str], target: str, environment: dict[str, str]
) -> list[list[str]]:
    """Options and targets of each call of the engine for a run on a cluster.

    Where the profile cuts long chapters into parts, these are computed before the chapter starts
    and are none of its inputs: a run is complete without them, wherever it was made.
    """
    # more is told than of jobs that speak for themselves
    there = ["--profile", str(profile), *here[2:], "--quiet", "host", "reason"]
    settings = params.read_yaml(profile / "config.yaml")
    words = settings.get("config", []) if isinstance(settings, dict) else []
    stages = []
    # what was spoilt is forced once, and a part of it would be computed from what it is now
    if any(str(word).startswith("shards=") for word in words) and "--forcerun" not in here:
        due = _rules(command, here, target, environment)
        for rule in ("finetuning", "relevance", "masking"):
            if rule in due:
                beside = [f"beside_{rule}"] if target == "all" else []
                stages.append([*there, "--", f"{rule}_parts", *beside])
    return [*stages, [*there, "--", target]]


def _rules(
    command: list[str], options: list[str], target: str, environment: dict[str, str]
) -> list[str]:
    """Names of the rules that a call of the engine would run.

    Raises
    ------
    InputError
        The engine refuses; with what it says.
    """
    tried = subprocess.run(
        [*command, *options, "--quiet", "rules", "host", "reason", "--dry-run", "--", target],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        raise InputError(_why((tried.stdout + tried.stderr).splitlines(keepends=True)))
    return re.findall(r"^(\w+) +\d+$", tried.stdout + tried.stderr, re.MULTILINE)


def _follow(process: subprocess.Popen, log: int) -> int:
    """Wait for the engine and tell what its log says of jobs; returns its exit status."""
    place, begun = os.fstat(log).st_size, b""
    while True:
        status = process.poll()
        # the engine writes on from where this file stands, so its place is left alone
        while piece := os.pread(log, 1 << 16, place):
            place += len(piece)
            *lines, begun = (begun + piece).split(b"\n")
            for line in lines:
                if found := TOLD.search(line.decode("utf-8", "replace")):
                    print(found.group(1) or found.group(), flush=True)
        if status is not None:
            return status
        time.sleep(1)


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    environment["FACE_DECISIONS_LOCK"] = f"{LOCK}:{os.getpid()}"
    environment["PYTHONPATH"] = str(ROOT)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Settings of a reader's own Jupyter must not reach the kernels of the report.
    environment["JUPYTER_PLATFORM_DIRS"] = "1"
    environment["IPYTHONDIR"] = str(LOCK.parent / "ipython")
    environment.pop("MPLBACKEND", None)
    return environment


def build(
    profile: str, set_: str, run: str, chapter: str, cluster: str = "", replaces: bool = False
) -> int:
    """Run the workflow up to the book, or up to one chapter; returns the exit status.

    ``replaces``: a run of that name with other settings gives way, chapter by chapter.
    """
    name, settings = params.resolve(profile, set_, run)
    params.read_timeout(os.environ.get(params.TIMEOUT, ""))
    params.read_figures(os.environ.get(params.FIGURES, ""))
    if chapter and chapter not in params.CHAPTERS:
        params.validate(chapter, {})  # raises the sentence with the nearest name
    for stem in params.CHAPTERS:
        dependencies.modules_of(ROOT / "notebooks" / f"{stem}.ipynb")  # a syntax error stops here
    for file in ("_config.yml", "_toc.yml"):
        if not isinstance(params.read_yaml(ROOT / file), dict):
            raise InputError(f"{ROOT / file} must hold 'name: value' lines; restore it.")
    elsewhere = find_cluster(cluster) if cluster else None
    lock = _lock()
    folder = ROOT / "data" / "runs" / name
    departures = params.write_set(params.parse_set(set_))
    record = _write_record(folder, {"profile": profile, "set": departures, "run": name}, replaces)
    _mend_times(name)
    page = ROOT / "book" / "_build" / name / "html" / "index.html"
    target = f"data/runs/{name}/notebooks/{chapter}.ipynb" if chapter else "all"
    command = [
        str(ROOT / ".venv-dag" / "bin" / "snakemake"),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(ROOT)),
        *("--configfile", str(record)),
        *("--nolock", "--rerun-incomplete", "--keep-going"),
        # an artefact that came out the same re-runs nothing, however large: one that another run
        # has taken over is the same file, whose time the engine sets anew
        *("--max-checksum-file-size", str(10**10)),
        *("--quiet", "rules", "host", "reason", "progress"),
    ]
    here = ["--cores", "all"]
    environment = _environment()
    spoilt = _spoilt(name, settings)
    if spoilt and chapter:
        # what is forced is made, whether the chapter needs it or not
        needed = _rules(command, [*here, "--forceall"], target, environment)
        spoilt = {file: rule for file, rule in spoilt.items() if rule in needed}
    if spoilt:
        print(f"made again, not what this run has made: {', '.join(spoilt)}", flush=True)
        here += ["--forcerun", *spoilt]
    print(f"Run {name!r}: settings checked, {len(params.CHAPTERS)} chapters", flush=True)
    start = time.time()
    # Notebooks speak to the reader on stdout, which is ours; stderr is the engine's own log. It
    # goes to a file, since an engine that outlives us would hang on a pipe that nobody reads.
    engine_log = tempfile.TemporaryFile(  # noqa: SIM115 - as long as the process
        "w+", encoding="utf-8", errors="replace"
    )
    if departures:
        # what comes out the same as in the profile's own run is taken from there
        environment.setdefault(params.TAKE_FROM, profile)
    stages, process = [[*here, "--", target]], None
    try:
        if elsewhere:
            # a lock on a file of this machine need not be seen from another
            environment.pop("FACE_DECISIONS_LOCK")
            stages = _stages(elsewhere, command, here, target, environment)
        for stage in stages:
            process = subprocess.Popen(
                command + stage, cwd=ROOT, env=environment, stderr=engine_log
            )
            status = _follow(process, engine_log.fileno()) if elsewhere else process.wait()
            if status:
                break
    except KeyboardInterrupt:
        if process:
            process.send_signal(signal.SIGINT)
            process.wait()
        print("\nStopped. What was finished is kept; the same command goes on.", file=sys.stderr)
        return 130
    if elsewhere and not status and not chapter:
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    del lock
    engine_log.seek(0)
    said = engine_log.readlines()
    log = folder / "workflow.log"
    with contextlib.suppress(OSError):  # a convenience; the disk may be full
        log.write_text("".join(said), encoding="utf-8")
    spent = time.time() - start
    took = f"{spent // 60:.0f} min {spent % 60:.0f} s"
    if status:
        shown = os.path.relpath(log, ROOT)
        if not any("Error in rule" in line for line in said):
            # No notebook failed, so none has said why: the engine did not get that far.
            print("\n" + _why(said), file=sys.stderr)
        print(
            f"\nThe run {name!r} did not end ({took}); what was finished is kept, and the book of "
            f"an earlier run is unchanged. The workflow's own log is {shown}.",
            file=sys.stderr,
        )
        return 1
    lies = page if not chapter else ROOT / target
    print(f"{chapter or 'The book'} is ready ({took}): {lies}")
    return 0


def _why(said: list[str]) -> str:
    """What stopped the engine: a sentence where it is known, else the last that it said."""
    found = CANNOT_WRITE.search("".join(said))
    if found is None:
        return "".join(said[-15:]).rstrip()
    return (
        f"The workflow cannot write its own notes in {ROOT / '.snakemake'} ({found.group()}): mend "
        "that, then run again."
    )


def _spoilt(run: str, settings: Mapping[str, params.Chapter]) -> dict[str, str]:
    """Files of a run that are not what its notebooks made: deleted, changed or put there since.

    The engine looks at times and at what is asked of it, not at content. Of every file the rule
    that makes it.
    """
    wrong = {}
    for stem in params.CHAPTERS:
        executed = f"data/runs/{run}/notebooks/{stem}.ipynb"
        try:
            record = json.loads(params.record_path(stem, run).read_text(encoding="utf-8"))
            outputs, pages = dict(record["outputs"]), dict(record.get("pages", {}))
            made_with = record["settings"]
        except (OSError, ValueError, KeyError, TypeError):
            outputs, pages, made_with = {}, {}, None
        own = made_with == settings[stem].model_dump(mode="json")
        rule = stem.partition("_")[2]
        wrong |= {name: rule for name, digest in outputs.items() if _differs(name, digest)}
        pages_differ = any(_differs(name, digest) for name, digest in pages.items())
        if (pages_differ or not own) and (ROOT / executed).is_file():
            # the engine does not know the files of a page, nor whose artefacts lie there
            wrong[executed] = rule
    book = ROOT / "book" / "_build" / run
    with contextlib.suppress(OSError, ValueError):
        sizes = json.loads((book / "files.json").read_text(encoding="utf-8"))
        for name, size in sizes.items():
            path = book / "html" / name
            if not path.is_file() or path.stat().st_size != size:
                wrong[f"book/_build/{run}/html/index.html"] = "book"
                break
    return wrong


def _differs(name: str, digest: str) -> bool:
    try:
        with (ROOT / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != digest
    except OSError:
        return True


def show_experiment(profile: str, set_: str, run: str) -> int:
    """Make the experiment page of a run, name it, and open it where there is a screen."""
    status = build(profile, set_, run, EXPERIMENT)
    if status:
        return status
    name, _ = params.resolve(profile, set_, run)
    page = ROOT / "data" / "runs" / name / "pages" / "experiment" / "index.html"
    if not page.is_file():
        why = (
            "its networks give no choices to compare, as the chapter says"
            if (ROOT / "experiment" / "node_modules" / ".installed").is_file()
            else "jsPsych could not be fetched from the npm registry; check the connection, then "
            "run `make experiment` again"
        )
        print(f"The run {name!r} has no experiment page: {why}.", file=sys.stderr)
        return 1
    print(f"The experiment: {page}")
    if sys.stdout.isatty() and (
        sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    ):
        webbrowser.open(page.as_uri())
    return 0


def main() -> int:
    """Command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--chapter", help="up to this one; by default the whole report")
    parser.add_argument("--cluster", default="", help="name under cluster/, or a folder")
    parser.add_argument("--experiment", action="store_true", help="the experiment page")
    given = parser.parse_args()
    try:
        if given.experiment:
            return show_experiment(given.profile, given.set_, given.run)
        if given.chapter == "":
            raise InputError(
                "Which chapter? make chapter CHAPTER=01_faces, for instance; the report has "
                f"{', '.join(params.CHAPTERS)}."
            )
        return build(given.profile, given.set_, given.run, given.chapter or "", given.cluster)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The run could not be started: {error}; mend that, then run again.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped before anything ran.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
