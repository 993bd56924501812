"""
What an exception of the OpenAI SDK says of the bill: whether the call can have cost anything.

Read by names and frames, not by classes, so that nothing is imported and both
HTTP stacks (httpx and httpx2) are understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

_NEVER_SENT: Final = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
    "InvalidURL",
    "LocalProtocolError",
}
_SENDING_FRAMES: Final = {"_send_request", "send", "_sleep_for_retry", "_process_response"}


def paid_answer(error: BaseException) -> Any:
    """The reply inside an error that the SDK raised about a finished, billed answer; `None` if there is none."""
    return getattr(error, "completion", None)


def free_failure(error: BaseException) -> bool:
    """
    Whether a failed call cannot have been billed.

    An error status is not billed, nor is what was never sent. A time-out, a broken connection, a cancellation
    or a reply that could not be parsed may be.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status >= 400
    chain = list(_chain(error))
    if any(type(link).__name__ in _NEVER_SENT for link in chain):
        return True
    return not any(_frames(link.__traceback__) & _SENDING_FRAMES for link in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _frames(traceback: TracebackType | None) -> set[str]:
    names = set()
    while traceback is not None:
        names.add(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return names
