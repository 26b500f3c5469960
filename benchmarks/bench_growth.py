"""Time and memory against the number of networks, faces and levels, and what a large study costs.

Every point is measured in a process of its own (:mod:`benchmarks.growth_worker`), ``BENCH_ROUNDS``
times (default 1; the quickest counts), at ``BENCH_SIZE`` pixels (default 32: growth is a matter of
numbers, and only the time of one map is one of size). ``BENCH_SHARE`` below 1 shrinks the numbers;
``BENCH_SERIES="maps/faces masking/levels"`` measures these alone and keeps the other rows.
Writes ``benchmarks/growth.csv`` and, from it, the parts of the page *Scale* of the book
(:mod:`benchmarks.scale`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from benchmarks import scale
from benchmarks.common import machine
from lib.store import ROOT, atomic_path

GROWTH = Path(__file__).with_name("growth.csv")
#: (stage, what grows, its numbers, what stays)
SERIES = (
    ("maps", "readouts", (20, 60, 120, 200), {"faces": 4}),
    ("maps", "faces", (101, 500, 1000, 2000), {"readouts": 1}),
    ("masking", "readouts", (20, 60, 120, 200), {"faces": 12, "levels": 1}),
    ("masking", "faces", (101, 500, 1000, 2000), {"readouts": 2, "levels": 1}),
    ("masking", "levels", (2, 4, 8, 16), {"readouts": 4, "faces": 40}),
)


def measure(point: dict[str, object], rounds: int) -> dict[str, float]:
    """The quickest of some rounds; memory is that of the largest."""
    found = []
    for _ in range(rounds):
        command = [sys.executable, "-m", "benchmarks.growth_worker", json.dumps(point)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"The point {point} failed:\n{done.stderr[-2000:]}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    best = min(found, key=lambda one: one["seconds"])
    return best | {name: max(f[name] for f in found) for name in ("peak_mb", "base_mb")}


def main() -> None:
    """Measure, write the table, write the page."""
    size = int(os.environ.get("BENCH_SIZE", "32"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "1"))
    share = float(os.environ.get("BENCH_SHARE", "1"))
    known = [f"{stage}/{grows}" for stage, grows, *_ in SERIES]
    asked = os.environ.get("BENCH_SERIES", "").split() or known
    if unknown := sorted(set(asked) - set(known)):
        raise SystemExit(f"There is no series {unknown[0]}; there are {', '.join(known)}.")
    kept = pd.read_csv(GROWTH) if set(asked) != set(known) else None
    rows = []
    for stage, grows, numbers, rest in SERIES:
        if f"{stage}/{grows}" not in asked:
            some = kept[(kept["stage"] == stage) & (kept["grows"] == grows)]
            rows += some.to_dict("records")
            continue
        for number in numbers:
            number = max(1, round(number * share))
            point = {"stage": stage, "size": size, "levels": 1, "readouts": 1, "faces": 1}
            point |= rest | {grows: number}
            found = measure(point | {"sources": point["readouts"]}, rounds)
            row = {"stage": stage, "grows": grows, "number": number, "work": found["work"]}
            row |= {name: round(found[name], 3) for name in ("seconds", "peak_mb", "base_mb")}
            rows.append(row | {"size": size, "machine": machine()})
            shown = f"{found['work']} in {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB"
            print(f"{stage}, {number} {grows}: {shown}", flush=True)
    with atomic_path(GROWTH) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")
    scale.main()


if __name__ == "__main__":
    main()
