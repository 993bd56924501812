"""The store in PostgreSQL: the contract, and what is its own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from budgetguard.errors import ConfigError, StoreError
from budgetguard.ledger import (
    Account,
    Admitted,
    Balance,
    Entry,
    Hold,
    Record,
    RecordQuery,
    Refusal,
    Settled,
    Store,
    Terms,
    new_id,
)
from budgetguard.stores import open_store
from budgetguard.stores.deadlines import RESERVE_S
from budgetguard.stores.postgres.rows import pack_hold, register
from budgetguard.stores.postgres.schema import schema_sql
from budgetguard.stores.postgres.store import RESERVE, PostgresStore
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract, together
from tests.support.children import ends, fork
from tests.support.servers import running, start


class TestPostgresStore(StoreContract):
    def make_store(self, clock: StoppedClock) -> Store:
        self.namespace = uuid4().hex
        return self.same_store(clock)

    def same_store(self, clock: StoppedClock) -> Store:
        return PostgresStore(running("postgres"), namespace=self.namespace, clock=clock, reserve_s=5, settle_s=5)


def url() -> str:
    return running("postgres")


def pay(store: PostgresStore, amount: int = 10, key: str = "a") -> Hold:
    """One call, from its hold to its settlement."""
    held = Hold(new_id(), (Account(key, limit=10**9),), amount)
    assert store.reserve(held) == Admitted(amount)
    assert isinstance(store.settle(held, Entry(held.id, amount)), Settled)
    return held


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database."""
    name = f"d{uuid4().hex}"
    with psycopg.connect(url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(url())._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


# How it is opened.


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_url_opens_it_and_asks_nobody(scheme):
    """A program starts, and its configuration is checked, while the database is away."""
    store = open_store(f"{scheme}://ann:s3cret@127.0.0.1:1/shop?pool_size=3&sslmode=disable", namespace="n")
    assert isinstance(store, PostgresStore)
    assert repr(store) == "PostgresStore('PostgreSQL at 127.0.0.1:1/shop', namespace='n')"
    assert store.journal is not None


@pytest.mark.parametrize("size", ["0", "-1", "many", "1001", ""])
def test_a_pool_size_is_a_number_of_connections(size):
    """The error names the option."""
    with pytest.raises(ConfigError, match="pool_size"):
        open_store(f"postgresql://h/d?pool_size={size}")


@pytest.mark.parametrize("secret", ["s3/cret", "s3#cret", "s3?cret", "[s3cret", "s3@cret", "s3cret/?reserve_s=s3cret"])
def test_a_password_that_is_not_escaped_is_an_error_without_it(secret):
    """It would be taken for the host's name, a database or an option, and shown."""
    for open_it in (open_store, pool_of):
        with pytest.raises(ConfigError, match="%XX") as unread:
            open_it(f"postgresql://ann:{secret}@host/shop")
        assert "3" not in str(unread.value).replace("5432", "")
        assert unread.value.__cause__ is None


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ("/shop", "the local socket:5432/shop"),
        ("/shop?host=/var/run/postgresql&pool_size=3", "/var/run/postgresql:5432/shop"),
        ("/?host=/tmp&reserve_s=1&dbname=a%20b", "/tmp:5432/a b"),
        ("ann@[::1]:5433,h2/shop?application_name=a+b%2B", "::1,h2:5433,/shop"),
    ],
)
def test_a_url_is_libpqs_own_but_for_our_options(rest, name):
    """A database on a local socket has a URL without a host."""
    store = open_store(f"postgresql://{rest}")
    assert isinstance(store, PostgresStore)
    assert repr(store).startswith(f"PostgresStore('PostgreSQL at {name}', ")
    if "application_name" in rest:
        assert store._pool == f"postgresql://{rest}"
    store.careless = True


def test_no_error_shows_a_password():
    """Errors end up in logs, and in other people's trackers."""
    store = open_store("postgresql://ann:s3cret@127.0.0.1:1/shop")
    with pytest.raises(StoreError, match=r"PostgreSQL at 127\.0\.0\.1:1/shop: .*refused") as failed:
        store.reserve(Hold(new_id(), (), 1))
    texts = "".join(traceback.format_exception(failed.value))
    with pytest.raises(ConfigError, match="cannot be read") as unread:
        open_store("postgresql://ann:s3c%ret@host/shop?nonsense=1")
    texts += "".join(traceback.format_exception(unread.value))
    assert "s3c" not in texts.replace('ann:s3c%ret@host/shop?nonsense=1")', "").replace(
        '"postgresql://ann:s3cret@127.0.0.1:1/shop"', ""
    )
    store.careless = True


