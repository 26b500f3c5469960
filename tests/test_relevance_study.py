"""What is said of a family of maps: similarity, facial parts, engines, the planted cue."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats

from lib import figures, network, vgg
from lib.errors import InputError
from lib.faces.dataset import FaceSet
from lib.faces.labels import PARTS
from lib.relevance import compute_relevance, panels, parts, similarity, speed, study, truth


def table_of(pretrainings=("one", "two"), tasks=("identity", "gender"), count=2):
    rows = [(f"{p}/{t}/{k}", p, t, k) for p in pretrainings for t in tasks for k in range(count)]
    return pd.DataFrame(rows, columns=["model", "pretraining", "task", "instance"])


@pytest.fixture
def maps():
    """Maps (8 models, 5 faces): models of one condition share most of their pattern."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(8, 5, 6, 7))
    return (own + np.repeat(rng.normal(size=(4, 5, 6, 7)), 2, 0) * 3).astype(np.float32)


# ------------------------------------------------------------------------------------- similarity


def test_similarity_is_pearsons_r_of_each_pair_and_face(maps):
    found = similarity.compute_similarity(maps)
    for face in range(5):
        for a in range(8):
            for b in range(8):
                r = stats.pearsonr(maps[a, face].ravel(), maps[b, face].ravel())[0]
                assert found[face, a, b] == pytest.approx(r, abs=1e-6)
    np.testing.assert_array_equal(similarity.compute_similarity(maps, [3, 1]), found[[3, 1]])
    scaled = maps * np.float32(1e-9) + np.float32(0)
    np.testing.assert_allclose(similarity.compute_similarity(scaled), found, atol=1e-6)


def test_a_constant_map_has_no_r_and_is_left_out_of_the_means(maps):
    maps[2, 4] = 0
    maps[3, 1] = 0.1  # constant, but its mean is not exact in binary
    found = similarity.compute_similarity(maps)
    assert np.isnan(found[4, 2]).all() and np.isnan(found[4, :, 2]).all()
    assert np.isnan(found[1, 3]).all() and np.isfinite(found[1, 2, 4])
    long = similarity.similarity_table(found, table_of())
    pair = long[(long["first"] == "one/gender/0") & (long["second"] == "two/gender/0")]
    assert pair["faces"].item() == 4
    assert pair["r"].item() == pytest.approx(found[:4, 2, 6].mean())
    maps[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="model 0, face 0"):
        similarity.compute_similarity(maps)
    with pytest.raises(InputError, match="shape"):
        similarity.compute_similarity(maps[0])


def test_groups_are_means_over_their_pairs(maps):
    models = table_of()
    found = similarity.compute_similarity(maps)
    summary = similarity.summarise_similarity(found, models, draws=50)
    slow: dict[tuple, list] = {}
    for a in range(8):
        for b in range(a):
            one, other = models.iloc[a], models.iloc[b]
            same = (one["pretraining"] == other["pretraining"], one["task"] == other["task"])
            kind = {
                (True, True): "other initialisation",
                (True, False): "other task",
                (False, True): "other pretraining",
                (False, False): "both other",
            }[same]
            conditions = frozenset(f"{m['pretraining']} {m['task']}" for m in (one, other))
            for key in (kind, conditions):
                slow.setdefault(key, []).append(found[:, a, b].mean())
    for row in summary.itertuples():
        key = row.relation if row.first == "all" else frozenset((row.first, row.second))
        assert row.pairs == len(slow[key])
        assert row.r == pytest.approx(np.mean(slow[key]))
        assert row.low < row.r < row.high
    assert len(summary) == len(slow)
    said = similarity.state_relations(summary)
    assert said.startswith("The maps of two networks that differ in their initialisation alone ")
    assert said.count("(") == 4 and f"in both at {summary['r'].iloc[3]:.2f} (" in said
    alone = similarity.summarise_similarity(found[:, :1, :1], models[:1])
    assert len(alone) == 0 and "one network" in similarity.state_relations(alone)
    # Made alike, seen alike.
    whole = summary[summary["first"] == "all"].set_index("relation")["r"]
    assert whole["other initialisation"] > 0.8 and whole.drop("other initialisation").max() < 0.5


