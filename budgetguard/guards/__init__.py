"""The guard: what is decided around a call, and done about it. Nothing here is imported before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .guard import Guard as Guard
    from .settings import Settings as Settings


def __getattr__(name: str) -> Any:
    if name == "Guard":
        from .guard import Guard

        return Guard
    if name == "Settings":
        from .settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
