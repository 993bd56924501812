"""
Anthropic's SDK under guard, over real sockets to a provider that keeps its own bill.

Every shape of a call, sync and async, costs to the nano-dollar what the provider bills; what is abandoned costs the
exact input; what does not fit is refused before any traffic.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from budgetguard.calls import Host
from budgetguard.sdks.exchange import charging
from budgetguard.testing import FakeProvider, Plan
from tests.support.claude import (
    ASKED,
    HI,
    HOUR,
    HTTP,
    INPUT,
    MODEL,
    OUTPUT,
    READ,
    bill,
    billed,
    entries,
    managed,
    said,
    transport,
)
from tests.support.sdk_shapes import wait


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(prices=bill) as own:
        yield own


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[anthropic.Anthropic]:
    with provider.anthropic() as own:
        yield own


# --- what headers ask for


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.parametrize("where", ["betas", "client"])
def test_a_context_of_a_million_tokens_is_held_where_it_is_asked_for(where: str, provider: FakeProvider) -> None:
    """A document behind a URL may fill it, all at the price above 200,000 tokens, and go to a cache."""
    beta = "context-1m-2025-08-07"
    source = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    asked: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 10}
    asked["messages"] = [{"role": "user", "content": [source]}]
    made = managed(100)
    held: list[int] = []
    provider.plan = lambda _: held.extend(hold.amount for hold in made.store.holds()) or Plan()
    headers = {"anthropic-beta": beta} if where == "client" else {}
    with provider.anthropic(default_headers=headers) as client:
        budgetguard.guard(client, made)
        client.beta.messages.create(**asked, **({"betas": [beta]} if where == "betas" else {}))
    with provider.anthropic() as client:
        budgetguard.guard(client, made).messages.create(**asked)
    assert held[0] == 1_000_000 * 7_500 + 10 * 22_500
    assert held[1] == 200_000 * 3_750 + 10 * 15_000


# --- every shape


class Answer(BaseModel):
    answer: str


def _text(client: Any) -> Any:
    return client.messages.create(**ASKED)


def _stream(client: Any) -> Any:
    return list(client.messages.create(**ASKED, stream=True))


def _helper(client: Any) -> Any:
    with client.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


def _helper_text(client: Any) -> Any:
    with client.messages.stream(**ASKED) as stream:
        return "".join(stream.text_stream)


def _beta(client: Any) -> Any:
    return client.beta.messages.create(**ASKED, betas=["some-beta-2026-01-01"])


def _beta_helper(client: Any) -> Any:
    with client.beta.messages.stream(**ASKED) as stream:
        stream.until_done()


def _raw(client: Any) -> Any:
    return client.messages.with_raw_response.create(**ASKED).parse()


def _raw_stream(client: Any) -> Any:
    return list(client.messages.with_raw_response.create(**ASKED, stream=True).parse())


def _unread(client: Any) -> Any:
    with client.messages.with_streaming_response.create(**ASKED) as response:
        return response.read()


def _unread_lines(client: Any) -> Any:
    with client.messages.with_streaming_response.create(**ASKED, stream=True) as response:
        return list(response.iter_lines())


def _post(client: Any) -> Any:
    return client.post("/v1/messages", body=ASKED, cast_to=object)


def _iterator(client: Any) -> Any:
    return client.messages.create(**{**ASKED, "messages": iter(HI)})


def _extra(client: Any) -> Any:
    return client.messages.create(**{**ASKED, "max_tokens": 10}, extra_body={"max_tokens": 3})


SHAPES: dict[str, Callable[[Any], Any]] = {
    shape.__name__[1:]: shape
    for shape in (
        _text,
        _stream,
        _helper,
        _helper_text,
        _beta,
        _beta_helper,
        _raw,
        _raw_stream,
        _unread,
        _unread_lines,
        _post,
        _iterator,
        _extra,
    )
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_of_every_shape_costs_what_is_billed(shape: str, provider: FakeProvider, client: Any) -> None:
    """To the nano-dollar, and is on the books once."""
    made = managed()
    budgetguard.patch(made)
    SHAPES[shape](client)

    [entry] = entries(made)
    assert entry.cost == billed(provider) > 0
    assert (entry.model, entry.usage["input_tokens"]) == (MODEL, provider.ledger[0].input_tokens)
    assert entry.flags == frozenset()


async def _async_text(client: Any) -> Any:
    return await client.messages.create(**ASKED)


async def _async_stream(client: Any) -> Any:
    return [event async for event in await client.messages.create(**ASKED, stream=True)]


async def _async_helper(client: Any) -> Any:
    async with client.messages.stream(**ASKED) as stream:
        return await stream.get_final_message()


async def _async_beta(client: Any) -> Any:
    return await client.beta.messages.create(**ASKED)


async def _async_raw(client: Any) -> Any:
    return await wait((await client.messages.with_raw_response.create(**ASKED)).parse())


async def _async_unread(client: Any) -> Any:
    async with client.messages.with_streaming_response.create(**ASKED, stream=True) as response:
        return [line async for line in response.iter_lines()]


ASYNC_SHAPES = (_async_text, _async_stream, _async_helper, _async_beta, _async_raw, _async_unread)


@pytest.mark.parametrize("shape", ASYNC_SHAPES, ids=lambda shape: shape.__name__[1:])
async def test_an_async_call_of_every_shape_costs_what_is_billed(shape: Any, provider: FakeProvider) -> None:
    """As a sync one."""
    made = managed()
    async with provider.async_anthropic() as client:
        budgetguard.guard(client, made)
        await shape(client)

    [entry] = entries(made)
    assert entry.cost == billed(provider) > 0
    assert entry.flags == frozenset()


def test_many_at_once_stay_within_a_budget(provider: FakeProvider) -> None:
    """A stated cap that does not fit is refused, not lowered: what passes passes as it was asked for."""
    made = managed(0.01)

    async def ask(client: Any) -> bool:
        try:
            await client.messages.create(**ASKED)
        except BudgetExceededError:
            return False
        return True

    async def together() -> list[bool]:
        async with provider.async_anthropic() as client:
            budgetguard.guard(client, made)
            return await asyncio.gather(*(ask(client) for _ in range(30)))

    passed = asyncio.run(together())
    assert 0 < sum(passed) < 30
    assert {request.body["max_tokens"] for request in provider.requests} == {50}
    assert sum(entry.cost for entry in entries(made)) == billed(provider) <= 10_000_000


# --- caches, thinking, tools


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_caches_cost_what_they_keep(ttl: str, provider: FakeProvider, client: Any) -> None:
    """Reads, writes for five minutes, and for an hour."""
    provider.plan = budgetguard.testing.Plan(cached=4, cache_written=3)
    made = managed()
    budgetguard.guard(client, made)
    system = [{"type": "text", "text": "long " * 20, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    client.messages.create(**ASKED, system=system)
    list(client.messages.create(**ASKED, system=system, stream=True))

    first, second = entries(made)
    assert first.cost + second.cost == billed(provider)
    assert first.usage["cache_write_tokens"] == 3
    assert first.usage.get("cache_write_1h_tokens", 0) == (3 if ttl == "1h" else 0)


def test_an_hours_cache_is_held_at_its_price(provider: FakeProvider, client: Any) -> None:
    """Twice the input's: a budget that has room for five minutes' has none for this."""
    text = "x" * 1_000
    body = {**ASKED, "max_tokens": 1}
    marked = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    # twice the bytes and 16 for each of two texts, 8 a message, 64 a call; and one token of output
    most = (2 * 1_002 + 2 * 16 + 8 + 64) * HOUR + OUTPUT
    for limit, fits in ((most, True), (most - 1, False)):
        made = managed(limit / 1e9)
        guarded = budgetguard.guard(client.copy(), made)
        if fits:
            guarded.messages.create(**body, system=marked)
        else:
            with pytest.raises(BudgetExceededError):
                guarded.messages.create(**body, system=marked)
            guarded.messages.create(**body, system=text)


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_output(stream: bool, provider: FakeProvider, client: Any) -> None:
    """Shown or not, it is billed, and within the cap."""
    provider.plan = budgetguard.testing.Plan(reasoning=20)
    made = managed()
    budgetguard.guard(client, made)
    answer = client.messages.create(**ASKED, thinking={"type": "adaptive"}, stream=stream)
    if stream:
        list(answer)

    [entry] = entries(made)
    assert entry.cost == billed(provider)
    assert (entry.usage["output_tokens"], entry.usage["output_reasoning_tokens"]) == (28, 20)


@pytest.mark.skipif(not hasattr(anthropic, "beta_tool"), reason="this version of the SDK has no tool runner")
def test_a_tool_runner_makes_many_calls(provider: FakeProvider, client: Any) -> None:
    """Each is on the books. The later ones go on with a conversation that the server keeps: it may fill the context."""

    @anthropic.beta_tool
    def look(word: str) -> str:
        """Look a word up.

        Args:
            word: the word
        """
        return f"{word}: found"

    made = managed(10)
    budgetguard.patch(made)
    client.beta.messages.tool_runner(**ASKED, tools=[look]).until_done()

    assert len(entries(made)) == len(provider.ledger) == 2
    assert sum(entry.cost for entry in entries(made)) == billed(provider)


# --- what is refused, and what is free


@pytest.mark.parametrize("shape", SHAPES)
def test_what_does_not_fit_is_refused_before_any_traffic(shape: str, provider: FakeProvider, client: Any) -> None:
    """In every shape, as our own error."""
    budgetguard.patch(managed(0.0001))
    with pytest.raises(BudgetExceededError):
        SHAPES[shape](client)

    assert provider.requests == []


def test_counting_tokens_is_free(provider: FakeProvider, client: Any) -> None:
    """Also where nothing is left."""
    made = managed(0.0)
    budgetguard.patch(made)
    assert client.messages.count_tokens(model=MODEL, messages=HI).input_tokens > 0
    assert entries(made) == []


@pytest.mark.parametrize("status", [400, 401, 413, 429, 500, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_costs_nothing(status: int, stream: bool, provider: FakeProvider, client: Any) -> None:
    """529 is Anthropic's own: it is overloaded."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next(status)
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**ASKED, stream=stream)

    assert sum(entry.cost for entry in entries(made)) == 0