def test_a_pool_of_the_programs_own_is_used_and_left_as_it_was():
    """Also one whose connections are in transactions and give rows as dicts."""
    kwargs = {"row_factory": dict_row}
    with ConnectionPool(url(), min_size=1, max_size=2, kwargs=kwargs, open=True) as pool:
        store = open_store(pool, namespace=uuid4().hex)
        assert isinstance(store, PostgresStore)
        pay(store)
        store.close()
        pay(store)
        assert store.balances(["a"])[0].settled == 20
        with pool.connection() as connection:
            assert not connection.autocommit
            assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}
        assert store.check() == []


def pool_of(conninfo: Any = "", kwargs: Any = None) -> PostgresStore:
    """A store on a pool that never connects."""
    store = open_store(ConnectionPool(conninfo, kwargs=kwargs, open=False), namespace="shop")
    assert isinstance(store, PostgresStore)
    store.careless = True
    return store


def test_each_database_has_a_journal_of_its_own_however_its_pool_is_made(monkeypatch):
    """What waits for one database must not be booked in another."""
    made = [
        pool_of("host=prod dbname=x password=s3cret"),
        pool_of("postgresql://ann:s3cret@staging/x"),
        pool_of(kwargs={"host": "prod", "port": 5433, "dbname": "x", "password": "s3cret"}),
        pool_of("host=prod dbname=x", {"dbname": "y", "password": "s3cret"}),
        pool_of("service=prod"),
        pool_of("service=staging password=s3cret"),
        pool_of("host=prod hostaddr=10.0.0.1 dbname=x"),
        pool_of("host=prod hostaddr=10.0.0.2 dbname=x"),
    ]
    same = pool_of(kwargs={"host": "prod", "dbname": "x"})
    assert made[0].journal == same.journal is not None
    for name, value in [("PGDATABASE", "a"), ("PGDATABASE", "b"), ("PGHOST", "c"), ("PGPORT", "7"), ("PGSERVICE", "d")]:
        monkeypatch.setenv(name, value)
        made.append(pool_of())
    assert len({store.journal for store in made}) == len(made)
    assert "s3cret" not in "".join(map(repr, made))


def test_a_pool_whose_address_is_up_to_a_function_has_no_journal_of_its_own():
    """Nobody knows beforehand where it leads; unless host and database are fixed, as beside a fresh password."""
    assert pool_of(lambda: "host=prod dbname=x").journal is None
    assert pool_of("host=prod", lambda: {"dbname": "x"}).journal is None
    known = pool_of("host=prod dbname=x", lambda: {"password": "s3cret"})
    assert known.journal == pool_of("host=prod dbname=x").journal is not None


def lose(statements: Any) -> None:
    """A pooler without prepared statements hands on a connection on which those names are unknown."""
    statements.exec_(b"DEALLOCATE ALL")


def give_to_others(statements: Any) -> None:
    """... or on which another client has used the same names, for statements with other parameters."""
    names = statements.exec_(b"SELECT name FROM pg_prepared_statements")
    for row in range(names.ntuples):
        name = names.get_value(row, 0)
        statements.exec_(b'DEALLOCATE "%s"' % name)
        statements.exec_(b'PREPARE "%s" (int) AS SELECT $1' % name)


@pytest.mark.parametrize("own", [True, False], ids=["own pool", "given pool"])
@pytest.mark.parametrize("happens", [lose, give_to_others])
def test_a_pooler_that_keeps_no_prepared_statements_is_noticed_once(happens, own, caplog):
    """At the first sign: no call is refused for it, none is done by a wrong statement, and it is said once."""
    with ConnectionPool(url(), min_size=1, max_size=1) as pool:
        where: Any = f"{url()}?pool_size=1" if own else pool
        store = open_store(where, namespace=uuid4().hex)
        for _ in range(3):
            pay(store)
        connection: Any = store._link._idle[0] if own else next(iter(store._link._pools))
        happens(connection.pgconn)
        for _ in range(20):
            pay(store)
            assert store.balances(["never"])[0].settled == 0
        assert store.balances(["a"])[0].settled == 230
        assert caplog.text.count("goes on without them") == 1
        connection = store._link._idle[0] if own else next(iter(store._link._pools))
        happens(connection.pgconn)
        pay(store)
        assert store.check() == []
        assert caplog.text.count("goes on without them") == 1
        store.close()


