"""Choices, trial lists, statistics: hand-worked examples, second packages, planted effects."""

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import special, stats
from statsmodels.discrete.discrete_model import Logit
from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM
from statsmodels.regression.linear_model import OLS

from lib import humans
from lib.errors import InputError
from lib.humans.coverage import _as_scored, t_interval, wilson_interval
from lib.humans.mixed import _Problem
from lib.humans.simulate import log_odds_of_mean
from lib.humans.trials import balanced_sides

NAMES = [f"id{k:03d}" for k in range(1, 102)]


def table_of_choices(count=95, names=NAMES):
    """The first ``count`` identities with two different others each."""
    rng = np.random.default_rng(4)
    rows = []
    for k in range(count):
        others = [name for name in names if name != names[k]]
        rows.append((names[k], *rng.choice(others, 2, replace=False)))
    return pd.DataFrame(rows, columns=["identity", "synthface", "imagenet"])


def scored_from(matrix):
    """Scored trials of a table observers x identities of 0, 1 and NaN."""
    x = np.asarray(matrix, dtype=float)
    return _as_scored(x).assign(simulated=True)


# --- choices


def test_rank2_of_three_faces_worked_by_hand():
    logits = [
        # target a: b is second; target b: c is second; target c: the network errs, a beats c
        [[9.0, 5.0, 1.0], [2.0, 7.0, 3.0], [8.0, 1.0, 6.0]],
        [[9.0, 1.0, 5.0], [2.0, 7.0, 3.0], [1.0, 8.0, 9.0]],
    ]
    models = pd.DataFrame({"pretraining": ["imagenet", "synthface"], "model": [0, 1]})
    table = humans.compute_rank2(logits, ["a", "b", "c"], models)
    assert table["rank2"].tolist() == ["b", "c", "a", "c", "c", "b"]
    assert table["margin"].tolist() == [4, 4, -2, 4, 4, 1]
    assert table["second_margin"].tolist() == [4, 1, 7, 4, 1, 7]
    differ = humans.find_disagreements(humans.compute_choices(logits, ["a", "b", "c"], models))
    assert differ.columns.tolist() == ["identity", "synthface", "imagenet"]
    assert differ.to_numpy().tolist() == [["a", "c", "b"], ["c", "b", "a"]]
    agreement = humans.compute_agreement(table)
    assert agreement.to_numpy().tolist() == [[0, 1, pytest.approx(1 / 3), 0.5]]


def test_mean_logit_and_one_initialisation_give_their_own_choices():
    first = [[9, 5, 1], [5, 9, 1], [5, 1, 9]]  # rank-2 of a: b
    second = [[9, 1, 4], [5, 9, 1], [5, 1, 9]]  # rank-2 of a: c, but less clearly
    models = pd.DataFrame({"pretraining": ["x", "x"], "initialisation": [0, 1]})
    expected = {"mean": "b", 0: "b", 1: "c"}
    for initialisation, face in expected.items():
        table = humans.compute_choices([first, second], "abc", models, initialisation)
        assert table["rank2"].tolist() == [face, "a", "a"]
    with pytest.raises(InputError, match="give 'mean' or one of 0, 1"):
        humans.compute_choices([first, second], "abc", models, 7)


def test_equal_logits_go_to_the_earlier_identity():
    models = pd.DataFrame({"pretraining": ["x"]})
    table = humans.compute_rank2(np.zeros((1, 4, 4)), "abcd", models)
    assert table["rank2"].tolist() == ["b", "a", "a", "a"]


def test_logits_that_do_not_fit_are_refused():
    models = pd.DataFrame({"pretraining": ["x", "y"]})
    with pytest.raises(InputError, match="shape"):
        humans.compute_rank2(np.zeros((2, 3, 2)), "abc", models)
    with pytest.raises(InputError, match="repeated: a"):
        humans.compute_rank2(np.zeros((2, 3, 3)), "aba", models)
    broken = np.zeros((2, 3, 3))
    broken[1, 2, 0] = np.nan
    with pytest.raises(InputError, match="model 1 for 'c'"):
        humans.compute_rank2(broken, "abc", models)
    choices = humans.compute_choices(np.zeros((2, 3, 3)), "abc", models)
    with pytest.raises(InputError, match="the table of choices has y, x"):
        humans.find_disagreements(choices, ("x", "z"))


