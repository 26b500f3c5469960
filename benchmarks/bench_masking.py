"""Masking and scoring against the bare forward passes, and passes against the literal protocol.

``BENCH_SIZE`` (pixels, default 224), ``BENCH_IMAGES`` (faces, default 2), ``BENCH_SOURCES`` (source
models, at most 20, default 4) and ``BENCH_ROUNDS`` (default 3) make it shorter. Everything counts
for masking: digests of weights and maps, tracing, ranking, filling, scoring by 20 destinations. It
is set against nothing but as many images, already made, through the same trunks.
"""

from __future__ import annotations

import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import xarray as xr

from benchmarks.common import compare, machine, make_plain_forward, record, take_turns
from lib import masking, vgg
from lib.network import Readout
from lib.relevance.study import list_models

TRUNKS = ("imagenet", "imagenet_torchvision")
INITIALISATIONS, PEOPLE, BATCH = 5, 101, 16
QUICK = {"baselines": [], "batch": BATCH, "progress": False}


def make_study(size: int, faces: int, sources: int):
    """Twenty networks on two real trunks, faces of noise, and maps of noise: speed alone."""
    rng = np.random.default_rng(0)
    trunks = {name: vgg.load_trunk(name, size) for name in TRUNKS}
    readouts = {}
    for name, trunk in trunks.items():
        width = int(np.prod(trunk.model.output_shape[1:]))
        readouts[name] = [
            Readout(f"{task}-{k}", rng.normal(size=(width, classes)), np.zeros(classes))
            for task, classes in (("identity", PEOPLE), ("gender", 2))
            for k in range(INITIALISATIONS)
        ]
    images = rng.integers(0, 256, (faces, size, size), dtype=np.uint8)
    labels = {"identity": np.arange(faces), "gender": np.arange(faces) % 2}
    models = list_models(readouts).iloc[:: 20 // sources][:sources]
    relevance = xr.DataArray(
        rng.normal(size=(len(models), faces, size, size)).astype(np.float32),
        dims=("model", "identity", "y", "x"),
        coords={c: ("model", models[c].to_numpy()) for c in models}
        | {"identity": [f"{k}" for k in range(faces)]},
    )
    return trunks, readouts, images, labels, relevance


def count_saved() -> dict[str, object]:
    """Passes of the whole design, counted while they go (small images: the number is the same)."""
    faces = 2
    # 0.1% of so few pixels would be one; the number of levels counts
    levels = (0.0, 0.2, 0.3, 1.0, 3.2, 10.0, 31.6, 100.0)
    data = masking.compute_scores(*make_study(32, faces, 20), levels=levels, **QUICK)
    ours, literal = masking.count_own(data), masking.count_literal(data)
    return {
        "name": "masking_passes_saved",
        "ours": ours,
        "other": literal,
        "other_name": "the literal protocol",
        "ratio": round(literal / ours, 1),
        "unit": f"forward passes, 20 models, {faces} faces, 8 levels",
        "machine": machine(),
    }


def main() -> None:
    """Time, count, print and record."""
    size = int(os.environ.get("BENCH_SIZE", "224"))
    faces = int(os.environ.get("BENCH_IMAGES", "2"))
    sources = int(os.environ.get("BENCH_SOURCES", "4"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    saved = count_saved()
    study = make_study(size, faces, sources)
    precision = vgg.choose_precision()
    forward = [make_plain_forward(trunk, precision) for trunk in study[0].values()]
    per_trunk = faces * (sources * len(masking.LEVELS[1:-1]) + 2)
    block = np.random.default_rng(1).normal(0, 50, (BATCH, size, size, 3)).astype(np.float32)
    for work in forward:
        work(block)

    def ours():
        data = masking.compute_scores(*study, precision=precision, **QUICK)
        passes = int(data["passes"].sum())
        assert passes == 2 * per_trunk
        return passes

    def bare():
        start = time.perf_counter()
        for work in forward:
            for first in range(0, per_trunk, BATCH):
                work(block[: min(BATCH, per_trunk - first)])
        return 2 * per_trunk, time.perf_counter() - start

    speeds = take_turns({"masking": ours, "bare": bare}, rounds)
    unit = f"images/s, {size} px, {precision}"
    row = compare(
        "masking_vs_bare_forward", speeds["masking"], speeds["bare"], "its bare forward", unit
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"Peak memory of this process: {peak:.0f} MB")
    record([row, saved])


if __name__ == "__main__":
    main()
