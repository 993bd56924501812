"""
How values travel to PostgreSQL: arrays in its binary format, packed here and remembered.

Any text is bytes of UTF-8 there, lone surrogates included, as it may hold what the type text refuses. A call says the
same accounts and tags twice, when it is reserved and when it is settled, and the next call says them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from struct import Struct, pack
from typing import Any, NamedTuple, TypeAlias

from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from ...ledger import (
    Account,
    Admitted,
    Amounts,
    Balance,
    Carried,
    Conflict,
    Entry,
    Hold,
    Millis,
    Refusal,
    Settled,
    Terms,
    Unit,
    beside_dollars,
    grant,
    unit_of,
)
from ..encoding import flags_text, raw, usage_json
from ..rules import ends_of, last_end

_CACHED = 1024

_BYTEA, _INT8_OID, _BYTEA_ARRAY, _INT8_ARRAY = 17, 20, 1001, 1016

NEVER = 2**63 - 1
"""An end that is never reached."""

ALWAYS = -(2**63)

_KINDS = {"observe": 0, "soft": 1, "hard": 2}
_UNITS: dict[Unit, int] = {"dollars": 1, "tokens": 2, "requests": 3, "parallel": 4}


_TOLD: dict[str, Unit] = {"t": "tokens", "r": "requests", "p": "parallel"}
"""By the letters that stand before their amounts in an answer."""

_balance = partial(tuple.__new__, Balance)
"""`Balance`, in a third of the time."""


class Texts(bytes):
    """A `bytea[]`."""


class Numbers(bytes):
    """A `bigint[]`."""


class _TextsDumper(Dumper):
    format = Format.BINARY
    oid = _BYTEA_ARRAY

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


class _NumbersDumper(_TextsDumper):
    oid = _INT8_ARRAY


def register(connection: Connection[Any]) -> None:
    """Teach a connection the two kinds of arrays."""
    connection.adapters.register_dumper(Texts, _TextsDumper)
    connection.adapters.register_dumper(Numbers, _NumbersDumper)


_HEAD = Struct(">iiiii").pack
_INT4 = Struct(">i").pack
_INT8 = Struct(">q").pack
_EIGHT = _INT4(8)


def texts(values: Sequence[bytes]) -> Texts:
    """A `bytea[]` of these."""
    if not values:
        return NO_TEXTS
    parts = [_HEAD(1, 0, _BYTEA, len(values), 1)]
    for value in values:
        parts.append(_INT4(len(value)))
        parts.append(value)
    return Texts(b"".join(parts))


def numbers(*values: int) -> Numbers:
    """A `bigint[]` of these."""
    if not values:
        return NO_NUMBERS
    return Numbers(_EIGHT.join([_HEAD(1, 0, _INT8_OID, len(values), 1), *map(_INT8, values)]))


NO_TEXTS = Texts(pack(">iii", 0, 0, _BYTEA))
NO_NUMBERS = Numbers(pack(">iii", 0, 0, _INT8_OID))


def clamped(value: int) -> int:
    """A number that fits into a bigint."""
    return max(ALWAYS, min(value, NEVER))


class _Rules(NamedTuple):
    """A hold's accounts as `budgetguard.reserve` takes them."""

    units: frozenset[Unit]
    """What they count beside dollars."""
    packed: tuple[Texts, Numbers, Texts, Numbers]
    """Keys, rules, windows, and on which place of the keys each window is."""


@lru_cache(_CACHED)
def _rules_of(accounts: tuple[Account, ...]) -> _Rules:
    rules: list[int] = []
    windows: list[bytes] = []
    places: list[int] = []
    for place, account in enumerate(accounts, 1):
        start = ALWAYS if account.start_ms is None else account.start_ms
        end = NEVER if account.end_ms is None else account.end_ms
        over = NEVER if account.over_ms is None else account.over_ms
        kind, limit = (0, 0) if account.limit is None else (_KINDS[account.enforce], account.limit)
        rules += (kind, clamped(limit), account.share, clamped(start), clamped(end), clamped(over))
        rules.append(_UNITS[account.unit])
        windows += map(raw, account.window)
        places += [place] * len(account.window)
    units = frozenset([account.unit for account in accounts if account.unit != "dollars"])
    keys = texts([raw(account.key) for account in accounts])
    return _Rules(units, (keys, numbers(*rules), texts(windows), numbers(*places)))


@lru_cache(_CACHED)
def _pack_terms(terms: tuple[tuple[str, int], ...]) -> tuple[Texts, Numbers]:
    """The keys and versions of terms."""
    return texts([raw(key) for key, _ in terms]), numbers(*[version for _, version in terms])


def _pack_tags(tags: Mapping[str, str]) -> tuple[Texts, Texts]:
    """The names and values of tags."""
    return _pack_pairs(tuple(tags.items())) if tags else (NO_TEXTS, NO_TEXTS)


