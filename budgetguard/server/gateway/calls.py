"""
What a call came to, for whoever made it: a stream has no header for its cost, as that is known at its end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

from ...errors import StoreError
from ...guards.fallbacks.fallback import ASKED_MODEL
from ...ledger import Entry, Query, Store
from ...money import DOLLAR
from ..keys import Caller
from ..problems import NOT_FOUND, Refused

PATH: Final = re.compile(r"/v1/calls/(?P<id>[0-9a-f]{32})")
SEARCHED_MS: Final = 3_600_000
"""How long after its begin a call is looked for on the books."""
_APART_MS: Final = (10_000, SEARCHED_MS)
"""How far the clock of the store may be behind ours: the first is likely, and leaves few calls to look through."""
MOST_SEARCHED: Final = 10_000
"""Calls of one key that are looked through, from the oldest on, each time."""


def call_of(store: Store, caller: Caller, call_id: str) -> Mapping[str, Any]:
    """
    A call of this key, as it is on the books: dollars, tokens by kind, flags. It may block.

    Raises `Refused` (404) for one that is not there: not settled yet, another key's, or none at all.
    """
    entry = entry_of(store, {"key": caller.prefix} if caller.prefix else {}, call_id)
    if entry is None:
        raise Refused(404, "no call of this key has this id, or it is not settled yet", code=NOT_FOUND)
    return {
        "id": entry.hold_id,
        "object": "call",
        "cost": entry.cost / DOLLAR,
        "cost_nano": entry.cost,
        "model": entry.model,
        "provider": entry.provider,
        "usage": dict(entry.usage),
        "tags": dict(entry.tags),
        "asked_model": entry.tags.get(ASKED_MODEL, entry.model),
        "flags": sorted(entry.flags),
        "settled_at": entry.at_ms / 1000,
    }


def entry_of(store: Store, tags: Mapping[str, str], call_id: str) -> Entry | None:
    """The entry of a call that has these tags, if it is on the books near the time that its id begins with."""
    begun_ms = int(call_id[:12], 16)  # see `ledger/ids.py`
    queries = [
        Query(begun_ms - apart_ms, begun_ms + SEARCHED_MS, tags=tags, limit=MOST_SEARCHED) for apart_ms in _APART_MS
    ]
    try:
        entries = chain.from_iterable(map(store.entries, queries))
        return next((entry for entry in entries if entry.hold_id == call_id), None)
    except OverflowError as error:
        raise StoreError("the store cannot look so far") from error
