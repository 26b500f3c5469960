"""All measures of all networks over a stream of images."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
import xarray as xr

from lib import dependencies
from lib.errors import InputError
from lib.network import Readout, split_classifier
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
from lib.store import ROOT, atomic_path, is_sealed_right, seal
from lib.vgg import Trunk

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
    "constant": "more maps without any salience",
}
#: Modules whose code decides the numbers, beside the explainer's and all that these import.
DECIDE = ("explain", "measures", "perturb", "similarity")


def _columns(
    amounts: Sequence[float],
    unrelated: Mapping,
    transforms: Sequence[perturb.Transform],
    labelled: bool,
) -> list[tuple[str, str]]:
    """(measure, condition) of every number that one map yields."""
    return [
        ("S_entropy", ""),
        ("spatial_entropy", ""),
        ("constant", ""),
        *(("S_noise", f"{amount:g}") for amount in amounts),
        *(("S_unrelated", name) for name in unrelated),
        *(("S_geo", transform.name) for transform in transforms),
        *(("S_resilience", guide) for guide in GUIDES),
        *(("accuracy", guide) for guide in ("none", *GUIDES) if labelled),
    ]


def as_images(images) -> np.ndarray:
    """Images as one array.

    Raises
    ------
    InputError
        Some are grey and some in colour, or their sizes differ.
    """
    images = images if isinstance(images, np.ndarray) else list(images)
    shapes = list(dict.fromkeys(np.shape(image) for image in images))
    if len(shapes) > 1:
        one, other = shapes[:2]
        wrong = "grey and colour images are mixed" if len(one) != len(other) else "sizes differ"
        raise InputError(
            f"The images cannot be measured together: {wrong} (shapes {one} and {other}); bring "
            "all to one size, and to grey or to colour."
        )
    return np.asarray(images)


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
    if labels is not None and (
        len(labels) != len(explainer.readouts) or any(len(row) != len(images) for row in labels)
    ):
        raise InputError(
            f"Give the true class of each of the {len(images)} images for each of the "
            f"{len(explainer.readouts)} networks."
        )
    for readout, row in zip(explainer.readouts, labels or (), strict=labels is not None):
        if not np.isin(row, np.arange(readout.classes)).all():
            raise InputError(
                f"A true class of network {readout.name!r} is none of its classes, which are 0 to "
                f"{readout.classes - 1}."
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


class _Unrelated:
    """Pictures of something else; the map of each is computed when one is first set against it."""

    def __init__(self, pictures: np.ndarray):
        self.pictures = pictures
        self._known: dict[int, np.ndarray] = {}

    def draw(self, image: np.ndarray, rng: np.random.Generator) -> int | None:
        """Another picture than the image, by chance; None where there is no other."""
        others = [k for k, one in enumerate(self.pictures) if not np.array_equal(one, image)]
        return others[rng.integers(len(others))] if others else None

    def maps(self, explainer, which: int) -> np.ndarray:
        """Scaled maps of all networks, (models, h, w)."""
        if which not in self._known:
            found = explainer.explain(self.pictures[which : which + 1]).maps[0]
            self._known[which] = scale_maps(found)
        return self._known[which]


def _measure_image(explainer, image, truth, moments, explanation, plan, unrelated, rng):
    """All numbers of one image: (models, columns)."""
    amounts, transforms = plan
    models, size = len(explainer.readouts), image.shape[0]
    clean, maps = moments, explanation.maps[0]
    # A map that is the same everywhere has no place to be kept or lost: its likeness to others
    # is not known, and another constant map would be equal to it.
    empty = np.ptp(clean.maps, axis=(-2, -1)) == 0

    def alike(one: Moments | np.ndarray, other: np.ndarray, of=slice(None)) -> np.ndarray:
        return np.where(empty[of], np.nan, compute_ssim(one, other))

    values = [compute_entropy(maps), compute_spatial_entropy(maps), empty]

    state = rng.bit_generator.state
    noisy = []
    for amount in amounts:
        # the same draws for every amount: more noise adds to less
        rng.bit_generator.state = state
        noisy.append(perturb.add_noise(image, amount, rng))
    drawn = [some.draw(image, rng) for some in unrelated]
    turned = [transform.image(image) for transform in transforms]
    # What was not changed has the same map.
    same = [np.array_equal(picture, image) for picture in noisy]
    changed = [picture for picture, equal in zip(noisy, same, strict=True) if not equal]
    pictures = [*changed, *turned]
    found = explainer.explain(np.stack(pictures)).maps if pictures else []
    of_noisy = iter(found[: len(changed)])
    for equal in same:
        values.append(alike(clean, clean if equal else scale_maps(next(of_noisy))))
    for some, other in zip(unrelated, drawn, strict=True):
        nobody = np.full(models, np.nan)
        values.append(nobody if other is None else alike(clean, some.maps(explainer, other)))
    for transform, turned_maps in zip(transforms, found[len(changed) :], strict=True):
        back = transform.back(scale_maps(turned_maps), size)
        values.append(alike(clean, scale_maps(back)))

    levels = perturb.guide_levels(np.abs(maps), size)
    levels = np.concatenate([levels, perturb.LEVELS - 1 - levels])
    blurred = perturb.blur_guided(image, levels)
    who = np.tile(np.arange(models), len(GUIDES))
    after = explainer.explain_one(blurred, who)
    similar = alike(clean[who], scale_maps(after.maps[:, 0]), who)
    values += [similar[:models], similar[models:]]
    if truth is not None:
        right = after.predicted[:, 0] == truth[who]
        values += [explanation.predicted[0] == truth, right[:models], right[models:]]
    return np.stack(values, axis=1).astype(float)


def compute_salience(
    explainer: Explainer,
    images: np.ndarray,
    labels: Sequence[np.ndarray] | None = None,
    *,
    groups: Mapping[str, str] | None = None,
    unrelated: Mapping[str, np.ndarray] | None = None,
    amounts: Sequence[float] = perturb.AMOUNTS,
    transforms: Sequence[str] | None = None,
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
    labels : sequence of ndarray (n,), int, optional
        True class of every image, per network; without them no accuracy is measured.
    groups : mapping of name -> str, optional
        Networks of one group are independent runs of one training (S_stability). Default: none.
    unrelated : mapping of name -> ndarray (m, ...), optional
        Images of something else (objects, textures), of the same size: S_unrelated compares the map
        of each image with that of one of these, never of itself.
    amounts : sequence of float
        Salt and pepper, shares of pixels.
    transforms : sequence of str, optional
        Names of `perturb.TRANSFORMS`; by default all twelve.
    seed : int
    folder : Path, optional
        Results are kept there image by image, under a digest of everything they depend on; a run
        that was stopped goes on from there.
    progress : bool

    Returns
    -------
    Dataset
        ``value`` (model, column, image) with coordinates ``measure`` and ``condition`` of every
        column; ``stability`` (group, image), empty without groups of two or more runs. A map that
        is the same everywhere counts under ``constant``; its similarities are missing.

    Raises
    ------
    InputError
        Images that are not square, mixed grey and colour, labels (a class that the network does not
        have among them) or unrelated images that do not fit, an amount outside 0..1, an unknown
        transform, a name in ``groups`` that is no network's.
    """
    images = as_images(images)
    labels = None if labels is None else [np.asarray(row) for row in labels]
    unrelated = {name: as_images(some) for name, some in (unrelated or {}).items()}
    _check(images, labels, explainer, amounts, unrelated)
    turns = perturb.choose_transforms(transforms)
    members = _members(explainer.names, groups or {})
    columns = _columns(amounts, unrelated, turns, labels is not None)
    shape = (len(explainer.names) * len(columns) + len(members),)
    about = [[float(a) for a in amounts], [turn.name for turn in turns], seed]
    digest = _digest(explainer, images, labels, members, unrelated, about)
    store = _Kept(folder, digest)
    others = [_Unrelated(some) for some in unrelated.values()]
    rows = []
    numbers = range(len(images))
    for k in track(numbers, f"salience of {explainer.trunk.name}") if progress else numbers:
        row = store.read(k, shape)
        if row is None:
            clean = explainer.explain(images[k : k + 1])
            moments = Moments(scale_maps(clean.maps[0]))
            truth = None if labels is None else np.array([of[k] for of in labels])
            values = _measure_image(
                explainer,
                images[k],
                truth,
                moments,
                clean,
                (amounts, turns),
                others,
                np.random.default_rng([seed, k]),
            )
            stable = [_stability(moments[runs]) for runs in members.values()]
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
        attrs={"digest": digest},
    )


