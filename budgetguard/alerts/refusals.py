"""
Refusals as records of the store: who was refused, of which budget, and how much room there was.

Those that are alike within a few seconds are one record with a count, so that a client which tries again and again
writes a line, and not a thousand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ..budgets.news import RefusedCall
from ..ledger import Millis, Record, Store
from ..ledger.ids import id_at, new_id
from .alert import AccountName

REFUSAL = "refusal"
"""What a store calls their records."""

ALIKE_S = 5.0
"""How long refusals that are alike are one record."""

WRITE_S = 1.0
"""How often what has changed is written."""

_MOST_WAITING = 10_000


@dataclass(slots=True)
class _Group:
    """Refusals that are alike."""

    id: str
    last: RefusedCall
    since_s: float
    first_ms: Millis
    count: int = 1
    written: int = 0

    def record(self) -> Record:
        """As a store keeps them."""
        call, account, balance = self.last, self.last.refusal.account, self.last.refusal.balance
        named, limit = AccountName.of(account), account.limit or 0
        body = {
            "budget": named.budget,
            "subject": named.subject,
            "account": account.key,
            "unit": account.unit,
            "user": call.tags.get("user"),
            "tags": dict(call.tags),
            "model": call.model,
            "provider": call.provider,
            "busy": call.refusal.busy,
            "paused": call.paused,
            "spent": balance.settled,
            "held": balance.held,
            "limit": limit,
            "wanted": call.wanted,
            "room": max(limit - balance.settled - balance.held, 0),
            "count": self.count,
            "last_ms": call.at_ms,
        }
        return Record(REFUSAL, self.id, self.first_ms, json.dumps(body))


class Refusals:
    """Those that are not all written yet. In one thread."""

    def __init__(self, store: Store | None, *, time_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._time_s = time_s
        self._written_s = float("-inf")
        self._groups: dict[Hashable, _Group] = {}

    def add(self, call: RefusedCall) -> bool:
        """Take one in; whether there was room for it."""
        if self._store is None:
            return True
        refusal, now_s = call.refusal, self._time_s()
        key = refusal.account.key, refusal.busy, call.paused, call.model, call.provider, frozenset(call.tags.items())
        group = self._groups.get(key)
        if group is None or now_s - group.since_s > ALIKE_S:
            if len(self._groups) >= _MOST_WAITING:
                return False
            if group is not None and group.written < group.count:
                self._groups[key, group.id] = group  # its last count is to be written, too
            self._groups[key] = _Group(f"{id_at(call.at_ms)}{new_id()[12:]}", call, now_s, call.at_ms)
        else:
            group.count += 1
            group.last = call
        return True

    def write(self, *, final: bool) -> float | None:
        """Write what is due; in how many seconds more is, if anything is. Raises `StoreError`."""
        if self._store is None or not self._groups:
            return None
        now_s = self._time_s()
        due_s = self._written_s + WRITE_S - now_s
        if due_s > 0 and not final:
            return due_s
        self._written_s = now_s
        unwritten = [group for group in self._groups.values() if group.written < group.count]
        if unwritten:
            self._store.note([group.record() for group in unwritten], replace=True)
            for group in unwritten:
                group.written = group.count
        self._groups = {key: group for key, group in self._groups.items() if now_s - group.since_s <= ALIKE_S}
        return WRITE_S if self._groups else None

    def forget(self) -> None:
        """Drop what is not written."""
        self._groups = {}
