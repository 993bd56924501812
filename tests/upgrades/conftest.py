"""Programs of the versions before, one process of each for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kept import VERSIONS, Program
from tests.support.upgrading import Shop, close_all


@pytest.fixture(scope="session")
def running() -> Iterator[dict[str, Program]]:
    """One of each version."""
    programs = {version: Program(version) for version in VERSIONS}
    for each in programs.values():
        each.run("from tests.support.upgrading import *")
    yield programs
    for each in programs.values():
        each.kill()
        each.__exit__()


@pytest.fixture
def programs(running: dict[str, Program]) -> Iterator[dict[str, Program]]:
    """The same, in which no shop and no server is open."""
    yield running
    for kind in (Shop, object):  # a server waits for its clients
        close_all(kind)
        for each in running.values():
            each.run(f"close_all({kind.__name__})")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Every claim holds for each of them."""
    name: str = request.param
    return name


@pytest.fixture
def before(programs: dict[str, Program], version: str) -> Program:
    """A program of that version."""
    return programs[version]
