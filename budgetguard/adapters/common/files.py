"""
What a request sends along or only points at: which of it has a bound in its bytes.

A plain text has no more tokens than bytes, whatever its name. Of everything else the size says little: three
kilobytes of PDF may be sixty pages, each billed as a picture and as its text; an office document is a zip; a film or
a page behind a URL is not here at all. Its bound is then the model's context, and a picture for each page that can be
found: some models bill more for a picture than they read of it, and so more than their context.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from .pages import pages

_HEAD = 1_024
"""Readers of PDF look for its mark in so many bytes."""

_PDF = b"%PDF"
_PACKED_MARKS = (b"PK\x03\x04", b"{\\rtf")

_POINTING = frozenset(
    {"file_id", "video_id", "audio_id", "image_id", "document_id", "media_id", "asset_id", "file_ids"}
)
_CARRYING = frozenset({"data", "file_data", "b64_json", "base64", "bytes", "video", "audio", "document", "media"})
_LABELS = frozenset({"type", "id", "role", "status", "title", "name", "mime_type", "media_type", "format", "detail"})
_DEPTH = 8
_FROM_URL = bytes.maketrans(b"-_", b"+/")


class File(NamedTuple):
    """What is known of a file that a request carries."""

    text: str | None = None
    """All of it, if it is plain text."""
    pages: int = 0
    """Of a PDF, as far as they can be found."""


def file(data: str) -> File:
    """Read a file's data URL or base64."""
    if not data:
        return File()
    if data[:5].lower() == "data:":
        kind, comma, data = data.partition(",")
        if not comma:
            return File()
        if not kind.lower().endswith(";base64"):
            return _file(unquote_to_bytes(data.encode("utf-8", "surrogatepass")))
    start = _bytes(data[: _HEAD * 2])
    if start is not None and _is_packed(start) and _PDF not in start:
        return File()
    content = _bytes(data)
    if content is not None:
        return _file(content)
    return File(pages=_pages(_loosely(data)))


def points(value: Any, depth: int = 0) -> bool:
    """Whether a part of a kind that is not known holds a URL, the id of something stored, or packed bytes."""
    if isinstance(value, str):
        return "://" in value[:64] or value.startswith("data:")
    if depth > _DEPTH:
        return True
    if isinstance(value, Mapping):
        bare = "id" in value and _LABELS.issuperset(value)
        inline = value.get("type") == "text"
        return bare or any(_refers(name, inner, inline) or points(inner, depth + 1) for name, inner in value.items())
    return isinstance(value, list | tuple) and any(points(inner, depth + 1) for inner in value)


def _refers(name: Any, value: Any, inline: bool) -> bool:
    """Whether a field's name says that its text stands for more than itself."""
    if not (isinstance(name, str) and isinstance(value, str) and value):
        return False
    return name in _POINTING or name.endswith(("url", "uri", "Uri")) or (name in _CARRYING and not inline)


def _bytes(data: str) -> bytes | None:
    """What base64 stands for, with or without line breaks and its padding."""
    if not data.isascii():
        return None
    if "\n" in data:
        data = "".join(data.split())
    try:
        return binascii.a2b_base64(data + "=" * (-len(data) % 4), strict_mode=True)
    except ValueError:
        return None


def _loosely(data: str) -> bytes:
    """What a server that is less strict may read: base64 for URLs, with anything in between."""
    try:
        return binascii.a2b_base64(data.encode("ascii", "ignore").translate(_FROM_URL) + b"==")
    except ValueError:
        return b""


def _file(content: bytes) -> File:
    return File(_text(content), _pages(content))


def _pages(content: bytes) -> int:
    return pages(content) if _PDF in content[:_HEAD] else 0


def _is_packed(content: bytes) -> bool:
    head = content[:_HEAD]
    return _PDF in head or b"\0" in head or head.startswith(_PACKED_MARKS)


def _text(content: bytes) -> str | None:
    if _is_packed(content) or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
