"""Relevance of pixels for the decisions of a family of networks on one trunk."""

from lib.relevance.composites import COMPOSITES, Composite, get_composite
from lib.relevance.compute import (
    METHODS,
    Difference,
    RelevanceBatch,
    choose_precision,
    compute_relevance,
    make_engine,
    normalise_maps,
)
from lib.relevance.rules import (
    AlphaBetaRule,
    EpsilonRule,
    FlatRule,
    GammaRule,
    GradientRule,
    Rule,
    WSquareRule,
    ZBoxRule,
    ZPlusRule,
)

__all__ = [
    "COMPOSITES",
    "METHODS",
    "AlphaBetaRule",
    "Composite",
    "Difference",
    "EpsilonRule",
    "FlatRule",
    "GammaRule",
    "GradientRule",
    "RelevanceBatch",
    "Rule",
    "WSquareRule",
    "ZBoxRule",
    "ZPlusRule",
    "choose_precision",
    "compute_relevance",
    "get_composite",
    "make_engine",
    "normalise_maps",
]
