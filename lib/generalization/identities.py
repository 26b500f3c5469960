"""Faces and networks both random: a mixed-effects model of areas per identity.

The analyses of variance take the faces for granted: their error is the spread of networks, and
nothing says how the result would change with other faces. Here every contrast (a difference of two
bins, or of two pretrainings) is modelled per identity *and* network,

    d[i, j] = mu + identity[i] + network[j] + e[i, j],

with crossed random effects of identity and network. Working on the differences is the same as
giving every factor a random slope for identity and for network (the maximal random-effects
structure of Barr, Levy, Scheepers and Tily 2013), and needs no sphericity.

Why a linear model of areas, and not a logistic one of single trials: the levels of one curve are
the same face losing more and more pixels, so its trials are anything but independent given the
face; and statsmodels offers the logistic model by variational Bayes only, whose standard errors are
too small. An area per identity is a mean of several levels and sources, and mu a mean over hundreds
of these.

The table is balanced (every network sees every face), so restricted maximum likelihood has a
closed form: mean squares, with those that fall below the residual pooled into it (Searle, Casella
and McCulloch 1992, chapter 4). It is written out here because pingouin has no mixed-effects model,
and ``statsmodels.MixedLM``, which gives the same numbers (tested), needs seconds per contrast, does
not converge when a variance is zero, and has no degrees of freedom for a t-test; here they are
Satterthwaite's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lib.errors import InputError
from lib.generalization.anova import INITIALISATION_BINS, ROUNDING, check_auc
from lib.generalization.bins import DESTINATION, family_of
from lib.multiplicity import correct_holm

#: Differences of bins (second less first) that the paper speaks about.
CONTRASTS = (
    ("same_instance", "other_initialisation"),
    ("same_instance", "other_task"),
    ("same_instance", "other_pretraining"),
    ("same_instance", "other_both"),
    ("other_pretraining", "other_both"),
)
COLUMNS = ["estimate", "se", "df", "t", "p", "low", "high"]
COLUMNS += ["sd_identity", "sd_network", "sd_residual"]


def _pool(squares: dict[str, list[float]]) -> dict[str, list[float]]:
    """Pool (sum of squares, df) of a random effect below the residual: variance zero in REML."""
    while True:
        residual = squares["residual"]
        low = [
            name
            for name in ("identity", "network")
            if squares[name] is not residual
            and squares[name][0] * residual[1] < residual[0] * squares[name][1]
        ]
        if not low:
            return squares
        # the smallest first: pooling it raises or lowers the bar for the other
        worst = min(low, key=lambda name: squares[name][0] / squares[name][1])
        pooled = [residual[0] + squares[worst][0], residual[1] + squares[worst][1]]
        merged = [n for n in squares if squares[n] is residual] + [worst]
        squares = squares | dict.fromkeys(merged, pooled)


def fit_crossed(groups: Sequence[np.ndarray], confidence: float = 0.95) -> dict[str, float]:
    """Mean of one balanced table, or difference of two, with crossed random effects (REML).

    Parameters
    ----------
    groups : one or two (n_identities, n_networks) arrays
        One: differences d[i, j]; the estimate is their mean. Two: areas of the same identities
        under two pretrainings, each with its own networks; the estimate is the mean of the second
        less that of the first, and identities have a random slope.
    confidence : float
        Of the interval of the estimate.

    Returns
    -------
    dict
        ``estimate, se, df`` (Satterthwaite), ``t, p, low, high`` and the standard deviations
        ``sd_identity, sd_network, sd_residual`` of the random effects (for two groups
        ``sd_identity`` is that of identity x pretraining, per pretraining). NaN but for the
        estimate where nothing varies.

    Raises
    ------
    InputError
        Fewer than two identities or networks, or tables that are not of one shape.
    """
    groups = [np.asarray(g, float) for g in groups]
    if len(groups) not in (1, 2) or any(g.ndim != 2 or g.shape != groups[0].shape for g in groups):
        raise InputError("The model takes one or two tables (identities x networks) of one shape.")
    n, m = groups[0].shape
    if min(n, m) < 2:
        raise InputError(f"{n} identities and {m} networks: the model needs two of each.")
    k = len(groups)
    estimate = float(groups[-1].mean() - (groups[0].mean() if k == 2 else 0.0))
    result = dict.fromkeys(COLUMNS, np.nan) | {"estimate": estimate}
    if max(np.ptp(g) for g in groups) < ROUNDING:
        return result
    # rows of the difference carry the slope of identities; its variance is k times theirs
    rows = groups[-1].mean(1) - (groups[0].mean(1) if k == 2 else 0.0)
    residuals = [g - g.mean(1, keepdims=True) - g.mean(0) + g.mean() for g in groups]
    squares = {
        "identity": [m / k * ((rows - rows.mean()) ** 2).sum(), n - 1],
        "network": [n * sum(((g.mean(0) - g.mean()) ** 2).sum() for g in groups), k * (m - 1)],
        "residual": [sum((r**2).sum() for r in residuals), k * (n - 1) * (m - 1)],
    }
    squares = _pool(squares)
    mean = {name: s / df for name, (s, df) in squares.items()}
    # distinct mean squares only: pooled ones are one, with one df
    parts = {id(squares[name]): [0.0, squares[name]] for name in squares}
    for name, sign in (("identity", 1), ("network", 1), ("residual", -1)):
        parts[id(squares[name])][0] += sign
    variance = sum(sign * s / df for sign, (s, df) in parts.values())
    df = variance**2 / sum((sign * s / d) ** 2 / d for sign, (s, d) in parts.values() if sign)
    se = np.sqrt(k * variance / (n * m))
    t = estimate / se
    half = stats.t.ppf((1 + confidence) / 2, df) * se
    return result | {
        "se": se,
        "df": df,
        "t": t,
        "p": 2 * stats.t.sf(abs(t), df),
        "low": estimate - half,
        "high": estimate + half,
        "sd_identity": _root((mean["identity"] - mean["residual"]) / m),
        "sd_network": _root((mean["network"] - mean["residual"]) / n),
        "sd_residual": np.sqrt(mean["residual"]),
    }


def _cube(part: pd.DataFrame, bins: Sequence[str]) -> pd.DataFrame | None:
    """Identities x networks, mean over ``bins``; None unless every network has every bin."""
    lost = set(bins) - set(part["bin"])
    if lost:
        return None
    table = part.loc[part["bin"].isin(bins)]
    names = table[DESTINATION].astype(str).agg("/".join, axis=1)
    table = table.assign(network=names)
    # a network without one of the bins must not enter with the mean of the others
    complete = table.groupby("network")["bin"].nunique() == len(bins)
    table = table.loc[table["network"].map(complete)]
    wide = table.pivot_table(index="identity", columns="network", values="auc")
    return wide.dropna(axis=1, how="any")


def compute_identity_model(
    auc: pd.DataFrame,
    contrasts: Sequence[tuple[str, str]] = CONTRASTS,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Mixed-effects model over identities of every contrast the paper speaks about.

    Parameters
    ----------
    auc : DataFrame
        Areas per identity: ``compute_auc(compute_expectation(scores, by_identity=True))``, one mask
        and fill.
    contrasts : sequence of (first, second)
        Bins; the estimate is the area of the second less that of the first.
    confidence : float

    Returns
    -------
    DataFrame
        Per destination type and contrast, then per task and pair of pretrainings (contrast
        ``pretraining``, areas averaged over same and other initialisation): ``task``,
        ``pretraining``, ``contrast``, the columns of :func:`fit_crossed`, ``p_holm`` (over the
        contrasts of one destination type, or the pairs of one task), ``n_identities``,
        ``n_networks`` (per group), ``note``.

    Raises
    ------
    InputError
        No column ``identity``; else as :func:`lib.generalization.anova.check_auc`.
    """
    if "identity" not in auc.columns:
        raise InputError(
            "The areas are averaged over identities; use compute_expectation(by_identity=True)."
        )
    auc = check_auc(auc)
    rows = []
    for (pretraining, task), part in auc.groupby(DESTINATION[:2], sort=True):
        found = []
        for first, second in contrasts:
            row = {"task": task, "pretraining": pretraining, "contrast": f"{second} - {first}"}
            a, b = _cube(part, [first]), _cube(part, [second])
            if a is None or b is None:
                found.append(row | {"note": "no source in a bin of this contrast"})
                continue
            d = (b - a).dropna(axis=1, how="any")
            found.append(row | _fit([d.to_numpy()], confidence))
        rows += _holm(found)
    for task, part in auc.groupby("destination_task", sort=True):
        rows += _holm(_pretraining_contrasts(task, part, confidence))
    columns = ["task", "pretraining", "contrast", *COLUMNS, "p_holm", "n_identities"]
    return pd.DataFrame(rows).reindex(columns=[*columns, "n_networks", "note"])