# --- trials


def test_sides_and_order_are_balanced_over_and_within_observers():
    differ = table_of_choices()
    trials = humans.make_trials(differ, 46, catch=8, seed=1)
    test = trials[trials["condition"] == "test"].copy()
    first = differ.set_index("identity")["synthface"]
    test["left_first"] = test["left"] == test["target"].map(first)
    by_identity = test.groupby("target")
    assert set(by_identity["left_first"].sum()) == {23}
    # 95 is odd: 47 or 48 on the left
    assert set(test.groupby("observer")["left_first"].sum()) == {47, 48}
    test["position"] = test.groupby("observer").cumcount() + 1
    assert by_identity["position"].mean().to_numpy() == pytest.approx(np.full(95, 48.0))
    for _, rows in test.groupby("observer"):
        assert set(rows["target"]) == set(differ["identity"])
        sides = "".join("L" if left else "R" for left in rows["left_first"])
        assert "LLLLL" not in sides and "RRRRR" not in sides
    # observers of different pairs see different orders
    orders = test.groupby("observer")["target"].agg(tuple)
    assert orders.nunique() == 46


def test_every_trial_shows_the_two_choices_and_catch_trials_the_target():
    differ = table_of_choices()
    trials = humans.make_trials(differ, 5, catch=8, seed=2)
    pairs = {row[0]: set(row[1:]) for row in differ.itertuples(index=False, name=None)}
    for row in trials.itertuples():
        shown = {row.left, row.right}
        if row.condition == "test":
            assert shown == pairs[row.target]
        else:
            assert row.target in shown and not shown & pairs[row.target]
    counts = trials[trials["condition"] == "catch"].groupby("observer")
    assert set(counts.size()) == {8}
    # spread over the session: one in every stretch of 103 / 8
    first_list = trials[(trials["observer"] == 1) & (trials["condition"] == "catch")]
    assert np.diff(first_list["trial"]).max() < 2 * 103 / 8 + 1
    catch = trials[trials["condition"] == "catch"]
    assert set((catch["left"] == catch["target"]).groupby(catch["observer"]).sum()) == {4}


def test_trials_repeat_with_the_seed_and_change_with_it():
    differ = table_of_choices(20)
    first = humans.make_trials(differ, 4, seed=3)
    pd.testing.assert_frame_equal(first, humans.make_trials(differ, 4, seed=3))
    assert not first.equals(humans.make_trials(differ, 4, seed=4))
    # asking for more observers does not change the lists of the first ones
    more = humans.make_trials(differ, 6, seed=3)
    pd.testing.assert_frame_equal(first, more[more["observer"] <= 4])


