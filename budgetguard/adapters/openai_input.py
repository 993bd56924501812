"""
What OpenAI bills as input: texts, pictures, sound and files, gathered from a request's messages.

Texts are gathered whole, to be counted in tokens elsewhere. Whatever this module
does not know is taken as its compact JSON: more than what is billed, never less.

Bounds that rest on an assumption, not on a count:

* Chat: 3 tokens a message, 1 a role, 1 a name, 3 to prime the answer (the count of OpenAI's cookbook, "How to count
  tokens with tiktoken"; exact for recorded requests of current models).
* Tools and schemas: their compact JSON and 16 tokens cover every recorded request; the API shows the model a
  shorter rendering.
* Sound: 10 tokens a second (1 per 100 ms, for what users say), and a file of a given size lasts longest at the least
  bitrate of its format: 8 kHz of 8 bits for WAV and PCM, 6 kbit/s (the least of Opus, RFC 6716) for all else.
* A file's text has no more tokens than its base64 has characters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..calls import read

EARLIER_ANSWER_TOKENS = 2
"""What an earlier answer takes more than another message (recorded bills of gpt-5 to gpt-6: the cassettes in the
source distribution of langchain-openai 1.7.4)."""

MESSAGE_TOKENS = 4
PRIMING_TOKENS = 3
NAME_TOKENS = 1
TOOL_CALL_TOKENS = 8
SCHEMA_TOKENS = 16
ITEM_TOKENS = 8

AUDIO_TOKENS_A_SECOND = 10
WAV_BYTES_A_SECOND = 8_000
LEAST_BYTES_A_SECOND = 750

_JSON = (str, dict, list, int, float, tuple, Mapping)
_PLAIN = frozenset({str, dict, list, int, float, bool, tuple})

MOST = 10_000_000
"""Above every number of tokens, answers or tool calls that an API takes; keeps costs within 64 bits."""

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_IMAGES = frozenset({"image_url", "input_image", "image", "computer_screenshot", "image_file"})
_TEXTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"})
_MARKS = frozenset({"type", "role", "id", "status", "phase", "prompt_cache_breakpoint", "annotations", "logprobs"})


class Input:
    """Gathers the input of one request."""

    __slots__ = ("audio_tokens", "images", "overhead", "texts", "unknown")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.overhead = 0
        """Tokens beside the texts; those of sound are apart."""
        self.images = 0
        self.audio_tokens = 0
        self.unknown = False
        """Whether something is billed that the request only points at."""

    def text(self, value: object) -> None:
        """Take a text; anything else that JSON can hold as compact JSON."""
        if type(value) is str:
            self.texts.append(value)
        elif value is not None and is_json(value):
            self.json(value, 0)

    def json(self, value: Any, overhead: int = SCHEMA_TOKENS) -> None:
        """Take a value as compact JSON."""
        try:
            self.texts.append(_compact(value))
        except (TypeError, ValueError, RecursionError):
            self.unknown = True
        self.overhead += overhead

    def messages(self, messages: object) -> None:
        """Take the messages of a chat."""
        self.overhead += PRIMING_TOKENS
        for message in messages if type(messages) is list else items(messages):
            self.overhead += MESSAGE_TOKENS
            if type(message) is dict:
                self._message(message)
                continue
            fields = _plain(message)
            if isinstance(fields, Mapping):
                self._message(fields)
            else:
                self.text(fields)

    def _message(self, message: Mapping[str, Any]) -> None:
        for name, value in message.items():
            if name == "content":
                if type(value) is str:
                    self.texts.append(value)
                else:
                    self.content(value)
            elif name == "role":
                if value == "assistant":
                    self.overhead += EARLIER_ANSWER_TOKENS
                if type(value) is not str or value not in _ROLES:
                    self.text(value)
            elif name == "tool_calls":
                for call in items(value):
                    self.json(call, TOOL_CALL_TOKENS)
            elif name == "audio":
                # An earlier spoken answer, by its id: how long it was is not said.
                self.unknown |= value is not None and is_json(value)
            else:
                if name == "name":
                    self.overhead += NAME_TOKENS
                self.text(value)

    def content(self, content: object) -> None:
        """Take a text, or a list of parts."""
        if type(content) is str:
            self.texts.append(content)
            return
        for part in content if type(content) is list else items(content):
            self.part(part)

    def part(self, part: object) -> None:
        """Take one part of a message, or one item of a Responses input, whatever its kind."""
        if type(part) is str:
            self.texts.append(part)
            return
        fields = part if type(part) is dict else _plain(part)
        if type(fields) is not dict and not isinstance(fields, Mapping):
            self.text(fields)
            return
        kind = fields.get("type")
        if type(kind) is not str and not isinstance(kind, str):
            kind = "message" if "content" in fields else ""
        if kind in _TEXTS:
            for name, value in fields.items():
                if name not in _MARKS:
                    self.text(value)
        elif kind in _IMAGES:
            self.images += 1
        elif kind == "input_audio":
            self._audio(fields)
        elif kind in {"file", "input_file"}:
            self._file(fields)
        else:
            self._item(kind, fields)

    def _item(self, kind: str, fields: Mapping[str, Any]) -> None:
        self.overhead += ITEM_TOKENS
        if kind == "item_reference":
            self.unknown = True
        elif kind == "image_generation_call":
            self.images += 1
            self.text(fields.get("revised_prompt"))
        elif kind in {
            "message",
            "reasoning",
            "function_call_output",
            "custom_tool_call_output",
            "computer_call_output",
        }:
            for name, value in fields.items():
                if name == "content" and type(value) is str:
                    self.texts.append(value)
                elif name in {"content", "output", "summary"} and isinstance(value, (list, tuple)):
                    self.content(value)
                elif name == "output" and isinstance(value, Mapping):
                    self.part(value)
                elif name not in _MARKS:
                    self.text(value)
        else:
            self.json(fields, 0)

    def _audio(self, part: Mapping[str, Any]) -> None:
        sound = part.get("input_audio")
        data = read(sound, "data")
        if not isinstance(data, str):
            self.unknown = True
            return
        rate = WAV_BYTES_A_SECOND if read(sound, "format") == "wav" else LEAST_BYTES_A_SECOND
        self.audio_tokens += -(-len(data) * 3 * AUDIO_TOKENS_A_SECOND // (4 * rate))

    def _file(self, part: Mapping[str, Any]) -> None:
        nested = part.get("file")
        fields = nested if isinstance(nested, Mapping) else part
        data = fields.get("file_data")
        if isinstance(data, str) and data:
            self.overhead += len(data)
        else:
            self.unknown = True
        self.text(fields.get("filename"))


def items(value: object) -> list[Any] | tuple[Any, ...]:
    """A list as it is, one text or mapping as a list of it, nothing otherwise."""
    if isinstance(value, (list, tuple)):
        return value
    return [value] if isinstance(value, str | Mapping) else ()


def is_json(value: object) -> bool:
    """Whether a value is one that JSON can hold; the SDK's sentinels for "not given" are not."""
    return type(value) in _PLAIN or value is None or isinstance(value, _JSON) or hasattr(value, "model_dump")


