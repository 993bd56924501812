"""The books against a bill: each reason is found where it was planted, and all of them add up to the difference."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import budgetguard
from budgetguard import BudgetManager, PriceBook
from budgetguard.cli.spending.reconciled import markdown
from budgetguard.errors import ConfigError
from budgetguard.ledger import Entry
from budgetguard.providers.bills.known import source_named
from budgetguard.providers.bills.lines import ATTO_PER_NANO, BillLine, BillUsage, ProviderBill
from budgetguard.reports.bill.compared import BillSpan, compared
from budgetguard.reports.bill.facts import BilledCell, BillSide, BooksSide
from budgetguard.reports.bill.pricing import DAY_MS, day_ms
from budgetguard.reports.bill.reasons import REASONS, reasons_of
from budgetguard.reports.bill.reconcile import reconcile, span_of
from budgetguard.reports.bill.said import sentences
from budgetguard.reports.shown.bill import Reconciled
from budgetguard.reports.written import in_json
from budgetguard.stores import open_store
from tests.support.billing import BillServer, recorded

MINI, DATED = "gpt-4o-mini", "gpt-4o-mini-2024-07-18"
DAY = "2026-10-05"
NOW = day_ms("2026-11-15")
OCTOBER = (day_ms("2026-10-01"), day_ms("2026-11-01"))
BOOK = PriceBook()
DOLLAR = 10**9
MILLION = 10**6
"""Of gpt-4o-mini: a million tokens of input are 15 cents, of output 60."""


def call(read: int = MILLION, wrote: int = MILLION, cost: int | None = None, **more: Any) -> Entry:
    """An entry of gpt-4o-mini on the day."""
    worth = (read * 150 + wrote * 600) if cost is None else cost
    fields = {"at_ms": day_ms(more.pop("day", DAY)) + 1000, "provider": "openai", "model": MINI, **more}
    usage = fields.pop("usage", {"input_tokens": read, "output_tokens": wrote})
    return Entry(f"call-{random.random()}", worth, usage=usage, **fields)


def billed(dollars: float, model: str = DATED, day: str = DAY, **more: Any) -> BillLine:
    """A line of a model."""
    return BillLine(day, more.pop("item", f"{model}, input"), round(dollars * DOLLAR) * ATTO_PER_NANO, model, **more)


def used(read: int = MILLION, wrote: int = MILLION, calls: int = 1, **more: Any) -> BillUsage:
    """What the provider counted of gpt-4o-mini on the day."""
    usage = {"input_tokens": read, "output_tokens": wrote}
    return BillUsage(more.pop("day", DAY), more.pop("model", DATED), more.pop("usage", usage), calls, **more)


def shown(entries: list[Entry], lines: list[BillLine], counted: list[BillUsage], **more: Any) -> Reconciled:
    """The comparison."""
    span = BillSpan(*OCTOBER, more.pop("now_ms", NOW))
    source = source_named(more.pop("provider", "openai"))
    return compared(source, more.pop("book", BOOK), entries, ProviderBill(tuple(lines), tuple(counted)), span)


def why(*given: Any, **more: Any) -> Mapping[str, int]:
    """The reasons, after they were added up."""
    found = shown(*given, **more)
    for line in (found.total, *found.models, *found.days, *found.cells):
        assert sum(line.reasons.values()) == line.difference == line.bill_cost - line.books_cost
    for lines in (found.models, found.days, found.cells):
        assert sum(line.difference for line in lines) == found.total.difference
    return found.total.reasons


def test_the_same_on_both_sides_is_no_difference():
    """A dated name on the bill and an alias in the books are one model."""
    found = shown([call()], [billed(0.75)], [used()])

    assert found.total.difference == 0
    assert [line.model for line in found.models] == [MINI]
    assert found.within(0.0)


def test_a_call_that_went_round_is_not_guarded():
    """The reason for which this command is there: somebody's script has the key, and no budget."""
    assert why([call()], [billed(1.50)], [used(2 * MILLION, 2 * MILLION, calls=2)]) == {"not guarded": 750_000_000}


