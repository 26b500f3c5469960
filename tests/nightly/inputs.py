"""Faces that cannot be used, given to the real command: a sentence, nothing published, nothing
left behind; and once they are mended the same command completes with the same bytes as a run that
nothing disturbed.

What each sentence says is tested in tests/test_faces_dataset.py; ``make test-nightly`` runs this:
the whole command twenty-three times, 22 s of a processor each.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from test_workflow import (  # noqa: E402, F401 - fixtures among them
    RUN,
    artefacts,
    carry_out,
    drawn,
    executed,
    fresh,
    repository,
    undisturbed,
)

ONE = "anna/yaw+000.png"


def empty(faces):
    shutil.rmtree(faces)
    faces.mkdir()


def one_identity(faces):
    shutil.rmtree(faces / "björn")


def unreadable(faces):
    (faces / ONE).write_bytes(b"%PDF-1.4 no image")


def truncated(faces):
    content = (faces / ONE).read_bytes()
    (faces / ONE).write_bytes(content[: len(content) // 2])


def huge(faces):
    Image.new("L", (10_000, 10_000)).save(faces / ONE)


def manifest(*rows, header="path,identity"):
    def write(faces):
        lines = [header, f"{ONE},anna", "björn/yaw+000.png,björn", *rows]
        (faces / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    return write


def leading_out(faces):
    shutil.copy(faces / ONE, faces.parent / "outside.png")
    os.symlink(faces.parent / "outside.png", faces / "anna" / "link.png")


REFUSED = {
    "empty folder": (empty, "holds no images"),
    "one identity": (one_identity, "holds 1 identity ('anna'), but at least 2 are needed"),
    "unreadable": (unreadable, f"'{ONE}' cannot be read as an image (it is not an image)"),
    "truncated": (truncated, f"'{ONE}' cannot be read as an image (broken or truncated)"),
    "100 megapixels": (huge, f"'{ONE}' has 10000 x 10000 pixels, more than the 50 million"),
    "missing file": (
        manifest("anna/none.png,anna"),
        "manifest.csv, line 4: the file 'anna/none.png' is not",
    ),
    "unknown column": (
        manifest(header="path,identty"),
        "unknown column 'identty': did you mean 'identity'?",
    ),
    "path that leaves": (manifest("../outside.png,anna"), "leads out of the manifest's folder"),
    "link that leaves": (leading_out, "is a link to a place outside"),
    "duplicate rows": (manifest(f"{ONE},anna"), "twice, in lines 2 and 4"),
}


@pytest.fixture
def faces(fresh):  # noqa: F811
    """The folder of faces, put back as it was afterwards."""
    folder, kept = fresh / "faces", fresh / "kept"
    shutil.copytree(folder, kept)
    yield folder
    shutil.rmtree(folder)
    kept.rename(folder)


#: All that a refused run leaves: what was asked for, and what can be read about the refusal.
LEFT = {"run.json", "workflow.log", "logs/01_faces.ipynb"}


@pytest.mark.parametrize("kind", REFUSED)
def test_faces_that_cannot_be_used_are_refused_and_the_mended_ones_completed(
    faces,
    fresh,  # noqa: F811
    undisturbed,  # noqa: F811
    kind,
):
    spoil, words = REFUSED[kind]
    spoil(faces)
    status, said = carry_out(fresh)
    assert status == 1 and "Traceback" not in said
    assert words in said, said
    assert not executed(fresh).exists()
    run = fresh / "data" / "runs" / RUN
    assert {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()} <= LEFT
    shutil.rmtree(faces)
    shutil.copytree(fresh / "kept", faces)
    status, said = carry_out(fresh)
    assert status == 0, said
    assert artefacts(fresh) == undisturbed


def test_sizes_that_differ_and_names_outside_ascii_are_no_mistake(faces, fresh, undisturbed):  # noqa: F811
    with Image.open(faces / ONE) as image:
        image.resize((90, 50)).save(faces / ONE)
    (faces / "anna").rename(faces / "Ångström 花子")
    status, said = carry_out(fresh)
    assert status == 0, said
    table = (fresh / "data" / "runs" / RUN / "faces.csv").read_text(encoding="utf-8")
    assert "Ångström 花子" in table and ",50,90," in table
    shutil.rmtree(faces)
    shutil.copytree(fresh / "kept", faces)
    assert carry_out(fresh)[0] == 0
    assert artefacts(fresh) == undisturbed