def given(body: Mapping[str, Any], name: str) -> Any:
    """A field of the body, `None` where it is absent or a sentinel for "not given"."""
    value = body.get(name)
    return value if is_json(value) else None


def text(body: Mapping[str, Any], name: str) -> str | None:
    """A field that is a text with something in it, else `None`."""
    value = body.get(name)
    if type(value) is str:
        return value or None
    return value if value is not None and isinstance(value, str) and value else None


def whole(body: Mapping[str, Any], name: str) -> int | None:
    """A field that is a whole number of at least 0, else `None`; what is above `MOST` is as good as that."""
    value = body.get(name)
    if type(value) is not int:
        if not isinstance(value, float) or not value.is_integer():
            return None
        value = int(value)
    if value < 0:
        return None
    return value if value < MOST else MOST


def fields(body: object) -> Mapping[str, Any]:
    """The body, or nothing where it is no mapping."""
    return body if type(body) is dict or isinstance(body, Mapping) else {}


def _plain(value: Any) -> Any:
    """An SDK object as plain data; what JSON cannot hold (a sentinel) as nothing."""
    if value is None or isinstance(value, _JSON):
        return dict(value) if isinstance(value, Mapping) else value
    try:
        return value.model_dump(mode="json", exclude_unset=True)
    except Exception:  # no SDK object, or one that cannot be shown
        return None


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode
