"""
A client and a server of different versions understand each other in dollars, and say so where they do not.

`tests/upgrades/kept/http_version_1.json` has what the client of version 1 sent for the steps of
`tests/support/hosted_steps.py`, what the server of version 1 answered, and by which schemas it read: it knew no units.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import pytest

from budgetguard.errors import AmountError, StoreError
from budgetguard.ledger import Account, Admitted, Carried, Entry, Hold, Refusal, Settled, Store, Wanted
from budgetguard.stores.http import rows
from budgetguard.stores.http.store import HttpStore
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing.clock import StoppedClock
from tests.support.hosted_steps import STEPS, hold
from tests.support.hosting import Hosted

RECORDED = json.loads((Path(__file__).parent / "kept" / "http_version_1.json").read_text("utf-8"))

REQUESTS = Account("calls/29x60000#requests", limit=60)
TOKENS = Account("tokens//2027-01-01#tokens", limit=1_000)


def everything(answer: Any) -> Any:
    """An answer with what outcomes are compared without."""
    if isinstance(answer, list):
        return [everything(each) for each in answer]
    return answer, getattr(answer, "balances", None)


def is_within(old: Any, new: Any) -> bool:
    """Whether all that was said before is said now, to somebody who looks for it by its name."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and is_within(old[name], new[name]) for name in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(is_within, old, new))
    return type(old) is type(new) and old == new


class Now(NamedTuple):
    """A server and a client of this version."""

    server: Hosted
    store: HttpStore


@pytest.fixture
def now(clock: StoppedClock) -> Iterator[Now]:
    """Before an empty store in memory."""
    server = Hosted("memory://", clock=clock)
    store = HttpStore(server.url, namespace="shop", reserve_s=5, settle_s=5)
    yield Now(server, store)
    store.close()
    server.stop()


class Before(HttpStore):
    """A client of this version at a server of version 1, which is played from the recording."""

    def __init__(self) -> None:
        super().__init__("http://before", namespace="shop")
        self.step = ""
        self.sent: list[Any] = []

    def _send(self, path: str, body: bytes, deadline: float) -> Any:
        sent = json.loads(body)
        self.sent.append(sent)
        schema = {"$ref": RECORDED["paths"][path], "components": RECORDED["components"]}
        if not jsonschema_rs.is_valid(schema, sent):
            return Said(422, RECORDED["unknown_field"])
        if self.step:
            assert path == RECORDED["steps"][self.step]["path"]
            return Said(200, RECORDED["steps"][self.step]["answered"])
        raise AssertionError(f"a server that knows no units took {sent}")


class Said:
    """An answer of that server."""

    def __init__(self, status: int, answered: Any) -> None:
        self.status = status
        self.data = json.dumps(answered).encode()
        self.headers = {rows.API_HEADER: "v1"}


@pytest.fixture
def before() -> Iterator[Before]:
    store = Before()
    yield store
    store.close()


def test_a_client_of_the_version_before_is_answered_as_it_was(now: Now) -> None:
    """All that it sends is taken, and all that it reads is there: more disturbs nobody."""
    assert RECORDED["steps"].keys() == STEPS.keys()
    for name in STEPS:
        step = RECORDED["steps"][name]
        status, answered = now.server.post(step["path"], step["sent"])
        assert (name, status) == (name, 200)
        assert is_within(step["answered"], answered), (name, answered)


def test_a_server_of_the_version_before_is_asked_and_heard_in_dollars(before: Before) -> None:
    """All that is sent fits its schemas, and what it answers means what it says; it tells of no balances."""
    specified = MemoryStore(clock=StoppedClock())
    for name, step in STEPS.items():
        before.step = name
        answer, expected = step(before), step(specified)
        if name in {"the history", "some of the history"}:  # what a database cannot count is bounded on the way
            expected = [each._replace(usage={n: min(c, 2**63 - 1) for n, c in each.usage.items()}) for each in expected]
        assert (name, answer) == (name, expected)
        assert not getattr(answer, "balances", ())