@pytest.mark.parametrize("count", range(9))
def test_balanced_sides_are_as_even_as_they_can_be(count):
    totals = {int(balanced_sides(count, np.random.default_rng(seed)).sum()) for seed in range(40)}
    assert totals == {count // 2, (count + 1) // 2}


def test_practice_uses_faces_that_are_not_asked_about():
    differ = table_of_choices()
    practice = humans.make_practice(differ, NAMES, 4)
    assert set(practice["target"]) <= set(NAMES[95:])
    for row in practice.itertuples():
        assert len({row.target, row.left, row.right}) == 3


def test_impossible_trials_are_refused():
    differ = table_of_choices(3)
    with pytest.raises(InputError, match="at least 1"):
        humans.make_trials(differ, 0)
    with pytest.raises(InputError, match="0 to 3"):
        humans.make_trials(differ, 2, catch=4)
    with pytest.raises(InputError, match="nothing to ask"):
        humans.make_trials(differ.iloc[:0], 2, catch=0)
    small = pd.DataFrame([("a", "b", "c"), ("b", "a", "c")], columns=differ.columns)
    with pytest.raises(InputError, match="Too few faces"):
        humans.make_trials(small, 2, catch=1)


# --- statistics


def test_preference_agrees_with_scipy_and_pingouin():
    x = np.random.default_rng(0).random((46, 95)) < 0.53
    scored = scored_from(x)
    found = humans.compute_preference(scored)
    values = x.mean(axis=1)
    reference = stats.ttest_1samp(values, 0.5)
    assert (found["t"], found["p"]) == pytest.approx((reference.statistic, reference.pvalue))
    assert found["sem"] == pytest.approx(stats.sem(values))
    low, high = reference.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    # pingouin.ttest(values, 0.5)
    table = pingouin.ttest(values, 0.5).iloc[0]
    assert abs(found["d"]) == pytest.approx(table["cohen_d"], abs=0.01)
    assert found["bf10"] == pytest.approx(float(table["BF10"]), rel=0.01)
    over = humans.compute_preference(scored, over="identities")
    assert over["t"] == pytest.approx(stats.ttest_1samp(x.mean(axis=0), 0.5).statistic)
    assert bool(found["simulated"])


def test_preference_of_equal_observers_has_no_test():
    found = humans.compute_preference(scored_from([[1, 0, 1], [0, 1, 1], [1, 1, 0]]))
    assert found["mean"] == pytest.approx(2 / 3) and found["sem"] == pytest.approx(0)
    assert np.isnan([found["t"], found["p"], found["bf10"]]).all()
    with pytest.raises(InputError, match="needs two"):
        humans.compute_preference(scored_from([[1, 0]]))


def test_identities_worked_by_hand_and_against_scipy():
    # identity 0: 3 of 4, identity 1: 0 of 3 (one unanswered), identity 2: 4 of 4
    table = humans.summarise_identities(
        scored_from([[1, 0, 1], [1, 0, 1], [1, np.nan, 1], [0, 0, 1]])
    )
    assert table["target"].tolist() == [2, 0, 1]
    assert table["taken"].tolist() == [4, 3, 0] and table["answers"].tolist() == [4, 4, 3]
    for method in ("wilson", "exact"):
        table = humans.summarise_identities(scored_from(np.eye(5)[:, :2]), method)
        for row in table.itertuples():
            test = stats.binomtest(row.taken, row.answers)
            interval = test.proportion_ci(method=method)
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
            assert row.p == pytest.approx(test.pvalue)
    # Holm by hand: p = 0.375 (1 of 5) twice -> 0.75 each
    assert table["p_holm"].tolist() == pytest.approx([0.75, 0.75])


def test_consistency_is_found_where_it_is_and_not_where_it_is_not():
    rng = np.random.default_rng(1)
    v = rng.normal(0, 1.0, 95)
    agreeing = rng.random((46, 95)) < special.expit(v)
    found = humans.compute_consistency(scored_from(agreeing), splits=100)
    # reliability expected from the variances: true / (true + binomial noise of a mean of 46)
    p = special.expit(v)
    expected = p.var() / (p.var() + (p * (1 - p)).mean() / 46)
    assert found["split_half"] == pytest.approx(expected, abs=0.03)
    assert found["q_p"] < 1e-10
    assert found["ceiling_low"] < found["ceiling_high"]
    assert found["ceiling_low"] > 0.25
    shuffled = np.array([rng.permutation(row) for row in agreeing])
    none = humans.compute_consistency(scored_from(shuffled), splits=100)
    assert abs(none["split_half"]) < 0.35
    assert abs(none["ceiling_low"]) < 0.05
    assert none["q_p"] > 0.01
    assert none["best_low"] == pytest.approx(0.5, abs=0.03)


def test_agreement_worked_by_hand():
    # identity 0: answers 1 1 1 0 -> 3 of 6 pairs equal; identity 1: all equal -> 6 of 6
    found = humans.compute_consistency(scored_from([[1, 0], [1, 0], [1, 0], [0, 0]]), splits=5)
    assert found["agreement"] == pytest.approx(9 / 12)
    assert found["agreement_chance"] == pytest.approx((3 / 8) ** 2 + (5 / 8) ** 2)
    with pytest.raises(InputError, match="needs 4"):
        humans.compute_consistency(scored_from([[1, 0], [0, 1]]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "x",
    [
        np.ones((5, 6)),  # unanimous
        np.repeat([[1.0], [0], [1], [0], [1]], 6, axis=1),  # everybody the same way throughout
        np.ones((5, 1)),  # one identity
        np.vstack([np.eye(6)[:1], np.ones((4, 6))]),  # one observer who differs at all
    ],
)
def test_consistency_of_answers_that_are_all_alike_is_said_to_be_impossible(x):
    with pytest.raises(InputError, match="hardly differ between identities"):
        humans.compute_consistency(scored_from(x), splits=20)


@pytest.mark.filterwarnings("error")
def test_who_answered_alone_is_predicted_by_nobody():
    # identity 2 was answered by observer 0 alone: the others say nothing about it
    x = np.array(
        [[1, 0, 0, 1, 1], [1, 0, np.nan, 1, 0], [0, 0, np.nan, 1, 1], [1, 1, np.nan, 0, 0]]
    )
    found = humans.compute_consistency(scored_from(x), splits=20)
    hits = []
    for o, i in zip(*np.nonzero(~np.isnan(x)), strict=True):
        rest = np.delete(x[:, i], o)
        if not np.isnan(rest).all():
            m = np.nanmean(rest)
            hits.append(0.5 if m == 0.5 else float((m > 0.5) == (x[o, i] == 1)))
    assert found["best_low"] == pytest.approx(np.mean(hits))


@pytest.mark.parametrize(("d", "n"), [(0.3457, 46), (0.1, 200), (0.0, 10), (1.2, 5), (-0.5, 20)])
def test_power_agrees_with_pingouin(d, n):
    reference = pingouin.power_ttest(d=abs(d), n=n, contrast="one-sample")
    assert humans.compute_power(d, n) == pytest.approx(reference, abs=1e-6)


def test_number_of_observers_is_the_smallest_that_is_enough():
    n = humans.find_observers(0.3457, 0.8)
    assert humans.compute_power(0.3457, n) >= 0.8 > humans.compute_power(0.3457, n - 1)
    exact = pingouin.power_ttest(d=0.3457, power=0.8, contrast="one-sample")
    assert n == int(np.ceil(exact))
    with pytest.raises(InputError, match="is not found"):
        humans.find_observers(0.0, 0.8)


def test_power_is_what_simulated_studies_reject():
    rng = np.random.default_rng(2)
    values = rng.normal(0.35, 1, (20000, 46))
    rejected = (stats.ttest_1samp(values, 0, axis=1).pvalue < 0.05).mean()
    assert humans.compute_power(0.35, 46) == pytest.approx(rejected, abs=0.01)


def test_printed_numbers_follow_from_each_other():
    table = humans.recompute_printed().set_index("quantity")
    printed = table["printed"].notna()
    assert table.loc[printed, "agrees"].tolist() == [True] * 5
    assert table.loc["p", "recomputed"] == pytest.approx(2 * stats.t.sf(2.345, 45))
    assert table.loc["extreme 76.1%", "recomputed"] == pytest.approx(100 * 35 / 46)
    assert table.loc["extreme 67.4%", "recomputed"] == pytest.approx(100 * 31 / 46)
    # 95 identities, 46 fair coins each: how often does one show 35 heads or more?
    tosses = np.random.default_rng(0).binomial(46, 0.5, (40000, 95)).max(axis=1)
    chance = table.loc["chance of 31/46 or more", "recomputed"]
    assert chance == pytest.approx((tosses >= 31).mean(), abs=0.01)
    wrong = humans.recompute_printed(mean=52.8).set_index("quantity")
    assert wrong.loc[["t", "s.e.m. (%)", "p"], "agrees"].tolist() == [False, False, True]


# --- the mixed model


def test_mixed_model_without_spread_is_logistic_regression():
    x = np.random.default_rng(3).random((12, 20)) < 0.6
    scored = scored_from(x)
    problem = _Problem(
        scored["prefers"].to_numpy(),
        np.where(scored["first_left"], 1.0, -1.0),
        scored["subj"].to_numpy(),
        scored["target"].to_numpy(),
    )
    mode = problem.mode(np.array([1e-3, 1e-3]))
    design = np.column_stack([np.ones(len(scored)), problem.side])
    reference = Logit(problem.y, design).fit(disp=0)
    assert mode[:2] == pytest.approx(reference.params, abs=1e-3)
    covariance = problem.covariance(mode, np.array([1e-3, 1e-3]))
    assert np.sqrt(np.diag(covariance)) == pytest.approx(reference.bse, rel=1e-3)


def test_laplace_likelihood_agrees_with_quadrature():
    # One observer, so with its spread at nothing the likelihood is a product over identities.
    y = np.array([1.0, 0, 1, 1, 0, 1, 1, 1])
    identity = np.repeat([0, 1], 4)
    side = np.tile([1.0, -1.0], 4)
    problem = _Problem(y, side, np.zeros(8, int), identity)
    spreads = np.array([1e-3, 0.7])
    theta = problem.mode(spreads)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    total = 0.0
    for k in (0, 1):
        p = special.expit(theta[0] + theta[1] * side[identity == k] + 0.7 * nodes[:, None])
        total += np.log(weights @ np.prod(np.where(y[identity == k] == 1, p, 1 - p), axis=1))
    assert problem.log_likelihood(spreads) == pytest.approx(total, abs=0.02)


def test_mixed_model_finds_what_was_planted_and_agrees_with_statsmodels():
    rng = np.random.default_rng(6)
    u, v = rng.normal(0, 0.4, (30, 1)), rng.normal(0, 0.7, (1, 60))
    side = np.where(np.add.outer(range(30), range(60)) % 2 == 0, 1, -1)
    x = rng.random((30, 60)) < special.expit(0.3 + 0.25 * side + u + v)
    scored = scored_from(x)
    fit = humans.fit_mixed_model(scored)
    effects = fit.table.set_index("effect")
    assert effects.loc["left", "low"] < 0.25 < effects.loc["left", "high"]
    assert effects.loc["preference", "low"] < 0.3 < effects.loc["preference", "high"]
    assert fit.sd_observers == pytest.approx(0.4, abs=0.15)
    assert fit.sd_identities == pytest.approx(0.7, abs=0.2)
    assert max(fit.p_observers, fit.p_identities, effects.loc["left", "p"]) < 0.001
    design = np.column_stack([np.ones(len(scored)), np.where(scored["first_left"], 1, -1)])
    groups = [pd.get_dummies(scored[c]).to_numpy(float) for c in ("subj", "target")]
    which = np.repeat([0, 1], [30, 60])
    other = BinomialBayesMixedGLM(
        scored["prefers"].to_numpy(), design, np.hstack(groups), which, vcp_p=2, fe_p=10
    ).fit_vb()
    assert effects["estimate"].to_numpy() == pytest.approx(other.fe_mean, abs=0.05)
    assert (fit.sd_observers, fit.sd_identities) == pytest.approx(
        tuple(np.exp(other.vcp_mean)), abs=0.1
    )
    # why it is not used for the test: the same effect with less than half the standard error
    assert other.fe_sd[0] < 0.5 * effects.loc["preference", "se"]


def test_mixed_model_without_differences_says_so():
    x = np.random.default_rng(8).random((20, 40)) < 0.5
    fit = humans.fit_mixed_model(scored_from(x))
    assert max(fit.sd_observers, fit.sd_identities) < 0.3
    assert fit.table["p"].min() > 0.01
    assert min(fit.p_observers, fit.p_identities) > 0.01
    with pytest.raises(InputError, match="no finite estimate"):
        humans.fit_mixed_model(scored_from(np.ones((4, 4))))
    with pytest.raises(InputError, match="on the same side in every trial"):
        humans.fit_mixed_model(scored_from(x).assign(first_left=True))


# --- what choices follow


def test_dissimilarity_worked_by_hand():
    table = humans.compute_dissimilarity([[1, 2, 3], [2, 4, 6], [3, 2, 1]], "abc")
    assert table.to_numpy() == pytest.approx(np.array([[0, 0, 2], [0, 0, 2], [2, 2, 0]]))
    with pytest.raises(InputError, match="'b' are all equal"):
        humans.compute_dissimilarity([[1, 2], [3, 3], [1, 0]], "abc")
    with pytest.raises(InputError, match="one row each"):
        humans.compute_dissimilarity([[1, 2]], "abc")


def test_similar_representations_are_found_and_relabelled_ones_not():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 12))
    first = humans.compute_dissimilarity(features, NAMES[:30])
    noisy = humans.compute_dissimilarity(features + rng.normal(size=(30, 12)), NAMES[:30])
    found = humans.compare_dissimilarities(first, noisy, permutations=400)
    upper = np.triu_indices(30, 1)
    reference = stats.spearmanr(first.to_numpy()[upper], noisy.to_numpy()[upper])
    assert found["rho"] == pytest.approx(reference.statistic)
    assert found["p"] == pytest.approx(1 / 401) and found["pairs"] == 435
    other = humans.compute_dissimilarity(rng.permutation(features), NAMES[:30])
    assert humans.compare_dissimilarities(first, other, permutations=400)["p"] > 0.02
    with pytest.raises(InputError, match="different identities"):
        humans.compare_dissimilarities(first, noisy.iloc[::-1])


