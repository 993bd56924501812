"""What a gateway keeps between calls: nothing of a call itself."""

from __future__ import annotations

from budgetguard.testing import FakeProvider
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, hard, upstream


def test_nothing_of_a_refused_call_is_kept() -> None:
    """Its error has the frames that it passed, and these the prompt; whose it is is kept as long as the key."""
    with FakeProvider() as provider:
        made = configured(upstream("only", provider.root_url), budgets=(hard(0.000001),))
        with ServedGateway(made) as gateway:
            asked = {"model": MODEL, "messages": MESSAGES, "max_tokens": 1000}
            assert gateway.ask("/v1/chat/completions", asked)[0] == 402
            kept = list(gateway.app.surroundings()._scopes.values())
            assert [scope.refusals for _, scope in kept] == [[]]
