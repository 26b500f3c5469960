"""All measures of all networks over a stream of images."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from lib.errors import InputError
from lib.progress import track
from lib.salience import perturb
from lib.salience.explain import Explainer
from lib.salience.measures import (
    compute_entropy,
    compute_spatial_entropy,
    compute_stability,
    scale_maps,
)
from lib.salience.similarity import Moments, compute_ssim
from lib.store import atomic_path

GUIDES = ("background", "object")
#: Measure -> what a larger value means, for tables.
MEASURES = {
    "S_entropy": "values of the map more varied",
    "spatial_entropy": "salience more spread out",
    "S_noise": "map more alike under noise",
    "S_unrelated": "map more like that of an unrelated image",
    "S_geo": "map follows the image more",
    "S_stability": "independent runs more alike",
    "S_resilience": "map more alike under guided blur",
    "accuracy": "more answers right under guided blur",
}


def _columns(amounts: Sequence[float], unrelated: Mapping) -> list[tuple[str, str]]:
    """(measure, condition) of every number that one map yields."""
    return [
        ("S_entropy", ""),
        ("spatial_entropy", ""),
        *(("S_noise", f"{amount:g}") for amount in amounts),
        *(("S_unrelated", name) for name in unrelated),
        *(("S_geo", transform.name) for transform in perturb.TRANSFORMS),
        *(("S_resilience", guide) for guide in GUIDES),
        *(("accuracy", guide) for guide in ("none", *GUIDES)),
    ]


def _check(images, labels, explainer, amounts, unrelated) -> None:
    if images.ndim not in (3, 4) or not len(images):
        raise InputError(
            f"Images have shape {images.shape}; give (n, y, x) or (n, y, x, 3), at least one."
        )
    if images.shape[1] != images.shape[2]:
        raise InputError(
            f"Images are {images.shape[2]} x {images.shape[1]} pixels; the rotations of S_geo need "
            "square ones."
        )
    if len(labels) != len(explainer.readouts) or any(len(row) != len(images) for row in labels):
        raise InputError(
            f"Give the true class of each of the {len(images)} images for each of the "
            f"{len(explainer.readouts)} networks."
        )
    for amount in amounts:
        if not 0 <= amount <= 1:
            raise InputError(f"A noise amount of {amount} is refused; it is a share, 0 to 1.")
    for name, others in unrelated.items():
        if len(others) == 0 or np.shape(others)[1:] != images.shape[1:]:
            raise InputError(
                f"The unrelated images {name!r} have shape {np.shape(others)}; they must be as "
                f"large and have as many channels as the others, {images.shape[1:]}."
            )


def _measure_image(explainer, image, truth, moments, explanation, amounts, unrelated, rng):
    """All numbers of one image: (models, columns)."""
    models, size = len(explainer.readouts), image.shape[0]
    clean, maps = moments, explanation.maps[0]
    values = [compute_entropy(maps), compute_spatial_entropy(maps)]

    state = rng.bit_generator.state
    noisy = []
    for amount in amounts:
        # the same draws for every amount: more noise adds to less
        rng.bit_generator.state = state
        noisy.append(perturb.add_noise(image, amount, rng))
    turned = [transform.image(image) for transform in perturb.TRANSFORMS]
    # What was not changed has the same map.
    same = [np.array_equal(picture, image) for picture in noisy]
    changed = [picture for picture, equal in zip(noisy, same, strict=True) if not equal]
    found = explainer.explain(np.stack([*changed, *turned])).maps
    of_noisy = iter(found[: len(changed)])
    for equal in same:
        values.append(np.ones(models) if equal else compute_ssim(clean, scale_maps(next(of_noisy))))
    for others in unrelated.values():
        # every image meets another one of the unrelated set
        values.append(compute_ssim(clean, others[rng.integers(len(others))]))
    for transform, turned_maps in zip(perturb.TRANSFORMS, found[len(changed) :], strict=True):
        back = transform.back(scale_maps(turned_maps), size)
        values.append(compute_ssim(clean, scale_maps(back)))

    levels = perturb.guide_levels(np.abs(maps), size)
    levels = np.concatenate([levels, perturb.LEVELS - 1 - levels])
    blurred = perturb.blur_guided(image, levels)
    who = np.tile(np.arange(models), len(GUIDES))
    after = explainer.explain_one(blurred, who)
    similar = compute_ssim(clean[who], scale_maps(after.maps[:, 0]))
    right = after.predicted[:, 0] == truth[who]
    values += [similar[:models], similar[models:]]
    values += [explanation.predicted[0] == truth, right[:models], right[models:]]
    return np.stack(values, axis=1).astype(float)


def compute_salience(
    explainer: Explainer,
    images: np.ndarray,
    labels: Sequence[np.ndarray],
    *,
    groups: Mapping[str, str] | None = None,
    unrelated: Mapping[str, np.ndarray] | None = None,
    amounts: Sequence[float] = perturb.AMOUNTS,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """The five measures for every network on a trunk and every image.

    Crum et al. 2023, section 3. One image at a time goes through all that is done to it, so memory
    does not grow with the number of images. The maps of the unchanged image serve all measures,
    and those of all runs serve all pairs of runs.

    Parameters
    ----------
    explainer : Explainer
    images : ndarray, (n, y, x) or (n, y, x, 3)
        Square, 0..255.
    labels : sequence of ndarray (n,), int
        True class of every image, per network.
    groups : mapping of name -> str, optional
        Networks of one group are independent runs of one training (S_stability). Default: none.
    unrelated : mapping of name -> ndarray (m, ...), optional
        Images of something else (objects, textures), of the same size: S_unrelated compares the map
        of each image with that of one of these.
    amounts : sequence of float
        Salt and pepper, shares of pixels.
    seed : int
    folder : Path, optional
        Results are kept there image by image, under a digest of everything they depend on; a run
        that was stopped goes on from there.
    progress : bool

    Returns
    -------
    Dataset
        ``value`` (model, column, image) with coordinates ``measure`` and ``condition`` of every
        column; ``stability`` (group, image), empty without groups of two or more runs.

    Raises
    ------
    InputError
        Images that are not square, labels or unrelated images that do not fit, an amount outside
        0..1, a name in ``groups`` that is no network's.
    """
    images = np.asarray(images)
    labels = [np.asarray(row) for row in labels]
    unrelated = dict(unrelated or {})
    _check(images, labels, explainer, amounts, unrelated)
    members = _members(explainer.names, groups or {})
    columns = _columns(amounts, unrelated)
    shape = (len(explainer.names) * len(columns) + len(members),)
    store = _Kept(folder, _digest(explainer, images, labels, members, unrelated, amounts, seed))
    others = {}
    rows = []
    numbers = range(len(images))
    for k in track(numbers, f"salience of {explainer.trunk.name}") if progress else numbers:
        row = store.read(k, shape)
        if row is None:
            if unrelated and not others:
                others = {
                    name: scale_maps(explainer.explain(np.asarray(some)).maps)
                    for name, some in unrelated.items()
                }
            clean = explainer.explain(images[k : k + 1])
            moments = Moments(scale_maps(clean.maps[0]))
            truth = np.array([row[k] for row in labels])
            values = _measure_image(
                explainer,
                images[k],
                truth,
                moments,
                clean,
                amounts,
                others,
                np.random.default_rng([seed, k]),
            )
            stable = [float(compute_stability(moments[rows_])) for rows_ in members.values()]
            row = np.concatenate([values.ravel(), stable])
            store.write(k, row)
        rows.append(row)
    table = np.stack(rows)
    split = len(explainer.names) * len(columns)
    values = table[:, :split].reshape(len(images), len(explainer.names), len(columns))
    return xr.Dataset(
        {
            "value": (("model", "column", "image"), values.transpose(1, 2, 0)),
            "stability": (("group", "image"), table[:, split:].T),
        },
        coords={
            "model": explainer.names,
            "measure": ("column", [measure for measure, _ in columns]),
            "condition": ("column", [condition for _, condition in columns]),
            "group": list(members),
        },
    )


def _members(names: Sequence[str], groups: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Group -> indices of its networks, groups of one left out: there is no pair."""
    unknown = sorted(set(groups) - set(names))
    if unknown:
        raise InputError(f"There is no network {unknown[0]!r} to group; known: {', '.join(names)}.")
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        if name in groups:
            found.setdefault(groups[name], []).append(index)
    return {name: np.array(rows) for name, rows in found.items() if len(rows) > 1}


