"""A process with leases on a store, whose background is the test's to run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from budgetguard.guards.guard import Shell
from budgetguard.ledger import Account, Entry, Hold, Refusal, Stale, Store, new_id
from budgetguard.process.journal import Journal
from budgetguard.process.journal_files import Kept
from budgetguard.process.leases import Leases
from budgetguard.testing.clock import StoppedClock

FLEET = Account("fleet//all", limit=1_000_000, share=50, lease="release")
TTL_MS = 60_000


class Process:
    """What one process has: leases on a store, whose background is the test's to run."""

    def __init__(self, store: Store, directory: Path | None = None, clock: StoppedClock | None = None) -> None:
        def settle(kept: Kept) -> None:
            store.settle(kept.hold, kept.entry)

        self.store = store
        where = None if directory is None else str(directory)
        self.journal = Journal(settle, store.release, where, "test", background=False)
        self.leases = Leases(store, self.journal, TTL_MS, clock=clock or time.monotonic, background=False)

    def take(self, amount: int, account: Account = FLEET, **fields: Any) -> Hold | Refusal | Stale:
        """The hold of a call that leases pay for; or why it may not be made."""
        hold = Hold(new_id(), (), amount, **fields)
        outcome = self.leases.take(hold, (account,))
        if not isinstance(outcome, int):
            filled = Shell().run(self.leases.fill(hold, (account,)))
            if not isinstance(filled, int):
                return filled
            outcome = filled
        return hold._replace(amount=outcome, leases=self.leases.ids(hold.id))

    def settle(self, hold: Hold, cost: int, account: Account = FLEET) -> None:
        self.leases.settle(hold, Entry(hold.id, cost, (account.key,)))

    def spend(self, amount: int, cost: int, account: Account = FLEET) -> bool:
        hold = self.take(amount, account)
        if isinstance(hold, Hold):
            self.settle(hold, cost, account)
        return isinstance(hold, Hold)

    def die(self) -> None:
        """What is left of a process after kill -9: its file, which nobody locks."""
        self.leases.drop()
