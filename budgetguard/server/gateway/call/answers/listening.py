"""
What is heard of an answer on its way: all of it, or event by event as a stream goes by.

The bytes are handed on as they came. Only where we asked for the usage that a stream ends with, and the client did not,
is it taken apart at its blank lines, to leave that one event out.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from .....calls import Answer, Ending, Endpoint
from .....guards.charge import Charge

log = logging.getLogger("budgetguard.server")

_decode = msgspec.json.Decoder().decode
_MOST_REST: Final = 32 * 1024 * 1024
"""Bytes of one event, at most: of a longer one nothing is understood any more."""


def answer_of(endpoint: Endpoint, kind: str, body: bytes) -> Answer:
    """What a whole answer says of its cost."""
    if endpoint.answer is None:
        return Answer()
    if "json" not in kind:
        return endpoint.answer(None)
    try:
        data = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Answer()
    if isinstance(data, list) and endpoint.listener is not None:
        if not data or not endpoint.name.endswith("streamGenerateContent"):
            return Answer()
        listener = endpoint.listener()  # Gemini's stream as one array
        for item in data:
            listener.hear(item)
        return listener.end()
    return endpoint.answer(data)


class StreamEar:
    """Listens to one stream."""

    __slots__ = ("_hidden", "_last", "_open", "_rest", "charge", "deaf", "listener", "unread", "whole")

    def __init__(self, charge: Charge, *, hide_usage: bool) -> None:
        make = charge.asked.endpoint.listener
        self.charge = charge
        self.listener = None if make is None else make()
        self.whole = False
        """Whether the stream's own end was heard."""
        self.deaf = self.listener is None
        self.unread = False
        """Whether an event could not be read: it may have been the one with the cost."""
        self._open = bytearray()  # the data of an event that is no JSON yet: it may go on in its next line
        self._hidden = hide_usage
        self._rest = b""
        self._last: Any = None

    def take(self, piece: bytes) -> bytes:
        """Take in a piece of the body; what of it is handed on now."""
        if self.deaf:
            return piece
        data = self._rest + piece if self._rest else piece
        if len(data) > _MOST_REST:
            self.deaf, self._rest = True, b""
            return data if self._hidden else piece
        if b"\r" in data:
            data = _plain_ends(data)
        if not self._hidden:
            lines = data.split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                self._line(line)
            return piece
        return self._without_usage(data)

    def _without_usage(self, data: bytes) -> bytes:
        events = data.split(b"\n\n")
        self._rest = events.pop()
        kept = []
        for event in events:
            hide = False
            for line in event.split(b"\n"):
                hide = self._line(line) or hide
            hide = self._line(b"") or hide
            if not hide:
                kept.append(event)
        return b"\n\n".join([*kept, b""]) if kept else b""

    def last(self) -> bytes:
        """What was kept back, now that the body is over."""
        rest, self._rest = self._rest, b""
        for line in (*rest.replace(b"\r", b"\n").split(b"\n"), b""):
            self._line(line)
        return rest if self._hidden else b""

    def _line(self, line: bytes) -> bool:
        """Take in a line; whether it ends, or is, the event that only we asked for."""
        if line[:5] == b"data:":
            return self._hear(line[5:])
        if line or not self._open:
            return False
        data, self._open = bytes(self._open), bytearray()
        try:
            item = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.unread = True
            return False
        return self._understand(item)

    def _hear(self, data: bytes) -> bool:
        """Take in what an event says; whether it is the usage that only we asked for."""
        if self._open:
            self._open += b"\n" + data
            if len(self._open) > _MOST_REST:
                self.unread, self._open = True, bytearray()
            return False
        try:
            item = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = data.strip()
            if said == b"[DONE]":
                self.whole = True
            else:
                self._open += said
            return False
        return self._understand(item)

    def _understand(self, item: Any) -> bool:
        self._last = item
        listener = self.listener
        assert listener is not None
        try:
            return listener.hear(item)
        except Exception:
            log.exception("an event of call %s could not be read", self.charge.id)
            return False

    def ended(self, ending: Ending) -> Ending:
        """How the answer ended: it is whole once its own end was heard, however its connection ends."""
        listener = self.listener
        said = self.whole or (listener is not None and listener.done)
        return "whole" if said or (self.charge.call.choices == 1 and _says_why(self._last)) else ending

    def conclude(self, ending: Ending) -> None:
        """Have the charge take in what was heard."""
        charge = self.charge
        charge.state = "sent"
        if self.deaf or self.listener is None:
            charge.observe(Answer())
        else:
            charge.interrupted(self.listener, "dropped" if self.unread else ending)


def _plain_ends(data: bytes) -> bytes:
    """The same with every line ended as most servers do; a last "\\r" is left, as what follows may belong to it."""
    data = data.replace(b"\r\n", b"\n")
    return data[:-1].replace(b"\r", b"\n") + data[-1:]


def _says_why(item: Any) -> bool:
    """Whether an event of a chat is the last with text: the model says why it stopped."""
    choices = item.get("choices") if isinstance(item, dict) else None
    return isinstance(choices, list) and len(choices) == 1 and bool(choices[0].get("finish_reason"))
