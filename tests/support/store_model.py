"""
A ledger kept twice: random operations, repeated and reordered, go to a store in memory and to another one.

Both have one clock, that also steps back. Every answer and everything that can be read must be the same, and the books
must add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from budgetguard.ledger import (
    KEEP_ENDED_MS,
    KEPT_FOR_EVER,
    USUAL,
    Account,
    Admitted,
    Balance,
    Carried,
    Clock,
    Conflict,
    Entry,
    Hold,
    Query,
    Record,
    RecordQuery,
    Refusal,
    Settled,
    Store,
    Terms,
    Unit,
    Wanted,
    key_in,
)
from budgetguard.stores.memory.reports import add_up
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
    units=st.just({}),
)
unit_accounts = st.builds(
    Account,
    st.sampled_from(["t#tokens", "r#requests", "p#parallel"]),
    limit=st.sampled_from([None, 0, 1, 3, 50]),
    enforce=st.sampled_from(["hard", "hard", "soft", "observe"]),
    share=st.sampled_from([1, 4]),
)
tokens = st.builds(Wanted, amounts, st.sampled_from([None, None, 0, 5]), st.sampled_from([0, 20]))
used_units = st.fixed_dictionaries({}, optional={"tokens": amounts, "requests": st.sampled_from([0, 1, 2])})


def in_units(hold: Hold, more: list[Account], wanted: Wanted, requests: int) -> Hold:
    """A hold on accounts in other units, too."""
    said = {"tokens": wanted} if requests == 1 else {"tokens": wanted, "requests": Wanted(requests)}
    return hold._replace(accounts=(*hold.accounts, *more), units=said)


unit_holds = st.builds(
    in_units, holds, st.lists(unit_accounts, min_size=1, max_size=2), tokens, st.sampled_from([1, 1, 0, 3])
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
    units=st.just({}),
)


KINDS = ["alert", "refusal"]
NAMES = ["", "a", "ab", "b/\udcff", "\0", "🙂"]
records = st.builds(
    Record,
    st.sampled_from(KINDS),
    st.sampled_from(NAMES) | st.text(),
    st.sampled_from([0, START_MS - 1_000, START_MS, START_MS + 90_000]),
    st.text(),
    st.sampled_from([None, None, 0, START_MS + 60_000, KEPT_FOR_EVER]),
)
record_queries = st.builds(
    RecordQuery,
    st.sampled_from(KINDS),
    st.none() | st.sampled_from(NAMES),
    st.none() | st.sampled_from(NAMES),
    st.sampled_from([None, None, 0, 1, 3]),
    st.booleans(),
)


class Stores(RuleBasedStateMachine):
    """One ledger kept twice."""

    units = True
    """Whether accounts in other units are tried, too."""

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
        if self.units:
            assert carried_balances(answer) == carried_balances(specified)
        return answer

    @rule(hold=holds)
    def reserve(self, hold: Hold) -> None:
        self.placed.setdefault(hold.id, hold)
        self.both("reserve", hold)

    @rule(hold=holds, entry_flags=flags, cost=amounts)
    def settle(self, hold: Hold, entry_flags: frozenset[str], cost: int) -> None:
        self.both("settle", hold, Entry(hold.id, cost, tags=hold.tags, model=hold.model, flags=entry_flags))

    @precondition(lambda self: self.units)
    @rule(hold=unit_holds)
    def reserve_in_units(self, hold: Hold) -> None:
        self.placed.setdefault(hold.id, hold)
        self.both("reserve", hold)

    @precondition(lambda self: self.units)
    @rule(
        hold=unit_holds,
        cost=amounts,
        used=used_units,
        more=st.sampled_from([(), ("t#tokens", "e#requests"), ("p#parallel",)]),
    )
    def settle_in_units(self, hold: Hold, cost: int, used: dict[Unit, int], more: tuple[str, ...]) -> None:
        self.both("settle", self.placed.get(hold.id, hold), Entry(hold.id, cost, more, units=used))

    @precondition(lambda self: self.units)
    @rule(hold=unit_holds)
    def renew_in_units(self, hold: Hold) -> None:
        self.both("renew", [hold])

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

    @rule(noted=st.lists(records, max_size=5), replace=st.booleans())
    def note(self, noted: list[Record], replace: bool) -> None:
        self.both("note", noted, replace=replace)

    @rule(query=record_queries)
    def read_records(self, query: RecordQuery) -> None:
        specified, answer = [list(store.noted(query)) for store in self.stores]
        assert answer == specified

    @rule()
    def close(self) -> None:
        self.stores[1].close()

    @rule(by=st.lists(st.sampled_from(["user", "day", "model"]), max_size=2), limit=st.sampled_from([None, 2]))
    def read_totals(self, by: list[str], limit: int | None) -> None:
        self.both("totals", by, Query(limit=limit))

    @invariant()
    def all_that_can_be_read_is_the_same(self) -> None:
        self.both("balances", [*KEYS, "t#tokens", "r#requests", "p#parallel", "never"])
        self.both("holds")
        assert self.both("check") == []
        for operation in ("entries", "accounts", "carried", "all_terms"):
            specified, answer = [list(getattr(store, operation)()) for store in self.stores]
            assert answer == specified
        for kind in KINDS:
            self.read_records(RecordQuery(kind))


def carried_balances(answer: Any) -> Any:
    """The balances that outcomes carry, which are compared without them."""
    if isinstance(answer, list):
        return [carried_balances(each) for each in answer]
    return answer.balances if isinstance(answer, Admitted | Settled) else None


class InAnotherUnit:
    """A memory store in which all that is said in dollars is counted in another unit; and said in dollars again."""

    def __init__(self, unit: Unit, clock: Clock) -> None:
        self.unit = unit
        self.store = MemoryStore(clock=clock)
        for name in ("release", "put_terms", "all_terms", "close", "prune", "check", "note", "noted"):
            setattr(self, name, getattr(self.store, name))

    def account(self, account: Account) -> Account:
        window = tuple([key_in(self.unit, key) for key in account.window])
        return replace(account, key=key_in(self.unit, account.key), window=window)

    def hold(self, hold: Hold) -> Hold:
        accounts = tuple([self.account(each) for each in hold.accounts])
        wanted = {self.unit: Wanted(hold.amount, hold.least, hold.useful)}
        return hold._replace(accounts=accounts, amount=0, least=None, useful=0, units=wanted)

    def entry(self, entry: Entry) -> Entry:
        keys = tuple([key_in(self.unit, key) for key in entry.accounts])
        return entry._replace(cost=0, accounts=keys, units={self.unit: entry.cost})

    def told(self, hold: Hold, answer: Any) -> Any:
        if isinstance(answer, Admitted):
            return Admitted(answer.units[self.unit], {}, self.plain(answer.balances))
        if isinstance(answer, Settled):
            return Settled(answer.cost, answer.late, self.plain(answer.balances))
        if isinstance(answer, Conflict):
            return Conflict(answer.units.get(self.unit, USUAL[self.unit]))
        if isinstance(answer, Refusal):
            place = self.hold(hold).accounts.index(answer.account)
            return Refusal(hold.accounts[place], *self.plain([answer.balance]), answer.busy)
        return answer

    def plain(self, balances: Iterable[Balance]) -> tuple[Balance, ...]:
        return tuple([each._replace(key=each.key.removesuffix(f"#{self.unit}")) for each in balances])

    def reserve(self, hold: Hold) -> Any:
        return self.told(hold, self.store.reserve(self.hold(hold)))

    def settle(self, hold: Hold, entry: Entry) -> Any:
        answer = self.told(hold, self.store.settle(self.hold(hold), self.entry(entry)))
        return replace(answer, cost=entry.cost) if isinstance(answer, Settled) else answer

    def settle_many(self, settlements: list[tuple[Hold, Entry]]) -> Any:
        return [self.settle(*each) for each in settlements]

    def renew(self, holds: list[Hold]) -> Any:
        return self.store.renew([self.hold(each) for each in holds])

    def load(self, *, terms: Any, accounts: list[Carried], entries: list[Entry]) -> None:
        carried = [each._replace(key=key_in(self.unit, each.key)) for each in accounts]
        self.store.load(terms=terms, accounts=carried, entries=[self.entry(each) for each in entries])

    def balances(self, keys: list[str]) -> Any:
        return list(self.plain(self.store.balances([key_in(self.unit, key) for key in keys])))

    def accounts(self) -> Any:
        return self.plain(self.store.accounts())

    def carried(self) -> Any:
        return [each._replace(key=each.key.removesuffix(f"#{self.unit}")) for each in self.store.carried()]

    def holds(self) -> Any:
        found = self.store.holds()
        keys = [tuple([key.removesuffix(f"#{self.unit}") for key in each.accounts]) for each in found]
        pairs = zip(found, keys, strict=True)
        return [replace(each, amount=each.units[self.unit], accounts=said, units={}) for each, said in pairs]

    def entries(self, query: Query = Query()) -> Any:  # noqa: B008
        for each in self.store.entries(query):
            keys = tuple([key.removesuffix(f"#{self.unit}") for key in each.accounts])
            yield each._replace(cost=each.units.get(self.unit, USUAL[self.unit]), accounts=keys, units={})

    def totals(self, by: list[str], query: Query) -> Any:
        return add_up(by, self.entries(query))


class OnTokens(Stores):
    """What is true of dollars is true of tokens: the store has no second set of rules."""

    unit: Unit = "tokens"
    units = False

    def make(self) -> Any:
        return InAnotherUnit(self.unit, self.clock)

    def both(self, operation: str, *args: Any, **named: Any) -> Any:
        if (
            operation == "load"
        ):  # what a hold on no account was charged counts in dollars alone, and so does its renewal
            named["entries"] = [
                each if each.accounts else each._replace(flags=each.flags - {"expired"}) for each in named["entries"]
            ]
        answer = super().both(operation, *args, **named)
        assert self.stores[1].store.check() == []  # type: ignore[attr-defined]
        return answer


class OnRequests(OnTokens):
    """And of requests."""

    unit: Unit = "requests"
