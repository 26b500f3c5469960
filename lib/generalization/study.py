"""One study of the published design, from curves to verdicts, and its tables in words.

The paper has two pretrainings. With more of them every pair is a study of its own; with one alone
there is still the study of that one, in which the tests of the other say why they are empty.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
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
from lib.generalization.auc import Axis, Ends, compute_auc, summarise_auc
from lib.generalization.bins import (
    BINS,
    DESTINATION,
    SOURCE,
    TRUNK_BINS,
    compute_expectation,
    list_pairs,
    list_trunk_pairs,
    select_pair,
)
from lib.generalization.claims import verdict

#: Stands for the second pretraining where there is none.
ABSENT = "no second pretraining"
#: Bin -> words of a table, where its name alone says less.
WORDS = {"same_instance": "itself", "other_both": "both other"}
#: Characters of a line below a table: as many as fit beside the contents of the report.
WIDTH = 88


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


def title_pairs(pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Line above a table or figure of each pair; empty where there is one pair only."""
    if len(pairs) < 2:
        return dict.fromkeys(pairs, "")
    return {pair: " and ".join(pair) for pair in pairs}


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


def compute_variants(
    exact: pd.DataFrame,
    drawn: pd.DataFrame,
    general: str,
    face: str,
    axis: Axis = "log10",
    ends: Ends = "printed",
    confidence: float = 0.95,
    alpha: float = 0.05,
) -> dict[str, Study]:
    """The study of one pair, the same over the other axis, and the same by drawn sources.

    Parameters
    ----------
    exact, drawn : DataFrame
        From :func:`compute_expectation` and :func:`compute_draws` of :func:`select_study`.
    general, face, axis, ends, confidence, alpha
        See :func:`compute_study`.

    Returns
    -------
    dict
        ``exact``, ``<other axis> axis``, ``<number> draws`` -> Study.
    """
    other = "linear" if axis == "log10" else "log10"
    options = {"confidence": confidence, "alpha": alpha}
    return {
        "exact": compute_study(exact, general, face, axis, ends, **options),
        f"{other} axis": compute_study(exact, general, face, other, ends, **options),
        f"{drawn['draws'].iloc[0]} draws": compute_study(
            drawn, general, face, axis, ends, **options
        ),
    }


def summarise_areas(
    variants: Mapping[str, Study], at_random: pd.DataFrame, confidence: float = 0.95
) -> dict[str, pd.DataFrame]:
    """Mean areas of every bin in each variant of a study, and of random pixels.

    Parameters
    ----------
    variants : mapping of name -> Study
        From :func:`compute_variants`.
    at_random : DataFrame
        From :func:`lib.masking.compute_random_curves`; may be empty. They have no source to draw,
        so that the drawn variant goes without them.
    confidence : float

    Returns
    -------
    dict
        Variant -> table of :func:`summarise_auc`, the bin ``random`` last.
    """
    types = [*DESTINATION[:2], "bin"]
    found = {}
    for name, study in variants.items():
        pair = study.general, study.face
        parts = [order_types(summarise_auc(study.auc, types, confidence), *pair)]
        mine = at_random[at_random["destination_pretraining"].isin(pair)]
        if len(mine) and not name.endswith("draws"):
            axis, ends = study.auc[["axis", "ends"]].iloc[0]
            areas = compute_auc(mine, axis, ends).assign(bin="random")
            parts.append(order_types(summarise_auc(areas, types, confidence), *pair))
        found[name] = pd.concat(parts, ignore_index=True)
    return found


