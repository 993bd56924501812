"""`gateway check` and `gateway models`: an operator knows what a file means before programs do."""

from __future__ import annotations

import json

import pytest

from budgetguard.cli import main
from tests.support.commands import exit_code

FILE = """
[[upstream]]
name = "demo"
base = "{base}"
prices = "openai"
key = "env:DEMO_KEY"

[[model]]
name = "fast"
upstreams = [{{ use = "demo", model = "gpt-4o-mini" }}]

[[budget]]
name = "house"
limit = 10
"""


@pytest.fixture
def checked(provider, here, capsys, monkeypatch):
    """The JSON of `gateway check`, and its exit code."""
    monkeypatch.setenv("DEMO_KEY", "sk-of-the-demo")
    (here / "gateway.toml").write_text(FILE.format(base=provider.base_url))

    def check(*arguments: str):
        code = exit_code("gateway", "check", "--json", *arguments)
        return code, json.loads(capsys.readouterr().out)

    return check


def test_a_file_that_is_right_is_shown_as_it_is_meant(checked, capsys):
    """Whoever reads it sees where each model goes, and no key."""
    code, found = checked()
    assert (code, found["usable"], found["mistakes"], found["warnings"]) == (0, True, [], [])
    assert found["models"][0]["upstreams"] == ["demo/gpt-4o-mini"]
    assert found["upstreams"][0]["key"] is True
    with pytest.raises(SystemExit):
        main(["gateway", "check"])
    shown = capsys.readouterr().out
    assert "demo/gpt-4o-mini" in shown
    assert "sk-of" not in shown + json.dumps(found)


def test_a_file_that_is_wrong_ends_with_1(checked, here):
    """So a deployment stops before the gateway does."""
    (here / "gateway.toml").write_text("[[upstream]]\nname = 'demo'")
    code, found = checked()
    assert (code, found["usable"]) == (1, False)
    assert "nobody knows where it is" in found["mistakes"][0]


def test_live_asks_each_upstream_with_its_key_and_sends_nothing_that_costs(checked, provider):
    """A key that was mistyped is found by its operator, and not by the first caller."""
    code, found = checked("--live")
    assert (code, found["live"][0]["ok"]) == (0, True)
    assert "models" in found["live"][0]["said"]
    assert [(each.method, each.path) for each in provider.requests] == [("GET", "/v1/models")]
    assert provider.requests[0].headers["authorization"] == "Bearer sk-of-the-demo"
    assert provider.billed.nano == 0


def test_live_says_whose_key_is_refused_and_not_what_the_upstream_said(checked, provider):
    """Providers repeat a part of the key in their answer."""
    provider.fail_next(status=401)
    code, found = checked("--live")
    assert (code, found["live"][0]["said"]) == (1, "401: it refuses the key")
    provider.stop()
    code, found = checked("--live")
    assert code == 1
    assert "cannot be reached" in found["live"][0]["said"]


def test_keys_need_not_be_there_where_a_file_is_reviewed(checked, monkeypatch):
    """The build has no secrets."""
    monkeypatch.delenv("DEMO_KEY")
    assert checked()[0] == 1
    assert checked("--no-secrets")[0] == 0


def test_a_warning_ends_with_1_only_where_that_is_asked(checked, here):
    """Some of them are meant."""
    (here / "gateway.toml").write_text((here / "gateway.toml").read_text().partition("[[budget]]")[0])
    assert checked()[0] == 0
    code, found = checked("--strict")
    assert code == 1
    assert "[[budget]]: there is none" in found["warnings"][0]


def test_budgets_of_programs_that_do_not_hold_here_are_said(checked, here):
    """They look as if they did: the two files lie beside each other."""
    (here / "budgetguard.toml").write_text("[[budgets]]\nname = 'free'\nlimit = 1\n")
    assert any("write them as [[budget]]" in each for each in checked()[1]["warnings"])


def test_without_a_file_the_environments_keys_are_what_is_checked(checked, here, monkeypatch, capsys):
    """So it is known which providers a gateway would ask that has nothing else."""
    (here / "gateway.toml").unlink()
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY"):
        monkeypatch.setenv(name, "sk-of-somebody")
    code, found = checked()
    assert code == 0
    assert {"openai", "groq"} <= {each["name"] for each in found["upstreams"]}
    assert exit_code("gateway", "models", "--json") == 0
    ids = [each["id"] for each in json.loads(capsys.readouterr().out)]
    assert len(ids) > 100
    assert "gpt-4o" in ids
