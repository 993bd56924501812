"""How results look: tables and bars for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..budgets.said.shown import on_lines
from ..ledger import Millis, Unit, show_amount
from ..money import DOLLAR, Nano, format_nano

BAR_CELLS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers are set to the right."""

    title: str
    number: bool = False


class Terminal(Console):
    """A console that texts cannot command: names and notes are anybody's, and may hold what a terminal obeys."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does it."""
        super().print(*(on_lines(each) if isinstance(each, str) else each for each in objects), **options)


def console(*, stderr: bool = False) -> Console:
    """The terminal: plain text, without colours and boxes cut to a width, where it is none; no letter is too much."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    made = Terminal(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made = Terminal(stderr=stderr, highlight=False, emoji=False, markup=False, width=160)
    return made


def table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], *, title: str | None = None) -> Table:
    """Rows under a head."""
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column.title, justify="right" if column.number else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(on_lines(cell)) for cell in row))
    return made


def bar(part: Nano, whole: Nano, *, cells: int = BAR_CELLS) -> str:
    """A bar of up to `cells` characters, to an eighth of one."""
    eighths = 0 if whole <= 0 else min(part, whole) * cells * 8 // whole
    if part > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def print_json(value: Any) -> None:
    """JSON on stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # it takes ASCII only, as that of a pipe on Windows may
        text = json.dumps(value, indent=2)
    print(text)


def dollars(amount: Nano | None) -> float | None:
    """An amount for JSON: dollars, to the nano-dollar."""
    return None if amount is None else amount / DOLLAR


def money(amount: Nano | None) -> str:
    """An amount for people; "-" where there is none."""
    return "-" if amount is None else format_nano(amount)


def figure(amount: int | None, unit: Unit) -> float | None:
    """An amount for JSON in its unit: dollars, or a whole number."""
    return dollars(amount) if unit == "dollars" else amount


def shown(amount: int | None, unit: Unit) -> str:
    """An amount for people, with its unit; "-" where there is none."""
    return "-" if amount is None else show_amount(amount, unit)


def moment(at_ms: Millis | None) -> str:
    """A time for people, in UTC."""
    return "-" if at_ms is None else f"{when(at_ms):%Y-%m-%d %H:%M} UTC"


def iso(at_ms: Millis | None) -> str | None:
    """A time for JSON."""
    return None if at_ms is None else when(at_ms).isoformat()


def when(at_ms: Millis) -> datetime:
    """A moment in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
