"""
Watching an answer of Bedrock on its way to the caller: the events of a stream, or the bytes of a model's own reply.

The caller keeps botocore's own objects. Events go by where a stream is iterated, however often: who leaves it and
comes back goes on with it. Bytes go by in what the body reads from. The first of these ends the charge: an event that
is the last word, the end, its failure, its closing, its garbage collection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...calls import Answer
from ...concurrency.loops import running_loop
from ...concurrency.reaper import REAPER, Reaper, must_not_wait
from ...guards.charge import Charge
from ..hooks import unbound
from ..streams import close_in_loop, entrust, finish, watch
from ..watches import Watch

EAR = "_budgetguard_ear"
"""Where a stream of events has what listens to it, in its `__dict__`."""

_JSON = "application/json"


class _Head(NamedTuple):
    """What a watch asks of a response."""

    headers: Mapping[str, str]
    request: object


class Ear:
    """What hangs on an unread answer, and is garbage with it."""

    def __init__(self, seen: Watch, closer: Callable[[], object]) -> None:
        self._seen = seen
        self._closer = closer

    def __getattr__(self, name: str) -> Any:
        """A field of what it stands for, if it does: that is `_raw` then."""
        if name in {"_seen", "_closer", "_raw"}:  # half made, or half gone
            raise AttributeError(name)
        return getattr(self._raw, name)

    def __del__(self, reaper: Reaper = REAPER) -> None:  # bound here: at exit the module may be empty already
        seen, closer = self.__dict__.get("_seen"), self.__dict__.get("_closer")
        if seen is not None and closer is not None and not seen.ended:
            reaper.put(seen.abandon)
            reaper.put(closer)  # its provider would write on


def watch_events(charge: Charge, stream: Any, *, is_async: bool) -> None:
    """Have a stream of events heard, wherever it is iterated."""
    seen, raw = Watch(charge, _Head({}, object())), stream._raw_stream
    stream.__dict__[EAR] = ear = Ear(seen, close_in_loop(running_loop(), raw.close) if is_async else raw.close)
    entrust(charge, seen, ear)


def iterate_events(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of what gives the events of a stream."""
    if instance is None:
        return unbound(iterate_events, wrapped, args, kwargs)
    ear, events = instance.__dict__.get(EAR), wrapped(*args, **kwargs)
    return events if ear is None else _heard(events, ear._seen)


def iterate_events_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The same for one that is awaited."""
    if instance is None:
        return unbound(iterate_events_async, wrapped, args, kwargs)
    ear, events = instance.__dict__.get(EAR), wrapped(*args, **kwargs)
    return events if ear is None else _heard_async(events, ear._seen)


def close_events(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of what closes a stream of events; it is not awaited, so that a loop must not wait for a store."""
    if instance is None:
        return unbound(close_events, wrapped, args, kwargs)
    ear = instance.__dict__.get(EAR)
    try:
        return wrapped(*args, **kwargs)
    finally:
        if ear is not None and not ear._seen.ended:
            REAPER.put(ear._seen.end) if running_loop() is not None else _end(ear._seen)


def _heard(events: Iterator[Any], seen: Watch) -> Iterator[Any]:
    try:
        for event in events:
            seen.hear(event)
            if seen.last_word:
                _end(seen)
            yield event
    except Exception as error:
        _hear_failure(seen, error)
        _end(seen)
        raise
    seen.whole = True
    _end(seen)
    seen.raise_cut()


async def _heard_async(events: AsyncIterator[Any], seen: Watch) -> AsyncIterator[Any]:
    try:
        async for event in events:
            seen.hear(event)
            if seen.last_word:
                await _end_async(seen)
            yield event
    except Exception as error:
        _hear_failure(seen, error)
        await _end_async(seen)
        raise
    seen.whole = True
    await _end_async(seen)
    seen.raise_cut()


def _hear_failure(seen: Watch, error: Exception) -> None:
    """Hear the event that an SDK raises instead of giving it on."""
    if type(error).__name__ == "EventStreamError":
        seen.hear({"error": True})


