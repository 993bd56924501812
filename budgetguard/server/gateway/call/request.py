"""What a client's request carries: its JSON or its form, the model that it asks for, for whom."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from io import BytesIO
from itertools import count
from math import isfinite
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from ....adapters.gemini.names import snake
from ....adapters.gemini.requests import CONFIG
from ....calls import NOTHING
from ...problems import Refused
from ..config.model import Api
from .paths import ModelOperation

_encoded = msgspec.json.Encoder().encode

_HANDED_ON: Final = frozenset(
    {b"accept", b"anthropic-beta", b"anthropic-version", b"idempotency-key", b"openai-beta", b"user-agent"}
)
"""The headers of a request that go to the upstream; none that says who the client is there, and no cookie."""

_QUERIES: Final[Mapping[Api, frozenset[str]]] = {
    "openai": frozenset({"after", "before", "include", "limit", "order"}),
    "anthropic": frozenset({"after_id", "before_id", "beta", "limit"}),
    "gemini": frozenset({"alt"}),
}
"""What of a query goes to the upstream. Gemini's has the client's key in it."""
_MOST_FIELDS: Final = 1_000
MOST_PARTS: Final = 100_000
"""Objects and lists that a body may have: messages, parts of their content, schemas."""
_JSON: Final = "application/json"
_FORM: Final = "multipart/form-data"
_SAID: Final = re.compile(r";\s*boundary", re.IGNORECASE)
_BOUNDARY: Final = re.compile(
    r";\s*boundary=(\"?)(?P<name>[\w'()+,./:=?-]{1,70})\1\s*(?=;|$)", re.ASCII | re.IGNORECASE
)

_COSTLY: Final = frozenset(
    {"input", "instructions", "max_completion_tokens", "max_output_tokens", "max_tokens", "messages", "model", "n"}
    | {"prompt", "reasoning", "service_tier", "stream", "system", "thinking", "tools"}
)
"""Fields that decide what a call costs, of the APIs that spell all of theirs in lower case."""


class Inbound:
    """One request of a client, read once."""

    __slots__ = ("asked", "body", "end_user", "files", "form", "headers", "model", "query", "raw", "stream")

    def __init__(self, asked: ModelOperation, scope: Mapping[str, Any], raw: bytes, forward: frozenset[bytes]) -> None:
        self.asked = asked
        self.raw = raw
        self.files: Sequence[Any] = ()
        self.form = False
        self.headers: list[tuple[str, str]] = []
        kind = _JSON
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = value.decode("latin-1")
            elif name == b"content-encoding":
                _require_plain(value)
            elif name in _HANDED_ON or name in forward:
                self.headers.append((name.decode("latin-1"), value.decode("latin-1")))
        self.query = _query_of(asked.api, scope.get("query_string", b""))
        self.body: Mapping[str, Any] = NOTHING
        if raw:
            kind = _read_as(kind, exactly=not asked.kind)
            self.headers.append(("content-type", kind))
            self.body = self._read(kind)
        self.model = self._model()
        self.stream = self.body.get("stream") is True or asked.endpoint.name.endswith("streamGenerateContent")
        self.end_user = self._end_user()

    def _read(self, kind: str) -> Mapping[str, Any]:
        if kind.startswith(_FORM):
            self.form = True
            body, self.files = form_of(kind, self.raw)
            return body
        try:
            body, twice = _decoded(self.raw)
        except (ValueError, RecursionError) as error:
            if self.asked.kind:
                return NOTHING
            raise Refused(400, f"the body is no JSON that can be read ({error})") from None
        if type(body) is not dict:
            raise Refused(400, "the body is no JSON object")
        if self.asked.api == "gemini":
            require_one_spelling(body)
        else:
            require_spelt(body)
        if twice:  # most servers take the last one, and some the first: it is sent as it was read here
            self.raw = _encode(body)
        return body

    def _model(self) -> str:
        named = self.asked.model if self.asked.model is not None else self.body.get("model")
        if named is None and self.asked.kind:
            return ""
        if not isinstance(named, str) or not named.strip():
            default = _DEFAULTS.get(self.asked.endpoint.name)
            if named is None and default is not None:
                return default
            raise Refused(400, "model: the name of a model is needed, as a text", param="model")
        return named

    def written(self, body: Mapping[str, Any]) -> Inbound:
        """The same request with another body."""
        made = copy(self)
        made.body, made.raw = body, _encode(body)
        return made

    def encoded(self, changes: Mapping[str, Any], model: str) -> bytes:
        """The body to send for a model of this name, with these changes; the client's own bytes if none is needed."""
        in_path = self.asked.api == "gemini"
        # What was priced is named, also where the client left it to the API; but for what costs nothing.
        left = self.model if self.asked.endpoint.free_at_home else None
        renamed = not in_path and not self.asked.kind and model != self.body.get("model", left)
        if not changes and not renamed:
            return self.raw
        if self.form:
            raise Refused(400, f"a form cannot be sent to another model: ask for {model!r} itself", param="model")
        return _encode({**self.body, **changes, **({"model": model} if renamed else {})})

    def _end_user(self) -> str | None:
        """The end user that the body names; never who pays. Raises `Refused` for one that is too long."""
        named = self.body.get("user") if self.asked.api == "openai" else None
        if named is None:
            metadata = self.body.get("metadata")
            named = metadata.get("user_id") if isinstance(metadata, Mapping) else None
        if named is None:
            named = self.body.get("safety_identifier")
        if not isinstance(named, str) or not named:
            return None
        if len(named) > _MOST_NAME:
            raise Refused(400, f"the end user's name is over {_MOST_NAME} letters: send a hash of it", param="user")
        return named


