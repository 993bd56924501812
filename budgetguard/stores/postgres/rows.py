"""
How values travel to PostgreSQL: arrays in its binary format, packed here and remembered.

Any text is bytes of UTF-8 there, lone surrogates included, as it may hold what the type text refuses. A call says the
same accounts and tags twice, when it is reserved and when it is settled, and the next call says them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import pack
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from ...ledger import Account, Balance, Carried, Entry, Hold, Millis, Refusal, Terms, grant
from ..encoding import flags_text, raw, usage_json
from ..rules import ends_of, last_end

_CACHED = 1024

_BYTEA, _INT8, _BYTEA_ARRAY, _INT8_ARRAY = 17, 20, 1001, 1016

NEVER = 2**63 - 1
"""An end that is never reached."""

ALWAYS = -(2**63)

_KINDS = {"observe": 0, "soft": 1, "hard": 2}


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


def texts(values: Sequence[bytes]) -> Texts:
    """A `bytea[]` of these."""
    if not values:
        return NO_TEXTS
    head = pack(">iiiii", 1, 0, _BYTEA, len(values), 1)
    return Texts(b"".join([head, *[pack(">i", len(value)) + value for value in values]]))


def numbers(*values: int) -> Numbers:
    """A `bigint[]` of these."""
    if not values:
        return NO_NUMBERS
    fields = [field for value in values for field in (8, value)]
    return Numbers(pack(f">iiiii{'iq' * len(values)}", 1, 0, _INT8, len(values), 1, *fields))


NO_TEXTS = Texts(pack(">iii", 0, 0, _BYTEA))
NO_NUMBERS = Numbers(pack(">iii", 0, 0, _INT8))


def clamped(value: int) -> int:
    """A number that fits into a bigint."""
    return max(ALWAYS, min(value, NEVER))


class PackedRules(NamedTuple):
    """A hold's accounts as `budgetguard.reserve` takes them."""

    keys: Texts
    rules: Numbers
    windows: Texts
    window_of: Numbers


@lru_cache(_CACHED)
def pack_accounts(accounts: tuple[Account, ...]) -> PackedRules:
    """The accounts of a hold with their rules and windows."""
    rules: list[int] = []
    windows: list[bytes] = []
    places: list[int] = []
    for place, account in enumerate(accounts, 1):
        start = ALWAYS if account.start_ms is None else account.start_ms
        end = NEVER if account.end_ms is None else account.end_ms
        over = NEVER if account.over_ms is None else account.over_ms
        kind, limit = (0, 0) if account.limit is None else (_KINDS[account.enforce], account.limit)
        rules += (kind, clamped(limit), account.share, clamped(start), clamped(end), clamped(over))
        windows += map(raw, account.window)
        places += [place] * len(account.window)
    keys = texts([raw(account.key) for account in accounts])
    return PackedRules(keys, numbers(*rules), texts(windows), numbers(*places))


@lru_cache(_CACHED)
def pack_terms(terms: tuple[tuple[str, int], ...]) -> tuple[Texts, Numbers]:
    """The keys and versions of terms."""
    return texts([raw(key) for key, _ in terms]), numbers(*[version for _, version in terms])


def pack_tags(tags: Mapping[str, str]) -> tuple[Texts, Texts]:
    """The names and values of tags."""
    return _pack_tags(tuple(tags.items())) if tags else (NO_TEXTS, NO_TEXTS)


@lru_cache(_CACHED)
def _pack_tags(tags: tuple[tuple[str, str], ...]) -> tuple[Texts, Texts]:
    return texts([raw(name) for name, _ in tags]), texts([raw(value) for _, value in tags])


@lru_cache(_CACHED)
def _charged(accounts: tuple[Account, ...]) -> tuple[list[bytes], list[int]]:
    ends = ends_of(Hold("", accounts, 0))
    return [raw(key) for key in ends], [NEVER if end is None else clamped(end) for end in ends.values()]


Settlement = tuple[Texts, Numbers, Texts, Texts, Numbers, Texts, Texts, Texts]
"""Ids, numbers, texts, keys, ends, names and values of tags, leases: as `budgetguard.settle` takes them."""


