"""Every store keeps the contract; what only a file can suffer stands below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from budgetguard.ledger import Store
from budgetguard.stores import open_store
from budgetguard.stores.memory import MemoryStore
from budgetguard.stores.sqlite import SQLiteStore
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self, clock: StoppedClock) -> Store:
        return MemoryStore(clock=clock)


class TestSQLiteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/budgets.db"

    def make_store(self, clock: StoppedClock) -> Store:
        return open_store(self.url, clock=clock)

    same_store = make_store
