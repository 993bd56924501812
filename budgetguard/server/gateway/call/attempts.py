"""
The attempts of one call at the upstreams that its charge pays for, by the table of what happened.

Not sent, or an error status: it cost nothing, the hold stays for the next. Sent, and no status came: it may have been
answered, and is booked as held. Nothing is tried again once a byte of an answer is with the client.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ....adapters.common.errors import refused_fields
from ....calls import NOTHING, Answer
from ....guards.charge import Charge
from ....guards.costs.amends import changes_of
from ....guards.guard import Guard
from ...problems import Refused
from ..client import BrokenOffError, UpstreamClient, UpstreamReply
from ..config.model import Route, Target
from ..connections import NotSentError
from ..routing.hints import retry_after_s
from ..routing.outcomes import goes_on, outcome_of
from ..routing.router import Cooling, Router, Sending
from .answers.listening import answer_of
from .offers import Name, Offer, fits, learn_of, name_of, take_over
from .request import Inbound

log = logging.getLogger("budgetguard.server")

_CONTROLS: Final = re.compile(rb"[\x00-\x1f\x7f]")
_SHORTEST: Final = 8
"""Letters of a key, at least: a shorter one is a word that an answer may have for other reasons."""


class UpstreamStatusError(Exception):
    """An error status of an upstream, with what it says, as the adapters read errors."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(body.decode("utf-8", "replace"))
        self.status_code = status


