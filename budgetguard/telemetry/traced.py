"""
One call, as it is told to OpenTelemetry: a span from its hold to its settlement, and what is counted at its end.

Where another instrumentation has made a span of this call, and it is current, ours would be the same once more: what
it costs is then said there. `gen_ai.client.*` metrics are that instrumentation's, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from ..calls import Answer
from ..ledger import Entry
from ..money import DOLLAR
from .attributes import (
    ANSWERED_BY,
    ERROR,
    HELD,
    HOLD,
    TOKEN_TYPE,
    Asking,
    Attributes,
    asked_of,
    booked,
    counted,
    error_type,
    is_of_one_call,
    name_of_span,
    refused,
)
from .instruments import instruments
from .quiet import quietly


@dataclass(slots=True)
class Moments:
    """When what happened to a call, in seconds of a clock that is never set back; 0: it has not happened."""

    began_ns: int = field(default_factory=time.time_ns)
    """In nanoseconds since the epoch, as spans say it."""
    began_s: float = field(default_factory=time.perf_counter)
    sent_s: float = 0.0
    answered_s: float = 0.0


class TracedCall:
    """One of them. Every method may be called from any thread; none raises."""

    __slots__ = ("_asked", "_booked", "_current", "_ended", "_said", "_shared", "_span", "_times", "held", "pid", "row")

    def __init__(self, it: Asking, tags: Sequence[str]) -> None:
        self.pid = os.getpid()
        self.held = 0
        found, asked = instruments(), asked_of(it, tags)
        self.row = found.row(asked)
        """What metrics say of it: as much as is bounded."""
        self._asked: Attributes = {**asked, HOLD: it.held.id}
        self._said: Attributes = {}
        """What is to be said on its span at the end, beside what it asks for."""
        self._booked: tuple[Entry, Answer] | None = None
        self._current: Any = None
        self._ended = False
        span = trace.get_current_span()
        self._shared = span.is_recording() and is_of_one_call(getattr(span, "attributes", None))
        if self._shared:
            span.set_attribute(HOLD, it.held.id)  # so that it is this call's alone
        else:
            span = found.tracer.start_span(name_of_span(asked), kind=SpanKind.CLIENT, attributes=self._asked)
            self._current = context.attach(trace.set_span_in_context(span))
        self._span: Span = span
        self._times = Moments()

    @quietly
    def sent(self, it: Asking) -> None:
        """It is held for, and about to be sent."""
        self._times.sent_s = time.perf_counter()
        self.held = it.held.amount
        self._said[HELD] = self.held
        if it.call.stream:
            self._said["gen_ai.request.stream"] = True
        found = instruments()
        found.open[id(self)] = self
        found.guard.record(self._times.sent_s - self._times.began_s, {"budgetguard.phase": "before"})

    @quietly
    def failed(self, error: BaseException, *, elsewhere: bool) -> None:
        """It was refused, or failed. `elsewhere`: another model is asked in its place."""
        if getattr(error, "passes_on", False):
            self._said["budgetguard.passed_on"] = True
            return
        self._said[ERROR] = error_type(error)
        why = None if self._times.sent_s else refused(error)
        if why is None:
            return
        self._said.update(why)
        if elsewhere:
            self._said["budgetguard.passed_on"] = True
        else:
            found = instruments()
            found.refusals.add(1, found.row({**self._tags(), **why}))

    @quietly
    def left(self) -> None:
        """Whoever made the call has its answer, or its stream: what the program does now is beneath its own span."""
        token, self._current = self._current, None
        if token is not None:
            context.detach(token)

    @quietly
    def booking(self, entry: Entry, answer: Answer) -> None:
        """It is about to be booked; again, where that could not be done at once."""
        self._times.answered_s = self._times.answered_s or time.perf_counter()
        self._booked = entry, answer

    @quietly
    def ended(self) -> None:
        """It is booked, or released."""
        if self._ended or self.pid != os.getpid():  # what was forked meanwhile is the parent's call
            return
        self._ended = True
        instruments().open.pop(id(self), None)
        self._count()
        self._finish()

    def _count(self) -> None:
        found, row, now_s, times = instruments(), self.row, time.perf_counter(), self._times
        if times.answered_s:
            found.guard.record(now_s - times.answered_s, {"budgetguard.phase": "after"})
        if times.sent_s and not self._shared:
            failure = {ERROR: self._said[ERROR]} if ERROR in self._said else {}
            found.duration.record((times.answered_s or now_s) - times.sent_s, {**row, **failure})
        if self._booked is None:
            return
        entry, answer = self._booked
        self._said.update(booked(entry, answer))
        if answer.model:
            row = found.row({**row, ANSWERED_BY: answer.model})
        found.cost.add(entry.cost / DOLLAR, row)
        for kind, count in () if self._shared else counted(entry):
            found.tokens.record(count, {**row, TOKEN_TYPE: kind})

    @quietly
    def reopened(self) -> None:
        """What it began in the background is over: a span of its own tells, linked to the one that began it."""
        for name in (HELD, ERROR):
            self._said.pop(name, None)
        self._ended, self._shared, self._booked, self._times = False, False, None, Moments()
        before = self._span.get_span_context()
        self._span = instruments().tracer.start_span(
            name_of_span(self._asked), kind=SpanKind.CLIENT, attributes=self._asked, links=[Link(before)]
        )
        self._said["budgetguard.background"] = True

    def _finish(self) -> None:
        span, said = self._span, self._said
        if self._shared and not span.is_recording():  # its owner has ended it before the answer was on the books
            span = instruments().tracer.start_span(
                name_of_span(self._asked),
                context=trace.set_span_in_context(span),
                kind=SpanKind.CLIENT,
                attributes=self._asked,
                start_time=self._times.began_ns,
            )
            self._shared = False
        if not self._shared:
            span.set_attributes(said)
            if ERROR in said:  # by its kind alone: what an error says may repeat what was asked
                span.set_status(Status(StatusCode.ERROR))
            span.end()
            return
        known = getattr(span, "attributes", None) or {}
        more = {**self._asked, **said}
        span.set_attributes({name: value for name, value in more.items() if name not in known})

    def _tags(self) -> Attributes:
        return {name: value for name, value in self.row.items() if name.startswith("budgetguard.tag.")}
