"""
The ledger in a SQLite file: for the processes of one machine.

Everything that a call changes runs in one short transaction inside the gate (`gate.py`), together with what other
threads want at that moment. A batch that settles is synced to the disk before anybody hears of it; one that only
reserves is not, because a machine that loses power loses the calls in flight too.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from urllib.parse import unquote, urlsplit

from ...concurrency.interrupts import interruption
from ...concurrency.loops import askable
from ...errors import ConfigError, StoreError
from ...ledger import (
    Admitted,
    Balance,
    Carried,
    Clock,
    Conflict,
    Difference,
    Ended,
    Entry,
    Hold,
    Millis,
    OpenHold,
    Query,
    Record,
    RecordQuery,
    Refusal,
    Settled,
    Stale,
    Store,
    Terms,
    Total,
    nothing_lives,
)
from ..base import know_resting
from ..combiner import Combiner, Gate, Operation, WouldWait
from ..deadlines import (
    CHANGE_S,
    READ_S,
    RESERVE_S,
    SETTLE_S,
    Deadlines,
    take_deadlines,
)
from ..disk import NO_TEXT
from ..permissions import UNSETTLED
from ..rules import (
    require_amounts,
    require_costs,
    require_entry,
    require_hold,
    require_query,
    require_records,
    require_rows,
)
from . import reports
from .books import SQLiteBooks
from .history import PRUNE_ROWS, load, note, prune, prune_records, put_terms
from .link import SQLiteFile, is_busy, is_full
from .rows import Execute, find_sums, find_terms

EVERYTHING = Query()

BUSY_S = 0.005
"""How long to wait for a program that does not use the gate before one looks again."""

FORK_S = 10.0
"""How long a fork waits for a store's transaction or report to end, in seconds."""


