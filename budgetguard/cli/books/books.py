"""`import`, `export`, `holds` and `check`: the books themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import ConfigError
from ...ledger import OpenHold, unit_of
from ...reports.amounts import readable_in
from ..common.options import JsonOption, ProjectOption, StoreOption, project, say_where
from ..common.show import console, iso, moment, money, print_json
from ..common.tables import Column, table
from .sheets import export_sheet, import_sheet, is_sheet, print_planned, say_planned

FileArgument = Annotated[
    Path, typer.Argument(help="budgets.csv, a line for each user; or a user_cost.json of LiteLLM's BudgetManager.")
]

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what a CSV would change, and change nothing.")]


def import_(
    file: FileArgument,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Take users' budgets from a CSV file, or users and spend from LiteLLM.

    A CSV names its columns in the first line: user, limit, and as far as you like period, timezone, unit, enforce,
    warn_at. All lines are checked before one is written, and whoever has a budget keeps their spend.

    Example: budgetguard import budgets.csv --dry-run
    """
    if not is_sheet(file):
        if dry_run or as_json:
            raise ConfigError(f"{file}: --dry-run and --json are for budgets as CSV")
        with project(store, name, new=True) as manager:
            users = manager.import_litellm(str(file))
        console().print(f"{_users(users)} taken over from {file}.")
        return
    with project(store, name, new=True) as manager:
        planned = import_sheet(manager, file, dry_run=dry_run)
    if as_json:
        print_planned(planned, dry_run=dry_run)
    else:
        say_planned(planned, file, dry_run=dry_run)


def export(file: FileArgument, store: StoreOption = None, name: ProjectOption = None) -> None:
    """
    Write users' budgets as CSV, which `import` reads; or those in dollars, with their spend, for LiteLLM.

    Example: budgetguard export budgets.csv
    """
    with project(store, name) as manager:
        sheet = file.suffix.casefold() == ".csv"
        users = export_sheet(manager, file) if sheet else manager.export_litellm(str(file))
    console().print(f"{_users(users)} written to {file}.")


def holds(store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Money that is set aside for calls under way.

    Example: budgetguard holds --project shop
    """
    with project(store, name) as manager:
        found = manager.store.holds()
        if not found:
            say_where(manager, store)
    if as_json:
        print_json(
            [
                {
                    "id": hold.id,
                    "amount": hold.amount,
                    "units": dict(hold.units),
                    "model": hold.model,
                    "tags": dict(hold.tags),
                    "accounts": list(hold.accounts),
                    "placed_at": iso(hold.placed_ms),
                    "expires_at": iso(hold.expires_ms),
                }
                for hold in found
            ]
        )
    elif not found:
        console().print("No call is under way.")
    else:
        columns = [Column("amount", number=True), Column("user"), Column("model", drop=1)]
        columns += [Column("since", drop=3), Column("until", drop=2)]
        rows = [
            [_held(h), h.tags.get("user", "-"), h.model or "-", moment(h.placed_ms), moment(h.expires_ms)]
            for h in found
        ]
        console().print(table(columns, rows))


def check(store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Add up the books again; exit code 1 if they differ.

    Example: budgetguard check --json
    """
    with project(store, name) as manager:
        found = manager.store.check()
        accounts = sum(1 for _ in manager.store.accounts())
    if as_json:
        print_json(
            [
                {
                    "account": d.key,
                    "kind": d.kind,
                    "unit": unit_of(d.key),
                    "booked": d.booked,
                    "summed": d.summed,
                }
                for d in found
            ]
        )
    elif not found:
        console().print(f"The books add up: {accounts} accounts.")
    else:
        columns = [
            Column("account"),
            Column("kind", drop=1),
            Column("booked", number=True),
            Column("summed", number=True),
        ]
        rows = [[d.key, d.kind, *[readable_in(sum_, unit_of(d.key)) for sum_ in (d.booked, d.summed)]] for d in found]
        console().print(table(columns, rows))
    if found:
        raise typer.Exit(1)


def _held(hold: OpenHold) -> str:
    return ", ".join([money(hold.amount), *[readable_in(amount, unit) for unit, amount in hold.units.items()]])


def _users(count: int) -> str:
    return "1 user" if count == 1 else f"{count} users"
