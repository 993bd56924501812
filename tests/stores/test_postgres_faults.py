"""
PostgreSQL goes away in every way it can, under load: no acknowledged settlement is lost, and nobody waits for long.

The books are compared with what the clients know, and with sums over the history that this file computes itself.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit
from uuid import uuid4

import openai
import psycopg
import pytest

from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Admitted, Ended, Entry, Hold, Settled, Wanted, key_in, new_id
from budgetguard.stores.deadlines import RESERVE_S, SETTLE_S
from budgetguard.stores.postgres.store import BATCH, PostgresStore
from budgetguard.stores.remote import FAILURES
from tests.support.endpoint import USER, Books, Caller, Endpoint, guarded
from tests.support.servers import postgres, running
from tests.support.servers.proxy import Mode, Proxy

LIMIT = 10**12
TOKENS = key_in("tokens", "shared")
REQUESTS = key_in("requests", "shared")


class Client:
    """One thread that reserves and settles, and keeps its own books of what was acknowledged."""

    def __init__(self, url: str, namespace: str, place: int) -> None:
        self.store = PostgresStore(url, namespace=namespace)
        self.place = place
        self.settled: dict[str, int] = {}
        self.unknown: list[tuple[Hold, Entry]] = []
        """Settlements whose answer did not come."""
        self.slowest = 0.0
        self.failures = 0

    def pay(self) -> None:
        """One call on an account of its own and on those that all share, one in each unit."""
        keys = (f"own/{self.place}", "shared", TOKENS, REQUESTS)
        accounts = tuple([Account(key, limit=LIMIT) for key in keys])
        held = Hold(new_id(), accounts, 5, units={"tokens": Wanted(90)})
        begin = time.perf_counter()
        try:
            answer = self.store.reserve(held)
        except StoreError:
            self.failures += 1
            return
        finally:
            self.slowest = max(self.slowest, time.perf_counter() - begin)
        assert isinstance(answer, Admitted)
        entry = Entry(held.id, 3, usage={"input_tokens": 1}, units={"tokens": 70})
        try:
            assert self.store.settle(held, entry) == Settled(3)
        except StoreError:
            self.failures += 1
            self.unknown.append((held, entry))
        else:
            self.settled[held.id] = 3

    def repeat(self) -> None:
        """Settle again what got no answer, as the journal does."""
        for held, entry in self.unknown:
            answer = self.store.settle(held, entry)
            assert isinstance(answer, Settled)
            self.settled[held.id] = 3
        self.unknown = []


@contextmanager
def load(url: str, namespace: str, threads: int = 4) -> Iterator[list[Client]]:
    """Clients that go on for as long as this lasts."""
    clients = [Client(url, namespace, place) for place in range(threads)]
    end = threading.Event()

    def run(client: Client) -> None:
        while not end.is_set():
            client.pay()

    running_ = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in running_:
        thread.start()
    try:
        yield clients
    finally:
        end.set()
        for thread in running_:
            thread.join()


def eventually(work: Callable[[], None], seconds: float = 10.0) -> float:
    """Try until it works; how long that took."""
    begin = time.monotonic()
    while True:
        try:
            work()
        except StoreError:
            if time.monotonic() > begin + seconds:
                raise
            time.sleep(0.02)
        else:
            return time.monotonic() - begin


def audit(url: str, namespace: str, clients: list[Client]) -> None:
    """What the clients know is what the history says, and what the accounts say."""
    for client in clients:
        eventually(client.repeat)
    store = PostgresStore(url, namespace=namespace)
    known = {hold_id: cost for client in clients for hold_id, cost in client.settled.items()}
    assert known
    assert {entry.hold_id: entry.cost for entry in store.entries()} == known
    for hold in store.holds():
        store.release(hold.id)
    found = {item.key: (item.settled, item.held) for item in store.accounts()}
    for client in clients:
        assert found.get(f"own/{client.place}", (0, 0)) == (sum(client.settled.values()), 0)
    assert found["shared"] == (sum(known.values()), 0)
    assert found[TOKENS] == (70 * len(known), 0)
    assert found[REQUESTS] == (len(known), 0)
    assert store.check() == []
    for client in clients:
        client.store.close()
    store.close()


@pytest.fixture
def server() -> Iterator[postgres.Postgres]:
    server = postgres.make("postgres")
    server.start()
    yield server
    server.stop()


def test_no_acknowledged_settlement_is_lost_to_kill_9(server):
    """Five times under load; each time the clients go on within seconds, with the stores they have."""
    namespace = uuid4().hex
    with load(server.url, namespace) as clients:
        for _ in range(5):
            time.sleep(0.4)
            server.kill()
            time.sleep(0.2)
            server.start()
            before = [len(client.settled) for client in clients]
            end = time.monotonic() + 15
            while any(len(client.settled) <= old for client, old in zip(clients, before, strict=True)):
                assert time.monotonic() < end, "a client did not come back"
                time.sleep(0.02)
    audit(server.url, namespace, clients)
    assert sum(client.failures for client in clients) > 0
    assert max(client.slowest for client in clients) < 4 * RESERVE_S


def test_no_acknowledged_settlement_is_lost_to_an_immediate_shutdown(server):
    """The server crashes in the way in which it does when one of its processes dies."""
    namespace = uuid4().hex
    with load(server.url, namespace) as clients:
        for _ in range(2):
            time.sleep(0.5)
            server.stop(immediate=True)
            server.start()
            time.sleep(0.5)
    audit(server.url, namespace, clients)


def test_a_settlement_that_is_not_on_the_disk_is_lost_and_noticed(server):
    """The proof that the tests above can fail: with fsync and synchronous_commit off, a dead server forgets."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("SELECT pg_reload_conf()")
    namespace = uuid4().hex
    with load(server.url, namespace) as clients:
        time.sleep(1.0)
        server.kill()
    server.start()
    with pytest.raises(AssertionError):
        audit(server.url, namespace, clients)
    for client in clients:
        client.store.careless = True


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    parts = urlsplit(running("postgres"))
    proxy = Proxy(parts.hostname or "", parts.port or 0)
    yield proxy
    proxy.close()


