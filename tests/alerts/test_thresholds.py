"""Thresholds: it is told when a part of a limit is reached, once a period for each subject, over all processes."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

import budgetguard
from budgetguard import Budget
from budgetguard.alerts import Webhook
from budgetguard.alerts.claims import Claims
from budgetguard.budgets.steering.declared import declare
from budgetguard.errors import BudgetExceededError, ConfigError
from budgetguard.guards.settings import Settings
from budgetguard.ledger import Entry, Hold
from budgetguard.process.journal_files import Kept
from budgetguard.testing import StoppedClock
from tests.support.alerting import COST, Heard, Receiver, ask, client_of, limit_of, managed, noted, receiver, until
from tests.support.children import ends, fork
from tests.support.hosting import Hosted
from tests.support.plain_calls import entered_while_kept

FREE = Budget("free", limit_of(10), "daily", per=("user",), warn_at=(0.5, 0.8, 1.0))


def test_each_part_is_told_once_for_each_subject(url: str, clock: StoppedClock) -> None:
    """Else nobody knows that a budget is nearly over, or everybody hears of nothing else."""
    heard = Heard()
    manager = managed(url, FREE, told=[heard], clock=clock)
    client = client_of(manager)
    ask(client, calls=4)
    manager.close()
    assert heard == []
    ask(client, calls=5)
    ask(client, "bob", calls=6)
    until(lambda: len(heard) == 3)
    manager.close()
    assert [(each.subject, each.part, each.settled) for each in heard] == [
        ("ann", 0.5, 5 * COST),
        ("ann", 0.8, 8 * COST),
        ("bob", 0.5, 5 * COST),
    ]
    assert heard[0].text == "free/ann (2027-01-01): $0.0000285 of $0.000057 spent, which is 0.5 of the limit or more"
    assert [each["part"] for each in noted(manager.store)] == [0.5, 0.8, 0.5]
    assert noted(manager.store)[0]["sinks"] == ["Heard"]


def test_a_users_own_budget_is_told_of_too(url: str, clock: StoppedClock) -> None:
    """Whoever gave the user a budget need not write a rule for it; and what they said of it is kept in the store."""
    heard = Heard()
    manager = managed(url, told=[heard], clock=clock)
    manager.set_budget("ann", limit_of(10), "daily", warn_at=(0.5,))
    ask(client_of(manager), calls=6)
    until(lambda: len(heard) == 1)
    manager.close()
    assert (heard[0].budget, heard[0].subject, heard[0].part) == ("users", "ann", 0.5)
    assert manager.users.get("ann").rule.warn_at == (0.5,)


def test_a_new_period_is_told_anew(url: str, clock: StoppedClock) -> None:
    """What was told yesterday says nothing of today."""
    heard = Heard()
    manager = managed(url, FREE, told=[heard], clock=clock)
    client = client_of(manager)
    for day in range(2):
        ask(client, calls=6)
        until(lambda day=day: len(heard) == day + 1)
        clock.advance(86_400)
    manager.close()
    assert [each.account for each in heard] == ["free/ann/2027-01-01", "free/ann/2027-01-02"]


def test_a_restarted_process_does_not_tell_again(path, clock: StoppedClock) -> None:
    """A program that is deployed ten times a day would tell ten times."""
    told = Heard()
    for calls in (5, 1, 1):
        manager = managed(f"sqlite:///{path}", FREE, told=[told], clock=clock)
        ask(client_of(manager), calls=calls)
        manager.close()
    assert told.parts == [0.5]


def test_what_was_passed_before_it_was_configured_is_told_at_the_next_settlement(path, clock: StoppedClock) -> None:
    """Whoever adds warn_at to a budget that is nearly over is to hear of it today."""
    plain, heard = Budget("free", limit_of(10), "daily", per=("user",)), Heard()
    manager = managed(f"sqlite:///{path}", plain, told=[heard], clock=clock)
    ask(client_of(manager), calls=6)
    manager.close()
    assert heard == []
    manager = managed(f"sqlite:///{path}", FREE, told=[heard], clock=clock)
    ask(client_of(manager))
    manager.close()
    assert heard.parts == [0.5]


def test_the_limit_is_told_of_when_a_call_is_refused_for_it(url: str, clock: StoppedClock) -> None:
    """A hard limit is hardly ever reached to the last nano-dollar: the refusal is when it is over."""
    heard = Heard()
    uneven = Budget("free", limit_of(10.5), "daily", per=("user",), warn_at=(0.5, 0.8, 1.0))
    manager = managed(url, uneven, told=[heard], clock=clock)
    client = client_of(manager)
    with pytest.raises(BudgetExceededError):
        ask(client, calls=12)
    with pytest.raises(BudgetExceededError):
        ask(client)
    manager.close()
    assert heard.parts == [0.5, 0.8, 1.0]
    assert "a call of gpt-4o-mini that needs $0.0000048 was refused" in heard[-1].text
    assert [each.what for each in heard] == ["threshold"] * 3, "its refusals are no second alert"


def test_a_soft_limit_is_told_of_when_it_is_reached(url: str, clock: StoppedClock) -> None:
    """And nothing is told again when calls are refused from then on."""
    heard = Heard()
    soft = Budget("soft", limit_of(2), "daily", enforce="soft", warn_at=1.0)
    manager = managed(url, soft, told=[heard], clock=clock)
    client = client_of(manager)
    with pytest.raises(BudgetExceededError):
        ask(client, calls=3)
    manager.close()
    assert [each.text for each in heard] == ["soft (2027-01-01): $0.0000114 of $0.0000114 spent: the limit is reached"]


@pytest.mark.parametrize("period", ["daily", "rolling 6h", None])
def test_a_limit_that_was_raised_is_told_of_anew(url: str, clock: StoppedClock, period: str | None) -> None:
    """Whoever tops up because a limit was reached has to hear that the next one is; and of the first not twice."""
    heard = Heard()
    rule = Budget("free", limit_of(4), period, per=("user",), warn_at=(0.5, 1.0))
    manager = managed(url, rule, told=[heard], clock=clock)
    declare(manager.store, [rule])
    client = client_of(manager)
    ask(client, calls=4)
    until(lambda: len(heard) == 2)
    manager.raise_budget("free/ann", limit_of(8), "1h")
    ask(client, calls=4)
    until(lambda: len(heard) == 4)
    clock.advance(3_600)
    with pytest.raises(BudgetExceededError):
        ask(client)
    manager.close()
    told = [(each.part, each.settled // COST, each.limit // COST) for each in heard]
    assert told == [(0.5, 2, 4), (1.0, 4, 4), (0.5, 5, 8), (1.0, 8, 8)]


def test_what_is_refused_after_a_top_up_is_told_of(url: str, clock: StoppedClock) -> None:
    """Also of a budget that tells nothing of its own: once for each limit."""
    heard = Heard()
    rule = Budget("free", limit_of(1), "daily", per=("user",))
    manager = managed(url, rule, told=[heard], clock=clock)
    declare(manager.store, [rule])
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(BudgetExceededError):
                ask(client_of(manager), calls=2)
        manager.top_up("free/ann", limit_of(1))
    manager.close()
    assert [(each.what, each.limit // COST) for each in heard] == [("refusals", 1), ("refusals", 2)]


def test_a_budget_that_was_reset_goes_by_its_name(url: str, clock: StoppedClock) -> None:
    """Its account is another one, of which all is told anew; whose it is, is not, for people as for programs."""
    heard = Heard()
    rule = Budget("free", limit_of(2), "daily", per=("user",), warn_at=1.0)
    manager = managed(url, rule, told=[heard], clock=clock)
    declare(manager.store, [rule])
    client = client_of(manager)
    for _ in range(2):
        with pytest.raises(BudgetExceededError) as refused:
            ask(client, calls=3)
        manager.reset_budget("free/ann")
    manager.close()
    assert [each.text.partition(":")[0] for each in heard] == ["free/ann (2027-01-01)"] * 2
    assert {each.subject for each in heard} == {"ann"}
    assert {each["subject"] for each in noted(manager.store, "refusal")} == {"ann"}
    assert str(refused.value).startswith("free/ann/2027-01-01: ")


def test_a_rolling_period_is_told_once_in_its_length(url: str, clock: StoppedClock) -> None:
    """It has a new bucket every few minutes, in each of which the same is so."""
    heard = Heard()
    rolling = Budget("hour", limit_of(100), "rolling 1h", enforce="observe", warn_at=0.05)
    manager = managed(url, rolling, told=[heard], clock=clock)
    client, began_s = client_of(manager), clock()
    moments = []
    for _ in range(30):  # a call every five minutes: twelve of an hour are more than five calls
        ask(client)
        manager.guard.notices.news.close()
        moments += [clock() - began_s] * (len(heard) - len(moments))
        clock.advance(300)
    manager.close()
    assert moments == [1200, 4800, 8400]


def test_leases_are_told_of_when_they_are_settled(url: str, clock: StoppedClock) -> None:
    """What a process settles from memory comes to the books together, and that tells of it."""
    heard = Heard()
    fleet = Budget("fleet", limit_of(40), "daily", lease=True, warn_at=(0.25, 0.5))
    manager = managed(url, fleet, told=[heard], clock=clock)
    ask(client_of(manager), calls=25)
    manager.close()
    assert heard.parts == [0.25, 0.5]


def test_leases_on_a_rolling_period_are_told_of_by_all_its_buckets(url: str, clock: StoppedClock) -> None:
    """Their settlements tell of the newest bucket alone, which comes to nothing near the limit."""
    heard = Heard()
    fleet = Budget("fleet", limit_of(40), "rolling 1h", lease=True, warn_at=0.25)
    manager = managed(url, fleet, told=[heard], clock=clock)
    client = client_of(manager)
    for _ in range(12):
        ask(client)
        manager.close()
        clock.advance(150)
    assert [(each.part, each.settled) for each in heard] == [(0.25, 10 * COST)]


def test_settlements_that_the_journal_lands_are_told_of(path, clock: StoppedClock) -> None:
    """A process that was away from its store crosses the mark when it is back; so does the one that takes over."""
    heard = Heard()
    manager = managed(f"sqlite:///{path}", FREE, told=[heard], clock=clock)
    journal = manager.guard.journal
    assert journal is not None
    account = FREE.account({"user": "ann"}, int(clock() * 1000))
    assert account is not None
    hold = Hold(f"{int(clock() * 1000):012x}{'0' * 20}", (account,), 6 * COST, tags={"user": "ann"})
    journal.keep(Kept(hold, Entry(hold.id, 6 * COST, tags={"user": "ann"}), 0, None))
    assert journal.flush(20)
    manager.close()
    assert heard.parts == [0.5]


def test_an_async_call_tells_as_well(url: str, clock: StoppedClock, loop, provider) -> None:
    """Both shells settle in the same place."""
    if loop is None:
        pytest.skip("the sync one is everywhere else")
    heard = Heard()
    manager = managed(url, Budget("all", "0.0001", warn_at=0.01), told=[heard], clock=clock)
    client = budgetguard.guard(provider.async_client(), manager)

    async def call() -> None:
        await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=50
        )
        await client.close()

    loop.run_until_complete(call())
    manager.close()
    assert heard.parts == [0.01]


def test_a_server_hands_on_who_is_first() -> None:
    """Programs that share a hosted store have no file in common: it is asked who tells."""
    server, heard = Hosted("memory://"), Heard()
    ever = Budget("ever", limit_of(10), per=("user",), warn_at=0.5)
    for calls in (5, 1):
        manager = managed(f"{server.url}?reserve_s=20&settle_s=20", ever, told=[heard])
        ask(client_of(manager), calls=calls)
        manager.close()
    assert heard.parts == [0.5]
    assert [each["subject"] for each in noted(manager.store)] == ["ann"]
    manager.store.close()
    server.stop()


def cross(url: str, receiver_url: str, clock: StoppedClock, start: int) -> Callable[[], None]:
    """What one process of a fleet does: it waits for the others, and spends."""

    def work() -> None:
        os.read(start, 1)
        manager = managed(url, FREE, told=[Webhook(receiver_url)], clock=clock)
        ask(client_of(manager), calls=2)
        manager.close()

    return work


def fleet(path, clock: StoppedClock, heard: Receiver) -> list[tuple[str, float]]:
    """Four processes that cross half of the limit at once; whom they told of what."""
    url = f"sqlite:///{path}?reserve_s=30&settle_s=30"
    managed(url, FREE, clock=clock).close()
    start, go = os.pipe()
    children = [fork(cross(url, heard.url, clock, start)) for _ in range(4)]
    os.write(go, b"4444")
    assert ends(*children) == [0] * 4
    os.close(start)
    os.close(go)
    return sorted((each.json["subject"], each.json["part"]) for each in heard.got)


def test_of_a_fleet_one_process_tells(path, clock: StoppedClock) -> None:
    """Four workers that each send a message are three messages too many."""
    with receiver() as heard:
        assert fleet(path, clock, heard) == [("ann", 0.5), ("ann", 0.8)]


def test_without_the_claim_several_would(path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above sees what it is about."""
    monkeypatch.setattr(Claims, "first", lambda *_: True)
    with receiver() as heard:
        assert len(fleet(path, clock, heard)) > 2


