"""
Where a client of the SDK sends to: its host, and what of it decides which models answer there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import UnpricedModelError
from ..guards.charge import Charge
from ..money import Nano
from ..prices.hosts import Server

PLACE = "_budgetguard_place"
"""Where the place of a client is found in its `__dict__`."""

PROVIDER = "_budgetguard_provider"
"""Where a client says, in its `__dict__`, whose prices count at a host that nobody knows."""


class Place(NamedTuple):
    """Where a client sends to."""

    url: Any
    query: Mapping[str, Any]
    name: str
    """The host, without a port."""
    version: str | None
    """The API version: an Azure client names it, another one may have it in its query."""
    port: int | None
    azure: bool
    deployment: str
    """The one in the URL of an Azure client, which answers whatever model the body names; "" if none is."""
    path: str = ""
    """That of the request, where it says who answers: a router's, which has a provider in it."""
    provider: str | None = None
    """Whose prices count there, if the host does not say it; `None` where nobody said so."""

    def server(self, model: Any) -> Server:
        """Who answers when this model is asked for."""
        return Server(self.name, self.version, self.port, model if isinstance(model, str) else "", self.azure)


def place_of(client: Any) -> Place:
    """Where a client sends to. It is kept: its URL works out every part of it each time."""
    fields, url, query = client.__dict__, client.base_url, client._custom_query
    version, deployment = fields.get("_api_version"), ""
    azure = isinstance(version, str)
    if query and not azure and b"/deployments/" in url.raw_path:
        azure, version = True, query.get("api-version")
    if azure:
        deployment = url.raw_path.partition(b"/deployments/")[2].partition(b"/")[0].decode("ascii")
    named = fields.get(PROVIDER)
    place = fields[PLACE] = Place(url, dict(query), url.host, version, url.port, azure, deployment, provider=named)
    return place


def name_provider(client: Any, provider: str | None) -> None:
    """Have the prices of a provider count for a client, where the host is none that is known: a proxy."""
    client.__dict__[PROVIDER] = provider


def dearer(charge: Charge, other: str) -> str:
    """The dearer of the model that was asked for and another: a deployment's name need not say which model it has."""

    def most(model: str) -> Nano:
        try:
            quote = charge.parts.plans.prices.quote(charge.asked.provider, model, charge.call.tier)
        except UnpricedModelError:
            return -1
        return quote.cost({"input_tokens": 1_000, "output_tokens": 1_000})

    return max(charge.call.model, other, key=most)
