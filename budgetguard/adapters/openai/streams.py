"""
Listeners to OpenAI's streams.

`hear` is called for every item, so the usual item, a delta of text, takes a short
way. Items are SDK objects, or mappings from raw events. A listener never raises:
an item it does not know says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import Answer, Reply, read
from ..common import written
from ..common.numbers import fields as all_fields
from ..common.numbers import merged
from ..common.written import LONG, PIECES
from . import replies
from .usage import TEXT_TOTALS, token_usage

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

_CUT = ({"finish_reason": "length"},)


class ChatListener:
    """
    A stream of chat completions, or of legacy completions.

    Its usage may stand on any chunk, split over several, or grow: what comes later completes what came before. One
    that came before the answer's end, and has not grown since, is a placeholder.
    """

    __slots__ = ("_closing", "_counted", "_finished", "_output", "_running", "_said", "_texts", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = written.Written()
        self._texts = self._written.texts
        self._said: dict[str, Any] = {}
        """What the chunks said so far, as one reply without its text."""
        self._finished = -1
        """Pieces that had come when a choice finished last."""
        self._counted = -1
        """Pieces that had come when there was a usage last."""
        self._closing = False
        """Whether that usage was at the end of the answer."""
        self._output = 0
        """The output in that usage."""
        self._running = False

    def hear(self, item: Any) -> bool:
        """Take in a chunk. `True`: it has a usage, and nothing that a caller would miss."""
        try:
            fields = item if isinstance(item, dict) else item.__dict__
            choices = fields.get("choices")
            usage = fields.get("usage")
        except AttributeError:
            return False
        more = not choices
        if isinstance(choices, list):
            texts = self._texts
            for choice in choices:
                try:
                    fields = choice if isinstance(choice, dict) else choice.__dict__
                    delta = fields.get("delta")
                    if delta is None:
                        text = fields.get("text")
                    else:
                        text = (delta if isinstance(delta, dict) else delta.__dict__).get("content")
                    reason = fields.get("finish_reason")
                except AttributeError:
                    more = True
                    continue
                if reason is not None or type(text) is not str or not text:
                    more = self._choice(choice, fields, reason) or more
                elif fields.get("index") or len(text) > LONG:
                    self._written.add(text, fields.get("index"))
                else:
                    texts.append(text)
            if len(texts) > PIECES:
                self._written.fold()
        if usage is None and not more:
            return False
        return self._more(item, usage, choices if isinstance(choices, list) else None)

    def _choice(self, choice: Any, fields: Mapping[str, Any], reason: Any) -> bool:
        """Take in a choice that is more than a bit of text; whether it is more than other texts."""
        delta = fields.get("delta")
        piece = "".join(written.message(choice if delta is None else delta))
        if piece:
            self._written.add(piece, fields.get("index"))
        if reason is None:
            return not piece
        self._finished = self._written.pieces
        if reason == "length":
            self._said["choices"] = _CUT
        elif reason == "error":
            self._said["error"] = True
        return True

    def _more(self, item: Any, usage: Any, choices: Sequence[Any] | None) -> bool:
        """Take in what a chunk has beside text."""
        said = self._said
        begun = bool(said) or self._written.pieces > 0
        for name in ("model", "id", "service_tier"):
            if value := read(item, name):
                said[name] = value
        if replies.is_error(item) or any(read(choice, "error") for choice in choices or ()):
            said["error"] = True
        if usage is None:
            usage = replies.usage_beside(item, choices or ())
        if usage is None:
            return False
        self._usage(usage, alone=not choices, begun=begun)
        return choices == [] and not _extras(item)

    def _usage(self, usage: Any, alone: bool, begun: bool) -> None:
        whole = self._said["usage"] = merged(self._said.get("usage", {}), usage)
        counts = token_usage(whole) or {}
        output, pieces = counts.get("output_tokens", 0), self._written.pieces
        self._closing = self._finished >= 0 or (alone and begun) or "error" in self._said
        if output > self._output > 0 and output >= pieces and not self._closing:
            self._running = True
            self._written.forget()
        self._output = output
        self._counted = pieces
        self.done = alone and self._finished == pieces and not replies.unsaid(counts, pieces > 0)

    def end(self) -> Answer:
        """What the chunks said together; where their usage is not the last word, what is to be counted."""
        answer = replies.chat(self._said)
        pieces = self._written.pieces
        if answer.free and not pieces:
            return answer
        last = self._counted == pieces and (self._closing or self._finished == pieces > 0)
        usage = answer.usage or {}
        lacks = replies.unsaid(usage, pieces > 0)
        if last and (answer.cost is not None or not lacks):
            return answer._replace(lacks=())
        if "output_tokens" not in lacks:
            lacks = (*lacks, "output_tokens")
        return answer._replace(usage=usage, free=False, lacks=lacks, heard=self._written.heard(self._running))


class ResponsesListener:
    """A stream of Responses events. The last event has the whole response, whether it completed or not."""

    __slots__ = ("_answer", "_begun", "_failed", "_texts", "_usage", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = written.Written()
        self._texts = self._written.texts
        self._answer: Answer | None = None
        self._usage: dict[str, Any] = {}
        self._begun = False
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        try:
            fields = item if isinstance(item, dict) else item.__dict__
            delta = fields.get("delta")
            if type(delta) is str:
                texts = self._texts
                texts.append(delta)
                if len(delta) > LONG or len(texts) > PIECES:
                    self._written.fold()
                return False
            kind = fields.get("type")
        except AttributeError:
            return False
        if type(kind) is str and kind in _RESPONSE_EVENTS:
            self._response(kind, fields.get("response"))
        elif kind == "response.output_item.added":
            self._begun = True
        elif kind is None or kind == "error":
            self._failed = self._failed or replies.is_error(item)
        return False

    def _response(self, kind: str, response: Any) -> None:
        if response is None:
            return
        said = all_fields(response)
        if said.get("usage") is not None:
            self._usage = merged(self._usage, said["usage"])
        if kind in _LAST_EVENTS:
            self._answer = replies.responses({**said, "usage": self._usage or None})._replace(final=True)
            self.done = True
        elif read(response, "background") is True and not self.done:
            # So that a broken stream's hold can wait for a later retrieve.
            self._answer = replies.responses(response)._replace(final=False)

    def end(self) -> Answer:
        """What the last event said, or what is to be counted."""
        answer, heard = self._answer, self._written.heard()
        begun = self._begun or heard.pieces > 0
        if answer is not None and not answer.final:
            return answer
        answer = answer or Answer(free=self._failed)
        if answer.cost is not None or (answer.free and not begun):
            return answer
        if answer.usage is None:
            return answer._replace(usage={}, free=False, lacks=TEXT_TOTALS, heard=heard)
        if not heard.pieces:
            return answer
        return answer._replace(lacks=replies.unsaid(answer.usage, wrote=True), heard=heard)


class MediaListener:
    """
    A stream of pictures, speech or a transcript: one event has the usage.

    With several pictures each has its own such event, so that only the end of the stream is the last word.
    """

    __slots__ = ("_answer", "_failed", "_reply", "_written", "done")

    def __init__(self, reply: Reply) -> None:
        self.done = False
        self._reply = reply
        self._answer: Answer | None = None
        self._written = written.Written()
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        kind = read(item, "type")
        if isinstance(kind, str) and kind.endswith((".delta", ".partial_image")):
            delta = read(item, "delta")
            self._written.add(delta if isinstance(delta, str) else "")
        elif isinstance(kind, str) and kind in _MEDIA_EVENTS:
            answer = self._reply(item)
            self._answer = answer if self._answer is None else _sum(self._answer, answer)
            self.done = not kind.startswith("image_")
        elif kind is None or kind == "error":
            self._failed = self._failed or replies.is_error(item)
        return False

    def end(self) -> Answer:
        """What the events said together, or what is to be counted."""
        answer, heard = self._answer or Answer(), self._written.heard()
        if answer.usage is not None or answer.cost is not None:
            return answer
        if self._failed and not heard.pieces:
            return answer._replace(free=True)
        return answer._replace(usage={}, lacks=TEXT_TOTALS, heard=heard)


def _sum(first: Answer, second: Answer) -> Answer:
    if first.usage is None or second.usage is None:
        return second if first.usage is None else first
    kinds = {*first.usage, *second.usage}
    usage = {kind: first.usage.get(kind, 0) + second.usage.get(kind, 0) for kind in kinds}
    return second._replace(usage=usage, also=(*first.also, *second.also))


_MEDIA_EVENTS = frozenset(
    {
        "image_generation.completed",
        "image_edit.completed",
        "transcript.text.done",
        "transcription.done",
        "speech.audio.done",
    }
)
_LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_RESPONSE_EVENTS = _LAST_EVENTS | {"response.created", "response.queued", "response.in_progress"}


def _extras(item: Any) -> bool:
    """Whether a chunk has something beside the fields that every chunk has."""
    if isinstance(item, dict):
        return any(value and name not in _PLAIN_CHUNK for name, value in item.items())
    extra = getattr(item, "__pydantic_extra__", None) or {}
    return any(value and name not in _PLAIN_CHUNK for name, value in (*item.__dict__.items(), *extra.items()))
