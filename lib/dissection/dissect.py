"""Dissection of chosen layers of a network over a dictionary of concepts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
import xarray as xr

from lib import vgg
from lib.dissection.tails import Tails
from lib.dissection.tally import CodedMasks, Tally, code_masks, stack_masks
from lib.errors import InputError
from lib.faces.concepts import CONCEPTS
from lib.progress import track

#: T_u is the 99.5th percentile.
TAIL = 0.005
CHANCE = ("shuffled", "shifted")
MASKS = ("exact", "ellipse", "both")
#: Bytes of images, masks or maps that several networks of one run may share in memory.
KEEP = 5 << 28

#: How TensorFlow says that it has no such computation; lack of memory is another error.
_REFUSED = (
    tf.errors.AbortedError,
    tf.errors.InternalError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.UnimplementedError,
)


def list_layers(trunk: vgg.Trunk) -> list[str]:
    """Names of the layers that have spatial maps, and so can be dissected."""
    return [layer.name for layer in trunk.model.layers if len(layer.output_shape) == 4]


class Tap:
    """Some layers of a network: prepared images to each layer's maps (n, units, h, w), float32.

    TensorFlow compiles it once, so that a network that learns again and again is compiled once.

    Parameters
    ----------
    trunk : lib.vgg.Trunk
    layers : sequence of str
    precision : {"auto", "float32", "bfloat16"}

    Raises
    ------
    InputError
        An unknown layer or one without maps.
    """

    def __init__(self, trunk: vgg.Trunk, layers: Sequence[str], precision: str = "auto"):
        self.trunk = trunk
        _check_layers(trunk, layers)
        self.precision = vgg.choose_precision(precision)
        self.copy = copy = vgg.with_precision(trunk.model, self.precision)
        tapped = tf.keras.Model(copy.inputs, [copy.get_layer(name).output for name in layers])
        shape = (None, *trunk.model.input_shape[1:])

        def maps(x):
            found = tapped(x, training=False)
            found = found if len(layers) > 1 else [found]
            return [tf.cast(tf.transpose(y, (0, 3, 1, 2)), tf.float32) for y in found]

        # Traced here: TensorFlow warns of one function after another that is traced when called.
        signature = [tf.TensorSpec(shape, tf.float32)]
        self.forward = tf.function(maps, input_signature=signature).get_concrete_function()

    def update(self) -> None:
        """Take the weights that the network has now."""
        if self.copy is not self.trunk.model:
            self.copy.set_weights(self.trunk.model.get_weights())

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        try:
            return [y.numpy() for y in self.forward(tf.constant(x))]
        except _REFUSED:
            if self.precision == "float32":
                raise
            raise InputError(
                f"Network {self.trunk.name} has a layer that TensorFlow does not compute in "
                f"{self.precision} on this machine; use precision: float32."
            ) from None


def _check_layers(trunk: vgg.Trunk, layers: Sequence[str]) -> None:
    """Refuse layers that a network has not, or that have no spatial maps."""
    known = [layer.name for layer in trunk.model.layers]
    for name in layers:
        if name not in known:
            raise InputError(f"Network {trunk.name} has no layer {name!r}{_nearest(name, known)}.")
        if len(trunk.model.get_layer(name).output_shape) != 4:
            raise InputError(
                f"Layer {name!r} of {trunk.name} has no spatial maps; choose one of "
                f"{', '.join(list_layers(trunk))}."
            )


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
        # a dictionary that several networks meet may keep them; see `experiment.Remembered`
        coded = getattr(self.dictionary, "coded", None)
        if coded is None:
            return self._make(i)
        return coded((i, self.mask, self.size, self.level), lambda: self._make(i))

    def _make(self, i: int) -> CodedMasks:
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


def _shift(own: CodedMasks, draws: int, rng: np.random.Generator) -> list[CodedMasks]:
    """An image's own masks, moved cyclically by at least an eighth of the side."""
    size, found = np.array(own.codes.shape), []
    for _ in range(draws):
        by = rng.integers(size // 8, size - size // 8 + 1)
        found.append(CodedMasks(np.roll(own.codes, by, (0, 1)), own.members, own.area))
    return found


class _Sets:
    """Sets of masks that an image meets: its own, those of chance, other kinds of its own.

    Shuffled masks are those of the images that follow in the random order, whatever the batch; only
    the masks of the present batch and of as many images as there are draws are in memory.
    """

    def __init__(self, masks, order, draws, kind, rng):
        self.masks, self.order, self.draws = masks, order, draws
        self.kind, self.rng = kind, rng
        self.coded: dict[int, CodedMasks] = {}

    def _at(self, place: int) -> CodedMasks:
        place %= len(self.order)
        if place not in self.coded:
            self.coded[place] = self.masks[0][int(self.order[place])]
        return self.coded[place]

    def block(self, start: int, stop: int) -> list[list[CodedMasks]]:
        """Sets of the images at some places of the order."""
        found = []
        for k in range(start, stop):
            own = self._at(k)
            if self.kind == "shifted":
                chance = _shift(own, self.draws, self.rng)
            else:
                chance = [self._at(k + 1 + s) for s in range(self.draws)]
            more = [masks[int(self.order[k])] for masks in self.masks[1:]]
            found.append([own, *chance, *more])
        for k in range(start, stop):
            self.coded.pop(k, None)
        return found


def _batches(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """Blocks of about equal size, none smaller than ``batch`` (unless there are fewer images)."""
    return np.array_split(order, max(1, len(order) // batch))


def dissect(
    network: vgg.Trunk | Tap,
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
    keep: Mapping[str, np.ndarray] | None = None,
) -> dict[str, xr.Dataset]:
    """Overlap of every unit of some layers with every concept.

    Teotia et al. 2022, section 3: T_u is the 99.5th percentile of unit u over all images and
    positions; its maps are upsampled bilinearly to the image; M_u = A_u > T_u; IoU(u, c) is summed
    over the images that carry c and that the unit reaches (max A_u > T_u). Bau et al. 2017
    (NetDissect) sum over all images.

    The network runs once over the dictionary for all layers, units and concepts. Each unit's
    threshold is exactly the activation of its rank: of n activations ``round(tail * n)`` lie above
    it, fewer where others are tied with it. As it is known last, the upper tails of the maps are
    kept until then (`lib.dissection.tails`), whatever does not fit into a part of the memory in a
    temporary file.

    Parameters
    ----------
    network : lib.vgg.Trunk or Tap
        Any network; its images are brought to its size. Or a Tap of ``layers`` and of those of
        ``keep`` after them, for a network that is dissected again and again.
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
        Masks of other images, drawn at random, which keep their usual places in the picture; or the
        image's own, moved cyclically.
    batch : int
        Images at a time; nothing depends on it but memory.
    precision : {"auto", "float32", "bfloat16"}
        A Tap has its own.
    seed : int
        Of the order of images and the chance masks.
    progress : bool
    keep : mapping of layer -> ndarray (images, h, w, units), optional
        Further layers, whose maps are written there, images in the dictionary's order.

    Returns
    -------
    dict of layer -> Dataset
        ``iou`` and ``iou_all`` (unit, concept), ``iou_chance`` (draw, unit, concept); with both
        masks ``iou_ellipse`` (unit, concept), the first form of overlap;
        ``threshold``, ``tail``, ``low``, ``high`` (unit); ``peak`` (image, unit), the largest
        activation, images in the dictionary's order. An overlap is NaN where no image counts; one
        whose mask of a concept has no pixel at this size does not count for it.
        Coordinates ``concept``, ``region``, ``kind``.

    Raises
    ------
    InputError
        An unknown layer or one without maps, no layer, no concepts, fewer images than the chance
        draws need, a setting out of range, masks that the dictionary has not, masks of another
        size, activations that are not finite.
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
    # dictionaries made of arrays need not say
    if mask != "exact" and not getattr(dictionary, "has_landmarks", True):
        raise InputError("The dictionary has no landmarks to draw ellipses by; use mask: exact.")
    count = len(dictionary)
    if draws and chance == "shuffled" and count <= draws:
        raise InputError(
            f"{draws} shuffled draws need more than {draws} images; the dictionary has {count}: "
            "lower draws, or use chance: shifted."
        )
    trunk = network.trunk if isinstance(network, Tap) else network
    layers = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    if not layers:
        raise InputError(f"Name at least one layer of {trunk.name}.")
    order = np.random.default_rng([seed, 0]).permutation(count)
    blocks = _batches(order, batch)
    keep = dict(keep or {})
    tap = network if isinstance(network, Tap) else Tap(trunk, [*layers, *keep], precision)
    tails, peaks = _run(tap, dictionary, layers, keep, blocks, tail, progress)
    kinds = ("exact", "ellipse") if mask == "both" else (mask,)
    masks = [_Masks(dictionary, concepts, trunk.size, kind, level) for kind in kinds]
    tallies = {
        name: Tally(some.select(), len(concepts), len(masks) + draws)
        for name, some in tails.items()
    }
    sets = _Sets(masks, order, draws, chance, np.random.default_rng([seed, 1]))
    title = f"{trunk.name}: overlaps counted"
    for k in track(range(count), title) if progress else range(count):
        (met,) = sets.block(k, k + 1)
        coded = stack_masks(met)
        for name, tally in tallies.items():
            tally.add(tails[name].maps(k), coded)
    out = {}
    for name, tally in tallies.items():
        out[name] = _dataset(tally, peaks[name], tails[name].low, concepts, draws)
        tails[name].close()
    return out


def _run(tap, dictionary, layers, keep, blocks, tail, progress):
    """The network over all images, once: per layer the tails, and the peaks (images, units)."""
    trunk, count = tap.trunk, sum(map(len, blocks))
    tails: dict[str, Tails] = {}
    peaks = {}
    for rows in track(blocks, f"{trunk.name}: images dissected") if progress else blocks:
        images = dictionary.images(rows, size=trunk.size, colour=True)
        found = tap(trunk.prepare(images))
        for maps, values in zip(keep.values(), found[len(layers) :], strict=True):
            maps[rows] = values.transpose(0, 2, 3, 1)
        for name, values in zip(layers, found, strict=False):
            top = values.max((2, 3))
            # a maximum or a minimum that is not finite, or not a number
            if not np.isfinite(top).all() or not np.isfinite(values.min()):
                raise InputError(
                    f"Layer {name!r} of {trunk.name} gives activations that are not finite."
                )
            if name not in tails:
                tails[name] = Tails(values.shape[1:], count, tail)
                peaks[name] = np.empty((count, values.shape[1]), np.float32)
            peaks[name][rows] = top
            tails[name].add(values)
    return tails, peaks


def _ratio(inter: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.divide(inter, union, out=np.full(inter.shape, np.nan), where=union > 0)


def _dataset(tally, peak, low, concepts, draws) -> xr.Dataset:
    iou = _ratio(tally.inter.swapaxes(0, 1), tally.union.swapaxes(0, 1))
    own = tally.inter[:, 0]
    everywhere = tally.beyond[:, None] + tally.area - own
    return xr.Dataset(
        {
            "iou": (("unit", "concept"), iou[0]),
            "iou_all": (("unit", "concept"), _ratio(own, everywhere)),
            "iou_chance": (("draw", "unit", "concept"), iou[1 : 1 + draws]),
            **({"iou_ellipse": (("unit", "concept"), iou[-1])} if len(iou) > 1 + draws else {}),
            "threshold": ("unit", tally.thresholds),
            "tail": ("unit", tally.native / tally.cells),
            "low": ("unit", low),
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
    forward = Tap(trunk, [layer], precision)
    for start in range(0, len(rows), 8):
        some = np.asarray(rows[start : start + 8])
        images = dictionary.images(some, size=trunk.size, colour=True)
        yield from forward(trunk.prepare(images))[0]
