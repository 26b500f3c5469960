"""Rendered people for the trunk to learn, kept on disk in shards, and how they enter training.

Every person appears in several scenes (other hair, expression and light) from many views, in
colour. Some views of each scene and one whole scene of each person are held out. What is rendered
is kept; a killed rendering goes on at the shard it was in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lib.errors import InputError
from lib.faces.concepts import EXPRESSIONS
from lib.faces.generate import generate_faces, plan_people
from lib.faces.identity import SPREAD, sample_identity
from lib.faces.parallel import map_in_order
from lib.faces.styles import STYLES
from lib.progress import track
from lib.store import atomic_path, load_arrays

#: What chance draws from for a scene: a third of the heads wear the person's own hair, a third of
#: the expressions are neutral, one head in ten wears glasses.
HAIR = ["own"] * (len(STYLES) // 2) + sorted(STYLES)
EXPRESSION = [None] * (len(EXPRESSIONS) // 2) + sorted(set(EXPRESSIONS) - {"neutral"})
GLASSES = [None] * 27 + ["round", "square", "oval"]
LIGHT = ["soft", "soft", "front", "left", "right", "top", "flat"]
#: Degrees, drawn evenly.
YAW, PITCH, ROLL = (-105.0, 105.0), (-8.0, 8.0), (-5.0, 5.0)
#: Generator seeds of the first trunk's people; further trunks take the next ones.
FIRST_SEED = 500
#: Weights of luminance (ITU-R BT.601) in R, G, B.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
SETTINGS = "settings.json"


@dataclass(frozen=True)
class People:
    """What is rendered.

    Attributes
    ----------
    identities : int
        People.
    scenes : int
        Heads of each person that are trained on.
    views : int
        Images of each of these heads.
    held_views : int
        Of these, kept for validation.
    scene_views : int
        Images of the held-out scene of each person.
    size : int
        Side, pixels.
    seed : int
        0 for ``synthface``, 1 for ``synthface-2``, ...; other seeds are other people.
    """

    identities: int = 300
    scenes: int = 3
    views: int = 12
    held_views: int = 3
    scene_views: int = 4
    size: int = 112
    seed: int = 0

    def __post_init__(self):
        for name, value in asdict(self).items():
            least = 0 if name in ("seed", "held_views", "scene_views") else 1
            if not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"{name} is {value!r}: give a whole number from {least} on.")
        if self.identities < 2:
            raise InputError("One identity cannot be told from others: give at least 2.")
        if self.held_views >= self.views:
            raise InputError(
                f"held_views = {self.held_views} of {self.views} views leaves none to train on."
            )

    def seeds(self) -> range:
        """Seeds of the people, none of them of the study set or the Face Dictionary."""
        return plan_people(FIRST_SEED + self.seed, self.identities)


@dataclass(frozen=True)
class Pictures:
    """Rendered training images.

    Attributes
    ----------
    images : ndarray of uint8, (n, size, size, 3)
        RGB.
    table : DataFrame
        One row per image: ``person`` (0 ..), ``seed``, ``scene`` (0 ..; the last is the held-out
        one), ``part`` (``training``, ``view`` or ``scene``: which are held out, and how), ``yaw``,
        ``pitch`` (degrees), ``hair``, ``expression``, ``light``, ``glasses``.
    """

    images: np.ndarray
    table: pd.DataFrame

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of a part."""
        return np.flatnonzero(self.table["part"].to_numpy() == part)


# ------------------------------------------------------------------------------------- rendering


def _render_shard(people: People, number: int, seeds: Sequence[int]) -> Pictures:
    """Images of a few people: their training scenes, then their held-out one."""
    count = len(seeds)
    common = dict(
        identities=list(seeds), yaw=YAW, pitch=PITCH, roll=ROLL, light=LIGHT, hair=HAIR,
        expression=EXPRESSION, glasses=GLASSES, colour=True, size=people.size, processes=1,
    )  # fmt: skip
    tables, images = [], []
    # Two streams of chance per shard, unlike those of every other shard and trunk.
    stream = 2 * (PEOPLE_STREAMS * people.seed + number)
    for part, scenes, views in (
        ("training", people.scenes, people.views),
        ("scene", 1, people.scene_views),
    ):
        if not views:
            continue
        batches = list(
            generate_faces(
                count * scenes * views, seed=stream + (part == "scene"), views=views, **common
            )
        )
        table = pd.concat([batch.table for batch in batches], ignore_index=True)
        # People take turns, so head k shows person k % count in scene k // count.
        table["scene"] = table["scene"] // count + (people.scenes if part == "scene" else 0)
        table["part"] = part
        tables.append(table)
        images.extend(batch.images for batch in batches)
    table = pd.concat(tables, ignore_index=True)
    table["person"] = table["seed"] - people.seeds()[0]
    rng = np.random.default_rng([people.seed, 7, number])
    for _, rows in table[table["part"] == "training"].groupby(["person", "scene"]).groups.items():
        table.loc[rng.permutation(rows)[: people.held_views], "part"] = "view"
    keep = ["person", "seed", "scene", "part", "yaw", "pitch", "hair", "expression", "light"]
    return Pictures(np.concatenate(images), table[[*keep, "glasses"]])


