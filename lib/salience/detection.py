"""Genuine and synthetic faces to tell apart, with human salience where there is some.

Crum et al. 2023 (arXiv 2303.11969) measure networks that tell real from synthetic faces, some of
them trained with human salience (CYBORG, Boyd et al. 2023, arXiv 2112.00686). Here the genuine
class are rendered faces of people who are in neither the study nor the dictionary (from one seed
the first of them are also those of `lib.relevance.truth`, whose networks see none of these
pictures), and the synthetic class the same pictures re-synthesised by a generator of
:mod:`lib.salience.facespace` that was fitted to other people. So the classes differ in the
generator's traces alone. Detectors are trained on one generator and tested on others as well, on
people whom neither they nor the generators have seen. A reader's folders of real and synthetic
faces take their place.

Human salience is a reader's maps; or it is **simulated**: eyes, nose and mouth of the part labels,
blurred. `DetectionSet.salience_kind` says which.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from lib import dependencies, store
from lib.errors import InputError
from lib.faces.generate import generate_faces
from lib.faces.imagefile import SUFFIXES, nfc, open_image, to_array
from lib.faces.labels import PARTS
from lib.progress import track
from lib.salience.facespace import KINDS, fit_generator

#: Classes, in the order of the labels 0 and 1.
CLASSES = ("genuine", "synthetic")
#: What a person's images are for; nobody is in two of them.
SPLITS = ("training", "validation", "test")
#: Where `DetectionSet.salience` comes from.
SALIENCE_KINDS = ("simulated", "human", "none")
#: Components of each generator unless others are given; patches of 8 x 8 pixels have 64. Of 16 a
#: detector that was trained on `pca` tells about nine in ten pairs of faces apart, of 10 all.
COMPONENTS = {"pca": 40, "coarse": 40, "patches": 16}
#: Yaw of the rendered faces, degrees.
YAW = (-30.0, 30.0)
#: Simulated salience of the parts of a face, 0 to 1; of all others 0. People look at eyes and mouth
#: most, then at the nose (Yarbus 1967, Eye movements and vision, chapter 7).
PART_SALIENCE = {
    "eye": 1.0,
    "eyelid": 1.0,
    "lash": 1.0,
    "brow": 0.6,
    "nose": 0.7,
    "lips": 1.0,
    "mouth": 1.0,
}
#: Blur of simulated salience (standard deviation), as a share of the image's side.
SALIENCE_BLUR = 0.05


@dataclass(frozen=True)
class DetectionSet:
    """Images of both classes.

    Attributes
    ----------
    images : ndarray of uint8, (n, y, x) or (n, y, x, 3)
        0..255, square.
    label : ndarray of int, (n,)
        0 genuine, 1 synthetic (:data:`CLASSES`).
    source : ndarray of str, (n,)
        ``genuine``, or the name of the generator.
    identity : ndarray of str, (n,)
        Whose face it is, or was before it was re-synthesised.
    split : ndarray of str, (n,)
        One of :data:`SPLITS`; nobody is in two.
    seen : str
        The generator of the synthetic images of training and validation; all others are in the
        test alone.
    salience : ndarray of float32, (n, y, x)
        Human salience, 0 to 1; NaN for an image without a map.
    salience_kind : {"simulated", "human", "none"}
        ``simulated``: drawn from part labels, no person was asked. ``none``: all NaN.
    about : dict
        Settings, for the provenance.
    """

    images: np.ndarray
    label: np.ndarray
    source: np.ndarray
    identity: np.ndarray
    split: np.ndarray
    seen: str
    salience: np.ndarray
    salience_kind: str
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.salience_kind not in SALIENCE_KINDS:
            raise InputError(
                f"There is no kind of salience {self.salience_kind!r}; use "
                f"{', '.join(SALIENCE_KINDS)}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def generators(self) -> list[str]:
        """Names of the generators, the seen one first, then as they come."""
        names = dict.fromkeys(self.source[self.label == 1].tolist())
        return [self.seen, *(name for name in names if name != self.seen)]

    def rows(self, split: str, generator: str | None = None) -> np.ndarray:
        """Rows of a split: its genuine images, and the synthetic ones of one generator.

        Parameters
        ----------
        split : {"training", "validation", "test"}
        generator : str, optional
            By default the seen one.

        Returns
        -------
        ndarray of int

        Raises
        ------
        InputError
            An unknown split or generator.
        """
        generator = self.seen if generator is None else generator
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}; use {', '.join(SPLITS)}.")
        if generator not in self.generators:
            raise InputError(
                f"There are no images of a generator {generator!r}; there are "
                f"{', '.join(self.generators)}."
            )
        wanted = (self.label == 0) | (self.source == generator)
        return np.flatnonzero((self.split == split) & wanted)

    def summarise(self) -> pd.DataFrame:
        """Columns ``split``, ``source``, ``people``, ``images``, ``with_salience``."""
        table = pd.DataFrame(
            {
                "split": self.split,
                "source": self.source,
                "identity": self.identity,
                "known": np.isfinite(self.salience).all((1, 2)),
            }
        )
        groups = table.groupby(["split", "source"], sort=False)
        found = groups.agg(
            people=("identity", "nunique"),
            images=("identity", "size"),
            with_salience=("known", "sum"),
        ).reset_index()
        order = {name: k for k, name in enumerate([*SPLITS, "genuine", *self.generators])}
        return found.sort_values(
            ["split", "source"], key=lambda names: names.map(order), ignore_index=True
        )


def simulate_salience(labels: np.ndarray) -> np.ndarray:
    """Salience as people might mark it, drawn from part labels: **simulated**, nobody was asked.

    Eyes, brows, nose and mouth (:data:`PART_SALIENCE`), blurred with a Gaussian of
    :data:`SALIENCE_BLUR` of the image's side, each map scaled from 0 to 1.

    Parameters
    ----------
    labels : ndarray of uint8, (n, y, x)
        Values of `lib.faces.labels.PARTS`.

    Returns
    -------
    ndarray of float32, (n, y, x)
        Zero where no such part is visible.
    """
    labels = np.asarray(labels)
    weights = np.zeros(256)
    for part, value in PART_SALIENCE.items():
        weights[PARTS[part]] = value
    sigma = SALIENCE_BLUR * labels.shape[-1]
    maps = ndimage.gaussian_filter(weights[labels], (0, sigma, sigma), mode="constant")
    return _scale(maps)


def _scale(maps: np.ndarray) -> np.ndarray:
    """Every map from 0 to 1; a constant one becomes zero."""
    low = maps.min((1, 2), keepdims=True)
    span = maps.max((1, 2), keepdims=True) - low
    return ((maps - low) / np.where(span == 0, 1, span)).astype(np.float32)


# ------------------------------------------------------------------------------- rendered and made


def render_detection_set(
    *,
    fitted: int = 30,
    training: int = 30,
    validation: int = 10,
    test: int = 20,
    views: int = 4,
    size: int = 112,
    seen: str = "pca",
    unseen: Sequence[str] = ("coarse", "patches"),
    components: Mapping[str, int] | None = None,
    colour: bool = False,
    seed: int = 0,
    processes: int = 2,
    folder: Path | None = None,
) -> DetectionSet:
    """Rendered faces, and the same re-synthesised; salience is simulated.

    Parameters
    ----------
    fitted, training, validation, test : int
        People that the generators are fitted to (with their mirror images; they are in no split),
        and people of each split. None of them is in the study or the dictionary.
    views : int
        Images of each person, at yaws drawn from :data:`YAW`. Of every person's images one half of
        the set is genuine, the other the same re-synthesised.
    size : int
        Side, pixels.
    seen, unseen : str, sequence of str
        Generators (:data:`lib.salience.facespace.KINDS`) of training and test, and of the test
        alone.
    components : mapping of kind -> int, optional
        In place of :data:`COMPONENTS`.
    colour : bool
    seed : int
    processes : int
        The images do not depend on it.
    folder : Path, optional
        The set is kept there for the next time, under a digest of the settings, the code and the
        renderer's assets.

    Returns
    -------
    DetectionSet

    Raises
    ------
    InputError
        A number out of range, an unknown or repeated generator, more components than faces.
    """
    people = {"fitted": fitted, "training": training, "validation": validation, "test": test}
    for name, value in {**people, "views": views}.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} is {value!r}: give a whole number from 1 on.")
    generators = [seen, *unseen]
    for name in generators:
        if name not in KINDS:
            raise InputError(f"There is no generator {name!r}; use {', '.join(KINDS)}.")
    if len(set(generators)) != len(generators):
        raise InputError(f"A generator is named twice in {generators}; name each once.")
    chosen = {**COMPONENTS, **(components or {})}
    settings = {
        **people,
        "views": views,
        "size": size,
        "seen": seen,
        "unseen": list(unseen),
        "components": {name: int(chosen[name]) for name in generators},
        "colour": bool(colour),
        "seed": seed,
    }
    path = None
    if folder is not None:
        path = Path(folder) / f"detection-{_digest(settings)}.npz"
        kept = _read(path, settings)
        if kept is not None:
            return kept
    batches = generate_faces(
        sum(people.values()) * views,
        seed=seed,
        yaw=YAW,
        views=views,
        size=size,
        colour=colour,
        labels=True,
        processes=processes,
    )
    total = -(-sum(people.values()) * views // 64)
    parts = list(track(batches, "faces for detection", total))
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    identity = np.concatenate([part.table["identity"].to_numpy(str) for part in parts])
    purpose = np.repeat(list(people), np.array(list(people.values())) * views)
    data = _resynthesise(images, labels, identity, purpose, settings)
    if path is not None:
        _write(path, data)
    return data


def _resynthesise(images, labels, identity, purpose, settings) -> DetectionSet:
    """Add the synthetic class to rendered faces."""
    to_fit = images[purpose == "fitted"]
    to_fit = np.concatenate([to_fit, to_fit[:, :, ::-1]])
    kept = np.flatnonzero(purpose != "fitted")
    salience = simulate_salience(labels[kept])
    split = purpose[kept]
    parts = [(np.arange(len(kept)), images[kept], "genuine")]
    for name, count in settings["components"].items():
        generator = fit_generator(name, to_fit, count, settings["seed"])
        rows = np.flatnonzero(split == "test") if name != settings["seen"] else parts[0][0]
        parts.append((rows, generator.resynthesise(images[kept[rows]]), name))
    rows = np.concatenate([part[0] for part in parts])
    source = np.repeat([part[2] for part in parts], [len(part[0]) for part in parts])
    return DetectionSet(
        images=np.concatenate([part[1] for part in parts]),
        label=(source != "genuine").astype(int),
        source=source,
        identity=identity[kept[rows]],
        split=split[rows],
        seen=settings["seen"],
        salience=salience[rows],
        salience_kind="simulated",
        about=settings,
    )


def _digest(settings: Mapping) -> str:
    """Of the settings and of everything the pictures depend on."""
    state = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    # Not what `lib.salience` imports beside these two: measures do not change the pictures.
    files = dependencies.modules_of(store.ROOT / "lib" / "faces" / "generate.py", store.ROOT)
    own = [f"lib/salience/{name}.py" for name in ("detection", "facespace")]
    for name in [*files, "lib/faces/generate.py", *own, "data/faces/assets.npz"]:
        state.update((store.ROOT / name).read_bytes())
    return state.hexdigest()[:16]


_ARRAYS = ("images", "label", "source", "identity", "split", "salience")


def _read(path: Path, settings: dict) -> DetectionSet | None:
    if not path.is_file():
        return None
    try:
        stored = store.load_arrays(path)
        arrays = {name: stored[name] for name in _ARRAYS}
    except (InputError, KeyError):
        path.unlink()  # damaged: made again
        return None
    return DetectionSet(**arrays, seen=settings["seen"], salience_kind="simulated", about=settings)


def _write(path: Path, data: DetectionSet) -> None:
    for old in path.parent.glob("detection-*.npz"):
        old.unlink()
    with store.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(data, name) for name in _ARRAYS})


# --------------------------------------------------------------------------------- a reader's own


def load_detection_folders(
    genuine: str | Path,
    synthetic: str | Path,
    *,
    size: int,
    unseen: Mapping[str, str | Path] | None = None,
    maps: str | Path | None = None,
    validation: float = 0.2,
    test: float = 0.3,
    seed: int = 0,
) -> DetectionSet:
    """A reader's real and synthetic faces.

    Parameters
    ----------
    genuine, synthetic : path
        Folders of images. The images of a sub-folder are one person's; an image directly inside is
        a person of its own, named by the file without its ending. A person of the same name in two
        folders is one person, and so in one split.
    size : int
        Side that the centre square of every image is brought to, pixels.
    unseen : mapping of name -> path, optional
        Folders of other generators, for the test alone: of people who are in the training or
        validation their images are left out.
    maps : path, optional
        Folder of human salience, grey pictures named as the images (any ending), in sub-folders
        ``genuine`` and ``synthetic`` where both classes have the same names (then nowhere else).
        Every image of training and validation needs one, and a map must mark some place.
    validation, test : float
        Shares of the people.
    seed : int
        Of who is in which split.

    Returns
    -------
    DetectionSet
        ``salience_kind`` is ``human`` with maps, else ``none``.

    Raises
    ------
    InputError
        A folder that is missing or holds no images, folders of which one lies in the other, an
        image that cannot be read, grey and colour mixed, different sizes, too few people for three
        splits, a missing map, one of other proportions or one that is the same everywhere.
    """
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
        raise InputError(f"size is {size!r}: give a whole number of pixels above 0.")
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise InputError(
            f"validation = {validation} and test = {test} are refused; they are shares above 0 "
            "that leave people to train on."
        )
    folders = {"genuine": Path(genuine), "synthetic": Path(synthetic)}
    for name, place in (unseen or {}).items():
        if name in folders:
            raise InputError(f"An unseen generator may not be named {name!r}; rename it.")
        folders[name] = Path(place)
    _check_apart({**folders, **({} if maps is None else {"maps": Path(maps)})})
    listed = {name: _list_images(place) for name, place in folders.items()}
    names = [(s, name) for s, some in listed.items() for name in some]
    source = np.array([s for s, _ in names])
    identity = np.array([_person(name) for _, name in names])
    label = (source != "genuine").astype(int)
    split = _split_people(source, identity, validation, test, seed)
    kept = np.flatnonzero(split != "")
    for name in folders:
        if not (source[kept] == name).any():
            raise InputError(
                f"Every person in {folders[name]} is in the training or validation too, so no "
                "image of this unseen generator is left to test; add other people."
            )
    images, stored = _load_images(folders, [names[k] for k in kept], size)
    salience = np.full((len(kept), size, size), np.nan, np.float32)
    if maps is not None:
        _load_maps(Path(maps), [names[k] for k in kept], split[kept], stored, salience)
    return DetectionSet(
        images=images,
        label=label[kept],
        source=source[kept],
        identity=identity[kept],
        split=split[kept],
        seen="synthetic",
        salience=salience,
        salience_kind="none" if maps is None else "human",
        about={
            "folders": {name: str(place) for name, place in folders.items()},
            "maps": None if maps is None else str(maps),
            "size": int(size),
            "validation": validation,
            "test": test,
            "seed": seed,
        },
    )


def _check_apart(folders: Mapping[str, Path]) -> None:
    """Refuse folders of which one is the other or lies in it: its pictures would count for both."""
    for (one, first), (other, second) in itertools.combinations(folders.items(), 2):
        a, b = first.resolve(), second.resolve()
        if a.is_relative_to(b) or b.is_relative_to(a):
            raise InputError(
                f"The folders of {one} ('{first}') and {other} ('{second}') hold the same files; "
                "give folders of which none lies in another."
            )


def _pictures_in(folder: Path) -> list[str]:
    """Relative names of a folder's pictures, sorted; what is hidden does not count."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")))
    return [
        name.as_posix()
        for name in names
        if name.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in name.parts)
        and (folder / name).is_file()
    ]


