"""Simulated observers with a known bias: what the analysis must find again.

They stand in where no answers have been collected, and are marked ``simulated`` in every row.
"""

import functools

import numpy as np
import pandas as pd
from scipy import optimize, special

from lib.errors import InputError
from lib.humans.responses import COLUMNS, check_names

#: Fastest answer that is simulated and median of the rest, seconds; spread of its logarithm.
_RT_FLOOR, _RT_MEDIAN, _RT_SPREAD = 0.35, 0.9, 0.45


def simulate_observers(
    trials,
    disagreements,
    *,
    bias=0.518,
    sd_observers=0.0,
    sd_identities=0.0,
    side_bias=0.0,
    lapse=0.0,
    seed=0,
):
    """Answers of observers who take the first pretraining's choice with a known probability.

    Observer o takes it on identity i with probability expit(m + u_o + v_i + s * side), u and v
    normal. m is such that the mean over observers and identities is ``bias``.

    Parameters
    ----------
    trials : DataFrame
        From `lib.humans.trials.make_trials`; one observer per list.
    disagreements : DataFrame
        From `lib.humans.choices.find_disagreements`.
    bias : float
        Mean probability of taking the first pretraining's choice, in (0, 1).
    sd_observers, sd_identities : float
        Standard deviation of u and v, log odds.
    side_bias : float
        s, log odds added when the first pretraining's choice is on the left, subtracted otherwise.
    lapse : float
        Share of catch trials answered by a coin, 0 to 1.
    seed : int

    Returns
    -------
    DataFrame
        As `lib.humans.responses.load_responses`, with ``simulated`` True.

    Raises
    ------
    InputError
        A bias outside (0, 1), a negative spread, a lapse outside 0 to 1, a name that a table of
        answers cannot hold.
    """
    if not 0 < bias < 1:
        raise InputError(f"The bias is a probability between 0 and 1, not {bias}.")
    if min(sd_observers, sd_identities) < 0 or not 0 <= lapse <= 1:
        raise InputError("Spreads must be 0 or more and the lapse rate between 0 and 1.")
    check_names(trials[["target", "left", "right"]].to_numpy().ravel())
    rng = np.random.default_rng(seed)
    names = disagreements["identity"].to_numpy(object)
    observers = trials["observer"].unique()
    u = pd.Series(rng.normal(0, 1, len(observers)) * sd_observers, observers)
    v = pd.Series(rng.normal(0, 1, len(names)) * sd_identities, names)
    centre = log_odds_of_mean(bias, np.hypot(sd_observers, sd_identities))

    first = disagreements.set_index("identity").iloc[:, 0]
    test = (trials["condition"] == "test").to_numpy()
    # On a catch trial the "first" face is the target itself.
    liked = trials["target"].map(first).where(test, trials["target"])
    on_left = (trials["left"] == liked).to_numpy()
    effect = trials["observer"].map(u) + trials["target"].map(v).fillna(0.0)
    odds = centre + effect.to_numpy() + side_bias * np.where(on_left, 1, -1)
    probability = np.where(test, special.expit(odds), 1 - lapse / 2)
    takes = rng.random(len(trials)) < probability
    takes_left = takes == on_left
    table = pd.DataFrame(
        {
            "subj": [f"simulated-{observer:03d}" for observer in trials["observer"]],
            "session": 1,
            "trial": trials["trial"].to_numpy(),
            "rt": _RT_FLOOR
            + np.round(_RT_MEDIAN * np.exp(rng.normal(0, _RT_SPREAD, len(trials))), 4),
            "object_response": np.where(takes_left, trials["left"], trials["right"]),
            "category": trials["target"].to_numpy(),
            "condition": trials["condition"].to_numpy(),
            "imagename": trials["target"].astype(str).to_numpy(),
            "target": trials["target"].to_numpy(),
            "left": trials["left"].to_numpy(),
            "right": trials["right"].to_numpy(),
            "simulated": True,
        }
    )
    table = table.sort_values(["subj", "session", "trial"], ignore_index=True)
    return table[[*COLUMNS, "simulated"]]


def log_odds_of_mean(mean, sd):
    """m such that E[expit(m + sd z)] = ``mean`` for a standard normal z.

    Parameters
    ----------
    mean : float
        In (0, 1).
    sd : float
        Log odds, 0 or more.

    Returns
    -------
    float
        Log odds; by Gauss-Hermite quadrature with 60 nodes.
    """

    def gap(m):
        return float(mean_of_log_odds(m, sd)) - mean

    reach = abs(special.logit(mean)) + 10 + 5 * sd
    return optimize.brentq(gap, -reach, reach, xtol=1e-12)


def mean_of_log_odds(odds, sd):
    """E[expit(odds + sd z)] for a standard normal z.

    Parameters
    ----------
    odds : float or array
        Log odds.
    sd : float
        Log odds, 0 or more.

    Returns
    -------
    float or ndarray of the shape of ``odds``
        Probability, by Gauss-Hermite quadrature with 60 nodes.
    """
    odds = np.asarray(odds, dtype=float)
    if sd == 0:
        return special.expit(odds)
    # One node at a time: all at once would be a table of 60 times the size.
    return sum(w * special.expit(odds + sd * z) for z, w in _nodes())


@functools.cache
def _nodes():
    """Nodes and weights of a mean over a standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return tuple(zip(nodes, weights / weights.sum(), strict=True))