#: Shards that one trunk's people have at most.
PEOPLE_STREAMS = 1_000_000


def _save_shard(path: Path, shard: Pictures) -> None:
    columns = {
        name: column.to_numpy(str if column.dtype.kind not in "if" else None)
        for name, column in shard.table.items()
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, images=shard.images, **columns)


def _load_shard(path: Path) -> Pictures:
    try:
        columns = load_arrays(path)
        return Pictures(columns.pop("images"), pd.DataFrame(columns))
    except (ValueError, KeyError):
        raise InputError(f"{path} is damaged; delete it and render again.") from None


def render_people(
    people: People, folder: str | Path, *, shard: int = 10, processes: int = 2
) -> Path:
    """Render the people into a folder; what is there already is kept.

    Parameters
    ----------
    people : People
    folder : path
        Gets ``settings.json`` and ``people-<number>.npz``, ``shard`` people each.
    shard : int
        People per file: what a kill loses.
    processes : int
        Workers.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        The folder holds people of other settings.
    """
    folder = Path(folder)
    settings = {k: v for k, v in asdict(people).items() if k != "identities"} | {"shard": shard}
    note = folder / SETTINGS
    if note.is_file():
        made = json.loads(note.read_text(encoding="utf-8"))
        if made != settings:
            raise InputError(
                f"{folder} holds people rendered with other settings ({made}); give another folder."
            )
    else:
        with atomic_path(note) as temporary:
            temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    seeds = people.seeds()
    tasks = [
        (people, number, list(seeds[start : start + shard]), path)
        for number, start in enumerate(range(0, len(seeds), shard))
        if not (path := folder / f"people-{number:04d}.npz").is_file()
    ]
    done = map_in_order(_render_task, tasks, processes)
    for _ in track(done, "people rendered, shards", len(tasks)):
        pass
    return folder


def _render_task(task) -> None:
    people, number, seeds, path = task
    _save_shard(path, _render_shard(people, number, seeds))


def load_people(folder: str | Path, identities: int | None = None) -> Pictures:
    """Rendered people, all or the first so many.

    Raises
    ------
    InputError
        No, too few or damaged people in the folder.
    """
    folder = Path(folder)
    shards = [_load_shard(path) for path in sorted(folder.glob("people-*.npz"))]
    if not shards:
        raise InputError(f"{folder} holds no rendered people; render them first.")
    table = pd.concat([shard.table for shard in shards], ignore_index=True)
    images = np.concatenate([shard.images for shard in shards])
    found = table["person"].nunique()
    if identities is not None:
        if found < identities:
            raise InputError(f"{folder} holds {found} people, {identities} are asked for.")
        keep = (table["person"] < identities).to_numpy()
        table, images = table[keep].reset_index(drop=True), images[keep]
    return Pictures(images, table)


# ------------------------------------------------------------------------------ auxiliary targets


def shape_targets(seeds: Sequence[int], components: int = 32) -> np.ndarray:
    """What the auxiliary head learns of a person: the local shape of the face, without the sex.

    The people are drawn again with the average of both sexes (``male=0.5``) and without dimorphism,
    and only the local shape targets are taken, none of the macro ones (gender, age, ethnicity,
    build): the chance part of nose, jaw, eyes and so on, which is drawn independently of all that
    the study asks about. Their principal components are scaled to unit variance.

    Parameters
    ----------
    seeds : sequence of int
        Of the people.
    components : int
        At most so many; fewer where there are few people.

    Returns
    -------
    ndarray, (people, components), float32
    """
    shapes = pd.DataFrame([local_shape(seed) for seed in seeds]).fillna(0.0)
    values = shapes[sorted(shapes)].to_numpy()
    values = values - values.mean(0)
    left, spread, _ = np.linalg.svd(values, full_matrices=False)
    count = min(components, int((spread > 1e-9 * spread.max()).sum()))
    # The sign of a component is arbitrary: the largest entry is made positive.
    scores = left[:, :count] * np.sqrt(len(values))
    largest = scores[np.abs(scores).argmax(0), np.arange(count)]
    return (scores * np.sign(largest)).astype(np.float32)


