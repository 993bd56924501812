"""A copy has the same books as the store it came from: whenever it is interrupted, and however often repeated."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from budgetguard.errors import ConfigError, StoreError
from budgetguard.ledger import (
    KEPT_FOR_EVER,
    KINDS,
    Account,
    Balance,
    Carried,
    Entry,
    Hold,
    Record,
    RecordQuery,
    Store,
    new_id,
)
from budgetguard.stores import open_store
from budgetguard.stores.copy import BATCH, BOOKS, MARK, Copied, copy_books
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing.clock import StoppedClock
from tests.support import servers

TTL_S = 60
TEAM = Account("team", limit=10**9)
Make = Callable[[], Store]


def new_store(kind: str, path: Path, clock: StoppedClock) -> Store:
    if kind == "memory":
        return MemoryStore(clock=clock)
    if kind == "sqlite":
        return SQLiteStore(path, clock=clock, durable=False, reserve_s=5)
    return open_store(servers.running(kind), namespace=new_id(), clock=clock)


@pytest.fixture(params=["memory", "sqlite", *servers.NAMES])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: StoppedClock) -> Iterator[Make]:
    """Makes new stores of one kind."""
    made: list[Store] = []

    def make() -> Store:
        made.append(new_store(request.param, tmp_path / f"{len(made)}.db", clock))
        return made[-1]

    yield make
    for store in made:
        store.close()


def hold(amount: int = 10, *accounts: Account, **fields: Any) -> Hold:
    return Hold(new_id(), accounts or (TEAM,), amount, **{"ttl_ms": TTL_S * 1000, **fields})


def spend(store: Store, cost: int = 7, *accounts: Account, **fields: Any) -> str:
    held = hold(10, *accounts)
    store.reserve(held)
    store.settle(held, Entry(held.id, cost, **fields))
    return held.id


def live(store: Store, clock: StoppedClock) -> None:
    """A past with everything in it that books can have; it ends with nothing under way."""
    now = store.now_ms()
    month = Account("users/ann/1", limit=10**9, end_ms=now + 3_600_000)
    over = Account("users/ann/0", limit=10**9, end_ms=now + 1_000)
    for body in ("1", "2", "3"):
        store.put_terms("users/ann", body)
    store.put_terms("users/bob", "gone")
    store.put_terms("users/bob", None)
    spend(store, 5, over, TEAM)
    store.release(hold(3, Account("only held")).id)
    given_back = hold(3, Account("only held"))
    store.reserve(given_back)
    store.release(given_back.id)
    clock.advance(2)
    store.prune(store.now_ms())
    tags, usage = {"user": "ann", "feature": "é\udcff"}, {"input_tokens": 900, "output_tokens": 0, "images": 2}
    flags = frozenset({"estimated", "capped"})
    spend(store, 11, month, TEAM, accounts=("models/ann/gpt-4o",), tags=tags, provider="openai", model="gpt-4o")
    spend(store, 12, month, usage=usage, flags=flags)
    late = hold(10)
    store.settle(late, Entry(late.id, 0, tags=tags))
    store.reserve(hold(40, month, TEAM, on_expire="charge", tags=tags, model="gpt-4o"))
    clock.advance(TTL_S + 1)
    spend(store, 13)
    store.note([Record("refusal", f"{number}", store.now_ms() + number, "é\udcff\0") for number in range(5)])
    store.note(
        [Record("alert", "users/ann/1@80", now, "{}", KEPT_FOR_EVER), Record("change", "0", store.now_ms(), "{}")]
    )


def read(store: Store) -> dict[str, Any]:
    """All that can be read of the books; the mark of a copy is not among them."""
    assert store.check() == []
    return {
        "terms": [terms for terms in store.all_terms() if terms.key not in {MARK, BOOKS}],
        "accounts": list(store.accounts()),
        "carried": list(store.carried()),
        "entries": list(store.entries()),
        "totals": store.totals(["user", "model", "day"]),
        "holds": store.holds(),
        "records": [each for kind in KINDS for each in store.noted(RecordQuery(kind))],
    }


def test_a_copy_has_the_same_books(make: Make, clock: StoppedClock) -> None:
    """Terms with their versions, every field of every entry, and what was pruned long ago."""
    source, target = make(), make()
    live(source, clock)
    found = copy_books(source, target, "a")

    assert read(target) == read(source)
    assert Carried("team", None, 5) in target.carried()
    assert found == Copied(1, 4, 5, 76, new_terms=1, new_accounts=4, new_entries=5, records=7, new_records=7)


def test_a_copy_goes_from_any_store_to_any_other(tmp_path: Path, clock: StoppedClock) -> None:
    """Once around."""
    kinds = ["memory", "sqlite", *servers.NAMES, "sqlite", "memory"]
    stores = [new_store(kind, tmp_path / f"{place}.db", clock) for place, kind in enumerate(kinds)]
    live(stores[0], clock)
    for source, target in pairwise(stores):
        copy_books(source, target, "the one before")

    assert [read(store) for store in stores] == [read(stores[0])] * len(stores)
    for store in stores:
        store.close()


def test_a_copy_goes_on_where_the_budgets_were(make: Make, clock: StoppedClock) -> None:
    """What was spent before the move takes room after it, and what was settled before is not settled again."""
    source, target = make(), make()
    tight = Account("tight", limit=20)
    settled = hold(10, tight)
    source.reserve(settled)
    source.settle(settled, Entry(settled.id, 15))
    copy_books(source, target, "a")

    assert target.settle(settled, Entry(settled.id, 15)) == source.settle(settled, Entry(settled.id, 15))
    assert target.balances(["tight"]) == [Balance("tight", 15)]
    assert target.reserve(hold(6, tight)) == source.reserve(hold(6, tight))


def test_a_copy_can_be_copied(make: Make, clock: StoppedClock) -> None:
    """It is a store like any other, and the second copy is its own."""
    first, second, third = make(), make(), make()
    live(first, clock)
    copy_books(first, second, "first")
    copy_books(second, third, "second")

    assert read(third) == read(first)
    with pytest.raises(ConfigError, match="other books, which were second"):
        copy_books(first, third, "first")


def test_the_name_of_the_books_may_change(make: Make, clock: StoppedClock) -> None:
    """A server has several addresses."""
    source, target = make(), make()
    live(source, clock)
    copy_books(source, target, "redis://a")
    spend(source)
    copy_books(source, target, "redis://10.0.0.1")

    assert read(target) == read(source)


def test_a_copy_that_is_repeated_finds_nothing_new(make: Make, clock: StoppedClock) -> None:
    """It is safe to do it once too often."""
    source, target = make(), make()
    live(source, clock)
    copy_books(source, target, "a")
    before = read(target)

    assert copy_books(source, target, "a") == Copied(1, 4, 5, 76, records=7)
    assert read(target) == before


def test_a_copy_that_is_repeated_brings_what_is_new(make: Make, clock: StoppedClock) -> None:
    """Spend, changed and removed budgets, pruned history, what dead processes' calls did cost, counts of refusals."""
    source, target = make(), make()
    live(source, clock)
    dead = [hold(40, on_expire="charge") for _ in range(3)]
    for held in dead:
        source.reserve(held)
    clock.advance(TTL_S + 1)
    source.put_terms("users/eve", "x")
    copy_books(source, target, "a")

    source.put_terms("users/ann", "4")
    source.put_terms("users/eve", None)
    source.settle(dead[0], Entry(dead[0].id, 31))
    source.release(dead[1].id)
    drawn = Hold(new_id(), (), 0, leases=(dead[2].id,))
    source.settle(drawn, Entry(drawn.id, 9, ("team",)))
    clock.advance(1)
    spend(source, 17, Account("new", end_ms=source.now_ms() + 1_000))
    source.prune(source.now_ms() - (TTL_S + 10) * 1000)
    source.note([Record("refusal", "3", source.now_ms(), "once more")], replace=True)
    found = copy_books(source, target, "a")

    assert read(target) == read(source)
    assert found.new_records >= 1
    assert target.terms("users/eve") == source.terms("users/eve")
    assert (found.new_terms, found.new_entries) == (2, 4)
    assert found.removed >= 2


