"""
What a body says: the fields that are done, those that mean nothing here, and those that are refused.

A field that nobody here does could be a limit, so it is refused with its name, unless it is empty or known to loosen
nothing. What means nothing here is kept, and said back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ...api.requests import field_of
from ...problems import Refused

S = TypeVar("S", bound=Struct)

Short: Any = Annotated[str, Meta(max_length=500)]
Names: Any = Annotated[list[Short], Meta(max_length=500)]
Text: Any = Short | UnsetType | None
Dollars: Any = float | Short | UnsetType | None
Count: Any = Annotated[int, Meta(ge=0, le=2**53)] | UnsetType | None

KEPT = "litellm"
"""The place in a record's `extra` where what was said for LiteLLM is kept."""

_WHY = {
    "aliases": "models are renamed in the gateway's configuration ([[model]])",
    "allowed_model_region": "nothing is known of the regions of upstreams: name the models that may be called",
    "allowed_routes": "a key may ask for every operation of models: none can be taken away from it",
    "auto_rotate": "keys are rotated with /key/regenerate",
    "config": "the gateway's configuration is one for all keys",
    "guardrails": "there are no guardrails here",
    "max_budget_in_team": "give the member a key of the team with a max_budget of its own",
    "model_max_budget": "customers have one budget for all models; keys, teams and users may have one for each",
    "models": "a customer may call whatever the key may: limit the models of the key",
    "new_key": "a key that is regenerated is made here",
    "new_master_key": "rotate an admin key with `budgetguard keys rotate`",
    "object_permission": "there are no MCP servers, vector stores or agents here",
    "organization_id": "there are no organizations here: use teams",
    "password": "nobody logs in here",
    "project_id": "there are no projects below the key's own: use teams",
    "temp_budget_increase": "raise max_budget, and lower it again",
    "spend": "what was spent elsewhere is booked when a key or a customer is made",
    "tpd_limit": "give model_max_budget or tpm_limit",
}


class Limiting(Struct, kw_only=True, frozen=True):
    """The limits that keys, users, teams, customers and budgets have in common."""

    max_budget: Dollars = UNSET
    budget_duration: Text = UNSET
    budget_limits: list[Any] | UnsetType | None = UNSET
    model_max_budget: dict[str, Any] | UnsetType | None = UNSET
    tpm_limit: Count = UNSET
    rpm_limit: Count = UNSET
    max_parallel_requests: Count = UNSET


_NAMES = frozenset({"user_id", "team_id", "budget_id"})

IDLE = frozenset({"soft_budget", "metadata", "budget_reset_at"})
"""What is said back, and does nothing: alerts, notes, a time that follows from the period."""


def take(kind: type[S], raw: Mapping[str, Any], idle: frozenset[str] = frozenset()) -> S:
    """
    A body as a struct; raises `Refused` (422) for a field of the wrong type, and for one that nobody here does.

    Numbers may be texts, and an empty text is nothing, as LiteLLM has them.
    """
    known = {each.name for each in msgspec.structs.fields(kind)}
    for name, value in raw.items():
        if name not in known and name not in idle and value not in (None, "", [], {}, False):
            raise unable(name)
    said = {name: None if value == "" else value for name, value in raw.items() if name in known}
    for name in _NAMES & said.keys():  # an empty one takes nobody out of a team
        if raw[name] == "":
            del said[name]
    try:
        return msgspec.convert(said, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(422, str(error), param=field_of(error)) from None


def unable(name: str) -> Refused:
    """The answer to a field that nobody here does."""
    why = _WHY.get(name, "this gateway has no such field, and passing over it could leave a limit out")
    return Refused(422, f"{name[:100]}: {why}. Leave it out.", param=name[:100])


def keep(before: Mapping[str, str], raw: Mapping[str, Any], only: frozenset[str] | None = None) -> dict[str, str]:
    """A record's `extra` with what is only said back, of those fields or of all; `null` is forgotten."""
    said = {**told(before), **{name: value for name, value in raw.items() if only is None or name in only}}
    return {**before, KEPT: json.dumps({name: value for name, value in said.items() if value is not None})}


def told(extra: Mapping[str, str]) -> dict[str, Any]:
    """What a record's `extra` has kept."""
    found: dict[str, Any] = json.loads(extra.get(KEPT, "{}"))
    return found


def require(value: Any, name: str) -> Any:
    """A field that has to be there; raises `Refused` (422)."""
    if value is None or value is UNSET:
        raise Refused(422, f"{name}: it is needed", param=name)
    return value


def given(value: Any) -> Any:
    """A field's value, `None` where it was not said."""
    return None if value is UNSET else value
