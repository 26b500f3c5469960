"""The door for anybody's face images: a folder per identity, or a manifest.

**Folder.** One sub-folder per identity, images directly inside. A viewpoint is read from a file
name that carries ``yaw`` and a signed number of degrees, as in ``anna/light2_yaw-045.png``. Where
no name does, it is the number that every name ends in, as in ``anna/a_-45.png``, if these numbers
are angles to both sides: 0 and each with either sign. A ``landmarks.csv`` in the folder is read.

**Manifest.** A CSV file in UTF-8 with at least the columns ``path`` and ``identity``; ``path`` is
relative to the manifest's folder and stays inside it. Optional columns: ``gender`` (m, f, male,
female or empty), ``viewpoint`` (degrees), ``sha256`` (then verified), the attributes of
`ATTRIBUTES`, and landmarks as ``x0, y0, v0, x1, ...``. Landmarks may instead lie in a
``landmarks.csv`` beside the manifest, either as ``path, x0, y0, v0, ...`` or with one row per
point: ``path, point, x, y, visible``. A folder that holds a ``manifest.csv`` is read through it.

**Viewpoint** is the yaw of the head in degrees: 0 is frontal, positive means that the person has
turned to *their own left*, so that the nose points to the right side of the image.

VPNL-faces (101 identities x 15 viewpoints, grey) fits either form; a folder does not say who is a
woman or a man.
"""

import csv
import difflib
import io
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from lib.errors import InputError
from lib.faces.imagefile import (
    MAX_PIXELS,
    SUFFIXES,
    find_file,
    fit_square,
    nfc,
    open_image,
    to_array,
)
from lib.progress import track
from lib.store import atomic_path, sha256

MANIFEST = "manifest.csv"
LANDMARKS = "landmarks.csv"
REQUIRED = ("path", "identity")
#: Columns every table of faces has, in this order.
COLUMNS = ("path", "identity", "gender", "viewpoint", "height", "width", "mode", "sha256")
#: Further columns a manifest may have without being asked.
ATTRIBUTES = (
    "age",
    "age_group",
    "beauty",
    "colour",
    "ethnicity",
    "expression",
    "facial_hair",
    "glasses",
    "hair",
    "label_path",
    "light",
    "pitch",
    "roll",
    "scene",
    "seed",
    "skin_tone",
    "smile",
    "split",
    "yaw",
)
#: Attributes that name a further file of the image, in the folder as the image is.
PATHS = ("label_path", "mask_path")
_GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female", "": None}
_YAW = re.compile(r"yaw([+-]?\d+(?:\.\d+)?)", re.IGNORECASE)
_END = re.compile(r"([+-]?\d+(?:\.\d+)?)(?:deg)?$", re.IGNORECASE)
_LANDMARK_COLUMN = re.compile(r"[xyv](\d+)")
#: Most landmarks that a face may have; a larger number is damage, and would fill the memory.
MOST_POINTS = 10_000


