"""
How Google's JSON is spelt: `maxOutputTokens` in what its servers send, `max_output_tokens` in what its SDK's objects
are called and in requests that people write by hand. Servers read both; so do these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...calls import read
from ..common.bodies import fields, items

_HUMP = re.compile(r"(?<!^)(?=[A-Z])")


@lru_cache(maxsize=256)
def snake(name: str) -> str:
    """A field's other name."""
    return _HUMP.sub("_", name).lower()


def spelt(body: Mapping[str, Any], name: str) -> str:
    """The name by which a request has a field; the first if it has none."""
    if name in body:
        return name
    other = snake(name)
    return other if other in body else name


def field(body: Mapping[str, Any], name: str) -> Any:
    """A field of a request; `None` if it has none."""
    value = body.get(name)
    return body.get(snake(name)) if value is None else value


def part_of(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object; nothing otherwise."""
    return fields(field(body, name))


def said(item: Any, name: str) -> Any:
    """A field of a reply, be it JSON or an object of the SDK's."""
    value = read(item, name)
    return read(item, snake(name)) if value is None else value


def listed(item: Any, name: str) -> list[Any] | tuple[Any, ...]:
    """A field of a reply that is a list; nothing otherwise."""
    value = said(item, name)
    return items(value) if isinstance(value, list | tuple) else ()


def constant(value: Any) -> str:
    """A constant of an enumeration in capitals, whether it is text or a member: "MAX_TOKENS"."""
    plain = getattr(value, "value", value)
    return plain.upper() if isinstance(plain, str) else ""


def plain_model(name: Any) -> str | None:
    """A model without its path: "models/gemini-2.5-flash", "projects/p/.../publishers/google/models/gemini-2.5-pro"."""
    return (name.rpartition("/")[2] or None) if isinstance(name, str) else None
