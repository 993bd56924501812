"""`patch` is done once, undone exactly, and gets along with other tools that wrap the same methods."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
import wrapt
from openai import _base_client, _streaming

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager
from budgetguard.sdks.hooks import Patches, default_guard
from budgetguard.testing import FakeProvider
from tests.support.books import bill, entries, manager
from tests.support.sdk_shapes import HI, MODEL

PLACES = [
    (_base_client.SyncAPIClient, "request"),
    (_base_client.AsyncAPIClient, "request"),
    (_base_client.SyncAPIClient, "_send_request"),
    (_base_client.AsyncAPIClient, "_send_request"),
    (_streaming.Stream, "__stream__"),
    (_streaming.AsyncStream, "__stream__"),
]


pytestmark = pytest.mark.provider(prices=bill)


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with provider.client() as own:
        yield own


def ask(client: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=HI)


def in_place() -> list[Any]:
    return [owner.__dict__[name] for owner, name in PLACES]


def test_patching_twice_is_patching_once(client):
    """Libraries and programs both call it at start-up."""
    before = in_place()
    made = manager()
    for _ in range(3):
        budgetguard.patch(made)
    with budgetguard.budget(user="ann"):
        ask(client)

    assert [layer.__wrapped__ for layer in in_place()] == before
    assert len(entries(made)) == 1


def test_unpatching_puts_back_the_very_same_objects():
    """Not equal ones, not wrapped ones; nothing is left on subclasses."""
    from openai.resources.realtime.realtime import RealtimeConnectionManager as Socket

    before = in_place()
    names = {owner: set(vars(owner)) for owner in (openai.OpenAI, openai.AsyncOpenAI, openai.AzureOpenAI)}
    door = "_connect_ws" if "_connect_ws" in vars(Socket) else "enter"  # as newer versions have it
    entry, second = vars(Socket)["__enter__"], vars(Socket)[door]
    for _ in range(2):
        budgetguard.patch(manager())
        assert not any(now is then for now, then in zip(in_place(), before, strict=True))
        assert vars(Socket)[door] is not second
        budgetguard.unpatch()

        assert all(now is then for now, then in zip(in_place(), before, strict=True))
        assert (vars(Socket)["__enter__"], vars(Socket)[door]) == (entry, second)
        assert {owner: set(vars(owner)) for owner in names} == names


def test_after_unpatching_nothing_is_guarded(client):
    """Also not what was bound while it was patched."""
    made = manager()
    budgetguard.patch(made)
    bound = client.chat.completions.create
    budgetguard.unpatch()

    bound(model=MODEL, messages=HI)
    ask(client)

    assert entries(made) == []


def test_a_scope_guards_without_a_patch(client):
    """`with budget(...)` is enough for a script."""
    with budgetguard.budget(limit=1) as scope:
        ask(client)

    assert scope.spent > 0


def test_a_patched_method_looks_as_before(client):
    """Frameworks look at signatures, and at whether a function is a coroutine's."""
    other = openai.AsyncOpenAI(api_key="none")
    before = (inspect.signature(client.request), inspect.signature(other.request), client.request.__doc__)
    budgetguard.patch(manager())

    assert (inspect.signature(client.request), inspect.signature(other.request), client.request.__doc__) == before
    assert inspect.iscoroutinefunction(other.request)
    assert not inspect.iscoroutinefunction(client.request)
    assert inspect.isgeneratorfunction(openai.Stream.__stream__)
    assert inspect.isasyncgenfunction(openai.AsyncStream.__stream__)
    asyncio.run(other.close())


# -- other tools -------------------------------------------------------------------------------------------------------


