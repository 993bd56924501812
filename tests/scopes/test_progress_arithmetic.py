"""The figures of a loop: rates, ends and reaches, and the words for them; with a clock that stands still."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from budgetguard.scopes.progress.faces.lines import LinesFace
from budgetguard.scopes.progress.faces.terminal import TwoLines
from budgetguard.scopes.progress.pace import WINDOW_S, LoopPace, LoopSums, LoopView
from budgetguard.scopes.progress.said import duration, fitting, line_of, money_said

CENT = 10_000_000


class Seconds:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_s_figures_follow_from_what_it_did():
    """Twenty rows in ten seconds at a cent each: everything else is division."""
    clock = Seconds()
    pace = LoopPace("classify", clock)
    clock.now += 10
    view = pace.view(LoopSums(done=20, total=100, spent=20 * CENT, left=50 * CENT))

    assert (view.rows_per_s, view.spent_per_s, view.per_row) == (2.0, 2.0 * CENT, CENT)
    assert (view.ends_in_s, view.part, view.reaches) == (40.0, 0.2, 70)
    assert view.falls_short
    assert line_of(view) == (
        "classify: 20 of 100 rows (20 %), $0.20 spent, $0.50 left, budget reaches row 70 of 100, "
        "$0.01 a row, 2.0 rows/s, $1.20/min, 0:40 to go"
    )


def test_a_slow_beginning_is_forgotten():
    """The first row may have taken minutes to set up: what comes after it says when the end is."""
    clock = Seconds()
    pace = LoopPace("", clock)
    clock.now += 600
    pace.view(LoopSums(done=1, total=1000))
    for second in range(1, 121):
        clock.now += 1
        view = pace.view(LoopSums(done=1 + second, total=1000))

    assert view.rows_per_s == pytest.approx(1.0)
    assert view.ends_in_s == pytest.approx(879)
    assert WINDOW_S < 120


@pytest.mark.parametrize(
    ("sums", "reaches", "short"),
    [
        (LoopSums(0, 10, 0, 100), None, False),
        (LoopSums(5, 10, 0, 100), None, False),
        (LoopSums(5, 10, 50, None), None, False),
        (LoopSums(5, 10, 50, 100), 15, False),
        (LoopSums(5, None, 50, 100), 15, False),
        (LoopSums(5, 10, 50, 49), 9, True),
        (LoopSums(5, 10, 50, -3), 5, True),
        (LoopSums(3, 10, 10, 6), 4, True),
    ],
)
def test_the_row_that_the_budget_reaches(sums, reaches, short):
    """It is never said too high, nor where nobody can know it."""
    view = LoopView("", sums)

    assert (view.reaches, view.falls_short) == (reaches, short)


def test_nothing_is_made_up_before_the_first_row():
    """No rate, no end, no division by nothing."""
    clock = Seconds()
    pace = LoopPace("", clock)
    for _ in range(3):
        assert line_of(pace.view(LoopSums(total=3))) == "0 of 3 rows (0 %), $0.00 spent"
        clock.now += 5
    assert line_of(pace.view(LoopSums())) == "0 rows, $0.00 spent"
    assert line_of(pace.view(LoopSums(total=0), "done")) == "0 of 0 rows, $0.00 spent, in 0:15: done"


def test_a_line_stays_one_whatever_its_loop_is_called():
    """A description may come from data, and a log is read line by line."""
    view = LoopPace("two\nlines\x1b[2J", Seconds()).view(LoopSums(total=3))

    assert line_of(view) == "two\\nlines\\x1b[2J: 0 of 3 rows (0 %), $0.00 spent"


def test_time_between_two_runs_does_not_count():
    """A loop that stopped for its budget may go on a day later."""
    clock = Seconds()
    pace = LoopPace("", clock)
    clock.now += 86_400
    pace.again(LoopSums(done=50, total=100))
    clock.now += 10
    view = pace.view(LoopSums(done=60, total=100))

    assert (view.rows_per_s, view.elapsed_s) == (1.0, 10.0)


@pytest.mark.parametrize(("seconds", "said"), [(0, "0:00"), (7.9, "0:07"), (283, "4:43"), (3723, "1:02:03")])
def test_how_long_it_takes_reads_as_a_clock(seconds, said):
    """Who waits does not count seconds."""
    assert duration(seconds) == said


def test_what_has_no_room_is_left_out_whole():
    """Half of a sum would be another sum."""
    view = LoopView("", LoopSums(20, 100, 20 * CENT, 50 * CENT), 10.0, 2.0, 2.0 * CENT)
    for width in range(8, 120):
        text = fitting(money_said(view), width)
        assert len(text) <= width
        assert set(text.split(", ")) - {""} <= {part for each in money_said(view) for part in each.split(", ")}


@pytest.mark.parametrize("width", [20, 40, 60, 100])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_loop_is_two_lines_on_a_terminal_of_any_width(width, encoding):
    """A third would be left behind at every turn."""
    view = LoopView("classify \x1b[31mthem", LoopSums(20, 1000, 20 * CENT, 50 * CENT), 10.0, 2.0, 2.0 * CENT)
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=written, width=width, force_terminal=False, markup=False, highlight=False).print(TwoLines(view))
    written.seek(0)
    lines = written.read().splitlines()

    assert len(lines) == 2
    assert max(map(len, lines)) < width
    assert "\x1b" not in "".join(lines)
    if width >= 60:
        assert "20 of 1,000 rows" in lines[0]
        assert lines[1].startswith("  $0.20 spent, $0.50 left, budget reaches row 70 of 1,000")


def test_lines_are_few():
    """A log of a CI run of an hour is read by somebody."""
    clock, written = Seconds(), io.StringIO()
    face = LinesFace(written, 30.0, clock)
    view = LoopView("", LoopSums(0, 36_000))
    for tick in range(36_000):
        clock.now += 0.1
        face.draw(replace(view, sums=LoopSums(tick, 36_000)))
    face.end(replace(view, sums=LoopSums(36_000, 36_000), ended="done"))
    lines = written.getvalue().splitlines()

    assert 120 <= len(lines) <= 131
    assert lines[-1].endswith("done")


def test_a_loop_without_end_is_a_line_now_and_then():
    """Where nobody knows how many rows there are, time alone says when."""
    clock, written = Seconds(), io.StringIO()
    face = LinesFace(written, 10.0, clock)
    for tick in range(600):
        clock.now += 0.1
        face.draw(LoopView("", LoopSums(tick)))

    assert 5 <= len(written.getvalue().splitlines()) <= 6
