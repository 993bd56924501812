"""
The project that a store is opened for.

Who names none means "default", but where a SQLite file has the books of a single other one: that is the one they mean,
a program as much as the command line. A server is not asked, as its answer would depend on whether it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from ..errors import ConfigError
from ..ledger import Clock, Store
from ..stores import file_of, open_store, projects_in, shown
from . import Config

log = logging.getLogger("budgetguard")


def open_project(
    config: Config,
    *,
    clock: Clock | None = None,
    headers: Mapping[str, str] | None = None,
    url: str | None = None,
    warns: bool = False,
) -> Store:
    """
    The store of the project that is meant; its `namespace` says which.

    `url`, if given, is that of the store in other words. With `warns`, it is logged where users' budgets may be in a
    project that nobody named. Raises `ConfigError` for a store that cannot be, and `StoreError` where a file has to be
    asked and cannot be read.
    """
    where = url or config.url
    opened = partial(_open, config, where, clock, config.headers() if headers is None else headers)
    store = opened(config.project)
    if "project" in config.where or file_of(where) is None:
        return store
    projects = projects_in(store)
    if config.project in projects or not projects:
        return store
    if len(projects) == 1:
        store.close()
        return opened(projects[0])
    if warns:
        log.warning(
            "%s has the projects %s, and none of them is named: calls count in project %r, where no budget of "
            "theirs holds; name one as `project` in budgetguard.toml, or by BUDGETGUARD_PROJECT",
            shown(where),
            ", ".join(map(repr, projects)),
            config.project,
        )
    return store


def _open(config: Config, where: str, clock: Clock | None, headers: Mapping[str, str] | None, project: str) -> Store:
    """The store that is stated; where it cannot be, the error names the place that says so."""
    try:
        return open_store(where, namespace=project, clock=clock, headers=headers)
    except ConfigError as error:
        place = config.where.get("store", "argument")
        if place == "argument":
            raise
        raise ConfigError(f"{place}: {str(error).removeprefix('store').lstrip(': ')}") from error
