"""The Face Dictionary: faces that carry 38 local concepts, each with its masks.

After Teotia, Lapedriza, Ostadabbas 2022 (arXiv 2108.10360, section 3), with rendered faces in
place of photographs, so that every concept has an exact mask beside the published elliptical one.

`render_dictionary` writes into a folder, and `load_dictionary` reads (a reader's own may leave out
what is marked optional):

- images, named in ``manifest.csv`` (see `lib.faces.dataset`), with a column 0/1 for each concept
  the image carries, by its name in `lib.faces.concepts.CONCEPTS`; for the non-local concepts the
  columns ``age_group`` (or ``age`` in years), ``gender``, ``ethnicity`` and ``skin_tone``;
- ``landmarks.csv``: 68 points per image, of which the elliptical masks are computed on loading;
- optional: ``masks/``, one 16-bit PNG per image (column ``mask_path``) whose values are rows of
  ``codebook.csv``: which concepts' exact masks cover that pixel;
- optional: ``SHA256SUMS``.
"""

import json
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lib.errors import InputError
from lib.faces.concepts import (
    CONCEPTS,
    EXPRESSIONS,
    MIN_SHARE,
    NON_LOCAL,
    ExactMasks,
    concept_ellipse,
    expression_weights,
    get_concept,
)
from lib.faces.dataset import LANDMARKS, MANIFEST, FaceSet, load_faces
from lib.faces.ellipse import LEVEL, intersection_over_union
from lib.faces.generate import describe_scene
from lib.faces.glasses import FRAMES
from lib.faces.landmarks import find_landmarks
from lib.faces.parallel import map_in_order
from lib.faces.scenes import DICTIONARY_SEEDS, Scene, View
from lib.faces.setfolder import (
    claim,
    finish,
    has_part,
    landmark_table,
    load_part,
    read_numbers,
    save_codes,
    save_image,
    save_part,
    save_table,
)
from lib.faces.styles import get_brow
from lib.progress import track
from lib.store import atomic_path

CODEBOOK = "codebook.csv"
COLUMNS = ("age_group", "from_behind", "mask_path", *CONCEPTS)

#: Years that a group of ages is drawn from.
AGES = {"0-20": (12, 20), "20-40": (21, 39), "40-60": (41, 59), "60+": (61, 80)}
_AGE_BOUNDS = (20, 40, 60)

# Attributes with two levels, of which each image has about half.
_SHAPED = {
    "Bags_Under_Eyes": "eye_bags",
    "Big_Lips": "big_lips",
    "Big_Nose": "big_nose",
    "Double_Chin": "double_chin",
    "High_Cheekbones": "high_cheekbones",
    "Narrow_Eyes": "narrow_eyes",
    "Pointy_Nose": "pointy_nose",
}
FACTORS = (*_SHAPED, "Arched_Eyebrows", "Bushy_Eyebrows", "Eyeglasses", "Rosy_Cheeks")
#: Images of each of the 64 groups of people seen from the front, and from behind.
FRONT, BEHIND = 12, 2
_YAWS = (0, 0, 15, -15, 30, -30, 45, -45, 75, -75, 90, -90)
_YAWS_BEHIND = (150, -150, 180, 135, -135, 165, -165, 180)
_LIGHTS = ("soft", "soft", "soft", "soft", "front", "front", "front", "left", "left", "right",
           "right", "top")  # fmt: skip
# What grows on the faces of men over 20, and of boys from 17, in a group of twelve.
_BEARDS = (None, *["stubble"] * 4, *["goatee"] * 4, "moustache", "moustache", "beard")
_BEARDS_BOYS = (*[None] * 4, "stubble", "stubble", "goatee", "goatee", *["moustache"] * 4)
_BEARD_CONCEPTS = {
    "stubble": ("5_o_Clock_Shadow",),
    "goatee": ("Goatee",),
    "moustache": ("Mustache",),
    "beard": ("Mustache",),
}
_SMILES, _OPEN = ("smile", "laugh"), ("laugh", "grimace", "agape", "sneer")
_ALWAYS = tuple(name for name, concept in CONCEPTS.items() if concept.kind == "part")


