"""
What leases owe the store: settlements that are sent together, and the file that tells of them if the process dies.

A settlement is a line in the file before anybody hears of it, so that a killed process is booked to its last call. It
is not synced: after a power cut the slice of the process counts as spent, which is never too little.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

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


Owed: TypeAlias = tuple[Hold, Entry, str]
"""A settlement, and its line."""


class Post:
    """The settlements that wait, and the file. All but `line`, `send` and `open` is called under the leases' lock."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self.waiting: list[Owed] = []
        self.stuck: list[Owed] = []
        """Those that the store will never take: their leases are not given back, and so stay spent."""
        self.file: JournalFile | None = None
        self.files = journal.directory is not None
        """Whether there is a file, or can be."""

    def line(self, hold: Hold, entry: Entry) -> str:
        """A settlement's line, if there is a file to write it to."""
        return line_of(hold, entry) if self.files else ""

    def put(self, hold: Hold, entry: Entry, line: str) -> None:
        """Have a settlement sent."""
        self.write(line)
        self.waiting.append((hold, entry, line))

    def owing(self) -> set[str]:
        """The leases that settlements draw on which are not on the books."""
        return {lease_id for hold, _, _ in (*self.waiting, *self.stuck) for lease_id in hold.leases}

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
            outcomes = self._store.settle_many([(hold, entry) for hold, entry, _ in batch])
        except AmountError as error:
            if len(batch) > 1:  # only one of them may be what it cannot take
                return [stuck for each in batch for stuck in self._send([each])]
            hold, entry, line = batch[0]
            if any(not 0 <= used <= MAX_AMOUNT for used in entry.amounts().values()):
                return self._send([(hold, within_bounds(hold, entry, error), line)])
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
        for (hold, entry, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                log.error("call %s was settled at %d before, now at %d", hold.id, outcome.recorded, entry.cost)

    def open(self, lock: Mutex) -> None:
        """Have the file ready before calls need it: to make one takes a while."""
        with lock:
            if self.file is None:
                self.write(lease_line("none", over=True))

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
            raise_interruption(error)
            self.files = False
            log.error(  # noqa: TRY400 - the error says it all; a traceback would only hide it
                "the file of leases cannot be written (%s): should this process die, its slices count as spent", error
            )
            # It does not tell of all calls from here on, so nobody may give the slices back by it.
            self.close()

    def shorten(self, opened: Sequence[str]) -> None:
        """Take out of the file what is on the books; `opened` are the lines of the leases that are not over."""
        if self.file is not None and (self.file.size > FILE_BYTES or not (opened or self.waiting or self.stuck)):
            with suppress(OSError):
                self.file.rewrite([*opened, *(line for _, _, line in (*self.waiting, *self.stuck))])

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
