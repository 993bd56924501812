"""
The books in memory: a few dicts and a heap, and the steps that the store's operations are made of.

The open holds and the entries are the truth, and what an account has settled and held are sums over them. So an
operation that was interrupted between two assignments (a `KeyboardInterrupt`) is mended by adding up again.

Every account is booked in its own unit: `amounts[account.unit]`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile

from ...ledger import KEEP_ENDED_MS, Account, Balance, Carried, Entry, Hold, Millis, Unit, once_booked, while_held
from ..rules import Stand, Sums, last_end, require_sums
from .rows import AccountRow, EndedRow, EntryRow, OpenRow, counted

_balance = partial(tuple.__new__, Balance)
"""`Balance`, in a third of the time: every reserve and settle makes some."""


class MemoryBooks:
    """What is on the books. Its store calls all of it under its lock; `who_lives` names the holds whose calls live."""

    def __init__(self, who_lives: Callable[[], Sequence[Hold]]) -> None:
        self.accounts: dict[str, AccountRow] = {}
        self.open: dict[str, OpenRow] = {}
        self.entries: dict[str, EntryRow] = {}
        self.ended: dict[str, EndedRow] = {}
        self.due: list[tuple[Millis, str]] = []
        """A heap; what no longer matches `open` or `ended` is void."""
        self._sorted: list[str] = []
        """Keys of `accounts` in order; the newest, at the end of `accounts`, may be missing."""
        self._who_lives = who_lives

    # Accounts.

    def account(self, key: str, end_ms: Millis | None = None) -> AccountRow:
        """An account; a new one, with this end, where there is none."""
        there = self.accounts.get(key)
        if there is None:
            there = self.accounts[key] = AccountRow.of(key, end_ms)
        return there

    def charged(self, hold: Hold) -> list[AccountRow]:
        """The accounts that a hold names, each once; new ones where there are none."""
        found: list[AccountRow] = []
        for account in hold.accounts:
            there = self.accounts.get(account.key)
            if there is None:
                there = self.account(account.key, account.over_ms)
            if there not in found:
                found.append(there)
        return found

    def beside(self, hold: Hold, entry: Entry, charged: Sequence[AccountRow]) -> list[AccountRow]:
        """The accounts that an entry names beside those that are charged to its hold."""
        found: list[AccountRow] = []
        for key in entry.accounts:
            there = self.accounts.get(key)
            if there is None:
                there = self.account(key, last_end(hold))
            if there not in charged and there not in found:
                found.append(there)
        return found

    def standings(self, accounts: Sequence[Account]) -> list[Stand]:
        """What each of these has settled and held, its window included."""
        found: list[Stand] = []
        for account in accounts:
            there = self.accounts.get(account.key)
            settled, held = (0, 0) if there is None else (there.settled, there.held)
            for key in account.window:
                earlier = self.accounts.get(key)
                if earlier is not None:
                    settled += earlier.settled
                    held += earlier.held
            found.append((account, settled, held))
        return found

    def told(
        self, accounts: Sequence[Account], charged: Sequence[AccountRow], keys: Sequence[str] = ()
    ) -> tuple[Balance, ...]:
        """The balances that an outcome brings: of these accounts, their windows included, then of those with a key."""
        if len(accounts) == len(charged) == 1 and not keys and not accounts[0].window:
            there = charged[0]  # the common call: what it was charged to is what it names
            if there.key == accounts[0].key:
                return (_balance((there.key, there.settled, there.held)),)
        found = []  # loops: a comprehension is a function of its own
        for account, settled, held in self.standings(accounts):
            found.append(_balance((account.key, settled, held)))
        for key in keys:
            row = self.accounts.get(key)
            found.append(Balance(key) if row is None else _balance((key, row.settled, row.held)))
        return tuple(found)

    def require_sums(self, used: Mapping[Unit, int], accounts: Iterable[AccountRow]) -> None:
        """Raise `AmountError` if what is used, added to one of these, is more than can be counted."""
        for account in accounts:
            require_sums(used[account.unit], [account.settled])

    def balance(self, key: str, expired: Mapping[AccountRow, Sums]) -> Balance:
        """What is to be read of an account, less what is due."""
        there = self.accounts.get(key)
        if there is None:
            return Balance(key)
        settled, taken = expired.get(there, (0, 0))
        return Balance(key, there.settled + settled, there.held - taken)

    def keys(self, prefix: str, after: str | None) -> Iterator[str]:
        """The keys of accounts that begin with a prefix, behind another, in order; the others are not looked at."""
        missing = len(self.accounts) - len(self._sorted)
        if missing:
            self._sorted = sorted([*self._sorted, *islice(reversed(self.accounts), missing)])
        keys = self._sorted
        first = max(bisect_left(keys, prefix), 0 if after is None else bisect_right(keys, after))
        return takewhile(lambda key: key.startswith(prefix), map(keys.__getitem__, range(first, len(keys))))

    # Holds.

    def known(self, hold_id: str, now: Millis) -> OpenRow | EntryRow | EndedRow | None:
        """What became of an id: open, settled (or charged), ended, or never seen (`None`)."""
        held = self.open.get(hold_id)
        if held is not None:
            if held.due <= now:
                self._expire(hold_id, held, now)
            if held.due > now:
                return held
        row = self.entries.get(hold_id)
        if row is not None:
            return row
        ended = self.ended.get(hold_id)
        if ended is not None and ended.due <= now:
            del self.ended[hold_id]
            return None
        return ended

    def renew(self, hold: Hold, now: Millis) -> bool:
        """Have a hold count for its ttl from now, unless it has ended; whether it does."""
        hold_id, due = hold.id, now + hold.ttl_ms
        held = self.open.get(hold_id)
        if held is not None:
            if due > held.due:
                heappush(self.due, (due, hold_id))
                held.due = due
            return True
        charged, ended = self.entries.get(hold_id), self.ended.get(hold_id)
        if charged is not None and "expired" not in charged.flags:
            return False
        if ended is not None and not ended.lapsed and ended.due > now:
            return False
        heappush(self.due, (due, hold_id))
        if charged is None:
            accounts, amounts = self.charged(hold), hold.amounts()
        else:
            accounts, amounts = list(charged.accounts), while_held(counted(charged))
        self.open[hold_id] = OpenRow(hold, amounts, accounts, now, due)
        self.entries.pop(hold_id, None)
        self.ended.pop(hold_id, None)
        for account in accounts:
            account.held += amounts[account.unit]
            account.settled -= 0 if charged is None else charged.amounts[account.unit]
        return True

    def draw(self, lease_id: str, used: Mapping[Unit, int], now: Millis) -> None:
        """Make a lease smaller by what one of its calls used."""
        lease = self.known(lease_id, now)
        if isinstance(lease, OpenRow) or (isinstance(lease, EntryRow) and "expired" in lease.flags):
            drawn = {unit: min(used[unit], amount) for unit, amount in counted(lease).items()}
            for unit, amount in drawn.items():
                lease.amounts[unit] -= amount
            for account in lease.accounts:
                if isinstance(lease, OpenRow):
                    account.held -= drawn[account.unit]
                else:
                    account.settled -= drawn[account.unit]

    def put(self, entry: Entry, now: Millis) -> None:
        """Put an entry of other books on these; what an expired hold was charged gives way to it."""
        known = self.known(entry.hold_id, now)
        if isinstance(known, EntryRow) and "expired" not in known.flags:
            return
        self.open.pop(entry.hold_id, None)
        self.ended.pop(entry.hold_id, None)
        self.give_back(known)
        charged, used = [self.account(key) for key in dict.fromkeys(entry.accounts)], entry.amounts()
        for account in charged:
            account.settled += used[account.unit]
        self.entries[entry.hold_id] = EntryRow(entry.hold_id, entry, used, charged, entry.at_ms, frozenset(entry.flags))

    def give_back(self, known: OpenRow | EntryRow | EndedRow | None) -> None:
        """Take off the accounts what a hold, or the charge for one that expired, has put on them."""
        if isinstance(known, OpenRow):
            for account in known.accounts:
                account.held -= known.amounts[account.unit]
        elif isinstance(known, EntryRow):
            for account in known.accounts:
                account.settled -= known.amounts[account.unit]

    # What is due.

    def reap(self, now: Millis, most: int) -> int:
        """Clear away up to `most` of what is due; how many there were."""
        done = 0
        due = self.due
        while done < most and due and due[0][0] <= now:
            when, hold_id = due[0]  # It goes last, or an interruption would leave a hold that nobody finds.
            held = self.open.get(hold_id)
            if held is not None and held.due == when:
                self._expire(hold_id, held, now)
                done += 1
            elif (ended := self.ended.get(hold_id)) is not None and ended.due == when:
                del self.ended[hold_id]
                done += 1
            heappop(due)
        if len(due) > 2 * (len(self.open) + len(self.ended)) + 1000:
            self._rebuild()
        return done

    def _expire(self, hold_id: str, held: OpenRow, now: Millis) -> None:
        """Expire a hold that is due, or renew it if its call lives: then the clock was set."""
        for alive in self._who_lives():
            if alive.id == hold_id:
                self.renew(alive, now)
                return
        booked = once_booked(held.amounts)
        charge = held.hold.on_expire == "charge" and any(booked.values())
        try:
            if charge:
                hold = held.hold
                entry = Entry(hold_id, 0, tags=hold.tags, provider=hold.provider, model=hold.model)
                flags = frozenset({"expired"})
                self.entries[hold_id] = EntryRow(hold_id, entry, booked, held.accounts, held.due, flags)
            elif held.due + KEEP_ENDED_MS > now:
                self.ended[hold_id] = EndedRow(held.due + KEEP_ENDED_MS, lapsed=True)
                heappush(self.due, (held.due + KEEP_ENDED_MS, hold_id))
            self.open.pop(hold_id, None)
            for account in held.accounts:
                account.held -= held.amounts[account.unit]
                if charge:
                    account.settled += booked[account.unit]
        except BaseException:
            self.add_up()
            raise

    def expired(self, now: Millis) -> dict[AccountRow, Sums]:
        """What is due and not yet reaped, by account: what to add to settled, and to take from held."""
        found: dict[AccountRow, Sums] = {}
        if not self.due or self.due[0][0] > now:
            return found
        for held in self.open.values():
            if held.due <= now:
                booked = once_booked(held.amounts) if held.hold.on_expire == "charge" else {}
                for account in held.accounts:
                    settled, taken = found.get(account, (0, 0))
                    found[account] = (settled + booked.get(account.unit, 0), taken + held.amounts[account.unit])
        return found

    def _rebuild(self) -> None:
        self.due = [(held.due, hold_id) for hold_id, held in self.open.items()]
        self.due += [(ended.due, hold_id) for hold_id, ended in self.ended.items()]
        heapify(self.due)

    # All of it.

    def summed(self) -> dict[AccountRow, Sums]:
        """What each account should have settled and held, by the entries and the open holds."""
        sums: dict[AccountRow, Sums] = {}
        for row in self.entries.values():
            for account in row.accounts:
                settled, held = sums.get(account, (0, 0))
                sums[account] = (settled + row.amounts[account.unit], held)
        for item in self.open.values():
            for account in item.accounts:
                settled, held = sums.get(account, (0, 0))
                sums[account] = (settled, held + item.amounts[account.unit])
        return sums

    def add_up(self) -> None:
        """Make the accounts what the holds and entries say, after an operation that did not come to its end."""
        for hold_id in [*self.entries, *self.ended]:
            self.open.pop(hold_id, None)
        for hold_id in self.entries:
            self.ended.pop(hold_id, None)
        sums = self.summed()
        for account in {*self.accounts.values(), *sums}:
            settled, account.held = sums.get(account, (0, 0))
            account.settled = settled + account.pruned

    def prune(self, before_ms: Millis) -> int:
        """Delete old entries, and the accounts that then have none and whose period is over; how many entries went."""
        old = [hold_id for hold_id, row in self.entries.items() if row.at_ms < before_ms]
        for hold_id in old:
            row = self.entries.pop(hold_id)
            for account in row.accounts:
                account.pruned += row.amounts[account.unit]
        self._sorted = []
        needed = {account for held in self.open.values() for account in held.accounts}
        for key, account in list(self.accounts.items()):
            ended = account.end_ms is not None and account.end_ms <= before_ms
            if ended and account.settled == account.pruned and account not in needed:
                del self.accounts[key]
        return len(old)

    def carry(self, carried: Carried) -> None:
        """Give an account the end and the pruned sum that it has in other books."""
        account = self.account(carried.key)
        account.end_ms = carried.end_ms
        account.settled += carried.pruned - account.pruned
        account.pruned = carried.pruned
