"""Lines that were forgotten, or written in the words of another package: nothing half set up passes in silence."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, ConfigError, Settings, budget, budgeted
from tests.support import ENVIRONMENT
from tests.support.plain_calls import sync_client

CLIENT = sync_client()


def ask(**more: Any) -> Any:
    return CLIENT.chat.completions.create(model="gpt-4o-mini", messages=[], max_tokens=5, **more)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings so far of managers that nothing acts by."""
    caplog.set_level(logging.WARNING, "budgetguard")
    return lambda: [text for record in caplog.records if "nothing acts by it" in (text := record.getMessage())]


# -- max_budget --------------------------------------------------------------------------------------------------------


def test_max_budget_holds_without_a_patch():
    """It is the whole quick start of a script: a line that was forgotten before it made it say nothing."""
    budgetguard.max_budget = 0.0000001
    with pytest.raises(BudgetExceededError, match="max_budget"):
        ask()
    budgetguard.max_budget = None
    ask()
    budgetguard.max_budget = 0
    budgetguard.unpatch()
    ask()


@pytest.mark.parametrize("name", ["max_budgets", "budget_limit", "limit", "budget"])
def test_a_name_that_is_none_cannot_be_set(name):
    """A limit of that name would limit nothing."""
    with pytest.raises(ConfigError, match=r"did you mean budgetguard\.max_budget\?"):
        setattr(budgetguard, name, 5)


def test_tests_can_replace_what_there_is(monkeypatch):
    """And nothing else: a callback of a name that is none would never be called."""
    monkeypatch.setattr(budgetguard, "patch", lambda: None)
    with pytest.raises(ConfigError, match="only max_budget can be set"):
        budgetguard.on_refusal = lambda: None


def test_the_value_that_was_set_is_not_repeated():
    """It may be a key."""
    with pytest.raises(ConfigError, match="only max_budget can be set") as refused:
        budgetguard.api_key = "sk-secret"
    assert "sk-secret" not in str(refused.value)


def test_a_copy_of_max_budget_is_refused():
    """`max_budget = 5` after it sets a variable of the program."""
    program = (
        "import budgetguard; budgetguard.max_budget = 5; from budgetguard import *; "
        "assert 'max_budget' not in globals() and getattr(budgetguard, 'max_budget') == 5\n"
        "def helper():\n    from budgetguard import patch, max_budget\n"
        "try:\n    helper()\n"
        "except budgetguard.ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "write `import budgetguard` and `budgetguard.max_budget = 5.00`" in done.stdout


# -- a manager that nothing acts by ------------------------------------------------------------------------------------


def test_a_manager_that_nothing_acts_by_is_warned_of_once(said):
    """Its users have budgets, the scopes name users, and nothing is limited: `patch(manager)` was forgotten."""
    manager = BudgetManager("shop", store="memory://")
    manager.create_budget(0, "ann")
    with budget(user="ann"):
        ask()
        ask()

    [warning] = said()
    assert warning.startswith("BudgetManager('shop') was made")
    assert "budgetguard.patch(manager)" in warning
    manager.close()


@pytest.mark.parametrize("used", ["patched", "entered", "closed", "another patched", "unnamed"])
def test_a_manager_that_is_used_is_not(said, used):
    """Nor one of a program that names no users, or that has done with it."""
    manager = BudgetManager("shop", store="memory://", settings=Settings(unscoped="allow"))
    other = BudgetManager("admin", store="memory://", settings=Settings(unscoped="allow"))
    if used != "another patched":
        other.close()
    if used.endswith("patched"):
        budgetguard.patch(manager)
    elif used == "entered":
        with manager, budget(user="ann"):
            ask()
    elif used == "closed":
        manager.close()
    with budget(user=None if used == "unnamed" else "ann"):
        ask()

    assert said() == []
    manager.close()
    other.close()


# -- the words of others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "say"),
    [
        (lambda: Budget("a", max_usd=5), r"Budget\(max_usd=\.\.\.\): .* say limit=$"),
        (lambda: Budget("a", max_budget=5), "say limit=$"),
        (lambda: Budget("a", 5, budget_duration="daily"), "say period=$"),
        (lambda: Budget("a", max_tokens=5), "say limit= with unit='tokens'$"),
        (lambda: Budget("a", 5, perod="daily"), "say period=$"),
        (lambda: Budget("a", 5, colour="red"), "there are name, limit, period"),
        (lambda: budget(max_budget=5), r"budget\(max_budget=\.\.\.\): .* say limit=$"),
        (lambda: budget(amount=5), "say limit=$"),
        (lambda: budget(user_id="ann"), "say user=$"),
        (lambda: budget(max_tokens=5), "there are user, limit, tags"),
        (lambda: budgeted(max_cost_usd=5), "say limit=$"),
        (lambda: BudgetManager("a", store_url="memory://"), "say store=$"),
        (lambda: BudgetManager(project="a"), "say project_name=$"),
        (lambda: _users().create_budget(5, "ann", budget_duration="1d"), "say duration=$"),
        (lambda: _users().create_budget(max_budget=5, user="ann"), "say total_budget=$"),
        (lambda: _users().set_budget("ann", rpm_limit=5), "say total_budget= with unit='requests'$"),
    ],
)
def test_the_words_of_other_packages_are_told_ours(call, say):
    """Whoever comes from LiteLLM, Pydantic AI or a gateway writes what they know first."""
    with pytest.raises(TypeError, match=say):
        call()


def _users() -> BudgetManager:
    made = BudgetManager("a", store="memory://")
    made.close()
    return made


def test_signatures_are_what_is_written_down():
    """Editors, `help` and the settings' file read them."""
    assert list(inspect.signature(Budget).parameters)[:3] == ["name", "limit", "period"]
    assert list(inspect.signature(budget).parameters)[:2] == ["user", "limit"]
