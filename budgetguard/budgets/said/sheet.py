"""
Users' budgets as a sheet: a CSV file with a line for each user, as people and their spreadsheets write it.

What a cell says has to be clear: a number that may be a thousand times another one, an empty limit, a column or a user
that is there twice is refused, with its line and column. All lines are read before anything is done with one of them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, get_args

from ...errors import ConfigError
from ...ledger import Enforce, OnExpire, Unit
from ...money import DOLLAR, Money
from ..periods import Period
from ..rules import Budget, UserBudget, user_rule
from .checks import parse_limit, require_choice
from .shown import quoted, unquoted

COLUMNS: Final = ("user", "limit", "period", "timezone", "unit", "enforce", "warn_at", "on_expire", "in_flight")
"""What a sheet says of a budget: the first two have to be there."""
BESIDE: Final = frozenset({"spent", "held", "left", "used", "state", "begins_again", "resets_at"})
"""What `users --csv` prints beside them: it is not read."""
NO_LIMIT: Final = "none"

_MOST_TOLD: Final = 20
_SEPARATORS: Final = ";,\t"
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)?")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:\.\d{3})+,\d+")
_AMBIGUOUS: Final = re.compile(r"\d{1,3}(?:(?:,\d{3})+|(?:\.\d{3})+)")


class SheetError(Exception):
    """What is wrong with one cell."""


class SheetLine(NamedTuple):
    """What one line says."""

    number: int
    """In the file, from 1 on; the header is line 1."""
    user: str
    said: Mapping[str, Any]
    """By the names of `user_rule`'s arguments: of the columns that are there."""

    def rule(self, before: UserBudget | None) -> Budget:
        """The budget; of what the sheet has no column for, a user keeps what they have."""
        kept: dict[str, Any] = {}
        if before is not None:
            old = before.rule
            kept = {
                "timezone": old.period.timezone,
                "period": old.period.name,
                "unit": old.unit,
                "enforce": old.enforce,
            }
            kept |= {"on_expire": old.on_expire, "in_flight": old.in_flight, "warn_at": old.warn_at}
        said = {**kept, **self.said}
        limit, unit = said.pop("limit"), said.get("unit", "dollars")
        if limit is None:
            said["warn_at"] = ()
        parsed = None if limit is None else parse_limit(limit, unit)
        period = Period.parse(said.pop("period", None), said.pop("timezone", None))
        return user_rule(Money(parsed) if unit == "dollars" and parsed is not None else parsed, period, **said)


@dataclass(frozen=True, slots=True)
class PlannedSheet:
    """What becomes of the users of a sheet."""

    new: Sequence[tuple[SheetLine, Budget]] = ()
    changed: Sequence[tuple[SheetLine, UserBudget, Budget]] = ()
    same: int = 0
    anew: Collection[str] = field(default_factory=frozenset)
    """Whose spend begins at nothing, as it is counted in another unit or period."""


def read_sheet(raw: bytes, name: str) -> list[SheetLine]:
    """The lines of a file; raises `ConfigError` with all that is wrong with them."""
    text = _text(raw, name)
    separator = _separator(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines, wrong = list[SheetLine](), list[str]()
    try:
        header = _header(next((row for row in rows if "".join(row).strip() and not _is_mark(row)), []), name)
        begun = rows.line_num + 1
        for row in rows:
            if any(cell.strip() for cell in row):
                _read_row(begun, header, row, separator, (lines, wrong))
            begun = rows.line_num + 1
    except csv.Error as error:
        raise ConfigError(f"{name}, line {rows.line_num}: {error}: is it CSV?") from error
    wrong += _twice(lines)
    _raise_all(name, wrong)
    return lines


def plan_sheet(name: str, lines: Sequence[SheetLine], find: Callable[[str], UserBudget | None]) -> PlannedSheet:
    """What is new in a sheet; raises `ConfigError` with all budgets that cannot be."""
    new, changed, wrong, same, anew = [], [], list[str](), 0, set[str]()
    for line in lines:
        own = find(line.user)
        try:
            rule = line.rule(own)
        except ConfigError as error:
            wrong.append(f"line {line.number}: {error}")
            continue
        if own is None:
            new.append((line, rule))
        elif rule == own.rule:
            same += 1
        else:
            changed.append((line, own, rule))
            if (rule.unit, rule.period) != (own.rule.unit, own.rule.period):
                anew.add(line.user)
    _raise_all(name, wrong)
    return PlannedSheet(new, changed, same, anew)


def write_sheet(budgets: Iterable[UserBudget]) -> str:
    """The sheet of these budgets, which reads back as them."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for own in budgets:
        rule = own.rule
        limit = NO_LIMIT if rule.limit is None else _dollars(rule.limit) if rule.unit == "dollars" else str(rule.limit)
        warn_at, in_flight = " ".join(map(repr, rule.warn_at)), "" if rule.in_flight is None else rule.in_flight
        period = (rule.period.name, rule.period.timezone)
        writer.writerow([quoted(own.user), limit, *period, rule.unit, rule.enforce, warn_at, rule.on_expire, in_flight])
    return out.getvalue()


# -- reading -----------------------------------------------------------------------------------------------------------


def _text(raw: bytes, name: str) -> str:
    """The file as text: UTF-8, with Excel's mark or without, or the UTF-16 of its "Unicode text"."""
    encoding = "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: it is no UTF-8: save it as CSV UTF-8") from error


