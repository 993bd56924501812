"""A SQLite file that programs of versions before made, and work in: what this version makes of it, and they of that."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from budgetguard import BudgetManager
from budgetguard.budgets.periods import Period
from budgetguard.ledger import Account, Admitted, Entry, Hold, Settled, new_id
from budgetguard.reports.reports import Reports
from budgetguard.stores.sqlite import schema
from tests.support.kept import Program, ProgramError
from tests.support.upgrading import BY_HAND, COST, LATER, seen, store_at

SCHEMAS = {"0.2.0": 1, "gateway": 2}
"""Of the file that each makes."""


@pytest.fixture
def url(path: Path) -> str:
    """Of a file that no program has opened yet."""
    return f"sqlite:///{path}"


@pytest.fixture
def traded(before: Program, url: str) -> Program:
    """A program that has a file of its version open, with all that a shop does in it."""
    spent, said, users, billed = before.ask("shop = Shop(url)\nshop.trade()", url=url)
    assert (spent, users) == ([COST] * 3, ["ann", "bob"])
    assert said.startswith("users/bob: call projected at $0.0000")
    assert billed == 3 * COST
    return before


def schema_of(path: Path) -> int:
    """What the file says of itself."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def bring_up(url: str) -> None:
    """The first write of this version."""
    with store_at(url) as store:
        store.put_terms("users/dan", '{"user": "dan", "limit": 5}')


def test_all_that_is_on_the_books_is_the_same_to_the_nano_before_and_after(
    traded: Program, url: str, path: Path, version: str
) -> None:
    """Balances, entries with their usage and flags, users, calls under way; looking changes nothing."""
    there = traded.ask("seen(url)", url=url)
    assert [len(there[each]) for each in ("entries", "holds", "terms")] == [3, 1, 2]
    assert there["differences"] == 0
    assert seen(url) == there
    assert schema_of(path) == SCHEMAS[version]
    bring_up(url)
    assert schema_of(path) == schema.VERSION
    after = seen(url)
    assert after["terms"].pop("users/dan")
    assert after == there


def test_a_statement_of_their_month_is_what_their_users_spent(traded: Program, url: str) -> None:
    """The views that are new read a history that was written before there were any."""
    with store_at(url) as store:
        [*_, last] = store.entries()
        month = datetime.fromtimestamp(last.at_ms / 1000, UTC).strftime("%Y-%m")
        said = Reports(store).statement(month, by=("user",))
    assert {line.names: line.figures.cost for line in said.lines} == {("ann",): 2 * COST, ("cy",): COST}
    assert said.agrees
    assert said.total.cost == 3 * COST


def test_users_of_before_have_their_budgets_and_are_refused_by_them(traded: Program, url: str) -> None:
    """Also by the period that began before the upgrade."""
    with BudgetManager("shop", store=url) as now:
        assert now.get_users() == ["ann", "bob"]
        assert (now.get_total_budget("ann"), now.get_current_cost("ann")) == (1.25, 2 * COST / 1e9)
        ann = now.users.get("ann")
        assert ann is not None
        assert ann.rule.period == Period("monthly")
        now.set_budget("ann", 2.5, "monthly")
        assert (now.get_total_budget("ann"), now.get_current_cost("ann")) == (2.5, 2 * COST / 1e9)
        assert [(change.what, change.subject) for change in now.changes()] == [("change", "ann")]


def test_a_call_under_way_at_the_upgrade_is_settled_by_whoever_ends_it(traded: Program, url: str) -> None:
    """The hold of a program of before is one of this version: it ends at its true cost."""
    with store_at(url) as store:
        answer = store.settle(BY_HAND, LATER)
        assert answer == Settled(LATER.cost)
        assert [each[1:] for each in store.balances(["by hand"])] == [(LATER.cost, 0)]
        assert store.check() == []


IMPORTS = "from tests.support.upgrading import *"
REFUSED_OPEN = r"StoreError: store .* (no column named amount|no such column)"
REFUSED_AGAIN = r"StoreError: store .*made by a newer version of budgetguard \(schema 3; this version knows \d\)"


