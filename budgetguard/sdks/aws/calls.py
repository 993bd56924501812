"""One call of a client of botocore, or aiobotocore: the members of its operation, as `_make_api_call` is given them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from ...adapters.bedrock.families import BODY
from ...adapters.bedrock.models import name_of
from ...adapters.bedrock.usage import header_usage
from ...calls import NOTHING, Answer, Endpoint
from ...guards.admission import NO_BOUNDS
from ...guards.charge import Charge
from ...guards.guard import Guard
from ..exchange import Exchange
from ..places import PLACE, Place
from .api import BEDROCK
from .bodies import watch_body, watch_events


class OperationCall(Exchange):
    """One call of an operation: its members, read once. The caller's own objects stay as they are."""

    dialect = BEDROCK.dialect
    form = None
    decoded = True
    headers = NOTHING

    def __init__(
        self,
        wrapped: Callable[..., Any],
        client: Any,
        operation: str,
        given: Mapping[str, Any],
        *,
        guard: Guard,
        endpoint: Endpoint,
        is_async: bool,
    ) -> None:
        self.wrapped = wrapped
        """The SDK's own function."""
        self.client = client
        self.operation = operation
        self.given = given
        self.guard = guard
        self.endpoint = endpoint
        self.is_async = is_async
        self.place = client.__dict__.get(PLACE) or _place_of(client)
        self.body, self.unreadable = _read(given)

    @property
    def at_home(self) -> bool:
        """Whether it was answered without any request if none was seen: by a handler of its events, as a stub does."""
        return hasattr(type(self.client._endpoint)._send, "__wrapped__")  # else a class of somebody's own sends unseen

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread."""
        return self.endpoint.listener is not None

    @property
    def path(self) -> str:
        """What it asks for."""
        return self.endpoint.path

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """Take other members for the caller's."""
        self.given = {name: value for name, value in body.items() if name != "model"}
        self.body, _ = _read(self.given)
        return True

    def proceed(self) -> Any:
        """Send it, with `changes`."""
        charge = self.charge
        assert charge is not None
        changed = self.changes() if charge.bounds is not NO_BOUNDS else NOTHING
        self.carried = self.given
        if changed:
            self.carried = {**self.given, **changed}
            if BODY in changed:
                self.carried[BODY] = json.dumps(changed[BODY]).encode()
        return self.wrapped(self.operation, self.carried)

    def failed(self, error: BaseException) -> None:
        """Take in that the call raised. Where no request was seen going out, nothing can have been billed."""
        charge = self.charge
        if (
            charge is not None
            and charge.state == "sent"
            and charge.answer is None
            and self.lost is None
            and self.at_home
        ):
            charge.failed(free=True)
        else:
            super().failed(error)

    def _observe(self, charge: Charge, response: Any) -> None:
        body = response.get("stream", response.get(BODY)) if isinstance(response, Mapping) else None
        if self.endpoint.answer is None:
            charge.observe(Answer())
        elif body is None:
            charge.observe(self.endpoint.answer(response))
        elif self.endpoint.listener is not None:
            watch_events(charge, body, is_async=self.is_async)
        elif (answer := self._headed(charge, response)) is not None:
            charge.observe(answer)
        else:
            watch_body(charge, body, response.get("contentType"), is_async=self.is_async)

    def _headed(self, charge: Charge, response: Mapping[str, Any]) -> Answer | None:
        """What the headers say, if that is all: for how long a cache keeps what was written is in the body only."""
        call = charge.call
        counts = header_usage(response.get("ResponseMetadata", NOTHING).get("HTTPHeaders", NOTHING))
        if not call.output and call.fixed:  # as many as were asked for: no reply says how many that is
            return Answer(usage=call.fixed)
        if counts is None or not counts.get("input_tokens") or (call.output and not counts.get("output_tokens")):
            return None  # 0 is no count of what was read or written: the body tells
        if call.kept and counts.get("cache_write_tokens"):
            return None
        return Answer(usage={"output_tokens": 0, **counts}, tier=response.get("serviceTier"))

    def _asks_usage(self) -> bool:
        """It comes unasked."""
        return False


def _read(given: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The members with the model's own JSON parsed, and the name that has a price; whether that JSON is none."""
    model_id, raw = given.get("modelId"), given.get(BODY)
    body = {**given, "model": name_of(model_id)} if isinstance(model_id, str) else given
    if raw is None:
        return body, False
    try:
        if isinstance(raw, io.IOBase):
            at = raw.tell()
            raw, _ = raw.read(), raw.seek(at)
        said = json.loads(raw)
    except Exception:  # no JSON, or a file that is read once
        return body, True
    return ({**body, BODY: said}, False) if isinstance(said, dict) else (body, True)


def _place_of(client: Any) -> Place:
    """
    Where a client sends to. It is kept.

    The host is the region's own, whatever URL the client was given: behind a gateway, or an endpoint in a network of
    one's own, it is Bedrock's models that answer, at its prices.
    """
    name = f"bedrock-runtime.{client.meta.region_name or 'us-east-1'}.amazonaws.com"
    place = client.__dict__[PLACE] = Place(client.meta.endpoint_url, NOTHING, name, None, None, False, "")
    return place
