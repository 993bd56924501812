"""
What is booked where an answer does not say, or says wrongly, what was used: a call at a time, through the real SDK.

The model of these tests costs $1 for a million tokens of input and $10 for a million of output: 1,000 and 10,000
nano-dollars a token.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, PriceBook
from budgetguard.ledger import Entry
from tests.support.in_memory import HI, HTTP, client_of
from tests.support.usages import END, ERROR, alone, said, text

SENT = 8
"""The tokens of HI for a model of OpenAI: 1, and 7 for the format."""


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Iterator[Callable[..., Entry]]:
    """Send one chat to a server that answers with these bytes, read so much of it, and give the entry it left."""
    prices = PriceBook()
    for model in ("gpt-4o-mini", "o3-mini"):
        prices.add(model, input=1, output=10, cache_read="0.1", max_output=4_000)
    prices.add("free", free=True)
    with BudgetManager("t", store="memory://", budgets=[Budget("one", 50)], prices=prices) as manager:

        def once(reply: Any, model: str = "gpt-4o-mini", items: int = 10_000, **body: Any) -> Entry:
            streamed = isinstance(reply, list)
            data = "".join(f"data: {json.dumps(item)}\n\n" for item in reply) if streamed else json.dumps(reply)
            kind = "text/event-stream" if streamed else "application/json"

            def serve(_request: Any) -> Any:
                return HTTP.Response(200, stream=Body(data), headers={"content-type": kind})

            call = {"model": model, "messages": HI, "stream": streamed, "max_completion_tokens": 1_000, **body}
            if request.param == "sync":
                _read(budgetguard.guard(client_of(serve), manager), call, items)
            else:
                client = client_of(serve, asynchronous=True)
                asyncio.run(_read_async(budgetguard.guard(client, manager), call, items))
            assert manager.flush()
            assert manager.store.holds() == []
            return list(manager.store.entries())[-1]

        yield once


class Body(HTTP.SyncByteStream, HTTP.AsyncByteStream):  # type: ignore[name-defined,misc]
    """A body that comes from a network, an event at a time."""

    def __init__(self, data: str) -> None:
        self.events = [event.encode() + b"\n\n" for event in data.split("\n\n") if event]

    def __iter__(self) -> Iterator[bytes]:
        yield from self.events

    async def __aiter__(self) -> Any:
        for event in self.events:
            yield event


def _read(client: Any, call: Any, items: int) -> None:
    try:
        reply = client.chat.completions.create(**call)
        if call["stream"]:
            for _ in zip(range(items), reply, strict=False):
                pass
            reply.close()
    except openai.APIError:
        pass


async def _read_async(client: Any, call: Any, items: int) -> None:
    try:
        reply = await client.chat.completions.create(**call)
        if call["stream"]:
            left = items
            async for _ in reply:
                left -= 1
                if not left:
                    break
            await reply.close()
    except openai.APIError:
        pass


def chat(usage: Any, content: str = "ok") -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [choice],
        "usage": usage,
    }


WORDS = [text(" word")] * 400
"""400 tokens, one an item."""


@pytest.mark.parametrize(
    ("items", "sent"),
    [
        ([text(" word", usage=said(0, 0, 0))] * 500, SENT),
        ([text("", usage=said(500, 1, 501)), *WORDS], 500),
        ([alone(said(10, 0, 10)), *WORDS, END], 10),
        (WORDS, SENT),
    ],
)
def test_a_stream_without_a_last_word_costs_its_input_and_what_was_heard(ask: Any, items: Any, sent: int) -> None:
    """Placeholders say nothing of the output; an input that is said is taken."""
    entry = ask(items, items=301)
    heard = entry.usage["output_tokens"]
    assert 299 <= heard <= 400
    assert entry.cost == sent * 1_000 + heard * 10_000
    assert "estimated" in entry.flags


def test_what_was_heard_is_counted_and_not_measured(ask: Any) -> None:
    """50 times " internationalization" is 100 tokens of o200k_base; four bytes a token would be 263."""
    entry = ask([text(" internationalization" * 10)] * 5 + [text("x")], items=5)
    assert entry.usage == {"input_tokens": SENT, "output_tokens": 100}


def test_a_model_that_reasons_unseen_costs_what_was_held(ask: Any) -> None:
    """What was heard says nothing of the bill: input and 1,000 tokens were held."""
    for items in ([text(" word", usage=said(10, 1, 11)), *WORDS], WORDS):
        entry = ask(items, model="o3-mini", items=3)
        assert entry.cost >= 1_000 * 10_000
    assert ask(chat(said(10, None)), model="o3-mini").cost >= 1_000 * 10_000


def test_a_running_total_of_a_model_that_reasons_counts_its_reasoning(ask: Any) -> None:
    """The total says 40 tokens that were not shown."""
    items = [text(" word", usage=said(10, n, 50 + n)) for n in range(1, 9)]
    entry = ask(items, model="o3-mini", items=5)
    assert (entry.usage["output_tokens"], "estimated" in entry.flags) == (45, True)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (said(100, None), 100 * 1_000 + 2 * 10_000),  # "two words": 2 tokens
        (said(100, 0, 100), 100 * 1_000 + 2 * 10_000),
        (said(None, 50), SENT * 1_000 + 50 * 10_000),
        (said(0, 0, 0), SENT * 1_000 + 2 * 10_000),
        ({"total_tokens": 90}, SENT * 1_000 + (90 - SENT) * 10_000),
    ],
)
def test_what_an_answer_does_not_say_is_estimated(ask: Any, usage: Any, cost: int) -> None:
    """Never 0 beside an answer."""
    entry = ask(chat(usage, "two words"))
    assert (entry.cost, "estimated" in entry.flags) == (cost, True)


def test_a_negative_count_costs_what_was_held(ask: Any) -> None:
    """It is unknown."""
    assert ask(chat(said(-5, 10))).cost >= 1_000 * 10_000


def test_a_prompt_that_is_only_scored_writes_nothing(ask: Any) -> None:
    """`max_tokens=0` shows the prompt again, and its probabilities."""
    entry = ask(chat(said(100, 0, 100), "the prompt"), max_completion_tokens=0)
    assert (entry.cost, entry.flags) == (100_000, frozenset())


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.0}, 1_000 * 1_000 + 100 * 10_000),
        ({"cost": 0.0, "is_byok": False}, 1_000 * 1_000 + 100 * 10_000),
        ({"cost": 0.0005, "is_byok": True}, 1_000 * 1_000 + 100 * 10_000 + 500_000),
        ({"cost": "0.0042"}, 4_200_000),
        ({"cost_in_usd_ticks": 412_500_000}, 41_250_000),
    ],
)
def test_a_stated_cost_of_nothing_is_none(ask: Any, usage: Any, cost: int) -> None:
    """The usage is priced; with a key of one's own, beside the fee."""
    assert ask(chat({**said(1_000, 100, 1_100), **usage})).cost == cost


