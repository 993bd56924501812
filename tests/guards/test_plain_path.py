"""
The plain path: a call that is not refused, and waits for nobody, runs few functions of ours.

Each function that a call enters is code and data that are cold by then: what a call costs in place is their number,
more than what they do.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from budgetguard.errors import BudgetExceededError
from budgetguard.sdks.exchange import charging
from tests.support.plain_calls import entered, entered_while_kept, guarded, sync_client

MOST = 45
"""Functions of ours on the path of a chat that states an output cap, over a store in memory, with one user's budget."""
MOST_CAPPED = 55
"""The same where the cap is added."""


@pytest.mark.parametrize(("stated", "most"), [({"max_completion_tokens": 100}, MOST), ({}, MOST_CAPPED)])
def test_a_plain_call_enters_few_functions(stated, most):
    """One that is new, however small, is paid for by every call: have it do without, or take another one out."""
    client = sync_client()
    charging.set(None)  # of what calls left that were interrupted, elsewhere

    def ask() -> Any:
        return client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], user="ann", **stated
        )

    with guarded("memory://"):
        for _ in range(3):
            ask()
        found = entered_while_kept(ask)
    assert len(found) <= most, "\n".join(sorted(found))


def test_a_call_that_no_budget_covers_enters_next_to_none():
    """It is found to cost money, and that nobody counts it."""
    client = sync_client()
    with guarded(None):
        ask = lambda: client.chat.completions.create(model="gpt-4o-mini", messages=[])  # noqa: E731
        ask()
        assert len(entered(ask)) <= 8


def test_a_plain_call_runs_no_step(monkeypatch):
    """Steps are for what waits, is refused, counts tokens or is planned again."""
    shell_run: list[Any] = []
    client = sync_client()
    with guarded("memory://") as manager:
        assert manager is not None

        def ask(user: str) -> None:
            with suppress(BudgetExceededError):
                client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], user=user, max_tokens=9
                )

        ask("ann")
        run = type(manager.guard.shell).run
        monkeypatch.setattr(
            type(manager.guard.shell), "run", lambda shell, steps: shell_run.append(steps) or run(shell, steps)
        )
        ask("ann")
        assert shell_run == []
        manager.create_budget("0.000001", "bob")
        ask("bob")
        assert shell_run
