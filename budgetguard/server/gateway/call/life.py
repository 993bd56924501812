"""
The life of a call at the gateway: who asks for what, where it may go, what is held, what is answered.

A plain answer is read whole and settled before its client has it, so that nobody can have an answer that is not on the
books. A stream goes by as it comes, and is settled at its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

from ....calls import Endpoint
from ....errors import BudgetGuardError
from ....guards.fallbacks.fallback import Degraded
from ....guards.guard import Guard
from ....guards.scope import Scope
from ....money import Nano
from ....prices.hosts import host_of
from ...keys import Caller
from ...problems import Refused
from ..config.model import Route, Target
from ..routing.router import Cooling
from ..seen import Facts
from .answers.heads import Header, own_headers, passed, send_whole
from .answers.listening import StreamEar
from .answers.stream import Outlet
from .attempts import Attempts, CoolingError, Exhausted, UnknownOutcomeError, UpstreamAnswer, Way
from .fallbacks import FallbackRoutes, NearError, bound, is_near, rewritten, standing_by
from .offers import BookedCharge, Offer, alike, dearest, most, name_of, offer_of, require_named, whereabouts
from .refusals import NO_RETRY, Budgeted, cooling, refusal_of
from .request import Inbound
from .surroundings import Surroundings

log = logging.getLogger("budgetguard.server")

_MOST_ID: Final = 200
"""Letters of an upstream's name for a request that are logged."""


