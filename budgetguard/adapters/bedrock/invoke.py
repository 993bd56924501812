"""
InvokeModel: an envelope around the model's own JSON.

The JSON of Claude is Anthropic's, that of many others OpenAI's: their readers are handed in as `Guests`, so that one
API here need not know another. A reply and a stream are told apart by what they say, a request by that and its model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...calls import UNKNOWN_HOST, Answer, Call, Dialect, Endpoint, Host, Listener, read
from ..common import written
from ..common.bodies import fields, text
from . import families
from .converse import lower as lower_blocks
from .converse import read_blocks
from .families import BODY, NOVA, family_of
from .models import maker_of, name_of
from .replies import ConverseListener, converse
from .usage import TEXT_TOTALS, metrics_usage

_CONVERSES = ("messageStart", "contentBlockDelta", "error")
"""What a stream of Nova begins with, or one that failed."""


class Guest(NamedTuple):
    """Another API whose JSON goes in the envelope."""

    dialect: Dialect
    endpoint: Endpoint


class Guests(NamedTuple):
    """All of them."""

    claude: Guest
    """Anthropic's messages."""
    chat: Guest
    """OpenAI's chat completions."""

    def of(self, said: Mapping[str, Any], model: str) -> Guest | None:
        """Whose JSON a request is; `None` for a form that only Bedrock has."""
        if "anthropic_version" in said or (maker_of(model) == "anthropic" and "messages" in said):
            return self.claude
        return self.chat if "messages" in said and family_of(model, said) is not NOVA else None

    def request(self, body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
        """InvokeModel: the members of its request, of which `body` is the model's own JSON, parsed or not."""
        said, model = json_of(body.get(BODY)), name_of(text(body, "modelId") or "")
        guest = self.of(said, model)
        if guest is not None and guest.endpoint.request is not None:
            call = guest.endpoint.request({**said, "model": model}, (), host)
            if guest.dialect.headed is not None:
                call = guest.dialect.headed(call, {"anthropic-beta": said.get("anthropic_beta")})
            call = call._replace(stream=False, cap=None if call.cap is None else BODY)
        else:
            nova = family_of(model, said) is NOVA
            call = read_blocks(said, model)._replace(cap=BODY) if nova else families.request(said, model)
        tier = text(body, "serviceTier") or _latency(body)
        return call._replace(tier=tier) if tier is not None else call

    def stream(self, body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
        """The same, whose answer comes in pieces."""
        return self.request(body, files, host)._replace(stream=True)

    def capped(self, body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
        """A copy of the members with an output cap in the model's own JSON."""
        said, model = json_of(body.get(BODY)), name_of(text(body, "modelId") or "")
        guest = self.of(said, model)
        if cap is None:
            return dict(body)
        if guest is not None and guest.endpoint.amend is not None:
            return {**body, BODY: guest.endpoint.amend(said, cap, False, host)}
        return {**body, BODY: families.capped(said, model, cap)}

    def lower(self, body: Mapping[str, Any], cap: int) -> dict[str, Any]:
        """The members with every cap that the model's own JSON states at most this."""
        said, model = json_of(body.get(BODY)), name_of(text(body, "modelId") or "")
        guest = self.of(said, model)
        if guest is not None and guest.endpoint.lower is not None:
            return {BODY: {**said, **guest.endpoint.lower(said, cap)}}
        if family_of(model, said) is NOVA:
            return {BODY: {**said, **lower_blocks(said, cap)}}
        return {BODY: families.capped(said, model, cap)}

    def reply(self, said: Any) -> Answer:
        """A model's own reply. The model that was asked for has answered, whatever it calls itself."""
        if read(said, "choices") is not None:
            answer = _read(self.chat, said)
        elif read(said, "type") in ("message", "error"):
            answer = _read(self.claude, said)
        elif read(read(said, "output"), "message") is not None:
            answer = converse(said)
        else:
            answer = families.reply(said)
        return answer._replace(model=None)

    def listener(self) -> InvokeListener:
        """What listens to a stream."""
        return InvokeListener(self)


class InvokeListener:
    """A stream of a model's own JSON: the last piece has Bedrock's own count, whoever the model is."""

    __slots__ = ("_guest", "_guests", "_metrics", "_own", "done")

    def __init__(self, guests: Guests) -> None:
        self.done = False
        self._guests = guests
        self._guest: Listener | None = None
        self._own = written.Written()
        self._metrics: dict[str, int] | None = None

    def hear(self, item: Any) -> bool:
        """Take in a piece: an event with the model's JSON, or that JSON."""
        chunk = read(item, "chunk")
        said = item if chunk is None else json_of(read(chunk, "bytes"))
        counts = metrics_usage(said)
        if counts is not None:
            self._metrics = counts
            self.done = not unsaid_of(counts)
        guest = self._guest or self._choose(said)
        if guest is not None:
            guest.hear(said)
        for piece in families.texts(said) if guest is None else ():
            self._own.add(piece, 0)
        return False

    def end(self) -> Answer:
        """What the pieces said together; before Bedrock's count, what is to be counted."""
        counts, heard = self._metrics, self._own.heard()
        if self._guest is not None:
            answer = self._guest.end()._replace(model=None)
            if counts is None or (answer.usage is not None and not answer.lacks):
                return answer
            return answer._replace(usage=counts, lacks=unsaid_of(counts), cost=None)
        if counts is not None:
            return Answer(usage=counts, lacks=unsaid_of(counts), heard=heard)
        return Answer(usage={}, lacks=TEXT_TOTALS, heard=heard)

    def _choose(self, said: Any) -> Listener | None:
        """The guest whose stream it is, once a piece has told."""
        if read(said, "type") in ("message_start", "error"):
            make = self._guests.claude.endpoint.listener
        elif read(said, "choices") is not None:
            make = self._guests.chat.endpoint.listener
        elif any(read(said, name) is not None for name in _CONVERSES):
            make = ConverseListener
        else:
            return None
        self._guest = None if make is None else make()
        return self._guest


def json_of(body: Any) -> Mapping[str, Any]:
    """A model's own JSON, parsed or as it is sent; empty for what is none."""
    if isinstance(body, bytes | bytearray | str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return {}
    return fields(body)


def unsaid_of(counts: Mapping[str, int]) -> tuple[str, ...]:
    """What a count of Bedrock's lacks."""
    return tuple(kind for kind in TEXT_TOTALS if kind not in counts)


def _read(guest: Guest, said: Any) -> Answer:
    return Answer() if guest.endpoint.answer is None else guest.endpoint.answer(said)


def _latency(body: Mapping[str, Any]) -> str | None:
    asked = text(body, "performanceConfigLatency")
    return asked if asked != "standard" else None
