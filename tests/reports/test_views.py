"""What each view shows is what the books say, in the words of its fields."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard import Budget
from budgetguard.budgets.steering.declared import declare
from budgetguard.budgets.steering.steers import STEERS, Steer, write_steers
from budgetguard.budgets.users import Users
from budgetguard.errors import ConfigError
from budgetguard.ledger import Entry, Hold, Record, id_at, new_id
from budgetguard.prices import PriceBook
from budgetguard.reports.forecast import SpendRate, forecast
from budgetguard.reports.reports import Reports
from budgetguard.reports.shown.budgets import BudgetShown, BudgetsQuery
from budgetguard.reports.shown.lists import CallsQuery
from budgetguard.reports.views.statement import CENT, in_cents
from budgetguard.reports.written import in_csv, in_json
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import StoppedClock
from tests.support.history import DAY_MS, HOUR_MS, at, entry

NOW = at("2027-05-11T12:00")
DOLLAR = 10**9
FREE = Budget("free", 1, "daily", per=("user",), warn_at=(0.5,))
TEAM = Budget("team", 100, "monthly", match={"team": "search*"}, per=("team",))
ALL = Budget("all", 500, "monthly")
RULES = (FREE, TEAM, ALL)


@pytest.fixture
def clock() -> StoppedClock:
    """A third of May is over."""
    return StoppedClock(NOW / 1000)


@pytest.fixture
def ledger(clock: StoppedClock, tmp_path: Path) -> Iterator[SQLiteStore]:
    """An empty file."""
    store = SQLiteStore(tmp_path / "views.db", clock=clock, durable=False)
    yield store
    store.close()


@pytest.fixture
def views(ledger: SQLiteStore, clock: StoppedClock) -> Reports:
    """Of three rules."""
    return Reports(ledger, RULES, clock=clock)


def spend(store: SQLiteStore, user: str, cost: int, team: str = "search", **said: Any) -> str:
    """One guarded call, now."""
    tags = {"user": user, "team": team}
    hold = hold_for(store, tags, cost)
    store.reserve(hold)
    store.settle(hold, Entry(hold.id, cost, tags=tags, **{"model": "gpt-4o", "provider": "openai", **said}))
    return hold.id


def hold_for(store: SQLiteStore, tags: dict[str, str], cost: int) -> Hold:
    """On all accounts that the rules name."""
    now_ms = store.now_ms()
    accounts = [account for rule in RULES if (account := rule.account(tags, now_ms)) is not None]
    return Hold(new_id(), tuple(accounts), cost, tags=tags, model="gpt-4o", provider="openai")


def states(views: Reports, **asked: Any) -> dict[tuple[str, str], str]:
    """Of all budgets."""
    return {(each.budget, each.subject): each.state for each in views.budgets(BudgetsQuery(**asked), fresh=True).rows}


def test_a_budget_is_in_one_state_with_a_word_for_it(ledger: SQLiteStore, views: Reports) -> None:
    """The word says what to do: wait, ask for more, resume, or nothing."""
    spend(ledger, "ok", DOLLAR // 10)
    spend(ledger, "near", DOLLAR // 2)
    spend(ledger, "spent", DOLLAR)
    ledger.reserve(hold_for(ledger, {"user": "busy"}, DOLLAR))
    spend(ledger, "paused", 1)
    spend(ledger, "raised", DOLLAR + 5)
    ledger.put_terms(
        STEERS,
        write_steers(
            {"free/paused": Steer(paused=True, by="eve", note="too many"), "free/raised": Steer(limit=5 * DOLLAR)}
        ),
    )

    found = states(views, budget="free")
    assert found == {("free", name): name for name in ("ok", "near", "spent", "busy", "paused", "raised")}
    assert states(views)["all", ""] == "ok"
    [paused] = views.budgets(BudgetsQuery(states=frozenset({"paused"}))).rows
    assert (paused.by, paused.note, paused.limit) == ("eve", "too many", DOLLAR)


def test_a_row_of_budgets_adds_up(ledger: SQLiteStore, views: Reports) -> None:
    """limit = spent + held + left, in the period that is running, and when it begins again."""
    spend(ledger, "ann", 300)
    ledger.reserve(hold_for(ledger, {"user": "ann"}, 200))
    row = next(each for each in views.budgets().rows if each.budget == "free")

    assert (row.spent, row.held, row.left, row.limit) == (300, 200, DOLLAR - 500, DOLLAR)
    assert row.who == {"user": "ann"}
    assert row.account == "free/ann/2027-05-11"
    assert (row.start_ms, row.resets_ms) == (at("2027-05-11T00:00"), at("2027-05-12T00:00"))
    assert row.forecast is not None
    assert row.forecast.amount == 600


def test_budgets_are_searched_sorted_and_paged(ledger: SQLiteStore, views: Reports) -> None:
    """Ten thousand users are found by a part of their name."""
    for number in range(25):
        spend(ledger, f"User-{number:02d}", 1000 * number + 1)
    found = views.budgets(BudgetsQuery(search="uSeR-1", order="spent", limit=4, offset=2))

    assert found.count == 10
    assert [row.subject for row in found.rows] == ["User-17", "User-16", "User-15", "User-14"]
    by_name = views.budgets(BudgetsQuery(budget="free", order="name", descending=False, limit=2))
    assert [row.subject for row in by_name.rows] == ["User-00", "User-01"]
    assert found.states == {"ok": 10}


def test_rules_that_programs_declared_are_shown_with_users_own(ledger: SQLiteStore, clock: StoppedClock) -> None:
    """A page that was told nothing shows the limits of every program that uses the store."""
    declare(ledger, [FREE])
    spend(ledger, "ann", 5)
    Users(ledger, clock=clock).put("bob", Budget("users", 2, "weekly", per=("user",)))
    rows = Reports(ledger, clock=clock).budgets(BudgetsQuery(order="name", descending=False)).rows

    assert [(row.budget, row.subject, row.limit, row.own) for row in rows] == [
        ("free", "ann", DOLLAR, False),
        ("users", "bob", 2 * DOLLAR, True),
    ]


def test_a_subject_shows_which_budget_says_no(ledger: SQLiteStore, views: Reports) -> None:
    """Somebody who was refused asks why: the first full budget in the order in which they are asked."""
    spend(ledger, "ann", DOLLAR, usage={"input_tokens": 7})
    spend(ledger, "bob", 5, team="sales")
    found = views.subject("user", "ann")

    assert [(row.budget, row.subject) for row in found.budgets] == [("free", "ann"), ("team", "search"), ("all", "")]
    assert found.refusing is not None
    assert (found.refusing.budget, found.refusing.left) == ("free", 0)
    assert found.month.cost == DOLLAR
    assert [group.names for group in found.models] == [("gpt-4o",)]
    assert found.tags["team"][0].names == ("search",)
    assert [call.user for call in found.calls.rows] == ["ann"]
    assert len(found.by_day.buckets) == 30
    assert views.subject("user", "bob").refusing is None
    assert {row.budget for row in views.subject("team", "search").budgets} == {"free", "team", "all"}


def test_the_overview_says_where_we_stand(ledger: SQLiteStore, views: Reports) -> None:
    """One look: today, this month against the last at the same hour, and what has no user."""
    ledger.load(
        entries=[
            entry("a", at("2027-05-11T08:00"), 10, tags={"user": "ann"}),
            entry("b", at("2027-05-10T08:00"), 20, tags={"user": "ann"}),
            entry("c", at("2027-05-01T00:00"), 40, model="o3"),
            entry("d", at("2027-04-11T11:00"), 80, tags={"user": "ann"}),
            entry("e", at("2027-04-11T14:00"), 160, tags={"user": "ann"}),
            entry("f", at("2027-03-31T23:59"), 320),
        ]
    )
    ledger.reserve(hold_for(ledger, {"user": "ann"}, 7))
    found = views.overview()

    assert (found.today.cost, found.yesterday.cost, found.month.cost) == (10, 20, 70)
    assert (found.last_month.cost, found.last_month_by_now.cost) == (240, 80)
    assert (found.held, found.holds) == (7, 1)
    assert (found.without_user.calls, found.without_user.cost) == (1, 40)
    assert [(group.names, group.figures.cost, group.change) for group in found.top] == [
        (("o3",), 40, None),
        (("gpt-4o",), 30, (30 - 80) / 80),
    ]
    assert len(found.by_day.buckets) == 31
    assert sum(sum(bucket.costs) for bucket in found.by_day.buckets) == 70
    assert len(found.behind) == 30
    assert found.behind[10] == 240
    assert found.forecast.spent == 70


def test_the_tightest_budget_is_the_one_that_is_spent_first(ledger: SQLiteStore, views: Reports) -> None:
    """And the day on which it will be, at the rate of its period so far."""
    spend(ledger, "ann", DOLLAR * 6 // 10)
    spend(ledger, "bob", DOLLAR * 8 // 10)
    tightest = views.overview().tightest

    assert tightest is not None
    assert tightest.account == "free/bob/2027-05-11"
    assert tightest.forecast is not None
    assert tightest.forecast.ends_ms == NOW + 3 * HOUR_MS


def test_a_forecast_goes_on_as_the_last_days_did() -> None:
    """Half of the limit in ten days is all of it after ten more; an hour says nothing of a month."""
    found = forecast(50, SpendRate(50, 10 * DAY_MS), NOW, NOW + 20 * DAY_MS, 100)
    assert (found.amount, found.rate_per_day, found.ends_ms) == (150, 5, NOW + 10 * DAY_MS)
    assert forecast(50, SpendRate(50, 10 * DAY_MS), NOW, NOW + 5 * DAY_MS, 100).ends_ms is None
    assert forecast(50, SpendRate(50, HOUR_MS - 1), NOW, NOW + DAY_MS, 100).amount is None


def test_a_month_is_the_month_of_its_zone(ledger: SQLiteStore, clock: StoppedClock) -> None:
    """A statement begins at midnight there: an hour earlier in summer; and February has its leap day."""
    berlin = ZoneInfo("Europe/Berlin")
    moments = [
        (datetime(2028, 2, 29, 23, 59, tzinfo=berlin), 1),
        (datetime(2028, 3, 1, 0, 0, tzinfo=berlin), 2),
        (datetime(2028, 3, 26, 1, 59, tzinfo=berlin), 4),
        (datetime(2028, 3, 26, 3, 0, tzinfo=berlin), 8),
        (datetime(2028, 3, 31, 23, 59, tzinfo=berlin), 16),
        (datetime(2028, 4, 1, 0, 0, tzinfo=berlin), 32),
        (datetime(2028, 10, 29, 2, 30, tzinfo=berlin), 64),
        (datetime(2028, 10, 29, 2, 30, tzinfo=berlin, fold=1), 128),
        (datetime(2028, 10, 31, 23, 30, tzinfo=berlin), 256),
    ]
    ledger.load(entries=[entry(f"h{cost}", round(when.timestamp() * 1000), cost) for when, cost in moments])
    clock.set(at("2028-12-01T00:00") / 1000)
    views = Reports(ledger, clock=clock, zone="Europe/Berlin")

    assert views.statement("2028-02").total.cost == 1
    march = views.statement("2028-03", ("day",))
    assert (march.total.cost, march.end_ms - march.start_ms) == (30, 31 * DAY_MS - HOUR_MS)
    assert [(line.names[0], line.figures.cost) for line in march.lines] == [
        ("2028-03-01", 2),
        ("2028-03-26", 12),
        ("2028-03-31", 16),
    ]
    assert views.statement("2028-04").total.cost == 32
    october = views.statement("2028-10", ("day", "model"))
    assert (october.total.cost, october.final, october.agrees) == (448, True, True)
    assert [line.names for line in october.lines] == [("2028-10-29", "gpt-4o"), ("2028-10-31", "gpt-4o")]
    with pytest.raises(ConfigError, match="month"):
        views.statement("2028-13")


@settings(deadline=None)
@given(st.lists(st.integers(0, 50 * CENT), max_size=30))
def test_lines_in_cents_add_up_to_the_total_in_cents(costs: list[int]) -> None:
    """Whoever adds the lines of an invoice up gets its total; none is a cent off or more."""
    cents = in_cents(costs, sum(costs))
    assert sum(cents) == (sum(costs) + CENT // 2) // CENT
    assert all(abs(line * CENT - cost) < CENT for line, cost in zip(cents, costs, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(NOW - 9 * DAY_MS, NOW), st.integers(NOW - 9, NOW)),
            st.sampled_from(["ann", ""]),
            st.sampled_from(["gpt-4o", "o3"]),
            st.frozensets(st.sampled_from(["cut", "estimated", "capped"]), max_size=2),
        ),
        max_size=40,
    ),
    st.integers(1, 7),
    st.sampled_from([{}, {"user": "ann"}, {"user": ""}]),
    st.sampled_from([None, "o3"]),
    st.sampled_from([frozenset(), frozenset({"cut"}), frozenset({"capped"})]),
)
def test_pages_of_calls_are_the_history_backwards(
    said: list[Any], limit: int, tags: dict[str, str], model: str | None, flags: frozenset[str]
) -> None:
    """Each call that fits, once, the newest first, whatever the filter and the size of a page."""
    store = MemoryStore(clock=StoppedClock(NOW / 1000))
    history = [
        entry(f"h{number:02d}", at_ms, model=name, flags=marks, tags={"user": user} if user else {})
        for number, (at_ms, user, name, marks) in enumerate(said)
    ]
    store.load(entries=history)
    views, found, before = Reports(store), list[str](), None
    while True:
        page = views.calls(CallsQuery(tags=tags, model=model, flags=flags, limit=limit, before=before))
        found += [row.id for row in page.rows]
        before = page.next
        if before is None:
            break

    fitting = [
        each
        for each in history
        if all(each.tags.get(name, "") == value for name, value in tags.items())
        and model in {None, each.model}
        and flags <= each.flags
    ]
    assert found == [
        each.hold_id for each in sorted(fitting, key=lambda each: (each.at_ms, each.hold_id), reverse=True)
    ]


def test_calls_of_one_budget_are_found_by_its_account(ledger: SQLiteStore, views: Reports) -> None:
    """From a row of budgets to the calls that are in it."""
    ledger.load(entries=[entry("x", NOW - 5, accounts=("free/ann/2027-05-11",)), entry("y", NOW - 4)])
    assert [row.id for row in views.calls(CallsQuery(account="free/ann/")).rows] == ["x"]
    with pytest.raises(ConfigError, match="before"):
        views.calls(CallsQuery(before="nonsense"))


def test_holds_are_shown_by_age(ledger: SQLiteStore, views: Reports, clock: StoppedClock) -> None:
    """Money that hangs for an hour is somebody's process that hangs."""
    for cost in (5, 6, 7):
        ledger.reserve(hold_for(ledger, {"user": f"u{cost}"}, cost))
        clock.advance(60)
    found = views.holds(limit=2)

    assert [(row.cost, row.age_ms) for row in found.rows] == [(5, 180_000), (6, 120_000)]
    assert (found.count, found.cost) == (3, 18)
    assert [row.user for row in views.holds(tag="user", value="u7").rows] == ["u7"]


