"""Artefacts of a run: labelled arrays and tables, with provenance, written whole or not at all.

Arrays are xarray datasets in netCDF-4, tables are CSV (UTF-8). Each carries how it was made:
parameters, SHA-256 of its inputs, versions. Nothing in an artefact depends on the time of day, so
the same parameters give the same bytes on one machine.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lib.errors import InputError
from lib.versions import versions

ROOT = Path(__file__).resolve().parent.parent
#: Columns of names: text, whatever they look like.
NAMES = dict.fromkeys(("path", "identity", "model", "concept", "source", "destination"), "str")


def run_folder(run: str) -> Path:
    """Folder of a run's artefacts, ``data/runs/<run>`` under the repository."""
    return ROOT / "data" / "runs" / run


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _disk_error(error: OSError, path: Path) -> InputError:
    """The sentence for a write that the system refused."""
    reasons = {
        errno.ENOSPC: "the disk is full; free some space",
        errno.EDQUOT: "the disk quota is used up; free some space",
        errno.EROFS: "the file system is read-only; make it writable or work in another copy",
        errno.EACCES: "you may not write there; change the folder's permissions",
        errno.EPERM: "you may not write there; change the folder's permissions",
    }
    reason = reasons.get(error.errno, f"the system says {error.strerror!r}; mend that")
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
        Missing, unreadable, or without one of ``columns``.
    """
    path = Path(path)
    if not path.is_file():
        raise _missing(path, made_by)
    try:
        table = pd.read_csv(
            path, **{"keep_default_na": False, "na_values": [""], "dtype": NAMES, **options}
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a readable CSV ({error}); delete it and run {made_by} again."
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
        Missing, not netCDF, or not of the schema.
    """
    path = Path(path)
    if not path.is_file():
        raise _missing(path, made_by)
    try:
        data = xr.open_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is damaged or no netCDF file ({error}); delete it and run {made_by} again."
        ) from None
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
    """Provenance of an opened dataset, or of a table's path."""
    if isinstance(source, xr.Dataset):
        return json.loads(source.attrs["provenance"])
    made = json.loads(_sidecar(Path(source)).read_text(encoding="utf-8"))
    if made.pop("sha256") != sha256(source):
        raise InputError(
            f"{source} is not the table that its provenance describes; delete it and run "
            f"{made['chapter']} again."
        )
    return made
