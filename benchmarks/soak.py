"""
The simulation with many more seeds than the tests have time for.

    python -m benchmarks.soak [--seconds 300] [--first 1000000] [--processes N] [--store memory|sqlite|both]

Every promise of the ledger is checked at every step (`tests/support/simulation.py`). Every second seed is played with
leases, two of four with tokens and requests beside dollars. A seed that fails is printed, and fails again:

    python -m benchmarks.soak --first SEED --seeds 1 --store memory
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from functools import partial
from pathlib import Path

from budgetguard.ledger import Clock, Store
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.simulation import World

BATCH = 20


def memory(clock: Clock, directory: Path) -> Store:
    return MemoryStore(clock=clock)


def sqlite(clock: Clock, directory: Path) -> Store:
    return SQLiteStore(directory / "a.db", clock=clock, durable=False, reserve_s=5, settle_s=5)


STORES = {"memory": memory, "sqlite": sqlite}


def play(store: str, until_s: float, seeds: range) -> tuple[int, int, int, list[str]]:
    """How many seeds were played, operations done and calls sent; and what failed."""
    played = served = sent = 0
    failed = []
    for seed in seeds:
        if time.time() > until_s:
            break
        played += 1
        try:
            world = World(seed, STORES[store], leased=bool(seed & 1), units=bool(seed & 2)).run()
        except Exception:
            failed.append(f"seed {seed} on {store}:\n{traceback.format_exc()}")
        else:
            served += world.served
            sent += sum(record.sent for record in world.records.values())
    return played, served, sent, failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--first", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=1_000_000, help="at most so many")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--store", choices=[*STORES, "both"], default="both")
    asked = parser.parse_args()
    until_s = time.time() + asked.seconds
    bad = False
    stores = list(STORES) if asked.store == "both" else [asked.store]
    for number, store in enumerate(stores, 1):
        begin_s = time.time()
        end_s = begin_s + (until_s - begin_s) / (len(stores) - number + 1)
        last = asked.first + asked.seeds
        batches = (range(seed, min(seed + BATCH, last)) for seed in range(asked.first, last, BATCH))
        seeds = served = sent = failures = 0
        with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
            for part in pool.imap_unordered(partial(play, store, end_s), batches):
                seeds, served, sent = seeds + part[0], served + part[1], sent + part[2]
                failures += len(part[3])
                for text in part[3][: max(0, 5 - failures + len(part[3]))]:
                    print(text, file=sys.stderr, flush=True)
                if not part[0]:
                    pool.terminate()
                    break
        bad = bad or failures > 0
        spent_s = time.time() - begin_s
        print(
            f"{store:7} {seeds:9,} seeds  {sent:12,} calls sent  {served:12,} operations checked  "
            f"{failures:4} failed  {spent_s:6.0f} s",
            flush=True,
        )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