@dataclass(frozen=True)
class DictionarySettings:
    """What the bytes of a rendered dictionary depend on.

    Attributes
    ----------
    images : int
        The first so many of the plan; a multiple of 64 keeps the non-local concepts balanced.
    size : int
        Side in pixels.
    seed : int
    supersample : int
    detail : str
    quality : int or None
        Of the WebP pictures, 0 to 100; None is lossless. The masks are exact in either case.
    """

    images: int = 64 * (FRONT + BEHIND)
    size: int = 224
    seed: int = 0
    supersample: int = 2
    detail: str = "fast"
    quality: int | None = 95


@dataclass(frozen=True)
class Entry:
    """One planned image of the dictionary.

    Attributes
    ----------
    scene : Scene
    view : View
    groups : dict of str -> str
        Group in each non-local concept.
    carries : tuple of str
        Local concepts the face was given.
    expression : str
    """

    scene: Scene
    view: View
    groups: dict
    carries: tuple
    expression: str


def plan_dictionary(seed=0, detail="fast"):
    """Who carries what: the design of the rendered dictionary.

    All 4 x 2 x 4 x 2 combinations of age, gender, ethnicity and skin tone occur equally often. Of
    the twelve images from the front of each, the eleven attributes of `FACTORS` follow a
    Plackett-Burman design (each is on in six, and any two are independent), the twelve expressions
    and viewpoints occur once each; facial hair is dealt out among men, lipstick among women. Two
    more are seen from behind and carry no local concept.

    Parameters
    ----------
    seed : int
    detail : str
        See `lib.faces.head.build_head`.

    Returns
    -------
    list of Entry
        Ordered so that any 64 in a row from a multiple of 64 on hold each combination once.
    """
    cells = [
        dict(zip(NON_LOCAL, values, strict=True))
        for values in np.array(np.meshgrid(*NON_LOCAL.values(), indexing="ij")).reshape(4, -1).T
    ]
    blocks = [
        _plan_cell(cell, np.random.default_rng([seed, 7, k]), detail)
        for k, cell in enumerate(cells)
    ]
    seeds = iter(DICTIONARY_SEEDS[(FRONT + BEHIND) * len(cells) * seed :])
    plan = [block[turn] for turn in range(FRONT + BEHIND) for block in blocks]
    return [replace(entry, scene=replace(entry.scene, seed=next(seeds))) for entry in plan]


def plackett_burman():
    """The twelve-run design of Plackett and Burman (1946): ndarray (12, 11) of bool.

    Each column is on in six rows, and any two columns take their four combinations equally often.
    """
    first = np.array([1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0], bool)
    return np.vstack([*(np.roll(first, k) for k in range(11)), np.zeros(11, bool)])


