"""What the commands have in common: their options, and the project that they open."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ...budgets.steering.audit import Author, whoami
from ...config import Config, load_config
from ...config.projects import open_project
from ...errors import ConfigError, StoreError
from ...stores import file_of, projects_in, shown

if TYPE_CHECKING:
    from ...ledger import Store
    from ...manager import BudgetManager


def readable(name: str | None) -> str | None:
    """A name as it is; raises `ConfigError` for letters that the locale does not have: what they make is nobody's."""
    encoding = sys.getfilesystemencoding()
    if name is not None and encoding != "utf-8" and any("\udc80" <= letter <= "\udcff" for letter in name):
        raise ConfigError(f"{name!a} has letters that this locale ({encoding}) does not have: set PYTHONUTF8=1")
    return name


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Where the budgets live: sqlite:///budgets.db, ...; or BUDGETGUARD_STORE."
    ),
]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", metavar="NAME", help="The project_name; or BUDGETGUARD_PROJECT.", callback=readable),
]
PricesOption = Annotated[Path | None, typer.Option("--prices", help="A price file (TOML); or BUDGETGUARD_PRICES.")]


def _log_level(level: str) -> str:
    if level not in {"debug", "info", "warning", "error"}:
        raise ConfigError(f"--log-level {level}: use debug, info, warning or error")
    return level


LogLevelOption = Annotated[str, typer.Option(help="debug, info, warning or error.", callback=_log_level)]


def one_form(context: typer.Context, on: bool) -> bool:
    """For --csv and --json: raises `ConfigError` where both are asked for; one of them would be left out in silence."""
    if on and any(context.params.get(other) for other in ("as_csv", "as_json")):
        raise ConfigError("--csv, --json: one of them")
    return on


CsvOption = Annotated[
    bool, typer.Option("--csv", help="Print CSV; amounts are dollars with all of their digits.", callback=one_form)
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON; amounts are whole nano-dollars (1e-9 of one).", callback=one_form)
]


class Extra(NamedTuple):
    """What a part of the package needs beside the rest."""

    name: str
    whose: str
    packages: frozenset[str]
    """As they are imported."""


SERVER = Extra("server", "a server", frozenset({"jinja2", "starlette", "uvicorn", "msgspec", "prometheus_client"}))
GATEWAY = Extra("gateway", "a gateway", SERVER.packages | {"aiohttp", "python_multipart", "yarl"})


@contextmanager
def extra_needed(extra: Extra) -> Iterator[None]:
    """Say which extra to install, where a package of it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in extra.packages:
            raise
        raise ConfigError(
            f"{extra.whose} needs {error.name}: install the extra `{extra.name}`, as in budgetguard-llm[{extra.name}]"
        ) from error


@contextmanager
def project(store: str | None, name: str | None, *, new: bool = False) -> Iterator[BudgetManager]:
    """
    The manager of a project, closed at the end; what is not given is as the settings say.

    With `new`, a store or project that is not there yet may be made. Otherwise this raises `StoreError` for a file that
    is not there, and makes none. Where several projects are there and none is meant, a new one raises `ConfigError`.
    """
    from ...manager import BudgetManager

    config = load_config(store=store, project=name)
    with read(config, new=new) as (books, where):
        if books.namespace != config.project:
            _say(f"project {books.namespace!r}, the only one in {where}; --project names another")
        elif new and "project" not in config.where and (others := _others(books)):
            told = f"--project is missing: {where} has {', '.join(map(repr, others))}"
            raise ConfigError(f"{told}; name one, or --project {config.project} to begin that")
        manager = BudgetManager(books.namespace, store=books)
        manager.users = manager.users.by(Author(whoami(), "cli"))
        try:
            yield manager
        finally:
            manager.close()


@contextmanager
def opened(store: str | None, name: str | None, *, new: bool = False) -> Iterator[tuple[Store, str]]:
    """The store of a project alone, closed at the end, and where it is, without any password; see `project`."""
    with read(load_config(store=store, project=name), new=new) as found:
        yield found


@contextmanager
def read(config: Config, *, new: bool = False) -> Iterator[tuple[Store, str]]:
    """The same of a configuration that was read before."""
    if not new:
        require_there(config)
    # What the pool of a driver says of each attempt is in the one line of the error, too.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    made = open_project(config)
    try:
        yield made, shown(config.url)
    finally:
        made.close()


def require_there(config: Config) -> None:
    """Raise `StoreError` for a SQLite file that is not there: whoever reads it would take nothing for an answer."""
    file = file_of(config.url)
    if not file or os.path.exists(file):  # "": a URL without a path, as opening it says
        return
    stated = config.where.get("store")
    told = f"{shown(config.url)} ({stated or 'nobody names another'}) is not there: {os.path.abspath(file)}"
    made = "The first call of a program makes it, and so does budgetguard budget set"
    raise StoreError(f"{told}. {made}; --store, BUDGETGUARD_STORE or budgetguard.toml names another")


def say_where(manager: BudgetManager, store: str | None) -> None:
    """Say on stderr of which project and store it is that there is nothing, and which others are there."""
    where, own, others = shown(load_config(store=store).url), manager.project_name, _others(manager.store)
    told = f"this is project {own!r} of {where}"
    _say(f"{told}; it has {', '.join(map(repr, others))}: --project names one" if others else told)


def _others(store: Store) -> list[str]:
    """The other projects that are there; none, if this one has anything, or if the store cannot tell."""
    if next(store.all_terms(), None) is not None or next(store.accounts(), None) is not None:
        return []  # a server is not searched for nothing
    try:
        return [name for name in projects_in(store) if name != store.namespace]
    except StoreError:  # a user who may not list keys: it is no reason to fail
        return []


def _say(text: str) -> None:
    print(f"budgetguard: {text}", file=sys.stderr)


def parse_tags(pairs: list[str]) -> dict[str, str]:
    """`["team=search"]` as tags; raises `ConfigError` for what has no "="."""
    tags = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not (separator and name):
            raise ConfigError(f"--tag {pair!r}: write NAME=VALUE, such as team=search")
        tags[name] = value
    return tags
