"""One study of the published design, from curves to verdicts, and its tables in words.

The paper has two pretrainings. With more of them every pair is a study of its own; with one alone
there is still the study of that one, in which the tests of the other say why they are empty.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lib.generalization.anova import (
    INITIALISATION_BINS,
    ROUNDING,
    check_auc,
    compute_assumptions,
    compute_initialisation_anova,
    compute_pairwise,
    compute_source_anova,
)
from lib.generalization.auc import Axis, Ends, compute_auc
from lib.generalization.bins import BINS, DESTINATION, SOURCE, list_pairs, select_pair
from lib.generalization.claims import verdict

#: Stands for the second pretraining where there is none.
ABSENT = "no second pretraining"


class Study(NamedTuple):
    """Tables of one pair of pretrainings; ``tests`` and ``pairwise`` name their ``analysis``."""

    general: str
    face: str
    auc: pd.DataFrame
    tests: pd.DataFrame
    pairwise: pd.DataFrame
    assumptions: pd.DataFrame
    claims: pd.DataFrame


def list_studies(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (general, face): those of :func:`list_pairs`, or the only pretraining and ``ABSENT``.

    Parameters
    ----------
    scores : DataFrame
        From :func:`lib.generalization.check_scores`. The order of its pretrainings decides: the
        first of a pair stands where ImageNet stands in the paper, the second for VGGFace.
    """
    return list_pairs(scores) or [(str(scores[SOURCE[0]].iloc[0]), ABSENT)]


def select_study(scores: pd.DataFrame, general: str, face: str) -> pd.DataFrame:
    """Rows of one study: those of the pair, or all where there is no second pretraining."""
    return scores if face == ABSENT else select_pair(scores, general, face)


class Verdicts(NamedTuple):
    """Tests of one pair of pretrainings and what they say about the printed claims."""

    initialisation: pd.DataFrame
    source: pd.DataFrame
    pairwise: pd.DataFrame
    claims: pd.DataFrame


def compute_verdicts(
    auc: pd.DataFrame, general: str, face: str, confidence: float = 0.95, alpha: float = 0.05
) -> Verdicts:
    """Both analyses of variance, the pairs of the four sources, and the verdicts that follow.

    Parameters
    ----------
    auc : DataFrame
        From :func:`compute_auc`, one mask and fill.
    general, face, confidence, alpha
        See :func:`compute_study`.
    """
    one_sided = 1 - 2 * (1 - confidence)
    initialisation = compute_initialisation_anova(auc, one_sided)
    source = compute_source_anova(auc, confidence=one_sided)
    pairwise = compute_pairwise(auc, confidence=confidence)
    claims = verdict(initialisation, source, pairwise, general, face, alpha)
    return Verdicts(initialisation, source, pairwise, claims)


def compute_study(
    curves: pd.DataFrame,
    general: str,
    face: str,
    axis: Axis = "log10",
    ends: Ends = "printed",
    confidence: float = 0.95,
    alpha: float = 0.05,
) -> Study:
    """Areas, tests in both forms, pairs of sources, assumptions and verdicts.

    Parameters
    ----------
    curves : DataFrame
        From :func:`compute_expectation` or :func:`compute_draws` of :func:`select_study`, one mask
        and fill.
    general, face : str
        From :func:`list_studies`.
    axis, ends
        See :func:`lib.generalization.area_under_curve`.
    confidence : float
        Of intervals of differences; those of partial eta squared take 1 - 2 * (1 - confidence), so
        that both exclude zero at one p (see :func:`partial_eta_squared_interval`).
    alpha : float
        Of the verdicts and the checks of assumptions.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        As :func:`compute_auc`.
    """
    auc = compute_auc(curves, axis, ends).assign(axis=axis, ends=ends)
    auc = order_types(auc, general, face)
    found = compute_verdicts(auc, general, face, confidence, alpha)
    tests = {"pretraining x source": found.initialisation, "four sources": found.source}
    pairs = {"four sources": found.pairwise}
    pairs["initialisation"] = compute_pairwise(auc, INITIALISATION_BINS, confidence)
    return Study(
        general,
        face,
        auc,
        order_types(_stack(tests), general, face),
        order_types(_stack(pairs), general, face),
        order_types(compute_assumptions(auc, alpha), general, face),
        found.claims,
    )


