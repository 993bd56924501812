"""
A fuzzer driven by the server's own OpenAPI document: no server error, and no status that is not documented.

`make fuzz` tries fifty times as much, and something else each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from budgetguard import BudgetManager
from budgetguard.ledger import Account, Entry, Hold, Store, new_id
from budgetguard.server.api import openapi
from budgetguard.server.app import App
from budgetguard.server.keys import KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support.hosting import Hosted

EXAMPLES = int(os.environ.get("BUDGETGUARD_TEST_FUZZ", "10"))

_app = App("memory://", open_mode=True)
schema = schemathesis.openapi.from_dict(json.loads(json.dumps(openapi.document(_app.endpoints))))
_app.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, requests.Session]]:
    """With a key that may do everything, so that what is behind it is reached. In the end it is as well as before."""
    path: Path = tmp_path_factory.mktemp("fuzz")
    url = f"sqlite:///{path}/budgets.db?synchronous=normal"
    own = open_store(url, namespace=OWN)
    _, key = KeyRing(own).create("shop", "admin")
    own.close()
    with closing(open_store(url, namespace="shop")) as store:
        fill(store)
    hosted = Hosted(url, open_mode=False)
    with requests.Session() as session:
        yield hosted.url, key, session
    assert hosted.ask("GET", "/health")[0] == 200
    hosted.stop()


def fill(store: Store) -> None:
    """Budgets, spend and open holds of a few users, so that there is something to page through and to change."""
    manager = BudgetManager("shop", store=store)
    for number in range(60):
        name = f"user{number % 7}"
        manager.create_budget(number + 1, name, "monthly")
        account = Account(f"team/{number % 3}", limit=10**12)
        held = Hold(new_id(), (account,), 10**9, tags={"user": name, "day": "x\udcff"}, model=f"m{number % 5}")
        store.reserve(held)
        if number % 4:
            usage = {"input_tokens": number, "output_tokens": 1}
            store.settle(held, Entry(held.id, number * 10**7, tags=held.tags, model=held.model, usage=usage))


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="BUDGETGUARD_TEST_FUZZ" not in os.environ,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_input_is_a_server_error(case: schemathesis.Case, server: tuple[str, str, requests.Session]) -> None:
    """Valid and invalid requests of every operation, on connections that are used again."""
    url, key, session = server
    case.headers = {
        name: value for name, value in (case.headers or {}).items() if name.lower() != "budgetguard-project"
    }
    case.headers["Authorization"] = f"Bearer {key}"
    response = case.call(base_url=url, session=session)
    case.validate_response(
        response,
        checks=(
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ),
    )
    assert "Traceback" not in response.text
