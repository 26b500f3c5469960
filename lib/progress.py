"""Progress of long loops, where the reader looks for it.

In Jupyter or a terminal :func:`track` draws tqdm's bar. Under the runner (:mod:`lib.runner`) a bar
would be caught in the executed notebook and so in the book; there the loop's state goes to a small
file that the runner draws in the terminal.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm

from lib.params import RUNNER

#: Names the state file; set by the runner for the kernel it starts.
VARIABLE = RUNNER
T = TypeVar("T")


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Iterate over ``items`` and show how far the loop is.

    Parameters
    ----------
    items : iterable
    label : str
        What is counted, e.g. ``"maps"``.
    total : int, optional
        Number of items, by default ``len(items)`` where it has one.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    target = os.environ.get(VARIABLE)
    if target is None:
        yield from tqdm(items, desc=label, total=total)
        return
    start = time.time()
    last = 0.0
    for done, item in enumerate(items):
        now = time.time()
        if now - last > 0.4:
            _write(Path(target), label, done, total, start)
            last = now
        yield item
    _write(Path(target), label, total or 0, total, start)


def _write(path: Path, label: str, done: int, total: int | None, start: float) -> None:
    state = {"label": label, "done": done, "total": total, "start": start}
    temporary = path.with_suffix(".partial")
    try:
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        # A bar is no reason to lose a computation (full disk, folder gone).
        return
