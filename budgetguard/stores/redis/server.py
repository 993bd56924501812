"""
The server behind a Redis store: whether it is still the same one, and whether it may lose what is on the books.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from ...errors import StoreError
from .errors import is_a
from .link import RedisLink

log = logging.getLogger("budgetguard")

LOOK_S = 1.0
"""How often it is asked who it is: a Sentinel's client changes its server without a word."""

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
"""The first versions whose scripts can say that they may run on a full server."""


Identity: TypeAlias = tuple[str, str]
"""Who a server is: its own name for itself, new with every start, and that of the history that it has."""

IDENTITY = ("server", "replication")
"""The sections of INFO that tell it."""


class RedisServer:
    """Who answers, and how it is set up. `strict`: refuse a server that endangers the books."""

    def __init__(self, client: Any, link: RedisLink, *, strict: bool) -> None:
        self._client = client
        self._link = link
        self._strict = strict
        self._identity: Identity | None = None
        self._answers: Identity | None = None
        self._looks_at = 0.0

    def known(self) -> bool:
        """Whether it was looked at of late, and has not failed since."""
        return not self._link.doubtful and time.monotonic() < self._looks_at

    @property
    def identity(self) -> Identity | None:
        """Who was last `seen`."""
        return self._identity

    def changed(self) -> bool:
        """Whether another server answers than was last `seen`; the first one is looked at more closely."""
        self._looks_at = 0.0  # nobody passes until it is `seen`
        self._link.doubtful = False  # a failure from here on is one of the server that answers now
        self._answers = identity_of(self._link.run(ask, self._client.execute_command, *IDENTITY))
        if self._identity is None:
            self._greet()
        return self._identity is not None and self._identity != self._answers

    def seen(self) -> None:
        """The server that answered was told all that it has to be told."""
        self._identity = self._answers
        self._looks_at = time.monotonic() + LOOK_S

    def examine(self) -> list[str]:
        """What of its configuration endangers the books."""
        found = []
        version = self._version()
        if version is not None and version[1] < OLDEST[version[0]]:
            oldest = ".".join(map(str, OLDEST[version[0]]))
            found.append(f"{version[0]} {'.'.join(map(str, version[1]))} is older than {oldest}: upgrade it")
        memory = self._info("memory")
        policy = memory.get("maxmemory_policy", "")
        if policy != "noeviction" and str(memory.get("maxmemory", "0")) != "0":
            found.append(f"maxmemory-policy is {policy}: it may evict what is on the books; set it to noeviction")
        persistence = self._info("persistence")
        if str(persistence.get("aof_enabled", "0")) != "1":
            found.append(
                "appendonly is off: a restart loses what was settled since the last snapshot; set appendonly yes"
            )
        return found

    def _greet(self) -> None:
        try:
            found = self.examine()
        except StoreError as error:
            if self._strict:
                raise
            log.warning("%s: its configuration cannot be checked: %s", self._link.name, error)
            return
        if found and self._strict:
            raise StoreError(f"{self._link.name}: {'; '.join(found)}; or leave strict=1 out to be warned only")
        for text in found:
            log.warning("%s: %s", self._link.name, text)

    def _version(self) -> tuple[str, tuple[int, ...]] | None:
        info = self._info("server")
        for engine in ("valkey", "redis"):
            numbers = re.match(r"(\d+)\.(\d+)", str(info.get(f"{engine}_version", "")))
            if numbers is not None:
                return engine, (int(numbers[1]), int(numbers[2]))
        return None

    def _info(self, *sections: str) -> dict[str, str]:
        return _fields(self._link.run(ask, self._client.execute_command, *sections))


def ask(execute: Callable[..., Any], *sections: str) -> str:
    """INFO as text: clients parse it each in a way of its own, and a cluster's asks all of its nodes."""
    try:
        answer = execute("INFO", *sections)
    except Exception as error:
        if not is_a(error, "NoPermissionError"):
            raise
        return ""
    if isinstance(answer, dict):
        return "\n".join([f"{name}:{value}" for name, value in _flat(answer)])
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)


def identity_of(text: str) -> Identity:
    """Who a server is, by what it says of `IDENTITY`."""
    info = _fields(text)
    return info.get("run_id", ""), info.get("master_replid", "")


def _fields(text: str) -> dict[str, str]:
    pairs = [line.partition(":") for line in text.splitlines() if ":" in line]
    return {name: value.strip() for name, _, value in pairs}


def _flat(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    """The fields of INFO; of a cluster's first node, if there are several."""
    nodes = [value for value in answer.values() if isinstance(value, dict) and "run_id" in value]
    return list((nodes[0] if nodes else answer).items())
