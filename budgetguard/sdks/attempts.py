"""
The attempts of one call: the SDK tries again by itself, and what it gave up may have been billed.

Each request that goes out is seen, with its end: a connection that was never made
and an error status cost nothing; one that broke off, or that nobody waited for, may
have been answered, and counts as lost.

What an exception says of that is read by names and frames, not by classes, so that nothing is imported and both
HTTP stacks (httpx and httpx2) are understood.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from types import FrameType, TracebackType
from typing import Any, Final


class Attempts:
    """What became of the requests that one call of a client sent."""

    __slots__ = ("billed", "client", "lost", "response")

    def __init__(self, client: Any, billed: Collection[int]) -> None:
        self.client = client
        self.billed = billed
        """The error statuses that the host bills."""
        self.lost: int | None = None
        """How many may have been billed without an answer; `None`: none was seen going out."""
        self.response: Any = None
        """The last response, if the last attempt had one."""

    def begin(self) -> None:
        """An attempt goes out: it is lost unless its end is seen. So is a good answer that is not the last."""
        self.lost = (self.lost or 0) + 1 + self.succeeded
        self.response = None

    def failed(self, error: BaseException) -> None:
        """It ended without a response."""
        if never_sent(error) or _may_have_sent(error.__traceback__) is False:
            self._unlose()

    def answered(self, response: Any) -> None:
        """It was answered. What a filter refused is judged by what the error says; a time-out there is as one here."""
        self.response = response
        if response.status_code != 408 or 408 not in self.billed:
            self._unlose()

    @property
    def succeeded(self) -> bool:
        """Whether the last attempt was answered with what was asked for."""
        return self.response is not None and 200 <= self.response.status_code < 300

    def _unlose(self) -> None:
        assert self.lost is not None
        self.lost -= 1


_NEVER_SENT: Final = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "InvalidURL",
        "LocalProtocolError",
        "ConnectionRefusedError",
        "gaierror",
    }
)
"""Errors of httpx, httpx2 and sockets for a connection that was never made."""

_BEFORE_SENDING: Final = frozenset(
    {
        "_build_middleware_chain",
        "_build_request",
        "_copy_and_prepare",
        "_custom_auth",
        "_idempotency_key",
        "_maybe_override_cast_to",
        "_prepare_options",
        "_prepare_request",
        "_validate_max_retries",
        "get_max_retries",
        "model_copy",
    }
)
"""What an SDK calls before the request goes out (openai 2.54 to 3.54, anthropic 1.10 to 2.14, `_base_client.py`)."""


def paid_reply(error: BaseException) -> Any:
    """The HTTP response inside an error that the SDK raised about a finished, billed answer; `None` if none is."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return response if isinstance(status, int) and 200 <= status < 300 else None


def free_failure(error: BaseException) -> bool:
    """
    Whether a failed call cannot have been billed.

    An error status is not billed, nor is what was never sent. A time-out, a broken connection, a cancellation
    or a reply that could not be parsed may be.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return not 200 <= status < 300
    if never_sent(error):
        return True
    reached = [sent for link in _chain(error) if (sent := _may_have_sent(link.__traceback__)) is not None]
    return bool(reached) and not any(reached)


def never_sent(error: BaseException) -> bool:
    """Whether an error says that there was no connection to send anything on."""
    return any(type(link).__name__ in _NEVER_SENT for link in _chain(error))


_STEPS: Final = frozenset({"request", "_request", "_attempt_request"})
"""The SDK's way from a call to a request that goes out, as far as it is flat: each calls the next, or sends."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _may_have_sent(traceback: TracebackType | None) -> bool | None:
    """
    Whether an error left the SDK's `request` from where the request was on its way, or might have been.

    `None`: it did not come from there. An interruption just before or after the SDK was called does not. The deepest of
    the SDK's own steps tells.
    """
    sent = None
    while traceback is not None:
        if _is_request(traceback.tb_frame):
            below = traceback.tb_next
            sent = below is None or not _is_before(below.tb_frame)
        traceback = traceback.tb_next
    return sent


def _is_request(frame: FrameType) -> bool:
    return frame.f_code.co_name in _STEPS and frame.f_code.co_filename.endswith("_base_client.py")


def _is_before(frame: FrameType) -> bool:
    name = frame.f_code.co_name
    if name == "_sleep_for_retry":  # between two attempts: the last one may have been answered with an error status
        return frame.f_locals.get("response") is not None
    return name in _BEFORE_SENDING
