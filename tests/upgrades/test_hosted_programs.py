"""Servers and clients of two versions, as while a fleet is upgraded: each operation is done, or clearly refused."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from budgetguard import BudgetExceededError, BudgetManager, StoreError
from budgetguard.cli.programs.doctor import examine
from budgetguard.ledger import RecordQuery
from budgetguard.server.keys import KeyRing
from tests.support import servers
from tests.support.kept import Program, ProgramError
from tests.support.upgrading import BY_HAND, COST, Server, Shop, close_all, on_books, seen, store_at

AS_TRADED = [[COST] * 3, ["ann", "bob"], 3 * COST]


@pytest.fixture
def now(programs: dict[str, Program], tmp_path: Path) -> Server:
    """A server of this version on a file of its own."""
    return Server(f"sqlite:///{tmp_path}/new.db")


@pytest.fixture
def old_url(before: Program, tmp_path: Path) -> str:
    """A server of that version."""
    return str(before.ask("Server(store).url", store=f"sqlite:///{tmp_path}/old.db"))


def test_a_client_of_before_does_all_that_it_did_at_a_server_of_this_version(before: Program, now: Server) -> None:
    """Servers are upgraded first: until clients are, they reserve, settle, renew, change users and read history."""
    spent, said, *others = before.ask("shop = Shop(url)\nshop.trade()", url=now.url)
    assert [spent, *others] == AS_TRADED
    assert said.startswith("users/bob: call projected at $0.0000")
    assert before.ask("on_books(shop.manager.store)") == seen(now.url)
    assert before.ask("shop.manager.store.renew([BY_HAND])") == [True]
    assert before.ask("[shop.manager.store.settle(BY_HAND, LATER).cost, shop.manager.store.check()]") == [25, []]
    assert before.ask("shop.manager.store.prune(5)") == 0
    with BudgetManager("shop", store=now.url) as manager:
        manager.set_budget("ann", 2.0)
        assert before.ask("shop.manager.get_total_budget('ann')") == 2.0
        before.run("shop.manager.set_budget('cy', 3.0)")
        assert manager.get_total_budget("cy") == 3.0


def test_a_client_of_0_2_0_takes_tokens_for_nano_dollars(programs: dict[str, Program], now: Server) -> None:
    """It refuses for want of room, or counts beside the budget: so such budgets come when the last is upgraded."""
    with BudgetManager("shop", store=now.url) as manager:
        manager.set_budget("kim", 2_000, unit="tokens")
        manager.set_budget("pat", 100_000_000, unit="tokens")
        programs["0.2.0"].run("shop = Shop(url)", url=now.url)
        with pytest.raises(
            ProgramError, match=r"BudgetExceededError: users/kim: .* \$0.000002 of \$0.000002 available"
        ):
            programs["0.2.0"].ask("shop.call('kim')")
        assert programs["0.2.0"].ask("shop.call('pat')") == COST
        programs["gateway"].run("shop = Shop(url)", url=now.url)
        assert programs["gateway"].ask("shop.call('kim')") == COST
        assert [manager.get_current_cost(each) for each in ("kim", "pat")] == [8, 0]
        assert [each.settled for each in manager.store.balances(["users/pat/all"])] == [COST]


def test_a_client_of_before_does_not_know_of_a_pause(before: Program, now: Server) -> None:
    """Its calls pass, at the limit that its user had: pauses need every program of this version."""
    with BudgetManager("shop", store=now.url) as manager:
        manager.set_budget("ann", 1.0)
        manager.pause("users/ann")
        before.run("shop = Shop(url)", url=now.url)
        assert before.ask("shop.call('ann')") == COST
        assert manager.get_current_cost("ann") == COST / 1e9


def test_this_version_does_at_a_server_of_before_what_that_can(old_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Budgets in dollars, and steers of users, hold; what would stand beside the books is said to be lost, once."""
    with caplog.at_level(logging.WARNING, "budgetguard"):
        shop = Shop(old_url)
        spent, _said, *others = shop.trade()
        assert [spent, *others] == AS_TRADED
        there = on_books(shop.manager.store)
        assert there["differences"] == 0
        assert there["balances"]["users/ann/" + there["entries"][0][2][-1].rpartition("/")[2]] == [2 * COST, 0]
        shop.manager.pause("users/ann")
        with pytest.raises(BudgetExceededError, match="paused"):
            shop.call("ann")
        shop.manager.resume("users/ann")
        assert shop.call("ann") == COST
        assert shop.manager.changes() == []
        assert list(shop.manager.store.noted(RecordQuery("alert"))) == []
        assert shop.manager.store.namespaces() == ["shop"]
        close_all()
    assert caplog.text.count("keeps no records: alerts come from every process") == 1


def test_the_doctor_says_that_a_server_is_of_a_version_before(old_url: str, now: Server) -> None:
    """Who rolls out servers sees which of them is left."""
    said = [finding.text for finding in examine(old_url, "shop") if finding.state == "warn"]
    assert [text for text in said if text.endswith("not written down; upgrade the server")]
    said = [finding.text for finding in examine(now.url, "shop")]
    assert not [text for text in said if "upgrade the server" in text]


def test_a_server_of_0_2_0_takes_no_other_unit_than_dollars(programs: dict[str, Program], tmp_path: Path) -> None:
    """Refused before the call is sent, with what to do."""
    url = programs["0.2.0"].ask("Server(store).url", store=f"sqlite:///{tmp_path}/old.db")
    shop = Shop(url)
    shop.manager.set_budget("kim", 2_000, unit="tokens")
    with pytest.raises(StoreError, match="upgrade the server"):
        shop.call("kim")
    assert shop.provider.requests == []