def refusal(at_ms: int, count: int, **said: Any) -> Record:
    """As the fleet writes them."""
    body = {"budget": "free", "subject": "ann", "account": "free/ann/x", "unit": "dollars", "user": "ann", "tags": {}}
    more = {
        "model": "o3",
        "provider": "openai",
        "busy": False,
        "spent": 1,
        "held": 0,
        "limit": 2,
        "wanted": 3,
        "room": 1,
    }
    return Record(
        "refusal", f"{id_at(at_ms)}{new_id()[12:]}", at_ms, json.dumps({**body, **more, "count": count, **said})
    )


def test_refusals_are_added_up_by_hour_budget_and_user(
    ledger: SQLiteStore, views: Reports, clock: StoppedClock
) -> None:
    """How often, what they would have cost, and how many only had to wait; also while one is still counted up."""
    ledger.note(
        [
            refusal(NOW - 3 * HOUR_MS, 2),
            refusal(NOW - 3 * HOUR_MS + 5, 1, user=None, budget="calls", unit="requests", wanted=1),
            refusal(NOW - 10 * DAY_MS, 50),
        ]
    )
    last = refusal(NOW - 500, 4, busy=True)
    ledger.note([last])
    assert views.refusals().times == 7
    ledger.note([last._replace(body=last.body.replace('"count": 4', '"count": 9'))], replace=True)
    found = views.refusals()

    assert [(group.name, group.times, group.cost, group.busy) for group in found.groups] == [
        ("free", 11, 33, 9),
        ("calls", 1, 0, 0),
    ]
    assert [group.name for group in views.refusals(by="hour").groups] == ["2027-05-11 09:00", "2027-05-11 11:00"]
    assert {group.name: group.times for group in views.refusals(by="user").groups} == {"ann": 11, "": 1}
    assert [row.times for row in found.rows] == [9, 1, 2]
    page = views.refusals(limit=1)
    assert [row.times for row in views.refusals(before=page.next).rows] == [1, 2]
    overview = views.overview().refused
    assert (overview.times, overview.cost, overview.busy) == (62, 183, 9)
    clock.advance(3600)
    assert views.refusals().times == 12
    assert [row.times for row in views.subject("user", "ann").refusals] == [9, 2, 50]


