"""Valkey and Redis keep the contract; what only a server can suffer is in `test_redis_faults.py`."""

from __future__ import annotations

import uuid

import pytest

from budgetguard.ledger import Account, Admitted, Balance, Entry, Hold, Store, new_id
from budgetguard.stores import open_store
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
