"""`budget(...)`: what a scope limits, counts, carries, and does with refusals on the way out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import sys
import textwrap
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import anyio
import openai
import pytest

from budgetguard import Budget, BudgetBusyError, BudgetExceededError, BudgetManager, ConfigError, Money, budget
from budgetguard.guards.scope import current
from budgetguard.testing import FakeProvider, StoppedClock

MODEL = "gpt-4"
MESSAGES = [{"role": "user", "content": "Hey, how's it going"}]


def ask(client, **arguments):
    """One small call."""
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, **arguments)


# -- what it counts ----------------------------------------------------------------------------------------------


def test_a_scope_counts_what_its_calls_cost(client):
    """Without a patch, a manager or a limit."""
    with budget() as scope:
        used = ask(client).usage

    assert scope.spent == Money.dollars(str(round(used.prompt_tokens * 30e-6 + used.completion_tokens * 60e-6, 9)))
    assert (scope.remaining, scope.resets_at) == (None, None)


def test_calls_outside_do_not_count(client):
    """Before, between and after."""
    ask(client)
    with budget() as scope:
        pass
    ask(client)

    assert scope.spent == 0


def test_a_scope_can_be_read_before_inside_and_after(client):
    """`remaining` is the limit, less what was spent."""
    scope = budget(limit=0.01)
    assert (scope.spent, scope.remaining) == (0, 0.01)
    with scope:
        ask(client)
        assert scope.remaining == Money.dollars("0.01") - scope.spent
    assert scope.remaining == Money.dollars("0.01") - scope.spent


def test_remaining_takes_calls_in_flight_off(client):
    """What is held is not there to be spent."""
    with budget(limit=0.01) as scope:
        stream = ask(client, stream=True)
        held = scope.remaining
        list(stream)

        assert held < 0.01
        assert scope.remaining > held


def test_a_call_without_room_is_refused(client, shared_provider):
    """Before anything is sent."""
    sent = len(shared_provider.requests)
    with budget(limit=0.0001), pytest.raises(BudgetExceededError):
        ask(client)
    assert len(shared_provider.requests) == sent


def test_a_limit_of_nothing_refuses_every_call(client):
    """0 is a limit."""
    with budget(limit=0), pytest.raises(BudgetExceededError):
        ask(client)


def test_inner_spend_counts_in_the_outer_scopes(client):
    """But not the other way round."""
    with budget() as outer:
        ask(client)
        with budget() as middle, budget() as inner:
            ask(client)
        assert inner.spent == middle.spent < outer.spent


def test_the_tightest_scope_decides(client):
    """A larger limit inside does not open a smaller one outside."""
    with budget(limit=0.0001), budget(limit=10) as inner:
        assert inner.remaining == 0.0001
        with pytest.raises(BudgetExceededError):
            ask(client)
    with budget(limit=10), budget(limit=0.0001), pytest.raises(BudgetExceededError):
        ask(client)


def test_soft_scopes_let_the_call_that_crosses_the_limit_through(client):
    """And refuse the next."""
    with budget(limit=0.0001, enforce="soft") as scope:
        ask(client)
        assert scope.spent > 0.0001
        assert scope.remaining == 0
        with pytest.raises(BudgetExceededError):
            ask(client)


def test_observing_scopes_only_count(client):
    """Never refused."""
    with budget(limit=0.0001, enforce="observe") as scope:
        ask(client)
        ask(client)
    assert scope.spent > 0.0001


def test_tags_of_inner_scopes_are_laid_over_the_outer_ones(client):
    """And are in the history."""
    manager = BudgetManager("shop", store="memory://")
    with manager, budget(user="ann", tags={"team": "search", "env": "prod"}), budget(tags={"team": "ads"}):
        ask(client)
    [entry] = manager.store.entries()

    assert dict(entry.tags) == {"user": "ann", "team": "ads", "env": "prod"}


def test_remaining_and_resets_at_are_those_of_the_tightest_budget(client):
    """Whether that is the user's, a rule's or the scope's own."""
    clock = StoppedClock()
    rules = [Budget("team", 0.02, "daily", match={"team": "ads"})]
    manager = BudgetManager("shop", store="memory://", budgets=rules, clock=clock)
    manager.create_budget(0.03, "ann", "monthly")
    with manager, budget(user="ann") as scope:
        assert (scope.remaining, scope.resets_at) == (0.03, datetime(2027, 2, 1, tzinfo=UTC))
        with budget(tags={"team": "ads"}) as ads:
            assert (ads.remaining, ads.resets_at) == (0.02, datetime(2027, 1, 2, tzinfo=UTC))
            with budget(limit=0.01) as own:
                assert (own.remaining, own.resets_at) == (0.01, None)