class CoolingError(Exception):
    """Every upstream asked for a pause, and nobody else is there."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


class UnknownOutcomeError(Exception):
    """A request broke off: nobody knows whether it was answered."""

    def __init__(self, offer: Offer, problem: str) -> None:
        super().__init__(problem)
        self.offer = offer


class Exhausted(Exception):
    """No upstream of this charge is left; `reply` is the last error, if one answered at all."""

    def __init__(self, reply: UpstreamAnswer | None, problem: str = "") -> None:
        super().__init__(problem)
        self.reply = reply
        self.problem = problem


class UpstreamAnswer(NamedTuple):
    """What an upstream answered."""

    reply: UpstreamReply
    offer: Offer
    attempt: Sending
    body: bytes | None
    """`None`: it is a stream, which is not read yet."""
    own: Sequence[tuple[str, str]]
    """The upstream's own headers, its key among them."""

    @property
    def good(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.reply.status < 300

    def shown(self, value: bytes) -> bytes:
        """What of a header's value others may see."""
        return _CONTROLS.sub(b"?", _without_key(value, self.own))

    @property
    def kind(self) -> str:
        """Its content type."""
        return self.reply.header("content-type").lower()

    @property
    def encoded(self) -> bool:
        """Whether its body is compressed: nobody asked for that, and nobody can read it here."""
        return self.reply.header("content-encoding") not in {"", "identity"}


class Way(NamedTuple):
    """Where a call may go, and by what."""

    route: Route
    targets: Iterator[Target | Cooling]
    router: Router
    client: UpstreamClient


class Attempts:
    """The attempts of one charge. `sent` counts the requests that went out."""

    def __init__(
        self,
        guard: Guard,
        inbound: Inbound,
        charge: Charge,
        offers: Mapping[Name, Offer],
        way: Way,
    ) -> None:
        self.guard, self.inbound, self.route = guard, inbound, way.route
        self.charge: Charge = charge
        self.endpoint, self.body = inbound.asked.endpoint, inbound.body
        self.free = False
        """Whether it costs nothing, so that no charge has to be enough for it."""
        self.sent = 0
        self.head_s = self.away_s = 0.0
        """From the last request to the head of its answer, and how long all took, but for the body of a stream."""
        self.ask_usage = False
        """Whether the stream is asked for its usage, which the client did not."""
        self.last: UpstreamAnswer | None = None
        self._offers, self._targets, self._router, self._client = offers, way.targets, way.router, way.client
        self._goes_on = False
        self._until_s = time.monotonic() + way.route.deadline_s
        self.added: Mapping[str, Any] = NOTHING

    async def proceed(self) -> UpstreamAnswer:
        """
        Ask one upstream after the other, until one answers, or refuses what is the client's to mend.

        Raises `UnknownOutcomeError` and `Exhausted`.
        """
        problem = ""
        for target in self._targets:
            if isinstance(target, Cooling):
                raise CoolingError(target.retry_after_s)
            offer = self._offers.get(name_of(target))
            if offer is None or not (self.free or fits(self.guard, self.charge, offer)):
                continue
            if self.last is not None and time.monotonic() > self._until_s:
                break
            take_over(self.charge, offer)
            try:
                answered = await self._try(offer, self._router.began(target))
            except NotSentError as error:
                problem = str(error)
                continue
            if answered.good or not self._goes_on:
                return answered
            self.last = answered
        raise Exhausted(self.last, problem)

    async def _try(self, offer: Offer, attempt: Sending) -> UpstreamAnswer:
        """Ask one upstream, and tell its health what became of it."""
        upstream = offer.upstream.name
        try:
            answered = await self._ask(offer, attempt)
        except NotSentError as error:
            attempt.ended("not_sent")
            log.warning("upstream", extra={"upstream": upstream, "problem": str(error)})
            raise
        except BrokenOffError as error:
            attempt.ended("unknown")
            log.warning("upstream", extra={"upstream": upstream, "problem": str(error)})
            raise UnknownOutcomeError(offer, str(error)) from error
        except BaseException:
            attempt.ended("left")
            raise
        outcome = outcome_of(answered.reply.status)
        if outcome == "answered":
            if answered.body is not None:
                attempt.ended(outcome)
            return answered
        attempt.ended(outcome, retry_after_s=retry_after_s(answered.reply.named, datetime.now(UTC)))
        self._goes_on = goes_on(outcome, retry_unknown=self.route.retry_unknown)
        if self._goes_on:
            log.warning("upstream", extra={"upstream": upstream, "status": answered.reply.status})
        return answered

    async def _ask(self, offer: Offer, attempt: Sending) -> UpstreamAnswer:
        """Ask one upstream; once more without what only we sent, if it refuses that."""
        answered = await self._send(offer, attempt, NOTHING)
        if answered.good or answered.body is None or not self.added:
            return answered
        refused = refused_fields(UpstreamStatusError(answered.reply.status, answered.body), self.added)
        if not refused or not self._does_without(refused):
            return answered
        again = await self._send(offer, attempt, refused)
        if again.good:
            learn_of(offer, offer.upstream.bases[self.inbound.asked.api], refused)
        return again

    def _does_without(self, refused: Mapping[str, int]) -> bool:
        """Whether a call may be sent without fields of ours: not without its cap, where its budget counts on it."""
        return self.charge.bounds.cap is None or set(refused) <= {"stream_options"} or not self.charge.bounds.capped

    async def _send(self, offer: Offer, attempt: Sending, without: Mapping[str, int]) -> UpstreamAnswer:
        inbound, upstream = self.inbound, offer.upstream
        api = inbound.asked.api
        changes = self._changes(offer, without)
        path = inbound.asked.path
        if "{model}" in path:
            path = path.replace("{model}", offer.model)
        body = inbound.encoded(changes, offer.model) if inbound.raw else b""
        own = upstream.headers.get(api, ())
        headers = _headers(inbound.headers, own)
        left_s = self._until_s - time.monotonic()
        read_s = upstream.read_s if left_s > upstream.read_s else max(1.0, round(left_s))
        self.sent += 1
        begin_s = time.perf_counter()
        try:
            reply = await self._client.send(
                inbound.asked.endpoint.method,
                f"{upstream.bases[api]}{path}{inbound.query}",
                headers,
                body,
                connect_s=upstream.connect_s,
                read_s=read_s,
            )
        except NotSentError:
            self.sent -= 1
            raise
        finally:
            self.head_s = time.perf_counter() - begin_s
            self.away_s += self.head_s
        if 200 <= reply.status < 300 and not self.free and "event-stream" in reply.header("content-type").lower():
            return UpstreamAnswer(reply, offer, attempt, None, own)
        if 200 <= reply.status < 300:  # an error is quick, and no sign of health
            attempt.first_byte()
        whole = _without_key(await reply.read(), own)
        self.away_s += time.perf_counter() - begin_s - self.head_s
        return UpstreamAnswer(reply, offer, attempt, whole, own)

    def _changes(self, offer: Offer, without: Mapping[str, int]) -> Mapping[str, Any]:
        """The fields that are sent otherwise than the client wrote them."""
        if self.inbound.form:
            return NOTHING
        host = offer.terms.host
        # Unless it refuses, as `_ask` sees; and where no budget counts, nothing is changed.
        self.ask_usage = (
            self.inbound.stream and (host.usage or not host.known) and bool(self.charge.plan.cover.accounts)
        )
        changed = self.changes()
        if without:
            changed = {name: value for name, value in changed.items() if name not in without}
            self.ask_usage = "stream_options" in changed
        return changed

    changes = changes_of

    def observe(self, answered: UpstreamAnswer) -> None:
        """Have the charge take in what came."""
        charge = self.charge
        if self.sent > 1:
            charge.note(lost=0, attempts=self.sent)
        if not answered.good:
            if answered.reply.status in charge.asked.host.billed:
                charge.refused()
            else:
                charge.failed(free=True, sent=self.sent)
        elif answered.body is None:
            charge.state = "watched"
        elif answered.encoded:
            charge.observe(Answer())
        else:
            try:
                answer = answer_of(charge.asked.endpoint, answered.kind, answered.body)
                # Work in the background is done when nobody asks here any more: it is booked as held.
                charge.observe(answer if answer.final else Answer())
            except Exception:
                log.exception("the answer of call %s could not be read", charge.id)
                charge.observe(Answer())

    def failed(self, error: BaseException) -> None:
        """Have the charge take in that nothing came."""
        charge = self.charge
        if charge.state != "sent" or charge.answer is not None:
            return
        if isinstance(error, Exhausted | CoolingError | Refused) or not self.sent:
            charge.failed(free=True, sent=self.sent)
            return
        charge.note(lost=0, attempts=self.sent)
        charge.failed(free=False, sent=self.sent)


def _headers(asked: Sequence[tuple[str, str]], own: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is sent: a client's headers, unless the upstream has its own of that name; its version of an API stays."""
    stated, kept = _stated(own)
    sent = [pair for pair in asked if pair[0] not in stated]
    if any(pair[0] == _VERSION for pair in sent):
        kept = [pair for pair in kept if pair[0] != _VERSION]
    return [*sent, _PLAIN, *kept]


_VERSION: Final = "anthropic-version"
_PLAIN: Final = ("accept-encoding", "identity")


@lru_cache(1_024)
def _stated(own: Sequence[tuple[str, str]]) -> tuple[frozenset[str], Sequence[tuple[str, str]]]:
    """The names of an upstream's own headers that stand for a client's, and all of these headers."""
    return frozenset(name for name, _ in own if name != _VERSION), own


@lru_cache(1_024)
def _secrets(own: Sequence[tuple[str, str]]) -> tuple[bytes, ...]:
    """The keys in an upstream's headers."""
    words = ("auth", "key", "token", "secret", "password", "cookie")
    found = [value.removeprefix("Bearer ") for name, value in own if any(word in name for word in words)]
    return tuple(value.encode() for value in found if len(value) >= _SHORTEST)


def _without_key(body: bytes, own: Sequence[tuple[str, str]]) -> bytes:
    """A body without the upstream's key: some say in an error which one it was."""
    for secret in _secrets(own):
        if secret in body:
            body = body.replace(secret, b"*" * len(secret))
    return body
