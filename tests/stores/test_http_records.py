"""Records of a hosted store: who may write and read them, how much at once, and what an earlier server does to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from budgetguard.errors import StoreError
from budgetguard.ledger import Record, RecordQuery, Store, new_id
from budgetguard.server.keys import ADMIN, READ, SPEND, KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.stores.http.records import MOST_CHARACTERS, MOST_KNOWN
from budgetguard.testing.clock import StoppedClock
from tests.support.hosting import Hosted

ALERT, REFUSAL, CHANGE, SUM = [Record(kind, "a", 1, "{}") for kind in ("alert", "refusal", "change", "sum")]


class Shop(NamedTuple):
    """A project of a server in memory that asks for no key."""

    server: Hosted
    store: Store


@pytest.fixture
def shop(clock: StoppedClock) -> Iterator[Shop]:
    hosted = Hosted("memory://", clock=clock)
    with closing(open_store(f"{hosted.url}?settle_s=5", namespace="shop")) as store:
        yield Shop(hosted, store)
    hosted.stop()


def bodies(store: Store, kind: str = "refusal") -> list[str]:
    return [each.body for each in store.noted(RecordQuery(kind))]


# -- how much at once ------------------------------------------------------------------------------------------------


def test_many_long_records_go_in_requests_that_the_server_takes(shop: Shop) -> None:
    """Three million characters, of which each is three bytes, are more than a body may have."""
    many = [Record("refusal", f"{number:04d}", 1, "名" * 60_000) for number in range(50)]
    assert len(many) * 60_000 > 2 * MOST_CHARACTERS
    assert shop.store.note([*many, many[0]]) == [True] * 50 + [False]
    assert list(shop.store.noted(RecordQuery("refusal"))) == many


@pytest.mark.parametrize(
    ("path", "said", "param"),
    [
        ("note", {"records": [REFUSAL._asdict()] * 1_001}, "records"),
        ("note", {"records": [{**REFUSAL._asdict(), "body": "x" * 65_537}]}, "records[0].body"),
        ("note", {"records": [{**REFUSAL._asdict(), "id": "x" * 1_001}]}, "records[0].id"),
        ("note", {"records": [{**REFUSAL._asdict(), "kind": "Odd:"}]}, "records[0].kind"),
        ("note", {"records": [{**REFUSAL._asdict(), "at_ms": -1}]}, "records[0].at_ms"),
        ("note", {"records": [{**REFUSAL._asdict(), "until_ms": 2**53 + 1}]}, "records[0].until_ms"),
        ("note", {"records": [{**REFUSAL._asdict(), "more": 1}]}, "records[0]"),
        ("noted", {"kind": "refusal", "limit": 1_001}, "limit"),
        ("noted", {"kind": "refusal", "limit": 0}, "limit"),
        ("noted", {"kind": "a/b"}, "kind"),
        ("noted", {}, None),
    ],
)
def test_what_is_too_much_is_refused(shop: Shop, path: str, said: dict[str, Any], param: str | None) -> None:
    """One request must neither fill the memory of a server nor write what its store does not keep."""
    status, answer = shop.server.post(f"/v1/ledger/{path}", said)
    assert (status, answer["error"]["param"]) == (422, param)
    assert shop.server.post("/v1/ledger/noted", {"kind": "refusal"}) == (200, {"records": []})


# -- who -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_key(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """Opens a project of a server that asks for keys with a key of some scope."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    hosted = Hosted(url, open_mode=False)
    stores = []

    def with_scope(scope: str) -> Store:
        with closing(open_store(url, namespace=OWN)) as own:
            text = KeyRing(own).create("shop", scope)[1]
        headers = {"Authorization": f"Bearer {text}"}
        stores.append(open_store(f"{hosted.url}?settle_s=5", namespace="shop", headers=headers))
        return stores[-1]

    yield with_scope
    for store in stores:
        store.close()
    hosted.stop()


