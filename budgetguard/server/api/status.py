"""Endpoints of the server itself: whether it is ready, its metrics, its documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ..keys import ADMIN, READ, SPEND
from ..metrics import CONTENT_TYPE, Metrics
from ..projects import Projects
from . import openapi
from .action import Action, Ask, Raw


class Ready(Struct, frozen=True):
    """The store answers."""

    status: Literal["ready"] = "ready"


_ALL = frozenset({SPEND, READ, ADMIN})


def endpoints(projects: Projects, metrics: Metrics, others: Sequence[Action]) -> list[Action]:
    """The table; every document is about `others` and these."""

    def ready(ask: Ask) -> Ready:
        """Whether the store answers; 503 if it does not."""
        ask.project.store.terms("ready")
        return Ready()

    def metrics_(ask: Ask) -> Raw:
        """For Prometheus: spend, holds and refusals by budget of the key's project, and this server's latency."""
        shown = [ask.project] if ask.caller.project is not None else projects.opened()
        rows = ((each.name, each.meter, each.store.holds()) for each in shown)
        told = metrics.scrape(rows, ask.caller.project)
        return Raw(CONTENT_TYPE, told)

    def openapi_(ask: Ask) -> Raw:
        """This API as an OpenAPI document."""
        return Raw("application/json", msgspec.json.encode(openapi.document(table)))

    def docs(ask: Ask) -> Raw:
        """This API as a page."""
        return Raw("text/html; charset=utf-8", openapi.page(table))

    table = [
        *others,
        _endpoint("/ready", ready, Ready),
        _endpoint("/metrics", metrics_, str, frozenset({READ, ADMIN}), ("text/plain",)),
        _endpoint("/openapi.json", openapi_, dict),
        _endpoint("/docs", docs, str, also=("text/html",)),
    ]
    return table


def _endpoint(
    path: str,
    handler: Callable[[Ask], Any],
    answer: type,
    scopes: frozenset[str] = _ALL,
    also: tuple[str, ...] = (),
) -> Action:
    return Action("GET", path, handler, answer, scopes, slow=True, also=also, any_project=True)
