"""
A gateway that runs for long: so many calls with so many keys, and what the process holds meanwhile.

    python -m benchmarks.gateway_soak [--calls 1000000] [--keys 10000] [--store URL]

Each key has a budget and a rate of its own. What is remembered of keys fills in the first half of the calls; from then
on memory has to be flat, and threads and descriptors stay as many. Ends with 1 if it is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.gateway.client import Caller, request
from benchmarks.gateway.contenders import upstream
from budgetguard.server.keys import Grant, KeyRing
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support.hosting import Process

CONNECTIONS = 16
ROUNDS = 10
MOST_GROWTH = 1.05
"""From half of the calls to the last."""
PATH = "/v1/chat/completions"
FILE = '[[upstream]]\nname = "openai"\nbase = "http://127.0.0.1:{port}/v1"\nprices = "openai"\n'


class Sample(NamedTuple):
    """What the process holds after so many calls."""

    calls: int
    memory_kb: int
    descriptors: int
    threads: int
    calls_a_second: float


class ManyKeys:
    """Calls that are left to make, each with the next key: what a `Caller` works off."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = cycle(requests)
        self.left = 0
        self.took_ms: list[float] = []
        self.problems = 0
        self.problem = ""

    @property
    def request(self) -> bytes:
        """The next one."""
        return next(self._requests)

    async def work(self, port: int, calls: int) -> float:
        """Make so many calls; how many in a second."""
        self.left, begin_s = calls, time.perf_counter()
        self.took_ms.clear()
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: Caller(self), "127.0.0.1", port)  # type: ignore[arg-type]
            for _ in range(CONNECTIONS)
        ]
        await asyncio.gather(*(caller.over for _, caller in made))
        return calls / (time.perf_counter() - begin_s)


def keys(store: str, count: int) -> list[str]:
    """So many keys with limits that no call meets."""
    grant = Grant(limits=owner_limits([allowance(1_000_000, "monthly")], rpm=1_000_000))
    with closing(open_store(store, namespace=OWN)) as own:
        ring = KeyRing(own)
        return [ring.create("shop", "call", grant=grant)[1] for _ in range(count)]


def sample(served: Process, calls: int, rate: float) -> Sample:
    """What it holds now; said."""
    threads = len(list(Path(f"/proc/{served.pid}/task").iterdir()))
    taken = Sample(calls, served.memory_kb, served.descriptors, threads, rate)
    print(
        f"{taken.calls:10,} calls  {taken.memory_kb / 1024:7.1f} MB  {taken.descriptors:4} descriptors  "
        f"{taken.threads:3} threads  {taken.calls_a_second:7,.0f} calls/s",
        flush=True,
    )
    return taken


def run(store: str, folder: Path, calls: int, count: int) -> list[Sample]:
    """All calls, and a sample after each tenth."""
    made = keys(store, count)
    print(f"{count:,} keys", flush=True)
    with upstream() as (port, _):
        (folder / "gateway.toml").write_text(FILE.format(port=port))
        with Process(store, "--config", str(folder / "gateway.toml"), verb="gateway") as served:
            load = ManyKeys([request(served.port, PATH, key, 0, stream=False) for key in made])
            samples = [sample(served, 0, 0.0)]
            for number in range(1, ROUNDS + 1):
                rate = uvloop.run(load.work(served.port, calls // ROUNDS))
                samples.append(sample(served, number * (calls // ROUNDS), rate))
            if load.problems:
                raise SystemExit(f"{load.problems} calls failed, the last by {load.problem}\n{served.log()[-2000:]}")
            served.stop()
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway_soak")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--store", help="by default a file of SQLite's, which is removed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="budgetguard-soak-") as made:
        folder = Path(made)
        store = asked.store or f"sqlite:///{folder}/a.db?synchronous=normal&reserve_s=20&settle_s=20"
        samples = run(store, folder, asked.calls, asked.keys)
    early, late = samples[ROUNDS // 2], samples[-1]
    growth = late.memory_kb / early.memory_kb
    print(f"memory after all calls is {growth:.3f} of what it was after half (at most {MOST_GROWTH})")
    return int(
        growth > MOST_GROWTH or late.descriptors > early.descriptors + CONNECTIONS or late.threads > early.threads
    )


if __name__ == "__main__":
    sys.exit(main())