def test_a_program_of_0_2_0_that_has_the_file_open_is_refused_and_what_it_owes_lands(url: str) -> None:
    """It knows no tokens: its calls are refused unsent, and the one under way is paid for by the next program."""
    with Program("0.2.0") as before:
        before.run(f"{IMPORTS}\nshop = Shop(url)\nshop.trade()\nshop.open_stream('eve')", url=url)
        bring_up(url)
        with pytest.raises(ProgramError, match=REFUSED_OPEN):
            before.ask("shop.call('ann')")
        with pytest.raises(ProgramError, match=REFUSED_AGAIN):
            before.ask("shop.call('ann')")
        owed = before.ask("shop.end_stream()")
        assert before.ask("len(shop.provider.requests)") == 4  # those that it sent before
        before.kill()
    with BudgetManager("shop", store=url) as now:
        assert now.flush(20)
    [paid] = [entry for entry in seen(url)["entries"] if entry[4].get("user") == "eve"]
    assert (paid[1], owed > 0) == (owed, True)
    assert seen(url)["differences"] == 0


def test_what_a_killed_program_of_before_owed_of_its_lease_is_booked_and_the_rest_given_back(
    version: str, url: str
) -> None:
    """Its journal is read by this version: each call that was answered is on the books, once, and no slice is lost."""
    with Program(version) as before:
        before.run(f"{IMPORTS}\nshop = Shop(url)\nshop.trade()", url=url)
        assert before.ask("[shop.call(None, team='search') for _ in range(20)]") == [COST] * 20
        before.kill()
    with BudgetManager("shop", store=url) as now:
        assert now.flush(20)
    there = seen(url)
    assert sorted(total for _, _, total, _ in there["totals"]) == [COST, 2 * COST, 20 * COST]
    [team] = [balance for key, balance in there["balances"].items() if key.startswith("team//")]
    assert team == [21 * COST, 0]
    assert [hold[0] for hold in there["holds"]] == [BY_HAND.id]
    assert there["differences"] == 0


def test_a_program_between_that_has_the_file_open_goes_on(programs: dict[str, Program], url: str) -> None:
    """Records are beside the books: they share the limits that both know, until it opens the file anew."""
    before = programs["gateway"]
    before.run("shop = Shop(url)\nshop.trade()", url=url)
    with BudgetManager("shop", store=url) as now:
        now.set_budget("ann", 2.0)
        assert before.ask("shop.call('ann')") == COST
        assert before.ask("shop.manager.get_total_budget('ann')") == 2.0
        held = Hold(new_id(), (Account("by hand", limit=100),), 60)
        assert now.store.reserve(held) == Admitted(60)
        asked = "str(shop.manager.store.reserve(Hold('f' * 32, (Account('by hand', limit=100),), 1)))"
        assert before.ask(asked).startswith("Refusal")
        now.store.settle(held, Entry(held.id, 50))
    assert before.ask("on_books(shop.manager.store)") == seen(url)


def test_a_program_of_before_that_opens_the_file_afterwards_is_told_to_upgrade(
    before: Program, url: str, path: Path
) -> None:
    """Whatever it asks, also to read: it does not know what else is in there. The command line says so as well."""
    bring_up(url)
    before.run("shop = Shop(url)", url=url)
    for asked in ("shop.manager.get_users()", "shop.call('ann')", "seen(url)"):
        with pytest.raises(ProgramError, match=REFUSED_AGAIN):
            before.ask(asked)
    code, said = before.ask("say('spend', '--store', url, '--project', 'shop')")
    assert (code, "made by a newer version of budgetguard" in " ".join(said.split())) == (2, True)


def test_a_copy_from_before_the_upgrade_is_the_way_back(traded: Program, url: str, path: Path, tmp_path: Path) -> None:
    """What was kept aside opens in the version that made it, with all that was on the books then."""
    there = traded.ask("seen(url)", url=url)
    traded.run("close_all()")
    shutil.copy(path, tmp_path / "kept.db")
    bring_up(url)
    back = f"sqlite:///{tmp_path}/kept.db"
    assert traded.ask("seen(url)", url=back) == there
    assert traded.ask("shop = Shop(url)\nshop.call('ann')", url=back) == COST
