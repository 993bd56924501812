"""`BudgetMiddleware` around plain WSGI, served by waitress, and asked by hand."""

from __future__ import annotations

import pytest

from budgetguard import ConfigError
from budgetguard.guards.scope import current
from budgetguard.middleware.wsgi import BudgetMiddleware
from tests.support.web.flasks import Plain
from tests.support.web.servers import Waitress

pytestmark = pytest.mark.usefixtures("shop", "quiet")


def user(environ):
    return environ.get("HTTP_X_USER")


@pytest.fixture(scope="module")
def plain(shared_provider):
    return Plain(shared_provider)


@pytest.fixture(scope="module")
def served(plain):
    with Waitress(BudgetMiddleware(plain, user=user, limit=0.1)) as server:
        yield server


def test_every_piece_is_made_inside(served, spent):
    """An application may begin its response with its first piece."""
    answer = served.get("/", "ann")

    assert (answer.status, answer.body) == (200, b"one two")
    assert len(spent("ann")) == 2


@pytest.mark.parametrize("path", ["/dear", "/stream/dear"])
def test_a_refusal_is_a_402(served, spent, path):
    """In the call, or in the first piece."""
    answer = served.get(path, "ann")

    assert (answer.status, answer.json["error"]["type"]) == (402, "budget_exceeded")
    assert spent("ann") == []


def test_the_thread_is_outside_between_two_pieces(plain):
    """It may have another request's code to run; and it is inside again for the end."""
    begun = []
    body = BudgetMiddleware(plain, user=user)(
        {"PATH_INFO": "/", "HTTP_X_USER": "ann"}, lambda *args: begun.append(args)
    )

    assert current.get() is None
    assert next(body) == b"one "
    assert current.get() is None
    body.close()
    assert current.get() is None
    assert plain.closed[-1]._tags == {"user": "ann"}
    assert [status for status, _headers in begun] == ["200 OK"]


def test_a_body_is_closed_also_where_nobody_read_it():
    """Its files and streams would stay open."""
    closed = []

    class Body(list):
        def close(self):
            closed.append(current.get() is not None)

    BudgetMiddleware(lambda _environ, _start: Body([b"a"]))({}, None).close()
    assert closed == [True]


def test_an_async_user_is_refused():
    """It would never be awaited, and every request be nobody's."""

    async def who(_environ):
        return "ann"

    with pytest.raises(ConfigError, match="plain one"):
        BudgetMiddleware(None, user=who)({}, None)
