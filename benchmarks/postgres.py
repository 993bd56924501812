"""
What a call costs in PostgreSQL: `python -m benchmarks.postgres [--quick] [--json]`.

A reserve and a settle are compared with the least that any database could do for them: two bare prepared updates of one
row, the first without and the second with waiting for the disk, on the same server in the same second. The ratio is the
median over many such pairs of measurements, so that other load on the machine does not decide.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from budgetguard.ledger import Account, Admitted, Entry, Hold, Settled, new_id
from budgetguard.stores.postgres.store import PostgresStore
from tests.support.servers import start

from .floors import Floors

MOST_RATIO = 2.0
"""A reserve and a settle on one account cost at most so many times the two bare updates."""

LEAST_PAIRS = 2000
"""So many pairs a second, with 8 threads, on two cores that do nothing else."""

MOST_GROWTH = 1.5
"""And with a million accounts at most so many times what they cost with one."""

LIMIT = 10**15
ACCOUNTS = 1_000_000
THREADS = 8
BLOCK = 25


class Bench:
    """A server, a store on it, and two bare connections."""

    def __init__(self, url: str) -> None:
        self.store = PostgresStore(url, namespace="bench", reserve_s=5, settle_s=5, pool_size=THREADS)
        self.connection = psycopg.connect(url, autocommit=True)
        self.unsynced = psycopg.connect(url, autocommit=True)
        self.unsynced.execute("SET synchronous_commit = off")
        self.connection.execute("CREATE TABLE bare (id integer PRIMARY KEY, amount bigint) WITH (fillfactor = 50)")
        self.connection.execute("INSERT INTO bare VALUES (1, 0)")
        self.cursors = self.unsynced.cursor(), self.connection.cursor()

    def bare(self) -> None:
        """The two updates."""
        for cursor in self.cursors:
            cursor.execute("UPDATE bare SET amount = amount + %s WHERE id = %s", (1, 1), prepare=True)

    def pair(self, *keys: str) -> None:
        """A reserve and a settle."""
        accounts = tuple([Account(key, limit=LIMIT) for key in keys])
        held = Hold(new_id(), accounts, 10, tags={"user": "ann"}, provider="openai", model="gpt-4o")
        answer = self.store.reserve(held)
        entry = Entry(held.id, 7, (), 0, held.tags, "openai", "gpt-4o", {"input_tokens": 3, "output_tokens": 5})
        if not isinstance(answer, Admitted) or not isinstance(self.store.settle(held, entry), Settled):
            raise TypeError(f"the store answers {answer}")

    def fill(self) -> None:
        """Make a million accounts."""
        self.connection.execute(
            "INSERT INTO budgetguard.accounts (ns, key) SELECT ns, ('user/' || n)::bytea "
            f"FROM budgetguard.namespaces, generate_series(1, {ACCOUNTS}) AS n WHERE name = 'bench'"
        )
        self.connection.execute("ANALYZE budgetguard.accounts")


def seconds(work: Callable[[], None]) -> float:
    """One of them, as the mean of a block."""
    begin = time.perf_counter()
    for _ in range(BLOCK):
        work()
    return (time.perf_counter() - begin) / BLOCK


def compare(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Each by turns."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        seconds(work)
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(seconds(work))
    return found


def ratio(over: list[float], under: list[float]) -> float:
    return statistics.median([one / other for one, other in zip(over, under, strict=True)])


def throughput(bench: Bench, duration_s: float, *, shared: bool) -> float:
    """Pairs a second of some threads, on one account for all or one for each."""
    done = [0] * THREADS
    end = time.monotonic() + duration_s

    def run(place: int) -> None:
        while time.monotonic() < end:
            bench.pair("shared" if shared else f"own/{place}")
            done[place] += 1

    threads = [threading.Thread(target=run, args=(place,)) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / duration_s


def measure(quick: bool) -> dict[str, Any]:
    """All of it."""
    rounds, duration_s = (15, 1.0) if quick else (60, 5.0)
    with start("postgres") as server:
        bench = Bench(server.url)
        one, four = (lambda: bench.pair("a")), (lambda: bench.pair("b", "c", "d", "e"))
        found = compare({"bare": bench.bare, "one": one, "four": four}, rounds)
        rates = {name: throughput(bench, duration_s, shared=name == "shared") for name in ("shared", "own")}
        bench.fill()
        grown = compare({"bare": bench.bare, "one": lambda: bench.pair("user/777777")}, rounds)
        differences = bench.store.check()
        bench.store.close()
        bench.connection.close()
        bench.unsynced.close()
    few, many = ratio(found["one"], found["bare"]), ratio(grown["one"], grown["bare"])
    return {
        "bare_us": 1e6 * statistics.median(found["bare"]),
        "one_us": 1e6 * statistics.median(found["one"]),
        "four_us": 1e6 * statistics.median(found["four"]),
        "one_ratio": few,
        "four_ratio": ratio(found["four"], found["bare"]),
        "shared_pairs_per_s": rates["shared"],
        "own_pairs_per_s": rates["own"],
        "million_growth": many / few,
        "differences": len(differences),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--json", action="store_true", help="for a program")
    options = parser.parse_args()
    found = measure(options.quick)
    if options.json:
        print(json.dumps(found))
        return
    floors, one, grown, pairs = Floors(), found["one_ratio"], found["million_growth"], found["own_pairs_per_s"]
    marks = [floors.mark(kept) for kept in (one <= MOST_RATIO, pairs >= LEAST_PAIRS, grown <= MOST_GROWTH)]
    print(f"two bare updates     {found['bare_us']:7.0f} us")
    print(f"reserve and settle   {found['one_us']:7.0f} us, x {one:.2f} (at most {MOST_RATIO}){marks[0]}")
    print(f"over four accounts   {found['four_us']:7.0f} us, x {found['four_ratio']:.2f}")
    print(f"8 threads, own       {pairs:7.0f} pairs/s (at least {LEAST_PAIRS} on idle cores){marks[1]}")
    print(f"8 threads, shared    {found['shared_pairs_per_s']:7.0f} pairs/s")
    print(f"a million accounts   x {grown:.2f} (at most {MOST_GROWTH}){marks[2]}")
    print(f"accounts that do not add up: {found['differences']}{floors.mark(not found['differences'])}")
    floors.leave()


if __name__ == "__main__":
    main()
