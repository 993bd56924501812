"""What a client of the gateway is told of a call that is not answered, as the SDK of each API raises it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.server.keys.records import Grant
from budgetguard.testing import FakeProvider
from tests.support import servers
from tests.support.gateway import CLAUDE, GEMINI, MESSAGES, MODEL, ServedGateway, configured, hard, upstream
from tests.support.passing import Books, bill, prices, three
from tests.support.relay import Relay

UNPRICED = "a-model-without-a-price"
TINY = 0.00001


class Told(NamedTuple):
    """What an SDK raised."""

    status: int
    kind: str
    message: str
    budget: dict[str, Any]


class Door(NamedTuple):
    """A gateway with keys, its provider, and the relay before it."""

    gateway: ServedGateway
    provider: FakeProvider
    relay: Relay

    def key(self, **grant: Any) -> str:
        """A key of the gateway."""
        return self.gateway.key(grant=Grant(**grant))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    store = f"sqlite:///{tmp_path_factory.mktemp('gateway')}/budgets.db"
    with FakeProvider(prices=bill) as provider:
        ours = list(three(provider.root_url))
        models = [ModelEntry(UNPRICED, tuple(Target(each, UNPRICED) for each in ours))]
        configuration = configured(*ours, models=models, prices=prices(), wait_s=0.05, tell="amounts")
        with ServedGateway(configuration, store) as gateway, Relay(gateway.port) as relay:
            made = Door(gateway, provider, relay)
            # What is opened for it is open before the first test.
            assert gateway.ask("/v1/chat/completions", chat(), key=made.key(user="ann"))[0] == 200
            yield made


def chat(model: str = MODEL, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "max_tokens": 20, **more}


def openais(door: Door, key: str, model: str = MODEL) -> Told:
    import openai

    there = f"{door.relay.url}/v1"
    with (
        door.provider.client(base_url=there, api_key=key, max_retries=2) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(**chat(model))
    error: Any = caught.value.body
    return Told(caught.value.status_code, error["code"] or error["type"], error["message"], error.get("budget", {}))


def anthropics(door: Door, key: str, model: str = CLAUDE) -> Told:
    import anthropic

    there = door.relay.url
    with (
        door.provider.anthropic(base_url=there, api_key=key, max_retries=2) as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(**chat(model))
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["request_id"] == caught.value.response.headers["x-request-id"]
    error = body["error"]
    return Told(caught.value.status_code, error["type"], error["message"], error.get("budget", {}))


def googles(door: Door, key: str, model: str = GEMINI) -> Told:
    from google.genai import errors

    with door.provider.gemini(api_key=key) as client:
        client._api_client._http_options.base_url = door.relay.url
        with pytest.raises(errors.APIError) as caught:
            client.models.generate_content(model=model, contents="count", config={"max_output_tokens": 20})
    error: Any = caught.value.details
    error = error["error"]
    assert error["code"] == caught.value.code
    return Told(caught.value.code, error["status"], error["message"], error["details"][0]["metadata"])


SDKS = {"openai": openais, "anthropic": anthropics, "google": googles}
Ask = Callable[..., Told]


def refused(door: Door, dialect: str, key: str, *model: str) -> Told:
    """The refusal of one request: no SDK sent it a second time, and the provider has seen none."""
    door.relay.forget()
    seen = len(door.provider.requests)
    told = SDKS[dialect](door, key, *model)
    door.relay.take()
    assert len(door.provider.requests) == seen
    assert "sk-upstream" not in told.message
    return told


def test_a_budget_that_is_used_up_is_refused_once(door: Door, dialect: str) -> None:
    """A refusal that SDKs take for a passing fault is asked three times, and the program learns of it late."""
    told = refused(door, dialect, door.key(limits=owner_limits([allowance(str(TINY), "daily")])))
    kinds = {"openai": "insufficient_quota", "anthropic": "billing_error", "google": "RESOURCE_EXHAUSTED"}
    assert (told.status, told.kind) == (402, kinds[dialect])
    assert told.budget["name"] == "key"
    assert float(told.budget["limit"]) == TINY
    assert {"spent", "resets_at"} <= set(told.budget)


def test_a_key_that_nobody_knows(door: Door, dialect: str) -> None:
    """It is said as each API says it, so that the SDK raises what programs catch."""
    kinds = {"openai": "invalid_api_key", "anthropic": "authentication_error", "google": "UNAUTHENTICATED"}
    told = refused(door, dialect, f"bg_{'0' * 10}_{'a' * 43}")
    assert (told.status, told.kind) == (401, kinds[dialect])


def test_a_model_that_a_key_may_not_ask_for(door: Door, dialect: str) -> None:
    """Who gave the key decided so; it is no question of money."""
    kinds = {"openai": "permission_error", "anthropic": "permission_error", "google": "PERMISSION_DENIED"}
    told = refused(door, dialect, door.key(models=("gpt-3*",)))
    assert (told.status, told.kind) == (403, kinds[dialect])
    assert {"openai": MODEL, "anthropic": CLAUDE, "google": GEMINI}[dialect] in told.message


def test_a_model_that_nobody_sells(door: Door, dialect: str) -> None:
    """The next word is the name that was meant."""
    told = refused(door, dialect, door.key(), "gpt-4o-minj")
    assert told.status == 404
    assert dialect != "openai" or "Did you mean 'gpt-4o-mini'" in told.message


def test_a_model_without_a_price_says_the_line_that_is_missing(door: Door, dialect: str) -> None:
    """Under a hard budget nothing is sent whose cost nobody knows; and whoever runs it can mend it at once."""
    told = refused(door, dialect, door.key(limits=owner_limits([allowance("1")])), UNPRICED)
    assert told.status == 400
    assert UNPRICED in told.message
    assert "input" in told.message
    assert "output" in told.message


def test_a_rate_says_when_to_come_back(door: Door, dialect: str) -> None:
    """SDKs wait for as long as `retry-after` says, and try again by themselves: this one is not sent again here."""
    key = door.key(limits=owner_limits(rpm=1))
    assert door.gateway.ask("/v1/chat/completions", chat(), key=key)[0] == 200
    path, body = asking(dialect)
    status, said, headers = door.gateway.ask(path, body, key=key)
    assert status == 429
    assert 1 <= int(headers["retry-after"]) <= 65  # a minute rolls by steps of some seconds
    error = said["error"]
    kinds = {"openai": "rate_limit_exceeded", "anthropic": "rate_limit_error", "google": "RESOURCE_EXHAUSTED"}
    assert kinds[dialect] in (error.get("code"), error.get("type"), error.get("status"))


def asking(dialect: str) -> tuple[str, dict[str, Any]]:
    """A path and a body of each API."""
    contents = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 20}}
    return {
        "openai": ("/v1/chat/completions", chat()),
        "anthropic": ("/v1/messages", chat(CLAUDE)),
        "google": (f"/v1beta/models/{GEMINI}:generateContent", contents),
    }[dialect]


def test_room_that_is_only_held_is_busy_for_a_moment(door: Door, dialect: str) -> None:
    """The open call may cost less than is held for it: the next one waits, and is then told to come again."""
    key = door.key(limits=owner_limits([allowance("0.00049")]))
    books = Books(door.gateway, door.provider, "shop")
    door.provider.fail_next(stall="stream", drop_after=2)
    with door.provider.client(base_url=f"{door.gateway.url}/v1", api_key=key) as client:
        stream = client.chat.completions.create(**chat(stream=True, max_tokens=800))
        next(iter(stream))
        path, body = asking(dialect)
        status, said, headers = door.gateway.ask(path, body, key=key)
        stream.close()
    assert status == 429, said
    assert headers["retry-after"] == "1"
    assert said["error"].get("code") in {"budget_busy", None, 429}
    assert "in flight" in said["error"]["message"]
    assert sum(books.booked()) >= sum(books.billed())


def test_what_no_upstream_speaks_is_said_with_what_it_speaks(door: Door) -> None:
    """No dialect is translated: the sentence says by which the model can be asked for."""
    key = door.key()
    for path, body, words in (
        ("/v1/messages", chat(), "OpenAI"),
        ("/v1/chat/completions", chat(CLAUDE), "Anthropic"),
        (f"/v1beta/models/{MODEL}:generateContent", asking("google")[1], "OpenAI"),
    ):
        status, said, _ = door.gateway.ask(path, body, key=key)
        assert status == 400
        assert words in said["error"]["message"]


def test_a_path_that_is_none_and_one_that_nobody_can_price(door: Door) -> None:
    """An unread passage is how budgets are walked round: it is closed, unless a key is allowed it by its name."""
    key, files = door.key(), door.key(endpoints=("files",))
    seen = len(door.provider.requests)
    assert door.gateway.ask("/v1/nothing/here", chat(), key=key)[0] == 404
    assert door.gateway.ask("/v1/chat/completions/", chat(), key=key)[0] == 404
    for path in ("/v1/files", "/v1/batches", "/v1/fine_tuning/jobs", "/v1/responses/resp_1", "/v1/messages/batches"):
        status, said, _ = door.gateway.ask(path, {}, key=key)
        assert (status, "--endpoints" in said["error"]["message"]) == (403, True), path
    assert len(door.provider.requests) == seen
    assert door.gateway.ask("/v1/files", {}, key=files)[0] != 403
    assert door.provider.requests[-1].path == "/v1/files"


def test_a_key_for_anything_else_calls_no_model(door: Door) -> None:
    """A master key that can call is how a budget of $1 was billed $4.77 elsewhere."""
    for scope in ("admin", "spend", "read"):
        status, said, _ = door.gateway.ask("/v1/chat/completions", chat(), key=door.gateway.key(scope=scope))
        assert status == 403
        assert "budgetguard keys create" in said["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 400, "JSON"),
        (b"[1]", 400, "object"),
        (b'"chat"', 400, "object"),
        (b'{"messages": []}', 400, "model"),
        (b'{"model": 7, "messages": []}', 400, "model"),
        (b'{"model": "", "messages": []}', 400, "model"),
        (b"\xff\xfe", 400, "JSON"),
        (b"[" * 100_000, 400, "JSON"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_body_that_cannot_be_read(door: Door, body: bytes, status: int, word: str) -> None:
    """It is the client's to mend, in the client's dialect; nothing of it is sent."""
    seen = len(door.provider.requests)
    for path in ("/v1/chat/completions", "/v1/messages"):
        got, said, _ = door.gateway.ask(path, body, key=door.key())
        assert got == status
        assert word in said["error"]["message"]
    assert len(door.provider.requests) == seen


def test_a_field_that_stands_twice_is_sent_once(door: Door) -> None:
    """JSON has no rule which one counts: what was priced is what the upstream reads."""
    twice = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"max_tokens":900,"max_tokens":2}'
    assert door.gateway.ask("/v1/chat/completions", twice, key=door.key())[0] == 200
    assert door.provider.requests[-1].body["max_tokens"] == 2
    assert json.loads(json.dumps(door.provider.requests[-1].body)) == door.provider.requests[-1].body


def test_another_status_and_no_amounts_if_the_operator_says_so() -> None:
    """Clients written for another gateway look for its status; and what a team may spend is not everybody's."""
    with FakeProvider(prices=bill) as provider:
        options: Any = {"over_status": 422, "tell": "name", "budgets": (hard(TINY),)}
        with ServedGateway(configured(*three(provider.root_url), prices=prices(), **options)) as gateway:
            status, said, headers = gateway.ask("/v1/chat/completions", chat())
    assert (status, headers["x-should-retry"]) == (422, "false")
    assert said["error"]["budget"] == {"name": "all"}
    assert "$" not in said["error"]["message"]


