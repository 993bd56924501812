"""
Helpers for tests: a provider that bills, a contract for stores, a clock that stands still.

They are part of the public interface, for programs that test what they do when
a budget runs out, and for stores written elsewhere. Nothing here is imported
before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import StoppedClock as StoppedClock
    from .contract import StoreContract as StoreContract
    from .provider.fake import FakeProvider as FakeProvider
    from .provider.plan import Bill as Bill
    from .provider.plan import Plan as Plan
    from .provider.plan import Request as Request
    from .provider.sockets.answers import SocketPlan as SocketPlan
    from .provider.sockets.fake import FakeSockets as FakeSockets

__all__ = ["Bill", "FakeProvider", "FakeSockets", "Plan", "Request", "SocketPlan", "StoppedClock", "StoreContract"]


def __getattr__(name: str) -> Any:
    if name == "FakeProvider":
        from .provider.fake import FakeProvider

        return FakeProvider
    if name == "FakeSockets":
        from .provider.sockets.fake import FakeSockets

        return FakeSockets
    if name == "SocketPlan":
        from .provider.sockets.answers import SocketPlan

        return SocketPlan
    if name in {"Bill", "Plan", "Request"}:
        from .provider import plan

        return getattr(plan, name)
    if name == "StoppedClock":
        from .clock import StoppedClock

        return StoppedClock
    if name == "StoreContract":
        from .contract import StoreContract

        return StoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
