"""What people's choices follow: similarity of faces part by part, and in the networks' features."""

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

from lib.errors import InputError


def compute_dissimilarity(features, identities):
    """Representational dissimilarity of faces: 1 - Pearson's r between their features.

    Parameters
    ----------
    features : float array (identity, feature)
        Activations of a layer, or relevance within one part of the face.
    identities : sequence of str

    Returns
    -------
    DataFrame (identity x identity)
        0 (the same pattern) to 2 (the opposite one).

    Raises
    ------
    InputError
        A shape that does not fit, or a face whose features do not vary: it correlates with nothing.
    """
    features = np.asarray(features, dtype=np.float64)
    names = [str(name) for name in identities]
    if features.ndim != 2 or len(features) != len(names):
        raise InputError(
            f"The features have shape {features.shape}; {len(names)} identities need one row each."
        )
    flat = np.ptp(features, axis=1) == 0
    if flat.any():
        raise InputError(
            f"The features of {names[int(np.argmax(flat))]!r} are all equal: leave that layer or "
            "part out."
        )
    return pd.DataFrame(1 - np.corrcoef(features), index=names, columns=names)


def compare_dissimilarities(first, second, *, permutations=2000, seed=0):
    """Spearman correlation of two dissimilarity tables, tested by relabelling the faces (Mantel).

    Parameters
    ----------
    first, second : DataFrame
        From `compute_dissimilarity`, of the same identities.
    permutations : int
    seed : int

    Returns
    -------
    Series
        ``rho``; ``p``, one-sided, the share of relabellings (this one included) with at least this
        correlation; ``pairs``.

    Raises
    ------
    InputError
        Other identities in one than in the other.
    """
    if list(first.index) != list(second.index):
        raise InputError("The two tables are of different identities: compute both on the same.")
    upper = np.triu_indices(len(first), 1)
    # Ranks once: relabelling permutes pairs and changes no rank.
    ranks = [stats.rankdata(table.to_numpy()[upper]) for table in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    size = np.sqrt((a @ a) * (b @ b))
    square = np.zeros(second.shape)
    square[upper] = b
    square += square.T
    rng = np.random.default_rng(seed)
    relabelled = np.empty(permutations)
    for k in range(permutations):
        order = rng.permutation(len(first))
        relabelled[k] = a @ square[np.ix_(order, order)][upper] / size
    rho = a @ b / size
    reached = np.sum(relabelled >= rho - 1e-12)
    return pd.Series({"rho": rho, "p": (1 + reached) / (1 + permutations), "pairs": len(a)})


def predict_choices(scored, disagreements, dissimilarities):
    """Logistic regression of people's choices on how much closer one face is to the target.

    The predictor of a part is the target's dissimilarity to the other network's choice minus that
    to the first network's: positive where the first one's choice is closer. Predictors are divided
    by their standard deviation over identities and not centred, so that 0 is "equally close"; the
    intercept is the preference that remains.

    Parameters
    ----------
    scored : DataFrame
        From `lib.humans.responses.score_responses`.
    disagreements : DataFrame
    dissimilarities : mapping of str -> DataFrame
        Part or layer -> table from `compute_dissimilarity`.

    Returns
    -------
    DataFrame
        One row per predictor and one for ``intercept``: ``predictor``, ``estimate`` (log odds per
        standard deviation), ``se`` (robust to clustering by identity: answers about one identity
        share its predictor), ``low``, ``high`` (95%), ``z``, ``p``, ``simulated``.

    Raises
    ------
    InputError
        An identity without a dissimilarity, or no more identities than predictors.
    """
    table = disagreements.set_index("identity")
    if len(table) <= len(dissimilarities) + 1:
        raise InputError(
            f"{len(table)} identities cannot tell {len(dissimilarities)} predictors apart: use "
            "fewer parts."
        )
    closer = {}
    for part, distances in dissimilarities.items():
        absent = set(table.index) | set(table.iloc[:, 0]) | set(table.iloc[:, 1])
        absent -= set(distances.index)
        if absent:
            raise InputError(f"{part!r} has no dissimilarity for {min(absent)!r}: compute it.")
        first, second = (
            np.array([distances.loc[row, face] for row, face in table.iloc[:, k].items()])
            for k in (0, 1)
        )
        difference = second - first
        closer[part] = pd.Series(difference / difference.std(ddof=1), table.index)
    answered = scored[scored["prefers"].notna()]
    design = pd.DataFrame(
        {"intercept": 1.0} | {part: answered["target"].map(v) for part, v in closer.items()},
        index=answered.index,
    )
    groups = pd.factorize(answered["target"])[0]
    fit = sm.Logit(answered["prefers"], design).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": groups}
    )
    interval = fit.conf_int()
    return pd.DataFrame(
        {
            "predictor": design.columns,
            "estimate": fit.params.to_numpy(),
            "se": fit.bse.to_numpy(),
            "low": interval[0].to_numpy(),
            "high": interval[1].to_numpy(),
            "z": fit.tvalues.to_numpy(),
            "p": fit.pvalues.to_numpy(),
            "simulated": bool(scored["simulated"].any()),
        }
    )
