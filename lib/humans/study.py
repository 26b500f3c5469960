"""One study from answers to tables: which networks are compared, and all analyses at once.

What a table of answers cannot tell (too few observers, every answer the same) is put into a
sentence and the rest goes on.
"""

from dataclasses import dataclass

import pandas as pd

from lib.errors import InputError
from lib.humans.mixed import MixedFit, fit_mixed_model
from lib.humans.responses import apply_exclusions, score_responses
from lib.humans.statistics import compute_consistency, compute_preference, summarise_identities


@dataclass(frozen=True)
class Analysis:
    """What a table of answers says.

    Attributes
    ----------
    observers : DataFrame
        From `lib.humans.responses.apply_exclusions`.
    scored : DataFrame
        Test trials of those who were kept.
    preference : DataFrame
        `lib.humans.statistics.compute_preference`, one row over observers, one over identities.
    identities : DataFrame
        From `lib.humans.statistics.summarise_identities`.
    mixed : MixedFit or None
    consistency : Series or None
    impossible : tuple of str
        Why what is None could not be computed.
    """

    observers: pd.DataFrame
    scored: pd.DataFrame
    preference: pd.DataFrame
    identities: pd.DataFrame
    mixed: MixedFit | None
    consistency: pd.Series | None
    impossible: tuple


def split_models(names):
    """Parts of model names ``<pretraining>/<task>/<instance>``.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    DataFrame
        Columns ``model``, ``pretraining``, ``task``, ``initialisation`` (int).

    Raises
    ------
    InputError
        Another form.
    """
    rows = []
    for name in map(str, names):
        parts = name.rsplit("/", 2)
        if len(parts) < 3 or not parts[2].isdigit():
            raise InputError(
                f"The model {name!r} is not named <pretraining>/<task>/<number>: run 02_finetuning "
                "again."
            )
        rows.append((name, parts[0], parts[1], int(parts[2])))
    return pd.DataFrame(rows, columns=["model", "pretraining", "task", "initialisation"])


def choose_pair(pretrainings, wanted=()):
    """Which two pretrainings people compare.

    Parameters
    ----------
    pretrainings : sequence of str
        Those of the run, in its order.
    wanted : sequence of str
        Two of them, the one whose preference is measured first; empty: the second of the run
        against the first (in the paper VGGFace against ImageNet).

    Returns
    -------
    tuple of str, or None where the run has only one pretraining

    Raises
    ------
    InputError
        A name that the run does not have, or not two.
    """
    known = list(dict.fromkeys(map(str, pretrainings)))
    wanted = tuple(map(str, wanted))
    if not wanted:
        return (known[1], known[0]) if len(known) > 1 else None
    unknown = [name for name in wanted if name not in known]
    if unknown or len(set(wanted)) != 2:
        raise InputError(
            f"pair = {list(wanted)} does not name two pretrainings of this run, which has "
            f"{', '.join(known)}: correct pair, or leave it empty."
        )
    return wanted


def select_models(models, initialisation="mean"):
    """Networks whose maps stand for the choices of their pretraining.

    Parameters
    ----------
    models : DataFrame
        From `split_models`.
    initialisation : "mean" or int
        As in `lib.humans.choices.compute_choices`.

    Returns
    -------
    DataFrame
        The rows of the identity task, all or those of one initialisation; the index is kept.
    """
    kept = models[models["task"] == "identity"]
    return kept if initialisation == "mean" else kept[kept["initialisation"] == initialisation]


def analyse_responses(responses, disagreements, rules=None, *, splits=1000, seed=0):
    """Everything that is asked of a table of answers.

    Parameters
    ----------
    responses : DataFrame
        From `lib.humans.responses.load_responses` or `lib.humans.simulate.simulate_observers`.
    disagreements : DataFrame
    rules : ExclusionRules, optional
    splits : int
        Random halvings of the observers.
    seed : int

    Returns
    -------
    Analysis

    Raises
    ------
    InputError
        Fewer than two observers are left by the rules, or have answered.
    """
    kept, observers = apply_exclusions(responses, disagreements, rules)
    scored = score_responses(kept, disagreements)
    impossible = []

    def attempt(compute, *given, **options):
        try:
            return compute(*given, **options)
        except InputError as reason:
            impossible.append(str(reason))

    over = [compute_preference(scored), attempt(compute_preference, scored, "identities")]
    return Analysis(
        observers=observers,
        scored=scored,
        preference=pd.DataFrame([row for row in over if row is not None]),
        identities=summarise_identities(scored),
        mixed=attempt(fit_mixed_model, scored),
        consistency=attempt(compute_consistency, scored, splits=splits, seed=seed),
        impossible=tuple(impossible),
    )


