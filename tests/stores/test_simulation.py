"""
Hundreds of runs of everything going wrong, and the proof that they notice. `make soak` has as many as it has time for.

`simulation.py` says what is played. A seed that fails here fails again: `World(seed, memory).run()`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import budgetguard.stores.memory.store as memory_module
from budgetguard.errors import StoreError
from budgetguard.guards.charge import Charge
from budgetguard.ledger import Account, Clock, Entry, Hold, Refusal, Settled, Store
from budgetguard.process.journal import Journal
from budgetguard.process.journal_files import JournalFile
from budgetguard.process.layers import Books, is_stored
from budgetguard.process.leases import Leases
from budgetguard.process.outbox import Post
from budgetguard.process.tally import Held, Tally
from budgetguard.stores.http.store import HttpStore
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.postgres.store import PostgresStore
from budgetguard.stores.redis.store import RedisStore
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support import servers
from tests.support.hosting import Hosted
from tests.support.simulation import DAY, World


def memory(clock: Clock, directory: Path) -> Store:
    return MemoryStore(clock=clock)


def sqlite(clock: Clock, directory: Path) -> Store:
    return SQLiteStore(directory / "a.db", clock=clock, durable=False, reserve_s=5, settle_s=5)


def on_server(name: str) -> Callable[[Clock, Path], Store]:
    def make(clock: Clock, directory: Path) -> Store:
        kind: Any = PostgresStore if name == "postgres" else RedisStore.from_url
        return kind(servers.running(name), namespace=uuid.uuid4().hex, clock=clock, reserve_s=5, settle_s=5)

    return make


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_the_memory_store_keeps_its_promises(start):
    """P1 to P8 and P10, at every step and in the end."""
    for seed in range(start, start + 100):
        World(seed, memory).run()


@pytest.mark.parametrize("start", range(1000, 1120, 40))
def test_the_sqlite_store_keeps_its_promises(start):
    """The same, on a file."""
    for seed in range(start, start + 40):
        World(seed, sqlite).run()


@pytest.mark.parametrize("start", range(2000, 2200, 100))
def test_leases_keep_the_promises(start):
    """Slices of a day's budget, some calls under it alone, some under their user's, too."""
    for seed in range(start, start + 100):
        World(seed, memory, leased=True).run()


@pytest.mark.parametrize("start", range(3000, 3040, 20))
def test_leases_keep_the_promises_on_a_file(start):
    """The same, on a file."""
    for seed in range(start, start + 20):
        World(seed, sqlite, leased=True).run()


@pytest.mark.parametrize("leased", [False, True], ids=["plain", "leased"])
@pytest.mark.parametrize("name", servers.NAMES)
def test_a_store_on_a_server_keeps_its_promises(name, leased):
    """The same, over a real connection."""
    for seed in range(4000, 4025):
        World(seed, on_server(name), leased=leased).run()


class Following:
    """The clock of a server, which is that of the world it is in at the moment."""

    def __init__(self) -> None:
        self.clock: Clock

    def __call__(self) -> float:
        return self.clock()


@pytest.mark.parametrize("leased", [False, True], ids=["plain", "leased"])
def test_a_hosted_store_keeps_its_promises(leased):
    """The same, with a server of budgetguard before the store."""
    following = Following()
    server = Hosted("memory://", clock=following)

    def make(clock: Clock, directory: Path) -> Store:
        following.clock = clock
        return HttpStore(server.url, namespace=uuid.uuid4().hex, reserve_s=5, settle_s=5)

    for seed in range(4000, 4025):
        World(seed, make, leased=leased).run()
    server.stop()


@pytest.mark.parametrize("seed", [1001405, 1001626, 1003672])
def test_seeds_that_found_something_stay_quiet(seed):
    """A call on the allowance that lasted over midnight was booked on the next day."""
    World(seed, memory).run()


def test_a_seed_is_played_the_same_every_time():
    """Otherwise a failure could not be looked into. All stores give the same answers, too."""

    def play(make_store: Callable[[Clock, Path], Store]) -> Any:
        world = World(7, make_store).run()
        return world.served, world.seen, world.oracle.entries, world.now, world.offset

    stores = [memory, memory, sqlite, *map(on_server, servers.NAMES)]
    assert len({repr(play(store)) for store in stores}) == 1


def test_everything_that_can_go_wrong_goes_wrong():
    """A fault that never happens is not tested. Budgets run out, and most calls come through all the same."""
    seen, sent, refused, late, kept = Counter[str](), 0, 0, 0, 0
    for seed in range(40):
        world = World(seed, memory).run()
        seen += world.seen
        sent += sum(record.sent for record in world.records.values())
        refused += sum(not record.sent for record in world.records.values())
        late += sum("late" in entry.flags for entry in world.store.entries())
        kept += sum(record.charge.held.spared is not None for record in world.records.values())
    assert min(seen.values()) >= 10
    assert set(seen) == {"lost", "doubled", "late", "cancelled", "killed", "stopped", "slow", "clock", "away"}
    assert sent > 400
    assert refused > 50
    assert late > 10


def test_leases_serve_calls_are_refused_and_die():
    """What is played of leases is played often enough."""
    leased, refused, adopted = 0, 0, 0
    for seed in range(40):
        world = World(seed, memory, leased=True).run()
        refused += sum(isinstance(answer, Refusal) for answer in world.heard.values())
        for key, record in world.records.items():
            hold = record.charge.held.hold
            if hold is not None and hold.leases:
                leased += record.sent and not is_stored(hold)
                adopted += record.client.dead and key in world.oracle.entries
    assert leased > 150
    assert refused > 100
    assert adopted > 100


# Faults that are put in, and must be found.


class Careless(MemoryStore):
    """A store with a fault."""

    careless = True


class AdmitsTwice(Careless):
    def reserve(self, hold: Hold) -> Any:
        wide = tuple(replace(account, limit=2 * DAY) for account in hold.accounts)
        answer = super().reserve(hold._replace(accounts=wide))
        return answer


class CountsRepetitions(Careless):
    def settle(self, hold: Hold, entry: Entry) -> Any:
        again = hold.id in self._books.entries
        answer = super().settle(hold, entry)
        if again:
            for account in self._books.entries[hold.id].accounts:
                account.settled += entry.cost
        return answer


class ForgetsReleases(Careless):
    def release(self, hold_id: str) -> None:
        if hold_id in self._books.open:
            super().release(hold_id)


class KeepsHolds(Careless):
    def reserve(self, hold: Hold) -> Any:
        return super().reserve(hold._replace(ttl_ms=10 * hold.ttl_ms))


class ExpiresEarly(Careless):
    def reserve(self, hold: Hold) -> Any:
        return super().reserve(hold._replace(ttl_ms=hold.ttl_ms // 10))


class DropsLateMoney(Careless):
    def settle(self, hold: Hold, entry: Entry) -> Any:
        if hold.id in self._books.ended:
            return Settled(entry.cost, late=True)
        return super().settle(hold, entry)


class LosesSettlements(Careless):
    count = 0

    def settle(self, hold: Hold, entry: Entry) -> Any:
        self.count += 1
        return Settled(entry.cost) if self.count % 20 == 0 else super().settle(hold, entry)


class Overwrites(Careless):
    def settle(self, hold: Hold, entry: Entry) -> Any:
        return super().settle(hold, entry._replace(cost=entry.cost // 2))


class IgnoresTerms(Careless):
    def reserve(self, hold: Hold) -> Any:
        return super().reserve(hold._replace(terms=()))


class BelievesClients(Careless):
    def reserve(self, hold: Hold) -> Any:
        timeless = tuple(Account(account.key, account.limit, share=account.share) for account in hold.accounts)
        return super().reserve(hold._replace(accounts=timeless))


class HoldsOnOne(Careless):
    def reserve(self, hold: Hold) -> Any:
        return super().reserve(hold._replace(accounts=hold.accounts[:1]))


class ForgetsRenewals(Careless):
    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        return [True for _ in holds]


class RenewsWhatHasEnded(Careless):
    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        for held in holds:
            self._books.ended.pop(held.id, None)
        return super().renew(holds)


class KeepsWhatItPlacesAgainSmall(Careless):
    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        return super().renew([held._replace(amount=held.amount // 2) for held in holds])


STORES = [
    ForgetsRenewals,
    RenewsWhatHasEnded,
    KeepsWhatItPlacesAgainSmall,
    AdmitsTwice,
    CountsRepetitions,
    ForgetsReleases,
    KeepsHolds,
    ExpiresEarly,
    DropsLateMoney,
    LosesSettlements,
    Overwrites,
    IgnoresTerms,
    BelievesClients,
    HoldsOnOne,
]


def sends_all_the_same(books: Books, held: Held, error: StoreError) -> None:
    assert held.hold is not None
    held.amount = held.hold.amount


def leaves_the_hold(books: Books, held: Held, error: StoreError) -> None:
    held.hold = None
    raise error


unspare = Books._unspare

CLIENTS = {
    "sends without a store": (Books, "without", sends_all_the_same),
    "does not give back": (Books, "without", leaves_the_hold),
    "forgets interrupted ends": (Charge, "leave", lambda charge: None),
    "keeps in memory only": (JournalFile, "append", lambda file, lines, sync=True: None),
    "does not adopt": (Journal, "_adopt", lambda journal: None),
    "has no journal": (Journal, "keep", lambda journal, kept, landed=None: None),
    "never releases": (Journal, "give_back", lambda journal, hold_id: None),
    "does not count its allowance": (Books, "_unspare", lambda books, held, cost: unspare(books, held, 0)),
    "holds nothing on its allowance": (Tally, "held", property(lambda tally: 0)),
}


def found(make_store: Callable[[Clock, Path], Store], *, leased: bool = False) -> str:
    """What the first run that fails says."""
    for seed in range(1_000):
        try:
            World(seed, make_store, leased=leased).run()
        except AssertionError as error:
            return str(error).partition("\n")[0]
    return ""


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)
def test_a_fault_in_a_store_is_found(store):
    """Each of these breaks one promise; a simulation that passes them all would prove nothing."""
    assert "(P" in found(lambda clock, _: store(clock=clock))


def test_an_admission_that_forgets_what_is_held_is_found():
    """The classic: checked against what was spent, and a thousand calls in flight."""
    granted = memory_module.granted

    def forgetful(hold: Hold, standings: Any) -> Any:
        return granted(hold, [(account, settled, 0) for account, settled, _ in standings])

    with patch.object(memory_module, "granted", forgetful):
        assert "(P1)" in found(memory)


@pytest.mark.parametrize("fault", CLIENTS)
def test_a_fault_in_a_client_is_found(fault):
    """The guard, the charge and the journal are played as they are, so what is wrong in them shows."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(*CLIENTS[fault]))
        assert "(P" in found(memory)


