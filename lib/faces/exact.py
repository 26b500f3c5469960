"""Exact masks of the concepts in a rendered face, beside the published ellipses.

Which pixels make up a concept is not printed in Teotia, Lapedriza, Ostadabbas 2022: here a part or
an attribute is where the renderer put it, and an action unit is the skin that it moves.
"""

import functools

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from lib.faces.concepts import expression_weights, get_concept
from lib.faces.hair import brow_paint, facial_hair_paint
from lib.faces.identity import attribute_morphs
from lib.faces.labels import PARTS
from lib.faces.mesh import apply_morphs, load_mesh

#: A pixel moves with an action unit or a shape where its displacement exceeds this share of the
#: largest one anywhere on the head.
MOVES = 0.35

# Canonical x, y and radii (dm) of the blush on a cheek.
_BLUSH = ((0.42, -0.30), (0.17, 0.15))
# Named shapes whose displacement marks the place of an attribute.
_SHAPES = {
    "Bags_Under_Eyes": "eye_bags",
    "Double_Chin": "double_chin",
    "High_Cheekbones": "high_cheekbones",
}


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
