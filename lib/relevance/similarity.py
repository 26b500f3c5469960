"""How alike the relevance maps of two models are, face by face.

Crawford et al. 2020, section 2.4 and Figure 4: Pearson's r between the vectorised maps of the same
face from two models, averaged over faces. r does not depend on a map's scale, so raw maps will do.

Confidence intervals are bootstraps over faces: they hold for these models and other faces of the
same kind. Initialisations of one readout are no independent sample of networks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.errors import InputError

#: How two models differ, from the most to the least alike in their making.
RELATIONS = ("other initialisation", "other task", "other pretraining", "both other")


def compute_similarity(maps, faces: Sequence[int] | None = None) -> np.ndarray:
    """Pearson's r between the maps of all pairs of models, for each face.

    Parameters
    ----------
    maps : array-like, (model, identity, y, x)
        Raw or normalised; read one face at a time, so a file will do (an xarray variable, say).
    faces : sequence of int, optional
        Positions along ``identity``; by default all.

    Returns
    -------
    ndarray, (identity, model, model), float64
        1 on the diagonal; NaN where a map is constant (zero everywhere, say) and has no r.

    Raises
    ------
    InputError
        Maps of another shape, or that hold NaN or infinity.
    """
    if len(maps.shape) != 4 or not all(maps.shape):
        raise InputError(
            f"Maps have shape {tuple(maps.shape)}; give (model, identity, y, x), none of them 0."
        )
    faces = range(maps.shape[1]) if faces is None else faces
    found = np.empty((len(faces), maps.shape[0], maps.shape[0]))
    for k, face in enumerate(faces):
        flat = np.asarray(maps[:, face], np.float64).reshape(maps.shape[0], -1)
        if not np.isfinite(flat).all():
            model = np.flatnonzero(~np.isfinite(flat).all(1))[0]
            raise InputError(f"The map of model {model}, face {face}, holds NaN or infinity.")
        centred = flat - flat.mean(1, keepdims=True)
        length = np.sqrt((centred**2).sum(1))
        # A constant map has no r; its rounding errors must not be given one.
        constant = length <= 1e-12 * np.sqrt(flat.shape[1]) * np.abs(flat).max(1)
        unit = centred / np.where(constant, np.nan, length)[:, None]
        found[k] = np.clip(unit @ unit.T, -1, 1)
        np.fill_diagonal(found[k], np.where(constant, np.nan, 1.0))
    return found


def align(similarity: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Similarity of the maps after each is multiplied by the sign of the score it explains.

    Relevance adds up to the score, so where that is negative so is most of the map. The sign of a
    softmax readout's logit says little, for all logits may be shifted.

    Parameters
    ----------
    similarity : ndarray, (identity, model, model)
    score : ndarray, (model, identity)
    """
    sign = np.where(np.asarray(score).T < 0, -1.0, 1.0)
    return similarity * sign[:, :, None] * sign[:, None, :]


def relation(models: pd.DataFrame) -> np.ndarray:
    """How the two models of each pair differ.

    Parameters
    ----------
    models : DataFrame
        Columns ``pretraining``, ``task``, ``instance``.

    Returns
    -------
    ndarray of str, (model, model)
        One of :data:`RELATIONS`; ``"same"`` on the diagonal.
    """
    pretraining, task = (models[c].to_numpy() for c in ("pretraining", "task"))
    same_pretraining = pretraining[:, None] == pretraining
    same_task = task[:, None] == task
    found = np.select(
        [same_pretraining & same_task, same_pretraining, same_task], RELATIONS[:3], RELATIONS[3]
    )
    np.fill_diagonal(found, "same")
    return found


def mean_finite(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean along an axis without what is NaN; NaN where nothing else is there."""
    counts = np.isfinite(values).sum(axis)
    return np.nansum(values, axis) / np.where(counts, counts, np.nan)


def bootstrap(
    values: np.ndarray, draws: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean over the first axis, whose entries are drawn anew.

    Parameters
    ----------
    values : ndarray, (faces, ...)
        NaN is left out of the mean.
    draws, confidence, seed
        Number of draws with replacement; probability inside the interval; of the draws.

    Returns
    -------
    low, high : ndarray, (...)

    Raises
    ------
    InputError
        Draws or confidence out of range, or no values.
    """
    values = np.asarray(values, float)
    if draws < 1 or not 0 < confidence < 1 or not len(values):
        raise InputError(
            f"A bootstrap of {len(values)} values with draws = {draws}, confidence = {confidence} "
            "is refused; give values, one draw or more, and a probability between 0 and 1."
        )
    if not values.size:
        return values[0], values[0]
    rng = np.random.default_rng(seed)
    # How often each entry is drawn; means of all draws are then one product.
    counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), draws).astype(
        float
    )
    flat = values.reshape(len(values), -1)
    known = np.isfinite(flat)
    weight = counts @ known
    found = (counts @ np.where(known, flat, 0)) / np.where(weight > 0, weight, np.nan)
    found = found.reshape(draws, *values.shape[1:])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        low, high = np.nanpercentile(found, [50 * (1 - confidence), 50 * (1 + confidence)], axis=0)
    return low, high