def test_a_retry_is_one_call(provider: FakeProvider) -> None:
    """What failed cost nothing."""
    made = managed()
    provider.fail_next(529, 500)
    with provider.anthropic(max_retries=2) as client:
        budgetguard.guard(client, made)
        client.messages.create(**ASKED)

    [entry] = entries(made)
    assert entry.cost == billed(provider)


@pytest.mark.parametrize("step", ["_prepare_options", "_build_request", "_prepare_request"])
def test_what_was_never_sent_is_free(step: str, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a client for Bedrock finds no credentials."""
    made = managed()

    namespace: dict[str, Any] = {}
    exec(f"def {step}(*_args, **_kwargs):\n    raise LookupError('no credentials')", namespace)
    with provider.anthropic() as client:
        budgetguard.guard(client, made)
        monkeypatch.setattr(type(client), step, namespace[step])
        with pytest.raises(LookupError):
            client.messages.create(**ASKED)

    assert entries(made) == []


def test_a_time_out_may_have_been_billed(provider: FakeProvider) -> None:
    """Unknown is not free."""
    made = managed()
    provider.fail_next({"stall": "headers"})
    with provider.anthropic(timeout=0.2) as client:
        budgetguard.guard(client, made)
        with pytest.raises(anthropic.APITimeoutError):
            client.messages.create(**ASKED)

    [entry] = entries(made)
    assert entry.cost >= billed(provider.wait()) > 0


# --- streams that are left


def _left(client: Any) -> None:
    stream = client.messages.create(**ASKED, stream=True)
    for event in stream:
        if event.type == "content_block_delta":
            break
    stream.close()


def _left_helper(client: Any) -> None:
    with client.messages.stream(**ASKED) as stream:
        next(iter(stream.text_stream))


@pytest.mark.parametrize("leave", [_left, _left_helper])
def test_a_stream_that_is_left_costs_its_exact_input(leave: Any, provider: FakeProvider, client: Any) -> None:
    """And what arrived: the first event said what was read, of the cache as well."""
    provider.plan = budgetguard.testing.Plan(tokens=40, chunk_s=0.02, cached=3)
    made = managed(abandoned="observed")
    budgetguard.guard(client, made)
    leave(client)

    [entry] = entries(made)
    asked = provider.ledger[0].input_tokens
    assert (entry.usage["input_tokens"], entry.usage["cache_read_tokens"]) == (asked, 3)
    assert 1 <= entry.usage["output_tokens"] < 10
    assert entry.cost == (asked - 3) * INPUT + 3 * READ + entry.usage["output_tokens"] * OUTPUT
    assert "estimated" in entry.flags


def test_where_a_provider_writes_on_a_left_stream_costs_all_that_was_asked_for(
    provider: FakeProvider, client: Any
) -> None:
    """After its exact input: that is less than was held, and never less than the bill."""
    provider.plan = budgetguard.testing.Plan(tokens=40, chunk_s=0.02)
    made = managed()
    budgetguard.guard(client, made)
    _left(client)

    [entry] = entries(made)
    assert entry.cost == provider.ledger[0].input_tokens * INPUT + 50 * OUTPUT


def test_anthropics_own_api_stops_where_a_stream_is_left(
    provider: FakeProvider, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It bills what arrived then; but for a model that thinks: nobody knows how much it thought."""
    assert budgetguard.prices.hosts.host_of("api.anthropic.com").stops
    monkeypatch.setattr("budgetguard.sdks.exchange.host_of", lambda *_: Host(stops=True))
    provider.plan = budgetguard.testing.Plan(tokens=40, chunk_s=0.02)
    made = managed()
    budgetguard.guard(client, made)
    _left(client)
    with client.messages.stream(**ASKED, thinking={"type": "adaptive"}) as stream:
        next(iter(stream))

    plain, thought = entries(made)
    assert plain.usage["output_tokens"] < 10
    assert thought.cost == provider.ledger[1].input_tokens * INPUT + 50 * OUTPUT


@pytest.mark.parametrize("after", [0, 4])
def test_a_stream_that_fails_costs_what_it_began(after: int, provider: FakeProvider, client: Any) -> None:
    """An error event before the first is free, one after it is not."""
    made = managed(abandoned="observed")
    budgetguard.guard(client, made)
    provider.fail_next({"error_event": 529, "drop_after": after})
    with pytest.raises(anthropic.APIStatusError):
        list(client.messages.create(**ASKED, stream=True))

    cost = sum(entry.cost for entry in entries(made))
    assert cost == 0 if after == 0 else cost >= provider.ledger[0].input_tokens * INPUT > 0


@pytest.mark.parametrize("drop", [2, 5])
def test_a_connection_that_breaks_costs_what_was_asked_for(drop: int, provider: FakeProvider, client: Any) -> None:
    """The provider may have written on."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next({"drop": "stream", "drop_after": drop})
    with pytest.raises((anthropic.APIError, HTTP.HTTPError)):
        list(client.messages.create(**ASKED, stream=True))

    [entry] = entries(made)
    assert entry.cost == provider.ledger[0].input_tokens * INPUT + 50 * OUTPUT


# --- who is guarded


def test_one_client_is_guarded_with_its_copies(provider: FakeProvider, client: Any) -> None:
    """And no other."""
    made = managed()
    guarded = budgetguard.guard(client, made)
    assert guarded is client
    guarded.with_options(timeout=30).copy().messages.create(**ASKED)
    with provider.anthropic() as other:
        other.messages.create(**ASKED)

    assert len(entries(made)) == 1


def test_unpatching_puts_back_the_very_same_objects() -> None:
    """Of both packages."""
    from anthropic import _base_client, _streaming

    places = [
        (_base_client.SyncAPIClient, "request"),
        (_base_client.AsyncAPIClient, "request"),
        (_streaming.Stream, "__stream__"),
    ]
    if hasattr(_base_client.SyncAPIClient, "_attempt_request"):
        places.append((_base_client.AsyncAPIClient, "_attempt_request"))
    before = [owner.__dict__[name] for owner, name in places]
    budgetguard.patch(managed())
    assert not any(owner.__dict__[name] is then for (owner, name), then in zip(places, before, strict=True))
    budgetguard.unpatch()
    assert [owner.__dict__[name] for owner, name in places] == before


@pytest.mark.parametrize("package", ["anthropic", "openai"])
def test_a_package_is_patched_when_it_is_imported(package: str) -> None:
    """Nothing is imported for it: who never imports it pays nothing."""
    program = f"""
        import sys
        import budgetguard
        from budgetguard import Budget, BudgetManager
        manager = BudgetManager("t", store="memory://", budgets=[Budget("all", 0.0)])
        budgetguard.patch(manager)
        with budgetguard.budget(user="ann"):
            pass
        assert not {{"anthropic", "openai", "httpx2"}} & set(sys.modules), "imported"
        import {package}
        from {package}._base_client import SyncAPIClient
        assert hasattr(SyncAPIClient.request, "__wrapped__")
        other = ({{"anthropic", "openai"}} - {{"{package}"}}).pop()
        assert other not in sys.modules
        print("patched")
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert shown.stdout.strip() == "patched", shown.stderr


def test_a_user_named_by_the_request_is_charged(provider: FakeProvider, client: Any) -> None:
    """`metadata.user_id` is Anthropic's field for it."""
    made = BudgetManager("t", store="memory://", budgets=[Budget("each", 1.0, per=("user",))])
    budgetguard.guard(client, made)
    client.messages.create(**ASKED, metadata={"user_id": "ann"})

    [entry] = entries(made)
    assert entry.tags["user"] == "ann"


# --- one call, one charge


class _Beneath(HTTP.BaseTransport):  # type: ignore[misc]
    """An SDK's transport that asks another SDK."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask

    def handle_request(self, request: Any) -> Any:
        self._ask()
        return HTTP.Response(200, json=said(usage={"input_tokens": 10, "output_tokens": 2}))


@pytest.mark.parametrize(("model", "calls"), [(MODEL, 1), (f"anthropic/{MODEL}", 1), ("gpt-4o-mini", 2)])
def test_an_sdk_that_calls_another_beneath_charges_once(model: str, calls: int, provider: FakeProvider) -> None:
    """The same call goes down through both; a call for another model, as a moderation's, is one of its own."""
    charging.set(None)  # of what calls left that were interrupted, elsewhere
    made = managed()
    budgetguard.patch(made)
    with provider.client() as below:

        def ask() -> None:
            below.chat.completions.create(model=model, messages=HI, max_tokens=5)

        inner = HTTP.Client(transport=_Beneath(ask))
        with anthropic.Anthropic(api_key="-", http_client=inner, max_retries=0) as above:
            above.messages.create(**ASKED)
        assert charging.get() is None
        assert len(entries(made)) == calls

        ask() if model == MODEL else None  # by itself it is charged
    assert len(entries(made)) == calls + (model == MODEL)


def test_a_call_that_is_over_charges_for_no_other(provider: FakeProvider) -> None:
    """A task that it began, or an interruption in its last line, may leave it in the context."""
    made = managed()
    budgetguard.patch(made)
    left: list[Any] = []
    inner = HTTP.Client(transport=_Beneath(lambda: left.append(charging.get())))
    with anthropic.Anthropic(api_key="-", http_client=inner) as above:
        above.messages.create(**ASKED)
    with provider.client() as other:
        before = charging.set(left[0])
        try:
            other.chat.completions.create(model=MODEL, messages=HI, max_tokens=5)
        finally:
            charging.reset(before)
    assert len(entries(made)) == 2


# --- what is done later


def test_an_agents_work_is_gated_and_warned_of(provider: FakeProvider, client: Any, caplog: Any) -> None:
    """What it costs is not in its reply: it needs room, and passes with a word about it."""
    if not hasattr(client.beta, "sessions"):
        pytest.skip("this version of the SDK has no agents")
    budgetguard.patch(managed(0.0))
    with pytest.raises(BudgetExceededError):
        client.beta.sessions.create(agent="agent_1", environment_id="env_1")
    assert provider.requests == []

    budgetguard.patch(managed())
    with pytest.raises(anthropic.NotFoundError):  # which this provider does not have
        client.beta.sessions.create(agent="agent_1", environment_id="env_1")
    assert "beta.sessions: its cost cannot be read from its reply" in caplog.text


def test_fast_mode_and_regions_have_their_prices() -> None:
    """As the answer says, whatever was asked for."""
    usage = {"input_tokens": 1_000, "output_tokens": 100, "speed": "fast", "inference_geo": "us"}
    answer = said("claude-opus-5", usage)
    inner = transport(lambda _: HTTP.Response(200, json=answer))
    made = managed()
    with anthropic.Anthropic(api_key="-", http_client=inner) as client:
        budgetguard.guard(client, made)
        asked = {"speed": "fast", "inference_geo": "us"}
        client.messages.create(**{**ASKED, "model": "claude-opus-5"}, extra_body=asked)

    [entry] = entries(made)
    assert entry.cost == (1_000 * 10_000 + 100 * 50_000) * 11 // 10
    assert PriceBook().quote("anthropic/us", "claude-opus-5", "fast").output_pico(0) == 55_000_000
