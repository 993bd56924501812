"""
Leases: a part of a budget that one process holds, and serves calls from without asking the store.

A budget that every call of a fleet touches is one row that everybody waits for. With a lease, a process holds a slice
of it, by an ordinary hold, and its calls take from the slice in memory. What they cost is sent to the store together,
a few times a second; every settlement makes the hold smaller by what is then on the books. So the limit holds as
exactly as without: all slices together never come to more than there is room for.

A slice is as large as what this process would use in a few seconds, at most one part in `SLICES` of what is unspent,
and goes back when nobody has used it for a moment: so a budget that comes to its end is left in no process's hand.

A process that dies keeps its slice, which counts as spent when the hold expires, until its journal says what was: each
settlement is written to a file before it is sent, and whoever finds the file of a dead process lands what is in it and
gives the rest of the slice back (`journal_files.py`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet

from ..budgets.news import NO_MARKS, Mark
from ..concurrency.locks import mutex, take
from ..concurrency.queue import LINE
from ..concurrency.reaper import REAPER
from ..concurrency.steps import Step, Steps
from ..errors import StoreError
from ..ledger import (
    Account,
    Admitted,
    Amounts,
    Entry,
    Hold,
    Millis,
    Refusal,
    Stale,
    Store,
    Unit,
    Wanted,
    new_id,
)
from ..money import Nano
from .outbox import Hear, Post, Sender, hear_nothing, over_line
from .slices import Lease, Pace, Short, slice_of, wanted

if TYPE_CHECKING:
    from .journal import Journal

log = logging.getLogger("budgetguard")

WAIT_S = 0.25
"""How long a call waits for what others send, before it asks for a slice again."""

MOST_WAITING = 50_000
"""With so many settlements unsent, calls wait until some of them are on the books."""

EXIT_S = 1.0
"""How long the end of the process waits for a store that does not answer."""

Taken: TypeAlias = tuple[tuple[Lease, ...], Amounts]
"""What one call took: from which leases, and how much from each, by its unit."""

NOTHING: Taken = ((), {})


class Leases:
    """
    The leases of one guard.

    `ttl_ms` is how long a slice counts when its process dies, `journal` says where files are kept. `hear` asks for the
    steers of rules; `marks` hear of what was sent. With `background=False` nothing is sent to the store but by `flush`.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        ttl_ms: Millis,
        *,
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
        hear: Hear = hear_nothing,
        marks: Mapping[str, Mark] = NO_MARKS,
    ) -> None:
        self._store, self._hear, self._marks = store, hear, marks
        self._journal = journal
        self._ttl_ms = ttl_ms
        self._clock = clock
        self._background = background
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Begin with nothing, as a forked child has to: the slices are the parent's, as is the lock on its file."""
        self._lock = mutex("leases")
        self._flushing = mutex("leases flush")
        self._sender = Sender(self._lock, self._hear)
        self._leases: dict[str, list[Lease]] = {}
        self._paces: dict[str, Pace] = {}
        self._taken: dict[str, Taken] = {}
        self._post = Post(self._store, self._journal, self._marks)
        self._landing: dict[str, tuple[Lease, ...]] = {}
        """The leases of calls that the store is about to settle: until it has, they cannot go back."""
        self._over: list[Lease] = []
        """Slices that go back with the next flush."""

    # -- the path of a call --------------------------------------------------------------------------------------

    def take(self, hold: Hold, accounts: Sequence[Account], final: Collection[str] = ()) -> Nano | Short:
        """
        Take what a hold wants from every account's leases, or nothing; how many dollars, or the account without room.

        Where nothing more can be had, which `final` has the keys of, the least of what it wants is enough.
        """
        amounts: dict[Unit, int] = {"dollars": hold.amount}
        found, now_s = [], self._clock()
        with self._lock:
            taken = self._taken.get(hold.id)
            if taken is not None:
                return taken[1]["dollars"]
            for account in accounts:
                key, unit = account.key, account.unit
                asked = hold if unit == "dollars" else hold.wanted(unit)
                want = most = amounts.setdefault(unit, asked.amount)
                if asked.least is not None:
                    most = wanted(asked, account, self._paces.get(key))
                    want = asked.least if key in final else most
                for lease in self._leases.get(key, ()):
                    if lease.room >= want and now_s < lease.old_s and lease.account.limit == account.limit:
                        break
                else:
                    return Short(account)
                if asked.least is not None:
                    amounts[unit] = min(amounts[unit], most, lease.room)
                found.append(lease)
            for lease in found:
                amount = amounts[lease.unit]
                lease.room -= amount
                lease.holds += 1
                lease.used_s = now_s
                lease.pace.taken += amount
            self._taken[hold.id] = tuple(found), amounts
        return amounts["dollars"]

    def fill(self, hold: Hold, accounts: Sequence[Account]) -> Steps[Nano | Refusal | Stale]:
        """`take`, and ask the store for slices until there is enough; raises `StoreError`."""
        refused: dict[str, Refusal] = {}
        final: set[str] = set()
        if len(self._post.waiting) > MOST_WAITING:
            yield Step(self.flush, blocking=True)
        while True:
            taken = self.take(hold, accounts, final)
            if not isinstance(taken, Short):
                return taken
            account = taken.account
            key, asked = account.key, hold.wanted(account.unit)
            if key in final:
                return refused[key]
            if asked.least is not None:
                yield from self._look(account)
            outcome = yield from self._ask(hold, account, wanted(asked, account, self._paces.get(key)))
            if isinstance(outcome, Stale):
                return outcome
            if isinstance(outcome, Refusal):
                again = key not in refused and any(not lease.holds for lease in self._leases.get(key, ()))
                refused[key] = Refusal(account, outcome.balance, outcome.busy)
                if again:
                    yield Step(partial(self.flush, spare=key), blocking=True)
                else:
                    final.add(key)  # what is left in the leases that there are, then

    def lower(self, hold_id: str, amount: Nano, units: Amounts) -> None:
        """Give back what a call took above these amounts: other budgets gave it less."""
        with self._lock:
            leases, taken = self._taken[hold_id]
            less: Amounts = {**taken, **units, "dollars": amount} if units else {**taken, "dollars": amount}
            self._taken[hold_id] = leases, less
            for lease in leases:
                lease.room += taken[lease.unit] - less[lease.unit]

    def beside(self, hold_id: str) -> Amounts:
        """What a call was given beside dollars."""
        return {unit: amount for unit, amount in self._taken[hold_id][1].items() if unit != "dollars"}

    def ids(self, hold_id: str) -> tuple[str, ...]:
        """The leases that a call took from."""
        leases = self._taken[hold_id][0]
        return (leases[0].id,) if len(leases) == 1 else tuple([lease.id for lease in leases])

    def give_back(self, hold_id: str) -> None:
        """The call was not sent."""
        with self._lock:
            leases, taken = self._taken.pop(hold_id, NOTHING)
            for lease in leases:
                lease.holds -= 1
                lease.room += taken[lease.unit]

    def settle(self, hold: Hold, entry: Entry) -> None:
        """Have a call that only leases paid for settled with the next batch. Never raises for a disk or a store."""
        line = self._post.line(hold, entry)
        with self._lock:
            if hold.id not in self._taken:
                return
            self._post.put(hold, entry, line)
            self._end(hold.id, entry)
        if self._sender.thread is None:
            self._start()

    def settled(self, hold_id: str, entry: Entry) -> None:
        """A call that the store holds for, too, has ended; `landed` says when the store has settled it."""
        with self._lock:
            taken = self._taken.get(hold_id)
            if taken is not None:
                self._landing[hold_id] = taken[0]
                self._end(hold_id, entry)

    def landed(self, hold_id: str) -> None:
        """The store has settled a call: its leases may go back."""
        self._landing.pop(hold_id, None)

    # -- what is sent to the store -------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether the store is owed settlements, or slices that are over."""
        return bool(self._post.waiting or self._leases or self._over)

    def flush(self, *, spare: str | None = None, everything: bool = False) -> None:
        """
        Send what was settled, and give back the slices that nobody uses; raises `StoreError`.

        `spare` is the key of an account whose slices go back unless a call is using them right now, `everything`
        means that of all accounts. A call that waits for its slice does not wait for long: somebody is sending, then.
        """
        if not take(self._flushing, -1 if spare is None else WAIT_S):
            return
        try:
            self._post.send(self._lock)
            with self._lock:
                self._part_with_idle(spare, everything)
                over = list(self._over)
            for lease in over:
                self._store.release(lease.id)
                with self._lock:
                    self._over.remove(lease)
                    self._post.write(over_line(lease.hold))
                LINE.call([self._name(lease.account)])
            with self._lock:
                open_ = [lease for leases in self._leases.values() for lease in leases] + self._over
                self._post.shorten([lease.hold for lease in open_])
        finally:
            self._flushing.release()

    def living(self) -> list[tuple[Store, Hold]]:
        """The holds of all slices: until they go back, they are kept. Takes no lock."""
        return [(self._store, lease.hold) for leases in list(self._leases.values()) for lease in list(leases)]

    def close(self, timeout_s: float = EXIT_S) -> bool:
        """Send everything and give all slices back that no call uses, for so long at most; whether that was done."""
        until_s = time.monotonic() + timeout_s
        while self.pending:
            try:
                self.flush(everything=True)
                break
            except StoreError as error:
                if time.monotonic() > until_s:
                    log.warning(
                        "leases are not given back, and %d settlements wait: %s", len(self._post.waiting), error
                    )
                    return False
                time.sleep(0.05)
        with self._lock:
            if not self.pending:
                self._post.close()
        return True

    def drop(self) -> None:
        """Let go of the file, as a process that dies does."""
        with self._lock:
            self._post.drop()

    # -- everything below runs under the lock --------------------------------------------------------------------

    def _end(self, hold_id: str, entry: Entry) -> None:
        """A call has ended at this cost. Interrupted in here, a slice is not given back: it counts as spent."""
        leases, taken = self._taken.pop(hold_id)
        for lease in leases:
            used = entry.cost if lease.unit == "dollars" else entry.amounts()[lease.unit]
            lease.room += taken[lease.unit] - used
            lease.holds -= 1
            lease.pace.unspent -= used

    def _part_with_idle(self, spare: str | None, everything: bool) -> None:
        now_s = self._clock()
        owing = self._post.owing()
        owing |= {lease.id for leases in self._landing.values() for lease in leases}
        for key, leases in list(self._leases.items()):
            kept = []
            for lease in leases:
                over = everything or key == spare or lease.is_idle(now_s)
                if lease.holds or lease.id in owing or not over:
                    kept.append(lease)
                else:
                    self._over.append(lease)
            if kept:
                self._leases[key] = kept
            else:
                del self._leases[key]
                self._paces.pop(key, None)

    # -- asking the store ----------------------------------------------------------------------------------------

    def _look(self, account: Account) -> Steps[None]:
        """Look at what is unspent."""
        assert account.limit is not None
        read = partial(self._store.balances, [account.key, *account.window])
        settled = sum([balance.settled for balance in (yield Step(read, blocking=self._store.blocking))])
        with self._lock:
            self._pace(account).unspent = account.limit - settled

    def _ask(self, call: Hold, account: Account, want: int) -> Steps[Admitted | Refusal | Stale]:
        """Ask for a slice that is enough for one call, or more if this process is fast."""
        with self._lock:
            pace = self._pace(account)
            first, pace.asking = not pace.asking, True
            size = pace.size(want, self._clock()) if first else want
        need = want if (least := call.wanted(account.unit).least) is None else min(least, want)
        hold = slice_of(account, new_id(), Wanted(size, need, want), self._ttl_ms, call.terms)
        post = self._post
        try:
            if post.files and post.file is None:
                yield Step(partial(post.open, self._lock), blocking=True)
            with self._lock:
                post.ask(hold)
            reserve = partial(self._store.reserve, hold)
            outcome: Admitted | Refusal | Stale = yield Step(reserve, blocking=self._store.blocking)
        except BaseException:
            post.asked.pop(hold.id, None)
            REAPER.run(partial(self._journal.give_back, hold.id))  # the store may have placed it, or not
            raise
        finally:
            if first:
                pace.asking = False
        now_s, admitted = self._clock(), isinstance(outcome, Admitted)
        with self._lock:
            post.heard(hold, admitted=admitted)
            if isinstance(outcome, Admitted):
                self._leases.setdefault(account.key, []).append(Lease(hold.admitted(outcome), account, pace, now_s))
                self._paces[account.key], pace.since_s, pace.taken = pace, now_s, 0
        if admitted:
            self._start()
        return outcome

    def _pace(self, account: Account) -> Pace:
        pace = self._paces.get(account.key)
        if pace is None:
            pace = self._paces[account.key] = Pace(self._clock())
        return pace

    def _start(self) -> None:
        """Have the thread running that sends."""
        if self._background:
            self._sender.start(self.flush, lambda: self.pending)

    def _name(self, account: Account) -> Hashable:
        """What the line of waiting calls knows an account by."""
        return id(self._store), account.key

    def _after_fork(self) -> None:
        post = self._post
        self._begin()
        post.drop()


def living_leases() -> list[tuple[Store, Hold]]:
    """The holds of all slices of this process."""
    return [each for leases in list(_all) for each in leases.living()]


def close_all() -> None:
    """At the end of the process: send what was settled, and give all slices back."""
    for leases in list(_all):
        leases.close()


_all: WeakSet[Leases] = WeakSet()


def _after_in_child() -> None:
    for leases in list(_all):
        leases._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
