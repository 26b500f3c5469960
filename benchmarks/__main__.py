"""Run every benchmark: ``python -m benchmarks [name ...]``, e.g. ``python -m benchmarks faces``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

NAMES = sorted(p.stem.removeprefix("bench_") for p in Path(__file__).parent.glob("bench_*.py"))


def main(asked: list[str]) -> int:
    """Run the benchmarks asked for, or all; returns the exit status."""
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        print(f"There is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}.")
        return 2
    for name in asked or NAMES:
        print(f"--- {name}", flush=True)
        importlib.import_module(f"benchmarks.bench_{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
