"""
How a call through the gateway can end otherwise than well: whatever the client or the upstream does, the books are
never below the bill, and no client waits for what will not come.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from budgetguard.process.state import PROCESS
from budgetguard.server.gateway.call.answers.stream import Outlet
from budgetguard.testing import FakeProvider, Plan, Request
from tests.support.gateway import CLAUDE, GEMINI, MESSAGES, MODEL, ServedGateway, configured, hard, upstream
from tests.support.passing import Books, bill, prices, settled, three
from tests.support.scripted import ScriptedUpstream, answer, events
from tests.support.tasks import until

PING_S = 0.05
CONTENTS = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 100}}
CHAT: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 100}
DIALECTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", "/v1/chat/completions", CHAT),
    "anthropic": ("/v1/messages", "/v1/messages", {**CHAT, "model": CLAUDE}),
    "google": (
        f"/v1beta/models/{GEMINI}:generateContent",
        f"/v1beta/models/{GEMINI}:streamGenerateContent?alt=sse",
        CONTENTS,
    ),
}
"""The path of a plain call and of a stream, and the body of both."""


class Gate:
    """How a provider answers: its `plan`; and while the gate is shut, not before it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.opened.set()

    def __call__(self, _request: Request) -> Plan:
        self.opened.wait(10)
        return Plan(tokens=20)


class Served(NamedTuple):
    """A gateway, its provider, and the gate before its answers."""

    gateway: ServedGateway
    provider: FakeProvider
    gate: Gate

    def books(self) -> Books:
        """What is booked and billed from now on."""
        return Books(self.gateway, self.provider)

    def begin(self, path: str, body: Any) -> http.client.HTTPConnection:
        """Send a request, and wait until the provider has it."""
        seen = len(self.provider.requests)
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=10)
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        assert until(lambda: len(self.provider.requests) > seen, 10)
        return connection


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    gate = Gate()
    with FakeProvider(gate, prices=bill) as provider:
        configuration = configured(*three(provider.root_url), prices=prices(), budgets=(hard(100.0),), ping_s=PING_S)
        with ServedGateway(configuration) as gateway:
            assert gateway.ask("/v1/chat/completions", CHAT)[0] == 200
            yield Served(gateway, provider, gate)


def plain(dialect: str) -> tuple[str, dict[str, Any]]:
    path, _, body = DIALECTS[dialect]
    return path, body


def streamed(dialect: str) -> tuple[str, dict[str, Any]]:
    _, path, body = DIALECTS[dialect]
    return path, body if dialect == "google" else {**body, "stream": True}


# -- the client goes away ----------------------------------------------------------------------------------------------


def test_a_plain_call_whose_client_is_gone_is_finished_and_costs_what_it_cost(served: Served, dialect: str) -> None:
    """To cancel it saves nothing that anybody can show, and what is unknown costs all that was held."""
    books = served.books()
    served.gate.opened.clear()
    connection = served.begin(*plain(dialect))
    connection.close()
    served.gate.opened.set()
    assert until(lambda: len(books.billed()) == 1, 10)
    assert books.booked() == books.billed()
    assert not served.provider.ledger[-1].aborted


def test_a_client_that_leaves_before_the_first_byte_ends_the_request(served: Served, dialect: str) -> None:
    """Nobody will read it: the upstream's connection is closed at once, and what may have been billed is booked."""
    books = served.books()
    served.provider.fail_next(stall="headers")
    served.begin(*streamed(dialect)).close()
    assert books.billed()[0] > 0, "the provider is left waiting"
    assert sum(books.booked()) >= sum(books.billed())
    assert "estimated" in books.entries()[0].flags


def test_a_client_that_leaves_in_the_middle_ends_the_stream(served: Served, dialect: str) -> None:
    """What is written on is billed on: it is stopped as soon as it is known that nobody reads."""
    books = served.books()
    served.provider.fail_next(stall="stream", tokens=60, drop_after=12)
    connection = served.begin(*streamed(dialect))
    response = connection.getresponse()
    assert response.status == 200
    response.read(200)
    connection.close()
    response.close()
    assert books.billed()[0] > 0
    assert sum(books.booked()) >= sum(books.billed())


# -- the upstream is silent, or breaks ---------------------------------------------------------------------------------


