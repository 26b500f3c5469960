"""Fixtures that several test modules share."""

import contextlib
import io
import os
import sys
from pathlib import Path

# Before anything imports TensorFlow: its start-up notices are no test output, and its convolutions
# are those of the report (see lib/__init__.py).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import matplotlib
import nbformat
import numpy as np
import pytest
from PIL import Image

# Not by the environment: the kernels that nbval starts draw into the notebook.
matplotlib.use("agg")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list) -> None:
    """The file that takes longest comes first, so that no worker is left alone with it."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Known answers are exact, so precision ``auto`` is float32 here, whatever the processor has.

    What bfloat16 does is tested where a test asks for it by name.
    """
    vgg = sys.modules.get("lib.vgg")
    if vgg is not None and not hasattr(vgg, "_all_flags"):
        vgg._all_flags = vgg._processor_flags
        vgg._processor_flags = lambda cpuinfo: (
            vgg._all_flags(cpuinfo) - (BFLOAT16 if str(cpuinfo) == "/proc/cpuinfo" else set())
        )


#: Flags of processors that multiply bfloat16.
BFLOAT16 = {"amx_bf16", "avx512_bf16"}


def run_cells(chapter: str, given: dict) -> tuple[dict, str]:
    """Run a notebook's code cells with some parameters: its names, and all that it printed."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4)
    names, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
                if "parameters" in cell.metadata.get("tags", []):
                    names |= given
    return names, said.getvalue()


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


def write_faces(folder: Path, identities=("anna", "björn"), views=(-45, 0, 45), side=64) -> Path:
    """A folder per identity with one image per view: seeded blobs, enough to be told apart."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side - 0.5
    for identity in identities:
        centre = generator.uniform(-0.2, 0.2, 2)
        (folder / identity).mkdir(parents=True)
        for view in views:
            bump = np.exp(-((x - centre[0] - view / 400) ** 2 + (y - centre[1]) ** 2) / 0.05)
            picture = (60 + 120 * bump + generator.normal(0, 4, bump.shape)).clip(0, 255)
            path = folder / identity / f"yaw{view:+04d}.png"
            Image.fromarray(picture.astype(np.uint8)).save(path)
    return folder


def write_dictionary(folder: Path) -> Path:
    """A dictionary of a reader's own: four blobs, two concepts, landmarks, no exact masks."""
    write_faces(folder, ("a", "b"), (0, 30))
    generator = np.random.default_rng(1)
    groups = [("20-40", "female", "asian", "bright"), ("60+", "male", "african", "dark")]
    rows = ["path,identity,viewpoint,age_group,gender,ethnicity,skin_tone,nose,Eyeglasses"]
    points = ["path," + ",".join(f"x{k},y{k},v{k}" for k in range(68))]
    for identity, group, glasses in zip("ab", groups, "01", strict=True):
        for view in (0, 30):
            path = f"{identity}/yaw{view:+04d}.png"
            rows.append(f"{path},{identity},{view},{','.join(group)},1,{glasses}")
            where = generator.uniform(10, 54, (68, 2)).round(1)
            points.append(path + "".join(f",{x},{y},1" for x, y in where))
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "landmarks.csv").write_text("\n".join(points) + "\n")
    return folder


@pytest.fixture
def faces_folder(tmp_path) -> Path:
    """Six images of two people, one with a name outside ASCII."""
    return write_faces(tmp_path / "faces")


def varint(number):
    """A number as protocol buffers, of which ONNX files are made, write it."""
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(field, content):
    """A field of protocol buffers that holds bytes."""
    return varint(field << 3 | 2) + varint(len(content)) + content
