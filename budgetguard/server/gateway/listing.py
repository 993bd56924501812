"""The models that a key may ask for, as each API lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from ..keys import Caller
from ..problems import NOT_FOUND, Refused
from .config.model import Api
from .config.resolve import Configuration, ModelCard

_PATHS: Final = re.compile(
    r"(?P<prefix>/openai|/anthropic|/gemini|/google)?(?:/(?P<version>v1|v1beta|v1alpha|v1beta1))?/models(?:/(?P<model>.+))?"
)
_PREFIXES: Final[Mapping[str, Api]] = {
    "/openai": "openai",
    "/anthropic": "anthropic",
    "/gemini": "gemini",
    "/google": "gemini",
}
MOST_LISTED: Final = 10_000


class Listing(NamedTuple):
    """A request for the models, or for one."""

    api: Api
    model: str | None

    def answer(self, configuration: Configuration, caller: Caller) -> bytes:
        """The body of the answer; raises `Refused` for a model that is not there for this key."""
        cards = (card for card in configuration.models() if self.api in card.apis and caller.allows(card.id))
        if self.model is not None:
            named = self.model.removeprefix("models/")
            one = next((card for card in cards if card.id == named), None)
            if one is None:
                told = f"there is no model {named[:100]!r} for this key"
                raise Refused(404, told, code=NOT_FOUND, param="model")
            return msgspec.json.encode(_shown(self.api, one, configuration.since_s))
        shown = [_shown(self.api, card, configuration.since_s) for card in islice(cards, MOST_LISTED)]
        if self.api == "gemini":
            return msgspec.json.encode({"models": shown})
        if self.api == "anthropic":
            ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {}
            return msgspec.json.encode({"data": shown, "has_more": False, "first_id": None, "last_id": None, **ends})
        return msgspec.json.encode({"object": "list", "data": shown})


def listing_of(method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Listing | None:
    """What a request for models asks for; `None` if it is none. Which API lists them is known by path or headers."""
    if method != "GET" or "/models" not in path:
        return None
    match = _PATHS.fullmatch(path)
    if match is None:
        return None
    api: Api = "openai"
    if match["prefix"] is not None:
        api = _PREFIXES[match["prefix"]]
    elif match["version"] not in {None, "v1"}:
        api = "gemini"
    else:
        names = {name for name, _value in headers}
        api = "anthropic" if b"anthropic-version" in names else "gemini" if b"x-goog-api-key" in names else "openai"
    return Listing(api, None if match["model"] is None else unquote(match["model"]))


def _shown(api: Api, card: ModelCard, since_s: int) -> dict[str, Any]:
    if api == "gemini":
        methods = ["generateContent", "streamGenerateContent", "countTokens", "embedContent"]
        return {"name": f"models/{card.id}", "displayName": card.id, "supportedGenerationMethods": methods}
    if api == "anthropic":
        created = datetime.fromtimestamp(since_s, UTC).isoformat().replace("+00:00", "Z")
        return {"type": "model", "id": card.id, "display_name": card.id, "created_at": created}
    return {"id": card.id, "object": "model", "created": since_s, "owned_by": card.owner or "budgetguard"}
