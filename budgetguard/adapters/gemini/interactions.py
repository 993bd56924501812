"""
Google's interactions: one request for a model or an agent, whose input is a text, contents or earlier steps.

Its JSON is spelt with underscores throughout. What the server keeps of an earlier interaction is billed again, and what
goes on in the background is seen by a look at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import UNKNOWN_HOST, UNREAD, Answer, Call, Host, read
from ..common import written
from ..common.bodies import fields, is_body, items, plain, text, whole
from ..common.files import points
from ..common.numbers import fields as all_fields
from ..common.numbers import merged, number, number_of
from .prompt import QUERIES, Contents
from .requests import thinks_unasked
from .usage import SEARCHES, TEXT_TOTALS, billed_searches, unsaid

CONFIG = "generation_config"
CAP = "max_output_tokens"

_RUNNING = frozenset({"in_progress", "queued", "pending"})
_FAILED = frozenset({"failed", "cancelled"})
_CLIENTS = frozenset({"function", "computer_use"})
_SEARCHING = frozenset({"google_search", "google_maps"})
_MODALITIES = (
    ("input_tokens_by_modality", "input_{}_tokens"),
    ("tool_use_tokens_by_modality", "input_{}_tokens"),
    ("cached_tokens_by_modality", "cache_{}_read_tokens"),
    ("output_tokens_by_modality", "output_{}_tokens"),
)
_MODES = frozenset({"audio", "image", "video"})


def create(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`interactions.create`. An agent has no price of its own: whoever declares one for it has it counted."""
    if not is_body(body):
        return UNREAD
    model = text(body, "model") or text(body, "agent") or ""
    seen = Contents()
    _gather(seen, body.get("system_instruction"))
    _gather(seen, body.get("input"))
    for name in ("response_format", "response_schema"):
        if body.get(name) is not None:
            seen.json(body[name])
    hosted = searches = 0
    for tool in map(fields, map(plain, items(body.get("tools")))):
        seen.json(tool)
        hosted += text(tool, "type") not in _CLIENTS
        searches += billed_searches(model, QUERIES) if text(tool, "type") in _SEARCHING else 0
    stored = any(body.get(name) for name in ("previous_interaction_id", "cached_content", "agent", "environment"))
    return Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        fixed={SEARCHES: searches} if searches else {},
        max_output=whole(fields(body.get(CONFIG)), CAP) or None,
        cap=CONFIG if "model" in body else None,
        stream=body.get("stream") is True,
        tier=text(body, "service_tier"),
        kept="input_audio_tokens" if seen.heard else "",
        background=body.get("background") is True,
        unknown_input=seen.unknown or bool(hosted or stored),
        thinks=thinks_unasked(model),
    )


