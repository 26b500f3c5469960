"""The generator: the plan is kept, cues are exact, and the same seed gives the same bytes."""

import gc
import inspect
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from lib.errors import InputError
from lib.faces.dataset import load_faces
from lib.faces.generate import generate_faces, plan_people, write_faces
from lib.faces.identity import sample_identity
from lib.faces.landmarks import find_landmarks
from lib.faces.scenes import DICTIONARY_SEEDS, GENERATOR_FIRST, STUDY_SEEDS, Scene, View

SMALL = dict(size=24, supersample=1, processes=1, hair=None)


def collect(n, **settings):
    batches = list(generate_faces(n, **{**SMALL, **settings}))
    table = pd.concat([batch.table for batch in batches], ignore_index=True)
    return table, np.concatenate([batch.images for batch in batches])


def test_people_of_the_three_sets_never_meet():
    people = set(STUDY_SEEDS) | set(DICTIONARY_SEEDS)
    assert len(people) == len(STUDY_SEEDS) + len(DICTIONARY_SEEDS) == 100_101
    assert max(people) < GENERATOR_FIRST <= plan_people(0, 5)[0]
    assert plan_people(0, 100_000)[-1] < plan_people(1, 1)[0]


def test_same_seed_same_bytes_whatever_the_processes_and_batches():
    settings = dict(
        seed=4, views=2, colour=True, expression=["neutral", "smile"], light=["soft", "left"]
    )
    one = collect(6, batch_size=64, **settings)
    two = collect(6, batch_size=4, **{**settings, "processes": 2})
    pd.testing.assert_frame_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    other = collect(6, **{**settings, "seed": 5})
    assert not set(one[0]["seed"]) & set(other[0]["seed"])


def test_settings_are_kept():
    table, images = collect(
        8, seed=0, views=2, yaw=(20, 40), pitch=3, light=["left", "right"], age=(60, 70),
        ethnicity="asian", skin_tone=["bright", "dark"], expression="smile", glasses="round",
    )  # fmt: skip
    assert images.shape == (8, 24, 24) and images.dtype == np.uint8
    assert table["yaw"].between(20, 40).all() and table["yaw"].nunique() == 8
    assert (table["viewpoint"] == table["yaw"].round()).all()
    assert (table["pitch"] == 3).all() and table["age"].between(60, 70).all()
    assert set(table["light"]) <= {"left", "right"} and set(table["skin_tone"]) <= {
        "bright",
        "dark",
    }
    for column, value in (
        ("ethnicity", "asian"),
        ("expression", "smile"),
        ("glasses", "round"),
        ("hair", "none"),
    ):
        assert set(table[column]) == {value}, column
    assert table.groupby("scene").size().tolist() == [2] * 4
    assert table.groupby("gender")["identity"].nunique().to_dict() == {"female": 2, "male": 2}


def test_people_take_turns_and_keep_their_traits():
    table, _ = collect(8, seed=1, identities=3, age=(20, 60))
    assert table["identity"].tolist() == [table["identity"][k % 3] for k in range(8)]
    assert table.groupby("identity")["age"].std().max() == 0
    given = sample_identity(77, male=True)
    table, _ = collect(3, seed=1, identities=[given, 78])
    assert table["seed"].tolist() == [77, 78, 77]
    assert table["age"][0] == pytest.approx(given.age, abs=0.05)


@pytest.mark.parametrize(("percent", "male", "female"), [(75, 3, 1), (0, 0, 4)])
def test_glasses_are_planted_on_exactly_so_many(percent, male, female):
    table, _ = collect(16, seed=2, views=2, cue={"kind": "glasses", "percent": percent}, size=8)
    worn = table[table["glasses"] != "none"].groupby("gender")["scene"].nunique()
    assert worn.get("male", 0) == male and worn.get("female", 0) == female