def through(proxy: Proxy) -> str:
    parts = urlsplit(running("postgres"))
    return parts._replace(netloc=f"{parts.username}@127.0.0.1:{proxy.port}").geturl()


@pytest.mark.parametrize("mode", ["cut_before", "cut_after", "stall", "refuse"])
def test_a_connection_that_fails_costs_a_deadline_and_no_money(proxy, mode: Mode):
    """Whether the request arrived or not, it is repeated, and counts once."""
    namespace = uuid4().hex
    with load(through(proxy), namespace, threads=2) as clients:
        for _ in range(4):
            time.sleep(0.2)
            proxy.mode = mode
            time.sleep(0.1)
            proxy.mode = "pass"
            time.sleep(0.3)
    audit(running("postgres"), namespace, clients)
    assert max(client.slowest for client in clients) < 4 * RESERVE_S


@pytest.mark.parametrize("mode", ["stall", "refuse"])
def test_a_dead_server_is_answered_in_time_and_then_at_once(proxy, mode: Mode):
    """The first calls cost their deadline; then the breaker answers; and it is back a moment after the server is."""
    store = PostgresStore(through(proxy), namespace=uuid4().hex)
    held = Hold(new_id(), (Account("a", limit=LIMIT),), 5)
    store.reserve(held)
    proxy.mode = mode

    def fails(work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        with pytest.raises(StoreError):
            work()
        return time.perf_counter() - begin

    assert fails(lambda: store.settle(held, Entry(held.id, 5))) < 4 * SETTLE_S
    for _ in range(FAILURES):
        assert fails(lambda: store.reserve(Hold(new_id(), (), 1))) < 4 * RESERVE_S
    assert statistics.median(fails(lambda: store.reserve(Hold(new_id(), (), 1))) for _ in range(200)) < 0.001
    proxy.mode = "pass"
    assert eventually(lambda: store.reserve(Hold(new_id(), (), 1))) < 8.0
    assert store.settle(held, Entry(held.id, 5)) == Settled(5)
    store.close()


def test_a_hold_whose_answer_was_lost_is_placed_once(proxy):
    """The same hold is asked for again on another connection, within the deadline."""
    store = PostgresStore(through(proxy), namespace=uuid4().hex, reserve_s=5)
    for _ in range(3):
        held = Hold(new_id(), (Account("a", limit=LIMIT),), 5)
        proxy.mode = "cut_after"
        threading.Timer(0.1, setattr, (proxy, "mode", "pass")).start()
        with suppress(StoreError):
            store.reserve(held)
        assert store.reserve(held) == Admitted(5)
        store.release(held.id)
        assert store.reserve(held) == Ended()
    assert store.balances(["a"])[0].held == 0
    store.close()


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_transaction_that_the_server_undid_is_repeated(code):
    """A deadlock with somebody's own statements, or a serialization failure, is no error of the caller's."""
    namespace = uuid4().hex
    store = PostgresStore(running("postgres"), namespace=namespace, reserve_s=5)
    held = Hold(new_id(), (Account("a", limit=LIMIT),), 5)
    store.reserve(held)
    with psycopg.connect(running("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE SEQUENCE budgetguard.s{namespace}")
        connection.execute(
            f"CREATE FUNCTION budgetguard.f{namespace}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('budgetguard.s{namespace}') < 4 AND new.ns = {store._ns} THEN "
            f"RAISE EXCEPTION 'planted' USING ERRCODE = '{code}'; END IF; RETURN new; END $$"
        )
        connection.execute(
            f"CREATE TRIGGER t{namespace} BEFORE UPDATE ON budgetguard.accounts FOR EACH ROW "
            f"WHEN (new.ns = {store._ns}) EXECUTE FUNCTION budgetguard.f{namespace}()"
        )
        try:
            assert store.settle(held, Entry(held.id, 5)) == Settled(5)
            assert connection.execute(f"SELECT last_value FROM budgetguard.s{namespace}").fetchone() == (4,)
        finally:
            connection.execute(f"DROP TRIGGER t{namespace} ON budgetguard.accounts")
            connection.execute(f"DROP FUNCTION budgetguard.f{namespace}")
            connection.execute(f"DROP SEQUENCE budgetguard.s{namespace}")
    store.close()


def test_crossing_holds_settlements_and_expiries_do_not_deadlock():
    """Accounts are named in every order, holds expire under others, leases are drawn on, in all units."""
    namespace = uuid4().hex
    stores = [PostgresStore(running("postgres"), namespace=namespace, reserve_s=10, settle_s=10) for _ in range(2)]
    keys = ["a", key_in("tokens", "b"), "c", key_in("requests", "d"), "e", key_in("tokens", "f")]
    tokens = {"tokens": Wanted(20)}
    errors: list[BaseException] = []

    def deadlocks() -> int:
        with psycopg.connect(running("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            row = connection.execute("SELECT sum(deadlocks) FROM pg_stat_database").fetchone()
            return int(row[0]) if row else 0

    def run(place: int) -> None:
        try:
            for number in range(40):
                store = stores[place % 2]
                order = keys[(place + number) % 6 :] + keys[: (place + number) % 6]
                accounts = tuple(Account(key, limit=LIMIT) for key in (order if number % 2 else reversed(order)))[:4]
                on_expire, ttl_ms = "charge" if number % 3 else "release", 1 if number % 5 == 0 else 60_000
                lease = Hold(new_id(), accounts[:2], 50, ttl_ms=5, on_expire=on_expire, units=tokens)
                call = Hold(new_id(), accounts, 5, leases=(lease.id,), ttl_ms=ttl_ms, units=tokens)
                store.reserve(lease)
                store.reserve(call)
                entry = Entry(call.id, 3, ("x", order[0]), units={"tokens": 7})
                store.settle_many([(call, entry), (lease, Entry(lease.id, 1))])
        except BaseException as error:
            errors.append(error)

    before = deadlocks()
    threads = [threading.Thread(target=run, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert deadlocks() == before
    assert stores[0].check() == []
    for store in stores:
        store.close()


def test_five_hundred_tasks_do_not_hold_up_the_loop():
    """They wait for the database in threads; what else the loop does goes on, and every call comes through."""
    pauses: list[float] = []

    async def run(caller: Caller) -> None:
        async def tick() -> None:
            while True:
                begin = time.perf_counter()
                await asyncio.sleep(0.01)
                pauses.append(time.perf_counter() - begin)

        async def call(client: openai.AsyncOpenAI) -> None:
            await client.chat.completions.create(**caller.request())

        ticking = asyncio.create_task(tick())
        async with caller.async_client() as client:
            await asyncio.gather(*[call(client) for _ in range(500)])
        ticking.cancel()

    with Endpoint() as endpoint:
        # One interpreter runs the tasks, the threads and the provider: a step may take longer than it does elsewhere.
        store = PostgresStore(running("postgres"), namespace=f"tasks-{uuid4().hex}", reserve_s=30, settle_s=30)
        with guarded(store) as manager:
            manager.create_budget(1000.00, USER)
            asyncio.run(run(Caller(endpoint.base_url, True, Books("", ""))))
            assert sum(entry.cost for entry in manager.store.entries()) == endpoint.billed.nano > 0
            assert len(list(manager.store.entries())) == 500
    assert statistics.median(pauses) < 1.0


def test_many_settlements_have_one_deadline_together(monkeypatch):
    """Whoever waits for them waits for all of the transactions; and what is done stays done."""
    monkeypatch.setattr("budgetguard.stores.postgres.store.CHANGE_S", 0.5)
    store = PostgresStore(running("postgres"), namespace=uuid4().hex)
    holds = [Hold(new_id(), (Account(f"a{place // BATCH}", limit=LIMIT),), 5) for place in range(3 * BATCH)]
    said = [(held, Entry(held.id, 5)) for held in holds]
    for held in holds[::BATCH]:
        store.reserve(held)
    with ExitStack() as stack:
        for place in range(3):
            connection = stack.enter_context(psycopg.connect(running("postgres")))
            sql = "SELECT FROM budgetguard.accounts WHERE ns = %s AND key = %s FOR UPDATE"
            connection.execute(sql, (store._ns, b"a%d" % place))
            timer = threading.Timer(0.3 * (place + 1), connection.rollback)
            timer.start()
            stack.callback(timer.join)
        with pytest.raises(StoreError, match=r"no answer within 0\.5 s"):
            store.settle_many(said)
    assert store.balances(["a0"])[0].settled == 5 * BATCH
    assert all(isinstance(answer, Settled) for answer in store.settle_many(said))
    assert [balance.settled for balance in store.balances(["a0", "a1", "a2"])] == [5 * BATCH] * 3
    store.close()


def test_a_transaction_of_somebody_else_that_locks_an_account_costs_a_deadline():
    """A person at a prompt, in the middle of a change: calls are refused in time, and go on when it ends."""
    store = PostgresStore(running("postgres"), namespace=uuid4().hex)
    held = Hold(new_id(), (Account("a", limit=LIMIT),), 5)
    store.reserve(held)
    with psycopg.connect(running("postgres")) as connection:
        connection.execute("SELECT * FROM budgetguard.accounts WHERE ns = %s FOR UPDATE", (store._ns,))
        begin = time.perf_counter()
        with pytest.raises(StoreError, match=r"no answer within 0\.25 s"):
            store.reserve(Hold(new_id(), (Account("a", limit=LIMIT),), 5))
        assert time.perf_counter() - begin < 4 * RESERVE_S
        with pytest.raises(StoreError, match=r"locked for longer than 1000 ms.*pg_stat_activity"):
            PostgresStore(running("postgres"), namespace=store.namespace, reserve_s=5).reserve(held._replace(id="b"))
    assert store.settle(held, Entry(held.id, 5)) == Settled(5)
    store.close()
