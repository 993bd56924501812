"""
AWS's binary framing of the events of a stream ("vnd.amazon.eventstream"): a prelude, headers, a payload, and two CRCs.

    total length (4) | headers' length (4) | CRC of these (4) | headers | payload | CRC of all before (4)

A header is the length of its name (1), the name, the type 7 for a text, its length (2), and the text. All numbers are
big-endian (docs.aws.amazon.com, Transcribe, "Event stream encoding"; botocore/eventstream.py reads it).
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from typing import Final

from ..plan import Event, Framing, as_json

_TEXT = 7

FAILURE: Final = "error"
"""The name of an event that breaks a stream off: its data says by which exception (`__type`)."""


def frame(event: Event) -> bytes:
    """An event of a stream; "chunk" carries a model's own JSON."""
    if event.name == FAILURE:
        kind = str(event.data["__type"])
        headers = {":exception-type": kind[:1].lower() + kind[1:], ":message-type": "exception"}
        return _message(headers, as_json({"message": event.data["message"]}))
    headers = {":event-type": event.name or "chunk", ":message-type": "event"}
    said = {"bytes": b64encode(as_json(event.data)).decode()} if event.name == "chunk" else event.data
    return _message(headers, as_json(said))


def _message(headers: dict[str, str], payload: bytes) -> bytes:
    head = b"".join(_header(name, text) for name, text in {**headers, ":content-type": "application/json"}.items())
    prelude = struct.pack("!II", 12 + len(head) + len(payload) + 4, len(head))
    prelude += struct.pack("!I", zlib.crc32(prelude))
    message = prelude + head + payload
    return message + struct.pack("!I", zlib.crc32(message))


def _header(name: str, text: str) -> bytes:
    said = text.encode()
    return struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _TEXT, len(said)) + said


EVENT_STREAM: Final = Framing("application/vnd.amazon.eventstream", frame)
