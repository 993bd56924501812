"""What is read of the ledger in memory, in which order, and how entries add up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

from ...errors import ConfigError
from ...ledger import Difference, Entry, Query, Terms, Total
from ..rules import Sums, matches
from .rows import AccountRow


def entries_in_order(entries: Iterable[Entry], query: Query) -> Iterator[Entry]:
    """See `Store.entries`: in the order of (time, hold id)."""
    rows = sorted(entries, key=lambda entry: (entry.at_ms, entry.hold_id))
    if query.after is not None:
        places = [place for place, entry in enumerate(rows, 1) if entry.hold_id == query.after]
        if not places:
            raise ConfigError(f"after={query.after!r}: no entry has this hold id; begin with the first page again")
        rows = rows[places[0] :]
    return islice((entry for entry in rows if matches(entry, query)), query.limit)


def terms_in_order(terms: Iterable[Terms], prefix: str, after: str | None) -> list[Terms]:
    """See `Store.all_terms`."""
    there = [each for each in terms if each.body is not None and each.key.startswith(prefix)]
    return sorted([each for each in there if after is None or each.key > after], key=lambda each: each.key)


def differences(accounts: Iterable[AccountRow], sums: Mapping[AccountRow, Sums]) -> list[Difference]:
    """See `Store.check`: accounts that are not the sums of what is open and settled."""
    found = []
    for account in sorted(accounts, key=lambda account: account.key):
        settled, held = sums.get(account, (0, 0))
        if account.settled != settled + account.pruned:
            found.append(Difference(account.key, "settled", account.settled, settled + account.pruned))
        if account.held != held:
            found.append(Difference(account.key, "held", account.held, held))
    return found


def add_up(by: Sequence[str], entries: Iterable[Entry]) -> list[Total]:
    """See `Store.totals`."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for entry in entries:
        sum_ = sums.setdefault(tuple([_group(entry, name) for name in by]), [0] * 6)
        values = (
            entry.cost,
            1,
            entry.usage.get("input_tokens", 0),
            entry.usage.get("output_tokens", 0),
            int("estimated" in entry.flags),
            int("cut" in entry.flags),
        )
        for place, value in enumerate(values):
            sum_[place] += value
    return [Total(group, *sums[group]) for group in sorted(sums)]


def _group(entry: Entry, name: str) -> str:
    if name == "model":
        return entry.model
    if name == "provider":
        return entry.provider
    if name == "day":
        return datetime.fromtimestamp(entry.at_ms / 1000, UTC).date().isoformat()
    return entry.tags.get(name, "")
