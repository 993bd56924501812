"""
Programs of two versions on one Redis, as while they are upgraded one by one: nothing is lost between them.

The version before counted dollars only; `tests/support/redis_before.py` speaks for it, with its own scripts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings

from budgetguard.ledger import (
    Account,
    Admitted,
    Balance,
    Conflict,
    Ended,
    Entry,
    Hold,
    OpenHold,
    Refusal,
    Settled,
    Wanted,
    key_in,
    new_id,
)
from budgetguard.process.journal_files import JournalFile
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.redis.store import RedisStore
from budgetguard.testing.clock import StoppedClock
from tests.support import ROOT, servers
from tests.support.redis_before import RedisBefore
from tests.support.store_model import Stores

TEAM = Account("team/2027-01", limit=100)
TOKENS = Account(key_in("tokens", "tokens/2027-01-01"), limit=1_000)
REQUESTS = Account(key_in("requests", "calls/29x60000"), limit=3)
TTL_S = 60


class Both(NamedTuple):
    """Two programs on the same books."""

    before: RedisBefore
    now: RedisStore
    clock: StoppedClock
    url: str

    def standing(self, *accounts: Account) -> list[tuple[int, int]]:
        """What these have settled and held."""
        return [(each.settled, each.held) for each in self.now.balances([account.key for account in accounts])]


def both_on(server: str, clock: StoppedClock) -> Both:
    url, namespace = servers.running(server), uuid.uuid4().hex
    before, now = [kind.from_url(url, namespace=namespace, clock=clock) for kind in (RedisBefore, RedisStore)]
    assert isinstance(before, RedisBefore)
    return Both(before, now, clock, url.replace("valkey://", "redis://"))


@pytest.fixture(params=["valkey", "redis"])
def both(request: Any) -> Iterator[Both]:
    """A program of each version."""
    made = both_on(request.param, StoppedClock())
    yield made
    made.before.close()
    made.now.close()


def hold(amount: int, *accounts: Account, **fields: Any) -> Hold:
    return Hold(new_id(), accounts or (TEAM,), amount, **{"ttl_ms": TTL_S * 1000, **fields})


def in_units(amount: int, tokens: int, **fields: Any) -> Hold:
    """A hold on an account of each unit."""
    return hold(amount, TEAM, TOKENS, REQUESTS, units={"tokens": Wanted(tokens)}, **fields)


class InTurn:
    """Two clients of one store: each operation goes to the next of them."""

    def __init__(self, before: RedisBefore, now: RedisStore) -> None:
        self.turns = cycle([before, now, now, before, before, now, before])
        self.before, self.now = before, now
        for name in ("reserve", "settle", "settle_many", "release", "renew", "load", "entries", "holds"):
            setattr(self, name, partial(self.ask, name))
        for name in (
            "balances",
            "accounts",
            "carried",
            "totals",
            "check",
            "put_terms",
            "all_terms",
            "note",
            "noted",
            "close",
        ):
            setattr(self, name, getattr(now, name))

    def prune(self, before_ms: int) -> int:
        """Of the version before, which knows no records, and then of this one."""
        return self.before.prune(before_ms) + self.now.prune(before_ms)

    def ask(self, name: str, *args: Any, **named: Any) -> Any:
        return getattr(next(self.turns), name)(*args, **named)


class OnBothVersions(Stores):
    """Whatever one version writes the other one reads, goes on with and ends; outcomes of old ones have no balances."""

    units = False

    def make(self) -> Any:
        self.both_versions = both_on("valkey", self.clock)
        return InTurn(self.both_versions.before, self.both_versions.now)

    def teardown(self) -> None:
        super().teardown()
        self.both_versions.before.close()


OnBothVersions.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
TestBothVersions = OnBothVersions.TestCase


def test_a_hold_of_the_version_before_is_settled(both):
    """What was set aside comes back, the entry is that of any other call, and both versions read it."""
    held = hold(40, tags={"user": "ann"}, provider="openai", model="gpt")
    assert both.before.reserve(held) == Admitted(40)
    again = both.now.reserve(held)
    assert again == Admitted(40)
    assert again.balances == (Balance(TEAM.key, 0, 40),)
    [found] = both.now.holds()
    at_ms = both.now.now_ms()
    due = at_ms + TTL_S * 1000
    assert found == OpenHold(held.id, 40, (TEAM.key,), at_ms, due, {"user": "ann"}, "openai", "gpt")
    said = Entry(held.id, 25, ("models/gpt",), 0, {"user": "ann"}, "openai", "gpt", {"input_tokens": 7})
    settled = both.now.settle(held, said)
    assert settled == Settled(25)
    assert settled.balances == (Balance(TEAM.key, 25), Balance("models/gpt", 25))
    written = said._replace(accounts=("models/gpt", TEAM.key), at_ms=at_ms)
    assert list(both.now.entries()) == list(both.before.entries()) == [written]
    assert both.before.settle(held, said) == Settled(25)
    assert both.before.settle(held, said._replace(cost=26)) == both.now.settle(held, said._replace(cost=26))
    assert both.now.check() == []


@pytest.mark.parametrize("on_expire", ["release", "charge"])
def test_a_hold_of_either_version_expires_in_the_other(both, on_expire):
    """And is corrected by the one that placed it."""
    for first, second in ((both.before, both.now), (both.now, both.before)):
        held = hold(30, Account(f"{new_id()}/2027-01", limit=50), on_expire=on_expire)
        assert first.reserve(held) == Admitted(30)
        both.clock.advance(TTL_S)
        second.reserve(hold(0, Account("other")))
        assert both.standing(*held.accounts) == [(30 if on_expire == "charge" else 0, 0)]
        assert first.renew([held]) == [True]
        assert both.standing(*held.accounts) == [(0, 30)]
        assert second.settle(held, Entry(held.id, 45)) == Settled(45)
        assert first.reserve(held) == Ended()
        assert both.standing(*held.accounts) == [(45, 0)]
    assert both.now.check() == []


def test_settled_in_units_is_the_same_call_to_the_version_before(both):
    """It sees the dollars, and that the call is over."""
    held = in_units(40, 700)
    both.now.reserve(held)
    both.now.settle(held, Entry(held.id, 25, units={"tokens": 520}))
    [found] = both.before.entries()
    assert (found.cost, found.accounts) == (25, (TEAM.key,))
    assert both.before.reserve(held) == Ended()
    both.before.release(held.id)
    assert both.before.settle(held._replace(accounts=(TEAM,)), Entry(held.id, 26)) == Conflict(25)
    assert both.standing(TEAM, TOKENS, REQUESTS) == [(25, 0), (520, 0), (1, 0)]
    assert both.now.check() == []


@pytest.mark.parametrize("on_expire", ["release", "charge"])
def test_the_version_before_ends_no_hold_of_which_it_knows_a_part(both, on_expire):
    """Its room is given away, in every unit at once, by the next program that knows all of it."""
    held = in_units(60, 700, on_expire=on_expire)
    both.now.reserve(held)
    mine = hold(30)
    assert both.before.reserve(mine) == Admitted(30)
    both.clock.advance(TTL_S)
    for _ in range(5):  # what is due and known is cleared away: that of its own
        assert both.before.reserve(hold(50)) == Refusal(TEAM, Balance(TEAM.key, 0, 60), busy=True)
    after = [(60, 0), (700, 0), (1, 0)] if on_expire == "charge" else [(0, 0)] * 3
    assert both.standing(TEAM, TOKENS, REQUESTS) == after
    both.now.reserve(hold(0, Account("other")))
    assert both.standing(TEAM, TOKENS, REQUESTS) == after
    assert isinstance(both.before.reserve(hold(50)), Admitted if on_expire == "release" else Refusal)
    assert both.now.settle(held, Entry(held.id, 20, units={"tokens": 5})) == Settled(20, late=True)
    held_now = 50 if on_expire == "release" else 0
    assert both.standing(TEAM, TOKENS, REQUESTS) == [(20, held_now), (5, 0), (1, 0)]
    assert both.now.check() == []


def test_history_that_the_version_before_deletes_is_missed_in_other_units(both):
    """No dollars get onto their accounts, and what counts for a limit stays; but only newer programs should prune."""
    held = in_units(40, 700)
    both.now.reserve(held)
    both.now.settle(held, Entry(held.id, 25, units={"tokens": 520}))
    both.clock.advance(1)
    assert both.before.prune(both.now.now_ms()) == 1
    assert both.standing(TEAM, TOKENS, REQUESTS) == [(25, 0), (520, 0), (1, 0)]
    assert {each.key: each.pruned for each in both.now.carried()} == {TEAM.key: 25, TOKENS.key: 0, REQUESTS.key: 0}
    assert {each.key for each in both.now.check()} == {TOKENS.key, REQUESTS.key}
    with redis.Redis.from_url(both.url) as client:  # nobody has to find these books in order
        client.delete(*client.scan_iter(both.now.prefix + b"*"))


def test_a_journal_of_the_version_before_lands(both, tmp_path):
    """Settlements that waited when the program was replaced: of holds that its own scripts had placed, among others."""
    path = tmp_path / "1.jsonl"
    path.write_bytes((ROOT / "tests" / "upgrades" / "kept" / "journal_version_1.jsonl").read_bytes())
    file = JournalFile.take(str(path))
    assert file is not None
    left = file.read("default")
    assert left is not None
    memory = MemoryStore(clock=both.clock)
    first, *_ = left.kept
    lease = Hold("9".zfill(32), (TEAM,), 30)
    for store in (both.before, memory):
        store.reserve(Hold(first.hold.id, first.hold.accounts, 20))
        store.reserve(lease)
    for kept in (*left.kept, *left.kept):
        specified, answer = [store.settle(kept.hold, kept.entry) for store in (memory, both.now)]
        assert answer == specified
        assert answer.balances == specified.balances
    assert list(both.now.entries()) == list(memory.entries())
    assert list(both.now.accounts()) == list(memory.accounts())
    assert both.now.holds() == memory.holds()
    assert both.now.check() == []
    file.close()
