"""The measures of salience against the maps that they are made of.

What is compared: all five measures of one network for some faces, from images to numbers (digests,
noise, transforms and their way back, SSIM, entropies, guided blur, and the maps), against the time
that the same network and method take for nothing but as many maps, of images already made, in the
same portions. A face has :data:`MAPS` maps. A ratio of 1 is no cost beside the maps; 0.5 is twice
their time.

The report has 101 faces. Faces are measured one at a time and share nothing but what is done once
per call (the digest of the weights), so the ratio of few faces is at most that of many. Two numbers
of faces are timed to show it: ``salience_vs_maps`` is the larger, ``salience_vs_maps_2_faces`` the
smaller one. Timing all 101 takes about 20 minutes on two calm cores::

    BENCH_IMAGES=101 BENCH_ROUNDS=1 BENCH_METHODS=grad_cam python -m benchmarks salience

``BENCH_SIZE`` (pixels, default 224), ``BENCH_IMAGES`` (faces, default 10), ``BENCH_METHODS``
(default ``grad_cam,a_flat``; relevance, which takes ten times as long, with a fifth of the faces)
and ``BENCH_ROUNDS`` (default 2) make it shorter or longer.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.common import compare, machine, record, take_turns
from lib import vgg
from lib.network import Readout
from lib.relevance import choose_precision
from lib.salience import AMOUNTS, TRANSFORMS, Explainer, compute_salience

RUNS = 10
#: Maps of a face: as it is, under every noise above 0, every transform, and two guided blurs.
MAPS = 1 + sum(amount > 0 for amount in AMOUNTS) + len(TRANSFORMS) + 2


def make_readouts(trunk: vgg.Trunk, count: int, classes: int = 101) -> list[Readout]:
    """Readouts with random weights: speed alone."""
    rng = np.random.default_rng(0)
    width = int(np.prod(trunk.model.output_shape[1:]))
    return [
        Readout(f"identity-{k}", rng.normal(size=(width, classes)), np.zeros(classes))
        for k in range(count)
    ]


def time_measures(
    trunk: vgg.Trunk, method: str, images: np.ndarray, counts: list[int], rounds: int
) -> list[dict]:
    """One network's measures against its maps, in maps per second, for some numbers of faces."""
    explainer = Explainer(trunk, make_readouts(trunk, 1), method)
    _turns(explainer, images[:1], 1)  # not counted
    # Grad-CAM has one precision
    precision = "float32" if method == "grad_cam" else choose_precision("auto")
    name = "salience_vs_maps" if method == "grad_cam" else f"salience_vs_maps_{method}"
    rows = []
    for count in counts:
        speeds = _turns(explainer, images[:count], rounds)
        unit = f"maps/s, {method}, {trunk.size} px, {precision}, {count} faces of {MAPS} maps"
        last = name if count == max(counts) else f"{name}_{count}_faces"
        rows.append(compare(last, speeds["measures"], speeds["maps"], "its bare maps", unit))
        print(rows[-1], flush=True)
    return rows


def _turns(explainer: Explainer, images: np.ndarray, rounds: int) -> dict[str, np.ndarray]:
    total = len(images) * MAPS
    labels = [np.zeros(len(images), int)]
    rng = np.random.default_rng(1)
    block = rng.integers(0, 256, (MAPS - 3, *images.shape[1:]), dtype=np.uint8)

    def ours() -> int:
        compute_salience(explainer, images, labels, progress=False)
        return total

    def maps() -> int:
        # in the same portions: an image, its noisy and turned versions, the two blurred ones
        for _ in images:
            for some in (block[:1], block, block[:2]):
                explainer.explain(some)
        return total

    return take_turns({"measures": ours, "maps": maps}, rounds, warm=True)


def count_stability(images: int = 2, size: int = 32) -> dict[str, object]:
    """Maps computed for the stability of ten runs, counted while they go."""
    trunk = vgg.load_trunk("imagenet", size)
    explainer = Explainer(trunk, make_readouts(trunk, RUNS, 2), "grad_cam")
    counted = {"maps": 0}
    inner = explainer.explain

    def explain(some, *rest):
        counted["maps"] += len(some) * RUNS
        return inner(some, *rest)

    explainer.explain = explain
    faces = np.random.default_rng(2).integers(0, 256, (images, size, size), dtype=np.uint8)
    options = {"amounts": (), "transforms": (), "progress": False}
    alone = compute_salience(explainer, faces, **options)
    before = counted["maps"]
    runs = compute_salience(explainer, faces, groups=dict.fromkeys(explainer.names, "a"), **options)
    assert "a" in runs["group"] and not alone.sizes["group"]
    ours, literal = counted["maps"] - before, images * RUNS * (RUNS - 1)
    return {
        "name": "salience_stability_maps",
        "ours": ours,
        "other": literal,
        "other_name": "both maps of every pair",
        "ratio": round(literal / ours, 1),
        "unit": f"maps, {RUNS} runs, {images} faces",
        "machine": machine(),
    }


def main() -> None:
    """Time, count, print and record."""
    size = int(os.environ.get("BENCH_SIZE", "224"))
    faces = int(os.environ.get("BENCH_IMAGES", "10"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "2"))
    methods = os.environ.get("BENCH_METHODS", "grad_cam,a_flat").split(",")
    trunk = vgg.load_trunk("imagenet", size)
    # smooth pictures, so that the guided blur has something to guide it
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (faces, 8, 8)).astype(np.uint8)
    images = np.kron(coarse, np.ones((1, size // 8, size // 8), np.uint8))
    rows = []
    for method in methods:
        most = faces if method == "grad_cam" else -(-faces // 5)
        rows += time_measures(trunk, method, images, sorted({min(2, most), most}), rounds)
    record([*rows, count_stability()])


if __name__ == "__main__":
    main()