def test_a_history_that_was_pruned_whole_is_pruned_in_the_copy_too(make: Make, clock: StoppedClock) -> None:
    """The sums stay."""
    source, target = make(), make()
    live(source, clock)
    copy_books(source, target, "a")
    source.prune(source.now_ms() + 1)
    copy_books(source, target, "a")

    assert read(target) == read(source)
    assert list(target.entries()) == []


def test_what_an_expired_hold_is_charged_is_copied_before_anybody_booked_it(make: Make, clock: StoppedClock) -> None:
    """Reading never books it, so a plain copy of the rows would lose it."""
    source, target = make(), make()
    for _ in range(100):
        source.reserve(hold(10, on_expire="charge"))
    clock.advance(TTL_S)
    copy_books(source, target, "a")

    assert target.balances(["team"]) == [Balance("team", 1000)]
    assert read(target) == read(source)


def test_calls_under_way_are_in_the_way(make: Make) -> None:
    """What they cost would be booked in the old store, after the copy."""
    source, target = make(), make()
    spend(source)
    source.reserve(hold())

    with pytest.raises(ConfigError, match=r"1 call is under way in shop: stop the program.*--while-running"):
        copy_books(source, target, "shop")
    assert read(target) == read(make())
    assert target.terms(MARK) is None


def test_a_copy_while_running_is_caught_up_by_another(make: Make) -> None:
    """Most of the history moves while the program runs, and it stops for the rest only."""
    source, target = make(), make()
    spend(source)
    under_way = hold()
    source.reserve(under_way)
    copy_books(source, target, "a", while_running=True)
    assert target.balances(["team"]) == [Balance("team", 7)]

    source.settle(under_way, Entry(under_way.id, 9))
    assert copy_books(source, target, "a").new_entries == 1
    assert read(target) == read(source)


