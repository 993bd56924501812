"""
What Anthropic's servers add to a call by themselves: hosted tools, advisors, summaries.

After each round of hosted tools the model reads everything once more, up to its whole context. The server ends such a
turn after ten rounds (`stop_reason` "pause_turn"), or when a tool's `max_uses` are used up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...calls import NOTHING, Tools, Usage
from ..common.bodies import fields, given, items, plain, text, whole

ROUNDS = 10
"""The most rounds of hosted tools in one turn, and the assumed most uses of a tool without `max_uses`."""

ADVISOR_INPUT = 1_000_000
ADVISOR_OUTPUT = 128_000
"""The largest context and answer of a model that may advise; `max_tokens` of the tool bounds its answer."""

_SEARCH = "web_search_"
_ADVISOR = "advisor_"

_CLIENTS = ("custom", "bash_", "text_editor_", "computer_", "browser_", "memory_")
"""Beginnings of the types of tools that the caller runs itself."""


class Hosted(NamedTuple):
    """What the server may do beside answering."""

    tools: Tools | None = None
    fees: Usage = NOTHING
    also: Sequence[tuple[str, Usage]] = ()
    """What advisors use."""
    compacts: bool = False
    """Whether the server may sum up the conversation, which is a reading of it, and an answer, more."""


def hosted(body: Mapping[str, Any], model: str) -> Hosted:
    """What the server may do beside answering this request."""
    rounds = searches = 0
    also: list[tuple[str, Usage]] = []
    for tool in _hosted(body):
        kind, uses = text(tool, "type") or "", whole(tool, "max_uses")
        uses = ROUNDS if uses is None else uses
        rounds += uses
        if kind.startswith(_SEARCH):
            searches += uses
        elif kind.startswith(_ADVISOR):
            written = whole(tool, "max_tokens") or ADVISOR_OUTPUT
            advice = {"input_tokens": ADVISOR_INPUT, "output_tokens": written}
            also += [(text(tool, "model") or model, advice)] * min(uses, ROUNDS)
    rounds = min(rounds, ROUNDS)
    compacts = _compacts(body)
    return Hosted(
        Tools(rounds + compacts) if rounds or compacts else None,
        {"web_searches": searches} if searches else NOTHING,
        tuple(also),
        compacts,
    )


def _hosted(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The tools that the server runs; one of a kind that is not known is taken for such."""
    for tool in map(fields, map(plain, items(given(body, "tools")))):
        kind = text(tool, "type")
        if kind is not None and not kind.startswith(_CLIENTS):
            yield tool
    yield from ({"type": "mcp"} for _ in items(given(body, "mcp_servers")))


def _compacts(body: Mapping[str, Any]) -> bool:
    edits = items(fields(given(body, "context_management")).get("edits"))
    return any((text(fields(edit), "type") or "").startswith("compact") for edit in edits)