def test_the_part_that_choices_follow_is_found_and_the_other_not():
    rng = np.random.default_rng(5)
    differ = table_of_choices()
    parts = {
        part: humans.compute_dissimilarity(rng.normal(size=(101, 10)), NAMES)
        for part in ("eyes", "mouth")
    }
    eyes = parts["eyes"]
    gain = [
        eyes.loc[i, b] - eyes.loc[i, a] for i, a, b in differ.itertuples(index=False, name=None)
    ]
    gain = np.array(gain) / np.std(gain, ddof=1)
    targets = np.tile(differ["identity"], 40)
    subj = np.repeat(range(40), len(differ))
    p = special.expit(0.1 + 0.5 * np.tile(gain, 40))
    scored = pd.DataFrame(
        {"target": targets, "prefers": (rng.random(len(p)) < p).astype(float), "simulated": True}
    ).assign(subj=subj)
    table = humans.predict_choices(scored, differ, parts).set_index("predictor")
    for predictor, truth in {"intercept": 0.1, "eyes": 0.5, "mouth": 0.0}.items():
        assert table.loc[predictor, "low"] < truth < table.loc[predictor, "high"]
    assert table.loc["eyes", "p"] < 1e-6 < 0.01 < table.loc["mouth", "p"]
    with pytest.raises(InputError, match="no dissimilarity for 'id001'"):
        humans.predict_choices(scored, differ, {"eyes": eyes.iloc[1:, 1:]})
    with pytest.raises(InputError, match=r"9 identities .* 2 predictors apart, which takes 10"):
        humans.predict_choices(scored, differ.iloc[:9], parts)
    with pytest.raises(InputError, match="'flat' is equally close for every identity"):
        humans.predict_choices(scored, differ, {"flat": 0 * eyes})
    with pytest.raises(InputError, match="cannot be told apart"):
        humans.predict_choices(scored, differ, {"eyes": eyes, "again": 2 * eyes})
    # by hand and by a second package
    assert table.loc["eyes", "df"] == 92 and table.loc["eyes", "identities"] == 95
    assert np.isnan(table.loc["intercept", "p_holm"])
    p = table["p"]
    assert table.loc["mouth", "p_holm"] == pytest.approx(max(p["mouth"], 2 * p["eyes"]))
    assert table.loc["eyes", "p_holm"] == pytest.approx(2 * p["eyes"])
    taken = scored.groupby("target")["prefers"].sum().loc[differ["identity"]].to_numpy()
    design = {"intercept": np.ones(95)}
    for part, t in parts.items():
        gap = [t.loc[i, b] - t.loc[i, a] for i, a, b in differ.itertuples(index=False, name=None)]
        design[part] = np.array(gap) / np.std(gap, ddof=1)
    odds = np.log((taken + 0.5) / (40.5 - taken))
    fit = OLS(odds, pd.DataFrame(design)).fit(cov_type="HC3", use_t=True)
    expected = {"estimate": fit.params, "se": fit.bse, "t": fit.tvalues, "p": fit.pvalues}
    expected |= {"low": fit.conf_int()[0], "high": fit.conf_int()[1]}
    for column, values in expected.items():
        assert table[column].to_numpy() == pytest.approx(values.to_numpy()), column


