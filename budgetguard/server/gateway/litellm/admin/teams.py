"""`/team/*`: what the calls of several keys may come to, and whose keys they are."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from ....api.action import Action, Ask
from ....api.dollars.fields import iso
from ....keys import ADMIN, CALL, Owner
from ....problems import Refused
from ..limits import limits_with
from ..office import Office
from ..rows import key_rows, models_of, team_rows
from ..said import IDLE, Limiting, Names, Short, Text, given, keep, require, take, told

_IDLE = IDLE | {"admins", "members", "team_member_permissions", "send_invite_email", "created_at", "updated_at"}


class MemberSaid(Struct, frozen=True, omit_defaults=True):
    """One of a team, by the id or by the address."""

    role: Literal["admin", "user"] = "user"
    user_id: Short | None = None
    user_email: Short | None = None

    @property
    def name(self) -> str:
        """Whom it is about; raises `Refused` (422) for nobody."""
        found: str | None = self.user_id or self.user_email
        if not found:
            raise Refused(422, "Either user id or user email must be provided", param="member")
        return found


class TeamFields(Limiting, kw_only=True, frozen=True):
    """What can be said of a team."""

    team_id: Text = UNSET
    team_alias: Text = UNSET
    models: Names | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET
    members_with_roles: list[MemberSaid] | UnsetType | None = UNSET


class TeamNames(Struct, frozen=True):
    """Which teams."""

    team_ids: Names


class TeamName(Struct, frozen=True):
    """Which team."""

    team_id: Short


class TeamsQuery(Struct, frozen=True):
    """Whose teams."""

    user_id: Short | None = None
    organization_id: Short | None = None


class MembersAdded(Struct, frozen=True):
    """Who comes into a team."""

    team_id: Short
    member: list[MemberSaid] | MemberSaid


class MemberLeft(Struct, frozen=True):
    """Who leaves a team."""

    team_id: Short
    user_id: Short | None = None
    user_email: Short | None = None


class TeamAdmin:
    """The endpoints over an office."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def new(self, ask: Ask) -> dict[str, Any]:
        """A team; its id is made up if none is said."""
        said, project = take(TeamFields, ask.body, _IDLE), ask.project.name
        name = given(said.team_id) or secrets.token_hex(16)
        if self._office.owners.find(project, "team", name) is not None:
            told = f"Team id = {name} already exists. Please use a different team id."
            raise Refused(400, told, "bad_request_error", param="team_id")
        raw = {**ask.body, "created_at": iso(ask.project.store.now_ms())}
        return self._row(ask, self._put(ask, name, said, raw))

    def info(self, ask: Ask) -> dict[str, Any]:
        """A team with its keys; a key that calls models sees its own team."""
        name = ask.query.team_id
        if ask.caller.scope != ADMIN and name != ask.caller.team:
            raise Refused(403, f"This key is not of team {name[:200]!r}.", "auth_error", param="team_id")
        team = self._office.owner(ask.project.name, "team", name, "team_id")
        keys = [] if ask.caller.scope != ADMIN else self._office.keys_of(ask.project.name, team=name)
        return {
            "team_id": name,
            "team_info": self._row(ask, team),
            "keys": key_rows(ask.project.store, keys),
            "team_memberships": [],
        }

    def update(self, ask: Ask) -> dict[str, Any]:
        """Change what is named of a team, and leave the rest; `null` takes a limit away."""
        said = take(TeamFields, ask.body, _IDLE)
        name = require(given(said.team_id), "team_id")
        self._office.owner(ask.project.name, "team", name, "team_id")
        raw = {**ask.body, "updated_at": iso(ask.project.store.now_ms())}
        return {"team_id": name, "data": self._row(ask, self._put(ask, name, said, raw))}

    def delete(self, ask: Ask) -> dict[str, Any]:
        """Take teams away, and with them their keys, which would have no limits of a team any more."""
        project, names = ask.project.name, list(dict.fromkeys(take(TeamNames, ask.body).team_ids))
        for name in names:
            self._office.owner(project, "team", name, "team_id")
        for name in names:
            for key in self._office.keys_of(project, team=name):
                self._office.ring.revoke(key.prefix)
            self._office.owners.remove(project, "team", name)
        return {"deleted_teams": names}

    def listed(self, ask: Ask) -> Any:
        """The teams of the project, or those that somebody is in, by their aliases."""
        asked: TeamsQuery = ask.query
        if asked.organization_id not in {None, "default_organization"}:
            return []
        user, teams = asked.user_id, self._office.owners.all(ask.project.name, "team")
        rows = team_rows(ask.project.store, [each for each in teams if user is None or user in members_of(each)])
        return sorted(rows, key=lambda row: row["team_alias"] or "")

    def block(self, ask: Ask) -> dict[str, Any]:
        """Refuse all keys of a team until it is unblocked."""
        return self._blocked(ask, blocked=True)

    def unblock(self, ask: Ask) -> dict[str, Any]:
        """Let the keys of a team that was blocked in again."""
        return self._blocked(ask, blocked=False)

    def member_add(self, ask: Ask) -> dict[str, Any]:
        """Note who is in a team; what they may is said by their keys."""
        said = take(MembersAdded, ask.body, frozenset({"budget_duration"}))
        several = said.member if isinstance(said.member, list) else [said.member]
        names = [each.name for each in several]

        def changed(team: Owner) -> Owner:
            there = members_of(team)
            twice = next((name for name in names if name in there), None)
            if twice is not None:
                raise Refused(400, f"User already in team. Member: user_id={twice}", "team_member_already_in_team")
            return _with_members(team, [*there.values(), *map(_member, several)])

        row = self._row(ask, self._change(ask, said.team_id, changed))
        return {**row, "updated_users": [{"user_id": name} for name in names], "updated_team_memberships": []}

    def join(self, ask: Ask, name: str, user: str, role: Any) -> None:
        """Note that a user is in a team that there is."""

        def changed(team: Owner) -> Owner:
            there = {**members_of(team), user: _member(MemberSaid(role=role, user_id=user))}
            return _with_members(team, list(there.values()))

        self._change(ask, name, changed)

    def member_delete(self, ask: Ask) -> dict[str, Any]:
        """Note that somebody is in a team no more, and refuse their keys of it from now on."""
        said = take(MemberLeft, ask.body)
        name = MemberSaid(user_id=said.user_id, user_email=said.user_email).name

        def changed(team: Owner) -> Owner:
            there = members_of(team)
            if there.pop(name, None) is None:
                raise Refused(400, f"User not found in team. Passed user_id={name[:200]}", param="user_id")
            return _with_members(team, list(there.values()))

        team = self._change(ask, said.team_id, changed)
        for key in self._office.keys_of(ask.project.name, team=team.name, user=name):
            self._office.ring.revoke(key.prefix)
        return self._row(ask, team)

    def _put(self, ask: Ask, name: str, said: TeamFields, raw: dict[str, Any]) -> Owner:
        members = given(said.members_with_roles)

        def changed(team: Owner) -> Owner:
            made = replace(
                team,
                limits=limits_with(team.limits, said),
                extra=keep(team.extra, raw, _IDLE),
                models=team.models if said.models is UNSET else models_of(said.models),
                blocked=team.blocked if given(said.blocked) is None else said.blocked is True,
                alias=team.alias if said.team_alias is UNSET else said.team_alias or "",
            )
            return made if members is None else _with_members(made, [_member(each) for each in members])

        return self._office.owners.change(ask.project.name, "team", name, changed)

    def _change(self, ask: Ask, name: str, changed: Any) -> Owner:
        """Change a team that there is."""
        self._office.owner(ask.project.name, "team", name, "team_id")
        return self._office.owners.change(ask.project.name, "team", name, changed)

    def _blocked(self, ask: Ask, *, blocked: bool) -> dict[str, Any]:
        name = take(TeamName, ask.body).team_id
        return self._row(ask, self._change(ask, name, lambda team: replace(team, blocked=blocked)))

    def _row(self, ask: Ask, team: Owner) -> dict[str, Any]:
        return team_rows(ask.project.store, [team])[0]

    def actions(self) -> list[Action]:
        """The table."""
        return [
            Action("POST", "/team/new", self.new, dict, body=dict),
            Action("GET", "/team/info", self.info, dict, frozenset({ADMIN, CALL}), query=TeamName, slow=True),
            Action("POST", "/team/update", self.update, dict, body=dict),
            Action("POST", "/team/delete", self.delete, dict, body=dict, slow=True),
            Action("GET", "/team/list", self.listed, dict, query=TeamsQuery, slow=True),
            Action("POST", "/team/block", self.block, dict, body=dict),
            Action("POST", "/team/unblock", self.unblock, dict, body=dict),
            Action("POST", "/team/member_add", self.member_add, dict, body=dict),
            Action("POST", "/team/member_delete", self.member_delete, dict, body=dict, slow=True),
        ]


def members_of(team: Owner) -> dict[str, dict[str, Any]]:
    """Who is in a team, by name."""
    return {each["user_id"] or each["user_email"]: each for each in told(team.extra).get("members_with_roles", ())}


def _member(said: MemberSaid) -> dict[str, Any]:
    said.name  # noqa: B018  # it is of somebody
    return {"user_id": said.user_id, "user_email": said.user_email, "role": said.role}


def _with_members(team: Owner, members: list[dict[str, Any]]) -> Owner:
    return replace(team, extra=keep(team.extra, {"members_with_roles": members}))
