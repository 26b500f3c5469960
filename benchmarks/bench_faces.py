"""Faces rendered to order: against one process that builds a head for each picture, and a target.

What is timed runs from the first head's pictures to the last's: the start of the worker processes
(two or three seconds, once) is not in it. ``BENCH_IMAGES`` (images in a turn of the fastest way,
default 60) and ``BENCH_ROUNDS`` (default 3) make it shorter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from benchmarks.common import compare, record, take_turns
from lib.faces.generate import generate_faces

PROCESSES = 2
VIEWS = 5
#: Images a second that let ten thousand faces be made in half an hour.
TARGET = 6.0


def render(images: int, views: int, processes: int) -> Callable[[], tuple[int, float]]:
    """A contender: images after those of the first head, and the seconds they took."""

    def work() -> tuple[int, float]:
        batches = generate_faces(images, seed=0, views=views, processes=processes, batch_size=views)
        done = len(next(batches).images)
        start = time.perf_counter()
        count = sum(len(batch.images) for batch in batches)
        assert done + count == images
        return count, time.perf_counter() - start

    return work


def main() -> None:
    """Time the generator with its defaults, print and record."""
    images = int(os.environ.get("BENCH_IMAGES", "60"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    heads = max(images // VIEWS, 2)
    speeds = take_turns(
        {
            "five": render(heads * VIEWS, VIEWS, PROCESSES),
            # as many as above: of few, a good part of the time is one process waiting for the last
            "one": render(images, 1, PROCESSES),
            "naive": render(heads, 1, 1),
        },
        rounds,
    )
    unit = f"images/s, 112 px, {PROCESSES} processes"
    target = np.full(rounds, TARGET)
    naive = "one process, a head built for each image"
    five = f"{unit}, {VIEWS} views per head"
    record(
        [
            compare("faces_images_per_s_112", speeds["five"], speeds["naive"], naive, five),
            compare("faces_one_view", speeds["one"], speeds["naive"], naive, unit),
            compare("faces_vs_target", speeds["one"], target, "the target", unit),
        ]
    )


if __name__ == "__main__":
    main()
