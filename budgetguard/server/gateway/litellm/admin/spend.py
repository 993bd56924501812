"""
`/spend/*` and `/global/spend`: who spent how much, on what, and when, out of the history.

A page of the history is bounded, however long that is: the newest entries are found by halving the time they are in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from .....ledger import Entry, Millis, Query, Store
from .....money import DOLLAR, Nano
from ....api.action import Action, Ask, Raw
from ....api.dollars.fields import iso
from ....keys import ADMIN, CALL
from ....keys.checks import OWN_TAGS
from ....problems import Refused
from ...calls import entry_of
from ..office import Office
from ..rows import key_rows, tag_of
from ..said import Short
from .users import UserAdmin

MOST_ROWS = 1_000
"""How many entries one answer has at most."""
_DAY_MS: Millis = 86_400_000
_MONTH_MS: Millis = 30 * _DAY_MS
_MOST_TAGS = 100
_ID = re.compile(r"[0-9a-f]{32}")


class LogsQuery(Struct, frozen=True):
    """Which entries, and whether they are added up by day."""

    api_key: Short | None = None
    user_id: Short | None = None
    request_id: Short | None = None
    start_date: Short | None = None
    end_date: Short | None = None
    summarize: bool = True
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = MOST_ROWS


class DaysQuery(Struct, frozen=True):
    """Of which days."""

    start_date: Short | None = None
    end_date: Short | None = None


class SpendUsersQuery(Struct, frozen=True):
    """Of which user."""

    user_id: Short | None = None


class SpendAdmin:
    """The endpoints over an office; `max_budget` is the limit of all together, if there is one."""

    def __init__(self, office: Office, users: UserAdmin, max_budget: Nano | None) -> None:
        self._office = office
        self._users = users
        self._max_budget = max_budget

    def logs(self, ask: Ask) -> Any:
        """The newest entries, or with two dates the sums of each day; a key that calls models sees its own."""
        asked: LogsQuery = ask.query
        query = self._query(ask, asked)
        store = ask.project.store
        if asked.start_date and asked.end_date and asked.summarize:
            return _by_day(store, query, self._digests())
        found, whole = _of_call(store, query, asked.request_id), True
        if asked.request_id is None:
            found, whole = newest(lambda page: list(store.entries(page)), query, asked.limit, store.now_ms())
        named = self._digests()
        rows = [_row(each, named(each.tags.get("key", ""))) for each in reversed(found)]
        cut = () if whole else ((b"x-litellm-spend-logs-truncated", b"true"),)
        return Raw("application/json", msgspec.json.encode(rows), cut)

    def tags(self, ask: Ask) -> Any:
        """What was spent by each tag that a key of the project has."""
        query = _between(ask.query.start_date, ask.query.end_date, Query())
        names = {name for key in self._office.keys(ask.project.name) for name in key.grant.tags}
        found = [
            {
                "individual_request_tag": tag_of(name, total.group[0]),
                "log_count": total.calls,
                "total_spend": total.cost / DOLLAR,
            }
            for name in sorted(names)[:_MOST_TAGS]
            for total in ask.project.store.totals([name], query)
            if total.group[0]
        ]
        return sorted(found, key=lambda row: -row["total_spend"])

    def keys(self, ask: Ask) -> Any:
        """Every key, the dearest first."""
        rows = key_rows(ask.project.store, self._office.keys(ask.project.name))
        return sorted(rows, key=lambda row: -row["spend"])

    def users(self, ask: Ask) -> Any:
        """Every user, the dearest first; or one."""
        name = ask.query.user_id
        rows = [row for row in self._users.rows(ask) if name is None or row["user_id"] == name]
        return sorted(rows, key=lambda row: -row["spend"])

    def everything(self, ask: Ask) -> dict[str, Any]:
        """What the project spent in the last thirty days."""
        store = ask.project.store
        total = sum(each.cost for each in store.totals([], Query(since_ms=store.now_ms() - _MONTH_MS)))
        return {"spend": total / DOLLAR, "max_budget": (self._max_budget or 0) / DOLLAR}

    def _query(self, ask: Ask, asked: LogsQuery) -> Query:
        tags = {} if asked.user_id is None else {"user": asked.user_id}
        if ask.caller.scope != ADMIN:
            tags["key"] = ask.caller.prefix
        elif asked.api_key is not None:
            tags["key"] = self._office.key(ask.project.name, asked.api_key).prefix
        return _between(asked.start_date, asked.end_date, Query(tags=tags))

    def _digests(self) -> Callable[[str], str]:
        """What LiteLLM calls a key, by the name that it has in the history; each is looked up once."""

        @cache
        def digest(prefix: str) -> str:
            key = self._office.ring.find(prefix) if prefix else None
            return prefix if key is None else key.digest

        return digest

    def actions(self) -> list[Action]:
        """The table."""
        return [
            Action("GET", "/spend/logs", self.logs, dict, frozenset({ADMIN, CALL}), query=LogsQuery, slow=True),
            Action("GET", "/spend/tags", self.tags, dict, query=DaysQuery, slow=True),
            Action("GET", "/spend/keys", self.keys, dict, slow=True),
            Action("GET", "/spend/users", self.users, dict, query=SpendUsersQuery, slow=True),
            Action("GET", "/global/spend", self.everything, dict, slow=True),
        ]


def newest(read: Callable[[Query], list[Entry]], query: Query, most: int, now_ms: Millis) -> tuple[list[Entry], bool]:
    """
    The newest entries that fit, the oldest of them first, and whether these are all: if there are no more than `most`;
    else there are from half of `most` on.

    A store tells the oldest first, so the time since which there are that many is sought: each look reads no more than
    one above `most`. Of more in one millisecond, the first.
    """

    def since(at_ms: Millis) -> list[Entry]:
        return read(replace(query, since_ms=at_ms, limit=most + 1))

    first = query.since_ms or 0
    found = since(first)
    if len(found) <= most:
        return found, True
    few, low, high = list[Entry](), found[0].at_ms, (query.until_ms or now_ms) + 1
    while high - low > 1:
        middle = (low + high) // 2
        found = since(middle)
        if len(found) > most:
            low = found[0].at_ms
        elif len(found) * 2 >= most:
            return found, False
        else:
            few, high = found, middle
    return few or since(low)[:most], False


def _of_call(store: Store, query: Query, call_id: str | None) -> list[Entry]:
    """The entry of a call, by the id that its answer had in `x-litellm-call-id`; none for an id that is no call's."""
    found = entry_of(store, query.tags, call_id) if call_id and _ID.fullmatch(call_id) else None
    return [] if found is None else [found]


