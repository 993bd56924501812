"""
What may befall a Valkey or Redis and the way to it: kills, cuts, stalls, forgotten scripts, full memory, fail-overs.

Each test keeps a ledger of its own of what the store acknowledged, and holds the books against it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.sentinel import Sentinel

import budgetguard
from budgetguard import BudgetManager, PriceBook, stores
from budgetguard.errors import ConfigError, StoreError
from budgetguard.guards.guard import Guard
from budgetguard.guards.settings import Settings
from budgetguard.ledger import (
    Account,
    Admitted,
    Carried,
    Entry,
    Hold,
    Query,
    Refusal,
    Settled,
    Terms,
    Wanted,
    key_in,
    new_id,
)
from budgetguard.process.journal import Journal
from budgetguard.process.journal_files import Kept
from budgetguard.stores import open_store
from budgetguard.stores.redis.link import given
from budgetguard.stores.redis.replay import Recent
from budgetguard.stores.redis.store import RedisStore
from budgetguard.stores.remote import FAILURES
from tests.support import ROOT, servers
from tests.support.children import ends, fork
from tests.support.endpoint import MODEL, USER, Books, Caller, Endpoint
from tests.support.ledger import ACCOUNT, hold, spend
from tests.support.servers.proxy import Proxy
from tests.support.servers.redis import RedisServer, free_port


@pytest.fixture
def own() -> Iterator[Callable[..., RedisServer]]:
    """Servers of this test's own."""
    with ExitStack() as stack:
        yield lambda name="valkey", **settings: stack.enter_context(servers.start(name, **settings))  # type: ignore[arg-type,return-value]


class Spenders:
    """
    Threads that spend in front of a store which may fail, with a journal for what it does not take.

    `acknowledged` is their ledger: what was settled, by the store or into the journal.
    """

    def __init__(self, store: RedisStore, directory: Path, threads: int = 4) -> None:
        self.store = store
        self.acknowledged: dict[str, int] = {}
        self.failed = 0
        self._stop = threading.Event()
        self.journal = Journal(self._land, store.release, str(directory), "test", background=False)
        self._threads = [threading.Thread(target=self._loop, args=(place,)) for place in range(threads)]
        for thread in self._threads:
            thread.start()

    def _land(self, kept: Kept) -> None:
        self.store.settle(kept.hold, kept.entry)

    def _loop(self, place: int) -> None:
        cost = 1 + place
        while not self._stop.is_set():
            held = hold()
            try:
                self.store.reserve(held)
            except StoreError:
                self.failed += 1
                self.journal.give_back(held.id)
                time.sleep(0.005)
                continue
            entry = Entry(held.id, cost)
            try:
                self.store.settle(held, entry)
            except StoreError:
                self.journal.keep(Kept(held, entry, 0))
            self.acknowledged[held.id] = cost

    def stop(self) -> None:
        """Have all of them end, and land what waits."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.journal.flush(10)

    def audit(self) -> None:
        """The books are what was acknowledged, and add up."""
        booked = {entry.hold_id: entry.cost for entry in self.store.entries()}
        assert booked == self.acknowledged
        assert self.store.check() == []
        assert self.store.balances([ACCOUNT.key])[0].settled == sum(self.acknowledged.values())
        assert self.store.holds() == []


@pytest.mark.parametrize("name", ["valkey", "redis"])
def test_a_server_that_is_killed_five_times_loses_nothing(own, tmp_path, name):
    """With `appendfsync always`, what was acknowledged stands; what was not waits in the journal (P4, P10)."""
    server = own(name, appendfsync="always")
    with closing(RedisStore.from_url(server.url)) as store:
        spend(store)
        first = next(store.entries())
        spenders = Spenders(store, tmp_path / "journal")
        spenders.acknowledged[first.hold_id] = first.cost
        for _ in range(5):
            time.sleep(0.15)
            server.kill()
            time.sleep(0.1)
            server.start()
        time.sleep(0.4)
        spenders.stop()
        assert spenders.failed > 0
        assert len(spenders.acknowledged) > 100
        spenders.audit()


def break_off(proxy, mode):
    """The way breaks for a moment, and is there again on new connections."""
    time.sleep(0.1)
    proxy.mode = mode
    time.sleep(0.3)
    proxy.mode = "pass"
    proxy.cut()


@pytest.mark.parametrize("mode", ["cut_before", "cut_after", "refuse", "stall"])
def test_a_way_that_breaks_loses_nothing(own, tmp_path, mode):
    """Requests that never came, answers that never came, and silence: every call is booked once (P5, P9)."""
    server = own()
    with Proxy("127.0.0.1", server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        with closing(RedisStore.from_url(url)) as store:
            spenders = Spenders(store, tmp_path / "journal")
            for _ in range(4):
                break_off(proxy, mode)
            time.sleep(0.4)
            spenders.stop()
            assert spenders.failed > 0
            assert len(spenders.acknowledged) > 50
            spenders.audit()


def test_scripts_that_were_forgotten_are_sent_again(own, tmp_path):
    """SCRIPT FLUSH under load is nobody's business."""
    server = own()
    with closing(RedisStore.from_url(server.url)) as store, redis.Redis(port=server.port) as admin:
        spenders = Spenders(store, tmp_path / "journal")
        for _ in range(20):
            admin.script_flush()
            time.sleep(0.01)
        spenders.stop()
        assert spenders.failed == 0
        spenders.audit()


