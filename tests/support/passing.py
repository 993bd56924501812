"""Calls that pass through a gateway: what they cost, and the books of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from budgetguard.ledger import Entry, Store
from budgetguard.prices.book import PriceBook
from budgetguard.process.state import PROCESS
from budgetguard.server.gateway.config.model import Upstream
from budgetguard.testing import FakeProvider
from tests.support import books
from tests.support.gateway import CLAUDE, GEMINI, ServedGateway, upstream
from tests.support.tasks import until

PRICES: Any = {
    **books.PRICES,
    CLAUDE: {"input": 1, "output": 5, "cache_write": 1.25},
    GEMINI: {"input": 0.3, "output": 2.5},
    "gemini-embedding-001": {"input": 0.15},
    "gpt-3.5-turbo-instruct": {"input": 1.5, "output": 2},
}


def bill(model: str, usage: Any) -> int:
    """What a provider charges, in nano-dollars; written apart from the price book, over the same prices."""
    if "promptTokenCount" not in usage and model not in {CLAUDE, "gpt-3.5-turbo-instruct"}:
        return books.bill(model, usage)
    price = PRICES[model]
    asked = usage.get("promptTokenCount", usage.get("prompt_tokens", usage.get("input_tokens", 0)))
    words = ("candidatesTokenCount", "thoughtsTokenCount", "completion_tokens", "output_tokens")
    made = sum(usage.get(word, 0) for word in words)
    pico = round(asked * price["input"] * 1e6) + round(made * price.get("output", 0) * 1e6)
    return -(-pico // 1000)


def prices(more: Any = None) -> PriceBook:
    """The same as the gateway has it, and more prices."""
    return PriceBook(overrides={**PRICES, **(more or {})})


def three(root: str, **fields: Any) -> Iterable[Upstream]:
    """An upstream for the models of each API at the root of a fake provider."""
    for api, seller in (("openai", "openai"), ("anthropic", "anthropic"), ("gemini", "google")):
        made = upstream(api, root, provider=api, prices=seller, **fields)
        yield upstream(api, root, provider=api, prices=seller, **{"bases": {api: made.bases[api]}, **fields})


def store_of(gateway: ServedGateway, project: str = "default") -> Store:
    """The books of a project."""
    return gateway.app.hosting.projects.open(project).store


def settled(gateway: ServedGateway, project: str = "default") -> list[Entry]:
    """What is on the books once no call is open; they add up."""
    store = store_of(gateway, project)
    assert until(lambda: not PROCESS.open and not list(store.holds()), 10), "a hold is left"
    assert store.check() == []
    return list(store.entries())


class Books:
    """What came onto the books and the bill since it was made."""

    def __init__(self, gateway: ServedGateway, provider: FakeProvider, project: str = "default") -> None:
        self.gateway, self.provider, self.project = gateway, provider, project
        self._entries, self._bills = len(settled(gateway, project)), len(provider.ledger)

    def booked(self) -> list[int]:
        """The cost of each call, in nano-dollars."""
        return [each.cost for each in settled(self.gateway, self.project)[self._entries :]]

    def billed(self) -> list[int]:
        """What the provider charges for each."""
        return [each.amount for each in self.provider.wait().ledger[self._bills :]]

    def entries(self) -> list[Entry]:
        """The entries."""
        return settled(self.gateway, self.project)[self._entries :]
