"""Features of a trunk against its bare convolutions, and training of readouts against features.

``BENCH_SIZE`` (pixels, default 224), ``BENCH_IMAGES`` (images in a turn, default 32 of the study's
1,515: a trunk's time grows in proportion) and ``BENCH_ROUNDS`` (default 3) make it shorter. The
readouts learn from as many features as the study has, five of the twenty-five epochs.
"""

from __future__ import annotations

import os
import resource
import time
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.common import compare, record, take_turns
from lib import vgg
from lib.finetuning import Task, make_split, train_readouts

IDENTITIES, VIEWS = 101, 15
BATCH = 16
#: Memory that a study at 224 px may take, MB.
LIMIT = 4096.0


def bare_convolutions(trunk: vgg.Trunk, images: int, precision: str) -> float:
    """Seconds that the trunk's convolutions take by themselves, on data at hand."""
    dtype = tf.bfloat16 if precision == "bfloat16" else tf.float32
    seconds = 0.0
    for layer in trunk.model.layers:
        if not isinstance(layer, tf.keras.layers.Conv2D):
            continue
        shape = (BATCH, *layer.input_shape[1:])
        x = tf.cast(tf.random.stateless_uniform(shape, (0, 0)), dtype)
        kernel = tf.cast(layer.kernel, dtype)
        tf.nn.conv2d(x, kernel, 1, "SAME")
        start = time.perf_counter()
        tf.nn.conv2d(x, kernel, 1, "SAME")
        seconds += time.perf_counter() - start
    return seconds * images / BATCH


def main() -> None:
    """Time all, print and record."""
    size = int(os.environ.get("BENCH_SIZE", "224"))
    images = int(os.environ.get("BENCH_IMAGES", "32"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    chosen = vgg.choose_precision()
    # by minimal filtering; on a processor without bfloat16 the same
    precisions = dict.fromkeys([chosen, "float32"])
    rng = np.random.default_rng(0)
    trunk = vgg.load_trunk("imagenet", size)
    pictures = rng.integers(0, 256, (images, size, size, 3), dtype=np.uint8)

    def features(precision):
        vgg.compute_features(trunk, pictures, precision=precision, batch=BATCH, progress=False)
        return images

    def bare(precision):
        return images, bare_convolutions(trunk, images, precision)

    total = IDENTITIES * VIEWS
    width = int(np.prod(trunk.model.output_shape[1:]))
    identity, view = np.repeat(np.arange(IDENTITIES), VIEWS), np.tile(np.arange(VIEWS), IDENTITIES)
    tasks = [Task("identity", identity), Task("gender", identity % 2)]
    kept = make_split("random", identity, view)
    cached = np.maximum(rng.normal(size=(total, width)), 0).astype(np.float32)

    def readouts():
        # Five epochs of the twenty-five, of one trunk's ten readouts.
        train_readouts(cached, tasks, kept, epochs=5, progress=False)
        return total / 5

    contenders = {"readouts": readouts}
    for precision in precisions:
        contenders[f"features {precision}"] = partial(features, precision)
        contenders[f"bare {precision}"] = partial(bare, precision)
    speeds = take_turns(contenders, rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"Peak memory of this process: {peak:.0f} MB")
    unit = f"images/s, {size} px"
    memory = {
        **compare("trunks_peak_memory", np.array([peak]), np.array([LIMIT]), "the limit", "MB"),
        "ratio": round(LIMIT / peak, 3),
    }
    rows = [memory]
    for precision in precisions:
        rows.append(
            compare(
                "features_vs_bare_convolutions"
                if precision == chosen
                else f"features_{precision}_vs_bare_convolutions",
                speeds[f"features {precision}"],
                speeds[f"bare {precision}"],
                "its bare convolutions",
                f"{unit}, {precision}",
            )
        )
    rows.append(
        compare(
            "readouts_vs_features",
            speeds["readouts"],
            speeds[f"features {chosen}"],
            "the features",
            f"{unit}, {chosen}",
        )
    )
    record(rows)


if __name__ == "__main__":
    main()
