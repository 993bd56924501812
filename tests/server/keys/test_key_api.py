"""The endpoints of keys and limits, over sockets: who may change what, and what is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from budgetguard.errors import ConfigError
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.server.keys import ADMIN, CALL, READ, SPEND, Grant, KeyRing, rules_of
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.stores import open_store
from tests.support.hosting import Hosted


def ask(server: Hosted, key: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request with a key, and no other header that says anything."""
    return server.ask(method, path, body, headers={"Authorization": f"Bearer {key}", "budgetguard-project": "shop"})[:2]


@pytest.fixture
def admin(ring: KeyRing) -> str:
    return ring.create("shop", ADMIN)[1]


def test_a_key_is_made_read_changed_rotated_and_revoked(guarded: Hosted, admin: str) -> None:
    """All of a key's life, by whoever keeps the keys of a project, from wherever they are."""
    said = {
        "user": "ann",
        "team": "search",
        "tags": {"env": "prod"},
        "models": ["gpt-4o*"],
        "expires": "90d",
        "budgets": [{"limit": "5", "period": "monthly"}, {"limit": 0.1, "period": "daily", "models": "o3*"}],
        "rpm": 60,
        "parallel": 8,
    }
    status, made = ask(guarded, admin, "POST", "/v1/keys", said)
    assert (status, made["scope"], made["project"]) == (201, "call", "shop")
    one = f"/v1/keys/bg_{made['prefix']}"
    status, read = ask(guarded, admin, "GET", one)
    assert status == 200
    assert read["key"] is None
    assert [(each["unit"], each["limit"]) for each in read["standings"]] == [
        ("dollars", 5.0),
        ("dollars", 0.1),
        ("requests", 60),
        ("parallel", 8),
    ]
    status, changed = ask(guarded, admin, "PATCH", one, {"rpm": None, "tpm": 5, "user": None, "expires": None})
    assert status == 200
    ours = {"rpm": None, "tpm": 5, "user": None, "expires_at": None, "version": 2, "key": None}
    assert changed == {**made, **ours}
    status, rotated = ask(guarded, admin, "POST", f"{one}/rotate", {"grace": "24h"})
    assert (status, rotated["prefix"]) == (200, made["prefix"])
    assert {ask(guarded, text, "GET", "/v1/key")[0] for text in (made["key"], rotated["key"])} == {200}
    assert ask(guarded, admin, "DELETE", one)[1]["revoked"]
    assert ask(guarded, admin, "POST", f"{one}/rotate", {})[0] == 400


def test_a_key_is_told_its_users_dollars(guarded: Hosted, ring: KeyRing, admin: str) -> None:
    """They hold each of its calls, though they are set as a program's are: a key that is refused by them sees why."""
    assert ask(guarded, admin, "PUT", "/v1/budgets/ann", {"limit": 0.25, "period": "monthly"})[0] in {200, 201}
    text = ring.create("shop", CALL, grant=Grant(user="ann"))[1]
    (left,) = ask(guarded, text, "GET", "/v1/key")[1]["standings"]
    assert (left["of"], left["name"], left["unit"], left["period"]) == ("user", "ann", "dollars", "monthly")
    assert (left["limit"], left["left"], left["models"]) == (0.25, 0.25, None)
    others = ring.create("shop", CALL, grant=Grant(user="bob"))[1]
    assert ask(guarded, others, "GET", "/v1/key")[1]["standings"] == []


def test_a_wrong_limit_is_said_in_its_unit() -> None:
    """Who mistyped the tokens a minute is not told of requests."""
    for name, unit in (("rpm", "requests"), ("tpm", "tokens"), ("parallel", "parallel")):
        with pytest.raises(ConfigError, match=rf"{name}='-3', unit='{unit}'"):
            owner_limits(**{name: "-3"})


def test_a_key_may_be_what_its_owner_has_already(guarded: Hosted, admin: str) -> None:
    """Programs go on with the key that they have; one that could be guessed is refused, and not said back."""
    text = "sk-1234567890abcdefghij"
    assert ask(guarded, admin, "POST", "/v1/keys", {"key": text, "user": "ann"})[0] == 201
    assert ask(guarded, text, "GET", "/v1/key")[1]["user"] == "ann"
    for wrong in (text, "sk-1234", "клюклюклюклюключ-1234567890"):
        status, refused = ask(guarded, admin, "POST", "/v1/keys", {"key": wrong})
        assert status == 400
        assert wrong not in json.dumps(refused, ensure_ascii=False)


