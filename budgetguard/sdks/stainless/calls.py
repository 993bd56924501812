"""One call of a client that Stainless generated, read from the options that its `request` is given."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from ...calls import NOTHING, Endpoint
from ...guards.admission import NO_BOUNDS
from ...guards.guard import Guard
from ..exchange import Exchange
from ..places import PLACE, Place, place_of
from .packages import Package

MIDDLEWARE = "_middleware"
"""Where a client has what may answer a call by itself, or send it twice: anthropic's have `middleware=`."""

_RAW_HEADER = "X-Stainless-Raw-Response"
_STREAMED = "stream"


class GeneratedCall(Exchange):
    """One call of a client's `request`: its arguments, read once. The caller's own objects stay as they are."""

    position: ClassVar = 1
    """Where the options are among the positional arguments."""

    def __init__(
        self,
        package: Package,
        wrapped: Callable[..., Any],
        client: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        guard: Guard,
        endpoint: Endpoint,
        is_async: bool,
    ) -> None:
        self.package = package
        self.dialect = package.dialect if package.beside is None else package.dialect_of(endpoint)
        self.wrapped = wrapped
        """The SDK's own function."""
        self.client = client
        self.http = client.__dict__.get("_client")
        self.guard = guard
        self.endpoint = endpoint
        self.is_async = is_async
        self.args = args
        self.kwargs = kwargs
        self.given = options = args[1] if len(args) > 1 else kwargs["options"]
        """The SDK's options of the call: method, path, body, headers."""
        self.form = options.files
        body = options.json_data
        if type(body) is not dict or options.extra_json:
            body = body_of(options)
        self.body, self.unreadable = ({}, True) if body is None else (body, False)
        place: Place | None = client.__dict__.get(PLACE)
        if place is None or place.url is not client.base_url or place.query != client._custom_query:
            place = place_of(client)
        self.place = place
        if package.prepare is not None:
            self.prepare = getattr(client, package.prepare, None)

    @property
    def _raw(self) -> Any:
        headers = self.given.headers
        return headers.get(_RAW_HEADER) if headers else None

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""
        return bool(self.kwargs.get("stream")) or self._raw == _STREAMED

    @property
    def decoded(self) -> bool:
        """Whether the SDK decodes its stream."""
        return bool(self._raw != _STREAMED)

    @property
    def path(self) -> str:
        """What it asks for."""
        return str(self.given.url)

    @property
    def headers(self) -> Mapping[str, Any]:
        """Those that it states, or its client does."""
        return {**self.client.__dict__.get("_custom_headers", NOTHING), **(self.given.headers or NOTHING)}

    def take(self, options: Any) -> None:
        """Take other options for the caller's: those that the SDK would make of them."""
        self.given = options
        body = body_of(options)
        self.body, self.unreadable = ({}, True) if body is None else (body, False)
        if len(self.args) > 1:
            self.args = (self.args[0], options, *self.args[2:])
        else:
            self.kwargs = {**self.kwargs, "options": options}

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """Take options for the caller's that have another body."""
        options = copy.copy(self.given)
        options.json_data, options.extra_json = body, None
        if getattr(options, "content", None) is not None:
            options.content = None
        self.take(options)
        return True

    def proceed(self) -> Any:
        """Send it with `changes`, and a parser that shows the reply before; the caller's arguments stay as they are."""
        options, charge = self.given, self.charge
        assert charge is not None
        changed = self.changes() if charge.bounds is not NO_BOUNDS or self.ask_usage else NOTHING
        parse = options.post_parser
        shows = callable(parse) and self._raw is None and not self.unread
        if changed or shows:
            options = copy.copy(options)
        self.carried = options
        if options is self.given:
            return self.wrapped(*self.args, **self.kwargs)
        if shows:
            options.post_parser = partial(_shown, parse, self.observe)
        if changed:
            _change(options, self.body, changed)
        if len(self.args) > 1:
            return self.wrapped(self.args[0], options, *self.args[2:], **self.kwargs)
        return self.wrapped(*self.args, **{**self.kwargs, "options": options})


def _shown(parse: Callable[[Any], Any], show: Callable[[Any], None], reply: Any) -> Any:
    """The SDK's parser, with the reply observed before: one that it refuses was billed as well."""
    show(reply)
    return parse(reply)


def body_of(options: Any) -> Mapping[str, Any] | None:
    """The JSON that will be sent, as the SDK merges it; `None` for a body that is no JSON object, or not read yet."""
    data, extra = options.json_data, options.extra_json
    if type(data) is dict and not extra:
        return data
    if isinstance(data, Mapping):
        if not extra:
            return data
        return {name: value for name, value in {**data, **extra}.items() if type(value).__name__ != "Omit"}
    raw = data if data is not None else getattr(options, "content", None)
    if raw is None:
        return extra if isinstance(extra, Mapping) else {}
    try:
        parsed = json.loads(raw) if isinstance(raw, bytes | bytearray | str) else None
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _change(options: Any, body: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Change fields of the JSON that will be sent, in a copy of the caller's options."""
    if isinstance(options.json_data, Mapping):
        options.json_data = {**options.json_data, **changed}
        if options.extra_json:
            options.extra_json = {name: value for name, value in options.extra_json.items() if name not in changed}
    elif options.json_data is None and options.extra_json:
        options.extra_json = {**options.extra_json, **changed}
    else:
        options.json_data = {**body, **changed}
        if getattr(options, "content", None) is not None:
            options.content = None
