"""
What leases owe the store: settlements that are sent together, and the file that tells of them if the process dies.

A settlement is a line in the file before anybody hears of it, so that a killed process is booked to its last call. It
is not synced: after a power cut the slice of the process counts as spent, which is never too little.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.news import Mark, tell
from ..concurrency.interrupts import raise_interruption
from ..concurrency.locks import Mutex
from ..errors import AmountError, StoreError
from ..ledger import Conflict, Entry, Hold, Settled, Store
from ..money import MAX_AMOUNT
from .journal_files import JournalFile, lease_line, line_of, within_bounds

if TYPE_CHECKING:
    from .journal import Journal

log = logging.getLogger("budgetguard")

BATCH = 500
"""How many settlements are sent at once."""

FILE_BYTES = 4_000_000
"""How long the file grows before what is on the books is taken out of it."""

FLUSH_S = 0.25
"""How often settlements are sent to the store: so seldom that a burst of ten thousand is served before."""

MOST_RETRY_S = 2.0
"""How long it takes at most, once the store is back, until settlements are sent again."""


HEAR_S = 1.0
"""How often the store is asked what people changed of rules, while calls are served without asking it."""

Hear: TypeAlias = Callable[[], None]
"""Asks that; raises `StoreError`."""


def hear_nothing() -> None:
    """Ask nothing, for leases of what nobody changes."""


Owed: TypeAlias = tuple[Hold, Entry]
"""A settlement that the store does not have yet."""


class Post:
    """The settlements that wait, and the file. All but `line`, `send` and `open` is called under the leases' lock."""

    def __init__(self, store: Store, journal: Journal, marks: Mapping[str, Mark]) -> None:
        self._store = store
        self._journal = journal
        self._marks = marks
        self.waiting: list[Owed] = []
        self.stuck: list[Owed] = []
        """Those that the store will never take: their leases are not given back, and so stay spent."""
        self.file: JournalFile | None = None
        self.files = journal.directory is not None
        """Whether there is a file, or can be."""
        self.asked: dict[str, Hold] = {}
        """The slices that the store is being asked for, by their ids."""

    def line(self, hold: Hold, entry: Entry) -> str:
        """A settlement's line, if there is a file to write it to."""
        return line_of(hold, entry) if self.files else ""

    def put(self, hold: Hold, entry: Entry, line: str) -> None:
        """Have a settlement sent."""
        file = self.file
        if file is None:
            self.write(line)
        else:
            try:
                file.append(line, sync=False)
            except OSError as error:
                self._failed(error)
        self.waiting.append((hold, entry))

    def owing(self) -> set[str]:
        """The leases that settlements draw on which are not on the books."""
        return {lease_id for hold, _ in (*self.waiting, *self.stuck) for lease_id in hold.leases}

    def send(self, lock: Mutex) -> None:
        """Send all that waits; raises `StoreError`."""
        while self.waiting:
            with lock:
                batch = self.waiting[:BATCH]
            stuck = self._send(batch)
            with lock:
                self.stuck += stuck
                del self.waiting[: len(batch)]

    def _send(self, batch: Sequence[Owed]) -> Sequence[Owed]:
        """Send these; which of them the store will never take. Raises `StoreError`."""
        try:
            outcomes = self._store.settle_many(batch)
        except AmountError as error:
            if len(batch) > 1:  # only one of them may be what it cannot take
                return [stuck for each in batch for stuck in self._send([each])]
            hold, entry = batch[0]
            if any(not 0 <= used <= MAX_AMOUNT for used in entry.amounts().values()):
                return self._send([(hold, within_bounds(hold, entry, error))])
            log.error("call %s: %s; it is left out", hold.id, error)  # noqa: TRY400
        except StoreError:
            raise
        except Exception:
            if len(batch) > 1:  # only one of them may be what it cannot take
                return [stuck for each in batch for stuck in self._send([each])]
            log.exception("call %s can never be settled: its lease stays spent", batch[0][0].id)
            return batch
        else:
            self._compare(batch, outcomes)
        return []

    def _compare(self, batch: Sequence[Owed], outcomes: Sequence[Settled | Conflict]) -> None:
        for (hold, entry), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                log.error("call %s was settled at %d before, now at %d", hold.id, outcome.recorded, entry.cost)
            tell(self._marks, outcome)

    def open(self, lock: Mutex) -> None:
        """Have the file ready before calls need it: to make one takes a while."""
        with lock:
            if self.file is None:
                self.write(lease_line("none", over=True))

    def ask(self, slice_: Hold) -> None:
        """A slice is asked for. Should this process die before it hears of it, no call has used any of it."""
        self.asked[slice_.id] = slice_
        self.write(lease_line(slice_.id))

    def heard(self, slice_: Hold, *, admitted: bool) -> None:
        """The store has answered."""
        self.asked.pop(slice_.id, None)
        self.write(opened_line(slice_) if admitted else over_line(slice_))

    def write(self, line: str) -> None:
        """Add a line to the file."""
        directory = self._journal.directory
        if directory is None or not self.files:
            return
        try:
            if self.file is None:
                self.file = JournalFile.make(directory, self._journal.name)
            self.file.append(line, sync=False)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        raise_interruption(error)
        self.files = False
        log.error(
            "the file of leases cannot be written (%s): should this process die, its slices count as spent", error
        )
        # It does not tell of all calls from here on, so nobody may give the slices back by it.
        self.close()

    def shorten(self, opened: Sequence[Hold]) -> None:
        """Take out of the file what is on the books; `opened` are the holds of the leases that are not over."""
        opens = [*map(opened_line, opened), *map(lease_line, self.asked)]
        if self.file is not None and (self.file.size > FILE_BYTES or not (opens or self.waiting or self.stuck)):
            with suppress(OSError):
                self.file.rewrite([*opens, *lines_of((*self.waiting, *self.stuck))])

    def close(self) -> None:
        """Remove the file: all is on the books, or will be by what the leases hold."""
        if self.file is not None:
            self.file.remove()
            self.file = None

    def drop(self) -> None:
        """Let go of the file, as a process that dies does."""
        if self.file is not None:
            self.file.close()
            self.file = None


