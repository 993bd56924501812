"""
What an exception of the OpenAI SDK says: whether the call can have cost anything, and whether it is about our fields.

Read by names and frames, not by classes, so that nothing is imported and both
HTTP stacks (httpx and httpx2) are understood.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, Final

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
        "_build_request",
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
"""What the SDK's `request` calls before the request goes out (openai 2.54 to 3.54, `_base_client.py`)."""


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


def filtered(error: BaseException) -> bool:
    """Whether a content filter refused the prompt: it was read for that, and Azure bills it."""
    if getattr(error, "status_code", None) != 400:
        return False
    said = f"{error} {getattr(error, 'body', None)}"  # in some versions the inner error alone says it
    return getattr(error, "code", None) == "content_filter" or "ResponsibleAIPolicyViolation" in said


def refused_fields(error: BaseException, sent: Mapping[str, Any]) -> dict[str, int]:
    """Which of the fields that only we `sent` an error names, and the least number that was too much (0: any value)."""
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or not (status in _REFUSING or status >= 500):
        return {}
    text = str(error).lower()
    named = [field for field in sent if any(word in text for word in (field, *_OTHER_WORDS.get(field, ())))]
    unknown = named and _UNKNOWN.search(text)
    return {field: 0 if unknown or not isinstance(sent[field], int) else sent[field] for field in named}


def is_unexplained(error: BaseException, body: Collection[str]) -> bool:
    """Whether an error is about a field, or about nothing, and says nothing of those in the caller's `body`."""
    if getattr(error, "status_code", None) not in {400, 422} or getattr(error, "param", None):
        return False
    text = str(error).lower()
    said = _UNKNOWN.search(text) or _UNEXPLAINED.search(text)
    return said is not None and not any(_names(text, field) for field in body)


def _names(text: str, field: str) -> bool:
    return re.search(rf"\b{re.escape(field.lower())}\b", text) is not None


_REFUSING: Final = frozenset({400, 402, 404, 405, 413, 422})
"""Statuses of a request that a server does not take as it is; 402 is OpenRouter's for a cap above what one can pay."""

_CAP_WORDS: Final = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "maxoutputtokens",
    "max tokens",
    "in the completion",
)
_OTHER_WORDS: Final = {
    "max_tokens": _CAP_WORDS,
    "max_completion_tokens": _CAP_WORDS,
    "max_output_tokens": _CAP_WORDS,
    "stream_options": ("include_usage", "streamoptions", "stream options"),
}
"""What servers call these fields: gateways rename them on their way to the model."""

_UNKNOWN: Final = re.compile(
    r"unsupported|n[o']t support|un?recogni[sz]ed|unknown|unexpected|not permitted|not allowed|deprecated|validation|"
    r"extra[_ ](input|field|forb|param)|additional propert|invalid (field|param|arg|key|json)|schema|does not accept|"
    r"use '"
)
_UNEXPLAINED: Final = re.compile(r"^error code: \d+$|bad[_ ]request|malformed|invalid request(?!_error)")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _may_have_sent(traceback: TracebackType | None) -> bool | None:
    """
    Whether an error left the SDK's `request` from where the request was on its way, or might have been.

    `None`: it did not come from there. An interruption just before or after the SDK was called does not.
    """
    while traceback is not None:
        if _is_request(traceback.tb_frame):
            below = traceback.tb_next
            return below is None or not _is_before(below.tb_frame)
        traceback = traceback.tb_next
    return None


def _is_request(frame: FrameType) -> bool:
    return frame.f_code.co_name == "request" and frame.f_code.co_filename.endswith("_base_client.py")


def _is_before(frame: FrameType) -> bool:
    name = frame.f_code.co_name
    if name == "_sleep_for_retry":  # between two attempts: the last one may have been answered with an error status
        return frame.f_locals.get("response") is not None
    return name in _BEFORE_SENDING
