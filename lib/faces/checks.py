"""Could a network tell gender, or who it is, by a trick? Checks on a set of face images.

Every accuracy that speaks of gender is measured *across identities*: the people a classifier is
tested on are never among those it was fitted to. Each function takes plain arrays, so that a
reader's own faces can be checked too.
"""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lib.errors import InputError

FOLDS = 10
#: Highest accuracy a single pixel may reach.
PIXEL_LIMIT = 0.70
#: Highest share of identities found by raw pixels at 45 degrees from one frontal image.
NEIGHBOUR_LIMIT = 0.35


# Pixels tried at a time in the search for the best one.
_TRIED = 512

#: Columns of `check_shortcuts`.
COLUMNS = ["check", "what", "value", "chance", "limit", "passed"]


def split_by_identity(gender, identity, *, folds=FOLDS, seed=0):
    """Cross-validation folds that keep all images of a person on one side.

    Parameters
    ----------
    gender, identity : array (n,)
    folds : int
        At most the number of people of the rarer gender.
    seed : int

    Returns
    -------
    list of (train, test)
        Row numbers.

    Raises
    ------
    InputError
        Fewer than two genders, or fewer than two people of one.
    """
    people = pd.DataFrame({"gender": gender, "identity": identity}).drop_duplicates()
    counts = people["gender"].value_counts()
    if len(counts) != 2 or counts.min() < 2:
        raise InputError(
            "gender can be checked only with two or more people of each gender; "
            f"here are {counts.to_dict()}."
        )
    splitter = StratifiedGroupKFold(min(folds, counts.min()), shuffle=True, random_state=seed)
    return list(splitter.split(gender, gender, identity))


def fit_stump(values, target):
    """Best threshold on each of many values, by the share of correct answers.

    Parameters
    ----------
    values : array (n, features)
    target : array of bool (n,)

    Returns
    -------
    threshold : ndarray (features,)
        Midway between two neighbouring training values.
    above : ndarray of bool (features,)
        Whether the answer is True above the threshold.
    accuracy : ndarray (features,)
        On the same data.
    """
    # Features as contiguous rows in their own type: whole numbers of one byte sort by counting.
    values = np.ascontiguousarray(np.asarray(values).T)
    target = np.asarray(target, bool)
    n = len(target)
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    # Correct answers of "True above" with the cut after the k-th smallest value, k = 0 ... n.
    correct = np.full((len(values), n + 1), target.sum(), np.int32)
    correct[:, 1:] += np.cumsum(np.where(target, -1, 1).astype(np.int32)[order], axis=1)
    cut = np.ones(correct.shape, bool)
    cut[:, 1:n] = ordered[:, 1:] > ordered[:, :-1]
    score = np.where(cut, np.maximum(correct, n - correct), -1)
    best = score.argmax(axis=1)
    rows = np.arange(len(values))
    below = np.where(best > 0, ordered[rows, best - 1].astype(float), ordered[:, 0] - 1.0)
    next_ = ordered[rows, np.minimum(best, n - 1)].astype(float)
    beyond = np.where(best < n, next_, ordered[:, -1] + 1.0)
    above = 2 * correct[rows, best] >= n
    return (below + beyond) / 2, above, score[rows, best] / n


def pixel_accuracy(images, gender, identity, *, folds=FOLDS, seed=0):
    """How well each single pixel tells gender across identities.

    For each pixel a threshold is fitted on the training people and tried on the others.

    Parameters
    ----------
    images : array (n, y, x)
        Grey levels; usually the frontal image of each person.
    gender, identity : array (n,)
        Gender takes two values.
    folds, seed : int

    Returns
    -------
    accuracy : ndarray (y, x)
        Share of correct answers on people left out, 0 to 1. The largest of many pixels exceeds
        one half by luck alone: compare it with `shuffled_maximum`.
    chosen : float
        The same for one pixel picked, with its threshold, on the training people alone.
    """
    images = np.asarray(images)
    flat = images.reshape(len(images), -1)
    target = np.asarray(gender) == np.unique(gender)[0]
    correct = np.zeros(flat.shape[1])
    chosen = 0
    for train, test in split_by_identity(gender, identity, folds=folds, seed=seed):
        threshold, above, fitted = fit_stump(flat[train], target[train])
        right = ((flat[test] > threshold) == above) == target[test, None]
        correct += right.sum(axis=0)
        chosen += right[:, fitted.argmax()].sum()
    return (correct / len(flat)).reshape(images.shape[1:]), chosen / len(flat)


