"""A provider in memory behind the real SDK, at whatever host a test needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import openai
from openai import _base_client

import budgetguard
from budgetguard import Budget, BudgetManager, PriceBook

HTTP: Any = import_module("httpx2" if hasattr(_base_client, "httpx2") else "httpx")
"""The HTTP stack that the installed SDK stands on: httpx2, or httpx before 3.0."""

MODEL = "gpt-4o-mini"
HI = [{"role": "user", "content": "hi"}]

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Fine, thank you."}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 14,
        "completion_tokens": 6,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
}
"""Of a plain call, as OpenAI sends it."""


def reply(model: str, written: int, asked: int = 100, content: str = "ok", **more: Any) -> dict[str, Any]:
    """The JSON of a plain chat call's answer."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
    said = {"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
    return {**said, "usage": usage, **more}


def http_client(serve: Callable[[Any], Any], asynchronous: bool = False) -> Any:
    """An HTTP client whose every request is answered by a function of it."""
    kind = HTTP.AsyncClient if asynchronous else HTTP.Client
    return kind(transport=HTTP.MockTransport(serve))


def client_of(serve: Callable[[Any], Any], asynchronous: bool = False, **options: Any) -> Any:
    """The SDK's client of a provider that is a function of a request."""
    kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return kind(**{"api_key": "-", "max_retries": 0, "http_client": http_client(serve, asynchronous), **options})


def answering(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """An HTTP client whose every request is answered by a function of its JSON."""
    return http_client(lambda request: HTTP.Response(200, json=answer(json.loads(request.content))))


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
