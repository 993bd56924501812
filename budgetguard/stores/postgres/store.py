"""
The ledger in PostgreSQL: for many machines.

One operation is one call of a function in the database, and one round trip. A settlement is on the server's disk before
its caller hears of it, but holds no account while it waits for the disk. A hold does not wait: a server that loses
power loses the calls in flight too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool

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
    Terms,
    Total,
)
from ..base import know
from ..deadlines import (
    CHANGE_S,
    READ_S,
    RESERVE_S,
    SETTLE_S,
)
from ..encoding import raw
from ..remote import journal_home
from ..rules import (
    REAP,
    REAP_MORE,
    off_clock,
    require_amounts,
    require_entry,
    require_hold,
    require_query,
    require_records,
    require_rows,
)
from . import records as beside
from . import reports, schema
from .address import POOL_SIZE, address, options_of
from .examine import examine
from .link import PostgresBooks, PostgresLink, PostgresPool, make_pool
from .rows import (
    admitted,
    millis,
    pack_hold,
    pack_renewals,
    pack_rows,
    pack_settlements,
    refused,
    settled,
)

T = TypeVar("T")

EVERYTHING = Query()

BATCH = 100
"""Settlements in one transaction: each takes a lock, of which a server has some thousands."""

REAP_PAUSE_S = 0.001
"""How long a reserve that had no room waits before it looks at what is due again."""

LAST_TRY = 0.25
"""The part of a reserve's time that is left for its last try, which must be answered."""

PRUNE_ROWS = 2000
"""Entries, or records, deleted in one transaction."""

RESERVE = f"SELECT budgetguard.reserve(%s::integer, {', '.join(['%b'] * 10)})"
SETTLE = f"CALL budgetguard.settle_durably(%s::integer, %s::bigint, {', '.join(['%b'] * 9)}, NULL)"
LOAD = f"SELECT budgetguard.load(%s::integer, %s::bigint, {', '.join(['%b'] * 12)})"
RENEW = f"SELECT budgetguard.renew(%s::integer, %s::bigint, {', '.join(['%b'] * 6)})"
PRUNE = "SELECT budgetguard.prune(%s::integer, %s::bigint, %s::integer)"
RELEASE = "SELECT budgetguard.release(%s::integer, %s::bigint, %b)"


