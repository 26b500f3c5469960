"""One study end to end, and what the networks' own choices follow: planted effects, bad input."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib import humans
from lib.errors import InputError
from lib.humans import panels
from lib.representation import compare_representations

NAMES = [f"id{k:03d}" for k in range(1, 31)]


@pytest.fixture(scope="module")
def differ():
    rng = np.random.default_rng(2)
    rows = [(n, *rng.choice([m for m in NAMES if m != n], 2, replace=False)) for n in NAMES[:24]]
    return pd.DataFrame(rows, columns=["identity", "synthface", "imagenet"])


@pytest.fixture(scope="module")
def analysis(differ):
    trials = humans.make_trials(differ, 30, catch=4, seed=1)
    answers = humans.simulate_observers(
        trials, differ, bias=0.6, side_bias=0.5, sd_identities=0.8, seed=3
    )
    return humans.analyse_responses(answers, differ, splits=50)


def test_names_of_models_are_taken_apart():
    table = humans.split_models(["imagenet/identity/0", "my/own/identity/12"])
    assert table["pretraining"].tolist() == ["imagenet", "my/own"]
    assert table["task"].tolist() == ["identity", "identity"]
    assert table["initialisation"].tolist() == [0, 12]
    with pytest.raises(InputError, match="'imagenet-0' is not named"):
        humans.split_models(["imagenet-0"])


def test_the_pair_that_is_compared():
    assert humans.choose_pair(["imagenet", "synthface", "synthface-2"]) == ("synthface", "imagenet")
    assert humans.choose_pair(["b", "a"], ["b", "a"]) == ("b", "a")
    assert humans.choose_pair(["imagenet"]) is None
    for wrong in (["imagenet", "vgg"], ["imagenet"], ["imagenet", "imagenet"]):
        with pytest.raises(InputError, match="which has imagenet, synthface: correct pair"):
            humans.choose_pair(["imagenet", "synthface"], wrong)


def test_all_analyses_at_once_are_those_one_by_one(analysis):
    scored = analysis.scored
    assert analysis.impossible == ()
    over = analysis.preference.set_index("over")
    for what in ("observers", "identities"):
        one = humans.compute_preference(scored, what)
        assert (
            over.loc[what, ["mean", "sem", "t", "p"]].tolist()
            == one[["mean", "sem", "t", "p"]].tolist()
        )
    pd.testing.assert_frame_equal(analysis.identities, humans.summarise_identities(scored))
    planted = {"preference": 0.4, "left": 0.5, "observers": 0.0, "identities": 0.8}
    mixed = humans.summarise_mixed(analysis.mixed, planted).set_index("effect")
    assert mixed.columns.tolist() == ["planted", "estimate", "low", "high", "p"]
    assert mixed.loc["left", "low"] < 0.5 < mixed.loc["left", "high"]
    assert mixed.loc["sd of identities", "estimate"] == analysis.mixed.sd_identities
    assert mixed.loc["sd of identities", "p"] < 0.01
    assert "planted" not in humans.summarise_mixed(analysis.mixed)
    table = humans.summarise_consistency(analysis.consistency).set_index("quantity")
    assert table.loc["split-half correlation", "value"] == analysis.consistency["split_half"]
    assert table.loc["Cochran's Q, 23 df", "against"].endswith(f"{analysis.consistency['q_p']:.3f}")


def test_beside_the_printed_numbers_stand_those_of_this_study(analysis):
    table = humans.compare_with_printed(analysis, 24, 30).set_index("quantity")
    assert table.loc["of these with different rank-2"].tolist() == [95, 24]
    # the printed values are those that recompute_printed checks
    printed = humans.recompute_printed().set_index("quantity")["printed"]
    assert table.loc["t", "reported"] == printed["t"]
    assert table.loc["s.e.m. over observers, %", "reported"] == printed["s.e.m. (%)"]
    share = analysis.scored.groupby("target")["prefers"].mean()
    high = "highest preference of an identity for the first, %"
    low = "highest preference of an identity for the other, %"
    assert table.loc[high, "here"] == pytest.approx(100 * share.max())
    assert table.loc[low, "here"] == pytest.approx(100 * (1 - share.min()))


def test_what_cannot_be_computed_is_said_and_the_rest_goes_on(differ):
    trials = humans.make_trials(differ, 2, catch=0)
    answers = humans.simulate_observers(trials, differ, bias=0.5, seed=1)
    loose = humans.ExclusionRules(max_one_side=1, min_median_rt=0)
    small = humans.analyse_responses(answers, differ, loose)
    assert small.consistency is None and small.mixed is not None
    assert "needs 4; there are 2" in small.impossible[0] and len(small.impossible) == 1
    first = differ.set_index("identity")["synthface"]
    alike = answers.assign(object_response=answers["target"].map(first))
    small = humans.analyse_responses(alike, differ, loose)
    assert small.mixed is None
    assert any("took the same network's choice" in reason for reason in small.impossible)
    assert small.preference["mean"].tolist() == [1.0, 1.0]


@pytest.mark.filterwarnings("error")
def test_unanimous_answers_are_said_to_be_so_without_a_warning(differ):
    trials = humans.make_trials(differ, 6, catch=2, seed=1)
    answers = humans.simulate_observers(trials, differ, bias=0.5, seed=1)
    first = differ.set_index("identity")["synthface"]
    test = answers["condition"] == "test"
    answers.loc[test, "object_response"] = answers.loc[test, "target"].map(first)
    found = humans.analyse_responses(answers, differ, humans.ExclusionRules(max_one_side=1))
    assert found.mixed is None and found.consistency is None
    assert len(found.impossible) == 2
    assert "hardly differ between identities" in found.impossible[1]
    assert found.identities["preference"].eq(1).all()


# --- what choices follow


def test_parts_are_pooled_and_correlated_like_a_slow_loop_does():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(4, 10, 10))
    groups = rng.integers(0, 3, (4, 10, 10))
    groups[1][groups[1] == 2] = 0  # the third part is not on every face
    found = humans.compute_part_dissimilarities(maps, groups, ["a", "b", "c"], "wxyz", cells=4)
    assert list(found) == ["a", "b"]
    edges = [[y for y in range(10) if y * 4 // 10 == k] for k in range(4)]
    pattern = [
        [
            sum(maps[n, y, x] for y in rows for x in columns if groups[n, y, x] == 1)
            for rows in edges
            for columns in edges
        ]
        for n in range(4)
    ]
    for i, j in [(0, 1), (2, 3)]:
        r = stats.pearsonr(pattern[i], pattern[j]).statistic
        assert found["b"].iloc[i, j] == pytest.approx(1 - r)
    with pytest.raises(InputError, match=r"both must be \(identity, y, x\)"):
        humans.compute_part_dissimilarities(maps, groups[:3], ["a"], "wxyz")


def test_closeness_worked_by_hand():
    # distances from a: b 1, c 2, d 3; from b: a 1, c and d tie; from c: d is nearest
    table = pd.DataFrame(
        [[0, 1, 2, 3], [1, 0, 5, 5], [4, 3, 0, 2], [9, 8, 7, 0]], list("abcd"), list("abcd")
    )
    choices = pd.DataFrame({"identity": list("abc"), "rank2": list("bdd")})
    found = humans.compute_closeness(choices, {"x": table}, permutations=50).iloc[0]
    assert found["closeness"] == pytest.approx(np.mean([1, 0.25, 1]))
    with pytest.raises(InputError, match="'x' has no dissimilarity for 'a'"):
        humans.compute_closeness(choices, {"x": table.iloc[1:, 1:]})
    with pytest.raises(InputError, match="2 identities"):
        humans.compute_closeness(choices.iloc[:2], {"x": table})


def test_choices_of_near_faces_are_found_and_popular_faces_alone_are_not():
    rng = np.random.default_rng(7)
    place = rng.normal(size=(30, 6))
    near = pd.DataFrame(np.linalg.norm(place[:, None] - place, axis=2), NAMES, NAMES)
    other = humans.compute_dissimilarity(rng.normal(size=(30, 12)), NAMES)
    noisy = near.to_numpy() + rng.normal(0, 1, (30, 30))
    np.fill_diagonal(noisy, np.inf)
    choices = pd.DataFrame({"identity": NAMES, "rank2": np.array(NAMES)[noisy.argmin(axis=1)]})
    found = humans.compute_closeness(choices, {"near": near, "other": other}).set_index("measure")
    assert found.loc["near", "p"] < 0.001 < 0.05 < found.loc["other", "p"]
    assert found.loc["near", "low"] > found.loc["near", "chance"]
    # two faces near everybody, chosen for everybody: close, but no closer than dealt anew
    hub = place.copy()
    hub[:2] *= 0.05
    near = pd.DataFrame(np.linalg.norm(hub[:, None] - hub, axis=2), NAMES, NAMES)
    popular = np.where(rng.random(30) < 0.5, NAMES[0], NAMES[1])
    popular = pd.DataFrame({"identity": NAMES[2:], "rank2": popular[2:]})
    found = humans.compute_closeness(popular, {"near": near}).iloc[0]
    assert found["closeness"] > 0.8 and found["chance"] > 0.8
    assert found["p"] > 0.05


# --- summaries and words


def test_choices_are_summarised_by_hand():
    choices = pd.DataFrame(
        {
            "pretraining": ["a"] * 4 + ["b"] * 4,
            "identity": list("wxyz") * 2,
            "rank2": list("xwwx") + list("yzxy"),
            "margin": [1.0, 2.0, 3.0, -1.0, 4.0, 4.0, 4.0, 4.0],
            "second_margin": [0.0, 1.0, 1.0, 2.0] * 2,
        }
    )
    table = humans.summarise_choices(choices).set_index("pretraining")
    assert table.loc["a"].tolist() == [4, 1, 2, "w", 2, 1.5, 1.0]
    assert table.loc["b", ["errors", "chosen", "most chosen", "times"]].tolist() == [0, 3, "y", 2]


def test_agreement_within_and_between_pretrainings():
    models = pd.DataFrame({"model": ["a0", "a1", "b0"], "pretraining": ["a", "a", "b"]})
    agreement = pd.DataFrame(
        [("a0", "a1", 0.8), ("a0", "b0", 0.1), ("a1", "b0", 0.3)],
        columns=["first", "second", "agreement"],
    ).assign(chance=0.01)
    table = humans.summarise_agreement(agreement, models).set_index(["first", "second"])
    assert table.loc[("a", "a"), ["pairs", "mean"]].tolist() == [1, 0.8]
    between = table.loc[("a", "b")]
    assert between[["pairs", "mean", "lowest", "highest", "chance"]].tolist() == [
        2,
        pytest.approx(0.2),
        0.1,
        0.3,
        0.01,
    ]


def test_balance_of_trial_lists_is_what_the_lists_say(differ):
    even = humans.make_trials(differ, 4, catch=2, seed=1)
    table = humans.summarise_trials(even, differ).set_index("quantity")
    assert table.loc["comparisons of an observer"].tolist() == [24, 24]
    assert table.loc["catch trials of an observer"].tolist() == [2, 2]
    assert table.loc["first choice on the left, each identity, %"].tolist() == [50, 50]
    assert table.loc["mean position of an identity"].tolist() == [13.5, 13.5]
    first = differ.set_index("identity")["synthface"]
    swap = (even["condition"] == "test") & (even["left"] != even["target"].map(first))
    odd = even.copy()
    odd.loc[swap, ["left", "right"]] = even.loc[swap, ["right", "left"]].to_numpy()
    table = humans.summarise_trials(odd, differ).set_index("quantity")
    assert table.loc["first choice on the left, each observer, %"].tolist() == [100, 100]


def test_sentences_carry_the_numbers_and_say_who_answered(analysis, differ):
    pair = ("synthface", "imagenet")
    low, high = analysis.mixed.table.loc[0, ["low", "high"]]
    text = humans.state_preference(analysis, pair, planted=(low + high) / 2)
    row = humans.compute_preference(analysis.scored)
    assert text.startswith(
        f"{row['n']} simulated observers took synthface's choice in {100 * row['mean']:.1f}%"
    )
    assert "p < 0.001" in text and "p = 0.000" not in text
    assert "was planted, which that interval holds" in text
    assert "misses" in humans.state_preference(analysis, pair, planted=high + 0.01)
    people = dataclasses.replace(analysis, preference=analysis.preference.assign(simulated=False))
    said = humans.state_preference(people, pair, planted=high)
    assert "simulated" not in said and "planted" not in said
    alone = dataclasses.replace(analysis, mixed=None)
    assert "planted" not in humans.state_preference(alone, pair, planted=high)
    choices = pd.DataFrame({"pretraining": "a", "identity": list("xyz"), "rank2": list("yxx")})
    assert "differently on 24 of 3" in humans.state_choices(differ, choices, pair)
    assert "one pretraining, a" in humans.state_choices(differ.iloc[:0], choices, None)


def test_predictors_are_named_only_after_correction():
    table = pd.DataFrame(
        {
            "pretraining": ["a"] * 3 + ["b"] * 3,
            "predictor": ["intercept", "eyes", "nose"] * 2,
            "p_holm": [np.nan, 0.001, 0.06, np.nan, 0.5, 0.2],
            "p": [0.001, 0.0005, 0.03, 0.001, 0.25, 0.1],
            "simulated": True,
        }
    )
    said = humans.state_predictors(table)
    assert "choices of simulated observers" in said
    assert "1 of 2 from the relevance of a (eyes); none of 2 from the relevance of b" in said
    assert "simulated" not in humans.state_predictors(table.assign(simulated=False))
    one = table[table["predictor"] != "nose"].replace({"eyes": "whole map"})
    said = humans.state_predictors(one)
    assert "1 of 1 from the relevance of a (whole map); none of 1 from" in said


def test_small_p_values_do_not_read_zero():
    table = pd.DataFrame({"p": [0.0004, 0.0234, np.nan, 1.0], "t": [1.0, 2.0, 3.0, 4.0]})
    written = humans.write_p(table)
    assert written["p"].tolist() == ["<0.001", "0.023", "", "1.000"]
    assert written["t"].tolist() == table["t"].tolist() and table["p"][0] == 0.0004


def test_numbers_of_different_kinds_are_written_with_their_significant_digits():
    table = pd.DataFrame(
        {
            "what": ["a", "b", "c"],
            "x": [101.0, 0.0234567, np.nan],
            "n": [68, 2, 1],
            "agrees": [True, False, None],
        }
    )
    written = humans.write_short(table)
    assert written["x"].tolist() == ["101", "0.02346", ""]
    assert written["n"].tolist() == [68, 2, 1] and written["what"].tolist() == ["a", "b", "c"]
    assert written["agrees"].tolist() == ["yes", "no", ""]


# --- representations


def test_representations_are_compared_block_by_block_and_with_the_pixels():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(30, 20))

    def table(noise):
        return humans.compute_dissimilarity(base + noise * rng.normal(size=base.shape), NAMES)

    tables = {
        "a": {"block 1": table(0.1), "block 2": table(0.1)},
        "b": {"block 1": table(0.1), "block 2": table(50)},
        "c": {"block 1": table(0.1)},
    }
    found = compare_representations(tables, table(0.1), permutations=99)
    rows = found.set_index(["layer", "first", "second"])
    assert len(rows) == 2 + 1 + 1 + 5
    assert rows.loc[("block 1", "a", "b"), "rho"] > 0.9
    assert rows.loc[("block 2", "a", "b"), "rho"] < 0.3
    assert rows.loc[("last", "a", "c"), "rho"] > 0.9
    assert rows.loc[("block 2", "b", "pixels"), "p"] > 0.02
    assert rows.loc[("block 2", "a", "pixels"), "p"] == pytest.approx(0.01)


# --- figures


def test_relevance_over_a_face_is_red_for_blue_against_and_grey_without():
    image = np.full((4, 4), 100, np.uint8)
    relevance = np.zeros((4, 4))
    relevance[0], relevance[1] = 3.0, -3.0
    drawn = panels.overlay_relevance(image, relevance).astype(int)
    assert (drawn[0, :, 0] > drawn[0, :, 2] + 50).all()
    assert (drawn[1, :, 2] > drawn[1, :, 0] + 50).all()
    assert (np.ptp(drawn[2:], axis=2) == 0).all()
    # the scale of a map does not matter, and a map of nothing is the face
    assert (panels.overlay_relevance(image, 1e-6 * relevance) == drawn).all()
    assert np.ptp(panels.overlay_relevance(image, 0 * relevance)) == 0


def test_only_simulated_preferences_are_marked_and_every_identity_is_drawn(analysis):
    pair = ("synthface", "imagenet")
    for simulated in (True, False):
        fig, ax = plt.subplots()
        panels.plot_preferences(ax, analysis.identities, pair, 0.6, simulated)
        words = " ".join(text.get_text() for text in fig.findobj(plt.Text)).lower()
        assert ("simulated observers" in words) == simulated
        drawn = [line for line in ax.lines if line.get_marker() in ("o", "s", "D")]
        heights = np.sort(np.concatenate([line.get_ydata() for line in drawn]))
        assert heights == pytest.approx(np.sort(100 * analysis.identities["preference"]))
        plt.close(fig)


def test_both_networks_choices_stand_beside_the_target():
    pictures = {
        name: np.full((8, 8), level, np.uint8)
        for name, level in zip("tab", (9, 90, 200), strict=True)
    }
    maps = {"synthface": np.eye(8)}  # the other network has none
    fig = panels.plot_rank2(pictures, maps, "t", {"synthface": "a", "imagenet": "b"}, "title")
    shown = [ax.images[0].get_array() for ax in fig.axes]
    assert (shown[2] == pictures["a"]).all() and (shown[5] == pictures["b"]).all()
    assert (shown[0] == pictures["t"]).all() and (shown[3] == pictures["t"]).all()
    assert np.ptp(shown[1]) > 50 and np.ptp(shown[4]) == 0
    assert [ax.get_ylabel() for ax in fig.axes[::3]] == ["synthface", "imagenet"]
    plt.close(fig)