def test_a_copy_by_a_version_before_from_a_server_of_this_one_is_the_way_back(
    before: Program, now: Server, tmp_path: Path
) -> None:
    """Nothing of what was spent since the upgrade is lost: users, balances and history are in a file of before."""
    shop = Shop(now.url)
    shop.trade()
    shop.manager.set_budget("ann", 2.0)
    shop.manager.store.release(BY_HAND.id)
    back = f"sqlite:///{tmp_path}/back.db"
    code, said = before.ask("say('copy', url, back, '--project', 'shop')", url=now.url, back=back)
    assert (code, "Both have the same books" in said) == (0, True), said
    assert before.ask("seen(url)", url=back) == seen(now.url)
    assert before.ask("shop = Shop(url)\n[shop.call('ann'), shop.manager.get_total_budget('ann')]", url=back) == [
        COST,
        2.0,
    ]


def test_the_way_back_to_0_2_0_is_for_books_in_dollars(
    programs: dict[str, Program], now: Server, tmp_path: Path
) -> None:
    """It compares what it has copied, and says that it is not the same; the version between brings all units."""
    shop = Shop(now.url)
    shop.manager.set_budget("kim", 2_000, unit="tokens")
    shop.call("kim")
    copied = {
        version: before.ask(
            "say('copy', url, back, '--project', 'shop')", url=now.url, back=f"sqlite:///{tmp_path}/{version}.db"
        )
        for version, before in programs.items()
    }
    assert [code for code, _ in copied.values()] == [2, 0]
    assert "account users/kim/all#tokens" in copied["0.2.0"][1]
    with store_at(f"sqlite:///{tmp_path}/gateway.db") as store:
        assert [each.settled for each in store.balances(["users/kim/all#tokens"])] == [8]


KEYS = {
    "0.2.0": {"spend": (), "read": (), "admin": ()},
    "gateway": {
        "spend": ("--expires", "90d"),
        "read": (),
        "admin": (),
        "call": ("--user", "ann", "--models", "gpt-4o*", "--budget", "5", "--period", "monthly", "--rpm", "60"),
    },
}


def keys_made(before: Program, version: str, store: str) -> dict[str, str]:
    """A key of each scope that a version knows."""
    made = {}
    for scope, more in KEYS[version].items():
        words = ["keys", "create", "shop", "--scope", scope, *more, "--store", store]
        code, said = before.ask("say(*words)", words=words)
        assert code == 0, said
        [made[scope]] = [word for word in said.split() if word.startswith("bg_")]
    return made


def met(url: str, path: str, key: str, body: Any = None) -> tuple[int, Any]:
    """What a server answers to a key."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"{url}{path}", sent, headers)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


RESERVE = {"id": "a" * 32, "accounts": [{"key": "team", "limit": 100}], "amount": 5, "ttl_ms": 60_000}


def test_keys_of_before_let_in_as_they_did(before: Program, version: str, tmp_path: Path) -> None:
    """What each may is what it might, to the same project; what a gateway's key may spend holds as well."""
    store = f"sqlite:///{tmp_path}/keys.db"
    keys = keys_made(before, version, store)
    server = Server(store, open_mode=False)
    statuses = {
        scope: (met(server.url, "/v1/reserve", key, RESERVE)[0], met(server.url, "/v1/ledger/holds", key, {})[0])
        for scope, key in keys.items()
    }
    assert (
        statuses.items() <= {"spend": (200, 403), "read": (403, 200), "admin": (200, 200), "call": (403, 403)}.items()
    )
    ring = KeyRing(server.app.projects.own)
    found = {key.scope: key for key in ring.all()}
    assert set(found) == set(keys)
    if "call" in keys:
        assert [found["call"].grant.user, found["call"].grant.models] == ["ann", ("gpt-4o*",)]
        assert found["call"].grant.limits != found["spend"].grant.limits


@pytest.fixture
def shared() -> Iterator[str]:
    """The URL of a database in a server of Valkey that is empty, and is emptied again."""
    url = f"{servers.running('valkey').rpartition('/')[0]}/9"
    with redis.Redis.from_url(url.replace("valkey://", "redis://")) as client:
        client.flushdb()
        yield url
        client.flushdb()


def test_servers_of_two_versions_share_the_keys_of_one_store(before: Program, version: str, shared: str) -> None:
    """While servers are replaced one by one: a key of either is let in by both, and by none once it is revoked."""
    old_url = before.ask("Server(url, open_mode=False).url", url=shared)
    now = Server(shared, open_mode=False)
    ring = KeyRing(now.app.projects.own)
    key, secret = ring.create("shop", "spend")
    made = {**keys_made(before, version, shared), "new": secret}
    for url in (old_url, now.url):
        assert {name: met(url, "/v1/reserve", each, RESERVE)[0] for name, each in made.items() if name != "call"} == {
            "spend": 200,
            "read": 403,
            "admin": 200,
            "new": 200,
        }
    ring.revoke(key.prefix)
    code, said = before.ask("say('keys', 'revoke', prefix, '--store', url)", prefix=made["spend"][:13], url=shared)
    assert code == 0, said
    for url in (old_url, now.url):
        wait_for(
            lambda url=url: [met(url, "/v1/reserve", made[each], RESERVE)[0] for each in ("new", "spend")] == [401] * 2
        )
    assert met(now.url, "/v1/reserve", made["admin"], RESERVE)[0] == 200


def wait_for(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Servers look at keys again within two seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
