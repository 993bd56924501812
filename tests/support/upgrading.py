"""
A shop with budgets, in words that every version since 0.2.0 knows: programs of each run it, and look at its books.

Nothing here names what an older version does not have, as `tests.support.kept.Program` imports it into those.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import uvloop

import budgetguard
from budgetguard import Budget, BudgetManager, cli
from budgetguard.ledger import Account, Entry, Hold
from budgetguard.server.app import App
from budgetguard.server.protocol import Protocol
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider
from tests.support.serving import InThread

MODEL = "gpt-4o-mini"
COST = 1_650
"""Nano-dollars, of the call that `Shop.call` makes."""

BY_HAND = Hold("e" * 32, (Account("by hand", limit=100),), 40, ttl_ms=600_000, tags={"user": "dee"}, model=MODEL)
"""A call under way."""

LATER = Entry(BY_HAND.id, 25, tags={"user": "dee"}, model=MODEL, usage={"input_tokens": 7})
"""What it comes to."""


OPENED: list[Any] = []
"""Shops and servers that nobody has closed yet."""


class Server:
    """The hosted API over a store, on loopback."""

    def __init__(self, store: str, *, open_mode: bool = True) -> None:
        self.app = App(store, open_mode=open_mode)
        as_serve_has_it: dict[str, Any] = {"http": Protocol, "timeout_keep_alive": 75, "lifespan": "on"}
        self.served = InThread(self.app, uvloop.new_event_loop, **as_serve_has_it)
        self.served.start()
        self.url = f"http://127.0.0.1:{self.served.port}"
        OPENED.append(self)

    def close(self) -> None:
        """End it, and close its store."""
        self.served.stop()
        self.app.close()


class Shop:
    """A program with rules, users and a provider; `url` is its store's."""

    def __init__(self, url: str, **options: Any) -> None:
        self.provider = FakeProvider(prices={MODEL: (0.15, 0.60)}, text="ok")
        self.provider.__enter__()
        self.client = self.provider.client(max_retries=0)
        rules = [
            Budget("free", 0.50, "daily", per=("user",)),
            Budget("team", 5, "monthly", match={"team": "search*"}, lease=True),
        ]
        self.manager = BudgetManager("shop", store=url, budgets=rules, **options)
        budgetguard.patch(self.manager)
        OPENED.append(self)

    def call(self, user: str | None, **tags: str) -> int:
        """A small call; what it cost, in nano-dollars."""
        with budgetguard.budget(user=user, tags=tags) as scope:
            self.client.chat.completions.create(**_asked())
            return scope.spent.nano

    def open_stream(self, user: str) -> None:
        """Begin a call."""
        self.scope = budgetguard.budget(user=user)
        self.scope.__enter__()
        self.stream = iter(self.client.chat.completions.create(stream=True, **_asked()))
        next(self.stream)

    def end_stream(self) -> int:
        """Read that to its end; what it cost."""
        for _ in self.stream:
            pass
        self.scope.__exit__(None, None, None)
        return self.scope.spent.nano

    def trade(self) -> list[Any]:
        """All that a program does: users with budgets, calls, one that is refused, one under way; what was said."""
        self.manager.create_budget(1.25, "ann", "monthly")
        self.manager.create_budget(0.00000001, "bob")
        spent = [self.call("ann", team="search-eu"), self.call("ann"), self.call("cy")]
        try:
            self.call("bob")
        except budgetguard.BudgetExceededError as refusal:
            said = str(refusal)
        self.manager.store.reserve(BY_HAND)
        assert self.manager.flush(10)
        return [spent, said, sorted(self.manager.get_users()), self.provider.wait().billed.nano]

    def close(self) -> None:
        """End it."""
        budgetguard.unpatch()
        self.client.close()
        self.manager.close()
        self.provider.__exit__(None, None, None)


def close_all(kind: type[Any] = object) -> None:
    """End what was opened, or what is a `Shop`: a server waits for its clients."""
    for each in [each for each in OPENED if isinstance(each, kind)]:
        OPENED.remove(each)
        each.close()


def say(*arguments: str) -> list[Any]:
    """A command, in this process: its exit code, and what it printed."""
    printed, code = io.StringIO(), 0
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            cli.main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return [code, printed.getvalue()]


def _asked() -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}


@contextmanager
def store_at(url: str) -> Iterator[Any]:
    """The shop's books."""
    store = open_store(url, namespace="shop")
    try:
        yield store
    finally:
        store.close()


def seen(url: str) -> dict[str, Any]:
    """All that is on the shop's books, to the nano-dollar, in words that each version has."""
    with store_at(url) as store:
        return on_books(store)


def on_books(store: Any) -> dict[str, Any]:
    """The same of a store that is open."""
    return {
        "balances": {each.key: [each.settled, each.held] for each in store.accounts()},
        "entries": [_entry(each) for each in store.entries()],
        "holds": [_hold(each) for each in store.holds()],
        "terms": {each.key: json.loads(each.body) for each in store.all_terms("users/")},
        "totals": [[*each.group, each.cost, each.calls] for each in store.totals(["user", "model"])],
        "differences": len(store.check()),
    }


def _entry(each: Any) -> list[Any]:
    told = [each.at_ms, dict(each.tags), each.provider, each.model, dict(each.usage)]
    return [each.hold_id, each.cost, sorted(each.accounts), *told, sorted(each.flags)]


def _hold(each: Any) -> list[Any]:
    told = [each.placed_ms, each.expires_ms, dict(each.tags), each.provider, each.model]
    return [each.id, each.amount, sorted(each.accounts), *told]
