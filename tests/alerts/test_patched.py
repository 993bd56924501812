"""`patch(budgets=, alerts=)`: rules, and who is told of them, of a program without a manager."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, ConfigError
from budgetguard.alerts import Alert
from budgetguard.testing import FakeProvider

MODEL = "gpt-4o-mini"
RULES = [Budget("free", 0.00002, "daily", per=("user",), warn_at=(0.5,))]


def ask(provider: FakeProvider, times: int = 1) -> None:
    with provider.client() as client, budgetguard.budget(user="ann"):
        for _ in range(times):
            client.responses.create(model=MODEL, input="hi", max_output_tokens=16)


def test_a_program_without_a_manager_is_told_of_its_rules(here: Path) -> None:
    """A script of ten lines has no use for a manager, and wants to know before a budget is over all the same."""
    told: list[Alert] = []
    with FakeProvider(prices={MODEL: (0.15, 0.60)}) as provider:
        budgetguard.patch(budgets=RULES, alerts=[told.append])
        budgetguard.patch()  # again, as by a library: it changes nothing of them
        ask(provider, 2)
        end = time.monotonic() + 20
        while not told and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(budgetguard.BudgetExceededError, match="free/ann/"):
            ask(provider, 5)
    assert told[0].text.startswith("free/ann (")
    assert (here / "budgetguard.db").exists()


@pytest.mark.parametrize(("name", "given"), [("budgets", RULES), ("alerts", [print])])
def test_beside_a_manager_they_are_refused(here: Path, name: str, given: list[object]) -> None:
    """It has its own: which of both holds nobody could tell."""
    with BudgetManager("shop", store="memory://") as manager:
        with pytest.raises(ConfigError, match=rf"patch\({name}=...\): the manager has {name} of its own"):
            budgetguard.patch(manager, **{name: given})
        budgetguard.patch(manager)
        with pytest.raises(ConfigError, match=rf"write BudgetManager\(..., {name}=...\)"):
            budgetguard.patch(**{name: given})


@pytest.mark.parametrize(("name", "given"), [("budgets", "free"), ("budgets", [1]), ("alerts", "https://example.com")])
def test_what_is_none_of_them_is_said(here: Path, name: str, given: object) -> None:
    """At the line that is wrong, and not at the first call."""
    with pytest.raises((ConfigError, TypeError), match=name):
        budgetguard.patch(**{name: given})