def test_keys_are_listed_page_by_page(guarded: Hosted, ring: KeyRing, admin: str) -> None:
    """By whose they are; those of another project are not there."""
    ring.create("other", CALL)
    made = sorted(ring.create("shop", CALL, grant=Grant(user=f"u{n % 2}"))[0].prefix for n in range(5))
    first = ask(guarded, admin, "GET", "/v1/keys?scope=call&limit=3")[1]
    rest = ask(guarded, admin, "GET", f"/v1/keys?scope=call&limit=3&after={first['next']}")[1]
    assert [key["prefix"] for key in first["keys"] + rest["keys"]] == made
    assert rest["next"] is None
    assert len(ask(guarded, admin, "GET", "/v1/keys?user=u0")[1]["keys"]) == 3


def test_a_key_reaches_what_its_scope_reaches(guarded: Hosted, ring: KeyRing) -> None:
    """Above all: a key that calls models reads and changes nothing but itself, and makes no other key."""
    key = ring.create("shop", CALL)[0].prefix
    texts = {scope: ring.create("shop", scope)[1] for scope in (CALL, SPEND, READ, ADMIN)}
    expected: dict[tuple[str, str, str], dict[str, int]] = {
        ("GET", "/v1/key", ""): {CALL: 200, SPEND: 200, READ: 200, ADMIN: 200},
        ("GET", "/v1/keys", ""): {CALL: 403, SPEND: 403, READ: 200, ADMIN: 200},
        ("GET", f"/v1/keys/{key}", ""): {CALL: 403, SPEND: 403, READ: 200, ADMIN: 200},
        ("POST", "/v1/keys", "{}"): {CALL: 403, SPEND: 403, READ: 403, ADMIN: 201},
        ("PATCH", f"/v1/keys/{key}", '{"rpm": 1}'): {CALL: 403, SPEND: 403, READ: 403, ADMIN: 200},
        ("POST", f"/v1/keys/{key}/rotate", "{}"): {CALL: 403, SPEND: 403, READ: 403, ADMIN: 200},
        ("GET", "/v1/limits/team", ""): {CALL: 403, SPEND: 403, READ: 200, ADMIN: 200},
        ("PATCH", "/v1/limits/team/a", '{"rpm": 1}'): {CALL: 403, SPEND: 403, READ: 403, ADMIN: 200},
        ("DELETE", "/v1/limits/team/a", ""): {CALL: 403, SPEND: 403, READ: 403, ADMIN: 200},
        ("DELETE", f"/v1/keys/{key}", ""): {CALL: 403, SPEND: 403, READ: 403, ADMIN: 200},
        ("GET", "/v1/budgets", ""): {CALL: 403},
        ("GET", "/v1/entries", ""): {CALL: 403},
        ("GET", "/v1/spend", ""): {CALL: 403},
        ("GET", "/metrics", ""): {CALL: 403},
        ("POST", "/v1/balances", '{"keys": []}'): {CALL: 403},
        ("POST", "/v1/ledger/all_terms", "{}"): {CALL: 403},
        ("POST", "/set_budget", '{"project_name": "shop", "user_dict": {}}'): {CALL: 403},
    }
    for (method, path, body), statuses in expected.items():
        for scope, status in statuses.items():
            answer = ask(guarded, texts[scope], method, path, body.encode() or None)
            assert answer[0] == status, (method, path, scope, answer[1])


def test_keys_and_limits_of_another_project_are_not_there(guarded: Hosted, ring: KeyRing, admin: str) -> None:
    """Whatever is named in the path: as if they did not exist."""
    theirs = ring.create("other", CALL, grant=Grant(team="a"))[0]
    other = ring.create("other", ADMIN)[1]
    named = {"Authorization": f"Bearer {other}", "budgetguard-project": "other"}
    assert guarded.ask("PATCH", "/v1/limits/team/a", {"rpm": 1}, headers=named)[0] == 200
    one = f"/v1/keys/{theirs.prefix}"
    asked = [("GET", one, None), ("PATCH", one, {"rpm": 9}), ("DELETE", one, None), ("POST", f"{one}/rotate", {})]
    for name in ("a", "..%2Fother%2Fteam%2Fa", "a%00", "%1Ad83d", "a%2F..%2Fa"):
        asked += [("GET", f"/v1/limits/team/{name}", None), ("DELETE", f"/v1/limits/team/{name}", None)]
    for prefix in ("..%2Fprojects", "%1Ad83d", "bg_", "x" * 10, theirs.prefix.upper() + "z", "%00"):
        asked += [("GET", f"/v1/keys/{prefix}", None), ("DELETE", f"/v1/keys/{prefix}", None)]
    for method, path, body in asked:
        assert ask(guarded, admin, method, path, body)[0] == 404, (method, path)
    assert ring.get(theirs.prefix) == theirs


