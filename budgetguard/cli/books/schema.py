"""`migrate` and `sql`: what a store needs to be there before it can be used."""

from __future__ import annotations

from typing import Annotated

import typer

from ...ledger import Migrated
from ...stores import schema_sql
from ..common.options import StoreOption, opened
from ..common.show import console


def migrate(store: StoreOption = None) -> None:
    """Make or update what the store needs: tables, functions.

    Example: budgetguard migrate --store postgresql://budgets@db/budgets
    """
    with opened(store, None, new=True) as (books, where):
        done = books.migrate() if isinstance(books, Migrated) else None
    if done is None:
        console().print(f"{where}: there is nothing to do, now or later.")
    elif not done:
        console().print(f"{where} is up to date.")
    else:
        for step in done:
            console().print(f"{where}: {step}")


def sql(engine: Annotated[str, typer.Argument(metavar="ENGINE", help="postgres")]) -> None:
    """Print the SQL that migrate runs, for those who run it themselves.

    Example: budgetguard sql postgres
    """
    print(schema_sql(engine))
