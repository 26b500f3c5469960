"""Haircuts, brows and hair colours: ranges of their parameters and odds of their drawing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces import styles
from lib.faces.styles import BROWS, FLOWS, STYLES, TEXTURES, HairStyle

# Bounds of every number of a haircut, decimetres or shares as its description says.
BOUNDS = {
    "top": (0, 5), "side": (0, 5), "back": (0, 5), "nape": (0, 1), "variation": (0, 0.3),
    "thickness": (0, 0.6), "lift": (0, 1), "quiff": (0, 1), "gravity": (0, 1), "stiffness": (0, 1),
    "hold": (0, 1), "mess": (0, 1), "clumps": (1, 2000), "clumping": (0, 1), "wave": (0, 0.2),
    "coil": (0, 0.2), "wavelength": (0.02, 2), "part": (-0.7, 0.7), "parting": (0, 1),
    "clear": (0, 1), "fringe": (0, 1), "fringe_width": (0, 1), "tail": (0, 3),
    "bun": (0, 0.6), "front": (-0.2, 0.35), "recede": (0, 0.28), "crown": (0, 1),
    "density": (0.2, 1), "radius": (0.001, 0.03), "sideburn": (0, 0.2),
}  # fmt: skip
BROW_BOUNDS = {
    "height": (0.08, 0.25), "arch": (0, 0.25), "drop": (-0.1, 0.1), "peak": (0, 1),
    "inner": (0.03, 0.2), "outer": (0.35, 0.6), "thickness": (0.005, 0.1), "length": (0.02, 0.1),
    "density": (0, 1), "mess": (0, 0.5),
}  # fmt: skip
DRAWS = 1500


def check_bounds(record, bounds):
    for name, (low, high) in bounds.items():
        assert low <= getattr(record, name) <= high, (record.name, name, getattr(record, name))


@pytest.mark.parametrize("name", STYLES)
def test_every_cut_keeps_the_ranges_it_describes(name):
    style = STYLES[name]
    assert style.name == name and style.flow in FLOWS
    check_bounds(style, BOUNDS)
    assert -1 <= style.fringe_sweep <= 1 and (style.cut is None or -2.5 < style.cut < 0)
    # Only tied hair has a tie, a tail and a bun, and a fringe has a width.
    assert (style.tie is not None) == (style.flow == "tied")
    assert style.tie is not None or (style.tail == 0 and style.bun == 0)


@pytest.mark.parametrize("name", STYLES)
def test_varied_cuts_stay_what_they_are(name):
    style, rng = STYLES[name], np.random.default_rng(1)
    varied = [styles.vary_style(rng, style, 1.0, 1.0, "wavy") for _ in range(200)]
    for one in varied:
        assert (one.name, one.flow) == (style.name, style.flow)
        assert (one.cut is None) == (style.cut is None) and (one.tie is None) == (style.tie is None)
        assert (one.fringe > 0) == (style.fringe > 0) and (one.bun > 0) == (style.bun > 0)
        assert one.recede <= 0.28 and 0 < one.density <= style.density
        assert 0.74 * style.density < one.density and style.front - 0.08 < one.front
        if one.tie is not None:
            assert one.tie[0] >= 0.15
    # Lengths scatter about the style's own by a sixth; partings go to either side alike.
    scale = np.log([one.top / style.top for one in varied])
    assert scale.std() == pytest.approx(0.16, abs=0.03) and abs(scale.mean()) < 0.04
    assert len({one.top for one in varied}) == len(varied)
    to_the_left = np.mean([one.part > 0 for one in varied])
    assert 0.38 < to_the_left < 0.62


def test_wavy_hair_waves_and_tied_curls_curl():
    rng = np.random.default_rng(0)
    assert styles.vary_style(rng, STYLES["bob"], texture="straight").wave == STYLES["bob"].wave == 0
    wavy = styles.vary_style(rng, STYLES["bob"], texture="wavy")
    assert 0.015 <= wavy.wave <= 0.027 and wavy.wavelength == 0.55
    curled = styles.vary_style(rng, STYLES["bun"], texture="coily")
    assert (curled.coil, curled.wavelength) == (0.035, 0.22)
    assert styles.vary_style(rng, STYLES["bun"], texture="straight").coil == 0


def expected_odds(male, age, texture):
    """The odds written out again: women's and men's weights, fewer long and more bald with age."""
    odds = {}
    for name, (women, men, textures) in styles._ODDS.items():
        if texture in textures.split():
            weight = (1 - male) * women + male * men
            if name in ("receding", "bald_crown"):
                weight *= 0.15 + 2.2 * age
            elif STYLES[name].side > 1.5:
                weight *= 1.15 - 0.7 * age
            odds[name] = weight
    total = sum(odds.values())
    return {name: weight / total for name, weight in odds.items()}


@pytest.mark.parametrize(
    ("male", "age", "texture"), [(0, 0.2, "straight"), (1, 0.9, "curly"), (0.5, 0.0, "coily")]
)
def test_cuts_are_drawn_with_their_odds(male, age, texture):
    rng = np.random.default_rng(2)
    drawn = Counter(styles.sample_style(rng, male, age, texture).name for _ in range(DRAWS))
    odds = expected_odds(male, age, texture)
    assert set(drawn) <= {name for name, share in odds.items() if share > 0}
    for name, share in odds.items():
        error = np.sqrt(share * (1 - share) / DRAWS)
        assert drawn[name] / DRAWS == pytest.approx(share, abs=4 * error + 1e-9), name


def test_every_cut_can_be_drawn_and_every_texture_has_some():
    assert set(styles._ODDS) == set(STYLES)
    for texture in TEXTURES:
        assert len(expected_odds(0.5, 0.5, texture)) >= 5
    # Balding is for men, and the more the older.
    assert expected_odds(0, 1, "straight")["bald_crown"] == 0
    young, old = (expected_odds(1, age, "straight")["receding"] for age in (0, 1))
    assert old > 5 * young > 0


def test_textures_follow_ancestry():
    rng = np.random.default_rng(3)
    for ancestry, share in (((1, 0, 0), 0.45), ((0, 1, 0), 0.82), ((0.5, 0.5, 0), 0.635)):
        drawn = [styles.sample_texture(rng, ancestry) for _ in range(DRAWS)]
        assert set(drawn) <= set(TEXTURES)
        assert np.mean([d == "straight" for d in drawn]) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("name", BROWS)
def test_every_brow_keeps_the_ranges_it_describes(name):
    assert BROWS[name].name == name
    check_bounds(BROWS[name], BROW_BOUNDS)
    assert BROWS[name].inner < BROWS[name].outer


@pytest.mark.parametrize(("male", "bushy", "arched"), [(0, 0.05, 0.16), (1, 0.16, 0.06)])
def test_brows_are_drawn_with_their_odds(male, bushy, arched):
    rng = np.random.default_rng(4)
    drawn = [styles.sample_brow(rng, male) for _ in range(DRAWS)]
    names = Counter(brow.name for brow in drawn)
    assert names["bushy"] / DRAWS == pytest.approx(bushy, abs=0.025)
    assert names["arched"] / DRAWS == pytest.approx(arched, abs=0.025)
    for brow in drawn:
        check_bounds(brow, BROW_BOUNDS)
        assert 0.4 <= brow.density <= 1 and brow.inner < brow.outer


def test_mens_brows_are_lower_and_thicker_by_their_amounts():
    means = {}
    for male in (0, 1):
        rng = np.random.default_rng(5)
        natural = [b for b in (styles.sample_brow(rng, male) for _ in range(DRAWS))
                   if b.name == "natural"]  # fmt: skip
        means[male] = np.mean([[b.height, b.thickness] for b in natural], axis=0)
    assert means[0][0] - means[1][0] == pytest.approx(0.008, abs=0.002)
    assert means[1][1] / means[0][1] == pytest.approx(1.08 / 0.94, abs=0.03)


@pytest.mark.parametrize("skin", [(0.66, 0.48, 0.40), (0.3, 0.18, 0.12), (0.1, 0.06, 0.04)])
def test_hair_colours_are_reflectances_and_grey_at_last(skin):
    rng = np.random.default_rng(6)
    young, old = (
        np.array([styles.sample_hair_colour(rng, skin, age) for _ in range(500)])
        for age in (0.0, 1.0)
    )
    for colours in (young, old):
        assert colours.shape == (500, 3) and colours.min() > 0 and colours.max() < 0.6
    saturation = [1 - c.min(1) / c.max(1) for c in (young, old)]
    assert np.median(saturation[1]) < 0.15 < np.median(saturation[0])


def test_the_same_stream_draws_the_same():
    def draw(seed):
        rng = np.random.default_rng(seed)
        texture = styles.sample_texture(rng, (0.4, 0.3, 0.3))
        colour = styles.sample_hair_colour(rng, (0.5, 0.3, 0.2), 0.3)
        style = styles.sample_style(rng, 0.3, 0.4, texture)
        return texture, style, styles.sample_brow(rng, 0.7), tuple(colour)

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HairStyle("mine", "upwards", 1, 1, 1), "no comb direction 'upwards'"),
        (lambda: HairStyle("mine", "tied", 1, 1, 1), "'mine' lacks the place of its tie"),
        (lambda: replace(STYLES["bun"], tie=None), "'bun' lacks the place of its tie"),
        (lambda: styles.get_style("long_curley"), "did you mean 'long_curly'"),
        (lambda: styles.get_style(None), "no hair style 'None'"),
        (lambda: styles.get_style(["bun"]), "no hair style"),
        (lambda: styles.get_brow({}), "no eyebrow shape"),
        (lambda: styles.sample_style(np.random.default_rng(0), 0, 0, "silky"), "hair texture"),
    ],
)
def test_what_there_is_not_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
    assert styles.get_style("bun") is STYLES["bun"] and styles.get_brow("thin") is BROWS["thin"]
