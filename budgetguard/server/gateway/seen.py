"""What operators see of calls: a line of log each, without a body, and metrics whose number of rows is bounded."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric

from ...money import DOLLAR
from ..keys import Caller

if TYPE_CHECKING:
    from .call.life import Facts
    from .routing.router import Router

log = logging.getLogger("budgetguard.server")

MOST_ROWS: Final = 1_000
"""Combinations of labels that one metric has at most; what is beyond is "(others)"."""
OTHERS: Final = "(others)"
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OWN_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5)


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


class Seen:
    """Counts calls, and logs them."""

    def __init__(self, registry: CollectorRegistry, router: Router) -> None:
        self._calls = Counter(
            "budgetguard_gateway_calls",
            "Calls, by key, model, upstream and status.",
            ["project", "key", "model", "upstream", "status"],
            registry=registry,
        )
        self._spend = Counter(
            "budgetguard_gateway_spend_dollars",
            "What calls cost, in dollars.",
            ["project", "key", "model", "provider", "upstream"],
            registry=registry,
        )
        self._refused = Counter(
            "budgetguard_gateway_refusals",
            "Calls that were not sent, by the reason.",
            ["project", "key", "reason"],
            registry=registry,
        )
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
        self._bounded = {name: Bounded() for name in ("calls", "spend", "refused", "upstream")}
        self._kept: dict[tuple[str, ...], Counter] = {}
        self._router = router
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # else each process knows its own alone
            registry.register(_Upstreams(router))

    def call(self, facts: Facts, caller: Caller | None, seconds: float, request_id: str) -> None:
        """One call is over."""
        key = "" if caller is None else caller.prefix
        project = "" if caller is None else caller.project or ""
        self._count(facts, project, key, seconds)
        level = logging.DEBUG if facts.status < 400 else logging.INFO
        if not log.isEnabledFor(level):
            return
        said = {
            "call": facts.call_id,
            "key": key,
            "project": project,
            "endpoint": facts.endpoint,
            "model": facts.model[:100],
            "upstream": facts.upstream,
            "attempts": facts.attempts,
            "status": facts.status,
            "refused": facts.refused,
            "cost": None if facts.cost is None else facts.cost / DOLLAR,
            "ms": round(seconds * 1000, 2),
            "request_id": request_id,
            "upstream_request_id": facts.upstream_request,
        }
        log.log(level, "call", extra={name: value for name, value in said.items() if value not in (None, "", 0)})

    def _count(self, facts: Facts, project: str, key: str, seconds: float) -> None:
        status = str(facts.status)
        model = facts.model[:100] if facts.upstream else ""
        self._row(self._calls, "calls", project, key, model, facts.upstream, status).inc()
        if facts.cost:
            self._row(self._spend, "spend", project, key, model, facts.provider, facts.upstream).inc(
                facts.cost / DOLLAR
            )
        if facts.refused:
            self._row(self._refused, "refused", project, key, facts.refused).inc()
        if facts.upstream_s:
            [upstream] = self._bounded["upstream"].labels(facts.upstream)
            self._upstream_s.labels(upstream).observe(facts.upstream_s)
            if not facts.stream:
                self._own_s.observe(max(seconds - facts.upstream_s, 0.0))

    def _row(self, metric: Counter, name: str, *labels: str) -> Counter:
        """The row of a metric, found without its lock."""
        found = self._kept.get((name, *labels))
        if found is None:
            found = metric.labels(*self._bounded[name].labels(*labels))
            if len(self._kept) < 4 * MOST_ROWS:
                self._kept[name, *labels] = found
        return found


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
