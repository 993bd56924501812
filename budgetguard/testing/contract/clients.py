"""Many clients of one store: what each sees of the others, and how long it waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...ledger import Account, Admitted, Conflict, Refusal, Settled, Store
from ..clock import StoppedClock
from .base import StoreTests, balance, entry, hold, together


class ClientsContract(StoreTests):
    """Many clients of one store: what each sees of the others, and how long it waits for them."""

    def test_p4_what_was_settled_is_there_for_another_client(self, store: Store, clock: StoppedClock) -> None:
        """Once settle has returned, the amount stands, whoever asks, and after the store was closed."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 8))
        store.close()
        other = self.same_store(clock)
        assert balance(other) == (8, 0)
        assert [item.cost for item in other.entries()] == [8]
        other.close()

    def test_p9_a_reserve_answers_in_time(self, store: Store) -> None:
        """Also the slowest of many callers at once."""
        slowest = together(8, lambda _: [_seconds(lambda: store.reserve(hold(1))) for _ in range(20)])
        assert max(slowest) < 1.0

    def test_p10_a_closed_store_opens_again(self, store: Store) -> None:
        """A store that was shut down, or lost its connection, needs no new object."""
        store.reserve(hold(10))
        store.close()
        store.close()
        assert balance(store) == (0, 10)

    def test_p11_two_clients_see_one_ledger(self, store: Store, clock: StoppedClock) -> None:
        """What one holds, the other cannot spend."""
        other = self.same_store(clock)
        held = hold(70)
        store.reserve(held)
        assert isinstance(other.reserve(hold(31)), Refusal)
        assert isinstance(other.settle(held, entry(held, 50)), Settled)
        assert isinstance(store.settle(held, entry(held, 51)), Conflict)
        assert isinstance(store.reserve(hold(50)), Admitted)
        assert balance(store) == balance(other) == (50, 50)
        other.close()

    def test_p12_nobody_starves(self, store: Store) -> None:
        """Everyone in a crowd of threads gets through, again and again."""
        end = time.monotonic() + 0.4
        done = [0] * 4

        def work(place: int) -> list[None]:
            while time.monotonic() < end:
                held = hold(1, Account("busy"))
                store.reserve(held)
                store.release(held.id)
                done[place] += 1
            return []

        together(4, work)
        assert min(done) > max(done) / 20


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
