"""`copy`: budgets, spend and history from one store to another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ...errors import ConfigError, StoreError
from ...process.journal_files import waiting_in
from ...stores import file_of, open_store, shown
from ...stores.copy import Copied, Report, copy_books
from ..common.options import JsonOption, ProjectOption, project
from ..common.show import console, money, print_json
from ..common.tables import Column, table

if TYPE_CHECKING:
    from ...manager import BudgetManager

JOURNAL_S = 5.0
"""How long settlements that wait for the source get to land there."""

FromArgument = Annotated[str, typer.Argument(metavar="FROM", help="The store's URL.")]
ToArgument = Annotated[str, typer.Argument(metavar="TO", help="The other's, where the project must be new.")]


def copy(
    source: FromArgument,
    target: ToArgument,
    *,
    name: ProjectOption = None,
    to_name: Annotated[
        str | None, typer.Option("--to-project", metavar="NAME", help="Its name there; the same, if not given.")
    ] = None,
    while_running: Annotated[
        bool, typer.Option("--while-running", help="Leave out calls under way: copy again when they have ended.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a project to another store; again, to bring what is new.

    Example: budgetguard copy sqlite:///budgets.db redis://localhost:6379/0 --while-running
    """
    with ExitStack() as stack:
        for url in (source, target):
            if url.startswith("memory:"):
                raise ConfigError("memory:// is gone when this command ends: name a store that stays")
        manager = stack.enter_context(project(source, name))
        there = to_name or manager.project_name
        known_as, other = _known_as(source, manager.project_name), _known_as(target, there)
        if known_as == other:
            raise ConfigError(f"{known_as} cannot be copied to itself: name another store, or --to-project")
        _land(manager, known_as, while_running=while_running)
        copied_to = open_store(target, namespace=there)
        stack.callback(copied_to.close)
        report = stack.enter_context(_bar(silent=as_json))
        found = copy_books(manager.store, copied_to, known_as, while_running=while_running, report=report)
    if as_json:
        print_json({"from": known_as, "to": other, **asdict(found), "cost": found.cost})
    else:
        _say(found, known_as, other, while_running)


def _land(manager: BudgetManager, known_as: str, *, while_running: bool) -> None:
    """Settle what waits for the source in its journal; raises `StoreError` for what would be lost to the copy."""
    journal = manager.store.journal
    landed, waiting = manager.flush(JOURNAL_S), waiting_in(journal)
    if not landed or (waiting.left and not while_running):
        raise StoreError(
            f"settlements wait for {known_as} in {journal}, and would be lost to the copy: see that the store "
            "takes writes, and copy again"
        )
    if waiting.living and not while_running:
        lines = "1 line" if waiting.living == 1 else f"{waiting.living:,} lines"
        raise StoreError(
            f"a program that is running may still owe {known_as} settlements, which would be lost to the copy: its "
            f"file in {journal} has {lines}; stop it, or copy with --while-running now and without it then"
        )


def _say(found: Copied, source: str, target: str, while_running: bool) -> None:
    out = console()
    out.print(f"Copied {source} to {target}.")
    rows = [
        ["budgets of users", f"{found.terms:,}", f"{found.new_terms:,}"],
        ["accounts", f"{found.accounts:,}", f"{found.new_accounts:,}"],
        [f"entries of {money(found.cost)}", f"{found.entries:,}", f"{found.new_entries:,}"],
        ["alerts, refusals, changes", f"{found.records:,}", f"{found.new_records:,}"],
    ]
    out.print(table([Column(""), Column("there", number=True), Column("new or changed", number=True)], rows))
    if found.removed:
        out.print(f"{found.removed:,} entries were removed, as they were in the old store.")
    if while_running:
        out.print("Calls under way are not in it. When the program has stopped, copy again without --while-running.")
    else:
        out.print("Both have the same books. Let no program spend from the old store any more.")


@contextmanager
def _bar(*, silent: bool) -> Iterator[Report | None]:
    """A bar on a terminal, with the rate and the time left."""
    out = console(stderr=True)
    if silent or not out.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=out) as progress:
        task = progress.add_task("history", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Rate(ProgressColumn):
    """Entries a second."""

    def render(self, task: Task) -> Text:
        """What is shown of a task."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


def _known_as(url: str, name: str) -> str:
    """By what a copy knows the books of a project: where they are, however the user and the password are written."""
    file = file_of(url)
    where = shown(url) if file is None else f"sqlite:///{os.path.abspath(file)}"
    return f"{where}, project {name}"