@dataclass(frozen=True)
class FaceSet:
    """A table of face images whose pixels stay on disk until they are asked for.

    Attributes
    ----------
    root : Path
        Folder that the paths of the table start from.
    table : DataFrame
        One row per image: ``path`` (relative, with forward slashes), ``identity``, ``gender``
        ("male", "female" or missing), ``viewpoint`` (degrees, subject turned to their left
        positive, NaN where unknown), ``height``, ``width`` (pixels, as displayed), ``mode``
        (pixel type as stored), ``sha256``, then any attributes.
    size : int or None
        Side in pixels that images are brought to unless another is asked for; None: as stored.
    colour : bool
        Whether images come with three channels unless asked otherwise.
    points : ndarray (n, points, 3) of float32, or None
        Landmarks x, y in pixels of the stored image and visibility (1 or 0).
    ignored : tuple of str
        Files of the folder that were left aside because they are no images.
    """

    root: Path
    table: pd.DataFrame
    size: int | None = None
    colour: bool = False
    points: np.ndarray | None = None
    ignored: tuple = ()

    def __len__(self):
        return len(self.table)

    def images(self, index=None, size=None, colour=None):
        """Decode images into one array.

        Parameters
        ----------
        index : int array, boolean array, slice or int, optional
            Rows of the table, by position; default all.
        size : int, optional
            Side in pixels (centre square, resized). Default the set's own; where that is None
            too, images keep their stored size, which must then be the same for all.
        colour : bool, optional
            Default the set's own.

        Returns
        -------
        ndarray of uint8, (n, y, x) or (n, y, x, 3), 0 to 255

        Raises
        ------
        InputError
            Mixed sizes where no size is given, or an image that can no longer be read.
        """
        rows = self._rows(index)
        size = self.size if size is None else size
        colour = self.colour if colour is None else colour
        height, width = (size, size) if size else self._common_size(rows)
        out = np.empty((len(rows), height, width) + ((3,) if colour else ()), np.uint8)
        for k, row in enumerate(rows):
            out[k] = self._read(row, size, colour)
        return out

    def iter_batches(self, batch_size=64, *, index=None, size=None, colour=None):
        """Yield ``(rows, images)``, at most ``batch_size`` images at a time.

        ``rows`` are positions in the table, ``images`` as from `images`. Memory does not grow
        with the number of images.
        """
        rows = self._rows(index)
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            yield part, self.images(part, size=size, colour=colour)

    def landmarks(self, index=None, size=None):
        """Landmarks in the pixels of `images` called with the same arguments.

        Returns
        -------
        ndarray (n, points, 3) of float32
            x, y and visibility (1 or 0); x, y are NaN where the manifest left them empty.

        Raises
        ------
        InputError
            The set has no landmarks.
        """
        if self.points is None:
            raise InputError(
                f"{self.root} has no landmarks: add the columns x0, y0, v0, ... to the manifest "
                f"or a {LANDMARKS} beside it."
            )
        rows = self._rows(index)
        size = self.size if size is None else size
        points = self.points[rows].copy()
        if size is not None:
            for k, row in enumerate(rows):
                height, width = self.table[["height", "width"]].iloc[row]
                scale, left, top = fit_square(height, width, size)
                points[k, :, :2] = points[k, :, :2] * scale - (left, top)
        return points

    def _rows(self, index):
        every = np.arange(len(self.table))
        if index is None:
            return every
        return np.atleast_1d(every[index if isinstance(index, slice) else np.asarray(index)])

    def _common_size(self, rows):
        sizes = self.table.iloc[rows].groupby(["height", "width"])["path"].agg(["size", "first"])
        if len(sizes) == 0:
            return 0, 0
        if len(sizes) > 1:
            listed = "; ".join(
                f"{height} x {width} ({row['size']} images, such as '{row['first']}')"
                for (height, width), row in sizes.sort_values("size", ascending=False)[
                    :4
                ].iterrows()
            )
            raise InputError(
                f"{self.root} holds images of {len(sizes)} sizes (height x width): {listed}: "
                "say which size they shall have, for instance size=224."
            )
        return sizes.index[0]

    def _read(self, row, size, colour):
        name = self.table["path"].iloc[row]
        image, _ = open_image(find_file(self.root, name), max_pixels=np.inf, name=name)
        stored = tuple(self.table[["height", "width"]].iloc[row])
        if (image.height, image.width) != stored:
            raise InputError(
                f"'{name}' changed size since {self.root} was read: load the faces again."
            )
        return to_array(image, size, colour)


def load_faces(
    source,
    *,
    size=None,
    colour=False,
    min_identities=1,
    max_pixels=MAX_PIXELS,
    attributes=(),
):
    """Read a folder per identity, or a manifest, and check every image in it.

    Each image is decoded once, so that a broken file is found here and not in the middle of a
    computation; pixels are not kept. See the module's description for the two forms.

    Parameters
    ----------
    source : path-like
        A folder with one sub-folder per identity, a manifest CSV, or a folder holding a
        ``manifest.csv``.
    size : int, optional
        Side in pixels that `FaceSet.images` brings images to by default; None: as stored.
    colour : bool
        Whether `FaceSet.images` gives three channels by default.
    min_identities : int
        Fewest identities that make sense to the caller, for instance 2 for a classifier.
    max_pixels : int
        Refuse an image with more pixels, before decoding it.
    attributes : sequence of str
        Names of further manifest columns to accept, beside `ATTRIBUTES`.

    Returns
    -------
    FaceSet

    Raises
    ------
    InputError
        Anything in the source that cannot be used: one sentence saying what, where and what to do.
    """
    if size is not None and not (isinstance(size, int | np.integer) and size > 0):
        raise InputError(f"size is {size!r}: give a whole number of pixels above 0, or None.")
    source = Path(source)
    try:
        root, table, points, ignored = _read_source(source, attributes)
    except OSError as error:
        raise InputError(
            f"'{_show(error.filename or source)}' cannot be read ({error.strerror}): "
            "correct the path or its permissions."
        ) from None
    if table["identity"].nunique() < min_identities:
        names = ", ".join(f"'{name}'" for name in table["identity"].unique())
        raise InputError(
            f"{source} holds {table['identity'].nunique()} identity ({names}), "
            f"but at least {min_identities} are needed: add images of other people."
        )
    _check_genders(table, source)
    table = _inspect(table, root, max_pixels)
    return FaceSet(root, table, size, colour, points, ignored)


