"""What the page's tests begin with: a server with keys over a real file, and a browser without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from budgetguard.ledger import Store
from budgetguard.server.keys import KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support.browsing import Browsing
from tests.support.hosting import Hosted


@pytest.fixture
def books_url(tmp_path: Path) -> str:
    """Where the budgets live."""
    return f"sqlite:///{tmp_path}/page.db"


@pytest.fixture
def shop(books_url: str) -> Iterator[Store]:
    """The books of the project that is looked at."""
    made = open_store(books_url, namespace="shop")
    yield made
    made.close()


@pytest.fixture
def page_ring(books_url: str) -> Iterator[KeyRing]:
    """The keys of the server."""
    made = open_store(books_url, namespace=OWN)
    yield KeyRing(made)
    made.close()


@pytest.fixture
def site(books_url: str) -> Iterator[Hosted]:
    """A server that asks for keys."""
    made = Hosted(books_url, open_mode=False)
    yield made
    made.stop()


@pytest.fixture
def browser(site: Hosted) -> Browsing:
    """Somebody who has not signed in."""
    return Browsing(site.port)


@pytest.fixture
def admin(page_ring: KeyRing, browser: Browsing) -> Browsing:
    """Somebody who has signed in with a key of scope admin."""
    browser.sign_in(page_ring.create("shop", "admin", "the boss")[1])
    return browser
