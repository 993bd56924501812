"""What Prometheus is told: spend, holds and refusals by budget; latency by endpoint."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

from ..budgets.rules import MODELS, unescape
from ..concurrency.locks import mutex
from ..ledger import Admitted, Conflict, Ended, Entry, Hold, OpenHold, Refusal, Settled, Stale, Unit, unit_of
from ..money import DOLLAR, Nano

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Where processes that serve together keep what they count (prometheus-client's own variable)."""
_MOST_BUDGETS = 1_000
_MOST_REFUSED = 10_000
_OTHERS = "(others)"
_UNSEEN = ("", "")
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Meter:
    """
    What this server did for one project since it started.

    A request that a client repeats counts again, but for a refusal: a call is refused once, however often it asks, and
    not at all if it is let through before anybody is told.
    """

    def __init__(self) -> None:
        self._lock = mutex("server meter")
        self._budgets: set[str] = set()
        self._refused: dict[str, tuple[str, str] | None] = {}
        """By the id of its hold, where a call was refused; `None` once that is counted."""
        self.spend: dict[str, Nano] = defaultdict(int)
        self.used: dict[tuple[str, Unit], int] = defaultdict(int)
        """By budget and unit: what was settled of units that are no dollars."""
        self.placed: dict[str, int] = defaultdict(int)
        self._refusals: dict[tuple[str, str], int] = defaultdict(int)
        self.conflicts = 0
        self.late = 0
        self.releases = 0

    def reserved(self, hold: Hold, outcome: Admitted | Refusal | Stale | Ended) -> None:
        """Count a reserve."""
        with self._lock:
            if isinstance(outcome, Admitted):
                self._refused.pop(hold.id, None)
                for account in hold.accounts:
                    self.placed[self._budget(account.key)] += 1
            elif isinstance(outcome, Refusal) and self._refused.get(hold.id, _UNSEEN) is not None:
                self._refused[hold.id] = self._budget(outcome.account.key), "held" if outcome.busy else "spent"
                if len(self._refused) > _MOST_REFUSED:
                    self._count(self._refused.pop(next(iter(self._refused))))

    def refusals(self) -> dict[tuple[str, str], int]:
        """How many calls were refused, by budget and room. It is told: what it counts stays counted."""
        with self._lock:
            for hold_id, refused in self._refused.items():
                self._count(refused)
                self._refused[hold_id] = None
            return dict(self._refusals)

    def _count(self, refused: tuple[str, str] | None) -> None:
        if refused is not None:
            self._refusals[refused] += 1

    def settled(self, hold: Hold, entry: Entry, outcome: Settled | Conflict) -> None:
        """Count a settlement."""
        with self._lock:
            if isinstance(outcome, Conflict):
                self.conflicts += 1
                return
            self.late += outcome.late
            for key in {*[account.key for account in hold.accounts], *entry.accounts}:
                if key.startswith(MODELS):
                    continue
                unit = unit_of(key)
                if unit == "dollars":
                    self.spend[self._budget(key)] += entry.cost
                else:
                    self.used[self._budget(key), unit] += entry.amounts()[unit]

    def released(self) -> None:
        """Count a release."""
        with self._lock:
            self.releases += 1

    def _budget(self, key: str) -> str:
        name = key.partition("/")[0]
        if name not in self._budgets:
            if len(self._budgets) >= _MOST_BUDGETS:
                return _OTHERS
            self._budgets.add(name)
        return name


