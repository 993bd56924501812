"""The cube: whatever is asked of the history is what its entries add up to, to the nano-dollar."""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard.errors import ConfigError, StoreError
from budgetguard.ledger import Account, Entry, Hold, Query, Record, RecordQuery
from budgetguard.reports.cube import check as checks
from budgetguard.reports.cube.cube import Cube
from budgetguard.reports.cube.packed import FIXED, UsageKinds, unpacked
from budgetguard.reports.cube.reading import CHECK_S, HistoryReader
from budgetguard.reports.cube.sums import stacked, summed
from budgetguard.reports.reports import Reports
from budgetguard.reports.shown.money import ExploreQuery
from budgetguard.reports.views.explored import explore
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import StoppedClock
from tests.support.history import DAY_MS, HOUR_MS, all_entries, at, brute, entry, field_of, passing, write_calls

NOW = at("2027-04-02T12:30")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo")
FIELDS = ("user", "provider", "model", "team", "feature")
TIMES = ("hour", "day", "week", "month")

names = st.sampled_from(["", "ann", "bob", "Übung", "a/b#c"])
moments = st.integers(NOW - 35 * DAY_MS, NOW - 2 * HOUR_MS)
usages = st.dictionaries(
    st.sampled_from(["input_tokens", "output_tokens", "reasoning_tokens", "images"]), st.integers(0, 10**6), max_size=3
)


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Some calls of the last 35 days."""
    found = []
    for number in range(draw(st.integers(0, 40))):
        tags = {tag: value for tag in ("user", "team", "feature") if (value := draw(names))}
        flags = draw(st.frozensets(st.sampled_from(["estimated", "cut", "fallback", "capped", "unpriced"]), max_size=2))
        found.append(
            entry(
                f"h{number}",
                draw(moments),
                draw(st.integers(0, 10**12)),
                tags=tags,
                model=draw(st.sampled_from(["gpt-4o", "o3", "claude"])),
                provider=draw(st.sampled_from(["openai", "anthropic"])),
                usage=draw(usages),
                flags=flags,
            )
        )
    return found


def reports_on(store: MemoryStore | SQLiteStore) -> Reports:
    """With all of the history read."""
    reports = Reports(store)
    reports.refresh()
    return reports


def clock_at(at_ms: int) -> StoppedClock:
    """Stands still there."""
    return StoppedClock(at_ms / 1000)


@pytest.fixture
def clock() -> StoppedClock:
    """Noon, two days into a month."""
    return clock_at(NOW)


@pytest.fixture
def books(clock: StoppedClock, tmp_path: Path) -> Iterator[SQLiteStore]:
    """A file."""
    store = SQLiteStore(tmp_path / "budgets.db", clock=clock, durable=False)
    yield store
    store.close()


@settings(max_examples=30, deadline=None)
@given(histories(), st.data())
def test_any_question_is_what_the_entries_add_up_to(history: list[Entry], data: st.DataObject) -> None:
    """Whoever asks by two fields, in any zone, over any time and filter, gets the books and not about the books."""
    store = MemoryStore(clock=clock_at(NOW))
    store.load(entries=history)
    zone = data.draw(st.sampled_from(ZONES))
    by = data.draw(
        st.lists(st.sampled_from([*FIELDS, data.draw(st.sampled_from(TIMES))]), min_size=1, max_size=2, unique=True)
    )
    since, until = sorted([data.draw(moments) // HOUR_MS * HOUR_MS, data.draw(moments) // HOUR_MS * HOUR_MS])
    only = data.draw(st.dictionaries(st.sampled_from(FIELDS), st.lists(names, min_size=1).map(tuple), max_size=2))
    query = ExploreQuery(tuple(by), since, until, zone, only, top=1000)

    found = reports_on(store).explore(query)

    fitting = passing([each for each in history if since <= each.at_ms < until], only)
    wanted = brute(fitting, lambda each: tuple([field_of(each, name, zone) for name in by]))
    if by[0] in TIMES and len(by) == 1:
        assert {group.names[0]: group.figures for group in found.groups} == {
            key[0]: each for key, each in wanted.items()
        }
    else:
        assert {group.names: group.figures for group in found.groups} == wanted
    assert found.total.figures.cost == sum(each.cost for each in fitting)
    assert found.total.figures.calls == len(fitting)
    assert found.other is None


@settings(max_examples=15, deadline=None)
@given(histories())
def test_a_day_that_is_kept_is_read_as_it_was(history: list[Entry]) -> None:
    """What the next process reads from the records is what this one read from the entries."""
    store = MemoryStore(clock=clock_at(NOW))
    store.load(entries=history)
    today_ms = NOW // DAY_MS * DAY_MS
    query = ExploreQuery(("user", "model"), until_ms=today_ms, top=1000)
    first = reports_on(store).explore(query)
    days = {each.at_ms // DAY_MS for each in history if each.at_ms < today_ms}
    assert len(list(store.noted(RecordQuery("sum")))) == len(days)
    store.prune(NOW)

    assert reports_on(store).explore(query).groups == first.groups


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-(2**60), 2**60)] * len(FIXED)), max_size=20))
def test_sums_are_exact_below_zero_too(rows: list[tuple[int, ...]]) -> None:
    """A correction may take away more than an hour has: no field may borrow from the next."""
    kinds = UsageKinds()
    packed = kinds.repacked(dict(zip(FIXED, zip(*rows, strict=True), strict=True)), len(rows)) if rows else []
    values = unpacked(sum(packed))
    assert values + [0] * (len(FIXED) - len(values)) == [sum(column) for column in zip(*rows, strict=True)] or not rows


def test_top_and_other_are_all(books: SQLiteStore) -> None:
    """A chart of the dearest eight says what all others cost, too."""
    history = [entry(f"h{n}", NOW - n * HOUR_MS, 10**6 + n, tags={"user": f"u{n % 7}"}) for n in range(200)]
    books.load(entries=history)
    reports = reports_on(books)

    found = reports.explore(ExploreQuery(("user",), top=3))
    assert found.count == 7
    assert len(found.groups) == 3
    assert found.other is not None
    assert sum(group.figures.cost for group in found.groups) + found.other.figures.cost == found.total.figures.cost

    pictured = reports.explore(ExploreQuery(("day", "user"), top=3)).chart
    assert pictured is not None
    assert pictured.other
    assert sum(sum(bucket.costs) for bucket in pictured.buckets) == found.total.figures.cost


def test_a_call_that_lands_out_of_order_is_counted_once(books: SQLiteStore, clock: StoppedClock) -> None:
    """Two processes write with two clocks: an earlier time may land after a later one was read."""
    books.load(entries=[entry("later", NOW - 1_000)])
    reports = reports_on(books)
    books.load(entries=[entry("earlier", NOW - 30_000, 5)])
    clock.advance(1)
    reports.refresh()
    reports.refresh()

    assert reports.explore(ExploreQuery(("model",))).total.figures.calls == 2


def test_what_two_processes_write_is_read_as_it_happens(tmp_path: Path) -> None:
    """The page of a fleet adds up while the fleet works, and nothing is counted twice or left out at the end."""
    path = str(tmp_path / "budgets.db")
    store = SQLiteStore(path, durable=False)
    reports = reports_on(store)
    processes = [
        multiprocessing.get_context("spawn").Process(target=write_calls, args=(path, number)) for number in (1, 2)
    ]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        reports.refresh(budget_s=0.02)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    reports.refresh()

    found = reports.explore(ExploreQuery(("user",)))
    assert {group.names: (group.figures.calls, group.figures.cost) for group in found.groups} == {
        ("u1",): (60, 660),
        ("u2",): (60, 720),
    }


def test_a_view_shows_one_moment_while_calls_come_in() -> None:
    """Its groups add up to its total, though another thread reads what is new: both are asked under one lock."""
    store = MemoryStore(clock=clock_at(NOW))
    reports, over = reports_on(store), threading.Event()

    def go_on() -> None:
        for number in range(60):
            store.load(entries=[entry(f"h{number}-{each}", NOW - each, 1, model=f"m{each}") for each in range(5)])
            reports.refresh()
        over.set()

    reader = threading.Thread(target=go_on)
    reader.start()
    seen, apart = set[int](), list[tuple[int, int]]()
    while not over.is_set():
        found = explore(reports._cube, ExploreQuery(("model",)), reports._reader.read(), NOW)
        calls = sum(group.figures.calls for group in found.groups)
        seen.add(calls)
        if calls != found.total.figures.calls:
            apart.append((calls, found.total.figures.calls))
    reader.join()

    assert apart == []
    assert len(seen) > 1


def test_an_expired_charge_that_is_corrected_counts_once(books: SQLiteStore, clock: StoppedClock) -> None:
    """Its first entry is gone, and the true one stands at another time: a statement must not have both."""
    books.load(entries=[entry("older", NOW - 40 * DAY_MS)])
    hold = Hold("slow", (Account("all//all"),), 900, ttl_ms=60_000, on_expire="charge")
    books.reserve(hold)
    clock.advance(3600)
    books.balances(["all//all"])
    books.reserve(Hold("next", (Account("all//all"),), 1))  # reaps what expired
    books.release("next")
    reports = reports_on(books)
    assert reports.explore(ExploreQuery(("model",), since_ms=NOW)).total.figures.cost == 900

    clock.advance(2 * 86_400)
    reports.refresh()
    books.settle(hold, Entry("slow", 500))
    clock.advance(3 * 3600)

    statement = reports.statement("2027-04", ("model",))
    assert statement.total.cost == 500
    assert statement.agrees


def test_a_day_that_changed_is_found_in_the_background(books: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Books that are loaded put entries into days that are over: the page is right again without being asked."""
    books.load(entries=[entry("one", NOW - 3 * DAY_MS)])
    seconds = [0.0]
    reader = HistoryReader(Cube(books), lambda: seconds[0])
    reader.refresh()
    books.load(entries=[entry("two", NOW - 3 * DAY_MS + 5, 7)])
    reader.refresh(check=True)
    assert len(summed(reader.cube, ("model",), 0, NOW // HOUR_MS)) == 1

    seconds[0] = CHECK_S + 1
    reader.refresh(check=True)

    [packed] = summed(reader.cube, ("model",), 0, NOW // HOUR_MS).values()
    assert unpacked(packed)[:2] == [1_000_007, 2]
    assert len(list(books.noted(RecordQuery("sum")))) == 1
    again = HistoryReader(Cube(books))
    again.refresh()
    assert unpacked(next(iter(summed(again.cube, ("model",), 0, NOW // HOUR_MS).values())))[:2] == [1_000_007, 2]


def test_what_is_pruned_stays_in_the_sums(books: SQLiteStore, clock: StoppedClock) -> None:
    """Entries may go after a month; what a year has cost is still known, also to a process that starts afterwards."""
    history = [entry(f"h{n}", NOW - n * 6 * HOUR_MS, 10 + n, tags={"user": "ann"}) for n in range(1, 200)]
    books.load(entries=history)
    reports = reports_on(books)
    before = reports.explore(ExploreQuery(("day",))).groups
    assert books.prune(NOW - 20 * DAY_MS - 5 * HOUR_MS) > 0

    assert reports.statement("2027-03").total.cost == sum(
        each.cost for each in history if at("2027-03-01T00:00") <= each.at_ms < at("2027-04-01T00:00")
    )
    assert reports.statement("2027-03").store_cost is None
    assert reports.explore(ExploreQuery(("day",))).groups == before
    assert reports_on(books).explore(ExploreQuery(("day",))).groups == before


def test_a_correction_of_a_day_that_was_pruned_in_part_is_found(books: SQLiteStore) -> None:
    """Only the hours that are gone are believed unseen."""
    day = NOW // DAY_MS * DAY_MS - 10 * DAY_MS
    books.load(entries=[entry("gone", day + HOUR_MS, 1), entry("kept", day + 5 * HOUR_MS, 2)])
    reports = reports_on(books)
    books.prune(day + 2 * HOUR_MS)
    books.load(entries=[entry("more", day + 6 * HOUR_MS, 4)])

    assert reports.statement("2027-03", ("model",)).total.cost == 7


def test_the_history_is_read_piece_by_piece_and_says_how_far_it_is(books: SQLiteStore) -> None:
    """A page over a year of calls opens at once, with the newest days first, and says what is missing."""
    books.load(entries=[entry(f"h{n}", NOW - n * HOUR_MS) for n in range(24 * 60)])
    reader = HistoryReader(Cube(books), iter(range(10**6)).__next__)
    seen = [reader.read()]
    while not reader.read().complete:
        reader.refresh(budget_s=2)
        seen.append(reader.read())

    assert seen[0].text == "reading the history: 0 %"
    assert len(seen) > 10
    done = [each.done for each in seen]
    assert done == sorted(done)
    middle = seen[len(seen) // 2]
    assert middle.since_ms is not None
    assert NOW - 60 * DAY_MS < middle.since_ms < NOW
    assert seen[-1].text == ""


def test_days_that_are_not_used_are_let_go_of_and_found_again(books: SQLiteStore) -> None:
    """Years of history do not fit into memory: what is asked for comes back from its record."""
    history = [entry(f"h{n}", NOW - n * HOUR_MS, n, tags={"user": f"u{n % 5}"}) for n in range(24 * 40)]
    books.load(entries=history)
    reports = Reports(books, most_rows=100)
    reports.refresh()
    cube = reports._cube
    assert sum(day.rows for day in cube._days.values()) <= 150

    for _ in range(2):
        found = reports.explore(ExploreQuery(("user",)))
        assert {group.names: group.figures for group in found.groups} == brute(
            history, lambda each: (each.tags["user"],)
        )


def test_days_close_as_the_clock_goes_on(books: SQLiteStore, clock: StoppedClock) -> None:
    """A server that runs for months keeps each day soon after its midnight."""
    reports = reports_on(books)
    for number in range(4):
        books.load(entries=[entry(f"h{number}", books.now_ms(), 5)])
        clock.advance(86_400)
        reports.refresh()

    assert [record.id for record in books.noted(RecordQuery("sum"))] == [
        "2027-04-02",
        "2027-04-03",
        "2027-04-04",
        "2027-04-05",
    ]
    assert reports.explore(ExploreQuery(("model",))).total.figures.cost == 20


def test_a_store_that_cannot_be_written_to_is_read_all_the_same(
    books: SQLiteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that may only read sees every view; that each process adds up anew is said once."""
    books.load(entries=[entry("one", NOW - 3 * DAY_MS), entry("two", NOW - 5 * DAY_MS)])

    def refuse(records: list[Record], *, replace: bool = False) -> list[bool]:
        raise StoreError("this key may only read")

    monkeypatch.setattr(books, "note", refuse)
    assert reports_on(books).explore(ExploreQuery(("model",))).total.figures.calls == 2
    assert len([each for each in caplog.records if "cannot be kept" in each.message]) == 1


def test_a_record_of_another_version_is_made_again(books: SQLiteStore) -> None:
    """A newer program may write days in another way: they are read from the entries, not misread."""
    books.load(entries=[entry("one", NOW - 3 * DAY_MS, 3)])
    books.note([Record("sum", "2027-03-30", NOW, '{"version": 99}', 1 << 53)])
    assert reports_on(books).explore(ExploreQuery(("model",))).total.figures.cost == 3


def test_a_comparison_reads_again_only_what_differs(books: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement over a month that is right costs one sum, and no reading."""
    books.load(entries=[entry(f"h{n}", NOW - n * DAY_MS) for n in range(1, 30)])
    reports = reports_on(books)
    again: list[int] = []
    whole = checks._read_again
    monkeypatch.setattr(checks, "_read_again", lambda cube, day, *hours: (again.append(day), whole(cube, day, *hours)))
    reports.statement("2027-03")
    assert again == []

    books.load(entries=[entry("new", NOW - 9 * DAY_MS)])
    reports.statement("2027-03")
    assert again == [(NOW - 9 * DAY_MS) // DAY_MS]


@pytest.mark.parametrize(
    ("by", "said"),
    [(("user", "model", "team"), "one or two"), (("day", "month"), "at most one"), (("user", "user"), "one or two")],
)
def test_a_question_without_an_answer_says_so(books: SQLiteStore, by: tuple[str, ...], said: str) -> None:
    """Rather than an answer to another one."""
    with pytest.raises(ConfigError, match=said):
        reports_on(books).explore(ExploreQuery(by))


def test_many_groups_are_added_up_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether sums have a place each or are looked up is a matter of speed only."""
    chosen = random.Random(3)
    store = MemoryStore(clock=clock_at(NOW))
    history = [
        entry(
            f"h{n}",
            NOW - chosen.randrange(30 * DAY_MS),
            n,
            tags={"user": f"u{chosen.randrange(40)}", "team": f"t{n % 3}"},
        )
        for n in range(500)
    ]
    store.load(entries=history)
    cube = reports_on(store)._cube
    hours = (0, NOW // HOUR_MS + 1)
    dense = summed(cube, ("user", "team"), *hours)
    monkeypatch.setattr("budgetguard.reports.cube.sums.MOST_PLACES", 1)
    assert summed(cube, ("user", "team"), *hours) == dense
    assert len(all_entries(store)) == 500
    [row] = stacked(cube, "team", ["t1"], [hours], {"user": ("u1", "u2")})
    wanted = passing(history, {"user": ("u1", "u2")})
    assert [unpacked(packed)[0] if packed else 0 for packed in row] == [
        sum(each.cost for each in wanted if each.tags["team"] == "t1"),
        sum(each.cost for each in wanted if each.tags["team"] != "t1"),
    ]
    assert store.totals((), Query())[0].calls == 500
