"""What a chapter costs: time, work of the processors and memory, over all its sittings.

A long chapter may be stopped and go on another day. What it has cost until then lies beside its log
and is counted on, so that the page tells the whole.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import psutil

#: Seconds between two looks.
INTERVAL = 5.0


class Meter:
    """Cost of what this process has started, and of the sittings before.

    Parameters
    ----------
    path : Path
        Where it is kept until the chapter has ended; what cannot be read there counts as nothing.
    """

    def __init__(self, path: Path):
        self.path = path
        self._before = {"seconds": 0.0, "processor": 0.0, "memory": 0, "sittings": 0}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._before = {name: type(v)(kept.get(name, v)) for name, v in self._before.items()}
        # a clock that nobody sets
        self._start = time.monotonic()
        self._processor, self._memory = 0.0, 0
        self._looked = 0.0

    def look(self) -> None:
        """Note what has been spent, if the last look is long enough ago."""
        if time.monotonic() - self._looked < INTERVAL:
            return
        self._looked = time.monotonic()
        processor = memory = 0
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                # with what has ended since and was started by it
                processor += sum(child.cpu_times()[:4])
                memory += child.memory_info().rss
        # the sum falls when a process has ended that nobody waited for
        self._processor = max(self._processor, processor)
        self._memory = max(self._memory, memory)
        with contextlib.suppress(OSError):
            self.path.write_text(json.dumps(self.cost()), encoding="utf-8")

    def cost(self) -> dict[str, float]:
        """``seconds``, ``processor`` (seconds), ``memory`` (largest, bytes) and ``sittings``."""
        before = self._before
        return {
            "seconds": round(before["seconds"] + time.monotonic() - self._start, 1),
            "processor": round(before["processor"] + self._processor, 1),
            "memory": max(before["memory"], self._memory),
            "sittings": before["sittings"] + 1,
        }
