"""
Admission: what one call may cost is held on every ledger that it touches, or the call is refused.

First the limits of this process (tallies), then the accounts in the store. A hold
that does not fit is planned again with the input counted, waits its turn if only
holds are in the way and the caller said so, or raises the refusal.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ..budgets.accounts import Cover
from ..calls import UNKNOWN_HOST, Answer, Call, Endpoint, Host
from ..concurrency.interrupts import raise_interruption
from ..concurrency.queue import LINE, Turn
from ..concurrency.steps import Step, Steps
from ..errors import StoreError, UnpricedModelError
from ..ledger import (
    Account,
    Admitted,
    Ended,
    Hold,
    Millis,
    Refusal,
    Stale,
    grant,
    new_id,
)
from ..money import Nano
from ..process import tally
from ..process.journal import Journal
from ..process.state import PROCESS
from ..process.tally import Tally
from .projection import USEFUL_OUTPUT, Projection, Wish
from .refusals import refuse, unreadable, why_so_much
from .scope import Scope, note_refusal

if TYPE_CHECKING:
    from ..prices.book import Quote
    from .guard import Guard

BACKGROUND_TTL_MS: Millis = 24 * 60 * 60 * 1000
"""How long a background response may run before its hold is booked as spent."""

_TRIES = 8

_TIER_FIELD, _STANDARD = "service_tier", "default"
"""How a request says that it wants OpenAI's standard tier, whatever its project is set to."""

NO_COVER = Cover((), (), "release", False, 0, 0)
_ANY_ROOM = Wish(1, None, 0, 0)
"""The least there is, to ask whether a budget has any room."""


