"""
A call through the gateway, by the SDKs that programs have: the answer is the upstream's, the request the client's, and
the books are the bill.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from budgetguard.ledger import Entry, Hold, new_id
from budgetguard.money import Money
from budgetguard.server.gateway import calls
from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing import FakeProvider, StoppedClock
from tests.support.gateway import CLAUDE, GEMINI, MODEL, ServedGateway, configured, hard
from tests.support.passing import Books, bill, prices, three
from tests.support.relay import Relay
from tests.support.sdk_shapes import SHAPES, Shape, run


class Passage(NamedTuple):
    """A gateway with relays on both of its sides."""

    gateway: ServedGateway
    provider: FakeProvider
    here: Relay
    """Between clients and the gateway."""
    there: Relay
    """Between the gateway and the provider."""


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(prices=bill) as made:
        yield made


def passage(provider: FakeProvider, **options: Any) -> Iterator[Passage]:
    port = int(provider.root_url.rpartition(":")[2])
    with Relay(port) as there:
        configuration = configured(*three(there.url), prices=prices(), **options)
        with ServedGateway(configuration) as gateway, Relay(gateway.port) as here:
            yield Passage(gateway, provider, here, there)


@pytest.fixture(scope="module")
def bounded(provider: FakeProvider) -> Iterator[Passage]:
    """Under a budget."""
    yield from passage(provider, budgets=(hard(100.0),))


@pytest.fixture(scope="module")
def unbounded(provider: FakeProvider) -> Iterator[Passage]:
    """Under none."""
    yield from passage(provider)


ALIKE = re.compile("raw|streaming_response|post_|helper$|in_with|models")
"""Shapes that are alike on the wire to another one; and lists of models, which are the gateway's own."""


@pytest.mark.parametrize("shape", [each for each in SHAPES if not ALIKE.search(each.name)], ids=str)
def test_a_client_sees_what_it_sees_without_a_gateway(shape: Shape, bounded: Passage, unbounded: Passage) -> None:
    """Programs are pointed at it by a base URL alone: what their SDK gives them must not differ in a field."""
    provider, books = bounded.provider, Books(bounded.gateway, bounded.provider)
    with provider.client(base_url=f"{bounded.gateway.url}/v1") as client:
        items = len(run(shape.call(client), None))
    booked, billed = sum(books.booked()), sum(books.billed())
    # A transcript as text says nothing of what it cost.
    assert booked == billed if shape.name != "transcription_as_text" else booked >= billed
    assert billed or shape.free

    seen = []
    for base_url in (provider.base_url, f"{unbounded.gateway.url}/v1"):
        with provider.client(base_url=base_url) as client:
            seen.append([HEADERS.sub("", str(each)) for each in run(shape.call(client), None)])
    assert seen[0] == seen[1]
    assert len(seen[0]) == items
    assert provider.requests[-1].body == provider.requests[-2].body


HEADERS = re.compile(r", \['(?:content-|date).*?\]")
"""The names of an answer's headers, of which the gateway has some of its own."""

# -- byte for byte -----------------------------------------------------------------------------------------------------

HI = {"role": "user", "content": "hi  there \u00e9"}
CHAT: dict[str, Any] = {"model": MODEL, "messages": [HI], "max_tokens": 9, "x_unknown": {"kept": 1.50}}
SAID: dict[str, Any] = {"model": CLAUDE, "messages": [HI], "max_tokens": 9}
PARTS: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi  there"}]}]}
CAPPED = {**PARTS, "generationConfig": {"maxOutputTokens": 9}}
DRAWN = {"model": "gpt-image-1", "prompt": "a dot"}
SPOKEN = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "hi", "stream_format": "sse"}
AT = f"/v1beta/models/{GEMINI}"

WIRES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "chat without v1": ("/chat/completions", CHAT),
    "chat streamed": ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    "completions": ("/v1/completions", {"model": MODEL, "prompt": "hi", "max_tokens": 9}),
    "responses": ("/v1/responses", {"model": MODEL, "input": "hi", "max_output_tokens": 20}),
    "responses streamed": ("/v1/responses", {"model": MODEL, "input": "hi", "max_output_tokens": 20, "stream": True}),
    "responses' input": ("/v1/responses/input_tokens", {"model": MODEL, "input": "hi"}),
    "embeddings": ("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["hi", "you"]}),
    "images": ("/v1/images/generations", DRAWN),
    "images streamed": ("/v1/images/generations", {**DRAWN, "stream": True}),
    "speech": ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": "hi"}),
    "speech streamed": ("/v1/audio/speech", SPOKEN),
    "moderations": ("/v1/moderations", {"input": "hi"}),
    "messages": ("/v1/messages", SAID),
    "messages streamed": ("/v1/messages", {**SAID, "stream": True}),
    "messages counted": ("/v1/messages/count_tokens", {"model": CLAUDE, "messages": [HI]}),
    "generated": (f"{AT}:generateContent", CAPPED),
    "generated streamed": (f"{AT}:streamGenerateContent?alt=sse", CAPPED),
    "generated as a list": (f"{AT}:streamGenerateContent", CAPPED),
    "contents counted": (f"{AT}:countTokens", PARTS),
    "contents embedded": ("/v1beta/models/gemini-embedding-001:embedContent", {"content": PARTS["contents"][0]}),
}


