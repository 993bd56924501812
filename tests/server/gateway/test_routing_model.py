"""What holds of routing whatever upstreams do, in any order: nobody is lost, nobody is asked twice, no count drifts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

from hypothesis import example, given
from hypothesis import strategies as st

from budgetguard.server.gateway.config.model import Strategy, Target
from budgetguard.server.gateway.routing.health import MOST_STATED_S, PROBE_S
from budgetguard.server.gateway.routing.outcomes import Outcome
from budgetguard.server.gateway.routing.router import Cooling, Router, Sending
from tests.support.routing import Ticking, called, route

NAMES = ("a", "b", "c")
OUTCOMES = st.sampled_from(get_args(Outcome))
STATED = st.sampled_from([None, None, 0.0, 3.0, 5_000.0])


class Life:
    """A router among upstreams, and what must be true after each of its steps."""

    def __init__(self, strategy: Strategy) -> None:
        self.clock = Ticking()
        self.router = Router(self.clock, random=lambda: 0.0)
        self.open: list[tuple[str, Sending]] = []
        self.routes = [
            replace(
                route(*NAMES[:2], strategy=strategy, model=model), fallbacks=(route(*NAMES[1:], model="x"),), attempts=4
            )
            for model in ("x", "y")
        ]

    def shut(self, target: Target) -> float:
        """For how long a target is left alone, by what the router shows."""
        name, model = target.upstream.name, target.model
        return max(
            row.cooling_s for row in self.router.standing() if row.upstream == name and row.model in (None, model)
        )

    def call(self, number: int, begin: int) -> None:
        """Ask for all candidates; the first ones are sent to."""
        asked = self.routes[number % 2]
        everybody = {(each.upstream.name, asked.model) for each in asked.targets}
        everybody |= {(each.upstream.name, "x") for each in asked.fallbacks[0].targets}
        given, shut = list[tuple[str, str | None]](), list[bool]()
        for place, target in enumerate(self.router.targets(asked)):
            if isinstance(target, Cooling):
                assert place == 0
                assert 0 < target.retry_after_s <= MOST_STATED_S
                return
            assert not any(shut), "after the one that is tried all the same, nobody is"
            given.append((target.upstream.name, target.model))
            shut.append(self.shut(target) > 0)
            if place < begin:
                self.open.append((target.upstream.name, self.router.began(target)))
        assert 1 <= len(given) <= asked.attempts
        assert len({*given}) == len(given)
        assert {*given} <= everybody

    def end(self, place: int, outcome: Outcome, stated_s: float | None) -> None:
        if self.open:
            _, sending = self.open.pop(place % len(self.open))
            if outcome == "answered":
                sending.first_byte()
            sending.ended(outcome, retry_after_s=stated_s)
            sending.ended("broken")
            sending.first_byte()

    def holds(self) -> None:
        counted = {row.upstream: row.open for row in self.router.standing() if row.model is None}
        assert +Counter(counted) == Counter(name for name, _ in self.open)
        cooling = [row.cooling_s for row in self.router.standing()]
        assert cooling == [each for each in cooling if 0 <= each < MOST_STATED_S + 1e-6]  # clocks are floats


STEPS = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 1), st.integers(0, 4)),
    st.tuples(st.just("end"), st.integers(0, 20), OUTCOMES, STATED),
    st.tuples(st.just("go"), st.sampled_from([0.1, 1.0, 7.0, 61.0])),
)


@given(st.sampled_from(get_args(Strategy)), st.lists(STEPS, max_size=30))
def test_whatever_upstreams_do_somebody_is_asked_and_all_come_back(
    strategy: Strategy, steps: list[tuple[object, ...]]
) -> None:
    """A call fails for want of an upstream only where one asked for a pause, and none is out for good."""
    life = Life(strategy)
    for name, *values in steps:
        getattr(life.clock if name == "go" else life, str(name))(*values)
        life.holds()
    while life.open:
        life.end(0, "left", None)
    life.clock.go(MOST_STATED_S + PROBE_S)
    for name in NAMES:
        assert called(life.router, route(name, "other", model="x"))[0] == name
        assert called(life.router, route(name, "other", model="y"))[0] == name


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any), st.integers(1, 3))
@example([5, 1, 1], 2)
def test_each_round_has_the_weights(weights: list[int], rounds: int) -> None:
    """Exactly, not about: an operator splits a paid quota by them. And at no time is anybody ahead by a round."""
    router, total = Router(), sum(weights)
    weighted = route(*(str(place) for place in range(len(weights))), strategy="weighted", weights=weights)
    asked = Counter[str]()
    for number in range(1, rounds * total + 1):
        asked[called(router, weighted)[0]] += 1
        assert all(abs(asked[str(place)] - number * each / total) < len(weights) for place, each in enumerate(weights))
        if number % total == 0:
            assert [asked[str(place)] for place in range(len(weights))] == [each * number // total for each in weights]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["take", "fail", "wait"])), max_size=60))
def test_half_open_has_one_probe_as_long_as_there_is_another(steps: list[tuple[int, str]]) -> None:
    """However calls, failures and time follow each other."""
    clock = Ticking()
    router = Router(clock)
    probes: list[Sending] = []
    both = route("a", "well")
    for _, step in steps:
        if step == "wait":
            clock.go(0.5)
        elif step == "fail" and probes:
            probes.pop().ended("broken")
        else:
            down = any(row.failures for row in router.standing() if row.upstream == "a")
            target = next(router.targets(both))
            assert isinstance(target, Target)
            sending = router.began(target)
            if target.upstream.name != "a":
                sending.ended("answered")
            elif down:
                assert not probes
                probes.append(sending)
            else:
                sending.ended("broken")
