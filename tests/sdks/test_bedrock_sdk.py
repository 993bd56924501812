"""
boto3 and aiobotocore (aioboto3's clients are its own) under guard, over real sockets to a provider that keeps a bill.

Every shape of a call to Bedrock, sync and async, costs to the nano-dollar what the provider bills; what is abandoned
costs what was held; what does not fit is refused before any traffic.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import boto3
import botocore.client
import botocore.endpoint
import botocore.eventstream
import httpx2
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    EventStreamError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.stub import Stubber

import budgetguard
from budgetguard import AnswerCutError, Budget, BudgetExceededError, BudgetManager, UnpricedModelError
from budgetguard.guards import Settings
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider, Plan

try:
    import aioboto3
except ImportError:
    aioboto3 = None

MODEL = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"
INPUT, OUTPUT, READ, WRITE, HOUR = 3_000, 15_000, 300, 3_750, 6_000
"""Nano-dollars a token: $3, $15, $0.30, $3.75 and $6 a million."""

LLAMA = "meta.llama3-8b-instruct-v1:0"
PRICES = {LLAMA: (300, 600), "amazon.titan-embed-text-v2:0": (20, 0), "amazon.nova-lite-v1:0": (60, 240)}
PRICES["openai.gpt-oss-20b-1:0"] = (70, 300)

HI: list[Any] = [{"role": "user", "content": [{"text": "hi"}]}]
ASKED: dict[str, Any] = {"modelId": MODEL, "messages": HI, "inferenceConfig": {"maxTokens": 50}}
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
CLAUDE_JSON = json.dumps(CLAUDE)


def bill(model: str, usage: Mapping[str, Any]) -> int:
    """What AWS would charge, in the words of either usage."""
    if model in PRICES:  # Nova alone of these has a cache
        names = ("prompt_token_count", "inputTextTokenCount", "prompt_tokens", "inputTokens")
        wrote = ("generation_token_count", "tokenCount", "completion_tokens", "outputTokens")
        rates = PRICES[model]
        cached = usage.get("cacheReadInputTokens", 0) * 15 + usage.get("cacheWriteInputTokens", 0) * rates[0]
        return (
            cached
            + sum(usage.get(name, 0) * rates[0] for name in names)
            + sum(usage.get(name, 0) * rates[1] for name in wrote)
        )
    kept = usage.get("cache_creation", {})
    details = {each["ttl"]: each["inputTokens"] for each in usage.get("cacheDetails", [])}
    return (
        (usage.get("inputTokens", 0) + usage.get("input_tokens", 0)) * INPUT
        + (usage.get("cacheReadInputTokens", 0) + usage.get("cache_read_input_tokens", 0)) * READ
        + (details.get("5m", 0) + kept.get("ephemeral_5m_input_tokens", 0)) * WRITE
        + (details.get("1h", 0) + kept.get("ephemeral_1h_input_tokens", 0)) * HOUR
        + (usage.get("outputTokens", 0) + usage.get("output_tokens", 0)) * OUTPUT
    )


pytestmark = pytest.mark.provider(prices=bill)


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[Any]:
    own = provider.bedrock()
    yield own
    own.close()


@asynccontextmanager
async def opened(provider: FakeProvider, **config: Any) -> AsyncIterator[Any]:
    """A client of aioboto3 where that is installed, which needs an older aiobotocore; else one of aiobotocore."""
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
    options = AioConfig(**{"retries": {"total_max_attempts": 1}, **config})
    make = get_session().create_client if aioboto3 is None else aioboto3.Session().client
    async with make("bedrock-runtime", endpoint_url=provider.root_url, config=options, **keys) as own:
        yield own


def managed(limit: float = 1.0, **settings: Any) -> BudgetManager:
    return BudgetManager("t", store="memory://", budgets=[Budget("all", limit)], settings=Settings(**settings))


def entries(made: BudgetManager) -> list[Any]:
    assert made.store.holds() == []
    return list(made.store.entries())


def billed(provider: FakeProvider) -> int:
    return sum(each.amount for each in provider.ledger)


# --- every shape


def _converse(client: Any) -> Any:
    return client.converse(**ASKED)


def _converse_uncapped(client: Any) -> Any:
    return client.converse(modelId=MODEL, messages=HI)


def _arn(client: Any) -> Any:
    return client.converse(**{**ASKED, "modelId": f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{MODEL}"})


def _stream(client: Any) -> Any:
    return list(client.converse_stream(**ASKED)["stream"])


def _stream_uncapped(client: Any) -> Any:
    return list(client.converse_stream(modelId=MODEL, messages=HI)["stream"])


def _stream_in_two(client: Any) -> Any:
    """Left, and gone on with."""
    stream = client.converse_stream(**ASKED)["stream"]
    first = next(iter(stream))
    return [first, *stream]


def _stream_closed(client: Any) -> Any:
    stream = client.converse_stream(**ASKED)["stream"]
    for event in stream:
        if "metadata" in event:
            break
    stream.close()


def _cached(client: Any) -> Any:
    point: dict[str, Any] = {"cachePoint": {"type": "default"}}
    if "ttl" in client.meta.service_model.shape_for("CachePointBlock").members:  # botocore 1.40 does not know it
        point["cachePoint"]["ttl"] = "1h"
    return client.converse(**{**ASKED, "system": [{"text": "be kind to all of us"}, point]})


def _tool(client: Any) -> Any:
    spec = {"name": "find", "inputSchema": {"json": {"type": "object", "properties": {"q": {"type": "string"}}}}}
    reply = client.converse(**ASKED, toolConfig={"tools": [{"toolSpec": spec}]})
    assert reply["stopReason"] == "tool_use"
    return reply


def _invoke(client: Any) -> Any:
    reply = client.invoke_model(modelId=MODEL, body=CLAUDE_JSON)
    return json.loads(reply["body"].read())


def _invoke_unread(client: Any) -> Any:
    return client.invoke_model(modelId=MODEL, body=CLAUDE_JSON.encode())


def _invoke_file(client: Any) -> Any:
    return client.invoke_model(modelId=MODEL, body=io.BytesIO(CLAUDE_JSON.encode()), contentType="application/json")


def _invoke_hour(client: Any) -> Any:
    """For how long a cache keeps what it took, the headers do not say: the body does."""
    system = [{"type": "text", "text": "be kind to all of us", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    reply = client.invoke_model(modelId=MODEL, body=json.dumps({**CLAUDE, "system": system}))
    return json.loads(reply["body"].read())


def _invoke_stream(client: Any) -> Any:
    reply = client.invoke_model_with_response_stream(modelId=MODEL, body=CLAUDE_JSON)
    return [json.loads(event["chunk"]["bytes"]) for event in reply["body"]]


def _llama(client: Any) -> Any:
    return client.invoke_model(modelId=LLAMA, body=json.dumps({"prompt": "hello"}))["body"].read()


def _llama_stream(client: Any) -> Any:
    return list(client.invoke_model_with_response_stream(modelId=LLAMA, body=json.dumps({"prompt": "hello"}))["body"])


def _embedding(client: Any) -> Any:
    return client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": "hello"}))


def _gpt(client: Any) -> Any:
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    return client.invoke_model(modelId="openai.gpt-oss-20b-1:0", body=body)


def _gpt_stream(client: Any) -> Any:
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    return list(client.invoke_model_with_response_stream(modelId="openai.gpt-oss-20b-1:0", body=body)["body"])


def _nova(client: Any) -> Any:
    return client.converse(modelId="amazon.nova-lite-v1:0", messages=HI)


SHAPES: dict[str, Callable[[Any], Any]] = {
    shape.__name__[1:]: shape
    for shape in (
        _converse,
        _converse_uncapped,
        _arn,
        _stream,
        _stream_uncapped,
        _stream_in_two,
        _stream_closed,
        _cached,
        _tool,
        _invoke,
        _invoke_unread,
        _invoke_file,
        _invoke_hour,
        _invoke_stream,
        _llama,
        _llama_stream,
        _embedding,
        _gpt,
        _gpt_stream,
        _nova,
    )
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_of_every_shape_costs_what_is_billed(shape: str, provider: FakeProvider, client: Any) -> None:
    """To the nano-dollar, and is on the books once."""
    provider.plan = Plan(cached=2, cache_written=3)
    made = managed()
    budgetguard.patch(made)
    SHAPES[shape](client)

    [entry] = entries(made)
    assert entry.cost == billed(provider) > 0
    assert entry.provider == "aws"
    assert entry.usage["input_tokens"] == provider.ledger[0].input_tokens
    assert entry.flags <= {"capped"}


async def _async_converse(client: Any) -> Any:
    return await client.converse(**ASKED)


async def _async_uncapped(client: Any) -> Any:
    return await client.converse(modelId=MODEL, messages=HI)


async def _async_stream(client: Any) -> Any:
    return [event async for event in (await client.converse_stream(**ASKED))["stream"]]


async def _async_stream_in_two(client: Any) -> Any:
    stream = (await client.converse_stream(**ASKED))["stream"]
    async for _ in stream:
        break
    return [event async for event in stream]


async def _async_invoke(client: Any) -> Any:
    reply = await client.invoke_model(modelId=MODEL, body=CLAUDE_JSON)
    async with reply["body"] as body:
        return json.loads(await body.read())


async def _async_invoke_stream(client: Any) -> Any:
    reply = await client.invoke_model_with_response_stream(modelId=MODEL, body=CLAUDE_JSON)
    return [event async for event in reply["body"]]


ASYNC_SHAPES = (
    _async_converse,
    _async_uncapped,
    _async_stream,
    _async_stream_in_two,
    _async_invoke,
    _async_invoke_stream,
)


@pytest.mark.parametrize("shape", ASYNC_SHAPES, ids=lambda shape: shape.__name__[1:])
async def test_an_async_call_of_every_shape_costs_what_is_billed(shape: Any, provider: FakeProvider) -> None:
    """As a sync one."""
    provider.plan = Plan(cached=2, cache_written=3)
    made = managed()
    async with opened(provider) as client:
        budgetguard.guard(client, made)
        await shape(client)

    [entry] = entries(made)
    assert entry.cost == billed(provider) > 0
    assert entry.flags <= {"capped"}


# --- replies whose headers say nothing


def _whole(body: Any) -> Any:
    return body.read()


def _pieces(body: Any) -> Any:
    return b"".join(body.iter_chunks(7))


def _loaded(body: Any) -> Any:
    return json.load(body)


def _entered(body: Any) -> Any:
    with body as raw:
        return raw.read()


def _into(body: Any) -> Any:
    buffer = bytearray(16)
    while body.readinto(buffer):
        pass


@pytest.mark.parametrize("way", [_whole, _pieces, _loaded, _entered, _into, list])
def test_a_body_without_headers_is_heard_as_it_is_read(way: Any, provider: FakeProvider, client: Any) -> None:
    """A gateway may drop them: then what the model itself says counts, however its reply is read."""
    made = managed()
    budgetguard.guard(client, made)
    stripped = _without_headers(client)
    body = stripped.invoke_model(modelId=MODEL, body=CLAUDE_JSON)["body"]
    assert len(made.store.holds()) == 1
    way(body)

    [entry] = entries(made)
    assert entry.cost == billed(provider) > 0
    assert entry.flags == frozenset()


def test_headers_that_count_nothing_are_no_count(provider: FakeProvider, client: Any) -> None:
    """One that fills in zeros would have every answer free: the body tells."""
    made = managed()
    budgetguard.guard(client, made)

    def zero(response_dict: dict[str, Any], **_: Any) -> None:
        for name in [name for name in response_dict["headers"] if name.startswith("x-amzn-bedrock")]:
            response_dict["headers"][name] = "0"

    client.meta.events.register("before-parse.bedrock-runtime.InvokeModel", zero)
    client.invoke_model(modelId=MODEL, body=CLAUDE_JSON)["body"].read()
    assert [entry.cost for entry in entries(made)] == [billed(provider)]
    assert billed(provider) > 0


def test_a_usage_of_zeros_for_an_answer_is_counted(provider: FakeProvider, client: Any) -> None:
    """Its input as before the call, its output by what was written; neither is free."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next({"usage": {"inputTokens": 0, "outputTokens": 0}})
    client.converse(**ASKED)
    [entry] = entries(made)
    assert entry.usage["input_tokens"] > 0 < entry.usage["output_tokens"]
    assert entry.flags == frozenset({"estimated"})


