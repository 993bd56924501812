"""
The attempts of one call: the SDK tries again by itself, and what it gave up may have been billed.

Each request that goes out is seen, with its end: a connection that was never made
and an error status cost nothing; one that broke off, or that nobody waited for, may
have been answered, and counts as lost.
"""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar
from typing import Any

from ..adapters.openai.errors import never_sent


class Attempts:
    """What became of the requests that one call of a client sent."""

    __slots__ = ("billed", "client", "lost", "response")

    def __init__(self, client: Any, billed: Collection[int]) -> None:
        self.client = client
        self.billed = billed
        """The error statuses that the host bills."""
        self.lost: int | None = None
        """How many may have been billed without an answer; `None`: none was seen going out. Each is until it ended."""
        self.response: Any = None
        """The last response, if the last attempt had one."""

    def failed(self, error: BaseException) -> None:
        """It ended without a response."""
        if never_sent(error):
            assert self.lost is not None
            self.lost -= 1

    def answered(self, response: Any) -> None:
        """It was answered. What a filter refused is judged by what the error says; a time-out there is as one here."""
        self.response = response
        if response.status_code != 408 or 408 not in self.billed:
            assert self.lost is not None
            self.lost -= 1

    @property
    def succeeded(self) -> bool:
        """Whether the last attempt was answered with what was asked for."""
        return self.response is not None and 200 <= self.response.status_code < 300


current_attempts: ContextVar[Attempts | None] = ContextVar("budgetguard_attempts", default=None)
"""Those of the call that is on its way here."""
