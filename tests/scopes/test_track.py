"""`track(rows)`: what a loop spends and has left, where it ends, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import Any

import pytest
import trio

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, ConfigError, Money, budget, carry_scope, track
from budgetguard.guards.scope import current
from budgetguard.process.state import PROCESS
from budgetguard.scopes.progress.desk import DRAWING, READER
from budgetguard.testing import FakeProvider, StoppedClock

ASK = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


def ask(client: Any) -> None:
    client.chat.completions.create(**ASK)


class Log:
    """What went to stderr, which is no terminal, and to stdout."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def read(self) -> str:
        found = self._capsys.readouterr()
        self.out, self.err = self.out + found.out, self.err + found.err
        return self.err


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    """What is written where there is no terminal."""
    return Log(capsys)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No loop goes on being told of calls, drawn or read for. A busy machine is given time to read what is left."""
    monkeypatch.setattr("budgetguard.scopes.progress.loop.WAIT_S", 30)
    yield
    assert PROCESS.followers == ()
    for desk in (DRAWING, READER):
        assert desk._errands.drain(10)
        desk.rest(False)
        assert desk._open == ()


@pytest.fixture
def price(client) -> Money:
    """What one call costs; it holds about six times that."""
    with budget() as scope:
        ask(client)
    return scope.spent


# -- what it counts ----------------------------------------------------------------------------------------------------


def test_a_loop_counts_its_rows_and_its_money(client, price, log):
    """All rows, in order, and to the nano-dollar what they cost; without any patch, and nothing on stdout."""
    rows = track([3, 1, 2], "classify", limit=1)
    seen = []
    for row in rows:
        assert rows.done == len(seen)
        seen.append(row)
        ask(client)

    assert seen == [3, 1, 2]
    assert (rows.done, rows.total, rows.spent, rows.stopped, len(rows)) == (3, 3, 3 * price, False, 3)
    assert rows.left == Money.dollars(1) - rows.spent
    assert list(rows.rest) == []
    assert log.read().startswith("classify: 3 of 3 rows (100 %), $0.0000")
    assert log.read().endswith(": done\n")
    assert log.out == ""


def test_calls_around_a_loop_are_not_its_own(client, price, log):
    """Before, after, and in the loop beside it."""
    with budget() as around:
        ask(client)
        rows = track([1])
        for _ in rows:
            ask(client)
        ask(client)

    assert (rows.spent, around.spent) == (price, 3 * price)


def test_a_loop_is_a_scope_with_a_user_and_tags(client, log):
    """As if its body were in a `with budget(...)`."""
    with BudgetManager("shop", store="memory://") as manager:
        for _ in track([1], user="ann", tags={"step": "two"}):
            ask(client)
        [entry] = manager.store.entries()

    assert dict(entry.tags) == {"user": "ann", "step": "two"}
    manager.close()


def test_loops_inside_of_loops_count_for_both(client, price, log):
    """The inner one's money is the outer one's, too."""
    inners = []
    outer = track([1, 2], "outer")
    for _ in outer:
        inner = track([1, 2, 3], "inner")
        for _ in inner:
            ask(client)
        inners.append(inner.spent)
        ask(client)

    assert inners == [3 * price, 3 * price]
    assert outer.spent == 8 * price


def test_what_a_pool_spends_counts_though_it_was_handed_its_work_before(client, price, log):
    """`track(pool.map(...))` is how many loops look; the scope around it tells whose calls they are."""
    budgetguard.patch(threads=True)
    with budget(limit=1) as around, ThreadPoolExecutor(4) as pool:
        gate = threading.Event()
        rows = track(pool.map(lambda _: (gate.wait(20), ask(client)), range(12)), total=12)
        for _ in rows.__iter__() if gate.set() else rows:
            pass

    assert (rows.done, rows.spent) == (12, 12 * price)
    assert rows.spent == around.spent


def test_without_any_scope_every_call_of_the_process_counts(client, price, log):
    """A script that patches once, and hands its work to threads, has no scope at all."""
    budgetguard.max_budget = 1
    gate = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(lambda: (gate.wait(20), ask(client))) for _ in range(8)]
        rows = track(as_completed(futures), total=8)
        for _ in rows.__iter__() if gate.set() else rows:
            pass

    assert rows.spent == 8 * price
    assert rows.left == Money.dollars(1) - 8 * price


def test_loops_side_by_side_have_their_own_money(shared_provider, log):
    """Tasks of one event loop, in one scope: each loop's calls are its own."""

    async def one(client: Any, calls: int) -> Money:
        rows = track(range(calls))
        for _ in rows:
            await client.chat.completions.create(**ASK)
        return rows.spent

    async def both() -> list[Money]:
        async with shared_provider.async_client(max_retries=0) as client, budget():
            return await asyncio.gather(one(client, 2), one(client, 5))

    two, five = asyncio.run(both())
    assert two.nano * 5 == five.nano * 2 > 0


