"""How holds, entries and accounts are said to the scripts in Redis, and how their answers are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...ledger import (
    Account,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    Millis,
    OpenHold,
    Refusal,
    Settled,
    Stale,
    Terms,
)
from ..encoding import from_raw, raw, tags_json, usage_json
from ..rules import ends_of, final_flags, last_end

Row = list[Any]

_CACHED = 4096


def id_arg(hold_id: str) -> str | bytes:
    """The id of a hold for a script: as it is, if any client writes it so. Each is new, so none is worth caching."""
    return hold_id if hold_id.isascii() else hold_id.encode("utf-8", "surrogatepass")


def reserve_args(hold: Hold, now: str) -> Row:
    """A hold as `reserve.lua` reads it."""
    least, said = "" if hold.least is None else hold.least, _said(hold)
    charge = 1 if hold.on_expire == "charge" else 0
    counts = (len(hold.terms), len(hold.accounts))
    args: Row = [id_arg(hold.id), now, hold.amount, least, hold.useful, hold.ttl_ms, charge, said, *counts]
    for key, version in hold.terms:
        args += (raw(key), version)
    for account in hold.accounts:
        args += _account(account)
    return args


@lru_cache(_CACHED)
def _account(account: Account) -> tuple[Any, ...]:
    limit, start, end, over = account.limit, account.start_ms, account.end_ms, account.over_ms
    return (
        raw(account.key),
        "" if limit is None else limit,
        account.enforce,
        account.share,
        "" if start is None else start,
        "" if end is None else end,
        "" if over is None else over,
        len(account.window),
        *map(raw, account.window),
    )


def settle_args(hold: Hold, entry: Entry) -> Row:
    """A settlement as `settle.lua` reads it."""
    flags = final_flags(entry, late=False) if "expired" in entry.flags else entry.flags
    manual = 1 if "manual" in flags else 0
    ends = ends_of(hold)
    end_ms = last_end(hold) if entry.accounts else None
    counts = ("" if end_ms is None else end_ms, len(ends), len(entry.accounts), len(hold.leases))
    args: Row = [id_arg(hold.id), entry.cost, " ".join(sorted(flags)), manual, _said_of(entry), *counts]
    for key, end in ends.items():
        args += (raw(key), "" if end is None else end)
    if entry.accounts:
        args += map(raw, entry.accounts)
    if hold.leases:
        args += map(id_arg, hold.leases)
    return args


def renew_args(holds: Sequence[Hold]) -> Row:
    """Holds as `renew.lua` reads them."""
    args: Row = []
    for hold in holds:
        ends, charge = ends_of(hold), 1 if hold.on_expire == "charge" else 0
        args += (id_arg(hold.id), hold.amount, hold.ttl_ms, charge, _said(hold), len(ends))
        for key, end in ends.items():
            args += (raw(key), "" if end is None else end)
    return args


def load_args(terms: Sequence[Terms], accounts: Sequence[Carried], entries: Sequence[Entry]) -> Row:
    """Rows of other books as `load.lua` reads them."""
    args: Row = [len(terms), len(accounts)]
    for each in terms:
        args += (raw(each.key), each.version, *((0, b"") if each.body is None else (1, raw(each.body))))
    for account in accounts:
        args += (raw(account.key), "" if account.end_ms is None else account.end_ms, account.pruned)
    for entry in entries:
        keys, flags = dict.fromkeys(entry.accounts), " ".join(sorted(entry.flags))
        args += (id_arg(entry.hold_id), entry.at_ms, entry.cost, flags, _said_of(entry), len(keys), *map(raw, keys))
    return args


def _said(hold: Hold) -> str:
    return f'{{"t":{tags_json(hold.tags)},{_names(hold.provider, hold.model)}}}'


def _said_of(entry: Entry) -> str:
    usage = usage_json(entry.usage) if entry.usage else "{}"
    return f'{{"t":{tags_json(entry.tags)},{_names(entry.provider, entry.model)},"u":{usage}}}'


@lru_cache(_CACHED)
def _names(provider: str, model: str) -> str:
    return f'"p":{json.dumps(provider)},"m":{json.dumps(model)}'


def reserved(hold: Hold, answer: Row) -> Admitted | Refusal | Stale | Ended | None:
    """What `reserve.lua` answers; `None`: ask again."""
    kind = answer[0]
    if kind == 1:
        return Admitted(answer[1])
    if kind == 2:
        return Stale(answer[1], tuple(map(terms_of, answer[2])))
    if kind == 3:
        account = hold.accounts[answer[1]]
        return Refusal(account, Balance(account.key, answer[2], answer[3]), busy=answer[4] == 1)
    return Ended() if kind == 4 else None


def settled(answers: Sequence[int]) -> list[Settled | Conflict]:
    """What `settle.lua` answers."""
    pairs = zip(answers[::2], answers[1::2], strict=True)
    return [Conflict(cost) if kind == 2 else Settled(cost, kind == 1) for kind, cost in pairs]


def terms_of(row: Row) -> Terms:
    """A key, a version and a body, as `terms.lua` gives them."""
    return Terms(from_raw(row[0]), int(row[1]), None if row[2] is None else from_raw(row[2]))


def entry_of(row: Row) -> Entry:
    """A row of `entries.lua`."""
    hold_id, at_ms, cost, flags, said, keys = row
    told = json.loads(said)
    accounts = tuple(map(from_raw, keys))
    words = frozenset(flags.decode().split())
    return Entry(from_raw(hold_id), cost, accounts, at_ms, told["t"], told["p"], told["m"], told.get("u", {}), words)


def open_hold_of(row: Row) -> OpenHold:
    """A row of `holds.lua` that is an open hold."""
    hold_id, due, amount, placed, said, keys = row
    told = json.loads(said)
    return OpenHold(from_raw(hold_id), amount, tuple(map(from_raw, keys)), placed, due, told["t"], told["p"], told["m"])


def time_arg(now_ms: Millis | None) -> str:
    """The time for a script; "": the server's."""
    return "" if now_ms is None else str(now_ms)
