"""
google-genai under guard, over real sockets to a provider that keeps its own bill.

Every shape of a call, sync and async and by each HTTP stack of the SDK, costs to the nano-dollar what the provider
bills; what is left costs the exact input; what does not fit is refused before any traffic.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest
import requests
from google import genai
from google.auth.credentials import Credentials
from google.genai import _api_client, errors, types

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.guards import Settings
from budgetguard.process.state import PROCESS
from budgetguard.sdks.exchange import charging
from budgetguard.testing import FakeProvider, Plan

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")

MODEL = "gemini-2.5-flash"
CONFIG: Any = {"max_output_tokens": 50}
ASKED: dict[str, Any] = {"model": MODEL, "contents": "hi there", "config": CONFIG}
INPUT, OUTPUT, READ, EMBED = 300, 2_500, 30, 150
"""Nano-dollars a token: $0.30, $2.50, $0.03 and, for an embedding, $0.15 a million."""

BROKEN = (httpx.HTTPError, httpx2.HTTPError)
"""What a connection raises: the SDK takes either stack for its default, by version."""

RETRIED = hasattr(_api_client.BaseApiClient, "_request_once")
"""Whether the SDK tries again by itself: 1.20 does not."""


def bill(model: str, usage: Mapping[str, Any]) -> int:
    """What Google would charge, in its own words."""
    asked, cached = usage.get("promptTokenCount", 0), usage.get("cachedContentTokenCount", 0)
    if "embedding" in model:
        return int(asked * EMBED)
    written = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    return int((asked - cached) * INPUT + cached * READ + written * OUTPUT)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    google = FakeProvider(prices=bill).start()
    yield google
    google.stop()


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[Any]:
    own = provider.gemini()
    yield own
    own._api_client._httpx_client.close()


def mocked(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    """A client of the Gemini API whose transport is a function."""
    args = {"transport": httpx.MockTransport(answer)}
    return genai.Client(api_key="-", http_options={"base_url": "http://localhost:1", "client_args": args})


def managed(limit: float = 1.0, **settings: Any) -> BudgetManager:
    return BudgetManager("t", store="memory://", budgets=[Budget("all", limit)], settings=Settings(**settings))


def entries(made: BudgetManager) -> list[Any]:
    gc.collect()
    PROCESS.reaper.drain()
    assert made.store.holds() == []
    return list(made.store.entries())


def costs(made: BudgetManager) -> list[int]:
    return [entry.cost for entry in entries(made)]


def billed(provider: FakeProvider) -> list[int]:
    return [each.amount for each in provider.ledger]


# --- every shape


def look(word: str) -> str:
    """Look a word up."""
    return f"{word}: found"


def _text(client: Any) -> Any:
    return client.models.generate_content(**ASKED)


def _stream(client: Any) -> Any:
    return list(client.models.generate_content_stream(**ASKED))


def _chat(client: Any) -> Any:
    chat = client.chats.create(model=MODEL, config=CONFIG)
    return [chat.send_message("hi"), *chat.send_message_stream("and on")]


def _functions(client: Any) -> Any:
    chat = client.chats.create(model=MODEL, config={**CONFIG, "tools": [look]})
    return chat.send_message("hi")


def _schema(client: Any) -> Any:
    schema = {"type": "OBJECT", "properties": {"answer": {"type": "STRING"}}}
    config = {**CONFIG, "response_mime_type": "application/json", "response_schema": schema}
    return client.models.generate_content(model=MODEL, contents="hi", config=config)


def _picture(client: Any) -> Any:
    part = types.Part.from_bytes(data=b"png", mime_type="image/png")
    return client.models.generate_content(model=MODEL, contents=["what is this", part], config=CONFIG)


def _embedding(client: Any) -> Any:
    return client.models.embed_content(model="gemini-embedding-001", contents=["a text", "another text"])


def _extra(client: Any) -> Any:
    extra = {"generationConfig": {"maxOutputTokens": 3}}
    return client.models.generate_content(
        model=MODEL, contents="hi", config={**CONFIG, "http_options": {"extra_body": extra}}
    )


SHAPES: dict[str, Callable[[Any], Any]] = {
    shape.__name__[1:]: shape
    for shape in (
        _text,
        _stream,
        _chat,
        _functions,
        _schema,
        _picture,
        _embedding,
        *((_extra,) if "extra_body" in types.HttpOptions.model_fields else ()),
    )
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_of_every_shape_costs_what_is_billed(shape: str, provider: FakeProvider, client: Any) -> None:
    """To the nano-dollar, each request of it on the books once, and handed back as the SDK's own."""
    made = managed(10)
    budgetguard.patch(made)
    SHAPES[shape](client)

    assert costs(made) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in entries(made))