def amended(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    """The body with an output cap."""
    return dict(body) if cap is None else {**body, CONFIG: {**fields(body.get(CONFIG)), CAP: cap}}


def _gather(seen: Contents, value: Any, depth: int = 0) -> None:
    """Take a text, a content, a step, or a list of them."""
    if isinstance(value, str):
        seen.texts.append(value)
        return
    for said in map(plain, items(value)):
        if isinstance(said, str):
            seen.texts.append(said)
        elif isinstance(said, Mapping):
            _take(seen, said, depth)


def _take(seen: Contents, said: Mapping[str, Any], depth: int) -> None:
    kind = text(said, "type") or ""
    if kind == "text" and isinstance(said.get("text"), str):
        seen.texts.append(said["text"])
    elif kind == "image":
        seen.images += 1
    elif kind in {"audio", "video", "document", "file"}:
        seen.unknown = True
        seen.heard.update({kind} & _MODES)
    elif "content" in said and depth < 4:
        _gather(seen, said["content"], depth + 1)
        seen.json({name: value for name, value in said.items() if name != "content"})
    else:
        seen.json(said)
        seen.unknown = seen.unknown or (kind not in {"function_call", "thought"} and points(said))


# --- what was used


def token_usage(usage: Any, model: str | None) -> dict[str, int] | None:
    """The counts of an interaction; `None` if there are none, or some that make no sense."""
    asked, tools, made, thought, cached = (
        number(read(usage, f"total_{name}_tokens")) for name in ("input", "tool_use", "output", "thought", "cached")
    )
    every = (asked, tools, made, thought, cached)
    if all(count is None for count in every) or min(count or 0 for count in every) < 0:
        return None
    counts: dict[str, int] = {}
    if asked is not None:
        counts["input_tokens"] = asked + (tools or 0)
    if made is not None or thought is not None:
        counts["output_tokens"] = (made or 0) + (thought or 0)
    if cached:
        counts["cache_read_tokens"] = cached
    if thought:
        counts["output_reasoning_tokens"] = thought
    for name, kind in _MODALITIES:
        for entry in items(read(usage, name)):
            mode, count = str(read(entry, "modality") or "").lower(), number_of(entry, "tokens")
            if mode in _MODES and count:
                counts[kind.format(mode)] = counts.get(kind.format(mode), 0) + count
    searches = sum(
        number_of(entry, "count")
        for entry in items(read(usage, "grounding_tool_count"))
        if read(entry, "type") in _SEARCHING
    )
    if searches:
        counts[SEARCHES] = billed_searches(model, searches)
    return counts


def interaction(reply: Any) -> Answer:
    """An interaction, as its creation or a look at it shows it; one that failed before anything else is free."""
    usage, status = read(reply, "usage"), str(read(reply, "status") or "")
    answer = _said(reply)
    counts = token_usage(usage, answer.model) if usage is not None else None
    if counts is None:
        free = status in _FAILED or bool(read(reply, "error"))
        return answer._replace(free=free, final=status not in _RUNNING)
    heard = written.heard_of(str(read(part, "text") or "") for part in _outputs(reply))
    lacks = () if counts.get("output_tokens") else unsaid(counts, heard.pieces > 0)
    return answer._replace(
        usage=counts, lacks=lacks, heard=heard if lacks else answer.heard, final=status not in _RUNNING
    )


def _said(reply: Any) -> Answer:
    model, name, tier = read(reply, "model"), read(reply, "id"), read(reply, "service_tier")
    return Answer(
        model=model.rpartition("/")[2] if isinstance(model, str) and model else None,
        tier=str(getattr(tier, "value", tier)).lower() if tier else None,
        id=name if isinstance(name, str) and name else None,
        cut=read(reply, "status") == "incomplete",
    )


def _outputs(reply: Any) -> Sequence[Any]:
    steps = [*items(read(reply, "steps")), *items(read(reply, "outputs"))]
    return [part for step in steps for part in (*items(read(step, "content")), step)]


class InteractionListener:
    """A stream of one interaction."""

    __slots__ = ("_failed", "_said", "_usage", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = written.Written()
        self._said: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        kind = str(read(item, "event_type") or "")
        delta = read(item, "delta")
        piece = read(delta, "text") or read(delta, "arguments")
        if isinstance(piece, str) and piece:
            self._written.add(piece)
        whole = read(item, "interaction")
        if whole is not None:
            self._said |= {name: value for name, value in all_fields(whole).items() if value is not None}
            self._hear_usage(read(whole, "usage"))
            self.done = self.done or (kind.startswith("interaction.complete") and bool(self._usage))
        self._hear_usage(read(read(item, "metadata"), "total_usage"))
        self._failed = self._failed or kind == "error" or bool(read(item, "error"))
        return False

    def _hear_usage(self, usage: Any) -> None:
        if usage is None:
            return
        self._usage = merged(self._usage, all_fields(usage))
        if read(usage, "total_output_tokens"):
            self._written.forget()

    def end(self) -> Answer:
        """What the events said together; before the last word of usage, what is to be counted."""
        counts = token_usage(self._usage, self._said.get("model")) if self._usage else None
        heard = self._written.heard(running=bool(counts and counts.get("output_tokens")))
        answer = _said(self._said)._replace(heard=heard, final=True)
        if self._failed and not (counts or heard.pieces):
            return answer._replace(free=True)
        if counts is None or "input_tokens" not in counts:
            return answer._replace(usage=counts or {}, lacks=TEXT_TOTALS)
        if self.done:
            return answer._replace(usage=counts, lacks=unsaid(counts, heard.pieces > 0))
        return answer._replace(usage=counts, lacks=("output_tokens",), exact=True)
