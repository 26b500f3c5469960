"""Upper tails of a layer's maps: a network runs once, though its thresholds are known last.

Network dissection needs a threshold per unit, a quantile of its activations over the whole
dictionary, before it can count a single pixel; so the network is usually run twice. But how many
activations there will be is known beforehand, and so is k, how many of them lie above the quantile;
and the k-th largest of all is at least the k-th largest of those so far. What lies below that can
be forgotten at once. The rest, a few hundredths of all cells, is kept exactly, with the cells
around it, between which a bilinearly upsampled map can exceed the threshold.
"""

from __future__ import annotations

import tempfile

import numba
import numpy as np

from lib.dissection.tally import UNITS
from lib.errors import InputError
from lib.threads import POOL, share_out

#: Bytes that are kept in memory; what is more lies in a temporary file.
MEMORY = 1 << 28
#: Leading bits of an activation by which the running bound is found: sign, exponent, and three of
#: the mantissa, so that the bound lies within an eighth of the k-th largest.
LEADING = 12
#: Bits by which the quantile is selected, digit by digit; 32 together.
DIGITS = (11, 11, 10)


@numba.njit(cache=True)
def _key(bits):
    """Of the bits of a float32 a number that ascends as the float does."""
    word = np.int64(bits) & 0xFFFFFFFF
    return word ^ (0x80000000 if bits >= 0 else 0xFFFFFFFF)


def _value(keys: np.ndarray) -> np.ndarray:
    """The float32 of a key."""
    keys = np.asarray(keys, np.int64)
    words = np.where(keys >= 0x80000000, keys ^ 0x80000000, keys ^ 0xFFFFFFFF)
    return words.astype(np.uint32).view(np.float32)


@numba.njit(nogil=True, cache=True)
def _count(maps, bits, floor, shift, counts):
    """Cells (units, cells) above a unit's floor, by their leading bits (units, bins)."""
    for u in range(maps.shape[0]):
        for p in range(maps.shape[1]):
            if maps[u, p] > floor[u]:
                counts[u, _key(bits[u, p]) >> shift] += 1


@numba.njit(nogil=True, cache=True)
def _pack(maps, floor, marks, values, ends):
    """Cells above the floor and those around them, of one image.

    maps (units, h, w); to marks (units, bytes), a bit for every cell; values (cells,), and ends
    (units,), where a unit's values end.
    """
    units, height, width = maps.shape
    end = 0
    near = np.zeros((height, width), np.bool_)
    for u in range(units):
        near[:] = False
        for i in range(height):
            for j in range(width):
                if maps[u, i, j] > floor[u]:
                    for y in range(max(i - 1, 0), min(i + 2, height)):
                        for x in range(max(j - 1, 0), min(j + 2, width)):
                            near[y, x] = True
        for i in range(height):
            for j in range(width):
                if near[i, j]:
                    place = i * width + j
                    marks[u, place >> 3] |= 1 << (place & 7)
                    values[end] = maps[u, i, j]
                    end += 1
        ends[u] = end


@numba.njit(nogil=True, cache=True)
def _unpack(marks, values, floor, maps):
    """Maps (units, cells) of one image; cells that were not kept have their unit's floor."""
    n = 0
    for u in range(maps.shape[0]):
        maps[u] = floor[u]
        for byte in range(marks.shape[1]):
            if marks[u, byte]:
                for k in range(8):
                    if marks[u, byte] >> k & 1:
                        maps[u, 8 * byte + k] = values[n]
                        n += 1


@numba.njit(nogil=True, cache=True)
def _select(values, bits, ends, cells, floor, floor_bits, bound, prefix, shift, digit, counts):
    """Activations above a bound, of those keys that begin with a prefix, by their next digit."""
    start = 0
    for u in range(len(ends)):
        for n in range(start, ends[u]):
            if values[n] > bound[u]:
                key = _key(bits[n])
                if key >> (shift + digit) == prefix[u]:
                    counts[u, (key >> shift) & ((1 << digit) - 1)] += 1
        # above the bound what was not kept equals its floor
        if floor[u] > bound[u]:
            key = _key(floor_bits[u])
            if key >> (shift + digit) == prefix[u]:
                counts[u, (key >> shift) & ((1 << digit) - 1)] += cells - (ends[u] - start)
        start = ends[u]


@numba.njit(nogil=True, cache=True)
def _highest(counts, wanted):
    """The highest bin (-1: none) with which at least so many are reached from above, and how many
    lie above it."""
    units, bins = counts.shape
    found, beyond = np.full(units, -1), np.zeros(units, np.int64)
    for u in range(units):
        above = 0
        for k in range(bins - 1, -1, -1):
            if above + counts[u, k] >= wanted[u]:
                found[u] = k
                break
            above += counts[u, k]
        beyond[u] = above
    return found, beyond


