"""
Watching an answer on its way to the caller.

A body that is not read yet (a stream, a raw response) gets a `Watch`. It hangs
on the HTTP response, where every reader of the body passes: decoded items go by
in `listen` / `listen_async`, which the SDK's `Stream.__stream__` is wrapped
with, and the bytes in a wrapper of `response.stream`. The caller keeps the SDK's
own objects.

The first of these ends the charge: an item that is the last word, the body's
end, its failure, its closing, its garbage collection, the interpreter's exit.
A finalizer leaves the end to the reaper: it may run beneath anything.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from ..concurrency.loops import running_loop
from ..concurrency.reaper import REAPER, Reaper, must_not_wait
from ..process.state import PROCESS
from .watches import Watch

if TYPE_CHECKING:
    from ..guards.background.background import Follow
    from ..guards.charge import Charge

EXTENSION = "budgetguard"
"""Where the watch of a response is found in its `extensions`."""


def watch(charge: Charge | Follow, response: Any, *, is_async: bool, ask_usage: bool = False) -> None:
    """Put a watch on an HTTP response, of httpx or httpx2. A body that was read already is taken in at once."""
    seen = Watch(charge, response, read=response.is_closed, ask_usage=ask_usage)
    response.extensions[EXTENSION] = seen
    if response.is_closed:  # as a mock transport gives it
        seen.take(response.content)
        seen.whole = True
        seen.conclude()
        return
    response.stream = body = _watched_class(response.__class__, is_async)(response.stream, seen)
    entrust(charge, seen, body)


def entrust(charge: Charge | Follow, seen: Watch, body: object, gone: Callable[[Any], object] | None = None) -> None:
    """Leave the end of a charge to a watch, which `body` is garbage with: its finalizer says so, or `gone` is."""
    PROCESS.reaper.start()
    seen.body = ref(body, gone)
    PROCESS.open[id(seen)] = seen
    PROCESS.open.pop(id(charge), None)
    charge.state = "watched"


def watch_items(charge: Charge | Follow, owner: Any, close: Callable[[], object]) -> Watch:
    """
    Put a watch on a stream that the SDK alone decodes, from whatever stack is beneath, by methods of its `owner`.

    The end of its items is that of the body. `close` has the body closed, from any thread.
    """
    seen = Watch(charge)
    seen.closer = close
    _owned[owner] = seen
    entrust(charge, seen, owner, partial(_collected, seen))
    return seen


def listen(items: Iterator[Any], response: Any) -> Iterator[Any]:
    """The items of a decoded stream, heard by its watch if it has one."""
    seen = _find(response)
    if seen is None or seen.decoder is not None:
        yield from items
        return
    seen.decoder = items.gi_code  # type: ignore[attr-defined]  # the SDK's own generator
    listener = seen.listener
    try:
        for item in items:
            hide = seen.hear(item)
            if listener is not None and listener.done and seen.last_word:
                seen.finish()
            if not hide:
                yield item
        seen.whole = seen.whole or seen.closer is not None
    except GeneratorExit:
        seen.dropped = True
        raise
    except Exception:
        if seen.closer is None:
            response.close()  # anthropic before 1.0 leaves it open
        raise
    finally:
        items.close()  # type: ignore[attr-defined]
        if seen.closer is not None:
            _end_items(seen)
    seen.raise_cut()


async def listen_async(items: AsyncIterator[Any], response: Any) -> AsyncIterator[Any]:
    """The items of a decoded stream, heard by its watch if it has one."""
    seen = _find(response)
    if seen is None or seen.decoder is not None:
        async for item in items:
            yield item
        return
    seen.decoder = items.ag_code  # type: ignore[attr-defined]  # the SDK's own generator
    listener = seen.listener
    try:
        async for item in items:
            hide = seen.hear(item)
            if listener is not None and listener.done and seen.last_word:
                await finish(seen)
            if not hide:
                yield item
        seen.whole = seen.whole or seen.closer is not None
    except GeneratorExit:
        seen.dropped = True
        raise
    finally:
        # Not `items.aclose()`: where both are garbage, the loop is closing the SDK's own generator already.
        await (response.aclose() if seen.closer is None else _end_items_async(seen))
    seen.raise_cut()


async def finish(seen: Watch) -> None:
    """`Watch.finish`, in a task."""
    try:
        if seen.conclude():
            await seen.charge.parts.async_shell.run(seen.close())
    except BaseException:
        REAPER.put(seen.repeat)
        raise


def _find(response: Any) -> Watch | None:
    extensions = getattr(response, "extensions", None)
    return extensions.get(EXTENSION) if type(extensions) is dict else _owned.get(response)


_owned: WeakKeyDictionary[Any, Watch] = WeakKeyDictionary()
"""The watches of streams of which only the items are heard, by what they are decoded from."""


def _collected(seen: Watch, _body: object, reaper: Reaper = REAPER) -> None:
    """What its items are decoded from is gone: nobody will read them."""
    if not seen.ended:
        reaper.put(seen.abandon)
        if seen.closer is not None:
            reaper.put(seen.closer)


def _end_items(seen: Watch) -> None:
    """The items of a stream are at their end, or were left."""
    if seen.ended:
        return
    if seen.dropped and seen.closer is not None:  # nobody has closed the body: its provider would write on
        REAPER.put(seen.closer)
    if must_not_wait():
        REAPER.put(seen.end)
    else:
        seen.finish()


async def _end_items_async(seen: Watch) -> None:
    """The same in a task."""
    if seen.ended:
        return
    if seen.dropped:  # by the collector, maybe, when the loop is gone: there is no waiting
        _collected(seen, None)
    elif must_not_wait():
        REAPER.put(seen.end)
    else:
        await finish(seen)


class _Watched:
    """What the sync and the async wrapper of a body share: the wrapped one, and its end in a finalizer."""

    def __init__(self, stream: Any, seen: Watch) -> None:
        self._stream = stream
        self._watch = seen

    def __getattr__(self, name: str) -> Any:
        if name in {"_stream", "_watch"}:  # half made, or half gone
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(self, reaper: Reaper = REAPER) -> None:  # bound here: at exit the module may be empty already
        seen = self.__dict__.get("_watch")
        if seen is not None and not seen.ended:
            reaper.put(seen.abandon)
            reaper.put(self._closer())

    def _closer(self) -> Callable[[], object]:
        """What closes the body, in another thread: its provider would write on."""
        raise NotImplementedError


class _WatchedSync(_Watched):
    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                self._watch.take(chunk)
                if self._watch.heard_all:
                    self._end()
                yield chunk
        except Exception:
            self._end()
            raise
        self._watch.whole = True
        self._end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._watch.note_closing()
            self._end()

    def _end(self) -> None:
        seen = self._watch
        if seen.ended:
            return
        if must_not_wait():
            REAPER.put(seen.end)
        else:
            seen.finish()

    def _closer(self) -> Callable[[], object]:
        return self._stream.close  # type: ignore[no-any-return]


class _WatchedAsync(_Watched):
    def __init__(self, stream: Any, seen: Watch) -> None:
        super().__init__(stream, seen)
        self._loop = running_loop()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                self._watch.take(chunk)
                if self._watch.heard_all:
                    await self._end()
                yield chunk
        except Exception:
            await self._end()
            raise
        self._watch.whole = True
        if self._watch.decoder is None:  # else it closes the body, and does not wait for long until then
            await self._end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._watch.note_closing()
            await self._end()

    async def _end(self) -> None:
        seen = self._watch
        if seen.ended:
            return
        if must_not_wait():
            REAPER.put(seen.end)
        else:
            await finish(seen)

    def _closer(self) -> Callable[[], object]:
        return close_in_loop(self._loop, partial(_close_soon, self._loop, self._stream))


def _close_soon(loop: Any, stream: Any) -> None:
    loop.create_task(stream.aclose())


def close_in_loop(loop: Any, close: Callable[[], object]) -> Callable[[], None]:
    """What has something closed in the loop where it was opened, if that is still there."""

    def ask() -> None:
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and with it all that it had open
                loop.call_soon_threadsafe(close)

    return ask


def closer(response: Any, *, is_async: bool) -> Callable[[], object]:
    """What closes a response of httpx, requests or aiohttp from any thread."""
    if not is_async:
        return response.close  # type: ignore[no-any-return]
    loop = running_loop()
    return close_in_loop(loop, partial(_close_soon, loop, response) if hasattr(response, "aclose") else response.close)


@cache
def _watched_class(response: type, is_async: bool) -> type:
    # httpx checks a body for its own base class, and only for the one kind: a class that is both fails there.
    ours: type = _WatchedAsync if is_async else _WatchedSync
    name = "AsyncByteStream" if is_async else "SyncByteStream"
    packages = [sys.modules.get(cls.__module__.partition(".")[0]) for cls in response.__mro__]
    base = next(found for package in packages if (found := getattr(package, name, None)) is not None)
    return type(ours.__name__, (ours, base), {})
