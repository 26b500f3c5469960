"""Relevance maps of many readouts for many images, as a stream."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lib import vgg
from lib.errors import InputError
from lib.network import Readout
from lib.progress import track
from lib.relevance.composites import COMPOSITES, Composite, get_composite
from lib.relevance.engine import PRECISIONS, SharedTrunk
from lib.relevance.gradients import GradCam, IntegratedGradients
from lib.relevance.reference import Innvestigate

#: Methods that are no composite.
METHODS = ("grad_cam", "integrated_gradients")
#: Relevances that go backward together; more gain nothing and take memory.
SEEDS = 10


@dataclass(frozen=True)
class Difference:
    """Target: the logit of ``first`` less the logit of ``second``.

    Each is a class, an array with a class per image, ``"predicted"`` or ``"rank_2"``; ``second``
    may also be ``"rival"``, of all classes but ``first`` the one with the highest logit. The
    difference is treated as one linear neuron whose weights are the difference of the two classes'
    weights. Unlike a logit it does not change when all logits are shifted, as softmax allows.
    """

    first: str | int | np.ndarray
    second: str | int | np.ndarray


Target = str | int | np.ndarray | Difference


@dataclass(frozen=True)
class RelevanceBatch:
    """Maps of a few images.

    Attributes
    ----------
    rows : slice
        Which images.
    relevance : ndarray, (rows, readouts, y, x), float32
        Summed over the channels; (rows, readouts, y, x, channels) where they are kept.
    target : ndarray, (rows, readouts), int
        Class explained.
    against : ndarray, (rows, readouts), int
        Class whose logit was subtracted, or -1.
    score : ndarray, (rows, readouts), float32
        The explained logit or difference.
    logits : list of ndarray
        Per readout (rows, classes).
    """

    rows: slice
    relevance: np.ndarray
    target: np.ndarray
    against: np.ndarray
    score: np.ndarray
    logits: list[np.ndarray]


def _check_target(target, images: int, readout: Readout) -> None:
    """Refuse a target that some image or the readout does not have."""
    name, classes = readout.name, readout.classes
    if isinstance(target, Difference):
        for one in (target.first, target.second):
            if isinstance(one, Difference):
                raise InputError("A difference of differences is no target; give two classes.")
        # A rival needs a second class, as a second rank does.
        for one in (target.first, "rank_2" if _is_rival(target) else target.second):
            _check_target(one, images, readout)
        return
    if isinstance(target, str):
        if target not in ("predicted", "rank_2"):
            raise InputError(
                f"There is no target {target!r}; use predicted, rank_2, a class, or a class for "
                "each image (the true ones, say)."
            )
        if target == "rank_2" and classes < 2:
            raise InputError(f"Readout {name!r} has one class, so there is no second rank.")
        return
    array = np.asarray(target)
    if array.dtype.kind not in "ui":
        raise InputError(f"Targets of {name!r} are of type {array.dtype}; give whole numbers.")
    if array.ndim > 1 or (array.ndim == 1 and len(array) != images):
        raise InputError(
            f"Targets of {name!r} have shape {array.shape}; give one class, or one for each of the "
            f"{images} images."
        )
    bad = np.flatnonzero((array.ravel() < 0) | (array.ravel() >= classes))
    if bad.size:
        raise InputError(
            f"Target {array.ravel()[bad[0]]} (image {bad[0]}) is out of range: readout {name!r} "
            f"has classes 0..{classes - 1}."
        )


def _resolve(target, logits: np.ndarray, rows: slice) -> np.ndarray:
    """Class per image of a block; ties go to the lower class."""
    if isinstance(target, str):
        order = np.argsort(-logits, axis=1, kind="stable")
        return order[:, 0 if target == "predicted" else 1]
    array = np.asarray(target)
    return np.full(len(logits), array) if array.ndim == 0 else array[rows]


def _is_rival(target: Difference) -> bool:
    return isinstance(target.second, str) and target.second == "rival"


def _rival(first: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The class with the highest logit of all but one per image; ties go to the lower class."""
    others = logits.copy()
    others[np.arange(len(logits)), first] = -np.inf
    return others.argmax(1)


