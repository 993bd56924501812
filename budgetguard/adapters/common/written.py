"""What an answer wrote, in text: collected from a stream, or taken from a reply whose usage does not say how much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...calls import Heard, read

KEPT = 262_144
"""Characters of an answer's text that are kept to be counted; of what follows, only the size."""

PIECES = 1_024
"""Items of a stream whose texts are kept apart, before they are put together."""

LONG = 1_024
"""Characters of a text that is put together with the others at once: it would wait for many as long."""

CHOICES = 128
"""Answers of one stream whose texts are kept apart: the most that OpenAI takes for `n`."""

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "text", "thinking")


class Written:
    """
    The text of a stream, as it comes: a listener calls `add`.

    For the usual piece, a short one of the first choice, it may append to `texts` instead, and call `fold` when there
    are many. The choices come by turns: each has a text of its own, for a token does not go on in another's. Also how
    many pieces there were: each is at least a token.
    """

    __slots__ = ("_before", "_kept", "_latest", "_length", "_more", "_parts", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._latest = {0: self.texts}
        self._parts: dict[int, list[str]] = {}
        self._length = 0
        self._more = 0
        self._kept = 0
        self._before = 0

    @property
    def pieces(self) -> int:
        """How many pieces came so far."""
        return self._before + self._kept + self._waiting

    @property
    def _waiting(self) -> int:
        return sum(map(len, self._latest.values()))

    def add(self, text: str, choice: object = 0) -> None:
        """Take a piece of a choice's text."""
        texts = self.texts
        if choice and type(choice) is int and 0 < choice < CHOICES:
            texts = self._latest.setdefault(choice, [])
        texts.append(text)
        if len(text) > LONG or self._waiting > PIECES:
            self.fold()

    def fold(self) -> None:
        """Put the latest texts together, within what is kept."""
        for choice, texts in self._latest.items():
            self._kept += len(texts)
            text = "".join(texts)
            texts.clear()
            room = KEPT - self._length
            if len(text) > room:
                self._more += size(text[room:])
                text = text[:room]
            if text:
                self._length += len(text)
                self._parts.setdefault(choice, []).append(text)

    def forget(self) -> None:
        """Drop what came so far: a running total has counted it."""
        self._before = self.pieces
        self._length = self._more = self._kept = 0
        for texts in self._latest.values():
            texts.clear()
        self._parts.clear()

    def heard(self, running: bool = False) -> Heard:
        """What came since, to be counted: one choice after the other, each on a line of its own."""
        self.fold()
        text = "\n".join("".join(parts) for _, parts in sorted(self._parts.items()))
        return Heard(text, self._more, self._kept, running)


def heard_of(texts: Iterator[str]) -> Heard:
    """The texts of a whole reply."""
    written = Written()
    written.texts += filter(None, texts)
    return written.heard()


def message(said: Any) -> Iterator[str]:
    """The texts of a chat's message, or of a delta of one: content, refusal, reasoning, tool calls, what was spoken."""
    for name in _TEXTS:
        yield from _plain(read(said, name))
    calls = read(said, "tool_calls")
    for call in (*(calls if isinstance(calls, list) else ()), {"function": read(said, "function_call")}):
        for part in (read(call, "function"), read(call, "custom")):
            if part is not None:
                yield from (_text(read(part, name)) for name in ("name", "arguments", "input"))
    yield _text(read(read(said, "audio"), "transcript"))


def output(items: Any) -> Iterator[str]:
    """The texts of a response's output: messages, reasoning that is shown, calls of tools."""
    for item in items if isinstance(items, list) else ():
        for name in ("name", "arguments", "input", "code"):
            yield _text(read(item, name))
        yield from _plain(read(item, "content"))
        yield from _plain(read(item, "summary"))


def size(text: str) -> int:
    """UTF-8 bytes of a text, lone surrogates included."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _plain(value: Any, depth: int = 0) -> Iterator[str]:
    """A text, or the texts in a list of parts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < 3:
        for part in value:
            for name in ("text", "refusal", "thinking"):
                yield from _plain(read(part, name), depth + 1)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
