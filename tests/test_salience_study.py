"""The chapter on salience: planted effects, tables worked by hand, a second package."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pingouin
import pytest
import tensorflow as tf
import xarray as xr
from scipy import stats

from lib import figures
from lib.errors import InputError
from lib.generalization import compute_auc
from lib.network import Readout
from lib.salience import comparison, compute_entropy, compute_ssim, panels, scale_maps, study
from lib.salience.detection import DetectionSet
from lib.salience.report import MEASURES
from lib.vgg import Trunk

SIZE = 32
CONDITIONS = [("a", "identity"), ("a", "gender"), ("b", "identity"), ("b", "gender")]
COLUMNS = [
    ("S_entropy", ""),
    ("spatial_entropy", ""),
    ("constant", ""),
    ("S_noise", "0"),
    ("S_noise", "0.1"),
    ("S_noise", "0.5"),
    ("S_unrelated", "other faces"),
    ("S_unrelated", "textures"),
    ("S_geo", "flip left-right"),
    ("S_geo", "shift up"),
    ("S_resilience", "background"),
    ("S_resilience", "object"),
]


ANSWERS = [("accuracy", "none"), ("accuracy", "background"), ("accuracy", "object")]


@pytest.fixture(autouse=True)
def style():
    figures.apply_style()
    yield
    plt.close("all")


def make_data(rng, runs=3, images=30, conditions=CONDITIONS, shift=0.0):
    """Measures of networks; those of pretraining b are higher by ``shift``."""
    models = [(p, t, k) for p, t in conditions for k in range(runs)]
    values = rng.normal(0.4, 0.1, (len(models), len(COLUMNS), images))
    values += shift * np.array([p == "b" for p, _, _ in models])[:, None, None]
    values[:, 2] = 0
    values[:, 3] = 1
    groups = [f"{p}/{t}" for p, t in conditions]
    stability = rng.normal(0.5, 0.1, (len(groups), images))
    stability += shift * np.array([g.startswith("b") for g in groups])[:, None]
    return xr.Dataset(
        {
            "value": (("model", "column", "image"), values),
            "stability": (("group", "image"), stability),
        },
        {
            "model": ["/".join(map(str, m)) for m in models],
            **{f: ("model", [m[k] for m in models]) for k, f in enumerate(study.FACTORS)},
            "measure": ("column", [m for m, _ in COLUMNS]),
            "condition": ("column", [c for _, c in COLUMNS]),
            "group": groups,
            "identity": ("image", [f"p{k:02d}" for k in range(images)]),
        },
    )


@pytest.fixture
def rng():
    return np.random.default_rng(11)


# ------------------------------------------------------------------------------------------ inputs


def test_faces_are_drawn_with_the_genders_in_turn(rng):
    names = [f"id{k:02d}" for k in range(20)]
    table = pd.DataFrame({"identity": names, "gender": ["female"] * 14 + ["male"] * 6})
    table = pd.concat([table, table])
    places = study.choose_faces(table, 8, 3)
    assert len(set(places)) == 8 and (np.diff(places) > 0).all()
    assert (table["gender"].to_numpy()[places] == "male").sum() == 4
    np.testing.assert_array_equal(places, study.choose_faces(table, 8, 3))
    assert not np.array_equal(places, study.choose_faces(table, 8, 4))
    for count in (0, 20, 99):
        np.testing.assert_array_equal(study.choose_faces(table, count, 0), np.arange(20))
    assert len(set(study.choose_others(20, 5, 0))) == 5
    np.testing.assert_array_equal(study.choose_others(3, 5, 0), np.arange(3))


def test_unrelated_pictures_are_grey_squares_that_are_there_without_a_network():
    found = study.load_unrelated(48)
    assert {name: some.shape for name, some in found.items()} == {
        "objects": (4, 48, 48),
        "textures": (3, 48, 48),
    }
    assert all(some.dtype == np.uint8 and (some.std((1, 2)) > 5).all() for some in found.values())
    coloured = study.load_unrelated(48, colour=True)
    assert [some.shape for some in coloured.values()] == [(4, 48, 48, 3), (3, 48, 48, 3)]
    assert (coloured["objects"] != coloured["objects"][..., :1]).any()


# --------------------------------------------------------------------------------------- computing


@pytest.fixture(scope="module")
def small():
    """Two toy trunks with two readouts of either task."""
    rng = np.random.default_rng(2)
    trunks, readouts = {}, {}
    for name in ("a", "b"):
        tf.keras.utils.set_random_seed(len(trunks))
        layers = tf.keras.layers
        model = tf.keras.Sequential(
            [
                tf.keras.Input((SIZE, SIZE, 3)),
                layers.Conv2D(6, 3, padding="same", activation="relu", name="conv"),
                layers.MaxPooling2D(4),
            ]
        )
        trunks[name] = Trunk(name, model)
        width = int(np.prod(model.output_shape[1:]))
        readouts[name] = [
            Readout(f"{task}-{k}", rng.normal(size=(width, classes)), rng.normal(size=classes))
            for task, classes in (("identity", 3), ("gender", 2))
            for k in range(2)
        ]
    images = rng.integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)
    labels = {"identity": np.arange(3), "gender": np.array([0, 1, 0])}
    return trunks, readouts, images, labels


def test_a_study_is_each_trunk_alone_and_keeps_what_it_has(small, tmp_path):
    trunks, readouts, images, labels = small
    options = {"amounts": [0.2], "transforms": ["flip up-down"], "progress": False, "seed": 1}
    whole = study.compute_study(
        trunks, readouts, images, labels, "xyz", "grad_cam", folder=tmp_path, **options
    )
    assert whole["model"].to_numpy()[[0, 3, 4]].tolist() == [
        "a/identity/0",
        "a/gender/1",
        "b/identity/0",
    ]
    assert whole["group"].to_numpy().tolist() == [f"{p}/{t}" for p, t in CONDITIONS]
    one = {"b": readouts["b"]}
    alone = study.compute_study(trunks, one, images, labels, "xyz", "grad_cam", **options)
    xr.testing.assert_allclose(whole.sel(model=alone["model"])["value"], alone["value"])
    kept = {path.name for path in (tmp_path / "a-grad_cam").iterdir()}
    # other settings leave the results of before behind: they are removed
    options["seed"] = 2
    study.compute_study(
        trunks, readouts, images, labels, "xyz", "grad_cam", folder=tmp_path, **options
    )
    now = {path.name for path in (tmp_path / "a-grad_cam").iterdir()}
    assert len(kept) == len(now) == 1 and kept != now


def test_some_conditions_of_a_study_are_the_study_of_these_alone(small, rng):
    trunks, readouts, images, labels = small
    kinds = {name: rng.integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8) for name in ("a", "b")}
    whole, part = (
        study.compute_study(
            trunks, readouts, images, labels, "xyz", "grad_cam", progress=False, seed=1, **options
        )
        for options in (
            {"amounts": [0.0, 0.1, 0.5], "transforms": None, "unrelated": kinds},
            {"amounts": [0.5], "transforms": ["rotate +90"], "unrelated": {"a": kinds["a"]}},
        )
    )
    found = study.select_conditions(whole, [0.5], ["rotate +90"], ["a"])
    assert found["measure"].equals(part["measure"])
    assert found["condition"].equals(part["condition"])
    xr.testing.assert_allclose(found, part, rtol=1e-4)
    with pytest.raises(InputError, match=r"S_noise was not measured for '0\.25'.*0, 0\.1, 0\.5"):
        study.select_conditions(whole, [0.25], [], [])


def test_one_run_of_a_kind_has_no_stability_and_the_rest_goes_on(small):
    trunks, readouts, images, labels = small
    first = study.select_readouts(readouts, 1)
    assert [r.name for r in first["a"]] == ["identity-0", "gender-0"]
    data = study.compute_study(
        trunks, first, images, labels, "xyz", "grad_cam", amounts=[0.2], progress=False
    )
    assert data.sizes["group"] == 0
    table = study.summarise_conditions(data, draws=20)
    assert "S_stability" not in set(table["measure"])
    assert "S_stability" not in study.reduce_measures(data)["number"].to_numpy()
    assert len(study.compare_conditions(data, draws=20))
    panels.plot_conditions(table, study.average_networks(study.reduce_measures(data)))


def test_stored_maps_give_the_same_entropy_and_stability(rng):
    maps = rng.normal(size=(4, 5, 12, 12)).astype(np.float32)
    maps[1, 2] = 0
    array = xr.DataArray(
        maps,
        dims=("model", "identity", "y", "x"),
        coords={
            "model": [f"a/gender/{k}" for k in range(3)] + ["b/gender/0"],
            "pretraining": ("model", ["a", "a", "a", "b"]),
            "task": ("model", ["gender"] * 4),
            "instance": ("model", [0, 1, 2, 0]),
            "identity": list("vwxyz"),
        },
    )
    found = study.compute_stored(array)
    np.testing.assert_allclose(found["value"][:, 0], compute_entropy(maps))
    assert found["value"][1, 2].to_numpy().tolist() == [0, 0, 1, 0, 0]
    assert found["group"].to_numpy().tolist() == ["a/gender"], "one run of b has no pair"
    scaled = scale_maps(maps)
    pairs = [compute_ssim(scaled[i, 0], scaled[j, 0]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found["stability"][0, 0] == pytest.approx(np.mean(pairs))
    # the network whose map is constant there is left out
    expected = compute_ssim(scaled[0, 2], scaled[2, 2])
    assert found["stability"][0, 2] == pytest.approx(float(expected))


# ----------------------------------------------------------------------------------------- summary


def test_conditions_are_means_over_their_networks_that_are_known(rng):
    data = make_data(rng)
    data["value"][0, 4:6, 7] = np.nan
    table = study.summarise_conditions(data, draws=50).set_index(
        ["pretraining", "task", "measure", "condition"]
    )
    row = table.loc[("b", "gender", "S_geo", "all")]
    assert row["value"] == pytest.approx(data["value"][9:, 8:10].mean().item())
    assert row["networks"] == 3
    # of the first condition one network has no value for one image: the others stand for it
    noise = data["value"][:3, 4].to_numpy()
    each = [noise[1:, k].mean() if k == 7 else noise[:, k].mean() for k in range(30)]
    assert table.loc[("a", "identity", "S_noise", "0.1"), "value"] == pytest.approx(np.mean(each))
    shown = study.show_conditions(table.reset_index())
    assert list(shown.columns[1:]) == ["a, identity", "a, gender", "b, identity", "b, gender"]
    text = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    assert shown.set_index("measure").loc["S_geo", "b, gender"] == text


def test_a_planted_difference_is_found_and_one_that_is_not_there_is_not(rng):
    table = study.compare_conditions(make_data(rng, shift=0.2), draws=400)
    planted = table[table["factor"] == "pretraining"]
    assert set(planted["within"]) == {"identity", "gender"}
    assert (planted["first"] == "a").all() and (planted["second"] == "b").all()
    assert planted["difference"].to_numpy() == pytest.approx(0.2, abs=0.06)
    assert (planted["low"] > 0).all()
    others = table[table["factor"] == "task"]
    inside = (others["low"] < 0) & (others["high"] > 0)
    assert inside.mean() >= 0.8
    assert study.state_contrasts(table).startswith(f"{len(planted)} of {len(planted)} ")
    none = make_data(rng, conditions=CONDITIONS[:2])
    assert "one pretraining only" in study.state_contrasts(study.compare_conditions(none, 20))


def test_a_draw_without_a_known_face_is_no_difference_of_zero(rng):
    """Two faces of thirty are known: one draw in eight holds neither."""
    data = make_data(rng, runs=1)
    s_geo = data["measure"].to_numpy() == "S_geo"
    values = data["value"].to_numpy().copy()
    values[:, s_geo] = np.nan
    for pretraining, value in (("a", 0.0), ("b", 0.3)):
        mine = data["pretraining"].to_numpy() == pretraining
        for face, more in ((4, 0.0), (9, 0.01)):
            values[np.ix_(mine, s_geo, [face])] = value + more
    data["value"] = (data["value"].dims, values)
    table = study.compare_conditions(data, draws=400)
    rows = table[(table["measure"] == "S_geo") & (table["factor"] == "pretraining")]
    assert (rows["images"] == 2).all()
    np.testing.assert_allclose(rows[["low", "high"]], 0.3)


def test_one_face_has_differences_and_no_intervals(rng):
    data = make_data(rng, images=1, shift=0.5)
    table = study.compare_conditions(data, draws=20)
    assert table["difference"].notna().all() and table[["low", "high"]].isna().all().all()
    assert "with one face no difference" in study.state_contrasts(table)
    shown = study.show_contrasts(table).set_index("measure")
    assert "[" not in "".join(shown.to_numpy().ravel())
    row = table[(table["measure"] == "S_geo") & (table["within"] == "gender")].iloc[0]
    assert shown.loc["S_geo", "b - a, gender"] == f"{row['difference']:+.2f}"
    assert "[" not in "".join(study.show_conditions(study.summarise_conditions(data, 20)).iloc[0])
    panels.plot_conditions(
        study.summarise_conditions(data, 20), study.average_networks(study.reduce_measures(data))
    )


def test_intervals_of_differences_cover_the_truth():
    hits = []
    for seed in range(40):
        data = make_data(np.random.default_rng(seed), shift=0.03, images=40)
        table = study.compare_conditions(data, draws=200, seed=seed)
        row = table[(table["measure"] == "S_geo") & (table["factor"] == "pretraining")].iloc[0]
        hits.append(row["low"] <= 0.03 <= row["high"])
    assert 0.85 <= np.mean(hits) <= 1


# -------------------------------------------------------------------------------------- prediction


def test_areas_are_those_of_the_chapter_on_generalization(rng):
    models, people, levels = ["a/t/0", "a/t/1", "b/t/0"], list("uvwx"), [1.0, 10.0, 31.6]
    correct = rng.random((1, 1, 3, 3, 3, 4)) < 0.6
    scores = xr.Dataset(
        {
            "correct": (
                ("mask", "fill", "source", "level", "destination", "identity"),
                correct,
            )
        },
        {
            "mask": ["relevance"],
            "fill": ["blur"],
            "source": models,
            "destination": models,
            "level": levels,
            "identity": people,
        },
    )
    found = study.compute_areas(scores, "log10", "printed", "blur")
    for k, model in enumerate(models):
        curves = pd.DataFrame(
            {
                "who": np.repeat(people, 3),
                "level": levels * 4,
                "accuracy": correct[0, 0, k, :, k].T.ravel().astype(float),
            }
        )
        expected = compute_auc(curves, "log10", "printed").set_index("who")["auc"]
        np.testing.assert_allclose(found.sel(model=model), expected.loc[people])
    with pytest.raises(InputError, match="its own relevance"):
        study.compute_areas(scores.isel(source=[]), "log10", "printed", "blur")


def test_rank_correlation_is_that_of_scipy_where_all_is_known(rng):
    values = rng.normal(size=(2, 3, 15)).round(1)
    found = study.rank_correlation(values)
    for k in range(2):
        np.testing.assert_allclose(found[k], stats.spearmanr(values[k].T).statistic)
    values[0, 1, 4] = np.nan
    values[1, 2] = 7
    found = study.rank_correlation(values)
    known = np.delete(values[0], 4, axis=1)
    np.testing.assert_allclose(found[0], stats.spearmanr(known.T).statistic)
    assert np.isnan(found[1, 2]).all() and np.isfinite(found[1, 0, 1])


def test_a_planted_link_with_the_area_is_found_and_a_shuffled_one_is_not(rng):
    data = make_data(rng, images=40)
    numbers = study.reduce_measures(data)
    areas = xr.DataArray(
        numbers.sel(number="S_geo").to_numpy() * -2 + rng.normal(0, 0.1, (12, 40)),
        dims=("model", "identity"),
        coords={"model": data["model"].to_numpy(), "identity": data["identity"].to_numpy()},
    )
    shuffled = areas.copy(data=rng.permuted(areas.to_numpy(), axis=1))
    passes = study.count_passes([0.0, 0.1, 0.5], 2)
    assert passes["S_noise"] == 2 and passes["S_geo"] == 2 and passes["S_entropy"] == 0
    tables = {}
    for name, some in (("real", areas), ("shuffled", shuffled)):
        joined = {"grad_cam": study.join_areas(numbers, some)}
        tables[name] = study.summarise_prediction(joined, passes, draws=100)
    real = tables["real"].set_index("measure")
    assert real.loc["S_geo", "rho"] < -0.5 and real.loc["S_geo", "high"] < 0
    others = real.drop("S_geo")
    assert (others["rho"].abs() < 0.2).all()
    assert "S_geo of grad_cam" in study.state_prediction(tables["real"])
    assert tables["shuffled"].set_index("measure").loc["S_geo", "rho"] == pytest.approx(0, abs=0.15)
    # between networks: by hand, of the means
    means = numbers.mean("image").sel(number="S_geo").to_numpy()
    task = data["task"].to_numpy() == "gender"
    expected = stats.spearmanr(means[task], areas.mean("identity").to_numpy()[task]).statistic
    assert real.loc["S_geo", "rho gender"] == pytest.approx(expected)
    # other networks or faces than those with scores cannot be joined in silence
    with pytest.raises(KeyError):
        study.join_areas(numbers, areas.isel(identity=slice(1, None)))


def test_two_faces_say_nothing_of_a_link(rng):
    """Their ranks agree or disagree wholly, in every draw that holds both."""
    numbers = study.reduce_measures(make_data(rng, images=2))
    areas = xr.DataArray(
        rng.random((12, 2)),
        dims=("model", "identity"),
        coords={"model": numbers["model"].to_numpy(), "identity": ["p00", "p01"]},
    )
    joined = {"grad_cam": study.join_areas(numbers, areas)}
    table = study.summarise_prediction(joined, study.count_passes([0.1], 2), draws=20)
    assert table["rho"].notna().any() and table[["low", "high"]].isna().all().all()
    assert "no link between a measure" in study.state_prediction(table)


def test_known_answers_are_met():
    table = study.list_known_answers().set_index("map")
    exact = ["one cell of 49", "all cells alike", "follows the image", "10 equal runs"]
    for name in exact:
        rows = table.loc[[name]]
        assert (rows["known"] == rows["found"]).all()
    assert table.loc["published sample, 21 values", "found"] == "0.5417"
    assert table.loc["published sample", "found"] == "3.0413"
    assert float(table.loc["moves against it", "found"]) < 0.9
    assert abs(float(table.loc["10 runs of chance", "found"])) < 0.05


# --------------------------------------------------------------------------------------- detectors


def make_detectors(rng, gap=0.2, runs=5, images=20):
    losses = [("cross_entropy", "detection"), ("cyborg", "detection")]
    data = make_data(rng, runs, images, losses)
    # a run's two trainings share most of what they are: only the pairs tell the difference
    shared = np.tile(rng.normal(0, 0.5, (runs, 1, 1)), (2, 1, 1))
    data["value"] = data["value"] + shared
    data["value"][runs:, 0] += gap
    answers = rng.random((len(data["model"]), 3, images)) < 0.7
    columns = xr.Dataset(
        {"value": (("model", "column", "image"), answers.astype(float))},
        {
            "model": data["model"],
            "measure": ("column", [m for m, _ in ANSWERS]),
            "condition": ("column", [c for _, c in ANSWERS]),
        },
    )
    values = xr.concat([data["value"], columns["value"]], "column")
    return data.drop_vars(["value", "measure", "condition"]).assign(value=values)


def test_a_difference_between_trainings_is_a_paired_test_over_runs(rng):
    data = make_detectors(rng)
    table = comparison.compare_losses(data, draws=100).set_index("measure")
    means = data["value"][:, 0].mean("image").to_numpy()
    expected = stats.ttest_rel(means[5:], means[:5])
    row = table.loc["S_entropy"]
    assert row["difference"] == pytest.approx((means[5:] - means[:5]).mean())
    assert row["p"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["low"] > 0 and row["n"] == 5 and row["over"] == "runs"
    known = table.loc[~table.index.isin(list(comparison.BESIDE)), "p"].dropna()
    corrected = pingouin.multicomp(known.to_list(), method="holm")[1]
    np.testing.assert_allclose(table.loc[known.index, "p_holm"], corrected)
    stable = table.loc["S_stability"]
    gaps = data["stability"].to_numpy()
    assert stable["difference"] == pytest.approx((gaps[1] - gaps[0]).mean())
    assert stable["over"] == "images" and stable["low"] < stable["difference"] < stable["high"]
    said = comparison.state_difference(table.reset_index())
    assert "S_entropy (higher under CYBORG by" in said
    # beside the measures, by hand; they are in no family of tests with these
    right = data["value"][:, -1].mean("image").to_numpy()
    row = table.loc["accuracy, object blurred"]
    assert (row["cross_entropy"], row["cyborg"]) == pytest.approx(
        (right[:5].mean(), right[5:].mean())
    )
    assert row["p"] == pytest.approx(stats.ttest_rel(right[5:], right[:5]).pvalue)
    beside = table.index.isin(list(comparison.BESIDE))
    assert beside.sum() == 5 and table.loc[beside, "p_holm"].isna().all()
    assert "accuracy" not in said and "chance alone would give about 0.4" in said
    _, axes = figures.new_figure(4, 2)
    numbers = study.average_networks(study.reduce_measures(data))
    panels.plot_losses(axes, numbers, table.reset_index(), comparison.WORDS)


def test_one_run_of_a_training_has_a_difference_and_no_interval(rng):
    table = comparison.compare_losses(make_detectors(rng, runs=1), draws=20)
    over_runs = table[table["over"] == "runs"]
    assert over_runs["difference"].notna().all() and over_runs["low"].isna().all()
    one = make_detectors(rng).isel(model=slice(0, 5))
    with pytest.raises(InputError, match="loss 'cyborg'"):
        comparison.compare_losses(one)


def test_generalization_is_paired_per_generator_and_over_the_unseen():
    auc = {
        ("cross_entropy", 0): (1.0, 0.7, 0.5),
        ("cross_entropy", 1): (0.9, 0.6, 0.6),
        ("cyborg", 0): (1.0, 0.9, 0.6),
        ("cyborg", 1): (1.0, 0.7, 0.8),
    }
    rows = [
        (f"{loss}-{run}", loss, run, generator, generator == "pca", value)
        for (loss, run), values in auc.items()
        for generator, value in zip(("pca", "coarse", "patches"), values, strict=True)
    ]
    columns = ["detector", "loss", "run", "generator", "seen", "auc"]
    table = comparison.compare_generalization(pd.DataFrame(rows, columns=columns))
    assert table["generator"].iloc[0] == "pca" and table["seen"].iloc[0]
    found = table.set_index("generator")["difference"]
    assert found["coarse"] == pytest.approx(0.15) and found["patches"] == pytest.approx(0.15)
    last = table.iloc[-1]
    assert last["generator"] == "mean of the unseen"
    # t of the gaps .2, .1: 3, and 0.1, 0.2: 3; of 0, .1: 1; each of one degree of freedom
    p = dict(zip(("coarse", "patches", "pca"), 2 * stats.t.sf([3, 3, 1], 1), strict=True))
    tested = table.set_index("generator")
    for name, value in p.items():
        assert tested.loc[name, "p"] == pytest.approx(value)
        held = {"coarse": 3 * value, "patches": 3 * value, "pca": 3 * p["coarse"]}[name]
        assert tested.loc[name, "p_holm"] == pytest.approx(held)
    assert np.isnan(last["p_holm"])
    # runs: .75 - .6 and .75 - .6, equal: no spread to judge by
    assert last["difference"] == pytest.approx(0.15) and np.isnan(last["low"])
    assert "0.75 under CYBORG and 0.60" in comparison.state_generalization(table)
    _, ax = figures.new_figure()
    panels.plot_generalization(ax, pd.DataFrame(rows, columns=columns), comparison.WORDS)
    assert {"pca\ntrained on", "coarse\nunseen"} <= {t.get_text() for t in ax.get_xticklabels()}


def test_differences_that_cancel_are_zero_and_no_rise():
    """36 pairs of images; in floating point these four areas leave 2.8e-17."""
    auc = {
        ("cross_entropy", 0): 25 / 36,
        ("cross_entropy", 1): 26 / 36,
        ("cyborg", 0): 15 / 36,
        ("cyborg", 1): 1.0,
    }
    gaps = np.array([auc["cyborg", run] - auc["cross_entropy", run] for run in (0, 1)])
    assert gaps.mean() > 0
    rows = [(loss, run, "coarse", False, value) for (loss, run), value in auc.items()]
    table = comparison.compare_generalization(
        pd.DataFrame(rows, columns=["loss", "run", "generator", "seen", "auc"])
    )
    assert table["difference"].tolist() == [0.0]
    half = stats.t.ppf(0.975, 1) * gaps.std(ddof=1) / np.sqrt(2)
    assert (table["low"].item(), table["high"].item()) == pytest.approx((-half, half))


def make_pictures(rng, kind="simulated"):
    people, sources = [f"p{k}" for k in range(6)], ("genuine", "pca", "coarse")
    rows = [(who, source, view) for who in people for source in sources for view in range(2)]
    count = len(rows)
    return DetectionSet(
        rng.integers(0, 256, (count, 8, 8)).astype(np.uint8),
        np.array([source != "genuine" for _, source, _ in rows]).astype(int),
        np.array([source for _, source, _ in rows]),
        np.array([who for who, _, _ in rows]),
        np.array(["test"] * count),
        "pca",
        rng.random((count, 8, 8)).astype(np.float32),
        kind,
    )


def test_tested_images_are_one_of_a_person_and_both_classes_in_turn(rng):
    data = make_pictures(rng)
    rows = comparison.choose_tested(data, 4, 0)
    assert len(set(data.identity[rows])) == 4
    assert data.label[rows].tolist() == [0, 1, 0, 1]
    assert "coarse" not in data.source[rows], "the unseen generator is not measured"
    assert len(comparison.choose_tested(data, 99, 0)) == 6


def test_the_test_is_set_against_other_peoples_faces_and_no_faces(rng):
    data = make_pictures(rng)
    held = np.isin(data.identity, ["p0", "p3", "p4"])
    data = dataclasses.replace(data, split=np.where(held, "validation", "test"))
    found = comparison.choose_unrelated(data, 2, 1)
    assert [len(some) for some in found.values()] == [2, 4, 3]
    genuine = data.images[held & (data.label == 0)]
    for face in found["other faces"]:
        assert (face == genuine).all((1, 2)).any()
    assert len(comparison.choose_unrelated(data, 99, 1)["other faces"]) == 3
    coloured = dataclasses.replace(data, images=np.repeat(data.images[..., None], 3, -1))
    shapes = {some.shape[1:] for some in comparison.choose_unrelated(coloured, 2, 1).values()}
    assert shapes == {(8, 8, 3)}


def test_simulated_salience_is_called_so_in_its_figure(rng):
    for kind, words in (("simulated", "simulated human salience"), ("human", "human salience")):
        figure = comparison.draw_pictures(make_pictures(rng, kind), 3)
        labels = [ax.get_ylabel().replace("\n", " ") for ax in figure.axes]
        assert [label for label in labels if label] == ["genuine", "pca", "coarse", words]


def test_a_readers_folders_need_no_common_people_and_no_maps_of_the_test(rng):
    data = make_pictures(rng, "human")
    other = dataclasses.replace(
        data,
        identity=np.array([f"{s}-{k}" for k, s in enumerate(data.source)]),
        salience=np.full_like(data.salience, np.nan),
    )
    figure = comparison.draw_pictures(other, 3)
    assert len(figure.axes) == 4 * 3
    # a map that is not there is no black one
    assert not any(ax.images for ax in figure.axes[-3:])
    assert [ax.texts[0].get_text() for ax in figure.axes[-3:]] == ["no map"] * 3
    assert comparison.compare_guidance([], other).empty


# ----------------------------------------------------------------------------------------- figures


def test_figures_show_every_measure_condition_and_method(rng):
    data = make_data(rng)
    summary = study.summarise_conditions(data, draws=20)
    numbers = study.reduce_measures(data)
    assert {name for name, _ in COLUMNS} <= set(MEASURES)
    figure = panels.plot_conditions(summary, study.average_networks(numbers))
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]
    assert titles == list(panels.TITLES.values())
    by_method = {"grad_cam": data, "a_flat": data}
    figure = panels.plot_methods({name: study.summarise_conditions(data, 20) for name in by_method})
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["grad_cam", "a_flat"]
    table = study.show_methods(by_method)
    assert list(table.columns) == ["measure", "grad_cam", "a_flat"]
    assert table["measure"].tolist() == list(study.NUMBERS)
    assert "from" in study.state_methods(by_method)
    assert "not compared" in study.state_methods({"grad_cam": data})
    _, axes = figures.new_figure(2)
    panels.plot_curves(axes, summary)
    assert len(axes[0].lines) == 4