def test_a_silent_upstream_is_pinged_for(served: Served, dialect: str) -> None:
    """Proxies cut idle connections: a comment, which every reader of events passes over, keeps this one."""
    books = served.books()
    served.gate.opened.clear()
    path, body = streamed(dialect)
    connection = http.client.HTTPConnection("127.0.0.1", served.gateway.port, timeout=10)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("content-type", "").startswith("text/event-stream")
    assert response.read(8) == b": ping\n\n"
    served.gate.opened.set()
    rest = response.read().replace(b": ping\n\n", b"")
    connection.close()
    assert rest.startswith((b"data: {", b"event: message_start\n"))
    assert b'"error"' not in rest
    assert books.booked() == books.billed()


def test_a_failure_after_the_first_ping_is_an_event(served: Served, dialect: str) -> None:
    """The status is out by then: what an SDK takes for the end of a good answer would be taken for the whole of it."""
    books = served.books()
    served.gate.opened.clear()
    served.provider.fail_next(status=400)
    path, body = streamed(dialect)
    connection = http.client.HTTPConnection("127.0.0.1", served.gateway.port, timeout=10)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    response.read(8)
    served.gate.opened.set()
    said = response.read().replace(b": ping\n\n", b"")
    connection.close()
    error = json.loads(said.partition(b"data: ")[2])["error"]
    assert "400" in error["message"]
    assert (said.startswith(b"event: error\n")) == (dialect == "anthropic")
    assert books.booked() == [], "an error status is free"


def test_no_ping_stands_inside_an_event() -> None:
    """A piece that ends in the middle of an event is not the moment for another one."""
    going_on = threading.Event()

    def script(say: Callable[[bytes], None]) -> None:
        say(events(b'data: {"choices": [], "x"'))
        going_on.wait(10)
        say(b": 1}\n\ndata: [DONE]\n\n")

    with ScriptedUpstream(script) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), ping_s=0.01)
        with ServedGateway(configuration) as gateway:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
            connection.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True}))
            response = connection.getresponse()
            said = response.read(1)
            while not said.endswith(b'"x"'):
                said += response.read(1)
            going_on.wait(0.05)
            going_on.set()
            said += response.read()
            connection.close()
    assert b'"x": 1}\n\n' in said


async def test_a_ping_that_was_decided_on_gives_way_to_a_piece() -> None:
    """Between the look at the clock and the ping, half an event may have gone out: its other half is next."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b"head"))

    async def receive() -> Any:
        await asyncio.get_running_loop().create_future()

    outlet = Outlet(receive, send, 1e-9, ())
    outlet.wait_for_answer()
    outlet._look()
    await outlet.start(200, ())
    await outlet._give(b'data: {"x"')
    await outlet.close()
    assert sent == [b"head", b'data: {"x"']


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_upstream_that_breaks_off_is_said_in_the_stream(served: Served, dialect: str, after: int) -> None:
    """Half an answer that ends as a whole one does is taken for one: the last event says that it is not."""
    books = served.books()
    served.provider.fail_next(drop="stream", tokens=30, drop_after=after)
    status, said, _ = served.gateway.ask(*streamed(dialect))
    assert status == 200
    last = said.split(b"\n\n")[-2]
    assert (last.startswith(b"event: error\n")) == (dialect == "anthropic")
    assert "broke off" in json.loads(last.partition(b"data: ")[2])["error"]["message"]
    assert sum(books.booked()) >= sum(books.billed())


def test_an_event_that_is_cut_in_two_does_not_swallow_the_error() -> None:
    """What stands behind half an event, without a blank line, is a part of it."""
    with ScriptedUpstream(events(b'data: {"choices": [], "x"')) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration) as gateway:
            _, said, _ = gateway.ask("/v1/chat/completions", {**CHAT, "stream": True})
            [entry] = settled(gateway)
    assert b'"x"\n\ndata: {"error"' in said
    assert entry.cost >= 100 * 600


def test_sdks_raise_for_a_stream_that_broke_off(served: Served) -> None:
    """A program that catches the SDK's errors catches this one."""
    import anthropic
    import openai

    served.provider.fail_next({"drop": "stream"}, {"drop": "stream"})
    with served.provider.client(base_url=f"{served.gateway.url}/v1") as client, pytest.raises(openai.APIError):
        list(client.chat.completions.create(**CHAT, stream=True))
    with served.provider.anthropic(base_url=served.gateway.url) as client, pytest.raises(anthropic.APIError):
        list(client.messages.create(**{**CHAT, "model": CLAUDE}, stream=True))


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_plain_answer_that_breaks_off_is_not_asked_for_again(served: Served, dialect: str, where: str) -> None:
    """It may have been billed: it is booked as held, and SDKs are told not to pay for it twice."""
    books = served.books()
    served.provider.fail_next(drop=where, tokens=30)
    status, said, headers = served.gateway.ask(*plain(dialect))
    assert (status, headers["x-should-retry"]) == (502, "false")
    assert "booked as held" in said["error"]["message"]
    [entry], [billed] = books.entries(), books.billed()
    assert "estimated" in entry.flags
    assert entry.cost >= billed > 0


