"""
A call whose model does not fit is sent to another one, by every seam: one request, one bill, one entry.

Over real sockets to a provider that keeps its own bill.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import anthropic
import groq
import httpx
import mistralai.client
import openai
import pytest
from google import genai

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook, completion
from budgetguard.guards.settings import Settings
from budgetguard.testing import FakeProvider
from tests.support.books import PRICES, billed, costs
from tests.support.sdk_shapes import HI, MODEL, SHAPES, Shape, each, enter, run, wait

BIG, SMALL = "a-big-model", "a-small-model"
TEXTS = [each for each in SHAPES if each.name.startswith(("chat", "post", "responses", "completions"))]
OTHERS = [each for each in SHAPES if each not in TEXTS and not each.free]


def bill(model: str, usage: Mapping[str, Any]) -> int:
    """By hand: 1 and 2 nano-dollars a token of the small model; of any other ten thousand times that."""
    words = ("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens", "prompt_eval_count")
    made = ("completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens", "eval_count")
    sent, wrote = (sum(int(usage.get(name, 0)) for name in names) for names in (words, made))
    return (sent + wrote * 2) * (1 if model.endswith(SMALL) else 10_000)


pytestmark = [
    pytest.mark.provider(prices=bill, tokens=20, usage_unasked=True),
    pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning"),
]


def prices() -> PriceBook:
    book = PriceBook()
    for model in (BIG, MODEL, "gpt-3.5-turbo-instruct"):
        book.add(model, input=10, output=20, max_output=400, context=32_000)
    book.add(SMALL, input=0.001, output=0.002, max_output=100, context=32_000)
    return book


@pytest.fixture
def falling() -> Iterator[BudgetManager]:
    """A budget in which the small model fits, and no other."""
    budgets, settings = [Budget("all", "0.00005", fallback=SMALL)], Settings(usage_hosts=frozenset({"127.0.0.1"}))
    made = BudgetManager("t", store="memory://", budgets=budgets, prices=prices(), settings=settings)
    budgetguard.patch(made)
    yield made
    assert made.store.holds() == []


def is_fallen(made: BudgetManager, provider: FakeProvider, asked: str = BIG, *, exact: bool = True) -> None:
    """One request was sent, to the small model, and booked at what it cost, with the model that was asked for."""
    [entry], [request], [cost] = made.store.entries(), provider.requests, billed(provider.wait())
    assert entry.cost == cost if exact else entry.cost >= cost
    assert entry.model == SMALL
    assert "fallback" in entry.flags
    assert "estimated" not in entry.flags or not exact
    assert entry.tags["asked_model"] == asked
    assert SMALL in f"{request.path} {request.body.get('model')}"


@pytest.mark.parametrize("call", TEXTS, ids=str)
def test_every_shape_of_openais_sdk_falls_back(call: Shape, provider: FakeProvider, falling: BudgetManager, loop: Any):
    """Parsed, raw, streamed: the caller gets the answer of the other model in the shape that was asked for."""
    client = provider.client() if loop is None else provider.async_client()

    with budgetguard.budget() as scope:
        shown = run(call.call(client), loop)
    run(wait(client.close()), loop)

    asked = next(each.tags["asked_model"] for each in falling.store.entries())
    is_fallen(falling, provider, asked, exact=call.exact)
    assert asked in {MODEL, "gpt-3.5-turbo-instruct"}
    assert shown
    assert scope.fallbacks == 1
    assert scope.refusal is None


@pytest.mark.parametrize("call", OTHERS, ids=str)
def test_what_belongs_to_its_model_is_refused_as_ever(call: Shape, provider: FakeProvider):
    """Vectors of another model are in another space; pictures and sound are not what a text model makes."""
    book = PriceBook(overrides=PRICES)
    book.add(SMALL, input=0.001, output=0.002)
    budgets = [Budget("all", "0.000000001", fallback=SMALL)]
    budgetguard.patch(BudgetManager("t", store="memory://", budgets=budgets, prices=book))

    with pytest.raises(BudgetExceededError, match="is not asked in its place"):
        run(call.call(provider.client()), None)

    assert provider.requests == []


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"input": [{"type": "item_reference", "id": "rs_1"}]},
        {"model": "ft:a-big-model:me"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_response_that_goes_on_from_another_stays_with_its_model(
    more: dict[str, Any], provider: FakeProvider, falling: BudgetManager
):
    """What its model wrote before is kept for that one, or is read by it alone."""
    falling.guard.prices.add("ft:a-big-model:me", input=10, output=20)
    with pytest.raises(BudgetExceededError, match="belongs to its own model"):
        provider.client().responses.create(**{"model": BIG, "input": "hi", **more})

    assert provider.requests == []


@pytest.mark.parametrize("name", ["create", "stream"])
def test_anthropics_messages_fall_back(name: str, provider: FakeProvider, falling: BudgetManager, loop: Any):
    """Their cap is lowered to what the other model writes at most."""
    client = provider.anthropic() if loop is None else provider.async_anthropic()
    asked = {"model": BIG, "max_tokens": 300, "messages": HI}

    async def use() -> Any:
        if name == "create":
            return await wait(client.messages.create(**asked))
        async with enter(client.messages.stream(**asked)) as stream:
            return await wait(stream.get_final_message())

    message = run(use(), loop)
    run(wait(client.close()), loop)

    assert message.model == SMALL
    assert provider.requests[0].body["max_tokens"] == 100
    assert asked["max_tokens"] == 300
    is_fallen(falling, provider)


def test_a_tool_runner_falls_back_in_each_turn(provider: FakeProvider, falling: BudgetManager):
    """It sends the whole conversation each time, so that each turn may be another model's."""

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return "fine"

    runner = provider.anthropic().beta.messages.tool_runner(
        model=BIG, max_tokens=50, messages=[{"role": "user", "content": "hi"}], tools=[weather]
    )
    final = runner.until_done()

    assert final.model == SMALL
    assert len(provider.requests) == 2
    assert costs(falling) == billed(provider)
    assert {entry.tags["asked_model"] for entry in falling.store.entries()} == {BIG}


