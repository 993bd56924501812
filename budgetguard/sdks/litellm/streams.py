"""
LiteLLM's streams on their way to the caller.

The caller has LiteLLM's own iterator. Its class's `__next__` and `__anext__` are wrapped when the first of its kind is
seen: what they give goes by here, and what they ask for beneath (some send their request only then) is this call's.
What is asked of its usage is what LiteLLM itself makes of all its chunks: of a provider that counts the input in the
first one, the last one does not have it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from types import ModuleType
from typing import Any
from weakref import ref

from ...adapters.openai import CHAT
from ...calls import Answer, Ending, Listener, read
from ...concurrency.interrupts import raise_interruption
from ...concurrency.locks import mutex
from ...concurrency.reaper import REAPER, must_not_wait
from ...concurrency.steps import Steps
from ...guards.charge import Charge
from ...process.keeper import Living
from ...process.state import PROCESS
from ..exchange import Exchange, charging
from ..hooks import unbound, wrap

log = logging.getLogger("budgetguard")

_WATCH = "_budgetguard_watch"
"""Where the watch of a stream is found in its `__dict__`."""

_wrapping = mutex("streams of LiteLLM")


def is_stream(response: Any) -> bool:
    """Whether a reply is a stream that can be heard: an object of LiteLLM's that gives items."""
    kind = type(response)
    gives = hasattr(kind, "__next__") or hasattr(kind, "__anext__")
    return gives and kind.__module__.startswith("litellm") and hasattr(response, "__dict__")


def watch_stream(
    request: Exchange, charge: Charge, stream: Any, litellm: ModuleType, bill: Callable[[Any], None]
) -> None:
    """Have a stream heard, and its charge ended where it ends; `bill` is told of its whole reply."""
    if request.ask_usage and hasattr(stream, "send_stream_usage"):
        stream.send_stream_usage = False  # it asks for its usage, which the caller did not
    seen = StreamWatch(request, charge, stream, _listener(charge, stream, litellm), bill)
    with _wrapping:
        for name, wrapper in _WRAPPERS.items():
            owner = next((each for each in type(stream).__mro__ if name in each.__dict__), None)
            if owner is not None and owner.__module__.startswith("litellm"):
                wrap(owner, name, wrapper)
    stream.__dict__[_WATCH] = seen
    PROCESS.reaper.start()
    PROCESS.open[id(seen)] = seen
    PROCESS.open.pop(id(charge), None)
    charge.state = "watched"


class StreamWatch:
    """The charge of one stream, and what was heard of it so far."""

    unread = True

    def __init__(
        self, request: Exchange, charge: Charge, stream: Any, listener: Listener | None, bill: Callable[[Any], None]
    ) -> None:
        self.request = request
        self.charge = charge
        self.listener = listener
        self.bill = bill
        self.heard = False
        self._open = [True]
        self._stream = ref(stream, self._dropped)

    @property
    def ended(self) -> bool:
        """Whether the charge has taken in what was heard."""
        return not self._open

    @property
    def missed(self) -> bool:
        """Whether the stream is gone and the charge knows nothing of it."""
        return bool(self._open) and self._stream() is None

    def living(self) -> Sequence[Living]:
        """What is to be kept while nobody has read it."""
        return self.charge.living()

    def hear(self, item: Any) -> None:
        """Take in an item."""
        self.heard = True
        if self.listener is None:
            return
        try:
            self.listener.hear(item)
        except Exception as error:
            raise_interruption(error)
            log.exception("an item of a stream could not be read")

    def hides(self, item: Any) -> bool:
        """Whether an item is there only because we asked for the usage: it has nothing else."""
        if not self.request.ask_usage:
            return False
        choices = read(item, "choices")
        if not choices:
            return isinstance(choices, list)
        if read(choices[0], "finish_reason"):
            return False
        delta = read(choices[0], "delta")
        if delta is None:
            return read(choices[0], "text") is None
        return read(delta, "content") is None and not delta.model_dump(exclude_none=True)

    def conclude(self, ending: Ending, error: BaseException | None = None) -> bool:
        """Have the charge take in what was heard, once; `False` if it has before."""
        try:
            self._open.pop()  # atomic: the reaper and the caller may both be here
        except IndexError:
            return False
        if error is not None and not self.heard:  # it may be that nothing was sent before
            self.charge.state = "sent"
            self.request.failed(error)
            return True
        if isinstance(self.listener, Chunks) and ending == "whole":
            self.listener.whole = True
        self.charge.interrupted(self.listener, ending)
        self.bill(self.listener.built if isinstance(self.listener, Chunks) else None)
        return True

    def close(self) -> Steps[None]:
        """End the charge."""
        PROCESS.open.pop(id(self), None)
        return self.charge.close()

    def end(self, ending: Ending, error: BaseException | None = None) -> None:
        """Take in what was heard and end the charge, once; in another thread, where this one must not wait."""
        if not self.conclude(ending, error):
            return
        if must_not_wait():
            REAPER.put(self._run)
        else:
            self._run()

    async def end_async(self, ending: Ending, error: BaseException | None = None) -> None:
        """The same in a task."""
        if not self.conclude(ending, error):
            return
        if error is not None and not isinstance(error, Exception):
            REAPER.put(self._run)
            return
        try:
            await self.charge.parts.async_shell.run(self.close())
        except BaseException:
            REAPER.put(self._run)
            raise

    def abandon(self) -> None:
        """End the charge of a stream that nobody has, or will read any more."""
        self.end("dropped")

    def _run(self) -> None:
        self.charge.parts.shell.run(self.close())

    def _dropped(self, _stream: object) -> None:
        if self._open:
            REAPER.put(self.abandon)


