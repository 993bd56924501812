"""How the store, the books and the history are, as far as that can be seen from here."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from pathlib import Path

from ...ledger import Clock, Examined, OpenHold, RecordQuery, Store
from ..cube.kept import KIND
from ..shown.figures import HistoryRead
from ..shown.lists import HealthLine, HealthShown, HealthState
from .prices import installed, list_version

_SLOW_MS = 250.0
_APART_S = 5.0
_OLD_HOLD_S = 3600
_WORST: tuple[HealthState, ...] = ("ok", "warn", "bad")


def health(store: Store, clock: Clock, read: HistoryRead) -> HealthShown:
    """See `Reports.health`; a store that does not answer raises `StoreError`."""
    lines = (*_store(store, clock), *_journal(store), *_holds(store), *_history(store, clock, read))
    worst = max([line.state for line in lines], key=_WORST.index)
    return HealthShown(store.now_ms(), worst, lines)


def _store(store: Store, clock: Clock) -> Iterator[HealthLine]:
    began = time.perf_counter()
    store.balances(["health"])
    took_ms = (time.perf_counter() - began) * 1000
    state: HealthState = "warn" if took_ms > _SLOW_MS else "ok"
    yield HealthLine("round trip", state, f"the store answered in {took_ms:.1f} ms", took_ms)
    apart_s = store.now_ms() / 1000 - clock()
    told = f"the store's clock is {abs(apart_s):.1f} s {'ahead of' if apart_s > 0 else 'behind'} this machine's"
    yield HealthLine("clock", "warn" if abs(apart_s) > _APART_S else "ok", told, apart_s)
    if isinstance(store, Examined):
        for sentence in store.examine():
            yield HealthLine("engine", "warn", sentence)


def _journal(store: Store) -> Iterator[HealthLine]:
    """Settlements of this machine's processes that could not reach the store yet."""
    if store.journal is None:
        return
    directory = Path(store.journal)
    files = [path for path in directory.glob("*") if path.is_file()] if directory.is_dir() else []
    waiting = [path for path in files if path.stat().st_size]
    told = f"{len(waiting)} files of settlements wait for the store in {directory}" if waiting else "nothing waits"
    yield HealthLine("journal", "warn" if waiting else "ok", told, len(waiting))


def _holds(store: Store) -> Iterator[HealthLine]:
    now_ms, found = store.now_ms(), store.holds()
    old = [hold for hold in found if now_ms - hold.placed_ms > _OLD_HOLD_S * 1000]
    age_s = max([_age_s(hold, now_ms) for hold in found], default=0.0)
    told = f"{len(found)} open, the oldest for {age_s:.0f} s"
    if old:
        told += f"; {len(old)} for more than an hour: long calls, leases, or processes that hang"
    yield HealthLine("open holds", "warn" if old else "ok", told, len(found))


def _age_s(hold: OpenHold, now_ms: int) -> float:
    return (now_ms - hold.placed_ms) / 1000


def _history(store: Store, clock: Clock, read: HistoryRead) -> Iterator[HealthLine]:
    yield HealthLine("history", "ok" if read.complete else "warn", read.text or "all of it is read", read.done)
    newest = next(iter(store.noted(RecordQuery(KIND, limit=1, newest=True))), None)
    if newest is not None:
        told = f"the last day that is added up is {newest.id}"
        yield HealthLine("daily sums", "ok", told, max(clock() - newest.at_ms / 1000, 0.0))
    own = f"budgetguard {installed('budgetguard-llm')}".rstrip()
    told = f"{own}, Python {platform.python_version()}, {list_version()}"
    yield HealthLine("versions", "ok", told)
