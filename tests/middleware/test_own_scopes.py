"""The first integration that everybody writes: scopes and answers to refusals of one's own. Handled is handled."""

from __future__ import annotations

import pytest
from django.core.handlers.wsgi import WSGIHandler

from tests.support.web import djangos, fast, flasks
from tests.support.web.djangos import HERE
from tests.support.web.servers import Uvicorn, Waitress

pytestmark = [pytest.mark.usefixtures("quiet")]


@pytest.fixture
def django_project(shared_provider):
    djangos.Project.provider = shared_provider
    with shared_provider.client() as djangos.Project.client:
        yield djangos.handler(WSGIHandler, f"{HERE}.scopes", f"{HERE}.Sorry")


def test_fastapi_answers(shared_provider):
    """A scope in an `app.middleware("http")`, an answer in an `exception_handler`."""
    with Uvicorn(fast.with_own_answers(fast.Clients(shared_provider), ours=False)) as served:
        answer = served.get("/dear")
    assert (answer.status, answer.json) == (402, {"sorry": "no budget"})


def test_flask_answers(shared_provider):
    """A scope from `before_request` to `teardown_request`, an answer in an `errorhandler`."""
    with Waitress(flasks.with_own_answers(shared_provider, ours=False)) as served:
        answer = served.get("/dear")
    assert (answer.status, answer.json) == (402, {"sorry": "no budget"})


def test_django_answers(django_project):
    """A scope in a function that is a middleware, an answer in a `process_exception`."""
    with Waitress(django_project) as served:
        answer = served.get("/dear")
    assert (answer.status, answer.json) == (402, {"sorry": "no budget"})
