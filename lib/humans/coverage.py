"""Does the analysis find what was planted? Coverage and false positives over many studies."""

import numpy as np
import pandas as pd
from scipy import special, stats

from lib.humans.mixed import fit_mixed_model
from lib.humans.simulate import log_odds_of_mean, mean_of_log_odds
from lib.progress import track


def simulate_coverage(
    *,
    bias=0.5,
    observers=46,
    identities=95,
    sd_observers=0.0,
    sd_identities=0.0,
    studies=2000,
    mixed=0,
    seed=0,
):
    """Coverage of the 95% intervals and rate of p < .05, over many simulated studies.

    Every study draws new observers and new identities, so its truth is ``bias`` for the population
    of both. The t-test over observers takes the identities as given: with ``sd_identities`` above 0
    its interval is for these identities only. What holds for *these identities* is the mean over
    all observers there could be, not over those who were drawn; over identities it is the other way
    round. The table shows both truths.

    Parameters
    ----------
    bias : float
        Mean preference over observers and identities.
    observers, identities : int
    sd_observers, sd_identities : float
        Log odds.
    studies : int
        Number of simulated studies for the tests that are computed all at once.
    mixed : int
        Number of these studies to which the mixed model is fitted too (about 0.1 s each).
    seed : int

    Returns
    -------
    DataFrame
        One row per analysis and truth: ``analysis``; ``truth``, what the interval should hold
        (``these identities``, ``these observers`` or ``population``); ``studies``;
        ``coverage`` (share of intervals that hold it), ``rejected`` (share of p < .05 against 50%;
        the false-positive rate where ``bias`` is .5, the power elsewhere), ``error`` (binomial
        standard error of ``rejected``), and the settings ``bias``, ``sd_observers``,
        ``sd_identities``, ``observers``, ``identities``.
    """
    rng = np.random.default_rng(seed)
    centre = log_odds_of_mean(bias, np.hypot(sd_observers, sd_identities))
    found = {"t over observers": [], "t over identities": [], "Wilson, each identity": []}
    answers = []
    for start in range(0, studies, 250):
        count = min(250, studies - start)
        u = rng.normal(0, 1, (count, observers, 1)) * sd_observers
        v = rng.normal(0, 1, (count, 1, identities)) * sd_identities
        probability = special.expit(centre + u + v)
        x = (rng.random((count, observers, identities)) < probability).astype(np.int8)
        identity = mean_of_log_odds(centre + v[:, 0], sd_observers)
        observer = mean_of_log_odds(centre + u[:, :, 0], sd_identities)
        by_observer, by_identity = t_interval(x.mean(axis=2)), t_interval(x.mean(axis=1))
        wilson = wilson_interval(x.sum(axis=1), observers)
        for analysis, interval, given in (
            ("t over observers", by_observer, identity.mean(axis=1)),
            ("t over identities", by_identity, observer.mean(axis=1)),
            ("Wilson, each identity", wilson, identity),
        ):
            told = (_holds(interval, given), _holds(interval, bias), ~_holds(interval, 0.5))
            found[analysis].append([column.ravel() for column in told])
        answers.extend(x[: max(0, mixed - start)])
    rows = []
    for analysis, parts in found.items():
        given, population, rejected = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        these = "these observers" if analysis == "t over identities" else "these identities"
        rows.append(_row(analysis, these, given, rejected))
        if analysis.startswith("t"):
            rows.append(_row(analysis, "population", population, rejected))
    if mixed:
        rows.append(_mixed_row(answers, bias, sd_observers, sd_identities))
    settings = {
        "bias": bias,
        "sd_observers": sd_observers,
        "sd_identities": sd_identities,
        "observers": observers,
        "identities": identities,
    }
    return pd.DataFrame(rows).assign(**settings)


def t_interval(values):
    """Ends of the 95% t interval of the mean along the last axis: `compute_preference` at once."""
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=-1, ddof=1) / np.sqrt(n)
    return mean - half, mean + half


def wilson_interval(taken, n):
    """Ends of Wilson's 95% interval of shares ``taken / n``: `summarise_identities` at once."""
    z2 = stats.norm.ppf(0.975) ** 2
    share = taken / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return centre - half, centre + half


def _holds(interval, truth):
    return (interval[0] <= truth) & (truth <= interval[1])


def _mixed_row(answers, bias, sd_observers, sd_identities):
    truth = log_odds_of_mean(bias, np.hypot(sd_observers, sd_identities))
    inside, rejected = [], []
    for x in track(answers, "mixed models"):
        effect = fit_mixed_model(_as_scored(x)).table.iloc[0]
        inside.append(effect["low"] <= truth <= effect["high"])
        rejected.append(effect["p"] < 0.05)
    return _row("mixed model", "population", np.array(inside), np.array(rejected))


def _as_scored(x):
    """A table of answers, sides alternating like a chessboard."""
    observer, identity = np.indices(x.shape)
    return pd.DataFrame(
        {
            "subj": observer.ravel(),
            "target": identity.ravel(),
            "prefers": x.ravel().astype(float),
            "first_left": ((observer + identity) % 2 == 0).ravel(),
        }
    )


def _row(analysis, truth, inside, rejected):
    rate = float(rejected.mean())
    return {
        "analysis": analysis,
        "truth": truth,
        "studies": len(inside),
        "coverage": float(inside.mean()),
        "rejected": rate,
        "error": float(np.sqrt(rate * (1 - rate) / len(rejected))),
    }
