"""
Requests that a program sends by httpx or httpx2 itself: counted and refused by their path, host and body.

Over real sockets to a provider that keeps its own bill.
"""

from __future__ import annotations

import importlib
import json
import logging
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, ConfigError, PriceBook, UnpricedModelError
from budgetguard.sdks.hooks import Patches
from budgetguard.testing import FakeProvider
from tests.support.books import billed, costs
from tests.support.sdk_shapes import each, enter, run, wait

MODEL = "a-model"
ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hi there"}]}
CHAT = "/v1/chat/completions"
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
pytestmark = pytest.mark.provider(prices={MODEL: (1, 2)}, tokens=20)


@pytest.fixture(params=["httpx", "httpx2"])
def httpx(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.fixture
def books() -> Iterator[BudgetManager]:
    prices = PriceBook()
    prices.add(MODEL, input=1, output=2, max_output=400)
    manager = BudgetManager("t", store="memory://", budgets=[Budget("all", 1)], prices=prices)
    budgetguard.patch(manager)
    yield manager
    assert manager.store.holds() == []


@pytest.fixture
def ask(httpx: Any, provider: FakeProvider, books: BudgetManager, loop: Any) -> Callable[..., Any]:
    """Have a client, sync or async, used for something, and close it."""

    def go(use: Callable[[Any], Any], **options: Any) -> Any:
        make = httpx.Client if loop is None else httpx.AsyncClient

        async def used() -> Any:
            async with enter(make(**{"base_url": provider.root_url, **options})) as client:
                return await use(client)

        return run(used(), loop)

    return go


async def posted(client: Any) -> Any:
    return (await wait(client.post(CHAT, json=ASKED))).json()


async def built(client: Any) -> Any:
    request = client.build_request("POST", CHAT, content=json.dumps(ASKED))
    response = await wait(client.send(request))
    return response.json()


async def read_later(client: Any) -> Any:
    async with enter(client.stream("POST", CHAT, json=ASKED)) as response:
        return json.loads(await wait(response.aread() if hasattr(response.stream, "aclose") else response.read()))


async def in_lines(client: Any) -> Any:
    async with enter(client.stream("POST", CHAT, json={**ASKED, **WITH_USAGE})) as response:
        lines = response.aiter_lines() if hasattr(response.stream, "aclose") else response.iter_lines()
        return [line async for line in each(lines)]


async def read_whole(client: Any) -> Any:
    return (await wait(client.post(CHAT, json={**ASKED, **WITH_USAGE}))).text


async def message(client: Any) -> Any:
    return (await wait(client.post("/v1/messages", json={**ASKED, "max_tokens": 50}))).json()


async def message_in_lines(client: Any) -> Any:
    body = {**ASKED, "max_tokens": 50, "stream": True}
    async with enter(client.stream("POST", "/v1/messages", json=body)) as response:
        lines = response.aiter_lines() if hasattr(response.stream, "aclose") else response.iter_lines()
        return [line async for line in each(lines)]


async def responded(client: Any) -> Any:
    return (await wait(client.post("/v1/responses", json={"model": MODEL, "input": "hi"}))).json()


SHAPES = [posted, built, read_later, in_lines, read_whole, message, message_in_lines, responded]


@pytest.mark.parametrize("use", SHAPES)
def test_every_shape_costs_what_its_provider_bills(
    use: Any, ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """A request that is written by hand spends from the same budget, and its answer is the caller's own."""
    answer = ask(use)
    assert "promise" in str(answer)
    assert costs(books) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in books.store.entries())


@pytest.mark.parametrize("use", [posted, read_later, in_lines, message])
def test_what_does_not_fit_is_refused_before_any_traffic(
    use: Any, ask: Callable[..., Any], provider: FakeProvider
) -> None:
    """A refusal reaches the caller as itself, with nothing sent."""
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        ask(use)
    assert provider.requests == []


def test_a_budget_caps_what_nobody_capped(ask: Callable[..., Any], provider: FakeProvider) -> None:
    """The request that goes out has the cap and all else; the caller's own is what it was."""
    kept: list[Any] = []

    async def own(client: Any) -> None:
        request = client.build_request("POST", CHAT, json=ASKED, headers={"x-mine": "1"})
        kept.append((request, request.content))
        await wait(client.send(request))

    with budgetguard.budget(limit=0.0004):
        ask(own)
    [sent] = provider.requests
    assert 0 < sent.body["max_tokens"] < 400
    assert sent.headers["x-mine"] == "1"
    assert {name: value for name, value in sent.body.items() if name != "max_tokens"} == ASKED
    [(request, before)] = kept
    assert request.content == before


def test_a_cap_that_the_host_refuses_is_taken_back(httpx: Any, ask: Callable[..., Any], books: BudgetManager) -> None:
    """What only we sent must not fail a call that would have gone through; later ones are sent without at once."""
    sent: list[Any] = []

    def serve(request: Any) -> Any:
        sent.append(json.loads(request.content))
        if "max_tokens" in sent[-1]:
            return httpx.Response(400, json={"error": {"message": "Unsupported parameter: 'max_tokens'"}})
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return httpx.Response(200, json={"model": MODEL, "choices": [{"text": "a promise"}], "usage": usage})

    for use in (posted, read_later):
        assert "choices" in ask(use, base_url="http://a.gateway", transport=httpx.MockTransport(serve))
    assert ["max_tokens" in body for body in sent] == [True, False, False]
    assert costs(books) == [20_000, 20_000]


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_status_comes_back_as_it_is_and_costs_nothing(
    status: int, ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """httpx raises nothing of its own, and nobody bills what failed."""
    seen: list[Any] = []

    async def failing(client: Any) -> None:
        seen.append((await wait(client.post(CHAT, json=ASKED))).status_code)
        async with enter(client.stream("POST", CHAT, json=ASKED)) as response:
            seen.append(response.status_code)
            raw = response.aiter_raw() if hasattr(response.stream, "aclose") else response.iter_raw()
            assert b"This failure" in b"".join([part async for part in each(raw)])

    provider.fail_next(status, status)
    ask(failing)
    assert seen == [status, status]
    assert costs(books) == []


def test_what_never_connected_costs_nothing(ask: Callable[..., Any], books: BudgetManager) -> None:
    """A server that is not there bills nothing."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(Exception, match="onnect"):
            ask(posted, base_url=f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert costs(books) == []


def test_what_fails_before_it_is_sent_costs_nothing(
    httpx: Any, loop: Any, ask: Callable[..., Any], books: BudgetManager
) -> None:
    """Credentials that cannot be had, a hook that objects: nothing went out."""

    class Failing(httpx.Auth):  # type: ignore[misc]
        def auth_flow(self, request: Any) -> Any:
            raise LookupError("no credentials")
            yield request

    def object_to(_request: Any) -> None:
        raise LookupError("not today")

    async def object_later(request: Any) -> None:
        object_to(request)

    with pytest.raises(LookupError):
        ask(posted, auth=Failing())
    with pytest.raises(LookupError):
        ask(posted, event_hooks={"request": [object_to if loop is None else object_later]})
    assert costs(books) == []


def test_a_hook_that_objects_to_a_good_answer_leaves_it_paid_for(
    loop: Any, ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The answer was billed, whatever becomes of it: unknown is not free."""

    def object_to(_response: Any) -> None:
        raise LookupError("not this one")

    async def object_later(response: Any) -> None:
        object_to(response)

    with pytest.raises(LookupError):
        ask(posted, event_hooks={"response": [object_to if loop is None else object_later]})
    [cost] = costs(books)
    assert cost >= sum(billed(provider)) > 0


def test_an_attempt_that_may_have_been_billed_costs_what_was_held(
    ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The answer that was lost is on the bill: unknown is not free."""
    provider.fail_next({"drop": "headers"})
    with pytest.raises(Exception, match="disconnected"):
        ask(posted)
    [cost] = costs(books)
    assert cost >= sum(billed(provider)) > 0


def test_a_stream_that_is_left_costs_what_was_held(
    ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The provider may write on for nobody, and bill it."""

    async def left(client: Any) -> None:
        async with enter(client.stream("POST", CHAT, json={**ASKED, **WITH_USAGE})) as response:
            lines = response.aiter_lines() if hasattr(response.stream, "aclose") else response.iter_lines()
            async for _ in each(lines):
                break

    ask(left)
    [cost] = costs(books)
    assert cost >= sum(billed(provider.wait())) > 0


def test_a_stream_that_says_no_usage_is_estimated(
    ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """Nobody decodes it for the caller: an item that only we asked for would be seen, so that none is."""

    async def without(client: Any) -> Any:
        async with enter(client.stream("POST", CHAT, json={**ASKED, "stream": True})) as response:
            lines = response.aiter_lines() if hasattr(response.stream, "aclose") else response.iter_lines()
            return [line async for line in each(lines)]

    assert not any('"usage":{' in line for line in ask(without))
    [entry] = books.store.entries()
    assert "estimated" in entry.flags
    assert 20 <= entry.usage["output_tokens"] <= 22


def test_redirects_and_answers_that_ask_for_a_login_are_one_call(
    httpx: Any, provider: FakeProvider, books: BudgetManager
) -> None:
    """What a client sends again by itself is answered once, and billed once."""
    seen: list[str] = []

    def serve(request: Any) -> Any:
        seen.append(request.url.path)
        if request.url.path == "/old/v1/chat/completions":
            return httpx.Response(307, headers={"location": "/v1/chat/completions"})
        if "authorization" not in request.headers:
            return httpx.Response(401)
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return httpx.Response(200, json={"model": MODEL, "choices": [], "usage": usage})

    class Login(httpx.Auth):  # type: ignore[misc]
        def auth_flow(self, request: Any) -> Any:
            response = yield request
            if response.status_code == 401:
                request.headers["authorization"] = "Bearer none"
                yield request

    options = {"transport": httpx.MockTransport(serve), "auth": Login(), "follow_redirects": True}
    with httpx.Client(base_url="http://a.gateway", **options) as client:
        assert client.post("/old/v1/chat/completions", json=ASKED).status_code == 200
    assert len(seen) > 2
    assert costs(books) == [10 * 1_000 + 5 * 2_000]


def test_an_application_in_this_process_is_no_provider(httpx: Any, books: BudgetManager) -> None:
    """A program that tests its own route, or mounts it, is charged for what that asks of a model, and there only."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "application/json")])
        return [b'{"model": "a-model", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}']

    with httpx.Client(base_url="http://testserver", transport=httpx.WSGITransport(app=application)) as client:
        assert client.post(CHAT, json=ASKED).status_code == 200
    assert costs(books) == []


def test_starlettes_test_client_is_no_provider(books: BudgetManager) -> None:
    """It is a client of httpx, and the route under test may well be called as OpenAI's is."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    async def chat(_request: Any) -> JSONResponse:
        return JSONResponse({"model": MODEL, "usage": {"prompt_tokens": 9, "completion_tokens": 9}})

    with TestClient(Starlette(routes=[Route(CHAT, chat, methods=["POST"])])) as client:
        assert client.post(CHAT, json=ASKED).status_code == 200
    assert costs(books) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/users", {"model": MODEL, "messages": []}),
        ("/v1/messages", {"to": "ann", "text": "hi"}),
        ("/v1/completions", {"query": "h"}),
        ("/sessions", {"model": MODEL}),
        ("/v1/embeddings", ["no", "object"]),
    ],
)
def test_other_requests_pass(path: str, body: Any, httpx: Any, ask: Callable[..., Any], books: BudgetManager) -> None:
    """A program's own services have such paths, too: what does not ask a model is never refused, nor counted."""
    passes(httpx, ask, path, json=body)
    assert costs(books) == []


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v3/mg.example.com/messages", {"data": {"from": "us@example.com", "to": "ann@example.com", "text": "hi"}}),
        ("/v1/messages", {"content": b"hi"}),
        ("/api/rooms/3/messages", {"content": b"[1]", "headers": {"content-type": "application/json"}}),
        (CHAT, {"data": {"text": "hi"}}),
    ],
    ids=["a mail", "a text", "a list", "a form"],
)
def test_forms_and_texts_for_other_services_pass(
    path: str, sent: dict[str, Any], httpx: Any, ask: Callable[..., Any], books: BudgetManager
) -> None:
    """Mail is sent by a form to `/messages`: a path alone makes no model's call of it, which would be refused."""
    passes(httpx, ask, path, **sent)
    assert costs(books) == []