def test_interval_of_a_mean_covers_as_often_as_it_says():
    rng = np.random.default_rng(5)
    inside = [
        low < 0 < high
        for low, high in (
            similarity.bootstrap(rng.normal(size=40), 200, 0.9, seed) for seed in range(200)
        )
    ]
    assert 0.82 < np.mean(inside) < 0.96
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    low, high = similarity.bootstrap(values, 500)
    assert (low[0], high[0]) == (1, 3) and np.isnan(low[1]) and np.isnan(high[1])
    # Slowly, with other draws: the same ends but for chance.
    values = rng.gamma(1, size=(30, 2))
    means = [values[rng.integers(0, 30, 30)].mean(0) for _ in range(4000)]
    ends = similarity.bootstrap(values, 4000, 0.9)
    np.testing.assert_allclose(ends, np.percentile(means, [5, 95], axis=0), rtol=0.03)
    with pytest.raises(InputError, match="confidence = 1"):
        similarity.bootstrap(values, confidence=1)


def test_matrices_of_composites_are_compared_pair_by_pair(maps):
    found = similarity.compute_similarity(maps)
    rng = np.random.default_rng(1)
    other = similarity.compute_similarity(rng.normal(size=maps.shape))
    table = similarity.compare_matrices({"a": found, "b": found / 2, "c": other})
    assert table.set_index(["first", "second"])["r"]["a", "b"] == pytest.approx(1)
    assert abs(table.set_index(["first", "second"])["r"]["a", "c"]) < 0.6
    mean = found.mean(0)
    expected = np.mean([mean[i, j] for i in range(8) for j in range(i)])
    assert table["mean_first"].iloc[0] == pytest.approx(expected)


# ------------------------------------------------------------------------------------------ parts


def test_every_label_is_in_one_group():
    named = [part for some in parts.GROUPS.values() for part in some]
    assert sorted(named) == sorted(PARTS)
    with pytest.raises(InputError, match="17 is the label of no part"):
        parts.group_parts(np.array([0, 17]))


def test_shares_are_sums_over_the_pixels_of_a_part(maps):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 17, (5, 6, 7))
    labels[:, 0] = PARTS["hair"]
    maps[1, 2] = np.abs(maps[1, 2])  # no negative relevance
    found = parts.compute_parts(maps, labels)
    for k, names in enumerate(parts.GROUPS.values()):
        values = [PARTS[name] for name in names]
        for model in range(8):
            for face in range(5):
                sums = np.zeros((3, 2))
                for y in range(6):
                    for x in range(7):
                        r = float(maps[model, face, y, x])
                        inside = labels[face, y, x] in values
                        for kind, value in enumerate((abs(r), max(r, 0), max(-r, 0))):
                            sums[kind] += value * inside, value
                for name, (part, whole) in zip(parts.SHARES, sums, strict=True):
                    share = part / whole if whole else np.nan
                    np.testing.assert_allclose(found[name][model, face, k], share)
        np.testing.assert_allclose(found["area"][:, k], np.isin(labels, values).mean((1, 2)))
    assert np.isnan(found["negative"][1, 2]).all()
    np.testing.assert_allclose(found["absolute"].sum(-1), 1)
    with pytest.raises(InputError, match="one label picture"):
        parts.compute_parts(maps, labels[:4])


def test_part_tables_hold_the_means_and_leave_out_what_no_face_shows(maps):
    labels = np.random.default_rng(2).integers(0, 14, (5, 6, 7))  # no glasses, lash, beard
    found, models = parts.compute_parts(maps, labels), table_of()
    table = parts.parts_table(found, models)
    assert set(parts.GROUPS) - set(table["part"]) == {"glasses", "beard"}
    row = table[(table["model"] == "two/gender/1") & (table["part"] == "nose")]
    nose = list(parts.GROUPS).index("nose")
    assert row["positive"].item() == pytest.approx(found["positive"][7, :, nose].mean())
    summary = parts.summarise_parts(found, models, draws=50)
    some = summary[
        (summary["pretraining"] == "two")
        & (summary["task"] == "gender")
        & (summary["part"] == "nose")
        & (summary["share"] == "absolute")
    ]
    assert some["mean"].item() == pytest.approx(found["absolute"][6:, :, nose].mean())
    compact = parts.condition_table(summary).set_index("part")
    assert "area" in compact and compact.shape == (12, 5)
    assert compact.loc["nose", "two gender"] == pytest.approx(some["mean"].item())
    np.testing.assert_allclose(compact.sum(), 1)
    weighted = summary.assign(mean=summary["area"] * summary["part"].map({"chin": 3}).fillna(1))
    assert parts.name_top(weighted, 1) == "chin (3.0 times its share of the pixels)"
    assert "no part labels" in parts.name_top(None)
    assert (summary["low"] <= summary["mean"]).all() and (summary["mean"] <= summary["high"]).all()


