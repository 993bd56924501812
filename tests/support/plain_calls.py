"""The plain call that is measured and counted: a client over a transport in memory, under one user's budget."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

import budgetguard

from .in_memory import HTTP, REPLY


def transport(body: bytes, content_type: str = "application/json") -> Any:
    return HTTP.MockTransport(lambda request: HTTP.Response(200, headers={"content-type": content_type}, content=body))


def sync_client(body: bytes = json.dumps(REPLY).encode(), content_type: str = "application/json") -> openai.OpenAI:
    return openai.OpenAI(api_key="-", http_client=HTTP.Client(transport=transport(body, content_type)))


def async_client() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="-", http_client=HTTP.AsyncClient(transport=transport(json.dumps(REPLY).encode()))
    )


@contextmanager
def guarded(url: str | None, budgets: bool = True) -> Iterator[budgetguard.BudgetManager | None]:
    """A patched SDK, with a manager on this store whose user "ann" has a budget."""
    manager = None
    if url is not None:
        manager = budgetguard.BudgetManager("bench", store=url)
        if budgets:
            manager.create_budget(1_000_000, "ann", "monthly")
    budgetguard.patch(manager)
    try:
        yield manager
    finally:
        budgetguard.unpatch()
        if manager is not None:
            manager.close()
