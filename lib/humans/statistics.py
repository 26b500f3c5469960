"""What the answers say: mean preference, every identity by itself, consistency, power.

Everything works on scored test trials (`lib.humans.responses.score_responses`): ``prefers`` is 1
where an observer took the first pretraining's choice and 0 where they took the other's.
"""

import numpy as np
import pandas as pd
import pingouin
from scipy import stats
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.proportion import proportion_confint

from lib.errors import InputError
from lib.humans.responses import refuse_repeated
from lib.multiplicity import correct_holm


def compute_preference(scored, over="observers", chance=0.5):
    """Mean preference with its standard error, one-sample t and Bayes factor.

    Parameters
    ----------
    scored : DataFrame
    over : {"observers", "identities"}
        What the mean is taken over. The paper tests over observers: its conclusion holds for new
        observers and these very identities. Over identities it holds for new identities and these
        observers; the mixed model (`lib.humans.mixed`) is for both at once.
    chance : float
        Preference under the null hypothesis.

    Returns
    -------
    Series
        ``over``, ``n``, ``mean``, ``sem``, ``low``, ``high`` (95%, t), ``t``, ``df``, ``p`` (two-
        sided), ``d`` (mean difference over standard deviation), ``bf10`` (Jeffreys-Zellner-Siow, r
        = 0.707), ``simulated``. t, p, d and bf10 are NaN where all n values are equal.

    Raises
    ------
    InputError
        Fewer than two observers or identities; an observer asked twice about an identity.
    """
    refuse_repeated(scored)
    column = {"observers": "subj", "identities": "target"}[over]
    values = scored.groupby(column)["prefers"].mean().dropna().to_numpy()
    if len(values) < 2:
        raise InputError(
            f"A standard error over {over} needs two; {len(values)} answered: collect more."
        )
    return pd.Series(
        {"over": over, **_one_sample(values, chance), "simulated": bool(scored["simulated"].any())}
    )


def summarise_identities(scored, method="wilson"):
    """Preference on every identity by itself, as in Figure 7c.

    Parameters
    ----------
    scored : DataFrame
    method : {"wilson", "exact"}
        Wilson's score interval, or Clopper and Pearson's, which never covers less than 95%.

    Returns
    -------
    DataFrame
        Sorted by falling preference: ``target``, ``taken`` (answers for the first pretraining's
        choice), ``answers``, ``preference``, ``low``, ``high`` (95%), ``p`` (exact binomial test
        against 1/2, two-sided), ``p_holm`` (corrected for the number of identities),
        ``simulated``.

    Raises
    ------
    InputError
        Another method, no answer at all, or an observer asked twice about an identity.
    """
    refuse_repeated(scored)
    if method not in ("wilson", "exact"):
        raise InputError(f"The interval is 'wilson' or 'exact', not {method!r}.")
    answered = scored[scored["prefers"].notna()]
    if len(answered) == 0:
        raise InputError("No trial was answered: nothing to summarise.")
    grouped = answered.groupby("target")["prefers"]
    table = pd.DataFrame({"taken": grouped.sum().astype(int), "answers": grouped.size()})
    table["preference"] = table["taken"] / table["answers"]
    low, high = proportion_confint(
        table["taken"].to_numpy(),
        table["answers"].to_numpy(),
        method="wilson" if method == "wilson" else "beta",
    )
    table["low"], table["high"] = low, high
    table["p"] = [
        stats.binomtest(int(k), int(n)).pvalue
        for k, n in zip(table["taken"], table["answers"], strict=True)
    ]
    table["p_holm"] = correct_holm(table["p"])
    table["simulated"] = bool(scored["simulated"].any())
    table = table.reset_index()
    return table.sort_values(
        ["preference", "target"], ascending=[False, True], ignore_index=True, kind="stable"
    )


def compute_consistency(scored, *, splits=1000, seed=0):
    """Whether observers agree with one another beyond the mean preference.

    Parameters
    ----------
    scored : DataFrame
    splits : int
        Random halvings of the observers.
    seed : int

    Returns
    -------
    Series
        ``observers``, ``identities``;
        ``agreement``: share of pairs of answers to one identity that are equal, with
        ``agreement_chance``, what it would be if every observer answered at the overall rate;
        ``split_half``: mean correlation of the per-identity preferences of two halves, raised to
        the full number of observers by Spearman and Brown's formula, with ``split_half_low`` and
        ``split_half_high`` (central 95% of the halvings, not a confidence interval);
        ``ceiling_low``, ``ceiling_high``: noise ceiling of a model's correlation with an observer,
        the mean correlation of each observer with the others' and with everybody's mean (Nili et
        al. 2014);
        ``best_low``, ``best_high``: the same for the share of an observer's answers that the best
        possible model predicts, the majority of the others and of everybody;
        ``q``, ``q_df``, ``q_p``: Cochran's Q, are identities preferred differently at all (NaN
        where an answer is missing); ``simulated``.

    Raises
    ------
    InputError
        Fewer than four observers: halves of one observer cannot be correlated; answers that are
        the same for every identity; an observer asked twice about an identity.
    """
    refuse_repeated(scored)
    wide = scored.pivot_table(index="subj", columns="target", values="prefers", aggfunc="mean")
    x = wide.to_numpy()
    if len(x) < 4:
        raise InputError(
            f"Consistency is measured between halves of the observers and needs 4; there are "
            f"{len(x)}."
        )
    rng = np.random.default_rng(seed)
    halves = np.array([_split_half(x, rng) for _ in range(splits)])
    count, total = np.sum(~np.isnan(x), axis=0), np.nansum(x, axis=0)
    left = count - ~np.isnan(x)
    others = np.where(left > 0, (total - np.nan_to_num(x)) / np.maximum(left, 1), np.nan)
    everybody = np.broadcast_to(total / count, x.shape)
    ceilings = [
        np.array([_correlate(a, b) for a, b in zip(x, mean, strict=True)])
        for mean in (others, everybody)
    ]
    if any(np.isnan(values).all() for values in (halves, *ceilings)):
        raise InputError(
            "Consistency is a correlation over identities, and these answers hardly differ between "
            "identities: no two parts of the observers can be correlated."
        )
    q = None if np.isnan(x).any() else cochrans_q(x)
    agreement, chance = _agreement(x)
    return pd.Series(
        {
            "observers": len(x),
            "identities": x.shape[1],
            "agreement": agreement,
            "agreement_chance": chance,
            "split_half": np.nanmean(halves),
            "split_half_low": np.nanquantile(halves, 0.025),
            "split_half_high": np.nanquantile(halves, 0.975),
            "ceiling_low": np.nanmean(ceilings[0]),
            "ceiling_high": np.nanmean(ceilings[1]),
            "best_low": _majority(x, others),
            "best_high": _majority(x, everybody),
            "q": np.nan if q is None else q.statistic,
            "q_df": np.nan if q is None else q.df,
            "q_p": np.nan if q is None else q.pvalue,
            "simulated": bool(scored["simulated"].any()),
        }
    )


