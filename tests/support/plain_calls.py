"""The plain call that is measured and counted: a client over a transport in memory, under one user's budget."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

import budgetguard
from budgetguard.process.state import PROCESS

from .in_memory import HTTP, REPLY

PACKAGE = str(Path(budgetguard.__file__).parent)


def transport(body: bytes, content_type: str = "application/json") -> Any:
    return HTTP.MockTransport(lambda request: HTTP.Response(200, headers={"content-type": content_type}, content=body))


def sync_client(body: bytes = json.dumps(REPLY).encode(), content_type: str = "application/json") -> openai.OpenAI:
    return openai.OpenAI(api_key="-", http_client=HTTP.Client(transport=transport(body, content_type)))


def async_client() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="-", http_client=HTTP.AsyncClient(transport=transport(json.dumps(REPLY).encode()))
    )


@contextmanager
def guarded(url: str | None, budgets: bool = True) -> Iterator[budgetguard.BudgetManager | None]:
    """A patched SDK, with a manager on this store whose user "ann" has a budget."""
    manager = None
    if url is not None:
        manager = budgetguard.BudgetManager("bench", store=url)
        if budgets:
            manager.create_budget(1_000_000, "ann", "monthly")
    budgetguard.patch(manager)
    try:
        yield manager
    finally:
        budgetguard.unpatch()
        if manager is not None:
            manager.close()


def entered(call: Callable[[], Any]) -> set[str]:
    """The functions of ours that a call enters."""
    found = set()

    def note(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            found.add(f"{code.co_filename.removeprefix(PACKAGE)} {code.co_qualname}")

    gc.collect()
    gc.disable()  # the finalizers of other calls are not this one's
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return found


def entered_while_kept(call: Callable[[], Any]) -> set[str]:
    """The same while the keeper watches, as it does where calls are open: its thread may find none at any moment."""
    keeper = PROCESS.keeper
    keeper.stop()
    keeper.pace_ms = 0
    try:
        return entered(call)
    finally:
        keeper.stop()
