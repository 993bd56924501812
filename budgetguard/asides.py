"""
Requests that cost nothing themselves, and tell of what does: looks at work in the background, uploads of batch files.

They hold nothing and are never refused. What cannot be read is logged, or counts as not seen.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import IO, Any, TypeAlias

from .adapters.openai_batches import is_batch_file, part_ids
from .batches import BatchFile, FileReader
from .calls import Endpoint
from .errors import StoreError
from .pieces import Piece, put_together, read_piece
from .request import Request, follow
from .steps import Step, Steps

log = logging.getLogger("budgetguard")

Seen: TypeAlias = BatchFile | Piece | None
"""What was read of a file on its way, if it is for a batch and could be."""


def is_aside(endpoint: Endpoint) -> bool:
    """Whether an operation that is free tells of one that is not."""
    return bool(endpoint.follows or endpoint.uploads)


def before(request: Request) -> Steps[Seen]:
    """Before it is sent: read the file that it uploads, or the part of one, if that is for a batch."""
    if not request.endpoint.uploads:
        return None
    try:
        read = _reading(request, request.endpoint.uploads)
        return (yield Step(read, blocking=True)) if read is not None else None
    except Exception:
        log.exception("a file for a batch could not be read: the batch will not be counted")
        return None


def after(request: Request, response: Any, seen: Seen) -> Steps[None]:
    """After it was answered: settle what it shows, or remember the file under its id."""
    if request.endpoint.follows:
        yield from follow(request, response)
        return
    try:
        yield from _note(request, response, seen)
    except StoreError as error:
        log.warning("a file for a batch is known in this process only: %s", error)
    except Exception:
        log.exception("the id of an uploaded file could not be read: its batch will not be counted")


def _reading(request: Request, way: str) -> Callable[[], Seen] | None:
    """What reads the file or the part that a request uploads; `None` if that is not for a batch."""
    files = request.read()
    if way == "part":
        wanted, field = request.guard.background.uploads.begun(_upload_id(request)), "data"
    else:
        wanted, field = way == "file" and is_batch_file(request.body), "file"
    found = [file for name, file in files if name == field] if wanted else ()
    return partial(_read, request, found[-1], read_piece if way == "part" else FileReader.read) if found else None


def _note(request: Request, response: Any, seen: Seen) -> Steps[None]:
    """Remember what was read under the id that it got."""
    guard, way, uploads = request.guard, request.endpoint.uploads, request.guard.background.uploads
    for answer in request.answers(response):
        if answer.id is None:
            continue
        if way == "begin" and is_batch_file(request.body):
            uploads.begin(answer.id)
        elif way == "part":
            uploads.note(_upload_id(request), answer.id, seen if isinstance(seen, Piece) else None)
        elif way == "complete":
            pieces = uploads.end(_upload_id(request), part_ids(request.body))
            seen = None if pieces is None else put_together(FileReader(guard, *request.place()), pieces)
        if isinstance(seen, BatchFile):
            yield from guard.background.note_file(answer.id, seen, guard.coverage.now_ms())


def _upload_id(request: Request) -> str:
    return str(request.options.url).partition("?")[0].rstrip("/").split("/")[-2]


def _read(request: Request, file: Any, read: Callable[[FileReader, IO[bytes]], Seen]) -> Seen:
    """What is in a file as the SDK takes it: bytes, a path, an open file, or one of these with a name."""
    content = file[1] if isinstance(file, tuple) else file
    reader = FileReader(request.guard, *request.place())
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes | bytearray):
        return read(reader, io.BytesIO(content))
    if isinstance(content, os.PathLike):
        with open(content, "rb") as opened:
            return read(reader, opened)
    return _read_open(content, partial(read, reader))


def _read_open(opened: Any, read: Callable[[IO[bytes]], Seen]) -> Seen:
    """The same for the caller's open file, from its start as the SDK sends it; it is left where it was."""
    if not opened.seekable() or isinstance(opened, io.TextIOBase):
        return None
    place = opened.tell()
    try:
        opened.seek(0)
        return read(opened)
    finally:
        opened.seek(place)
