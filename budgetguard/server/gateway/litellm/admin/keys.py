"""`/key/*`: keys are made, looked at, changed, blocked, renewed and deleted."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .....ledger import Millis
from ....api.action import Action, Ask
from ....keys import ADMIN, CALL, Grant, Key
from ....problems import Refused
from ..durations import expiry_ms, seconds_of
from ..limits import limits_with, require_same_spend, sum_of_money
from ..office import Office, book_before, page_of
from ..rows import key_row, key_rows, models_of, status_of, tags_of
from ..said import IDLE, Limiting, Names, Short, Text, given, keep, require, take, unable
from ..templates import Templates

_IDLE = IDLE | {
    *("permissions", "allowed_cache_controls", "send_invite_email", "agent_id", "enable_prompt_caching"),
    *("throttle_on_budget_exceeded", "tpm_limit_type", "rpm_limit_type", "default_estimated_output_tokens"),
    *("default_estimated_output_tokens_per_model", "disable_global_guardrails", "allowed_passthrough_routes"),
    *("denied_passthrough_routes", "budget_fallbacks", "created_by", "updated_by"),
}
_EVERY_MODEL_CALL = frozenset({"llm_api_routes", "openai_routes", "anthropic_routes", "google_routes"})


class KeyFields(Limiting, kw_only=True, frozen=True):
    """What can be said of a key, whenever it is said."""

    key: Text = UNSET
    key_alias: Text = UNSET
    duration: Text = UNSET
    models: Names | UnsetType | None = UNSET
    tags: Names | UnsetType | None = UNSET
    user_id: Text = UNSET
    team_id: Text = UNSET
    budget_id: Text = UNSET
    blocked: bool | UnsetType | None = UNSET
    spend: Any = UNSET
    key_type: Literal["default", "llm_api"] | UnsetType | None = UNSET
    allowed_routes: Names | UnsetType | None = UNSET
    grace_period: Text = UNSET


class KeyNames(Struct, frozen=True):
    """Keys, by their texts or their hashes, or by their aliases."""

    keys: Names | None = None
    key_aliases: Names | None = None


class KeyName(Struct, frozen=True):
    """A key, by its text or its hash."""

    key: Short


class KeyQuery(Struct, frozen=True):
    """Which key; `None`: the one that asks."""

    key: Short | None = None


class KeyListQuery(Struct, frozen=True):
    """Which keys, and which page of them."""

    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 10
    user_id: Short | None = None
    team_id: Short | None = None
    organization_id: Short | None = None
    key_hash: Short | None = None
    key_alias: Short | None = None
    status: Literal["active", "expired", "revoked"] | None = None
    return_full_object: bool = False


class KeyAdmin:
    """The endpoints over an office."""

    def __init__(self, office: Office, templates: Templates) -> None:
        self._office = office
        self._templates = templates

    def generate(self, ask: Ask) -> dict[str, Any]:
        """Make a key; its text is in this answer, and in no other."""
        return self.make(ask, ask.body)

    def make(self, ask: Ask, raw: dict[str, Any]) -> dict[str, Any]:
        """A new key as its row, with its text."""
        said, project = take(KeyFields, raw, _IDLE), ask.project.name
        self._require_new(project, given(said.key_alias))
        before = sum_of_money(given(said.spend), "spend")
        own = given(said.key)
        text = f"sk-{secrets.token_urlsafe(32)}" if own is None else own
        grant = self._granted(ask, said, raw, Grant())
        if own is None:
            grant = replace(grant, extra=keep(grant.extra, {"key_name": f"sk-...{text[-4:]}"}))
        key, _ = self._office.ring.create(project, CALL, grant=grant, text=text)
        if given(said.blocked):
            key = self._office.ring.block(key.prefix)
        store = ask.project.store
        book_before(store, "key", key.prefix, key.grant.limits, before)
        return {**key_row(key, before, store.now_ms()), "key": text, "token_id": key.digest}

    def info(self, ask: Ask) -> dict[str, Any]:
        """A key by its text or hash, or the one that asks; one that calls models sees only itself."""
        name = ask.query.key
        if ask.caller.scope == ADMIN:
            key = self._office.key(ask.project.name, require(name, "key"))
        else:
            key = self._office.ring.get(ask.caller.prefix)
            if name is not None and self._office.find_key(ask.project.name, name) != key:
                raise Refused(403, "You are not allowed to access this key's info.", "auth_error", param="key")
        row = self._row(ask, key)
        return {"key": name or row.pop("token"), "info": {each: row[each] for each in row if each != "token"}}

    def update(self, ask: Ask) -> dict[str, Any]:
        """Change what is named of a key, and leave the rest; `null` takes a limit away."""
        said = take(KeyFields, ask.body, _IDLE)
        name = given(said.key)
        if name is None:
            key = self._office.key_of_alias(ask.project.name, require(given(said.key_alias), "key"))
        else:
            key = self._office.key(ask.project.name, name)
        return {**self._row(ask, self._changed(ask, key, said, ask.body)), "key": name or key.digest}

    def delete(self, ask: Ask) -> dict[str, Any]:
        """Refuse keys from now on, for good."""
        said = take(KeyNames, ask.body)
        names = said.keys or said.key_aliases
        if not names:
            raise Refused(422, "At least one of 'keys' or 'key_aliases' must be provided.", param="keys")
        find = self._office.key if said.keys else self._office.key_of_alias
        for key in [find(ask.project.name, name) for name in dict.fromkeys(names)]:
            self._office.ring.revoke(key.prefix)
        return {"deleted_keys": names}

    def listed(self, ask: Ask) -> dict[str, Any]:
        """The keys of the project, page by page."""
        asked: KeyListQuery = ask.query
        now_ms = ask.project.store.now_ms()
        saying = asked.key_hash or asked.key_alias or asked.user_id or asked.team_id
        fitting = (key for key in self._office.keys(ask.project.name, saying=saying) if _fits(key, asked, now_ms))
        page, count = page_of(fitting, asked.page, asked.size)
        full = asked.return_full_object
        return {
            "keys": key_rows(ask.project.store, page) if full else [key.digest for key in page],
            "total_count": count,
            "current_page": asked.page,
            "total_pages": -(-count // asked.size),
        }

    def block(self, ask: Ask) -> dict[str, Any]:
        """Refuse a key until it is unblocked."""
        return self._blocked(ask, blocked=True)

    def unblock(self, ask: Ask) -> dict[str, Any]:
        """Let a key that was blocked in again."""
        return self._blocked(ask, blocked=False)

    def regenerate(self, ask: Ask) -> dict[str, Any]:
        """Give a key another text, which is in this answer; what it may and what it spent stay."""
        raw = ask.body or {}
        said = take(KeyFields, raw, _IDLE)
        grace = given(said.grace_period)
        grace_s = 0 if grace is None else seconds_of(grace, "grace_period")
        key = self._office.key(ask.project.name, require(ask.rest or given(said.key), "key"))
        self._changed(ask, key, said, raw)
        key, text = self._office.ring.rotate(key.prefix, grace_s=grace_s)
        return {**self._row(ask, key), "key": text, "key_name": "sk-...", "token_id": key.digest}

    # -- what is said of a key -----------------------------------------------------------------------------------

    def _row(self, ask: Ask, key: Key) -> dict[str, Any]:
        return key_rows(ask.project.store, [key])[0]

    def _changed(self, ask: Ask, key: Key, said: KeyFields, raw: dict[str, Any]) -> Key:
        """A key changed as it was said."""
        alias = given(said.key_alias)
        if alias != key.grant.alias:
            self._require_new(ask.project.name, alias)
        if given(said.spend) is not None:
            require_same_spend(said.spend, self._row(ask, key)["spend"])
        changed = self._office.ring.regrant(key.prefix, lambda grant: self._granted(ask, said, raw, grant))
        if given(said.blocked) not in {None, changed.blocked}:
            changed = self._office.ring.block(key.prefix, blocked=said.blocked is True)
        return changed

    def _granted(self, ask: Ask, said: KeyFields, raw: dict[str, Any], grant: Grant) -> Grant:
        """What a key may, with what was said."""
        routes = set(given(said.allowed_routes) or ())
        if routes and not routes & _EVERY_MODEL_CALL:
            raise unable("allowed_routes")
        extra = keep(grant.extra, raw, _IDLE | {"budget_id", "key_type", "allowed_routes"})
        limits = self._templates.given(ask.project.name, limits_with(grant.limits, said), grant.extra, extra)
        changes: dict[str, Any] = {"limits": limits, "extra": extra}
        if said.key_alias is not UNSET:
            changes["alias"] = said.key_alias or ""
        if said.duration is not UNSET:
            changes["expires_ms"] = expiry_ms(said.duration, "duration", ask.project.store.now_ms())
        if said.models is not UNSET:
            team = given(said.team_id) if said.team_id is not UNSET else grant.team
            changes["models"] = models_of(said.models, team=team is not None)
        if said.tags is not UNSET:
            changes["tags"] = tags_of(said.tags or ())
        if said.user_id is not UNSET:
            changes["user"] = said.user_id
        if said.team_id is not UNSET:
            changes["team"] = said.team_id
        return replace(grant, **changes)

    def _require_new(self, project: str, alias: str | None) -> None:
        if alias and any(key.grant.alias == alias for key in self._office.keys(project, saying=alias)):
            told = f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
            raise Refused(400, told, "bad_request_error", param="key_alias")

    def _blocked(self, ask: Ask, *, blocked: bool) -> dict[str, Any]:
        key = self._office.key(ask.project.name, take(KeyName, ask.body).key)
        return self._row(ask, self._office.ring.block(key.prefix, blocked=blocked))

    def actions(self) -> list[Action]:
        """The table."""
        return [
            Action("POST", "/key/generate", self.generate, dict, body=dict, slow=True),
            Action("GET", "/key/info", self.info, dict, frozenset({ADMIN, CALL}), query=KeyQuery, slow=True),
            Action("POST", "/key/update", self.update, dict, body=dict, slow=True),
            Action("POST", "/key/delete", self.delete, dict, body=dict, slow=True),
            Action("GET", "/key/list", self.listed, dict, query=KeyListQuery, slow=True),
            Action("POST", "/key/block", self.block, dict, body=dict, slow=True),
            Action("POST", "/key/unblock", self.unblock, dict, body=dict, slow=True),
            Action("POST", "/key/regenerate", self.regenerate, dict, body=dict, slow=True),
            Action("POST", "/key/{key:path}/regenerate", self.regenerate, dict, body=dict, slow=True),
        ]


def _fits(key: Key, asked: KeyListQuery, now_ms: Millis) -> bool:
    """Whether a key is one of those that are asked for."""
    return asked.organization_id is None and all(
        wanted is None or wanted == value
        for wanted, value in (
            (asked.user_id, key.grant.user),
            (asked.team_id, key.grant.team),
            (asked.key_hash, key.digest),
            (asked.key_alias, key.grant.alias),
            (asked.status, status_of(key, now_ms)),
        )
    )