def use_it(store: Store) -> None:
    spend(store)


def hold_on_it(store: Store) -> None:
    store.reserve(hold())


def put_terms(store: Store) -> None:
    store.put_terms("users/ann", "other")


@pytest.mark.parametrize("use", [use_it, hold_on_it, put_terms])
def test_other_books_are_left_alone(make: Make, clock: StoppedClock, use: Callable[[Store], None]) -> None:
    """Two projects of one name must not become one."""
    source, target = make(), make()
    live(source, clock)
    use(target)
    before = read(target)

    with pytest.raises(ConfigError, match="the target has books of its own"):
        copy_books(source, target, "a")
    assert read(target) == before
    assert target.terms(MARK) is None


@pytest.mark.parametrize("use", [use_it, hold_on_it])
def test_a_copy_that_was_spent_from_is_left_alone(
    make: Make, clock: StoppedClock, use: Callable[[Store], None]
) -> None:
    """The program has moved there: a copy from the old store comes too late."""
    source, target = make(), make()
    live(source, clock)
    copy_books(source, target, "a")
    spend(source)
    use(target)
    before = read(target)

    with pytest.raises(ConfigError, match="was spent from since a was copied there: copy to an empty project"):
        copy_books(source, target, "a")
    assert read(target) == before


def test_a_budget_that_was_changed_in_the_copy_is_left_alone(make: Make, clock: StoppedClock) -> None:
    """Nobody knows which of the two is meant."""
    source, target = make(), make()
    live(source, clock)
    copy_books(source, target, "a")
    target.put_terms("users/ann", "other")

    with pytest.raises(ConfigError, match=r"the terms of 'users/ann' were changed in the target"):
        copy_books(source, target, "a")
    assert target.terms("users/ann").body == "other"


def test_the_copy_of_other_books_is_left_alone(make: Make, clock: StoppedClock) -> None:
    """Whatever they are called."""
    source, other, target = make(), make(), make()
    live(source, clock)
    live(other, clock)
    copy_books(source, target, "a")

    with pytest.raises(ConfigError, match="the target is a copy of other books, which were a: copy to an empty"):
        copy_books(other, target, "b")


