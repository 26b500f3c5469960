"""Bins, areas, tests and verdicts against brute force, second packages and hand-worked tables."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import AnovaRM, anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.oneway import confint_noncentrality

from lib import generalization as g
from lib.errors import InputError
from lib.generalization.anova import _p_of_mauchly
from lib.generalization.bins import DESTINATION, SOURCE
from lib.generalization.claims import CLAIMS

LEVELS = (0.0, 0.1, 1.0, 10.0, 31.6, 100.0)


def make_models(pretrainings=("imagenet", "synthface"), tasks=("identity", "gender"), n=5):
    return [g.Model(*m) for m in itertools.product(pretrainings, tasks, range(n))]


def make_scores(models, identities=0, levels=LEVELS, seed=0):
    """Every pair of models with random accuracies, or random correctness per identity."""
    generator = np.random.default_rng(seed)
    rows = [
        (*s, *d, level, *((i,) if identities else ()))
        for s in models
        for d in models
        for level in levels
        for i in range(max(identities, 1))
    ]
    columns = [*SOURCE, *DESTINATION, "level", *(("identity",) if identities else ())]
    table = pd.DataFrame(rows, columns=columns)
    if identities:
        return table.assign(correct=generator.integers(0, 2, len(table)))
    return table.assign(accuracy=generator.random(len(table)))


def make_areas(generator, effects=None, models=None, network=0.02, noise=0.005, bins=g.BINS):
    """Areas per destination and bin: effects[(pretraining, task, bin)] + network + noise."""
    rows = []
    for model in models or make_models():
        own = generator.normal(0, network)
        for name in bins:
            effect = (effects or {}).get((model.pretraining, model.task, name), 0.0)
            rows.append((*model, name, 0.5 + effect + own + generator.normal(0, noise)))
    return pd.DataFrame(rows, columns=[*DESTINATION, "bin", "auc"])


# ----------------------------------------------------------------------------------------- bins


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (("imagenet", "identity", 0), ("imagenet", "identity", 0), "same_instance"),
        (("imagenet", "identity", "0"), ("imagenet", "identity", 0), "same_instance"),
        (("imagenet", "identity", 1), ("imagenet", "identity", 0), "other_initialisation"),
        (("imagenet", "gender", 0), ("imagenet", "identity", 0), "other_task"),
        (("vggface", "identity", 0), ("imagenet", "identity", 0), "other_pretraining"),
        (("my own", "identity", 3), ("synthface", "identity", 0), "other_pretraining"),
        (("vggface", "gender", 0), ("imagenet", "identity", 0), "other_both"),
        (("synthface-2", "identity", 0), ("synthface", "identity", 0), "other_trunk"),
        (("synthface-2", "gender", 0), ("synthface-3", "identity", 0), "other_trunk_and_task"),
    ],
)
def test_bin_of(source, destination, expected):
    assert g.bin_of(source, destination) == expected


@pytest.mark.parametrize(
    ("pretrainings", "counts"),
    [
        (("imagenet", "vggface"), [1, 4, 5, 5, 5]),
        (("imagenet", "vggface", "own"), [1, 4, 5, 10, 10]),
    ],
)
def test_every_destination_has_the_published_number_of_sources(pretrainings, counts):
    models = make_models(pretrainings)
    for destination in models:
        found = [g.bin_of(source, destination) for source in models]
        assert [found.count(name) for name in g.BINS] == counts


def test_expectation_is_the_mean_over_all_possible_draws():
    models = make_models(n=3)
    table = g.check_scores(make_scores(models, levels=(1.0, 10.0)))
    found = g.compute_expectation(table).set_index([*DESTINATION, "bin", "level"])
    lookup = table.set_index([*SOURCE, *DESTINATION, "level"])["accuracy"].to_dict()
    for destination in models[::5]:
        for name, level in itertools.product(g.BINS, (1.0, 10.0)):
            sources = [s for s in models if g.bin_of(s, destination) == name]
            values = [lookup[(*s, *destination, level)] for s in sources]
            # every outcome of three draws with replacement is equally likely
            means = [np.mean(draw) for draw in itertools.product(values, repeat=3)]
            cell = found.loc[(*destination, name, level)]
            assert cell["accuracy"] == pytest.approx(np.mean(means), abs=1e-12)
            assert cell["sd"] == pytest.approx(np.std(means) * np.sqrt(3), abs=1e-12)
            assert cell["n_sources"] == len(sources)


def test_draws_converge_on_the_expectation_at_the_rate_of_theory():
    table = make_scores(make_models())
    exact = g.compute_expectation(table)
    for draws in (100, 10_000):
        drawn = g.compute_draws(table, np.random.default_rng(3), draws)
        agreement = g.compare_draws(exact, drawn).set_index("bin")
        assert list(agreement.index) == list(g.BINS)
        assert agreement.loc["same_instance", "largest"] == pytest.approx(0, abs=1e-12)
        others = agreement.drop(index="same_instance")
        # 20 destinations x 6 levels: the ratio of two standard errors, one of them estimated
        assert (others["rms"] / others["rms_expected"]).between(0.7, 1.4).all()
        assert (others["r"] > (0.9 if draws == 100 else 0.999)).all()


def test_draws_depend_on_the_seed_and_not_on_the_order_of_the_rows():
    table = make_scores(make_models(n=3))
    shuffled = table.sample(frac=1, random_state=1)
    first, second, other = (
        g.compute_draws(t, np.random.default_rng(seed), 100)
        for t, seed in ((table, 0), (shuffled, 0), (table, 1))
    )
    pd.testing.assert_frame_equal(first, second)
    assert not np.allclose(first["accuracy"], other["accuracy"])


def test_accuracy_per_identity_and_averaged_agree():
    table = g.check_scores(make_scores(make_models(n=2), identities=6))
    by_identity = g.compute_expectation(table, by_identity=True)
    keys = [*DESTINATION, "bin", "level"]
    averaged = by_identity.groupby(keys)["accuracy"].mean()
    exact = g.compute_expectation(g.compute_accuracy(table)).set_index(keys)["accuracy"]
    pd.testing.assert_series_equal(averaged, exact)


def test_a_pair_of_three_pretrainings_is_the_study_of_that_pair_alone():
    table = make_scores(make_models(("imagenet", "synthface", "synthface-2", "own"), n=2))
    assert g.list_pairs(table) == [
        ("imagenet", "synthface"),
        ("imagenet", "synthface-2"),
        ("imagenet", "own"),
        ("synthface", "own"),
        ("synthface-2", "own"),
    ]
    pair = g.select_pair(table, "imagenet", "own")
    names = {"imagenet", "own"}
    alone = table[table[SOURCE[0]].isin(names) & table[DESTINATION[0]].isin(names)]
    pd.testing.assert_frame_equal(g.compute_expectation(pair), g.compute_expectation(alone))
    assert g.compute_expectation(pair)["n_sources"].max() == 2
    whole = g.compute_expectation(table)
    assert whole.loc[whole["bin"] == "other_pretraining", "n_sources"].max() == 6
    assert set(whole["bin"]) == {*g.BINS, "other_trunk", "other_trunk_and_task"}


def test_gaps_are_named():
    one = g.summarise_gaps(make_scores(make_models(n=1), levels=(1.0,)))
    assert set(one["bin"]) == {"other_initialisation"}
    assert one["cannot"].str.contains("second initialisation").all()
    single = g.summarise_gaps(make_scores(make_models(("imagenet",)), levels=(1.0,)))
    assert set(single["bin"]) == {"other_pretraining", "other_both"}
    assert (single["destinations"] == 5).all()
    assert g.summarise_gaps(make_scores(make_models(), levels=(1.0,))).empty


# ----------------------------------------------------------------------------------------- areas


def test_area_by_hand():
    levels = np.array([0, 1, 10, 100.0])
    accuracy = np.array([1.0, 0.8, 0.4, 0.0])
    # log axis: only 1 and 10 lie inside; with the ends, 100 joins and 0 does not
    assert g.area_under_curve(levels, accuracy) == pytest.approx(0.6)
    assert g.area_under_curve(levels, accuracy, "log10", "all") == pytest.approx(0.4)
    assert g.area_under_curve(levels, accuracy, "linear") == pytest.approx(0.6)
    by_hand = (1 * 0.9 + 9 * 0.6 + 90 * 0.2) / 100
    assert g.area_under_curve(levels, accuracy, "linear", "all") == pytest.approx(by_hand)
    # what happens at level 0 changes no area on the log axis
    assert g.area_under_curve(levels, [0.3, 0.8, 0.4, 0], "log10", "all") == pytest.approx(0.4)


@pytest.mark.parametrize("axis", ["log10", "linear"])
@pytest.mark.parametrize("ends", ["printed", "all"])
def test_area_is_the_mean_height(axis, ends):
    levels = np.array(LEVELS)
    assert g.area_under_curve(levels, np.full(6, 0.37), axis, ends) == pytest.approx(0.37)
    order = np.random.default_rng(0).permutation(6)
    curve = np.linspace(1, 0, 6) ** 2
    area = g.area_under_curve(levels, curve, axis, ends)
    assert g.area_under_curve(levels[order], curve[order], axis, ends) == pytest.approx(area)
    keep = [v for v in LEVELS if (ends == "all" or 0 < v < 100) and (axis == "linear" or v > 0)]
    x = np.log10(keep) if axis == "log10" else np.array(keep)
    y = [curve[LEVELS.index(v)] for v in keep]
    slow = sum((x[k + 1] - x[k]) * (y[k] + y[k + 1]) / 2 for k in range(len(x) - 1))
    assert area == pytest.approx(slow / (x[-1] - x[0]))


def test_area_of_the_mean_curve_is_the_mean_area():
    table = make_scores(make_models(n=3))
    exact = g.compute_auc(g.compute_expectation(table))
    each = g.compute_auc(g.assign_bins(table))
    mean = each.groupby([*DESTINATION, "bin"])["auc"].mean()
    pd.testing.assert_series_equal(exact.set_index([*DESTINATION, "bin"])["auc"], mean)


def test_bands_are_t_intervals_over_models():
    areas = make_areas(np.random.default_rng(0))
    found = g.summarise_auc(areas, ["destination_pretraining", "bin"])
    one = found[(found["destination_pretraining"] == "imagenet") & (found["bin"] == "other_both")]
    values = areas.query("destination_pretraining == 'imagenet' and bin == 'other_both'")["auc"]
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert one[["low", "high"]].to_numpy()[0] == pytest.approx(interval)
    alone = g.summarise_auc(
        make_areas(np.random.default_rng(0), models=make_models(n=1)), [*DESTINATION, "bin"]
    )
    assert alone["low"].isna().all()


# ------------------------------------------------------------------------- analyses of variance


@pytest.fixture(scope="module")
def areas():
    generator = np.random.default_rng(11)
    effects = {("synthface", "identity", name): 0.02 for name in g.BINS}
    effects |= {(p, t, "other_pretraining"): 0.03 for p, t, _ in make_models(n=1)}
    return make_areas(generator, effects, noise=0.02)


def pick(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_printed_two_way_form_against_statsmodels(areas):
    found = g.compute_initialisation_anova(areas)
    part = areas[
        (areas["destination_task"] == "identity")
        & areas["bin"].isin(["same_instance", "other_initialisation"])
    ]
    fit = smf.ols("auc ~ C(destination_pretraining, Sum) * C(bin, Sum)", part).fit()
    reference = anova_lm(fit, typ=2)
    names = ["pretraining", "source", "interaction"]
    for name, (_, row) in zip(names, reference.iloc[:3].iterrows(), strict=True):
        ours = pick(found, task="identity", form="printed", effect=name)
        assert (ours["df1"], ours["df2"]) == (1, 16)
        assert ours["F"] == pytest.approx(row["F"])
        assert ours["p"] == pytest.approx(row["PR(>F)"])
        share = row["sum_sq"] / (row["sum_sq"] + reference["sum_sq"].iloc[3])
        assert ours["np2"] == pytest.approx(share)
        assert ours["ng2"] == pytest.approx(share)


def test_mixed_form_by_hand(areas):
    found = g.compute_initialisation_anova(areas)
    wide = areas[areas["destination_task"] == "gender"].pivot_table(
        index=DESTINATION, columns="bin", values="auc"
    )
    same, other = wide["same_instance"].to_numpy(), wide["other_initialisation"].to_numpy()
    first = wide.index.get_level_values(0) == "imagenet"
    mean, difference = (same + other) / 2, other - same
    # two within levels: everything follows from the networks' means and differences
    between = stats.f_oneway(mean[first], mean[~first])
    interaction = stats.f_oneway(difference[first], difference[~first])
    pooled = (difference[first].var(ddof=1) + difference[~first].var(ddof=1)) / 2
    source = difference.mean() ** 2 / (pooled / 10)
    expected = {
        "pretraining": between.statistic,
        "source": source,
        "interaction": interaction.statistic,
    }
    # sums of squares on the scale of single areas, for generalized eta squared
    error = 2 * 4 * (mean[first].var(ddof=1) + mean[~first].var(ddof=1)) + 4 * pooled
    effect = {
        "pretraining": 5 * (mean[first].mean() - mean[~first].mean()) ** 2,
        "source": 5 * difference.mean() ** 2,
        "interaction": 5 * (difference[first].mean() - difference[~first].mean()) ** 2 / 4,
    }
    for name, F in expected.items():
        ours = pick(found, task="gender", form="design", effect=name)
        assert (ours["df1"], ours["df2"]) == (1, 8)
        assert ours["F"] == pytest.approx(F)
        assert ours["p"] == pytest.approx(stats.f.sf(F, 1, 8))
        assert ours["np2"] == pytest.approx(F / (F + 8))
        assert ours["ng2"] == pytest.approx(effect[name] / (effect[name] + error))


def test_repeated_measures_against_statsmodels_and_hand_formulas(areas):
    found = g.compute_source_anova(areas)
    checks = g.compute_assumptions(areas)
    bins = ["same_instance", "other_task", "other_pretraining", "other_both"]
    part = areas.query("destination_pretraining == 'imagenet' and destination_task == 'gender'")
    part = part[part["bin"].isin(bins)]
    where = {"pretraining": "imagenet", "task": "gender"}
    design = pick(found, **where, form="design")
    reference = AnovaRM(part, "auc", "destination_instance", within=["bin"]).fit().anova_table
    assert (design["df1"], design["df2"]) == (3, 12)
    assert design["F"] == pytest.approx(reference["F Value"].iloc[0])
    assert design["p"] == pytest.approx(reference["Pr > F"].iloc[0])
    printed = pick(found, **where, form="printed")
    oneway = stats.f_oneway(*[part.loc[part["bin"] == b, "auc"] for b in bins])
    assert (printed["df1"], printed["df2"]) == (3, 16)
    assert printed["F"] == pytest.approx(oneway.statistic)
    assert printed["p"] == pytest.approx(oneway.pvalue)

    x = part.pivot_table(index="destination_instance", columns="bin", values="auc").to_numpy()
    n, k = x.shape
    # Greenhouse & Geisser (1959): from the double-centred covariance matrix
    centre = np.eye(k) - 1 / k
    s = centre @ np.cov(x.T) @ centre
    epsilon = np.trace(s) ** 2 / ((k - 1) * (s**2).sum())
    assert design["epsilon"] == pytest.approx(epsilon)
    p_gg = stats.f.sf(design["F"], 3 * epsilon, 12 * epsilon)
    assert design["p_GG"] == pytest.approx(p_gg)
    # Mauchly (1940): from the eigenvalues that the contrasts leave
    values = np.sort(np.linalg.eigvalsh(s))[1:]
    w = values.prod() / values.mean() ** (k - 1)
    mauchly = pick(checks, **where, check="sphericity (Mauchly W)")
    assert mauchly["statistic"] == pytest.approx(w)
    # all sums of squares but that of the effect are error of generalized eta squared
    effect = n * ((x.mean(0) - x.mean()) ** 2).sum()
    assert design["ng2"] == pytest.approx(effect / ((x - x.mean()) ** 2).sum())
    residuals = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
    shapiro = pick(checks, **where, check="normal residuals (Shapiro-Wilk W)")
    assert shapiro["statistic"] == pytest.approx(stats.shapiro(residuals.ravel()).statistic)


def test_p_of_mauchly_is_that_of_simulated_spherical_data():
    generator = np.random.default_rng(0)
    n, k = 8, 4
    contrasts = np.linalg.qr(np.c_[np.ones(k), np.eye(k)[:, :-1]])[0][:, 1:]
    x = generator.normal(size=(100_000, n, k)) @ contrasts
    x -= x.mean(1, keepdims=True)
    s = np.einsum("rni,rnj->rij", x, x)
    w = np.linalg.det(s) / (np.trace(s, axis1=1, axis2=2) / (k - 1)) ** (k - 1)
    for p in (0.05, 0.2, 0.5):
        # 100,000 draws: a standard error of .0016 at most
        assert _p_of_mauchly(np.quantile(w, p), n, k) == pytest.approx(p, abs=0.004)
    # the formula worked by hand; pingouin 0.6.1 has .4473
    assert _p_of_mauchly(0.1616954, 5, 4) == pytest.approx(0.446616, abs=1e-5)


def test_three_pretrainings_have_their_degrees_of_freedom():
    models = make_models(("imagenet", "synthface", "own"), ("identity",))
    table = make_areas(np.random.default_rng(0), models=models)
    found = g.compute_initialisation_anova(table).set_index(["form", "effect"])
    assert found.loc[("printed", "pretraining"), ["df1", "df2"]].tolist() == [2, 24]
    assert found.loc[("design", "interaction"), ["df1", "df2"]].tolist() == [2, 12]
    # training seeds of one pretraining are pooled
    table["destination_pretraining"] = table["destination_pretraining"].replace(
        "own", "synthface-2"
    )
    found = g.compute_initialisation_anova(table).set_index(["form", "effect"])
    assert found.loc[("design", "pretraining"), ["df1", "df2"]].tolist() == [1, 13]


def test_levene_against_scipy(areas):
    part = areas[areas["destination_task"] == "identity"]
    part = part[part["bin"].isin(["same_instance", "other_initialisation"])]
    cells = [c["auc"] for _, c in part.groupby(["destination_pretraining", "bin"])]
    ours = pick(g.compute_assumptions(areas), task="identity", check="equal variances (Levene W)")
    assert ours["p"] == pytest.approx(stats.levene(*cells, center="median").pvalue)


def test_pairwise_against_scipy_and_statsmodels(areas):
    found = g.compute_pairwise(areas)
    bins = ["same_instance", "other_task", "other_pretraining", "other_both"]
    for pretraining, task in itertools.product(("imagenet", "synthface"), ("identity", "gender")):
        part = areas[
            (areas["destination_pretraining"] == pretraining) & (areas["destination_task"] == task)
        ]
        x = part.pivot_table(index="destination_instance", columns="bin", values="auc")[bins]
        tukey = stats.tukey_hsd(*x.to_numpy().T).pvalue
        rows = found[(found["pretraining"] == pretraining) & (found["task"] == task)]
        p = []
        for (i, j), row in zip(itertools.combinations(range(4), 2), rows.itertuples(), strict=True):
            assert (row.first, row.second) == (bins[i], bins[j])
            test = stats.ttest_1samp(x[bins[j]] - x[bins[i]], 0)
            interval = test.confidence_interval(0.95)
            assert row.difference == pytest.approx((x[bins[j]] - x[bins[i]]).mean())
            assert (row.t, row.p, row.df) == pytest.approx((test.statistic, test.pvalue, 4))
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
            assert row.p_tukey == pytest.approx(tukey[i, j], abs=1e-5)
            # d_z = t / sqrt(n)
            assert row.dz == pytest.approx(test.statistic / np.sqrt(5))
            p.append(test.pvalue)
        assert rows["p_holm"].to_numpy() == pytest.approx(multipletests(p, method="holm")[1])


@pytest.mark.parametrize(
    ("F", "df1", "df2", "low", "high"),
    [
        # Smithson (2001), p. 619
        (6.00, 1, 42, 0.0117, 0.2801),
        (2.65, 6, 42, 0.0174, 0.3577),
        # Fidler and Thompson (2001), tables 6 and 8
        (1.50, 1, 16, 0.0, 0.3167),
        (4.00, 3, 16, 0.0357, 0.5671),
        (1.50, 3, 16, 0.0, 0.3778),
    ],
)
def test_interval_of_partial_eta_squared_as_published(F, df1, df2, low, high):
    assert g.partial_eta_squared_interval(F, df1, df2) == pytest.approx((low, high), abs=6e-5)


def test_interval_of_partial_eta_squared_against_statsmodels():
    for F, df1, df2 in ((49.6, 1, 16), (313.0, 1, 8), (9.0, 3, 12)):
        limits = confint_noncentrality(F, (df1, df2), alpha=0.05)
        expected = [v / (v + df1 + df2 + 1) for v in limits]
        found = g.partial_eta_squared_interval(F, df1, df2, 0.95)
        # statsmodels inverts to about four figures; the Poisson mixture of beta functions is exact
        assert found == pytest.approx(expected, rel=1e-3)
        for limit, tail in zip(found, (0.975, 0.025), strict=True):
            half = limit / (1 - limit) * (df1 + df2 + 1) / 2
            k = np.arange(4000)
            x = df1 * F / (df1 * F + df2)
            mixture = stats.poisson.pmf(k, half) @ stats.beta.cdf(x, df1 / 2 + k, df2 / 2)
            assert mixture == pytest.approx(tail, abs=1e-7)
    # 90% excludes zero exactly when p < .05
    edge = stats.f.isf(0.05, 3, 12)
    assert g.partial_eta_squared_interval(edge * 1.001, 3, 12)[0] > 0
    assert g.partial_eta_squared_interval(edge * 0.999, 3, 12)[0] == 0


def test_planted_effect_is_found_and_shuffled_labels_are_not():
    effects = {("synthface", t, b): 0.06 for t in ("identity", "gender") for b in g.BINS}
    generator = np.random.default_rng(5)
    models = make_models(tasks=("identity",))
    bins = g.BINS[:2]
    planted = []
    shuffled = {"pretraining": 0, "source": 0}
    for run in range(40):
        table = make_areas(generator, effects, models, bins=bins)
        if run < 8:
            found = g.compute_initialisation_anova(table)
            planted.append(pick(found, form="design", effect="pretraining")["p"])
        # the two areas of a network stay together: networks are what is exchangeable
        number = np.repeat(np.arange(10), 2)
        names = generator.permutation([m.pretraining for m in models])
        mixed_up = table.assign(destination_pretraining=names[number], destination_instance=number)
        found = g.compute_initialisation_anova(mixed_up)
        for effect in shuffled:
            shuffled[effect] += pick(found, form="design", effect=effect)["p"] < 0.05
    assert max(planted) < 0.05
    # 40 tests at .05: more than 7 have probability .001
    assert shuffled["pretraining"] <= 7
    assert shuffled["source"] <= 7


def test_pseudo_replication_is_seen_by_the_test_over_trunks_only():
    """Trunks differ, pretrainings do not: readouts make it significant, trunks do not."""
    generator = np.random.default_rng(2)
    trunks = ("imagenet", "synthface", "synthface-2", "synthface-3")
    models = make_models(trunks, ("identity",))
    by_readout, by_trunk = [], []
    for run in range(100):
        effects = {}
        for trunk in trunks:
            effect = generator.normal(0, 0.05)
            effects |= {(trunk, "identity", name): effect for name in g.BINS}
        table = make_areas(generator, effects, models, noise=0.01, bins=g.BINS[:2])
        by_trunk.append(g.compute_trunk_anova(table)["p"].iloc[0])
        if run < 12:
            pair = table[table["destination_pretraining"].isin(trunks[:2])]
            tested = g.compute_initialisation_anova(pair)
            by_readout.append(pick(tested, form="design", effect="pretraining")["p"])
    assert np.mean(np.array(by_readout) < 0.05) > 0.5
    # 100 tests at .05: more than 13 have probability .001
    assert np.sum(np.array(by_trunk) < 0.05) <= 13


def test_trunk_test_is_crawford_and_howell_for_one_trunk_against_several(areas):
    table = areas[areas["destination_task"] == "identity"]
    extra = [table.query("destination_pretraining == 'synthface'").copy() for _ in range(2)]
    for k, (copy, shift) in enumerate(zip(extra, (0.03, -0.01), strict=True)):
        copy["destination_pretraining"] = f"synthface-{k + 2}"
        copy["auc"] += shift
    table = pd.concat([table, *extra])
    own = table[table["bin"] == "same_instance"]
    means = own.groupby("destination_pretraining")["auc"].mean()
    case, sample = means["imagenet"], means.drop("imagenet")
    t = (case - sample.mean()) / (sample.std(ddof=1) * np.sqrt(1 + 1 / 3))
    found = g.compute_trunk_anova(table).iloc[0]
    assert (found["df1"], found["df2"], found["n_models"]) == (1, 2, 4)
    assert found["F"] == pytest.approx(t**2)
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), 2))
    warned = g.summarise_replication(table).set_index("pretraining")
    assert warned["trunks"].to_dict() == {"imagenet": 1, "synthface": 3}
    assert "pseudo-replicates of imagenet" in warned.loc["imagenet", "warning"]
    assert warned.loc["synthface", "warning"] == ""


# ---------------------------------------------------------------------- faces and networks random


def make_cube(generator, n=25, m=6, identity=0.05, network=0.04, noise=0.05):
    return (
        generator.normal(0, identity, (n, 1))
        + generator.normal(0, network, (1, m))
        + generator.normal(0, noise, (n, m))
    )


def fit_mixedlm(cubes):
    """The same model by statsmodels, all random effects as variance components of one group."""
    rows = [
        (k, i, f"{k}-{i}", f"{k}-{j}", cube[i, j] * 10)
        for k, cube in enumerate(cubes)
        for i in range(cube.shape[0])
        for j in range(cube.shape[1])
    ]
    table = pd.DataFrame(rows, columns=["k", "identity", "slope", "network", "y"]).assign(one=1)
    parts = {"network": "0 + C(network)", "slope": "0 + C(slope)"}
    if len(cubes) == 2:
        parts["identity"] = "0 + C(identity)"
    formula = "y ~ 1" if len(cubes) == 1 else "y ~ k"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = smf.mixedlm(formula, table, groups="one", vc_formula=parts).fit()
    components = dict(zip(fit.model.exog_vc.names, np.sqrt(fit.vcomp) / 10, strict=True))
    return fit.fe_params.iloc[-1] / 10, fit.bse_fe.iloc[-1] / 10, components, fit.scale**0.5 / 10


@pytest.mark.parametrize("groups", [1, 2])
def test_crossed_model_against_statsmodels(groups):
    generator = np.random.default_rng(4)
    shared = generator.normal(0, 0.1, (12, 1)) if groups == 2 else 0.0
    cubes = [make_cube(generator, 12, 4) + 0.1 + shared for _ in range(groups)]
    ours = g.fit_crossed(cubes)
    estimate, se, components, residual = fit_mixedlm(cubes)
    assert ours["estimate"] == pytest.approx(estimate, abs=1e-8)
    assert ours["se"] == pytest.approx(se, rel=2e-3)
    assert ours["sd_identity"] == pytest.approx(components["slope"], rel=5e-3)
    assert ours["sd_network"] == pytest.approx(components["network"], rel=5e-3)
    assert ours["sd_residual"] == pytest.approx(residual, rel=5e-3)


def test_crossed_model_without_variance_of_networks_is_a_t_test_over_identities():
    cube = make_cube(np.random.default_rng(0), network=0) + 0.02
    cube -= cube.mean(0) - cube.mean()
    ours, test = g.fit_crossed([cube]), stats.ttest_1samp(cube.mean(1), 0)
    assert (ours["t"], ours["p"], ours["df"]) == pytest.approx((test.statistic, test.pvalue, 24))
    assert ours["sd_network"] == 0
    transposed = g.fit_crossed([cube.T])
    assert transposed["df"] == pytest.approx(24)


def test_crossed_model_holds_its_level_and_finds_an_effect():
    generator = np.random.default_rng(8)
    nothing = [g.fit_crossed([make_cube(generator)])["p"] for _ in range(600)]
    pairs = [g.fit_crossed([make_cube(generator), make_cube(generator)])["p"] for _ in range(600)]
    # 600 tests at .05: outside 14 to 49 has probability .001
    assert 14 <= np.sum(np.array(nothing) < 0.05) <= 49
    assert 14 <= np.sum(np.array(pairs) < 0.05) <= 49
    found = [g.fit_crossed([make_cube(generator) + 0.1])["p"] for _ in range(50)]
    assert np.mean(np.array(found) < 0.05) > 0.95


def test_identity_model_reads_the_right_cells():
    models = make_models(n=3)
    table = g.check_scores(make_scores(models, identities=8, seed=1))
    auc = g.compute_auc(g.compute_expectation(table, by_identity=True))
    found = g.compute_identity_model(auc)
    wide = auc.set_index([*DESTINATION, "bin", "identity"])["auc"]

    def cube(pretraining, task, name):
        return np.array(
            [[wide[(pretraining, task, j, name, i)] for j in range(3)] for i in range(8)]
        )

    contrast = cube("synthface", "gender", "other_both") - cube(
        "synthface", "gender", "same_instance"
    )
    ours = pick(
        found, pretraining="synthface", task="gender", contrast="other_both - same_instance"
    )
    assert ours["estimate"] == pytest.approx(contrast.mean())
    assert ours["p"] == pytest.approx(g.fit_crossed([contrast])["p"])
    groups = [
        (cube(p, "identity", "same_instance") + cube(p, "identity", "other_initialisation")) / 2
        for p in ("imagenet", "synthface")
    ]
    ours = pick(found, task="identity", contrast="pretraining")
    assert ours["pretraining"] == "synthface - imagenet"
    assert ours["se"] == pytest.approx(g.fit_crossed(groups)["se"])
    per_type = found[(found["pretraining"] == "imagenet") & (found["task"] == "gender")]
    holm = multipletests(per_type["p"], method="holm")[1]
    assert per_type["p_holm"].to_numpy() == pytest.approx(holm)


# ----------------------------------------------------------------------------------------- claims


def test_printed_p_values_follow_from_printed_f():
    found = g.recompute_printed()
    assert found["agrees"].all()
    rounded = [float(f"{p:.2g}") for p in found["p_recomputed"]]
    assert rounded == [2.8e-6, 0.19, 2.4e-5, 0.047]
    assert round(found["p_design"].iloc[3], 3) == 0.058
    # with the degrees of freedom of the design the printed p would not follow
    assert found["p_design"].iloc[0] > 10 * found["p_printed"].iloc[0]


def judge(areas, **options):
    tables = (
        g.compute_initialisation_anova(areas),
        g.compute_source_anova(areas),
        g.compute_pairwise(areas),
    )
    return g.verdict(*tables, face="synthface", **options).set_index("claim")


def published_effects():
    """Areas as the paper prints them: its exception, and a higher AUC of the face trunk."""
    effects = {}
    for model in make_models(n=1):
        step = 0.0 if model[:2] == ("imagenet", "gender") else 0.05
        trunk = 0.1 if model.pretraining == "synthface" else 0.0
        for name in g.BINS:
            far = name in ("other_pretraining", "other_both")
            effects[(*model[:2], name)] = trunk + far * step
    return effects


def test_verdicts_on_a_study_like_the_published_one():
    found = judge(make_areas(np.random.default_rng(1), published_effects(), network=0.006))
    verdicts = found[["verdict_printed", "verdict_design"]]
    # three of four destination types have an effect of the source here: the count is one short
    assert (verdicts.loc["four_sources"] == "same direction").all()
    # nothing differs here, yet chance alone keeps no four p-values above .92
    assert (verdicts.loc["both_other"] == "same direction").all()
    rest = verdicts.drop(index=["four_sources", "both_other"])
    assert (rest == "reproduced").all(axis=None)
    null = {"identity_source", "other_task", "exception", "both_other"}
    assert set(found.index[found["null_claim"]]) == null
    assert "synthface identity +0.048" in found.loc["other_pretraining", "note"]
    assert found.loc["identity_pretraining", "outcome_design"].startswith("identity F(1,8) = ")


def test_verdicts_on_a_study_with_the_opposite_outcome():
    effects = {k: -v for k, v in published_effects().items()}
    for task in ("identity", "gender"):
        effects[("synthface", task, "other_both")] += 0.2
        effects[("imagenet", task, "other_task")] = 0.2
        effects |= {("synthface", task, b): effects[("imagenet", task, b)] for b in g.BINS[:2]}
    found = judge(make_areas(np.random.default_rng(1), effects, network=0.001))["verdict_design"]
    assert found["other_pretraining"] == "not reproduced"
    assert found["identity_pretraining"] == "not reproduced"
    assert found["other_task"] == "not reproduced"
    assert found["both_other"] == "not reproduced"
    assert found["four_sources"] == "reproduced"


def test_verdict_same_direction_needs_the_sign_only():
    effects = {k: v / 5 for k, v in published_effects().items()}
    table = make_areas(np.random.default_rng(3), effects, network=0.02, noise=0.004)
    found = judge(table, alpha=1e-7)
    assert found.loc["other_pretraining", "verdict_design"] == "same direction"


def make_tests(**changes):
    """The three tables of tests with every claim as printed, but for p of some pairs of bins."""
    keys = [("imagenet", "identity"), ("imagenet", "gender")]
    keys += [("synthface", "identity"), ("synthface", "gender")]
    both = [
        {"task": t, "pretraining": "all", "effect": e, "form": f, "p": 0.5 if e == "source" else 0}
        for t, e, f in itertools.product(
            ("identity", "gender"), ("pretraining", "source"), ("printed", "design")
        )
    ]
    source = [
        {"task": t, "pretraining": p, "effect": "source", "form": f, "p": 0.001}
        for (p, t), f in itertools.product(keys, ("printed", "design"))
    ]
    pairs = []
    for claim in ("other_task", "other_pretraining", "both_other"):
        first, second = next(c.key for c in CLAIMS if c.id == claim)
        for k, (pretraining, task) in enumerate(keys):
            p, difference = changes.get(claim, {}).get(k, (0.99, 0.0))
            if claim == "other_pretraining" and k not in changes.get(claim, {}):
                p, difference = (0.2, 0.0) if k == 1 else (0.001, 0.1)
            where = {"pretraining": pretraining, "task": task, "first": first, "second": second}
            pairs.append({**where, "p_tukey": p, "p_holm": p, "difference": difference, "note": ""})
    empty = {"p_GG": np.nan, "F": 1.0, "df1": 1, "df2": 1, "np2": 0.1, "np2_low": 0, "np2_high": 1}
    return *(pd.DataFrame(t).assign(note="", **empty) for t in (both, source)), pd.DataFrame(pairs)


@pytest.mark.parametrize(
    ("claim", "p", "expected"),
    [
        ("both_other", 0.95, "reproduced"),
        ("both_other", 0.31, "same direction"),
        ("both_other", 0.04, "same direction"),
        ("other_task", 0.07, "reproduced"),
        ("other_task", 0.055, "same direction"),
    ],
)
def test_a_claim_of_no_difference_is_judged_by_the_printed_bound_too(claim, p, expected):
    found = g.verdict(*make_tests(**{claim: {2: (p, 0.01)}}), face="synthface").set_index("claim")
    assert found.loc[claim, "verdict_design"] == found.loc[claim, "verdict_printed"] == expected
    rest = found.drop(index=claim)
    assert (rest["verdict_design"] == "reproduced").all()


def test_there_is_no_exception_where_there_is_no_rule():
    rule = {0: (0.001, 0.1), 2: (0.3, 0.1), 3: (0.3, 0.1)}
    for difference, expected in ((0.1, "same direction"), (-0.1, "not reproduced")):
        rule |= {k: (0.3, difference) for k in (2, 3)}
        found = g.verdict(*make_tests(other_pretraining=rule), face="synthface")
        found = found.set_index("claim")
        assert found.loc["other_pretraining", "verdict_design"] == expected
        assert found.loc["exception", "verdict_design"] == expected
        assert f"its rule, which is {expected}" in found.loc["exception", "note"]
    # .06 is no effect, and not above .08 as printed
    bound = g.verdict(*make_tests(other_pretraining={1: (0.06, 0.0)}), face="synthface")
    assert bound.set_index("claim").loc["exception", "verdict_design"] == "same direction"


def test_verdict_not_testable_says_why():
    one = judge(
        make_areas(np.random.default_rng(0), models=make_models(n=1), bins=np.delete(g.BINS, 1))
    )
    assert (one["verdict_design"] == "not testable").all()
    assert one["note"].str.contains("second initialisation|two initialisations").all()
    single = judge(
        make_areas(np.random.default_rng(0), models=make_models(("imagenet",)), bins=g.BINS[:3])
    )
    assert set(single["verdict_printed"]) == {"not testable"}
    assert single["note"].str.contains("one pretraining|no such models|no source in bin").all()


# -------------------------------------------------------------------------------------- bad input


def test_what_cannot_be_computed_is_a_note():
    generator = np.random.default_rng(0)
    one = make_areas(generator, models=make_models(n=1))
    assert g.compute_initialisation_anova(one)["note"].str.contains("one model per").all()
    assert g.compute_source_anova(one)["note"].str.contains("two initialisations").all()
    assert g.compute_pairwise(one)["note"].str.contains("two initialisations").all()
    assert not g.compute_assumptions(one)["holds"].notna().any()
    single = make_areas(generator, models=make_models(("imagenet",)), bins=g.BINS[:3])
    assert g.compute_initialisation_anova(single)["note"].str.contains("one pretraining").all()
    assert g.compute_source_anova(single)["note"].str.contains("other_pretraining").all()
    constant = make_areas(generator, network=0, noise=0)
    for found in (g.compute_initialisation_anova(constant), g.compute_source_anova(constant)):
        assert found["F"].isna().all()
        assert found["note"].str.contains("areas are equal").all()
    assert g.compute_pairwise(constant)["p"].isna().all()
    # networks at ceiling: the areas differ between groups and nowhere else
    effects = {("synthface", "identity", name): 0.1 for name in g.BINS}
    ceiling = make_areas(generator, effects, network=0, noise=0)
    found = g.compute_initialisation_anova(ceiling)
    assert found["p"].isna().all()
    assert found.loc[found["task"] == "identity", "note"].str.contains("no error term").all()
    effects = {("synthface", "identity", "other_both"): 0.1}
    parallel = make_areas(generator, effects, network=0.1, noise=0)
    row = pick(
        g.compute_source_anova(parallel), pretraining="synthface", task="identity", form="design"
    )
    assert np.isnan(row["p"]) and "no error term" in row["note"]
    # a network without one of the bins is left out, and the count says so
    short = make_areas(generator)
    lost = (short["destination_instance"] == 4) & (short["bin"] == "other_initialisation")
    lost &= (short["destination_pretraining"] == "imagenet") & (
        short["destination_task"] == "gender"
    )
    found = g.compute_initialisation_anova(short[~lost])
    row = pick(found, task="gender", form="design", effect="pretraining")
    assert (row["df2"], row["n_models"]) == (7, 9)
    assert row["note"] == "1 of 10 models lack a bin and are left out"


def test_a_near_tie_is_no_variance():
    # two networks of 24 faces whose areas agree to 3e-6 because 31.6 is not quite half a decade
    rows = []
    for k, own in enumerate((0.4, 0.5)):
        for name in g.BINS:
            far = 0.1076 if name in ("other_pretraining", "other_both") else 0.0
            rows.append(("synthface", "identity", k, name, own + far * (1 + 4e-5 * k)))
    areas = pd.DataFrame(rows, columns=[*DESTINATION, "bin", "auc"])
    found = pick(g.compute_pairwise(areas), first="same_instance", second="other_pretraining")
    assert found["difference"] == pytest.approx(0.1076, rel=1e-4)
    assert np.isnan(found["p"]) and np.isnan(found["dz"]) and np.isnan(found["low"])
    assert "near tie" in found["note"] and "4e-06" in found["note"]
    row = pick(g.compute_source_anova(areas), form="design")
    assert np.isnan(row["p"]) and "near tie" in row["note"]
    # one step of one source of a hundred faces is variance
    areas.loc[areas["bin"].eq("other_both") & areas["destination_instance"].eq(1), "auc"] += 3e-4
    found = pick(g.compute_pairwise(areas), first="same_instance", second="other_both")
    assert found["p"] < 0.05 and found["note"] == ""


def test_missing_values_are_dropped_listwise_or_refused():
    models = make_models(n=2)
    correct = make_scores(models, identities=4).astype({"correct": float})
    correct.loc[10, "correct"] = np.nan
    with pytest.raises(InputError, match=r"NaN.*missing='drop'"):
        g.check_scores(correct)
    kept = g.check_scores(correct, missing="drop")
    assert set(kept["identity"]) == set(range(4)) - {correct.loc[10, "identity"]}
    assert kept.attrs["dropped"] == len(correct) / 4
    accuracy = make_scores(models)
    accuracy.loc[7, "accuracy"] = np.nan
    kept = g.check_scores(accuracy, missing="drop")
    assert len(kept) == len(accuracy) - len(LEVELS)


def change(**columns):
    return lambda t: t.assign(**columns)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.rename(columns={"level": "levle"}), "unknown column 'levle'.*'level'"),
        (change(preset="a_flat"), "unknown column 'preset'"),
        (lambda t: t.drop(columns="source_task"), "no column source_task"),
        (lambda t: t.drop(columns="accuracy"), "either 'correct'"),
        (change(correct=1), "either 'correct'"),
        (change(identity=1), "'accuracy' without one"),
        (lambda t: t.iloc[:0], "no rows"),
        (change(source_pretraining=None), "source_pretraining is empty"),
        (change(level=101.0), "level = 101.0 is refused.*0 to 100"),
        (change(level=np.nan), "level = nan is refused"),
        (change(level="many"), "level = 'many' is refused"),
        (change(accuracy=1.2), "accuracy = 1.2 is refused.*0 to 1"),
        (lambda t: pd.concat([t, t]), "same row twice"),
        (change(accuracy=np.nan), "accuracy is missing"),
    ],
)
def test_bad_scores_are_refused(spoil, message):
    table = make_scores(make_models(n=1), levels=(1.0, 10.0))
    with pytest.raises(InputError, match=message):
        g.check_scores(spoil(table))


def test_correct_is_zero_or_one():
    table = make_scores(make_models(n=1), identities=2, levels=(1.0,)).assign(correct=0.5)
    with pytest.raises(InputError, match="allowed is 0 or 1"):
        g.check_scores(table)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: g.area_under_curve([1, 10], [1, 0], axis="log2"), "axis = 'log2'"),
        (lambda: g.area_under_curve([1, 10], [1, 0], ends="both"), "ends = 'both'"),
        (lambda: g.area_under_curve([1, 101], [1, 0]), "0 to 100"),
        (lambda: g.area_under_curve([1, 1], [1, 0]), "twice"),
        (lambda: g.area_under_curve([1, 10], [1, np.nan]), "NaN"),
        (lambda: g.area_under_curve([1, 10, 30], [1, 0]), "3 levels do not fit"),
        (lambda: g.area_under_curve([0, 1, 100], [1, 1, 0]), "1 of the levels 0, 1, 100"),
        (lambda: g.partial_eta_squared_interval(3, 1, 16, 1.5), "confidence = 1.5"),
        (lambda: g.fit_crossed([np.zeros((1, 5))]), "two of each"),
        (lambda: g.fit_crossed([np.zeros((3, 5)), np.zeros((3, 4))]), "one shape"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_bad_tables_are_refused():
    scores = make_scores(make_models(n=2))
    uneven = scores.drop(
        index=scores.index[(scores["level"] == 10) & (scores["source_instance"] == 1)][:1]
    )
    with pytest.raises(InputError, match=r"sources lack a level.*1 pairs"):
        g.compute_expectation(uneven)
    with pytest.raises(InputError, match="need the column 'correct'"):
        g.compute_expectation(scores, by_identity=True)
    with pytest.raises(InputError, match="draws = 0"):
        g.compute_draws(scores, np.random.default_rng(0), 0)
    with pytest.raises(InputError, match=r"'vggface'.*imagenet, synthface"):
        g.select_pair(scores, "imagenet", "vggface")
    areas = make_areas(np.random.default_rng(0))
    curve = pd.DataFrame({"model": ["a", "a", "b"], "level": [1, 10, 1], "accuracy": 0.5})
    with pytest.raises(InputError, match="curve of b has no accuracy at level 10"):
        g.compute_auc(curve)
    two = pd.concat([areas.assign(mask="relevance"), areas.assign(mask="random")])
    with pytest.raises(InputError, match="several values of mask"):
        g.compute_source_anova(two)
    with pytest.raises(InputError, match="is NaN"):
        g.compute_pairwise(areas.assign(auc=np.nan))
    with pytest.raises(InputError, match="twice"):
        g.compute_pairwise(pd.concat([areas, areas]))
    with pytest.raises(InputError, match="by_identity=True"):
        g.compute_identity_model(areas)
    with pytest.raises(InputError, match="two pretrainings"):
        judge(areas, general="synthface")
    with pytest.raises(InputError, match="in this order"):
        g.verdict(areas, areas, areas)
