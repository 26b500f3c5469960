"""Run one notebook with Papermill: ``python -m lib.runner 01_faces --parameters '...'``.

The notebook executes in ``data/runs/<run>/logs/``; only one that ended well is copied to
``data/runs/<run>/notebooks/``, so a failed notebook is kept for reading and never published. The
terminal shows the cell, the progress of a long loop inside it and an estimate from the last run.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from lib import params, progress, reuse, store
from lib.errors import InputError
from lib.machine import processor
from lib.meter import Meter
from lib.versions import versions

#: Names the lock file that the command which started the workflow holds for as long as it lives,
#: and in which it has written its process number; then a colon and that number.
LOCK = "FACE_DECISIONS_LOCK"
_SVG = "image/svg+xml"
#: Entry in the metadata of a figure in an executed notebook: the file that it was kept in.
VECTOR = "vector"
#: Arguments of the kernel by which a figure that is shown comes in both forms.
_VECTOR = ("--InlineBackend.figure_formats=png", "--InlineBackend.figure_formats=svg")
TIMINGS = store.ROOT / ".cache" / "timings.json"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Display:
    """One line of status, redrawn in a terminal and repeated now and then in a log file."""

    def __init__(self, chapter: str, state: Path, expected: list[float], meter: Meter):
        self.chapter, self.state, self.expected, self.meter = chapter, state, expected, meter
        # a clock that nobody sets: the one on the wall may be put back meanwhile
        self.cell, self.cells, self.started = 0, 0, time.monotonic()
        self.durations: list[float] = []
        self.limit = params.read_timeout(os.environ.get(params.TIMEOUT, ""))
        self.deadline = self.started + 60 * self.limit if self.limit else None
        #: What was under way when the time was up.
        self.overdue = ""
        self.terminal = sys.stdout.isatty()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Display:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.terminal:
            sys.stdout.write("\r\x1b[2K")

    def start_cell(self, index: int, cells: int) -> None:
        now = time.monotonic()
        if self.durations or self.cell:
            self.durations[-1] = now - self.started
        self.cell, self.cells, self.started = index + 1, cells, now
        self.durations.append(0.0)
        self.state.unlink(missing_ok=True)

    def end(self) -> None:
        if self.durations:
            self.durations[-1] = time.monotonic() - self.started

    def line(self) -> str:
        """Status in words: chapter, cell, loop, time left."""
        spent = time.monotonic() - self.started
        if not self.cells:
            return f"{self.chapter}: starting | {_clock(spent)}"
        width, share = 20, self.cell / self.cells
        bar = "#" * round(width * share) + "." * (width - round(width * share))
        text = f"{self.chapter} [{bar}] cell {self.cell} of {self.cells}"
        left = None
        if len(self.expected) == self.cells and self.cell:
            left = max(self.expected[self.cell - 1] - spent, 0) + sum(self.expected[self.cell :])
        with contextlib.suppress(OSError, ValueError):
            loop = json.loads(self.state.read_text(encoding="utf-8"))
            text += f" | {loop['label']} {loop['done']}"
            if loop["total"]:
                text += f"/{loop['total']}"
                if loop["done"]:
                    rate = max(time.time() - loop["start"], 0) / loop["done"]
                    later = sum(self.expected[self.cell :]) if self.expected else 0
                    left = rate * (loop["total"] - loop["done"]) + later
        text += f" | {_clock(spent)} in this cell"
        return text + (f", about {_clock(left)} left" if left is not None else "")

    def _loop(self) -> None:
        lock = os.environ.get(LOCK)
        said = time.monotonic()
        while not self._stop.wait(0.5):
            if lock and not _is_alive(lock):
                # Killed from above: the kernel notices that its parent is gone and stops as well.
                os._exit(1)
            self.meter.look()
            if self.deadline and time.monotonic() > self.deadline and not self.overdue:
                self.overdue = self.line()
                _kill_kernels()
            if self.terminal:
                columns = shutil.get_terminal_size().columns
                sys.stdout.write("\r\x1b[2K" + self.line()[: columns - 1])
                sys.stdout.flush()
            elif time.monotonic() - said > 20:
                said = time.monotonic()
                print(self.line(), flush=True)


def _kill_kernels() -> None:
    """End the kernel and what it has started: one that hangs may not listen to anything milder."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


#: How Python, NumPy, C++ and TensorFlow say that there is not enough memory.
_MEMORY = ("MemoryError", "ResourceExhausted", "bad_alloc", "Unable to allocate", "OOM when")


def _take_less(chapter: str, settings: params.Chapter) -> str:
    """What to do when memory does not suffice: a smaller batch, or smaller images."""
    given = settings.model_dump()
    batch = next((n for n in given if n == "batch" or n.endswith("_batch")), None)
    if batch is not None and given[batch] > 1:
        less = f"a smaller batch, {chapter.partition('_')[2]}.{batch}={given[batch] // 2}"
    else:
        less = f"smaller images, size={max(32, given.get('size', 112) // 2)}"
    return f"close other programs, or take {less} in SET"


