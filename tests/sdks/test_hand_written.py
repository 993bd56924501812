"""
SDKs that are written by hand over httpx, as the floor sees them: Cohere's, Hugging Face's, Z.ai's.

Over real sockets to a provider that keeps its own bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cohere
import huggingface_hub
import pytest
import zai

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider, Plan
from tests.support.books import billed, costs
from tests.support.sdk_shapes import each, run, wait

MODEL = "a-model"
HI: Any = [{"role": "user", "content": "hi there"}]
USAGE = {"include_usage": True}


def bill(_model: str, usage: Mapping[str, Any]) -> int:
    """By hand, in nano-dollars: 1 and 2 dollars per million tokens, 2 per thousand searches."""
    if "search_units" in usage:
        return int(usage["search_units"]) * 2_000_000
    sent = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    return int(sent) * 1_000 + int(usage.get("completion_tokens", usage.get("output_tokens", 0))) * 2_000


pytestmark = pytest.mark.provider(prices=bill, tokens=20)


@pytest.fixture
def books() -> Iterator[BudgetManager]:
    prices = PriceBook()
    prices.add(MODEL, input=1, output=2, max_output=400, rerank_searches="0.002")
    manager = BudgetManager("t", store="memory://", budgets=[Budget("all", 1)], prices=prices)
    budgetguard.patch(manager)
    yield manager
    PROCESS.reaper.drain()
    assert manager.store.holds() == []


def _cohere(version: str) -> Callable[..., Any]:
    def make(provider: FakeProvider, *, is_async: bool) -> Any:
        name = ("AsyncClient" if is_async else "Client") + version
        return getattr(cohere, name)(api_key="none", base_url=provider.root_url)

    return make


def _hugging(provider: FakeProvider, *, is_async: bool) -> Any:
    make = huggingface_hub.AsyncInferenceClient if is_async else huggingface_hub.InferenceClient
    return make(base_url=provider.base_url, api_key="none")


def _zai(provider: FakeProvider, *, is_async: bool) -> Any:
    return zai.ZaiClient(api_key="none.none", base_url=f"{provider.root_url}/api/paas/v4", max_retries=2)


async def cohere_chat(client: Any) -> Any:
    return await wait(client.chat(model=MODEL, messages=HI))


async def cohere_stream(client: Any) -> Any:
    return [item async for item in each(client.chat_stream(model=MODEL, messages=HI))]


async def cohere_embed(client: Any) -> Any:
    return await wait(
        client.embed(model=MODEL, texts=["hi", "you"], input_type="search_query", embedding_types=["float"])
    )


async def cohere_rerank(client: Any) -> Any:
    return await wait(client.rerank(model=MODEL, query="hi", documents=["you"] * 150))


async def before_chat(client: Any) -> Any:
    return await wait(client.chat(model=MODEL, message="hi there"))


async def before_stream(client: Any) -> Any:
    return [item async for item in each(client.chat_stream(model=MODEL, message="hi there"))]


async def before_embed(client: Any) -> Any:
    return await wait(client.embed(model=MODEL, texts=["hi", "you"]))


async def before_rerank(client: Any) -> Any:
    return await wait(client.rerank(model=MODEL, query="hi", documents=["you"] * 150))


async def hugging_chat(client: Any) -> Any:
    return await wait(client.chat_completion(HI, model=MODEL))


async def hugging_stream(client: Any) -> Any:
    stream = await wait(client.chat_completion(HI, model=MODEL, stream=True, stream_options=USAGE))
    return [item async for item in each(stream)]


async def zai_chat(client: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=HI)


async def zai_stream(client: Any) -> Any:
    return list(
        client.chat.completions.create(model=MODEL, messages=HI, stream=True, extra_body={"stream_options": USAGE})
    )


async def zai_embeddings(client: Any) -> Any:
    return client.embeddings.create(model=MODEL, input="hi there")


MAKERS: Mapping[str, Callable[..., Any]] = {
    "cohere": _cohere("V2"),
    "before": _cohere(""),
    "hugging": _hugging,
    "zai": _zai,
}
SHAPES = [
    cohere_chat,
    cohere_stream,
    cohere_embed,
    cohere_rerank,
    before_chat,
    before_stream,
    before_embed,
    before_rerank,
    hugging_chat,
    hugging_stream,
    zai_chat,
    zai_stream,
    zai_embeddings,
]
TEXT = [cohere_chat, cohere_stream, before_chat, before_stream, hugging_chat, hugging_stream, zai_chat, zai_stream]


@pytest.fixture
def use(provider: FakeProvider, books: BudgetManager, loop: Any) -> Callable[..., Any]:
    """Have a client of an SDK, sync or async, used for something."""

    def go(shape: Any) -> Any:
        name = shape.__name__.partition("_")[0]
        if name == "zai" and loop is not None:
            pytest.skip("it has no client that is awaited")

        async def used() -> Any:
            client = MAKERS[name](provider, is_async=loop is not None)
            found = await shape(client)
            if loop is not None and hasattr(client, "close"):
                await wait(client.close())
            return found

        return run(used(), loop)

    return go


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_costs_what_its_provider_bills(
    shape: Any, use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """A program whose SDK is one of these spends from the same budget."""
    use(shape)
    assert costs(books) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in books.store.entries())


@pytest.mark.parametrize("shape", TEXT)
def test_what_does_not_fit_is_refused_before_any_traffic(
    shape: Any, use: Callable[..., Any], provider: FakeProvider
) -> None:
    """A refusal reaches the caller as itself, after one attempt, with nothing sent."""
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        use(shape)
    assert provider.requests == []


@pytest.mark.parametrize("shape", [cohere_chat, before_chat, hugging_chat, zai_chat])
def test_a_budget_caps_what_nobody_capped(shape: Any, use: Callable[..., Any], provider: FakeProvider) -> None:
    """Without a cap of the caller's, the dearest answer must still fit."""
    with budgetguard.budget(limit=0.0004):
        use(shape)
    [sent] = provider.requests
    assert 0 < sent.body["max_tokens"] < 400


