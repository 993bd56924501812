"""
Anthropic's batches under guard: held as their requests come to at half price, settled by their results.

How a batch stands says nothing of tokens; its results do, and are read by whom they are for, a line after the other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anthropic
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.testing import FakeProvider
from tests.support.claude import HTTP, transport
from tests.support.sdk_shapes import wait

MODEL = "claude-opus-4-8"
OTHER = "claude-haiku-4-5"
INPUT, OUTPUT = 2_500, 12_500
"""Nano-dollars a token in a batch: half of $5 and $25 a million."""
OTHER_INPUT, OTHER_OUTPUT = 500, 2_500
"""Half of $1 and $5."""

PRICES = {MODEL: (5_000, 25_000), OTHER: (1_000, 5_000)}


def bill(model: str, usage: Mapping[str, Any]) -> int:
    """What one answer would cost by itself."""
    asked, made = PRICES.get(model, (0, 0))  # a look has no model, and no bill
    return int(usage.get("input_tokens", 0)) * asked + int(usage.get("output_tokens", 0)) * made


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(prices=bill, tokens=7) as own:
        yield own


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, provider: FakeProvider) -> AsyncIterator[Any]:
    own = provider.anthropic() if request.param == "sync" else provider.async_anthropic()
    yield own
    await wait(own.close())


def asked(*models: str, **more: Any) -> list[Any]:
    """Requests of a batch, one for each model."""
    said = {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    return [
        {"custom_id": f"request-{number}", "params": {"model": model, **said, **more}}
        for number, model in enumerate(models)
    ]


def managed(limit: float | str = 1, store: Any = "memory://") -> BudgetManager:
    made = BudgetManager("t", store=store, budgets=[Budget("all", limit)])
    budgetguard.patch(made)
    return made


async def begun(client: Any, *models: str, **more: Any) -> str:
    return str((await wait(client.messages.batches.create(requests=asked(*models, **more)))).id)


async def results(client: Any, name: str) -> list[Any]:
    """Look until it has ended, and read all that it says."""
    batches = client.messages.batches
    while (await wait(batches.retrieve(name))).processing_status != "ended":
        await asyncio.sleep(0)
    found = await wait(batches.results(name))
    return [line async for line in found] if hasattr(found, "__aiter__") else list(found)


async def test_a_batch_is_held_at_half_and_settled_by_its_results(provider: FakeProvider, client: Any) -> None:
    """Of several models, each answer at the prices of its own; a second reading books nothing more."""
    made = managed()
    name = await begun(client, MODEL, MODEL, OTHER)
    [hold] = made.store.holds()
    written = 92 * 5 // 4  # 2 bytes twice, 16 for the text, 8 for its message, 64 for the call; all may go to a cache
    assert hold.amount == 2 * (written * INPUT + 50 * OUTPUT) + written * OTHER_INPUT + 50 * OTHER_OUTPUT

    assert len(await results(client, name)) == 3
    [entry] = made.store.entries()
    assert made.store.holds() == []
    assert entry.cost == provider.billed.nano > 0
    assert "estimated" not in entry.flags
    assert (entry.usage["output_tokens"], entry.usage["input_tokens"] > 0) == (3 * 7, True)

    await results(client, name)
    assert len(list(made.store.entries())) == 1


async def test_a_batch_without_room_is_refused_before_any_traffic(provider: FakeProvider, client: Any) -> None:
    """A hundred thousand requests are one call: all of them fit, or none is sent."""
    managed("0.001")  # 50 tokens of output are $0.000625
    await begun(client, MODEL)
    before = len(provider.requests)
    with pytest.raises(BudgetExceededError):
        await begun(client, MODEL, MODEL)
    assert len(provider.requests) == before


async def test_what_errored_is_free_and_the_rest_is_not(provider: FakeProvider, client: Any) -> None:
    """A line that is an error, be it the first, has no bill."""
    made = managed()
    batch = [*asked(MODEL, messages=[]), *asked(MODEL)]
    batch[1]["custom_id"] = "good"
    name = (await wait(client.messages.batches.create(requests=batch))).id
    assert [line.result.type for line in await results(client, name)] == ["errored", "succeeded"]
    [entry] = made.store.entries()
    assert entry.cost == provider.billed.nano > 0


async def test_a_batch_without_any_answer_is_free_as_soon_as_that_is_seen(provider: FakeProvider, client: Any) -> None:
    """One that was canceled in time, or whose requests all failed, has no results that anybody would read."""
    made = managed()
    name = await begun(client, MODEL)
    await wait(client.messages.batches.cancel(name))
    assert len(made.store.holds()) == 1
    await wait(client.messages.batches.list())
    assert made.store.holds() == []
    assert [entry.cost for entry in made.store.entries()] == [0]
    assert provider.ledger == []


async def test_results_that_are_left_settle_nothing(provider: FakeProvider) -> None:
    """They are kept for 29 days: whoever reads them to the end settles it."""
    made = managed()
    with provider.anthropic() as client:
        name = await begun(client, MODEL, MODEL)
        client.messages.batches.retrieve(name)
        found = client.messages.batches.results(name)
        next(found)
        found.close()
        assert len(made.store.holds()) == 1
        unread = client.messages.batches.with_streaming_response
        if not hasattr(unread, "results"):  # before 1.10
            assert len(list(client.messages.batches.results(name))) == 2
        else:
            with unread.results(name) as response:
                assert len(list(response.iter_lines())) == 2
    assert made.store.holds() == []
    assert [entry.cost for entry in made.store.entries()] == [provider.billed.nano]


async def test_another_process_settles_a_batch(provider: FakeProvider, client: Any, tmp_path: Any) -> None:
    """What is needed for it is in the store."""
    url = f"sqlite:///{tmp_path}/books.db"
    managed(store=url)
    name = await begun(client, MODEL, OTHER)
    later = managed(store=url)
    assert [job.kind for job in later.guard.background.jobs()] == ["messages.batches"]
    await results(client, name)
    assert later.store.holds() == []
    assert [entry.cost for entry in later.store.entries()] == [provider.billed.nano]


async def test_answers_that_say_no_usage_cost_the_dearest_request_each(provider: FakeProvider, client: Any) -> None:
    """Unknown is not free."""
    provider.plan = lambda _: budgetguard.testing.Plan(omit_usage=True, tokens=7)
    made = managed()
    name = await begun(client, MODEL, MODEL)
    [hold] = made.store.holds()
    await results(client, name)
    [entry] = made.store.entries()
    assert entry.cost == hold.amount
    assert "estimated" in entry.flags


async def test_a_batch_that_the_provider_refuses_is_free(provider: FakeProvider, client: Any) -> None:
    """As any other call that comes to an error status."""
    made = managed()
    provider.fail_next(status=400)
    with pytest.raises(anthropic.BadRequestError):
        await begun(client, MODEL)
    assert made.store.holds() == []
    assert list(made.store.entries()) == []


async def test_the_beta_api_has_the_same_batches(provider: FakeProvider, client: Any) -> None:
    """Their paths differ by a query."""
    made = managed()
    batches = client.beta.messages.batches
    name = (await wait(batches.create(requests=asked(MODEL)))).id
    await wait(batches.retrieve(name))
    found = await wait(batches.results(name))
    assert len([line async for line in found] if hasattr(found, "__aiter__") else list(found)) == 1
    assert [entry.cost for entry in made.store.entries()] == [provider.billed.nano]


def test_prices_that_hang_on_the_size_of_a_prompt_are_those_of_each_answer() -> None:
    """
    Two prompts of 150,000 tokens are not one of 300,000, and one of 250,000 is dear whatever stands beside it.

    Half of claude-sonnet-4-5's $3 and $15, and of $6 and $22.50 above 200,000; a search is a cent also in a batch.
    """
    usages = [
        {"input_tokens": 150_000, "output_tokens": 10},
        {"input_tokens": 150_000, "output_tokens": 10, "server_tool_use": {"web_search_requests": 2}},
        {"input_tokens": 250_000, "output_tokens": 10},
    ]
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
    lines = [
        {"custom_id": str(number), "result": {"type": "succeeded", "message": {**message, "usage": usage}}}
        for number, usage in enumerate(usages)
    ]
    batch = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress", "request_counts": {}}

    def handle(request: Any) -> Any:
        if request.url.path.endswith("/results"):
            return HTTP.Response(200, content="\n".join(map(json.dumps, lines)).encode())
        ended = {
            "processing_status": "ended",
            "results_url": "https://api.anthropic.com/v1/messages/batches/b1/results",
        }
        return HTTP.Response(200, json={**batch, "id": "b1", **(ended if request.method == "GET" else {})})

    made = managed(100)
    inner = transport(handle)
    with anthropic.Anthropic(api_key="-", http_client=inner) as client:
        client.messages.batches.create(requests=asked(*["claude-sonnet-4-5"] * 3))
        assert len(list(client.messages.batches.results("b1"))) == 3
    [entry] = made.store.entries()
    plain = 300_000 * 1_500 + 20 * 7_500 + 2 * 10_000_000
    assert entry.cost == plain + 250_000 * 3_000 + 10 * 11_250
