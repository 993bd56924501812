"""
What a guarded call costs, against the same SDK unguarded over a mock transport.

    python -m benchmarks.calls [--quick] [--json]

Each row alternates short batches of the bare and the guarded call and compares
their medians, so that a drift of the machine's speed touches both alike.
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

MESSAGES = [{"role": "user", "content": "Hey, how's it going?"}]
MEMORY = "memory store, sync"
MOST_GROWTH = 1.2


@dataclass
class Row:
    """One line of the table; times in microseconds a call."""

    name: str
    bare_us: float
    guarded_us: float
    floor: str
    """"+5 %": the most that is added; "+30 us more": than in the row of the memory store; "": none."""

    @property
    def added_us(self) -> float:
        return self.guarded_us - self.bare_us

    @property
    def percent(self) -> float:
        return 100 * self.added_us / self.bare_us

    def keeps(self, memory_us: float) -> bool:
        """Whether it keeps its floor, where so much is added in the row of the memory store."""
        most, _, unit = self.floor.partition(" ")
        if unit == "%":
            return self.percent <= float(most)
        return not self.floor or self.added_us <= memory_us + float(most)


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
    bare: Callable[[], Any],
    guarded_call: Callable[[], Any],
    on: Callable[[], None],
    off: Callable[[], None],
    rounds: int,
    calls: int,
) -> tuple[float, float]:
    """Medians in microseconds of the two, in alternating batches."""
    plain, ours = [], []
    gc.collect()
    for _ in range(rounds):
        off()
        plain.append(batch(bare, calls))
        on()
        ours.append(batch(guarded_call, calls))
    return statistics.median(plain) * 1e6, statistics.median(ours) * 1e6


def _switch(manager: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    return (lambda: budgetguard.patch(manager)), budgetguard.unpatch


def sync_row(
    name: str, url: str | None, floor: str, rounds: int, calls: int, user: str | None = "ann", prompt: str | None = None
) -> Row:
    client = sync_client()
    messages = MESSAGES if prompt is None else [{"role": "user", "content": prompt}]

    def call() -> Any:
        return client.chat.completions.create(model="gpt-4o-mini", messages=messages)

    def ours() -> Any:
        return client.chat.completions.create(model="gpt-4o-mini", messages=messages, user=user)

    with guarded(url) as manager:
        on, off = _switch(manager)
        ours()
        bare_us, guarded_us = compare(call if user is None else ours, ours, on, off, rounds, calls)
    return Row(name, bare_us, guarded_us, floor)


def async_row(name: str, url: str, floor: str, rounds: int, calls: int) -> Row:
    async def run() -> Row:
        client = async_client()

        def call() -> Awaitable[Any]:
            return client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, user="ann")

        plain, ours = [], []
        with guarded(url) as manager:
            on, off = _switch(manager)
            await call()
            for _ in range(rounds):
                off()
                plain.append(await batch_async(call, calls))
                on()
                ours.append(await batch_async(call, calls))
        return Row(name, statistics.median(plain) * 1e6, statistics.median(ours) * 1e6, floor)

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
        return sum(
            1 for _ in client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True, user="ann")
        )

    with guarded("memory://") as manager:
        on, off = _switch(manager)
        bare_us, guarded_us = compare(call, call, on, off, rounds, 1)
    return Row("a stream's chunk (10,000 in a stream)", bare_us / chunks, guarded_us / chunks, "+10 %")


def rows(quick: bool) -> Iterator[Row]:
    rounds, calls = (7, 60) if quick else (25, 200)
    folder = Path(tempfile.mkdtemp(prefix="budgetguard-bench-"))
    yield sync_row("no budget covers the call", None, "+1 %", rounds, calls, user=None)
    yield sync_row(MEMORY, "memory://", "+5 %", rounds, calls)
    yield async_row("memory store, async", "memory://", "+8 %", rounds, calls)
    yield sync_row("SQLite, one durable commit a call", f"sqlite:///{folder}/full.db", "+45 %", rounds, calls)
    relaxed = f"sqlite:///{folder}/relaxed.db?synchronous=normal"
    yield sync_row("SQLite, relaxed", relaxed, "+20 %", rounds, calls)
    yield async_row("SQLite, relaxed, async", relaxed, "", rounds, calls)
    yield async_row("SQLite, one durable commit, async", f"sqlite:///{folder}/full.db", "", rounds, calls)
    yield sync_row(
        "memory store, 80 KB prompt", "memory://", "+30 us more", rounds, calls, prompt="All work and no play. " * 3640
    )
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
    floors, memory_us = Floors(), 0.0
    for row in rows(options.quick):
        if row.name == MEMORY:
            memory_us = row.added_us
        mark = floors.mark(row.keeps(memory_us))
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
