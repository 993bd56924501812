"""`demo`: two users, one of whom runs out, with no key and no network."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from ...money import Nano, format_nano
from ..budgets.lines import COLUMNS, BudgetLine
from ..common.show import console, money
from ..common.tables import Column, table
from . import endpoints

if TYPE_CHECKING:
    from ...budgets.users import Standing
    from ...manager import BudgetManager
    from .traffic import Made, Traffic

PROJECT = "demo"
DEFAULT_STORE = "sqlite:///.cache/demo.db"
LLM_STORE = "sqlite:///.cache/demo-llm.db"
PATIENCE = "?reserve_s=5&settle_s=5"
"""A demo on a busy machine waits for its disk; a program that serves somebody would rather be told."""
REFRESHES_PER_S = 8
LINES = 8


def demo(
    llm: Annotated[bool, typer.Option("--llm", help="Ask a small real model on this machine.")] = False,
    store: Annotated[str | None, typer.Option("--store", help=f"Where to keep the spend ({DEFAULT_STORE}).")] = None,
) -> None:
    """Watch two users spend: no key, no network, seconds.

    Example: budgetguard demo
    """
    import budgetguard

    from ...guards.settings import Settings
    from ...manager import BudgetManager
    from .traffic import Traffic

    url = store or (LLM_STORE if llm else DEFAULT_STORE)
    endpoints.CACHE.mkdir(exist_ok=True)
    out = console()
    began = time.monotonic()
    with ExitStack() as stack:
        site = stack.enter_context(endpoints.local_model() if llm else endpoints.words())
        settings = Settings(usage_hosts=frozenset({site.host}))
        manager = BudgetManager(PROJECT, store=store or f"{url}{PATIENCE}", prices=site.prices, settings=settings)
        stack.callback(manager.close)
        before = _prepare(out, manager, site, url)
        budgetguard.patch(manager)
        stack.callback(budgetguard.unpatch)
        refused = _show(out, manager, Traffic(site))
        _end(out, manager, site, before=before, refused=refused, took_s=time.monotonic() - began)
    _hint(out, url)


def _prepare(out: Console, manager: BudgetManager, site: endpoints.Site, url: str) -> Nano:
    """Give the users their budgets, unless they have them already; what the store says was spent before."""
    kept = manager.get_users()
    for user, limit in site.budgets.items():
        if user not in kept:
            manager.create_budget(limit, user, "monthly")
    before = sum(total.cost for total in manager.store.totals(()))
    out.print(f"The endpoint: {site.title}.")
    out.print(f"The budgets:  {url}, so that every process and every run shares them.")
    if kept:
        spent = ", ".join(f"{row.budget.user} {money(row.spent)}" for row in _rows(manager))
        out.print(f"Kept from earlier runs: {spent}.")
    out.print()
    return before


def _show(out: Console, manager: BudgetManager, traffic: Traffic) -> list[Made]:
    """Run the traffic, and show what happens while it does; the refused calls."""
    seen: list[Made] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            traffic.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="demo")
    thread.start()
    if out.is_terminal:
        lines: deque[Text] = deque(maxlen=LINES)
        with Live(console=out, refresh_per_second=REFRESHES_PER_S, get_renderable=lambda: _picture(manager, lines)):
            _follow(thread, traffic, seen, lines.append)
    else:
        _follow(thread, traffic, seen, out.print)
    if failed:
        raise failed[0]
    return [made for made in seen if made.refusal is not None]


def _follow(thread: threading.Thread, traffic: Traffic, seen: list[Made], say: Callable[[Text], None]) -> None:
    while thread.is_alive() or not traffic.made.empty():
        with suppress(Empty):
            made = traffic.made.get(timeout=0.05)
            seen.append(made)
            say(_line(made))
    thread.join()


def _line(made: Made) -> Text:
    text = " ".join(made.text.split() or str(made.refusal).split())
    end = ("refused", "red") if made.cost is None else (f"{made.cost}", "green")
    return Text.assemble(f"{made.user:<4} {made.shape:<16} ", (f"{end[0]:<12}", end[1]), (f" {text[:60]}", "dim"))


def _picture(manager: BudgetManager, lines: deque[Text]) -> RenderableType:
    return Group(_table(_rows(manager)), *lines)


def _rows(manager: BudgetManager) -> list[Standing]:
    return manager.users.standings(list(manager.users.all()), manager.store.now_ms())


def _table(rows: list[Standing]) -> RenderableType:
    return table(COLUMNS[:7], [BudgetLine.of_user(row).row()[:7] for row in rows])


def _end(
    out: Console, manager: BudgetManager, site: endpoints.Site, *, before: Nano, refused: list[Made], took_s: float
) -> None:
    """What it came to, what a refusal looks like, and whether the provider's bill says the same."""
    if not out.is_terminal:
        out.print(_table(_rows(manager)))
    if refused:
        first = refused[0]
        error = first.refusal
        shown = f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}: {error}"
        title = f"{first.user}'s refusal, before anything was sent ({len(refused)} of them)"
        out.print(Panel(Text(shown), title=title, title_align="left") if out.is_terminal else f"{title}:\n  {shown}")
    totals = manager.store.totals(("shape",))
    rows = [[total.group[0] or "-", f"{total.calls}", money(total.cost), f"{total.estimated}"] for total in totals]
    columns = [Column("shape of call"), *(Column(title, number=True) for title in ("calls", "cost", "estimated"))]
    out.print(table(columns, rows))
    spent = sum(total.cost for total in totals) - before
    if site.provider is not None:
        billed = site.provider.wait().billed
        out.print(f"This run: the ledger says {format_nano(spent)}, the provider's bill {billed}.")
        out.print("A stream that is left early is settled on an estimate, never below what arrived.")
    else:
        out.print(f"This run: {format_nano(spent)}, by the usage that the model's server reported.")
    out.print(f"Took {took_s:.1f} s.")


def _hint(out: Console, url: str) -> None:
    out.print()
    out.print("Next:")
    out.print("  run it again: what was spent is kept, so bob is refused at once")
    out.print(f"  budgetguard budget set bob 0.05 monthly --project {PROJECT} --store {url}")
    out.print(f"  budgetguard spend --by shape --chart --project {PROJECT} --store {url}")
    path = url.removeprefix("sqlite:///")
    if path != url and Path(path).exists():
        out.print(f"  or delete {path}* to begin anew")
