"""Keys, their owners and what is left of their limits, as plain values: amounts in dollars, times in ISO 8601."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...ledger import Millis, Unit
from ...money import DOLLAR
from .limits import OwnerLimits
from .records import Key, Owner
from .standings import LimitStanding
from .times import iso_of


def shown_key(key: Key, used_ms: Millis | None = None) -> dict[str, Any]:
    """A key, used last at that time; its text is nowhere, and its digest is nobody's business."""
    grant = key.grant
    return {
        "prefix": key.prefix,
        "project": key.project,
        "scope": key.scope,
        "created": key.created,
        "last_used": _iso(used_ms),
        "revoked": key.revoked,
        "blocked": key.blocked,
        "expires_at": _iso(grant.expires_ms),
        "old_key_until": None if key.former is None else _iso(key.former.until_ms),
        "note": grant.note,
        "alias": grant.alias,
        "user": grant.user,
        "team": grant.team,
        "tags": dict(grant.tags),
        "models": list(grant.models),
        "endpoints": list(grant.endpoints),
        **shown_limits(grant.limits),
        "version": key.version,
    }


def shown_owner(owner: Owner) -> dict[str, Any]:
    """A team, a user or a customer."""
    return {
        "name": owner.name,
        "alias": owner.alias,
        "blocked": owner.blocked,
        "models": list(owner.models),
        **shown_limits(owner.limits),
        "version": owner.version,
    }


def shown_limits(limits: OwnerLimits) -> dict[str, Any]:
    """Limits: `budgets` in dollars, the others whole numbers; what is null is not limited."""
    budgets = [
        {
            "limit": each.limit / DOLLAR,
            "period": each.period,
            "timezone": each.timezone,
            "models": each.model or None,
        }
        for each in limits.dollars
    ]
    rates = {"rpm": limits.rpm, "tpm": limits.tpm, "parallel": limits.parallel}
    others = {"fallback": list(limits.fallback), "degrade_at": limits.degrade_at, "warn_at": list(limits.warn_at)}
    return {"budgets": budgets, **rates, **others}


def shown_standings(standings: Iterable[LimitStanding]) -> list[dict[str, Any]]:
    """What was taken of limits, each in its unit."""
    return [
        {
            "of": each.owner.tag,
            "name": each.owner.name,
            "models": each.rule.match.get("model"),
            "unit": each.rule.unit,
            "period": each.rule.period.name,
            "limit": _figure(each.rule.limit, each.rule.unit),
            "spent": _figure(each.taken, each.rule.unit),
            "held": _figure(each.held, each.rule.unit),
            "left": _figure(each.left, each.rule.unit),
            "resets_at": _iso(each.resets_ms),
        }
        for each in standings
    ]


def _figure(amount: int | None, unit: Unit) -> float | None:
    return amount if amount is None or unit != "dollars" else amount / DOLLAR


def _iso(at_ms: Millis | None) -> str | None:
    return None if at_ms is None else iso_of(at_ms)
