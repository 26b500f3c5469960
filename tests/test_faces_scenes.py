"""Scenes and views: plain values that give the same head and picture wherever they are built."""

import dataclasses
import functools
import pickle

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces.identity import Identity, sample_identity
from lib.faces.labels import PARTS
from lib.faces.landmarks import find_landmarks
from lib.faces.scenes import (
    DICTIONARY_SEEDS,
    GENERATOR_FIRST,
    PEOPLE_PER_SEED,
    STUDY_SEEDS,
    Scene,
    View,
)
from lib.faces.styles import get_brow

PLAIN = dict(hair=None, detail="fast")
SMALL = dict(size=32, supersample=1)


@functools.cache
def build(**settings):
    return Scene(12, **{**PLAIN, **settings}).build()


def same_person(one, other):
    for field in dataclasses.fields(Identity):
        np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name))


def test_the_people_of_the_three_sets_never_meet():
    assert len(STUDY_SEEDS) == 101 and max(STUDY_SEEDS) < min(DICTIONARY_SEEDS)
    assert max(DICTIONARY_SEEDS) < GENERATOR_FIRST and PEOPLE_PER_SEED == 100_000


def test_a_scene_asks_for_the_person_that_one_would_ask_for_by_hand():
    scene = Scene(
        5, male=True, age=40, ethnicity="asian", skin_tone=0.4, attributes={"big_nose": 0.7},
        brow="bushy", dimorphism=1.0,
    )  # fmt: skip
    by_hand = sample_identity(
        5, male=True, age=40, ethnicity="asian", skin_tone=0.4, attributes={"big_nose": 0.7},
        brow="bushy", dimorphism=1.0,
    )  # fmt: skip
    same_person(scene.person(), by_hand)
    same_person(Scene(5).person(), sample_identity(5))
    assert Scene(5, brow=get_brow("thin")).person().brow == get_brow("thin")


def test_a_person_given_whole_is_taken_as_it_is():
    given = sample_identity(77, male=False, age=30)
    scene = Scene(5, male=True, age=60, ethnicity="asian", identity=given)
    assert scene.person() is given


def test_what_is_on_the_head_is_what_the_scene_says():
    head = build(glasses="oval", facial_hair="goatee", lipstick=0.8, rosy=0.6)
    assert (head.glasses.name, head.facial_hair, head.style) == ("oval", "goatee", None)
    assert (head.makeup.lipstick, head.makeup.rosy) == (0.8, 0.6)
    smiling = Scene(12, expression={"mouthSmile": 0.5}, **PLAIN).build()
    assert smiling.expression == {"mouthSmile": 0.5}
    moved = np.linalg.norm(smiling.surface.points - build().surface.points, axis=1)
    assert 0.02 < moved.max() < 0.3 and np.median(moved) < 1e-3
    bob = Scene(12, hair="bob", detail="fast").build()
    assert bob.style.name == "bob" and {group.kind for group in bob.strands} >= {"hair"}
    assert Scene(12).detail == "full" and Scene(12).hair == "own"


def test_the_same_scene_gives_the_same_bytes_also_after_a_journey():
    scene, view = Scene(12, **PLAIN), View(yaw=20, light="left", colour=True, shift=(0.1, -0.1))
    sent_scene, sent_view = pickle.loads(pickle.dumps((scene, view)))
    assert (sent_scene, sent_view) == (scene, view)
    one = view.render(scene.build(), **SMALL)
    two = sent_view.render(sent_scene.build(), **SMALL)
    for name in ("image", "labels", "depth"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    other = view.render(Scene(13, **PLAIN).build(), **SMALL)
    assert (other.image != one.image).mean() > 0.2


def test_a_view_is_the_picture_it_describes():
    head = build()
    plain = View().render(head, **SMALL)
    assert plain.image.shape == (32, 32) and plain.canonical is None
    assert View().render(head, buffers=True, **SMALL).canonical.shape == (32, 32, 3)
    assert View(colour=True).render(head, **SMALL).image.shape == (32, 32, 3)
    tip = find_landmarks(head, plain)[30, :2]

    def moved(**view):
        return find_landmarks(head, View(**view).render(head, **SMALL))[30, :2] - tip

    # Positive yaw turns the nose to the right, positive pitch lifts it.
    assert moved(yaw=30)[0] > 4 and moved(yaw=-30)[0] < -4
    assert moved(pitch=20)[1] < -2 and abs(moved(pitch=20)[0]) < 0.1
    # The picture is 3 dm and 32 pixels wide and high.
    np.testing.assert_allclose(moved(shift=(0.3, 0.15)), [0.3 * 32 / 3, -0.15 * 32 / 3], atol=0.01)
    middle = np.array([16.0, 16.0])
    np.testing.assert_allclose(moved(zoom=1.5), 0.5 * (tip - middle), atol=0.01)
    # Positive roll tips the crown to the left, so the chin goes right.
    chin = find_landmarks(head, plain)[8, 0]
    assert find_landmarks(head, View(roll=20).render(head, **SMALL))[8, 0] > chin + 2


def test_light_comes_from_where_its_name_says():
    head = build()
    face = View().render(head, **SMALL).labels == PARTS["cheek"]
    half = np.arange(32)[None, :] < 16
    for light, sign in (("left", 1), ("right", -1)):
        image = View(light=light).render(head, **SMALL).image.astype(float)
        assert sign * (image[face & half].mean() - image[face & ~half].mean()) > 25


@pytest.mark.parametrize(
    ("scene", "word"),
    [
        (Scene(-1), "seed"),
        (Scene(1, age=3), "age"),
        (Scene(1, ethnicity="elf"), "elf"),
        (Scene(1, glasses="star", **PLAIN), "star"),
        (Scene(1, hair="mohawk", detail="fast"), "mohawk"),
        (Scene(1, detail="slow"), "slow"),
        (Scene(1, lipstick=2, **PLAIN), "lipstick"),
    ],
)
def test_scenes_that_cannot_be_built(scene, word):
    with pytest.raises(InputError, match=word):
        scene.build()


@pytest.mark.parametrize(
    ("view", "word"),
    [(View(yaw="left"), "yaw"), (View(light="neon"), "neon"), (View(zoom=0), "zoom")],
)
def test_views_that_cannot_be_rendered(view, word):
    with pytest.raises(InputError, match=word):
        view.render(build(), **SMALL)


def test_scenes_are_values():
    assert Scene(1) == Scene(1) != Scene(2) and View() == View(yaw=0) != View(yaw=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scene(1).seed = 2
