"""
The gateway as one ASGI application: the calls of models, and beside them all that a server of budgets answers.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec

from ...errors import BudgetGuardError
from ...guards.guard import Guard
from ...telemetry.telemetry import API, go_on_from
from ..api.endpoint import ask_store, problem_of
from ..api.requests import read_body
from ..app import App
from ..keys import ADMIN, CALL, KNOWN, KNOWN_S, Caller, OwnerRules
from ..problems import NOT_FOUND, Refused
from .call.answers.heads import send_whole
from .call.life import CallLife
from .call.paths import ModelOperation, asked_by
from .call.refusals import body_of, refusal_of
from .call.request import Inbound
from .call.surroundings import Surroundings
from .calls import PATH, call_of
from .client import UpstreamClient
from .config.model import Api, Route, Target
from .config.resolve import Configuration, NoRoute
from .guards import Guards
from .listing import Listing, listing_of
from .litellm.admin.deployed import admin_of
from .routing.router import Router
from .seen import CallsSeen, Facts

log = logging.getLogger("budgetguard.server")

OPEN_PROJECT: Final = "default"
_JSON: Final = (b"content-type", b"application/json")


class Gateway:
    """
    Calls of models for whoever has a key, under the budgets of the store at a URL. `close` when it is over.

    Everything else is answered by `App`: the budgets that it hosts, keys, metrics, health.
    """

    def __init__(
        self,
        configuration: Configuration,
        store: str,
        *,
        open_mode: bool = False,
        project: str | None = None,
    ) -> None:
        self.configuration = configuration
        self._open = open_mode
        self._project = project or OPEN_PROJECT
        self._nobody = Caller(self._project, ADMIN, "")
        self.hosting = App(store, open_mode=open_mode, project=self._project, jobs=True, keys_in_queries=True)
        self.router = Router()
        self.seen = CallsSeen(self.hosting.metrics.others, self.router)
        self._guards = Guards(self.hosting.projects, store)
        self._around: Surroundings | None = None
        self._take(configuration)

    def _take(self, configuration: Configuration) -> list[Guard]:
        self.configuration = configuration
        self._forward = frozenset(name.lower().encode() for name in configuration.options.forward)
        before = self._guards.configure(configuration)
        self._litellm = admin_of(configuration, self.hosting, self.router)
        if self._around is not None:
            self._around.take(configuration)
        return before

    def reload(self, configuration: Configuration) -> list[Guard]:
        """
        Go on by another configuration; calls under way end by the one they began with.

        Returns the guards before: `give_back` their leases, which may wait for the store.
        """
        self.router.keep(configuration.upstreams.values())
        return self._take(configuration)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "http":
            path: str = scope["path"]
            asked = asked_by(scope["method"], path)
            if asked is not None:
                await self._call(asked, scope, receive, send)
                return
            listing = listing_of(scope["method"], path, scope["headers"])
            if listing is not None:
                await self._list(listing, scope, send)
                return
            call = PATH.fullmatch(path) if scope["method"] == "GET" else None
            if call is not None:
                await self._tell(call["id"], scope, send)
                return
            if self._litellm is not None and self._litellm.answers(scope):
                await self._litellm(scope, receive, send)
                return
        await self.hosting(scope, receive, send)

    async def aclose(self) -> None:
        """Close the connections to upstreams, give leases back, close the stores."""
        if self._around is not None:
            await self._around.client.close()
        self._guards.close()
        self.hosting.close()

    def surroundings(self) -> Surroundings:
        """What calls share; made with the first one, on its event loop."""
        if self._around is None:
            self._around = Surroundings(self.configuration, self.router, UpstreamClient())
        return self._around

    # -- one call ------------------------------------------------------------------------------------------------

    async def _call(self, asked: ModelOperation, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        begin = time.perf_counter()
        request_id = f"{random.getrandbits(64):016x}"  # a name, no secret
        facts, caller = Facts(request_id, endpoint=asked.endpoint.name, api=asked.api), None
        if API in sys.modules:
            go_on_from(scope["headers"])
        try:
            caller = await self._caller(scope)
            require_allowed(caller, asked)
            raw = await read_body(scope, receive, self.configuration.options.most_bytes)
            if time.perf_counter() - begin > KNOWN_S / 2:  # it came slowly: the key may be another by now
                caller = await self._caller(scope)
                require_allowed(caller, asked)
            inbound = Inbound(asked, scope, raw, self._forward)
            guard, caller = await self._guard(caller, inbound)
            life = CallLife(self.surroundings(), guard, caller, inbound, facts)
            await life.serve(self._route(caller, inbound), receive, send)
        except Exception as error:
            refused = self._refused(error, scope)
            facts.status, facts.refused = refused.status, facts.refused or (refused.code or refused.kind)
            await send_refusal(send, asked.api, refused, request_id)
        finally:
            self.seen.call(facts, caller, time.perf_counter() - begin)

    def _route(self, caller: Caller, inbound: Inbound) -> Route:
        """Where a caller's model is asked for; raises `Refused`."""
        asked, model = inbound.asked, inbound.model
        if asked.kind and not model:
            return self._place(asked)
        route = self.configuration.route(model, asked.api, asked.beside)
        named = model if isinstance(route, NoRoute) else route.model
        if not caller.allows(model, named):
            raise Refused(403, f"this key may not call {model[:100]!r}", "permission_error", param="model")
        if isinstance(route, NoRoute):
            status, code = (404, "model_not_found") if route.reason == "unknown" else (400, route.reason)
            raise Refused(status, route.sentence(caller.allows), code=code, param="model")
        return route

    def _place(self, asked: ModelOperation) -> Route:
        """Where an operation goes that names no model: to the first upstream that speaks its API."""
        for upstream in self.configuration.upstreams.values():
            if asked.api in upstream.bases:
                return Route(asked.kind, (Target(upstream, ""),), attempts=1)
        raise Refused(400, f"no upstream speaks {asked.api}'s API", code="dialect")

    def _refused(self, error: Exception, scope: MutableMapping[str, Any]) -> Refused:
        if isinstance(error, Refused):
            return error
        if isinstance(error, BudgetGuardError):
            return refusal_of(error, self.configuration.options)
        if isinstance(error, RecursionError):  # of who reads a prompt: nothing is sent by then
            return Refused(400, "the body is nested too deeply")
        return problem_of(error, scope)

    async def _caller(self, scope: MutableMapping[str, Any]) -> Caller:
        hosting = self.hosting
        caller = hosting.keys.known(scope)
        if caller is None:
            caller = await ask_store(hosting.keys, hosting.projects, hosting.runner, scope)
        scope[KNOWN] = True
        return caller if caller.project is not None else self._nobody

    async def _guard(self, caller: Caller, inbound: Inbound) -> tuple[Guard, Caller]:
        """The guard of the caller's project, which knows the limits of the caller, those of the end user among them."""
        assert caller.project is not None
        guard, end_user = await self._guard_of(caller.project), inbound.end_user
        if end_user is not None and not self._open:
            caller = caller._replace(owners=(*caller.owners, await self._customer(caller.project, end_user)))
        if caller.owners:
            self._guards.told(guard, caller.owners)
        return guard, caller

    async def _guard_of(self, project: str) -> Guard:
        guard = self._guards.known(project)
        if guard is None:
            guard = await self.hosting.runner.run(self._guards.open, project, blocking=True)
        return guard

    async def _customer(self, project: str, name: str) -> OwnerRules:
        hosting = self.hosting
        customer = hosting.keys.known_customer(project, name)
        if customer is None:
            blocking = hosting.projects.blocking
            customer = await hosting.runner.run(hosting.keys.find_customer, project, name, blocking=blocking)
        if customer.blocked:
            raise Refused(403, "this end user is blocked", "permission_error", code="blocked")
        return customer.owner

    async def _tell(self, call_id: str, scope: MutableMapping[str, Any], send: Any) -> None:
        """What a call came to."""
        try:
            caller = await self._caller(scope)
            assert caller.project is not None
            guard = await self._guard_of(caller.project)
            assert guard.store is not None
            found = await self.hosting.runner.run(call_of, guard.store, caller, call_id, blocking=True)
        except Exception as error:
            await send_refusal(send, "openai", self._refused(error, scope))
            return
        await send_whole(send, 200, msgspec.json.encode(found), (_JSON,))

    # -- the models ----------------------------------------------------------------------------------------------

    async def _list(self, listing: Listing, scope: MutableMapping[str, Any], send: Any) -> None:
        try:
            caller = await self._caller(scope)
            found = listing.answer(self.configuration, caller)
        except Exception as error:
            await send_refusal(send, listing.api, self._refused(error, scope))
            return
        await send_whole(send, 200, found, (_JSON,))


async def send_refusal(send: Any, api: Api, refused: Refused, request_id: str = "") -> None:
    """A refusal in the words of an API, with the request's id if it has one."""
    named = ((b"x-request-id", request_id.encode()),) if request_id else ()
    await send_whole(send, refused.status, body_of(api, refused, request_id), (_JSON, *named, *refused.headers))


def require_allowed(caller: Caller, asked: ModelOperation) -> None:
    """Raise `Refused` for a key that is no key for calls, or not for operations of this kind."""
    if caller.scope != CALL and caller.prefix:
        raise Refused(
            403,
            f"this key is for {caller.scope}: a model is called with one of scope {CALL!r} (budgetguard keys create)",
            "permission_error",
        )
    if asked.kind and not (caller.endpoints and asked.kind in caller.endpoints):
        raise Refused(
            403,
            f"what {asked.kind!r} costs cannot be read from its answers, so it is not open to this key: a key is "
            f"allowed it by name (--endpoints {asked.kind})",
            "permission_error",
            code="endpoint_not_allowed",
        )
    if asked.endpoint.opaque and not asked.kind:
        raise Refused(404, "there is nothing at this path", code=NOT_FOUND)
