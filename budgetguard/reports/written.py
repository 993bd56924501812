"""
Any view as JSON or CSV, derived from its fields.

JSON is for programs: amounts stay whole numbers, nano-dollars or the `unit` beside them. CSV is for people: each row of
the view's main list is a line, nested fields get dotted names, amounts in dollars are dollars with all of their digits,
and times are ISO 8601.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from ..budgets.said.shown import quoted
from ..money import DOLLAR, Nano

COSTS: Final = frozenset({"cost", "costs", "held_cost", "store_cost"})
"""Fields that are nano-dollars wherever they stand."""
AMOUNTS: Final = frozenset(
    {"limit", "rule_limit", "spent", "held", "left", "wanted", "room", "settled", "amount", "rate_per_day"}
)
"""Fields that are in the unit beside them."""
_ROWS: Final = ("rows", "lines", "groups", "top", "models")
"""The main list of a view."""


def in_json(view: Any) -> str:
    """A view as one JSON object."""
    return json.dumps(plain(view), separators=(",", ":"), allow_nan=False)


def plain(value: Any) -> Any:
    """A view, or a part of one, as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value


def in_csv(view: Any) -> str:
    """The main list of a view as CSV with a header; "" where it has none."""
    return "".join(csv_lines(main_rows(view)))


def main_rows(view: Any) -> Sequence[Any]:
    """The rows that a view is about; the view itself, if it has no list."""
    for name in _ROWS:
        if name in _names(type(view)):
            rows: Sequence[Any] = getattr(view, name)
            return rows
    return (view,)


def csv_lines(rows: Iterable[Any]) -> Iterator[str]:
    """Rows of one type as lines of CSV; the columns are those of all of them."""
    flat = [dict(_cells(row)) for row in rows]
    names = list(dict.fromkeys([name for row in flat for name in row]))
    if not names:
        return
    out = io.StringIO()
    writer = csv.writer(out)
    for line in [names, *[[row.get(name, "") for name in names] for row in flat]]:
        writer.writerow(line)
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _cells(row: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    unit = row.unit if "unit" in _names(type(row)) else "dollars"
    for name in _names(type(row)):
        value = getattr(row, name)
        yield from _cell(f"{prefix}{name}", name, value, unit)


def _cell(shown: str, name: str, value: Any, unit: str) -> Iterator[tuple[str, str]]:
    """One field: a line of its own, or one for each that is in it."""
    if is_dataclass(value):
        for inner, each in _cells(value):
            yield f"{shown}.{inner}", each
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield f"{shown}.{key}", _text("", each, unit)
    elif name == "names":
        yield from [(f"name{place}", _text("", each, unit)) for place, each in enumerate(value, 1)]
    elif isinstance(value, tuple | list | frozenset):
        yield shown, safe(_joined(value))
    else:
        yield shown, _text(name, value, unit)


def _joined(values: Iterable[Any]) -> str:
    """A list in one field; the parts of each by colons."""
    ordered = sorted(values) if isinstance(values, frozenset) else values
    return " ".join([":".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in ordered])


def _text(name: str, value: Any, unit: str) -> str:
    if value is None:
        return ""
    if name == "cents":
        return f"{value // 100}.{value % 100:02d}"
    if isinstance(value, int) and not isinstance(value, bool):
        if name.endswith("_ms") and name not in {"age_ms"}:
            return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds")
        if name in COSTS or (name in AMOUNTS and unit == "dollars"):
            return in_dollars(value)
    return safe(value) if isinstance(value, str) else str(value)


def in_dollars(nano: Nano) -> str:
    """Dollars as a plain number, with all of their digits."""
    whole, fraction = divmod(abs(nano), DOLLAR)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{digits}"


def safe(text: str) -> str:
    """A text that a spreadsheet shows, whatever a user is called."""
    return quoted(text)


@cache
def _fields_of(kind: Any) -> tuple[str, ...]:
    return tuple([field.name for field in fields(kind)])


def _names(kind: Any) -> tuple[str, ...]:
    return _fields_of(kind)
