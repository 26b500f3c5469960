"""Relevance maps a second: this project, iNNvestigate and Zennit on the same weights and images.

``BENCH_SIZE`` (pixels, default 224), ``BENCH_IMAGES`` (images in a turn, default 2) and
``BENCH_ROUNDS`` (default 3) make it shorter; the ratios do not depend on the number of images.
Zennit runs in ``.venv-bench``, which ``make bench`` makes (or ``python3 scripts/setup_env.py
bench``); without it its row is left out.

How far the engine is from what the machine could do is told twice: against its own convolutions
timed alone, and against the *floor*, the operations of these convolutions over the speed of a large
matrix product, which no plain convolution reaches; one with fewer multiplications
(``precision="winograd"``) goes below it.

Off the clock: for iNNvestigate the choice of the class (it is told which to explain), and the
building of graphs for all. Our engine's clock holds its forward pass and its choice. The peak of
memory, ``lrp_peak_memory``, is read before iNNvestigate is loaded.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.common import compare, record, take_turns
from lib import network, vgg
from lib.relevance import COMPOSITES
from lib.relevance.engine import PRECISIONS, SharedTrunk
from lib.relevance.reference import Innvestigate
from lib.store import ROOT

READOUTS = 10
CLASSES = 101
COMPOSITE = "a_flat"
#: MB that the process of the engine, TensorFlow and all, is to stay within.
MEMORY_LIMIT = 4096.0


def predicted(logits):
    """Explain the class with the highest logit."""
    first = np.stack([values.argmax(1) for values in logits], 1)
    return first, np.full(first.shape, -1)


def convolution_floor(engine: SharedTrunk, images: int) -> float:
    """Seconds of the convolutions alone: per image twice forward (output and denominator), and once
    backward for each readout."""
    shape, seconds = engine.chain.input_shape, 0.0
    rng = np.random.default_rng(0)
    for position, layer in enumerate(engine.chain.layers):
        shape = engine.shape_before(position)
        if not isinstance(layer, network.Convolution):
            continue
        before, after = layer.kernel.shape[2:]
        for count, inputs, outputs in (
            (images, before, 2 * after),
            (images * READOUTS, after, before),
        ):
            if position == 0:
                # The first layer has no denominator to compute, and its flat rule no convolution.
                if count > images:
                    continue
                outputs = after
            x = tf.constant(rng.random((count, *shape[:2], inputs), dtype=np.float32))
            kernel = tf.constant(rng.random((3, 3, inputs, outputs), dtype=np.float32))
            tf.nn.conv2d(x, kernel, 1, "SAME")
            start = time.perf_counter()
            tf.nn.conv2d(x, kernel, 1, "SAME")
            seconds += time.perf_counter() - start
    return seconds


def count_operations(engine: SharedTrunk) -> tuple[float, float]:
    """Additions and multiplications of the convolutions: of an image forward, of a map backward.

    Forward each layer gives its output and its denominator, the first its output alone; backward
    there is one convolution a layer, and none in the first, whose flat rule has constant weights.
    """
    forward = backward = 0.0
    for position, layer in enumerate(engine.chain.layers):
        if isinstance(layer, network.Convolution):
            height, width = engine.shape_before(position)[:2]
            once = 2.0 * height * width * layer.kernel.size
            forward += once * (2 if position else 1)
            backward += once if position else 0
    return forward, backward


def matrix_speed(dtype: tf.DType, side: int = 2048) -> float:
    """Operations a second of a product of two square matrices, the best of three."""
    a, b = (tf.cast(tf.random.stateless_uniform((side, side), (k, 0)), dtype) for k in (0, 1))
    tf.matmul(a, b)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        tf.matmul(a, b).numpy()
        seconds.append(time.perf_counter() - start)
    return 2.0 * side**3 / min(seconds)


def floor_seconds(engine: SharedTrunk) -> float:
    """Seconds for an image and its maps at the speed of matrix products, in the engine's types."""
    forward, backward = count_operations(engine)
    speed = matrix_speed(tf.float32)
    back = speed if engine.dtype == tf.float32 else matrix_speed(engine.dtype)
    return forward / speed + READOUTS * backward / back


def peak_memory() -> float:
    """Most memory that this process ever held, MB; what another process holds is not in it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10


def memory_row(peak: float, images: int, size: int) -> dict[str, object]:
    """A row of the results: the limit over the peak, so that above 1 is within the limit.

    Parameters
    ----------
    peak : float
        Of :func:`peak_memory`, MB.
    images, size : int
        Explained until then, one at a time; pixels.
    """
    unit = f"MB, {COMPOSITE}, {size} px, {images} images, {READOUTS} readouts"
    limit = np.array([MEMORY_LIMIT])
    row = compare("lrp_peak_memory", limit, np.array([peak]), "", unit)
    return row | {"ours": round(peak, 1), "other": MEMORY_LIMIT, "other_name": "the limit"}


class Zennit:
    """The worker process, or why there is none."""

    def __init__(self, trunk: vgg.Trunk, readout: network.Readout, images: np.ndarray):
        self.absent = ""
        python = ROOT / ".venv-bench" / "bin" / "python"
        if not python.is_file():
            self.absent = (
                "Zennit is not timed: there is no .venv-bench (python3 scripts/setup_env.py bench)."
            )
            return
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        arrays = {"readout_kernel": readout.kernel, "readout_bias": readout.bias}
        order = []
        for layer in network.read_chain(trunk.model).layers:
            if isinstance(layer, network.Convolution):
                arrays[f"{layer.name}_kernel"], arrays[f"{layer.name}_bias"] = (
                    layer.kernel,
                    layer.bias,
                )
                order.append(layer.name)
            else:
                order.append("pool")
        shape = np.array(trunk.model.output_shape[1:])
        np.savez(self.folder / "weights.npz", order=np.array(order), feature_shape=shape, **arrays)
        np.save(self.folder / "images.npy", images)
        self.process = subprocess.Popen(
            [python, Path(__file__).with_name("zennit_worker.py"), self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.process.stdout.readline().strip() != "ready":
            last = (self.process.stderr.read().strip().splitlines() or ["no reason given"])[-1]
            self.absent = f"Zennit is not timed: {last}"

    def maps(self, count: int) -> tuple[int, float]:
        """Compute so many maps; their number and the seconds."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return count, float(self.process.stdout.readline())

    def close(self) -> None:
        if not self.absent:
            self.process.stdin.close()
            self.process.wait(timeout=60)
            self._folder.cleanup()


