"""Dissection of chosen layers of a network over a dictionary of concepts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import xarray as xr

from lib import vgg
from lib.dissection.tally import CodedMasks, Tally, code_masks
from lib.errors import InputError
from lib.faces.concepts import CONCEPTS
from lib.progress import track

#: T_u is the 99.5th percentile.
TAIL = 0.005
#: The ladder of thresholds reaches from this many times TAIL to TAIL over it.
SPREAD = 3.0
RUNGS = 14
#: The same where all maps are at hand and the quantile is known beforehand.
NARROW, FEW_RUNGS = 1.1, 3
CHANCE = ("shuffled", "shifted")
MASKS = ("exact", "ellipse", "both")
#: Images that the ladders are built on, and cells taken from each.
PILOT, PILOT_CELLS = 64, 1024
#: Bytes of maps that are kept for another pass, small layers first: a bound, whatever the images.
KEEP = 5 << 28
#: Passes after which a threshold is taken as it is.
MOST_PASSES = 4


def list_layers(trunk: vgg.Trunk) -> list[str]:
    """Names of the layers that have spatial maps, and so can be dissected."""
    return [layer.name for layer in trunk.model.layers if len(layer.output_shape) == 4]


def _tap(trunk: vgg.Trunk, layers: Sequence[str], precision: str):
    """A function: prepared images to each layer's maps (n, units, h, w), float32."""
    known = [layer.name for layer in trunk.model.layers]
    for name in layers:
        if name not in known:
            raise InputError(f"Network {trunk.name} has no layer {name!r}{_nearest(name, known)}.")
        if len(trunk.model.get_layer(name).output_shape) != 4:
            raise InputError(
                f"Layer {name!r} of {trunk.name} has no spatial maps; choose one of "
                f"{', '.join(list_layers(trunk))}."
            )
    copy = vgg.with_precision(trunk.model, vgg.choose_precision(precision))
    tapped = tf.keras.Model(copy.inputs, [copy.get_layer(name).output for name in layers])
    shape = (None, *trunk.model.input_shape[1:])

    def maps(x):
        found = tapped(x, training=False)
        found = found if len(layers) > 1 else [found]
        return [tf.cast(tf.transpose(y, (0, 3, 1, 2)), tf.float32) for y in found]

    # Traced here: TensorFlow warns of one function after another that is traced when it is called.
    signature = [tf.TensorSpec(shape, tf.float32)]
    forward = tf.function(maps, input_signature=signature).get_concrete_function()
    return lambda x: [y.numpy() for y in forward(tf.constant(x))]


