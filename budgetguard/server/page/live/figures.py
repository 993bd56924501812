"""The few figures that views keep fresh, read again only where something has changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ....ledger import Millis, RecordQuery
from ....reports.amounts import cents, count, precise
from ....reports.reports import Reports
from ....reports.shown.lists import CallShown, CallsQuery
from ....reports.shown.money import ExploreQuery
from ...projects import Project
from ..look.flags import FLAGS

CALLS = 12
"""How many of the newest calls are told."""
_REFUSAL = "refusal"


class LiveFigures:
    """Those of one project; `read` waits for its store."""

    def __init__(self) -> None:
        self._mark: Any = None
        self.text = b""
        """As one event of the stream."""

    def read(self, project: Project, reports: Reports) -> bytes:
        """The figures as they are; the same bytes as before where nothing has changed."""
        now_ms = round(project.clock() * 1000)
        store, begin_ms = project.store, _day_of(now_ms)
        newest = reports.calls(CallsQuery(limit=CALLS)).rows
        holds = store.holds()
        refused = next(store.noted(RecordQuery(_REFUSAL, newest=True, limit=1)), None)
        mark = (begin_ms, [(each.id, each.cost) for each in newest], [each.id for each in holds], refused)
        if mark == self._mark:
            return self.text
        today = reports.explore(ExploreQuery(by=("day",), since_ms=begin_ms)).total.figures
        said = {
            "live": {
                "spent": cents(today.cost),
                "calls": count(today.calls),
                "held": cents(sum(each.amount for each in holds)),
                "holds": count(len(holds)),
                "refused": count(reports.refusals(by="day", since_ms=begin_ms, limit=1).times),
            },
            "calls": [_call(each) for each in newest],
        }
        self._mark, self.text = mark, b"data: " + json.dumps(said).encode() + b"\n\n"
        return self.text


def _call(call: CallShown) -> dict[str, Any]:
    return {
        "id": call.id,
        "at": call.at_ms,
        "user": call.user,
        "model": call.model,
        "provider": call.provider,
        "cost": precise(call.cost),
        "input": count(call.input_tokens),
        "output": count(call.output_tokens),
        "flags": ", ".join(FLAGS.get(each, each) for each in call.flags),
    }


def _day_of(now_ms: Millis) -> Millis:
    day = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return round(day.timestamp() * 1000)
