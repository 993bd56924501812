"""
How much output a call gets that states no cap: what nobody else needs, and never less than is useful.

Answers have lengths as those of models have, drawn from a generator that is seeded; the guard is asked alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard import Budget, BudgetBusyError, BudgetExceededError
from budgetguard.adapters import openai as adapter
from budgetguard.budgets.crowds import MANY, Crowd
from budgetguard.calls import Answer
from budgetguard.guards.charge import Charge
from budgetguard.guards.guard import Guard
from budgetguard.guards.scope import Scope
from budgetguard.ledger import Account
from budgetguard.money import DOLLAR
from budgetguard.prices.hosts import host_of
from budgetguard.prices.useful import least_useful
from budgetguard.process.family.file import FAMILY
from budgetguard.process.tally import Tally
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing import StoppedClock

MODELS = {"gpt-4o-mini": 500, "gpt-4o": 500, "gpt-5": 1_500}
"""What half of their answers here take at most."""

OPENAI = host_of("api.openai.com")
CHAT = adapter.find("POST", "/chat/completions")
MESSAGES = [{"role": "user", "content": "count the money"}]


def guard_of(store: MemoryStore | None = None, **rule: Any) -> Guard:
    """A guard with one rule for all, or, without one, for the limits of scopes."""
    clock = StoppedClock()
    if not rule:
        return Guard(clock=clock)
    return Guard(store or MemoryStore(clock=clock), budgets=[Budget("team", **rule)], clock=clock)


def limited(dollars: float) -> Scope:
    """A scope with a limit of its own."""
    return Scope(tallies=(Tally(Account("scope//all", round(dollars * DOLLAR), share=MANY)),))


def begin(guard: Guard, model: str, scope: Scope | None = None, **stated: Any) -> Charge:
    """Admit a call, or raise."""
    assert CHAT is not None
    charge = guard.charge(CHAT, {"model": model, "messages": MESSAGES, **stated}, (), "openai", scope, host=OPENAI)
    try:
        if not charge.admitted(blocks=True):
            guard.shell.run(charge.admit())
    except BudgetExceededError:
        guard.shell.run(charge.close())
        raise
    return charge


def cap(charge: Charge) -> int:
    assert charge.bounds.cap is not None
    return charge.bounds.cap


def end(guard: Guard, charge: Charge, wanted: int) -> bool:
    """Answer a call with as much as the model wants to write, and settle it; whether a cap of ours cut it."""
    output = min(wanted, cap(charge))
    charge.observe(Answer(usage={"input_tokens": 10, "output_tokens": output}, cut=output < wanted))
    if not charge.closed(blocks=True):
        guard.shell.run(charge.close())
    return output < wanted and charge.bounds.capped


def lengths(median: int, spread: float = 0.8, seed: int = 7) -> Iterator[int]:
    """Lengths of answers: many are short, and a few very long."""
    drawn = random.Random(seed)
    while True:
        yield int(drawn.lognormvariate(math.log(median), spread)) + 1


def batch(guard: Guard, model: str, scope: Scope | None, answers: Iterator[int]) -> tuple[list[int], int]:
    """One call after the other until one is refused: what each got, and how many answers were cut."""
    caps, cuts = [], 0
    while True:
        try:
            charge = begin(guard, model, scope)
        except BudgetBusyError:
            raise
        except BudgetExceededError:
            return caps, cuts
        caps.append(cap(charge))
        cuts += end(guard, charge, next(answers))


# -- one call at a time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(("model", "dollars"), [(model, dollars) for model in MODELS for dollars in (0.05, 0.50, 5)])
def test_a_batch_is_cut_at_its_end_only(model, dollars, stored):
    """Nobody else is calling: what is left is there for the answer that comes, until it is spent."""
    median = MODELS[model] * (12 if model == "gpt-4o-mini" and dollars == 5 else 1)
    for seed in range(1 if dollars == 5 else 4):
        guard = guard_of(limit=dollars) if stored else guard_of()
        scope = None if stored else limited(dollars)
        caps, cuts = batch(guard, model, scope, lengths(median, seed=seed))

        assert cuts <= 3
        assert len(caps) >= dollars / 0.05
        assert min(caps) >= least_useful(model).last


def test_the_first_answers_of_a_batch_are_not_cut():
    """Before anything was seen, and while there is plenty, a call that is alone gets what answers usually take."""
    guard = guard_of(limit=0.50)

    assert [end(guard, begin(guard, "gpt-4o"), wanted) for wanted in (900, 2_000, 4_000)] == [False] * 3


def test_a_dime_is_enough_for_the_longest_answer_of_a_small_model():
    """The first thing that a new user does, as the README has it, is not cut."""
    guard = guard_of()
    charge = begin(guard, "gpt-4o-mini", limited(0.10))

    assert cap(charge) == 16_384
    assert not charge.bounds.capped
    assert not end(guard, charge, 16_384)


def test_an_answer_that_was_cut_is_learnt_from():
    """Else a model whose answers are all long would have every one of them cut."""
    guard = guard_of(limit=0.30)
    cuts = [end(guard, begin(guard, "gpt-4o"), 5_000) for _ in range(4)]

    assert sum(cuts[2:]) == 0


def test_a_model_that_reasons_is_never_paid_for_thinking_alone():
    """An answer that is cut in its thinking is empty: less than 2,048 tokens are refused, and the caller hears why."""
    guard = guard_of()
    scope = limited(0.10)
    assert not end(guard, begin(guard, "gpt-5", scope), 3_000)

    caps, _ = batch(guard, "gpt-5", scope, lengths(1_000))
    with pytest.raises(BudgetExceededError, match="2,048 output tokens, the least useful answer of this model"):
        begin(guard, "gpt-5", scope)

    assert caps
    assert min(caps) >= 2_048


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("gpt-5", 2_048),
        ("openai/gpt-5.2-mini-2026-01-01", 2_048),
        ("o3", 2_048),
        ("deepseek-reasoner", 2_048),
        ("gemini-2.5-pro", 2_048),
        ("gpt-oss-120b", 2_048),
        ("gpt-5-chat-latest", 128),
        ("gpt-4o", 128),
        ("gpt-4o-mini", 128),
        ("gemini-2.5-flash-lite", 128),
        ("claude-haiku-4-5", 128),
        ("somebody's own", 128),
    ],
)
def test_the_least_useful_answer_is_that_of_the_model(model, least):
    """A table with a source for each row, and a last row for all that are not in it."""
    assert least_useful(model).least == least


def test_what_fits_a_stated_cap_is_not_refused_for_being_short():
    """Whoever states a cap knows what is useful."""
    guard = guard_of(limit=0.001)
    with pytest.raises(BudgetExceededError):
        begin(guard, "gpt-5")

    charge = begin(guard, "gpt-5", max_completion_tokens=20)
    assert charge.state == "sent"
    charge.abandon()


# -- many at once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("before", [0, 30])
@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4o"])
def test_fifty_calls_at_once_find_room_in_a_dollar(model, before, stored):
    """The first of a burst does not know of the others, even after a batch that made one call at a time."""
    guard = guard_of(limit=1) if stored else guard_of()
    scope = None if stored else limited(1)
    for wanted, _ in zip(lengths(100), range(before), strict=False):
        end(guard, begin(guard, model, scope), wanted)

    charges = [begin(guard, model, scope) for _ in range(50)]

    assert min(map(cap, charges)) >= 500
    for charge in charges:
        assert end(guard, charge, 400) is False


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scope], Scope]:
    """Have other processes count on the limit of a scope, too, in a file that is made for the test."""
    monkeypatch.setattr(FAMILY, "_own", None)

    def share(scope: Scope) -> Scope:
        FAMILY.share(scope.tallies[0])
        return scope

    return share


@pytest.mark.parametrize("where", ["store", "scope", "shared scope"])
def test_a_burst_of_ones_own_is_not_taken_for_others_that_were_there_before(where, shared):
    """The store's sum has one's own calls in it: after long answers, each would take what others need."""
    guard = guard_of(limit=1) if where == "store" else guard_of()
    scope = {"store": lambda: None, "scope": lambda: limited(1), "shared scope": lambda: shared(limited(1))}[where]()
    for _ in range(10):
        end(guard, begin(guard, "gpt-4o", scope), 1_500)

    charges = [begin(guard, "gpt-4o", scope) for _ in range(50)]

    assert min(map(cap, charges)) >= 500
    for charge in charges:
        charge.abandon()


@pytest.mark.parametrize("in_flight", [1, 4, 100])
def test_what_was_stated_holds_where_processes_share(in_flight, shared):
    """A program that forks has the same statement made for it as before."""
    tally = Tally(Account("scope//all", DOLLAR, share=MANY), in_flight)
    guard, scope = guard_of(), shared(Scope(tallies=(tally,)))
    charges = [begin(guard, "gpt-4o", scope) for _ in range(in_flight)]
    held = charges[0].held.amount

    assert held == min(held, DOLLAR // in_flight)
    assert {charge.held.amount for charge in charges} == {held}
    for charge in charges:
        end(guard, charge, 1)
    assert not tally.crowd.parts


def test_only_a_call_that_is_alone_takes_the_last_of_a_shared_limit(shared):
    """Of a pool's workers, each of the last would be paid for an answer of a few words."""
    guard, scope = guard_of(), shared(limited(10))
    flight = begin(guard, "gpt-4o", scope)
    scope.tallies[0].account = Account("scope//all", flight.held.amount + DOLLAR // 1_000, share=MANY)

    with pytest.raises(BudgetBusyError, match="128 output tokens"):
        begin(guard, "gpt-4o", scope)
    flight.abandon()


def test_calls_that_are_made_by_few_threads_share_by_these():
    """Four workers are four, and not fifty: each has its part of the room, with as much again for others."""
    guard = guard_of(limit=0.40)
    answers = lengths(300)
    flight = [begin(guard, "gpt-4o") for _ in range(4)]
    caps = []
    for _ in range(60):
        end(guard, flight.pop(0), next(answers))
        flight.append(begin(guard, "gpt-4o"))
        caps.append(cap(flight[-1]))
    for charge in flight:
        charge.abandon()

    assert min(caps[20:]) >= 1_000


def test_users_do_not_share_with_each_other_what_each_has_alone():
    """Fifty users at once, each with a dime of his own: nobody's answer is cut because others are calling."""
    guard = guard_of(limit=0.10, per=("user",))
    charges = [begin(guard, "gpt-4o", Scope(tags={"user": f"user {number}"})) for number in range(50)]

    assert min(map(cap, charges)) >= 1_000
    for charge in charges:
        charge.abandon()


@pytest.mark.parametrize("in_flight", [1, 4, 100])
def test_what_was_stated_holds(in_flight):
    """Whoever knows how many calls there will be is believed, whatever was seen."""
    guard = guard_of(limit=1, in_flight=in_flight)
    charges = [begin(guard, "gpt-4o") for _ in range(in_flight)]
    [held] = {charge.held.amount for charge in charges}

    assert held == min(charges[0].held.amount, DOLLAR // in_flight)
    for charge in charges:
        end(guard, charge, 1)


def test_calls_of_other_processes_are_seen_in_the_store():
    """A process that has one call in flight is not alone for that: each of many would take what is left."""
    store = MemoryStore(clock=StoppedClock())
    processes = [guard_of(store, limit=1) for _ in range(16)]
    for _ in range(3):
        charges = [begin(guard, "gpt-4o") for guard in processes]
        for guard, charge in zip(processes, charges, strict=True):
            end(guard, charge, 200)


def test_a_burst_is_forgotten():
    """Else one busy minute would have answers cut for the rest of the day."""
    crowd = Crowd()
    for number in range(50):
        crowd.join(f"{number}", 1)
    crowd.parts.clear()

    def alone() -> int:
        part = crowd.join("a", 1)
        crowd.parts.clear()
        return part

    parts = [alone() for _ in range(200)]
    assert parts[0] == MANY
    assert parts[-1] == 4


def test_a_forked_child_has_no_calls_of_its_parents():
    """They are the parent's, and end there."""
    crowd = Crowd()
    for number in range(9):
        crowd.join(f"{number}", 1)
    crowd.join("the child's", 2)

    assert list(crowd.parts) == ["the child's"]


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_a_call_leaves_the_crowd_however_it_ends(kind, shared):
    """A call that stays in there would have others cut for ever."""
    guard = guard_of(limit=0.05)
    own = limited(0.05)
    [crowd] = guard.coverage.cover({}).crowds.values()
    crowds: Sequence[Crowd] = (crowd, own.tallies[0].crowd)
    if kind == "shared":
        shared(own)

    def fail(charge: Charge) -> None:
        charge.failed(free=True)
        guard.shell.run(charge.close())

    ends: list[Callable[[Charge], object]] = [
        lambda charge: end(guard, charge, 50),
        fail,
        lambda charge: charge.abandon(),
    ]
    for ended in ends:
        charge = begin(guard, "gpt-4o", own)
        assert [len(each.parts) for each in crowds] == [1, 1]
        ended(charge)
        assert [len(each.parts) + len(each.holds) for each in crowds] == [0, 0]
    with pytest.raises(BudgetExceededError):
        begin(guard, "gpt-4o", limited(0.00001))
    assert [len(each.parts) for each in crowds] == [0, 0]


MOVES = st.lists(
    st.tuples(st.sampled_from(["gpt-4o", "gpt-4o-mini", "gpt-5"]), st.integers(1, 9_000), st.integers(0, 8)),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(MOVES, st.sampled_from([0.03, 0.1, 1]), st.sampled_from([0.02, 0.5]))
def test_what_is_settled_and_held_never_passes_the_limit(moves, store_limit, scope_limit):
    """However rooms are shared, the promise stays: on the books, and in the scope."""
    guard, scope = guard_of(limit=store_limit), limited(scope_limit)
    flight: list[tuple[Charge, int]] = []
    assert guard.store is not None
    for model, wanted, ends in moves:
        try:
            flight.append((begin(guard, model, scope), wanted))
        except BudgetExceededError:
            ends = len(flight)
        for charge, length in flight[:ends]:
            end(guard, charge, length)
        del flight[:ends]
        for account, balance in guard.balances({}, scope):
            assert account.limit is not None
            assert balance.settled + balance.held <= account.limit
    for charge, length in flight:
        end(guard, charge, length)
    assert guard.store.check() == []
    assert guard.store.holds() == []
