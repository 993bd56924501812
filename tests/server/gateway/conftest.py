"""What tests of the gateway are run for, and what they end with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from budgetguard.process.state import PROCESS
from tests.support.tasks import until


@pytest.fixture(autouse=True)
def _every_call_ends() -> Iterator[None]:
    """A client has the last byte of a stream a moment before the gateway has settled it."""
    yield
    assert until(lambda: not PROCESS.open, 10), "a call was left open"


@pytest.fixture(params=["openai", "anthropic", "google"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Each API that is passed through."""
    name: str = request.param
    return name
