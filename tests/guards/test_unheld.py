"""Calls for which nothing is held, as they are free or have no price, and that do cost something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, PriceBook
from tests.support.in_memory import HI, guarded, reply

ROUTER = "https://openrouter.ai/api/v1"
GATEWAY = "https://gateway.example.com/v1"
FREE = {"local": {"free": True}}


def answering(model: str, **usage: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A provider whose every answer is of this model, 100 tokens in and 20 out."""

    def said(_body: dict[str, Any]) -> dict[str, Any]:
        whole = reply(model, 20)
        whole["usage"].update(usage)
        return whole

    return said


def spent(manager: BudgetManager) -> tuple[int, int, int]:
    """What the entries say, what the first budget took, and what is held."""
    [(_, balance)] = manager.guard.balances({}, None)
    return sum(entry.cost for entry in manager.store.entries()), balance.settled, balance.held


@pytest.mark.parametrize(
    ("base_url", "asked", "answered", "usage", "nano"),
    [
        (GATEWAY, "local", "gpt-4o", {"cost": 0.4}, 400_000_000),
        (GATEWAY, "local", "local", {"cost": 0.4}, 400_000_000),
        (GATEWAY, "local", "local", {}, 0),
        # A local server names itself as it likes: what was declared holds.
        (GATEWAY, "local", "gpt-3.5-turbo", {}, 0),
        # On the list as free. gpt-4o-mini there is 0.15 and 0.60: 100 x 150 + 20 x 600.
        (ROUTER, "deepseek/deepseek-r1:free", "deepseek/deepseek-r1:free", {}, 0),
        (ROUTER, "deepseek/deepseek-r1:free", "openai/gpt-4o-mini", {}, 27_000),
        (ROUTER, "deepseek/deepseek-r1:free", "openai/gpt-4o-mini", {"cost": 0.001}, 1_000_000),
    ],
)
def test_a_free_model_costs_what_is_stated_or_what_answered_instead(
    base_url: str, asked: str, answered: str, usage: dict[str, Any], nano: int
) -> None:
    """On every budget, and not as something that came late."""
    client, manager = guarded(answering(answered, **usage), 5, PriceBook(overrides=FREE), base_url)

    client.chat.completions.create(model=asked, messages=HI)

    assert spent(manager) == (nano, nano, 0)
    [entry] = manager.store.entries()
    assert entry.flags == frozenset()


def test_a_free_model_that_costs_is_refused_no_less_than_it_is_free() -> None:
    """Its calls pass every budget; what they did cost is taken from the others."""
    prices = PriceBook(overrides={**FREE, "m": {"input": 1, "output": 1}})
    client, manager = guarded(answering("local", cost=0.4), 0.5, prices, GATEWAY)
    for _ in range(2):
        client.chat.completions.create(model="local", messages=HI)

    assert spent(manager) == (800_000_000, 800_000_000, 0)
    with pytest.raises(BudgetExceededError):
        client.chat.completions.create(model="m", messages=HI, max_tokens=1)


def test_what_a_free_model_costs_counts_for_the_process_and_the_user() -> None:
    """Also for a user whose budget this process has not seen yet."""
    client, manager = guarded(answering("local", cost=0.4), 5, PriceBook(overrides=FREE), GATEWAY)
    BudgetManager("t", store=manager.store).create_budget(1, "ann")
    budgetguard.max_budget = 5

    client.chat.completions.create(model="local", messages=HI, user="ann")

    assert manager.get_current_cost("ann") == budgetguard._current_cost == 0.4
    assert manager.get_model_cost("ann") == {"local": 0.4}


@pytest.mark.parametrize(
    ("answered", "usage", "nano", "flags"),
    [
        ("mystery", {"cost": 0.4}, 400_000_000, set()),
        ("gpt-4o-mini", {}, 27_000, set()),
        ("mystery", {}, 0, {"unpriced"}),
    ],
)
def test_a_model_without_a_price_costs_what_is_known_after_all(
    answered: str, usage: dict[str, Any], nano: int, flags: set[str]
) -> None:
    """Where no budget had to know it before."""
    client, manager = guarded(answering(answered, **usage), None, PriceBook(), GATEWAY, enforce="observe")

    client.chat.completions.create(model="mystery", messages=HI)

    assert spent(manager) == (nano, nano, 0)
    [entry] = manager.store.entries()
    assert entry.flags == flags


def test_a_fallback_that_the_request_names_costs_its_own_price() -> None:
    """Also where the model asked for has a declared price, which holds for any other name of an answer."""
    prices = PriceBook(overrides={"cheap": {"input": 1, "output": 1}, "dear": {"input": 10, "output": 50}})
    client, manager = guarded(answering("dear"), 5, prices, GATEWAY)

    client.chat.completions.create(model="cheap", messages=HI, max_tokens=20, extra_body={"fallbacks": ["dear"]})

    # 100 x 10,000 + 20 x 50,000
    assert spent(manager) == (2_000_000, 2_000_000, 0)
