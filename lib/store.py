"""Artefacts of a run: labelled arrays and tables, with provenance, written whole or not at all.

Arrays are xarray datasets in netCDF-4, tables are CSV (UTF-8). Each carries how it was made:
parameters, SHA-256 of its inputs, versions. Nothing in an artefact depends on the time of day, so
the same parameters give the same bytes on one machine.

Every artefact is checked when it is opened: a table against the digest in its provenance, labelled
arrays against the seal that ends their file (:func:`seal`), both against the settings with which
their chapter made this run. What was cut short, altered or brought from another run is refused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lib.errors import InputError
from lib.versions import versions

ROOT = Path(__file__).resolve().parent.parent
#: Where the runs have a folder each, under the repository.
RUNS = Path("data", "runs")
#: Between the content of a sealed file and the SHA-256 of that content, which ends it.
SEAL = b"\nsha256:"
#: Columns of names: text, whatever they look like.
NAMES = dict.fromkeys(("path", "identity", "model", "concept", "source", "destination"), "str")


def run_folder(run: str) -> Path:
    """Folder of a run's artefacts, ``data/runs/<run>`` under the repository."""
    return ROOT / RUNS / run


def of_a_run(path: str | os.PathLike) -> str:
    """Where in its run's folder a path lies, or nothing where it lies in no run's folder."""
    runs, path = (ROOT / RUNS).resolve(), Path(path).resolve()
    inside = path.relative_to(runs).parts[1:] if path.is_relative_to(runs) else ()
    return "/".join(inside)


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read block by block."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _disk_error(error: OSError, path: Path) -> InputError:
    """The sentence for a write that the system refused."""
    reasons = {
        errno.ENOSPC: "the disk is full; free some space",
        errno.EDQUOT: "the disk quota is used up; free some space",
        errno.EROFS: "the file system is read-only; make it writable or work in another copy",
        errno.EACCES: "you may not write there; change the folder's permissions",
        errno.EPERM: "you may not write there; change the folder's permissions",
    }
    said = error.strerror or str(error)
    reason = reasons.get(error.errno, f"the system says {said!r}; mend that")
    return InputError(f"Cannot write {path}: {reason}, then run again (what was there is kept).")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends well.

    A killed or failed writer leaves ``path`` as it was. The temporary file lies in the same folder
    (a rename across file systems is not atomic) and is removed when the block fails.

    Raises
    ------
    InputError
        The disk is full, read-only, or may not be written to.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _disk_error(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------- whole files

#: Files whose seal was right: path, size, time of change.
_whole: set[tuple[str, int, int]] = set()


def seal(path: str | os.PathLike) -> None:
    """End a file with :data:`SEAL` and the 32 bytes of the SHA-256 of what comes before.

    HDF5 and ``.npy`` say in their head how long they are; readers pass over what follows.
    """
    digest = bytes.fromhex(sha256(path))
    with open(path, "ab") as file:
        file.write(SEAL + digest)


def is_sealed_right(path: str | os.PathLike, required: bool = False) -> bool:
    """Whether a file is as :func:`seal` left it.

    Parameters
    ----------
    path : path
    required : bool
        Refuse a file without a seal too. Else there is nothing to contradict it: one that was cut
        short has lost its seal, and its reader finds that it ends too early.
    """
    path = Path(path)
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key in _whole:
        return True
    left = status.st_size - len(SEAL) - 32
    with open(path, "rb") as file:
        file.seek(max(left, 0))
        last = file.read()
        if left < 0 or not last.startswith(SEAL):
            return not required
        file.seek(0)
        digest = hashlib.sha256()
        while left and (block := file.read(min(1 << 20, left))):
            digest.update(block)
            left -= len(block)
    if digest.digest() != last[len(SEAL) :]:
        return False
    _whole.add(key)
    return True


def load_arrays(path: str | os.PathLike, limit: int | None = None) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` by name, read without trust in it: nothing of it can run.

    Parameters
    ----------
    path : path
    limit : int, optional
        Bytes that they may take up together.

    Raises
    ------
    InputError
        Missing, damaged (every array has a checksum), objects in place of numbers, larger than the
        limit, or an array that announces more than the file holds.
    """
    path = Path(path)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if limit is not None and sum(entry.file_size for entry in entries) > limit:
                raise InputError(
                    f"{path} unpacks to more than {limit >> 20} MiB; it is no file of this kind."
                )
            for entry in entries:
                with archive.open(entry) as member:
                    _check_announced(member, entry.file_size)
                with archive.open(entry) as member:
                    name = entry.filename.removesuffix(".npy")
                    found[name] = np.lib.format.read_array(member, allow_pickle=False)
                    if member.read(1):  # to the end, where the checksum is compared
                        raise ValueError("more than one array")
    except InputError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise InputError(
            f"{path} is damaged or no NumPy archive ({type(error).__name__}); make or fetch it "
            "again."
        ) from None
    return found


def _check_announced(member, size: int) -> None:
    """Raise ValueError where an array's head announces more bytes than the ``size`` there are."""
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, kind = read[version](member)
    if kind.hasobject or math.prod(shape) * max(kind.itemsize, 1) > size:
        raise ValueError("objects, or more than there is")


def provenance(
    chapter: str, parameters: Any, inputs: Mapping[str, str] | Sequence[str | os.PathLike] = ()
) -> dict[str, Any]:
    """How an artefact was made.

    Parameters
    ----------
    chapter : str
        Notebook stem.
    parameters : pydantic model or mapping
        Validated settings.
    inputs : mapping of name -> SHA-256, or sequence of paths
        What was read. Paths are hashed here and named relative to the repository.

    Returns
    -------
    dict
        ``chapter``, ``parameters``, ``inputs``, ``versions``: JSON-able, and the same for the same
        run of the same code.
    """
    settings = parameters.model_dump() if hasattr(parameters, "model_dump") else dict(parameters)
    if not isinstance(inputs, Mapping):
        inputs = {os.path.relpath(p, ROOT): sha256(p) for p in inputs}
    return {
        "chapter": chapter,
        "parameters": settings,
        "inputs": dict(sorted(inputs.items())),
        "versions": versions(),
    }


def _sidecar(path: Path) -> Path:
    return path.with_suffix(path.suffix + ".provenance.json")


def save_table(table: pd.DataFrame, path: str | os.PathLike, made: Mapping[str, Any]) -> Path:
    """Write a tidy table as CSV, and its provenance beside it as ``<name>.csv.provenance.json``.

    The index is not written. Floats keep 10 significant digits: enough for any number of the report
    and short enough to be read.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
        # The digest tells a table and a provenance apart that a kill between the two has mixed.
        about = json.dumps({**made, "sha256": sha256(temporary)}, indent=1, sort_keys=True)
        with atomic_path(_sidecar(path)) as beside:
            beside.write_text(about + "\n", encoding="utf-8")
    return path


def _missing(path: Path, made_by: str) -> InputError:
    shown = os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)
    return InputError(f"{shown} is missing: run {made_by} first, or `make book`.")


def load_table(
    path: str | os.PathLike, *, made_by: str, columns: Sequence[str] = (), **options: Any
) -> pd.DataFrame:
    """Read a table that :func:`save_table` wrote.

    Parameters
    ----------
    path : path
    made_by : str
        Notebook that writes it, named when the file is missing or does not fit.
    columns : sequence of str
        Columns that must be there.
    **options
        Passed to :func:`pandas.read_csv`. Names stay text ("001", "NA"); only an empty cell is
        missing.

    Raises
    ------
    InputError
        Missing, unreadable, changed since it was made, made with settings that are not this run's,
        or without one of ``columns``.
    """
    path = Path(path)
    if not path.is_file():
        raise _missing(path, made_by)
    if _sidecar(path).is_file():
        _refuse_other_settings(path, provenance_of(path), made_by)
    try:
        table = pd.read_csv(
            path, **{"keep_default_na": False, "na_values": [""], "dtype": NAMES, **options}
        )
    except Exception as error:  # pandas has errors of its own, and of NumPy and the csv module
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} is not a readable CSV ({said[:200]}); delete it and run {made_by} again."
        ) from None
    absent = [c for c in columns if c not in table.columns]
    if absent:
        raise InputError(
            f"{path} has no column {', '.join(absent)}; delete it and run {made_by} again."
        )
    return table


def save_dataset(data: xr.Dataset, path: str | os.PathLike, made: Mapping[str, Any]) -> Path:
    """Write labelled arrays as compressed netCDF-4 with provenance in the global attributes."""
    path = Path(path)
    data = data.assign_attrs(provenance=json.dumps(made, sort_keys=True))
    packed = {
        name: {"zlib": True, "complevel": 4}
        for name, variable in data.data_vars.items()
        if variable.ndim and np.issubdtype(variable.dtype, np.number)
    }
    with atomic_path(path) as temporary:
        # HDF5 brings the whole process down when the disk fills up under it, so ask for the room of
        # the uncompressed arrays before it starts.
        if shutil.disk_usage(temporary).free < data.nbytes + 65536:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data.to_netcdf(temporary, engine="h5netcdf", encoding=packed)
        seal(temporary)
    return path


def load_dataset(
    path: str | os.PathLike, *, made_by: str, schema: Mapping[str, Sequence[str]] | None = None
) -> xr.Dataset:
    """Open labelled arrays that :func:`save_dataset` wrote, lazily.

    Parameters
    ----------
    path : path
    made_by : str
        Notebook that writes it.
    schema : mapping of variable -> dimension names, optional
        Checked on opening.

    Returns
    -------
    xarray.Dataset
        Values are read from the file when used; ``provenance_of`` gives how it was made.

    Raises
    ------
    InputError
        Missing, damaged, not netCDF, not of the schema, or made with settings that are not this
        run's.
    """
    path = Path(path)
    if not path.is_file():
        raise _missing(path, made_by)
    again = f"delete it and run {made_by} again"
    if not is_sealed_right(path):
        raise InputError(
            f"{path} is damaged: its content is not what its checksum says; {again}, or `make "
            "book`, which makes it anew."
        )
    try:
        data = xr.open_dataset(path, engine="h5netcdf")
    except Exception as error:  # HDF5, h5netcdf and xarray raise many kinds
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is damaged or no netCDF file ({said[:200]}); {again}.") from None
    try:
        _refuse_other_settings(path, provenance_of(data), made_by)
    except InputError:
        data.close()
        raise
    for name, dims in (schema or {}).items():
        if name not in data:
            data.close()
            raise InputError(f"{path} has no array {name!r}; delete it and run {made_by} again.")
        if tuple(data[name].dims) != tuple(dims):
            found = tuple(data[name].dims)
            data.close()
            raise InputError(
                f"{path}: {name} has dimensions {found}, expected {tuple(dims)}; "
                f"delete it and run {made_by} again."
            )
    return data


