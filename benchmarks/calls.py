"""
What a guarded call costs, against the same SDK unguarded over a mock transport.

    python -m benchmarks.calls [--quick] [--json]

Each row alternates short batches of the bare and the guarded call and compares
their medians, so that a drift of the machine's speed touches both alike. Both state an
output cap: the field itself, which a guard adds where there is none, costs the SDK 16 to 20 us.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import budgetguard
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.stores import open_store
from tests.support.in_memory import REPLY
from tests.support.plain_calls import async_client, guarded, sync_client

from .floors import Floors

MESSAGES: list[Any] = [{"role": "user", "content": "Hey, how's it going?"}]
STATED: dict[str, Any] = {"model": "gpt-4o-mini", "max_completion_tokens": 100}
MOST_GROWTH = 1.2
MOST_ASYNC = 1.3
"""What an async call adds over SQLite, in parts of what a sync one does."""
MOST_FOR_LENGTH_US = 30
"""What a long prompt adds to what is added."""


@dataclass
class Row:
    """One line of the table; times in microseconds a call."""

    name: str
    bare_us: float
    guarded_us: float
    most_percent: float | None = None
    """The most that is added, in parts of the bare call."""
    most_us: float | None = None
    """The same in microseconds."""

    @property
    def added_us(self) -> float:
        return self.guarded_us - self.bare_us

    @property
    def percent(self) -> float:
        return 100 * self.added_us / self.bare_us

    @property
    def floor(self) -> str:
        if self.most_percent is not None:
            return f"+{self.most_percent:g} %"
        return "" if self.most_us is None else f"+{self.most_us:.0f} us"

    @property
    def kept(self) -> bool:
        if self.most_percent is not None:
            return self.percent <= self.most_percent
        return self.most_us is None or self.added_us <= self.most_us


def batch(call: Callable[[], Any], calls: int) -> float:
    """Seconds for one call, over a batch."""
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls


async def batch_async(call: Callable[[], Awaitable[Any]], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        await call()
    return (time.perf_counter() - started) / calls


def compare(
    call: Callable[[], Any], on: Callable[[], None], off: Callable[[], None], rounds: int, calls: int
) -> tuple[float, float]:
    """Medians in microseconds of a call bare and guarded, in alternating batches."""
    plain, ours = [], []
    gc.collect()
    for _ in range(rounds):
        off()
        plain.append(batch(call, calls))
        on()
        ours.append(batch(call, calls))
    return statistics.median(plain) * 1e6, statistics.median(ours) * 1e6


def _switch(manager: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    return (lambda: budgetguard.patch(manager)), budgetguard.unpatch


def sync_row(
    url: str | None, rounds: int, calls: int, user: str | None = "ann", prompt: str | None = None
) -> tuple[float, float]:
    """Microseconds of a bare and a guarded call; without a user no budget covers it."""
    client = sync_client()
    messages = MESSAGES if prompt is None else [{"role": "user", "content": prompt}]
    named = {} if user is None else {"user": user}

    def call() -> Any:
        return client.chat.completions.create(**STATED, messages=messages, **named)

    with guarded(url) as manager:
        on, off = _switch(manager)
        call()
        return compare(call, on, off, rounds, calls)


def async_row(url: str, rounds: int, calls: int) -> tuple[float, float]:
    """The same of an async call."""

    async def run() -> tuple[float, float]:
        client = async_client()

        def call() -> Awaitable[Any]:
            return client.chat.completions.create(**STATED, messages=MESSAGES, user="ann")

        plain, ours = [], []
        with guarded(url) as manager:
            on, off = _switch(manager)
            await call()
            for _ in range(rounds):
                off()
                plain.append(await batch_async(call, calls))
                on()
                ours.append(await batch_async(call, calls))
        return statistics.median(plain) * 1e6, statistics.median(ours) * 1e6

    return asyncio.run(run())


def stream_row(rounds: int, chunks: int = 10_000) -> Row:
    """A long stream, a chunk."""
    piece = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
    }
    last = {**piece, "choices": [], "usage": REPLY["usage"]}
    lines = [f"data: {json.dumps(piece)}\n\n"] * chunks + [f"data: {json.dumps(last)}\n\n", "data: [DONE]\n\n"]
    client = sync_client("".join(lines).encode(), "text/event-stream")

    def call() -> int:
        stream = client.chat.completions.create(**STATED, messages=MESSAGES, stream=True, user="ann")
        return sum(1 for _ in stream)

    with guarded("memory://") as manager:
        on, off = _switch(manager)
        bare_us, guarded_us = compare(call, on, off, rounds, 1)
    return Row("a stream's chunk (10,000 in a stream)", bare_us / chunks, guarded_us / chunks, 6)


def rows(quick: bool) -> Iterator[Row]:
    rounds, calls = (7, 60) if quick else (25, 200)
    folder = Path(tempfile.mkdtemp(prefix="budgetguard-bench-"))
    yield Row("no budget covers the call", *sync_row(None, rounds, calls, user=None), 1)
    memory = Row("memory store, sync", *sync_row("memory://", rounds, calls), 7)
    yield memory
    yield Row("memory store, async", *async_row("memory://", rounds, calls), 8)
    full, relaxed = f"sqlite:///{folder}/full.db", f"sqlite:///{folder}/relaxed.db?synchronous=normal"
    for name, url, most in (("one durable commit a call", full, 50), ("relaxed", relaxed, 25)):
        plain = Row(f"SQLite, {name}", *sync_row(url, rounds, calls), most)
        yield plain
        most_us = MOST_ASYNC * plain.added_us
        yield Row(f"SQLite, {name}, async", *async_row(url, rounds, calls), most_us=most_us)
    long = "All work and no play. " * 3640
    most_us = memory.added_us + MOST_FOR_LENGTH_US
    yield Row("memory store, 80 KB prompt", *sync_row("memory://", rounds, calls, prompt=long), most_us=most_us)
    yield stream_row(3 if quick else 9)


def pair_us(store: Any, user: str, pairs: int = 500) -> float:
    """Microseconds of one reserve and settle."""
    account = (Account(f"users/{user}/all", 10**15),)
    started = time.perf_counter()
    for _ in range(pairs):
        hold = Hold(new_id(), account, 1000)
        store.reserve(hold)
        store.settle(hold, Entry(hold.id, 900, tags={"user": user}, model="gpt-4o-mini"))
    return (time.perf_counter() - started) / pairs * 1e6


def fill(store: Any, users: int, entries: int, first: int = 0) -> None:
    """Settle this many calls, of so many users in turn."""
    for number in range(first, entries):
        user = f"u{number % users}"
        hold = Hold(new_id(), (Account(f"users/{user}/all", 10**15),), 1)
        store.settle(hold, Entry(hold.id, 1, tags={"user": user}, flags=frozenset({"manual"})))


def growth(name: str, empty_url: str, full_url: str, users: int, entries: int, floors: Floors) -> None:
    """Print what a pair costs in a store with many users, then with many entries, beside an empty one in turn."""
    empty, full = open_store(empty_url), open_store(full_url)
    done = 0
    for what, size in ((f"{users:,} users", users), (f"{entries:,} entries", entries)):
        fill(full, users, size, done)
        done = size
        pairs = [(pair_us(empty, "u1"), pair_us(full, f"u{turn * 7919 % users}")) for turn in range(41)]
        small, large = (statistics.median(times) for times in zip(*pairs, strict=True))
        line = f"{name}, {what}: a reserve and settle {large:.1f} us, {small:.1f} us without"
        kept = large / small <= MOST_GROWTH
        print(f"{line}: x{large / small:.2f}  (floor {MOST_GROWTH}){floors.mark(kept)}", flush=True)
    empty.close()
    full.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and growth to a tenth of the size")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args()
    print(f"{'':45}{'bare':>9}{'guarded':>10}{'added':>9}{'':>8}  floor")
    floors = Floors()
    for row in rows(options.quick):
        mark = floors.mark(row.kept)
        if options.json:
            print(json.dumps(asdict(row)))
        else:
            print(
                f"{row.name:45}{row.bare_us:7.1f}us{row.guarded_us:8.1f}us{row.added_us:+7.1f}us{row.percent:+7.1f}%"
                f"  {row.floor}{mark}",
                flush=True,
            )
    scale = 10 if options.quick else 1
    users, entries = 100_000 // scale, 1_000_000 // scale
    with tempfile.TemporaryDirectory() as folder:
        growth("memory", "memory://", "memory://", users, entries, floors)
        relaxed = f"sqlite:///{folder}/{{}}.db?synchronous=normal"
        growth("SQLite", relaxed.format("empty"), relaxed.format("full"), users, entries, floors)
    floors.leave()


if __name__ == "__main__":
    main()
