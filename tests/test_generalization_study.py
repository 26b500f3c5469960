"""A whole study from curves to verdicts, and its tables in words."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib import figures, params
from lib import generalization as g
from lib.errors import InputError
from lib.generalization import panels
from lib.generalization import study as s
from lib.generalization.bins import DESTINATION, SOURCE

LEVELS = (0.0, 1.0, 10.0, 100.0)


def make_curves(pretrainings=("imagenet", "synthface"), n=4, effects=None, seed=0):
    """Expected curves of every destination and bin; ``effects``: bin -> shift of the curve."""
    generator = np.random.default_rng(seed)
    rows = []
    for model in itertools.product(pretrainings, ("identity", "gender"), range(n)):
        own = generator.normal(0, 0.02)
        for name in g.BINS:
            shift = (effects or {}).get(name, 0.0) + generator.normal(0, 0.01)
            for level, height in zip(LEVELS, (0.95, 0.7, 0.5, 0.1), strict=True):
                rows.append((*model, name, level, height + own + shift, 1))
    columns = [*DESTINATION, "bin", "level", "accuracy", "n_sources"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def found():
    return s.compute_study(
        make_curves(effects={"other_pretraining": 0.1, "other_both": 0.1}), "imagenet", "synthface"
    )


def test_a_study_is_its_parts(found):
    auc = g.compute_auc(make_curves(effects={"other_pretraining": 0.1, "other_both": 0.1}))
    keys = [*DESTINATION, "bin"]
    pd.testing.assert_series_equal(
        found.auc.set_index(keys)["auc"].sort_index(), auc.set_index(keys)["auc"].sort_index()
    )
    initialisation = g.compute_initialisation_anova(auc)
    ours = found.tests[found.tests["analysis"] == "pretraining x source"]
    assert sorted(ours["F"]) == pytest.approx(sorted(initialisation["F"]))
    verdicts = found.claims.set_index("claim")["verdict_design"]
    assert verdicts["other_pretraining"] == "reproduced"
    # no p below alpha, and not all of them above .92 as printed
    assert verdicts["both_other"] == "same direction"
    # what differs in no pretraining is no exception either
    assert verdicts["exception"] == "not reproduced"


def test_confidence_and_alpha_reach_the_tables():
    curves = make_curves()
    wide, narrow = (
        s.compute_study(curves, "imagenet", "synthface", confidence=c) for c in (0.99, 0.8)
    )
    for table, low, high in (("pairwise", "low", "high"), ("tests", "np2_low", "np2_high")):
        reach = [getattr(x, table)[high] - getattr(x, table)[low] for x in (wide, narrow)]
        assert (reach[0] >= reach[1]).all() and (reach[0] > reach[1]).any()
    strict = s.compute_study(curves, "imagenet", "synthface", alpha=1e-12)
    assert (
        strict.claims.set_index("claim")["verdict_design"][["four_sources"]] != "reproduced"
    ).all()


def test_tables_are_in_the_order_of_the_paper(found):
    kinds = found.auc[["destination_pretraining", "destination_task"]].drop_duplicates()
    assert list(kinds.itertuples(index=False, name=None)) == [
        ("imagenet", "identity"),
        ("imagenet", "gender"),
        ("synthface", "identity"),
        ("synthface", "gender"),
    ]
    assert list(found.auc["bin"].head(20).drop_duplicates()) == list(g.BINS)
    assert list(found.tests["analysis"].drop_duplicates()) == [
        "pretraining x source",
        "four sources",
    ]
    mixed = found.pairwise.sample(frac=1, random_state=0)
    again = s.order_types(mixed, "synthface", "imagenet")
    assert again["pretraining"].iloc[0] == "synthface"


def test_pairs_of_three_pretrainings_and_the_study_of_one_alone():
    models = [(p, "identity", k) for p in ("a", "b", "c") for k in range(2)]
    rows = [(*x, *y, level, 0.5) for x in models for y in models for level in (1.0, 10.0)]
    scores = pd.DataFrame(rows, columns=[*SOURCE, *DESTINATION, "level", "accuracy"])
    assert s.list_studies(scores) == [("a", "b"), ("a", "c"), ("b", "c")]
    part = s.select_study(scores, "b", "c")
    assert set(part["destination_pretraining"]) == set(part["source_pretraining"]) == {"b", "c"}
    alone = scores[(scores["source_pretraining"] == "a") & (scores[DESTINATION[0]] == "a")]
    assert s.list_studies(alone) == [("a", s.ABSENT)]
    assert s.select_study(alone, "a", s.ABSENT) is alone
    study = s.compute_study(g.compute_expectation(alone), "a", s.ABSENT)
    assert (study.claims["verdict_design"] == "not testable").all()
    words = s.summarise_findings(study)
    assert (words["claims"], words["effects"], words["nulls"]) == ("8", "4", "4")
    assert words["not_testable"] == words["null_not_testable"] == "4"
    assert words["other_pretraining"] == "an amount that cannot be computed here"


TRUNKS = ("imagenet", "synthface", "synthface-2")


def make_scores(pretrainings=TRUNKS, n=2, faces=4, seed=0):
    """Scores of every pair of models, with planted distances between trunks."""
    generator = np.random.default_rng(seed)
    models = list(itertools.product(pretrainings, ("identity", "gender"), range(n)))
    rows = []
    for x, y in itertools.product(models, models):
        # another training of a trunk is half as far as another pretraining
        far = 0.0 if x[0] == y[0] else 0.1 if g.family_of(x[0]) == g.family_of(y[0]) else 0.2
        for level, height in zip((1.0, 10.0), (0.6, 0.3), strict=True):
            right = generator.random(faces) < height + far
            rows += [(*x, *y, level, f"p{k}", int(v)) for k, v in enumerate(right)]
    columns = [*SOURCE, *DESTINATION, "level", "identity", "correct"]
    return pd.DataFrame(rows, columns=columns)


def test_three_trunks_make_two_studies_and_one_pair_of_trunks():
    scores = g.check_scores(make_scores(faces=200))
    pairs = s.list_studies(scores)
    assert pairs == [("imagenet", "synthface"), ("imagenet", "synthface-2")]
    assert g.list_trunk_pairs(scores) == [("synthface", "synthface-2")]
    assert s.title_pairs(pairs)[pairs[1]] == "imagenet and synthface-2"
    assert s.title_pairs(pairs[:1]) == {pairs[0]: ""}
    auc, pairwise = s.compare_trunks(scores)
    # of each trunk and task: itself, another trunk, another trunk and task
    assert len(pairwise) == 2 * 2 * 3 and set(pairwise["analysis"]) == {"other trunk"}
    assert set(pairwise["general"]) == {"synthface"} and set(pairwise["face"]) == {"synthface-2"}
    # by hand: mean over the other trunk's sources of the task, area of two levels their mean
    models = (scores["destination_pretraining"] == "synthface") & (
        scores["destination_task"] == "gender"
    )
    models &= scores["source_task"] == "gender"
    other = scores[models & (scores["source_pretraining"] == "synthface-2")]["correct"].mean()
    itself = models & (scores["source_pretraining"] == "synthface")
    itself &= scores["source_instance"] == scores["destination_instance"]
    row = pairwise.set_index(["pretraining", "task", "first", "second"]).loc[
        ("synthface", "gender", "same_instance", "other_trunk")
    ]
    assert row["difference"] == pytest.approx(other - scores[itself]["correct"].mean())
    assert pairwise[pairwise["first"] == "same_instance"]["difference"].between(0.02, 0.18).all()
    assert set(auc["bin"]) >= {"other_trunk", "other_trunk_and_task", "same_instance"}
    none = s.compare_trunks(
        scores[scores["destination_pretraining"] != "synthface-2"].query(
            "source_pretraining != 'synthface-2'"
        )
    )
    assert len(none[0]) == len(none[1]) == 0


def test_every_pair_has_its_variants_and_areas():
    scores = g.check_scores(make_scores())
    for pair in s.list_studies(scores):
        part = s.select_study(scores, *pair)
        exact = g.compute_expectation(part)
        drawn = g.compute_draws(part, np.random.default_rng(0), 10)
        variants = s.compute_variants(exact, drawn, *pair)
        assert list(variants) == ["exact", "linear axis", "10 draws"]
        assert all((x.general, x.face) == pair for x in variants.values())
        at_random = pd.DataFrame(
            [(p, "gender", 0, v, 0.5) for p in TRUNKS for v in (1.0, 10.0)],
            columns=[*DESTINATION, "level", "accuracy"],
        )
        areas = s.summarise_areas(variants, at_random)
        shown = s.show_areas(areas)
        assert set(shown["pretraining"]) == set(pair)
        random = shown[shown["bin"] == "random"]
        assert (random["exact"] == 0.5).all() and random["10 draws"].isna().all()
        assert len(random) == 2 and len(shown) == 2 * 2 * 5 + 2


# --------------------------------------------------------------------------------------- contrasts


def test_combined_means_are_the_known_tests():
    generator = np.random.default_rng(1)
    a, b = generator.normal(0, 1, 6), generator.normal(0.5, 3, 9)
    estimate, low, high = s.combine_means([a, b], [-1, 1])
    welch = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (estimate, low, high) == pytest.approx((b.mean() - a.mean(), welch.low, welch.high))
    one = stats.ttest_1samp(a, 0).confidence_interval(0.9)
    assert s.combine_means([a], [1.0], 0.9)[1:] == pytest.approx((one.low, one.high))
    assert np.isnan(s.combine_means([a, b[:1]], [1, 1])[1])
    assert np.isnan(s.combine_means([np.ones(3)], [1])[2])


def test_the_interval_of_a_mean_over_types_covers_as_often_as_it_says():
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(1000):
        samples = [generator.normal(0.2, sd, 5) for sd in (0.1, 0.2, 0.3, 0.4)]
        _, low, high = s.combine_means(samples, [0.25] * 4)
        hits += low <= 0.2 <= high
    # 1000 intervals at .95: outside 925 to 975 has probability below .001
    assert 925 <= hits <= 975


def test_contrasts_by_hand(found):
    table = s.compute_contrasts(found.auc, "imagenet", "synthface").set_index("claim")
    wide = found.auc.pivot_table(index=DESTINATION, columns="bin", values="auc")
    difference = wide["other_pretraining"] - wide["same_instance"]
    assert table.loc["other_pretraining", "estimate"] == pytest.approx(difference.mean())
    assert table.loc["other_pretraining", "estimate"] == pytest.approx(0.1, abs=0.02)
    assert table.loc["other_pretraining", "types"] == 4
    own = wide[["same_instance", "other_initialisation"]].mean(axis=1).xs("gender", level=1)
    expected = own.xs("synthface").mean() - own.xs("imagenet").mean()
    assert table.loc["gender_pretraining", "estimate"] == pytest.approx(expected)
    initialisation = wide["other_initialisation"] - wide["same_instance"]
    expected = initialisation.xs("identity", level=1).mean()
    assert table.loc["identity_source", "estimate"] == pytest.approx(expected)
    assert table.loc["identity_source", "types"] == 2


# ----------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("generalization.fill=blurr", r"fill = 'blurr' is refused.*did you mean 'blur'\?"),
        ("generalization.mask=relevence", r"mask = 'relevence' is refused.*mean 'relevance'\?"),
        ("generalization.mask=random", r"mask = 'random' is refused"),
        ("generalization.fill=noise", r"fill = 'noise' is not computed by 04_masking.*to fills"),
        ("generalization.mask=shifted masking.scattered=[mirrored]", r"mask = 'shifted' is not c"),
        ("generalization.mask=positive masking.signed=[]", r"mask = 'positive' is not computed"),
    ],
)
def test_a_mask_or_fill_that_is_not_there_is_refused_before_anything_runs(words, message):
    with pytest.raises(InputError, match=message):
        params.resolve("ci", words)


def test_a_mask_and_fill_that_chapter_04_makes_are_taken():
    words = "masking.fills=[black,noise] generalization.fill=noise generalization.mask=mirrored"
    settings = params.resolve("ci", words)[1]["05_generalization"]
    assert (settings.fill, settings.mask) == ("noise", "mirrored")


# ------------------------------------------------------------------------------- words and figures


@pytest.mark.parametrize(
    ("p", "words"),
    [(0.0004, "< .001"), (0.0042, ".004"), (0.051, ".051"), (0.19, ".19"), (1.0, "1.00")],
)
def test_p_in_words(p, words):
    assert s.format_p(p) == words


def test_both_forms_stand_side_by_side(found):
    shown = s.show_tests(found.tests, "four sources")
    assert len(shown) == 4
    row = shown.iloc[0]
    assert (row["pretraining"], row["task"]) == ("imagenet", "identity")
    assert row["as printed"].startswith("F(3,12) = ")
    assert row["as designed"].startswith("F(3,9) = ") and "corrected" in row["as designed"]
    assert "ηp² = 0." in row["as printed"]
    one = s.compute_study(make_curves(n=1), "imagenet", "synthface")
    shown = s.show_tests(one.tests, "four sources")
    assert (shown["as designed"] == "no test").all()
    assert shown.columns.tolist() == ["task", "pretraining", "as printed", "as designed"]
    assert shown.columns.name is None
    tests = one.tests[one.tests["analysis"] == "four sources"]
    (line,) = s.list_notes(tests, ["pretraining", "task"])
    assert line.startswith("imagenet, identity; imagenet, gender; synthface, identity;")
    assert line.replace("\n    ", " ").endswith("an error term needs two initialisations")
    assert all(len(part) <= s.WIDTH for part in line.splitlines())
    assert s.list_notes(found.tests, ["task"]) == []


def test_tables_for_reading_hold_what_they_stand_for(found):
    shown = s.show_pairwise(found.pairwise)
    row, one = shown.iloc[1], found.pairwise.iloc[1]
    assert row["contrast"] == "other pretraining less itself"
    assert row["difference"] == f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
    assert row["p Holm"] == s.format_p(one["p_holm"]) and row["dz"] == f"{one['dz']:.2f}"
    alone = s.compute_study(make_curves(n=1), "imagenet", "synthface")
    row = s.show_pairwise(alone.pairwise).iloc[0]
    assert row["dz"] == "" and row["p Tukey"] == "no p" and "[" not in row["difference"]
    line = s.list_notes(alone.pairwise, ["task", "contrast"])[0]
    assert line.startswith("identity, other task less itself; identity, other pretraining less")
    model = pd.DataFrame(
        [
            ("identity", "imagenet", "other_both - other_pretraining", 0.1, 0.0, 0.2, 0.03),
            ("identity", "synthface - imagenet", "pretraining", 0.1, 0.0, 0.2, 0.03),
        ],
        columns=["task", "pretraining", "contrast", "estimate", "low", "high", "p_holm"],
    ).assign(sd_identity=0.1, sd_network=0.2, sd_residual=0.3)
    shown = s.show_identities(model)
    assert shown["contrast"].tolist() == ["both other less other pretraining", "pretraining"]
    assert shown["pretraining"].tolist() == ["imagenet", "synthface less imagenet"]
    assert shown["difference"].tolist() == ["+0.100 [+0.000, +0.200]"] * 2
    printed = s.show_printed(g.recompute_printed())
    assert printed["printed"].tolist()[0] == "F(1, 16) = 49.6"
    assert printed["design"].tolist()[-1] == "F(3, 12)"
    parts = [s.show_claims(found.claims, null)["printed"].tolist() for null in (False, True)]
    assert sorted([*parts[0], *parts[1]]) == sorted(found.claims["published"])
    assert all("differ" in words for words in parts[1]) and len(parts[1]) == 4


def test_figures_show_what_the_tables_hold(found):
    figures.apply_style()
    summary = g.summarise_auc(found.auc, ["destination_pretraining", "destination_task", "bin"])
    fig, ax = plt.subplots()
    panels.plot_areas(ax, summary)
    drawn = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    one = summary[
        (summary["destination_pretraining"] == "synthface")
        & (summary["destination_task"] == "gender")
    ].set_index("bin")
    assert list(drawn["synthface, gender"]) == one.loc[list(g.BINS), "auc"].tolist()
    assert ax.get_xticklabels()[0].get_text() == "itself"
    plt.close(fig)
    fig, ax = plt.subplots()
    rows = found.pairwise.rename(columns={"difference": "estimate"})
    rows["contrast"] = rows["second"] + " - " + rows["first"]
    panels.plot_contrasts(ax, found.pairwise, rows)
    points = [line for line in ax.get_lines() if line.get_marker() in "os"]
    at = sorted(float(line.get_xdata()[0]) for line in points if len(line.get_xdata()) == 1)
    pairs = {tuple(c) for c in panels.CONTRASTS}
    wanted = [r.difference for r in found.pairwise.itertuples() if (r.first, r.second) in pairs]
    assert at == pytest.approx(sorted(2 * wanted))
    plt.close(fig)
