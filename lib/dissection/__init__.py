"""Hierarchical dissection of face networks: which unit answers to which concept of a face?

Teotia, Lapedriza, Ostadabbas 2022 (arXiv 2108.10360). In the order of the computation:

``dissect``
    Activations streamed over a dictionary, overlaps of units with concepts.
``tails``
    The activations from which thresholds are found and overlaps are counted, kept meanwhile.
``tally``
    The counting.
``chance``
    How large an overlap would be by chance, and how many are larger.
``hierarchy``
    Regions, probabilities, detectors, bias.
``summary``
    Tables and galleries.
"""

from lib.dissection.chance import adjust_p, compute_p, standardise
from lib.dissection.dissect import dissect, iter_maps, list_layers
from lib.dissection.hierarchy import (
    compute_bias,
    compute_ranks,
    compute_scores,
    compute_strength,
    find_detectors,
)
from lib.dissection.summary import (
    pair_units,
    summarise_bias,
    summarise_chance,
    summarise_detectors,
    unit_gallery,
)

__all__ = [
    "adjust_p",
    "compute_bias",
    "compute_p",
    "compute_ranks",
    "compute_scores",
    "compute_strength",
    "dissect",
    "find_detectors",
    "iter_maps",
    "list_layers",
    "pair_units",
    "standardise",
    "summarise_bias",
    "summarise_chance",
    "summarise_detectors",
    "unit_gallery",
]
