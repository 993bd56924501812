"""
Claude in a cloud, by the clients of Anthropic's own package: the host says whose prices count.

Each client rewrites the path, or signs the request, beneath `request`: the operation and the model are the same above.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import anthropic
import pytest

import budgetguard
from budgetguard import PriceBook
from tests.support.claude import ASKED, HTTP, entries, managed, said, said_in_events, transport
from tests.support.sdk_shapes import each, wait

SONNET = 1_000 * 3_000 + 100 * 15_000
"""Nano-dollars of 1,000 tokens in and 100 out: $3 and $15 a million, of claude-sonnet-4-5."""
OPUS = 1_000 * 5_000 + 100 * 25_000


class Cloud(NamedTuple):
    """One of its clients."""

    client: str
    options: dict[str, Any]
    model: str
    path: str
    """A part of the URL that it sends to."""
    provider: str
    cost: int


CLOUDS = (
    Cloud(
        "AnthropicVertex",
        {"region": "us-east5", "project_id": "p", "access_token": "-"},
        "claude-sonnet-4-5@20250929",
        "aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models/",
        "google",
        SONNET,
    ),
    Cloud(
        "AnthropicBedrock",
        {"aws_region": "us-east-1", "aws_access_key": "-", "aws_secret_key": "-"},
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.",
        "aws",
        SONNET * 11 // 10,
    ),
    Cloud(
        "AnthropicBedrockMantle",
        {"aws_region": "us-east-1", "api_key": "-"},
        "anthropic.claude-opus-4-8",
        "bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages",
        "aws",
        OPUS * 11 // 10,
    ),
    Cloud(
        "AnthropicAWS",
        {"aws_region": "us-east-1", "api_key": "-", "workspace_id": "w"},
        "claude-opus-4-8",
        "aws-external-anthropic.us-east-1.api.aws/v1/messages",
        "anthropic",
        OPUS,
    ),
    Cloud(
        "AnthropicGoogleCloud",
        {"project": "p", "workspace_id": "w", "token_provider": lambda: "-"},
        "claude-opus-4-8",
        "/projects/p/locations/global/workspaces/w/invoke/v1/messages",
        "google",
        OPUS,
    ),
    Cloud(
        "AnthropicFoundry",
        {"resource": "r", "api_key": "-"},
        "claude-sonnet-4-5-20250929",
        "r.services.ai.azure.com/anthropic/v1/messages",
        "azure",
        SONNET,
    ),
)


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.client)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    if not hasattr(anthropic, request.param.client):
        pytest.skip("this version of the SDK has no such client")
    return request.param  # type: ignore[no-any-return]


def frame(event: dict[str, Any]) -> bytes:
    """An event as AWS's streams have it."""
    headers = b""
    for name, value in {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}.items():
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return whole + struct.pack(">I", zlib.crc32(whole))


class Pieces(HTTP.SyncByteStream, HTTP.AsyncByteStream):  # type: ignore[misc]
    """A body that is not read yet."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def answering(seen: list[str], model: str, stream: bool, framed: bool) -> Callable[[Any], Any]:
    """A cloud that answers with the model's own name."""

    def handle(request: Any) -> Any:
        seen.append(str(request.url))
        message = said(model)
        if not stream:
            return HTTP.Response(200, json=message)
        if framed:
            kind, pieces = "application/vnd.amazon.eventstream", list(map(frame, said_in_events(message)))
        else:
            lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in said_in_events(message))
            kind, pieces = "text/event-stream", [line.encode() for line in lines]
        return HTTP.Response(200, stream=Pieces(*pieces), headers={"content-type": kind})

    return handle


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_claude_in_a_cloud_is_priced_as_its_host_does(cloud: Cloud, stream: bool, is_async: bool) -> None:
    """A program that moves to a cloud spends from the same budget, at the prices there."""
    model = "claude-opus-4-8" if "opus" in cloud.model else "claude-sonnet-4-5-20250929"
    seen: list[str] = []
    handle = answering(seen, model, stream, framed=cloud.client == "AnthropicBedrock")
    made = managed()
    make = getattr(anthropic, f"Async{cloud.client}" if is_async else cloud.client)
    client = budgetguard.guard(make(**cloud.options, http_client=transport(handle, is_async)), made)
    answer = await wait(client.messages.create(**{**ASKED, "model": cloud.model}, stream=stream))
    if stream:
        assert [event.type async for event in each(answer)][-1] == "message_stop"
    await wait(client.close())

    [entry] = entries(made)
    assert cloud.path in seen[0]
    assert (entry.provider, entry.cost, entry.flags) == (cloud.provider, cloud.cost, frozenset())


def test_a_stream_of_bedrocks_that_is_read_as_bytes_costs_what_was_held() -> None:
    """Its frames are AWS's own: what is not understood is not free."""
    made = managed()
    handle = answering([], "claude-opus-4-8", True, framed=True)
    options = {"aws_region": "us-east-1", "aws_access_key": "-", "aws_secret_key": "-"}
    with anthropic.AnthropicBedrock(**options, http_client=transport(handle)) as client:
        budgetguard.guard(client, made)
        create = client.messages.with_streaming_response.create
        with create(**{**ASKED, "model": "anthropic.claude-opus-4-8"}, stream=True) as response:
            [hold] = made.store.holds()
            assert b"message_delta" not in b"".join(response.iter_bytes())
    [entry] = entries(made)
    assert (entry.cost, entry.flags) == (hold.amount, frozenset({"estimated"}))


WITHOUT = {
    "AnthropicBedrock": {"aws_region": "us-east-1"},
    "AnthropicVertex": {"region": "us-east5", "project_id": "p"},
    "AnthropicGoogleCloud": {"project": "p", "workspace_id": "w"},
}
"""Clients that look for credentials when a request is on its way out."""


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("is_async", [False, True])
async def test_where_there_are_no_credentials_nothing_was_sent(
    name: str, is_async: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A laptop without them would use up a budget by calls that never left it."""
    if not hasattr(anthropic, name):
        pytest.skip("this version of the SDK has no such client")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "CLOUDSDK_CONFIG", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    sent: list[str] = []
    made = managed()
    make = getattr(anthropic, f"Async{name}" if is_async else name)
    client = make(**WITHOUT[name], http_client=transport(answering(sent, "-", False, False), is_async))
    budgetguard.guard(client, made)
    with pytest.raises(Exception, match=r"(?i)credentials"):
        await wait(client.messages.create(**{**ASKED, "model": "claude-opus-4-8"}))
    await wait(client.close())
    assert (sent, entries(made)) == ([], [])


@pytest.mark.parametrize(
    ("asked", "cost"),
    [
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", SONNET),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", SONNET * 11 // 10),
    ],
)
def test_a_place_of_bedrocks_has_its_own_price(asked: str, cost: int) -> None:
    """The answer names the model without its place: 10 % more in a region than anywhere."""
    settled = PriceBook().settlement("aws", asked, "claude-sonnet-4-5-20250929", None, 1_795_000_000_000)
    assert settled.cost({"input_tokens": 1_000, "output_tokens": 100}) == cost
