"""LiteLLM's durations and headers: pure functions, by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from budgetguard.budgets.rules import Budget
from budgetguard.server.gateway.litellm.durations import expiry_ms, period_of, seconds_of
from budgetguard.server.gateway.litellm.headers import CallFacts, headers
from budgetguard.server.keys import OwnerLimits, OwnerRules, rules_of
from budgetguard.server.keys.limits import Allowance
from budgetguard.server.problems import Refused

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "period"),
    [
        ("1d", "daily"),
        ("24h", "daily"),
        ("daily", "daily"),
        ("7d", "weekly"),
        ("1w", "weekly"),
        ("30d", "monthly"),
        ("1mo", "monthly"),
        ("monthly", "monthly"),
        ("12mo", "yearly"),
        ("1h", "rolling 1h"),
        ("1hr", "rolling 1h"),
        ("90m", "rolling 90m"),
        ("28d", "rolling 28d"),
        ("2mo", "rolling 62d"),
        ("120s", "rolling 2m"),
    ],
)
def test_a_duration_is_a_period(said: str, period: str) -> None:
    """A budget of LiteLLM's begins again when it did there, or is at least as strict."""
    assert period_of(said, "budget_duration") == period
    Budget("key", 1, period)  # which budgets have


@pytest.mark.parametrize(
    "said", ["", "30", "d", "0d", "-1", "1.5h", "30d30d", "45s", "99999y", "1d\n2", "٣d", "1 month"]
)
def test_what_is_no_duration_is_refused_by_name(said: str) -> None:
    """Taken for no duration at all, it would be a budget that never begins again, or one that always does."""
    with pytest.raises(Refused) as refused:
        period_of(said, "budget_duration")
    assert (refused.value.status, refused.value.param) == (400, "budget_duration")


def test_a_key_expires_when_its_duration_is_over() -> None:
    """In a month is the same day of the next one, or its last."""

    def ends(said: str | None) -> datetime | None:
        at_ms = expiry_ms(said, "duration", round(NOON.timestamp() * 1000))
        return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)

    assert ends("1h") == NOON.replace(hour=13)
    assert ends("1mo") == NOON.replace(month=2, day=28)
    assert ends("1y") == NOON.replace(year=2027)
    assert ends("-1") is ends(None) is None
    assert seconds_of("48h", "grace_period") == 172_800


def test_headers_say_what_is_known() -> None:
    """Programs read `float(headers["x-litellm-response-cost"])`; a stream has none yet."""
    rules = rules_of("key", OwnerLimits((Allowance(5 * 10**9), Allowance(10**9, model="o3")), rpm=60))
    owners = (OwnerRules("team", "t", rules_of("team", OwnerLimits((Allowance(7),)))), OwnerRules("key", "k", rules))
    facts = CallFacts("call-1", "openai/gpt-4o", "gpt-4o", 1_250, 2_001_250, 1)
    assert dict(headers(facts, owners)) == {
        b"x-litellm-call-id": b"call-1",
        b"x-litellm-model-id": b"openai/gpt-4o",
        b"x-litellm-model-group": b"gpt-4o",
        b"x-litellm-version": b"1.110.2",
        b"x-litellm-response-cost": b"0.00000125",
        b"x-litellm-key-spend": b"0.00200125",
        b"x-litellm-key-max-budget": b"5",
        b"x-litellm-key-rpm-limit": b"60",
        b"x-litellm-attempted-retries": b"1",
    }
    assert b"x-litellm-response-cost" not in dict(headers(CallFacts("call-2")))


def test_no_name_of_a_model_ends_a_header() -> None:
    """The caller chooses what is asked for: a line break in it would be a header of theirs."""
    told = dict(headers(CallFacts("call", model="gpt\r\nset-cookie: a=1\x00é" + "x" * 1000)))
    assert told[b"x-litellm-model-group"].startswith(b"gpt??set-cookie: a=1??xxx")
    assert len(told[b"x-litellm-model-group"]) == 200