def provenance_of(source: xr.Dataset | str | os.PathLike) -> dict[str, Any]:
    """Provenance of an opened dataset, or of a table's path.

    Raises
    ------
    InputError
        It is missing or unreadable, or the table is not the one it describes.
    """
    if isinstance(source, xr.Dataset):
        where = source.encoding.get("source", "a dataset")
        text = source.attrs.get("provenance")
        beside = where
    else:
        where, beside = source, _sidecar(Path(source))
        try:
            text = beside.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = None
    try:
        made = json.loads(text)
        if not isinstance(made["parameters"], dict):
            raise TypeError
        chapter, digest = str(made["chapter"]), made.pop("sha256", None)
    except (TypeError, KeyError, ValueError, RecursionError):
        raise InputError(
            f"How {where} was made cannot be read in {beside}; delete {where} and run its chapter "
            "again."
        ) from None
    if not isinstance(source, xr.Dataset) and digest != sha256(source):
        raise InputError(
            f"{source} is not the table that its provenance describes; delete it and run "
            f"{chapter} again."
        )
    return made


def _refuse_other_settings(path: Path, made: Mapping[str, Any], made_by: str) -> None:
    """Refuse an artefact that has other settings than those with which its chapter made this run.

    The runner notes these beside the artefacts (:func:`lib.params.record_path`) when a chapter has
    ended. A run that was made by hand has no such note and is taken as it is.
    """
    note = path.parent / "logs" / f"{Path(made['chapter']).name}.json"
    try:
        settings = dict(json.loads(note.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    given = json.loads(json.dumps(made["parameters"]))
    differ = [k for k, v in given.items() if k != "run" and k in settings and settings[k] != v]
    if differ:
        name = differ[0]
        raise InputError(
            f"{path} was made with {name} = {given[name]!r} and this run has {settings[name]!r}: "
            f"it belongs to another run; delete it and run {made_by} again, or `make book`."
        )
