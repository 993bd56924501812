"""
What the fake provider says over a socket: pure functions from a message to the messages that answer it.

An answer is as long as the plan says, and never longer than its cap. Usage grows as it does at a provider: each answer
reads what was said before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class SocketPlan:
    """How a socket is answered. The defaults are a healthy provider with short answers."""

    tokens: int = 8
    """The output tokens that an answer wants; a cap may cut it."""
    audio: int = 0
    """How many of the output tokens are sound."""
    pause: int = 0
    """After so many pieces of sound the server answers by itself; 0: it does not listen for pauses."""
    ear: str = ""
    """The model by which it transcribes what is said before each such pause."""
    seconds: int = 10
    """By how much each piece of sound lengthens a Live session."""
    refuse: bool = False
    """Refuse to begin an answer."""
    drop: Literal["", "asked", "begun"] = ""
    """Close the socket as soon as an answer is asked for, or has begun."""


class TalkBill(NamedTuple):
    """What the provider bills for one answer."""

    model: str
    usage: Mapping[str, Any]


Said = dict[str, Any] | TalkBill | None
"""A message, what is billed by then, or `None`: the socket is closed."""


class FakeTalk(Protocol):
    """One conversation, from the side of the provider."""

    def greet(self) -> Iterator[Said]:
        """What it says first."""
        ...

    def answer(self, event: dict[str, Any], size: int) -> Iterator[Said]:
        """What it says to a message of so many bytes."""
        ...


@dataclass
class FakeRealtime:
    """A Realtime session."""

    plan: SocketPlan
    query: Mapping[str, str]
    read: int = 0
    """The tokens of the conversation so far, of which `heard` are sound."""
    heard: int = 0
    session: dict[str, Any] = field(default_factory=dict)
    _made: int = 0
    _pieces: int = 0

    def greet(self) -> Iterator[Said]:
        """The session."""
        self.session = {
            "id": "sess_1",
            "type": "realtime",
            "model": self.query.get("model") or self.query["deployment"],
        }
        yield {"type": "session.created", "event_id": "e", "session": self.session}

    def answer(self, event: dict[str, Any], size: int) -> Iterator[Said]:
        """What an event is answered with."""
        kind = event.get("type")
        if kind == "session.update":
            self.session |= event["session"]
            yield {"type": "session.updated", "event_id": "e", "session": self.session}
        elif kind == "conversation.item.create":
            self.read += len(json.dumps(event["item"])) // 4
        elif kind == "input_audio_buffer.append":
            yield from self._sound(event, size)
        elif kind == "response.create" and self.plan.refuse:
            error = {"type": "invalid_request_error", "code": "conversation_already_has_active_response"}
            yield {"type": "error", "event_id": "e", "error": {**error, "event_id": event.get("event_id")}}
        elif kind == "response.create":
            yield from self._response(event.get("response") or {})

    def _sound(self, event: Mapping[str, Any], size: int) -> Iterator[Said]:
        tokens = max(len(event["audio"]) * 3 // 4 * 10 // 48_000, 1)
        self.read += tokens
        self.heard += tokens
        self._pieces += 1
        if self.plan.pause and self._pieces % self.plan.pause == 0:
            if self.plan.ear:
                usage = {"type": "tokens", "input_tokens": 40, "output_tokens": 6, "total_tokens": 46}
                usage |= {"input_token_details": {"audio_tokens": 40, "text_tokens": 0}}
                yield TalkBill(self.plan.ear, usage)
                kind = "conversation.item.input_audio_transcription.completed"
                yield {
                    "type": kind,
                    "event_id": "e",
                    "item_id": "i",
                    "content_index": 0,
                    "transcript": "well",
                    "usage": usage,
                }
            yield from self._response({})

    def _response(self, wanted: Mapping[str, Any]) -> Iterator[Said]:
        self._made += 1
        name = f"resp_{id(self):x}_{self._made}"
        begun: dict[str, Any] = {
            "id": name,
            "object": "realtime.response",
            "status": "in_progress",
            "usage": None,
            "output": [],
        }
        if self.plan.drop == "asked":
            yield TalkBill(self.session["model"], self._usage(0))
            yield None
        yield {"type": "response.created", "event_id": "e", "response": begun}
        cap = wanted.get("max_output_tokens", self.session.get("max_output_tokens"))
        made = min(self.plan.tokens, cap) if isinstance(cap, int) else self.plan.tokens
        usage = self._usage(made)
        yield TalkBill(self.session["model"], usage)
        if self.plan.drop == "begun":
            yield None
        for _ in range(2):
            place = {"response_id": name, "item_id": "i", "output_index": 0, "content_index": 0}
            yield {"type": "response.output_audio.delta", "event_id": "e", **place, "delta": "AAAA" * 50}
        self.read += made
        self.heard += min(self.plan.audio, made)
        status = "completed" if made == self.plan.tokens else "incomplete"
        details = {"type": status, "reason": None if status == "completed" else "max_output_tokens"}
        done = {**begun, "status": status, "status_details": details, "usage": usage, "conversation_id": "conv_1"}
        yield {"type": "response.done", "event_id": "e", "response": done}

    def _usage(self, made: int) -> dict[str, Any]:
        read, sound = self.read + 20, min(self.plan.audio, made)
        cached = {"text_tokens": 4, "audio_tokens": min(2, self.heard)}
        return {
            "input_tokens": read,
            "output_tokens": made,
            "total_tokens": read + made,
            "input_token_details": {
                "audio_tokens": self.heard,
                "text_tokens": read - self.heard,
                "cached_tokens": sum(cached.values()),
                "cached_tokens_details": cached,
            },
            "output_token_details": {"audio_tokens": sound, "text_tokens": made - sound},
        }


@dataclass
class FakeResponses:
    """Responses over a socket."""

    plan: SocketPlan
    query: Mapping[str, str]
    _made: int = 0

    def greet(self) -> Iterator[Said]:
        """Nothing."""
        yield from ()

    def answer(self, event: dict[str, Any], size: int) -> Iterator[Said]:
        """The events of a response."""
        if event.get("type") != "response.create":
            return
        if self.plan.refuse:
            yield {"type": "error", "status": 400, "error": {"type": "invalid_request_error", "message": "no"}}
            return
        self._made += 1
        model, cap = event["model"], event.get("max_output_tokens")
        made = min(self.plan.tokens, cap) if cap else self.plan.tokens
        usage = {"input_tokens": size // 8, "output_tokens": made, "total_tokens": size // 8 + made}
        begun = {"id": f"resp_{id(self):x}_{self._made}", "object": "response", "model": model, "output": []}
        yield {"type": "response.created", "response": {**begun, "status": "in_progress", "usage": None}}
        yield TalkBill(model, usage)
        if self.plan.drop:
            yield None
        yield {"type": "response.output_text.delta", "delta": "word", "item_id": "m", "output_index": 0}
        yield {"type": "response.completed", "response": {**begun, "status": "completed", "usage": usage}}


@dataclass
class FakeLive:
    """A Live session, that lasts as long as sound comes."""

    plan: SocketPlan
    query: Mapping[str, str]
    model: str = ""
    lasted: int = 0

    def greet(self) -> Iterator[Said]:
        """Nothing."""
        yield from ()

    def answer(self, event: dict[str, Any], size: int) -> Iterator[Said]:
        """What an event is answered with."""
        kind = event.get("type")
        if kind == "session.start":
            self.model = event["session"]["model"]
            yield {"type": "session.started", "event_id": "e", "session": {"id": "s", "model": self.model}}
        elif kind == "session.input_audio.append":
            self.lasted += self.plan.seconds
            yield TalkBill(self.model, {"seconds": self.plan.seconds})
            yield {"type": "session.usage.updated", "event_id": "e", "usage": {"seconds": self.lasted}}
            if self.plan.drop:
                yield None
        elif kind == "session.close":
            session = {"id": "s", "model": self.model, "status": "active", "expires_at": 0}
            closed = {"reason": "close_requested", "session": session, "usage": {"seconds": self.lasted}}
            yield {"type": "session.closed", "event_id": "e", **closed}


@dataclass
class FakeTranslation:
    """A translation: the length of what was said."""

    plan: SocketPlan
    query: Mapping[str, str]
    said: int = 0

    def greet(self) -> Iterator[Said]:
        """Nothing."""
        yield from ()

    def answer(self, event: dict[str, Any], size: int) -> Iterator[Said]:
        """What an event is answered with."""
        kind = event.get("type")
        if kind == "session.input_audio_buffer.append":
            self.said += len(event["audio"]) * 3 // 4
            yield {"type": "session.output_audio.delta", "event_id": "e", "delta": "AAAA"}
        elif kind == "session.close":
            yield TalkBill(self.query["model"], {"seconds": -(-self.said // 48_000)})
            yield {"type": "session.closed", "event_id": "e"}


@dataclass
class FakeGemini:
    """Gemini's Live."""

    plan: SocketPlan
    query: Mapping[str, str]
    model: str = ""
    read: int = 0
    _pieces: int = 0

    def greet(self) -> Iterator[Said]:
        """Nothing."""
        yield from ()

    def answer(self, event: dict[str, Any], size: int) -> Iterator[Said]:
        """What a message is answered with."""
        content = event.get("client_content") or event.get("clientContent") or {}
        if "setup" in event:
            self.model = event["setup"]["model"].rpartition("/")[2]
            yield {"setupComplete": {"sessionId": "s"}}
            return
        self.read += size // 8
        sound = "realtime_input" in event or "realtimeInput" in event
        self._pieces += sound
        asks = content.get("turn_complete") or content.get("turnComplete")
        if asks or (sound and self.plan.pause and self._pieces % self.plan.pause == 0):
            yield from self._turn()

    def _turn(self) -> Iterator[Said]:
        made, sound = self.plan.tokens, self.plan.audio
        usage: dict[str, Any] = {
            "promptTokenCount": self.read,
            "responseTokenCount": made,
            "totalTokenCount": self.read + made,
        }
        usage |= {"responseTokensDetails": [{"modality": "AUDIO", "tokenCount": sound}]} if sound else {}
        yield TalkBill(self.model, usage)
        if self.plan.drop:
            yield None
        part = {"modelTurn": {"role": "model", "parts": [{"text": "word"}]}}
        yield {"serverContent": part, "usageMetadata": {**usage, "responseTokenCount": 1}}
        yield {"serverContent": {"generationComplete": True}}
        yield {"serverContent": {"turnComplete": True}, "usageMetadata": usage}
        self.read += made


def talk_at(path: str) -> Callable[[SocketPlan, Mapping[str, str]], FakeTalk] | None:
    """The conversation at a path."""
    if "BidiGenerateContent" in path:
        return FakeGemini
    ends = {"/realtime/translations": FakeTranslation, "/realtime": FakeRealtime, "/responses": FakeResponses}
    ends |= {"/live/sessions": FakeLive}
    return next((talk for end, talk in ends.items() if path.endswith(end)), None)
