"""Limits of keys, teams and customers that people change while calls are made: each holds from the very next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from budgetguard import Budget
from budgetguard.budgets.steering.declared import declared
from budgetguard.cli.app import app
from budgetguard.server.gateway.config.resolve import Configuration
from budgetguard.server.keys import Grant
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.testing import FakeProvider
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, upstream
from tests.support.tasks import until

pytestmark = pytest.mark.provider(prices={MODEL: (0.15, 0.60)})


class Desk:
    """A gateway with an admin key, and one of a team for calls."""

    def __init__(self, gateway: ServedGateway) -> None:
        self.gateway = gateway
        self.admin = gateway.key(scope="admin", grant=Grant(alias="ann"))
        limits = owner_limits([allowance("0.01", "monthly")], rpm=1_000)
        assert gateway.ask("/v1/limits/team/red", self.limited(), method="PATCH", key=self.admin)[0] == 200
        assert gateway.ask("/v1/limits/customer/c42", self.limited(), method="PATCH", key=self.admin)[0] == 200
        self.key = gateway.key(grant=Grant(team="red", limits=limits))
        self.prefix = self.key.split("_")[1]

    @staticmethod
    def limited() -> dict[str, Any]:
        return {"budgets": [{"limit": "0.01", "period": "monthly"}], "rpm": 1_000}

    def chat(self, **more: Any) -> tuple[int, Any]:
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 10, **more}
        return self.gateway.ask("/v1/chat/completions", body, key=self.key)[:2]

    def declared(self) -> bool:
        """Whether the rules of the file are in the store, where they are put a moment after the first call."""
        return bool(declared(self.gateway.app.hosting.projects.open("shop").store))

    def steer(self, do: str, target: str, **more: Any) -> Any:
        status, said, _ = self.gateway.ask("/v1/steer", {"do": do, "target": target, **more}, key=self.admin)
        assert status == 200, said
        return said


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A file of the test."""
    return f"sqlite:///{tmp_path}/budgets.db?synchronous=normal"


@pytest.fixture
def house(provider: FakeProvider) -> Configuration:
    """Under a budget for all."""
    return configured(upstream("openai", provider.root_url), budgets=(Budget("house", 1),))


@pytest.fixture
def desk(house: Configuration, store_url: str) -> Iterator[Desk]:
    with ServedGateway(house, store_url) as gateway:
        yield Desk(gateway)


@pytest.mark.parametrize("whose", ["key/{}", "team/red", "team", "house", "end_user/c42"])
def test_a_pause_holds_from_the_next_call_until_it_is_resumed(desk: Desk, provider: FakeProvider, whose: str) -> None:
    """An incident is stopped at once, and whoever is refused reads who did it, and why."""
    target = whose.format(desk.prefix)
    assert desk.chat(user="c42")[0] == 200
    assert until(desk.declared, 10)
    told = desk.steer("pause", target, note="incident 12")
    assert told["paused"]
    status, said = desk.chat(user="c42")
    assert (status, len(provider.requests)) == (402, 1), said
    assert said["error"]["code"] == "budget_paused"
    assert f"{target} is paused by ann (incident 12)" in said["error"]["message"]
    desk.steer("resume", target)
    assert desk.chat(user="c42")[0] == 200


def test_another_process_holds_to_it_as_soon(house: Configuration, store_url: str, desk: Desk) -> None:
    """The version of what is steered goes with each hold: no gateway has to be told."""
    with ServedGateway(house, store_url) as other:
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 10}
        assert other.ask("/v1/chat/completions", body, key=desk.key)[0] == 200
        desk.steer("pause", "team/red")
        assert other.ask("/v1/chat/completions", body, key=desk.key)[0] == 402


def test_a_key_has_more_to_spend_once_its_limit_is_raised(desk: Desk, provider: FakeProvider) -> None:
    """Dollars are raised, and the requests a minute of the same key stay what they were."""
    desk.steer("raise", f"key/{desk.prefix}", amount=0.000001)
    assert desk.chat()[0] == 402
    assert desk.steer("topup", f"key/{desk.prefix}", amount=1)["limit"] == 1.000001
    assert desk.chat()[0] == 200
    desk.gateway.ask(f"/v1/keys/{desk.prefix}", {"rpm": 1}, method="PATCH", key=desk.admin)
    held = [each["what"] for each in desk.gateway.ask("/v1/changes", key=desk.admin)[1]["changes"]]
    assert held[:3] == ["change", "top up", "raise"]


def test_a_raise_in_dollars_raises_no_rate(desk: Desk, provider: FakeProvider) -> None:
    """All limits of a key have one name: a thousand dollars are not a trillion requests a minute."""
    slow = desk.gateway.key(grant=Grant(limits=owner_limits([allowance("0.01")], rpm=1)))
    desk.key, desk.prefix = slow, slow.split("_")[1]
    desk.steer("raise", f"key/{desk.prefix}", amount=1_000)
    assert [desk.chat()[0] for _ in range(2)] == [200, 429]


def test_who_has_no_limit_cannot_be_steered(desk: Desk) -> None:
    """A pause that nobody is held to would be believed to hold."""
    free = desk.gateway.key().split("_")[1]
    status, said, _ = desk.gateway.ask("/v1/steer", {"do": "pause", "target": f"key/{free}"}, key=desk.admin)
    assert status == 400
    assert "there is no rule 'key'" in said["error"]["message"]


def test_the_command_line_finds_the_limits_of_a_team(desk: Desk, store_url: str, provider: FakeProvider) -> None:
    """Whoever is woken at night has a shell, and not the address of the page."""
    said = CliRunner().invoke(
        app,
        ["budget", "pause", "team/red", "--note", "night", "--store", store_url, "--project", "shop", "--by", "eve"],
    )
    assert said.exit_code == 0, said.output
    status, answer = desk.chat()
    assert (status, provider.requests) == (402, [])
    assert "team/red is paused by eve (night)" in answer["error"]["message"]


def test_a_rate_that_is_paused_is_no_matter_of_time(desk: Desk, provider: FakeProvider) -> None:
    """A 429 would be sent again, in vain, for as long as an SDK has patience."""
    slow = desk.gateway.key(grant=Grant(limits=owner_limits(rpm=10, parallel=2)))
    desk.key = slow
    desk.steer("pause", f"key/{slow.split('_')[1]}")
    status, said, headers = desk.gateway.ask("/v1/chat/completions", {"model": MODEL, "messages": MESSAGES}, key=slow)
    assert (status, said["error"]["code"], headers["x-should-retry"]) == (402, "budget_paused", "false")
    assert provider.requests == []


def test_nothing_is_asked_in_the_place_of_what_is_paused(provider: FakeProvider, store_url: str) -> None:
    """A pause stops all calls: a fallback would go on spending."""
    rules = (Budget("house", 1, fallback="gpt-4.1-nano"),)
    with ServedGateway(configured(upstream("openai", provider.root_url), budgets=rules), store_url) as gateway:
        desk = Desk(gateway)
        assert desk.chat()[0] == 200
        assert until(desk.declared, 10)
        desk.steer("pause", "house")
        assert desk.chat()[0] == 402
        assert len(provider.requests) == 1
