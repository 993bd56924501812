"""
What the runs of all frameworks begin with: a provider that keeps its own bill, and budgets that guard every call.

A pytest plugin (`tests/run_frameworks.py` names it): each framework has an environment of its own, without what the
project's other tests need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, find_budget_error
from budgetguard.guards import Settings
from budgetguard.guards.guard import Guard
from budgetguard.money import Money
from budgetguard.prices.book import PriceBook
from budgetguard.testing import FakeProvider

MODELS = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash")
"""Real names: frameworks know them, and what they can do."""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """The provider, which every SDK in this process is pointed to."""
    with FakeProvider(prices=dict.fromkeys(MODELS, (1, 2)), tokens=12) as own:
        for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE"):
            monkeypatch.setenv(f"{name}_API_KEY", "none")
        monkeypatch.setenv("OPENAI_BASE_URL", own.base_url)
        monkeypatch.setenv("OPENAI_API_BASE", own.base_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", own.root_url)
        yield own


def _manager(provider: FakeProvider, limit: str) -> BudgetManager:
    prices = PriceBook()
    for model in MODELS:
        prices.add(model, input=1, output=2, max_output=4_000)
    settings = Settings(usage_hosts=frozenset({provider.base_url.split("/")[2]}))  # asked as OpenAI's own host is
    budgets = [Budget("all", limit)]
    manager = BudgetManager("frameworks", store="memory://", prices=prices, budgets=budgets, settings=settings)
    budgetguard.patch(manager)
    return manager


@pytest.fixture
def books(provider: FakeProvider) -> Iterator[BudgetManager]:
    """Ample budgets; afterwards the books are the bill to the nano-dollar, and nothing is held."""
    manager = _manager(provider, "10")
    yield manager
    provider.wait()
    assert provider.ledger, "no call was made"
    assert Money(sum(entry.cost for entry in manager.store.entries())) == provider.billed
    assert len(list(manager.store.entries())) == len(provider.ledger)
    assert manager.store.holds() == []
    budgetguard.unpatch()


@pytest.fixture
def refused(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Has something run that no budget allows: one attempt, nothing sent, and ours in what the caller catches."""
    _manager(provider, "0.000001")
    attempts: list[Any] = []
    charge = Guard.charge
    monkeypatch.setattr(Guard, "charge", lambda *args, **kwargs: attempts.append(args) or charge(*args, **kwargs))

    def run(ask: Callable[[], Any]) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever the framework makes of it
            ask()
        found = find_budget_error(caught.value)
        assert isinstance(found, BudgetExceededError), repr(caught.value)
        assert provider.requests == []
        assert len(attempts) == 1

    yield run
    budgetguard.unpatch()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what is installed of what matters here."""
    matter = {"openai", "anthropic", "google-genai", "litellm"}
    found = {each.name: each.version for each in distributions() if each.name in matter}
    terminalreporter.write_line("versions: " + ", ".join(f"{name} {found[name]}" for name in sorted(found)))