def _stability(runs: Moments) -> float:
    """S_stability over the runs whose map is not constant; NaN with fewer than two."""
    with_salience = np.flatnonzero(np.ptp(runs.maps, axis=(-2, -1)) > 0)
    return float(compute_stability(runs[with_salience])) if len(with_salience) > 1 else np.nan


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


def _digest(explainer, images, labels, members, unrelated, about) -> str:
    """Of everything the numbers depend on, so that others' results are never taken for ours."""
    state = hashlib.sha256()
    mine = [f"lib/salience/{name}.py" for name in DECIDE]
    needed = {name for start in mine for name in dependencies.modules_of(ROOT / start)}
    files = [ROOT / name for name in sorted({*mine, *needed})]
    # what explains may be of another module, or typed into a notebook
    its_own = getattr(sys.modules[type(explainer).__module__], "__file__", None)
    for path in (*files, __file__, *([its_own] if its_own else [])):
        state.update(Path(path).read_bytes())
    state.update(
        json.dumps(
            [
                explainer.method,
                explainer.settings,
                explainer.names,
                {name: rows.tolist() for name, rows in members.items()},
                about,
                labels is not None,
                list(unrelated),
                images.shape,
                str(images.dtype),
            ]
        ).encode()
    )
    arrays = [images, *(labels or []), *unrelated.values(), *explainer.trunk.model.get_weights()]
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
            row = np.load(path, allow_pickle=False) if is_sealed_right(path, True) else None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        fits = row is not None and row.shape == shape and row.dtype == np.float64
        return row if fits else None

    def write(self, k: int, row: np.ndarray) -> None:
        if self.folder is not None:
            with atomic_path(self.folder / f"{k:06d}.npy") as path, path.open("wb") as stream:
                np.save(stream, row)
                stream.close()
                seal(path)


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
        ``low``, ``high`` (NaN with fewer than two images, which say nothing of further ones),
        ``images`` (with a value).

    Raises
    ------
    InputError
        No draws, or a level that is no probability.
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
        low, high = bootstrap_mean(values, weights, level)
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


