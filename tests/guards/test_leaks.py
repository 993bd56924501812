"""
Nothing leaks: every way out of a call ends its hold.

A call that was sent, and whose answer was not heard, costs what was held: unknown is not free. One that was not
sent costs nothing. Either way nothing stays held, so that a budget is never used up by calls that are over.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import BudgetManager
from budgetguard.ledger import Admitted, Hold, new_id
from budgetguard.money import DOLLAR
from budgetguard.process import state as process
from budgetguard.process.state import PROCESS
from budgetguard.sdks.exchange import Exchange, charging
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider, Plan
from tests.support import ENVIRONMENT
from tests.support.endpoint import INPUT_PRICE, LONGEST, MESSAGES, MODEL, OUTPUT_PRICE, USER, bill, guarded
from tests.support.in_memory import HTTP, REPLY, client_of

PACKAGE = str(Path(budgetguard.__file__).parent)
LIMIT = 25
BILL = 14 * INPUT_PRICE * 1000 + 6 * OUTPUT_PRICE * 1000
"""What REPLY costs, in nano-dollars."""

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
CHUNKS = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {**CHUNK, "choices": [], "usage": REPLY["usage"]},
]
EVENTS = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in CHUNKS] + [b"data: [DONE]\n\n"]


@pytest.fixture
def manager(url: str) -> Iterator[BudgetManager]:
    """The books of a user with $25, whole again at the end, whatever happened."""
    with guarded(url) as made:
        made.create_budget(LIMIT, USER)
        yield made
        whole(made)


def whole(manager: BudgetManager) -> None:
    """Nothing is held, the accounts add up, and what is not spent can be spent."""
    PROCESS.sweep()
    deadline = time.monotonic() + 5
    while manager.store.holds() and time.monotonic() < deadline:  # a step in a thread of its own
        time.sleep(0.005)
    assert manager.store.holds() == []
    assert manager.store.check() == []
    assert not PROCESS.open
    [account] = manager.guard.coverage.cover({"user": USER}).accounts
    rest = Hold(new_id(), (account,), LIMIT * DOLLAR - booked(manager))
    assert isinstance(manager.store.reserve(rest), Admitted)
    manager.store.release(rest.id)


def booked(manager: BudgetManager) -> int:
    return sum(entry.cost for entry in manager.store.entries())


class Wire:
    """A transport, sync and async, that counts the requests and answers them, or does what a test wants."""

    def __init__(self, act: Callable[[], None] = lambda: None, events: bool = False, naps: int = 0) -> None:
        self.requests = 0
        self.began = False
        self._act = act
        self._events = events
        self._naps = naps

    def answer(self) -> Any:
        self.requests += 1
        self._act()
        if self._events:
            return HTTP.Response(200, headers={"content-type": "text/event-stream"}, stream=_Body(self._naps))
        return HTTP.Response(200, json=REPLY)

    def client(self, **more: Any) -> openai.OpenAI:
        return client_of(lambda _: self.answer(), **more)

    def async_client(self) -> openai.AsyncOpenAI:
        async def handle(_: Any) -> Any:
            self.began = True
            for _nap in range(self._naps):
                await asyncio.sleep(0)
            made = self.answer()
            for _nap in range(self._naps):
                await asyncio.sleep(0)
            return made

        return client_of(handle, asynchronous=True)


class _Body(HTTP.SyncByteStream, HTTP.AsyncByteStream):
    def __init__(self, naps: int) -> None:
        self._naps = naps

    def __iter__(self) -> Iterator[bytes]:
        yield from EVENTS

    async def __aiter__(self) -> Any:
        for event in EVENTS:
            for _nap in range(self._naps):
                await asyncio.sleep(0)
            yield event


def ask(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, user=USER, **more)


# -- exceptions --------------------------------------------------------------------------------------------------------

FREE = [
    HTTP.ConnectError("refused"),
    HTTP.ConnectTimeout("late"),
    HTTP.PoolTimeout("full"),
    HTTP.UnsupportedProtocol("?"),
]
UNKNOWN = [
    HTTP.ReadTimeout("late"),
    HTTP.ReadError("cut"),
    HTTP.RemoteProtocolError("garbled"),
    HTTP.WriteTimeout("late"),
    RuntimeError("of the transport"),
    MemoryError(),
    RecursionError(),
    KeyboardInterrupt(),
    SystemExit(1),
    GeneratorExit(),
    asyncio.CancelledError(),
]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("error", [*FREE, *UNKNOWN], ids=lambda error: type(error).__name__)
def test_an_exception_of_the_transport_ends_the_hold(manager, error, asynchronous):
    """What was never sent is given back; what may have been answered costs what was held."""

    def fail() -> None:
        raise error

    wire = Wire(fail)

    async def in_task() -> None:
        await ask(wire.async_client(), max_tokens=LONGEST)

    with pytest.raises(BaseException):  # noqa: B017, PT011  the SDK wraps some of them in errors of its own
        asyncio.run(in_task()) if asynchronous else ask(wire.client(), max_tokens=LONGEST)

    whole(manager)
    entries = list(manager.store.entries())
    if error in FREE:
        assert entries == []
    else:
        assert [entry.cost > LONGEST * OUTPUT_PRICE * 1000 for entry in entries] == [True]
        assert entries[0].flags == {"estimated"}


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500, 503])
def test_an_error_status_ends_the_hold_at_no_cost(manager, status):
    """The provider does not bill what it refused."""
    with (
        FakeProvider(prices=bill, fail=[status]) as endpoint,
        endpoint.client() as client,
        pytest.raises(openai.APIStatusError),
    ):
        ask(client)

    assert list(manager.store.entries()) == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault", [{"drop": "headers"}, {"drop": "body"}, {"malformed": "body"}, {"drop": "stream"}], ids=str
)
def test_a_broken_answer_ends_the_hold(manager, fault, stream):
    """The work was done, so it costs something; how much, nobody on this side can know."""
    with FakeProvider(prices=bill, tokens=50, fail=[fault]) as endpoint, endpoint.client() as client:
        with suppress(openai.OpenAIError, HTTP.HTTPError, ValueError):
            answer = ask(client, stream=stream)
            for _ in answer if stream else ():
                pass
        endpoint.wait()

    assert booked(manager) > 0


def test_an_exception_of_the_callers_own_hook_ends_the_hold(manager):
    """Event hooks, serializers and clocks of the caller run inside the call."""

    def hook(_: Any) -> None:
        raise LookupError("of the caller")

    with FakeProvider(prices=bill) as endpoint:
        for moment in ("request", "response"):
            inner = HTTP.Client(event_hooks={moment: [hook]})
            with endpoint.client(http_client=inner) as client, suppress(LookupError, openai.APIConnectionError):
                ask(client)

        assert booked(manager) >= endpoint.billed.nano > 0


def test_failed_calls_never_use_up_a_budget(manager):
    """A hundred calls that failed, a dollar held for each, and $25 are $25 still."""
    with FakeProvider(prices=bill, plan=lambda _: _failing()) as endpoint, endpoint.client() as client:
        for number in range(100):
            with suppress(openai.OpenAIError):
                ask(client, n=10, stream=number % 2 == 0)

    assert booked(manager) == 0


def _failing() -> Plan:
    return Plan(status=500)


def test_a_call_that_was_sent_and_whose_end_nobody_took_in_is_not_free(manager, monkeypatch):
    """As when an interruption comes while a failure is being looked at."""
    monkeypatch.setattr(Exchange, "failed", lambda *_: None)

    def fail() -> None:
        raise HTTP.ReadTimeout("late")

    with Wire(fail).client() as client, pytest.raises(openai.APITimeoutError):
        ask(client)

    assert booked(manager) > 0


def test_a_leftover_of_an_interrupted_call_lets_no_other_pass(manager):
    """A call that is marked as charged vouches for its own request alone."""
    left = []
    with Wire(lambda: left.append(charging.get())).client() as client:
        ask(client)
        before = charging.set(left[0])
        try:
            ask(client)
        finally:
            charging.reset(before)

    assert booked(manager) == 2 * BILL


# -- interruptions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there before need not be looked at again and again, by the tests that follow neither."""
    # What strikes a finalizer is only reported; pytest would keep its frames, and the stream with them.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    gc.collect()
    gc.freeze()