def compute_power(effect, observers, *, alpha=0.05):
    """Power of the two-sided one-sample t-test.

    Parameters
    ----------
    effect : float
        Cohen's d: difference from chance over the standard deviation between observers.
    observers : int or array of int
        At least 2.
    alpha : float

    Returns
    -------
    float or ndarray, 0 to 1
        From the noncentral t distribution.
    """
    n = np.asarray(observers, dtype=float)
    df, shift = n - 1, abs(effect) * np.sqrt(n)
    limit = stats.t.ppf(1 - alpha / 2, df)
    power = stats.nct.sf(limit, df, shift) + stats.nct.cdf(-limit, df, shift)
    return float(power) if power.ndim == 0 else power


def find_observers(effect, power=0.8, *, alpha=0.05, most=1_000_000):
    """Smallest number of observers with at least the given power, by bisection.

    Raises
    ------
    InputError
        No effect, or none up to ``most`` is enough.
    """
    low, high = 1, 2
    while compute_power(effect, high, alpha=alpha) < power:
        low, high = high, 2 * high
        if high > most:
            raise InputError(
                f"An effect of d = {effect:g} is not found with power {power:g} even by {most} "
                "observers."
            )
    while high - low > 1:
        middle = (low + high) // 2
        if compute_power(effect, middle, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return high


def chance_of_extreme(taken, observers, identities):
    """Probability that some identity reaches an extreme share when nobody has any preference.

    Parameters
    ----------
    taken : int
        Answers one way on the most extreme identity.
    observers, identities : int

    Returns
    -------
    float
        That at least one of ``identities`` independent identities has ``taken`` or more of
        ``observers`` answers the one way, each answer a fair coin.
    """
    below = stats.binom.cdf(taken - 1, observers, 0.5)
    return float(-np.expm1(identities * np.log(below)))


def _one_sample(values, chance):
    n = len(values)
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    sem = sd / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * sem
    # Equal values leave rounding noise as their spread; a t made of that would be enormous.
    spread = sd > 1e-12
    t = (mean - chance) / sem if spread else np.nan
    return {
        "n": n,
        "mean": mean,
        "sem": sem,
        "low": mean - half,
        "high": mean + half,
        "t": t,
        "df": n - 1,
        "p": float(2 * stats.t.sf(abs(t), n - 1)) if spread else np.nan,
        "d": (mean - chance) / sd if spread else np.nan,
        "bf10": float(pingouin.bayesfactor_ttest(t, n)) if spread else np.nan,
    }


def _split_half(x, rng):
    order = rng.permutation(len(x))
    half = len(x) // 2
    first, second = order[:half], order[half:]
    r = _correlate(_mean(x[first]), _mean(x[second]))
    return 2 * r / (1 + r) if r > -1 else np.nan


def _mean(x):
    count = np.sum(~np.isnan(x), axis=0)
    return np.where(count > 0, np.nansum(x, axis=0) / np.maximum(count, 1), np.nan)


def _correlate(a, b):
    both = ~(np.isnan(a) | np.isnan(b))
    if not both.any():
        return np.nan
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    size = np.sqrt((a @ a) * (b @ b))
    return a @ b / size if size > 1e-12 else np.nan


def _agreement(x):
    """Share of equal pairs of answers within identities, and at the overall rate."""
    n = np.sum(~np.isnan(x), axis=0)
    k = np.nansum(x, axis=0)
    pairs = n * (n - 1)
    equal = k * (k - 1) + (n - k) * (n - k - 1)
    rate = k.sum() / n.sum()
    return float(equal.sum() / pairs.sum()), float(rate**2 + (1 - rate) ** 2)


def _majority(x, prediction):
    """Share of answers on the side of the prediction; a tie is half right."""
    hit = np.where(prediction == 0.5, 0.5, (prediction > 0.5) == (x > 0.5))
    return float(hit[~(np.isnan(x) | np.isnan(prediction))].mean())