def test_what_child_processes_spend_counts(shared_provider, price, log):
    """They count on the limit that they were started under; so does the loop."""
    import multiprocessing

    budgetguard.patch()
    with budget(limit=1), multiprocessing.get_context("spawn").Pool(1) as pool:
        rows = track(pool.imap(asked_elsewhere, [shared_provider.base_url] * 3), total=3)
        assert [each for each in rows] == [3, 3, 3]  # noqa: C416  # the loop is what is tested

    assert rows.spent == 9 * price


def asked_elsewhere(url: str) -> int:
    import openai

    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for _ in range(3):
            ask(client)
    return 3


# -- where it ends -----------------------------------------------------------------------------------------------------


def test_a_loop_stops_before_its_budget_is_over(client, price, log):
    """With what is done, and without a refusal; what was not done can be done another day."""
    limit = price * 40
    rows = track(range(100), limit=limit, stop_at=0.51)
    seen = []
    for row in rows:
        ask(client)
        seen.append(row)

    assert rows.stopped
    assert rows.done == len(seen) == 20  # 20.4 would be half of it and a bit
    assert rows.spent == 20 * price
    assert log.read().endswith(": stopped at 51% of the budget, 80 rows are left\n")
    assert list(rows.rest) == list(range(20, 100))


def test_a_loop_that_stopped_goes_on_where_it_was(client, price, log):
    """Iterated again, once there is more: no row twice, none left out."""
    with budget(limit=price * 40):
        rows = track(iter("abcdefgh"), stop_at=0.05)
        first = list(asked(rows, client))
    assert (first, rows.stopped) == (["a", "b"], True)

    with budget(limit=1):
        assert list(asked(rows, client)) == list("cdefgh")
    assert (rows.stopped, rows.done, rows.spent) == (False, 8, 8 * price)


def asked(rows: Any, client: Any) -> Iterator[Any]:
    for row in rows:
        ask(client)
        yield row


def test_a_loop_stops_at_a_budget_of_a_store(client, price, log, tmp_path):
    """It is read in a thread before the first row, with what others have spent of it."""
    manager = BudgetManager("shop", store=f"sqlite:///{tmp_path}/b.db", budgets=[Budget("team", price * 40)])
    with manager, budget():
        for _ in range(9):
            ask(client)
    with manager:
        rows = track(range(100), stop_at=0.5)
        for _ in rows:
            ask(client)
        assert rows.left == 20 * price

    assert (rows.stopped, rows.done) == (True, 11)
    manager.close()


def test_what_was_settled_from_a_lease_is_spent_before_the_store_knows(client, price, log, tmp_path):
    """It is sent a few times a second: a loop that reads in between must not take it for what is left."""
    rule = Budget("team", price * 40, "daily", lease=True)
    manager = BudgetManager("shop", store=f"sqlite:///{tmp_path}/b.db", budgets=[rule])
    with manager:
        rows = track(range(20), stop_at=0.95)
        for row in rows:
            ask(client)
            assert rows.left.nano == (39 - row) * price.nano

    manager.close()


def test_a_budget_that_is_spent_already_lets_no_row_begin(client, price, log):
    """A job that is started again a minute later must not pay for one more row."""
    with budget(limit=price * 10):
        ask(client)
        rows = track(["a", "b"], stop_at=0.1)
        assert [*rows] == []

    assert (rows.stopped, rows.done, list(rows.rest)) == (True, 0, ["a", "b"])


def test_a_loop_whose_rows_are_all_done_did_not_stop(client, price, log):
    """However much of the budget they took."""
    rows = track(["a"], limit=price * 10, stop_at=0.01)
    for _ in rows:
        ask(client)

    assert (rows.stopped, rows.done) == (False, 1)