class Chunks:
    """Listens to a chat, of which LiteLLM keeps the chunks as their provider gave them."""

    done = False

    def __init__(self, texts: Listener, litellm: ModuleType, chunks: Sequence[Any]) -> None:
        self.texts = texts
        self.litellm = litellm
        self.chunks = chunks
        self.whole = False
        self.built: Any = None
        """The whole reply, as LiteLLM puts it together."""

    def hear(self, item: Any) -> bool:
        """Take in an item; none has to be hidden."""
        return self.texts.hear(_plain(item))

    def end(self) -> Answer:
        """What the chunks say: all, where they came to the usage at the end; else as much of the input as is said."""
        heard = self.texts.end()
        usages = [_usage_of(chunk) for chunk in self.chunks]
        if not any(usages):
            return heard
        last = max(number for number, usage in enumerate(usages) if usage)
        finished = any(read(each, "finish_reason") for chunk in self.chunks for each in read(chunk, "choices") or ())
        self.built = self.litellm.stream_chunk_builder(list(self.chunks))
        said = CHAT.answer(self.built) if CHAT.answer is not None else Answer()
        if self.whole or (finished and last and last >= len(usages) - 2):
            return said._replace(cut=said.cut or heard.cut)
        counts = {kind: count for kind, count in (said.usage or {}).items() if not kind.startswith("output")}
        if not counts.get("input_tokens"):
            return heard
        return heard._replace(usage=counts, lacks=("output_tokens",), exact=True)


class Events:
    """Listens to events, which some streams give as the bytes that they are sent as."""

    def __init__(self, inner: Listener) -> None:
        self.inner = inner
        self.done = False
        """Whether what was heard is the last word."""

    def hear(self, item: Any) -> bool:
        """Take in an item; none has to be hidden."""
        if isinstance(item, bytes | bytearray):
            item = item.decode("utf-8", "replace")
        if isinstance(item, str):
            for line in item.splitlines():
                if line.startswith("data:"):
                    with suppress(ValueError):
                        self.inner.hear(json.loads(line[5:]))
        else:
            self.inner.hear(_plain(item))
        self.done = self.inner.done
        return False

    def end(self) -> Answer:
        """What the events said."""
        return self.inner.end()


def _listener(charge: Charge, stream: Any, litellm: ModuleType) -> Listener | None:
    make, chunks = charge.asked.endpoint.listener, _chunks_of(stream)
    if make is None:
        return None
    return Events(make()) if chunks is None else Chunks(make(), litellm, chunks)


def _chunks_of(stream: Any) -> Sequence[Any] | None:
    for each in (stream, stream.__dict__.get("completion_stream")):
        chunks = getattr(each, "__dict__", {}).get("chunks")
        if isinstance(chunks, list):
            return chunks
    return None


