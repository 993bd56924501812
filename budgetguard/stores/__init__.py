"""Where budgets live: one file a store, opened by URL."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..ledger import Clock, Store

_WITHOUT = ("postgresql", "postgres", "redis", "rediss", "valkey", "http", "https")


def open_store(url: str, *, namespace: str = "default", clock: Clock | None = None) -> Store:
    """
    The store behind a URL; nothing is written, and no server asked, before the store is used.

    `memory://` is a new ledger in this process. `sqlite:///budgets.db` is a file below the working directory,
    `sqlite:////var/lib/shop/budgets.db` one by its full path; `?synchronous=normal` trades the last
    settlements before a power cut for speed. Raises `ConfigError` for anything else.
    """
    scheme = url.partition(":")[0].lower() if isinstance(url, str) else ""
    seconds = clock or time.time
    if scheme == "memory":
        from .memory import MemoryStore

        _nothing_else(url)
        return MemoryStore(clock=seconds, namespace=namespace)
    if scheme == "sqlite":
        from .sqlite import SQLiteStore

        return SQLiteStore.from_url(url, namespace=namespace, clock=seconds)
    if scheme in _WITHOUT:
        raise ConfigError(
            f"store: this version has no store for {scheme}:// URLs yet; use memory:// or sqlite:///budgets.db"
        )
    # A text without "://" may be anything, a password included, so it is not shown.
    shown = f"{scheme}:// is no store that budgetguard knows" if "://" in str(url) else "a store is named by a URL"
    raise ConfigError(f"store: {shown}; use memory:// or sqlite:///budgets.db")


def _nothing_else(url: str) -> None:
    parts = urlsplit(url)
    if parts.netloc or parts.path.strip("/") or parts.query:
        raise ConfigError("store: memory:// takes nothing behind it; for a file use sqlite:///budgets.db")
