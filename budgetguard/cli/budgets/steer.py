"""`budget raise|topup|pause|resume|reset|restore` and `changes`: budgets that run are changed, and who changed them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...budgets.steering.audit import Author, Changed, whoami
from ...budgets.steering.audit import changes as read_changes
from ...budgets.steering.moments import since_ms
from ...budgets.steering.office import SteerDone, Steering
from ...config import load_config
from ...reports.amounts import readable_in
from ..common.options import JsonOption, ProjectOption, StoreOption, project, readable
from ..common.show import console, iso, moment, print_json
from ..common.tables import Column, table
from ..servers.keys import own_store
from .budgets import budget_app

if TYPE_CHECKING:
    from ...budgets.rules import Budget
    from ...manager import BudgetManager

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="ann or users/ann; a rule: team (all of its subjects), or team/red.", callback=readable
    ),
]
NoteOption = Annotated[str, typer.Option("--note", help="Why; it is in the audit, and a refusal says it.")]
ByOption = Annotated[str | None, typer.Option("--by", metavar="WHO", help="Who; your user name, if left out.")]
_AMOUNTS = ("limit", "extra")


@budget_app.command("raise")
def raise_(
    target: TargetArgument,
    limit: Annotated[str, typer.Argument(help="Dollars, such as 50; or a whole number of its unit.")],
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="WHEN", help="2h, 3d, 2027-01-31T18:00, 'end of month'; none: for good."),
    ] = None,
    *,
    note: NoteOption = "",
    by: ByOption = None,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a limit in the place of a budget's, for a while or for good.

    Example: budgetguard budget raise team/red 50 --until 2h --note 'the launch'
    """
    with _steering(store, name, by, target) as office:
        _print(office.raise_limit(target, limit, until=until, note=note), as_json=as_json)


@budget_app.command("topup")
def top_up(
    target: TargetArgument,
    amount: Annotated[str, typer.Argument(help="Dollars, such as 5; or a whole number of its unit.")],
    *,
    note: NoteOption = "",
    by: ByOption = None,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add to a budget's limit once, until its period is over.

    Example: budgetguard budget topup ann 5 --note 'until Monday'
    """
    with _steering(store, name, by, target) as office:
        _print(office.top_up(target, amount, note=note), as_json=as_json)


def _add(name: str, verb: Callable[..., SteerDone], target: str, told: str) -> None:
    """Add the command of a verb that needs no more than a target."""

    @budget_app.command(name, help=f"{told}\n\nExample: budgetguard budget {name} {target}")
    def _(
        target: TargetArgument,
        *,
        note: NoteOption = "",
        by: ByOption = None,
        store: StoreOption = None,
        name: ProjectOption = None,
        as_json: JsonOption = False,
    ) -> None:
        with _steering(store, name, by, target) as office:
            _print(verb(office, target, note=note), as_json=as_json)


_add(
    "pause",
    Steering.pause,
    "team/red",
    "Refuse every call on a budget from now on, in every process, until it is resumed.",
)
_add("resume", Steering.resume, "team/red", "Let calls pass again on a budget that was paused.")
_add("reset", Steering.reset, "ann", "Begin a budget again with nothing spent; the history stays.")
_add("restore", Steering.remove, "team", "Take back what was raised, topped up and paused.")


def changes(
    *,
    user: Annotated[str | None, typer.Option(help="Only of this user's own budget.", callback=readable)] = None,
    target: Annotated[str | None, typer.Option(help="Only of this, such as team/red.", callback=readable)] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="7d (so long ago), or 2027-01-31.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who changed budgets, when and why, the last first.

    Example: budgetguard changes --target team/red --since 7d
    """
    with project(store, name) as manager:
        after_ms = None if since is None else since_ms(since, manager.store.now_ms(), name="--since")
        found = list(read_changes(manager.store, since_ms=after_ms, user=user, target=target, limit=limit))
    if as_json:
        print_json([_as_json(each) for each in found])
    elif found:
        columns = [Column("when"), Column("who"), Column("via", drop=4), Column("what", drop=2)]
        columns += [Column("budget"), Column("changed"), Column("why", drop=3)]
        console().print(table(columns, [_row(each) for each in found]))
    else:
        console().print("Nobody has changed anything that is asked for.")


@contextmanager
def _steering(store: str | None, name: str | None, by: str | None, target: str) -> Iterator[Steering]:
    with project(store, name) as manager:
        author = Author(whoami() if by is None else by, "cli")
        rules = (*manager.guard.budgets, *_limits_of_owners(store, manager, target))
        yield Steering(manager.users, author, rules=rules)


def _limits_of_owners(store: str | None, manager: BudgetManager, target: str) -> Sequence[Budget]:
    """The limit of a key, a team or a customer that is meant, where a server keeps these in the same store."""
    url = load_config(store=store).url
    if url.startswith(("memory:", "http:", "https:")) or re.match("(key|team|user|end_user)( |/|$)", target) is None:
        return ()
    with own_store(store) as own:
        from ...server.api.access.steerable import rules_aimed

        return rules_aimed(own, manager.store, manager.project_name, target)


def _print(done: SteerDone, *, as_json: bool) -> None:
    if as_json:
        print_json({**_as_json(done.change), "limit": done.limit, "told": done.told})
    else:
        console().print(done.told)


def _as_json(each: Changed) -> dict[str, Any]:
    return {
        "at": iso(each.at_ms),
        "who": each.who,
        "via": each.via,
        "what": each.what,
        "target": each.target,
        **each.plain(),
        "note": each.note,
        "id": each.id,
    }


def _row(each: Changed) -> list[str]:
    return [
        moment(each.at_ms),
        each.who or "-",
        each.via,
        each.what,
        each.target,
        changed_in_words(each),
        each.note or "-",
    ]


def changed_in_words(each: Changed) -> str:
    """What a change changed, in a line: "limit: $5.00 to $9.00"."""
    if not each.before or not each.after:
        said = each.before or each.after
        return ", ".join(
            [readable_in(said.get("limit"), said.get("unit", "dollars")), str(said.get("period", ""))]
        ).strip(", ")
    unit = each.after.get("unit") or each.before.get("unit") or "dollars"
    was, now = ({**said, **said.get("steer", {})} for said in (each.before, each.after))
    parts = []
    for field in dict.fromkeys([*was, *now]):
        if field != "steer" and was.get(field) != now.get(field):
            pair = [_worded(field, said.get(field), unit) for said in (was, now)]
            parts.append(f"{field.removesuffix('_ms').replace('_', ' ')}: {' to '.join(pair)}")
    return "; ".join(parts) or "-"


def _worded(field: str, value: Any, unit: Any) -> str:
    if value is None:
        return "none"
    if field in _AMOUNTS and isinstance(value, int):
        return readable_in(value, unit)
    if field.endswith("_ms") and isinstance(value, int):
        return moment(value)
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
