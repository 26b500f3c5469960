"""The Face Dictionary: faces that carry 38 local concepts, each with its masks.

After Teotia, Lapedriza, Ostadabbas 2022 (arXiv 2108.10360, section 3), with rendered faces in
place of photographs, so that every concept has an exact mask beside the published elliptical one.

What `lib.faces.design.render_dictionary` writes into a folder, and `load_dictionary` reads (a
reader's own may leave out what is marked optional):

- images, named in ``manifest.csv`` (see `lib.faces.dataset`), with a column 0/1 for each concept
  the image carries, by its name in `lib.faces.concepts.CONCEPTS`; for the non-local concepts the
  columns ``age_group`` (or ``age`` in years), ``gender``, ``ethnicity`` and ``skin_tone``;
- ``landmarks.csv``: 68 points per image, of which the elliptical masks are computed on loading;
  optional where there are exact masks;
- optional: ``masks/``, one 16-bit PNG per image (column ``mask_path``) whose values are rows of
  ``codebook.csv``: which concepts' exact masks cover that pixel;
- optional: ``SHA256SUMS``.
"""

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from PIL import Image

from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, NON_LOCAL, concept_ellipse, get_concept
from lib.faces.dataset import LANDMARKS, MANIFEST, FaceSet, load_faces
from lib.faces.ellipse import LEVEL, intersection_over_union
from lib.faces.ibug import MIRROR
from lib.faces.imagefile import fit_square, read_numbers
from lib.progress import track

CODEBOOK = "codebook.csv"
COLUMNS = ("age_group", "from_behind", "mask_path", *CONCEPTS)

_AGE_BOUNDS = (20, 40, 60)


