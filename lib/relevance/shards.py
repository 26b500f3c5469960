"""Maps computed elsewhere, a block of faces at a time, and taken up where all of them are needed.

All readouts of a trunk share its forward pass, so the work is cut by trunk and by faces: a block of
one readout's maps would repeat the pass. Blocks end where batches do, so a batch holds the same
faces whoever computes it, and its maps have the same bytes. A block is taken up only if the digest
of all that went into it (weights, readouts, images, targets, method, code) is what is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from lib import network, resize, store, vgg
from lib.errors import InputError
from lib.relevance.compute import SEEDS, Difference, Target

#: What a block holds, each with readouts and images as first axes.
ARRAYS = ("relevance", "target", "score")


def cut_rows(images: int, readouts: int, part: int, parts: int) -> slice:
    """Images of one part of the work on a trunk.

    Parameters
    ----------
    images, readouts : int
        How many there are.
    part, parts : int
        Which part, counted from 0, of how many.

    Returns
    -------
    slice
        Whole batches as :func:`lib.relevance.compute_relevance` makes them; what is left over of
        the last one belongs to no part. Empty where there are fewer batches than parts.
    """
    batch = max(1, SEEDS // readouts)
    whole = images // batch
    first, last = (whole * k // parts for k in (part, part + 1))
    return slice(first * batch, last * batch)


def cut_target(target: Target, rows: slice) -> Target:
    """A target of all images as one of some of them."""
    if isinstance(target, Difference):
        return Difference(cut_target(target.first, rows), cut_target(target.second, rows))
    return target[rows] if isinstance(target, np.ndarray) and target.ndim else target


def code_digest() -> str:
    """Digest of the code that decides a map."""
    found = hashlib.sha256()
    decide = ("compute", "composites", "engine", "gradients", "reference", "rules")
    files = [Path(__file__).with_name(f"{name}.py") for name in decide]
    for path in (*files, *(Path(module.__file__) for module in (vgg, network, resize))):
        found.update(path.read_bytes())
    return found.hexdigest()


def digest_block(common: Sequence[str], images: np.ndarray, targets: Sequence[Target]) -> str:
    """Digest of all that decides the maps of a block.

    Parameters
    ----------
    common : sequence of str
        What the blocks of a trunk share: :func:`lib.digests.digest_trunk`, method, settings.
    images : ndarray
        Of the block.
    targets : sequence of target
        One for each readout, of the block's images.
    """
    words = [*common, code_digest(), tf.__version__, str(images.shape), str(images.dtype)]
    found = hashlib.sha256(json.dumps(words).encode())
    found.update(np.ascontiguousarray(images))
    for target in targets:
        found.update(_spell(target))
    return found.hexdigest()


def _spell(target: Target) -> bytes:
    if isinstance(target, Difference):
        return b"(" + _spell(target.first) + b"-" + _spell(target.second) + b")"
    if isinstance(target, str):
        return f"{target};".encode()
    return np.asarray(target, np.int64).tobytes() + b";"


def save_block(path: Path, rows: slice, digest: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a block, whole or not at all."""
    with store.atomic_path(path) as temporary, open(temporary, "wb") as file:
        place = np.array([rows.start, rows.stop])
        np.savez(file, place=place, digest=np.array(digest), **{n: arrays[n] for n in ARRAYS})


def take_up(
    folder: Path | None,
    common: Sequence[str],
    images: np.ndarray,
    targets: Sequence[Target],
    into: Mapping[str, np.ndarray],
) -> list[slice]:
    """Copy the blocks that fit into arrays of all images.

    Parameters
    ----------
    folder : Path or None
        With blocks of any trunk; those that do not fit, or are damaged, count as none.
    common, images, targets
        See :func:`digest_block`, of all images.
    into : mapping
        :data:`ARRAYS`, filled in place.

    Returns
    -------
    list of slice
        Images that no block holds; all of them without a folder.
    """
    left = np.ones(len(images), bool)
    for path in sorted(folder.glob("*.npz")) if folder is not None else ():
        try:
            arrays = store.load_arrays(path)
            rows = slice(*(int(k) for k in arrays["place"]))
            mine = [cut_target(target, rows) for target in targets]
            if str(arrays["digest"]) != digest_block(common, images[rows], mine):
                continue
        except (InputError, KeyError, TypeError, ValueError):
            continue
        for name in ARRAYS:
            into[name][:, rows] = arrays[name]
        left[rows] = False
    edges = np.flatnonzero(np.diff(np.r_[False, left, False].astype(int)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