def _pretraining_contrasts(task: str, part: pd.DataFrame, confidence: float) -> list[dict]:
    names = sorted(set(part["destination_pretraining"]))
    bins = [b for b in INITIALISATION_BINS if b in set(part["bin"])]
    found = []
    for first, second in itertools.combinations(names, 2):
        if family_of(first) == family_of(second):
            continue
        row = {"task": task, "pretraining": f"{second} - {first}", "contrast": "pretraining"}
        cubes = [
            _cube(part.loc[part["destination_pretraining"] == name], bins)
            for name in (first, second)
        ]
        if not bins or any(c is None for c in cubes):
            found.append(row | {"note": "no source in a bin of this contrast"})
            continue
        networks = min(c.shape[1] for c in cubes)
        if any(c.shape[1] != networks for c in cubes):
            # equal numbers keep the closed form; the first networks by name, so the same every time
            row["note"] = f"the first {networks} networks of each pretraining"
        groups = [c.to_numpy()[:, :networks] for c in cubes]
        found.append(row | _fit(groups, confidence, row.get("note", "")))
    return found


def _fit(groups: list[np.ndarray], confidence: float, note: str = "") -> dict:
    n, m = groups[0].shape
    sizes = {"n_identities": n, "n_networks": m, "note": note}
    if min(n, m) < 2:
        return sizes | {"note": f"{n} identities and {m} networks: needs two of each"}
    fitted = fit_crossed(groups, confidence)
    if np.isnan(fitted["se"]):
        sizes["note"] = "all areas are equal: no variance to analyse"
    return sizes | fitted


def _root(variance):
    """A standard deviation; not a number where the estimate of the variance is below zero."""
    return np.sqrt(variance) if variance >= 0 else np.nan


def _holm(rows: list[dict]) -> list[dict]:
    p = np.array([r.get("p", np.nan) for r in rows], float)
    return [{**r, "p_holm": h} for r, h in zip(rows, correct_holm(p), strict=True)]
