"""Keys and limits on the command line: what is typed is what is stored, and what is mistyped is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from budgetguard import cli

CREATE = [
    *("keys", "create", "shop", "--scope", "call", "--user", "ann", "--team", "search", "--models", "gpt-4o*,openai/*"),
    *("--models", "o3", "--endpoints", "batches", "--tag", "env=prod", "--tag", "app=web", "--alias", "web"),
    *("--budget", "5", "--period", "monthly", "--timezone", "Europe/Berlin", "--model-budget", "o3*=1/daily"),
    *("--rpm", "60", "--tpm", "100000", "--expires", "90d"),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """One command; its output, or what it says as it fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUDGETGUARD_STORE", "sqlite:///keys.db?synchronous=normal")

    def run(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        said = capsys.readouterr()
        assert ended.value.code == code, said
        return said.err if code else said.out

    return run


def as_json(text: str) -> Any:
    return json.loads(text)


def test_a_key_is_made_shown_and_changed(run: Callable[..., str]) -> None:
    """What is not named stays, and an empty value takes away."""
    made = as_json(run(*CREATE, "--json"))
    prefix = made["prefix"]
    assert made["key"].startswith(f"bg_{prefix}_")
    assert made["models"] == ["gpt-4o*", "openai/*", "o3"]
    assert (made["tags"], made["endpoints"]) == ({"env": "prod", "app": "web"}, ["batches"])
    assert made["budgets"] == [
        {"limit": 5.0, "period": "monthly", "timezone": "Europe/Berlin", "models": None},
        {"limit": 1.0, "period": "daily", "timezone": "UTC", "models": "o3*"},
    ]
    changes = ["--period", "daily", "--rpm", "", "--tpm", "5", "--tag", "app=", "--team", "", "--model-budget", "o3*="]
    changed = as_json(run("keys", "update", prefix, *changes, "--expires", "", "--json"))
    expected = {
        "budgets": [{"limit": 5.0, "period": "daily", "timezone": "Europe/Berlin", "models": None}],
        "rpm": None,
        "tpm": 5,
        "tags": {"env": "prod"},
        "team": None,
        "expires_at": None,
        "version": 2,
    }
    assert changed == {**{name: value for name, value in made.items() if name != "key"}, **expected}
    shown = as_json(run("keys", "show", prefix, "--json"))
    assert [(each["unit"], each["left"]) for each in shown["standings"]] == [("dollars", 5.0), ("tokens", 5)]
    assert "ann" in run("keys", "show", prefix)
    assert as_json(run("keys", "update", prefix, "--budget", "", "--json"))["budgets"] == []


def test_keys_are_listed_by_whose_they_are(run: Callable[..., str]) -> None:
    """Of ten thousand, somebody looks for those of one team."""
    prefix = as_json(run(*CREATE, "--json"))["prefix"]
    other = as_json(run("keys", "create", "other", "--json"))["prefix"]

    def listed(*arguments: str) -> list[str]:
        return [each["prefix"] for each in as_json(run("keys", "list", "--json", *arguments))]

    assert set(listed()) == {prefix, other}
    assert listed("--project", "shop") == listed("--user", "ann") == listed("--team", "search") == [prefix]
    assert listed("--scope", "spend") == [other]
    run("keys", "revoke", other)
    assert listed("--right") == [prefix]
    assert "There is no such key" in run("keys", "list", "--team", "nobody")
    run("keys", "block", prefix)
    assert "blocked" in run("keys", "list")
    run("keys", "unblock", prefix)
    rotated = as_json(run("keys", "rotate", prefix, "--grace", "24h", "--json"))
    assert rotated["old_key_until"] is not None
    assert rotated["key"].startswith(f"bg_{prefix}_")


def test_the_limits_of_teams_and_customers_are_set_and_taken_away(run: Callable[..., str]) -> None:
    """For all of their keys together."""
    options = ("--project", "shop", "--json")
    made = as_json(run("limits", "set", "team", "search", "--budget", "500", "--period", "monthly", *options))
    assert made["budgets"][0]["limit"] == 500.0
    as_json(run("limits", "set", "team", "search", "--rpm", "9", *options))
    run("limits", "block", "customer", "c1", "--project", "shop")
    shown = as_json(run("limits", "show", "team", "search", *options))
    assert [each["left"] for each in shown["standings"]] == [500.0, 9]
    assert [each["name"] for each in as_json(run("limits", "list", "customer", *options)) if each["blocked"]] == ["c1"]
    run("limits", "unblock", "customer", "c1", "--project", "shop")
    run("limits", "remove", "team", "search", "--project", "shop")
    assert "budgetguard limits set team NAME" in run("limits", "list", "team", "--project", "shop")
    assert "$1.00" in run("limits", "set", "user", "ann", "--model-budget", "o3=1", "--project", "shop")
    assert "begins again" in run("limits", "show", "user", "ann", "--project", "shop")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("keys create shop --user ann", "user: only a key of scope call (--scope call) has it"),
        ("keys create shop --scope call --budget lots", "budget='lots' is no number"),
        ("keys create shop --scope call --period monthly", "say of which dollars, as in --budget 5 --period monthly"),
        ("keys create shop --scope call --budget 5 --period fortnightly", "'fortnightly' is no period"),
        ("keys create shop --scope call --rpm many", "rpm='many'"),
        ("keys create shop --scope call --expires soon", "write how long, such as 90d"),
        ("keys create shop --scope call --expires 2020-01-01", "that is over already"),
        ("keys create shop --scope call --model-budget o3", "write GLOB=DOLLARS/PERIOD"),
        ("keys create shop --scope call --models a/../b", "write a model's name, or a glob"),
        ("keys create shop --scope call --tag env", "write NAME=VALUE"),
        ("keys create shop --scope call --tag user=bob", "is said of a call by the gateway"),
        ("keys create shop --scope buy", "use one of 'spend', 'read', 'admin', 'call'"),
        ("limits set user ann --project shop --budget 5", "budgetguard budget set"),
        ("limits set team a --budget 5", "--project is missing"),
    ],
)
def test_what_cannot_be_is_said_with_the_line_to_write(run: Callable[..., str], arguments: str, told: str) -> None:
    """In one line, and nothing is made."""
    assert told in run(*arguments.split(), code=2)
