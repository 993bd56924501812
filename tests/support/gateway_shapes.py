"""
One dollar stays one dollar behind a gateway: the shapes of `shapes.py`, by clients that have nothing but its key.

The key has a budget of $1.00. Where several processes can have one store, two gateways listen at one port, and the
system gives each of them some of the connections.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from budgetguard.guards.settings import Settings
from budgetguard.process.state import PROCESS
from budgetguard.server.gateway.config.model import GatewayOptions
from budgetguard.server.gateway.config.resolve import Configuration
from budgetguard.server.keys import KeyRing
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.server.keys.records import Grant
from tests.support import servers, shapes
from tests.support.endpoint import BURST, Books, Caller, Endpoint, price_book
from tests.support.gateway import ServedGateway, upstream
from tests.support.shapes import ACROSS, EVERYWHERE, UNKNOWN, Row
from tests.support.tasks import until

SILENT_S = 1.0
"""How long an upstream is silent until the gateway takes it for dead, in shapes whose upstream never answers."""

LONG = {"messages": [{"role": "user", "content": "the " * 3_000}]}
"""As many tokens by the tokenizer as by the endpoint's own count, which is a quarter of the bytes."""
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def several_answers(caller: Caller) -> None:
    """Three answers to one prompt, in threads."""
    _in_threads(caller, n=3)


def long_prompts(caller: Caller) -> None:
    """Prompts of thousands of tokens, in threads."""
    _in_threads(caller, **LONG)


def tools(caller: Caller) -> None:
    """Tools are offered, in threads."""
    _in_threads(caller, tools=[TOOL])


def _in_threads(caller: Caller, **more: Any) -> None:
    with caller.client() as client:
        shapes._run_threads([lambda: shapes.call(caller, client, **more)] * caller.burst)


BEHIND: Mapping[str, Callable[[Caller], None]] = {
    **EVERYWHERE,
    **{name: burst for name, burst in ACROSS.items() if name != "four SDKs at once"},
    f"{BURST} of three answers": several_answers,
    f"{BURST} long prompts": long_prompts,
    f"{BURST} with tools": tools,
}
STORES = ("memory", "sqlite", "postgres", "valkey")


def run(shape: str, store: str, stated: bool) -> Row:
    """One row: a burst in one shape through the gateway, then a caller who goes on until it is refused."""
    burst, project = BEHIND[shape], f"shapes-{uuid.uuid4().hex}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="budgetguard-shapes-"))
        own = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/budgets.db"}
        url = own[store] if store in own else servers.running(store)
        endpoint = stack.enter_context(Endpoint())
        made = configured(endpoint.root_url, **({"read_s": SILENT_S} if burst in UNKNOWN else {}))
        gateway = stack.enter_context(ServedGateway(made, url, open_mode=False))
        if store != "memory":
            stack.enter_context(ServedGateway(made, url, gateway.port, open_mode=False))
        projects = gateway.app.hosting.projects
        grant = Grant(limits=owner_limits([allowance("1.00")]))
        _, key = KeyRing(projects.own).create(project, "call", grant=grant)

        caller = Caller(f"{gateway.url}/v1", stated, Books(url, project), key=key)
        burst(caller)
        assert until(lambda: not PROCESS.open, 30), "a call was left open"
        endpoint.latency_s = 0
        shapes.drain(caller)
        endpoint.wait()
        assert until(lambda: not PROCESS.open, 30), "a call was left open"
        books = projects.open(project).store
        leaks = [f"{len(books.holds())} holds are left"] if books.holds() else []
        leaks += ["the accounts do not add up"] if books.check() else []
        booked = sum(entry.cost for entry in books.entries())
        billed = endpoint.billed.nano
    return Row(
        shape, f"gateway {store}", stated, caller.outcomes, billed, booked, burst not in UNKNOWN, "; ".join(leaks)
    )


def configured(root: str, **fields: Any) -> Configuration:
    """A gateway before the endpoint, which writes on demand, and stops where its reader does."""
    options = GatewayOptions(forward=("x-endpoint",))
    settings = Settings(abandoned="observed")
    ours = upstream("endpoint", root, **fields)
    return Configuration((ours,), options=options, settings=settings, prices=price_book())


def rows() -> Iterator[tuple[str, str, bool]]:
    """Every row of the table: its shape, its store, whether `max_tokens` is stated."""
    for shape in BEHIND:
        for store in STORES:
            yield from ((shape, store, stated) for stated in (False, True))