def test_a_rolling_budget_resets_when_its_oldest_bucket_leaves():
    """From then on there may be more room."""
    manager = BudgetManager("shop", store="memory://", clock=StoppedClock())
    manager.set_budget("ann", 1, "rolling 24h")
    with manager, budget(user="ann") as scope:
        assert scope.resets_at == datetime(2027, 1, 1, 13, tzinfo=UTC)


def test_streams_count_when_they_end_also_outside_of_the_scope(client):
    """The scope is the one in which the call was made."""
    with budget() as scope:
        stream = ask(client, stream=True)
    list(stream)

    assert scope.spent > 0


async def test_async_scopes_are_the_same(shared_provider):
    """`async with`, and tasks started inside."""
    async with (
        openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client,
        budget(limit=1) as scope,
    ):
        await asyncio.gather(*[ask(client) for _ in range(3)])
        async with budget() as inner:
            await ask(client)

    assert inner.spent > 0
    assert scope.spent == Money(inner.spent.nano * 4)


async def test_tasks_beside_each_other_have_scopes_of_their_own(shared_provider):
    """What one spends is not the other's."""
    async with openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client:

        async def serve(calls):
            with budget() as scope:
                for _ in range(calls):
                    await ask(client)
            return scope.spent.nano

        one, two, three = await asyncio.gather(serve(1), serve(2), serve(3))

    assert (two, three) == (2 * one, 3 * one)


async def test_a_task_keeps_the_scope_it_was_started_in(shared_provider):
    """Also when that scope has been left before the task is done."""
    async with openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client:
        with budget() as scope:
            task = asyncio.create_task(_two_calls(client))
        await task

    assert scope.spent > 0
    assert task.result() == scope.spent


async def _two_calls(client):
    with budget():
        await ask(client)
    await ask(client)
    return current.get().opened_by.spent


# -- entering and leaving ----------------------------------------------------------------------------------------


def test_a_scope_can_be_entered_again_and_goes_on_counting(client):
    """A job that is done in steps."""
    scope = budget(limit=1)
    with scope:
        ask(client)
    once = scope.spent
    with scope:
        ask(client)

    assert scope.spent == Money(2 * once.nano)


def test_a_scope_cannot_be_entered_inside_of_itself():
    """Its calls would count twice. The error leaves the scope as it was."""
    with budget() as scope:
        with pytest.raises(ConfigError, match="entered already"), scope:
            pass
        assert current.get().opened_by is scope
    with scope:
        pass


def test_only_one_of_many_threads_can_enter_a_scope():
    """One scope for each."""
    scope, together, entered = budget(), threading.Barrier(8), []

    def enter(_):
        together.wait()
        try:
            with scope:
                together.wait()
                return True
        except ConfigError:
            together.wait()
            return False

    with ThreadPoolExecutor(8) as pool:
        entered = list(pool.map(enter, range(8)))

    assert sorted(entered) == [False] * 7 + [True]


def test_a_scope_that_was_never_entered_cannot_be_left():
    """Nor one twice."""
    scope = budget()
    with pytest.raises(ConfigError, match="before it was entered"):
        scope.__exit__(None, None, None)
    with scope:
        pass
    with pytest.raises(ConfigError, match="before it was entered"):
        scope.__exit__(None, None, None)


def test_scopes_that_are_left_in_the_wrong_order_leave_nothing_behind(client):
    """The inner one goes on; when it is left, the outer one does not come back to life."""
    outer, inner = budget(), budget()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    ask(client)
    assert current.get().opened_by is inner
    inner.__exit__(None, None, None)

    assert current.get() is None
    assert inner.spent > 0


def test_managers_can_be_left_in_the_wrong_order_too():
    """They share the scopes' chain."""
    one, two = BudgetManager("one", store="memory://"), BudgetManager("two", store="memory://")
    scope = budget()
    one.__enter__()
    scope.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert current.get().guard is two.guard
    scope.__exit__(None, None, None)
    two.__exit__(None, None, None)

    assert current.get() is None


