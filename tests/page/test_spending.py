"""The views of money over a real server: what they show is what the store has."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from budgetguard import Budget
from budgetguard.budgets.users import Users
from budgetguard.ledger import Entry, Query, Store, id_at
from budgetguard.money import DOLLAR
from budgetguard.reports.amounts import cents
from budgetguard.server.keys import KeyRing
from budgetguard.server.page import desk
from tests.support.browsing import Browsing
from tests.support.page_books import HOSTILE, fill, fill_hostile

VIEWS = ("overview", "budgets", "subject?tag=user&value=ann", "explorer?by=day&and=model", "statement")


@pytest.fixture
def spent(shop: Store) -> Store:
    """Books with a few weeks of calls."""
    fill(shop, calls=400)
    return shop


def entries_of_month(store: Store) -> Iterator[Entry]:
    """Those of this month, in UTC."""
    month = f"{datetime.now(UTC):%Y-%m}"
    for entry in store.entries(Query()):
        if f"{datetime.fromtimestamp(entry.at_ms / 1000, UTC):%Y-%m}" == month:
            yield entry


def cells_of(text: str) -> list[list[str]]:
    """The rows of the last table of a page, as a reader has them."""
    body = text.rpartition("<table")[2]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_a_store_without_a_call_says_what_to_do(admin: Browsing, view: str) -> None:
    """The first look at the page is at an empty one."""
    seen = admin.get(f"/ui/{view}")
    assert seen.status == 200
    assert re.search(r"\bno |nothing ", seen.plain, re.IGNORECASE)


def test_the_month_on_the_first_page_is_that_of_the_store(spent: Store, admin: Browsing) -> None:
    """The figure that everybody looks at."""
    seen = admin.get("/ui/overview")
    found = list(entries_of_month(spent))
    assert f"Month to date {cents(sum(each.cost for each in found))}" in seen.plain
    assert f"{len(found):,} calls were settled" in seen.plain
    held = sum(each.amount for each in spent.holds())
    assert f"Held now {cents(held)}" in seen.plain


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"bob": 1_000}, "At the rate of the last days, every budget lasts until it begins again."),
        ({"bob": 1_000, "ann": 1}, "every other budget lasts until it begins again. 1 budget is spent already."),
        ({"ann": 1, "bob": 1}, "The budget that ends first 2 budgets are spent already."),
    ],
)
def test_the_first_page_says_which_budgets_are_spent(
    shop: Store, page_ring: KeyRing, browser: Browsing, limits: dict[str, int], told: str
) -> None:
    """It said that none would be, beside one that refused every call."""
    for user, limit in limits.items():
        own = Users(shop).put(user, Budget("users", limit, "monthly"))
        key, now_ms = own.account(shop.now_ms()).key, shop.now_ms()
        shop.load(entries=[Entry(f"{id_at(now_ms)}{user}", DOLLAR, (key,), now_ms, {"user": user})])
    plain = re.sub(r" (?=[.,])", "", browser.sign_in(page_ring.create("shop", "read")[1]).plain)
    assert told in plain


def test_a_statement_adds_up_to_the_cent_and_to_the_nano_dollar(spent: Store, admin: Browsing) -> None:
    """It is compared with an invoice, by somebody with a calculator."""
    whole = sum(each.cost for each in entries_of_month(spent))
    seen = admin.get("/ui/statement?by=user&and=model")
    shown = [line[-1] for line in cells_of(seen.text)[1:]]
    amounts = [round(float(each.replace("$", "").replace(",", "")) * 100) for each in shown]
    assert sum(amounts[:-1]) == amounts[-1] == round(whole / (DOLLAR // 100))
    assert "this is what the store itself adds up to" in seen.plain
    data = json.loads(admin.get("/ui/statement.json?by=user&and=model").text)
    assert data["total"]["cost"] == sum(line["figures"]["cost"] for line in data["lines"]) == whole


def test_a_statement_is_a_file_for_spreadsheets(spent: Store, admin: Browsing) -> None:
    """The dollars in it add up, too."""
    whole = sum(each.cost for each in entries_of_month(spent))
    rows = list(csv.DictReader(io.StringIO(admin.get("/ui/statement.csv?by=user").text)))
    column = next(name for name in rows[0] if name.endswith("cost"))
    assert sum(round(float(row[column]) * DOLLAR) for row in rows) == pytest.approx(whole, abs=1)


def test_a_download_has_all_of_the_history_or_says_that_it_has_not(
    spent: Store, admin: Browsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says beside its figures how much is read; a spreadsheet had the sum of a part, and no word of it."""
    whole = sum(each.cost for each in spent.entries(Query()))
    monkeypatch.setattr(desk, "_READ_S", -1.0)
    seen = admin.get("/ui/explorer.csv?by=user&range=all")
    assert seen.status == 200 or (seen.status == 503 and "the history is being read" in seen.text)
    monkeypatch.setattr(desk, "_READ_S", 60.0)
    rows = list(csv.DictReader(io.StringIO(admin.get("/ui/explorer.csv?by=user&range=all&top=500").text)))
    column = next(name for name in rows[0] if name.endswith("cost"))
    assert sum(round(float(row[column]) * DOLLAR) for row in rows) == whole


