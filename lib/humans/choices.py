"""Rank-2 choices: whom a network takes a face for, next to the person it is.

Source: Crawford, Margalit, Grill-Spector and Poltoratski 2020 (arXiv 2006.16795), last section and
Figure 7. Rank-1 is the target identity; rank-2 is the identity with the highest logit among the
others. Where the two pretrainings of a network disagree on rank-2, people are asked.
"""

import itertools

import numpy as np
import pandas as pd

from lib.errors import InputError


def compute_rank2(logits, identities, models):
    """Rank-2 identity of every model for every face.

    Parameters
    ----------
    logits : float array (model, identity, class)
        Logits of the frontal picture of each identity; classes in the order of ``identities``.
    identities : sequence of str
        At least three, all different.
    models : DataFrame
        One row per model in the order of ``logits``, with a column ``pretraining`` and, to average
        over initialisations or pick one, ``initialisation``.

    Returns
    -------
    DataFrame
        One row per model and identity: the columns of ``models``, then ``identity``, ``rank2``,
        ``margin`` (logit of the target minus that of rank-2; negative where the network errs) and
        ``second_margin`` (logit of rank-2 minus that of the next choice).

    Raises
    ------
    InputError
        Shapes that do not fit, a logit that is not finite, identities that repeat.
    """
    names = _check_identities(identities)
    logits = np.asarray(logits, dtype=np.float64)
    expected = (len(models), len(names), len(names))
    if logits.shape != expected:
        raise InputError(
            f"The logits have shape {logits.shape}, but {len(models)} models and {len(names)} "
            f"identities need {expected} (model, identity, class): give the logits of the "
            "identity task on one frontal picture per identity."
        )
    if not np.isfinite(logits).all():
        model, identity, _ = np.argwhere(~np.isfinite(logits))[0]
        raise InputError(
            f"A logit of model {model} for {names[identity]!r} is not finite: "
            "train that model again."
        )
    target = np.einsum("mii->mi", logits)
    others = logits.copy()
    own = np.arange(len(names))
    others[:, own, own] = -np.inf
    # Stable sorting of the negative: of equal logits the earlier identity wins, always.
    order = np.argsort(-others, axis=2, kind="stable")
    best = np.take_along_axis(others, order[:, :, :2], axis=2)
    rows = models.loc[models.index.repeat(len(names))].reset_index(drop=True)
    return rows.assign(
        identity=np.tile(names, len(models)),
        rank2=names[order[:, :, 0]].ravel(),
        margin=(target - best[:, :, 0]).ravel(),
        second_margin=(best[:, :, 0] - best[:, :, 1]).ravel(),
    )


def compute_choices(logits, identities, models, initialisation="mean"):
    """Rank-2 identity of every pretraining for every face.

    Parameters
    ----------
    logits, identities, models
        As in `compute_rank2`; only models of the identity task.
    initialisation : "mean" or a value of the column ``initialisation``
        Rank-2 of the mean logit over the initialisations of a pretraining, or of that one model.
        The paper does not say which it used.

    Returns
    -------
    DataFrame
        One row per pretraining and identity: ``pretraining``, ``identity``, ``rank2``, ``margin``,
        ``second_margin``.

    Raises
    ------
    InputError
        As `compute_rank2`; an initialisation that a pretraining does not have exactly once.
    """
    logits = np.asarray(logits, dtype=np.float64)
    models = models.reset_index(drop=True)
    if logits.ndim != 3 or len(models) != len(logits):
        return compute_rank2(logits, identities, models)  # refuses with the sentence
    pretrainings = sorted(models["pretraining"].unique())
    stacked = []
    for pretraining in pretrainings:
        chosen = models["pretraining"] == pretraining
        if initialisation != "mean":
            chosen &= models["initialisation"] == initialisation
            if chosen.sum() != 1:
                have = sorted(set(models["initialisation"]))
                raise InputError(
                    f"Pretraining {pretraining!r} has {chosen.sum()} models of initialisation "
                    f"{initialisation!r}: give 'mean' or one of {', '.join(map(str, have))}."
                )
        stacked.append(logits[chosen.to_numpy()].mean(axis=0))
    return compute_rank2(np.stack(stacked), identities, pd.DataFrame({"pretraining": pretrainings}))


