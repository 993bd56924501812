"""Upstreams, routes and calls for tests of what is asked next: no request is sent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

from budgetguard.server.gateway.config.model import Route, Strategy, Target, Upstream
from budgetguard.server.gateway.routing.outcomes import Outcome, goes_on
from budgetguard.server.gateway.routing.router import Cooling, Router


class Ticking:
    """A clock of seconds that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


def targets(*names: str, weights: Sequence[int] = (), model: str | None = None) -> tuple[Target, ...]:
    """A target for each upstream; weights of 1 where none are said."""
    return tuple(
        Target(Upstream(name), model, weight) for name, weight in zip(names, chain(weights, repeat(1)), strict=False)
    )


def route(*names: str, strategy: Strategy = "order", model: str = "m", weights: Sequence[int] = ()) -> Route:
    """A route over upstreams, which call the model by the name that it is asked by."""
    return Route(model, targets(*names, weights=weights), strategy)


def first(router: Router, asked: Route) -> Target:
    """The first candidate, of a call that is not made."""
    found = next(router.targets(asked))
    assert isinstance(found, Target)
    return found


def called(
    router: Router, asked: Route, outcomes: dict[str, Outcome] | None = None, stated_s: float | None = None
) -> list[str]:
    """One call, in which each upstream does what is said, else answers: who was asked, in turn."""
    names = []
    for target in router.targets(asked):
        if isinstance(target, Cooling):
            return [f"cooling {target.retry_after_s:g}"]
        names.append(target.upstream.name)
        sending = router.began(target)
        outcome = (outcomes or {}).get(target.upstream.name, "answered")
        sending.ended(outcome, retry_after_s=stated_s)
        if not goes_on(outcome, retry_unknown=asked.retry_unknown):
            break
    return names