def _read_source(source, attributes):
    """Root, table, landmarks and ignored files of a source, its images not yet opened."""
    if not source.exists():
        raise InputError(
            f"'{source}' does not exist: give a folder with one sub-folder per identity, "
            "or a manifest CSV."
        )
    if source.is_dir() and not (source / MANIFEST).exists():
        table, ignored = _scan_folder(source)
        points = None
        if LANDMARKS in ignored:
            points = _load_landmarks(source / LANDMARKS, list(table["path"]))
            ignored = tuple(name for name in ignored if name != LANDMARKS)
        return source, table, points, ignored
    manifest = source / MANIFEST if source.is_dir() else source
    table, points = _read_manifest(manifest, attributes)
    return manifest.parent, table, points, ()


# --- a folder per identity


def _scan_folder(root):
    records, ignored, loose = [], [], []
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            (loose if entry.suffix.lower() in SUFFIXES else ignored).append(entry.name)
            continue
        for path in sorted(entry.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.name.startswith(".") or path.is_dir():
                continue
            if path.suffix.lower() not in SUFFIXES:
                ignored.append(name)
                continue
            _check_utf8(name, root)
            _check_inside(root, path, f"'{name}' in {root}")
            identity = _check_name(nfc(entry.name), f"'{_show(name)}' in {root}")
            records.append((name, identity, None, _viewpoint_of_name(name)))
    if loose:
        raise InputError(
            f"{root} holds images that belong to no identity, such as '{_show(loose[0])}': "
            "put each into a sub-folder named after the person, or write a manifest."
        )
    if not records:
        raise InputError(
            f"{root} holds no images: give a folder with one sub-folder per identity, "
            f"with files ending in {', '.join(sorted(SUFFIXES))}."
        )
    table = pd.DataFrame(records, columns=COLUMNS[:4])
    if table["viewpoint"].isna().all():
        table["viewpoint"] = _viewpoints_of_ends(table["path"])
    return table, tuple(map(_show, ignored))


def _viewpoint_of_name(name):
    found = _YAW.findall(PurePosixPath(name).stem)
    if not found:
        return np.nan
    return _check_viewpoint(found[-1], f"the file name '{name}'")


def _viewpoints_of_ends(names):
    """Numbers at the end of all file names, where they are angles to both sides; else NaN."""
    found = [_END.search(PurePosixPath(name).stem) for name in names]
    if not all(found):
        return np.nan
    angles = np.array([float(match[1]) for match in found])
    seen = set(angles)
    # Mere numbering has no sign, or, after a hyphen, none but minus.
    both = seen == {-angle for angle in seen} and 0 in seen and len(seen) > 1
    return angles + 0.0 if both and max(seen) <= 180 else np.nan


# --- a manifest


def _read_manifest(path, attributes):
    where = path.name
    header, rows = _read_csv(path)
    _check_columns(header, attributes, where)
    table = pd.DataFrame([cells for _, cells in rows], columns=header, dtype="str")
    lines = [line for line, _ in rows]
    if table.empty:
        raise InputError(f"{where} has a header and no rows: add one row per image.")
    for column in REQUIRED:
        blank = np.flatnonzero(table[column] == "")
        if len(blank):
            raise InputError(
                f"{where}, line {lines[blank[0]]}: the {column} is empty: fill it in or remove "
                "the row."
            )
    table["identity"] = [
        _check_name(nfc(text), f"{where}, line {line}")
        for text, line in zip(table["identity"], lines, strict=True)
    ]
    table["path"] = [
        _clean_path(text, f"{where}, line {line}")
        for text, line in zip(table["path"], lines, strict=True)
    ]
    _check_duplicate_rows(table["path"], lines, where)
    _check_files(path.parent, table["path"], lines, where)
    for column in table.columns.intersection(PATHS):
        table[column] = [
            _check_companion(path.parent, text, f"{where}, line {line}, column {column}")
            for text, line in zip(table[column], lines, strict=True)
        ]
    if "gender" not in table:
        table["gender"] = ""
    table["gender"] = [
        _check_gender(text, f"{where}, line {line}")
        for text, line in zip(table["gender"], lines, strict=True)
    ]
    if "viewpoint" not in table:
        table["viewpoint"] = ""
    table["viewpoint"] = [
        _check_viewpoint(text, f"{where}, line {line}") if text else np.nan
        for text, line in zip(table["viewpoint"], lines, strict=True)
    ]
    inline = [name for name in header if _LANDMARK_COLUMN.fullmatch(name)]
    if inline:
        points = _wide_landmarks(table[inline], lines, where)
    elif (path.parent / LANDMARKS).exists() and path.name != LANDMARKS:
        points = _load_landmarks(path.parent / LANDMARKS, list(table["path"]))
    else:
        points = None
    table = table.drop(columns=inline)
    for column in table.columns.difference(COLUMNS):
        blank = table[column] == ""
        table[column] = table[column].mask(blank)
        if column not in PATHS:
            table[column] = _numeric_if_possible(table[column])
    return table, points


def _read_csv(path):
    """Header and ``(line number, cells)`` of a UTF-8 CSV, with or without a byte order mark."""
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device never ends
        raise InputError(f"'{path}' is no file: correct the path.")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}): check the file.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path.name}, line {line}: the text is not UTF-8: save the file as "
            "'CSV UTF-8' or convert it."
        ) from None
    if "\0" in text:
        raise InputError(f"{path.name} is not a text file: give a CSV in UTF-8.")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise InputError(
            f"{path.name}, line {reader.line_num}: not a well-formed CSV row ({error}): "
            "check the quotation marks."
        ) from None
    if not rows:
        raise InputError(
            f"{path.name} is empty: it needs a header with at least {' and '.join(REQUIRED)}."
        )
    header = rows[0][1]
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise InputError(
                f"{path.name}, line {line} has {len(cells)} cells but the header has "
                f"{len(header)}: quote a name that contains the separator '{delimiter}'."
            )
    return header, rows[1:]


