"""The protocols of stores: all that anybody may ask of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from .holds import Admitted, Balance, Conflict, Ended, Entry, Hold, Millis, Refusal, Settled, Stale, Terms
from .records import Record, RecordQuery
from .reports import Carried, Difference, OpenHold, Query, Total


@runtime_checkable
class Store(Protocol):
    """
    Where budgets live. Every method is atomic, and harmless to repeat, in any order and from any process.

    A method that cannot reach its engine raises `StoreError`; a refusal is a value. Everything is inside the
    namespace that the store was opened with.
    """

    blocking: bool
    """Whether its methods wait for a disk or a network: an async caller then uses a thread."""

    @property
    def namespace(self) -> str:
        """The name of the books in it that it was opened with."""
        ...

    @property
    def journal(self) -> str | None:
        """The directory where settlements wait that could not reach it; `None`: in memory."""
        ...

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """
        Place a hold on all of its accounts, or on none.

        First the terms and clocks are compared (`Stale`), then every account is asked, in its unit. Hard: settled +
        held + amount <= limit. Soft: settled + held < limit. A repetition answers as the first did. Raises
        `AmountError` for amounts that cannot be booked, and for a unit of an account of which the hold says nothing.
        """
        ...

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """
        End a hold at its true cost and record the entry, once. Every account is charged in its own unit.

        Only the id, the accounts and the leases of the hold count. Also for one that expired, was released or was
        never seen: what was spent was spent, so the cost is added in full, above the limit if need be, and the entry
        marked "late". A hold that expired into a charge is corrected to the true cost.

        With the entry, and so once, every lease of the hold becomes smaller by what was used, in dollars and in the
        units of the lease's accounts, down to nothing: one that is open holds less, one that expired into a charge has
        less charged. One that has ended stays as it is.
        """
        ...

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order, in one round trip; if it fails, some may be done: repeat it."""
        ...

    def release(self, hold_id: str) -> None:
        """Give a hold back. It may overtake its reserve, which then answers `Ended`. A settled hold stays settled."""
        ...

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """
        Have each of these holds, whose calls live, count for another `ttl_ms` from now, in one round trip.

        Their amounts are what was admitted (`Hold.admitted`). Whether each counts, then: not one that was settled or
        released. One that has expired counts again, in full and above the limit if need be: a charge for it is taken
        back. One that was never seen, as by a server that was promoted, is placed. A hold is never made shorter.
        """
        ...

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used. Expired holds are out."""
        ...

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys; with `after`, those behind it."""
        ...

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        ...

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """
        Store (`None`: remove) the terms under a key, with the next version.

        With `expected`, only if that is the version there now (0: none); otherwise nothing is changed and `None`
        returned.
        """
        ...

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix` (and is behind `after`), by their keys."""
        ...

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        ...

    def entries(self, query: Query = ...) -> Iterator[Entry]:
        """The history, the oldest first."""
        ...

    def totals(self, by: Sequence[str], query: Query = ...) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        ...

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        ...

    def note(self, records: Sequence[Record], *, replace: bool = False) -> list[bool]:
        """
        Write these records down, in one round trip; whether each is new: there was none of its kind and id.

        One that is there stays as it is, so that of several who note the same only one is told that it is new; with
        `replace` it becomes the one given.
        """
        ...

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """Records of one kind, by their ids."""
        ...

    def prune(self, before_ms: Millis) -> int:
        """
        Delete entries, accounts whose period ended, and records, before a time; how many entries went.

        A record goes whose `at_ms` and `until_ms`, if it has one, are before it.
        """
        ...

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts (behind `after`), in the order of their keys, each with what its entries do not tell."""
        ...

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """
        Put these rows on the books as they are, all of them or none, in one round trip: for copies and restores.

        Terms are put unless there are any of the same or a later version. An account is made if need be, and its end
        and pruned sum become these; what it has settled changes by as much as the pruned sum does.

        An entry keeps its time, flags and accounts; they are charged, without a limit being asked, and made if need
        be. One whose id has an entry changes nothing, unless that one was booked by an expired hold (it is flagged
        "expired"), which then gives way. An open hold of that id ends; a remembered end of one is forgotten.
        """
        ...

    def namespaces(self) -> list[str]:
        """
        The names of the namespaces that have anything on their books, in order.

        A store that is one namespace, in memory or behind somebody's key, tells of its own.
        """
        ...

    def now_ms(self) -> Millis:
        """The store's clock."""
        ...

    def close(self) -> None:
        """Close files and connections. A store that was closed opens again when it is used."""
        ...


@runtime_checkable
class OwnTime(Protocol):
    """
    A store that tells the time itself, by a clock of this machine, which may be set while calls are on their way.

    A hold that `living` names is renewed where it would expire. A server's clock is the server's affair.
    """

    living: Callable[[Store], Sequence[Hold]]
    """The holds in this store whose calls live, in this process; takes no lock."""


@runtime_checkable
class Examined(Protocol):
    """A store that knows what is wrong with how its engine is set up."""

    def examine(self) -> list[str]:
        """What people should know of it, a sentence each."""
        ...


@runtime_checkable
class Migrated(Protocol):
    """A store whose engine has to be prepared by somebody who may do so."""

    def migrate(self) -> list[str]:
        """Make what the store needs there, or bring it up to date; what was done."""
        ...


def nothing_lives(store: Store) -> Sequence[Hold]:
    """What a store knows of calls until somebody knows better."""
    return ()


Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch, as `time.time`."""
