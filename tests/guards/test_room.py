"""A refusal says when there will be room: not sooner, so that nobody asks in vain, and not later than that."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from budgetguard import Budget, BudgetBusyError, BudgetExceededError, BudgetManager
from budgetguard.errors import StoreError
from budgetguard.ledger import Entry, Hold, new_id
from budgetguard.middleware.web.answers import answer_to

MODEL = "gpt-4o-mini"
MESSAGES: Any = [{"role": "user", "content": "hi"}]
TOKENS = 29
"""What a call is projected at, with 20 tokens of output."""

pytestmark = pytest.mark.provider(tokens=20, prices={MODEL: ("1", "2")})


def ask(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, "max_tokens": 20, **more})


def refused(client: Any) -> BudgetExceededError:
    with pytest.raises(BudgetExceededError) as caught:
        ask(client)
    return caught.value


def use(made: BudgetManager, rule: Budget, amount: int) -> None:
    account = rule.account({}, made.store.now_ms())
    assert account is not None
    entry = Entry(new_id(), 0, flags=frozenset({"manual"}), units={rule.unit: amount})
    made.store.settle(Hold(entry.hold_id, (account,), 0), entry)


@pytest.mark.parametrize(
    ("rule", "used", "then_s"),
    [
        (Budget("rpm", 3, "rolling 1m", unit="requests"), [1, 1, 1], 42.5),
        (Budget("rpm", 3, "rolling 1m", unit="requests"), [0, 1, 2], 52.5),
        (Budget("rpm", 3, "rolling 1m", unit="requests", enforce="soft"), [2, 1, 0], 42.5),
        (Budget("tpm", 60, "rolling 1m", unit="tokens"), [20, 20, 20], 52.5),
        (Budget("tpm", 60, "rolling 1m", unit="tokens"), [1, 1, 58], 62.5),
        (Budget("rpd", 3, "daily", unit="requests"), [1, 1, 1], 12 * 3600 - 20),
    ],
)
def test_room_is_there_when_it_was_said_and_no_sooner(url, clock, client, rule, used, then_s):
    """The oldest part of a minute leaves it first, and a large call needs more than one part to leave."""
    made = BudgetManager("room", store=url, budgets=[rule], clock=clock)
    with made:
        for amount in used:
            if amount:
                use(made, rule, amount)
            clock.advance(10)
        clock.advance(-10)
        error = refused(client)
        assert error.retry_after_s == then_s
        clock.advance(then_s - 0.001)
        assert refused(client).retry_after_s == pytest.approx(0.001)
        clock.advance(0.001)
        ask(client)
    made.close()


@pytest.mark.parametrize("rule", [Budget("all", 20, unit="tokens"), Budget("tpm", 20, "rolling 1m", unit="tokens")])
def test_where_there_will_never_be_room_nothing_is_said(url, clock, client, rule):
    """A budget for ever does not begin again, and what is larger than a limit does not fit into an empty minute."""
    made = BudgetManager("room", store=url, budgets=[rule], clock=clock)
    with made:
        error = refused(client)
    assert error.retry_after_s is None
    made.close()


def test_room_that_is_only_held_may_be_there_in_a_moment(url, clock, client):
    """A call in flight ends in about a second; and so says the answer of a web application."""
    made = BudgetManager("room", store=url, budgets=[Budget("tpm", 50, "rolling 1m", unit="tokens")], clock=clock)
    with made:
        stream = ask(client, stream=True)
        error = refused(client)
        stream.close()
    assert isinstance(error, BudgetBusyError)
    assert error.retry_after_s == 1
    assert answer_to(error).headers["retry-after"] == "1"
    made.close()


def test_a_refusal_travels_with_what_it_says(url, clock, client):
    """Through a pickle and a task queue's JSON, to whoever decides when to ask again."""
    rule = Budget("rpm", 1, "rolling 1m", unit="requests")
    made = BudgetManager("room", store=url, budgets=[rule], clock=clock)
    with made:
        ask(client)
        error = refused(client)
    made.close()
    cost, most, text, facts = error.args
    again = [pickle.loads(pickle.dumps(error)), BudgetExceededError(cost, most, text, json.loads(json.dumps(facts)))]
    assert [each.retry_after_s for each in again] == [62.5, 62.5]
    assert answer_to(error).headers["retry-after"] == "63"


def test_a_store_that_is_away_when_it_is_asked_changes_no_refusal(clock, client, monkeypatch):
    """The parts of the minute are looked at for the answer only: without them its end is the best guess."""
    rule = Budget("rpm", 1, "rolling 1m", unit="requests")
    made = BudgetManager("room", store="memory://", budgets=[rule], clock=clock)

    def away(keys: Any) -> Any:
        raise StoreError("away")

    with made:
        ask(client)
        monkeypatch.setattr(made.store, "balances", away)
        assert refused(client).retry_after_s == 2.5
    made.close()