def test_books_that_were_made_anew_under_the_same_name_do_not_wipe_out_the_copy(
    make: Make, clock: StoppedClock
) -> None:
    """A file was deleted, and a program that nobody stopped began another one."""
    source, target, anew = make(), make(), make()
    live(source, clock)
    copy_books(source, target, "a")
    before = read(target)
    for used in (put_terms, use_it, use_it):
        used(anew)
        with pytest.raises(ConfigError, match="is a copy of other books"):
            copy_books(anew, target, "a")
        assert read(target) == before


def test_of_two_copies_that_are_begun_at_once_one_is_refused(make: Make, clock: StoppedClock) -> None:
    """An empty target is no copy of either yet, so that both would find nothing in the way."""
    sources, target = [make(), make()], make()
    for source in sources:
        live(source, clock)
    writes = target.put_terms

    def after_another_began(*said: Any, **fields: Any) -> Any:
        target.put_terms = writes  # type: ignore[method-assign]
        copy_books(sources[1], target, "b")
        return target.put_terms(*said, **fields)

    target.put_terms = after_another_began  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=r"another copy to the target was begun.*when that is over"):
        copy_books(sources[0], target, "a")

    assert read(target) == read(sources[1])


def test_an_entry_that_the_books_do_not_have_is_noticed(make: Make, clock: StoppedClock) -> None:
    """After a copy that was interrupted nobody has counted what is there."""
    source, target = make(), make()
    live(source, clock)
    copy_books(source, target, "a")
    mark = json.loads(target.terms(MARK).body or "")
    target.put_terms(MARK, json.dumps({**mark, "entries": None}))
    use_it(target)

    with pytest.raises(ConfigError, match=r"call .* of the target is not so in a: copy to an empty project"):
        copy_books(source, target, "a")


def test_an_empty_project_is_an_error(make: Make) -> None:
    """A mistyped name, most likely."""
    with pytest.raises(ConfigError, match="holds nothing that could be copied"):
        copy_books(make(), make(), "a")


def test_spend_during_a_copy_is_noticed(make: Make) -> None:
    """The program was not stopped after all; the next copy has it."""
    source, target = make(), make()
    spend(source)

    with pytest.raises(StoreError, match=r"account team: \$0.000000014 was spent in a, and \$0.000000007 is in the"):
        copy_books(source, target, "a", report=lambda done, total: spend(source))
    copy_books(source, target, "a")
    assert read(target) == read(source)


def test_the_report_counts_to_the_end(make: Make) -> None:
    """For a progress bar."""
    source, heard = make(), []
    source.load(entries=many(2 * BATCH + 1))
    copy_books(source, make(), "a", report=lambda *said: heard.append(said))

    assert heard == [(BATCH, 2 * BATCH + 1), (2 * BATCH, 2 * BATCH + 1), (2 * BATCH + 1,) * 2]