def test_prepared_statements_have_names_that_no_other_client_has():
    """Else a pooler that keeps none may run another client's statement, which fits by chance, in place of ours."""
    names = []
    for _ in range(2):
        store = PostgresStore(url(), namespace=uuid4().hex, pool_size=1)
        pay(store)
        found = store._link._idle[0].pgconn.exec_(b"SELECT name FROM pg_prepared_statements")
        names.append({found.get_value(row, 0) for row in range(found.ntuples)})
        store.close()
    assert all(names)
    assert names[0].isdisjoint(names[1])
    assert b"_pg3_0" not in names[0] | names[1]


def test_an_async_pool_is_an_error_that_says_what_to_give():
    """Its connections belong to one event loop."""
    with pytest.raises(ConfigError, match=r"give a psycopg_pool\.ConnectionPool"):
        open_store(AsyncConnectionPool("postgresql://h/d", open=False))


def test_a_server_whose_transactions_are_serializable_by_default_makes_no_difference(database):
    """The locks are made for READ COMMITTED."""
    name = urlsplit(database).path[1:]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store = PostgresStore(database, reserve_s=5, settle_s=5)
    together(4, lambda _: [pay(store) for _ in range(20)])
    assert store.balances(["a"])[0].settled == 800
    assert store.check() == []
    store.close()


def test_a_forked_child_has_connections_of_its_own():
    """Two processes that speak on one socket hear each other's answers."""
    store = PostgresStore(url(), namespace=uuid4().hex, reserve_s=5, settle_s=5)
    pay(store)

    def use() -> None:
        for _ in range(10):
            pay(store)
        store.close()

    children = [fork(use) for _ in range(3)]
    for _ in range(10):
        pay(store)
    assert ends(*children) == [0, 0, 0]
    pay(store)
    assert store.balances(["a"])[0].settled == 420


def test_a_forked_child_may_not_use_the_pool_that_its_parent_opened():
    """Its connections are the parent's. A pool that was not open yet serves both."""
    shared = ConnectionPool(url(), min_size=1, open=True)
    later = ConnectionPool(url(), min_size=1, open=False)
    stores = [open_store(pool, namespace=uuid4().hex) for pool in (shared, later)]
    pay(stores[0])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            held = Hold(new_id(), (), 1)
            steps = [
                lambda: stores[0].reserve(held),
                lambda: stores[0].settle(held, Entry(held.id, 1)),
                lambda: stores[0].release(held.id),
                lambda: stores[0].balances(["a"]),
                stores[0].migrate,
                stores[0].examine,
            ]
            for step in steps:
                with pytest.raises(StoreError, match="was opened before fork: give the child a pool of its own"):
                    step()
            later.open()
            pay(stores[1])
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    later.open()
    for store in stores:
        pay(store)
    assert [store.balances(["a"])[0].settled for store in stores] == [20, 20]
    for store in stores:
        store.careless = True
    shared.close()
    later.close()


# Tables.


def test_eight_processes_that_start_together_make_the_tables_once(database):
    """A deployment starts all of its workers at one moment."""
    program = (
        "import sys; from budgetguard.stores.postgres.store import PostgresStore\n"
        "store = PostgresStore(sys.argv[1])\n"
        "print(len(store.migrate()), store.balances(['a'])[0].settled); store.close()"
    )
    command = [sys.executable, "-c", program, database]
    running_ = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in running_)
    assert said == ["0 0"] * 7 + ["4 0"]


def test_the_tables_are_made_when_they_are_first_needed(database):
    """And found again; and made again if somebody removed them."""
    store = PostgresStore(database, reserve_s=5, settle_s=5)
    pay(store)
    assert store.migrate() == []
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA budgetguard CASCADE")
    pay(store)
    assert store.balances(["a"])[0].settled == 10
    store.close()


