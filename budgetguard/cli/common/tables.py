"""
Tables that fit: where there is no room, columns drop, bars become shorter, and no number is ever folded.

`Column.drop` says what goes first: the highest, and of equals the last. A column of 0 stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ...budgets.said.shown import on_lines
from ...money import Nano

BAR_CELLS = 40
_LEAST_BAR = 6
_LEAST_TEXT = 12
"""Texts are folded down to this before a column drops."""
_GAP = 3
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers are set to the right, and never folded."""

    title: str
    number: bool = False
    drop: int = 0
    """The higher, the sooner it goes where there is no room; 0: never."""


@dataclass(frozen=True, slots=True)
class BarCell:
    """A cell that is a bar, as long as there is room for."""

    part: Nano
    whole: Nano
    style: str = ""
    track: str = ""
    """What the rest of it is filled with."""

    def text(self, cells: int) -> Text:
        """The bar, so many cells long where it is full."""
        drawn = bar(self.part, self.whole, cells=cells)
        return Text(drawn.ljust(cells, self.track) if self.track else drawn, style=self.style)


Cell: TypeAlias = str | Text | BarCell


class Fitted:
    """Rows under a head, in the columns that there is room for."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], title: str | None) -> None:
        self._columns = columns
        self._rows = [[Text(on_lines(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
        self._title = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        places = self._places(options.max_width)
        bars = self._bar_cells(places, options.max_width)
        made = Table(box=SIMPLE_HEAD, title=self._title, title_justify="left", pad_edge=False)
        for place in places:
            column = self._columns[place]
            made.add_column(
                column.title,
                justify="right" if column.number else "left",
                overflow="fold",
                no_wrap=column.number or self._is_bar(place),
            )
        for row in self._rows:
            cells = [row[place] for place in places]
            made.add_row(*[cell.text(bars) if isinstance(cell, BarCell) else cell for cell in cells])
        yield made

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_LEAST_TEXT, options.max_width)

    def _places(self, width: int) -> list[int]:
        """The columns that are shown, by their places."""
        left = list(range(len(self._columns)))
        while self._least(left) > width:
            droppable = [place for place in left if self._columns[place].drop]
            if not droppable:
                break
            left.remove(max(droppable, key=lambda place: (self._columns[place].drop, place)))
        return left

    def _least(self, places: Sequence[int]) -> int:
        return sum(self._narrowest(place) + _GAP for place in places)

    def _narrowest(self, place: int) -> int:
        """The fewest cells in which a column can be read."""
        if self._is_bar(place):
            return _LEAST_BAR
        wide = self._widest(place)
        return wide if self._columns[place].number else min(wide, _LEAST_TEXT)

    def _widest(self, place: int) -> int:
        cells = [row[place] for row in self._rows]
        lines = [line for cell in cells if isinstance(cell, Text) for line in cell.plain.splitlines()]
        return max([cell_len(self._columns[place].title), *map(cell_len, lines)])

    def _bar_cells(self, places: Sequence[int], width: int) -> int:
        """How long bars are: what the other columns leave."""
        bars = [place for place in places if self._is_bar(place)]
        if not bars:
            return 0
        others = sum(self._widest(place) + _GAP for place in places if place not in bars)
        return max(_LEAST_BAR, min(BAR_CELLS, (width - others) // len(bars) - _GAP))

    def _is_bar(self, place: int) -> bool:
        return any(isinstance(row[place], BarCell) for row in self._rows)


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, title: str | None = None) -> Fitted:
    """Rows under a head."""
    return Fitted(columns, rows, title)


def bar(part: Nano, whole: Nano, *, cells: int = BAR_CELLS) -> str:
    """A bar of up to `cells` characters, to an eighth of one."""
    eighths = 0 if whole <= 0 else min(part, whole) * cells * 8 // whole
    if part > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")