def test_a_silent_upstream_is_taken_for_dead_in_the_end() -> None:
    """A call has an end whatever the upstream does; what it cost nobody knows."""
    with FakeProvider(prices=bill) as provider:
        silent = three(provider.root_url, read_s=0.2)
        with ServedGateway(configured(*silent, prices=prices(), budgets=(hard(1.0),))) as gateway:
            provider.fail_next({"stall": "headers"}, {"stall": "stream"})
            status, said, headers = gateway.ask("/v1/chat/completions", CHAT)
            assert (status, headers["x-should-retry"]) == (504, "false"), said
            status, said, _ = gateway.ask("/v1/chat/completions", {**CHAT, "stream": True})
            assert status == 200
            assert b"broke off" in said
            assert sum(each.cost for each in settled(gateway)) >= provider.wait().billed.nano


# -- the upstream lies -------------------------------------------------------------------------------------------------


def test_an_upstream_that_ignores_the_cap_is_booked_at_what_it_bills(served: Served, dialect: str) -> None:
    """The promise rests on the cap; where it is broken, the books say so at once, and the next call is refused."""
    books = served.books()
    for ask in (plain, streamed):
        path, body = ask(dialect)
        short = (
            {**body, "generationConfig": {"maxOutputTokens": 5}} if dialect == "google" else {**body, "max_tokens": 5}
        )
        served.provider.fail_next(ignore_caps=True, tokens=400)
        assert served.gateway.ask(path, short)[0] == 200
    assert books.booked() == books.billed()
    assert books.billed()[0] > 400 * 500


@pytest.mark.parametrize(
    "fault",
    [
        {"omit_usage": True},
        {"malformed": "body"},
        {"malformed": "stream"},
        {"gzip": True},
        {"usage": {}},
        {"cached": 5, "reasoning": 7},
    ],
    ids=str,
)
def test_an_answer_that_says_little_of_its_cost_costs_no_less(
    served: Served, dialect: str, fault: dict[str, Any]
) -> None:
    """Unknown is not free: what cannot be read is booked as held, and the client has it all the same."""
    for ask in (plain, streamed):
        books = served.books()
        served.provider.fail_next({"tokens": 30, **fault})
        status, said, headers = ask_raw(served.gateway, *ask(dialect))
        assert status == 200, said
        if fault.get("gzip"):
            assert headers["content-encoding"] == "gzip"
            said = gzip.decompress(said)
        assert b"choices" in said or b"content" in said or b"cut off" in said
        [booked], [billed] = books.booked(), books.billed()
        assert booked >= billed, ask


def ask_raw(gateway: ServedGateway, path: str, body: Any) -> tuple[int, bytes, Any]:
    """As `ask`, but the answer is left as it came."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


@pytest.mark.parametrize("status", [500, 529])
def test_an_error_in_the_stream_is_handed_on(served: Served, status: int) -> None:
    """The upstream has said in its own words what went wrong: they reach the client, and the end is no good one."""
    for dialect in ("anthropic", "google"):
        books = served.books()
        served.provider.fail_next(error_event=status, tokens=30)
        _, said, _ = served.gateway.ask(*streamed(dialect))
        assert b"This failure was asked for." in said
        assert sum(books.booked()) >= sum(books.billed())


WHOLE = (
    b'{"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}'
)
STRANGE = {
    "no JSON": answer(b"<html>welcome</html>", kind="text/html"),
    "JSON that is none": answer(b"hello"),
    "a list": answer(b"[]"),
    "null": answer(b"null"),
    "a stream that nobody asked for": events(b'data: {"choices": []}\n\n', b'data: {"choices": []}\n\n'),
    "usage of another world": answer(WHOLE.replace(b"9", b"-9")),
    "a list of something": answer(b"[1, {}]"),
    "nothing": answer(b""),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_a_strange_answer_is_handed_on_and_booked_as_held(strange: str) -> None:
    """Whatever it is, it came after the money may have been spent, and nothing of ours fails at it."""
    with ScriptedUpstream(STRANGE[strange]) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration) as gateway:
            status, said, _ = ask_raw(gateway, "/v1/chat/completions", CHAT)
            [entry] = settled(gateway)
    assert status == 200, said
    assert said.startswith(STRANGE[strange].partition(b"\r\n\r\n")[2])
    assert entry.cost >= 100 * 600, "what a hundred tokens cost is what was held"


_TOLD = json.dumps({"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}).encode()
_COST = (b'{"choices": [],', b' "usage": {"prompt_tokens": 9, "completion_tokens": 90}}')
_DONE = b"data: [DONE]\n\n"
SPELT = {
    "one line": b"data: %s\n\ndata: %s\n\n%s" % (_TOLD, b"".join(_COST), _DONE),
    "two lines": b"data: %s\n\ndata: %s\ndata:%s\n\n%s" % (_TOLD, *_COST, _DONE),
    "carriage returns": (b"data: %s\n\ndata: %s\n\n%s" % (_TOLD, b"".join(_COST), _DONE)).replace(b"\n", b"\r"),
    "both": (b"data: %s\n\ndata: %s\ndata:%s\n\n%s" % (_TOLD, *_COST, _DONE)).replace(b"\n", b"\r\n"),
}
"""One stream, as the format lets it be written; each of them is read by the SDKs."""


def framed(body: bytes, size: int) -> bytes:
    """A stream of events that says where it ends, in pieces of this size."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@pytest.mark.parametrize("spelt", SPELT)
