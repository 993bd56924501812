"""
What the gateway costs: a table of ratios, all of one run.

    python -m benchmarks.gateway [--quick] [--json]

Direct calls, nginx, a bare proxy, the gateway on each store and LiteLLM Proxy (`make .cache/litellm-proxy/ready`) take
turns in every round, so that a drift of the machine's speed touches all alike; medians of the rounds are printed.
Processor time is that of the contender alone, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import servers

from ..floors import Floors
from .contenders import BARE, Contender, contenders, load, started, upstream
from .upstream import EVENTS

DIRECT = "direct"
SLOW_CALLS = 20


class Shape(NamedTuple):
    connections: int
    calls: int
    wait_ms: int = 0
    stream: bool = False


SHAPES = {
    "one": Shape(1, 500),
    "many": Shape(32, 4_000),
    "waiting": Shape(32, 1_500, wait_ms=50),
    "streams": Shape(8, 120, stream=True),
}


class Figures(NamedTuple):
    """Of one shape in one round."""

    cpu_us: float
    """A call's."""
    rate: float
    p50_ms: float
    p99_ms: float


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for each in found:
        for thread in Path(f"/proc/{each}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def cpu_us(pid: int) -> float:
    """The processor time that it has had, in microseconds."""
    threads = [thread for each in family(pid) for thread in Path(f"/proc/{each}/task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e3


def rss_mb(pid: int) -> float:
    lines = [line for each in family(pid) for line in Path(f"/proc/{each}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def measured(port: int, pid: int, shape: Shape, calls: int) -> Figures:
    before = cpu_us(pid)
    told: dict[str, Any] = load(
        port, connections=shape.connections, calls=calls, wait_ms=shape.wait_ms, stream=shape.stream
    )
    if told["problems"]:
        raise RuntimeError(f"{told['problems']} calls failed: {told['problem']}")
    took = sorted(told["took_ms"])
    return Figures(
        (cpu_us(pid) - before) / calls, calls / told["took_s"], statistics.median(took), took[int(len(took) * 0.99)]
    )


class Table:
    """All figures of a run, by contender and shape."""

    def __init__(self) -> None:
        self.rounds: dict[tuple[str, str], list[Figures]] = defaultdict(list)
        self.rss: dict[str, float] = {}

    def of(self, name: str, shape: str) -> Figures:
        return Figures(*map(statistics.median, zip(*self.rounds[name, shape], strict=True)))

    def added(self, name: str, shape: str) -> tuple[float, float]:
        """What it adds to a direct call's p50 and p99, in milliseconds."""
        its, direct = self.of(name, shape), self.of(DIRECT, shape)
        return its.p50_ms - direct.p50_ms, its.p99_ms - direct.p99_ms

    def event_us(self, name: str) -> float:
        """A stream's event: what a stream costs beyond a plain call."""
        return (self.of(name, "streams").cpu_us - self.of(name, "many").cpu_us) / EVENTS

    def row(self, each: Contender) -> dict[str, float]:
        many, bare = self.of(each.name, "many"), self.of(BARE.name, "many")
        one, waiting = self.added(each.name, "one"), self.added(each.name, "waiting")
        return {
            "cpu_us": many.cpu_us,
            "cpu": many.cpu_us / bare.cpu_us,
            "rate": many.rate,
            "added_p50_ms": one[0],
            "added_p99_ms": one[1],
            "waiting_p50_ms": waiting[0],
            "waiting_p99_ms": waiting[1],
            "event_us": self.event_us(each.name),
            "event_beyond_us": self.event_us(each.name) - self.event_us(BARE.name),
            "rss_mb": self.rss[each.name],
        }


def compare(everybody: list[Contender], rounds: int, part: float) -> Table:
    table = Table()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(upstream())
        ways = {DIRECT: provider}
        for place, each in enumerate(everybody):
            ways[each.name] = stack.enter_context(started(each, provider[0], directory / str(place)))
        slow = {name for name, (port, pid) in ways.items() if measured(port, pid, Shape(1, 1), SLOW_CALLS).p50_ms > 5}
        for _ in range(rounds):
            for shape_name, shape in SHAPES.items():
                for name, (port, pid) in ways.items():
                    calls = max(SLOW_CALLS, int(shape.calls * part * (0.1 if name in slow and not shape.stream else 1)))
                    table.rounds[name, shape_name].append(measured(port, pid, shape, calls))
        table.rss = {name: rss_mb(pid) for name, (_, pid) in ways.items()}
    return table


HEAD = (
    "                          CPU a call        calls   added at c=1      added at c=32,       an event   RSS\n"
    "                          us      ratio    a second  p50    p99 ms   50 ms: p50    p99    us  beyond  MB"
)


def show(table: Table, everybody: list[Contender], floors: Floors) -> None:
    print(HEAD)
    for each in everybody:
        row, floor = table.row(each), each.floor
        bounds = [
            (row["cpu"], floor.cpu, "CPU x"),
            (row["added_p50_ms"], floor.added_p50_ms, "p50 ms "),
            (row["added_p99_ms"], floor.added_p99_ms, "p99 ms "),
            (row["event_beyond_us"], floor.event_us, "event us "),
            (row["rss_mb"], floor.rss_mb, "MB "),
        ]
        missed = [f"{name}{most:g}" for value, most, name in bounds if most is not None and value > most]
        marks = "".join(floors.mark(False) + f" {name}" for name in missed)
        print(
            f"{each.name:24} {row['cpu_us']:7,.0f} {row['cpu']:7.2f}x {row['rate']:9,.0f} {row['added_p50_ms']:7.2f} "
            f"{row['added_p99_ms']:7.2f} {row['waiting_p50_ms']:11.2f} {row['waiting_p99_ms']:9.2f} "
            f"{row['event_us']:6.1f} {row['event_beyond_us']:6.1f} {row['rss_mb']:6.0f}{marks}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls, and two rounds")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args()
    with servers.start("valkey") as valkey:
        everybody = contenders(valkey.url)
        table = compare(everybody, *((2, 0.25) if options.quick else (5, 1.0)))
    if options.json:
        for each in everybody:
            print(json.dumps({"name": each.name, **table.row(each)}))
        return
    floors = Floors()
    show(table, everybody, floors)
    floors.leave()


if __name__ == "__main__":
    main()
