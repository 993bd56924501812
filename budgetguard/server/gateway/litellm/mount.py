"""
LiteLLM's admin API as an ASGI application on a prefix, beside what the gateway answers otherwise.

Its errors have LiteLLM's shape: the status once more as the `code`, and 401 for a key that is no administrator's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import msgspec

from ....money import Nano
from ...api.access.audit import KeyAudit
from ...api.action import Action
from ...api.endpoint import Runner, Served, problem_of, send_json, send_refused
from ...keys import KeyRing, Keys, Owners
from ...metrics import Metrics
from ...problems import Refused
from ...projects import Projects
from .admin.budgets import TemplateAdmin
from .admin.customers import CustomerAdmin
from .admin.keys import KeyAdmin
from .admin.models import ModelAdmin, readiness
from .admin.spend import SpendAdmin
from .admin.teams import TeamAdmin
from .admin.users import UserAdmin
from .office import Office
from .templates import Templates

_ALIVE = frozenset({"/health/liveliness", "/health/liveness"})
_READY = "/health/readiness"
_READY_S = 2.0
"""How long the store is taken to be there, as anybody may ask for it."""

_TYPES = {
    "authentication_error": "auth_error",
    "permission_error": "auth_error",
    "invalid_request_error": "bad_request_error",
    "config_error": "bad_request_error",
    "not_found": "not_found_error",
    "server_error": "internal_server_error",
    "store_error": "no_db_connection",
}


class LiteLLMAdmin:
    """
    The API for the projects of admin keys; `answers` says which requests are for it.

    Keys are read from headers only: `?key=` names the key that is asked about.
    """

    def __init__(
        self,
        prefix: str,
        projects: Projects,
        runner: Runner,
        metrics: Metrics,
        models: ModelAdmin,
        *,
        keys: Keys | None = None,
        max_budget: Nano | None = None,
    ) -> None:
        self._prefix = prefix.rstrip("/")
        self._projects = projects
        self._runner = runner
        self._ready_until = 0.0
        known = Keys(projects.own) if keys is None else keys
        self.actions = [replace(each, path=self._prefix + each.path) for each in _table(projects, models, max_budget)]
        served = [(each, Served(each, projects, known, runner, metrics, told=as_litellm)) for each in self.actions]
        self._at = {(each.method, each.path): it for each, it in served if not each.names_something}
        self._regenerate = next(it for each, it in served if each.names_something)
        self._methods = {path: method for method, path in self._at}

    def answers(self, scope: MutableMapping[str, Any]) -> bool:
        """
        Whether a request is for this API: one of its paths below the prefix.

        `/health` at the root, without a key, is what probes ask of the gateway itself.
        """
        path = scope["path"]
        if path == "/health":
            return any(name in {b"authorization", b"x-api-key", b"api-key"} for name, _ in scope["headers"])
        below = path.removeprefix(self._prefix)
        return path.startswith(self._prefix) and (
            path in self._methods or below in _ALIVE or below == _READY or self._names_key(below)
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI, for a request that it `answers`."""
        scope["budgetguard.request_id"] = request_id = secrets.token_hex(8)

        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        path, method = scope["path"], scope["method"]
        below = path.removeprefix(self._prefix)
        served = self._at.get((method, path))
        if served is None and method == "POST" and self._names_key(below):
            served = self._regenerate
        if served is not None:
            await served(scope, receive, tell)
        elif method == "GET" and below in _ALIVE:
            await send_json(tell, 200, b'"I\'m alive!"')
        elif method == "GET" and below == _READY:
            await self._tell_ready(scope, tell)
        else:
            allowed = (b"allow", self._methods.get(path, "GET").encode())
            await send_refused(tell, as_litellm(Refused(405, "Method Not Allowed", headers=(allowed,))))

    def _names_key(self, below: str) -> bool:
        return below.startswith("/key/") and below.endswith("/regenerate") and below.count("/") > 2

    async def _tell_ready(self, scope: MutableMapping[str, Any], send: Any) -> None:
        """Whether the store answers; asked at most once in `_READY_S`, as this needs no key."""
        try:
            if time.monotonic() > self._ready_until:
                await self._runner.run(self._projects.own.terms, "ready", blocking=self._projects.blocking)
                self._ready_until = time.monotonic() + _READY_S
        except Exception as error:
            refused = error if isinstance(error, Refused) else problem_of(error, scope)
            await send_json(send, refused.status, b'{"status":"unhealthy","db":"disconnected"}')
            return
        await send_json(send, 200, msgspec.json.encode(readiness()))


def as_litellm(refused: Refused) -> Refused:
    """A refusal as LiteLLM's scripts read it."""
    status, message = refused.status, refused.message
    if status == 403 and refused.kind == "permission_error":
        status = 401
        message = f"Authentication Error, Only proxy admin can be used to do this: {message}"
    kind = _TYPES.get(refused.kind, refused.kind)
    return Refused(status, message, kind, param=refused.param, code=str(status), headers=refused.headers)


def _table(projects: Projects, models: ModelAdmin, max_budget: Nano | None) -> list[Action]:
    own, hear = projects.own, KeyAudit(projects)
    office = Office(own, KeyRing(own, now=lambda: own.now_ms() / 1000, hear=hear), Owners(own, hear=hear))
    templates = Templates(office)
    keys = KeyAdmin(office, templates)
    teams = TeamAdmin(office)
    users = UserAdmin(office, keys, teams)
    return [
        *keys.actions(),
        *users.actions(),
        *teams.actions(),
        *TemplateAdmin(templates).actions(),
        *CustomerAdmin(office, templates).actions(),
        *SpendAdmin(office, users, max_budget).actions(),
        *models.actions(),
    ]
