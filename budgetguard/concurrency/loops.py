"""
Event loops: asyncio's, and those of other libraries that the SDK runs on by anyio, such as trio.

asyncio has the short way. Elsewhere nobody can be woken from another thread without that library's help: whoever
waits looks by itself.

A store that blocks may still be asked from asyncio without a thread for each question (`ask`). Methods that are
`askable` answer at once, if that does not take long; else they raise `NotYet`, and the answer comes by a future.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .queue import POLL_S, Turn

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class NotYet(BaseException):
    """A question is not answered yet: its future will be. Nobody but `ask` catches it."""


class Question:
    """What a task asks. It is answered where it stands, or by its future."""

    __slots__ = ("_loop", "about", "answer")

    def __init__(self, loop: AbstractEventLoop, about: object) -> None:
        self._loop = loop
        self.about = about
        """The first argument of the method that is asked."""
        self.answer: Future[Any] | None = None

    def later(self, outcome: Callable[[], object], within_s: float) -> Callable[[], None]:
        """
        Have it answered by `outcome`, on the loop: once what this returns was called, from any thread, or after so
        many seconds.
        """
        loop = self._loop
        answer = self.answer = loop.create_future()

        def give() -> None:
            timer.cancel()
            try:
                result = outcome()
            except Exception as error:
                if not answer.done():  # its task was cancelled
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        def wake() -> None:
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(give)

        timer = loop.call_later(within_s, give)
        return wake


class _Asking(threading.local):
    question: Question | None = None


_ASKING = _Asking()

_ASKABLE: set[FunctionType] = set()


def askable(method: F) -> F:
    """Mark a method that knows what to do with a `question`; one that overrides it is not marked by that."""
    _ASKABLE.add(cast(FunctionType, method))
    return method


def can_ask(run: Callable[[], Any]) -> bool:
    """Whether this calls an askable method, with what the question is about."""
    return (
        isinstance(run, partial)
        and isinstance(run.func, MethodType)
        and run.func.__func__ in _ASKABLE
        and bool(run.args)
    )


async def ask(loop: AbstractEventLoop, run: Callable[[], T]) -> T:
    """The answer to what `can_ask` approved of. What has begun comes to its end, also if the task is cancelled."""
    question = Question(loop, cast("partial[T]", run).args[0])
    _ASKING.question = question
    try:
        return run()
    except NotYet:
        pass
    finally:
        _ASKING.question = None
    assert question.answer is not None
    answer: T = await question.answer
    return answer


def asked(about: object) -> Question | None:
    """
    The question about this that an event loop asks in this thread; `None`: whoever asks may be kept waiting.

    There may be another call in this thread at that moment: the collector runs anywhere, and closes what was dropped.
    """
    question = _ASKING.question
    if question is None or question.about is not about:
        return None
    _ASKING.question = None
    return question


def running_loop() -> AbstractEventLoop | None:
    """The loop of asyncio that runs in this thread; `None` if there is none, or another library's."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


async def called(turn: Turn, seconds: float) -> None:
    """Wait until a turn is called, for so long at most."""
    loop = running_loop()
    if loop is None:
        await _looked(turn, seconds)
        return
    future = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    timer = loop.call_later(seconds, wake)
    turn.arm(lambda: loop.call_soon_threadsafe(wake))
    try:
        await future
    finally:
        timer.cancel()
        turn.disarm()


async def _looked(turn: Turn, seconds: float) -> None:
    import anyio

    until_s = time.monotonic() + seconds
    calls: list[None] = []
    turn.arm(lambda: calls.append(None))
    try:
        while not calls and (left_s := until_s - time.monotonic()) > 0:
            await anyio.sleep(min(left_s, POLL_S))
    finally:
        turn.disarm()


async def in_thread(run: Callable[[], T]) -> T:
    """Run what may block in a thread, where no loop of asyncio runs; once begun it comes to its end."""
    import anyio
    import sniffio

    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:  # nobody's loop: the interpreter is ending, or somebody steps by hand
        return run()
    return await anyio.to_thread.run_sync(run)