def _digest(explainer, images, labels, members, unrelated, amounts, seed) -> str:
    """Of everything the numbers depend on, so that others' results are never taken for ours."""
    state = hashlib.sha256()
    state.update(
        json.dumps(
            [
                explainer.method,
                explainer.names,
                {name: rows.tolist() for name, rows in members.items()},
                [float(a) for a in amounts],
                seed,
                list(unrelated),
                images.shape,
                str(images.dtype),
            ]
        ).encode()
    )
    arrays = [images, *labels, *unrelated.values(), *explainer.trunk.model.get_weights()]
    arrays += [part for readout in explainer.readouts for part in (readout.kernel, readout.bias)]
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


class _Kept:
    """Rows of results in a folder, one file per image."""

    def __init__(self, folder: Path | None, digest: str):
        self.folder = None if folder is None else Path(folder) / f"salience-{digest}"

    def read(self, k: int, shape: tuple) -> np.ndarray | None:
        if self.folder is None:
            return None
        path = self.folder / f"{k:06d}.npy"
        try:
            row = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        return row if row.shape == shape and row.dtype == np.float64 else None

    def write(self, k: int, row: np.ndarray) -> None:
        if self.folder is not None:
            with atomic_path(self.folder / f"{k:06d}.npy") as path, path.open("wb") as stream:
                np.save(stream, row)


