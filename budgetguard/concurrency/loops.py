"""
Event loops: asyncio's, and those of other libraries that the SDK runs on by anyio, such as trio.

asyncio has the short way. Elsewhere nobody can be woken from another thread without that library's help: whoever
waits looks by itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .queue import POLL_S, Turn

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")


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
