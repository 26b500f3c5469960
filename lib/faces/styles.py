"""Haircuts, eyebrows and hair colours as data: what a style is, and how one is drawn by chance.

Lengths are in decimetres (an adult head is about 2.1 dm high). Heights are measured from the level
of the eyes of the average head, upwards. A style says nothing about a particular head: `lib.faces.
hair` grows it on any.
"""

import difflib
from dataclasses import dataclass, replace

import numpy as np

from lib.errors import InputError

TEXTURES = ("straight", "wavy", "curly", "coily")
FLOWS = ("whorl", "side", "forward", "back", "curtain", "tied", "radial")
FACIAL_HAIR = ("moustache", "goatee", "beard", "stubble")


@dataclass(frozen=True)
class HairStyle:
    """One haircut.

    Attributes
    ----------
    name : str
        Key in `STYLES`.
    flow : str
        How the hair is combed, one of `FLOWS`: away from the crown's whorl, over to one side,
        forward, back, down on both sides of a parting (curtain), to a tie, or straight out of the
        skin (radial).
    top, side, back : float
        Length in dm on top of the head, above the ears, and at the back of the head.
    cut : float or None
        Height in dm above the eyes at which hanging hair is cut off straight.
    nape : float
        Length at the lowest hair of sides and nape as a fraction of `side` and `back`: below 1 a
        fade.
    variation : float
        Standard deviation of length, as a fraction.
    thickness : float
        Depth in dm of the layer that lying hair forms over the skin, where it is fullest.
    lift : float
        0: leaves the skin along the comb; 1: leaves it at a right angle.
    quiff : float
        What is added to `lift` above the forehead.
    gravity : float
        Downward pull per step, relative to a unit direction.
    stiffness : float
        How far a strand keeps its direction from step to step, 0 to 1.
    hold : float
        0 to 1: how far hair that lifts off is laid back on the head (pomade, a tight tie).
    mess : float
        Random directions, relative to a unit direction.
    clumps : int
        Number of locks over the head.
    clumping : float
        0 to 1: how far tips of one lock meet.
    wave, coil : float
        Amplitude in dm of a planar wave, and radius in dm of a helix.
    wavelength : float
        Length in dm of one period of either.
    part : float
        Sideways position in dm of the parting (positive: on the person's left).
    parting : float
        0 to 1: how far hair on top follows the parting rather than going back.
    clear : float
        Half width in dm of the part of the face that no hair may cross, relative to half the
        width of the face; 0: no such region.
    fringe : float
        Length in dm of a fringe over the forehead; 0: none.
    fringe_width : float
        Half width in dm of the strip at the hairline that the fringe grows from.
    fringe_sweep : float
        Sideways comb of the fringe, from -1 to 1; 0 falls straight.
    tie : tuple of float or None
        Height and depth (forward positive) in dm of the tie of a tied style.
    tail : float
        Length in dm of the hair beyond the tie.
    bun : float
        Radius in dm of a bun at the tie; 0: the hair hangs free.
    front : float
        Raises (or lowers) the hairline over the forehead, dm.
    recede : float
        Raises the corners of the hairline over the temples, dm.
    crown : float
        0 to 1: how bald the top of the head is.
    density : float
        0 to 1: fraction of the strands of a full head, and how dark the scalp between them is.
    radius : float
        Half width in dm that strands are drawn with.
    sideburn : float
        Length in dm that the hairline is lowered in front of the ears.
    """

    name: str
    flow: str
    top: float
    side: float
    back: float
    cut: float | None = None
    nape: float = 0.6
    variation: float = 0.14
    thickness: float = 0.10
    lift: float = 0.3
    quiff: float = 0.0
    gravity: float = 0.08
    stiffness: float = 0.6
    hold: float = 0.0
    mess: float = 0.12
    clumps: int = 260
    clumping: float = 0.35
    wave: float = 0.0
    coil: float = 0.0
    wavelength: float = 0.4
    part: float = 0.0
    parting: float = 1.0
    clear: float = 0.0
    fringe: float = 0.0
    fringe_width: float = 0.5
    fringe_sweep: float = 0.0
    tie: tuple | None = None
    tail: float = 0.0
    bun: float = 0.0
    front: float = 0.0
    recede: float = 0.0
    crown: float = 0.0
    density: float = 1.0
    radius: float = 0.010
    sideburn: float = 0.0

    def __post_init__(self):
        if self.flow not in FLOWS:
            raise InputError(_unknown("comb direction", self.flow, FLOWS))
        if self.flow == "tied" and self.tie is None:
            raise InputError(f"the tied style '{self.name}' lacks the place of its tie: give tie.")


