"""LiteLLM's admin API as a gateway mounts it: the keys that it makes call models, and are held to their limits."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgetguard.budgets.rules import Budget
from budgetguard.testing import FakeProvider
from tests.support import ROOT
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, upstream

MASTER = "sk-master-0123456789abcdef"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    store = f"sqlite:///{tmp_path_factory.mktemp('gateway') / 'budgets.db'}"
    with FakeProvider() as provider:
        to_all = upstream("openai", provider.root_url)
        configuration = configured(to_all, litellm="", budgets=(Budget("all", 100),))
        with ServedGateway(configuration, store) as served:
            served.key("shop", "admin", text=MASTER)
            yield served


def admin(gateway: ServedGateway, path: str, body: Any = None) -> Any:
    """What the administrator is answered."""
    status, answer, _ = gateway.ask(path, body, key=MASTER)
    assert status == 200, answer
    return answer


def chat(gateway: ServedGateway, key: str, **fields: Any) -> tuple[int, Any, Any]:
    """A call as programs of LiteLLM's proxy send it, without `/v1`."""
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 10, **fields}
    return gateway.ask("/chat/completions", body, key=key)


def test_a_key_calls_models_and_its_spend_is_told(gateway: ServedGateway) -> None:
    """From `/key/generate` to the headers of the answer, and to the row of the call in the logs."""
    made = admin(gateway, "/key/generate", {"max_budget": 5, "user_id": "ann", "rpm_limit": 100})
    status, _, headers = chat(gateway, made["key"])
    assert status == 200
    cost = float(headers["x-litellm-response-cost"])
    assert cost > 0
    assert headers["x-litellm-model-id"] == f"openai/{MODEL}"
    assert headers["x-litellm-attempted-retries"] == "0"
    assert headers["x-litellm-key-max-budget"] == "5"
    assert admin(gateway, f"/key/info?key={made['token']}")["info"]["spend"] == pytest.approx(cost)
    (row,) = admin(gateway, f"/spend/logs?request_id={headers['x-litellm-call-id']}")
    assert (row["api_key"], row["user"], row["spend"]) == (made["token"], "ann", pytest.approx(cost))
    assert admin(gateway, "/global/spend")["max_budget"] == 100


def test_its_limits_are_hard(gateway: ServedGateway) -> None:
    """Dollars, requests and models of a key, its team, its user, its customer: each refuses before anything is sent."""
    admin(gateway, "/team/new", {"team_id": "poor", "max_budget": 0})
    admin(gateway, "/user/new", {"user_id": "poor", "max_budget": 0, "auto_create_key": False})
    admin(gateway, "/customer/new", {"user_id": "blocked", "blocked": True})
    admin(gateway, "/customer/new", {"user_id": "poor", "max_budget": 0})
    for said, fields, wanted in (
        ({"max_budget": 0}, {}, 402),
        ({"team_id": "poor"}, {}, 402),
        ({"user_id": "poor"}, {}, 402),
        ({"model_max_budget": {MODEL: 0}}, {}, 402),
        ({"model_max_budget": {MODEL: 0}}, {"model": f"openai/{MODEL}"}, 402),
        ({"model_max_budget": {"o3": 0}}, {}, 200),
        ({"rpm_limit": 0}, {}, 429),
        ({"models": ["claude-*"]}, {}, 403),
        ({"blocked": True}, {}, 403),
        ({}, {"user": "poor"}, 402),
        ({}, {"user": "blocked"}, 403),
        ({}, {}, 200),
    ):
        made = admin(gateway, "/key/generate", said)
        assert chat(gateway, made["key"], **fields)[0] == wanted, (said, fields)


def test_an_administrators_key_calls_no_models(gateway: ServedGateway) -> None:
    """With LiteLLM's master key a budget of $1 was billed $4.77."""
    assert chat(gateway, MASTER)[0] == 403


def test_its_models_are_told_with_prices(gateway: ServedGateway) -> None:
    """Every priced model of the provider, without being listed."""
    rows = {row["model_name"]: row for row in admin(gateway, "/model/info")["data"]}
    assert rows[MODEL]["model_info"]["input_cost_per_token"] == 1.5e-07
    assert rows[MODEL]["model_info"]["output_cost_per_token"] == 6e-07
    assert admin(gateway, "/health")["healthy_count"] == len(rows)
    assert gateway.ask("/health")[:2] == (200, {"status": "ok"})
    assert "127.0.0.1" not in str(rows)


def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    """An operator who does not come from LiteLLM has no such endpoints."""
    with (
        FakeProvider() as provider,
        ServedGateway(configured(upstream("openai", provider.root_url)), f"sqlite:///{tmp_path}/b.db") as served,
    ):
        served.key("shop", "admin", text=MASTER)
        made = served.key()
        for path in ("/key/list", "/health/liveliness", "/spend/logs", "/model/info"):
            assert served.ask(path, key=MASTER)[0] == 404, path
        assert (
            "x-litellm-call-id"
            not in served.ask(
                "/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "max_tokens": 10}, key=made
            )[2]
        )


def test_the_pages_lines_are_answered(tmp_path: Path) -> None:
    """What is written down runs: with nothing there before."""
    page = (ROOT / "docs/gateway/litellm.md").read_text("utf-8")
    lines = [shlex.split(line.removeprefix("$ curl")) for line in page.splitlines() if line.startswith("$ curl")]
    with FakeProvider() as provider:
        configuration = configured(upstream("openai", provider.root_url), litellm="")
        with ServedGateway(configuration, f"sqlite:///{tmp_path}/b.db") as served:
            served.key("shop", "admin", text=MASTER)
            for words in lines:
                said = dict(itertools.pairwise(words))
                body = json.loads(said["-d"]) if "-d" in said else None
                key = MASTER if "$LITELLM_MASTER_KEY" in str(words) else ""
                path = next(word for word in words if word.startswith("$URL")).removeprefix("$URL")
                status, answer, _ = served.ask(path, body, method=said.get("-X", "GET"), key=key)
                assert status == 200, (path, answer)
    assert len(lines) == 7
