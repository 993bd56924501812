"""How holds, entries and accounts are said to the scripts in Redis, and how their answers are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ...ledger import (
    NO_USAGE,
    Account,
    Admitted,
    Amounts,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    Millis,
    OpenHold,
    Record,
    Refusal,
    Settled,
    Stale,
    Terms,
    Unit,
    Wanted,
    as_json,
    beside_dollars,
    unit_of,
)
from ...money import Nano
from ..encoding import from_raw, raw
from ..rules import ends_of, final_flags, last_end, over_ms

Row = list[Any]

_CACHED = 4096

_UNITS: dict[bytes, Unit] = {b"t": "tokens", b"r": "requests", b"p": "parallel"}
"""What a script calls the units beside dollars: by their first letters."""


_HEX = b"0x:"
"""What a hash tag in hexadecimal digits begins with."""


class Noted(NamedTuple):
    """
    What a hold or an entry tells people, and scripts do not look at. Its names are short, as there are many of them.

    The version before reads the first three always.
    """

    t: Mapping[str, str]
    """Tags."""
    p: str
    """Provider."""
    m: str
    """Model."""
    u: Mapping[str, int] = NO_USAGE


def tag_of(namespace: str) -> bytes:
    """A namespace as a hash tag: readable if it is plain, else its bytes in hexadecimal digits."""
    plain = namespace.isascii() and namespace.replace("-", "a").replace("_", "a").replace(".", "a").isalnum()
    return namespace.encode() if plain else _HEX + raw(namespace).hex().encode()


def namespace_of(tag: bytes) -> str:
    """The namespace that a hash tag stands for."""
    return from_raw(bytes.fromhex(tag.removeprefix(_HEX).decode()) if tag.startswith(_HEX) else tag)


def id_arg(hold_id: str) -> str | bytes:
    """The id of a hold for a script: as it is, if any client writes it so. Each is new, so none is worth caching."""
    return hold_id if hold_id.isascii() else hold_id.encode("utf-8", "surrogatepass")


def reserve_args(hold: Hold, now: str) -> Row:
    """A hold as `reserve.lua` reads it."""
    least, noted = "" if hold.least is None else hold.least, _noted(hold)
    charge = 1 if hold.on_expire == "charge" else 0
    wanted = "".join([_wanted(unit, hold.wanted(unit)) for unit in _units(hold)])
    counts = (len(hold.terms), len(hold.accounts))
    args: Row = [id_arg(hold.id), now, hold.amount, least, hold.useful, hold.ttl_ms, charge, noted, wanted, *counts]
    for key, version in hold.terms:
        args += (raw(key), version)
    for account in hold.accounts:
        args += _account(account)
    return args


def _units(hold: Hold) -> Iterable[Unit]:
    """What the accounts of a hold count beside dollars."""
    found: Iterable[Unit] = ()
    for account in hold.accounts:
        if account.unit != "dollars":
            found = dict.fromkeys([*found, account.unit])
    return found


def _wanted(unit: Unit, wanted: Wanted) -> str:
    least = "" if wanted.least is None else wanted.least
    return f"{unit[0]}{wanted.amount}:{least}:{wanted.useful}"


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
    ends, windows = ends_of(hold), _windows(hold)
    end_ms = last_end(hold) if entry.accounts else None
    said = (_used(entry, hold.accounts), " ".join(sorted(flags)), manual, _noted(entry))
    counts = ("" if end_ms is None else end_ms, len(ends), len(entry.accounts), len(windows), len(hold.leases))
    args: Row = [id_arg(hold.id), entry.cost, *said, *counts]
    for key, end in ends.items():
        args += (raw(key), "" if end is None else end)
    if entry.accounts or windows:
        args += map(raw, (*entry.accounts, *windows))
    if hold.leases:
        args += map(id_arg, hold.leases)
    return args


def _windows(hold: Hold) -> Sequence[str]:
    """The keys that are in the windows of a hold's accounts."""
    found: Sequence[str] = ()
    for account in hold.accounts:
        if account.window:
            found = (*found, *account.window)
    return found


def _used(entry: Entry, accounts: Sequence[Account] = ()) -> str:
    """What an entry used beside dollars; "": what is usual, and no account counts it."""
    if not entry.units and not _counts_more(accounts, entry.accounts):
        return ""
    used = entry.amounts()
    return f"t{used['tokens']}r{used['requests']}"


def _counts_more(accounts: Sequence[Account], keys: Sequence[str]) -> bool:
    """Whether one of these counts more than dollars."""
    for account in accounts:
        if account.unit != "dollars":
            return True
    return bool(keys) and any(unit_of(key) != "dollars" for key in keys)


def renew_args(holds: Sequence[Hold]) -> Row:
    """Holds as `renew.lua` reads them."""
    args: Row = []
    for hold in holds:
        ends, charge = ends_of(hold), 1 if hold.on_expire == "charge" else 0
        beside = "".join([f"{unit[0]}{hold.wanted(unit).amount}" for unit in _units(hold)])
        args += (id_arg(hold.id), hold.amount, beside, hold.ttl_ms, charge, _noted(hold), len(ends))
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
        args += (id_arg(entry.hold_id), entry.at_ms, entry.cost, _used(entry), flags, _noted(entry))
        args += (len(keys), *map(raw, keys))
    return args


def note_args(records: Sequence[Record], replace: bool) -> Row:
    """Records as `records/note.lua` reads them."""
    args: Row = [1 if replace else 0]
    for each in records:
        until = "" if each.until_ms is None else each.until_ms
        said = f"{each.at_ms} {until} {each.body}".encode("utf-8", "surrogatepass")
        args += (each.kind, id_arg(each.id), over_ms(each), said)
    return args


