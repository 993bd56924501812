"""Every table is readable in a terminal of sixty cells: no line is longer, and no amount is broken over two."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard.server.keys import KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.commands import exit_code
from tests.support.wide_books import NAMES, NarrowTerminal, fill_wide, gateway_file, too_long

AMOUNT = re.compile(r"\$[\d,]+(?:\.\d+)?")
SPENT, HALF = "$1,234,567.89", "$617,283.94"
LIMITS = ("--budget", "1234567", "--period", "monthly", "--rpm", "6000", "--model-budget", "gpt-4o*=7654321/daily")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store in which all is long, keys and limits of a server in it, and a gateway's file."""
    here = tmp_path_factory.mktemp("wide")
    store = SQLiteStore(here / "wide.db", namespace="default", durable=False)
    fill_wide(store)
    store.close()
    gateway_file(here)
    for arguments in (
        (
            "keys",
            "create",
            "default",
            "--scope",
            "call",
            "--user",
            NAMES[0],
            "--team",
            "the-team",
            "--note",
            "of a long note",
            *LIMITS,
        ),
        ("limits", "set", "team", NAMES[1], "--project", "default", "--alias", "the-alias", *LIMITS),
    ):
        assert exit_code(*arguments, "--store", f"sqlite:///{here}/wide.db") == 0
    return here


@pytest.fixture
def narrow(wide: Path, monkeypatch: pytest.MonkeyPatch) -> NarrowTerminal:
    """A terminal in that directory."""
    monkeypatch.chdir(wide)
    monkeypatch.setenv("BUDGETGUARD_STORE", f"sqlite:///{wide}/wide.db")
    monkeypatch.setenv("DEMO_KEY", "sk-of-the-demo")
    return NarrowTerminal(monkeypatch)


@pytest.mark.parametrize(
    ("command", "amounts"),
    [
        ("users", (SPENT, "$493,826.16")),
        ("budgets", ("$7,765,431.11", "$493,826.16")),
        (f"budget show {NAMES[0]}", (SPENT, "$1,604,937.16")),
        ("changes", ("$2,345,678.00", "$3,456,789.00")),
        ("alerts", (SPENT, "$2,345,678.00")),
        ("spend", (SPENT, "$3,703,703.67")),
        ("spend --by model --by day --chart", (SPENT, "$3,703,703.67")),
        ("report --by team --by user", ()),
        ("prices gpt-4o", ("$2.50",)),
        ("providers", ()),
        ("config", ()),
        ("keys list", ()),
        ("limits list team --project default", ()),
        (f"limits show team {NAMES[1]} --project default", ("$1,234,567.00",)),
        ("gateway check", ()),
        ("gateway models", ()),
        ("holds", (HALF,)),
        ("jobs", (SPENT,)),
        ("doctor", ()),
        ("projects", ("$3,703,703.67",)),
        ("log", ()),
    ],
)
def test_sixty_cells_are_enough(narrow: NarrowTerminal, command: str, amounts: tuple[str, ...]) -> None:
    """Half of a split screen; a line that the terminal folds puts an amount under another column."""
    lines = narrow.lines(*command.split(" "))

    assert len(lines) > 1
    assert too_long(lines) == []
    shown = {found for line in lines for found in AMOUNT.findall(line)}
    assert set(amounts) <= shown, "\n".join(lines)


def test_what_is_left_of_a_key_is_readable(narrow: NarrowTerminal, wide: Path) -> None:
    """The limits of a key are amounts, too."""
    with closing(open_store(f"sqlite:///{wide}/wide.db", namespace=OWN)) as own:
        [key] = KeyRing(own).all(None)
    lines = narrow.lines("keys", "show", key.prefix)
    assert too_long(lines) == []
    assert any("$1,234,567.00" in line for line in lines)


def test_differences_of_the_books_are_readable_and_so_is_a_copy(
    narrow: NarrowTerminal, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for a mistake in the books needs all digits of it."""
    lines = narrow.lines("copy", f"sqlite:///{wide}/wide.db", f"sqlite:///{tmp_path}/copy.db", "--while-running")
    assert too_long(lines) == []
    change = "UPDATE accounts SET settled = settled + ? WHERE key LIKE 'users/%'"
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        with connection:
            connection.execute(change, (10**9,))
        monkeypatch.setenv("BUDGETGUARD_STORE", f"sqlite:///{tmp_path}/copy.db")
        lines = narrow.lines("check")
        with connection:
            connection.execute(change, (-(10**9),))
    assert too_long(lines) == []
    assert sum(SPENT in line and "$1,234,568.89" in line for line in lines) == len(NAMES)