@pytest.mark.parametrize("hides", [True, False])
@pytest.mark.parametrize("size", [1, 1_000])
def test_an_event_is_heard_however_its_lines_are_written(spelt: str, hides: bool, size: int) -> None:
    """A client's SDK reads all of them, so a cost that only some show would be spent and not booked."""
    body = {**CHAT, "stream": True, **({} if hides else {"stream_options": {"include_usage": True}})}
    with ScriptedUpstream(framed(SPELT[spelt], size)) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration) as gateway:
            said = ask_raw(gateway, "/v1/chat/completions", body)[1]
            [entry] = settled(gateway)
    assert entry.usage["output_tokens"] == 90
    assert (b"usage" in said) is not hides
    assert b"hi" in said


def test_a_stream_is_one_in_any_case() -> None:
    """Content types have no case: taken for a plain answer, it was kept back to its end, and booked as held."""
    said = framed(SPELT["one line"], 1_000).replace(b"text/event-stream", b"Text/Event-Stream")
    with ScriptedUpstream(said) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration) as gateway:
            assert ask_raw(gateway, "/v1/chat/completions", {**CHAT, "stream": True})[0] == 200
            [entry] = settled(gateway)
    assert entry.usage["output_tokens"] == 90


@pytest.mark.parametrize("hides", [True, False])
def test_a_stream_of_what_cannot_be_read_is_booked_as_held(hides: bool) -> None:
    """It ends well, and what it cost may have been in what nobody understood: that is not nothing."""
    body = {**CHAT, "stream": True, **({} if hides else {"stream_options": {"include_usage": True}})}
    with ScriptedUpstream(framed(b"data: %s\n\ndata: {usage: 90}\n\n%s" % (_TOLD, _DONE), 1_000)) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration) as gateway:
            said = ask_raw(gateway, "/v1/chat/completions", body)[1]
            [entry] = settled(gateway)
    assert entry.cost >= 100 * 600, "what a hundred tokens cost is what was held"
    assert b"{usage: 90}" in said


def test_work_in_the_background_is_booked_as_held(served: Served) -> None:
    """It goes on when its request is over, and is fetched by a way that nobody reads: a hold would be given back."""
    books = served.books()
    body = {"model": MODEL, "input": "hi", "background": True, "max_output_tokens": 50}
    status, said, _ = served.gateway.ask("/v1/responses", body)
    assert (status, said["status"]) == (200, "queued")
    [entry] = books.entries()
    assert "estimated" in entry.flags
    assert entry.cost >= 50 * 600


ODD: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {**CHAT, "stream": 1}),
    ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": False}}),
    ("/v1/chat/completions", {**CHAT, "n": 0}),
    ("/v1/chat/completions", {**CHAT, "n": 10**9}),
    ("/v1/chat/completions", {**CHAT, "messages": "x"}),
    ("/v1/chat/completions", {**CHAT, "max_tokens": -5}),
    ("/v1/chat/completions", {**CHAT, "max_tokens": 10**30}),
    ("/v1/chat/completions", {**CHAT, "max_tokens": "7"}),
    ("/v1/chat/completions", {**CHAT, "user": ["a"], "metadata": 7}),
    ("/v1/messages", {"model": CLAUDE, "messages": MESSAGES}),
    ("/v1/messages", {"model": CLAUDE, "messages": [7], "max_tokens": 9}),
    ("/v1/messages/count_tokens", {"model": CLAUDE, "messages": MESSAGES, "stream": True}),
    (f"/v1beta/models/{GEMINI}:generateContent", {"contents": 7}),
    (f"/v1beta/models/{GEMINI}:generateContent", {**CONTENTS, "generationConfig": []}),
    (f"/v1beta/models/{GEMINI}:batchEmbedContents", {"requests": []}),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": []}),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": 7, "n": "x"}),
    ("/v1/completions", {"model": MODEL, "prompt": [[1, 2], [3]], "max_tokens": 9}),
]


