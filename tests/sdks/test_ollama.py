"""
Ollama's client: every shape to the nano-dollar, free on a machine of one's own.

Over real sockets to a provider that keeps its own bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook, UnpricedModelError
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider, Plan
from tests.support.books import billed, costs
from tests.support.sdk_shapes import each, run, wait

MODEL = "a-model"
HI = [{"role": "user", "content": "hi there"}]
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
pytestmark = pytest.mark.provider(prices={MODEL: (1, 2)}, tokens=20)


@pytest.fixture
def books() -> Iterator[BudgetManager]:
    prices = PriceBook()
    prices.add(MODEL, input=1, output=2, max_output=400)
    budgets = [Budget("all", 1), Budget("tokens", 100_000, unit="tokens")]
    manager = BudgetManager("t", store="memory://", budgets=budgets, prices=prices)
    budgetguard.patch(manager)
    yield manager
    assert manager.store.holds() == []


@pytest.fixture
def use(provider: FakeProvider, books: BudgetManager, loop: Any) -> Callable[..., Any]:
    """Have a client, sync or async, used for something, and close it."""

    def go(work: Callable[[Any], Any]) -> Any:
        make: Any = ollama.Client if loop is None else ollama.AsyncClient
        client = make(host=provider.root_url)

        async def used() -> Any:
            try:
                return await work(client)
            finally:
                await wait(client._client.close() if loop is None else client._client.aclose())  # 0.4 has no other way

        return run(used(), loop)

    return go


async def chat(client: Any) -> Any:
    return await wait(client.chat(model=MODEL, messages=HI))


async def chat_stream(client: Any) -> Any:
    return [item async for item in each(await wait(client.chat(model=MODEL, messages=HI, stream=True)))]


async def chat_tool(client: Any) -> Any:
    return await wait(client.chat(model=MODEL, messages=HI, tools=[TOOL]))


async def generate(client: Any) -> Any:
    return await wait(client.generate(model=MODEL, prompt="hi there"))


async def generate_stream(client: Any) -> Any:
    return [item async for item in each(await wait(client.generate(model=MODEL, prompt="hi", stream=True)))]


async def embed(client: Any) -> Any:
    return await wait(client.embed(model=MODEL, input=["hi there", "you"]))


@pytest.mark.parametrize("work", [chat, chat_stream, chat_tool, generate, generate_stream, embed])
def test_every_shape_costs_what_its_provider_bills(
    work: Any, use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """A model that has a price of one's own, or is somebody else's, spends from the same budget."""
    use(work)
    assert costs(books) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in books.store.entries())


@pytest.mark.parametrize("work", [chat, chat_stream, generate, embed])
def test_what_does_not_fit_is_refused_before_any_traffic(
    work: Any, use: Callable[..., Any], provider: FakeProvider
) -> None:
    """A refusal reaches the caller as itself, with nothing sent."""
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        use(work)
    assert provider.requests == []


def test_a_budget_caps_what_nobody_capped(use: Callable[..., Any], provider: FakeProvider) -> None:
    """The cap stands among the options, where the caller's own stay."""
    with budgetguard.budget(limit=0.0014):
        use(lambda client: wait(client.chat(model=MODEL, messages=HI, options={"seed": 1})))
    [sent] = provider.requests
    assert 0 < sent.body["options"].pop("num_predict") < 400
    assert sent.body["options"] == {"seed": 1}


def test_an_answer_that_was_not_asked_for_in_one_piece_is_lines(provider: FakeProvider, books: BudgetManager) -> None:
    """Without `stream` Ollama streams; a program that reads it whole has lines all the same."""
    httpx.post(f"{provider.root_url}/api/chat", json={"model": MODEL, "messages": HI})
    assert costs(books) == billed(provider) != []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_model_on_this_machine_is_free_and_counted_in_tokens(
    host: str, provider: FakeProvider, books: BudgetManager
) -> None:
    """It costs nothing, and needs no price; a budget of tokens or requests holds for it."""
    client = ollama.Client(host=provider.root_url.replace("127.0.0.1", host))
    with client._client, budgetguard.budget(limit=0.01):
        client.chat(model="llama3.2:1b", messages=HI)
    [entry] = books.store.entries()
    assert (entry.cost, entry.provider, entry.usage["output_tokens"]) == (0, "ollama", 20)


@pytest.mark.parametrize("url", ["https://ollama.com/api/chat", "http://127.0.0.1:9/api/chat"])
def test_a_model_that_is_somebody_elses_is_not_free(url: str, books: BudgetManager) -> None:
    """What runs at ollama.com, also behind a server on this machine, has a price that has to be stated."""
    with pytest.raises(UnpricedModelError):
        httpx.post(url, json={"model": "gpt-oss:120b-cloud", "messages": HI})
    assert costs(books) == []


def test_a_stream_that_is_left_is_estimated_by_what_is_held(
    use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """Only the last line has the counts."""

    async def left(client: Any) -> None:
        stream = await wait(client.chat(model=MODEL, messages=HI, stream=True))
        async for _ in each(stream):
            break
        await wait(stream.aclose() if hasattr(stream, "aclose") else stream.close())

    use(left)
    PROCESS.reaper.drain()  # a generator that is closed has its end told elsewhere
    [entry] = books.store.entries()
    assert "estimated" in entry.flags
    assert entry.cost >= sum(billed(provider.wait()))


def test_errors_cost_nothing(use: Callable[..., Any], provider: FakeProvider, books: BudgetManager) -> None:
    """Neither a status nor a line that says one."""
    provider.fail_next(404, 500)
    for work in (chat, chat_stream):
        with pytest.raises(ollama.ResponseError):
            use(work)
    provider.plan = Plan(drop_after=0, error_event=500)
    with pytest.raises(ollama.ResponseError):
        use(chat_stream)
    assert sum(costs(books)) == 0
