"""
How much of a conversation the next answer reads: what the last one was billed for, and all that was said since.

Each answer reads the whole conversation again. Its bill says how long that was, so only what came later has to be
bounded: texts are kept until then, sound is measured.

One thread may send while another receives: each number has one writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ....calls import NOTHING, UNKNOWN_HOST, Call, Host
from ..bodies import text, whole


class Said(NamedTuple):
    """How much was said in all, up to some moment."""

    texts: int = 0
    overhead: int = 0
    images: int = 0
    sound: int = 0
    """Bytes."""


class Conversation:
    """The length of one conversation."""

    __slots__ = ("_answered", "_dropped", "_images", "_overhead", "_read", "_read_sound", "_sound", "_texts", "unknown")

    def __init__(self) -> None:
        self.unknown = False
        """Whether it has parts that nobody here saw."""
        self._texts: list[str] = []
        self._dropped = 0
        """Texts that are in the last bill."""
        self._overhead = self._images = self._sound = 0
        self._answered = Said()
        """What the last bill was for."""
        self._read = self._read_sound = 0
        """The tokens of that bill, and those of sound among them: they are read again."""

    # -- whoever sends

    def text(self, *texts: str, overhead: int = 0, images: int = 0) -> None:
        """Take texts that are sent, tokens beside them, and pictures."""
        self._texts += texts
        self._overhead += overhead
        self._images += images

    def sound(self, size: int) -> None:
        """Take so many bytes of sound that are sent."""
        self._sound += size

    def bound(self, tokens_a_second: int, bytes_a_second: int) -> dict[str, Any]:
        """The most that an answer reads now: `texts`, and numbers of tokens and pictures."""
        answered = self._answered
        sound = -(-(self._sound - answered.sound) * tokens_a_second // bytes_a_second)
        return {
            "texts": self._texts[:],
            "overhead": self._overhead - answered.overhead + self._read - self._read_sound,
            "images": self._images - answered.images,
            "sound": sound + self._read_sound,
            "unknown": self.unknown,
        }

    # -- whoever receives

    def said(self) -> Said:
        """How much was said by now."""
        return Said(self._dropped + len(self._texts), self._overhead, self._images, self._sound)

    def answered(self, said: Said, usage: Mapping[str, int]) -> None:
        """Take the bill of an answer that read what had been said by then."""
        self._read_sound = usage.get("input_audio_tokens", 0) + usage.get("output_audio_tokens", 0)
        self._read = max(usage.get("input_tokens", 0) + usage.get("output_tokens", 0), self._read_sound)
        self._answered = said
        del self._texts[: max(said.texts - self._dropped, 0)]
        self._dropped = max(said.texts, self._dropped)


def answer_in(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """What one answer can use, as its conversation was followed: `Conversation.bound`, its model and its cap."""
    sound = whole(body, "sound")
    return Call(
        model=text(body, "model") or "",
        texts=body.get("texts", ()),
        overhead=whole(body, "overhead") or 0,
        images=whole(body, "images") or 0,
        fixed={"input_audio_tokens": sound} if sound else NOTHING,
        max_output=whole(body, "max_output_tokens"),
        unknown_input=body.get("unknown") is True,
    )