def test_a_call_that_crosses_nothing_enters_no_function_more(clock: StoppedClock) -> None:
    """What is compared is compared where the settlement is, so that marks cost a call next to nothing."""
    found = []
    for parts in ((), (0.5, 0.8, 1.0)):
        manager = managed("memory://", Budget("free", 1, "daily", warn_at=parts), told=[Heard()], clock=clock)
        client = client_of(manager)
        ask(client, calls=3)
        assert bool(manager.guard.coverage.marks.by_key) is bool(parts)
        found.append(entered_while_kept(lambda client=client: ask(client)))
        manager.close()
    assert found[0] == found[1]


# -- scopes ------------------------------------------------------------------------------------------------------------


def test_a_scope_is_told_of_its_own_limit() -> None:
    """A job that is about to run out can end in order."""
    heard = Heard()
    manager = managed("memory://")
    client = client_of(manager)
    with budgetguard.budget(limit=limit_of(4), warn_at=(0.5, 1.0), on_warning=heard):
        ask(client, calls=2)
        until(lambda: heard.parts == [0.5])
        with pytest.raises(BudgetExceededError):
            ask(client, calls=9)
        until(lambda: heard.parts == [0.5, 1.0])
    manager.close()
    assert heard[0].text.startswith("scope: $0.0000114 of $0.0000228 spent")


