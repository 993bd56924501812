"""`users` and `budget set|show|rm`: who may spend how much, and how much is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typer

from ..budgets.rules import UserBudget, terms_key
from ..errors import UnknownUserError
from ..ledger import Enforce, Millis, Store
from ..money import Nano
from .options import JsonOption, ProjectOption, StoreOption, project
from .show import Column, console, dollars, iso, moment, money, print_json, table

budget_app = typer.Typer(help="One user's budget: set, show, rm.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(help="The user.")]
COLUMNS = (
    Column("user"),
    Column("spent", number=True),
    Column("held", number=True),
    Column("limit", number=True),
    Column("left", number=True),
    Column("period"),
    Column("begins again"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """One user's budget and its books, now."""

    budget: UserBudget
    spent: Nano
    held: Nano
    resets_ms: Millis | None

    @property
    def left(self) -> Nano | None:
        """What may still be spent; `None` without a limit."""
        limit = self.budget.rule.limit
        return None if limit is None else max(limit - self.spent - self.held, 0)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        rule = self.budget.rule
        return {
            "user": self.budget.user,
            "spent": dollars(self.spent),
            "held": dollars(self.held),
            "limit": dollars(rule.limit),
            "left": dollars(self.left),
            "period": rule.period.name,
            "timezone": rule.period.timezone,
            "enforce": rule.enforce,
            "resets_at": iso(self.resets_ms),
        }

    def as_row(self) -> list[str]:
        """For people, under `COLUMNS`."""
        rule = self.budget.rule
        period = rule.period.name if rule.period.timezone == "UTC" else f"{rule.period.name}, {rule.period.timezone}"
        period += "" if rule.enforce == "hard" else f" ({rule.enforce})"
        amounts = [money(amount) for amount in (self.spent, self.held, rule.limit, self.left)]
        return [self.budget.user, *amounts, period, moment(self.resets_ms)]


def standings(store: Store, budgets: Sequence[UserBudget]) -> list[Standing]:
    """The books of users, in one look."""
    now = store.now_ms()
    accounts = [budget.account(now) for budget in budgets]
    keys = [key for account in accounts for key in (account.key, *account.window)]
    balances = iter(store.balances(keys))
    rows = []
    for budget, account in zip(budgets, accounts, strict=True):
        own = [next(balances) for _ in (account.key, *account.window)]
        spent, held = sum(balance.settled for balance in own), sum(balance.held for balance in own)
        rows.append(Standing(budget, spent, held, budget.rule.window(now).resets_ms))
    return rows


def users(store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Every user with a budget: spent, held, limit, left."""
    with project(store, name) as manager:
        terms = manager.store.all_terms("users/")
        rows = standings(manager.store, [UserBudget.from_text(t.body, t.version) for t in terms if t.body])
    if as_json:
        print_json([row.as_json() for row in rows])
    elif rows:
        console().print(table(COLUMNS, [row.as_row() for row in rows]))
    else:
        console().print(
            f"No user of project {manager.project_name!r} has a budget. Give one: budgetguard budget set ann 10 monthly"
        )


@budget_app.command("set")
def set_(
    user: UserArgument,
    limit: Annotated[str, typer.Argument(help="Dollars, such as 5 or 0.25.")],
    period: Annotated[
        str | None, typer.Argument(help="daily, weekly, monthly, yearly, 'rolling 7d'; none: for ever.")
    ] = None,
    *,
    timezone: Annotated[str | None, typer.Option(help="Where a day begins, such as Europe/Berlin.")] = None,
    enforce: Annotated[str, typer.Option(help="hard, soft or observe.")] = "hard",
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a user a budget, or change it; the spend stays."""
    with project(store, name) as manager:
        manager.set_budget(user, limit, duration=period, timezone=timezone, enforce=cast(Enforce, enforce))
        _print(_standing(manager.store, user), as_json=as_json)


@budget_app.command("show")
def show(
    user: UserArgument, store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """One user's budget."""
    with project(store, name) as manager:
        _print(_standing(manager.store, user), as_json=as_json)


@budget_app.command("rm")
def remove(user: UserArgument, store: StoreOption = None, name: ProjectOption = None) -> None:
    """Take a user's budget away; the history stays."""
    with project(store, name) as manager:
        _standing(manager.store, user)
        manager.remove_budget(user)
    console().print(f"{user} has no budget any more.")


def _standing(store: Store, user: str) -> Standing:
    terms = store.terms(terms_key(user))
    if terms is None or terms.body is None:
        raise UnknownUserError(f"user={user!r} has no budget: budgetguard budget set gives one")
    return standings(store, [UserBudget.from_text(terms.body, terms.version)])[0]


def _print(standing: Standing, *, as_json: bool) -> None:
    if as_json:
        print_json(standing.as_json())
    else:
        console().print(table(COLUMNS, [standing.as_row()]))
