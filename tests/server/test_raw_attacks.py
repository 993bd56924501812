"""Who speaks to the socket itself: a request is read in one way, nothing endless is kept, silence shuts out nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from budgetguard.server import protocol
from budgetguard.server.keys import ADMIN, KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider
from tests.support import raw_http
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, upstream
from tests.support.hosting import Hosted
from tests.support.raw_http import Target

ANY = Target(0, "/", b"{}")
"""Stands for a target where only the attacks' names are asked for."""


@pytest.fixture(scope="module")
def budgets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Hosted budgets, with a key."""
    url = f"sqlite:///{tmp_path_factory.mktemp('attacked')}/budgets.db?synchronous=normal"
    with closing(open_store(url, namespace=OWN)) as own:
        _, key = KeyRing(own).create("shop", ADMIN)
    hosted = Hosted(url, open_mode=False)
    yield Target(hosted.port, "/v1/balances", b'{"keys":["a"]}', {"authorization": f"Bearer {key}"})
    hosted.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shared_provider: FakeProvider) -> Iterator[Target]:
    """A gateway, with a key that may call models."""
    url = f"sqlite:///{tmp_path_factory.mktemp('attacked')}/budgets.db?synchronous=normal"
    body = json.dumps({"model": MODEL, "messages": MESSAGES, "max_tokens": 5}).encode()
    with ServedGateway(configured(upstream("openai", shared_provider.base_url.removesuffix("/v1"))), url) as served:
        headers = {"authorization": f"Bearer {served.key()}", "content-type": "application/json"}
        yield Target(served.port, "/v1/chat/completions", body, headers)


@pytest.fixture(params=["budgets", "gateway"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Both servers; whatever was tried, they answer the next one as if nothing had been."""
    made: Target = request.getfixturevalue(request.param)
    yield made
    assert made.is_well()


@pytest.mark.parametrize("attack", raw_http.smuggled(ANY))
def test_a_request_hidden_in_another_is_not_answered(attack: str, target: Target) -> None:
    """A proxy before us would have let it pass as a body: somebody else's key, or a path that the proxy forbids."""
    answered = target.say(raw_http.smuggled(target)[attack])
    assert len(answered) == 1
    assert answered[0] in {200, 400}


def test_what_follows_a_request_on_its_connection_is_answered_in_order(target: Target) -> None:
    """Else the test above would show nothing: a second request that hides nowhere is a request."""
    assert target.say(target.request * 2 + target.last) == [200] * 3


@pytest.mark.parametrize("attack", raw_http.endless(ANY))
def test_what_goes_on_and_on_is_refused(attack: str, target: Target) -> None:
    """It would be kept, megabyte for megabyte, by a server that waits for its end."""
    assert target.say(*raw_http.endless(target)[attack]) == [431]


@pytest.mark.parametrize("attack", raw_http.unreadable(ANY))
def test_an_address_that_cannot_be_read_is_answered(
    attack: str, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten thousand filters: the connection ended without a word, and the log had a failure of the server."""
    statuses = target.say(raw_http.unreadable(target)[attack])
    assert statuses in ([[200]] if attack == "behind another" else [[400], [431]])
    assert [each for each in caplog.records if each.exc_info] == []


@pytest.mark.parametrize("attack", raw_http.injected(ANY))
def test_no_value_of_a_request_becomes_a_header(attack: str, target: Target) -> None:
    """Nor an answer of its own: what is told of a model, a user, a path is told inside of JSON."""
    head, _, _ = target.hear(raw_http.injected(target)[attack]).partition(b"\r\n\r\n")
    assert head.count(b"HTTP/1.1 ") == 1
    assert b"set-cookie" not in head.lower()


def test_a_crowd_that_is_silent_shuts_out_nobody_with_a_key(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open connections and say nothing costs an attacker nothing. Here room is made at 300, not at thousands."""
    monkeypatch.setattr(protocol, "most_connections", lambda: 300)
    with ExitStack() as stack:
        crowd = raw_http.silent(target, 400, stack)
        assert target.is_well()
        crowd += raw_http.silent(target, 200, stack)
        assert target.is_well()
        assert sum(map(raw_http.has_ended, crowd)) >= 300