def test_a_scope_without_a_function_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A line is what one gets for saying `warn_at` alone."""
    manager = managed("memory://")
    with budgetguard.budget(limit=limit_of(4), warn_at=0.5):
        ask(client_of(manager), calls=2)
    until(lambda: "scope: $0.0000114 of $0.0000228 spent" in caplog.text)
    manager.close()


def test_a_scope_that_a_child_counts_on_tells_once() -> None:
    """The limit is one, whoever of the two comes to it first."""
    heard, manager = Heard(), managed("memory://")
    client = client_of(manager)
    with budgetguard.budget(limit=limit_of(8), warn_at=0.25, on_warning=heard):

        def work() -> None:
            with budgetguard.budget(tags={"in": "child"}):
                ask(client, calls=2)
            until(lambda: heard.parts == [0.25])

        assert ends(fork(work)) == [0]
        ask(client, calls=2)
    manager.close()
    assert heard == [], "the child was told"


@pytest.mark.parametrize(
    "options",
    [
        {"warn_at": 0.5},
        {"limit": 1, "on_warning": print},
        {"limit": 1, "warn_at": 1.5},
        {"limit": 1, "warn_at": 0.5, "on_warning": "me"},
    ],
)
def test_a_warning_that_can_never_be_is_refused(options) -> None:
    """A typing error is found when the program starts, not when the money is gone."""
    with pytest.raises(ConfigError):
        budgetguard.budget(**options)


def test_nobody_is_told_where_nothing_is_marked(url: str, clock: StoppedClock) -> None:
    """What is off costs nothing: there is no mark to compare with."""
    manager = managed(url, Budget("all", 1, "daily"), told=[Heard()], clock=clock, settings=Settings())
    ask(client_of(manager))
    assert manager.guard.coverage.marks.by_key == {}
    manager.close()