def _check_columns(header, attributes, where):
    known = [*COLUMNS, *ATTRIBUTES, *attributes]
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"{where} has the column '{name}' twice: remove one.")
        if name in known or _LANDMARK_COLUMN.fullmatch(name):
            continue
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(known))};"
        raise InputError(
            f"{where} has an unknown column '{name}': {hint} A column of your own is kept when "
            f"you name it, attributes=['{name}']."
        )
    for name in REQUIRED:
        if name not in header:
            raise InputError(
                f"{where} has no column '{name}': it has {', '.join(header)}; "
                f"needed are {' and '.join(REQUIRED)}."
            )


def _clean_path(text, where):
    """A manifest's path with forward slashes, refused when it names a place outside."""
    text = text.replace("\\", "/")
    parts = PurePosixPath(text)
    if parts.is_absolute() or re.match(r"[A-Za-z]:", text):
        raise InputError(
            f"{where}: '{_show(text)}' is an absolute path: write it relative to the manifest's "
            "folder."
        )
    if ".." in parts.parts:
        raise InputError(
            f"{where}: '{_show(text)}' leads out of the manifest's folder: keep the files inside "
            "it."
        )
    return parts.as_posix()


def _check_utf8(name, root):
    """A name outside UTF-8 could not be written into any table of results."""
    if not _is_utf8(name):
        raise InputError(
            f"the file name '{_show(name)}' in {root} is not UTF-8: rename the file or its folder."
        )


def _check_name(text, where):
    """Names of identities stand in tables, figures and pages, in one line and as they are."""
    if not text.isprintable():
        raise InputError(
            f"{where}: the identity '{_show(text)}' holds a line break or another character that "
            "cannot be shown: rename it."
        )
    if text.count("$") > 1:
        raise InputError(
            f"{where}: the identity '{_show(text)}' holds two dollar signs, between which a figure "
            "would set a formula: rename it."
        )
    return text


