"""What is counted of calls: all of it, in bounded room, also where nobody asks, and while somebody does."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, generate_latest

from budgetguard.money import DOLLAR
from budgetguard.server.gateway.routing.router import Router
from budgetguard.server.gateway.seen import MOST_ROWS, MOST_UNTOLD, OTHERS, CallsSeen, Facts
from budgetguard.server.keys import CALL, Caller

CALLS = 3 * MOST_ROWS


def facts() -> Facts:
    """Those of a call that cost a tenth of a cent."""
    timed = {"upstream_s": 0.25, "away_s": 0.5}
    return Facts(model="m", upstream="u", provider="p", status=200, cost=DOLLAR // 1000, **timed)  # type: ignore[arg-type]


def caller(number: int) -> Caller:
    """A key of its own."""
    return Caller("shop", CALL, f"{number:x}")


def rows(registry: CollectorRegistry, name: str) -> dict[str, float]:
    """The rows of a metric at a scrape."""
    lines = [line for line in generate_latest(registry).decode().splitlines() if line.startswith(name)]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_as_many_keys_as_there_are_take_bounded_room() -> None:
    """Ten thousand keys and a Prometheus that never comes must not fill the memory, nor the metrics their server."""
    registry = CollectorRegistry()
    seen = CallsSeen(registry, Router())
    for number in range(CALLS):
        seen.call(facts(), caller(number), 0.75)
        assert len(seen._seconds) <= MOST_UNTOLD
        assert len(seen._new) <= MOST_UNTOLD
    found = rows(registry, "budgetguard_gateway_calls_total")
    assert len(found) == MOST_ROWS + 1
    assert sum(found.values()) == CALLS
    assert max(found, key=lambda row: found[row]).count(OTHERS) == 5
    assert round(sum(rows(registry, "budgetguard_gateway_spend_dollars_total").values()), 6) == CALLS / 1000


def test_what_was_the_upstreams_time_is_not_ours() -> None:
    """An operator who looks for what is slow must not be sent to the wrong house."""
    registry = CollectorRegistry()
    seen = CallsSeen(registry, Router())
    seen.call(facts(), caller(1), 0.75)
    assert rows(registry, "budgetguard_gateway_upstream_seconds_sum") == {
        'budgetguard_gateway_upstream_seconds_sum{upstream="u"}': 0.25
    }
    assert rows(registry, "budgetguard_gateway_own_seconds_sum") == {"budgetguard_gateway_own_seconds_sum": 0.25}


def test_a_scrape_in_a_thread_loses_no_call() -> None:
    """Counters that go back, or calls that are counted nowhere, make every sum of them wrong."""
    registry, done = CollectorRegistry(), threading.Event()
    seen = CallsSeen(registry, Router())

    def scrape() -> None:
        while not done.is_set():
            generate_latest(registry)

    scraping = threading.Thread(target=scrape)
    scraping.start()
    for number in range(CALLS):
        seen.call(facts(), caller(number % 7), 0.75)
    done.set()
    scraping.join()
    assert sum(rows(registry, "budgetguard_gateway_calls_total").values()) == CALLS