def summarise_mixed(fit, planted=None):
    """A mixed model as a table.

    Parameters
    ----------
    fit : MixedFit
    planted : mapping of str -> float, optional
        What simulated observers were given: log odds for ``preference`` and ``left``, standard
        deviations for ``observers`` and ``identities``.

    Returns
    -------
    DataFrame
        ``effect``; ``planted`` where given; ``estimate``, ``low``, ``high`` (95%, log odds; spreads
        have no interval) and ``p`` (Wald for the effects, likelihood ratio for the spreads).
    """
    spreads = pd.DataFrame(
        {
            "effect": ["sd of observers", "sd of identities"],
            "estimate": [fit.sd_observers, fit.sd_identities],
            "p": [fit.p_observers, fit.p_identities],
        }
    )
    table = pd.concat([fit.table, spreads], ignore_index=True)
    if planted is not None:
        order = ("preference", "left", "observers", "identities")
        table.insert(1, "planted", [float(planted[name]) for name in order])
    columns = ["effect", "planted", "estimate", "low", "high", "p"]
    return table[[name for name in columns if name in table]]


def summarise_consistency(consistency):
    """Consistency of observers as a table of quantities, values and what they are measured against.

    Parameters
    ----------
    consistency : Series
        From `lib.humans.statistics.compute_consistency`.

    Returns
    -------
    DataFrame
        ``quantity``, ``value``, ``low``, ``high``, ``against`` (words).
    """
    c = consistency
    q = "no differences between identities"
    rows = [
        (
            "equal answers, pairs",
            c["agreement"],
            None,
            None,
            f"{c['agreement_chance']:.3f} if alike",
        ),
        (
            "split-half correlation",
            c["split_half"],
            c["split_half_low"],
            c["split_half_high"],
            "0, identities alike; central 95% of halvings",
        ),
        (
            "noise ceiling, correlation",
            None,
            c["ceiling_low"],
            c["ceiling_high"],
            "lower and upper",
        ),
        ("best possible model, share", None, c["best_low"], c["best_high"], "lower and upper"),
        (f"Cochran's Q, {c['q_df']:.0f} df", c["q"], None, None, f"p of {q}: {c['q_p']:.3f}"),
    ]
    if pd.isna(c["q"]):
        rows.pop()
    table = pd.DataFrame(rows, columns=["quantity", "value", "low", "high", "against"])
    return table.astype({"value": float, "low": float, "high": float})


def compare_with_printed(analysis, disagreeing, identities):
    """The paper's last section, number by number, beside this study.

    Parameters
    ----------
    analysis : Analysis
    disagreeing, identities : int
        Identities on which the pretrainings differ, and all.

    Returns
    -------
    DataFrame
        ``quantity``, ``reported``, ``here``.
    """
    mean = analysis.preference.set_index("over").loc["observers"]
    share = analysis.identities["preference"]
    rows = [
        ("identities", 101, identities),
        ("of these with different rank-2", 95, disagreeing),
        ("observers", 46, mean["n"]),
        ("preference for the first pretraining, %", 51.8, 100 * mean["mean"]),
        ("s.e.m. over observers, %", 0.77, 100 * mean["sem"]),
        ("t", 2.345, mean["t"]),
        ("p", 0.023, mean["p"]),
        ("highest preference of an identity for the first, %", 76.1, 100 * share.max()),
        ("highest preference of an identity for the other, %", 67.4, 100 * (1 - share.min())),
    ]
    table = pd.DataFrame(rows, columns=["quantity", "reported", "here"])
    return table.astype({"reported": float, "here": float})