@pytest.mark.parametrize("streams", [False, True])
def test_a_fallback_of_google_is_asked_by_its_path(
    streams: bool, provider: FakeProvider, falling: BudgetManager, loop: Any
):
    """There the model is in the URL."""
    client: genai.Client = provider.gemini()
    models: Any = client.models if loop is None else client.aio.models

    async def use() -> list[str]:
        asked = {"model": BIG, "contents": "hi there"}
        if not streams:
            return [(await wait(models.generate_content(**asked))).text]
        return [item.text async for item in each(await wait(models.generate_content_stream(**asked)))]

    assert "".join(text or "" for text in run(use(), loop))
    if loop is not None:
        run(wait(client.aio.aclose()), loop)
    is_fallen(falling, provider)


def test_what_is_kept_in_a_cache_stays_with_its_model(provider: FakeProvider, falling: BudgetManager):
    """A cache is made of what one model read."""
    with pytest.raises(BudgetExceededError, match="belongs to its own model"):
        provider.gemini().models.generate_content(
            model=BIG, contents="hi", config={"cached_content": "cachedContents/1"}
        )

    assert provider.requests == []


def test_a_converse_of_bedrock_falls_back_and_a_models_own_json_does_not(
    provider: FakeProvider, falling: BudgetManager
):
    """Bedrock's own words are the same for each model; those of `invoke_model` are one model's."""
    client, big = provider.bedrock(), "amazon.nova-pro-v1:0"
    falling.guard.prices.add(big, input=10, output=20, max_output=400)
    falling.guard.prices.add(SMALL, provider="aws", input=0.001, output=0.002, max_output=100)
    hi = [{"role": "user", "content": [{"text": "hi"}]}]

    client.converse(modelId=big, messages=hi)
    is_fallen(falling, provider, big)

    with pytest.raises(BudgetExceededError, match="belongs to its own model"):
        client.invoke_model(modelId=big, body='{"messages": [{"role": "user", "content": [{"text": "hi"}]}]}')
    assert len(provider.requests) == 1


@pytest.mark.parametrize("streams", [False, True])
def test_mistrals_sdk_falls_back(streams: bool, provider: FakeProvider, falling: BudgetManager, loop: Any):
    """Its requests are built when they are charged: another one is built, and the caller's stays as it is."""

    async def use_async() -> None:
        async with mistralai.client.Mistral(api_key="none", server_url=provider.root_url) as client:
            ask = client.chat.stream_async if streams else client.chat.complete_async
            reply = await ask(model=BIG, messages=HI)
            assert not streams or [item async for item in each(reply)]

    if loop is None:
        with mistralai.client.Mistral(api_key="none", server_url=provider.root_url) as client:
            reply = (client.chat.stream if streams else client.chat.complete)(model=BIG, messages=HI)
            assert not streams or list(reply)
    else:
        run(use_async(), loop)
    is_fallen(falling, provider)


