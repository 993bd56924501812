"""What was noted beside the books: who was refused, who was told of what, who changed what; and how the store is."""

from __future__ import annotations

from ..spending.asked import RANGES, span_of
from ..view import Look, Shown, View

ROWS = 100
BY = (("budget", "budget"), ("user", "user"), ("model", "model"), ("hour", "hour"), ("day", "day"))


def refusals(look: Look) -> Shown:
    """Who was refused: what was spent, held and wanted, and what would have fitted."""
    by = look.said("by", "budget")
    by = by if by in dict(BY) else "budget"
    span = span_of(look, "7d")
    shown = look.reports.refusals(
        by=by,
        since_ms=span.since_ms,
        until_ms=span.until_ms,
        before=look.said("before") or None,
        limit=ROWS,
        zone=look.zone.key,
    )
    most = max((group.times for group in shown.groups), default=0)
    data = {"shown": shown, "by": by, "choices": BY, "span": span, "ranges": RANGES, "most": most}
    return Shown("watch/refusals.html", data, rows=shown.rows, whole=shown)


def alerts(look: Look) -> Shown:
    """What somebody was told."""
    shown = look.reports.alerts(before=look.said("before") or None, limit=ROWS)
    return Shown("watch/alerts.html", {"shown": shown}, rows=shown.rows, whole=shown)


def changes(look: Look) -> Shown:
    """Who changed what, and why."""
    shown = look.reports.changes(
        budget=look.said("budget") or None,
        subject=look.said("subject") or None,
        before=look.said("before") or None,
        limit=ROWS,
    )
    return Shown("watch/changes.html", {"shown": shown}, rows=shown.rows, whole=shown)


def health(look: Look) -> Shown:
    """Whether the store answers, the books add up, and the history is read."""
    shown = look.reports.health()
    return Shown("setup/health.html", {"shown": shown}, rows=shown.lines, whole=shown)


VIEWS = [
    View("refusals", "Refusals", refusals, group="Calls"),
    View("alerts", "Alerts", alerts, group="Notes"),
    View("changes", "Changes", changes, group="Notes"),
    View("health", "Health", health, group="Set-up"),
]
