"""What operators see of calls: a line of log each, without a body, and metrics whose number of rows is bounded."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.core import Metric

from ...concurrency.locks import mutex
from ...money import DOLLAR, Nano
from ..keys import Caller

if TYPE_CHECKING:
    from .routing.router import Router

log = logging.getLogger("budgetguard.server")

MOST_ROWS: Final = 1_000
"""Combinations of labels that one metric has at most; what is beyond is "(others)"."""
OTHERS: Final = "(others)"
SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where processes that serve together keep what they count (prometheus-client's own variable)."""
TELL_S: Final = 1.0
"""How soon such a process tells the others what it counted; one alone tells when it is asked."""
MOST_UNTOLD: Final = 250
"""How many calls, and how many kinds of them, are counted apart before the metrics are told; it takes a millisecond."""
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OWN_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5)


@dataclass(slots=True)
class Facts:
    """What is known of a call when it is over: for headers, logs and metrics."""

    request_id: str = ""
    call_id: str = ""
    model: str = ""
    endpoint: str = ""
    api: str = ""
    status: int = 0
    upstream: str = ""
    provider: str = ""
    attempts: int = 0
    cost: Nano | None = None
    stream: bool = False
    upstream_s: float = 0.0
    """From the last request to the head of its answer."""
    away_s: float = 0.0
    """How long the upstreams took, of all attempts, but for the body of a stream."""
    refused: str = ""
    upstream_request: str = ""
    model_there: str = ""
    """As the upstream that answered calls it."""
    fallback_of: str = ""
    """What was asked for, where a budget had no room for it and `model` was asked instead."""


class Bounded:
    """Remembers combinations of labels, up to a number."""

    def __init__(self, most: int = MOST_ROWS) -> None:
        self._most = most
        self._known: set[tuple[str, ...]] = set()

    def labels(self, *values: str) -> tuple[str, ...]:
        """These labels, or what stands for all that came after too many others."""
        if values in self._known:
            return values
        if len(self._known) >= self._most:
            return (OTHERS,) * len(values)
        self._known.add(values)
        return values


