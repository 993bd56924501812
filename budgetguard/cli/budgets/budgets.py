"""`budget set|show|rm`: who may spend how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from ...budgets.users import Standing
from ...errors import UnknownUserError
from ...ledger import Enforce, Unit
from ..common.options import JsonOption, ProjectOption, StoreOption, project, readable
from ..common.show import console, print_json
from ..common.tables import table
from .lines import COLUMNS, BudgetLine

if TYPE_CHECKING:
    from ...manager import BudgetManager

budget_app = typer.Typer(
    help="A budget: set, show, rm one user's; raise, topup, pause, resume, reset, restore any that runs.",
    no_args_is_help=True,
)

UserArgument = Annotated[str, typer.Argument(help="The user.", callback=readable)]


@budget_app.command("set")
def set_(
    user: UserArgument,
    limit: Annotated[str, typer.Argument(help="Dollars, such as 5 or 0.25; or a whole number of --unit.")],
    period: Annotated[
        str | None, typer.Argument(help="daily, weekly, monthly, yearly, 'rolling 7d'; none: for ever.")
    ] = None,
    *,
    timezone: Annotated[str | None, typer.Option(help="Where a day begins, such as Europe/Berlin.")] = None,
    enforce: Annotated[str, typer.Option(help="hard, soft or observe.")] = "hard",
    unit: Annotated[str, typer.Option(help="dollars, tokens, requests or parallel.")] = "dollars",
    warn_at: Annotated[
        list[float] | None,
        typer.Option("--warn-at", metavar="PART", help="Tell somebody at 0.8 of the limit; may be repeated."),
    ] = None,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a user a budget, or change it; the spend stays, unless it is counted in another unit.

    Example: budgetguard budget set ann 10 monthly --warn-at 0.8 --timezone Europe/Berlin
    """
    with project(store, name, new=True) as manager:
        said = cast(Enforce, enforce), cast(Unit, unit)
        manager.set_budget(
            user, limit, duration=period, timezone=timezone, enforce=said[0], unit=said[1], warn_at=warn_at or ()
        )
        _print(_standing(manager, user), as_json=as_json)


@budget_app.command("show")
def show(
    user: UserArgument, store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """One user's budget.

    Example: budgetguard budget show ann --json
    """
    with project(store, name) as manager:
        _print(_standing(manager, user), as_json=as_json)


@budget_app.command("rm")
def remove(user: UserArgument, store: StoreOption = None, name: ProjectOption = None) -> None:
    """Take a user's budget away; the history stays.

    Example: budgetguard budget rm ann
    """
    with project(store, name) as manager:
        _standing(manager, user)
        manager.remove_budget(user)
    console().print(f"{user} has no budget any more.")


def _standing(manager: BudgetManager, user: str) -> Standing:
    own = manager.users.find(user)
    if own is None:
        raise UnknownUserError(f"user={user!r} has no budget: budgetguard budget set gives one", user=user)
    return manager.users.standing(own, manager.store.now_ms())


def _print(standing: Standing, *, as_json: bool) -> None:
    if as_json:
        print_json({"user": standing.budget.user, **BudgetLine.of_user(standing).in_json()})
    else:
        console().print(table(COLUMNS, [BudgetLine.of_user(standing).row()]))
