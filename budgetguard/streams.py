"""
Watching an answer on its way to the caller.

A body that is not read yet (a stream, a raw response) gets a `Watch`. It hangs
on the HTTP response, where every reader of the body passes: decoded items go by
in `listen` / `listen_async`, which the SDK's `Stream.__stream__` is wrapped
with, and the bytes in a wrapper of `response.stream`. The caller keeps the SDK's
own objects.

The first of these ends the charge: an item that is the last word, the body's
end, its failure, its closing, its garbage collection, the interpreter's exit.
"""

from __future__ import annotations

import json
import logging
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from .calls import Answer
from .process import PROCESS, Process

if TYPE_CHECKING:
    from .charge import Charge, Follow
    from .steps import Steps

log = logging.getLogger("budgetguard")

EXTENSION = "budgetguard"
"""Where the watch of a response is found in its `extensions`."""

_BODY_LIMIT = 32 * 1024 * 1024
"""Bytes of a raw JSON body that are kept to find its usage; a larger one is settled as held."""


class Watch:
    """The charge of one unread body, and what was heard of it so far."""

    __slots__ = (
        "_buffer",
        "_inflate",
        "_open",
        "_request",
        "_taken_in",
        "charge",
        "deaf",
        "decoded",
        "listener",
        "sse",
    )

    def __init__(self, charge: Charge | Follow, response: Any, *, read: bool = False) -> None:
        self.charge = charge
        self.decoded = False
        self.deaf = False
        """Whether the body cannot be understood: it is then settled as held."""
        kind = response.headers.get("content-type", "")
        self.sse = "event-stream" in kind or (charge.call.stream and "json" not in kind)
        make = charge.endpoint.listener
        self.listener = make() if make is not None and self.sse else None
        self._inflate = bytes if read else _inflater(response.headers.get("content-encoding", "identity"))
        self._buffer = bytearray()
        self._open = [True]
        self._request = response.request
        self._taken_in = False

    def hear(self, item: Any) -> bool:
        """Take in a decoded item; whether it is the usage chunk that only we asked for."""
        listener = self.listener
        if listener is None:
            return False
        try:
            hide = listener.hear(item)
        except Exception:
            log.exception("an item of a stream could not be read")
            return False
        if not self.charge.ask_usage:
            return False
        if not hide:
            _forget_null_usage(item)
        return hide

    @property
    def ended(self) -> bool:
        """Whether the charge has taken in what was heard."""
        return not self._open

    @property
    def last_word(self) -> bool:
        """Whether the items so far settle the call."""
        return bool(self._open) and self.listener is not None and self.listener.done

    def take(self, chunk: bytes) -> None:
        """Take in bytes that nobody decodes for us."""
        if self.decoded or self.deaf or not self._open:
            return
        if self._inflate is None or len(self._buffer) > _BODY_LIMIT:
            self.deaf = True
            self._buffer.clear()
            return
        try:
            self._buffer += self._inflate(chunk)
            if self.sse and b"\n" in self._buffer:
                self._events()
        except zlib.error:
            self.deaf = True

    def conclude(self) -> bool:
        """Have the charge take in what was heard, once; `False` if it has before."""
        try:
            self._open.pop()  # atomic: the reaper and the caller may both be here
        except IndexError:
            return False
        if self.deaf:
            self.charge.observe(Answer())
        elif self.listener is not None:
            self._event(self._buffer)
            self._hear_error(sys.exc_info()[1])
            self.charge.interrupted(self.listener)
        elif self.charge.endpoint.answer is not None:
            self.charge.observe(self._reply(self.charge.endpoint.answer))
        else:
            self.charge.observe(Answer())
        self._taken_in = True
        self._buffer.clear()
        return True

    def _hear_error(self, error: BaseException | None) -> None:
        """Hear an error event: the SDK raises it instead of giving it on, and closes the body meanwhile."""
        said = getattr(error, "body", None)
        if said is not None and getattr(error, "request", None) is self._request:
            self.hear({"error": said})

    def close(self) -> Steps[None]:
        """End the charge."""
        PROCESS.open.pop(id(self), None)
        return self.charge.close()

    def finish(self) -> None:
        """Take in what was heard and end the charge, once; another thread does, if this one is interrupted."""
        try:
            self.abandon()
        except BaseException:
            PROCESS.reaper.take(self._repeat)
            raise

    def _repeat(self) -> None:
        if not self._taken_in:
            self._open[:] = [True]
            self.abandon()
        else:
            self.charge.guard.shell.run(self.close())

    def abandon(self) -> None:
        """End the charge of a body that nobody will read any more, here and now."""
        if self.conclude():
            self.charge.guard.shell.run(self.close())

    def _reply(self, answer: Callable[[Any], Answer]) -> Answer:
        try:
            return answer(json.loads(self._buffer))
        except ValueError:  # not JSON (audio, subtitles), or cut off
            return Answer()

    def _events(self) -> None:
        *lines, rest = self._buffer.split(b"\n")
        self._buffer[:] = rest
        for line in lines:
            self._event(line)

    def _event(self, line: bytes | bytearray) -> None:
        line = line.rstrip(b"\r")
        if not line.startswith(b"data:") or line.endswith(b"[DONE]"):
            return
        try:
            self.hear(json.loads(line[5:]))
        except ValueError:
            log.debug("an event of call %s is no JSON", self.charge.id)


