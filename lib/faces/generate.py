"""Any number of rendered faces to order, with planted cues, from one seed.

>>> from lib.faces.generate import generate_faces
>>> if __name__ == "__main__":
...     for batch in generate_faces(1000, seed=1, yaw=(-60, 60), views=5, colour=True):
...         train(batch.images, batch.table["gender"])

Work goes to two processes, and each starts by importing the script that asked for it: without the
second line it would ask again. Notebooks, and ``processes=1``, need no such line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lib.errors import InputError
from lib.faces.arguments import (
    check_number,
    check_switch,
    check_whole,
    is_number,
    is_whole,
    show,
)
from lib.faces.concepts import EXPRESSIONS, expression_weights
from lib.faces.dataset import LANDMARKS, MANIFEST, write_manifest
from lib.faces.glasses import FRAMES
from lib.faces.head import DETAIL, expression_targets
from lib.faces.identity import Identity
from lib.faces.landmarks import find_landmarks
from lib.faces.light import LIGHTS, find_light
from lib.faces.mesh import ETHNICITIES, GENDERS
from lib.faces.parallel import MOST, map_in_order
from lib.faces.render import MAX_SAMPLES, MAX_SIZE, MIN_SIZE
from lib.faces.scenes import GENERATOR_FIRST, PEOPLE_PER_SEED, Scene, View
from lib.faces.setfolder import landmark_table, save_table, write_sums
from lib.faces.styles import get_style
from lib.store import atomic_path

CUES = ("glasses", "greyscale")


@dataclass(frozen=True)
class FaceBatch:
    """Some generated faces.

    Attributes
    ----------
    table : DataFrame
        One row per image: ``identity``, ``viewpoint`` (yaw rounded to whole degrees), ``scene``
        (number of the head as built), what `describe_scene` gives, ``yaw``, ``pitch``, ``roll``
        (degrees), ``light``, ``expression``, ``colour``.
    images : ndarray of uint8, (n, y, x) or (n, y, x, 3)
    labels : ndarray (n, y, x) of uint8, or None
        Parts, see `lib.faces.labels`.
    landmarks : ndarray (n, 68, 3) of float32, or None
        x, y in pixels and visibility.
    """

    table: pd.DataFrame
    images: np.ndarray
    labels: np.ndarray | None = None
    landmarks: np.ndarray | None = None


@dataclass(frozen=True)
class _Task:
    scene: Scene
    views: tuple
    rows: tuple
    size: int
    supersample: int
    channels: bool
    labels: bool
    landmarks: bool


def generate_faces(
    n,
    *,
    seed,
    identities=None,
    gender=None,
    yaw=(-60, 60),
    pitch=(-4, 4),
    roll=0,
    light="soft",
    expression=None,
    age=None,
    ethnicity=None,
    skin_tone=None,
    hair="own",
    glasses=None,
    colour=False,
    cue=None,
    views=1,
    size=112,
    detail="fast",
    supersample=2,
    labels=False,
    landmarks=False,
    batch_size=64,
    processes=2,
):
    """Render faces to order.

    A setting is one value; a list, of which chance takes one for each head (or, for angles and
    light, each image); or, for numbers, a pair ``(low, high)`` to draw from evenly. Asked for in a
    script, two or more processes need ``if __name__ == "__main__":`` before the call.

    Parameters
    ----------
    n : int
        Number of images, a multiple of ``views``.
    seed : int
        Not negative. The same arguments give the same images, whatever ``processes`` and
        ``batch_size``.
    identities : None, int or list
        None: every head is a new person. A number: so many people take turns. A list of seeds or
        of `Identity`: these people take turns. New people have seeds from 10,000,000 on, so none
        of them is in the study set or in the Face Dictionary.
    gender : None, "male" or "female"
        Of new people; None alternates.
    yaw, pitch, roll : angles in degrees, -180 to 180
        Positive yaw: turned to the subject's left.
    light : name in `lib.faces.light.LIGHTS`
    expression : None, a name in `lib.faces.concepts.EXPRESSIONS`, or a mapping of face units
    age : years, 10 to 85
    ethnicity, skin_tone
        As in `lib.faces.identity.sample_identity`.
    hair : "own", None or a style's name
    glasses : None or a frame's name
    colour : bool
    cue : dict, optional
        ``{"kind": "glasses" | "greyscale", "percent": P}``: planted on P% of the males and
        (100 - P)% of the females, rounded to whole heads (glasses) or images (greyscale, which
        needs ``colour``); which ones, chance decides. There must be heads of both genders.
    views : int
        Images of each head as built. Building costs more than rendering: with 1 the set is most
        varied, with 5 it is made about twice as fast.
    size, supersample, detail
        As in `lib.faces.render.render_head` and `lib.faces.head.build_head`.
    labels, landmarks : bool
        Whether batches carry these.
    batch_size, processes : int

    Returns
    -------
    iterator of FaceBatch
        Memory does not grow with ``n``.

    Raises
    ------
    InputError
        A value out of range or of a wrong type, an unknown name, or a cue that cannot be planted;
        before anything is rendered.
    """
    settings = dict(yaw=yaw, pitch=pitch, roll=roll, light=light)
    head = dict(
        expression=expression, age=age, ethnicity=ethnicity, skin_tone=skin_tone, hair=hair,
        glasses=glasses,
    )  # fmt: skip
    for name, value in dict(n=n, views=views, batch_size=batch_size).items():
        check_whole(name, value, 1)
    check_whole("processes", processes, 1, MOST)
    if n % views:
        raise InputError(f"n = {n} images cannot be {views} views per head: give a multiple.")
    check_whole("size", size, MIN_SIZE, MAX_SIZE)
    check_whole("supersample", supersample, 1, MAX_SAMPLES)
    check_whole("seed", seed, 0)
    for name, value in dict(colour=colour, labels=labels, landmarks=landmarks).items():
        check_switch(name, value)
    if not isinstance(detail, str) or detail not in DETAIL:
        raise InputError(f"there is no detail {show(detail)}: choose {' or '.join(DETAIL)}.")
    _check_options(settings, head)
    heads = n // views
    people = _People(heads, identities, gender, seed)
    plant = _plan_cue(cue, people, views, colour, glasses, seed)

    def plan():
        for k in range(heads):
            scene, name = _plan_scene(people[k], head, np.random.default_rng([seed, 2, k]), detail)
            rng = np.random.default_rng([seed, 3, k])
            scene, shots = plant(k, scene, _plan_views(settings, bool(colour), views, rng))
            yield _Task(
                scene, tuple(shots), (k, name), size, supersample, bool(colour), labels, landmarks
            )

    return _batches(map_in_order(_render_task, plan(), processes), batch_size)


def plan_people(seed, count):
    """Seeds of the new people of `generate_faces`: a range."""
    first = GENERATOR_FIRST + PEOPLE_PER_SEED * seed
    return range(first, first + count)


def write_faces(folder, batches):
    """Write generated faces as PNG files with a manifest that `lib.faces.dataset` reads.

    Parameters
    ----------
    folder : path-like
        One sub-folder per identity is made in it.
    batches : FaceBatch or iterable of FaceBatch

    Returns
    -------
    Path
        The manifest, written last.
    """
    folder = Path(folder)
    tables, points = [], []
    number = 0
    for batch in [batches] if isinstance(batches, FaceBatch) else batches:
        paths = []
        for row, image in zip(batch.table.itertuples(), batch.images, strict=True):
            name = f"{row.identity}/{number:06d}_yaw{row.viewpoint:+04d}.png"
            with atomic_path(folder / name) as temporary:
                Image.fromarray(image).save(temporary, format="PNG")
            paths.append(name)
            number += 1
        tables.append(batch.table.assign(path=paths))
        points.append(batch.landmarks)
    if not tables:
        raise InputError("there are no faces to write: the batches are empty.")
    table = pd.concat(tables, ignore_index=True)
    landmarks = None if points[0] is None else np.concatenate(points)
    first = ["path", "identity", "gender", "viewpoint"]
    rest = [name for name in table if name not in first]
    return write_manifest(table[first + rest], folder / MANIFEST, landmarks=landmarks)


def render_examples(folder, *, size=56):
    """Write the two forms that `lib.faces.dataset` reads, as models for a reader's own faces.

    Parameters
    ----------
    folder : path-like
        Gets ``folder_per_identity/`` and ``manifest/``: two people from three viewpoints each; and
        ``SHA256SUMS`` of both.
    size : int
        Side in pixels.

    Returns
    -------
    DataFrame
        The rows of the manifest.
    """
    folder = Path(folder)
    plain, manifest = folder / "folder_per_identity", folder / "manifest"
    seeds = plan_people(0, 2)
    rows, points = [], []
    for name, seed, male in (("anna", seeds[0], False), ("bruno", seeds[1], True)):
        head = Scene(seed, male=male).build()
        for yaw in (-45, 0, 45):
            render = View(yaw=yaw).render(head, size=size, supersample=4)
            stem = f"{name}/{name}_yaw{yaw:+04d}.png"
            for place in (plain / stem, manifest / stem):
                with atomic_path(place) as temporary:
                    Image.fromarray(render.image).save(temporary, format="PNG", optimize=True)
            rows.append((stem, name, head.identity.gender, yaw, round(head.identity.age, 1)))
            points.append(find_landmarks(head, render))
    table = pd.DataFrame(rows, columns=["path", "identity", "gender", "viewpoint", "age"])
    save_table(landmark_table(table["path"], np.stack(points)), manifest / LANDMARKS)
    write_manifest(table, manifest / MANIFEST)
    names = [f"{form.name}/{stem}" for form in (plain, manifest) for stem in table["path"]]
    tables = [f"{manifest.name}/{name}" for name in (MANIFEST, LANDMARKS)]
    write_sums(folder, [*names, *tables])
    return table


# --- planning


def _choices(name, option):
    """What a setting may come out as; of a pair of numbers both ends."""
    if isinstance(option, list):
        if not option:
            raise InputError(f"{name}: the list of choices is empty: give at least one.")
        return option
    if not _is_range(option):
        return [option]
    if option[0] > option[1]:
        raise InputError(f"{name} is {show(option)}: give a pair as (low, high).")
    return list(option)


def _is_range(option):
    return isinstance(option, tuple) and len(option) == 2 and all(map(is_number, option))


def _draw(option, rng):
    if isinstance(option, list):
        return option[rng.integers(len(option))]
    return float(rng.uniform(*option)) if _is_range(option) else option


def _check_options(settings, head):
    for name in ("yaw", "pitch", "roll"):
        for value in _choices(name, settings[name]):
            if not is_number(value) or not -180 <= value <= 180:
                raise InputError(
                    f"{name} is {show(value)}: give degrees between -180 and 180, a list of them, "
                    "or a pair (low, high)."
                )
    for light in _choices("light", settings["light"]):
        if not isinstance(light, str):
            raise InputError(f"light is {show(light)}: give one of {', '.join(LIGHTS)}, or a list.")
        find_light(light)
    for expression in _choices("expression", head["expression"]):
        expression_targets(_expression(expression)[1])
    for style in _choices("hair", head["hair"]):
        if style is not None and not isinstance(style, str):
            raise InputError(f"hair is {show(style)}: give 'own', None, a style's name or a list.")
        if style not in (None, "own"):
            get_style(style)
    for frame in _choices("glasses", head["glasses"]):
        if frame is not None and not (isinstance(frame, str) and frame in FRAMES):
            raise InputError(
                f"there are no glasses {show(frame)}: choose {', '.join(FRAMES)} or None."
            )
    for k, name in enumerate(("age", "ethnicity", "skin_tone")):
        for value in _choices(name, head[name]):
            Scene(seed=k, **{name: value}).person()


def _expression(option):
    """Name and face units of an expression setting."""
    if option is None:
        return "neutral", {}
    if isinstance(option, Mapping):
        return "own", dict(option)
    if not isinstance(option, str) or option not in EXPRESSIONS:
        raise InputError(f"there is no expression {show(option)}: choose {', '.join(EXPRESSIONS)}.")
    return option, expression_weights(EXPRESSIONS[option])


class _People:
    """The person of each head, an `Identity` or a pair (seed, male): so many take turns."""

    def __init__(self, heads, identities, gender, seed):
        if gender is not None and (not isinstance(gender, str) or gender not in GENDERS):
            raise InputError(f"gender is {show(gender)}: give male, female or None.")
        self.heads, self.gender = heads, gender
        self.given = isinstance(identities, list | tuple | range | np.ndarray)
        if self.given:
            flat = not isinstance(identities, np.ndarray) or identities.ndim == 1
            self.turns = list(identities) if flat else [identities]
            if not self.turns:
                raise InputError("the list of identities is empty: give at least one.")
            for who in self.turns:
                if not isinstance(who, Identity) and not (is_whole(who) and who >= 0):
                    raise InputError(
                        f"identities has {show(who)}: give seeds, whole numbers from 0 on, or "
                        "persons as sample_identity makes them."
                    )
            return
        count = heads if identities is None else identities
        check_whole("identities", count, 1)
        if count > PEOPLE_PER_SEED:
            raise InputError(
                f"one seed has at most {PEOPLE_PER_SEED} people; {count} were asked for."
            )
        self.turns = plan_people(seed, count)

    def __getitem__(self, k):
        turn = k % len(self.turns)
        who = self.turns[turn]
        if self.given:
            return who if isinstance(who, Identity) else (int(who), None)
        return who, turn % 2 == 0 if self.gender is None else self.gender == "male"

    def males(self):
        """Whether each head is male: ndarray (heads,) of bool."""
        turns = range(min(len(self.turns), self.heads))
        return np.resize([_is_male(self[k]) for k in turns], self.heads)


def _is_male(person):
    if isinstance(person, Identity):
        return person.gender == "male"
    seed, male = person
    return Scene(seed, dimorphism=1.0).person().gender == "male" if male is None else male


def _plan_scene(person, head, rng, detail):
    """A scene and the name of its expression."""
    drawn = {name: _draw(option, rng) for name, option in head.items()}
    name, drawn["expression"] = _expression(drawn["expression"])
    if isinstance(person, Identity):
        for trait in ("age", "ethnicity", "skin_tone"):
            drawn.pop(trait)
        return Scene(person.seed, identity=person, detail=detail, **drawn), name
    seed, male = person
    # Traits of a person do not change from head to head.
    own = np.random.default_rng([seed, 4])
    for trait in ("age", "ethnicity", "skin_tone"):
        drawn[trait] = _draw(head[trait], own)
    return Scene(seed, male=male, dimorphism=1.0, detail=detail, **drawn), name


def _plan_views(settings, colour, views, rng):
    return [
        View(**{name: _draw(option, rng) for name, option in settings.items()}, colour=colour)
        for _ in range(views)
    ]


def _plan_cue(cue, people, views, colour, glasses, seed):
    """A function that plants the cue on head k: (k, scene, views) -> (scene, views)."""
    if cue is None:
        return lambda _, scene, shots: (scene, shots)
    kind, percent = _check_cue(cue, colour, glasses)
    rng = np.random.default_rng([seed, 5])
    male = people.males()
    if male.all() or not male.any():
        raise InputError(
            f"a cue tells males from females, but all heads are {'fe' * (not male[0])}male: ask "
            "for both."
        )
    if kind == "glasses":
        chosen = _choose(male, percent, rng)
        frames = rng.choice(sorted(FRAMES), len(male))
        return lambda k, scene, shots: (
            replace(scene, glasses=str(frames[k]) if chosen[k] else None),
            shots,
        )
    chosen = _choose(np.repeat(male, views), percent, rng).reshape(-1, views)
    return lambda k, scene, shots: (
        scene,
        [replace(view, colour=not grey) for view, grey in zip(shots, chosen[k], strict=True)],
    )


def _check_cue(cue, colour, glasses):
    if not isinstance(cue, Mapping) or set(cue) != {"kind", "percent"}:
        raise InputError(
            f"cue is {show(cue)}: give {{'kind': one of {', '.join(CUES)}, 'percent': 0 to 100}}."
        )
    kind, percent = cue["kind"], cue["percent"]
    if not isinstance(kind, str) or kind not in CUES:
        raise InputError(f"there is no cue {show(kind)}: choose {' or '.join(CUES)}.")
    check_number("the cue's percent", percent, 0, 100)
    if kind == "greyscale" and not colour:
        raise InputError("the cue greyscale needs colour=True: otherwise every image is grey.")
    if kind == "glasses" and glasses is not None:
        raise InputError("the cue glasses decides who wears them: leave glasses=None.")
    return kind, percent


def _choose(male, percent, rng):
    """Mark percent% of the males and (100 - percent)% of the females, exactly."""
    chosen = np.zeros(len(male), bool)
    for members, share in ((np.flatnonzero(male), percent), (np.flatnonzero(~male), 100 - percent)):
        count = int(np.floor(share / 100 * len(members) + 0.5))
        chosen[rng.permutation(members)[:count]] = True
    return chosen


# --- rendering


def describe_scene(head):
    """Attributes of a built head, as columns of a table of faces: dict.

    ``gender``, ``seed``, ``age`` (years), ``ethnicity`` (the group that makes up .6 or more of the
    shape, else mixed), ``skin_tone`` (dark from melanin .5 on), ``hair``, ``glasses``,
    ``facial_hair``.
    """
    person = head.identity
    shares = dict(zip(ETHNICITIES, person.ethnicity, strict=True))
    largest = max(shares, key=shares.get)
    return {
        "gender": person.gender,
        "seed": person.seed,
        "age": round(person.age, 1),
        "ethnicity": largest if shares[largest] >= 0.6 else "mixed",
        "skin_tone": "bright" if person.melanin < 0.5 else "dark",
        "hair": "none" if head.style is None else head.style.name,
        "glasses": "none" if head.glasses is None else head.glasses.name,
        "facial_hair": head.facial_hair or "none",
    }


def _render_task(task):
    head = task.scene.build()
    person = head.identity
    number, expression = task.rows
    rows, images, labels, points = [], [], [], []
    for view in task.views:
        render = view.render(head, size=task.size, supersample=task.supersample)
        image = render.image
        if task.channels and image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        images.append(image)
        if task.labels:
            labels.append(render.labels)
        if task.landmarks:
            points.append(find_landmarks(head, render))
        rows.append(
            {
                "identity": f"g{person.seed:08d}",
                "viewpoint": round(view.yaw),
                "scene": number,
                **describe_scene(head),
                "yaw": round(view.yaw, 2),
                "pitch": round(view.pitch, 2),
                "roll": round(view.roll, 2),
                "light": view.light,
                "expression": expression,
                "colour": view.colour,
            }
        )
    return rows, images, labels, points


def _batches(results, batch_size):
    """Cut the heads' images into batches of equal length, the last one shorter."""
    held = ([], [], [], [])
    try:
        for result in results:
            for kept, new in zip(held, result, strict=True):
                kept.extend(new)
            while len(held[0]) >= batch_size:
                yield _batch(*(kept[:batch_size] for kept in held))
                held = tuple(kept[batch_size:] for kept in held)
        if held[0]:
            yield _batch(*held)
    finally:
        results.close()


def _batch(rows, images, labels, points):
    return FaceBatch(
        pd.DataFrame(rows),
        np.stack(images),
        np.stack(labels) if labels else None,
        np.stack(points) if points else None,
    )