def bootstrap_mean(values: np.ndarray, weights: np.ndarray, level: float) -> tuple[float, float]:
    """Percentile interval of a mean over what is known.

    Parameters
    ----------
    values : ndarray, (images,)
        NaN where there is no value.
    weights : ndarray, (draws, images), int
        How often each image was drawn; the same for all that is to be compared.
    level : float
        0 to 1.

    Returns
    -------
    low, high : float
        NaN with fewer than two values. Draws that hit no known value have no mean and do not count.
    """
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.nan, np.nan
    total = weights @ known
    means = (weights @ np.where(known, values, 0))[total > 0] / total[total > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def make_example(
    explainer: Explainer, image: np.ndarray, amount: float = 0.25, seed: int = 0
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """What the measures do to an image, and the first network's maps.

    Parameters
    ----------
    explainer : Explainer
    image : ndarray, (y, x) or (y, x, 3)
        Square, 0..255.
    amount : float
        Of salt and pepper.
    seed : int

    Returns
    -------
    list of (words, picture, map)
        Maps in [0, 1], turned back to the place of the image.
    """
    size = image.shape[0]
    turns = {t.name: t for t in perturb.TRANSFORMS}
    done = [
        ("as it is", image, None),
        (
            f"noise, {100 * amount:g} %",
            perturb.add_noise(image, amount, np.random.default_rng(seed)),
            None,
        ),
        ("flipped", turns["flip left-right"].image(image), turns["flip left-right"]),
        ("rotated", turns["rotate +90"].image(image), turns["rotate +90"]),
    ]
    maps = scale_maps(explainer.explain(np.stack([picture for _, picture, _ in done])).maps[:, 0])
    levels = perturb.guide_levels(maps[:1], size)
    guides = np.concatenate([levels, perturb.LEVELS - 1 - levels])
    blurred = perturb.blur_guided(image, guides)
    after = explainer.explain_one(blurred, np.zeros(len(blurred), int))
    found = [
        (words, picture, salience if turn is None else turn.back(salience, size))
        for (words, picture, turn), salience in zip(done, maps, strict=True)
    ]
    # As a picture: between 0 and 1 is what colours of floating point are taken for.
    shown = np.clip(np.rint(blurred), 0, 255).astype(np.uint8)
    return found + [
        (f"{guide} blurred", picture, salience)
        for guide, picture, salience in zip(
            GUIDES, shown, scale_maps(after.maps[:, 0]), strict=True
        )
    ]


def split_model(model) -> tuple[Trunk, list[Readout]]:
    """Trunk and readouts of whatever stands for one network or several.

    Parameters
    ----------
    model : keras.Model, or pair of a Trunk and a Readout or a sequence of them
        A Keras classifier takes square BGR images less the ImageNet channel means; pair the parts
        yourself where yours takes others. With skip connections it has Grad-CAM alone.

    Raises
    ------
    InputError
        Neither of these, or a classifier that does not end in a dense layer of logits.
    """
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], Trunk):
        trunk, readouts = model
        return trunk, [readouts] if isinstance(readouts, Readout) else list(readouts)
    if not isinstance(model, tf.keras.Model):
        raise InputError(
            f"{model!r:.80} is no network: give a Keras classifier, or a trunk and its readouts."
        )
    inner, kernel, bias = split_classifier(model, chain=False)
    return Trunk(model.name, inner), [Readout(model.name, kernel, bias)]