class Admission:
    """What is held for one call, on which ledgers, and the output cap that keeps it to that."""

    __slots__ = (
        "amount",
        "answer",
        "ask_usage",
        "bounds",
        "call",
        "cap",
        "cover",
        "ended",
        "endpoint",
        "estimated",
        "free",
        "guard",
        "hold",
        "host",
        "id",
        "input_unknown",
        "lost",
        "model_cap",
        "others",
        "pid",
        "projection",
        "provider",
        "scope",
        "sent",
        "spared",
        "spared_ms",
        "stated",
        "tags",
        "tallies",
        "unpriced",
        "watched",
    )

    def __init__(
        self,
        guard: Guard,
        endpoint: Endpoint,
        call: Call,
        *,
        provider: str | None,
        scope: Scope | None,
        tags: Mapping[str, str],
        host: Host = UNKNOWN_HOST,
    ) -> None:
        self.guard = guard
        self.endpoint = endpoint
        self.call = call
        self.provider = provider
        self.scope = scope
        self.tags = tags
        self.host = host
        self.id = new_id()
        self.pid = PROCESS.pid
        self.tallies: tuple[Tally, ...] = ()
        self.cover = NO_COVER
        self.hold: Hold | None = None
        self.amount: Nano = 0
        self.cap: int | None = None
        self.model_cap: int | None = None
        self.bounds: dict[str, Any] = {}
        """What the request is to say, beside its output cap, to cost no more than was held."""
        self.others: tuple[Quote, ...] = ()
        self.ask_usage = False
        self.answer: Answer | None = None
        self.sent = False
        self.spared: Nano | None = None
        self.spared_ms: Millis = 0
        self.watched = False
        self.ended = False
        self.free = False
        self.unpriced = False
        self.estimated = False
        self.input_unknown = False
        self.lost = 0
        self.stated: Nano = 0
        self.projection: Projection | None = None

    def admit(self) -> Steps[None]:
        """Hold the projected cost on every ledger, or raise; afterwards the call may be sent."""
        guard = self.guard
        self.tallies = guard.tallies(self.scope)
        if guard.store is not None:
            self.cover = guard.coverage.cover(self.tags)
        if self.endpoint.opaque:
            yield from self._gate()
        elif (quote := self._price()) is not None:
            yield from self._hold(quote)
        self.sent = True

    def _price(self) -> Quote | None:
        """
        The price of the model asked for, if there is one and what may answer is not free.

        Raises `UnpricedModelError` if a budget has to know a price and cannot.
        """
        prices, call = self.guard.prices, self.call
        quote: Quote | None = None
        try:
            quote = prices.quote(self.provider, call.model, call.tier)
            if call.others:
                self.others = tuple(prices.quote(self.provider, model, call.tier) for model in call.others)
        except UnpricedModelError as error:
            # Terms: the user may have a budget that this process has not seen yet.
            accounts = [*self.cover.accounts, *[own.account for own in self.tallies]]
            if self.cover.terms or any(account.limit is not None for account in accounts):
                if self.call.unread:
                    raise unreadable() from error
                raise
            self.call = call._replace(others=())
            if quote is None:
                self.unpriced = True
                self.guard.warn_unpriced(call.model)
                return None
        self.free = quote.free and all(other.free for other in self.others)
        return None if self.free else quote

    def _hard(self) -> bool:
        """Whether a limit of this process may refuse the call by its projected cost."""
        return any(own.hard for own in self.tallies)

    def _hold(self, quote: Quote) -> Steps[None]:
        settings = self.guard.settings
        projection = self.projection = Projection(
            self.call,
            quote,
            self.guard.prices,
            provider=self.provider,
            output_guess=settings.output_guess,
            context_guess=settings.context_guess,
            sure=self.host.openai,
            others=self.others,
        )
        wish = yield from self._place()
        self._bound_tools(projection)
        if wish.least is None:
            return
        self.model_cap = wish.output
        if self.amount >= wish.amount:
            self.cap = wish.output
            return
        self._leave_tier()
        self.cap = min(projection.cap(self.amount), wish.output)
        if self.cap < USEFUL_OUTPUT and (yield from self._count()):
            self.cap = projection.cap(self.amount)

    def _leave_tier(self) -> bool:
        """
        Plan the call in the standard tier, which it then asks for; whether it can.

        For one that names no tier, where the one that its project may be set to costs more than there is room for. A
        project that was seen to be set to one is left in it.
        """
        projection, call, prices = self.projection, self.call, self.guard.prices
        if projection is None or not (projection.quote.open and self.host.tiers and call.tier is None and call.cap):
            return False
        if not self.host.takes(_TIER_FIELD, _STANDARD) or _TIER_FIELD in self.bounds:
            return False
        quotes = [prices.quote(self.provider, model, _STANDARD) for model in (call.model, *call.others)]
        projection.requote(*quotes)
        self.bounds[_TIER_FIELD] = _STANDARD
        return True

    def _bound_tools(self, projection: Projection) -> None:
        """Have the request say how often hosted tools may be called, where a hard budget holds for that."""
        tools = self.call.tools
        if tools is None or tools.cap is None or not (self.cover.hard or self._hard()):
            return
        self.bounds[tools.cap] = projection.tool_calls
        if projection.tool_calls < tools.calls:
            self.guard.note_fewer(projection.tool_calls, tools.cap)

    def _gate(self) -> Steps[None]:
        """For what cannot be priced from its reply: only ask whether there is any room at all."""
        yield from self._place()
        yield from self._release()
        self.guard.warn_opaque(self.endpoint.name)

    def _count(self) -> Steps[bool]:
        """Count the input, if that may lower what is to be held; whether it did."""
        if self.projection is None or self.projection.exact:
            return False
        return bool((yield Step(self.projection.count, blocking=True)))

    def _place(self) -> Steps[Wish]:
        """Place the hold that is planned, and plan again whenever more is known; or raise the refusal."""
        projection = self.projection
        turn = Turn(self.scope.wait_s) if self.scope is not None and self.scope.wait_s else None
        stale = 0
        try:
            if turn is not None and LINE.queues:
                yield from self._stand(turn, LINE.first_busy(self._keys()))
            while stale < _TRIES:
                wish = _ANY_ROOM if projection is None else projection.wish(self.cover.hard or self._hard())
                outcome = yield from self._reserve(wish if turn is None or not turn.patient else _useful(wish))
                if outcome is None:
                    return wish
                self._untally()
                if isinstance(outcome, Stale):
                    stale += 1
                    coverage = self.guard.coverage
                    coverage.learn(outcome)
                    self.cover = coverage.cover(self.tags)
                elif outcome.account.enforce != "hard" or not (
                    (yield from self._count()) or self._leave_tier() or self._fewer(outcome, turn)
                ):
                    yield from self._refused(wish, outcome, turn)
        finally:
            if turn is not None:
                LINE.leave(turn)
        raise StoreError("the budgets of this call change faster than they can be read: try again")

    def _fewer(self, refusal: Refusal, turn: Turn | None) -> bool:
        """Plan with fewer calls of hosted tools, unless the call would rather wait; whether there can be fewer."""
        if self.projection is None or (refusal.busy and turn is not None and turn.patient):
            return False
        balance = refusal.balance
        return self.projection.fewer((refusal.account.limit or 0) - balance.settled - balance.held)

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
        projected = wish.amount if wish.least is None else wish.least
        advice = "" if self.projection is None else self.projection.advice()
        error = refuse(refusal, self.tags, projected, why_so_much(self.call, self.host) + advice)
        note_refusal(self.scope, error)
        raise error

    def _sure(self, wish: Wish, refusal: Refusal) -> Steps[Refusal]:
        """The refusal of an account that has no room even with nothing held, if there is one beside a busy one."""
        if len(self.tallies) + len(self.cover.accounts) < 2:
            return refusal
        guard, store = self.guard, self.guard.store
        read = partial(guard.balances, self.tags, self.scope)
        hold = Hold(self.id, (), wish.amount, wish.least, wish.useful)
        for account, balance in (yield Step(read, store is not None and store.blocking)):
            if not _fits_alone(hold, account, balance.settled):
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

    def _keys(self) -> Iterator[Hashable]:
        """What the line calls the ledgers of this call."""
        yield from (id(own) for own in self.tallies)
        yield from ((id(self.guard.store), account.key) for account in self.cover.accounts)

    def _key(self, account: Account) -> Hashable:
        own = next((own for own in self.tallies if own.account is account), None)
        return (id(self.guard.store), account.key) if own is None else id(own)

    def _reserve(self, wish: Wish) -> Steps[Refusal | Stale | None]:
        """Hold on the tallies of this process and on the accounts in the store; `None`: it is held on all."""
        amount, least, useful = wish.amount, wish.least, wish.useful
        if self.tallies:
            granted = tally.reserve(self.tallies, Hold(self.id, (), amount, least, useful))
            if isinstance(granted, Refusal):
                return granted
            amount = granted
        cover = self.cover
        if cover.terms or cover.accounts:
            try:
                outcome = yield from self._reserve_stored(amount, least, useful)
            except StoreError as error:
                raise_interruption(error)
                outcome = self._without_store(error)
            if not isinstance(outcome, int):
                self.hold = None
                return outcome
            amount = outcome
        self.amount = amount
        return None

    def _reserve_stored(self, amount: Nano, least: Nano | None, useful: Nano) -> Steps[Nano | Refusal | Stale]:
        """Take from this process's leases what they cover, and hold the rest in the store."""
        guard, call, cover, store = self.guard, self.call, self.cover, self.guard.store
        assert store is not None
        background = call.background
        leases = None if background or not cover.leased else guard.leases
        hold = self.hold = Hold(
            self.id,
            cover.accounts if leases is None else cover.plain,
            amount,
            least,
            useful,
            (call.runs_ms or BACKGROUND_TTL_MS) if background else guard.settings.ttl_ms,
            "charge" if background else cover.on_expire,
            cover.terms,
            self.tags,
            self.provider or "",
            call.model,
        )
        if hold.ttl_ms < PROCESS.keeper.pace_ms:
            PROCESS.keeper.watch(hold.ttl_ms)
        if leases is not None:
            taken = leases.take(hold, cover.leased)
            filled = taken if isinstance(taken, int) else (yield from leases.fill(hold, cover.leased))
            if not isinstance(filled, int):
                return filled
            hold = self.hold = hold._replace(amount=filled, leases=leases.ids(self.id))
            if not is_stored(hold):
                return filled
        if store.blocking:
            outcome = yield Step(partial(store.reserve, hold), blocking=True)
        else:
            outcome = store.reserve(hold)
        if isinstance(outcome, Admitted):
            if leases is not None:
                leases.lower(self.id, outcome.amount)
            return outcome.amount
        self._unlease()
        if isinstance(outcome, Ended):
            raise StoreError("the call had already ended when its money was to be held")
        return cast(Refusal | Stale, outcome)

    def _without_store(self, error: StoreError) -> Nano:
        """Hold on the allowance for calls without a store, or raise; the store may have taken the hold, or not."""
        guard, hold = self.guard, self.hold
        assert hold is not None
        self._unlease()
        hold = self.hold = hold._replace(leases=())
        if guard.spare is not None:
            granted = tally.reserve((guard.spare,), hold)
            if not isinstance(granted, Refusal):
                # Whatever is learnt of budgets later, the periods are those of the hold: the store may have taken it.
                at_ms = max(self.cover.start_ms, min(guard.coverage.now_ms(), self.cover.end_ms - 1))
                self.spared, self.spared_ms = granted, at_ms
                return granted
            error = StoreError(f"{error}; the allowance for calls without it, {guard.settings.allowance}, is used up")
        self.hold = None
        if is_stored(hold):
            self._journal().give_back(self.id)
        raise error

    def _unlease(self) -> None:
        if self.guard.leases is not None:
            self.guard.leases.give_back(self.id)

    def _untally(self) -> None:
        if self.tallies:
            tally.settle(self.tallies, self.id, 0)
        self._unspare(0)

    def _unspare(self, cost: Nano) -> None:
        """End the hold on the allowance, at what is not on the books yet."""
        if self.guard.spare is not None:
            tally.settle((self.guard.spare,), self.id, cost)
            self.spared = None

    def _release(self) -> Steps[None]:
        self._untally()
        self._unlease()
        if self.hold is not None and is_stored(self.hold):
            store = self.guard.store
            assert store is not None
            try:
                yield Step(partial(store.release, self.id), store.blocking)
            except StoreError as error:
                raise_interruption(error)
                self._journal().give_back(self.id)
        self.hold = None

    def _journal(self) -> Journal:
        journal = self.guard.journal
        assert journal is not None  # there is one for every store
        return journal


def is_stored(hold: Hold) -> bool:
    """Whether a call holds anything in the store itself, or only on leases of this process."""
    return bool(hold.accounts or hold.terms)


def _useful(wish: Wish) -> Wish:
    """The same for a call that rather waits for useful room than take the scraps."""
    return wish if wish.least is None else wish._replace(least=wish.useful)


def _fits_alone(hold: Hold, account: Account, settled: Nano) -> bool:
    """Whether an account would have room for a hold if nothing else were held on it."""
    limit = account.limit
    if limit is None or account.enforce == "observe":
        return True
    if account.enforce == "soft":
        return settled < limit
    return grant(hold, limit, settled, 0, account.share) is not None


def _nothing() -> None:
    """What a step does that only stands in line."""
