"""Books with names and amounts as long as they get, and a terminal in this process that is sixty cells wide."""

from __future__ import annotations

import json
import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from rich.cells import cell_len

from budgetguard import Budget
from budgetguard.alerts.alert import Alert
from budgetguard.budgets.steering.audit import Author
from budgetguard.budgets.steering.declared import declare
from budgetguard.budgets.steering.office import Steering
from budgetguard.budgets.users import Users
from budgetguard.cli import main
from budgetguard.ledger import Account, Entry, Hold, Store, new_id

CELLS: Final = 60
LARGE: Final = 1_234_567_890_000_000
"""$1,234,567.89"""
NAMES: Final = (
    "maximiliane.von-der-heydebrand@research.example.com",
    "王小明的研究小组和他的所有朋友们还有更多的人",
    "ann",
)
_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


def fill_wide(store: Store) -> None:
    """Users, rules, calls, holds, work in the background, changes and alerts."""
    now_ms = store.now_ms()
    users = Users(store, author=Author("somebody.with-a-long-name", "cli"))
    team = Budget("everything-of-the-whole-company", 8_999_999, "monthly", per=("team",))
    declare(store, [team])
    entries = []
    for number, name in enumerate(NAMES):
        users.put(name, Budget("users", 2_345_678, "monthly"), note="from the plan of this quarter, as it was agreed")
        tags = {"user": name, "team": f"{name}s-team-of-many"}
        keys = (users.get(name).account(now_ms).key, team.account_of(tags["team"], now_ms).key)
        usage = {"input_tokens": 987_654_321, "output_tokens": 123_456_789}
        model = f"a-model-with-a-rather-long-name-2026-{number}"
        entries.append(Entry(new_id(), LARGE, keys, now_ms, tags, "provider-of-models", model, usage))
        account = Account(keys[0], 2_345_678 * 10**9)
        store.reserve(Hold(new_id(), (account,), LARGE // 2, tags=tags, model=model))
        job = {"hold": new_id(), "model": model, "amount": LARGE, "tags": tags, "host": "api.example.com", "held": True}
        store.put_terms(f"responses/resp_{number:040}", json.dumps(job))
    store.load(entries=entries)
    Steering(users, Author("somebody.with-a-long-name", "cli")).raise_limit(NAMES[0], "3456789", note="for the launch")
    told = f"{NAMES[0]} has spent $1,234,567.89 of $2,345,678.00, which is more than half of it"
    store.note([Alert("threshold", told, "t", now_ms, budget="users").record(["log"])])


class NarrowTerminal:
    """Runs commands in this process, on a terminal of sixty cells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def lines(self, *arguments: str) -> list[str]:
        """What a command shows, without colours, once its output was read to the end."""
        reader, writer = pty.openpty()
        read = bytearray()
        thread = threading.Thread(target=_read, args=(reader, read.extend), daemon=True)
        thread.start()
        with self._patch.context() as patch, os.fdopen(writer, "w", encoding="utf-8") as stream:
            patch.setenv("COLUMNS", str(CELLS))
            patch.setenv("TERM", "xterm-256color")
            patch.setattr("sys.stdout", stream)
            with pytest.raises(SystemExit) as end:
                main(arguments)
            assert end.value.code in {0, 1, None}, end.value.code
        thread.join()
        os.close(reader)
        return _STYLES.sub("", read.decode()).replace("\r", "").splitlines()


def _read(reader: int, keep: Callable[[bytes], None]) -> None:
    while True:
        try:
            part = os.read(reader, 65536)
        except OSError:  # the other end is closed
            return
        if not part:
            return
        keep(part)


def too_long(lines: list[str]) -> list[str]:
    """Those that a terminal would fold."""
    return [line for line in lines if cell_len(line) > CELLS]


def gateway_file(directory: Path) -> None:
    """A gateway's configuration whose names are long."""
    upstream = "an-upstream-with-a-rather-long-name"
    (directory / "gateway.toml").write_text(
        f'[[upstream]]\nname = "{upstream}"\nbase = "http://127.0.0.1:9/v1"\nprices = "openai"\nkey = "env:DEMO_KEY"\n'
        f'[[model]]\nname = "a-model-of-ours-with-a-long-name"\nupstreams = [{{ use = "{upstream}", model = "o3" }}]\n'
    )
