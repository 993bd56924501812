"""
How long a recording can sound, read from the first bytes of its file.

The size of a file says little of it: a minute of speech is 5 MB of WAV, 98 KB of a WAV with the codec of telephones,
and a kilobyte of FLAC where nobody speaks. So the header decides where it states a rate (WAV) or a length (FLAC), and
is believed. MP3, Ogg, WebM and MP4 are bounded by the least bitrate of speech: 6 kbit/s (the least of Opus, RFC 6716).
Anything else lasts as long as the longest file that the API takes: 25 MB at that bitrate.
"""

from __future__ import annotations

from typing import Any

HEAD_BYTES = 4_096
MOST_BYTES = 25 * 1024 * 1024
LEAST_BYTES_A_SECOND = 750
LONGEST_S = -(-MOST_BYTES // LEAST_BYTES_A_SECOND)

_COMPRESSED_NAMES = (".mp3", ".mpga", ".mpeg", ".m4a", ".mp4", ".ogg", ".oga", ".opus", ".webm")
"""A file of these names that begins with something else is heard as one, or not at all."""

_UNPACKED = frozenset({1, 3, 6, 7, 0xFFFE})
"""WAV's codecs with a fixed number of bits a sample: PCM, floating point, A-law, mu-law, and the extensible header."""

_ADPCM = frozenset({2, 0x11})
_GSM = 0x31
_GSM_BLOCK, _GSM_SAMPLES = 65, 320


def seconds(head: bytes, size: int, name: str | None = None) -> int:
    """The longest that a file of so many bytes can sound, rounded up; `head` is how it begins."""
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        found = _wav(head, size)
    elif head[:4] == b"fLaC":
        found = _flac(head)
    elif _is_compressed(head) or (name is not None and name.lower().endswith(_COMPRESSED_NAMES)):
        found = -(-size // LEAST_BYTES_A_SECOND)
    else:
        found = None
    return LONGEST_S if found is None else found


def measure(content: Any) -> tuple[bytes, int] | None:
    """The first bytes and the size of a file; of one that is open, from where it stands, and it is left there."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if isinstance(content, bytes | bytearray):
        return bytes(content[:HEAD_BYTES]), len(content)
    try:
        here = int(content.tell())
        end = int(content.seek(0, 2))
        content.seek(here)
        head = content.read(HEAD_BYTES)
        content.seek(here)
    except Exception:  # a stream that cannot be measured
        return None
    return (head if isinstance(head, bytes) else b""), max(end - here, 0)


def _wav(head: bytes, size: int) -> int | None:
    """All bytes behind the header, at the rate that its format says."""
    at, chunk = 12, b""
    while at + 8 <= len(head):
        kind, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if kind == b"fmt ":
            chunk = head[at + 8 : at + 8 + min(length, 64)]
        elif kind == b"data":
            at += 8
            break
        at += 8 + length + length % 2
    samples, block = _blocks(chunk)
    rate = int.from_bytes(chunk[4:8], "little")
    if not (samples and block and rate):
        return None
    return -(-max(size - min(at, len(head)), 0) * samples // (block * rate))


def _blocks(chunk: bytes) -> tuple[int, int]:
    """Samples, and the bytes that they take, of a WAV's format; zeros if its codec is not known."""
    if len(chunk) < 16:
        return 0, 0
    codec, channels, align, bits = (int.from_bytes(chunk[i : i + 2], "little") for i in (0, 2, 12, 14))
    if codec in _UNPACKED:
        return 8, channels * bits
    if codec in _ADPCM:  # four bits a sample, and a header for each block
        stated = int.from_bytes(chunk[18:20], "little")
        return (stated, align) if stated and align else (2, channels)
    return (_GSM_SAMPLES, _GSM_BLOCK) if codec == _GSM else (0, 0)


def _flac(head: bytes) -> int | None:
    """The number of samples in its first block, STREAMINFO; 0 there means that it is not known."""
    fields = int.from_bytes(head[18:26], "big")
    rate, samples = fields >> 44, fields & (2**36 - 1)
    return -(-samples // rate) if len(head) >= 26 and rate and samples else None


def _is_compressed(head: bytes) -> bool:
    """MP3 (with or without a tag), Ogg, WebM, MP4."""
    return (
        head.startswith((b"ID3", b"OggS", b"\x1a\x45\xdf\xa3"))
        or head[4:8] == b"ftyp"
        or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)
    )