def test_cut_answers_are_shown_by_model_and_budget(ledger: SQLiteStore, views: Reports) -> None:
    """A budget that is too small shows as answers that end in the middle."""
    for number in range(4):
        spend(ledger, "ann", 5, flags=frozenset({"cut", "capped"} if number else set()))
    found = views.cuts()

    assert [(row.model, row.cut, row.calls) for row in found.models] == [("gpt-4o", 3, 4)]
    assert {row.budget: row.cut for row in found.budgets} == {"free": 3, "team": 3, "all": 3}
    assert len(found.newest) == 3


def test_models_without_a_price_are_shown_first(ledger: SQLiteStore, clock: StoppedClock) -> None:
    """What is unpriced is a hole in every budget; what is priced says from where."""
    ledger.load(
        entries=[
            entry("a", NOW - 5, 500),
            entry("b", NOW - 5, 0, model="my-own", provider="", flags=frozenset({"unpriced"})),
            entry("c", NOW - 5, 900, model="house", provider=""),
        ]
    )
    book = PriceBook(overrides={"house": {"input": 1, "output": 2}})
    found = Reports(ledger, prices=book, clock=clock).prices()

    assert [(row.model, row.priced) for row in found.rows] == [("my-own", False), ("house", True), ("gpt-4o", True)]
    assert found.rows[1].source == "declared"
    assert ("input_tokens", 0, DOLLAR) in found.rows[1].rates
    assert found.rows[2].source.startswith("openai, genai-prices")


