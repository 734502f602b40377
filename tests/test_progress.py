"""How far a build is, and what is left of all of it."""

import json

import pytest

from cgraph import progress
from cgraph.progress import Progress, ProgressWriter

STAGES = ("read", "learn", "write")


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    return clock


def writer(tmp_path, expected):
    told = []
    made = ProgressWriter(tmp_path / "progress.json", STAGES, told.append)
    made.expect(expected)
    return made, told


def test_at_first_what_is_expected_is_left(clock, tmp_path):
    made, told = writer(tmp_path, {"read": 40, "learn": 100, "write": 10})
    made.start("read", total=4, done=0)
    assert told[-1].build_seconds_left == 150
    assert told[-1].seconds_left is None
    assert Progress(**json.loads((tmp_path / "progress.json").read_text())) == told[-1]
    assert str(told[-1]) == "[1/3] read: 0 of 4 parts, 2 min 30 s left in all"


def test_a_machine_that_is_slower_shows_in_all_that_follows(clock, tmp_path):
    made, told = writer(tmp_path, {"read": 40, "learn": 100, "write": 10})
    made.start("read", total=4, done=0)
    for _ in range(4):
        clock.now += 30  # three times as long
        made.advance()
    by_the_last_part = told[-1].build_seconds_left
    made.start("learn", total=10, done=0)
    assert told[-1].build_seconds_left == by_the_last_part, "no jump between stages"
    pace = (120 + 10) / (40 + 10)
    assert told[-1].build_seconds_left == pytest.approx(pace * 110, abs=0.1)
    assert told[-1].build_seconds == 120


def test_the_pace_of_the_parts_counts_more_with_every_part(clock, tmp_path):
    made, told = writer(tmp_path, {"learn": 100})
    made.start("learn", total=10, done=0)
    off = []
    for _ in range(9):
        clock.now += 5  # in truth 50 s
        made.advance()
        off.append(abs(told[-1].build_seconds_left - (50 - 5 * told[-1].done)))
    assert off == sorted(off, reverse=True)
    assert off[-1] < 1.5


def test_parts_of_an_earlier_run_do_not_count_as_quick(clock, tmp_path):
    made, told = writer(tmp_path, {"read": 100, "learn": 100})
    made.start("read", total=10, done=8)
    assert told[-1].build_seconds_left == 120
    for _ in range(2):
        clock.now += 10
        made.advance()
    made.start("learn", total=1, done=0)
    assert told[-1].build_seconds_left == 100  # the two parts took what was expected


def test_nothing_expected_means_nothing_promised(clock, tmp_path):
    made, told = writer(tmp_path, {})
    made.start("read", total=2, done=0)
    clock.now += 4
    made.advance()
    assert told[-1].build_seconds_left is None
    assert str(told[-1]) == "[1/3] read: 1 of 2 parts, 4 s left"