def test_a_refusal_leaves_the_loop_as_itself(client, price, log):
    """It says so on its way, and the row that was refused is the first that is not done."""
    rows = track(range(10), limit=price * 8)
    with pytest.raises(BudgetExceededError) as refused:
        list(asked(rows, client))

    assert rows.refusal is refused.value
    assert list(rows.rest) == list(range(rows.done, 10))
    assert f": refused at row {rows.done + 1}: scope: call projected at" in log.read()
    assert current.get() is None


# -- how it is left ----------------------------------------------------------------------------------------------------


def left_by_break(rows: Any) -> None:
    for row in rows:
        if row == 2:
            break


def left_by_return(rows: Any) -> None:
    for row in rows:
        if row == 2:
            return


def left_by_an_error(rows: Any) -> None:
    with suppress(ZeroDivisionError):
        for row in rows:
            1 / (row - 2)


def left_by_an_interrupt(rows: Any) -> None:
    with suppress(KeyboardInterrupt):
        for row in rows:
            if row == 2:
                raise KeyboardInterrupt


@pytest.mark.parametrize("leave", [left_by_break, left_by_return, left_by_an_error, left_by_an_interrupt])
def test_a_loop_that_is_left_has_ended(leave, log):
    """At once, though somebody has it yet: its scope is left, its line is written, and its rows can be gone on with."""
    rows = track(iter(range(5)), limit=1)
    leave(rows)

    assert current.get() is None
    assert PROCESS.followers == ()
    assert log.read().endswith(": left at row 3\n")
    assert (rows.done, list(rows.rest)) == (2, [2, 3, 4])


def test_a_generator_ends_with_its_loop(log):
    """One that nobody else has is closed as in a plain loop: its files, its connections."""
    closed = []

    def generated() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.append(True)

    for _ in track(generated()):
        break

    assert closed == [True]


def test_what_rows_raise_is_raised(log):
    """A file that ends in the middle is no end of the loop."""

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    rows = track(broken())
    with pytest.raises(OSError, match="gone"):
        list(rows)
    assert current.get() is None


def test_one_loop_is_iterated_once_at_a_time(log):
    """Two would count each other's rows."""
    rows = track([1, 2])
    for _ in rows:
        with pytest.raises(ConfigError, match="iterated already"):
            next(iter(rows))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"rows": 5}, "something to iterate"),
        ({"total": -1}, "total=-1"),
        ({"total": "9"}, "total='9'"),
        ({"limit": "much"}, "limit"),
        ({"stop_at": 95}, "stop_at"),
        ({"progress": "rich"}, "progress"),
        ({"every": 0}, "every=0"),
        ({"usr": "ann"}, "user"),
    ],
)
def test_what_cannot_be_is_said_at_once(arguments, named):
    """Not at the first row, an hour later."""
    with pytest.raises((ConfigError, TypeError), match=named):
        track(**{"rows": [1], **arguments})


# -- async -------------------------------------------------------------------------------------------------------------


async def counted(most: int) -> AsyncIterator[int]:
    for number in range(most):
        await asyncio.sleep(0)
        yield number


def test_an_async_loop_counts_stops_and_goes_on(shared_provider, price, log):
    """The same, where rows are awaited."""

    async def main() -> tuple[Any, list[int]]:
        async with shared_provider.async_client(max_retries=0) as client:
            rows = track(counted(20), total=20, limit=price * 40, stop_at=0.2)
            async for _ in rows:
                await client.chat.completions.create(**ASK)
            return rows, [row async for row in rows.rest]

    rows, rest = asyncio.run(main())
    assert rows.stopped
    assert (rows.done, rows.spent) == (8, 8 * price)
    assert rest == list(range(8, 20))
    assert "rows are left" in log.read()


def test_an_async_loop_that_is_left_has_ended(log):
    """By `break`, by an error, by being cancelled: in its own task, and at once."""

    async def main() -> None:
        rows = track(counted(5), limit=1)
        async for row in rows:
            if row == 2:
                break
        assert (current.get(), rows.done) == (None, 2)
        assert [row async for row in rows] == [2, 3, 4]
        assert (current.get(), rows.done) == (None, 5)

        failing = track(counted(5), limit=1)
        with suppress(ZeroDivisionError):
            async for row in failing:
                1 / (row - 1)
        assert (current.get(), failing.done) == (None, 1)

        async def endless() -> AsyncIterator[int]:
            yield 1
            await asyncio.sleep(1000)

        waiting, begun = track(endless(), limit=1), asyncio.Event()

        async def run() -> None:
            try:
                async for _ in waiting:
                    begun.set()
            finally:
                assert current.get() is None

        task = asyncio.ensure_future(run())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert PROCESS.followers == ()

    asyncio.run(main())


