"""A hosted budget keeps every promise of a local one: the contract of stores, over a real server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hosting import Hosted

from budgetguard.ledger import Store
from budgetguard.stores import open_store
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract


class HostedContract(StoreContract):
    """The contract, over HTTP."""

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path, clock: StoppedClock) -> Iterator[None]:
        self.server = Hosted(self.store_url(tmp_path), clock=clock)
        yield
        self.server.stop()

    def store_url(self, tmp_path: Path) -> str:
        raise NotImplementedError

    def make_store(self, clock: StoppedClock) -> Store:
        return open_store(self.server.url, namespace="shop")

    same_store = make_store


class TestBeforeMemory(HostedContract):
    def store_url(self, tmp_path: Path) -> str:
        return "memory://"


class TestBeforeSQLite(HostedContract):
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/budgets.db"


del HostedContract, StoreContract  # or pytest would collect them too
