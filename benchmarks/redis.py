"""
What a store on Valkey costs, against bare round trips to it in the same run.

    python -m benchmarks.redis [--server valkey|redis] [--quick] [--json]

A pair is a reserve and a settle; beside it, in turn, stand two `PING`s of the same client library with the same
settings. `growth` is a pair beside a million accounts over one beside a single account. The server has its log on
(`appendonly yes`, `appendfsync everysec`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial

import redis

from budgetguard.ledger import Account, Admitted, Entry, Hold, Store, new_id
from budgetguard.stores import open_store
from tests.support import servers

from .floors import Floors

LIMIT = 10**15
ACCOUNTS = tuple(Account(f"team-{number}/2027-01", limit=LIMIT) for number in range(4))
TAGS = {"user": "ann", "feature": "search"}
USAGE = {"input_tokens": 120, "output_tokens": 60}
TERMS = (("users/ann", 0),)


@dataclass
class Row:
    """One line: what was measured, and what it should be at least or at most."""

    name: str
    value: float
    floor: str


def pair(store: Store, accounts: tuple[Account, ...]) -> None:
    """One call's steps."""
    held = Hold(new_id(), accounts, 500, terms=TERMS, tags=TAGS, provider="openai", model="gpt-4o-mini")
    assert isinstance(store.reserve(held), Admitted)
    store.settle(held, Entry(held.id, 300, (), 0, TAGS, "openai", "gpt-4o-mini", USAGE))


def seconds(work: Callable[[], object], times: int) -> float:
    """Of one, over many."""
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times


def side_by_side(
    one: Callable[[], object], other: Callable[[], object], rounds: int, times: int
) -> tuple[float, float]:
    """The medians in seconds of two things that are done in turn, and which of them is first in turn, too."""
    ones, others = [], []
    for turn in range(rounds):
        for work, found in ((one, ones), (other, others)) if turn % 2 else ((other, others), (one, ones)):
            found.append(seconds(work, times))
    return statistics.median(ones), statistics.median(others)


def throughput(work: Callable[[], None], threads: int, span_s: float) -> float:
    """How often a second, by so many threads of this process."""
    counts = [0] * threads
    until = time.perf_counter() + span_s

    def loop(place: int) -> None:
        while time.perf_counter() < until:
            work()
            counts[place] += 1

    running = [threading.Thread(target=loop, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / span_s


def fill(client: redis.Redis, prefix: bytes, accounts: int) -> None:
    """Put accounts beside the others."""
    batch = client.pipeline(transaction=False)
    for number in range(accounts):
        key = f"users/{number:07d}/2027-01"
        batch.execute_command("HSET", prefix + b"a:" + key.encode(), "s", 0, "h", 0, "p", 0)
        batch.execute_command("ZADD", prefix + b"k", 0, key)
        if number % 2000 == 1999:
            batch.execute()
    batch.execute()


def measure(name: str, *, quick: bool) -> list[Row]:
    """Every row."""
    rounds, times, accounts = (6, 200, 20_000) if quick else (20, 500, 1_000_000)
    rows = []
    with servers.start(name) as server, closing(open_store(server.url, namespace="bench")) as store:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        with redis.Redis(port=port, socket_timeout=0.25) as client:
            for _ in range(300):
                pair(store, ACCOUNTS)
            for some, floor in ((ACCOUNTS[:1], "<= 2.0"), (ACCOUNTS, "<= 2.5")):
                ours, bare = side_by_side(partial(pair, store, some), client.ping, rounds, times)
                many = f"accounts: {len(some)}"
                rows.append(Row(f"{many}, a pair over two PINGs", ours / (2 * bare), floor))
                rows.append(Row(f"{many}, microseconds a pair", ours * 1e6, ""))
            rows.append(Row("microseconds a PING", bare * 1e6, ""))
            for threads in (1, 8):
                span_s = 1.0 if quick else 4.0
                rate = throughput(partial(pair, store, ACCOUNTS[:1]), threads, span_s)
                rows.append(Row(f"threads: {threads}, pairs a second", rate, ">= 8000" if threads == 8 else ""))
            with closing(open_store(server.url, namespace="full")) as full:
                pair(full, ACCOUNTS[:1])
                fill(client, b"budgetguard:{full}:", accounts)
                beside, alone = partial(pair, full, ACCOUNTS[:1]), partial(pair, store, ACCOUNTS[:1])
                grown, bare = side_by_side(beside, alone, rounds, times)
                rows.append(Row(f"growth, beside {accounts:,} accounts", grown / bare, "<= 1.2"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis")
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = measure(asked.server, quick=asked.quick)
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    floors = Floors()
    for row in rows:
        mark = floors.bound(row.value, row.floor)
        print(f"{asked.server:8} {row.name:48} {row.value:10,.2f}   {row.floor}{mark}")
    floors.leave()


if __name__ == "__main__":
    main()
