"""A refusal as a response, whatever the framework."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from budgetguard import BudgetBusyError, BudgetExceededError
from budgetguard.middleware.web.answers import answer_to, refusal_in

MONTH_S = 30 * 86_400


@pytest.mark.parametrize(
    ("kind", "renews_s", "least", "most"),
    [
        (BudgetExceededError, MONTH_S, MONTH_S - 3600, MONTH_S),
        (BudgetExceededError, -60, 1, 1),
        (BudgetBusyError, MONTH_S, 1, 1),
    ],
    ids=["next month", "just now", "held"],
)
def test_retry_after_is_when_there_may_be_room(kind, renews_s, least, most):
    """A client that waits for a month has no use of a second; room that is only held is there in a moment."""
    refusal = kind(1, 1, "no", resets_at=datetime.now(UTC) + timedelta(seconds=renews_s))

    assert least <= int(answer_to(refusal).headers["retry-after"]) <= most


def test_a_budget_that_never_renews_gives_no_hope():
    """Whoever would come again would be refused again."""
    assert "retry-after" not in answer_to(BudgetExceededError(1, 1, "no")).headers


def test_a_group_with_a_crash_in_it_is_a_crash():
    """Somebody has to hear of that; the refusals beside it can wait."""
    refusals = [BudgetExceededError(1, 1, "no"), BudgetBusyError(1, 1, "not now")]

    assert refusal_in(ExceptionGroup("tasks", refusals), __name__) is refusals[0]
    assert refusal_in(ExceptionGroup("tasks", [*refusals, ZeroDivisionError()]), __name__) is None


def test_the_length_is_that_of_the_bytes():
    """Names are not ASCII everywhere."""
    answer = answer_to(BudgetExceededError(1, 1, "Zoë – über"))

    assert answer.headers["content-length"] == str(len(answer.body))
    assert json.loads(answer.body)["error"]["message"] == "Zoë – über"
