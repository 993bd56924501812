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
import socket
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from ..concurrency.locks import mutex, take
from ..concurrency.queue import LINE
from ..concurrency.reaper import REAPER
from ..concurrency.steps import Step, Steps
from ..errors import StoreError
from ..ledger import (
    Account,
    Admitted,
    Entry,
    Hold,
    Millis,
    Refusal,
    Stale,
    Store,
    new_id,
)
from ..money import MAX_AMOUNT, Nano
from .journal_files import lease_line
from .outbox import Post

if TYPE_CHECKING:
    from .journal import Journal

log = logging.getLogger("budgetguard")

SLICES = 16
"""A slice is at most one part in so many of what is unspent, if that is enough for the call that asks."""

HORIZON_S = 5.0
"""A slice should last so long, at the pace of late."""

FIRST_CALLS = 8
"""A slice that nothing is known for is enough for so many calls like the one that asks."""

IDLE_S = 1.0
"""A slice that nobody used for so long goes back."""

FLUSH_S = 0.1
"""How often settlements are sent to the store."""

WAIT_S = 0.25
"""How long a call waits for what others send, before it asks for a slice again."""

MOST_WAITING = 50_000
"""With so many settlements unsent, calls wait until some of them are on the books."""

MOST_RETRY_S = 2.0
"""How long it takes at most, once the store is back, until settlements are sent again."""

EXIT_S = 1.0
"""How long the end of the process waits for a store that does not answer."""


@dataclass(slots=True)
class Pace:
    """How fast the calls of this process take from one account."""

    since_s: float
    taken: Nano = 0
    unspent: Nano = 0
    """What was left of the account's limit when last looked at, less what was spent here since then."""
    asking: bool = False
    """Whether a call is asking for a slice already: others, meanwhile, ask for what they need and no more."""


class Lease:
    """A slice of one account."""

    __slots__ = ("account", "amount", "hold", "holds", "id", "old_s", "pace", "room", "used_s")

    def __init__(self, hold: Hold, account: Account, pace: Pace, *, now_s: float, old_s: float) -> None:
        self.id = hold.id
        self.hold = hold
        """At the amount that was admitted."""
        self.account = account
        self.pace = pace
        self.amount = hold.amount
        self.room = hold.amount
        """What no call has taken."""
        self.holds = 0
        """Calls in flight that took from it."""
        self.used_s = now_s
        self.old_s = old_s
        """From then on it serves no more calls, so that it does not expire under them."""


@dataclass(slots=True)
class Taken:
    """What one call took, from which leases."""

    leases: tuple[Lease, ...]
    amount: Nano


@dataclass(frozen=True, slots=True)
class Short:
    """An account whose leases have no room."""

    account: Account


