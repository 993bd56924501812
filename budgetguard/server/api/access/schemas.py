"""What is read and answered about keys and limits; amounts are dollars, or whole numbers of another unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from ....ledger import Unit
from ...keys.limits import Allowance, OwnerLimits, allowance, owner_limits
from ..dollars.budgets import Limit
from ..dollars.fields import PAGE, PageSize, Short

T = TypeVar("T")

Shorts = Annotated[list[Short], Meta(max_length=500)]
Count = Annotated[int, Meta(ge=0, le=9_007_199_254_740_992)]
Part = Annotated[float, Meta(gt=0, le=1)]
ScopeIn = Literal["call", "spend", "read", "admin"]


class AllowanceIn(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Dollars for a period ("daily", "weekly", "monthly", "yearly", "rolling 7d"; null: for ever), of some `models`."""

    limit: Limit
    period: Short | None = None
    timezone: Short | None = None
    models: Short | None = None


class LimitsSaid(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """
    What is named is put in place of what was there; null takes a limit away. Where one has no room for dollars or
    tokens, the models of `fallback` are asked, from the part `degrade_at` of it on at once. `warn_at`: the parts of a
    limit in dollars at which somebody is told.
    """

    alias: Short | UnsetType = UNSET
    models: Shorts | UnsetType = UNSET
    budgets: Annotated[list[AllowanceIn], Meta(max_length=100)] | UnsetType = UNSET
    rpm: Count | UnsetType | None = UNSET
    tpm: Count | UnsetType | None = UNSET
    parallel: Count | UnsetType | None = UNSET
    fallback: Shorts | UnsetType = UNSET
    degrade_at: Part | UnsetType | None = UNSET
    warn_at: Annotated[list[Part], Meta(max_length=20)] | UnsetType = UNSET

    def limits(self, old: OwnerLimits) -> OwnerLimits:
        """The limits with what was named; raises `ConfigError` for what is none."""
        dollars: Sequence[Allowance] = old.dollars
        if not isinstance(self.budgets, UnsetType):
            dollars = [allowance(each.limit, each.period, each.timezone, each.models or "") for each in self.budgets]
        return owner_limits(
            dollars,
            rpm=named(self.rpm, old.rpm),
            tpm=named(self.tpm, old.tpm),
            parallel=named(self.parallel, old.parallel),
            fallback=named(self.fallback, list(old.fallback)),
            degrade_at=named(self.degrade_at, old.degrade_at),
            warn_at=named(self.warn_at, list(old.warn_at)),
        )


class OwnerChange(LimitsSaid, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is to change of a team, a user or a customer."""

    blocked: bool | UnsetType = UNSET


class KeySaid(LimitsSaid, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a key may. `expires`: how long ("90d"), or until when; null: for good."""

    note: Short | UnsetType = UNSET
    user: Short | UnsetType | None = UNSET
    team: Short | UnsetType | None = UNSET
    tags: dict[Short, Short] | UnsetType = UNSET
    endpoints: Shorts | UnsetType = UNSET
    expires: Short | UnsetType | None = UNSET


class KeyNew(KeySaid, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A new key; `key` is its text, where its owner has one already."""

    scope: ScopeIn = "call"
    key: Short | None = None


class KeyChange(KeySaid, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is to change of a key."""

    blocked: bool | UnsetType = UNSET


class RotateIn(Struct, forbid_unknown_fields=True, frozen=True):
    """How long the old text is right beside the new one, such as "24h"."""

    grace: Short | None = None


class KeysQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which keys, and which page."""

    scope: ScopeIn | None = None
    user: Short | None = None
    team: Short | None = None
    after: Short | None = None
    limit: PageSize = PAGE


class AllowanceOut(Struct, frozen=True):
    """Dollars for a period, of all models or of some."""

    limit: float
    period: str
    timezone: str
    models: str | None


class LimitOut(Struct, frozen=True, kw_only=True):
    """One limit, `of` a key, team, user or customer (`end_user`), and what was taken of it in this period."""

    of: str
    name: str
    models: str | None
    unit: Unit
    period: str
    limit: float | None
    spent: float
    held: float
    left: float | None
    resets_at: str | None


class LimitsShown(Struct, frozen=True, kw_only=True):
    """What calls may come to."""

    alias: str
    blocked: bool
    models: list[str]
    budgets: list[AllowanceOut]
    rpm: int | None
    tpm: int | None
    parallel: int | None
    fallback: list[str]
    degrade_at: float | None
    warn_at: list[float]
    version: int
    standings: list[LimitOut] | None = None
    """Where one is asked for, and not in lists."""


class OwnerOut(LimitsShown, frozen=True, kw_only=True):
    """A team, a user or a customer."""

    name: str


class OwnersPage(Struct, frozen=True):
    """Some of them; `next` is the `after` of the next page, null on the last."""

    owners: list[OwnerOut]
    next: str | None


class KeyOut(LimitsShown, frozen=True, kw_only=True):
    """A key; its text is in `key` when it was just made, and never again."""

    prefix: str
    project: str
    scope: str
    created: str
    last_used: str | None
    """To the minute; null: never, or before this was written down."""
    revoked: str | None
    expires_at: str | None
    old_key_until: str | None
    note: str
    user: str | None
    team: str | None
    tags: dict[str, str]
    endpoints: list[str]
    key: str | None = None


class KeysPage(Struct, frozen=True):
    """Some keys; `next` is the `after` of the next page, null on the last."""

    keys: list[KeyOut]
    next: str | None


def named(said: T | UnsetType, old: T) -> T:
    """What was named, or what was there."""
    return old if isinstance(said, UnsetType) else said
