"""
One account of one SQLite file, wanted by everybody at once: is it fair, and is it fast?

    python -m benchmarks.contention [--seconds 5] [--processes 4] [--threads 8] [--directory DIR] [--json]

Every thread of every process reserves and settles in a closed loop, one durable commit for each settlement. The
directory should be on the disk that is meant: a temporary one may be in memory.

A thousandth of the reserves may take longer than `p99.9`; `fair` is the most pairs of one thread over the fewest.
The first line says what the disk itself takes: for one sync of what a settlement writes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from budgetguard.ledger import Account, Admitted, Entry, Hold, new_id
from budgetguard.stores.sqlite.store import SQLiteStore

ACCOUNT = Account("team/2027-01", limit=10**15)


@dataclass
class Row:
    """What one arrangement did; times in milliseconds."""

    processes: int
    threads: int
    pairs_per_s: float
    fewest: int
    most: int
    fair: float
    reserve_p50_ms: float
    reserve_p99_ms: float
    reserve_p999_ms: float
    reserve_most_ms: float
    settle_p50_ms: float
    settle_p999_ms: float


def loop(store: SQLiteStore, until: float, reserves: list[float], settles: list[float]) -> None:
    """Reserve and settle until the time is over; the seconds that each took."""
    clock = time.perf_counter
    while time.monotonic() < until:
        held = Hold(new_id(), (ACCOUNT,), 10, tags={"user": "ann"}, model="gpt-4o-mini")
        begin = clock()
        assert isinstance(store.reserve(held), Admitted)
        between = clock()
        store.settle(held, Entry(held.id, 7, tags=held.tags, model=held.model, usage={"input_tokens": 9}))
        settles.append(clock() - between)
        reserves.append(between - begin)


def process(path: str, threads: int, seconds: float, results: Connection) -> None:
    """One process: waits for its word, then spends in so many threads."""
    store = SQLiteStore(path, reserve_s=10, settle_s=10)
    store.balances([ACCOUNT.key])
    results.send("ready")
    results.recv()
    until = time.monotonic() + seconds
    timed: list[tuple[list[float], list[float]]] = [([], []) for _ in range(threads)]
    running = [threading.Thread(target=loop, args=(store, until, *each)) for each in timed]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    results.send(timed)
    store.close()


def run(directory: Path, processes: int, threads: int, seconds: float) -> Row:
    path = f"{tempfile.mkdtemp(dir=directory)}/budgets.db"
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(processes)]
    workers = [spawn.Process(target=process, args=(path, threads, seconds, theirs)) for _, theirs in pipes]
    for worker in workers:
        worker.start()
    for ours, _ in pipes:
        assert ours.recv() == "ready"
    begin = time.monotonic()
    for ours, _ in pipes:
        ours.send("go")
    timed = [each for ours, _ in pipes for each in ours.recv()]
    spent = time.monotonic() - begin
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    counts = [len(reserves) for reserves, _ in timed]
    store = SQLiteStore(path)
    assert store.check() == []
    assert store.balances([ACCOUNT.key])[0].settled == 7 * sum(counts)
    store.close()
    reserves = sorted(1000 * second for each, _ in timed for second in each)
    settles = sorted(1000 * second for _, each in timed for second in each)
    return Row(
        processes,
        threads,
        sum(counts) / spent,
        min(counts),
        max(counts),
        max(counts) / max(min(counts), 1),
        statistics.median(reserves),
        reserves[int(len(reserves) * 0.99)],
        reserves[int(len(reserves) * 0.999)],
        reserves[-1],
        statistics.median(settles),
        settles[int(len(settles) * 0.999)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contention")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--directory", type=Path, default=Path())
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    shapes = [(1, 1), (1, asked.threads), (asked.processes, 1), (asked.processes, asked.threads)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        if not asked.json:
            print(f"one sync of 8 kB: {sync_ms(Path(directory)):.2f} ms")
        for processes, threads in shapes:
            rows.append(run(Path(directory), processes, threads, asked.seconds))
            if not asked.json:
                show(rows[-1], first=len(rows) == 1)
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))


def sync_ms(directory: Path, times: int = 200) -> float:
    """What the disk takes for one sync, at the median, in milliseconds."""
    spent = []
    with (directory / "sync").open("wb", buffering=0) as file:
        file.write(bytes(8192 * times))
        os.fsync(file.fileno())
        for place in range(times):
            begin = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(8192), 8192 * place)
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - begin)
    return 1000 * statistics.median(spent)


def show(row: Row, *, first: bool) -> None:
    if first:
        print(
            "processes x threads   pairs/s   fair (most/fewest)   reserve p50   p99   p99.9   most ms   settle p50 ms"
        )
    print(
        f"{row.processes:9} x {row.threads:<7} {row.pairs_per_s:9,.0f}   {row.fair:5.2f} {row.most:6}/{row.fewest:<6} "
        f"{row.reserve_p50_ms:11.2f} {row.reserve_p99_ms:6.1f} {row.reserve_p999_ms:6.1f} {row.reserve_most_ms:8.1f} "
        f"{row.settle_p50_ms:12.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
