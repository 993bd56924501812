"""
The herald: hears of what happens to budgets, and has it told, once over all processes.

What it is told on the path of a call is put into a queue, and everything else is done by a thread of its own: an alert
is claimed in the store, so that of a fleet one process tells it, also after a restart, and then it is put to the
sinks. A process that dies between the two tells nobody: at most once, not at least.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from ..budgets.news import Mark, RefusedCall
from ..budgets.rules import Budget
from ..concurrency.errands import Errands
from ..errors import StoreError
from ..ledger import Balance, Clock, Millis, Store
from .absence import Absence, Gone, Returned
from .alert import Alert, at_threshold, rolling_ms, threshold_id
from .claims import Claims
from .options import WHATS, Alerts
from .refusals import Refusals
from .sinks.base import Log, Sink
from .sinks.threads import SinkThread
from .texts import away_alert, back_alert, refusals_alert, refused_text, unpriced_alert
from .watch import RateWatch

log = logging.getLogger("budgetguard")

MOST_WAITING = 10_000
"""Events that wait; those beyond are counted, and that is said."""

AGAIN_S = 2.0
"""How soon an alert is claimed again that the store did not take."""

CLOSE_S = 2.0
"""How long closing waits for what is to be told."""

_MOST_UNCLAIMED = 1_000

_OWN: Final = ("scope//", "max_budget//")
"""How the keys of the limits begin that are a process's own."""

LOGGED: Final = frozenset(WHATS) - {"threshold"}
"""What is not told where nobody says whom: a refusal raises, and the rest is in the log without an alert."""


