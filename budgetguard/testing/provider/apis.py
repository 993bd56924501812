"""
The APIs that the fake provider speaks beside OpenAI's: a row each, found by the path of a request.

A new one is a folder with a pure function from a request and a plan to a reply. How its streams are framed and what its
usage counts by which name is said in the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from . import anthropic, bedrock, cohere, gemini, mistral, ollama
from .plan import FakeReply, Plan, Request


class FakeApi(NamedTuple):
    """One API."""

    owns: Callable[[str], bool]
    """Whether a path below the root is one of its own: "/messages"."""
    reply: Callable[[Request, Plan, str], FakeReply | None]
    """
    (request, plan, id of the request) -> reply; `None` for what is found elsewhere, or nowhere; raises
    `BadRequestError` for what the real API would not take.
    """
    error: Callable[[int, str], Any]
    """What it says with an error status: (status, text) -> JSON."""
    error_event: str | None = "error"
    """The `event:` line of an error in a stream, where it has one."""


APIS: Final[Sequence[FakeApi]] = (
    FakeApi(anthropic.owns, anthropic.reply, anthropic.error),
    FakeApi(gemini.owns, gemini.reply, gemini.error, error_event=None),
    FakeApi(mistral.owns, mistral.reply, mistral.error),
    FakeApi(bedrock.owns, bedrock.reply, bedrock.error),
    FakeApi(cohere.owns, cohere.reply, cohere.error),
    FakeApi(ollama.owns, ollama.reply, ollama.error),
)


def api_of(endpoint: str) -> FakeApi | None:
    """The API of a path below the root; `None` for OpenAI's."""
    return next((api for api in APIS if api.owns(endpoint)), None)