async def test_a_scope_that_is_left_in_another_task_does_not_change_that_task():
    """Fixtures and finalizers do that."""
    scope = budget()
    await asyncio.create_task(_enter(scope))
    with budget() as mine:
        scope.__exit__(None, None, None)
        assert current.get().opened_by is mine

    assert current.get() is None


async def _enter(scope):
    scope.__enter__()


def test_exceptions_pass_unchanged(client):
    """A scope is no place where errors disappear."""
    with pytest.raises(ZeroDivisionError), budget():
        raise ZeroDivisionError
    assert current.get() is None
    with pytest.raises(openai.NotFoundError), budget():
        client.get("/nothing/here", cast_to=object)


def test_a_scope_that_was_left_is_freed_at_once(client):
    """A server makes one for each request: none of them waits for the garbage collector."""
    gc.disable()
    try:
        with budget(limit=1) as scope, budget():
            ask(client)
        gone = weakref.ref(scope)
        del scope
        assert gone() is None
    finally:
        gc.enable()


# -- refusals on the way out -------------------------------------------------------------------------------------


def test_a_refusal_that_an_installed_package_swallowed_is_raised_on_exit(client, framework):
    """An agent that goes on without its model would loop for ever."""
    with pytest.raises(BudgetExceededError, match="scope"), budget(limit=0):
        assert framework.swallow(ask, client) is None


def test_a_refusal_that_your_own_code_handled_is_handled(client):
    """Falling back to something cheaper is what one does."""
    with budget(limit=0), contextlib.suppress(BudgetExceededError):
        ask(client)
    with budget(limit=0):
        try:
            ask(client)
        except BudgetExceededError:
            answer = "too dear"

    assert answer == "too dear"


def test_a_refusal_that_came_through_a_package_to_your_own_code_is_handled(client, framework):
    """Who caught it counts, not who it passed."""
    with budget(limit=0), contextlib.suppress(BudgetExceededError):
        framework.run(ask, client)


def test_an_application_that_is_installed_as_a_package_is_your_own_code(client, framework, tmp_path):
    """Deployed applications live beside their libraries."""
    (tmp_path / "site-packages" / "application.py").write_text(
        textwrap.dedent(
            """
            import contextlib
            from budgetguard import BudgetExceededError, budget, budgeted

            def answer(ask, client):
                with contextlib.ExitStack() as stack:
                    stack.enter_context(budget(limit=0))
                    try:
                        return ask(client)
                    except BudgetExceededError:
                        return "too dear"

            @budgeted(limit=0)
            def decorated(ask, client):
                try:
                    return ask(client)
                except BudgetExceededError:
                    return "too dear"

            @budgeted(limit=0)
            def loses_it(swallow, ask, client):
                return swallow(ask, client)
            """
        )
    )
    application = importlib.import_module("application")

    assert application.answer(ask, client) == application.decorated(ask, client) == "too dear"
    assert framework.run(application.decorated, ask, client) == "too dear"
    with pytest.raises(BudgetExceededError):
        application.loses_it(framework.swallow, ask, client)
    del sys.modules["application"]


def test_a_refusal_leaves_as_itself_not_as_a_frameworks_error(client, framework):
    """So that one `except` is enough, whatever runs the calls."""
    with pytest.raises(BudgetExceededError), budget(limit=0):
        framework.wrap(ask, client)


def test_your_own_translation_of_a_refusal_is_left_alone(client):
    """A web application answers 402 with an error of its own."""

    def answer():
        with budget(limit=0):
            try:
                ask(client)
            except BudgetExceededError as error:
                raise PermissionError("402") from error

    with pytest.raises(PermissionError):
        answer()


def test_another_error_is_not_replaced_by_a_refusal_before_it(client, framework):
    """What went wrong last is what went wrong."""

    def fail():
        framework.swallow(ask, client)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), budget(limit=0):
        fail()


def test_interruptions_are_not_replaced(client, framework):
    """Nor cancellations: the loop waits for them."""

    def interrupted():
        try:
            framework.wrap(ask, client)
        except Exception:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt), budget(limit=0, reraise=True):
        interrupted()


