"""A refusal as a response, whatever the framework."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from budgetguard import BudgetBusyError, BudgetExceededError
from budgetguard.middleware.web.answers import answer_to

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (BudgetExceededError(1, 1, "no"), None),
        (BudgetExceededError(1, 1, "no", resets_at=NOW + timedelta(days=30)), 30 * 86_400),
        (BudgetExceededError(1, 1, "no", resets_at=NOW - timedelta(days=1)), 1),
        (BudgetBusyError(1, 1, "no", resets_at=NOW + timedelta(days=30)), 1),
    ],
    ids=["never", "next month", "just now", "held"],
)
def test_retry_after_is_when_there_may_be_room(refusal, told):
    """A client that waits for a month has no use of a second; room that is only held is there in a moment."""
    found = answer_to(refusal).headers.get("retry-after")

    assert (found is None) == (told is None)
    assert told is None or told - 60 < int(found) <= told or int(found) == told


def test_the_length_is_that_of_the_bytes():
    """Names are not ASCII everywhere."""
    answer = answer_to(BudgetExceededError(1, 1, "Zoë – über"))

    assert answer.headers["content-length"] == str(len(answer.body))
    assert json.loads(answer.body)["error"]["message"] == "Zoë – über"