def similarity_table(similarity: np.ndarray, models: pd.DataFrame) -> pd.DataFrame:
    """Mean over faces of every pair of models, the matrix in long form.

    Returns
    -------
    DataFrame
        Columns ``first``, ``second`` (models, both orders and the diagonal), ``relation``, ``r``,
        ``faces`` (with an r).
    """
    names = models["model"].to_numpy()
    counts = np.isfinite(similarity).sum(0)
    mean = mean_finite(similarity)
    first, second = np.indices(mean.shape).reshape(2, -1)
    return pd.DataFrame(
        {
            "first": names[first],
            "second": names[second],
            "relation": relation(models)[first, second],
            "r": mean[first, second],
            "faces": counts[first, second],
        }
    )


def summarise_similarity(
    similarity: np.ndarray,
    models: pd.DataFrame,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean r of each group of pairs, with its interval over faces.

    Parameters
    ----------
    similarity : ndarray, (identity, model, model)
        Of :func:`compute_similarity`.
    models : DataFrame
        In that order, columns ``model``, ``pretraining``, ``task``, ``instance``.
    draws, confidence, seed
        As :func:`bootstrap`.

    Returns
    -------
    DataFrame
        Columns ``relation``, ``first``, ``second`` (conditions, ``<pretraining> <task>``, or "all"
        in both for the whole relation), ``pairs``, ``r``, ``low``, ``high``. Relations first, then
        every pair of conditions once. Relations that no pair has are left out.
    """
    kinds = relation(models)
    condition = (models["pretraining"] + " " + models["task"]).to_numpy()
    upper = np.triu(np.ones_like(kinds, bool), 1)
    rows, means = [], []

    def add(kind: str, first: str, second: str, pairs: np.ndarray) -> None:
        if pairs.any():
            means.append(mean_finite(similarity[:, pairs], 1))
            rows.append((kind, first, second, int(pairs.sum())))

    for kind in RELATIONS:
        add(kind, "all", "all", upper & (kinds == kind))
    order = list(dict.fromkeys(condition))
    for i, first in enumerate(order):
        for second in order[i:]:
            here, there = condition == first, condition == second
            both = (here[:, None] & there) | (there[:, None] & here)
            pairs = upper & both
            if pairs.any():
                add(kinds[pairs][0], first, second, pairs)
    table = pd.DataFrame(rows, columns=["relation", "first", "second", "pairs"])
    per_face = np.stack(means, 1) if means else np.empty((len(similarity), 0))
    low, high = bootstrap(per_face, draws, confidence, seed)
    return table.assign(r=mean_finite(per_face), low=low, high=high)


def compare_matrices(matrices: dict[str, np.ndarray]) -> pd.DataFrame:
    """How alike the mean matrices of several composites are.

    Parameters
    ----------
    matrices : dict
        Composite -> similarity, (identity, model, model), of the same faces and models.

    Returns
    -------
    DataFrame
        Columns ``first``, ``second``, ``r`` (Pearson, over pairs of models), ``mean_first``,
        ``mean_second`` (mean r of a pair under either); each pair of composites once.
    """
    names = list(matrices)
    flat = {}
    for name, similarity in matrices.items():
        mean = mean_finite(similarity)
        flat[name] = mean[np.triu_indices(len(mean), 1)]
    rows = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            a, b = flat[first], flat[second]
            r = np.corrcoef(a, b)[0, 1] if len(a) > 1 else np.nan
            rows.append((first, second, r, a.mean(), b.mean()))
    return pd.DataFrame(rows, columns=["first", "second", "r", "mean_first", "mean_second"])


def state_relations(summary: pd.DataFrame) -> str:
    """What :func:`summarise_similarity` says of the whole relations, as a sentence.

    E.g. "The maps of two networks that differ in their initialisation alone correlate at r = 0.91
    (0.90 to 0.92), in their task at 0.70 (0.68 to 0.72)".
    """
    words = {
        "other initialisation": "their initialisation alone",
        "other task": "their task",
        "other pretraining": "their pretraining",
        "both other": "both",
    }
    found = [
        f"in {words[row.relation]} at {row.r:.2f} ({row.low:.2f} to {row.high:.2f})"
        for row in summary[summary["first"] == "all"].itertuples()
    ]
    if not found:
        return "There is one network, and nothing to compare it with"
    first = found[0].replace(" at ", " correlate at r = ", 1)
    return "The maps of two networks that differ " + ", ".join([first, *found[1:]])
