"""A small limit of tokens a minute admits what fits: a call that states no cap gets one, as it does under dollars."""

from __future__ import annotations

import pytest

from budgetguard import Budget, BudgetExceededError, BudgetManager, budget

MODEL = "gpt-4o-mini"

pytestmark = pytest.mark.provider(tokens=20, prices={MODEL: ("1", "2")})


def test_calls_without_a_cap_fit_into_a_thousand_tokens_a_minute(url, clock, provider):
    """Held is the input and a cap that fits; settled are the tokens that were used, so the minute is used up."""
    rule = Budget("tpm", 1_000, "rolling 1m", per=("key",), unit="tokens")
    made = BudgetManager("tpm", store=url, budgets=[rule], clock=clock)
    with made, provider.client(max_retries=0) as client, budget(tags={"key": "k1"}):

        def ask_until_refused() -> None:
            for _ in range(100):
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])

        with pytest.raises(BudgetExceededError) as caught:
            ask_until_refused()
    made.close()
    caps = [request.body["max_tokens"] for request in provider.requests]
    used = sum(bill.input_tokens + bill.output_tokens for bill in provider.ledger)
    assert len(caps) >= 1_000 // 27  # of seven tokens of input and twenty of output
    assert 970 < used <= 1_000
    assert min(caps[:-2]) >= 20, "an answer was cut though there was room for it"
    assert caught.value.retry_after_s == 62.5