def salience_report(model, images, method="grad_cam", *, labels=None, precision="auto", **options):
    """The measures of a network as a tidy table and a one-page figure.

    Parameters
    ----------
    model : keras.Model, or (Trunk, Readout or sequence of Readout)
        See `split_model`.
    images : ndarray, (n, y, x) or (n, y, x, 3)
        Square, 0..255; the first one is shown of whose map something can be seen.
    method : str or Composite
        Of `lib.relevance`.
    labels : sequence of ndarray (n,), int, optional
        Per network; without them no accuracy is measured.
    precision : {"auto", "float32", "winograd", "mixed"}
    **options
        Of `compute_salience`; ``draws`` and ``level`` of `summarise_salience`.

    Returns
    -------
    table : DataFrame
        Of `summarise_salience`.
    figure : matplotlib.figure.Figure

    Raises
    ------
    InputError
        What `split_model`, `Explainer`, `compute_salience` and `summarise_salience` refuse.
    """
    from lib.salience.panels import plot_page

    trunk, readouts = split_model(model)
    images = as_images(images)
    about = {name: options.pop(name) for name in ("draws", "level") if name in options}
    explainer = Explainer(trunk, readouts, method, precision=precision)
    data = compute_salience(explainer, images, labels, **options)
    table = summarise_salience(data, **about, seed=options.get("seed", 0))
    shown = sorted(float(a) for a in options.get("amounts", perturb.AMOUNTS) if a > 0)
    amount = shown[len(shown) // 2] if shown else 0.25
    empty = data["value"].isel(model=0, column=data["measure"].to_numpy() == "constant").to_numpy()
    example = make_example(explainer, images[empty.argmin()], amount, options.get("seed", 0))
    count = f"{len(images)} image{'s' if len(images) > 1 else ''}"
    return table, plot_page(table, example, f"{trunk.name}, {explainer.method}, {count}")
