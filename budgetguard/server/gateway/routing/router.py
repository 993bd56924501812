"""
The upstreams of one call, the next one each time one is asked for.

Those that may be asked come first, by the route's strategy, then those of its fallbacks. Where everybody cools down,
the one that is back first is tried all the same: a gateway must not make an outage longer. Only who asked for a pause
is left alone, and if that leaves nobody, the caller is told how long.

All of it is memory of this process, for one event loop: no thread, no store. What is kept is bounded, also where models
are named by whoever calls.
"""

from __future__ import annotations

import random as chance
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from ..config.model import Route, Target, Upstream
from .health import CLAIM_S, MOST_PAUSE_S, PROBE_S, ModelState, UpstreamState
from .outcomes import Outcome
from .strategies import Candidate, PriceOf, by_weight, cheapest, fastest, least_busy

MOST_MODELS = 4096


class Cooling(NamedTuple):
    """Nobody can be asked: all who are left asked for a pause."""

    retry_after_s: float
    """When the first of them is back."""


class UpstreamHealth(NamedTuple):
    """What health endpoints and metrics show of an upstream, or of one of its models."""

    upstream: str
    model: str | None
    """`None`: of the upstream itself, whatever the model."""
    open: int
    """Requests under way; of a model, those that have had no byte yet."""
    failures: int
    """In a row."""
    cooling_s: float
    """How long it is left alone from now; 0: it is not. With failures and 0 it is half open."""
    first_byte_s: float | None


