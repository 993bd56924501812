"""The openai SDK's WebSockets have a gate: no room, no connection; and one warning where nothing can be counted."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import BudgetExceededError
from budgetguard.sdks.sockets.doors import SOCKETS, entrances
from tests.support.books import entries, manager

HERE = "http://127.0.0.1:9/v1"
"""A port that nobody listens on."""

SURFACES: dict[str, Callable[[Any], Any]] = {
    "realtime.connect": lambda c: c.realtime.connect(model="gpt-realtime"),
    "beta.realtime.connect": lambda c: c.beta.realtime.connect(model="gpt-realtime"),
    "realtime.translations.connect": lambda c: c.realtime.translations.connect(model="gpt-realtime"),
    "live.connect": lambda c: c.live.connect(),
    "live.sideband.connect": lambda c: c.live.sideband.connect(session_id="s"),
    "live.forks.connect": lambda c: c.live.forks.connect(session_id="s"),
    "responses.connect": lambda c: c.responses.connect(),
    "beta.responses.connect": lambda c: c.beta.responses.connect(),
}
MODULES = {endpoint.name: module for module, endpoint in SOCKETS.items()}


def present(name: str) -> bool:
    """Whether this SDK has the surface."""
    try:
        return importlib.util.find_spec(MODULES[name]) is not None
    except ModuleNotFoundError:
        return False


PRESENT = pytest.mark.parametrize("name", [name for name in SURFACES if present(name)])


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    own = asyncio.new_event_loop()
    yield own
    own.close()


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=HERE) as own:
        yield own


@pytest.fixture(scope="module")
def async_client(loop: asyncio.AbstractEventLoop) -> Iterator[openai.AsyncOpenAI]:
    own = openai.AsyncOpenAI(api_key="none", base_url=HERE)
    yield own
    loop.run_until_complete(own.close())


@pytest.fixture(params=["with", "enter", "async with", "async enter"])
def open_(request, client, async_client, loop) -> Callable[[Callable[[Any], Any]], None]:
    """Open a connection in one of the ways to do it."""

    def blocking(connect: Callable[[Any], Any]) -> None:
        if request.param == "enter":
            connect(client).enter()
        else:
            with connect(client):
                pass

    async def waiting(connect: Callable[[Any], Any]) -> None:
        if request.param == "async enter":
            await connect(async_client).enter()
        else:
            async with connect(async_client):
                pass

    if request.param.startswith("async"):
        return lambda connect: loop.run_until_complete(waiting(connect))
    return blocking


def outcome(open_: Any, connect: Any) -> type[BaseException]:
    """How the SDK's own attempt to connect ends, with nobody there."""
    try:
        open_(connect)
    except Exception as error:
        return type(error)
    raise AssertionError("somebody listens on port 9")


@PRESENT
def test_a_connection_without_room_is_refused(name, open_):
    """Nothing can be taken back once it talks."""
    made = manager("0")
    with made, budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError, match="users/ann"):
        open_(SURFACES[name])

    assert made.store.holds() == []


@PRESENT
def test_a_connection_with_room_goes_on_and_is_warned_of_where_it_is_not_counted(name, open_, caplog):
    """It holds nothing itself; who attaches to a session that others lead is told that nobody counts it here."""
    alone = outcome(open_, SURFACES[name])
    made = manager()
    with made, budgetguard.budget(user="ann"), caplog.at_level(logging.WARNING, "budgetguard"):
        for _ in range(2):
            assert outcome(open_, SURFACES[name]) is alone

    warning = f"{name}: its cost cannot be read from its reply and is not counted; budgets only gate it"
    warned = [record.getMessage() for record in caplog.records if record.name == "budgetguard"]
    assert warned == ([warning] if name == "live.sideband.connect" else [])
    assert (entries(made), made.store.holds()) == ([], [])


@PRESENT
def test_a_connection_of_a_guarded_client_is_gated_without_a_patch(name, client):
    """`guard(client)` covers all that the client does."""
    made = manager("0")
    connection = SURFACES[name](budgetguard.guard(client.copy(), made))

    with budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError):
        connection.enter()


@PRESENT
def test_unpatching_takes_the_gates_down(name, open_):
    """Exactly: the methods are the very same objects."""
    module = import_module(MODULES[name])
    before = {(owner, method): vars(owner)[method] for owner, method, _ in entrances(module)}
    assert len(before) in {2, 4}
    budgetguard.patch(manager("0"))
    assert all(vars(owner)[method] is not was for (owner, method), was in before.items())

    budgetguard.unpatch()

    assert all(vars(owner)[method] is was for (owner, method), was in before.items())
    assert outcome(open_, SURFACES[name]) is not BudgetExceededError


def test_every_connection_manager_of_the_sdk_has_a_gate():
    """A new kind of connection in a new SDK is noticed here."""
    import pkgutil

    import openai.resources

    found = set()
    for info in pkgutil.walk_packages(openai.resources.__path__, "openai.resources."):
        module = import_module(info.name)
        for name, owner in vars(module).items():
            if name.endswith("ConnectionManager") and isinstance(owner, type):
                found.add(owner.__module__)

    assert found == {module for name, module in MODULES.items() if present(name)}


def test_gates_wait_for_the_sdk_to_import_what_they_stand_before():
    """The SDK imports its resources when they are used; a patch does not change that."""
    program = """
        import sys, budgetguard, openai
        budgetguard.patch(budgetguard.BudgetManager("lazy", store="memory://"))
        names = [name for name in sys.modules if name.startswith("openai.resources.")]
        assert not names, names
        from openai.resources.realtime.realtime import RealtimeConnectionManager as Socket
        assert any(hasattr(method, "__wrapped__") for method in vars(Socket).values())
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(program)], check=True)


def test_the_old_client_of_websockets_is_warned_of(monkeypatch, caplog):
    """Its messages pass by every seam: a program that talks to a model by it has to know that no budget holds."""
    from budgetguard.sdks.sockets import legacy

    monkeypatch.setattr(legacy, "_said", set())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = import_module("websockets.legacy.client")
    budgetguard.patch(manager())

    async def connect(url: str) -> None:
        old.connect(url)

    for url in ("wss://api.openai.com/v1/realtime?model=gpt-realtime&key=secret",) * 2 + ("wss://example.com/prices",):
        asyncio.run(connect(url))
    [said] = [record.getMessage() for record in caplog.records if record.name == "budgetguard"]
    assert said.startswith("a socket to api.openai.com is opened by the legacy client")