@pytest.mark.parametrize("wire", WIRES)
def test_what_needs_no_change_is_passed_through_byte_for_byte(wire: str, bounded: Passage) -> None:
    """Whatever a client and an upstream know that we do not, reaches them: nothing is read and written anew."""
    path, body = WIRES[wire]
    sent = json.dumps(body, indent=1, ensure_ascii=True).encode()
    books = Books(bounded.gateway, bounded.provider)
    bounded.here.forget()
    bounded.there.forget()
    status, _, headers = bounded.gateway.ask(path, sent, port=bounded.here.port)
    here, there = bounded.here.take(), bounded.there.take()

    assert status == 200, here.said
    assert there.asked == sent
    assert there.said == here.said
    booked, billed = books.booked(), books.billed()
    assert sum(booked) == sum(billed)
    if "x-budgetguard-cost" in headers:
        assert round(float(headers["x-budgetguard-cost"]) * 1e9) == sum(billed)


def test_usage_that_only_the_gateway_asked_for_is_left_out(bounded: Passage) -> None:
    """A client that did not ask for it may not know the event without a choice, and fail at it."""
    body = {**CHAT, "stream": True}
    bounded.here.forget()
    bounded.there.forget()
    books = Books(bounded.gateway, bounded.provider)
    bounded.gateway.ask("/v1/chat/completions", body, port=bounded.here.port)
    here, there = bounded.here.take(), bounded.there.take()

    assert json.loads(there.asked) == {**body, "stream_options": {"include_usage": True}}
    events = there.said.split(b"\n\n")
    [usage] = [each for each in events if b'"choices":[]' in each]
    assert here.said.split(b"\n\n") == [each for each in events if each != usage]
    assert books.booked() == books.billed()


def test_a_cap_is_added_to_what_states_none(bounded: Passage, unbounded: Passage) -> None:
    """Without one, an answer may be as long as the model likes; without a budget, that is nobody's concern."""
    body = {"model": MODEL, "messages": [HI]}
    sent = []
    for side in (bounded, unbounded):
        side.gateway.ask("/v1/chat/completions", body)
        sent.append(side.provider.requests[-1].body)
    capped, plain = sent
    assert plain == body
    assert {**body, "max_tokens": capped["max_tokens"]} == capped
    status, _, _ = bounded.gateway.ask(f"{AT}:generateContent", PARTS)
    assert status == 200
    assert bounded.provider.requests[-1].body["generationConfig"]["maxOutputTokens"] > 0


def test_a_model_has_another_name_at_its_upstream(provider: FakeProvider) -> None:
    """Programs ask for "fast"; who moves it to another model changes one line, and pays that one's price."""
    here = list(three(provider.root_url))
    models = [ModelEntry("fast", (Target(here[0], MODEL),)), ModelEntry("quick", (Target(here[2], GEMINI),))]
    with ServedGateway(configured(*here, models=models, prices=prices(), budgets=(hard(1.0),))) as gateway:
        books = Books(gateway, provider)
        gateway.ask("/v1/chat/completions", {**CHAT, "model": "fast"})
        assert provider.requests[-1].body == {**CHAT, "model": MODEL}
        status, said, _ = gateway.ask("/v1beta/models/quick:generateContent", CAPPED)
        assert status == 200, said
        assert provider.requests[-1].path == f"{AT}:generateContent"
        form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nfast\r\n--b--\r\n'
        kind = {"content-type": "multipart/form-data; boundary=b"}
        status, said, _ = gateway.ask("/v1/audio/transcriptions", form, headers=kind)
        assert status == 400, "a form is sent as it is, or not at all"
        assert books.booked() == books.billed()


def test_nothing_of_the_client_goes_on_but_what_the_api_knows(bounded: Passage) -> None:
    """Its key and its cookies are for the gateway; and what names an account would have the bill sent there."""
    mine = {
        "authorization": "Bearer bg_mine",
        "x-api-key": "mine",
        "api-key": "mine",
        "x-goog-api-key": "mine",
        "cookie": "session=mine",
        "openai-organization": "mine",
        "openai-project": "mine",
        "x-forwarded-for": "mine",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "files-api-2025-04-14",
        "idempotency-key": "once",
        "user-agent": "shop/1.0",
    }
    for path, body in (WIRES["chat"], WIRES["messages"], (f"{AT}:generateContent?key=mine", CAPPED)):
        status, said, _ = bounded.gateway.ask(path, body, headers=mine)
        assert status == 200, said
        request = bounded.provider.requests[-1]
        assert "mine" not in f"{request.headers} {request.path}"
        assert request.headers["user-agent"] == "shop/1.0"
        assert request.headers["idempotency-key"] == "once"
        assert request.headers["accept-encoding"] == "identity"
        assert "sk-upstream-secret" in str(request.headers)
        assert "anthropic-version" not in request.headers or request.headers["anthropic-version"] == "2023-06-01"


