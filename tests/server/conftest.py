"""What the server's tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from budgetguard.server.keys import KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support.hosting import Hosted


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/budgets.db"


@pytest.fixture
def ring(url: str) -> Iterator[KeyRing]:
    """The keys, as the command line has them."""
    own = open_store(url, namespace=OWN)
    yield KeyRing(own)
    own.close()


@pytest.fixture
def guarded(url: str) -> Iterator[Hosted]:
    """A server that asks for keys."""
    hosted = Hosted(url, open_mode=False)
    yield hosted
    hosted.stop()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that clients trust."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made
