"""Who a head is: shape, skin, eyes and hair, drawn by chance from a seed.

Sex shows in the shape of the face, and only weakly in hair and brows; the colour of lips and skin
and the shave are drawn alike for both. Every trait has its own stream of random numbers, so that
fixing one trait leaves the others as they were.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lib.errors import InputError
from lib.faces import styles
from lib.faces.arguments import check_number, check_weights, check_whole, is_number, show
from lib.faces.assets import load_assets
from lib.faces.mesh import ETHNICITIES, GENDERS, add_targets, average_macro, load_mesh

# Shares of the caucasian, asian and african shapes in the four named groups.
ETHNIC_GROUPS = {
    "caucasian": (0.90, 0.05, 0.05),
    "asian": (0.06, 0.90, 0.04),
    "african": (0.06, 0.04, 0.90),
    "mixed": (0.46, 0.24, 0.30),
}
AGES = (10, 85)
# Largest strength of a named attribute.
_STRONGEST = 2

# Linear reflectance (R, G, B) of skin from the least to the most melanin.
MELANIN = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
SKIN = np.array(
    [
        [0.660, 0.480, 0.400],
        [0.590, 0.405, 0.315],
        [0.480, 0.310, 0.220],
        [0.330, 0.195, 0.125],
        [0.205, 0.115, 0.075],
        [0.115, 0.064, 0.045],
    ]
)
# Melanin of each shape's people: mean, standard deviation.
MELANIN_OF = {"caucasian": (0.16, 0.07), "asian": (0.25, 0.08), "african": (0.80, 0.11)}
SKIN_TONES = {"bright": (0.03, 0.36), "dark": (0.62, 0.97)}

IRISES = {
    "brown": (0.055, 0.028, 0.014),
    "hazel": (0.120, 0.080, 0.035),
    "green": (0.130, 0.150, 0.085),
    "blue": (0.140, 0.200, 0.270),
    "grey": (0.190, 0.210, 0.220),
}

# Named attributes as weights of shape targets; l- stands for both sides.
ATTRIBUTES = {
    "double_chin": {"neck/neck-double-incr": 1.6, "head/head-fat-incr": 0.35},
    "eye_bags": {"eyes/l-eye-bag-incr": 1.3, "eyes/l-eye-bag-out": 0.7},
    "big_nose": {
        "nose/nose-volume-incr": 0.6, "nose/nose-scale-horiz-incr": 0.6,
        "nose/nose-scale-vert-incr": 0.3, "nose/nose-scale-depth-incr": 0.35,
        "nose/nose-flaring-incr": 0.5, "nose/nose-width3-incr": 0.5,
    },
    "pointy_nose": {
        "nose/nose-point-width-decr": 0.9, "nose/nose-trans-forward": 0.45,
        "nose/nose-width3-decr": 0.5, "nose/nose-flaring-decr": 0.6, "nose/nose-volume-decr": 0.5,
    },
    "big_lips": {
        "mouth/mouth-upperlip-volume-incr": 0.8, "mouth/mouth-lowerlip-volume-incr": 0.8,
        "mouth/mouth-upperlip-height-incr": 0.7, "mouth/mouth-lowerlip-height-incr": 0.7,
    },
    "high_cheekbones": {
        "cheek/l-cheek-bones-incr": 1.0, "cheek/l-cheek-trans-up": 0.4,
        "cheek/l-cheek-volume-decr": 0.35,
    },
    "narrow_eyes": {
        "eyes/l-eye-height1-decr": 0.65, "eyes/l-eye-height2-decr": 0.7,
        "eyes/l-eye-height3-decr": 0.65,
    },
    "full_cheeks": {"cheek/l-cheek-volume-incr": 1.0},
    "chin_cleft": {"chin/chin-cleft-incr": 1.0},
}  # fmt: skip

# Paired shape modifiers: standard deviation of the weight, and the largest distance (decimetres)
# that all modifiers of one region together may move a vertex; the latter cuts off caricatures.
SPREAD = {
    "head": (0.24, 0.11), "forehead": (0.30, 0.075), "eyebrows": (0.28, 0.035),
    "eyes": (0.24, 0.040), "nose": (0.26, 0.055), "cheek": (0.28, 0.060),
    "mouth": (0.20, 0.040), "chin": (0.28, 0.075), "ears": (0.30, 0.110), "neck": (0.25, 0.12),
}  # fmt: skip
_OPPOSITES = (
    ("decr", "incr"), ("in", "out"), ("down", "up"), ("backward", "forward"),
    ("concave", "convex"), ("compress", "uncompress"),
)  # fmt: skip
# Not for chance: they shift, tilt or age the whole head, or look unlike anybody.
_NOT_SAMPLED = re.compile(
    r"head-age|head-square|head-diamond|triangular|head-rect|forehead-nubian|mouth-trans-(in|out)|"
    r"nose-trans-(in|out)|neck-(scale|height|circ|back|double)|measure-neck|eye-trans-(up|down)|"
    r"ear-shape|chin-triangle|eye-bag|chin-cleft|laugh-lines|chin-jaw-drop|"
    r"mouth-(lower|upper)lip-(ext|middle)|dimples|nose-septum"
)
# Offset and factor of single modifiers: resting mouths neither pout nor sag.
_ADJUST = {
    "mouth/mouth-angles": (0.0, 0.5),
    "mouth/mouth-scale-depth": (0.0, 0.6),
    "mouth/mouth-trans-ward": (0.0, 0.6),
    "mouth/mouth-cupidsbow": (0.0, 0.6),
    "eyebrows/eyebrows-angle": (0.10, 0.6),
    "eyes/l-eye-scale": (0.0, 0.6),
    "eyes/l-eye-eyefold": (0.0, 0.6),
    "eyes/l-eye-epicanthus": (-0.1, 0.5),
    "head/head-fat": (0.0, 0.8),
}


# How the shape of men departs from the average of the sexes where `dimorphism` is 1; that of women
# departs the other way. Signed weights of paired modifiers, positive towards the upper target.
# Direction of each: Farkas, Anthropometry of the Head and Face (1994), and Brown and Perrett
# (1993, Perception 22, 829), who found brows and eyes, jaw, chin and nose to carry sex most.
DIMORPHIC = {
    "chin/chin-height": 0.09, "chin/chin-width": 0.25, "chin/chin-bones": 0.23,
    "chin/chin-prominent": 0.09,
    "nose/nose-volume": 0.08, "nose/nose-scale-vert": 0.05, "nose/nose-width1": 0.16,
    "nose/nose-width2": 0.09, "nose/nose-width3": 0.09, "nose/nose-hump": 0.14,
    "nose/nose-curve": 0.11, "nose/nose-point": -0.05,
    "eyebrows/eyebrows-trans": -0.16, "eyebrows/eyebrows-trans-ward": 0.23,
    "eyebrows/eyebrows-angle": -0.05,
    "eyes/l-eye-scale": -0.05, "eyes/l-eye-height2": -0.09,
    "mouth/mouth-upperlip-volume": -0.18, "mouth/mouth-lowerlip-volume": -0.16,
    "mouth/mouth-upperlip-height": -0.11, "mouth/mouth-lowerlip-height": -0.09,
    "mouth/mouth-scale-horiz": 0.07,
    "cheek/l-cheek-bones": -0.16, "cheek/l-cheek-trans": -0.11, "cheek/l-cheek-volume": -0.07,
}  # fmt: skip

# What full dimorphism adds to the share of one's own sex in the macro shapes, to the weight of sex
# in the odds of haircuts and brows, and to the logarithm of the brows' thickness.
_TYPICAL, _HAIR_LEAN, _BROW_LEAN, _BROW_THICKER = 0.07, 0.35, 0.45, 0.12


# A relaxed face: the base mesh alone pouts, and its eyes stare.
RESTING = {
    "mouth/mouth-angles-up": 0.38,
    "mouth/mouth-upperlip-volume-decr": 0.30,
    "mouth/mouth-lowerlip-volume-decr": 0.15,
    "mouth/mouth-trans-backward": 0.30,
    "mouth/mouth-scale-horiz-incr": 0.20,
    "unit/mouthSmileLeft": 0.10,
    "unit/mouthSmileRight": 0.10,
    "unit/eyeBlinkLeft": 0.08,
    "unit/eyeBlinkRight": 0.08,
}


@dataclass(frozen=True)
class Identity:
    """One person.

    Attributes
    ----------
    seed : int
    male : float, 0..1
        Share of the male shape.
    age : float
        Years.
    ethnicity : tuple of 3 floats
        Shares of the caucasian, asian and african shapes; they sum to 1.
    morphs : mapping of str -> float
        Shape target to weight.
    melanin : float, 0..1
    skin : tuple of 3 floats
        Linear RGB reflectance, 0..1.
    lips : tuple of 3 floats
        Reflectance of the lips relative to the skin.
    iris : tuple of 3 floats
        Linear RGB reflectance.
    hair_colour : tuple of 3 floats
        Linear RGB.
    hair_texture : str
        One of `lib.faces.styles.TEXTURES`.
    hair_style : lib.faces.styles.HairStyle
    brow : lib.faces.styles.BrowShape
    moles : tuple of (x, y, z, radius)
        Canonical coordinates and radius, decimetres.
    freckles, wrinkles, oil, redness, pores : float, 0..1
        Strength of each on the skin.
    eye_bags : float, 0..1
        Darkness under the eyes.
    """

    seed: int
    male: float
    age: float
    ethnicity: tuple
    morphs: Mapping
    melanin: float
    skin: tuple
    lips: tuple
    iris: tuple
    hair_colour: tuple
    hair_texture: str
    hair_style: styles.HairStyle
    brow: styles.BrowShape
    moles: tuple = ()
    freckles: float = 0.0
    wrinkles: float = 0.0
    oil: float = 0.5
    redness: float = 0.3
    pores: float = 0.5
    eye_bags: float = 0.2
    attributes: Mapping = field(default_factory=dict)

    @property
    def gender(self):
        """ "male" or "female", by the larger share of the shape."""
        return "male" if self.male > 0.5 else "female"


@functools.cache
def list_modifiers():
    """Pairs of opposite shape targets that chance may mix: (name, lower targets, upper targets).

    Left and right move together. A name without an opposite has no lower targets.
    """
    found = []
    for folder in SPREAD:
        names = [n for n in load_assets().targets if n.startswith(folder + "/")]
        names = [n for n in names if not _NOT_SAMPLED.search(n) and "/r-" not in n]
        used = set()
        for name in names:
            if name in used:
                continue
            for low, high in _OPPOSITES:
                if not name.endswith(("-" + low, "-" + high)):
                    continue
                stem = re.sub(f"-({low}|{high})$", "", name)
                pair = (f"{stem}-{low}", f"{stem}-{high}")
                if pair[0] in names and pair[1] in names:
                    used.update(pair)
                    suffix = "-ward" if low == "backward" else ""
                    found.append((stem + suffix, *(both_sides(n) for n in pair)))
                    break
            else:
                found.append((name, (), both_sides(name)))
    return tuple(found)


def both_sides(name):
    """A target of the left side with its twin of the right, or the target alone: tuple of str."""
    return (name, name.replace("/l-", "/r-")) if "/l-" in name else (name,)


def age_shares(age):
    """Shares of the child, young and old shapes at an age in years: dict.

    The child shape stands for 11 years, the young one for 25, the old one for about 90.
    """
    if age < 25:
        young = float(np.clip((age - 9) / 16, 0, 1))
        return {"child": 1 - young, "young": young}
    old = float(np.clip((age - 25) / 65, 0, 1)) ** 1.1
    return {"young": 1 - old, "old": old}


def macro_weights(male, age, ethnicity, muscle, weight):
    """Weights of the macro targets: gender, age, ethnicity and build.

    Parameters
    ----------
    male : float, 0..1
    age : float, years
    ethnicity : sequence of 3 floats that sum to 1
    muscle, weight : float, 0..1
        .5 is average.

    Returns
    -------
    dict of str -> float
    """

    def lean(value, noun):
        far = ("max" if value > 0.5 else "min") + noun
        return {"average" + noun: 1 - 2 * abs(value - 0.5), far: 2 * abs(value - 0.5)}

    available = load_assets().targets
    out = {}
    for gender, g in zip(GENDERS, (male, 1 - male), strict=True):
        for age_name, a in age_shares(age).items():
            for group, e in zip(ETHNICITIES, ethnicity, strict=True):
                out[f"macro/{group}-{gender}-{age_name}"] = g * a * e
            for m_name, m in lean(muscle, "muscle").items():
                for w_name, w in lean(weight, "weight").items():
                    tone = "averagemuscle" if age_name == "child" else m_name
                    name = f"macro/universal-{gender}-{age_name}-{tone}-{w_name}"
                    out[name] = out.get(name, 0) + g * a * m * w
    return {name: float(w) for name, w in out.items() if w > 1e-4 and name in available}


def _stream(seed, aspect):
    return np.random.default_rng([int(seed), aspect])


def _largest_move(weights):
    """The farthest any skin vertex moves under the weights, decimetres."""
    assets = load_assets()
    total = np.zeros((len(assets.points), 3))
    add_targets(total, weights)
    head = load_mesh().neutral[: assets.body_size, 1] > -1.15
    return float(np.sqrt((total[: assets.body_size][head] ** 2).sum(1)).max())


def sample_shape(rng, strength=1.0):
    """Local shape: weights of the paired modifiers and slight asymmetries.

    Parameters
    ----------
    rng : numpy.random.Generator
    strength : float
        Factor of all spreads; 0 gives an average face.

    Returns
    -------
    dict of str -> float
    """
    by_folder = {folder: {} for folder in SPREAD}
    for stem, lower, upper in list_modifiers():
        folder = stem.split("/")[0]
        spread = SPREAD[folder][0] * strength
        # Half of the unpaired shapes stay out; the others have only one direction.
        draw = float(np.clip(rng.normal(), -2.2, 2.2)) * spread
        chosen = rng.random() < 0.35
        if not lower:
            if chosen:
                by_folder[folder].update(dict.fromkeys(upper, abs(draw)))
            continue
        for start, (offset, factor) in _ADJUST.items():
            if stem.startswith(start):
                draw = offset * strength + factor * draw
        targets = upper if draw > 0 else lower
        by_folder[folder].update(dict.fromkeys(targets, abs(draw)))
    out = {}
    for folder, weights in by_folder.items():
        limit = SPREAD[folder][1]
        moved = _largest_move(weights)
        shrink = 1.0 if moved <= limit else limit / moved
        out.update({name: w * shrink for name, w in weights.items() if w > 1e-3})
    for name in load_assets().targets:
        if name.startswith("asym/"):
            chosen, weight = rng.random() < 0.3, rng.uniform(0, 0.35)
            if chosen:
                out[name] = float(weight) * strength
    return out


def add_dimorphism(weights, lean):
    """Local shape moved towards that of men or of women.

    Parameters
    ----------
    weights : mapping of str -> float
        Shape target to weight, as `sample_shape` gives them.
    lean : float, about -1..1
        How far, in units of `DIMORPHIC`: 1 towards men, -1 towards women.

    Returns
    -------
    dict of str -> float
    """
    out = dict(weights)
    modifiers = {stem: (lower, upper) for stem, lower, upper in list_modifiers()}
    for stem, share in DIMORPHIC.items():
        lower, upper = modifiers[stem]
        signed = out.pop(upper[0], 0.0) - out.pop(lower[0], 0.0) + share * lean
        for side in (*lower[1:], *upper[1:]):
            out.pop(side, None)
        out.update(dict.fromkeys(upper if signed > 0 else lower, abs(signed)))
    return out


def skin_from_melanin(melanin, tint=0.0):
    """Linear reflectance (3,) of skin.

    Parameters
    ----------
    melanin : float, 0..1
    tint : float
        Positive is redder, negative yellower; about -1..1.
    """
    table = np.log(SKIN)
    log = np.array([np.interp(melanin, MELANIN, table[:, k]) for k in range(3)])
    return np.exp(log + tint * np.array([0.03, -0.02, 0.02]))


def _find_ethnicity(ethnicity, rng):
    if ethnicity is None:
        return rng.dirichlet([0.60, 0.50, 0.45])
    if isinstance(ethnicity, str):
        if ethnicity not in ETHNIC_GROUPS:
            raise InputError(
                f"There is no ethnic group {ethnicity!r}: choose one of "
                f"{', '.join(ETHNIC_GROUPS)}, or give three shares."
            )
        shares = np.array(ETHNIC_GROUPS[ethnicity])
        # Individuals of a group differ.
        return rng.dirichlet(shares * 18)
    given = ethnicity.tolist() if isinstance(ethnicity, np.ndarray) else ethnicity
    given = given if isinstance(given, list | tuple) else ()
    if len(given) != 3 or not all(is_number(v) and 0 <= v < np.inf for v in given):
        raise InputError(
            f"ethnicity is {show(ethnicity)}: give a group's name or three shares that are not "
            "negative."
        )
    shares = np.array(given, float)
    if shares.sum() <= 0:
        raise InputError("The three shares of ethnicity are all 0: give at least one.")
    return shares / shares.sum()


def _find_melanin(skin_tone, ethnicity, rng):
    draw = rng.normal()
    mean, spread = np.array([MELANIN_OF[e] for e in ETHNICITIES]).T @ ethnicity
    if skin_tone is None:
        # People between the groups vary more than the average of the groups' spreads.
        spread = spread + 0.10 * (1 - (ethnicity**2).sum())
        return float(np.clip(mean + spread * draw, 0.02, 0.98))
    if isinstance(skin_tone, str):
        if skin_tone not in SKIN_TONES:
            raise InputError(
                f"There is no skin tone {skin_tone!r}: choose bright or dark, or a number from 0 "
                "to 1."
            )
        low, high = SKIN_TONES[skin_tone]
        return float(np.clip((low + high) / 2 + (high - low) / 4 * draw, low, high))
    if not is_number(skin_tone) or not 0 <= skin_tone <= 1:
        raise InputError(
            f"skin_tone is {show(skin_tone)}: give bright, dark or a number from 0 (bright) to 1 "
            "(dark)."
        )
    return float(skin_tone)


def attribute_morphs(attributes):
    """Shape weights of named attributes.

    Parameters
    ----------
    attributes : mapping of str -> float
        Keys of `ATTRIBUTES`, strengths 0..1.

    Returns
    -------
    dict of str -> float

    Raises
    ------
    InputError
        For an unknown attribute.
    """
    out = {}
    for name, strength in attributes.items():
        if name not in ATTRIBUTES:
            raise InputError(
                f"There is no attribute {name!r}: choose among {', '.join(ATTRIBUTES)}."
            )
        for target, weight in ATTRIBUTES[name].items():
            for side in both_sides(target):
                out[side] = out.get(side, 0.0) + weight * float(strength)
    return out


def sample_identity(
    seed, *, male=None, age=None, ethnicity=None, skin_tone=None, attributes=None, morphs=None,
    strength=1.0, dimorphism=0.0, **overrides,
):  # fmt: skip
    """Draw a person.

    Parameters
    ----------
    seed : int
        Not negative. The same arguments give the same person.
    male : bool, float in 0..1 or None
        True and False draw around the male and female shape; a float is taken as it is.
    age : float or None
        Years, 10..85; None draws an adult of 18 to 75, mostly young.
    ethnicity : str, three floats or None
        A key of `ETHNIC_GROUPS`, or shares of the caucasian, asian and african shapes.
    skin_tone : "bright", "dark", float in 0..1 or None
        None draws what goes with the ethnicity.
    attributes : mapping of str -> float, optional
        Named shape attributes, see `ATTRIBUTES`, strengths 0..1, at most 2.
    morphs : mapping of str -> float, optional
        Weights of shape targets that replace the drawn ones.
    strength : float
        How far the local shape may lie from the average, 0..1.5.
    dimorphism : float, 0..1
        How much more sex shows than in the macro shapes alone: 0 leaves it at these, 1 adds the
        local shapes of `DIMORPHIC`, shapes nearer to the male and female ones, and more of either
        sex's brows and haircuts.
    **overrides
        Any other field of `Identity`; `hair_style` and `brow` also by name.

    Returns
    -------
    Identity

    Raises
    ------
    InputError
        For a value out of range or of a wrong type, or an unknown name.
    """
    check_whole("The seed of an identity", seed, 0)
    check_number("strength", strength, 0, 1.5)
    check_number("dimorphism", dimorphism, 0, 1)
    rng = _stream(seed, 1)
    drawn = rng.random()
    jitter = 0.07 * rng.normal()
    if male is None:
        male = bool(drawn < 0.5)
    if isinstance(male, (bool, np.bool_)):
        more = _TYPICAL * dimorphism
        male = float(np.clip((0.84 + more if male else 0.16 - more) + jitter, 0, 1))
    if not is_number(male) or not 0 <= male <= 1:
        raise InputError(f"male is {show(male)}: give True, False or a number from 0 to 1.")
    years = 18 + 57 * _stream(seed, 2).beta(1.3, 2.6)
    if age is not None and (not is_number(age) or not AGES[0] <= age <= AGES[1]):
        raise InputError(f"age is {show(age)}: give years, from {AGES[0]} to {AGES[1]}.")
    age = float(years if age is None else age)
    shares = _find_ethnicity(ethnicity, _stream(seed, 3))

    rng = _stream(seed, 4)
    muscle = float(rng.uniform(0.40, 0.70))
    weight = float(np.clip(0.54 + 0.10 * rng.normal(), 0.36, 0.80))
    weights = macro_weights(male, age, shares, muscle, weight)
    local = sample_shape(_stream(seed, 5), strength)
    if dimorphism:
        # People differ in how much their face shows their sex.
        spread = float(np.clip(_stream(seed, 11).normal(), -2, 2))
        local = add_dimorphism(local, dimorphism * (2 * male - 1) * (1 + 0.2 * spread))
    for name, value in local.items():
        weights[name] = value
    for name, value in RESTING.items():
        weights[name] = weights.get(name, 0.0) + value
    attributes = {} if attributes is None else attributes
    check_weights("attributes", attributes, 0, _STRONGEST)
    attributes = dict(attributes)
    for name, value in attribute_morphs(attributes).items():
        weights[name] = weights.get(name, 0.0) + value
        for low, high in _OPPOSITES:
            if name.endswith("-" + high):
                weights.pop(name.removesuffix(high) + low, None)
            elif name.endswith("-" + low):
                weights.pop(name.removesuffix(low) + high, None)
    for name, value in (morphs or {}).items():
        if name not in load_assets().targets:
            raise InputError(f"There is no shape target {name!r}: see lib.faces.assets.")
        weights[name] = float(value)

    rng = _stream(seed, 6)
    melanin = _find_melanin(skin_tone, shares, rng)
    skin = skin_from_melanin(melanin, float(rng.normal()))
    lips = np.array([0.78, 0.58, 0.60]) * np.exp(0.07 * rng.normal(size=3))
    pale = float(np.clip((0.42 - melanin) / 0.4, 0, 1)) * shares[0]
    names = list(IRISES)
    odds = np.array([1 - 0.72 * pale, 0.22 * pale, 0.12 * pale, 0.28 * pale, 0.10 * pale])
    iris = np.array(IRISES[str(rng.choice(names, p=odds / odds.sum()))])
    iris = iris * np.exp(0.15 * rng.normal())
    age_share = float(np.clip((age - 22) / 53, 0, 1))

    rng = _stream(seed, 7)
    hair_colour = styles.sample_hair_colour(rng, skin, age_share)
    rng = _stream(seed, 8)
    texture = styles.sample_texture(rng, shares)
    # Hair says little about sex here: most styles are worn by both. Only balding is kept to men.
    lean = 0.40 + 0.20 * male + _HAIR_LEAN * dimorphism * (male - 0.5)
    style = styles.sample_style(rng, lean, age_share, texture)
    while male < 0.5 and style.name in ("receding", "bald_crown"):
        style = styles.sample_style(rng, 0.0, age_share, texture)
    lean = 0.35 + 0.3 * male + _BROW_LEAN * dimorphism * (male - 0.5)
    brow = styles.sample_brow(_stream(seed, 9), lean)
    if dimorphism:
        thicker = np.exp(_BROW_THICKER * dimorphism * (2 * male - 1))
        brow = dataclasses.replace(brow, thickness=brow.thickness * float(thicker))
    # Chance stays short of the drawn-on arch that `brow="arched"` may ask for.
    brow = dataclasses.replace(brow, arch=min(brow.arch, 0.085))

    rng = _stream(seed, 10)
    moles = []
    face = load_mesh().canonical
    face = face[(face[:, 2] > 0.3) & (face[:, 1] > -0.9) & (face[:, 1] < 0.6)]
    for _ in range(int(rng.integers(0, 5))):
        spot = face[rng.integers(len(face))]
        moles.append((*(float(v) for v in spot), float(rng.uniform(0.008, 0.017))))
    freckles = float(np.clip(rng.normal() - 0.9, 0, 1)) * pale
    wrinkles = float(np.clip((age - 28) / 45 + 0.10 * rng.normal(), 0.02, 1))
    bags = float(np.clip(0.15 + 0.4 * age_share + 0.15 * rng.normal(), 0, 0.8))
    fields = {
        "seed": int(seed),
        "male": male,
        "age": age,
        "ethnicity": tuple(float(v) for v in shares),
        "morphs": weights,
        "melanin": melanin,
        "skin": tuple(float(v) for v in skin),
        "lips": tuple(float(v) for v in lips),
        "iris": tuple(float(v) for v in iris),
        "hair_colour": tuple(float(v) for v in hair_colour),
        "hair_texture": texture,
        "hair_style": style,
        "brow": brow,
        "moles": tuple(moles),
        "freckles": freckles,
        "wrinkles": wrinkles,
        "oil": float(rng.uniform(0.25, 0.9)),
        "redness": float(rng.uniform(0.1, 0.6)),
        "pores": float(rng.uniform(0.4, 1.0)) * float(np.clip((age - 8) / 14, 0.2, 1)),
        "eye_bags": max(bags, 0.95 * float(attributes.get("eye_bags", 0))),
        "attributes": attributes,
    }
    unknown = [name for name in overrides if name not in fields]
    if unknown:
        known = ", ".join(f.name for f in dataclasses.fields(Identity))
        raise InputError(f"A person has no {unknown[0]!r}: choose among {known}.")
    if isinstance(overrides.get("hair_style"), str):
        overrides["hair_style"] = styles.get_style(overrides["hair_style"])
    if isinstance(overrides.get("brow"), str):
        overrides["brow"] = styles.get_brow(overrides["brow"])
    return Identity(**{**fields, **overrides})


def average_identity():
    """The average young adult, without any chance in its shape: an `Identity`."""
    return sample_identity(0, male=0.5, age=25, ethnicity=(1, 1, 1), morphs=None, strength=0)


__all__ = [
    "ATTRIBUTES", "ETHNIC_GROUPS", "Identity", "attribute_morphs", "average_identity",
    "average_macro", "list_modifiers", "macro_weights", "sample_identity", "sample_shape",
    "skin_from_melanin",
]  # fmt: skip
