"""Claims: of all processes that have the same to tell, the one that writes it into the store first tells it."""

from __future__ import annotations

from ..ledger import KEPT_FOR_EVER, Millis, RecordQuery, Store
from .alert import KIND, Alert

_MOST_KNOWN = 100_000


class Claims:
    """What was told, as far as this process knows it. Without a store, it is this process's alone."""

    def __init__(self, store: Store | None, sinks: tuple[str, ...]) -> None:
        self._store = store
        self._sinks = sinks
        self._known: dict[str, Millis] = {}
        """Until when it is known of which alerts that they were told, by their names."""
        self._told: dict[str, Millis] = {}
        """When those of rolling periods were told, where there is no store."""

    def first(self, alert: Alert, before: str = "", length_ms: Millis = 0) -> bool:
        """
        Whether this process is the one to tell it; raises `StoreError`.

        Of a rolling period, `before` is the name that the alert had in the turn before: what was told then, and not
        `length_ms` ago, is not told again yet.
        """
        if self._known.get(alert.id, 0) > alert.at_ms:
            return False
        if before and (again_ms := self._told_ms(before) + length_ms) > alert.at_ms:
            self._know(alert.id, again_ms)
            return False
        new = self._store is None or self._store.note([alert.record(self._sinks)])[0]
        self._know(alert.id, alert.until_ms or KEPT_FOR_EVER)
        if new and before:
            self._told[alert.id] = alert.at_ms
        return new

    def _told_ms(self, name: str) -> Millis:
        """When an alert was told; long ago, if it was not."""
        if self._store is None:
            return self._told.get(name, 0)
        said = next(self._store.noted(RecordQuery(KIND, before=f"{name}\0", limit=1, newest=True)), None)
        return said.at_ms if said is not None and said.id == name else 0

    def _know(self, name: str, until_ms: Millis) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
            self._told.clear()
        self._known[name] = until_ms