class CallsSeen:
    """Counts calls, and logs them."""

    _telling: asyncio.TimerHandle | None = None

    def __init__(self, registry: CollectorRegistry, router: Router) -> None:
        registry.register(_Telling(self.tell))
        counter = partial(PrometheusCounter, registry=registry)
        labels = ["project", "key", "model", "upstream", "status"]
        self._calls = counter("budgetguard_gateway_calls", "Calls, by key, model, upstream and status.", labels)
        labels = ["project", "key", "model", "provider", "upstream"]
        self._spend = counter("budgetguard_gateway_spend_dollars", "What calls cost, in dollars.", labels)
        labels = ["project", "key", "reason"]
        self._refused = counter("budgetguard_gateway_refusals", "Calls that were not sent, by the reason.", labels)
        labels = ["project", "key", "asked", "model"]
        told = "Calls that another model answered, as a budget had no room for the one that was asked for."
        self._fallbacks = counter("budgetguard_gateway_fallbacks", told, labels)
        self._upstream_s = Histogram(
            "budgetguard_gateway_upstream_seconds",
            "From the request to an upstream to the head of its answer.",
            ["upstream"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._own_s = Histogram(
            "budgetguard_gateway_own_seconds",
            "What the gateway added to a plain call.",
            registry=registry,
            buckets=_OWN_BUCKETS,
        )
        self._lock = mutex("gateway metrics")
        self._bounded = {name: Bounded() for name in ("calls", "spend", "refused", "fallbacks", "upstream")}
        self._new: Counter[tuple[tuple[str, ...], int, str, str]] = Counter()
        self._spent: Counter[tuple[str, ...]] = Counter()
        self._seconds: list[tuple[str, float, float]] = []
        self._shared = SHARED in os.environ
        if not self._shared:  # else each process knows its own alone
            registry.register(_Upstreams(router))

    def call(self, facts: Facts, caller: Caller | None, seconds: float) -> None:
        """One call is over."""
        key = "" if caller is None else caller.prefix
        project = "" if caller is None else caller.project or ""
        self._count(facts, project, key, seconds)
        if self._shared and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_S, self._tell_others)
        level = logging.DEBUG if facts.status < 400 else logging.INFO
        if not log.isEnabledFor(level):
            return
        said = {
            "call": facts.call_id,
            "key": key,
            "project": project,
            "endpoint": facts.endpoint,
            "model": facts.model[:100],
            "fallback_of": facts.fallback_of[:100],
            "upstream": facts.upstream,
            "attempts": facts.attempts,
            "status": facts.status,
            "refused": facts.refused,
            "cost": None if facts.cost is None else facts.cost / DOLLAR,
            "ms": round(seconds * 1000, 2),
            "request_id": facts.request_id,
            "upstream_request_id": facts.upstream_request,
        }
        log.log(level, "call", extra={name: value for name, value in said.items() if value not in (None, "", 0)})

    def _count(self, facts: Facts, project: str, key: str, seconds: float) -> None:
        row = (project, key, facts.model[:100] if facts.upstream else "", facts.provider, facts.upstream)
        with self._lock:
            self._new[row, facts.status, facts.refused, facts.fallback_of[:100]] += 1
            if facts.cost:
                self._spent[row] += facts.cost
            if facts.upstream_s:
                own_s = -1.0 if facts.stream else seconds - facts.away_s
                self._seconds.append((facts.upstream, facts.upstream_s, own_s))
        if len(self._seconds) >= MOST_UNTOLD or len(self._new) >= MOST_UNTOLD:
            self.tell()

    def _tell_others(self) -> None:
        self._telling = None
        self.tell()

    def tell(self) -> None:
        """Add what was counted since the last time to the metrics, which takes a lock for each."""
        with self._lock:  # a scrape is in a thread
            counted, spent, times = self._new, self._spent, self._seconds
            self._new, self._spent, self._seconds = Counter(), Counter(), []
        for ((project, key, model, _provider, upstream), status, refused, asked), number in counted.items():
            self._row(self._calls, "calls", project, key, model, upstream, str(status)).inc(number)
            if refused:
                self._row(self._refused, "refused", project, key, refused).inc(number)
            if asked:
                self._row(self._fallbacks, "fallbacks", project, key, asked, model).inc(number)
        for row, nano in spent.items():
            self._row(self._spend, "spend", *row).inc(nano / DOLLAR)
        seen = {each: self._upstream_s.labels(*self._bounded["upstream"].labels(each)) for each, _, _ in times}
        for upstream, upstream_s, own_s in times:
            seen[upstream].observe(upstream_s)
            if own_s >= 0:
                self._own_s.observe(own_s)

    def _row(self, metric: PrometheusCounter, name: str, *labels: str) -> PrometheusCounter:
        return metric.labels(*self._bounded[name].labels(*labels))


class _Telling:
    """Has what was counted told first, as the first collector of its registry."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def collect(self) -> Iterator[Metric]:
        """Nothing of its own."""
        self._tell()
        return iter(())


class _Upstreams:
    """What the router knows of upstreams, when it is asked for."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def collect(self) -> Iterator[Metric]:
        """Requests that are open, failures in a row, and seconds that it is left alone."""
        rows = [row for row in self._router.standing() if row.model is None]
        for name, told in (
            ("open", "Requests under way."),
            ("failures", "Failures in a row."),
            ("cooling_s", "Seconds for which it is left alone."),
        ):
            label = name.replace("_s", "_seconds")
            metric = Gauge(f"budgetguard_gateway_upstream_{label}", told, ["upstream"], registry=None)
            for row in rows[:MOST_ROWS]:
                metric.labels(row.upstream).set(getattr(row, name))
            yield from metric.collect()
