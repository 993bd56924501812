"""Random operations on a hosted store are answered as by the store in memory: `test_store_model.py`, over HTTP."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import initialize

from budgetguard.stores import open_store
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing.clock import StoppedClock
from tests.support.hosting import Hosted
from tests.support.store_model import Stores


class HostedStores(Stores):
    """One ledger kept twice, once behind a server."""

    @initialize()
    def open(self) -> None:
        self.clock = StoppedClock()
        self.server = Hosted("memory://", clock=self.clock)
        self.stores = [
            MemoryStore(clock=self.clock),
            open_store(f"{self.server.url}?reserve_s=5&settle_s=5", namespace="shop"),
        ]
        self.placed = {}

    def teardown(self) -> None:
        self.stores[1].close()
        self.server.stop()


HostedStores.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
TestHostedStores = HostedStores.TestCase
