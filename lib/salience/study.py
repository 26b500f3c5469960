"""The measures of all networks of a run, by condition and by method, and what they foretell."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image
from scipy import stats
from skimage import data as pictures

from lib.errors import InputError
from lib.finetuning import make_tasks
from lib.generalization.auc import area_under_curve
from lib.inputs import choose_identities
from lib.network import Readout
from lib.progress import track
from lib.relevance.study import list_models
from lib.salience import perturb
from lib.salience.explain import Explainer
from lib.salience.measures import (
    compute_entropy,
    compute_spatial_entropy,
    compute_stability,
    scale_maps,
)
from lib.salience.report import bootstrap_mean, compute_salience, summarise_salience
from lib.salience.similarity import compute_ssim

#: Out-of-set images (Crum et al. 2023, section 3.2), of those that scikit-image carries.
UNRELATED = {
    "objects": ("coins", "coffee", "rocket", "camera"),
    "textures": ("brick", "grass", "gravel"),
}
#: One number per map and measure: name -> (measure, condition; None for the mean over them).
NUMBERS = {
    "S_entropy": ("S_entropy", ""),
    "spatial_entropy": ("spatial_entropy", ""),
    "S_noise": ("S_noise", None),
    "S_unrelated": ("S_unrelated", "other faces"),
    "S_geo": ("S_geo", None),
    "S_stability": ("S_stability", ""),
    "S_resilience background": ("S_resilience", "background"),
    "S_resilience object": ("S_resilience", "object"),
}
#: The histogram of the published sample: counts of its 21 distinct values on 49 cells. No other
#: 21 counts have the printed entropy of 3.0413 bits.
SAMPLE = (25, 4, 2, *(1,) * 18)
AREA = "masking area"
FACTORS = ("pretraining", "task", "instance")


# ------------------------------------------------------------------------------------------ inputs


def choose_faces(table: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """Places of some people among the sorted identities, drawn at random, genders in turn.

    Parameters
    ----------
    table : DataFrame
        Of a face set.
    count : int
        0, or more than there are, for all.
    seed : int

    Returns
    -------
    ndarray of int, sorted
    """
    names = sorted(table["identity"].unique())
    if not 0 < count < len(names):
        return np.arange(len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    shuffled = table.assign(identity=table["identity"].map(dict(zip(names, order, strict=True))))
    return np.sort(np.argsort(order)[choose_identities(shuffled, count)])


def choose_others(people: int, count: int, seed: int) -> np.ndarray:
    """Places of some people drawn at random, sorted; all where there are no more."""
    rng = np.random.default_rng([seed, 1])
    return np.sort(rng.permutation(people)[:count])


def load_unrelated(size: int, colour: bool = False) -> dict[str, np.ndarray]:
    """Pictures of things that are no faces.

    Parameters
    ----------
    size : int
        Side, pixels.
    colour : bool
        With three channels, which are equal in pictures that are grey.

    Returns
    -------
    dict
        ``objects``, ``textures`` -> uint8 (n, size, size[, 3]): the middle square of each picture.
    """
    found = {}
    for kind, names in UNRELATED.items():
        some = []
        for name in names:
            picture = Image.fromarray(getattr(pictures, name)()).convert("RGB" if colour else "L")
            side = min(picture.size)
            left, top = ((length - side) // 2 for length in picture.size)
            square = picture.crop((left, top, left + side, top + side))
            some.append(np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)))
        found[kind] = np.stack(some)
    return found


def select_readouts(
    readouts: Mapping[str, Sequence[Readout]], initialisations: int
) -> dict[str, list[Readout]]:
    """The first initialisations of every pretraining and task."""
    return {
        name: [r for r in some if int(r.name.rpartition("-")[2]) < initialisations]
        for name, some in readouts.items()
    }


def select_networks(data: xr.Dataset, readouts: Mapping[str, Sequence[Readout]]) -> xr.Dataset:
    """The measures of some of the networks; the stability of their conditions stays that of all."""
    wanted = set(list_models(readouts)["model"])
    return data.isel(model=[k for k, m in enumerate(data["model"].to_numpy()) if m in wanted])


def select_conditions(
    data: xr.Dataset,
    amounts: Sequence[float],
    transforms: Sequence[str],
    unrelated: Sequence[str],
) -> xr.Dataset:
    """Some of the conditions that were measured; what has no conditions stays.

    Parameters
    ----------
    data : Dataset
        Of `compute_study`.
    amounts : sequence of float
        Of S_noise.
    transforms, unrelated : sequence of str
        Of S_geo and S_unrelated; of a mapping its keys count.

    Raises
    ------
    InputError
        One of them was not measured.
    """
    wanted = {
        "S_noise": [f"{amount:g}" for amount in amounts],
        "S_geo": [*transforms],
        "S_unrelated": [*unrelated],
    }
    columns = list(
        zip(*(data[name].to_numpy().tolist() for name in ("measure", "condition")), strict=True)
    )
    for measure, conditions in wanted.items():
        known = [condition for name, condition in columns if name == measure]
        absent = [condition for condition in conditions if condition not in known]
        if absent:
            raise InputError(
                f"{measure} was not measured for {absent[0]!r}, only for {', '.join(known)}; "
                "methods are compared in what all of them were measured in."
            )
    kept = [
        k
        for k, (name, condition) in enumerate(columns)
        if name not in wanted or condition in wanted[name]
    ]
    return data.isel(column=kept)


# --------------------------------------------------------------------------------------- computing


def compute_study(
    trunks: Mapping,
    readouts: Mapping[str, Sequence[Readout]],
    images: np.ndarray,
    labels: Mapping[str, np.ndarray],
    names: Sequence[str],
    method: str,
    *,
    precision: str = "auto",
    folder: Path | None = None,
    **options,
) -> xr.Dataset:
    """The measures of every network for every image by one method.

    Parameters
    ----------
    trunks, readouts : mapping
        By pretraining; readouts are named ``<task>-<instance>``.
    images : ndarray, (image, y, x) or (image, y, x, 3)
    labels : mapping
        Task -> true class of every image.
    names : sequence of str
        Identity of every image.
    method : str
        Of `lib.relevance`.
    precision : str
    folder : Path, optional
        Results are kept there while the study runs; what other settings have left is removed.
    **options
        Of `compute_salience`.

    Returns
    -------
    Dataset
        As `compute_salience` gives, for all trunks: coordinates ``model``
        (``<pretraining>/<task>/<instance>``), ``pretraining``, ``task``, ``instance``,
        ``identity`` of the images, and ``group`` (``<pretraining>/<task>``).
    """
    parts = []
    for pretraining, some in readouts.items():
        explainer = Explainer(trunks[pretraining], some, method, precision=precision)
        tasks = {readout.name: readout.name.rpartition("-")[0] for readout in some}
        mine = None if folder is None else Path(folder) / f"{pretraining}-{method}"
        part = compute_salience(
            explainer,
            images,
            [labels[task] for task in tasks.values()],
            groups=tasks,
            folder=mine,
            **options,
        )
        if mine is not None:
            prune(mine, part.attrs["digest"])
        parts.append(
            part.drop_attrs().assign_coords(
                model=[f"{pretraining}/{'/'.join(n.rsplit('-', 1))}" for n in tasks],
                group=[f"{pretraining}/{task}" for task in part["group"].to_numpy()],
            )
        )
    stable = xr.concat([part["stability"] for part in parts], "group")
    values = xr.concat([part["value"] for part in parts], "model")
    models = list_models(readouts)
    return xr.Dataset({"value": values, "stability": stable}).assign_coords(
        {factor: ("model", models[factor].to_numpy()) for factor in FACTORS}
        | {"identity": ("image", list(names))}
    )


def prune(folder: Path, digest: str) -> None:
    """Remove what `compute_salience` of other settings has kept in a folder."""
    for path in folder.glob("salience-*"):
        if not path.name.endswith(digest):
            shutil.rmtree(path, ignore_errors=True)


def compute_stored(maps: xr.DataArray) -> xr.Dataset:
    """What can be measured on maps that are there already: entropies, and stability.

    Parameters
    ----------
    maps : DataArray
        ``relevance`` of `lib.relevance.study.compute_maps`, (model, identity, y, x).

    Returns
    -------
    Dataset
        As `compute_study`.
    """
    names = [("S_entropy", ""), ("spatial_entropy", ""), ("constant", "")]
    values = np.empty((maps.sizes["model"], len(names), maps.sizes["identity"]))
    for k in range(maps.sizes["model"]):
        some = maps[k].to_numpy()
        empty = np.ptp(np.abs(some), axis=(-2, -1)) == 0
        values[k] = compute_entropy(some), compute_spatial_entropy(some), empty
    factors = {f: maps[f].to_numpy() for f in FACTORS}
    conditions = pd.Series(factors["pretraining"]) + "/" + pd.Series(factors["task"])
    members = {name: np.array(rows) for name, rows in conditions.groupby(conditions).groups.items()}
    members = {name: rows for name, rows in members.items() if len(rows) > 1}
    stable = np.full((len(members), maps.sizes["identity"]), np.nan)
    for k in track(range(maps.sizes["identity"]), "stability of the stored maps"):
        scaled = scale_maps(maps[:, k].to_numpy())
        for row, runs in enumerate(members.values()):
            known = runs[np.ptp(scaled[runs], axis=(-2, -1)) > 0]
            stable[row, k] = compute_stability(scaled[known]) if len(known) > 1 else np.nan
    return xr.Dataset(
        {
            "value": (("model", "column", "image"), values),
            "stability": (("group", "image"), stable),
        },
        {
            "model": maps["model"].to_numpy(),
            **{f: ("model", column) for f, column in factors.items()},
            "measure": ("column", [measure for measure, _ in names]),
            "condition": ("column", [condition for _, condition in names]),
            "group": list(members),
            "identity": ("image", maps["identity"].to_numpy()),
        },
    )


def true_classes(table: pd.DataFrame, rows: np.ndarray, tasks: Sequence[str]) -> dict:
    """Task -> true class of some rows of a face set's table."""
    return {task.name: task.labels[rows] for task in make_tasks(table, tasks)}


