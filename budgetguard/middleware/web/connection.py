"""What `user=lambda request: ...` is given under ASGI: Starlette's request where there is one, else a small one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """A request, or a WebSocket's, where Starlette is not installed."""

    scope: Mapping[str, Any]
    """ASGI's own words for it."""

    @property
    def path(self) -> str:
        """Decoded, without the query."""
        return str(self.scope["path"])

    @property
    def method(self) -> str:
        """In capitals; "" for a WebSocket."""
        return str(self.scope.get("method", ""))

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in lower case; the last of several."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}


def request_maker() -> Callable[[Any], Any]:
    """Makes the request of an ASGI scope: a `Request`, for a WebSocket an `HTTPConnection`, or a `PlainRequest`."""
    try:
        from starlette.requests import HTTPConnection, Request
    except ImportError:
        return PlainRequest
    return lambda scope: Request(scope) if scope["type"] == "http" else HTTPConnection(scope)