@dataclass(frozen=True)
class BrowShape:
    """One pair of eyebrows, as seen from the front.

    Attributes
    ----------
    name : str
        Key in `BROWS`.
    height : float
        Height in dm of the inner end above the level of the eyes.
    arch : float
        Rise in dm of the highest point above the inner end.
    drop : float
        Height in dm of the outer end above the inner end.
    peak : float
        Where along the brow its highest point lies, 0 (inner) to 1 (outer).
    inner, outer : float
        Distance in dm of the two ends from the middle of the face.
    thickness : float
        Half thickness in dm where the brow is thickest.
    length : float
        Length in dm of a hair.
    density : float
        0 to 1: number of hairs, and darkness of the paint between them.
    mess : float
        Standard deviation in radians of the direction of a hair.
    """

    name: str
    height: float = 0.170
    arch: float = 0.042
    drop: float = 0.0
    peak: float = 0.60
    inner: float = 0.105
    outer: float = 0.475
    thickness: float = 0.027
    length: float = 0.058
    density: float = 0.7
    mess: float = 0.16


_SHORT = dict(nape=0.35, variation=0.16, gravity=0.05, clumps=420)
_LONG = dict(nape=1.0, gravity=0.42, stiffness=0.5, clear=0.93, variation=0.10, clumps=300)
_TIED = dict(
    flow="tied", top=1.2, side=1.2, back=1.2, nape=1.0, lift=0.05, thickness=0.085, gravity=0.0,
    stiffness=0.3, hold=0.85, mess=0.05, clumps=170, clumping=0.25, variation=0.05,
)  # fmt: skip

