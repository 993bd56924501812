"""
The same runs by the gateway: nothing is patched, and each framework's base URL is the gateway's.

A pytest plugin in the place of `plugin` (`tests/run_frameworks.py --gateway` names it): its fixtures have the same
names. A refusal is one request of the framework, answered 402, and none at the provider.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from budgetguard.money import Money
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider
from tests.frameworks.plugin import MODELS, pytest_terminal_summary
from tests.support.before_gateway import PROJECT, BeforeGateway

PRICES = dict.fromkeys(MODELS, (1, 2))
__all__ = ["pytest_terminal_summary"]
KEY = "none"
"""What the runs have for a key."""


class Behind(FakeProvider):
    """A provider whose URLs lead to the gateway before it."""

    gateway: BeforeGateway

    @property
    def base_url(self) -> str:
        """Of OpenAI's SDKs."""
        return f"{self.gateway.url}/v1"

    @property
    def root_url(self) -> str:
        """Of the others'."""
        return self.gateway.url


@pytest.fixture(scope="session")
def port() -> int:
    """Where each run's provider is, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def gateway_of(port: int) -> Iterator[Callable[[str], BeforeGateway]]:
    """The gateway whose key has so many dollars; started when it is first asked for."""
    with ExitStack() as ended:
        made: dict[str, BeforeGateway] = {}

        def one(limit: str) -> BeforeGateway:
            if limit not in made:
                python, root = os.environ["BUDGETGUARD_TEST_GATEWAY"], f"http://127.0.0.1:{port}"
                made[limit] = ended.enter_context(BeforeGateway(python, root, keys=[KEY], limit=limit, prices=PRICES))
            return made[limit]

        yield one


@pytest.fixture
def provider(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, port: int, gateway_of: Any
) -> Iterator[Behind]:
    """The provider, behind the gateway to which every SDK in this process is pointed."""
    with Behind(prices=PRICES, tokens=12, port=port) as own:
        own.gateway = gateway_of("0.000001" if "refused" in request.fixturenames else "10")
        for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE"):
            monkeypatch.setenv(f"{name}_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", own.base_url)
        monkeypatch.setenv("OPENAI_API_BASE", own.base_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", own.root_url)
        yield own


@pytest.fixture
def books(provider: Behind) -> Iterator[None]:
    """Ample budgets; afterwards what is new in the books is the bill to the nano-dollar, and nothing is held."""
    with closing(open_store(provider.gateway.store, namespace=PROJECT)) as store:
        before = {entry.hold_id for entry in store.entries()}
        yield
        provider.wait()
        assert provider.ledger, "no call was made"
        new = [entry for entry in store.entries() if entry.hold_id not in before]
        assert Money(sum(entry.cost for entry in new)) == provider.billed
        assert len(new) == len(provider.ledger)
        assert store.holds() == []


@pytest.fixture
def refused(provider: Behind) -> Callable[[Callable[[], Any]], None]:
    """Has something run that the key's budget does not allow: one request, nothing sent, and why in its error."""

    def run(ask: Callable[[], Any]) -> None:
        before = provider.gateway.refusals()
        with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever the framework makes of it
            ask()
        assert "call projected at" in chain_of(caught.value), repr(caught.value)
        assert provider.requests == []
        assert provider.gateway.refusals() - before == 1

    return run


def chain_of(error: BaseException | None) -> str:
    """What an error, and those that it was raised from, say. Some are raised from themselves in the end."""
    said: dict[int, str] = {}
    while error is not None and id(error) not in said:
        said[id(error)] = f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__
    return "\n".join(said.values())
