"""What tasks of every queue do in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import openai

from budgetguard.guards.scope import current


def tags() -> dict[str, str]:
    """Those of the scope around."""
    scope = current.get()
    return {} if scope is None else dict(scope.tags)


def call() -> None:
    """Ask the model that the environment names, for half a hundredth of a cent at most."""
    with openai.OpenAI(max_retries=0) as client:
        client.chat.completions.create(
            model="gpt-4o-mini", max_tokens=8, messages=[{"role": "user", "content": "hi there"}]
        )


class Asking:
    """Asks the model when it is shown: `kombu.utils.encoding.safe_repr` swallows what is raised then."""

    def __repr__(self) -> str:
        call()
        return "asked"


def until(holds: Callable[[], bool], within_s: float = 60.0) -> bool:
    """Whether something of another process holds, now or after a while."""
    end_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < end_s:
        time.sleep(0.01)
    return holds()


def note(path: str) -> int:
    """Write an attempt down; which one it is."""
    with Path(path).open("a") as file:
        file.write("attempt\n")
    return attempts(path)


def attempts(path: str | Path) -> int:
    """How many were written down."""
    return len(Path(path).read_text().splitlines())
