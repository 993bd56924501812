"""How keys, teams, users and customers are said: rows with the fields of LiteLLM's tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....ledger import Millis, Store
from ....money import DOLLAR, Nano
from ...api.dollars.fields import iso
from ...keys import Key, Owner
from .limits import shown_limits
from .office import spent_by
from .said import told

TAGGED = "true"
"""The value of a tag that LiteLLM's word, without a colon, becomes."""


def key_rows(store: Store, keys: Iterable[Key]) -> list[dict[str, Any]]:
    """Keys as rows of LiteLLM's table of them."""
    known = list(keys)
    spends = spent_by(store, "key", [(key.prefix, key.grant.limits) for key in known])
    now_ms = store.now_ms()
    return [key_row(key, spends[key.prefix], now_ms) for key in known]


def key_row(key: Key, spend: Nano, now_ms: Millis) -> dict[str, Any]:
    """One key; its text is nowhere."""
    grant = key.grant
    extra = told(grant.extra)
    return {
        "key_name": "sk-...",
        "aliases": {},
        "config": {},
        "permissions": {},
        "metadata": {},
        "allowed_cache_controls": [],
        "allowed_routes": [],
        "soft_budget": None,
        "budget_id": None,
        **extra,
        "token": key.digest,
        "key_alias": grant.alias or None,
        "spend": spend / DOLLAR,
        **shown_limits(grant.limits, now_ms),
        "expires": None if grant.expires_ms is None else iso(grant.expires_ms),
        "models": list(grant.models),
        "user_id": grant.user,
        "team_id": grant.team,
        "tags": [tag_of(name, value) for name, value in grant.tags.items()],
        "model_spend": {},
        "blocked": key.blocked,
        "litellm_budget_table": None,
        "org_id": None,
        "created_at": key.created,
        "status": status_of(key, now_ms),
    }


def status_of(key: Key, now_ms: Millis) -> str:
    """As LiteLLM calls it."""
    if key.blocked:
        return "revoked"
    expired = key.grant.expires_ms is not None and key.grant.expires_ms <= now_ms
    return "expired" if expired else "active"


def team_rows(store: Store, teams: Iterable[Owner]) -> list[dict[str, Any]]:
    """Teams as rows of LiteLLM's table of them."""
    known = list(teams)
    spends, now_ms = spent_by(store, "team", [(each.name, each.limits) for each in known]), store.now_ms()
    return [_team_row(team, spends[team.name], now_ms) for team in known]


def _team_row(team: Owner, spend: Nano, now_ms: Millis) -> dict[str, Any]:
    extra = {"metadata": {}, "members_with_roles": [], **told(team.extra)}
    members = [each.get("user_id") for each in extra["members_with_roles"]]
    return {
        "organization_id": None,
        "admins": [],
        "members": members,
        **extra,
        "team_id": team.name,
        "team_alias": team.alias or None,
        **shown_limits(team.limits, now_ms),
        "spend": spend / DOLLAR,
        "models": list(team.models),
        "blocked": team.blocked,
        "model_id": None,
        "litellm_model_table": None,
    }


def customer_rows(store: Store, customers: Iterable[Owner]) -> list[dict[str, Any]]:
    """Customers as rows of LiteLLM's table of end users."""
    known = list(customers)
    spends, now_ms = spent_by(store, "end_user", [(each.name, each.limits) for each in known]), store.now_ms()
    return [_customer_row(customer, spends[customer.name], now_ms) for customer in known]


def _customer_row(customer: Owner, spend: Nano, now_ms: Millis) -> dict[str, Any]:
    extra = told(customer.extra)
    limits = shown_limits(customer.limits, now_ms)
    limited = any(each is not None and each != {} for each in limits.values())  # a limit of 0 is one
    return {
        "user_id": customer.name,
        "alias": customer.alias or None,
        "blocked": customer.blocked,
        "spend": spend / DOLLAR,
        "models": list(customer.models),
        "allowed_model_region": None,
        "default_model": extra.get("default_model"),
        "budget_id": extra.get("budget_id"),
        "litellm_budget_table": {"budget_id": extra.get("budget_id"), **limits} if limited else None,
    }


def models_of(names: Iterable[str] | None, *, team: bool = False) -> tuple[str, ...]:
    """
    Which models, as globs. LiteLLM has names for all of them, and for all of a key's team, whose own list holds anyway;
    its other special names are of no model, so they allow none.
    """
    globs = tuple(dict.fromkeys(names or ()))
    every = {"all-proxy-models", "all-team-models"} if team else {"all-proxy-models"}
    return () if every & set(globs) else globs


def tag_of(name: str, value: str) -> str:
    """A tag of ours as one of LiteLLM's, which are single words."""
    return name if value == TAGGED else f"{name}:{value}"


def tags_of(words: Iterable[str]) -> dict[str, str]:
    """LiteLLM's tags as ours: "env:prod" is `env` of `prod`, and any other word a tag that is there."""
    made = dict[str, str]()
    for word in words:
        name, colon, value = word.partition(":")
        made |= {name: value} if colon and name and value else {word: TAGGED}
    return made
