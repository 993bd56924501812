"""`keys create|list|show|update|rotate|block|unblock|revoke`: who may ask, for what, and up to how much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from ...config import load_config
from ...errors import ConfigError
from ...stores import open_store
from ..common.options import SERVER, JsonOption, StoreOption, extra_needed, readable, require_there
from ..common.show import console, moment, print_json
from ..common.tables import Column, table
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
    changed_tags,
    changed_texts,
    limits_in_short,
    print_shown,
    print_standings,
    with_name,
)

if TYPE_CHECKING:
    from ...ledger import Millis, Store
    from ...server.keys import Grant, HearKeys, Key, KeyChanged, KeyRing
    from ...server.keys.limits import OwnerKind, OwnerLimits
    from ...server.keys.standings import LimitStanding

keys_app = typer.Typer(
    help="Keys of a project: create, list, show, update, rotate, block, unblock, revoke.", no_args_is_help=True
)

_COLUMNS = (
    Column("prefix"),
    Column("project", drop=2),
    Column("scope", drop=4),
    Column("user", drop=1),
    Column("team", drop=3),
    Column("limits"),
    Column("created", drop=7),
    Column("used", drop=6),
    Column("state"),
    Column("note", drop=5),
)
PrefixArgument = Annotated[str, typer.Argument(help="What stands between bg_ and the next _.")]
ScopeOption = Annotated[
    str, typer.Option(help="call: models, by a gateway; spend: reserve and settle; read: look; admin: all but models.")
]
NoteOption = Annotated[str | None, typer.Option("--note", help="What it is for.")]
AliasOption = Annotated[str | None, typer.Option("--alias", help="A name for people.")]
KeyUserOption = Annotated[str | None, typer.Option("--user", help="Who pays.", callback=readable)]
TeamOption = Annotated[str | None, typer.Option("--team", help="Whose limits hold, too.", callback=readable)]
EndpointsOption = Annotated[
    list[str] | None, typer.Option("--endpoints", metavar="NAME", help="Operations beside the usual, such as batches.")
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="A tag of all its calls.")]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", metavar="WHEN", help="How long it is right, such as 90d, or until which day.")
]


@dataclass(frozen=True, slots=True)
class SaidGrant:
    """The options that say what a key may, as they were typed."""

    note: str | None
    alias: str | None
    user: str | None
    team: str | None
    models: list[str] | None
    endpoints: list[str] | None
    tags: list[str] | None
    expires: str | None
    limits: SaidLimits

    def changed(self, old: Grant, now_ms: Millis) -> Grant:
        """What the key may, with what was said; raises `ConfigError` for what cannot be."""
        from ...server.keys.times import moment_ms

        expires_ms = old.expires_ms if self.expires is None else None
        return replace(
            old,
            note=with_name(self.note, old.note) or "",
            alias=with_name(self.alias, old.alias) or "",
            user=with_name(self.user, old.user),
            team=with_name(self.team, old.team),
            models=changed_texts(self.models, old.models),
            endpoints=changed_texts(self.endpoints, old.endpoints),
            tags=changed_tags(self.tags, dict(old.tags)),
            expires_ms=moment_ms(self.expires, "expires", now_ms) if self.expires else expires_ms,
            limits=self.limits.changed(old.limits),
        )


@keys_app.command("create")
def create(
    project: Annotated[str, typer.Argument(help="The project_name.")],
    *,
    scope: ScopeOption = "spend",
    note: NoteOption = None,
    alias: AliasOption = None,
    user: KeyUserOption = None,
    team: TeamOption = None,
    models: ModelsOption = None,
    endpoints: EndpointsOption = None,
    tag: TagOption = None,
    expires: ExpiresOption = None,
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
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once: only its hash is stored.

    Example: budgetguard keys create shop --scope call --user ann --budget 10 --period monthly
    """
    limits = SaidLimits(budget, period, timezone, model_budget or (), rpm, tpm, parallel, fallback, degrade_at, warn_at)
    said = SaidGrant(note, alias, user, team, models, endpoints, tag, expires, limits)
    with _ring(store, new=True) as ring:
        from ...server.keys import Grant

        _print_new(*ring.create(project, scope, grant=said.changed(Grant(), ring.now_ms())), as_json=as_json)