def _chooser(targets: Sequence[Target], readouts: Sequence[Readout], rows: slice) -> Callable:
    def choose(logits: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        first, second = [], []
        for target, values, readout in zip(targets, logits, readouts, strict=True):
            if not np.isfinite(values).all():
                raise InputError(
                    f"Readout {readout.name!r} gives logits that are not finite; its weights or "
                    "the trunk's are damaged."
                )
            if isinstance(target, Difference):
                a = _resolve(target.first, values, rows)
                b = (
                    _rival(a, values)
                    if _is_rival(target)
                    else _resolve(target.second, values, rows)
                )
                same = np.flatnonzero(a == b)
                if same.size:
                    raise InputError(
                        f"Image {rows.start + same[0]}: both sides of the difference are class "
                        f"{a[same[0]]} of {readout.name!r}; its relevance would be zero."
                    )
            else:
                a, b = _resolve(target, values, rows), np.full(len(values), -1)
            first.append(a)
            second.append(b)
        return np.stack(first, 1).astype(int), np.stack(second, 1).astype(int)

    return choose


def make_engine(
    trunk: vgg.Trunk,
    readouts: Sequence[Readout],
    composite: str | Composite = "a_flat",
    engine: str = "shared",
    precision: str = "auto",
    **settings,
):
    """The object that computes a method's maps; see :func:`compute_relevance`.

    Raises
    ------
    InputError
        An unknown name, or a pair that does not exist.
    """
    if engine not in ("shared", "innvestigate"):
        raise InputError(f"There is no engine {engine!r}; use shared or innvestigate.")
    precision = choose_precision(precision)
    if isinstance(composite, str) and composite in METHODS:
        if engine != "shared":
            raise InputError(f"{composite} is computed here only; use engine: shared.")
        if composite == "grad_cam":
            return GradCam(trunk.model, readouts, **settings)
        return IntegratedGradients(trunk.model, readouts, precision, **settings)
    if isinstance(composite, str) and composite not in COMPOSITES:
        known = [*COMPOSITES, *METHODS]
        near = difflib.get_close_matches(composite, known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"There is no composite {composite!r}{hint}; known: {', '.join(known)}.")
    found = get_composite(composite).within(trunk.means)
    if engine == "innvestigate":
        return Innvestigate(trunk.model, readouts, found)
    return SharedTrunk(trunk.model, readouts, found, precision, **({"seeds": SEEDS} | settings))


def choose_precision(wanted: str = "auto") -> str:
    """The fastest that is as good as exact on this machine; an explicit wish is kept.

    ``"mixed"`` (float32 forward, bfloat16 backward) where the processor multiplies matrices of
    bfloat16 by itself, else ``"winograd"``; on a GPU, which is fast enough, ``"float32"``. See
    :class:`~lib.relevance.engine.SharedTrunk`.
    """
    if wanted not in ("auto", *PRECISIONS):
        raise InputError(f"There is no precision {wanted!r}; use auto, {', '.join(PRECISIONS)}.")
    if wanted != "auto":
        return wanted
    if tf.config.list_physical_devices("GPU"):
        return "float32"
    return "mixed" if vgg.multiplies_matrices() else "winograd"


def compute_relevance(
    trunk: vgg.Trunk,
    readouts: Sequence[Readout],
    images: np.ndarray,
    targets: Target | list[Target] = "predicted",
    composite: str | Composite = "a_flat",
    *,
    engine: str = "shared",
    precision: str = "auto",
    batch: int | None = None,
    sum_channels: bool = True,
    on_zero: str = "raise",
    prepared: bool = False,
    progress: bool = True,
    **settings,
) -> Iterator[RelevanceBatch]:
    """Relevance maps of all readouts of a trunk for all images, a few images at a time.

    Everything is checked when the function is called; maps are computed as they are asked for, so
    memory does not grow with the number of images, nor (beyond ten at a time) of readouts.

    Parameters
    ----------
    trunk : Trunk
    readouts : sequence of Readout
        On this trunk.
    images : ndarray, (n, y, x) or (n, y, x, 3)
        0..255, grey or RGB; or ``prepared`` (means subtracted, perhaps masked).
    targets : target, or a list with one for each readout
        ``"predicted"``, ``"rank_2"`` (class of the second highest logit), a class, an array with a
        class for each image (the true ones, say), or a :class:`Difference`.
    composite : str or Composite
        A name of :data:`lib.relevance.COMPOSITES`, ``"grad_cam"``, ``"integrated_gradients"``, or
        rules of one's own.
    engine : {"shared", "innvestigate"}
    precision : {"auto", "float32", "winograd", "mixed"}
        Of the shared engine; see :func:`choose_precision`.
    batch : int, optional
        Images at a time; by default so many that about ten maps go backward together.
    sum_channels : bool
        Sum relevance over the colour channels.
    on_zero : {"raise", "keep"}
        What to do with a map that is zero everywhere.
    prepared, progress : bool
    **settings
        Of a method: ``steps`` and ``baseline`` of integrated gradients, ``layer`` of Grad-CAM,
        ``seeds`` of the shared engine.

    Returns
    -------
    iterator of RelevanceBatch

    Raises
    ------
    InputError
        A target out of range, an unsupported layer, a bad image; while iterating also a map that is
        not finite or (``on_zero="raise"``) zero everywhere.
    """
    readouts = list(readouts)
    if len(images) == 0:
        raise InputError("There are no images; give at least one.")
    if on_zero not in ("raise", "keep"):
        raise InputError(f"on_zero = {on_zero!r} is refused; use raise or keep.")
    per_readout = targets if isinstance(targets, list) else [targets] * len(readouts)
    if len(per_readout) != len(readouts):
        raise InputError(
            f"There are {len(per_readout)} targets for {len(readouts)} readouts; give one for all, "
            "or a list with one for each."
        )
    for target, readout in zip(per_readout, readouts, strict=True):
        _check_target(target, len(images), readout)
    worker = make_engine(trunk, readouts, composite, engine, precision, **settings)
    if batch is None:
        batch = max(1, SEEDS // len(readouts))
    if batch < 1:
        raise InputError(f"A batch holds at least one image, not {batch}.")

    def stream() -> Iterator[RelevanceBatch]:
        starts = range(0, len(images), batch)
        title = f"{trunk.name} relevance, {getattr(composite, 'name', composite)}"
        for start in track(starts, title) if progress else starts:
            rows = slice(start, min(start + batch, len(images)))
            block = np.asarray(images[rows])
            if prepared:
                block = vgg.check_prepared(block, trunk.size, start)
            else:
                block = trunk.prepare(block)
            choose = _chooser(per_readout, readouts, rows)
            maps, logits, (first, second) = worker.relevance(block, choose)
            maps = maps.sum(-1) if sum_channels else maps
            _check_maps(maps, rows, readouts, on_zero)
            score = np.stack(
                [
                    values[np.arange(len(values)), first[:, j]]
                    - np.where(
                        second[:, j] >= 0,
                        values[np.arange(len(values)), np.maximum(second[:, j], 0)],
                        0,
                    )
                    for j, values in enumerate(logits)
                ],
                axis=1,
            )
            yield RelevanceBatch(rows, maps, first, second, score.astype(np.float32), logits)

    return stream()


def _check_maps(maps: np.ndarray, rows: slice, readouts: list[Readout], on_zero: str) -> None:
    flat = maps.reshape(*maps.shape[:2], -1)
    for wrong, text in (
        (~np.isfinite(flat).all(-1), "is not finite: a denominator or an activation overflowed"),
        (
            (on_zero == "raise") & ~flat.any(-1),
            "is zero everywhere: the target's logit or all features are zero",
        ),
    ):
        if np.any(wrong):
            image, readout = np.argwhere(wrong)[0]
            raise InputError(
                f"The relevance map of image {rows.start + image}, readout "
                f"{readouts[readout].name!r}, {text}; leave the image out or choose another target "
                "(on_zero='keep' keeps zero maps)."
            )


def normalise_maps(maps: np.ndarray, on_zero: str = "raise") -> np.ndarray:
    """Each map divided by its largest absolute value, so that it lies in [-1, 1].

    Crawford et al. 2020, section 2.3.

    Parameters
    ----------
    maps : ndarray, (..., y, x)
    on_zero : {"raise", "keep"}
        A map that is zero everywhere has no scale; ``keep`` leaves it zero.

    Raises
    ------
    InputError
        A map that is zero everywhere or holds NaN.
    """
    maps = np.asarray(maps)
    largest = np.abs(maps).max((-2, -1), keepdims=True)
    if not np.isfinite(largest).all():
        raise InputError("A relevance map holds NaN or infinity; it cannot be normalised.")
    if (largest == 0).any() and on_zero == "raise":
        index = tuple(int(i) for i in np.argwhere(largest[..., 0, 0] == 0)[0])
        raise InputError(
            f"Map {index} is zero everywhere and has no scale; leave it out, or keep it as it is "
            "with on_zero='keep'."
        )
    return maps / np.where(largest == 0, 1, largest)
