"""
Shells: `Shell` and `AsyncShell` run what a `Charge` decides, and differ by `async` and `await` only.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..concurrency.interrupts import raise_interruption
from ..concurrency.loops import ask, called, can_ask, in_thread, running_loop
from ..concurrency.queue import LINE
from ..concurrency.steps import Step, Steps
from ..telemetry.telemetry import API
from .charge import Charge

T = TypeVar("T")

_STORE_THREADS = 8

modules = sys.modules
"""What the program has imported."""

OVER = frozenset({"watched", "ended"})
"""The states of a charge that whoever made the call has no more to do with."""


class Shell:
    """Runs charges where it stands."""

    blocks = True
    """Whether it may wait for a store between two steps."""

    def send(
        self,
        charge: Charge,
        proceed: Callable[[], T],
        observe: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> T:
        """Admit a charge, send its call, and close it: at once where that can be, else by the steps of each."""
        left, told = False, charge.parts.telemetry
        if told is not None and API in modules and (told.tracers(), told.meters()) != told.nobody:
            charge.traced = told.call(charge)
        try:
            try:
                if not charge.admitted(self.blocks):
                    self.run(charge.admit())
                if charge.traced is not None:
                    charge.traced.sent(charge)
                response = proceed()
                observe(response)
            except GeneratorExit as error:  # a coroutine that is thrown away cannot wait for anything
                failed(error)
                left = True
                charge.leave()
                raise
            except BaseException as error:
                failed(error)
                if charge.traced is not None:
                    charge.traced.failed(error, elsewhere=charge.fallback is not None and bool(charge.fallback.left))
                raise
            finally:
                if not (left or charge.state == "watched" or charge.closed(self.blocks)):
                    self.run(charge.close())
        finally:  # interrupted in there
            if charge.traced is not None and not left:
                charge.traced.left()
            if not (left or charge.state in OVER):
                charge.leave()
        if charge.answer is not None and charge.answer.cut:
            charge.raise_cut(response)
        return response

    def run(self, steps: Steps[T]) -> T:
        """Run the steps of a decision to its end."""
        try:
            step = next(steps)
            while True:
                try:
                    result = self.step(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as done:
            value: T = done.value
            return value

    def step(self, step: Step) -> Any:
        """Run one step."""
        if step.turn is not None:
            step.turn.wait(LINE.pause_s(step.turn))
        return step.run()


class AsyncShell:
    """Runs charges on an event loop: what may block goes to a thread, and survives the cancellation of its task."""

    blocks = False

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0

    async def send(
        self,
        charge: Charge,
        proceed: Callable[[], Awaitable[T]],
        observe: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> T:
        """Admit a charge, send its call, and close it: at once where that can be, else by the steps of each."""
        left, told = False, charge.parts.telemetry
        if told is not None and API in modules and (told.tracers(), told.meters()) != told.nobody:
            charge.traced = told.call(charge)
        try:
            try:
                if not charge.admitted(self.blocks):
                    await self.run(charge.admit())
                if charge.traced is not None:
                    charge.traced.sent(charge)
                response = await proceed()
                observe(response)
            except GeneratorExit as error:  # a coroutine that is thrown away cannot wait for anything
                failed(error)
                left = True
                charge.leave()
                raise
            except BaseException as error:
                failed(error)
                if charge.traced is not None:
                    charge.traced.failed(error, elsewhere=charge.fallback is not None and bool(charge.fallback.left))
                raise
            finally:
                if not (left or charge.state == "watched" or charge.closed(self.blocks)):
                    await self.run(charge.close())
        finally:  # interrupted in there
            if charge.traced is not None and not left:
                charge.traced.left()
            if not (left or charge.state in OVER):
                charge.leave()
        if charge.answer is not None and charge.answer.cut:
            charge.raise_cut(response)
        return response

    async def run(self, steps: Steps[T]) -> T:
        """Run the steps of a decision to its end."""
        try:
            step = next(steps)
            while True:
                try:
                    result = await self.step(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as done:
            value: T = done.value
            return value

    async def step(self, step: Step) -> Any:
        """Run one step; if it may block, in a thread, or by a store that knows how to answer later."""
        if step.turn is not None:
            await called(step.turn, LINE.pause_s(step.turn))
        if not step.blocking:
            return step.run()
        loop = running_loop()
        if loop is None:
            return await in_thread(step.run)
        if can_ask(step.run):
            return await ask(loop, step.run)
        try:
            done = loop.run_in_executor(self._pool(), step.run)
        except RuntimeError as error:  # the interpreter is ending, and starts no thread any more
            raise_interruption(error)
            return step.run()
        return await asyncio.shield(done)

    def _pool(self) -> ThreadPoolExecutor:
        # Our own threads: the loop's default ones may all be waiting in the caller's code.
        if self._threads is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._threads = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="budgetguard-store")
        return self._threads