def show_areas(areas: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean areas of the variants side by side, and the number of networks behind each.

    Parameters
    ----------
    areas : mapping of variant -> DataFrame
        From :func:`summarise_areas`; the first has every row.
    """
    types = [*DESTINATION[:2], "bin"]
    named = {name: table.set_index(types) for name, table in areas.items()}
    first = next(iter(named.values()))
    table = pd.DataFrame({name: found["auc"].reindex(first.index) for name, found in named.items()})
    table = table.assign(n=first["n_models"]).reset_index()
    return table.rename(columns=lambda c: c.removeprefix("destination_"))


def compare_trunks(
    scores: pd.DataFrame, axis: Axis = "log10", ends: Ends = "printed", confidence: float = 0.95
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Relevance of another training of the same trunk: areas, and pairs of sources.

    Two training seeds of one pretraining (``synthface``, ``synthface-2``) are no pair of the
    published design; how far they agree says how much of a difference between pretrainings is one
    between trunks.

    Parameters
    ----------
    scores : DataFrame
        From :func:`lib.generalization.check_scores`.
    axis, ends, confidence
        See :func:`compute_study`.

    Returns
    -------
    (auc, pairwise)
        As in :class:`Study`, with ``general`` and ``face`` (the two trunks); the ``analysis`` of
        ``pairwise`` is ``other trunk``. Empty where no pretraining has two trunks.
    """
    areas, pairs = [pd.DataFrame()], [pd.DataFrame()]
    for first, second in list_trunk_pairs(scores):
        auc = compute_auc(compute_expectation(select_pair(scores, first, second)), axis, ends)
        auc = order_types(auc.assign(axis=axis, ends=ends), first, second)
        found = compute_pairwise(auc, ("same_instance", *TRUNK_BINS), confidence)
        found = order_types(_stack({"other trunk": found}), first, second)
        names = {"general": first, "face": second}
        areas.append(auc.assign(**names))
        pairs.append(found.assign(**names))
    return pd.concat(areas, ignore_index=True), pd.concat(pairs, ignore_index=True)


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
        ``claims``; ``effects``, those that claim a difference, and of these ``reproduced``,
        ``direction``, ``not_reproduced``, ``not_testable`` (in the form of the design); ``nulls``,
        those that claim none, and the same four with ``null_`` before; ``forms_differ``, and the
        claims of :data:`CONTRASTS`, e.g. ``+0.031 [+0.012, +0.050]``.
    """
    verdicts = study.claims["verdict_design"]
    null = study.claims["null_claim"].astype(bool)
    words = {"reproduced": "reproduced", "direction": "same direction"}
    words |= {"not_reproduced": "not reproduced", "not_testable": "not testable"}
    found = {"claims": len(verdicts), "effects": (~null).sum(), "nulls": null.sum()}
    for name, word in words.items():
        found[name] = ((verdicts == word) & ~null).sum()
        found[f"null_{name}"] = ((verdicts == word) & null).sum()
    found["forms_differ"] = (verdicts != study.claims["verdict_printed"]).sum()
    found = {name: str(count) for name, count in found.items()}
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
        ``task``, ``pretraining``, ``effect`` (the latter two where they vary), ``as printed``,
        ``as designed``: F with its degrees of freedom, p (with the Greenhouse-Geisser one where
        there is one), partial eta squared with its interval. Notes by :func:`list_notes`.
    """
    part = tests.loc[tests["analysis"] == analysis]
    keys = ["task", "pretraining", "effect"]
    words = part.assign(words=[_test_in_words(row) for _, row in part.iterrows()])
    order = pd.MultiIndex.from_frame(part[keys].drop_duplicates())
    wide = words.set_index([*keys, "form"])["words"].unstack("form").reindex(order)  # noqa: PD010
    named = wide.rename(columns={"printed": "as printed", "design": "as designed"})
    named = named.rename_axis(columns=None).reset_index()
    varied = [k for k in keys if k == "task" or len(set(named[k])) > 1]
    return named[[*varied, "as printed", "as designed"]]


def list_notes(table: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Notes of a table as lines to stand below it, each once with the rows that it is about.

    Parameters
    ----------
    table : DataFrame
        With a column ``note`` (or ``warning``); empty text is no note.
    by : sequence of str
        Columns that name a row; ``contrast`` may stand for ``first`` and ``second``.

    Returns
    -------
    list of str
        Folded to the width of the report; empty where there is nothing to note.
    """
    column = "note" if "note" in table.columns else "warning"
    found: dict[str, list[str]] = {}
    for _, row in table.iterrows():
        if row[column] and not pd.isna(row[column]):
            found.setdefault(row[column], []).append(", ".join(_part(row, c) for c in by))
    return [
        textwrap.fill(f"{'; '.join(dict.fromkeys(rows))}: {note}", WIDTH, subsequent_indent="    ")
        for note, rows in found.items()
    ]


def _part(row: pd.Series, column: str) -> str:
    if column != "contrast":
        return str(row[column]).replace("_", " ")
    return _contrast(row["first"], row["second"]) if "first" in row else _in_words(row[column])


def _contrast(first: str, second: str) -> str:
    words = [WORDS.get(name, name.replace("_", " ")) for name in (second, first)]
    return " less ".join(words)


def _in_words(contrast: str) -> str:
    """A contrast of the mixed-effects model, ``second - first`` or a plain name."""
    second, minus, first = contrast.partition(" - ")
    return _contrast(first, second) if minus else contrast


def _with_interval(row: pd.Series, value: str) -> str:
    if np.isnan(row[value]):
        return ""
    text = f"{row[value]:+.3f}"
    return text if np.isnan(row["low"]) else f"{text} [{row['low']:+.3f}, {row['high']:+.3f}]"


def show_pairwise(pairwise: pd.DataFrame) -> pd.DataFrame:
    """Pairs of sources for reading: difference with its interval, both p, dz; all as words."""
    p = {f"p {name}": pairwise[f"p_{name.lower()}"].map(format_p) for name in ("Tukey", "Holm")}
    return pd.DataFrame(
        {
            "pretraining": pairwise["pretraining"],
            "task": pairwise["task"],
            "contrast": [
                _contrast(*c) for c in zip(pairwise["first"], pairwise["second"], strict=True)
            ],
            "difference": [_with_interval(row, "difference") for _, row in pairwise.iterrows()],
            **p,
            "dz": pairwise["dz"].map(lambda v: "" if np.isnan(v) else f"{v:.2f}"),
        }
    )


def show_identities(identities: pd.DataFrame) -> pd.DataFrame:
    """Contrasts of the mixed-effects model for reading: interval, p, standard deviations."""
    return pd.DataFrame(
        {
            "pretraining": identities["pretraining"].str.replace(" - ", " less "),
            "task": identities["task"],
            "contrast": identities["contrast"].map(_in_words),
            "difference": [_with_interval(row, "estimate") for _, row in identities.iterrows()],
            "p Holm": identities["p_holm"].map(format_p),
            "sd faces": identities["sd_identity"],
            "networks": identities["sd_network"],
            "residual": identities["sd_residual"],
        }
    )


def show_printed(printed: pd.DataFrame) -> pd.DataFrame:
    """The printed tests for reading, from :func:`lib.generalization.recompute_printed`."""
    p = {name: printed[name].map("{:.2g}".format) for name in printed.filter(like="p_")}
    reach = p["p_recomputed"] + " (" + p["p_low"] + " to " + p["p_high"] + ")"
    degrees = [
        [
            f"F({a:.0f}, {b:.0f})"
            for a, b in zip(printed[f"{k}df1"], printed[f"{k}df2"], strict=True)
        ]
        for k in ("", "design_")
    ]
    return pd.DataFrame(
        {
            "effect": printed["effect"],
            "printed": [f"{d} = {F:g}" for d, F in zip(degrees[0], printed["F"], strict=True)],
            "p": p["p_printed"],
            "p recomputed": reach,
            "agrees": printed["agrees"].map({True: "yes", False: "no"}),
            "design": degrees[1],
            "p design": p["p_design"],
        }
    )


def show_claims(claims: pd.DataFrame, null: bool = False) -> pd.DataFrame:
    """Verdicts for reading: what was printed, the two verdicts, differences or what is missing.

    Parameters
    ----------
    claims : DataFrame
        ``Study.claims``.
    null : bool
        Those that claim no difference, in place of those that claim one.
    """
    claims = claims[claims["null_claim"].astype(bool) == null]
    named = {"published": "printed", "verdict_printed": "as printed", "note": "areas, or why not"}
    named |= {"verdict_design": "as designed"}
    return claims.rename(columns=named)[["printed", "as printed", "as designed", named["note"]]]
