"""
A ledger kept twice: random operations, repeated and reordered, go to a store in memory and to another one.

Both have one clock, that also steps back. Every answer and everything that can be read must be the same, and the books
must add up.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from budgetguard.ledger import KEEP_ENDED_MS, Account, Carried, Entry, Hold, Query, Store, Terms
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing.clock import START_S, StoppedClock

IDS = [f"{number:032x}" for number in range(12)]
KEYS = ["a", "b", "c/\udcff", "d"]
START_MS = round(START_S * 1000)

accounts = st.builds(
    Account,
    st.sampled_from(KEYS),
    limit=st.sampled_from([None, 0, 50, 100]),
    enforce=st.sampled_from(["hard", "hard", "soft", "observe"]),
    share=st.sampled_from([1, 4]),
    end_ms=st.sampled_from([None, None, START_MS + 60_000]),
    window=st.sampled_from([(), (), ("a",), ("b", "d")]),
)
amounts = st.sampled_from([0, 1, 10, 30, 60, 100])
holds = st.builds(
    Hold,
    st.sampled_from(IDS),
    st.lists(accounts, min_size=1, max_size=3).map(tuple),
    amounts,
    least=st.sampled_from([None, None, 0, 5]),
    useful=st.sampled_from([0, 20]),
    ttl_ms=st.sampled_from([1, 10_000, 60_000]),
    on_expire=st.sampled_from(["release", "charge"]),
    terms=st.sampled_from([(), (), (("a", 0),), (("a", 1), ("b", 0))]),
    tags=st.sampled_from([{}, {"user": "ann"}, {"user": "\ud800"}]),
    model=st.sampled_from(["", "m"]),
    leases=st.sampled_from([(), (), (IDS[0],), (IDS[1], IDS[2], IDS[1])]),
)
flags = st.sampled_from([frozenset[str](), frozenset({"manual"}), frozenset({"estimated", "cut"})])
steps_ms = st.sampled_from([1, 1_000, 10_000, 60_000, KEEP_ENDED_MS, -1, -10_000, -60_000, -KEEP_ENDED_MS])

copied_terms = st.builds(Terms, st.sampled_from(KEYS), st.sampled_from([1, 2, 4]), st.sampled_from([None, "y"]))
copied_accounts = st.builds(
    Carried, st.sampled_from(KEYS), st.sampled_from([None, START_MS + 60_000]), st.sampled_from([0, 5, 50])
)
copied_entries = st.builds(
    Entry,
    st.sampled_from(IDS),
    amounts,
    st.sampled_from([(), ("a",), ("e", "c/\udcff")]),
    st.sampled_from([START_MS, START_MS - 1_000, START_MS + 90_000]),
    tags=st.dictionaries(st.text(), st.text()),
    provider=st.text(),
    model=st.text(),
    usage=st.dictionaries(st.text(), st.integers(-(2**63) + 1, 2**63 - 1)),
    flags=st.sampled_from([frozenset[str](), frozenset({"expired"}), frozenset({"late", "cut"})]),
)


class Stores(RuleBasedStateMachine):
    """One ledger kept twice."""

    def make(self) -> Store:
        raise NotImplementedError

    @initialize()
    def open(self) -> None:
        self.clock = StoppedClock()
        self.stores: list[Store] = [MemoryStore(clock=self.clock), self.make()]
        self.placed: dict[str, Hold] = {}

    def teardown(self) -> None:
        self.stores[1].close()

    def both(self, operation: str, *args: Any, **named: Any) -> Any:
        specified, answer = [getattr(store, operation)(*args, **named) for store in self.stores]
        assert type(answer) is type(specified)
        assert answer == specified
        return answer

    @rule(hold=holds)
    def reserve(self, hold: Hold) -> None:
        self.placed.setdefault(hold.id, hold)
        self.both("reserve", hold)

    @rule(hold=holds, entry_flags=flags, cost=amounts)
    def settle(self, hold: Hold, entry_flags: frozenset[str], cost: int) -> None:
        self.both("settle", hold, Entry(hold.id, cost, tags=hold.tags, model=hold.model, flags=entry_flags))

    @rule(hold_id=st.sampled_from(IDS), cost=amounts, more=st.sampled_from([(), ("a",), ("e", "c/\udcff")]))
    def settle_what_was_reserved(self, hold_id: str, cost: int, more: tuple[str, ...]) -> None:
        if hold_id in self.placed:
            self.both("settle", self.placed[hold_id], Entry(hold_id, cost, more, usage={"input_tokens": cost}))

    @rule(said=st.lists(st.tuples(holds, amounts), max_size=4))
    def settle_many(self, said: list[tuple[Hold, int]]) -> None:
        self.both("settle_many", [(hold, Entry(hold.id, cost)) for hold, cost in said])

    @rule(hold_id=st.sampled_from(IDS))
    def reserve_again(self, hold_id: str) -> None:
        if hold_id in self.placed:
            self.both("reserve", self.placed[hold_id]._replace(terms=()))

    @rule(hold_id=st.sampled_from(IDS))
    def release(self, hold_id: str) -> None:
        self.both("release", hold_id)

    @rule(renewed=st.lists(holds, max_size=3))
    def renew(self, renewed: list[Hold]) -> None:
        self.both("renew", renewed)

    @rule(hold_ids=st.lists(st.sampled_from(IDS), max_size=4))
    def renew_what_was_reserved(self, hold_ids: list[str]) -> None:
        self.both("renew", [self.placed[hold_id] for hold_id in hold_ids if hold_id in self.placed])

    @rule(key=st.sampled_from(KEYS), body=st.sampled_from([None, "x"]), expected=st.sampled_from([None, 0, 1]))
    def put_terms(self, key: str, body: str | None, expected: int | None) -> None:
        self.both("put_terms", key, body, expected=expected)

    @rule(step=steps_ms)
    def the_clock_moves(self, step: int) -> None:
        self.clock.advance(step / 1000)

    @rule(step=steps_ms)
    def prune(self, step: int) -> None:
        self.both("prune", self.stores[0].now_ms() + step)

    @rule(
        terms=st.lists(copied_terms, max_size=2),
        accounts=st.lists(copied_accounts, max_size=2),
        entries=st.lists(copied_entries, max_size=4),
    )
    def load(self, terms: list[Terms], accounts: list[Carried], entries: list[Entry]) -> None:
        self.both("load", terms=terms, accounts=accounts, entries=entries)

    @rule()
    def close(self) -> None:
        self.stores[1].close()

    @rule(by=st.lists(st.sampled_from(["user", "day", "model"]), max_size=2), limit=st.sampled_from([None, 2]))
    def read_totals(self, by: list[str], limit: int | None) -> None:
        self.both("totals", by, Query(limit=limit))

    @invariant()
    def all_that_can_be_read_is_the_same(self) -> None:
        self.both("balances", [*KEYS, "never"])
        self.both("holds")
        assert self.both("check") == []
        for operation in ("entries", "accounts", "carried", "all_terms"):
            specified, answer = [list(getattr(store, operation)()) for store in self.stores]
            assert answer == specified
