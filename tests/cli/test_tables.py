"""Tables fit: columns drop where there is no room, bars become shorter, and a number is never folded."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from budgetguard.cli.common.tables import BarCell, Column, table

COLUMNS = [
    Column("user"),
    Column("", drop=1),
    Column("cost", number=True),
    Column("calls", number=True, drop=2),
    Column("tokens", number=True, drop=3),
]
ROWS = [
    ["a-name-that-is-rather-long@example.com", BarCell(9, 10), "$1,234,567.89", "1,204", "123,456,789"],
    ["bob", BarCell(1, 10), "$0.25", "3", "512"],
]


def drawn(width: int) -> list[str]:
    """The table's lines in a terminal of this width."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(table(COLUMNS, ROWS))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_a_line_is_never_longer_than_the_terminal_and_numbers_stay_whole(width):
    """A folded amount is read as another one."""
    lines = drawn(width)

    assert max(map(len, lines)) <= width
    assert "$1,234,567.89" in "\n".join(lines)


def test_columns_drop_in_the_order_that_was_said():
    """What is said first to matter less goes first."""
    assert [title in drawn(100)[1] for title in ("cost", "calls", "tokens")] == [True, True, True]
    assert [title in drawn(48)[1] for title in ("cost", "calls", "tokens")] == [True, True, False]
    assert [title in drawn(36)[1] for title in ("cost", "calls", "tokens")] == [True, False, False]


def test_bars_take_what_is_left():
    """A bar says the same in fewer cells."""
    lengths = [max(line.count("█") for line in drawn(width)) for width in (48, 100, 200)]

    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] == 36
