"""LiteLLM's admin API, asked as its documentation asks LiteLLM's proxy: over sockets, with the books behind it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest

from budgetguard.budgets.rules import Budget
from budgetguard.ledger import Entry, Hold, Query, new_id
from budgetguard.money import DOLLAR
from budgetguard.server.gateway.litellm.admin.spend import newest
from budgetguard.server.keys import CALL, Owners, rules_of
from tests.support.litellm_admin import LiteLLMServer


@pytest.fixture(scope="module")
def shared() -> Iterator[LiteLLMServer]:
    beats = count()
    server = LiteLLMServer("memory://", clock=lambda: time.time() + next(beats) / 100)  # no two calls at one time
    yield server
    server.stop()


@pytest.fixture
def server(shared: LiteLLMServer) -> LiteLLMServer:
    """A server on which nothing of the test before is left."""
    own = shared.app.projects.own
    for terms in list(own.all_terms()):
        if terms.key.startswith(("owners/", "litellm/")):
            own.put_terms(terms.key, None)
    for key in list(shared.ring.all()):
        if key.scope == CALL and key.revoked is None:
            shared.ring.revoke(key.prefix)
    project = shared.app.projects.open("shop")
    for each in list(project.users.all()):
        project.users.remove(each.user)
    project.store.prune(project.store.now_ms() + 1)
    return shared


def stored(server: LiteLLMServer, text: str) -> Any:
    """The key with this text, as the store has it."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return next(key for key in server.ring.all() if key.digest == digest)


def call(server: LiteLLMServer, dollars: float, model: str = "gpt-4o-mini", **tags: str) -> str:
    """Settle a call on the budgets of whose it is; its id."""
    project = server.app.projects.open("shop")
    owners = Owners(server.app.projects.own)
    now_ms, rules = project.store.now_ms(), list[Budget]()
    if (key := server.ring.find(tags.get("key", "-"))) is not None:
        rules += rules_of("key", key.grant.limits)
    for kind in ("team", "end_user"):
        found = owners.find("shop", kind, tags.get(kind, "-"))  # type: ignore[arg-type]
        rules += () if found is None else rules_of(found.kind, found.limits)
    accounts = [rule.account({**tags, "model": model}, now_ms) for rule in rules if rule.unit == "dollars"]
    accounts += [own.account(now_ms) for own in project.users.all() if own.user == tags.get("user")]
    cost = round(dollars * DOLLAR)
    hold = Hold(new_id(), tuple(each for each in accounts if each is not None), cost, tags=tags)
    usage = {"input_tokens": 10, "output_tokens": 5}
    project.store.settle(hold, Entry(hold.id, cost, tags=tags, provider="openai", model=model, usage=usage))
    return hold.id


# -- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_is_made_with_its_limits(server: LiteLLMServer) -> None:
    """What the script asked for is what calls are held to: the record has it, and the budgets follow from it."""
    made = server.done(
        "POST",
        "/key/generate",
        {
            "models": ["gpt-4o*", "claude-haiku-4-5"],
            "duration": "20m",
            "key_alias": "ci",
            "user_id": "ann",
            "team_id": "core-infra",
            "max_budget": 10.5,
            "budget_duration": "30d",
            "rpm_limit": 60,
            "tpm_limit": 100_000,
            "max_parallel_requests": "8",
            "model_max_budget": {"gpt-4o": {"budget_limit": "0.5", "time_period": "1d"}, "o3": 2},
            "tags": ["env:prod", "batch"],
            "metadata": {"owner": "ann@example.com"},
        },
    )
    assert made["key"].startswith("sk-")
    assert made["token"] == made["token_id"] == hashlib.sha256(made["key"].encode()).hexdigest()
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    key = stored(server, made["key"])
    grant = key.grant
    assert (key.project, key.scope, grant.user, grant.team, grant.alias) == ("shop", CALL, "ann", "core-infra", "ci")
    assert grant.models == ("gpt-4o*", "claude-haiku-4-5")
    assert grant.tags == {"env": "prod", "batch": "true"}
    assert abs(grant.expires_ms - (time.time() + 1200) * 1000) < 60_000
    assert list(rules_of("key", grant.limits)) == [
        Budget("key", "10.5", "monthly", per=("key",), on_expire="charge"),
        Budget("key gpt-4o", "0.5", "daily", per=("key",), on_expire="charge", match={"model": "gpt-4o"}),
        Budget("key o3", 2, None, per=("key",), on_expire="charge", match={"model": "o3"}),
        Budget("key", 60, "rolling 1m", per=("key",), unit="requests"),
        Budget("key", 100_000, "rolling 1m", per=("key",), unit="tokens"),
        Budget("key", 8, None, per=("key",), unit="parallel"),
    ]
    said = {name: made[name] for name in ("max_budget", "budget_duration", "rpm_limit", "user_id", "metadata", "tags")}
    assert said == {
        "max_budget": 10.5,
        "budget_duration": "30d",
        "rpm_limit": 60,
        "user_id": "ann",
        "metadata": {"owner": "ann@example.com"},
        "tags": ["env:prod", "batch"],
    }
    assert made["spend"] == 0
    assert made["budget_reset_at"] is not None


