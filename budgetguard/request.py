"""
One call of the SDK's `request`: what it asks for, how it is amended, what came back.

Everything here reads or copies. The caller's own objects, the options of a call
among them, are left as they are.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .adapters.openai_errors import free_failure, paid_reply
from .calls import Answer, Endpoint, Host, Reply
from .charge import Charge, Follow
from .guards import Guard
from .hosts import host_of
from .scope import Scope
from .steps import Steps
from .streams import watch

log = logging.getLogger("budgetguard")

_RAW_HEADER = "X-Stainless-Raw-Response"
_STREAMED = "stream"
_MISSING = object()

_passing: dict[int, Any] = {}
"""
The options of every call on its way, by their id(). They are kept, so that no other object gets the id of one whose
call was interrupted before it could be taken out.
"""


class Request:
    """One call of `request`: its arguments, read once."""

    __slots__ = ("args", "body", "charge", "client", "endpoint", "guard", "host", "kwargs", "options", "passing", "raw")

    def __init__(
        self, client: Any, guard: Guard, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.client = client
        self.guard = guard
        self.endpoint = endpoint
        self.args = args
        self.kwargs = kwargs
        self.options = args[1] if len(args) > 1 else kwargs["options"]
        """The SDK's options of the call: method, path, body, headers."""
        headers = self.options.headers
        self.raw = headers.get(_RAW_HEADER) if headers else None
        self.host = ""
        self.body: Mapping[str, Any] = {}
        self.charge: Charge | None = None
        self.passing = 0

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""
        return bool(self.kwargs.get("stream")) or self.raw == _STREAMED

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge."""
        guard = self.guard
        files = self.read()
        provider, known = self.place()
        charge = self.charge = guard.charge(self.endpoint, self.body, files, provider, scope, host=known)
        if charge.call.stream and self.raw != _STREAMED and self.endpoint.amend is not None:
            charge.ask_usage = self._asks_usage()
        return charge

    def read(self) -> Sequence[Any]:
        """Read the body, and the files of a multipart one: pairs of a name and a file."""
        self.body = _body(self.options)
        return _files(self.options.files) if self.options.files else ()

    def place(self) -> tuple[str | None, Host]:
        """Where the request goes: the provider whose prices count there, and what is known of the host."""
        self.host = host = self.client.base_url.host  # asked once: the SDK works it out each time
        return self.guard.prices.provider(host), host_of(host, getattr(self.client, "_api_version", None))

    def answers(self, response: Any) -> Sequence[Answer]:
        """What a reply says: one answer, or each in a list; nothing, if it was not read yet."""
        http, answer, items = _http_response(response), self.endpoint.answer, self.endpoint.items
        if answer is None or (self.unread and http is not None):
            return ()
        if items is not None:
            return [answer(item) for item in items(response if http is None else http.json())]
        return [answer(response) if http is None else _read_body(answer, http)]

    def amended(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with the cap and the wish for usage that the charge decided on. The caller's stay as is."""
        options = self._amended_options()
        self.passing = id(options)
        _passing[self.passing] = options
        if options is self.options:
            return self.args, self.kwargs
        if len(self.args) > 1:
            return (self.args[0], options, *self.args[2:]), self.kwargs
        return self.args, {**self.kwargs, "options": options}

    def passed(self) -> None:
        """Note that the call is over."""
        _passing.pop(self.passing, None)

    def observe(self, response: Any) -> None:
        """Take in the reply. Never raises: the caller has paid for it."""
        charge = self.charge
        assert charge is not None
        if charge.answer is not None:  # the parser showed it
            return
        try:
            self._observe(charge, response)
        except Exception:
            log.exception("the reply of call %s could not be read", charge.id)
            charge.observe(Answer())

    def failed(self, error: BaseException) -> None:
        """Take in that the call raised."""
        charge = self.charge
        if charge is None or charge.watched or charge.answer is not None or not charge.sent:
            return
        paid = paid_reply(error)
        if paid is not None:
            self.observe(paid)
        else:
            charge.failed(free=not self.passing or free_failure(error))

    def _observe(self, charge: Charge, response: Any) -> None:
        http = _http_response(response)
        if http is not None and (self.unread or "event-stream" in http.headers.get("content-type", "")):
            watch(charge, http, is_async=_is_async(self.client))
            return
        answer = self.endpoint.answer
        if answer is None:
            charge.observe(Answer())
        elif http is not None:
            charge.observe(_read_body(answer, http))
        elif isinstance(response, str):
            charge.observe(_read_text(answer, response))
        else:
            charge.observe(answer(response))

    def _amended_options(self) -> Any:
        charge, amend, original = self.charge, self.endpoint.amend, self.options
        assert charge is not None
        changed: dict[str, Any] = {}
        if amend is not None and (charge.cap is not None or charge.ask_usage):
            body = amend(self.body, charge.cap, charge.ask_usage, self.host)
            changed = {name: value for name, value in body.items() if value is not self.body.get(name, _MISSING)}
        charge.ask_usage = "stream_options" in changed
        parse = original.post_parser
        shows = callable(parse) and self.raw is None and not self.unread
        if not changed and not shows:
            return original
        options = copy.copy(original)
        if shows:
            options.post_parser = self._shown(parse)
        if changed:
            _change(options, self.body, changed)
        return options

    def _shown(self, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The SDK's parser, with the reply observed before: one that it refuses was billed as well."""

        def shown(reply: Any) -> Any:
            self.observe(reply)
            return parse(reply)

        return shown

    def _asks_usage(self) -> bool:
        assert self.charge is not None
        host, port = self.host, self.client.base_url.port
        hosts = self.guard.settings.usage_hosts
        return self.charge.host.usage or host in hosts or f"{host}:{port}" in hosts


def is_passing(options: Any) -> bool:
    """Whether a call with these options is on its way: a second wrapper of ours beneath the first lets it pass."""
    return _passing.get(id(options)) is options


def follow(request: Request, response: Any) -> Steps[None]:
    """Settle what a look shows of earlier work in the background."""
    look = Follow(request.guard, request.endpoint)
    try:
        http = _http_response(response)
        if request.unread and http is not None:
            watch(look, http, is_async=_is_async(request.client))
            return
        look.observe(*request.answers(response))
    except Exception:
        log.exception("what %s showed could not be read", request.endpoint.name)
    yield from look.close()


def _body(options: Any) -> Mapping[str, Any]:
    """The JSON that will be sent, as the SDK merges it."""
    data, extra = options.json_data, options.extra_json
    if type(data) is dict and not extra:
        return data
    if isinstance(data, Mapping):
        if not extra:
            return data
        return {name: value for name, value in {**data, **extra}.items() if type(value).__name__ != "Omit"}
    if data is None and isinstance(extra, Mapping):
        return extra
    raw = data if data is not None else getattr(options, "content", None)
    try:
        parsed = json.loads(raw) if isinstance(raw, bytes | bytearray) else None
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


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


def _http_response(response: Any) -> Any:
    """The HTTP response inside what `request` returned; `None` for a parsed body."""
    if type(response).__module__.startswith("openai.types"):  # a parsed body, the common case
        return None
    # Not `getattr`: it is slow for what a pydantic model does not have.
    fields = getattr(response, "__dict__", None) or {}
    for name in ("http_response", "response"):
        inner = fields.get(name)
        if inner is not None and hasattr(type(inner), "iter_raw"):
            return inner
    return response if hasattr(type(response), "iter_raw") else None


def _read_body(answer: Reply, http: Any) -> Answer:
    """The answer in a body that was read: JSON, or one that says nothing (audio, subtitles)."""
    if "json" not in http.headers.get("content-type", "json"):
        return answer(None)
    try:
        return answer(http.json())
    except ValueError:
        return Answer()


def _read_text(answer: Reply, text: str) -> Answer:
    try:
        data = json.loads(text)
    except ValueError:
        return answer(None)
    return answer(data)


def _is_async(client: Any) -> bool:
    from openai._base_client import AsyncAPIClient

    return isinstance(client, AsyncAPIClient)


def _files(files: Any) -> Sequence[Any]:
    return list(files.items()) if isinstance(files, Mapping) else list(files)
