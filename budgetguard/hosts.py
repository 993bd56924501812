"""
Hosts: what the server behind a request understands, and what it bills.

The table is `data/hosts.toml`, each line with its source and date. Of a host that
is not in it nothing is assumed but OpenAI's protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from .calls import UNKNOWN_HOST, Host


@lru_cache(maxsize=1024)
def host_of(name: str, api_version: str | None = None) -> Host:
    """
    What is known of a host ("api.openai.com", a port may follow), asked in an API version that the client names.

    An Azure resource without an API version is its v1 API, younger than every option.
    """
    name = (name.rsplit(":", 1)[0] if name.count(":") == 1 else name).lower()
    said = _said(name)
    if said is None:
        return UNKNOWN_HOST._replace(name=name)
    usage = said.get("usage", False)
    if isinstance(usage, str):
        usage = api_version is None or not api_version[:1].isdigit() or api_version[: len(usage)] >= usage
    return Host(
        name=name,
        openai=said.get("openai", False),
        cap=said.get("cap", UNKNOWN_HOST.cap),
        usage=usage,
        billed=frozenset(said.get("billed", ())),
        stops=said.get("stops", False),
    )


def _said(name: str) -> Mapping[str, Any] | None:
    table, domain = _table(), name
    while name not in table and domain:
        domain = domain.partition(".")[2]
        if f".{domain}" in table:
            return table[f".{domain}"]
    return table.get(name)


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    import tomllib

    text = (Path(__file__).parent / "data/hosts.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
