"""Files that mean harm or were damaged, and a watch over what reading them does.

`KINDS` names what the project reads from elsewhere: how to write a good file of each kind, and how
it is read. `spoil` and `spoil_table` make a bad one of a good one.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import pickle
import resource
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from conftest import message, varint
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lib import humans, params, store, weights
from lib.claims import reported
from lib.faces import dataset, dictionary, imagefile

MADE = {"chapter": "99_test", "parameters": {"seed": 1}, "inputs": {}, "versions": {}}

# ------------------------------------------------------------------------------------------- watch

#: What reading a file must never do, by the names of Python's audit events.
FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink"),
    *("os.truncate", "os.putenv", "os.kill", "socket.connect", "socket.bind", "socket.getaddrinfo"),
    *("urllib.Request", "shutil.rmtree", "shutil.copyfile", "shutil.move", "shutil.unpack_archive"),
    *("marshal.loads", "code.__new__", "ctypes.dlopen", "webbrowser.open", "exec"),
}
#: Of these, what an import does as well; the module's file is then one of Python's or a package's.
CODE = {"marshal.loads", "code.__new__", "exec", "ctypes.dlopen"}
#: Classes that an array in a pickle is made of.
REBUILT = {"_reconstruct", "ndarray", "dtype"}
#: Where Python's own files and the packages' lie; they are opened at any time.
OWN = (
    *map(os.path.realpath, (sys.prefix, sys.base_prefix, store.ROOT / "lib")),
    *("/usr/lib", "/usr/share", "/proc", "/sys", "/dev"),
)
_allowed: Path | None = None
_seen: list[str] = []


def _imports() -> bool:
    """Whether Python itself is importing a module right now: packages do so when first needed."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _watch(event: str, arguments: tuple) -> None:
    if _allowed is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, int):
            return
        path = os.path.realpath(os.fsdecode(path))
        writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or not path.startswith((str(_allowed), *OWN)):
            _seen.append(f"opened {path} ({mode}, {flags})")
    elif event in FORBIDDEN and not (event in CODE and _imports()):
        _seen.append(f"{event} {arguments!r}"[:300])
    elif event == "pickle.find_class" and arguments[1] not in REBUILT:
        _seen.append(f"looked for {arguments!r}")


sys.addaudithook(_watch)


@contextlib.contextmanager
def watched(folder: Path):
    """Fail where something is written, started, fetched, or read outside of a folder."""
    global _allowed
    _seen.clear()
    _allowed = Path(os.path.realpath(folder))
    try:
        yield
    finally:
        _allowed = None
    assert not _seen, list(_seen)


@contextlib.contextmanager
def little_memory(room: int = 3 << 30, used: int = 400 << 20):
    """Give the process so much more address space, and fail where it has really used so much."""
    kept = resource.getrlimit(resource.RLIMIT_AS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, kept)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < used, f"{grown >> 20} MiB were used"


# --------------------------------------------------------------------------------------- good files


def _arrays():
    generator = np.random.default_rng(0)
    return {
        name: {"kernel": generator.normal(size=(3, 3, 2, 4)), "bias": generator.normal(size=4)}
        for name in ("conv1", "conv2")
    }


def _write_npz(path):
    weights.save_npz(path, _arrays(), {"seed": 3})


def _write_hdf5(path):
    with h5py.File(path, "w") as file:
        for name, parts in _arrays().items():
            for kind, value in parts.items():
                file[f"model_weights/{name}/{name}/{kind}:0"] = value
        file.attrs["model_config"] = json.dumps(_config())


def _config():
    layers = [
        ("InputLayer", {"batch_input_shape": [None, 8, 8, 3], "name": "in"}),
        ("Conv2D", {"filters": 4, "activation": "relu", "name": "c",
                    "kernel_initializer": {"module": "keras.initializers", "class_name": "Zeros",
                                           "config": {}, "registered_name": None}}),
        ("Flatten", {"name": "f"}),
        ("Dense", {"units": 3, "activation": "softmax", "name": "d"}),
    ]  # fmt: skip
    listed = [
        {"module": "keras.layers", "class_name": c, "config": v, "registered_name": None}
        for c, v in layers
    ]
    inner = {"name": "net", "layers": listed}
    return {"module": "keras", "class_name": "Sequential", "config": inner, "registered_name": None}


def _write_model(path):
    bare = io.BytesIO()
    with h5py.File(bare, "w") as file:
        file["layers/c/vars/0"] = np.zeros((3, 3, 3, 4), np.float32)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(_config()))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", bare.getvalue())


def _write_pickle(path):
    path.write_bytes(pickle.dumps(_arrays(), 4))