class DrawsTwice(Careless):
    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        draw = self._books.draw

        def twice(lease_id: str, used: Any, now: int) -> None:
            draw(lease_id, used, now)
            draw(lease_id, used, now)

        self._books.draw = twice


class NeverDraws(Careless):
    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._books.draw = lambda lease_id, used, now: None


LEASES_TAKE = Leases.take


def uses_full_slices(leases: Leases, hold: Hold, accounts: Any, final: Any = ()) -> Any:
    for account in accounts:
        for lease in leases._leases.get(account.key, ()):
            lease.room = max(lease.room, hold.amount)
    return LEASES_TAKE(leases, hold, accounts, final)


def forgets_what_it_sends(post: Post, batch: Any) -> Any:
    return []


def parts_with_what_it_owes(leases: Leases, spare: str | None, everything: bool) -> None:
    for owned in leases._leases.values():
        leases._over += owned
    leases._leases.clear()


LEASES = {
    "uses slices that are used up": (Leases, "take", uses_full_slices),
    "does not send": (Post, "_send", forgets_what_it_sends),
    "writes no file": (Post, "write", lambda post, line: None),
    "gives slices back under its calls": (Leases, "_part_with_idle", parts_with_what_it_owes),
    "keeps slices for ever": (Leases, "_part_with_idle", lambda leases, spare, everything: None),
    "gives nothing back that it may have": (Journal, "give_back", lambda journal, hold_id: None),
    "settles beside its slice": (Leases, "ids", lambda leases, hold_id: ("none",)),
}


@pytest.mark.parametrize("store", [DrawsTwice, NeverDraws], ids=lambda store: store.__name__)
def test_a_store_that_miscounts_leases_is_found(store):
    """Its books are held against the oracle's after each settlement."""
    assert "(P" in found(lambda clock, _: store(clock=clock), leased=True)


@pytest.mark.parametrize("fault", LEASES)
def test_a_fault_of_leases_is_found(fault):
    """Each of these spends what is not there, or leaves what is not used."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(*LEASES[fault]))
        assert "(P" in found(memory, leased=True)
