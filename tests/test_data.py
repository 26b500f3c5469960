"""What the repository ships under data/: every file has a checksum that holds, and a licence."""

import re
import subprocess
from pathlib import Path

import pytest

from lib.faces.setfolder import SUMS, check_sums
from lib.store import ROOT

DATA = ROOT / "data"
# The list of licences itself; sums do not sum themselves.
UNSUMMED = {"README.md"}


def shipped():
    """Paths of the shipped files, relative to data/."""
    found = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--", "data"], cwd=ROOT, capture_output=True
    )
    if found.returncode == 0 and found.stdout:
        names = found.stdout.decode().rstrip("\0").split("\0")
        # A file that is being replaced may be gone for the moment.
        return [Path(name).relative_to("data") for name in names if (ROOT / name).is_file()]
    files = [p.relative_to(DATA) for p in DATA.rglob("*") if p.is_file()]
    return [path for path in files if path.parts[0] != "runs"]


def rows():
    """Path and licence of each row of the table of data/README.md."""
    text = (DATA / "README.md").read_text(encoding="utf-8")
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {re.search("`(.+?)`", cells[0])[1]: cells[-1].strip() for cells in table}


def summed():
    """Files that some ``SHA256SUMS`` names, relative to data/."""
    return {
        folder.parent.relative_to(DATA) / line.split("  ", 1)[1]
        for folder in DATA.rglob(SUMS)
        if "runs" not in folder.relative_to(DATA).parts
        for line in folder.read_text(encoding="utf-8").splitlines()
    }


FOLDERS = [".", "faces", "faces/study", "faces/dictionary", "faces/examples", "figures"]
FOLDERS += ["results/paper", "weights"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_sums_of_each_folder_hold(folder):
    assert check_sums(DATA / folder) >= 1


def test_every_shipped_file_has_a_sum():
    files = [path for path in shipped() if path.name != SUMS]
    assert len(files) > 3000
    missing = sorted({*files} - summed() - {Path(name) for name in UNSUMMED})
    assert not missing, f"{missing[:5]} are in no {SUMS}"


def test_every_sum_is_that_of_a_shipped_file():
    assert not summed() - set(shipped())
    assert {str(path.parent) for path in shipped() if path.name == SUMS} == set(FOLDERS)


def test_every_shipped_file_has_a_licence():
    licences = rows()
    assert len(licences) >= 7
    for path, licence in licences.items():
        assert "CC0" in licence, path
        assert (DATA / path).exists(), path
    for file in shipped():
        if file.name in (SUMS, "README.md") or file.name.endswith(".LICENSE.md"):
            continue
        assert any(
            str(file) == path or (path.endswith("/") and str(file).startswith(path))
            for path in licences
        ), f"data/README.md has no row for {file}"
    for note in re.findall(r"\]\((.+?)\)", " ".join(licences.values())):
        assert "CC0" in (DATA / note).read_text(encoding="utf-8")
