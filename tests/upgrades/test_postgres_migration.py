"""A database of version 3 is brought up to date by whoever comes first, under the feet of those at work in it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from budgetguard.errors import StoreError
from budgetguard.ledger import (
    Account,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    OpenHold,
    Record,
    RecordQuery,
    Settled,
    Wanted,
    key_in,
    new_id,
)
from budgetguard.stores.postgres.link import SESSION
from budgetguard.stores.postgres.rows import NEVER, NO_NUMBERS, NO_TEXTS, numbers, register, texts
from budgetguard.stores.postgres.store import PostgresStore
from tests.support.servers import running

VERSION_3 = Path(__file__).parent / "kept" / "postgres_version_3.sql"
"""What `budgetguard sql postgres` printed then."""

ALWAYS = -(2**63)
UPDATED = ["tables, version 4", "tables, version 6", "functions, version 6"]
"""What is said when it is brought up to date."""

TTL_MS = 60_000
LIMIT = 1_000


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a database of version 3 with an empty ledger."""
    name = f"d{uuid4().hex}"
    with psycopg.connect(running("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = urlsplit(running("postgres"))._replace(path=f"/{name}").geturl()
        make_version_3(url)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make_version_3(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(VERSION_3.read_text().encode())
        connection.execute("INSERT INTO budgetguard.namespaces (ns, name) VALUES (1, 'default')")


class Before:
    """A program of version 3 that is connected: what it says, and what it hears."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(SESSION.encode())
        register(self.connection)

    def ask(self, sql: str, *said: Any) -> Any:
        row = self.connection.execute(sql.encode(), (1, *said), prepare=True).fetchone()
        return row[0] if row else None

    def reserve(self, hold_id: str, amount: int, *keys: str, now: int = -1, charge: bool = False) -> str:
        """Place a hold."""
        rules = [number for _ in keys for number in (2, LIMIT, 1, ALWAYS, NEVER, NEVER)]
        packed = texts([key.encode() for key in keys]), numbers(*rules), NO_TEXTS, NO_NUMBERS, NO_TEXTS, NO_NUMBERS
        said = numbers(now, amount, -1, 0, TTL_MS, charge, 4)
        tags = texts([b"user"]), texts([b"ann"])
        sql = f"SELECT budgetguard.reserve(%s::integer, {', '.join(['%b'] * 12)})"
        return str(self.ask(sql, hold_id.encode(), said, *packed, *tags, b"openai", b"gpt"))

    def settle(self, *costs: tuple[str, int], keys: tuple[str, ...], beside: tuple[str, ...] = ()) -> list[int]:
        """End holds on these accounts."""
        said = [number for _, cost in costs for number in (cost, 1, 0, 0, 3, 5, len(keys), len(beside), 1, 0)]
        count, every = len(costs), [key.encode() for key in (*keys, *beside)]
        behind = (
            numbers(*said),
            texts([b"openai", b"gpt", b" cut ", b"{}"] * count),
            texts(every * count),
            numbers(*[NEVER] * len(every) * count),
            texts([b"user"] * count),
            texts([b"ann"] * count),
            NO_TEXTS,
        )
        sql = f"CALL budgetguard.settle_durably(%s::integer, -1::bigint, {', '.join(['%b'] * 8)}, NULL)"
        return list(self.ask(sql, texts([hold_id.encode() for hold_id, _ in costs]), *behind))

    def release(self, hold_id: str) -> None:
        """Give a hold back."""
        self.ask("SELECT budgetguard.release(%s::integer, -1::bigint, %b)", hold_id.encode())

    def renew(self, hold_id: str, amount: int, key: str) -> list[int]:
        """Have a hold count on."""
        behind = (
            texts([hold_id.encode()]),
            numbers(amount, TTL_MS, 0, 1, 0),
            texts([b"openai", b"gpt"]),
            texts([key.encode()]),
            numbers(NEVER),
            NO_TEXTS,
            NO_TEXTS,
        )
        sql = f"SELECT budgetguard.renew(%s::integer, -1::bigint, {', '.join(['%b'] * 7)})"
        return list(self.ask(sql, *behind))

    def load(self, hold_id: str, cost: int, key: str) -> None:
        """Bring an entry, and an account, of other books."""
        behind = (
            NO_TEXTS,
            NO_NUMBERS,
            NO_TEXTS,
            texts([key.encode()]),
            numbers(NEVER),
            numbers(4),
            texts([hold_id.encode()]),
            numbers(cost, 0, 0, 1, 3, 5, 0, 1, 0, 0),
            numbers(1_000, 0),
            texts([b"openai", b"gpt", b"", b"{}"]),
            texts([key.encode()]),
            NO_TEXTS,
            NO_TEXTS,
        )
        self.ask(f"SELECT budgetguard.load(%s::integer, -1::bigint, {', '.join(['%b'] * 13)})", *behind)


@pytest.fixture
def connect() -> Iterator[Callable[[str], Before]]:
    """Makes programs that are connected until the end of the test."""
    made: list[Before] = []

    def before(url: str) -> Before:
        made.append(Before(url))
        return made[-1]

    yield before
    for each in made:
        each.connection.close()


def store_in(url: str) -> PostgresStore:
    return PostgresStore(url, reserve_s=10, settle_s=10)


def test_books_of_the_version_before_are_brought_up_to_date(connect, database):
    """What was open, settled, expired and released stays so, is settled at its true cost, and counts as one request."""
    before = connect(database)
    long_ago = 1_000
    assert before.reserve("expired", 30, "a", now=long_ago, charge=True) == "a 30"
    assert before.reserve("settled", 10, "a", "b") == "a 10"  # which books what expired
    assert before.reserve("open", 20, "a") == "a 20"
    assert before.reserve("released", 40, "b") == "a 40"
    before.release("released")
    assert before.settle(("settled", 7), keys=("a", "b"), beside=("c",)) == [0, 7]
    store = store_in(database)
    assert store.balances(["a", "b", "c"]) == [Balance("a", 37, 20), Balance("b", 7), Balance("c", 7)]
    [first, second] = store.entries()
    assert (first.hold_id, first.cost, first.flags, first.units) == ("expired", 30, {"expired"}, {})
    assert (second.hold_id, second.cost, second.accounts, second.units) == ("settled", 7, ("c", "a", "b"), {})
    [held] = store.holds()
    assert held == OpenHold(
        "open", 20, ("a",), held.placed_ms, held.placed_ms + TTL_MS, {"user": "ann"}, "openai", "gpt"
    )
    assert store.check() == []

    a, b = Account("a", LIMIT), Account("b", LIMIT)
    again = store.reserve(Hold("open", (a,), 20))
    assert again == Admitted(20)
    assert again.balances == (Balance("a", 37, 20),)
    assert store.settle(Hold("open", (a,), 20), Entry("open", 15, units={"tokens": 9})) == Settled(15)
    assert store.settle(Hold("expired", (a,), 30), Entry("expired", 1)) == Settled(1, late=True)
    assert store.settle(Hold("settled", (a, b), 10), Entry("settled", 7)) == Settled(7)
    assert store.settle(Hold("settled", (a, b), 10), Entry("settled", 7, units={"tokens": 9})) == Conflict(7)
    assert store.reserve(Hold("released", (b,), 40)) == Ended()
    requests = Account(key_in("requests", "calls"), 1)
    assert isinstance(store.reserve(Hold(new_id(), (a, requests), 5)), Admitted)
    assert store.balances(["a", requests.key]) == [Balance("a", 23, 5), Balance(requests.key, 0, 1)]
    assert store.check() == []
    assert store.migrate() == []
    store.close()


def test_processes_that_start_together_bring_it_up_to_date_once(database):
    """A deployment starts all of its workers at one moment."""
    program = (
        "import sys; from budgetguard.ledger import *\n"
        "from budgetguard.stores.postgres.store import PostgresStore\n"
        "store = PostgresStore(sys.argv[1], reserve_s=20); done = store.migrate()\n"
        "store.reserve(Hold(new_id(), (Account('calls#requests', 6),), 0))\n"
        "print(done); store.close()"
    )
    command = [sys.executable, "-c", program, database]
    together = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in together)
    assert said == [str(UPDATED)] + ["[]"] * 7
    store = store_in(database)
    assert store.balances(["calls#requests"]) == [Balance("calls#requests", 0, 6)]
    store.close()


def test_a_program_of_the_version_before_that_is_connected_goes_on_in_dollars(connect, database):
    """It knows nothing of what happened: each of its calls is answered as before, and beside it others count tokens."""
    before = connect(database)
    for number in range(6):  # so that its statements are prepared
        assert before.reserve(f"old{number}", 10, "a") == "a 10"
        assert before.settle((f"old{number}", 5), keys=("a",)) == [0, 5]
    before.reserve("open", 100, "a", "b")
    store = store_in(database)
    tokens = Account(key_in("tokens", "a"), LIMIT)
    for turn in range(2):
        held = Hold(new_id(), (Account("a", LIMIT), tokens), 50, units={"tokens": Wanted(300)})
        assert store.reserve(held) == Admitted(50, {"tokens": 300})
        assert before.reserve(f"new{turn}", 10, "a", "b").split()[:2] == ["a", "10"]
        assert before.reserve(f"new{turn}", 10, "a", "b").split()[:2] == ["a", "10"]
        assert before.settle((f"new{turn}", 8), keys=("a", "b"), beside=("c",)) == [0, 8]
        assert before.settle((f"new{turn}", 8), keys=("a", "b"), beside=("c",)) == [0, 8]
        assert before.settle((f"new{turn}", 9), keys=("a", "b")) == [2, 8]
        assert before.reserve(f"new{turn}", 10, "a", "b") == "e"
        assert before.settle((f"x{turn}", 1), (f"new{turn}", 9), (f"y{turn}", 2), keys=("b",)) == [1, 1, 2, 8, 1, 2]
        assert before.renew(f"r{turn}", 3, "b") == [1]
        before.release(f"r{turn}")
        assert before.renew(f"r{turn}", 3, "b") == [0]
        assert before.settle(("open", 90), keys=("a", "b")) == [0, 90]
        before.load(f"l{turn}", 6, "d")
    settled_in_a = 6 * 5 + 2 * 8 + 90
    assert before.reserve("much", LIMIT, "a") == f"r 1 {settled_in_a} 100 0"
    assert store.balances(["a", tokens.key]) == [Balance("a", settled_in_a, 100), Balance(tokens.key, 0, 600)]
    assert store.balances(["b", "c", "d"]) == [Balance("b", 112, 0), Balance("c", 16), Balance("d", 16)]
    assert list(store.carried())[-1] == Carried("d", None, 4)
    assert all(entry.units == {} for entry in store.entries())
    assert [entry.hold_id for entry in store.entries() if entry.flags == {"cut", "late"}] == ["x0", "y0", "x1", "y1"]
    assert [total.estimated for total in store.totals([])] == [2]  # those that were loaded
    assert store.check() == []
    store.close()


def test_nothing_is_lost_while_the_tables_change(connect, database):
    """Calls of the version before go on through it, and each is on the books once."""
    done = [0] * 4
    errors: list[BaseException] = []
    end = threading.Event()

    def run(place: int) -> None:
        before = connect(database)
        try:
            while not end.is_set():
                hold_id, keys = f"{place}/{done[place]}", (f"own{place}", "shared") if place % 2 else ("shared",)
                answer = before.reserve(hold_id, 0, *keys)
                assert answer.split()[:2] == ["a", "0"]
                assert before.settle((hold_id, 0), keys=keys) == [0, 0]
                done[place] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    store = store_in(database)
    assert store.migrate() == UPDATED
    there = list(done)
    time.sleep(0.5)
    end.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(now > then > 0 for now, then in zip(done, there, strict=True))
    assert len(list(store.entries())) == sum(done)
    assert store.check() == []
    store.close()


def test_a_transaction_that_is_open_elsewhere_holds_up_the_change_and_no_call(connect, database):
    """Whoever waits for a table has everybody behind it wait as well, and so must not wait long."""
    before, store = connect(database), store_in(database)
    changed: list[list[str]] = []
    with psycopg.connect(database) as unfinished:
        unfinished.execute("SELECT FROM budgetguard.entries LIMIT 1")
        changing = threading.Thread(target=lambda: changed.append(store.migrate()))
        changing.start()
        took = []
        for number in range(100):
            begin = time.perf_counter()
            before.reserve(str(number), 1, "a")
            took.append(time.perf_counter() - begin)
            time.sleep(0.01)
        assert changed == []
    changing.join()
    assert max(took) < 0.9  # two tries of 0.1 s, on a machine that has other things to do
    assert changed == [UPDATED]
    assert store.balances(["a"]) == [Balance("a", 0, 100)]
    store.close()


def test_a_backup_of_the_version_before_that_is_put_back_is_brought_up_to_date(database):
    """Under a program that is connected, whose functions it does not have."""
    store = store_in(database)
    asks = [
        lambda: store.reserve(Hold(new_id(), (Account(key_in("requests", "a")),), 0)),
        lambda: store.settle(Hold("x", (), 0), Entry("x", 1)),
        lambda: list(store.entries()),
        store.holds,
        store.check,
        lambda: store.renew([Hold("y", (Account("a"),), 1)]),
        lambda: store.load(entries=[Entry("z", 1)]),
        lambda: store.note([Record("alert", "w", 1, "{}")]),
        lambda: list(store.noted(RecordQuery("alert"))),
    ]
    for ask in asks:
        ask()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DROP SCHEMA budgetguard CASCADE")
        make_version_3(database)
        ask()
        assert store.migrate() == []
    store.close()


def test_a_program_that_is_too_old_for_the_books_says_so(database, monkeypatch):
    """One of the version before that connects after the change: it does not know what a key means."""
    store_in(database).migrate()
    monkeypatch.setattr("budgetguard.stores.postgres.schema.VERSION", 3)
    store = store_in(database)
    with pytest.raises(StoreError, match=r"version 6, made by a newer budgetguard.*upgrade budgetguard-llm here"):
        store.reserve(Hold(new_id(), (Account("a"),), 1))
    store.careless = True


def test_a_database_of_version_4_learns_to_count_calls_in_flight(database):
    """Its tables need nothing more; its functions took a key that ends in "#parallel" for one in dollars."""
    store_in(database).migrate()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE budgetguard.schema_version SET version = 4")
        connection.execute("""
            CREATE OR REPLACE FUNCTION budgetguard.unit(p_key bytea) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
                SELECT CASE WHEN p_key LIKE '%#tokens'::bytea THEN 2 WHEN p_key LIKE '%#requests'::bytea THEN 3
                ELSE 1 END $$""")
    store, places = store_in(database), Account(key_in("parallel", "seats"), limit=1)
    held = Hold(new_id(), (places,), 7)
    assert store.reserve(held) == Admitted(7, {"parallel": 1})
    store.settle(held, Entry(held.id, 7))
    assert store.balances([places.key]) == [Balance(places.key)]
    assert store.migrate() == []
    store.close()


@pytest.fixture
def version_5(database: str) -> str:
    """A database as version 5 left it, which kept nothing beside the books."""
    store_in(database).migrate()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE budgetguard.schema_version SET version = 5")
        connection.execute("DROP FUNCTION budgetguard.note, budgetguard.noted, budgetguard.prune_records")
        connection.execute("DROP TABLE budgetguard.records")
    return database


def test_a_database_of_version_5_learns_to_keep_records(version_5):
    """A program of it that is connected goes on: none of the functions that it asks has changed."""
    with psycopg.connect(version_5, autocommit=True) as before:
        functions = "SELECT oid, prosrc FROM pg_proc WHERE pronamespace = 'budgetguard'::regnamespace ORDER BY oid"
        known = before.execute(functions).fetchall()
        store = store_in(version_5)
        assert store.migrate() == ["tables, version 6", "functions, version 6"]
        assert [row for row in before.execute(functions).fetchall() if row in known] == known
    record = Record("alert", "users/ann@80", 5, "{}")
    assert [store.note([record]), store.note([record])] == [[True], [False]]
    assert list(store.noted(RecordQuery("alert"))) == [record]
    assert store.migrate() == []
    store.close()


def test_a_user_of_the_tables_before_may_use_the_new_one(version_5):
    """Rights were given for the tables that there were: after the upgrade a program need not be let in again."""
    role = f"r{uuid4().hex}"
    with psycopg.connect(version_5, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN")
        try:
            owner.execute(f"GRANT USAGE ON SCHEMA budgetguard TO {role}")
            owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA budgetguard TO {role}")
            parts = urlsplit(version_5)
            app = store_in(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl())
            with pytest.raises(StoreError, match="let its owner run `budgetguard migrate`"):
                app.note([Record("alert", "a", 5, "{}")])
            store_in(version_5).migrate()
            assert app.note([Record("alert", "a", 5, "{}")], replace=True) == [True]
            assert app.prune(6) == 0
            assert list(app.noted(RecordQuery("alert"))) == []
            app.close()
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")
