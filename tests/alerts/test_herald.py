"""The herald: what happens beside a call never delays it, whatever becomes of sinks, stores and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget
from budgetguard.alerts import Alerts
from budgetguard.alerts.absence import LONG_S, LOOK_S
from budgetguard.alerts.herald import Herald
from budgetguard.alerts.refusals import ALIKE_S
from budgetguard.budgets.news import Mark, RefusedCall
from budgetguard.concurrency.errands import Errands
from budgetguard.errors import BudgetExceededError, StoreError
from budgetguard.guards.settings import Settings
from budgetguard.ledger import Account, Balance, Refusal
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing import StoppedClock
from tests.support import ROOT
from tests.support.alerting import COST, Heard, ask, client_of, limit_of, managed, noted, until
from tests.support.children import ends, fork

FREE = Budget("free", limit_of(10), "daily", per=("user",), warn_at=0.5)
DAILY = Account("free/ann/2027-01-01", limit=1_000, start_ms=0, end_ms=1 << 50)


def refused(account: Account = DAILY, *, busy: bool = False, model: str = "m", **tags: str) -> RefusedCall:
    """A call of ann's that was refused."""
    refusal = Refusal(account, Balance(account.key, 900, 50), busy)
    return RefusedCall(refusal, 200, {"user": "ann", **tags}, model, "openai", 1_798_804_800_000)


class Moment:
    """A clock that does not go."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_sink_that_never_answers_delays_no_call_and_no_other_sink(url: str, clock: StoppedClock) -> None:
    """It is somebody else's server, and the call is the program's."""
    go, heard = threading.Event(), Heard()
    manager = managed(url, FREE, told=[lambda _: go.wait(60), heard], clock=clock)
    client = client_of(manager)
    ask(client, calls=5)
    until(lambda: heard.parts == [0.5])
    ask(client, "bob", calls=5)
    until(lambda: heard.parts == [0.5, 0.5])
    assert not go.is_set()
    go.set()
    manager.close()


def test_calls_do_not_wait_for_the_herald() -> None:
    """Ten thousand refusals are put in no time while its store does not answer; those beyond are counted and said."""
    go, begun = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def note(self, records: Any, *, replace: bool = False) -> list[bool]:
            begun.set()
            go.wait(60)
            return super().note(records, replace=replace)

    herald = Herald(Slow(), Alerts())
    herald.refused(refused())
    assert begun.wait(20)
    began_s = time.perf_counter()
    for _ in range(10_500):
        herald.refused(refused())
    assert time.perf_counter() - began_s < 5
    assert herald._lost == 500
    go.set()
    herald.close()


def test_what_is_lost_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing passes in silence."""
    herald = Herald(MemoryStore(), Alerts())
    herald._lost = 7
    herald.refused(refused())
    herald.close()
    assert "7 refusals or alerts came faster than they could be written down" in caplog.text


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_refusals_that_are_alike_are_one_record() -> None:
    """A client that tries again and again is one line, with a count."""
    store, moment = MemoryStore(), Moment()
    herald = Herald(store, Alerts(), time_s=moment)
    for model in ("m", "m", "other", "m"):
        herald.refused(refused(model=model))
    herald.close()
    moment.now_s = ALIKE_S + 1
    herald.refused(refused())
    herald.close()
    assert [(each["model"], each["count"]) for each in noted(store, "refusal")] == [("m", 3), ("other", 1), ("m", 1)]


def test_refusals_of_too_many_kinds_at_once_are_counted_and_said(monkeypatch, caplog) -> None:
    """What comes again is counted on, however many others there are; what is left out is not left out in silence."""
    monkeypatch.setattr("budgetguard.alerts.refusals._MOST_WAITING", 2)
    store = MemoryStore()
    herald = Herald(store, Alerts(), time_s=Moment())
    for model in ("m", "n", "too many", "m", "n"):
        herald.refused(refused(model=model))
    herald.close()
    assert {each["model"]: each["count"] for each in noted(store, "refusal")} == {"m": 2, "n": 2}
    assert "1 refusals or alerts" in caplog.text


def test_a_refusal_says_who_and_how_much_room_there_was(url: str, clock: StoppedClock) -> None:
    """It is what somebody asks who was refused."""
    manager = managed(url, FREE, clock=clock)
    client = client_of(manager)
    with pytest.raises(BudgetExceededError):
        ask(client, calls=11, feature="search")
    manager.close()
    [said] = noted(manager.store, "refusal")
    assert said == {
        "budget": "free",
        "subject": "ann",
        "account": "free/ann/2027-01-01",
        "unit": "dollars",
        "user": "ann",
        "tags": {"user": "ann", "feature": "search"},
        "model": "gpt-4o-mini",
        "provider": "openai",
        "busy": False,
        "paused": False,
        "spent": 10 * COST,
        "held": 0,
        "limit": 10 * COST,
        "wanted": said["wanted"],
        "room": 0,
        "count": 1,
        "last_ms": int(clock() * 1000),
    }
    assert 0 < said["wanted"] < COST


