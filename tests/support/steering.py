"""A program whose budgets are steered while it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import openai

import budgetguard
from budgetguard import Budget, BudgetManager
from budgetguard.errors import BudgetExceededError
from tests.support import in_memory
from tests.support.in_memory import HI, HTTP, MODEL, client_of


def client(manager: BudgetManager) -> openai.OpenAI:
    """One whose every call costs $0.0006012."""
    served: openai.OpenAI = client_of(lambda _: HTTP.Response(200, json=in_memory.reply(MODEL, 1000, asked=8)))
    return budgetguard.guard(served, manager)


def ask(asked: openai.OpenAI, team: str = "red", user: str | None = None, model: str = MODEL) -> Any:
    """One call of a team."""
    with budgetguard.budget(user=user, tags={"team": team}):
        return asked.chat.completions.create(model=model, messages=HI, max_tokens=1000)  # type: ignore[arg-type]


def passes(asked: openai.OpenAI, **whose: Any) -> bool:
    """Whether a call passes."""
    try:
        ask(asked, **whose)
    except BudgetExceededError:
        return False
    return True


def many(asked: openai.OpenAI, most: int = 50, **whose: Any) -> int:
    """How many calls pass one after another."""
    return next((number for number in range(most) if not passes(asked, **whose)), most)


def team(limit: str = "0.003", period: str | None = "monthly", **more: Any) -> Sequence[Budget]:
    """A rule for each team: of these calls it has room for four."""
    return [Budget("team", limit, period, per=("team",), **more)]