STYLES = {
    style.name: style
    for style in (
        HairStyle(
            "shaved", "whorl", 0.03, 0.025, 0.025, nape=0.6, lift=0.8, thickness=0.01, mess=0.3,
            density=0.74, radius=0.0017, clumping=0.0,
        ),
        HairStyle(
            "buzz", "whorl", 0.095, 0.070, 0.065, nape=0.4, lift=0.5, thickness=0.02, mess=0.25,
            density=1.0, radius=0.0085, clumping=0.1,
        ),
        HairStyle(
            "crop_side", "side", 0.46, 0.20, 0.24, thickness=0.10, lift=0.22, part=0.30,
            stiffness=0.55, hold=0.35, **_SHORT,
        ),
        HairStyle(
            "crop_forward", "forward", 0.34, 0.17, 0.20, thickness=0.08, lift=0.24,
            stiffness=0.6, hold=0.3, **_SHORT,
        ),
        HairStyle(
            "crop_textured", "whorl", 0.36, 0.15, 0.17, thickness=0.14, lift=0.45, quiff=0.25,
            mess=0.30, stiffness=0.7, clumping=0.6, **(_SHORT | dict(clumps=230)),
        ),
        HairStyle(
            "quiff_fade", "back", 0.48, 0.09, 0.10, thickness=0.17, lift=0.35, quiff=0.35,
            mess=0.14, stiffness=0.62, clumping=0.5, **(_SHORT | dict(nape=0.25, clumps=260)),
        ),
        HairStyle(
            "slick_back", "back", 0.75, 0.45, 0.40, nape=0.6, thickness=0.09, lift=0.16,
            stiffness=0.45, hold=0.7, mess=0.06, gravity=0.03, clumps=200, clumping=0.4,
        ),
        HairStyle(
            "receding", "back", 0.32, 0.16, 0.18, nape=0.4, thickness=0.06, lift=0.24,
            hold=0.3, front=0.10, recede=0.18, density=0.86, mess=0.13, radius=0.010,
        ),
        HairStyle(
            "bald_crown", "back", 0.12, 0.15, 0.17, nape=0.5, thickness=0.04, lift=0.18,
            hold=0.5, crown=1.0, front=0.20, density=0.72, mess=0.14, radius=0.0070,
        ),
        HairStyle(
            "afro_short", "radial", 0.13, 0.09, 0.09, nape=0.45, thickness=0.04, lift=0.9,
            stiffness=0.9, gravity=0.0, mess=0.35, coil=0.022, wavelength=0.07, clumps=900,
            clumping=0.5, radius=0.010,
        ),
        HairStyle(
            "afro_round", "radial", 0.34, 0.36, 0.34, nape=0.55, thickness=0.20, lift=1.0,
            stiffness=0.95, gravity=0.0, mess=0.22, coil=0.035, wavelength=0.13, clumps=700,
            clumping=0.45, variation=0.10, radius=0.012,
        ),
        HairStyle(
            "curly_short", "whorl", 0.42, 0.22, 0.22, nape=0.4, thickness=0.16, lift=0.62,
            stiffness=0.75, gravity=0.05, mess=0.30, coil=0.045, wavelength=0.24, clumps=260,
            clumping=0.65, radius=0.011,
        ),
        HairStyle(
            "curly_medium", "curtain", 1.0, 0.9, 0.85, nape=0.8, thickness=0.22, lift=0.5,
            stiffness=0.7, gravity=0.16, mess=0.22, coil=0.06, wavelength=0.34, clumps=260,
            clumping=0.7, clear=0.86, radius=0.012,
        ),
        HairStyle(
            "pixie", "side", 0.62, 0.36, 0.30, nape=0.5, thickness=0.12, lift=0.22, part=0.32,
            gravity=0.10, stiffness=0.55, hold=0.3, fringe=0.36, fringe_width=0.42,
            fringe_sweep=-0.8, clumps=220, clumping=0.5,
        ),
        HairStyle(
            "medium", "curtain", 1.35, 1.10, 1.0, cut=-0.62, thickness=0.10, lift=0.16,
            mess=0.08, wave=0.02, wavelength=0.9, part=0.16, clumping=0.45,
            hold=0.12,
            **(_LONG | dict(gravity=0.40, nape=0.8, clear=0.90)),
        ),
        HairStyle(
            "bob", "curtain", 2.1, 1.7, 1.4, cut=-0.92, thickness=0.13, lift=0.18,
            mess=0.06, part=0.22, clumping=0.30, **(_LONG | dict(variation=0.05)),
        ),
        HairStyle(
            "bob_fringe", "curtain", 2.1, 1.7, 1.4, cut=-0.85, thickness=0.13, lift=0.18,
            mess=0.06, fringe=0.52, fringe_width=0.58, clumping=0.30,
            **(_LONG | dict(variation=0.05)),
        ),
        HairStyle(
            "long_straight", "curtain", 3.4, 2.9, 2.7, cut=-1.75, thickness=0.11, lift=0.16,
            mess=0.06, part=0.05, **_LONG,
        ),
        HairStyle(
            "long_wavy", "curtain", 2.6, 2.2, 1.9, thickness=0.16, lift=0.20, mess=0.07,
            wave=0.05, wavelength=0.85, part=0.24, clumping=0.42, **(_LONG | dict(clumps=170)),
        ),
        HairStyle(
            "long_curly", "curtain", 2.3, 2.0, 1.8, thickness=0.24, lift=0.40, mess=0.16,
            coil=0.06, wavelength=0.42, part=0.15, clumping=0.7, radius=0.012,
            **(_LONG | dict(clumps=240, stiffness=0.6)),
        ),
        HairStyle("tied_back", tie=(0.30, -0.72), tail=1.5, **_TIED),
        HairStyle("bun", tie=(0.42, -0.66), tail=1.0, bun=0.25, **_TIED),
        HairStyle("top_knot", tie=(0.84, -0.34), tail=0.8, bun=0.15, **_TIED),
        HairStyle(
            "tied_fringe", tie=(0.20, -0.74), tail=1.4, fringe=0.44, fringe_width=0.44, **_TIED
        ),
    )
}  # fmt: skip

