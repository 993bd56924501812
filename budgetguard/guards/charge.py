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
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..calls import NOTHING, Answer, Call, Ending, Endpoint, Listener
from ..concurrency.interrupts import interruption, raise_interruption
from ..concurrency.queue import LINE
from ..concurrency.steps import Step, Steps
from ..errors import StoreError
from ..ledger import Conflict, Entry, Hold, Store
from ..money import MAX_AMOUNT, Nano, format_nano
from ..prices.estimates import count_heard
from ..prices.tiers import leaves_open
from ..process import tally
from ..process.journal_files import Kept
from ..process.keeper import Living
from ..process.state import PROCESS
from .admission import BACKGROUND_TTL_MS, Admission, is_stored

if TYPE_CHECKING:
    from .guard import Guard

log = logging.getLogger("budgetguard")

NO_FLAGS: frozenset[str] = frozenset()


class Charge(Admission):
    """The money of one call. `cap` and `ask_usage` say how its request is to be amended."""

    __slots__ = ()

    missed = False
    """Whoever made the call has its charge ended, however it leaves."""

    def admit(self) -> Steps[None]:
        """Hold the projected cost on every ledger, or raise; afterwards the call may be sent."""
        PROCESS.open[id(self)] = self
        return super().admit()

    def observe(self, answer: Answer) -> None:
        """Take in the answer; `close` settles it."""
        self.answer = answer

    def failed(self, free: bool) -> None:
        """Take in that the call failed; `free` if the provider cannot have billed it."""
        if free:
            self.sent = False
        else:
            self.answer = Answer()

    def refused(self) -> None:
        """Take in that the provider read the input, refused to answer, and bills what it read."""
        self.answer = Answer(usage={"output_tokens": 0}, lacks=("input_tokens",))

    def interrupted(self, listener: Listener | None, ending: Ending) -> None:
        """Take in that the answer's stream ended: with its usage, or before that was seen."""
        answer = _end_of(listener, self.id)
        if "output_tokens" in answer.lacks and not self._costs_what_was_heard(ending):
            answer = self._at_most(answer)._replace(lacks=())
        self.answer = answer

    def _at_most(self, answer: Answer) -> Answer:
        """An answer of unknown length: all that was asked for, where the input is known, else all that was held."""
        most = self.call.max_output
        if not answer.exact or most is None:
            return answer._replace(usage=None)
        self.estimated = True
        return answer._replace(usage={**(answer.usage or {}), "output_tokens": most * self.call.choices}, lacks=())

    def living(self) -> Living | None:
        """What is to be kept while the call lives: its hold, if the store has it."""
        hold, store = self.hold, self.guard.store
        if hold is None or store is None or not self.sent or self.ended or self.spared is not None:
            return None
        return (store, hold._replace(amount=self.amount)) if is_stored(hold) else None

    def _costs_what_was_heard(self, ending: Ending) -> bool:
        """Whether a stream without a last word costs what was heard of it, or all that was held."""
        abandoned = self.guard.settings.abandoned
        if abandoned != "auto":
            return abandoned == "observed"
        if ending == "whole" or not (self.cover.hard or self._hard()):
            return True
        return ending == "left" and self.host.stops

    def close(self) -> Steps[None]:
        """End the holds: settle what was answered, release what was not sent. Never raises; done once."""
        if self.ended:
            return
        try:
            if self.pid == PROCESS.pid:  # else a forked child: the parent ends its own calls
                yield from self._end()
        except BaseException as error:
            if not isinstance(error, Exception) or interruption(error) is not None:
                self.leave()  # cancelled or interrupted: every step may be repeated
                raise
            log.exception("call %s could not be settled", self.id)
        PROCESS.open.pop(id(self), None)
        self.ended = True
        if LINE.queues:
            LINE.call(self._keys())

    def leave(self) -> None:
        """Have another thread end the charge."""
        PROCESS.reaper.put(self.abandon)

    def abandon(self) -> None:
        """End the charge here and now."""
        self.guard.shell.run(self.close())

    def _end(self) -> Steps[None]:
        answer = self.answer
        if not self.sent:
            yield from self._release()
        elif self.endpoint.opaque:
            return
        elif answer is None or answer.final:  # sent, and nothing heard: unknown is not free
            yield from self._settle(answer or Answer())
        else:
            if self.tallies:
                runs_ms = self.call.runs_ms or BACKGROUND_TTL_MS
                tally.expect(self.tallies, self.id, self.guard.clock, runs_ms / 1000)
            yield from self.guard.background.keep(self, answer)

    def _settle(self, answer: Answer) -> Steps[None]:
        if answer.lacks:
            answer = yield from self._completed(answer)
        cost = self.cost(answer)
        if answer.tier is not None and leaves_open(self.call.tier):
            self.guard.prices.meet(self.provider, self.call.model, answer.tier)
        if self.free or self.unpriced:
            yield from self._book_unheld(cost)
        elif self.tallies:
            tally.settle(self.tallies, self.id, cost)
        if answer.id is not None:
            self.guard.note_settled(answer.id, self.tags)
        if answer.cut and self._capped:
            self.guard.note_cut(self.cap or 0)
        store = self.guard.store
        if store is None:
            return
        leases, hold = self.guard.leases, self.hold or Hold(self.id, (), 0)
        entry = self._entry(answer, cost)
        if leases is not None and hold.leases:
            if not is_stored(hold):
                leases.settle(hold, entry)
                return
            leases.settled(hold.id, cost)
        yield from self._book(store, hold, entry)

    def _book(self, store: Store, hold: Hold, entry: Entry) -> Steps[None]:
        """Settle in the store; where that fails, have the journal repeat it."""
        if self._journal().behind:
            yield from self._keep(hold, entry)
            return
        try:
            if store.blocking:
                outcome = yield Step(partial(store.settle, hold, entry), blocking=True)
            else:
                outcome = store.settle(hold, entry)
        except Exception as error:
            raise_interruption(error)
            if not isinstance(error, StoreError):  # whatever it is, what was spent is not forgotten
                log.exception("call %s could not be settled, and waits", self.id)
            yield from self._keep(hold, entry)
            return
        if self.spared is not None:
            self._unspare(0)
        elif self.guard.leases is not None:
            self.guard.leases.landed(self.id)
        if isinstance(outcome, Conflict):
            log.error("call %s was settled at %d before, now at %d", self.id, outcome.recorded, entry.cost)

    def _book_unheld(self, cost: Nano) -> Steps[None]:
        """
        See to it that a call for which nothing was held is booked all the same, where it did cost something.

        No hold has told of the user's newest budget, nor names the accounts.
        """
        if not cost:
            return
        tallies, self.tallies = self.tallies, ()  # every step may be repeated
        tally.book(tallies, cost)
        guard = self.guard
        if guard.store is not None:
            with suppress(StoreError):  # then it is booked, by the journal, on the budgets that are known here
                yield Step(partial(guard.read_terms, self.tags), guard.store.blocking)
            self.cover = guard.coverage.cover(self.tags)

    def _keep(self, hold: Hold, entry: Entry) -> Steps[None]:
        """Have the journal settle it when the store can be reached."""
        guard, landed = self.guard, None
        kept = Kept(hold, entry, self.spared_ms, self.call.model if self.spared is not None else None)
        if self.spared is not None and guard.spare is not None:
            landed = partial(tally.book, (guard.spare,), -entry.cost)
        elif hold.leases and guard.leases is not None:
            landed = partial(guard.leases.landed, self.id)
        yield Step(partial(self._journal().keep, kept, landed), blocking=True)
        self._unspare(entry.cost)

    def _completed(self, answer: Answer) -> Steps[Answer]:
        """
        Complete a usage with what can be counted: the output by what was written, the input as before the call.

        What a model reasoned unseen cannot be: the usage is then unknown.
        """
        call, heard, lacks = self.call, answer.heard, answer.lacks
        usage = dict(answer.usage or {})
        total = usage.pop("total_tokens", None)
        if call.max_output == 0 and "input_tokens" in usage:  # only to show the prompt's log probabilities
            return answer._replace(usage={**usage, "output_tokens": usage.get("output_tokens", 0)})
        self.estimated = True
        if "output_tokens" in lacks and call.thinks and total is None and not heard.running:
            return self._at_most(answer)
        if "input_tokens" in lacks:
            yield from self._count()
            if self.projection is not None:
                usage = {**self.projection.usage(0), **usage}
            elif not (self.free or self.unpriced):
                return answer._replace(usage=None)
            self.input_unknown = total is None
        if "output_tokens" in lacks:
            said, written = usage.get("output_tokens", 0), 0
            if heard.pieces:
                written = yield Step(partial(count_heard, heard, answer.model or call.model), blocking=True)
            if call.max_output is not None:
                written = min(written, call.max_output * call.choices)
            if total is not None:
                usage["output_tokens"] = min(max(total - usage.get("input_tokens", 0), written), total)
                usage["input_tokens"] = total - usage["output_tokens"]
            else:
                usage["output_tokens"] = said + written if heard.running else max(said, written)
        return answer._replace(usage=usage)

    def _entry(self, answer: Answer, cost: Nano) -> Entry:
        call, keys = self.call, self.cover.counters(self.call.model)
        if self.hold is None and cost:
            keys = (*[account.key for account in self.cover.plain], *keys)
        return Entry(
            self.id,
            cost,
            keys,
            0,
            self.tags,
            self.provider or "",
            answer.model or call.model,
            answer.usage or NOTHING,
            self._flags(answer, cost),
        )

    def _flags(self, answer: Answer, cost: Nano) -> frozenset[str]:
        flags = []
        if self.unpriced and not cost:
            flags.append("unpriced")
        unsaid = answer.usage is None and answer.cost is None and not self.stated
        if self.estimated or self.lost or (unsaid and not (self.free or answer.free)):
            flags.append("estimated")
        if self._capped:
            flags.append("capped")
            if answer.cut:
                flags.append("cut")
        if answer.tier is not None and answer.cost is None and self._assumes(answer.model, answer.tier):
            flags.append("tier")
        return frozenset(flags) if flags else NO_FLAGS

    def _assumes(self, answered: str | None, tier: str) -> bool:
        """Whether the answer's service tier is one of which nothing is known; it is said once."""
        guard, asked = self.guard, self.call.model
        if self.free or not guard.prices.assumes(self.provider, asked, answered, tier):
            return False
        text = (
            "nothing is known of service tier %r, of model %r: it is priced above standard; say what it is in [tiers]"
        )
        guard.warn_once(f"tier {tier}", text, tier, asked)
        return True

    @property
    def _capped(self) -> bool:
        """Whether an output cap below the model's own was added to the request."""
        return self.cap is not None and self.model_cap is not None and self.cap < self.model_cap

    def _most(self) -> Nano:
        """The most that the call can have cost: what was held, or less if the cap does not come to all of it."""
        if self.projection is None or self.cap is None or not self._capped:
            return self.amount
        return min(self.amount, self.projection.cost(self.cap))

    def cost(self, answer: Answer) -> Nano:
        """
        The true cost. All that was held, if the usage is unknown or cannot be: unknown is not free.

        What a provider states, and what a model of the list costs that answered instead of a free one, is the cost
        also where nothing was to be paid.
        """
        cost = 0 if answer.free else self._priced(answer)
        if self.lost:
            cost += self.lost * self._most()
        return cost if cost <= MAX_AMOUNT else self._absurd(cost, answer)

    def _priced(self, answer: Answer) -> Nano:
        """What the last attempt cost. A stated cost of nothing, beside tokens, says nothing."""
        stated = answer.cost or self.stated
        if stated and not answer.lacks:
            return stated
        call = self.call
        asked = answer.model if answer.model is not None and answer.model in call.others else call.model
        cost = None if answer.usage is None else self.guard.true_cost(self.provider, asked, answer)
        if cost is None:
            return max(self._most(), stated)
        if self.input_unknown and self.amount:
            cost = min(cost, self.amount)
        return max(cost + answer.fee, stated)

    def _absurd(self, cost: Nano, answer: Answer) -> Nano:
        """What is booked of a cost that no store can book; it is logged."""
        self.estimated = True
        most = min(self._most() or MAX_AMOUNT, MAX_AMOUNT)
        log.error(
            "call %s is said to have cost %s, which no store can book: it is booked at the most that was held, %s; "
            "check the price of %r, and what its server says of usage",
            self.id,
            format_nano(cost),
            format_nano(most),
            answer.model or self.call.model,
        )
        return most