def test_what_costs_nothing_passes_whatever_is_wrong_with_the_store(
    httpx: Any, provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken file of ours stops the calls that it is to count, and no other request of the program."""
    monkeypatch.chdir(tmp_path)
    budgetguard.patch()
    assert Patches.unmanaged is not None
    Patches.unmanaged.look_s = 0  # it is time to look for a file of budgets again
    (tmp_path / "budgetguard.db").write_text("garbage" * 500)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json={}))) as client:
        for path in ("/rooms/1/messages", "/api/chat", "/v1/responses/1/cancel"):
            assert client.post(f"http://a.service{path}", json={"text": "hi"}).status_code == 200
        with pytest.raises(ConfigError):
            client.post(f"http://a.service{CHAT}", json=ASKED)
    with provider.client() as client:
        assert client.get("/models", cast_to=object) is not None
        with pytest.raises(ConfigError):
            client.chat.completions.create(**ASKED)


@pytest.mark.parametrize(
    ("path", "headers"),
    [(CHAT, {}), (CHAT, {"content-type": "application/json"}), ("/v1/messages", {"anthropic-version": "2023-06-01"})],
    ids=["a chat", "a chat in JSON", "a message to Claude"],
)
def test_a_gateway_is_no_way_around_a_budget_for_what_cannot_be_read(
    path: str, headers: dict[str, str], httpx: Any, books: BudgetManager
) -> None:
    """All else that such a request says is a model's: where a budget has to hold, it is refused."""
    with httpx.Client(base_url="http://a.gateway") as client, pytest.raises(UnpricedModelError):
        client.post(path, content=iter([json.dumps(ASKED).encode()]), headers=headers)


def passes(httpx: Any, ask: Callable[..., Any], path: str, **sent: Any) -> None:
    """Post this to a service under a limit that nothing fits: it arrives."""

    async def other(client: Any) -> None:
        await wait(client.post(path, **sent))

    reached: list[Any] = []
    transport = httpx.MockTransport(lambda request: reached.append(request) or httpx.Response(200, json={}))
    with budgetguard.budget(limit=0):
        ask(other, base_url="http://a.service", transport=transport)
    assert len(reached) == 1


def test_a_request_to_a_place_that_is_new_costs_few_steps(httpx: Any, books: BudgetManager) -> None:
    """A program may post to a path of its own each time, a document's or a user's: no table is gone through for it."""
    steps: Counter[str] = Counter()
    ours = str(Path(budgetguard.__file__).parent)

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ours):
            steps[frame.f_code.co_qualname] += 1

    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        client.post("http://a.service/documents/one", json={})
        sys.setprofile(note)
        try:
            client.post(f"http://a.service/documents/{uuid4()}", json={})
        finally:
            sys.setprofile(None)
    assert 0 < steps.total() < 60, steps