def _async_text(client: Any) -> Any:
    return client.aio.models.generate_content(**ASKED)


async def _async_stream(client: Any) -> Any:
    return [item async for item in await client.aio.models.generate_content_stream(**ASKED)]


async def _async_chat(client: Any) -> Any:
    chat = client.aio.chats.create(model=MODEL, config=CONFIG)
    await chat.send_message("hi")
    return [item async for item in await chat.send_message_stream("and on")]


async def _async_functions(client: Any) -> Any:
    config = {**CONFIG, "tools": [look]}
    return await client.aio.chats.create(model=MODEL, config=config).send_message("hi")


async def _async_embedding(client: Any) -> Any:
    return await client.aio.models.embed_content(model="gemini-embedding-001", contents="a text")


ASYNC_SHAPES = (_async_text, _async_stream, _async_chat, _async_functions, _async_embedding)


@pytest.mark.parametrize("shape", ASYNC_SHAPES, ids=lambda shape: shape.__name__[1:])
def test_an_async_call_of_every_shape_costs_what_is_billed(shape: Any, provider: FakeProvider, client: Any) -> None:
    """As a sync one."""
    made = managed(10)
    budgetguard.guard(client, made)

    async def ask() -> None:
        await shape(client)

    asyncio.run(ask())
    assert costs(made) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in entries(made))