def test_groqs_sdk_falls_back(provider: FakeProvider, falling: BudgetManager):
    """Every SDK that Stainless generates has the one seam."""
    with groq.Groq(api_key="none", base_url=provider.root_url) as client:
        client.chat.completions.create(model=BIG, messages=HI)

    is_fallen(falling, provider)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": BIG, "messages": HI}),
        ("/v1/messages", {"model": BIG, "messages": HI, "max_tokens": 20}),
        (f"/v1beta/models/{BIG}:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ("/api/chat", {"model": BIG, "messages": HI, "stream": False}),
    ],
    ids=["openai", "anthropic", "gemini", "ollama"],
)
def test_a_request_of_httpx_falls_back(path: str, body: dict[str, Any], provider: FakeProvider, falling: BudgetManager):
    """Without any SDK: what is sent is a request of its own."""
    if path.startswith("/api"):
        falling.guard.prices.add(BIG, provider="ollama", input=10, output=20)
        falling.guard.prices.add(SMALL, provider="ollama", input=0.001, output=0.002)
    with httpx.Client(base_url=provider.root_url) as client:
        request = client.build_request("POST", path, json=body)
        assert client.send(request).status_code == 200

    is_fallen(falling, provider)
    assert SMALL not in f"{request.url} {request.content!r}"


@pytest.mark.filterwarnings("ignore::Warning")  # LiteLLM's own, by its age
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("named", ["openai", "anthropic"])
def test_litellm_falls_back_at_the_same_provider(
    named: str, streams: bool, provider: FakeProvider, falling: BudgetManager
):
    """Its key is for that one, and nothing of LiteLLM's own is tried a second time."""
    litellm = importlib.import_module("litellm")
    base = provider.base_url if named == "openai" else provider.root_url
    falling.guard.prices.add(SMALL, provider="anthropic", input=0.001, output=0.002, max_output=100)
    reply = litellm.completion(
        model=f"{named}/{BIG}", messages=HI, api_base=base, api_key="none", max_tokens=30, stream=streams
    )
    if streams:
        assert list(reply)

    is_fallen(falling, provider)


def test_completion_falls_back(provider: FakeProvider, falling: BudgetManager):
    """The one-line call, too."""
    reply = completion(BIG, HI, base_url=provider.base_url, api_key="none")

    assert reply.model == SMALL
    is_fallen(falling, provider)


def test_a_model_of_another_provider_is_skipped_and_said_once(caplog: pytest.LogCaptureFixture):
    """A Claude asked of OpenAI would be an error of the caller's; it is one of whoever wrote the budget."""
    budgetguard.patch(
        BudgetManager("t", store="memory://", budgets=[Budget("all", "1e-9", fallback="claude-opus-4-5")])
    )
    transport = httpx.MockTransport(lambda request: pytest.fail("sent"))
    with openai.OpenAI(api_key="none", http_client=httpx.Client(transport=transport)) as client:
        for _ in range(2):
            with pytest.raises(BudgetExceededError, match="claude-opus-4-5 in its place: openai does not have it"):
                client.chat.completions.create(model="gpt-5", messages=HI)

    assert sum("'claude-opus-4-5' is no model of openai" in each.getMessage() for each in caplog.records) == 1


def test_a_fallback_is_asked_without_what_it_refuses_of_how_to_think(falling: BudgetManager):
    """A model that does not reason takes no effort: the caller asked for an answer first."""
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        if "reasoning_effort" in bodies[-1]:
            return httpx.Response(400, json={"error": {"message": "Unsupported parameter: 'reasoning_effort'"}})
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        return httpx.Response(200, json={"id": "1", "model": SMALL, "choices": [], "usage": usage})

    transport = httpx.MockTransport(answer)
    with (
        openai.OpenAI(
            api_key="none", base_url="http://gate.test/v1", http_client=httpx.Client(transport=transport)
        ) as client,
        budgetguard.budget() as b,
    ):
        client.chat.completions.create(model=BIG, messages=HI, reasoning_effort="low", temperature=0)
    assert b.fallbacks == 1

    assert [body.get("reasoning_effort") for body in bodies] == ["low", None]
    assert [(body["model"], body["temperature"]) for body in bodies] == [(SMALL, 0)] * 2
    assert costs(falling) == [3 + 2 * 2]


def test_a_newer_model_is_given_its_cap_by_its_own_name(provider: FakeProvider):
    """OpenAI's reasoning models refuse `max_tokens`."""
    budgetguard.patch(BudgetManager("t", store="memory://", prices=prices()))
    with budgetguard.budget(limit="0.0001", fallback="gpt-5-nano"):
        provider.client().chat.completions.create(model=BIG, messages=HI, max_tokens=30)

    [request] = provider.requests
    assert request.body["model"] == "gpt-5-nano"
    assert request.body["max_completion_tokens"] == 30
    assert "max_tokens" not in request.body
