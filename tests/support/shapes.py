"""
One dollar stays one dollar, in every shape that a program takes.

A user has a budget of $1.00; the endpoint answers after 50 ms. A burst of calls in one shape is followed by a caller
who goes on, one call after the other, until it is refused. Whatever the shape, the endpoint's ledger must not pass
$1.00, must agree with our books to the nano-dollar, and must reach $0.90.

Everything is at its default settings. With `max_tokens` not stated, the guard adds a cap to each request; stated, it
leaves the request alone and admits what fits. Run as a program, this is a worker: another process with calls of one
shape.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import openai

from budgetguard.money import DOLLAR, Nano
from budgetguard.process.state import PROCESS
from tests.support import servers
from tests.support.endpoint import (
    BURST,
    GOES_ON,
    HEARD,
    LATENCY_S,
    SAYS_NOTHING,
    USER,
    Books,
    Caller,
    Endpoint,
    GoneAwayError,
    guarded,
)
from tests.support.several import several

TRIES = 30
PROCESSES, MANY_PROCESSES = 4, 16
PATIENCE_S = 5.0
LEAST_USED: Nano = 9 * DOLLAR // 10


@dataclass(frozen=True)
class Row:
    """One line of the table. Amounts in nano-dollars."""

    shape: str
    store: str
    stated: bool
    outcomes: Mapping[str, int]
    billed: Nano
    booked: Nano
    known: bool
    """Whether the caller can know what every call cost."""
    leaks: str

    @property
    def verdict(self) -> str:
        """ "holds", or what does not."""
        wrong = []
        if self.billed > DOLLAR:
            wrong.append("overspent")
        if self.booked < self.billed or (self.known and self.booked != self.billed):
            wrong.append("the books differ from the bill")
        if (self.billed if self.known else self.booked) < LEAST_USED:
            wrong.append("could not be used")
        if self.leaks:
            wrong.append(self.leaks)
        if self.outcomes["error"]:
            wrong.append(f"{self.outcomes['error']} unforeseen errors")
        late = f" ({self.outcomes['late']} calls refused, the store being late)" if self.outcomes["late"] else ""
        return "; ".join(wrong) or f"holds{late}"

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return self.verdict.startswith("holds")


# -- shapes ----------------------------------------------------------------------------------------------------------


def gathered(caller: Caller) -> None:
    """Calls in `asyncio.gather`."""
    _gather(caller, _create)


def gathered_streams(caller: Caller) -> None:
    """Streams in `asyncio.gather`, read to their end."""
    _gather(caller, _read)


def cancelled_streams(caller: Caller) -> None:
    """Streams whose tasks are cancelled while they wait for the next item."""
    _gather(caller, _read_and_be_cancelled)


def cancelled_calls(caller: Caller) -> None:
    """Calls whose tasks are cancelled before the answer came."""
    _gather(caller, _be_cancelled)


def executor(caller: Caller) -> None:
    """Threads of one executor, that share a client."""
    with caller.client() as client, ThreadPoolExecutor(caller.burst) as pool:
        list(pool.map(lambda _: call(caller, client), range(caller.burst)))


def threads(caller: Caller) -> None:
    """Plain threads."""
    with caller.client() as client:
        _run_threads([lambda: call(caller, client)] * caller.burst)


def abandoned_streams(caller: Caller) -> None:
    """Streams that are closed, dropped, or left by an exception in the middle, in threads."""
    with caller.client() as client:
        ways = [_close, _drop, _break_off]
        _run_threads([lambda way=ways[number % 3]: way(caller, client) for number in range(caller.burst)])


def timed_out(caller: Caller) -> None:
    """Calls that time out waiting for the answer, in threads."""
    with caller.client(timeout=0.4) as client:
        _run_threads([lambda: call(caller, client, **SAYS_NOTHING)] * caller.burst)


def swallowing(caller: Caller) -> None:
    """A caller that swallows every error and tries again."""
    with caller.client() as client:
        for _ in range(TRIES):
            call(caller, client)


def mixed(caller: Caller) -> None:
    """All of it at once; with a file for a store, beside another process."""
    parts = [gathered, gathered_streams, cancelled_streams, executor, abandoned_streams, swallowing]
    alone = caller.is_guarded and caller.books.url == "memory://"
    others = [] if alone else [Worker(caller, BURST // PROCESSES)]
    for worker in others:
        worker.go()
    few = caller.fewer(BURST // len(parts))
    _run_threads([lambda part=part: part(few) for part in parts])
    for worker in others:
        worker.join()
    for outcome, times in few.outcomes.items():
        caller.count(outcome, times)


def spawned(caller: Caller, processes: int = PROCESSES) -> None:
    """Processes that were spawned, each with threads."""
    workers = [Worker(caller, BURST // processes) for _ in range(processes)]
    for worker in workers:
        worker.go()
    for worker in workers:
        worker.join()


def forked(caller: Caller) -> None:
    """Processes that were forked off one which had the store open, each with threads."""
    worker = Worker(caller, BURST // PROCESSES, "--fork")
    worker.go()
    worker.join()


EVERYWHERE: Mapping[str, Callable[[Caller], None]] = {
    f"{BURST} gathered": gathered,
    f"{BURST} threads of an executor": executor,
    f"{BURST} plain threads": threads,
    f"{BURST} gathered streams": gathered_streams,
    f"{BURST} streams abandoned": abandoned_streams,
    f"{BURST} streams cancelled": cancelled_streams,
    f"{TRIES} tries, errors swallowed": swallowing,
    "all of these at once": mixed,
    f"{BURST} calls cancelled *": cancelled_calls,
    f"{BURST} calls timed out *": timed_out,
}
ACROSS: Mapping[str, Callable[[Caller], None]] = {
    f"{PROCESSES} spawned processes": spawned,
    f"{MANY_PROCESSES} spawned processes": partial(spawned, processes=MANY_PROCESSES),
    f"{PROCESSES} forked processes": forked,
    "four SDKs at once": several,
}
UNKNOWN = frozenset({cancelled_calls, timed_out})
"""Shapes whose caller cannot know what its calls cost: their answers never came."""


def call(caller: Caller, client: openai.OpenAI, **more: Any) -> None:
    """One call."""
    with caller.outcome():
        client.chat.completions.create(**caller.request(**more))


def _close(caller: Caller, client: openai.OpenAI) -> None:
    with caller.outcome(), client.chat.completions.create(**caller.request(stream=True, **GOES_ON)) as stream:
        _hear(stream)
        stream.close()
        raise GoneAwayError


def _drop(caller: Caller, client: openai.OpenAI) -> None:
    with caller.outcome():
        stream = client.chat.completions.create(**caller.request(stream=True, **GOES_ON))
        _hear(stream)
        del stream
        raise GoneAwayError


def _break_off(caller: Caller, client: openai.OpenAI) -> None:
    with caller.outcome(), client.chat.completions.create(**caller.request(stream=True, **GOES_ON)) as stream:
        _hear(stream)
        raise GoneAwayError


def _hear(stream: Any) -> None:
    for _, _ in zip(range(HEARD), stream, strict=False):
        pass


async def _create(caller: Caller, client: openai.AsyncOpenAI) -> None:
    with caller.outcome():
        await client.chat.completions.create(**caller.request())


async def _read(caller: Caller, client: openai.AsyncOpenAI) -> None:
    with caller.outcome():
        async for _ in await client.chat.completions.create(**caller.request(stream=True)):
            pass


async def _read_and_be_cancelled(caller: Caller, client: openai.AsyncOpenAI) -> None:
    heard = asyncio.Event()

    async def read() -> None:
        stream = await client.chat.completions.create(**caller.request(stream=True, **GOES_ON))
        count = 0
        async for _ in stream:
            count += 1
            if count == HEARD:
                heard.set()

    with caller.outcome():
        task = asyncio.ensure_future(read())
        listening = asyncio.ensure_future(heard.wait())
        await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        task.cancel()
        await task


async def _be_cancelled(caller: Caller, client: openai.AsyncOpenAI) -> None:
    with caller.outcome():
        async with asyncio.timeout(0.4):
            await client.chat.completions.create(**caller.request(**SAYS_NOTHING))


def _gather(caller: Caller, one: Callable[[Caller, openai.AsyncOpenAI], Any]) -> None:
    async def run() -> None:
        async with caller.async_client() as client:
            await asyncio.gather(*[one(caller, client) for _ in range(caller.burst)])

    asyncio.run(run())


def _run_threads(targets: list[Callable[[], Any]]) -> None:
    running = [threading.Thread(target=target) for target in targets]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


# -- processes -------------------------------------------------------------------------------------------------------


class Worker:
    """Another process on the same database: it waits for the word, runs threads, and says what became of them."""

    def __init__(self, caller: Caller, burst: int, *flags: str) -> None:
        self._caller = caller
        task = json.dumps([caller.base_url, caller.stated, caller.books, burst, caller.key])
        command = [sys.executable, "-m", __spec__.name, task, *flags]
        folder = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def go(self) -> None:
        """Give the word."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def join(self) -> None:
        """Wait for its end, and count what it counted."""
        said, _ = self._process.communicate(timeout=60)
        counts = json.loads(said or "{}")
        for outcome, times in counts.items():
            self._caller.count(outcome, times)
        if self._process.returncode:
            self._caller.count("error")


