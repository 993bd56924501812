"""What a request is refused with: a status and an error shaped as OpenAI's."""

from __future__ import annotations

from msgspec import Struct

INVALID = "invalid_request_error"
NOT_FOUND = "not_found"


def busy(told: str) -> Refused:
    """The answer to a request that came at a bad time, and changed nothing."""
    return Refused(503, f"{told}: try again", "store_error", code="busy")


class Refused(Exception):
    """An answer that is not a success. Its text is for the client: no secret, and no inner thing, is in it."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = INVALID,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers
        super().__init__(message)


class Problem(Struct, frozen=True):
    """What went wrong, shaped as OpenAI's errors."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorOut(Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: Problem
