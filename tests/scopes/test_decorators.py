"""`@budgeted(...)`: functions of every kind run inside a scope, and nothing else of them changes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import operator
from types import SimpleNamespace

import openai
import pytest

from budgetguard import BudgetExceededError, BudgetManager, ConfigError, budget, budgeted
from budgetguard.guards.scope import current
from budgetguard.ledger import Query

MODEL = "gpt-4"
MESSAGES = [{"role": "user", "content": "Hey, how's it going"}]


def ask(client):
    """One small call."""
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10)


def who():
    """The user of the scope that we are in; `None` outside."""
    scope = current.get()
    return None if scope is None else scope.tags.get("user")


def test_a_functions_calls_count_on_the_user(client):
    """Without an earlier patch."""
    manager = BudgetManager("shop", store="memory://")
    manager.create_budget(1, "ann")

    @budgeted(user="ann", tags={"feature": "search"})
    def answer(question):
        """Doc."""
        return ask(client).choices[0].message.content

    with manager:
        assert answer("how?")
    [entry] = manager.store.entries(Query(tags={"user": "ann", "feature": "search"}))
    assert manager.get_current_cost("ann") == entry.cost / 1e9 > 0


async def test_a_coroutine_functions_calls_count_on_the_user(shared_provider):
    """It stays a coroutine function."""

    @budgeted(user="ann", limit=1)
    async def answer():
        async with openai.AsyncOpenAI(api_key="none", base_url=shared_provider.base_url) as client:
            await ask(client)
        return who(), current.get().opened_by.spent

    assert inspect.iscoroutinefunction(answer)
    user, spent = await answer()
    assert (user, spent > 0) == ("ann", True)


def test_every_call_has_a_limit_of_its_own(client):
    """The limit is for one call of the function, not for all together."""

    @budgeted(limit=0.002)
    def answer():
        ask(client)
        return current.get().opened_by.remaining

    assert answer() == answer() > 0


def test_a_call_above_the_limit_is_refused(client):
    """`enforce` says how strictly."""

    @budgeted(limit=0.0001)
    def strict():
        return ask(client)

    @budgeted(limit=0.0001, enforce="observe")
    def loose():
        return ask(client)

    with pytest.raises(BudgetExceededError):
        strict()
    assert loose().usage


# -- whose budget ------------------------------------------------------------------------------------------------


def test_the_user_can_be_a_function_of_an_argument():
    """It gets the arguments that it names, however they were passed."""
    default = SimpleNamespace(user="default")

    @budgeted(user=lambda request: request.user)
    def view(page, request=default):
        return who()

    assert view(1, SimpleNamespace(user="ann")) == "ann"
    assert view(request=SimpleNamespace(user="bob"), page=2) == "bob"
    assert view(3) == "default"


def test_the_user_can_be_a_function_of_all_arguments():
    """Where it names them in its own way."""

    @budgeted(user=lambda *args, **kwargs: kwargs.get("user") or args[0])
    def view(name, user=None):
        return who()

    @budgeted(user=lambda first, second: second)
    def other(a, b):
        return who()

    assert (view("ann"), view("ann", user="bob"), other("ann", "bob")) == ("ann", "bob", "bob")


def test_the_user_can_come_from_elsewhere():
    """A function without arguments, or one written in C."""
    session = contextvars.ContextVar("session", default="ann")

    @budgeted(user=lambda: session.get())
    def view(page):
        return who()

    @budgeted(user=operator.attrgetter("user"))
    def getter(request):
        return who()

    assert view(1) == "ann"
    assert getter(SimpleNamespace(user="bob")) == "bob"


def test_the_user_of_a_method_can_be_its_objects():
    """`self` is an argument as any other."""

    class Session:
        user = "ann"

        @budgeted(user=lambda self: self.user)
        def answer(self):
            return who()

        @staticmethod
        @budgeted(user="static")
        def still():
            return who()

        @classmethod
        @budgeted(user=lambda cls: cls.__name__)
        def whole(cls):
            return who()

    assert (Session().answer(), Session.still(), Session().whole()) == ("ann", "static", "Session")


def test_a_function_that_knows_no_user_leaves_the_outer_one():
    """`None` is nobody new."""

    @budgeted(user=lambda: None, tags={"feature": "x"})
    def view():
        return who()

    with budget(user="ann"):
        assert view() == "ann"
    assert view() is None


def test_arguments_that_do_not_fit_fail_as_without_the_decorator():
    """The error is Python's own."""

    @budgeted(user=lambda request: request)
    def view(request):
        return who()

    with pytest.raises(TypeError, match="request"):
        view()


# -- generators --------------------------------------------------------------------------------------------------


@budgeted(user="ann")
def conversation(first):
    """A generator with everything that generators can do."""
    seen = [who()]
    try:
        got = yield first
        while got != "end":
            try:
                got = yield (got, who())
            except KeyError as error:
                got = f"caught {error.args[0]}"
    finally:
        seen.append(who())
        conversation.seen = seen
    return "returned"


def test_a_generator_runs_inside_and_its_consumer_outside():
    """The scope does not leak between the items."""
    items = conversation("first")
    assert inspect.isgeneratorfunction(conversation)
    assert (next(items), who()) == ("first", None)
    assert (items.send("more"), who()) == (("more", "ann"), None)
    assert (items.throw(KeyError("key")), who()) == (("caught key", "ann"), None)
    with pytest.raises(StopIteration) as end:
        items.send("end")

    assert (end.value.value, who()) == ("returned", None)
    assert conversation.seen == ["ann", "ann"]


