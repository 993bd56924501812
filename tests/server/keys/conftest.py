"""Keys in a store, and who finds them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from budgetguard.ledger import Store
from budgetguard.server.keys import Keys, Owners
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.testing.clock import StoppedClock


@pytest.fixture
def own(url: str) -> Iterator[Store]:
    """The server's own namespace, as another server on the same file has it."""
    store = open_store(url, namespace=OWN)
    yield store
    store.close()


@pytest.fixture
def owners(own: Store) -> Owners:
    return Owners(own)


@pytest.fixture
def keys(own: Store, clock: StoppedClock) -> Keys:
    """What a server knows of keys, by a clock that stands still."""
    return Keys(own, clock=clock, now=clock)