class SQLiteStore:
    """
    A `Store` in the file at `path`, shared by all processes of one machine that open it.

    With `durable=False` a settlement may be lost when the machine (not merely the process) goes down.
    `reserve_s` and `settle_s` are how long these operations may take before they fail with `StoreError`, in seconds.
    """

    blocking = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str = "default",
        clock: Clock = time.time,
        durable: bool = True,
        reserve_s: float = RESERVE_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._clock = clock
        self._reserve_s = reserve_s
        self._settle_s = settle_s
        self._file = SQLiteFile(os.path.abspath(path), namespace, durable=durable)
        self.namespace = namespace
        self.journal = self._file.path + UNSETTLED
        """The directory where settlements wait while this file cannot be reached."""
        self.living: Callable[[Store], Sequence[Hold]] = nothing_lives
        """The holds whose calls live, whatever the clock says."""
        self._forking: ExitStack | None = None
        """While the process forks: what has locked the connections, which are closed."""
        self._start()
        know_resting(self)

    @classmethod
    def from_url(cls, url: str, *, namespace: str = "default", clock: Clock = time.time) -> SQLiteStore:
        """The store of a `sqlite:///` URL; raises `ConfigError` if it is not one."""
        parts = urlsplit(url)
        path = unquote(parts.path, errors=NO_TEXT)
        if parts.netloc or not path.startswith("/") or path in {"/", "/:memory:"}:
            raise ConfigError(
                f"store {url}: a SQLite file is sqlite:///budgets.db below the working directory, or "
                "sqlite:////var/lib/budgets.db by its full path; memory:// needs no file"
            )
        deadlines, more = take_deadlines(parts.query, Deadlines())
        options = dict(more)
        synchronous = options.pop("synchronous", "full").lower()
        if options:
            raise ConfigError(
                f"store {url}: unknown option {min(options)!r}; there are synchronous=full or =normal, reserve_s and "
                "settle_s"
            )
        if synchronous not in {"full", "normal"}:
            raise ConfigError(f"store {url}: synchronous={synchronous} is neither full nor normal")
        durable = synchronous == "full"
        return cls(path[1:], namespace=namespace, clock=clock, durable=durable, **deadlines._asdict())

    def now_ms(self) -> Millis:
        """The store's clock."""
        return int(self._clock() * 1000)

    @askable
    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """Place a hold on all of its accounts, or on none."""
        require_hold(hold)
        return self._combiner.submit(SQLiteBooks.reserve, (hold,), durable=False, timeout_s=self._reserve_s)

    @askable
    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """End a hold at its true cost and record the entry, once."""
        require_entry(entry)
        return self._combiner.submit(SQLiteBooks.settle, (hold, entry), durable=True, timeout_s=self._settle_s)

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order, in one transaction."""
        require_costs(entry for _, entry in settlements)
        return self._combiner.submit(SQLiteBooks.settle_many, (settlements,), durable=True, timeout_s=CHANGE_S)

    @askable
    def release(self, hold_id: str) -> None:
        """Give a hold back; a release of an unknown hold is remembered."""
        self._combiner.submit(SQLiteBooks.release, (hold_id,), durable=False, timeout_s=self._settle_s)

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        with self._file.read(self._file.reader) as connection:
            return None if connection is None else find_terms(connection.execute, self._file.ns, key)

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """Store (`None`: remove) the terms under a key, with the next version; only over `expected` if given."""
        return self._combiner.submit(put_terms, (key, body, expected), durable=True, timeout_s=CHANGE_S)

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """Have these holds count for another ttl, in one transaction; whether each does."""
        require_amounts(holds)
        return self._combiner.submit(SQLiteBooks.renew, (holds,), durable=False, timeout_s=CHANGE_S)

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used."""
        with self._file.read(self._file.reader) as connection:
            if connection is None:
                return [Balance(key) for key in keys]
            expired = reports.expired(connection, self._file.ns, self.now_ms())
            found = []
            for key in keys:
                settled, held = find_sums(connection.execute, self._file.ns, key)
                charged, taken = expired.get(key, (0, 0))
                found.append(Balance(key, settled + charged, held - taken))
            return found

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys."""
        return reports.accounts(self._file, prefix, after, self.now_ms())

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix`, in the order of their keys."""
        return reports.all_terms(self._file, prefix, after)

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        return reports.holds(self._file, self.now_ms())

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The history, the oldest first: in the order of (time, hold id)."""
        return reports.entries(self._file, query)

    def totals(self, by: Sequence[str], query: Query = EVERYTHING) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        return reports.totals(self._file, by, query)

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        return reports.check(self._file)

    def note(self, records: Sequence[Record], *, replace: bool = False) -> list[bool]:
        """Write these records down, in one transaction; whether each is new."""
        require_records(records)
        if not records:
            return []
        return self._combiner.submit(note, (records, replace), durable=True, timeout_s=CHANGE_S)

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """Records of one kind, by their ids."""
        require_query(query)
        return reports.noted(self._file, query)

    def prune(self, before_ms: Millis) -> int:
        """Delete entries, accounts whose period ended, and records, before a time; how many entries went."""
        self._prune(prune_records, before_ms)
        return self._prune(prune, before_ms)

    def _prune(self, part: Callable[[SQLiteBooks, Millis], int], before_ms: Millis) -> int:
        pruned = 0
        while True:
            rows = self._combiner.submit(part, (before_ms,), durable=True, timeout_s=CHANGE_S)
            pruned += rows
            if rows < PRUNE_ROWS:
                return pruned

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts, in the order of their keys, each with what its entries do not tell."""
        return reports.carried(self._file, after)

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """Put these rows on the books as they are, in one transaction."""
        require_rows(accounts, entries)
        self._combiner.submit(load, (terms, accounts, entries), durable=True, timeout_s=READ_S)

    def namespaces(self) -> list[str]:
        """The names of those that have anything on their books, in order."""
        return reports.namespaces(self._file)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._file.all_locked(None):
            self._file.close()
        self._combiner.drain(CHANGE_S)

    def _who_lives(self) -> Sequence[Hold]:
        return self.living(self)

    def _start(self) -> None:
        self._gate = Gate(self._file.path)
        self._combiner = Combiner(self._gate, self._run, self._is_prompt)
        self._books: SQLiteBooks | None = None

    # A connection must not be there while the process forks: the child would think that it holds the parent's locks on
    # the file. So they are closed first, and both sides open new ones when they need them.

    def _before_fork(self) -> None:
        with ExitStack() as stack, suppress(StoreError):  # one that is in use all the same is told of in the child
            stack.enter_context(self._file.all_locked(FORK_S))
            self._file.close()
            self._forking = stack.pop_all()

    def _after_fork_in_parent(self) -> None:
        if self._forking is not None:
            self._forking.close()
            self._forking = None

    def _after_fork(self) -> None:
        """In a forked child: what is open or locked is the parent's."""
        if self._forking is None:
            self._file.abandon()
        self._after_fork_in_parent()
        self._gate.drop()
        self._start()

    def _is_prompt(self, durable: bool) -> bool:
        """Whether an operation would neither wait for the disk nor open, free or copy anything first."""
        file = self._file
        waits = file.durable if durable else file.full
        return not waits and file.writer.cursor is not None and not file.is_log_long()

    def _run(self, batch: list[Operation]) -> None:
        """Inside the gate: do a batch in one transaction; if that fails, each operation in its own."""
        with self._file.writer.lock:
            lost = self._file.lost()
            if lost is not None:
                self._gate.drop()  # its lock files are lost, too
                for operation in batch:
                    operation.error = lost
                return
            error = self._transact(batch)
            if error is None:
                return
            for operation in batch:
                failed = error if len(batch) == 1 else self._transact([operation])
                if (
                    failed is not None
                    and is_full(failed)
                    and _may_have_ballast(operation)
                    and self._file.free_ballast()
                ):
                    failed = self._transact([operation])
                if failed is not None:
                    operation.error = self._file.failure(failed) if isinstance(failed, sqlite3.Error) else failed

    def _transact(self, batch: list[Operation]) -> Exception | None:
        """Run operations in one transaction; the exception that undid it, if one did."""
        file, books, durable, beside = self._file, None, False, False
        for operation in batch:
            durable = durable or operation.durable
            beside = beside or operation.work is note
        try:
            books = self._write()
            if file.full and (beside or not durable):
                file.need_ballast()
            if file.syncs is not (durable and file.durable):
                file.set_sync(durable)
            try:
                books.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                _begin_later(books.execute, batch, error)
            books.now = int(self._clock() * 1000)
            for operation in batch:
                books.begin(operation)
                operation.result = operation.work(books, *operation.args)
            books.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, sqlite3.Error):
                file.writer.close()
            elif books is not None and books.cursor.connection.in_transaction:
                books.cursor.connection.rollback()
            if not isinstance(error, Exception) or interruption(error) is not None:
                raise
            return error
        file.log_operations += len(batch)
        if durable and file.is_log_long():
            file.copy_log()
        return None

    def _write(self) -> SQLiteBooks:
        """The books, of the connection that is open to write."""
        cursor, books = self._file.writer.cursor, self._books
        if books is None or cursor is None or books.cursor is not cursor:
            books = self._books = SQLiteBooks(self._file.write(), self._file.ns, self._who_lives)
        books.living = None
        return books


def _may_have_ballast(operation: Operation) -> bool:
    """Whether the space that is kept back is for it: for what was spent, and not for what is written down beside it."""
    return operation.durable and operation.work is not note


def _begin_later(execute: Execute, batch: list[Operation], error: sqlite3.OperationalError) -> None:
    """Begin to write when a program that does not use the gate is done; raise the error at the last deadline."""
    until_s = max(operation.deadline for operation in batch)
    while is_busy(error):
        if batch[0].prompt:
            raise WouldWait
        if time.monotonic() > until_s:
            break
        time.sleep(BUSY_S)
        try:
            execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as again:
            error = again
        else:
            return
    raise error
