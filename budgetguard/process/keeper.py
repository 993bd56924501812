"""
The holds of calls that live are kept: renewed in their stores as long as the call lasts.

A hold ends by itself a `ttl_ms` after its process was last heard of, so that nobody has to clean up after one that
was killed. In a process that lives one thread looks at what is open, three times in the shortest ttl, and renews what
it saw there before: a call that is over sooner costs it nothing. An unread stream lives as long as its object does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

from ..concurrency.locks import mutex
from ..ledger import Hold, Millis, Store

log = logging.getLogger("budgetguard")

LOOKS = 3
"""How often in the shortest ttl the keeper looks: a hold is renewed in time also if it was placed after a look."""

TOGETHER = 500
"""How many holds are renewed in one round trip."""

NEVER_MS: Millis = 2**63

STOP_S = 0.25
"""How long a fork waits for the thread to end."""

Living: TypeAlias = tuple[Store, Hold]
"""A hold whose call lives, at the amount that was admitted, and where it is."""


class Keeper:
    """
    Renews what `look` says lives. It takes no lock, and nor does `is_open`, whether any call is under way.

    `pace_ms` is the shortest ttl that is watched over: whoever is about to place a hold with a shorter one says so.
    """

    def __init__(self, look: Callable[[], Sequence[Living]], is_open: Callable[[], bool]) -> None:
        self.pace_ms: Millis = NEVER_MS
        self._look = look
        self._is_open = is_open
        self._lock = mutex("keeper")
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: set[int] = set()

    def watch(self, ttl_ms: Millis) -> None:
        """A hold of this ttl is about to be placed."""
        with self._lock:
            self.pace_ms = min(self.pace_ms, ttl_ms)
            self._bell.set()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="budgetguard-keeper", daemon=True)
                with suppress(RuntimeError):  # the interpreter is shutting down, and with it all calls
                    thread.start()
                    self._thread = thread

    def living(self, store: Store) -> Sequence[Hold]:
        """The holds in a store whose calls live."""
        return [hold for where, hold in self._look() if where is store]

    def stop(self) -> Millis:
        """End the thread, as before a fork; the pace that it had."""
        with self._lock:
            thread, self._thread = self._thread, None
            pace_ms, self.pace_ms = self.pace_ms, NEVER_MS
            self._bell.set()
        if thread is not None:
            thread.join(STOP_S)
        return pace_ms

    def renew(self, living: Iterable[Living]) -> bool:
        """Renew these; whether every store did. Never raises."""
        stores: dict[int, tuple[Store, list[Hold]]] = {}
        for store, hold in living:
            stores.setdefault(id(store), (store, []))[1].append(hold)
        done = True
        for store, holds in stores.values():
            for start in range(0, len(holds), TOGETHER):
                done = self._renew(store, holds[start : start + TOGETHER]) and done
        return done

    def _renew(self, store: Store, holds: Sequence[Hold]) -> bool:
        try:
            store.renew(holds)
        except Exception as error:  # whatever it is, calls go on
            if id(store) not in self._told:
                self._told.add(id(store))
                log.warning("holds cannot be renewed, so calls that take longer than their ttl will be late: %s", error)
            return False
        self._told.discard(id(store))
        return True

    def _run(self) -> None:
        me = threading.current_thread()
        seen: set[str] = set()
        while True:
            woken = self._bell.wait(self.pace_ms / 1000 / LOOKS)
            self._bell.clear()
            if self._is_over(me):
                return
            if woken:  # by a shorter ttl
                continue
            living = self._look()
            self.renew([each for each in living if each[1].id in seen])
            seen = {hold.id for _, hold in living}

    def _is_over(self, me: threading.Thread) -> bool:
        """Whether the thread was stopped, or no call is open any more."""
        with self._lock:
            if self._thread is not me:
                return True
            # A call is open before it looks at the pace: if it is not seen here, it will see that nobody watches.
            pace_ms, self.pace_ms = self.pace_ms, NEVER_MS
            if self._is_open():
                self.pace_ms = pace_ms
                return False
            self._thread = None
            return True