# ---------------------------------------------------------------------------------------- summary


def average_conditions(data: xr.Dataset) -> xr.Dataset:
    """Mean over the networks of every pretraining and task, per image: networks become conditions.

    A network without a value (a constant map) is left out of its mean.
    """
    names = _condition_names(data)
    kinds = list(dict.fromkeys(names))
    array = data["value"].to_numpy()
    values = np.stack([_mean(array[names == kind], 0) for kind in kinds])
    first = [int(np.flatnonzero(names == kind)[0]) for kind in kinds]
    averaged = data[["value", "stability"]].isel(model=first).assign_coords(model=kinds)
    return averaged.assign(value=(("model", "column", "image"), values))


def _condition_names(data: xr.Dataset) -> np.ndarray:
    factors = (data[f].to_numpy().astype(str) for f in ("pretraining", "task"))
    return np.array(["/".join(pair) for pair in zip(*factors, strict=True)])


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def summarise_conditions(
    data: xr.Dataset, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Every measure by pretraining and task, with bootstrap intervals over images.

    Returns
    -------
    DataFrame
        ``pretraining``, ``task``, ``networks``, ``measure``, ``condition``, ``value``, ``low``,
        ``high``, ``images``, as of `summarise_salience` for means over networks.
    """
    table = summarise_salience(average_conditions(data), draws=draws, level=confidence, seed=seed)
    counts = pd.Series(_condition_names(data)).value_counts()
    parts = table["model"].str.rsplit("/", n=1, expand=True)
    table.insert(0, "pretraining", parts[0])
    table.insert(1, "task", parts[1])
    table.insert(2, "networks", table["model"].map(counts))
    return table.drop(columns="model")


def reduce_measures(data: xr.Dataset) -> xr.DataArray:
    """One number per network, image and measure (`NUMBERS`), as far as they were computed.

    Returns
    -------
    DataArray, (model, number, image)
        The stability of a condition is given to each of its networks.
    """
    measure = data["measure"].to_numpy().astype(str)
    condition = data["condition"].to_numpy().astype(str)
    array = data["value"].to_numpy()
    found = {}
    for name, (wanted, at) in NUMBERS.items():
        if wanted == "S_stability":
            stable = dict(
                zip(data["group"].to_numpy().tolist(), data["stability"].to_numpy(), strict=True)
            )
            missing = np.full(data.sizes["image"], np.nan)
            rows = [stable.get(group, missing) for group in _condition_names(data)]
            if stable:
                found[name] = np.stack(rows)
            continue
        mine = (measure == wanted) & (condition == at if at is not None else condition != "0")
        if mine.any():
            found[name] = array[:, mine].mean(1)
    return xr.DataArray(
        np.stack(list(found.values()), axis=1),
        dims=("model", "number", "image"),
        coords={
            "model": data["model"].to_numpy(),
            **{f: ("model", data[f].to_numpy()) for f in FACTORS},
            "number": list(found),
            "identity": ("image", data["identity"].to_numpy()),
        },
    )


def average_networks(numbers: xr.DataArray) -> pd.DataFrame:
    """Mean over images of every network and measure.

    Returns
    -------
    DataFrame
        ``pretraining``, ``task``, ``instance``, ``measure``, ``value``.
    """
    means = _mean(numbers.to_numpy(), -1)
    rows = [
        (*(numbers[f].to_numpy()[k] for f in FACTORS), name, means[k, j])
        for k in range(means.shape[0])
        for j, name in enumerate(numbers["number"].to_numpy().tolist())
    ]
    return pd.DataFrame(rows, columns=[*FACTORS, "measure", "value"])


def compare_conditions(
    data: xr.Dataset, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Differences between conditions on the same images, with bootstrap intervals over images.

    Returns
    -------
    DataFrame
        ``measure``; ``factor`` (pretraining or task) and ``within`` (the level of the other one);
        ``first``, ``second`` (levels compared); ``difference`` (second less first), ``low``,
        ``high`` (as of `summarise_salience`), ``images``.
    """
    numbers = reduce_measures(average_conditions(data))
    factors = ["pretraining", "task"]
    levels = {f: list(dict.fromkeys(numbers[f].to_numpy().tolist())) for f in factors}
    place = {
        key: k for k, key in enumerate(zip(*(numbers[f].to_numpy() for f in factors), strict=True))
    }
    array = numbers.to_numpy()
    rng = np.random.default_rng(seed)
    count = array.shape[-1]
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    rows = []
    for factor, other in (factors, factors[::-1]):
        for within in levels[other]:
            for second in levels[factor][1:]:
                first = levels[factor][0]
                keys = [{factor: level, other: within} for level in (first, second)]
                spots = [place.get(tuple(key[f] for f in factors)) for key in keys]
                if None in spots:
                    continue
                for k, name in enumerate(numbers["number"].to_numpy().tolist()):
                    gap = array[spots[1], k] - array[spots[0], k]
                    known = np.isfinite(gap)
                    if not known.any():
                        continue
                    low, high = bootstrap_mean(gap, weights, confidence)
                    values = (gap[known].mean(), low, high, int(known.sum()))
                    rows.append((name, factor, within, first, second, *values))
    columns = ["measure", "factor", "within", "first", "second"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "low", "high", "images"])


