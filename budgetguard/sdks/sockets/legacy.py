"""The old client of `websockets` (its only one for asyncio before 13), whose messages are not seen: it is said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from ..calling import acting_for
from ..hooks import unbound, wrap
from .session import socket_at

log = logging.getLogger("budgetguard")

_said: set[str] = set()


def _opened(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Say of a socket to a model that no budget holds for it, once a host."""
    if instance is None:
        return unbound(_opened, wrapped, args, kwargs)
    made = wrapped(*args, **kwargs)
    place = urlsplit(str(args[0] if args else kwargs["uri"]))
    host = place.hostname or ""
    if host not in _said and socket_at(place.path) is not None and acting_for(instance)[0] is not None:
        _said.add(host)
        log.warning(
            "a socket to %s is opened by the legacy client of websockets, which is not seen here: what it costs is not "
            "counted, and no budget stops it. Use websockets.asyncio.client.connect, from websockets 13 on",
            host,
        )
    return made


def _install(module: ModuleType) -> None:
    wrap(module.Connect, "__init__", _opened)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {"websockets.legacy.client": _install}
"""What is patched in which module."""