def _passing_on(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def _closure(original: Any) -> Any:
    """What tools without wrapt put in place: nobody can see through it."""

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    return request


@pytest.fixture(params=["wrapt", "closure"])
def tool(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Another tool: `tool()` instruments, and returns what it found in place."""
    original = vars(_base_client.SyncAPIClient)["request"]

    def instrument() -> Any:
        found = vars(_base_client.SyncAPIClient)["request"]
        layer = wrapt.FunctionWrapper(found, _passing_on) if request.param == "wrapt" else _closure(found)
        _base_client.SyncAPIClient.request = layer
        return found

    yield instrument
    _base_client.SyncAPIClient.request = original


def once(client: Any) -> int:
    """How often one call is counted."""
    made = manager()
    budgetguard.patch(made)
    with budgetguard.budget(user="ann"):
        ask(client)
        list(client.chat.completions.create(model=MODEL, messages=HI, stream=True))
    return len(entries(made)) // 2


def test_a_tool_beneath_us_is_left_in_place(client, tool):
    """Unpatching takes out ours alone."""
    tool()
    theirs = vars(_base_client.SyncAPIClient)["request"]

    assert once(client) == 1
    budgetguard.unpatch()
    assert vars(_base_client.SyncAPIClient)["request"] is theirs


def test_a_tool_above_us_stays_and_ours_is_idle_beneath_it(client, tool):
    """Taking ours out of the middle would take the tool's out as well."""
    made = manager()
    budgetguard.patch(made)
    tool()
    theirs = vars(_base_client.SyncAPIClient)["request"]
    budgetguard.unpatch()

    assert vars(_base_client.SyncAPIClient)["request"] is theirs
    ask(client)
    assert entries(made) == []


def test_patching_again_beneath_a_tool_counts_once(client, tool):
    """Whether the tool can be seen through or not."""
    budgetguard.patch(manager())
    tool()
    budgetguard.unpatch()

    assert once(client) == 1
    assert once(client) == 1


def test_two_layers_of_ours_hear_each_item_once(client):
    """A tool that nobody can see through, and a patch above and beneath it."""
    original = vars(openai.Stream)["__stream__"]
    made = [manager(), manager()]
    try:
        for ours in made:
            budgetguard.patch(ours)
            with (
                budgetguard.budget(user="ann"),
                client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream,
            ):
                for _ in range(5):
                    next(stream)
            covered = vars(openai.Stream)["__stream__"]
            openai.Stream.__stream__ = lambda self, covered=covered: covered(self)
            budgetguard.unpatch()
    finally:
        openai.Stream.__stream__ = original

    once, twice = (entries(ours)[0].usage for ours in made)
    assert once == twice
    assert once["output_tokens"] > 0


def test_nothing_is_kept_of_a_call_that_is_over(provider, client):
    """What is asked for next is no part of it."""
    from budgetguard.process.state import PROCESS
    from budgetguard.sdks.exchange import charging

    charging.set(None)  # of what calls left that were interrupted, elsewhere
    budgetguard.patch(manager())
    with budgetguard.budget(user="ann"):
        ask(client)
        list(client.chat.completions.create(model=MODEL, messages=HI, stream=True))
        provider.fail_next(500)
        with pytest.raises(openai.InternalServerError):
            ask(client)

    assert charging.get() is None
    assert PROCESS.open == {}


def test_a_tool_that_takes_us_out_is_made_good_by_patching_again(client, tool):
    """Uninstrumenting puts back what was there at instrument time: without us."""
    original = tool()
    budgetguard.patch(manager())
    _base_client.SyncAPIClient.request = original

    assert once(client) == 1


def test_a_copy_of_ours_that_a_tool_left_behind_is_idle_after_unpatching(client):
    """Some tools keep what they found on a subclass, for good."""
    made = manager()
    budgetguard.patch(made)
    openai.OpenAI.request = vars(_base_client.SyncAPIClient)["request"]
    try:
        assert once(client) == 1
        budgetguard.unpatch()
        ask(client)
        assert entries(made) == []
        assert once(client) == 1
    finally:
        del openai.OpenAI.request


# -- one client --------------------------------------------------------------------------------------------------------


def test_one_client_can_be_guarded_alone(client, provider):
    """And the copies that are made of it, and theirs; no other."""
    made = manager()
    assert budgetguard.guard(client, made) is client

    with provider.client() as other, budgetguard.budget(user="ann"):
        pass
    made.create_budget(1, "bob")
    with provider.client() as other:
        for each in (client, client.with_options(timeout=9), client.copy().with_options(max_retries=1), other):
            each.chat.completions.create(model=MODEL, messages=HI, user="bob")

    assert len(entries(made)) == 3


def test_a_guarded_client_is_refused_without_a_patch(client, provider):
    """The guard is the whole guard."""
    budgetguard.guard(client, manager("0.000000001"))

    with pytest.raises(BudgetExceededError):
        client.with_options(timeout=3).chat.completions.create(model=MODEL, messages=HI, user="ann")
    assert provider.requests == []


def test_an_azure_client_can_be_guarded_alone(provider):
    """Its `copy` is its own."""
    made = manager()
    azure = openai.AzureOpenAI(api_key="none", azure_endpoint=provider.root_url, api_version="2024-10-21")
    with budgetguard.guard(azure, made) as client:
        client.with_options(timeout=9).chat.completions.create(model=MODEL, messages=HI, user="ann")

    assert len(entries(made)) == 1


def test_what_is_no_client_cannot_be_guarded():
    """`guard(openai)` is a likely mistake."""
    with pytest.raises(TypeError, match="an OpenAI or AsyncOpenAI client is needed, not module"):
        budgetguard.guard(openai)


# -- processes and threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["import openai", "pass"])
def test_it_does_not_matter_which_is_imported_first(first, provider):
    """`patch` imports no SDK; it waits for one."""
    program = f"""
        import sys
        {first}
        import budgetguard
        manager = budgetguard.BudgetManager("first", store="memory://")
        manager.create_budget(1, "ann")
        budgetguard.patch(manager)
        assert ("openai" in sys.modules) is {first != "pass"}
        import openai
        assert "openai.resources.realtime.realtime" not in sys.modules
        client = openai.OpenAI(base_url="{provider.base_url}", api_key="none")
        client.chat.completions.create(model="{MODEL}", messages={HI!r}, user="ann")
        print(len(list(manager.store.entries())))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_patch_while_calls_are_in_flight_breaks_none_of_them(provider, client):
    """Threads call, and the patch comes and goes."""
    made = manager()
    stop = threading.Event()

    def call() -> int:
        number = 0
        while not stop.is_set():
            assert ask(client).choices
            assert list(client.chat.completions.create(model=MODEL, messages=HI, stream=True))
            number += 1
        return number

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call) for _ in range(4)]
        for _ in range(50):
            budgetguard.patch(made)
            threading.Event().wait(0.005)
            budgetguard.unpatch()
        stop.set()
        assert sum(done.result() for done in calls) > 0
    assert made.store.holds() == []


def test_plain_threads_are_under_the_process_wide_default(client):
    """A thread does not inherit the scope, but the budget holds; `carry_scope` takes the scope along."""
    made = manager()
    budgetguard.patch(made)
    with budgetguard.budget(user="ann", limit=1) as scope, ThreadPoolExecutor(2) as pool:
        pool.submit(ask, client).result()
        alone = scope.spent
        pool.submit(budgetguard.carry_scope(ask), client).result()

    assert alone == 0
    assert scope.spent > 0
    assert [entry.tags.get("user") for entry in entries(made)] == [None, "ann"]


def test_nested_calls_are_counted_one_by_one(provider, client, monkeypatch):
    """A client that asks another one for its key, in the middle of its own call."""
    made = manager()
    budgetguard.patch(made)
    with provider.client() as inner:
        prepare = client._prepare_options

        def preparing(options: Any) -> Any:
            ask(inner)
            return prepare(options)

        monkeypatch.setattr(client, "_prepare_options", preparing)
        with budgetguard.budget(user="ann"):
            ask(client)

    assert len(provider.requests) == 2
    assert len(entries(made)) == 2


def test_an_inner_manager_counts_instead_of_the_process_wide_one(client):
    """`with manager:` is for the calls inside."""
    outer, inner = manager(), manager()
    budgetguard.patch(outer)
    with budgetguard.budget(user="ann"):
        ask(client)
        with inner:
            ask(client)

    assert (len(entries(outer)), len(entries(inner))) == (1, 1)


def test_a_manager_is_needed():
    """Not a string, not a client."""
    with pytest.raises(budgetguard.ConfigError, match="a BudgetManager is needed"):
        budgetguard.patch("sqlite:///budgets.db")


def test_a_store_in_a_file_counts_as_one_in_memory(client, provider, tmp_path):
    """The async client settles in a thread there, the sync one where it stands."""
    made = BudgetManager("file", store=f"sqlite:///{tmp_path}/books.db")
    made.create_budget(1, "ann")

    async def together() -> None:
        async with provider.async_client() as other:
            create = other.chat.completions.create
            await asyncio.gather(*(create(model=MODEL, messages=HI) for _ in range(5)))
            stream = await create(model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True})
            assert [item async for item in stream]

    with made, budgetguard.budget(user="ann"):
        ask(client)
        list(client.chat.completions.create(model=MODEL, messages=HI, stream=True))
        asyncio.run(together())

    assert len(entries(made)) == 8
    assert made.store.holds() == []
    made.store.close()


def test_two_threads_may_undo_the_patch_at_once(monkeypatch):
    """As two tests' tear-downs do, or a reload and an exit."""
    from budgetguard.sdks.hooks import Patches

    barrier, errors = threading.Barrier(2), []

    class Wrapper:
        @property
        def __wrapped__(self) -> str:
            barrier.wait(5)  # both have seen that it is in place
            return "the SDK's own"

    class Owner:
        request: Any = Wrapper()

    def undo() -> None:
        try:
            budgetguard.unpatch()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=undo) for _ in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(Patches, "patched", {(Owner, "request"): Owner.request})
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert Owner.request == "the SDK's own"


def test_threads_that_call_first_at_once_have_one_guard(monkeypatch):
    """Each with one of its own would warn apart, open the store apart, and lose what the others keep."""
    monkeypatch.setattr(Patches, "unmanaged", None)
    begin = threading.Barrier(8)

    def find(_: int) -> Any:
        begin.wait()
        return default_guard()

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            Patches.unmanaged = None
            with ThreadPoolExecutor(8) as pool:
                assert len(set(map(id, pool.map(find, range(8))))) == 1
    finally:
        sys.setswitchinterval(switch)


def test_a_version_that_is_not_as_we_know_it_breaks_no_import(tmp_path):
    """An SDK too old or too new starts as ever, the others are guarded, and whoever relies on it is told."""
    for module, text in {
        "groq/__init__.py": "from . import _base_client",
        "groq/_streaming.py": "",
        "groq/_base_client.py": """
from . import _streaming
class SyncAPIClient:
    def request(self): return 7
class AsyncAPIClient: pass
""",
        "google/genai/__init__.py": "from . import _api_client",
        "google/genai/_api_client.py": "class ApiClient: pass",
    }.items():
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / module).write_text(text)
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import google
        google.__path__ = [sys.argv[1] + "/google"]
        import google.genai
        from unittest.mock import MagicMock
        sys.modules["websockets.legacy.client"] = MagicMock()
        import budgetguard
        budgetguard.patch()
        budgetguard.patch()
        import groq, openai
        assert groq._base_client.SyncAPIClient().request() == 7
        assert type(vars(groq._base_client.SyncAPIClient)["request"]).__name__ == "function", "half a guard is none"
        assert hasattr(vars(openai._base_client.SyncAPIClient)["request"], "__wrapped__")
        budgetguard.unpatch()
        budgetguard.patch()
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stderr.splitlines() if "is not as budgetguard knows it" in line]
    assert [line.partition(")")[0] for line in said] == [
        "google.genai._api_client is not as budgetguard knows it (it has no BaseApiClient",
        "websockets.legacy.client is not as budgetguard knows it (it has no __name__",
        "groq._base_client is not as budgetguard knows it (AsyncAPIClient has no request",
    ]


