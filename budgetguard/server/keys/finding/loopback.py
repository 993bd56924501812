"""Who is answered without a key, by a server in open mode: programs on this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from ...problems import Refused


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_program(scope: Mapping[str, Any]) -> None:
    """
    Refuse what a page in a browser asks of a server without keys: any page may send requests to this machine, and one
    whose name is made to lead here (DNS rebinding) may also read the answers.
    """
    for name, value in scope["headers"]:
        if name == b"origin":
            raise _forbidden("a page in a browser sent this")
        if name == b"host" and not names_loopback(value):
            raise _forbidden("the host that was asked is not localhost")


@lru_cache(16)
def names_loopback(host: bytes) -> bool:
    """Whether a Host header names this machine, and nothing that only leads to it."""
    try:
        name = urlsplit(b"//" + host).hostname or b""
    except ValueError:
        return False
    return is_loopback(name.decode("latin-1"))


def _forbidden(told: str) -> Refused:
    return Refused(403, f"{told}: without keys only programs on this machine are answered", "permission_error")