def test_grey_images_are_planted_on_exactly_so_many_and_are_grey():
    table, images = collect(
        20, seed=3, views=2, colour=True, cue={"kind": "greyscale", "percent": 70}, size=16
    )
    grey = (images[..., :1] == images).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(grey, ~table["colour"])
    assert grey[table["gender"] == "male"].sum() == 7
    assert grey[table["gender"] == "female"].sum() == 3


def test_which_ones_carry_the_cue_is_chance_and_nothing_else_changes():
    plain, images = collect(6, seed=6, size=24)
    planted, cued = collect(6, seed=6, size=24, cue={"kind": "glasses", "percent": 50})
    same = (planted["glasses"] == "none").to_numpy()
    assert 0 < same.sum() < 6
    np.testing.assert_array_equal(images[same], cued[same])
    assert (images[~same] != cued[~same]).any(axis=(1, 2)).all()
    pd.testing.assert_frame_equal(plain.drop(columns="glasses"), planted.drop(columns="glasses"))


def test_labels_and_landmarks_come_with_the_images():
    batch = next(
        generate_faces(2, seed=0, labels=True, landmarks=True, yaw=0, **{**SMALL, "size": 48})
    )
    assert batch.labels.shape == (2, 48, 48) and batch.landmarks.shape == (2, 68, 3)
    # The tip of the nose lies on the nose, in the middle of the picture.
    for labels, points in zip(batch.labels, batch.landmarks, strict=True):
        x, y = points[30, :2].astype(int)
        assert labels[y, x] == 6 and abs(x - 24) <= 1


def test_written_faces_are_read_back(tmp_path):
    faces = dict(seed=8, views=2, colour=True, landmarks=True, **SMALL)
    table, images = collect(4, **faces)
    path = write_faces(tmp_path / "set", generate_faces(4, **faces))
    back = load_faces(path)
    np.testing.assert_array_equal(back.images(colour=True), images)
    assert back.table["gender"].tolist() == table["gender"].tolist()
    assert back.table["viewpoint"].tolist() == table["viewpoint"].tolist()
    assert back.landmarks().shape == (4, 68, 3)


def test_the_shipped_examples_are_what_is_rendered(root):
    faces = load_faces(root / "data" / "faces" / "examples" / "manifest" / "manifest.csv")
    row = faces.table.index[faces.table["path"] == "anna/anna_yaw+045.png"].to_numpy()
    head = Scene(plan_people(0, 1)[0], male=False).build()
    render = View(yaw=45).render(head, size=56, supersample=4)
    # Another processor may round differently.
    assert np.abs(render.image.astype(int) - faces.images(row)[0]).mean() < 0.1
    found, kept = find_landmarks(head, render), faces.landmarks(row)[0]
    np.testing.assert_allclose(found[:, :2], kept[:, :2], atol=0.06)
    assert (found[:, 2] != kept[:, 2]).sum() <= 1


