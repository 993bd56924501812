"""A limit of calls in a rolling minute looks at two dozen buckets, and must not cost two dozen times as much."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from budgetguard import Budget
from budgetguard.ledger import Admitted, Entry, Hold, Store, new_id
from budgetguard.stores import open_store
from budgetguard.testing import StoppedClock

MOST_MORE = 12
"""Functions of ours, and statements."""


def steps(store: Store, rule: Budget) -> int:
    """How many functions of Python and statements of SQL one call takes on this rule's account."""

    def call() -> None:
        account = rule.account({}, store.now_ms())
        assert account is not None
        hold = Hold(new_id(), (account,), 0)
        assert isinstance(store.reserve(hold), Admitted)
        store.settle(hold, Entry(hold.id, 0))

    for _ in range(3):
        call()
    count = 0

    def see(_frame: FrameType, event: str, what: Any) -> None:
        nonlocal count
        count += event == "call" or (event == "c_call" and what.__name__ == "execute")

    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("where", ["memory", "sqlite"])
def test_a_rolling_minute_takes_few_steps_more_than_a_day(where: str, tmp_path: Path, clock: StoppedClock) -> None:
    """The buckets are read at once; and what they say is known for the answer, which tells how the account stands."""
    store = open_store("memory://" if where == "memory" else f"sqlite:///{tmp_path}/a.db", clock=clock)
    day, minute = [steps(store, Budget(period, 100, period, unit="requests")) for period in ("daily", "rolling 1m")]
    assert minute <= day + MOST_MORE
    store.close()
