"""People and networks: which of these two faces looks more like the target?

From logits to choices (`choices`), from choices to trial lists (`trials`), from answers to a
checked table (`responses`), or simulated ones (`simulate`), and what they say (`statistics`,
`mixed`, `prediction`, all at once in `study`); `printed` and `coverage` look after the paper's
numbers and our own methods. Tables in, tables out; `panels` draws them.
"""

from lib.humans.choices import (
    compute_agreement,
    compute_choices,
    compute_rank2,
    find_disagreements,
    summarise_agreement,
    summarise_choices,
)
from lib.humans.coverage import simulate_coverage
from lib.humans.mixed import MixedFit, fit_mixed_model
from lib.humans.prediction import (
    FACE_PARTS,
    IDENTITIES_PER_PREDICTOR,
    compare_dissimilarities,
    compute_closeness,
    compute_dissimilarity,
    compute_part_dissimilarities,
    predict_choices,
)
from lib.humans.printed import recompute_printed
from lib.humans.responses import (
    ExclusionRules,
    apply_exclusions,
    check_names,
    check_responses,
    hash_responses,
    load_responses,
    score_responses,
    summarise_observers,
)
from lib.humans.simulate import log_odds_of_mean, mean_of_log_odds, simulate_observers
from lib.humans.statistics import (
    chance_of_extreme,
    compute_consistency,
    compute_power,
    compute_preference,
    find_observers,
    summarise_identities,
)
from lib.humans.study import (
    Analysis,
    analyse_responses,
    choose_pair,
    compare_with_printed,
    select_models,
    split_models,
    summarise_consistency,
    summarise_mixed,
)
from lib.humans.trials import make_practice, make_trials, summarise_trials
from lib.humans.words import (
    name_observers,
    state_choices,
    state_closeness,
    state_predictors,
    state_preference,
    state_representations,
    write_p,
    write_short,
)

__all__ = [
    "FACE_PARTS",
    "IDENTITIES_PER_PREDICTOR",
    "Analysis",
    "ExclusionRules",
    "MixedFit",
    "analyse_responses",
    "apply_exclusions",
    "chance_of_extreme",
    "check_names",
    "check_responses",
    "choose_pair",
    "compare_dissimilarities",
    "compare_with_printed",
    "compute_agreement",
    "compute_choices",
    "compute_closeness",
    "compute_consistency",
    "compute_dissimilarity",
    "compute_part_dissimilarities",
    "compute_power",
    "compute_preference",
    "compute_rank2",
    "find_disagreements",
    "find_observers",
    "fit_mixed_model",
    "hash_responses",
    "load_responses",
    "log_odds_of_mean",
    "make_practice",
    "make_trials",
    "mean_of_log_odds",
    "name_observers",
    "predict_choices",
    "recompute_printed",
    "score_responses",
    "select_models",
    "simulate_coverage",
    "simulate_observers",
    "split_models",
    "state_choices",
    "state_closeness",
    "state_predictors",
    "state_preference",
    "state_representations",
    "summarise_agreement",
    "summarise_choices",
    "summarise_consistency",
    "summarise_identities",
    "summarise_mixed",
    "summarise_observers",
    "summarise_trials",
    "write_p",
    "write_short",
]
