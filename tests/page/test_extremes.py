"""Books that nobody has in mind: one call, calls for nothing, very dear ones, ten thousand users in one month."""

from __future__ import annotations

import pytest

from budgetguard import Budget
from budgetguard.budgets.rules import escape
from budgetguard.budgets.users import Users
from budgetguard.ledger import Entry, Store, new_id
from budgetguard.money import DOLLAR
from tests.support.browsing import Browsing

VIEWS = ("overview", "budgets?search=ann", "subject?tag=user&value=ann", "explorer?by=day&and=user", "statement")
DEAREST = 9_000_000 * DOLLAR


def book(store: Store, *costs: int, user: str = "ann") -> None:
    """Calls of one user, now."""
    own = Users(store).put(user, Budget("users", 9_000_000, "monthly"))
    now_ms = store.now_ms()
    key, usage = own.account(now_ms).key, {"input_tokens": 10**9, "output_tokens": 1}
    tags = {"user": user}
    store.load(entries=[Entry(new_id(), cost, (key,), now_ms, tags, "openai", "gpt-4o", usage) for cost in costs])


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("costs", "shown"),
    [((DOLLAR,), "$1.00"), ((0, 0), "$0.00"), ((1,), "< $0.01"), ((DEAREST,), "$9,000,000.00")],
    ids=["one", "free", "tiny", "huge"],
)
def test_a_view_shows_any_amount(shop: Store, admin: Browsing, view: str, costs: tuple[int, ...], shown: str) -> None:
    """None of them divides by what is nothing, and none loses a digit of what is much."""
    book(shop, *costs)
    seen = admin.get(f"/ui/{view}")
    assert seen.status == 200
    assert shown in seen.plain or view == "statement"
    assert "nan" not in seen.plain.lower().split()


def test_a_statement_of_less_than_a_cent_still_adds_up(shop: Store, admin: Browsing) -> None:
    """Its lines are whole cents, whatever the calls cost."""
    for number in range(3):
        book(shop, DOLLAR // 250, user=f"user{number}")
    plain = admin.get("/ui/statement").plain
    assert plain.count(" $0.01 ") == 2
    assert "$0.00" in plain


@pytest.mark.parametrize("name", ["a/b", "ann, bob & co", "100%", "Ünïcödé 名前", "=1+1", "x" * 300])
def test_a_budget_is_steered_whatever_its_user_is_called(shop: Store, admin: Browsing, name: str) -> None:
    """The link in the list leads to that one, and the form changes it."""
    book(shop, DOLLAR, user=name)
    path = admin.get("/ui/budgets?search=users").text.partition('href="/ui/steer?verb=pause')[2].partition('"')[0]
    path = f"/ui/steer?verb=pause{path}".replace("&amp;", "&")
    assert "$1.00" in admin.get(path).plain
    assert "is paused" in admin.send(path).plain
    assert Users(shop).get(name).steer.paused
    assert escape(name) in Users(shop).get(name).account(shop.now_ms()).key


def test_many_lines_of_a_statement_are_pages_with_a_sum_each(shop: Store, admin: Browsing) -> None:
    """And the last line is that of the whole month on each of them."""
    now_ms = shop.now_ms()
    entries = [
        Entry(new_id(), DOLLAR, (), now_ms, {"user": f"user{at:05d}"}, "openai", "gpt-4o") for at in range(1_100)
    ]
    shop.load(entries=entries)
    plain = admin.get("/ui/statement?page=3").plain
    assert "Lines 1,001 to 1,100" in plain
    assert "1,001–1,100 of 1,100 lines" in plain
    assert "$100.00" in plain
    assert "$1,100.00" in plain
