"""The concepts of the Face Dictionary: 38 local ones and four groups of non-local ones.

Names, kinds and regions are those of the released Hierarchical Network Dissection (Teotia,
Lapedriza, Ostadabbas 2022, arXiv 2108.10360). Which landmarks make a concept's ellipse, and which
pixels its exact mask, is not printed there. The landmarks here were chosen, concept by concept, so
that the ellipses overlap the exact masks of rendered faces well; other sets may overlap more, for
rosy cheeks one that crosses the nose. Some places (cheek, bags, the skin under the chin) have no
landmark near: the ellipses of the 68 fit them badly.

"Left" and "right" are the subject's.
"""

from dataclasses import dataclass

import numpy as np

from lib.errors import InputError
from lib.faces.ellipse import LEVEL, ellipse_mask
from lib.faces.ibug import MIRROR

KINDS = ("action unit", "part", "attribute")
REGIONS = ("eye", "cheek", "nose", "mouth", "chin")

#: Non-local concepts: facts about the whole face, with their groups.
NON_LOCAL = {
    "age": ("0-20", "20-40", "40-60", "60+"),
    "gender": ("female", "male"),
    "ethnicity": ("african", "asian", "caucasian", "mixed"),
    "skin_tone": ("bright", "dark"),
}

# Sets of landmarks; of a concept with two sides, those of the left one.
_MOUTH = (49, 53, 57, 61, 62, 63, 65, 66, 67)
_SMILE = (5, 11, *range(48, 68))
_NOSE = tuple(range(27, 36))
_BROW, _EYE, _CHEEK = (23, 24, 25), tuple(range(42, 48)), (13, 14, 15, 35)
_JAW = (*range(4, 13), 48, 54)


@dataclass(frozen=True)
class Concept:
    """One local concept.

    Attributes
    ----------
    name : str
        As released, for instance "AU_1", "left_eye", "Wearing_Lipstick".
    kind : str
        One of `KINDS`.
    region : str
        One of `REGIONS`.
    landmarks : tuple of tuple of int
        Groups of landmarks, one ellipse each.
    """

    name: str
    kind: str
    region: str
    landmarks: tuple


def _sides(left):
    """A set of landmarks on the left, and its mirror image before it."""
    return tuple(int(MIRROR[k]) for k in left), tuple(left)


def _list_concepts():
    table = {
        "action unit": {
            "AU_1": ("eye", ((*range(19, 25), 27),)),
            "AU_2": ("eye", _sides((25, 26, 44))),
            "AU_4": ("eye", ((*range(17, 28),),)),
            "AU_5": ("eye", _sides((43, 44, 45))),
            "AU_6": ("cheek", _sides((14, *range(42, 48), 54))),
            "AU_9": ("nose", ((28, 29, 30, 31, 33, 35),)),
            "AU_12": ("mouth", (_SMILE,)),
            "AU_15": ("mouth", _sides((10, 54, 55, 64))),
            "AU_17": ("chin", ((55, 56, 57, 58, 59, 61, 63),)),
            "AU_20": ("mouth", (_SMILE,)),
            "AU_25": ("mouth", ((8, *range(55, 60), 61, 62, 63, 65, 66, 67),)),
            "AU_26": ("chin", ((6, 8, 10, 55, 56, 58, 59, 65, 67),)),
        },
        "part": {
            "nose": ("nose", (_NOSE,)),
            "left_eyebrow": ("eye", _sides(_BROW)[1:]),
            "right_eyebrow": ("eye", _sides(_BROW)[:1]),
            "left_eye": ("eye", _sides(_EYE)[1:]),
            "right_eye": ("eye", _sides(_EYE)[:1]),
            "mouth": ("mouth", (_MOUTH,)),
            "left_cheek": ("cheek", _sides(_CHEEK)[1:]),
            "right_cheek": ("cheek", _sides(_CHEEK)[:1]),
        },
        "attribute": {
            "5_o_Clock_Shadow": ("cheek", (_JAW,)),
            "Arched_Eyebrows": ("eye", _sides(_BROW)),
            "Bags_Under_Eyes": ("cheek", _sides((24, 45, 46, 47))),
            "Big_Lips": ("mouth", (_MOUTH,)),
            "Big_Nose": ("nose", (_NOSE,)),
            "Bushy_Eyebrows": ("eye", _sides((*_BROW, 26))),
            "Double_Chin": ("chin", ((*range(6, 11), 33, 57),)),
            "Eyeglasses": ("eye", _sides((22, 28, 42, 44, 45, 46, 47))),
            "Goatee": ("chin", ((7, 8, 9, 57),)),
            "High_Cheekbones": ("cheek", _sides((14, 27, 28, 35, 42, 43, 45, 46, 47))),
            "Mouth_Slightly_Open": ("mouth", (_MOUTH,)),
            "Mustache": ("mouth", ((49, 50, 52, 53),)),
            "Narrow_Eyes": ("eye", _sides(_EYE)),
            "No_Beard": ("cheek", (_JAW,)),
            "Pointy_Nose": ("nose", (_NOSE,)),
            "Rosy_Cheeks": ("cheek", _sides(_CHEEK)),
            "Smiling": ("mouth", (_SMILE,)),
            "Wearing_Lipstick": ("mouth", (_MOUTH,)),
        },
    }
    return {
        name: Concept(name, kind, region, groups)
        for kind, rows in table.items()
        for name, (region, groups) in rows.items()
    }