def test_a_form_is_read_where_it_has_no_json(httpx: Any, books: BudgetManager) -> None:
    """A recording that is sent by hand is billed as one that the SDK sends."""
    reached: list[Any] = []

    def serve(request: Any) -> Any:
        reached.append(request.read())
        return httpx.Response(200, json={"text": "hi", "usage": {"type": "duration", "seconds": 60}})

    with httpx.Client(base_url="https://api.openai.com", transport=httpx.MockTransport(serve)) as client:
        files = {"file": ("hello.mp3", b"\0" * 20_000)}
        client.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files=files)
    [entry] = books.store.entries()
    assert entry.cost == 6_000_000
    assert b"\0" * 20_000 in reached[0]


def test_a_redirect_that_its_caller_follows_is_read(httpx: Any, provider: FakeProvider, books: BudgetManager) -> None:
    """What httpx makes of a redirect has the body as a stream: it is the same call, and was refused for its body."""
    moved = httpx.MockTransport(lambda _: httpx.Response(307, headers={"location": f"{provider.root_url}{CHAT}"}))
    with httpx.Client(mounts={"http://a.gateway": moved}) as client:
        answer = client.post(f"http://a.gateway{CHAT}", json=ASKED)
        assert client.send(answer.next_request).status_code == 200
    assert costs(books) == billed(provider) != []


