"""Valkey and Redis keep the contract; what only a server can suffer is in `test_redis_faults.py`."""

from __future__ import annotations

import uuid

import pytest

from benchmarks import servers
from budgetguard.ledger import Store
from budgetguard.stores import open_store
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract


class _OnServer(StoreContract):
    server = ""

    @pytest.fixture(autouse=True)
    def _namespace(self) -> None:
        self.namespace = uuid.uuid4().hex

    def make_store(self, clock: StoppedClock) -> Store:
        return open_store(servers.running(self.server), namespace=self.namespace, clock=clock)

    same_store = make_store


class TestValkey(_OnServer):
    server = "valkey"


class TestRedis(_OnServer):
    server = "redis"
