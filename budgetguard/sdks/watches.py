"""
What is heard of an answer whose body is not read yet: decoded items, or the bytes themselves.

A `Watch` is told of both by `streams`, and has the call's charge take in what they said, once.
"""

from __future__ import annotations

import json
import logging
import sys
import zlib
from collections.abc import Callable, Collection, Sequence
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from ..calls import Answer, Ending, read
from ..concurrency.interrupts import raise_interruption
from ..concurrency.reaper import REAPER
from ..process.state import PROCESS

if TYPE_CHECKING:
    from ..concurrency.steps import Steps
    from ..guards.background.background import Follow
    from ..guards.charge import Charge
    from ..process.keeper import Living

log = logging.getLogger("budgetguard")

_BODY_LIMIT = 32 * 1024 * 1024
"""Bytes of a raw JSON body that are kept to find its usage; a larger one is settled as held."""


_FRAMED = "amazon.eventstream"
"""The type of a body in frames of AWS's own, which only the SDK's decoder understands here."""
_STREAMS = ("event-stream", "ndjson", "stream+json")
"""In the content types of streams: events, and lines of JSON by two names."""


def is_stream(kind: str) -> bool:
    """Whether a body of this content type is a stream, also where it was read whole."""
    return any(mark in kind for mark in _STREAMS)


class Watch:
    """The charge of one unread body, and what was heard of it so far."""

    __slots__ = (
        "_ask_usage",
        "_buffer",
        "_inflate",
        "_last",
        "_open",
        "_request",
        "_taken_in",
        "body",
        "charge",
        "closer",
        "deaf",
        "decoder",
        "dropped",
        "lines",
        "listener",
        "sse",
        "whole",
    )

    unread = True

    def __init__(
        self, charge: Charge | Follow, response: Any = None, *, read: bool = False, ask_usage: bool = False
    ) -> None:
        """Without a response, only decoded items are heard of the body."""
        self.charge = charge
        self._ask_usage = ask_usage
        self.body: Callable[[], object] = bool
        """A weak reference to the body that is watched: `None` once nobody can read it any more."""
        self.decoder: CodeType | None = None
        """The SDK's generator that decodes the body, if there is one."""
        self.whole = False
        """Whether the body's own end was seen."""
        self.dropped = False
        """Whether nobody closed it: how long its provider wrote on, nobody knows."""
        self.deaf = False
        """Whether the body cannot be understood: it is then settled as held."""
        self.closer: Callable[[], object] | None = None
        """What has the body closed, from any thread, where only its items are heard: their end is its own."""
        headers = {"content-type": "event-stream"} if response is None else response.headers
        kind = headers.get("content-type", "")
        self.sse = "event-stream" in kind or (charge.call.stream and "json" not in kind)
        self.lines = charge.asked.endpoint.lines or (not self.sse and is_stream(kind))
        """Whether it is lines of JSON."""
        make = charge.asked.endpoint.listener
        self.listener = make() if make is not None and (self.sse or self.lines) else None
        self._inflate = bytes if read else _inflater(headers.get("content-encoding", "identity"))
        if _FRAMED in kind:
            self._inflate = None
        self._buffer = bytearray()
        self._last: Any = None
        self._open = [True]
        self._request = None if response is None else response.request
        self._taken_in = False

    def hear(self, item: Any) -> bool:
        """Take in a decoded item; whether it is the usage chunk that only we asked for."""
        listener = self.listener
        if listener is None:
            return False
        self._last = item
        try:
            hide = listener.hear(item)
        except Exception as error:
            raise_interruption(error)
            log.exception("an item of a stream could not be read")
            return False
        if not self._ask_usage:
            return False
        if not hide:
            _forget_null_usage(item)
        return hide

    @property
    def ended(self) -> bool:
        """Whether the charge has taken in what was heard."""
        return not self._open

    @property
    def missed(self) -> bool:
        """Whether the body is gone and the charge knows nothing of it: a signal's exception struck its finalizer."""
        return bool(self._open) and self.body() is None

    @property
    def last_word(self) -> bool:
        """Whether the items so far settle the call."""
        return bool(self._open) and self.listener is not None and self.listener.done

    @property
    def heard_all(self) -> bool:
        """Whether bytes that nobody decodes for us have come to their end: their reader may forget the body now."""
        return self.decoder is None and (self.whole or self.last_word)

    def take(self, chunk: bytes) -> None:
        """Take in bytes that nobody decodes for us."""
        if self.decoder is not None or self.deaf or not self._open:
            return
        if self._inflate is None or len(self._buffer) > _BODY_LIMIT:
            self.deaf = True
            self._buffer.clear()
            return
        try:
            self._buffer += self._inflate(chunk)
            if (self.sse or self.lines) and b"\n" in self._buffer:
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
            self.charge.interrupted(self.listener, self._ending())
        elif self.charge.asked.endpoint.answer is not None:
            self.charge.observe(self._reply(self.charge.asked.endpoint.answer))
        else:
            self.charge.observe(Answer())
        self._taken_in = True
        self._buffer.clear()
        return True

    def _hear_error(self, error: BaseException | None) -> None:
        """Hear an error event: the SDK raises it instead of giving it on, and closes the body meanwhile."""
        said = getattr(error, "body", None)
        if said is not None and self._request is not None and getattr(error, "request", None) is self._request:
            self.hear({"error": said})

    def living(self) -> Sequence[Living]:
        """What is to be kept while nobody has read the body."""
        return self.charge.living()

    def close(self) -> Steps[None]:
        """End the charge."""
        PROCESS.open.pop(id(self), None)
        return self.charge.close()

    def end(self) -> None:
        """Take in what was heard and end the charge, once."""
        if self.conclude():
            self.charge.parts.shell.run(self.close())

    def finish(self) -> None:
        """`end`, in another thread if this one is interrupted."""
        try:
            self.end()
        except BaseException:
            REAPER.put(self.repeat)
            raise

    def repeat(self) -> None:
        """`end`, where that was interrupted."""
        if not self._taken_in:
            self._open[:] = [True]
            self.end()
        else:
            self.charge.parts.shell.run(self.close())

    def raise_cut(self) -> None:
        """Raise `AnswerCutError` where the caller asked for that: after the last item, and on the books."""
        if self.ended:
            self.charge.raise_cut()

    def abandon(self) -> None:
        """`end` for a body that nobody has closed, or will read any more."""
        self.dropped = True
        self.end()

    def note_closing(self) -> None:
        """See by what the SDK's decoder is doing how a body ends that is being closed."""
        frames = _running(self.decoder)
        if not frames:  # its reader closes it
            return
        error = sys.exception()
        if error is None or not _passes(error, frames):  # the decoder closes it, having come to its end
            self.whole = True
        elif isinstance(error, GeneratorExit):
            self.dropped = True

    def _ending(self) -> Ending:
        if self.whole or (self.charge.call.choices == 1 and _says_why(self._last)):
            return "whole"  # a reader may leave as soon as the model says that it has stopped
        return "dropped" if self.dropped else "left"

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
        if line.startswith(b"data:"):
            line = line[5:]
        elif not self.lines or not line:
            return
        if line.endswith(b"[DONE]"):
            self.whole = True
            return
        try:
            self.hear(json.loads(line))
        except ValueError:
            log.debug("an event of call %s is no JSON", self.charge.id)


