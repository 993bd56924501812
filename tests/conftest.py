"""
What every test starts from: nothing patched, no process-wide limit, no store in the environment.

And what every test ends with: the books of every store that it opened add up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any

import pytest

import budgetguard
from budgetguard.errors import StoreError
from budgetguard.guards.scope import current
from budgetguard.prices import hosts
from budgetguard.process.state import PROCESS
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.postgres.store import PostgresStore
from budgetguard.stores.redis.store import RedisStore
from budgetguard.stores.sqlite.store import SQLiteStore


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("BUDGETGUARD_")]:
        monkeypatch.delenv(name)
    yield
    assert current.get() is None, "a scope was not left"
    budgetguard.unpatch()
    budgetguard.max_budget = None
    PROCESS.reaper.drain()
    PROCESS.reset()
    hosts.forget()


@pytest.fixture(autouse=True)
def _books_add_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every account is added up again, as `budgetguard check` does; but for stores that a test made `careless`."""
    opened: list[Any] = []
    for kind in (MemoryStore, SQLiteStore, RedisStore, PostgresStore):
        monkeypatch.setattr(kind, "__init__", _noting(kind.__init__, opened))
    yield
    for store in opened:
        if not getattr(store, "careless", False):
            with suppress(StoreError):  # of a file that was damaged on purpose, a server that was stopped
                assert store.check() == [], f"the books of {store!r} do not add up"
            store.close()


def _noting(make: Callable[..., None], opened: list[Any]) -> Callable[..., None]:
    @wraps(make)
    def make_and_note(store: Any, *args: Any, **kwargs: Any) -> None:
        make(store, *args, **kwargs)
        opened.append(store)

    return make_and_note
