"""
Clients of Anthropic's SDK with middleware: each request that goes out is a call of its own.

A middleware may answer by itself, ask twice, or ask another model when the first one's stream has ended already.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest

import budgetguard
from budgetguard import BudgetExceededError
from budgetguard.testing import FakeProvider, Plan
from tests.support.claude import (
    ASKED,
    HTTP,
    INPUT,
    MODEL,
    OUTPUT,
    bill,
    billed,
    costs,
    entries,
    managed,
    said,
    said_in_events,
    transport,
)
from tests.support.sdk_shapes import each, wait

pytest.importorskip("anthropic._middleware", reason="this version of the SDK has none")

LOW = 1_000, 5_000
"""Nano-dollars a token of claude-haiku-4-5: $1 and $5 a million."""


def asking(sends: int, kept: list[Any], is_async: bool) -> Callable[..., Any]:
    """A middleware that sends a request so often, and answers with the last reply, or with what it kept."""

    def ask(request: Any, call_next: Any) -> Any:
        for _ in range(sends):
            kept[:] = [call_next(request)]
        return kept[0]

    async def ask_async(request: Any, call_next: Any) -> Any:
        for _ in range(sends):
            kept[:] = [await call_next(request)]
        return kept[0]

    return ask_async if is_async else ask


@dataclass(frozen=True)
class Clients:
    """The sync client, or the async one."""

    is_async: bool

    def of(self, provider: FakeProvider, middleware: Any, **options: Any) -> Any:
        return (provider.async_anthropic if self.is_async else provider.anthropic)(middleware=[middleware], **options)


@pytest.fixture(params=["sync", "async"])
def clients(request: pytest.FixtureRequest) -> Clients:
    return Clients(request.param == "async")


@pytest.mark.parametrize(("sends", "stream"), [(0, False), (1, False), (2, False), (1, True)])
async def test_what_a_middleware_sends_is_charged_and_nothing_else(sends: int, stream: bool, clients: Clients) -> None:
    """A cache that answers costs nothing, also where nothing is left; a second question costs as much as the first."""
    kept: list[Any] = []
    with FakeProvider(prices=bill) as provider:
        if not sends:
            kept.append(provider.anthropic().messages.create(**ASKED))
        before = billed(provider)
        made = managed(1.0 if sends else 0.0)
        client = budgetguard.guard(clients.of(provider, asking(sends, kept, clients.is_async)), made)
        answer = await wait(client.messages.create(**ASKED, stream=stream))
        if stream:
            assert [item.type async for item in each(answer)][-1] == "message_stop"
        await wait(client.close())
        assert sum(costs(made)) == billed(provider) - before
        assert [entry.flags for entry in entries(made)] == [frozenset()] * sends


async def test_each_of_its_requests_needs_room(clients: Clients) -> None:
    """The one that has none reaches the caller as a refusal, after the first was paid for."""
    with FakeProvider(prices=bill) as provider:
        made = managed((92 * 5 // 4 * INPUT + 50 * OUTPUT + 1) / 1e9)
        client = budgetguard.guard(clients.of(provider, asking(9, [], clients.is_async), max_retries=3), made)
        provider.plan = Plan(tokens=45)
        with pytest.raises(BudgetExceededError):
            await wait(client.messages.create(**ASKED))
        await wait(client.close())
        assert len(provider.requests) == 1
        assert costs(made) == [billed(provider)]


async def test_errors_are_free_and_a_lost_answer_is_not(clients: Clients) -> None:
    """The SDK tries again above the middleware: each attempt is charged by itself."""
    with FakeProvider(prices=bill, retry_after_ms=1) as provider:
        made = managed()
        client = budgetguard.guard(clients.of(provider, asking(1, [], clients.is_async), max_retries=3), made)
        provider.fail_next(529, {"drop": "headers"}, 400)
        with pytest.raises(anthropic.BadRequestError):
            await wait(client.messages.create(**ASKED))
        await wait(client.close())
        [lost] = costs(made)
        assert lost >= billed(provider) > 0


async def test_a_batch_is_settled_once(clients: Clients) -> None:
    """Looks at what costs something are heard as ever."""
    with FakeProvider(prices=bill) as provider:
        made = managed()
        client = budgetguard.guard(clients.of(provider, asking(1, [], clients.is_async)), made)
        params = {"custom_id": "one", "params": ASKED}
        batch = await wait(client.messages.batches.create(requests=[params]))
        while (await wait(client.messages.batches.retrieve(batch.id))).processing_status != "ended":
            assert len(made.store.holds()) == 1
        assert len([line async for line in each(await wait(client.messages.batches.results(batch.id)))]) == 1
        await wait(client.close())
        assert costs(made) == [provider.billed.nano]


# --- the SDK's own: another model answers where the first declines


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_declines_and_the_one_that_answers_cost_their_own(stream: bool, clients: Clients) -> None:
    """The caller sees one message, with the usage of one of them; the bill has both."""
    if not hasattr(anthropic, "BetaRefusalFallbackMiddleware"):
        pytest.skip("this version of the SDK has no such middleware")
    usages = {MODEL: (1_000, 30), "claude-haiku-4-5": (2_000, 100)}
    sent: list[str] = []

    def handle(request: Any) -> Any:
        body = json.loads(request.content)
        sent.append(model := body["model"])
        read, written = usages[model]
        details = {"type": "refusal", "category": "cyber", "fallback_credit_token": "t", "explanation": None}
        declines = {"stop_reason": "refusal", "stop_details": details} if model == MODEL else {}
        message = said(model, {"input_tokens": read, "output_tokens": written}, **declines)
        if not body.get("stream"):
            return HTTP.Response(200, json=message)
        lines = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in said_in_events(message))
        return HTTP.Response(200, content=lines.encode(), headers={"content-type": "text/event-stream"})

    made = managed()
    inner = transport(handle, clients.is_async)
    own = anthropic.BetaRefusalFallbackMiddleware([{"model": "claude-haiku-4-5"}])
    kind = anthropic.AsyncAnthropic if clients.is_async else anthropic.Anthropic
    client = budgetguard.guard(kind(api_key="-", http_client=inner, middleware=[own]), made)
    answer = await wait(client.beta.messages.create(**ASKED, stream=stream))
    if stream:
        assert [item.type async for item in each(answer)][-1] == "message_stop"
    await wait(client.close())
    assert sent == [MODEL, "claude-haiku-4-5"]
    assert costs(made) == [1_000 * INPUT + 30 * OUTPUT, 2_000 * LOW[0] + 100 * LOW[1]]