def test_a_key_is_what_its_owner_wants_it_to_be(server: LiteLLMServer) -> None:
    """Scripts bring keys of their own; one that could be guessed is refused, and never said back."""
    text = "sk-our-own-key-0123456789"
    made = server.done("POST", "/key/generate", {"key": text, "blocked": True})
    assert made["key"] == text
    assert made["blocked"] is True
    assert stored(server, text).blocked
    status, error = server.refused("POST", "/key/generate", {"key": "sk-1234"})
    assert status == 400
    assert "guessed" in error["message"]
    assert "sk-1234" not in error["message"]


def test_a_key_is_looked_at_by_its_text_and_by_its_hash(server: LiteLLMServer) -> None:
    """Its own text is in no answer but the first; the key that asks sees itself, and nobody else's."""
    made = server.done("POST", "/key/generate", {"max_budget": 5, "key_alias": "a"})
    call(server, 0.25, key=stored(server, made["key"]).prefix)
    for name in (made["key"], made["token"]):
        info = server.done("GET", f"/key/info?key={name}")
        assert info["key"] == name
        assert info["info"]["spend"] == 0.25
        assert info["info"]["max_budget"] == 5
        assert "token" not in info["info"]
        assert made["key"] not in str(info["info"])
    own = server.done("GET", "/key/info", key=made["key"])
    assert own["info"] == server.done("GET", f"/key/info?key={made['key']}", key=made["key"])["info"]
    assert own["key"] == made["token"]
    other = server.done("POST", "/key/generate", {})
    assert server.refused("GET", f"/key/info?key={other['token']}", key=made["key"])[0] == 403


def test_a_key_that_rotated_here_is_found_by_its_hash(server: LiteLLMServer) -> None:
    """`/key/regenerate`: the name, the limits and the spend stay, the old text is refused, or lasts as it was said."""
    made = server.done("POST", "/key/generate", {"max_budget": 5})
    prefix = stored(server, made["key"]).prefix
    call(server, 1, key=prefix)
    again = server.done("POST", f"/key/{made['key']}/regenerate", {"max_budget": 7, "grace_period": "24h"})
    assert again["key"] != made["key"]
    assert again["spend"] == 1
    assert again["max_budget"] == 7
    assert server.done("GET", f"/key/info?key={again['token']}")["info"]["max_budget"] == 7
    assert server.done("GET", f"/key/info?key={again['key']}")["info"]["spend"] == 1
    assert stored(server, again["key"]).prefix == prefix
    assert stored(server, again["key"]).former.digest == made["token"]
    last = server.done("POST", f"/key/{again['token']}/regenerate")
    assert stored(server, last["key"]).former is None
    assert server.refused("POST", "/key/regenerate", {"key": last["key"], "new_key": "sk-" + "x1y2z3" * 6})[0] == 422


def test_a_key_is_changed_in_what_was_said(server: LiteLLMServer) -> None:
    """What a script does not name stays; `null` takes a limit away, as LiteLLM has it."""
    made = server.done(
        "POST", "/key/generate", {"max_budget": 5, "budget_duration": "1d", "rpm_limit": 9, "tags": ["a"]}
    )
    changed = server.done("POST", "/key/update", {"key": made["key"], "max_budget": 6, "models": ["o3"]})
    assert (changed["key"], changed["max_budget"], changed["budget_duration"]) == (made["key"], 6, "1d")
    assert (changed["rpm_limit"], changed["models"], changed["tags"]) == (9, ["o3"], ["a"])
    server.done("POST", "/key/update", {"key": made["token"], "rpm_limit": None, "budget_duration": "7d"})
    limits = stored(server, made["key"]).grant.limits
    assert rules_of("key", limits) == (Budget("key", 6, "weekly", per=("key",), on_expire="charge"),)
    assert server.done("POST", "/key/update", {"key": made["key"], "duration": "-1"})["expires"] is None
    server.done("POST", "/key/update", {"key": made["key"], "key_alias": "named"})
    by_alias = server.done("POST", "/key/update", {"key_alias": "named", "max_budget": None})
    assert by_alias["max_budget"] is None
    assert by_alias["models"] == ["o3"]


def test_an_alias_is_of_one_key(server: LiteLLMServer) -> None:
    """Scripts delete by it."""
    server.done("POST", "/key/generate", {"key_alias": "ci"})
    other = server.done("POST", "/key/generate", {})
    assert server.refused("POST", "/key/generate", {"key_alias": "ci"})[1]["param"] == "key_alias"
    assert server.refused("POST", "/key/update", {"key": other["key"], "key_alias": "ci"})[0] == 400
    assert server.done("POST", "/key/delete", {"key_aliases": ["ci"]}) == {"deleted_keys": ["ci"]}
    server.done("POST", "/key/generate", {"key_alias": "ci"})