def test_alerts_and_changes_are_shown_newest_first(ledger: SQLiteStore, views: Reports, clock: StoppedClock) -> None:
    """Who was told, and who changed what and why, whatever an odd writer left between them."""
    ledger.note(
        [
            Record(
                "alert", f"free/u{n}/x@0.5", NOW - n, json.dumps({"what": "threshold", "text": f"u{n}", "part": 0.5})
            )
            for n in range(5)
        ]
    )
    page = views.alerts(limit=3)
    assert [row.text for row in page.rows] == ["u0", "u1", "u2"]
    assert [row.text for row in views.alerts(before=page.next).rows] == ["u3", "u4"]

    users = Users(ledger, clock=clock)
    users.put("ann", Budget("users", 2, "weekly", per=("user",)), note="hello")
    users.put("bob", Budget("users", 2, "weekly", per=("user",)))
    ledger.note([Record("change", f"{id_at(NOW + 1)}{new_id()[12:]}", NOW, "no JSON")])
    assert [row.subject for row in views.changes().rows] == ["", "bob", "ann"]
    [change] = views.subject("user", "ann").changes
    assert (change.what, change.note) == ("create", "hello")


def test_health_tells_what_is_wrong(ledger: SQLiteStore, views: Reports, clock: StoppedClock) -> None:
    """A clock that is apart, money that hangs, and a history that is read to the end."""
    assert views.health().state == "ok"
    ledger.reserve(hold_for(ledger, {"user": "ann"}, 5)._replace(ttl_ms=10 * HOUR_MS))
    clock.advance(2 * 3600)
    found = {line.name: line for line in views.health().lines}
    assert found["open holds"].state == "warn"
    assert "more than an hour" in found["open holds"].text
    assert found["history"].text == "all of it is read"

    apart = Reports(ledger, clock=StoppedClock(NOW / 1000)).health()
    assert next(line for line in apart.lines if line.name == "clock").state == "warn"


