"""Clients that spend, and their own ledger of what they were told, to hold the books against."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Admitted, Entry, Hold, Settled, Store, new_id

LIMIT = 10**12


@dataclass
class Ledger:
    """What the clients were told."""

    settled: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    """Settlements that were sent and not answered."""
    failures: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


def account(number: int) -> Account:
    return Account(f"team/{number % 4}", limit=LIMIT)


def client(open_: Callable[[], Store], number: int, told: Ledger, going: Callable[[], bool]) -> None:
    """Reserves, and settles or releases; repeats what was not answered, as a journal would."""
    store, doubtful = open_(), list[str]()
    try:
        while going():
            held = Hold(new_id(), (account(number), Account("all", limit=LIMIT)), 10, tags={"user": f"u{number}"})
            try:
                if not isinstance(store.reserve(held), Admitted):
                    continue
            except StoreError as error:
                told.failures.append(str(error))
                doubtful.append(held.id)  # it may have been placed
                time.sleep(0.01)
                continue
            cost = 1 + len(told.settled) % 9
            told.unknown[held.id] = cost
            while True:
                try:
                    answer = store.settle(held, Entry(held.id, cost, tags=held.tags))
                except StoreError as error:
                    told.failures.append(str(error))
                    time.sleep(0.01)
                else:
                    assert isinstance(answer, Settled)
                    assert answer.cost == cost
                    told.settled[held.id] = told.unknown.pop(held.id)
                    break
        for hold_id in doubtful:
            _release(store, hold_id)
    except BaseException as error:
        told.errors.append(error)
    finally:
        store.close()


def _release(store: Store, hold_id: str) -> None:
    while True:
        try:
            store.release(hold_id)
        except StoreError:
            time.sleep(0.05)
        else:
            return


def run_clients(
    open_: Callable[[], Store], count: int, told: Ledger, going: Callable[[], bool]
) -> list[threading.Thread]:
    """So many clients, each with a store of its own, in threads of this process."""
    threads = [threading.Thread(target=client, args=(open_, number, told, going)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def books(store: Store) -> tuple[dict[str, int], int]:
    """What is on the books: the entries, and the sum of the account that all calls touch."""
    return {entry.hold_id: entry.cost for entry in store.entries()}, store.balances(["all"])[0].settled
