"""The statement: what a month cost, line by line, to the cent; made to be printed."""

from __future__ import annotations

from datetime import UTC, date, datetime

from ....errors import ConfigError
from ..view import Look, Shown
from .asked import Page, page_of

FIELDS = ("user", "model", "provider", "team", "feature")
ROWS = 500
AGE_S = 60.0
"""Whoever pages through a statement does not have every call of the month added up again."""
_MONTHS = 24


def statement(look: Look) -> Shown:
    """Of `month` ("2026-11"; this one, unless it is said), by one field or two."""
    today = datetime.fromtimestamp(look.now_ms / 1000, UTC).astimezone(look.zone).date()
    month = _month(look.said("month")) or f"{today:%Y-%m}"
    by = tuple(dict.fromkeys(field for field in (look.said("by", "user"), look.said("and")) if field))
    data = {
        "month": month,
        "month_choices": [(each, each) for each in months_back(today)],
        "now_ms": look.now_ms,
        "by": by,
        "fields": FIELDS,
        "problem": "",
        "shown": None,
    }
    try:
        shown = look.reports.statement(month, by, zone=look.zone.key, age_s=AGE_S)
    except ConfigError as error:
        return Shown("spending/statement.html", {**data, "problem": str(error)})
    page = Page(page_of(look), ROWS, len(shown.lines))
    if page.number > page.pages:
        page = Page(page.pages, ROWS, len(shown.lines))
    lines = shown.lines[max(0, page.first - 1) : page.last]
    data |= {"shown": shown, "page": page, "lines": lines, "page_cents": sum(line.cents for line in lines)}
    return Shown("spending/statement.html", data, title=f"Statement {month}", rows=shown.lines, whole=shown)


def months_back(today: date) -> list[str]:
    """This month and those before it."""
    first = today.year * 12 + today.month - 1
    return [f"{at // 12:04d}-{at % 12 + 1:02d}" for at in range(first, first - _MONTHS, -1)]


def _month(text: str) -> str:
    try:
        return f"{date.fromisoformat(f'{text}-01'):%Y-%m}"
    except ValueError:
        return ""