@dataclass(frozen=True)
class Dictionary:
    """Faces with concepts and masks, on disk until asked for.

    Attributes
    ----------
    faces : FaceSet
    carries : DataFrame of bool, (n, concepts)
        Which local concepts each image carries; columns by name, those the manifest had.
    codebook : ndarray (codes, concepts) of bool, or None
        Concepts whose exact masks cover a pixel of that code.
    """

    faces: FaceSet
    carries: pd.DataFrame
    codebook: np.ndarray | None

    def __len__(self):
        return len(self.faces)

    @property
    def table(self):
        """One row per image: what `FaceSet.table` has, without the concepts' columns."""
        return self.faces.table.drop(columns=list(CONCEPTS), errors="ignore")

    @property
    def concepts(self):
        """Names of the local concepts that at least one image carries, in the usual order."""
        return [name for name in self.carries if self.carries[name].any()]

    @property
    def has_exact_masks(self):
        """Whether exact masks came with the dictionary."""
        return self.codebook is not None

    @property
    def has_landmarks(self):
        """Whether landmarks came with the dictionary, so that it has elliptical masks."""
        return self.faces.points is not None

    def images(self, index=None, size=None, colour=None):
        """Images as from `FaceSet.images`; the dictionary serves in colour and in grey."""
        return self.faces.images(index, size=size, colour=colour)

    def iter_batches(self, batch_size=64, *, index=None, size=None, colour=None):
        """Batches as from `FaceSet.iter_batches`."""
        return self.faces.iter_batches(batch_size, index=index, size=size, colour=colour)

    def has(self, concept):
        """Which images carry a local concept: ndarray (n,) of bool."""
        if concept in self._columns:
            return self._columns[concept]
        get_concept(concept)
        return np.zeros(len(self), bool)

    @cached_property
    def _columns(self):
        """Each concept's column: every mask asks for it, and pandas is slow."""
        return {name: column.to_numpy() for name, column in self.carries.items()}

    def group(self, concept):
        """Group of each image in a non-local concept: ndarray (n,) of str, "" where unknown.

        Raises
        ------
        InputError
            No such non-local concept, the manifest has no column for it, or one with other
            groups.
        """
        if concept not in NON_LOCAL:
            raise InputError(
                f"there is no non-local concept {concept!r}: choose {', '.join(NON_LOCAL)}."
            )
        table = self.faces.table
        column = "age_group" if concept == "age" else concept
        if column in table:
            groups = table[column].fillna("").astype(str).to_numpy()
        elif concept == "age" and "age" in table:
            if table["age"].dtype.kind not in "iuf":
                raise InputError(
                    f"{self.faces.root}: the column 'age' holds something other than years: give "
                    f"numbers, or groups ({', '.join(NON_LOCAL['age'])}) in a column 'age_group'."
                )
            groups = np.array(NON_LOCAL["age"])[np.digitize(table["age"], _AGE_BOUNDS)]
            groups = np.where(table["age"].isna(), "", groups)
        else:
            raise InputError(f"{self.faces.root} has no column '{column}': add it to the manifest.")
        unknown = sorted(set(groups) - {"", *NON_LOCAL[concept]})
        if unknown:
            raise InputError(
                f"{self.faces.root}: '{unknown[0]}' is no group of {concept}: "
                f"use {', '.join(NON_LOCAL[concept])}, or leave it empty."
            )
        return groups

    def mask(self, concept, i, size=None):
        """Exact mask of a concept in image i: ndarray (y, x) of bool, empty if not carried.

        ``size`` brings it (nearest pixel) to a square of that side, cropped as the image is.

        Raises
        ------
        InputError
            The dictionary has no exact masks.
        """
        return self.masks(i, size)[..., list(CONCEPTS).index(get_concept(concept).name)]

    def masks(self, i, size=None):
        """Exact masks of all concepts in image i: ndarray (y, x, 38) of bool; ``size`` as above."""
        if self.codebook is None:
            raise InputError(
                f"{self.faces.root} has no exact masks ({CODEBOOK} and the column 'mask_path'): "
                "use ellipse_mask."
            )
        codes = read_numbers(self.faces.root, self.faces.table["mask_path"].iloc[i])
        if codes.max() >= len(self.codebook):
            raise InputError(
                f"the masks of image {i} in {self.faces.root} use a code that {CODEBOOK} lacks: "
                "restore the set."
            )
        if size is not None and codes.shape != (size, size):
            picture = Image.fromarray(codes.astype(np.int32))
            scale, left, top = fit_square(*codes.shape, size)
            box = (left / scale, top / scale, (left + size) / scale, (top + size) / scale)
            codes = np.array(picture.resize((size, size), Image.Resampling.NEAREST, box=box))
        return self.codebook[codes]

    def ellipse_mask(self, concept, i, size=None, level=LEVEL):
        """The published, elliptical mask of a concept in image i, computed from landmarks.

        Returns
        -------
        ndarray (y, x) of bool
            Empty if the image does not carry the concept.
        """
        size = self.faces.size if size is None else size
        shape = (
            tuple(self.faces.table[["height", "width"]].iloc[i]) if size is None else (size,) * 2
        )
        if not self.has(concept)[i]:
            return np.zeros(shape, bool)
        return concept_ellipse(concept, self.faces.landmarks([i], size)[0], shape, level=level)


def load_dictionary(path, *, size=None, colour=True):
    """Read a dictionary: the rendered one or a reader's own.

    Parameters
    ----------
    path : path-like
        Folder with ``manifest.csv`` and landmarks, or masks, or both; see the module's description.
    size : int, optional
        Side in pixels that images and elliptical masks are brought to by default.
    colour : bool
        Whether images have three channels by default.

    Returns
    -------
    Dictionary

    Raises
    ------
    InputError
        No such folder, no manifest, no concept column, a value other than 0 and 1, neither
        landmarks nor masks, other than 68 landmarks, a group that does not exist, or anything
        `load_faces` refuses.
    """
    if not os.path.isfile(path) and not os.path.isfile(os.path.join(path, MANIFEST)):
        found = f"has no {MANIFEST}" if os.path.isdir(path) else "does not exist"
        raise InputError(
            f"'{path}' {found}: a dictionary is a folder with a {MANIFEST}, which has a column "
            f"0/1 for each concept, a {LANDMARKS} and the images."
        )
    faces = load_faces(path, size=size, colour=colour, attributes=COLUMNS)
    named = [name for name in CONCEPTS if name in faces.table]
    if not named:
        raise InputError(
            f"'{path}' carries no concept: its manifest needs a column 0/1 for each, "
            f"such as {', '.join(list(CONCEPTS)[12:15])}."
        )
    values = faces.table[named]
    for name in named:
        if not values[name].isin([0, 1]).all():
            raise InputError(f"'{path}': the column '{name}' holds something other than 0 and 1.")
    codebook = None
    if "mask_path" in faces.table and (faces.root / CODEBOOK).is_file():
        codebook = _read_codebook(faces.root / CODEBOOK)
    if faces.points is not None and faces.points.shape[1] != len(MIRROR):
        raise InputError(
            f"'{path}' has {faces.points.shape[1]} landmarks per image: the ellipses are drawn "
            f"around the {len(MIRROR)} of iBUG, so give these, or exact masks and no landmarks."
        )
    if codebook is None:
        faces.landmarks([0])  # refuses a set without: there would be no mask at all
    dictionary = Dictionary(faces, values.astype(bool), codebook)
    for concept in NON_LOCAL:
        if {concept, f"{concept}_group"} & set(faces.table):
            dictionary.group(concept)  # refuses groups that do not exist
    return dictionary


