"""
What the fake provider is told, what it was asked, and what it says.

A `Plan` describes how one request is answered. A `Request` is what came in, a
`FakeReply` what goes out, a `Bill` what the provider charges for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from ...money import Nano


@dataclass(frozen=True, slots=True)
class Plan:
    """How one request is answered. The defaults are a healthy provider with short answers."""

    tokens: int = 8
    """The output tokens an answer wants; the request's cap may cut it."""
    text: str | None = None
    """The answer itself, one token a word, instead of `tokens` words that the provider makes up."""
    reasoning: int = 0
    """Hidden output tokens before the answer: billed, never shown, and counted against the cap."""
    cached: int = 0
    """Input tokens that are reported as read from the cache (never more than there are)."""
    cache_written: int = 0
    """Input tokens that Anthropic's API reports as written to the cache, for an hour where the request says so."""
    tools: bool = True
    """Call the first tool that is offered, until the conversation holds a tool's result."""
    blocked: str | None = None
    """The reason for which Google's API blocks the prompt: it was read, and there is no answer."""
    model: str | None = None
    """The model named in the answer; the one that was asked for, if `None`."""
    service_tier: str | None = None
    """The tier named in the answer; the one that was asked for, if `None`."""
    usage: Mapping[str, Any] | None = None
    """The usage to report and bill, in the endpoint's own words, instead of what was counted."""
    usage_unasked: bool = False
    """Report the usage of OpenAI's chat streams also where it is not asked for, as many of those who speak it do."""
    polls: int = 0
    """How many retrieves find a background response still in progress, before one finds it complete."""

    latency_s: float = 0.0
    """Seconds before the answer begins."""
    chunk_s: float = 0.0
    """Seconds before each item of a stream."""
    gzip: bool = False
    """Compress the body."""

    status: int = 200
    """An HTTP error status: the request fails, and nothing is billed."""
    retry_after_ms: int | None = None
    """Sent as `retry-after-ms` with an error status."""
    drop: Literal["headers", "body", "stream"] | None = None
    """
    Close the connection: before the headers, in the middle of the body, or in a stream after `drop_after` items.
    The work was done, so the bill stands.
    """
    drop_after: int = 3
    """The items of a stream that arrive before it is dropped, stalled or garbled."""
    stall: Literal["headers", "stream"] | None = None
    """
    Say nothing more, before the headers or after `drop_after` items, until the client goes away. A stall before
    the headers bills the whole answer, as a drop there does.
    """
    error_event: int | None = None
    """Break a stream that is not OpenAI's off after `drop_after` items, by an event that says this error status."""
    malformed: Literal["body", "stream"] | None = None
    """Send what is no JSON: as the body, or as one item of a stream."""
    omit_usage: bool = False
    """Bill, but do not report a usage."""
    ignore_caps: bool = False
    """Take no notice of the request's output cap."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    """With its query."""
    endpoint: str
    """The path below the API's root: "/chat/completions"."""
    body: Mapping[str, Any]
    """The JSON, or the fields of a form; the files of a form are `bytes` here."""
    headers: Mapping[str, str]
    """Names in lower case."""
    deployment: str | None = None
    """Of an Azure path."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What the provider charges for one request that it worked for."""

    request_id: str
    """Sent as `x-request-id`."""
    endpoint: str
    model: str
    input_tokens: int
    output_tokens: int
    usage: Mapping[str, Any]
    """The usage in the endpoint's own words, also where it was not reported."""
    amount: Nano
    """Nano-dollars by the provider's own price list; 0 for a model that is not on it."""
    aborted: bool = False
    """Whether the client was gone before it had the whole answer."""


@dataclass(frozen=True, slots=True)
class Event:
    """One item of a stream."""

    data: Any
    """JSON, or text that is sent as it is."""
    name: str | None = None
    """The `event:` line, where the endpoint has one."""
    output_tokens: int = 0
    """The output tokens that had been made for this item and were not for an earlier one."""


class UsageWords(NamedTuple):
    """By which names the usage of an API counts."""

    input: Sequence[str]
    """Of the billed input: their sum."""
    output: Sequence[str]
    """Of the billed output, their sum: first what is made first."""
    total: str = ""

    def lowered(self, usage: Mapping[str, Any], output_tokens: int) -> dict[str, Any]:
        """A usage with no more output tokens than these."""
        lower, left = dict(usage), output_tokens
        for name in self.output:
            if name in usage:
                lower[name] = min(usage[name], left)
                left -= lower[name]
        if self.total in usage:
            lower[self.total] -= sum(usage.get(name, 0) - lower.get(name, 0) for name in self.output)
        return lower


TOKENS: Final = UsageWords(
    ("prompt_tokens", "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    ("completion_tokens", "output_tokens"),
    "total_tokens",
)
"""Of OpenAI's and Anthropic's APIs, which never use two names for one thing."""


class Framing(NamedTuple):
    """How the items of a stream are put on the wire."""

    content_type: str
    frame: Callable[[Event], bytes]


def as_json(value: Any) -> bytes:
    """Compact JSON, as bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def as_bytes(body: Any) -> bytes:
    """A body, or an item: bytes and text as they are, all else as JSON."""
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else as_json(body)


def _sse(event: Event) -> bytes:
    head = f"event: {event.name}\n".encode() if event.name else b""
    return head + b"data: " + as_bytes(event.data) + b"\n\n"


SSE: Final = Framing("text/event-stream", _sse)
"""Server-sent events, as OpenAI and Anthropic have them."""

NDJSON: Final = Framing("application/x-ndjson", lambda event: as_bytes(event.data) + b"\n")
"""Lines of JSON, as Ollama has them."""


@dataclass(frozen=True, slots=True)
class FakeReply:
    """An answer, before it is put on the wire."""

    body: Any = None
    """JSON (a dict), `str` or `bytes`; unused where there are `events`."""
    events: Sequence[Event] | None = None
    content_type: str = "application/json"
    model: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """What is billed, in the endpoint's own words."""
    billed: bool = True
    """`False` for what is free, and for a background response that only begins."""
    framing: Framing = SSE
    """Of its `events`."""
    words: UsageWords = TOKENS
    """Of its `usage`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that it has of its own."""

    @property
    def input_tokens(self) -> int:
        """The billed input, whatever the endpoint calls it."""
        return sum(int(self.usage.get(name, 0)) for name in self.words.input)

    @property
    def output_tokens(self) -> int:
        """The billed output, reasoning included."""
        return sum(int(self.usage.get(name, 0)) for name in self.words.output)


class BadRequestError(Exception):
    """The request is one that the real API would not take."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