async def _gathered(client):
    [refusal] = await asyncio.gather(ask(client), return_exceptions=True)
    return refusal


async def _looked_at(client):
    [task], _ = await asyncio.wait([asyncio.create_task(ask(client))])
    return task.exception()


async def _grouped(client):
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(client))
    except* BudgetExceededError as refused:
        [refusal] = refused.exceptions
    return refusal


async def _grouped_by_anyio(client):
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, client)
    except* BudgetExceededError as refused:
        [refusal] = refused.exceptions
    return refusal


@pytest.mark.parametrize("waiting", [_gathered, _looked_at, _grouped, _grouped_by_anyio])
async def test_a_refusal_of_a_task_is_handled_by_whoever_waits_for_it(shared_provider, waiting):
    """A task ends in the SDK's own coroutine, or in the loop's code, which did not swallow anything."""
    async with openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client, budget(limit=0):
        assert isinstance(await waiting(client), BudgetExceededError)


async def test_an_exception_group_stays_a_group(shared_provider):
    """`except*` finds the refusal in it."""
    found = []
    async with openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client:
        try:
            with budget(limit=0):
                async with asyncio.TaskGroup() as group:
                    group.create_task(ask(client))
        except* BudgetExceededError as refused:
            found = refused.exceptions

    assert len(found) == 1


@pytest.mark.parametrize("swallowed_by", ["package", "own code"])
def test_reraise_can_be_asked_for_or_refused(client, framework, swallowed_by):
    """`True`: whoever swallowed it; `False`: never, and a framework's error stays."""

    def swallow():
        if swallowed_by == "package":
            framework.swallow(ask, client)
        else:
            with contextlib.suppress(BudgetExceededError):
                ask(client)

    with pytest.raises(BudgetExceededError), budget(limit=0, reraise=True):
        swallow()
    with budget(limit=0, reraise=False):
        swallow()
    with pytest.raises(framework.ToolError), budget(limit=0, reraise=False):
        framework.wrap(ask, client)


def test_a_refusal_is_raised_by_the_innermost_scope_and_can_be_handled_there(client, framework):
    """The scopes around it then have nothing more to say."""
    with budget(limit=0):
        with pytest.raises(BudgetExceededError), budget():
            framework.swallow(ask, client)
        after = "went on"

    assert after == "went on"


# -- waiting -----------------------------------------------------------------------------------------------------


@pytest.fixture
def slow():
    """A provider that takes a tenth of a second."""
    with FakeProvider(latency_s=0.1) as started:
        yield started


def test_a_call_without_room_that_is_only_held_is_busy(slow):
    """It may pass in a moment; by default nobody waits."""
    with openai.OpenAI(api_key="none", base_url=slow.base_url) as client, budget(limit=0.0015) as scope:
        stream = ask(client, stream=True)
        with pytest.raises(BudgetBusyError, match="held by calls in flight"):
            ask(client)
        list(stream)
        assert scope.spent > 0


async def test_a_scope_can_wait_for_room_that_calls_in_flight_hold(slow):
    """Three calls, one after the other, where there is room for one at a time; the loop goes on meanwhile."""
    async with openai.AsyncOpenAI(api_key="none", base_url=slow.base_url) as client:
        calls = {"model": MODEL, "messages": MESSAGES, "max_tokens": 100}  # holds $0.0064 and more, costs $0.0008
        begun = time.monotonic()
        with budget(limit=0.009, wait=5) as scope:
            answers = await asyncio.gather(*[client.chat.completions.create(**calls) for _ in range(3)])

    assert len(answers) == 3
    assert time.monotonic() - begun > 0.3
    assert scope.spent < 0.009


def test_waiting_ends_with_the_refusal(slow):
    """After the time that was stated."""
    with openai.OpenAI(api_key="none", base_url=slow.base_url) as client, budget(limit=0.0015, wait=0.05):
        stream = ask(client, stream=True)
        with pytest.raises(BudgetBusyError):
            ask(client)
        stream.close()


def test_nobody_waits_for_money_that_is_spent(client):
    """It does not come back."""
    with budget(limit=0.0001, wait=600), pytest.raises(BudgetExceededError) as caught:
        ask(client)
    assert not isinstance(caught.value, BudgetBusyError)