def _is_alive(lock: str) -> bool:
    """Whether the command that started the workflow still holds its lock.

    The system frees it however that command ends; the next one may have taken it since.
    """
    path, _, process = lock.rpartition(":")
    try:
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # between two numbers the file is empty for a moment
                return file.read().strip() in ("", process)
    except OSError:
        return True  # not to be asked here (another machine's disk): go on
    return False


def _read_timings() -> dict[str, dict[str, list[float]]]:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(TIMINGS.read_text(encoding="utf-8"))
    return {}


@contextlib.contextmanager
def _progress_to(folder):
    """Name of the file to which the kernel, which inherits the environment, writes its progress."""
    bar = folder / "progress.json"
    os.environ[progress.VARIABLE] = str(bar)
    try:
        yield bar
    finally:
        del os.environ[progress.VARIABLE]


def _expected(chapter: str, run: str) -> list[float]:
    """Seconds per cell of the last run of this name, else of the newest run of any name."""
    known = _read_timings().get(chapter, {})
    return known.get(run) or (list(known.values())[-1] if known else [])


def _remember(chapter: str, run: str, durations: list[float]) -> None:
    timings = _read_timings()
    runs = timings.setdefault(chapter, {})
    runs.pop(run, None)  # the newest comes last
    runs[run] = [round(d, 2) for d in durations]
    with contextlib.suppress(InputError), store.atomic_path(TIMINGS) as temporary:
        temporary.write_text(json.dumps(timings), encoding="utf-8")


def _run_cells(
    chapter: str,
    settings: params.Chapter,
    source: Path,
    log: Path,
    expected: list[float],
    meter: Meter,
) -> list[float]:
    """Execute the notebook ``source`` into ``log``; returns the seconds of each of its cells.

    Papermill is imported here: that takes three seconds, and a chapter that is taken over from
    another run does not need it.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError

    vectors = params.read_figures(os.environ.get(params.FIGURES, ""))
    with tempfile.TemporaryDirectory() as scratch, _progress_to(Path(scratch)) as bar:
        display = Display(chapter, bar, expected, meter)

        class Engine(NBClientEngine):
            """Papermill's own engine, telling the display which cell starts."""

            @classmethod
            def execute_managed_notebook(cls, nb_man, kernel_name, **options):
                begin = nb_man.cell_start

                def cell_start(cell, cell_index=None, **more):
                    display.start_cell(cell_index or 0, len(nb_man.nb.cells))
                    return begin(cell, cell_index, **more)

                nb_man.cell_start = cell_start
                return super().execute_managed_notebook(nb_man, kernel_name, **options)

        papermill_engines.register("display", Engine)
        try:
            with display:
                papermill.execute_notebook(
                    str(source),
                    str(log),
                    parameters=settings.model_dump(mode="json"),
                    kernel_name="python3",
                    engine_name="display",
                    progress_bar=False,
                    cwd=str(store.ROOT),
                    extra_arguments=list(_VECTOR) if vectors else [],
                )
        except RuntimeError as error:
            if not isinstance(error, DeadKernelError) and "Kernel died" not in str(error):
                raise
            where = os.path.relpath(log, store.ROOT)
            if display.overdue:
                raise InputError(
                    f"{chapter} took longer than the {display.limit:g} minutes it may take and was "
                    f"stopped ({display.overdue}): if it hangs, look at that cell in {where}; if "
                    "it only needs longer, run again with TIMEOUT=<minutes>, 0 for no limit (what "
                    "was finished before is kept)."
                ) from None
            raise InputError(
                f"{chapter} was ended by the system in cell {display.cell}, most often because "
                f"memory did not suffice: {_take_less(chapter, settings)} (what was finished "
                "before is kept)."
            ) from None
        except PapermillExecutionError as error:
            said = str(error.evalue).strip().splitlines()
            short = any(word in f"{error.ename} {error.evalue}" for word in _MEMORY)
            less = f"Memory does not suffice: {_take_less(chapter, settings)}. "
            advice = less if short else ""
            raise InputError(
                f"{chapter} stopped in cell {error.cell_index + 1}: {error.ename}: "
                f"{said[0] if said else ''} {advice}The partly executed notebook, with the "
                "traceback, is "
                f"{os.path.relpath(log, store.ROOT)}; what was finished before is kept."
            ) from None
        except OSError as error:
            raise InputError(
                f"{chapter} could not be written to {log.parent.parent}: {error.strerror}; mend "
                "that and run again (what was finished before is kept)."
            ) from None
        display.end()
    return display.durations


