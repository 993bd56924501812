"""
How many pages a PDF has: rather too many than too few, and without a library.

Page objects stand in the file as they are, or packed in its object streams. Counted are those, and the number that
the page tree states, whichever is more: outlines state theirs alike, and an earlier version of a page is still there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import cache

MOST_PAGES = 100_000
"""No API takes as many: what states more is no page tree."""

MOST_STREAMS = 10_000
MOST_UNPACKED = 16 * 1024 * 1024
"""Bytes that object streams may unpack to, all together; what is behind that is not looked at."""

_MARK = b"ObjStm"
_LONGEST_HEAD = 4_096
"""Bytes between an object stream's mark and its data."""
_BLOCK = 16_384


def pages(content: bytes) -> int:
    """The pages of a PDF; 0 if none can be found: it is encrypted, or no PDF."""
    found, stated = 0, 0
    for part in (content, *_unpacked(content)):
        for match in _marks().finditer(part):
            if match[1] is None:
                found += 1
            else:
                stated = max(stated, int(match[1]))
    return min(max(found, stated), MOST_PAGES)


@cache
def _marks() -> re.Pattern[bytes]:
    """A page object, or how many pages are below a node. White space in a PDF may be a zero byte."""
    return re.compile(rb"/(?:Type[\s\0]*/Page(?![^\s\0()<>\[\]{}/%])|Count[\s\0]+\+?(\d{1,9})(?!\d))")


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What the object streams hold, within bounds."""
    room, at = MOST_UNPACKED, 0
    for _ in range(MOST_STREAMS):
        at = content.find(_MARK, at)
        if at < 0 or room <= 0:
            return
        at += len(_MARK)
        start = content.find(b"stream", at, at + _LONGEST_HEAD)
        if start < 0:
            continue
        start += len(b"stream")
        while content[start : start + 1] in (b"\r", b"\n", b" "):
            start += 1
        part = _inflated(content, start, room)
        room -= len(part)
        yield part


def _inflated(content: bytes, start: int, most: int) -> bytes:
    """What is packed from there on, as far as it can be read: it may be cut off, encrypted or packed otherwise."""
    inflate, part = zlib.decompressobj(), bytearray()
    try:
        while not inflate.eof and start < len(content) and len(part) < most:
            part += inflate.decompress(content[start : start + _BLOCK], most - len(part))
            start += _BLOCK
    except zlib.error:
        return bytes(part)
    return bytes(part)
