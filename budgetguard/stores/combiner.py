"""
One writer at a time, in turn: the gate before a file that many threads and processes write.

SQLite's own busy handler sleeps and tries again, so that a process in a closed loop can keep all others out. `Gate`
is a lock between processes with a queue: whoever waits for its turn holds the place at the head of the line, and who
leaves has to line up again.

`Combiner` shares one passage through the gate among the threads of a process. A caller that finds the gate free goes
through at once. Where it is not, or another thread is inside, callers queue, and a helper thread waits in their place,
so that a caller can give up at its deadline; once inside it runs what all of them have queued, in one transaction with
one sync to the disk (flat combining).

An event loop must not wait. Its operation runs in its thread only where that is prompt: nobody is in line or inside,
and the store knows of nothing that would take long (its first use, a sync to the disk). What turns out to take long
all the same is the last one for a while (`PROMPT_S`, `REST`). All else is queued, and answered by a future.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from ..concurrency import file_locks
from ..concurrency.interrupts import raise_interruption
from ..concurrency.locks import latch, mutex, take
from ..concurrency.loops import NotYet, Question, asked
from ..errors import StoreError
from .permissions import access_of, open_file

T = TypeVar("T")

BATCH = 64
"""How many operations share one transaction at most: others at the gate wait for it."""

HELPER_IDLE_S = 1.0
"""How long the helper thread stays when there is nothing to do."""

PROMPT_S = 0.005
"""An operation that kept an event loop for longer is the last one there for a while."""

REST = 50
"""For so many times as long as that took: all slow ones together keep a loop for 2 % of the time."""

BUSY = "the store was busy for {seconds}: another process keeps it locked, or is stopped; nothing was done"
SLOW = "the store did not finish within {seconds}, because its disk is slow; it may still do so"


class Passage(Protocol):
    """What only one at a time may be inside of."""

    def try_enter(self) -> bool:
        """Enter if nobody is inside and nobody waits."""
        ...

    def enter(self) -> None:
        """Wait until one may enter. Raises `OSError` if that cannot be."""
        ...

    def leave(self) -> None:
        """Let the next one in."""
        ...

    def drop(self) -> None:
        """Let go of what it needs."""
        ...


class Gate:
    """A fair lock between processes: two lock files beside `path`, held by `flock`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: tuple[int, int] | None = None

    def try_enter(self) -> bool:
        """Enter if nobody is inside and nobody waits; not if the lock files cannot be used, which `enter` tells."""
        try:
            line, turn = self._files or self._open()
            file_locks.flock(line, file_locks.LOCK_EX | file_locks.LOCK_NB)
        except OSError as error:
            raise_interruption(error)
            return False
        try:
            file_locks.flock(turn, file_locks.LOCK_EX | file_locks.LOCK_NB)
        except OSError as error:
            raise_interruption(error)
            return False
        finally:
            file_locks.flock(line, file_locks.LOCK_UN)
        return True

    def enter(self) -> None:
        """Wait for the head of the line, then for the turn. Raises `OSError` if the lock files cannot be used."""
        line, turn = self._files or self._open()
        file_locks.flock(line, file_locks.LOCK_EX)
        try:
            file_locks.flock(turn, file_locks.LOCK_EX)
        finally:
            file_locks.flock(line, file_locks.LOCK_UN)

    def leave(self) -> None:
        """Let the next one in."""
        if self._files is not None:
            file_locks.flock(self._files[1], file_locks.LOCK_UN)

    def drop(self) -> None:
        """Close the lock files. In a forked child this leaves the parent's lock alone."""
        if self._files is not None:
            for file in self._files:
                os.close(file)
            self._files = None

    def _open(self) -> tuple[int, int]:
        access = access_of(self._path)
        line = open_file(self._path + "-line", os.O_RDWR, access)
        try:
            turn = open_file(self._path + "-turn", os.O_RDWR, access)
        except OSError:
            os.close(line)
            raise
        self._files = (line, turn)
        return self._files


