"""Five layers of VGG-16 dissected over the Face Dictionary, against the bare forward pass.

``BENCH_SIZE`` (pixels, default 224), ``BENCH_IMAGES`` (default 64 of the dictionary's 896: the time
grows about in proportion; of more images a larger part is kept in the beginning) and
``BENCH_ROUNDS`` (default 2) make it shorter or longer. Nothing is kept from one round to the next:
images and masks are read, both kinds of mask and eight chance draws are counted, as in the default
profile. The bare pass is that of the same layers' network over images that are at hand.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.common import compare, make_plain_forward, record, take_turns
from lib import vgg
from lib.dissection import collection, study
from lib.store import ROOT

BATCH = 16


def main() -> None:
    """Time both, print and record."""
    size = int(os.environ.get("BENCH_SIZE", "224"))
    images = int(os.environ.get("BENCH_IMAGES", "64"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "2"))
    dictionary = collection.open_dictionary(ROOT / "data/faces/dictionary", images)
    trunk = vgg.load_trunk("imagenet", size)
    layers = collection.standard_layers(trunk)
    forward = make_plain_forward(trunk)
    pictures = trunk.prepare(dictionary.images(size=size, colour=True))

    def dissected():
        study.dissect_networks({"imagenet": trunk}, {"imagenet": layers}, dictionary)
        return images

    def bare():
        for start in range(0, images, BATCH):
            forward(pictures[start : start + BATCH])
        return images

    speeds = take_turns({"dissected": dissected, "bare": bare}, rounds)
    unit = f"images/s, {size} px, {vgg.choose_precision()}"
    record(
        [
            compare(
                "dissection_vs_bare_forward",
                speeds["dissected"],
                speeds["bare"],
                "the bare forward pass",
                unit,
            )
        ]
    )


if __name__ == "__main__":
    main()
