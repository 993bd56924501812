"""
Tables that fit: where there is no room, columns drop, bars become shorter, texts fold, and no number is ever folded.

`Column.drop` says what goes first: the highest, and of equals the last. A column of 0 stays. Lines are put together
here, as ten thousand users are to be shown at once: rich takes half a millisecond for a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from ...budgets.said.shown import on_lines
from ...money import Nano

BAR_CELLS = 40
_LEAST_BAR = 6
_LEAST_TEXT = 12
"""Texts are folded down to this before a column drops."""
_GAP = "  "
_EIGHTHS = " ▏▎▍▌▋▊▉"
_HELD = "▒"


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
    held: Nano = 0
    """What is set aside beside the part, in a lighter colour."""

    def text(self, cells: int) -> Text:
        """The bar, so many cells long where it is full."""
        drawn = bar(self.part, self.whole, cells=cells)
        if self.held > 0:
            behind = len(bar(self.part + self.held, self.whole, cells=cells)) - len(drawn)
            drawn += _HELD * (behind or (1 if len(drawn) < cells else 0))
        return Text(drawn.ljust(cells, self.track) if self.track else drawn, style=self.style)


Cell: TypeAlias = str | Text | BarCell
"""A `Text` has one style, that of all of it."""


class Fitted:
    """Rows under a head, in the columns that there is room for."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], title: str | None) -> None:
        self._columns = columns
        self._rows = [[on_lines(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        self._title = title
        self._bars = {place for row in self._rows for place, cell in enumerate(row) if isinstance(cell, BarCell)}
        self._widest = [self._wide(place) for place in range(len(columns))]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        places = self._places(options.max_width)
        widths = self._widths(places, options.max_width)
        yield Segment(f"{on_lines(self._title)}\n" if self._title else "\n")
        heads = [self._columns[place].title for place in places]
        yield from self._line(places, widths, heads, console, style="bold")
        rule = sum(widths) + len(_GAP) * (len(widths) - 1)
        yield Segment(f" {('-' if options.ascii_only else '─') * rule}\n")
        for row in self._rows:
            yield from self._line(places, widths, [row[place] for place in places], console)
        yield Segment("\n")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_LEAST_TEXT, options.max_width)

    def _line(
        self, places: Sequence[int], widths: Sequence[int], cells: Sequence[Cell], console: Console, style: str = ""
    ) -> Iterator[Segment]:
        """One row, which is as many lines as its longest text has."""
        texts, styles = [], []
        for cell, width in zip(cells, widths, strict=True):
            drawn = cell.text(width) if isinstance(cell, BarCell) else cell
            texts.append(_folded(drawn.plain if isinstance(drawn, Text) else drawn, width))
            styles.append(style if isinstance(drawn, str) else drawn.style)
        for line in range(max([len(each) for each in texts], default=0)):
            pieces = list[tuple[str, str | Style]]()
            before = " "
            for place, width, text, look in zip(places, widths, texts, styles, strict=True):
                shown = text[line] if line < len(text) else ""
                space = " " * (width - _cells(shown))
                if self._columns[place].number:
                    pieces += [(before + space, ""), (shown, look)]
                    before = _GAP
                else:
                    pieces += [(before, ""), (shown, look)]
                    before = space + _GAP
            yield from _joined(pieces, console)

    def _places(self, width: int) -> list[int]:
        """The columns that are shown, by their places."""
        left = list(range(len(self._columns)))
        while sum(self._narrowest(place) + len(_GAP) for place in left) > width:
            droppable = [place for place in left if self._columns[place].drop]
            if not droppable:
                break
            left.remove(max(droppable, key=lambda place: (self._columns[place].drop, place)))
        return left

    def _narrowest(self, place: int) -> int:
        """The fewest cells in which a column can be read."""
        if place in self._bars:
            return _LEAST_BAR
        wide = self._widest[place]
        return wide if self._columns[place].number else min(wide, _LEAST_TEXT)

    def _wide(self, place: int) -> int:
        cells = [row[place] for row in self._rows]
        texts = {each.plain if isinstance(each, Text) else each for each in cells if not isinstance(each, BarCell)}
        lines = [line for text in texts for line in (text.splitlines() if "\n" in text else (text,))]
        head = _cells(self._columns[place].title)
        return max([min(head, _LEAST_TEXT) if self._columns[place].number else head, *map(_cells, lines)])

    def _widths(self, places: Sequence[int], width: int) -> list[int]:
        """How wide each column is: bars take what the others leave; where nothing is left, the widest texts fold."""
        room = width - 1 - len(_GAP) * (len(places) - 1)
        bars = [place for place in places if place in self._bars]
        found = {place: _LEAST_BAR if place in self._bars else self._widest[place] for place in places}
        texts = [place for place in places if place not in self._bars and not self._columns[place].number]
        left = room - sum([wide for place, wide in found.items() if place not in texts])
        widest = _longest([found[place] for place in texts], left)
        for place in texts:
            found[place] = min(found[place], widest)
        for place in bars:
            found[place] += max(0, min(BAR_CELLS - _LEAST_BAR, (room - sum(found.values())) // len(bars)))
        return list(found.values())


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


def _cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def _longest(widths: Sequence[int], room: int) -> int:
    """How wide the widest texts may be for all to have room: at least one cell."""
    widest = max(widths, default=1)
    while widest > 1 and sum([min(width, widest) for width in widths]) > room:
        widest -= 1
    return widest


def _joined(pieces: Sequence[tuple[str, str | Style]], console: Console) -> Iterator[Segment]:
    """A line of them; those without a style are one."""
    plain = ""
    for text, look in pieces:
        if look and text:
            yield Segment(plain)
            yield Segment(text, console.get_style(look))
            plain = ""
        else:
            plain += text
    yield Segment(f"{plain.rstrip()}\n")


def _folded(text: str, width: int) -> list[str]:
    """A text on lines of at most so many cells, between words where that is possible."""
    if _cells(text) <= width and "\n" not in text:
        return [text]
    found = list[str]()
    for line in text.splitlines():
        found.append("")
        for word in line.split(" "):
            joined = f"{found[-1]} {word}" if found[-1] else word
            if _cells(joined) <= width:
                found[-1] = joined
                continue
            pieces = chop_cells(word, width) or [""]
            found[-1:] = [*([found[-1]] if found[-1] else []), *pieces]
    return found