def test_where_the_provider_counts_no_requests_its_tokens_tell_who_went_round():
    """Anthropic's report has none; the tokens in the books are its own, from each answer."""
    assert why([call()], [billed(1.50)], [used(2 * MILLION, 2 * MILLION, calls=0)]) == {"not guarded": 750_000_000}
    assert why([call(), call()], [billed(0.75)], [used(calls=0)]) == {"not on the bill": -750_000_000}


def test_a_model_that_the_books_do_not_have_is_not_guarded():
    """Also where only its cost is known."""
    assert why([], [billed(0.25, "gpt-4o-2024-08-06")], []) == {"not guarded": 250_000_000}


def test_what_only_the_books_have_is_not_on_the_bill():
    """Another account's key was used, or the provider forgave it."""
    assert why([call(), call()], [billed(0.75)], [used(calls=1)]) == {"not on the bill": -750_000_000}
    assert why([call()], [], []) == {"not on the bill": -750_000_000}


def test_a_day_that_may_not_be_billed_yet_is_no_fault():
    """Costs come late: else the command would fail each morning."""
    found = shown([call(day="2026-10-31")], [], [], now_ms=day_ms("2026-11-01") + 3600 * 1000)

    assert found.total.reasons == {"not on the bill yet": -750_000_000}
    assert found.within(0.01)
    assert found.days[0].pending


def test_an_estimate_is_replaced_by_the_tokens_on_the_bill():
    """A stream that was left is booked at what it can have cost: the bill says less."""
    guess = call(0, 0, cost=800_000_000, usage={}, flags=frozenset({"estimated"}))

    assert why([call(), guess], [billed(1.50)], [used(2 * MILLION, 2 * MILLION, calls=2)]) == {"estimated": -50_000_000}


def test_a_hold_that_expired_is_told_apart_from_an_estimate():
    """One is a process that died, the other an answer without a usage."""
    guess = call(0, 0, cost=400_000_000, usage={}, flags=frozenset({"estimated"}))
    died = call(0, 0, cost=1_200_000_000, usage={}, flags=frozenset({"expired"}))

    found = why([guess, died], [billed(0.90)], [used(2 * MILLION, MILLION, calls=2)])
    assert found == {"estimated": -175_000_000, "expired": -525_000_000}


def test_estimates_do_not_hide_calls_that_went_round():
    """Only so many of the tokens that are over can be theirs."""
    guess = call(0, 0, cost=750_000_000, usage={}, flags=frozenset({"estimated"}))

    found = why([guess], [billed(3.00)], [used(4 * MILLION, 4 * MILLION, calls=4)])
    assert found == {"not guarded": 2_250_000_000}


def test_calls_at_no_price_are_worth_what_they_cost_now():
    """A model got its price after it was called: until then it was free in the books."""
    free = call(cost=0, flags=frozenset({"unpriced"}))

    assert why([free], [billed(0.75)], [used()]) == {"unpriced": 750_000_000}


def test_a_model_without_a_price_is_unpriced():
    """There is nothing to compare its tokens by."""
    entry = Entry("x", 0, at_ms=day_ms(DAY) + 1, provider="openai", model="new", flags=frozenset({"unpriced"}))

    assert why([entry], [billed(0.75, "new")], [used(model="new")]) == {"unpriced": 750_000_000}


def test_tokens_that_the_provider_counted_otherwise_differ():
    """As many requests, and other tokens: a usage that we read wrongly."""
    assert why([call()], [billed(0.90)], [used(2 * MILLION, MILLION)]) == {"tokens differ": 150_000_000}


def test_the_same_tokens_at_another_price_are_a_price_that_differs():
    """A discount, a surcharge, a price that is old."""
    assert why([call()], [billed(0.60)], [used()]) == {"price differs": -150_000_000}


def test_tokens_in_another_tier_are_told_as_that():
    """A batch is half of the price at OpenAI, and none of ours until it is declared."""
    assert why([call()], [billed(0.375)], [used(tier="batch")]) == {"tiers": -375_000_000}


def test_tools_are_compared_with_tools():
    """They have lines of their own on the bill, and are inside of a call's cost in the books."""
    search = call(usage={"input_tokens": MILLION, "output_tokens": MILLION, "web_searches": 2}, cost=770_000_000)
    fee = BillLine(DAY, "web search tool calls", 30_000_000 * ATTO_PER_NANO)
    found = shown([search], [billed(0.75), fee], [used()])

    assert found.total.reasons == {"tools and fees": 10_000_000}
    assert found.beside.items == (("web search tool calls", 30_000_000),)
    assert [(line.fees, line.books_cost) for line in found.cells] == [(True, 20_000_000), (False, 750_000_000)]


