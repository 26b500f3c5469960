"""Overlap of units with concepts, counted image by image.

Counting is cheap because thresholds are high: a bilinearly upsampled map exceeds a threshold only
between cells of which at least one does, so all other cells are passed over. And every pixel has
one code for the set of concepts that cover it, so one increment serves all concepts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from lib.errors import InputError
from lib.threads import POOL, share_out

#: Units that are worth a thread.
UNITS = 16


@dataclass(frozen=True)
class CodedMasks:
    """Masks of all concepts in one image, as codes.

    Attributes
    ----------
    codes : ndarray (y, x), int32
        Index into the rows of ``members``.
    members : ndarray (codes, concepts), bool
        Concepts that cover a pixel of that code.
    area : ndarray (concepts,), int64
        Pixels covered.
    """

    codes: np.ndarray
    members: np.ndarray
    area: np.ndarray


def code_masks(masks: np.ndarray) -> CodedMasks:
    """Masks (y, x, concepts) of bool as `CodedMasks`; at most 62 concepts."""
    masks = np.asarray(masks, bool)
    if masks.ndim != 3 or not 1 <= masks.shape[2] <= 62:
        raise InputError(
            f"Masks have shape {masks.shape}; give (y, x, concepts) with 1 to 62 concepts."
        )
    packed = np.packbits(masks, axis=-1, bitorder="little")
    word = np.zeros((*masks.shape[:2], 8), np.uint8)
    word[..., : packed.shape[2]] = packed
    bits = word.view("<i8")[..., 0]
    found, codes = np.unique(bits, return_inverse=True)
    members = (found[:, None] >> np.arange(masks.shape[2])) & 1 == 1
    return CodedMasks(
        codes.reshape(masks.shape[:2]).astype(np.int32), members, masks.sum((0, 1), dtype=np.int64)
    )


@numba.njit(cache=True)
def _cells(length: int, size: int):
    """Where output pixels lie between cells: (first cell, weight of the next) per pixel, and per
    cell the range of pixels that start in it. Pixel areas are aligned, as in TensorFlow's resize.
    """
    first = np.empty(size, np.int64)
    weight = np.empty(size, np.float32)
    start = np.full(length + 1, size, np.int64)
    for k in range(size):
        position = (k + 0.5) * length / size - 0.5
        position = min(max(position, 0.0), length - 1.0)
        first[k] = int(position)
        weight[k] = position - first[k]
        if start[first[k]] == size:
            start[first[k]] = k
    for cell in range(length - 1, -1, -1):
        if start[cell] == size:
            start[cell] = start[cell + 1]
    return first, weight, start


@numba.njit(nogil=True, cache=True)
def _tally(maps, thresholds, codes, entries, bounds, carried, area, inter, union, beyond, native):
    """Add one image to the counts.

    maps (units, h, w); thresholds (units,); codes (draws, y, x), the first draw being the image's
    own masks; bounds (draws, codes + 1) and entries: the concepts of a code are
    entries[draw, bounds[code]:bounds[code + 1]]; carried (draws, concepts), the concepts with an
    area, then -1; area (draws, concepts). To: inter, union (units, draws, concepts); beyond
    (units,), pixels of the image above the threshold; native (units,), cells above it.
    """
    units, height, width = maps.shape
    draws, size_y, size_x = codes.shape
    concepts = inter.shape[2]
    most = bounds.shape[1] - 1
    _, weight_y, start_y = _cells(height, size_y)
    _, weight_x, start_x = _cells(width, size_x)
    count = np.zeros((draws, most), np.int32)
    covered = np.zeros(concepts, np.int64)
    for u in range(units):
        floor = thresholds[u]
        cells = 0
        for i in range(height):
            for j in range(width):
                if maps[u, i, j] > floor:
                    cells += 1
        # images that the unit does not reach do not count
        if cells == 0:
            continue
        native[u] += cells
        count[:] = 0
        total = 0
        for i in range(height):
            below = min(i + 1, height - 1)
            for j in range(width):
                right = min(j + 1, width - 1)
                a, b = maps[u, i, j], maps[u, i, right]
                c, d = maps[u, below, j], maps[u, below, right]
                if not max(max(a, b), max(c, d)) > floor:
                    continue
                for y in range(start_y[i], start_y[i + 1]):
                    wy = weight_y[y]
                    left_value = a + (c - a) * wy
                    right_value = b + (d - b) * wy
                    for x in range(start_x[j], start_x[j + 1]):
                        value = left_value + (right_value - left_value) * weight_x[x]
                        if value > floor:
                            total += 1
                            for s in range(draws):
                                count[s, codes[s, y, x]] += 1
        beyond[u] += total
        for s in range(draws):
            covered[:] = 0
            for code in range(most):
                n = count[s, code]
                if n:
                    for e in range(bounds[s, code], bounds[s, code + 1]):
                        covered[entries[s, e]] += n
            for k in range(concepts):
                c = carried[s, k]
                if c < 0:
                    break
                inter[u, s, c] += covered[c]
                union[u, s, c] += total + area[s, c] - covered[c]


@dataclass(frozen=True)
class Stacked:
    """Several sets of masks of one image as arrays; see `_tally`."""

    codes: np.ndarray
    entries: np.ndarray
    bounds: np.ndarray
    carried: np.ndarray
    area: np.ndarray


def stack_masks(masks: list[CodedMasks]) -> Stacked:
    """Sets of masks that an image meets, once for all layers."""
    most = max(len(some.members) for some in masks)
    bounds = np.zeros((len(masks), most + 1), np.int64)
    longest = max(int(some.members.sum()) for some in masks)
    entries = np.zeros((len(masks), max(longest, 1)), np.int64)
    for s, some in enumerate(masks):
        rows, columns = np.nonzero(some.members)
        entries[s, : len(columns)] = columns
        counted = np.bincount(rows, minlength=most).cumsum()
        bounds[s, 1:] = counted
    area = np.stack([some.area for some in masks])
    carried = np.full(area.shape, -1)
    for s, areas in enumerate(area):
        held = np.flatnonzero(areas)
        carried[s, : len(held)] = held
    return Stacked(np.stack([some.codes for some in masks]), entries, bounds, carried, area)


class Tally:
    """Counts of one layer over a dictionary.

    Parameters
    ----------
    thresholds : ndarray (units,)
    concepts : int
    draws : int
        Sets of masks per image: its own and those of chance.

    Attributes
    ----------
    inter, union : ndarray (units, draws, concepts), int64
        Pixels in both, and in either, over the images that count for a pair.
    beyond, native : ndarray (units,), int64
        Pixels, and cells, above the threshold in all images.
    area : ndarray (concepts,), int64
        Pixels that a concept covers in all images.
    cells : int
        Of every unit, in all images.
    """

    def __init__(self, thresholds: np.ndarray, concepts: int, draws: int = 1):
        # float32 like the activations, so that "above" means the same here and to the reader
        self.thresholds = np.ascontiguousarray(thresholds, np.float32)
        if self.thresholds.ndim != 1 or not np.isfinite(self.thresholds).all():
            raise InputError("Thresholds must be finite, one for each unit.")
        units = len(self.thresholds)
        # what belongs to a unit lies together, so that threads can share the units
        shape = (units, draws, concepts)
        self.inter, self.union = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.beyond, self.native = np.zeros(units, np.int64), np.zeros(units, np.int64)
        self.area = np.zeros(concepts, np.int64)
        self.cells = 0

    def add(self, maps: np.ndarray, masks: Stacked) -> None:
        """Add one image: maps (units, h, w), float32, and one set of masks per draw."""
        maps = np.ascontiguousarray(maps, np.float32)
        work = [
            POOL.submit(
                _tally,
                maps[some],
                self.thresholds[some],
                masks.codes,
                masks.entries,
                masks.bounds,
                masks.carried,
                masks.area,
                self.inter[some],
                self.union[some],
                self.beyond[some],
                self.native[some],
            )
            for some in share_out(len(maps), UNITS)
        ]
        for one in work:
            one.result()
        self.area += masks.area[0]
        self.cells += maps[0].size
