"""Linear probes: who is it, from a trunk's features, when only other views were seen?

A ridge classifier on the flattened last pooling layer learns the people of the study set from
views near the front and is asked about views further round. All trunks get one protocol, and the
strength of the penalty is chosen for each of them on the training views alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lib.errors import InputError

#: Views trained on and views asked about, degrees of yaw.
TRAINED, ASKED = (-15.0, 0.0, 15.0), (-45.0, 45.0)
#: Penalties tried, as shares of the kernel's mean diagonal.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def _standardise(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Centred on the training rows, each feature scaled by its spread over them."""
    values = features.reshape(len(features), -1).astype(np.float64)
    values = values - values[rows].mean(0)
    spread = values[rows].std(0)
    # A feature that hardly ever moves would be blown up to the size of the others.
    floor = 0.1 * np.sqrt(np.mean(spread**2))
    return values / np.maximum(spread, floor if floor > 0 else 1.0)


def _answers(kernel, labels, train, test, penalty) -> np.ndarray:
    """Classes of the test rows by kernel ridge regression on indicator targets."""
    classes = np.unique(labels[train])
    targets = (labels[train][:, None] == classes).astype(float)
    centre = targets.mean(0)
    inner = kernel[np.ix_(train, train)]
    ridge = penalty * np.trace(inner) / len(train)
    weights = np.linalg.solve(inner + ridge * np.eye(len(train)), targets - centre)
    return classes[np.argmax(kernel[np.ix_(test, train)] @ weights + centre, axis=1)]


def probe_identity(
    features: np.ndarray,
    identity: Sequence,
    view: Sequence[float],
    *,
    trained: Sequence[float] = TRAINED,
    asked: Sequence[float] = ASKED,
) -> pd.DataFrame:
    """Accuracy of a linear probe on views it was not trained on.

    Parameters
    ----------
    features : ndarray, (n, ...)
        Of one trunk; flattened here.
    identity : sequence, (n,)
    view : sequence of float, (n,)
        Degrees of yaw.
    trained, asked : sequence of float
        Views.

    Returns
    -------
    DataFrame
        ``view``, ``images``, ``accuracy`` (share correct), ``penalty`` (the one chosen).

    Raises
    ------
    InputError
        A view that no image has, or fewer than two views or people to train on.
    """
    labels = np.unique(np.asarray(identity), return_inverse=True)[1]
    view = np.asarray(view, float)
    missing = sorted({float(v) for v in (*trained, *asked)} - set(view.tolist()))
    if missing:
        raise InputError(f"No image has the views {missing} degrees; name others for the probe.")
    if len(trained) < 2 or labels.max() < 1:
        raise InputError("A probe needs two views and two people to train on.")
    train = np.flatnonzero(np.isin(view, trained))
    values = _standardise(features, train)
    kernel = values @ values.T / values.shape[1]
    # Each training view in turn is the question: the penalty that does best on them is taken.
    scores = []
    for penalty in PENALTIES:
        right = [
            _answers(kernel, labels, train[view[train] != v], rows, penalty) == labels[rows]
            for v in trained
            for rows in [train[view[train] == v]]
        ]
        scores.append(np.concatenate(right).mean())
    # Of equally good ones the strongest.
    best = max(range(len(PENALTIES)), key=lambda k: (scores[k], PENALTIES[k]))
    penalty = PENALTIES[best]
    table = []
    for v in asked:
        rows = np.flatnonzero(view == v)
        right = _answers(kernel, labels, train, rows, penalty) == labels[rows]
        table.append({"view": v, "images": rows.size, "accuracy": right.mean(), "penalty": penalty})
    return pd.DataFrame(table)


def probe_trunks(
    features: Mapping[str, np.ndarray], identity: Sequence, view: Sequence[float], **views
) -> pd.DataFrame:
    """:func:`probe_identity` for several trunks: a column ``trunk`` in front, ``chance`` at the
    end."""
    tables = [
        probe_identity(values, identity, view, **views).assign(trunk=name)
        for name, values in features.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    table["chance"] = 1 / len(set(identity))
    return table[["trunk", "view", "images", "accuracy", "chance", "penalty"]]
