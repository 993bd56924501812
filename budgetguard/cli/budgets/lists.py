"""`budgets` and `users`: who may spend how much, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from ...budgets.running import running
from ...errors import ConfigError
from ..common.options import CsvOption, JsonOption, ProjectOption, StoreOption, project, say_where
from ..common.show import console, print_csv, print_json
from ..common.tables import Column, table
from .lines import COLOURS, COLUMNS, CSV_COLUMNS, OWN, BudgetLine, LineOrder, chosen

SortOption = Annotated[
    LineOrder | None, typer.Option("--sort", help="What is used or spent most, or left least, first; or by name.")
]
TopOption = Annotated[int | None, typer.Option("--top", min=1, help="Only the first so many.")]


def _states(said: list[str] | None) -> list[str] | None:
    for state in said or ():
        if state not in COLOURS:
            raise ConfigError(f"--state {state}: use {', '.join(COLOURS)}")
    return said


StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", help=f"Only those in this state: {', '.join(COLOURS)}; repeatable.", callback=_states),
]


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How a list is asked for."""

    sort: LineOrder | None
    top: int | None
    states: Sequence[str]
    as_json: bool
    as_csv: bool


def users(
    *,
    sort: SortOption = None,
    top: TopOption = None,
    state: StateOption = None,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Every user with a budget: spent, held, limit, left, and how far they are.

    Example: budgetguard users --state near --state spent --sort used
    """
    asked = ListOptions(sort, top, state or (), as_json, as_csv)
    with project(store, name) as manager:
        found = manager.users.standings(list(manager.users.all()), manager.store.now_ms())
        if not found:
            say_where(manager, store)
    nothing = (
        f"No user of project {manager.project_name!r} has a budget. Give one: budgetguard budget set ann 10 monthly"
    )
    _show(list(map(BudgetLine.of_user, found)), asked, nothing, whose=None)


def budgets(
    *,
    sort: SortOption = None,
    top: TopOption = None,
    state: StateOption = None,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Every budget that runs now, of rules and of users: spent, held, limit, left, and how far it is.

    Example: budgetguard budgets --sort used --top 10
    """
    asked = ListOptions(sort, top, state or (), as_json, as_csv)
    with project(store, name) as manager:
        now_ms = manager.store.now_ms()
        found = list(map(BudgetLine.of_rule, running(manager.store, manager.guard.budgets, now_ms)))
        found += map(BudgetLine.of_user, manager.users.standings(list(manager.users.all()), now_ms))
        if not found:
            say_where(manager, store)
    _show(found, asked, f"No budget runs in project {manager.project_name!r}.", whose="for")


def _show(found: Sequence[BudgetLine], asked: ListOptions, nothing: str, *, whose: str | None) -> None:
    """The list as it is asked for; with `whose`, each line says its budget, and then for whom it is."""
    fitting = chosen(found, asked.states, asked.sort)
    lines = fitting[: asked.top]
    if asked.as_json:
        print_json([{**_named(line, whose), **_user(line), **line.in_json()} for line in lines])
    elif asked.as_csv:
        names = ["user"] if whose is None else ["budget", whose]
        print_csv([*names, *CSV_COLUMNS], [[*_named(line, whose).values(), *line.in_csv()] for line in lines])
    elif lines:
        columns = COLUMNS if whose is None else (Column("budget"), replace(COLUMNS[0], title=whose), *COLUMNS[1:])
        rows = [line.row() if whose is None else [line.budget, *_for_all(line).row()] for line in lines]
        console().print(table(columns, rows))
        if len(lines) < len(fitting):
            console().print(f"and {len(fitting) - len(lines):,} more")
    else:
        console().print(nothing if not found else "None is in such a state.")


def _for_all(line: BudgetLine) -> BudgetLine:
    return line if line.who or line.budget == OWN else replace(line, who="all")


def _named(line: BudgetLine, whose: str | None) -> dict[str, str]:
    """What a line is called by."""
    return {"user": line.who} if whose is None else {"budget": line.budget, whose: line.who}


def _user(line: BudgetLine) -> dict[str, str]:
    return {"user": line.who} if line.budget == OWN else {}
