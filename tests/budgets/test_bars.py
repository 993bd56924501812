"""Bars: what a notebook, a shell and a debugger show of a scope and of a manager."""

from __future__ import annotations

import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, Money
from budgetguard.budgets.bars import Bar, as_html
from budgetguard.errors import StoreError

CENT = 10_000_000


@pytest.mark.parametrize(
    ("bar", "shown"),
    [
        (Bar("ann", 35 * CENT, 10 * CENT, 100 * CENT), "[███████▒▒░░░░░░░░░░░] ann: $0.35 spent, $0.10 held, $0.55 of"),
        (Bar("", 1, 0, 100 * CENT), "[█░░░░░░░░░░░░░░░░░░░] $0.000000001 spent, $0.999999999 of $1.00 left"),
        (
            Bar("ann", 300 * CENT, 50 * CENT, 100 * CENT),
            "[████████████████████] ann: $3.00 spent, $0.50 held, $0.00 of",
        ),
        (Bar("seats", 0, 3, 4, "parallel"), "[▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░░░░] seats: 3 in flight of 4"),
        (Bar("none", 0, 0, 0), "[████████████████████] none: $0.00 spent, $0.00 of $0.00 left"),
        (Bar("free", 35 * CENT, 0, None), "free: $0.35 spent"),
        (
            Bar("calls", 3, 1, 60, "requests"),
            "[█▒░░░░░░░░░░░░░░░░░░] calls: 3 requests spent, 1 request held, 56 requests",
        ),
    ],
)
def test_a_bar_shows_what_is_spent_held_and_left(bar, shown):
    """All of it at a glance, and the exact amounts beside it."""
    assert str(bar).startswith(shown)


def test_a_scope_shows_its_own_bar(client):
    """Before, while and after it is entered: nothing has to be asked."""
    scope = budgetguard.budget(limit=0.01, tags={"feature": "search"}, user="ann")
    assert repr(scope) == (
        "<budget [░░░░░░░░░░░░░░░░░░░░] user='ann', feature='search': $0.00 spent, $0.01 of $0.01 left>"
    )
    with scope:
        client.chat.completions.create(model="gpt-4o-mini", max_tokens=8, messages=[{"role": "user", "content": "hi"}])
    assert f"{scope.spent} spent, {Money.dollars('0.01') - scope.spent} of $0.01 left" in repr(scope)
    assert "█" in repr(scope)


def test_a_manager_shows_its_shared_budgets_and_its_users(manager, url, clock):
    """A few: it is a look, not a report."""
    rules = [Budget("fleet", 500, "monthly"), Budget("free", 0.2, per=("user",)), Budget("count", None)]
    made = BudgetManager("shop", store=manager.store, budgets=rules, clock=clock)
    made.create_budget(0.00001, "ann", "daily")
    made.update_cost("ann", model="gpt-4o-mini", input_text="hi there", output_text="hello")
    lines = repr(made).splitlines()
    assert lines[0] == "BudgetManager('shop')"
    assert [line.partition("] ")[2].partition(":")[0] for line in lines[1:]] == ["fleet", "ann"]
    assert lines[2].startswith("[█")
    assert made._repr_html_().count("<tr>") == 2


def test_names_are_no_markup(manager):
    """A user's name is often what the user typed."""
    manager.create_budget(1, "<script>alert(1)</script>")
    scope = budgetguard.budget(user="<b>", tags={"a": "<i>"})
    assert "<script>" not in manager._repr_html_()
    assert "&lt;script&gt;" in manager._repr_html_()
    assert "<b>'" not in scope._repr_html_()
    assert "<i>" not in scope._repr_html_()


def test_a_store_that_does_not_answer_is_a_line():
    """A repr is read in tracebacks and debuggers: it must not raise there."""
    manager = BudgetManager("<shop>", store="redis://127.0.0.1:1/0")
    assert repr(manager).splitlines()[1].startswith("the store cannot be read now: StoreError: ")
    assert "the store cannot be read now: StoreError" in manager._repr_html_()
    assert "<shop>" not in manager._repr_html_()

    def read() -> list[Bar]:
        raise StoreError("<b>")

    assert "<b>" not in as_html("", read).removeprefix("<div><b></b>")
