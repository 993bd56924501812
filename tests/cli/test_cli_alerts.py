"""`budgetguard alerts`, and `[alerts]` of the file, which it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from budgetguard import Budget
from budgetguard.alerts import Email, Log, Webhook
from budgetguard.config import load_config
from budgetguard.errors import ConfigError
from tests.support.alerting import ask, client_of, limit_of, managed, receiver
from tests.support.commands import exit_code

FREE = Budget("free", limit_of(10), "daily", per=("user",), warn_at=(0.2, 0.5))

ALL = """
[alerts]
slack = "env:SLACK"
webhook = [{ url = "https://ops.example.com/budgets", secret = "env:SECRET" }, "http://10.0.0.1/x"]
log = true
off = ["spike"]

[alerts.email]
host = "smtp.example.com"
port = 465
sender = "b@example.com"
to = ["o@example.com"]
tls = "tls"
"""


def test_what_was_told_is_listed(here: Path, clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Who was not there when it came can look it up."""
    manager = managed("sqlite:///budgetguard.db", FREE, clock=clock)
    ask(client_of(manager), calls=6)
    manager.close()
    assert exit_code("alerts", "--project", "shop") == 0
    shown = capsys.readouterr().out
    assert "2027-01-01 12:00 UTC" in shown
    assert "which is 0.5 of the limit or more" in " ".join(shown.split())
    assert exit_code("alerts", "--project", "shop", "--json", "--limit", "1") == 0
    [said] = json.loads(capsys.readouterr().out)
    assert (said["what"], said["part"], said["subject"], said["limit"]) == ("threshold", 0.5, "ann", 0.000057)


def test_nothing_told_is_said(here: Path, clock, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table says less."""
    managed("sqlite:///budgetguard.db", FREE, clock=clock).users.put("ann", FREE)
    assert exit_code("alerts", "--project", "shop") == 0
    assert capsys.readouterr().out == "nothing was told yet\n"


def test_every_sink_can_be_tried(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first alert is due, one finds out whether it would come."""
    with receiver() as heard, receiver(404) as broken:
        monkeypatch.setenv("SLACK", heard.url)
        (here / "budgetguard.toml").write_text(f'[alerts]\nslack = "env:SLACK"\nwebhook = "{broken.url}"\n')
        assert exit_code("alerts", "test", "--json") == 1
        outcomes = json.loads(capsys.readouterr().out)
        assert {each["sink"]: each["ok"] for each in outcomes} == {"slack 127.0.0.1": True, "webhook 127.0.0.1": False}
        assert "it answered 404" in next(each["error"] for each in outcomes if not each["ok"])
        assert "test" in heard.got[0].json["text"]


def test_trying_nothing_says_what_to_write(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Silence would look like success."""
    assert exit_code("alerts", "test") != 0
    assert "write one below [alerts] in budgetguard.toml" in capsys.readouterr().err


def test_the_file_says_who_is_told(here: Path) -> None:
    """With secrets from the environment: the file is in a repository."""
    (here / "budgetguard.toml").write_text(ALL)
    told = load_config({}).alerts({"SLACK": "https://hooks.slack.com/services/x", "SECRET": "s"})
    assert list(told.sinks) == [
        Webhook("https://ops.example.com/budgets", "s"),
        Webhook("http://10.0.0.1/x"),
        Webhook("https://hooks.slack.com/services/x", style="slack"),
        Email("smtp.example.com", 465, "b@example.com", ["o@example.com"], tls="tls"),
        Log(),
    ]
    assert told.off == {"spike"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[alerts]\nslack = "env:SLACK"', r"\[alerts\] slack: url = 'env:SLACK': SLACK is not set"),
        ('[alerts]\nteams = "x"', "'teams' is nothing of alerts: there are discord, email, log, off, slack, webhook"),
        (
            '[alerts]\nwebhook = { url = "https://x/", token = "y" }',
            "'token' is nothing of it: there are url",
        ),
        ('[alerts]\nemail = { host = "h", sender = "a@b", to = "c@d" }', r"\[alerts\] email: port is missing"),
        ('[alerts]\nslack = { url = "https://x/", secret = "y" }', "'secret' is nothing of it: there are url$"),
        ("[alerts]\noff = 3", r"\[alerts\]: off=3: a list is needed"),
        ('alerts = "https://hooks.slack.com/x"', "alerts: write them as a table below"),
        ('[alerts]\nwebhook = "nowhere"', r"\[alerts\] webhook: url: a webhook's address is needed"),
        ("[alerts]\nslack = 3", "a URL, or a table, is needed"),
        ("[alerts]\nlog = 1", "true or false is needed"),
        ('[alerts]\noff = ["all"]', r"\[alerts\]: off='all'"),
        ("alerts = 3", "write them as a table below"),
    ],
)
def test_what_cannot_be_told_names_the_place(here: Path, text: str, told: str) -> None:
    """A typing error in the file would otherwise be found when somebody should have been told."""
    (here / "budgetguard.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_config({}).alerts({})


def test_a_name_cannot_command_a_terminal_or_begin_a_line_of_a_log(
    here: Path, clock, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Callers say who they are: an escape sequence would rewrite what is shown, a line's end forge an entry."""
    name = "ann\nCRITICAL \x1b[2J\u202e"
    manager = managed("sqlite:///budgetguard.db", FREE, told=[Log()], clock=clock)
    manager.create_budget(1, name)
    ask(client_of(manager), user=name, calls=2)
    manager.top_up(name, 1, note=name)
    manager.close()
    [told] = [each.getMessage() for each in caplog.records if "of the limit or more" in each.getMessage()]
    assert told.isprintable()
    for command in ("alerts", "budgets", "users", "changes"):
        assert exit_code(command, "--project", "shop") == 0
        shown = capsys.readouterr().out
        assert "\\x1b[2J\\u202e" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
