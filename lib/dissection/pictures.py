"""Rendered people to learn from, and pictures of the same people with and without a planted cue.

The people are new ones: none of them is in the study set or in the Face Dictionary, nor among those
that the trunks were trained on.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib import dependencies, store
from lib.errors import InputError
from lib.faces.concepts import NON_LOCAL
from lib.faces.generate import generate_faces
from lib.faces.labels import PARTS
from lib.progress import track

#: What a network may learn.
TASKS = ("recognition", "gender", "age", "smile")
#: Cues of the controlled experiments.
KINDS = ("glasses", "greyscale")
#: Generator seeds of the first people; the trunks' people have seeds from 500 on.
FIRST_SEED, FIRST_PAIR_SEED = 600, 700
#: Years that end the first three of the four age groups.
AGE_BOUNDS = (20, 40, 60)
#: Ages of the people, years: as many in each group.
AGES = [
    float(age)
    for low, high in ((10, 19.5), (20.5, 39), (41, 59), (61, 85))
    for age in np.linspace(low, high, 20).round(1)
]
SMILES = ("smile", "laugh")
#: Half of the heads smile.
EXPRESSIONS = [*SMILES] * 4 + [
    *(None, None, "surprise", "anger", "sadness", "doubt", "agape", "sneer")
]
#: One head in ten wears glasses, where they are no cue.
GLASSES = [None] * 27 + ["round", "square", "oval"]
#: What chance draws the pictures from; angles in degrees, drawn evenly.
VARIETY = {
    "yaw": (-45.0, 45.0),
    "pitch": (-6.0, 6.0),
    "roll": (-4.0, 4.0),
    "light": ["soft", "soft", "front", "left", "right", "top", "flat"],
    "hair": "own",
    "age": AGES,
    "expression": EXPRESSIONS,
    "colour": True,
}
#: Weights of R, G, B in a grey level (ITU-R BT.601, as Pillow and the face sets).
LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Pictures:
    """Rendered faces to learn from.

    Attributes
    ----------
    images : ndarray of uint8, (n, y, x, 3)
        RGB.
    table : DataFrame
        One row per image: ``person`` (0 ..), ``scene`` (0 ..: a head of that person, with its own
        hair, expression and glasses), ``gender``, ``age`` (years), ``expression``, ``glasses``,
        ``yaw`` (degrees), ``light``.
    """

    images: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.images)


def render_pictures(
    people: int,
    *,
    scenes: int = 2,
    views: int = 2,
    size: int = 112,
    seed: int = 0,
    processes: int = 2,
) -> Pictures:
    """Render people of all ages, half of them male, half of the heads smiling.

    Parameters
    ----------
    people : int
        From 4 on; the genders take turns.
    scenes : int
        Heads of each person; one is kept to test recognition, so it takes 2.
    views : int
        Images of each head.
    size : int
        Side, pixels.
    seed : int
        Each seed has other people.
    processes : int
        The images do not depend on it.

    Returns
    -------
    Pictures
        people x scenes x views images.
    """
    if people < 4:
        raise InputError(f"people = {people} is refused: give at least 4, some of them to test.")
    batches = generate_faces(
        people * scenes * views,
        seed=FIRST_SEED + seed,
        identities=people,
        glasses=GLASSES,
        views=views,
        size=size,
        processes=processes,
        **VARIETY,
    )
    title, total = "faces to learn from, batches", -(-people * scenes * views // 64)
    parts = list(track(batches, title, total))
    table = make_table(pd.concat([batch.table for batch in parts], ignore_index=True), people)
    return Pictures(np.concatenate([batch.images for batch in parts]), table)


def make_table(generated: pd.DataFrame, people: int) -> pd.DataFrame:
    """The table of `Pictures` from that of the generator, where people take turns by the head."""
    head = generated["scene"]
    kept = ["seed", "gender", "age", "ethnicity", "expression", "glasses", "yaw", "light"]
    return generated[kept].assign(person=head % people, scene=head // people)


def load_pictures(folder: str | Path, people: int, **settings) -> Pictures:
    """The pictures of :func:`render_pictures`, kept in a folder for the next time."""
    return keep(
        folder,
        "pictures",
        {"people": people} | settings,
        lambda: render_pictures(people, **settings),
        Pictures,
    )


@dataclass(frozen=True)
class Pairs:
    """Every picture with and without a cue; everything else is equal.

    Attributes
    ----------
    plain : ndarray of uint8, (n, y, x, 3)
        In colour, without glasses.
    worn : ndarray of uint8, (n, y, x, 3)
        With glasses.
    mask : ndarray of bool, (n, y, x)
        Pixels of the glasses.
    table : DataFrame
        As that of `Pictures`.
    """

    plain: np.ndarray
    worn: np.ndarray
    mask: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def male(self) -> np.ndarray:
        """ndarray of bool, (n,)."""
        return (self.table["gender"] == "male").to_numpy()

    def cued(self, kind: str) -> np.ndarray:
        """The pictures with the cue: in ``glasses``, or the plain ones in ``greyscale``."""
        if kind not in KINDS:
            raise InputError(f"There is no cue {kind!r}{nearest(kind, KINDS)}.")
        return self.worn if kind == "glasses" else to_grey(self.plain)

    def pictures(self, seed: int = 0) -> Pictures:
        """Each picture once, half of those of either gender in glasses, to learn other tasks."""
        worn = plant_cue(self.male, 50, seed)
        images = np.where(worn[:, None, None, None], self.worn, self.plain)
        return Pictures(images, self.table.assign(glasses=np.where(worn, "worn", "none")))


def to_grey(images: np.ndarray) -> np.ndarray:
    """Colour images (n, y, x, 3) of uint8 with the grey level in all three channels."""
    grey = np.rint(images @ np.array(LUMINANCE, np.float32)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def plant_cue(male: np.ndarray, percent: float, seed: int = 0) -> np.ndarray:
    """Mark P% of the males' pictures and (100 - P)% of the females', exactly.

    Numbers are rounded half up. With one seed the marked pictures of one P contain those of a
    smaller one (males) or a larger one (females).

    Parameters
    ----------
    male : ndarray of bool, (n,)
    percent : float
        P, 50 to 100.
    seed : int
        Which pictures.

    Returns
    -------
    ndarray of bool, (n,)

    Raises
    ------
    InputError
        P out of range, no pictures, or pictures of one gender only.
    """
    male = np.asarray(male, bool)
    check_percent(percent)
    if not male.size:
        raise InputError("There are no people to plant a cue on; render some.")
    if male.all() or not male.any():
        raise InputError(
            f"All pictures are of {'males' if male[0] else 'females'}; a cue of gender needs both."
        )
    chosen = np.zeros(male.size, bool)
    for stream, (members, share) in enumerate(((male, percent), (~male, 100 - percent))):
        members = np.random.default_rng([seed, 40, stream]).permutation(np.flatnonzero(members))
        chosen[members[: int(np.floor(share / 100 * len(members) + 0.5))]] = True
    return chosen


def check_percent(percent: float) -> None:
    """Refuse a P outside 50 to 100."""
    number = isinstance(percent, int | float | np.number) and not isinstance(percent, bool)
    if not number or not 50 <= percent <= 100:
        raise InputError(
            f"P = {percent!r} is refused: give percent of the males from 50 (the cue says nothing) "
            "to 100 (it says all)."
        )


def render_pairs(
    people: int,
    *,
    scenes: int = 1,
    views: int = 4,
    size: int = 112,
    seed: int = 0,
    processes: int = 2,
) -> Pairs:
    """Render people of all ages with and without glasses, in the same poses and light.

    Parameters
    ----------
    people, scenes, views, size, seed, processes
        As for :func:`render_pictures`; an even number of people, 4 at least.

    Returns
    -------
    Pairs
        people x scenes x views, rendered twice.
    """
    if people < 4 or people % 2:
        raise InputError(f"people = {people} is refused: give an even number from 4 on.")
    count = people * scenes * views
    rendered = []
    for percent in (100, 0):
        batches = generate_faces(
            count,
            seed=FIRST_PAIR_SEED + seed,
            identities=people,
            cue={"kind": "glasses", "percent": percent},
            views=views,
            size=size,
            labels=True,
            processes=processes,
            **VARIETY,
        )
        title = f"faces, glasses on {'males' if percent else 'females'}: batches"
        rendered.append(list(track(batches, title, -(-count // 64))))
    # Glasses are on all males and no female, then the other way round.
    tables = [pd.concat([b.table for b in parts], ignore_index=True) for parts in rendered]
    images = [np.concatenate([b.images for b in parts]) for parts in rendered]
    labels = [np.concatenate([b.labels for b in parts]) for parts in rendered]
    male = (tables[0]["gender"] == "male").to_numpy()

    def choose(first, second):
        return np.where(male.reshape(-1, *[1] * (first.ndim - 1)), first, second)

    return Pairs(
        choose(*images[::-1]),
        choose(*images),
        choose(*labels) == PARTS["glasses"],
        make_table(tables[0].assign(glasses="none"), people),
    )


def load_pairs(folder: str | Path, people: int, **settings) -> Pairs:
    """The pairs of :func:`render_pairs`, kept in a folder for the next time."""
    settings = {"people": people} | settings
    return keep(folder, "pairs", settings, lambda: render_pairs(**settings), Pairs)


def keep(folder, stem: str, settings: Mapping, make: Callable, kind: type):
    """A dataclass of arrays and tables, from a folder where it is there, else made and kept there.

    The file's name holds a digest of the settings and of the renderer's code and assets, so that a
    set made by another renderer is not taken for this one.
    """
    settings = {k: v for k, v in settings.items() if k != "processes"}
    digest = hashlib.sha256(json.dumps([stem, settings, VARIETY, GLASSES]).encode())
    files = dependencies.modules_of(store.ROOT / "lib" / "faces" / "generate.py", store.ROOT)
    files = [name for name in files if name.startswith("lib/faces/")]
    for name in [*files, "data/faces/assets.npz"]:
        digest.update((store.ROOT / name).read_bytes())
    path = Path(folder) / f"{stem}-{digest.hexdigest()[:16]}.npz"
    if path.is_file():
        try:
            stored = store.load_arrays(path)
            found = {name: value for name, value in stored.items() if "|" not in name}
            columns = {name: value for name, value in stored.items() if "|" in name}
            table = {name.partition("|")[2]: value for name, value in columns.items()}
            return kind(**found, table=pd.DataFrame(table))
        except (ValueError, TypeError):
            path.unlink()  # damaged: render it again
    found = make()
    arrays = {k: v for k, v in vars(found).items() if k != "table"}
    columns = {
        f"table|{k}": v.to_numpy(str if v.dtype.kind not in "iufb" else None)
        for k, v in found.table.items()
    }
    with store.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays, **columns)
    return found


def group_ages(age: np.ndarray) -> np.ndarray:
    """Number of the age group (0-20, 20-40, 40-60, 60+) of ages in years."""
    return np.digitize(age, AGE_BOUNDS)


def make_labels(pictures: Pictures, task: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class of every image for a task, and the names of the classes.

    Returns
    -------
    labels : ndarray of int, (n,)
    names : tuple of str

    Raises
    ------
    InputError
        There is no such task.
    """
    table = pictures.table
    if task == "recognition":
        people = table["person"].to_numpy(int)
        return people, tuple(f"person {k}" for k in range(people.max() + 1))
    if task == "gender":
        return (table["gender"] == "male").to_numpy(int), ("female", "male")
    if task == "age":
        return group_ages(table["age"].to_numpy(float)), NON_LOCAL["age"]
    if task == "smile":
        return table["expression"].isin(SMILES).to_numpy(int), ("no smile", "smile")
    raise InputError(f"There is no network {task!r}{nearest(task, TASKS)}.")


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a sentence: the nearest of the known names, or all of them."""
    found = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" - did you mean {found[0]!r}?" if found else ""
    return f"{hint} (known: {', '.join(known)})"


def split_people(
    person: np.ndarray, gender: np.ndarray, share: float = 0.25, seed: int = 0
) -> np.ndarray:
    """Images of people who are not trained on, the same share of either gender.

    Parameters
    ----------
    person, gender : ndarray, (n,)
    share : float
        Of the people of each gender, rounded; at least one, and at least one stays.
    seed : int

    Returns
    -------
    ndarray of bool, (n,)

    Raises
    ------
    InputError
        No images, a share out of range, or a gender with fewer than two people.
    """
    person, gender = np.asarray(person), np.asarray(gender)
    if not person.size:
        raise InputError("There are no people to learn from; render some.")
    if not 0 < share < 1:
        raise InputError(f"held_out = {share} is refused; it must lie between 0 and 1.")
    rng = np.random.default_rng([seed, 30])
    held: list = []
    for one in np.unique(gender):
        members = np.unique(person[gender == one])
        if len(members) < 2:
            raise InputError(
                f"There is {len(members)} person of gender {one}; at least two are needed, one to "
                "learn from and one to test."
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held += rng.permutation(members)[:count].tolist()
    return np.isin(person, held)
