"""Verdicts on printed claims, side by side for two runs, and their counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.claims import dissection, relevance, salience
from lib.claims.evidence import Evidence, NotTestable
from lib.claims.here import Here
from lib.claims.reported import PAPERS
from lib.errors import InputError
from lib.generalization.claims import CLAIMS

#: From the best case to none.
VERDICTS = ("reproduced", "same direction", "not reproduced", "not testable")
NOT_RUN = "not run yet"


class Evaluator(NamedTuple):
    """How a claim is looked up, and the section of the chapter that computes it.

    The section is empty as long as the chapter has none for it.
    """

    compute: Callable[[Evidence], Here]
    chapter: str
    section: str


def _of(chapter: str, section: str, **computes: Callable[[Evidence], Here]) -> dict:
    return {claim: Evaluator(compute, chapter, section) for claim, compute in computes.items()}


#: Claim -> how it is looked up. Sections are headings of the chapter.
EVALUATORS: dict[str, Evaluator] = {
    **_of(
        "02_finetuning",
        "Faces and trunks",
        images=relevance.count_images,
        people=relevance.count_people,
        viewpoints=relevance.count_viewpoints,
        viewpoint_step=relevance.find_viewpoint_step,
    ),
    **_of("01_faces", "The images", side=relevance.read_side),
    **_of(
        "02_finetuning",
        "Twenty readouts",
        networks=relevance.count_networks,
        initialisations=relevance.count_initialisations,
        epochs=relevance.count_epochs,
    ),
    **_of("02_finetuning", "Printed and here", accuracy=relevance.find_lowest_accuracy),
    **_of("04_masking", "What is removed", levels=relevance.count_levels),
    **_of("04_masking", "Four sources", bump=relevance.find_bump),
    **_of("04_masking", "The sign of what is removed", bump_sign=relevance.compare_signs_left),
    **_of(
        "05_generalization",
        "Five bins of sources",
        draws=relevance.read_draws,
    ),
    **_of(
        "05_generalization",
        "Areas under the curves",
        less_across_pretraining=relevance.compare_other_pretraining_and_task,
    ),
    **_of(
        "05_generalization",
        "Does the initialisation matter?",
        stable_initialisations=relevance.count_stable_types,
        identity_pretraining=relevance.judged_in_05("identity_pretraining"),
        identity_source=relevance.judged_in_05("identity_source"),
        gender_pretraining=relevance.judged_in_05("gender_pretraining"),
    ),
    **_of(
        "05_generalization",
        "Does the source matter?",
        four_sources=relevance.judged_in_05("four_sources"),
        other_task=relevance.judged_in_05("other_task"),
        other_pretraining=relevance.judged_in_05("other_pretraining"),
        exception=relevance.judged_in_05("exception"),
        both_other=relevance.judged_in_05("both_other"),
    ),
    **_of("06_humans", "Rank-2 choices", rank2_differ=relevance.share_differing),
    **_of(
        "06_humans",
        "Reported and here",
        observers=relevance.read_people("observers", digits=0),
        preference=relevance.read_people("preference for the first pretraining, %", 50),
        preference_test=relevance.test_preference,
        extreme_face=relevance.read_people(
            "highest preference of an identity for the first, %", 50
        ),
        extreme_general=relevance.read_people(
            "highest preference of an identity for the other, %", 50
        ),
    ),
    **_of(
        "01_faces",
        "The Face Dictionary",
        concepts=dissection.count_concepts(),
        action_units=dissection.count_concepts("action unit"),
        parts=dissection.count_concepts("part"),
        attributes=dissection.count_concepts("attribute"),
        regions=dissection.count_regions,
    ),
    **_of("07_dissection", "How many units detect what", tasks_differ=dissection.compare_tasks),
    **_of(
        "07_dissection",
        "A cue that was planted",
        bias_levels=dissection.count_percents,
        glasses_detectors=dissection.find_eye_slope,
        grey_units=dissection.count_rising_blocks,
        grey_slopes=dissection.count_steeper_steps,
    ),
    **_of(
        "08_salience",
        "The measures",
        transforms=salience.count_transforms,
        amounts=salience.count_amounts,
    ),
    **_of(
        "08_salience",
        "Two ways of training: cross-entropy and CYBORG",
        runs=salience.count_runs,
        run_pairs=salience.count_run_pairs,
        kinds_differ=salience.count_differing,
        guided_generalises=salience.compare_unseen,
    ),
}
#: Claim -> why it is not looked up in a run.
GIVEN: dict[str, str] = {
    **dict.fromkeys(
        (
            *("identity_pretraining_F", "identity_source_F", "gender_pretraining_F"),
            *("four_sources_F", "entropy_sample_bits"),
        ),
        "printed; another printed number is recomputed from it",
    ),
    **dict.fromkeys(
        ("other_task_p", "other_pretraining_p", "exception_p", "both_other_p"),
        "a bound, printed with its claim and judged with it in 05_generalization",
    ),
    **dict.fromkeys(
        (
            *("identity_pretraining_p", "identity_source_p", "gender_pretraining_p"),
            *("four_sources_p", "preference_sem", "preference_t", "preference_p"),
            "entropy_sample",
        ),
        "recomputed from other printed numbers",
    ),
}
#: Claims that there is *no* difference: the less was measured, the sooner they come out so.
NULL = {claim.id for claim in CLAIMS if claim.expect == "null"} | {"stable_initialisations"}


def holds(value: float, operator: str, printed: float, tolerance: float = 0.0) -> bool:
    """Whether a value stands in the printed relation; ``=`` within the tolerance.

    A hair of slack lets ends of intervals count, which are floating-point numbers.
    """
    if operator == "=":
        return bool(abs(value - printed) <= tolerance + 1e-9 * max(1.0, abs(printed)))
    relations = {
        ">": value > printed,
        ">=": value >= printed,
        "<": value < printed,
        "<=": value <= printed,
    }
    return bool(relations[operator])


class Outcome(NamedTuple):
    """A claim judged: the value, in words, the verdict, and why there is none."""

    value: float
    words: str
    verdict: str
    why: str = ""


def judge_claim(claim: pd.Series, evidence: Evidence, compute: Callable[[Evidence], Here]):
    """Verdict of one run on one claim.

    Parameters
    ----------
    claim : Series
        Row of :func:`lib.claims.reported.load_reported`.
    evidence : Evidence
    compute : callable
        Evidence -> Here; raises NotTestable.

    Returns
    -------
    Outcome
        *reproduced*: the value stands in the printed relation, with its interval where it has one.
        *same direction*: it does not, but is on the published side. *not reproduced*: neither.
        *not testable*: ``why``.
    """
    try:
        here = compute(evidence)
    except NotTestable as reason:
        return Outcome(np.nan, "", "not testable", str(reason))
    words = here.words or f"{here.value:g}"
    if here.verdict:
        return Outcome(here.value, words, here.verdict)
    if np.isnan(here.value):
        return Outcome(here.value, "", "not testable", "no value could be computed")
    bound = {">": here.low, ">=": here.low, "<": here.high, "<=": here.high}
    end = bound.get(claim["operator"], np.nan)
    tested = here.value if np.isnan(end) else end
    if holds(tested, claim["operator"], claim["value"], claim["tolerance"]):
        return Outcome(here.value, words, "reproduced")
    return Outcome(here.value, words, "same direction" if here.direction else "not reproduced")


def _judge_or_say(claim: pd.Series, evidence: Evidence) -> Outcome:
    if claim["id"] in EVALUATORS:
        return judge_claim(claim, evidence, EVALUATORS[claim["id"]].compute)
    if claim["id"] in GIVEN:
        return Outcome(np.nan, "", "not testable", GIVEN[claim["id"]])
    raise InputError(
        f"Claim {claim['id']!r} of reported.csv has no evaluator in lib/claims/judge.py; add one, "
        "or say in GIVEN why it has none."
    )


def anchor(section: str) -> str:
    """Anchor of a heading in a page of the book."""
    letters = "".join(c if c.isascii() and c.isalnum() else " " for c in section.lower())
    return "-".join(letters.split())


def compare_claims(reported: pd.DataFrame, here: Evidence, paper: Evidence) -> pd.DataFrame:
    """Published, paper-scale run, this run, verdict: a row for each claim that a run can bear on.

    Parameters
    ----------
    reported : DataFrame
        From :func:`lib.claims.reported.load_reported`.
    here, paper : Evidence
        Of this run, and of the committed paper-scale run, which may not exist.

    Returns
    -------
    DataFrame
        ``id``, ``paper``, ``place``, ``kind`` (result or design), ``claim``, ``quantity``,
        ``operator``, ``printed``, ``unit``; ``paper_value``, ``paper_words``, ``paper_verdict``
        (empty where that run is not there); ``value``, ``words``, ``verdict``, ``why``;
        ``null_claim`` (whether it claims that there is no difference); ``chapter`` and ``section``
        that compute it (empty where none does).

    Raises
    ------
    InputError
        A claim has neither evaluator nor reason, or a table is damaged.
    """
    rows = []
    for _, claim in reported.loc[reported["kind"] != "statistic"].iterrows():
        outcome = _judge_or_say(claim, here)
        scaled = Outcome(np.nan, NOT_RUN, "")
        if paper.exists:
            scaled = _judge_or_say(claim, paper)
        evaluator = EVALUATORS.get(claim["id"])
        rows.append(
            {
                **claim[["id", "paper", "place", "kind", "claim", "quantity", "operator"]],
                "printed": claim["value"],
                "unit": claim["unit"],
                "paper_value": scaled.value,
                "paper_words": scaled.words or scaled.why,
                "paper_verdict": scaled.verdict,
                "value": outcome.value,
                "words": outcome.words,
                "verdict": outcome.verdict,
                "why": outcome.why,
                "null_claim": claim["id"] in NULL,
                "chapter": evaluator.chapter if evaluator else "",
                "section": evaluator.section if evaluator else "",
            }
        )
    return pd.DataFrame(rows)


def count_verdicts(table: pd.DataFrame, column: str = "verdict") -> pd.DataFrame:
    """Results per paper and verdict.

    Parameters
    ----------
    table : DataFrame
        From :func:`compare_claims`.
    column : {"verdict", "paper_verdict"}

    Returns
    -------
    DataFrame
        ``paper`` in words, one column per verdict, ``claims``, ``null claims reproduced`` (those of
        *reproduced* that claim no difference). The last row is over all papers.
    """
    results = table.loc[table["kind"] == "result"]
    rows = []
    for paper, words in {**PAPERS, "": "all"}.items():
        part = results if paper == "" else results.loc[results["paper"] == paper]
        counts = {verdict: int((part[column] == verdict).sum()) for verdict in VERDICTS}
        empty = int((part["null_claim"] & (part[column] == "reproduced")).sum())
        rows.append(
            {"paper": words, **counts, "claims": len(part), "null claims reproduced": empty}
        )
    return pd.DataFrame(rows)
