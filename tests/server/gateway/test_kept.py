"""What a gateway keeps between calls: nothing of a call itself."""

from __future__ import annotations

from budgetguard import Budget
from budgetguard.budgets.accounts import Coverage
from budgetguard.server.gateway.guards import TOLD_S, OwnersTold
from budgetguard.server.keys import OwnerRules
from budgetguard.testing import FakeProvider, StoppedClock
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


def test_owners_who_are_gone_are_forgotten_and_hold_again_when_they_call(monkeypatch) -> None:
    """Keys and customers come and go while a gateway runs: what it knows is bounded, and nobody is let through."""
    monkeypatch.setattr("budgetguard.server.gateway.guards.MOST_TOLD", 10)
    clock = StoppedClock()
    coverage = Coverage((), clock)
    told = OwnersTold(coverage, clock)
    rules = (Budget("key", 1, per=("key",)),)

    def limits(name: str) -> int:
        return len(coverage.cover({"key": name}).accounts)

    for number in range(30):
        told.tell([OwnerRules("key", f"k{number}", rules)])
    assert limits("k0") == 1, "who called a moment ago may have a call that waits"
    clock.advance(TOLD_S + 1)
    told.tell([OwnerRules("key", "k29", rules)])
    assert [limits(f"k{number}") for number in (0, 28, 29)] == [0, 0, 1]
    told.tell([OwnerRules("key", "k0", rules)])
    assert limits("k0") == 1
