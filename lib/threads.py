"""Threads of Python's for compiled loops that let go of the interpreter.

numba's own threads take four times as long to compile, and wait badly beside TensorFlow's.
"""

from __future__ import annotations

import itertools
import os
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
