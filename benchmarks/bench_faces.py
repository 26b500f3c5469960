"""Faces rendered to order, a new head for every image, against what a session can wait for.

``BENCH_IMAGES`` (images in a turn, default 120) and ``BENCH_ROUNDS`` (default 3) make it shorter.
"""

from __future__ import annotations

import os

import numpy as np

from benchmarks.common import compare, record, take_turns
from lib.faces.generate import generate_faces

PROCESSES = 2
#: Images a second that let ten thousand faces be made in half an hour.
TARGET = 6.0


def main() -> None:
    """Time the generator with its defaults, print and record."""
    images = int(os.environ.get("BENCH_IMAGES", "120"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))

    def render(views):
        def work():
            made = generate_faces(images, seed=0, views=views, processes=PROCESSES)
            return sum(len(batch.images) for batch in made)

        return work

    speeds = take_turns({"one": render(1), "five": render(5)}, rounds)
    unit = f"images/s, 112 px, {PROCESSES} processes"
    target = np.full(rounds, TARGET)
    record(
        [
            compare("faces_vs_target", speeds["one"], target, "the target", unit),
            compare("faces_five_views", speeds["five"], speeds["one"], "one view per head", unit),
        ]
    )


if __name__ == "__main__":
    main()
