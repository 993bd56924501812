"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .alerts import alerts_app
from .books import check, export, holds, import_
from .budgets import budget_app, budgets, users
from .config import config
from .copy import copy
from .demo import demo
from .doctor import doctor
from .gateway import gateway_app
from .jobs import jobs
from .keys import keys_app
from .owners import limits_app
from .prices import prices_app
from .providers import providers
from .run import run
from .schema import migrate, sql
from .serve import serve
from .spend import spend
from .steer import changes
from .ui import ui

app = typer.Typer(
    help="Hard budgets for LLM calls.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo)
app.command("users")(users)
app.command("budgets")(budgets)
app.add_typer(budget_app, name="budget")
app.command("changes")(changes)
app.command("spend")(spend)
app.add_typer(alerts_app, name="alerts")
app.add_typer(prices_app, name="prices")
app.command("providers")(providers)
app.command("config")(config)
app.command("run", context_settings={"ignore_unknown_options": True})(run)
app.command("serve")(serve)
app.command("ui")(ui)
app.add_typer(keys_app, name="keys")
app.add_typer(limits_app, name="limits")
app.add_typer(gateway_app, name="gateway")
app.command("import")(import_)
app.command("export")(export)
app.command("copy")(copy)
app.command("holds")(holds)
app.command("jobs")(jobs)
app.command("check")(check)
app.command("doctor")(doctor)
app.command("migrate")(migrate)
app.command("sql")(sql)


def _version(on: bool) -> None:
    if on:
        print(f"budgetguard {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Hard budgets for LLM calls."""
