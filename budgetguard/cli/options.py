"""What the commands have in common: their options, and the project that they open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..ledger import Store
    from ..manager import BudgetManager
    from ..prices.book import PriceBook

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", envvar="BUDGETGUARD_STORE", metavar="URL", help="Where the budgets live: sqlite:///budgets.db, ..."
    ),
]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", envvar="BUDGETGUARD_PROJECT", metavar="NAME", help="The project_name."),
]
PricesOption = Annotated[
    Path | None, typer.Option("--prices", envvar="BUDGETGUARD_PRICES", help="A price file (TOML).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, amounts in dollars.")]


@contextmanager
def project(store: str | None, name: str | None, *, prices: PriceBook | None = None) -> Iterator[BudgetManager]:
    """The manager of a project, closed at the end; what is not given is as `budgetguard.toml` says."""
    from ..config import load_config
    from ..manager import BudgetManager

    config = load_config()
    manager = BudgetManager(name or config.project, store=store or config.store, budgets=config.budgets, prices=prices)
    try:
        yield manager
    finally:
        manager.close()


@contextmanager
def opened(store: str | None, name: str | None) -> Iterator[tuple[Store, str]]:
    """The store of a project alone, closed at the end, and where it is, without any password."""
    from ..config import DEFAULT_STORE, load_config
    from ..stores import open_store, shown

    config = load_config()
    url = store or config.store or DEFAULT_STORE
    made = open_store(url, namespace=name or config.project, headers=config.headers())
    try:
        yield made, shown(url)
    finally:
        made.close()


def parse_tags(pairs: list[str]) -> dict[str, str]:
    """`["team=search"]` as tags; raises `ConfigError` for what has no "="."""
    tags = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not (separator and name):
            raise ConfigError(f"--tag {pair!r}: write NAME=VALUE, such as team=search")
        tags[name] = value
    return tags
