"""
What Google's servers do by themselves during a call: search, maps, pages, code, files.

What they find is read by the model and billed as input, up to its whole context. A search has a fee.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..common.bodies import fields, items, plain
from .names import field
from .prompt import TOOL_TOKENS, Contents
from .usage import billed_searches

QUERIES = 10
"""The assumed most queries of a reply by a model that is billed for each. How many it makes is the server's choice."""

_DECLARED = ("functionDeclarations", "function_declarations")
_CLIENTS = frozenset({*_DECLARED, "computerUse", "computer_use"})
"""Tools that the caller runs."""

_SEARCHING = ("search", "maps")


class Offered(NamedTuple):
    """What the tools of a request come to."""

    hosted: bool = False
    """Whether the server runs some."""
    searches: int = 0
    """The most searches that are billed."""


def offered(tools: object, model: str, seen: Contents) -> Offered:
    """Take the definitions of tools, and see what the server may do with them."""
    hosted, searches = False, 0
    for tool in map(fields, map(plain, items(tools))):
        for name, value in tool.items():
            if name in _DECLARED:
                for declared in items(value):
                    seen.json(declared, TOOL_TOKENS)
                continue
            seen.json({name: value}, TOOL_TOKENS)
            if name in _CLIENTS or value is None:
                continue
            hosted = True
            if any(word in name.lower() for word in _SEARCHING) and "file" not in name.lower():
                searches += billed_searches(model, QUERIES)
    return Offered(hosted, searches)


def tool_config(body: Mapping[str, Any], seen: Contents) -> None:
    """Take what says how tools are to be used."""
    config = field(body, "toolConfig")
    if config is not None:
        seen.json(config)