def show_conditions(table: pd.DataFrame) -> pd.DataFrame:
    """The summary as the chapter shows it: a row per measure, a column per condition.

    A cell holds the mean and its interval.
    """
    whole = table["measure"].isin(["S_noise", "S_geo"])
    some = table[~whole | (table["condition"] == "all")]
    cells = [_cell(row.value, row.low, row.high) for row in some.itertuples()]
    some = some.assign(
        measure=(some["measure"] + " " + some["condition"].replace("all", "")).str.strip(),
        cell=cells,
        of=some["pretraining"] + ", " + some["task"],
    )
    order = list(dict.fromkeys(some["measure"]))
    wide = some.set_index(["measure", "of"])["cell"].unstack("of")  # noqa: PD010
    wide = wide.loc[order, list(dict.fromkeys(some["of"]))].fillna("none")
    return wide.rename_axis(None, axis=1).reset_index()


def _cell(value: float, low: float, high: float, sign: str = "") -> str:
    """A number with its interval, if it has one."""
    if not np.isfinite(value):
        return "none"
    alone = f"{value:{sign}.2f}"
    return f"{alone} [{low:{sign}.2f}, {high:{sign}.2f}]" if np.isfinite(low) else alone


def show_contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """The comparison as the chapter shows it: a row per measure, a column per contrast."""
    some = table.assign(
        of=table["second"] + " - " + table["first"] + ", " + table["within"],
        cell=[_cell(row.difference, row.low, row.high, "+") for row in table.itertuples()],
    )
    wide = some.set_index(["measure", "of"])["cell"].unstack("of")  # noqa: PD010
    order = [list(dict.fromkeys(some[name])) for name in ("measure", "of")]
    wide = wide.loc[order[0], order[1]].fillna("none")
    return wide.rename_axis(None, axis=1).reset_index()


