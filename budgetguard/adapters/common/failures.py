"""
What an exception says of a call that failed: whether anything was sent, and whether it can have been billed.

It is read by names and frames, not by classes, so that nothing is imported and every HTTP stack (httpx, httpx2, and
aiohttp beneath them) is understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Final

from .errors import status_of

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
        "DefaultCredentialsError",
        "RefreshError",
        "MutualTLSChannelError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ProxyConnectionError",
    }
)
"""Errors of httpx, httpx2, botocore and sockets for a connection that was never made, and google-auth's."""

_NEVER_CONNECTED: Final = frozenset(
    {
        "ClientConnectorError",
        "ClientConnectorCertificateError",
        "ClientConnectorDNSError",
        "ClientConnectorSSLError",
        "ClientHttpProxyError",
        "ClientProxyConnectionError",
        "ConnectionTimeoutError",
        "InvalidUrlClientError",
        "NonHttpUrlClientError",
        "UnixClientConnectorError",
    }
)
"""The same of aiohttp, beneath httpx: as a transport it makes a `ConnectTimeout` of a server that hung up, too."""

_CLOSED: Final = re.compile(r"\A(?:Cannot send a request, as the client has been closed\.|Session is closed)\Z")
"""What httpx, httpx2 and aiohttp say where a client was closed, as google-genai closes one that is garbage."""

_BEFORE_SENDING: Final = frozenset(
    {
        "_access_token",
        "_async_access_token",
        "_build_middleware_chain",
        "_build_request",
        "_copy_and_prepare",
        "_custom_auth",
        "_idempotency_key",
        "_maybe_override_cast_to",
        "_prepare_options",
        "_prepare_request",
        "_validate_max_retries",
        "build_request",
        "dumps",
        "get_max_retries",
        "model_copy",
    }
)
"""
What an SDK calls before the request goes out (openai 2.54 to 3.54, anthropic 1.10 to 2.14, `_base_client.py`;
google-genai 1.20 to 3.6, `_api_client.py`).
"""


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
    status = status_of(error)
    if status is not None:
        return not 200 <= status < 300
    if never_sent(error):
        return True
    reached = [sent for link in _chain(error) if (sent := _may_have_sent(link.__traceback__)) is not None]
    return bool(reached) and not any(reached)


def cannot_have_arrived(error: BaseException) -> bool:
    """Whether one attempt ended before its request went out."""
    return never_sent(error) or _may_have_sent(error.__traceback__) is False


def never_sent(error: BaseException) -> bool:
    """Whether an error says that there was no connection to send anything on."""
    links = list(_chain(error))
    if any(type(link) is RuntimeError and _CLOSED.search(str(link)) for link in links):
        return True
    below = [type(link).__name__ for link in links if type(link).__module__.startswith("aiohttp")]
    if below:
        return not _NEVER_CONNECTED.isdisjoint(below)
    return any(type(link).__name__ in _NEVER_SENT for link in links)


_CLIENT_STEPS: Final = frozenset({"send", "_send_handling_auth", "_send_handling_redirects"})
"""The same of a client of httpx or httpx2, to where it hands the request to a transport."""

_HANDED: Final = "_send_single_request"
_CLIENT: Final = re.compile(r"httpx2?[/\\]_client\.py\Z")

_STEPS: Final = frozenset(
    {"request", "_request", "_attempt_request", "_request_once", "_async_request", "_async_request_once"}
)
"""The SDK's way from a call to a request that goes out, as far as it is flat: each calls the next, or sends."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or _wrapped_in(error)


def _wrapped_in(error: BaseException) -> BaseException | None:
    """The error that one of botocore's was made of: it keeps that as an argument, whose class it may not fit."""
    inner = getattr(error, "kwargs", {}).get("error") if type(error).__module__ == "botocore.exceptions" else None
    return inner if isinstance(inner, BaseException) else None


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
        elif _is_client(traceback.tb_frame):
            below, frame = traceback.tb_next, traceback.tb_frame
            sent = below is None or frame.f_code.co_name == _HANDED or frame.f_locals.get("response") is not None
        traceback = traceback.tb_next
    return sent


def _is_request(frame: FrameType) -> bool:
    return frame.f_code.co_name in _STEPS and frame.f_code.co_filename.endswith(("_base_client.py", "_api_client.py"))


def _is_client(frame: FrameType) -> bool:
    code = frame.f_code
    return (code.co_name in _CLIENT_STEPS or code.co_name == _HANDED) and _CLIENT.search(code.co_filename) is not None


def _is_before(frame: FrameType) -> bool:
    name = frame.f_code.co_name
    if name == "_sleep_for_retry":  # between two attempts: the last one may have been answered with an error status
        return frame.f_locals.get("response") is not None
    return name in _BEFORE_SENDING
