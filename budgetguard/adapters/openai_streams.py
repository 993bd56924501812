"""
Listeners to OpenAI's streams.

`hear` is called for every item, so the usual item, a delta of text, takes a short
way. Items are SDK objects, or mappings from raw events. A listener never raises:
an item it does not know says nothing.
"""

from __future__ import annotations

from typing import Any

from ..calls import Answer, Reply, read
from . import openai_replies as replies

_PLAIN_CHUNK = frozenset(
    {
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "service_tier",
        "system_fingerprint",
        "obfuscation",
        "provider",
        "timings",
    }
)
"""
Fields of a chunk that are on every chunk (`timings`: llama.cpp's): one with these and a usage only is the chunk that
was asked for.
"""

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "text")


class ChatListener:
    """A stream of chat completions, or of legacy completions. The latest usage is the total."""

    __slots__ = ("_cut", "answer", "done", "heard", "pieces")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.done = False
        self.pieces = 0
        self.heard = 0
        self._cut = False

    def hear(self, item: Any) -> bool:
        """Take in a chunk. `True`: it has a usage, and nothing that a caller would miss."""
        try:
            fields = item if isinstance(item, dict) else item.__dict__
            choices = fields.get("choices")
            usage = fields.get("usage")
        except AttributeError:
            return False
        if isinstance(choices, list):
            for choice in choices:
                self._choice(choice)
        if usage is None:
            return False
        return self._usage(item, choices)

    def _choice(self, choice: Any) -> None:
        try:
            fields = choice if isinstance(choice, dict) else choice.__dict__
            delta = fields.get("delta")
            if delta is None:
                text = fields.get("text")
            else:
                text = (delta if isinstance(delta, dict) else delta.__dict__).get("content")
            reason = fields.get("finish_reason")
        except AttributeError:
            return
        if type(text) is str and text:
            self.pieces += 1
            self.heard += len(text) if text.isascii() else size(text)
        elif delta is not None and (length := _other(delta)):
            self.pieces += 1
            self.heard += length
        if reason == "length":
            self._cut = True
            if self.answer is not None:
                self.answer = self.answer._replace(cut=True)

    def _usage(self, item: Any, choices: Any) -> bool:
        answer = replies.chat(item)
        if answer.usage is None and answer.cost is None:
            return False
        self.answer = answer._replace(cut=True) if self._cut else answer
        if choices:
            return False
        self.done = True
        return isinstance(choices, list) and not _extras(item)


class ResponsesListener:
    """A stream of Responses events. The last event has the whole response, whether it completed or not."""

    __slots__ = ("answer", "done", "heard", "pieces")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.done = False
        self.pieces = 0
        self.heard = 0

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        try:
            fields = item if isinstance(item, dict) else item.__dict__
            kind = fields.get("type")
            delta = fields.get("delta")
        except AttributeError:
            return False
        if type(delta) is str:
            self.pieces += 1
            self.heard += len(delta) if delta.isascii() else size(delta)
        elif type(kind) is str and kind in _RESPONSE_EVENTS:
            self._response(kind, fields.get("response"))
        return False

    def _response(self, kind: str, response: Any) -> None:
        if response is None:
            return
        answer = replies.responses(response)
        if kind in _LAST_EVENTS:
            self.answer = answer._replace(final=True)
            self.done = True
        elif read(response, "background") is True and not self.done:
            # So that a broken stream's hold can wait for a later retrieve.
            self.answer = answer._replace(final=False)


class MediaListener:
    """
    A stream of pictures, speech or a transcript: one event has the usage.

    With several pictures each has its own such event, so that only the end of the stream is the last word.
    """

    __slots__ = ("_reply", "answer", "done", "heard", "pieces")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.answer: Answer | None = None
        self.done = False
        self.pieces = 0
        self.heard = 0

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        kind = read(item, "type")
        if not isinstance(kind, str):
            return False
        if kind.endswith((".delta", ".partial_image")):
            self.pieces += 1
            self.heard += _size(read(item, "delta"))
        elif kind in _MEDIA_EVENTS:
            answer = self._reply(item)
            self.answer = answer if self.answer is None else _sum(self.answer, answer)
            self.done = not kind.startswith("image_")
        return False


def _sum(first: Answer, second: Answer) -> Answer:
    if first.usage is None or second.usage is None:
        return second if first.usage is None else first
    kinds = {*first.usage, *second.usage}
    usage = {kind: first.usage.get(kind, 0) + second.usage.get(kind, 0) for kind in kinds}
    return second._replace(usage=usage, also=(*first.also, *second.also))


_MEDIA_EVENTS = frozenset(
    {"image_generation.completed", "image_edit.completed", "transcript.text.done", "speech.audio.done"}
)
_LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_RESPONSE_EVENTS = _LAST_EVENTS | {"response.created", "response.queued", "response.in_progress"}


def size(text: str) -> int:
    """UTF-8 bytes of a text, lone surrogates included."""
    return len(text.encode("utf-8", "surrogatepass"))


def _other(delta: Any) -> int:
    """UTF-8 bytes of what a delta has beside its content: tool calls, a refusal, reasoning, sound."""
    length = 0
    for name in _TEXTS:
        length += _size(read(delta, name))
    calls = read(delta, "tool_calls")
    for call in (*(calls if isinstance(calls, list) else ()), {"function": read(delta, "function_call")}):
        for part in (read(call, "function"), read(call, "custom")):
            if part is not None:
                length += _size(read(part, "name")) + _size(read(part, "arguments")) + _size(read(part, "input"))
    return length + _size(read(read(delta, "audio"), "transcript"))


def _size(text: Any) -> int:
    return size(text) if isinstance(text, str) else 0


def _extras(item: Any) -> bool:
    """Whether a chunk has something beside the fields that every chunk has."""
    if isinstance(item, dict):
        return any(value and name not in _PLAIN_CHUNK for name, value in item.items())
    extra = getattr(item, "__pydantic_extra__", None) or {}
    return any(value and name not in _PLAIN_CHUNK for name, value in (*item.__dict__.items(), *extra.items()))