def _nearest(name: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f" - did you mean {found[0]!r}?" if found else f"; it has {', '.join(known)}"


class _Masks:
    """Coded masks of the dictionary's images at one size."""

    def __init__(self, dictionary, concepts, size, mask, level):
        self.dictionary, self.concepts, self.size = dictionary, concepts, size
        self.mask, self.level = mask, level
        self.columns = [list(CONCEPTS).index(name) for name in concepts]

    def __getitem__(self, i: int) -> CodedMasks:
        if self.mask == "exact":
            masks = self.dictionary.masks(i, self.size)[..., self.columns]
        else:
            masks = np.stack(
                [
                    self.dictionary.ellipse_mask(name, i, self.size, self.level)
                    for name in self.concepts
                ],
                axis=-1,
            )
        if masks.shape[:2] != (self.size, self.size):
            raise InputError(
                f"The masks of image {i} have {masks.shape[:2]} pixels, expected "
                f"{self.size} x {self.size}."
            )
        return code_masks(masks)


def _chance_sets(
    masks: list[CodedMasks], k: int, draws: int, kind: str, rng: np.random.Generator
) -> list[CodedMasks]:
    """Masks that are not image k's own: of other images of the batch, or its own, moved."""
    if kind == "shuffled":
        # the batch is a random one, so its order is as good as any
        return [masks[(k + 1 + s) % len(masks)] for s in range(draws)]
    own, found = masks[k], []
    size = np.array(own.codes.shape)
    for _ in range(draws):
        # cyclic, by at least an eighth of the side
        by = rng.integers(size // 8, size - size // 8 + 1)
        found.append(CodedMasks(np.roll(own.codes, by, (0, 1)), own.members, own.area))
    return found


def _batches(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """Blocks of about equal size, none smaller than ``batch`` (unless there are fewer images)."""
    return np.array_split(order, max(1, len(order) // batch))


class _Maps:
    """Maps of all layers, block by block of images; those of small layers are computed once."""

    def __init__(self, trunk, dictionary, layers, blocks, precision):
        self.trunk, self.dictionary, self.layers, self.blocks = trunk, dictionary, layers, blocks
        self.precision = precision
        self.forward = {tuple(layers): _tap(trunk, layers, precision)}
        shapes = [trunk.model.get_layer(name).output_shape[1:] for name in layers]
        sizes = {name: 4 * int(np.prod(s)) for name, s in zip(layers, shapes, strict=True)}
        count, room, self.kept = sum(map(len, blocks)), KEEP, {}
        for name in sorted(layers, key=sizes.get):
            room -= count * sizes[name]
            if room >= 0:
                self.kept[name] = [None] * len(blocks)

    @property
    def keeps_all(self) -> bool:
        return len(self.kept) == len(self.layers)

    def get(self, block: int, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Layer -> maps (n, units, h, w) of a block."""
        found = {name: self.kept[name][block] for name in layers if name in self.kept}
        absent = tuple(name for name in layers if found.get(name) is None)
        if absent:
            if absent not in self.forward:
                self.forward[absent] = _tap(self.trunk, absent, self.precision)
            images = self.dictionary.images(self.blocks[block], size=self.trunk.size, colour=True)
            maps = self.forward[absent](self.trunk.prepare(images))
            for name, values in zip(absent, maps, strict=True):
                if not np.isfinite(values).all():
                    raise InputError(
                        f"Layer {name!r} of {self.trunk.name} gives activations that are not "
                        "finite."
                    )
                found[name] = values
                if name in self.kept:
                    self.kept[name][block] = values
        return found


def _pilot(maps: _Maps, tail: float, rng) -> dict[str, np.ndarray]:
    """First ladder of every layer: quantiles of a sample, evenly spaced in the log of the tail.

    Where all maps can be kept the sample is the whole, and the ladder need not be long.
    """
    seen, sample = 0, {name: [] for name in maps.layers}
    spread, rungs = (NARROW, FEW_RUNGS) if maps.keeps_all else (SPREAD, RUNGS)
    for block in range(len(maps.blocks)):
        for name, found in maps.get(block, maps.layers).items():
            flat = found.reshape(*found.shape[:2], -1)
            if not maps.keeps_all:
                flat = flat[:, :, rng.permutation(flat.shape[2])[:PILOT_CELLS]]
            sample[name].append(flat.transpose(1, 0, 2).reshape(flat.shape[1], -1))
        seen += len(maps.blocks[block])
        if seen >= PILOT and not maps.keeps_all:
            break
    shares = np.geomspace(min(tail * spread, 0.9), tail / spread, rungs)
    return {
        name: np.quantile(np.concatenate(sample.pop(name), 1), 1 - shares, axis=1).T
        for name in maps.layers
    }


def _new_ladder(tally: Tally, rung, place, low, high) -> np.ndarray:
    """Ladders for another pass: between what is known to lie on either side of the quantile."""
    units = np.arange(len(rung))
    # far too fine a step at the ends, where the quantile is not, costs nothing
    bottom = np.where(place < 0, low, tally.ladders[units, np.maximum(rung - 1, 0)])
    top = np.where(
        place > 0, high, tally.ladders[units, np.minimum(rung + 1, tally.ladders.shape[1] - 1)]
    )
    share = np.linspace(0, 1, tally.ladders.shape[1])
    ladder = bottom[:, None] + share * (top - bottom)[:, None]
    return np.maximum.accumulate(ladder, axis=1)


def dissect(
    trunk: vgg.Trunk,
    dictionary,
    layers: Sequence[str],
    *,
    mask: str = "exact",
    level: float = 0.95,
    tail: float = TAIL,
    draws: int = 8,
    chance: str = "shuffled",
    batch: int = 16,
    precision: str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> dict[str, xr.Dataset]:
    """Overlap of every unit of some layers with every concept.

    Teotia et al. 2022, section 3: T_u is the 99.5th percentile of unit u over all images and
    positions; its maps are upsampled bilinearly to the image; M_u = A_u > T_u; IoU(u, c) is summed
    over the images that carry c and that the unit reaches (max A_u > T_u). Bau et al. 2017
    (NetDissect) sum over all images.

    One pass over the dictionary for all layers, units and concepts. Each unit's threshold is a rung
    of a ladder that a sample of 64 images gives and the pass makes exact: the share of cells above
    it is counted, and is within a tenth of ``tail`` wherever activations have no ties. Layers with
    a unit whose quantile the ladder missed are passed again with a better one. Up to `KEEP` bytes
    of maps are kept, so that this rarely needs the network; where all fit, the sample is the whole.

    Parameters
    ----------
    trunk : lib.vgg.Trunk
        Any network; its images are brought to its size.
    dictionary : lib.faces.dictionary.Dictionary
    layers : sequence of str
    mask : {"exact", "ellipse", "both"}
        ``both`` counts the exact masks, and the ellipses beside them.
    level : float
        Confidence of the ellipses.
    tail : float
        Share of cells above a unit's threshold.
    draws : int
        Chance overlaps per unit and concept; 0 for none.
    chance : {"shuffled", "shifted"}
        Masks of other images of a random batch, which keep their usual places in the picture; or
        the image's own, moved cyclically.
    batch : int
        Images at a time.
    precision : {"auto", "float32", "bfloat16"}
    seed : int
        Of the order of images, the sample and the chance masks.
    progress : bool

    Returns
    -------
    dict of layer -> Dataset
        ``iou`` and ``iou_all`` (unit, concept), ``iou_chance`` (draw, unit, concept); with both
        masks ``iou_ellipse`` (unit, concept), the first form of overlap;
        ``threshold``, ``tail``, ``low``, ``high`` (unit); ``peak`` (image, unit), the largest
        activation, images in the dictionary's order. An overlap is NaN where no image counts.
        Coordinates ``concept``, ``region``, ``kind``.

    Raises
    ------
    InputError
        An unknown layer or one without maps, no concepts, fewer images than the chance draws need,
        a setting out of range, exact masks asked of a dictionary without.
    """
    if mask not in MASKS:
        raise InputError(f"There is no mask {mask!r}; use {', '.join(MASKS)}.")
    if chance not in CHANCE:
        raise InputError(f"There is no chance {chance!r}; use {' or '.join(CHANCE)}.")
    if not 0 < tail < 0.5:
        raise InputError(f"tail = {tail} is refused; it is a share between 0 and 0.5.")
    if draws < 0 or batch < 1:
        raise InputError(f"draws = {draws}, batch = {batch}: give at least 0 and 1.")
    concepts = dictionary.concepts
    if not concepts:
        raise InputError("No image of the dictionary carries a concept; there is nothing to pair.")
    if mask != "ellipse" and not dictionary.has_exact_masks:
        raise InputError(
            "The dictionary has no exact masks; use mask: ellipse, which needs landmarks only."
        )
    count = len(dictionary)
    batch = max(batch, draws + 1) if chance == "shuffled" else batch
    if draws and chance == "shuffled" and count <= draws:
        raise InputError(
            f"{draws} shuffled draws need more than {draws} images; the dictionary has {count}: "
            "lower draws, or use chance: shifted."
        )
    layers = list(layers)
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(count)
    maps = _Maps(trunk, dictionary, layers, _batches(order, batch), precision)
    ladders = _pilot(maps, tail, rng)
    kinds = ("exact", "ellipse") if mask == "both" else (mask,)
    masks = [_Masks(dictionary, concepts, trunk.size, kind, level) for kind in kinds]
    found: dict[str, xr.Dataset] = {}
    settled: dict[str, np.ndarray] = {}
    for attempt in range(MOST_PASSES):
        tallies = {
            name: Tally(ladder, len(concepts), len(masks) + draws)
            for name, ladder in ladders.items()
        }
        rng = np.random.default_rng([seed, 1])
        extremes = _pass(maps, tallies, masks, draws, chance, rng, progress)
        ladders = {}
        for name, tally in tallies.items():
            peak, low = extremes[name]
            high = peak.max(0)
            rung, place = tally.find_rungs(tail)
            units = np.arange(len(rung))
            # A unit that is silent nearly everywhere has its quantile at its smallest value.
            silent = (place < 0) & (tally.ladders[:, 0] <= low)
            missed = (place != 0) & ~silent
            if attempt:
                # later ladders are evenly spaced, and so may bracket the quantile too coarsely
                share = tally.native[units, rung] / tally.cells
                missed |= (np.abs(share - tail) > 0.1 * tail) & ~silent & ~settled[name]
            settled[name] = ~missed
            if missed.any() and attempt < MOST_PASSES - 1:
                ladders[name] = np.where(
                    (~missed)[:, None],
                    tally.ladders,
                    _new_ladder(tally, rung, place, low, high),
                )
            else:
                found[name] = _dataset(tally, rung, peak, low, concepts, draws)
        if not ladders:
            break
    return {name: found[name] for name in layers}


def _pass(maps, tallies, masks, draws, chance, rng, progress):
    """Count everything once; returns per layer (peaks (images, units), low (units,))."""
    extremes = {}
    count = sum(map(len, maps.blocks))
    blocks = list(enumerate(maps.blocks))
    title = f"{maps.trunk.name}: images dissected"
    for block, rows in track(blocks, title) if progress else blocks:
        coded = [masks[0][int(i)] for i in rows]
        sets = [[coded[k], *_chance_sets(coded, k, draws, chance, rng)] for k in range(len(rows))]
        for more in masks[1:]:
            sets = [[*some, more[int(i)]] for some, i in zip(sets, rows, strict=True)]
        found = maps.get(block, list(tallies))
        for name, tally in tallies.items():
            values = found[name]
            if name not in extremes:
                units = values.shape[1]
                extremes[name] = np.empty((count, units), np.float32), np.full(units, np.inf)
            peaks, low = extremes[name]
            peaks[rows] = values.max((2, 3))
            np.minimum(low, values.min((0, 2, 3)), out=low)
            for one, some in zip(values, sets, strict=True):
                tally.add(one, some)
    return extremes


def _ratio(inter: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.divide(inter, union, out=np.full(inter.shape, np.nan), where=union > 0)


def _dataset(tally: Tally, rung, peak, low, concepts, draws) -> xr.Dataset:
    counts = tally.at(rung)
    iou = _ratio(counts["inter"], counts["union"])
    own = counts["inter"][0]
    everywhere = counts["beyond"][:, None] + tally.area - own
    return xr.Dataset(
        {
            "iou": (("unit", "concept"), iou[0]),
            "iou_all": (("unit", "concept"), _ratio(own, everywhere)),
            "iou_chance": (("draw", "unit", "concept"), iou[1 : 1 + draws]),
            **({"iou_ellipse": (("unit", "concept"), iou[-1])} if len(iou) > 1 + draws else {}),
            "threshold": ("unit", counts["threshold"]),
            "tail": ("unit", counts["tail"]),
            "low": ("unit", low.astype(np.float32)),
            "high": ("unit", peak.max(0)),
            "peak": (("image", "unit"), peak),
        },
        coords={
            "concept": list(concepts),
            "region": ("concept", [CONCEPTS[name].region for name in concepts]),
            "kind": ("concept", [CONCEPTS[name].kind for name in concepts]),
            "draw": np.arange(draws),
        },
    )


def iter_maps(
    trunk: vgg.Trunk, dictionary, layer: str, rows: Sequence[int], precision: str = "auto"
) -> Iterator[np.ndarray]:
    """Maps (units, h, w) of one layer for some images, for galleries."""
    forward = _tap(trunk, [layer], precision)
    for start in range(0, len(rows), 8):
        some = np.asarray(rows[start : start + 8])
        images = dictionary.images(some, size=trunk.size, colour=True)
        yield from forward(trunk.prepare(images))[0]