def _read_codebook(path):
    try:
        table = pd.read_csv(path, encoding="utf-8")
        wrong = [name for name in table if name != "code" and name not in CONCEPTS]
        if wrong or list(table["code"]) != list(range(len(table))):
            raise ValueError
        out = np.zeros((len(table), len(CONCEPTS)), bool)
        for column, name in enumerate(CONCEPTS):
            if name in table:
                out[:, column] = table[name].astype(int) == 1
    except Exception:  # pandas has errors of its own, and of the csv module
        raise InputError(
            f"'{path}' is no codebook: it needs the columns 'code' (0, 1, 2, ...) and the "
            "concepts' names with 0 and 1."
        ) from None
    return out


# --- description


def summarise_concepts(dictionary, *, level=LEVEL):
    """Each local concept: how many images carry it, and how far the ellipse is from the truth.

    Parameters
    ----------
    dictionary : Dictionary
    level : float
        Confidence level of the ellipses.

    Returns
    -------
    DataFrame
        ``concept``, ``kind``, ``region``, ``with``, ``without`` (images), and of the images that
        carry it the means of ``exact_area``, ``ellipse_area`` (shares of the image) and ``iou``
        (overlap of both); the last and the first are NaN without exact masks.
    """
    order = list(CONCEPTS)
    has = np.stack([dictionary.has(name) for name in order], axis=1)
    table, size = dictionary.faces.table, dictionary.faces.size
    landmarks = dictionary.faces.landmarks()
    sums = np.zeros((len(order), 3))
    for i in track(range(len(dictionary)), "masks compared"):
        shape = tuple(table[["height", "width"]].iloc[i]) if size is None else (size, size)
        exact = None
        if dictionary.has_exact_masks:
            exact = dictionary.masks(i)
            if exact.shape[:2] != shape:
                exact = dictionary.masks(i, shape[0])
        for k in np.flatnonzero(has[i]):
            ellipse = concept_ellipse(order[k], landmarks[i], shape, level=level)
            area, overlap = np.nan, np.nan
            if exact is not None:
                mask = np.ascontiguousarray(exact[..., k])
                area, overlap = _share(mask), intersection_over_union(mask, ellipse)
            sums[k] += area, _share(ellipse), overlap
    carried = has.sum(axis=0)
    means = sums / np.where(carried, carried, np.nan)[:, None]
    return pd.DataFrame(
        {
            "concept": order,
            "kind": [CONCEPTS[name].kind for name in order],
            "region": [CONCEPTS[name].region for name in order],
            "with": carried,
            "without": len(dictionary) - carried,
            "exact_area": means[:, 0],
            "ellipse_area": means[:, 1],
            "iou": means[:, 2],
        }
    )


def _share(mask):
    return np.count_nonzero(mask) / mask.size


def summarise_balance(dictionary):
    """Images in every combination of two groups of different non-local concepts.

    Returns
    -------
    DataFrame
        ``first``, ``first_group``, ``second``, ``second_group``, ``images``.
    """
    groups = {name: dictionary.group(name) for name in NON_LOCAL}
    rows = [
        (a, x, b, y, int(((groups[a] == x) & (groups[b] == y)).sum()))
        for k, a in enumerate(NON_LOCAL)
        for b in list(NON_LOCAL)[k + 1 :]
        for x in NON_LOCAL[a]
        for y in NON_LOCAL[b]
    ]
    return pd.DataFrame(rows, columns=["first", "first_group", "second", "second_group", "images"])
