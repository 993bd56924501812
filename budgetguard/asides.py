"""
Requests that cost nothing themselves, and tell of what does: looks at work in the background, uploads of batch files.

They hold nothing and are never refused. What cannot be read is logged, or counts as not seen.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from .adapters.openai_batches import is_batch_file
from .batches import BatchFile, FileReader
from .calls import Answer, Endpoint
from .charge import Follow
from .errors import StoreError
from .interrupts import raise_interruption
from .request import Request, body_of, files_of, http_response, is_async, read_body
from .steps import Step, Steps
from .streams import watch

log = logging.getLogger("budgetguard")


def is_aside(endpoint: Endpoint) -> bool:
    """Whether an operation that is free tells of one that is not."""
    return bool(endpoint.follows) or endpoint.uploads


def before(request: Request) -> Steps[BatchFile | None]:
    """Before it is sent: read the file that it uploads, if that is for a batch."""
    options = request.options
    if not request.endpoint.uploads or not options.files or not is_batch_file(body_of(options)):
        return None
    found = [file for name, file in files_of(options.files) if name == "file"]
    try:
        return (yield Step(partial(_read, request, found[-1]), blocking=True)) if found else None
    except Exception as error:
        raise_interruption(error)
        log.exception("a file for a batch could not be read: the batch will not be counted")
        return None


def after(request: Request, response: Any, seen: BatchFile | None) -> Steps[None]:
    """After it was answered: settle what it shows, or remember the file under its id."""
    if request.endpoint.follows:
        yield from _follow(request, response)
    elif seen is not None:
        yield from _note(request, response, seen)


def _follow(request: Request, response: Any) -> Steps[None]:
    look = Follow(request.guard, request.endpoint)
    try:
        http = http_response(response)
        if request.unread and http is not None:
            watch(look, http, is_async=is_async(request.client))
            return
        look.observe(*_answers(request.endpoint, response, http))
    except Exception as error:
        raise_interruption(error)
        log.exception("what %s showed could not be read", request.endpoint.name)
    yield from look.close()


def _answers(endpoint: Endpoint, response: Any, http: Any) -> Sequence[Answer]:
    answer = endpoint.answer
    assert answer is not None
    if endpoint.items is not None:
        return [answer(item) for item in endpoint.items(response if http is None else http.json())]
    return [answer(response) if http is None else read_body(answer, http)]


def _note(request: Request, response: Any, seen: BatchFile) -> Steps[None]:
    try:
        http = http_response(response)
        [answer] = () if request.unread and http is not None else _answers(request.endpoint, response, http)
        if answer.id is not None:
            yield from request.guard.background.note_file(answer.id, seen)
    except StoreError as error:
        raise_interruption(error)
        log.warning("the file of a batch is known in this process only: %s", error)
    except Exception as error:
        raise_interruption(error)
        log.exception("the id of an uploaded file could not be read: its batch will not be counted")


def _read(request: Request, file: Any) -> BatchFile | None:
    """The sums of a file as the SDK takes it: bytes, a path, an open file, or one of these with a name."""
    content = file[1] if isinstance(file, tuple) else file
    reader = FileReader(request.guard, *request.place())
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes | bytearray):
        return reader.read(io.BytesIO(content))
    if isinstance(content, os.PathLike):
        with open(content, "rb") as opened:
            return reader.read(opened)
    return _read_open(reader, content)


def _read_open(reader: FileReader, opened: Any) -> BatchFile | None:
    """The same for the caller's open file, from its start as the SDK sends it; it is left where it was."""
    if not opened.seekable() or isinstance(opened, io.TextIOBase):
        return None
    place = opened.tell()
    try:
        opened.seek(0)
        return reader.read(opened)
    finally:
        opened.seek(place)
