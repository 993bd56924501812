"""Budgets, users, entries and spend as people and dashboards want them: amounts in dollars, times in ISO 8601."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import dropwhile, islice
from typing import Any

from msgspec import UnsetType

from ...budgets.rules import Budget, UserBudget, user_rule
from ...budgets.users import Standing
from ...ledger import Entry, Millis, Query, Store, Total
from ...money import DOLLAR, Money, Nano
from ..keys import ADMIN, READ
from ..problems import Refused
from . import forms as f
from .endpoint import Action, Ask, Raw
from .schemas import Done

_CSV_PAGE = 1_000
_CSV_COLUMNS = ("at", "user", "provider", "model", "cost", "input_tokens", "output_tokens", "flags", "tags", "hold_id")


# -- budgets ---------------------------------------------------------------------------------------------------------


def list_budgets(ask: Ask) -> f.BudgetsPage:
    """Every user's budget, by name, page by page."""
    asked: f.PageQuery = ask.query
    found = list(islice(ask.project.users.all(after=asked.after), asked.limit))
    last = found[-1].user if len(found) == asked.limit else None
    now_ms = ask.project.store.now_ms()
    return f.BudgetsPage([_shown(each) for each in ask.project.users.standings(found, now_ms)], last)


def create_budget(ask: Ask) -> f.BudgetOut:
    """Give a user a budget; 409 if they have one."""
    user = ask.body.user
    own = ask.project.users.add(user, _rule(ask.body))
    if own is None:
        told = f"user {user!r} has a budget already: change it with PATCH or PUT"
        raise Refused(409, told, code="exists", param="user")
    return _standing(ask, own)


def read_budget(ask: Ask) -> f.BudgetOut:
    """One user's budget and what is left of it."""
    return _standing(ask, ask.project.users.get(ask.rest))


def replace_budget(ask: Ask) -> f.BudgetOut:
    """Give a user this budget, whether they had one or not; the spend stays."""
    return _standing(ask, ask.project.users.put(ask.rest, _rule(ask.body)))


def change_budget(ask: Ask) -> f.BudgetOut:
    """Change what is named, and leave the rest; `reset` begins the period again with nothing spent."""
    said: f.BudgetChange = ask.body

    def changed(own: UserBudget) -> UserBudget:
        now_s = ask.project.clock()
        made = replace(own, rule=_changed(own.rule, said), updated_s=now_s)
        return made.renewed(now_s) if said.reset else made

    return _standing(ask, ask.project.users.change(ask.rest, changed))


def delete_budget(ask: Ask) -> Done:
    """Take a user's budget away; the history stays."""
    ask.project.users.remove(ask.rest)
    return Done()


def _rule(said: f.BudgetRule) -> Budget:
    return user_rule(
        said.limit,
        said.period,
        enforce=said.enforce,
        on_expire=said.on_expire,
        in_flight=said.in_flight,
        timezone=said.timezone,
    )


def _changed(rule: Budget, said: f.BudgetChange) -> Budget:
    """The rule with what was named; a time zone alone keeps the period's length."""
    limit = None if rule.limit is None else Money(rule.limit)
    return user_rule(
        said.limit if not isinstance(said.limit, UnsetType) else limit,
        said.period if not isinstance(said.period, UnsetType) else rule.period.name,
        timezone=said.timezone if not isinstance(said.timezone, UnsetType) else rule.period.timezone,
        enforce=said.enforce or rule.enforce,
        on_expire=said.on_expire or rule.on_expire,
        in_flight=said.in_flight or rule.in_flight,
    )


def _standing(ask: Ask, own: UserBudget) -> f.BudgetOut:
    return _shown(ask.project.users.standing(own, ask.project.store.now_ms()))


def _shown(standing: Standing) -> f.BudgetOut:
    own, rule = standing.budget, standing.budget.rule
    return f.BudgetOut(
        user=own.user,
        limit=_dollars(rule.limit),
        spent=standing.spent / DOLLAR,
        held=standing.held / DOLLAR,
        left=_dollars(standing.left),
        period=rule.period.name,
        timezone=rule.period.timezone,
        enforce=rule.enforce,
        on_expire=rule.on_expire,
        in_flight=rule.in_flight,
        created_at=_iso(round(own.created_s * 1000)),
        updated_at=_iso(round(own.updated_s * 1000)),
        resets_at=None if standing.resets_ms is None else _iso(standing.resets_ms),
        version=own.version,
    )


# -- users, entries, spend -------------------------------------------------------------------------------------------


def list_users(ask: Ask) -> f.UsersPage:
    """Everybody who has a budget, or spent something: how much and in how many calls, ever."""
    asked: f.PageQuery = ask.query
    store = ask.project.store
    users = {total.group[0]: total for total in store.totals(["user"]) if total.group[0]}
    with_budget = {own.user for own in ask.project.users.all()}
    names: Iterable[str] = sorted({*users, *with_budget})
    if asked.after is not None:
        after = asked.after
        names = dropwhile(lambda name: name <= after, names)
    page = list(islice(names, asked.limit))
    nothing = Total((), 0, 0, 0, 0, 0)
    shown = [
        f.UserOut(name, name in with_budget, users.get(name, nothing).cost / DOLLAR, users.get(name, nothing).calls)
        for name in page
    ]
    return f.UsersPage(shown, page[-1] if len(page) == asked.limit else None)