def test_what_names_no_model_stands_beside_the_fees_of_a_day():
    """An amount that was booked by hand is spent, whatever tools the calls of that day used; and a call is one call."""
    search = call(usage={"input_tokens": MILLION, "output_tokens": MILLION, "web_searches": 2}, cost=770_000_000)
    by_hand = call(usage={}, cost=5 * DOLLAR, model="", flags=("manual",))
    found = shown([search, by_hand], [billed(0.75)], [used()])

    assert found.total.books_cost == 5_770_000_000
    assert found.total.reasons == {"tools and fees": -5_020_000_000}
    assert found.total.books_calls == 2


def test_roundings_are_called_roundings():
    """Each call is rounded up; a bill is not."""
    entries = [call(1, 0, cost=151) for _ in range(20)]

    assert why(entries, [billed(0.000003)], [used(20, 0, calls=20)]) == {"rounding": -20}


def test_where_only_the_cost_is_known_nothing_is_made_up():
    """Minutes of sound have no tokens on the bill."""
    entry = Entry(
        "x", 5_000_000, at_ms=day_ms(DAY) + 1, provider="openai", model="whisper-1", usage={"audio_seconds": 50}
    )

    assert why([entry], [billed(0.006, "whisper-1")], []) == {"unexplained": 1_000_000}


def test_a_call_at_midnight_is_no_difference_of_its_model():
    """The provider counts when it was asked, the books when it was answered: two reasons on two days, none in all."""
    found = shown([call(day="2026-10-06")], [billed(0.75)], [used()])

    assert found.total.reasons == {}
    assert [dict(line.reasons) for line in found.days] == [
        {"not guarded": 750_000_000},
        {"not on the bill": -750_000_000},
    ]


def test_other_providers_are_left_out_and_nameless_calls_are_counted():
    """Azure's gpt-4o is on Azure's bill. What was booked by hand names nobody."""
    hand = call(provider="", flags=frozenset({"manual"}))
    found = shown([hand, call(provider="azure"), call(provider="openai/eu", cost=825_000_000)], [], [])

    assert found.total.books_cost == 750_000_000 + 825_000_000
    assert found.beside.nameless == 1
    assert found.beside.marks == {"manual": 1}


def test_reasons_always_add_up():
    """Whatever both sides say: a reason that is lost would make the rest a lie."""
    chance = random.Random(7)

    def some() -> int:
        return chance.choice([0, 0, 1, chance.randrange(10**6), chance.randrange(10**12)])

    for _ in range(3_000):
        marks = {"estimated": some()}
        books = BooksSide(some(), some(), some(), some(), some(), chance.choice([0, 0, 1]), some(), 1, 1, marks)
        bill = BillSide(some(), some(), chance.choice([0, 0, 1]), some(), some(), some(), 1, 1)
        cell = BilledCell(DAY, chance.choice(["", "m"]), books, bill, pending=chance.random() < 0.2)
        found = reasons_of([cell])
        assert sum(found.values()) == cell.difference
        assert set(found) <= set(REASONS)


# -- a discount --------------------------------------------------------------------------------------------------------


def month(factor: float, days: int = 5, **more: Any) -> tuple[list[BillLine], list[BillUsage]]:
    """Some days at a factor."""
    names = [f"2026-10-{day:02d}" for day in range(1, days + 1)]
    return [billed(0.75 * factor, day=day) for day in names], [used(day=day, **more) for day in names]


def test_a_factor_that_holds_for_every_day_and_model_is_a_discount():
    """15 % off, in all: the line for the price file is known, whoever called."""
    found = shown([], *month(0.85))

    assert found.factor is not None
    assert (found.factor.ppm, found.factor.days, found.factor.models) == (850_000, 5, (MINI,))
    assert str(found.factor.discount) == "0.15"


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        pytest.param(*month(0.85, days=2), id="too few days"),
        pytest.param(*month(1.0), id="no discount"),
        pytest.param(*month(0.5, tier="batch"), id="another tier"),
        pytest.param([*month(0.85)[0][:4], billed(0.75, day="2026-10-05")], month(0.85)[1], id="a day without it"),
        pytest.param(month(0.85)[0], [replace(each, usage={}) for each in month(0.85)[1]], id="no tokens"),
        pytest.param(
            [replace(line, atto=0) for line in month(0.85)[0][:1]] + month(0.85)[0][1:], month(0.85)[1], id="free"
        ),
    ],
)
def test_what_is_not_the_same_every_day_is_no_discount(lines, counted):
    """A line in the price file makes every call cheaper: budgets would hold less than is billed."""
    assert shown([], lines, counted).factor is None


