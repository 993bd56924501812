"""Where budgets live: one folder a store, opened by URL."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ..errors import ConfigError
from ..ledger import Clock, Store
from .disk import NO_TEXT


class _Engine(NamedTuple):
    """A store behind a network: what imports it, the driver that this needs, and the extra that brings that."""

    load: Callable[[], Any]
    driver: str
    extra: str


def _postgres() -> Any:
    from .postgres.store import PostgresStore

    return PostgresStore


def _postgres_schema() -> Any:
    from .postgres import schema

    return schema


def _redis() -> Any:
    from .redis.store import RedisStore

    return RedisStore


def _http() -> Any:
    from .http.store import HttpStore

    return HttpStore


_POSTGRES = _Engine(_postgres, "psycopg", "postgres")
_REDIS = _Engine(_redis, "redis", "redis")
_HTTP = _Engine(_http, "urllib3", "http")
_ENGINES = {
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "redis": _REDIS,
    "rediss": _REDIS,
    "valkey": _REDIS,
    "valkeys": _REDIS,
}
_CLIENTS = {"psycopg_pool": _POSTGRES, "redis": _REDIS, "valkey": _REDIS}
"""Whose ready objects can be a store's connection, by the package that their class is from."""

RESERVED = "budgetguard:"
"""Namespaces whose names begin so are no project's: a server keeps its own affairs there."""

_KNOWN = "memory://, sqlite:///budgets.db, postgresql://host/db, redis://host, valkey://host or https://host"
_PLACES = ("host", "port", "dbname", "db")
"""Options of a URL that say where a store is."""


def open_store(
    where: Any,
    *,
    namespace: str = "default",
    clock: Clock | None = None,
    headers: Mapping[str, str] | None = None,
) -> Store:
    """
    The store behind a URL; nothing is written, and no server asked, before the store is used.

    `memory://` is a new ledger in this process. `sqlite:///budgets.db` is a file below the working directory,
    `sqlite:////var/lib/shop/budgets.db` one by its full path; `?synchronous=normal` trades the last
    settlements before a power cut for speed. `postgresql://host/db`, `redis://host:6379/0`, `rediss://` (with TLS) and
    `valkey://` are servers; `https://host` is a server of budgetguard (`budgetguard serve`), asked with `headers`, or
    with the key in `https://:KEY@host`; so is a ready `psycopg_pool.ConnectionPool`, or a ready client object of
    redis-py or valkey-py (its Sentinel and Cluster clients, too). Without a `clock`, or with `time.time`, a server's
    own clock decides. Raises `ConfigError` for anything else.
    """
    if not isinstance(where, str):
        return _on_client(where, namespace, clock)
    scheme = where.partition(":")[0].lower()
    seconds = clock or time.time
    if scheme == "memory":
        from .memory.store import MemoryStore

        _nothing_else(where)
        return MemoryStore(clock=seconds, namespace=namespace)
    if scheme == "sqlite":
        from .sqlite.store import SQLiteStore

        return SQLiteStore.from_url(where, namespace=namespace, clock=seconds)
    if scheme in _ENGINES:
        store: Store = _load(_ENGINES[scheme]).from_url(where, namespace=namespace, clock=_own_clock(clock))
        return store
    if scheme in {"http", "https"}:
        hosted: Store = _load(_HTTP).from_url(where, namespace=namespace, clock=_own_clock(clock), headers=headers)
        return hosted
    # A text without "://" may be anything, a password included, so it is not shown.
    shown = f"{scheme}:// is no store that budgetguard knows" if "://" in where else "a store is named by a URL"
    raise ConfigError(f"store: {shown}; use {_KNOWN}")


def schema_sql(engine: str) -> str:
    """The tables and functions of an engine, for those who bring them there themselves; raises `ConfigError`."""
    if engine not in {"postgres", "postgresql"}:
        raise ConfigError(f"{engine!r} has no SQL to print: there is postgres")
    sql: str = _load(_POSTGRES._replace(load=_postgres_schema)).schema_sql()
    return sql


def shown(url: str) -> str:
    """A store's URL for people: where it is, without the user, the password and the options."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "..."  # it may be anything, a password included
    where, _, options = rest.partition("?")
    where = where.partition("#")[0]
    if "@" in rest:
        # A password that was not quoted may hold any of the characters that end it.
        where = where.rpartition("@")[2] if "@" in where else "..."
        options = "" if "@" in options else options
    kept = [(name, value) for name, value in parse_qsl(options) if name in _PLACES]
    return f"{scheme}://{where}" + (f"?{urlencode(kept, safe='/')}" if kept else "")


def file_of(url: str) -> str | None:
    """The path of the SQLite file that a URL names, relative ones as they are; `None` for any other store."""
    parts = urlsplit(url) if url[:7].lower() == "sqlite:" else None
    return None if parts is None else unquote(parts.path, errors=NO_TEXT).removeprefix("/")


def projects_in(store: Store) -> list[str]:
    """The projects that have anything on their books, in order."""
    return [name for name in store.namespaces() if not name.startswith(RESERVED)]


def _on_client(client: Any, namespace: str, clock: Clock | None) -> Store:
    """The store on a ready pool or client."""
    if isinstance(client, Store):
        return client
    for base in type(client).__mro__:
        engine = _CLIENTS.get(base.__module__.partition(".")[0])
        if engine is not None:
            store: Store = _load(engine)(client, namespace=namespace, clock=_own_clock(clock))
            return store
    raise ConfigError(
        f"store={client!r}: a URL such as 'sqlite:///budgets.db', an open store, a psycopg pool or a redis client is "
        "needed"
    )


def _load(engine: _Engine) -> Any:
    try:
        return engine.load()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {engine.driver, f"{engine.driver}_pool"}:
            raise
        raise ConfigError(
            f"store: {error.name} is not installed: install the extra `{engine.extra}`, as in "
            f"budgetguard-llm[{engine.extra}]"
        ) from error


def _own_clock(clock: Clock | None) -> Clock | None:
    return None if clock is time.time else clock


def _nothing_else(url: str) -> None:
    parts = urlsplit(url)
    if parts.netloc or parts.path.strip("/") or parts.query:
        raise ConfigError("store: memory:// takes nothing behind it; for a file use sqlite:///budgets.db")
