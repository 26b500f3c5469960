"""Removing pixels by relevance, and what networks still recognise afterwards.

``masks``
    Which pixels: by relevance, by its sign, at random, or as scattered as relevance.
``fills``
    What stands in their place.
``scores``
    Every masked face once through every trunk, read by all destination models.
``tables``
    The scores for :mod:`lib.generalization`, curves, and what the sign of relevance explains.
``panels``
    Figures.

Source of the design: Crawford, Margalit, Grill-Spector and Poltoratski (2020), arXiv 2006.16795.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lib.masking.masks import (
    LEVELS,
    MASKS,
    SCATTERED,
    SIGNED,
    check_levels,
    check_maps,
    count_pixels,
    make_ranks,
    mask_pixels,
    rank_pixels,
)
from lib.masking.tables import (
    compute_chance,
    compute_own_curves,
    compute_random_curves,
    compute_shares_left,
    count_literal,
    count_own,
    scores_table,
    summarise_passes,
    summarise_rises,
)

if TYPE_CHECKING:
    from lib.masking.fills import FILLS, Filler
    from lib.masking.scores import BASELINES, Destinations, choose_sources, compute_scores

#: What needs a network is imported when it is asked for: the statistics read the scores without
#: TensorFlow.
_LATER = {"FILLS": "fills", "Filler": "fills", "BASELINES": "scores", "Destinations": "scores"}
_LATER |= {"choose_sources": "scores", "compute_scores": "scores"}

__all__ = [
    "BASELINES",
    "FILLS",
    "LEVELS",
    "MASKS",
    "SCATTERED",
    "SIGNED",
    "Destinations",
    "Filler",
    "check_levels",
    "check_maps",
    "choose_sources",
    "compute_chance",
    "compute_own_curves",
    "compute_random_curves",
    "compute_scores",
    "compute_shares_left",
    "count_literal",
    "count_own",
    "count_pixels",
    "make_ranks",
    "mask_pixels",
    "rank_pixels",
    "scores_table",
    "summarise_passes",
    "summarise_rises",
]


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