class Herald:
    """The herald of one guard: a `Tidings`."""

    def __init__(
        self,
        store: Store | None,
        alerts: Alerts,
        rules: Sequence[Budget] = (),
        *,
        clock: Clock = time.time,
        time_s: Callable[[], float] = time.monotonic,
    ) -> None:
        sinks: Sequence[Sink] = alerts.sinks or (Log(),)
        self.threads = tuple(SinkThread(sink, time_s=time_s) for sink in sinks)
        self._store = store
        self._off = frozenset(alerts.off) if alerts.configured else LOGGED
        self._clock = clock
        self._time_s = time_s
        self._claims = Claims(store, tuple(sink.name for sink in sinks))
        self._refusals = Refusals(store, time_s=time_s)
        self._absence = Absence(store, time_s=time_s)
        self._watch = RateWatch(store if alerts.configured else None, rules, self._off, clock=clock, time_s=time_s)
        self._unclaimed: list[Callable[[], None]] = []
        self._again_s = 0.0
        self._lost = 0
        self._worker = Errands("herald", self, most=MOST_WAITING)

    # -- told on the path of a call ------------------------------------------------------------------------------

    def crossed(self, mark: Mark, parts: Sequence[float], balance: Balance) -> None:
        """An account has come to these parts of its limit."""
        self._put(partial(self._crossed, mark, parts, balance))

    def look(self, mark: Mark) -> None:
        """An account's balance is to be read, and its mark set."""
        self._put(partial(self._look, mark))

    def begin(self) -> None:
        """Calls are made."""
        if self._watch.idle:
            self._put(self._watch.begin)

    def refused(self, call: RefusedCall) -> None:
        """A call was refused."""
        self._put(partial(self._refused, call))

    def unpriced(self, model: str, assumed: bool) -> None:
        """A model has no known price."""
        if "unpriced" not in self._off:
            self._put(partial(self._tell, unpriced_alert(model, assumed, self._now_ms())))

    def away(self, error: Exception) -> None:
        """The store could not be reached."""
        self._put(partial(self._absence.begin, str(error)))

    def close(self) -> None:
        """Tell what is left to be told; waits for a moment."""
        until_s = time.monotonic() + CLOSE_S
        self._worker.drain(CLOSE_S)
        for thread in self.threads:
            thread.drain(max(until_s - time.monotonic(), 0.0))
        self._worker.put(self.renew)  # a store that is closed is not to be asked again and again

    def _put(self, event: Callable[[], None]) -> None:
        if not self._worker.put(event):
            self._lost += 1

    # -- in its thread -------------------------------------------------------------------------------------------

    def work(self, event: Callable[[], None]) -> None:
        """Take an event in; again later, where the store does not answer."""
        try:
            event()
        except StoreError as error:
            self._absence.begin(str(error))
            self._again_s = self._time_s() + AGAIN_S
            if len(self._unclaimed) < _MOST_UNCLAIMED:
                self._unclaimed.append(event)
            else:
                self._lost += 1

    def rest(self, final: bool) -> float | None:
        """Write refusals, ask again for what could not be claimed, look after the store and the rates of spending."""
        self._say_lost()
        due = [self._claim_again(final=final), self._write(final=final)]
        if not final:
            self._look_after_store()
            for alert in self._watch.look():
                self.work(partial(self._tell, alert))
        due += [self._absence.due_s(), self._watch.due_s()]
        return min((each for each in due if each is not None), default=None)

    def renew(self) -> None:
        """Forget what waits: in a forked child, it is the parent's."""
        self._unclaimed = []
        self._refusals.forget()
        self._absence.forget()
        self._watch.forget()

    def _crossed(self, mark: Mark, parts: Sequence[float], balance: Balance) -> None:
        for part in parts:
            alert = at_threshold(mark.account, part, balance.settled, balance.held, self._now_ms())
            self.work(partial(self._tell_threshold, mark, alert))

    def _look(self, mark: Mark) -> None:
        assert self._store is not None
        account = mark.account
        found = self._store.balances([account.key, *account.window])
        whole = Balance(account.key, sum(each.settled for each in found), sum(each.held for each in found))
        mark.reached(whole, found[0].settled)

    def _refused(self, call: RefusedCall) -> None:
        self._lost += not self._refusals.add(call)
        account, balance, mark = call.refusal.account, call.refusal.balance, call.mark
        if call.refusal.busy or call.paused or account.key.startswith(_OWN):
            return
        if mark is not None and mark.parts[-1] == 1.0:
            alert = at_threshold(account, 1.0, balance.settled, balance.held, call.at_ms, refused=refused_text(call))
            self._tell_threshold(mark, alert)
        else:
            self._tell(refusals_alert(call))

    def _tell_threshold(self, mark: Mark, alert: Alert) -> None:
        length_ms, part = rolling_ms(mark.account), alert.part or 0.0
        if length_ms is None:
            self._tell(alert)
        else:
            self._tell(alert, threshold_id(mark.account, part, alert.at_ms - length_ms), length_ms)

    def _tell(self, alert: Alert, before: str = "", length_ms: Millis = 0) -> None:
        """Put an alert to the sinks, if nobody else does."""
        if alert.what not in self._off and self._claims.first(alert, before, length_ms):
            for thread in self.threads:
                thread.put(alert)

    def _claim_again(self, *, final: bool) -> float | None:
        if not self._unclaimed:
            return None
        due_s = self._again_s - self._time_s()
        if due_s > 0 and not final:
            return due_s
        events, self._unclaimed = self._unclaimed, []
        for event in events:
            self.work(event)
        return AGAIN_S if self._unclaimed else None

    def _write(self, *, final: bool) -> float | None:
        try:
            return self._refusals.write(final=final)
        except StoreError as error:
            self._absence.begin(str(error))
            return AGAIN_S

    def _look_after_store(self) -> None:
        found: Any = self._absence.look()
        if "away" in self._off:
            return
        if isinstance(found, Gone):
            for thread in self.threads:  # nobody can claim it
                thread.put(away_alert(found.error, self._now_ms()))
        elif isinstance(found, Returned):
            self.work(partial(self._tell, back_alert(found.after_s, self._now_ms())))

    def _say_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            log.error("%d refusals or alerts came faster than they could be written down, and are left out", lost)

    def _now_ms(self) -> Millis:
        return int(self._clock() * 1000)


def open_herald(
    store: Store | None, alerts: Alerts | None = None, rules: Sequence[Budget] = (), *, clock: Clock = time.time
) -> Herald:
    """
    The herald of a guard over this store: `Guard(store, ..., news=open_herald(store, alerts, rules))`.

    `alerts` says who is told and of what; `None`: the log. `rules` are the guard's. Close it with the guard, or by
    `close()`.
    """
    return Herald(store, alerts or Alerts(), rules, clock=clock)
