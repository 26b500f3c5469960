"""A test whose answer is known: does relevance lie where a planted cue decides?

People are rendered with and without glasses, in the same poses and light. One readout learns gender
where every male and no female wears glasses: the glasses decide. Another learns it from the same
people and poses where glasses say nothing. Both then look at new people in glasses. A method that
shows what decides puts more of its positive relevance for "male" onto the glasses of the first
readout than of the second, and than onto pixels at random. Whether the glasses do decide is seen in
the readouts' answers, and said with the result. What is explained is the decision, the
logit of "male" less that of "female".

The planted cue is that of the controlled experiments of Teotia et al. 2022 (arXiv 2108.10360). The
measures are the relevance mass of Arras et al. 2022 (Information Fusion 81:14-40), here of the
positive relevance, and the pointing game of Zhang et al. 2018 (IJCV 126:1084-1102).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from lib import dependencies, store
from lib.errors import InputError
from lib.faces.generate import generate_faces
from lib.faces.labels import PARTS
from lib.finetuning import Task, train_readouts
from lib.network import Readout
from lib.progress import track
from lib.relevance.compute import Difference, compute_relevance
from lib.relevance.similarity import bootstrap, mean_finite
from lib.vgg import Trunk, compute_features

#: The two networks: glasses decide, or say nothing.
NETWORKS = ("cue", "control")
#: Class that the cue stands for: gender's words are sorted, so male is 1.
MALE = 1
#: Yaw of the rendered faces, degrees: both rims are seen.
YAW = (-30.0, 30.0)
#: Columns of :func:`compare_methods`.
COLUMNS = ("method", "network", "instance", "image", "mass", "hit")
#: Settings of the readouts' training.
EPOCHS, LEARNING_RATE = 60, 1e-3
#: Share of the answers that must go by the glasses for them to decide; chance is .5.
FOLLOWS = 0.9


@dataclass(frozen=True)
class CueSet:
    """People with and without the cue; everything else is equal.

    Attributes
    ----------
    images : ndarray of uint8, (n, y, x)
    mask : ndarray of bool, (n, y, x)
        Pixels of the glasses.
    person : ndarray of int, (n,)
    male, glasses : ndarray of bool, (n,)
    """

    images: np.ndarray
    mask: np.ndarray
    person: np.ndarray
    male: np.ndarray
    glasses: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def render_cue_set(people: int, views: int, size: int, seed: int = 0, processes: int = 2) -> CueSet:
    """Render new people, half of them male, from a few views each, with glasses and without.

    Parameters
    ----------
    people, views : int
        2 x people x views images.
    size : int
        Side, pixels.
    seed : int
    processes : int
        The images do not depend on it.
    """
    if people < 6 or people % 2:
        raise InputError(f"people = {people} is refused; give an even number from 6 on.")
    parts = []
    for percent in (100, 0):
        batches = generate_faces(
            people * views,
            seed=seed,
            yaw=YAW,
            cue={"kind": "glasses", "percent": percent},
            views=views,
            size=size,
            labels=True,
            processes=processes,
        )
        parts += list(track(batches, f"faces with a cue on {percent}%", -(-people * views // 64)))
    table = pd.concat([batch.table for batch in parts], ignore_index=True)
    return CueSet(
        np.concatenate([batch.images for batch in parts]),
        np.concatenate([batch.labels for batch in parts]) == PARTS["glasses"],
        table["scene"].to_numpy(),
        (table["gender"] == "male").to_numpy(),
        (table["glasses"] != "none").to_numpy(),
    )


def load_cue_set(
    folder: Path, people: int, views: int, size: int, seed: int = 0, processes: int = 2
) -> CueSet:
    """The set of :func:`render_cue_set`, kept in a folder for the next time.

    The file's name holds a digest of the settings and of the renderer's code and assets, so that a
    set made by another renderer is not taken for this one.
    """
    settings = {"people": people, "views": views, "size": size, "seed": seed, "yaw": YAW}
    digest = hashlib.sha256(json.dumps(settings).encode())
    files = dependencies.modules_of(store.ROOT / "lib" / "faces" / "generate.py", store.ROOT)
    for name in [*files, "data/faces/assets.npz"]:
        digest.update((store.ROOT / name).read_bytes())
    path = Path(folder) / f"cue-{digest.hexdigest()[:16]}.npz"
    names = CueSet.__dataclass_fields__
    if path.is_file():
        try:
            return CueSet(**store.load_arrays(path))
        except (InputError, TypeError):
            path.unlink()  # damaged: render it again
    found = render_cue_set(people, views, size, seed, processes)
    for old in path.parent.glob("cue-*.npz"):
        old.unlink()
    with store.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(found, name) for name in names})
    return found


def split_cue_set(faces: CueSet, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows to train either network on, and rows to test both.

    Two thirds of the people train, the others test. The cue network sees glasses on every male and
    no female; the control network sees the same people in the same poses, half of either sex with
    glasses.

    Returns
    -------
    dict
        ``cue``, ``control``, ``test`` -> ndarray of int.
    """
    rng = np.random.default_rng(seed)
    train, worn = [], []
    for sex in (True, False):
        members = rng.permutation(np.unique(faces.person[faces.male == sex]))
        some = members[: len(members) - max(1, len(members) // 3)]
        train += some.tolist()
        worn += some[: (len(some) + sex) // 2].tolist()
    known = np.isin(faces.person, train)
    return {
        "cue": np.flatnonzero(known & (faces.glasses == faces.male)),
        "control": np.flatnonzero(known & (faces.glasses == np.isin(faces.person, worn))),
        "test": np.flatnonzero(~known),
    }


def train_cue_readouts(
    trunk: Trunk,
    faces: CueSet,
    rows: Mapping[str, np.ndarray],
    initialisations: int = 2,
    seed: int = 0,
) -> tuple[dict[str, list[Readout]], pd.DataFrame]:
    """Train both networks, and ask what they go by.

    Returns
    -------
    readouts : dict
        ``cue``, ``control`` -> list of Readout.
    answers : DataFrame
        Of the test people: columns ``network``, ``instance``, ``images``, ``by_glasses`` (share of
        the answers that follow the glasses), ``by_gender`` (that are right). Half of the images of
        either sex wear glasses, so that a network that goes by one gets .5 by the other.
    """
    features = compute_features(trunk, faces.images, progress=False).reshape(len(faces), -1)
    readouts: dict[str, list[Readout]] = {}
    answers = []
    test = rows["test"]
    for network in NETWORKS:
        some = rows[network]
        trained = train_readouts(
            features[some],
            [Task(network, faces.male[some].astype(int))],
            np.zeros(len(some), bool),
            initialisations=initialisations,
            epochs=EPOCHS,
            learning_rate=LEARNING_RATE,
            seed=seed,
            progress=False,
        )
        readouts[network] = trained.readouts
        for instance, readout in enumerate(trained.readouts):
            said = readout.logits(features[test]).argmax(1) == MALE
            follows = [(said == truth[test]).mean() for truth in (faces.glasses, faces.male)]
            answers.append((network, instance, len(test), *follows))
    columns = ["network", "instance", "images", "by_glasses", "by_gender"]
    return readouts, pd.DataFrame(answers, columns=columns)


def choose_worn(faces: CueSet, rows: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """At most ``count`` of some rows that wear glasses, people taking turns; sorted."""
    worn = np.random.default_rng(seed).permutation(rows[faces.glasses[rows]])
    turn = pd.Series(faces.person[worn]).groupby(faces.person[worn]).cumcount()
    return np.sort(worn[np.argsort(turn.to_numpy(), kind="stable")[:count]])


def widen(mask: np.ndarray, margin: int) -> np.ndarray:
    """A mask and the pixels up to ``margin`` steps (8 neighbours) around it, (n, y, x) bool."""
    if not margin:
        return mask
    return ndimage.binary_dilation(mask, np.ones((1, 3, 3), bool), iterations=margin)


def measure_mass(maps: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the positive relevance inside a mask, and whether the highest pixel lies there.

    Parameters
    ----------
    maps : ndarray, (n, ..., y, x)
    mask : ndarray of bool, (n, y, x)

    Returns
    -------
    mass : ndarray, (n, ...)
        0 to 1; NaN where a map has no positive relevance.
    hit : ndarray, (n, ...)
        1 or 0, NaN likewise.
    """
    between = maps.ndim - 3
    mask = mask.reshape(len(mask), *[1] * between, *mask.shape[1:])
    positive = np.maximum(np.asarray(maps, np.float64), 0)
    total = positive.sum((-2, -1))
    nothing = total <= 0
    mass = (positive * mask).sum((-2, -1)) / np.where(nothing, np.nan, total)
    flat = positive.reshape(*positive.shape[:-2], -1)
    top = np.take_along_axis(
        np.broadcast_to(mask, positive.shape).reshape(flat.shape), flat.argmax(-1)[..., None], -1
    )[..., 0]
    return mass, np.where(nothing, np.nan, top.astype(float))


def compare_methods(
    trunk: Trunk,
    readouts: Mapping[str, Sequence[Readout]],
    images: np.ndarray,
    mask: np.ndarray,
    methods: Sequence[str],
    *,
    precision: str = "auto",
    steps: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> tuple[pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    """Relevance inside the cue's mask, by every method, for both networks and for random maps.

    Parameters
    ----------
    trunk : Trunk
    readouts : mapping
        ``cue``, ``control`` -> readouts; what is explained is the logit of :data:`MALE` less the
        other, which is what decides.
    images : ndarray of uint8, (n, y, x)
        That wear the cue.
    mask : ndarray of bool, (n, y, x)
    methods : sequence of str
        Names of :data:`lib.relevance.COMPOSITES` or :data:`lib.relevance.METHODS`.
    precision : str
    steps : int
        Of integrated gradients.
    seed : int
        Of the random maps (independent normal pixels).
    progress : bool

    Returns
    -------
    table : DataFrame
        Columns ``method``, ``network`` (``cue``, ``control``, ``random``), ``instance``, ``image``,
        ``mass``, ``hit`` (see :func:`measure_mass`).
    shown : dict
        Method -> network -> map of the first image and instance, (y, x).
    """
    together = [readout for network in NETWORKS for readout in readouts[network]]
    owner = [(n, k) for n in NETWORKS for k in range(len(readouts[n]))]
    tables, shown = [], {}
    for method in track(methods, "methods") if progress else methods:
        settings = {"steps": steps} if method == "integrated_gradients" else {}
        stream = compute_relevance(
            trunk,
            together,
            images,
            Difference(MALE, 1 - MALE),
            method,
            precision=precision,
            on_zero="keep",
            progress=False,
            **settings,
        )
        for batch in stream:
            mass, hit = measure_mass(batch.relevance, mask[batch.rows])
            for j, (network, instance) in enumerate(owner):
                numbers = np.arange(batch.rows.start, batch.rows.stop)
                tables.append(_rows(method, network, instance, numbers, mass[:, j], hit[:, j]))
            if batch.rows.start == 0:
                first = [owner.index((network, 0)) for network in NETWORKS]
                shown[method] = {
                    n: batch.relevance[0, j] for n, j in zip(NETWORKS, first, strict=True)
                }
    rng = np.random.default_rng(seed)
    mass, hit = measure_mass(rng.normal(size=mask.shape), mask)
    for method in methods:
        tables.append(_rows(method, "random", 0, np.arange(len(mask)), mass, hit))
    return pd.concat(tables, ignore_index=True), shown


def _rows(*values) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def summarise_methods(
    table: pd.DataFrame,
    person: np.ndarray,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Every method in a row, best first.

    Parameters
    ----------
    table : DataFrame
        Of :func:`compare_methods`.
    person : ndarray of int, (n,)
        Whose picture each image is: the interval draws people.
    draws, confidence, seed
        As :func:`lib.relevance.similarity.bootstrap`.

    Returns
    -------
    DataFrame
        Columns ``method``; ``cue``, ``control``, ``random`` (mean mass); ``difference`` (cue less
        control), ``low``, ``high``; ``beyond`` (cue less random), ``beyond_low``; ``hit`` and
        ``hit_control`` (share of maps whose highest pixel lies on the cue); ``empty`` (share of
        maps without positive relevance).
    """
    rows = []
    people = np.unique(person)
    for method, some in table.groupby("method", sort=False):
        # image x network, over instances
        mass = some.pivot_table("mass", "image", "network", dropna=False, sort=False)
        by_person = mass.groupby(person[mass.index]).mean().reindex(people)
        difference, beyond = (
            (by_person["cue"] - by_person[other]).to_numpy() for other in ("control", "random")
        )
        low, high = bootstrap(difference, draws, confidence, seed)
        beyond_low, _ = bootstrap(beyond, draws, confidence, seed)
        hit = some.groupby("network")["hit"].mean()
        networks = some[some["network"] != "random"]
        rows.append(
            (
                method,
                *(float(mean_finite(by_person[n].to_numpy())) for n in (*NETWORKS, "random")),
                *(float(mean_finite(difference)), float(low), float(high)),
                *(float(mean_finite(beyond)), float(beyond_low)),
                *(hit["cue"], hit["control"], networks["mass"].isna().mean()),
            )
        )
    columns = ["method", *NETWORKS, "random", "difference", "low", "high", "beyond", "beyond_low"]
    found = pd.DataFrame(rows, columns=[*columns, "hit", "hit_control", "empty"])
    return found.sort_values("difference", ascending=False, ignore_index=True, kind="stable")


def state_result(summary: pd.DataFrame | None, answers: pd.DataFrame | None = None) -> str:
    """What a table of :func:`summarise_methods` says, as part of a sentence.

    A method passes if it puts more on the cue of the readouts for which it decides than of the
    control, and more than a random map does, both by their intervals. That is a test of the method
    only where the premise holds: the readouts that learned with the glasses go by them (in at least
    :data:`FOLLOWS` of their answers), and the control readouts do not.

    Parameters
    ----------
    summary : DataFrame or None
        None if no method was tested.
    answers : DataFrame or None
        Of :func:`train_cue_readouts`.
    """
    if summary is None or answers is None:
        return "no method was tested"
    by = answers.groupby("network")["by_glasses"].mean()
    images = int(answers["images"].iloc[0])
    passed = summary[(summary["low"] > 0) & (summary["beyond_low"] > 0)]
    count = (
        f"{len(passed)} of {len(summary)} methods put more of the positive relevance on the "
        "glasses for the readouts that learned with them than for the control, and more than a "
        "random map does (both intervals above 0)"
    )
    follow = (
        f"the readouts that learned with the glasses answer by them in {by['cue']:.2f} and the "
        f"control in {by['control']:.2f} of {images} new pictures, where chance is 0.50"
    )
    if by["cue"] < FOLLOWS:
        return (
            f"{follow}: the glasses do not decide for them, and this is no test of the methods; "
            f"{count}"
        )
    if by["control"] >= FOLLOWS:
        return f"{follow}: the glasses decide for either, which leaves nothing to tell; {count}"
    if not len(passed):
        return f"{follow}: the glasses decide, and {count}"
    best = passed.iloc[0]
    return (
        f"{follow}: the glasses decide. Then {count}; the clearest, "
        f"{best['method'].replace('_', ' ')}, puts {best['cue']:.2f} and {best['control']:.2f} of "
        f"it there, where a random map puts {best['random']:.2f}"
    )
