"""At Azure the deployment in the URL answers, whatever model the body asks for."""

from __future__ import annotations

from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from tests.support.in_memory import HI, answering, reply

ADDRESS = {"azure_endpoint": "https://acme.openai.azure.com", "api_version": "2024-10-21", "api_key": "-"}


def client_of(deployment: str | None, answered: str, limit: float) -> tuple[openai.AzureOpenAI, BudgetManager]:
    """A guarded client whose answers write all that they may."""

    def said(body: dict[str, Any]) -> dict[str, Any]:
        return reply(answered, body["max_tokens"])

    plain = openai.AzureOpenAI(azure_deployment=deployment, max_retries=0, http_client=answering(said), **ADDRESS)
    manager = BudgetManager(
        "t", store="memory://", budgets=[Budget("one", limit)], prices=PriceBook(deployments={"big-one": "gpt-4o"})
    )
    return budgetguard.guard(plain, manager), manager


def exhaust(client: openai.AzureOpenAI, model: str) -> None:
    """Call until the budget refuses."""
    for _ in range(200):
        client.chat.completions.create(model=model, messages=HI, max_tokens=1000)


@pytest.mark.parametrize(
    ("deployment", "asked"),
    [("gpt-4o", "gpt-4o-mini"), ("big-one", "gpt-4o-mini"), ("gpt-4o-mini", "gpt-4o"), (None, "gpt-4o")],
)
def test_a_hard_limit_holds_whichever_of_two_models_answers(deployment: str | None, asked: str) -> None:
    """The dearer of both is held: a deployment may be named after another model than its own."""
    client, manager = client_of(deployment, "gpt-4o-2024-08-06", 0.05)

    with pytest.raises(BudgetExceededError):
        exhaust(client, asked)
    [(_, balance)] = manager.guard.balances({}, None)
    assert 0 < balance.settled <= 50_000_000


def test_a_deployment_whose_name_says_nothing_leaves_the_bodys_model() -> None:
    """Its calls are not refused for it."""
    client, manager = client_of("our-chat", "gpt-4o-mini-2024-07-18", 0.05)

    client.chat.completions.create(model="gpt-4o-mini", messages=HI, max_tokens=1000)

    [entry] = manager.store.entries()
    assert entry.cost == 100 * 150 + 1000 * 600
