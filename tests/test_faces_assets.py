"""The shipped head: complete, symmetric, and refused when damaged."""

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces.assets import DEFAULT_PATH, Mask, load_assets, read_assets


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="bake_faces"):
        read_assets(tmp_path / "none.npz")


def test_cut_file_is_refused(tmp_path):
    cut = tmp_path / "cut.npz"
    cut.write_bytes(DEFAULT_PATH.read_bytes()[:200_000])
    with pytest.raises(InputError, match="damaged"):
        read_assets(cut)


def test_flipped_byte_is_refused(tmp_path):
    data = bytearray(DEFAULT_PATH.read_bytes())
    data[len(data) // 2] ^= 0xFF
    broken = tmp_path / "broken.npz"
    broken.write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged"):
        read_assets(broken)


def test_file_of_another_make_is_refused(tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, points=np.zeros((3, 3)))
    with pytest.raises(InputError, match="lack"):
        read_assets(other)


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    with np.load(DEFAULT_PATH, allow_pickle=False) as stored:
        arrays = dict(stored)
    arrays["target_starts"] = arrays["target_starts"][:-1]
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, **arrays)
    with pytest.raises(InputError, match="fit together"):
        read_assets(wrong)


def test_file_is_small_and_holds_no_pickle():
    assert DEFAULT_PATH.stat().st_size < 2.5e6
    with np.load(DEFAULT_PATH, allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)


def test_targets_of_every_region_are_there():
    names = list(load_assets().targets)
    for start, least in {
        "unit/": 52, "macro/": 50, "nose/": 40, "eyes/": 50, "mouth/": 40, "expression/": 30,
    }.items():  # fmt: skip
        assert sum(n.startswith(start) for n in names) >= least


def test_left_and_right_targets_mirror_each_other():
    assets = load_assets()
    left, right = (assets.targets[f"eyes/{s}-eye-scale-incr"] for s in "lr")
    # The mirror image of a moving vertex on the left is a vertex on the right that moves alike.
    here = assets.points[left[0]] * [-1, 1, 1]
    there = assets.points[right[0]]
    distance = np.linalg.norm(here[:, None] - there[None], axis=2)
    twin = distance.argmin(1)
    matched = distance.min(1) < 1e-3
    assert matched.mean() > 0.9
    moved = left[1][matched] * [-1, 1, 1]
    assert np.abs(moved - right[1][twin[matched]]).max() < 0.002


def test_mask_lookup_is_bilinear():
    values = np.array([[0.0, 1.0, 0.0], [2.0, 3.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    mask = Mask(values, top=1, left=2, size=8)
    # Pixel (row 1.5, column 2.25) of the crop's own grid lies between four values.
    uv = np.array([[(2 + 0.25 + 0.5) / 8, 1 - (1 + 0.5 + 0.5) / 8]])
    assert mask.sample(uv)[0] == pytest.approx(0.5 * (0.25 * 1) + 0.5 * (0.75 * 2 + 0.25 * 3))
    assert mask.sample(np.array([[0.9, 0.9]]))[0] == 0
