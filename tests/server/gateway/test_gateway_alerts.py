"""Who is told of budgets by a gateway: as its file says, once over all of its processes, never in a call's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgetguard import Budget
from budgetguard.alerts.options import Alerts
from budgetguard.alerts.sinks.webhook import Webhook
from budgetguard.server.gateway.config.file import read
from budgetguard.server.gateway.config.resolve import Configuration
from budgetguard.server.gateway.guards import give_back
from budgetguard.server.keys import Grant
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.testing import FakeProvider
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, upstream
from tests.support.tasks import until
from tests.support.wire import RawUpstream, reply

pytestmark = pytest.mark.provider(prices={MODEL: (0.15, 0.60)})

CHAT = {"model": MODEL, "messages": MESSAGES, "max_tokens": 10}


@pytest.fixture
def hook() -> Iterator[RawUpstream]:
    """Where alerts are posted to."""
    with RawUpstream(reply(b"{}")) as made:
        yield made


def told(hook: RawUpstream, what: str = "threshold") -> list[dict[str, Any]]:
    """The alerts that were posted."""
    alerts = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in hook.requests]
    return [each for each in alerts if each["what"] == what]


def watched(provider: FakeProvider, *hooks: RawUpstream, **fields: Any) -> Configuration:
    """A gateway with a budget that tells at a half, and hooks that hear of it."""
    alerts = Alerts([Webhook(f"{each.root}/hook") for each in hooks])
    rules = (Budget("house", "0.00004", **{"warn_at": (0.5,), **fields}),)
    return configured(upstream("openai", provider.root_url), budgets=rules, alerts=alerts)


def test_two_gateways_tell_once_that_a_budget_is_spent_so_far(
    provider: FakeProvider, hook: RawUpstream, tmp_path: Path
) -> None:
    """Each process has its own herald, and the store says which of them tells."""
    url, known = f"sqlite:///{tmp_path}/budgets.db?synchronous=normal", watched(provider, hook, warn_at=(0.05,))
    with ServedGateway(known, url) as one, ServedGateway(known, url) as two:
        key = one.key()
        for gateway in (one, two):
            assert gateway.ask("/v1/chat/completions", CHAT, key=key)[0] == 200
        assert until(lambda: bool(told(hook)), 10)
    [alert] = told(hook)  # both have ended, and told what they had
    assert (alert["budget"], alert["part"], alert["limit"]) == ("house", 0.05, 0.00004)


def test_a_gateway_that_ends_has_told_what_there_was_to_tell(
    provider: FakeProvider, hook: RawUpstream, tmp_path: Path
) -> None:
    """The last call before a deployment is as likely as any other to be the one that crosses."""
    url = f"sqlite:///{tmp_path}/budgets.db?synchronous=normal"
    with ServedGateway(watched(provider, hook, warn_at=(0.01,)), url) as gateway:
        assert gateway.ask("/v1/chat/completions", CHAT, key=gateway.key())[0] == 200
    assert len(told(hook)) == 1


def test_another_configuration_tells_others_from_the_next_call_on(provider: FakeProvider, hook: RawUpstream) -> None:
    """An address that was wrong is mended by SIGHUP, without a restart."""
    with RawUpstream(reply(b"{}")) as second, ServedGateway(watched(provider, hook, warn_at=(0.01, 0.3))) as gateway:
        assert gateway.ask("/v1/chat/completions", CHAT)[0] == 200
        assert until(lambda: len(told(hook)) == 1, 10)
        give_back(gateway.app.reload(watched(provider, second, warn_at=(0.01, 0.3))))
        while not told(second):
            status, said, _ = gateway.ask("/v1/chat/completions", CHAT)
            assert status == 200, said
            until(lambda: bool(told(second)), 0.2)
        assert [each["part"] for each in told(hook)] == [0.01]
        assert [each["part"] for each in told(second)] == [0.3]


def test_a_hook_that_never_answers_delays_no_call(provider: FakeProvider, hook: RawUpstream) -> None:
    """Somebody else's server is down: calls go on, and so does everything that they are told."""
    hook.answer = lambda _request: []
    with ServedGateway(watched(provider, hook, warn_at=(0.01,))) as gateway:
        statuses = [gateway.ask("/v1/chat/completions", CHAT)[0] for _ in range(5)]
    assert statuses[0] == 200
    assert set(statuses) <= {200, 402}


