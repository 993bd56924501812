"""
Live: Gemini's conversation over a WebSocket.

The first message, `setup`, names the model. A turn that the client ends, a text and a tool's answer ask for an answer;
to sound that is streamed the server begins one whenever it hears a pause. `usageMetadata` has the bill of a turn, and
counts on until `turnComplete`. Names are written in either case, by SDKs and by people.

How much an answer reads is bounded by the last bill and what was said since (`Conversation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...calls import Answer, Endpoint, News, Opening, Socket
from ..common.bodies import compact, fields, items, text
from ..common.numbers import merged, number_of
from ..common.sockets.conversation import Conversation, Said, answer_in
from ..common.sockets.messages import Marks, parsed, sound_bytes

SOUND_TOKENS_A_SECOND = 32
_BYTES_A_SECOND = 32_000
"""Of its input: 16 bits, 16,000 times a second."""
_TEXT_TOKENS = 8

_STREAMED: Final = Marks("realtime_input", "realtimeInput")
_BLOB: Final = Marks("mime_type", "mimeType")
_PICTURE: Final = Marks("image/", "video/")
_HEARD: Final = Marks("usageMetadata", "usage_metadata", "turnComplete", "turn_complete")

_DETAILS: Final = {
    "promptTokensDetails": "input_{}_tokens",
    "toolUsePromptTokensDetails": "input_{}_tokens",
    "responseTokensDetails": "output_{}_tokens",
    "candidatesTokensDetails": "output_{}_tokens",
    "cacheTokensDetails": "cache_{}_read_tokens",
}
_MODES: Final = frozenset({"audio", "image", "video"})


def live_usage(said: Mapping[str, Any]) -> dict[str, int]:
    """The counts of a turn: thoughts are output, what tools found is input."""
    counts = {
        "input_tokens": number_of(said, "promptTokenCount") + number_of(said, "toolUsePromptTokenCount"),
        "output_tokens": max(number_of(said, "responseTokenCount"), number_of(said, "candidatesTokenCount"))
        + number_of(said, "thoughtsTokenCount"),
    }
    if cached := number_of(said, "cachedContentTokenCount"):
        counts["cache_read_tokens"] = cached
    for name, kind in _DETAILS.items():
        for part in items(said.get(name)):
            mode = str(fields(part).get("modality")).lower()
            if mode in _MODES and (count := number_of(part, "tokenCount")):
                counts[kind.format(mode)] = counts.get(kind.format(mode), 0) + count
    return counts


class GeminiTalk:
    """One session."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._body: dict[str, Any] = {"model": ""}
        self._meter = Conversation()
        self._usage: dict[str, Any] = {}
        """What was said of the turn so far."""
        self._over = False
        """Whether the turn is at its end."""
        self._asked: Said | None = None
        """What had been said when an answer was asked for."""

    def asked(self) -> Mapping[str, Any]:
        """The model."""
        return self._body

    def last(self) -> Answer | None:
        """What the turn came to by now is not the end of it."""
        return None

    # -- out

    def sent(self, message: str | bytes, idle: bool) -> Opening | None:
        """Take in a message: what ends the client's turn asks for an answer, unless one goes on with it."""
        if _STREAMED.frame(message) and _BLOB.frame(message):
            if _PICTURE.frame(message):
                self._meter.text(images=1)
            else:
                self._meter.sound(sound_bytes(message))
            return None
        said = {_plain(name): value for name, value in parsed(message).items()}
        if "setup" in said:
            self._set(_camel(said["setup"]))
            return None
        content = _camel(said.get("clientContent"))
        live = _camel(said.get("realtimeInput"))
        self._read(content.get("turns"), live.get("text"), said.get("toolResponse"))
        asks = content.get("turnComplete") is True or "text" in live or ("toolResponse" in said and idle)
        if not asks:
            return None
        self._asked = self._meter.said()
        return Opening({**self._body, **self._meter.bound(SOUND_TOKENS_A_SECOND, _BYTES_A_SECOND)})

    def amended(self, opening: Opening, fields_: Mapping[str, Any]) -> Mapping[str, Any]:
        """Nothing of it changes: a cap is the setup's."""
        return opening.event

    def _set(self, setup: Mapping[str, Any]) -> None:
        config = _camel(setup.get("generationConfig"))
        model = text(setup, "model") or ""
        self._body = {"model": model.rpartition("/")[2], "max_output_tokens": config.get("maxOutputTokens")}
        resumed = _camel(setup.get("sessionResumption")).get("handle")
        self._meter.unknown = resumed is not None
        self._read(setup.get("systemInstruction"), setup.get("tools"))

    def _read(self, *values: Any) -> None:
        """Take what is said, but for the sound and the pictures in it, as its JSON."""
        for value in values:
            if value is not None:
                blobs: list[Mapping[str, Any]] = []
                rest = _without_blobs(value, blobs)
                self._meter.text(compact(rest), overhead=_TEXT_TOKENS, images=sum(not _is_audio(b) for b in blobs))
                self._meter.sound(sum(sound_bytes(blob.get("data")) for blob in blobs if _is_audio(blob)))

    # -- in

    def heard(self, message: str | bytes) -> Sequence[News]:
        """Take in a message: a turn is over once it is complete, and its usage is said."""
        if not _HEARD.are_in(message):
            return ()
        event = _camel(parsed(message))
        if event.get("usageMetadata") is not None:
            self._usage = merged(self._usage, _camel(event["usageMetadata"]))
        self._over = self._over or _camel(event.get("serverContent")).get("turnComplete") is True
        if not self._over or not self._usage:
            return ()
        counts = live_usage(self._usage)
        usage = counts if any(counts.values()) else None  # what says no number that can be read is not nothing
        if usage is not None:
            self._meter.answered(self._asked or self._meter.said(), usage)
        self._usage, self._over, self._asked = {}, False, None
        return (News("ended", None, Answer(usage=usage), self._body),)


def _plain(name: str) -> str:
    """A name as it is written in JSON of Google's: in camel case."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _camel(value: object) -> Mapping[str, Any]:
    return {_plain(name): inner for name, inner in fields(value).items()}


def _is_audio(blob: Mapping[str, Any]) -> bool:
    return str(blob.get("mimeType")).startswith("audio/")


def _without_blobs(value: Any, blobs: list[Mapping[str, Any]]) -> Any:
    """A value without the bytes that stand in it, which are put aside."""
    if isinstance(value, list | tuple):
        return [_without_blobs(item, blobs) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "data" in value:
        blobs.append(_camel(value))
        return {}
    return {name: _without_blobs(inner, blobs) for name, inner in value.items()}


_LIVE: Final = Socket(Endpoint("live.connect", "GET", "", request=answer_in), GeminiTalk, alone=True)
_MUSIC: Final = Socket(Endpoint("live.music.connect", "GET", "", request=answer_in, opaque=True), GeminiTalk)


def find(path: str) -> Socket | None:
    """The conversation at the path of a URL; `None`: it is none of these."""
    method = path.rstrip("/").rpartition("/")[2].rpartition(".")[2]
    if method.startswith("BidiGenerateContent"):
        return _LIVE
    return _MUSIC if method == "BidiGenerateMusic" else None
