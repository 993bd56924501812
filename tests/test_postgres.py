"""The store in PostgreSQL: the contract, and what is its own."""

from __future__ import annotations

from uuid import uuid4

from benchmarks.servers import running
from budgetguard.ledger import Store
from budgetguard.stores.postgres import PostgresStore
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract


class TestPostgresStore(StoreContract):
    def make_store(self, clock: StoppedClock) -> Store:
        self.namespace = uuid4().hex
        return self.same_store(clock)

    def same_store(self, clock: StoppedClock) -> Store:
        return PostgresStore(running("postgres"), namespace=self.namespace, clock=clock, reserve_s=5, settle_s=5)
