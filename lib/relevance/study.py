"""Maps of every model of a run for the same faces, and what can be said of them at once.

A model is a readout on a trunk; its name is ``<pretraining>/<task>/<instance>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from lib.digests import digest_trunk
from lib.errors import InputError
from lib.faces.dataset import FaceSet
from lib.finetuning import make_tasks
from lib.network import Readout
from lib.progress import track
from lib.relevance import shards
from lib.relevance.composites import Composite
from lib.relevance.compute import Difference, Target, choose_precision, compute_relevance
from lib.vgg import Trunk

TARGETS = ("true", "predicted", "rank_2", "contrast")
CHANNELS = ("sum", "largest")
#: Dimensions of the stored maps.
DIMENSIONS = ("model", "identity", "y", "x")


def list_models(readouts: Mapping[str, Sequence[Readout]]) -> pd.DataFrame:
    """All models, pretraining by pretraining.

    Parameters
    ----------
    readouts : mapping
        Pretraining -> readouts named ``<task>-<instance>``.

    Returns
    -------
    DataFrame
        Columns ``model``, ``pretraining``, ``task``, ``instance``.
    """
    rows = []
    for pretraining, some in readouts.items():
        for readout in some:
            task, _, instance = readout.name.rpartition("-")
            rows.append((f"{pretraining}/{task}/{instance}", pretraining, task, int(instance)))
    return pd.DataFrame(rows, columns=["model", "pretraining", "task", "instance"])


def choose_targets(
    faces: FaceSet, rows: np.ndarray, tasks: Sequence[str], target: str
) -> dict[str, Target]:
    """What is explained of some images, for each task.

    Parameters
    ----------
    faces : FaceSet
        All faces that the readouts were trained on; they say the classes.
    rows : ndarray of int
        Rows of its table.
    tasks : sequence of str
    target : {"true", "predicted", "rank_2", "contrast"}
        ``contrast`` is the true class less the strongest other one.

    Returns
    -------
    dict
        Task -> true classes (rows,), ``"predicted"``, ``"rank_2"``, or a Difference.

    Raises
    ------
    InputError
        An unknown target, or as :func:`lib.finetuning.make_tasks`.
    """
    if target not in TARGETS:
        raise InputError(f"There is no target {target!r}; use {', '.join(TARGETS)}.")
    if target in ("predicted", "rank_2"):
        return dict.fromkeys(tasks, target)
    true = {task.name: task.labels[rows] for task in make_tasks(faces.table, tasks)}
    if target == "true":
        return true
    return {task: Difference(classes, "rival") for task, classes in true.items()}


def find_views(faces: FaceSet, people: Sequence[str], viewpoints: Sequence[float]) -> np.ndarray:
    """Rows of some people's images from given viewpoints (degrees), where there are such images.

    Returns
    -------
    ndarray of int
        Person by person, each from left to right.
    """
    table = faces.table.reset_index(drop=True)
    some = table[table["viewpoint"].isin(viewpoints) & table["identity"].isin(people)]
    some = some.drop_duplicates(["identity", "viewpoint"])
    return some.sort_values(["identity", "viewpoint"]).index.to_numpy(int)


def reduce_channels(maps: np.ndarray) -> np.ndarray:
    """Relevance of the colour channel that has most of it, with its sign; the first of equals.

    The paper does not say how three channels make one pixel; they are summed elsewhere. The flat
    rule gives all channels of a pixel the same, so under it the two differ by a factor of three.

    Parameters
    ----------
    maps : ndarray, (..., channels)

    Returns
    -------
    ndarray, (...)
    """
    largest = np.abs(maps).argmax(-1)
    return np.take_along_axis(maps, largest[..., None], -1)[..., 0]


def compute_maps(
    trunks: Mapping[str, Trunk],
    readouts: Mapping[str, Sequence[Readout]],
    images: np.ndarray,
    targets: Mapping[str, Target],
    names: Sequence[str],
    composite: str | Composite = "a_flat",
    *,
    engine: str = "shared",
    precision: str = "auto",
    channels: str = "sum",
    progress: bool = True,
    parts: Path | None = None,
) -> xr.Dataset:
    """Raw relevance maps of all models for all images.

    One array holds them all (20 models, 101 faces, 224 pixels: 405 MB); what else is in memory
    belongs to a few images at a time.

    Parameters
    ----------
    trunks, readouts : mapping
        By pretraining.
    images : ndarray of uint8, (image, y, x) or (image, y, x, 3)
    targets : mapping
        Task -> target, see :func:`choose_targets`.
    names : sequence of str
        Identity of each image.
    composite, engine, precision
        See :func:`lib.relevance.compute_relevance`.
    channels : {"sum", "largest"}
        What makes the relevance of a pixel, see :func:`reduce_channels`.
    progress : bool
    parts : Path, optional
        Folder of blocks that :func:`compute_block` has written elsewhere; those that fit are taken
        up and the rest is computed.

    Returns
    -------
    Dataset
        ``relevance`` (model, identity, y, x) float32, not normalised; zero everywhere where a
        target gets no relevance. ``target`` (model, identity) int, the class explained; ``score``
        (model, identity), its logit or difference. Coordinates ``model``, ``pretraining``,
        ``task``, ``instance``, ``identity``.
    """
    if channels not in CHANNELS:
        raise InputError(f"channels = {channels!r} is refused; use {' or '.join(CHANNELS)}.")
    models = list_models(readouts)
    shape = (len(models), len(images))
    side = next(iter(trunks.values())).size
    relevance = np.zeros((*shape, side, side), np.float32)
    target, score = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    first = 0
    settings = {"engine": engine, "precision": choose_precision(precision), "channels": channels}
    for pretraining, some in readouts.items():
        mine = slice(first, first + len(some))
        into = {"relevance": relevance[mine], "target": target[mine], "score": score[mine]}
        explained = [targets[readout.name.rpartition("-")[0]] for readout in some]
        given = (trunks[pretraining], some, images, explained, composite)
        left = [slice(0, len(images))]
        if parts is not None and parts.is_dir():
            left = shards.take_up(parts, _name_work(*given, settings), images, explained, into)
        for rows in left:
            _explain(*given, rows, {n: a[:, rows] for n, a in into.items()}, settings, progress)
        first += len(some)
    return xr.Dataset(
        {
            "relevance": (DIMENSIONS, relevance),
            "target": (DIMENSIONS[:2], target),
            "score": (DIMENSIONS[:2], score),
        },
        {
            **{c: ("model", models[c].to_numpy()) for c in models},
            "identity": list(names),
        },
    )


def compute_block(
    path: Path,
    trunk: Trunk,
    readouts: Sequence[Readout],
    images: np.ndarray,
    targets: Mapping[str, Target],
    composite: str | Composite,
    part: tuple[int, int],
    *,
    engine: str = "shared",
    precision: str = "auto",
    channels: str = "sum",
    progress: bool = True,
) -> int:
    """Maps of one trunk's readouts for a part of the images, for :func:`compute_maps` to take up.

    Parameters
    ----------
    path : Path
        ``.npz`` to write.
    trunk, readouts, images, targets, composite, engine, precision, channels, progress
        Of :func:`compute_maps`, of one pretraining and all images that are cut into parts.
    part : (k, n)
        Which part, counted from 0, of how many; see :func:`lib.relevance.shards.cut_rows`.

    Returns
    -------
    int
        Images in the part.
    """
    rows = shards.cut_rows(len(images), len(readouts), *part)
    explained = [targets[readout.name.rpartition("-")[0]] for readout in readouts]
    shape = (len(readouts), rows.stop - rows.start)
    into = {
        "relevance": np.zeros((*shape, trunk.size, trunk.size), np.float32),
        "target": np.zeros(shape, np.int32),
        "score": np.zeros(shape, np.float32),
    }
    settings = {"engine": engine, "precision": choose_precision(precision), "channels": channels}
    given = (trunk, readouts, images, explained, composite)
    if shape[1]:
        _explain(*given, rows, into, settings, progress)
    mine = [shards.cut_target(target, rows) for target in explained]
    digest = shards.digest_block(_name_work(*given, settings), images[rows], mine)
    shards.save_block(path, rows, digest, into)
    return shape[1]


def _name_work(trunk, readouts, images, targets, composite, settings) -> list[str]:
    """What decides the maps of all images of a trunk."""
    return [digest_trunk(trunk, readouts), repr(composite), *settings.values()]


def _explain(trunk, readouts, images, targets, composite, rows, into, settings, progress) -> None:
    """Maps of some images, written into arrays of their own (readout, image, ...)."""
    stream = compute_relevance(
        trunk,
        readouts,
        images[rows],
        [shards.cut_target(target, rows) for target in targets],
        composite,
        engine=settings["engine"],
        precision=settings["precision"],
        on_zero="keep",
        sum_channels=settings["channels"] == "sum",
        progress=progress,
    )
    for batch in stream:
        maps = batch.relevance
        maps = maps if settings["channels"] == "sum" else reduce_channels(maps)
        into["relevance"][:, batch.rows] = np.moveaxis(maps, 0, 1)
        into["target"][:, batch.rows] = batch.target.T
        into["score"][:, batch.rows] = batch.score.T


def compute_subset(
    trunks: Mapping[str, Trunk],
    readouts: Mapping[str, Sequence[Readout]],
    faces: FaceSet,
    rows: np.ndarray,
    target: str,
    methods: Sequence[str],
    *,
    precision: str = "auto",
    channels: str = "sum",
) -> dict[str, xr.Dataset]:
    """Maps of a few faces by several methods, each as :func:`compute_maps` gives them.

    Parameters
    ----------
    trunks, readouts : mapping
    faces : FaceSet
    rows : ndarray of int
        Rows of its table.
    target : str
        See :func:`choose_targets`.
    methods : sequence of str
        Names of :data:`lib.relevance.COMPOSITES` or :data:`lib.relevance.METHODS`.
    precision, channels : str

    Returns
    -------
    dict
        Method -> Dataset.
    """
    tasks = list(dict.fromkeys(list_models(readouts)["task"]))
    targets = choose_targets(faces, rows, tasks, target)
    names = faces.table["identity"].iloc[rows]
    images = faces.images(rows)
    settings = {"precision": precision, "channels": channels, "progress": False}
    return {
        method: compute_maps(trunks, readouts, images, targets, names, method, **settings)
        for method in track(methods, "methods")
    }


def models_of(maps: xr.Dataset) -> pd.DataFrame:
    """The table of :func:`list_models` from the coordinates of stored maps."""
    return pd.DataFrame(
        {c: maps[c].to_numpy() for c in ("model", "pretraining", "task", "instance")}
    )


def summarise_conservation(maps: xr.Dataset) -> pd.DataFrame:
    """How much of the score arrives at the pixels, by condition.

    Returns
    -------
    DataFrame
        Columns ``pretraining``, ``task``, ``maps``, ``zero`` (maps without any relevance),
        ``negative`` (maps of a score below 0), and of the sum of a map over its score ``median``,
        ``low``, ``high`` (5th and 95th percentile); scores of 0 are left out.
    """
    total = maps["relevance"].sum(("y", "x"), dtype=np.float64).to_numpy()
    zero = ~maps["relevance"].any(("y", "x")).to_numpy()
    score = maps["score"].to_numpy()
    kept = total / np.where(score == 0, np.nan, score)
    rows = []
    for (pretraining, task), some in models_of(maps).groupby(["pretraining", "task"], sort=False):
        values = kept[some.index]
        values = values[np.isfinite(values)]
        low, median, high = np.percentile(values, [5, 50, 95]) if values.size else [np.nan] * 3
        counts = (values_of[some.index].sum() for values_of in (zero, score < 0))
        rows.append((pretraining, task, zero[some.index].size, *counts, median, low, high))
    columns = ["pretraining", "task", "maps", "zero", "negative", "median", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def compare_engines(
    trunks: Mapping[str, Trunk],
    readouts: Mapping[str, Sequence[Readout]],
    images: np.ndarray,
    targets: Mapping[str, Target],
    composites: Sequence[str],
    precision: str = "auto",
) -> tuple[pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    """The shared engine against iNNvestigate on real maps, a readout of every trunk.

    Tasks take turns: the first trunk's first readout of the first task, the second trunk's of the
    second, and so on, since every width of readout needs a graph of its own there.

    Parameters
    ----------
    trunks, readouts : mapping
        By pretraining.
    images : ndarray
        A few faces.
    targets : mapping
        Task -> target, see :func:`choose_targets`.
    composites : sequence of str
        That iNNvestigate has.
    precision : {"auto", "float32", "winograd", "mixed"}
        What the run uses; float32 is compared in any case.

    Returns
    -------
    table : DataFrame
        Columns ``model``, ``composite``, ``precision``, ``maps``, and the worst over the maps of
        ``largest`` (largest difference over largest |R|), ``r`` (Pearson) and ``top`` (share of
        the tenth of the pixels with the largest |R| that is the same).
    maps : dict
        Model -> ``innvestigate``, ``shared`` -> (image, y, x), float32, of the first composite.
    """
    modes = dict.fromkeys(["float32", choose_precision(precision)])
    models = list_models(readouts)
    rows: list[tuple] = []
    shown: dict[str, dict[str, np.ndarray]] = {}
    for number, (name, trunk) in enumerate(trunks.items()):
        mine = models[models["pretraining"] == name].reset_index(drop=True)
        tasks = mine["task"].unique()
        chosen = mine[mine["task"] == tasks[number % len(tasks)]].iloc[0]
        given = (trunk, readouts[name][chosen.name], images, targets[chosen["task"]])
        for composite in composites:
            theirs = _maps(*given, composite, engine="innvestigate")
            for mode in modes:
                ours = _maps(*given, composite, precision=mode)
                shown.setdefault(chosen["model"], {"innvestigate": theirs, "shared": ours})
                measured = _worst(ours, theirs)
                rows.append((chosen["model"], composite, mode, len(ours), *measured))
    columns = ["model", "composite", "precision", "maps", "largest", "r", "top"]
    return pd.DataFrame(rows, columns=columns), shown


def _worst(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Largest difference over largest |R|, r, and share of the top; the worst over maps each."""
    flat = [m.reshape(len(m), -1).astype(np.float64) for m in (ours, theirs)]
    largest = np.abs(flat[0] - flat[1]).max(1) / np.abs(flat[1]).max(1)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(*flat, strict=True)]
    return largest.max(), min(r), min(_common(a, b) for a, b in zip(*flat, strict=True))


def name_bound(value: float, least: float = 1e-6) -> str:
    """A number as a power of ten that it does not exceed, in words.

    Rounding errors differ between machines; their order does not.

    Parameters
    ----------
    value : float
        Not negative.
    least : float
        Power of ten below which no lower bound is named.

    Examples
    --------
    >>> name_bound(5.3e-7), name_bound(2e-3)
    ('below 1e-6', 'below 1e-2')
    """
    if not np.isfinite(value):
        return "not finite"
    power = round(np.log10(least))
    while value > 10.0**power:
        power += 1
    return f"below 1e{power}"


def _maps(trunk, readout, images, target, composite, **settings) -> np.ndarray:
    stream = compute_relevance(
        trunk, [readout], images, target, composite, progress=False, **settings
    )
    return np.concatenate([batch.relevance[:, 0] for batch in stream])


def _common(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the tenth of the pixels on top of one map that is on top of the other."""
    count = max(1, a.size // 10)
    top = [set(np.argsort(-np.abs(m), kind="stable")[:count]) for m in (a, b)]
    return len(top[0] & top[1]) / count
