"""
The file in which a family of processes counts: the limits that a process shares with its children.

Made when a limit is first shared, in a directory that only this user can read, and removed at the exit of the process
that made it. It is a store like any other (`stores/sqlite`), so what a child held that was killed is given back.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

from ...concurrency.locks import mutex
from ...errors import StoreError
from ...ledger import (
    KEPT_FOR_EVER,
    Account,
    Admitted,
    Entry,
    Hold,
    Record,
    Refusal,
    Store,
    new_id,
    nothing_lives,
)
from ...money import Nano
from ..tally import Moved, Tally, move

log = logging.getLogger("budgetguard")

LAST = -100
"""When the file is removed, in the order of `multiprocessing`: behind everything else."""

MADE = ("family", "made")
"""Terms in every such file, whose version every hold names: an empty one in its place, made anew, is none."""


WAIT_S = 10.0
"""How long a call waits for the file: there is no other place to ask, and on a busy machine late is better than not."""


class FamilyFile:
    """One such file, as one process sees it."""

    def __init__(self, path: str, living: Callable[[Store], Sequence[Hold]]) -> None:
        from ...stores.sqlite.store import SQLiteStore

        store = SQLiteStore(path, namespace="family", durable=False, reserve_s=WAIT_S, settle_s=WAIT_S)
        store.living = living
        self.path = path
        self.store: Store = store
        self.tallies: WeakValueDictionary[str, Tally] = WeakValueDictionary()
        """Those that are counted in it, by the keys of their accounts there."""
        self.moved: dict[str, list[Hold]] = {}
        """What calls of this process held when a limit of theirs became a shared one, by their ids."""

    def take(self, key: str, found: Moved) -> FileShare:
        """Take over what a tally has, under a new key."""
        account, moved = Account(key), dict[str, Hold]()
        if found.settled:
            self.settle(Hold(new_id(), (account,), 0), found.settled)
        for call_id, amount in found.holds.items():
            due_s = found.due_s.get(call_id)
            hold = moved[call_id] = Hold(new_id(), (account,), amount)
            if due_s is not None:
                hold = moved[call_id] = hold._replace(ttl_ms=max(int(due_s * 1000), 1), on_expire="charge")
            self.store.reserve(hold)
        for call_id, hold in moved.items():
            self.moved.setdefault(call_id, []).append(hold)
        return FileShare(self, key)

    def reserve(self, hold: Hold) -> Admitted | Refusal:
        """Hold on all accounts of a hold, or on none; what was granted, or the first that has no room."""
        outcome = self.store.reserve(hold)
        if isinstance(outcome, Admitted | Refusal):
            return outcome
        raise StoreError(f"what was in {self.path} is gone")

    def settle(self, hold: Hold, cost: Nano) -> None:
        """End a hold at its true cost; raises `StoreError`."""
        self.store.settle(hold, Entry(hold.id, cost))

    def end(self, call_id: str, key: str, cost: Nano) -> None:
        """Settle what a call held on an account when that was moved here; it may be done again."""
        for hold in self.moved.get(call_id, ()):
            if hold.accounts[0].key == key:
                self.settle(hold, cost)


class FileShare(NamedTuple):
    """The account of one tally in a file."""

    file: FamilyFile
    key: str

    def taken(self) -> tuple[Nano, Nano]:
        """What it has settled and held; raises `StoreError`."""
        [balance] = self.file.store.balances((self.key,))
        return balance.settled, balance.held

    def end(self, call_id: str, cost: Nano) -> None:
        """Settle what the call held when the tally was moved here."""
        self.file.end(call_id, self.key, cost)


def is_first(tally: Tally, name: str) -> bool:
    """Whether nobody who counts on a tally has said so before. Where the file cannot be asked, one does too much."""
    if not isinstance(tally.share, FileShare):
        return True
    try:
        return tally.share.file.store.note([Record("alert", f"{tally.share.key}@{name}", 0, "{}", KEPT_FOR_EVER)])[0]
    except StoreError:
        return True


class SentLimit(NamedTuple):
    """What another process has to know of a tally to count on it: plain data, that can be sent."""

    account: Account
    path: str | None = None
    """Of the file; `None`: it could not be shared, and the other process is to refuse calls under it."""
    key: str = ""
    in_flight: int | None = None
    """How many calls at once are to find room in it, where that was stated."""

    def tally(self) -> Tally:
        """A tally of it, that has nothing yet."""
        return Tally(self.account, self.in_flight)


class Family:
    """The files that this process knows, and which of them its own limits are put into."""

    def __init__(self) -> None:
        self._lock = mutex("family")
        self._files: dict[str, FamilyFile] = {}
        self._own: FamilyFile | None = None
        self.living: Callable[[Store], Sequence[Hold]] = nothing_lives
        """The holds in a store whose calls live, in this process."""

    def share(self, tally: Tally) -> FileShare:
        """Have a tally counted in the file from now on, with all that it has. Raises `OSError`, `StoreError`."""
        with self._lock:
            if self._own is None:
                made = self._open(_new_path())
                made.store.put_terms(*MADE)
                self._own = made
            file, key = self._own, f"shared//{new_id()}"
            move(tally, partial(file.take, key))
            share = tally.share
            assert isinstance(share, FileShare)
            share.file.tallies[share.key] = tally
            return share

    def part_of(self, tally: Tally) -> SentLimit:
        """What another process has to know of a tally, which is shared for it."""
        if tally.left_behind:
            return SentLimit(tally.account)
        try:
            share = self.share(tally)
        except (OSError, StoreError) as error:
            told(error)
            return SentLimit(tally.account)
        return SentLimit(tally.account, share.file.path, share.key, tally.crowd.stated)

    def tally_of(self, part: SentLimit) -> Tally:
        """The tally of which another process sent a part."""
        if part.path is None:
            tally = part.tally()
            tally.leave_behind()
            return tally
        with self._lock:
            file = self._open(part.path)
            tally = file.tallies.get(part.key) or part.tally()
            move(tally, lambda _: FileShare(file, part.key))
            file.tallies[part.key] = tally
            self._own = self._own or file
            return tally

    def _open(self, path: str) -> FamilyFile:
        if path not in self._files:
            self._files[path] = FamilyFile(path, self.living)
        return self._files[path]

    def after_fork(self) -> None:
        """In a forked child: the calls in flight are the parent's."""
        for file in self._files.values():
            file.moved = {}


FAMILY = Family()


def told(error: Exception) -> None:
    """Say that a limit could not be shared: whoever would have a part of it refuses calls."""
    log.warning("a limit of this process cannot be shared with its children, which refuse calls under it: %s", error)


def _new_path() -> str:
    """A path in a new directory of this process's own, which is removed at its end, once its children have ended."""
    from multiprocessing.util import Finalize

    directory = tempfile.mkdtemp(prefix="budgetguard-")
    # After `multiprocessing` has waited for the processes that it started, as its own directory is.
    Finalize(None, shutil.rmtree, (directory, True), exitpriority=LAST)
    return os.path.join(directory, "family.db")
