"""People: repeatable, different, and shaped as asked."""

import dataclasses

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces import styles
from lib.faces.identity import (
    ATTRIBUTES,
    DIMORPHIC,
    SPREAD,
    _largest_move,
    age_shares,
    list_modifiers,
    macro_weights,
    sample_identity,
    sample_shape,
    skin_from_melanin,
)


def test_same_seed_same_person_other_seed_another():
    one, again, other = (sample_identity(s) for s in (5, 5, 6))
    assert one == again
    assert one.morphs != other.morphs and one.skin != other.skin


def test_one_trait_leaves_the_others():
    plain = sample_identity(11, male=True)
    older = sample_identity(11, male=True, age=70)
    for name in ("melanin", "skin", "iris", "hair_texture", "moles", "ethnicity"):
        assert getattr(plain, name) == getattr(older, name)
    local = {n: w for n, w in plain.morphs.items() if n.startswith("nose/")}
    assert local == {n: w for n, w in older.morphs.items() if n.startswith("nose/")}


def test_an_attribute_changes_only_its_shape():
    plain = sample_identity(3)
    nose = sample_identity(3, attributes={"pointy_nose": 1.0})
    changed = {
        n for n in {*plain.morphs, *nose.morphs} if plain.morphs.get(n) != nose.morphs.get(n)
    }
    assert changed and all(name.startswith("nose/") for name in changed)
    for target, weight in ATTRIBUTES["pointy_nose"].items():
        assert nose.morphs[target] >= weight


def test_macro_shares_sum_to_one():
    weights = macro_weights(0.3, 40, (0.5, 0.3, 0.2), 0.5, 0.5)
    shapes = [w for n, w in weights.items() if "universal" not in n]
    assert sum(shapes) == pytest.approx(1)
    men = sum(w for n, w in weights.items() if "-male-" in n and "universal" not in n)
    assert men == pytest.approx(0.3)


def test_age_runs_from_child_to_old():
    assert age_shares(11)["child"] > 0.8
    assert age_shares(25)["young"] == pytest.approx(1)
    assert age_shares(90)["old"] == pytest.approx(1)


def test_no_region_moves_farther_than_its_limit():
    for seed in range(12):
        weights = sample_shape(np.random.default_rng(seed))
        for folder, (_, limit) in SPREAD.items():
            local = {n: w for n, w in weights.items() if n.startswith(folder + "/")}
            assert _largest_move(local) <= limit * 1.0001


def test_modifiers_are_pairs_and_move_both_sides():
    modifiers = list_modifiers()
    names = [n for _, low, high in modifiers for n in (*low, *high)]
    assert len(names) == len(set(names))
    left = {n for n in names if "/l-" in n}
    assert left and {n.replace("/l-", "/r-") for n in left} <= set(names)


def test_skin_darkens_with_melanin():
    table = np.array([skin_from_melanin(m) for m in np.linspace(0, 1, 21)])
    assert (np.diff(table, axis=0) < 0).all() and (table[:, 0] > table[:, 2]).all()


def test_skin_tone_and_groups_are_honoured():
    bright = [sample_identity(s, skin_tone="bright").melanin for s in range(30)]
    dark = [sample_identity(s, skin_tone="dark").melanin for s in range(30)]
    assert max(bright) <= 0.36 < 0.62 <= min(dark)
    for group, column in (("caucasian", 0), ("asian", 1), ("african", 2)):
        shares = np.array([sample_identity(s, ethnicity=group).ethnicity for s in range(20)])
        assert shares.mean(0).argmax() == column and shares.mean(0)[column] > 0.8


def test_light_hair_only_on_light_skin():
    for seed in range(150):
        person = sample_identity(seed, age=30)
        if person.melanin > 0.6:
            assert max(person.hair_colour) < 0.12


def test_women_do_not_go_bald_and_lips_do_not_tell_sex():
    people = [sample_identity(s, male=bool(s % 2), age=60) for s in range(120)]
    assert not [p for p in people if p.male < 0.5 and p.hair_style.name == "bald_crown"]
    # The same seed has the same skin and lips whichever sex.
    woman, man = (sample_identity(21, male=m) for m in (False, True))
    assert woman.lips == man.lips and woman.skin == man.skin


