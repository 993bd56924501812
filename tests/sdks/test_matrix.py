"""
Every shape of call is refused before it is sent or counted once at its true cost, and handed back untouched.

The SDK is the real one, the network is real sockets on loopback, and what a call truly cost is what the provider
put on its own bill.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai._models import FinalRequestOptions
from openai.types.chat import ChatCompletionChunk
from pydantic import field_validator

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager
from budgetguard.prices.book import PriceBook
from budgetguard.testing import FakeProvider
from tests.support.books import PRICES, bill, entries, manager
from tests.support.sdk_shapes import HI, MODEL, SHAPES, Fruit, Shape, each, run, seen, wait

pytestmark = pytest.mark.provider(prices=bill)


class Tap:
    """A running provider, seen from now on."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._requests, self._bills = len(provider.requests), len(provider.ledger)

    @property
    def requests(self) -> list[Any]:
        return self._provider.requests[self._requests :]

    @property
    def bills(self) -> list[Any]:
        return self._provider.wait().ledger[self._bills :]


@pytest.fixture
def tap(shared_provider: FakeProvider) -> Tap:
    return Tap(shared_provider)


@pytest.fixture(scope="module", params=["sync", "async"])
def stack(request: pytest.FixtureRequest, shared_provider: FakeProvider) -> Iterator[tuple[Any, Any]]:
    """A client, and the loop that it lives on (`None` for the sync one)."""
    if request.param == "sync":
        with shared_provider.client() as client:
            yield client, None
        return
    loop = asyncio.new_event_loop()
    client = shared_provider.async_client()
    yield client, loop
    loop.run_until_complete(client.close())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


paid = pytest.mark.parametrize("call", [shape for shape in SHAPES if not shape.free], ids=str)
every = pytest.mark.parametrize("call", SHAPES, ids=str)


@paid
def test_a_call_without_room_is_refused_before_any_traffic(call: Shape, stack, tap):
    """A refused call must cost nothing at all."""
    client, loop = stack
    made = manager("0.000000001")
    budgetguard.patch(made)

    with budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError):
        run(call.call(client), loop)

    assert tap.requests == []
    assert entries(made) == []
    assert made.store.holds() == []


@paid
def test_a_call_is_counted_once_at_its_true_cost(call: Shape, stack, tap):
    """What the provider billed is what the books say: one request, one bill, one entry."""
    client, loop = stack
    made = manager()
    budgetguard.patch(made)

    with budgetguard.budget(user="ann") as scope:
        run(call.call(client), loop)

    [entry] = entries(made)
    [charged] = tap.bills
    assert len(tap.requests) == 1
    if call.exact:
        assert (entry.cost, entry.flags & {"estimated"}) == (charged.amount, set())
    else:
        assert entry.cost >= charged.amount
        assert "estimated" in entry.flags
    assert entry.model == charged.model
    assert entry.tags["user"] == "ann"
    assert made.get_current_cost("ann") == pytest.approx(entry.cost / 1e9)
    assert scope.spent == entry.cost / 10**9
    assert made.store.holds() == []


@every
def test_a_call_is_handed_back_as_if_nobody_watched(call: Shape, stack, tap):
    """The same types, the same data, the same fields set, the same chunks in the same order."""
    client, loop = stack
    alone = run(call.call(client), loop)
    budgetguard.patch(manager())

    with budgetguard.budget(user="ann"):
        watched = run(call.call(client), loop)

    assert _without_echo(watched) == _without_echo(alone)
    plain, guarded = tap.requests
    ours = {"max_tokens", "max_completion_tokens", "max_output_tokens", "stream_options"} - plain.body.keys()
    assert {name: value for name, value in guarded.body.items() if name not in ours} == plain.body
    assert _headers(guarded) == _headers(plain)


@pytest.mark.parametrize("call", [shape for shape in SHAPES if shape.free], ids=str)
def test_a_free_call_passes_every_budget(call: Shape, stack, tap):
    """Moderations by OpenAI's model cost nothing, so nobody is to be kept from them."""
    client, loop = stack
    made = manager("0.000000001")
    budgetguard.patch(made)

    with budgetguard.budget(user="ann"):
        run(call.call(client), loop)

    assert len(tap.requests) == 1
    assert sum(entry.cost for entry in entries(made)) == 0


# -- clients ---------------------------------------------------------------------------------------------------------