def _write_onnx(path):
    value = np.arange(12, dtype="<f4").reshape(3, 4)
    dims = message(1, b"".join(map(varint, value.shape)))
    tensor = dims + b"\x10\x01" + message(8, b"a/b") + message(9, value.tobytes())
    path.write_bytes(b"\x08\x08" + message(7, message(5, tensor) * 2))


def _write_tar(path):
    with tarfile.open(path, "w:gz") as archive:
        for name in ("p/other", "p/w.bin"):
            entry = tarfile.TarInfo(name)
            entry.size = 2000
            archive.addfile(entry, io.BytesIO(bytes(range(200)) * 10))


def _write_wheel(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/other", bytes(2000))
        archive.writestr("p/w.bin", bytes(range(200)) * 10)


def _write_netcdf(path):
    maps = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    data = xr.Dataset({"maps": (("model", "y", "x"), maps)}, {"model": ["a", "b", "ç"]})
    store.save_dataset(data, path, MADE)


def _write_table(path):
    pd.DataFrame({"identity": ["001", "NA", "é"], "x": [0.5, 1, 2]}).to_csv(path, index=False)


def _write_image(path, **options):
    picture = Image.new("RGB", (40, 32), (90, 120, 30))
    ImageDraw.Draw(picture).ellipse((5, 5, 30, 25), fill=(200, 10, 90))
    picture.save(path, **options)


def _write_labels(path):
    codes = np.random.default_rng(0).integers(0, 300, (24, 24)).astype(np.uint16)
    Image.fromarray(codes).save(path)


def _write_faces(folder):
    for name in ("a", "b"):
        (folder / name).mkdir(exist_ok=True)
        for view in (0, 30):
            _write_image(folder / name / f"{view}.png")


def _write_manifest(path):
    _write_faces(path.parent)
    rows = ["path,identity,gender,viewpoint,age,label_path,x0,y0,v0"]
    for name, gender in (("a", "m"), ("b", "f")):
        for view in (0, 30):
            rows.append(f"{name}/{view}.png,{name},{gender},{view},31,{name}/0.png,4.5,6,1")
    path.write_text("\n".join(rows) + "\n")


def _write_landmarks(path):
    _write_faces(path.parent)
    listed = [f"{name}/{view}.png" for name in "ab" for view in (0, 30)]
    manifest = ["path,identity", *(f"{name},{name[0]}" for name in listed)]
    (path.parent / "manifest.csv").write_text("\n".join(manifest) + "\n")
    rows = ["path,point,x,y,visible"]
    rows += [f"{name},{point},{point}.5,7,1" for name in listed for point in range(2)]
    path.write_text("\n".join(rows) + "\n")


def _write_responses(path):
    names = list("abcd")
    rows = [humans.responses.COLUMNS]
    for subj in ("o1", "o2"):
        for trial, target in enumerate(names[:3], 1):
            left, right = [n for n in names if n != target][:2]
            chosen = left if trial % 2 else right
            rows.append((subj, 1, trial, "0.71", chosen, target, "test", "f.png", target, left,
                         right))  # fmt: skip
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")


def _write_reported(path):
    lines = (store.ROOT / "data" / "reported.csv").read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:8]) + "\n", encoding="utf-8")


def _write_codebook(path):
    path.write_text("code,nose,mouth\n0,0,0\n1,1,0\n2,0,1\n")


def _write_settings(path):
    path.write_bytes((store.ROOT / "params" / "ci.yml").read_bytes())


def _load_netcdf(path):
    with store.load_dataset(path, made_by="99_test") as data:
        data.load()


def _seal_again(content: bytes) -> bytes:
    """A seal that is right although the content was altered."""
    content = content.rpartition(store.SEAL)[0] or content
    return content + store.SEAL + hashlib.sha256(content).digest()


def _open_netcdf(path):
    with store.load_dataset(path, made_by="99_test", schema={"maps": ("model", "y", "x")}):
        pass


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, how a good one is written, how one is read.

    ``table``: its cells are spoilt as well; ``finish``: what is done to spoilt bytes at the end.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    table: bool = False
    finish: Callable[[bytes], bytes] = bytes


def _open_image(path):
    imagefile.to_array(imagefile.open_image(path)[0], 32)


