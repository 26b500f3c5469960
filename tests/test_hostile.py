"""What others hand in: damaged on the way or made to do harm. It is read, or refused in a sentence;
nothing of it runs, nothing outside its folder is touched, and the memory stays where it was.

`make test` tries about 20 files of each kind, ``make test-nightly`` hundreds
(``FACE_DECISIONS_FUZZ`` says how many).
"""

import collections
import os

import pytest
from hostile import KINDS, cells, edits, little_memory, spoil, spoil_table, watched
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lib.errors import InputError

CASES = int(os.environ.get("FACE_DECISIONS_FUZZ", "16"))
#: In `make test` the same files every time; at night others every night.
NIGHTLY = "FACE_DECISIONS_FUZZ" in os.environ
said = collections.Counter()


def attempt(kind, path) -> bool:
    """Read a file; whether it was taken. What is refused is refused in printable words."""
    said["tried"] += 1
    try:
        kind.read(path)
    except InputError as refused:
        sentence = str(refused)
        assert sentence and sentence.rstrip().endswith((".", ":", "]", "?")), sentence
        assert len(sentence) < 20_000
        sentence.encode()  # a terminal can print it
        assert not set(sentence) & {*map(chr, range(9)), *"\n\r\x1b\x7f\u202e"}
        said["refused"] += 1
        return False
    return True


@pytest.mark.parametrize("name", KINDS)
def test_a_spoilt_file_is_read_or_refused_in_a_sentence(name, tmp_path):
    kind = KINDS[name]
    folder = tmp_path / "given"
    folder.mkdir()
    path = folder / kind.name
    kind.write(path)
    good = path.read_bytes()
    kind.read(path)  # a good one is taken; and what reading imports is imported now
    path.write_bytes(good)
    for bad in (b"", b"\x00" * 100, good[: len(good) // 2], os.urandom(50)):
        path.write_bytes(bad)
        attempt(kind, path)
    others = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p != path}

    # pairs of what spoils and how, which are shorter to print than what comes of them
    changes = st.tuples(st.just(spoil), edits)
    if kind.table:
        changes = st.one_of(st.tuples(st.just(spoil_table), cells), changes)

    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=not NIGHTLY,
        database=None,
        suppress_health_check=list(HealthCheck),
        # a smaller case of the same kind is not worth the time it takes to find one
        phases=[Phase.generate],
        print_blob=True,
    )
    @given(changes)
    def read(change):
        path.write_bytes(kind.finish(change[0](good, change[1])))
        with watched(folder):
            attempt(kind, path)

    with little_memory():
        read()
    assert others == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p != path}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given"]