class Ours(openai.OpenAI):
    """A subclass, as programs write them."""


class OursAsync(openai.AsyncOpenAI):
    """A subclass, as programs write them."""


def _subclass(client: Any) -> Any:
    kind = Ours if isinstance(client, openai.OpenAI) else OursAsync
    return kind(api_key="none", base_url=client.base_url, http_client=client._client)


def _azure(client: Any) -> Any:
    kind = openai.AzureOpenAI if isinstance(client, openai.OpenAI) else openai.AsyncAzureOpenAI
    root = str(client.base_url).removesuffix("v1/")
    return kind(api_key="none", azure_endpoint=root, api_version="2024-10-21", http_client=client._client)


def _older(client: Any) -> Any:
    return client.with_options(max_retries=0, timeout=30)


def _raised(client: Any) -> Any:
    return client.with_options(max_retries=3).copy(default_headers={"x-a": "1"})


CLIENTS: list[Callable[[Any], Any]] = [_subclass, _azure, _older, _raised]
ON_EVERY_CLIENT = [shape for shape in SHAPES if shape.name in {"chat_create", "chat_stream", "responses_create"}]


@pytest.mark.parametrize("make", CLIENTS)
@pytest.mark.parametrize("call", ON_EVERY_CLIENT, ids=str)
def test_every_kind_of_client_is_guarded(make, call: Shape, stack, tap):
    """Azure, subclasses, and copies with other options all pass the one gate."""
    client, loop = stack
    made, poor = manager(), manager("0.000000001")

    copied = make(client)
    alone = run(call.call(copied), loop)
    with poor, budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError):
        run(call.call(copied), loop)
    with made, budgetguard.budget(user="ann"):
        watched = run(call.call(copied), loop)

    assert _without_echo(watched) == _without_echo(alone)
    assert len(tap.requests) == 2
    assert [entry.cost for entry in entries(made)] == [tap.bills[-1].amount]


def test_the_module_itself_is_a_client(shared_provider, tap):
    """`openai.chat.completions.create` needs no client object."""
    made = manager()
    budgetguard.patch(made)
    openai.api_key, openai.base_url = "none", f"{shared_provider.base_url}/"
    try:
        with budgetguard.budget(user="ann"):
            openai.chat.completions.create(model=MODEL, messages=HI)
            openai.responses.create(model=MODEL, input="hi")
    finally:
        openai._client.close()
        openai._client = openai.api_key = openai.base_url = None

    assert [entry.cost for entry in entries(made)] == [charged.amount for charged in tap.bills]


def test_methods_bound_before_the_patch_are_guarded(shared_provider, tap):
    """Programs keep `client.chat.completions.create` in a variable."""
    with shared_provider.client() as client:
        bound = [
            client.chat.completions.create,
            client.chat.completions.with_raw_response.create,
            client.with_options(timeout=9).chat.completions.create,
        ]
        made = manager()
        budgetguard.patch(made)
        with budgetguard.budget(user="ann"):
            for create in bound:
                create(model=MODEL, messages=HI)

    assert [entry.cost for entry in entries(made)] == [charged.amount for charged in tap.bills]
    assert len(tap.bills) == 3


# -- failures --------------------------------------------------------------------------------------------------------


def _chat(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=HI, **options)


async def _plain(client: Any) -> Any:
    return await wait(_chat(client))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_an_error_status_costs_nothing(status, streamed, provider, go, made):
    """The provider does not bill them."""
    provider.fail_next(status)

    async def call(client: Any) -> None:
        await wait(_chat(client, stream=streamed))

    with pytest.raises(openai.APIStatusError):
        go(call)

    assert entries(made) == []
    assert made.store.holds() == []


def test_retries_are_one_call(provider, go, made):
    """Two failures and an answer are one bill, one hold, one entry."""
    provider.fail_next({"status": 429, "retry_after_ms": 1}, {"status": 500, "retry_after_ms": 1})

    go(_plain, max_retries=2)

    [entry], [charged] = entries(made), provider.ledger
    assert len(provider.requests) == 3
    assert entry.cost == charged.amount


def test_retries_that_all_fail_cost_nothing(provider, go, made):
    """Giving up is free."""
    provider.fail_next(*[{"status": 429, "retry_after_ms": 1}] * 3)

    with pytest.raises(openai.RateLimitError):
        go(_plain, max_retries=2)

    assert (entries(made), made.store.holds()) == ([], [])


