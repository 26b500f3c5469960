"""What the benchmarks share: interleaved timing and the table of results.

A machine's speed swings by a factor of two within minutes, so only what was timed side by side is
compared: the contenders take turns, round by round, and the ratio is the median over rounds of the
ratios within a round.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from lib import vgg
from lib.store import atomic_path

RESULTS = Path(__file__).resolve().parent / "results.csv"
COLUMNS = ["name", "ours", "other", "other_name", "ratio", "unit", "machine"]


def machine() -> str:
    """Processor, cores and bfloat16 support, in one line."""
    model, flags = platform.processor() or platform.machine(), ""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        model, flags = (names[0].strip() if names else model), text
    except OSError:
        pass
    words = {"amx_bf16": "AMX-bf16", "avx512_bf16": "AVX512-bf16", "avx512f": "AVX512"}
    best = next((label for flag, label in words.items() if re.search(rf"\b{flag}\b", flags)), "")
    return ", ".join(part for part in (model, f"{os.cpu_count()} cores", best) if part)


def make_plain_forward(
    trunk: vgg.Trunk, precision: str = "auto"
) -> Callable[[np.ndarray], np.ndarray]:
    """The trunk forward as Keras computes it, as a graph: what is called bare here."""
    model = vgg.with_precision(trunk.model, vgg.choose_precision(precision))
    graph = tf.function(lambda x: model(x, training=False))
    return lambda block: graph(tf.constant(block)).numpy()


def take_turns(
    contenders: Mapping[str, Callable[[], float]], rounds: int = 3, warm: bool = False
) -> dict[str, np.ndarray]:
    """Speed of several ways to do the same work, timed in turns.

    Parameters
    ----------
    contenders : mapping
        Name -> function that does some work and returns how many units it did. A function may
        return a pair (units, seconds) where it keeps its own clock (another process, say).
    rounds : int
        Turns of each, after one that is not counted.
    warm : bool
        All has run before, so every turn is counted.

    Returns
    -------
    dict
        Name -> ndarray (rounds,), units per second.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(1 if warm else 0, rounds + 1):
        for name, work in contenders.items():
            start = time.perf_counter()
            done = work()
            seconds = time.perf_counter() - start
            units, seconds = done if isinstance(done, tuple) else (done, seconds)
            if turn:
                speeds[name].append(units / seconds)
    return {name: np.array(values) for name, values in speeds.items()}


def compare(
    name: str, ours: np.ndarray, other: np.ndarray, other_name: str, unit: str
) -> dict[str, object]:
    """A row of the results: medians, and the median of the ratios; above 1 we are ahead."""
    return {
        "name": name,
        "ours": round(float(np.median(ours)), 4),
        "other": round(float(np.median(other)), 4),
        "other_name": other_name,
        "ratio": round(float(np.median(np.asarray(ours) / np.asarray(other))), 3),
        "unit": unit,
        "machine": machine(),
    }


def record(rows: list[dict[str, object]], path: Path = RESULTS) -> pd.DataFrame:
    """Put rows into the table of results, in place of earlier ones of that name and machine."""
    new = pd.DataFrame(rows, columns=COLUMNS)
    if path.is_file():
        old = pd.read_csv(path)
        keys = set(zip(new["name"], new["machine"], strict=True))
        kept = [key not in keys for key in zip(old["name"], old["machine"], strict=True)]
        old = old[kept]
        new = pd.concat([old, new], ignore_index=True) if len(old) else new
    with atomic_path(path) as temporary:
        new.to_csv(temporary, index=False)
    print(pd.DataFrame(rows, columns=COLUMNS[:-1]).to_string(index=False), flush=True)
    return new