def _is_utf8(text):
    return not re.search("[\ud800-\udfff]", text)


def _show(name):
    """A name for a message: printable whatever its bytes, and cut when it fills a screen."""
    text = str(name).encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 200 else f"{text[:80]}... ({len(text)} characters)"


def _check_companion(root, text, where):
    """A further file of an image, by the rules of `path`; it is opened when it is needed."""
    if not text:
        return text
    name = _clean_path(text, where)
    try:
        found = find_file(root, name)
        found.exists()  # raises where the system cannot even look for such a name
    except OSError as error:
        raise InputError(_unreachable(where, name, error)) from None
    _check_inside(root, found, f"{where}: '{_show(name)}'")
    return name


def _unreachable(where, name, error):
    return f"{where}: '{_show(name)}' cannot be read ({error.strerror}): correct the path."


def _check_inside(root, path, where):
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except RuntimeError:
        raise InputError(
            f"{where} is a link that leads in a circle: put a copy of the file there instead."
        ) from None
    if not inside:
        raise InputError(
            f"{where} is a link to a place outside {root}: put a copy of the file there instead."
        )


def _check_duplicate_rows(paths, lines, where):
    seen = {}
    for path, line in zip(paths, lines, strict=True):
        # one name, however its accents are encoded: on some disks both spell the same file
        name = nfc(path)
        if name in seen:
            raise InputError(
                f"{where} lists '{_show(path)}' twice, in lines {seen[name]} and {line}: "
                "remove one of the rows."
            )
        seen[name] = line


def _check_files(root, paths, lines, where):
    missing = []
    for path, line in zip(paths, lines, strict=True):
        try:
            found = find_file(root, path)
            is_file = found.is_file()
        except OSError as error:
            raise InputError(_unreachable(f"{where}, line {line}", path, error)) from None
        # first: a link in a circle counts as missing, but there is more to say about it
        _check_inside(root, found, f"{where}, line {line}: '{path}'")
        if not is_file:
            missing.append((path, line))
    if missing:
        path, line = missing[0]
        more = "" if len(missing) == 1 else f" (and {len(missing) - 1} more rows)"
        raise InputError(
            f"{where}, line {line}: the file '{path}' is not in {root}{more}: "
            "add it or remove the row."
        )


def _check_gender(text, where):
    try:
        return _GENDERS[text.lower()]
    except KeyError:
        raise InputError(
            f"{where}: the gender '{text}' is not known: write m, f, male or female, "
            "or leave it empty."
        ) from None


def _check_viewpoint(text, where):
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not -180 <= value <= 180:
        raise InputError(
            f"{where}: the viewpoint '{text}' is not an angle between -180 and 180: give degrees, "
            "0 frontal, positive when the person turns to their left."
        )
    return value + 0.0


def _check_genders(table, source):
    known = table.dropna(subset="gender")
    counts = known.groupby("identity")["gender"].nunique()
    for identity in counts.index[counts > 1]:
        rows = known[known["identity"] == identity].drop_duplicates("gender")
        listed = " and ".join(
            f"{row.gender} ('{row.path}')" for row in rows.itertuples(index=False)
        )
        raise InputError(
            f"{source}: identity '{identity}' has two genders, {listed}: "
            "correct the rows or give the two people different names."
        )


def _numeric_if_possible(column):
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


# --- landmarks