def test_a_full_server_refuses_holds_and_books_what_was_spent(own):
    """What may still be spent is decided before; what was spent is not up for discussion (P4)."""
    server = own()
    with closing(RedisStore.from_url(server.url)) as store, redis.Redis(port=server.port) as admin:
        held = [hold() for _ in range(20)]
        for each in held:
            assert isinstance(store.reserve(each), Admitted)
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", 1)
        with pytest.raises(StoreError, match="it is full: raise maxmemory"):
            store.reserve(hold())
        for each in held[:10]:
            assert store.settle(each, Entry(each.id, 7)) == Settled(7)
        for each in held[10:]:
            store.release(each.id)
        assert [store.balances([ACCOUNT.key])[0].settled, store.holds()] == [70, []]
        admin.config_set("maxmemory", 0)
        spend(store)
        assert store.check() == []


def test_a_dead_server_answers_within_the_deadline_and_then_at_once(own):
    """An outage costs the first calls a quarter of a second, and the others nothing (P9)."""
    server = own()
    with closing(RedisStore.from_url(server.url)) as store:
        spend(store)
        server.signal(signal.SIGSTOP)
        for _ in range(FAILURES):
            begin = time.monotonic()
            with pytest.raises(StoreError, match="did not answer in time"):
                store.reserve(hold())
            assert time.monotonic() - begin < 1.0
        begin = time.monotonic()
        for _ in range(100):
            with pytest.raises(StoreError, match="is away"):
                store.reserve(hold())
        assert time.monotonic() - begin < 0.1
        server.signal(signal.SIGCONT)
        deadline = time.monotonic() + 5
        while True:
            try:
                spend(store)
                break
            except StoreError:
                assert time.monotonic() < deadline, "the breaker does not close again"
                time.sleep(0.05)


def test_a_crowd_in_front_of_a_dead_server_waits_no_longer_than_one(own):
    """They share the way, not the deadlines."""
    server = own()
    with closing(RedisStore.from_url(server.url)) as store:
        spend(store)
        server.signal(signal.SIGSTOP)
        waited = []

        def ask() -> None:
            begin = time.monotonic()
            with pytest.raises(StoreError):
                store.reserve(hold())
            waited.append(time.monotonic() - begin)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.signal(signal.SIGCONT)
        assert len(waited) == 16
        assert max(waited) < 1.2


@pytest.mark.parametrize("takes_writes", [True, False])
def test_a_replica_that_lags_is_told_what_was_settled(own, takes_writes):
    """A fail-over loses what the replica had not heard of; the clients have the last minute, and book it again."""
    primary, replica = own(), own()
    with ExitStack() as stack:
        admin = stack.enter_context(redis.Redis(port=replica.port))
        proxy, between = [stack.enter_context(Proxy("127.0.0.1", primary.port)) for _ in range(2)]
        admin.replicaof("127.0.0.1", between.port)
        wait_until(lambda: admin.info("replication").get("master_link_status") == "up")
        with closing(RedisStore.from_url(f"redis://127.0.0.1:{proxy.port}")) as store:
            ids = [spend(store) for _ in range(5)]
            wait_until(lambda: admin.dbsize() > 0)
            between.mode = "stall"
            ids += [spend(store) for _ in range(20)]
            primary.kill()
            admin.replicaof("NO", "ONE")
            assert sum(1 for _ in admin.scan_iter("*}:h:*")) <= 5, "the replica did not lag: nothing is tested"
            if not takes_writes:  # it cannot be told at first
                admin.config_set("min-replicas-to-write", 1)
            proxy.target = ("127.0.0.1", replica.port)
            proxy.cut()
            if not takes_writes:
                wait_until(lambda: "NOREPLICAS" in refusal(store))
                admin.config_set("min-replicas-to-write", 0)
            deadline = time.monotonic() + 5
            while True:
                try:
                    ids.append(spend(store))
                    break
                except StoreError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert {entry.hold_id for entry in store.entries()} == set(ids)
            assert store.balances([ACCOUNT.key])[0].settled == 7 * 26
            assert store.check() == []