def _without_headers(client: Any) -> Any:
    """Drop Bedrock's count on its way, as a gateway would."""

    def strip(response_dict: dict[str, Any], **_: Any) -> None:
        for name in [name for name in response_dict["headers"] if name.startswith("x-amzn-bedrock")]:
            del response_dict["headers"][name]

    client.meta.events.register("before-parse.bedrock-runtime.InvokeModel", strip)
    return client


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_body_that_nobody_reads_costs_what_was_held(how: str, provider: FakeProvider, client: Any) -> None:
    """Its model has answered, and nobody knows how much."""
    made = managed()
    budgetguard.guard(client, made)
    body = _without_headers(client).invoke_model(modelId=MODEL, body=CLAUDE_JSON)["body"]
    if how == "closed":
        body.close()
    del body
    PROCESS.sweep()

    [entry] = entries(made)
    assert entry.cost > billed(provider) > 0


@pytest.mark.parametrize("way", ["read", "entered", "pieces", "lines", "dropped"])
async def test_an_async_body_without_headers_is_heard(way: str, provider: FakeProvider) -> None:
    """The same on an event loop, where the body is aiohttp's."""
    made = managed()
    async with opened(provider) as client:
        budgetguard.guard(client, made)

        async def strip(response_dict: dict[str, Any], **_: Any) -> None:
            for name in [name for name in response_dict["headers"] if name.startswith("x-amzn-bedrock")]:
                del response_dict["headers"][name]

        client.meta.events.register("before-parse.bedrock-runtime.InvokeModel", strip)
        reply = await client.invoke_model(modelId=MODEL, body=CLAUDE_JSON)
        body = reply.pop("body")
        if way == "read":
            await body.read()
        elif way == "entered":
            async with body as response:
                await response.read()
        elif way == "pieces":
            assert [piece async for piece in body.iter_chunks(9)]
        elif way == "lines":
            assert [line async for line in body.iter_lines()]
        del body
        PROCESS.sweep()

    [entry] = entries(made)
    assert entry.cost == billed(provider) if way != "dropped" else entry.cost > billed(provider)