@keys_app.command("update")
def update(
    prefix: PrefixArgument,
    *,
    note: NoteOption = None,
    alias: AliasOption = None,
    user: KeyUserOption = None,
    team: TeamOption = None,
    models: ModelsOption = None,
    endpoints: EndpointsOption = None,
    tag: TagOption = None,
    expires: ExpiresOption = None,
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
    as_json: JsonOption = False,
) -> None:
    """Change what is named of a key, and leave the rest; '' takes away. Servers notice within two seconds.

    Example: budgetguard keys update 4f2a9c --budget 20 --rpm 60
    """
    limits = SaidLimits(budget, period, timezone, model_budget or (), rpm, tpm, parallel, fallback, degrade_at, warn_at)
    said = SaidGrant(note, alias, user, team, models, endpoints, tag, expires, limits)
    with _ring(store) as ring:
        now_ms = ring.now_ms()
        key = ring.regrant(prefix, lambda grant: said.changed(grant, now_ms))
    print_shown(key) if as_json else _print(key)


@keys_app.command("list")
def list_(
    *,
    project: Annotated[str | None, typer.Option(help="Only its keys.")] = None,
    scope: Annotated[str | None, typer.Option(help="Only those of a scope.")] = None,
    user: Annotated[str | None, typer.Option(help="Only those of a user.")] = None,
    team: Annotated[str | None, typer.Option(help="Only those of a team.")] = None,
    right: Annotated[bool, typer.Option("--right", help="Only those that are neither revoked nor expired.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """All keys by their prefix; nobody can show the rest of one.

    Example: budgetguard keys list --project shop
    """
    with _ring(store) as ring:
        now_ms, every = ring.now_ms(), list(ring.all(project))
        keys = [key for key in every if key.is_of(scope, user, team)]
        if right:
            keys = [key for key in keys if not key.revoked and (key.grant.expires_ms or now_ms + 1) > now_ms]
        used = ring.last_used([key.prefix for key in keys])
    if as_json:
        from ...server.keys.shown import shown_key

        print_json([shown_key(key, used.get(key.prefix)) for key in keys])
    elif keys:
        rows = [_row(key, used.get(key.prefix)) for key in keys]
        console().print(table(_COLUMNS, rows))
    elif every:
        console().print("There is no such key.")
    else:
        console().print("There is no key. Make one: budgetguard keys create PROJECT --scope admin")


@keys_app.command("show")
def show(prefix: PrefixArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """What a key may, and what is left of its limits.

    Example: budgetguard keys show 4f2a9c
    """
    with own_store(store) as own:
        from ...server.keys import KeyRing

        key = KeyRing(own).get(prefix)
    standings = standings_of(store, key.project, "key", key.prefix, key.grant.limits)
    if as_json:
        print_shown(key, standings)
        return
    _print(key)
    print_standings(standings)


@keys_app.command("rotate")
def rotate(
    prefix: PrefixArgument,
    *,
    grace: Annotated[
        str | None, typer.Option(metavar="HOW LONG", help="How long the old one is right beside it, such as 24h.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new key under the same prefix: what it may and what it spent stay. The old one is refused.

    Example: budgetguard keys rotate 4f2a9c --grace 1h
    """
    with _ring(store) as ring:
        from ...server.keys.times import duration_s

        _print_new(*ring.rotate(prefix, grace_s=duration_s(grace, "grace") if grace else 0), as_json=as_json)


@keys_app.command("block")
def block(prefix: PrefixArgument, store: StoreOption = None) -> None:
    """Refuse a key until it is unblocked; servers notice within two seconds.

    Example: budgetguard keys block 4f2a9c
    """
    with _ring(store) as ring:
        console().print(f"bg_{ring.block(prefix).prefix} is refused until `budgetguard keys unblock`.")


@keys_app.command("unblock")
def unblock(prefix: PrefixArgument, store: StoreOption = None) -> None:
    """Let a blocked key in again.

    Example: budgetguard keys unblock 4f2a9c
    """
    with _ring(store) as ring:
        console().print(f"bg_{ring.block(prefix, blocked=False).prefix} is let in again.")


@keys_app.command("revoke")
def revoke(prefix: PrefixArgument, store: StoreOption = None) -> None:
    """Refuse a key from now on, for good; servers notice within two seconds.

    Example: budgetguard keys revoke 4f2a9c
    """
    with _ring(store) as ring:
        key = ring.revoke(prefix)
    console().print(f"bg_{key.prefix} of project {key.project!r} is refused from now on.")


def _print_new(key: Key, text: str, *, as_json: bool) -> None:
    if as_json:
        from ...server.keys.shown import shown_key

        print_json({**shown_key(key), "key": text})
        return
    print(text)
    what = "Give it to a program as its API key" if key.scope == "call" else "Set BUDGETGUARD_KEY to it"
    console(stderr=True).print(f"For project {key.project!r}, scope {key.scope}. {what}; it is not shown again.")


def _print(key: Key) -> None:
    from ...server.keys.shown import shown_key, shown_limits

    parts, limits = shown_key(key), shown_limits(key.grant.limits)
    told = {name: value for name, value in parts.items() if value and name not in limits}
    for name, value in {**told, "limits": limits_in_short(key.grant.limits)}.items():
        console().print(f"{name:15}{value}")


def _row(key: Key, used_ms: Millis | None) -> list[str]:
    grant = key.grant
    state = "revoked" if key.revoked else "blocked" if key.blocked else "right"
    if grant.expires_ms is not None and state == "right":
        state = f"until {moment(grant.expires_ms)}"
    owner = grant.user or "-", grant.team or "-"
    limits, note = limits_in_short(grant.limits), grant.alias or grant.note or "-"
    return [f"bg_{key.prefix}", key.project, key.scope, *owner, limits, key.created, moment(used_ms), state, note]


@contextmanager
def _ring(store: str | None, *, new: bool = False) -> Iterator[KeyRing]:
    with own_store(store, new=new) as own:
        from ...server.keys import KeyRing

        yield KeyRing(own, hear=hearing(store))


def hearing(store: str | None) -> HearKeys:
    """Who writes down what a command changes of keys and their owners: the audit of their project."""
    from ...budgets.steering.audit import Author, whoami
    from ...server.api.access.audit import write_key_change

    def hear(change: KeyChanged) -> None:
        with closing(open_store(load_config(store=store).url, namespace=change.project)) as books:
            write_key_change(books, change, Author(whoami(), "cli"))

    return hear


@contextmanager
def own_store(store: str | None, *, new: bool = False) -> Iterator[Store]:
    """The server's own namespace in the store that is meant, where its keys and their owners are."""
    config = load_config(store=store)
    url = config.url
    if url.startswith("memory:"):
        raise ConfigError("--store memory://: keys are kept in the server's store; name one that lasts")
    if url.startswith(("http:", "https:")):
        raise ConfigError("--store: keys are made where the store behind the server is reached; name that one's store")
    if not new:
        require_there(config)
    with extra_needed(SERVER):
        from ...server.projects import OWN
    with closing(open_store(url, namespace=OWN)) as own:
        yield own


def standings_of(
    store: str | None, project: str, kind: OwnerKind, name: str, limits: OwnerLimits
) -> list[LimitStanding]:
    """What was taken of somebody's limits in a project."""
    from ...server.keys import OwnerRules, rules_of
    from ...server.keys.standings import limit_standings

    with closing(open_store(load_config(store=store).url, namespace=project)) as books:
        return limit_standings(books, [OwnerRules(kind, name, rules_of(kind, limits))], books.now_ms())
