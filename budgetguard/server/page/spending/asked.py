"""What the URL of a view of money asks for: a span of time in the reader's zone, a page, an order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from ....ledger import Millis
from ..view import Look

RANGES = (
    ("today", "Today"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("month", "This month"),
    ("last-month", "Last month"),
    ("90d", "90 days"),
    ("year", "This year"),
    ("all", "All"),
)
_DAYS = {"7d": 7, "30d": 30, "90d": 90}


@dataclass(frozen=True, slots=True)
class AskedSpan:
    """From a moment to another, and how the URL says it."""

    since_ms: Millis | None
    until_ms: Millis | None
    first: date | None
    last: date | None
    """The last day that is in it."""
    range: str
    """One of `RANGES`; "" where days are named."""

    @property
    def text(self) -> str:
        """For a heading."""
        if self.first is None:
            return "all that is known"
        last = self.last or self.first
        return f"{self.first}" if self.first == last else f"{self.first} to {last}"


def span_of(look: Look, default: str = "month") -> AskedSpan:
    """The span that `from` and `to` (both included), or `range`, name; what is no day is not looked at."""
    first, last = _date(look.said("from")), _date(look.said("to"))
    today = datetime.fromtimestamp(look.now_ms / 1000, UTC).astimezone(look.zone).date()
    if first is None and last is None:
        said = look.said("range", default)
        first, last = _range(said if said in dict(RANGES) else default, today)
    else:
        said, last = "", last or today
    if first is not None and last is not None and last < first:
        first, last = last, first
    until = None if last is None else _midnight(look, last + timedelta(days=1))
    return AskedSpan(None if first is None else _midnight(look, first), until, first, last, said)


def page_of(look: Look) -> int:
    """The page that is asked for, from 1."""
    said = look.said("page", "1")
    return min(max(1, int(said)), 10**6) if said.isdecimal() and len(said) < 9 else 1


def number_of(look: Look, name: str, default: int, choices: tuple[int, ...]) -> int:
    """A number that is one of a few."""
    said = look.said(name)
    return int(said) if said in {str(each) for each in choices} else default


def sort_of(look: Look, default: str, choices: tuple[str, ...]) -> str:
    """By what is sorted: "-spent" is the largest first."""
    said = look.said("sort", default)
    return said if said.removeprefix("-") in choices else default


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of all are shown."""

    number: int
    size: int
    count: int
    """Of all rows."""

    @property
    def pages(self) -> int:
        """How many there are; at least one."""
        return max(1, -(-self.count // self.size))

    @property
    def first(self) -> int:
        """The number of its first row, from 1; 0 where there is none."""
        return min(self.count, (self.number - 1) * self.size + 1)

    @property
    def last(self) -> int:
        """The number of its last row."""
        return min(self.count, self.number * self.size)


def _range(said: str, today: date) -> tuple[date | None, date | None]:
    first_of_month = today.replace(day=1)
    if said == "today":
        return today, today
    if said == "month":
        return first_of_month, today
    if said == "last-month":
        last = first_of_month - timedelta(days=1)
        return last.replace(day=1), last
    if said == "year":
        return today.replace(month=1, day=1), today
    return (today - timedelta(days=_DAYS[said] - 1), today) if said in _DAYS else (None, None)


def _date(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1970 < found.year < 9000 else None


def _midnight(look: Look, day: date) -> Millis:
    return round(datetime.combine(day, time(), look.zone).timestamp() * 1000)