@lru_cache(_CACHED)
def _pack_pairs(tags: tuple[tuple[str, str], ...]) -> tuple[Texts, Texts]:
    return texts([raw(name) for name, _ in tags]), texts([raw(value) for _, value in tags])


Placing: TypeAlias = tuple[Texts, Numbers, Texts, Numbers, Texts, Numbers, Texts, Numbers, Texts, Texts]
"""A hold as `budgetguard.reserve` takes it."""


def pack_hold(hold: Hold, now: int, reap: int) -> Placing:
    """A hold, the time, and how many due ones to reap."""
    units, rules = _rules_of(hold.accounts)
    least = -1 if hold.least is None else hold.least
    said = [now, hold.ttl_ms, hold.on_expire == "charge", reap, hold.amount, least, hold.useful]
    if units:
        for unit in ("tokens", "requests", "parallel"):
            said += _wanted(hold, unit) if unit in units else (0, -1, 0)
    words = texts((raw(hold.id), raw(hold.provider), raw(hold.model)))
    return words, numbers(*said), *rules, *_pack_terms(hold.terms), *_pack_tags(hold.tags)


def _wanted(hold: Hold, unit: Unit) -> tuple[int, int, int]:
    amount, least, useful = hold.wanted(unit)
    return amount, -1 if least is None else least, useful


class _Charged(NamedTuple):
    """The keys of one settlement: of its hold's accounts, and of those that its entry names."""

    keys: list[bytes]
    ends: list[int]
    told: list[bytes]
    told_of: list[int]
    """Of which account's balance each of `told` is a part, from one on."""
    counts: tuple[int, int]
    """How many of `keys` are the hold's, and how many the entry's."""
    apart: bool
    """Whether each of `keys` is an account of its own that is told by itself, so that `told` need not be said."""
    packed: tuple[Texts, Numbers, Texts, Numbers]


@lru_cache(_CACHED)
def _charged(accounts: tuple[Account, ...], beside: tuple[str, ...]) -> _Charged:
    hold = Hold("", accounts, 0)
    ends, last, more = ends_of(hold), last_end(hold), dict.fromkeys(beside)
    keys = [*map(raw, ends), *map(raw, more)]
    times = [NEVER if end is None else clamped(end) for end in [*ends.values(), *[last] * len(more)]]
    groups = [(account.key, *account.window) for account in accounts] + [(key,) for key in beside]
    told = [raw(key) for group in groups for key in group]
    told_of = [item for item, group in enumerate(groups, 1) for _ in group]
    packed = texts(keys), numbers(*times)
    apart = told == keys
    unsaid = (NO_TEXTS, NO_NUMBERS) if apart else (texts(told), numbers(*told_of))
    return _Charged(keys, times, told, told_of, (len(ends), len(more)), apart, (*packed, *unsaid))


@lru_cache(_CACHED)
def _pack_flags(flags: frozenset[str]) -> bytes:
    return raw(flags_text(flags - {"expired", "late"}))


def _words(entry: Entry, hold_id: str) -> tuple[bytes, ...]:
    flags = entry.flags
    return (
        raw(hold_id),
        raw(entry.provider),
        raw(entry.model),
        _pack_flags(flags) if flags else b"",
        usage_json(entry.usage).encode(),
    )


def _said(hold: Hold, entry: Entry, charged: _Charged) -> tuple[int, ...]:
    """The numbers of a settlement."""
    flags, usage, units = entry.flags, entry.usage, entry.units
    return (
        entry.cost,
        units.get("tokens", 0),
        units.get("requests", 1),
        bool(hold.accounts) and "manual" not in flags,
        "late" in flags,
        "estimated" in flags,
        clamped(usage.get("input_tokens", 0)),
        clamped(usage.get("output_tokens", 0)),
        *charged.counts,
        len(entry.tags),
        len(hold.leases),
        len(charged.told),
    )


Settlement: TypeAlias = tuple[Texts, Numbers, Texts, Numbers, Texts, Numbers, Texts, Texts, Texts]
"""Texts, numbers, keys, ends, what is told and of what, names and values of tags, leases: for `budgetguard.settle`."""


def pack_settlements(settlements: Sequence[tuple[Hold, Entry]]) -> Settlement:
    """Settlements, in their order."""
    if len(settlements) == 1:
        [(hold, entry)] = settlements
        charged = _charged(hold.accounts, entry.accounts)
        leases = texts([raw(lease) for lease in hold.leases])
        words, said = texts(_words(entry, hold.id)), numbers(*_said(hold, entry, charged))
        return words, said, *charged.packed, *_pack_tags(entry.tags), leases
    every = [(hold, entry, _charged(hold.accounts, entry.accounts)) for hold, entry in settlements]
    told: list[bytes] = []
    told_of: list[int] = []
    if not all(charged.apart for _, _, charged in every):
        for _, _, charged in every:
            before = told_of[-1] if told_of else 0
            told += charged.told
            told_of += [before + item for item in charged.told_of]
    return (
        texts([word for hold, entry, _ in every for word in _words(entry, hold.id)]),
        numbers(*[number for each in every for number in _said(*each)]),
        texts([key for _, _, charged in every for key in charged.keys]),
        numbers(*[end for _, _, charged in every for end in charged.ends]),
        texts(told),
        numbers(*told_of),
        texts([raw(name) for _, entry, _ in every for name in entry.tags]),
        texts([raw(value) for _, entry, _ in every for value in entry.tags.values()]),
        texts([raw(lease) for hold, _, _ in every for lease in hold.leases]),
    )