def test_memory_does_not_grow_with_the_number_of_images():
    """A kept picture would be 16 KB, a kept head some ten megabytes."""
    asked = dict(seed=0, views=20, colour=True, labels=True, **{**SMALL, "size": 64})
    next(generate_faces(20, **asked))  # what is read once is read
    held = {}
    tracemalloc.start()
    try:
        batches = generate_faces(100, batch_size=20, **asked)
        for count in range(20, 101, 20):
            assert len(next(batches).images) == 20
            gc.collect()
            held[count] = [value / 2**20 for value in tracemalloc.get_traced_memory()]
            tracemalloc.reset_peak()
        assert next(batches, None) is None
    finally:
        tracemalloc.stop()
    now, peak = np.array(list(held.values())).T
    # Megabytes; the eighty pictures between are 1.3, in colour and with their labels.
    assert now[-1] - now[0] < 0.5
    assert peak[1:].max() < peak[0] + 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(n=0), "n is 0"),
        (dict(n=5, views=2), "multiple"),
        (dict(seed=-1), "seed is -1"),
        (dict(yaw=500), "yaw is 500"),
        (dict(yaw=(30, -30)), r"yaw is \(30, -30\): give a pair as \(low, high\)"),
        (dict(age=(60, 20)), r"age is \(60, 20\)"),
        (dict(skin_tone=(0.8, 0.2)), r"skin_tone is \(0.8, 0.2\)"),
        (dict(identities=[4, -1]), "identities has -1: give seeds"),
        (dict(identities=[4, 1.5]), "identities has 1.5"),
        (dict(seed=True), "seed is True"),
        (dict(size=7), "size is 7: give a whole number from 8 to 2048"),
        (dict(supersample=9), "supersample is 9"),
        (dict(processes=0), "processes is 0"),
        (dict(detail="slow"), "no detail 'slow'"),
        (dict(colour="no"), "colour is 'no': give True or False"),
        (dict(expression={"jawOpen": "wide"}), "jawOpen in expression is 'wide'"),
        (dict(cue={"kind": "glasses", "percent": 50}, gender="female"), "all heads are female"),
        (dict(cue={"kind": "glasses", "percent": 50}, n=1), "all heads are male"),
        (
            dict(cue={"kind": "greyscale", "percent": 50}, colour=True, identities=[5, 6]),
            "all heads are female",
        ),
        (dict(light="neon"), "neon"),
        (dict(expression="joy"), "joy"),
        (dict(expression={"eyeRoll": 1}), "eyeRoll"),
        (dict(hair="mohawk"), "mohawk"),
        (dict(glasses="star"), "star"),
        (dict(age=200), "age"),
        (dict(gender="x"), "gender is 'x'"),
        (dict(identities=0), "identities is 0"),
        (dict(identities=[]), "list of identities is empty"),
        (dict(yaw=[]), "list of choices is empty"),
        (dict(cue={"kind": "hat", "percent": 50}), "no cue 'hat'"),
        (dict(cue={"kind": "glasses", "percent": 120}), "120"),
        (dict(cue={"kind": "glasses"}), "percent"),
        (dict(cue={"kind": "greyscale", "percent": 50}), "colour=True"),
        (dict(cue={"kind": "glasses", "percent": 50}, glasses="round"), "glasses=None"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_rendered(settings, message):
    with pytest.raises(InputError, match=message):
        generate_faces(**{"n": 4, "seed": 0, **SMALL, **settings})


NOT_A_NUMBER = float("nan")
#: Values that no argument takes, and what each takes of the others.
WRONG = [
    -7, 0.5, 10**400, NOT_A_NUMBER, float("inf"), "", "x", "3", b"x", [], [[]], ["x"],
    [[1], [2, 3]], (), (1,), (9, 3), (None, 1), ("a", "b"), ("a", "b", "c"), {"a": 1}, {1: 2},
    {"jawOpen": 1e6}, {"jawOpen": NOT_A_NUMBER}, {1},
    np.array(3), np.array([[1, 2], [3, 4]]), np.array(["a"]),
    np.datetime64("2020-01-01"), 1j, object(), print, iter([1]), [True], (NOT_A_NUMBER, 1),
    range(0), (1, float("inf")), {"kind": "glasses"}, {"kind": "glasses", "percent": True},
    {"kind": np.array(["glasses"]), "percent": 5}, {"kind": "glasses", "percent": NOT_A_NUMBER},
]  # fmt: skip
TAKEN = {
    "yaw": {"-7", "0.5"}, "pitch": {"-7", "0.5"}, "roll": {"-7", "0.5"}, "skin_tone": {"0.5"},
    "seed": {repr(10**400)}, "identities": {"(1,)", "(9, 3)"}, "batch_size": {repr(10**400)},
}  # fmt: skip


@pytest.mark.parametrize("name", [*inspect.signature(generate_faces).parameters])
def test_whatever_is_given_wrongly_is_refused_in_one_sentence(name):
    for value in WRONG:
        if repr(value) in TAKEN.get(name, ()):
            continue
        with pytest.raises(InputError) as caught:
            generate_faces(**{"n": 4, "seed": 0, **SMALL, name: value})
        sentence = str(caught.value)
        assert "\n" not in sentence and len(sentence) < 1500 and sentence[-1] == ".", sentence
