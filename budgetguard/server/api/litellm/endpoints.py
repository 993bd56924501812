"""LiteLLM's two endpoints: `POST /get_budget` and `POST /set_budget`, over the same budgets as the native API."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from ....budgets.rules import UserBudget, escape
from ....budgets.users import insist
from ....ledger import Millis
from ....litellm.records import UserRecord, days, in_dollars, read_record, records, require_dollars
from ....money import Nano
from ...keys import ADMIN, READ
from ...projects import Project
from ..action import MOST_BYTES_OF_MANY, Action, Ask
from ..wire import Text
from . import merge as litellm
from .merge import Known, Seen

READINGS = "litellm/"
"""The keys of terms that say how much of each reading was merged."""


class GetBudget(Struct, frozen=True):
    """Which project."""

    project_name: Text


class SetBudget(Struct, frozen=True):
    """All records of a project, as the writer has them."""

    project_name: Text
    user_dict: dict[str, dict[str, Any]]


class Budgets(Struct, frozen=True, omit_defaults=True):
    """`{"status": "error"}` if nothing is stored; else all records by user."""

    status: Literal["success", "error"]
    data: dict[str, dict[str, Any]] | UnsetType = UNSET


class Saved(Struct, frozen=True):
    """The records are merged."""

    status: Literal["success"] = "success"


def get_budget(ask: Ask) -> Budgets:
    """The record of every user whose budget is in dollars, with the mark by which a later `set_budget` is merged."""
    project, reading = ask.project, secrets.token_hex(8)
    budgets = list(in_dollars(project.users.all()))
    if not budgets:
        return Budgets("error")
    now = project.store.now_ms()
    data = records(project.users, budgets, now)
    for own in budgets:
        user, record = own.user, data[own.user]
        if own.rule.limit is None:
            record["total_budget"] = litellm.UNLIMITED
        read = read_record(user, user, _readable(record))
        known = Known(reading, own.account(now).key, read.model_cost)
        data[user] = {**record, litellm.MARK: known.to_json()}
    return Budgets("success", data)


def set_budget(ask: Ask) -> Saved:
    """Take budgets as given, and add the spend that the writer added since it read."""
    said = {user: _Said.read(user, raw) for user, raw in ask.body.user_dict.items()}
    writer = _writer(ask, said)
    return insist(lambda: _Merge(ask.project, writer, ask.project.store.now_ms()).run(said), "the same records are")


@dataclass(frozen=True, slots=True)
class _Said:
    """One user's record as it was sent."""

    record: UserRecord
    mark: Known | None
    origin: str
    """Tells the records that a writer made from each other: when it made them."""
    stated: bool
    """Whether it says what was spent."""

    @classmethod
    def read(cls, user: str, raw: Mapping[str, Any]) -> _Said:
        mark = Known.from_json(raw.get(litellm.MARK))
        record = read_record(f"user_dict[{user!r}]", user, _readable(raw))
        origin = "" if mark is not None else f"made {raw.get('created_at')}"
        return cls(record, mark, origin, "current_cost" in raw)


def _readable(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A record in which no limit is written as LiteLLM's files have it."""
    return {**raw, "total_budget": float("inf")} if raw.get("total_budget") == litellm.UNLIMITED else dict(raw)


def _writer(ask: Ask, said: Mapping[str, _Said]) -> str:
    """Who writes: the reading that a mark names, or else the key and address that the request came from."""
    for each in said.values():
        if each.mark is not None:
            return each.mark.reading
    text = json.dumps([ask.caller.prefix, ask.address])
    return "from-" + hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Merge:
    """Puts the records that a writer sent on a project's books, at a moment."""

    project: Project
    writer: str
    now_ms: Millis

    def run(self, said: Mapping[str, _Said]) -> Saved | None:
        """Merge all; `None` if another request of the same writer came between: it is safe to do it again."""
        store, key = self.project.store, READINGS + escape(self.writer)
        terms = store.terms(key)
        merged: dict[str, Any] = {} if terms is None or terms.body is None else json.loads(terms.body)
        version, changed = 0 if terms is None else terms.version, False
        users = {own.user: own for own in self.project.users.all()}
        for user, each in said.items():
            own = self._take_budget(user, each.record, users.get(user))
            place = f"{escape(user)} {each.origin}"
            before = Seen.from_json(merged.get(place)) or Seen.first(each.mark or litellm.NOTHING, self.now_ms)
            seen = self._book(own, before.turned(self.now_ms), each)
            if seen is None:
                return None
            if seen.known != before.known:
                merged[place], changed = seen.to_json(), True
        if changed and store.put_terms(key, json.dumps(merged), expected=version) is None:
            return None
        return Saved()

    def _take_budget(self, user: str, record: UserRecord, own: UserBudget | None) -> UserBudget:
        """The user's budget, with the limit and the period of the record; what LiteLLM does not know of stays."""
        if own is None:
            return self.project.users.put(user, record.rule(), created_s=record.created_at)
        require_dollars(own)
        limit = None if record.total_budget is None else record.total_budget.nano
        if limit == own.rule.limit and record.days == days(own.rule):
            return own
        return self.project.users.put(user, record.rule(own.rule))

    def _book(self, own: UserBudget, seen: Seen, said: _Said) -> Seen | None:
        """Book what was added to a user's spend: what was seen of it now; `None` if the budget changed meanwhile."""
        known, sent = seen.known, said.record.model_cost
        change = litellm.change(seen, own.account(self.now_ms).key, sent, stated=said.stated)
        if not (change.added or change.begun):
            return seen
        base = change.base
        if change.reset:
            spent = self.project.users.spent_by_model([own], self.now_ms)[own.user]
            renewed = self.project.users.replace(own.renewed(self.project.clock()))
            if renewed is None:
                return None
            own, base = renewed, Known(known.reading, renewed.account(self.now_ms).key, {})
            carrier = replace(self, writer=f"{self.writer} carried")
            for model, nano in litellm.carried(spent, known).items():
                carrier._book_once(own, base, model, nano)
        for model, nano in change.added.items():
            base = self._book_once(own, base, model, base.spent.get(model, 0) + nano)
        # A later write of this writer may have been booked, and not noted: what is on the books is known from here on.
        levels = {model: max(nano, base.spent.get(model, 0)) for model, nano in sent.items()}
        return seen.merged(Known(known.reading, own.account(self.now_ms).key, levels), begun=change.begun)

    def _book_once(self, own: UserBudget, known: Known, model: str, level: Nano) -> Known:
        """Book a model's spend up to a level, from what is known on."""
        before = known.spent.get(model, 0)

        def hold_id(booked: Nano) -> str:
            so_far = litellm.with_level(known, model, before + booked)
            return litellm.booking_id(self.writer, own.user, so_far, model)

        booked = self.project.users.book_rest(own, level - before, model=model, hold_id=hold_id, at_ms=self.now_ms)
        return litellm.with_level(known, model, before + booked)


ENDPOINTS = [
    Action(
        "POST",
        "/get_budget",
        get_budget,
        Budgets,
        frozenset({READ, ADMIN}),
        GetBudget,
        slow=True,
        project_in_body=True,
    ),
    Action(
        "POST",
        "/set_budget",
        set_budget,
        Saved,
        frozenset({ADMIN}),
        SetBudget,
        slow=True,
        most_bytes=MOST_BYTES_OF_MANY,
        project_in_body=True,
        statuses=(409,),
    ),
]
