"""A plan that was kept is what would be worked out now, whatever happened in between."""

from __future__ import annotations

import sys
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard import Budget, PriceBook
from budgetguard.budgets.accounts import NO_COVER, Coverage
from budgetguard.budgets.rules import UserBudget, terms_key
from budgetguard.calls import Call
from budgetguard.guards.costs.projection import Projection, plain_wish
from budgetguard.guards.costs.sharing import shared
from budgetguard.guards.plan import MOST_PLANS, CallPlan, Plans
from budgetguard.ledger import Stale, Terms
from budgetguard.money import Money
from budgetguard.process.tally import Held

START_S = 1_790_000_000.0
USERS = ("ann", "bob")
MODELS = ("a-model", "gpt-4o-mini", "nobody-knows-it", "free-model")
BUDGETS = (
    Budget("team", 5, "daily", match={"team": "x*"}),
    Budget("each", "0.5", "rolling 1m", per=("user",), enforce="soft"),
    Budget("all", 100, "monthly", lease=True),
)


class World:
    """A clock, prices and budgets that change, and the plans that are kept meanwhile."""

    def __init__(self) -> None:
        self.now_s = START_S
        self.prices = PriceBook(overrides={"a-model": {"input": 1, "output": 2}}, clock=lambda: self.now_s)
        self.prices.add("free-model", free=True)
        self.coverage = Coverage(BUDGETS, lambda: self.now_s)
        self.plans = Plans(self.prices, self.coverage, stored=True)
        self.versions = dict.fromkeys(USERS, 0)

    def anew(self, provider: str | None, call: Call, tags: dict[str, str]) -> CallPlan:
        """The plan by rules, terms and prices that nothing was looked up in before."""
        coverage = Coverage(BUDGETS, lambda: self.now_s)
        coverage.skew_ms = self.coverage.skew_ms
        coverage._users = dict(self.coverage._users)
        return Plans(self.prices, coverage, stored=True).compile(provider, call, coverage.cover(tags))

    def learn(self, user: str, dollars: int | None) -> None:
        self.versions[user] += 1
        rule = Budget("users", dollars, "daily", per=("user",))
        body = None if dollars is None else UserBudget(user, rule, 0, 0).to_text()
        self.coverage.learn(Stale(0, (Terms(terms_key(user), self.versions[user], body),)))


EVENTS = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([0.5, 3.0, 70.0, 50_000.0, 90_000.0, 3_000_000.0])),
    st.tuples(st.just("price"), st.sampled_from(MODELS), st.integers(1, 9)),
    st.tuples(st.just("learn"), st.sampled_from(USERS), st.none() | st.integers(1, 9)),
    st.tuples(st.just("clock"), st.integers(-100_000, 100_000)),
    st.tuples(st.just("tier"), st.sampled_from(MODELS), st.sampled_from(["priority", "flex"])),
)
CALLS = st.tuples(
    st.sampled_from([None, "openai", "azure"]),
    st.sampled_from(MODELS),
    st.sampled_from([None, "flex", "priority"]),
    st.sampled_from([(), ("gpt-4o",), ("nobody-knows-it",)]),
    st.sampled_from([{}, {"user": "ann"}, {"user": "bob", "team": "x1"}, {"team": "y"}]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(EVENTS, max_size=2), CALLS), min_size=2, max_size=12))
def test_a_plan_that_was_kept_is_what_is_worked_out_anew(story):
    """Time passes over the ends of periods, prices are declared and met, terms are learnt, users change."""
    world = World()
    for events, (provider, model, tier, others, tags) in story:
        for event in events:
            happen(world, *event)
        call = Call(model, texts=["hello"], tier=tier, others=others, cap="max_tokens")
        kept, anew = world.plans.find(provider, call, tags), world.anew(provider, call, tags)
        assert shown(kept, call) == shown(anew, call)


def happen(world: World, what: str, *said: Any) -> None:
    if what == "pass":
        world.now_s += said[0]
    elif what == "price":
        world.prices.add(said[0], input=said[1], output=said[1])
    elif what == "learn":
        world.learn(*said)
    elif what == "clock":
        world.coverage.learn(Stale(int(world.now_s * 1000) + said[0]))
    else:
        world.prices.meet("openai", *said)


def shown(plan: CallPlan, call: Call) -> Any:
    """All that a plan says of a call: accounts, terms, what it costs at most."""
    quotes = [plan.quote, *plan.others]
    costs = [quote and quote.cost({"input_tokens": 1_000, "output_tokens": 70}) for quote in quotes]
    limits = [quote and (quote.max_output, quote.context, quote.open, quote.free) for quote in quotes]
    wish = None if plan.quote is None else plain_wish(call, plan, hard=True, output_guess=8_192, held=Held("a", 1))
    error = None if plan.error is None else str(plan.error)
    return plan.cover, plan.counters, costs, limits, wish, error, plan.free, plan.unpriced, plan.flat


TEXTS = st.lists(st.text(max_size=40), max_size=3)
CAPS = st.none() | st.integers(0, 10**7)


@settings(max_examples=80, deadline=None)
@given(TEXTS, CAPS, CAPS, st.integers(1, 9), st.booleans(), st.booleans(), st.sampled_from(["a-model", "gpt-4o-mini"]))
def test_what_a_plain_call_is_held_at_is_what_its_projection_says(texts, cap, own, choices, hard, output, model):
    """The short way and the long way are one rule."""
    world = World()
    call = Call(
        model,
        texts=texts,
        overhead=7,
        choices=choices,
        max_output=cap,
        default_output=own,
        output=output,
        cap="max_tokens" if hard else None,
    )
    plan = world.plans.find("openai", call, {})
    assert plan.quote is not None
    projection = Projection(
        call, plan.quote, world.prices, provider="openai", output_guess=8_192, context_guess=100_000
    )
    held = Held("a", 1)
    projection.cuts = shared(held, plan.cover, plan.lately)
    assert plain_wish(call, plan, hard, 8_192, held) == projection.wish(hard)


def test_plans_are_bounded():
    """A gateway's users may name any model."""
    world = World()
    world.prices.add("any-*", input=1, output=1)
    for number in range(3 * MOST_PLANS):
        world.plans.find("openai", Call(f"any-{number}"), {"user": "ann"})
    assert len(world.coverage.cover({"user": "ann"}).plans) <= MOST_PLANS


def test_without_a_store_no_account_is_touched():
    """The limits of the process are no part of a plan: they belong to scopes."""
    world = World()
    plans = Plans(world.prices, world.coverage, stored=False)
    plan = plans.find(None, Call("a-model"), {"user": "ann"})
    assert plan.cover == NO_COVER
    assert plans.find(None, Call("a-model"), {"user": "bob"}) is plan
    assert Money(plan.quote.cost({"input_tokens": 3, "output_tokens": 1})) == Money(5_000)


def test_first_calls_of_two_threads_both_pass():
    """That calls begin is said once; whichever line the other thread comes in between at, no call fails for it."""
    world = World()
    for place in range(8):
        told: list[str] = []
        plans = Plans(world.prices, world.coverage, stored=True, begin=lambda told=told: told.append("begin"))
        cover, lines = world.coverage.cover({}), count()

        def other(frame: Any, event: str, _: Any) -> Any:
            if frame.f_code is not Plans.compile.__code__:
                return None
            if event == "line" and next(lines) == place:  # noqa: B023  # it is over by the next turn
                plans.compile(None, Call("a-model"), cover)  # noqa: B023
            return other

        before = sys.gettrace()
        sys.settrace(other)
        try:
            plans.compile(None, Call("a-model"), cover)
        finally:
            sys.settrace(before)
        assert told