# --- caps


def test_a_cap_is_added_where_none_was_stated(provider: FakeProvider, client: Any) -> None:
    """What fits in the budget; the caller's own arguments stay as they are."""
    made = managed(0.01)
    budgetguard.guard(client, made)
    provider.plan = Plan(tokens=5_000)
    given = {"modelId": MODEL, "messages": HI, "inferenceConfig": {"temperature": 0.5}}
    reply = client.converse(**given)
    sent = provider.requests[0].body["inferenceConfig"]

    assert (reply["stopReason"], sent["temperature"]) == ("max_tokens", 0.5)
    assert 128 <= sent["maxTokens"] <= 700
    assert given["inferenceConfig"] == {"temperature": 0.5}
    [entry] = entries(made)
    assert entry.cost == billed(provider) <= 10_000_000
    assert "cut" in entry.flags


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_that_our_cap_cut_may_be_raised(streamed: bool, provider: FakeProvider, client: Any) -> None:
    """Where the settings ask for that: after the last event of a stream, and on the books."""
    made = managed(0.01, on_cut="raise")
    budgetguard.guard(client, made)
    provider.plan = Plan(tokens=5_000)
    with pytest.raises(AnswerCutError):
        _stream_uncapped(client) if streamed else _converse_uncapped(client)
    [entry] = entries(made)
    assert entry.cost == billed(provider)


