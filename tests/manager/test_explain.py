"""`explain` says what the guard would say, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from budgetguard import Budget, BudgetExceededError, BudgetManager, Settings, UnpricedModelError
from budgetguard.adapters.openai import find
from budgetguard.budgets.steering.declared import declare
from budgetguard.calls import Endpoint
from budgetguard.errors import BudgetGuardError, ConfigError
from budgetguard.guards.scope import Scope
from budgetguard.guards.shells import Shell
from budgetguard.ledger import Account, Entry, Hold, RecordQuery, Wanted, new_id
from budgetguard.manager.explained.explanation import Explanation
from budgetguard.manager.explained.shown import BudgetSays
from budgetguard.prices.hosts import host_of
from budgetguard.testing import StoppedClock

DOLLAR = 10**9
PRICES = {"small": {"input": 1, "output": 2}, "large": {"input": 10, "output": 20, "max_output": 10_000}}
RULES = (
    Budget("free", 0.01, "daily", per=("user",), warn_at=(0.5, 0.9)),
    Budget("calls", 3, "rolling 1m", per=("user",), unit="requests"),
    Budget("team", 5, "monthly", match={"team": "search*"}, per=("team",), enforce="soft"),
    Budget("tokens", 100_000, "daily", unit="tokens"),
    Budget("places", 2, unit="parallel", per=("user",)),
    Budget("watched", 0.0001, "daily", enforce="observe"),
)
CHAT = find("POST", "/chat/completions")


@pytest.fixture
def books(url: str, clock: StoppedClock) -> Iterator[BudgetManager]:
    """Six rules, and a user with a budget of her own."""
    made = BudgetManager("shop", store=url, clock=clock, budgets=RULES, prices=PRICES)
    made.create_budget(1, "ann", "monthly")
    yield made
    made.close()


def spend(manager: BudgetManager, cost: int, tags: dict[str, str], *, held: bool = False, tokens: int = 10) -> None:
    """A call of this cost: settled, or under way."""
    store, now_ms = manager.store, manager.store.now_ms()
    accounts = list(manager.guard.coverage.cover(tags, now_ms).accounts)
    hold = Hold(new_id(), tuple([Account(each.key, end_ms=each.end_ms) for each in accounts]), cost, tags=tags)
    hold = hold._replace(units={"tokens": Wanted(tokens)})
    store.reserve(hold)
    if not held:
        store.settle(hold, Entry(hold.id, cost, tags=tags, units={"tokens": tokens}))


def decided(manager: BudgetManager, tags: dict[str, str], body: dict[str, Any]) -> BudgetGuardError | None:
    """What the guard itself says to such a call, which is then taken back."""
    assert isinstance(CHAT, Endpoint)
    charge = manager.guard.charge(CHAT, body, (), None, Scope(tags), host=host_of("api.openai.com"))
    try:
        if not charge.admitted(blocks=True):
            Shell().run(charge.admit())
    except BudgetGuardError as error:
        return error
    finally:
        charge.failed(free=True)
        Shell().run(charge.close())
    return None


def dump(manager: BudgetManager) -> list[Any]:
    """All that a store has."""
    store = manager.store
    kinds = ("change", "refusal", "alert", "sum")
    records = [list(store.noted(RecordQuery(kind))) for kind in kinds]
    return [list(store.accounts()), list(store.all_terms()), store.holds(), list(store.entries()), records]


def said_by(found: Explanation) -> dict[str, BudgetSays]:
    """What each budget says, by its name."""
    return {each.name: each for each in found.budgets}


CALLS = [
    ("small", 100, 100),
    ("small", 4_000, 2_500),
    ("large", 200, 300),
    ("large", 90_000, 9_000),
    ("small", 5, None),
]


@pytest.mark.parametrize("model, size, cap", CALLS)  # noqa: PT006
@pytest.mark.parametrize("spent", [0, 4_000_000, 9_990_000, 5 * DOLLAR])
@pytest.mark.parametrize("held", [0, 5_990_000])
def test_it_says_what_the_guard_then_says_to_the_letter(
    books: BudgetManager, model: str, size: int, cap: int | None, spent: int, held: int
) -> None:
    """An explanation that differs from the decision is worse than none."""
    tags = {"user": "ann", "team": "search-1"}
    for cost, under_way in ((spent, False), (held, True)):
        if cost:
            spend(books, cost, tags, held=under_way)
    text = "word " * size
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if cap is not None:
        body["max_completion_tokens"] = cap

    found = books.explain("ann", {"team": "search-1"}, model=model, text=text, output_tokens=cap)
    error = decided(books, tags, body)

    assert (found.refusal, found.fits) == ("" if error is None else str(error), error is None)
    if isinstance(error, BudgetExceededError):
        first = next(each for each in found.budgets if not each.fits)
        assert first.budget == error.budget
        assert found.room_in_s == error.retry_after_s
    else:
        assert all(each.fits for each in found.budgets)


def test_nothing_is_held_or_written(books: BudgetManager) -> None:
    """It is asked of books that others spend from, by whoever is curious."""
    spend(books, 1_000, {"user": "ann", "team": "search"}, held=True)
    books.pause("team/search")
    before = dump(books)

    for model in (None, "small", "large", "nobody-knows-it"):
        for user in (None, "ann", "bob"):
            books.explain(user, {"team": "search"}, model=model, input_tokens=None if model is None else 10)

    assert dump(books) == before


def test_budgets_come_in_the_order_in_which_they_are_asked(books: BudgetManager) -> None:
    """The first that has no room is the one whose name the refusal has."""
    found = books.explain("ann", {"team": "search"}, model="small", input_tokens=10, output_tokens=10)

    assert [each.name for each in found.budgets] == [
        "free/ann", "calls/ann", "team/search", "tokens", "places/ann", "watched", "users/ann"
    ]  # fmt: skip


def test_a_call_is_projected_at_its_input_output_and_price(books: BudgetManager) -> None:
    """People can check it: a million tokens in cost a dollar, and out two."""
    found = books.explain("ann", model="small", input_tokens=2_000, output_tokens=500)
    it = found.projected

    assert it is not None
    assert (it.input_cost, it.output_cost, it.cost) == (2_000_000, 1_000_000, 3_000_000)
    assert (it.input_price, it.output_price, it.stated) == (DOLLAR, 2 * DOLLAR, True)
    assert said_by(found)["tokens"].wanted == 2_500
    assert said_by(found)["calls/ann"].wanted == said_by(found)["places/ann"].wanted == 1


def test_a_budget_says_why_not_and_when_there_is_room_again(books: BudgetManager, clock: StoppedClock) -> None:
    """Whoever was refused asks just that. A rolling budget gives back what its oldest bucket took, a minute later."""
    for _ in range(3):
        spend(books, 1_000_000, {"user": "ann"})
    clock.advance(30)

    found = books.explain("ann", model="small", input_tokens=10, output_tokens=10)
    assert said_by(found)["calls/ann"].why == "1 request needed, 0 requests left"
    assert found.room_in_s == pytest.approx(30, abs=3)

    says = said_by(books.explain("ann", model="small", input_tokens=8_000, output_tokens=10))
    assert says["free/ann"].why == "$0.00802 needed, $0.007 left"
    assert says["free/ann"].room_at_ms == says["free/ann"].resets_ms
    assert says["watched"].fits


def test_it_tells_who_would_be_told(books: BudgetManager) -> None:
    """Half of ann's day is reached by this call, nine tenths are not."""
    spend(books, 4_000_000, {"user": "ann"})
    found = books.explain("ann", model="small", input_tokens=2_000, output_tokens=10)

    assert said_by(found)["free/ann"].warns == (0.5,)
    assert "past 50 % of its limit: log would be told" in repr(found)


