"""
What OpenAI bills as input: texts, pictures, sound and files, gathered from a request's messages.

Texts are gathered whole, to be counted in tokens elsewhere. Whatever this module
does not know is taken as its compact JSON: more than what is billed, never less.

Bounds that rest on an assumption, not on a count:

* Chat: 3 tokens a message, 1 a role, 1 a name, 3 to prime the answer (the count of OpenAI's cookbook, "How to count
  tokens with tiktoken"; exact for recorded requests of current models).
* Tools and schemas: their compact JSON and 16 tokens cover every recorded request; the API shows the model a
  shorter rendering.
* Sound: 10 tokens a second at OpenAI (1 per 100 ms, for what users say), 32 elsewhere (Gemini's, the most that is
  known); how long it lasts is in `sound`.
* A file that is plain text is that text. What has no bound in its bytes, or is only pointed at, makes the input
  unknown (`common.files`), and each page of a PDF is a picture beside (`common.pages`).
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any

from ....calls import Host, read
from ...common.bodies import compact, is_json, items, plain
from ...common.files import file, points
from . import sound

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
_MOST_AUDIO_TOKENS_A_SECOND = 32

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_IMAGES = frozenset({"image_url", "input_image", "image", "computer_screenshot", "image_file"})
_TEXTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"})
_MARKS = frozenset({"type", "role", "id", "status", "phase", "prompt_cache_breakpoint", "annotations", "logprobs"})
_SOUNDS = frozenset({"input_audio", "audio_url", "audio"})
_MEDIA = ("video", "audio", "document", "media", "file", "pdf")
"""In the names of parts that are no text and no picture: video_url, input_video, file_url, document_url, ..."""
_NO_PICTURES = ("gs://", "data:application/", "data:video/", "data:audio/", "data:text/")
_TURNS = ("_call", "_call_output", "_output", "_result", "_use", "thinking", "mcp_list_tools", "compaction")
"""Ends of the names of what earlier turns said: all that is billed of it is there."""
_ATTACHED = frozenset({"audio", "attachments", "files", "file_ids", "videos", "audios", "documents"})


class Input:
    """Gathers the input of one request."""

    __slots__ = ("images", "overhead", "sound_s", "texts", "unknown")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.overhead = 0
        """Tokens beside the texts; those of sound are apart."""
        self.images = 0
        self.sound_s = 0
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
            self.texts.append(compact(value))
        except (TypeError, ValueError, RecursionError):
            self.unknown = True
        self.overhead += overhead

    def messages(self, messages: object) -> None:
        """Take the messages of a chat."""
        self.overhead += PRIMING_TOKENS
        for message in messages if type(messages) is list else items(messages):
            self.overhead += MESSAGE_TOKENS
            if type(message) is dict:
                content = message.get("content")
                if len(message) == 2 and type(content) is str and message.get("role") == "user":  # as most are
                    self.texts.append(content)
                else:
                    self._message(message)
                continue
            fields = plain(message)
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
            elif name == "name":
                self.overhead += NAME_TOKENS
                self.text(value)
            elif name in _ATTACHED:
                self._attached(name, value)
            else:
                self.text(value)

    def _attached(self, name: str, value: Any) -> None:
        if name != "audio":
            self.unknown = self.unknown or points(value)
            self.text(value)
        elif value is not None and is_json(value):  # an earlier spoken answer, by its id: how long it was is not said
            self._unheard()

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
        fields = part if type(part) is dict else plain(part)
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
            self._image(fields.get("image_url"))
        elif kind in _SOUNDS:
            self._sound(fields)
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
            if not kind.endswith(_TURNS) and (any(name in kind for name in _MEDIA) or points(fields)):
                self.unknown = True

    def _image(self, source: Any) -> None:
        """A picture, however it is given; some servers take films and pages by the same name."""
        self.images += 1
        url = source.get("url") if isinstance(source, Mapping) else source
        if isinstance(url, str) and url.startswith(_NO_PICTURES):
            self.unknown = True
            self.images += max(file(url).pages - 1, 0)

    def _sound(self, part: Mapping[str, Any]) -> None:
        given = part.get("input_audio")
        data = read(given, "data")
        if not isinstance(data, str) or "://" in data[:16]:
            self._unheard()
            return
        if data.startswith("data:"):
            data = data.partition(",")[2]
        try:
            head = binascii.a2b_base64(data[: sound.HEAD_BYTES])
        except ValueError:
            head = b""
        kind = read(given, "format")
        name = f".{kind}" if isinstance(kind, str) else None
        self.sound_s += sound.seconds(head, len(data.rstrip("=")) * 3 // 4, name)

    def _unheard(self) -> None:
        self.unknown = True
        self.sound_s += sound.LONGEST_S

    def sound_tokens(self, host: Host) -> int:
        """The most tokens that the sound can have at this host."""
        return self.sound_s * (AUDIO_TOKENS_A_SECOND if host.openai else _MOST_AUDIO_TOKENS_A_SECOND)

    def _file(self, part: Mapping[str, Any]) -> None:
        nested = part.get("file")
        fields = nested if isinstance(nested, Mapping) else part
        data = fields.get("file_data")
        self._carried(data if isinstance(data, str) else "")
        self.text(fields.get("filename"))

    def _carried(self, data: str) -> None:
        text, pages = file(data)
        self.images += pages
        if text is None:
            self.unknown = True
        else:
            self.texts.append(text)