def test_a_store_that_is_away_is_a_503_and_nothing_is_sent(dialect: str) -> None:
    """Without its books a budget does not hold; and it comes back, so that the SDK may try again."""
    with FakeProvider(prices=bill) as provider, servers.start("valkey") as server:
        configuration = configured(*three(provider.root_url), prices=prices(), budgets=(hard(1.0),))
        with ServedGateway(configuration, server.url, open_mode=True) as gateway:
            path, body = asking(dialect)
            assert gateway.ask(path, body)[0] == 200
            server.kill()
            status, said, headers = gateway.ask(path, body)
            server.start()
    assert status == 503, said
    assert headers["retry-after"] == "1"
    assert "nothing was sent" in said["error"]["message"]
    assert len(provider.requests) == 1


def test_an_upstream_that_cannot_be_reached_is_said_and_nothing_is_booked(tmp_path: Path) -> None:
    """It was not sent, so it costs nothing; and the message names no address and no key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    away = upstream("away", f"http://127.0.0.1:{port}")
    with ServedGateway(configured(away, prices=prices(), budgets=(hard(1.0),))) as gateway:
        status, said, _ = gateway.ask("/v1/chat/completions", chat())
        assert (status, said["error"]["code"]) == (502, "upstream_unreachable")
        assert str(port) not in said["error"]["message"]
        books = gateway.app.hosting.projects.open("default").store
        assert [each.cost for each in books.entries()] == []
