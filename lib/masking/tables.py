"""Scores as tables: for the statistics of :mod:`lib.generalization`, and for this chapter."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from lib.errors import InputError
from lib.generalization.auc import summarise_curves
from lib.generalization.bins import BINS, DESTINATION, SOURCE, bin_of, compute_expectation
from lib.masking.masks import (
    MASKS,
    SCATTERED,
    SIGNED,
    WORDS,
    check_levels,
    check_maps,
    choose_sources,
    example_masks,
    make_ranks,
    mask_pixels,
    rank_pixels,
)

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


def compute_overlaps(
    relevance: xr.DataArray,
    baselines: Sequence[str],
    levels: Sequence[float],
    initialisations: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """How much a baseline removes of what relevance removes.

    Frontal faces are nearly symmetric and alike, so a mirrored map or another face's falls on much
    the same parts, while a shifted or scrambled one leaves the face.

    Parameters
    ----------
    relevance : DataArray, (model, identity, y, x)
    baselines : sequence of str
    levels : sequence of float
        Percent of pixels.
    initialisations, seed
        As for :func:`lib.masking.compute_scores`.

    Returns
    -------
    DataFrame
        ``mask``, ``level``, ``overlap`` (share of the baseline's pixels that the relevance mask of
        that level removes too, mean over faces and sources) and ``chance``, the level itself.
        Masks by sign are left out.
    """
    models = pd.DataFrame({c: relevance[c].to_numpy() for c in ("model", *_FACTORS)})
    few = choose_sources(models, initialisations)
    shown = [b for b in (*SCATTERED, "random") if b in baselines]
    inner = [level for level in sorted(levels) if 0 < level < 100]
    found = {}
    for k, model in enumerate(models["model"]):
        if model not in few:
            continue
        maps = relevance.isel(model=k).to_numpy()
        own = rank_pixels(maps)
        for mask in shown:
            ranks = make_ranks(maps, mask, seed)
            for level in inner:
                both = mask_pixels(own, level) & mask_pixels(ranks, level)
                share = both.sum() / mask_pixels(ranks, level).sum()
                found.setdefault((mask, level), []).append(share)
    rows = [(*key, float(np.mean(values)), key[1] / 100) for key, values in found.items()]
    return pd.DataFrame(rows, columns=["mask", "level", "overlap", "chance"])


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


def summarise_shares(shares: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Shares left under ranking by magnitude, by pretraining and task of the source.

    Parameters
    ----------
    shares : DataFrame
        Of :func:`compute_shares_left`.
    confidence : float
        Of the intervals over source models.

    Returns
    -------
    DataFrame
        ``source_pretraining``, ``source_task``, ``level``; ``positive`` and ``negative``, each with
        ``_low`` and ``_high`` (NaN with a single model); ``removed_positive``.
    """
    shares = shares[shares["order"] == "magnitude"]
    by = SOURCE[:2]
    found = shares.groupby([*by, "level"], sort=False)["removed_positive"].mean().reset_index()
    for sign in SIGNED:
        curves = shares.rename(columns={sign: "accuracy"})
        part = summarise_curves(curves, by, confidence)
        part = part.rename(columns={"accuracy": sign, "low": f"{sign}_low", "high": f"{sign}_high"})
        found = found.merge(part.drop(columns="n_models"), on=[*by, "level"], validate="1:1")
    return found


def list_missing_signs(shares: pd.DataFrame) -> list[str]:
    """Which lines a figure of :func:`summarise_shares` cannot have, and why.

    Parameters
    ----------
    shares : DataFrame
        Of :func:`compute_shares_left`.

    Returns
    -------
    list of str
        A sentence for every sign that some type of source has no relevance of.
    """
    lines = []
    for sign in SIGNED:
        none = shares.groupby(SOURCE[:2], sort=False)[sign].apply(lambda c: c.isna().all())
        types = [", ".join(key) for key, absent in none.items() if absent]
        if types:
            line = (
                f"no line of {sign} relevance for {'; '.join(types)}: these maps have none, since "
                "the rules (relevance.composite) or the class explained give none"
            )
            lines.append(textwrap.fill(line, 88, subsequent_indent="    "))
    return lines


def compute_source_curves(scores: pd.DataFrame) -> pd.DataFrame:
    """Curves of every destination and bin, those of other trunks one by one.

    :func:`lib.generalization.compute_expectation` takes all pretrainings but the destination's as
    one bin; here each of them stands for itself, also another training of the destination's own
    trunk (``other_trunk``).

    Parameters
    ----------
    scores : DataFrame
        From :func:`lib.generalization.check_scores`.

    Returns
    -------
    DataFrame
        As of :func:`compute_expectation`, and ``other``, the pretraining of the sources where it is
        not the destination's own (else empty).
    """
    names = list(dict.fromkeys(scores[SOURCE[0]]))
    own = scores[scores[SOURCE[0]] == scores[DESTINATION[0]]]
    parts = [compute_expectation(own).assign(other="")]
    for name in names:
        far = scores[(scores[SOURCE[0]] == name) & (scores[DESTINATION[0]] != name)]
        if len(far):
            parts.append(compute_expectation(far.reset_index(drop=True)).assign(other=name))
    return pd.concat(parts, ignore_index=True)


