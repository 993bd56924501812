"""How results look: text for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any

from rich.console import Console

from ...budgets.said.shown import on_lines
from ...budgets.steering.moments import moment_text
from ...ledger import Millis, Unit
from ...money import Nano
from ...reports.amounts import readable
from ...reports.written import in_dollars, safe


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


def print_json(value: Any) -> None:
    """JSON on stdout; amounts in it are whole numbers: nano-dollars, or of the unit beside them."""
    print(_in_letters(json.dumps(value, indent=2, ensure_ascii=False), value, indent=2))


def print_json_line(value: Any) -> None:
    """One line of JSON on stdout, at once, for whoever reads them as they come."""
    print(_in_letters(json.dumps(value, ensure_ascii=False), value, indent=None), flush=True)


def print_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """CSV on stdout; see `reports.written` for how amounts and times are written there."""
    text = csv_text(header, rows)
    print_plain(on_lines(text) if sys.stdout.isatty() else text)  # names are anybody's, and a terminal obeys some


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same as a text: no cell of it is a formula, whatever somebody is called."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([safe(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue()


def print_plain(text: str) -> None:
    """A text on stdout as it is, for programs; no letter is too much."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(text)


def money(amount: Nano | None) -> str:
    """An amount for people: cents, and more digits below a dollar; "-" where there is none."""
    return "-" if amount is None else readable(amount)


def in_csv(amount: int | None, unit: Unit = "dollars") -> str:
    """An amount for a spreadsheet: dollars with all of their digits, or a whole number; "" where there is none."""
    if amount is None:
        return ""
    return in_dollars(amount) if unit == "dollars" else str(amount)


def moment(at_ms: Millis | None) -> str:
    """A time for people, in UTC."""
    return "-" if at_ms is None else moment_text(at_ms)


def iso(at_ms: Millis | None) -> str | None:
    """A time for JSON."""
    return None if at_ms is None else when(at_ms).isoformat()


def when(at_ms: Millis) -> datetime:
    """A moment in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _in_letters(text: str, value: Any, *, indent: int | None) -> str:
    """The text, in ASCII if the stream takes no more, as that of a pipe on Windows may."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
