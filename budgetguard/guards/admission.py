"""
Admission, in steps: what a call may cost is held on every layer of the ledger, or the call is refused.

For what the plain path of a `Charge` does not do at once. A hold that does not fit is planned again with the input
counted, waits its turn if only holds are in the way and the caller said so, or raises the refusal.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

from ..budgets.crowds import NOBODY
from ..budgets.refusals import least_said, refuse, why_so_much
from ..calls import Call, Endpoint, Host
from ..concurrency.queue import LINE, Turn
from ..concurrency.steps import Step, Steps
from ..errors import StoreError, UnpricedModelError
from ..ledger import NO_TAGS, Account, Hold, Millis, Refusal, Stale, Wanted
from ..ledger.units import ELASTIC
from ..money import MAX_AMOUNT
from ..prices.book import Quote
from ..process.state import PROCESS
from ..process.tally import Held, Tally
from .costs.projection import Projection, Wish, is_cut, is_open
from .costs.room import fits_alone, room_in_s
from .costs.sharing import lowered, shared
from .costs.unpriced import UNPRICED, require_price
from .fallbacks.fallback import Fallback, passed_on
from .parts import Parts
from .plan import CallPlan
from .scope import Scope, note_refusal
from .unscoped.watch import learn_whose

BACKGROUND_TTL_MS: Millis = 24 * 60 * 60 * 1000
"""How long a background response may run before its hold is booked as spent."""

_TRIES = 8

_TIER_FIELD, _STANDARD = "service_tier", "default"
"""How a request says that it wants OpenAI's standard tier, whatever its project is set to."""

ANY_ROOM = Wish(1, None, 0, 0, {"tokens": Wanted(1)})
"""The least there is, to ask whether a budget has any room."""


class Asked(NamedTuple):
    """What is asked for, where and by whom: what is known before anything is worked out."""

    endpoint: Endpoint
    provider: str | None
    host: Host
    tags: Mapping[str, str] = NO_TAGS
    scope: Scope | None = None
    instead_of: str = ""
    """The model that the call was written for, where another one is asked; "": it is its own."""


class Bounds(NamedTuple):
    """How the request is amended, so that it costs no more than was held."""

    cap: int | None = None
    """Its output cap."""
    model_cap: int | None = None
    """The most that the model can write."""
    more: Mapping[str, Any] = {}
    """What it is to say beside."""

    @property
    def capped(self) -> bool:
        """Whether an output cap below the model's own was added."""
        return self.cap is not None and self.model_cap is not None and self.cap < self.model_cap


NO_BOUNDS = Bounds()


class Planned(Protocol):
    """A call, the plan for calls like it, and what it holds."""

    parts: Parts
    asked: Asked
    call: Call
    plan: CallPlan
    held: Held
    fallback: Fallback | None


def hold_of(it: Planned, wish: Wish) -> tuple[Hold, tuple[Account, ...]]:
    """What is to be held for a call in the store, and the accounts that leases are to hold it on instead."""
    call, asked, cover, parts = it.call, it.asked, it.plan.cover, it.parts
    if wish.amount > MAX_AMOUNT or (wish.units and wish.units["tokens"].amount > MAX_AMOUNT):
        wish = wish if is_bounded(it) else wish.bookable()  # a budget that watches is no reason to refuse it
    among = cover if it.held.company is NOBODY else it.held.company
    leased = () if call.background or parts.ledger.slices.leases is None else among.leased
    hold = Hold(
        it.held.id,
        among.plain if leased else among.accounts,
        wish.amount,
        wish.least,
        wish.useful,
        (call.runs_ms or BACKGROUND_TTL_MS) if call.background else parts.settings.ttl_ms,
        "charge" if call.background else cover.on_expire,
        cover.terms,
        asked.tags,
        asked.provider or "",
        call.model,
        (),
        wish.units,
    )
    return hold, leased


