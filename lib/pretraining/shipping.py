"""The trained trunk as a file: folded, float16, with how it was made."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from lib import weights
from lib.errors import InputError
from lib.machine import processor
from lib.pretraining.images import People, Pictures, describe
from lib.pretraining.network import Network, State, fold
from lib.pretraining.training import Training
from lib.store import ROOT, atomic_path, sha256, versions
from lib.vgg import BLOCKS, KERNEL_SHAPES, LAYERS, MEANS, device_name

FOLDER = ROOT / "data" / "weights"
CHECKSUMS = "SHA256SUMS"
#: Binary digits of the shipped kernels: two of three bytes of float16 with all its ten.
BITS = 5


def machine() -> str:
    """Processor and number of cores, or the GPU."""
    return f"{processor()}; {device_name()}"


def code_version() -> str:
    """Commit of the repository, with ``+`` when files of ``lib`` differ from it; or ``unknown``."""
    try:
        run = dict(cwd=ROOT, capture_output=True, text=True, check=True)
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "lib"], **run).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")


def describe_training(
    people: People,
    training: Training,
    history: pd.DataFrame,
    pictures: Pictures,
    accuracies: Mapping[str, float],
    precision: str,
) -> dict:
    """Provenance of a trunk: everything that its weights depend on, and how good they are."""
    learned = max(stage.identities for stage in training.stages)
    table = pictures.table[pictures.table["person"] < learned]
    return {
        "what": "VGG-16 convolutions trained from scratch on rendered faces, batch norm folded",
        "people": describe(people) | {"identities": learned, "planned": people.identities},
        "training": asdict(training),
        "images": {part: int(count) for part, count in table["part"].value_counts().items()},
        "image_passes": int(history["images"].sum()),
        "seconds": round(float(history["seconds"].sum())),
        "processor_seconds": round(float(history["process_seconds"].sum())),
        "precision": precision,
        "means": MEANS["imagenet"],
        "accuracies": {name: round(float(value), 4) for name, value in accuracies.items()},
        "machine": machine(),
        "code": code_version(),
        "versions": versions(),
        "licence": "CC0 1.0",
    }


def compare_folded(state: State, images: np.ndarray) -> float:
    """Largest difference of the last pooling layer, folded against not, over its largest value.

    Parameters
    ----------
    state : dict
        Of any width.
    images : ndarray, (n, size, size, 3)
        As :func:`lib.vgg.prepare` gives them.
    """
    unfolded = Network(state).features(tf.constant(images), training=False).numpy()
    folded = apply_folded(fold(state), tf.constant(images)).numpy()
    return float(np.abs(folded - unfolded).max() / np.abs(unfolded).max())


def apply_folded(arrays: weights.Weights, x: tf.Tensor) -> tf.Tensor:
    """Last pooling layer of plain convolutions of any width."""
    layers = iter(LAYERS)
    for channels in BLOCKS:
        for layer in (next(layers) for _ in channels):
            x = tf.nn.conv2d(x, arrays[layer]["kernel"], 1, "SAME") + arrays[layer]["bias"]
            x = tf.nn.relu(x)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    return x


def ship_trunk(
    name: str,
    arrays: weights.Weights,
    about: Mapping,
    history: pd.DataFrame,
    folder: str | os.PathLike = FOLDER,
) -> Path:
    """Write ``<name>.npz`` and ``<name>_history.csv`` for :func:`lib.vgg.load_trunk`.

    Parameters
    ----------
    name : str
        ``synthface-2`` and so on; a file that exists is not replaced.
    arrays : dict
        Folded, at full width.
    about : mapping
        Provenance (:func:`describe_training`).
    history : DataFrame
    folder : path

    Raises
    ------
    InputError
        Another name, a network of less than full width, or a file that exists.
    """
    folder = Path(folder)
    if not re.fullmatch(r"synthface(-\d+)?", name):
        raise InputError(f"A trunk cannot be called {name!r}; use synthface-2, synthface-3, ...")
    path = folder / f"{name}.npz"
    if path.exists():
        raise InputError(f"{path} exists and is not replaced; give the new trunk another name.")
    checked = weights.check_shapes(arrays, KERNEL_SHAPES, f"the trained {name}")
    weights.save_npz(path, checked, about)
    with atomic_path(folder / f"{name}_history.csv") as temporary:
        history.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    write_checksums(folder)
    return path


def write_checksums(folder: Path) -> None:
    """``SHA256SUMS`` of a folder's files, as ``sha256sum -c`` reads it."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != CHECKSUMS)
    files = [p for p in files if not p.name.startswith(".")]
    with atomic_path(folder / CHECKSUMS) as temporary:
        temporary.write_text("".join(f"{sha256(p)}  {p.name}\n" for p in files), encoding="utf-8")