def test_what_another_thread_is_importing_is_patched_once_it_is_there(tmp_path):
    """A worker imports its SDK while the program starts: half a module cannot be patched, and nothing comes later."""
    (tmp_path / "groq").mkdir()
    (tmp_path / "groq" / "__init__.py").write_text("from . import _base_client")
    (tmp_path / "groq" / "_streaming.py").write_text(
        "class Stream:\n    def __stream__(self): pass\nclass AsyncStream(Stream):\n    def __stream__(self): pass"
    )
    (tmp_path / "groq" / "_base_client.py").write_text(
        textwrap.dedent("""
            from __main__ import asked, begun
            from . import _streaming
            begun.set()
            asked.wait(20)
            class SyncAPIClient:
                def request(self): pass
            class AsyncAPIClient:
                def request(self): pass
        """)
    )
    program = """
        import sys, threading
        sys.path.insert(0, sys.argv[1])
        import budgetguard
        from budgetguard.sdks import hooks
        asked, begun, load = threading.Event(), threading.Event(), hooks.import_module
        hooks.import_module = lambda name: asked.set() or load(name)
        thread = threading.Thread(target=lambda: load("groq"))
        thread.start()
        begun.wait()
        budgetguard.patch()
        asked.set()
        thread.join()
        from groq._base_client import AsyncAPIClient
        assert hasattr(vars(AsyncAPIClient)["request"], "__wrapped__")
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_seam_that_comes_later_says_beforehand_what_it_patches() -> None:
    """A module that it forgets to name would pass unguarded."""
    from budgetguard.sdks import floor, google, litellm, sockets, speakeasy
    from budgetguard.sdks.floor import hooks as floor_hooks
    from budgetguard.sdks.google import hooks as google_hooks
    from budgetguard.sdks.litellm import hooks as litellm_hooks
    from budgetguard.sdks.sockets import doors, legacy
    from budgetguard.sdks.sockets import hooks as socket_hooks
    from budgetguard.sdks.speakeasy import hooks as speakeasy_hooks

    assert set(google_hooks.HOOKS) == set(google.MODULES)
    assert set(litellm_hooks.HOOKS) == set(litellm.MODULES)
    assert set(speakeasy_hooks.HOOKS) == set(speakeasy.MODULES)
    assert set(floor_hooks.HOOKS) == set(floor.MODULES)
    assert set(socket_hooks.HOOKS) == set(sockets.MODULES)
    assert set(doors.HOOKS) == set(sockets.DOORS)
    assert set(legacy.HOOKS) == set(sockets.LEGACY)


def test_patch_imports_no_seam_whose_sdk_nobody_imported() -> None:
    """They are half of the package: a program waits for them when it starts."""
    program = (
        "import sys, budgetguard; budgetguard.patch(); "
        "print([name for name in sys.modules if name.startswith(('budgetguard.adapters.gemini', "
        "'budgetguard.adapters.bedrock', 'budgetguard.adapters.cohere', 'budgetguard.sdks.litellm.hooks', "
        "'budgetguard.sdks.floor.hooks', 'budgetguard.sdks.sockets.session'))])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
