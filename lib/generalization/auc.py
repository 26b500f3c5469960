"""Area under accuracy against the percentage of pixels masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy import integrate, stats

from lib.errors import InputError

Axis = Literal["log10", "linear"]
Ends = Literal["printed", "all"]


def area_under_curve(
    levels: np.ndarray, accuracy: np.ndarray, axis: Axis = "log10", ends: Ends = "printed"
) -> np.ndarray:
    """Trapezoid over the level axis, divided by the length of that axis.

    The result is the mean height of the curve, so a constant accuracy gives itself whatever the
    axis, and areas over different axes are on one scale. The paper names neither axis nor rule.

    Parameters
    ----------
    levels : (n_levels,) array
        Percentage of pixels masked, 0 to 100, no value twice; any order.
    accuracy : (..., n_levels) array
        0 to 1.
    axis : {"log10", "linear"}
    ends : {"printed", "all"}
        ``printed`` keeps the levels strictly between 0 and 100, as in the paper's figure. ``all``
        takes the end points in: both on the linear axis; 100 only on the log axis. **Level 0 never
        enters the log axis**: it has no logarithm, and any number put in its place would decide
        how much the unmasked accuracy weighs. It is the same for every source of a destination,
        so leaving it out changes no comparison between sources.

    Returns
    -------
    (...) float array, 0 to 1

    Raises
    ------
    InputError
        Unknown ``axis`` or ``ends``, levels out of range or given twice, missing accuracies, or
        fewer than two levels left on the axis.
    """
    if axis not in ("log10", "linear"):
        raise InputError(f"axis = {axis!r} is refused; use 'log10' or 'linear'.")
    if ends not in ("printed", "all"):
        raise InputError(f"ends = {ends!r} is refused; use 'printed' or 'all'.")
    levels = np.asarray(levels, float)
    accuracy = np.asarray(accuracy, float)
    if levels.ndim != 1 or accuracy.shape[-1:] != levels.shape:
        raise InputError(
            f"{levels.size} levels do not fit accuracies of shape {accuracy.shape}; "
            "the last axis of the accuracies runs over levels."
        )
    if not ((levels >= 0) & (levels <= 100)).all():
        raise InputError("Levels are percentages of pixels masked, 0 to 100.")
    if len(np.unique(levels)) != len(levels):
        raise InputError("A level is given twice; give each level once.")
    if np.isnan(accuracy).any():
        raise InputError(
            "An accuracy is missing (NaN) in a curve; drop the curve or mend chapter 04."
        )
    keep = np.ones(len(levels), bool)
    if ends == "printed":
        keep &= (levels > 0) & (levels < 100)
    if axis == "log10":
        keep &= levels > 0
    if keep.sum() < 2:
        raise InputError(
            f"{int(keep.sum())} of the levels {', '.join(f'{v:g}' for v in levels)} can be used on "
            f"the {axis} axis with ends = {ends!r}; an area needs two."
        )
    order = np.argsort(levels[keep])
    x = levels[keep][order]
    x = np.log10(x) if axis == "log10" else x
    return integrate.trapezoid(accuracy[..., keep][..., order], x) / (x[-1] - x[0])


def compute_auc(curves: pd.DataFrame, axis: Axis = "log10", ends: Ends = "printed") -> pd.DataFrame:
    """Area of every curve in a table.

    Parameters
    ----------
    curves : DataFrame
        ``level``, ``accuracy``, and columns that tell one curve from another, e.g. from
        :func:`lib.generalization.compute_expectation`. ``sd`` and ``draws`` are passed over.
    axis, ends
        See :func:`area_under_curve`.

    Returns
    -------
    DataFrame
        One row per curve: its columns and ``auc`` (0 to 1).

    Raises
    ------
    InputError
        As :func:`area_under_curve`, and for a curve that lacks a level the others have.
    """
    keys = [c for c in curves.columns if c not in ("level", "accuracy", "sd", "draws")]
    if not {"level", "accuracy"} <= set(curves.columns) or not keys:
        raise InputError("Curves need the columns level, accuracy and one that names the curve.")
    if curves.duplicated([*keys, "level"]).any():
        raise InputError(
            "A curve has one level twice; average first, or add the column that tells them apart."
        )
    # not pivot_table, which drops curves named NaN (a baseline has no source)
    wide = curves.set_index([*keys, "level"])["accuracy"].unstack("level")  # noqa: PD010
    short = wide.isna().any(axis=1)
    if short.any():
        name = wide.index[short][0]
        lost = wide.columns[wide.loc[short].iloc[0].isna()]
        name = " ".join(map(str, name)) if isinstance(name, tuple) else str(name)
        raise InputError(
            f"The curve of {name} has no accuracy at level {', '.join(f'{v:g}' for v in lost)}; "
            "drop that curve, or score it at every level."
        )
    area = area_under_curve(wide.columns.to_numpy(float), wide.to_numpy(float), axis, ends)
    return wide.index.to_frame(index=False).assign(auc=area)


def _summarise(table: pd.DataFrame, value: str, by: Sequence[str], confidence: float):
    grouped = table.groupby(list(by), sort=True, observed=True)[value]
    result = grouped.agg(["mean", "std", "count"]).reset_index()
    n = result["count"]
    half = stats.t.ppf((1 + confidence) / 2, (n - 1).clip(lower=1)) * result["std"] / np.sqrt(n)
    # one model has no spread: its interval is unknown, not zero
    result["low"], result["high"] = result["mean"] - half, result["mean"] + half
    return result.rename(columns={"mean": value, "count": "n_models"}).drop(columns="std")


def summarise_curves(
    curves: pd.DataFrame, by: Sequence[str], confidence: float = 0.95
) -> pd.DataFrame:
    """Mean accuracy per level with a t interval over models.

    Parameters
    ----------
    curves : DataFrame
        ``level``, ``accuracy`` and the columns of ``by``; one row per destination model.
    by : sequence of str
        Columns that make a line of the figure, without ``level``.
    confidence : float
        0 to 1.

    Returns
    -------
    DataFrame
        ``by``, ``level``, ``accuracy`` (mean), ``n_models``, ``low``, ``high`` (NaN with a
        single model).
    """
    return _summarise(curves, "accuracy", [*by, "level"], confidence)


def summarise_auc(auc: pd.DataFrame, by: Sequence[str], confidence: float = 0.95) -> pd.DataFrame:
    """Mean area with a t interval over models; columns as of :func:`summarise_curves`."""
    return _summarise(auc, "auc", by, confidence)
