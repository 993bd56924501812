"""The manager beyond LiteLLM's names: periods, guarded calls, contexts, threads, processes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import openai
import pytest

import budgetguard
from budgetguard import (
    Budget,
    BudgetExceededError,
    BudgetManager,
    ConfigError,
    PriceBook,
    UnpricedModelError,
    carry_scope,
)
from budgetguard.ledger import Query
from budgetguard.sdks.install import default_guard

MODEL = "gpt-4"
MESSAGES = [{"role": "user", "content": "Hey, how's it going"}]
ANSWER = {"model": MODEL, "usage": {"prompt_tokens": 1000, "completion_tokens": 0}}
ANSWER_COST = 0.03


def at(text):
    """A moment in ISO 8601, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def ask(client):
    """One small call, of less than a cent."""
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10)


# -- periods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "last", "first"),
    [
        ("daily", "2027-03-31T23:59:59.999Z", "2027-04-01T00:00Z"),
        ("weekly", "2027-03-28T23:59:59.999Z", "2027-03-29T00:00Z"),
        ("monthly", "2027-03-31T23:59:59.999Z", "2027-04-01T00:00Z"),
        ("yearly", "2027-12-31T23:59:59.999Z", "2028-01-01T00:00Z"),
    ],
)
def test_a_duration_resets_by_itself_when_its_calendar_turns(manager, clock, duration, last, first):
    """To the millisecond, and without a call of anything."""
    clock.set(at(last) - 60)
    manager.create_budget(10, "ann", duration)
    manager.update_cost("ann", ANSWER)
    clock.set(at(last))
    assert manager.get_current_cost("ann") == ANSWER_COST

    clock.set(at(first))

    assert manager.get_current_cost("ann") == 0
    assert manager.get_model_cost("ann") == {}
    assert manager.user_dict["ann"]["current_cost"] == 0
    assert manager.user_dict["ann"]["last_updated_at"] == at(first)


def test_a_month_is_a_month_not_28_days(manager, clock):
    """Nobody's budget begins again on the 29th."""
    clock.set(at("2027-01-01T00:00Z"))
    manager.create_budget(10, "ann", "monthly")
    manager.update_cost("ann", ANSWER)
    clock.set(at("2027-01-31T23:59Z"))

    assert manager.get_current_cost("ann") == ANSWER_COST


def test_a_budget_has_its_own_time_zone(manager, clock):
    """Midnight is where the user lives."""
    clock.set(at("2027-06-30T14:59:59Z"))
    manager.set_budget("ann", 10, "daily", timezone="Asia/Tokyo")
    manager.set_budget("bob", 10, "daily")
    manager.update_cost("ann", ANSWER)
    manager.update_cost("bob", ANSWER)
    clock.advance(1)  # midnight in Tokyo

    assert manager.get_current_cost("ann") == 0
    assert manager.get_current_cost("bob") == ANSWER_COST


def test_a_rolling_budget_forgets_spend_when_it_is_old_enough(manager, clock):
    """Not before a day has passed, and at most an hour later."""
    manager.set_budget("ann", 10, "rolling 24h")
    manager.update_cost("ann", ANSWER)
    clock.advance(24 * 3600 - 1)
    assert manager.get_current_cost("ann") == ANSWER_COST
    assert manager.get_model_cost("ann") == {MODEL: ANSWER_COST}
    clock.advance(3600 + 1)

    assert manager.get_current_cost("ann") == 0


def test_a_budget_without_a_duration_never_resets(manager, clock):
    """Until somebody resets it."""
    manager.create_budget(10, "ann")
    manager.update_cost("ann", ANSWER)
    clock.advance(10 * 365 * 86_400)
    assert manager.get_current_cost("ann") == ANSWER_COST

    manager.reset_cost("ann")

    assert manager.get_current_cost("ann") == 0


def test_history_outlives_every_reset(manager, clock):
    """What was spent was spent."""
    manager.create_budget(10, "ann", "daily")
    manager.update_cost("ann", ANSWER)
    manager.reset_cost("ann")
    clock.advance(86_400)
    manager.update_cost("ann", ANSWER)

    assert [entry.cost for entry in manager.store.entries()] == [30_000_000, 30_000_000]