@pytest.mark.parametrize(("identities", "parts", "observers"), [(19, 3, 8), (10, 2, 6)])
def test_intervals_of_parts_that_nobody_follows_hold_zero_as_often_as_they_say(
    identities, parts, observers
):
    differ = table_of_choices(identities)
    inside, wrong = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        # parts of one face are alike, and identities differ for reasons of their own
        common = rng.normal(size=(101, 8))
        tables = {
            part: humans.compute_dissimilarity(common + rng.normal(size=(101, 8)), NAMES)
            for part in "abc"[:parts]
        }
        odds = 0.1 + rng.normal(0, 0.8, identities)
        x = rng.random((observers, identities)) < special.expit(odds)
        scored = scored_from(x).assign(target=np.tile(differ["identity"], observers))
        table = humans.predict_choices(scored, differ, tables).iloc[1:]
        inside += ((table["low"] <= 0) & (table["high"] >= 0)).tolist()
        wrong.append(table["p_holm"].min() < 0.05)
    # HC3 errs on the side of wide; four binomial standard errors below, as correlated as can be
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 80) < np.mean(inside) < 0.995
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.95 * 0.05 / 80)


# --- simulated observers, coverage


@pytest.mark.parametrize(("mean", "sd"), [(0.5, 0.0), (0.518, 0.6), (0.9, 1.5), (0.2, 0.3)])
def test_log_odds_give_the_mean_that_was_asked_for(mean, sd):
    z = np.random.default_rng(0).normal(size=400_000)
    found = special.expit(log_odds_of_mean(mean, sd) + sd * z).mean()
    assert found == pytest.approx(mean, abs=0.002)
    odds = np.array([[-1.5, 0.0], [0.3, 2.0]])
    sampled = [special.expit(m + sd * z).mean() for m in odds.ravel()]
    assert humans.mean_of_log_odds(odds, sd).ravel() == pytest.approx(sampled, abs=0.002)
    assert humans.mean_of_log_odds(odds, sd).shape == odds.shape


