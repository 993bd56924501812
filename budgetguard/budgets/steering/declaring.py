"""
When a program's rules are declared: a moment after it began to make calls, in one thread for all guards, which ends.

A store that is away neither delays a call nor breaks the start: it is asked again a few times. Where the store does not
let this program write what it is asked to, commands show no limits of its rules, and nothing else is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from weakref import ref

from ...concurrency.errands import Errands
from ...errors import BudgetGuardError
from ...ledger import Store
from ..rules import Budget
from .declared import declare

log = logging.getLogger("budgetguard")

FIRST_S = 0.25
"""How long after the first call was worked out: it is not to wait for this one's lock."""

AGAIN_S = (1.0, 10.0, 60.0)
"""How long after each time that failed it is tried again."""

CLOSE_S = 1.0


class Declaring:
    """The declaration of one guard's rules."""

    def __init__(self, store: Store, rules: Sequence[Budget]) -> None:
        self._store = store
        self._rules = rules
        self._again = iter(AGAIN_S)
        self._owing = False

    def begin(self) -> None:
        """Calls are made from now on."""
        self._owing = True
        _declarations.put(ref(self))

    def close(self) -> None:
        """Have it done, if it has begun and is not; waits for a moment. It is not tried again."""
        if self._owing:
            _declarations.drain(CLOSE_S)
        self._owing = False

    def tried(self, *, last: bool) -> float | None:
        """Declare them, if that is still to be done; in how many seconds to try again; `None`: not."""
        if not self._owing:
            return None
        try:
            declare(self._store, self._rules)
        except BudgetGuardError as error:
            log.debug("the rules of this program are not declared in the store: %s", error)
            return None if last else next(self._again, None)
        self._owing = False
        return None

    def renew(self) -> None:
        """In a forked child: the parent declares them."""
        self._owing = False


class OwedRules:
    """What the one thread does by which all guards of a process declare their rules: a guard that is gone owes none."""

    def __init__(self, time_s: Callable[[], float] = time.monotonic) -> None:
        self._time_s = time_s
        self._due: dict[ref[Declaring], float] = {}

    def work(self, owing: ref[Declaring]) -> None:
        """See `Work.work`."""
        self._due[owing] = self._time_s() + FIRST_S

    def rest(self, final: bool) -> float | None:
        """Declare those whose time it is, all if it is the last; in how many seconds it is that of the next."""
        now_s = self._time_s()
        for owing in [each for each, due_s in self._due.items() if final or due_s <= now_s]:
            del self._due[owing]
            declaring = owing()
            again_s = None if declaring is None else declaring.tried(last=final)
            if again_s is not None:
                self._due[owing] = self._time_s() + again_s
        return min((max(due_s - self._time_s(), 0.0) for due_s in self._due.values()), default=None)

    def renew(self) -> None:
        """In a forked child: the parent declares them."""
        for declaring in filter(None, [owing() for owing in self._due]):
            declaring.renew()
        self._due.clear()


_declarations = Errands("rules", OwedRules())
