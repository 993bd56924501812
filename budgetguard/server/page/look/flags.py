"""What entries are marked with, in words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "capped": "a cap was added",
        "cut": "cut at our cap",
        "estimated": "estimated",
        "expired": "hold expired",
        "fallback": "another model",
        "late": "settled late",
        "manual": "by hand",
        "tier": "unknown tier",
        "unpriced": "no price known",
    }
)
"""By the name that an entry has."""
