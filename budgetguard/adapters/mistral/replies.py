"""
Mistral's replies, read as what was used: whole ones, and the events of a conversation's stream.

What connectors brought into the conversation (`connector_tokens`) was read by the model as any input is, and stands
beside its prompt's count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...calls import Answer, Usage, read
from ..common.numbers import fields, number, number_of
from ..common.written import Written, heard_of

TEXT_TOTALS = ("input_tokens", "output_tokens")


def token_usage(usage: Any) -> dict[str, int] | None:
    """The counts of a conversation's answer; `None` if there are none."""
    said = fields(usage)
    sent, made = number(said.get("prompt_tokens")), number(said.get("completion_tokens"))
    if not sent and not made:
        return None
    counts = {}
    if sent is not None and (asked := max(sent, 0) + number_of(said, "connector_tokens")):
        counts["input_tokens"] = asked
    if made is not None:
        counts["output_tokens"] = max(made, 0)
    return counts


def conversation(reply: Any) -> Answer:
    """A conversation's answer; the entries of its output name the model."""
    outputs = _list(read(reply, "outputs"))
    models = [model for entry in outputs if isinstance(model := read(entry, "model"), str) and model]
    counts = token_usage(read(reply, "usage"))
    answer = Answer(model=models[-1] if models else None, usage=counts, free=counts is None and _failed(reply))
    if counts is None or (counts.get("output_tokens") and "input_tokens" in counts):
        return answer
    heard = heard_of(text for entry in outputs for text in _texts(entry))
    return answer._replace(heard=heard, lacks=_unsaid(counts, wrote=heard.pieces > 0))


def pages(reply: Any) -> Answer:
    """Documents that were read: how many pages, and whether they were annotated."""
    count = number_of(read(reply, "usage_info"), "pages_processed")
    model = read(reply, "model")
    usage = {"input_document_pages": count} if count else None
    boxes = [
        read(box, "image_annotation") for page in _list(read(reply, "pages")) for box in _list(read(page, "images"))
    ]
    if count and (read(reply, "document_annotation") or any(boxes)):
        usage = {"input_document_pages": count, "input_annotated_document_pages": count}
    return Answer(model=model if isinstance(model, str) and model else None, usage=usage)


class ConversationListener:
    """The events of a conversation's stream: the last one has the usage."""

    __slots__ = ("_counts", "_failed", "_model", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = Written()
        self._counts: dict[str, int] | None = None
        self._model: str | None = None
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        kind = read(item, "type")
        if kind == "conversation.response.done":
            self._counts = token_usage(read(item, "usage"))
            self.done = self._counts is not None
        elif kind == "conversation.response.error" or _failed(item):
            self._failed = True
        else:
            model = read(item, "model")
            self._model = model if isinstance(model, str) and model else self._model
            for text in _texts(item):
                self._written.add(text)
        return False

    def end(self) -> Answer:
        """What the events said together, or what is to be counted."""
        heard, counts = self._written.heard(), self._counts
        if counts is None:
            free = self._failed and not heard.pieces
            return Answer(self._model, None if free else {}, free=free, lacks=() if free else TEXT_TOTALS, heard=heard)
        return Answer(self._model, counts, lacks=_unsaid(counts, wrote=heard.pieces > 0), heard=heard)


def _texts(entry: Any) -> Iterator[str]:
    """What the model wrote in an entry or an event: text, arguments of a call."""
    content = read(entry, "content")
    for part in content if isinstance(content, list) else [content]:
        said = part if isinstance(part, str) else read(part, "text") if part is not None else None
        if isinstance(said, str) and said:
            yield said
    arguments = read(entry, "arguments")
    if isinstance(arguments, str) and arguments:
        yield arguments


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _unsaid(counts: Usage, *, wrote: bool) -> tuple[str, ...]:
    return tuple(kind for kind in TEXT_TOTALS if kind not in counts or (wrote and not counts[kind]))


def _failed(item: Any) -> bool:
    return bool(read(item, "error")) or read(item, "object") == "error"