def test_a_key_for_spend_notes_what_its_calls_come_to_and_no_more(with_key: Callable[[str], Store]) -> None:
    """Who changed a budget is written by those who may, and not for the eyes of a program that only spends."""
    spender = with_key(SPEND)
    assert spender.note([ALERT, REFUSAL]) == [True, True]
    assert spender.note([REFUSAL._replace(body="2")], replace=True) == [False]
    assert (bodies(spender), bodies(spender, "alert")) == (["2"], ["{}"])
    for record in (CHANGE, SUM):
        with pytest.raises(StoreError, match="for spend only; of records, it may write and read alert and refusal"):
            spender.note([ALERT._replace(id="b"), record])
        with pytest.raises(StoreError, match="for spend only"):
            spender.noted(RecordQuery(record.kind))
    assert [each.id for each in spender.noted(RecordQuery("alert"))] == ["a"]


def test_a_key_for_reading_reads_all_records_and_writes_none(with_key: Callable[[str], Store]) -> None:
    """A dashboard shows who changed what; nothing that it does is on anybody's record."""
    admin, reader = with_key(ADMIN), with_key(READ)
    every = [ALERT, REFUSAL, CHANGE, SUM]
    assert admin.note(every) == [True] * 4
    assert [list(reader.noted(RecordQuery(each.kind))) for each in every] == [[each] for each in every]
    with pytest.raises(StoreError, match="this key is for read only"):
        reader.note([ALERT._replace(id="b")])
    assert admin.prune(2) == 0
    assert [list(admin.noted(RecordQuery(each.kind))) for each in every] == [[]] * 4


# -- an earlier server -----------------------------------------------------------------------------------------------


@pytest.fixture
def earlier(clock: StoppedClock) -> Iterator[Hosted]:
    """A server that has nothing at the paths of records, and says so in its own words."""

    def around(app: Any) -> Any:
        async def served(scope: Any, receive: Any, send: Any) -> None:
            path = scope.get("path", "")
            if path in {"/v1/ledger/note", "/v1/ledger/noted"}:
                scope = {**scope, "path": f"{path}/of/later", "raw_path": f"{path}/of/later".encode()}
            await app(scope, receive, send)

        return served

    hosted = Hosted("memory://", clock=clock, around=around)
    yield hosted
    hosted.stop()


def test_at_an_earlier_server_a_record_is_new_to_each_process_once(
    earlier: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    """An alert that every process sends is better than none, and than one with every call; that is said once."""
    first, second = [open_store(f"{earlier.url}?settle_s=5", namespace="shop") for _ in range(2)]
    for store in (first, second):
        assert store.note([ALERT, REFUSAL, ALERT]) == [True, True, False]
        assert store.note([ALERT]) == [False]
        assert list(store.noted(RecordQuery("alert"))) == []
        assert store.prune(5) == 0
        assert caplog.text.count("keeps no records: alerts come from every process") == 1
        caplog.clear()
        store.close()


def test_what_is_remembered_for_an_earlier_server_is_bounded(earlier: Hosted) -> None:
    """Refusals come for months; the latest alerts are what a process must not send again."""
    with closing(open_store(f"{earlier.url}?settle_s=5", namespace="shop")) as store:
        store.note([ALERT])
        for _ in range(2):
            store.note([Record("refusal", new_id(), 1, "") for _ in range(MOST_KNOWN // 2)])
            store.note([ALERT])
        assert store.note([ALERT]) == [False]
        store.note([Record("refusal", new_id(), 1, "") for _ in range(MOST_KNOWN)])
        assert store.note([ALERT]) == [True]


def test_an_outage_is_no_earlier_server(clock: StoppedClock) -> None:
    """Whoever cannot ask does not know whether another process was first."""
    server = Hosted("memory://", clock=clock)
    with closing(open_store(server.url, namespace="shop")) as store:
        assert store.note([ALERT]) == [True]
        server.stop()
        with pytest.raises(StoreError, match="did not answer"):
            store.note([ALERT._replace(id="b")])
        with pytest.raises(StoreError, match="did not answer"):
            store.noted(RecordQuery("alert"))
