"""
What the fake provider counts and writes: deterministic, one token a piece.

*Input tokens* are the UTF-8 bytes of every text in the request divided by four
and rounded up; a conversation has 3 more for each message, and 3. A tool
definition counts as the text of its compact JSON, a picture as 85 tokens. That is
never more than a guard assumes at most, so that a test of a hard limit can rely
on it. *Output tokens* are the pieces that were written: a word of text, or up to
four characters of JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .plan import BadRequestError, Plan

PICTURE_TOKENS = 85
_PICTURES = frozenset({"image_url", "input_image"})
_PARTS = _PICTURES | {"text", "input_text", "output_text", "refusal"}
_SHOWING = frozenset({None, "message", "function_call_output", "custom_tool_call_output", "computer_call_output"})
"""What a picture can stand in."""

WORDS = (" money", " is", " a", " promise", " kept", " in", " whole", " numbers", " and", " the", " sum", " holds;")


@dataclass(frozen=True, slots=True)
class FakeText:
    """One answer: its pieces, a token each."""

    pieces: tuple[str, ...]
    cut: bool = False
    """Whether the cap ended it."""
    tool: str | None = None
    """The name of the tool that it calls; the pieces are the arguments then."""
    reasoning: int = 0

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """Output tokens, reasoning included."""
        return len(self.pieces) + self.reasoning


def input_tokens(*contents: Any, messages: int = 0) -> int:
    """The input tokens of a request: see the module's docstring."""
    size = pictures = 0
    for text in (piece for content in contents for piece in _texts(content)):
        if text is None:
            pictures += 1
        else:
            size += len(text.encode("utf-8", "surrogatepass"))
    framing = 3 * messages + 3 if messages else 0
    return -(-size // 4) + PICTURE_TOKENS * pictures + framing


def conversation(given: Any) -> list[Any]:
    """The items of a Responses input that are framed: a bare text as one, but no part that stands by itself."""
    items = [{"content": given}] if isinstance(given, str) else list(given)
    return [item for item in items if isinstance(item, Mapping) and item.get("type") not in _PARTS]


def write(plan: Plan, *, cap: int | None, schema: Any = None, tool: Mapping[str, Any] | None = None) -> FakeText:
    """
    One answer of at most `cap` tokens.

    With a `tool` ({"name", "parameters"}) the arguments of a call to it; with a `schema` JSON that satisfies it.
    """
    if tool is not None:
        pieces = _json_pieces(example(tool.get("parameters") or {}))
    elif schema is not None:
        pieces = _json_pieces(example(schema))
    elif plan.text is not None:
        pieces = tuple(re.findall(r"\s*\S+|\s+$", plan.text))
    else:
        pieces = tuple(WORDS[i % len(WORDS)] if i else WORDS[0].lstrip() for i in range(plan.tokens))
    if plan.ignore_caps:
        cap = None
    reasoning = plan.reasoning if cap is None else min(plan.reasoning, cap)
    room = len(pieces) if cap is None else cap - reasoning
    name = None if tool is None else str(tool["name"])
    return FakeText(pieces[:room], len(pieces) > room, name, reasoning)


def example(schema: Any) -> Any:
    """The smallest value that satisfies a JSON schema, as far as structured outputs allow schemas to go."""
    return _example(schema, schema if isinstance(schema, Mapping) else {})


def whole(value: Any, name: str, *, default: int | None = None, least: int = 1) -> int | None:
    """A whole number of a request, or its default; raises `BadRequestError` as the API would."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadRequestError(f"Invalid value for '{name}': {value!r} is not an integer of at least {least}.")
    return value


def _example(schema: Any, root: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        target: Any = root
        for key in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[key]
        return _example(target, root)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _example(schema[choice][0], root)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: _example(part, root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [_example(schema.get("items", {}), root)] * max(1, schema.get("minItems", 1))
    scalars: dict[str, Any] = {"string": "word", "integer": 1, "number": 1.5, "boolean": True, "null": None}
    return scalars.get(kind)


def _json_pieces(value: Any) -> tuple[str, ...]:
    return tuple(re.findall(r".{1,4}", json.dumps(value, ensure_ascii=False), re.DOTALL))


def _texts(content: Any) -> Iterator[str | None]:
    """Every text in a message's content; `None` stands for a picture."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list | tuple):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, Mapping):
        if content.get("type") in _PICTURES:
            yield None
        elif content.get("type") == "function" and ("parameters" in content or "function" in content):
            yield json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        else:
            shows = content.get("type") in _SHOWING
            for name in ("content", "text", "refusal", "arguments", "output", "name"):
                yield from (text for text in _texts(content.get(name)) if shows or text is not None)
            for call in content.get("tool_calls") or ():
                yield from _texts(call.get("function"))
