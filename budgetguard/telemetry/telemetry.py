"""
Whether OpenTelemetry is there, which is asked of every call: two look-ups where it is not.

A program may set its providers at any moment, also after its budgets. Its API gives proxies until then; we ask for
tracers and meters once anything else is given, and what is still a proxy becomes real by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .attributes import Asking
from .quiet import quietly

if TYPE_CHECKING:
    from .traced import TracedCall

API: Final = "opentelemetry.trace"
"""The module that a program has imported by the time that it has a provider of its own."""


class Telemetry:
    """What one guard tells of its calls. `tags`: the names of the tags that spans and metrics have, too."""

    __slots__ = ("meters", "nobody", "tags", "tracers")

    def __init__(self, tags: Iterable[str] = ()) -> None:
        self.tags = tuple(sorted(tags))
        self.tracers: Callable[[], Any] = object
        self.meters: Callable[[], Any] = object
        self.nobody: tuple[Any, ...] | None = ()
        """What these two give as long as nobody has set a provider; `None`: somebody has."""

    @quietly
    def call(self, it: Asking) -> TracedCall | None:
        """A call begins; `None` where nobody wants to be told."""
        if self.nobody is not None and not self._wanted():
            return None
        from .traced import TracedCall

        return TracedCall(it, self.tags)

    def _wanted(self) -> bool:
        from opentelemetry import metrics, trace

        self.tracers, self.meters = trace.get_tracer_provider, metrics.get_meter_provider
        given = self.tracers(), self.meters()
        wanted = not all(_is_proxy(each) for each in given)
        self.nobody = None if wanted else given
        return wanted


def _is_proxy(provider: object) -> bool:
    """Whether it stands for one that is to come: the API's own, which is no part of its public names for metrics."""
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


@quietly
def go_on_from(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """
    Have what this task tells from now on be a part of the trace that a request's headers name.

    A span that is current already, as an instrumentation of the server made it, stays.
    """
    from opentelemetry import context, propagate, trace

    if trace.get_current_span().get_span_context().is_valid:
        return
    named: Mapping[str, str] = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    context.attach(propagate.extract(named))
