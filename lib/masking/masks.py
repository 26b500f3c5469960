"""Which pixels are removed: by relevance, by its sign, at random, or as scattered as relevance.

A mask is made of two steps. A *map* is chosen (the relevance map itself, or something that has its
texture and not its place); then the pixels of the map are ranked, and the first ones are removed.
Ranking once serves all levels, so the mask of a lower level lies inside that of a higher one.

Crawford et al. 2020, section on masking: the top N% of pixels by absolute relevance, and as a
baseline the same number of random pixels. Independent pixels alone are an unfair baseline: they
scatter all over the image, and the high-frequency noise which that adds can hurt a network more
than the loss of what it looks at. So there are baselines that are as scattered as relevance.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import xarray as xr

from lib.errors import InputError

#: Percentages of pixels removed: half decades as in the paper's figures, and both ends.
LEVELS = (0.0, 0.1, 0.3, 1.0, 3.2, 10.0, 31.6, 100.0)
#: Masks that follow a source model's relevance, in the order in which figures show them.
SIGNED = ("positive", "negative")
SCATTERED = ("mirrored", "shifted", "scrambled", "other_face")
#: All masks; ``random`` has no source model.
MASKS = ("relevance", *SIGNED, *SCATTERED, "random")
#: Masks beside relevance.
BASELINES = MASKS[1:]
#: Mask -> words.
WORDS = {
    "relevance": "relevance",
    "positive": "positive only",
    "negative": "negative only",
    "mirrored": "map mirrored",
    "shifted": "map shifted",
    "scrambled": "map's phases\nscrambled",
    "other_face": "another\nface's map",
    "random": "random pixels",
}
#: Tells the random draws of one seed apart.
_STREAM = {"shifted": 1, "scrambled": 2, "other_face": 3, "random": 4}


# ---------------------------------------------------------------------------------------- numbers


def count_pixels(level: float, pixels: int) -> int:
    """Pixels removed at a level: ``level`` percent of ``pixels``, halves rounded up.

    In decimals, so that 0.3% of 500 pixels (1.5) gives 2 whatever the binary form of 0.3.
    """
    exact = Decimal(str(float(level))) * pixels / 100
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def check_levels(levels: Sequence[float], pixels: int) -> tuple[float, ...]:
    """Levels in ascending order.

    Parameters
    ----------
    levels : sequence of float
        Percentages of pixels, 0 to 100; both ends are allowed.
    pixels : int
        Of an image.

    Raises
    ------
    InputError
        None at all, one that is no number, out of range or given twice, or a share of less than
        half a pixel.
    """
    try:
        found = [float(level) for level in levels]
    except (TypeError, ValueError):
        raise InputError(
            f"levels = {levels!r} is refused; give a list of percentages of pixels, 0 to 100, e.g. "
            "[1, 10, 31.6]."
        ) from None
    if not found:
        raise InputError("There are no levels; give at least one percentage of pixels.")
    for level in found:
        if not 0 <= level <= 100:
            raise InputError(
                f"level = {level:g} is refused; it is a percentage of pixels, 0 to 100."
            )
        if level and not count_pixels(level, pixels):
            raise InputError(
                f"{level:g}% of {pixels} pixels is less than half a pixel; leave that level out, "
                "or use larger images."
            )
    if len(set(found)) < len(found):
        twice = next(level for level in found if found.count(level) > 1)
        raise InputError(f"The level {twice:g} is given twice; give each once.")
    return tuple(sorted(found))


# ---------------------------------------------------------------------------------------- ranking


def check_maps(maps: np.ndarray, names: Sequence[str] | None = None, where: str = "") -> np.ndarray:
    """Maps that rank pixels: finite, and not the same everywhere.

    Parameters
    ----------
    maps : ndarray, (n, y, x)
    names : sequence of str, optional
        Of the maps, for the message; their number by default.
    where : str
        More for the message, e.g. the source model.

    Raises
    ------
    InputError
        Another number of axes, NaN, infinity, or a constant map.
    """
    maps = np.asarray(maps)
    if maps.ndim != 3:
        raise InputError(f"Maps have shape {maps.shape}; give (n, y, x), one map per image.")
    flat = maps.reshape(len(maps), -1)
    for wrong, what, remedy in (
        (lambda: ~np.isfinite(flat).all(1), "holds NaN or infinity", "compute it again"),
        (
            lambda: flat.max(1) == flat.min(1),
            "is the same everywhere, so it ranks no pixel",
            "leave that face out, or choose another target",
        ),
    ):
        rows = np.flatnonzero(wrong())
        if rows.size:
            name = rows[0] if names is None else repr(str(names[rows[0]]))
            raise InputError(f"The map of {name}{where and f' from {where}'} {what}; {remedy}.")
    return maps


def rank_pixels(maps: np.ndarray, order: str = "magnitude") -> np.ndarray:
    """Order in which the pixels of each map are removed.

    Parameters
    ----------
    maps : ndarray, (n, y, x)
        Relevance or another map; see :func:`check_maps`.
    order : {"magnitude", "positive", "negative"}
        ``magnitude``: from the largest absolute value down, whatever the sign, as in the paper.
        ``positive``: only pixels above zero, from the largest down; ``negative``: only pixels below
        zero, from the lowest up. **Ties** go row by row from the top left.

    Returns
    -------
    ndarray, (n, y, x), int32
        0 is removed first. Pixels that the order never removes have the rank y * x, so that no
        level reaches them.
    """
    flat = np.asarray(maps).reshape(len(maps), -1)
    keys = {"magnitude": -np.abs(flat), "positive": -flat, "negative": flat}
    if order not in keys:
        raise InputError(f"There is no order {order!r}; use {', '.join(keys)}.")
    # stable: equal pixels stay in the order of the rows
    first = np.argsort(keys[order], axis=1, kind="stable")
    ranks = np.empty(flat.shape, np.int32)
    np.put_along_axis(ranks, first, np.arange(flat.shape[1], dtype=np.int32)[None], 1)
    if order != "magnitude":
        ranks[(flat if order == "positive" else -flat) <= 0] = flat.shape[1]
    return ranks.reshape(np.shape(maps))


def mask_pixels(ranks: np.ndarray, level: float) -> np.ndarray:
    """True where a pixel is removed, for ranks (n, y, x) of :func:`rank_pixels`.

    Exactly :func:`count_pixels` pixels of each image, or, for one sign, all pixels of that sign
    where there are fewer.
    """
    return ranks < count_pixels(level, ranks[0].size)


# -------------------------------------------------------------------------------------- baselines


def mirror_maps(maps: np.ndarray) -> np.ndarray:
    """Each map with left and right exchanged."""
    return maps[:, :, ::-1]


def shift_maps(maps: np.ndarray, seed: int) -> np.ndarray:
    """Each map shifted by a random distance in both directions, cyclically.

    All shifts but none at all are equally likely. What leaves on one side enters on the other, so
    every value is kept; the seam cuts what lies across it. Image *k* is shifted alike for every
    source model.
    """
    height, width = maps.shape[1:]
    generator = np.random.default_rng([seed, _STREAM["shifted"]])
    offsets = generator.integers(1, height * width, len(maps))
    return np.stack(
        [np.roll(m, divmod(int(k), width), (0, 1)) for m, k in zip(maps, offsets, strict=True)]
    )


def scramble_phases(maps: np.ndarray, seed: int) -> np.ndarray:
    """Each map with its own amplitude spectrum and the phases of white noise.

    As coarse or fine as before, but spread over the whole image; the mean is kept, the distribution
    of values becomes nearly normal. Image *k* gets the same phases for every source model.
    """
    generator = np.random.default_rng([seed, _STREAM["scrambled"]])
    phases = np.angle(np.fft.rfft2(generator.normal(size=maps.shape)))
    spectrum = np.fft.rfft2(np.asarray(maps, np.float64))
    turned = np.abs(spectrum) * np.exp(1j * phases)
    turned[:, 0, 0] = spectrum[:, 0, 0]
    return np.fft.irfft2(turned, s=maps.shape[1:])


def swap_faces(maps: np.ndarray, seed: int) -> np.ndarray:
    """To each face the map of another one, each map used once.

    Raises
    ------
    InputError
        There is one face only.
    """
    if len(maps) < 2:
        raise InputError(
            "other_face needs maps of at least two faces; add faces or leave it out of masks."
        )
    # one closed chain through all faces: nobody keeps their own
    chain = np.random.default_rng([seed, _STREAM["other_face"]]).permutation(len(maps))
    given = np.empty(len(maps), int)
    given[chain] = np.roll(chain, -1)
    return maps[given]


def random_maps(shape: tuple[int, int, int], seed: int, draw: int = 0) -> np.ndarray:
    """Independent uniform numbers: ranked, they give random pixels, other ones in every draw."""
    return np.random.default_rng([seed, _STREAM["random"], draw]).random(shape)


def make_ranks(maps: np.ndarray, mask: str, seed: int = 0, draw: int = 0) -> np.ndarray:
    """Ranks of the pixels under one of :data:`MASKS`.

    Parameters
    ----------
    maps : ndarray, (n, y, x)
        Relevance of one source model for n faces; for ``random`` only its shape counts.
    mask : str
    seed, draw : int
        Of the baselines that are drawn; ``draw`` for ``random`` alone.

    Returns
    -------
    ndarray, (n, y, x), int32

    Raises
    ------
    InputError
        An unknown mask.
    """
    check_names("mask", [mask], MASKS)
    if mask in SIGNED:
        return rank_pixels(maps, mask)
    if mask == "random":
        return rank_pixels(random_maps(np.shape(maps), seed, draw))
    if mask == "mirrored":
        maps = mirror_maps(maps)
    elif mask == "shifted":
        maps = shift_maps(maps, seed)
    elif mask == "scrambled":
        maps = scramble_phases(maps, seed)
    elif mask == "other_face":
        maps = swap_faces(maps, seed)
    return rank_pixels(maps)


def find_constant(relevance: xr.DataArray) -> list[str]:
    """Faces for which some model's map is the same everywhere (zero, say) and so ranks no pixel.

    Parameters
    ----------
    relevance : DataArray, (model, identity, y, x)
        Read one model at a time.
    """
    lost = np.zeros(relevance.sizes["identity"], bool)
    for k in range(relevance.sizes["model"]):
        flat = relevance.isel(model=k).to_numpy().reshape(len(lost), -1)
        lost |= flat.max(1) == flat.min(1)
    return relevance["identity"].to_numpy()[lost].astype(str).tolist()


def choose_sources(sources: pd.DataFrame, initialisations: int) -> list[str]:
    """Names of the first so many instances of each pretraining and task.

    Parameters
    ----------
    sources : DataFrame
        ``model``, ``pretraining``, ``task``, ``instance``.
    initialisations : int
    """
    place = sources.sort_values("instance").groupby(["pretraining", "task"]).cumcount()
    return sources.loc[place < initialisations, "model"].tolist()


def example_masks(
    maps: np.ndarray, face: int, masks: Sequence[str], levels: Sequence[float], seed: int = 0
) -> dict[str, np.ndarray]:
    """What several masks remove from one face.

    Parameters
    ----------
    maps : ndarray, (n, y, x)
        Relevance of one source model for all faces.
    face : int
        Which of them.
    masks : sequence of str
        Of :data:`MASKS`.
    levels : sequence of float
    seed : int

    Returns
    -------
    dict
        Mask -> ndarray of bool, (level, y, x).
    """
    ranks = {mask: make_ranks(maps, mask, seed)[face][None] for mask in masks}
    return {
        mask: np.concatenate([mask_pixels(found, level) for level in levels])
        for mask, found in ranks.items()
    }


def check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse unknown or repeated names, offering the nearest spelling."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}" if near else "use one of them"
            raise InputError(f"There is no {kind} {name!r}; known: {', '.join(known)}: {hint}?")
    if len(set(names)) < len(names):
        raise InputError(f"A {kind} is given twice among {', '.join(names)}; give each once.")