class Sender:
    """The thread that sends, and hears: it runs while anything is pending, and nothing waits for it."""

    def __init__(self, lock: Mutex, hear: Hear = hear_nothing) -> None:
        self.thread: threading.Thread | None = None
        self._lock = lock
        self._hear = hear
        self._heard_s = time.monotonic()

    def start(self, flush: Callable[[], None], pending: Callable[[], bool]) -> None:
        """Have it running."""
        with self._lock:
            if self.thread is None:
                thread = threading.Thread(
                    target=self._run, args=(flush, pending), name="budgetguard-leases", daemon=True
                )
                with suppress(RuntimeError):  # the interpreter is shutting down: `close_all` comes after this
                    thread.start()
                    self.thread = thread

    def _run(self, flush: Callable[[], None], pending: Callable[[], bool]) -> None:
        delay_s = FLUSH_S
        while True:
            time.sleep(delay_s)
            try:
                flush()
                self._hear_now_and_then()
                delay_s = FLUSH_S
            except StoreError as error:
                if delay_s == FLUSH_S:
                    log.warning("the store does not take the settlements of leases, which are kept: %s", error)
                delay_s = min(2 * delay_s, MOST_RETRY_S)
            with self._lock:
                if not pending():
                    self.thread = None
                    return

    def _hear_now_and_then(self) -> None:
        now_s = time.monotonic()
        if now_s - self._heard_s >= HEAR_S:
            self._heard_s = now_s
            self._hear()


def lines_of(settlements: Iterable[Owed]) -> list[str]:
    """The lines of settlements."""
    return [line_of(hold, entry) for hold, entry in settlements]


def opened_line(lease: Hold) -> str:
    """That a lease was taken, and what becomes of it should this process die."""
    return lease_line(lease.id, give_back=lease.accounts[0].lease != "charge")


def over_line(lease: Hold) -> str:
    """That a lease was given back."""
    return lease_line(lease.id, over=True)
