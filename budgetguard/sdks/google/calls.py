"""One call of google-genai, read from the request that it is about to send, whatever HTTP stack is to send it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from ...adapters.gemini import DIALECT, located, relocated, told
from ...calls import NOTHING, Answer, Endpoint
from ...guards.admission import NO_BOUNDS
from ...guards.charge import Charge
from ...guards.guard import Guard
from ..exchange import Exchange
from ..places import Place
from ..streams import closer, watch_items

_SEGMENTS = "response_stream"
"""In a reply of the SDK's: the texts of one that was read, or the response that is to be read."""


class GoogleCall(Exchange):
    """One call of a client's `_request`: the request that was made for it, with its URL and its JSON."""

    dialect = DIALECT
    form = ()
    decoded = False
    """Whether it is asked for its usage: every item brings it."""
    unread = False
    broken = 0
    """How many requests of an attempt broke off, and were sent again within it."""

    def __init__(
        self,
        wrapped: Callable[..., Any],
        client: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        guard: Guard,
        endpoint: Endpoint,
        is_async: bool,
    ) -> None:
        self.wrapped = wrapped
        """The SDK's own function."""
        self.client = client
        self.guard = guard
        self.endpoint = endpoint
        self.is_async = is_async
        self.args = args
        self.kwargs = kwargs
        self.given = given = request_in(args, kwargs)
        data = given.data
        self.unreadable = data is not None and type(data) is not dict
        self.body = located({} if type(data) is not dict else data, given.url)
        self.place = _place(_origin(given.url))
        self.unread = bool(kwargs.get("stream")) or True in args[1:]
        self.http = client.__dict__.get("_async_httpx_client" if is_async else "_httpx_client")

    @property
    def path(self) -> str:
        """What it asks for."""
        return str(self.given.url)

    @property
    def headers(self) -> Mapping[str, Any]:
        """Those that it states, or its client does."""
        return self.given.headers or NOTHING

    def is_above(self, other: Exchange) -> bool:
        """Whether a request is one that the SDK makes for this one: it makes no others meanwhile."""
        return super().is_above(other) or other.dialect is self.dialect

    def shown(self, response: Any) -> Any:
        """The JSON of a reply that was read."""
        return _json(getattr(response, _SEGMENTS, None))

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """Take a request for the SDK's own that asks another model, in its URL or in its JSON."""
        url = relocated(self.given.url, body["model"])
        if url is None:
            return False
        request, named = copy.copy(self.given), "model" in (self.given.data or ())
        request.url, request.data = url, {name: body[name] for name in body if named or name != "model"}
        if self.args:
            self.args = (request, *self.args[1:])
        else:
            self.kwargs = {**self.kwargs, "http_request": request}
        self.given, self.body = request, body
        return True

    def proceed(self) -> Any:
        """Send it with `changes`, in a copy of the request; the SDK's own stays as it is."""
        request, charge = self.given, self.charge
        assert charge is not None
        changed = self.changes() if charge.bounds is not NO_BOUNDS else NOTHING
        if changed:
            request = copy.copy(request)
            request.data = {**(request.data or {}), **changed}
        self.carried = request
        if not changed:
            return self.wrapped(*self.args, **self.kwargs)
        if self.args:
            return self.wrapped(request, *self.args[1:], **self.kwargs)
        return self.wrapped(**{**self.kwargs, "http_request": request})

    def _observe(self, charge: Charge, response: Any) -> None:
        segments, answer = getattr(response, _SEGMENTS, None), self.endpoint.answer
        if segments is None or answer is None:
            super()._observe(charge, response)
        elif not isinstance(segments, list):
            seen = watch_items(charge, response, closer(segments, is_async=self.is_async))
            seen.hear(told(response.headers))
        elif self.unread:  # all of a stream, as it was recorded
            make = self.endpoint.listener
            listener = make() if make is not None else None
            for segment in segments if listener is not None else ():
                listener.hear(json.loads(segment))  # type: ignore[union-attr]
            charge.interrupted(listener, "whole")
        else:
            charge.observe(_answer(answer, segments, told(response.headers)))


def request_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The SDK's own request, among the arguments of the method that sends it."""
    return args[0] if args else kwargs["http_request"]


def _answer(answer: Callable[[Any], Answer], segments: list[Any], more: Mapping[str, Any]) -> Answer:
    reply = _json(segments)
    if reply is None:
        return Answer()
    return answer({**reply, **more} if more and isinstance(reply, dict) else reply)


def _json(segments: Any) -> Any:
    """What the text of a reply says; `None` for what is no JSON."""
    try:
        return (json.loads(segments[0]) if segments and segments[0] else {}) if isinstance(segments, list) else None
    except ValueError:
        return None


def _origin(url: str) -> str:
    """A URL without its path."""
    end = url.find("/", url.find("://") + 3)
    return url if end < 0 else url[:end]


@lru_cache(maxsize=512)
def _place(origin: str) -> Place:
    parts = urlsplit(origin)
    return Place(origin, NOTHING, parts.hostname or "", None, parts.port, azure=False, deployment="")
