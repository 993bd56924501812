"""What anybody may write, users, models, tags, notes and addresses, is shown as text, whatever it is."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

from budgetguard.server.page.views import VIEWS
from budgetguard.stores import open_store
from tests.support.browsing import Browsing
from tests.support.hosting import Hosted
from tests.support.page_books import HOSTILE, fill_hostile

LOOKS = [view.name for view in VIEWS if view.method == "GET"]
MARKUP = ("<script>alert", "<img src=x", "onerror=alert(1)>")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
FILTERS = (
    "user",
    "model",
    "provider",
    "tag",
    "search",
    "value",
    "by",
    "from",
    "to",
    "zone",
    "sort",
    "before",
    "prefix",
)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsing]:
    """Books of people who wish us ill, on a server for this machine."""
    url = f"sqlite:///{tmp_path_factory.mktemp('evil')}/books.db"
    store = open_store(url, namespace="evil")
    fill_hostile(store)
    store.close()
    made = Hosted(url, open_mode=True, project="evil")
    yield Browsing(made.port)
    made.stop()


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_in_the_books_is_no_markup(evil: Browsing, name: str) -> None:
    """A user who calls himself a script runs in the browser of whoever keeps the budgets."""
    queries = [{}] if name != "subject" else [{"tag": "user", "value": each} for each in HOSTILE]
    for query in queries:
        seen = evil.get(f"/ui/{name}?{urlencode(query)}")
        assert seen.status < 500
        assert [each for each in MARKUP if each in seen.text] == []
        assert "49" not in seen.plain or "{{ 7 * 7 }}" in seen.plain, "a name is no template"
        assert 'href="javascript:' not in seen.text


@pytest.mark.parametrize("name", [*LOOKS, "sign-in", "nothing"])
def test_what_an_address_says_is_no_markup(evil: Browsing, name: str) -> None:
    """A link is sent by anybody, and followed by whoever has signed in."""
    for hostile in HOSTILE[:2]:
        query = urlencode(dict.fromkeys(FILTERS, hostile))
        for path in (f"/ui/{name}?{query}", f"/ui/{name}/{quote(hostile)}", f"/ui/{name}?project={quote(hostile)}"):
            seen = evil.get(path)
            assert seen.status < 500, path
            assert [each for each in MARKUP if each in seen.text] == [], path


@pytest.mark.parametrize("name", [view.name for view in VIEWS if view.method == "GET" and view.listed])
def test_a_spreadsheet_takes_no_name_for_a_formula(evil: Browsing, name: str) -> None:
    """One that opens what was downloaded would run it."""
    seen = evil.get(f"/ui/{name}.csv?tag=user&value=ann")
    if seen.status == 404:
        return
    assert seen.headers["content-type"].startswith("text/csv")
    assert seen.headers["content-disposition"].startswith("attachment;")
    for row in csv.reader(io.StringIO(seen.text)):
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or NUMBER.fullmatch(cell), cell


def test_json_has_every_name_as_it_is(evil: Browsing) -> None:
    """It is for programs, which take no text for anything else."""
    seen = evil.get("/ui/calls.json")
    assert seen.headers["content-type"] == "application/json"
    assert {row["user"] for row in json.loads(seen.text)["rows"]} == set(HOSTILE)