def best_pixel(images, gender, identity, *, folds=FOLDS, seed=0):
    """The single pixel that tells gender best across identities.

    The largest value of the map of `pixel_accuracy`, many times faster: a threshold that is best on
    all people makes no more errors on those left out than the threshold fitted without them, so
    that a pixel's accuracy on all bounds the one across identities, and only pixels whose bound
    exceeds what was found need be tried.

    Parameters
    ----------
    images : array (n, y, x)
    gender, identity : array (n,)
    folds, seed : int

    Returns
    -------
    accuracy : float
    y, x : int
        Where it is; the first in reading order of several that are equally good.
    """
    images = np.asarray(images)
    flat = images.reshape(len(images), -1)
    target = np.asarray(gender) == np.unique(gender)[0]
    bound = fit_stump(flat, target)[2]
    order = np.argsort(-bound, kind="stable")
    best, place = -1.0, 0
    for start in range(0, len(order), _TRIED):
        tried = np.sort(order[start : start + _TRIED])
        if bound[order[start]] < best:
            break
        accuracy = pixel_accuracy(flat[:, None, tried], gender, identity, folds=folds, seed=seed)[0]
        k = accuracy[0].argmax()
        if (accuracy[0, k], -tried[k]) > (best, -place):
            best, place = float(accuracy[0, k]), int(tried[k])
    return best, *(int(i) for i in np.unravel_index(place, images.shape[1:]))


def shuffled_maximum(images, gender, identity, *, draws=20, folds=FOLDS, seed=0):
    """The best single pixel when gender is dealt out to the people at random.

    Returns
    -------
    ndarray (draws,)
        Largest accuracy over pixels of each draw.
    """
    rng = np.random.default_rng(seed)
    return np.array(
        [
            best_pixel(
                images, shuffle_genders(gender, identity, rng), identity, folds=folds, seed=seed
            )[0]
            for _ in range(draws)
        ]
    )


def shuffle_genders(gender, identity, rng):
    """Deal the genders out to the people anew, all images of a person alike."""
    people, first, back = np.unique(identity, return_index=True, return_inverse=True)
    return rng.permutation(np.asarray(gender)[first])[back] if len(people) else gender


def probe_accuracy(features, gender, identity, *, components=50, folds=FOLDS, seed=0):
    """A linear probe for gender across identities.

    Standardised features, principal components, logistic regression; all fitted on the training
    people.

    Parameters
    ----------
    features : array (n, ...)
        Flattened per image.
    components : int
        Principal components kept, at most.

    Returns
    -------
    float
        Share of correct answers on people left out.
    """
    flat = np.asarray(features, np.float32).reshape(len(features), -1)
    gender = np.asarray(gender)
    correct = 0
    for train, test in split_by_identity(gender, identity, folds=folds, seed=seed):
        keep = min(components, flat.shape[1], len(train) - 1)
        model = make_pipeline(
            StandardScaler(),
            PCA(keep, random_state=seed, svd_solver="randomized" if keep < 500 else "auto"),
            StandardScaler(),
            LogisticRegression(C=0.1, max_iter=1000),
        )
        # One thread: the matrices are small, and waiting threads cost more than they save.
        with threadpool_limits(1):
            answer = model.fit(flat[train], gender[train]).predict(flat[test])
        correct += (answer == gender[test]).sum()
    return correct / len(flat)


def neighbour_accuracy(images, identity, viewpoint, *, gallery=0):
    """Finding a person among one image of each by raw pixels, at every viewpoint.

    Parameters
    ----------
    images : array (n, y, x)
    identity : array (n,)
    viewpoint : array (n,)
        Degrees.
    gallery : float
        Viewpoint of the known images; the first one of each person is used.

    Returns
    -------
    DataFrame
        ``viewpoint``, ``accuracy`` (share whose nearest known image, by Euclidean distance, is
        of the same person), ``chance`` and ``images``.
    """
    identity, viewpoint = np.asarray(identity), np.asarray(viewpoint, float)
    flat = np.asarray(images, np.float32).reshape(len(images), -1)
    known = np.flatnonzero(viewpoint == gallery)
    known = known[np.unique(identity[known], return_index=True)[1]]
    if len(known) < 2:
        raise InputError(
            f"nearest neighbours need two or more people seen from {gallery} degrees; "
            f"here are {len(known)}."
        )
    rows = []
    for angle in np.unique(viewpoint[np.isfinite(viewpoint)]):
        here = np.setdiff1d(np.flatnonzero(viewpoint == angle), known)
        here = here[np.isin(identity[here], identity[known])]
        if len(here) == 0:
            continue
        # |a - b|^2 without the term that does not depend on the known image.
        distance = (flat[known] ** 2).sum(axis=1) - 2 * flat[here] @ flat[known].T
        found = identity[known][distance.argmin(axis=1)]
        rows.append((angle, (found == identity[here]).mean(), 1 / len(known), len(here)))
    return pd.DataFrame(rows, columns=["viewpoint", "accuracy", "chance", "images"])


