"""The concepts of the Face Dictionary: 38 local ones and four groups of non-local ones.

Names, kinds and regions are those of the released Hierarchical Network Dissection (Teotia,
Lapedriza, Ostadabbas 2022, arXiv 2108.10360). Which landmarks make a concept's ellipse, and which
pixels its exact mask, is not printed there. The landmarks here were chosen, concept by concept, so
that the ellipses overlap the exact masks of 64 rendered faces well; some places (cheek, bags, the
skin under the chin) have no landmark near, and no ellipse of the 68 fits them.

"Left" and "right" are the subject's.
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from lib.errors import InputError
from lib.faces.ellipse import LEVEL, ellipse_mask
from lib.faces.hair import brow_paint, facial_hair_paint
from lib.faces.identity import attribute_morphs
from lib.faces.labels import PARTS
from lib.faces.landmarks import MIRROR
from lib.faces.mesh import apply_morphs, load_mesh

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
            "Mustache": ("mouth", ((32, 33, 34, 50, 52),)),
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
#: Expressions as sets of action units; together they use each of the twelve at least twice.
EXPRESSIONS = {
    "neutral": (),
    "smile": ("AU_6", "AU_12"),
    "laugh": ("AU_6", "AU_12", "AU_25"),
    "surprise": ("AU_1", "AU_2", "AU_5", "AU_25", "AU_26"),
    "anger": ("AU_4", "AU_5"),
    "sadness": ("AU_1", "AU_4", "AU_15", "AU_17"),
    "disgust": ("AU_9", "AU_15", "AU_17"),
    "fear": ("AU_1", "AU_2", "AU_4", "AU_5", "AU_20", "AU_25", "AU_26"),
    "doubt": ("AU_15", "AU_17"),
    "grimace": ("AU_20", "AU_25"),
    "agape": ("AU_25", "AU_26"),
    "sneer": ("AU_9", "AU_25"),
}
_ONE_SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeSquint", "eyeWide", "mouthFrown",
    "mouthLowerDown", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip

#: A pixel moves with an action unit or a shape where its displacement exceeds this share of the
#: largest one anywhere on the head.
MOVES = 0.35
#: A concept counts as seen in an image from this share of its pixels on.
MIN_SHARE = 0.0008

# Canonical x, y and radii (dm) of the blush on a cheek.
_BLUSH = ((0.42, -0.30), (0.17, 0.15))
# Named shapes whose displacement marks the place of an attribute.
_SHAPES = {
    "Bags_Under_Eyes": "eye_bags",
    "Double_Chin": "double_chin",
    "High_Cheekbones": "high_cheekbones",
}


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


def concepts_of_region(region):
    """Names of the concepts of one region, in the order of `CONCEPTS`."""
    if region not in REGIONS:
        raise InputError(f"there is no region {region!r}: choose among {', '.join(REGIONS)}.")
    return [name for name, concept in CONCEPTS.items() if concept.region == region]


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


class ExactMasks:
    """Exact masks of all concepts in one rendered image.

    Parameters
    ----------
    render : lib.faces.render.Render
        A picture with its buffers.
    head : lib.faces.head.Head
        What it shows.
    """

    def __init__(self, render, head):
        self.labels, self.side, self.lens = render.labels, render.side, render.lens
        self.brow, self.facial_hair = head.identity.brow, head.facial_hair
        self.skin = np.isfinite(render.canonical[..., 0])
        self.canonical, self._away = render.canonical, np.full(self.labels.shape, np.inf)
        if self.skin.any():
            # Eyes, lashes, brows, beard and teeth take the place of the nearest skin.
            self._away, nearest = distance_transform_edt(~self.skin, return_indices=True)
            self.canonical = render.canonical[nearest[0], nearest[1]]

    def mask(self, name):
        """Pixels that make up a concept if the face carries it: ndarray (y, x) of bool."""
        concept = get_concept(name)
        if concept.kind == "action unit":
            return self._moved(action_unit_field(name))
        if name in _SHAPES:
            return self._moved(shape_field(_SHAPES[name]))
        if name.startswith(("left_", "right_")):
            side, part = name.split("_")
            return getattr(self, "_" + part)() & (self.side == (1 if side == "left" else -1))
        return getattr(self, "_" + _ATTRIBUTE_MASKS[name])()

    def _parts(self, *names):
        return np.isin(self.labels, [PARTS[name] for name in names])

    @functools.cached_property
    def _on_mesh(self):
        """Pixels of the head, and the vertices around each with their weights."""
        head = ~self._parts("background", "hair", "cloth", "glasses") & np.isfinite(self._away)
        distance, vertex = _canonical_tree().query(self.canonical[head], 3)
        weight = 1 / np.maximum(distance, 1e-6)
        return head, vertex, weight / weight.sum(axis=1, keepdims=True)

    def _moved(self, displacement):
        head, vertex, weight = self._on_mesh
        out = np.zeros(self.labels.shape, bool)
        out[head] = (displacement[vertex] * weight).sum(axis=1) > MOVES
        return out

    def _eye(self):
        return self._parts("eye", "eyelid", "lash")

    def _eyebrow(self):
        painted = (brow_paint(self.canonical, self.brow) > 0.5) & self.skin
        return self._parts("brow") | painted

    def _cheek(self):
        return self._parts("cheek")

    def _nose(self):
        return self._parts("nose")

    def _lips(self):
        return self._parts("lips")

    def _mouth(self):
        return self._parts("lips", "mouth")

    def _smile(self):
        return self._mouth() | self._moved(action_unit_field("AU_12"))

    def _hairy(self, kind):
        """Skin on which a kind of facial hair grows, and the hairs themselves."""
        painted = facial_hair_paint(self.canonical, kind) > 0.5
        hairs = self._parts("beard")
        if self.facial_hair not in (kind, "stubble" if kind == "beard" else kind):
            hairs &= painted
        return (painted & self.skin & ~self._parts("lips")) | hairs

    def _beard(self):
        return self._hairy("beard")

    def _goatee(self):
        return self._hairy("goatee")

    def _moustache(self):
        return self._hairy("moustache")

    def _blush(self):
        (x, y), (width, height) = _BLUSH
        at = (np.abs(self.canonical[..., 0]) - x) / width, (self.canonical[..., 1] - y) / height
        return self._parts("cheek", "skin") & (at[0] ** 2 + at[1] ** 2 < 1)

    def _glasses(self):
        return self._parts("glasses") | self.lens


_ATTRIBUTE_MASKS = {
    "nose": "nose",
    "mouth": "mouth",
    "5_o_Clock_Shadow": "beard",
    "Arched_Eyebrows": "eyebrow",
    "Big_Lips": "lips",
    "Big_Nose": "nose",
    "Bushy_Eyebrows": "eyebrow",
    "Eyeglasses": "glasses",
    "Goatee": "goatee",
    "Mouth_Slightly_Open": "mouth",
    "Mustache": "moustache",
    "Narrow_Eyes": "eye",
    "No_Beard": "beard",
    "Pointy_Nose": "nose",
    "Rosy_Cheeks": "blush",
    "Smiling": "smile",
    "Wearing_Lipstick": "lips",
}


@functools.cache
def _canonical_tree():
    return cKDTree(load_mesh().canonical)


def _field(weights):
    mesh = load_mesh()
    moved = (apply_morphs(weights) - apply_morphs({}))[: mesh.stencil.shape[1]]
    length = np.linalg.norm(mesh.stencil @ moved, axis=1)
    return length / length.max()


@functools.cache
def action_unit_field(name):
    """How far an action unit moves each vertex, as a share of the largest: ndarray (n,)."""
    weights = expression_weights([name])
    return _field({k if "/" in k else "unit/" + k: w for k, w in weights.items()})


@functools.cache
def shape_field(name):
    """How far a named shape attribute moves each vertex, as a share of the largest."""
    return _field(attribute_morphs({name: 1.0}))
