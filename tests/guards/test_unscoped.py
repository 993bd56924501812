"""Calls that do not say whose they are: warned of once a line, or refused, and never let pass in silence by default."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

import budgetguard
from budgetguard import (
    Budget,
    BudgetManager,
    ConfigError,
    PriceBook,
    Settings,
    StoreError,
    UnknownUserError,
    UnscopedCallError,
    budget,
    carry_scope,
)
from budgetguard.budgets.accounts import ASKED_MS
from budgetguard.guards.guard import Guard
from tests.support.plain_calls import async_client, sync_client

FREE = Budget("free", 1, "daily", per=("user",))
CLIENT = sync_client()


def ask(model: str = "gpt-4o-mini", **more: Any) -> Any:
    return CLIENT.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hi"}], max_tokens=5, **more
    )


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was warned of so far."""
    caplog.set_level(logging.WARNING, "budgetguard")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "budgetguard"]


@pytest.fixture
def patched() -> Iterator[Callable[..., BudgetManager]]:
    """Patches the process with a manager that has these rules, settings and what else it is made with."""
    made: list[BudgetManager] = []

    def patch(*rules: Budget, store: Any = "memory://", prices: Any = None, clock: Any = None, **settings: Any) -> Any:
        more = {} if clock is None else {"clock": clock}
        manager = BudgetManager("t", store=store, budgets=rules, prices=prices, settings=Settings(**settings), **more)
        made.append(manager)
        budgetguard.patch(manager)
        return manager

    yield patch
    budgetguard.unpatch()
    for manager in made:
        manager.close()


# -- outside of every scope --------------------------------------------------------------------------------------------


def test_a_pool_that_lost_the_scope_is_warned_of(said):
    """Without a word, it spends without a limit, and the scope says that nothing was spent."""
    with budget(limit=0.01) as scope, ThreadPoolExecutor(1) as pool:
        pool.submit(ask).result()
        [warning] = said()

    assert scope.spent == 0
    assert warning.startswith(f"{__file__}:{ask.__code__.co_firstlineno + 1}: this call is outside of every scope")
    assert "carry_scope" in warning
    assert "with budgetguard.budget(user=...)" in warning


def test_a_pool_that_lost_the_user_is_warned_of(patched, said):
    """The rule that every user has a limit by holds for none of its calls."""
    patched(FREE)
    with budget(user="ann", limit=0.01), ThreadPoolExecutor(1) as pool:
        pool.submit(ask).result()

    [warning] = said()
    assert "this call names no user, so budget 'free' cannot hold for it" in warning


def test_a_pool_that_was_given_the_scope_is_not(said):
    """What the warning says to write is enough."""
    with budget(limit=0.01) as scope, ThreadPoolExecutor(1) as pool:
        pool.submit(carry_scope(ask)).result()

    assert scope.spent > 0
    assert said() == []


def test_a_thread_that_has_no_line_of_the_program_is_named(said):
    """A pool that was given the SDK's own method: there is no line to name."""
    create = CLIENT.chat.completions.create
    with budget(), ThreadPoolExecutor(3, thread_name_prefix="embed") as pool:
        for done in [pool.submit(create, model="gpt-4o-mini", messages=[]) for _ in range(6)]:
            done.result()

    assert [warning.partition(":")[0] for warning in said()] == ["thread embed_*"]


def test_a_program_that_uses_no_scopes_is_left_alone(said):
    """A patched script with a limit for the process has nothing to scope."""
    budgetguard.patch()
    budgetguard.max_budget = 1.0
    ask()

    assert said() == []


def test_an_unguarded_client_can_be_refused_too(patched, said):
    """Refused is refused, also where no budget covers the call at all."""
    with budget():
        ask()
    budgetguard.patch(Guard(settings=Settings(unscoped="refuse")))
    with pytest.raises(UnscopedCallError, match="outside of every scope"):
        ask()
    with pytest.raises(UnscopedCallError), CLIENT.realtime.connect(model="gpt-realtime"):
        pass
    CLIENT.moderations.create(input="free of charge")
    assert said() == []