def find_disagreements(choices, pretrainings=None):
    """Identities whose rank-2 differs between two pretrainings.

    Parameters
    ----------
    choices : DataFrame
        From `compute_choices`.
    pretrainings : pair of str, optional
        First the one whose preference is measured (in the paper the one trained on faces), then the
        other. Default: the two of the table, in reverse alphabetical order, so that a face network
        comes before ``imagenet``.

    Returns
    -------
    DataFrame
        Columns ``identity`` and one per pretraining with its rank-2 identity; only the identities
        on which they differ, in the order of ``choices``. In the paper 95 of 101.

    Raises
    ------
    InputError
        Not two different pretrainings of the table.
    """
    known = sorted(choices["pretraining"].unique(), reverse=True)
    pair = tuple(known if pretrainings is None else pretrainings)
    if len(pair) != 2 or len(set(pair)) != 2 or not set(pair) <= set(known):
        raise InputError(
            f"Two pretrainings are compared, not {', '.join(map(str, pair))}: "
            f"the table of choices has {', '.join(known)}."
        )
    wide = choices.set_index(["identity", "pretraining"])["rank2"].unstack("pretraining")  # noqa: PD010
    wide = wide.loc[choices["identity"].drop_duplicates(), list(pair)]
    wide = wide[wide[pair[0]] != wide[pair[1]]]
    return wide.rename_axis(columns=None).reset_index()


def compute_agreement(rank2, label="model"):
    """How often two models choose the same rank-2 identity.

    Parameters
    ----------
    rank2 : DataFrame
        From `compute_rank2`, with a column that names the models.
    label : str
        That column.

    Returns
    -------
    DataFrame
        One row per pair of models: ``first``, ``second``, ``agreement`` (share of the identities, 0
        to 1) and ``chance`` (1 / number of other identities, what blind choices would give).
    """
    wide = rank2.set_index(["identity", label])["rank2"].unstack(label)  # noqa: PD010
    chance = 1 / (len(wide) - 1)
    rows = [
        {
            "first": first,
            "second": second,
            "agreement": float((wide[first] == wide[second]).mean()),
            "chance": chance,
        }
        for first, second in itertools.combinations(wide.columns, 2)
    ]
    return pd.DataFrame(rows)


def summarise_choices(choices):
    """What each pretraining's choices look like.

    Parameters
    ----------
    choices : DataFrame
        From `compute_choices`, or of `compute_rank2` with ``model`` for ``pretraining``.

    Returns
    -------
    DataFrame
        One row per pretraining: ``identities``; ``errors``, faces whose own logit is not the
        highest; ``chosen``, different faces among the choices; ``most chosen`` and ``times``, the
        commonest of them; medians of ``margin`` and ``second_margin``.
    """
    rows = []
    for pretraining, some in choices.groupby("pretraining", sort=False):
        counts = some["rank2"].value_counts()
        # The first by name of those that are chosen equally often.
        most = min(counts.index[counts == counts.iloc[0]])
        rows.append(
            {
                "pretraining": pretraining,
                "identities": len(some),
                "errors": int((some["margin"] < 0).sum()),
                "chosen": len(counts),
                "most chosen": most,
                "times": int(counts.iloc[0]),
                "margin": float(some["margin"].median()),
                "second_margin": float(some["second_margin"].median()),
            }
        )
    return pd.DataFrame(rows)


def summarise_agreement(agreement, models):
    """Agreement on rank-2 within and between pretrainings.

    Parameters
    ----------
    agreement : DataFrame
        From `compute_agreement`.
    models : DataFrame
        Columns ``model`` and ``pretraining``.

    Returns
    -------
    DataFrame
        One row per pair of pretrainings, equal or not: ``first``, ``second``, ``pairs`` of models,
        ``mean``, ``lowest``, ``highest`` and ``chance`` (shares of the identities).
    """
    of = models.set_index("model")["pretraining"]
    table = agreement.assign(a=agreement["first"].map(of), b=agreement["second"].map(of))
    rows = [
        {
            "first": first,
            "second": second,
            "pairs": len(some),
            "mean": float(some["agreement"].mean()),
            "lowest": float(some["agreement"].min()),
            "highest": float(some["agreement"].max()),
            "chance": float(some["chance"].iloc[0]),
        }
        for (first, second), some in table.groupby(["a", "b"], sort=False)
    ]
    columns = ["first", "second", "pairs", "mean", "lowest", "highest", "chance"]
    return pd.DataFrame(rows, columns=columns)


def _check_identities(identities):
    names = np.array([str(name) for name in identities], dtype=object)
    if len(names) < 3:
        raise InputError(f"{len(names)} identities have no rank-2 choice to disagree on: give 3.")
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if (names == name).sum() > 1})
        raise InputError(f"Identities must differ; repeated: {', '.join(repeated)}.")
    return names