def watch_body(charge: Charge, body: Any, kind: Any, *, is_async: bool) -> None:
    """Have the bytes of a body heard, in what it reads them from."""
    if not is_async:
        raw = _RawBody(charge, body._raw_stream, kind)
        body._raw_stream = raw
        return
    response = getattr(body, "raw_stream", None) or body.__wrapped__  # aiobotocore 2's is a proxy of it
    if hasattr(type(response), "iter_raw"):  # httpx
        watch(charge, response, is_async=True)
    elif getattr(response, "content", None) is not None:  # aiohttp
        response.content = _AsyncContent(charge, response, kind)
    else:
        charge.observe(Answer())


def _head(kind: Any) -> _Head:
    return _Head({"content-type": kind if isinstance(kind, str) else _JSON}, object())


class _RawBody(Ear):
    """What a body of botocore reads from: urllib3's response."""

    def __init__(self, charge: Charge, raw: Any, kind: Any) -> None:
        self._raw = raw
        super().__init__(Watch(charge, _head(kind)), raw.close)
        entrust(charge, self._seen, self)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(1024):
            yield chunk

    def __enter__(self) -> _RawBody:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, amt: int | None = None, *args: Any, **kwargs: Any) -> bytes:
        """Read bytes; all of them, where no number is given."""
        return self._take(lambda: self._raw.read(amt, *args, **kwargs), all_of_it=amt is None or amt < 0)

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer; how many they were."""

        def read() -> bytes:
            return bytes(memoryview(buffer)[: self._raw.readinto(buffer)])

        return len(self._take(read))

    def readline(self, *args: Any) -> bytes:
        """Read a line."""
        return self._take(lambda: self._raw.readline(*args))

    def readlines(self, *args: Any) -> list[bytes]:
        """Read every line."""
        return self.read().splitlines(keepends=True)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        """Every chunk."""
        chunks = self._raw.stream(*args, **kwargs)
        while chunk := self._take(lambda: next(chunks, b"")):
            yield chunk

    def close(self) -> None:
        """Close the body: nobody reads the rest."""
        try:
            self._raw.close()
        finally:
            _end(self._seen)

    def _take(self, read: Callable[[], bytes], *, all_of_it: bool = False) -> bytes:
        try:
            chunk = read()
        except Exception:
            _end(self._seen)
            raise
        self._seen.take(chunk)
        if all_of_it or not chunk:
            self._seen.whole = True
            _end(self._seen)
        return chunk


class _AsyncContent(Ear):
    """What a body of aiobotocore reads from: the content of aiohttp's response."""

    def __init__(self, charge: Charge, response: Any, kind: Any) -> None:
        self._raw = response.content
        super().__init__(Watch(charge, _head(kind)), close_in_loop(running_loop(), response.close))
        entrust(charge, self._seen, self)

    async def read(self, n: int = -1) -> bytes:
        """Read bytes; all of them, where no number is given."""
        return await self._take(self._raw.read(n), all_of_it=n < 0)

    async def readany(self) -> bytes:
        """Read what is there."""
        return await self._take(self._raw.readany())

    async def readexactly(self, n: int) -> bytes:
        """Read so many bytes."""
        return await self._take(self._raw.readexactly(n))

    async def readline(self, **kwargs: Any) -> bytes:
        """Read a line."""
        return await self._take(self._raw.readline(**kwargs))

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Every chunk, and whether it is a whole one."""
        while chunk := await self.readany():
            yield chunk, True

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Every chunk of so many bytes."""
        while chunk := await self.read(n):
            yield chunk

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Every chunk."""
        while chunk := await self.readany():
            yield chunk

    async def _take(self, reading: Any, *, all_of_it: bool = False) -> bytes:
        try:
            chunk: bytes = await reading
        except Exception:
            await _end_async(self._seen)
            raise
        self._seen.take(chunk)
        if all_of_it or not chunk:
            self._seen.whole = True
            await _end_async(self._seen)
        return chunk


def _end(seen: Watch) -> None:
    if seen.ended:
        return
    if must_not_wait():
        REAPER.put(seen.end)
    else:
        seen.finish()


async def _end_async(seen: Watch) -> None:
    if seen.ended:
        return
    if must_not_wait():
        REAPER.put(seen.end)
    else:
        await finish(seen)
