"""The rendered Face Dictionary: the design of who carries what, and its rendering.

After Teotia, Lapedriza, Ostadabbas 2022 (arXiv 2108.10360, section 3), with rendered faces in
place of photographs. What the folder holds is described in `lib.faces.dictionary`, which reads it.
"""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, EXPRESSIONS, MIN_SHARE, NON_LOCAL, expression_weights
from lib.faces.dataset import LANDMARKS, MANIFEST
from lib.faces.dictionary import CODEBOOK, load_dictionary
from lib.faces.exact import ExactMasks
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
    save_codes,
    save_image,
    save_part,
    save_table,
)
from lib.faces.styles import get_brow
from lib.progress import track
from lib.store import atomic_path

#: Years that a group of ages is drawn from.
AGES = {"0-20": (12, 20), "20-40": (21, 39), "40-60": (41, 59), "60+": (61, 80)}

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
# Attributes that are another name for an action unit: they are on the same images, but with masks
# of their own.
_SAME_AS = {"Smiling": "AU_12", "Mouth_Slightly_Open": "AU_25"}
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
        carries |= {name for name, unit in _SAME_AS.items() if unit in carries}
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