# -- by other SDKs -----------------------------------------------------------------------------------------------------


def test_azures_client_names_the_model_in_its_path(bounded: Passage) -> None:
    """A deployment is a model here, wherever it is asked for."""
    from openai import AzureOpenAI

    books = Books(bounded.gateway, bounded.provider)
    with AzureOpenAI(azure_endpoint=bounded.gateway.url, api_key="none", api_version="2024-10-21") as client:
        client.chat.completions.create(model=MODEL, messages=[HI])  # type: ignore[list-item]
        assert len(list(client.chat.completions.create(model=MODEL, messages=[HI], stream=True))) > 2  # type: ignore
    assert [each.path for each in bounded.provider.requests[-2:]] == ["/v1/chat/completions"] * 2
    assert books.booked() == books.billed()


def test_anthropics_client(bounded: Passage) -> None:
    """Its messages, plain, streamed and counted, and its tools."""
    tool = {"name": "look", "description": "look", "input_schema": {"type": "object", "properties": {}}}
    asked: Any = {"model": CLAUDE, "max_tokens": 50, "messages": [HI]}
    books = Books(bounded.gateway, bounded.provider)
    seen: list[list[Any]] = []
    for root in (bounded.gateway.url, bounded.provider.root_url):
        with bounded.provider.anthropic(base_url=root) as client:
            said = [client.messages.create(**asked), client.messages.create(**asked, tools=[tool])]
            said += list(client.messages.create(**asked, stream=True))
            with client.messages.stream(**asked, system="be brief") as stream:
                said.append(stream.get_final_message())
            counted = client.messages.count_tokens(model=CLAUDE, messages=[HI])
            seen.append([ID.sub("*", each.model_dump_json()) for each in [*said, counted]])
        if root == bounded.gateway.url:
            assert books.booked() == books.billed()
            assert len(books.booked()) == 4, "counting is free"
    assert seen[0] == seen[1]


ID = re.compile(r"[0-9a-f]{32}")


def test_googles_client(bounded: Passage) -> None:
    """Its contents, plain, streamed, counted and embedded, and a chat."""
    books = Books(bounded.gateway, bounded.provider)
    with bounded.provider.gemini() as client:
        client._api_client._http_options.base_url = bounded.gateway.url
        models = client.models
        assert models.generate_content(model=GEMINI, contents="hi there").text
        assert len(list(models.generate_content_stream(model=GEMINI, contents="hi there"))) > 2
        chat = client.chats.create(model=GEMINI)
        chat.send_message("hi")
        chat.send_message("there")
        assert models.count_tokens(model=GEMINI, contents="hi there").total_tokens > 0
        assert models.embed_content(model="gemini-embedding-001", contents="hi there").embeddings
    assert books.booked() == books.billed()
    assert len(books.booked()) == 5, "counting is free"


def test_lists_of_models_are_those_of_the_configuration(bounded: Passage) -> None:
    """What a client is shown it can ask for; nobody upstream is asked."""
    asked = len(bounded.provider.requests)
    with bounded.provider.client(base_url=f"{bounded.gateway.url}/v1") as client:
        assert MODEL in {each.id for each in client.models.list()}
        assert client.models.retrieve(MODEL).id == MODEL
    with bounded.provider.anthropic(base_url=bounded.gateway.url) as client:
        assert CLAUDE in {each.id for each in client.models.list(limit=1000)}
    with bounded.provider.gemini() as client:
        client._api_client._http_options.base_url = bounded.gateway.url
        assert f"models/{GEMINI}" in {each.name for each in client.models.list()}
    assert len(bounded.provider.requests) == asked


def test_a_call_is_found_behind_many_others_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with three calls a second has made more than are looked through in the hour before."""
    monkeypatch.setattr(calls, "MOST_SEARCHED", 3)
    clock = StoppedClock()
    store, made = MemoryStore(clock=clock), list[str]()
    for _ in range(10):
        clock.advance(60)
        made.append(f"{round(clock() * 1000):012x}" + new_id()[12:])
        clock.advance(5)
        store.settle(Hold(made[-1], (), Money(1), tags={"key": "a"}), Entry(made[-1], Money(1), tags={"key": "a"}))
    assert [calls.entry_of(store, {"key": "a"}, each) is not None for each in made] == [True] * 10
    assert calls.entry_of(store, {"key": "b"}, made[-1]) is None
