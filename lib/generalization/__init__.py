"""Does a network's relevance also matter to another network? Bins, areas, tests, verdicts.

Works on tables alone (no TensorFlow), in the order of chapter 05:

``bins``
    Scores of every (source, destination) pair; the five bins of sources; the exact expectation
    over a bin and the published 100 draws.
``auc``
    Area under accuracy against the percentage of pixels masked.
``anova``
    Analyses of variance, each in the printed form and in the one the design demands; effect sizes
    with confidence intervals; assumptions; pairwise tests; the pretraining effect over trunks.
``identities``
    Mixed-effects model in which faces and networks are both random.
``claims``
    The printed p-values recomputed, and a verdict on each printed claim.
``study``, ``panels``
    All of it for one pair of pretrainings, its tables in words, and its figures.

Source of the design: Crawford, Margalit, Grill-Spector and Poltoratski (2020), arXiv 2006.16795.
"""

from lib.generalization.anova import (
    compute_assumptions,
    compute_initialisation_anova,
    compute_pairwise,
    compute_source_anova,
    compute_trunk_anova,
    partial_eta_squared_interval,
    summarise_replication,
)
from lib.generalization.auc import area_under_curve, compute_auc, summarise_auc, summarise_curves
from lib.generalization.bins import (
    BINS,
    Model,
    assign_bins,
    bin_of,
    check_scores,
    compare_draws,
    compute_accuracy,
    compute_draws,
    compute_expectation,
    family_of,
    list_pairs,
    list_trunk_pairs,
    select_pair,
    summarise_gaps,
)
from lib.generalization.claims import CLAIMS, recompute_printed, verdict
from lib.generalization.identities import compute_identity_model, fit_crossed

__all__ = [
    "BINS",
    "CLAIMS",
    "Model",
    "area_under_curve",
    "assign_bins",
    "bin_of",
    "check_scores",
    "compare_draws",
    "compute_accuracy",
    "compute_assumptions",
    "compute_auc",
    "compute_draws",
    "compute_expectation",
    "compute_identity_model",
    "compute_initialisation_anova",
    "compute_pairwise",
    "compute_source_anova",
    "compute_trunk_anova",
    "family_of",
    "fit_crossed",
    "list_pairs",
    "list_trunk_pairs",
    "partial_eta_squared_interval",
    "recompute_printed",
    "select_pair",
    "summarise_auc",
    "summarise_curves",
    "summarise_gaps",
    "summarise_replication",
    "verdict",
]
