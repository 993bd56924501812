"""How a budget is, in a word: the same one for commands, the page and the API."""

from __future__ import annotations

import pytest

from budgetguard.budgets.steering.states import state_of


@pytest.mark.parametrize(
    ("spent", "held", "warn_at", "state"),
    [
        (79, 0, (), "ok"),
        (80, 0, (), "near"),
        (79, 20, (), "ok"),
        (50, 0, (0.5, 0.9), "near"),
        (49, 0, (0.9, 0.5), "ok"),
        (80, 20, (), "busy"),
        (100, 0, (), "spent"),
    ],
)
def test_a_budget_is_near_its_limit_where_somebody_is_told(spent, held, warn_at, state):
    """The word and the alert must not contradict each other; what is only held may come back."""
    assert state_of(100, spent, held, warn_at=warn_at) == state