def signed_weights(person):
    """Weight of each paired modifier, positive towards its upper target."""
    weights = person.morphs
    for _, lower, upper in list_modifiers():
        for side in (lower, upper):
            assert len({weights.get(name, 0.0) for name in side}) <= 1, "left and right differ"
    return {
        stem: weights.get(upper[0], 0.0) - weights.get(lower[0], 0.0)
        for stem, lower, upper in list_modifiers()
        if lower and stem != "eyes/l-eye-eyefold"
    }


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_dimorphism_moves_men_and_women_apart_along_its_table_and_nowhere_else(amount):
    strengths = []
    for seed in range(6):
        man, woman, plain = (
            signed_weights(sample_identity(seed, male=male, dimorphism=d))
            for male, d in ((1.0, amount), (0.0, amount), (1.0, 0.0))
        )
        assert set(DIMORPHIC) <= set(man)
        apart = {stem: man[stem] - woman[stem] for stem in man}
        assert not [
            stem for stem, gap in apart.items() if abs(gap) > 1e-9 and stem not in DIMORPHIC
        ]
        # One strength per person, the average face halfway between.
        strength = np.array([apart[stem] / (2 * share) for stem, share in DIMORPHIC.items()])
        assert strength == pytest.approx(strength[0])
        middle = [(man[stem] + woman[stem]) / 2 - plain[stem] for stem in man]
        assert middle == pytest.approx([0] * len(middle), abs=1e-9)
        strengths.append(strength[0])
    assert 0.6 * amount <= min(strengths) < max(strengths) <= 1.4 * amount


def test_dimorphism_reaches_macro_shape_brows_and_hair_but_no_colour():
    people = {
        (male, d): [sample_identity(s, male=male, dimorphism=d) for s in range(80)]
        for male in (True, False)
        for d in (0.0, 1.0)
    }

    def gap(trait, d):
        men, women = ([trait(p) for p in people[male, d]] for male in (True, False))
        return np.mean(men) - np.mean(women)

    for trait in (
        lambda p: p.male,
        lambda p: p.brow.thickness,
        lambda p: p.hair_style.side < 1.0,
    ):
        assert gap(trait, 1.0) > gap(trait, 0.0) > 0
    for name in ("skin", "lips", "iris", "melanin", "hair_colour", "hair_texture", "moles", "age"):
        for one, other in zip(people[True, 1.0], people[False, 0.0], strict=True):
            assert getattr(one, name) == getattr(other, name), name


def test_overrides_by_field_and_by_name():
    person = sample_identity(2, hair_style="bob", brow="bushy", freckles=0.5)
    assert person.hair_style == styles.STYLES["bob"] and person.freckles == 0.5
    assert dataclasses.replace(person, freckles=0.0).freckles == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"age": 5}, "age"),
        ({"male": 2}, "male"),
        ({"dimorphism": 1.5}, "dimorphism"),
        ({"ethnicity": "martian"}, "martian"),
        ({"ethnicity": (0, 0, 0)}, "shares"),
        ({"skin_tone": "green"}, "skin tone"),
        ({"skin_tone": 1.5}, "skin_tone"),
        ({"attributes": {"horns": 1}}, "horns"),
        ({"morphs": {"nose/none": 1}}, "nose/none"),
        ({"wings": 2}, "wings"),
        ({"age": "old"}, "age is 'old'"),
        ({"age": float("nan")}, "age is nan"),
        ({"male": "yes"}, "male is 'yes'"),
        ({"ethnicity": ("a", "b", "c")}, "ethnicity is"),
        ({"ethnicity": np.array(3)}, "ethnicity is"),
        ({"ethnicity": (1, -1, 1)}, "not negative"),
        ({"skin_tone": [0.5]}, "skin_tone is"),
        ({"attributes": ["big_nose"]}, "attributes is"),
        ({"attributes": {"big_nose": "very"}}, "big_nose in attributes is 'very'"),
        ({"strength": 5}, "strength is 5"),
        ({"hair_style": "mullet"}, "mullet"),
    ],
)
def test_bad_requests_are_refused(arguments, word):
    with pytest.raises(InputError, match=word):
        sample_identity(1, **arguments)


@pytest.mark.parametrize("seed", [-1, 1.5, "7", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(InputError, match="seed of an identity"):
        sample_identity(seed)
