"""Which projects are in a store: whoever asks in the wrong one is told."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from budgetguard.ledger import Record, RecordQuery, new_id
from budgetguard.stores import open_store
from tests.support import servers
from tests.support.ledger import spend


@pytest.mark.parametrize("name", ["sqlite", *servers.NAMES])
def test_a_store_tells_of_all_its_namespaces_with_anything_on_their_books(name: str, tmp_path: Path) -> None:
    """Also of those with users only, whose names may be any text; looking at one does not make it."""
    url = f"sqlite:///{tmp_path}/budgets.db" if name == "sqlite" else servers.running(name)
    mine = new_id()
    shop, team, looked = f"{mine}shop", f"{mine}Ünï }}:e \udcff", f"{mine}looked"
    with ExitStack() as stack:
        stores = {each: stack.enter_context(closing(open_store(url, namespace=each))) for each in (shop, team, looked)}
        spend(stores[shop])
        stores[team].put_terms("a}:e", "ann")
        assert list(stores[looked].entries()) == []
        for store in stores.values():
            assert [each for each in store.namespaces() if each.startswith(mine)] == [shop, team]


def test_a_file_that_is_not_there_has_no_namespaces_and_is_not_made(tmp_path: Path) -> None:
    """To ask is to read."""
    with closing(open_store(f"sqlite:///{tmp_path}/budgets.db")) as store:
        assert store.namespaces() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sqlite", *servers.NAMES])
def test_the_records_of_one_namespace_are_no_others(name: str, tmp_path: Path) -> None:
    """What is new to one is new to the next, and none prunes what is another's."""
    url = f"sqlite:///{tmp_path}/budgets.db" if name == "sqlite" else servers.running(name)
    mine, record = new_id(), Record("alert", "a", 1, "{}")
    with ExitStack() as stack:
        shop, team = [stack.enter_context(closing(open_store(url, namespace=f"{mine}{each}"))) for each in ("a", "ab")]
        assert [shop.note([record]), team.note([record]), shop.note([record])] == [[True], [True], [False]]
        team.prune(5)
        assert [list(each.noted(RecordQuery("alert"))) for each in (shop, team)] == [[record], []]
        assert [each for each in shop.namespaces() if each.startswith(mine)] == []
