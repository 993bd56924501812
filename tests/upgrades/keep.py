"""
Have a kept version write the small files of `kept/`, so that a test of them does not need it to run.

    python -m tests.upgrades.keep

They are written by the program that `tests/support/upgrading.py` is: `books.sql` is the file of a process that was
killed, `unsettled.jsonl` what waited beside it, `seen.json` what it saw of its books before.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from tests.support.kept import KEPT, VERSIONS, Program

SAID = ("page_size", "application_id", "user_version")


def dumped(path: Path) -> str:
    """The SQL that makes the file again."""
    with closing(sqlite3.connect(path)) as connection:
        said = [f"PRAGMA {each}={connection.execute(f'PRAGMA {each}').fetchone()[0]};" for each in SAID]
        lines = [line for line in connection.iterdump() if not line.startswith(("BEGIN", "COMMIT"))]
    return "\n".join([said[0], *lines, *said[1:], ""])


def keep(version: str) -> None:
    """One version's files."""
    kept = KEPT / version
    with tempfile.TemporaryDirectory() as home, Program(version) as before:
        before.run("from tests.support.upgrading import *")
        before.run("shop = Shop(url)\nshop.trade()", url=f"sqlite:///{home}/budgets.db")
        before.run("shop.manager.export_litellm(path)", path=str(kept / "user_cost.json"))
        seen = before.ask("on_books(shop.manager.store) | {'now_ms': shop.manager.store.now_ms()}")
        before.ask("[shop.call(None, team='search') for _ in range(3)]")
        before.kill()
        waiting = [path for path in Path(home, "budgets.db-unsettled").iterdir() if path.stat().st_size]
        assert len(waiting) == 1, "it was settled before the process was killed: once more"
        (kept / "unsettled.jsonl").write_bytes(waiting[0].read_bytes())
        (kept / "books.sql").write_text(dumped(Path(home, "budgets.db")))
    (kept / "seen.json").write_text(json.dumps(seen, indent=1) + "\n")


if __name__ == "__main__":
    for each in VERSIONS:
        keep(each)
