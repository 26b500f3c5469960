"""What was printed, and what was found here: a verdict on every claim of the three papers.

Works on tables alone (no TensorFlow), in the order of chapter 09:

``reported``
    The ledger of printed claims, ``data/reported.csv``.
``evidence``
    Tables of a run, or of the committed paper-scale run, and what is missing of them.
``relevance``, ``dissection``, ``salience``
    How a claim of each of the three papers is looked up in these tables.
``judge``
    Verdicts, side by side for two runs, and their counts.
``printed``
    Printed numbers recomputed from one another.
``design``
    What stands where the papers had their faces, networks and observers.
``panels``, ``words``
    The figure, and tables with links.
"""

from lib.claims.design import describe_needs
from lib.claims.evidence import Evidence, NotTestable
from lib.claims.judge import (
    EVALUATORS,
    GIVEN,
    VERDICTS,
    compare_claims,
    count_verdicts,
    holds,
    judge_claim,
)
from lib.claims.printed import recompute_statistics
from lib.claims.reported import load_reported

__all__ = [
    "EVALUATORS",
    "GIVEN",
    "VERDICTS",
    "Evidence",
    "NotTestable",
    "compare_claims",
    "count_verdicts",
    "describe_needs",
    "holds",
    "judge_claim",
    "load_reported",
    "recompute_statistics",
]
