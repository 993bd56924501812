"""
What goes on at a provider after its answer: background responses, batches, and the files that batches are made of.

A hold outlives its call until a look at the work shows how it ended, in this process or another: what is needed to
settle it then is kept here, and in the store among the terms of budgets. No prompt is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ...budgets.accounts import NO_COVER
from ...calls import UNKNOWN_HOST, Answer, Call, Ending, Endpoint, Listener
from ...concurrency.interrupts import raise_interruption
from ...concurrency.steps import Step, Steps
from ...ledger import Account, Hold, Millis, Store, Terms, Wanted
from ...ledger.ids import began_ms
from ...money import Nano
from ..admission import BACKGROUND_TTL_MS, Asked
from ..charge import Charge, ChargeState
from ..costs.bill import end_of
from ..parts import Parts
from ..plan import CallPlan
from .batches import BatchCharge, BatchFile
from .pieces import Uploads

log = logging.getLogger("budgetguard")
_V = TypeVar("_V")

KINDS = ("responses", "batches", "messages.batches", "interactions", "models.batchGenerateContent")
"""The operations that go on in the background. What the store keeps of one is under "responses/resp_123"."""

FILES = "files"
"""What it keeps of a file that was uploaded for a batch is under "files/file-123"."""

FILE_MS: Millis = 30 * 24 * 60 * 60 * 1000
"""How long a provider keeps such a file, if nobody says otherwise."""

_FORGET_EVERY_MS: Millis = 60 * 60 * 1000
_MOST = 10_000


class Job(NamedTuple):
    """Work in the background that nobody saw the end of."""

    kind: str
    """One of `KINDS`."""
    id: str
    """The provider's."""
    hold: str
    model: str
    amount: Nano
    """What is held for it."""
    tags: Mapping[str, str]
    host: str
    """Where it was sent; "" if that was not written down."""
    ttl_ms: Millis | None
    """How long its hold lasts; `None` if it has none in the store."""

    @property
    def began_ms(self) -> Millis:
        """When it was sent: hold ids begin with it."""
        return began_ms(self.hold)

    @property
    def expires_ms(self) -> Millis | None:
        """When what is held is booked as spent, if nobody looks."""
        return None if self.ttl_ms is None else self.began_ms + self.ttl_ms


class Background:
    """What a guard remembers of such work, and of files."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._charges: dict[str, Charge] = {}
        self._files: dict[str, BatchFile] = {}
        self._forget_ms: Millis = 0
        self.uploads = Uploads()

    def take_over(self, other: Background) -> None:
        """Know of what another guard's calls have begun."""
        self._charges |= other._charges
        self._files |= other._files

    def keep(self, charge: Charge, answer: Answer) -> Steps[None]:
        """Keep the hold of work that has begun until a look at it shows its usage, in this process or another."""
        if answer.id is None:
            charge.reopen(Answer())
            yield from charge.close()
            return
        key = _key(charge.asked.endpoint.name, answer.id)
        _put(self._charges, key, charge)
        yield from self._write(key, _charge_text(charge))

    def follow(self, parts: Parts, kind: str, answer: Answer) -> Steps[Nano | None]:
        """A look showed how such work stands: settle its hold, if it has one and is at its end; the cost, then."""
        if answer.id is None or not answer.final:
            return None
        key = _key(kind, answer.id)
        charge = self._charges.pop(key, None)
        if charge is None:
            text = yield from self._read(key)
            if text is None:
                return None
            charge = _charge(parts, text)
        charge.reopen(answer)
        yield from charge.close()
        yield from self._write(key, None)
        return charge.cost(answer)

    def note_file(self, file_id: str, file: BatchFile, at_ms: Millis) -> Steps[None]:
        """Remember what the requests in an uploaded file can cost."""
        _put(self._files, file_id, file)
        yield from self._write(_key(FILES, file_id), json.dumps({"at_ms": at_ms, **file.as_json()}))
        if self._store is not None and at_ms >= self._forget_ms:
            self._forget_ms = at_ms + _FORGET_EVERY_MS
            yield Step(partial(self._forget, self._store, at_ms - FILE_MS), self._store.blocking)

    def file(self, file_id: str) -> Steps[BatchFile | None]:
        """What is remembered of a file, here or by another process; `None` if nobody read it."""
        known = self._files.get(file_id)
        if known is None and (text := (yield from self._read(_key(FILES, file_id)))) is not None:
            known = BatchFile.from_json(json.loads(text))
        return known

    def jobs(self) -> Iterator[Job]:
        """All work in the background that is in the store's books."""
        assert self._store is not None
        for kind in KINDS:
            for terms in self._store.all_terms(_key(kind, "")):
                said = _read(terms)
                if said is not None:
                    yield _job(kind, terms.key.removeprefix(_key(kind, "")), said)

    def _forget(self, store: Store, before_ms: Millis) -> None:
        """Take the files that were uploaded before a time out of the store's books."""
        for terms in list(store.all_terms(_key(FILES, ""))):
            said = _read(terms)
            if said is not None and said.get("at_ms", 0) < before_ms:
                store.put_terms(terms.key, None)

    def _read(self, key: str) -> Steps[str | None]:
        if self._store is None:
            return None
        terms = yield Step(partial(self._store.terms, key), self._store.blocking)
        return None if terms is None else terms.body

    def _write(self, key: str, text: str | None) -> Steps[None]:
        if self._store is not None:
            yield Step(partial(self._store.put_terms, key, text), self._store.blocking)


