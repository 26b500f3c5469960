"""What people's choices follow: similarity of faces part by part, and in the networks' features."""

import numpy as np
import pandas as pd
from scipy import stats

from lib.errors import InputError
from lib.humans.responses import refuse_repeated
from lib.multiplicity import correct_holm

#: Parts of `lib.relevance.parts.GROUPS` that belong to the head and that most faces show.
FACE_PARTS = ("hair", "forehead", "brows", "eyes", "nose", "mouth", "cheeks", "chin", "ears")
#: Identities that `predict_choices` asks for, per predictor.
IDENTITIES_PER_PREDICTOR = 5


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


def compute_part_dissimilarities(maps, groups, names, identities, *, cells=16):
    """Dissimilarity of faces in the pattern of relevance (or of grey) within each part of the face.

    Parameters
    ----------
    maps : float array (identity, y, x)
        Relevance of the frontal pictures, or the pictures themselves.
    groups : int array (identity, y, x)
        Part at every pixel, as positions in ``names``.
    names : sequence of str
        Parts; one that a face does not show is left out.
    identities : sequence of str
    cells : int
        The maps are averaged over a grid of so many cells along each side, so that a part that lies
        a few pixels elsewhere still overlaps.

    Returns
    -------
    dict
        Part -> table of `compute_dissimilarity`, in the order of ``names``.

    Raises
    ------
    InputError
        Maps and parts of different shapes.
    """
    maps = np.asarray(maps, dtype=np.float64)
    groups = np.asarray(groups)
    if maps.ndim != 3 or maps.shape != groups.shape:
        raise InputError(
            f"The maps have shape {maps.shape} and the parts {groups.shape}; both must be "
            "(identity, y, x)."
        )
    tables = {}
    for number, name in enumerate(names):
        here = groups == number
        if not here.any(axis=(1, 2)).all():
            continue
        pattern = _pool(np.where(here, maps, 0.0), cells)
        if np.ptp(pattern, axis=1).all():
            tables[name] = compute_dissimilarity(pattern, identities)
    return tables


def _pool(maps, cells):
    """Sums over a grid of cells, one row per map; any side length."""
    sums = []
    for side in maps.shape[1:]:
        cell = np.arange(side) * min(cells, side) // side
        sums.append(np.eye(cell[-1] + 1)[cell])
    return np.einsum("nyx,yi,xj->nij", maps, *sums, optimize=True).reshape(len(maps), -1)


