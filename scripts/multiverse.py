"""Run every open choice of the protocol: ``make multiverse`` calls this with the engine's Python.

First the run itself, up to the specification curve; then one run for each departure that needs
one (``params/multiverse.yml``), which shares with it every chapter that comes out the same; then
the curve again, with all of them. Stopped at any point, the same command goes on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import report  # noqa: E402
from command_line import make_parser  # noqa: E402

from lib import params  # noqa: E402
from lib.errors import InputError  # noqa: E402
from lib.multiverse import choices as multiverse  # noqa: E402

CHAPTER = "10_multiverse"
#: Exit status of a run that the user stopped.
STOPPED = 130


def plan(profile: str, set_: str, run: str, grid: bool) -> tuple[str, list[tuple[str, str]]]:
    """The base run, and name and SET of every run that its open choices need.

    All of them are checked here, before anything runs.
    """
    base, settings = params.resolve(profile, set_, run)
    choices, spared = multiverse.load_choices(ROOT / settings[CHAPTER].choices)
    given = params.parse_set(set_)
    found = []
    for departures in multiverse.list_departures(settings, choices, grid):
        name = multiverse.variant_name(base, departures)
        values = multiverse.add_spared(departures, spared)
        values = multiverse.write_departures(values | multiverse.read_back(departures, settings))
        # under its full name, so that a departure takes the place of what SET gives
        full = {f"{multiverse.chapter_of(n)}.{n.rpartition('.')[2]}": v for n, v in values.items()}
        words = params.write_set({**spell_out(given, set_), **full})
        params.resolve(profile, words, name)
        start = multiverse.first_chapter(departures)
        shared = [c for c in params.CHAPTERS if c < start]
        repeated = [c for c in params.CHAPTERS if start <= c <= multiverse.LAST]
        print(f"{name}: shares {', '.join(shared) or 'nothing'}; runs {', '.join(repeated)}")
        found.append((name, words))
    return base, found


def spell_out(settings: dict[str, str], text: str) -> dict[str, str]:
    """Departures of SET under the full names of every chapter that they reach."""
    reached = {n: params.chapters_with(n, text) for n in settings}
    return {f"{c}.{f}": settings[n] for n, pairs in reached.items() for c, f in pairs}


def main() -> int:
    """Command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--grid", default="no", help="yes: every combination of choices")
    given = parser.parse_args()
    try:
        if given.grid not in ("", "yes", "no"):
            raise InputError(f"GRID={given.grid} is neither yes nor no.")
        base, variants = plan(given.profile, given.set_, given.run, given.grid == "yes")
        whole = (given.profile, given.set_, given.run, CHAPTER)
        status = report.build(*whole)
        done, failed = [base], []
        for k, (name, words) in enumerate([] if status else variants, 1):
            print(f"\n{k} of {len(variants)}", flush=True)
            # later runs of a grid share with earlier ones what the base run does not have
            os.environ[params.TAKE_FROM] = os.pathsep.join(done)
            # its name says how it departs; what is spared may have been otherwise before
            ended = report.build(given.profile, words, name, multiverse.LAST, replaces=True)
            if ended == STOPPED:
                return STOPPED
            (failed if ended else done).append(name)
        os.environ.pop(params.TAKE_FROM, None)
        status = status or report.build(*whole)
        if failed:
            print(f"left out, since they did not end: {', '.join(failed)}", file=sys.stderr)
        return status or int(bool(failed))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