def test_replicas_that_are_waited_for_have_what_was_acknowledged(own):
    """Without them no hold is placed and no settlement acknowledged; who is promoted knows of all that were."""
    primary, replica = own(), own()
    with redis.Redis(port=replica.port) as admin:
        admin.replicaof("127.0.0.1", primary.port)
        wait_until(lambda: admin.info("replication").get("master_link_status") == "up")
        store = RedisStore.from_url(f"{primary.url}?wait_replicas=1&reserve_s=1&settle_s=1", namespace="waits")
        ids = {spend(store) for _ in range(20)}
        many = [Hold(new_id(), (ACCOUNT,), 0) for _ in range(3)]
        store.settle_many([(each, Entry(each.id, 7)) for each in many])
        ids |= {each.id for each in many}
        open_ = hold()
        assert isinstance(store.reserve(open_), Admitted)
        replica.signal(signal.SIGSTOP)
        begin = time.monotonic()
        with pytest.raises(StoreError, match="only 0 of 1 replicas"):
            store.reserve(hold())
        assert time.monotonic() - begin < 1.5
        for _ in range(2):  # a repetition changes nothing, and is no more acknowledged than the first
            with pytest.raises(StoreError, match="only 0 of 1 replicas"):
                store.settle(open_, Entry(open_.id, 7))
        with pytest.raises(StoreError, match="only 0 of 1 replicas"):
            store.settle_many([(open_, Entry(open_.id, 7))])
        replica.signal(signal.SIGCONT)
        wait_until(lambda: not _fails(store))
        store.settle(open_, Entry(open_.id, 7))
        ids.add(open_.id)
        primary.kill()
        admin.replicaof("NO", "ONE")
        promoted = RedisStore.from_url(replica.url, namespace="waits")
        assert ids <= {entry.hold_id for entry in promoted.entries()}
        assert promoted.check() == []


def test_no_step_goes_before_what_a_new_server_has_to_be_told(own):
    """Also where a connection was closed while it was idle, and the next step finds another server behind the name."""
    old, new = own(), own()
    with (
        Proxy("127.0.0.1", old.port) as proxy,
        closing(RedisStore.from_url(f"redis://127.0.0.1:{proxy.port}")) as store,
    ):
        ids = {spend(store) for _ in range(20)}
        proxy.target = ("127.0.0.1", new.port)
        time.sleep(0.3)  # it is looked at once a second, and the connection after half of that
        ids.add(spend(store))
        time.sleep(0.6)
        proxy.cut()
        assert isinstance(store.reserve(hold()), Admitted)
        with closing(RedisStore.from_url(new.url)) as told:
            assert {entry.hold_id for entry in told.entries()} == ids


def test_a_new_server_is_told_what_was_used_in_every_unit(own):
    """Of calls that were settled; of those that live it hears with their next renewal."""
    old, new = own(), own()
    accounts = (ACCOUNT, Account(key_in("tokens", "tokens/2027-01")), Account(key_in("requests", "calls/2027-01")))
    with (
        Proxy("127.0.0.1", old.port) as proxy,
        closing(RedisStore.from_url(f"redis://127.0.0.1:{proxy.port}")) as store,
    ):
        held = [Hold(new_id(), accounts, 10, units={"tokens": Wanted(900, 0)}) for _ in range(8)]
        admitted = [store.reserve(each) for each in held]
        for each in held[:4]:
            assert store.settle(each, Entry(each.id, 7, ("leased#tokens",), units={"tokens": 500})) == Settled(7)
        store.settle_many([(each, Entry(each.id, 5, units={"requests": 2})) for each in held[4:6]])
        proxy.target = ("127.0.0.1", new.port)
        proxy.cut()
        wait_until(lambda: not _fails(store))
        alive = [each.admitted(answer) for each, answer in zip(held, admitted, strict=True)]
        assert store.renew(alive) == [False] * 6 + [True] * 2
        with closing(RedisStore.from_url(new.url)) as told:
            standing = told.balances([*[each.key for each in accounts], "leased#tokens"])
            assert [(each.settled, each.held) for each in standing] == [(45, 20), (2000, 1800), (8, 2), (2000, 0)]
            units = {entry.hold_id: entry.units for entry in told.entries()}
            used = [{"tokens": 500}] * 4 + [{"requests": 2}] * 2
            assert [units[each.id] for each in held[:6]] == used
            assert told.check() == []


