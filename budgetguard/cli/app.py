"""The commands, put together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from .books import check, export, holds, import_
from .budgets import budget_app, users
from .demo import demo
from .doctor import doctor
from .prices import prices
from .run import run
from .spend import spend

DISTRIBUTION = "budgetguard-llm"

app = typer.Typer(
    help="Hard budgets for LLM calls.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo)
app.command("users")(users)
app.add_typer(budget_app, name="budget")
app.command("spend")(spend)
app.command("prices")(prices)
app.command("run", context_settings={"ignore_unknown_options": True})(run)
app.command("import")(import_)
app.command("export")(export)
app.command("holds")(holds)
app.command("check")(check)
app.command("doctor")(doctor)


def _version(on: bool) -> None:
    if on:
        try:
            print(f"budgetguard {version(DISTRIBUTION)}")
        except PackageNotFoundError:  # run from a checkout that was never installed
            print("budgetguard, not installed")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Hard budgets for LLM calls."""
