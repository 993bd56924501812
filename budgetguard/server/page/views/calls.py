"""The calls, one by one, the newest first."""

from __future__ import annotations

from ..view import Look, Shown, View


def calls(look: Look) -> Shown:
    """What was called, by whom, and what it cost."""
    shown = look.reports.calls()
    return Shown("watch/calls.html", {"calls": shown}, rows=shown.rows, whole=shown)


VIEWS = [View("calls", "Calls", calls, group="Watch")]
