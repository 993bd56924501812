"""
One call's money, from its request to its settlement.

A `Charge` decides and does no I/O but a store's own. Its life:

    planned   admitted: project the cost and hold it on every layer of the ledger, at once; else by the steps of `admit`
    sent      observe: take in the answer, or the failure
    watched   the answer is unread: who watches it ends the charge
    ended     closed: settle at the true cost, at once; else by the steps of `close`, which also release

Straight first, steps second: what neither waits, nor is refused, nor counts tokens is done by two plain functions.

Unknown is not free: an answer without a usage, and a call that may have reached the provider, cost what was held.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..calls import Answer, Call, Ending, Listener
from ..concurrency.interrupts import interruption
from ..concurrency.queue import LINE
from ..concurrency.steps import Steps
from ..ledger import Admitted, Stale, new_id
from ..money import Nano
from ..prices.tiers import leaves_open
from ..process import tally
from ..process.family.shares import is_apart, living
from ..process.keeper import Living
from ..process.layers import is_stored
from ..process.state import PROCESS
from ..process.tally import Held, Tally
from .admission import (
    BACKGROUND_TTL_MS,
    NO_BOUNDS,
    Admission,
    Asked,
    Bounds,
    hold_of,
    is_bounded,
    is_hard,
    keys_of,
    project,
)
from .costs.bill import NOTHING_BESIDE, at_most, completed, end_of
from .costs.cuts import note_cut, raise_cut
from .costs.projection import Projection, Wish, is_cut, is_open, plain_wish
from .costs.true_cost import cost_of
from .costs.unpriced import require_price
from .entries import entry_of, used_by
from .fallbacks.fallback import Fallback
from .fallbacks.near import look_after, look_before
from .parts import Parts
from .plan import NO_PLAN, CallPlan
from .unscoped.watch import ask_terms, learn_whose, require_scope

if TYPE_CHECKING:
    from ..telemetry.traced import TracedCall

log = logging.getLogger("budgetguard")

ChargeState: TypeAlias = Literal["planned", "sent", "watched", "ended"]


class Charge:
    """The money of one call. `bounds` says how its request is to be amended."""

    __slots__ = (
        "answer",
        "asked",
        "beside",
        "bounds",
        "call",
        "fallback",
        "held",
        "parts",
        "plan",
        "projection",
        "state",
        "traced",
    )

    unread = missed = False
    """Whoever made the call has its charge ended, however it leaves."""

    def __init__(self, parts: Parts, asked: Asked, call: Call, tallies: Sequence[Tally] = ()) -> None:
        self.parts = parts
        self.asked = asked
        self.call = call
        self.plan: CallPlan = NO_PLAN
        self.held = Held(new_id(), PROCESS.pid, tallies)
        self.projection: Projection | None = None
        """What it can cost; made only where the plan alone does not say it."""
        self.bounds: Bounds = NO_BOUNDS
        self.fallback: Fallback | None = None
        """Which models may be asked in the place of its own, if whoever made it can do that."""
        self.answer: Answer | None = None
        self.beside = NOTHING_BESIDE
        self.state: ChargeState = "planned"
        self.traced: TracedCall | None = None
        """Who tells OpenTelemetry of it, if anybody does."""

    @property
    def id(self) -> str:
        """That of its hold."""
        return self.held.id

    def admitted(self, blocks: bool) -> bool:
        """
        Hold the projected cost if that is done at once; whether it was, else `admit` is to be run.

        `blocks`: the caller may wait for a store.
        """
        PROCESS.open[id(self)] = self
        parts, asked, call, held = self.parts, self.asked, self.call, self.held
        ledger, waits = parts.ledger, (scope := asked.scope) is not None and scope.wait_s
        apart = Tally.apart and held.tallies and is_apart(held.tallies)
        steps = (fallback := self.fallback) is not None and fallback.steps
        if asked.endpoint.opaque or call.background or apart or steps or (waits and LINE.queues):
            return False
        plan = self.plan = parts.plans.find(asked.provider, call, asked.tags)
        doubtful = plan.doubtful or (scope is None and plan.watched and PROCESS.scoped)
        hard = plan.cover.hard or (bool(held.tallies) and is_hard(self))
        wish = plain_wish(call, plan, hard, parts.settings.output_guess, held)
        if wish is None or doubtful or (ledger.blocking and not blocks and not plan.cover.leased):
            return False
        hold, leased = hold_of(self, wish.useful_only() if waits else wish)
        outcome = ledger.reserved(held, hold, leased, blocks)
        if outcome is not True or held.spared is not None:
            if isinstance(outcome, Stale):
                parts.plans.coverage.learn(outcome)
            return False
        if wish.units:
            if not self._capped(wish):
                return False
        elif wish.least is not None:
            if held.amount < wish.amount:
                return False
            self.bounds = Bounds(wish.output, wish.output)
        self.state = "sent"
        return True

    def _capped(self, wish: Wish) -> bool:
        """Have the request capped if need be; whether all that is wanted was admitted, so that this is all there is."""
        if not is_open(wish):
            return True
        if is_cut(wish, self.held):
            return False
        self.bounds = Bounds(wish.output, wish.output)
        return True

    def admit(self) -> Steps[None]:
        """Hold the projected cost on every ledger, or raise; afterwards the call may be sent."""
        PROCESS.open[id(self)] = self
        parts, asked = self.parts, self.asked
        plan = self.plan = self._planned()
        if plan.doubtful:
            yield from learn_whose(parts, plan, asked, self.call.model)
            plan = self.plan = self._planned()
        require_scope(parts, plan, asked.scope)
        unknown = plan.error is not None and not plan.assumed
        if plan.cover.terms and (plan.free or unknown) and not asked.endpoint.opaque:
            # There may be no hold that tells of the user's own budget, which may have to know a price, or of a pause.
            yield from ask_terms(parts, asked.tags, needed=unknown and parts.settings.unpriced != "count")
            plan = self.plan = self._planned()
            if plan.cover.paused is not None:
                yield from learn_whose(parts, plan, asked, self.call.model)
        if not asked.endpoint.opaque and plan.error is not None:
            require_price(self, asked.host.name)
            if not plan.assumed:
                self.call = self.call._replace(others=())
            if plan.unpriced:
                parts.notices.warn_unpriced(self.call.model, assumed=plan.assumed)
        look_before(self)
        admission = self._admission()
        try:
            if asked.endpoint.opaque:
                yield from admission.gate()
            elif not plan.unheld:
                self.bounds = yield from admission.hold()
        finally:
            self.call, self.plan, self.projection = admission.call, admission.plan, admission.projection
        look_after(self)
        self.state = "sent"

    def _planned(self) -> CallPlan:
        return self.parts.plans.find(self.asked.provider, self.call, self.asked.tags)

    def _admission(self) -> Admission:
        return Admission(self)

    def observe(self, answer: Answer) -> None:
        """Take in the answer."""
        self.answer = answer

    def failed(self, free: bool, *, sent: int = 0) -> None:
        """Take in that the call failed; `free` if the provider cannot have billed it; how many requests were `sent`."""
        if not free:
            self.answer = Answer()
        elif sent and "requests" in self.plan.cover.units and self.call.file is None:
            self.answer = Answer(free=True)
        else:
            self.state = "planned"

    def note(self, *, lost: int | None = None, stated: Nano | None = None, attempts: int | None = None) -> None:
        """Take in what is known of the bill beside the answer."""
        before = self.beside
        self.beside = before._replace(
            lost=before.lost if lost is None else lost,
            stated=before.stated if stated is None else stated,
            attempts=before.attempts if attempts is None else attempts,
        )

    def refused(self) -> None:
        """Take in that the provider read the input, refused to answer, and bills what it read."""
        self.answer = Answer(usage={"output_tokens": 0}, lacks=("input_tokens",))

    def interrupted(self, listener: Listener | None, ending: Ending) -> None:
        """Take in that the answer's stream ended: with its usage, or before that was seen."""
        answer = end_of(listener, self.id)
        if "output_tokens" in answer.lacks and not self._costs_what_was_heard(ending):
            answer, self.beside = at_most(self.call, answer, self.beside)
            answer = answer._replace(lacks=())
        self.answer = answer

    def reopen(self, answer: Answer) -> None:
        """Take in an answer that came after the end: of work in the background."""
        self.answer, self.state, self.held.owed = answer, "sent", False
        if self.traced is not None:
            self.traced.reopened()

    def living(self) -> Sequence[Living]:
        """What is to be kept while the call lives: its holds, where a store has them."""
        held, store = self.held, self.parts.ledger.books.store
        hold = held.hold
        if hold is None or self.state not in {"sent", "watched"}:
            return ()
        shared = living(held)
        if store is None or held.spared is not None or not is_stored(hold):
            return shared
        return [*shared, (store, hold.admitted(Admitted(held.amount, held.units)))]

    def _costs_what_was_heard(self, ending: Ending) -> bool:
        """Whether a stream without a last word costs what was heard of it, or all that was held."""
        abandoned = self.parts.settings.abandoned
        if abandoned != "auto":
            return abandoned == "observed"
        if ending == "whole" or not is_bounded(self):
            return True
        return ending == "left" and self.asked.host.stops

    def closed(self, blocks: bool) -> bool:
        """
        Settle an answer that says all, if that is done at once; whether it was, else `close` is to be run.

        `blocks`: the caller may wait for a store.
        """
        if self.state == "ended":
            return True
        answer, held, ledger = self.answer, self.held, self.parts.ledger
        hold = held.hold
        if self.state != "sent" or answer is None or hold is None or answer.lacks or not answer.final:
            return False
        apart = Tally.apart and held.tallies and is_apart(held.tallies)
        if held.pid != PROCESS.pid or apart or (not blocks and ledger.blocking and not hold.leases):
            return False
        try:
            entry = entry_of(self, answer, self.cost(answer))
            if not ledger.settled(held, entry, blocks):
                return False
            if answer.id is not None:
                self.parts.notices.note_settled(answer.id, self.asked.tags)
            if self.bounds.cap is not None:
                self.plan.lately.learn(answer, self.call.choices)
            if answer.tier is not None or answer.cut:
                self._note(answer)
        except BaseException as error:
            if not isinstance(error, Exception) or interruption(error) is not None:
                self.leave()  # every step may be repeated
                raise
            return False  # `close` says why
        PROCESS.open.pop(id(self), None)
        for crowd in held.company.crowds:
            crowd.parts.pop(held.id, None)
            crowd.holds.pop(held.id, None)
        self.state = "ended"
        if PROCESS.followers or LINE.queues or self.traced is not None:
            self._follow(entry.cost)
            self._say_ended()
        return True

    def close(self) -> Steps[None]:
        """End the holds: settle what was answered, release what was not sent. Never raises; done once."""
        if self.state == "ended":
            return
        try:
            if self.held.pid == PROCESS.pid:  # else a forked child: the parent ends its own calls
                yield from self._end()
        except BaseException as error:
            if not isinstance(error, Exception) or interruption(error) is not None:
                self.leave()  # cancelled or interrupted: every step may be repeated
                raise
            log.exception("call %s could not be settled", self.id)
        PROCESS.open.pop(id(self), None)
        self.held.company.leave(self.id)
        self.state = "ended"
        self._say_ended()

    def _say_ended(self) -> None:
        """Have it known to who waits for its room, and to its trace."""
        if LINE.queues:
            LINE.call(keys_of(self))
        if self.traced is not None:
            self.traced.ended()

    def leave(self) -> None:
        """Have another thread end the charge."""
        PROCESS.reaper.put(self.abandon)

    def abandon(self) -> None:
        """End the charge here and now."""
        self.parts.shell.run(self.close())

    def _end(self) -> Steps[None]:
        answer, held = self.answer, self.held
        if self.state == "planned":
            yield from self.parts.ledger.release(held)
        elif self.asked.endpoint.opaque:
            if held.hold is not None:
                yield from self._settle(Answer(free=True))
        elif answer is None or answer.final:  # sent, and nothing heard: unknown is not free
            yield from self._settle(answer or Answer())
        else:
            if held.tallies:
                runs_ms = self.call.runs_ms or BACKGROUND_TTL_MS
                tally.expect(held.tallies, self.id, self.parts.clock, runs_ms / 1000)
            yield from self.parts.later.keep(self, answer)

    def _settle(self, answer: Answer) -> Steps[None]:
        unheld = self.held.hold is None
        if answer.lacks:
            projection = self.projected()
            answer, self.beside = yield from completed(self.call, answer, projection, self.beside, unheld=unheld)
        cost = self.cost(answer)
        if unheld:
            yield from self._book_unheld(cost)
        if answer.id is not None:
            self.parts.notices.note_settled(answer.id, self.asked.tags)
        if self.bounds.cap is not None:
            self.plan.lately.learn(answer, self.call.choices)
        self._note(answer)
        yield from self.parts.ledger.settle(self.held, entry_of(self, answer, cost))
        self._follow(cost)

    def _follow(self, cost: Nano) -> None:
        """Have it known what it cost."""
        for follower in PROCESS.followers:
            follower.settled(self.asked.scope, self.asked.tags, cost)

    def _note(self, answer: Answer) -> None:
        """Take in what an answer says for later calls: of the tier they are answered in, of the caps that we add."""
        call = self.call
        if answer.tier is not None and leaves_open(call.tier):
            self.parts.plans.prices.meet(self.asked.provider, call.model, answer.tier)
        if answer.cut and self.bounds.capped:
            note_cut(self)

    raise_cut = raise_cut

    def _book_unheld(self, cost: Nano) -> Steps[None]:
        """
        See to it that a call for which nothing was held is booked all the same, where it did cost something.

        No hold has told of the user's newest budget, nor names the accounts.
        """
        parts = self.parts
        if not cost:
            self.held.tallies = ()
            return
        yield from parts.ledger.book(self.held, cost)
        if parts.ledger.books.store is not None:
            yield from ask_terms(parts, self.asked.tags)
            self.plan = parts.plans.covered_anew(self.plan, self.call.model, self.asked.tags)

    def projected(self) -> Projection | None:
        """What the call can cost, where something was to be held for it."""
        if self.projection is None and not self.plan.unheld:
            self.projection = project(self)
        return self.projection

    used = used_by

    cost = cost_of