def test_a_connection_that_is_never_made_costs_nothing(provider, go, made):
    """Nothing was sent."""
    provider.stop()

    with pytest.raises(openai.APIConnectionError):
        go(_plain)

    assert (entries(made), made.store.holds()) == ([], [])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_time_out_after_sending_settles_what_was_held(streamed, provider, go, made):
    """The provider may well have finished, and billed, what nobody waited for."""
    provider.fail_next(stall="headers")

    async def call(client: Any) -> None:
        await wait(_chat(client, stream=streamed, max_tokens=100))

    with pytest.raises(openai.APITimeoutError):
        go(call, timeout=0.2)

    [entry] = entries(made)
    [charged] = provider.wait().ledger
    assert "estimated" in entry.flags
    assert entry.cost >= charged.amount
    assert entry.cost >= 100 * 600
    assert made.store.holds() == []


def test_an_answer_that_breaks_off_settles_what_was_held(provider, go, made):
    """It was made and billed, but what it cost did not arrive."""
    provider.fail_next(drop="body")

    with pytest.raises(openai.APIConnectionError):
        go(_plain)

    [entry], [charged] = entries(made), provider.wait().ledger
    assert "estimated" in entry.flags
    assert entry.cost >= charged.amount


def test_an_answer_that_is_no_json_settles_what_was_held(provider, go, made):
    """The caller gets the SDK's error, the books what was held."""
    provider.fail_next(malformed="body")

    with pytest.raises(ValueError, match=r"JSON|Unterminated"):
        go(_plain)

    [entry], [charged] = entries(made), provider.wait().ledger
    assert "estimated" in entry.flags
    assert entry.cost >= charged.amount


def test_a_call_that_the_sdk_itself_refuses_costs_nothing(provider, go, made):
    """A body that is no JSON never leaves the program."""

    async def call(client: Any) -> None:
        await wait(_chat(client, extra_body={"metadata": {"not": object()}}))

    with pytest.raises(TypeError):
        go(call)

    assert provider.requests == []
    assert (entries(made), made.store.holds()) == ([], [])


class Picky(Fruit):
    """Takes no answer at all."""

    @field_validator("name")
    @classmethod
    def _refuse(cls, _value: str) -> str:
        raise ValueError("not to my taste")


@pytest.mark.parametrize("way", ["length", "invalid"])
def test_an_answer_that_the_parser_refuses_is_counted_exactly(way, provider, go, made):
    """`parse` raises about answers that were made and billed, and whose usage was there."""

    async def call(client: Any) -> None:
        cap = {"max_tokens": 2} if way == "length" else {}
        await wait(client.chat.completions.parse(model=MODEL, messages=HI, response_format=Picky, **cap))

    with pytest.raises((openai.LengthFinishReasonError, ValueError)):
        go(call)

    [entry], [charged] = entries(made), provider.ledger
    assert (entry.cost, entry.flags & {"estimated"}) == (charged.amount, set())


def test_a_reply_that_strict_validation_refuses_is_counted_exactly(provider, go, made):
    """Strict clients raise about replies that do not fit their type; the bill stands."""

    async def call(client: Any) -> None:
        client._strict_response_validation = True
        await wait(client.post("/chat/completions", cast_to=list[int], body={"model": MODEL, "messages": HI}))

    with pytest.raises((openai.APIResponseValidationError, ValueError)):
        go(call)

    [entry], [charged] = entries(made), provider.ledger
    assert entry.cost >= charged.amount


# -- what a caller may not notice --------------------------------------------------------------------------------------


def test_the_callers_own_objects_are_not_written_to(shared_provider, tap):
    """A dict that is used for two calls must not carry ours into the second."""
    budgetguard.patch(manager())
    options = {"include_obfuscation": False}
    body: dict[str, Any] = {"model": MODEL, "messages": HI, "stream": True, "stream_options": options}
    before = copy.deepcopy(body)
    with budgetguard.budget(user="ann"), shared_provider.client() as client:
        list(client.chat.completions.create(**body))
        list(client.chat.completions.create(model=MODEL, messages=HI, stream=True, extra_body=body))

    assert body == before
    assert [r.body["stream_options"] for r in tap.requests] == [
        {"include_obfuscation": False, "include_usage": True}
    ] * 2