def test_a_teams_own_limit_tells_when_it_is_nearly_spent(
    provider: FakeProvider, hook: RawUpstream, tmp_path: Path
) -> None:
    """Whoever gave a team its money hears of it before the team does."""
    url = f"sqlite:///{tmp_path}/budgets.db?synchronous=normal"
    with ServedGateway(watched(provider, hook), url) as gateway:
        limits = owner_limits([allowance("0.00002")], warn_at=(0.2,))
        key = gateway.key(grant=Grant(limits=limits))
        assert gateway.ask("/v1/chat/completions", CHAT, key=key)[0] == 200
        assert until(lambda: bool(told(hook)), 10)
    [alert] = told(hook)
    assert (alert["budget"], alert["subject"], alert["part"]) == ("key", key.split("_")[1], 0.2)


FILE = """
[[upstream]]
name = "x"
base = "https://x"
free = true
[alerts]
"""

WRONG = {
    "slak = 'env:HOOK'": "[alerts] slak: there is no such key (did you mean 'slack'?)",
    "slack = 'env:NOWHERE'": "[alerts] slack url: the variable NOWHERE is not set",
    "webhook = {url = 'https://ops', secret = 'in-the-file'}": "[alerts] webhook secret: a secret is no text of this",
    "webhook = {secret = 'env:HOOK'}": "[alerts] webhook url: it is missing",
    "webhook = 'ops'": "[alerts] webhook: url: a webhook's address is needed",
    "webhook = 3": "[alerts] webhook: write an address",
    "webhook = ['https://a', {uri = 'https://b'}]": "[alerts] webhook[2] uri: there is no such key",
    "email = {host = 'mail', sender = 'a@b', to = []}": "[alerts] email: to=(): at least one address",
    "email = {host = 'mail', sender = 'a@b', to = 'c@d', user = 'u'}": "[alerts] email: user, password: give both",
    "off = ['spikes']": "[alerts] off: 'spikes' is no alert: there are",
    "log = 'yes'": "[alerts] log: a text stands there: write true or false",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_said_of_alerts_is_said_by_check(tmp_path: Path, line: str) -> None:
    """A hook that nobody hears is found out on the day that it was for."""
    (tmp_path / "gateway.toml").write_text(FILE + line)
    found = read(tmp_path / "gateway.toml", {"HOOK": "https://hooks.example.com/T0/secret"})
    assert found.configuration is None
    assert any(WRONG[line] in str(each) for each in found.remarks), found.remarks
    assert not any("secret'" in str(each) for each in found.remarks)


def test_every_kind_of_sink_can_be_said_and_none_shows_its_secret(tmp_path: Path) -> None:
    """The file goes into a repository, and what was read of it into logs."""
    said = """
slack = "env:HOOK"
discord = ["env:HOOK", "file:hook.txt"]
webhook = {url = "https://ops.example.com/budgets", secret = "env:SECRET", timeout_s = 3}
email = {host = "mail", port = 465, tls = "tls", sender = "a@b", to = ["c@d"], user = "u", password = "env:SECRET"}
log = true
off = ["spike", "forecast"]
"""
    (tmp_path / "gateway.toml").write_text(FILE + said)
    (tmp_path / "hook.txt").write_text("https://discord.example.com/api/webhooks/1/token")
    environ = {"HOOK": "https://hooks.example.com/T0/token", "SECRET": "hush-hush"}
    found = read(tmp_path / "gateway.toml", environ)
    assert found.configuration is not None, found.remarks
    alerts = found.configuration.options.alerts
    names = [each.name for each in alerts.sinks]
    assert names == [
        "webhook ops.example.com",
        "slack hooks.example.com",
        "discord hooks.example.com",
        "discord discord.example.com",
        "email mail",
        "log",
    ]
    assert alerts.off == {"spike", "forecast"}
    assert "hush-hush" not in repr(found)
    assert "token" not in repr(found)
    assert read(tmp_path / "gateway.toml", {}, secrets=False).configuration is not None