def project(it: Planned) -> Projection:
    """What a call can cost."""
    parts, asked = it.parts, it.asked
    return Projection(
        it.call,
        it.plan.quote or UNPRICED,
        parts.plans,
        provider=asked.provider,
        output_guess=parts.settings.output_guess,
        context_guess=parts.settings.context_guess,
        sure=asked.host.openai,
        others=it.plan.others,
    )


def is_hard(it: Planned) -> bool:
    """Whether a budget or a limit may refuse the call by its projected cost, in dollars."""
    return it.plan.cover.hard or any(own.hard for own in it.held.tallies)


def is_bounded(it: Planned) -> bool:
    """Whether one may refuse it by its projected cost, or its projected tokens."""
    return bool(it.plan.cover.tokens) or is_hard(it)


def keys_of(it: Planned) -> Iterator[Hashable]:
    """What the line calls the ledgers of a call."""
    store = it.parts.ledger.books.store
    yield from (id(own) for own in it.held.tallies)
    yield from ((id(store), account.key) for account in it.plan.cover.accounts)


class Admission:
    """The admission of one call. `held` is what it comes to, whoever interrupts it."""

    __slots__ = ("asked", "call", "fallback", "held", "more", "parts", "plan", "projection")

    def __init__(self, it: Planned) -> None:
        self.parts = it.parts
        self.asked = it.asked
        self.call = it.call
        self.plan = it.plan
        self.held = it.held
        self.fallback = it.fallback
        self.projection: Projection | None = None
        self.more: dict[str, Any] = {}

    def gate(self) -> Steps[None]:
        """For what has no price in its reply: only ask whether there is any room at all. It is a call in flight."""
        yield from self.place()
        if self.plan.cover.units <= ELASTIC:
            yield from self.parts.ledger.release(self.held)
        self.parts.notices.warn_opaque(self.asked.endpoint.name)

    def hold(self) -> Steps[Bounds]:
        """Hold the projected cost, or raise; how the request is to be amended."""
        try:
            return (yield from self._hold())
        except UnpricedModelError as error:
            if self.plan.error is not None:
                raise
            yield from self._unprice(error)
        return NO_BOUNDS if self.plan.unheld else (yield from self._hold())

    def _unprice(self, error: UnpricedModelError) -> Steps[None]:
        """Plan the call as one without a price: something that it may use, or a model beside its own, has none."""
        parts, asked, store = self.parts, self.asked, self.parts.ledger.books.store
        bare = replace(self.plan, quote=None, others=(), flat=None)
        if bare.cover.terms and store is not None:  # there may be no hold that tells of the user's own budget
            yield Step(partial(parts.read_terms, asked.tags), store.blocking)
            bare = parts.plans.covered_anew(bare, self.call.model, asked.tags)
        self.plan = parts.plans.unpriced(bare, asked.provider, self.call, error)
        if not self.plan.assumed:
            self.call = self.call._replace(others=())
        require_price(self, asked.host.name)
        parts.notices.warn_unpriced(self.call.model, assumed=self.plan.assumed)

    def _hold(self) -> Steps[Bounds]:
        projection = self.projection = project(self)
        if self.held.hold is None:
            wish = yield from self.place()
        else:  # at once, as far as that could be done
            wish = self._wish(projection)
            self._date()
        self._bound_tools(projection)
        if not is_open(wish):
            return Bounds(more=self.more) if self.more else NO_BOUNDS
        cap = wish.output
        if is_cut(wish, self.held):
            if self.held.amount < wish.amount:
                self._leave_tier()
            cap = self._cap(projection, wish)
            if cap < 2 * projection.cuts[0] and (yield from self._count()):
                cap = self._cap(projection, wish)
        if projection.stated is not None:
            self.call = self.call._replace(max_output=cap)
        return Bounds(cap, wish.output, self.more)

    def _wish(self, projection: Projection) -> Wish:
        call, hard, tokens = self.call, is_hard(self), self.plan.cover.tokens
        stated, lowers = call.max_output is not None or call.default_output is not None, projection.stated is not None
        if (hard or tokens) and call.cap is not None and call.output and (lowers or not stated):
            projection.cuts = shared(self.held, self.plan.cover, self.plan.lately)
            if lowers:
                projection.cuts = lowered(projection.cuts, self.plan.lately, call.least_output)
        return projection.wish(hard, tokens)

    def _cap(self, projection: Projection, wish: Wish) -> int:
        """The most output that what was admitted is enough for, of dollars and of tokens."""
        cap, held = wish.output, self.held
        if held.amount < wish.amount:
            cap = min(cap, projection.cap(held.amount))
        if wish.units and held.units["tokens"] < wish.units["tokens"].amount:
            cap = min(cap, projection.cap_in(held.units["tokens"]))
        return cap

    def _leave_tier(self) -> bool:
        """
        CallPlan the call in the standard tier, which it then asks for; whether it can.

        For one that names no tier, where the one that its project may be set to costs more than there is room for. A
        project that was seen to be set to one is left in it.
        """
        projection, call, asked = self.projection, self.call, self.asked
        if projection is None or not (projection.quote.open and asked.host.tiers and call.tier is None and call.cap):
            return False
        if not asked.host.takes(_TIER_FIELD, _STANDARD) or _TIER_FIELD in self.more:
            return False
        plans = self.parts.plans
        quotes: list[Quote] = [plans.quote(asked.provider, model, _STANDARD) for model in (call.model, *call.others)]
        projection.requote(*quotes)
        self.more[_TIER_FIELD] = _STANDARD
        return True

    def _bound_tools(self, projection: Projection) -> None:
        """Have the request say how often hosted tools may be called, where a hard budget holds for that."""
        tools = self.call.tools
        if tools is None or tools.cap is None or not is_bounded(self):
            return
        self.more[tools.cap] = projection.tool_calls
        if projection.tool_calls < tools.calls:
            self.parts.notices.note_fewer(projection.tool_calls, tools.cap)

    def _count(self) -> Steps[bool]:
        """Count the input, if that may lower what is to be held; whether it did."""
        if self.projection is None or self.projection.exact:
            return False
        return bool((yield Step(self.projection.count, blocking=True)))

    def place(self) -> Steps[Wish]:
        """Place the hold that is planned, and plan again whenever more is known; or raise the refusal."""
        scope, projection = self.asked.scope, self.projection
        turn = Turn(scope.wait_s) if scope is not None and scope.wait_s else None
        stale = 0
        try:
            if turn is not None and LINE.queues:
                yield from self._stand(turn, LINE.first_busy(keys_of(self)))
            while stale < _TRIES:
                wish = ANY_ROOM if projection is None else self._wish(projection)
                outcome = yield from self._reserve(wish if turn is None or not turn.patient else wish.useful_only())
                if outcome is None:
                    return wish
                if isinstance(outcome, Stale):
                    stale += 1
                    plans = self.parts.plans
                    plans.coverage.learn(outcome)
                    self.plan = plans.find(self.asked.provider, self.call, self.asked.tags)
                    if self.plan.doubtful:  # the user's budget was taken away, or one was paused
                        yield from learn_whose(self.parts, self.plan, self.asked, self.call.model)
                    if projection is not None:
                        require_price(self, self.asked.host.name)
                elif not (yield from self._lower(outcome, turn)):
                    yield from self._refused(wish, outcome, turn)
        finally:
            if turn is not None:
                LINE.leave(turn)
        raise StoreError("the budgets of this call change faster than they can be read: try again")

    def _lower(self, refusal: Refusal, turn: Turn | None) -> Steps[bool]:
        """Plan with less of what there was no room for; whether there can be less."""
        unit = refusal.account.unit
        if refusal.account.enforce != "hard" or unit not in ELASTIC:
            return False
        if (yield from self._count()) or (unit == "dollars" and self._leave_tier()):
            return True
        if refusal.busy and turn is not None and turn.patient:  # it would rather wait
            return False
        return self._fewer(refusal) or self._loosen()

    def _reserve(self, wish: Wish) -> Steps[Refusal | Stale | None]:
        """Hold on every layer; `None`: it is held on all."""
        held, ledger = self.held, self.parts.ledger
        hold, leased = hold_of(self, wish)
        outcome = yield from ledger.reserve(held, hold, leased)
        self._date()
        return outcome

    def _date(self) -> None:
        """Note when the store was away: the periods are those of the hold, for the store may have taken it."""
        if self.held.spared is not None:
            cover, now_ms = self.plan.cover, self.parts.plans.coverage.now_ms()
            self.held.spared_ms = max(cover.start_ms, min(now_ms, cover.end_ms - 1))

    def _fewer(self, refusal: Refusal) -> bool:
        """CallPlan with fewer calls of hosted tools; whether there can be fewer."""
        if self.projection is None:
            return False
        account, balance = refusal.account, refusal.balance
        return self.projection.fewer((account.limit or 0) - balance.settled - balance.held, account.unit)

    def _loosen(self) -> bool:
        """Plan with the stated output cap lowered to what there is room for, where that is wanted; whether it is."""
        can = self.call.cap is not None and self.asked.endpoint.lower is not None and self.call.output
        wanted = self.parts.settings.stated_caps == "lower"
        return wanted and can and self.projection is not None and self.projection.loosen()

    def _refused(self, wish: Wish, refusal: Refusal, turn: Turn | None) -> Steps[None]:
        """Wait for room if it is only held, and the call may wait; else raise the refusal."""
        if refusal.busy:
            if PROCESS.sweep_due():
                yield Step(PROCESS.sweep, blocking=True)
                return
            refusal = yield from self._sure(wish, refusal)
        if turn is not None and turn.patient:
            if refusal.busy and turn.left_s() > 0:
                yield from self._stand(turn, self._key(refusal.account))
            else:
                turn.patient = False  # a last try, for whatever is left
            return
        unit = refusal.account.unit
        wanted = wish.wanted(unit)
        why = "" if unit not in ELASTIC else why_so_much(self.call, self.asked.host)
        if self.projection is not None and unit in ELASTIC:
            why += self.projection.advice()
            if wanted.least is not None:
                why += least_said(self.projection.cuts[0])
        least = wanted.amount if wanted.least is None else wanted.least
        books, coverage = self.parts.ledger.books, self.parts.plans.coverage
        room_s = yield from room_in_s(books.store, refusal, least, coverage.now_ms())
        error = refuse(refusal, self.asked.tags, least, why, room_s)
        told = partial(self.parts.tell_refused, refusal, self.asked, self.call.model, least, self.held.tallies)
        if not passed_on(self, refusal.account, told, error):
            told()
            note_refusal(self.asked.scope, error)
        raise error

    def _sure(self, wish: Wish, refusal: Refusal) -> Steps[Refusal]:
        """The refusal of an account that has no room even with nothing held, if there is one beside a busy one."""
        held, store = self.held, self.parts.ledger.books.store
        if len(held.tallies) + len(self.plan.cover.accounts) < 2:
            return refusal
        read = partial(self.parts.balances, self.asked.tags, held.tallies)
        for account, balance in (yield Step(read, Tally.apart or (store is not None and store.blocking))):
            if not fits_alone(wish.wanted(account.unit), account, balance.settled):
                return Refusal(account, balance, busy=False)
        return refusal

    def _stand(self, turn: Turn, key: Hashable) -> Steps[None]:
        """Stand in line for an account until it is time to ask again."""
        if key is None:
            return
        if LINE.stand(turn, key) and LINE.is_first(turn):
            return  # what became free before it stood there was not announced to it
        while True:
            yield Step(_nothing, blocking=False, turn=turn)
            if LINE.is_first(turn) or turn.left_s() <= 0:
                return

    def _key(self, account: Account) -> Hashable:
        own = next((own for own in self.held.tallies if own.account is account), None)
        return (id(self.parts.ledger.books.store), account.key) if own is None else id(own)


def _nothing() -> None:
    """What a step does that only stands in line."""