class _Interruption:
    """Raises in the n-th line of ours that runs, as Ctrl-C may in any."""

    def __init__(self, line: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.left = line
        self.where = ""
        self.error = error

    def __enter__(self) -> _Interruption:
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: Any, _event: str, _arg: Any) -> Any:
        ours = frame.f_code.co_filename.startswith(PACKAGE)
        return self._line if ours and self.left >= 0 else None

    def _line(self, frame: Any, event: str, _arg: Any) -> Any:
        if event == "line" and self.left >= 0 and frame.f_lineno not in _blocks(frame.f_code.co_filename):
            self.left -= 1
            if self.left < 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise self.error
        return self._line


def consume(answer: Any) -> None:
    if isinstance(answer, openai.Stream):
        for _ in answer:
            pass


@cache
def _blocks(path: str) -> frozenset[int]:
    """
    The lines of `with` and `try`: the interpreter handles no signal there, and their own protection does not hold.

    A tracer sees `with` once more on the way out, and `try` as an instruction that does nothing.
    """
    nodes = ast.walk(ast.parse(Path(path).read_text("utf-8")))
    return frozenset(node.lineno for node in nodes if isinstance(node, ast.With | ast.AsyncWith | ast.Try))


# An interruption of a finalizer is only reported, by whoever runs it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("scoped", "error"), [(False, KeyboardInterrupt), (True, KeyboardInterrupt), (True, TimeoutError)]
)
def test_an_interruption_in_any_line_leaves_nothing_held(scoped, error, stream, quick_collector):
    """Ctrl-C in a notebook goes on with the same process, as does a time limit that a signal's handler ends."""
    wire = Wire(events=stream)
    with guarded("memory://") as manager, wire.client() as client:
        manager.create_budget(LIMIT, USER)
        consume(ask(client, stream=stream))
        gc.collect()
        line, left, step = 0, -1, 3 if stream else 1
        while left < 0:
            before, wire.requests = booked(manager), 0
            scope = budgetguard.budget(limit=LIMIT)
            with (
                scope if scoped else nullcontext(),
                _Interruption(line, error) as interruption,
                suppress(error, openai.APIConnectionError),  # the SDK takes an Exception for one of its transport
            ):
                consume(ask(client, stream=stream))
            if stream:
                gc.collect()
            line, left = line + step, interruption.left
            whole(manager)
            cost = booked(manager) - before
            assert (cost > 0) == (wire.requests > 0) or not wire.requests, interruption.where
            assert cost >= BILL * wire.requests or stream, interruption.where
            assert (scope._tally.held, scope.spent.nano) == (0, cost if scoped else 0), interruption.where
    assert line > 100


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("steps", range(24))
def test_a_task_cancelled_at_any_await_leaves_nothing_held(manager, steps, stream):
    """A web framework cancels the handler when its client hangs up, whatever it was waiting for."""
    wire = Wire(events=stream, naps=2)

    async def one() -> None:
        answer = await ask(wire.async_client(), stream=stream)
        if stream:
            async for _ in answer:
                pass

    async def cancelled() -> None:
        task = asyncio.ensure_future(one())
        for _ in range(steps):
            await asyncio.sleep(0 if steps % 2 else 0.0005)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    asyncio.run(cancelled())
    gc.collect()

    whole(manager)
    assert booked(manager) >= BILL * wire.requests or (stream and wire.requests)


