"""`BudgetMiddleware` around FastAPI, served by uvicorn: whose each call is, until the body is sent, and refusals."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from budgetguard import ConfigError
from budgetguard.middleware import BudgetMiddleware
from tests.support.web import fast
from tests.support.web.calls import ask
from tests.support.web.servers import Uvicorn

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture(scope="module")
def served(clients):
    with Uvicorn(fast.with_middleware(clients)) as server:
        yield server


@pytest.fixture(scope="module")
def answering(shared_provider):
    with Uvicorn(fast.with_own_answers(fast.Clients(shared_provider), ours=True)) as server:
        yield server


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("path", "calls"), [("/sync", 1), ("/async", 2)])
def test_a_views_calls_are_the_users(served, spent, path, calls):
    """In a thread of the server's pool, or on its loop, in tasks of the view's own."""
    answer = served.get(path, "ann")

    assert answer.status == 200
    assert len(spent("ann")) == calls
    assert answer.json["spent"] == sum(spent("ann")) > 0


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/stream", "/astream"])
def test_a_streamed_body_is_made_inside(served, spent, path):
    """The view returned long before its call is made."""
    answer = served.get(path, "ann")

    assert (answer.status, len(answer.body.split())) == (200, 8)
    assert len(spent("ann")) == 1


@pytest.mark.usefixtures("quiet")
def test_a_background_task_is_inside(served, clients, spent):
    """It costs money after the client has its answer."""
    assert served.get("/background", "ann").json == {"spent": 0}
    assert clients.done.wait(10)

    assert clients.later[-1:] == [sum(spent("ann"))]


@pytest.mark.usefixtures("quiet")
def test_requests_at_once_are_their_own_users(served, spent):
    """Threads and loop are shared; who pays is not."""
    users = [f"user{number}" for number in range(4)]
    paths = ["/sync", "/async", "/stream", "/astream"]
    with ThreadPoolExecutor(16) as pool:
        asked = [(path, user) for user in users for path in paths]
        answers = list(pool.map(lambda each: served.get(*each), asked))

    assert {answer.status for answer in answers} == {200}
    assert [len(spent(user)) for user in users] == [5] * 4


@pytest.mark.usefixtures("quiet")
def test_tags_may_be_a_function_of_the_request(served, shop):
    """Reports by path, say."""
    served.get("/sync", "ann")

    [entry] = shop.store.entries()
    assert dict(entry.tags) == {"user": "ann", "path": "/sync"}


@pytest.mark.usefixtures("quiet")
def test_an_empty_user_is_nobody(served, shop):
    """A header that is there and says nothing, Django's `AnonymousUser.username`, a server's `REMOTE_USER`."""
    assert served.get("/sync", "").status == 200

    [entry] = shop.store.entries()
    assert "user" not in entry.tags


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/dear", "/wrapped", "/stream/dear"])
def test_a_refusal_is_a_402_as_openais_clients_know_it(served, spent, path):
    """Also inside another error, and where a stream has not begun; to the server and the framework it is no crash."""
    answer = served.get(path, "ann")

    assert answer.status == 402
    assert {name: answer.json["error"][name] for name in ("type", "param", "code")} == {
        "type": "budget_exceeded",
        "param": None,
        "code": "insufficient_quota",
    }
    assert "projected at $0." in answer.json["error"]["message"]
    assert (answer.headers["x-should-retry"], answer.headers["content-type"]) == ("false", "application/json")
    assert spent("ann") == []


@pytest.mark.usefixtures("quiet")
def test_a_refusal_says_when_to_come_again(served):
    """The budget is a daily one."""
    assert 0 < int(served.get("/dear", "ann").headers["retry-after"]) <= 86_400


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("path", "status"), [("/translated", 418), ("/handled", 200)])
def test_what_the_application_made_of_a_refusal_stands(served, path, status):
    """It has answered."""
    assert served.get(path, "ann").status == status


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/dear", "/dear/depends"])
def test_an_exception_handler_of_the_application_answers(answering, path):
    """For every path at once, whether the scope is the middleware's or a dependency's."""
    answer = answering.get(path)

    assert (answer.status, answer.json) == (402, {"sorry": "no budget"})


def test_another_error_is_the_applications(served, caplog):
    """A crash stays one, and is logged as one."""
    assert served.get("/crash", "ann").status == 500
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_a_refusal_in_the_middle_of_a_body_breaks_it_off(served, spent):
    """Half an answer must not look like a whole one."""
    with served.open("/stream/late", "ann") as answer:
        assert answer.read(5) == b"begun"
        with pytest.raises((http.client.IncompleteRead, OSError)):
            answer.read()
    assert spent("ann") == []


@pytest.mark.usefixtures("quiet")
def test_nothing_stays_held_where_the_client_goes_away(served, clients, spent, left):
    """A stream that nobody reads is ended, and booked."""
    clients.gone.clear()
    with served.open("/endless", "ann") as answer:
        assert answer.read(1000)
    left(clients.gone)

    assert len(spent("ann")) >= 1


def test_a_web_socket_has_one_scope(served, spent):
    """From the first message to the last; a refusal closes it as a violation of its policy."""
    url = f"ws://127.0.0.1:{served.port}/socket"
    with connect(url, additional_headers={"x-user": "ann"}) as socket:
        socket.send("hi")
        first = json.loads(socket.recv())
        socket.send("hi")
        assert json.loads(socket.recv()) == {"user": "ann", "spent": 2 * first["spent"]}
        socket.send("dear")
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv()

    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "budget_exceeded")
    assert len(spent("ann")) == 2


def test_values_that_are_none_are_refused_at_once():
    """Not at the first request."""
    with pytest.raises(ConfigError, match="limit"):
        BudgetMiddleware(None, limit=-1)


def test_a_refusal_that_a_package_lost_is_told_in_the_log(framework, client, caplog):
    """The answer is there already, and may be a good one; but nobody would know why it is as it is."""

    async def app(_scope, _receive, send):
        framework.swallow(ask, client)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(_message):
        pass

    asyncio.run(BudgetMiddleware(app, limit=0)({"type": "http"}, None, send))

    [told] = [said for record in caplog.records if "swallowed" in (said := record.getMessage())]
    assert told.startswith(
        "agentic swallowed a refusal, and the request was answered without it: scope: call projected"
    )


def test_importing_the_middleware_imports_no_framework():
    """Whoever uses one does not want the others."""
    program = (
        "import sys; import budgetguard.middleware, budgetguard.middleware.wsgi; "
        "print([name for name in ('starlette', 'fastapi', 'flask', 'django', 'openai') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
