"""How a comparison with a bill looks: tables and sentences, Markdown, CSV, JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ...budgets.said.shown import on_lines
from ...money import Nano
from ...reports.bill.pricing import day_at
from ...reports.bill.reasons import REASONS
from ...reports.bill.said import FEES, named, sentences, signed, why
from ...reports.written import plain
from ..common.show import in_csv, iso, money
from ..common.tables import BarCell, Cell, Column, table

if TYPE_CHECKING:
    from rich.console import Console

    from ...reports.shown.bill import BilledLine, Reconciled

FIELDS: Final = ("day", "model", "books", "bill", "difference", "books calls", "bill calls", *REASONS)
"""The columns of CSV: the reasons add up to the difference."""


def print_tables(shown: Console, found: Reconciled, fields: frozenset[str]) -> None:
    """A table, a bar for each day on which they differ, and sentences."""
    shown.print(_head(found), soft_wrap=True)
    shown.print(table(_columns(fields), [_row(line, fields) for line in _lines(found, fields)]))
    days = [line for line in found.days if line.difference]
    if days and "day" not in fields:
        shown.print(_bars(days))
    for text in sentences(found):
        shown.print(text)
    shown.print("\nWhat the provider says, and does not tell:")
    for text in found.beside.notes:
        shown.print(f"- {text}")


def markdown(found: Reconciled, fields: frozenset[str]) -> str:
    """The same for a page or a ticket."""
    titles = [*_names(fields), "books", "bill", "difference", "why"]
    rows = [[*_name(line, fields), *_amounts(line), why(line)] for line in _lines(found, fields)]
    rule = [*["---"] * len(_names(fields)), "---:", "---:", "---:", "---"]
    lines = [f"## {_head(found)}", "", _piped(titles), _piped(rule)]
    lines += [_piped([_escaped(cell) for cell in row]) for row in rows]
    said = [_escaped(text) for text in sentences(found)]
    return "\n".join([*lines, "", *[f"* {text}" for text in said], "", *[f"> {note}" for note in found.beside.notes]])


def csv_rows(found: Reconciled, fields: frozenset[str]) -> Iterator[list[str | Decimal]]:
    """A line for each row, and none for the total."""
    for line in _lines(found, fields)[:-1]:
        amounts = [_number(each) for each in (line.books_cost, line.bill_cost, line.difference)]
        reasons = [_number(line.reasons.get(reason, 0)) for reason in REASONS]
        model = FEES if line.fees else line.model
        yield [line.day, model, *amounts, str(line.books_calls), str(line.bill_calls), *reasons]


def _number(amount: Nano) -> Decimal:
    """Dollars as a number: a text that begins with "-" would be taken for a formula, and be quoted."""
    return Decimal(in_csv(amount))


def as_json(found: Reconciled) -> dict[str, Any]:
    """All of it; amounts are whole nano-dollars."""
    value: dict[str, Any] = plain(found)
    factor = found.factor
    value["factor"] = None if factor is None else {**plain(factor), "discount": _text(factor.discount)}
    return {**value, "since": iso(found.since_ms), "until": iso(found.until_ms), "sentences": sentences(found)}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _head(found: Reconciled) -> str:
    days = (found.until_ms - found.since_ms) // (24 * 3600 * 1000)
    last = day_at(found.until_ms - 1)
    return f"{found.provider}, {day_at(found.since_ms)} to {last} ({days} days of UTC)"


def _lines(found: Reconciled, fields: frozenset[str]) -> Sequence[BilledLine]:
    rows = found.cells if len(fields) == 2 else found.days if "day" in fields else found.models
    return [*[row for row in rows if row.books_cost or row.bill_cost], found.total]


def _names(fields: frozenset[str]) -> list[str]:
    return [name for name in ("day", "model") if name in fields]


def _name(line: BilledLine, fields: frozenset[str]) -> list[str]:
    """What a row is of, in as many cells as it has fields."""
    if not line.day and not line.model and not line.fees:
        return ["total", *[""] * (len(fields) - 1)]
    return [line.day, FEES if line.fees else line.model] if len(fields) == 2 else [named(line)]


def _columns(fields: frozenset[str]) -> list[Column]:
    numbers = [Column(title, number=True, drop=drop) for title, drop in (("books", 0), ("bill", 0), ("difference", 0))]
    return [*[Column(name) for name in _names(fields)], *numbers, Column("why", drop=1)]


def _row(line: BilledLine, fields: frozenset[str]) -> list[Cell]:
    return [*_name(line, fields), *_amounts(line), why(line)]


def _amounts(line: BilledLine) -> list[str]:
    return [money(line.books_cost), money(line.bill_cost), signed(line.difference)]


def _bars(days: Sequence[BilledLine]) -> Any:
    most = max(abs(line.difference) for line in days)
    columns = [Column("day"), Column("difference", number=True), Column(""), Column("", drop=1)]
    rows = [
        [line.day, signed(line.difference), BarCell(abs(line.difference), most), "open" if line.pending else ""]
        for line in days
    ]
    return table(columns, rows)


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return (
        on_lines(text)
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("*", "\\*")
        .replace("<", "&lt;")
        .replace("\n", " ")
    )
