"""Scores as tables: for the statistics of :mod:`lib.generalization`, and for this chapter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from lib.errors import InputError
from lib.generalization.bins import BINS, DESTINATION, SOURCE, bin_of
from lib.masking.masks import SIGNED, check_levels, check_maps, mask_pixels, rank_pixels

_FACTORS = ("pretraining", "task", "instance")
#: Bins of sources that have a destination's own pretraining and task.
OWN = ("same_instance", "other_initialisation")
#: Of the printed protocol: sources drawn for every destination and bin.
DRAWS = 100


def _factors(data: xr.Dataset, dim: str) -> pd.DataFrame:
    """Pretraining, task and instance of the models along a dimension, by name."""
    table = pd.DataFrame({name: data[f"{dim}_{name}"].to_numpy() for name in _FACTORS})
    return table.set_axis(pd.Index(data[dim].to_numpy().astype(str), name="model"))


def scores_table(
    data: xr.Dataset, mask: str | Sequence[str] = "relevance", fill: str | None = None
) -> pd.DataFrame:
    """Scores in the long form that :func:`lib.generalization.check_scores` takes.

    Parameters
    ----------
    data : Dataset
        Of :func:`lib.masking.compute_scores`.
    mask : str or sequence of str
        ``relevance``, or a baseline that follows a source. Baselines hold fewer sources.
    fill : str, optional
        By default all.

    Returns
    -------
    DataFrame
        ``source_pretraining``, ``source_task``, ``source_instance``, the same for
        ``destination``, ``level`` (percent of pixels), ``mask``, ``fill``, ``identity``,
        ``correct`` (0 or 1).

    Raises
    ------
    InputError
        A mask or fill that was not computed, and ``random``, which has no source.
    """
    masks = [mask] if isinstance(mask, str) else list(mask)
    return pd.concat([_one_mask(data, name, fill) for name in masks], ignore_index=True)


def _one_mask(data: xr.Dataset, mask: str, fill: str | None) -> pd.DataFrame:
    baselines = data["baseline"].to_numpy().tolist() if "baseline" in data.coords else []
    if mask == "random":
        raise InputError(
            "Random pixels have no source model and so no bin; compute_random_curves gives their "
            "curves."
        )
    if mask not in ("relevance", *baselines):
        raise InputError(
            f"The mask {mask!r} was not computed; the scores hold relevance"
            f"{''.join(', ' + b for b in baselines)}: add it to the baselines of 04_masking."
        )
    if mask == "relevance":
        scores, source = data["correct"].sel(mask=mask), "source"
    else:
        scores, source = data["correct_baseline"].sel(baseline=mask), "baseline_source"
    scores = scores.sel(fill=_fills(data, fill))
    dims = ("fill", source, "destination", "level", "identity")
    values = scores.transpose(*dims).to_numpy()
    index = pd.MultiIndex.from_product([data[d].to_numpy().tolist() for d in dims], names=dims)
    table = index.to_frame(index=False)
    for dim, names in ((source, SOURCE), ("destination", DESTINATION)):
        factors = _factors(data, dim)
        for name in names:
            table[name] = table[dim].map(factors[name.rpartition("_")[2]])
    table["mask"] = mask
    table["correct"] = values.ravel().astype(np.int8)
    return table[[*SOURCE, *DESTINATION, "level", "mask", "fill", "identity", "correct"]]


def _fills(data: xr.Dataset, fill: str | None) -> list[str]:
    fills = data["fill"].to_numpy().tolist()
    if fill is None:
        return fills
    if fill not in fills:
        raise InputError(
            f"The fill {fill!r} was not computed; the scores hold {', '.join(fills)}: add it to "
            "the fills of 04_masking."
        )
    return [fill]


def compute_random_curves(data: xr.Dataset, fill: str | None = None) -> pd.DataFrame:
    """Accuracy of every destination when random pixels are removed, mean over the draws.

    Returns
    -------
    DataFrame
        ``destination_...``, ``mask`` (random), ``fill``, ``level``, ``accuracy`` (0 to 1), ``sd``
        over the draws (divisor n), ``draws``. Without random masks the table is empty.
    """
    columns = [*DESTINATION, "mask", "fill", "level", "accuracy", "sd", "draws"]
    if "correct_random" not in data:
        return pd.DataFrame(columns=columns)
    drawn = data["correct_random"].sel(fill=_fills(data, fill)).mean("identity")
    table = _long(data, drawn.mean("draw"), "accuracy")
    table["sd"] = _long(data, drawn.std("draw"), "accuracy")["accuracy"]
    return table.assign(mask="random", draws=data.sizes["draw"])[columns]


def _long(data: xr.Dataset, values: xr.DataArray, name: str) -> pd.DataFrame:
    """(destination, fill, level) as rows."""
    dims = ("destination", "fill", "level")
    index = pd.MultiIndex.from_product(
        [data[d].to_numpy().tolist() for d in dims[:1]]
        + [values[d].to_numpy().tolist() for d in dims[1:]],
        names=dims,
    )
    table = index.to_frame(index=False)
    factors = _factors(data, "destination")
    for column in DESTINATION:
        table[column] = table["destination"].map(factors[column.rpartition("_")[2]])
    table[name] = values.transpose(*dims).to_numpy().ravel()
    return table.drop(columns="destination")


def compute_own_curves(data: xr.Dataset, fill: str | None = None) -> pd.DataFrame:
    """Accuracy of every destination under each mask of its own pretraining and task.

    Relevance and its baselines side by side: all from the same source models, those for which the
    baselines were computed, and averaged over them. ``random`` has no source.

    Returns
    -------
    DataFrame
        ``destination_...``, ``mask``, ``fill``, ``level``, ``accuracy`` (0 to 1).
    """
    where = {"destination": _factors(data, "destination")}
    stacks = [("correct", "source", data["mask"].to_numpy().tolist(), "mask")]
    few = None
    if "correct_baseline" in data:
        few = set(data["baseline_source"].to_numpy().tolist())
        stacks.append(
            (
                "correct_baseline",
                "baseline_source",
                data["baseline"].to_numpy().tolist(),
                "baseline",
            )
        )
    tables = []
    for variable, dim, masks, axis in stacks:
        sources = _factors(data, dim)
        own = np.array(
            [
                [
                    bin_of(s, d) in OWN and (few is None or name in few)
                    for d in where["destination"].itertuples(index=False, name=None)
                ]
                for name, s in zip(
                    sources.index, sources.itertuples(index=False, name=None), strict=True
                )
            ]
        )
        weight = xr.DataArray(own, dims=(dim, "destination"))
        accuracy = data[variable].sel(fill=_fills(data, fill)).mean("identity")
        for mask in masks:
            # a destination without any such source has no curve
            mean = accuracy.sel({axis: mask}).weighted(weight).mean(dim)
            tables.append(_long(data, mean, "accuracy").assign(mask=mask).dropna())
    tables.append(compute_random_curves(data, fill).drop(columns=["sd", "draws"]))
    table = pd.concat([t for t in tables if len(t)], ignore_index=True)
    return table[[*DESTINATION, "mask", "fill", "level", "accuracy"]]


def compute_chance(data: xr.Dataset) -> dict[str, float]:
    """Task -> accuracy of guessing, one over the number of classes."""
    tasks = data["destination_task"].to_numpy().tolist()
    classes = data["destination_classes"].to_numpy().tolist()
    return {task: 1 / count for task, count in zip(tasks, classes, strict=True)}


def summarise_rises(curves: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Largest rise of accuracy from one level to the next: what is not monotone in a curve.

    Parameters
    ----------
    curves : DataFrame
        ``level``, ``accuracy`` and the columns of ``by``, which tell the curves apart.
    by : sequence of str

    Returns
    -------
    DataFrame
        ``by``, ``rise`` (0 where the curve never rises), ``before`` and ``after``, the two levels
        in percent (NaN where it never rises).
    """
    rows = []
    for key, part in curves.sort_values("level").groupby(list(by), sort=False):
        level, accuracy = part["level"].to_numpy(), part["accuracy"].to_numpy()
        steps = np.diff(accuracy)
        k = int(steps.argmax()) if len(steps) else 0
        rises = len(steps) > 0 and steps[k] > 0
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "rise": float(steps[k]) if rises else 0.0,
                "before": level[k] if rises else np.nan,
                "after": level[k + 1] if rises else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=[*by, "rise", "before", "after"])