def test_a_planted_bias_is_recovered_through_the_whole_chain():
    differ = table_of_choices()
    trials = humans.make_trials(differ, 120, seed=1)
    answers = humans.simulate_observers(trials, differ, bias=0.56, side_bias=0.2, seed=7)
    assert answers["simulated"].all()
    checked = humans.check_responses(answers, differ, faces=NAMES)
    kept, observers = humans.apply_exclusions(checked, differ)
    assert not observers["excluded"].any()
    scored = humans.score_responses(kept, differ)
    found = humans.compute_preference(scored)
    # the side bias cancels, because the sides are balanced
    assert found["mean"] == pytest.approx(0.56, abs=3 * np.sqrt(0.25 / (120 * 95)))
    left = scored["prefers"][scored["first_left"]].mean()
    right = scored["prefers"][~scored["first_left"]].mean()
    assert special.logit(left) - special.logit(right) == pytest.approx(0.4, abs=0.11)
    again = humans.simulate_observers(trials, differ, bias=0.56, side_bias=0.2, seed=7)
    pd.testing.assert_frame_equal(answers, again)


def test_false_positives_and_coverage_without_differences_between_identities():
    table = humans.simulate_coverage(bias=0.5, studies=2000, seed=1)
    rows = table.set_index(["analysis", "truth"])
    t = rows.loc[("t over observers", "population")]
    # four binomial standard errors of 2000 studies
    assert t["rejected"] == pytest.approx(0.05, abs=0.02)
    assert t["coverage"] == pytest.approx(0.95, abs=0.02)
    assert rows.loc[("t over identities", "population"), "coverage"] == pytest.approx(
        0.95, abs=0.02
    )
    # what Wilson's interval covers exactly for 46 coins, by summing the binomial
    k = np.arange(47)
    inside = [stats.binomtest(int(j), 46).proportion_ci(method="wilson") for j in k]
    exact = sum(
        stats.binom.pmf(j, 46, 0.5)
        for j, c in zip(k, inside, strict=True)
        if c.low <= 0.5 <= c.high
    )
    wilson = rows.loc[("Wilson, each identity", "these identities"), "coverage"]
    assert wilson == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("bias", [0.5, 0.6])