def _load_landmarks(path, names):
    """Landmarks of the named images from a wide or a long table, NaN and 0 where absent."""
    header, rows = _read_csv(path)
    where = path.name
    lines = [line for line, _ in rows]
    table = pd.DataFrame([cells for _, cells in rows], columns=header, dtype="str")
    if "path" not in table:
        raise InputError(f"{where} has no column 'path': add one naming each image.")
    position = {nfc(name): k for k, name in enumerate(names)}
    table["path"] = [
        _clean_path(text, f"{where}, line {line}")
        for text, line in zip(table["path"], lines, strict=True)
    ]
    for name, line in zip(table["path"], lines, strict=True):
        if nfc(name) not in position:
            raise InputError(
                f"{where}, line {line}: '{name}' is not among the images: remove the row."
            )
    where_to = table["path"].map(nfc).map(position).to_numpy(int)
    if {"point", "x", "y", "visible"} <= set(table):
        values = _floats(table[["point", "x", "y", "visible"]], lines, where)
        number = np.nan_to_num(values[:, 0], nan=-1).clip(-1, MOST_POINTS).astype(int)
        wrong = (number < 0) | (number >= MOST_POINTS) | (number != values[:, 0])
        if wrong.any():
            raise InputError(
                f"{where}, line {lines[np.flatnonzero(wrong)[0]]}: points are numbered 0, 1, 2, "
                f"... up to {MOST_POINTS - 1}: correct that column."
            )
        points = _no_points(len(names), number.max(initial=-1) + 1)
        points[where_to, number] = values[:, 1:]
    else:
        wide = [name for name in header if _LANDMARK_COLUMN.fullmatch(name)]
        found = _wide_landmarks(table[wide], lines, where)
        points = _no_points(len(names), found.shape[1])
        points[where_to] = found
    return points


def _no_points(images, count):
    points = np.full((images, count, 3), np.nan, np.float32)
    points[:, :, 2] = 0
    return points


def _wide_landmarks(table, lines, where):
    count = len({_LANDMARK_COLUMN.fullmatch(name)[1] for name in table})
    wanted = [f"{axis}{k}" for k in range(count) for axis in "xyv"]
    absent = [name for name in wanted if name not in table]
    if absent or not wanted:
        raise InputError(
            f"{where} has no landmark column '{(absent or ['x0'])[0]}': "
            "each point needs its x, y and v (visible, 1 or 0), numbered from 0 without a gap."
        )
    return _floats(table[wanted], lines, where).reshape(len(table), count, 3)


def _floats(table, lines, where):
    out = np.empty(table.shape, np.float32)
    for k, name in enumerate(table.columns):
        values = pd.to_numeric(table[name].mask(table[name] == ""), errors="coerce")
        bad = np.flatnonzero(values.isna() & (table[name] != ""))
        if len(bad):
            raise InputError(
                f"{where}, line {lines[bad[0]]}: '{table[name].iloc[bad[0]]}' in the column "
                f"'{name}' is not a number: correct it or leave it empty."
            )
        out[:, k] = values
    return out


# --- the images themselves


def _inspect(table, root, max_pixels):
    found = []
    wanted = table["sha256"] if "sha256" in table else [""] * len(table)
    rows = zip(table["path"], wanted, strict=True)
    for name, digest in track(rows, "checking images", len(table)):
        path = find_file(root, name)
        image, mode = open_image(path, max_pixels=max_pixels, name=name)
        actual = sha256(path)
        if digest and digest.lower() != actual:
            raise InputError(
                f"'{name}' is not the file the manifest means (its SHA-256 begins {actual[:8]}, "
                f"expected {digest[:8].lower()}): fetch it again, or correct the column sha256."
            )
        found.append((image.height, image.width, mode, actual))
    columns = dict(zip(COLUMNS[4:], zip(*found, strict=True), strict=True))
    table = table.assign(**{name: list(values) for name, values in columns.items()})
    table["gender"] = table["gender"].astype("str")
    table["viewpoint"] = table["viewpoint"].astype(float)
    rest = [name for name in table.columns if name not in COLUMNS]
    return table[[*COLUMNS, *rest]].reset_index(drop=True)


# --- description and writing


def summarise_faces(faceset):
    """Describe a set: counts, gaps, duplicates, grey levels and sizes.

    Parameters
    ----------
    faceset : FaceSet

    Returns
    -------
    dict of DataFrame
        ``identity`` (identity, gender, images, viewpoints), ``gender`` (gender, identities,
        images), ``viewpoint`` (viewpoint, identities, images), ``missing`` (identity, viewpoint:
        combinations absent although both occur), ``duplicates`` (sha256, copy, path, identity:
        files with the same bytes), ``size`` (height, width, mode, images), ``grey`` (statistic,
        value: mean, sd and percentiles of the grey level, 0 to 255, over all pixels of all images
        as stored) and ``grey_by_image`` (path, mean, sd).
    """
    table = faceset.table
    gender = table["gender"].fillna("unknown")
    by_identity = table.assign(gender=gender).groupby("identity")
    identity = by_identity.agg(
        gender=("gender", "first"), images=("path", "size"), viewpoints=("viewpoint", "nunique")
    ).reset_index()
    by_gender = table.assign(gender=gender).groupby("gender")
    by_view = table.groupby("viewpoint", dropna=False)
    counts = dict(identities=("identity", "nunique"), images=("path", "size"))
    size = table.groupby(["height", "width", "mode"]).agg(images=("path", "size"))
    grey, by_image = _grey_levels(faceset)
    return {
        "identity": identity,
        "gender": by_gender.agg(**counts).reset_index(),
        "viewpoint": by_view.agg(**counts).reset_index(),
        "missing": _missing_views(table),
        "duplicates": _duplicates(table),
        "size": size.reset_index(),
        "grey": grey,
        "grey_by_image": by_image,
    }


