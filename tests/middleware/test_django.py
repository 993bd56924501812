"""`BudgetMiddleware` in Django: one project under WSGI (waitress) and under ASGI (uvicorn)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler

from budgetguard import ConfigError
from tests.support.web import djangos
from tests.support.web.djangos import BUDGET, HERE, Project
from tests.support.web.servers import Uvicorn, Waitress

pytestmark = [
    pytest.mark.usefixtures("shop"),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning"),  # the views' own fault
]

SERVERS = {"wsgi": (Waitress, WSGIHandler), "asgi": (Uvicorn, ASGIHandler)}
EVERYWHERE = ["wsgi", "asgi"]


@pytest.fixture(scope="module")
def project(shared_provider):
    """Its client, and that of nobody else."""
    Project.provider = shared_provider
    with shared_provider.client() as Project.client:
        yield Project


@pytest.fixture(scope="module", params=EVERYWHERE)
def served(request, project):
    """Sync middleware stands between ours and the view; the user is found by a later one."""
    server, kind = SERVERS[request.param]
    with server(djangos.handler(kind, BUDGET, f"{HERE}.authenticate", BUDGETGUARD={"limit": 0.1})) as running:
        yield running


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("path", "calls"), [("/sync", 1), ("/async", 2)])
def test_a_views_calls_are_those_of_who_is_logged_in(served, spent, path, calls):
    """Views of both kinds, in servers of both kinds."""
    answer = served.get(path, "ann")

    assert answer.json == {"spent": sum(spent("ann"))}
    assert len(spent("ann")) == calls


@pytest.mark.usefixtures("quiet")
def test_nobody_has_to_be_logged_in(served, shop):
    """Then there is no user: the limit of the request holds all the same."""
    assert served.get("/sync").status == 200
    [entry] = shop.store.entries()
    assert dict(entry.tags) == {}


@pytest.mark.usefixtures("quiet")
def test_requests_at_once_are_their_own_users(served, spent):
    """Threads and loop are shared; who pays is not."""
    users = [f"user{number}" for number in range(3)]
    with ThreadPoolExecutor(8) as pool:
        asked = [(path, user) for user in users for path in ("/sync", "/async", "/stream")]
        answers = list(pool.map(lambda each: served.get(*each), asked))

    assert {answer.status for answer in answers} == {200}
    assert [len(spent(user)) for user in users] == [4] * 3


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("path", "calls"), [("/stream", 1), ("/async/stream", 2)])
def test_a_streamed_body_is_made_inside(served, spent, path, calls):
    """When the view and all middleware are gone."""
    answer = served.get(path, "ann")

    assert (answer.status, len(answer.body) > 10) == (200, True)
    assert len(spent("ann")) == calls


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/dear", "/async/dear", "/stream/dear"])
def test_a_refusal_is_a_402(served, spent, path, caplog):
    """Nothing has to be written for it, and it is no crash: also in a stream that has not begun. Nothing was lost."""
    answer = served.get(path, "ann")

    assert (answer.status, answer.json["error"]["code"]) == (402, "insufficient_quota")
    assert int(answer.headers["retry-after"]) > 0
    assert spent("ann") == []
    assert [record.getMessage() for record in caplog.records if record.name == "budgetguard"] == []


def test_another_error_is_the_projects(served):
    """A crash stays one."""
    assert served.get("/crash", "ann").status == 500


@pytest.mark.usefixtures("quiet")
def test_an_answer_of_the_projects_own_comes_first(project):
    """A `process_exception` of a middleware that comes later."""
    with Waitress(djangos.handler(WSGIHandler, BUDGET, f"{HERE}.Sorry", BUDGETGUARD={"limit": 0.001})) as served:
        answer = served.get("/dear")
    assert (answer.status, answer.json) == (402, {"sorry": "no budget"})


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("kind", "path"), [("wsgi", "/endless"), ("asgi", "/async/endless")])
def test_nothing_stays_held_where_the_client_goes_away(project, spent, left, kind, path):
    """A stream that nobody reads is ended, and booked."""
    Project.gone.clear()
    server, handler = SERVERS[kind]
    with server(
        djangos.handler(handler, BUDGET, BUDGETGUARD={"user": lambda request: request.headers["x-user"]})
    ) as at:
        with at.open(path, "ann") as answer:
            assert answer.read(1000)
        left(Project.gone)

    assert len(spent("ann")) >= 1


def test_a_setting_that_there_is_not_is_refused():
    """A typo in it would be a limit that does not hold."""
    with pytest.raises(ConfigError, match="'limt'"):
        djangos.handler(WSGIHandler, BUDGET, BUDGETGUARD={"limt": 0.1})
