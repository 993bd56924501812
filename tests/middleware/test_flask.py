"""`BudgetGuard` in Flask, served by waitress: views of both kinds, streams of both kinds, refusals."""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest

from budgetguard import BudgetExceededError, ConfigError
from budgetguard.errors import BudgetGuardError
from budgetguard.guards.scope import current
from budgetguard.middleware.flask import BudgetGuard
from tests.support.web import flasks
from tests.support.web.calls import scope
from tests.support.web.servers import Waitress

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture(scope="module")
def gone():
    return threading.Event()


@pytest.fixture(scope="module")
def served(shared_provider, gone):
    with Waitress(flasks.with_guard(shared_provider, gone)) as server:
        yield server


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("path", "calls"), [("/sync", 1), ("/async", 2)])
def test_a_views_calls_are_the_users(served, shop, spent, path, calls):
    """Whom a `before_request` finds that was registered after the guard."""
    answer = served.get(path, "ann")

    assert answer.json == {"spent": sum(spent("ann"))}
    assert [dict(entry.tags) for entry in shop.store.entries()] == [{"user": "ann", "path": path}] * calls


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("path", "words"), [("/stream", 8), ("/stream/context", 10)])
def test_a_streamed_body_is_made_inside(served, spent, path, words):
    """With and without the request's context: it is made when the view is gone."""
    answer = served.get(path, "ann")

    assert (answer.status, len(answer.body.split())) == (200, words)
    assert len(spent("ann")) == 1


@pytest.mark.usefixtures("quiet")
def test_requests_at_once_are_their_own_users(served, spent):
    """Four threads serve them all, one piece after the other."""
    users = [f"user{number}" for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        asked = [(path, user) for user in users for path in ("/sync", "/stream", "/stream/context")]
        answers = list(pool.map(lambda each: served.get(*each), asked))

    assert {answer.status for answer in answers} == {200}
    assert [len(spent(user)) for user in users] == [3] * 4


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/dear", "/stream/dear"])
def test_a_refusal_is_a_402(served, spent, path):
    """Nothing has to be written for it, and it is no crash: also in a stream that has not begun."""
    answer = served.get(path, "ann")

    assert (answer.status, answer.json["error"]["code"]) == (402, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"
    assert int(answer.headers["retry-after"]) > 0
    assert spent("ann") == []


def test_a_refusal_that_is_wrapped_is_a_402(served):
    """Flask has no handler for what a package made of it, and would say 500, as it does in the log."""
    assert served.get("/wrapped", "ann").status == 402


@pytest.mark.usefixtures("quiet")
def test_what_the_application_made_of_a_refusal_stands(served):
    """It has answered."""
    assert served.get("/translated", "ann").status == 418


def test_another_error_is_the_applications(served):
    """A crash stays one."""
    assert served.get("/crash", "ann").status == 500


def test_a_refusal_in_the_middle_of_a_body_breaks_it_off(served, spent):
    """Half an answer must not look like a whole one."""
    with pytest.raises((http.client.IncompleteRead, OSError)):
        served.get("/stream/late", "ann")
    assert spent("ann") == []


@pytest.mark.usefixtures("quiet")
def test_nothing_stays_held_where_the_client_goes_away(served, gone, spent, left):
    """A stream that nobody reads is ended, and booked."""
    with served.open("/endless", "ann") as answer:
        assert answer.read(1000)
    left(gone)

    assert len(spent("ann")) >= 1


@pytest.mark.usefixtures("quiet")
def test_an_error_handler_of_the_application_answers(shared_provider):
    """Whether it was registered before the guard or after it."""
    answer = flasks.with_own_answers(shared_provider, ours=True).test_client().get("/dear")

    assert (answer.status_code, answer.json) == (402, {"sorry": "no budget"})


@pytest.mark.parametrize("kind", [BudgetExceededError, BudgetGuardError])
def test_a_later_error_handler_of_the_application_answers(kind):
    """Also one for all errors of budgetguard."""
    app = flask.Flask(__name__)
    BudgetGuard(app)
    app.register_error_handler(kind, lambda refusal: (str(refusal), 429))

    @app.get("/")
    def view():
        raise BudgetExceededError(1, 1, "mine")

    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (429, "mine")


def test_the_scope_is_there_without_a_server_and_gone_after_it():
    """For the application's own tests."""
    app = flask.Flask(__name__)
    BudgetGuard(user=7).init_app(app)
    app.add_url_rule("/", view_func=lambda: scope()._tags["user"])

    with app.test_request_context("/"):
        assert app.dispatch_request() == "7"
        assert current.get() is None


def test_a_second_guard_is_refused():
    """One of them would count twice."""
    app = flask.Flask(__name__)
    BudgetGuard(app)
    with pytest.raises(ConfigError, match="one already"):
        BudgetGuard(app)