def _plan_cell(cell, rng, detail):
    cell = {name: str(value) for name, value in cell.items()}
    design = plackett_burman()
    design = design[rng.permutation(FRONT)][:, rng.permutation(len(FACTORS))]
    male, young = cell["gender"] == "male", cell["age"] == "0-20"
    beards = (_BEARDS_BOYS if young else _BEARDS) if male else (None,) * FRONT
    beards = [beards[k] for k in rng.permutation(FRONT)]
    lipstick = rng.permutation(FRONT) < (0 if male else FRONT // 2)
    expressions = [list(EXPRESSIONS)[k] for k in rng.permutation(FRONT)]
    yaws, lights = rng.permutation(_YAWS), rng.permutation(_LIGHTS)
    entries = []
    for k in range(FRONT):
        given = {name for name, on in zip(FACTORS, design[k], strict=True) if on}
        low, high = AGES[cell["age"]]
        # No child wears a beard or lipstick.
        age = float(rng.uniform(17 if young and (beards[k] or lipstick[k]) else low, high))
        scene = Scene(
            0,
            male=male,
            age=age,
            ethnicity=cell["ethnicity"],
            skin_tone=cell["skin_tone"],
            attributes={
                _SHAPED[name]: float(rng.uniform(0.6, 0.95)) for name in _SHAPED if name in given
            },
            brow=_brow(given, rng),
            expression=expression_weights(
                EXPRESSIONS[expressions[k]], float(rng.uniform(0.75, 1.0))
            ),
            glasses=str(rng.choice(sorted(FRAMES))) if "Eyeglasses" in given else None,
            facial_hair=beards[k],
            lipstick=float(rng.uniform(0.7, 1.0)) if lipstick[k] else 0.0,
            rosy=float(rng.uniform(0.7, 1.0)) if "Rosy_Cheeks" in given else 0.0,
            detail=detail,
        )
        carries = given | set(EXPRESSIONS[expressions[k]]) | set(_ALWAYS)
        carries |= set(_BEARD_CONCEPTS.get(beards[k], ("No_Beard",)))
        carries |= {"Wearing_Lipstick"} if lipstick[k] else set()
        carries |= {"Smiling"} if expressions[k] in _SMILES else set()
        carries |= {"Mouth_Slightly_Open"} if expressions[k] in _OPEN else set()
        view = _view(yaws[k], lights[k], rng)
        entries.append(Entry(scene, view, cell, _ordered(carries), expressions[k]))
    for yaw in rng.choice(_YAWS_BEHIND, BEHIND, replace=False):
        age = float(rng.uniform(*AGES[cell["age"]]))
        scene = Scene(
            0,
            male=male,
            age=age,
            ethnicity=cell["ethnicity"],
            skin_tone=cell["skin_tone"],
            detail=detail,
        )
        entries.append(Entry(scene, _view(yaw, "soft", rng), cell, (), "neutral"))
    return entries


def _brow(given, rng):
    """A shape of the brows that is arched, bushy, both or neither."""
    arched, bushy = "Arched_Eyebrows" in given, "Bushy_Eyebrows" in given
    if arched and bushy:
        high = get_brow("arched")
        return replace(get_brow("bushy"), arch=high.arch, drop=high.drop, peak=high.peak)
    if arched or bushy:
        return get_brow("arched" if arched else "bushy")
    return get_brow(str(rng.choice(["natural", "thin", "straight"])))


def _view(yaw, light, rng):
    yaw, pitch = float(yaw) + rng.normal() * 1.5, rng.normal() * 2
    return View(yaw=yaw, pitch=pitch, light=str(light), colour=True)


def _ordered(names):
    return tuple(name for name in CONCEPTS if name in names)


# --- rendering


def render_dictionary(folder, *, processes=2, **settings):
    """Render the Face Dictionary, or what is still missing of it.

    Parameters
    ----------
    folder : path-like
    processes : int
    **settings
        Fields of `DictionarySettings` that shall differ from the shipped dictionary.

    Returns
    -------
    Dictionary

    Raises
    ------
    InputError
        A setting out of range, or a folder that holds something else.
    """
    folder = Path(folder)
    chosen = DictionarySettings(**settings)
    plan = plan_dictionary(chosen.seed, chosen.detail)
    if not 1 <= chosen.images <= len(plan):
        raise InputError(f"images is {chosen.images}: the plan has 1 to {len(plan)} images.")
    if claim(folder, chosen):
        return load_dictionary(folder)
    waiting = [k for k in range(chosen.images) if not has_part(folder, _name(k))]
    tasks = ((k, plan[k]) for k in waiting)
    work = map_in_order(partial(_render_entry, folder, chosen), tasks, processes)
    for _ in track(work, "images rendered", len(waiting)):
        pass
    _write_tables(folder, plan[: chosen.images])
    return load_dictionary(folder)


def _name(k):
    return f"face{k:04d}"


def _render_entry(folder, chosen, task):
    k, entry = task
    head = entry.scene.build()
    render = entry.view.render(head, size=chosen.size, supersample=chosen.supersample, buffers=True)
    exact = ExactMasks(render, head)
    cover = np.zeros((*render.labels.shape, len(CONCEPTS)), bool)
    for column, name in enumerate(CONCEPTS):
        if name in entry.carries:
            cover[..., column] = exact.mask(name)
            # Too little to be seen: the image does not carry the concept.
            if cover[..., column].mean() < MIN_SHARE:
                cover[..., column] = False
    rows, codes = np.unique(cover.reshape(-1, len(CONCEPTS)), axis=0, return_inverse=True)
    with atomic_path(folder / f"images/{_name(k)}.webp") as temporary:
        save_image(render.image, temporary, quality=chosen.quality)
    save_part(
        folder,
        _name(k),
        rows=rows,
        codes=codes.reshape(render.labels.shape).astype(np.uint16),
        points=find_landmarks(head, render),
        traits=np.array(json.dumps(describe_scene(head))),
    )


def _write_tables(folder, plan):
    book, records, points = {(False,) * len(CONCEPTS): 0}, [], []
    for k, entry in enumerate(track(plan, "masks written")):
        part = load_part(folder, _name(k))
        code = [book.setdefault(tuple(row), len(book)) for row in part["rows"].tolist()]
        with atomic_path(folder / f"masks/{_name(k)}.png") as temporary:
            save_codes(np.array(code, np.uint16)[part["codes"]], temporary)
        points.append(part["points"])
        traits = json.loads(str(part["traits"]))
        records.append(
            {
                "path": f"images/{_name(k)}.webp",
                "identity": f"d{traits['seed']}",
                "gender": entry.groups["gender"],
                "viewpoint": round((entry.view.yaw + 180) % 360 - 180, 1),
                "age_group": entry.groups["age"],
                **traits,
                "ethnicity": entry.groups["ethnicity"],
                "skin_tone": entry.groups["skin_tone"],
                "light": entry.view.light,
                "expression": entry.expression,
                "from_behind": int(abs(entry.view.yaw) > 120),
                "mask_path": f"masks/{_name(k)}.png",
                **dict(zip(CONCEPTS, part["rows"].any(axis=0).astype(int), strict=True)),
            }
        )
    table = pd.DataFrame(records)
    codebook = pd.DataFrame(list(book), columns=list(CONCEPTS)).astype(int)
    codebook.insert(0, "code", range(len(book)))
    save_table(codebook, folder / CODEBOOK)
    save_table(table, folder / MANIFEST)
    save_table(landmark_table(table["path"], np.stack(points)), folder / LANDMARKS)
    finish(folder, [MANIFEST, LANDMARKS, CODEBOOK, *table["path"], *table["mask_path"]])


# --- reading


@dataclass(frozen=True)
class Dictionary:
    """Faces with concepts and masks, on disk until asked for.

    Attributes
    ----------
    faces : FaceSet
    carries : DataFrame of bool, (n, concepts)
        Which local concepts each image carries; columns by name, those the manifest had.
    codebook : ndarray (codes, concepts) of bool, or None
        Concepts whose exact masks cover a pixel of that code.
    """

    faces: FaceSet
    carries: pd.DataFrame
    codebook: np.ndarray | None

    def __len__(self):
        return len(self.faces)

    @property
    def table(self):
        """One row per image: what `FaceSet.table` has, without the concepts' columns."""
        return self.faces.table.drop(columns=list(CONCEPTS), errors="ignore")

    @property
    def concepts(self):
        """Names of the local concepts that at least one image carries, in the usual order."""
        return [name for name in self.carries if self.carries[name].any()]

    @property
    def has_exact_masks(self):
        """Whether exact masks came with the dictionary."""
        return self.codebook is not None

    def images(self, index=None, size=None, colour=None):
        """Images as from `FaceSet.images`; the dictionary serves in colour and in grey."""
        return self.faces.images(index, size=size, colour=colour)

    def iter_batches(self, batch_size=64, *, index=None, size=None, colour=None):
        """Batches as from `FaceSet.iter_batches`."""
        return self.faces.iter_batches(batch_size, index=index, size=size, colour=colour)

    def has(self, concept):
        """Which images carry a local concept: ndarray (n,) of bool."""
        get_concept(concept)
        if concept not in self.carries:
            return np.zeros(len(self), bool)
        return self.carries[concept].to_numpy()

    def group(self, concept):
        """Group of each image in a non-local concept: ndarray (n,) of str, "" where unknown.

        Raises
        ------
        InputError
            No such non-local concept, or the manifest has no column for it.
        """
        if concept not in NON_LOCAL:
            raise InputError(
                f"there is no non-local concept {concept!r}: choose {', '.join(NON_LOCAL)}."
            )
        table = self.faces.table
        column = "age_group" if concept == "age" else concept
        if column in table:
            groups = table[column].fillna("").astype(str).to_numpy()
        elif concept == "age" and "age" in table:
            groups = np.array(NON_LOCAL["age"])[np.digitize(table["age"], _AGE_BOUNDS)]
            groups = np.where(table["age"].isna(), "", groups)
        else:
            raise InputError(f"{self.faces.root} has no column '{column}': add it to the manifest.")
        unknown = sorted(set(groups) - {"", *NON_LOCAL[concept]})
        if unknown:
            raise InputError(
                f"{self.faces.root}: '{unknown[0]}' is no group of {concept}: "
                f"use {', '.join(NON_LOCAL[concept])}."
            )
        return groups

    def mask(self, concept, i, size=None):
        """Exact mask of a concept in image i: ndarray (y, x) of bool, empty if not carried.

        ``size`` resizes it (nearest pixel) to a square of that side.

        Raises
        ------
        InputError
            The dictionary has no exact masks.
        """
        return self.masks(i, size)[..., list(CONCEPTS).index(get_concept(concept).name)]

    def masks(self, i, size=None):
        """Exact masks of all concepts in image i: ndarray (y, x, 38) of bool."""
        if self.codebook is None:
            raise InputError(
                f"{self.faces.root} has no exact masks ({CODEBOOK} and the column 'mask_path'): "
                "use ellipse_mask."
            )
        codes = read_numbers(self.faces.root, self.faces.table["mask_path"].iloc[i])
        if codes.max() >= len(self.codebook):
            raise InputError(
                f"the masks of image {i} in {self.faces.root} use a code that {CODEBOOK} lacks: "
                "restore the set."
            )
        if size is not None and codes.shape != (size, size):
            picture = Image.fromarray(codes.astype(np.int32))
            codes = np.array(picture.resize((size, size), Image.Resampling.NEAREST))
        return self.codebook[codes]

    def ellipse_mask(self, concept, i, size=None, level=LEVEL):
        """The published, elliptical mask of a concept in image i, computed from landmarks.

        Returns
        -------
        ndarray (y, x) of bool
            Empty if the image does not carry the concept.
        """
        size = self.faces.size if size is None else size
        shape = (
            tuple(self.faces.table[["height", "width"]].iloc[i]) if size is None else (size,) * 2
        )
        if not self.has(concept)[i]:
            return np.zeros(shape, bool)
        return concept_ellipse(concept, self.faces.landmarks([i], size)[0], shape, level=level)


def load_dictionary(path, *, size=None, colour=True):
    """Read a dictionary: the rendered one or a reader's own.

    Parameters
    ----------
    path : path-like
        Folder with ``manifest.csv`` and ``landmarks.csv``; see the module's description.
    size : int, optional
        Side in pixels that images and elliptical masks are brought to by default.
    colour : bool
        Whether images have three channels by default.

    Returns
    -------
    Dictionary

    Raises
    ------
    InputError
        No such folder, no manifest, no concept column, a value other than 0 and 1, no landmarks,
        or anything `load_faces` refuses.
    """
    if not os.path.isfile(path) and not os.path.isfile(os.path.join(path, MANIFEST)):
        found = f"has no {MANIFEST}" if os.path.isdir(path) else "does not exist"
        raise InputError(
            f"'{path}' {found}: a dictionary is a folder with a {MANIFEST}, which has a column "
            f"0/1 for each concept, a {LANDMARKS} and the images."
        )
    faces = load_faces(path, size=size, colour=colour, attributes=COLUMNS)
    named = [name for name in CONCEPTS if name in faces.table]
    if not named:
        raise InputError(
            f"'{path}' carries no concept: its manifest needs a column 0/1 for each, "
            f"such as {', '.join(list(CONCEPTS)[12:15])}."
        )
    faces.landmarks([0])
    values = faces.table[named]
    for name in named:
        if not values[name].isin([0, 1]).all():
            raise InputError(f"'{path}': the column '{name}' holds something other than 0 and 1.")
    codebook = None
    if "mask_path" in faces.table and (faces.root / CODEBOOK).is_file():
        codebook = _read_codebook(faces.root / CODEBOOK)
    return Dictionary(faces, values.astype(bool), codebook)


def _read_codebook(path):
    try:
        table = pd.read_csv(path, encoding="utf-8")
        wrong = [name for name in table if name != "code" and name not in CONCEPTS]
        if wrong or list(table["code"]) != list(range(len(table))):
            raise ValueError
        out = np.zeros((len(table), len(CONCEPTS)), bool)
        for column, name in enumerate(CONCEPTS):
            if name in table:
                out[:, column] = table[name].astype(int) == 1
    except (ValueError, KeyError, OSError, pd.errors.ParserError):
        raise InputError(
            f"'{path}' is no codebook: it needs the columns 'code' (0, 1, 2, ...) and the "
            "concepts' names with 0 and 1."
        ) from None
    return out


# --- description


def summarise_concepts(dictionary, *, level=LEVEL):
    """Each local concept: how many images carry it, and how far the ellipse is from the truth.

    Parameters
    ----------
    dictionary : Dictionary
    level : float
        Confidence level of the ellipses.

    Returns
    -------
    DataFrame
        ``concept``, ``kind``, ``region``, ``with``, ``without`` (images), and of the images that
        carry it the means of ``exact_area``, ``ellipse_area`` (shares of the image) and ``iou``
        (overlap of both); the last and the first are NaN without exact masks.
    """
    sums = np.zeros((len(CONCEPTS), 3))
    order = list(CONCEPTS)
    for i in track(range(len(dictionary)), "masks compared"):
        exact = dictionary.masks(i) if dictionary.has_exact_masks else None
        for k, name in enumerate(order):
            if not dictionary.has(name)[i]:
                continue
            ellipse = dictionary.ellipse_mask(name, i, level=level)
            sums[k, 1] += ellipse.mean()
            if exact is None:
                sums[k, [0, 2]] = np.nan
            else:
                if exact.shape[:2] != ellipse.shape:
                    exact = dictionary.masks(i, len(ellipse))
                sums[k, 0] += exact[..., k].mean()
                sums[k, 2] += intersection_over_union(exact[..., k], ellipse)
    carried = np.array([dictionary.has(name).sum() for name in order])
    means = sums / np.where(carried, carried, np.nan)[:, None]
    return pd.DataFrame(
        {
            "concept": order,
            "kind": [CONCEPTS[name].kind for name in order],
            "region": [CONCEPTS[name].region for name in order],
            "with": carried,
            "without": len(dictionary) - carried,
            "exact_area": means[:, 0],
            "ellipse_area": means[:, 1],
            "iou": means[:, 2],
        }
    )


def summarise_balance(dictionary):
    """Images in every combination of two groups of different non-local concepts.

    Returns
    -------
    DataFrame
        ``first``, ``first_group``, ``second``, ``second_group``, ``images``.
    """
    groups = {name: dictionary.group(name) for name in NON_LOCAL}
    rows = [
        (a, x, b, y, int(((groups[a] == x) & (groups[b] == y)).sum()))
        for k, a in enumerate(NON_LOCAL)
        for b in list(NON_LOCAL)[k + 1 :]
        for x in NON_LOCAL[a]
        for y in NON_LOCAL[b]
    ]
    return pd.DataFrame(rows, columns=["first", "first_group", "second", "second_group", "images"])