def test_a_call_cancelled_twice_leaves_nothing_held(manager):
    """The second one comes while the first one's end is being written."""
    wire = Wire(naps=3)

    async def cancelled() -> None:
        for steps in range(12):
            task = asyncio.ensure_future(ask(wire.async_client()))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(cancelled())

    assert booked(manager) >= BILL * wire.requests


# -- what is dropped ---------------------------------------------------------------------------------------------------


def _close(stream: Any) -> None:
    stream.close()


def _leave(stream: Any) -> None:
    with stream:
        pass


def _drop(stream: Any) -> None:
    del stream


def _drop_iterator(stream: Any) -> None:
    iterator = iter(stream)
    next(iterator)
    del iterator, stream


def _close_generator(stream: Any) -> None:
    generator = (item for item in stream)
    next(generator)
    generator.close()


def _raise_inside(stream: Any) -> None:
    with suppress(LookupError):
        for _ in stream:
            raise LookupError


@pytest.mark.parametrize("way", [_close, _leave, _drop, _drop_iterator, _close_generator, _raise_inside])
def test_a_stream_that_nobody_reads_on_leaves_nothing_held(manager, way):
    """However its reader goes away; the collector need not run by itself."""
    with FakeProvider(tokens=50, prices=bill) as endpoint, endpoint.client() as client:
        way(ask(client, stream=True))
        gc.collect()

        whole(manager)
        endpoint.wait()