def test_what_is_declared_free_is_free_unless_a_bill_is_stated(ask: Any) -> None:
    """A gateway may have had a dearer model answer."""
    assert ask(chat({**said(1_000, 100, 1_100), "cost": 0}), model="free").cost == 0
    assert ask(chat({**said(1_000, 100, 1_100), "cost": 0.4}), model="free").cost == 400_000_000


@pytest.mark.parametrize("model", ["gpt-4o-mini", "o3-mini"])
@pytest.mark.parametrize(
    "reply",
    [{**ERROR, "user_id": "u"}, [ERROR], [{**text("", "error"), **ERROR}], [text(""), ERROR]],
    ids=["plain", "event", "event with a choice", "after an empty chunk"],
)
def test_an_error_with_status_200_is_free(ask: Any, reply: Any, model: str) -> None:
    """Nothing was made, and nothing is held."""
    assert ask(reply, model=model).cost == 0


def test_an_error_after_text_is_an_interruption(ask: Any) -> None:
    """The input was read, and what came was written."""
    entry = ask([*WORDS[:20], ERROR])
    assert entry.usage == {"input_tokens": SENT, "output_tokens": 20}
    assert "estimated" in entry.flags


def test_an_earlier_error_is_not_taken_for_this_streams(ask: Any) -> None:
    """A fallback is often begun while the first error is being handled."""

    def fail() -> None:
        raise openai.APIError("no", HTTP.Request("POST", "http://x"), body={"message": "no"})

    try:
        fail()
    except openai.APIError:
        entry = ask([text(""), *WORDS], items=1)
    assert entry.cost > 0


@pytest.mark.parametrize("usage", [said(8, 10**12, 10**12 + 8), said(10**30, 10**30)])
def test_an_absurd_count_is_booked_at_what_was_held(ask: Any, usage: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be; no store could keep it, and the journal would try for ever."""
    with caplog.at_level(logging.ERROR, "budgetguard"):
        entry = ask({**chat(usage), "model": "o1-pro"}, model="o1-pro")
    assert 0 < entry.cost <= 50 * 10**9
    assert "estimated" in entry.flags
    assert len([record for record in caplog.records if "no store can book" in record.message]) == 1
    assert ask(chat(said(8, 10, 18))).cost == 8 * 1_000 + 10 * 10_000