def test_a_removed_user_comes_back_with_nothing_spent(manager):
    """Also after a reset, whose older spend must not come back."""
    manager.create_budget(10, "ann")
    manager.update_cost("ann", ANSWER)
    manager.reset_cost("ann")
    manager.update_cost("ann", ANSWER)
    manager.remove_budget("ann")
    assert not manager.is_valid_user("ann")
    assert manager.get_users() == []

    manager.create_budget(5, "ann")

    assert manager.get_current_cost("ann") == 0
    with pytest.raises(KeyError):
        manager.remove_budget("nobody")


# -- guarded calls -----------------------------------------------------------------------------------------------


def test_a_guarded_call_counts_on_the_user_and_the_model(manager, client):
    """No `update_cost` is needed."""
    manager.create_budget(1, "ann")
    budgetguard.patch(manager)
    with budgetguard.budget(user="ann"):
        used = ask(client).usage

    cost = used.prompt_tokens * 30e-6 + used.completion_tokens * 60e-6
    assert manager.get_current_cost("ann") == pytest.approx(cost)
    assert manager.get_model_cost("ann") == {MODEL: pytest.approx(cost)}


@pytest.mark.parametrize("as_dict", [False, True])
def test_update_cost_does_not_book_a_guarded_call_again(manager, client, as_dict):
    """Programs that were written for LiteLLM still call it."""
    manager.create_budget(1, "ann")
    budgetguard.patch(manager)
    with budgetguard.budget(user="ann"):
        response = ask(client)
    once = manager.get_current_cost("ann")
    returned = manager.update_cost("ann", response.model_dump() if as_dict else response)

    assert returned["user"]["current_cost"] == manager.get_current_cost("ann") == once


def test_update_cost_books_a_call_that_was_guarded_for_nobody(manager, client):
    """The call counted on no user, so its cost is still to be put on one."""
    manager.create_budget(1, "ann")
    budgetguard.patch(manager)
    manager.update_cost("ann", ask(client))

    assert manager.get_current_cost("ann") > 0


def test_a_call_that_was_guarded_for_nobody_is_not_counted_twice_by_a_rule(url, client):
    """The rule for all counted it when it was made; `update_cost` only says whose it was."""
    manager = BudgetManager("shop", store=url, budgets=[Budget("all", 10)])
    manager.create_budget(1, "ann")
    budgetguard.patch(manager)
    manager.update_cost("ann", ask(client))
    [rule] = manager.store.accounts("all/")

    assert rule.settled == round(manager.get_current_cost("ann") * 1e9)
    manager.close()


def test_the_requests_own_user_counts_where_no_scope_names_one(manager, client):
    """As the SDK's `user=` and `safety_identifier=` say."""
    manager.create_budget(1, "ann")
    manager.create_budget(1, "bob")
    budgetguard.patch(manager)
    client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, user="ann")
    with budgetguard.budget(user="bob"):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, user="ann")

    assert manager.get_current_cost("ann") == manager.get_current_cost("bob") > 0


def test_a_user_without_room_is_refused_before_the_call(manager, client, shared_provider):
    """The refusal says who, how much, and when it begins again."""
    manager.create_budget(0.0001, "ann", "monthly")
    budgetguard.patch(manager)
    sent = len(shared_provider.requests)
    with budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError, match="users/ann/2027-01: ") as caught:
        ask(client)

    assert len(shared_provider.requests) == sent
    assert (caught.value.user, caught.value.max_budget) == ("ann", 0.0001)
    assert caught.value.resets_at.isoformat() == "2027-02-01T00:00:00+00:00"
    assert manager.store.holds() == []