def keep_vectors(notebook: Any, folder: Path, chapter: str) -> list[Path]:
    """Take SVG out of an executed notebook and into files ``<chapter>-<number>.svg``.

    Parameters
    ----------
    notebook : nbformat notebook
        Its outputs keep their other forms, and name the file in their metadata.
    folder : Path
        Emptied of the chapter's earlier figures.
    chapter : str

    Returns
    -------
    list of Path
        In the order of the page.
    """
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    drawn = [out for out in outputs if _SVG in out.get("data", {})]
    if drawn:
        folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{chapter}-*.svg"):
        old.unlink()
    made = []
    for number, out in enumerate(drawn, 1):
        made.append(folder / f"{chapter}-{number:02d}.svg")
        out["metadata"][VECTOR] = made[-1].name
        # no date: the same figure gives the same bytes
        text = re.sub(r"\s*<dc:date>.*?</dc:date>", "", out["data"].pop(_SVG))
        with store.atomic_path(made[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return made


def execute(
    chapter: str,
    values: dict[str, Any],
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    state: Sequence[str] = (),
    pages: Sequence[str] = (),
) -> Path:
    """Execute a chapter's notebook and publish its executed copy.

    Parameters
    ----------
    chapter : str
        Notebook stem.
    values : dict
        Parameters, validated here once more.
    outputs : sequence of str
        Files the notebook has to make, relative to the repository; their digests are noted, so
        that the next run sees what was deleted or changed since.
    inputs, state : sequence of str
        What it depends on, see :func:`lib.reuse.make_record`.
    pages : sequence of str
        Folders that it may make; what it puts there is noted too.

    Returns
    -------
    Path
        ``data/runs/<run>/notebooks/<chapter>.ipynb``.

    Raises
    ------
    InputError
        The parameters are refused, or a cell failed: the sentence names the cell and the file that
        holds the partly executed notebook.
    """
    settings = params.validate(chapter, values)
    lock = os.environ.get(LOCK)
    if lock and not _is_alive(lock):
        raise InputError(f"{chapter} was not started: the command that asked for it has ended.")
    source = store.ROOT / "notebooks" / f"{chapter}.ipynb"
    folder = store.run_folder(settings.run)
    log, output = folder / "logs" / source.name, folder / "notebooks" / source.name
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=log.parent):
            pass
    except OSError as error:
        raise InputError(
            f"Cannot write to {folder}: {error.strerror}; free space or make it writable."
        ) from None
    if reuse.is_done(settings, chapter, outputs, inputs, state):
        print(f"{chapter}: what it is made of came out the same, kept", flush=True)
        return output
    runs = os.environ.get(reuse.VARIABLE, "").split(os.pathsep)
    other = reuse.take_over(settings, chapter, outputs, inputs, state, runs, pages)
    if other:
        print(f"{chapter}: the same as in the run {other!r}, taken from there", flush=True)
        return output
    # until it has ended there is no word of how its artefacts were made
    params.record_path(chapter, settings.run).unlink(missing_ok=True)
    expected = _expected(chapter, settings.run)
    took = f", took {_clock(sum(expected))} last time" if expected else ""
    print(f"{chapter}: running in {os.path.relpath(folder, store.ROOT)}{took}", flush=True)
    start = time.monotonic()
    meter = Meter(log.with_suffix(".cost.json"))
    durations = _run_cells(chapter, settings, source, log, expected, meter)
    import nbformat  # as late as Papermill, which brings it

    notebook = nbformat.read(log, as_version=4)
    keep_vectors(notebook, folder / "figures", chapter)
    # where and with what it was computed: the book may be built elsewhere (lib/publish.py)
    notebook.metadata["face_decisions"] = {
        "versions": versions(),
        "machine": processor(),
        "cost": meter.cost(),
    }
    with store.atomic_path(output) as temporary:
        temporary.write_text(nbformat.writes(notebook), encoding="utf-8")
    absent = [name for name in outputs if not (store.ROOT / name).is_file()]
    if absent:
        raise InputError(f"{chapter} ended without writing {', '.join(absent)}; mend the notebook.")
    record = reuse.make_record(settings, outputs, inputs, state, pages)
    with store.atomic_path(params.record_path(chapter, settings.run)) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    meter.path.unlink(missing_ok=True)
    _remember(chapter, settings.run, durations)
    print(f"{chapter}: done in {_clock(time.monotonic() - start)}", flush=True)
    return output


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.runner", description=__doc__)
    parser.add_argument("chapter", help="notebook stem, e.g. 01_faces")
    parser.add_argument("--parameters", default="{}", help="YAML mapping of name to value")
    parser.add_argument("--outputs", nargs="*", default=[], help="files the notebook has to make")
    parser.add_argument("--inputs", nargs="*", default=[], help="files the chapter depends on")
    parser.add_argument("--state", nargs="*", default=[], help="digests of what else it depends on")
    parser.add_argument("--pages", nargs="*", default=[], help="folders the notebook may make")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        values = yaml.safe_load(given.parameters)
        if not isinstance(values, dict):
            raise InputError("--parameters must be a YAML mapping, e.g. '{size: 112}'.")
        # the engine hands over all parameters of its rule, settings included
        state = [word for word in given.state if word not in (given.chapter, given.parameters)]
        execute(given.chapter, values, given.outputs, given.inputs, state, given.pages)
    except InputError as error:
        # To stdout: stderr belongs to the engine's log.
        print(f"\n{error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print(f"\n{given.chapter}: stopped; what was finished before is kept.", flush=True)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
