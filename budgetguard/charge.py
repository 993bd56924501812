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
from functools import partial
from typing import TYPE_CHECKING

from . import tally
from .admission import BACKGROUND_TTL_MS, Admission, is_stored
from .calls import NOTHING, Answer, Call, Ending, Endpoint, Listener
from .errors import StoreError
from .interrupts import interruption, raise_interruption
from .journal_files import Kept
from .keeper import Living
from .ledger import Conflict, Entry, Hold, Store
from .money import Nano
from .process import PROCESS
from .steps import Step, Steps
from .tiers import leaves_open
from .waiting import LINE

if TYPE_CHECKING:
    from .guards import Guard

log = logging.getLogger("budgetguard")

BYTES_A_TOKEN = 4
"""Of an interrupted answer: OpenAI's rule of thumb for English text; a piece of a stream is at least one token."""

NO_FLAGS: frozenset[str] = frozenset()


class Charge(Admission):
    """The money of one call. `cap` and `ask_usage` say how its request is to be amended."""

    __slots__ = ()

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

    def interrupted(self, listener: Listener | None, ending: Ending) -> None:
        """Take in that the answer's stream ended: with its usage, or before that was seen."""
        known = (listener.answer if listener is not None else None) or Answer()
        if known.usage is None and known.cost is None and known.final and listener is not None:
            self.estimated = True
            if self._costs_what_was_heard(ending) and not self.call.thinks:
                heard = max(listener.pieces, -(-listener.heard // BYTES_A_TOKEN))
                known = known._replace(usage={"output_tokens": heard})
                self.input_unknown = True
        self.answer = known

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
        if self.input_unknown:
            answer = yield from self._add_input(answer)
        cost = self.cost(answer)
        if answer.tier is not None and leaves_open(self.call.tier):
            self.guard.prices.meet(self.provider, self.call.model, answer.tier)
        if self.tallies:
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

    def _add_input(self, answer: Answer) -> Steps[Answer]:
        """Complete the usage of an interrupted answer with the input, as well as it can be counted."""
        yield from self._count()
        usage = {} if self.projection is None else self.projection.usage(0)
        usage["output_tokens"] = (answer.usage or {}).get("output_tokens", 0)
        return answer._replace(usage=usage)

    def _entry(self, answer: Answer, cost: Nano) -> Entry:
        call = self.call
        return Entry(
            self.id,
            cost,
            self.cover.counters(call.model),
            0,
            self.tags,
            self.provider or "",
            answer.model or call.model,
            answer.usage or NOTHING,
            self._flags(answer),
        )

    def _flags(self, answer: Answer) -> frozenset[str]:
        flags = []
        if self.unpriced and answer.cost is None:
            flags.append("unpriced")
        if self.estimated or (answer.usage is None and answer.cost is None and not (self.free or answer.free)):
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
        """The true cost. All that was held, if the usage is unknown: unknown is not free."""
        if self.free or self.unpriced or answer.free:
            return 0
        if answer.cost is not None:
            return answer.cost
        if answer.usage is None:
            return self._most()
        cost = self.guard.true_cost(self.provider, self.call.model, answer)
        if cost is None:
            return self._most()
        return min(cost, self.amount) if self.estimated and self.amount else cost


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
        if listener is not None and listener.done and listener.answer is not None:
            self.answers = (listener.answer,)

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