class CallLife:
    """One call of a client."""

    def __init__(self, around: Surroundings, guard: Guard, caller: Caller, inbound: Inbound, facts: Facts) -> None:
        self.around, self.guard, self.caller, self.inbound = around, guard, caller, inbound
        self.request_id = facts.request_id
        self._asked = inbound  # as its client wrote it
        self._sent = 0  # requests to upstreams, of all charges
        self._full = False
        """Whether it is known that a budget is full, or nearly."""
        self.facts = facts
        facts.model, facts.stream = inbound.model, inbound.stream

    async def serve(self, route: Route, receive: Any, send: Any) -> None:
        """Answer it; raises `Refused` for what is not sent, as long as no status is out."""
        outlet: Outlet | None = None
        if self.inbound.stream:
            outlet = Outlet(receive, send, self.around.options.ping_s, self._own_headers(None))
        try:
            await self._serve(route, outlet, send)
        except asyncio.CancelledError:
            if outlet is None or not outlet.left():
                raise
            self.facts.status = self.facts.status or 499
        except Refused as refused:
            if outlet is not None:
                await outlet.quiet()
            if outlet is None or not outlet.started:
                raise
            self.facts.status = refused.status
            await outlet.fail(self.inbound.asked.api, refused, self.request_id)
        finally:
            if outlet is not None:
                await outlet.close()

    async def _serve(self, route: Route, outlet: Outlet | None, send: Any) -> None:
        if self._is_free(route):
            charge, attempts, answered = await self._uncharged(route)
        else:
            try:
                charge, attempts, answered = await self._charged(route, outlet)
            except (Budgeted, NearError) as error:
                charge, attempts, answered = await self._instead(route, error, outlet)
        self._note(charge, attempts, answered)
        if answered.body is None:
            assert charge is not None
            way_out = outlet or Outlet(_silent, send, 0, ())  # of a stream that nobody asked for
            try:
                await self._stream(charge, attempts, answered, way_out)
            finally:
                await way_out.close()
            return
        if not answered.good:
            self._hide_ours(answered)
        headers = [*passed(answered), *self._own_headers(charge)]
        if outlet is not None:
            await outlet.quiet()
        if outlet is not None and outlet.started:
            refused = Refused(502, f"the upstream answered {answered.reply.status}", "upstream_error")
            if not answered.good:
                raise refused
            await outlet.end()
            return
        await send_whole(send, answered.reply.status, answered.body, headers)

    # -- the money -----------------------------------------------------------------------------------------------

    async def _instead(
        self, route: Route, first: Budgeted | NearError, outlet: Outlet | None
    ) -> tuple[BookedCharge, Attempts, UpstreamAnswer]:
        """Have the next model answer that fits, of those that are named where there is no room for the one asked."""
        names = first.others or route.over_budget
        if isinstance(first, Budgeted) and (first.error.paused or not names):
            raise first.final() from first.error
        self._full = True
        others = FallbackRoutes(self.around.configuration, self.caller, self.inbound, route)
        others.add(names)
        while (other := others.next()) is not None:
            self._ask_for(other.model, outlet)
            try:
                offers = [self._offer(other, target) for target in other.candidates]
                self.inbound = rewritten(self.guard, self.inbound, offers)
                return await self._charged(other, outlet)
            except Refused as error:
                others.refused(other, error)
                if isinstance(error, Budgeted):
                    others.add(error.others or other.over_budget)
        self._ask_for("", outlet)
        if isinstance(first, NearError):  # nearly full is not full
            return await self._charged(route, outlet)
        self.facts.refused = type(first.error).__name__
        raise others.told(first.final()) from first.error

    def _ask_for(self, model: str, outlet: Outlet | None) -> None:
        """From now on another model than the client's is asked; "": its own again."""
        facts, asked, self.inbound = self.facts, self.inbound.model, self._asked
        facts.model, facts.fallback_of, facts.refused = (model, asked, "") if model else (asked, "", "")
        if outlet is not None:
            outlet.headed(self._own_headers(None))

    async def _charged(self, route: Route, outlet: Outlet | None) -> tuple[BookedCharge, Attempts, UpstreamAnswer]:
        """Hold for the dearest candidate, and have one of them answer; the next charge where budgets differ."""
        last: Exhausted | None = None
        refused: Refused | None = None
        for group, targets in self._groups(route):
            best, priced = dearest(self.guard, group)
            among = {name_of(offer.target): offer for offer in priced}
            again = True
            while again and self._sent < route.attempts:
                charge = BookedCharge(self.guard, best)
                if self.guard.coverage.falls or self.facts.fallback_of:
                    model = route.model if self.facts.fallback_of else ""
                    charge.fallback = standing_by(self.guard, self.inbound, model, looks=not self._full)
                attempts = Attempts(self.guard, self.inbound, charge, among, self._way(route, targets))
                again = False
                try:
                    return charge, attempts, await self._send(route, charge, attempts, outlet)
                except Exhausted as error:
                    if error.reply is not None or last is None:
                        last = error
                        heard = charge, attempts
                except Budgeted as error:  # another group may have room: its budgets are not the same
                    refused = refused or error
                except UnknownOutcomeError as error:
                    if not route.retry_unknown:
                        raise self._unknown(error) from error
                    again, refused = True, self._unknown(error)
                finally:
                    self._sent += attempts.sent
                    self.facts.away_s += attempts.away_s
        if last is not None and last.reply is not None:
            return *heard, last.reply
        told = f"no upstream of {self.inbound.model!r} could be reached, and nothing was sent"
        raise refused or Refused(502, told, "upstream_error", code="upstream_unreachable")

    def _groups(self, route: Route) -> Iterator[tuple[list[Offer], Iterator[Target | Cooling]]]:
        """The offers that the same budgets cover, those of whom the router would ask first before the others."""
        targets = self._targets(route)
        offers = [self._offer(route, target) for target in route.candidates]
        if len(offers) == 1:
            yield offers, targets
            return
        groups = alike(offers)
        if len(groups) > 1:
            first = next(targets)
            if not isinstance(first, Cooling):
                groups.sort(key=lambda group: name_of(first) not in {name_of(offer.target) for offer in group})
            targets = chain([first], targets)
        for group in groups:
            yield group, targets
            targets = self._targets(route)

    async def _send(
        self, route: Route, charge: BookedCharge, attempts: Attempts, outlet: Outlet | None
    ) -> UpstreamAnswer:
        shell = self.guard.async_shell

        async def proceed() -> UpstreamAnswer:
            if route.degrade_at is not None and not self._full and is_near(charge, route) and not bound(self.inbound):
                raise NearError(route.over_budget)
            if outlet is not None:
                outlet.wait_for_answer()
            return await attempts.proceed()

        try:
            return await shell.send(charge, proceed, attempts.observe, attempts.failed)
        except CoolingError as error:
            raise cooling(self.inbound.model, error.retry_after_s) from error
        except Degraded:
            raise NearError(() if charge.fallback is None else charge.fallback.left) from None
        except BudgetGuardError as error:
            if charge.asked.scope is not None:
                charge.asked.scope.refusals.clear()  # it lasts as long as its key: no call of it is to be kept
            self.facts.refused = type(error).__name__
            raise refusal_of(error, self.around.options, charge.fallback) from error

    async def _uncharged(self, route: Route) -> tuple[None, Attempts, UpstreamAnswer]:
        """What costs nothing: counting tokens, moderations where these are free."""
        targets = self._targets(route)
        offers = {name_of(target): self._offer(route, target) for target in route.candidates}
        charge = BookedCharge(self.guard, next(iter(offers.values())))
        attempts = Attempts(self.guard, self.inbound, charge, offers, self._way(route, targets))
        attempts.free = True
        try:
            return None, attempts, await attempts.proceed()
        except (Exhausted, UnknownOutcomeError) as error:
            reply = error.reply if isinstance(error, Exhausted) else None
            if reply is None:
                raise Refused(502, "no upstream answered", "upstream_error") from error
            return None, attempts, reply

    def _is_free(self, route: Route) -> bool:
        """Whether it costs nothing, wherever it is asked."""
        endpoint: Endpoint = self.inbound.asked.endpoint
        if not endpoint.free_at_home:
            return endpoint.request is None
        bases = [target.upstream.bases[self.inbound.asked.api] for target in route.candidates]
        return all(host_of(whereabouts(base).name).openai for base in bases)

    def _way(self, route: Route, targets: Iterator[Target | Cooling]) -> Way:
        return Way(route, targets, self.around.router, self.around.client)

    def _offer(self, route: Route, target: Target) -> Offer:
        scope = self.around.scope_of(self.caller)
        wanted = self.around.tags_of(self.guard, self.caller.owners)
        if wanted or self.inbound.end_user is not None:
            scope = Scope(self._tags(route, target, scope.tags, wanted), wait_s=scope.wait_s)
        offer = offer_of(self.guard, self.inbound, target, scope)
        if self.facts.fallback_of:
            offer.terms = offer.terms._replace(instead_of=self.facts.fallback_of)
        if offer.call.others or offer.call.also or offer.call.tools is not None:
            require_named(offer, self.caller, counted="model" in wanted)
        return offer

    def _tags(self, route: Route, target: Target, whose: Mapping[str, str], wanted: Sequence[str]) -> Mapping[str, str]:
        """Whose the call is, by the key alone, with the end user that the request names, and what rules count by."""
        tags = dict(whose)
        if self.inbound.end_user is not None:
            tags["end_user"] = self.inbound.end_user
        if wanted:
            upstream = target.upstream
            facts = {"model": route.model_at(target), "provider": upstream.provider, "upstream": upstream.name}
            tags.update((name, facts[name]) for name in wanted if facts[name])
        return tags

    def _price(self, route: Route, target: Target) -> Nano | None:
        """For "cheapest"."""
        try:
            return most(self.guard, self._offer(route, target))
        except BudgetGuardError:
            return None

    def _targets(self, route: Route) -> Iterator[Target | Cooling]:
        return self.around.router.targets(route, partial(self._price, route) if route.strategy == "cheapest" else None)

    # -- the answer ----------------------------------------------------------------------------------------------

    async def _stream(self, charge: BookedCharge, attempts: Attempts, answered: UpstreamAnswer, outlet: Outlet) -> None:
        """Hand on a stream, and settle it at its end, whatever becomes of its client."""
        ear = StreamEar(charge, hide_usage=attempts.ask_usage)
        ear.deaf = ear.deaf or answered.encoded
        ending: Any = "dropped"
        try:
            await outlet.start(answered.reply.status, [*passed(answered), *self._own_headers(charge)])
            answered.attempt.first_byte()
            ending = await outlet.hand_on(answered.reply, ear)
        except asyncio.CancelledError:
            if not outlet.left():
                raise
            ending = "left"
        finally:
            answered.reply.close()
            ending = ear.ended(ending)
            answered.attempt.ended("answered" if ending == "whole" else "left" if ending == "left" else "unknown")
            ear.conclude(ending)
            if not charge.closed(False):
                await asyncio.shield(self.guard.async_shell.run(charge.close()))
            self.facts.cost = charge.booked
        if ending == "dropped" and answered.encoded:
            return  # nothing of ours can be read in it: its connection is cut, as the upstream's was
        if ending == "dropped" and not outlet.gone:
            broken = Refused(502, "the upstream broke off in the middle of its answer", "upstream_error")
            await outlet.fail(self.inbound.asked.api, broken, self.request_id)
        elif not outlet.gone:
            await outlet.end()

    def _hide_ours(self, answered: UpstreamAnswer) -> None:
        """Raise what the client is told where an error is about our key, which the provider's own words may show."""
        if answered.reply.status in {401, 403} or 300 <= answered.reply.status < 400:
            told = "the upstream refused this gateway's own credentials, or sent it elsewhere: its log says which"
            raise Refused(502, told, "upstream_error", code="upstream_credentials", headers=(NO_RETRY,))

    def _own_headers(self, charge: BookedCharge | None) -> list[Header]:
        return own_headers(self.facts, charge, self.around.options, self.caller.owners)

    def _note(self, charge: BookedCharge | None, attempts: Attempts, answered: UpstreamAnswer) -> None:
        facts, upstream = self.facts, answered.offer.upstream
        facts.status, facts.upstream, facts.provider = answered.reply.status, upstream.name, upstream.provider
        facts.upstream_s, facts.away_s = attempts.head_s, facts.away_s or attempts.away_s
        facts.attempts, facts.model_there = max(self._sent, attempts.sent, 1), answered.offer.model
        request = answered.reply.header("x-request-id") or answered.reply.header("request-id")
        facts.upstream_request = answered.shown(request.encode("utf-8", "replace")).decode()[:_MOST_ID]
        if charge is not None:
            facts.call_id = charge.id
            if answered.body is not None:
                facts.cost = charge.booked

    def _unknown(self, error: UnknownOutcomeError) -> Refused:
        told = (
            f"the upstream {error.offer.upstream.name!r} broke off before it answered ({error}); the call may have "
            "been billed, and is booked as held"
        )
        status = 504 if "Timeout" in str(error) else 502
        return Refused(status, told, "upstream_error", code="upstream_broke_off", headers=(NO_RETRY,))


async def _silent() -> Mapping[str, Any]:
    """A client that is never known to be gone."""
    await asyncio.get_running_loop().create_future()
    return {}
