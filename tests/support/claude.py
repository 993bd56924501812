"""What tests of Anthropic's SDK ask, and what their provider bills for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anthropic import _base_client

from budgetguard import Budget, BudgetManager
from budgetguard.guards import Settings
from budgetguard.testing import FakeProvider

HTTP: Any = getattr(_base_client, "httpx2", None) or _base_client.httpx
"""The HTTP library of this version of the SDK."""

MODEL = "claude-opus-4-8"
HI: list[Any] = [{"role": "user", "content": "hi"}]
ASKED: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "messages": HI}
INPUT, OUTPUT, READ, WRITE, HOUR = 5_000, 25_000, 500, 6_250, 10_000
"""Nano-dollars a token: $5, $25, $0.50, $6.25 and $10 a million."""


def bill(model: str, usage: Mapping[str, Any]) -> int:
    """What Anthropic would charge, in its own words."""
    kept = usage.get("cache_creation", {})
    return (
        usage.get("input_tokens", 0) * INPUT
        + usage.get("cache_read_input_tokens", 0) * READ
        + kept.get("ephemeral_5m_input_tokens", 0) * WRITE
        + kept.get("ephemeral_1h_input_tokens", 0) * HOUR
        + usage.get("output_tokens", 0) * OUTPUT
    )


def managed(limit: float = 1.0, **settings: Any) -> BudgetManager:
    return BudgetManager("t", store="memory://", budgets=[Budget("all", limit)], settings=Settings(**settings))


def entries(made: BudgetManager) -> list[Any]:
    """What is on the books, now that nothing is held."""
    assert made.store.holds() == []
    return list(made.store.entries())


def costs(made: BudgetManager) -> list[int]:
    return [entry.cost for entry in entries(made)]


def billed(provider: FakeProvider) -> int:
    return sum(each.amount for each in provider.ledger)


def said(model: str = MODEL, usage: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A message, as Anthropic's API says it."""
    used = {"input_tokens": 1_000, "output_tokens": 100} if usage is None else dict(usage)
    about = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
    return {**about, "content": [], "stop_reason": "end_turn", "usage": used, **more}


def said_in_events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same as the events of a stream."""
    first = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": first}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word"}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": delta, "usage": message["usage"]}
    yield {"type": "message_stop"}


def transport(handle: Callable[[Any], Any], is_async: bool = False) -> Any:
    """A client of that HTTP library whose requests are answered here."""
    return (HTTP.AsyncClient if is_async else HTTP.Client)(transport=HTTP.MockTransport(handle))