def test_what_a_new_server_has_to_be_told_takes_no_call_longer_than_its_deadline(own):
    """Thirty thousand settlements take longer than a call may: it is refused, until all of them are booked."""
    old, new = own(), own()
    with (
        Proxy("127.0.0.1", old.port) as proxy,
        closing(RedisStore.from_url(f"redis://127.0.0.1:{proxy.port}")) as store,
    ):
        for _ in range(100):
            many = [(Hold(new_id(), (ACCOUNT,), 0), Entry("", 1)) for _ in range(300)]
            store.settle_many(many)
        proxy.target = ("127.0.0.1", new.port)
        proxy.cut()
        waited, until_s = [], time.monotonic() + 20
        while time.monotonic() < until_s:
            begin = time.monotonic()
            try:
                admitted = isinstance(store.reserve(hold()), Admitted)
            except StoreError:
                admitted = False
            waited.append(time.monotonic() - begin)
            if admitted:
                break
        assert admitted
        assert len(waited) > 1
        assert max(waited) < 0.6
        with closing(RedisStore.from_url(new.url)) as told:
            assert told.balances([ACCOUNT.key])[0].settled == 30_000


def test_what_was_settled_in_the_last_minute_is_kept():
    """However fast that went; memory is bounded all the same."""
    now = 0.0
    recent = Recent(lambda: now, most_bytes=15_000_000)
    for number in range(30_000):
        now = number / 1000
        recent.add(["id", number, ""])
    steps = list(recent.steps())
    assert [number for args in steps for number in args[1::3]] == list(range(30_000))
    assert max(map(len, steps)) < 1000
    now = 75.0
    recent.add(["id", 30_000, ""])
    assert next(recent.steps())[1] == 15_000
    for number in range(70_000):
        recent.add(["id", number, ""])
    assert sum(len(args) // 3 for args in recent.steps()) * 400 < 15_000_000


@pytest.mark.parametrize("ready", ["", "redis", "redis, blocking", "valkey", "valkey, blocking"])
def test_a_primary_that_was_demoted_is_left(own, ready):
    """It answers, and takes nothing: the name leads elsewhere, so the connections that are open are of no use."""
    old, new = own(), own()
    with ExitStack() as stack:
        admin = stack.enter_context(redis.Redis(port=old.port))
        proxy = stack.enter_context(Proxy("127.0.0.1", old.port))
        where: Any = f"redis://127.0.0.1:{proxy.port}"
        if ready:
            package = pytest.importorskip(ready.partition(",")[0])
            kind = package.BlockingConnectionPool if "blocking" in ready else package.ConnectionPool
            pool = kind(port=proxy.port, socket_timeout=0.25)
            where = getattr(package, package.__name__.title())(connection_pool=pool)
        store = stack.enter_context(closing(open_store(where, namespace="shop")))
        ids = [spend(store) for _ in range(5)]
        admin.replicaof("127.0.0.1", new.port)
        assert "this is a replica: name the primary" in refusal(store)
        assert store._link.breaker.failures == 1
        proxy.target = ("127.0.0.1", new.port)
        ids.append(spend(store))
        assert {entry.hold_id for entry in store.entries()} == set(ids)


def refusal(store: RedisStore) -> str:
    with pytest.raises(StoreError) as raised:
        spend(store)
    return str(raised.value)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_endangers_the_books_is_said_at_the_start(own, caplog):
    """An eviction policy and a missing log are found before they cost anything; `strict=1` refuses them."""
    server = own(appendonly="no", maxmemory="100mb", **{"maxmemory-policy": "allkeys-lru"})
    with closing(RedisStore.from_url(server.url)) as store, caplog.at_level(logging.WARNING):
        spend(store)
        spend(store)
        assert caplog.text.count("set it to noeviction") == 1
        assert caplog.text.count("set appendonly yes") == 1
        assert len(store.examine()) == 2
    with closing(RedisStore.from_url(f"{server.url}?strict=1")) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"set it to noeviction.*leave strict=1 out"):
                store.reserve(hold())


