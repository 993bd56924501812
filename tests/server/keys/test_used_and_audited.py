"""When a key was used last, and who changed it: for whoever has to find the one that leaked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from budgetguard.budgets.steering.audit import Changed, changes
from budgetguard.cli.app import app
from budgetguard.ledger import RecordQuery
from budgetguard.server.app import App
from budgetguard.server.keys import ADMIN, CALL, Grant, KeyRing
from budgetguard.server.keys.finding.used import USED, KeyUse
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.stores.memory.store import MemoryStore
from tests.support.hosting import Hosted
from tests.support.routing import Ticking


class Counting(MemoryStore):
    """Counts how often it is written to."""

    notes = 0

    def note(self, *args: Any, **more: Any) -> list[bool]:
        self.notes += 1
        return super().note(*args, **more)


def test_a_key_is_written_down_at_most_once_a_minute() -> None:
    """A busy program asks a thousand times a minute, and its calls wait for none of that."""
    store, clock = Counting(), Ticking()
    use = KeyUse(store, clock=clock, now=lambda: 1_800_000_000 + clock.now)
    for _ in range(50):
        use.work(("aaaaaaaaaa", round(clock.now * 1000)))
        use.rest(False)
        clock.go(2)
    assert store.notes == 2
    use.work(("bbbbbbbbbb", round(clock.now * 1000)))
    left_s = use.rest(False)
    assert left_s is not None
    assert 0 < left_s <= 60
    clock.go(left_s)
    assert use.rest(False) is None
    assert [each.id for each in store.noted(RecordQuery(USED))] == ["aaaaaaaaaa", "bbbbbbbbbb"]


def test_a_store_that_is_away_loses_no_more_than_the_time_of_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """It is a help for people, and nothing that a call could fail at."""
    from budgetguard.errors import StoreError

    class Away(MemoryStore):
        def note(self, *_args: Any, **_more: Any) -> list[bool]:
            raise StoreError("away")

    use = KeyUse(Away())
    use.saw("aaaaaaaaaa")
    use.close()
    assert "could not be written down: away" in caplog.text


def test_only_the_keys_that_are_asked_for_are_read(tmp_path: Path) -> None:
    """One key's page does not read those of ten thousand others; and names of two lengths are told apart."""
    with_own = open_store(f"sqlite:///{tmp_path}/budgets.db", namespace=OWN)
    ring = KeyRing(with_own)
    keys = [ring.create("shop", CALL)[0] for _ in range(5)]
    use = KeyUse(with_own)
    for key in keys[:4]:
        use.saw(key.prefix)
    use.close()
    assert set(ring.last_used([key.prefix for key in keys])) == {key.prefix for key in keys[:4]}
    assert set(ring.last_used([keys[0].prefix])) == {keys[0].prefix}
    assert ring.last_used([keys[4].prefix]) == {}
    assert ring.last_used([]) == {}
    with_own.close()


def test_the_api_and_the_command_line_show_when_a_key_was_used(guarded: Hosted, url: str) -> None:
    """A key that nobody used for a year is one to revoke."""
    own = open_store(url, namespace=OWN)
    admin, text = KeyRing(own).create("shop", ADMIN)
    idle, _ = KeyRing(own).create("shop", CALL)
    assert guarded.ask("GET", "/v1/keys", headers=bearer(text))[0] == 200
    guarded.app.keys.use.close()
    shown = {
        each["prefix"]: each["last_used"] for each in guarded.ask("GET", "/v1/keys", headers=bearer(text))[1]["keys"]
    }
    assert shown[admin.prefix].startswith("20")
    assert shown[idle.prefix] is None
    one = guarded.ask("GET", f"/v1/keys/{admin.prefix}", headers=bearer(text))[1]
    assert one["last_used"] == shown[admin.prefix]
    own.close()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def told(url: str, project: str = "shop") -> list[Changed]:
    """The audit of a project, the first first."""
    books = open_store(url, namespace=project)
    found = list(changes(books))[::-1]
    books.close()
    return found


def test_whatever_becomes_of_a_key_is_in_the_audit_with_who_did_it(guarded: Hosted, url: str) -> None:
    """Who raised the limit of which key, and when; and no text of a key is in it."""
    own = open_store(url, namespace=OWN)
    _, text = KeyRing(own).create("shop", ADMIN, grant=Grant(alias="ann's"))
    own.close()
    made = guarded.ask("POST", "/v1/keys", {"rpm": 60, "user": "bob"}, headers=bearer(text))[1]
    one = f"/v1/keys/{made['prefix']}"
    for method, path, body in (
        ("PATCH", one, {"rpm": 90}),
        ("PATCH", one, {"rpm": 90}),
        ("PATCH", one, {"blocked": True}),
        ("POST", f"{one}/rotate", {}),
        ("DELETE", one, None),
        ("PATCH", "/v1/limits/team/red", {"budgets": [{"limit": 5}]}),
        ("PATCH", "/v1/limits/team/red", {"blocked": True}),
        ("DELETE", "/v1/limits/team/red", None),
    ):
        assert guarded.ask(method, path, body, headers=bearer(text))[0] == 200, path
    found = told(url)
    assert [(each.what, each.target) for each in found] == [
        *[(what, f"keys/bg_{made['prefix']}") for what in ("create", "change", "block", "rotate", "revoke")],
        *[(what, "limits/team/red") for what in ("create", "block", "remove")],
    ]
    assert {(each.who, each.via) for each in found} == {("ann's", "api")}
    assert found[1].fields_changed == {"rpm": (60, 90)}
    assert not any(made["key"].split("_")[2] in each.to_text() for each in found)


def test_a_command_has_whoever_is_at_the_keyboard_for_its_author(tmp_path: Path, monkeypatch: Any) -> None:
    """The store is all that the command line has, and all that it needs."""
    from typer.testing import CliRunner

    monkeypatch.setenv("LOGNAME", "carol")
    url = f"sqlite:///{tmp_path}/budgets.db"
    for words in (
        [
            "keys",
            "create",
            "shop",
            "--scope",
            "call",
            "--budget",
            "5",
            "--fallback",
            "gpt-4o-mini",
            "--degrade-at",
            "0.8",
        ],
        ["limits", "set", "team", "red", "--project", "shop", "--rpm", "600"],
    ):
        done = CliRunner().invoke(app, [*words, "--store", url])
        assert done.exit_code == 0, done.output
    created, limited = told(url)
    assert (created.what, created.who, created.via) == ("create", "carol", "cli")
    assert (created.after["fallback"], created.after["degrade_at"]) == (["gpt-4o-mini"], 0.8)
    assert (limited.target, limited.after["rpm"]) == ("limits/team/red", 600)


def test_projects_are_listed_that_no_key_was_ever_made_for(tmp_path: Path) -> None:
    """A program that counts on the same file is as much a project as one that a server was asked for."""
    from budgetguard.budgets.rules import user_rule
    from budgetguard.budgets.users import Users

    url = f"sqlite:///{tmp_path}/budgets.db"
    books = open_store(url, namespace="script")
    Users(books).put("ann", user_rule(1, None))
    books.close()
    served = App(url)
    KeyRing(served.projects.own).create("shop", CALL)
    assert served.projects.every() == ["script", "shop"]
    assert list(served.projects.names()) == ["shop"]
    served.close()