def _missing_views(table):
    seen = table.dropna(subset="viewpoint")
    every = pd.MultiIndex.from_product(
        [sorted(seen["identity"].unique()), sorted(seen["viewpoint"].unique())],
        names=["identity", "viewpoint"],
    )
    return every.difference(pd.MultiIndex.from_frame(seen[every.names])).to_frame(index=False)


def _duplicates(table):
    copies = table[table["sha256"].duplicated(keep=False)].sort_values(["sha256", "path"])
    copies = copies.assign(copy=copies.groupby("sha256").cumcount())
    return copies[["sha256", "copy", "path", "identity"]].reset_index(drop=True)


def _grey_levels(faceset):
    """Exact moments and percentiles from one 256-bin histogram: nothing but counts is kept."""
    levels = np.arange(256)
    total = np.zeros(256, np.int64)
    rows = []
    for row in track(range(len(faceset)), "grey levels"):
        counts = np.bincount(faceset._read(row, None, False).ravel(), minlength=256)
        total += counts
        rows.append(_moments(counts, levels))
    mean, sd = _moments(total, levels)
    below = np.cumsum(total) / total.sum()
    percentiles = {
        f"percentile {p}": float(np.searchsorted(below, p / 100))
        for p in (1, 5, 25, 50, 75, 95, 99)
    }
    grey = pd.DataFrame(
        {"mean": mean, "sd": sd, **percentiles}.items(), columns=["statistic", "value"]
    )
    by_image = pd.DataFrame(rows, columns=["mean", "sd"])
    by_image.insert(0, "path", faceset.table["path"])
    return grey, by_image


def _moments(counts, levels):
    mean = (counts * levels).sum() / counts.sum()
    return mean, np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum())


def write_manifest(faces, path, *, landmarks=None):
    """Write a manifest that `load_faces` reads, so that missing columns can be filled in by hand.

    Parameters
    ----------
    faces : FaceSet or DataFrame
        A DataFrame has at least ``path`` (relative to the manifest's folder) and ``identity``.
    path : path-like
        CSV file to write; of a FaceSet it must lie in or above the folder of the images.
    landmarks : ndarray (n, points, 3), optional
        x, y, visible; default those of the FaceSet. Written as columns x0, y0, v0, ...

    Returns
    -------
    Path

    Raises
    ------
    InputError
        The manifest would lie where its relative paths cannot reach the images, or the name of a
        folder on the way to them is not UTF-8.
    """
    path = Path(path)
    table = faces.table if isinstance(faces, FaceSet) else faces
    if isinstance(faces, FaceSet):
        folder = path.resolve().parent
        if not faces.root.resolve().is_relative_to(folder):
            raise InputError(
                f"a manifest in '{path.parent}' cannot name images in '{faces.root}': "
                "write it into the folder of the images or one above."
            )
        prefix = faces.root.resolve().relative_to(folder)
        _check_utf8(str(prefix), path.parent)
        for column in table.columns.intersection(("path", *PATHS)):
            moved = table[column].dropna().map(lambda name: (prefix / name).as_posix())
            table = table.assign(**{column: moved})
        landmarks = faces.points if landmarks is None else landmarks
    table = table.drop(columns=["height", "width", "mode"], errors="ignore")
    if landmarks is not None:
        names = [f"{axis}{k}" for k in range(landmarks.shape[1]) for axis in "xyv"]
        flat = pd.DataFrame(landmarks.reshape(len(landmarks), -1).round(2), columns=names)
        table = pd.concat([table.reset_index(drop=True), flat], axis=1)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return path