def test_a_single_model_may_have_a_price_that_fell():
    """A discount counts for every model: those that are not on the bill would be held at less than they cost."""
    said = " ".join(sentences(shown([], *month(0.85))))

    assert f"of {MINI}, the only model: a price that fell" in said
    assert "all models alike" not in said


@pytest.mark.parametrize("cost", [0, -0.1])
def test_a_bill_that_is_paid_by_credits_is_neither_a_discount_nor_a_surcharge(cost):
    """A promotion ends; and prices that are put at nothing by then hold no call."""
    days = [f"2026-10-{day:02d}" for day in range(1, 6)]
    found = shown(
        [call(day=day) for day in days], [billed(cost, day=day) for day in days], [used(day=day) for day in days]
    )

    assert found.factor is None
    assert not any("times our prices" in text for text in sentences(found))


def test_a_bill_that_is_dearer_is_no_discount():
    """A surcharge is said, and no discount below 0 is written."""
    factor = shown([], *month(1.10)).factor

    assert factor is not None
    assert factor.shown == "1.1"
    assert factor.discount is None


# -- the whole of it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["openai", "anthropic", "openrouter"])
def test_a_recorded_bill_is_compared_over_a_socket(provider, tmp_path):
    """From the API's pages to the numbers, as JSON, with nothing in the books."""
    store = open_store(f"sqlite:///{tmp_path}/books.db", clock=lambda: NOW / 1000 - 20 * 86400)
    keys = dict.fromkeys(source_named(provider).keys, "key")
    with BillServer(recorded(provider)) as served:
        found = reconcile(store, BOOK, provider, month="2026-10", url=served.url, environ=keys)

    assert found.total.books_cost == 0
    assert found.total.bill_cost == found.total.difference == sum(found.total.reasons.values()) > 0
    assert '"reasons":{' in in_json(found)
    store.close()


def test_a_project_of_the_bill_can_be_compared_alone(tmp_path):
    """One project's keys are guarded, and others are somebody else's."""
    store = open_store(f"sqlite:///{tmp_path}/books.db", clock=lambda: NOW / 1000)
    keys = {"OPENAI_ADMIN_KEY": "key"}
    with BillServer(recorded("openai")) as served:
        found = reconcile(store, BOOK, "openai", month="2026-10", projects=["proj_gone"], url=served.url, environ=keys)

    assert found.beside.projects == (("proj_gone", 253_100_000),)
    store.close()


