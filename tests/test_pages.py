"""Which folder a finished page of a run may take the place of."""

import pytest

from lib import store
from lib.pages import may_replace


def test_a_page_takes_the_place_of_a_page_of_nothing_and_of_what_a_fault_has_left(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    own = tmp_path / "data" / "runs" / "r" / "pages" / "relevance"
    for folder in (tmp_path / "page", own):
        assert may_replace(folder, "data.js")
        (folder / "maps" / "m0").mkdir(parents=True)
        assert may_replace(folder, "data.js"), "a deleted page leaves its folders"
        (folder / "maps" / "m0" / "f0.webp").write_bytes(b"")
    assert may_replace(own, "data.js"), "the run's own, without its mark"
    assert not may_replace(tmp_path / "page", "data.js"), "whose it is nobody knows"
    (tmp_path / "page" / "data.js").write_text("")
    assert may_replace(tmp_path / "page", "data.js")


@pytest.mark.parametrize("place", ["data/runs/r/relevance", "data/pages/x", "pages/x"])
def test_what_only_looks_like_a_run_is_left_alone(tmp_path, monkeypatch, place):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "letter.txt").write_text("keep me")
    assert not may_replace(tmp_path / place, "data.js")
    (tmp_path / "file").write_text("a page is a folder")
    assert not may_replace(tmp_path / "file", "data.js")
