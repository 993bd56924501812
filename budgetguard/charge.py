"""
One call's money, from its request to its settlement.

A `Charge` decides and does no I/O: what it needs done it yields as steps, which
the sync and the async shell of `guards.py` run for it. Its life:

    admit     project the cost, hold it on every ledger the call touches, or raise
    observe   take in the answer, or the failure
    close     settle at the true cost, or release

Unknown is not free: an answer without a usage, and a call that may have reached
the provider, cost what was held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from . import tokens
from .calls import Answer, Call, Endpoint, Listener, Usage
from .errors import BudgetGuardError, StoreError, UnpricedModelError
from .ledger import (
    Account,
    Admitted,
    Conflict,
    Ended,
    Entry,
    Hold,
    Millis,
    OnExpire,
    Refusal,
    Stale,
    Store,
    new_id,
)
from .money import Nano
from .process import PROCESS
from .refusals import refuse
from .scope import Scope, note_refusal

if TYPE_CHECKING:
    from .guards import Guard
    from .prices import Quote

log = logging.getLogger("budgetguard")
T = TypeVar("T")

USEFUL_OUTPUT = 64
"""Tokens below which sharing the room among calls in flight helps nobody: a cap is that large, if there is room."""

BACKGROUND_TTL_MS: Millis = 24 * 60 * 60 * 1000
"""How long a background response may run before its hold is booked as spent."""

BYTES_A_TOKEN = 4
"""Of an interrupted answer: OpenAI's rule of thumb for English text; a piece of a stream is at least one token."""

_STALE_TRIES = 8


class Step(NamedTuple):
    """Something to be done for a charge; `blocking` if it may wait for a disk, a network or a long computation."""

    run: Callable[[], Any]
    blocking: bool


Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(slots=True)
class Purse:
    """One ledger that a call touches, and its hold there."""

    store: Store
    accounts: tuple[Account, ...]
    terms: tuple[tuple[str, int], ...] = ()
    hold: Hold | None = None
    granted: Nano = 0
    shared: bool = False