def compute_closeness(choices, dissimilarities, *, permutations=2000, seed=0):
    """How near a network's rank-2 choice is to the target, among all other faces.

    The measure is the share of the other faces that are farther from the target than the choice
    (ties count half): 1 if the nearest face was chosen. Faces that lie near everybody are chosen
    more often *and* are nearer, so the level of chance is not 1/2 but what the same choices give
    when they are dealt to other targets.

    Parameters
    ----------
    choices : DataFrame
        Columns ``identity`` and ``rank2``: one pretraining of
        `lib.humans.choices.compute_choices`.
    dissimilarities : mapping of str -> DataFrame
        Measure -> table from `compute_dissimilarity`.
    permutations : int
    seed : int

    Returns
    -------
    DataFrame
        One row per measure: ``measure``, ``closeness`` (mean, 0 to 1), ``low``, ``high`` (95%, t
        over identities), ``chance`` (mean over deals), ``p`` (one-sided: share of deals, this one
        included, at least as close).

    Raises
    ------
    InputError
        A face without a dissimilarity, or fewer than three identities.
    """
    rng = np.random.default_rng(seed)
    deals = np.array([rng.permutation(len(choices)) for _ in range(permutations)])
    if len(choices) < 3:
        raise InputError(f"{len(choices)} identities have no choices to compare: give 3.")
    rows = []
    for measure, table in dissimilarities.items():
        absent = (set(choices["identity"]) | set(choices["rank2"])) - set(table.index)
        if absent:
            raise InputError(f"{measure!r} has no dissimilarity for {min(absent)!r}: compute it.")
        distances = table.to_numpy(float, copy=True)
        np.fill_diagonal(distances, np.nan)
        # Rank of every face among the others, as seen from every target: 1 is the nearest.
        ranks = stats.rankdata(distances, axis=1, nan_policy="omit")
        near = 1 - (ranks - 1) / (len(table) - 2)
        target = table.index.get_indexer(choices["identity"])
        chosen = table.columns.get_indexer(choices["rank2"])
        values = near[target, chosen]
        dealt = np.nanmean(near[target, chosen[deals]], axis=1)
        mean = float(values.mean())
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        rows.append(
            {
                "measure": measure,
                "closeness": mean,
                "low": mean - half,
                "high": mean + half,
                "chance": float(dealt.mean()),
                "p": float((1 + np.sum(dealt >= mean - 1e-12)) / (1 + permutations)),
            }
        )
    columns = ["measure", "closeness", "low", "high", "chance", "p"]
    return pd.DataFrame(rows, columns=columns)


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
    """Regression of people's choices on how much closer one face is to the target.

    The predictor of a part is the target's dissimilarity to the other network's choice minus that
    to the first network's: positive where the first one's choice is closer. Predictors are divided
    by their standard deviation over identities and not centred, so that 0 is "equally close"; the
    intercept is the preference that remains.

    Answers about one identity share its predictors, so the identities are the sample: what is
    regressed is each identity's log odds, log((taken + 1/2) / (answers - taken + 1/2)) (Anscombe
    1956, Biometrika 43, 461), by least squares. Standard errors are MacKinnon and White's HC3
    (1985, J. Econometrics 29, 305), which holds its level with few identities and unequal spreads,
    and t has identities minus coefficients degrees of freedom.

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
        standard deviation), ``se``, ``low``, ``high`` (95%), ``t``, ``df``, ``p`` (two-sided),
        ``p_holm`` (corrected for the number of predictors; missing for the intercept, which is
        no predictor), ``identities``, ``simulated``.

    Raises
    ------
    InputError
        An identity without a dissimilarity, fewer than `IDENTITIES_PER_PREDICTOR` answered
        identities per predictor, predictors that say the same, or answers from two sessions.
    """
    refuse_repeated(scored)
    taken = scored.dropna(subset="prefers").groupby("target")["prefers"].agg(["sum", "size"])
    table = disagreements.set_index("identity")
    table = table[table.index.isin(taken.index)]
    needed = IDENTITIES_PER_PREDICTOR * len(dissimilarities)
    if len(table) < needed:
        raise InputError(
            f"{len(table)} identities with answers cannot tell {len(dissimilarities)} predictors "
            f"apart, which takes {needed} ({IDENTITIES_PER_PREDICTOR} each): use fewer parts."
        )
    shown = [table.index, table.iloc[:, 0], table.iloc[:, 1]]
    faces = set().union(*shown)
    columns = [np.ones(len(table))]
    for part, distances in dissimilarities.items():
        absent = faces - set(distances.index)
        if absent:
            raise InputError(f"{part!r} has no dissimilarity for {min(absent)!r}: compute it.")
        target, first, second = (distances.index.get_indexer(names) for names in shown)
        values = distances.to_numpy(float)
        difference = values[target, second] - values[target, first]
        spread = difference.std(ddof=1)
        if spread == 0:
            raise InputError(f"{part!r} is equally close for every identity: leave it out.")
        columns.append(difference / spread)
    taken = taken.loc[table.index]
    odds = np.log((taken["sum"] + 0.5) / (taken["size"] - taken["sum"] + 0.5)).to_numpy()
    fit = _least_squares(np.column_stack(columns), odds)
    rows = pd.DataFrame({"predictor": ["intercept", *dissimilarities], **fit})
    rows["p_holm"] = [np.nan, *correct_holm(rows["p"][1:])]
    return rows.assign(identities=len(table), simulated=bool(scored["simulated"].any()))


def _least_squares(x, y):
    """Coefficients with HC3 standard errors and t intervals."""
    count, coefficients = x.shape
    flat = np.linalg.matrix_rank(x) < coefficients
    bread = np.linalg.pinv(x.T @ x)
    leverage = np.einsum("ni,ij,nj->n", x, bread, x)
    # Leverage 1: a coefficient rests on one identity alone, which then leaves no residual.
    if flat or leverage.max() > 1 - 1e-9:
        raise InputError(
            "The parts cannot be told apart on these identities: use fewer parts, or more "
            "identities."
        )
    estimate = bread @ x.T @ y
    weight = ((y - x @ estimate) / (1 - leverage)) ** 2
    se = np.sqrt(np.diag(bread @ (x.T * weight) @ x @ bread))
    df = count - coefficients
    half = stats.t.ppf(0.975, df) * se
    t = np.divide(estimate, se, out=np.full(coefficients, np.nan), where=se > 1e-12)
    return {
        "estimate": estimate,
        "se": se,
        "low": estimate - half,
        "high": estimate + half,
        "t": t,
        "df": df,
        "p": 2 * stats.t.sf(np.abs(t), df),
    }
