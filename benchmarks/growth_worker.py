"""One point of the growth measurement, in a process of its own so that its peak of memory is known.

    python -m benchmarks.growth_worker '{"stage": "maps", "size": 32, ...}'

prints a line of JSON: ``work`` (maps or masked images), ``seconds``, ``peak_mb``, and ``base_mb``,
the peak before the work began. Faces are the study's, repeated, each copy moved by some pixels: the
time of a convolution does not depend on what it sees. Maps to mask by are noise.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from lib import masking, network, vgg
from lib.relevance import compute_relevance
from lib.relevance.study import list_models
from lib.store import ROOT

CLASSES = 101
#: Faces that go through first, off the clock, so that graphs are made.
FIRST = 12


def peak_mb() -> float:
    """Most memory that this process ever held, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10


def repeat_faces(count: int, size: int) -> np.ndarray:
    """So many frontal faces, (count, y, x), uint8: the study's, repeated and moved."""
    folder = ROOT / "data" / "faces" / "study"
    table = pd.read_csv(folder / "manifest.csv")
    some = []
    for path in table.loc[table["viewpoint"] == 0, "path"][:count]:
        with Image.open(folder / path) as image:
            some.append(np.asarray(image.convert("L").resize((size, size), Image.Resampling.BOX)))
    found = np.empty((count, size, size), np.uint8)
    for k in range(count):
        turn, row = divmod(k, len(some))
        found[k] = np.roll(some[row], (turn % 5, turn // 5), (0, 1))
    return found


def make_readouts(trunk: vgg.Trunk, count: int) -> list[network.Readout]:
    """Readouts of either task in turns, with random weights."""
    rng = np.random.default_rng(0)
    width = int(np.prod(trunk.model.output_shape[1:]))
    sizes = {"identity": CLASSES, "gender": 2}
    tasks = ["identity" if k % 2 == 0 else "gender" for k in range(count)]
    return [
        network.Readout(
            f"{task}-{k // 2}",
            (rng.normal(size=(width, sizes[task])) * 0.01).astype(np.float32),
            np.zeros(sizes[task], np.float32),
        )
        for k, task in enumerate(tasks)
    ]


def explain(trunk, images, readouts) -> int:
    """Maps as chapter 03 makes them, each looked at and let go; returns their number."""
    settings = {"precision": "float32", "on_zero": "keep", "progress": False}
    maps = 0
    for batch in compute_relevance(trunk, readouts, images, "predicted", "a_flat", **settings):
        maps += batch.relevance.shape[0] * batch.relevance.shape[1]
    return maps


def open_maps(folder: Path, models, images: np.ndarray) -> xr.DataArray:
    """Maps of noise in a file, written a model at a time, opened as chapter 04 opens relevance."""
    import h5netcdf

    rng = np.random.default_rng(0)
    path = folder / "maps.nc"
    names = ("model", "identity", "y", "x")
    with h5netcdf.File(path, "w") as file:
        file.dimensions = dict(zip(names, (len(models), *images.shape), strict=True))
        maps = file.create_variable("relevance", names, np.float32, chunks=(1, *images.shape))
        for row in range(len(models)):
            maps[row] = rng.normal(size=images.shape).astype(np.float32)
    coords = {c: ("model", models[c].to_numpy()) for c in models}
    coords["identity"] = [f"{k}" for k in range(len(images))]
    return xr.open_dataset(path, engine="h5netcdf")["relevance"].assign_coords(coords)


def mask(trunk, images, readouts, maps, levels) -> int:
    """Scores under relevance masks as chapter 04 makes them; returns the images masked."""
    labels = {"identity": np.arange(len(images)) % CLASSES, "gender": np.arange(len(images)) % 2}
    settings = {"baselines": [], "precision": "float32", "progress": False}
    data = masking.compute_scores(
        {trunk.name: trunk}, {trunk.name: readouts}, images, labels, maps, levels=levels, **settings
    )
    return int(data["passes"].sum())


def main() -> None:
    """Measure the point that the command line describes."""
    point = json.loads(sys.argv[1])
    size = point["size"]
    trunk = vgg.load_trunk("imagenet", size)
    images = repeat_faces(max(point["faces"], FIRST), size)
    readouts = make_readouts(trunk, point["readouts"])
    levels = list(np.geomspace(1, 60, point["levels"]).round(2))
    with tempfile.TemporaryDirectory() as folder:
        if point["stage"] == "maps":
            explain(trunk, images[:FIRST], readouts)
            base, start = peak_mb(), time.perf_counter()
            work = explain(trunk, images[: point["faces"]], readouts)
        else:
            images = images[: point["faces"]]
            models = list_models({trunk.name: readouts[: point["sources"]]})
            maps = open_maps(Path(folder), models, images)
            few = maps.isel(model=slice(0, 1), identity=slice(0, FIRST))
            mask(trunk, images[:FIRST], readouts, few, levels[:1])
            base, start = peak_mb(), time.perf_counter()
            work = mask(trunk, images, readouts, maps, levels)
        seconds = time.perf_counter() - start
    found = {"work": work, "seconds": seconds, "peak_mb": peak_mb(), "base_mb": base}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