def test_a_changed_limit_holds_from_the_next_call_in_every_process(tmp_path, client):
    """Here: in another manager on the same file, which knows nothing of the change."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    here, there = BudgetManager("shop", store=url), BudgetManager("shop", store=url)
    there.create_budget(1, "ann")
    budgetguard.patch(here)
    with budgetguard.budget(user="ann"):
        ask(client)
        there.create_budget(0.0001, "ann")
        with pytest.raises(BudgetExceededError):
            ask(client)
        there.remove_budget("ann")
        ask(client)
    here.close()
    there.close()


def test_a_new_period_gives_a_refused_user_room_again(manager, client, clock):
    """With no call of anything in between."""
    manager.create_budget(0.002, "ann", "daily")
    budgetguard.patch(manager)
    with budgetguard.budget(user="ann"):
        ask(client)
        with pytest.raises(BudgetExceededError):
            [ask(client) for _ in range(5)]
        clock.advance(86_400)
        ask(client)


def test_the_cost_of_a_model_counts_in_the_period_of_its_call(manager, client, clock, shared_provider):
    """What a call costs, and on which model, is in one and the same period."""
    manager.create_budget(1, "ann", "daily")
    budgetguard.patch(manager)
    clock.set(at("2027-01-01T23:59:59Z"))
    with budgetguard.budget(user="ann"):
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, stream=True)
        clock.advance(2)
        list(stream)
    assert manager.user_dict["ann"]["current_cost"] == 0
    assert manager.user_dict["ann"]["model_cost"] == {}
    clock.advance(-2)

    assert manager.user_dict["ann"]["current_cost"] > 0
    assert manager.user_dict["ann"]["model_cost"] == {MODEL: manager.get_current_cost("ann")}


def test_rules_hold_beside_the_users_own_budgets(url, client):
    """A call needs room in all of them."""
    manager = BudgetManager("shop", store=url, budgets=[Budget("team", 0.0001, match={"team": "search"})])
    manager.create_budget(1, "ann")
    with manager, budgetguard.budget(user="ann"):
        ask(client)
        with budgetguard.budget(tags={"team": "search"}), pytest.raises(BudgetExceededError, match=r"^team: "):
            ask(client)
    manager.close()


def test_a_budget_without_a_limit_only_counts(manager, client):
    """`None` is not 0."""
    manager.set_budget("ann", None)
    with manager, budgetguard.budget(user="ann"):
        ask(client)

    assert manager.get_current_cost("ann") > 0
    assert manager.get_total_budget("ann") == float("inf")


def test_a_model_without_a_price_is_not_booked_as_nothing(manager):
    """The error has the line to add."""
    manager.create_budget(1, "ann")
    with pytest.raises(UnpricedModelError):
        manager.update_cost("ann", {"model": "our-own", "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    with pytest.raises(UnpricedModelError, match="model="):
        manager.update_cost("ann", {"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert list(manager.store.entries()) == []


def test_prices_of_ones_own_count(url):
    """In dollars per million tokens."""
    prices = PriceBook(overrides={"our-own": {"input": 5, "output": 10}})
    manager = BudgetManager("shop", store=url, prices=prices)
    manager.create_budget(1, "ann")
    manager.update_cost("ann", {"model": "our-own", "usage": {"prompt_tokens": 1000, "completion_tokens": 1000}})

    assert manager.get_current_cost("ann") == 0.015
    manager.close()


def test_what_is_booked_by_hand_is_in_the_history(manager):
    """With its user, its model, and how it came there."""
    manager.create_budget(1, "ann")
    manager.update_cost("ann", ANSWER)
    [entry] = manager.store.entries(Query(tags={"user": "ann"}))

    assert (entry.model, entry.flags, dict(entry.usage)) == (
        MODEL,
        {"manual"},
        {"input_tokens": 1000, "output_tokens": 0},
    )


# -- one store, several projects, threads and tasks ---------------------------------------------------------------


def test_projects_in_one_store_know_nothing_of_each_other(tmp_path):
    """`project_name` is a namespace."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    shop, blog = BudgetManager("shop", store=url), BudgetManager("blog", store=url)
    shop.create_budget(1, "ann")
    blog.create_budget(2, "ann")
    blog.update_cost("ann", ANSWER)

    assert shop.user_dict == {"ann": {"total_budget": 1}}
    assert blog.get_current_cost("ann") == ANSWER_COST
    shop.close()
    blog.close()


def test_an_open_store_can_be_given(manager):
    """Two managers then share it."""
    manager.create_budget(1, "ann")

    assert BudgetManager("shop", store=manager.store).get_users() == ["ann"]


