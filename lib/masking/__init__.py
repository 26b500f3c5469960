"""Removing pixels by relevance, and what networks still recognise afterwards.

``masks``
    Which pixels: by relevance, by its sign, at random, or as scattered as relevance.
``fills``
    What stands in their place.
``scores``
    Every masked face once through every trunk, read by all destination models.
``study``
    What it needs of a run.
``tables``
    The scores for :mod:`lib.generalization`, curves, and what the sign of relevance explains.
``panels``
    Figures.

Source of the design: Crawford, Margalit, Grill-Spector and Poltoratski (2020), arXiv 2006.16795.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lib.masking.masks import (
    BASELINES,
    LEVELS,
    MASKS,
    SCATTERED,
    SIGNED,
    check_levels,
    check_maps,
    choose_sources,
    count_pixels,
    example_masks,
    find_constant,
    make_ranks,
    mask_pixels,
    rank_pixels,
)
from lib.masking.tables import (
    compute_chance,
    compute_overlaps,
    compute_own_curves,
    compute_random_curves,
    compute_shares_left,
    compute_source_curves,
    count_literal,
    count_own,
    example_rows,
    explain_rises,
    list_missing_signs,
    scores_table,
    summarise_findings,
    summarise_passes,
    summarise_rises,
    summarise_shares,
    tabulate_areas,
)

if TYPE_CHECKING:
    from lib.masking.fills import FILLS, Filler, example_fills
    from lib.masking.scores import Destinations, compute_scores
    from lib.masking.study import Study, load_study

#: What needs a network is imported when it is asked for: the statistics read the scores without
#: TensorFlow.
_LATER = {"FILLS": "fills", "Filler": "fills", "example_fills": "fills", "Destinations": "scores"}
_LATER |= {"compute_scores": "scores", "Study": "study", "load_study": "study"}

__all__ = [
    "BASELINES",
    "FILLS",
    "LEVELS",
    "MASKS",
    "SCATTERED",
    "SIGNED",
    "Destinations",
    "Filler",
    "Study",
    "check_levels",
    "check_maps",
    "choose_sources",
    "compute_chance",
    "compute_overlaps",
    "compute_own_curves",
    "compute_random_curves",
    "compute_scores",
    "compute_shares_left",
    "compute_source_curves",
    "count_literal",
    "count_own",
    "count_pixels",
    "example_fills",
    "example_masks",
    "example_rows",
    "explain_rises",
    "find_constant",
    "list_missing_signs",
    "load_study",
    "make_ranks",
    "mask_pixels",
    "rank_pixels",
    "scores_table",
    "summarise_findings",
    "summarise_passes",
    "summarise_rises",
    "summarise_shares",
    "tabulate_areas",
]


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