def test_a_dba_can_make_the_tables_by_hand(database):
    """For a program that may not."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE r{database[-32:]} LOGIN")
    limited = urlsplit(database)._replace(
        netloc=urlsplit(database).netloc.replace("budgetguard@", f"r{database[-32:]}@")
    )
    store = PostgresStore(limited.geturl(), reserve_s=5, settle_s=5)
    with pytest.raises(StoreError, match=r"run `budgetguard migrate`.*budgetguard sql postgres"):
        store.reserve(Hold(new_id(), (), 1))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(schema_sql())
    with pytest.raises(StoreError, match="budgetguard sql postgres"):
        store.reserve(Hold(new_id(), (), 1))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"GRANT USAGE ON SCHEMA budgetguard TO r{database[-32:]}")
        connection.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA budgetguard TO r{database[-32:]}"
        )
    pay(store)
    store.close()


def test_functions_of_an_older_version_are_replaced(database):
    """An upgrade of the program brings its own, over tables that stay."""
    store = PostgresStore(database, reserve_s=5, settle_s=5)
    pay(store)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE budgetguard.schema_version SET version = 1")
        connection.execute(
            "CREATE OR REPLACE FUNCTION budgetguard.id_lock(p_ns integer, p_id bytea) RETURNS bigint "
            "LANGUAGE sql IMMUTABLE AS $$ SELECT 1 / 0::bigint $$"
        )
    store.close()
    store.settle_many([(Hold(str(n), (), 0), Entry(str(n), 1)) for n in range(2)])
    assert store.migrate() == []
    assert [entry.cost for entry in store.entries()] == [10, 1, 1]
    store.close()


def test_tables_of_a_newer_version_are_refused(database):
    """A program that is older than the tables does not know their rules."""
    store = PostgresStore(database, reserve_s=5)
    store.migrate()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE budgetguard.schema_version SET version = 99")
    for ask in (store.migrate, store.holds):
        with pytest.raises(StoreError, match=r"version 99.*upgrade budgetguard-llm"):
            ask()
    store.careless = True


def test_it_says_what_is_wrong_with_a_server(database):
    """Before money depends on it."""
    assert PostgresStore(database).examine() == []
    name = urlsplit(database).path[1:]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    [first, second] = PostgresStore(database, pool_size=150).examine()
    assert "synchronous_commit is off" in first
    assert "150 connections" in second


def test_many_open_holds_cost_a_call_nothing():
    """Also for a session that planned its statements while the tables were empty, when every index looks alike."""
    with start("postgres", fsync=False, settings={"autovacuum": "off"}) as server:
        store = PostgresStore(server.url, reserve_s=5, settle_s=5)
        with psycopg.connect(server.url, autocommit=True) as connection:

            def add_holds(word: str) -> None:
                connection.execute(
                    "INSERT INTO budgetguard.holds SELECT 1, false, false, 10^14 + n, 1, 0, (%s || n)::bytea, '', '', "
                    "'{}', '{}', '{}' FROM generate_series(1, 100000) AS n",
                    (word,),
                )

            pay(store)
            add_holds("x")
            connection.execute("DELETE FROM budgetguard.holds")
            connection.execute("VACUUM budgetguard.holds, budgetguard.entries, budgetguard.accounts")
            few = statistics.median(seconds(lambda: pay(store)) for _ in range(50))
            add_holds("y")
            many = statistics.median(seconds(lambda: pay(store)) for _ in range(50))
        assert many < 4 * few + 0.002
        store.close()


def test_a_rolling_limit_holds_while_the_period_turns():
    """Whoever reserves in the new part of a window waits for a reserve in the last part that is not done yet."""
    store = PostgresStore(url(), namespace=uuid4().hex, reserve_s=10)
    old = Account("roll/1", limit=100)
    new = Account("roll/2", limit=100, window=("roll/0", old.key))
    store.holds()
    packed = pack_hold(Hold("old", (old,), 60, ttl_ms=60_000), -1, 4)
    with psycopg.connect(url()) as unfinished, ThreadPoolExecutor(1) as pool:
        register(unfinished)
        assert unfinished.execute(RESERVE, (store._ns, *packed)).fetchone() == ("a 60 0 60",)
        answer = pool.submit(store.reserve, Hold(new_id(), (new,), 50))
        time.sleep(0.3)
        assert not answer.done()
        unfinished.commit()
        assert answer.result(10) == Refusal(new, Balance(new.key, 0, 60), busy=True)
    assert isinstance(store.reserve(Hold(new_id(), (new,), 40)), Admitted)
    store.close()


def test_a_reserve_waits_for_holds_that_another_session_is_reaping():
    """What an expired hold set aside is free, whoever takes it off the books."""
    store = PostgresStore(url(), namespace=uuid4().hex, reserve_s=5)
    account = Account("a", limit=10)
    store.reserve(Hold(new_id(), (account,), 10, ttl_ms=1))
    time.sleep(0.005)
    with psycopg.connect(url()) as unfinished, ThreadPoolExecutor(1) as pool:
        unfinished.execute("SELECT FROM budgetguard.holds WHERE ns = %s FOR UPDATE", (store._ns,))
        answer = pool.submit(store.reserve, Hold(new_id(), (account,), 5))
        time.sleep(0.1)
        assert not answer.done()
        unfinished.rollback()
        assert answer.result(10) == Admitted(5)
    store.close()


def test_a_reserve_that_waits_in_vain_for_an_expired_hold_is_refused_in_time():
    """Somebody's open transaction is no outage: the answer is a refusal."""
    store = PostgresStore(url(), namespace=uuid4().hex)
    account = Account("a", limit=10)
    store.reserve(Hold(new_id(), (account,), 10, ttl_ms=1))
    time.sleep(0.005)
    with psycopg.connect(url()) as unfinished:
        unfinished.execute("SELECT FROM budgetguard.holds WHERE ns = %s FOR UPDATE", (store._ns,))
        assert seconds(lambda: store.reserve(Hold(new_id(), (account,), 5))) < 2 * RESERVE_S
        assert store.reserve(Hold(new_id(), (account,), 5)) == Refusal(account, Balance("a", 0, 10), busy=True)
    assert store.reserve(Hold(new_id(), (account,), 5)) == Admitted(5)
    store.close()


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def soonest(work: Callable[[], object]) -> float:
    """How long it takes when nobody is in the way, in seconds."""
    took = []
    for _ in range(30):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return min(took)