def test_intervals_for_these_identities_and_these_observers_hold_what_they_are_for(bias):
    rows = humans.simulate_coverage(
        bias=bias,
        observers=46,
        identities=40,
        sd_observers=1.0,
        sd_identities=0.7,
        studies=1000,
        seed=4,
    ).set_index(["analysis", "truth"])["coverage"]
    given = [
        ("t over observers", "these identities"),
        ("t over identities", "these observers"),
        ("Wilson, each identity", "these identities"),
    ]
    # the mean of the observers who were drawn is held far too often: .999 and more
    for analysis in given:
        assert rows[analysis] == pytest.approx(0.95, abs=0.025), analysis
    # 40 identities of the population, not these: what they vary by is missing from the interval
    assert rows[("t over identities", "population")] < 0.85


def test_the_intervals_of_the_table_are_those_of_the_analysis():
    x = np.random.default_rng(9).random((12, 25)) < 0.55
    scored = scored_from(x)
    for over, axis in (("observers", 1), ("identities", 0)):
        ends = humans.compute_preference(scored, over)[["low", "high"]].tolist()
        assert list(t_interval(x.mean(axis=axis))) == pytest.approx(ends)
    table = humans.summarise_identities(scored).set_index("target").loc[range(25)]
    low, high = wilson_interval(x.sum(axis=0), 12)
    assert low == pytest.approx(table["low"].to_numpy())
    assert high == pytest.approx(table["high"].to_numpy())


