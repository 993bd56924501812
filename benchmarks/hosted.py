"""
What a hosted budget costs: a server with a SQLite store, asked over loopback.

    python -m benchmarks.hosted [--seconds 6] [--json]

A reserve, a settle and a bare request to `/health` go over the same client in turn, in short batches, so that a drift
of the machine's speed touches all alike. Then processes with eight threads reserve and settle in closed loops.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.stores.http.store import HttpStore

from .floors import Floors

ROUNDS, BATCH = 41, 25
MOST_RATIO = 2.5
LEAST_PAIRS = 1_000

WORKER = """
import sys, threading, time
from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.stores.http.store import HttpStore

store = HttpStore(sys.argv[1], namespace="bench", reserve_s=5, settle_s=5)
account = Account("team/all", limit=10**15)
counts = []
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[2])

def work():
    count = 0
    while time.monotonic() < end:
        held = Hold(new_id(), (account,), 10)
        store.reserve(held)
        store.settle(held, Entry(held.id, 7))
        count += 1
    counts.append(count)

threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sum(counts), round(time.process_time() / sum(counts) * 1e6), flush=True)
"""


@contextmanager
def server(store: str) -> Iterator[tuple[str, int]]:
    """A server as a process of its own: its URL and its pid."""
    command = [sys.executable, "-m", "budgetguard.cli", "serve", "--open", "--port", "0", "--store", store]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if '"listening"' in line:
                break
        url = json.loads(line)["url"]
        pool = urllib3.PoolManager()
        while pool.request("GET", f"{url}/health", retries=20).status != 200:
            time.sleep(0.01)
        yield url, process.pid
    finally:
        process.terminate()
        process.stderr.close()
        process.wait()


def latencies(url: str) -> dict[str, float]:
    """Medians in microseconds, batches in turn."""
    store, account = HttpStore(url, namespace="bench", reserve_s=5, settle_s=5), (Account("team/all", 10**15),)
    placed: list[Hold] = []

    def health() -> None:
        assert store._pool.urlopen("GET", "/health", retries=False).status == 200  # the same client as the others

    def reserve() -> None:
        placed.append(Hold(new_id(), account, 10))
        store.reserve(placed[-1])

    def settle() -> None:
        held = placed.pop()
        store.settle(held, Entry(held.id, 7))

    times: dict[str, list[float]] = {"health": [], "reserve": [], "settle": []}
    for _ in range(ROUNDS):
        for work in (health, reserve, settle):
            begin = time.perf_counter()
            for _ in range(BATCH):
                work()
            times[work.__name__].append((time.perf_counter() - begin) / BATCH * 1e6)
    store.close()
    return {name: statistics.median(each) for name, each in times.items()}


def throughput(url: str, pid: int, processes: int, seconds: float) -> dict[str, Any]:
    """Pairs a second of so many processes of eight threads, and the processor time of a pair on both sides."""
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, url, str(seconds)], stdin=pipe, stdout=pipe, text=True)
        for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    before = _cpu_s(pid)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate()[0].split() for worker in workers]
    pairs = sum(int(count) for count, _ in said)
    return {
        "processes": processes,
        "pairs_s": round(pairs / seconds),
        "server_us": round((_cpu_s(pid) - before) / pairs * 1e6),
        "client_us": round(statistics.mean(int(cpu) for _, cpu in said)),
    }


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each closed loop runs")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(f"sqlite:///{folder}/budgets.db") as (url, pid):
        times = latencies(url)
        ratio = times["reserve"] / times["health"]
        rows = [throughput(url, pid, processes, options.seconds) for processes in (1, 2, 4)]
    if options.json:
        print(json.dumps({**times, "ratio": ratio}))
        for row in rows:
            print(json.dumps(row))
        return
    floors = Floors()
    print(
        f"/health {times['health']:.0f} us, a reserve {times['reserve']:.0f} us: x{ratio:.2f} (floor {MOST_RATIO}); "
        f"a settle, synced to the disk, {times['settle']:.0f} us{floors.mark(ratio <= MOST_RATIO)}"
    )
    best = max(rows, key=lambda row: row["pairs_s"])
    for row in rows:
        print(
            f"{row['processes']} processes x 8 threads: {row['pairs_s']:,} pairs a second (floor {LEAST_PAIRS:,} at "
            f"best); processor time of a pair: {row['server_us']} us server, {row['client_us']} us client"
            f"{floors.mark(row is not best or row['pairs_s'] >= LEAST_PAIRS)}"
        )
    floors.leave()


if __name__ == "__main__":
    main()
