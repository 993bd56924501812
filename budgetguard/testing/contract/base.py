"""The store under test, and how the contract writes what it asks of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ...ledger import Account, Entry, Hold, Store, new_id
from ..clock import StoppedClock

TTL_S = 60
ACCOUNT = Account("team/2027-01", limit=100)


def hold(amount: int, *accounts: Account, **fields: Any) -> Hold:
    """A hold with an id of its own, on `ACCOUNT` unless others are named."""
    return Hold(new_id(), accounts or (ACCOUNT,), amount, **{"ttl_ms": TTL_S * 1000, **fields})


def entry(held: Hold, cost: int, **fields: Any) -> Entry:
    """The entry of a hold."""
    return Entry(held.id, cost, **fields)


def balance(store: Store, key: str = ACCOUNT.key) -> tuple[int, int]:
    """What an account has settled and held."""
    found = store.balances([key])[0]
    assert found.key == key
    return found.settled, found.held


class StoreTests:
    """The store under test, as every part of the contract has it."""

    def make_store(self, clock: StoppedClock) -> Store:
        """An empty store that reads this clock."""
        raise NotImplementedError("return an empty store with this clock")

    def same_store(self, clock: StoppedClock) -> Store:
        """Another client of the store that `make_store` made last; a store of one process has none."""
        pytest.skip("this store has one client")

    @pytest.fixture
    def clock(self) -> StoppedClock:
        """The store's clock."""
        return StoppedClock()

    @pytest.fixture
    def store(self, clock: StoppedClock) -> Iterator[Store]:
        """The store under test, whose books add up at the end of every test."""
        store = self.make_store(clock)
        yield store
        assert store.check() == []
        store.close()


def together(threads: int, work: Callable[[int], list[Any]]) -> list[Any]:
    """All that threads return which start `work(place)` at one moment; re-raises what one of them raised."""
    barrier = threading.Barrier(threads)
    found: list[Any] = []
    errors: list[BaseException] = []

    def run(place: int) -> None:
        barrier.wait()
        try:
            found.extend(work(place))
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # or each thread would do all its work in one turn
    try:
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    if errors:
        raise errors[0]
    return found
