"""
Where a PostgreSQL server is, in words: by these a store is called in errors, and its settlements are kept apart.
And what a URL says beside that.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from ...errors import ConfigError
from ..deadlines import Deadlines, take_deadlines

POOL_SIZE = 8
"""How many connections a process opens at most."""

OPTIONS = {*Deadlines._fields, "pool_size"}
"""Of a URL: those that are ours, not libpq's."""

UNREADABLE = (
    "store: this postgresql:// URL cannot be read; it is postgresql://user:password@host:5432/database, "
    "with %XX for other characters than letters and digits in the password, and libpq's options behind ?"
)
"""Says nothing of the URL, which may hold a password anywhere."""


def require_escaped(url: str) -> None:
    """Raise `ConfigError` for a URL of which a password would be taken for a host, a database or an option."""
    where = url.partition("://")[2]
    authority = re.split("[/?#]", where, maxsplit=1)[0]
    try:
        urlsplit(url)
        misread = authority.count("@") > 1 or "@" in where[len(authority) :]
    except ValueError:
        misread = True
    if misread:
        raise ConfigError(UNREADABLE)


def options_of(url: str) -> tuple[str, Deadlines, int]:
    """A URL as libpq reads it, the deadlines and the size of the pool; raises `ConfigError` if it is none."""
    require_escaped(url)
    plain, _, query = url.partition("?")
    deadlines, options = take_deadlines(query, Deadlines())
    sizes = [value for name, value in options if name == "pool_size"]
    size = sizes[-1] if sizes else str(POOL_SIZE)
    if not size.isdecimal() or not 1 <= int(size) <= 1000:
        raise ConfigError(f"store: pool_size={size} is no number of connections, from 1 to 1000")
    rest = [said for said in query.split("&") if unquote(said.partition("=")[0]) not in OPTIONS]
    return plain + ("?" + "&".join(rest) if rest != [""] else ""), deadlines, int(size)


def address(conninfo: Any, kwargs: Any = None) -> str | None:
    """
    The server and the database that connections made of these reach; nothing in it is secret.

    What they leave open is libpq's to decide: by a service of its service file, or by the environment. `None`: it is
    up to a function, which cannot be asked now.
    """
    text = conninfo if isinstance(conninfo, str) else ""
    if text.startswith(("postgresql://", "postgres://")):
        require_escaped(text)
    try:
        parsed = conninfo_to_dict(text, **(kwargs if isinstance(kwargs, dict) else {}))
    except psycopg.Error:  # its text has the URL, and so the password
        raise ConfigError(UNREADABLE) from None
    said = {name: str(value) for name, value in parsed.items()}
    given = bool((said.get("host") or said.get("hostaddr")) and said.get("dbname"))
    if (callable(conninfo) or callable(kwargs)) and not given:
        return None
    known = {**_defaults(), **{name: value for name, value in said.items() if value}}
    hosts = [known[name] for name in ("host", "hostaddr") if known.get(name)]
    service = known.get("service", "")
    of = f" of the service {service}" if service and not given else ""
    host, port = " ".join(hosts) or "the local socket", known.get("port", "5432")
    return f"PostgreSQL{of} at {host}:{port}/{known.get('dbname') or known.get('user', '')}"


def _defaults() -> dict[str, str]:
    """What libpq takes for what is not said: mostly, from the environment."""
    return {each.keyword.decode(): each.val.decode() for each in Conninfo.get_defaults() if each.val}