def test_options_that_are_used_again_are_as_they_were(shared_provider, tap):
    """`client.request` takes the SDK's own options object, and the caller may keep it."""
    budgetguard.patch(manager())
    body = {"model": MODEL, "messages": HI, "stream": True}
    options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=body)
    before = options.json_data
    kind = openai.Stream[ChatCompletionChunk]
    with budgetguard.budget(user="ann"), shared_provider.client() as client:
        for _ in range(2):
            list(client.request(ChatCompletionChunk, options, stream=True, stream_cls=kind))

    assert options.json_data is before
    assert before == {"model": MODEL, "messages": HI, "stream": True}
    assert all(request.body["stream_options"] == {"include_usage": True} for request in tap.requests)


def test_a_caller_who_wants_no_usage_gets_none_and_is_not_asked_for(shared_provider, tap):
    """An explicit False is a decision; the stream is then counted by what arrives."""
    made = manager()
    budgetguard.patch(made)
    with budgetguard.budget(user="ann"), shared_provider.client() as client:
        list(_chat(client, stream=True, stream_options={"include_usage": False}))

    assert tap.requests[0].body["stream_options"] == {"include_usage": False}
    assert "estimated" in entries(made)[0].flags


def test_usage_is_not_asked_for_where_it_might_not_be_understood(shared_provider, tap):
    """A server on this machine, at a port that says nothing, may be anything."""
    made = BudgetManager("matrix", store="memory://", prices=PriceBook(overrides=PRICES))
    made.create_budget(1, "ann")
    budgetguard.patch(made)
    with budgetguard.budget(user="ann"), shared_provider.client() as client:
        chunks = list(_chat(client, stream=True))

    assert "stream_options" not in tap.requests[0].body
    [entry], [charged] = entries(made), tap.bills
    assert "estimated" in entry.flags
    assert entry.cost >= charged.amount
    assert seen(chunks[0])


def test_errors_of_ours_after_the_answer_do_not_reach_the_caller(
    shared_provider, go, provider, made, monkeypatch, caplog
):
    """The caller has paid for the answer: whatever breaks in the books is logged."""

    async def call(client: Any) -> list[Any]:
        plain = await wait(_chat(client))
        streamed = [item async for item in each(await wait(_chat(client, stream=True)))]
        return [plain, *streamed]

    def broken(*_args: Any) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(made.store, "settle", broken)
    answers = go(call)

    assert len(answers) == 11
    assert len(provider.requests) == 2
    assert "the disk is gone" in caplog.text


@pytest.mark.parametrize("part", ["hear", "answer"])
def test_a_reader_that_breaks_does_not_reach_the_caller(part, go, provider, made, monkeypatch):
    """An adapter that stumbles over something new must not cost the caller the answer; what was held is booked."""
    from budgetguard.adapters.openai import replies, streams

    def broken(*_args: Any) -> None:
        raise RuntimeError("never seen such a thing")

    monkeypatch.setattr(streams.ChatListener, "hear", broken)
    monkeypatch.setattr(replies, "token_usage", broken)

    async def call(client: Any) -> Any:
        if part == "answer":
            return await wait(_chat(client))
        return [item async for item in each(await wait(_chat(client, stream=True)))]

    assert go(call)
    [entry] = entries(made)
    assert "estimated" in entry.flags


def test_a_guarded_client_can_be_copied_as_any_other(shared_provider):
    """`copy.copy` keeps working, and the copy stays guarded; pickling fails or works as before."""
    made = manager()
    with shared_provider.client() as client:
        before = _pickled(client)
        budgetguard.guard(client, made)
        twin = copy.copy(client)
        with budgetguard.budget(user="ann"):
            _chat(twin)
            _chat(twin.with_options(timeout=5))
        assert _pickled(client) == before

    assert len(entries(made)) == 2


def _pickled(client: Any) -> str:
    try:
        pickle.dumps(client)
    except Exception as error:
        return type(error).__name__
    return "pickled"


def _headers(request: Any) -> dict[str, str]:
    changing = {"content-length", "host", "x-stainless-retry-count", "idempotency-key", "content-type"}
    return {name: value for name, value in request.headers.items() if name not in changing}


def _without_echo(items: list[Any]) -> list[Any]:
    """What a caller sees, but for the output cap that a response repeats from its request."""
    echo = re.compile(r"(max_output_tokens['\"]: ?)([0-9]+|None|null)")
    return [echo.sub(r"\1*", item) if isinstance(item, str) else item for item in items]
