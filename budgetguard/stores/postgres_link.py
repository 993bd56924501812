"""
The way to PostgreSQL: connections from a pool, each answer within a deadline, and every error a `StoreError`.

The driver waits for an answer as long as it takes. So a connection waits in steps here, and is dropped at the
deadline: what it was asked may still happen, and is asked again later, which is harmless.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import Connection, Cursor, errors
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from ..errors import StoreError
from .postgres_values import register
from .remote import Breaker

T = TypeVar("T")

Pool: TypeAlias = "ConnectionPool[Connection[Any]]"
Books: TypeAlias = Cursor[tuple[Any, ...]]

STEP_S = 0.05
"""The shortest time between two looks at the clock while nothing comes."""

LOCK_MS = 1_000
"""How long a statement waits for a lock, whoever asked for it: above the deadlines of a reserve and a settle."""

GIVE_UP_S = 0.01
"""A pool tries once to connect, when somebody asks; the breaker says how often that is."""

SESSION = f"""
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
SET lock_timeout = {LOCK_MS};
SET statement_timeout = 60000;
SET idle_in_transaction_session_timeout = 10000"""

AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)
"""The engine undid the transaction, and asks for it to be repeated."""

MOVED = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)


class Late(Exception):
    """There was no answer before the deadline."""


class Limited(Connection[Any]):
    """A connection that waits no longer than until `deadline`, on the monotonic clock in seconds."""

    deadline = float("inf")
    ready: Any = None
    """The cursor on which the store speaks; `None`: it has not spoken yet."""

    def wait(self, gen: Generator[Any, Any, T], interval: float = STEP_S, timeout: float | None = None) -> T:
        """Wait for an answer; raises `Late`."""
        return super().wait(until(gen, self.deadline), interval=min(interval, STEP_S))


def until(gen: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
    """Pass on what a generator of the driver waits for, until a deadline. The driver sends 0 if nothing came."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() >= deadline:
                gen.close()
                raise Late
            state = gen.send(ready)
    except StopIteration as stop:
        answer: T = stop.value
        return answer


def make_pool(conninfo: str, size: int) -> Pool:
    """A pool of our own, which connects when it is first asked."""
    defaults = {
        "connect_timeout": "3",
        "fallback_application_name": "budgetguard",
        "keepalives_idle": "30",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
    }
    said = psycopg.conninfo.conninfo_to_dict(conninfo)
    pool: ConnectionPool[Any] = ConnectionPool(
        conninfo,
        connection_class=Limited,
        kwargs={"autocommit": True, **{name: value for name, value in defaults.items() if name not in said}},
        min_size=0,
        max_size=size,
        open=False,
        configure=_configure,
        reconnect_timeout=GIVE_UP_S,
        max_idle=300.0,
        name="budgetguard",
    )
    pool.open()
    return pool


def _configure(connection: Connection[Any]) -> None:
    connection.execute(SESSION.encode())


class Link:
    """
    What a store asks through. `make` opens a pool; `close` closes it if it was made here.

    `prepare` is run once for a new pool, with a cursor, before anything else is asked.
    """

    def __init__(self, name: str, make: Callable[[], Pool], prepare: Callable[[Books], None], *, own: bool) -> None:
        self.name = name
        self.breaker = Breaker(name)
        self._make = make
        self._prepare = prepare
        self._own = own
        self._lock = Lock()
        self._pool: Pool | None = None
        self._closing: weakref.finalize[[], Link] | None = None
        self._prepared = False

    def run(self, work: Callable[[Books], T], timeout_s: float, *, again: bool = True) -> T:
        """What `work` returns, within so many seconds; it is repeated where that can help, if `again` allows it."""
        breaker = self.breaker
        if breaker.failures:
            breaker.enter()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = self._once(work, deadline)
            except errors.Error as error:
                left = deadline - time.monotonic()
                if isinstance(error, AGAIN) and left > 0:
                    continue
                if self._away(error) and again and left > 0:
                    time.sleep(min(0.005, left))
                    continue
                raise self._failure(error, timeout_s) from error
            except (Late, PoolTimeout, TooManyRequests) as error:
                raise self._failure(error, timeout_s) from error
            if breaker.failures:
                breaker.passed()
            return found

    def close(self) -> None:
        """Close the pool; the next use opens another."""
        with self._lock:
            closing, self._pool, self._prepared, self._closing = self._closing, None, False, None
        if closing is not None:
            closing()

    def abandon(self) -> None:
        """In a forked child: never touch the parent's connections, not even to close them."""
        if self._closing is not None:
            self._closing.detach()

    def _once(self, work: Callable[[Books], T], deadline: float) -> T:
        with self._connection(deadline) as books:
            if not self._prepared:
                self._prepare(books)
                self._prepared = True
            return work(books)

    @contextmanager
    def _connection(self, deadline: float) -> Iterator[Books]:
        pool = self._pool or self._open()
        try:
            connection = pool.getconn(deadline - time.monotonic())
        except PoolClosed:
            if not self._own:
                raise
            self._pool = None
            raise PoolTimeout("the pool was closed") from None
        try:
            with limited(connection, deadline) as books:
                yield books
        except Late:
            connection.close()
            raise
        finally:
            pool.putconn(connection)

    def _open(self) -> Pool:
        with self._lock:
            pool = self._pool
            if pool is None:
                pool = self._pool = self._make()
                if self._own:  # a store that nobody closes must not keep threads
                    self._closing = weakref.finalize(self, pool.close)
            return pool

    def _away(self, error: errors.Error) -> bool:
        """Whether an error is one of the connection, and another connection may do."""
        return isinstance(error, MOVED) or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None)

    def _failure(self, error: Exception, timeout_s: float) -> StoreError:
        """The error to raise; what the engine itself refused is no outage."""
        if isinstance(error, Late | PoolTimeout | TooManyRequests):
            said = f"no answer within {timeout_s:g} s"
            self.breaker.failed(TimeoutError(said))
            return StoreError(f"{self.name}: {said}; is it up, reachable, and not overloaded?")
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not isinstance(error, AGAIN):
            self.breaker.failed(RuntimeError(first))
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return StoreError(f"{self.name} is read only, as a standby is: give the URL of the primary server")
        if isinstance(error, errors.InsufficientPrivilege):
            return StoreError(
                f"{self.name}: {first}; let its owner run `budgetguard migrate`, or what `budgetguard sql postgres` "
                "prints, which says what to grant"
            )
        return StoreError(f"{self.name}: {first}")


@contextmanager
def limited(connection: Connection[Any], deadline: float) -> Iterator[Books]:
    """A cursor on a connection that is ours for the moment, and that waits until a deadline only."""
    if isinstance(connection, Limited):
        connection.deadline = deadline
        books = connection.ready
        if books is None:
            register(connection)
            books = connection.ready = Cursor(connection, row_factory=tuple_row)
        yield books
        return
    # Somebody else's pool: what is changed on its connection is put back.
    was = connection.autocommit
    waits = connection.wait
    vars(connection)["wait"] = lambda gen, *_, **__: waits(until(gen, deadline), interval=STEP_S)
    try:
        if not was:
            connection.autocommit = True
        register(connection)
        yield Cursor(connection, row_factory=tuple_row)
    finally:
        del vars(connection)["wait"]
        if not was and not connection.closed:
            connection.autocommit = was