class PostgresStore:
    """
    A `Store` in a database of PostgreSQL 14 or later, in its schema `budgetguard`.

    `pool` is a `psycopg_pool.ConnectionPool` of yours, or a URL, for which the store has a pool of its own. Without a
    `clock` the server's clock decides. `reserve_s` and `settle_s` are how long these operations may take before they
    fail with `StoreError`, in seconds.
    """

    blocking = True

    def __init__(
        self,
        pool: Any,
        *,
        namespace: str = "default",
        clock: Clock | None = None,
        reserve_s: float = RESERVE_S,
        settle_s: float = SETTLE_S,
        pool_size: int = POOL_SIZE,
    ) -> None:
        if isinstance(pool, AsyncConnectionPool):
            raise ConfigError(
                "store: an AsyncConnectionPool cannot be shared with synchronous callers: give a "
                "psycopg_pool.ConnectionPool, or the URL; async callers wait for it in threads"
            )
        if not isinstance(pool, str | ConnectionPool):
            raise ConfigError(f"store={type(pool).__name__}: a psycopg_pool.ConnectionPool or a URL is needed")
        self.namespace = namespace
        self._clock = clock
        self._reserve_s = reserve_s
        self._settle_s = settle_s
        self._ns = 0
        self._pool = pool
        self._pool_size = pool_size
        self._parents = False
        """Whether the pool is the parent's, in a forked child."""
        where = address(pool) if isinstance(pool, str) else address(pool.conninfo, pool.kwargs)
        self._name = where or "PostgreSQL at the address of its pool"
        self.journal = where and journal_home(where, namespace)
        """The directory where settlements wait while the server cannot be reached; `None`: in memory."""
        self._start()
        know(self)

    @classmethod
    def from_url(cls, url: str, *, namespace: str = "default", clock: Clock | None = None) -> PostgresStore:
        """The store of a `postgresql://` URL; raises `ConfigError` if it is not one."""
        plain, deadlines, size = options_of(url)
        return cls(plain, namespace=namespace, clock=clock, pool_size=size, **deadlines._asdict())

    def __repr__(self) -> str:
        return f"PostgresStore({self._name!r}, namespace={self.namespace!r})"

    def now_ms(self) -> Millis:
        """The store's clock."""
        if self._clock is not None:
            return int(self._clock() * 1000)
        now: Millis = self._ask("SELECT budgetguard.now_ms(-1)", ())[0][0]
        return now

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """Place a hold on all of its accounts, or on none. Near the deadline it reaps no further and refuses."""
        require_hold(hold)
        end = time.monotonic() + self._reserve_s
        last = end - LAST_TRY * self._reserve_s
        reap = REAP
        while True:
            answer, *said = self._reserve(hold, reap, max(end - time.monotonic(), 0.001))
            if answer == "a":
                return admitted(hold, said)
            if answer == "e":
                return Ended()
            if answer == "s":
                stale = self._stale(hold, int(said[0]))
                if stale is not None:
                    return stale
            elif said[3] == "0" or time.monotonic() > last:
                return refused(hold, int(said[0]), int(said[1]), int(said[2]))
            else:  # perhaps by another session, which is given a moment
                reap = REAP_MORE
                time.sleep(REAP_PAUSE_S)

    def _reserve(self, hold: Hold, reap: int, timeout_s: float) -> list[str]:
        packed = pack_hold(hold, self._now(), reap)

        def work(books: PostgresBooks) -> str:
            row = books.execute(RESERVE, (self._ns, *packed), prepare=True).fetchone()
            answer: str = row[0] if row else ""
            return answer

        return self._link.run(work, timeout_s).split()

    def _stale(self, hold: Hold, now: Millis) -> Stale | None:
        """What has changed; `None` if it is as the hold says again."""
        newer = []
        if hold.terms:
            there = {terms.key: terms for terms in self._find_terms([key for key, _ in hold.terms])}
            for key, version in hold.terms:
                terms = there.get(key) or Terms(key, 0, None)
                if terms.version != version:
                    newer.append(terms)
        return Stale(now, tuple(newer)) if newer or off_clock(hold.accounts, now) else None

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """End a hold at its true cost and record the entry, once."""
        return self._settle([(hold, entry)], self._settle_s)[0]

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order, within one deadline; what was done before a failure stays done."""
        return self._settle(settlements, CHANGE_S) if settlements else []

    def _settle(self, settlements: Sequence[tuple[Hold, Entry]], timeout_s: float) -> list[Settled | Conflict]:
        for _, entry in settlements:
            require_entry(entry)
        now = self._now()
        batches = [settlements[place : place + BATCH] for place in range(0, len(settlements), BATCH)]
        packed = [pack_settlements(batch) for batch in batches]

        def work(books: PostgresBooks) -> list[str]:
            answers: list[str] = []
            for some in packed:
                row = books.execute(SETTLE, (self._ns, now, *some), prepare=True).fetchone()
                answers.append(row[0] if row else "")
            return answers

        answers = self._link.run(work, timeout_s)
        return [end for batch, said in zip(batches, answers, strict=True) for end in settled(batch, said)]

    def release(self, hold_id: str) -> None:
        """Give a hold back; a release of an unknown hold is remembered."""
        now, id_ = self._now(), raw(hold_id)
        self._link.run(lambda books: books.execute(RELEASE, (self._ns, now, id_), prepare=True), self._settle_s)

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """Have these holds count for another ttl; whether each does."""
        require_amounts(holds)
        if not holds:
            return []
        said = (self._now(), *pack_renewals(holds))

        def work(books: PostgresBooks) -> list[int]:
            row = books.execute(RENEW, (self._ns, *said)).fetchone()
            return list(row[0]) if row else []

        return [answer == 1 for answer in self._link.run(work, CHANGE_S)]

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used."""
        return reports.balances(self._ask, self._ready(), keys, self._now())

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys."""
        return reports.accounts(self._ask, self._ready(), prefix, after, self._now())

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        found = self._find_terms([key])
        return found[0] if found else None

    def _find_terms(self, keys: Sequence[str]) -> list[Terms]:
        return reports.find_terms(self._ask, self._ready(), keys)

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """Store (`None`: remove) the terms under a key, with the next version; only over `expected` if given."""
        sql = "SELECT budgetguard.put_terms(%s::integer, %b, %b::bytea, %s::bigint)"
        said = (raw(key), None if body is None else raw(body), -1 if expected is None else expected)
        rows = self._link.run(lambda books: books.execute(sql, (self._ns, *said)).fetchall(), CHANGE_S, again=False)
        version: int | None = rows[0][0]
        return None if version is None else Terms(key, version, body)

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix`, in the order of their keys."""
        return reports.all_terms(self._ask, self._ready(), prefix, after)

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        return reports.holds(self._ask, self._ready(), self._now())

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The history, the oldest first: in the order of (time, hold id)."""
        return reports.entries(self._ask, self._ready(), query)

    def totals(self, by: Sequence[str], query: Query = EVERYTHING) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        return reports.totals(self._ask, self._ready(), by, query)

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        return reports.check(self._ask, self._ready())

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts, in the order of their keys, each with what its entries do not tell."""
        return reports.carried(self._ask, self._ready(), after)

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """Put these rows on the books as they are, all of them or none: for copies and restores."""
        require_rows(accounts, entries)
        said = (self._now(), *pack_rows(terms, accounts, entries))
        self._link.run(lambda books: books.execute(LOAD, (self._ns, *said)), READ_S)

    def note(self, records: Sequence[Record], *, replace: bool = False) -> list[bool]:
        """Write these records down, in one transaction; whether each is new."""
        require_records(records)
        if not records:
            return []
        said = (*beside.pack_records(records), replace)
        return self._link.run(
            lambda books: list(books.execute(beside.NOTE, (self._ns, *said)).fetchall()[0][0]), CHANGE_S
        )

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """Records of one kind, by their ids."""
        require_query(query)
        return beside.noted(self._ask, self._ready(), query)

    def prune(self, before_ms: Millis) -> int:
        """Delete entries, accounts whose period ended, and records, before a time; how many entries went."""
        self._prune(beside.PRUNE, before_ms)
        return self._prune(PRUNE, before_ms)

    def _prune(self, sql: str, before_ms: Millis) -> int:
        pruned = 0
        while True:
            rows: int = self._ask(sql, (self._ready(), before_ms, PRUNE_ROWS))[0][0]
            pruned += rows
            if rows < PRUNE_ROWS:
                return pruned

    def namespaces(self) -> list[str]:
        """The names of those that have anything on their books, in order."""
        self._ready()
        return reports.namespaces(self._ask)

    def migrate(self) -> list[str]:
        """Make or change the tables and functions, as a user who may; what was applied."""
        link = PostgresLink(self._name, self._open, lambda books: None, own=isinstance(self._pool, str))
        try:
            return link.run(lambda books: schema.migrate(books, self._name), schema.SETUP_S)
        finally:
            link.close()

    def examine(self) -> list[str]:
        """What about the server may cost money or calls; nothing if all is well."""
        size = self._pool_size if isinstance(self._pool, str) else self._pool.max_size
        return self._link.run(lambda books: examine(books, size), READ_S)

    def close(self) -> None:
        """Close the connections; the next use opens them again. A pool of yours stays open."""
        self._link.close()

    def _start(self) -> None:
        own = isinstance(self._pool, str)
        self._link = PostgresLink(self._name, self._open, self._prepare, own=own)

    def _open(self, refused: Callable[[psycopg.Error], None]) -> PostgresPool:
        if isinstance(self._pool, str):
            return make_pool(self._pool, self._pool_size, refused)
        if self._parents:
            raise StoreError(f"{self._name}: its pool was opened before fork: give the child a pool of its own")
        return self._pool

    def _after_fork(self) -> None:
        """In a forked child: connections are the parent's."""
        self._link.abandon()
        _parents.append(self._link)
        self._parents = self._parents or not (isinstance(self._pool, str) or self._pool.closed)
        self._start()

    def _prepare(self, books: PostgresBooks) -> None:
        """Find the tables, and this namespace in them."""
        schema.need(books, self._name)
        name = raw(self.namespace)
        find = "SELECT ns FROM budgetguard.namespaces WHERE name = %b"
        rows = books.execute(find, (name,)).fetchall()
        if not rows:
            books.execute("INSERT INTO budgetguard.namespaces (name) VALUES (%b) ON CONFLICT DO NOTHING", (name,))
            rows = books.execute(find, (name,)).fetchall()
        self._ns = rows[0][0]

    def _ready(self) -> int:
        """The number of the namespace, once the tables are there."""
        if not self._ns:
            self._link.run(lambda books: None, READ_S)
        return self._ns

    def _now(self) -> int:
        return millis(None if self._clock is None else int(self._clock() * 1000))

    def _ask(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._link.run(lambda books: books.execute(sql.encode(), values, binary=True).fetchall(), READ_S)


_parents: list[PostgresLink] = []
"""Of a forked child: the parent's connections, which must be neither used nor closed here."""