def _separator(text: str) -> str:
    """What is between the cells: what Excel's own line says, else what the first line has most of."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.casefold().startswith("sep=") and first[4:5] in _SEPARATORS:
        return first[4:5]
    return max(_SEPARATORS, key=first.count) if any(each in first for each in _SEPARATORS) else ","


def _is_mark(row: Sequence[str]) -> bool:
    """Whether it is Excel's line "sep=;", which the separator that it names cuts in two."""
    return row[0].strip().casefold() == "sep=" and not any(row[1:])


def _header(row: Sequence[str], name: str) -> list[str]:
    header = [cell.strip().casefold().replace(" ", "_") for cell in row]
    while header and not header[-1]:
        header.pop()
    known = (*COLUMNS, *BESIDE)
    for column in header:
        if column not in known:
            near = get_close_matches(column, known, 1)
            meant = f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(COLUMNS)}"
            raise ConfigError(f"{name}, line 1: no column is called {column!r}{meant}")
        if header.count(column) > 1:
            raise ConfigError(f"{name}, line 1: the column {column!r} is there twice")
    for column in COLUMNS[:2]:
        if column not in header:
            raise ConfigError(f"{name}, line 1: the column {column!r} is missing; the first line names the columns")
    return header


def _read_row(
    number: int, header: Sequence[str], row: Sequence[str], separator: str, found: tuple[list[SheetLine], list[str]]
) -> None:
    """Add a line to what was read, or what is wrong with it."""
    lines, wrong = found
    if any(cell.strip() for cell in row[len(header) :]):
        wrong.append(f"line {number}: it has {len(row)} cells, and there are {len(header)} columns")
        return
    cells = dict(zip(header, [*row, *[""] * len(header)], strict=False))
    unit = cells.get("unit", "").strip().casefold() or "dollars"
    said: dict[str, Any] = {}
    for column in header:
        if column in COLUMNS:
            try:
                said[column] = _cell(column, cells[column], unit, separator)
            except (SheetError, ConfigError) as error:
                wrong.append(f"line {number}, {column}: {error}")
    if len(said) == len([column for column in header if column in COLUMNS]):
        lines.append(SheetLine(number, said.pop("user"), said))


def _cell(column: str, raw: str, unit: str, separator: str) -> Any:
    """What a cell says."""
    text = raw.strip()
    if column == "user":
        return _user(raw)
    if column == "limit":
        return _limit(text, unit, separator)
    if column in _CHOICES:
        usual, choices = _CHOICES[column]
        return require_choice(text.casefold() or usual, choices, column)
    return _READ[column](text)


def _user(raw: str) -> str:
    user = unquoted(raw)
    if not raw.strip():
        raise SheetError("it is empty")
    if user == raw != user.strip():
        raise SheetError(f"{user!r} has blanks before or behind it")
    return user


def _limit(text: str, unit: str, separator: str) -> str | None:
    if not text:
        raise SheetError(f"it is empty: write an amount, or {NO_LIMIT} for no limit")
    if text.casefold() == NO_LIMIT:
        return None
    said = text.replace(" ", "").replace("\u00a0", "").replace("\u202f", "").removeprefix("$")
    ours = separator == "," and unit == "dollars" and "," not in said  # as programs write it
    if _AMBIGUOUS.fullmatch(said) and not (ours and said.count(".") == 1):
        plain, other = said.replace(",", "").replace(".", ""), said.replace(",", ".")
        raise SheetError(f"{text!r} may be {plain} or {other}: write it without marks between the thousands")
    if _GROUPED.fullmatch(said):
        said = said.replace(",", "") if said.rindex(".") > said.rindex(",") else said.replace(".", "")
    if not _NUMBER.fullmatch(said):
        raise SheetError(f"{text!r} is no amount: write 12.50, or {NO_LIMIT} for no limit")
    return said.replace(",", ".")


def _part(text: str) -> float:
    said = text.replace(",", ".")
    try:
        return float(said.removesuffix("%")) / 100 if said.endswith("%") else float(said)
    except ValueError:
        raise SheetError(f"{text!r} is no part of a limit: write 0.5 0.8, or 50% 80%") from None


def _whole(text: str) -> int | None:
    if text and not text.isdecimal():
        raise SheetError(f"{text!r}: a whole number is needed")
    return int(text) if text else None


_CHOICES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "unit": ("dollars", get_args(Unit)),
    "enforce": ("hard", get_args(Enforce)),
    "on_expire": ("release", get_args(OnExpire)),
}
"""What an empty cell says, and what there is."""
_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "period": lambda text: Period.parse(text or None).name,
    "timezone": lambda text: Period.parse(None, text or None).timezone,
    "warn_at": lambda text: tuple([_part(each) for each in text.replace(";", " ").split()]),
    "in_flight": _whole,
}


def _twice(lines: Sequence[SheetLine]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for line in lines:
        if line.user in seen:
            yield f"line {line.number}, user: {line.user!r} is in line {seen[line.user]} already"
        seen.setdefault(line.user, line.number)


def _raise_all(name: str, wrong: Sequence[str]) -> None:
    if wrong:
        more = f"\nand {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise ConfigError("\n".join(f"{name}, {each}" for each in wrong[:_MOST_TOLD]) + more)


# -- writing -----------------------------------------------------------------------------------------------------------


def _dollars(nano: int) -> str:
    whole, fraction = divmod(nano, DOLLAR)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{digits}"
