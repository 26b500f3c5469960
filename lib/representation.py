"""Faces as a trunk sees them: dissimilarities of their activations, layer by layer.

TensorFlow is imported where features are computed; comparing the tables needs none (`lib.humans`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.humans import compare_dissimilarities, compute_dissimilarity

if TYPE_CHECKING:
    from lib.vgg import Trunk

#: Stands for the images themselves beside the trunks.
PIXELS = "pixels"


def choose_layers(trunk: Trunk) -> list[str]:
    """The ends of a trunk's blocks: its pooling layers, or its last layer where it has none."""
    layers = trunk.model.layers
    pools = [layer.name for layer in layers if "Pooling" in type(layer).__name__]
    return pools or [layers[-1].name]


def compute_representations(
    trunk: Trunk, images: np.ndarray, identities: Sequence[str], precision: str = "auto"
) -> dict[str, pd.DataFrame]:
    """Dissimilarity of faces (1 - Pearson's r between activations) at the end of every block.

    Parameters
    ----------
    trunk : Trunk
    images : ndarray, (identity, y, x) or (identity, y, x, 3), 0..255
    identities : sequence of str
    precision : {"auto", "float32", "bfloat16"}

    Returns
    -------
    dict
        ``block 1``, ``block 2``, ... -> table (identity x identity), 0 to 2. A layer at which some
        face excites no unit is left out.
    """
    from lib import vgg

    names = choose_layers(trunk)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _, found in vgg.iter_features(trunk, images, names, precision=precision):
        for name, values in found.items():
            parts[name].append(values.reshape(len(values), -1))
    tables = {}
    for number, name in enumerate(names, start=1):
        features = np.concatenate(parts.pop(name))
        if np.ptp(features, axis=1).all():
            tables[f"block {number}"] = compute_dissimilarity(features, identities)
    return tables


def compare_representations(
    tables: Mapping[str, Mapping[str, pd.DataFrame]],
    pixels: pd.DataFrame,
    *,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Similarity of the representations of every pair of trunks, and of each with the pixels.

    Trunks are compared block by block; those with another number of blocks at their last one.

    Parameters
    ----------
    tables : mapping
        Pretraining -> tables of :func:`compute_representations`.
    pixels : DataFrame
        Dissimilarity of the images themselves.
    permutations, seed : int
        Of the test (:func:`lib.humans.compare_dissimilarities`).

    Returns
    -------
    DataFrame
        ``layer``, ``first``, ``second`` (a pretraining or ``pixels``), ``rho`` (Spearman), ``p``
        (one-sided, faces relabelled), ``pairs`` of faces.
    """
    rows = []
    names = list(tables)

    def compare(layer, first, second, a, b):
        found = compare_dissimilarities(a, b, permutations=permutations, seed=seed)
        rows.append({"layer": layer, "first": first, "second": second, **found})

    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            if list(tables[first]) == list(tables[second]):
                for layer, table in tables[first].items():
                    compare(layer, first, second, table, tables[second][layer])
            elif tables[first] and tables[second]:
                last = [list(tables[name].values())[-1] for name in (first, second)]
                compare("last", first, second, *last)
    for first in names:
        for layer, table in tables[first].items():
            compare(layer, first, PIXELS, table, pixels)
    columns = ["layer", "first", "second", "rho", "p", "pairs"]
    return pd.DataFrame(rows, columns=columns).astype({"pairs": int})
