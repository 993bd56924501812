"""
What is paid for by the second over a socket: Live sessions, and translations.

Nothing that is sent asks for an answer, so the next `SLICE_S` seconds are held whenever those before are used up: a
budget ends a session at the first message after them. How long a session has lasted its events say; of translations
they do not, and it is the length of the sound that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....calls import UNKNOWN_HOST, Answer, Call, Host, News, Opening
from ...common.bodies import fields, text, whole
from ...common.numbers import number_of
from ...common.sockets.messages import Marks, parsed, sound_bytes
from ..replies import decisions
from ..requests import user
from .responses import ended

SLICE_S = 30

_BYTES_A_SECOND = 48_000
"""Of translations' sound: 16 bits, 24,000 times a second."""

_SOUND = Marks("session.input_audio_buffer.append", "input_audio_buffer.append", "session.input_audio.append")
_HEARD = Marks("usage", "session.started", "session.closed", "error")


def request(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """So many seconds of a model."""
    seconds = whole(body, "seconds") or 1
    return Call(text(body, "model") or "", fixed={"audio_seconds": seconds}, output=False, user=user(body))


def _seconds(count: int) -> Answer:
    return Answer(usage={"audio_seconds": count})


class LiveTalk:
    """A Live session. What it delegates to other models is billed beside it, and in its events."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._body: dict[str, Any] = {"seconds": SLICE_S}
        self._used = self._settled = 0
        """Seconds so far, and those that are on the books."""
        self._open = False
        """Whether it was begun, and is not closed: then there is to be a slice."""

    def asked(self) -> Mapping[str, Any]:
        """The model."""
        return self._body

    def last(self) -> Answer | None:
        """A session that was not closed goes on for a while: nobody knows how long."""
        return None

    def sent(self, message: str | bytes, idle: bool) -> Opening | None:
        """Take in a message: the first begins the session, any other one the next slice, where there is none."""
        if not self._open and not _SOUND.frame(message):
            event = parsed(message)
            if event.get("type") == "session.start":
                self._start(fields(event.get("session")))
        return Opening(self._body) if self._open and idle and "model" in self._body else None

    def _start(self, session: Mapping[str, Any]) -> None:
        self._body |= {name: session[name] for name in ("model", "safety_identifier") if session.get(name)}
        self._open = True

    def amended(self, opening: Opening, fields_: Mapping[str, Any]) -> Mapping[str, Any]:
        """Nothing of it changes."""
        return opening.event

    def heard(self, message: str | bytes) -> Sequence[News]:
        """Take in an event: how long the session has lasted, and what was done beside."""
        if not _HEARD.are_in(message):
            return ()
        event = parsed(message)
        kind = event.get("type")
        if kind == "session.started":
            self._start(fields(event.get("session")))
        elif kind in {"session.usage.updated", "session.closed"}:
            return self._lasted(number_of(event.get("usage"), "seconds"), closed=kind == "session.closed")
        elif kind == "error" and not self._used:
            return (News("refused"),)
        return self._beside(fields(event.get("event")))

    def _lasted(self, seconds: int, *, closed: bool) -> Sequence[News]:
        self._used = max(self._used, seconds)
        since = self._used - self._settled
        if closed:
            self._open = False
        elif since < SLICE_S:
            return ()
        self._settled = self._used
        return (News("ended", None, _seconds(since), self._body),)

    def _beside(self, event: Mapping[str, Any]) -> Sequence[News]:
        made = event.get("decision")
        answer = ended(event) if made is None else decisions(made)
        return () if answer is None else (News("beside", answer.id, answer, {"model": answer.model or ""}),)


class TranslationTalk:
    """A translation of what is said."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._model = query.get("model", "")
        self._sent = self._settled = 0
        """Bytes of sound that were sent, and whole seconds of them that are on the books."""

    def asked(self) -> Mapping[str, Any]:
        """The model."""
        return {"model": self._model, "seconds": SLICE_S}

    def last(self) -> Answer | None:
        """What was sent since the last slice."""
        return _seconds(self._since())

    def _since(self) -> int:
        return -(-self._sent // _BYTES_A_SECOND) - self._settled

    def sent(self, message: str | bytes, idle: bool) -> Opening | None:
        """Take in a message: sound that begins a slice."""
        if not _SOUND.frame(message):
            return None
        self._sent += sound_bytes(parsed(message).get("audio"))
        ends = None
        if not idle:
            if self._since() < SLICE_S:
                return None
            ends = self.last()
            self._settled += self._since()
        return Opening(self.asked(), ends=ends)

    def amended(self, opening: Opening, fields_: Mapping[str, Any]) -> Mapping[str, Any]:
        """Nothing of it changes."""
        return opening.event

    def heard(self, message: str | bytes) -> Sequence[News]:
        """Take in an event: only the last says anything."""
        if not _HEARD.are_in(message) or parsed(message).get("type") != "session.closed":
            return ()
        answer = _seconds(self._since())
        self._settled += self._since()
        return (News("ended", None, answer, self.asked()),)
