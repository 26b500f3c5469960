"""The printed statistics: recomputed from their own numbers, and judged against this run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lib.errors import InputError

#: What the paper prints about F: effect, F, degrees of freedom, p, and the df of the real design.
PRINTED = (
    ("identity: pretraining", 49.6, (1, 16), 2.8e-6, (1, 8)),
    ("identity: source", 1.88, (1, 16), 0.19, (1, 8)),
    ("gender: pretraining", 34.5, (1, 16), 2.4e-5, (1, 8)),
    ("four sources, smallest of four", 3.3, (3, 16), 0.05, (3, 12)),
)


def _decimals(number: float) -> int:
    """Decimals of a number as printed: 49.6 has one."""
    return len(repr(number).partition(".")[2])


def recompute_printed() -> pd.DataFrame:
    """p from each printed F, with the printed degrees of freedom and with those of the design.

    Returns
    -------
    DataFrame
        ``effect``, ``F``, ``df1``, ``df2``, ``p_printed``, ``p_recomputed``, ``p_low`` and
        ``p_high`` (F anywhere in its rounding interval), ``agrees`` (printed p, to its two figures,
        is within them; for the four sources, printed as "p < .05", p is below), ``design_df1``,
        ``design_df2``, ``p_design`` (the same F, as if the error term were the same: what the
        degrees of freedom alone change).
    """
    rows = []
    for effect, F, (df1, df2), printed, design in PRINTED:
        step = 0.5 * 10.0 ** -_decimals(F)
        low, high = stats.f.sf(F + step, df1, df2), stats.f.sf(F - step, df1, df2)
        p = stats.f.sf(F, df1, df2)
        if effect.startswith("four sources"):
            agrees = p < printed
        else:
            # half a unit of the second significant figure
            slack = 0.5 * 10.0 ** (np.floor(np.log10(printed)) - 1)
            agrees = low - slack <= printed <= high + slack
        rows.append(
            {
                "effect": effect,
                "F": F,
                "df1": df1,
                "df2": df2,
                "p_printed": printed,
                "p_recomputed": p,
                "p_low": low,
                "p_high": high,
                "agrees": bool(agrees),
                "design_df1": design[0],
                "design_df2": design[1],
                "p_design": stats.f.sf(F, *design),
            }
        )
    return pd.DataFrame(rows)


class Claim(NamedTuple):
    """A printed outcome, and how it is looked up in the tables of this run.

    ``table`` names the table, ``key`` the effect or pair of bins in it. ``expect`` is the printed
    outcome of each test: ``effect`` (p below alpha), ``null`` (p not below alpha) or ``higher``
    (effect, and the second bin has the larger area). ``where`` selects tasks or destination types;
    ``count`` of the selected tests came out so in print. ``bound`` is what the p-values of a claim
    of no difference were printed to exceed; ``exception_to`` is the claim without which this one,
    its exception, says nothing.
    """

    id: str
    published: str
    table: str
    key: str | tuple[str, str]
    expect: str
    where: tuple[tuple[str, str], ...]
    count: int
    bound: float = 0.0
    exception_to: str = ""

    @property
    def is_null(self) -> bool:
        """Whether it claims that there is *no* difference."""
        return self.expect == "null"


#: (role of the pretraining, task); "general" is ImageNet in the paper, "face" VGGFace.
TYPES = (
    ("general", "identity"),
    ("general", "gender"),
    ("face", "identity"),
    ("face", "gender"),
)
OTHER_TASK = ("same_instance", "other_task")
OTHER_PRETRAINING = ("same_instance", "other_pretraining")
BOTH_OTHER = ("other_pretraining", "other_both")
CLAIMS = (
    Claim(
        "identity_pretraining",
        "identity: pretraining matters, F(1,16) = 49.6, p = 2.8e-6",
        "initialisation",
        "pretraining",
        "effect",
        (("all", "identity"),),
        1,
    ),
    Claim(
        "identity_source",
        "identity: same and other initialisation do not differ, F(1,16) = 1.88, p = .19",
        "initialisation",
        "source",
        "null",
        (("all", "identity"),),
        1,
    ),
    Claim(
        "gender_pretraining",
        "gender: pretraining matters, F(1,16) = 34.5, p = 2.4e-5",
        "initialisation",
        "pretraining",
        "effect",
        (("all", "gender"),),
        1,
    ),
    Claim(
        "four_sources",
        "the source matters in four of four destination types, F(3,16) > 3.3, p < .05",
        "source",
        "source",
        "effect",
        TYPES,
        4,
    ),
    Claim(
        "other_task",
        "other task does not differ from same instance in four of four, ps > .06",
        "pairwise",
        OTHER_TASK,
        "null",
        TYPES,
        4,
        bound=0.06,
    ),
    Claim(
        "other_pretraining",
        "other pretraining has a higher AUC than same instance in three of four, ps < .03",
        "pairwise",
        OTHER_PRETRAINING,
        "higher",
        TYPES,
        3,
    ),
    Claim(
        "exception",
        "the exception is ImageNet-gender: other pretraining does not differ, ps > .08",
        "pairwise",
        OTHER_PRETRAINING,
        "null",
        (("general", "gender"),),
        1,
        bound=0.08,
        exception_to="other_pretraining",
    ),
    Claim(
        "both_other",
        "the two bins of other pretraining do not differ in four of four, ps > .92",
        "pairwise",
        BOTH_OTHER,
        "null",
        TYPES,
        4,
        bound=0.92,
    ),
)
#: Verdicts from the best to the worst.
RANKS = ("reproduced", "same direction", "not reproduced", "not testable")


class Outcome(NamedTuple):
    """One test of this run: p in both forms, the tests in words, difference of areas, note."""

    label: str
    printed: float = np.nan
    design: float = np.nan
    printed_text: str = "no p"
    design_text: str = "no p"
    difference: float = np.nan
    note: str = ""


def _in_words(row: pd.Series, p: float) -> str:
    if np.isnan(p):
        return "no p"
    interval = f"[{row['np2_low']:.2f}, {row['np2_high']:.2f}]"
    return (
        f"F({row['df1']:.0f},{row['df2']:.0f}) = {row['F']:.3g}, p = {p:.2g}, "
        f"np2 = {row['np2']:.2f} {interval}"
    )


def _look_up(claim: Claim, tables: dict[str, pd.DataFrame], roles: dict[str, str]) -> list[Outcome]:
    """Outcome of every test that the claim selects."""
    table = tables[claim.table]
    found = []
    for role, task in claim.where:
        pretraining = roles[role]
        rows = table.loc[(table["task"] == task) & (table["pretraining"] == pretraining)]
        label = task if role == "all" else f"{pretraining} {task}"
        if claim.table == "pairwise":
            rows = rows.loc[(rows["first"] == claim.key[0]) & (rows["second"] == claim.key[1])]
        else:
            rows = rows.loc[rows["effect"] == claim.key].set_index("form")
        if rows.empty:
            found.append(Outcome(label, note="no such models"))
        elif claim.table == "pairwise":
            row = rows.iloc[0]
            p = row["p_tukey"], row["p_holm"]
            words = ["no p" if np.isnan(v) else f"p = {v:.2g}" for v in p]
            found.append(Outcome(label, *p, *words, row["difference"], row["note"]))
        else:
            printed, design = rows.loc["printed"], rows.loc["design"]
            # the Greenhouse-Geisser p where there is one: sphericity is not taken for granted
            corrected = design["p"] if np.isnan(design["p_GG"]) else design["p_GG"]
            words = _in_words(printed, printed["p"]), _in_words(design, corrected)
            found.append(Outcome(label, printed["p"], corrected, *words, note=design["note"]))
    return found


def _judge(claim: Claim, p: np.ndarray, difference: np.ndarray, alpha: float) -> str:
    if np.isnan(p).any():
        return "not testable"
    holds = p >= alpha if claim.is_null else p < alpha
    if claim.expect == "higher":
        holds &= difference > 0
    # p = .31 is no "p > .92", though neither of them is an effect
    if (holds & (p > claim.bound) if claim.is_null else holds).sum() >= claim.count:
        return "reproduced"
    if claim.is_null and holds.sum() >= claim.count:
        return "same direction"
    if claim.expect == "higher":
        # the sign alone, in as many types as printed
        return "same direction" if (difference > 0).sum() >= claim.count else "not reproduced"
    most = len(p) > 1 and holds.sum() > len(p) / 2
    return "same direction" if most else "not reproduced"


def verdict(
    initialisation: pd.DataFrame,
    source: pd.DataFrame,
    pairwise: pd.DataFrame,
    general: str = "imagenet",
    face: str = "vggface",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Verdict on each printed claim, from the tables of this run.

    Parameters
    ----------
    initialisation, source, pairwise : DataFrame
        From :func:`compute_initialisation_anova`, :func:`compute_source_anova` and
        :func:`compute_pairwise`, all on one pair of pretrainings.
    general, face : str
        Pretrainings that stand where ImageNet and VGGFace stand in the paper.
    alpha : float

    Returns
    -------
    DataFrame
        Per claim: ``claim``, ``published``, ``outcome_printed`` and ``outcome_design`` (each test
        in words: F with partial eta squared and its interval, or p of a pair), ``verdict_printed``
        and ``verdict_design``, ``note`` (differences of areas, and why something is missing),
        ``null_claim`` (whether it claims that there is no difference).

        *reproduced*: at least as many of the tests come out as printed. *same direction*: fewer,
        but for a claim of "higher" the sign of the difference is the published one in as many
        destination types as printed, and for a claim about four types more than half of them come
        out as printed. *not reproduced*: neither. *not testable*: a test that the claim needs has
        no p; the note says why.

        A claim of no difference is *reproduced* when no p is below alpha and all exceed the bound
        that was printed ("ps > .92"), and has the *same direction* when they are between the two.
        It is not thereby shown to be true, and the fewer networks there are the sooner it comes
        out so: count it apart from the others, and see the differences in the note. An exception
        is judged no better than the claim to which it is one.

    Raises
    ------
    InputError
        A table of another shape, ``general`` and ``face`` the same, or alpha outside 0 to 1.
    """
    if general == face:
        raise InputError(f"general and face are both {general!r}; name two pretrainings.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha = {alpha} is refused; it lies between 0 and 1.")
    tables = {"initialisation": initialisation, "source": source, "pairwise": pairwise}
    for name, table in tables.items():
        needed = {"task", "pretraining", "note"}
        needed |= {"p_tukey", "p_holm"} if name == "pairwise" else {"form", "effect", "p", "p_GG"}
        if not needed <= set(table.columns):
            raise InputError(
                f"The {name} table lacks {', '.join(sorted(needed - set(table.columns)))}; "
                "pass the tables of compute_initialisation_anova, compute_source_anova and "
                "compute_pairwise in this order."
            )
    roles = {"all": "all", "general": general, "face": face}
    rows: dict[str, dict] = {}
    for claim in CLAIMS:
        found = _look_up(claim, tables, roles)
        difference = np.array([f.difference for f in found])
        notes = list(dict.fromkeys(f"{f.label}: {f.note}" for f in found if f.note))
        if np.isfinite(difference).any():
            shown = [f"{f.label} {f.difference:+.3f}" for f in found]
            notes.insert(0, "difference of areas: " + ", ".join(shown))
        row = {"claim": claim.id, "published": claim.published}
        for form in ("printed", "design"):
            p = np.array([getattr(f, form) for f in found], float)
            words = [f"{f.label} {getattr(f, form + '_text')}" for f in found]
            row[f"outcome_{form}"] = "; ".join(words)
            judged = _judge(claim, p, difference, alpha)
            if claim.exception_to:
                rule = rows[claim.exception_to][f"verdict_{form}"]
                if RANKS.index(rule) > RANKS.index(judged):
                    judged = rule
                    notes.append(
                        f"{form}: judged as {claim.exception_to}, its rule, which is {rule}"
                    )
            row[f"verdict_{form}"] = judged
        rows[claim.id] = {**row, "note": "; ".join(notes), "null_claim": claim.is_null}
    return pd.DataFrame(rows.values())
