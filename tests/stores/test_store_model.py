"""
Every store answers as the memory store does (P11).

Random operations, repeated and reordered, go to a store in memory and to another one: `tests/support/store_model.py`.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid

from hypothesis import HealthCheck, Phase, settings

from budgetguard.ledger import Store
from budgetguard.stores import open_store
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support import servers
from tests.support.store_model import OnRequests, OnTokens, Stores


class OnSQLite(Stores):
    def make(self) -> Store:
        self.directory = tempfile.mkdtemp(prefix="budgetguard-test-")
        return SQLiteStore(f"{self.directory}/a.db", clock=self.clock, durable=False, reserve_s=5)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


class OnValkey(Stores):
    server = "valkey"

    def make(self) -> Store:
        return open_store(servers.running(self.server), namespace=uuid.uuid4().hex, clock=self.clock)


class OnRedis(OnValkey):
    server = "redis"


class OnPostgres(OnValkey):
    server = "postgres"


for machine in (OnTokens, OnRequests, OnSQLite, OnValkey, OnRedis, OnPostgres):
    machine.TestCase.settings = settings(
        max_examples=50,
        stateful_step_count=40,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
        database=None,
    )
TestSQLite, TestValkey, TestRedis = OnSQLite.TestCase, OnValkey.TestCase, OnRedis.TestCase
TestPostgres = OnPostgres.TestCase
TestTokens, TestRequests = OnTokens.TestCase, OnRequests.TestCase
