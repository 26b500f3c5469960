"""Claims of Teotia et al. (2022), looked up in the tables of chapters 01 and 07."""

from __future__ import annotations

from collections.abc import Callable

from lib.claims.evidence import Evidence
from lib.claims.here import Here


def count_concepts(kind: str = "") -> Callable[[Evidence], Here]:
    """Evaluator: local concepts of a kind in the Face Dictionary, or all of them."""

    def evaluate(evidence: Evidence) -> Here:
        table = evidence.table("concepts", ["concept", "kind"])
        return Here(int((table["kind"] == kind).sum() if kind else len(table)))

    return evaluate


def count_regions(evidence: Evidence) -> Here:
    """Regions of the face that the concepts belong to."""
    return Here(int(evidence.table("concepts", ["region"])["region"].nunique()))