Renewal: TypeAlias = tuple[Texts, Numbers, Texts, Numbers, Texts, Texts]
"""Texts, numbers, keys, ends, names and values of tags: as `budgetguard.renew` takes them."""


def pack_renewals(holds: Iterable[Hold]) -> Renewal:
    """Holds whose calls live, in their order."""
    said: list[int] = []
    words: list[bytes] = []
    keys: list[bytes] = []
    ends: list[int] = []
    names: list[bytes] = []
    values: list[bytes] = []
    for hold in holds:
        charged, amounts = _charged(hold.accounts, ()), hold.amounts()
        said += (hold.amount, amounts.get("tokens", -1), amounts.get("requests", -1), hold.ttl_ms)
        said += (hold.on_expire == "charge", len(charged.keys), len(hold.tags))
        words += (raw(hold.id), raw(hold.provider), raw(hold.model))
        keys += charged.keys
        ends += charged.ends
        names += map(raw, hold.tags)
        values += map(raw, hold.tags.values())
    return texts(words), numbers(*said), texts(keys), numbers(*ends), texts(names), texts(values)


Rows: TypeAlias = tuple[Texts, Numbers, Texts, Texts, Numbers, Numbers, Texts, Numbers, Numbers, Texts, Texts, Texts]
"""Terms, accounts and entries as `budgetguard.load` takes them."""


def pack_rows(terms: Sequence[Terms], accounts: Sequence[Carried], entries: Sequence[Entry]) -> Rows:
    """Rows of other books."""
    versions = [number for each in terms for number in (each.version, each.body is not None)]
    times = [number for entry in entries for number in (clamped(entry.at_ms), "expired" in entry.flags)]
    packed = pack_settlements([(Hold(entry.hold_id, (), 0), entry) for entry in entries])
    words, said, keys, _, _, _, names, values, _ = packed
    return (
        texts([raw(each.key) for each in terms]),
        numbers(*versions),
        texts([raw(each.body or "") for each in terms]),
        texts([raw(account.key) for account in accounts]),
        numbers(*[NEVER if account.end_ms is None else clamped(account.end_ms) for account in accounts]),
        numbers(*[account.pruned for account in accounts]),
        words,
        said,
        numbers(*times),
        keys,
        names,
        values,
    )


def millis(now: Millis | None) -> int:
    """A clock's time as the functions take it; -1: the server's clock."""
    return -1 if now is None else now


def admitted(hold: Hold, said: Sequence[str]) -> Admitted:
    """What `budgetguard.reserve` says of a hold that counts."""
    balances, place = [], 1
    for account in hold.accounts:
        balances.append(_balance((account.key, int(said[place]), int(said[place + 1]))))
        place += 2
    units: dict[Unit, int] = {}
    for word in said[place:]:
        units[_TOLD[word[0]]] = int(word[1:])
    return Admitted(int(said[0]), units, tuple(balances))


def refused(hold: Hold, place: int, settled: int, held: int) -> Refusal:
    """What `budgetguard.reserve` says of the account, counted from one, that had no room."""
    account = hold.accounts[place - 1]
    limit = account.limit or 0
    room = grant(hold.wanted(account.unit), limit, settled, 0, account.share)
    busy = settled < limit if account.enforce == "soft" else room is not None
    return Refusal(account, Balance(account.key, settled, held), busy)


def settled(settlements: Sequence[tuple[Hold, Entry]], said: str) -> list[Settled | Conflict]:
    """What `budgetguard.settle` says of these."""
    ends, _, sums = said.partition(";")
    told = map(int, sums.split())
    found: list[Settled | Conflict] = []
    for (hold, entry), end in zip(settlements, ends.split(), strict=True):
        balances = [_balance((account.key, next(told), next(told))) for account in hold.accounts]
        balances += [_balance((key, next(told), next(told))) for key in entry.accounts]
        if end[0] == "2":
            cost, tokens, requests = map(int, end[2:].split(","))
            found.append(Conflict(cost, beside_dollars({"tokens": tokens, "requests": requests})))
        else:
            found.append(Settled(entry.cost, end == "1", tuple(balances)))
    return found


def counted(keys: Iterable[str], tokens: int | None, requests: int | None) -> Amounts:
    """What a hold on these accounts has beside dollars."""
    found: dict[Unit, int] = {} if tokens is None else {"tokens": tokens}
    if requests is not None:
        found["requests"] = requests
    if any(unit_of(key) == "parallel" for key in keys):
        found["parallel"] = 1
    return found
