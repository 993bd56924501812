"""
One dollar stays one dollar, in every shape that a program takes.

    python -m benchmarks.shapes

A user has a budget of $1.00. The endpoint speaks OpenAI's protocol on loopback, answers after 50 ms, writes as many
tokens as it is asked for, 999 at most, bills ten cents for an answer of 999, and keeps its own ledger. A burst of
calls in one shape is followed by a caller who goes on, one call after the other, until it is refused. Whatever the
shape, the endpoint's ledger must not pass $1.00, must agree with our books to the nano-dollar, and must reach $0.90.

Everything is at its default settings. With `max_tokens` not stated, the guard adds a cap to each request; stated, it
leaves the request alone and admits what fits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import openai

import budgetguard
from budgetguard import BudgetBusyError, BudgetExceededError, BudgetManager, PriceBook, StoreError
from budgetguard.guards.settings import Settings
from budgetguard.money import DOLLAR, Nano, format_nano
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider, Plan, Request

from . import servers

MODEL = "gpt-4o-mini"
USER = "ann"
MESSAGES = [{"role": "user", "content": "count the money"}]
INPUT = 10
"""The input tokens of MESSAGES, by the tokenizer and by the endpoint's own count alike."""

LONGEST = 999
INPUT_PRICE, OUTPUT_PRICE = 10, 100
"""Dollars per million tokens: INPUT and LONGEST tokens come to ten cents."""

ANSWER = " ".join("a" * (1 + number % 2) for number in range(LONGEST))
HEARD = 40
"""Items of a stream after which its reader goes away; the endpoint, which writes on demand, stops there too."""

LATENCY_S = 0.05
BURST = 50
TRIES = 30
PROCESSES, MANY_PROCESSES = 4, 16
PATIENCE_S = 5.0
LEAST_USED: Nano = 9 * DOLLAR // 10

GOES_ON = {"extra_headers": {"x-endpoint": "stops with its reader"}}
SAYS_NOTHING = {"extra_headers": {"x-endpoint": "says nothing"}}


class Endpoint(FakeProvider):
    """The fake provider with this price list, this latency, and answers as long as they are asked for."""

    def __init__(self) -> None:
        self.latency_s = LATENCY_S
        super().__init__(self._plan_of, prices=bill)

    def _plan_of(self, request: Request) -> Plan:
        wish = request.headers.get("x-endpoint")
        stall = {"stops with its reader": "stream", "says nothing": "headers"}.get(wish or "")
        return Plan(text=ANSWER, latency_s=self.latency_s, drop_after=HEARD, stall=stall)  # type: ignore[arg-type]


def bill(_model: str, usage: Mapping[str, Any]) -> Nano:
    """The endpoint's price list, written apart from ours: nano-dollars."""
    return int(usage["prompt_tokens"]) * INPUT_PRICE * 1000 + int(usage["completion_tokens"]) * OUTPUT_PRICE * 1000


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


class Books(NamedTuple):
    """Which books: the URL of the store, and the project in it."""

    url: str
    project: str


class Caller:
    """What every shape calls with: how it states a cap, and what became of its calls."""

    def __init__(self, base_url: str, stated: bool, books: Books, burst: int = BURST) -> None:
        self.base_url = base_url
        self.stated = stated
        self.books = books
        self.burst = burst
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._options = {"base_url": base_url, "api_key": "none", "max_retries": 0}

    def request(self, **more: Any) -> dict[str, Any]:
        """The arguments of one call."""
        cap = {"max_tokens": LONGEST} if self.stated else {}
        return {"model": MODEL, "messages": MESSAGES, "user": USER, **cap, **more}

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Count how a call ends."""
        try:
            yield
        except BudgetExceededError as error:
            self.count("busy" if isinstance(error, BudgetBusyError) else "refused")
        except (openai.APITimeoutError, TimeoutError, asyncio.CancelledError, _GoneAwayError):
            self.count("broken off")
        except StoreError:
            self.count("late")
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            self.count("error")
        else:
            self.count("answered")

    def count(self, outcome: str, times: int = 1) -> None:
        """Add to the outcomes, from any thread."""
        with self._lock:
            self.outcomes[outcome] += times

    def client(self, **options: Any) -> openai.OpenAI:
        """A client of its own for this caller."""
        return openai.OpenAI(**{**self._options, **options})

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        """The async one."""
        return openai.AsyncOpenAI(**{**self._options, **options})


class _GoneAwayError(Exception):
    """The caller of a stream does not want the rest of it."""


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
    others = [] if caller.books.url == "memory://" else [Worker(caller, BURST // PROCESSES)]
    for worker in others:
        worker.go()
    few = Caller(caller.base_url, caller.stated, caller.books, BURST // len(parts))
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
        raise _GoneAwayError


def _drop(caller: Caller, client: openai.OpenAI) -> None:
    with caller.outcome():
        stream = client.chat.completions.create(**caller.request(stream=True, **GOES_ON))
        _hear(stream)
        del stream
        raise _GoneAwayError


def _break_off(caller: Caller, client: openai.OpenAI) -> None:
    with caller.outcome(), client.chat.completions.create(**caller.request(stream=True, **GOES_ON)) as stream:
        _hear(stream)
        raise _GoneAwayError


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
        task = json.dumps([caller.base_url, caller.stated, caller.books, burst])
        command = [sys.executable, "-m", "benchmarks.shapes", "--worker", task, *flags]
        folder = Path(__file__).parent.parent
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
    base_url, stated, books, burst = json.loads(task)
    caller = Caller(base_url, stated, Books(*books), burst)
    with guarded(*caller.books):
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
    own = Caller(caller.base_url, caller.stated, caller.books, caller.burst)
    _work(own)
    said.send(dict(own.outcomes))


# -- the table -------------------------------------------------------------------------------------------------------


@contextmanager
def guarded(url: Any, project: str = "shapes") -> Iterator[BudgetManager]:
    """A patched SDK, and the books that it writes to."""
    prices = {MODEL: {"input": INPUT_PRICE, "output": OUTPUT_PRICE, "max_output": LONGEST}}
    # The endpoint writes on demand, and stops where its reader does.
    settings = Settings(abandoned="observed")
    manager = BudgetManager(project, store=url, prices=PriceBook(overrides=prices), settings=settings)
    budgetguard.patch(manager)
    try:
        yield manager
    finally:
        budgetguard.unpatch()
        manager.close()


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
        for store in ("sqlite", *servers.NAMES):
            yield from ((shape, store, stated) for stated in (False, True))


def main() -> None:
    """Print the table; the exit status is 1 if a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--fork", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.fork)
        return
    logging.getLogger("budgetguard").setLevel(logging.ERROR)
    began = time.monotonic()
    print(
        f"{'shape':28}{'store':8}{'max_tokens':12}answered broken off refused busy  {'billed':12}{'booked':12}verdict"
    )
    failed = 0
    for shape, store, stated in rows():
        row = run(shape, store, stated)
        failed += not row.holds
        counts = "".join(f"{row.outcomes[name]:>{width}}" for name, width in _COUNTS)
        amounts = f"{format_nano(row.billed):12}{format_nano(row.booked):12}"
        print(
            f"{shape:28}{store:8}{'stated' if stated else 'not stated':12}{counts}  {amounts}{row.verdict}", flush=True
        )
    print("* the answers never came, so nobody on this side can know the bill: the books have what was held, marked")
    print("  estimated, which is the bill or more.")
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


_COUNTS = (("answered", 8), ("broken off", 11), ("refused", 8), ("busy", 5))

if __name__ == "__main__":
    main()