# -- without a tag that is expected ------------------------------------------------------------------------------------


def test_a_call_without_a_user_is_warned_of_once_a_line(patched, said):
    """A loop says it once, and a second line that has to be changed is named as well."""
    manager, hi = patched(FREE), [{"role": "user", "content": "hi"}]
    for _ in range(3):
        CLIENT.chat.completions.create(model="gpt-4o-mini", messages=hi)
    CLIENT.chat.completions.create(model="gpt-4o-mini", messages=hi)
    ask(user="ann")

    lines, texts = zip(*[warning.removeprefix(f"{__file__}:").split(": ", 1) for warning in said()], strict=True)
    assert int(lines[1]) == int(lines[0]) + 1
    assert texts[0] == texts[1]
    assert texts[0].startswith("this call names no user, so budget 'free' cannot hold for it. Wrap the call in")
    assert [total.calls for total in manager.store.totals(["user"])] == [4, 1]


def test_threads_at_one_line_warn_once(patched, said):
    """Of a thousand calls at once, too."""
    patched(FREE)
    together = Barrier(8)

    def work() -> None:
        together.wait()
        ask()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()
    assert len(said()) == 1


def test_a_call_without_a_user_is_refused_before_it_is_sent(patched):
    """Where budgets are the law: with the line, and what to write there."""
    manager = patched(FREE, unscoped="refuse")
    with pytest.raises(UnscopedCallError, match=r"test_unscoped.py:\d+: this call names no user"):
        ask()
    with budget(tags={"team": "search"}), pytest.raises(UnscopedCallError, match="budget 'free'"):
        ask()
    with budget(user="ann"):
        ask()

    assert [total.group for total in manager.store.totals(["user"])] == [("ann",)]
    assert manager.store.holds() == []


def test_a_task_is_refused_at_its_line(patched):
    """Async code stands below an event loop, whose frames are not the program's."""
    patched(FREE, unscoped="refuse")

    async def work() -> None:
        async with async_client() as client:
            await client.chat.completions.create(model="gpt-4o-mini", messages=[], max_tokens=5)

    with pytest.raises(UnscopedCallError, match=rf"test_unscoped.py:{work.__code__.co_firstlineno + 2}: "):
        asyncio.run(work())


def test_the_line_is_the_programs_not_the_frameworks(patched, said, tmp_path, monkeypatch):
    """A line of an agent framework says nothing: the program cannot write anything there."""
    home = tmp_path / "site-packages"
    home.mkdir()
    (home / "an_agent.py").write_text("def run(step):\n    return step(model='gpt-4o-mini', messages=[])\n")
    monkeypatch.syspath_prepend(home)
    patched(FREE)
    importlib.import_module("an_agent").run(CLIENT.chat.completions.create)
    del sys.modules["an_agent"]

    [warning] = said()
    assert warning.startswith(__file__)


@pytest.mark.parametrize(
    ("rules", "settings", "model"),
    [
        ((FREE,), {"unscoped": "allow"}, "gpt-4o-mini"),
        ((FREE,), {}, "llama3"),
        ((Budget("team", 1, match={"team": "ads"}, per=("user",)),), {}, "gpt-4o-mini"),
        ((Budget("all", 1),), {}, "gpt-4o-mini"),
    ],
    ids=["allowed", "free of charge", "of another team", "counted for all"],
)
def test_what_lacks_nothing_is_not_warned_of(patched, said, rules, settings, model):
    """A warning that is wrong teaches people to read over the others."""
    prices = PriceBook()
    prices.add("llama3", free=True)
    patched(*rules, prices=prices, **settings)
    with budget(tags={"team": "search"}):
        ask(model)

    assert said() == []


# -- where users have budgets of their own -----------------------------------------------------------------------------


