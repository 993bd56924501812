"""Prices of the models that tests call, what a provider charges by them, and the books of a user called ann."""

from __future__ import annotations

from typing import Any

from budgetguard import BudgetManager
from budgetguard.guards.settings import Settings
from budgetguard.prices.book import PriceBook
from budgetguard.testing import FakeProvider
from tests.support.sdk_shapes import MODEL

PRICES: Any = {
    MODEL: {"input": 0.15, "output": 0.6},
    "text-embedding-3-small": {"input": 0.02},
    "gpt-image-1": {"input": 5, "output": 40},
    "gpt-4o-mini-tts": {"input": 0.6, "output": 12},
    "gpt-4o-mini-transcribe": {"input": 1.25, "output": 5},
}
LISTED: Any = {"tts-1": {"input_characters": 15}, "whisper-1": {"input_audio_seconds": 0.0001}}
"""As in genai-prices 0.2.3."""


def bill(model: str, usage: Any) -> int:
    """What the provider charges, in nano-dollars; written apart from the price book, over the same prices."""
    price = {**PRICES, **LISTED}.get(model, {})
    made = usage.get("completion_tokens", usage.get("output_tokens", 0))
    asked = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    pico = round(asked * price.get("input", 0) * 1e6) + round(made * price.get("output", 0) * 1e6)
    pico += round(usage.get("characters", 0) * price.get("input_characters", 0) * 1e6)
    pico += round(usage.get("seconds", 0) * price.get("input_audio_seconds", 0) * 1e12)
    return -(-pico // 1000)


def manager(limit: float | str = 100.0) -> BudgetManager:
    # The endpoint stops where its reader leaves, which nobody but us knows.
    settings = Settings(usage_hosts=frozenset({"127.0.0.1"}), abandoned="observed")
    made = BudgetManager("matrix", store="memory://", prices=PriceBook(overrides=PRICES), settings=settings)
    made.create_budget(limit, "ann")
    return made


def entries(made: BudgetManager) -> list[Any]:
    assert made.store.check() == []
    return list(made.store.entries())


def costs(manager: BudgetManager) -> list[int]:
    """What each call on the books cost, in nano-dollars."""
    return [entry.cost for entry in manager.store.entries()]


def billed(provider: FakeProvider) -> list[int]:
    """What the provider charges for each."""
    return [each.amount for each in provider.ledger]
