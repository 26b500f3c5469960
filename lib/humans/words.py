"""What was found, in words: sentences with their numbers, for the report."""

import pandas as pd
from scipy import special


def name_observers(simulated):
    """Who answered, as tables and figures say it."""
    return "Simulated observers" if simulated else "Observers"


def write_p(table):
    """A table with its columns of p-values as text, so that a small one does not read 0.

    Parameters
    ----------
    table : DataFrame

    Returns
    -------
    DataFrame
        A copy; columns ``p`` and ``p_holm`` are ``<0.001`` or have three decimals, missing ones are
        empty.
    """

    def write(p):
        if pd.isna(p):
            return ""
        return "<0.001" if p < 0.001 else f"{p:.3f}"

    written = {name: table[name].map(write) for name in ("p", "p_holm") if name in table}
    return table.assign(**written)


def write_short(table, digits=4):
    """A table with its floating-point columns as text of so many significant digits.

    For tables whose rows are different quantities: counts, percentages and probabilities.

    Parameters
    ----------
    table : DataFrame
    digits : int

    Returns
    -------
    DataFrame
        A copy; missing numbers are empty, truth values ``yes``, ``no`` or empty.
    """

    def write(value):
        if value is None or pd.isna(value):
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.{digits}g}" if isinstance(value, float) else value

    return table.astype(object).map(write)


def state_choices(asked, choices, pair):
    """On how many identities two pretrainings choose differently.

    Parameters
    ----------
    asked : DataFrame
        From `lib.humans.choices.find_disagreements`.
    choices : DataFrame
        From `lib.humans.choices.compute_choices`.
    pair : two str, or None

    Returns
    -------
    str
        A sentence without its full stop.
    """
    count = choices["identity"].nunique()
    if pair is None:
        only = choices["pretraining"].iloc[0]
        return (
            f"the run has one pretraining, {only}: it chooses "
            f"{choices['rank2'].nunique()} different faces for {count} identities, and there is "
            "no second choice to compare with"
        )
    return (
        f"{pair[0]} and {pair[1]} choose differently on {len(asked)} of {count} identities "
        "(95 of 101 in the paper)"
    )


def state_preference(analysis, pair, planted=None):
    """Mean preference and its uncertainty, with the truth where it is known.

    Parameters
    ----------
    analysis : Analysis
    pair : two str
    planted : float, optional
        Log odds that simulated observers were given, for a typical observer and identity.

    Returns
    -------
    str
        Sentences without the last full stop.
    """
    row = analysis.preference.set_index("over").loc["observers"]
    simulated = bool(row["simulated"])
    text = (
        f"{row['n']} {name_observers(simulated).lower()} took {pair[0]}'s choice in "
        f"{100 * row['mean']:.1f}% of the comparisons (s.e.m. {100 * row['sem']:.2f}"
    )
    if pd.notna(row["t"]):
        small = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.3f}"
        text += f", t({row['df']}) = {row['t']:.2f}, {small}"
    text += ")"
    if analysis.mixed is not None:
        fit = analysis.mixed
        text += (
            f"; for other observers and other identities as well (mixed model) it is "
            f"{100 * fit.preference:.1f}%, 95% interval {100 * fit.low:.1f} to {100 * fit.high:.1f}"
        )
        if simulated and planted is not None:
            truth = float(special.expit(planted))
            inside = fit.low <= truth <= fit.high
            text += (
                f". {100 * truth:.1f}% was planted, which that interval "
                f"{'holds' if inside else 'misses, as one in twenty does'}"
            )
    return text


def state_closeness(closeness, level=0.05):
    """Which measures of similarity the networks' choices follow.

    Parameters
    ----------
    closeness : DataFrame
        From `lib.humans.prediction.compute_closeness`, with ``pretraining``.
    level : float
        Of the one-sided p below which a measure is named.

    Returns
    -------
    str
        Sentences without the last full stop.
    """
    parts = []
    for pretraining, rows in closeness.groupby("pretraining", sort=False):
        best = rows.loc[rows["closeness"].idxmax()]
        above = int((rows["p"] < level).sum())
        parts.append(
            f"{pretraining}'s choices lie nearest to the target in {best['measure']} (nearer than "
            f"{100 * best['closeness']:.0f}% of the other faces; dealt anew "
            f"{100 * best['chance']:.0f}%), and are nearer than dealt in {above} of {len(rows)} "
            f"measures (p < {level:g})"
        )
    return "; ".join(parts)


def state_predictors(predictors, level=0.05):
    """Which parts people's choices follow.

    Parameters
    ----------
    predictors : DataFrame
        From `lib.humans.prediction.predict_choices`, with ``pretraining``.
    level : float
        Of the corrected p below which a predictor is named.

    Returns
    -------
    str
        A sentence without its full stop.
    """
    parts = []
    for pretraining, rows in predictors.groupby("pretraining", sort=False):
        rows = rows[rows["predictor"] != "intercept"]
        named = rows.loc[rows["p_holm"] < level, "predictor"].tolist()
        told = named if len(rows) > 1 else rows["predictor"].tolist()
        told = f" ({', '.join(told)})" if told else ""
        parts.append(
            f"{len(named) or 'none'} of {len(rows)} from the relevance of {pretraining}{told}"
        )
    who = name_observers(bool(predictors["simulated"].any())).lower()
    return (
        f"predictors of the choices of {who} that depart from zero (p < {level:g} after Holm's "
        f"correction for the predictors of a network): {'; '.join(parts)}"
    )


def state_representations(alike, images="pixels"):
    """Where the trunks agree on which faces are alike.

    Parameters
    ----------
    alike : DataFrame
        From `lib.representation.compare_representations`.
    images : str
        What stands for the pictures themselves among ``second``.

    Returns
    -------
    str
        Sentences without the last full stop.
    """
    between = alike[alike["second"] != images]
    if between.empty:
        last = alike.iloc[-1]
        return (
            f"the run has one trunk; at its last block it orders pairs of faces as the pixels do "
            f"at rho = {last['rho']:.2f}"
        )
    parts = []
    for (first, second), rows in between.groupby(["first", "second"], sort=False):
        most, last = rows.loc[rows["rho"].idxmax()], rows.iloc[-1]
        parts.append(
            f"{first} and {second} agree most at {most['layer']} (rho = {most['rho']:.2f}) and at "
            f"{last['layer']}, which the readouts see, at rho = {last['rho']:.2f} "
            f"(p {'<' if last['p'] < 0.001 else '='} {max(last['p'], 0.001):.3f})"
        )
    return "; ".join(parts)
