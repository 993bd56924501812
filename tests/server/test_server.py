"""The hosted API: who may do what, what people read, and that no input gets a trace out of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from budgetguard import cli
from budgetguard.budgets.rules import user_rule
from budgetguard.errors import ConfigError, StoreError
from budgetguard.ledger import Account, Admitted, Entry, Hold, Refusal, Settled, Wanted, new_id
from budgetguard.litellm.records import UserDict
from budgetguard.server import keys, metrics, projects, protocol
from budgetguard.server.api import requests
from budgetguard.server.api.action import MOST_BYTES
from budgetguard.server.api.dollars import spend
from budgetguard.server.api.endpoint import MOST_BYTES_AT_ONCE
from budgetguard.server.api.litellm.daily import CLAIM_MS, run_daily
from budgetguard.server.app import App
from budgetguard.server.keys import ADMIN, READ, SPEND, KeyRing
from budgetguard.server.keys.finding.failures import MOST_FAILURES, MOST_OF_ADDRESS, REFILL_S, FailedKeys
from budgetguard.server.projects import OWN, Projects
from budgetguard.server.serve import listen_on, run_until_told
from budgetguard.stores import open_store
from budgetguard.stores.http import rows
from budgetguard.testing.clock import StoppedClock
from tests.support import servers
from tests.support.hosting import Hosted, Process
from tests.support.raw_http import has_ended

ACCOUNT = Account("team/2027-01", limit=100)


@pytest.fixture
def server(clock: StoppedClock) -> Iterator[Hosted]:
    """In open mode, in memory."""
    hosted = Hosted("memory://", clock=clock)
    yield hosted
    hosted.stop()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def hold(amount: int = 10, **fields: Any) -> Hold:
    return Hold(new_id(), (ACCOUNT,), amount, **fields)


def reserve_body(amount: int = 10) -> dict[str, Any]:
    return {"id": new_id(), "accounts": [{"key": "team/2027-01", "limit": 100}], "amount": amount}


# -- keys ------------------------------------------------------------------------------------------------------------


def test_without_a_key_there_is_no_answer_but_health(guarded: Hosted) -> None:
    """Not even whether a path exists."""
    assert guarded.ask("GET", "/health")[:2] == (200, {"status": "ok"})
    paths = [(each.method, each.path.replace("{user:path}", "ann")) for each in guarded.app.endpoints]
    for method, path in [*paths, ("GET", "/nothing"), ("PUT", "/v1/reserve"), ("GET", "/")]:
        status, body, headers = guarded.ask(method, path, b"{}" if method != "GET" else None)
        assert (status, body["error"]["type"]) == (401, "authentication_error"), path
        assert headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("given", ["", "bg_x", "bg_0123456789_" + "a" * 43, "Basic abc", "\xe4\xff"])
def test_a_wrong_key_is_refused(guarded: Hosted, ring: KeyRing, given: str) -> None:
    """Whatever it looks like."""
    ring.create("shop", ADMIN)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(given))[0] == 401


def test_a_secret_is_compared_whole(guarded: Hosted, ring: KeyRing) -> None:
    """A right prefix with another secret is no key."""
    key, text = ring.create("shop", ADMIN)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(text))[0] == 200
    other = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(other))[0] == 401
    assert text not in key.to_text()
    assert text.split("_", 2)[2] not in key.to_text()


def test_a_key_sees_nothing_of_another_project(guarded: Hosted, ring: KeyRing) -> None:
    """Neither by the header, nor by LiteLLM's body, nor in the metrics."""
    mine, theirs = (ring.create(name, ADMIN)[1] for name in ("mine", "theirs"))
    asked = {"budgetguard-project": "theirs", **bearer(mine)}
    for body in (reserve_body(), {}):
        assert guarded.post("/v1/reserve", body, headers=asked)[0] in {403, 422}
    assert guarded.post("/v1/reserve", reserve_body(), headers=asked)[0] == 403
    assert guarded.post("/get_budget", {"project_name": "theirs"}, headers=bearer(mine))[0] == 403
    assert guarded.post("/set_budget", {"project_name": "theirs", "user_dict": {}}, headers=bearer(mine))[0] == 403
    named = {"budgetguard-project": "theirs"}
    assert guarded.post("/v1/reserve", reserve_body(), headers={**bearer(theirs), **named})[0] == 200
    own = {"budgetguard-project": "mine", **bearer(mine)}
    assert guarded.post("/v1/ledger/holds", {}, headers=own)[1] == {"holds": []}
    assert b"theirs" not in guarded.ask("GET", "/metrics", headers=own)[1]
    assert b"theirs" in guarded.ask("GET", "/metrics", headers={**bearer(theirs), **named})[1]


def test_the_servers_own_names_are_no_project(server: Hosted, ring: KeyRing) -> None:
    """Or its keys could be read and written through the API."""
    named = {"budgetguard-project": OWN.replace(":", "%3A")}
    assert server.post("/v1/ledger/all_terms", {}, headers=named)[0] == 403
    assert server.post("/get_budget", {"project_name": OWN}, headers={})[0] == 403
    with pytest.raises(ConfigError, match="the server's own"):
        ring.create(OWN, ADMIN)


