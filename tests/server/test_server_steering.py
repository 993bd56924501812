"""Budgets that run are changed by the API, and the audit tells which key did it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from budgetguard import BudgetManager
from budgetguard.budgets.steering.declared import declare
from budgetguard.server.keys import ADMIN, READ, SPEND, Grant, KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support.hosting import Hosted
from tests.support.steering import client, passes, team


@pytest.fixture
def kept(tmp_path: Path):
    """A server with keys of one project, whose program declared its rule."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    with closing(open_store(url, namespace=OWN)) as own:
        ring = KeyRing(own)
        texts = {
            scope: ring.create("shop", scope, grant=Grant(alias=f"{scope} of ann"))[1] for scope in (ADMIN, READ, SPEND)
        }
    with closing(open_store(url, namespace="shop")) as store:
        declare(store, team())
    hosted = Hosted(url, open_mode=False)
    yield hosted, {scope: {"Authorization": f"Bearer {text}"} for scope, text in texts.items()}
    hosted.stop()


def test_a_pause_by_the_api_stops_a_program_on_the_server(kept, monkeypatch):
    """From the next call on; and one that is resumed goes on."""
    hosted, keys = kept
    monkeypatch.setenv("BUDGETGUARD_KEY", keys[SPEND]["Authorization"].removeprefix("Bearer "))
    with closing(BudgetManager("shop", store=hosted.url, budgets=team())) as ours:
        calls = client(ours)
        assert passes(calls)
        said = {"do": "pause", "target": "team/red", "note": "incident 12"}
        status, done, *_ = hosted.ask("POST", "/v1/steer", said, headers=keys[ADMIN])
        assert (status, done["paused"], done["target"]) == (200, True, "team/red")
        assert not passes(calls)
        hosted.ask("POST", "/v1/steer", {"do": "resume", "target": "team/red"}, headers=keys[ADMIN])
        assert passes(calls)


def test_changes_are_told_with_the_key_that_made_them(kept):
    """By its alias; a key that may read sees them, page by page, and may change nothing."""
    hosted, keys = kept
    rise = {"do": "raise", "target": "team/red", "amount": "0.5", "until": "2h", "note": "launch"}
    assert hosted.ask("POST", "/v1/steer", rise, headers=keys[ADMIN])[1]["limit"] == 0.5
    hosted.ask("PUT", "/v1/budgets/bob", {"limit": 2}, headers=keys[ADMIN])
    made = hosted.ask("POST", "/v1/keys", {"scope": "spend"}, headers=keys[ADMIN])[1]
    hosted.ask("PATCH", "/v1/limits/team/red", {"rpm": 5}, headers=keys[ADMIN])

    found = hosted.ask("GET", "/v1/changes", headers=keys[READ])[1]["changes"]
    assert [(each["what"], each["target"], each["who"], each["via"]) for each in found] == [
        ("create", "limits/team/red", "admin of ann", "api"),
        ("create", f"keys/bg_{made['prefix']}", "admin of ann", "api"),
        ("create", "users/bob", "admin of ann", "api"),
        ("raise", "team/red", "admin of ann", "api"),
    ]
    assert made["key"] not in str(found)
    assert found[3]["after"]["steer"]["limit"] == 0.5
    first = hosted.ask("GET", "/v1/changes?limit=3", headers=keys[READ])[1]
    rest = hosted.ask("GET", f"/v1/changes?limit=3&before={first['next']}", headers=keys[READ])[1]
    assert [first["changes"], rest["changes"], rest["next"]] == [found[:3], found[3:], None]
    assert hosted.ask("POST", "/v1/steer", rise, headers=keys[READ])[0] == 403
    assert hosted.ask("GET", "/v1/changes", headers=keys[SPEND])[0] == 403


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"do": "pause", "target": "tean/red"}, "did you mean 'team/red'"),
        ({"do": "pause", "target": "team", "amount": 1}, "leave amount out"),
        ({"do": "topup", "target": "team"}, "say amount"),
        ({"do": "topup", "target": "team", "amount": 1, "until": "2h"}, "only a raise"),
        ({"do": "raise", "target": "team", "amount": 1, "until": "soon"}, "until="),
    ],
)
def test_what_cannot_be_steered_is_said(kept, said, told):
    """With what would be right."""
    hosted, keys = kept
    status, answer, *_ = hosted.ask("POST", "/v1/steer", said, headers=keys[ADMIN])
    assert status == 400
    assert told in answer["error"]["message"]


def test_terms_that_are_no_steers_are_refused(kept):
    """Every process would meet them, and refuse its calls."""
    hosted, keys = kept
    body = {"key": "steers", "body": "[1]"}
    status, answer, *_ = hosted.ask("POST", "/v1/ledger/put_terms", body, headers=keys[ADMIN])
    assert (status, answer["error"]["param"]) == (422, "body")
    assert hosted.app.projects.open("shop").store.terms("steers") is None