def _row(entry: Entry, api_key: str) -> dict[str, Any]:
    """An entry as a row of LiteLLM's table of them."""
    at = iso(entry.at_ms)
    tokens = [entry.usage.get(f"{kind}_tokens", 0) for kind in ("input", "output")]
    return {
        "request_id": entry.hold_id,
        "call_type": "",
        "api_key": api_key,
        "spend": entry.cost / DOLLAR,
        "total_tokens": sum(tokens),
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "startTime": at,
        "endTime": at,
        "model": entry.model,
        "model_id": entry.tags.get("upstream", ""),
        "model_group": entry.tags.get("model", entry.model),
        "api_base": "",
        "custom_llm_provider": entry.provider,
        "user": entry.tags.get("user", ""),
        "team_id": entry.tags.get("team"),
        "end_user": entry.tags.get("end_user", ""),
        "request_tags": [tag_of(name, value) for name, value in entry.tags.items() if name not in OWN_TAGS],
        "metadata": {"flags": sorted(entry.flags)},
        "cache_hit": "",
        "cache_key": "",
        "messages": {},
        "response": {},
        "status": "success",
    }


def _between(start: str | None, end: str | None, query: Query) -> Query:
    """A query of whole days (UTC), the last one among them."""
    since, until = _day(start, "start_date"), _day(end, "end_date")
    return replace(
        query,
        since_ms=None if since is None else _ms(since),
        until_ms=None if until is None else _ms(until + timedelta(days=1)),
    )


def _day(text: str | None, name: str) -> date | None:
    try:
        day = None if not text else datetime.fromisoformat(text).date()
    except ValueError:
        day = date.min
    if day is not None and not 1970 <= day.year < 9999:
        raise Refused(400, f"{name} must be a YYYY-MM-DD date, got {text!r}", param=name)
    return day


def _ms(day: date) -> Millis:
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _by_day(store: Store, query: Query, named: Callable[[str], str]) -> list[dict[str, Any]]:
    """The sums of each day: all, by key, by user, by model."""
    days: dict[str, dict[str, Any]] = {}
    for total in store.totals(["day"], query):
        days[total.group[0]] = {"startTime": total.group[0], "spend": total.cost / DOLLAR, "users": {}, "models": {}}
    for total in store.totals(["day", "key"], query):
        if total.group[1]:
            days[total.group[0]][named(total.group[1])] = total.cost / DOLLAR
    for place, by in (("users", "user"), ("models", "model")):
        for total in store.totals(["day", by], query):
            days[total.group[0]][place][total.group[1]] = total.cost / DOLLAR
    return [days[day] for day in sorted(days)]
