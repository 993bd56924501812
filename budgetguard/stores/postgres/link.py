"""
The way to PostgreSQL: connections from a pool, each answer within a deadline, and every error a `StoreError`.

The driver waits for an answer as long as it takes. So a connection waits in steps here, and is dropped at the
deadline: what it was asked may still happen, and is asked again later, which is harmless.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from secrets import randbits
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import Connection, Cursor, errors
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from ...concurrency.locks import mutex
from ...errors import StoreError
from ..remote import Breaker
from .errors import AGAIN, GONE, LOCK_MS, first_line, is_away, is_not_kept, told
from .rows import register

log = logging.getLogger("budgetguard")
T = TypeVar("T")

PostgresPool: TypeAlias = "ConnectionPool[Connection[Any]]"
PostgresBooks: TypeAlias = Cursor[tuple[Any, ...]]

STEP_S = 0.05
"""The shortest time between two looks at the clock while nothing comes."""

GIVE_UP_S = 0.01
"""A pool tries once to connect, when somebody asks; the breaker says how often that is."""

ISOLATION = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"

SESSION = f"""
{ISOLATION};
SET lock_timeout = {LOCK_MS};
SET plan_cache_mode = force_generic_plan;
SET jit = off;
SET statement_timeout = 60000;
SET idle_in_transaction_session_timeout = 10000"""

_SEEN = "_budgetguard_seen"
"""What marks a connection of somebody else's pool that has our isolation level."""

RETRY_S = 0.003
"""The pause before another try."""


FIRST_STEP_S, NEXT_STEP_S = 0.1, 0.5
"""How long a caller waits for a connection before it looks whether there can be one."""


class Late(Exception):
    """There was no answer before the deadline."""


class Rejected(Exception):
    """There is no connection to be had."""


class Limited(Connection[Any]):
    """A connection of a pool of ours: it waits no longer than until `deadline`, on the monotonic clock in seconds."""

    deadline = float("inf")
    ready: PostgresBooks | None = None
    """The cursor on which the store speaks; `None`: it has not spoken yet."""

    def wait(self, gen: Generator[Any, Any, T], interval: float = STEP_S, timeout: float | None = None) -> T:
        """Wait for an answer; raises `Late`."""
        return super().wait(until(gen, self), interval=min(interval, STEP_S))

    def make_ready(self) -> PostgresBooks:
        """Begin to speak."""
        register(self)
        # A name of its own: a pooler that keeps no statements must not run another client's in place of ours.
        self._prepared._prepared_idx = randbits(48)
        self.ready = Cursor(self, row_factory=tuple_row)
        return self.ready


