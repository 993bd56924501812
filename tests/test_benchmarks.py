"""The benchmarks print all of their rows, and say at the end how many missed their floor."""

from __future__ import annotations

import sys

import pytest

from benchmarks.__main__ import commands, run
from benchmarks.calls import Row
from benchmarks.floors import Floors


def test_a_row_that_misses_is_marked_and_the_next_ones_are_still_there() -> None:
    """The number of them is the exit status."""
    floors = Floors()
    marks = [floors.bound(2.5, floor) for floor in ("<= 2.0", "<= 2.5", ">= 3", ">= 1", "")]

    assert [bool(mark) for mark in marks] == [True, False, True, False, False]
    with pytest.raises(SystemExit) as ended:
        floors.leave()
    assert ended.value.code == 2
    Floors().leave()


@pytest.mark.parametrize(
    ("floor", "text", "guarded_us", "kept"),
    [
        ({"most_percent": 5}, "+5 %", 210, True),
        ({"most_percent": 5}, "+5 %", 211, False),
        ({"most_us": 40}, "+40 us", 240, True),
        ({"most_us": 40}, "+40 us", 241, False),
        ({}, "", 900, True),
    ],
)
def test_a_floor_is_kept_as_it_is_printed(floor: dict[str, float], text: str, guarded_us: float, kept: bool) -> None:
    """In parts of the bare call, or in microseconds."""
    row = Row("a call", 200, guarded_us, **floor)
    assert (row.floor, row.kept) == (text, kept)


def test_one_benchmark_that_misses_or_breaks_does_not_stop_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    """Their numbers add up."""
    ends = ["print('first'); raise SystemExit(2)", "raise RuntimeError('broken')", "print('last')"]

    assert run([[sys.executable, "-c", end] for end in ends]) == 3
    assert "first" in (out := capfd.readouterr().out)
    assert "last" in out


def test_every_benchmark_is_run() -> None:
    """Also quickly, where it can be."""
    names = [command[2].removeprefix("benchmarks.") for command in commands(quick=True)[:7]]

    assert names == ["imports", "calls", "redis", "postgres", "leases", "hosted", "gateway"]
    assert sum("--quick" in command for command in commands(quick=True)) == 5