@pytest.mark.parametrize(("path", "body"), ODD, ids=lambda value: json.dumps(value)[-40:])
def test_an_odd_request_is_answered_by_who_knows_it(served: Served, path: str, body: dict[str, Any]) -> None:
    """What is no valid request is the upstream's to refuse; ours is that it costs no more than it is held for."""
    books = served.books()
    status, said, _ = served.gateway.ask(path, body)
    assert status in {200, 400, 402}, said
    assert sum(books.booked()) >= sum(books.billed())


def test_a_stream_of_what_is_free_is_an_answer_as_any() -> None:
    """Counting tokens has no charge that could listen."""
    with ExitStack() as stack:
        there = stack.enter_context(ScriptedUpstream(events(b'data: {"input_tokens": 5}\n\n')))
        gateway = stack.enter_context(ServedGateway(configured(*three(there.root_url), prices=prices())))
        body = {"model": CLAUDE, "messages": MESSAGES, "stream": True}
        status, said, _ = ask_raw(gateway, "/v1/messages/count_tokens", body)
    assert (status, said) == (200, b'data: {"input_tokens": 5}\n\n')


def test_a_redirect_is_not_followed_and_the_key_stays_here() -> None:
    """Whoever could redirect a call would have the provider's key."""
    with ScriptedUpstream(answer(WHOLE)) as elsewhere:
        moved = answer(b"", f"location: {elsewhere.root_url}/v1/chat/completions", status="307 Temporary Redirect")
        with ScriptedUpstream(moved) as there:
            configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
            with ServedGateway(configuration) as gateway:
                status, said, headers = gateway.ask("/v1/chat/completions", CHAT)
                assert settled(gateway) == []
    assert status == 502
    assert "location" not in headers
    assert elsewhere.root_url not in str(said)
    assert elsewhere.asked == []


def test_a_head_without_end_is_broken_off() -> None:
    """An upstream cannot fill the memory with a line; what it cost nobody knows."""
    endless = b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 1_000_000 + b"\r\ncontent-length: 2\r\n\r\n{}"
    with ScriptedUpstream(endless) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration) as gateway:
            status, said, _ = gateway.ask("/v1/chat/completions", CHAT)
            [entry] = settled(gateway)
    assert status == 502, said
    assert "estimated" in entry.flags


def test_an_upstreams_own_key_is_in_no_answer() -> None:
    """Providers show a key that they refuse, or part of it: what they say of it is not the client's to read."""
    shown = answer(b'{"error": {"message": "Incorrect API key: sk-upstream-secret"}}', status="401 Unauthorized")
    with ScriptedUpstream(shown) as there:
        configuration = configured(upstream("up", there.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration) as gateway:
            status, said, headers = gateway.ask("/v1/chat/completions", CHAT)
            assert settled(gateway) == []
    assert (status, said["error"]["code"]) == (502, "upstream_credentials")
    assert "secret" not in f"{said} {headers}"


def test_a_client_that_leaves_while_it_waits_for_room_leaves_nothing_behind() -> None:
    """It is in the line for what another call holds: its place is the next one's, and nothing is sent for it."""
    with ExitStack() as stack:
        provider = stack.enter_context(FakeProvider(prices=bill))
        options: Any = {"budgets": (hard("0.0001"),), "wait_s": 30.0}
        gateway = stack.enter_context(ServedGateway(configured(*three(provider.root_url), prices=prices(), **options)))
        provider.fail_next(stall="stream", drop_after=2)
        first = Served(gateway, provider, Gate()).begin("/v1/chat/completions", {**CHAT, "stream": True})
        answer = first.getresponse()
        assert answer.read(5)
        second = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        second.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True}))
        assert until(lambda: len(PROCESS.open) == 2, 10)
        second.close()
        assert until(lambda: len(PROCESS.open) == 1, 10), "it waits on, though nobody does"
        answer.close()
        first.close()
        assert sum(each.cost for each in settled(gateway)) >= provider.wait().billed.nano
        assert len(provider.requests) == 1
