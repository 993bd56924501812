"""
Requests that cost nothing themselves, and tell of what does: looks at work in the background, uploads of batch files.

They hold nothing and are never refused. What cannot be read is logged, or counts as not seen.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any, TypeAlias

from ..adapters.openai.batches import is_batch_file, part_ids
from ..calls import Answer, Endpoint
from ..concurrency.interrupts import raise_interruption
from ..concurrency.steps import Step, Steps
from ..errors import StoreError
from ..guards.background.background import Follow
from ..guards.background.batches import BatchFile, FileReader
from ..guards.background.pieces import Piece, put_together, read_piece
from .exchange import Exchange, files_of, http_response, read_body
from .streams import watch

log = logging.getLogger("budgetguard")

SeenAnswers: TypeAlias = BatchFile | Piece | None
"""What was read of a file on its way, if it is for a batch and could be."""


def is_aside(endpoint: Endpoint) -> bool:
    """Whether an operation that is free tells of one that is not."""
    return bool(endpoint.follows or endpoint.uploads)


def before(request: Exchange) -> Steps[SeenAnswers]:
    """Before it is sent: read the file that it uploads, or the part of one, if that is for a batch."""
    if not request.endpoint.uploads:
        return None
    try:
        read = _reading(request, request.endpoint.uploads)
        return (yield Step(read, blocking=True)) if read is not None else None
    except Exception as error:
        raise_interruption(error)
        log.exception("a file for a batch could not be read: the batch will not be counted")
        return None


def after(request: Exchange, response: Any, seen: SeenAnswers) -> Steps[None]:
    """After it was answered: settle what it shows, or remember the file under its id."""
    if getattr(response, "status_code", 200) >= 300:  # an error, as a response: it shows nothing
        return
    response = request.shown(response)
    if request.endpoint.follows:
        yield from _follow(request, response)
        return
    try:
        yield from _note(request, response, seen)
    except StoreError as error:
        raise_interruption(error)
        log.warning("a file for a batch is known in this process only: %s", error)
    except Exception as error:
        raise_interruption(error)
        log.exception("the id of an uploaded file could not be read: its batch will not be counted")


def _follow(request: Exchange, response: Any) -> Steps[None]:
    endpoint = request.endpoint
    look = Follow(request.guard.parts, request.guard.background, endpoint, _owner(request) if endpoint.lines else "")
    try:
        http = http_response(response)
        if request.unread and http is not None:
            watch(look, http, is_async=request.is_async)
            if not http.is_closed:
                return
        else:
            look.observe(*_answers(endpoint, response, http))
    except Exception as error:
        raise_interruption(error)
        log.exception("what %s showed could not be read", endpoint.name)
    yield from look.close()


def _answers(endpoint: Endpoint, response: Any, http: Any) -> Sequence[Answer]:
    answer = endpoint.answer
    assert answer is not None
    if endpoint.items is not None:
        return [answer(item) for item in endpoint.items(response if http is None else http.json())]
    return [answer(response) if http is None else read_body(answer, http)]


def _reading(request: Exchange, way: str) -> Callable[[], SeenAnswers] | None:
    """What reads the file or the part that a request uploads; `None` if that is not for a batch."""
    if way == "part":
        wanted, field = request.guard.background.uploads.begun(_owner(request)), "data"
    else:
        wanted, field = way == "file" and is_batch_file(request.body), "file"
    found = [file for name, file in files_of(request.form) if name == field] if wanted and request.form else ()
    return partial(_read, request, found[-1], read_piece if way == "part" else FileReader.read) if found else None


def _note(request: Exchange, response: Any, seen: SeenAnswers) -> Steps[None]:
    """Remember what was read under the id that it got."""
    guard, way = request.guard, request.endpoint.uploads
    uploads, http = guard.background.uploads, http_response(response)
    if request.unread and http is not None:
        return
    [answer] = _answers(request.endpoint, response, http)
    if answer.id is None:
        return
    if way == "begin" and is_batch_file(request.body):
        uploads.begin(answer.id)
    elif way == "part":
        uploads.note(_owner(request), answer.id, seen if isinstance(seen, Piece) else None)
    elif way == "complete":
        pieces = uploads.end(_owner(request), part_ids(request.body))
        seen = None if pieces is None else put_together(FileReader(guard.parts, *request.asked()), pieces)
    if isinstance(seen, BatchFile):
        yield from guard.background.note_file(answer.id, seen, guard.coverage.now_ms())


def _owner(request: Exchange) -> str:
    """The id before the last segment of its path: the upload of a part, the batch of results."""
    return request.path.partition("?")[0].rstrip("/").split("/")[-2]


def _read(request: Exchange, file: Any, read: Callable[[FileReader, IO[bytes]], SeenAnswers]) -> SeenAnswers:
    """What is in a file as the SDK takes it: bytes, a path, an open file, or one of these with a name."""
    content = file[1] if isinstance(file, tuple) else file
    reader = FileReader(request.guard.parts, *request.asked())
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes | bytearray):
        return read(reader, io.BytesIO(content))
    if isinstance(content, os.PathLike):
        with open(content, "rb") as opened:
            return read(reader, opened)
    return _read_open(content, partial(read, reader))


def _read_open(opened: Any, read: Callable[[IO[bytes]], SeenAnswers]) -> SeenAnswers:
    """The same for the caller's open file, from its start as the SDK sends it; it is left where it was."""
    if not opened.seekable() or isinstance(opened, io.TextIOBase):
        return None
    place = opened.tell()
    try:
        opened.seek(0)
        return read(opened)
    finally:
        opened.seek(place)
