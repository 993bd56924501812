"""Keys at the gateway, over sockets: who may call what, who pays, and that the limits of all owners hold."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from budgetguard.server.gateway.config.resolve import Configuration
from budgetguard.server.keys import ADMIN, CALL, KNOWN_S, READ, SPEND, Grant
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.testing import FakeProvider
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, upstream

pytestmark = pytest.mark.provider(prices={MODEL: (0.15, 0.60)})

CHAT = "/v1/chat/completions"


@pytest.fixture
def gateway(provider: FakeProvider, tmp_path: Path) -> Iterator[ServedGateway]:
    """In front of a fake provider, on a file of its own."""
    configuration = configured(upstream("openai", provider.root_url))
    with ServedGateway(configuration, f"sqlite:///{tmp_path}/budgets.db?synchronous=normal") as served:
        yield served


def chat(gateway: ServedGateway, key: str, *, model: str = MODEL, headers: Any = None, **body: Any) -> tuple[int, Any]:
    """One short chat: the status, and the answer."""
    said = {"model": model, "messages": MESSAGES, "max_tokens": 10, **body}
    return gateway.ask(CHAT, said, key=key, headers=headers)[:2]


def later(gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time comes at which the gateway looks again at what it knows of keys."""
    before = gateway.app.hosting.keys._clock
    monkeypatch.setattr(gateway.app.hosting.keys, "_clock", lambda: before() + KNOWN_S)


def test_only_a_key_that_is_made_for_calls_calls(gateway: ServedGateway, provider: FakeProvider) -> None:
    """Whoever keeps the keys pays for nothing: nobody limits an administrator."""
    for scope in (ADMIN, READ, SPEND):
        status, refused = chat(gateway, gateway.key(scope=scope))
        assert status == 403
        assert "with one of scope 'call'" in refused["error"]["message"]
    assert chat(gateway, "")[0] == 401
    assert chat(gateway, "sk-somebodys-key-from-elsewhere")[0] == 401
    assert provider.requests == []
    assert chat(gateway, gateway.key())[0] == 200


def test_a_key_that_calls_cannot_ask_for_anything_else(gateway: ServedGateway) -> None:
    """It is in programs, in browsers, in the hands of everybody's users."""
    key = gateway.key()
    asked = [("GET", "/v1/keys", None), ("POST", "/v1/keys", {"scope": "admin"}), ("GET", "/v1/entries", None)]
    asked += [("PATCH", f"/v1/keys/{key.split('_')[1]}", {"rpm": None}), ("GET", "/metrics", None)]
    asked += [("PATCH", "/v1/limits/team/a", {"rpm": 1}), ("POST", "/v1/reserve", {}), ("PATCH", "/v1/budgets/a", {})]
    for method, path, body in asked:
        assert gateway.ask(path, body, method=method, key=key)[0] == 403, path
    assert gateway.ask("/v1/key", key=key)[1]["scope"] == "call"


@pytest.mark.parametrize(
    "model",
    ["gpt-4o", "gpt-4o-mini/../gpt-4o", "openai/gpt-4o", "gpt-4\u043e-mini", "gpt-4o-mini\n", "GPT-4O-MINI", ""],
)
def test_a_model_that_the_key_does_not_name_is_not_called(
    gateway: ServedGateway, provider: FakeProvider, model: str
) -> None:
    """By whatever name it is asked for; what looks like one that is allowed is another."""
    key = gateway.key(grant=Grant(models=("gpt-4o-mini*",)))
    assert chat(gateway, key, model=model)[0] in {400, 403}
    assert provider.requests == []
    assert chat(gateway, key)[0] == 200


