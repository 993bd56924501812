"""
`/user/*`: who pays, for all of their keys together.

A user's dollars are the budget that programs with the library have, too; rates, models and whether somebody is blocked
are of the gateway alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .....budgets.periods import Period
from .....budgets.rules import UserBudget, user_rule
from .....ledger import Millis
from .....money import DOLLAR, Money, Nano
from ....api.action import Action, Ask
from ....api.dollars.fields import iso
from ....keys import ADMIN, CALL, Owner
from ....keys.limits import NO_LIMITS, Allowance
from ....problems import Refused
from ..limits import limits_with, require_same_spend, shown_limits
from ..office import Office, missing, page_of, spent_by
from ..rows import key_rows, models_of, team_rows
from ..said import IDLE, Limiting, Names, Short, Text, given, keep, require, take, told, unable
from .keys import KeyAdmin
from .teams import TeamAdmin, members_of

_IDLE = IDLE | {
    *("user_email", "user_alias", "user_role", "send_invite_email", "sso_user_id", "username", "email", "agent_id"),
    *("permissions", "allowed_cache_controls", "budget_fallbacks"),
}
_OF_ITS_KEY = ("duration", "key_alias", "team_id")


class UserFields(Limiting, kw_only=True, frozen=True):
    """What can be said of a user."""

    user_id: Text = UNSET
    models: Names | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET
    spend: Any = UNSET
    user_role: Literal["internal_user", "internal_user_viewer", "team", "customer"] | UnsetType | None = UNSET


class JoinedTeam(Struct, frozen=True, forbid_unknown_fields=True):
    """A team that a user comes into."""

    team_id: Short
    user_role: Literal["user", "admin"] = "user"


class UserNew(UserFields, kw_only=True, frozen=True):
    """And of the key that is made with one."""

    auto_create_key: bool = True
    teams: list[Short | JoinedTeam] | UnsetType | None = UNSET
    duration: Text = UNSET
    key_alias: Text = UNSET
    team_id: Text = UNSET


class UserNames(Struct, frozen=True):
    """Which users."""

    user_ids: Names


class UserQuery(Struct, frozen=True):
    """Which user; `None`: who asks."""

    user_id: Short | None = None


class UserListQuery(Struct, frozen=True):
    """Which users, and which page of them."""

    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=100)] = 25
    role: Short | None = None
    user_ids: Short | None = None
    user_email: Short | None = None


class Person(NamedTuple):
    """All that is known of a user: what the gateway has, and the budget of dollars."""

    name: str
    owner: Owner
    own: UserBudget | None


class UserAdmin:
    """The endpoints over an office; a user's first key is made as others are."""

    def __init__(self, office: Office, keys: KeyAdmin, teams: TeamAdmin) -> None:
        self._office = office
        self._keys = keys
        self._teams = teams

    def new(self, ask: Ask) -> dict[str, Any]:
        """A user with a budget, and a key of theirs unless it is not wanted."""
        said, raw = take(UserNew, ask.body, _IDLE), ask.body
        name = given(said.user_id) or secrets.token_hex(16)
        if self._find(ask, name) is not None:
            raise Refused(409, f"User with id {name} already exists", "bad_request_error", param="user_id")
        if given(said.spend):
            raise unable("spend")
        joined = [JoinedTeam(each) if isinstance(each, str) else each for each in given(said.teams) or ()]
        if given(said.team_id) is not None:
            joined.append(JoinedTeam(said.team_id))
        for each in joined:
            self._office.owner(ask.project.name, "team", each.team_id, "teams")
        row = self._row(ask, self._put(ask, name, said, {**raw, "created_at": iso(ask.project.store.now_ms())}))
        row["teams"] = [each.team_id for each in joined]
        for each in joined:
            self._teams.join(ask, each.team_id, name, each.user_role)
        if not said.auto_create_key:
            return {**row, "key": ""}
        of_key = {each: raw[each] for each in _OF_ITS_KEY if each in raw}
        made = self._keys.make(ask, {**of_key, "user_id": name})
        return {**made, **row, **{each: made[each] for each in ("key", "expires", "key_alias", "team_id", "key_name")}}

    def info(self, ask: Ask) -> dict[str, Any]:
        """A user with their keys and teams; a key that calls models sees its own user."""
        admin, project = ask.caller.scope == ADMIN, ask.project.name
        name = require(ask.query.user_id or ask.caller.user, "user_id")
        if not admin and name != ask.caller.user:
            raise Refused(403, f"This key is not of user {name[:200]!r}.", "auth_error", param="user_id")
        user = self._get(ask, name)
        keys = self._office.keys_of(project, user=name) if admin else []
        teams = [each for each in self._office.owners.all(project, "team") if name in members_of(each)] if admin else []
        store = ask.project.store
        return {
            "user_id": name,
            "user_info": self._row(ask, user),
            "keys": key_rows(store, keys),
            "teams": team_rows(store, teams),
        }

    def update(self, ask: Ask) -> dict[str, Any]:
        """Change what is named of a user, and leave the rest; `null` takes a limit away."""
        said = take(UserFields, ask.body, _IDLE)
        name = require(given(said.user_id), "user_id")
        if given(said.spend) is not None:
            known = self._find(ask, name)
            require_same_spend(said.spend, 0 if known is None else self._row(ask, known)["spend"])
        raw = {**ask.body, "updated_at": iso(ask.project.store.now_ms())}
        return {"user_id": name, "data": self._row(ask, self._put(ask, name, said, raw))}

    def delete(self, ask: Ask) -> Any:
        """Forget users and their budgets, and refuse their keys from now on; how many."""
        project, names = ask.project.name, list(dict.fromkeys(take(UserNames, ask.body).user_ids))
        found = [self._get(ask, name) for name in names]
        for each in found:
            for key in self._office.keys_of(project, user=each.name):
                self._office.ring.revoke(key.prefix)
            if each.own is not None:
                ask.project.users.remove(each.name)
            if each.owner.version:
                self._office.owners.remove(project, "user", each.name)
        return len(found)

    def listed(self, ask: Ask) -> dict[str, Any]:
        """The users of the project, by name, page by page."""
        asked: UserListQuery = ask.query
        page, count = page_of((each for each in self._all(ask) if _fits(each, asked)), asked.page, asked.page_size)
        counts: dict[str | None, int] = {}
        for key in self._office.keys(ask.project.name):
            counts[key.grant.user] = counts.get(key.grant.user, 0) + 1
        return {
            "users": [{**row, "key_count": counts.get(row["user_id"], 0)} for row in _rows(ask, page)],
            "total": count,
            "page": asked.page,
            "page_size": asked.page_size,
            "total_pages": -(-count // asked.page_size),
        }

    def rows(self, ask: Ask) -> list[dict[str, Any]]:
        """Every user."""
        return _rows(ask, self._all(ask))

    # -- what is known of a user ---------------------------------------------------------------------------------

    def _all(self, ask: Ask) -> list[Person]:
        """Everybody of whom anything is known, by name."""
        owners = {each.name: each for each in self._office.owners.all(ask.project.name, "user")}
        budgets = {each.user: each for each in ask.project.users.all()}
        names = sorted({*owners, *budgets})
        return [Person(name, owners.get(name) or Owner("user", name), budgets.get(name)) for name in names]

    def _find(self, ask: Ask, name: str) -> Person | None:
        owner, own = self._office.owners.find(ask.project.name, "user", name), ask.project.users.find(name)
        return None if owner is None and own is None else Person(name, owner or Owner("user", name), own)

    def _get(self, ask: Ask, name: str) -> Person:
        found = self._find(ask, name)
        if found is None:
            raise missing(f"User {name[:200]} not found", "user_id")
        return found

    def _put(self, ask: Ask, name: str, said: UserFields, raw: dict[str, Any]) -> Person:
        """What the gateway has of a user, and the budget; the budget first, so that nobody is without one meanwhile."""
        if given(said.budget_limits):
            raise unable("budget_limits")
        own = self._put_dollars(ask, name, said)
        rates = msgspec.structs.replace(said, max_budget=UNSET, budget_duration=UNSET)

        def changed(owner: Owner) -> Owner:
            return replace(
                owner,
                limits=limits_with(owner.limits, rates),
                extra=keep(owner.extra, raw, _IDLE | {"created_at", "updated_at"}),
                models=owner.models if said.models is UNSET else models_of(said.models),
                blocked=owner.blocked if given(said.blocked) is None else said.blocked is True,
            )

        return Person(name, self._office.owners.change(ask.project.name, "user", name, changed), own)

    def _put_dollars(self, ask: Ask, name: str, said: UserFields) -> UserBudget | None:
        """The user's budget of dollars with what was said of it."""
        own = ask.project.users.find(name)
        if said.max_budget is UNSET and said.budget_duration is UNSET:
            return own
        if own is not None and own.rule.unit != "dollars":
            raise Refused(400, f"user {name[:200]!r} has a budget of {own.rule.unit}: change it with /v1/budgets")
        before = NO_LIMITS if own is None else replace(NO_LIMITS, dollars=_dollars(own))
        now = limits_with(before, Limiting(max_budget=said.max_budget, budget_duration=said.budget_duration)).dollars
        limit = Money(now[0].limit) if now else None
        if own is None:
            return ask.project.users.put(name, user_rule(limit, now[0].period)) if now else None
        period = Period(now[0].period, now[0].timezone) if now else own.rule.period

        def changed(user: UserBudget) -> UserBudget:
            rule = user_rule(
                limit,
                period,
                enforce=user.rule.enforce,
                on_expire=user.rule.on_expire,
                in_flight=user.rule.in_flight,
                warn_at=() if limit is None else user.rule.warn_at,
            )
            return replace(user, rule=rule, updated_s=ask.project.clock())

        return ask.project.users.change(name, changed)

    def _row(self, ask: Ask, user: Person) -> dict[str, Any]:
        return _rows(ask, [user])[0]

    def actions(self) -> list[Action]:
        """The table."""
        return [
            Action("POST", "/user/new", self.new, dict, body=dict),
            Action("GET", "/user/info", self.info, dict, frozenset({ADMIN, CALL}), query=UserQuery, slow=True),
            Action("POST", "/user/update", self.update, dict, body=dict),
            Action("POST", "/user/delete", self.delete, dict, body=dict, slow=True),
            Action("GET", "/user/list", self.listed, dict, query=UserListQuery, slow=True),
        ]


def _dollars(own: UserBudget) -> tuple[Allowance, ...]:
    """A user's own budget, if it is one of dollars with a limit."""
    rule = own.rule
    if rule.unit != "dollars" or rule.limit is None:
        return ()
    return (Allowance(rule.limit, rule.period.name, rule.period.timezone),)


def _rows(ask: Ask, users: Sequence[Person]) -> list[dict[str, Any]]:
    """Users as rows of LiteLLM's table of them."""
    spends, now_ms = _spends(ask, users), ask.project.store.now_ms()
    return [_row(user, spends[user.name], now_ms) for user in users]


def _row(user: Person, spend: Nano, now_ms: Millis) -> dict[str, Any]:
    own, owner = user.own, user.owner
    dollars = () if own is None else _dollars(own)
    return {
        "user_id": user.name,
        "user_alias": None,
        "user_email": None,
        "user_role": "internal_user",
        "metadata": {},
        "allowed_cache_controls": [],
        **told(owner.extra),
        **shown_limits(replace(owner.limits, dollars=(*dollars, *owner.limits.dollars)), now_ms),
        "models": list(owner.models),
        "blocked": owner.blocked,
        "spend": spend / DOLLAR,
        "model_spend": {},
    }


def _spends(ask: Ask, users: Sequence[Person]) -> dict[str, Nano]:
    """What each has spent: in this period of the budget, or ever without one."""
    with_budget = [user.own for user in users if user.own is not None and user.own.rule.unit == "dollars"]
    standings = ask.project.users.standings(with_budget, ask.project.store.now_ms())
    found = {each.budget.user: each.spent for each in standings}
    others = [(user.name, NO_LIMITS) for user in users if user.name not in found]
    return {**spent_by(ask.project.store, "user", others), **found}


def _fits(user: Person, asked: UserListQuery) -> bool:
    """Whether a user is one of those that are asked for."""
    extra = told(user.owner.extra)
    names = [name.strip() for name in (asked.user_ids or "").split(",") if name.strip()]
    return (
        (not names or user.name in names or (len(names) == 1 and names[0].casefold() in user.name.casefold()))
        and (asked.role is None or asked.role == extra.get("user_role", "internal_user"))
        and (asked.user_email is None or asked.user_email.casefold() in str(extra.get("user_email", "")).casefold())
    )