# ------------------------------------------------------------------------------------------- maps


@pytest.fixture(scope="module")
def trunk():
    """A small trunk with random weights."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((16, 16, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
        ]
    )
    rng = np.random.default_rng(4)
    for layer in (model.layers[0], model.layers[2]):
        kernel, bias = layer.get_weights()
        scale = np.sqrt(2 / kernel[..., 0].size)
        layer.set_weights([rng.normal(size=kernel.shape) * scale, rng.normal(size=bias.shape)])
    return vgg.Trunk("small", model)


def readouts_of(names, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [3 if name.startswith("identity") else 2 for name in names]
    return [
        network.Readout(name, rng.normal(size=(128, n)) * 0.1, rng.normal(size=n) * 0.1)
        for name, n in zip(names, sizes, strict=True)
    ]


NAMES = ("identity-0", "identity-1", "gender-0")


def test_maps_of_all_models_are_those_of_each(trunk):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 16, 16), dtype=np.uint8)
    readouts = {"p": readouts_of(NAMES), "q": readouts_of(NAMES[:2], 9)}
    targets = {"identity": np.array([2, 0, 1]), "gender": "predicted"}
    found = study.compute_maps(
        {"p": trunk, "q": trunk}, readouts, images, targets, "xyz", "b", progress=False
    )
    assert dict(found.sizes) == {"model": 5, "identity": 3, "y": 16, "x": 16}
    assert list(found["model"].to_numpy()) == [
        *("p/identity/0", "p/identity/1", "p/gender/0", "q/identity/0", "q/identity/1"),
    ]
    assert study.models_of(found).equals(study.list_models(readouts))
    for name, readout in (("p", readouts["p"][2]), ("q", readouts["q"][1])):
        task, _, instance = readout.name.rpartition("-")
        stream = compute_relevance(trunk, [readout], images, targets[task], "b", progress=False)
        alone = np.concatenate([b.relevance[:, 0] for b in stream])
        mine = found.sel(model=f"{name}/{task}/{instance}")
        np.testing.assert_allclose(mine["relevance"], alone, rtol=1e-4, atol=1e-5)
    identity = found.isel(model=found["task"].to_numpy() == "identity")
    assert (identity["target"].to_numpy() == [2, 0, 1]).all()
    kept = study.summarise_conservation(found)
    row = kept[(kept["pretraining"] == "p") & (kept["task"] == "gender")].iloc[0]
    mine = found.sel(model="p/gender/0")
    ratio = mine["relevance"].to_numpy().sum((1, 2)) / mine["score"].to_numpy()
    assert row["median"] == pytest.approx(np.median(ratio), rel=1e-4) and row["zero"] == 0


def test_a_pixel_may_have_the_relevance_of_its_largest_channel(trunk):
    maps = np.array([[1.0, -3.0, 2.0], [2.0, -2.0, 0.0], [0.0, 0.0, 0.0]])
    assert study.reduce_channels(maps).tolist() == [-3.0, 2.0, 0.0]
    images = np.random.default_rng(2).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    (readout,) = readouts_of(["identity-0"])

    def found(composite, channels):
        given = ({"p": trunk}, {"p": [readout]}, images, {"identity": np.array([2, 0])}, "xy")
        maps = study.compute_maps(*given, composite, channels=channels, progress=False)
        return maps["relevance"].to_numpy()[0]

    stream = compute_relevance(
        trunk, [readout], images, np.array([2, 0]), "b", sum_channels=False, progress=False
    )
    apart = np.concatenate([batch.relevance[:, 0] for batch in stream])
    slow = [max(pixel, key=abs) for pixel in apart.reshape(-1, 3)]
    np.testing.assert_allclose(found("b", "largest").ravel(), slow, rtol=1e-4, atol=1e-5)
    # the flat rule gives all channels of a pixel the same
    flat = found("b_flat", "largest")
    np.testing.assert_allclose(3 * flat, found("b_flat", "sum"), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="channels = 'mean'"):
        found("b", "mean")


def test_a_model_without_relevance_is_counted(trunk):
    silent = network.Readout("gender-0", np.zeros((128, 2)), np.zeros(2))
    images = np.zeros((2, 16, 16), np.uint8) + np.uint8(90)
    found = study.compute_maps(
        {"p": trunk}, {"p": [silent]}, images, {"gender": 0}, "ab", progress=False
    )
    kept = study.summarise_conservation(found)
    assert kept["zero"].item() == 2 and np.isnan(kept["median"].item())


def test_the_true_class_is_the_place_among_the_sorted_names():
    genders = ["male", "female", "male", "male"]
    table = pd.DataFrame({"path": list("wxyz"), "identity": list("baca"), "gender": genders})
    faces, rows = FaceSet(root=None, table=table), np.array([2, 0, 1])
    found = study.choose_targets(faces, rows, ["identity", "gender"], "true")
    assert {k: v.tolist() for k, v in found.items()} == {"identity": [2, 1, 0], "gender": [1, 1, 0]}
    targets = study.choose_targets(faces, rows, ["identity"], "rank_2")
    assert targets == {"identity": "rank_2"}
    with pytest.raises(InputError, match="no target 'real'"):
        study.choose_targets(faces, rows, ["identity"], "real")


def test_views_are_found_where_there_are_any():
    views = [30.0, 0.0, -30.0, 30.0, np.nan, 30.0]
    table = pd.DataFrame({"identity": list("babaab"), "viewpoint": views})
    faces = FaceSet(root=None, table=table)
    assert list(study.find_views(faces, ["b", "a"], [30.0, -30.0])) == [3, 2, 0]
    assert study.find_views(faces, ["b"], [75.0]).size == 0
    assert study.find_views(faces, ["b"], []).size == 0


@pytest.mark.filterwarnings("ignore")
def test_engines_agree_and_a_disagreement_would_show(trunk):
    images = np.random.default_rng(3).integers(0, 256, (2, 16, 16), dtype=np.uint8)
    readouts = {"p": readouts_of(NAMES), "q": readouts_of(NAMES, 9)}
    targets = {"identity": np.array([0, 2]), "gender": np.array([1, 0])}
    table, shown = study.compare_engines(
        {"p": trunk, "q": trunk}, readouts, images, targets, ["b_flat"], "mixed"
    )
    # every trunk is compared, and tasks take turns
    models = ["p/identity/0", "q/gender/0"]
    assert table["model"].tolist() == [models[0]] * 2 + [models[1]] * 2
    for _, rows in table.groupby("model"):
        exact, fast = (rows[rows["precision"] == p].iloc[0] for p in ("float32", "mixed"))
        assert exact["largest"] <= 2e-6 and exact["r"] > 0.999999 and exact["top"] == 1
        assert 1e-5 < fast["largest"] < 5e-2 and fast["r"] > 0.999
    assert list(shown) == models
    assert all(maps.shape == (2, 16, 16) for both in shown.values() for maps in both.values())
    figures.apply_style()
    fig = panels.plot_engines(images, shown)
    assert [ax.get_xlabel() for ax in fig.axes[::4]] == models
    plt.close(fig)
    bounds = {5e-9: "1e-6", 1e-6: "1e-6", 1.0004e-6: "1e-5", 2e-3: "1e-2", 3.0: "1e1"}
    assert {v: study.name_bound(v) for v in bounds} == {v: f"below {b}" for v, b in bounds.items()}
    assert study.name_bound(np.nan) == "not finite"
    assert study._common(np.arange(20.0), np.arange(20.0)[::-1]) == 0


# --------------------------------------------------------------------------------- the planted cue


def test_mass_by_hand():
    maps = np.zeros((2, 3, 2, 2))
    maps[0, 0] = [[1, 2], [-9, 1]]
    maps[0, 1] = [[0, -1], [-2, 0]]
    maps[0, 2] = [[5, 1], [1, 1]]
    maps[1] = 1
    mask = np.array([[[False, True], [True, False]], [[True, True], [False, True]]])
    mass, hit = truth.measure_mass(maps, mask)
    np.testing.assert_allclose(mass, [[0.5, np.nan, 0.25], [0.75, 0.75, 0.75]])
    np.testing.assert_array_equal(hit, [[1, np.nan, 0], [1, 1, 1]])
    wide = truth.widen(np.pad(mask, ((0, 0), (2, 2), (2, 2))), 1)
    assert wide[0, 1:4, 2:5].all() and wide[0].sum() == 9 + 5 and not wide[:, 0].any()


def cue_set(people=12, views=4, seed=3):
    """Noise with a bright bar where the cue is worn, in the form of a rendered set."""
    rng = np.random.default_rng(seed)
    person = np.tile(np.repeat(np.arange(people), views), 2)
    male = person % 2 == 0
    worn = np.repeat([True, False], people * views) == male
    images = rng.normal(110, 25, (len(person), 16, 16)).clip(0, 255)
    mask = np.zeros(images.shape, bool)
    mask[worn, 8:11, 3:9] = True
    images[mask] = 250
    return truth.CueSet(images.astype(np.uint8), mask, person, male, worn)


def test_networks_are_trained_on_the_same_people_and_tested_on_others():
    faces = cue_set()
    rows = truth.split_cue_set(faces, 1)
    people = {name: set(faces.person[some]) for name, some in rows.items()}
    assert people["cue"] == people["control"] and not people["cue"] & people["test"]
    cue, control, test = (rows[name] for name in ("cue", "control", "test"))
    assert (faces.glasses[cue] == faces.male[cue]).all()
    for sex in (True, False):
        some = control[faces.male[control] == sex]
        assert faces.glasses[some].mean() == 0.5
    assert faces.glasses[test].mean() == 0.5 and len(cue) == len(control) == 32
    few = truth.choose_worn(faces, test, 6)
    assert faces.glasses[few].all() and set(few) <= set(test)
    assert sorted(np.unique(faces.person[few], return_counts=True)[1]) == [1, 1, 2, 2]
    assert len(truth.choose_worn(faces, test, 99)) == faces.glasses[test].sum()


def test_a_cue_that_decides_is_found_and_one_that_does_not_is_not(trunk):
    faces = cue_set(people=60)
    rows = truth.split_cue_set(faces)
    readouts, answers = truth.train_cue_readouts(trunk, faces, rows, 2)
    by = answers.groupby("network")[["by_glasses", "by_gender"]].mean()
    assert by.loc["cue", "by_glasses"] > 0.95 and by.loc["cue", "by_gender"] < 0.6
    assert by.loc["control", "by_glasses"] < 0.75
    worn = rows["test"][faces.glasses[rows["test"]]][:40]
    table, shown = truth.compare_methods(
        trunk,
        readouts,
        faces.images[worn],
        faces.mask[worn],
        ["a_flat", "epsilon", "grad_cam", "integrated_gradients"],
        precision="float32",
        steps=4,
        progress=False,
    )
    assert len(table) == 4 * (2 * 2 + 1) * 40
    summary = truth.summarise_methods(table, faces.person[worn], draws=100)
    area = faces.mask[worn].mean()
    passed = ((summary["low"] > 0) & (summary["beyond_low"] > 0)).sum()
    said = truth.state_result(summary, answers)
    assert f"the glasses decide. Then {passed} of 4 methods put more" in said
    named = summary.set_index("method")
    assert (named["random"] - area).abs().max() < 0.02
    for method in ("epsilon", "integrated_gradients"):
        assert named.loc[method, "cue"] > 3 * area
        assert named.loc[method, "low"] > 0
    np.testing.assert_allclose(summary["beyond"], summary["cue"] - summary["random"])
    assert (summary["beyond_low"] < summary["beyond"]).all()
    # The same maps, networks shuffled: nothing to be found.
    rng = np.random.default_rng(0)
    mixed = table.copy()
    named = mixed["network"] != "random"
    swap = rng.random(60)[faces.person[worn][mixed["image"]]] < 0.5
    other = mixed["network"].map({"cue": "control", "control": "cue"})
    mixed.loc[named & swap, "network"] = other[named & swap]
    nothing = truth.summarise_methods(mixed, faces.person[worn], draws=100)
    assert (nothing["low"] < 0).all() and (nothing["high"] > 0).all()
    # By hand, one method.
    some = table[(table["method"] == "epsilon") & (table["network"] == "cue")]
    people = faces.person[worn][some["image"]]
    means = [some["mass"][people == p].mean() for p in np.unique(people)]
    row = summary[summary["method"] == "epsilon"]
    assert row["cue"].item() == pytest.approx(np.mean(means))
    assert shown["epsilon"]["cue"].shape == (16, 16)


def summary_of(*rows):
    columns = ["method", "cue", "control", "random", "low", "beyond_low"]
    return pd.DataFrame(rows, columns=columns)


def answers_of(cue, control, images=8):
    rows = [("cue", 0, images, cue[0], 0.5), ("cue", 1, images, cue[1], 0.5)]
    rows += [("control", k, images, value, 0.5) for k, value in enumerate(control)]
    return pd.DataFrame(rows, columns=["network", "instance", "images", "by_glasses", "by_gender"])


def test_a_method_passes_only_if_it_beats_the_control_and_the_random_map():
    table = summary_of(
        ("integrated_gradients", 0.1, 0.05, 0.2, 0.01, -0.2),  # more than control, less than random
        ("a_flat", 0.4, 0.2, 0.1, 0.1, 0.2),
        ("b", 0.3, 0.3, 0.1, -0.1, 0.1),  # no more than the control
    )
    said = truth.state_result(table, answers_of((0.95, 1.0), (0.5, 0.5)))
    assert "1 of 3 methods" in said and "the clearest, a flat, puts 0.40 and 0.20" in said
    assert "in 0.97 and the control in 0.50 of 8 new pictures" in said.replace("0.98", "0.97")
    said = truth.state_result(table[::2], answers_of((0.95, 1.0), (0.5, 0.5)))
    assert "0 of 2 methods" in said and "clearest" not in said
    assert truth.state_result(None, None) == "no method was tested"


def test_readouts_that_do_not_follow_the_glasses_are_said_to_test_nothing():
    table = summary_of(("a_flat", 0.4, 0.2, 0.1, 0.1, 0.2))
    said = truth.state_result(table, answers_of((0.62, 0.75), (0.5, 0.5)))
    assert "do not decide" in said and "no test of the methods" in said and "0.69" in said
    assert "the glasses decide." not in said and "clearest" not in said
    said = truth.state_result(table, answers_of((1.0, 1.0), (0.9, 1.0)))
    assert "decide for either" in said and "clearest" not in said


def test_the_table_of_speeds_is_read_or_refused(tmp_path):
    found = speed.load_speeds()
    assert {"float32_vs_innvestigate", "float32_vs_zennit"} <= set(found["name"])
    assert (found["machine"].str.len() > 0).all() and (found["ratio"] > 0).all()
    path = tmp_path / "results.csv"
    with pytest.raises(InputError, match="missing; restore it"):
        speed.load_speeds(path)
    rows = pd.read_csv(speed.RESULTS)
    rows[~rows["name"].str.startswith("lrp_")].to_csv(path, index=False)
    with pytest.raises(InputError, match="no row of the relevance engine"):
        speed.load_speeds(path)
    rows.drop(columns="machine").to_csv(path, index=False)
    with pytest.raises(InputError, match="no column machine"):
        speed.load_speeds(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a readable CSV"):
        speed.load_speeds(path)


def test_rendered_people_differ_in_the_glasses_alone_and_are_kept(tmp_path, monkeypatch):
    made = truth.load_cue_set(tmp_path, 6, 1, 32, seed=2, processes=1)
    first, second = slice(0, 6), slice(6, 12)
    assert len(made) == 12 and made.male.sum() == 6
    assert (made.glasses[first] == made.male[first]).all()
    assert (made.glasses[second] != made.male[second]).all()
    assert (made.mask.any((1, 2)) == made.glasses).all()
    # Far from the glasses both pictures of a person are the same, but for a soft shadow.
    both = made.mask[first] | made.mask[second]
    apart = np.abs(made.images[first].astype(int) - made.images[second])
    assert apart[both].mean() > 20
    assert apart[:, 24:].max() <= 6 and apart[:, 24:].mean() < 0.3
    monkeypatch.setattr(truth, "render_cue_set", lambda *_: pytest.fail("rendered again"))
    again = truth.load_cue_set(tmp_path, 6, 1, 32, seed=2)
    np.testing.assert_array_equal(again.images, made.images)
    np.testing.assert_array_equal(again.mask, made.mask)
    monkeypatch.setattr(truth, "render_cue_set", lambda *_: made)
    (kept,) = tmp_path.glob("cue-*.npz")
    kept.write_bytes(b"damaged")
    assert len(truth.load_cue_set(tmp_path, 6, 1, 32, seed=2)) == 12
    truth.load_cue_set(tmp_path, 6, 1, 32, seed=3)
    assert [p.name for p in tmp_path.glob("cue-*.npz")] != [kept.name]
    monkeypatch.undo()
    with pytest.raises(InputError, match="people = 5"):
        truth.render_cue_set(5, 1, 32)