def explain_rises(bins: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Where mean curves rise although more is removed, and what went on the way.

    Parameters
    ----------
    bins : DataFrame
        Mean curves: ``destination_pretraining``, ``destination_task``, ``bin``, ``level``,
        ``accuracy``. Level 100, where nothing is left to see and a constant answer is right by
        luck, is passed over.
    shares : DataFrame
        Of :func:`compute_shares_left`.

    Returns
    -------
    DataFrame
        ``pretraining``, ``task`` (of the destination), ``source`` (bin in words), ``rise`` (0 if
        the curve never rises), ``from`` and ``to`` (percent), and for each sign the share of all
        relevance of that sign, over the sources of the bin, which went between the two levels.
    """
    by = ["destination_pretraining", "destination_task", "bin"]
    inside = bins[(bins["level"] < 100) & bins["bin"].isin(BINS)]
    rises = summarise_rises(inside, by)
    left = shares[shares["order"] == "magnitude"]
    left = left.groupby([*SOURCE[:2], "level"], sort=False)[list(SIGNED)].mean()
    conditions = list(left.index.droplevel("level").unique())
    rows = []
    for row in rises.itertuples(index=False):
        destination = (row.destination_pretraining, row.destination_task, 0)
        # instances are all of one kind here, so a source of the destination's own type is "itself"
        wanted = "same_instance" if row.bin == "other_initialisation" else row.bin
        mine = [c for c in conditions if bin_of((*c, 0), destination) == wanted]
        gone = dict.fromkeys(SIGNED, np.nan)
        if row.rise > 0 and mine:
            steps = [left.loc[(*c, row.before)] - left.loc[(*c, row.after)] for c in mine]
            gone = pd.concat(steps, axis=1).mean(axis=1).to_dict()
        rows.append(
            {
                "pretraining": row.destination_pretraining,
                "task": row.destination_task,
                "source": row.bin,
                "rise": row.rise,
                "from": row.before,
                "to": row.after,
                "positive gone": gone["positive"],
                "negative gone": gone["negative"],
            }
        )
    order = {name: k for k, name in enumerate(BINS)}
    table = pd.DataFrame(rows).sort_values(
        ["pretraining", "task", "source"],
        key=lambda c: c.map(order) if c.name == "source" else c,
        ignore_index=True,
    )
    return table.assign(source=table["source"].str.replace("_", " "))


def tabulate_areas(auc: pd.DataFrame) -> pd.DataFrame:
    """Mean area of every mask (columns) for every type of destination (rows).

    Parameters
    ----------
    auc : DataFrame
        ``destination_...``, ``mask``, ``auc``: one row per destination and mask.
    """
    mean = auc.pivot_table("auc", DESTINATION[:2], "mask", aggfunc="mean", sort=False)
    table = mean[[mask for mask in MASKS if mask in mean.columns]].reset_index()
    names = {DESTINATION[0]: "pretraining", DESTINATION[1]: "task"}
    return table.rename(columns=names).rename_axis(columns=None)


def summarise_findings(areas: pd.DataFrame, rises: pd.DataFrame) -> dict[str, float | int | str]:
    """Numbers of the chapter's last paragraph.

    Parameters
    ----------
    areas : DataFrame
        Of :func:`tabulate_areas`.
    rises : DataFrame
        Of :func:`explain_rises`.

    Returns
    -------
    dict
        ``n_types``; ``area_relevance``, ``area_scattered`` (mean over the scattered baselines) and
        ``area_random``; ``n_scattered``, types in which every scattered baseline does less harm
        than relevance, and ``n_random``, those in which random pixels do more; ``rise`` with
        ``rise_where``, the largest one. What was not computed is NaN or 0.
    """
    scattered = [mask for mask in SCATTERED if mask in areas]
    above = areas[scattered].gt(areas["relevance"], axis=0).all(axis=1) if scattered else ()
    random = areas["random"] if "random" in areas else pd.Series(dtype=float)
    found = {
        "n_types": len(areas),
        "area_relevance": float(areas["relevance"].mean()),
        "area_scattered": float(areas[scattered].to_numpy().mean()) if scattered else np.nan,
        "area_random": float(random.mean()),
        "n_scattered": int(sum(above)),
        "n_random": int((random < areas["relevance"].reindex(random.index)).sum()),
        "rise": 0.0,
        "rise_where": "nowhere",
    }
    if len(rises) and rises["rise"].max() > 0:
        top = rises.loc[rises["rise"].idxmax()]
        found["rise"] = float(top["rise"])
        found["rise_where"] = (
            f"{top['pretraining']}, {top['task']}, source: {top['source']}, "
            f"from {top['from']:g}% to {top['to']:g}%"
        )
    return found


def example_rows(
    relevance: xr.DataArray,
    face: int,
    baselines: Sequence[str],
    levels: Sequence[float],
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Masks of one face for a figure: relevance by pretraining, random pixels, scattered masks.

    Parameters
    ----------
    relevance : DataArray, (model, identity, y, x)
    face : int
        Which identity, from 0.
    baselines : sequence of str
        Of :data:`lib.masking.BASELINES`; made from the map of the first model. Those by sign are
        left out.
    levels : sequence of float
        Percent of pixels; both ends are left out.
    seed : int

    Returns
    -------
    dict
        Words -> ndarray of bool, (level, y, x).

    Raises
    ------
    InputError
        There is no such face.
    """
    if not 0 <= face < relevance.sizes["identity"]:
        raise InputError(
            f"example = {face} is refused; there are {relevance.sizes['identity']} faces, counted "
            "from 0."
        )
    inner = [level for level in sorted(levels) if 0 < level < 100]
    rows = {}
    for pretraining in dict.fromkeys(relevance["pretraining"].to_numpy().tolist()):
        first = int(np.flatnonzero(relevance["pretraining"].to_numpy() == pretraining)[0])
        maps = relevance.isel(model=first).to_numpy()
        masks = example_masks(maps, face, ["relevance"], inner)
        rows[f"relevance,\n{pretraining}"] = masks["relevance"]
    shown = [b for b in ("random", *SCATTERED) if b in baselines]
    made = example_masks(relevance.isel(model=0).to_numpy(), face, shown, inner, seed)
    return rows | {WORDS[name]: masks for name, masks in made.items()}


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
