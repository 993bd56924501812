"""
When each key was used last, to the minute, as a record beside the keys: "used", by the key's name.

Nothing of it is on the way of a call: who asks is noted in memory, and a thread writes all that are new once a minute.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ....concurrency.errands import Errands
from ....errors import BudgetGuardError
from ....ledger import KEPT_FOR_EVER, Millis, Record, RecordQuery, Store

log = logging.getLogger("budgetguard.server")

USED: Final = "used"
"""The kind of these records."""
EVERY_S: Final = 60.0
"""How often a key is written down, at most, by each process."""
_MOST: Final = 10_000
"""Keys that wait to be written down; those beyond are written when they are used again."""


class KeyUse:
    """What a server knows of the use of its keys, until it is written down."""

    def __init__(
        self,
        own: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        every_s: float = EVERY_S,
    ) -> None:
        self._own = own
        self._clock = clock
        self._now = now
        self._every_s = every_s
        self._due_s = 0.0
        self._seen: dict[str, Millis] = {}
        self._errands = Errands("keys", self, most=_MOST)

    def saw(self, prefix: str) -> None:
        """A key was used now. Never waits; called whenever its record is looked for, which is every two seconds."""
        self._errands.put((prefix, round(self._now() * 1000)))

    def work(self, use: tuple[str, Millis]) -> None:
        """Take one in."""
        if len(self._seen) < _MOST or use[0] in self._seen:
            self._seen[use[0]] = use[1]

    def rest(self, final: bool) -> float | None:
        """Write down what is new, if it is time."""
        if not self._seen:
            return None
        left_s = self._due_s - self._clock()
        if left_s > 0 and not final:
            return left_s
        self._due_s = self._clock() + self._every_s
        seen, self._seen = self._seen, {}
        records = [
            Record(USED, prefix, at_ms, json.dumps({"at_ms": at_ms}), KEPT_FOR_EVER) for prefix, at_ms in seen.items()
        ]
        try:
            self._own.note(records, replace=True)
        except BudgetGuardError as error:  # they are used again, or they are not
            log.warning("when %d keys were used last could not be written down: %s", len(records), error)
        return None

    def renew(self) -> None:
        """In a forked child: what was seen is the parent's."""
        self._seen = {}

    def close(self) -> None:
        """Write down what is left; waits for a moment."""
        self._errands.drain(2.0)


def last_used(own: Store, prefixes: Collection[str]) -> Mapping[str, Millis]:
    """When each of these keys was used last; those that never were are not in it."""
    if not prefixes:
        return {}
    first, last = min(prefixes), max(prefixes)
    after = first[:-1] + chr(ord(first[-1]) - 1) + "~"  # what is before a name, and behind all names before it
    found = own.noted(RecordQuery(USED, after, f"{last}!"))
    return {record.id: record.at_ms for record in found}
