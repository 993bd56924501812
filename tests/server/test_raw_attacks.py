"""Who speaks to the socket itself: no request is read in two ways, nothing endless is kept, silence shuts out nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from budgetguard.server import protocol
from budgetguard.server.keys import ADMIN, KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support import raw_http
from tests.support.hosting import Hosted
from tests.support.raw_http import Target

ANY = Target(0, "/", b"{}")
"""Stands for a target where only the attacks' names are asked for."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server that asks for keys, and a request with one."""
    path: Path = tmp_path_factory.mktemp("attacked")
    url = f"sqlite:///{path}/budgets.db?synchronous=normal"
    own = open_store(url, namespace=OWN)
    _, key = KeyRing(own).create("shop", ADMIN)
    own.close()
    hosted = Hosted(url, open_mode=False)
    made = Target(hosted.port, "/v1/balances", b'{"keys":["a"]}', {"authorization": f"Bearer {key}"})
    assert made.is_well()
    yield made
    assert made.is_well()
    hosted.stop()


@pytest.mark.parametrize("attack", raw_http.smuggled(ANY))
def test_a_request_hidden_in_another_is_not_answered(attack: str, target: Target) -> None:
    """A proxy before us would have let it pass as a body: somebody else's key, or a path that the proxy forbids."""
    answered = target.say(raw_http.smuggled(target)[attack])
    assert len(answered) == 1
    assert answered[0] in {200, 400}


def test_what_follows_a_request_on_its_connection_is_answered_in_order(target: Target) -> None:
    """Else the test above would show nothing: a second request that hides nowhere is a request."""
    assert target.say(target.request * 3) == [200] * 3


@pytest.mark.parametrize("attack", raw_http.endless(ANY))
def test_what_goes_on_and_on_is_refused(attack: str, target: Target) -> None:
    """It would be kept, megabyte for megabyte, by a server that waits for its end."""
    assert target.say(*raw_http.endless(target)[attack]) == [431]


def test_a_crowd_that_is_silent_shuts_out_nobody_with_a_key(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open connections and say nothing costs an attacker nothing."""
    monkeypatch.setattr(protocol, "most_connections", lambda: 300)
    with ExitStack() as stack:
        raw_http.silent(target, 400, stack)
        assert target.is_well()
        raw_http.silent(target, 200, stack)
        assert target.is_well()