def record_of(kind: str, row: Row) -> Record:
    """A row of `records/noted.lua`."""
    at_ms, until, body = row[1].split(b" ", 2)
    return Record(kind, from_raw(row[0]), int(at_ms), from_raw(body), int(until) if until else None)


def _noted(said: Hold | Entry) -> str:
    if isinstance(said, Entry) and said.usage:
        return as_json.text(Noted(said.tags, said.provider, said.model, said.usage))
    return _noted_often(tuple(said.tags.items()), said.provider, said.model)


@lru_cache(_CACHED)
def _noted_often(tags: tuple[tuple[str, str], ...], provider: str, model: str) -> str:
    return as_json.text(Noted(dict(tags), provider, model))


def reserved(hold: Hold, answer: Row) -> Admitted | Refusal | Stale | Ended | None:
    """What `reserve.lua` answers; `None`: ask again."""
    kind = answer[0]
    if kind == 1:
        amount, units = answer[1], _told(answer[3]) if len(answer) > 3 else {}
        return Admitted(amount, units, _standing(hold, answer[2], amount, units))
    if kind == 6:
        return Admitted(answer[1], _told(answer[3]), _standing(hold, answer[2], 0, {}))
    if kind == 2:
        return Stale(answer[1], tuple(map(terms_of, answer[2])))
    if kind == 3:
        account = hold.accounts[answer[1]]
        return Refusal(account, Balance(account.key, answer[2], answer[3]), busy=answer[4] == 1)
    return Ended() if kind == 4 else None


def _standing(hold: Hold, sums: Sequence[Any], amount: Nano, units: Amounts) -> tuple[Balance, ...]:
    """How the accounts of a hold stand that stood so, windows included, before this much was placed on each."""
    if len(hold.accounts) == 1 and not units and not hold.accounts[0].window:
        return (Balance(hold.accounts[0].key, _whole(sums[0]), _whole(sums[1]) + amount),)
    placed = {"dollars": amount, **units}
    found, at = [], 0
    for account in hold.accounts:
        more = placed.get(account.unit, 0)
        for key in account.window:
            if any(key == each.key for each in hold.accounts):
                more += placed.get(account.unit, 0)
        found.append(Balance(account.key, _whole(sums[at]), _whole(sums[at + 1]) + more))
        at += 2
    return tuple(found)


def settled(answers: Sequence[Row], settlements: Iterable[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
    """What `settle.lua` answers."""
    return [_settled(answer, *each) for answer, each in zip(answers, settlements, strict=True)]


def _settled(answer: Row, hold: Hold, entry: Entry) -> Settled | Conflict:
    if len(answer) == 4 and len(hold.accounts) == 1:  # one account, and nothing more to tell
        key, [kind, cost, spent, left] = hold.accounts[0].key, answer
        return Settled(cost, kind == 1, (Balance(key, _whole(spent), _whole(left)),))
    kind, cost, *sums = answer
    if kind == 2:
        return Conflict(cost, beside_dollars(_told(sums)))
    windows = _windows(hold)
    keys = (*ends_of(hold), *entry.accounts, *windows)
    stood = {key: Balance(key, _whole(sums[2 * at]), _whole(sums[2 * at + 1])) for at, key in enumerate(keys)}
    named = [_summed([stood[key] for key in (each.key, *each.window)]) for each in hold.accounts]
    return Settled(cost, kind == 1, (*named, *[stood[key] for key in entry.accounts]))


def _summed(balances: Sequence[Balance]) -> Balance:
    """The first, with the others in its window."""
    if len(balances) == 1:
        return balances[0]
    return Balance(balances[0].key, sum([each.settled for each in balances]), sum([each.held for each in balances]))


def _whole(sum_: Any) -> int:
    """A sum as scripts answer it: a number, or its parts, where it is more than Lua keeps exact."""
    return sum_ if isinstance(sum_, int) else sum(map(int, sum_))


def _told(told: Sequence[Any]) -> dict[Unit, int]:
    """What a script tells of units beside dollars."""
    return {_UNITS[unit]: amount for unit, amount in zip(told[::2], told[1::2], strict=True)}


def terms_of(row: Row) -> Terms:
    """A key, a version and a body, as `terms.lua` gives them."""
    return Terms(from_raw(row[0]), int(row[1]), None if row[2] is None else from_raw(row[2]))


def entry_of(row: Row) -> Entry:
    """A row of `entries.lua`."""
    hold_id, at_ms, cost, flags, said, keys, used = row
    noted, words = _read(said), frozenset(flags.decode().split())
    accounts, units = tuple(map(from_raw, keys)), beside_dollars(_told(used))
    return Entry(from_raw(hold_id), cost, accounts, at_ms, noted.t, noted.p, noted.m, noted.u, words, units)


def open_hold_of(row: Row) -> OpenHold:
    """A row of `holds.lua` that is an open hold."""
    hold_id, due, amount, placed, said, keys, held = row
    noted, accounts = _read(said), tuple(map(from_raw, keys))
    return OpenHold(from_raw(hold_id), amount, accounts, placed, due, noted.t, noted.p, noted.m, _told(held))


def _read(said: bytes) -> Noted:
    return as_json.read(Noted, json.loads(said))


def time_arg(now_ms: Millis | None) -> str:
    """The time for a script; "": the server's."""
    return "" if now_ms is None else str(now_ms)