def test_a_server_in_order_is_not_warned_of(own, caplog):
    """Whoever cries wolf is not listened to."""
    for name in ("valkey", "redis"):
        with closing(RedisStore.from_url(f"{own(name).url}?strict=1")) as store:
            spend(store)
            assert store.examine() == []
    assert caplog.text == ""


def test_a_password_is_needed_and_never_shown(own):
    """In no error, and not in the name that logs and the journal's directory have."""
    server = own(requirepass="secret")
    with closing(RedisStore.from_url(f"redis://:secret@127.0.0.1:{server.port}")) as store:
        spend(store)
        assert "secret" not in store._link.name
    for password in ("wrong-secret", ""):
        with closing(RedisStore.from_url(f"redis://:{password}@127.0.0.1:{server.port}")) as store:
            with pytest.raises(StoreError, match="check the user and password") as caught:
                store.reserve(hold())
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["valkey", "redis"])
def test_a_user_with_the_documented_rights_can_do_everything(own, name):
    """And one that lacks some is told which it needs."""
    server = own(name)
    page = (ROOT / "docs/stores.md").read_text("utf-8")
    rule = next(line for line in page.splitlines() if line.startswith("ACL SETUSER"))
    scripts = "".join([path.read_text("utf-8") for path in (Path(stores.__file__).parent / "redis/lua").rglob("*.lua")])
    needed = {word.lower() for word in re.findall(r"call\('(\w+)'", scripts)}
    assert set(re.findall(r"\+(\w+)", rule)) - needed == {"eval", "evalsha", "info", "select"}
    assert needed <= set(re.findall(r"\+(\w+)", rule))
    with ExitStack() as stack:
        admin = stack.enter_context(redis.Redis(port=server.port))
        admin.execute_command(*rule.split())
        url = f"redis://app:password@127.0.0.1:{server.port}/1?strict=1"
        store = stack.enter_context(closing(open_store(url, namespace="shop")))
        with_terms = stack.enter_context(closing(open_store(url, namespace="other")))
        assert use(store) == use(with_terms)
        admin.execute_command("ACL", "SETUSER", "app", "-zcount")
        assert "its user needs the keys budgetguard:*" in refusal(store)
        admin.execute_command("ACL", "SETUSER", "app", "-evalsha")
        assert "its user needs the keys budgetguard:*" in refusal(store)