class Failing:
    """A target that fails at one of its writes, after it was done or before."""

    def __init__(self, store: Store, at: int, done: bool) -> None:
        self._store, self._left, self._done = store, at, done

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._store, name)
        if name not in {"load", "put_terms", "release", "prune", "note"}:
            return work

        def write(*args: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._done:
                raise StoreError("gone before")
            answer = work(*args, **named)
            if self._left == 0:
                raise StoreError("gone after")
            return answer

        return write


@pytest.mark.parametrize("done", [False, True])
def test_a_copy_may_break_off_at_every_step(
    make: Make, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """Also one that catches up; the next one goes on."""
    monkeypatch.setattr("budgetguard.stores.copy.BATCH", 2)
    source, target = make(), make()
    live(source, clock)
    at = 0
    for _ in range(3):
        dead = [hold(40, on_expire="charge") for _ in range(4)]
        for held in dead:
            source.reserve(held)
        clock.advance(TTL_S + 1)
        spend(source, 3)
        while True:
            at += 1
            try:
                copy_books(source, Failing(target, at, done), "a")  # type: ignore[arg-type]
            except StoreError:
                assert target.check() == []
            else:
                break
        at = 0
        assert read(target) == read(source)
        source.settle(dead[0], Entry(dead[0].id, 31))
        source.release(dead[1].id)
        source.prune(source.now_ms() - 2 * TTL_S * 1000)


@pytest.mark.parametrize("seed", range(20))
def test_copies_in_between_lead_to_the_same_books(seed: int, clock: StoppedClock) -> None:
    """Whatever happens between them, as long as the last one finds the program stopped."""
    random = Random(seed)
    source, target = MemoryStore(clock=clock), MemoryStore(clock=clock)
    accounts = [Account(key, end_ms=source.now_ms() + end) for key, end in (("a", 10**6), ("b", 10**5), ("c", 10**7))]
    known: list[Hold] = []
    for place in range(200):
        step = random.randrange(9)
        held = (
            random.choice(known)
            if known and random.random() < 0.7
            else hold(
                random.randrange(50),
                *random.sample(accounts, random.randrange(1, 4)),
                on_expire=random.choice(["release", "charge"]),
                leases=(random.choice(known).id,) if known and random.random() < 0.3 else (),
            )
        )
        known.append(held)
        if step < 3:
            source.reserve(held)
        elif step == 3:
            source.settle(held, Entry(held.id, random.randrange(50)))
        elif step == 4:
            source.release(held.id)
        elif step == 5:
            clock.advance(random.choice([0.5, 20, TTL_S]))
            source.put_terms(random.choice("xyz"), random.choice([None, "1", "2"]))
        elif step == 6 and random.random() < 0.2:
            source.prune(source.now_ms() - random.choice([0, 100_000]))
        elif step == 7:
            with suppress(ConfigError):  # nothing there yet
                copy_books(source, target, "a", while_running=True)
        elif step == 8:
            until_ms = random.choice([None, None, source.now_ms() + 50_000])
            made = Record(random.choice(KINDS), random.choice("abcd"), source.now_ms(), str(place), until_ms)
            source.note([made], replace=random.random() < 0.5)
    for open_ in source.holds():
        source.release(open_.id)
    source.put_terms("x", "1")
    copy_books(source, target, "a")

    assert read(target) == read(source)


def many(count: int) -> list[Entry]:
    """Entries of a past."""
    return [
        Entry(
            new_id(), 1000 + place, (f"users/{place % 50}", "team"), 10**12 + place, {"user": str(place % 50)}, "p", "m"
        )
        for place in range(count)
    ]


COPY = [sys.executable, "-m", "budgetguard.cli", "copy", "sqlite:///a.db", "sqlite:///b.db", "--json"]


def test_a_copy_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """With SIGKILL, again and again; what is there is not written a second time."""
    count = 20_000
    with closing(SQLiteStore(tmp_path / "a.db", durable=False)) as source:
        for place in range(0, count, 2000):
            source.load(entries=many(count)[place : place + 2000])
    with closing(SQLiteStore(tmp_path / "b.db")) as target:
        there = [0]
        for _ in range(3):
            process = subprocess.Popen(COPY, cwd=tmp_path, stdout=subprocess.PIPE)
            until = time.monotonic() + 60
            while _entries(target) <= there[-1] and process.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
            process.kill()
            process.communicate()
            there.append(_entries(target))
            assert target.check() == []
        assert 0 < there[1] <= there[2] <= there[3], "it was killed in the middle"
        assert there[1] < count, "it was killed in the middle"
        last = subprocess.run(COPY, cwd=tmp_path, capture_output=True, text=True)
        assert last.returncode == 0, last.stderr
        done = json.loads(last.stdout)
        with closing(SQLiteStore(tmp_path / "a.db")) as source:
            assert read(target) == read(source)
    assert (done["entries"], done["new_entries"]) == (count, count - there[3])


def _entries(store: Store) -> int:
    return sum(total.calls for total in store.totals(()))


def test_a_copy_takes_no_more_memory_the_longer_the_history(tmp_path: Path) -> None:
    """It has pages, not lists."""
    peaks = []
    for count in (3_000, 12_000):
        paths = [tmp_path / f"{count}-{place}.db" for place in range(2)]
        with closing(SQLiteStore(paths[0], durable=False)) as source, closing(SQLiteStore(paths[1])) as target:
            source.load(entries=many(count))
            tracemalloc.start()
            copy_books(source, target, "a")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    assert peaks[1] < 1.5 * peaks[0]