def _require_plain(encoding: bytes) -> None:
    """Raise `Refused` for a body that is compressed: small as it comes, it may be any size here."""
    if encoding.strip().lower() not in {b"", b"identity"}:
        told = f"send the body as it is, not compressed (content-encoding: {encoding.decode('latin-1')[:50]})"
        raise Refused(415, told, param="content-encoding")


_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class _TwiceError(Exception):
    """A name is there twice in one object, however it is spelt."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _TwiceError
    return made


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:40]} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _no_number(text)


_once = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_number).decode
_twice = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number).decode


def _decoded(raw: bytes) -> tuple[Any, bool]:
    """A body's JSON, and whether a name is there twice; raises `ValueError` for what is none, and `RecursionError`."""
    text = raw.decode()
    if raw.count(b"{") + raw.count(b"[") > MOST_PARTS:
        _require_few(_twice(text))
    try:
        body, twice = _once(text), False
    except _TwiceError:
        body, twice = _twice(text), True
    if _SURROGATE.search(text) is not None:
        _require_text(body)
    return body, twice


def _require_few(body: Any) -> None:
    """Raise `Refused` for more objects and lists than anybody writes: to read each would keep everybody waiting."""
    left, seen = MOST_PARTS, [body]
    while seen:
        part = seen.pop()
        inner = [each for each in (part.values() if type(part) is dict else part) if type(each) in {dict, list}]
        left -= len(inner)
        if left < 0:
            raise Refused(413, f"the body has more than {MOST_PARTS:,} objects and lists")
        seen += inner


def _require_text(body: Any) -> None:
    """Raise `ValueError` for half a surrogate pair, which parsers replace, each by another letter."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair is no text") from None


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return _encoded(body)
    except (OverflowError, TypeError):  # a number of many digits
        return json.dumps(body, separators=(",", ":")).encode()


def require_spelt(body: Mapping[str, Any]) -> None:
    """Raise `Refused` for "Model": a server written in Go takes it for "model", and we do not read it."""
    for name in body:
        if not (name.isascii() and name.islower()) and name.casefold() in _COSTLY:
            raise Refused(400, f"write {name.casefold()!r} in lower case", param=name[:100])


def require_one_spelling(body: Mapping[str, Any]) -> None:
    """Raise `Refused` for "maxOutputTokens" beside "max_output_tokens": who knows which one the server takes."""
    for part in (body, body.get(CONFIG), body.get(snake(CONFIG))):
        seen = set[str]()
        for name in part if isinstance(part, Mapping) else ():
            if snake(name) in seen:
                raise Refused(400, f"{name[:100]} is there twice, in two spellings", param=name[:100])
            seen.add(snake(name))


def _read_as(kind: str, *, exactly: bool) -> str:
    """
    The content type that a body is read by here, and so at the upstream: a charset, or a second boundary, would have it
    read another call there. What is only passed on keeps its own.
    """
    if kind[: len(_FORM)].lower() != _FORM:
        return _JSON if exactly else kind
    found = [*_BOUNDARY.finditer(kind)]
    if len(found) != 1 or len(_SAID.findall(kind)) != 1:
        raise Refused(400, "the form has no boundary that can be read: content-type: multipart/form-data; boundary=...")
    return f'{_FORM}; boundary="{found[0]["name"]}"'


_MOST_NAME: Final = 256
_DEFAULTS: Final[Mapping[str, str]] = {
    "images.generate": "dall-e-2",
    "images.edit": "dall-e-2",
    "images.create_variation": "dall-e-2",
    "moderations": "omni-moderation-latest",
}
"""The model that OpenAI's API takes where none is named."""


def form_of(kind: str, raw: bytes) -> tuple[Mapping[str, Any], Sequence[Any]]:
    """The fields and the files of a multipart form; raises `Refused`."""
    from python_multipart import parse_form
    from python_multipart.exceptions import FormParserError

    body: dict[str, Any] = {}
    files: list[Any] = []

    numbers = count(1)

    def one_more() -> None:
        if next(numbers) > _MOST_FIELDS:  # said while it is read, as that takes 30 us a part
            raise Refused(413, f"the form has more than {_MOST_FIELDS:,} parts")

    def field(found: Any) -> None:
        one_more()
        name, value = found.field_name.decode("utf-8", "replace"), (found.value or b"").decode("utf-8", "replace")
        if name in body and not name.endswith("[]"):  # servers differ in which one they take
            raise Refused(400, f"{name} is there twice", param=name)
        body[name] = value

    def file(found: Any) -> None:
        one_more()
        found.file_object.seek(0)
        name = (found.field_name or b"").decode("utf-8", "replace")
        files.append((name, ((found.file_name or b"").decode("utf-8", "replace"), BytesIO(found.file_object.read()))))
        found.close()

    try:
        parse_form(
            {"Content-Type": kind.encode("latin-1"), "Content-Length": str(len(raw)).encode()},
            BytesIO(raw),
            field,
            file,
        )
    except (FormParserError, ValueError) as error:
        raise Refused(400, f"the form cannot be read ({error})") from None
    return {name: _plain(value) for name, value in body.items()}, files


def _plain(value: str) -> Any:
    """A field of a form as JSON has it, where that is a number or a truth."""
    if value in {"true", "false"}:
        return value == "true"
    bare = value.strip()
    return int(bare) if bare.isascii() and bare.isdigit() and len(bare) < 10 else value


def _query_of(api: Api, query: bytes) -> str:
    if not query:
        return ""
    known = _QUERIES[api]
    try:
        pairs = [pair for pair in parse_qsl(query.decode("ascii"), keep_blank_values=True) if pair[0] in known]
    except ValueError:
        raise Refused(400, "the query string is not percent-encoded UTF-8") from None
    return f"?{urlencode(pairs)}" if pairs else ""
