"""`BudgetMiddleware` around Litestar, which answers errors inside of it, and around an application of no framework."""

from __future__ import annotations

import sys

import pytest

from budgetguard.middleware import BudgetMiddleware
from tests.support.web import litestars
from tests.support.web.servers import Uvicorn

pytestmark = pytest.mark.usefixtures("shop", "quiet")


@pytest.fixture(scope="module")
def served(shared_provider):
    with Uvicorn(litestars.with_middleware(shared_provider)) as server:
        yield server


def test_a_views_calls_are_the_users(served, spent):
    """In a thread of the framework's."""
    assert served.get("/sync", "ann").json == {"spent": sum(spent("ann"))}
    assert len(spent("ann")) == 1


def test_a_streamed_body_is_made_inside(served, spent):
    """The view returned long before."""
    assert len(served.get("/stream", "ann").body.split()) == 8
    assert len(spent("ann")) == 1


@pytest.mark.parametrize("path", ["/dear", "/dear/grouped"])
def test_the_500_that_is_made_of_a_refusal_is_a_402(served, spent, path):
    """The middleware never sees the error, but the scope knows of it; or, of a task group's, who sends the 500."""
    answer = served.get(path, "ann")

    assert (answer.status, answer.json["error"]["code"]) == (402, "insufficient_quota")
    assert spent("ann") == []


def test_an_answer_of_the_applications_own_stands(served):
    """It has an exception handler."""
    answer = served.get("/own", "ann")

    assert (answer.status, answer.json) == (402, {"sorry": "no budget"})


def test_a_crash_after_a_refusal_that_was_handled_stays_a_500(served):
    """What went wrong last is what went wrong."""
    assert served.get("/crash", "ann").status == 500


async def test_a_request_is_a_small_one_without_starlette(monkeypatch):
    """Litestar does not bring it."""
    monkeypatch.setitem(sys.modules, "starlette.requests", None)
    seen = []

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})

    sent = []

    async def send(message):
        sent.append(message["type"])

    def user(request):
        seen.append((request.method, request.path, request.headers["x-user"], request.scope["type"]))
        return seen[0][2]

    asked = {"type": "http", "method": "GET", "path": "/a", "headers": [(b"X-User", b"ann")]}
    await BudgetMiddleware(app, user=user)(asked, None, send)

    assert seen == [("GET", "/a", "ann", "http")]
    assert sent == ["http.response.start"]