_DEPTH = 8
"""How many frames there are at most between the SDK's decoder and the body that it closes."""


def _running(decoder: CodeType | None) -> Collection[FrameType]:
    """The frames from the decoder to what called us, if the decoder is beneath us."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2) if decoder is not None else None
    while frame is not None and len(frames) < _DEPTH:
        frames.append(frame)
        if frame.f_code is decoder:
            return frames
        frame = frame.f_back
    return ()


def _passes(error: BaseException, frames: Collection[FrameType]) -> bool:
    """Whether an error came out of these frames, or into one of them: httpx may close a body before its reader sees."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame in frames:
            return True
        traceback = traceback.tb_next
    return False


def _says_why(item: Any) -> bool:
    """Whether an item of a chat is the last with text: the model says why it stopped."""
    choices = read(item, "choices")
    return isinstance(choices, list) and len(choices) == 1 and bool(read(choices[0], "finish_reason"))


def _forget_null_usage(item: Any) -> None:
    """Take the `"usage": null` off an item, which is there only because we asked for usage."""
    if type(item) is dict:
        if item.get("usage", item) is None:
            del item["usage"]
        return
    try:
        if item.__dict__.get("usage", item) is None:
            item.__pydantic_fields_set__.discard("usage")
    except AttributeError:  # of pydantic 1, or no SDK object at all
        getattr(item, "__fields_set__", set()).discard("usage")


def _inflater(encoding: str) -> Callable[[bytes], bytes] | None:
    """What undoes a content encoding, chunk by chunk; `None` for one that is not read here."""
    if encoding in {"", "identity"}:
        return bytes
    if encoding in {"gzip", "x-gzip"}:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress
    if encoding == "deflate":
        return zlib.decompressobj().decompress
    return None
