"""What the tests of several SDKs begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import budgetguard
from budgetguard import BudgetManager


@pytest.fixture
def books() -> Iterator[BudgetManager]:
    """Those of ann, in whose scope a test over a socket runs, with every client guarded."""
    from tests.support.talking import manager  # which an environment of an older SDK lacks the packages for

    ours = manager()
    budgetguard.patch(ours)
    with budgetguard.budget(user="ann"):
        yield ours