def test_what_is_not_touched_says_which_of_its_conditions_failed(books: BudgetManager) -> None:
    """A budget that silently does not hold is what people look for."""
    why = {each.budget: each.why for each in books.explain(tags={"team": "sales"}).untouched}

    assert why == {
        "free": "it counts by user, and the call has no tag 'user'",
        "calls": "it counts by user, and the call has no tag 'user'",
        "places": "it counts by user, and the call has no tag 'user'",
        "team": "it is for team=search*, and the call has team=sales",
        "users": "the call names no user",
    }
    others = {each.budget: each.why for each in books.explain("bob").untouched}
    assert others == {
        "team": "it is for team=search*, and the call has no tag 'team'",
        "users": "bob has no budget of their own",
    }


def test_what_people_changed_is_told_of_each_budget(books: BudgetManager) -> None:
    """A limit that is not the rule's needs its reason beside it."""
    books.top_up("free/ann", 1, note="demo", by="kim")
    books.raise_budget("team", 50, until="2h", by="kim")
    books.pause("ann", note="incident 12", by="kim")
    found = books.explain("ann", {"team": "search"}, model="small", input_tokens=10, output_tokens=10)
    says = said_by(found)

    assert (says["free/ann"].limit, says["free/ann"].rule_limit) == (DOLLAR + 10_000_000, 10_000_000)
    assert says["free/ann"].steered == ("$1.00 was added until 2027-01-02 00:00 UTC",)
    assert says["team/search"].steered == ("its limit was set to $50.00 until 2027-01-01 14:00 UTC",)
    assert (says["users/ann"].paused, says["users/ann"].why) == (True, "paused by kim (incident 12)")
    assert found.refusal == (
        "users/ann is paused by kim (incident 12): resume it with `budgetguard budget resume users/ann`"
    )