def test_a_dropped_stream_is_found_when_its_room_is_needed():
    """Without waiting for the garbage collector, which may take its time."""
    with guarded("memory://") as manager, FakeProvider(tokens=50, prices=bill, stall="stream") as endpoint:
        manager.create_budget(0.15, USER)
        gc.disable()
        try:
            with endpoint.client() as client:
                stream = ask(client, stream=True, max_tokens=LONGEST)
                next(stream)
                del stream
                assert len(manager.store.holds()) == 1
                endpoint.plan = type(endpoint.plan)(tokens=5)
                ask(client, max_tokens=LONGEST)
        finally:
            gc.enable()
        whole_books = [manager.store.check(), manager.store.holds()]

    assert whole_books == [[], []]


def test_a_loop_that_ends_with_open_streams_leaves_nothing_held(manager):
    """`asyncio.run` cancels what still runs and closes what is open; nobody reads these streams to their end."""
    wire = Wire(events=True, naps=5)
    kept = []

    async def leave_open() -> None:
        client = wire.async_client()
        kept.append(await ask(client, stream=True))
        stream = await ask(client, stream=True)
        await anext(stream.__aiter__())
        kept.append(asyncio.ensure_future(_read(await ask(client, stream=True))))
        kept.append(asyncio.ensure_future(ask(client)))
        await asyncio.sleep(0)

    asyncio.run(leave_open())
    kept.clear()
    gc.collect()

    whole(manager)


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


def test_a_loop_that_is_closed_with_a_call_in_flight_leaves_nothing_held(manager):
    """Some servers throw their loop away on a reload, with the tasks in it."""
    wire = Wire(naps=10**7)
    loop = asyncio.new_event_loop()
    coroutine = _once(wire)
    task = loop.create_task(coroutine)

    async def throw_away() -> None:
        while not wire.began:
            await asyncio.sleep(0.001)
        assert manager.store.holds()
        coroutine.close()  # as the collector does, in whatever runs at the moment

    loop.run_until_complete(throw_away())
    task._log_destroy_pending = False  # what asyncio would say of it is not the point here
    loop.close()

    whole(manager)


async def _once(wire: Wire) -> Any:
    return await ask(wire.async_client())


def test_a_pool_that_is_shut_down_leaves_nothing_held(manager):
    """Calls that run are finished; calls that were queued never begin."""
    wire = Wire(lambda: time.sleep(0.02))
    client = wire.client()
    pool = ThreadPoolExecutor(4)
    calls = [pool.submit(ask, client) for _ in range(40)]
    time.sleep(0.03)
    pool.shutdown(cancel_futures=True)

    whole(manager)
    assert booked(manager) == BILL * wire.requests
    assert wire.requests == sum(not call.cancelled() for call in calls) < 40


# -- the end of the process --------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, os, sys, threading, time
import openai, budgetguard
from tests.support.endpoint import MODEL, MESSAGES, USER, guarded
url, base_url = sys.argv[1:]
context = guarded(url)
manager = context.__enter__()
manager.create_budget(25, USER)
client = openai.OpenAI(base_url=base_url, api_key="-", max_retries=0)