class Metrics:
    """The latency of every endpoint, and what is told at a scrape."""

    def __init__(self) -> None:
        self._latency = Histogram(
            "budgetguard_request_seconds",
            "How long requests took, by endpoint and status.",
            ["path", "status"],
            buckets=_BUCKETS,
            registry=None,
        )
        self.others = CollectorRegistry()
        """What else there is to tell. A sample with a label `project` is told to that project's keys alone."""
        self._children: dict[tuple[str, int], Histogram] = {}

    def served(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        child = self._children.get((path, status))
        if child is None:
            child = self._children[path, status] = self._latency.labels(path, str(status))
        child.observe(seconds)

    def scrape(self, projects: Iterable[tuple[str, Meter, list[OpenHold]]], only: str | None = None) -> bytes:
        """The text of all metrics of these projects; of what is counted in one place for all, those of `only` one."""
        registry = CollectorRegistry()
        if _SHARED in os.environ:  # several processes serve, and each tells of all
            source = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
            registry.register(_Others(source, only))
        else:
            registry.register(self._latency)
            registry.register(_Others(self.others, only))
        registry.register(_Projects(list(projects)))
        ProcessCollector(registry=registry)
        return generate_latest(registry)


class _Others:
    """What a collector has, without what is other projects' affair."""

    def __init__(self, source: CollectorRegistry | MultiProcessCollector, only: str | None) -> None:
        self._source = source
        self._only = only

    def collect(self) -> Iterator[Metric]:
        for metric in self._source.collect():
            if self._only is not None:
                metric.samples = [
                    each for each in metric.samples if each.labels.get("project", self._only) == self._only
                ]
            yield metric


class _Projects:
    """Projects as a collector."""

    def __init__(self, projects: list[tuple[str, Meter, list[OpenHold]]]) -> None:
        self._projects = projects

    def collect(self) -> Iterator[Metric]:
        labels = ["project", "budget"]
        spend = CounterMetricFamily("budgetguard_spend_dollars", "What was settled, by budget.", labels=labels)
        placed = CounterMetricFamily("budgetguard_holds_placed", "Holds that were placed, by budget.", labels=labels)
        refused = CounterMetricFamily(
            "budgetguard_refusals", "Calls refused: the room was spent, or held.", labels=[*labels, "room"]
        )
        open_ = GaugeMetricFamily("budgetguard_open_holds", "Holds that have not ended.", labels=labels)
        used = CounterMetricFamily("budgetguard_used", "What was settled in other units.", labels=[*labels, "unit"])
        held = GaugeMetricFamily("budgetguard_held_dollars", "What these hold.", labels=labels)
        held_units = GaugeMetricFamily("budgetguard_held", "What these hold in other units.", labels=[*labels, "unit"])
        ends = CounterMetricFamily("budgetguard_ends", "Other ends of holds.", labels=["project", "end"])
        for name, meter, holds in self._projects:
            for budget, nano in list(meter.spend.items()):
                spend.add_metric([name, _shown(budget)], nano / DOLLAR)
            for budget, count in list(meter.placed.items()):
                placed.add_metric([name, _shown(budget)], count)
            for (budget, room), count in meter.refusals().items():
                refused.add_metric([name, _shown(budget), room], count)
            for (budget, unit), count in list(meter.used.items()):
                used.add_metric([name, _shown(budget), unit], count)
            counts, sums = _held(holds)
            for budget, count in counts.items():
                open_.add_metric([name, _shown(budget)], count)
            for (budget, unit), amount in sums.items():
                if unit == "dollars":
                    held.add_metric([name, _shown(budget)], amount / DOLLAR)
                else:
                    held_units.add_metric([name, _shown(budget), unit], amount)
            for end, count in (("late", meter.late), ("conflict", meter.conflicts), ("released", meter.releases)):
                ends.add_metric([name, end], count)
        return iter((spend, used, placed, refused, open_, held, held_units, ends))


def _held(holds: Iterable[OpenHold]) -> tuple[dict[str, int], dict[tuple[str, Unit], int]]:
    """By budget: how many holds are open, and what they hold in each unit."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[tuple[str, Unit], int] = defaultdict(int)
    for hold in holds:
        amounts: dict[Unit, int] = {**hold.units, "dollars": hold.amount}
        for key in hold.accounts:
            budget, unit = key.partition("/")[0], unit_of(key)
            counts[budget] += 1
            sums[budget, unit] += amounts.get(unit, 0)
    return counts, sums


def _shown(budget: str) -> str:
    return unescape(budget).encode("utf-8", "backslashreplace").decode()
