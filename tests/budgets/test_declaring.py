"""When rules are declared: beside calls, in one thread, and only for as long as there is a guard that has them."""

from __future__ import annotations

import gc
import threading
from weakref import ref

from budgetguard import Budget
from budgetguard.budgets.steering.declared import declared
from budgetguard.budgets.steering.declaring import AGAIN_S, FIRST_S, Declaring, OwedRules
from budgetguard.errors import StoreError
from budgetguard.ledger import Terms
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.alerting import until

RULES = (Budget("team", 20, "monthly", per=("team",)),)


class Away(MemoryStore):
    """A store that cannot be reached for a while."""

    away = True

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        if self.away:
            raise StoreError("away")
        return super().put_terms(key, body, expected=expected)


class Moments:
    """Seconds that pass when they are told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def owed(*declaring: Declaring) -> tuple[OwedRules, Moments]:
    """What one thread owes these guards, who have begun."""
    moments = Moments()
    made = OwedRules(moments)
    for each in declaring:
        each._owing = True
        made.work(ref(each))
    return made, moments


def test_many_guards_have_one_thread(tmp_path) -> None:
    """A test suite, or a server with many projects, would have a thread for each that waits for a store."""
    stores = [SQLiteStore(tmp_path / f"{number}.db") for number in range(20)]
    begun, before = [Declaring(store, RULES) for store in stores], set(threading.enumerate())
    for each in begun:
        each.begin()
    begun_since = set(threading.enumerate()) - before
    assert sum(thread.name == "budgetguard-rules" for thread in begun_since) <= 1
    until(lambda: all(declared(store) for store in stores))
    for store in stores:
        store.close()


def test_a_store_that_is_away_is_asked_again_a_few_times() -> None:
    """More and more seldom; then it is left alone."""
    store = Away()
    declaring = Declaring(store, RULES)
    made, moments = owed(declaring)
    assert made.rest(final=False) == FIRST_S
    waits = []
    moments.now_s += FIRST_S
    while (wait_s := made.rest(final=False)) is not None:
        waits.append(wait_s)
        moments.now_s += wait_s
    assert waits == list(AGAIN_S)
    assert declared(store) == []


def test_a_store_that_is_back_has_them() -> None:
    """The next time that it is asked."""
    store = Away()
    declaring = Declaring(store, RULES)
    made, moments = owed(declaring)
    moments.now_s += FIRST_S
    assert made.rest(final=False) == AGAIN_S[0]
    store.away = False
    moments.now_s += AGAIN_S[0]
    assert made.rest(final=False) is None
    assert [rule.name for rule in declared(store)] == ["team"]


def test_a_guard_that_is_gone_owes_nothing() -> None:
    """Else a store that its program has dropped would be opened again, minutes later."""
    store = Away()
    declaring = Declaring(store, RULES)
    made, moments = owed(declaring)
    store.away = False
    del declaring
    gc.collect()
    moments.now_s += FIRST_S
    assert made.rest(final=False) is None
    assert declared(store) == []
