"""What goes on in the background, and nobody looks at again, is booked in the limits of the process as in a store."""

from __future__ import annotations

import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, PriceBook
from budgetguard.ledger import Account, Hold
from budgetguard.process.state import PROCESS
from budgetguard.process.tally import Tally, expect, reserve, settle
from budgetguard.testing.clock import StoppedClock

MODEL = "a-model"
CAP = 1_000
HELD = CAP * 10_000
"""What 1,000 tokens of output cost at $10 per million, in nano-dollars; input is free."""


pytestmark = pytest.mark.provider(tokens=8, prices={MODEL: (0, 10)})


def test_a_response_that_nobody_retrieves_is_booked_after_a_day(provider):
    """Two of them are all that $0.02 has room for, and a day later they are spent, not held for ever."""
    clock = StoppedClock()
    prices = PriceBook(overrides={MODEL: {"input": 0, "output": 10, "max_output": CAP}})
    manager = BudgetManager("background", store="memory://", prices=prices, clock=clock)
    budgetguard.max_budget = 0.02
    ids = []
    with manager, budgetguard.budget(limit=1) as scope, provider.client() as client:
        for _ in range(2):
            begun = client.responses.create(model=MODEL, input="hi", background=True, max_output_tokens=CAP)
            ids.append(begun.id)
        assert PROCESS.tally is not None
        assert (PROCESS.tally.settled, PROCESS.tally.held) == (0, 2 * HELD)

        clock.advance(24 * 3600 - 1)
        assert (PROCESS.tally.settled, PROCESS.tally.held) == (0, 2 * HELD)
        clock.advance(2)
        assert (PROCESS.tally.settled, PROCESS.tally.held) == (2 * HELD, 0)
        assert scope.spent.nano == 2 * HELD
        with pytest.raises(BudgetExceededError):
            client.responses.create(model=MODEL, input="hi", max_output_tokens=CAP)

        client.responses.retrieve(ids[0])  # a late look corrects it
        [bill] = [bill for bill in provider.ledger if bill.amount][:1]
        assert PROCESS.tally.settled == HELD + bill.amount
        client.responses.retrieve(ids[0])
        assert PROCESS.tally.settled == HELD + bill.amount


def test_a_response_that_is_retrieved_in_time_is_not_booked_again():
    """Its hold has ended, once."""
    now_s = [0.0]
    limit = Tally(Account("scope//all", 100))
    reserve((limit,), Hold("one", (), 60))
    expect((limit,), "one", lambda: now_s[0], 10)
    settle((limit,), "one", 5)
    now_s[0] = 11

    assert (limit.settled, limit.held) == (5, 0)
    assert reserve((limit,), Hold("two", (), 95)) == 95