def test_every_view_is_written_as_json_and_csv(ledger: SQLiteStore, views: Reports) -> None:
    """Programs get whole nano-dollars, people dollars with all of their digits."""
    spend(ledger, "=ann", 1_234_567)
    spend(ledger, "bob", 2 * DOLLAR, usage={"input_tokens": 3})
    ledger.note([refusal(NOW - 500, 4)])
    shown = [
        views.overview(),
        views.budgets(),
        views.subject("user", "bob"),
        views.statement("2027-05"),
        views.calls(),
        views.holds(),
        views.refusals(),
        views.cuts(),
        views.prices(),
        views.alerts(),
        views.changes(),
        views.health(),
    ]
    for view in shown:
        assert isinstance(json.loads(in_json(view)), dict)
        assert in_csv(view) == "" or len(in_csv(view).splitlines()) >= 2

    calls = list(csv.DictReader(io.StringIO(in_csv(views.calls()))))
    assert [row["cost"] for row in calls] == ["2.00", "0.001234567"]
    assert calls[1]["user"] == "'=ann", "a spreadsheet must not run it"
    assert calls[0]["at_ms"] == "2027-05-11T12:00:00.000+00:00"
    assert [each["cost"] for each in json.loads(in_json(views.calls()))["rows"]] == [2 * DOLLAR, 1_234_567]
    lines = list(csv.DictReader(io.StringIO(in_csv(views.statement("2027-05")))))
    assert [(row["name1"], row["cents"]) for row in lines] == [("bob", "2.00"), ("'=ann", "0.00")]
    budgets = list(csv.DictReader(io.StringIO(in_csv(views.budgets(BudgetsQuery(budget="all"))))))
    assert (budgets[0]["limit"], budgets[0]["spent"]) == ("500.00", "2.001234567")
    assert isinstance(views.budgets().rows[0], BudgetShown)
