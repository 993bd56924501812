"""
Watching an answer on its way to the caller.

A body that is not read yet (a stream, a raw response) gets a `Watch`. It hangs
on the HTTP response, where every reader of the body passes: decoded items go by
in `listen` / `listen_async`, which the SDK's `Stream.__stream__` is wrapped
with, and the bytes in a wrapper of `response.stream`. The caller keeps the SDK's
own objects.

The first of these ends the charge: an item that is the last word, the body's
end, its failure, its closing, its garbage collection.
"""

from __future__ import annotations

import json
import logging
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from .calls import Answer
from .process import PROCESS, run_quietly

if TYPE_CHECKING:
    from .charge import Charge, Follow

log = logging.getLogger("budgetguard")

EXTENSION = "budgetguard"
"""Where the watch of a response is found in its `extensions`."""

_BODY_LIMIT = 32 * 1024 * 1024
"""Bytes of a raw JSON body that are kept to find its usage; a larger one is settled as held."""


class Watch:
    """The charge of one unread body, and what was heard of it so far."""

    __slots__ = ("_buffer", "_inflate", "charge", "decoded", "ended", "listener", "sse")

    def __init__(self, charge: Charge | Follow, response: Any) -> None:
        self.charge = charge
        self.ended = False
        self.decoded = False
        content_type = response.headers.get("content-type", "")
        self.sse = charge.call.stream or content_type.startswith("text/event-stream")
        make = charge.endpoint.listener
        self.listener = make() if make is not None and self.sse else None
        self._inflate = _inflater(response.headers.get("content-encoding", "identity"))
        self._buffer = bytearray()

    def hear(self, item: Any) -> bool:
        """Take in a decoded item; whether it is the usage chunk that only we asked for."""
        listener = self.listener
        if listener is None:
            return False
        try:
            return listener.hear(item) and self.charge.ask_usage
        except Exception:
            log.exception("an item of a stream could not be read")
            return False

    @property
    def last_word(self) -> bool:
        """Whether the items so far settle the call."""
        return not self.ended and self.listener is not None and self.listener.done

    def take(self, chunk: bytes) -> None:
        """Take in bytes that nobody decodes for us."""
        if self.ended or self.decoded or self._inflate is None:
            return
        try:
            self._buffer += self._inflate(chunk)
            if self.sse:
                self._events()
            elif len(self._buffer) > _BODY_LIMIT:
                self._inflate = None
                self._buffer.clear()
        except Exception:
            log.exception("a raw body could not be read")
            self._inflate = None

    def conclude(self, complete: bool) -> bool:
        """Have the charge take in what was heard; `False` if it has ended before."""
        if self.ended:
            return False
        self.ended = True
        if self.listener is not None:
            self.charge.interrupted(self.listener)
        elif complete and self._buffer and self.charge.endpoint.answer is not None:
            self.charge.observe(self._reply(self.charge.endpoint.answer))
        else:
            self.charge.observe(Answer())
        self._buffer.clear()
        return True

    def _reply(self, answer: Callable[[Any], Answer]) -> Answer:
        try:
            return answer(json.loads(self._buffer))
        except ValueError:  # not JSON: audio, subtitles
            return Answer()

    def _events(self) -> None:
        *lines, rest = self._buffer.replace(b"\r\n", b"\n").split(b"\n")
        self._buffer[:] = rest
        for line in lines:
            if line.startswith(b"data:") and not line.endswith(b"[DONE]"):
                self.hear(json.loads(line[5:]))


def watch(charge: Charge | Follow, response: Any, is_async: bool) -> None:
    """Put a watch on an HTTP response, of httpx or httpx2, whose body is not read yet."""
    charge.watched = True
    seen = Watch(charge, response)
    response.extensions[EXTENSION] = seen
    if response.is_closed:  # the body is here already, as a mock transport gives it
        seen.take(response.content)
        if seen.conclude(complete=True):
            charge.watched = False
        return
    PROCESS.reaper.start()
    kind = type(response).__module__.partition(".")[0]
    response.stream = _watched_class(kind, is_async)(response.stream, seen)


def listen(items: Iterator[Any], response: Any) -> Iterator[Any]:
    """The items of a decoded stream, heard by its watch if it has one."""
    seen = _find(response)
    if seen is None:
        yield from items
        return
    seen.decoded = True
    shell = seen.charge.guard.shell
    try:
        for item in items:
            hide = seen.hear(item)
            if seen.last_word and seen.conclude(complete=True):
                shell.run(seen.charge.close())
            if not hide:
                yield item
    finally:
        items.close()  # type: ignore[attr-defined]  # the SDK's own generator


async def listen_async(items: AsyncIterator[Any], response: Any) -> AsyncIterator[Any]:
    """The items of a decoded stream, heard by its watch if it has one."""
    seen = _find(response)
    if seen is None:
        async for item in items:
            yield item
        return
    seen.decoded = True
    shell = seen.charge.guard.async_shell
    try:
        async for item in items:
            hide = seen.hear(item)
            if seen.last_word and seen.conclude(complete=True):
                await shell.run(seen.charge.close())
            if not hide:
                yield item
    finally:
        await items.aclose()  # type: ignore[attr-defined]  # the SDK's own generator


def _find(response: Any) -> Watch | None:
    extensions = getattr(response, "extensions", None)
    return extensions.get(EXTENSION) if type(extensions) is dict else None


class _Watched:
    """What the sync and the async wrapper of a body share: the wrapped one, and its end in a finalizer."""

    def __init__(self, stream: Any, seen: Watch) -> None:
        self._stream = stream
        self._watch = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __del__(self) -> None:
        seen = self.__dict__.get("_watch")
        if seen is not None and not seen.ended:
            PROCESS.reaper.put(lambda: _end(seen))


class _WatchedSync(_Watched):
    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._watch.take(chunk)
            yield chunk
        self._end(complete=True)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._end(complete=False)

    def _end(self, complete: bool) -> None:
        seen = self._watch
        if seen.conclude(complete):
            seen.charge.guard.shell.run(seen.charge.close())


class _WatchedAsync(_Watched):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._watch.take(chunk)
            yield chunk
        await self._end(complete=True)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._end(complete=False)

    async def _end(self, complete: bool) -> None:
        seen = self._watch
        if seen.conclude(complete):
            await seen.charge.guard.async_shell.run(seen.charge.close())


def _end(seen: Watch) -> None:
    """End the charge of a body that was dropped."""
    if seen.conclude(complete=False):
        run_quietly(lambda: seen.charge.guard.shell.run(seen.charge.close()))


@cache
def _watched_class(package: str, is_async: bool) -> type:
    # httpx checks a body for its own base class, and only for the one kind: a class that is both fails there.
    ours: type = _WatchedAsync if is_async else _WatchedSync
    base = getattr(sys.modules[package], "AsyncByteStream" if is_async else "SyncByteStream")
    return type(ours.__name__, (ours, base), {})


def _inflater(encoding: str) -> Callable[[bytes], bytes] | None:
    """What undoes a content encoding, chunk by chunk; `None` for one that is not read here."""
    if encoding in {"", "identity"}:
        return bytes
    if encoding in {"gzip", "x-gzip"}:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress
    if encoding == "deflate":
        return zlib.decompressobj().decompress
    return None
