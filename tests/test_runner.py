"""The status line of a running notebook: where it is, and how long it will take."""

import fcntl
import json
import subprocess
import sys
import time

import pytest

from lib import meter, runner
from lib.meter import Meter
from lib.progress import VARIABLE, track
from lib.runner import Display, _clock


def test_times_read_as_clocks():
    assert [_clock(s) for s in (0, 59.6, 61, 3600, 7325)] == [
        *("0:00", "1:00", "1:01"),
        *("1:00:00", "2:02:05"),
    ]


def test_the_estimate_adds_what_is_left_of_the_loop_and_the_later_cells(tmp_path):
    state = tmp_path / "state.json"
    display = Display("03_relevance", state, [10.0, 100.0, 30.0], Meter(tmp_path / "cost"))
    assert display.line() == "03_relevance: starting | 0:00"
    display.start_cell(0, 3)
    display.start_cell(1, 3)
    assert "cell 2 of 3" in display.line()
    assert "about 2:10 left" in display.line(), "100 s of this cell and 30 s of the next"
    # 25 of 100 done in 10 s: 30 s to go, and 30 s of the last cell
    loop = {"label": "maps", "done": 25, "total": 100, "start": time.time() - 10}
    state.write_text(json.dumps(loop))
    line = display.line()
    assert "maps 25/100" in line
    assert "about 1:00 left" in line


def test_a_new_cell_forgets_the_loop_of_the_last(tmp_path):
    state = tmp_path / "state.json"
    display = Display("03_relevance", state, [], Meter(tmp_path / "cost"))
    display.start_cell(0, 2)
    state.write_text(json.dumps({"label": "maps", "done": 1, "total": 2, "start": time.time()}))
    display.start_cell(1, 2)
    assert "maps" not in display.line()


def test_a_loop_reports_to_the_runner_and_yields_every_item(tmp_path, monkeypatch):
    state = tmp_path / "state.json"
    monkeypatch.setenv(VARIABLE, str(state))
    seen = []
    for item in track(iter(range(5)), "faces", total=5):
        if not seen:
            assert json.loads(state.read_text())["done"] == 0
        seen.append(item)
    assert seen == list(range(5))
    after = json.loads(state.read_text())
    assert (after["label"], after["done"], after["total"]) == ("faces", 5, 5)


def test_a_bar_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing" / "state.json"))
    assert list(track([1, 2], "faces")) == [1, 2]


def test_a_chapter_whose_command_was_killed_does_not_serve_the_next_command(
    tmp_path, monkeypatch, capsys
):
    lock = tmp_path / "report.lock"
    mine = f"{lock}:111"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for written, alive in [("", True), ("111", True), ("222", False)]:
            file.seek(0)
            file.truncate()
            file.write(written)
            file.flush()
            assert runner._is_alive(mine) is alive
        # it does not even begin
        monkeypatch.setenv(runner.LOCK, mine)
        assert runner.main(["01_faces", "--parameters", "{run: orphan}"]) == 1
        assert "the command that asked for it has ended" in capsys.readouterr().out
        assert not runner.store.run_folder("orphan").exists()
    assert not runner._is_alive(mine), "nobody holds it"
    assert runner._is_alive(f"{tmp_path / 'none'}:111"), "it cannot be asked"


@pytest.mark.parametrize("spoilt", ["", "{", '{"seconds": "x"}', '{"seconds": null}', "[1]"])
def test_what_a_chapter_costs_is_counted_over_its_sittings(tmp_path, monkeypatch, spoilt):
    monkeypatch.setattr(meter, "INTERVAL", 0.0)
    path = tmp_path / "cost.json"
    if spoilt:
        path.write_text(spoilt)
    work = "x = bytearray(64 << 20)\nprint(flush=True)\nwhile True: pass"
    costs = []
    for _ in range(2):
        sitting = Meter(path)
        child = subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE)
        try:
            child.stdout.readline()
            time.sleep(0.6)
            sitting.look()
        finally:
            child.kill()
            child.wait()
        sitting.look()
        costs.append(sitting.cost())
    first, both = costs
    assert (first["sittings"], both["sittings"]) == (1, 2)
    assert first["memory"] > 64 << 20 and both["memory"] >= first["memory"]
    assert first["seconds"] >= 0.6 and both["seconds"] >= first["seconds"] + 0.6
    assert first["processor"] > 0.05, "of a process that has ended since"
    assert both["processor"] >= first["processor"] + 0.05
