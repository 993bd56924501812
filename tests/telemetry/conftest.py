"""What tests of telemetry begin with: a program that listens, and one that has not begun to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.hearing import Heard, listening


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What OpenTelemetry is told, where a program has configured it."""
    with listening() as made:
        yield made