def test_scopes_limit_what_a_key_may_do(guarded: Hosted, ring: KeyRing) -> None:
    """Spend-only reserves and settles; read-only looks; admin may do both, and change budgets."""
    texts = {scope: ring.create("shop", scope)[1] for scope in (SPEND, READ, ADMIN)}
    budget = {"user": "ann", "limit": 5}
    expected = {
        ("POST", "/v1/reserve", json.dumps(reserve_body())): {SPEND: 200, READ: 403, ADMIN: 200},
        ("POST", "/v1/balances", '{"keys": []}'): {SPEND: 200, READ: 200, ADMIN: 200},
        ("POST", "/v1/budgets", json.dumps(budget)): {SPEND: 403, READ: 403, ADMIN: 201},
        ("GET", "/v1/budgets", None): {SPEND: 403, READ: 200, ADMIN: 200},
        ("GET", "/v1/entries", None): {SPEND: 403, READ: 200, ADMIN: 200},
        ("POST", "/v1/ledger/put_terms", '{"key": "users/ann", "body": null}'): {SPEND: 403, READ: 403, ADMIN: 200},
        ("POST", "/v1/ledger/put_terms", '{"key": "responses/r1", "body": "x"}'): {SPEND: 200, READ: 403, ADMIN: 200},
        ("POST", "/v1/ledger/put_terms", '{"key": "batches/b1", "body": "x"}'): {SPEND: 200, READ: 403, ADMIN: 200},
        ("POST", "/v1/ledger/put_terms", '{"key": "files/f1", "body": "x"}'): {SPEND: 200, READ: 403, ADMIN: 200},
        ("POST", "/v1/ledger/all_terms", '{"prefix": "batches/"}'): {SPEND: 200, READ: 200, ADMIN: 200},
        ("POST", "/v1/ledger/all_terms", '{"prefix": "users/"}'): {SPEND: 403, READ: 200, ADMIN: 200},
        ("POST", "/get_budget", '{"project_name": "shop"}'): {SPEND: 403, READ: 200, ADMIN: 200},
        ("POST", "/set_budget", '{"project_name": "shop", "user_dict": {}}'): {SPEND: 403, READ: 403, ADMIN: 200},
        ("GET", "/metrics", None): {SPEND: 403, READ: 200, ADMIN: 200},
        ("GET", "/ready", None): {SPEND: 200, READ: 200, ADMIN: 200},
    }
    for (method, path, body), statuses in expected.items():
        for scope, status in statuses.items():
            sent = None if body is None else body.encode()
            answer = guarded.ask(method, path, sent, headers=bearer(texts[scope]))
            assert answer[0] == status, (path, scope, answer[1])


