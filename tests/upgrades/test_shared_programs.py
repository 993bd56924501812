"""PostgreSQL, Redis and Valkey between programs of two versions, as while a fleet is upgraded one by one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from budgetguard import Budget, BudgetExceededError, BudgetManager, StoreError
from budgetguard.ledger import Record, RecordQuery, Settled
from budgetguard.stores.postgres.schema import VERSION
from budgetguard.stores.postgres.store import PostgresStore
from tests.support import servers
from tests.support.kept import Program, ProgramError
from tests.support.upgrading import BY_HAND, COST, LATER, Shop, close_all, on_books, say, seen, store_at

TABLES = {"0.2.0": 3, "gateway": 5}
"""The version of those that each makes."""


@pytest.fixture
def database(programs: dict[str, Program], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty database, which is gone when it would be looked at once more."""
    monkeypatch.setattr(PostgresStore, "careless", True, raising=False)
    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(servers.running("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(servers.running("postgres"))._replace(path=f"/{name}").geturl()
        close_all()
        for each in programs.values():
            each.run("close_all()")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def reader(database: str) -> Iterator[str]:
    """The URL of a user who may read what tables there will be, and no more."""
    role, parts = f"r{uuid.uuid4().hex}", urlsplit(database)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN")
        owner.execute(f"ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {role}")
        owner.execute(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}")
        yield parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()
        owner.execute(f"DROP OWNED BY {role}")
        owner.execute(f"DROP ROLE {role}")


def test_postgres_migrate_brings_books_of_before_up_to_date_and_its_readers_along(
    before: Program, version: str, database: str, reader: str
) -> None:
    """To the nano-dollar; until then who may only read is told which version is there, and who must do what."""
    before.run("shop = Shop(url)\nshop.trade()", url=database)
    there = before.ask("on_books(shop.manager.store)")
    told = rf"its tables have version {TABLES[version]}, made by an older .*\(version {VERSION}\).*budgetguard migrate"
    with pytest.raises(StoreError, match=told):
        seen(reader)
    code, said = say("migrate", "--store", database)
    assert (code, f"functions, version {VERSION}" in " ".join(said.split())) == (0, True), said
    assert seen(database) == seen(reader) == there
    code, said = say("migrate", "--store", database)
    assert (code, "is up to date" in " ".join(said.split())) == (0, True)
    with store_at(reader) as store:
        assert list(store.noted(RecordQuery("alert"))) == []


def test_postgres_a_program_of_before_that_is_connected_goes_on_and_one_that_comes_is_told(
    before: Program, version: str, database: str
) -> None:
    """A rolling upgrade loses nothing: what runs counts in dollars to its end, what starts must be of this version."""
    before.run("shop = Shop(url)\nshop.trade()", url=database)
    rules = [Budget("tokens", 100_000, "daily", unit="tokens")]
    with BudgetManager("shop", store=database, budgets=rules) as now:
        now.set_budget("ann", 2.0)
        assert before.ask("[shop.call('ann'), shop.manager.get_total_budget('ann')]") == [COST, 2.0]
        now.store.note([Record("alert", "a", 1, "{}")])
        assert before.ask("shop.call('cy')") == COST
    told = rf"tables have version {VERSION}, made by a newer budgetguard than this one \(version {TABLES[version]}\)"
    before.run("late = Shop(url)", url=database)
    for asked in ("late.call('ann')", "late.manager.get_users()"):
        with pytest.raises(ProgramError, match=f"StoreError: .*{told}: upgrade budgetguard-llm here"):
            before.ask(asked)
    code, said = before.ask("say('spend', '--store', url, '--project', 'shop')", url=database)
    assert (code, "upgrade budgetguard-llm" in " ".join(said.split())) == (2, True)
    before.run("close_all()")
    there = seen(database)
    assert sum(entry[1] for entry in there["entries"]) == 5 * COST
    assert there["differences"] == 0


@pytest.fixture(params=["redis", "valkey"])
def shared(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database in such a server, which only this file uses."""
    yield f"{servers.running(request.param).rpartition('/')[0]}/8"
    with store_at(f"{servers.running(request.param).rpartition('/')[0]}/8") as store:
        store.careless = True
        store._clients.change.flushdb()


def test_redis_programs_of_two_versions_share_books_and_limits(before: Program, shared: str) -> None:
    """Nothing has to be migrated, whoever came first; what one sets holds for the other."""
    before.run("shop = Shop(url)\nshop.trade()", url=shared)
    now = Shop(shared)
    assert before.ask("on_books(shop.manager.store)") == on_books(now.manager.store)
    now.manager.set_budget("ann", (5 * COST + 13_350) / 1e9)  # 13,350 is what one call may cost at most
    said = []
    for _ in range(5):
        for call in (now.call, lambda user: before.ask(f"shop.call({user!r})")):
            try:
                said.append(str(call("ann")))
            except (BudgetExceededError, ProgramError) as refusal:
                said.append(str(refusal))
    assert said[:6] == [str(COST)] * 6
    assert all("users/ann: call projected at $0.00001335" in each for each in said[6:])
    assert now.manager.store.settle(BY_HAND, LATER) == Settled(LATER.cost)
    there = on_books(now.manager.store)
    assert before.ask("on_books(shop.manager.store)") == there
    assert there["balances"]["users/ann/all"] == [6 * COST, 0]
    assert there["differences"] == 0
