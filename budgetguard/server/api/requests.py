"""What a request says, read with bounds: its body, its query string, the rest of its path, the project it names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from ...stores.http import rows
from ..problems import NOT_FOUND, Refused

BODY_S = 30.0
"""How long a body may take to arrive."""


async def read_body(scope: MutableMapping[str, Any], receive: Any, most: int) -> bytes:
    """The whole body; raises `Refused` for one that is too long (413), before it is all read, or too slow (408)."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > most):
            raise _too_long(most)
    if getattr(getattr(receive, "__self__", None), "more_body", True) is False:  # uvicorn has all of it
        return await _received(receive, most)
    try:
        async with asyncio.timeout(BODY_S):
            return await _received(receive, most)
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_S:g} s") from None


async def _received(receive: Any, most: int) -> bytes:
    pieces, size, more = list[bytes](), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request ended before its body did")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > most:
            raise _too_long(most)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def project_named(scope: Mapping[str, Any]) -> str | None:
    """The project that a request's header names; `None` without one."""
    name = rows.PROJECT_HEADER.encode()
    for key, value in scope["headers"]:
        if key == name:
            try:
                return rows.unescape_text(unquote(value.decode("ascii"), errors="strict"))
            except UnicodeDecodeError:
                raise Refused(400, f"{rows.PROJECT_HEADER}: percent-encode the project's name") from None
    return None


def read_query(scope: Mapping[str, Any], kind: Any) -> Any:
    """The query string as a struct; a name that is there several times becomes a list."""
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise Refused(400, "the query string is not percent-encoded UTF-8") from None
    lists = {each.name for each in msgspec.structs.fields(kind) if each.name in {"tag", "by"}}
    for name, value in pairs:
        if name in lists:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise Refused(422, f"{name} is there twice", param=name)
        else:
            found[name] = value
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(422, str(error), param=field_of(error)) from None


def name_in_path(scope: Mapping[str, Any], pattern: str) -> str:
    """What a path has from the first `{` to the last `}`, whatever its characters are, a slash or %2F among them."""
    before, after = pattern.partition("{")[0], pattern.rpartition("}")[2]
    raw = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    _, found, rest = raw.partition(before.encode())
    if not (found and rest.endswith(after.encode())):
        told = f"write {before} as it is, and percent-encode only what is behind it"
        raise Refused(404, told if not after else f"{told}, before {after}", code=NOT_FOUND)
    try:
        return rows.unescape_text(unquote(rest.decode("ascii").removesuffix(after), errors="strict"))
    except UnicodeDecodeError:
        raise Refused(400, "the path is not percent-encoded UTF-8") from None


def field_of(error: Exception) -> str | None:
    """The field that a validation error is about: msgspec ends its text in ` - at `$.path``."""
    _, found, place = str(error).rpartition(" - at `$")
    return place.strip("`.") or None if found else None


def _too_long(most: int) -> Refused:
    return Refused(413, f"the body is longer than {most:,} bytes")
