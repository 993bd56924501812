"""What tests of web frameworks begin with: books for every user, in this process, and a provider's client."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import budgetguard
from budgetguard import Budget, BudgetManager
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider
from tests.support.web import fast


@pytest.fixture
def shop() -> Iterator[BudgetManager]:
    """The process's own budgets: half a cent a day for each of its users."""
    rule = Budget("free", 0.005, "daily", per=("user",))
    with_rule = BudgetManager("shop", store="memory://", budgets=[rule])
    budgetguard.patch(with_rule)
    yield with_rule
    with_rule.close()


@pytest.fixture(scope="module")
def clients(shared_provider: FakeProvider) -> fast.Clients:
    """What an application on FastAPI has of the provider."""
    return fast.Clients(shared_provider)


@pytest.fixture
def spent(shop: BudgetManager) -> Callable[[str], list[int]]:
    """What each call of a user cost, in nano-dollars; nothing of theirs may still be held."""

    def costs(user: str) -> list[int]:
        PROCESS.sweep()  # streams that were dropped are garbage until somebody looks
        assert [balance.held for _, balance in shop.guard.balances({"user": user}, None)] == [0]
        return [entry.cost for entry in shop.store.entries() if entry.tags.get("user") == user]

    return costs


@pytest.fixture
def left(shop: BudgetManager) -> Callable[[threading.Event], None]:
    """Waits until a body has been left that sets this event: what a server drops may be garbage first."""

    def wait(event: threading.Event) -> None:
        deadline = time.monotonic() + 20
        while not event.wait(0.2):
            assert time.monotonic() < deadline, "the body is still there"
            PROCESS.sweep()

    return wait


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a test does is no crash: no server, no framework logs an error."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
