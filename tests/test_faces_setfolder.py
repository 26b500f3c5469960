"""Folders of rendered sets: begun once, taken up again, summed, and read back bit for bit."""

import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.errors import InputError
from lib.faces.labels import PALETTE, PARTS
from lib.faces.setfolder import (
    SETTINGS,
    SUMS,
    check_sums,
    claim,
    finish,
    has_part,
    landmark_table,
    load_part,
    save_codes,
    save_image,
    save_labels,
    save_part,
    save_table,
)

# FIPS 180-4, the example of one block.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@dataclass(frozen=True)
class Settings:
    size: int = 8
    viewpoints: tuple = (0, 45)


@pytest.fixture
def folder(tmp_path):
    """A set begun with the default settings, with one file."""
    folder = tmp_path / "set"
    claim(folder, Settings())
    (folder / "a").mkdir()
    (folder / "a" / "abc.txt").write_bytes(b"abc")
    return folder


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# --- beginning and taking up


def test_a_new_folder_is_begun_and_taken_up_until_it_is_finished(tmp_path):
    folder = tmp_path / "deep" / "set"
    assert claim(folder, Settings()) is False
    note = (folder / SETTINGS).read_bytes()
    assert note == b'{\n "size": 8,\n "viewpoints": [\n  0,\n  45\n ]\n}\n'
    save_part(folder, "id001", points=np.arange(3))
    assert claim(folder, Settings()) is False and has_part(folder, "id001")
    finish(folder, [])
    assert claim(folder, Settings()) is True
    assert (folder / SETTINGS).read_bytes() == note


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    assert claim(tmp_path, Settings()) is False


def test_other_settings_are_refused_and_nothing_is_touched(folder):
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    with pytest.raises(InputError, match="other settings"):
        claim(folder, Settings(size=9))
    finish(folder, ["a/abc.txt"])
    with pytest.raises(InputError, match="other settings"):
        claim(folder, Settings(viewpoints=(45, 0)))
    assert all((folder / name).read_bytes() == data for name, data in before.items())


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        claim(tmp_path, Settings())
    assert names(tmp_path) == ["mine.txt"]


def test_parts_mark_what_is_done(folder):
    assert not has_part(folder, "id001")
    arrays = dict(points=np.random.default_rng(0).normal(size=(2, 3)), traits=np.array('{"a": 1}'))
    save_part(folder, "id001", **arrays)
    assert has_part(folder, "id001") and not has_part(folder, "id002")
    back = load_part(folder, "id001")
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype


def test_a_part_that_was_not_written_whole_does_not_count(folder, monkeypatch):
    def stop_halfway(handle, **arrays):
        handle.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", stop_halfway)
    with pytest.raises(KeyboardInterrupt):
        save_part(folder, "id001", points=np.arange(3))
    assert not has_part(folder, "id001") and names(folder) == ["a/abc.txt", SETTINGS]


# --- sums


def test_sums_are_those_of_the_standard_and_of_sha256sum(folder):
    save_part(folder, "id001", points=np.arange(3))
    (folder / "a" / ".abc.txt.1.partial").write_bytes(b"h")
    (folder / "unlisted.txt").write_text("not part of the set")
    finish(folder, ["a/abc.txt"])
    lines = (folder / SUMS).read_text().splitlines()
    assert lines[0] == f"{ABC}  a/abc.txt"
    assert [line.split("  ")[1] for line in lines] == ["a/abc.txt", SETTINGS]
    # What only an unfinished set needs is gone.
    assert names(folder) == [SUMS, "a/abc.txt", SETTINGS, "unlisted.txt"]
    assert check_sums(folder) == 2
    if shutil.which("sha256sum"):
        done = subprocess.run(["sha256sum", "-c", "--strict", SUMS], cwd=folder, check=False)
        assert done.returncode == 0


@pytest.mark.parametrize("change", [b"abd", b"abcd", b""])
def test_a_changed_file_is_named(folder, change):
    finish(folder, ["a/abc.txt"])
    (folder / "a" / "abc.txt").write_bytes(change)
    with pytest.raises(InputError, match=r"'a/abc\.txt' in .* was changed"):
        check_sums(folder)


def test_missing_files_and_sums_are_named(folder):
    with pytest.raises(InputError, match=f"has no {SUMS}"):
        check_sums(folder)
    finish(folder, ["a/abc.txt"])
    (folder / "a" / "abc.txt").unlink()
    with pytest.raises(InputError, match=r"'a/abc\.txt' is missing"):
        check_sums(folder)


# --- files


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_images_are_lossless_unless_a_quality_is_given(tmp_path, shape):
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    save_image(image, tmp_path / "a.webp")
    with Image.open(tmp_path / "a.webp") as picture:
        back = np.array(picture)
    # WebP has no grey: the three channels are the same.
    expected = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
    np.testing.assert_array_equal(back, expected)
    save_image(image, tmp_path / "b.webp", quality=20)
    with Image.open(tmp_path / "b.webp") as picture:
        assert (np.array(picture) != expected).any()
    assert (tmp_path / "b.webp").stat().st_size < (tmp_path / "a.webp").stat().st_size


def test_labels_are_their_numbers_in_the_colours_of_the_parts(tmp_path):
    labels = np.arange(len(PARTS), dtype=np.uint8).repeat(3).reshape(3, -1)
    save_labels(labels, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture), labels)
        np.testing.assert_array_equal(np.array(picture.convert("RGB")), PALETTE[labels])


def test_codes_keep_their_sixteen_bits(tmp_path):
    codes = np.array([[0, 1, 255], [256, 40_000, 65_535]])
    save_codes(codes, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.array(picture), codes)


def test_tables_end_their_lines_alike_everywhere(tmp_path):
    save_table(pd.DataFrame({"a": [1, 2], "b": ["x", "ä"]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == "a,b\n1,x\n2,ä\n".encode()


def test_landmarks_are_kept_to_a_tenth_of_a_pixel():
    points = np.array([[[1.24, 2.26, 1], [-3.0, 4.96, 0]], [[0, 0, 0], [10.55, 7.1, 1]]])
    table = landmark_table(["p.png", "q.png"], points)
    assert list(table) == ["path", "x0", "y0", "v0", "x1", "y1", "v1"]
    assert table.iloc[0].tolist() == ["p.png", "1.2", "2.3", 1, "-3.0", "5.0", 0]
    back = table[["x0", "y0", "x1", "y1"]].to_numpy(float).reshape(2, 2, 2)
    assert np.abs(back - points[..., :2]).max() <= 0.05 + 1e-9
    assert table[["v0", "v1"]].to_numpy().tolist() == [[1, 0], [0, 1]]