def test_an_end_user_whose_name_is_too_long_is_not_let_by(gateway: ServedGateway, provider: FakeProvider) -> None:
    """A budget of each end user would not hold for whoever puts a long token there, and nobody would be told."""
    key = gateway.key()
    for body in ({"user": "u" * 257}, {"metadata": {"user_id": "u" * 257}}, {"safety_identifier": "u" * 257}):
        status, refused = chat(gateway, key, **body)
        assert status == 400
        assert "send a hash of it" in refused["error"]["message"]
    assert provider.requests == []
    assert chat(gateway, key, user="u" * 256)[0] == 200


def test_an_alias_is_allowed_by_either_of_its_names(provider: FakeProvider, tmp_path: Path) -> None:
    """A key names the alias that its program asks for, and its team the models that it pays for."""
    known = Configuration([upstream("openai", provider.root_url)], aliases={"fast": MODEL, "slow": "gpt-4o"})
    with ServedGateway(known, f"sqlite:///{tmp_path}/budgets.db?synchronous=normal") as served:
        admin = served.key(scope=ADMIN)
        assert served.ask("/v1/limits/team/a", {"models": ["gpt-4o-mini*"]}, method="PATCH", key=admin)[0] == 200
        key = served.key(grant=Grant(models=("fast", "slow"), team="a"))
        assert [chat(served, key, model=name)[0] for name in ("fast", "slow", MODEL)] == [200, 403, 403]


def test_the_dollars_of_a_key_hold_whoever_the_request_says_it_is(
    gateway: ServedGateway, provider: FakeProvider
) -> None:
    """Thirty at once, each as somebody else: the key has spent at most what it may, and others go on."""
    key = gateway.key(grant=Grant(limits=owner_limits([allowance("0.00003")])))

    def one(number: int) -> int:
        headers = {"x-user": f"u{number}", "budgetguard-project": "other", "openai-organization": f"o{number}"}
        return chat(gateway, key, user=f"u{number}", headers=headers)[0]

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(one, range(30)))
    assert 200 in statuses
    assert 402 in statuses
    assert 0 < provider.billed.nano <= 30_000
    [left] = gateway.ask("/v1/key", key=key)[1]["standings"]
    assert round(left["spent"] * 1e9) == provider.billed.nano
    assert chat(gateway, gateway.key())[0] == 200


@pytest.mark.parametrize("owner", ["key", "team", "customer"])
def test_the_dollars_of_a_model_hold_by_whatever_name_it_is_asked_for(
    gateway: ServedGateway, provider: FakeProvider, owner: str
) -> None:
    """With its provider before it, it is the same model; another one is not limited by it."""
    limits = {"budgets": [{"limit": 0.00003, "models": "gpt-4o-mini*"}]}
    key = gateway.key(grant=Grant(team="a"))
    path = f"/v1/keys/{key.split('_')[1]}" if owner == "key" else f"/v1/limits/{owner}/a"
    assert gateway.ask(path, limits, method="PATCH", key=gateway.key(scope=ADMIN))[0] == 200
    statuses = [chat(gateway, key, model=name, user="a")[0] for name in (MODEL, f"openai/{MODEL}") * 4]
    assert statuses[0] == 200
    assert set(statuses[-2:]) == {402}
    assert 0 < provider.billed.nano <= 30_000
    assert chat(gateway, key, model="gpt-4o", user="a")[0] == 200


def test_a_key_that_is_rotated_spends_what_was_left(gateway: ServedGateway) -> None:
    """Else each rotation would be a new budget."""
    admin = gateway.key(scope=ADMIN)
    key = gateway.key(grant=Grant(limits=owner_limits(rpm=2)))
    assert [chat(gateway, key)[0] for _ in range(3)] == [200, 200, 429]
    rotated = gateway.ask(f"/v1/keys/{key.split('_')[1]}/rotate", {"grace": "1h"}, key=admin)[1]["key"]
    assert [chat(gateway, text)[0] for text in (rotated, key)] == [429, 429]