class Leases:
    """
    The leases of one guard.

    `ttl_ms` is how long a slice counts when its process dies. `journal` says where files are kept. With
    `background=False` nothing is sent to the store but by `flush`.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        ttl_ms: Millis,
        *,
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        self._store = store
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
        self._thread: threading.Thread | None = None
        self._leases: dict[str, list[Lease]] = {}
        self._paces: dict[str, Pace] = {}
        self._taken: dict[str, Taken] = {}
        self._post = Post(self._store, self._journal)
        self._landing: dict[str, tuple[Lease, ...]] = {}
        """The leases of calls that the store is about to settle: until it has, they cannot go back."""
        self._over: list[Lease] = []
        """Slices that go back with the next flush."""

    # -- the path of a call --------------------------------------------------------------------------------------

    def take(self, hold: Hold, accounts: Sequence[Account]) -> Nano | Short:
        """Take what a hold wants from every account's leases, or nothing; how much, or the account without room."""
        now_s = self._clock()
        with self._lock:
            return self._take(hold, accounts, now_s, ())

    def fill(self, hold: Hold, accounts: Sequence[Account]) -> Steps[Nano | Refusal | Stale]:
        """`take`, and ask the store for slices until there is enough; raises `StoreError`."""
        refused: dict[str, Refusal] = {}
        final: set[str] = set()
        if len(self._post.waiting) > MOST_WAITING:
            yield Step(self.flush, blocking=True)
        while True:
            with self._lock:
                taken = self._take(hold, accounts, self._clock(), final)
            if not isinstance(taken, Short):
                return taken
            account = taken.account
            key = account.key
            if key in final:
                return refused[key]
            if hold.least is not None:
                yield from self._look(account)
            outcome = yield from self._ask(account, self._want(account, hold), hold.least)
            if isinstance(outcome, Stale):
                return outcome
            if isinstance(outcome, Refusal):
                again = key not in refused and self._spares(key)
                refused[key] = Refusal(account, outcome.balance, outcome.busy)
                if again:
                    yield Step(partial(self.flush, spare=key), blocking=True)
                else:
                    final.add(key)  # what is left in the leases that there are, then

    def lower(self, hold_id: str, amount: Nano) -> None:
        """Give back what a call took above an amount: another budget gave it less."""
        with self._lock:
            taken = self._taken[hold_id]
            for lease in taken.leases:
                lease.room += taken.amount - amount
            taken.amount = amount

    def ids(self, hold_id: str) -> tuple[str, ...]:
        """The leases that a call took from."""
        return tuple([lease.id for lease in self._taken[hold_id].leases])

    def give_back(self, hold_id: str) -> None:
        """The call was not sent."""
        with self._lock:
            taken = self._taken.pop(hold_id, None)
            for lease in () if taken is None else taken.leases:
                lease.holds -= 1
                lease.room += taken.amount if taken is not None else 0

    def settle(self, hold: Hold, entry: Entry) -> None:
        """Have a call that only leases paid for settled with the next batch. Never raises for a disk or a store."""
        line = self._post.line(hold, entry)
        with self._lock:
            if hold.id not in self._taken:
                return
            self._post.put(hold, entry, line)
            self._end(hold.id, entry.cost)
        self._start()

    def settled(self, hold_id: str, cost: Nano) -> None:
        """A call that the store holds for, too, has ended; `landed` says when the store has settled it."""
        with self._lock:
            taken = self._taken.get(hold_id)
            if taken is not None:
                self._landing[hold_id] = taken.leases
                self._end(hold_id, cost)

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
                    self._post.write(lease_line(lease.id, over=True))
                LINE.call([self._name(lease.account)])
            with self._lock:
                open_ = [lease for leases in self._leases.values() for lease in leases] + self._over
                self._post.shorten([_opened(lease) for lease in open_])
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
                        "leases could not be given back, and %d settlements wait: %s", len(self._post.waiting), error
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

    def _take(self, hold: Hold, accounts: Sequence[Account], now_s: float, final: set[str] | tuple[()]) -> Nano | Short:
        if hold.id in self._taken:
            return self._taken[hold.id].amount
        granted, least, found = hold.amount, hold.least, []
        for account in accounts:
            want = hold.amount if least is None else self._want(account, hold)
            lease = self._find(account.key, least if least is not None and account.key in final else want, now_s)
            if lease is None:
                return Short(account)
            if least is not None:
                granted = min(granted, want, lease.room)
            found.append(lease)
        for lease in found:
            lease.room -= granted
            lease.holds += 1
            lease.used_s = now_s
            lease.pace.taken += granted
        self._taken[hold.id] = Taken(tuple(found), granted)
        return granted

    def _find(self, key: str, want: Nano, now_s: float) -> Lease | None:
        for lease in self._leases.get(key, ()):
            if lease.room >= want and now_s < lease.old_s:
                return lease
        return None

    def _want(self, account: Account, hold: Hold) -> Nano:
        """What a call should get: the amount; without a cap of its own, its share of what is unspent (`grant`)."""
        if hold.least is None:
            return hold.amount
        pace = self._paces.get(account.key)
        unspent = 0 if pace is None else pace.unspent
        return min(hold.amount, max(unspent // account.share, hold.useful, hold.least))

    def _end(self, hold_id: str, cost: Nano) -> None:
        """A call has ended at this cost. Interrupted in here, a slice is not given back: it counts as spent."""
        taken = self._taken.pop(hold_id)
        for lease in taken.leases:
            lease.room += taken.amount - cost
            lease.holds -= 1
            lease.pace.unspent -= cost

    def _part_with_idle(self, spare: str | None, everything: bool) -> None:
        now_s = self._clock()
        owing = self._post.owing()
        owing |= {lease.id for leases in self._landing.values() for lease in leases}
        for key, leases in list(self._leases.items()):
            kept = []
            for lease in leases:
                idle = now_s - lease.used_s > IDLE_S or now_s >= lease.old_s or lease.room < lease.amount // SLICES
                if lease.holds or lease.id in owing or not (idle or everything or key == spare):
                    kept.append(lease)
                else:
                    self._over.append(lease)
            if kept:
                self._leases[key] = kept
            else:
                del self._leases[key]
                self._paces.pop(key, None)

    def _spares(self, key: str) -> bool:
        """Whether slices of an account could go back, so that the store has more to give."""
        return any(not lease.holds for lease in self._leases.get(key, ()))

    # -- asking the store ----------------------------------------------------------------------------------------

    def _look(self, account: Account) -> Steps[None]:
        """Look at what is unspent."""
        assert account.limit is not None
        read = partial(self._store.balances, [account.key, *account.window])
        settled = sum([balance.settled for balance in (yield Step(read, blocking=self._store.blocking))])
        with self._lock:
            self._pace(account).unspent = account.limit - settled

    def _ask(self, account: Account, want: Nano, least: Nano | None) -> Steps[Admitted | Refusal | Stale]:
        """Ask for a slice that is enough for one call, or more if this process is fast."""
        with self._lock:
            pace = self._pace(account)
            first, pace.asking = not pace.asking, True
            size = max(want, min(self._size(pace, want), MAX_AMOUNT)) if first else want
        slices = replace(account, share=SLICES)
        need = want if least is None else min(least, want)
        hold = Hold(new_id(), (slices,), size, need, want, self._ttl_ms, "charge", tags={"lease": _holder()})
        try:
            if self._post.files and self._post.file is None:
                yield Step(partial(self._post.open, self._lock), blocking=True)
            reserve = partial(self._store.reserve, hold)
            outcome: Admitted | Refusal | Stale = yield Step(reserve, blocking=self._store.blocking)
        except BaseException:
            REAPER.run(partial(self._journal.give_back, hold.id))  # the store may have placed it, or not
            raise
        finally:
            if first:
                pace.asking = False
        if isinstance(outcome, Admitted):
            now_s = self._clock()
            old_s = now_s + self._ttl_ms / 2000
            lease = Lease(hold._replace(amount=outcome.amount), account, pace, now_s=now_s, old_s=old_s)
            with self._lock:
                self._post.write(_opened(lease))
                self._leases.setdefault(account.key, []).append(lease)
                self._paces[account.key] = pace
                pace.since_s, pace.taken = now_s, 0
            self._start()
        return outcome

    def _pace(self, account: Account) -> Pace:
        pace = self._paces.get(account.key)
        if pace is None:
            pace = self._paces[account.key] = Pace(self._clock())
        return pace

    def _size(self, pace: Pace, want: Nano) -> Nano:
        passed_s = self._clock() - pace.since_s
        if not pace.taken:
            return want * FIRST_CALLS
        return int(pace.taken * HORIZON_S / max(passed_s, FLUSH_S))

    # -- in the background ---------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Have the thread running that sends."""
        if self._thread is not None or not self._background:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="budgetguard-leases", daemon=True)
                with suppress(RuntimeError):  # the interpreter is shutting down: `close_all` comes after this
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        delay_s = FLUSH_S
        while True:
            time.sleep(delay_s)
            try:
                self.flush()
                delay_s = FLUSH_S
            except StoreError as error:
                if delay_s == FLUSH_S:
                    log.warning("the store does not take the settlements of leases, which are kept: %s", error)
                delay_s = min(2 * delay_s, MOST_RETRY_S)
            with self._lock:
                if not self.pending:
                    self._thread = None
                    return

    def _name(self, account: Account) -> Hashable:
        """What the line of waiting calls knows an account by."""
        return id(self._store), account.key

    def _after_fork(self) -> None:
        post = self._post
        self._begin()
        post.drop()


def _opened(lease: Lease) -> str:
    return lease_line(lease.id, give_back=lease.account.lease != "charge")


def _holder() -> str:
    """Whose a slice is, for people who look at what is held."""
    return f"{socket.gethostname()}:{os.getpid()}"


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


os.register_at_fork(after_in_child=_after_in_child)