def test_the_explorer_answers_what_the_address_asks(spent: Store, admin: Browsing) -> None:
    """A link in a mail shows the same to whoever opens it."""
    seen = admin.get("/ui/explorer?by=user&and=feature&user=ann&range=all&top=500")
    costs: dict[str, int] = {}
    for entry in spent.entries(Query()):
        if entry.tags["user"] == "ann":
            feature = entry.tags["feature"]
            costs[feature] = costs.get(feature, 0) + entry.cost
    rows = {row[1]: row[3] for row in cells_of(seen.text)[1:-1]}
    assert rows == {feature: cents(cost) for feature, cost in costs.items()}
    assert 'name="user" type="text" value="ann"' in seen.text


def test_a_question_that_cannot_be_asked_is_answered_with_a_sentence(spent: Store, admin: Browsing) -> None:
    """Addresses are typed and cut off; none of them ends in an error of the server."""
    for query in (
        "by=model&and=hour&from=nonsense",
        "by=&and=",
        "page=99999",
        "page=-1",
        "top=x",
        "only=x",
        "range=never",
        "zone=No/Where",
    ):
        assert admin.get(f"/ui/explorer?{query}").status == 200
    for query in ("month=2026-13", "month=", "by=day", "page=7", "zone=Asia/Kathmandu", "month=9999-12"):
        assert admin.get(f"/ui/statement?{query}").status == 200
    for query in ("sort=-nothing", "state=fine", "page=0", "page=999999999999999", "search=%00"):
        assert admin.get(f"/ui/budgets?{query}").status == 200


def test_budgets_show_what_is_spent_held_and_left(shop: Store, admin: Browsing) -> None:
    """The arithmetic of each line is that of the ledger."""
    own = Users(shop).put("ann", Budget("users", 10, "monthly"))
    key = own.account(shop.now_ms()).key
    shop.load(entries=[Entry(f"{id_at(shop.now_ms())}1", 4 * DOLLAR, (key,), shop.now_ms(), {"user": "ann"})])
    [row] = [row for row in cells_of(admin.get("/ui/budgets?search=ann").text) if row[0].startswith("users/ann")]
    assert row[2:7] == ["$4.00", "–", "$6.00", "$10.00", "ok"]


def test_ten_thousand_budgets_are_pages(shop: Store, admin: Browsing) -> None:
    """One page of them all would be of no use, and slow."""
    users = Users(shop)
    for number in range(120):
        users.put(f"user{number:04d}", Budget("users", 10, "monthly"))
    seen = admin.get("/ui/budgets?search=user0&sort=name&page=3")
    assert "101–120 of 120 budgets" in seen.plain
    assert len([row for row in cells_of(seen.text) if row[0].startswith("users/user")]) == 20
    assert "users/user0007" in admin.get("/ui/budgets?search=USER0007").plain
    assert "No budget matches" in admin.get("/ui/budgets?search=nobody").plain


def test_a_subject_says_why_its_call_is_refused(shop: Store, admin: Browsing) -> None:
    """Somebody asks "why was I refused?": the answer is one sentence with the arithmetic in it."""
    own = Users(shop).put("ann", Budget("users", 5, "monthly"))
    key = own.account(shop.now_ms()).key
    shop.load(entries=[Entry(f"{id_at(shop.now_ms())}1", 5 * DOLLAR, (key,), shop.now_ms(), {"user": "ann"})])
    seen = admin.get("/ui/subject?tag=user&value=ann")
    told = "The next call is refused by users/ann: $5.00 limit − $5.00 spent − $0.00 held = $0.00 left."
    assert told in seen.plain
    assert "says no: spent" in seen.plain


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_never_more_than_text(shop: Store, admin: Browsing, name: str) -> None:
    """Users choose their names, and admins look at them."""
    fill_hostile(shop)
    for view in ("overview?by=user", "budgets", "explorer?by=user&and=feature", "statement?by=user&and=model"):
        seen = admin.get(f"/ui/{view}")
        assert seen.status == 200
        assert "<img src=x" not in seen.text
        assert "<script>alert" not in seen.text
    assert admin.get("/ui/subject", follow=False).status == 200


def test_times_are_shown_in_the_zone_that_was_chosen_and_it_is_said(spent: Store, admin: Browsing) -> None:
    """And every link goes on in it."""
    seen = admin.get("/ui/overview?zone=Asia/Tokyo")
    assert "Times in Asia/Tokyo" in seen.plain
    assert "/ui/budgets?zone=Asia%2FTokyo" in seen.text


def test_growth_is_since_the_same_moment_of_last_month(shop: Store, page_ring: KeyRing, browser: Browsing) -> None:
    """On the third of a month, all of the last one would make everything look as if it were going down."""
    now = datetime.fromtimestamp(shop.now_ms() / 1000, UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = (first - timedelta(days=1)).replace(day=1)
    moments = [(last, 2), (first - timedelta(minutes=1), 50), (now, 3)]
    entries = []
    for moment, dollars in moments:
        at_ms = round(moment.timestamp() * 1000)
        entries.append(Entry(f"{id_at(at_ms)}1", dollars * DOLLAR, (), at_ms, {"user": "ann"}, "openai", "gpt-4o"))
    shop.load(entries=entries)  # before anybody looks: what is loaded into days that were read is found by and by
    seen = browser.sign_in(page_ring.create("shop", "read")[1])
    assert "+50 % against last month by now" in seen.plain
    rows = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in rows_of(seen.text, "ann")]
    assert rows == [["ann", "$3.00", "100 %", "+50 %"]]


def rows_of(text: str, name: str) -> list[list[str]]:
    """The rows of tables that are about a name, cell by cell."""
    rows = re.findall(r"<tr>.*?</tr>", text, re.DOTALL)
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in rows]
    return [row for row in cells if row and re.sub(r"<[^>]+>", "", row[0]).strip() == name]