def ask(**more):
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, user=USER, **more)
"""

ENDS = {
    "a stream that nobody closed": "stream = ask(stream=True); next(stream)",
    "an exception": "stream = ask(stream=True); next(stream); raise LookupError",
    "sys.exit": "stream = ask(stream=True); sys.exit(3)",
    "a daemon thread in the middle of a call": """
        threading.Thread(target=ask, kwargs={"extra_headers": {"x-stall": "1"}}, daemon=True).start()
        while not manager.store.holds(): time.sleep(0.01)
        time.sleep(0.1)
    """,
    "a daemon thread in the middle of a stream": """
        threading.Thread(target=lambda: list(ask(stream=True, extra_headers={"x-stall": "1"})), daemon=True).start()
        while not manager.store.holds(): time.sleep(0.01)
        time.sleep(0.1)
    """,
    "a loop that was interrupted": """
        other = openai.AsyncOpenAI(base_url=base_url, api_key="-", max_retries=0)
        async def main():
            call = other.chat.completions.create(
                model=MODEL, messages=MESSAGES, user=USER, extra_headers={"x-stall": "1"})
            task = asyncio.ensure_future(call)
            while not manager.store.holds(): await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            raise KeyboardInterrupt
        asyncio.run(main())
    """,
    "a loop in a daemon thread": """
        other = openai.AsyncOpenAI(base_url=base_url, api_key="-", max_retries=0)
        async def main():
            await other.chat.completions.create(
                model=MODEL, messages=MESSAGES, user=USER, extra_headers={"x-stall": "1"})
        threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
        while not manager.store.holds(): time.sleep(0.01)
        time.sleep(0.1)
    """,
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_process_ends_its_calls(end, tmp_path):
    """They are settled at what was held or heard, now and not when their holds expire."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    program = PROGRAM + textwrap.dedent(ENDS[end])

    def plan(request: Any) -> Plan:
        return Plan(tokens=50, stall="headers" if "x-stall" in request.headers else None)

    with FakeProvider(plan, prices=bill) as endpoint:
        ended = subprocess.run(
            [sys.executable, "-c", program, url, endpoint.base_url],
            capture_output=True,
            text=True,
            timeout=60,
            env=ENVIRONMENT,
            check=False,
        )

    store = open_store(url, namespace="shapes")
    assert store.holds() == [], ended.stderr
    assert store.check() == []
    assert [entry.flags & {"estimated"} for entry in store.entries()] == [{"estimated"}], ended.stderr
    store.close()


@pytest.mark.parametrize("exit_child", ["os._exit(0)", "sys.exit(0)"])
def test_a_forked_child_leaves_its_parents_holds_alone(manager, exit_child):
    """The parent's calls go on; the child must neither settle nor release them, nor be refused because of them."""
    with FakeProvider(tokens=50, prices=bill) as endpoint, endpoint.client() as client:
        stream = ask(client, stream=True)
        next(stream)
        child = os.fork()
        if child == 0:
            try:
                assert not PROCESS.open
                del stream
                gc.collect()
                PROCESS.reaper.drain()
            except BaseException:
                os._exit(1)
            os._exit(0) if exit_child == "os._exit(0)" else _exit_softly()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(manager.store.holds()) == 1
        for _ in stream:
            pass

        whole(manager)
        assert booked(manager) > 0


def _exit_softly() -> None:
    """What the interpreter does at its end, without pytest's own."""
    process.PROCESS.end_all()
    os._exit(0)


def test_an_interruption_while_a_lock_is_held_does_not_stop_the_others():
    """A thread that dies inside the line, a tally or a store must not lock the rest of the program out."""
    with guarded("memory://") as manager, Wire().client() as client:
        manager.create_budget(LIMIT, USER)
        for line in range(0, 600, 7):
            with _Interruption(line), suppress(KeyboardInterrupt):
                ask(client)
        done = threading.Thread(target=ask, args=(client,), daemon=True)
        done.start()
        done.join(timeout=10)

        assert not done.is_alive()
