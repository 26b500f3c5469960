"""Relevance by facial part: what share of a map lies on the hair, the eyes, the nose, ...

Parts are the exact labels of rendered faces (:mod:`lib.faces.labels`), joined into the groups of
:data:`GROUPS`. Every pixel belongs to one group, so the shares of a map add up to 1.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.errors import InputError
from lib.faces.labels import PARTS
from lib.relevance.similarity import bootstrap, mean_finite

#: Group -> parts of :data:`lib.faces.labels.PARTS`, from the top of the picture down.
GROUPS = {
    "hair": ("hair",),
    "forehead": ("forehead",),
    "brows": ("brow",),
    "eyes": ("eye", "eyelid", "lash"),
    "nose": ("nose",),
    "mouth": ("lips", "mouth"),
    "cheeks": ("cheek",),
    "chin": ("chin",),
    "ears": ("ear",),
    "other skin": ("skin",),
    "beard": ("beard",),
    "glasses": ("glasses",),
    "clothes": ("cloth",),
    "background": ("background",),
}
#: What a share is taken of.
SHARES = ("absolute", "positive", "negative")
#: Columns of :func:`parts_table`.
COLUMNS = ("model", "pretraining", "task", "instance", "part", "area", *SHARES)
#: Parts smaller than this share of the pixels are not named: a few pixels give unsteady ratios.
SMALLEST = 0.002


def group_parts(labels: np.ndarray) -> np.ndarray:
    """Number of the group of :data:`GROUPS` at every pixel.

    Parameters
    ----------
    labels : ndarray of int
        Values of :data:`lib.faces.labels.PARTS`.

    Raises
    ------
    InputError
        A value that names no part.
    """
    table = np.full(256, 255, np.uint8)
    for k, parts in enumerate(GROUPS.values()):
        table[[PARTS[part] for part in parts]] = k
    labels = np.asarray(labels)
    if labels.size and not (labels.min() >= 0 and labels.max() < 256):
        raise InputError(f"Part labels reach from {labels.min()} to {labels.max()}; expected 0-16.")
    found = table[labels]
    if (found == 255).any():
        raise InputError(f"{labels[found == 255][0]} is the label of no part; expected 0 to 16.")
    return found


def compute_parts(maps, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of the relevance of every map that lie on each group.

    Parameters
    ----------
    maps : array-like, (model, identity, y, x)
        Read one face at a time, so a file will do.
    labels : ndarray of int, (identity, y, x)

    Returns
    -------
    dict
        ``absolute``, ``positive``, ``negative`` -> ndarray (model, identity, group): share of
        |R|, of the positive and of the negative relevance, 0 to 1, NaN where a map has none of
        that kind; ``area`` -> (identity, group): share of the pixels.

    Raises
    ------
    InputError
        Labels of another shape, or an unknown label.
    """
    shape = tuple(maps.shape)
    if len(shape) != 4 or tuple(labels.shape) != shape[1:]:
        raise InputError(
            f"Maps have shape {shape} and labels {tuple(labels.shape)}; give one label picture for "
            "each face, of the size of the maps."
        )
    groups = group_parts(labels).reshape(shape[1], -1)
    count = len(GROUPS)
    found = {name: np.full((shape[0], shape[1], count), np.nan) for name in SHARES}
    area = np.empty((shape[1], count))
    for face in range(shape[1]):
        member = np.zeros((groups.shape[1], count))
        member[np.arange(groups.shape[1]), groups[face]] = 1
        area[face] = member.mean(0)
        flat = np.asarray(maps[:, face], np.float64).reshape(shape[0], -1)
        kinds = (np.abs(flat), np.maximum(flat, 0), np.maximum(-flat, 0))
        for name, values in zip(SHARES, kinds, strict=True):
            total = values.sum(1, keepdims=True)
            found[name][:, face] = (values @ member) / np.where(total > 0, total, np.nan)
    return found | {"area": area}


def parts_table(parts: dict[str, np.ndarray], models: pd.DataFrame) -> pd.DataFrame:
    """Mean shares over faces for every model and group.

    Returns
    -------
    DataFrame
        Columns ``model``, ``pretraining``, ``task``, ``instance``, ``part``, ``area``,
        ``absolute``, ``positive``, ``negative``. Groups that no face shows are left out.
    """
    seen = np.flatnonzero(parts["area"].any(0))
    names = list(GROUPS)
    rows = []
    for k, model in enumerate(models.itertuples()):
        for group in seen:
            shares = [mean_finite(parts[name][k, :, group]) for name in SHARES]
            rows.append(
                (
                    *(model.model, model.pretraining, model.task, model.instance),
                    *(names[group], parts["area"][:, group].mean(), *shares),
                )
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summarise_parts(
    parts: dict[str, np.ndarray],
    models: pd.DataFrame,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean shares of each condition (pretraining and task), with intervals over faces.

    Parameters
    ----------
    parts : dict
        Of :func:`compute_parts`.
    models : DataFrame
        In the order of the maps.
    draws, confidence, seed
        As :func:`lib.relevance.similarity.bootstrap`.

    Returns
    -------
    DataFrame
        Columns ``pretraining``, ``task``, ``part``, ``share`` (``absolute``, ``positive`` or
        ``negative``), ``area``, ``mean``, ``low``, ``high``.
    """
    seen = np.flatnonzero(parts["area"].any(0))
    names = np.array(list(GROUPS))[seen]
    area = parts["area"][:, seen].mean(0)
    tables = []
    for (pretraining, task), some in models.groupby(["pretraining", "task"], sort=False):
        rows = models.index.get_indexer(some.index)
        for share in SHARES:
            per_face = mean_finite(parts[share][rows][:, :, seen])
            low, high = bootstrap(per_face, draws, confidence, seed)
            tables.append(
                pd.DataFrame(
                    {
                        "pretraining": pretraining,
                        "task": task,
                        "part": names,
                        "share": share,
                        "area": area,
                        "mean": mean_finite(per_face),
                        "low": low,
                        "high": high,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def condition_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Share of |R| on each part, a column for each condition.

    Parameters
    ----------
    summary : DataFrame
        Of :func:`summarise_parts`.

    Returns
    -------
    DataFrame
        Columns ``part``, ``area``, ``<pretraining> <task>``, ...
    """
    some = summary[summary["share"] == "absolute"]
    found = some.drop_duplicates("part")[["part", "area"]].reset_index(drop=True)
    for (pretraining, task), mine in some.groupby(["pretraining", "task"], sort=False):
        found[f"{pretraining} {task}"] = found["part"].map(mine.set_index("part")["mean"])
    return found


def name_top(summary: pd.DataFrame | None, count: int = 3) -> str:
    """The parts with most |R| for their area, in words, over all conditions.

    Parameters
    ----------
    summary : DataFrame or None
        Of :func:`summarise_parts`; None where the faces have no labels.
    count : int

    Returns
    -------
    str
        E.g. ``"nose (3.2 times its share of the pixels), eyes (2.1), brows (1.9)"``.
    """
    if summary is None:
        return "not measured, for these faces carry no part labels"
    table = condition_table(summary)
    table = table[table["area"] >= SMALLEST]
    ratio = table.drop(columns=["part", "area"]).mean(axis=1) / table["area"]
    order = np.argsort(-ratio.to_numpy(), kind="stable")[:count]
    words = [f"{table['part'].iloc[k]} ({ratio.iloc[k]:.1f})" for k in order]
    words[0] = words[0].replace(")", " times its share of the pixels)")
    return ", ".join(words)