def local_shape(seed: int) -> dict[str, float]:
    """Weights of a person's local shape targets, the same for either sex."""
    person = sample_identity(int(seed), male=0.5)
    return {
        name: float(weight)
        for name, weight in person.morphs.items()
        if name.split("/")[0] in (*SPREAD, "asym")
    }


# ---------------------------------------------------------------------------------- augmentation


def pad_images(images: np.ndarray, margin: float = 0.15) -> np.ndarray:
    """Images continued beyond their edges (edge pixels repeated), so that they can be shifted."""
    width = int(np.ceil(margin * images.shape[1]))
    return np.pad(images, ((0, 0), (width, width), (width, width), (0, 0)), mode="edge")


def resize_crop(image: np.ndarray, box: Sequence[float], pixels: int) -> np.ndarray:
    """A box (left, top, right, bottom) of an image at another size, by area averaging."""
    how = Image.Resampling.BOX if box[2] - box[0] > pixels else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((pixels, pixels), how, box=tuple(box)))


def to_network(images: np.ndarray, means: Sequence[float]) -> np.ndarray:
    """RGB as VGG-16 takes it: BGR, channel means subtracted, float32 (not clipped)."""
    return images[..., ::-1].astype(np.float32) - np.asarray(means, np.float32)


@dataclass(frozen=True)
class Augmentation:
    """How an image may be changed before the network sees it.

    Nothing here hides, replaces or adds noise to single pixels: the study masks pixels, and a trunk
    that has learned to do without some would answer its main question beforehand. The whole image
    moves, and all its pixels change their grey level by one rule.

    Attributes
    ----------
    shift : float
        Largest shift along either axis, share of the side.
    zoom : float
        Largest enlargement or reduction, share.
    mirror : bool
        Half of the images mirrored.
    contrast : float
        Largest change of contrast about the middle grey, share.
    brightness : float
        Largest change of brightness, grey levels of 255.
    grey : float
        Share of the images turned to grey, as those of the study are.
    """

    shift: float = 0.08
    zoom: float = 0.20
    mirror: bool = True
    contrast: float = 0.2
    brightness: float = 20.0
    grey: float = 0.6


def augment(
    padded: np.ndarray,
    size: int,
    pixels: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Augmented images at the size of a training stage.

    Parameters
    ----------
    padded : ndarray of uint8, (n, y, x, 3)
        As :func:`pad_images` gives them.
    size : int
        Side before padding, pixels.
    pixels : int
        Side afterwards.
    settings : Augmentation
    rng : numpy.random.Generator

    Returns
    -------
    images : ndarray, (n, pixels, pixels, 3), float32
        RGB, about 0..255; brightness may carry them a little beyond.
    mirrored : ndarray of bool, (n,)
    """
    count = len(padded)
    side = size * (1 + rng.uniform(-settings.zoom, settings.zoom, count))
    centre = padded.shape[1] / 2 + size * rng.uniform(-settings.shift, settings.shift, (count, 2))
    low = np.clip(centre - side[:, None] / 2, 0, None)
    high = np.clip(centre + side[:, None] / 2, None, padded.shape[1])
    mirrored = (rng.random(count) < 0.5) & settings.mirror
    grey = rng.random(count) < settings.grey
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast, count)
    brightness = rng.uniform(-settings.brightness, settings.brightness, count)
    out = np.empty((count, pixels, pixels, 3), np.float32)
    for k in range(count):
        out[k] = resize_crop(padded[k], (*low[k], *high[k]), pixels)
    out[mirrored] = out[mirrored, :, ::-1]
    out[grey] = (out[grey] @ LUMINANCE)[..., None]
    gain = contrast[:, None, None, None].astype(np.float32)
    lift = (127.5 * (1 - contrast) + brightness)[:, None, None, None].astype(np.float32)
    return out * gain + lift, mirrored


def plain(images: np.ndarray, pixels: int, grey: bool) -> np.ndarray:
    """Images at a size without any change, RGB float32, for validation."""
    whole = (0, 0, images.shape[2], images.shape[1])
    out = np.stack([resize_crop(image, whole, pixels) for image in images]).astype(np.float32)
    return np.repeat((out @ LUMINANCE)[..., None], 3, axis=-1) if grey else out


def describe(people: People) -> Mapping[str, object]:
    """The settings and what chance drew from, for the provenance."""
    return asdict(people) | {
        "first_person": people.seeds()[0],
        "yaw": YAW,
        "pitch": PITCH,
        "roll": ROLL,
        "light": sorted(set(LIGHT)),
        "hair_styles": len(STYLES),
    }