def _put(kept: dict[str, _V], key: str, value: _V) -> None:
    if len(kept) >= _MOST:
        kept.pop(next(iter(kept)), None)
    kept[key] = value


def _key(kind: str, name: str) -> str:
    return f"{kind}/{name}"


def _read(terms: Terms) -> dict[str, Any] | None:
    """What is written there, if it is one of ours: on a hosted store others write, too."""
    try:
        said = json.loads(terms.body or "")
    except ValueError:
        said = None
    if not isinstance(said, dict) or not ({"hold", "model", "amount", "tags"} <= said.keys() or "parts" in said):
        log.warning("the store has something under %s that budgetguard did not write", terms.key)
        return None
    return said


def _job(kind: str, name: str, said: Mapping[str, Any]) -> Job:
    host = said.get("host", "")
    ttl_ms = said.get("ttl_ms", BACKGROUND_TTL_MS if said.get("held") else None)
    return Job(kind, name, said["hold"], said["model"], said["amount"], said["tags"], host, ttl_ms)


def _charge_text(charge: Charge) -> str:
    asked, hold = charge.asked, charge.held.hold
    said = {
        "hold": charge.id,
        "endpoint": asked.endpoint.name,
        "provider": asked.provider,
        "host": asked.host.name,
        "model": charge.call.model,
        "amount": charge.held.amount,
        "units": dict(charge.held.units),
        "accounts": [account.key for account in charge.plan.cover.accounts],
        "held": hold is not None,
        "ttl_ms": None if hold is None else hold.ttl_ms,
        "tags": dict(asked.tags),
    }
    if isinstance(charge, BatchCharge) and charge.file is not None:
        said["file"] = charge.file.as_json()
    return json.dumps(said)


def _charge(parts: Parts, text: str) -> Charge:
    """The charge of work that another process sent."""
    data = json.loads(text)
    asked = Asked(Endpoint(data["endpoint"], "POST", "", None), data["provider"], UNKNOWN_HOST, data["tags"])
    call = Call(data["model"], background=True)
    charge = (BatchCharge if "file" in data else Charge)(parts, asked, call)
    held, accounts = charge.held, tuple(Account(key) for key in data["accounts"])
    held.id, held.amount, held.units = data["hold"], data["amount"], data.get("units", {})
    charge.state = "sent"
    if isinstance(charge, BatchCharge):
        charge.know(BatchFile.from_json(data["file"]))
    parts.plans.coverage.cover(asked.tags, began_ms(charge.id))  # its accounts may have marks
    cover = NO_COVER.with_accounts(accounts)
    charge.plan = CallPlan(cover, counters=cover.counters(call.model))
    if data["held"]:
        units = {unit: Wanted(amount) for unit, amount in held.units.items()}
        held.hold = Hold(charge.id, accounts, held.amount, tags=asked.tags, model=call.model, units=units)
    return charge


class Follow:
    """A look at earlier work in the background: it holds nothing itself, and settles that work's hold."""

    def __init__(self, parts: Parts, background: Background, endpoint: Endpoint, job: str) -> None:
        self.parts = parts
        self.asked = Asked(endpoint, None, UNKNOWN_HOST)
        self.call = Call("", stream=False)
        self.id = ""
        self.state: ChargeState = "sent"
        self.answers: Sequence[Answer] = ()
        self._background = background
        self._job = job
        """The id of that work, where its reply does not have it."""

    def observe(self, *answers: Answer) -> None:
        """Take in how the work stands."""
        self.answers = answers

    def interrupted(self, listener: Listener | None, ending: Ending) -> None:
        """Take in what its stream said of it, if that was its last word."""
        if listener is None:
            return
        if self.asked.endpoint.lines and ending == "whole":
            self.answers = (end_of(listener, self.id)._replace(id=self._job),)
        elif listener.done:
            self.answers = (end_of(listener, self.id),)

    def living(self) -> tuple[()]:
        """Nothing."""
        return ()

    def raise_cut(self) -> None:
        """Nothing: who looks at work has not asked for its answer here."""

    def close(self) -> Steps[None]:
        """Settle the hold of the work, if it is at its end."""
        follows = self.asked.endpoint.follows
        for answer in self.answers:
            try:
                yield from self._background.follow(self.parts, follows, answer)
            except Exception as error:
                raise_interruption(error)
                log.exception("%s %s could not be settled", follows, answer.id)
