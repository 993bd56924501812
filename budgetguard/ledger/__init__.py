"""
The ledger: what may be spent, what is held, what was spent.

A call places a *hold* for its projected cost (an authorization), then either
*settles* it at the true cost (a capture) or *releases* it (a void). A hold that
is neither, because a process died, expires.

An *account* is one budget, for one subject, in one period, in one unit:
`available = limit - settled - held`. Amounts are whole nano-dollars, tokens,
requests or places, times are milliseconds since the epoch by the store's clock.

`Store` is the protocol that every store answers alike; `stores/memory` is its
executable specification and `testing.StoreContract` its test.
"""

from .holds import (
    DEFAULT_TTL_MS,
    KEEP_ENDED_MS,
    NO_TAGS,
    NO_USAGE,
    Account,
    Admitted,
    Balance,
    Conflict,
    Ended,
    Enforce,
    Entry,
    Hold,
    Millis,
    OnExpire,
    Refusal,
    Settled,
    Stale,
    Terms,
    grant,
)
from .ids import id_at, new_id
from .records import KEPT_FOR_EVER, KINDS, Record, RecordQuery
from .reports import Carried, Difference, OpenHold, Query, Total
from .store import Clock, Examined, Migrated, OwnTime, Store, nothing_lives
from .units import (
    NOTHING_SAID,
    NOTHING_WANTED,
    USUAL,
    Amounts,
    Unit,
    Wanted,
    beside_dollars,
    key_in,
    once_booked,
    show_amount,
    unit_of,
    while_held,
)

__all__ = [
    "Account",
    "Admitted",
    "Amounts",
    "Balance",
    "Carried",
    "Clock",
    "Conflict",
    "DEFAULT_TTL_MS",
    "Difference",
    "Ended",
    "Enforce",
    "Entry",
    "Examined",
    "Hold",
    "KEEP_ENDED_MS",
    "KEPT_FOR_EVER",
    "KINDS",
    "Migrated",
    "Millis",
    "NOTHING_SAID",
    "NOTHING_WANTED",
    "NO_TAGS",
    "NO_USAGE",
    "OnExpire",
    "OpenHold",
    "OwnTime",
    "Query",
    "Record",
    "RecordQuery",
    "Refusal",
    "Settled",
    "Stale",
    "Store",
    "Terms",
    "Total",
    "USUAL",
    "Unit",
    "Wanted",
    "beside_dollars",
    "grant",
    "key_in",
    "id_at",
    "new_id",
    "nothing_lives",
    "once_booked",
    "show_amount",
    "unit_of",
    "while_held",
]