def test_a_plan_made_while_there_was_little_stays_right(database):
    """Nobody analyses the tables of a program that has just started: what is asked by a key reads no other rows."""
    store = PostgresStore(database, reserve_s=5, settle_s=5)
    known = tuple([(key, 1) for key in ("users/ann", "steers")])

    def reserve(terms: tuple[tuple[str, int], ...] = known) -> None:
        assert store.reserve(Hold(new_id(), (Account("a"),), 1, terms=terms)) == Admitted(1)

    def newest() -> None:
        assert len(list(store.noted(RecordQuery("refusal", limit=5, newest=True)))) == 5

    store.load(terms=[Terms(key, version, "{}") for key, version in known])
    store.note([Record("refusal", f"a{number}", 1, "{}") for number in range(5)])
    asked: list[Callable[[], None]] = [reserve, newest]
    with psycopg.connect(database, autocommit=True) as connection:
        for table in ("terms", "records"):
            connection.execute(f"ALTER TABLE budgetguard.{table} SET (autovacuum_enabled = false)".encode())
        few = [soonest(each) for each in asked]
        connection.execute(
            "INSERT INTO budgetguard.terms (ns, version, key, body) "
            "SELECT 1, 1, ('users/' || n)::bytea, '{}' FROM generate_series(1, 50000) AS n"
        )
        connection.execute(
            "INSERT INTO budgetguard.records (ns, at_ms, over_ms, kind, id, body) "
            "SELECT 1, n, n, 'refusal', ('b' || n)::bytea, '{}' FROM generate_series(1, 50000) AS n"
        )
    many = [soonest(each) for each in asked]
    store.close()  # and with other connections: a plan that knows of many rows, and not what is in them
    many += [soonest(each) for each in asked]
    assert [now < 8 * before for now, before in zip(many, few * 2, strict=True)] == [True] * 4, (few, many)
    store.close()