def _list_images(folder: Path) -> list[str]:
    """Relative names of a folder's images, sorted."""
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder: give one that holds images of faces.")
    names = _pictures_in(folder)
    if not names:
        raise InputError(
            f"'{folder}' holds no images: put files ending in {', '.join(sorted(SUFFIXES))} there."
        )
    return names


def _person(name: str) -> str:
    first, _, rest = name.partition("/")
    return nfc(first if rest else Path(name).stem)


def _split_people(source, identity, validation, test, seed) -> np.ndarray:
    """Split of every image; "" for one that is left out."""
    rng = np.random.default_rng([seed, 7])
    classes: dict[str, set[str]] = {}
    for s, person in zip(source, identity, strict=True):
        if s in CLASSES:
            classes.setdefault(person, set()).add(s)
    where: dict[str, str] = {}
    # People of the genuine class, the synthetic class and both take their shares apart.
    for kind in ({"genuine"}, {"synthetic"}, set(CLASSES)):
        people = sorted(person for person, found in classes.items() if found == kind)
        people = [people[k] for k in rng.permutation(len(people))]
        held = [max(1, round(share * len(people))) if people else 0 for share in (test, validation)]
        for k, person in enumerate(people):
            where[person] = "test" if k < held[0] else "validation" if k < sum(held) else "training"
    for s in CLASSES:
        for part in SPLITS:
            if not any(where[p] == part and s in found for p, found in classes.items()):
                count = sum(s in found for found in classes.values())
                raise InputError(
                    f"The {s} faces are of {count} people, too few for training, validation and "
                    "test people of their own; give at least three."
                )
    parts = []
    for s, person in zip(source, identity, strict=True):
        if s in CLASSES:
            parts.append(where[person])
        else:
            parts.append("test" if where.get(person, "test") == "test" else "")
    return np.array(parts)


