"""
A batch file that is uploaded in parts, at any byte of it and in any order.

The whole lines of a part are read as it passes. What is left at its ends is kept until the parts are put together, in
this process only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, NamedTuple

from .batches import MOST_LINE, BatchFile, FileReader

_MOST_UPLOADS = 100


class Piece(NamedTuple):
    """What is known of one part: the end of a line that began before it, sums, the beginning of one that goes on."""

    head: bytes
    file: BatchFile | None = None
    """`None`: the part has no end of a line, and is all `head`."""
    tail: bytes = b""


def read_piece(reader: FileReader, source: IO[bytes]) -> Piece | None:
    """Read one part; `None` if it has requests that cannot be priced."""
    head = source.readline(MOST_LINE)
    if not head.endswith(b"\n"):
        return Piece(head) if len(head) < MOST_LINE else None
    while raw := source.readline(MOST_LINE):
        if not raw.endswith(b"\n"):
            return Piece(head, reader.file(), raw) if len(raw) < MOST_LINE else None
        if not reader.add(raw):
            return None
    return Piece(head, reader.file())


def put_together(reader: FileReader, pieces: Sequence[Piece]) -> BatchFile | None:
    """The sums of the file that these parts make, in this order; `None` if it has requests that cannot be priced."""
    rest = b""
    for piece in pieces:
        rest += piece.head
        if piece.file is not None:
            if not (reader.add(rest) and reader.take(piece.file)):
                return None
            rest = piece.tail
    return reader.file() if reader.add(rest) else None


class Uploads:
    """The uploads of batch files that have begun: of each its parts by their ids, `None` for one that was not read."""

    def __init__(self) -> None:
        self._begun: dict[str, dict[str, Piece | None]] = {}

    def begin(self, upload_id: str) -> None:
        """A batch file is going to be uploaded."""
        if len(self._begun) >= _MOST_UPLOADS:
            self._begun.pop(next(iter(self._begun)), None)
        self._begun[upload_id] = {}

    def begun(self, upload_id: str) -> bool:
        """Whether that is the upload of a batch file."""
        return upload_id in self._begun

    def note(self, upload_id: str, part_id: str, piece: Piece | None) -> None:
        """A part was taken."""
        parts = self._begun.get(upload_id)
        if parts is not None:
            parts[part_id] = piece

    def end(self, upload_id: str, part_ids: Sequence[str]) -> list[Piece] | None:
        """The parts of an upload that is complete; `None` if not all of them were read."""
        parts = self._begun.pop(upload_id, {})
        found = [parts.get(part_id) for part_id in part_ids]
        return None if not found or None in found else [piece for piece in found if piece is not None]
