"""
How the operations of calls reach a store behind a network: in batches, by few threads.

A thread for each request would cost more than the store itself, and settle one by one. Here whoever arrives while a
batch is under way is in the next one: its reserves and releases go first, and all of its settlements are one step of
the store, so one write to its disk.

A store that event loops may ask (`concurrency.loops`) needs none of it: its own combiner makes the batches, and lets
one through at a time, as a file wants it. A server takes several at once, each of which waits for it alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from ...ledger import Entry, Hold, Store
from ...stores.deadlines import CHANGE_S, RESERVE_S
from ..problems import busy

MOST = 128
"""How many operations are in a batch."""


class Reserve(NamedTuple):
    """`Store.reserve`."""

    hold: Hold


class Settle(NamedTuple):
    """`Store.settle`."""

    hold: Hold
    entry: Entry


class Release(NamedTuple):
    """`Store.release`."""

    hold_id: str


LedgerStep = Reserve | Settle | Release


def asked_of(store: Store, operation: LedgerStep) -> partial[Any]:
    """The call of a store that an operation is."""
    if isinstance(operation, Reserve):
        return partial(store.reserve, *operation)
    if isinstance(operation, Settle):
        return partial(store.settle, *operation)
    return partial(store.release, *operation)


@dataclass(slots=True, eq=False)
class _Queued:
    operation: LedgerStep
    answer: asyncio.Future[Any]
    since: float
    result: Any = None
    error: Exception | None = None


class Batches:
    """The line of operations in front of one store."""

    def __init__(self, store: Store, threads: Executor, most_at_once: int, *, reserve_s: float = RESERVE_S) -> None:
        self._store = store
        self._threads = threads
        self._most_at_once = most_at_once
        self._reserve_s = reserve_s
        self._queue: deque[_Queued] = deque()
        self._running = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def do(self, operation: LedgerStep) -> Any:
        """The store's answer. For the thread of the event loop, as everything here but `_drain`."""
        loop = asyncio.get_running_loop()
        waiting = _Queued(operation, loop.create_future(), time.monotonic())
        self._queue.append(waiting)
        if self._running < self._most_at_once:
            self._start(loop)
        return await waiting.answer

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._running += 1
        try:
            self._threads.submit(self._drain, loop)
        except BaseException:
            self._running -= 1
            raise

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: do what is queued, until nothing is."""
        try:
            while batch := self._take():
                settlements = [each for each in batch if isinstance(each.operation, Settle)]
                others = [each for each in batch if not isinstance(each.operation, Settle)]
                for each in others:
                    self._do(each)
                if others:
                    loop.call_soon_threadsafe(_deliver, others)
                if settlements:
                    self._settle(settlements)
                    loop.call_soon_threadsafe(_deliver, settlements)
        finally:
            loop.call_soon_threadsafe(self._ended, loop)

    def _take(self) -> list[_Queued]:
        batch: list[_Queued] = []
        while len(batch) < MOST:
            try:
                batch.append(self._queue.popleft())
            except IndexError:
                break
        return batch

    def _do(self, waiting: _Queued) -> None:
        operation = waiting.operation
        waited_s = time.monotonic() - waiting.since
        if isinstance(operation, Reserve) and waited_s > self._reserve_s:
            # Its client has given up: a hold would only be in the way of others.
            waiting.error = busy(f"the store was busy for {self._reserve_s:g} s; nothing was held")
            return
        waiting.error = None
        try:
            waiting.result = asked_of(self._store, operation)()
        except Exception as error:
            waiting.error = error

    def _settle(self, settlements: list[_Queued]) -> None:
        """
        All in one step; if that fails, each alone, so that one bad settlement does not fail the others.

        Those that have waited so long by then that their clients repeat them are left to the repetition.
        """
        if len(settlements) == 1:
            self._do(settlements[0])
            return
        try:
            answers = self._store.settle_many([_pair(each.operation) for each in settlements])
        except Exception as error:
            for each in settlements:
                if time.monotonic() - each.since > CHANGE_S:
                    each.error = error
                else:
                    self._do(each)
        else:
            for each, answer in zip(settlements, answers, strict=True):
                each.result = answer

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """A thread found nothing more to do; what arrived just then needs a new one."""
        self._running -= 1
        if self._queue and self._running < self._most_at_once:
            self._start(loop)


def _pair(operation: LedgerStep) -> tuple[Hold, Entry]:
    assert isinstance(operation, Settle)
    return operation.hold, operation.entry


def _deliver(done: list[_Queued]) -> None:
    for each in done:
        if each.answer.done():  # its request was cancelled
            continue
        if each.error is None:
            each.answer.set_result(each.result)
        else:
            each.answer.set_exception(each.error)