def test_a_revoked_or_rotated_key_is_refused_soon(
    guarded: Hosted, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every server, within the time that it trusts what it knows; the new one works at once."""
    key, text = ring.create("shop", ADMIN)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(text))[0] == 200
    new, new_text = ring.rotate(key.prefix)
    assert (new.project, new.scope) == ("shop", ADMIN)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(new_text))[0] == 200
    monkeypatch.setattr(guarded.app.keys, "_clock", lambda: time.monotonic() + keys.KNOWN_S)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(text))[0] == 401
    ring.revoke("bg_" + new.prefix)
    monkeypatch.setattr(guarded.app.keys, "_clock", lambda: time.monotonic() + 2 * keys.KNOWN_S + 1)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(new_text))[0] == 401
    with pytest.raises(ConfigError, match="it was revoked"):
        ring.rotate(key.prefix)
    with pytest.raises(ConfigError, match="no such key"):
        ring.revoke("0000000000")


def test_wrong_keys_are_limited_and_right_ones_are_not(guarded: Hosted, ring: KeyRing) -> None:
    """Somebody who tries keys from an address does not shut out the program that is at work there."""
    _, text = ring.create("shop", ADMIN)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(text))[0] == 200
    wrong = bearer("bg_0123456789_" + "a" * 43)
    statuses = [guarded.post("/v1/ledger/clock", {}, headers=wrong)[0] for _ in range(MOST_FAILURES + 5)]
    assert statuses[:MOST_FAILURES] == [401] * MOST_FAILURES
    assert statuses[-1] == 429
    assert int(guarded.ask("POST", "/v1/ledger/clock", b"{}", headers=wrong)[2]["retry-after"]) >= 1
    time.sleep(keys.KNOWN_S + 0.1)
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(text))[0] == 200


def test_a_wrong_key_shuts_out_no_right_one_that_is_new(guarded: Hosted, ring: KeyRing) -> None:
    """As all are after a restart; but who tries many does."""
    text = ring.create("shop", ADMIN)[1]
    wrong = bearer("bg_0123456789_" + "a" * 43)
    while guarded.post("/v1/ledger/clock", {}, headers=wrong)[0] == 401:
        pass
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(text))[0] == 200
    for number in range(MOST_OF_ADDRESS):
        tried = bearer(f"bg_{number:010x}_" + "a" * 43)
        if guarded.post("/v1/ledger/clock", {}, headers=tried)[0] == 429:
            break
    else:
        pytest.fail("any number can be tried")
    other = ring.create("shop", ADMIN)[1]
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(other))[0] == 429
    assert guarded.post("/v1/ledger/clock", {}, headers=bearer(text))[0] == 200


def test_failures_are_forgotten_with_time() -> None:
    """One every few seconds; and the addresses that are remembered are bounded."""
    clock = StoppedClock(0)
    failed = FailedKeys(clock)
    for _ in range(MOST_FAILURES):
        assert failed.wait_s("a") == 0
        failed.failed("a")
    assert failed.wait_s("a") > 0
    assert failed.wait_s("b") == 0
    clock.advance(REFILL_S)
    assert failed.wait_s("a") == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "127.0.0.2"}, 200),
        ({"Host": "budgets.example.com:8080"}, 403),
        ({"Host": "127.0.0.1.example.com"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_without_keys_a_page_in_a_browser_is_refused(server: Hosted, headers: dict[str, str], status: int) -> None:
    """Any page may send a request to this machine; neither it nor one that was rebound may change a budget."""
    assert server.ask("POST", "/v1/budgets", {"user": "ann", "limit": 1}, headers=headers)[0] == (
        201 if status == 200 else 403
    )


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/reserve", b"", 400),
        ("/v1/reserve", b"{", 400),
        ("/v1/reserve", b"\xff\xfe", 400),
        ("/v1/reserve", b'"\\ud800"', 400),
        ("/v1/reserve", b"[]", 422),
        ("/v1/reserve", b"{}", 422),
        ("/v1/reserve", b'{"id": "a", "accounts": [], "amount": 1e400}', 422),
        ("/v1/reserve", b'{"id": "a", "accounts": [], "amount": -1}', 422),
        ("/v1/reserve", b'{"id": "a", "accounts": [], "amount": 99999999999999999}', 422),
        ("/v1/reserve", b'{"id": "a", "accounts": [], "amount": 1, "surprise": 1}', 422),
        *[
            ("/v1/reserve", b'{"id": "a", "accounts": [{"key": "t#tokens"}], "amount": 1, "units": %s}' % units, 422)
            for units in (
                b"{}",
                b"7",
                b'{"tokens": 7}',
                b'{"tokens": {}}',
                b'{"tokens": {"amount": -1}}',
                b'{"tokens": {"amount": 1.0}}',
                b'{"tokens": {"amount": 1e3}}',
                b'{"tokens": {"amount": true}}',
                b'{"tokens": {"amount": "1"}}',
                b'{"tokens": {"amount": 9000000000000001}}',
                b'{"tokens": {"amount": 1e400}}',
                b'{"tokens": {"amount": 1, "most": 2}}',
                b'{"tokens": {"amount": 1, "least": false}}',
                b'{"tokens": {"amount": 1}, "words": {"amount": 1}}',
            )
        ],
        ("/v1/reserve", b'{"id": "a", "accounts": [{"key": "t#tokens"}], "amount": 1, "units": {"tokens": NaN}}', 400),
        ("/v1/reserve", b'{"id": "a", "accounts": [{"key": "a#tokens", "window": ["b"]}], "amount": 1}', 422),
        ("/v1/renew", b'{"holds": [{"id": "a", "accounts": [{"key": "t#tokens"}], "amount": 1}]}', 422),
        *[
            (
                "/v1/settle",
                b'{"hold": {"id": "a", "accounts": [], "amount": 1}, "entry": {"hold_id": "a", "cost": 1, "units": %s}}'
                % units,
                422,
            )
            for units in (b'{"tokens": -1}', b'{"tokens": 1.5}', b'{"tokens": {"amount": 1}}', b'{"tokens": null}')
        ],
        ("/v1/ledger/load", b'{"accounts": [{"key": "a#tokens", "unit": "requests"}]}', 422),
        (
            "/v1/settle",
            b'{"hold": {"id": "a", "accounts": [], "amount": 1}, "entry": {"hold_id": "b", "cost": 1}}',
            422,
        ),
        ("/v1/ledger/entries", b'{"after": "nobody"}', 400),
        ("/v1/ledger/load", b'{"accounts": [{"key": "a", "end_ms": 1000000000000000000000000000000}]}', 422),
        ("/v1/ledger/load", b'{"terms": [{"key": "a", "version": 9223372036854775807, "body": "x"}]}', 422),
        ("/v1/ledger/load", b'{"terms": [{"key": "a", "version": -1, "body": "x"}]}', 422),
        ("/v1/ledger/load", b'{"terms": [{"key": "users/ann", "version": 1, "body": "x"}]}', 422),
        ("/set_budget", b'{"project_name": "shop", "user_dict": ' + b'{"a":' * 100_000, 400),
        ("/v1/budgets", b'{"user": "ann", "limit": -1}', 400),
        ("/v1/budgets", b'{"user": "ann", "limit": "many"}', 400),
        ("/v1/budgets", b'{"user": " ", "limit": 1}', 400),
        ("/v1/budgets", b'{"user": "ann", "limit": 1, "period": "hourly"}', 400),
        ("/v1/budgets", b'{"user": "ann", "limit": 1, "timezone": "Mars/Olympus"}', 400),
    ],
)
def test_bad_input_gets_an_error_that_says_so(server: Hosted, path: str, body: bytes, status: int) -> None:
    """Shaped as OpenAI's, with a status that fits, and never a trace."""
    answer = server.ask("POST", path, body)
    assert answer[0] == status, answer[1]
    error = answer[1]["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert " " not in (error["param"] or "")
    assert "Traceback" not in json.dumps(answer[1])


@pytest.mark.parametrize(
    "changed",
    [
        None,
        {"user": "bob"},
        {"user": 7},
        {"created": "now"},
        {"updated": 1e300},
        {"epoch": "1"},
        {"limit": "much"},
        {"limit": -1},
        {"limit": 10**30},
        {"period": "daily", "timezone": "Mars/Olympus"},
    ],
)
def test_what_is_no_budget_is_not_stored_as_one(server: Hosted, changed: dict[str, Any] | None) -> None:
    """It would be in the way of everybody who lists them."""
    assert server.post("/v1/budgets", {"user": "ann", "limit": 1})[0] == 201
    body = server.post("/v1/ledger/terms", {"key": "users/ann"})[1]["terms"]["body"]
    spoilt = "x" if changed is None else json.dumps({**json.loads(body), **changed})
    assert server.post("/v1/ledger/put_terms", {"key": "users/ann", "body": spoilt})[0] == 422
    assert server.post("/v1/ledger/put_terms", {"key": "users/ann", "body": body})[0] == 200
    for path in ("/v1/budgets", "/v1/users"):
        assert server.ask("GET", path)[0] == 200
    assert server.post("/get_budget", {"project_name": "shop"})[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/entries?limit=0", 422),
        ("/v1/entries?limit=x", 422),
        ("/v1/entries?limit=1&limit=2", 422),
        ("/v1/entries?format=xml", 422),
        ("/v1/entries?tag=team", 422),
        ("/v1/entries?since=yesterday", 422),
        ("/v1/entries?since=0001-01-01", 200),
        ("/v1/entries?until=9999-12-31T23:59:59-23:59", 200),
        ("/v1/entries?surprise=1", 422),
        ("/v1/entries?user=%ff", 400),
        ("/v1/entries?after=nobody", 400),
        ("/v1/spend?by=", 422),
        ("/v1/budgets/%ff", 400),
        ("/v1/budgets/nobody", 404),
        ("/v1/nothing", 404),
    ],
)
def test_a_query_that_cannot_be_used_says_so(server: Hosted, path: str, status: int) -> None:
    """Before anything is read."""
    assert server.ask("GET", path)[0] == status


def test_a_body_that_is_too_long_is_not_read(server: Hosted) -> None:
    """Whether it says how long it is, or comes in chunks."""
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        told = f"content-length: {MOST_BYTES + 1}".encode()
        raw.sendall(
            b"POST /v1/reserve HTTP/1.1\r\nhost: localhost\r\nbudgetguard-project: shop\r\n" + told + b"\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(
            b"POST /v1/reserve HTTP/1.1\r\nhost: localhost\r\nbudgetguard-project: shop\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        try:
            for _ in range(40):
                raw.sendall(chunk)
        except OSError:
            pass
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_long_body_is_read_in_a_thread(server: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would wait for it, and a reserve does not wait long."""
    threads: list[str] = []

    def unescaped(value: Any) -> Any:
        threads.append(threading.current_thread().name)
        return read(value)

    read = rows.unescaped
    monkeypatch.setattr(rows, "unescaped", unescaped)
    for length in (10, MOST_BYTES_AT_ONCE):
        body = rows.dump({"keys": ["\udcff" + "a" * length]})
        assert rows.has_marks(body)
        assert server.post("/v1/balances", body)[0] == 200
    assert "budgetguard-server" not in threads[0]
    assert "budgetguard-server" in threads[1]
    assert server.post("/v1/balances", b" " * 9_000_000)[0] == 413


@pytest.mark.parametrize("begun", [b"{", b""])
def test_a_body_that_does_not_arrive_is_given_up(server: Hosted, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """A client that sends a byte a minute, or none, holds no place for ever."""
    monkeypatch.setattr(requests, "BODY_S", 0.1)
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(
            b"POST /v1/reserve HTTP/1.1\r\nhost: localhost\r\nbudgetguard-project: shop\r\ncontent-length: 10\r\n\r\n"
            + begun
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("behind", [b"\x00\x01 what\r\n\r\n", b"NO SUCH\r\n" * 20, b"x" * 70_000])
def test_a_whole_request_is_answered_whatever_comes_behind_it(server: Hosted, behind: bytes) -> None:
    """Its own answer, once, and then the end of the connection."""
    body = b'{"keys":["a"]}'
    head = b"POST /v1/balances HTTP/1.1\r\nhost: localhost\r\nbudgetguard-project: shop\r\n"
    head += b"content-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(head + body + behind)
        answer = b""
        while piece := raw.recv(10_000):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'"balances":[{"key":"a"' in answer


def test_connections_that_say_nothing_make_room(server: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest one without a key goes first; who has shown one stays as long as there are others."""
    monkeypatch.setattr(protocol, "most_connections", lambda: 20)

    def ask(connection: http.client.HTTPConnection) -> int:
        connection.request("POST", "/v1/balances", b'{"keys":[]}', {"budgetguard-project": "shop"})
        with connection.getresponse() as answer:
            answer.read()
            return answer.status

    known = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    assert ask(known) == 200
    first = known.sock
    silent = []
    for _ in range(60):
        silent.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        time.sleep(0.005)
    assert ask(known) == 200
    assert known.sock is first
    new = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    assert ask(new) == 200
    closed = [has_ended(each) for each in silent]
    assert sum(closed) >= 40
    assert closed == sorted(closed, reverse=True)
    for each in (*silent, known, new):
        each.close()


def test_a_head_that_does_not_end_is_given_up(server: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is never there, nor one that comes slowly, nor one that goes on and on, keeps its place."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    begun = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
    for sent in (b"", b"GET /hea", begun):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(sent)
            assert raw.recv(100).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(begun + b"\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += raw.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200")
        time.sleep(0.5)  # an idle connection may stay
        raw.sendall(begun)
        assert raw.recv(100).startswith(b"HTTP/1.1 408")
    for line in (b"x: " + b"y" * 100 + b"\r\n", b"y" * 1000):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(begun + b"a: ")
            with suppress(OSError):
                for _ in range(10_000):
                    raw.sendall(line)
            assert raw.recv(100).startswith(b"HTTP/1.1 431")


CHUNKED = b"POST /v1/reserve HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"


def is_closed(raw: socket.socket) -> bool:
    """Whether the other side closes a connection now; what it still says is read."""
    raw.settimeout(5)
    with suppress(ConnectionError):
        while raw.recv(100_000):
            pass
    return True


@pytest.mark.parametrize("line", [b"x: y\r\n" * 1000, b"y" * 10_000])
def test_what_follows_a_body_is_bounded(guarded: Hosted, line: bytes) -> None:
    """Trailers that never end are kept nowhere, whether their request is answered or still read."""
    with socket.create_connection(("127.0.0.1", guarded.port)) as raw:
        raw.sendall(CHUNKED + b"0\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 401")
        with suppress(OSError):
            for _ in range(1000):
                raw.sendall(line)
                time.sleep(0.001)
            pytest.fail("all of it was read")


@pytest.mark.parametrize("line", [b"x: y\r\n" * 1000, b"y" * 10_000])
def test_what_follows_a_body_is_bounded_while_it_is_read(server: Hosted, line: bytes) -> None:
    """The same for those who may."""
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(CHUNKED + b"2\r\n{}\r\n0\r\n")
        with suppress(OSError):
            for _ in range(1000):
                raw.sendall(line)
                time.sleep(0.001)
        assert raw.recv(100).startswith(b"HTTP/1.1 431")


def test_an_answered_request_has_to_end(guarded: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends half a body, and then a byte or nothing, holds no connection for ever."""
    monkeypatch.setattr(protocol, "LINGER_S", 0.3)
    head = b"POST /v1/reserve HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
    for more in (b"", b"{"):
        with socket.create_connection(("127.0.0.1", guarded.port)) as raw:
            raw.sendall(head)
            assert raw.recv(1000).startswith(b"HTTP/1.1 401")
            raw.sendall(more)
            begin = time.monotonic()
            assert is_closed(raw)
            assert time.monotonic() - begin < 2


def test_a_refusal_is_read_by_a_client_that_still_sends(guarded: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the connection is as good as before, and as long as any that is idle."""
    monkeypatch.setattr(protocol, "LINGER_S", 0.3)
    body = b" " * 1_000_000
    with socket.create_connection(("127.0.0.1", guarded.port)) as raw:
        for _ in range(2):
            raw.sendall(b"POST /v1/reserve HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body))
            time.sleep(0.1)
            raw.sendall(body)
            assert raw.recv(1000).startswith(b"HTTP/1.1 401")
        time.sleep(0.5)
        raw.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_connection_that_is_idle_is_closed(guarded: Hosted) -> None:
    """Also after the rest of a request that was answered before it ended."""
    guarded.keep_alive(0.3)
    with socket.create_connection(("127.0.0.1", guarded.port)) as raw:
        raw.sendall(CHUNKED)
        assert raw.recv(1000).startswith(b"HTTP/1.1 401")
        raw.sendall(b"0\r\n\r\n")
        assert is_closed(raw)


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_upgrade_is_ignored(server: Hosted, upgrade: str, at_once: bool) -> None:
    """curl and Java's client ask for HTTP/2 so; the request is answered as any, and so is the next."""
    asked = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        for _ in range(2):
            body = json.dumps(reserve_body()).encode()
            head = f"POST /v1/reserve HTTP/1.1\r\nHost: localhost\r\nbudgetguard-project: shop\r\n{asked}"
            head += f"Content-Length: {len(body)}\r\n\r\n"
            if at_once:
                raw.sendall(head.encode() + body)
            else:
                raw.sendall(head.encode())
                time.sleep(0.05)
                raw.sendall(body)
            answer = b""
            while not answer.endswith(b"}]}"):
                answer += raw.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.partition(b"\r\n\r\n")[2].startswith(b'{"admitted":10,"balances":[')
        raw.sendall(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{asked}\r\n".encode() * 2)
        while answer.count(b'"ok"') < 2:
            answer += raw.recv(1000)


def test_this_is_no_proxy(server: Hosted) -> None:
    """CONNECT is no request that it knows."""
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400")


def test_what_goes_wrong_inside_is_in_the_log_only(
    server: Hosted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets an id to ask about."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("at secret place")

    store = server.app.projects.open("shop").store
    monkeypatch.setattr(store, "holds", broken)
    status, body, headers = server.ask("POST", "/v1/ledger/holds", b"{}")
    assert (status, body["error"]["type"]) == (500, "server_error")
    assert "secret" not in json.dumps(body)
    record = next(each for each in caplog.records if each.exc_info)
    assert vars(record)["request_id"] == headers["x-request-id"]


def test_a_store_that_is_away_is_an_error_of_its_own(
    server: Hosted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503, so that a proxy asks the next server, and a client waits with its journal. Where it is, is in the log."""

    def away(*_: Any) -> None:
        raise StoreError("postgresql://10.0.0.7/budgets is away")

    monkeypatch.setattr(server.app.projects.open("shop").store, "reserve", away)
    status, body, headers = server.ask("POST", "/v1/reserve", reserve_body())
    assert (status, body["error"]["code"]) == (503, "store_unavailable")
    assert "10.0.0.7" not in json.dumps(body)
    record = next(each for each in caplog.records if "10.0.0.7" in str(vars(each).get("problem")))
    assert vars(record)["request_id"] == headers["x-request-id"]
    with pytest.raises(StoreError, match="server's log says why"):
        open_store(server.url, namespace="shop").reserve(hold())


@pytest.mark.parametrize("waits", [False, True])
def test_what_a_store_is_not_made_for_reaches_the_client_as_that(
    url: str, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """It is for people to mend, and does not pass with time: no 500, and no store that is away."""
    hosted = Hosted(url if waits else "memory://")

    def refused(*_: Any, **__: Any) -> None:
        raise ConfigError("this store counts dollars only as yet")

    placed = hosted.app.projects.open("shop").store
    for name in ("reserve", "settle", "settle_many", "renew", "load"):
        monkeypatch.setattr(placed, name, refused)
    store, held = open_store(f"{hosted.url}?reserve_s=5&settle_s=5", namespace="shop"), hold()
    entry = Entry(held.id, 1)
    for ask in (
        lambda: store.reserve(held),
        lambda: store.settle(held, entry),
        lambda: store.settle_many([(held, entry)]),
        lambda: store.renew([held]),
        lambda: store.load(entries=[entry]),
    ):
        with pytest.raises(ConfigError, match=r"^this store counts dollars only as yet$"):
            ask()
    store.close()
    hosted.stop()


def test_no_secret_is_in_any_log_line(url: str, ring: KeyRing) -> None:
    """Neither the key of a request that went well, nor one that was wrong, nor a body, nor a query."""
    _, text = ring.create("shop", ADMIN)
    wrong = "bg_0123456789_" + "w" * 43
    with Process(url, "--log-level", "debug") as process:
        for key in (text, wrong):
            process.post("/v1/budgets", {"user": "private person", "limit": 1}, headers=bearer(key))
            process.ask("GET", f"/v1/budgets/x?key={key}", headers=bearer(key))
            process.post("/v1/budgets", b"private {", headers=bearer(key))
        assert process.stop() == 0
        log = process.log()
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line.get("status") for line in lines} >= {201, 404, 400, 401}
    for secret in (text, text.split("_", 2)[2], wrong, "w" * 43, "private"):
        assert secret not in log


# -- the process -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_while_it_starts_ends(tmp_path, monkeypatch, number):
    """Whoever starts and stops it at once, as deployments do, would wait until it is killed."""
    run, late = uvicorn.Server.run, threading.Timer(20, signal.raise_signal, [number])

    def told_first(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        signal.raise_signal(number)
        late.start()
        run(server, sockets)

    monkeypatch.setattr(uvicorn.Server, "run", told_first)
    with listen_on("127.0.0.1", 0) as listening:
        app = App(f"sqlite:///{tmp_path}/books.db")
        run_until_told(app, listening)
        app.close()
    assert late.is_alive(), "it ended by itself"
    late.cancel()


def test_a_server_is_ready_soon_and_finishes_what_it_is_at(url: str) -> None:
    """On SIGTERM, requests under way are answered; then it ends with 0."""
    with Process(url, "--open") as process:
        assert process.ready_s < 8  # 2 on a machine that does nothing else
        with socket.create_connection(("127.0.0.1", process.port)) as raw:
            body = json.dumps(reserve_body()).encode()
            head = b"POST /v1/reserve HTTP/1.1\r\nhost: localhost\r\nbudgetguard-project: shop\r\n"
            head += b"content-length: %d\r\n\r\n"
            raw.sendall(head % len(body) + body[:10])
            time.sleep(0.1)
            process.terminate()
            time.sleep(0.3)
            raw.sendall(body[10:])
            answer = b"".join(iter(lambda: raw.recv(1000), b""))
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["admitted"] == 10
        assert process.wait() == 0
        assert "OPEN MODE" in process.log()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--open", "--host", "0.0.0.0"], "without keys a server is for this machine only"),
        (["--store", "memory://"], "keys are kept in the store"),
        (["--store", "mongodb://x"], "mongodb:// is no store"),
        (["--store", "https://x"], "not before another server"),
        (["--host", "no.such.host.invalid"], "cannot be listened on"),
        (["--log-level", "loud"], "use debug, info, warning or error"),
    ],
)
def test_a_server_that_cannot_be_says_why(arguments: list[str], told: str, tmp_path: Path) -> None:
    """In one line, with exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "budgetguard.cli", "serve", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_makes_lists_rotates_and_revokes_keys(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A key is shown once."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["keys", *arguments, "--store", url])
        assert ended.value.code == 0
        return capsys.readouterr().out

    first = run("create", "shop", "--scope", "read", "--note", "dashboard").strip()
    prefix = first.split("_")[1]
    second = json.loads(run("rotate", prefix, "--json"))
    assert (second["project"], second["scope"], second["note"]) == ("shop", "read", "dashboard")
    run("revoke", second["prefix"])
    listed = {each["prefix"]: each for each in json.loads(run("list", "--json"))}
    assert set(listed) == {prefix, second["prefix"]}
    assert all(each["revoked"] for each in listed.values())
    assert first not in run("list")
    assert prefix in run("list")


def test_the_command_line_says_which_project_and_store_are_needed(
    guarded: Hosted, ring: KeyRing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a server and a key, and nothing else, it does not know the key's project; and it makes no keys there."""

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments])
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out + said.err

    monkeypatch.setenv("BUDGETGUARD_STORE", guarded.url)
    monkeypatch.setenv("BUDGETGUARD_KEY", ring.create("shop", ADMIN)[1])
    for command in (["users"], ["budget", "set", "ann", "5"], ["doctor"]):
        code, said = run(*command)
        assert code != 0
        assert "name the key's own (as project_name, --project or BUDGETGUARD_PROJECT)" in " ".join(said.split())
    for command in (["keys", "list"], ["keys", "create", "shop"]):
        code, said = run(*command)
        assert code == 2
        assert "where the store behind the server is reached" in said
    monkeypatch.setenv("BUDGETGUARD_PROJECT", "shop")
    assert run("users")[0] == 0
    code, said = run("doctor")
    assert "key" not in said


# -- budgets, users, entries, spend ----------------------------------------------------------------------------------


def test_a_budget_is_created_read_changed_and_deleted(server: Hosted) -> None:
    """With what it has taken, and when it begins again."""
    status, made = server.post("/v1/budgets", {"user": "ann", "limit": "0.25", "period": "monthly"})
    assert status == 201
    assert (made["limit"], made["spent"], made["left"], made["period"]) == (0.25, 0, 0.25, "monthly")
    assert made["resets_at"] == "2027-02-01T00:00:00+00:00"
    status, error = server.post("/v1/budgets", {"user": "ann", "limit": 1})
    assert (status, error["error"]["code"]) == (409, "exists")
    changed = server.ask("PATCH", "/v1/budgets/ann", {"limit": 5, "enforce": "soft"})[1]
    assert (changed["limit"], changed["enforce"], changed["period"]) == (5, "soft", "monthly")
    changed = server.ask("PATCH", "/v1/budgets/ann", {"limit": None, "timezone": "Europe/Berlin"})[1]
    assert (changed["limit"], changed["left"], changed["timezone"]) == (None, None, "Europe/Berlin")
    replaced = server.ask("PUT", "/v1/budgets/ann", {"limit": 2})[1]
    assert (replaced["limit"], replaced["period"], replaced["enforce"]) == (2, "forever", "hard")
    assert server.ask("GET", "/v1/budgets/ann")[1] == replaced
    assert server.ask("DELETE", "/v1/budgets/ann")[:2] == (200, {"done": True})
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"limit": 1})):
        assert server.ask(method, "/v1/budgets/ann", body)[0] == 404
    assert server.post("/v1/budgets", {"user": "ann", "limit": 1})[0] == 201


def test_a_reset_begins_again_with_nothing_spent(server: Hosted) -> None:
    """The history stays."""
    users = server.app.projects.open("shop").users
    users.book(users.put("ann", user_rule(10, "monthly")), 3_000_000_000, model="gpt-4", usage={})
    assert server.ask("GET", "/v1/budgets/ann")[1]["spent"] == 3
    assert server.ask("PATCH", "/v1/budgets/ann", {"reset": True})[1]["spent"] == 0
    assert server.ask("GET", "/v1/spend")[1]["cost"] == 3


@pytest.mark.parametrize("user", ["a/b", "a b", "a%2Fb", "?x#y", "名前", "..", "a\0b", "\udcff", "a,b'\"\n", "a\nb"])
def test_any_text_names_a_user(server: Hosted, user: str) -> None:
    """In a path, a query and a body."""
    from urllib.parse import quote

    from budgetguard.stores.http.rows import dump, escape_text, unescaped

    place = "/v1/budgets/" + quote(escape_text(user), safe="")
    assert server.ask("POST", "/v1/budgets", dump({"user": user, "limit": 1}))[0] == 201
    assert unescaped(server.ask("GET", place)[1])["user"] == user
    assert [unescaped(each)["user"] for each in server.ask("GET", "/v1/users")[1]["users"]] == [user]
    assert server.ask("DELETE", place)[0] == 200


def test_a_slash_in_a_path_is_a_part_of_the_name(server: Hosted) -> None:
    """A proxy may write %2F as a slash: another user's budget must not be taken for the one that was meant."""
    server.post("/v1/budgets", {"user": "b", "limit": 1})
    assert server.ask("DELETE", "/v1/budgets/a/b")[0] == 404
    server.post("/v1/budgets", {"user": "a/b", "limit": 2})
    assert server.ask("GET", "/v1/budgets/a/b")[1]["limit"] == 2
    assert server.ask("GET", "/v1/budgets/b")[1]["limit"] == 1
    assert server.ask("GET", "/v1/%62udgets/b")[0] == 404


def test_lists_come_in_pages(server: Hosted) -> None:
    """`next` leads on, and is null at the end."""
    for number in range(5):
        server.post("/v1/budgets", {"user": f"u{number}", "limit": 1})
    for path, name in (("/v1/budgets", "budgets"), ("/v1/users", "users")):
        found, after = [], ""
        while after is not None:
            page = server.ask("GET", f"{path}?limit=2" + (f"&after={after}" if after else ""))[1]
            found += [each["user"] for each in page[name]]
            after = page["next"]
        assert found == [f"u{number}" for number in range(5)]


@pytest.fixture
def history(server: Hosted, clock: StoppedClock) -> Hosted:
    """Four calls on two days."""
    store = server.app.projects.open("shop").store
    for place, (cost, user, model, team) in enumerate(
        [(1, "ann", "a", "x"), (2, "bob", "b", "x"), (4, "ann", "b", "y"), (8, "=cmd()", "b", "y")]
    ):
        held = hold(cost, tags={"user": user, "team": team}, model=model)
        store.reserve(held)
        usage = {"input_tokens": 10 * cost, "output_tokens": cost}
        store.settle(held, Entry(held.id, cost * 10**9, tags=held.tags, provider="p", model=model, usage=usage))
        clock.advance(86_400 if place == 1 else 1)
    return server


@pytest.mark.parametrize(
    ("query", "costs"),
    [
        ("", [1, 2, 4, 8]),
        ("user=ann", [1, 4]),
        ("model=b", [2, 4, 8]),
        ("tag=team=y&user=ann", [4]),
        ("since=2027-01-02", [4, 8]),
        ("until=2027-01-02T00:00:00Z", [1, 2]),
        ("model=b&limit=1", [2]),
    ],
)
def test_entries_are_found_by_user_model_tag_and_time(history: Hosted, query: str, costs: list[int]) -> None:
    """All that match."""
    assert [each["cost"] for each in history.ask("GET", f"/v1/entries?{query}")[1]["entries"]] == costs


def test_entries_come_in_pages_and_as_csv(history: Hosted) -> None:
    """CSV has all of them; a text that a spreadsheet would run is marked as text."""
    page = history.ask("GET", "/v1/entries?limit=3")[1]
    rest = history.ask("GET", f"/v1/entries?limit=3&after={page['next']}")[1]
    assert [each["cost"] for each in page["entries"] + rest["entries"]] == [1, 2, 4, 8]
    assert rest["next"] is None
    status, body, headers = history.ask("GET", "/v1/entries?format=csv")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    lines = body.decode().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("at,user,provider,model,cost,")
    assert lines[1].startswith("2027-01-01T12:00:00+00:00,ann,p,a,1.000000000,10,1,")
    assert ",'=cmd()," in lines[4]
    assert len(history.ask("GET", "/v1/entries?format=csv&limit=2")[1].splitlines()) == 3


def test_csv_of_many_entries_has_them_all(server: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over its inner pages."""
    monkeypatch.setattr(spend, "_CSV_PAGE", 7)
    store = server.app.projects.open("shop").store
    for number in range(30):
        held = hold(1)
        store.settle(held, Entry(held.id, number))
    assert len(server.ask("GET", "/v1/entries?format=csv")[1].splitlines()) == 31
    assert len(server.ask("GET", "/v1/entries?format=csv&limit=9")[1].splitlines()) == 10


def test_spend_is_grouped(history: Hosted) -> None:
    """By user, model, tag, day, or several."""
    by_user = history.ask("GET", "/v1/spend")[1]
    assert [(each["group"], each["cost"], each["calls"]) for each in by_user["groups"]] == [
        ({"user": "=cmd()"}, 8, 1),
        ({"user": "ann"}, 5, 2),
        ({"user": "bob"}, 2, 1),
    ]
    assert by_user["cost"] == 15
    both = history.ask("GET", "/v1/spend?by=day&by=team&model=b")[1]["groups"]
    assert [(each["group"], each["cost"]) for each in both] == [
        ({"day": "2027-01-01", "team": "x"}, 2),
        ({"day": "2027-01-02", "team": "y"}, 12),
    ]
    users = history.ask("GET", "/v1/users")[1]["users"]
    assert [(each["user"], each["spent"], each["has_budget"]) for each in users] == [
        ("=cmd()", 8, False),
        ("ann", 5, False),
        ("bob", 2, False),
    ]


# -- metrics, jobs, load ---------------------------------------------------------------------------------------------


def test_metrics_tell_spend_holds_and_refusals_by_budget(server: Hosted) -> None:
    """And the latency of every endpoint."""
    store = open_store(server.url, namespace="shop")
    first, second = hold(60), hold(30)
    for held in (first, second):
        assert isinstance(store.reserve(held), Admitted)
    store.reserve(hold(50))
    store.settle(first, Entry(first.id, 55))
    store.reserve(hold(90))
    store.close()
    text = server.ask("GET", "/metrics")[1].decode()
    for line in (
        'budgetguard_spend_dollars_total{budget="team",project="shop"} 5.5e-08',
        'budgetguard_holds_placed_total{budget="team",project="shop"} 2.0',
        'budgetguard_refusals_total{budget="team",project="shop",room="held"} 1.0',
        'budgetguard_refusals_total{budget="team",project="shop",room="spent"} 1.0',
        'budgetguard_open_holds{budget="team",project="shop"} 1.0',
        'budgetguard_held_dollars{budget="team",project="shop"} 3e-08',
        'budgetguard_request_seconds_count{path="/v1/reserve",status="200"} 4.0',
    ):
        assert line in text


def test_metrics_tell_tokens_and_requests_apart_from_dollars(server: Hosted) -> None:
    """Each budget in its own unit: 700 tokens are not $0.0000007."""
    store = open_store(server.url, namespace="shop")
    counted = (Account("tokens//2027#tokens", 1_000), Account("calls/ann/1#requests", 3))
    first, second = [hold(60)._replace(accounts=counted, units={"tokens": Wanted(300)}) for _ in range(2)]
    for held in (first, second):
        assert isinstance(store.reserve(held), Admitted)
    store.settle(first, Entry(first.id, 55, ("team",), units={"tokens": 210}))
    store.close()
    text = server.ask("GET", "/metrics")[1].decode()
    told = [line for line in text.splitlines() if 'project="shop"' in line and not line.startswith("budgetguard_ends")]
    assert sorted(told) == [
        'budgetguard_held{budget="calls",project="shop",unit="requests"} 1.0',
        'budgetguard_held{budget="tokens",project="shop",unit="tokens"} 300.0',
        'budgetguard_holds_placed_total{budget="calls",project="shop"} 2.0',
        'budgetguard_holds_placed_total{budget="tokens",project="shop"} 2.0',
        'budgetguard_open_holds{budget="calls",project="shop"} 1.0',
        'budgetguard_open_holds{budget="tokens",project="shop"} 1.0',
        'budgetguard_spend_dollars_total{budget="team",project="shop"} 5.5e-08',
        'budgetguard_used_total{budget="calls",project="shop",unit="requests"} 1.0',
        'budgetguard_used_total{budget="tokens",project="shop",unit="tokens"} 210.0',
    ]


def test_the_names_that_metrics_remember_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spender names its accounts, as many as it likes."""
    monkeypatch.setattr(metrics, "_MOST_BUDGETS", 3)
    meter = metrics.Meter()
    for number in range(9):
        held = Hold(new_id(), (Account(f"a{number}"),), 1)
        meter.settled(held, Entry(held.id, 1), Settled(1))
        meter.reserved(held, Admitted(1))
    assert meter.spend == {"a0": 1, "a1": 1, "a2": 1, "(others)": 6}
    assert meter.placed == {"a0": 1, "a1": 1, "a2": 1, "(others)": 6}


def test_the_daily_job_runs_once_whoever_runs_it(url: str, clock: StoppedClock) -> None:
    """Four servers on one store; and a record then says when its period began."""
    servers = [Projects(url, clock=clock) for _ in range(4)]
    shop = servers[0].open("shop")
    servers[0].note(shop)
    shop.users.put("ann", user_rule(10, "daily"))
    created = shop.users.get("ann").updated_s
    done: list[bool] = []
    for days in range(3):
        threads = [threading.Thread(target=lambda each=each: done.append(run_daily(each))) for each in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done.count(True) == days + 1
        own = shop.users.get("ann")
        if days == 0:
            assert own.updated_s == created
        else:
            assert own.updated_s == own.rule.window(shop.store.now_ms()).start_ms / 1000
            assert UserDict(shop.users)["ann"]["current_cost"] == 0
        clock.advance(86_400)
    for each in servers:
        each.close()


def test_a_project_that_fails_leaves_the_daily_job_of_the_others_alone(
    url: str, clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; and it is tried again later on the same day, and done then."""
    opened = Projects(url, clock=clock)
    for name in ("aaa", "bbb"):
        opened.note(opened.open(name))
        opened.open(name).users.put("ann", user_rule(1, "daily"))
    broken, whole = opened.open("aaa").store, opened.open("bbb")
    budget = broken.terms("users/ann")
    broken.put_terms("users/ann", "garbage")
    clock.advance(86_400)
    assert run_daily(opened)
    assert "daily job" in caplog.text
    assert whole.users.get("ann").updated_s == whole.users.get("ann").rule.window(whole.store.now_ms()).start_ms / 1000
    assert not run_daily(opened)
    broken.put_terms("users/ann", budget.body)
    clock.advance(CLAIM_MS / 1000)
    assert run_daily(opened)
    clock.advance(CLAIM_MS / 1000)
    assert not run_daily(opened)
    opened.close()


@pytest.mark.parametrize("kind", ["sqlite", *servers.NAMES])
def test_the_stores_that_are_open_are_bounded(kind: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has connections or files of its own; and what was counted stays, also in the metrics."""
    monkeypatch.setattr(projects, "MOST_OPEN", 3)
    hosted = Hosted(url if kind == "sqlite" else servers.running(kind))
    names = [f"p{number}-{new_id()}" for number in range(12)]
    try:
        for name in [*names, *names]:
            assert hosted.post("/v1/reserve", reserve_body(), headers={"budgetguard-project": name})[0] == 200
        assert [each.name for each in hosted.app.projects.opened()] == names[-3:]
        for name in (names[0], names[-1]):
            text = hosted.ask("GET", "/metrics", headers={"budgetguard-project": name})[1].decode()
            assert f'placed_total{{budget="team",project="{name}"}} 2.0' in text
            held = hosted.post("/v1/ledger/holds", {}, headers={"budgetguard-project": name})[1]["holds"]
            assert len(held) == 2
        hosted.app.projects._closing.submit(len, "").result(10)
        if kind == "sqlite":
            opened = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.exists()]
            assert len([each for each in opened if each == url.removeprefix("sqlite:///")]) <= 4 * 3
    finally:
        hosted.stop()


def test_a_store_in_use_is_not_closed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others are asked for meanwhile."""
    monkeypatch.setattr(projects, "MOST_OPEN", 2)
    opened = Projects(url)
    caller = keys.Caller(None, ADMIN, "")
    with opened.using(caller, "shop") as shop:
        for number in range(5):
            with opened.using(caller, f"p{number}"):
                pass
        assert opened.open("shop") is shop
    for number in range(5):
        opened.open(f"p{number}")
    assert opened.open("shop") is not shop
    opened.close()


def test_too_many_requests_at_once_are_told_so(url: str) -> None:
    """They would only wait beyond their clients' patience."""
    hosted = Hosted(url, most_waiting=0)
    status, body = hosted.post("/v1/reserve", reserve_body())
    assert (status, body["error"]["code"]) == (503, "busy")
    hosted.stop()


def test_a_call_that_is_refused_counts_once_however_often_it_asks(server):
    """A client asks again when it has counted its input, and while it waits for room."""
    store = open_store(server.url, namespace="shop")
    asked = hold(150)
    for _ in range(3):
        assert isinstance(store.reserve(asked), Refusal)
    store.close()

    for _ in range(2):
        text = server.ask("GET", "/metrics")[1].decode()
        assert 'budgetguard_refusals_total{budget="team",project="shop",room="spent"} 1.0' in text


def test_a_call_that_is_let_through_when_it_asks_again_was_not_refused(server):
    """It fits once its input is counted. A counter never goes back: a refusal that was told of stays."""
    store = open_store(server.url, namespace="shop")
    asked, told = hold(150), hold(150)
    assert isinstance(store.reserve(asked), Refusal)
    assert isinstance(store.reserve(asked._replace(amount=10)), Admitted)
    assert "budgetguard_refusals_total{" not in server.ask("GET", "/metrics")[1].decode()

    assert isinstance(store.reserve(told), Refusal)
    line = 'budgetguard_refusals_total{budget="team",project="shop",room="spent"} 1.0'
    assert line in server.ask("GET", "/metrics")[1].decode()
    assert isinstance(store.reserve(told._replace(amount=10)), Admitted)
    assert line in server.ask("GET", "/metrics")[1].decode()
    store.close()