def work(task: str, fork: bool) -> None:
    """What a worker does."""
    base_url, stated, books, burst, key = json.loads(task)
    caller = Caller(base_url, stated, Books(*books), burst, key)
    with guarded(*caller.books) if caller.is_guarded else nullcontext():
        print("ready", flush=True)
        sys.stdin.readline()
        if not fork:
            _work(caller)
        else:
            with caller.client() as client:
                call(caller, client)  # the store is open, and has been written to
            for counts in _fork(caller):
                caller.outcomes.update(counts)
    print(json.dumps(caller.outcomes))


def _work(caller: Caller) -> None:
    with caller.client() as client:
        _run_threads([lambda: call(caller, client)] * caller.burst)


def _fork(caller: Caller) -> list[dict[str, int]]:
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(PROCESSES)]
    children = [context.Process(target=_forked, args=(caller, said)) for _, said in pipes]
    for child in children:
        child.start()
    counts = [heard.recv() for heard, _ in pipes]
    for child in children:
        child.join()
    return counts


def _forked(caller: Caller, said: Any) -> None:
    own = caller.fewer(caller.burst)
    _work(own)
    said.send(dict(own.outcomes))


# -- one row ---------------------------------------------------------------------------------------------------------


def run(shape: str, store: str, stated: bool) -> Row:
    """One row: a burst in one shape, then a caller who goes on until it is refused."""
    burst = {**EVERYWHERE, **ACROSS}[shape]
    with tempfile.TemporaryDirectory(prefix="budgetguard-shapes-") as folder, Endpoint() as endpoint:
        own = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/budgets.db"}
        books = Books(own[store] if store in own else servers.running(store), f"shapes-{uuid.uuid4().hex}")
        with guarded(*books) as manager:
            manager.create_budget(1.00, USER)
            caller = Caller(endpoint.base_url, stated, books)
            burst(caller)
            PROCESS.reaper.drain()
            endpoint.latency_s = 0
            drain(caller)
            endpoint.wait()
            leaks = [f"{len(manager.store.holds())} holds are left"] if manager.store.holds() else []
            leaks += ["the accounts do not add up"] if manager.store.check() else []
            booked = sum(entry.cost for entry in manager.store.entries())
        billed = endpoint.billed.nano
    return Row(shape, store, stated, caller.outcomes, billed, booked, burst not in UNKNOWN, "; ".join(leaks))


def drain(caller: Caller) -> None:
    """A sequential caller goes on until it is refused; busy is no refusal for good, but one for a moment."""
    until_s = time.monotonic() + PATIENCE_S
    with caller.client() as client:
        while True:
            before = caller.outcomes.copy()
            call(caller, client)
            if caller.outcomes["answered"] > before["answered"]:
                continue
            passing = before["busy"] + before["late"]
            if caller.outcomes["busy"] + caller.outcomes["late"] == passing or time.monotonic() > until_s:
                return
            time.sleep(LATENCY_S)


def rows() -> Iterator[tuple[str, str, bool]]:
    """Every row of the table: its shape, its store, whether `max_tokens` is stated."""
    for shape in EVERYWHERE:
        for store in ("memory", "sqlite"):
            yield from ((shape, store, stated) for stated in (False, True))
    for shape in ACROSS:
        for store in ("sqlite", *servers.NAMES) if shape != "four SDKs at once" else ("sqlite", "postgres"):
            yield from ((shape, store, stated) for stated in (False, True))


if __name__ == "__main__":
    work(sys.argv[1], "--fork" in sys.argv)
