"""Requests that cost more than they seem to: what is held for is what is sent, and no other model answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from budgetguard import PriceBook
from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from tests.support.gateway import CLAUDE, GEMINI, MESSAGES, MODEL, ServedGateway, configured, hard, upstream
from tests.support.wire import RawUpstream, exchange, reply, request_of

DEAR = "dear-model"
CHAT: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 9}


class Till:
    """A gateway before an upstream, with half a cent: an answer of `DEAR` costs more."""

    def __init__(self, up: RawUpstream, gateway: ServedGateway) -> None:
        self.up, self.gateway = up, gateway

    def ask(self, path: str, body: Any, *headers: str) -> tuple[int, str]:
        """The status, and all that comes back."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        said = exchange(self.gateway.port, request_of(path, sent, *headers)).decode()
        return int(said.split(" ")[1]), said

    @property
    def sent(self) -> int:
        """How many requests have arrived at the upstream."""
        return len(self.up.requests)


@pytest.fixture
def till() -> Iterator[Till]:
    prices = PriceBook()
    for name, price in ((MODEL, 1), (CLAUDE, 1), (GEMINI, 1), ("dall-e-2", 1), (DEAR, 1_000)):
        prices.add(name, input=price, output=price, max_output=100, context=2_000)
    with RawUpstream() as up:
        own = upstream("up", up.root)
        up.answer = lambda _request: reply()
        names = (MODEL, CLAUDE, GEMINI, "dall-e-2", DEAR)
        entries = [ModelEntry(name, (Target(own),)) for name in names]
        with ServedGateway(configured(own, models=entries, prices=prices, budgets=(hard(0.005),))) as gateway:
            yield Till(up, gateway)


# -- by a path ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{}, {"model": MODEL}], ids=["unnamed", "named otherwise"])
def test_the_deployment_of_a_path_is_what_is_held_for(till: Till, named: dict[str, str]) -> None:
    """It is what is sent: a cheap name in the body would have the dear one answer for a thousandth."""
    body = {"messages": MESSAGES, "max_tokens": 9, **named}
    status, said = till.ask(f"/openai/deployments/{DEAR}/chat/completions?api-version=2024-10-21", body)
    assert (status, till.sent) == (402, 0), said
    status, said = till.ask(f"/openai/deployments/{MODEL}/chat/completions", {**body, "model": DEAR} if named else body)
    assert (status, till.sent) == (200, 1), said