KINDS = {
    "npz": Kind("w.npz", _write_npz, weights.read_npz),
    "hdf5": Kind("w.h5", _write_hdf5, weights.read_hdf5),
    "keras": Kind("net.keras", _write_model, weights.refuse_code),
    "keras-hdf5": Kind("net.h5", _write_hdf5, weights.refuse_code),
    "pickle": Kind("w.pkl", _write_pickle, lambda p: weights.read_pickle(p.read_bytes())),
    "onnx": Kind("w.onnx", _write_onnx, lambda p: weights.read_onnx(p.read_bytes())),
    "tar": Kind("p.tar.gz", _write_tar, lambda p: weights.read_member(p, "p/w.bin")),
    "wheel": Kind("p.whl", _write_wheel, lambda p: weights.read_member(p, "p/w.bin")),
    "netcdf": Kind("maps.nc", _write_netcdf, _load_netcdf),
    "netcdf-resealed": Kind("maps.nc", _write_netcdf, _open_netcdf, finish=_seal_again),
    "csv": Kind("t.csv", _write_table, lambda p: store.load_table(p, made_by="99_test"), True),
    **{
        f"image-{ending}": Kind(f"i.{ending}", _write_image, _open_image)
        for ending in ("png", "jpg", "webp", "tif", "gif", "bmp", "ppm")
    },
    "labels": Kind("l.png", _write_labels, lambda p: imagefile.read_numbers(p.parent, p.name)),
    "manifest": Kind(
        "manifest.csv", _write_manifest, lambda p: dataset.load_faces(p).landmarks(size=16), True
    ),
    "landmarks": Kind(
        "landmarks.csv", _write_landmarks, lambda p: dataset.load_faces(p.parent), True
    ),
    "responses": Kind("answers.csv", _write_responses, humans.load_responses, True),
    "claims": Kind("reported.csv", _write_reported, reported.load_reported, True),
    "codebook": Kind("codebook.csv", _write_codebook, dictionary._read_codebook, True),
    "settings": Kind("ci.yml", _write_settings, lambda p: params.load_profile("ci", p.parent)),
}

# ---------------------------------------------------------------------------------------- bad files

#: Numbers at the ends of what a length or an offset can hold.
EDGES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 2**64 - 1)
#: What somebody may write into a cell, by mistake or on purpose.
CELLS = (
    *("", " ", "nan", "NA", "inf", "-inf", "-1", "0", "1e999", "1e300", "9" * 400, "0x10", "1_000"),
    *("1,5", "1;5", '"', '""', "'", "\n", "\r", "\t", "a\tb", "\ufeff", "\u202eevil", "\x1b[2J"),
    *("../../etc/passwd", "/etc/passwd", "C:\\x", "\\\\host\\x", "a/../../x", "~/x", "."),
    *("con", "a" * 300, "ä" * 5000, "a/" * 3000, "<script>alert(1)</script>", "=cmd|' /C calc'!A0"),
    *("${HOME}", "$(touch x)", "`touch x`", "%s%s%n", "{0.__class__}", "!!python/object:os.system"),
    *("$\\frac$", "١", "½", "é", "e\u0301", "𝔘", "true", "None", "test", "catch", "1.0", "100001"),
)

edits = st.lists(
    st.tuples(
        st.sampled_from(("flip", "set", "cut", "drop", "insert", "copy", "number")),
        st.integers(0, 2**20),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=8,
)


def spoil(content: bytes, changes) -> bytes:
    """Bytes with some changes, each (what, where, how)."""
    data = bytearray(content)
    for what, where, how in changes:
        at = where % (len(data) or 1)
        if what in ("flip", "set") and data:
            data[at] = data[at] ^ (1 << how % 8) if what == "flip" else how
        elif what == "cut":
            del data[at:]
        elif what == "drop":
            del data[at : at + 1 + how]
        elif what == "insert":
            data[at:at] = bytes([how]) * (1 + where % 64)
        elif what == "copy":
            data[at:at] = data[at : at + 1 + how]
        elif what == "number":
            size = (1, 2, 4, 8)[how % 4]
            number = EDGES[how % len(EDGES)] % (1 << 8 * size)
            data[at : at + size] = number.to_bytes(size, "big" if how & 16 else "little")
    return bytes(data)


cells = st.lists(
    st.tuples(
        st.sampled_from(
            ("cell", "cell", "cell", "head", "row", "column", "twice", "short", "mark")
        ),
        st.integers(0, 1000),
        st.integers(0, 1000),
        st.one_of(st.sampled_from(CELLS), st.text(max_size=20)),
    ),
    min_size=1,
    max_size=4,
)


def spoil_table(content: bytes, changes) -> bytes:
    """A CSV with some cells, rows and columns changed; the rest is quoted as it must be."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    separator = ","
    for what, row, column, text in changes:
        at = row % len(rows)
        if what == "cell" and rows[at]:
            rows[at][column % len(rows[at])] = text
        elif what == "head" and rows[0]:
            rows[0][column % len(rows[0])] = text
        elif what == "row" and len(rows) > 1:
            del rows[at]
        elif what == "column":
            rows = [r[: column % len(r)] + r[column % len(r) + 1 :] if r else r for r in rows]
        elif what == "twice":
            rows.insert(at, list(rows[at]))
        elif what == "short":
            rows[at] = rows[at][: column % (len(rows[at]) + 1)]
        elif what == "mark":
            separator = ";\t|,"[column % 4]
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")
