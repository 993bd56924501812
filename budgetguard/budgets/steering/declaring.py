"""
When a program's rules are declared: a moment after it began to make calls, in a thread that ends.

A store that is away neither delays a call nor breaks the start: it is asked again a few times. Where the store does not
let this program write what it is asked to, commands show no limits of its rules, and nothing else is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from ...concurrency.errands import Errands
from ...errors import BudgetGuardError
from ...ledger import Store
from ..rules import Budget
from .declared import declare

log = logging.getLogger("budgetguard")

FIRST_S = 0.25
"""How long after the first call was worked out: it is not to wait for this one's lock."""

AGAIN_S = (1.0, 10.0, 60.0, 600.0)
"""How long after each time that failed it is tried again."""

CLOSE_S = 1.0


class Declaring:
    """The declaration of one guard's rules."""

    def __init__(self, store: Store, rules: Sequence[Budget], *, time_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._rules = rules
        self._time_s = time_s
        self._again = iter(AGAIN_S)
        self._due_s: float | None = None
        self._owing = False
        self._errands = Errands("rules", self)

    def begin(self) -> None:
        """Calls are made from now on."""
        self._owing = True
        self._errands.put(FIRST_S)

    def close(self) -> None:
        """Have it done, if it has begun and is not; waits for a moment."""
        if self._owing:
            self._errands.drain(CLOSE_S)

    def work(self, delay_s: float) -> None:
        """See `Work.work`."""
        self._due_s = self._time_s() + delay_s

    def rest(self, final: bool) -> float | None:
        """Declare them, if it is time; in how many seconds it is."""
        due_s = self._due_s
        if due_s is None:
            return None
        if not final and (left_s := due_s - self._time_s()) > 0:
            return left_s
        self._due_s = None
        try:
            declare(self._store, self._rules)
        except BudgetGuardError as error:
            log.debug("the rules of this program are not declared in the store: %s", error)
            again_s = None if final else next(self._again, None)
            self._due_s = None if again_s is None else self._time_s() + again_s
            return again_s
        self._owing = False
        return None

    def renew(self) -> None:
        """In a forked child: the parent declares them."""
        self._due_s, self._owing = None, False
