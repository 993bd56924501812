"""`users`, `budgets` and `budget set|show|rm`: who may spend how much, and how much is left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ...budgets.running import Running, running
from ...budgets.users import Standing
from ...errors import UnknownUserError
from ...ledger import Enforce, Unit
from ..common.options import JsonOption, ProjectOption, StoreOption, project, readable, say_where
from ..common.show import console, iso, moment, print_json, shown
from ..common.tables import Column, table

if TYPE_CHECKING:
    from ...manager import BudgetManager

budget_app = typer.Typer(
    help="A budget: set, show, rm one user's; raise, topup, pause, resume, reset, restore any that runs.",
    no_args_is_help=True,
)

UserArgument = Annotated[str, typer.Argument(help="The user.", callback=readable)]
COLUMNS = (
    Column("user"),
    Column("spent", number=True),
    Column("held", number=True),
    Column("limit", number=True),
    Column("left", number=True),
    Column("period"),
    Column("state"),
    Column("begins again"),
)


def _as_json(standing: Standing) -> dict[str, Any]:
    """A user's budget for programs."""
    rule = standing.budget.rule
    return {
        "user": standing.budget.user,
        "unit": rule.unit,
        "spent": standing.spent,
        "held": standing.held,
        "limit": standing.limit,
        "left": standing.left,
        "state": standing.state,
        "period": rule.period.name,
        "timezone": rule.period.timezone,
        "enforce": rule.enforce,
        "resets_at": iso(standing.resets_ms),
    }


def as_row(standing: Standing) -> list[str]:
    """A user's budget for people, under `COLUMNS`."""
    rule = standing.budget.rule
    period = rule.period.name if rule.period.timezone == "UTC" else f"{rule.period.name}, {rule.period.timezone}"
    period += "" if rule.enforce == "hard" else f" ({rule.enforce})"
    amounts = [shown(amount, rule.unit) for amount in (standing.spent, standing.held, standing.limit, standing.left)]
    return [standing.budget.user, *amounts, period, standing.state, moment(standing.resets_ms)]


def users(store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Every user with a budget: spent, held, limit, left."""
    with project(store, name) as manager:
        rows = manager.users.standings(list(manager.users.all()), manager.store.now_ms())
        if not rows:
            say_where(manager, store)
    if as_json:
        print_json([_as_json(row) for row in rows])
    elif rows:
        console().print(table(COLUMNS, [as_row(row) for row in rows]))
    else:
        console().print(
            f"No user of project {manager.project_name!r} has a budget. Give one: budgetguard budget set ann 10 monthly"
        )


def budgets(store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Every budget that runs now, of rules and of users: spent, held, limit, left, and how it is."""
    with project(store, name) as manager:
        now_ms = manager.store.now_ms()
        rules = running(manager.store, manager.guard.budgets, now_ms)
        own = manager.users.standings(list(manager.users.all()), now_ms)
        if not (rules or own):
            say_where(manager, store)
    if as_json:
        print_json([*map(_rule_as_json, rules), *[{"budget": "users", **_as_json(each)} for each in own]])
    elif rules or own:
        columns = [Column("budget"), *(replace(each, title=each.title.replace("user", "for")) for each in COLUMNS)]
        console().print(table(columns, [*map(_rule_as_row, rules), *[["users", *as_row(each)] for each in own]]))
    else:
        console().print(f"No budget runs in project {manager.project_name!r}.")


def _rule_as_json(each: Running) -> dict[str, Any]:
    return {
        "budget": each.rule,
        "for": each.subject,
        "unit": each.unit,
        "spent": each.spent,
        "held": each.held,
        "limit": each.limit,
        "left": each.left,
        "period": each.period,
        "state": each.state,
        "resets_at": iso(each.resets_ms),
    }


def _rule_as_row(each: Running) -> list[str]:
    amounts = [shown(amount, each.unit) for amount in (each.spent, each.held, each.limit, each.left)]
    return [each.rule, each.subject or "all", *amounts, each.period, each.state, moment(each.resets_ms)]


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
    """Give a user a budget, or change it; the spend stays, unless it is counted in another unit."""
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
    """One user's budget."""
    with project(store, name) as manager:
        _print(_standing(manager, user), as_json=as_json)


@budget_app.command("rm")
def remove(user: UserArgument, store: StoreOption = None, name: ProjectOption = None) -> None:
    """Take a user's budget away; the history stays."""
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
        print_json(_as_json(standing))
    else:
        console().print(table(COLUMNS, [as_row(standing)]))