def test_a_cap_goes_into_a_models_own_json(provider: FakeProvider, client: Any) -> None:
    """Where its maker has it."""
    made = managed(0.01)
    budgetguard.guard(client, made)
    client.invoke_model(modelId="mistral.mistral-7b-instruct-v0:2", body=json.dumps({"prompt": "hello", "top_p": 0.5}))
    assert provider.requests[0].body["top_p"] == 0.5
    assert provider.requests[0].body["max_tokens"] > 128


def test_a_cap_that_the_model_refuses_is_taken_back(provider: FakeProvider, client: Any) -> None:
    """Nobody asked for it but us: the call is sent again without, and later ones at once."""
    made = managed()
    budgetguard.guard(client, made)
    for _ in range(2):
        client.converse(modelId=LLAMA, messages=HI)
    assert ["inferenceConfig" in request.body for request in provider.requests] == [True, False, False]
    assert len(entries(made)) == 2

    with pytest.raises(ClientError):  # the caller's own is the caller's error
        client.converse(modelId=LLAMA, messages=HI, inferenceConfig={"maxTokens": 9_000})
    assert len(provider.requests) == 4


# --- refusals


@pytest.mark.parametrize("shape", ["converse", "stream", "invoke", "invoke_stream"])
def test_what_does_not_fit_is_refused_before_any_traffic(shape: str, provider: FakeProvider, client: Any) -> None:
    """As itself, whatever botocore does with errors, and once."""
    budgetguard.patch(managed(0.0001))
    with pytest.raises(BudgetExceededError):
        SHAPES[shape](client)
    assert provider.requests == []


async def test_an_async_call_that_does_not_fit_is_refused(provider: FakeProvider) -> None:
    """Before any traffic, too."""
    budgetguard.patch(managed(0.0001))
    async with opened(provider) as client:
        with pytest.raises(BudgetExceededError):
            await client.converse(**ASKED)
        with pytest.raises(BudgetExceededError):
            await client.invoke_model_with_response_stream(modelId=MODEL, body=CLAUDE_JSON)
    assert provider.requests == []


def test_many_at_once_stay_within_a_budget(provider: FakeProvider) -> None:
    """What passes passes as it was asked for; what was refused was never sent."""
    made = managed(0.01)

    async def ask(client: Any) -> bool:
        try:
            await client.converse(**ASKED)
        except BudgetExceededError:
            return False
        return True

    async def main() -> list[bool]:
        async with opened(provider) as client:
            budgetguard.guard(client, made)
            return await asyncio.gather(*[ask(client) for _ in range(30)])

    passed = asyncio.run(main())
    assert 0 < sum(passed) < 30
    assert len(provider.requests) == sum(passed)
    assert sum(entry.cost for entry in entries(made)) == billed(provider) <= 10_000_000