@dataclass(slots=True, eq=False)
class Operation:
    """Work to be done inside the gate, by whichever thread gets there."""

    work: Callable[..., Any]
    args: tuple[Any, ...]
    durable: bool
    """Whether the answer must survive a power cut."""
    deadline: float
    """On the monotonic clock, in seconds."""
    prompt: bool = False
    """Whether it must not take long: `WouldWait` is an answer then, and it is asked again in another thread."""
    result: Any = None
    error: Exception | None = None
    finished: bool = False
    wake: Callable[[], object] | None = None
    """Tells whoever waits for one that was queued that it is finished."""

    def finish(self, error: Exception | None = None) -> None:
        """Wake the caller, with the result or this error."""
        if not self.finished:
            self.error = error
            self.finished = True
            if self.wake is not None:
                self.wake()


class WouldWait(Exception):
    """An operation that must be prompt was not done, because it would have waited."""


def never(durable: bool) -> bool:
    """Of a store that always takes long."""
    return False


class Combiner:
    """
    Runs operations in batches: `run` gets up to `BATCH` of them inside the gate and fills in results or errors.

    An operation may run twice if the thread that ran it was interrupted, so each must be harmless to repeat.
    `is_prompt` says whether one that is durable, or one that is not, would not take long now.
    """

    def __init__(
        self,
        gate: Passage,
        run: Callable[[list[Operation]], None],
        is_prompt: Callable[[bool], bool] = never,
        *,
        busy: str = BUSY,
        slow: str = SLOW,
    ) -> None:
        self._gate = gate
        self._run = run
        self._is_prompt = is_prompt
        self._told = busy, slow
        self._mutex = mutex("gate queue")
        self._lead = mutex("gate lead")
        self._queue: deque[Operation] = deque()
        self._helper = "off"
        """Or "works": it sees by itself what is queued; or "sleeps": it waits for the bell."""
        self._bell = latch()
        self._bell.acquire()
        self._rests_until_s = 0.0

    def submit(self, work: Callable[..., T], args: tuple[Any, ...], *, durable: bool, timeout_s: float) -> T:
        """
        The result of `work` with these arguments, run inside the gate. Raises `StoreError` at the deadline.

        What had begun by then may still be done, or not: repeat it, or undo it.
        """
        begun_s = time.monotonic()
        operation = Operation(work, args, durable, begun_s + timeout_s)
        question = asked(args[0])
        # Almost always nobody else is there. Whoever is turned away meanwhile queues, and calls the helper.
        if not self._queue and (question is None or self._may_stay(operation, begun_s)) and take(self._lead, timeout=0):
            try:
                if self._gate.try_enter():
                    self._run([operation])
                    self._gate.leave()
                    operation.finished = True
            except BaseException:  # interrupted, maybe just as it was entered or left: twice is harmless
                self._gate.leave()
                raise
            finally:
                self._lead.release()
        if question is not None and not self._has_kept(operation, begun_s):
            self._answer_later(operation, question, timeout_s)
        elif not operation.finished:
            self._wait(operation, timeout_s)
        if not operation.finished:
            self._leave_queue(operation, timeout_s)
        if operation.error is not None:
            raise operation.error
        result: T = operation.result
        return result

    def _may_stay(self, operation: Operation, now_s: float) -> bool:
        """Whether an operation of an event loop may run in the loop's thread."""
        operation.prompt = now_s >= self._rests_until_s and self._is_prompt(operation.durable)
        return operation.prompt

    def _has_kept(self, operation: Operation, begun_s: float) -> bool:
        """Whether an operation of an event loop is done with; what took long there is the last for a while."""
        if operation.prompt:
            now_s = time.monotonic()
            if now_s - begun_s > PROMPT_S:
                self._rests_until_s = now_s + REST * (now_s - begun_s)
            if isinstance(operation.error, WouldWait):
                operation.error, operation.finished = None, False
            operation.prompt = False
        return operation.finished

    def _answer_later(self, operation: Operation, question: Question, timeout_s: float) -> NoReturn:
        operation.wake = question.later(partial(self._outcome, operation, timeout_s), timeout_s)
        if not self._line_up(operation):
            self._serve()
        raise NotYet

    def _outcome(self, operation: Operation, timeout_s: float) -> Any:
        """The result of an operation. One that is not finished has come to its deadline, and leaves the queue."""
        if not operation.finished:
            self._leave_queue(operation, timeout_s)
        if operation.error is not None:
            raise operation.error
        return operation.result

    def drain(self, timeout_s: float) -> bool:
        """Wait until nobody leads and close the gate's files; whether that was so in time."""
        if not take(self._lead, timeout_s):
            return False
        try:
            self._gate.drop()
        finally:
            self._lead.release()
        return True

    def _batch(self) -> list[Operation]:
        """Run what is queued, inside the gate; what was run."""
        with self._mutex:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            self._run(batch)
        except BaseException:
            # This thread was interrupted; the others in the batch were not.
            with self._mutex:
                self._queue.extendleft([operation for operation in reversed(batch) if not operation.finished])
            raise
        return batch

    def _wait(self, operation: Operation, timeout_s: float) -> None:
        """Queue an operation, and wait until it is finished, or its deadline."""
        done = latch()
        done.acquire()
        operation.wake = done.release
        if not self._line_up(operation):
            self._serve()
        done.acquire(timeout=max(0.0, operation.deadline - time.monotonic()))

    def _leave_queue(self, operation: Operation, timeout_s: float) -> None:
        """At its deadline: raise the error for it, unless it was finished just now."""
        busy, slow = self._told
        with self._mutex:
            try:
                self._queue.remove(operation)
            except ValueError:
                if operation.finished:
                    return
                raise StoreError(slow.format(seconds=f"{timeout_s:g} s")) from None
        raise StoreError(busy.format(seconds=f"{timeout_s:g} s"))

    def _fail(self, error: OSError) -> None:
        with self._mutex:
            batch = list(self._queue)
            self._queue.clear()
        for operation in batch:
            failed = StoreError(f"the store's lock file cannot be used ({error}): let this user write to its directory")
            failed.__cause__ = error
            operation.finish(failed)

    def _line_up(self, operation: Operation) -> bool:
        """Queue an operation; whether there is a helper who will see to it."""
        with self._mutex:
            self._queue.append(operation)
            if self._helper == "sleeps":
                self._helper = "works"
                self._bell.release()
            elif self._helper == "off":
                with suppress(RuntimeError):  # The interpreter is shutting down: wait here, as nobody else can.
                    threading.Thread(target=self._help, name="budgetguard-store", daemon=True).start()
                    self._helper = "works"
            return self._helper == "works"

    def _help(self) -> None:
        try:
            while self._has_work():
                self._serve()
        except BaseException:  # interrupted: the next one who queues calls another helper
            self._helper = "off"
            raise

    def _has_work(self) -> bool:
        """Wait until there is something in the queue; `False` if there was nothing for long, and the helper is off."""
        with self._mutex:
            if self._queue:
                return True
            self._helper = "sleeps"
        if not self._bell.acquire(timeout=HELPER_IDLE_S):
            with self._mutex:
                if self._helper == "sleeps":
                    self._helper = "off"
                    return False
            self._bell.acquire()  # it was rung in the meantime
        return True

    def _serve(self) -> None:
        while self._queue:
            with self._lead:
                try:
                    self._gate.enter()
                except OSError as error:
                    raise_interruption(error)
                    self._fail(error)
                    return
                try:
                    batch = self._batch()
                finally:
                    self._gate.leave()
            for operation in batch:  # who is woken finds the way free for what comes next
                operation.finish(operation.error)
