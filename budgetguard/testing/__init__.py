"""
Helpers for tests: a provider that bills, a contract for stores, a clock that stands still.

They are part of the public interface, for programs that test what they do when
a budget runs out, and for stores written elsewhere. Nothing here is imported
before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import StoppedClock as StoppedClock
    from .contract import StoreContract as StoreContract
    from .plan import Bill as Bill
    from .plan import Plan as Plan
    from .plan import Request as Request
    from .provider import FakeProvider as FakeProvider

_HOMES = {
    "Bill": "plan",
    "FakeProvider": "provider",
    "Plan": "plan",
    "Request": "plan",
    "StoppedClock": "clock",
    "StoreContract": "contract",
}

__all__ = ["Bill", "FakeProvider", "Plan", "Request", "StoppedClock", "StoreContract"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