@pytest.mark.parametrize(
    ("given", "days"),
    [
        ((None, None, None), ("2026-11-01", "2026-11-15")),
        (("2026-10", None, None), ("2026-10-01", "2026-11-01")),
        (("2026-11", None, None), ("2026-11-01", "2026-11-15")),
        ((None, day_ms("2026-11-10") + 5, None), ("2026-11-10", "2026-11-15")),
        ((None, day_ms("2026-11-10"), day_ms("2026-11-12") + 1), ("2026-11-10", "2026-11-13")),
    ],
)
def test_the_time_is_whole_days_that_are_over(given, days):
    """Providers bill by days of UTC; a part of one is on no bill."""
    assert span_of(source_named("openai"), NOW + DAY_MS // 2, *given) == tuple(map(day_ms, days))


def test_on_the_first_of_a_month_the_last_one_is_meant():
    """The command is run by a cron job when a month is over."""
    first = day_ms("2026-11-01") + 1000
    assert span_of(source_named("openai"), first, None, None, None) == OCTOBER


@pytest.mark.parametrize(
    ("provider", "given"),
    [
        ("openai", ("2026-13", None, None)),
        ("openai", ("2026-12", None, None)),
        ("openai", ("2026-10", 5, None)),
        ("openai", (None, day_ms("2024-01-01"), None)),
        ("openrouter", ("2026-09", None, None)),
    ],
)
def test_a_time_that_cannot_be_compared_is_refused(provider, given):
    """Nothing on the bill would look as if nothing had been billed."""
    with pytest.raises(ConfigError):
        span_of(source_named(provider), NOW, *given)


def test_a_provider_without_a_bill_is_refused():
    """With those that there are."""
    with pytest.raises(ConfigError, match="openai, anthropic, openrouter"):
        source_named("mistral")


def test_a_manager_compares_its_own_books_at_its_own_prices(tmp_path, monkeypatch):
    """What a program sees is what the command prints."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "key")
    prices = {MINI: {"input": "0.30", "output": "1.20"}}
    manager = BudgetManager(
        "shop", store=f"sqlite:///{tmp_path}/books.db", prices=prices, clock=lambda: NOW / 1000, budgets=[]
    )
    manager.store.load(entries=[call(day="2026-10-01", cost=1_500_000_000)])
    with BillServer(recorded("openai")) as served:
        found = manager.reconcile("openai", since="2026-10-01", until="2026-10-02", url=served.url)
        whole = manager.reconcile("openai", "2026-10", url=served.url)

    line = next(each for each in found.models if each.model == MINI)
    assert (line.books_cost, line.bill_cost) == (1_500_000_000, 750_000_000)
    assert whole.since_ms == found.since_ms
    assert whole.beside.books_from == ""
    assert [text for text in sentences(found) if text.startswith("The bill is ")] != []
    manager.close()


def test_what_a_provider_names_cannot_command_a_terminal():
    """Models and items are the provider's texts, and a proxy's."""
    found = shown([], [billed(0.25, "gpt-\x1b[31m", item="x")], [])

    assert "\x1b" not in markdown(found, frozenset({"model"}))


def test_books_that_begin_later_than_the_bill_say_so(tmp_path):
    """What was pruned would look as if it had gone round."""
    store = open_store(f"sqlite:///{tmp_path}/books.db", clock=lambda: NOW / 1000)
    store.load(entries=[call(day="2026-10-20")])
    with BillServer(recorded("openai")) as served:
        found = reconcile(store, BOOK, "openai", month="2026-10", url=served.url, environ={"OPENAI_ADMIN_KEY": "key"})

    assert found.beside.books_from == "2026-10-20"
    assert "The books begin on 2026-10-20: what was before was pruned, or never booked." in sentences(found)
    store.close()


def on_a_page(bills: list[Any], day: str) -> dict[str, list[Any]]:
    """What a provider charged, as OpenAI's API tells it."""
    amount = {"value": sum(bill.amount for bill in bills) / DOLLAR, "currency": "usd"}
    counts = {name: sum(getattr(bill, name) for bill in bills) for name in ("input_tokens", "output_tokens")}
    cost = {"amount": amount, "line_item": f"{DATED}, output"}
    rows = [[cost], [{**counts, "model": DATED, "num_model_requests": len(bills)}], []]
    return {
        path: [{"data": [{"start_time": day_ms(day) // 1000, "results": row}], "has_more": False, "next_page": None}]
        for path, row in zip(recorded("openai"), rows, strict=True)
    }


@pytest.mark.provider(tokens=500, prices={MINI: ("0.15", "0.60")})
def test_a_real_call_past_the_guard_is_found_on_the_bill(provider, clock, tmp_path, monkeypatch):
    """From calls over sockets to the reason, with the provider's own bill in the form of its API."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "key")
    manager = BudgetManager("shop", store=f"sqlite:///{tmp_path}/books.db", clock=clock, budgets=[])
    for guarded in (True, False, True):
        if guarded:
            budgetguard.patch(manager)
        else:
            budgetguard.unpatch()
        with provider.client() as client:
            client.responses.create(model=MINI, input="hi")
    bills = provider.ledger
    clock.advance(3 * 86_400)
    with BillServer(on_a_page(bills, "2027-01-01")) as served:
        found = manager.reconcile("openai", "2027-01", url=served.url)

    assert found.total.books_cost == bills[0].amount + bills[2].amount
    assert found.total.reasons == {"not guarded": bills[1].amount}
    manager.close()
