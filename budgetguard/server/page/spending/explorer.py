"""The explorer: spend by any two fields, over any span, with any filter; the whole question is in the URL."""

from __future__ import annotations

from ....errors import ConfigError
from ....reports.shown.figures import GroupShown
from ....reports.shown.money import Explored, ExploreQuery
from ..look.charts import BarChart
from ..view import Look, Shown
from .asked import RANGES, AskedSpan, Page, number_of, page_of, span_of
from .slots import chart_of

TIMES = ("hour", "day", "week", "month")
FIELDS = ("model", "user", "provider", *TIMES)
"""What is always there; any tag can be typed."""
NAMED = ("user", "model", "provider")
"""Fields with a filter of their own."""
TOPS = (10, 20, 50, 100, 500)
ROWS = 100


def explorer(look: Look) -> Shown:
    """The answer to what the URL asks; what cannot be asked is said."""
    span = span_of(look)
    by = tuple(dict.fromkeys(field for field in (look.said("by", "model"), look.said("and")) if field))
    query = ExploreQuery(
        by=by,
        since_ms=span.since_ms,
        until_ms=span.until_ms,
        zone=look.zone.key,
        only=_only(look),
        top=number_of(look, "top", 20, TOPS),
        before=look.said("before") == "1" and span.since_ms is not None,
    )
    try:
        found, problem = look.reports.explore(query), ""
    except ConfigError as error:
        found, problem = None, str(error)
    return Shown(
        "spending/explorer.html",
        {
            "problem": problem,
            "query": query,
            "span": span,
            "by": by,
            "ranges": RANGES,
            "top_choices": [(str(top), str(top)) for top in TOPS],
            "times": TIMES,
            "fields": FIELDS,
            **(_answer(look, found, span) if found is not None else {"found": None}),
        },
        rows=_rows(found),
        whole=found,
    )


def _answer(look: Look, found: Explored, span: AskedSpan) -> dict[str, object]:
    page = Page(page_of(look), ROWS, len(found.groups))
    if page.number > page.pages:
        page = Page(page.pages, ROWS, len(found.groups))
    by = found.query.by
    return {
        "found": found,
        "page": page,
        "groups": found.groups[max(0, page.first - 1) : page.last],
        "most": max((each.figures.cost for each in found.groups), default=0),
        "chart": _chart(found, f"Spend by {' and '.join(by)}, {span.text}"),
    }


def _chart(found: Explored, title: str) -> BarChart | None:
    """Where a field is a time, and there is more than one of it."""
    if found.chart is None or len(found.chart.buckets) < 2:
        return None
    return chart_of(title, found.chart)


def _only(look: Look) -> dict[str, tuple[str, ...]]:
    """The filters: of the named fields, and tags as "feature=search"; "none" is for calls without it."""
    only: dict[str, tuple[str, ...]] = {}
    pairs = [(name, value) for name in NAMED for value in look.place.query.get(name, ())]
    for said in look.place.query.get("only", ()):
        pairs += [(tag.strip(), value) for tag, mark, value in [said.partition("=")] if mark]
    for name, value in pairs:
        if name and value.strip():
            only[name] = (*only.get(name, ()), "" if value.strip() == "none" else value.strip())
    return only


def _rows(found: Explored | None) -> tuple[GroupShown, ...]:
    if found is None:
        return ()
    return found.groups if found.other is None else (*found.groups, found.other)
