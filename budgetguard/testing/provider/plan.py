"""
What the fake provider is told, what it was asked, and what it says.

A `Plan` describes how one request is answered. A `Request` is what came in, a
`FakeReply` what goes out, a `Bill` what the provider charges for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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
    model: str | None = None
    """The model named in the answer; the one that was asked for, if `None`."""
    service_tier: str | None = None
    """The tier named in the answer; the one that was asked for, if `None`."""
    usage: Mapping[str, Any] | None = None
    """The usage to report and bill, in the endpoint's own words, instead of what was counted."""
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
    """Break a stream of Anthropic's API off after `drop_after` items, by an event that says this error status."""
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

    @property
    def input_tokens(self) -> int:
        """The billed input, whatever the endpoint calls it."""
        cached = sum(self.usage.get(f"cache_{way}_input_tokens", 0) for way in ("read", "creation"))
        return int(self.usage.get("prompt_tokens", self.usage.get("input_tokens", 0) + cached))

    @property
    def output_tokens(self) -> int:
        """The billed output, reasoning included."""
        return int(self.usage.get("completion_tokens", self.usage.get("output_tokens", 0)))


class BadRequestError(Exception):
    """The request is one that the real API would not take."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