def pack_settlements(settlements: Iterable[tuple[Hold, Entry]]) -> Settlement:
    """Settlements, in their order."""
    ids: list[bytes] = []
    said: list[int] = []
    words: list[bytes] = []
    keys: list[bytes] = []
    ends: list[int] = []
    names: list[bytes] = []
    values: list[bytes] = []
    leases: list[bytes] = []
    for hold, entry in settlements:
        charged, charged_ends = _charged(hold.accounts)
        more = [raw(key) for key in dict.fromkeys(entry.accounts)]
        tags = entry.tags
        ids.append(raw(hold.id))
        said += _said(hold, entry)
        said += len(charged), len(more), len(tags), len(hold.leases)
        flags = flags_text(entry.flags - {"expired", "late"})
        words += raw(entry.provider), raw(entry.model), raw(flags), usage_json(entry.usage).encode()
        keys += charged
        ends += charged_ends
        if more:
            last = last_end(hold)
            keys += more
            ends += [NEVER if last is None else clamped(last)] * len(more)
        names += map(raw, tags)
        values += map(raw, tags.values())
        leases += map(raw, hold.leases)
    return (
        texts(ids),
        numbers(*said),
        texts(words),
        texts(keys),
        numbers(*ends),
        texts(names),
        texts(values),
        texts(leases),
    )


def _said(hold: Hold, entry: Entry) -> tuple[int, ...]:
    """The numbers of a settlement, but for how many it has of what."""
    flags, usage = entry.flags, entry.usage
    return (
        entry.cost,
        bool(hold.accounts) and "manual" not in flags,
        "late" in flags,
        "estimated" in flags,
        clamped(usage.get("input_tokens", 0)),
        clamped(usage.get("output_tokens", 0)),
    )


Renewal = tuple[Texts, Numbers, Texts, Texts, Numbers, Texts, Texts]
"""Ids, numbers, texts, keys, ends, names and values of tags: as `budgetguard.renew` takes them."""


def pack_renewals(holds: Iterable[Hold]) -> Renewal:
    """Holds whose calls live, in their order."""
    ids: list[bytes] = []
    said: list[int] = []
    words: list[bytes] = []
    keys: list[bytes] = []
    ends: list[int] = []
    names: list[bytes] = []
    values: list[bytes] = []
    for hold in holds:
        charged, charged_ends = _charged(hold.accounts)
        ids.append(raw(hold.id))
        said += (hold.amount, hold.ttl_ms, hold.on_expire == "charge", len(charged), len(hold.tags))
        words += (raw(hold.provider), raw(hold.model))
        keys += charged
        ends += charged_ends
        names += map(raw, hold.tags)
        values += map(raw, hold.tags.values())
    return texts(ids), numbers(*said), texts(words), texts(keys), numbers(*ends), texts(names), texts(values)


Rows = tuple[Texts, Numbers, Texts, Texts, Numbers, Numbers, Texts, Numbers, Numbers, Texts, Texts, Texts, Texts]
"""Terms, accounts and entries as `budgetguard.load` takes them."""


def pack_rows(terms: Sequence[Terms], accounts: Sequence[Carried], entries: Sequence[Entry]) -> Rows:
    """Rows of other books."""
    versions = [number for each in terms for number in (each.version, each.body is not None)]
    times = [number for entry in entries for number in (clamped(entry.at_ms), "expired" in entry.flags)]
    ids, said, words, keys, _, names, values, _ = pack_settlements([(Hold(e.hold_id, (), 0), e) for e in entries])
    return (
        texts([raw(each.key) for each in terms]),
        numbers(*versions),
        texts([raw(each.body or "") for each in terms]),
        texts([raw(account.key) for account in accounts]),
        numbers(*[NEVER if account.end_ms is None else clamped(account.end_ms) for account in accounts]),
        numbers(*[account.pruned for account in accounts]),
        ids,
        said,
        numbers(*times),
        words,
        keys,
        names,
        values,
    )


def millis(now: Millis | None) -> int:
    """A clock's time as the functions take it; -1: the server's clock."""
    return -1 if now is None else now


def refused(hold: Hold, place: int, settled: int, held: int) -> Refusal:
    """What `budgetguard.reserve` says of the account, counted from one, that had no room."""
    account = hold.accounts[place - 1]
    limit = account.limit or 0
    room = grant(hold, limit, settled, 0, account.share)
    busy = settled < limit if account.enforce == "soft" else room is not None
    return Refusal(account, Balance(account.key, settled, held), busy)
