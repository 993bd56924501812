"""
HTTP requests of httpx and httpx2, as they are built: what is in one, and the same with another body.

Both packages have the same names; neither is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ...calls import NOTHING
from ..places import Place

_DROPPED = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say how long the old body was."""


class Content(NamedTuple):
    """What a request carries."""

    body: Mapping[str, Any] = NOTHING
    """Its JSON object, or the plain fields of its form."""
    form: Sequence[Any] | None = None
    """The files of a multipart form: (field, (name, file))."""
    unreadable: bool = False
    """Whether there is something that is neither, or is not read yet."""

    def has(self, names: Sequence[str]) -> bool:
        """Whether it has all of these fields."""
        files = {name for name, _file in self.form or ()}
        return all(self.body.get(name) is not None or name in files for name in names)


def content_of(request: Any) -> Content:
    """What a request carries; a body that is made while it is sent is left alone."""
    raw = request.__dict__.get("_content")
    if raw is None:
        raw = getattr(request.stream, "_stream", None)  # of one that is redirected, or passed on: its whole body
    if not isinstance(raw, bytes):
        fields = getattr(request.stream, "fields", None)  # of a multipart form
        return _form(fields) if isinstance(fields, list) else Content(unreadable=True)
    if not raw:
        return Content()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return Content(unreadable=True)
    return Content(body) if type(body) is dict else Content(unreadable=True)


def _form(fields: Sequence[Any]) -> Content:
    body, files = {}, []
    for field in fields:
        if hasattr(field, "file"):
            files.append((field.name, (field.filename, field.file)))
        else:
            value = field.value
            body[field.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return Content(body, files)


def with_body(request: Any, body: Mapping[str, Any], *, path: str | None = None) -> Any:
    """The same request with another JSON body, and path; the caller's own stays as it is."""
    url = request.url if path is None or path == request.url.path else request.url.copy_with(path=path)
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _DROPPED]
    content = json.dumps(body, separators=(",", ":")).encode()
    return type(request)(request.method, url, headers=headers, content=content, extensions=request.extensions)


def unread_again(response: Any) -> None:
    """Have a response that was read here be as if it was not, for its caller; one that is compressed cannot be."""
    if "content-encoding" not in response.headers:
        response.stream = type(response)(200, content=response.content).stream
        response.is_closed = response.is_stream_consumed = False


def is_signed(request: Any) -> bool:
    """Whether a signature that it carries would not be that of another body: AWS's, or one of HTTP's own."""
    headers = request.headers
    return "signature" in headers or headers.get("authorization", "").startswith("AWS4-")


def place_of(url: Any) -> Place:
    """Where a URL of httpx goes to."""
    version = url.params.get("api-version") if b"api-version" in url.query else None
    return _place(url.host, url.port, url.path, version)


@lru_cache(maxsize=1_024)
def _place(host: str, port: int | None, path: str, version: str | None) -> Place:
    deployment = path.partition("/deployments/")[2].partition("/")[0] if version is not None else ""
    return Place(None, NOTHING, host, version, port, bool(deployment), deployment, path)