def test_a_name_that_says_nothing_is_refused_with_what_to_write(provider: FakeProvider, client: Any) -> None:
    """An application's profile may stand for any model; with a line of `[deployments]` it is that one."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
    budgetguard.patch(managed())
    with pytest.raises(UnpricedModelError, match=r"budgetguard prices alias .*application-inference-profile/a1b2c3"):
        client.converse(**{**ASKED, "modelId": arn})
    assert provider.requests == []

    prices = budgetguard.PriceBook(deployments={arn: MODEL})
    made = BudgetManager("p", store="memory://", budgets=[Budget("all", 1.0)], prices=prices)
    budgetguard.patch(made)
    client.converse(**{**ASKED, "modelId": arn})
    client.invoke_model_with_response_stream(modelId=arn, body=CLAUDE_JSON)["body"].close()
    first, _ = made.store.entries()
    assert first.cost == provider.ledger[0].input_tokens * INPUT + provider.ledger[0].output_tokens * OUTPUT


def test_a_picture_needs_a_price_of_its_own(provider: FakeProvider, client: Any) -> None:
    """Without one it is refused; with one it costs what was asked for, as its reply does not say."""
    config = {"imageGenerationConfig": {"numberOfImages": 2}}
    asked = json.dumps({"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a"}, **config})
    prices = budgetguard.PriceBook()
    made = BudgetManager("p", store="memory://", budgets=[Budget("all", 50.0)], prices=prices)
    budgetguard.patch(made)
    with pytest.raises(UnpricedModelError):
        client.invoke_model(modelId="amazon.nova-canvas-v1:0", body=asked)
    prices.add("amazon.nova-canvas-v1:0", provider="aws", **{"images/standard/1024x1024": "0.04"})
    client.invoke_model(modelId="amazon.nova-canvas-v1:0", body=asked)

    [drawn] = entries(made)
    assert (drawn.cost, drawn.usage, drawn.flags) == (80_000_000, {"images/standard/1024x1024": 2}, frozenset())
    assert len(provider.requests) == 1


def test_a_tool_of_the_servers_own_needs_a_price_of_its_own(provider: FakeProvider, client: Any) -> None:
    """Nova's web search has a fee each, which the list does not know."""
    if "systemTool" not in client.meta.service_model.shape_for("Tool").members:
        pytest.skip("botocore 1.40 does not know it")
    nova, search = "amazon.nova-premier-v1:0", {"tools": [{"systemTool": {"name": "nova_grounding"}}]}
    asked = {"modelId": nova, "messages": HI, "inferenceConfig": {"maxTokens": 50}, "toolConfig": search}
    prices = budgetguard.PriceBook()
    made = BudgetManager("p", store="memory://", budgets=[Budget("all", 50.0)], prices=prices)
    budgetguard.patch(made)
    with pytest.raises(UnpricedModelError, match="web_searches"):
        client.converse(**asked)
    prices.add(nova, provider="aws", input="2.50", output="12.50", web_searches="0.03")
    client.converse(**asked)

    [answered] = entries(made)
    [used] = provider.ledger
    assert answered.cost == used.input_tokens * 2_500 + used.output_tokens * 12_500


@pytest.mark.parametrize("body", [b"\xff", "[1]", io.StringIO("x")])
def test_a_body_that_is_no_json_is_held_as_the_largest(body: Any, provider: FakeProvider, client: Any) -> None:
    """It is sent as it is; nothing is known of it but its model."""
    made = managed(0.1)
    budgetguard.guard(client, made)
    with pytest.raises(BudgetExceededError):
        client.invoke_model(modelId=MODEL, body=body)
    assert provider.requests == []


# --- gates


GATES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "guardrail": (
        "bedrock-runtime",
        lambda client: client.apply_guardrail(
            guardrailIdentifier="g1", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "hi"}}]
        ),
    ),
    "agent": (
        "bedrock-agent-runtime",
        lambda client: client.invoke_agent(agentId="A", agentAliasId="B", sessionId="sess", inputText="hi"),
    ),
    "knowledge base": (
        "bedrock-agent-runtime",
        lambda client: client.retrieve_and_generate(input={"text": "hi"}),
    ),
    "sagemaker": ("sagemaker-runtime", lambda client: client.invoke_endpoint(EndpointName="mine", Body=b"{}")),
}


@pytest.mark.parametrize("name", GATES)
def test_what_tells_no_cost_is_gated_and_warned_of(name: str, provider: FakeProvider, caplog: Any) -> None:
    """It needs room, and passes with a word about it."""
    service, ask = GATES[name]
    client = provider.bedrock(service)
    budgetguard.patch(managed(0.0))
    with pytest.raises(BudgetExceededError):
        ask(client)
    assert provider.requests == []

    budgetguard.patch(managed())
    with pytest.raises(ClientError):  # which this provider does not have
        ask(client)
    assert f"{service}." in caplog.text
    assert "its cost cannot be read from its reply" in caplog.text
    client.close()