def test_closing_a_generator_closes_it_inside():
    """What it does on the way out counts too."""
    items = conversation("first")
    next(items)
    items.close()

    assert (conversation.seen, who()) == (["ann", "ann"], None)


def test_a_generator_that_is_dropped_is_closed_inside():
    """Nobody closes generators by hand."""
    items = conversation("first")
    next(items)
    del items
    gc.collect()

    assert (conversation.seen, who()) == (["ann", "ann"], None)


def test_a_generators_error_leaves_it_and_the_scope():
    """And it is exhausted then."""
    items = conversation("first")
    next(items)
    with pytest.raises(ZeroDivisionError):
        items.throw(ZeroDivisionError)

    assert who() is None
    assert list(items) == []


def test_yield_from_sees_the_return_value():
    """A decorated generator can be a part of another."""

    def outer():
        return (yield from conversation("first"))

    items = outer()
    next(items)
    with pytest.raises(StopIteration, match="returned"):
        items.send("end")


def test_all_items_of_a_generator_share_one_limit(client):
    """One call of the function, one scope."""

    @budgeted(limit=0.0025)
    def answers():
        while True:
            ask(client)
            yield current.get().opened_by.spent.nano

    items = answers()
    assert next(items) * 2 == next(items)
    with pytest.raises(BudgetExceededError):
        list(items)


def test_two_generators_side_by_side_do_not_mix():
    """Their items may alternate, inside of a scope or out."""

    @budgeted(user=lambda name: name)
    def names(name):
        for _ in range(2):
            yield who()

    with budget(user="outer"):
        pairs = [(one, two, who()) for one, two in zip(names("one"), names("two"), strict=True)]

    assert pairs == [("one", "two", "outer")] * 2


@budgeted(user="ann")
async def async_conversation(first):
    """The same as an async generator."""
    seen = [who()]
    try:
        got = yield first
        while got != "end":
            await asyncio.sleep(0)
            try:
                got = yield (got, who())
            except KeyError as error:
                got = f"caught {error.args[0]}"
    finally:
        await asyncio.sleep(0)
        seen.append(who())
        async_conversation.seen = seen


async def test_an_async_generator_runs_inside_and_its_consumer_outside():
    """The scope does not leak between the items."""
    items = async_conversation("first")
    assert inspect.isasyncgenfunction(async_conversation)
    assert (await anext(items), who()) == ("first", None)
    assert (await items.asend("more"), who()) == (("more", "ann"), None)
    assert (await items.athrow(KeyError("key")), who()) == (("caught key", "ann"), None)
    with pytest.raises(StopAsyncIteration):
        await items.asend("end")

    assert (async_conversation.seen, who()) == (["ann", "ann"], None)


async def test_closing_an_async_generator_closes_it_inside():
    """What it does on the way out counts too."""
    items = async_conversation("first")
    await anext(items)
    await items.aclose()

    assert (async_conversation.seen, who()) == (["ann", "ann"], None)


async def test_an_async_generator_may_be_consumed_by_several_tasks():
    """Each item may be asked for in another task."""
    items = async_conversation("first")
    await asyncio.create_task(anext(items))
    assert await asyncio.create_task(items.asend("more")) == ("more", "ann")
    await asyncio.create_task(items.aclose())

    assert who() is None


async def test_a_cancelled_task_leaves_the_scope():
    """The cancellation passes through the generator's own clean-up."""
    started = asyncio.Event()

    @budgeted(user="ann")
    async def forever():
        try:
            yield 1
            started.set()
            await asyncio.sleep(60)
        finally:
            forever.left_as = who()

    async def consume():
        async for _ in forever():
            pass

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert forever.left_as == "ann"


async def test_a_function_that_returns_a_coroutine_is_awaited_inside():
    """Another decorator may have hidden that it is async."""

    async def body():
        await asyncio.sleep(0)
        return who()

    @budgeted(user="ann")
    def hidden():
        return body()

    assert await hidden() == "ann"
    assert who() is None


# -- the rest of a function --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [conversation, async_conversation])
def test_a_decorated_function_keeps_its_name_its_signature_and_its_words(function):
    """For frameworks that look at them."""
    assert function.__name__.endswith("conversation")
    assert function.__doc__
    assert list(inspect.signature(function).parameters) == ["first"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"user": ""}, "user="),
        ({"user": 5}, "user="),
        ({"limit": -1}, "limit="),
        ({"tags": {"team": 5}}, "tags"),
        ({"enforce": "maybe"}, "enforce="),
        ({"wait": -1}, "wait="),
    ],
)
def test_bad_arguments_are_refused_where_the_decorator_stands(arguments, named):
    """Not at the first call, in production."""
    with pytest.raises(ConfigError, match=f"^{named}"):
        budgeted(**arguments)


def test_a_user_that_is_no_text_is_refused_before_the_function_runs():
    """An id of another type is not silently another user."""
    ran = []

    @budgeted(user=lambda request: request)
    def view(request):
        ran.append(request)

    with pytest.raises(ConfigError, match="user=5"):
        view(5)
    assert ran == []


def test_brackets_that_were_forgotten_are_asked_for():
    """`@budgeted` alone would take the function for `user`."""

    @budgeted
    def answer(question):
        return question

    with pytest.raises(ConfigError, match="brackets"):
        answer("how?")
