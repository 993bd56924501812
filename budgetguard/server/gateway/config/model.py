"""What a configuration says, once it is read: no secret of it is shown by `repr`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from ....alerts.options import Alerts
from ....budgets.rules import Budget

Api: TypeAlias = Literal["openai", "anthropic", "gemini"]
"""The API that a request speaks, and its answer."""

Strategy: TypeAlias = Literal["order", "weighted", "least_busy", "fastest", "cheapest"]

Tell: TypeAlias = Literal["amounts", "name"]
"""What a refusal says of the budget: its name and amounts, or its name alone."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Who is asked: where, by which APIs, with whose key, at whose prices."""

    name: str
    provider: str = ""
    """The provider's name in `providers.toml`; "" for one that is none of these."""
    prices: str | None = None
    """Whose prices count: the seller that the file or its host says; `None`: a host that nobody knows."""
    bases: Mapping[Api, str] = field(default_factory=dict)
    """
    The base URL of each API that it speaks, its version in it, without a slash at its end: an endpoint's path is added,
    "/chat/completions", "/messages" or "/models/NAME:generateContent".
    """
    headers: Mapping[Api, tuple[tuple[str, str], ...]] = field(default_factory=dict, repr=False)
    """
    What is sent by each API beside the request's own headers: the key, and what the operator states; names in lower
    case. Of these, `anthropic-version` is what holds where the request has none.
    """
    beside: frozenset[str] | None = None
    """
    What of OpenAI's API it speaks beside chat, by the first segment of a path ("responses", "embeddings", "images",
    ...); `None`: whatever is asked.
    """
    prefix: str = ""
    """What stands before a model's name in a request to it."""
    free: bool = False
    """Whether its calls cost nothing, whatever the price list says: a machine of one's own."""
    connect_s: float = 10.0
    """How long a connection to it may take."""
    read_s: float = 600.0
    """How long it may be silent before it is taken for dead."""


class Target(NamedTuple):
    """An upstream as a model's candidate."""

    upstream: Upstream
    model: str | None = None
    """What the model is called there; `None`: as it was asked for."""
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model is asked for."""

    model: str
    """What programs ask for, without a pattern: the name that answers and budgets have."""
    targets: tuple[Target, ...]
    """The candidates, in the operator's order; none of an upstream that does not exist."""
    strategy: Strategy = "order"
    fallbacks: tuple[Route, ...] = ()
    """Other models that are asked when no candidate answers, in order; these have no fallbacks of their own."""
    over_budget: tuple[str, ...] = ()
    """Other models that are asked when a budget has no room for this one, and names none itself."""
    degrade_at: float | None = None
    """From which part of a budget in dollars on these are asked at once."""
    attempts: int = 3
    """How many requests are sent at most for one call, those to fallbacks among them."""
    deadline_s: float = 600.0
    """How long all of it may take until the first byte of the answer."""
    retry_unknown: bool = False
    """Whether a request that broke off, and may have been answered, is sent again: it is then paid twice at worst."""
    candidates: tuple[Target, ...] = field(init=False, repr=False, compare=False)
    """The targets of all of it, each once, with the model that is asked for there."""

    def __post_init__(self) -> None:
        """Have every target say its model."""
        object.__setattr__(self, "targets", tuple([_named(each, self.model) for each in self.targets]))
        among = [each for stage in (self, *self.fallbacks) for each in stage.targets]
        once = {(each.upstream.name, each.model): each for each in reversed(among)}
        object.__setattr__(self, "candidates", tuple(reversed(once.values())))

    def model_at(self, target: Target) -> str:
        """
        The model that a target is a candidate for, as budgets know it: not as it was asked for, as `openai/gpt-4o` is
        no other model than `gpt-4o` to whoever limits that.
        """
        return next((each.model for each in (self, *self.fallbacks) if target in each.targets), self.model)


def _named(target: Target, model: str) -> Target:
    return target if target.model is not None else target._replace(model=model)


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What holds for every call."""

    wait_s: float = 2.0
    """How long a call waits for room that is only held."""
    tell: Tell = "amounts"
    over_status: int = 402
    """The status of a refusal by a budget that is used up."""
    ping_s: float = 15.0
    """How long a stream is silent until the client is sent a comment; 0: never."""
    most_bytes: int = 32_000_000
    """How long a request's body may be."""
    forward: tuple[str, ...] = ()
    """Further headers of requests that are handed on."""
    litellm: str | None = None
    """The prefix of the endpoints that LiteLLM's scripts ask ("" is the root); `None`: there are none."""
    unlisted: bool = True
    """Whether models can be asked for that no [[model]] names, as "upstream/model" or by their names alone."""
    budgets: tuple[Budget, ...] = ()
    """The rules that hold beside what keys, users and teams have of their own."""
    alerts: Alerts = field(default_factory=Alerts)
    """Who is told of budgets, and of what."""
