"""Entries of a history, and what they add up to by brute force: what reports are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from budgetguard.ledger import Account, Admitted, Entry, Hold, Settled, Store, new_id
from budgetguard.reports.shown.figures import Figures
from budgetguard.stores.sqlite.store import SQLiteStore

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FLAGS = ("estimated", "cut", "fallback", "late", "expired", "unpriced")


def at(text: str) -> int:
    """A moment of UTC in milliseconds: "2027-01-31T12:00"."""
    return round(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def entry(name: str, at_ms: int, cost: int = 1_000_000, **fields: Any) -> Entry:
    """A call of the history."""
    said: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "accounts": (f"all//{name}",), **fields}
    return Entry(name, cost, at_ms=at_ms, **said)


def brute(entries: Iterable[Entry], names: Callable[[Entry], tuple[str, ...]]) -> dict[tuple[str, ...], Figures]:
    """What entries add up to by any names, one by one."""
    sums: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    usages: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in entries:
        found = sums[names(each)]
        found["cost"] += each.cost
        found["calls"] += 1
        for kind in ("input_tokens", "output_tokens"):
            found[kind] += each.usage.get(kind, 0)
        for flag in FLAGS:
            found[flag] += flag in each.flags
        for kind, count in each.usage.items():
            usages[names(each)][kind] += count
    return {
        name: Figures(**found, usage={kind: count for kind, count in usages[name].items() if count})
        for name, found in sums.items()
    }


def field_of(each: Entry, name: str, zone: str = "UTC") -> str:
    """The value of a field as reports name it."""
    if name in {"model", "provider"}:
        return str(getattr(each, name))
    if name in {"hour", "day", "week", "month"}:
        return time_label(each.at_ms, name, zone)
    return each.tags.get(name, "")


def time_label(at_ms: int, kind: str, zone: str) -> str:
    """The hour, day, week or month of a moment in a zone that is whole hours off."""
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    if kind == "hour":
        return f"{local:%Y-%m-%d %H:00}" + ("" if zone == "UTC" else f"{local:%z}")
    if kind == "week":
        year, week, _ = local.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{local:%Y-%m-%d}" if kind == "day" else f"{local:%Y-%m}"


def passing(entries: Iterable[Entry], only: Mapping[str, Sequence[str]]) -> list[Entry]:
    """Those that a filter lets pass."""
    return [each for each in entries if all(field_of(each, name) in values for name, values in only.items())]


def all_entries(store: Store) -> list[Entry]:
    """The whole history."""
    return list(store.entries())


def write_calls(path: str, number: int) -> None:
    """What a process does that settles calls in a file."""
    store = SQLiteStore(path, durable=False, reserve_s=60, settle_s=60)
    account = Account("all//all")
    for _ in range(60):
        hold = Hold(new_id(), (account,), 1_000)
        assert isinstance(store.reserve(hold), Admitted)
        assert isinstance(store.settle(hold, Entry(hold.id, 10 + number, tags={"user": f"u{number}"})), Settled)
    store.close()
