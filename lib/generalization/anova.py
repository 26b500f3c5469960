"""Analyses of variance of the areas, in the printed form and in the form the design demands.

The paper calls its tests repeated-measures but prints the degrees of freedom of a
*between-subjects* design: F(1, 16) is 20 areas less 4 cells, though each of 10 networks gave two of
the 20. Both forms are computed, under the names ``printed`` and ``design``:

=====================================  ================  ======================================
analysis                               printed           design
=====================================  ================  ======================================
pretraining x source, per task         F(1, 16)          mixed, F(1, 8)
four sources, per destination type     F(3, 16)          repeated measures, F(3, 12)
pairs of sources                       Tukey HSD         paired t, Holm
=====================================  ================  ======================================

What cannot be computed (one initialisation, an empty bin, areas without variance) is a row of NaN
whose ``note`` says why; only a malformed table raises.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pingouin as pg
from scipy import optimize, stats

from lib.errors import InputError
from lib.generalization.bins import CONDITION, DESTINATION, family_of
from lib.multiplicity import correct_holm

#: Bins of the test of the initialisation (Figure 5) and of the four sources (Figure 6).
INITIALISATION_BINS = ("same_instance", "other_initialisation")
SOURCE_BINS = ("same_instance", "other_task", "other_pretraining", "other_both")
#: Differences below this are rounding, not variance (areas lie in 0 to 1).
ROUNDING = 1e-10
#: Spread below this share of the largest area is a near tie, not variance. Accuracies move in steps
#: of a face and levels lie half a decade apart, so that areas of two networks that differ at other
#: levels may agree to 1e-6 by chance; one step of one source of a hundred faces is 1e-4 and more.
NEAR_TIE = 5e-5

COLUMNS = ["task", "pretraining", "form", "effect", "F", "df1", "df2", "p", "epsilon", "p_GG"]
COLUMNS += ["np2", "np2_low", "np2_high", "ng2", "n_models", "n_areas", "note"]


def partial_eta_squared_interval(
    F: float, df1: float, df2: float, confidence: float = 0.90
) -> tuple[float, float]:
    """Confidence interval of partial eta squared by the noncentral F distribution.

    The limits of the noncentrality L are those under which the observed F is at the upper and the
    lower (1 - confidence) / 2 quantile; eta_p^2 = L / (L + df1 + df2 + 1) (Smithson 2001; Steiger
    2004). Exact for between-subjects effects; for within-subjects effects it takes sphericity for
    granted. 0.90 is customary, because it excludes zero exactly when p < .05.

    Parameters
    ----------
    F : float
        At least 0.
    df1, df2 : float
        Degrees of freedom of effect and error, above 0.
    confidence : float
        Above 0, below 1.

    Returns
    -------
    (low, high) : floats in 0 to 1; (NaN, NaN) where F is not finite
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence = {confidence} is refused; it lies between 0 and 1.")
    if not np.isfinite(F):
        return np.nan, np.nan
    if F > 1e8:
        # beyond what the noncentral F can be computed for; both limits are 1 to six decimals
        return 1.0, 1.0

    def limit(probability: float) -> float:
        def excess(noncentrality: float) -> float:
            return stats.ncf.cdf(F, df1, df2, noncentrality) - probability

        if stats.f.cdf(F, df1, df2) <= probability:
            return 0.0
        top = 10.0 + F * df1
        while excess(top) > 0:
            top *= 2
        return optimize.brentq(excess, 0.0, top, xtol=1e-10, rtol=1e-12)

    tail = (1 - confidence) / 2
    low, high = limit(1 - tail), limit(tail)
    size = df1 + df2 + 1
    return low / (low + size), high / (high + size)


def _scatter(values: pd.Series, by: list[pd.Series]) -> float:
    """Sum of squares about the means of the groups."""
    return float(((values - values.groupby(by).transform("mean")) ** 2).sum())


def _largest(table: pd.DataFrame) -> float:
    """Largest area, against which a near tie is one."""
    return float(table["auc"].abs().max())


