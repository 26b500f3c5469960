"""People and networks: which of these two faces looks more like the target?

From logits to choices (`choices`), from choices to trial lists (`trials`), from answers to a
checked table (`responses`), or simulated ones (`simulate`), and what they say (`statistics`,
`mixed`, `prediction`); `printed` and `coverage` look after the paper's numbers and our own methods.
Tables in, tables out.
"""

from lib.humans.choices import (
    compute_agreement,
    compute_choices,
    compute_rank2,
    find_disagreements,
)
from lib.humans.coverage import simulate_coverage
from lib.humans.mixed import MixedFit, fit_mixed_model
from lib.humans.prediction import (
    compare_dissimilarities,
    compute_dissimilarity,
    predict_choices,
)
from lib.humans.printed import recompute_printed
from lib.humans.responses import (
    ExclusionRules,
    apply_exclusions,
    check_responses,
    load_responses,
    score_responses,
    summarise_observers,
)
from lib.humans.simulate import simulate_observers
from lib.humans.statistics import (
    chance_of_extreme,
    compute_consistency,
    compute_power,
    compute_preference,
    find_observers,
    summarise_identities,
)
from lib.humans.trials import make_practice, make_trials

__all__ = [
    "ExclusionRules",
    "MixedFit",
    "apply_exclusions",
    "chance_of_extreme",
    "check_responses",
    "compare_dissimilarities",
    "compute_agreement",
    "compute_choices",
    "compute_consistency",
    "compute_dissimilarity",
    "compute_power",
    "compute_preference",
    "compute_rank2",
    "find_disagreements",
    "find_observers",
    "fit_mixed_model",
    "load_responses",
    "make_practice",
    "make_trials",
    "predict_choices",
    "recompute_printed",
    "score_responses",
    "simulate_coverage",
    "simulate_observers",
    "summarise_identities",
    "summarise_observers",
]