def join_methods(summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of `summarise_conditions` under each other, with the method in front."""
    tables = [table.assign(method=name) for name, table in summaries.items()]
    table = pd.concat(tables, ignore_index=True)
    return table[["method", *table.columns.drop("method")]]


def show_methods(by_method: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Mean of every measure over conditions and images: a row per measure, a column per method."""
    means = {name: _grand_means(data) for name, data in by_method.items()}
    order = [name for name in NUMBERS if any(name in some for some in means.values())]
    return pd.DataFrame(means).reindex(order).rename_axis("measure").reset_index()


def _grand_means(data: xr.Dataset) -> pd.Series:
    numbers = reduce_measures(average_conditions(data))
    each = _mean(numbers.to_numpy().swapaxes(0, 1).reshape(numbers.sizes["number"], -1), 1)
    return pd.Series(each, numbers["number"].to_numpy())


# ------------------------------------------------------------------------------------- prediction


def compute_areas(scores: xr.Dataset, axis: str, ends: str, fill: str) -> xr.DataArray:
    """Area under accuracy against the percentage masked, per network and face.

    Pixels are removed by the network's own relevance; the mean over faces is the area of
    `lib.generalization` for the bin ``same_instance``.

    Parameters
    ----------
    scores : Dataset
        Of chapter 04.
    axis, ends : str
        See `lib.generalization.auc.area_under_curve`.
    fill : str

    Returns
    -------
    DataArray, (model, identity)
    """
    some = scores["correct"].sel(mask="relevance", fill=fill)
    models = [m for m in some["destination"].to_numpy() if m in set(some["source"].to_numpy())]
    if not models:
        raise InputError("No network of the scores was masked by its own relevance.")
    own = np.stack(
        [
            some.sel(source=m, destination=m).transpose("identity", "level").to_numpy()
            for m in models
        ]
    )
    area = area_under_curve(some["level"].to_numpy(), own, axis, ends)
    return xr.DataArray(
        area,
        dims=("model", "identity"),
        coords={"model": models, "identity": some["identity"].to_numpy()},
    )


def join_areas(numbers: xr.DataArray, areas: xr.DataArray) -> xr.DataArray:
    """Measures with the masking area of the same network and face as one more number."""
    mine = areas.sel(model=numbers["model"].to_numpy(), identity=numbers["identity"].to_numpy())
    array = np.concatenate([numbers.to_numpy(), mine.to_numpy()[:, None]], axis=1)
    coords = {name: c for name, c in numbers.coords.items() if name != "number"}
    coords["number"] = [*numbers["number"].to_numpy().tolist(), AREA]
    return xr.DataArray(array, dims=numbers.dims, coords=coords)


def rank_correlation(values: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation between numbers over images.

    Parameters
    ----------
    values : ndarray, (..., numbers, images)
        An image with a missing number is left out of that network.

    Returns
    -------
    ndarray (..., numbers, numbers)
        NaN where a number does not vary.
    """
    known = np.isfinite(values).all(-2, keepdims=True)
    # what is missing gets the highest ranks, so those of the others are as without it
    ranks = stats.rankdata(np.where(known, values, np.inf), axis=-1)
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    centred = np.where(known, ranks - np.where(known, ranks, 0).sum(-1, keepdims=True) / count, 0)
    product = centred @ np.swapaxes(centred, -1, -2)
    size = np.sqrt(np.diagonal(product, axis1=-2, axis2=-1))
    scale = size[..., :, None] * size[..., None, :]
    return np.divide(product, scale, out=np.full(product.shape, np.nan), where=scale > 1e-9)


def correlate_within(
    numbers: xr.DataArray, draws: int = 1000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Rank correlations over faces within a network, mean over networks.

    What differs between networks (their accuracy, the chance level of their task) has no part in
    it.

    Returns
    -------
    DataFrame
        ``first``, ``second``, ``rho``, ``low``, ``high`` (bootstrap over faces; NaN with fewer than
        three, whose ranks agree or disagree wholly), ``networks`` (with a value).
    """
    array = numbers.to_numpy()
    names = numbers["number"].to_numpy().tolist()
    each = rank_correlation(array)
    mean, networks = _mean(each, 0), np.isfinite(each).sum(0)
    rng = np.random.default_rng(seed)
    count = array.shape[-1]
    drawn = np.stack(
        [
            _mean(rank_correlation(array[..., rng.integers(count, size=count)]), 0)
            for _ in range(draws)
        ]
    )
    tails = (1 - confidence) / 2
    rows = []
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            some = drawn[:, a, b][np.isfinite(drawn[:, a, b])]
            sure = some.size and count > 2
            low, high = np.quantile(some, [tails, 1 - tails]) if sure else (np.nan, np.nan)
            rows.append((names[a], names[b], mean[a, b], low, high, int(networks[a, b])))
    return pd.DataFrame(rows, columns=["first", "second", "rho", "low", "high", "networks"])


def correlate_between(numbers: xr.DataArray) -> pd.DataFrame:
    """Rank correlation of every measure with the masking area over the networks of a task.

    Of the means over faces. The networks of a pretraining share their trunk and are no independent
    sample, so there is no interval.

    Returns
    -------
    DataFrame
        ``task``, ``measure``, ``rho``, ``networks``, ``trunks``.
    """
    names = numbers["number"].to_numpy().tolist()
    array = _mean(numbers.to_numpy(), -1)
    tasks = numbers["task"].to_numpy()
    rows = []
    for task in dict.fromkeys(tasks.tolist()):
        mine = array[tasks == task]
        rho = rank_correlation(mine.T)
        trunks = len(set(numbers["pretraining"].to_numpy()[tasks == task]))
        for k, name in enumerate(names[:-1]):
            rows.append((task, name, rho[k, -1], len(mine), trunks))
    return pd.DataFrame(rows, columns=["task", "measure", "rho", "networks", "trunks"])


def summarise_prediction(
    by_maps: Mapping[str, xr.DataArray],
    passes: Mapping[str, int],
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """How well each measure of each kind of map foretells the masking area.

    Parameters
    ----------
    by_maps : mapping
        Kind of map -> measures of `join_areas`.
    passes : mapping
        Measure -> further maps per face that it takes.

    Returns
    -------
    DataFrame
        ``maps``, ``measure``, ``passes``, ``rho``, ``low``, ``high`` (over faces within networks),
        ``faces``, then per task ``rho <task>`` over the networks.
    """
    tables = []
    for kind, numbers in by_maps.items():
        within = correlate_within(numbers, draws, confidence, seed)
        within = within[within["second"] == AREA].rename(columns={"first": "measure"})
        between = correlate_between(numbers)
        wide = between.set_index(["measure", "task"])["rho"].unstack("task")  # noqa: PD010
        table = within[["measure", "rho", "low", "high"]].assign(
            faces=numbers.sizes["image"], networks=numbers.sizes["model"]
        )
        table = table.join(wide.add_prefix("rho "), on="measure")
        table.insert(0, "maps", kind)
        table.insert(2, "passes", table["measure"].map(passes))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def count_passes(amounts: Sequence[float], transforms: int) -> dict[str, int]:
    """Further maps that a measure takes per face and network, beside the map itself."""
    return {
        "S_entropy": 0,
        "spatial_entropy": 0,
        "S_stability": 0,
        "S_noise": sum(amount > 0 for amount in amounts),
        "S_unrelated": 0,
        "S_geo": transforms,
        "S_resilience background": 1,
        "S_resilience object": 1,
    }


# ---------------------------------------------------------------------------------- known answers


def list_known_answers(seed: int = 0) -> pd.DataFrame:
    """Maps whose measures are known beforehand, and what comes out.

    Returns
    -------
    DataFrame
        ``measure``, ``map``, ``known``, ``found``.
    """
    rng = np.random.default_rng(seed)
    delta, flat = np.zeros((7, 7)), np.ones((7, 7))
    delta[3, 2] = 1
    share = 1 / 49
    of_delta = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) / np.log2(49)
    sample = np.repeat(np.linspace(0, 255, len(SAMPLE)).round(), SAMPLE).reshape(7, 7)
    # a blob away from the border, so that no shift loses any of it
    y, x = np.mgrid[:64, :64]
    blob = np.exp(-((y - 30) ** 2 + (x - 35) ** 2) / 18)
    turned = [(t.image(blob), t) for t in perturb.TRANSFORMS]
    follows = np.mean([compute_ssim(blob, t.back(image, 64)) for image, t in turned])
    shift = next(t for t in perturb.TRANSFORMS if t.name == "shift right")
    against = compute_ssim(blob, shift.back(perturb.shift_image(blob, 0, -5), 64))
    runs = rng.random((10, 30, 16, 16))
    rows = [
        ("S_entropy", "one cell of 49", of_delta, compute_entropy(delta)),
        ("S_entropy", "all cells alike", 0.0, compute_entropy(flat)),
        ("S_entropy", "published sample, 21 values", "0.542", compute_entropy(sample)),
        ("its bits", "published sample", "3.0413", compute_entropy(sample) * np.log2(49)),
        ("spatial_entropy", "one cell of 49", 0.0, compute_spatial_entropy(delta)),
        ("spatial_entropy", "all cells alike", 1.0, compute_spatial_entropy(flat)),
        ("S_geo", "follows the image", 1.0, follows),
        ("S_geo", "moves against it", "below 1", against),
        ("S_stability", "10 equal runs", 1.0, compute_stability(np.repeat(runs[:1, 0], 10, 0))),
        ("S_stability", "10 runs of chance", "about 0", compute_stability(runs).mean()),
    ]
    columns = ["measure", "map", "known", "found"]
    table = pd.DataFrame(rows, columns=columns)
    for name in ("known", "found"):
        table[name] = [v if isinstance(v, str) else f"{float(v) + 0.0:.4f}" for v in table[name]]
    return table


# ------------------------------------------------------------------------------------------- words


def state_contrasts(
    table: pd.DataFrame, confidence: float = 0.95, factor: str = "pretraining"
) -> str:
    """How many differences are clear, and the largest, in words."""
    some = table[table["factor"] == factor]
    if some.empty:
        return f"there is one {factor} only, so none to compare"
    some = some[some["low"].notna()]
    if some.empty:
        return f"with one face no difference between {factor}s has an interval"
    clear = some[(some["low"] > 0) | (some["high"] < 0)]
    luck = len(some) * (1 - confidence)
    text = (
        f"{len(clear)} of {len(some)} differences between {factor}s have an interval off zero, "
        f"where chance alone would give about {luck:.1f}"
    )
    if clear.empty:
        return text
    top = clear.loc[clear["difference"].abs().idxmax()]
    more = "higher" if top["difference"] > 0 else "lower"
    return (
        f"{text}; the largest is in {top['measure']}, {more} by "
        f"{abs(top['difference']):.2f} [{min(abs(top['low']), abs(top['high'])):.2f}, "
        f"{max(abs(top['low']), abs(top['high'])):.2f}] under {top['second']} than under "
        f"{top['first']} ({top['within']})"
    )


def state_methods(by_method: Mapping[str, xr.Dataset]) -> str:
    """How much the method matters beside the conditions, in words."""
    if len(by_method) < 2:
        return "One attribution method was measured, so methods are not compared"
    table = show_methods(by_method).set_index("measure")
    spread = (table.max(axis=1) - table.min(axis=1)).dropna()
    top = spread.idxmax()
    row = table.loc[top]
    between = {}
    for name, data in by_method.items():
        numbers = reduce_measures(average_conditions(data))
        if top in numbers["number"].to_numpy():
            means = _mean(numbers.sel(number=top).to_numpy(), -1)
            between[name] = np.nanmax(means) - np.nanmin(means) if np.isfinite(means).any() else 0.0
    return (
        f"Over methods the largest spread is in {top}, from {row.min():.2f} ({row.idxmin()}) to "
        f"{row.max():.2f} ({row.idxmax()}); within one method its conditions lie at most "
        f"{max(between.values()):.2f} apart"
    )


def state_prediction(table: pd.DataFrame, confidence: float = 0.95) -> str:
    """Which measure goes with the masking area, in words."""
    known = table[np.isfinite(table["rho"]) & np.isfinite(table["low"])]
    if known.empty:
        return "With so few faces no link between a measure and the masking area has an interval"
    clear = known[(known["low"] > 0) | (known["high"] < 0)]
    if clear.empty:
        return (
            f"None of the {len(known)} measures goes with the masking area of the same face: every "
            "interval holds zero"
        )
    top = clear.loc[clear["rho"].abs().idxmax()]
    size = abs(top["rho"])
    strength = "weak" if size < 0.3 else "moderate" if size < 0.6 else "strong"
    luck = len(known) * (1 - confidence)
    return (
        f"{len(clear)} of {len(known)} go with the masking area of the same face, where chance "
        f"alone would give about {luck:.1f}; the closest is {top['measure']} of {top['maps']}, a "
        f"{strength} link (rho {top['rho']:.2f} [{top['low']:.2f}, {top['high']:.2f}]) that takes "
        f"{int(top['passes'])} further maps"
    )