#: The 38 local concepts by name, action units first.
CONCEPTS = _list_concepts()

#: Face units and expression targets with the weights of an action unit at full strength.
ACTION_UNITS = {
    "AU_1": {"browInnerUp": 1.0},
    "AU_2": {"browOuterUp": 1.0},
    "AU_4": {"browDown": 1.0},
    "AU_5": {"eyeWide": 1.0},
    "AU_6": {"cheekSquint": 1.0, "eyeSquint": 0.4},
    "AU_9": {
        "noseSneer": 0.5,
        "expression/nose-left-elevation": 0.8,
        "expression/nose-right-elevation": 0.8,
        "expression/nose-compression": 1.0,
    },
    "AU_12": {"mouthSmile": 0.9},
    "AU_15": {"mouthFrown": 1.0},
    "AU_17": {"mouthShrugLower": 1.0},
    "AU_20": {"mouthStretch": 1.0},
    "AU_25": {"mouthUpperUp": 0.35, "mouthLowerDown": 0.6},
    "AU_26": {"jawOpen": 0.42},
}
#: Expressions as sets of action units; together they use each of the twelve at least twice, and no
#: two action units always together.
EXPRESSIONS = {
    "neutral": (),
    "smile": ("AU_12",),
    "laugh": ("AU_6", "AU_12", "AU_25", "AU_26"),
    "surprise": ("AU_1", "AU_2", "AU_5", "AU_25", "AU_26"),
    "anger": ("AU_4", "AU_5", "AU_17"),
    "sadness": ("AU_1", "AU_4", "AU_15"),
    "disgust": ("AU_6", "AU_9", "AU_15"),
    "fear": ("AU_1", "AU_2", "AU_4", "AU_5", "AU_20", "AU_25", "AU_26"),
    "doubt": ("AU_15", "AU_17"),
    "grimace": ("AU_6", "AU_20", "AU_25"),
    "agape": ("AU_25", "AU_26"),
    "sneer": ("AU_9", "AU_25"),
}
_ONE_SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeSquint", "eyeWide", "mouthFrown",
    "mouthLowerDown", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip

#: A concept counts as seen in an image from this share of its pixels on.
MIN_SHARE = 0.0008


def get_concept(name):
    """A local concept by its full name.

    Raises
    ------
    InputError
        Unknown name; names are matched whole, so that "AU_1" is never "AU_12".
    """
    if name not in CONCEPTS:
        raise InputError(f"there is no concept {name!r}: choose among {', '.join(CONCEPTS)}.")
    return CONCEPTS[name]


def expression_weights(units, strength=1.0):
    """Face units of a set of action units.

    Parameters
    ----------
    units : iterable of str
        Such as ``("AU_6", "AU_12")``.
    strength : float
        Factor of all weights.

    Returns
    -------
    dict of str -> float
        Names of the mesh's face units (without ``unit/``), left and right written out, and of
        ``expression/`` targets; of two action units that share one the stronger counts.
    """
    out = {}
    for unit in units:
        for name, weight in ACTION_UNITS[get_concept(unit).name].items():
            for full in (name + "Left", name + "Right") if name in _ONE_SIDED else (name,):
                out[full] = max(out.get(full, 0.0), weight * strength)
    return out


def concept_ellipse(name, landmarks, shape, *, level=LEVEL):
    """The published mask of a concept: the union of its landmarks' ellipses.

    Of several groups, one of which fewer than half the landmarks are visible is left out, so that
    the far side of a turned head has no mask; where all are hidden (by a beard, say), all count.

    Parameters
    ----------
    name : str
    landmarks : array (68, 3)
        x, y in pixels, visibility.
    shape : tuple (height, width)
    level : float

    Returns
    -------
    ndarray of bool (height, width)
    """
    groups = [np.asarray(landmarks)[list(group)] for group in get_concept(name).landmarks]
    seen = [points for points in groups if np.mean(points[:, 2] > 0.5) >= 0.5]
    mask = np.zeros(shape, bool)
    for points in seen or groups:
        known = points[np.isfinite(points[:, :2]).all(axis=1), :2]
        if len(known) >= 2:
            mask |= ellipse_mask(known, shape, level=level)
    return mask