BROWS = {
    shape.name: shape
    for shape in (
        BrowShape("natural"),
        BrowShape("bushy", thickness=0.050, length=0.085, density=1.0, mess=0.30, inner=0.085,
                  outer=0.490, height=0.165, arch=0.036),
        BrowShape("thin", thickness=0.014, length=0.036, density=0.55, mess=0.08, arch=0.046,
                  height=0.175),
        BrowShape("arched", arch=0.082, drop=-0.010, peak=0.66, height=0.160, thickness=0.022,
                  length=0.048, density=0.7, mess=0.10),
        BrowShape("straight", arch=0.016, drop=-0.008, thickness=0.029, peak=0.5, height=0.175),
    )
}  # fmt: skip


def _unknown(what, name, known):
    near = difflib.get_close_matches(str(name), known, 1, 0.0)[0]
    return f"there is no {what} '{name}': did you mean '{near}'? Known are {', '.join(known)}."


def get_style(name):
    """Look a haircut up by name.

    Parameters
    ----------
    name : str
        A key of `STYLES`.

    Returns
    -------
    HairStyle

    Raises
    ------
    InputError
        Unknown name; the sentence gives the nearest known one.
    """
    if not isinstance(name, str) or name not in STYLES:
        raise InputError(_unknown("hair style", name, tuple(STYLES)))
    return STYLES[name]


def get_brow(name):
    """Look an eyebrow shape up by name; raises InputError for an unknown one.

    Parameters
    ----------
    name : str
        A key of `BROWS`.

    Returns
    -------
    BrowShape
    """
    if not isinstance(name, str) or name not in BROWS:
        raise InputError(_unknown("eyebrow shape", name, tuple(BROWS)))
    return BROWS[name]


# Odds of every style for women and men. Most of the weight is on styles that both wear, so that no
# place in the image (hair at the shoulder, a bare nape) tells the two apart well.
_ODDS = {
    # name: (women, men, textures the style suits)
    "shaved": (2.0, 5.0, "straight wavy curly coily"),
    "buzz": (4.0, 7.0, "straight wavy curly coily"),
    "crop_side": (8.0, 11.0, "straight wavy"),
    "crop_forward": (5.0, 8.0, "straight wavy"),
    "crop_textured": (6.0, 9.0, "straight wavy curly"),
    "quiff_fade": (3.0, 6.0, "straight wavy"),
    "slick_back": (6.0, 7.0, "straight wavy curly"),
    "afro_short": (12.0, 14.0, "coily"),
    "afro_round": (10.0, 8.0, "coily"),
    "curly_short": (12.0, 14.0, "curly coily"),
    "curly_medium": (15.0, 10.0, "curly"),
    "pixie": (10.0, 7.0, "straight wavy"),
    "medium": (12.0, 12.0, "straight wavy"),
    "bob": (12.0, 6.0, "straight wavy"),
    "bob_fringe": (8.0, 3.0, "straight"),
    "long_straight": (14.0, 8.0, "straight"),
    "long_wavy": (14.0, 8.0, "wavy"),
    "long_curly": (15.0, 9.0, "curly coily"),
    "tied_back": (13.0, 10.0, "straight wavy curly coily"),
    "bun": (11.0, 8.0, "straight wavy curly coily"),
    "top_knot": (6.0, 6.0, "straight wavy curly coily"),
    "tied_fringe": (5.0, 2.5, "straight"),
    "receding": (0.0, 9.0, "straight wavy curly coily"),
    "bald_crown": (0.0, 7.0, "straight wavy curly coily"),
}