def test_a_refusal_by_a_scope_is_written_down_too(url: str, clock: StoppedClock) -> None:
    """Its limit is in no store, but that a call was not made is."""
    manager = managed(url, clock=clock)
    client = client_of(manager)
    with manager, budgetguard.budget(limit=limit_of(1)), pytest.raises(BudgetExceededError):
        ask(client, calls=2)
    manager.close()
    assert [(each["budget"], each["user"]) for each in noted(manager.store, "refusal")] == [("scope", "ann")]


def test_a_refusal_of_a_paused_budget_is_written_down_and_not_told(url: str, clock: StoppedClock) -> None:
    """Whoever paused it knows; who was turned away by it is another question."""
    heard = Heard()
    manager = managed(url, FREE, clock=clock, told=[heard])
    client = client_of(manager)
    ask(client)
    manager.pause("free/ann")
    with pytest.raises(BudgetExceededError):
        ask(client)
    manager.close()
    [said] = noted(manager.store, "refusal")
    assert (said["paused"], said["busy"], said["model"], said["spent"]) == (True, False, "gpt-4o-mini", COST)
    assert heard == []


def test_a_raised_limit_moves_the_marks(url: str, clock: StoppedClock) -> None:
    """Half of what somebody may spend now is not half of what the rule says."""
    heard = Heard()
    manager = managed(url, FREE, clock=clock, told=[heard])
    client = client_of(manager)
    ask(client)
    manager.raise_budget("free/ann", limit_of(20))
    ask(client, calls=8)
    manager.close()
    assert heard == []
    ask(client)
    manager.close()
    assert [(each.part, each.limit) for each in heard] == [(0.5, 20 * COST)]


def test_refusals_that_begin_are_told_once_a_period(clock: StoppedClock) -> None:
    """The first is news, and the thousandth is not; one that others' holds are in the way of is none."""
    store, heard = MemoryStore(), Heard()
    herald = Herald(store, Alerts([heard]), clock=clock)
    herald.refused(refused(busy=True))
    herald.close()
    assert heard == []
    for _ in range(3):
        herald.refused(refused())
        herald.close()
    other = Herald(store, Alerts([heard]), clock=clock)
    other.refused(refused())
    other.close()
    assert [each.what for each in heard] == ["refusals"]
    assert "free/ann (2027-01-01): calls are refused" in heard[0].text


# -- what else is told -------------------------------------------------------------------------------------------------


def test_a_model_without_a_price_is_told_of_once_a_day(clock: StoppedClock) -> None:
    """What it costs is on no books."""
    heard = Heard()
    store = MemoryStore()
    for _ in range(2):
        herald = Herald(store, Alerts([heard]), clock=clock)
        herald.unpriced("new-model", assumed=False)
        herald.unpriced("new-model", assumed=False)
        herald.close()
    clock.advance(86_400)
    herald.unpriced("new-model", assumed=False)
    herald.close()
    assert [each.id for each in heard] == ["unpriced/new-model/2027-01-01", "unpriced/new-model/2027-01-02"]


def test_a_call_of_a_model_without_a_price_tells(url: str, clock: StoppedClock) -> None:
    """The whole way, from the call."""
    heard = Heard()
    settings = Settings(unpriced="count")
    manager = managed(url, Budget("all", 1), told=[heard], clock=clock, settings=settings)
    client = client_of(manager)
    with budgetguard.budget(user="ann"):
        client.chat.completions.create(model="nobody-knows", messages=[{"role": "user", "content": "hi"}])
    manager.close()
    assert [each.what for each in heard] == ["unpriced"]


class Away(MemoryStore):
    """A store that may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = False

    def note(self, records: Any, *, replace: bool = False) -> list[bool]:
        if self.gone:
            raise StoreError("nobody is there")
        return super().note(records, replace=replace)

    def balances(self, keys: Any) -> list[Balance]:
        if self.gone:
            raise StoreError("nobody is there")
        return super().balances(keys)


def looked(herald: Herald, moment: Moment, seconds: float) -> None:
    """Let time pass, in which the herald looks after its store."""
    moment.now_s += seconds
    herald.rest(final=False)


def test_a_store_that_is_away_and_back_is_told_of(clock: StoppedClock) -> None:
    """While it is away calls are refused, or are on nobody's books yet. A restart of it is no news."""
    store, heard, moment = Away(), Heard(), Moment()
    herald = Herald(store, Alerts([heard]), clock=clock, time_s=moment)
    store.gone = True
    herald.work(lambda: herald._absence.begin("nobody is there"))
    looked(herald, moment, LOOK_S)
    store.gone = False
    looked(herald, moment, LOOK_S)
    herald.threads[0].drain(20)
    assert heard == [], "it was away for a moment"
    store.gone = True
    herald.work(lambda: herald._absence.begin("nobody is there"))
    for _ in range(3):
        looked(herald, moment, LONG_S)
    store.gone = False
    looked(herald, moment, LOOK_S)
    herald.threads[0].drain(20)
    assert [each.text for each in heard] == [
        "the store of budgets cannot be reached: nobody is there",
        "the store of budgets is back after 32 s",
    ]


