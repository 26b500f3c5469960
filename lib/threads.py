"""Threads of Python's for compiled loops that let go of the interpreter.

numba's own threads take four times as long to compile, and wait badly beside TensorFlow's.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

THREADS = os.cpu_count() or 1
POOL = ThreadPoolExecutor(THREADS)


def share_out(count: int, least: int = 1) -> list[slice]:
    """``count`` items in as many runs as there are threads, fewer where a run were too short.

    Parameters
    ----------
    count : int
    least : int
        Items that a run holds at least, but for the only one.
    """
    parts = max(1, min(THREADS, count // max(1, least)))
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(edges)]


def run_side_by_side(function: Callable[[int, int], None], count: int, least: int = 8) -> None:
    """``function(low, high)`` for the runs of ``count`` items, on all threads at a time.

    Parameters
    ----------
    function : callable
        Lets go of the interpreter; the items of two runs have nothing to do with each other.
    count, least : int
        As :func:`share_out` takes them.
    """
    runs = share_out(count, least)
    waiting = [POOL.submit(function, run.start, run.stop) for run in runs[1:]]
    function(runs[0].start, runs[0].stop)
    for one in waiting:
        one.result()
