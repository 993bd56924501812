"""
What every test starts from: nothing patched, no process-wide limit, no store in the environment.

And what every test ends with: the books of every store that it opened add up.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import BudgetManager
from budgetguard.errors import StoreError
from budgetguard.guards.scope import current
from budgetguard.prices import hosts
from budgetguard.process.state import PROCESS
from budgetguard.sdks.hooks import Patches
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.postgres.store import PostgresStore
from budgetguard.stores.redis.store import RedisStore
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import FakeProvider, StoppedClock
from tests.support import ENVIRONMENT, ROOT, books, talking
from tests.support.sdk_shapes import run, wait

# An HTTP client that is made reads all authorities that it trusts: 20 ms for those of the world, in most of the tests.
ENVIRONMENT["SSL_CERT_FILE"] = os.environ["SSL_CERT_FILE"] = str(ROOT / "tests/support/nobody.pem")


def pytest_collection() -> None:
    """Nothing that is imported now is garbage: to look for some took a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()


@pytest.fixture(autouse=True, scope="module")
def _what_was_there_before_is_not_looked_through() -> None:
    """Tests collect garbage hundreds of times: the frameworks that are loaded by then would take a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("BUDGETGUARD_")]:
        monkeypatch.delenv(name)
    yield
    assert current.get() is None, "a scope was not left"
    budgetguard.unpatch()
    budgetguard.max_budget = None
    PROCESS.reaper.drain()
    PROCESS.reset()
    PROCESS.scoped = False
    Patches.idle.clear()
    hosts.forget()
    assert _left_open() == [], "calls are still open: the test after this one would have counted them as its own"


def _left_open() -> list[Any]:
    """The calls that a test left open; they are ended now, so that no other test is struck."""
    if PROCESS.open:
        PROCESS.sweep()  # streams that were dropped are garbage, which is no fault of the test
    left = list(PROCESS.open.values())
    for each in left:
        each.abandon()
    PROCESS.open.clear()
    return left


@pytest.fixture(autouse=True)
def _books_add_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every account is added up again, as `budgetguard check` does; but for stores that a test made `careless`."""
    opened: list[Any] = []
    for kind in (MemoryStore, SQLiteStore, RedisStore, PostgresStore):
        monkeypatch.setattr(kind, "__init__", _noting(kind.__init__, opened))
    yield
    for store in opened:
        if not getattr(store, "careless", False):
            with suppress(StoreError):  # of a file that was damaged on purpose, a server that was stopped
                assert store.check() == [], f"the books of {store!r} do not add up"
            store.close()


def _noting(make: Callable[..., None], opened: list[Any]) -> Callable[..., None]:
    @wraps(make)
    def make_and_note(store: Any, *args: Any, **kwargs: Any) -> None:
        make(store, *args, **kwargs)
        opened.append(store)

    return make_and_note


# -- what many tests begin with ----------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> StoppedClock:
    """Stands at noon of 1 January 2027."""
    return StoppedClock()


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every claim holds on both stores."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/budgets.db"


@pytest.fixture
def manager(url: str, clock: StoppedClock) -> Iterator[BudgetManager]:
    """A project without users."""
    made = BudgetManager("shop", store=url, clock=clock)
    yield made
    made.close()


@pytest.fixture
def made() -> Iterator[BudgetManager]:
    """Books of ann, in whose scope a test runs."""
    ours = books.manager()
    with ours, budgetguard.budget(user="ann"):
        yield ours


@pytest.fixture
def spoken() -> Iterator[BudgetManager]:
    """Books of ann, in whose scope a test runs, at the prices of what is said over sockets; every client is guarded."""
    ours = talking.manager()
    budgetguard.patch(ours)
    with budgetguard.budget(user="ann"):
        yield ours


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file for books."""
    return tmp_path / "budgets.db"


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[FakeProvider]:
    """A provider; `pytestmark = pytest.mark.provider(tokens=20)` says what it answers and bills in a file's tests."""
    with FakeProvider(**_marked(request)) as running:
        yield running


@pytest.fixture(scope="module")
def shared_provider(request: pytest.FixtureRequest) -> Iterator[FakeProvider]:
    """The same, one for all tests of a file."""
    with FakeProvider(**_marked(request)) as running:
        yield running


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    mark = request.node.get_closest_marker("provider")
    return {} if mark is None else mark.kwargs


@pytest.fixture(scope="module")
def client(shared_provider: FakeProvider) -> Iterator[openai.OpenAI]:
    """An ordinary client of the SDK."""
    with shared_provider.client(max_retries=0) as made:
        yield made


@pytest.fixture(params=["sync", "async"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop | None]:
    """Both kinds of client: the loop that an async one lives on, which has nothing to complain of; `None`: sync."""
    if request.param == "sync":
        yield None
        return
    loop, complaints = asyncio.new_event_loop(), list[Any]()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert complaints == []


@pytest.fixture
def go(provider: FakeProvider, loop: asyncio.AbstractEventLoop | None) -> Iterator[Callable[..., Any]]:
    """Run an async function of a client, that is the sync one or the async one."""
    client = provider.client() if loop is None else provider.async_client()
    yield lambda work, **options: run(work(client.with_options(**options)), loop)
    run(wait(client.close()), loop)


@pytest.fixture
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An installed package that swallows what its callbacks raise, or wraps it."""
    home = tmp_path / "site-packages"
    home.mkdir()
    (home / "agentic.py").write_text(
        textwrap.dedent(
            """
            class ToolError(Exception):
                pass

            def swallow(function, *args):
                try:
                    return function(*args)
                except Exception:
                    return None

            def wrap(function, *args):
                try:
                    return function(*args)
                except Exception as error:
                    raise ToolError("a tool failed") from error

            def run(function, *args):
                return function(*args)
            """
        )
    )
    monkeypatch.syspath_prepend(home)
    yield importlib.import_module("agentic")
    del sys.modules["agentic"]