class Charge:
    """The money of one call. `cap` and `ask_usage` say how its request is to be amended."""

    __slots__ = (
        "amount",
        "answer",
        "ask_usage",
        "call",
        "cap",
        "ended",
        "endpoint",
        "estimated",
        "exact",
        "free",
        "guard",
        "id",
        "input_tokens",
        "input_unknown",
        "model_cap",
        "pid",
        "provider",
        "purses",
        "quote",
        "scope",
        "sent",
        "tags",
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
    ) -> None:
        self.guard = guard
        self.endpoint = endpoint
        self.call = call
        self.provider = provider
        self.scope = scope
        self.tags = tags
        self.id = new_id()
        self.pid = PROCESS.pid
        self.purses: list[Purse] = []
        self.amount: Nano = 0
        self.cap: int | None = None
        self.model_cap: int | None = None
        self.ask_usage = False
        self.answer: Answer | None = None
        self.sent = False
        self.watched = False
        self.ended = False
        self.exact = False
        self.free = False
        self.unpriced = False
        self.estimated = False
        self.input_unknown = False
        self.input_tokens = 0
        self.quote: Quote | None = None

    # -- before the call -----------------------------------------------------------------------------------------

    def admit(self) -> Steps[None]:
        """Hold the projected cost on every ledger, or raise; afterwards the call may be sent."""
        self.purses = self.guard.purses(self.tags, self.scope)
        if self._price():
            PROCESS.open[id(self)] = self
            if self.endpoint.opaque:
                yield from self._gate()
            else:
                yield from self._hold()
        self.sent = True

    def _price(self) -> bool:
        """Whether there is a price to hold. Raises `UnpricedModelError` if a budget has to know and cannot."""
        if self.endpoint.opaque:
            return True
        try:
            self.quote = self.guard.prices.quote(self.provider, self.call.model, self.call.tier)
        except UnpricedModelError:
            if any(account.limit is not None for purse in self.purses for account in purse.accounts):
                raise
            if any(purse.terms for purse in self.purses):  # the user may have a budget that is not known here yet
                raise
            self.unpriced = True
            return False
        self.free = self.quote.free
        return not self.free

    def _hold(self) -> Steps[None]:
        assert self.quote is not None
        self.input_tokens = self._context() if self.call.unknown_input else tokens.bound(self.call)
        while True:
            wish = self._wish(self.quote)
            refusal = yield from self._reserve_all(wish)
            if refusal is None:
                break
            if self.exact or refusal.account.enforce != "hard" or not (yield from self._count()):
                yield from self._refuse(refusal, wish)
        yield from self._set_cap(self.quote, wish)

    def _gate(self) -> Steps[None]:
        """For what cannot be priced from its reply: only ask whether there is any room at all."""
        self.free = True
        refusal = yield from self._reserve_all(Wish(1, None, 0, 0))
        if refusal is not None:
            yield from self._refuse(refusal, Wish(1, None, 0, 0))
        yield from self._release_all()
        self.guard.warn_opaque(self.endpoint.name)

    def _context(self) -> int:
        assert self.quote is not None
        return self.quote.context or self.guard.settings.context_guess

    def _count(self) -> Steps[bool]:
        """Count the input with the tokenizer; whether that is less than the bound."""
        if self.call.unknown_input:
            return False
        counted = yield Step(partial(tokens.count, self.call), blocking=True)
        self.exact = True
        less = counted < self.input_tokens
        self.input_tokens = counted
        return bool(less)

    def _wish(self, quote: Quote) -> Wish:
        """What to hold: the projected cost, and how far an output cap of ours could lower it."""
        call = self.call
        if not call.output:
            return Wish(self._projected(quote, 0), None, 0, 0)
        stated = call.max_output if call.max_output is not None else call.default_output
        if stated is not None:
            return Wish(self._projected(quote, stated), None, 0, stated)
        most = self._most(quote)
        wanted = self._projected(quote, most)
        if call.cap is None or not self._hard():
            return Wish(wanted, None, 0, most)
        least = min(call.least_output, most)
        useful = min(max(USEFUL_OUTPUT, least), most)
        return Wish(wanted, self._projected(quote, least), self._projected(quote, useful), most)

    def _most(self, quote: Quote) -> int:
        most = quote.max_output or self.guard.settings.output_guess
        if quote.context is not None:
            most = min(most, quote.context - self.input_tokens)
        return max(most, self.call.least_output)

    def _hard(self) -> bool:
        return any(
            account.enforce == "hard" and account.limit is not None
            for purse in self.purses
            for account in purse.accounts
        )

    def _projected(self, quote: Quote, output: int) -> Nano:
        """The most that the call can cost with this many output tokens an answer."""
        cost = quote.cost(self._usage(output))
        for model, usage in self.call.also:
            cost += self.guard.prices.quote(self.provider, model, None).cost(usage)
        return cost

    def _usage(self, output: int) -> Usage:
        """The projected usage, with this many output tokens an answer. Kinds that are parts count in their whole."""
        call = self.call
        usage = {"input_tokens": self.input_tokens, "output_tokens": output * call.choices}
        for kind, most in call.fixed.items():
            usage[kind] = usage.get(kind, 0) + most
            whole = _whole(kind)
            if whole is not None:
                usage[whole] += most
        return usage

    def _reserve_all(self, wish: Wish) -> Steps[Refusal | None]:
        amount = wish.amount
        for purse in self.purses:
            if purse.hold is not None:
                continue
            refusal = yield from self._reserve(purse, wish, amount)
            if refusal is not None:
                return refusal
            amount = min(amount, purse.granted) if purse.hold is not None else amount
        self.amount = amount
        return None

    def _reserve(self, purse: Purse, wish: Wish, amount: Nano) -> Steps[Refusal | None]:
        for _ in range(_STALE_TRIES):
            if not purse.accounts and not purse.terms:
                return None
            purse.hold = Hold(
                self.id,
                purse.accounts,
                amount,
                None if wish.least is None else min(wish.least, amount),
                min(wish.useful, amount),
                self._ttl_ms(),
                self._on_expire(),
                purse.terms,
                self.tags,
                self.provider or "",
                self.call.model,
            )
            outcome = yield Step(partial(purse.store.reserve, purse.hold), purse.store.blocking)
            if type(outcome) is Admitted:
                purse.granted = outcome.amount
                return None
            if type(outcome) is not Stale:
                purse.hold = None
            if type(outcome) is Refusal:
                return outcome
            if type(outcome) is Ended:
                raise StoreError("the call had already ended when its money was to be held")
            purse.hold = None
            self.guard.learn(outcome)
            purse.accounts, purse.terms = self.guard.accounts(self.tags)
        raise StoreError("the budgets of this call change faster than they can be read: try again")

    def _ttl_ms(self) -> Millis:
        return BACKGROUND_TTL_MS if self.call.background else self.guard.settings.ttl_ms

    def _on_expire(self) -> OnExpire:
        return "charge" if self.call.background else self.guard.on_expire(self.tags)

    def _refuse(self, refusal: Refusal, wish: Wish) -> Steps[None]:
        yield from self._release_all()
        error = refuse(refusal, self.tags, wish.amount if wish.least is None else wish.least)
        note_refusal(self.scope, error)
        raise error

    def _set_cap(self, quote: Quote, wish: Wish) -> Steps[None]:
        if wish.least is None:
            return
        if self.amount >= wish.amount:
            self.cap = self.model_cap = wish.output
            return
        cap = self._cap_for(quote)
        if cap < USEFUL_OUTPUT and not self.exact and (yield from self._count()):
            cap = self._cap_for(quote)
        self.cap, self.model_cap = cap, wish.output

    def _cap_for(self, quote: Quote) -> int:
        """The most output tokens an answer that the held amount pays for."""
        least = self.call.least_output
        spare_pico = (self.amount - self._projected(quote, least)) * 1000
        return least + max(spare_pico, 0) // max(quote.output_pico(self.input_tokens) * self.call.choices, 1)

    # -- after the call ------------------------------------------------------------------------------------------

    def observe(self, answer: Answer) -> None:
        """Take in the answer; `close` settles it."""
        self.answer = answer

    def failed(self, free: bool) -> None:
        """Take in that the call failed; `free` if the provider cannot have billed it."""
        if free:
            self.sent = False
        else:
            self.answer = Answer()

    def interrupted(self, listener: Listener | None) -> None:
        """Take in that the answer's stream ended: with its usage, or before that was seen."""
        known = (listener.answer if listener is not None else None) or Answer()
        if known.usage is None and known.cost is None and listener is not None:
            self.estimated = True
            if self.guard.settings.abandoned == "observed":
                heard = max(listener.pieces, -(-listener.heard // BYTES_A_TOKEN))
                known = replace(known, usage={"output_tokens": heard}, final=True)
                self.input_unknown = True
        self.answer = known

    def close(self) -> Steps[None]:
        """End the holds: settle what was answered, release what was not sent. Never raises; done once."""
        if self.ended:
            return
        self.ended = True
        PROCESS.open.pop(id(self), None)
        if self.pid != PROCESS.pid:  # a forked child: the parent ends its own calls
            return
        try:
            if not self.sent or self.answer is None:
                yield from self._release_all()
            elif self.free and self.endpoint.opaque:
                return
            elif not self.answer.final:
                yield from self.guard.keep(self)
            else:
                yield from self._settle()
        except BudgetGuardError:
            log.exception("call %s could not be settled", self.id)

    def abandon(self) -> None:
        """End the charge at interpreter exit: what was sent is settled as held."""
        if self.answer is None and self.sent:
            self.answer = Answer()
        self.guard.shell.run(self.close())

    def _release_all(self) -> Steps[None]:
        for purse in self.purses:
            if purse.hold is not None:
                purse.hold = None
                yield Step(partial(purse.store.release, self.id), purse.store.blocking)

    def _settle(self) -> Steps[None]:
        answer = self.answer
        assert answer is not None
        if self.input_unknown:
            yield from self._add_input(answer)
        entry = self._entry()
        if answer.id is not None and "user" in self.tags:
            self.guard.note_settled(answer.id, self.tags["user"])
        for purse in self.purses:
            if purse.hold is None and not purse.shared:
                continue
            hold = purse.hold or Hold(self.id, (), 0)
            try:
                outcome = yield Step(partial(purse.store.settle, hold, entry), purse.store.blocking)
            except StoreError:
                log.exception("the cost of call %s (%d nano-dollars) did not reach its store", self.id, entry.cost)
                continue
            if type(outcome) is Conflict:
                log.error("call %s was settled at %d before, now at %d", self.id, outcome.recorded, entry.cost)

    def _add_input(self, answer: Answer) -> Steps[None]:
        """Complete the usage of an interrupted answer with the input, as well as it can be counted."""
        if not self.exact:
            yield from self._count()
        output = (answer.usage or {}).get("output_tokens", 0)
        self.answer = replace(answer, usage={**self._usage(0), "output_tokens": output})

    def _entry(self) -> Entry:
        answer = self.answer
        assert answer is not None
        flags = set()
        if self.unpriced:
            flags.add("unpriced")
        unknown = answer.usage is None and answer.cost is None and not (self.free or answer.free)
        if unknown or self.estimated:
            flags.add("estimated")
        if self.cap is not None and self.model_cap is not None and self.cap < self.model_cap:
            flags.add("capped")
            if answer.cut:
                flags.add("cut")
                self.guard.warn_cut(self.cap)
        return Entry(
            self.id,
            self.cost(),
            accounts=self.guard.model_accounts(self.tags, self.call.model),
            tags=self.tags,
            provider=self.provider or "",
            model=answer.model or self.call.model,
            usage=answer.usage or {},
            flags=frozenset(flags),
        )

    def cost(self) -> Nano:
        """The true cost. All that was held, if the usage is unknown: unknown is not free."""
        answer = self.answer
        assert answer is not None
        if self.free or self.unpriced or answer.free:
            return 0
        if answer.cost is not None:
            return answer.cost
        if answer.usage is None:
            return self.amount
        cost = self.guard.true_cost(self.provider, answer.model or self.call.model, self.call.model, answer)
        if cost is None:
            return self.amount
        return min(cost, self.amount) if self.estimated and self.amount else cost


class Follow:
    """A look at an earlier background response: it holds nothing itself, and settles that response's hold."""

    def __init__(self, guard: Guard, endpoint: Endpoint) -> None:
        self.guard = guard
        self.endpoint = endpoint
        self.call = Call("", stream=False)
        self.id = ""
        self.ask_usage = False
        self.watched = False
        self.answer = Answer(final=False)

    def observe(self, answer: Answer) -> None:
        """Take in how the response stands."""
        self.answer = answer

    def interrupted(self, listener: Listener | None) -> None:
        """Take in what its stream said of it, if that was its last word."""
        if listener is not None and listener.done and listener.answer is not None:
            self.answer = listener.answer

    def close(self) -> Steps[None]:
        """Settle the response's hold, if it is at its end."""
        try:
            yield from self.guard.follow(self.answer)
        except BudgetGuardError:
            log.exception("response %s could not be settled", self.answer.id)


class Wish(NamedTuple):
    """The amounts of a hold (see `Hold`), and the output tokens an answer that `amount` pays for."""

    amount: Nano
    least: Nano | None
    useful: Nano
    output: int


def _whole(kind: str) -> str | None:
    """The kind that this one is a part of."""
    if kind.endswith("_tokens"):
        return "output_tokens" if kind.startswith("output_") else "input_tokens"
    return None