def test_what_could_not_be_claimed_is_told_when_the_store_is_back(clock: StoppedClock) -> None:
    """A mark is crossed once, and may be while nobody can be asked who tells of it."""
    store, heard, moment = Away(), Heard(), Moment()
    herald = Herald(store, Alerts([heard], off=["away"]), clock=clock, time_s=moment)
    store.gone = True
    herald.work(lambda: herald._crossed(Mark(DAILY, (0.5,), herald), (0.5,), Balance(DAILY.key, 600)))
    looked(herald, moment, 60)
    store.gone = False
    looked(herald, moment, 60)
    herald.threads[0].drain(20)
    assert heard.parts == [0.5]


@pytest.mark.parametrize("what", ["threshold", "refusals", "unpriced"])
def test_each_can_be_turned_off(what: str, clock: StoppedClock) -> None:
    """What somebody does not want to hear, they would filter anyhow."""
    heard = Heard()
    herald = Herald(MemoryStore(), Alerts([heard], off=[what]), clock=clock)
    herald.crossed(Mark(DAILY, (0.5,), herald), (0.5,), Balance(DAILY.key, 600))
    herald.refused(refused())
    herald.unpriced("m", assumed=True)
    herald.close()
    assert {each.what for each in heard} == {"threshold", "refusals", "unpriced"} - {what}


def test_without_sinks_only_thresholds_are_logged(caplog: pytest.LogCaptureFixture, clock: StoppedClock) -> None:
    """All else raises or is in the log as it is; a budget says `warn_at` to be told."""
    herald = Herald(MemoryStore(), Alerts(), clock=clock)
    herald.crossed(Mark(DAILY, (0.5,), herald), (0.5,), Balance(DAILY.key, 600))
    herald.refused(refused())
    herald.unpriced("m", assumed=True)
    herald.close()
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == ["free/ann (2027-01-01)"]


# -- processes ---------------------------------------------------------------------------------------------------------


def test_a_forked_child_tells_what_is_its_own(path, clock: StoppedClock) -> None:
    """It has none of its parent's threads, and none of what these had to do."""
    told, manager = Heard(), managed(f"sqlite:///{path}", FREE, clock=clock, told=[print])
    ask(client_of(manager), calls=5)
    manager.close()

    def work() -> None:
        own = managed(f"sqlite:///{path}", FREE, clock=clock, told=[told])
        ask(client_of(own), "bob", calls=5)
        ask(client_of(manager), "cid", calls=5)
        own.close()
        manager.close()
        assert told.parts == [0.5]
        assert {each["subject"] for each in noted(own.store)} == {"ann", "bob", "cid"}

    assert ends(fork(work)) == [0]


def test_a_child_does_not_do_what_its_parent_has_to_do() -> None:
    """It would be told twice."""
    go, done = threading.Event(), list[int]()

    class Slow:
        def work(self, thing: int) -> None:
            go.wait(60)
            done.append(thing)

        def rest(self, final: bool) -> None:
            """Nothing."""

        def renew(self) -> None:
            """Nothing."""

    errands = Errands("slow", Slow())
    for number in range(3):
        errands.put(number)

    def work() -> None:
        go.set()
        errands.put(7)
        assert errands.drain(20)
        assert done == [7]

    assert ends(fork(work)) == [0]
    go.set()
    assert errands.drain(20)
    assert done == [0, 1, 2]


def test_errands_end_when_nothing_is_left_and_begin_again() -> None:
    """A thread that waits for nothing is in the way of whoever forks."""

    class Named:
        def __init__(self) -> None:
            self.threads = set[int]()

        def work(self, thing: object) -> None:
            self.threads.add(threading.get_ident())

        def rest(self, final: bool) -> None:
            """Nothing."""

        def renew(self) -> None:
            """Nothing."""

    named = Named()
    errands = Errands("named", named)
    for turn in range(2):
        errands.put(turn)
        assert errands.drain(20)
        until(lambda: errands._unstarted, "the end of the thread")


def test_a_function_that_ends_its_thread_ends_no_others() -> None:
    """`sys.exit` in somebody's `on_warning` ends a thread: what comes after it is told all the same."""
    done = list[int]()

    class Ending:
        def work(self, thing: int) -> None:
            done.append(thing)
            sys.exit(thing)

        def rest(self, final: bool) -> None:
            """Nothing."""

        def renew(self) -> None:
            """Nothing."""

    errands = Errands("ending", Ending())
    for number in range(2):
        errands.put(number)
        assert errands.drain(5)
    assert done == [0, 1]


def test_what_the_last_call_of_a_program_crosses_is_told(path) -> None:
    """A script ends as soon as it has its answer."""
    program = (
        "from tests.support.alerting import *\n"
        "free = Budget('free', limit_of(2), warn_at=0.5)\n"
        "manager = managed(sys.argv[1], free, told=[lambda each: print(each.part)])\n"
        "ask(client_of(manager))\n"
    )
    command = [sys.executable, "-c", "import sys\n" + program, f"sqlite:///{path}"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=120)
    assert shown.stdout == "0.5\n"