def test_an_async_loop_needs_no_asyncio(log):
    """trio's programs have loops, too."""

    async def rows_of_trio() -> AsyncIterator[int]:
        for number in range(3):
            await trio.sleep(0)
            yield number

    async def main() -> list[int]:
        return [row async for row in track(rows_of_trio(), limit=1, stop_at=0.9)]

    assert trio.run(main) == [0, 1, 2]


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_a_row_costs_next_to_nothing(log):
    """No function of ours is entered for a row but the generator that hands it out; no thread is there for it."""
    entered: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "budgetguard" in frame.f_code.co_filename:
            entered.append(frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name)

    loop = iter(track(range(100), progress="off"))
    next(loop)
    sys.setprofile(note)
    for _ in range(50):
        next(loop)
    sys.setprofile(None)
    loop.close()  # type: ignore[attr-defined]  # it is a generator

    assert len(entered) <= 100
    assert {name.rpartition(".")[2] for name in entered} <= {"__iter__", "stops"}
    assert log.read() == ""


def test_a_store_that_does_not_answer_stops_no_loop(client, log, tmp_path, caplog):
    """What is left is not known then, which is said once; the rows go on."""
    manager = BudgetManager("shop", store=f"sqlite:///{tmp_path}/b.db", budgets=[Budget("team", 5)])
    manager.store.careless = True  # type: ignore[attr-defined]  # it is damaged below
    with manager, budget():
        ask(client)
        (tmp_path / "b.db").write_bytes(b"this is no database" * 1000)
        rows = track(range(3), stop_at=0.9)
        assert list(rows) == [0, 1, 2]

    assert [record for record in caplog.records if "progress does not know what is left" in record.message]
    manager.close()


def test_a_face_that_fails_is_given_up_and_the_loop_is_not(monkeypatch, caplog):
    """A log that is full, a terminal that was closed: the work goes on."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stderr", Gone())
    rows = track(range(3))
    done = list(rows)
    monkeypatch.undo()

    assert done == [0, 1, 2]
    [said] = [record.message for record in caplog.records if "progress is shown no longer" in record.message]
    assert "BrokenPipeError" in said


@pytest.mark.parametrize("kind", ["auto", "lines"])
def test_a_loop_runs_where_stderr_was_closed(monkeypatch, kind):
    """As daemons do: there is nobody to show it to."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)

    assert list(track(range(3), progress=kind)) == [0, 1, 2]


def test_a_threads_own_scope_is_found_where_it_is_carried(client, price, log):
    """A function that takes the loop's scope along counts for the loop, in whatever thread."""
    rows = track([1])
    for _ in rows:
        thread = threading.Thread(target=carry_scope(lambda: ask(client)))
        thread.start()
        thread.join()

    assert rows.spent == price


def test_a_budget_of_one_user_is_not_that_of_a_loop_over_many(client, price, log):
    """What is left to the user of the first row says nothing of the rows behind it."""
    rules = [Budget("free", price * 40, per=("user",)), Budget("team", price * 100, match={"team": "search"})]
    with BudgetManager("shop", store="memory://", budgets=rules) as manager:
        rows = track(["ann", "bob"])
        for user in rows:
            with budget(user=user, tags={"team": "search"}):
                ask(client)
            assert rows.left == (39 if user == "ann" else 98) * price
    manager.close()


def test_periods_and_observed_budgets_stop_nothing(client, price, log, clock: StoppedClock, provider: FakeProvider):
    """A budget that never refuses is no end of a loop."""
    rules = [Budget("seen", "0.000000001", enforce="observe"), Budget("calls", 1, unit="requests", enforce="soft")]
    with BudgetManager("shop", store="memory://", budgets=rules, clock=clock) as manager:
        rows = track(range(1), stop_at=0.5)
        for _ in rows:
            ask(client)

    assert (rows.stopped, rows.done, rows.left) == (False, 1, None)
    manager.close()