def test_a_body_that_is_made_on_its_way_has_no_known_price(httpx: Any, books: BudgetManager) -> None:
    """Nothing is known of it, not even its model: where a budget has to hold, it is refused."""
    with httpx.Client(base_url="https://api.openai.com") as client, pytest.raises(UnpricedModelError):
        client.post(CHAT, content=iter([json.dumps(ASKED).encode()]))


def test_what_is_signed_is_sent_as_it_is(httpx: Any, provider: FakeProvider, books: BudgetManager) -> None:
    """A cap of ours would void the signature."""
    with httpx.Client(base_url=provider.root_url) as client:
        client.post(CHAT, json=ASKED, headers={"authorization": "AWS4-HMAC-SHA256 Credential=none"})
    [sent] = provider.requests
    assert "max_tokens" not in sent.body


def test_a_client_within_a_client_is_one_call(httpx: Any, provider: FakeProvider, books: BudgetManager) -> None:
    """A transport may pass a request on by another client."""

    class Relay(httpx.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            with httpx.Client() as inner:
                got = inner.post(f"{provider.root_url}{CHAT}", content=request.read())
            return httpx.Response(200, content=got.content, headers={"content-type": "application/json"})

    with httpx.Client(base_url="http://a.gateway", transport=Relay()) as client:
        client.post(CHAT, json=ASKED)
    assert costs(books) == billed(provider) != []


def test_what_the_openai_sdk_sends_is_counted_once(provider: FakeProvider, books: BudgetManager) -> None:
    """The floor is beneath every SDK: a call that has its charge passes, and so does a look at one."""
    with provider.client() as client:
        client.chat.completions.create(**ASKED)
        work = client.responses.create(model=MODEL, input="hi", background=True)
        client.responses.retrieve(work.id)
    assert sorted(costs(books)) == sorted(billed(provider))
    assert len(costs(books)) == 2


def test_work_in_the_background_is_settled_by_a_look_at_it(
    ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """By hand as by the SDK: the hold of a background response ends when it is seen complete."""

    async def in_background(client: Any) -> None:
        body = {"model": MODEL, "input": "hi", "background": True, "max_output_tokens": 100}
        name = (await wait(client.post("/v1/responses", json=body))).json()["id"]
        provider.fail_next(404)
        for _ in range(2):
            await wait(client.get(f"/v1/responses/{name}"))

    ask(in_background)
    assert costs(books) == billed(provider) != []


def test_what_no_table_has_is_said_once(httpx: Any, books: BudgetManager, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing passes in silence at a provider; of other hosts nothing is said."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json={}))
    path = f"/v1/{httpx.__name__}/thing"
    with caplog.at_level(logging.WARNING), httpx.Client(transport=transport) as client:
        for _ in range(2):
            client.post(f"https://api.openai.com{path}", json={})
            client.post(f"https://a.service/{path}/other", json={})
    assert [record.getMessage() for record in caplog.records if "no operation" in record.getMessage()] == [
        f"POST {path} is no operation that is known here: what it costs is not counted, and no budget stops it"
    ]


def test_unpatch_leaves_httpx_as_it_was(httpx: Any, provider: FakeProvider) -> None:
    """Nothing of ours stays."""
    budgetguard.unpatch()
    before = vars(httpx.Client)["send"], vars(httpx.AsyncClient)["send"]
    budgetguard.patch()
    assert vars(httpx.Client)["send"] is not before[0]
    budgetguard.unpatch()
    assert (vars(httpx.Client)["send"], vars(httpx.AsyncClient)["send"]) == before
