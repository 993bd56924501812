"""
Responses over a WebSocket: each `response.create` is a whole body of that operation, its events are those of a stream.

The socket works on one after the other. An answer that was asked for in the background is settled by its last event,
as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....calls import Answer, News, Opening
from ...common.bodies import fields, text
from ...common.sockets.messages import Marks, parsed
from ..replies import responses
from ..streams import LAST_EVENTS

_ASKS = Marks("response.create")
_HEARD = Marks("usage", "response.created", "response.failed", "error")


def ended(event: Mapping[str, Any]) -> Answer | None:
    """The answer in the last event of a response; `None` for any other event."""
    response = event.get("response")
    if event.get("type") not in LAST_EVENTS or response is None:
        return None
    return responses(response)._replace(final=True)


class ResponsesTalk:
    """One socket."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._model = ""

    def asked(self) -> Mapping[str, Any]:
        """The model that was asked last."""
        return {"model": self._model} if self._model else {}

    def last(self) -> Answer | None:
        """Nobody knows how far an answer came."""
        return None

    def sent(self, message: str | bytes, idle: bool) -> Opening | None:
        """Take in a message: `response.create` is a body."""
        if not _ASKS.are_in(message):
            return None
        event = parsed(message)
        if event.get("type") != "response.create":
            return None
        body = {name: value for name, value in event.items() if name not in {"type", "background"}}
        self._model = text(body, "model") or self._model
        return Opening(body, event)

    def amended(self, opening: Opening, fields_: Mapping[str, Any]) -> Mapping[str, Any]:
        """The message with fields of the body."""
        return {**opening.event, **fields_} if fields_ else opening.event

    def heard(self, message: str | bytes) -> Sequence[News]:
        """Take in an event."""
        if not _HEARD.are_in(message):
            return ()
        event = parsed(message)
        kind = event.get("type")
        if kind == "response.created":
            return (News("begun", text(fields(event.get("response")), "id")),)
        if kind == "error":
            return (News("refused"),)
        answer = ended(event)
        return () if answer is None else (News("ended", answer.id, answer, self.asked()),)
