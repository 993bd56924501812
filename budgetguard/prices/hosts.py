"""
Hosts: what the server behind a request understands, and what it bills.

The table is `data/hosts.toml`, each row with its source and date; of a host that is
not in it nothing is assumed but OpenAI's protocol. What a server was seen to refuse
is remembered beside it, as long as the process lives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..calls import Host

CAPS = ("max_tokens", "max_completion_tokens")
"""Chat's two names for an output cap."""

_KEPT = 4_096
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})


class Server(NamedTuple):
    """Who answers a request, as far as what it understands depends on it."""

    name: str
    """The host, without a port."""
    version: str | None = None
    """The API version that an Azure client names."""
    port: int | None = None
    model: str = ""
    azure: bool = False
    """Whether this is Azure's API, whatever the host is called (a gateway of one's own before it)."""


_refused: dict[Server, Mapping[str, int]] = {}
"""What servers refused in this process: fields, and the least number that was too much (0: any value)."""

_proven: set[Server] = set()
"""Servers that took our fields, or whose refusal was about something else."""


@lru_cache(maxsize=_KEPT)
def host_of(
    name: str, version: str | None = None, port: int | None = None, model: str = "", azure: bool = False
) -> Host:
    """
    What is known of a `Server`, given by its fields.

    An Azure resource without an API version is its v1 API, younger than every option.
    """
    table, server = _table()["hosts"], Server(name, version, port, model, azure)
    name = name.lower()
    row = _row(table, name)
    if row is None and azure:
        row = table["azure"]
    local = row is None and name in _LOCAL
    said = row or {}
    old = _older(version, said.get("since"))
    host = Host(
        name=name,
        openai=said.get("openai", False),
        cap=_cap_of(model) or (CAPS[0] if old else said.get("cap", CAPS[0])),
        usage=port in _table()["ports"]["usage"] if local else said.get("usage", True) and not old,
        billed=frozenset(said.get("billed", ())),
        stops=said.get("stops", False),
        tiers=said.get("tiers", False),
        default_cap=said.get("default_cap"),
        known=row is not None,
    )
    return without(host, _refused.get(server, {}))


def without(host: Host, refused: Mapping[str, int]) -> Host:
    """A host of which it is known that it refuses these fields, too."""
    if not refused:
        return host
    refuses = {**host.refuses, **refused}
    never = {name for name, least in refuses.items() if not least}
    cap: str | None = host.cap
    if cap in never:
        cap = next((name for name in CAPS if name not in never), None)
    return host._replace(cap=cap, usage=host.usage and "stream_options" not in never, refuses=refuses)


def learn(server: Server, refused: Mapping[str, int]) -> None:
    """Remember the fields that a server refused, now that it answered without them."""
    if len(_refused) >= _KEPT:
        _refused.clear()
    _refused[server] = {**_refused.get(server, {}), **refused}
    host_of.cache_clear()


def trust(server: Server) -> None:
    """Remember that a server understands what we add: an error that names no field is about something else."""
    if len(_proven) >= _KEPT:
        _proven.clear()
    _proven.add(server)


def trusted(server: Server) -> bool:
    """Whether a server is known to understand what we add."""
    return server in _proven or host_of(*server).known


def forget() -> None:
    """Forget what was learnt in this process."""
    _refused.clear()
    _proven.clear()
    host_of.cache_clear()


def _older(version: str | None, since: str | None) -> bool:
    if version is None or since is None or not version[:1].isdigit():
        return False
    return version[: len(since)] < since


def _cap_of(model: str) -> str | None:
    return next((cap for pattern, cap in _models() if pattern.search(model.lower())), None)


def _row(table: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    row, domain = table.get(name), name
    while row is None and domain:
        domain = domain.partition(".")[2]
        row = table.get(f".{domain}")
    return table[row["like"]] if row is not None and "like" in row else row


@cache
def _models() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(row["name"]), row["cap"]) for row in _table()["models"]]


@cache
def _table() -> Mapping[str, Any]:
    import tomllib

    text = (Path(__file__).parent / "data/hosts.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
