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
from functools import partial
from typing import TYPE_CHECKING

from . import tally
from .admission import Admission, is_stored
from .calls import NOTHING, Answer, Call, Endpoint, Listener
from .errors import StoreError
from .estimates import count_heard
from .journal_files import Kept
from .ledger import Conflict, Entry, Hold, Store
from .money import MAX_AMOUNT, Nano, format_nano
from .process import PROCESS
from .steps import Step, Steps
from .waiting import LINE

if TYPE_CHECKING:
    from .guards import Guard

log = logging.getLogger("budgetguard")

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

    def interrupted(self, listener: Listener | None) -> None:
        """Take in that the answer's stream ended: with its usage, or before that was seen."""
        answer = _end_of(listener, self.id)
        if "output_tokens" in answer.lacks and self.guard.settings.abandoned == "held":
            answer = answer._replace(usage=None, lacks=())
        self.answer = answer

    def close(self) -> Steps[None]:
        """End the holds: settle what was answered, release what was not sent. Never raises; done once."""
        if self.ended:
            return
        try:
            if self.pid == PROCESS.pid:  # else a forked child: the parent ends its own calls
                yield from self._end()
        except Exception:
            log.exception("call %s could not be settled", self.id)
        except BaseException:  # cancelled or interrupted: every step may be repeated
            self.leave()
            raise
        PROCESS.open.pop(id(self), None)
        self.ended = True
        if LINE.queues:
            LINE.call(self._keys())

    def leave(self) -> None:
        """Have another thread end the charge."""
        PROCESS.reaper.take(self.abandon)

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
            yield from self.guard.keep(self, answer)

    def _settle(self, answer: Answer) -> Steps[None]:
        if answer.lacks:
            answer = yield from self._completed(answer)
        cost = self.cost(answer)
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
            return answer._replace(usage=None)
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
        if self.unpriced:
            flags.append("unpriced")
        if self.estimated or (answer.usage is None and answer.cost is None and not (self.free or answer.free)):
            flags.append("estimated")
        if self._capped:
            flags.append("capped")
            if answer.cut:
                flags.append("cut")
        return frozenset(flags) if flags else NO_FLAGS

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
        """The true cost. All that was held, if the usage is unknown or cannot be: unknown is not free."""
        if answer.free:
            return 0
        if self.free or self.unpriced:
            return answer.cost or 0  # what is billed all the same counts
        cost = self._priced(answer)
        if cost <= MAX_AMOUNT:
            return cost
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

    def _priced(self, answer: Answer) -> Nano:
        stated = answer.cost or 0
        if stated and not answer.lacks:
            return stated
        cost = None if answer.usage is None else self.guard.true_cost(self.provider, self.call.model, answer)
        if cost is None:
            return max(self._most(), stated)
        if self.input_unknown and self.amount:
            cost = min(cost, self.amount)
        return max(cost + answer.fee, stated)


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
        if listener is not None and listener.done:
            self.answer = _end_of(listener, self.id)

    def close(self) -> Steps[None]:
        """Settle the response's hold, if it is at its end."""
        try:
            yield from self.guard.follow(self.answer)
        except Exception:
            log.exception("response %s could not be settled", self.answer.id)


def _end_of(listener: Listener | None, call_id: str) -> Answer:
    if listener is None:
        return Answer()
    try:
        return listener.end()
    except Exception:
        log.exception("the stream of call %s could not be read", call_id)
        return Answer()