def test_limits_are_set_read_and_taken_away(guarded: Hosted, admin: str) -> None:
    """Of teams, users and customers, whatever their names are."""
    for kind, name in (("team", "search"), ("customer", "a%2Fb%20c%25"), ("user", "\u0430nn")):
        one = f"/v1/limits/{kind}/{name}" if name.isascii() else f"/v1/limits/{kind}/%D0%B0nn"
        status, made = ask(guarded, admin, "PATCH", one, {"rpm": 60, "models": ["gpt*"]})
        assert (status, made["rpm"], made["blocked"]) == (200, 60, False)
        assert ask(guarded, admin, "PATCH", one, {"blocked": True})[1] == {**made, "blocked": True, "version": 2}
        assert ask(guarded, admin, "GET", one)[1]["standings"][0]["left"] == 60
        assert len(ask(guarded, admin, "GET", f"/v1/limits/{kind}")[1]["owners"]) == 1
        assert ask(guarded, admin, "DELETE", one)[0] == 200
        assert ask(guarded, admin, "GET", one)[0] == 404
    assert ask(guarded, admin, "PATCH", "/v1/limits/user/ann", {"budgets": [{"limit": 5}]})[0] == 400
    assert ask(guarded, admin, "GET", "/v1/limits/key")[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tags": {"user": "bob"}}, 400),
        ({"models": ["gpt-4o/../o3"]}, 400),
        ({"user": "ann\r\nx: y"}, 400),
        ({"expires": "2020-01-01"}, 400),
        ({"budgets": [{"limit": -1}]}, 400),
        ({"budgets": [{"limit": 1}, {"limit": 2}]}, 400),
        ({"scope": "admin", "user": "ann"}, 400),
        ({"scope": "root"}, 422),
        ({"rpm": -1}, 422),
        ({"rpm": "60"}, 422),
        ({"budget": 5}, 422),
        ({"digest": "0" * 64}, 422),
        ({"project": "other"}, 422),
    ],
)
def test_what_no_key_can_be_is_told(guarded: Hosted, ring: KeyRing, admin: str, body: Any, status: int) -> None:
    """A limit that is misspelt must not become a key without one."""
    assert ask(guarded, admin, "POST", "/v1/keys", body)[0] == status
    assert len(list(ring.all())) == 1


def test_a_key_sees_what_is_left_for_it(guarded: Hosted, ring: KeyRing, admin: str, url: str) -> None:
    """Of its own limits and of those above it, as they are in the books; nothing of anybody else."""
    limits = owner_limits([allowance(5, "monthly")], parallel=2)
    key, text = ring.create("shop", CALL, grant=Grant(user="ann", team="search", limits=limits))
    ask(guarded, admin, "PATCH", "/v1/limits/team/search", {"budgets": [{"limit": 9}]})
    store = open_store(url, namespace="shop")
    accounts: list[Account] = []
    for kind, name, its in (("key", key.prefix, limits), ("team", "search", owner_limits([allowance(9)]))):
        tags, now_ms = {kind: name}, store.now_ms()
        accounts += [found for rule in rules_of(kind, its) if (found := rule.account(tags, now_ms)) is not None]  # type: ignore[arg-type]
    settled = Hold(new_id(), tuple(accounts), 2_000_000_000)
    store.reserve(settled)
    store.settle(settled, Entry(settled.id, 1_000_000_000))
    store.reserve(Hold(new_id(), tuple(accounts), 500_000_000))
    store.close()
    shown = ask(guarded, text, "GET", "/v1/key")[1]["standings"]
    assert [(each["of"], each["unit"], each["spent"], each["held"], each["left"]) for each in shown] == [
        ("key", "dollars", 1.0, 0.5, 3.5),
        ("key", "parallel", 0, 1, 1),
        ("team", "dollars", 1.0, 0.5, 7.5),
    ]


def test_without_keys_there_is_no_key_to_be_shown() -> None:
    """A trial in open mode."""
    server = Hosted("memory://")
    assert server.ask("GET", "/v1/key")[0] == 404
    server.stop()
