"""Limits of calls at once, and of calls a minute, hold over processes that have nothing in common but their store."""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from budgetguard import Budget
from budgetguard.ledger import Admitted, Entry, Hold, Stale, Store, new_id
from budgetguard.stores import open_store
from tests.support import servers
from tests.support.children import ends, fork

FORK = multiprocessing.get_context("fork")
SEATS = Budget("seats", 4, per=("key",), unit="parallel")
RPM = Budget("rpm", 60, "rolling 1m", per=("key",), unit="requests")
WAIT_S = 20


@pytest.fixture(params=["sqlite", "valkey", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens one more client of one store, as each process does."""
    name, longer = uuid.uuid4().hex, "?reserve_s=10&settle_s=10"  # eight processes share two processors
    url = f"sqlite:///{tmp_path}/a.db" if request.param == "sqlite" else servers.running(request.param)
    return lambda: open_store(f"{url}{longer}", namespace=name)


def reserve(store: Store, rule: Budget) -> Hold | None:
    """Ask once, in the period that the store says it is; `None`: refused."""
    now_ms = int(time.time() * 1000)
    while True:
        account = rule.account({"key": "k1"}, now_ms)
        assert account is not None
        hold = Hold(new_id(), (account,), 0)
        answer = store.reserve(hold)
        if not isinstance(answer, Stale):
            return hold if isinstance(answer, Admitted) else None
        now_ms = answer.now_ms


def in_processes(count: int, opened: Callable[[], Store], work: Callable[[Store, int], Any]) -> None:
    """Have so many processes do this, each with a client of its own."""

    def run(place: int) -> None:
        store = opened()
        work(store, place)
        store.close()

    children = [fork(lambda place=place: run(place)) for place in range(count)]  # type: ignore[misc]
    assert ends(*children) == [0] * count


def test_eight_processes_never_have_more_than_four_calls_at_once_and_do_have_four(opened):
    """All ask at one moment, in each round: four are in flight, and the next round finds all their places free."""
    barrier, admitted, rounds = FORK.Barrier(8), FORK.Array("i", 6), 6

    def work(store: Store, place: int) -> None:
        for number in range(rounds):
            barrier.wait(WAIT_S)
            hold = reserve(store, SEATS)
            with admitted.get_lock():
                admitted[number] += hold is not None
            barrier.wait(WAIT_S)
            if hold is not None and place % 2:
                store.settle(hold, Entry(hold.id, 0))
            elif hold is not None:
                store.release(hold.id)

    in_processes(8, opened, work)
    assert list(admitted) == [4] * rounds
    store = opened()
    assert [(each.settled, each.held) for each in store.accounts()] == [(0, 0)]
    assert store.check() == []
    store.close()


def test_of_sixty_calls_a_minute_four_processes_send_sixty(opened):
    """Each asks until it is refused: what one was given the others lack, whatever moment it is."""
    sent, barrier = FORK.Value("i", 0), FORK.Barrier(4)

    def work(store: Store, place: int) -> None:
        barrier.wait(WAIT_S)
        while (hold := reserve(store, RPM)) is not None:
            with sent.get_lock():
                sent.value += 1
            store.settle(hold, Entry(hold.id, 0))

    in_processes(4, opened, work)
    assert sent.value == 60