def until(gen: Generator[Any, Any, T], connection: Connection[Any]) -> Generator[Any, Any, T]:
    """Pass on what a generator of the driver waits for, until its deadline. The driver sends 0 if nothing came."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() >= vars(connection).get("deadline", float("inf")):
                gen.close()
                raise Late
            state = gen.send(ready)
    except StopIteration as stop:
        answer: T = stop.value
        return answer


def extend(books: PostgresBooks, seconds: float) -> None:
    """Give what is asked on a cursor so many seconds more: for what is done once."""
    vars(books.connection)["deadline"] = time.monotonic() + seconds


def make_pool(conninfo: str, size: int, refused: Callable[[psycopg.Error], None]) -> PostgresPool:
    """A pool of our own, which connects when it is first asked, and says why it cannot."""

    class Told(Limited):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> Told:
            try:
                return super().connect(*args, **kwargs)
            except psycopg.Error as error:
                refused(error)
                raise

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
        connection_class=Told,
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


class PostgresLink:
    """
    What a store asks through. `make` opens a pool; `close` closes it if it was made here.

    `prepare` is run once for a new pool, with a cursor, before anything else is asked.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Callable[[psycopg.Error], None]], PostgresPool],
        prepare: Callable[[PostgresBooks], None],
        *,
        own: bool,
    ) -> None:
        self.name = name
        self.breaker = Breaker(name)
        self._make = make
        self._prepare = prepare
        self._own = own
        self._lock = mutex("postgres")
        self._pool: PostgresPool | None = None
        self._closing: weakref.finalize[[PostgresPool, list[Connection[Any]]], PostgresLink] | None = None
        self._prepared = False
        self.named = True
        """Whether statements are prepared under names: not behind a pooler that does not keep them."""
        self._idle: list[Connection[Any]] = []
        self._waiters: list[None] = []
        self._pools: weakref.WeakKeyDictionary[Connection[Any], PostgresPool] = weakref.WeakKeyDictionary()
        self._passed_at = float("-inf")
        self._tries = 0
        self._refusal: psycopg.Error | None = None
        """Why it could not connect the last time, and how often it could not."""

    def run(self, work: Callable[[PostgresBooks], T], timeout_s: float, *, again: bool = True) -> T:
        """What `work` returns, within so many seconds; it is repeated where that can help, if `again` allows it."""
        breaker = self.breaker
        if breaker.failures:
            breaker.enter()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = self._once(work, deadline)
            except (Late, PoolTimeout, TooManyRequests) as error:  # those of the pool are the driver's errors, too
                raise self._late(error, timeout_s) from error
            except (Rejected, PoolClosed) as error:
                breaker.failed(error)
                raise StoreError(f"{self.name}: {first_line(error)}") from error
            except errors.Error as error:
                left = deadline - time.monotonic()
                if left <= 0 or not self._may_pass(error, again):
                    raise self._failure(error) from error
                time.sleep(min(RETRY_S, left))
            else:
                self._passed_at = deadline - timeout_s
                if breaker.failures:
                    breaker.passed()
                return found

    def close(self) -> None:
        """Close the pool; the next use opens another."""
        with self._lock:
            closing, self._pool, self._prepared, self._closing = self._closing, None, False, None
            self._idle = []
        if closing is not None:
            closing()

    def abandon(self) -> None:
        """In a forked child: never touch the parent's connections, not even to close them."""
        if self._closing is not None:
            self._closing.detach()

    def _once(self, work: Callable[[PostgresBooks], T], deadline: float) -> T:
        connection = self._take(deadline)
        if not self.named:
            connection.prepare_threshold = None
        try:
            if isinstance(connection, Limited):
                vars(connection)["deadline"] = deadline
                return self._ask(work, connection.ready or connection.make_ready())
            with borrowed(connection, deadline) as books:
                return self._ask(work, books)
        except Late:
            connection.close()
            self._forget_idle()
            raise
        except errors.Error as error:
            if is_away(error):
                self._forget_idle()
            raise
        finally:
            self._give(connection)

    def _ask(self, work: Callable[[PostgresBooks], T], books: PostgresBooks) -> T:
        if not self._prepared:
            self._prepare(books)
            self._prepared = True
        return work(books)

    # Between two calls a connection of our own pool lies in `_idle`, where the next one takes it without asking the
    # pool; it goes back to the pool as soon as somebody waits there.

    def _take(self, deadline: float) -> Connection[Any]:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        waiters = self._waiters
        waiters.append(None)
        try:
            with suppress(IndexError):  # what came back before it was known that somebody waits
                return self._idle.pop()
            return self._connect(deadline)
        finally:
            waiters.pop()

    def _give(self, connection: Connection[Any]) -> None:
        pool = self._pools[connection]
        if self._own and pool is self._pool and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            idle = self._idle
            idle.append(connection)
            if not self._waiters:
                return
            try:
                connection = idle.pop()
            except IndexError:
                return
            pool = self._pools[connection]
        pool.putconn(connection)

    def _forget_idle(self) -> None:
        """Close what lies idle: what happened to one connection has happened to all."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                connection.close()
                self._pools[connection].putconn(connection)

    def _connect(self, deadline: float) -> Connection[Any]:
        """A connection of the pool; raises what the pool could not connect for, rather than wait any longer."""
        pool = self._pool or self._open()
        tries, step_s = self._tries, FIRST_STEP_S
        while True:
            try:
                connection = pool.getconn(min(deadline - time.monotonic(), step_s))
            except PoolClosed:  # by another thread, at this moment
                if not self._own:
                    raise
                with self._lock:
                    self._pool = None if self._pool is pool else self._pool
                pool = self._open()
            except PoolTimeout:
                if self._tries != tries and self._refusal is not None:
                    raise Rejected(str(self._refusal)) from self._refusal
                if time.monotonic() >= deadline:
                    raise
                step_s = NEXT_STEP_S
            else:
                self._pools[connection] = pool
                return connection

    def _refused(self, error: psycopg.Error) -> None:
        self._tries += 1
        self._refusal = error

    def _open(self) -> PostgresPool:
        with self._lock:
            pool = self._pool
            if pool is None:
                pool = self._pool = self._make(self._refused)
                if self._own:  # a store that nobody closes must not keep threads
                    self._closing = weakref.finalize(self, _shut, pool, self._idle)
            return pool

    def _may_pass(self, error: errors.Error, again: bool) -> bool:
        """Whether another try may succeed: on another connection, after another transaction, with the tables made."""
        if is_not_kept(error):
            if self.named:
                self.named = False
                log.warning(
                    "%s: prepared statements are not kept (%s), as by PgBouncer without max_prepared_statements: this "
                    "process goes on without them",
                    self.name,
                    first_line(error),
                )
            return True
        if isinstance(error, GONE) and self._prepared:
            self._prepared = False
            return True
        return isinstance(error, AGAIN) or (again and is_away(error))

    def _late(self, error: Exception, timeout_s: float) -> StoreError:
        said = f"no answer within {timeout_s:.3g} s"
        # A pool that is busy with calls that succeed is no outage.
        if isinstance(error, Late) or time.monotonic() - self._passed_at > 2 * timeout_s:
            self.breaker.failed(TimeoutError(said))
        return StoreError(f"{self.name}: {said}; is it up, reachable and not overloaded?")

    def _failure(self, error: errors.Error) -> StoreError:
        """The error to raise; what the engine itself refused is no outage."""
        if is_away(error):
            self.breaker.failed(RuntimeError(first_line(error)))
        return told(self.name, error)


def _shut(pool: PostgresPool, idle: list[Connection[Any]]) -> None:
    pool.close()
    while idle:
        pool.putconn(idle.pop())


@contextmanager
def borrowed(connection: Connection[Any], deadline: float) -> Iterator[PostgresBooks]:
    """A cursor on a connection of somebody else's pool, as a `Limited` one has; what is changed on it is put back."""
    vars(connection)["deadline"] = deadline
    if connection.pgconn.transaction_status:
        raise StoreError("the pool gave a connection that is inside a transaction: give the store a pool of its own")
    was = connection.autocommit
    waits = connection.wait
    vars(connection)["wait"] = lambda gen, *_, **__: waits(until(gen, connection), interval=STEP_S)
    try:
        if not was:
            connection.autocommit = True
        register(connection)
        if vars(connection).get(_SEEN) is None:
            connection.execute(ISOLATION)
            vars(connection)[_SEEN] = True
        yield Cursor(connection, row_factory=tuple_row)
    finally:
        del vars(connection)["wait"], vars(connection)["deadline"]
        if not was and not connection.closed:
            connection.autocommit = was