@pytest.mark.parametrize("stack", ["httpx", "httpx2", "requests", "aiohttp", "async httpx"])
@pytest.mark.skipif(not RETRIED, reason="1.20 has no choice of a stack")
def test_every_stack_beneath_is_seen(stack: str, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain, streamed to the end, and left: which of them sends is nothing to us."""
    made = managed(10)
    budgetguard.patch(made)
    if stack in {"httpx", "httpx2"}:
        monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", stack)
    options = {"http_options": {"httpx_async_client": httpx.AsyncClient()}} if stack == "async httpx" else {}
    client = provider.gemini(**options)
    if stack == "requests":
        monkeypatch.setattr(_api_client.BaseApiClient, "_use_google_auth_sync", lambda _: True)
        client._api_client._authorized_session = requests.Session()
        client._api_client._authorized_session._is_mtls = False

    async def ask() -> None:
        await _async_text(client)
        await _async_stream(client)
        async for _ in await client.aio.models.generate_content_stream(**ASKED):
            break

    if stack in {"aiohttp", "async httpx"}:
        asyncio.run(ask())
    else:
        _text(client)
        _stream(client)
        for _ in client.models.generate_content_stream(**ASKED):
            break
    found = entries(made)
    assert [entry.cost for entry in found[:2]] == billed(provider.wait())[:2]
    assert found[2].cost == provider.ledger[2].input_tokens * INPUT + 50 * OUTPUT


def test_many_at_once_stay_within_a_budget(provider: FakeProvider, client: Any) -> None:
    """A cap that nobody stated is one that fits with those in flight: the bill never passes the limit."""
    made = managed(0.001)
    budgetguard.guard(client, made)

    async def ask() -> bool:
        try:
            await client.aio.models.generate_content(**ASKED)
        except BudgetExceededError:
            return False
        return True

    async def together() -> list[bool]:
        return await asyncio.gather(*(ask() for _ in range(20)))

    assert 0 < sum(asyncio.run(together())) < 20
    assert sum(costs(made)) == sum(billed(provider)) <= 1_000_000


# --- what a request is sent with


def test_a_cap_is_added_where_none_is_stated(provider: FakeProvider, client: Any) -> None:
    """So that a hard budget holds; the caller's own configuration is left as it is."""
    made = managed(0.02)
    budgetguard.guard(client, made)
    own = types.GenerateContentConfig(temperature=0.5)
    client.models.generate_content(model=MODEL, contents="hi", config=own)

    config = provider.requests[0].body["generationConfig"]
    assert config["temperature"] == 0.5
    assert 2_048 < config["maxOutputTokens"] < 8_000
    assert own == types.GenerateContentConfig(temperature=0.5)
    assert costs(made) == billed(provider)


def test_a_stated_cap_is_refused_and_not_lowered(provider: FakeProvider, client: Any) -> None:
    """What passes passes as it was asked for."""
    budgetguard.guard(client, managed(0.0001))
    with pytest.raises(BudgetExceededError):
        client.models.generate_content(**ASKED)
    assert provider.requests == []


def test_a_server_that_refuses_our_cap_is_asked_without_it() -> None:
    """A model behind a gateway may take none; it is remembered."""
    asked: list[bool] = []

    def answer(request: httpx.Request) -> httpx.Response:
        capped = b"maxOutputTokens" in request.content
        asked.append(capped)
        if capped:
            said = 'Invalid JSON payload received. Unknown name "maxOutputTokens": Cannot find field.'
            return httpx.Response(400, json={"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}})
        return httpx.Response(200, json={"candidates": [], "usageMetadata": {"promptTokenCount": 10}})

    made = managed(1)
    client = mocked(answer)
    budgetguard.guard(client, made)
    for _ in range(2):
        client.models.generate_content(model=MODEL, contents="hi")
    assert asked == [True, False, False]
    assert costs(made) == [10 * INPUT] * 2


# --- caches, thoughts, tiers


@pytest.mark.parametrize("stream", [False, True])
def test_caches_and_thoughts_cost_what_they_are(stream: bool, provider: FakeProvider, client: Any) -> None:
    """A read of a cache is a tenth; a thought is output, shown or not."""
    provider.plan = Plan(cached=4, reasoning=20)
    made = managed()
    budgetguard.guard(client, made)
    (_stream if stream else _text)(client)

    [entry] = entries(made)
    assert [entry.cost] == billed(provider)
    assert (entry.usage["cache_read_tokens"], entry.usage["output_reasoning_tokens"]) == (4, 20)
    assert entry.usage["output_tokens"] == 28


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("tier", "half"), [("priority", 1.8), ("flex", 0.5)])
def test_a_tier_is_priced(tier: str, half: float, stream: bool, provider: FakeProvider, client: Any) -> None:
    """As it was served, which need not be as it was asked for."""
    provider.plan = Plan(service_tier=tier)
    made = managed()
    budgetguard.guard(client, made)
    (_stream if stream else _text)(client)
    assert costs(made) == [-(-billed(provider)[0] * half // 1)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_costs_what_was_read(stream: bool, provider: FakeProvider, client: Any) -> None:
    """There is no answer, and nothing raises."""
    provider.plan = Plan(blocked="PROHIBITED_CONTENT")
    made = managed()
    budgetguard.guard(client, made)
    (_stream if stream else _text)(client)
    assert costs(made) == billed(provider) == [provider.ledger[0].input_tokens * INPUT]


def test_an_answer_without_a_usage_costs_what_was_held(provider: FakeProvider, client: Any) -> None:
    """Unknown is not free; an embedding, which has no output, is counted."""
    provider.plan = Plan(omit_usage=True)
    made = managed()
    budgetguard.guard(client, made)
    _text(client)
    _embedding(client)
    assert all(cost >= own > 0 for cost, own in zip(costs(made), billed(provider), strict=True))


# --- batches


@pytest.mark.skipif(not RETRIED, reason="1.20 has batches of Vertex AI only")
def test_a_batch_is_held_at_half_and_settled_by_a_look() -> None:
    """Each of its answers has a usage of its own; one that failed is free."""
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
    reply = {"candidates": [], "usageMetadata": usage, "modelVersion": MODEL}
    stands: dict[str, Any] = {"name": "batches/b1", "metadata": {"state": "BATCH_STATE_PENDING"}}
    responses = [{"response": reply}, {"response": reply}, {"error": {"code": 13}}]
    ended = {
        "name": "batches/b1",
        "metadata": {"state": "BATCH_STATE_SUCCEEDED", "model": f"models/{MODEL}"},
        "done": True,
        "response": {"inlinedResponses": {"inlinedResponses": responses}},
    }
    looks = iter([stands, ended, ended])

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=stands if request.method == "POST" else next(looks))

    made = managed()
    client = mocked(answer)
    budgetguard.guard(client, made)
    asked: Any = [{"contents": [{"parts": [{"text": "hi"}]}], "config": CONFIG}] * 3
    job = client.batches.create(model=MODEL, src=asked)
    [hold] = made.store.holds()
    assert hold.amount == 3 * ((2 + 8 + 8 + 64) * INPUT + 50 * OUTPUT) // 2
    client.batches.get(name=job.name)
    assert len(made.store.holds()) == 1
    client.batches.get(name=job.name)
    client.batches.get(name=job.name)
    assert costs(made) == [2 * (100 * INPUT + 10 * OUTPUT) // 2]


@pytest.mark.skipif(not RETRIED, reason="1.20 has batches of Vertex AI only")
def test_a_batch_from_a_file_that_nobody_saw_is_not_let_by_where_nothing_is_left() -> None:
    """What is in it is not known here."""
    client = mocked(lambda _: httpx.Response(200, json={}))
    budgetguard.guard(client, managed(0))
    with pytest.raises(BudgetExceededError):
        client.batches.create(model=MODEL, src="files/f1")


# --- what is refused, and what is free


@pytest.mark.parametrize("shape", SHAPES)
def test_what_does_not_fit_is_refused_before_any_traffic(shape: str, provider: FakeProvider, client: Any) -> None:
    """In every shape, as our own error, after one attempt."""
    budgetguard.patch(managed(0.000_000_001))
    with pytest.raises(BudgetExceededError):
        SHAPES[shape](client)
    assert provider.requests == []


def test_counting_tokens_is_free(provider: FakeProvider, client: Any) -> None:
    """Also where nothing is left."""
    made = managed(0.0)
    budgetguard.patch(made)
    assert client.models.count_tokens(model=MODEL, contents="hi").total_tokens > 0
    assert entries(made) == []


@pytest.mark.parametrize("status", [400, 403, 429, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_costs_nothing(status: int, stream: bool, provider: FakeProvider, client: Any) -> None:
    """Google's SDK raises it beneath us, and calls it a code."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next(status)
    with pytest.raises(errors.APIError):
        (_stream if stream else _text)(client)
    assert sum(costs(made)) == 0


RETRYING: Any = {"retry_options": {"attempts": 3, "initial_delay": 0.001, "max_delay": 0.001, "jitter": 0.001}}


@pytest.mark.skipif(not RETRIED, reason="1.20 does not try again")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_is_one_call(is_async: bool, provider: FakeProvider) -> None:
    """What failed cost nothing."""
    made = managed()
    provider.fail_next(503, 429)
    client = provider.gemini(http_options=RETRYING)
    budgetguard.guard(client, made)

    async def ask() -> None:
        await _async_text(client)

    asyncio.run(ask()) if is_async else _text(client)
    assert len(provider.requests) == 3
    assert costs(made) == billed(provider)


@pytest.mark.skipif(not RETRIED, reason="1.20 does not try again")
def test_what_the_sdk_sends_again_over_aiohttp_may_have_been_billed_twice(
    provider: FakeProvider, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so by itself, within one attempt, where the server hung up."""

    async def at_once(_seconds: float) -> None:
        return None

    monkeypatch.setattr(_api_client, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": at_once}))
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next({"drop": "headers"})

    async def ask() -> None:
        await _async_text(client)

    asyncio.run(ask())
    assert len(provider.requests) == 2
    [entry] = entries(made)
    assert entry.cost > sum(billed(provider))
    assert entry.cost == billed(provider)[1] + (8 + 8 + 8 + 64) * INPUT + 50 * OUTPUT


def test_what_was_never_sent_is_free(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vertex AI without credentials, and a server that nobody listens at."""
    made = managed()
    budgetguard.patch(made)

    def _access_token(_self: Any) -> str:
        raise RuntimeError("Could not resolve API token from the environment")

    monkeypatch.setattr(_api_client.BaseApiClient, "_access_token", _access_token)
    vertex = genai.Client(vertexai=True, project="p", location="us-central1", credentials=_Credentials())
    with pytest.raises(RuntimeError):
        _text(vertex)
    url = provider.root_url
    provider.stop()
    gone = genai.Client(api_key="-", http_options={"base_url": url})
    with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
        _text(gone)
    assert entries(made) == []


@pytest.mark.skipif(not RETRIED, reason="1.20 does not close what its client was connected by")
def test_a_client_that_is_closed_sends_nothing_and_costs_nothing(provider: FakeProvider) -> None:
    """`genai.Client().models` outlives its client, which closes its connections when it is collected."""
    made = managed()
    budgetguard.patch(made)
    with pytest.raises(RuntimeError, match="closed"):
        _text(SimpleNamespace(models=provider.gemini().models))
    assert provider.requests == []
    assert entries(made) == []


class _Credentials(Credentials):
    """Credentials without an account."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def refresh(self, request: Any) -> None:
        """Have a token."""
        self.token = "a token"


def test_a_time_out_may_have_been_billed(provider: FakeProvider) -> None:
    """Unknown is not free."""
    made = managed()
    provider.fail_next({"stall": "headers"})
    client = provider.gemini(http_options={"timeout": 200})
    budgetguard.guard(client, made)
    with pytest.raises((httpx.TimeoutException, httpx2.TimeoutException)):
        _text(client)
    assert costs(made)[0] >= billed(provider.wait())[0] > 0


# --- streams that are left


def _left(client: Any) -> None:
    for _ in client.models.generate_content_stream(**ASKED):
        break


def _left_closed(client: Any) -> None:
    stream = client.models.generate_content_stream(**ASKED)
    next(stream)
    stream.close()


def _left_async(client: Any) -> None:
    async def leave() -> None:
        async for _ in await client.aio.models.generate_content_stream(**ASKED):
            break

    asyncio.run(leave())


def _cancelled(client: Any) -> None:
    async def read(begun: asyncio.Event) -> None:
        async for _ in await client.aio.models.generate_content_stream(**ASKED):
            begun.set()

    async def leave() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(read(begun))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(leave())


def _never_read(client: Any) -> None:
    async def leave() -> None:
        body = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 50}}
        path = f"models/{MODEL}:streamGenerateContent?alt=sse"
        await client._api_client.async_request_streamed("post", path, body)

    asyncio.run(leave())


@pytest.mark.parametrize("leave", [_left, _left_closed, _left_async, _cancelled])
def test_a_stream_that_is_left_costs_its_exact_input(leave: Any, provider: FakeProvider, client: Any) -> None:
    """And what arrived: each item says the usage so far, of the cache as well."""
    provider.plan = Plan(tokens=40, chunk_s=0.02, cached=3)
    made = managed(abandoned="observed")
    budgetguard.guard(client, made)
    leave(client)

    [entry] = entries(made)
    asked = provider.ledger[0].input_tokens
    assert (entry.usage["input_tokens"], entry.usage["cache_read_tokens"]) == (asked, 3)
    assert 1 <= entry.usage["output_tokens"] < 20
    assert entry.cost == (asked - 3) * INPUT + 3 * READ + entry.usage["output_tokens"] * OUTPUT
    assert "estimated" in entry.flags
    provider.wait()  # the connection was closed: it does not write on


def test_a_stream_that_nobody_reads_costs_what_was_held(provider: FakeProvider, client: Any) -> None:
    """It was answered all the same."""
    made = managed()
    budgetguard.guard(client, made)
    _never_read(client)
    assert costs(made)[0] >= 50 * OUTPUT


def test_google_writes_on_where_a_stream_is_left(provider: FakeProvider, client: Any) -> None:
    """Its exact input, and all that was asked for: less than was held, and never less than the bill."""
    provider.plan = Plan(tokens=40, chunk_s=0.02)
    made = managed()
    budgetguard.guard(client, made)
    _left(client)
    assert costs(made) == [provider.ledger[0].input_tokens * INPUT + 50 * OUTPUT]


@pytest.mark.parametrize("after", [0, 4])
def test_a_stream_that_fails_costs_what_it_began(after: int, provider: FakeProvider, client: Any) -> None:
    """An error before the first item is free, one after it is not."""
    made = managed(abandoned="observed")
    budgetguard.guard(client, made)
    provider.fail_next({"error_event": 503, "drop_after": after})
    if RETRIED:
        with pytest.raises(errors.APIError):
            _stream(client)
    else:
        _stream(client)
    cost = sum(costs(made))
    assert cost == 0 if after == 0 else cost >= provider.ledger[0].input_tokens * INPUT > 0


def test_a_connection_that_breaks_costs_what_was_asked_for(provider: FakeProvider, client: Any) -> None:
    """The provider may have written on."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next({"drop": "stream", "drop_after": 3})
    with pytest.raises(BROKEN):
        _stream(client)
    assert costs(made) == [provider.ledger[0].input_tokens * INPUT + 50 * OUTPUT]


# --- who is guarded


def test_one_client_is_guarded_with_all_its_parts(provider: FakeProvider, client: Any) -> None:
    """Its chats that were there before, its async half; and no other client."""
    made = managed()
    chat = client.chats.create(model=MODEL, config=CONFIG)
    assert budgetguard.guard(client, made) is client
    chat.send_message("hi")
    asyncio.run(client.aio.models.generate_content(**ASKED))
    _text(provider.gemini())
    assert len(entries(made)) == 2


def test_a_part_of_a_client_stands_for_it(provider: FakeProvider, client: Any) -> None:
    """What has no client is refused."""
    made = managed()
    budgetguard.guard(client.aio, made)
    _text(client)
    assert len(entries(made)) == 1
    with pytest.raises(TypeError, match=r"a google\.genai Client, .* client is needed, not object"):
        budgetguard.guard(object(), made)


def test_unpatching_puts_back_the_very_same_objects() -> None:
    """And a client that was guarded is free again."""
    places = [
        (_api_client.BaseApiClient, "_request"),
        (_api_client.BaseApiClient, "_async_request"),
        (_api_client.HttpResponse, "segments"),
        (_api_client.HttpResponse, "async_segments"),
    ]
    before = [owner.__dict__[name] for owner, name in places]
    budgetguard.patch(managed())
    assert not any(owner.__dict__[name] is then for (owner, name), then in zip(places, before, strict=True))
    budgetguard.unpatch()
    assert [owner.__dict__[name] for owner, name in places] == before


def test_a_user_of_a_scope_is_charged(provider: FakeProvider, client: Any) -> None:
    """A request that is streamed keeps the scope that it was made in."""
    made = BudgetManager("t", store="memory://", budgets=[Budget("each", 1.0, per=("user",))])
    budgetguard.patch(made)
    with budgetguard.budget(user="ann"):
        stream = client.models.generate_content_stream(**ASKED)
        first = next(stream)
    assert [first, *stream]
    [entry] = entries(made)
    assert entry.tags["user"] == "ann"


def test_vertex_ai_is_priced_by_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is Google's, in every location, and refused as well before anything is sent."""
    budgetguard.patch(managed(0.000_000_001))
    vertex = genai.Client(vertexai=True, project="p", location="us-central1", credentials=_Credentials())
    with pytest.raises(BudgetExceededError):
        _text(vertex)


def test_a_replay_costs_nothing(provider: FakeProvider) -> None:
    """The SDK's client for tests answers from files: it never gets to where requests are sent."""
    from google.genai import _replay_api_client

    assert "_request" in vars(_replay_api_client.ReplayApiClient)


def test_a_request_beneath_is_the_same_call(provider: FakeProvider) -> None:
    """An SDK's transport may ask another SDK for the same model: that is no call of its own."""
    made = managed()
    charging.set(None)  # of what calls left that were interrupted, elsewhere
    budgetguard.patch(made)
    with provider.client() as below:

        def ask(_request: httpx.Request) -> httpx.Response:
            below.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=5)
            usage = {"promptTokenCount": 10, "candidatesTokenCount": 2}
            return httpx.Response(200, json={"candidates": [], "usageMetadata": usage})

        _text(mocked(ask))
    assert charging.get() is None
    assert costs(made) == [10 * INPUT + 2 * OUTPUT]