def sample_texture(rng, ancestry):
    """Draw a hair texture.

    Parameters
    ----------
    rng : numpy.random.Generator
    ancestry : array_like (3,)
        Weights of European, East Asian and African ancestry; they sum to 1.

    Returns
    -------
    str
        One of `TEXTURES`.
    """
    odds = np.array([[0.45, 0.37, 0.17, 0.01], [0.82, 0.15, 0.03, 0.00], [0.02, 0.06, 0.24, 0.68]])
    weights = np.clip(np.asarray(ancestry, float), 0, None) @ odds
    return str(rng.choice(TEXTURES, p=weights / weights.sum()))


def sample_style(rng, male, age, texture):
    """Draw a haircut for one person and vary its details.

    Parameters
    ----------
    rng : numpy.random.Generator
    male : bool or float
        Weight of the odds of men, 0 to 1.
    age : float
        0 (about 22 years) to 1 (about 75): hair recedes, thins and is worn shorter.
    texture : str
        One of `TEXTURES`.

    Returns
    -------
    HairStyle

    Raises
    ------
    InputError
        Unknown texture.
    """
    if texture not in TEXTURES:
        raise InputError(_unknown("hair texture", texture, TEXTURES))
    age, male = float(np.clip(age, 0, 1)), float(male)
    names, weights = [], []
    for name, (women, men, textures) in _ODDS.items():
        if texture not in textures.split():
            continue
        weight = male * men + (1 - male) * women
        if name in ("receding", "bald_crown"):
            weight *= 0.15 + 2.2 * age
        elif STYLES[name].side > 1.5:
            weight *= 1.15 - 0.7 * age
        names.append(name)
        weights.append(weight)
    weights = np.array(weights) / sum(weights)
    return vary_style(rng, STYLES[str(rng.choice(names, p=weights))], male, age, texture)


def vary_style(rng, style, male=0.5, age=0.3, texture="straight"):
    """Vary one haircut as two people who ask for the same one would differ.

    Parameters
    ----------
    rng : numpy.random.Generator
    style : HairStyle
    male, age, texture
        As for `sample_style`.

    Returns
    -------
    HairStyle
        Same name and flow.
    """
    scale = float(np.exp(0.16 * rng.normal()))
    mirror = float(rng.choice([-1, 1]))
    part = style.part + 0.06 * rng.normal()
    changes = dict(
        top=style.top * scale,
        side=style.side * scale * float(np.exp(0.10 * rng.normal())),
        back=style.back * scale * float(np.exp(0.10 * rng.normal())),
        thickness=style.thickness * float(np.exp(0.22 * rng.normal())),
        part=mirror * part,
        cut=None if style.cut is None else style.cut + 0.14 * float(rng.normal()),
        fringe=style.fringe * float(np.exp(0.12 * rng.normal())),
        fringe_sweep=mirror * style.fringe_sweep
        + (0.35 * float(rng.normal()) if style.fringe and not style.fringe_sweep else 0.0),
        front=style.front + float(np.clip(0.045 * rng.normal(), -0.07, 0.09)),
        recede=min(
            style.recede
            + float(np.clip(0.03 * male + 0.06 * age * male + 0.05 * rng.normal(), 0, 0.25)),
            0.28,
        ),
        mess=style.mess * float(np.exp(0.25 * rng.normal())),
        density=style.density * (1 - 0.25 * age * float(rng.random())),
        sideburn=style.sideburn + float(rng.uniform(0, 0.10)) * male,
    )
    if style.tie is not None:
        height, depth = style.tie
        if style.name == "top_knot":
            changes["tie"] = (height, depth + float(rng.uniform(-0.15, 0.10)))
        else:
            changes["tie"] = (max(height + float(rng.uniform(-0.22, 0.22)), 0.15), depth)
        changes["tail"] = style.tail * float(rng.uniform(0.55, 1.35))
        changes["bun"] = style.bun * float(rng.uniform(0.8, 1.25))
    if style.coil == 0 and texture == "wavy" and style.wave == 0:
        changes["wave"] = 0.015 + 0.012 * float(rng.random())
        changes["wavelength"] = 0.55
    if style.flow == "tied" and texture in ("curly", "coily"):
        changes["coil"], changes["wavelength"] = 0.035, 0.22
    return replace(style, **changes)


