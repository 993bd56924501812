"""
What goes on at a provider after its answer: background responses, batches, and the files that batches are made of.

A hold outlives its call until a look at the work shows how it ended, in this process or another: what is needed to
settle it then is kept here, and in the store among the terms of budgets. No prompt is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .batches import BatchCharge, BatchFile
from .calls import Answer, Call, Endpoint
from .charge import Charge
from .ledger import Account, Hold, Millis, Store
from .money import Nano
from .steps import Step, Steps

if TYPE_CHECKING:
    from .guards import Guard

_V = TypeVar("_V")

KINDS = ("responses", "batches")
"""The operations that go on in the background. What the store keeps of one is under "responses/resp_123"."""

FILES = "files"
"""What it keeps of a file that was uploaded for a batch is under "files/file-123"."""

FILE_DAYS = 30
"""How long a provider keeps such a file, if nobody says otherwise."""

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
    """Where it was sent."""

    @property
    def began_ms(self) -> Millis:
        """When it was sent: hold ids begin with it."""
        return int(self.hold[:12], 16)


class Background:
    """What a guard remembers of such work, and of files."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._charges: dict[str, Charge] = {}
        self._files: dict[str, BatchFile] = {}

    def keep(self, charge: Charge, answer: Answer) -> Steps[None]:
        """Keep the hold of work that has begun until a look at it shows its usage, in this process or another."""
        if answer.id is None:
            charge.answer, charge.ended = Answer(), False
            yield from charge.close()
            return
        key = _key(charge.endpoint.name, answer.id)
        _put(self._charges, key, charge)
        yield from self._write(key, _charge_text(charge))

    def follow(self, guard: Guard, kind: str, answer: Answer) -> Steps[None]:
        """A look showed how such work stands: settle its hold, if it has one and is at its end."""
        if answer.id is None or not answer.final:
            return
        key = _key(kind, answer.id)
        charge = self._charges.pop(key, None)
        if charge is None:
            text = yield from self._read(key)
            if text is None:
                return
            charge = _charge(guard, text)
        charge.answer, charge.ended = answer, False
        yield from charge.close()
        yield from self._write(key, None)

    def note_file(self, file_id: str, file: BatchFile) -> Steps[None]:
        """Remember what the requests in an uploaded file can cost."""
        _put(self._files, file_id, file)
        yield from self._write(_key(FILES, file_id), json.dumps(file.as_json()))

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
            for terms in self._store.all_terms(f"{kind}/"):
                if terms.body is not None:
                    said = json.loads(terms.body)
                    name = terms.key.removeprefix(f"{kind}/")
                    host = said.get("host", "")
                    yield Job(kind, name, said["hold"], said["model"], said["amount"], said["tags"], host)

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


def _charge_text(charge: Charge) -> str:
    said = {
        "hold": charge.id,
        "endpoint": charge.endpoint.name,
        "provider": charge.provider,
        "host": charge.host.name,
        "model": charge.call.model,
        "amount": charge.amount,
        "accounts": [account.key for account in charge.cover.accounts],
        "held": charge.hold is not None,
        "tags": dict(charge.tags),
    }
    if isinstance(charge, BatchCharge) and charge.file is not None:
        said["file"] = charge.file.as_json()
    return json.dumps(said)


def _charge(guard: Guard, text: str) -> Charge:
    """The charge of work that another process sent."""
    data = json.loads(text)
    endpoint = Endpoint(data["endpoint"], "POST", "", None)
    call = Call(data["model"], background=True)
    make = BatchCharge if "file" in data else Charge
    charge = make(guard, endpoint, call, provider=data["provider"], scope=None, tags=data["tags"])
    charge.id = data["hold"]
    charge.amount = data["amount"]
    charge.sent = True
    if isinstance(charge, BatchCharge):
        charge.know(BatchFile.from_json(data["file"]))
    accounts = tuple(Account(key) for key in data["accounts"])
    charge.cover = charge.cover.with_accounts(accounts)
    if data["held"]:
        charge.hold = Hold(charge.id, accounts, charge.amount, tags=charge.tags, model=call.model)
    return charge
