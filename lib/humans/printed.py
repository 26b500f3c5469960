"""The printed numbers of the paper's last section, recomputed from each other.

A printed number is a rounded one: 51.8 stands for anything from 51.75 to 51.85. What follows from
several printed numbers is therefore an interval, and agrees with a printed one where they overlap.
"""

import numpy as np
import pandas as pd
from scipy import stats

from lib.humans.statistics import chance_of_extreme, compute_power, find_observers


def recompute_printed(
    *, mean=51.8, sem=0.77, t=2.345, p=0.023, observers=46, identities=95, extremes=(76.1, 67.4)
):
    """Check the printed numbers against one another and draw out what they imply.

    Parameters
    ----------
    mean, sem : float
        Preference for the face network's choice and its standard error over observers, percent.
    t, p : float
        One-sample t against 50% and its two-sided p.
    observers, identities : int
    extremes : sequence of float
        Shares of the observers on the most extreme identities, percent.

    Returns
    -------
    DataFrame
        ``quantity``; ``printed`` (NaN where it is implied only); ``recomputed``; ``low`` and
        ``high``, what the rounding of the numbers it follows from allows; ``agrees`` (bool, or None
        where nothing is printed); ``how``, the formula in words.
    """
    df = observers - 1
    mean_low, mean_high = _rounding(mean, 1)
    sem_low, sem_high = _rounding(sem, 2)
    t_low, t_high = _rounding(t, 3)
    rows = [
        _row(
            "t",
            t,
            3,
            (mean - 50) / sem,
            (mean_low - 50) / sem_high,
            (mean_high - 50) / sem_low,
            "(mean - 50) / s.e.m.",
        ),
        _row(
            "s.e.m. (%)",
            sem,
            2,
            (mean - 50) / t,
            (mean_low - 50) / t_high,
            (mean_high - 50) / t_low,
            "(mean - 50) / t: an s.e.m. over observers, as the degrees of freedom say",
        ),
        _row("p", p, 3, *(2 * stats.t.sf([t, t_high, t_low], df)), f"two-sided, t({df})"),
    ]
    for share in extremes:
        taken = round(share / 100 * observers)
        value = 100 * taken / observers
        how = f"{taken}/{observers} observers"
        rows.append(_row(f"extreme {share:g}%", share, 1, value, value, value, how))
        chance = chance_of_extreme(taken, observers, identities)
        how = f"that one of {identities} identities gets there by coin tosses alone"
        rows.append(_implied(f"chance of {taken}/{observers} or more", chance, how))
    d = t / np.sqrt(observers)
    sd = sem * np.sqrt(observers)
    coin = 100 * np.sqrt(0.25 / identities)
    rows += [
        _implied("sd over observers (%)", sd, "s.e.m. x sqrt(observers)"),
        _implied("sd of coin tosses (%)", coin, f"sqrt(.25 / {identities}) for each observer"),
        _implied(
            "sd of true preferences (%)",
            float(np.sqrt(max(sd**2 - coin**2, 0))),
            "what is left when coin tosses are taken out: observers hardly differ",
        ),
        _implied("d", d, "t / sqrt(observers)"),
        _implied("power", compute_power(d, observers), "of the same study, were d the true effect"),
        _implied(
            "observers for 80% power", float(find_observers(d, 0.8)), "one-sample t, two-sided .05"
        ),
        _implied(
            "observers for 95% power", float(find_observers(d, 0.95)), "one-sample t, two-sided .05"
        ),
    ]
    return pd.DataFrame(rows)


def _rounding(value, digits):
    half = 0.5 * 10.0**-digits
    return value - half, value + half


def _row(quantity, printed, digits, recomputed, low, high, how):
    below, above = _rounding(printed, digits)
    # A hair of slack: the ends themselves are floating-point numbers.
    agrees = bool(low <= above + 1e-12 and high >= below - 1e-12)
    return {
        "quantity": quantity,
        "printed": printed,
        "recomputed": float(recomputed),
        "low": float(low),
        "high": float(high),
        "agrees": agrees,
        "how": how,
    }


def _implied(quantity, value, how):
    return {
        "quantity": quantity,
        "printed": np.nan,
        "recomputed": float(value),
        "low": np.nan,
        "high": np.nan,
        "agrees": None,
        "how": how,
    }
