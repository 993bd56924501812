"""What is said over WebSockets is held and settled: the openai SDK's connections, against a provider that bills."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, UnscopedCallError
from budgetguard.guards.settings import Settings
from budgetguard.prices.book import PriceBook
from budgetguard.process.state import PROCESS
from budgetguard.sdks.exchange import charging
from budgetguard.testing import FakeSockets, SocketPlan
from tests.support.books import entries
from tests.support.sdk_shapes import enter, run, wait
from tests.support.talking import (
    EAR,
    LIVE,
    PRICES,
    REALTIME,
    SECOND,
    TEXT,
    TRANSLATE,
    append,
    manager,
    price,
    until,
)

pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
"""The SDK's sync connections are made as `websockets` 17 would not have it."""

HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello there"}]}


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[FakeSockets]:
    """Answers of 20 tokens, 12 of them sound; a mark says what is different."""
    mark = request.node.get_closest_marker("provider")
    fields = {"tokens": 20, "audio": 12, **({} if mark is None else mark.kwargs)}
    with FakeSockets(prices=price, **fields) as running:
        yield running


@pytest.fixture
def talk(provider: FakeSockets, loop: asyncio.AbstractEventLoop | None) -> Callable[..., Any]:
    """Run an async function of a client, that is the sync one or the async one."""

    def go(work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            client = provider.client() if loop is None else provider.async_client()
            try:
                return await work(client)
            finally:
                await wait(client.close())

        return run(whole(), loop)

    return go


def costs(spoken: BudgetManager) -> list[int]:
    PROCESS.reaper.drain()
    return sorted(entry.cost for entry in entries(spoken))


def bills(provider: FakeSockets) -> list[int]:
    return sorted(bill.amount for bill in provider.ledger)


def held(spoken: BudgetManager) -> list[int]:
    return [hold.amount for hold in spoken.store.holds()]


async def ask(connection: Any) -> Any:
    """One answer of a Realtime session."""
    await wait(connection.conversation.item.create(item=HELLO))
    await wait(connection.response.create())
    return await until(connection, "response.done")


@asynccontextmanager
async def closing(connection: Any) -> AsyncIterator[None]:
    """Close a connection of either kind in the end."""
    try:
        yield
    finally:
        await wait(connection.close())


def test_every_answer_is_held_and_costs_what_the_provider_bills(talk, provider, spoken):
    """Each reads the conversation again, sound and cache at their own prices; the hold was never less."""
    most = []

    async def work(client: Any) -> None:
        async with enter(client.realtime.connect(model=REALTIME)) as connection:
            await wait(connection.session.update(session={"type": "realtime", "instructions": "Be kind."}))
            for _ in range(3):
                await append(connection, 2)
                await wait(connection.conversation.item.create(item=HELLO))
                await wait(connection.response.create(response={"max_output_tokens": 100}))
                most.extend(held(spoken))
                await until(connection, "response.done")
                assert held(spoken) == []

    talk(work)
    assert costs(spoken) == bills(provider)
    assert len(most) == 3
    assert all(hold >= bill for hold, bill in zip(most, bills(provider), strict=True))
    assert most[-1] < 30 * bills(provider)[-1], "it is no more than the conversation, and its cap"


@pytest.mark.provider(tokens=20_000)
def test_an_answer_without_a_cap_gets_one_that_fits(talk, provider, spoken):
    """A hard budget holds however much the model would like to say."""
    spoken.create_budget(0.02, "ann")

    async def work(client: Any) -> None:
        async with enter(client.realtime.connect(model=REALTIME)) as connection:
            await until(connection, "session.created")
            await ask(connection)

    talk(work)
    cap = provider.received[-1]["response"]["max_output_tokens"]
    assert 0 < cap < 400
    assert costs(spoken) == bills(provider)
    assert sum(costs(spoken)) <= 20_000_000


def test_a_refusal_is_raised_from_send_and_the_connection_stays(talk, provider, spoken):
    """The program can go on when there is room again."""

    async def work(client: Any) -> None:
        async with enter(client.realtime.connect(model=REALTIME)) as connection:
            await ask(connection)
            spoken.create_budget(0.0001, "ann")
            before = len(provider.received)
            with pytest.raises(BudgetExceededError, match="users/ann"):
                await wait(connection.response.create())
            spoken.create_budget(10, "ann")
            await ask(connection)
            assert [event["type"] for event in provider.received[before:]] == [
                "conversation.item.create",
                "response.create",
            ]

    talk(work)
    assert len(costs(spoken)) == len(bills(provider)) == 2


@pytest.mark.provider(refuse=True)
def test_what_the_provider_does_not_begin_costs_nothing(talk, spoken):
    """It names the message that it refused, which has an id for that."""

    async def work(client: Any) -> None:
        async with enter(client.realtime.connect(model=REALTIME)) as connection:
            await wait(connection.response.create())
            await until(connection, "error")
            assert held(spoken) == []

    talk(work)
    assert costs(spoken) == []


@pytest.mark.provider(pause=2, ear=EAR)
def test_what_the_server_begins_by_itself_is_booked_and_stopped_at_the_next_send(talk, provider, spoken):
    """It listens for pauses: nobody asks before it answers, and it is paid for all the same, its transcripts too."""
    session = {"type": "realtime", "audio": {"input": {"transcription": {"model": EAR}}}}

    async def work(client: Any) -> None:
        with budgetguard.budget(limit=10) as call:
            connection = await wait(client.realtime.connect(model=REALTIME).enter())
        async with closing(connection):
            await wait(connection.session.update(session=session))
            for _ in range(2):
                await append(connection)
            await until(connection, "response.done")
            assert costs(spoken) == bills(provider)
            assert call.spent == provider.billed
            spoken.create_budget(0, "ann")
            with pytest.raises(BudgetExceededError):
                await append(connection)
            with pytest.raises(ConnectionClosed):
                await wait(connection.recv())

    talk(work)
    assert [entry.model for entry in entries(spoken)] == [EAR, REALTIME]
    assert [entry.tags["user"] for entry in entries(spoken)] == ["ann", "ann"]
    assert spoken.get_current_cost("ann") * 1e9 == pytest.approx(sum(bills(provider)))


@pytest.mark.parametrize("drop", ["asked", "begun"])
def test_a_connection_that_breaks_costs_what_was_held(talk, provider, spoken, drop):
    """Unknown is not free: nobody knows how far the answer came."""
    provider.plan = SocketPlan(drop=drop)
    most = []

    async def work(client: Any) -> None:
        async with enter(client.realtime.connect(model=REALTIME)) as connection:
            await wait(connection.response.create(response={"max_output_tokens": 50}))
            most.extend(held(spoken) or [0])
            with pytest.raises(Exception, match="as planned"):
                await until(connection, "response.done")

    talk(work)
    assert held(spoken) == []
    assert costs(spoken)[0] >= bills(provider)[0]
    assert entries(spoken)[0].flags == {"estimated"}


@pytest.mark.parametrize("way", ["closed", "forgotten"])
def test_a_connection_that_is_left_costs_what_was_held(talk, provider, spoken, way):
    """Whether somebody closes it, or nobody has it any more: the room is not lost, and the answer is paid for."""
    provider.plan = SocketPlan(drop="" if way == "closed" else "begun")

    async def work(client: Any) -> None:
        connection = await wait(client.realtime.connect(model=REALTIME).enter())
        await wait(connection.response.create(response={"max_output_tokens": 50}))
        if way == "closed":
            await wait(connection.close())
            PROCESS.reaper.drain()
            assert held(spoken) == []
        else:
            await until(connection, "response.created")
            inner = connection._connection
            await wait(inner.wait_closed() if hasattr(connection, "__aiter__") else inner.recv_events_thread.join(20))

    talk(work)
    until_s = time.monotonic() + 10
    while held(spoken) and time.monotonic() < until_s:  # a thread that ends may have it a moment longer
        gc.collect()
        PROCESS.reaper.drain()
    assert held(spoken) == []
    assert [entry.flags for entry in entries(spoken)] == [{"estimated"}]


def test_a_thread_may_read_while_others_send(provider, spoken):
    """As voice agents do: one thread hears, and settles, what others ask for."""
    with provider.client() as client, client.realtime.connect(model=REALTIME) as connection:
        answered = threading.Semaphore(0)

        def read() -> None:
            for event in connection:
                if event.type == "response.done":
                    answered.release()

        reader = threading.Thread(target=read)
        reader.start()
        send = budgetguard.carry_scope(lambda: [connection.response.create() for _ in range(5)])
        senders = [threading.Thread(target=send) for _ in range(3)]
        for sender in senders:
            sender.start()
        for _ in range(15):
            assert answered.acquire(timeout=20)
        for sender in senders:
            sender.join()
        connection.close()
        reader.join()

    assert costs(spoken) == bills(provider)
    assert held(spoken) == []


def test_the_scope_is_that_of_the_message_else_that_of_the_connection(provider, spoken):
    """A server has one connection for many users, or a thread that knows of none."""
    spoken.create_budget(1, "bob")
    with provider.client() as client, client.realtime.connect(model=REALTIME) as connection:
        with budgetguard.budget(user="bob"):
            run(ask(connection), None)
        thread = threading.Thread(target=lambda: run(ask(connection), None))
        thread.start()
        thread.join()

    assert [entry.tags["user"] for entry in entries(spoken)] == ["bob", "ann"]


def test_responses_over_a_socket_are_calls_like_any_other(talk, provider, spoken):
    """Each message is a whole body, bounded and capped as one over HTTP, and a refusal stops it."""

    async def work(client: Any) -> None:
        async with enter(client.responses.connect()) as connection:
            for _ in range(2):
                await wait(connection.response.create(model=TEXT, input="hello"))
                await until(connection, "response.completed")
            with budgetguard.budget(limit=0.0000001), pytest.raises(BudgetExceededError):
                await wait(connection.response.create(model=TEXT, input="hello", previous_response_id="resp_1"))

    talk(work)
    assert costs(spoken) == bills(provider)
    assert len(provider.ledger) == 2


@pytest.mark.provider(refuse=True)
def test_responses_that_are_not_begun_cost_nothing(talk, spoken):
    """An error names no message: it is the one of which nothing was heard."""

    async def work(client: Any) -> None:
        async with enter(client.responses.connect()) as connection:
            await wait(connection.response.create(model=TEXT, input="hello"))
            await until(connection, "error")

    talk(work)
    assert (costs(spoken), held(spoken)) == ([], [])


@pytest.mark.provider(seconds=20)
def test_a_live_session_is_held_in_pieces_and_stopped_when_there_is_no_room(talk, provider, spoken):
    """Its events count on: each piece is the next part of it, and nothing is booked twice."""
    pytest.importorskip("openai.resources.live")

    async def work(client: Any) -> None:
        async with enter(client.live.connect()) as connection:
            await wait(connection.session.start(session={"model": LIVE}))
            await until(connection, "session.started")
            for _ in range(5):
                await wait(connection.session.input_audio.append(audio=SECOND))
                await until(connection, "session.usage.updated")
            await wait(connection.session.close())
            await until(connection, "session.closed")

    talk(work)
    assert sum(costs(spoken)) == sum(bills(provider)) == 100 * 800_000
    assert len(costs(spoken)) == 3
    assert held(spoken) == []


@pytest.mark.provider(seconds=40)
def test_a_live_session_without_room_says_no_more(talk, spoken):
    """The next piece is asked for before anything else is sent."""
    pytest.importorskip("openai.resources.live")
    spoken.create_budget(0.04, "ann")

    async def work(client: Any) -> None:
        async with enter(client.live.connect()) as connection:
            await wait(connection.session.start(session={"model": LIVE}))
            await until(connection, "session.started")
            await wait(connection.session.input_audio.append(audio=SECOND))
            await until(connection, "session.usage.updated")
            with pytest.raises(BudgetExceededError):
                await wait(connection.session.input_audio.append(audio=SECOND))

    talk(work)
    assert costs(spoken) == [40 * 800_000]


def test_translations_cost_the_sound_that_was_sent(talk, provider, spoken):
    """Their events say nothing of it."""
    pytest.importorskip("openai.resources.realtime.translations")

    async def work(client: Any) -> None:
        async with enter(client.realtime.translations.connect(model=TRANSLATE)) as connection:
            for _ in range(4):
                await wait(connection.session.input_audio_buffer.append(audio=SECOND * 10))
            await wait(connection.session.close())
            await until(connection, "session.closed")

    talk(work)
    assert sum(costs(spoken)) == sum(bills(provider)) == 40 * 500_000


def test_one_client_alone_may_be_guarded(provider):
    """Its sockets are, and no others."""
    made = manager()
    with provider.client() as client, provider.client() as other:
        budgetguard.guard(client, made)
        for each in (client, other):
            with each.realtime.connect(model=REALTIME) as connection:
                run(ask(connection), None)

    assert len(entries(made)) == 1


def test_unpatching_ends_it_for_connections_that_are_open(provider):
    """The classes are what they were."""
    from websockets.sync.connection import Connection

    before = {name: vars(Connection)[name] for name in ("send", "recv", "close")}
    made = manager()
    budgetguard.patch(made)
    with provider.client() as client, client.realtime.connect(model=REALTIME) as connection:
        assert all(vars(Connection)[name] is not was for name, was in before.items())
        budgetguard.unpatch()
        run(ask(connection), None)

    assert all(vars(Connection)[name] is was for name, was in before.items())
    assert entries(made) == []


def test_a_message_outside_of_every_scope_is_refused_where_that_is_so(provider):
    """A budget that is silently not there is worse than none."""
    strict = BudgetManager("s", prices=PriceBook(overrides=PRICES), settings=Settings(unscoped="refuse"))
    budgetguard.patch(strict)
    with budgetguard.budget(limit=1):
        pass
    with connect(f"{provider.url}/v1/realtime?model={REALTIME}") as socket, pytest.raises(UnscopedCallError):
        socket.send(json.dumps({"type": "response.create"}))


@pytest.mark.parametrize(
    "path", ["/openai/v1/realtime?model={}", "/openai/realtime?deployment={}", "/proxy/realtime?model={}"]
)
def test_a_socket_is_known_by_its_path_whoever_opened_it(provider, spoken, path):
    """Azure, a proxy, and programs that write their own messages, in pieces or whole, as text or bytes."""
    with connect(provider.url + path.format(REALTIME)) as socket:
        assert "session.created" in socket.recv()
        for message in (
            ['{"type": "resp', 'onse.create"}'],
            b'{"type": "response.create"}',
            '{"type":"response.create"}',
        ):
            socket.send(message)
            while "response.done" not in "".join(socket.recv_streaming()):
                pass

    assert costs(spoken) == bills(provider)
    assert len(provider.ledger) == 3


@pytest.mark.parametrize(("path", "warnings"), [("/chat", 0), ("/v1/live/sessions/s/attach", 1)])
def test_what_is_not_counted_passes_and_is_warned_of_once_where_it_costs_something(spoken, caplog, path, warnings):
    """What speaks of something else is none of ours, and nobody looks at its messages."""
    with serve(lambda connection: [connection.send(message) for message in connection], "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        with connect(f"ws://127.0.0.1:{port}{path}") as socket:
            for _ in range(2):
                socket.send('{"type": "response.create"}')
                assert socket.recv() == '{"type": "response.create"}'
        server.shutdown()

    assert (entries(spoken), held(spoken)) == ([], [])
    assert len([each for each in caplog.records if "not counted" in each.getMessage()]) == warnings


def test_no_message_is_in_what_goes_wrong(provider, spoken, caplog):
    """A prompt is nobody's business."""
    with connect(f"{provider.url}/v1/responses") as socket:
        with budgetguard.budget(limit=0), pytest.raises(BudgetExceededError) as refused:
            socket.send(json.dumps({"type": "response.create", "model": TEXT, "input": "a secret"}))
        socket.send("no JSON at all, a secret")
    assert "secret" not in caplog.text + str(refused.value)


def test_what_a_call_above_pays_for_is_not_charged_again(provider, spoken):
    """A package that speaks over sockets for a call of its own has that charged once; other models are other calls."""
    above = SimpleNamespace(carried=object(), body={"model": REALTIME})
    with provider.client() as client:
        charging.set(above)
        try:
            with client.realtime.connect(model=REALTIME) as connection:
                run(ask(connection), None)
            with client.responses.connect() as connection:
                connection.response.create(model=TEXT, input="hello")
                run(until(connection, "response.completed"), None)
        finally:
            charging.set(None)

    assert [entry.model for entry in entries(spoken)] == [TEXT]


@pytest.mark.provider(pause=1)
def test_answers_are_counted_as_requests_too(provider):
    """Those that are asked for are held, those that the server begins are booked: two are two."""
    made = BudgetManager(
        "r", store="memory://", prices=PriceBook(overrides=PRICES), budgets=[Budget("calls", 2, unit="requests")]
    )
    budgetguard.patch(made)
    with provider.client() as client, client.realtime.connect(model=REALTIME) as connection:
        run(ask(connection), None)
        run(append(connection), None)
        run(until(connection, "response.done"), None)
        with pytest.raises(BudgetExceededError, match="calls"):
            connection.response.create()
        with pytest.raises(BudgetExceededError, match="calls"):
            run(append(connection), None)

    assert len(entries(made)) == 2


def test_what_is_sent_on_a_closed_connection_costs_nothing(talk, spoken):
    """It was never said."""

    async def work(client: Any) -> None:
        async with enter(client.realtime.connect(model=REALTIME)) as connection:
            await wait(connection.close())
            with pytest.raises(ConnectionClosed):
                await wait(connection.response.create())
            assert held(spoken) == []

    talk(work)
    assert costs(spoken) == []


def test_an_answer_that_the_server_began_is_not_taken_for_one_that_was_asked_for_later(spoken):
    """They have ids: each is paid for by whoever it is of, whichever ends first."""
    spoken.create_budget(1, "bob")
    used = {"usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}, "status": "completed"}

    def serve_two(socket: Any) -> None:
        socket.send(json.dumps({"type": "response.created", "response": {"id": "own"}}))
        socket.recv()
        socket.send(json.dumps({"type": "response.done", "response": {"id": "own", **used}}))
        socket.send(json.dumps({"type": "response.created", "response": {"id": "asked"}}))
        used["usage"]["input_tokens"] = 300
        socket.send(json.dumps({"type": "response.done", "response": {"id": "asked", **used}}))
        socket.recv()

    with serve(serve_two, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        with connect(f"ws://127.0.0.1:{port}/v1/realtime?model={REALTIME}") as socket:
            socket.recv()
            with budgetguard.budget(user="bob"):
                socket.send('{"type": "response.create"}')
            for _ in range(3):
                socket.recv()
        server.shutdown()

    booked = {entry.tags["user"]: entry.usage["input_tokens"] for entry in entries(spoken)}
    assert booked == {"ann": 100, "bob": 300}


def test_an_end_that_is_said_twice_costs_once(spoken):
    """`response.cancelled` and `response.done` are of one answer; neither is the end of the next, nor one more."""

    def usage(size: int) -> dict[str, Any]:
        return {"usage": {"input_tokens": size, "output_tokens": 10, "total_tokens": size + 10}, "status": "cancelled"}

    def serve_ends(socket: Any) -> None:
        for _ in range(2):
            socket.recv()
        socket.send(json.dumps({"type": "response.created", "response": {"id": "a"}}))
        for kind in ("cancelled", "done"):
            socket.send(json.dumps({"type": f"response.{kind}", "response": {"id": "a", **usage(100)}}))
        socket.send(json.dumps({"type": "response.created", "response": {"id": "b"}}))
        for _ in range(2):
            socket.send(json.dumps({"type": "response.done", "response": {"id": "b", **usage(300)}}))
        socket.recv()

    with serve(serve_ends, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        with connect(f"ws://127.0.0.1:{port}/v1/realtime?model={REALTIME}") as socket:
            for _ in range(2):
                socket.send('{"type": "response.create"}')
            for _ in range(6):
                socket.recv()
            assert held(spoken) == []
        server.shutdown()

    assert sorted(entry.usage["input_tokens"] for entry in entries(spoken)) == [100, 300]


async def test_a_reader_that_is_cancelled_loses_no_message(provider, tmp_path):
    """`recv` may be cancelled, as by a time-out: also while the books are written that its message is for."""
    made = BudgetManager("c", store=f"sqlite:///{tmp_path}/b.db", prices=PriceBook(overrides=PRICES))
    made.create_budget(10, "ann")
    budgetguard.patch(made)
    settle, begun, go_on = made.store.settle, threading.Event(), threading.Event()

    def slowly(*args: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return settle(*args)

    with budgetguard.budget(user="ann"):
        async with provider.async_client() as client, client.realtime.connect(model=REALTIME) as connection:
            await connection.response.create(response={"max_output_tokens": 50})
            await until(connection, "response.created")
            made.store.settle = slowly
            reader = asyncio.create_task(until(connection, "response.done"))
            await asyncio.get_running_loop().run_in_executor(None, begun.wait, 20)
            reader.cancel()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert (await asyncio.wait_for(connection.recv(), 20)).type == "response.done"

    PROCESS.reaper.drain()
    assert [entry.cost for entry in entries(made)] == bills(provider)
    made.close()
