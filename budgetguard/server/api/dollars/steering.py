"""`/v1/steer`: budgets that run are changed; and `/v1/changes`: who changed which, when and why."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ....budgets.steering.audit import Changed, changes
from ....budgets.steering.moments import since_ms
from ....budgets.steering.office import SteerDone, Steering
from ....errors import ConfigError
from ....ledger import Unit
from ...keys import ADMIN
from ..access.steerable import rules_aimed
from ..action import Action, Ask
from .budgets import Limit
from .fields import PAGE, READERS, PageSize, Short, author_of, figure, iso

Verb = Literal["raise", "topup", "pause", "resume", "reset", "restore"]
Target = Annotated[str, Meta(min_length=1, max_length=1_000)]


class SteerIn(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """
    What is to be done with a user's budget ("users/ann"), a rule ("team": all of its subjects), or one ("team/red").

    `amount` is the limit of "raise", and what "topup" adds; `until` ends a raise: "2h", "2027-01-31", "end of month".
    """

    do: Verb
    target: Target
    amount: Limit = None
    until: Short | None = None
    note: Short = ""


class ChangeOut(Struct, frozen=True, kw_only=True):
    """One change; `before` and `after` have what is said of the budget, and what people changed of it in `steer`."""

    id: str
    at: str
    who: str
    via: str
    what: str
    target: str
    before: dict[str, Any]
    after: dict[str, Any]
    note: str


class SteerOut(Struct, frozen=True, kw_only=True):
    """What came of it: the limit that holds now, and a sentence for people."""

    target: str
    unit: Unit
    limit: float | None
    paused: bool
    told: str
    change: ChangeOut


class ChangesQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which changes: of a user's own budget, of a target, since a time ("7d": so long ago), before that id."""

    user: Short | None = None
    target: Short | None = None
    since: Short | None = None
    before: Short | None = None
    limit: PageSize = PAGE


class ChangesPage(Struct, frozen=True):
    """Changes, the last first; `next` is the `before` of the next page, null on the last."""

    changes: list[ChangeOut]
    next: str | None


def steer(ask: Ask) -> SteerOut:
    """Change a budget that runs; it holds from the very next call, in every process."""
    said: SteerIn = ask.body
    rules = rules_aimed(ask.project.own, ask.project.store, ask.project.name, said.target)
    done = _done(Steering(ask.project.users, author_of(ask.caller), rules=rules), said)
    return SteerOut(
        target=done.target.stem,
        unit=done.unit,
        limit=None if done.limit is None else figure(done.limit, done.unit),
        paused=done.after.paused,
        told=done.told,
        change=_shown(done.change),
    )


def list_changes(ask: Ask) -> ChangesPage:
    """Who changed budgets, keys and limits, when and why, page by page."""
    asked: ChangesQuery = ask.query
    after_ms = None if asked.since is None else since_ms(asked.since, ask.project.store.now_ms())
    found = list(
        changes(
            ask.project.store,
            since_ms=after_ms,
            user=asked.user,
            target=asked.target,
            limit=asked.limit,
            before=asked.before,
        )
    )
    return ChangesPage([_shown(each) for each in found], found[-1].id if len(found) == asked.limit else None)


def _done(office: Steering, said: SteerIn) -> SteerDone:
    """Do it; raises `ConfigError` for an amount where there is none to say, or none where there is."""
    if (said.do in {"raise", "topup"}) != (said.amount is not None):
        needs = "say amount, in the unit of the budget" if said.amount is None else "leave amount out"
        raise ConfigError(f"do={said.do!r}: {needs}")
    if said.until is not None and said.do != "raise":
        raise ConfigError(f"do={said.do!r}: only a raise has an until")
    target, note = said.target, said.note
    if said.amount is not None:
        if said.do == "raise":
            return office.raise_limit(target, said.amount, until=said.until, note=note)
        return office.top_up(target, said.amount, note=note)
    verbs = {"pause": office.pause, "resume": office.resume, "reset": office.reset, "restore": office.remove}
    return verbs[said.do](target, note=note)


def _shown(each: Changed) -> ChangeOut:
    return ChangeOut(
        id=each.id,
        at=iso(each.at_ms),
        who=each.who,
        via=each.via,
        what=each.what,
        target=each.target,
        **each.plain(),
        note=each.note,
    )


ENDPOINTS = [
    Action("POST", "/v1/steer", steer, SteerOut, frozenset({ADMIN}), SteerIn, statuses=(404, 409), slow=True),
    Action("GET", "/v1/changes", list_changes, ChangesPage, READERS, query=ChangesQuery, slow=True),
]