def test_the_whole_chain_covers_and_rejects_as_often_as_it_says():
    differ = table_of_choices(16)
    trials = humans.make_trials(differ, 10, catch=2, seed=1)
    rules = humans.ExclusionRules(max_one_side=1, min_median_rt=0)
    studies = []
    for seed in range(80):
        answers = humans.simulate_observers(trials, differ, bias=0.6, sd_observers=0.6, seed=seed)
        studies.append(answers.assign(subj=f"{seed} " + answers["subj"], study=seed))
    kept, _ = humans.apply_exclusions(pd.concat(studies, ignore_index=True), differ, rules)
    inside, rejected = [], []
    for _, scored in humans.score_responses(kept, differ).groupby("study"):
        found = humans.compute_preference(scored, chance=0.6)
        inside.append(found["low"] <= 0.6 <= found["high"])
        rejected.append(found["p"] < 0.05)
    assert len(inside) == 80
    # four binomial standard errors of 80 studies
    assert np.mean(inside) == pytest.approx(0.95, abs=0.1)
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.1)


def test_power_in_simulated_studies_is_that_of_the_formula():
    table = humans.simulate_coverage(bias=0.518, studies=2000, seed=2)
    rejected = table.set_index("analysis")["rejected"]["t over observers"].iloc[0]
    d = 0.018 / np.sqrt(0.25 / 95)
    assert rejected == pytest.approx(humans.compute_power(d, 46), abs=0.04)


def test_only_models_of_both_hold_their_level_when_identities_differ():
    table = humans.simulate_coverage(
        bias=0.5,
        observers=20,
        identities=40,
        sd_observers=0.2,
        sd_identities=0.8,
        studies=600,
        mixed=15,
        seed=3,
    ).set_index(["analysis", "truth"])
    # over observers the test takes these identities for the world
    assert table.loc[("t over observers", "population"), "rejected"] > 0.2
    assert table.loc[("t over observers", "population"), "coverage"] < 0.8
    assert table.loc[("mixed model", "population"), "rejected"] <= 0.15
    assert table.loc[("mixed model", "population"), "coverage"] >= 0.85


def test_impossible_observers_are_refused():
    differ = table_of_choices(5)
    trials = humans.make_trials(differ, 2, catch=0)
    with pytest.raises(InputError, match="between 0 and 1"):
        humans.simulate_observers(trials, differ, bias=1.0)
    with pytest.raises(InputError, match="0 or more"):
        humans.simulate_observers(trials, differ, sd_identities=-1)