def test_a_count_of_tokens_is_free(provider: FakeProvider, client: Any) -> None:
    """Also where nothing is left."""
    made = managed(0.0)
    budgetguard.patch(made)
    assert client.count_tokens(modelId=MODEL, input={"converse": {"messages": HI}})["inputTokens"] > 0
    assert entries(made) == []


def test_other_services_pass(provider: FakeProvider) -> None:
    """Whatever is left: they are none of ours."""
    budgetguard.patch(managed(0.0))
    client = provider.bedrock("dynamodb")
    with pytest.raises(ClientError):
        client.list_tables()
    assert len(provider.requests) == 1
    with pytest.raises(TypeError, match="boto3 or aioboto3"):
        budgetguard.guard(client)
    client.close()


# --- failures


@pytest.mark.parametrize("status", [400, 403, 404, 408, 424, 429, 500, 503])
def test_an_error_status_is_free(status: int, provider: FakeProvider, client: Any) -> None:
    """And reaches the caller as botocore's own."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next(status)
    with pytest.raises(ClientError) as caught:
        client.converse(**ASKED)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert entries(made) == []


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_a_retry_is_one_call(mode: str, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore tries again inside: a failure is free, a connection that broke off may have been answered."""
    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda _: None)
    made = managed()
    client = provider.bedrock(config=Config(retries={"total_max_attempts": 3, "mode": mode}))
    budgetguard.guard(client, made)
    provider.fail_next(500, 503)
    client.converse(**ASKED)
    assert len(provider.requests) == 3
    [entry] = entries(made)
    assert entry.cost == billed(provider)

    provider.fail_next({"drop": "headers"})
    client.converse(**ASKED)
    client.close()
    assert len(provider.requests) == 5
    _, lost = entries(made)
    assert lost.cost > billed(provider) - entry.cost > entry.cost


def test_what_was_never_sent_is_free(provider: FakeProvider, client: Any) -> None:
    """Wrong parameters, no credentials, nobody who listens, a stub that answers by itself."""
    made = managed()
    budgetguard.patch(made)
    with pytest.raises(ParamValidationError):
        client.converse(modelId=MODEL, messages="hi")
    with pytest.raises(ParamValidationError):
        client.converse(messages=HI)
    nobody = boto3.Session(aws_access_key_id=None)
    bare = nobody.client("bedrock-runtime", region_name="us-east-1", endpoint_url=provider.root_url)
    bare._request_signer._credentials = None
    with pytest.raises(NoCredentialsError):
        bare.converse(**ASKED)
    closed = provider.bedrock(endpoint_url="http://127.0.0.1:1")
    with pytest.raises(EndpointConnectionError):
        closed.converse(**ASKED)
    with Stubber(client) as stub:
        usage = {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}
        message = {"role": "assistant", "content": [{"text": "ok"}]}
        said = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
        stub.add_response("converse", said)
        client.converse(**ASKED)
    assert provider.requests == []
    assert [entry.cost for entry in entries(made)] in ([], [0])


def test_what_is_sent_unseen_costs_what_it_says(provider: FakeProvider, client: Any) -> None:
    """A tool may send by a class of its own: that no request was seen does not make its answer free."""

    class Own(botocore.endpoint.Endpoint):  # type: ignore[misc]
        def _send(self, request: Any) -> Any:
            return self.http_session.send(request)

    made = managed()
    budgetguard.guard(client, made)
    client._endpoint.__class__ = Own
    client.converse(**ASKED)
    provider.fail_next(400)
    with pytest.raises(ClientError):
        client.converse(**ASKED)
    [entry] = entries(made)
    assert entry.cost == billed(provider) > 0


async def test_what_was_never_sent_is_free_for_async_clients(provider: FakeProvider) -> None:
    """There, one name of an error stands for a connection that was never made and for one that broke off."""
    made = managed()
    budgetguard.patch(made)
    port = provider._server.port  # type: ignore[union-attr]
    async with opened(provider) as client:
        provider.fail_next({"drop": "headers"})
        with pytest.raises(Exception, match=r"closed|onnect"):
            await client.converse(**ASKED)
        [lost] = entries(made)
        assert lost.cost >= billed(provider) > 0
        provider.stop()
        with pytest.raises(EndpointConnectionError, match=str(port)):
            await client.converse(**ASKED)
    assert len(entries(made)) == 1


@pytest.mark.parametrize("stall", ["headers", "stream"])
def test_a_time_out_may_have_been_billed(stall: str, provider: FakeProvider) -> None:
    """Unknown is not free."""
    made = managed()
    client = provider.bedrock(config=Config(read_timeout=0.2, retries={"total_max_attempts": 1}))
    budgetguard.guard(client, made)
    provider.fail_next({"stall": stall})
    with pytest.raises(Exception, match=r"timed out|timeout") as caught:
        _stream(client)
    assert isinstance(caught.value, ReadTimeoutError) or stall == "stream"
    client.close()
    [entry] = entries(made)
    assert entry.cost >= billed(provider.wait()) > 0