def test_keys_are_blocked_and_deleted(server: LiteLLMServer) -> None:
    """What is deleted is gone for scripts, and revoked in the store; nothing is done if one of several is unknown."""
    one, two = (server.done("POST", "/key/generate", {}) for _ in range(2))
    assert server.done("POST", "/key/block", {"key": one["key"]})["blocked"] is True
    assert server.done("POST", "/key/unblock", {"key": one["token"]})["blocked"] is False
    assert server.refused("POST", "/key/delete", {"keys": [one["key"], "sk-nobody"]})[0] == 404
    assert stored(server, one["key"]).revoked is None
    assert server.done("POST", "/key/delete", {"keys": [one["key"]]}) == {"deleted_keys": [one["key"]]}
    assert stored(server, one["key"]).revoked is not None
    assert server.refused("GET", f"/key/info?key={one['key']}") == (
        404,
        {"message": "Key not found.", "type": "not_found_error", "param": "key", "code": "404"},
    )
    assert server.done("GET", "/key/list")["keys"] == [two["token"]]


def test_keys_are_listed_by_pages_and_by_whose_they_are(server: LiteLLMServer) -> None:
    """A console walks through them all, and each once."""
    made = {server.done("POST", "/key/generate", {"user_id": f"u{n % 2}", "team_id": "t"})["token"] for n in range(5)}
    pages = [server.done("GET", f"/key/list?page={page}&size=2") for page in (1, 2, 3, 4)]
    assert [len(page["keys"]) for page in pages] == [2, 2, 1, 0]
    assert {token for page in pages for token in page["keys"]} == made
    assert (pages[0]["total_count"], pages[0]["total_pages"], pages[1]["current_page"]) == (5, 3, 2)
    full = server.done("GET", "/key/list?user_id=u1&team_id=t&return_full_object=true&size=100")["keys"]
    assert [row["user_id"] for row in full] == ["u1", "u1"]
    assert server.refused("GET", "/key/list?size=101")[0] == 422


@pytest.mark.parametrize("name", ["ann", "Ünsal / \\u00fc", 'a"b\\\\c', "日本", "%2F"])
def test_any_name_finds_its_keys(server: LiteLLMServer, name: str) -> None:
    """Whoever is deleted has keys left otherwise, whatever letters they are written in."""
    made = server.done("POST", "/key/generate", {"user_id": name, "key_alias": name, "team_id": name})
    assert server.done("GET", f"/key/list?user_id={quote(name)}")["keys"] == [made["token"]]
    assert server.done("POST", "/key/delete", {"key_aliases": [name]}) == {"deleted_keys": [name]}
    server.done("POST", "/team/new", {"team_id": name})
    of_team = server.done("POST", "/key/generate", {"team_id": name})
    server.done("POST", "/team/delete", {"team_ids": [name]})
    assert stored(server, of_team["key"]).revoked is not None


def test_a_key_of_another_project_is_nobody_here(server: LiteLLMServer) -> None:
    """An admin key is for its own project; its own kind is not managed here either, so no script locks itself out."""
    _, text = server.ring.create("elsewhere", CALL)
    for method, path, body in (
        ("GET", f"/key/info?key={text}", None),
        ("POST", "/key/delete", {"keys": [text]}),
        ("POST", "/key/update", {"key": text, "max_budget": 100}),
        ("POST", "/key/block", {"key": server.master}),
        ("POST", f"/key/{server.master}/regenerate", None),
    ):
        assert server.refused(method, path, body)[0] == 404, path


# -- what would loosen a limit if it were passed over ----------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"allowed_routes": ["/chat/completions"]},
        {"aliases": {"gpt-4": "o3"}},
        {"guardrails": ["pii"]},
        {"model_rpm_limit": {"o3": 1}},
        {"tpd_limit": 10},
        {"organization_id": "acme"},
        {"key_type": "read_only"},
        {"max_bugdet": 5},
        {"rpm_limit": -1},
        {"rpm_limit": "many"},
        {"max_budget": True},
        {"models": "gpt-4o"},
        {"models": [1]},
        {"model_max_budget": {"o3": {"max_budget": 1, "rpm_limit": 5}}},
        {"budget_limits": [{"max_budget": None, "budget_duration": "1d"}]},
    ],
    ids=lambda said: next(iter(said)),
)
def test_a_field_that_is_not_done_is_refused_by_its_name(server: LiteLLMServer, said: dict[str, Any]) -> None:
    """LiteLLM passes over what it does not know: here a limit that is not held is no limit that was promised."""
    status, error = server.refused("POST", "/key/generate", said)
    assert status == 422
    assert next(iter(said)) in error["message"]
    assert list(server.ring.all("shop")) == [] or all(key.revoked or key.scope != CALL for key in server.ring.all())


