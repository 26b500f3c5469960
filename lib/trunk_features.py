"""Features of the faces on every trunk, computed here or found where other jobs have left them.

The forward passes are most of the time of chapter 02 and do not depend on each other, so a cluster
gives each trunk a job (:mod:`lib.parts`). A file is taken up only if the digest of all that went
into it (weights, images, precision, code) is what is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from lib import store, vgg
from lib.digests import digest_trunk
from lib.errors import InputError


def _digest(trunk: vgg.Trunk, images: np.ndarray, precision: str) -> str:
    """Digest of all that decides the features of some images on a trunk."""
    code = Path(vgg.__file__).read_bytes()
    words = [digest_trunk(trunk), precision, tf.__version__, str(images.shape), str(images.dtype)]
    found = hashlib.sha256(" ".join(words).encode() + code)
    found.update(np.ascontiguousarray(images))
    return found.hexdigest()


def save_features(path: Path, trunk: vgg.Trunk, images: np.ndarray, precision: str) -> None:
    """Features of images on a trunk, in a file for :func:`load_features`.

    Parameters
    ----------
    path : Path
        ``.npz`` to write.
    trunk, images, precision
        Of :func:`lib.vgg.compute_features`.
    """
    precision = vgg.choose_precision(precision)
    features = vgg.compute_features(trunk, images, precision=precision)
    digest = np.array(_digest(trunk, np.asarray(images), precision))
    with store.atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, digest=digest, features=features)


def load_features(
    trunks: Mapping[str, vgg.Trunk], images: np.ndarray, precision: str, parts: Path
) -> dict[str, np.ndarray]:
    """Features of all images on every trunk.

    Parameters
    ----------
    trunks : mapping of name -> Trunk
    images, precision
        Of :func:`lib.vgg.compute_features`.
    parts : Path
        Folder of files that :func:`save_features` has written on other machines; what is missing,
        damaged or of other work is computed.

    Returns
    -------
    dict
        Trunk -> (n, ...), float32.
    """
    precision = vgg.choose_precision(precision)
    wanted = {}
    if parts.is_dir():
        wanted = {_digest(t, np.asarray(images), precision): n for n, t in trunks.items()}
    found = {}
    for path in sorted(parts.glob("*.npz")) if wanted else ():
        try:
            arrays = store.load_arrays(path)
            found[wanted[str(arrays["digest"])]] = arrays["features"]
        except (InputError, KeyError):
            continue
    for name, trunk in trunks.items():
        if name not in found:
            found[name] = vgg.compute_features(trunk, images, precision=precision)
    return {name: found[name] for name in trunks}