class Router:
    """Chooses upstreams and remembers what they did. `random` says numbers in [0, 1)."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, random: Callable[[], float] = chance.random
    ) -> None:
        self._clock = clock
        self._random = random
        self._upstreams: dict[str, UpstreamState] = {}
        self._models: dict[tuple[str, str | None], ModelState] = {}
        self._turns: dict[tuple[object, ...], list[int]] = {}
        self._calls = 0

    def targets(self, route: Route, price: PriceOf | None = None) -> Iterator[Target | Cooling]:
        """
        The candidates of one call, each at most once and at most `route.attempts`: ask for the next one after the last
        one has ended. Each says its model, also where the route leaves it as asked.

        A `Cooling` is only ever the first and last one. `price` is asked where the strategy is "cheapest".
        """
        if len(route.targets) == 1 and not route.fallbacks:
            [only] = route.targets
            state, now = self._state(only), self._clock()
            if state.free(now):
                self._calls += 1
                state.at.asked = self._calls
                state.claim(now, CLAIM_S)
                yield only
                return
        left, tried, shut = route.attempts, list[ModelState](), list[Candidate]()
        for stage in (route, *route.fallbacks):
            rest = self._candidates(stage)
            while left and (free := self._free(rest, tried)):
                chosen = self._chosen(stage, free, price)
                left -= 1
                tried.append(chosen.state)
                yield self._given(chosen)
            shut += rest
        shut = [each for each in shut if each.state not in tried]
        now = self._clock()
        if left and (there := [each for each in shut if now >= each.state.barred_until()]):
            yield self._given(min(there, key=lambda each: each.state.back_at()))
        elif shut and not tried:
            yield Cooling(min(each.state.barred_until() for each in shut) - now)

    def began(self, target: Target) -> Sending:
        """A request to it is about to be sent: it is open until it has ended."""
        return Sending(self._state(target), self._clock)

    def keep(self, upstreams: Collection[Upstream]) -> None:
        """
        A new configuration has these: the health of those that stay as they are is kept. What has another key or
        address now starts well, so that a mended key is used at once.
        """
        stay = {each.name: each for each in upstreams}
        for name in [name for name, state in self._upstreams.items() if stay.get(name) != state.upstream]:
            del self._upstreams[name]
        self._models = {key: each for key, each in self._models.items() if key[0] in self._upstreams}
        self._turns.clear()

    def standing(self) -> list[UpstreamHealth]:
        """What is known of each upstream that was a candidate, and after it of each of its models."""
        now, rows = self._clock(), list[UpstreamHealth]()
        for name, at in self._upstreams.items():
            fails = at.health
            rows.append(UpstreamHealth(name, None, at.open, fails.failures, max(0.0, fails.until - now), None))
            rows += [
                UpstreamHealth(
                    name,
                    each.model,
                    len(each.waiting),
                    each.health.failures,
                    max(0.0, each.health.until - now),
                    each.first_byte_s,
                )
                for each in self._models.values()
                if each.at is at
            ]
        return rows

    def _candidates(self, route: Route) -> list[Candidate]:
        named = [each if each.model is not None else each._replace(model=route.model) for each in route.targets]
        return [Candidate(each, self._state(each), place) for place, each in enumerate(named)]

    def _free(self, rest: list[Candidate], tried: list[ModelState]) -> list[Candidate]:
        now = self._clock()
        return [each for each in rest if each.state not in tried and each.state.free(now)]

    def _chosen(self, route: Route, free: list[Candidate], price: PriceOf | None) -> Candidate:
        if len(free) > 1:
            if route.strategy == "weighted":
                # By the targets, not by the model's name: models that one pattern names take turns together.
                shape = tuple(
                    (each.upstream.name, None if each.model == route.model else each.model, each.weight)
                    for each in route.targets
                )
                return by_weight(free, self._turns.setdefault(shape, [0] * len(shape)))
            if route.strategy == "least_busy":
                return least_busy(free)
            if route.strategy == "fastest":
                return fastest(free, self._clock(), self._random)
            if route.strategy == "cheapest" and price is not None:
                return cheapest(free, price)
        return free[0]

    def _given(self, chosen: Candidate) -> Target:
        self._calls += 1
        chosen.state.at.asked = self._calls
        chosen.state.claim(self._clock(), CLAIM_S)
        return chosen.target

    def _state(self, target: Target) -> ModelState:
        key = (target.upstream.name, target.model)
        state = self._models.get(key)
        return state if state is not None else self._learnt(key, target.upstream)

    def _learnt(self, key: tuple[str, str | None], upstream: Upstream) -> ModelState:
        if len(self._models) >= MOST_MODELS:
            # The older half: what is asked still is learnt again.
            for old in list(self._models)[: MOST_MODELS // 2]:
                del self._models[old]
        at = self._upstreams.get(upstream.name)
        if at is None:
            at = self._upstreams[upstream.name] = UpstreamState(upstream)
        state = self._models[key] = ModelState(at, key[1])
        return state


class Sending:
    """One request to an upstream, from when it is sent to its end."""

    __slots__ = ("_began", "_clock", "_heard", "_over", "_state", "_turns")

    def __init__(self, state: ModelState, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._began = now = clock()
        self._turns = (state.at.health.turn, state.health.turn)
        self._heard = self._over = False
        state.at.open += 1
        state.waiting[self] = now
        state.claim(now, PROBE_S)

    def first_byte(self) -> None:
        """The first byte of a success has come: the upstream is well, however long a stream may last."""
        if self._heard or self._over:
            return
        self._heard = True
        state, now = self._state, self._clock()
        state.waiting.pop(self, None)
        state.measured(now - self._began, now)
        state.at.health.recovered(self._turns[0])
        state.health.recovered(self._turns[1])

    def ended(self, outcome: Outcome, *, retry_after_s: float | None = None) -> None:
        """How it ended, and the pause that the upstream stated, in seconds. Only the first time counts."""
        if self._over:
            return
        self._over = True
        state, now = self._state, self._clock()
        state.at.open -= 1
        state.waiting.pop(self, None)
        if outcome in ("not_sent", "broken", "unknown"):
            state.at.health.failed(self._turns[0], now, retry_after_s)
        elif outcome == "left":
            state.at.health.let_go(self._turns[0])
        else:  # Whatever it answered, it is there.
            state.at.health.recovered(self._turns[0])
        if outcome in ("throttled", "our_fault"):
            pause_s = MOST_PAUSE_S if outcome == "our_fault" else None
            state.health.failed(self._turns[1], now, retry_after_s, pause_s)
        elif outcome == "answered":
            state.health.recovered(self._turns[1])
        else:
            state.health.let_go(self._turns[1])