def use(store: Any) -> list[Any]:
    """Everything that can be done with a store, each in all of its ways."""
    now_ms = store.now_ms()
    short = Account("day", limit=100, end_ms=now_ms + 86_400_000)
    charged, ended, released = [
        Hold(new_id(), (short,), 1, ttl_ms=1, on_expire=way) for way in ("charge", "release", "release")
    ]
    counted = Hold(new_id(), (short, Account("day#tokens")), 1, ttl_ms=1, units={"tokens": Wanted(9)})
    for each in (charged, ended, released, counted):
        assert isinstance(store.reserve(each), Admitted)
    time.sleep(0.01)
    balances = store.balances(["day"])
    store.put_terms("one", "body")
    store.put_terms("one", None)
    store.put_terms("two", "body")
    windowed = Hold(new_id(), (Account("hour", limit=100, window=("day",)),), 5, terms=(("two", 1),))
    stale = Hold(new_id(), (short,), 5, terms=(("two", 9),))
    assert isinstance(store.reserve(windowed), Admitted)
    kinds = [type(store.reserve(each)).__name__ for each in (stale, Hold(new_id(), (short,), 1000))]
    store.release(released.id)
    store.settle(charged, Entry(charged.id, 2))
    ids = [spend(store) for _ in range(5)]
    unknown = Hold(new_id(), (short,), 5)
    store.settle_many([(unknown, Entry(unknown.id, 3, ("beside",)))])
    [first, *_] = store.entries()
    pages = len(list(store.entries(Query(after=first.hold_id)))), len(list(store.entries(Query(since_ms=now_ms))))
    lists = [len(list(each)) for each in (store.accounts(), store.all_terms(), store.carried(), store.holds())]
    loaded = Entry(new_id(), 7, ("day",), now_ms - 1000)
    store.load(terms=[Terms("three", 4, "x")], accounts=[Carried("day", now_ms + 1, 5)], entries=[loaded])
    checked, pruned = store.check(), store.prune(now_ms + 60_000)
    return [kinds, len(ids), pages, lists, checked, pruned, store.terms("three"), balances, store.examine()]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://host/0?strict=maybe", "neither 0 nor 1"),
        ("redis://host:port", "no redis:// URL"),
        ("redis://:secret", "no redis:// URL"),
        ("redis://:secret@host/0?colour=red", "an option .* is unknown.*: colour;"),
        ("redis://host/db", "is a number"),
        ("redis://:hunter2#x@h", "as %XX"),
        ("redis://:hunter2?x@h", "as %XX"),
        ("redis://:hunter2/secret@h:6379/0", "as %XX"),
        ("redis://:1234/hunter2@h:6379/0", "as %XX"),
        ("valkey://:hunter[2@h", "no valkey:// URL"),
        ("valkey://:hunter]2@h", "no valkey:// URL"),
        ("redis://host?socket_timeout=20", "give reserve_s= and settle_s="),
        ("redis://host?socket_connect_timeout=20", "give reserve_s= and settle_s="),
        ("redis://host?decode_responses=True", "names may be any bytes"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_at_once(url, said):
    """Before anything is asked of anybody; and no part of a password is told."""
    with pytest.raises(ConfigError, match=said) as caught:
        open_store(url)
    told = str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for word in ("secret", "hunter", "x@h"):
        assert word not in told


def test_ready_clients_are_stores():
    """Sentinel's and a cluster's among them; an asynchronous one, or one that decodes, says what is needed."""
    url = servers.running("valkey").replace("valkey://", "redis://")
    with redis.Redis.from_url(url) as client, closing(open_store(client, namespace=new_id())) as store:
        spend(store)
        assert [item.settled for item in store.accounts()] == [7]
        assert store.check() == []
    with pytest.raises(ConfigError, match="give the synchronous one"):
        open_store(redis.asyncio.Redis.from_url(url))
    with pytest.raises(ConfigError, match="decode_responses=True"):
        open_store(redis.Redis.from_url(url, decode_responses=True))


def test_each_server_has_a_journal_of_its_own():
    """What waits for one must never be booked in another, whatever the ways to them have in common."""
    first, second = [("10.0.0.1", 26379), ("10.0.0.2", 26379)], [("10.0.0.9", 26379), ("10.0.0.2", 26379)]
    ready = [Sentinel(each).master_for("shop", db=db) for each in (first, second) for db in (0, 3)]
    ready += [redis.Redis(unix_socket_path="/run/redis", db=db) for db in (0, 3)]
    ready += [redis.Redis(host=host, port=port) for host, port in first]
    homes = [given(client).home for client in ready]
    assert None not in homes
    assert len(set(homes)) == len(ready)
    assert given(Sentinel(first[::-1]).master_for("shop")).home == homes[0]

    class Pool(redis.ConnectionPool):
        """One that does not say where it leads."""

        def __init__(self) -> None:
            super().__init__()
            self.connection_kwargs = {}

    assert open_store(redis.Redis(connection_pool=Pool())).journal is None


def test_a_client_of_valkey_py_is_a_store(own, tmp_path):
    """Its errors are not those of redis-py, and mean the same: nothing is lost when the way breaks."""
    valkey = pytest.importorskip("valkey")
    server = own()
    with Proxy("127.0.0.1", server.port) as proxy:
        client = valkey.Valkey(port=proxy.port, socket_timeout=0.25, socket_connect_timeout=0.25)
        with closing(open_store(client, namespace="shop")) as store:
            spend(store)  # on a server that knows no script yet
            first = next(store.entries())
            spenders = Spenders(store, tmp_path / "journal")
            spenders.acknowledged[first.hold_id] = first.cost
            for mode in ("cut_after", "refuse", "stall"):
                break_off(proxy, mode)
            time.sleep(0.4)
            spenders.stop()
            assert spenders.failed > 0
            spenders.audit()
        client.close()


def test_a_cluster_is_a_store(own):
    """All keys of a project are in one slot."""
    server = own(**{"cluster-enabled": "yes", "cluster-port": str(free_port())})
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: "cluster_state:ok" in str(admin.execute_command("CLUSTER", "INFO")))
    cluster = redis.RedisCluster(host="127.0.0.1", port=server.port)
    assert given(cluster).home == f"redis cluster of 127.0.0.1:{server.port}"
    with closing(open_store(cluster, namespace="shop")) as store:
        for _ in range(5):
            spend(store)
        assert [item.settled for item in store.accounts()] == [35]
        assert len(list(store.entries())) == 5
        assert store.check() == []
    cluster.close()


