"""What is said over WebSockets: a hold for each answer that is asked for, settled from the event that has its bill."""

from __future__ import annotations

from typing import Final

MODULES: Final = (
    "websockets.sync.connection",
    "websockets.asyncio.connection",
    "websockets.sync.client",
    "websockets.asyncio.client",
)
"""What `hooks` patches: the seam is imported with the first of them."""

LEGACY: Final = ("websockets.legacy.client",)
"""What `legacy` does."""

DOORS: Final = {
    f"openai.resources.{module}": name
    for module, name in (
        ("realtime.realtime", "realtime"),
        ("realtime.translations.translations", "realtime.translations"),
        ("beta.realtime.realtime", "beta.realtime"),
        ("live.live", "live"),
        ("live.sideband", "live.sideband"),
        ("live.forks", "live.forks"),
        ("responses.responses", "responses"),
        ("beta.responses.responses", "beta.responses"),
    )
}
"""
What `doors` does, and the operation of each module that has connections (openai 2.54 to 3.57; not every version has all
of them).
"""