def test_users_that_are_created_at_once_are_all_there(manager):
    """And a user who is created by many has one budget."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: manager.create_budget(number, f"user{number % 10}"), range(40)))

    assert manager.get_users() == [f"user{number}" for number in range(10)]


def test_a_manager_holds_inside_its_with_statement(manager, client):
    """No patch is needed, and outside nothing is guarded."""
    manager.create_budget(1, "ann")
    with manager, budgetguard.budget(user="ann"):
        ask(client)
    inside = manager.get_current_cost("ann")
    ask(client)

    assert manager.get_current_cost("ann") == inside > 0


def test_the_inner_manager_counts_and_the_outer_one_comes_back(url, client):
    """One call has one manager."""
    outer, inner = BudgetManager("outer", store=url), BudgetManager("inner", store=url)
    for each in (outer, inner):
        each.create_budget(1, "ann")
    with outer, budgetguard.budget(user="ann"):
        with inner:
            ask(client)
        assert (outer.get_current_cost("ann"), inner.get_current_cost("ann") > 0) == (0, True)
        ask(client)
        assert outer.get_current_cost("ann") > 0
    outer.close()
    inner.close()


async def test_tasks_have_managers_of_their_own(url, shared_provider):
    """A context-local manager does not leak into a task beside it; one manager may be entered by many tasks."""
    managers = [BudgetManager(name, store=url) for name in ("one", "two")]
    for each in managers:
        each.create_budget(1, "ann")

    async def serve(manager):
        async with openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client, manager:
            await asyncio.sleep(0)
            with budgetguard.budget(user="ann"):
                await client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10)

    await asyncio.gather(*[serve(manager) for manager in managers * 3])

    for each in managers:
        assert len(list(each.store.entries())) == 3
        each.close()


def test_a_plain_thread_has_the_default_manager_of_the_process(manager, client):
    """Threads do not inherit a context, and must not escape the budgets."""
    manager.create_budget(1, "ann")
    budgetguard.patch(manager)
    thread = threading.Thread(
        target=lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, user="ann")
    )
    thread.start()
    thread.join()

    assert manager.get_current_cost("ann") > 0
    assert default_guard() is manager.guard


async def _in_executor(function):
    await asyncio.get_running_loop().run_in_executor(None, function)


def _in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def _in_pool(function):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(function).result()


@pytest.mark.parametrize(
    "run",
    [_in_thread, _in_pool, lambda function: asyncio.run(_in_executor(function))],
    ids=["Thread", "ThreadPoolExecutor", "run_in_executor"],
)
def test_carry_scope_takes_user_and_manager_into_a_thread(manager, client, run):
    """And the limit of the scope."""
    manager.create_budget(1, "ann")
    with manager, budgetguard.budget(user="ann", limit=1) as scope:
        run(carry_scope(lambda: ask(client)))

        assert manager.get_current_cost("ann") == float(scope.spent) > 0


@pytest.mark.parametrize("no_function", [None, "ask", asyncio.sleep])
def test_carry_scope_is_for_plain_functions(no_function):
    """A coroutine would run where it is awaited, and the scope would be lost without a word."""
    with pytest.raises(ConfigError, match="carry_scope"):
        carry_scope(no_function)


async def test_a_coroutine_that_another_thread_hands_to_the_loop_has_that_threads_scope(shared_provider):
    """`run_coroutine_threadsafe` takes the context along by itself."""
    loop = asyncio.get_running_loop()
    async with openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client:

        def in_thread():
            with budgetguard.budget() as scope:
                asyncio.run_coroutine_threadsafe(ask(client), loop).result()
            return scope.spent

        assert await asyncio.to_thread(in_thread) > 0


def test_what_carry_scope_made_can_run_in_many_threads_at_once(manager, client):
    """Every call has a copy of the context, and its arguments and result are the function's own."""
    manager.create_budget(1, "ann")
    with manager, budgetguard.budget(user="ann") as scope, ThreadPoolExecutor(4) as pool:
        carried = carry_scope(
            lambda tokens, *, model: client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=tokens)
        )
        answers = [each.result() for each in [pool.submit(carried, 5, model=MODEL) for _ in range(12)]]

    assert {answer.usage.completion_tokens for answer in answers} == {5}
    assert len(list(manager.store.entries(Query(tags={"user": "ann"})))) == 12
    assert manager.get_current_cost("ann") == float(scope.spent)


def test_many_calls_at_once_never_pass_the_limit(manager, client, shared_provider):
    """The reason for all of this."""
    manager.create_budget(0.01, "ann")
    billed = len(shared_provider.ledger)

    def call(_):
        try:
            return ask(client)
        except BudgetExceededError:
            return None

    with manager, budgetguard.budget(user="ann"), ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(carry_scope(call), range(60)))

    assert 5 < len([answer for answer in answers if answer is not None]) < 60
    assert len(shared_provider.ledger) - billed == len([answer for answer in answers if answer is not None])
    assert manager.get_current_cost("ann") <= 0.01
    assert manager.store.holds() == []
    assert manager.store.check() == []