def scalar_cues(images, background=None):
    """Summaries of an image that should carry no gender.

    Parameters
    ----------
    images : array (n, y, x)
        Grey levels.
    background : array of bool (n, y, x), optional
        Where no person is seen. Without it, the level of the two upper corners stands for the
        background, and the size and height of the head are left out.

    Returns
    -------
    DataFrame
        ``brightness`` (mean grey level), ``contrast`` (standard deviation), ``background``
        (mean level) and, with ``background``, ``area`` (share of pixels covered), ``top`` (first
        row covered) and ``width`` (widest row of the upper three quarters), as shares of the side.
    """
    images = np.asarray(images, float)
    height, width = images.shape[1:]
    table = pd.DataFrame(
        {"brightness": images.mean(axis=(1, 2)), "contrast": images.std(axis=(1, 2))}
    )
    if background is None:
        corner = max(height // 16, 1)
        top = images[:, :corner]
        table["background"] = np.concatenate(
            [top[:, :, :corner], top[:, :, -corner:]], axis=2
        ).mean(axis=(1, 2))
        return table
    background = np.asarray(background, bool)
    covered = ~background
    table["background"] = (images * background).sum(axis=(1, 2)) / background.sum(axis=(1, 2))
    table["area"] = covered.mean(axis=(1, 2))
    table["top"] = covered.any(axis=2).argmax(axis=1) / height
    table["width"] = covered[:, : height * 3 // 4].sum(axis=2).max(axis=1) / width
    return table


def check_shortcuts(images, gender, identity, viewpoint, *, background=None, seed=0, draws=20):
    """All checks of this module on one set, as a table.

    Parameters
    ----------
    images : array (n, y, x) of uint8
        56 to 112 pixels a side are plenty.
    gender, identity, viewpoint : array (n,)
    background : array of bool (n, y, x), optional
        As in `scalar_cues`; needed for the cues of head size.
    seed, draws : int
        Of the folds, and number of random deals of gender.

    Returns
    -------
    DataFrame
        ``check``, ``what`` (detail), ``value``, ``chance`` (what luck gives), ``limit`` (highest
        allowed value, NaN where the number only informs) and ``passed``.
    """
    images = np.asarray(images)
    gender, identity = np.asarray(gender), np.asarray(identity)
    viewpoint = np.asarray(viewpoint, float)
    front = np.flatnonzero(viewpoint == 0)
    if not len(front):
        raise InputError("the shortcut checks need frontal images: none has viewpoint 0.")
    faces, sex, who = images[front], gender[front], identity[front]
    majority = pd.Series(sex).value_counts(normalize=True).max()
    rows = []

    accuracy, chosen = pixel_accuracy(faces, sex, who, seed=seed)
    lucky = np.quantile(shuffled_maximum(faces, sex, who, draws=draws, seed=seed), 0.95)
    y, x = np.unravel_index(accuracy.argmax(), accuracy.shape)
    rows.append(("best pixel", f"row {y}, column {x}", accuracy.max(), lucky, PIXEL_LIMIT))
    rows.append(("pixel chosen in training", "", chosen, majority, PIXEL_LIMIT))
    turned = {}
    for view in np.unique(viewpoint[viewpoint != 0]):
        there = viewpoint == view
        turned[view] = best_pixel(images[there], gender[there], identity[there], seed=seed)[0]
    if turned:
        worst = max(turned, key=turned.get)
        rows.append(
            ("best pixel, turned", f"{worst:+.0f} degrees", turned[worst], lucky, PIXEL_LIMIT)
        )

    cues = scalar_cues(faces, None if background is None else np.asarray(background)[front])
    for name in cues:
        score = pixel_accuracy(cues[[name]].to_numpy()[:, None], sex, who, seed=seed)[1]
        rows.append(("scalar cue", name, score, majority, PIXEL_LIMIT))
    collar = faces[:, -max(faces.shape[1] // 8, 1) :]
    rows.append(
        (
            "collar",
            "lowest eighth",
            probe_accuracy(collar, sex, who, components=10, seed=seed),
            majority,
            PIXEL_LIMIT,
        )
    )

    for row in neighbour_accuracy(images, identity, viewpoint).itertuples(index=False):
        limit = NEIGHBOUR_LIMIT if abs(row.viewpoint) == 45 else np.nan
        rows.append(
            ("nearest neighbour", f"{row.viewpoint:+.0f} degrees", row.accuracy, row.chance, limit)
        )
    rows.append(
        (
            "linear gender probe",
            "frontal",
            probe_accuracy(faces, sex, who, seed=seed),
            majority,
            np.nan,
        )
    )
    rows.append(
        (
            "linear gender probe",
            "all views",
            probe_accuracy(images, gender, identity, seed=seed),
            pd.Series(gender).value_counts(normalize=True).max(),
            np.nan,
        )
    )
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    table["passed"] = ~(table["value"] > table["limit"])
    return table
