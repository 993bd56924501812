"""What it costs a hold to name the terms that it was computed from: a user's own, and those of steers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from budgetguard.ledger import Admitted, Entry, Hold, Stale, Store, new_id
from budgetguard.stores import open_store
from budgetguard.testing.clock import StoppedClock
from tests.support import servers
from tests.support.ledger import ACCOUNT

TERMS = (("users/ann", 1), ("steers", 2), ("more", 1))


@pytest.fixture(params=["memory", "sqlite", *servers.NAMES])
def termed(request: pytest.FixtureRequest, tmp_path: Path, clock: StoppedClock) -> Iterator[Store]:
    """A store of each kind that has these terms."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/a.db"}
    url = urls.get(request.param) or servers.running(request.param)
    with closing(open_store(url, namespace=new_id(), clock=clock)) as store:
        for key, version in TERMS:
            for _ in range(version):
                store.put_terms(key, "{}")
        yield store


def asked(store: Store, hold: Hold) -> int:
    """How often a store asks its engine to reserve this and to settle it."""
    count = 0

    def see(_frame: FrameType, event: str, what: Any) -> None:
        nonlocal count
        count += event == "c_call" and what.__name__ in {"execute", "send", "sendall", "send_query_prepared"}

    sys.setprofile(see)
    try:
        assert isinstance(store.reserve(hold), Admitted)
        store.settle(hold, Entry(hold.id, 1))
    finally:
        sys.setprofile(None)
    return count


def test_two_terms_are_looked_up_with_all_else(termed: Store) -> None:
    """Most calls name two of them: a statement, or a round trip, more would be felt by each."""
    for _ in range(7):  # so that statements are prepared
        asked(termed, Hold(new_id(), (ACCOUNT,), 1, terms=TERMS[:2]))
    costs = [asked(termed, Hold(new_id(), (ACCOUNT,), 1, terms=TERMS[:count])) for count in (0, 1, 2)]
    assert costs == [costs[0]] * 3
    assert (costs[0] > 1) is termed.blocking


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_has_changed_is_told_wherever_it_stands(termed: Store, place: int) -> None:
    """And only that one; with none that has, the hold counts."""
    for count in range(place + 1, 4):
        known = list(TERMS[:count])
        assert isinstance(termed.reserve(Hold(new_id(), (ACCOUNT,), 1, terms=tuple(known))), Admitted)
        key, version = known[place]
        known[place] = key, version - 1
        answer = termed.reserve(Hold(new_id(), (ACCOUNT,), 1, terms=tuple(known)))
        assert isinstance(answer, Stale)
        assert [(each.key, each.version) for each in answer.terms] == [(key, version)]