def test_the_limits_of_a_team_and_a_customer_hold_for_all_keys(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs of one team have one limit; what a customer may is below the key, and says nothing of who pays."""
    admin = gateway.key(scope=ADMIN)
    assert gateway.ask("/v1/limits/team/a", {"rpm": 3}, method="PATCH", key=admin)[0] == 200
    assert gateway.ask("/v1/limits/customer/c1", {"rpm": 1}, method="PATCH", key=admin)[0] == 200
    one, other = (gateway.key(grant=Grant(team="a")) for _ in range(2))
    assert [chat(gateway, one, user="c1")[0] for _ in range(2)] == [200, 429]
    assert chat(gateway, one, user="c2")[0] == 200
    assert [chat(gateway, other)[0] for _ in range(2)] == [200, 429]
    assert gateway.ask("/v1/limits/team/a", {"rpm": None}, method="PATCH", key=admin)[0] == 200
    later(gateway, monkeypatch)
    assert chat(gateway, other)[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/keys/{prefix}", {"blocked": True}, 403),
        ("/v1/keys/{prefix}", {"models": ["o3"]}, 403),
        ("/v1/keys/{prefix}", {"rpm": 0}, 429),
        ("/v1/keys/{prefix}", {"budgets": [{"limit": 0}]}, 402),
        ("/v1/limits/team/a", {"blocked": True}, 403),
        ("/v1/limits/team/a", {"models": ["o3"]}, 403),
        ("/v1/limits/user/ann", {"blocked": True}, 403),
        ("/v1/limits/user/ann", {"parallel": 0}, 429),
        ("/v1/limits/customer/c1", {"blocked": True}, 403),
        ("/v1/keys/{prefix}", None, 401),
    ],
)
def test_what_is_changed_holds_soon(
    gateway: ServedGateway,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: Any,
    status: int,
) -> None:
    """For a key that is in use: within two seconds, and nothing is sent from then on."""
    key = gateway.key(grant=Grant(user="ann", team="a"))
    assert chat(gateway, key, user="c1")[0] == 200
    admin, path = gateway.key(scope=ADMIN), path.format(prefix=key.split("_")[1])
    assert gateway.ask(path, body, method="DELETE" if body is None else "PATCH", key=admin)[0] == 200
    later(gateway, monkeypatch)
    asked = len(provider.requests)
    assert chat(gateway, key, user="c1")[0] == status
    assert len(provider.requests) == asked


def test_no_key_is_in_an_answer(gateway: ServedGateway) -> None:
    """Neither the caller's nor the provider's, whatever goes wrong."""
    key = gateway.key(grant=Grant(models=("gpt*",)))
    for body in (b"{", b"", b'{"model": "' + key.encode() + b'"}'):
        said = str(gateway.ask(CHAT, body, key=key)[1])
        assert key.rpartition("_")[2] not in said or key.encode() in body
        assert "sk-upstream-secret" not in said


def test_a_base_url_that_has_its_version_twice_is_said(gateway: ServedGateway) -> None:
    """The commonest slip: Anthropic's SDKs add /v1 to a base URL, and OpenAI's do not."""
    status, said, _ = gateway.ask("/v1/v1/messages", {"model": MODEL}, key=gateway.key())
    assert status == 404
    assert "/v1 twice" in said["error"]["message"]


def test_everybodys_client_is_let_in_by_its_own_header(gateway: ServedGateway) -> None:
    """A key of one's own, in each of them; and in Gemini's query."""
    key = gateway.key(text="sk-1234567890abcdefghij")
    for name in ("x-api-key", "api-key", "x-goog-api-key"):
        assert chat(gateway, "", headers={name: key})[0] == 200
    for value in (key, f"Bearer {key}"):  # LiteLLM's clients write both
        assert chat(gateway, "", headers={"x-litellm-api-key": value})[0] == 200
    assert gateway.ask(f"/v1/key?key={key}")[0] == 200
    assert chat(gateway, key, headers={"x-api-key": gateway.key()})[0] == 401
    assert gateway.ask("/v1/key", key=key)[1]["scope"] == CALL
