"""From overlaps to concepts: hierarchical network dissection.

Teotia, Lapedriza, Ostadabbas 2022 (arXiv 2108.10360), with the constants of the released code. A
unit belongs to the face region of the concept that it overlaps best; within the region a
probability is given to every concept.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lib.errors import InputError

#: A unit is interpretable when its best IoU is above this.
INTERPRETABLE = 0.04
#: A unit detects a concept when P(c | u) exceeds this over the number of concepts of the region.
DETECTS = 1.5
#: A unit is biased towards a group when its share reaches this, by the number of groups.
BIASED = {2: 0.55, 4: 0.30}


def compute_strength(peaks: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """a_u(x): how strongly a unit answers to an image, between its extremes.

    Parameters
    ----------
    peaks : ndarray (images, units)
        max A_u(x).
    low, high : ndarray (units,)
        Smallest and largest activation of the unit over the dictionary.

    Returns
    -------
    ndarray (images, units)
        0 to 1; 0 for a unit that never changes.
    """
    span = np.asarray(high, float) - low
    return (peaks - low) / np.where(span == 0, 1, span) * (span != 0)


def compute_ranks(peaks: np.ndarray) -> np.ndarray:
    """rank_u(x): ascending rank of max A_u(x) among the images given, over their number.

    Ties share their mean rank, so that a unit that never fires prefers no image.

    Parameters
    ----------
    peaks : ndarray (images, units)

    Returns
    -------
    ndarray (images, units)
        Above 0, at most 1.
    """
    return rankdata(peaks, axis=0) / len(peaks)


def compute_scores(
    iou: np.ndarray,
    peaks: np.ndarray,
    strength: np.ndarray,
    carries: np.ndarray,
    regions: np.ndarray,
    use_iou: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """s(u, c) and P(c | u).

    Parameters
    ----------
    iou : ndarray (units, concepts)
        NaN where it is not defined (no image counts): such a concept takes no part.
    peaks, strength : ndarray (images, units)
    carries : ndarray (images, concepts), bool
    regions : ndarray (concepts,) of str
    use_iou : bool
        False gives the score of 2020, without the factor IoU.

    Returns
    -------
    best : ndarray (units,), int
        Concept of the largest IoU; -1 where none is defined or all are 0.
    score : ndarray (units, concepts)
        s(u, c) = IoU(u, c) * mean over D_c of rank_u(x) a_u(x), for the concepts of the region of
        the best one; NaN elsewhere.
    probability : ndarray (units, concepts)
        s over its sum within the region.

    Raises
    ------
    InputError
        Shapes that do not fit.
    """
    units, concepts = iou.shape
    carries, regions = np.asarray(carries, bool), np.asarray(regions)
    if peaks.shape != strength.shape or peaks.shape != (len(carries), units):
        raise InputError(
            f"Peaks of shape {peaks.shape} do not fit {len(carries)} images and {units} units."
        )
    if carries.shape[1] != concepts or regions.shape != (concepts,):
        raise InputError(
            f"There are {concepts} concepts, but {carries.shape[1]} columns and {len(regions)} "
            "regions."
        )
    known = np.where(np.isnan(iou), -1, iou)
    best = np.where(known.max(1) > 0, known.argmax(1), -1)
    score = np.full((units, concepts), np.nan)
    for region in dict.fromkeys(regions.tolist()):
        members = np.flatnonzero(regions == region)
        mine = np.flatnonzero((best >= 0) & (regions[best] == region))
        seen = np.flatnonzero(carries[:, members].any(1))
        if not len(mine) or not len(seen):
            continue
        weight = compute_ranks(peaks[np.ix_(seen, mine)]) * strength[np.ix_(seen, mine)]
        for concept in members:
            has = carries[seen, concept]
            if has.any():
                factor = iou[mine, concept] if use_iou else 1.0
                score[mine, concept] = factor * weight[has].mean(0)
    total = np.nansum(score, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        probability = np.where(total > 0, score / total, np.nan)
    return best, score, probability


def find_detectors(probability: np.ndarray, regions: np.ndarray, interpretable: np.ndarray):
    """Which units detect which concepts: P(c | u) > 1.5 / |R|, R the region's concepts.

    Parameters
    ----------
    probability : ndarray (units, concepts)
    regions : ndarray (concepts,) of str
    interpretable : ndarray (units,) of bool
        Other units detect nothing.

    Returns
    -------
    ndarray (units, concepts), bool
        Several concepts may pass. In a region with one concept P is 1 by construction and could
        never exceed 1.5: there the unit detects it if it is interpretable.
    """
    regions = np.asarray(regions)
    sizes = np.array([(regions == region).sum() for region in regions])
    passes = np.nan_to_num(probability) > np.where(sizes > 1, DETECTS / sizes, 0)
    return passes & np.asarray(interpretable, bool)[:, None]


def compute_bias(
    peaks: np.ndarray, strength: np.ndarray, groups: np.ndarray, names: tuple[str, ...]
) -> pd.DataFrame:
    """How a unit's answers are shared among the groups of a non-local concept.

    Parameters
    ----------
    peaks, strength : ndarray (images, units)
    groups : ndarray (images,) of str
        Group of each image; "" leaves an image out.
    names : tuple of str
        The groups.

    Returns
    -------
    DataFrame
        ``unit``, ``group``, ``probability`` (mean of rank * a of the group over the sum of the
        groups' means) and ``biased`` (at least .55 of two groups or .30 of four; for other numbers
        of groups 1.2 times an equal share, as .30 is of .25).

    Raises
    ------
    InputError
        A group without images.
    """
    groups = np.asarray(groups)
    empty = [name for name in names if not (groups == name).any()]
    if empty:
        raise InputError(f"The group {empty[0]!r} has no image, so no bias can be computed.")
    known = np.isin(groups, names)
    weight = compute_ranks(peaks[known]) * strength[known]
    means = np.stack([weight[groups[known] == name].mean(0) for name in names])
    total = means.sum(0)
    share = np.divide(means, total, out=np.full(means.shape, 1 / len(names)), where=total > 0)
    limit = BIASED.get(len(names), 1.2 / len(names))
    units = peaks.shape[1]
    return pd.DataFrame(
        {
            "unit": np.tile(np.arange(units), len(names)),
            "group": np.repeat(names, units),
            "probability": share.ravel(),
            "biased": share.ravel() >= limit,
        }
    )