def _effect(
    where: dict,
    effect: str,
    test: tuple[float, float],
    df: tuple[float, float],
    error: tuple[float, float],
    confidence: float,
    **more,
) -> dict:
    """One row of a table of tests: ``test`` is (F, p), ``error`` (sum of squares, largest area)."""
    F, p = test
    row = {**where, "effect": effect, "df1": df[0], "df2": df[1]}
    squares, largest = error
    near = df[1] > 0 and np.sqrt(squares / df[1]) < NEAR_TIE * largest
    if squares < ROUNDING**2 or near or not np.isfinite(F):
        # F would be a ratio to a rounding error, or to how nearly steps of a face tie
        why = "networks do not vary in what this test compares: no error term"
        if squares >= ROUNDING**2 and near:
            why += f" (a near tie, within {np.sqrt(squares / df[1]):.0e})"
        return row | {"note": "; ".join(filter(None, [where.get("note"), why]))}
    low, high = partial_eta_squared_interval(F, *df, confidence)
    np2 = F * df[0] / (F * df[0] + df[1])
    return row | {"F": F, "p": p, "np2": np2, "np2_low": low, "np2_high": high, **more}


def _table(rows: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    table["note"] = table["note"].fillna("")
    numbers = [c for c in COLUMNS if c not in ("task", "pretraining", "form", "effect", "note")]
    table[numbers] = table[numbers].astype(float)
    return table


def check_auc(auc: pd.DataFrame) -> pd.DataFrame:
    """Areas fit for a test: the columns of :func:`lib.generalization.compute_auc`, one condition.

    Raises
    ------
    InputError
        Missing columns or areas, several masks or fills at once, or a destination and bin twice.
    """
    missing = [c for c in [*DESTINATION, "bin", "auc"] if c not in auc.columns]
    if missing:
        raise InputError(f"The table of areas has no column {', '.join(missing)}; use compute_auc.")
    for name in CONDITION:
        if name in auc.columns and len(auc[name].unique()) > 1:
            raise InputError(
                f"The table of areas holds several values of {name} "
                f"({', '.join(map(str, auc[name].unique()))}); keep one, then test."
            )
    if auc["auc"].isna().any():
        row = auc.loc[auc["auc"].isna()].iloc[0]
        raise InputError(
            f"The area of {' '.join(str(row[c]) for c in DESTINATION)}, bin {row['bin']}, is NaN; "
            "drop that destination."
        )
    keys = [*DESTINATION, "bin", *(["identity"] if "identity" in auc.columns else [])]
    if auc.duplicated(keys).any():
        raise InputError(
            "The table of areas has a destination and bin twice; keep one row of each."
        )
    return auc


def _wide(auc: pd.DataFrame, bins: Sequence[str]) -> pd.DataFrame:
    """Destinations x bins, only the destinations that have every bin (listwise)."""
    table = auc.loc[auc["bin"].isin(bins)]
    wide = table.pivot_table(index=DESTINATION, columns="bin", values="auc", observed=True)
    return wide.reindex(columns=list(bins)).dropna()


def _long(wide: pd.DataFrame) -> pd.DataFrame:
    long = wide.reset_index().melt(DESTINATION, var_name="source", value_name="auc")
    long["model"] = long[DESTINATION].astype(str).agg("/".join, axis=1)
    long["pretraining"] = long["destination_pretraining"].map(family_of)
    return long


def _left_out(total: int, used: int) -> str:
    return f"{total - used} of {total} models lack a bin and are left out" if used < total else ""


def _empty_bins(auc: pd.DataFrame, bins: Sequence[str]) -> str:
    lost = [b for b in bins if b not in set(auc["bin"])]
    return f"no source in bin {', '.join(lost)}" if lost else ""


def compute_initialisation_anova(auc: pd.DataFrame, confidence: float = 0.90) -> pd.DataFrame:
    """Pretraining x source (same or other initialisation), per task [paper, Figure 5].

    Parameters
    ----------
    auc : DataFrame
        From :func:`lib.generalization.compute_auc`, one mask and fill. Pretraining is that of the
        destination; training seeds of one pretraining (``synthface``, ``synthface-2``) are pooled.
    confidence : float
        Of the interval of partial eta squared.

    Returns
    -------
    DataFrame
        Per task, form (``printed``, ``design``) and effect (``pretraining``, ``source``,
        ``interaction``): ``F, df1, df2, p``, partial eta squared ``np2`` with ``np2_low`` and
        ``np2_high``, generalized eta squared ``ng2``, ``n_models``, ``n_areas``, ``note``.
    """
    auc = check_auc(auc)
    rows = []
    for task, part in auc.groupby("destination_task", sort=True):
        wide = _wide(part, INITIALISATION_BINS)
        total = part.groupby(DESTINATION).ngroups
        where = {
            "task": task,
            "pretraining": "all",
            "n_models": len(wide),
            "n_areas": 2 * len(wide),
        }
        where["note"] = _left_out(total, len(wide))
        long = _long(wide) if len(wide) else None
        groups = (
            long.groupby("pretraining")["model"].nunique() if len(wide) else pd.Series(dtype=int)
        )
        why = _empty_bins(part, INITIALISATION_BINS)
        if why:
            why += ": train a second initialisation per pretraining and task"
        elif len(groups) < 2:
            why = "one pretraining only: its effect cannot be tested; add models of another"
        elif len(wide) <= len(groups):
            why = "one model per pretraining: no error term; add initialisations"
        elif np.ptp(long["auc"]) < ROUNDING:
            why = "all areas are equal: no variance to analyse"
        if why:
            rows += _nothing(where, ("pretraining", "source", "interaction"), why)
            continue
        rows += _printed_two_way(long, where, confidence)
        rows += _mixed(long, where, confidence)
    return _table(rows)


def _nothing(where: dict, effects: Sequence[str], why: str) -> list[dict]:
    return [
        {**where, "form": form, "effect": effect, "note": why}
        for form in ("printed", "design")
        for effect in effects
    ]


def _printed_two_way(long: pd.DataFrame, where: dict, confidence: float) -> list[dict]:
    with np.errstate(all="ignore"):
        found = pg.anova(long, dv="auc", between=["pretraining", "source"]).set_index("Source")
    names = {"pretraining": "pretraining", "source": "source"}
    names["pretraining * source"] = "interaction"
    df2 = found.loc["Residual", "DF"]
    error = _scatter(long["auc"], [long["pretraining"], long["source"]]), _largest(long)
    rows = []
    for name, effect in names.items():
        # every factor is manipulated between subjects: generalized = partial eta squared
        *test, df1, ng2 = found.loc[name, ["F", "p_unc", "DF", "np2"]]
        form = {**where, "form": "printed"}
        rows.append(_effect(form, effect, test, (df1, df2), error, confidence, ng2=ng2))
    return rows


def _mixed(long: pd.DataFrame, where: dict, confidence: float) -> list[dict]:
    with np.errstate(all="ignore"):
        found = pg.mixed_anova(
            long, dv="auc", between="pretraining", within="source", subject="model", effsize="ng2"
        ).set_index("Source")
    # without any variance pingouin leaves columns out
    found = found.reindex(columns=["F", "p_unc", "DF1", "DF2", "ng2"])
    names = {"pretraining": "pretraining", "source": "source", "Interaction": "interaction"}
    own = long["auc"].groupby(long["model"]).transform("mean")
    between = _scatter(own, [long["pretraining"]])
    within = _scatter(long["auc"] - own, [long["pretraining"], long["source"]])
    rows = []
    for name, effect in names.items():
        *test, df1, df2, ng2 = found.loc[name]
        form = {**where, "form": "design"}
        error = (between if effect == "pretraining" else within), _largest(long)
        rows.append(_effect(form, effect, test, (df1, df2), error, confidence, ng2=ng2))
    return rows


def compute_source_anova(
    auc: pd.DataFrame, bins: Sequence[str] = SOURCE_BINS, confidence: float = 0.90
) -> pd.DataFrame:
    """Effect of the source on the areas of one destination type [paper, Figure 6].

    Parameters
    ----------
    auc : DataFrame
        As for :func:`compute_initialisation_anova`.
    bins : sequence of str
        Sources compared: same instance, other task, other pretraining, both other.
    confidence : float

    Returns
    -------
    DataFrame
        Per destination type (``task``, ``pretraining``) and form, columns as of
        :func:`compute_initialisation_anova`; in the form ``design`` also the Greenhouse-Geisser
        ``epsilon`` and ``p_GG``.
    """
    auc = check_auc(auc)
    rows = []
    for (pretraining, task), part in auc.groupby(DESTINATION[:2], sort=True):
        wide = _wide(part, bins)
        total = part.groupby(DESTINATION).ngroups
        where = {"task": task, "pretraining": pretraining, "n_models": len(wide)}
        where |= {"n_areas": wide.size, "note": _left_out(total, len(wide))}
        why = _empty_bins(part, bins)
        if why:
            why += ": these sources cannot be compared"
        elif len(wide) < 2:
            why = f"{len(wide)} model with every bin: an error term needs two initialisations"
        elif np.ptp(wide.to_numpy()) < ROUNDING:
            why = "all areas are equal: no variance to analyse"
        if why:
            rows += _nothing(where, ("source",), why)
            continue
        long = _long(wide)
        with np.errstate(all="ignore"):
            between = pg.anova(long, dv="auc", between="source", detailed=True)
            within = pg.rm_anova(
                long, dv="auc", within="source", subject="model", correction=True, effsize="ng2"
            )
        *test, df1, ng2 = between.loc[0, ["F", "p_unc", "DF", "np2"]]
        df = (df1, between.loc[1, "DF"])
        error = _scatter(long["auc"], [long["source"]]), _largest(long)
        form = {**where, "form": "printed"}
        rows.append(_effect(form, "source", test, df, error, confidence, ng2=ng2))
        # two levels are always spherical: pingouin then gives no corrected p
        names = ["F", "p_unc", "ddof1", "ddof2", "ng2", "eps", "p_GG_corr"]
        *test, df1, df2, ng2, epsilon, p_gg = within.reindex(columns=names).loc[0]
        own = long["auc"].groupby(long["model"]).transform("mean")
        error = _scatter(long["auc"] - own, [long["source"]]), _largest(long)
        form = {**where, "form": "design"}
        more = {"ng2": ng2, "epsilon": epsilon, "p_GG": p_gg}
        rows.append(_effect(form, "source", test, (df1, df2), error, confidence, **more))
    return _table(rows)


def compute_pairwise(
    auc: pd.DataFrame, bins: Sequence[str] = SOURCE_BINS, confidence: float = 0.95
) -> pd.DataFrame:
    """Pairs of sources of each destination type: Tukey HSD (printed form) and paired t with Holm.

    The paper does not name its correction; Tukey's fits the printed "all ps > .92".

    Parameters
    ----------
    auc : DataFrame
        As for :func:`compute_initialisation_anova`.
    bins : sequence of str
        In order; a pair is (earlier, later).
    confidence : float
        Of the interval of the paired difference, not adjusted for the number of pairs.

    Returns
    -------
    DataFrame
        Per destination type and pair: ``first``, ``second``, ``difference`` (area of the second
        less the first), ``p_tukey``, ``t``, ``df``, ``p`` (paired), ``p_holm`` over the pairs of
        the type, ``low``, ``high``, ``dz`` (difference over its standard deviation), ``n_models``,
        ``note``. Without variance in the differences, or with a near tie, t, p and dz are NaN.
    """
    auc = check_auc(auc)
    rows = []
    for (pretraining, task), part in auc.groupby(DESTINATION[:2], sort=True):
        wide = _wide(part, [b for b in bins if b in set(part["bin"])])
        where = {"task": task, "pretraining": pretraining, "n_models": len(wide)}
        tukey = _tukey(wide)
        found = []
        for first, second in itertools.combinations(bins, 2):
            row = {**where, "first": first, "second": second, "note": ""}
            found.append(row)
            if first not in wide or second not in wide:
                row["note"] = _empty_bins(part, (first, second))
                continue
            row |= _paired(wide[first], wide[second], confidence)
            row["p_tukey"] = tukey.get(frozenset((first, second)), np.nan)
        p = np.array([r.get("p", np.nan) for r in found], float)
        rows += [{**r, "p_holm": h} for r, h in zip(found, correct_holm(p), strict=True)]
    columns = ["task", "pretraining", "first", "second", "difference", "p_tukey", "t", "df", "p"]
    columns += ["p_holm", "low", "high", "dz", "n_models", "note"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _tukey(wide: pd.DataFrame) -> dict[frozenset, float]:
    if len(wide) < 2 or wide.shape[1] < 2 or np.ptp(wide.to_numpy()) < ROUNDING:
        return {}
    with np.errstate(all="ignore"):
        table = pg.pairwise_tukey(_long(wide), dv="auc", between="source")
    return {frozenset((r.A, r.B)): float(r.p_tukey) for r in table.itertuples()}


def _paired(first: pd.Series, second: pd.Series, confidence: float) -> dict:
    difference = (second - first).to_numpy()
    row = {"difference": difference.mean() if len(difference) else np.nan}
    if len(difference) < 2:
        return row | {"note": "one model: a paired test needs two initialisations"}
    spread = np.ptp(difference)
    if spread < ROUNDING:
        return row | {"note": "the difference is the same in every model: no variance to test it"}
    if spread < NEAR_TIE * max(first.abs().max(), second.abs().max()):
        why = "a near tie of areas that move in steps of a face, no variance to test it"
        return row | {"note": f"the difference agrees within {spread:.0e} in every model: {why}"}
    test = stats.ttest_rel(second, first)
    interval = test.confidence_interval(confidence)
    return row | {
        "t": test.statistic,
        "df": test.df,
        "p": test.pvalue,
        "low": interval.low,
        "high": interval.high,
        "dz": difference.mean() / difference.std(ddof=1),
    }


def compute_assumptions(auc: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Checks of what the tests take for granted.

    Returns
    -------
    DataFrame
        ``analysis``, ``task``, ``pretraining``, ``check``, ``statistic``, ``p``, ``holds`` (p above
        ``alpha``; None where it cannot be checked), ``note``. Checks: normality of residuals
        (Shapiro-Wilk; about cell means for pretraining x source, about the additive model of
        networks and sources for the four sources), equal variances of the cells (Levene, about
        medians), sphericity (Mauchly). With five networks these tests see gross departures only.
    """
    auc = check_auc(auc)
    rows = []
    for task, part in auc.groupby("destination_task", sort=True):
        wide = _wide(part, INITIALISATION_BINS)
        where = {"analysis": "pretraining x source", "task": task, "pretraining": "all"}
        cells = []
        if len(wide):
            long = _long(wide)
            cells = [c["auc"].to_numpy() for _, c in long.groupby(["pretraining", "source"])]
        residuals = np.concatenate([c - c.mean() for c in cells]) if cells else np.array([])
        rows.append({**where, **_normality(residuals)})
        rows.append({**where, **_levene(cells)})
    for (pretraining, task), part in auc.groupby(DESTINATION[:2], sort=True):
        wide = _wide(part, SOURCE_BINS)
        values = wide.to_numpy()
        where = {"analysis": "four sources", "task": task, "pretraining": pretraining}
        residuals = np.array([])
        if len(wide):
            residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
        rows.append({**where, **_normality(residuals.ravel())})
        rows.append({**where, **_sphericity(wide)})
    table = pd.DataFrame(rows)
    table["holds"] = [None if np.isnan(p) else bool(p > alpha) for p in table["p"]]
    columns = ["analysis", "task", "pretraining", "check", "statistic", "p", "holds", "note"]
    return table[columns]


def _unchecked(check: str, note: str) -> dict:
    return {"check": check, "statistic": np.nan, "p": np.nan, "note": note}


def _normality(residuals: np.ndarray) -> dict:
    check = "normal residuals (Shapiro-Wilk W)"
    if len(residuals) < 3 or np.ptp(residuals) < ROUNDING:
        return _unchecked(check, "fewer than three residuals, or all of them equal")
    found = pg.normality(residuals).iloc[0]
    return {"check": check, "statistic": found["W"], "p": found["pval"], "note": ""}


def _levene(cells: list[np.ndarray]) -> dict:
    check = "equal variances (Levene W)"
    # about the median, two values of a cell are always equally far: three say something
    if len(cells) < 2 or min(map(len, cells)) < 3 or max(map(np.ptp, cells)) < ROUNDING:
        return _unchecked(check, "needs two cells of three areas each, with variance")
    found = pg.homoscedasticity({str(k): c for k, c in enumerate(cells)}, method="levene").iloc[0]
    return {"check": check, "statistic": found["W"], "p": found["pval"], "note": ""}


def _sphericity(wide: pd.DataFrame) -> dict:
    check = "sphericity (Mauchly W)"
    n, k = wide.shape
    if n < k or np.ptp(wide.to_numpy()) < ROUNDING:
        return _unchecked(check, f"{n} networks for {k} sources: needs at least as many networks")
    with np.errstate(all="ignore"):
        found = pg.sphericity(_long(wide), dv="auc", within="source", subject="model")
    return {"check": check, "statistic": found.W, "p": _p_of_mauchly(found.W, n, k), "note": ""}


def _p_of_mauchly(W: float, n: int, k: int) -> float:
    """p of Mauchly's W to the second order (Anderson 1958, section 10.7), as R's ``mauchly.test``.

    pingouin 0.6.1 has the number of sources where the last term but one takes that of contrasts;
    with four sources its p is up to .001 off.
    """
    d, df = k - 1, n - 1
    rho = 1 - (2 * d**2 + d + 2) / (6 * d * df)
    weight = (d + 2) * (d - 1) * (d - 2) * (2 * d**3 + 6 * d**2 + 3 * d + 2)
    weight /= 288 * (df * d * rho) ** 2
    f = d * (d + 1) / 2 - 1
    first, second = stats.chi2.sf(-df * rho * np.log(W), [f, f + 4])
    return float(first + weight * (second - first))


def summarise_replication(auc: pd.DataFrame) -> pd.DataFrame:
    """How many independent trunks stand behind the networks of each pretraining.

    Readouts of one trunk share every convolutional weight. As samples of a *pretraining* they are
    pseudo-replicates (Hurlbert 1984): their spread says how much the readout's initialisation
    matters and nothing about how another trunk, trained alike, would differ.

    Returns
    -------
    DataFrame
        Per pretraining (family) and task: ``trunks``, ``readouts``, ``warning`` (empty where two or
        more trunks stand behind the pretraining).
    """
    table = check_auc(auc)[DESTINATION].drop_duplicates()
    table = table.assign(pretraining=table["destination_pretraining"].map(family_of))
    grouped = table.groupby(["pretraining", "destination_task"], sort=True)
    result = grouped.agg(
        trunks=("destination_pretraining", "nunique"), readouts=("destination_instance", "size")
    ).reset_index()
    result = result.rename(columns={"destination_task": "task"})
    result["warning"] = [
        f"{r.readouts} readouts of one trunk are pseudo-replicates of {r.pretraining}: tests of "
        "pretraining speak about this trunk, not about pretraining in general"
        if r.trunks == 1
        else ""
        for r in result.itertuples()
    ]
    return result


def compute_trunk_anova(
    auc: pd.DataFrame, bin: str = "same_instance", confidence: float = 0.90
) -> pd.DataFrame:
    """Effect of pretraining with the trunk as the unit of observation, per task.

    Areas are averaged over the readouts of each trunk; F compares pretrainings (families) with the
    spread of trunks within them, df2 = trunks - pretrainings. A pretraining with a single trunk
    may take part as long as another has several: the error term, taken to be common, comes from
    those that have (with two groups this is Crawford and Howell's 1998 test of a single case).

    Returns
    -------
    DataFrame
        Columns as of :func:`compute_initialisation_anova` with ``form`` = ``trunks``; ``n_models``
        counts trunks.
    """
    auc = check_auc(auc)
    rows = []
    for task, part in auc.loc[auc["bin"] == bin].groupby("destination_task", sort=True):
        means = part.groupby("destination_pretraining", sort=True)["auc"].mean().reset_index()
        means["pretraining"] = means["destination_pretraining"].map(family_of)
        count = means["pretraining"].value_counts().sort_index()
        where = {"task": task, "pretraining": "all", "form": "trunks", "n_models": len(means)}
        where["n_areas"] = len(part)
        where["note"] = "trunks: " + ", ".join(f"{name} {n}" for name, n in count.items())
        why = ""
        if len(count) < 2:
            why = "one pretraining only: its effect cannot be tested"
        elif count.max() < 2:
            why = "one trunk per pretraining: the spread of trunks is unknown; train another seed"
        elif np.ptp(means["auc"]) < ROUNDING:
            why = "all trunks have the same area: no variance to analyse"
        if why:
            rows.append({**where, "effect": "pretraining", "note": f"{where['note']}; {why}"})
            continue
        with np.errstate(all="ignore"):
            found = pg.anova(means, dv="auc", between="pretraining", detailed=True)
        *test, df1, ng2 = found.loc[0, ["F", "p_unc", "DF", "np2"]]
        df = (df1, found.loc[1, "DF"])
        error = _scatter(means["auc"], [means["pretraining"]]), _largest(means)
        rows.append(_effect(where, "pretraining", test, df, error, confidence, ng2=ng2))
    return _table(rows)
