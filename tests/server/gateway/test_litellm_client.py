"""LiteLLM's own client of its proxy, from its package, asks the gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from budgetguard.server.keys import rules_of
from budgetguard.server.keys.ring import digest_of
from tests.support import ENVIRONMENT, ROOT
from tests.support.litellm_admin import LiteLLMServer

PREFIX = "/litellm"


@pytest.fixture(scope="module")
def server() -> Iterator[LiteLLMServer]:
    server = LiteLLMServer("memory://", prefix=PREFIX)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def told(server: LiteLLMServer) -> Any:
    """What a script was told, that was written for LiteLLM Proxy."""
    shown = subprocess.run(
        [sys.executable, "tests/support/litellm_script.py", server.url + PREFIX, server.master],
        cwd=ROOT,
        env={**ENVIRONMENT, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_keys_are_managed(told: Any) -> None:
    """Made, changed, looked at, listed, deleted, as the client's methods do it."""
    keys = told["keys"]
    made = keys["made"]
    assert made["key"].startswith("sk-")
    assert keys["changed"] | {"key": made["key"], "models": ["gpt-4o", "o3"], "user_id": "bob"} == keys["changed"]
    info = keys["info"]["info"]
    assert (info["key_alias"], info["team_id"], info["spend"]) == ("ci", "core", 0)
    assert [key["token"] for key in keys["listed"]["keys"]] == [made["token"]]
    assert keys["deleted"] == {"deleted_keys": [made["key"]]}
    assert keys["gone"] == 404


def test_users_are_managed(told: Any) -> None:
    """With limits, and gone when they are deleted."""
    users = told["users"]
    assert (users["made"]["user_id"], users["made"]["max_budget"]) == ("carol", 3.5)
    assert users["info"]["user_info"]["tpm_limit"] == 1_000
    assert [each["user_id"] for each in users["listed"]] == ["carol"]
    assert users["deleted"] == 1
    assert users["gone"]


def test_teams_models_and_health_are_told(told: Any) -> None:
    """What its consoles and checks ask for."""
    assert [team["team_alias"] for team in told["teams"]] == ["Core"]
    assert {model["model_name"] for model in told["models"]} == {"gpt-4o-mini", "claude-haiku-4-5"}
    assert told["model"]["model_info"]["id"] == "claude/claude-haiku-4-5"
    assert told["readiness"]["status"] == "healthy"
    assert told["version"].startswith("1.")


def test_a_key_that_calls_models_is_unauthorized(told: Any) -> None:
    """The client has an error of its own for it; such a key sees itself, and the models it may call."""
    assert told["refused"] == [True, True, False]
    assert told["caller"]["info"]["key_alias"] == "caller"


def test_without_a_prefix_in_the_path_there_is_nothing(server: LiteLLMServer) -> None:
    """What is mounted on a prefix is nowhere else."""
    bearer = {"authorization": f"Bearer {server.master}"}
    assert server.ask("GET", "/key/list", headers=bearer)[0] == 404
    assert server.ask("GET", f"{PREFIX}/key/list", headers=bearer)[0] == 200
    assert server.ask("GET", f"{PREFIX}x/key/list", headers=bearer)[0] == 404


def test_a_key_of_litellms_own_tables_is_managed(server: LiteLLMServer) -> None:
    """Its table has SHA-256 of its keys, which is what is stored here: the text is not needed."""
    text = "sk-of-the-old-proxy-0123456789"
    key = server.ring.adopt(digest_of(text), "shop")
    server.done("POST", "/key/update", {"key": digest_of(text), "max_budget": 2})
    assert [rule.limit for rule in rules_of("key", server.ring.get(key.prefix).grant.limits)] == [2 * 10**9]
    assert server.done("GET", "/key/info", key=text)["info"]["max_budget"] == 2