# --- streams that are left


def _break(client: Any) -> None:
    for event in client.converse_stream(**ASKED)["stream"]:
        if "contentBlockDelta" in event:
            break


def _close(client: Any) -> None:
    stream = client.converse_stream(**ASKED)["stream"]
    next(iter(stream))
    stream.close()


def _never_read(client: Any) -> None:
    client.converse_stream(**ASKED)


def _raise(client: Any) -> None:
    with suppress(LookupError):
        for _ in client.converse_stream(**ASKED)["stream"]:
            raise LookupError


@pytest.mark.parametrize("leave", [_break, _close, _never_read, _raise])
def test_a_stream_that_is_left_costs_all_that_was_asked_for(leave: Any, provider: FakeProvider, client: Any) -> None:
    """Bedrock writes on, and its count comes last: as much was held as it can have written."""
    provider.plan = Plan(tokens=40, chunk_s=0.01)
    made = managed()
    budgetguard.guard(client, made)
    leave(client)
    PROCESS.sweep()

    [entry] = entries(made)
    assert entry.cost >= provider.wait().ledger[0].input_tokens * INPUT + 50 * OUTPUT


def test_a_left_stream_may_be_settled_by_what_was_seen(provider: FakeProvider, client: Any) -> None:
    """Where the settings say so: the input is counted, and so is what arrived."""
    provider.plan = Plan(tokens=40, chunk_s=0.01)
    made = managed(abandoned="observed")
    budgetguard.guard(client, made)
    _break(client)
    PROCESS.sweep()

    [entry] = entries(made)
    assert 1 <= entry.usage["output_tokens"] < 30
    assert "estimated" in entry.flags


def test_a_claude_that_is_left_costs_its_exact_input(provider: FakeProvider, client: Any) -> None:
    """Its own first event said it: after that, all that was asked for."""
    provider.plan = Plan(tokens=40, chunk_s=0.01)
    made = managed()
    budgetguard.guard(client, made)
    stream = client.invoke_model_with_response_stream(modelId=MODEL, body=CLAUDE_JSON)["body"]
    next(iter(stream))
    stream.close()

    [entry] = entries(made)
    assert entry.cost == provider.ledger[0].input_tokens * INPUT + 50 * OUTPUT


@pytest.mark.parametrize("how", ["closed", "dropped", "cancelled"])
async def test_an_async_stream_that_is_left_is_settled(how: str, provider: FakeProvider) -> None:
    """Closed, forgotten, or in a task that is cancelled."""
    provider.plan = Plan(tokens=40, chunk_s=0.01)
    made = managed()
    async with opened(provider) as client:
        budgetguard.guard(client, made)
        began = asyncio.Event()

        async def read() -> None:
            stream = (await client.converse_stream(**ASKED))["stream"]
            async for _ in stream:
                began.set()
                if how != "cancelled":
                    break
            if how == "closed":
                stream.close()

        task = asyncio.create_task(read())
        await began.wait()
        if how == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        del task
        for _ in range(200):  # the loop closes what was left in turns of its own
            if not made.store.holds():
                break
            await asyncio.sleep(0)
            PROCESS.sweep()

    [entry] = entries(made)
    assert entry.cost >= provider.ledger[0].input_tokens * INPUT + 50 * OUTPUT


