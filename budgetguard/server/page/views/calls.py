"""The calls, one by one, and what is held for those in flight. A prompt or an answer is nowhere."""

from __future__ import annotations

from ....ledger import Millis
from ....reports.shown.lists import CallShown, CallsQuery
from ..look.flags import FLAGS
from ..look.times import lasting
from ..spending.asked import RANGES, page_of, span_of
from ..view import Look, Shown, View

ROWS = 100
_PLAIN = frozenset({"input_tokens", "output_tokens"})


def calls(look: Look) -> Shown:
    """What was called, by whom, and what it cost: the newest first."""
    span = span_of(look, "all")
    query = CallsQuery(
        since_ms=span.since_ms,
        until_ms=span.until_ms,
        tags=_tags(look),
        model=look.said("model") or None,
        provider=look.said("provider") or None,
        flags=frozenset(look.all_said("flag")) & FLAGS.keys(),
        account=look.said("account") or None,
        before=look.said("before") or None,
        limit=ROWS,
    )
    shown = look.reports.calls(query)
    filters = ("user", "model", "provider", "tag", "flag", "from", "to", "range", "account", "before")
    data = {
        "shown": shown,
        "span": span,
        "ranges": RANGES,
        "flags": FLAGS,
        "flag": look.said("flag"),
        "details": details,
        "is_filtered": any(look.said(name) for name in filters),
        "most": ROWS,
    }
    return Shown("watch/calls.html", data, rows=shown.rows, whole=shown)


def details(call: CallShown) -> list[str]:
    """What was billed beside plain input and output, and the tags but the user."""
    kinds = [f"{count:,} {kind.replace('_', ' ')}" for kind, count in sorted(call.usage.items()) if kind not in _PLAIN]
    return [*kinds, *(f"{name}={value}" for name, value in sorted(call.tags.items()) if name != "user")]


def holds(look: Look) -> Shown:
    """What is held now: the oldest first."""
    tag, value = ("user", look.said("user")) if look.said("user") else (None, "")
    number = page_of(look)
    shown = look.reports.holds(tag=tag, value=value, offset=(number - 1) * ROWS, limit=ROWS)
    first = (number - 1) * ROWS + 1
    data = {"shown": shown, "number": number, "more": number * ROWS < shown.count, "first": first, "age": age}
    return Shown("watch/holds.html", data, rows=shown.rows, whole=shown)


def age(span_ms: Millis) -> str:
    """How old a hold is: to the second while it is young."""
    return f"{max(0, span_ms) // 1000} s" if span_ms < 120_000 else lasting(span_ms / 1000)


def cuts(look: Look) -> Shown:
    """Answers that ended at a cap which a budget added."""
    said = look.said("days", "7")
    days = int(said) if said in ("1", "7", "30", "90") else 7
    shown = look.reports.cuts(days=days)
    data = {"shown": shown, "days": str(days), "details": details, "flags": FLAGS}
    return Shown("watch/cuts.html", data, rows=shown.models, whole=shown)


def _tags(look: Look) -> dict[str, str]:
    """The tags that the URL asks for; `user=` is one of them."""
    found = dict(pair.split("=", 1) for pair in look.all_said("tag") if "=" in pair)
    user = look.said("user")
    return {**found, "user": user} if user else found


VIEWS = [
    View("calls", "Calls", calls, group="Calls"),
    View("holds", "Holds and leases", holds, group="Calls"),
    View("cut", "Cut answers", cuts, group="Calls"),
]