@pytest.mark.parametrize(
    "said",
    [
        {"max_budget": -1},
        {"max_budget": "five"},
        {"max_budget": 1e12},
        {"max_budget": 1, "budget_duration": "soon"},
        {"budget_duration": "45s", "max_budget": 1},
        {"duration": "1fortnight"},
        {"models": ["gpt-4o/../o3"]},
        {"tags": ["user:bob"]},
        {"metadata": {"long": "x" * 100_001}},
        {"key": "short"},
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused(server: LiteLLMServer, said: dict[str, Any]) -> None:
    """Before anything is stored, with a sentence."""
    status, error = server.refused("POST", "/key/generate", said)
    assert status == 400, error
    assert len(error["message"]) < 400


def test_what_means_nothing_here_is_said_back(server: LiteLLMServer) -> None:
    """Scripts of LiteLLM's send whole forms: empty fields, and those that loosen nothing."""
    form = {
        "aliases": {},
        "config": {},
        "guardrails": [],
        "organization_id": None,
        "send_invite_email": False,
        "allowed_routes": ["llm_api_routes"],
        "key_type": "default",
        "permissions": {"pii": False},
        "soft_budget": 3.5,
        "max_budget": "",
    }
    made = server.done("POST", "/key/generate", form)
    assert made["permissions"] == {"pii": False}
    assert made["soft_budget"] == 3.5
    assert made["max_budget"] is None


def test_what_was_spent_elsewhere_counts(server: LiteLLMServer) -> None:
    """A key that is moved here with $4 of $5 spent has $1 left; what was spent is not unsaid later."""
    made = server.done("POST", "/key/generate", {"max_budget": 5, "spend": 4})
    assert made["spend"] == 4
    server.done("POST", "/key/update", {"key": made["key"], "spend": 4})
    status, error = server.refused("POST", "/key/update", {"key": made["key"], "spend": 0})
    assert status == 422
    assert "max_budget" in error["message"]


# -- users ---------------------------------------------------------------------------------------------------------


def test_a_user_has_a_budget_and_a_key(server: LiteLLMServer) -> None:
    """The dollars are the user's own budget, which programs with the library share; rates are the gateway's."""
    said = {"user_id": "ann", "max_budget": 20, "budget_duration": "30d", "rpm_limit": 5, "user_email": "ann@x.org"}
    made = server.done("POST", "/user/new", said)
    assert made["key"].startswith("sk-")
    assert made["max_budget"] == 20
    assert made["user_email"] == "ann@x.org"
    assert stored(server, made["key"]).grant.user == "ann"
    assert stored(server, made["key"]).grant.limits == type(stored(server, made["key"]).grant.limits)()
    own = server.app.projects.open("shop").users.get("ann").rule
    assert (own.limit, own.period.name) == (20 * DOLLAR, "monthly")
    call(server, 1.5, user="ann")
    info = server.done("GET", "/user/info?user_id=ann")
    assert info["user_id"] == "ann"
    assert info["user_info"]["spend"] == 1.5
    assert info["user_info"]["rpm_limit"] == 5
    assert [key["user_id"] for key in info["keys"]] == ["ann"]
    assert server.done("GET", "/user/info", key=made["key"])["user_info"] == info["user_info"]
    assert server.refused("GET", "/user/info?user_id=bob", key=made["key"])[0] == 403
    assert server.refused("POST", "/user/new", {"user_id": "ann"})[0] == 409


def test_a_user_is_changed_listed_and_deleted(server: LiteLLMServer) -> None:
    """Spend stays when the limit changes; who is deleted has no key any more."""
    ann = server.done("POST", "/user/new", {"user_id": "ann", "max_budget": 20})
    server.done("POST", "/user/new", {"user_id": "bob", "auto_create_key": False, "models": ["o3"]})
    call(server, 1, user="ann")
    data = server.done("POST", "/user/update", {"user_id": "ann", "max_budget": 30, "blocked": True})
    assert data["user_id"] == "ann"
    assert data["data"]["max_budget"] == 30
    assert data["data"]["spend"] == 1
    assert data["data"]["blocked"] is True
    assert server.done("POST", "/user/update", {"user_id": "ann", "max_budget": None})["data"]["max_budget"] is None
    listed = server.done("GET", "/user/list?page_size=1&page=2")
    assert (listed["total"], listed["total_pages"], [each["user_id"] for each in listed["users"]]) == (2, 2, ["bob"])
    assert server.done("GET", "/user/list?user_ids=ann")["users"][0]["key_count"] == 1
    assert server.refused("POST", "/user/delete", {"user_ids": ["ann", "eve"]})[0] == 404
    assert server.done("POST", "/user/delete", {"user_ids": ["ann"]}) == 1
    assert stored(server, ann["key"]).revoked is not None
    assert server.refused("GET", "/user/info?user_id=ann")[0] == 404
    assert server.refused("POST", "/user/new", {"user_role": "proxy_admin"})[0] == 422


def test_a_user_comes_into_teams(server: LiteLLMServer) -> None:
    """With the key of one of them, if it is said so; a team that there is not is refused before anything is made."""
    for name in ("core", "ops"):
        server.done("POST", "/team/new", {"team_id": name})
    made = server.done(
        "POST", "/user/new", {"user_id": "ann", "teams": ["core", {"team_id": "ops", "user_role": "admin"}]}
    )
    assert made["teams"] == ["core", "ops"]
    assert [team["team_id"] for team in server.done("GET", "/user/info?user_id=ann")["teams"]] == ["core", "ops"]
    bob = server.done("POST", "/user/new", {"user_id": "bob", "team_id": "core"})
    assert stored(server, bob["key"]).grant.team == "core"
    assert server.done("GET", "/team/info?team_id=core")["team_info"]["members"] == ["ann", "bob"]
    assert server.refused("POST", "/user/new", {"user_id": "eve", "teams": ["nobodys"]})[0] == 404
    assert (
        server.refused(
            "POST", "/user/new", {"user_id": "eve", "teams": [{"team_id": "core", "max_budget_in_team": 1}]}
        )[0]
        == 422
    )
    assert server.refused("GET", "/user/info?user_id=eve")[0] == 404


def test_an_empty_name_takes_a_key_out_of_nothing(server: LiteLLMServer) -> None:
    """Forms send "" for what nobody filled in: a key would lose the limits of its team by it."""
    server.done("POST", "/team/new", {"team_id": "core"})
    made = server.done("POST", "/key/generate", {"team_id": "core", "user_id": "ann", "key_alias": ""})
    server.done("POST", "/key/update", {"key": made["key"], "team_id": "", "user_id": ""})
    grant = stored(server, made["key"]).grant
    assert (grant.team, grant.user) == ("core", "ann")


# -- teams -----------------------------------------------------------------------------------------------------------


def test_a_team_limits_its_keys(server: LiteLLMServer) -> None:
    """Its rules are what all of its keys together are held to."""
    team = server.done(
        "POST",
        "/team/new",
        {"team_alias": "core", "max_budget": 50, "budget_duration": "1d", "tpm_limit": 9_000, "models": ["gpt-4o*"]},
    )
    name = team["team_id"]
    made = server.done("POST", "/key/generate", {"team_id": name, "models": ["all-team-models"]})
    owner = Owners(server.app.projects.own).get("shop", "team", name)
    assert owner.models == ("gpt-4o*",)
    assert stored(server, made["key"]).grant.models == ()
    assert rules_of("team", owner.limits) == (
        Budget("team", 50, "daily", per=("team",), on_expire="charge"),
        Budget("team", 9_000, "rolling 1m", per=("team",), unit="tokens"),
    )
    call(server, 2, team=name)
    info = server.done("GET", f"/team/info?team_id={name}")
    assert info["team_id"] == name
    assert info["team_info"]["spend"] == 2
    assert info["team_info"]["team_alias"] == "core"
    assert [key["team_id"] for key in info["keys"]] == [name]
    assert server.done("GET", f"/team/info?team_id={name}", key=made["key"])["team_info"] == info["team_info"]
    assert server.refused("POST", "/team/new", {"team_id": name})[0] == 400
    assert server.refused("GET", "/team/info?team_id=nobodys")[0] == 404


def test_a_team_is_changed_blocked_and_deleted_with_its_keys(server: LiteLLMServer) -> None:
    """A key without its team would have no limits of a team any more."""
    server.done("POST", "/team/new", {"team_id": "core", "max_budget": 5, "rpm_limit": 3})
    made = server.done("POST", "/key/generate", {"team_id": "core"})
    data = server.done("POST", "/team/update", {"team_id": "core", "max_budget": 6})["data"]
    assert (data["max_budget"], data["rpm_limit"]) == (6, 3)
    assert server.done("POST", "/team/block", {"team_id": "core"})["blocked"] is True
    assert Owners(server.app.projects.own).get("shop", "team", "core").blocked
    assert server.done("POST", "/team/unblock", {"team_id": "core"})["blocked"] is False
    assert server.done("POST", "/team/delete", {"team_ids": ["core"]}) == {"deleted_teams": ["core"]}
    assert stored(server, made["key"]).revoked is not None
    assert server.done("GET", "/team/list") == []
    assert server.refused("POST", "/team/update", {"team_id": "core"})[0] == 404


def test_members_come_into_a_team_and_leave_it(server: LiteLLMServer) -> None:
    """Who leaves has no key of the team any more; a budget inside of a team is one of a key, and said so."""
    server.done("POST", "/team/new", {"team_id": "core", "members_with_roles": [{"role": "admin", "user_id": "ann"}]})
    added = server.done("POST", "/team/member_add", {"team_id": "core", "member": {"role": "user", "user_id": "bob"}})
    assert [each["user_id"] for each in added["members_with_roles"]] == ["ann", "bob"]
    again = {"team_id": "core", "member": [{"role": "user", "user_id": "bob"}]}
    assert server.refused("POST", "/team/member_add", again)[0] == 400
    assert [team["team_id"] for team in server.done("GET", "/team/list?user_id=bob")] == ["core"]
    assert server.done("GET", "/team/list?user_id=eve") == []
    made = server.done("POST", "/key/generate", {"team_id": "core", "user_id": "bob"})
    left = server.done("POST", "/team/member_delete", {"team_id": "core", "user_id": "bob"})
    assert left["members"] == ["ann"]
    assert stored(server, made["key"]).revoked is not None
    status, error = server.refused("POST", "/team/member_add", {**again, "max_budget_in_team": 5})
    assert status == 422
    assert "a key of the team" in error["message"]


# -- budgets and customers -------------------------------------------------------------------------------------------


def test_a_budget_is_of_all_who_were_given_it(server: LiteLLMServer) -> None:
    """When it changes, they change; what somebody has of their own stays theirs, and nothing is looser meanwhile."""
    server.done("POST", "/budget/new", {"budget_id": "free", "max_budget": 1, "budget_duration": "1d", "rpm_limit": 5})
    plain = server.done("POST", "/key/generate", {"budget_id": "free"})
    own = server.done("POST", "/key/generate", {"budget_id": "free", "rpm_limit": 50})
    customer = server.done("POST", "/customer/new", {"user_id": "acme", "budget_id": "free"})
    assert (plain["max_budget"], plain["rpm_limit"], plain["budget_duration"]) == (1, 5, "1d")
    assert (own["max_budget"], own["rpm_limit"]) == (1, 50)
    assert customer["litellm_budget_table"]["max_budget"] == 1
    server.done("POST", "/key/update", {"key": plain["key"], "rpm_limit": None})
    assert server.done("GET", f"/key/info?key={plain['token']}")["info"]["rpm_limit"] == 5
    server.done("POST", "/budget/update", {"budget_id": "free", "max_budget": 2, "rpm_limit": 6})
    info = [server.done("GET", f"/key/info?key={key['token']}")["info"] for key in (plain, own)]
    assert [(each["max_budget"], each["rpm_limit"]) for each in info] == [(2, 6), (2, 50)]
    assert server.done("GET", "/customer/info?end_user_id=acme")["litellm_budget_table"]["max_budget"] == 2
    server.done("POST", "/budget/delete", {"id": "free"})
    assert server.done("GET", f"/key/info?key={plain['token']}")["info"]["max_budget"] == 2
    assert server.refused("POST", "/key/generate", {"budget_id": "free"})[0] == 404
    assert server.done("POST", "/key/update", {"key": plain["key"], "max_budget": 3})["max_budget"] == 3


def test_budgets_are_listed_and_looked_at(server: LiteLLMServer) -> None:
    """A name is made up where none is said, and is taken once."""
    made = server.done("POST", "/budget/new", {"max_budget": 0.5, "soft_budget": 0.4})
    server.done("POST", "/budget/new", {"budget_id": "b", "tpm_limit": 10})
    assert {each["budget_id"] for each in server.done("GET", "/budget/list")} == {"b", made["budget_id"]}
    (found,) = server.done("POST", "/budget/info", {"budgets": [made["budget_id"], "nobodys"]})
    assert found == made
    assert found["soft_budget"] == 0.4
    assert server.refused("POST", "/budget/new", {"budget_id": "b"})[0] == 400
    assert server.refused("POST", "/budget/info", {"budgets": []})[0] == 400
    assert server.refused("POST", "/budget/update", {"budget_id": "c", "max_budget": 1})[0] == 404
    assert server.refused("POST", "/budget/delete", {"id": "c"})[0] == 404


@pytest.mark.parametrize("stem", ["/customer", "/end_user"])
def test_a_customer_is_limited_blocked_and_deleted(server: LiteLLMServer, stem: str) -> None:
    """Whom a program calls for: below its key, with a budget that is counted apart, which a deletion does not undo."""
    name = f"acme of {stem}"
    made = server.done(
        "POST", f"{stem}/new", {"user_id": name, "alias": "Acme", "max_budget": 3, "budget_duration": "7d"}
    )
    assert made["litellm_budget_table"]["budget_duration"] == "7d"
    owner = Owners(server.app.projects.own).get("shop", "end_user", name)
    assert rules_of("end_user", owner.limits) == (
        Budget("end_user", 3, "weekly", per=("end_user",), on_expire="charge"),
    )
    call(server, 0.5, end_user=name)
    assert server.done("GET", f"{stem}/info?end_user_id={quote(name)}")["spend"] == 0.5
    changed = server.done(
        "POST", f"{stem}/update", {"user_id": name, "max_budget": 4, "alias": None, "budget_id": None}
    )
    assert changed["litellm_budget_table"]["max_budget"] == 4
    assert changed["alias"] == "Acme"
    assert [
        each["user_id"] for each in server.done("POST", f"{stem}/block", {"user_ids": [name, "new"]})["blocked_users"]
    ]
    assert Owners(server.app.projects.own).get("shop", "end_user", "new").blocked
    assert server.done("POST", f"{stem}/unblock", {"user_ids": [name, "new"]}) == {"blocked_users": []}
    assert [each["user_id"] for each in server.done("GET", f"{stem}/list?page_size=1&page=2")] == ["new"]
    assert [each["user_id"] for each in server.done("GET", f"{stem}/list?search=ACM")] == [name]
    assert server.refused("POST", f"{stem}/new", {"user_id": name})[0] == 400
    assert server.refused("POST", f"{stem}/delete", {"user_ids": [name, "nobody"]})[0] == 404
    assert server.done("POST", f"{stem}/delete", {"user_ids": [name]})["deleted_customers"] == 1
    assert server.refused("GET", f"{stem}/info?end_user_id={quote(name)}")[0] == 404
    for said in (
        {"models": ["o3"]},
        {"model_max_budget": {"o3": 1}},
        {"allowed_model_region": "eu"},
        {"max_budget": 1, "budget_id": "free"},
    ):
        assert server.refused("POST", f"{stem}/new", {"user_id": "other", **said})[0] == 422


# -- spend -----------------------------------------------------------------------------------------------------------


def test_the_history_is_read_as_logs(server: LiteLLMServer) -> None:
    """The newest first, by key, user and call; a key that calls models sees its own calls only."""
    made = server.done("POST", "/key/generate", {"user_id": "ann", "tags": ["env:prod"]})
    prefix = stored(server, made["key"]).prefix
    first = call(server, 0.5, user="ann", key=prefix, env="prod")
    second = call(server, 0.25, model="o3", user="bob", key="0123456789", end_user="acme")
    logs = server.done("GET", "/spend/logs")
    assert [row["request_id"] for row in logs] == [second, first]
    assert logs[1] | {"startTime": "", "endTime": ""} == {
        "request_id": first,
        "call_type": "",
        "api_key": made["token"],
        "spend": 0.5,
        "total_tokens": 15,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "startTime": "",
        "endTime": "",
        "model": "gpt-4o-mini",
        "model_id": "",
        "model_group": "gpt-4o-mini",
        "api_base": "",
        "custom_llm_provider": "openai",
        "user": "ann",
        "team_id": None,
        "end_user": "",
        "request_tags": ["env:prod"],
        "metadata": {"flags": []},
        "cache_hit": "",
        "cache_key": "",
        "messages": {},
        "response": {},
        "status": "success",
    }
    path, bearer = "/spend/logs?limit=1", {"authorization": f"Bearer {server.master}"}
    _, cut, headers = server.ask("GET", path, headers=bearer)
    assert [row["request_id"] for row in cut] == [second]
    assert headers["x-litellm-spend-logs-truncated"] == "true"  # as LiteLLM says it
    for question in (f"api_key={made['key']}", f"api_key={made['token']}", "user_id=ann", f"request_id={first}"):
        assert [row["request_id"] for row in server.done("GET", f"/spend/logs?{question}")] == [first], question
    assert [row["request_id"] for row in server.done("GET", "/spend/logs", key=made["key"])] == [first]
    for nobodys in ("chatcmpl-nobodys", first[:-1] + "x", "f" * 32, "0" * 32):
        assert server.done("GET", f"/spend/logs?request_id={nobodys}") == [], nobodys
    for day in ("yesterday", "0001-01-01", "9999-12-31"):
        assert server.refused("GET", f"/spend/logs?start_date={day}&end_date={day}")[1]["param"] == "start_date"


def test_spend_adds_up(server: LiteLLMServer) -> None:
    """By day, tag, key and user, and in all: the books, to the nano-dollar."""
    made = server.done("POST", "/key/generate", {"user_id": "ann", "tags": ["env:prod", "batch"], "max_budget": 5})
    server.done("POST", "/user/new", {"user_id": "bob", "auto_create_key": False})
    prefix = stored(server, made["key"]).prefix
    call(server, 0.1, user="ann", key=prefix, env="prod", batch="true")
    call(server, 0.2, user="ann", key=prefix, env="test")
    call(server, 0.7, model="o3", user="bob")
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert server.done("GET", "/global/spend") == {"spend": 1.0, "max_budget": 0.0}
    (day,) = server.done("GET", f"/spend/logs?start_date={today}&end_date={today}")
    assert day == {
        "startTime": today,
        "spend": 1.0,
        made["token"]: 0.3,
        "users": {"ann": 0.3, "bob": 0.7},
        "models": {"gpt-4o-mini": 0.3, "o3": 0.7},
    }
    rows = server.done("GET", f"/spend/logs?start_date={today}&end_date={today}&summarize=false")
    assert len(rows) == 3
    assert server.done("GET", "/spend/logs?start_date=2001-01-01&end_date=2001-01-02") == []
    assert server.done("GET", "/spend/tags") == [
        {"individual_request_tag": "env:test", "log_count": 1, "total_spend": 0.2},
        {"individual_request_tag": "batch", "log_count": 1, "total_spend": 0.1},
        {"individual_request_tag": "env:prod", "log_count": 1, "total_spend": 0.1},
    ]
    assert [(row["token"], row["spend"]) for row in server.done("GET", "/spend/keys")] == [(made["token"], 0.3)]
    assert [(row["user_id"], row["spend"]) for row in server.done("GET", "/spend/users?user_id=bob")] == [("bob", 0.7)]


# -- models, health, and who may ask what ----------------------------------------------------------------------------


def test_models_are_those_that_a_key_may_call(server: LiteLLMServer) -> None:
    """Once for each upstream, with prices and the id that answers have; no address and no key of one."""
    data = server.done("GET", "/model/info")["data"]
    assert [(row["model_name"], row["model_info"]["id"]) for row in data] == [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("gpt-4o-mini", "azure-eu/mini"),
        ("claude-haiku-4-5", "claude/claude-haiku-4-5"),
    ]
    assert data[0]["model_info"]["input_cost_per_token"] == 1.5e-7
    made = server.done("POST", "/key/generate", {"models": ["claude-*"]})
    (mine,) = server.done("GET", "/v1/model/info", key=made["key"])["data"]
    assert mine["litellm_params"]["model"] == "anthropic/claude-haiku-4-5"
    (one,) = server.done("GET", "/model/info?litellm_model_id=azure-eu/mini")["data"]
    assert one["litellm_params"]["custom_llm_provider"] == "azure"
    assert server.refused("GET", "/model/info?litellm_model_id=nobodys")[0] == 404


def test_health_is_told(server: LiteLLMServer) -> None:
    """Probes need no key; an administrator sees which upstreams failed lately, and nothing is sent to find it out."""
    assert server.done("GET", "/health/liveliness", key="") == "I'm alive!"
    assert server.done("GET", "/health/liveness", key="") == "I'm alive!"
    ready = server.done("GET", "/health/readiness", key="")
    assert (ready["status"], ready["db"]) == ("healthy", "connected")
    server.cooling["azure-eu"] = 12.0
    told = server.done("GET", "/health")
    server.cooling.clear()
    assert (told["healthy_count"], told["unhealthy_count"]) == (2, 1)
    assert told["unhealthy_endpoints"][0]["model_id"] == "azure-eu/mini"
    assert server.ask("GET", "/health")[:2] == (200, {"status": "ok"})  # the gateway's own, as probes ask it


ADMIN_ONLY = [
    ("POST", "/key/generate"),
    ("POST", "/key/update"),
    ("POST", "/key/delete"),
    ("GET", "/key/list"),
    ("POST", "/key/block"),
    ("POST", "/key/unblock"),
    ("POST", "/key/regenerate"),
    ("POST", "/key/sk-somebodys/regenerate"),
    *[("POST", f"/user/{what}") for what in ("new", "update", "delete")],
    *[
        ("POST", f"/team/{what}")
        for what in ("new", "update", "delete", "block", "unblock", "member_add", "member_delete")
    ],
    *[("POST", f"/budget/{what}") for what in ("new", "update", "info", "delete")],
    *[("POST", f"/customer/{what}") for what in ("new", "update", "delete", "block", "unblock")],
    *[("GET", path) for path in ("/user/list", "/team/list", "/budget/list", "/customer/info", "/customer/list")],
    *[("GET", path) for path in ("/spend/tags", "/spend/keys", "/spend/users", "/global/spend")],
]


def test_a_key_that_calls_models_administers_nothing(server: LiteLLMServer) -> None:
    """Nor does one of another scope, or nobody: LiteLLM's scripts look for 401 and `auth_error`."""
    text = server.done("POST", "/key/generate", {})["key"]
    for method, path in ADMIN_ONLY:
        status, error = server.refused(method, path, {}, key=text)
        assert (status, error["type"]) == (401, "auth_error"), path
        assert "Only proxy admin" in error["message"]
    for key in ("", "sk-nobody-knows-this-one", "bg_0123456789_" + "x" * 43):
        status, error = server.refused("GET", "/key/list", key=key)
        assert (status, error["type"]) == (401, "auth_error")


def test_every_path_is_in_the_list_above_or_for_both(server: LiteLLMServer) -> None:
    """A new endpoint is thought about: who may ask it."""
    told = {(each.method, each.path) for each in server.beside.admin.actions if each.scopes == frozenset({"admin"})}
    ends = {("POST", "/key/{key:path}/regenerate")}
    old_names = {(method, path) for method, path in told if path.startswith("/end_user")}
    listed = {*ADMIN_ONLY, *ends} - {("POST", "/key/sk-somebodys/regenerate")}
    assert told - old_names == listed


def test_what_cannot_be_read_is_refused(server: LiteLLMServer) -> None:
    """In LiteLLM's shape, whatever it is."""
    assert server.refused("POST", "/key/generate", b"{")[0] == 400
    assert server.refused("POST", "/key/generate", b"[]")[0] == 422
    assert server.refused("POST", "/key/generate", b"{" + b'"a": 1, ' * 200_000)[0] == 413
    assert server.refused("POST", "/key/generate", b'{"metadata":' + b'{"a":' * 5_000)[0] == 400
    assert server.refused("GET", "/key/generate")[0] == 405
    assert server.refused("POST", "/team/new", {"team_id": "a\nb"})[0] == 400
    assert server.refused("POST", "/user/new", {"user_id": "\u0000"})[0] == 400


# -- the newest of a long history --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "times", [[1] * 50, range(50), [1] * 30 + [9] * 20, [n * n for n in range(50)], [5], []], ids=str
)
@pytest.mark.parametrize("most", [1, 7, 49, 50, 51])
def test_the_newest_are_found_by_looks_that_are_bounded(times: Any, most: int) -> None:
    """However long the history is: no look reads more than one above what is wanted, and there are few looks."""
    entries = [Entry(f"{n:032x}", 1, at_ms=1_800_000_000_000 + at) for n, at in enumerate(times)]
    looks = []

    def read(query: Query) -> list[Entry]:
        found = [each for each in entries if (query.since_ms or 0) <= each.at_ms][: query.limit]
        looks.append(len(found))
        return found

    found, whole = newest(read, Query(), most, 1_800_000_100_000)
    assert whole is (len(entries) <= most)
    assert found == [each for each in entries if each in found]
    assert max(looks) <= most + 1
    assert len(looks) <= 50
    if len(entries) <= most:
        assert found == entries
    elif len(set(times)) == len(entries):  # of more in one millisecond than are wanted, the first
        assert most / 2 <= len(found) <= most
        assert found[-1] == entries[-1]