def _folder() -> str:
    """Where temporary files lie, in words where nothing can be written."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return "of the system"


class Tails:
    """The upper tail of one layer, image by image.

    Parameters
    ----------
    shape : tuple of int
        Of an image's maps: units, height, width.
    images : int
        That will be added.
    tail : float
        Share of a unit's activations above its threshold.
    memory : int, optional
        Bytes kept in memory (`MEMORY`); the rest lies in a temporary file, which goes with the
        object.

    Raises
    ------
    InputError
        The share is less than one activation; the temporary folder is full or may not be written
        to (when maps are added).
    """

    def __init__(
        self, shape: tuple[int, int, int], images: int, tail: float, memory: int | None = None
    ):
        self.shape = units, height, width = tuple(shape)
        self.cells = height * width
        #: The threshold is the activation of this rank, counted from the largest.
        self.rank = round(tail * images * self.cells) + 1
        if self.rank < 2:
            raise InputError(
                f"A unit of {height} x {width} cells has {images * self.cells} activations in "
                f"{images} images, of which none is the share tail = {tail}: give more images or a "
                "larger tail."
            )
        self.counts = np.zeros((units, 1 << LEADING), np.int64)
        self.low = np.full(units, np.inf, np.float32)
        #: No unit's threshold is below the larger of this and the smallest activation.
        self.edge = np.full(units, -np.inf, np.float32)
        self.floor = self.edge
        self.parts = share_out(units, UNITS)
        memory = MEMORY if memory is None else memory
        self.file = tempfile.SpooledTemporaryFile(max_size=max(memory, 1))  # noqa: SIM115 closed with it
        #: Of every image and part: place in the file, and number of activations.
        self.places: list[list[tuple[int, int]]] = []
        self.end = 0

    def add(self, maps: np.ndarray) -> None:
        """Add some images: maps (n, units, h, w), float32."""
        maps = np.ascontiguousarray(maps, np.float32)
        flat = maps.reshape(*maps.shape[:2], -1)
        np.minimum(self.low, flat.min((0, 2)), out=self.low)
        self.floor = np.maximum(self.edge, self.low)
        shift = 32 - LEADING

        def count(part):
            for one in flat[:, part]:
                _count(one, one.view(np.int32), self.floor[part], shift, self.counts[part])

        list(POOL.map(count, self.parts))
        found, _ = _highest(self.counts, np.full(len(self.counts), self.rank))
        self.edge = np.where(found < 0, -np.inf, _value(np.maximum(found, 0) << shift))
        # at the smallest activation so far nothing is lost: what is not kept equals it
        self.floor = np.maximum(self.edge, self.low).astype(np.float32)
        for one in maps:
            kept = POOL.map(lambda part, one=one: self._pack(one[part], self.floor[part]),
                             self.parts)  # fmt: skip
            self.places.append([self._write(arrays) for arrays in kept])

    @staticmethod
    def _pack(maps: np.ndarray, floor: np.ndarray):
        ends = np.empty(len(maps), np.int64)
        marks = np.zeros((len(maps), -(-maps[0].size // 8)), np.uint8)
        values = np.empty(maps.size, np.float32)
        _pack(maps, floor, marks, values, ends)
        return ends, floor, values[: ends[-1]], marks

    def _write(self, arrays) -> tuple[int, int]:
        place = self.end
        try:
            self.file.seek(place)
            for array in arrays:
                self.end += self.file.write(np.ascontiguousarray(array).tobytes())
            # what does not fit on the disk is told of here, not when it is read
            self.file.flush()
        except OSError as error:
            raise InputError(
                f"The maps that are dissected do not fit into the temporary folder {_folder()} "
                f"({error.strerror or error}): free some space there, or name a folder with more "
                "in the environment variable TMPDIR, then run again."
            ) from None
        return place, len(arrays[2])

    def _read(self, image: int, part: int, marks: bool = True):
        place, count = self.places[image][part]
        units = self.parts[part].stop - self.parts[part].start
        self.file.seek(place)
        ends = np.frombuffer(self.file.read(8 * units), np.int64)
        values = np.frombuffer(self.file.read(4 * (units + count)), np.float32)
        bits = -(-self.cells // 8)
        found = self.file.read(units * bits) if marks else b""
        return ends, values[:units], values[units:], np.frombuffer(found, np.uint8)

    def select(self) -> np.ndarray:
        """Thresholds (units,), float32: exactly the activations of that rank.

        Above it lies the share of a unit's activations that was asked for, rounded to a cell, or
        less where activations are tied with it.
        """
        units = self.shape[0]
        prefix, wanted = np.zeros(units, np.int64), np.full(units, self.rank)
        shift, few = 32, np.zeros(units, bool)
        for digit in DIGITS:
            shift -= digit
            counts = np.zeros((units, 1 << digit), np.int64)
            for image in range(len(self.places)):
                # the file is read by one thread; few activations are counted fast enough
                for number, part in enumerate(self.parts):
                    ends, floor, values, _ = self._read(image, number, marks=False)
                    _select(
                        values, values.view(np.int32), ends, self.cells, floor,
                        floor.view(np.int32), self.floor[part], prefix[part], shift, digit,
                        counts[part],
                    )  # fmt: skip
            found, beyond = _highest(counts, wanted)
            few |= found < 0
            prefix = (prefix << digit) + np.maximum(found, 0)
            wanted = wanted - beyond
        # fewer lie above the bound: the others of that rank are equal to it
        return np.where(few, self.floor, _value(prefix)).astype(np.float32)

    def maps(self, image: int) -> np.ndarray:
        """Maps (units, h, w) of an image in the order they were added, right where it matters.

        Where bilinear upsampling may exceed a unit's threshold they are the activations; elsewhere
        they are not above it.
        """
        out = np.empty((self.shape[0], self.cells), np.float32)
        read = [self._read(image, number) for number in range(len(self.parts))]

        def fill(part, arrays):
            _, floor, values, marks = arrays
            _unpack(marks.reshape(len(floor), -1), values, floor, out[part])

        list(POOL.map(fill, self.parts, read))
        return out.reshape(self.shape)

    def close(self) -> None:
        """Give up what was kept."""
        self.file.close()