def _plain(item: Any) -> Any:
    """An item as plain as others give it: LiteLLM keeps fields beside a model's own, and kinds in an enumeration."""
    kind, choices = read(item, "type"), read(item, "choices")
    if isinstance(kind, Enum):
        return {**_fields(item), "type": kind.value}
    inner = choices if isinstance(choices, list) else ()
    if any(getattr(each, "__pydantic_extra__", None) for each in (item, *inner)):
        return {**_fields(item), "choices": [_fields(choice) for choice in inner]}
    return item


def _fields(model: Any) -> dict[str, Any]:
    return {**model.__dict__, **(getattr(model, "__pydantic_extra__", None) or {})}


def _usage_of(chunk: Any) -> Any:
    usage = read(chunk, "usage")
    if usage is None:
        hidden = getattr(chunk, "_hidden_params", None)
        usage = hidden.get("usage") if isinstance(hidden, dict) else None
    return usage


def _next(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of a stream's `__next__`."""
    if instance is None:
        return unbound(_next, wrapped, args, kwargs)
    seen: StreamWatch | None = instance.__dict__.get(_WATCH)
    if seen is None or seen.ended:
        return wrapped(*args, **kwargs)
    above, seen.request.carried = charging.get(), seen
    charging.set(seen.request)
    try:
        item = wrapped(*args, **kwargs)
    except StopIteration:
        seen.end("whole")
        seen.charge.raise_cut()
        raise
    except BaseException as error:
        seen.end("left", error)
        raise
    finally:
        charging.set(above)
        seen.request.carried = None
    seen.hear(item)
    if seen.listener is not None and seen.listener.done:
        seen.end("whole")
    return _next(wrapped, instance, args, kwargs) if seen.hides(item) else item


async def _next_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The same of `__anext__`."""
    if instance is None:
        return await unbound(_next_async, wrapped, args, kwargs)
    seen: StreamWatch | None = instance.__dict__.get(_WATCH)
    if seen is None or seen.ended:
        return await wrapped(*args, **kwargs)
    above, seen.request.carried = charging.get(), seen
    charging.set(seen.request)
    try:
        item = await wrapped(*args, **kwargs)
    except StopAsyncIteration:
        await seen.end_async("whole")
        seen.charge.raise_cut()
        raise
    except BaseException as error:
        await seen.end_async("left", error)
        raise
    finally:
        charging.set(above)
        seen.request.carried = None
    seen.hear(item)
    if seen.listener is not None and seen.listener.done:
        await seen.end_async("whole")
    return await _next_async(wrapped, instance, args, kwargs) if seen.hides(item) else item


def _sent(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of what sends the request of a stream, where somebody wants that done before its first item."""
    if instance is None:
        return unbound(_sent, wrapped, args, kwargs)
    seen: StreamWatch | None = instance.__dict__.get(_WATCH)
    if seen is None or seen.ended:
        return wrapped(*args, **kwargs)
    above, carried = charging.get(), seen.request.carried
    seen.request.carried = seen
    charging.set(seen.request)
    try:
        return wrapped(*args, **kwargs)
    finally:
        charging.set(above)
        seen.request.carried = carried


async def _sent_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The same where that is awaited."""
    if instance is None:
        return await unbound(_sent_async, wrapped, args, kwargs)
    seen: StreamWatch | None = instance.__dict__.get(_WATCH)
    if seen is None or seen.ended:
        return await wrapped(*args, **kwargs)
    above, carried = charging.get(), seen.request.carried
    seen.request.carried = seen
    charging.set(seen.request)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        charging.set(above)
        seen.request.carried = carried


async def _closed_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of what closes a stream."""
    if instance is None:
        return await unbound(_closed_async, wrapped, args, kwargs)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        seen: StreamWatch | None = instance.__dict__.get(_WATCH)
        if seen is not None and not seen.ended:
            await seen.end_async("left")


_WRAPPERS: dict[str, Callable[..., Any]] = {
    "__next__": _next,
    "__anext__": _next_async,
    "aclose": _closed_async,
    "fetch_sync_stream": _sent,
    "fetch_stream": _sent_async,
}