def watch(charge: Charge | Follow, response: Any, is_async: bool) -> None:
    """Put a watch on an HTTP response, of httpx or httpx2. A body that was read already is taken in at once."""
    seen = Watch(charge, response, read=response.is_closed)
    response.extensions[EXTENSION] = seen
    if response.is_closed:  # as a mock transport gives it
        seen.take(response.content)
        seen.conclude()
        return
    PROCESS.reaper.start()
    response.stream = _watched_class(response.__class__, is_async)(response.stream, seen)
    PROCESS.open[id(seen)] = seen
    PROCESS.open.pop(id(charge), None)
    charge.watched = True


def listen(items: Iterator[Any], response: Any) -> Iterator[Any]:
    """The items of a decoded stream, heard by its watch if it has one."""
    seen = _find(response)
    if seen is None or seen.decoded:
        yield from items
        return
    seen.decoded = True
    try:
        for item in items:
            hide = seen.hear(item)
            if seen.last_word:
                seen.finish()
            if not hide:
                yield item
    finally:
        items.close()  # type: ignore[attr-defined]  # the SDK's own generator


async def listen_async(items: AsyncIterator[Any], response: Any) -> AsyncIterator[Any]:
    """The items of a decoded stream, heard by its watch if it has one."""
    seen = _find(response)
    if seen is None or seen.decoded:
        async for item in items:
            yield item
        return
    seen.decoded = True
    shell = seen.charge.guard.async_shell
    try:
        async for item in items:
            hide = seen.hear(item)
            if seen.last_word and seen.conclude():
                await shell.run(seen.close())
            if not hide:
                yield item
    finally:
        # Not `items.aclose()`: where both are garbage, the loop is closing the SDK's own generator already.
        await response.aclose()


def _find(response: Any) -> Watch | None:
    extensions = getattr(response, "extensions", None)
    return extensions.get(EXTENSION) if type(extensions) is dict else None


def _forget_null_usage(item: Any) -> None:
    """Take the `"usage": null` off an item, which is there only because we asked for usage."""
    if type(item) is dict:
        if item.get("usage", item) is None:
            del item["usage"]
        return
    if getattr(item, "__dict__", {}).get("usage", item) is None:
        given: Any = getattr(item, "__pydantic_fields_set__", None)
        if given is None:  # pydantic 1
            given = getattr(item, "__fields_set__", set())
        given.discard("usage")


class _Watched:
    """What the sync and the async wrapper of a body share: the wrapped one, and its end in a finalizer."""

    def __init__(self, stream: Any, seen: Watch) -> None:
        self._stream = stream
        self._watch = seen

    def __getattr__(self, name: str) -> Any:
        if name in {"_stream", "_watch"}:  # half made, or half gone
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(self, process: Process = PROCESS) -> None:  # bound here: at exit the module may be empty already
        seen = self.__dict__.get("_watch")
        if seen is not None and not seen.ended:
            process.reaper.put(seen.abandon)


class _WatchedSync(_Watched):
    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                self._watch.take(chunk)
                yield chunk
        except Exception:
            self._end()
            raise
        self._end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._end()

    def _end(self) -> None:
        seen = self._watch
        if seen.ended:
            return
        if _in_our_code():
            PROCESS.reaper.put(seen.abandon)
        else:
            seen.finish()


class _WatchedAsync(_Watched):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                self._watch.take(chunk)
                yield chunk
        except Exception:
            await self._end()
            raise
        await self._end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._end()

    async def _end(self) -> None:
        seen = self._watch
        if seen.conclude():
            await seen.charge.guard.async_shell.run(seen.close())


_OURS = tuple(f"{__package__}.{name}" for name in ("guards", "tally", "stores", "manager", "process"))


def _in_our_code() -> bool:
    """
    Whether this runs inside a store, or what calls one: then a lock may be held beneath us.

    The SDK's stream and its generator are a cycle. The garbage collector closes it wherever memory is asked for.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(_OURS):
            return True
        frame = frame.f_back
    return False


@cache
def _watched_class(response: type, is_async: bool) -> type:
    # httpx checks a body for its own base class, and only for the one kind: a class that is both fails there.
    ours: type = _WatchedAsync if is_async else _WatchedSync
    name = "AsyncByteStream" if is_async else "SyncByteStream"
    packages = [sys.modules.get(cls.__module__.partition(".")[0]) for cls in response.__mro__]
    base = next(found for package in packages if (found := getattr(package, name, None)) is not None)
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