def order_types(table: pd.DataFrame, general: str, face: str) -> pd.DataFrame:
    """The table in the paper's order: analysis, pretraining, task, then bin or as it was.

    Parameters
    ----------
    table : DataFrame
        ``pretraining`` and ``task``, with or without ``destination_`` before; perhaps ``bin``.
    general, face : str
    """
    table = table.reset_index(drop=True)
    ranks = {"pretraining": ("all", general, face), "task": ("identity", "gender"), "bin": BINS}
    keys = [table["analysis"].factorize()[0]] if "analysis" in table.columns else []
    for name, order in ranks.items():
        for column in (f"destination_{name}", name):
            if column in table.columns:
                known = {value: k for k, value in enumerate(order)}
                keys.append([known.get(value, len(known)) for value in table[column]])
    # lexsort is stable and takes the first key last
    return table.iloc[np.lexsort(keys[::-1])].reset_index(drop=True)


def _stack(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    parts = [table.assign(analysis=name) for name, table in tables.items()]
    table = pd.concat(parts, ignore_index=True)
    return table[["analysis", *(c for c in table.columns if c != "analysis")]]


#: Contrast -> (claim it belongs to, tasks, second bin less first; None: pretrainings compared).
CONTRASTS = {
    "face less general pretraining, identity": ("identity_pretraining", ("identity",), None),
    "face less general pretraining, gender": ("gender_pretraining", ("gender",), None),
    "other initialisation less itself, identity": (
        "identity_source",
        ("identity",),
        ("same_instance", "other_initialisation"),
    ),
    "other task less itself": (
        "other_task",
        ("identity", "gender"),
        ("same_instance", "other_task"),
    ),
    "other pretraining less itself": (
        "other_pretraining",
        ("identity", "gender"),
        ("same_instance", "other_pretraining"),
    ),
    "both other less other pretraining": (
        "both_other",
        ("identity", "gender"),
        ("other_pretraining", "other_both"),
    ),
}


def combine_means(
    samples: Sequence[np.ndarray], weights: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Weighted sum of the means of independent samples, with its t interval.

    Variances are not pooled; degrees of freedom after Welch (1947) and Satterthwaite (1946).

    Parameters
    ----------
    samples : sequence of (n,) arrays
    weights : sequence of float
    confidence : float

    Returns
    -------
    (estimate, low, high)
        The interval is NaN where a sample has one value only or nothing varies.
    """
    weights = np.asarray(weights, float)
    estimate = float(weights @ [np.mean(s) for s in samples])
    n = np.array([len(s) for s in samples])
    if (n < 2).any():
        return estimate, np.nan, np.nan
    parts = weights**2 * [np.var(s, ddof=1) for s in samples] / n
    if parts.sum() < ROUNDING**2:
        return estimate, np.nan, np.nan
    df = parts.sum() ** 2 / (parts**2 / (n - 1)).sum()
    half = stats.t.ppf((1 + confidence) / 2, df) * np.sqrt(parts.sum())
    return estimate, estimate - half, estimate + half


def compute_contrasts(
    auc: pd.DataFrame, general: str, face: str, confidence: float = 0.95
) -> pd.DataFrame:
    """One number with its interval for each conclusion of the paper that is a difference of areas.

    Parameters
    ----------
    auc : DataFrame
        ``Study.auc``.
    general, face : str
        From :func:`list_studies`.
    confidence : float

    Returns
    -------
    DataFrame
        ``claim``, ``contrast``, ``estimate`` (difference of areas; between sources the mean over
        destination types of the differences within networks), ``low``, ``high``, ``types`` (how
        many destination types it rests on). NaN where no destination type has both bins.
    """
    auc = check_auc(auc)
    rows = []
    for contrast, (claim, tasks, bins) in CONTRASTS.items():
        samples = []
        for pretraining, task in itertools.product((general, face), tasks):
            part = auc.loc[
                (auc["destination_pretraining"] == pretraining) & (auc["destination_task"] == task)
            ]
            wide = part.pivot_table(index=DESTINATION, columns="bin", values="auc", observed=True)
            if bins is None:
                wide = wide.reindex(columns=[b for b in INITIALISATION_BINS if b in wide]).dropna()
                values = wide.mean(axis=1)
            else:
                wide = wide.reindex(columns=bins).dropna()
                values = wide[bins[1]] - wide[bins[0]]
            if len(values):
                samples.append(values.to_numpy())
        weights = [-1.0, 1.0] if bins is None else [1 / max(len(samples), 1)] * len(samples)
        enough = len(samples) == 2 if bins is None else len(samples) > 0
        found = combine_means(samples, weights, confidence) if enough else (np.nan,) * 3
        rows.append((claim, contrast, *found, len(samples) if enough else 0))
    columns = ["claim", "contrast", "estimate", "low", "high", "types"]
    return pd.DataFrame(rows, columns=columns)


def summarise_findings(study: Study, confidence: float = 0.95) -> dict[str, str]:
    """Words for a conclusion: counts of verdicts, and every contrast with its interval.

    Returns
    -------
    dict
        ``claims``, ``reproduced``, ``direction``, ``not_reproduced``, ``not_testable`` (in the form
        of the design), ``forms_differ``, and the claims of :data:`CONTRASTS`, e.g.
        ``+0.031 [+0.012, +0.050]``.
    """
    verdicts = study.claims["verdict_design"]
    words = {"reproduced": "reproduced", "direction": "same direction"}
    words |= {"not_reproduced": "not reproduced", "not_testable": "not testable"}
    found = {"claims": str(len(verdicts))}
    found |= {name: str((verdicts == word).sum()) for name, word in words.items()}
    found["forms_differ"] = str((verdicts != study.claims["verdict_printed"]).sum())
    contrasts = compute_contrasts(study.auc, study.general, study.face, confidence)
    for row in contrasts.itertuples():
        found[row.claim] = _difference_in_words(row.estimate, row.low, row.high)
    return found


def _difference_in_words(estimate: float, low: float, high: float) -> str:
    if np.isnan(estimate):
        return "an amount that cannot be computed here"
    if np.isnan(low):
        return f"{estimate:+.3f} (no interval: too few networks)"
    return f"{estimate:+.3f} [{low:+.3f}, {high:+.3f}]"


def format_p(p: float) -> str:
    """p in words, to what a reader and two machines can use: ``.03``, ``< .001``."""
    if np.isnan(p):
        return "no p"
    if p < 0.001:
        return "< .001"
    return f"{p:.3f}".lstrip("0") if p < 0.1 else f"{p:.2f}".lstrip("0")


def _test_in_words(row: pd.Series) -> str:
    if np.isnan(row["F"]):
        return "no test"
    p = f"p {'' if row['p'] < 0.001 else '= '}{format_p(row['p'])}"
    text = f"F({row['df1']:.0f},{row['df2']:.0f}) = {row['F']:.2f}, {p}"
    if not np.isnan(row["p_GG"]):
        text += f", corrected {format_p(row['p_GG'])}"
    return text + f", ηp² = {row['np2']:.2f} [{row['np2_low']:.2f}, {row['np2_high']:.2f}]"


def show_tests(tests: pd.DataFrame, analysis: str) -> pd.DataFrame:
    """The printed form and the form of the design side by side, in words.

    Parameters
    ----------
    tests : DataFrame
        ``Study.tests``.
    analysis : str
        One of its analyses.

    Returns
    -------
    DataFrame
        ``task``, ``pretraining``, ``effect``, ``as printed``, ``as designed``, ``note``: F with its
        degrees of freedom, p (with the Greenhouse-Geisser one where there is one), partial eta
        squared with its interval.
    """
    part = tests.loc[tests["analysis"] == analysis]
    keys = ["task", "pretraining", "effect"]
    words = part.assign(words=[_test_in_words(row) for _, row in part.iterrows()])
    order = pd.MultiIndex.from_frame(part[keys].drop_duplicates())
    wide = words.set_index([*keys, "form"])["words"].unstack("form").reindex(order)  # noqa: PD010
    notes = part.groupby(keys)["note"].agg(lambda n: "; ".join(dict.fromkeys(filter(None, n))))
    wide = wide.assign(note=notes).reset_index()
    named = wide.rename(columns={"printed": "as printed", "design": "as designed"})
    return named[[*keys, "as printed", "as designed", "note"]]


def show_claims(claims: pd.DataFrame) -> pd.DataFrame:
    """Verdicts for reading: what was printed, the two verdicts, differences or what is missing."""
    named = {"published": "printed", "verdict_printed": "as printed", "note": "areas, or why not"}
    named |= {"verdict_design": "as designed"}
    return claims.rename(columns=named)[["printed", "as printed", "as designed", named["note"]]]