@pytest.mark.parametrize("shape", TEXT)
def test_an_error_status_costs_nothing(
    shape: Any, use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """Nobody bills what failed, and the caller gets the SDK's own error."""
    provider.fail_next(404)
    with pytest.raises(Exception, match=r"\w") as caught:
        use(shape)
    assert type(caught.value).__module__.partition(".")[0] in {"cohere", "huggingface_hub", "zai", "httpx", "httpx2"}
    assert costs(books) == []


def test_a_stream_without_usage_is_estimated_by_what_it_wrote(
    use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """An answer that was read to its end is worth what it wrote, where nothing says more."""
    provider.plan = Plan(tokens=20, omit_usage=True)
    for shape in (cohere_stream, before_stream):
        use(shape)
    for entry in books.store.entries():
        assert "estimated" in entry.flags
        assert 20 <= entry.usage["output_tokens"] <= 22


@pytest.mark.parametrize(
    ("path", "model", "provider_id"),
    [
        ("/groq/openai/v1/chat/completions", "meta-llama/Llama-3.3-70B-Instruct", "huggingface_groq"),
        ("/v1/chat/completions", "meta-llama/Llama-3.3-70B-Instruct:groq", "huggingface_groq"),
        ("/v1/chat/completions", "Qwen/Qwen2.5-7B-Instruct:together", "huggingface_together"),
    ],
)
def test_a_router_has_the_prices_of_whom_it_asks(path: str, model: str, provider_id: str) -> None:
    """Hugging Face's names the provider in the path, or behind the model."""
    import httpx2

    manager = BudgetManager("t", store="memory://", budgets=[Budget("all", 1)])
    budgetguard.patch(manager)
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    said = {"choices": [{"message": {"content": "hi"}}], "usage": usage}
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=said))
    with httpx2.Client(base_url="https://router.huggingface.co", transport=transport) as client:
        client.post(path, json={"model": model, "messages": HI})
    [entry] = manager.store.entries()
    assert entry.provider == provider_id
    assert entry.cost > 0
