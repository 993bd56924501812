"""
The project that a store is opened for.

Who names none means "default", but where a SQLite file has the books of a single other one: that is the one they mean,
a program as much as the command line. A server is not asked, as its answer would depend on whether it is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ledger import Clock, Store
from ..stores import file_of, open_store, projects_in
from . import Config


def open_project(
    config: Config, *, clock: Clock | None = None, headers: Mapping[str, str] | None = None, url: str | None = None
) -> Store:
    """
    The store of the project that is meant; its `namespace` says which.

    `url`, if given, is that of the store in other words. Raises `ConfigError` for a store that cannot be, and
    `StoreError` where a file has to be asked and cannot be read.
    """
    where, sent = url or config.url, config.headers() if headers is None else headers
    store = open_store(where, namespace=config.project, clock=clock, headers=sent)
    if "project" in config.where or file_of(where) is None:
        return store
    projects = projects_in(store)
    if config.project in projects or len(projects) != 1:
        return store
    store.close()
    return open_store(where, namespace=projects[0], clock=clock, headers=sent)
