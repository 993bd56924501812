"""Valkey and Redis keep the contract; what only a server can suffer is in `test_redis_faults.py`."""

from __future__ import annotations

import uuid
from itertools import takewhile
from typing import Any

import pytest
import redis

from budgetguard.ledger import Account, Admitted, Balance, Carried, Entry, Hold, Store, Wanted, new_id
from budgetguard.stores import open_store
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract
from tests.support import servers


class _OnServer(StoreContract):
    server = ""

    @pytest.fixture(autouse=True)
    def _namespace(self) -> None:
        self.namespace = uuid.uuid4().hex

    def make_store(self, clock: StoppedClock) -> Store:
        return open_store(servers.running(self.server), namespace=self.namespace, clock=clock)

    same_store = make_store

    def test_sums_are_exact_beyond_what_a_script_keeps_exact(self, store: Store, clock: StoppedClock) -> None:
        """Lua's numbers end at 2^53; of amounts below that, many together come to more."""
        amounts = [8 * 10**15 + 1, 2 * 10**15, 7 * 10**15 + 1, 10**15]
        account, beside = Account("account"), "beside"
        holds = [Hold(new_id(), (account,), amount) for amount in amounts]
        for each in holds:
            assert isinstance(store.reserve(each), Admitted)
        store.settle_many([(each, Entry(each.id, each.amount, (beside,))) for each in holds])
        total = sum(amounts)
        assert store.balances(["account", beside]) == [Balance("account", total, 0), Balance(beside, total, 0)]
        assert store.check() == []
        for amount in amounts:
            store.reserve(Hold(new_id(), (account,), amount, ttl_ms=1, on_expire="charge"))
        clock.advance(1)
        assert store.balances(["account"]) == [Balance("account", 2 * total, 0)]
        assert list(store.accounts("account")) == [Balance("account", 2 * total, 0)]

    def test_balances_of_outcomes_are_exact_beyond_that(self, store: Store, clock: StoppedClock) -> None:
        """Also with a window, and where many are settled together."""
        memory = MemoryStore(clock=clock)
        account = Account("account", window=("earlier", "account"))
        tokens = Account("roll/2#tokens", window=("roll/1#tokens",))
        for books in (store, memory):
            books.load(accounts=[Carried("earlier", None, 2**60 + 1), Carried("roll/1#tokens", None, 2**60 + 1)])
        amounts = [8 * 10**15 + 1, 2 * 10**15, 7 * 10**15]
        holds = [Hold(new_id(), (account, tokens), each, units={"tokens": Wanted(each)}) for each in amounts]
        plain = [Hold(new_id(), (Account("account"),), each) for each in amounts]
        more = ("account", "beside", "beside")
        settlements = [(each, Entry(each.id, each.amount, more, units={"tokens": 7})) for each in holds]

        def same(operation: str, *args: Any) -> None:
            told, specified = [getattr(books, operation)(*args) for books in (store, memory)]
            pairs = zip(told, specified, strict=True) if isinstance(told, list) else [(told, specified)]
            for one, other in pairs:
                assert (one, one.balances) == (other, other.balances)

        for each in [*holds, *holds, *plain]:
            same("reserve", each)
        same("settle", *settlements[0])
        same("settle_many", settlements)
        for each in [*plain, *plain]:
            same("settle", each, Entry(each.id, min(each.amount, 10**15)))

    def test_a_plain_call_is_two_steps_of_a_few_commands(self, store: Store) -> None:
        """What outcomes say of balances takes none, and other units have no key of their own."""
        url = servers.running(self.server).replace("valkey://", "redis://")
        account = Account("account", limit=100)
        assert isinstance(store.reserve(Hold(new_id(), (account,), 10)), Admitted)
        held = Hold("call", (account,), 10)
        with redis.Redis.from_url(url) as client, client.monitor() as monitor:
            store.reserve(held)
            store.settle(held, Entry("call", 7))
            client.echo("over")
            seen = list(takewhile(lambda each: each["command"] != "ECHO over", monitor.listen()))
        steps = [each for each in seen if each["command"].startswith("EVALSHA")]
        own = [each["command"].split() for each in seen if each["client_type"] == "lua"]
        assert len(steps) == 2
        begin = f"budgetguard:{{{self.namespace}}}:"
        assert " ".join([f"{name} {key.removeprefix(begin)}" for name, key, *_ in own]) == (
            "ZCOUNT d ZCOUNT d EXISTS h:call HMGET a:account HINCRBY a:account SET h:call ZADD d "
            "GET h:call HINCRBY a:account HINCRBY a:account ZREM d SET h:call ZADD e"
        )

    def test_any_text_is_the_id_of_a_hold(self, store: Store) -> None:
        """Lone surrogates among it, which have no place in UTF-8."""
        account = Account("account", limit=100)
        for number, name in enumerate(("Ünï", "\ud800", "\0", "")):
            settled, released, loaded = [f"{name}{number}{way}" for way in "srl"]
            for each in (settled, released):
                assert isinstance(store.reserve(Hold(each, (account,), 5)), Admitted)
            assert settled in {hold.id for hold in store.holds()}
            store.settle(Hold(settled, (account,), 5, leases=(released,)), Entry(settled, 1))
            store.release(released)
            store.load(entries=[Entry(loaded, 1, ("account",), 1)])
            store.release(settled)
            assert {settled, loaded} <= {entry.hold_id for entry in store.entries()}
        assert store.balances(["account"]) == [Balance("account", 8, 0)]


class TestValkey(_OnServer):
    server = "valkey"


class TestRedis(_OnServer):
    server = "redis"
