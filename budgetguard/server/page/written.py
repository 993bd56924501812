"""What a view has shown as data: JSON that is exact, and CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def as_json(value: Any) -> bytes:
    """Dataclasses, and what is made of them, as JSON; amounts are whole nano-dollars, times milliseconds."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n"


def as_csv(rows: Sequence[Any]) -> bytes:
    """Rows of one kind as CSV, a column for each field; nothing at all of no rows."""
    text = io.StringIO()
    lines = csv.writer(text)
    if rows:
        names = [each.name for each in fields(rows[0])]
        lines.writerow(names)
        lines.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    plain = _plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