def summarise_salience(
    data: xr.Dataset, *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Mean of every measure over images, with a bootstrap interval.

    Parameters
    ----------
    data : Dataset
        Of `compute_salience`.
    draws : int
        Of the bootstrap over images (percentile interval).
    level : float
        Of the interval, 0 to 1.
    seed : int

    Returns
    -------
    DataFrame
        ``model`` (for S_stability the group), ``measure``, ``condition`` ("all" where conditions
        are averaged: S_noise over the amounts above 0, S_geo over the transforms), ``value``,
        ``low``, ``high``, ``images`` (with a value).
    """
    if draws < 1 or not 0 < level < 1:
        raise InputError(f"draws = {draws}, level = {level}: give at least 1, and 0 to 1.")
    conditions = list(
        zip(data["measure"].to_numpy().tolist(), data["condition"].to_numpy().tolist(), strict=True)
    )
    array = data["value"].to_numpy()
    rng = np.random.default_rng(seed)
    count = array.shape[-1]
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    rows = []

    def add(model, measure, condition, values):
        known = np.isfinite(values)
        shown = np.where(known, values, 0)
        total = weights @ known
        means = np.divide(weights @ shown, total, out=np.full(draws, np.nan), where=total > 0)
        tails = (1 - level) / 2
        low, high = np.nanquantile(means, [tails, 1 - tails]) if known.any() else (np.nan, np.nan)
        mean = values[known].mean() if known.any() else np.nan
        rows.append((model, measure, condition, mean, low, high, int(known.sum())))

    for model, values in zip(data["model"].to_numpy().tolist(), array, strict=True):
        for (measure, condition), row in zip(conditions, values, strict=True):
            add(model, measure, condition, row)
        for measure in ("S_noise", "S_geo"):
            taken = [
                k
                for k, (name, condition) in enumerate(conditions)
                if name == measure and condition != "0"
            ]
            if taken:
                add(model, measure, "all", values[taken].mean(0))
    for group, values in zip(
        data["group"].to_numpy().tolist(), data["stability"].to_numpy(), strict=True
    ):
        add(group, "S_stability", "", values)
    names = ["model", "measure", "condition", "value", "low", "high", "images"]
    return pd.DataFrame(rows, columns=names)


def plot_salience(axes, table: pd.DataFrame) -> None:
    """One panel per measure: mean and interval of every network (a table of the summary)."""
    kept = [name for name in MEASURES if name in set(table["measure"])]
    for ax, measure in zip(np.ravel(axes), kept, strict=False):
        part = table[table["measure"] == measure]
        if (part["condition"] == "all").any():
            part = part[part["condition"] == "all"]
        label = part["model"] + part["condition"].map(
            lambda c: "" if c in ("", "all") else f", {c}"
        )
        y = np.arange(len(part))[::-1]
        spread = [part["value"] - part["low"], part["high"] - part["value"]]
        ax.errorbar(part["value"], y, xerr=np.abs(spread), fmt="o", color="#222222", capsize=2)
        ax.set_yticks(y, label)
        ax.set_xlim(min(0, float(part["low"].min(skipna=True) or 0)), 1.02)
        ax.set_title(measure)
        ax.set_xlabel(MEASURES[measure])
    for ax in np.ravel(axes)[len(kept) :]:
        ax.set_visible(False)


def salience_report(trunk, readouts, images, labels, method="grad_cam", **options):
    """All measures of some networks as a tidy table and a one-page figure.

    Parameters
    ----------
    trunk : lib.vgg.Trunk
    readouts : sequence of Readout
    images : ndarray, (n, y, x) or (n, y, x, 3)
    labels : sequence of ndarray (n,), int
        Per network.
    method : str or Composite
    **options
        Of `compute_salience`.

    Returns
    -------
    table : DataFrame
        Of `summarise_salience`.
    figure : matplotlib.figure.Figure
    """
    from lib import figures

    explainer = Explainer(trunk, readouts, method)
    table = summarise_salience(compute_salience(explainer, images, labels, **options))
    kept = [name for name in MEASURES if name in set(table["measure"])]
    rows = -(-len(kept) // 2)
    height = 0.8 + 0.25 * table.groupby("measure")["model"].nunique().max()
    figure, axes = figures.new_figure(2, rows, height=height)
    plot_salience(axes, table)
    figure.suptitle(f"Salience of {trunk.name}, {explainer.method}, {len(images)} images")
    return table, figure
