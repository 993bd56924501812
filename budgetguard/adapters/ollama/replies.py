"""
Ollama's replies, whole or line by line: the last line of an answer has its counts.

A prompt that was in the server's cache has no count with some versions: it is not said, and not 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...calls import Answer, Heard, read
from ..common import written
from ..common.numbers import number_of

TEXT_TOTALS = ("input_tokens", "output_tokens")


def answer(reply: Any) -> Answer:
    """A chat's or a completion's answer."""
    heard = written.heard_of(_texts(reply))
    return _answer(reply, heard, free=bool(read(reply, "error")) and not heard.pieces)


def embedding(reply: Any) -> Answer:
    """Embeddings; the older operation says no count."""
    sent = number_of(reply, "prompt_eval_count")
    usage = {"output_tokens": 0, **({"input_tokens": sent} if sent else {})}
    failed = bool(read(reply, "error"))
    return Answer(_model(reply), usage, free=failed, lacks=() if sent or failed else ("input_tokens",))


class LinesListener:
    """The lines of an answer."""

    __slots__ = ("_failed", "_last", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = written.Written()
        self._last: Any = None
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in a line; none of them is there for usage alone."""
        for text in filter(None, _texts(item)):
            self._written.add(text)
        if read(item, "error"):
            self._failed = True
        else:
            self._last = item
            self.done = read(item, "done") is True
        return False

    def end(self) -> Answer:
        """What the last line said, or what is to be counted."""
        heard = self._written.heard()
        said = self._last if self.done else {"model": read(self._last, "model")}
        return _answer(said, heard, free=self._failed and not heard.pieces)


def _answer(said: Any, heard: Heard, *, free: bool) -> Answer:
    counts = {"input_tokens": number_of(said, "prompt_eval_count"), "output_tokens": number_of(said, "eval_count")}
    usage = {kind: count for kind, count in counts.items() if count}
    if usage and not heard.pieces:
        usage.setdefault("output_tokens", 0)
    lacks = () if free else tuple(kind for kind in TEXT_TOTALS if kind not in usage)
    return Answer(_model(said), usage, free=free, cut=read(said, "done_reason") == "length", lacks=lacks, heard=heard)


def _model(said: Any) -> str | None:
    model = read(said, "model")
    return model if isinstance(model, str) and model else None


def _texts(item: Any) -> Iterator[str]:
    """What was written: a completion's text, a chat's message."""
    for text in (read(item, "response"), read(item, "thinking")):
        if isinstance(text, str):
            yield text
    message = read(item, "message")
    if message is not None:
        yield from written.message(message)
