"""`reconcile`: the bill of a time is asked for, and compared with the books of the same time."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from ...errors import ConfigError
from ...ledger import Millis, Query, Store
from ...prices import PriceBook
from ...providers.bills.asking import Wait, ask
from ...providers.bills.known import source_named
from ...providers.bills.lines import BillSource
from ..cube.zones import month_named
from ..shown.bill import Reconciled
from .compared import BillSpan, compared
from .lines import of_projects
from .pricing import DAY_MS, day_at

MOST_DAYS: Final = 366


def reconcile(
    store: Store,
    book: PriceBook,
    provider: str,
    *,
    month: str | None = None,
    since_ms: Millis | None = None,
    until_ms: Millis | None = None,
    projects: Sequence[str] = (),
    url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    wait: Wait = time.sleep,
) -> Reconciled:
    """
    Compare the books with what "openai", "anthropic" or "openrouter" says that it bills, by day and model.

    The time is whole days of UTC that are over: a `month` ("2026-10"), or from one moment up to another; by default the
    month that yesterday is in. `projects` are ids of OpenAI's projects or Anthropic's workspaces: only their part of
    the bill counts. The admin key is read from the environment. Raises `ConfigError`, and `BillError` where no bill
    comes.
    """
    source, now_ms = source_named(provider), store.now_ms()
    span = span_of(source, now_ms, month, since_ms, until_ms)
    bill = ask(source, span[0] // 1000, span[1] // 1000, environ=environ, url=url, wait=wait)
    if projects:
        bill = of_projects(bill, projects)
    first = next(iter(store.entries(Query(limit=1))), None)
    compares = BillSpan(*span, now_ms, span[1] if first is None else first.at_ms)
    return compared(source, book, store.entries(Query(*span)), bill, compares)


def span_of(
    source: BillSource, now_ms: Millis, month: str | None, since_ms: Millis | None, until_ms: Millis | None
) -> tuple[Millis, Millis]:
    """Whole days that are over; raises `ConfigError` where there are none, or too many."""
    today = now_ms // DAY_MS * DAY_MS
    if month is not None and not (since_ms is None and until_ms is None):
        raise ConfigError("month and since, until: say one of the two")
    if month is None and since_ms is None:
        month = f"{datetime.fromtimestamp((today - 1) / 1000, UTC):%Y-%m}"
    if month is not None:
        named = month_named(month, "UTC")
        since_ms, until_ms = named.start_ms, named.end_ms if until_ms is None else until_ms
    assert since_ms is not None, "either is said by now"
    first = since_ms // DAY_MS * DAY_MS
    end = min(today, today if until_ms is None else -(-until_ms // DAY_MS) * DAY_MS)
    if source.days is not None:
        first = max(first, today - source.days * DAY_MS)
    if first >= end:
        raise ConfigError(
            f"since {day_at(since_ms)}: no day of that time is over, or {source.name} tells nothing of it"
        )
    if end - first > MOST_DAYS * DAY_MS:
        raise ConfigError(f"since {day_at(since_ms)}: that is more than {MOST_DAYS} days; ask for a shorter time")
    return first, end
