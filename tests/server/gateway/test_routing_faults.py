"""Each row of routing's table, with the fault in a real upstream: who is asked next, and what the client sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from budgetguard.testing import FakeProvider
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, hard, upstream
from tests.support.servers.redis import free_port

CHAT = "/v1/chat/completions"
PATIENT = "patient"
"""A model that may be asked twice, though it may be paid twice."""


def body(model: str = MODEL, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "max_tokens": 20, **fields}


class Pair:
    """A gateway before two providers that are asked in order."""

    def __init__(self, a: FakeProvider, b: FakeProvider, root: str) -> None:
        self.a, self.b = a, b
        places = (upstream("a", root), upstream("b", b.root_url))
        self.configuration = configured(
            *places,
            models=(
                ModelEntry(MODEL, tuple(map(Target, places))),
                ModelEntry("alone", (Target(places[0], MODEL),)),
                ModelEntry(PATIENT, tuple(Target(each, MODEL) for each in places), retry_unknown=True),
            ),
            budgets=(hard(1),),
        )
        self.gateway = ServedGateway(self.configuration)

    def asked(self) -> tuple[int, int]:
        return len(self.a.requests), len(self.b.requests)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with FakeProvider(tokens=4) as a, FakeProvider(tokens=4) as b:
        made = Pair(a, b, a.root_url)
        with made.gateway:
            yield made


@pytest.mark.parametrize("status", [429, 500, 503, 529, 401, 403, 404])
def test_an_upstream_that_cannot_is_followed_by_the_next_and_left_alone(pair: Pair, status: int) -> None:
    """The client sees one answer; the next call does not try the broken one again."""
    pair.a.fail_next(status=status)
    for _ in range(2):
        answered, said, _ = pair.gateway.ask(CHAT, body())
        assert (answered, said["object"]) == (200, "chat.completion")
    assert pair.asked() == (1, 2)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_wrong_is_not_sent_to_another(pair: Pair, status: int) -> None:
    """It is wrong there, too: the client has the upstream's own words, and the upstream stays."""
    pair.a.fail_next(status=status)
    assert pair.gateway.ask(CHAT, body())[0] == status
    assert pair.gateway.ask(CHAT, body())[0] == 200
    assert pair.asked() == (2, 0)


def test_an_upstream_that_is_not_there_has_seen_nothing() -> None:
    """The next one is asked, whatever may be sent twice."""
    with FakeProvider(tokens=4) as a, FakeProvider(tokens=4) as b:
        made = Pair(a, b, f"http://127.0.0.1:{free_port()}")
        with made.gateway:
            assert made.gateway.ask(CHAT, body())[0] == 200
        assert made.asked() == (0, 1)


def test_what_broke_off_is_sent_again_only_where_it_is_said(pair: Pair) -> None:
    """The first upstream may have done the work, and bills it."""
    pair.a.fail_next(drop="headers")
    assert pair.gateway.ask(CHAT, body())[0] >= 500
    assert pair.asked() == (1, 0)
    pair.gateway.app.router.keep([])
    pair.a.fail_next(drop="headers")
    assert pair.gateway.ask(CHAT, body(PATIENT))[0] == 200
    assert pair.asked() == (2, 1)


def test_a_stream_that_breaks_is_not_begun_again(pair: Pair) -> None:
    """The client would read the beginning twice."""
    pair.a.fail_next(drop="stream", drop_after=2)
    status, told, _ = pair.gateway.ask(CHAT, body(stream=True))
    assert (status, b"chat.completion.chunk" in told) == (200, True)
    assert pair.asked() == (1, 0)


def test_a_stated_pause_is_told_to_the_client(pair: Pair) -> None:
    """Nothing is sent meanwhile where nobody else is there; its own SDK knows how to wait."""
    pair.a.fail_next(status=429, retry_after_ms=30_000)
    assert pair.gateway.ask(CHAT, body("alone"))[0] == 429
    status, _, headers = pair.gateway.ask(CHAT, body("alone"))
    assert status == 429
    assert 0 < int(headers["retry-after"]) <= 30
    assert pair.asked() == (1, 0)


def test_an_error_is_no_sign_of_health(pair: Pair) -> None:
    """It came quickly, and from somebody: failures still add up, and are no measurement."""
    pair.a.fail_next(*[500] * 3)
    for _ in range(3):
        assert pair.gateway.ask(CHAT, body("alone"))[0] == 500
    [failures] = [row.failures for row in pair.gateway.app.router.standing() if row[:2] == ("a", None)]
    assert failures == 3
    assert {row.first_byte_s for row in pair.gateway.app.router.standing()} == {None}