def _load_images(folders, names, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """All images as one array, and their stored width and height.

    What would give the class away by its format is refused.
    """
    first = None
    out = None
    for k, (s, name) in enumerate(track(names, "images")):
        path = folders[s] / name
        image, _ = open_image(path)
        form = (image.width, image.height, image.mode)
        if out is None:
            first = (path, form)
            out = np.empty(
                (len(names), size, size) + ((3,) if image.mode == "RGB" else ()), np.uint8
            )
        elif form[2] != first[1][2]:
            kinds = {"L": "grey", "RGB": "colour"}
            raise InputError(
                f"'{path}' is {kinds[form[2]]} and '{first[0]}' is {kinds[first[1][2]]}: give all "
                "images grey or all in colour, else that tells the classes apart."
            )
        elif form != first[1]:
            raise InputError(
                f"'{path}' has {form[0]} x {form[1]} pixels and '{first[0]}' {first[1][0]} x "
                f"{first[1][1]}: bring all images to one size in the same way, else the resizing "
                "tells the classes apart."
            )
        out[k] = to_array(image, size, image.mode == "RGB")
    return out, first[1][:2]


def _load_maps(folder: Path, names, split, stored, salience: np.ndarray) -> None:
    """Fill in human salience from a folder."""
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder: give the one with the maps of human salience.")
    known: dict[str, list[Path]] = {}
    for name in _pictures_in(folder):
        known.setdefault(_stem(name), []).append(folder / name)
    owners: dict[str, set[str]] = {}
    for s, name in names:
        owners.setdefault(_stem(name), set()).add(s)
    size = salience.shape[-1]
    for k, (s, name) in enumerate(names):
        stem = _stem(name)
        # Outside the sub-folder of a class a map belongs to the one image of its name.
        alone = len(owners[stem]) == 1
        found = known.get(f"{s}/{stem}", known.get(stem) if alone else None)
        if found is None:
            if split[k] == "test":
                continue
            places = f"'{s}/{name}'" + (f" or '{name}'" if alone else "")
            raise InputError(
                f"'{folder}' has no map for the {s} image '{name}': add {places} there."
            )
        path, *others = found
        if others:
            raise InputError(
                f"'{path}' and '{others[0].name}' are both the map of the {s} image '{name}': keep "
                "one of them."
            )
        image, _ = open_image(path)
        if image.width * stored[1] != image.height * stored[0]:
            raise InputError(
                f"'{path}' has {image.width} x {image.height} pixels and its image {stored[0]} x "
                f"{stored[1]}: give maps of the images' own proportions."
            )
        salience[k] = to_array(image, size).astype(np.float32) / 255
        if np.ptp(salience[k]) == 0:
            raise InputError(
                f"'{path}' is the same everywhere and marks no place: mend it, or leave out its "
                "image."
            )


def _stem(name: str) -> str:
    """A picture's relative name without its ending, by which it and its map find each other."""
    return nfc(Path(name).with_suffix("").as_posix())