def sample_brow(rng, male):
    """Draw an eyebrow shape.

    Parameters
    ----------
    rng : numpy.random.Generator
    male : bool or float
        0 to 1; men's brows are a little lower, thicker and straighter on average.

    Returns
    -------
    BrowShape
    """
    male = float(male)
    odds = np.array([0.50, 0.05, 0.15, 0.16, 0.14]) * (1 - male)
    odds += np.array([0.51, 0.16, 0.05, 0.06, 0.22]) * male
    shape = BROWS[str(rng.choice(list(BROWS), p=odds / odds.sum()))]
    return replace(
        shape,
        height=shape.height - 0.008 * male + 0.010 * float(rng.normal()),
        arch=shape.arch * float(np.exp(0.25 * rng.normal())),
        drop=shape.drop + 0.008 * float(rng.normal()),
        inner=shape.inner + 0.010 * float(rng.normal()),
        outer=shape.outer + 0.014 * float(rng.normal()),
        thickness=shape.thickness * (0.94 + 0.14 * male) * float(np.exp(0.12 * rng.normal())),
        density=float(np.clip(shape.density * np.exp(0.12 * rng.normal()), 0.4, 1)),
    )


# Linear RGB of hair lit from all around, darkest first, and how common each is on fair skin.
_COLOURS = np.array(
    [
        [0.016, 0.013, 0.012],  # black
        [0.034, 0.022, 0.014],  # dark brown
        [0.070, 0.043, 0.025],  # brown
        [0.135, 0.085, 0.046],  # light brown
        [0.300, 0.215, 0.115],  # blond
        [0.155, 0.055, 0.022],  # red
    ]
)
_ODDS_FAIR = np.array([0.12, 0.27, 0.29, 0.16, 0.12, 0.04])
_ODDS_MEDIUM = np.array([0.48, 0.38, 0.13, 0.01, 0.0, 0.0])
_ODDS_DARK = np.array([0.88, 0.12, 0.0, 0.0, 0.0, 0.0])
_GREY = np.array([0.36, 0.355, 0.34])
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def sample_hair_colour(rng, skin, age, ancestry=None):
    """Draw a natural hair colour that fits a skin colour, greying with age.

    Parameters
    ----------
    rng : numpy.random.Generator
    skin : array_like (3,)
        Linear RGB reflectance of the skin, 0 to 1. Below a luminance of about .25 hair is black
        or dark brown; blond and red occur on fair skin only.
    age : float
        0 (about 22 years) to 1 (about 75).
    ancestry : array_like (3,), optional
        Weights of European, East Asian and African ancestry. Given, brown, blond and red become
        rarer as the European part falls below .7, and do not occur below .2.

    Returns
    -------
    ndarray (3,) of float64
        Linear RGB, 0 to 1.
    """
    luminance = float(np.asarray(skin, float) @ _LUMINANCE)
    odds = np.array(
        [
            np.interp(luminance, [0.18, 0.27, 0.40], column)
            for column in zip(_ODDS_DARK, _ODDS_MEDIUM, _ODDS_FAIR, strict=True)
        ]
    )
    if ancestry is not None:
        european = np.asarray(ancestry, float)[0] / np.sum(ancestry)
        mixed = np.clip((european - 0.2) / 0.5, 0, 1)
        odds = mixed * odds + (1 - mixed) * _ODDS_DARK
    colour = _COLOURS[rng.choice(len(_COLOURS), p=odds / odds.sum())]
    colour = colour * np.exp(0.14 * rng.normal())
    onset = max(0.25, 0.52 + 0.14 * rng.normal())
    grey = 0.92 * float(np.clip((age - onset) / 0.40, 0, 1))
    return np.clip(colour * (1 - grey) + _GREY * grey, 0, 1)
