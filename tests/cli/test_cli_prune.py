"""`prune` takes old entries away, and nothing that anybody is shown; `projects` tells what a store has."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from budgetguard import BudgetManager
from budgetguard.cli import main
from budgetguard.cli.books.projects import last_call_ms
from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Entry, Hold, Query, RecordQuery, Store, new_id
from budgetguard.reports.pruning import old_entries
from budgetguard.reports.reports import Reports
from budgetguard.reports.shown.money import Statement
from budgetguard.stores import open_store
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.commands import in_a_terminal
from tests.support.history import DAY_MS, HOUR_MS

Told: TypeAlias = Callable[..., tuple[int, str, str]]
DAYS = 100


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Books of a hundred days, three calls a day, until now; nobody has read them yet."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BUDGETGUARD_")]:
        monkeypatch.delenv(name)
    url = f"sqlite:///{tmp_path}/budgets.db"
    manager = BudgetManager("shop", store=url)
    manager.create_budget(1_000, "ann")
    account = manager.users.get("ann").account(manager.store.now_ms())
    end_ms = manager.store.now_ms() // DAY_MS * DAY_MS
    entries = [
        Entry(
            f"{day}-{turn}",
            cost=1_234_567 + day * turn,
            accounts=(account.key,),
            at_ms=end_ms - day * DAY_MS + turn * HOUR_MS,
            tags={"user": "ann", "team": f"t{turn}"},
            provider="openai",
            model="gpt-4o",
            usage={"input_tokens": 10, "output_tokens": turn},
        )
        for day in range(DAYS, 0, -1)
        for turn in range(3)
    ]
    manager.store.load(entries=entries)
    manager.close()
    return url


@pytest.fixture
def told(where: str, capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs a command on these books; its exit code, what it printed, and what it complained of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--store", where])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def statements(where: str) -> list[Statement]:
    """Those of the months that the history is in, as another process makes them."""
    store = open_store(where, namespace="shop")
    now_ms = store.now_ms()
    months = sorted({day_named(now_ms - day * DAY_MS) for day in range(DAYS + 1)})
    found = [Reports(store).statement(month, ("user", "team", "model")) for month in months]
    store.close()
    return found


def copied(where: str) -> str:
    """The same books in another file: to read the history keeps its sums, which is what `prune` has to do itself."""
    with (
        closing(sqlite3.connect(where.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect("copy.db")) as to,
    ):
        source.backup(to)
    return "sqlite:///copy.db"


def day_named(at_ms: int) -> str:
    """The month of a moment."""
    from budgetguard.cli.common.show import when

    return f"{when(at_ms):%Y-%m}"


def test_the_statement_of_a_pruned_month_is_what_it_was(where: str, told: Told) -> None:
    """To the cent, line by line: a bill that was sent must not change. What is gone is only what it is made of."""
    store = open_store(where, namespace="shop")
    spent = list(store.accounts())
    store.close()
    before = statements(copied(where))

    code, out, err = told("prune", "--keep", "30d", "--yes")
    assert (code, err) == (0, "")
    assert out.endswith("are gone; the sums of their days stay.\n")

    after = statements(where)
    assert [(each.lines, each.total) for each in after] == [(each.lines, each.total) for each in before]
    store = open_store(where, namespace="shop")
    assert list(store.accounts()) == spent
    assert sum(total.calls for total in store.totals((), Query())) == 90
    assert store.check() == []
    store.close()


def test_a_dry_run_says_how_much_would_go_and_writes_nothing(where: str, told: Told) -> None:
    """Not even the sums are kept yet."""
    file = Path(where.removeprefix("sqlite:///"))
    code, out, _ = told("prune", "--keep", "30d", "--dry-run")
    assert code == 0
    assert out.startswith("210 entries of $0.26 from before ")

    _, out, _ = told("prune", "--keep", "30d", "--dry-run", "--json")
    found = json.loads(out)
    assert (found["entries"], found["pruned"], found["before"][10:]) == (210, 0, "T00:00:00+00:00")
    store = open_store(f"sqlite:///{file}", namespace="shop")
    assert list(store.noted(RecordQuery("sum"))) == []
    assert len(list(store.entries())) == 300
    store.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "say which entries go"),
        (("--keep", "30d", "--before", "2020-01-01"), "say which entries go"),
        (("--keep", "30d"), "would be gone for good: say --yes"),
        (("--keep", "2026-01-01", "--yes"), "write how long"),
        (("--before", "2999-01-01", "--yes"), "only days that are over can be pruned"),
        (("--before", "soon", "--yes"), "'soon' is no time"),
    ],
)
def test_what_may_not_be_pruned_stays(told: Told, where: str, arguments: tuple[str, ...], complaint: str) -> None:
    """Nobody is there to be asked, or it is not clear what is meant, or the day is not over: nothing goes."""
    code, out, err = told("prune", *arguments)

    assert (code, out) == (2, "")
    assert complaint in err
    store = open_store(where, namespace="shop")
    assert len(list(store.entries())) == 300
    store.close()


@pytest.mark.parametrize(("typed", "left"), [("y\n", 90), ("n\n", 300)])
def test_on_a_terminal_it_asks(where: str, tmp_path: Path, typed: str, left: int) -> None:
    """What goes cannot be brought back."""
    arguments = ("prune", "--keep", "30d", "--store", where, "--project", "shop")
    code, out = in_a_terminal(*arguments, cwd=tmp_path, typed=typed)

    assert "Remove 210 entries of $0.26 from before" in out.replace("\r\n", " ")
    assert code == (0 if left == 90 else 1)
    store = open_store(where, namespace="shop")
    assert len(list(store.entries())) == left
    store.close()


def test_programs_may_write_meanwhile(where: str, told: Told) -> None:
    """What they settle is on the books and in the history, and none of it is pruned."""
    store, stop, made = open_store(where, namespace="shop"), threading.Event(), list[int]()

    def settle() -> None:
        while not stop.is_set():
            hold = Hold(new_id(), (Account("all//all"),), 1_000)
            store.reserve(hold)
            store.settle(hold, Entry(hold.id, 7, tags={"user": "bob"}))
            made.append(7)

    writer = threading.Thread(target=settle)
    writer.start()
    try:
        while not made:
            stop.wait(0.001)
        assert told("prune", "--keep", "1d", "--yes")[0] == 0
    finally:
        stop.set()
        writer.join()
    assert sum(entry.cost for entry in store.entries(Query(tags={"user": "bob"}))) == sum(made)
    assert store.balances(["all//all"])[0].settled == sum(made)
    assert store.check() == []
    store.close()


class Forgetful(SQLiteStore):
    """A store that says it kept a record, and has not."""

    def note(self, records, *, replace=False):  # type: ignore[no-untyped-def]
        """Nothing of the sums."""
        del replace
        return [True for _ in records]


def test_entries_whose_sums_are_not_kept_stay(where: str) -> None:
    """The fault is planted: a store that keeps no sums has its entries left alone, and says so."""
    store = Forgetful(where.removeprefix("sqlite:///"), namespace="shop")
    old = old_entries(store, store.now_ms() - 30 * DAY_MS)
    with pytest.raises(StoreError, match="does not keep the sums of"):
        Reports(store).keep(old)
    store.close()


def test_projects_tells_what_a_store_has(where: str, told: Told) -> None:
    """Each with its users, its money and its last call."""
    other = BudgetManager("blog", store=where)
    for user in ("bob", "eve"):
        other.create_budget(1, user)
    other.update_cost("bob", {"model": "gpt-4o", "usage": {"prompt_tokens": 1000, "completion_tokens": 500}})
    other.close()

    _, out, _ = told("projects", "--json")
    blog, shop = json.loads(out)
    assert (blog["project"], blog["users"], blog["entries"], blog["cost"]) == ("blog", 2, 1, 7_500_000)
    assert (shop["project"], shop["users"], shop["entries"]) == ("shop", 1, 300)
    assert blog["month"] == blog["cost"] < shop["cost"]

    _, out, _ = told("projects", "--csv")
    [first, _] = csv.DictReader(io.StringIO(out))
    assert (first["project"], first["cost"], first["last_at"]) == ("blog", "0.0075", blog["last_at"])
    _, out, _ = told("projects")
    assert [line.split()[:3] for line in out.splitlines() if line.split()[:1] == ["blog"]] == [["blog", "2", "$0.0075"]]


def test_projects_can_be_read_at_60_columns(where: str, tmp_path: Path) -> None:
    """The name and this month's money stay."""
    code, out = in_a_terminal("projects", "--store", where, cwd=tmp_path)

    assert code == 0
    assert max(map(len, out.splitlines())) <= 60
    assert [line.split()[0] for line in out.splitlines() if "$" in line] == ["shop"]


def test_the_last_call_is_found_wherever_it_is(where: str) -> None:
    """By halves, whatever lies between: in a history with one entry, with a gap, and without any."""
    empty = open_store(where, namespace="empty")
    assert last_call_ms(empty) is None
    for at_ms in (5, 1_000_000, 1_000_001, empty.now_ms()):
        put(empty, at_ms)
        assert last_call_ms(empty) == at_ms
    empty.close()


def put(store: Store, at_ms: int) -> None:
    """An entry of that time."""
    store.load(entries=[Entry(f"at-{at_ms}", 1, at_ms=at_ms)])