class Follow:
    """A look at earlier work in the background: it holds nothing itself, and settles that work's hold."""

    def __init__(self, guard: Guard, endpoint: Endpoint) -> None:
        self.guard = guard
        self.endpoint = endpoint
        self.call = Call("", stream=False)
        self.id = ""
        self.ask_usage = False
        self.watched = False
        self.answers: Sequence[Answer] = ()

    def observe(self, *answers: Answer) -> None:
        """Take in how the work stands."""
        self.answers = answers

    def interrupted(self, listener: Listener | None, _ending: Ending) -> None:
        """Take in what its stream said of it, if that was its last word."""
        if listener is not None and listener.done:
            self.answers = (_end_of(listener, self.id),)

    def living(self) -> None:
        """Nothing."""

    def close(self) -> Steps[None]:
        """Settle the hold of the work, if it is at its end."""
        for answer in self.answers:
            try:
                yield from self.guard.background.follow(self.guard, self.endpoint.follows, answer)
            except Exception as error:
                raise_interruption(error)
                log.exception("%s %s could not be settled", self.endpoint.follows, answer.id)


def _end_of(listener: Listener | None, call_id: str) -> Answer:
    if listener is None:
        return Answer()
    try:
        return listener.end()
    except Exception as error:
        raise_interruption(error)
        log.exception("the stream of call %s could not be read", call_id)
        return Answer()