def compute_shares_left(
    relevance: xr.DataArray, levels: Sequence[float], orders: Sequence[str] = ("magnitude", *SIGNED)
) -> pd.DataFrame:
    """How much positive and negative relevance is left when pixels are removed.

    Parameters
    ----------
    relevance : DataArray, (model, identity, y, x)
        With the coordinates ``pretraining``, ``task``, ``instance``.
    levels : sequence of float
        Percentages of pixels removed.
    orders : sequence of str
        As :func:`lib.masking.rank_pixels` takes them.

    Returns
    -------
    DataFrame
        ``source_...``, ``order``, ``level``, ``positive`` and ``negative``, the shares left (0 to
        1) of the sums over the pixels of either sign, and ``removed_positive``, the share of
        positive pixels among those removed. Means over the faces that have such pixels; NaN where
        none has.
    """
    pixels = relevance.sizes["y"] * relevance.sizes["x"]
    levels = check_levels(levels, pixels)
    rows = []
    for k, model in enumerate(relevance["model"].to_numpy().astype(str)):
        one = relevance.isel(model=k)
        maps = check_maps(one.to_numpy(), relevance["identity"].to_numpy(), model)
        names = {f"source_{name}": one[name].item() for name in _FACTORS}
        signs = {"positive": np.maximum(maps, 0), "negative": np.minimum(maps, 0)}
        total = {sign: values.sum((1, 2), np.float64) for sign, values in signs.items()}
        for order in orders:
            ranks = rank_pixels(maps, order)
            for level in levels:
                masks = mask_pixels(ranks, level)
                row = names | {"order": order, "level": level}
                for sign, values in signs.items():
                    left = np.where(masks, 0, values).sum((1, 2), np.float64)
                    row[sign] = _mean_ratio(left, total[sign])
                both = (masks & (maps > 0)).sum((1, 2)), masks.sum((1, 2))
                rows.append(row | {"removed_positive": _mean_ratio(*both)})
    return pd.DataFrame(rows)


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> float:
    """Mean of the ratios, passing over faces whose whole is zero; NaN where all are."""
    some = whole != 0
    return float((part[some] / whole[some]).mean()) if some.any() else np.nan