def test_rules_that_programs_declared_count_where_this_one_has_none(url: str, clock: StoppedClock) -> None:
    """The command line has no rules of its own: they are in the store."""
    manager = BudgetManager("shop", store=url, clock=clock, budgets=(), prices=PRICES)
    declare(manager.store, RULES)
    found = manager.explain("ann", model="large", input_tokens=10, output_tokens=1_000)

    assert "free: call projected at" in found.refusal.replace("free/ann/2027-01-01", "free")
    assert not found.fits
    manager.close()


def test_other_models_are_tried_in_their_order(clock: StoppedClock) -> None:
    """As the guard would: one that does not fit, or has no price, is said, and the first that fits is asked."""
    rule = Budget("day", 0.01, "daily", fallback=("nobody", "middle", "small"))
    prices = {**PRICES, "middle": {"input": 5, "output": 20}}
    manager = BudgetManager("shop", store="memory://", clock=clock, budgets=[rule], prices=prices)
    found = manager.explain(model="large", input_tokens=500, output_tokens=1_000)

    assert [(each.model, each.fits) for each in found.instead] == [
        ("nobody", False), ("middle", False), ("small", True)
    ]  # fmt: skip
    assert (found.fits, found.model, found.refusal) == (True, "small", "")
    assert "passes, with small in the place of large" in repr(found)

    found = manager.explain(model="large", input_tokens=20_000, output_tokens=1_000)
    assert not found.fits
    assert "small in its place: refused by day" in found.refusal
    manager.close()


def test_a_budget_near_its_limit_has_another_model_asked_at_once(clock: StoppedClock) -> None:
    """Its own would still fit, and is not asked."""
    rule = Budget("day", 1, "daily", fallback="small", degrade_at=0.5)
    manager = BudgetManager("shop", store="memory://", clock=clock, budgets=[rule], prices=PRICES)
    assert manager.explain(model="large", input_tokens=10, output_tokens=10).model == "large"

    spend(manager, 600_000_000, {})
    assert manager.explain(model="large", input_tokens=10, output_tokens=10).model == "small"
    manager.close()


@pytest.mark.parametrize(("unpriced", "fits"), [("refuse", False), ("count", True), ("assume", True)])
def test_a_model_without_a_price_is_what_the_settings_say(unpriced: Any, fits: bool) -> None:
    """Refused, passed as nothing, or held at the dearest: and it is said which."""
    rule = Budget("day", 1000, "daily")
    manager = BudgetManager("shop", store="memory://", budgets=[rule], settings=Settings(unpriced=unpriced))
    found = manager.explain(model="nobody-knows-it", input_tokens=10, output_tokens=10)

    assert found.fits is fits
    assert found.projected is not None
    assert (found.projected.cost is None) == (unpriced != "assume")
    if unpriced == "refuse":
        assert said_by(found)["day"].why == "no price of the model is known, and the budget has to know it"
        assert isinstance(decided(manager, {}, {"model": "nobody-knows-it", "messages": []}), UnpricedModelError)
    else:
        assert len(found.notes) == 1
    manager.close()


def test_a_stated_cap_that_would_be_lowered_is_said(clock: StoppedClock) -> None:
    """The answer ends early, though the call passes: whoever asks is not to learn it from an answer."""
    rule, settings = Budget("day", 0.01, "daily"), Settings(stated_caps="lower")
    manager = BudgetManager("shop", store="memory://", clock=clock, budgets=[rule], prices=PRICES, settings=settings)
    found = manager.explain(model="small", input_tokens=10, output_tokens=20_000)

    assert found.fits
    assert found.projected is not None
    assert found.projected.cap is not None
    assert f"the answer would be capped at {found.projected.cap:,} tokens" in repr(found)
    roomy = manager.explain(model="small", input_tokens=10, output_tokens=100)
    assert roomy.projected is not None
    assert roomy.projected.cap is None
    manager.close()


def test_users_have_to_be_known_where_the_settings_say_so(clock: StoppedClock) -> None:
    """The first thing that a call of a stranger fails at."""
    manager = BudgetManager("shop", store="memory://", clock=clock, settings=Settings(users="known"), prices=PRICES)
    manager.create_budget(1, "ann")

    assert manager.explain("ann", model="small", input_tokens=10).fits
    assert "user 'eve' has no budget" in manager.explain("eve", model="small", input_tokens=10).refusal
    manager.close()


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"input_tokens": 5}, "model is missing"),
        ({"model": "small"}, "say what the call sends"),
        ({"model": "small", "text": "hi", "input_tokens": 5}, "say what the call sends"),
        ({"model": "small", "input_tokens": -5}, "input_tokens=-5"),
        ({"user": ""}, "user"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    manager: BudgetManager, asked: dict[str, Any], complaint: str
) -> None:
    """A projection of a call that nobody described would be made up."""
    with pytest.raises(ConfigError, match=complaint):
        manager.explain(**asked)
