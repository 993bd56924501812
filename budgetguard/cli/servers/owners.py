"""`limits set|list|show|remove|block|unblock`: what all keys of a team, a user or a customer may come to together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from ...config import load_config
from ...errors import ConfigError
from ..common.options import JsonOption, ProjectOption, StoreOption, readable
from ..common.show import console, print_json
from ..common.tables import Column, table
from .keys import AliasOption, hearing, own_store, standings_of
from .limits import (
    BudgetOption,
    DegradeOption,
    FallbackOption,
    ModelBudgetOption,
    ModelsOption,
    ParallelOption,
    PeriodOption,
    RpmOption,
    SaidLimits,
    TimezoneOption,
    TpmOption,
    WarnOption,
    changed_texts,
    limits_in_short,
    print_shown,
    print_standings,
    with_name,
)

if TYPE_CHECKING:
    from ...server.keys import Owner, Owners
    from ...server.keys.limits import OwnerKind

limits_app = typer.Typer(
    help="Limits of all keys of a team, a user or a customer: set, list, show, remove, block, unblock.",
    no_args_is_help=True,
)

KindArgument = Annotated[Literal["team", "user", "customer"], typer.Argument(help="team, user or customer.")]
NameArgument = Annotated[
    str, typer.Argument(help="The name that keys, or requests of customers, say.", callback=readable)
]


@limits_app.command("set")
def set_(
    kind: KindArgument,
    name: NameArgument,
    *,
    alias: AliasOption = None,
    models: ModelsOption = None,
    budget: BudgetOption = None,
    period: PeriodOption = None,
    timezone: TimezoneOption = None,
    model_budget: ModelBudgetOption = None,
    rpm: RpmOption = None,
    tpm: TpmOption = None,
    parallel: ParallelOption = None,
    fallback: FallbackOption = None,
    degrade_at: DegradeOption = None,
    warn_at: WarnOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Limit somebody, or change what is named; '' takes away. What was spent stays, as long as the period does.

    Example: budgetguard limits set team search --budget 100 --period monthly --rpm 600
    """
    said = SaidLimits(budget, period, timezone, model_budget or (), rpm, tpm, parallel, fallback, degrade_at, warn_at)

    def changed(owner: Owner) -> Owner:
        named = with_name(alias, owner.alias) or ""
        made = replace(owner, alias=named, models=changed_texts(models, owner.models))
        return replace(made, limits=said.changed(owner.limits))

    with _owners(store, project, new=True) as (owners, where):
        _print(owners.change(where, _kind(kind), name, changed), as_json=as_json)


@limits_app.command("list")
def list_(
    kind: KindArgument, store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """All of a kind that have limits, by name.

    Example: budgetguard limits list team
    """
    with _owners(store, project) as (owners, where):
        found = list(owners.all(where, _kind(kind)))
    if as_json:
        from ...server.keys.shown import shown_owner

        print_json([shown_owner(owner) for owner in found])
    elif found:
        columns = [Column(kind), Column("limits"), Column("models", drop=2), Column("state"), Column("alias", drop=3)]
        rows = [
            [each.name, limits_in_short(each.limits), ", ".join(each.models) or "all", _state(each), each.alias or "-"]
            for each in found
        ]
        console().print(table(columns, rows))
    else:
        console().print(
            f"No {kind} of project {where!r} has limits. Set some: budgetguard limits set {kind} NAME --rpm 60"
        )


@limits_app.command("show")
def show(
    kind: KindArgument,
    name: NameArgument,
    *,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is left of somebody's limits.

    Example: budgetguard limits show team search
    """
    with _owners(store, project) as (owners, where):
        owner = owners.get(where, _kind(kind), name)
    standings = standings_of(store, where, owner.kind, owner.name, owner.limits)
    if as_json:
        print_shown(owner, standings)
    else:
        print_standings(standings)


@limits_app.command("remove")
def remove(kind: KindArgument, name: NameArgument, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Take somebody's limits away; keys and the history stay.

    Example: budgetguard limits remove team search
    """
    with _owners(store, project) as (owners, where):
        owners.remove(where, _kind(kind), name)
    console().print(f"Nothing limits {kind} {name!r} from now on but the limits of its keys.")


@limits_app.command("block")
def block(kind: KindArgument, name: NameArgument, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Refuse all calls of somebody until they are unblocked; servers notice within two seconds.

    Example: budgetguard limits block user ann
    """
    _block(store, project, _kind(kind), name, True)
    console().print(f"The calls of {kind} {name!r} are refused until `budgetguard limits unblock {kind}`.")


@limits_app.command("unblock")
def unblock(kind: KindArgument, name: NameArgument, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Let somebody call again.

    Example: budgetguard limits unblock user ann
    """
    _block(store, project, _kind(kind), name, False)
    console().print(f"{kind} {name!r} may call again.")


def _block(store: str | None, project: str | None, kind: OwnerKind, name: str, blocked: bool) -> None:
    with _owners(store, project) as (owners, where):
        owners.change(where, kind, name, lambda owner: replace(owner, blocked=blocked))


def _kind(said: str) -> OwnerKind:
    return cast("OwnerKind", "end_user" if said == "customer" else said)


@contextmanager
def _owners(store: str | None, project: str | None, *, new: bool = False) -> Iterator[tuple[Owners, str]]:
    config = load_config(store=store, project=project)
    if "project" not in config.where:
        raise ConfigError("--project is missing: say of which project, as in --project shop")
    with own_store(store, new=new) as own:
        from ...server.keys import Owners

        yield Owners(own, hear=hearing(store)), config.project


def _print(owner: Owner, *, as_json: bool) -> None:
    if as_json:
        print_shown(owner)
        return
    models = f"; models: {', '.join(owner.models)}" if owner.models else ""
    console().print(f"{owner.name}: {limits_in_short(owner.limits)}{models}")


def _state(owner: Owner) -> str:
    return "blocked" if owner.blocked else "right"