def main() -> None:
    """Time all, print and record."""
    warnings.filterwarnings("ignore")
    size = int(os.environ.get("BENCH_SIZE", "224"))
    images = int(os.environ.get("BENCH_IMAGES", "2"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    rng = np.random.default_rng(0)
    trunk = vgg.load_trunk("imagenet", size)
    width = int(np.prod(trunk.model.output_shape[1:]))
    readouts = [
        network.Readout(
            f"r{index}", rng.normal(size=(width, CLASSES)) * 0.01, rng.normal(size=CLASSES) * 0.1
        )
        for index in range(READOUTS)
    ]
    x = trunk.prepare(rng.integers(0, 256, (images, size, size, 3), dtype=np.uint8))
    composite = COMPOSITES[COMPOSITE]
    modes = [mode for mode in PRECISIONS if mode != "mixed" or vgg.has_bfloat16()]
    if "mixed" not in modes:
        print("This machine multiplies no bfloat16: the mixed mode is not timed.")
    engines = {mode: SharedTrunk(trunk.model, readouts, composite, mode) for mode in modes}
    for engine in engines.values():
        for row in range(images):
            engine.relevance(x[row : row + 1], predicted)
    memory = peak_memory()
    # Which class is explained is known before the clock starts: iNNvestigate runs no trunk for it.
    first, second = predicted(engines["float32"].forward(x)[0][:1])
    reference = Innvestigate(trunk.model, readouts[:1], composite)
    zennit = Zennit(trunk, readouts[0], x)
    if zennit.absent:
        print(zennit.absent)

    def ours(engine):
        def work():
            for row in range(images):
                engine.relevance(x[row : row + 1], predicted)
            return images * READOUTS

        return work

    def floor():
        return READOUTS, convolution_floor(engines["float32"], 1)

    def lowest(engine):
        return lambda: (READOUTS, floor_seconds(engine))

    def by_innvestigate():
        reference.explain(x, first, second)
        return images

    contenders = {mode: ours(engine) for mode, engine in engines.items()}
    contenders |= {"convolutions": floor, "innvestigate": by_innvestigate}
    contenders |= {f"floor {m}": lowest(engine) for m, engine in engines.items()}
    if not zennit.absent:
        contenders["zennit"] = lambda: zennit.maps(images)
    speeds = take_turns(contenders, rounds)

    unit = f"maps/s, {COMPOSITE}, {size} px"
    whole = engines["float32"].relevance(x[:1], predicted)[0].sum(-1)[0]
    exact = whole[:1]
    theirs = reference.relevance(x[:1], predicted)[0][:, 0].sum(-1)
    difference = np.abs(exact - theirs).max() / np.abs(theirs).max()
    print(f"float32 against iNNvestigate: largest difference {difference:.1e} of the largest value")
    for mode in modes[1:]:
        other = engines[mode].relevance(x[:1], predicted)[0].sum(-1)[0]
        difference = np.abs(other - whole).max() / np.abs(whole).max()
        print(f"{mode} against float32: largest difference {difference:.1e} of the largest value")
    if not zennit.absent:
        r = np.corrcoef(exact.ravel(), np.load(zennit.folder / "zennit.npy")[0].ravel())[0, 1]
        print(f"float32 against Zennit, which splits the bias: r = {r:.6f}")
    zennit.close()
    rows = []
    for mode in modes:
        rows.append(
            compare(
                f"lrp_{mode}_vs_innvestigate",
                speeds[mode],
                speeds["innvestigate"],
                "innvestigate 2.1.2 float32",
                unit,
            )
        )
        if "zennit" in speeds:
            rows.append(
                compare(
                    f"lrp_{mode}_vs_zennit", speeds[mode], speeds["zennit"], "zennit float32", unit
                )
            )
    rows.append(
        compare(
            "lrp_float32_vs_convolutions",
            speeds["float32"],
            speeds["convolutions"],
            "its bare convolutions",
            unit,
        )
    )
    for mode, engine in engines.items():
        rows.append(
            compare(
                f"lrp_{mode}_vs_floor",
                speeds[mode],
                speeds[f"floor {mode}"],
                "operations over the speed of a matrix product",
                unit,
            )
        )
        forward, backward = count_operations(engine)
        print(
            f"{mode}: {(forward / READOUTS + backward) / 1e9:.1f} billion operations a map, "
            f"{1 / np.median(speeds[f'floor {mode}']):.3f} s at the speed of a matrix product; the "
            f"engine reaches {rows[-1]['ratio']:.0%} of that speed"
        )
    rows.append(memory_row(memory, images, size))
    print(f"Peak memory of this process, iNNvestigate's included: {peak_memory():.0f} MB")
    record(rows)


if __name__ == "__main__":
    main()