def test_this_version_answers_its_own_client_in_every_step(now: Now, clock: StoppedClock) -> None:
    """As the store in memory does, balances included."""
    specified = MemoryStore(clock=clock)
    for name, step in STEPS.items():
        answer, expected = everything(step(now.store)), everything(step(specified))
        if name not in {"the history", "some of the history"}:
            assert (name, answer) == (name, expected)


def in_units() -> list[Callable[[Store], Any]]:
    """Everything that would put another unit than dollars on the books."""
    calls, tokens = hold(1, 0, REQUESTS), hold(2, 5, TOKENS, units={"tokens": Wanted(7)})
    plain, drawn = hold(3, 5), Hold("4" * 32, (), 0)
    return [
        lambda store: store.reserve(calls),
        lambda store: store.reserve(tokens),
        lambda store: store.reserve(hold(5, 5, units={"tokens": Wanted(7)})),
        lambda store: store.renew([plain, calls]),
        lambda store: store.settle(calls, Entry(calls.id, 0)),
        lambda store: store.settle(plain, Entry(plain.id, 0, units={"tokens": 7})),
        lambda store: store.settle_many([(plain, Entry(plain.id, 1)), (drawn, Entry(drawn.id, 1, (TOKENS.key,)))]),
        lambda store: store.load(accounts=[Carried(REQUESTS.key, None, 3)]),
        lambda store: store.load(entries=[Entry(plain.id, 1, (REQUESTS.key,), 1_000)]),
    ]


@pytest.mark.parametrize("place", range(len(in_units())))
def test_a_server_of_the_version_before_takes_no_units_for_dollars(before: Before, place: int) -> None:
    """It refuses all of it, and the client says what to do. Settlements wait for the upgrade in the journal."""
    with pytest.raises(StoreError, match=r"unknown field `units`.*upgrade the server") as caught:
        in_units()[place](before)
    assert type(caught.value) is StoreError
    assert len(before.sent) == 1


@pytest.mark.parametrize("place", range(len(in_units())))
def test_a_server_of_this_version_takes_them(now: Now, place: int) -> None:
    """The same requests."""
    in_units()[place](now.store)
    assert now.store.check() == []


def test_a_client_of_the_version_before_counts_no_dollars_as_tokens(now: Now) -> None:
    """It has no such budgets; one that names such an account by hand is told what it lacks."""
    body = {"id": "a", "accounts": [{"key": TOKENS.key, "limit": 1_000}], "amount": 5, "ttl_ms": 1_000}
    status, answered = now.server.post("/v1/reserve", body)
    assert (status, answered["error"]["code"]) == (422, "absurd_amount")
    assert "does not say how many tokens" in answered["error"]["message"]
    assert now.server.post("/v1/ledger/accounts", {})[1] == {"balances": []}


def test_tokens_that_are_not_said_need_no_server(before: Before) -> None:
    """The client knows as well as it does."""
    with pytest.raises(AmountError, match="how many tokens"):
        before.reserve(hold(1, 5, TOKENS))
    assert before.sent == []


def test_outcomes_carry_balances_in_one_request(now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of accounts in each unit; nobody asks a second time."""
    store = now.store
    sent, send = [], store._send
    monkeypatch.setattr(store, "_send", lambda *asked: (sent.append(asked), send(*asked))[1])
    held = hold(1, 40, Account("team", 100), TOKENS, REQUESTS, units={"tokens": Wanted(5_000, 10)})
    admitted = store.reserve(held)
    assert isinstance(admitted, Admitted)
    assert (admitted.units, [each[1:] for each in admitted.balances]) == (
        {"tokens": 1_000, "requests": 1},
        [(0, 40), (0, 1_000), (0, 1)],
    )
    refusal = store.reserve(hold(2, 1, TOKENS, units={"tokens": Wanted(1)}))
    assert isinstance(refusal, Refusal)
    assert (refusal.account, refusal.balance.held) == (TOKENS, 1_000)
    settled = store.settle(held, Entry(held.id, 25, ("models/gpt",), units={"tokens": 520}))
    assert isinstance(settled, Settled)
    assert [each[1:] for each in settled.balances] == [(25, 0), (520, 0), (1, 0), (25, 0)]
    assert len(sent) == 3
