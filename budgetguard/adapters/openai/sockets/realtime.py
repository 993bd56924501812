"""
Realtime: a conversation of sound and text, each answer of which reads all of it again.

`response.create` asks for an answer; where the server listens for pauses, it begins one by itself. Either way
`response.done` has the bill. Beside it the transcripts of what users said are billed, by a model of their own.

How much an answer reads is bounded by the last bill and what was said since (`Conversation`). What a session has that
it was not told over this socket (a prompt by its id, tools of a server, the sound of a telephone call) makes that
unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....calls import UNKNOWN_HOST, Answer, Call, Host, News, Opening
from ...common.bodies import fields, given, items, text, whole
from ...common.sockets.conversation import Conversation, Said, answer_in
from ...common.sockets.messages import Marks, parsed, sound_bytes
from ..input.messages import AUDIO_TOKENS_A_SECOND, ITEM_TOKENS, Input
from ..replies import transcription
from ..requests import ITEM_TOKENS_TO_PRIME
from ..usage import token_usage

MOST_OUTPUT = 4_096
"""The largest output cap that a response may state (the SDK's `realtime_response_create_params`)."""

_SESSION_TOKENS = 1_024
"""Allowed for the instructions that the server adds where none are given."""

_PCM_BYTES_A_SECOND = 48_000
_PHONE_BYTES_A_SECOND = 8_000
_PHONES = ("g711", "pcmu", "pcma")

_SOUND = Marks("input_audio_buffer.append")
_HEARD = Marks("usage", "response.created", "response.done", "session.", "error")
_ENDS = frozenset({"response.done", "response.cancelled"})
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_SOUNDS = frozenset({"input_audio", "audio", "output_audio"})
_SCHEMAS = ("tools", "tool_choice")
_CAPS = ("max_output_tokens", "max_response_output_tokens")
"""The name of the beta comes second."""


def request(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """What one response can use, as its conversation was followed."""
    return answer_in(body, files, host)._replace(cap="max_output_tokens")


def answer(response: Any) -> Answer:
    """A response that is over. One that failed and says no usage was not billed."""
    said = fields(response)
    usage = token_usage(fields(said.get("usage")))
    return Answer(
        usage=usage,
        id=text(said, "id"),
        free=not usage and said.get("status") == "failed",
        cut=fields(said.get("status_details")).get("reason") == "max_output_tokens",
    )


class RealtimeTalk:
    """One session. The settings are those that were sent, and those that the server says it has."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._model = query.get("model") or query.get("deployment") or ""
        self._cap: int | None = None
        self._cap_name = _CAPS[0]
        self._settings: dict[str, Any] = {}
        """What is part of every prompt."""
        self._ear = ""
        """The model that transcribes what users say."""
        self._bytes_a_second = _PCM_BYTES_A_SECOND
        self._meter = Conversation()
        self._meter.unknown = "call_id" in query
        self._begun: dict[str, Said] = {}
        self._asked = 0

    def asked(self) -> Mapping[str, Any]:
        """The model."""
        return {"model": self._model}

    def last(self) -> Answer | None:
        """Nobody knows how far an answer came."""
        return None

    # -- out

    def sent(self, message: str | bytes, idle: bool) -> Opening | None:
        """Take in a message: `response.create` asks for an answer."""
        if _SOUND.frame(message):
            self._meter.sound(sound_bytes(message))
            return None
        event = parsed(message)
        kind = event.get("type")
        if kind == "session.update":
            self._set(_without_model(fields(event.get("session"))) if self._model else fields(event.get("session")))
        elif kind == "conversation.item.create":
            self._item(event.get("item"))
        elif kind == "response.create":
            return self._opening(event)
        return None

    def _opening(self, event: Mapping[str, Any]) -> Opening:
        wanted = fields(event.get("response"))
        bound = self._meter.bound(AUDIO_TOKENS_A_SECOND, self._bytes_a_second)
        own = Input()
        for name, value in {**self._settings, **wanted}.items():
            if name == "instructions":
                own.text(value)
            elif name in _SCHEMAS:
                own.json(value)
        sound = 0
        for item in items(given(wanted, "input")):
            sound += _read_item(item, own)
        self._asked += 1
        cap = next((wanted[name] for name in _CAPS if wanted.get(name) is not None), self._cap)
        body = {
            **bound,
            "model": self._model,
            "texts": [*bound["texts"], *own.texts],
            "overhead": bound["overhead"] + own.overhead + ITEM_TOKENS_TO_PRIME + _SESSION_TOKENS,
            "images": bound["images"] + own.images,
            "sound": bound["sound"] - (-sound * AUDIO_TOKENS_A_SECOND // self._bytes_a_second),
            "max_output_tokens": cap,
            "unknown": bound["unknown"] or own.unknown or _is_elsewhere(wanted),
        }
        return Opening(body, event, text(event, "event_id") or f"event_budgetguard_{self._asked}")

    def amended(self, opening: Opening, fields_: Mapping[str, Any]) -> Mapping[str, Any]:
        """The message with a cap, and with an id by which an error names it."""
        event = opening.event
        if "event_id" not in event:
            event = {**event, "event_id": opening.id}
        cap = fields_.get("max_output_tokens")
        if cap is None:
            return event
        return {**event, "response": {**fields(event.get("response")), self._cap_name: min(cap, MOST_OUTPUT)}}

    def _set(self, session: Mapping[str, Any]) -> None:
        """Take settings of the session: those that are not said stay."""
        self._model = text(session, "model") or self._model
        for name in _CAPS:
            if name in session:
                self._cap, self._cap_name = whole(session, name), name
        for name in ("instructions", *_SCHEMAS):
            if name in session:
                self._settings[name] = session[name]
        self._meter.unknown = self._meter.unknown or _is_elsewhere(session)
        heard = fields(fields(session.get("audio")).get("input"))
        kind = fields(heard.get("format")).get("type") or session.get("input_audio_format")
        if isinstance(kind, str):
            phone = any(name in kind for name in _PHONES)
            self._bytes_a_second = _PHONE_BYTES_A_SECOND if phone else _PCM_BYTES_A_SECOND
        ear = fields(heard.get("transcription") or session.get("input_audio_transcription"))
        self._ear = text(ear, "model") or self._ear

    def _item(self, item: Any) -> None:
        seen = Input()
        self._meter.sound(_read_item(item, seen))
        self._meter.unknown = self._meter.unknown or seen.unknown
        self._meter.text(*seen.texts, overhead=seen.overhead, images=seen.images)

    # -- in

    def heard(self, message: str | bytes) -> Sequence[News]:
        """Take in a message: what begins, what ends, what was refused, what was transcribed."""
        if not _HEARD.are_in(message):
            return ()
        event = parsed(message)
        kind = event.get("type")
        if kind == "response.created":
            id_ = text(fields(event.get("response")), "id")
            if id_ is not None:
                self._begun[id_] = self._meter.said()
            return (News("begun", id_),)
        if kind in _ENDS:
            return (self._ended(fields(event.get("response"))),)
        if kind == _TRANSCRIBED:
            return (News("beside", None, transcription(event), {"model": self._ear}),)
        if kind == "error":
            id_ = text(fields(event.get("error")), "event_id")
            return () if id_ is None else (News("refused", id_),)
        if isinstance(kind, str) and kind.startswith("session."):
            self._set(fields(event.get("session")))
        return ()

    def _ended(self, response: Mapping[str, Any]) -> News:
        said = answer(response)
        began = self._begun.pop(said.id or "", None)
        if said.usage and began is not None and response.get("conversation_id", "") is not None:
            self._meter.answered(began, said.usage)
        return News("ended", said.id, said, self.asked())


def _without_model(session: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings that a client asks for: which model a session has is said by the server, who does not change it."""
    return {name: value for name, value in session.items() if name != "model"}


def _is_elsewhere(settings: Mapping[str, Any]) -> bool:
    """Whether settings name what the prompt is made of elsewhere."""
    tools = items(given(settings, "tools"))
    return settings.get("prompt") is not None or any(fields(tool).get("type") == "mcp" for tool in tools)


def _read_item(item: Any, into: Input) -> int:
    """Take an item of the conversation, but for its sound: the bytes of that."""
    said = fields(item)
    into.overhead += ITEM_TOKENS
    parts = items(given(said, "content"))
    sounds = [fields(part) for part in parts if fields(part).get("type") in _SOUNDS]
    for part in sounds:
        into.text(part.get("transcript"))
    if sounds:
        said = {**said, "content": [part for part in parts if fields(part).get("type") not in _SOUNDS]}
    into.part(said)
    return sum(sound_bytes(part.get("audio")) for part in sounds)