def list_entries(ask: Ask) -> f.EntriesOut | Raw:
    """The history, the oldest first: a page of JSON, or all of it as CSV."""
    asked: f.EntriesQuery = ask.query
    query = _query(asked, asked.user)
    if asked.format == "csv":
        first = list(ask.project.store.entries(replace(query, limit=_page_size(asked.limit))))
        name = (b"content-disposition", b'attachment; filename="entries.csv"')
        return Raw("text/csv; charset=utf-8", _csv(ask.project.store, query, first, asked.limit), (name,))
    limit = asked.limit or f.PAGE
    found = list(ask.project.store.entries(replace(query, limit=limit)))
    return f.EntriesOut([_entry(each) for each in found], found[-1].hold_id if len(found) == limit else None)


def spend(ask: Ask) -> f.SpendOut:
    """What was spent, grouped by user, model, provider, day or any tag."""
    asked: f.SpendQuery = ask.query
    by = asked.by or ["user"]
    totals = ask.project.store.totals(by, _query(asked, asked.user))
    groups = [
        f.SpendGroup(
            dict(zip(by, total.group, strict=True)),
            total.cost / DOLLAR,
            total.calls,
            total.input_tokens,
            total.output_tokens,
            total.estimated,
        )
        for total in totals
    ]
    return f.SpendOut(by, groups, sum(total.cost for total in totals) / DOLLAR)


def _query(asked: f.EntriesQuery | f.SpendQuery, user: str | None) -> Query:
    tags: dict[str, str] = {}
    for pair in asked.tag:
        name, separator, value = pair.partition("=")
        if not (separator and name):
            raise Refused(422, f"tag={pair!r}: write name=value, such as team=search", param="tag")
        tags[name] = value
    if user is not None:
        tags["user"] = user
    after = asked.after if isinstance(asked, f.EntriesQuery) else None
    return Query(_moment(asked.since, "since"), _moment(asked.until, "until"), tags, asked.model, after)


def _moment(text: str | None, name: str) -> Millis | None:
    """A time in ISO 8601 (UTC unless it says otherwise), in milliseconds."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Refused(422, f"{name}={text!r}: write a day (2026-01-31) or a time in ISO 8601", param=name) from None


def _entry(entry: Entry) -> f.EntryShown:
    return f.EntryShown(
        hold_id=entry.hold_id,
        at=_iso(entry.at_ms),
        cost=entry.cost / DOLLAR,
        cost_nano=entry.cost,
        user=entry.tags.get("user"),
        provider=entry.provider,
        model=entry.model,
        tags=dict(entry.tags),
        usage=dict(entry.usage),
        flags=sorted(entry.flags),
        accounts=list(entry.accounts),
    )


def _csv(store: Store, query: Query, page: list[Entry], limit: int | None) -> Iterator[bytes]:
    """The head, and a piece for every page of entries."""
    yield _rows([_CSV_COLUMNS])
    left = limit
    while page:
        yield _rows(_row(entry) for entry in page)
        left = None if left is None else left - len(page)
        if left == 0 or len(page) < _CSV_PAGE:
            return
        page = list(store.entries(replace(query, after=page[-1].hold_id, limit=_page_size(left))))


def _page_size(left: int | None) -> int:
    return _CSV_PAGE if left is None else min(left, _CSV_PAGE)


def _row(entry: Entry) -> list[Any]:
    return [
        _iso(entry.at_ms),
        entry.tags.get("user", ""),
        entry.provider,
        entry.model,
        f"{entry.cost / DOLLAR:.9f}",
        entry.usage.get("input_tokens", 0),
        entry.usage.get("output_tokens", 0),
        " ".join(sorted(entry.flags)),
        ";".join(f"{name}={value}" for name, value in sorted(entry.tags.items())),
        entry.hold_id,
    ]


def _rows(rows: Iterable[Iterable[Any]]) -> bytes:
    made = io.StringIO()
    csv.writer(made).writerows([_cell(cell) for cell in row] for row in rows)
    return made.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula begins with an apostrophe: users choose their names."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _dollars(amount: Nano | None) -> float | None:
    return None if amount is None else amount / DOLLAR


def _iso(at_ms: Millis) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


_READ = frozenset({READ, ADMIN})
_ADMIN = frozenset({ADMIN})

ENDPOINTS = [
    Action("GET", "/v1/budgets", list_budgets, f.BudgetsPage, _READ, query=f.PageQuery, slow=True),
    Action("POST", "/v1/budgets", create_budget, f.BudgetOut, _ADMIN, f.BudgetNew, status=201, statuses=(409,)),
    Action("GET", "/v1/budgets/{user:path}", read_budget, f.BudgetOut, _READ, statuses=(404,)),
    Action("PUT", "/v1/budgets/{user:path}", replace_budget, f.BudgetOut, _ADMIN, f.BudgetRule),
    Action("PATCH", "/v1/budgets/{user:path}", change_budget, f.BudgetOut, _ADMIN, f.BudgetChange, statuses=(404, 409)),
    Action("DELETE", "/v1/budgets/{user:path}", delete_budget, Done, _ADMIN, statuses=(404,)),
    Action("GET", "/v1/users", list_users, f.UsersPage, _READ, query=f.PageQuery, slow=True),
    Action(
        "GET", "/v1/entries", list_entries, f.EntriesOut, _READ, query=f.EntriesQuery, slow=True, also=("text/csv",)
    ),
    Action("GET", "/v1/spend", spend, f.SpendOut, _READ, query=f.SpendQuery, slow=True),
]
