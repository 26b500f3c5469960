"""Files of a rendered set: written whole, resumable, and checked by SHA-256."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lib.errors import InputError
from lib.faces.labels import PALETTE
from lib.store import atomic_path, load_arrays, sha256

SETTINGS = "settings.json"
SUMS = "SHA256SUMS"
#: What single heads left behind for the tables; removed when the set is complete.
PARTS = ".parts"


def claim(folder, settings):
    """Begin a set in a folder, or take up one begun with the same settings.

    Parameters
    ----------
    folder : Path
    settings : dataclass instance
        Everything the bytes of the set depend on.

    Returns
    -------
    bool
        Whether the set is complete already.

    Raises
    ------
    InputError
        The folder holds something else.
    """
    note = folder / SETTINGS
    text = json.dumps(asdict(settings), indent=1) + "\n"
    if note.exists():
        if note.read_text(encoding="utf-8") != text:
            raise InputError(
                f"'{folder}' holds a set with other settings (see {SETTINGS} there): "
                "remove it, or give another folder."
            )
        return (folder / SUMS).exists()
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"'{folder}' is not empty: give a new folder for the set.")
    with atomic_path(note) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return False


def save_part(folder, name, **arrays):
    """Keep what the tables need of one head; written last, it marks the head as done."""
    with atomic_path(folder / PARTS / f"{name}.npz") as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)


def has_part(folder, name):
    """Whether `save_part` was completed under that name."""
    return (folder / PARTS / f"{name}.npz").exists()


def load_part(folder, name):
    """Arrays of `save_part`: dict."""
    return load_arrays(folder / PARTS / f"{name}.npz")


def finish(folder, names):
    """Write the sums of the named files and remove what only an unfinished set needs."""
    for left_by_a_killed_run in folder.rglob(".*.partial"):
        left_by_a_killed_run.unlink()
    write_sums(folder, [SETTINGS, *names])
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def write_sums(folder, names):
    """Write ``SHA256SUMS`` of the named files of a folder, as ``sha256sum -c`` reads it.

    Parameters
    ----------
    folder : path-like
    names : iterable of str
        Relative to the folder, with ``/`` between their parts.
    """
    folder = Path(folder)
    lines = [f"{sha256(folder / name)}  {name}\n" for name in sorted(names)]
    with atomic_path(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def check_sums(folder):
    """Compare a set with its ``SHA256SUMS``.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    int
        Number of files that agree.

    Raises
    ------
    InputError
        Sums or a file missing, or a file that differs.
    """
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        raise InputError(f"'{folder}' has no {SUMS}: restore the set.")
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    for line in lines:
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file():
            raise InputError(f"'{name}' is missing from {folder}: restore the set.")
        if sha256(folder / name) != digest:
            raise InputError(f"'{name}' in {folder} was changed since it was made: restore it.")
    return len(lines)


def save_image(image, path, *, quality=None):
    """Write a grey or colour array as WebP: lossless, or at a quality from 0 to 100."""
    # Lossless, "quality" is effort: 100 takes fifteen times as long for one per cent.
    effort = {"lossless": True, "quality": 75} if quality is None else {"quality": quality}
    Image.fromarray(image).save(path, format="WEBP", method=6, **effort)


def save_labels(labels, path):
    """Write a label array (y, x) of uint8 as a palette PNG."""
    picture = Image.fromarray(labels)
    picture.putpalette(PALETTE.tobytes())
    picture.save(path, format="PNG", optimize=True)


def save_codes(codes, path):
    """Write an array (y, x) of uint16 as a 16-bit grey PNG."""
    Image.fromarray(codes.astype(np.uint16)).save(path, format="PNG", optimize=True)


def save_table(table, path):
    """Write a DataFrame as CSV."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def landmark_table(paths, points):
    """Landmarks (n, points, 3) in the wide form of ``landmarks.csv``, to a tenth of a pixel."""
    columns = {"path": list(paths)}
    for k in range(points.shape[1]):
        for axis, name in enumerate("xy"):
            columns[f"{name}{k}"] = [f"{value:.1f}" for value in points[:, k, axis]]
        columns[f"v{k}"] = points[:, k, 2].astype(int)
    return pd.DataFrame(columns)