def test_parent_and_child_use_the_store_after_a_fork():
    """Each on connections of its own, also while other threads are on the way."""
    with closing(open_store(servers.running("valkey"), namespace=new_id())) as store:
        busy, count = threading.Event(), 0

        def loop() -> None:
            nonlocal count
            while not busy.is_set():
                spend(store)
                count += 1

        thread = threading.Thread(target=loop)
        thread.start()
        statuses = ends(*[fork(lambda: [spend(store) for _ in range(10)]) for _ in range(4)])
        busy.set()
        thread.join()
        assert statuses == [0] * 4
        assert len(list(store.entries())) == count + 40
        assert store.check() == []


def test_namespaces_do_not_see_each_other():
    """Projects share a server, not their budgets; any text may name one."""
    url = servers.running("valkey")
    names = [new_id(), f"{new_id()} {{Ünï}}", f"{new_id()}\udcff\0"]
    for place, name in enumerate(names):
        with closing(open_store(url, namespace=name)) as store:
            spend(store, 1 + place)
    for place, name in enumerate(names):
        with closing(open_store(url, namespace=name)) as store:
            assert [item.settled for item in store.accounts()] == [1 + place]


def test_the_servers_clock_decides():
    """Whatever the clients' say: nobody gives one."""
    with closing(open_store(servers.running("valkey"), namespace=new_id())) as store:
        assert abs(store.now_ms() / 1000 - time.time()) < 5
        spend(store)
        [entry] = store.entries()
        assert abs(entry.at_ms - store.now_ms()) < 5000
        over = Account("day/0", limit=100, end_ms=store.now_ms() - 1)
        assert not isinstance(store.reserve(Hold(new_id(), (over,), 1)), Admitted | Refusal)


def test_five_hundred_tasks_make_progress_and_the_loop_runs_on():
    """Steps wait for the network in threads of ours: the loop stands still no longer than the SDK alone makes it."""
    prices = {MODEL: {"input": 0.15, "output": 0.60, "max_output": 10}}
    with Endpoint() as endpoint:
        bare = asyncio.run(longest_gap(endpoint))
        # One interpreter runs the tasks, the threads and the provider: a step may take longer than it does elsewhere.
        store = RedisStore.from_url(servers.running("valkey"), namespace=new_id(), reserve_s=30, settle_s=30)
        with closing(BudgetManager("tasks", store=store, prices=PriceBook(overrides=prices))) as made:
            made.create_budget(100, USER)
            budgetguard.patch(made)
            guarded = asyncio.run(longest_gap(endpoint))
            assert len(list(made.store.entries())) == 500
            assert made.store.holds() == []
    assert guarded < 3 * bare + 0.5


async def longest_gap(endpoint: Endpoint) -> float:
    """Five hundred calls at once; the longest time in which the loop ran nothing else, in seconds."""
    gaps = []

    async def watch() -> None:
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - begin)

    caller = Caller(endpoint.base_url, True, Books("", ""))
    watcher = asyncio.ensure_future(watch())
    async with caller.async_client(timeout=60) as client:
        calls = [client.chat.completions.create(**caller.request(max_tokens=5)) for _ in range(500)]
        answers = await asyncio.gather(*calls)
    watcher.cancel()
    assert len(answers) == 500
    return max(gaps)


def test_calls_are_refused_or_let_pass_while_the_server_is_away(own, tmp_path):
    """By the policy that was configured; and what was spent is booked when it is back (P10)."""
    server = own()
    for policy in ("closed", "open"):
        allowance = 0.50 if policy == "open" else None
        settings = Settings(on_store_error=policy, allowance=allowance, journal=tmp_path / policy)  # type: ignore[arg-type]
        with closing(RedisStore.from_url(server.url, namespace=policy)) as store:
            guard = Guard(store, settings=settings)
            assert (guard.spare is not None) == (policy == "open")
            spend(store)
            server.kill()
            with pytest.raises(StoreError):
                store.reserve(hold())
            server.start()
            wait_until(lambda store=store: not _fails(store))


def _fails(store: RedisStore) -> bool:
    try:
        spend(store)
    except StoreError:
        return True
    return False
