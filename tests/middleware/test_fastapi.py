"""`Depends(budget_of(...))` in FastAPI, served by uvicorn: right for `def` and `async def`, streams and refusals."""

from __future__ import annotations

import fastapi
import pytest

from budgetguard import ConfigError
from budgetguard.middleware.fastapi import budget_of
from tests.support.web import fast
from tests.support.web.servers import Uvicorn

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture(scope="module")
def served(clients):
    with Uvicorn(fast.with_dependencies(clients)) as server:
        yield server


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_a_paths_calls_are_the_users(served, spent, path):
    """Another dependency says whose they are; the path can ask the scope, which is the one that its context has."""
    answer = served.get(path, "ann")

    assert answer.json == {"spent": sum(spent("ann")), "same": True}
    assert len(spent("ann")) == 1


@pytest.mark.usefixtures("quiet")
def test_an_empty_user_is_nobody(served, shop):
    """The other dependency may give what a client sent."""
    assert served.get("/sync", "").status == 200

    [entry] = shop.store.entries()
    assert "user" not in entry.tags


@pytest.mark.usefixtures("quiet")
def test_a_streamed_body_is_made_inside(served, spent):
    """To its end: the last word of it is what it has cost."""
    answer = served.get("/stream", "ann")

    assert int(answer.body.split()[-1]) == sum(spent("ann")) > 0


@pytest.mark.usefixtures("quiet")
def test_a_background_task_is_inside(served, clients, spent):
    """It costs money after the client has its answer."""
    assert served.get("/background", "ann").json == {"spent": 0}
    assert clients.done.wait(10)

    assert clients.later == [sum(spent("ann"))]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/dear", "/dear/grouped"])
def test_a_refusal_is_a_402(served, spent, path):
    """Nothing has to be written for it, and it is no crash; a task group hands it on in a group."""
    answer = served.get(path, "ann")

    assert (answer.status, answer.json["error"]["type"]) == (402, "budget_exceeded")
    assert spent("ann") == []


@pytest.mark.usefixtures("quiet")
def test_what_the_path_made_of_a_refusal_stands(served):
    """It has answered."""
    assert served.get("/translated", "ann").status == 418


def test_what_is_not_there_is_said_when_the_path_is_written(monkeypatch):
    """A FastAPI that ends dependencies before the body is sent; a limit that is none."""
    with pytest.raises(ConfigError, match="limit"):
        budget_of(limit=-1)
    monkeypatch.setattr(fastapi, "__version__", "0.117.1")
    with pytest.raises(ConfigError, match=r"0\.118"):
        budget_of()
