"""The command line on real servers: what operators do before, during and after a move."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest

from budgetguard import BudgetManager, budget
from budgetguard.ledger import Entry, new_id
from budgetguard.stores import open_store, shown
from budgetguard.stores.copy import BATCH
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import FakeProvider
from tests.support import servers
from tests.support.batching import MODEL, SPENT, begin
from tests.support.commands import exit_code

COUNT = 8_000


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """An empty working directory, with nothing set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.parametrize("name", servers.NAMES)
def test_there_is_nothing_else_to_migrate(name, directory, capsys):
    """Whoever runs it on every deployment need not know which store there is."""
    assert exit_code("migrate", "--store", servers.running(name)) == 0
    assert exit_code("migrate", "--store", servers.running(name)) == 0
    assert "up to date" in capsys.readouterr().out or name != "postgres"


@pytest.mark.parametrize("name", servers.NAMES)
def test_doctor_examines_a_server(name, directory, capsys):
    """How far it is, what it may lose, and where settlements wait for it."""
    url = servers.running(name)
    assert exit_code("doctor", "--store", url, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    [store] = [finding for finding in found if finding["check"] == "store" and finding["state"] == "ok"]
    [journal] = [finding for finding in found if finding["check"] == "journal"]
    warnings = [finding["text"] for finding in found if finding["check"] == "store" and finding["state"] == "warn"]

    assert store["text"].startswith(f"{shown(url)}: 0 accounts add up")
    assert "a round trip takes" in store["text"]
    assert str(directory / "state" / "budgetguard") in journal["text"]
    assert warnings == open_store(url).examine()  # type: ignore[attr-defined]


def test_doctor_shows_what_waits_while_a_server_is_away(directory, capsys):
    """Nothing listens there; the password is nobody's business."""
    assert exit_code("doctor", "--store", "redis://ann:s3cret@127.0.0.1:9/0", "--json") == 1
    out = capsys.readouterr().out
    found = {finding["check"]: finding for finding in json.loads(out)}

    assert found["store"]["state"] == "fail"
    assert found["journal"]["state"] == "ok"
    assert "s3cret" not in out


@pytest.mark.parametrize("name", servers.NAMES)
def test_a_copy_to_a_server_that_is_killed_goes_on(name, directory):
    """With SIGKILL in the middle; in the end both have the same books, and check says so."""
    entries = [
        Entry(new_id(), 1000 + place, (f"users/{place % 50}", "team"), 10**12 + place, {"user": str(place % 50)})
        for place in range(COUNT)
    ]
    source = SQLiteStore(directory / "a.db", namespace="shop", durable=False)
    source.load(entries=entries)
    url = servers.running(name)
    command = [sys.executable, "-m", "budgetguard.cli", "copy", "sqlite:///a.db", url, "--project", "shop", "--json"]
    for _ in range(5):  # on a busy machine it may be done before this process is heard again
        project = f"p{new_id()}"
        target = open_store(url, namespace=project)
        before = _copied_until_killed([*command, "--to-project", project], target)
        if before < COUNT:
            break
    command += ["--to-project", project]
    assert 0 < before < COUNT, "it was killed in the middle"
    assert target.check() == []
    last = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert last.returncode == 0, last.stderr
    # What was on its way when the process died may have landed after it was counted.
    assert before <= COUNT - json.loads(last.stdout)["new_entries"] <= before + BATCH
    assert list(target.entries()) == list(source.entries())
    assert list(target.accounts()) == list(source.accounts())
    assert target.check() == []
    target.close()
    source.close()


def _copied_until_killed(command, target):
    """How many entries there are when the command was killed, which it was after the first."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    until = time.monotonic() + 60
    while next(target.entries(), None) is None and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    return sum(1 for _ in target.entries())


@pytest.mark.parametrize("name", servers.NAMES)
def test_background_jobs_are_listed_and_settled_on_every_server(name, directory, monkeypatch, capsys):
    """What a program left there, a command on another machine finds."""
    url, project = servers.running(name), f"jobs-{new_id()}"
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with FakeProvider(prices={MODEL: ("0.15", "0.60")}, tokens=20) as provider, provider.client() as client:
        with BudgetManager(project, store=url) as manager:
            manager.create_budget(1, "ann")
            with budget(user="ann"):
                begun = asyncio.run(begin(client))
        assert exit_code("jobs", "--store", url, "--project", project, "--json") == 0
        assert [job["id"] for job in json.loads(capsys.readouterr().out)] == [begun]
        settle = ("jobs", "--settle", "--base-url", provider.base_url, "--store", url, "--project", project)
        assert exit_code(*settle) == 0

    store = open_store(url, namespace=project)
    assert ([entry.cost for entry in store.entries()], store.holds(), store.check()) == ([SPENT], [], [])
    store.close()