def test_users_budgets_expect_a_user(patched, said):
    """A rule is not the only budget that a call can pass by."""
    manager = patched()
    ask()
    assert said() == []
    manager.create_budget(1, "ann")
    ask()

    [warning] = said()
    assert "names no user, so the users' own budgets cannot hold for it" in warning


def test_users_that_another_process_has_made_are_seen(patched, said, clock, tmp_path):
    """At the first call without a user, and within a minute after: the store is not asked at every call."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    manager, other = patched(store=url, clock=clock), BudgetManager("t", store=url, clock=clock)
    asked = _count(manager.store, "all_terms")
    ask()
    other.create_budget(1, "ann")
    ask()
    assert (len(asked), said()) == (1, [])

    clock.advance(ASKED_MS / 1000)
    ask()
    ask()
    assert (len(asked), len(said())) == (2, 1)
    other.close()


def _count(store: Any, name: str) -> list[Any]:
    """Every call of a method of this store from now on."""
    method, calls = getattr(store, name), list[Any]()
    setattr(store, name, lambda *args, **more: calls.append(args) or method(*args, **more))
    return calls


def test_a_typo_in_a_users_name_is_refused_where_users_are_known(patched):
    """It would be an unlimited user."""
    manager = patched(users="known")
    manager.create_budget(1, "Ann.Smith")
    with budget(user="ann.smiht"), pytest.raises(UnknownUserError, match=r"'ann.smiht'.*mean 'Ann.Smith'") as refused:
        ask()
    with budget(user="bob"), pytest.raises(UnknownUserError, match="'bob' has no budget, and"):
        ask()
    with budget(user="Ann.Smith"):
        ask()

    assert refused.value.user == "ann.smiht"
    assert [total.group for total in manager.store.totals(["user"])] == [("Ann.Smith",)]


@pytest.mark.parametrize("wait", [0, 5])
def test_users_are_known_from_their_first_budget_to_their_last(patched, tmp_path, wait):
    """Whichever process gives it to them, or takes it away; calls that may wait are told by the hold itself."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    patched(store=url, users="known")
    other = BudgetManager("t", store=url)
    with budget(user="bob", wait=wait):
        with pytest.raises(UnknownUserError):
            ask()
        other.create_budget(1, "bob")
        ask()
        other.remove_budget("bob")
        with pytest.raises(UnknownUserError):
            ask()
    other.close()


def test_a_known_user_is_not_looked_up_again(patched, tmp_path):
    """One look at the store a user: it takes the place of the hold that would have been told of the budget."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    with BudgetManager("t", store=url) as other:
        other.create_budget(1, "ann")
    manager = patched(store=url, users="known")
    looks, holds = _count(manager.store, "terms"), _count(manager.store, "reserve")
    with budget(user="ann"):
        for _ in range(3):
            ask()

    assert (len(looks), len(holds)) == (1, 3)


def test_a_store_that_is_away_knows_nobody(patched, monkeypatch):
    """Nor can it say that somebody is unknown: "closed" refuses with the store's error, "open" spends the allowance."""

    def away(*_: Any) -> Any:
        raise StoreError("away")

    manager = patched(users="known", on_store_error="open", allowance=1)
    with monkeypatch.context() as broken, budget(user="bob"):
        broken.setattr(manager.store, "terms", away)
        broken.setattr(manager.store, "reserve", away)
        ask()
        manager = patched(users="known")
        broken.setattr(manager.store, "terms", away)
        with pytest.raises(StoreError, match="away"):
            ask()


def test_known_users_need_a_store():
    """Without one nobody has a budget, and the setting would say nothing."""
    with pytest.raises(ConfigError, match="users='known'"):
        Guard(settings=Settings(users="known"))


@pytest.mark.parametrize("wrong", [{"unscoped": "reject"}, {"users": "all"}])
def test_a_setting_that_is_none_is_refused(wrong):
    """A word that was mistyped would be the default."""
    with pytest.raises(ConfigError, match="use one of"):
        Settings(**wrong)
