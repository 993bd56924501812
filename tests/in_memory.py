"""A provider in memory behind the real SDK, at whatever host a test needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai

import budgetguard
from benchmarks.calls import http
from budgetguard import Budget, BudgetManager, PriceBook

HI = [{"role": "user", "content": "hi"}]


def answering(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """An HTTP client whose every request is answered by a function of its JSON."""
    stack = http()
    transport = stack.MockTransport(lambda request: stack.Response(200, json=answer(json.loads(request.content))))
    return stack.Client(transport=transport)


def guarded(
    answer: Callable[[dict[str, Any]], dict[str, Any]],
    limit: float | str | None,
    prices: PriceBook,
    base_url: str = "https://api.openai.com/v1",
    **options: Any,
) -> tuple[openai.OpenAI, BudgetManager]:
    """A guarded client of a provider in memory, and its manager with one budget, which has these options."""
    client = openai.OpenAI(api_key="-", base_url=base_url, max_retries=0, http_client=answering(answer))
    manager = BudgetManager("t", store="memory://", budgets=[Budget("one", limit, **options)], prices=prices)
    return budgetguard.guard(client, manager), manager


def reply(model: str, written: int, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}
    usage = {"prompt_tokens": 100, "completion_tokens": written, "total_tokens": 100 + written}
    said = {"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
    return {**said, "usage": usage, **more}
