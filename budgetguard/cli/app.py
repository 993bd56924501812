"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .books.books import check, export, holds, import_
from .books.copy import copy
from .books.jobs import jobs
from .books.projects import projects
from .books.prune import prune
from .books.schema import migrate, sql
from .budgets.alerts import alerts_app
from .budgets.budgets import budget_app
from .budgets.explain import explain
from .budgets.lists import budgets, users
from .budgets.steer import changes
from .common.rooms import RoomedGroup
from .demo.demo import demo
from .gateway.gateway import gateway_app
from .live.log import log
from .live.statusline import statusline
from .live.top import top
from .prices.prices import prices_app
from .prices.providers import providers
from .programs.config import config
from .programs.doctor import doctor
from .programs.run import run
from .servers.keys import keys_app
from .servers.owners import limits_app
from .servers.serve import serve
from .servers.ui import ui
from .spending.reconcile import reconcile
from .spending.report import report
from .spending.spend import spend

app = typer.Typer(
    cls=RoomedGroup,
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
app.command("explain")(explain)
app.command("changes")(changes)
app.command("spend")(spend)
app.command("report")(report)
app.command("reconcile")(reconcile)
app.command("log")(log)
app.command("top")(top)
app.command("statusline")(statusline)
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
app.command("projects")(projects)
app.command("prune")(prune)
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