@pytest.mark.parametrize("after", [0, 4])
@pytest.mark.parametrize("shape", [_stream, _invoke_stream])
def test_a_stream_that_fails_costs_what_it_began(shape: Any, after: int, provider: FakeProvider, client: Any) -> None:
    """An exception in the place of the first event is free, one after it is not."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next({"error_event": 503, "drop_after": after})
    with pytest.raises(EventStreamError, match="erviceUnavailable"):
        shape(client)

    cost = sum(entry.cost for entry in entries(made))
    assert cost == 0 if after == 0 else cost >= provider.ledger[0].input_tokens * INPUT > 0


@pytest.mark.parametrize("drop", [1, 5])
def test_a_connection_that_breaks_costs_what_was_asked_for(drop: int, provider: FakeProvider, client: Any) -> None:
    """The provider may have written on."""
    made = managed()
    budgetguard.guard(client, made)
    provider.fail_next({"drop": "stream", "drop_after": drop})
    with pytest.raises(Exception, match=r"onnection|IncompleteRead|ended"):
        _stream(client)

    [entry] = entries(made)
    assert entry.cost >= provider.ledger[0].input_tokens * INPUT + 50 * OUTPUT


def test_a_stream_without_a_usage_is_counted(provider: FakeProvider, client: Any) -> None:
    """To its end: what was sent and written is at hand."""
    made = managed()
    budgetguard.guard(client, made)
    provider.plan = Plan(omit_usage=True)
    _stream(client)
    _llama_stream(client)
    for entry in entries(made):
        assert entry.cost > 0
        assert entry.usage["output_tokens"] > 0
        assert "estimated" in entry.flags


# --- who is guarded


def test_one_client_is_guarded(provider: FakeProvider, client: Any) -> None:
    """And no other."""
    made = managed()
    assert budgetguard.guard(client, made) is client
    client.converse(**ASKED)
    other = provider.bedrock()
    other.converse(**ASKED)
    other.close()
    assert len(entries(made)) == 1


def test_a_client_of_before_and_one_of_a_session_are_guarded(provider: FakeProvider, client: Any) -> None:
    """The class sees every client, whoever made it, and when."""
    made = managed()
    client.converse(**ASKED)
    budgetguard.patch(made)
    client.converse(**ASKED)
    session = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
    later = session.client("bedrock-runtime", endpoint_url=provider.root_url)
    later.converse(**ASKED)
    later.close()
    with budgetguard.budget(user="ann") as scope:
        client.converse(**ASKED)
        assert scope.spent > 0
    assert len(entries(made)) == 3


def test_the_callers_own_objects_are_handed_back(provider: FakeProvider, client: Any) -> None:
    """botocore's, of its own classes."""
    budgetguard.patch(managed())
    assert type(client.converse(**ASKED)) is dict
    stream = client.converse_stream(**ASKED)["stream"]
    assert type(stream) is botocore.eventstream.EventStream
    assert len(list(stream)) > 3
    assert type(client.invoke_model(modelId=MODEL, body=CLAUDE_JSON)["body"]).__name__ == "StreamingBody"


def test_unpatching_puts_back_the_very_same_objects() -> None:
    """Of botocore and aiobotocore."""
    import aiobotocore.client

    places = [
        (botocore.client.BaseClient, "_make_api_call"),
        (botocore.endpoint.Endpoint, "_send"),
        (botocore.eventstream.EventStream, "__iter__"),
        (botocore.eventstream.EventStream, "close"),
        (aiobotocore.client.AioBaseClient, "_make_api_call"),
    ]
    before = [owner.__dict__[name] for owner, name in places]
    budgetguard.patch(managed())
    assert not any(owner.__dict__[name] is then for (owner, name), then in zip(places, before, strict=True))
    budgetguard.unpatch()
    assert [owner.__dict__[name] for owner, name in places] == before


def test_the_package_is_patched_when_it_is_imported() -> None:
    """Nothing is imported for it: who never imports it pays nothing."""
    program = """
        import sys
        import budgetguard
        from budgetguard import Budget, BudgetManager
        budgetguard.patch(BudgetManager("t", store="memory://", budgets=[Budget("all", 0.0)]))
        assert not {"botocore", "boto3", "aiobotocore"} & set(sys.modules), "imported"
        import boto3
        from botocore.client import BaseClient
        assert hasattr(BaseClient._make_api_call, "__wrapped__")
        print("patched")
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert shown.stdout.strip() == "patched", shown.stderr


@pytest.mark.parametrize(("model", "calls"), [(f"bedrock/{MODEL}", 1), ("gpt-4o-mini", 2)])
def test_an_sdk_that_asks_bedrock_beneath_charges_once(
    model: str, calls: int, provider: FakeProvider, client: Any
) -> None:
    """The same call goes down through both; one for another model is a call of its own."""
    prices = budgetguard.PriceBook(deployments={f"bedrock/{MODEL}": "gpt-4o-mini"})
    made = BudgetManager("t", store="memory://", budgets=[Budget("all", 1.0)], prices=prices)
    budgetguard.patch(made)

    def handle(_: httpx2.Request) -> httpx2.Response:
        client.converse(**ASKED)
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        return httpx2.Response(200, json={"id": "c", "object": "chat.completion", "choices": [], "usage": usage})

    with httpx2.Client(transport=httpx2.MockTransport(handle)) as inner:
        above = provider.client(http_client=inner)
        above.chat.completions.create(model=model, max_tokens=50, messages=[{"role": "user", "content": "hi"}])
    assert len(entries(made)) == calls


def test_a_call_outside_of_every_scope_is_said(provider: FakeProvider, client: Any) -> None:
    """Where scopes are used and calls must have one, it is refused before any traffic."""
    made = BudgetManager("t", store="memory://", settings=Settings(unscoped="refuse"))
    budgetguard.patch(made)
    made.create_budget(1.0, "ann")
    with budgetguard.budget(user="ann"):
        client.converse(**ASKED)
    with pytest.raises(budgetguard.errors.BudgetGuardError):
        client.converse(**ASKED)
    assert len(provider.requests) == 1
