"""The relevance explorer: a page of its own to look at a run's maps.

`write_explorer` puts the page's own files (``explorer/``), the faces, and every map as a picture
into one folder. The page is opened from that folder or as part of the book; it needs no server and
no network. A map's picture is loaded when it is shown, so the first page is light.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lib.errors import InputError
from lib.pages import may_replace, name_page
from lib.relevance.composites import COMPOSITES
from lib.relevance.panels import scale_of
from lib.relevance.parts import GROUPS, group_parts

SOURCES = Path(__file__).resolve().parents[2] / "explorer"
#: Files of the page that are the same for every run.
PAGE = ("index.html", "style.css", "app.js")
#: Marks a folder as one that `write_explorer` made, and may replace.
_MARK = "data.js"
#: Red for, blue against the class: the ends of the colour map of the chapter's figures.
FOR, AGAINST = (178, 24, 43), (33, 102, 172)
#: Steps of opacity: enough for the eye, and few enough for small files.
LEVELS = 24
#: Parts named under a map.
NAMED = 3
_CITATIONS = {
    "grad_cam": "Selvaraju et al. 2017, ICCV",
    "integrated_gradients": "Sundararajan et al. 2017, ICML",
}


def colour_map(relevance: np.ndarray) -> np.ndarray:
    """A map as a transparent picture: hue is the sign, opacity the size.

    Parameters
    ----------
    relevance : ndarray, (y, x)
        Raw.

    Returns
    -------
    ndarray of uint8, (y, x, 4)
        Opaque where |R| reaches :func:`lib.relevance.panels.scale_of`, in :data:`LEVELS` steps.
    """
    share = np.minimum(np.abs(relevance) / scale_of(relevance), 1)
    opacity = np.round(np.round(share * LEVELS) / LEVELS * 255).astype(np.uint8)
    # Where nothing shows, one colour: the picture is smaller for it.
    positive = (relevance >= 0) | (opacity == 0)
    colour = np.where(positive[..., None], np.uint8(FOR), np.uint8(AGAINST))
    return np.concatenate([colour, opacity[..., None]], -1)


def write_explorer(
    folder: Path,
    images: np.ndarray,
    names: Sequence[str],
    models: pd.DataFrame,
    maps: Mapping[str, np.ndarray],
    scores: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    title: str = "",
    chapter: str = "",
    run: str = "",
) -> Path:
    """Write the page.

    Parameters
    ----------
    folder : Path
        Is created, or replaced if an earlier call made it.
    images : ndarray of uint8, (face, y, x) or (face, y, x, 3)
    names : sequence of str
        Of the faces.
    models : DataFrame
        Columns ``pretraining``, ``task``, ``instance``.
    maps : mapping
        Method -> ndarray (model, face, y, x), raw.
    scores : ndarray, (model, face)
        The logit that is explained.
    labels : ndarray of int, (face, y, x), optional
        Part of each pixel; without them no parts are named under the maps.
    title : str
        What is shown, in words; the run is named after it.
    chapter : str
        Stem of the chapter in the run's book, which the page links to; empty: no link.
    run : str
        Name of the run.

    Returns
    -------
    Path
        ``index.html`` of the page.

    Raises
    ------
    InputError
        Arrays that do not fit each other, or a folder with something else in it.
    """
    folder = Path(folder)
    shape = (len(models), len(images), *images.shape[1:3])
    for name, values in maps.items():
        if values.shape != shape:
            raise InputError(
                f"The maps of {name} have shape {values.shape}; the models, faces and pictures "
                f"ask for {shape}."
            )
    if not maps or not all(shape):
        raise InputError("The explorer needs at least one method, model and face.")
    if not may_replace(folder, _MARK):
        raise InputError(f"{folder} holds something other than an explorer: choose another folder.")
    shares = {name: _top_parts(values, labels) for name, values in maps.items()}
    # method -> face -> model -> score and the parts with most relevance
    facts = [
        [
            [[f"{scores[k, f]:.1f}", *shares[name][k][f]] for k in range(len(models))]
            for f in range(len(images))
        ]
        for name in maps
    ]
    data = {
        "title": title,
        "chapter": chapter,
        "faces": [{"name": str(n), "file": f"faces/f{f}.webp"} for f, n in enumerate(names)],
        "methods": [_method(name) for name in maps],
        "models": [
            {"pretraining": m.pretraining, "task": m.task, "instance": int(m.instance)}
            for m in models.itertuples()
        ],
        "facts": facts,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        page = Path(temporary) / "page"
        (page / "faces").mkdir(parents=True)
        for f, image in enumerate(images):
            Image.fromarray(image).save(page / "faces" / f"f{f}.webp", lossless=True)
        for m, values in enumerate(maps.values()):
            (page / "maps" / f"m{m}").mkdir(parents=True)
            for k, f in np.ndindex(shape[:2]):
                picture = Image.fromarray(colour_map(values[k, f]), "RGBA")
                picture.save(page / "maps" / f"m{m}" / f"f{f}_k{k}.webp", lossless=True)
        for file in PAGE:
            shutil.copyfile(SOURCES / file, page / file)
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        # "</script>" in a name must not end anything; the file is a script of its own.
        text = text.replace("<", "\\u003c")
        (page / _MARK).write_text(f"window.EXPLORER = {text};\n", encoding="utf-8")
        name_page(page, run)
        if folder.exists():
            shutil.rmtree(folder)
        page.replace(folder)
    return folder / "index.html"


def _method(name: str) -> dict[str, str]:
    citation = COMPOSITES[name].citation if name in COMPOSITES else _CITATIONS.get(name, "")
    words = name.replace("_", " ")
    preset = name in COMPOSITES and "preset" in citation
    return {"label": f"LRP {words}" if preset else words, "citation": citation}


def _top_parts(maps: np.ndarray, labels: np.ndarray | None) -> list[list[list]]:
    """Model -> face -> [part, percent of |R|] of the parts with most relevance."""
    if labels is None:
        return [[[] for _ in range(maps.shape[1])] for _ in range(maps.shape[0])]
    groups, words = group_parts(labels), list(GROUPS)
    found = []
    for some in maps:
        row = []
        for relevance, group in zip(np.abs(some, dtype=np.float64), groups, strict=True):
            mass = np.bincount(group.ravel(), relevance.ravel(), len(words))
            percent = np.round(100 * mass / (mass.sum() or 1)).astype(int)
            top = np.argsort(-percent, kind="stable")[:NAMED]
            row.append([[words[k], int(percent[k])] for k in top if percent[k]])
        found.append(row)
    return found