def summarise_passes(data: xr.Dataset) -> pd.DataFrame:
    """Images that went through a trunk, counted while they went.

    Returns
    -------
    DataFrame
        ``stage`` (relevance, each baseline, random, and the unmasked and fully masked faces that
        all share), ``trunks``, ``passes`` (over all trunks).
    """
    passes = data["passes"].sum("trunk").to_numpy()
    return pd.DataFrame(
        {
            "stage": data["stage"].to_numpy().tolist(),
            "trunks": data.sizes["trunk"],
            "passes": passes,
        }
    )


def count_literal(data: xr.Dataset, draws: int = DRAWS) -> int:
    """Forward passes of the literal protocol for the relevance mask.

    For every destination and every bin that has a source, so many sources are drawn, the faces are
    masked by each and scored by the destination, at each level and with each fill.
    """
    sources = list(_factors(data, "source").itertuples(index=False, name=None))
    destinations = list(_factors(data, "destination").itertuples(index=False, name=None))
    bins = sum(len({bin_of(s, d) for s in sources} & set(BINS)) for d in destinations)
    return bins * draws * int(np.prod([data.sizes[d] for d in ("level", "fill", "identity")]))


def count_own(data: xr.Dataset) -> int:
    """Forward passes made here for the same: relevance, and the ends that its levels include."""
    return int(data["passes"].sel(stage=["unmasked", "full", "relevance"]).sum())
